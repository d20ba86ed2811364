package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) scaleCommand() *cobra.Command {
	timeout := changeBound
	count := 0
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "scale N|auto",
		Short: "Set the number of children",
		Long: `Scale sets how many children serve, from 1 to 1024; auto is one per usable core. It returns
when the new ones serve, and the others have begun to leave. Nothing is lost: what a leaving
child has accepted it finishes, at most drain_timeout long, and connections that are on
their way to it are taken by its siblings. The number holds until a reload that changes
children, or a restart; the setting children is what lasts.
The status is 2 for a number that is impossible, 3 when no master is running, 4 when
--timeout has passed; the scaling goes on then.`,
		Example: fmt.Sprintf(`  %[1]s scale 8
  %[1]s scale auto`, name),
		Args: func(_ *cobra.Command, args []string) (err error) {
			if timeout < 0 {
				return failure(exitUsage, "--timeout %s is negative; write for example 30s", timeout)
			}
			if len(args) != 1 {
				return failure(exitUsage, "scale takes a number of children, or auto")
			}
			if args[0] == "auto" {
				return nil
			}
			if count, err = strconv.Atoi(args[0]); err != nil || count < 1 || count > master.MaxChildren {
				return failure(exitUsage, "%q is no number of children; write 1 to %d, or auto", args[0], master.MaxChildren)
			}
			return nil
		},
		ValidArgsFunction: onlyFirst(cobra.FixedCompletions([]string{"auto\tone per usable core"}, cobra.ShellCompDirectiveNoFileComp)),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := within(cmd.Context(), timeout)
			defer cancel()
			return a.ask(func(c *master.Client) error {
				now, err := c.Scale(ctx, count)
				if err != nil {
					return err
				}
				return a.printf("%s: %s\n", name, childrenText(now))
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", changeBound, "give up waiting after `DURATION`; 0: never")
	noFlagCompletion(cmd, "timeout")
	return cmd
}

func childrenText(c *master.Children) string {
	text := fmt.Sprintf("%d children", c.Count)
	if c.Count == 1 {
		text = "1 child"
	}
	if c.Count == c.Configured {
		return text + ", as configured"
	}
	return fmt.Sprintf("%s, until a reload changes `children`, or a restart; configured: %d", text, c.Configured)
}
