package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) restartCommand() *cobra.Command {
	var w waiting
	index := 0
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "restart CHILD",
		Short: "Replace a child by a new process",
		Long: `Restart gives a child a successor: a new process is started and proved, takes the child's
place, and only then the old one finishes what is in flight, at most drain_timeout long, and
ends. CHILD is its number in status. Nothing is refused or cut off. It returns at once; with
--wait when the successor serves. If that fails, the child stays, and the status is 1.
The status is 3 when no master is running, 4 when --timeout has passed; the restart goes on
then.`,
		Example: fmt.Sprintf(`  %[1]s restart 0
  %[1]s restart 2 --wait --timeout 30s`, name),
		Args: w.check(func(_ *cobra.Command, args []string) (err error) {
			if len(args) != 1 {
				return failure(exitUsage, "restart takes the number of one CHILD; `%s status` shows them", name)
			}
			if index, err = strconv.Atoi(args[0]); err != nil || index < 0 {
				return failure(exitUsage, "%q is no child; write its number, such as 0", args[0])
			}
			return nil
		}),
		ValidArgsFunction: onlyFirst(a.completeChildren),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := w.bound(cmd.Context())
			defer cancel()
			return a.ask(func(c *master.Client) error {
				reply, err := c.Restart(ctx, index, master.WaitRequest{Wait: w.yes()})
				if err != nil {
					return err
				}
				return a.printf("%s: child %d: %s\n", name, index, reply.State)
			})
		},
	}
	w.flags(cmd, false)
	return cmd
}
