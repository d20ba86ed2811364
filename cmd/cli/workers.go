package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) workersCommand() *cobra.Command {
	var request master.WorkersRequest
	name := a.program.Name
	return &cobra.Command{
		Use:   "workers [MIN MAX]",
		Short: "Show or set how many workers each child may have",
		Long: `Workers sets the numbers of workers of every child of the running master: MIN are always
there, and up to MAX when handlers wait. The limits of routes that have none of their own
follow. Nothing is lost: what runs goes on, and what waits keeps waiting. The numbers hold
until the next reload or restart, for children that start later too; the configuration's
block workers is what lasts. Without arguments it shows the present numbers.
The status is 2 when the numbers are impossible, 3 when no master is running, 4 when a
child has not said in time that it has the numbers.`,
		Example: fmt.Sprintf(`  %[1]s workers
  %[1]s workers 8 64`, name),
		Args: func(_ *cobra.Command, args []string) (err error) {
			if len(args) == 0 {
				return nil
			}
			if request, err = workersRequest(args); err == nil {
				err = request.Check(a.schema.Workers)
			}
			if err != nil {
				return failure(exitUsage, "%w", err)
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), answerBound)
			defer cancel()
			return a.ask(func(c *master.Client) error {
				var now *master.Workers
				var err error
				if len(args) == 0 {
					now, err = c.Workers(ctx)
				} else {
					now, err = c.SetWorkers(ctx, request)
				}
				if err != nil {
					return err
				}
				return a.printf("%s: %s\n", name, workersText(now))
			})
		},
	}
}

func workersRequest(args []string) (r master.WorkersRequest, err error) {
	if len(args) != 2 {
		return r, fmt.Errorf("workers takes MIN and MAX, or nothing")
	}
	for i, to := range []*int{&r.Min, &r.Max} {
		if *to, err = strconv.Atoi(args[i]); err != nil {
			return r, fmt.Errorf("workers: %q is no number of workers; write for example 8 64", args[i])
		}
	}
	return r, nil
}

// workersText is for people.
func workersText(w *master.Workers) string {
	text := fmt.Sprintf("%d to %d workers in each child", w.Min, w.Max)
	if w.Configured() {
		return text + ", as configured"
	}
	return fmt.Sprintf("%s, until a reload or restart; configured are %d to %d", text, w.ConfiguredMin, w.ConfiguredMax)
}
