package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

// answerBound is how long a master that is alive may take to answer.
const answerBound = 10 * time.Second

func (a *app) statusCommand() *cobra.Command {
	asJSON := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is running",
		Long: `Status asks the running master for its configuration, its listeners with their real
ports, and its children with their numbers. Counters are since the start of each child.
Of the workers of a child it shows how many there are, run a handler, or wait for one, and
their bounds; SPAWNED counts those that were started. Of the requests for them, how many
wait now (QUEUED), and since the start were run, refused for want of room, and have left the
count of workers with a connection that they took over (EXCUSED).
The status is 3 when no master is running.`,
		Example: fmt.Sprintf(`  %[1]s status
  %[1]s status --json --control /run/tined/control.sock`, name),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), answerBound)
			defer cancel()
			return a.ask(func(c *master.Client) error {
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					text, err := json.MarshalIndent(s, "", "  ")
					if err != nil {
						return err
					}
					return a.printf("%s\n", text)
				}
				return a.printf("%s", statusText(name, s))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all of it as JSON")
	return cmd
}

// ask finds the master and gives its client to f. Errors of the client get their exit status and their cure here.
func (a *app) ask(f func(*master.Client) error) error {
	path, err := a.controlPath()
	if err != nil {
		return err
	}
	err = f(master.NewClient(path))
	refused, isRefused := errors.AsType[*master.RefusedError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, master.ErrNotRunning):
		return failure(exitNotRunning, "%w; start it with `%s run`, or name its socket with --control PATH", err, a.program.Name)
	case isRefused && refused.Code == http.StatusGatewayTimeout:
		return failure(exitTimedOut, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return failure(exitTimedOut, "the master on %s has not finished in time; `%s status` shows what it does", path, a.program.Name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run this as the master's user, or as root", err)
	}
	return err
}

// statusText is the status for people.
func statusText(name string, s *master.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, pid %d: %s for %s\n", name, s.Version, s.Pid, s.State, age(s.UptimeSeconds))
	configuration := s.Configuration
	if configuration == "" {
		configuration = "none"
	}
	fmt.Fprintf(&b, "configuration %s, generation %d\n", configuration, s.Generation)
	if s.LogDropped > 0 {
		fmt.Fprintf(&b, "%d log lines were dropped\n", s.LogDropped)
	}
	table(&b, "LISTENER\tADDRESS\tSHARDS", func(w io.Writer) {
		for _, l := range s.Listeners {
			fmt.Fprintf(w, "%s\t%s\t%d\n", l.Name, l.Address, l.Shards)
		}
	})
	table(&b, "CHILD\tPID\tSTATE\tUPTIME\tRESTARTS\tCONNECTIONS\tREQUESTS\tLAST END", func(w io.Writer) {
		for i := range s.Children {
			c := &s.Children[i]
			connections, requests := "-", "-" // it has not reported
			if n := c.Numbers; n != nil {
				connections, requests = fmt.Sprint(n.Connections), fmt.Sprint(n.Finished)
			}
			fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%s\t%s\t%s\n",
				c.Index, c.Pid, c.State, age(c.UptimeSeconds), c.Restarts, connections, requests, c.LastEnd)
		}
	})
	if slices.ContainsFunc(s.Children, func(c master.ChildStatus) bool { return c.Numbers != nil }) {
		table(&b, "CHILD\tWORKERS\tBUSY\tIDLE\tMIN\tMAX\tSPAWNED\tQUEUED\tSTARTED\tREJECTED\tEXCUSED", func(w io.Writer) {
			for i := range s.Children {
				if n := s.Children[i].Numbers; n != nil {
					fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", s.Children[i].Index, n.Workers, n.WorkersBusy, n.WorkersIdle,
						n.WorkersMin, n.WorkersMax, n.WorkersSpawned, n.Queued, n.Started, n.Rejected, n.Excused)
				}
			}
		})
	}
	return b.String()
}

// table adds a heading and rows in columns.
func table(b *strings.Builder, heading string, rows func(io.Writer)) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	rows(w)
	_ = w.Flush() // a Builder takes everything
	b.WriteByte('\n')
	for line := range strings.Lines(text.String()) {
		b.WriteString(strings.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
}

// age writes seconds as 1h2m3s.
func age(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Truncate(time.Second).String()
}
