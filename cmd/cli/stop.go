package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) stopCommand() *cobra.Command {
	var request master.StopRequest
	var timeout time.Duration
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the server",
		Long: `Stop tells the running master to accept nothing more, to finish what is in flight (at
most drain_timeout long), and to end. It returns at once; with --wait it returns when
the master has ended and another can start. With --fast nothing is finished.
The status is 3 when no master is running, 4 when --timeout has passed; the stop goes
on then.`,
		Example: fmt.Sprintf(`  %[1]s stop --wait
  %[1]s stop --wait --timeout 10s || %[1]s stop --fast --wait`, name),
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && !request.Wait {
				return failure(exitUsage, "--timeout is for --wait; add --wait")
			}
			if timeout < 0 {
				return failure(exitUsage, "--timeout %s is negative; write for example 30s", timeout)
			}
			return noArguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !request.Wait {
				timeout = answerBound
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return a.ask(func(c *master.Client) error {
				reply, err := c.Stop(ctx, request)
				if err != nil {
					return err
				}
				return a.printf("%s: %s\n", name, reply.State)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&request.Wait, "wait", false, "return when the master has ended")
	flags.BoolVar(&request.Fast, "fast", false, "end at once: nothing in flight is finished")
	flags.DurationVar(&timeout, "timeout", 0, "with --wait: give up waiting after `DURATION` (default: never)")
	return cmd
}
