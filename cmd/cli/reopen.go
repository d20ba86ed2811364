package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) reopenCommand() *cobra.Command {
	name := a.program.Name
	return &cobra.Command{
		Use:   "reopen-logs",
		Short: "Reopen the log files, after they were moved away",
		Long: `Reopen-logs makes the master open the server's log and every access log anew, and give them
to the children: what a rotation of logs needs after it has renamed the files. It returns
when nothing is written to the old files any more. SIGUSR1 to the master does the same.
The status is 1 when a file could not be opened; its old one is written on then. It is 3
when no master is running, 4 when a child has not said in time that it has the new files.`,
		Example:           fmt.Sprintf("  mv access.log access.log.1 && %s reopen-logs", name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.reopenLogs(cmd.Context()) },
	}
}

func (a *app) reopenLogs(ctx context.Context) error {
	ctx, cancel := within(ctx, answerBound)
	defer cancel()
	return a.ask(func(c *master.Client) error {
		reply, err := c.ReopenLogs(ctx)
		if err != nil {
			return err
		}
		return a.printf("%s: log files are %s\n", a.program.Name, reply.State)
	})
}
