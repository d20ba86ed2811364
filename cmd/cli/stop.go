package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

// stopping says how to stop.
type stopping struct {
	wait, fast bool
	timeout    time.Duration // with wait; 0: never
}

func (a *app) stopCommand() *cobra.Command {
	var how stopping
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the server",
		Long: `Stop tells the running master to accept nothing more, to finish what is in flight (at
most drain_timeout long), and to end. It returns at once; with --wait it returns when
the master has ended and another can start. With --fast nothing is finished.
The status is 3 when no master is running, 4 when --timeout has passed; the stop goes
on then.`,
		Example: fmt.Sprintf(`  %[1]s stop --wait
  %[1]s stop --wait --timeout 10s || %[1]s stop --fast --wait`, a.program.Name),
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && !how.wait {
				return failure(exitUsage, "--timeout is for --wait; add --wait")
			}
			if how.timeout < 0 {
				return failure(exitUsage, "--timeout %s is negative; write for example 30s", how.timeout)
			}
			return noArguments(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.stop(cmd.Context(), how) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&how.wait, "wait", false, "return when the master has ended")
	flags.BoolVar(&how.fast, "fast", false, "end at once: nothing in flight is finished")
	flags.DurationVar(&how.timeout, "timeout", 0, "with --wait: give up waiting after `DURATION` (default: never)")
	noFlagCompletion(cmd, "timeout")
	return cmd
}

func (a *app) stop(ctx context.Context, how stopping) error {
	bound := how.timeout
	if !how.wait {
		bound = answerBound
	}
	ctx, cancel := within(ctx, bound)
	defer cancel()
	return a.ask(func(c *master.Client) error {
		reply, err := c.Stop(ctx, master.StopRequest{Wait: how.wait, Fast: how.fast})
		if err != nil {
			return err
		}
		return a.printf("%s: %s\n", a.program.Name, reply.State)
	})
}
