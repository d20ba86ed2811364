package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

func (a *app) planCommand() *cobra.Command {
	asJSON := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a reload would change",
		Long: `Plan makes the running master read its configuration as a reload would, and prints what is
different from the generation that serves: listeners, sites, routes, limits, modules. It
changes nothing. What a reload cannot change, since it needs a restart, is marked.

The status is 0 whether or not there are changes, and 1 when a reload would be refused; then
the mistakes are printed as check prints them. It is 3 when no master is running. The
children are not asked: one that could not take the generation is found by the reload only.`,
		Example: fmt.Sprintf(`  %[1]s plan
  %[1]s plan && %[1]s reload
  %[1]s plan --json`, name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := within(cmd.Context(), changeBound)
			defer cancel()
			return a.ask(func(c *master.Client) error {
				p, err := c.Plan(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					if err := a.printJSON(p); err != nil || p.Refused == "" {
						return err
					}
					return exit(exitFailed)
				}
				return a.showPlan(p)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the changes as JSON")
	return cmd
}

func (a *app) showPlan(p *master.Plan) error {
	a.diagnose(p.Diagnostics)
	if text := configs.PlanText(p.Changes); text != "" {
		if err := a.printf("generation %d, which serves, and generation %d, which a reload would make:\n\n%s", p.From, p.To, text); err != nil {
			return err
		}
	}
	switch {
	case p.Refused != "":
		return failure(exitFailed, "a reload would be refused%s", reason(p.Refused, p.Diagnostics))
	case len(p.Changes) == 0:
		return a.printf("%s: a reload would change nothing: generation %d serves what the files say\n", a.program.Name, p.From)
	}
	return nil
}
