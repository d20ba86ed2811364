package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) logLevelCommand() *cobra.Command {
	name := a.program.Name
	return &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Show or set the level of the server's log",
		Long: `Log-level sets from which level on lines are logged, in the master and in every child at
once: debug, info, warn or error. It holds until the next reload or restart; the level in
the configuration's block log is what lasts. Without LEVEL it shows the present one.
The status is 2 for a level that there is not, 3 when no master is running.`,
		Example: fmt.Sprintf(`  %[1]s log-level
  %[1]s log-level debug`, name),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return failure(exitUsage, "log-level takes one LEVEL, or nothing")
			}
			if len(args) == 1 {
				if err := master.CheckLogLevel(args[0]); err != nil {
					return failure(exitUsage, "%w", err)
				}
			}
			return nil
		},
		ValidArgsFunction: onlyFirst(cobra.FixedCompletions(master.LogLevels, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := within(cmd.Context(), answerBound)
			defer cancel()
			return a.ask(func(c *master.Client) error {
				var now *master.LogLevel
				var err error
				if len(args) == 0 {
					now, err = c.LogLevel(ctx)
				} else {
					now, err = c.SetLogLevel(ctx, args[0])
				}
				if err != nil {
					return err
				}
				if now.Level == now.Configured {
					return a.printf("%s: %s, as configured\n", name, now.Level)
				}
				return a.printf("%s: %s, until a reload or restart; configured is %s\n", name, now.Level, now.Configured)
			})
		},
	}
}
