package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/master"
)

// answerBound is how long a master that is alive may take to answer.
const answerBound = 10 * time.Second

// watchInterval is that of status --watch where nobody has chosen one.
const watchInterval = 2 * time.Second

func (a *app) statusCommand() *cobra.Command {
	asJSON := false
	health := false
	watch := time.Duration(0)
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is running",
		Long: `Status asks the running master for its configuration, how the last reload and the last
upgrade ended, its listeners with their real ports, and its children with their numbers.
Counters are since the start of each child. While an upgrade is under way, or something of
the version before is left, both versions are shown.
Of the workers of a child it shows how many there are, run a handler, or wait for one;
SPAWNED counts those that were started. Of the requests for them, how many wait now
(QUEUED), and since the start were run, refused for want of room, and have left the count of
workers with a connection that they took over (EXCUSED). A child has a pool for each module
that wants its own beside the common one; all these numbers are sums over its pools, MIN and
MAX too, so MAX may be a multiple of what is configured.
With --watch it shows the status again and again, every 2s or every INTERVAL, until ^C; on a
terminal in place.
With --health it says in one line whether the server serves, for what watches it: a container
runtime, a load balancer. The status is 0 when it does, with one child or more, 1 when it does
not: it starts, or stops, or no child is ready.
The status is 3 when no master is running.`,
		Example: fmt.Sprintf(`  %[1]s status
  %[1]s status --watch=500ms
  %[1]s status --health
  %[1]s status --json --control /run/tined/control.sock`, name),
		Args: func(cmd *cobra.Command, args []string) (err error) {
			flag := cmd.Flags().Lookup("watch")
			if flag.Changed && len(args) == 1 && flag.Value.String() == flag.NoOptDefVal { // --watch INTERVAL
				if watch, err = time.ParseDuration(args[0]); err != nil {
					return failure(exitUsage, "--watch: %q is no interval; write for example 500ms or 2s", args[0])
				}
				args = nil
			}
			if flag.Changed && watch <= 0 {
				return failure(exitUsage, "--watch: an interval of %s is too short; write for example 500ms or 2s", watch)
			}
			if health && (asJSON || flag.Changed) {
				return failure(exitUsage, "--health stands alone, without --json and --watch")
			}
			return noArguments(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := func(s *master.Status) error {
				switch {
				case asJSON:
					return a.printJSON(s)
				case health:
					return a.health(s)
				}
				return a.printf("%s", statusText(name, s))
			}
			return a.ask(func(c *master.Client) error {
				if watch > 0 {
					return a.watch(cmd.Context(), c, watch, show)
				}
				s, err := oneStatus(cmd.Context(), c)
				if err != nil {
					return err
				}
				return show(s)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print all of it as JSON")
	flags.BoolVar(&health, "health", false, "print one line, and fail unless it serves")
	flags.DurationVar(&watch, "watch", 0, "show it again and again, every `INTERVAL`")
	flags.Lookup("watch").NoOptDefVal = watchInterval.String()
	noFlagCompletion(cmd, "watch")
	return cmd
}

// stateServing is that of a master, and of a child, at work.
const stateServing = "serving"

// health says whether a server serves: the master is at work, and a child that is to stay.
func (a *app) health(s *master.Status) error {
	switch ready := readyChildren(s); {
	case s.State != stateServing:
		return failure(exitFailed, "does not serve: the server is %s", s.State)
	case ready == 0:
		return failure(exitFailed, "does not serve: %s are ready", readyText(s))
	}
	return a.printf("%s: serves with %s\n", a.program.Name, readyText(s))
}

// readyChildren counts the places whose child serves. A child that was replaced and drains has the index of its successor.
func readyChildren(s *master.Status) int {
	ready := map[int]bool{}
	for i := range s.Children {
		if c := &s.Children[i]; c.State == stateServing && !c.Leaving {
			ready[c.Index] = true
		}
	}
	return len(ready)
}

// readyText is "3 of 4 children".
func readyText(s *master.Status) string {
	return fmt.Sprintf("%d of %s", readyChildren(s), counted(uint64(s.ChildCount), "child", "children"))
}

func oneStatus(ctx context.Context, c *master.Client) (*master.Status, error) {
	ctx, cancel := within(ctx, answerBound)
	defer cancel()
	return c.Status(ctx)
}

// watch shows the status until the master or ctx ends.
func (a *app) watch(ctx context.Context, c *master.Client, interval time.Duration, show func(*master.Status) error) error {
	screen := a.terminal()
	if screen {
		show = a.inPlace(show)
	}
	for first := true; ; first = false {
		s, err := oneStatus(ctx, c)
		if err != nil {
			return err
		}
		if !first && !screen {
			if err := a.printf("\n"); err != nil {
				return err
			}
		}
		if err := show(s); err != nil {
			return err
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return nil
		}
	}
}

// terminal reports whether the answer goes to one.
func (a *app) terminal() bool {
	f, ok := a.stdout.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// inPlace lets each output take the place of the one before: from the top left, each line cleared behind its end, and what is below too.
// So nothing flickers (ECMA-48: CUP, EL, ED).
func (a *app) inPlace(show func(*master.Status) error) func(*master.Status) error {
	begun := false
	return func(s *master.Status) error {
		var text bytes.Buffer
		out := a.stdout
		a.stdout = &text
		err := show(s)
		a.stdout = out
		if err != nil {
			return err
		}
		clear := ""
		if !begun {
			begun, clear = true, "\x1b[2J"
		}
		return a.printf("%s\x1b[H%s\x1b[J", clear, bytes.ReplaceAll(text.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
	}
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
		if mistakes := a.controlIsHidden(); mistakes != "" {
			return failure(exitNotRunning, "%w, and the mistakes of %s may hide its `control`: `%s check` shows them; or name the socket with --control PATH",
				err, mistakes, a.program.Name)
		}
		return failure(exitNotRunning, "%w; start it with `%s run`, or name its socket with --control PATH", err, a.program.Name)
	case isRefused && refused.Code == http.StatusNotFound && strings.HasPrefix(refused.Message, "no such operation"):
		return failure(exitFailed, "the master on %s is older than this command, and cannot do it: restart it", path)
	case isRefused && refused.Code == http.StatusBadRequest && strings.Contains(refused.Message, ": there is no field "):
		return failure(exitFailed, "the master on %s is older than this command, and does not know all that it says: %w", path, err)
	case isRefused && refused.Code == http.StatusGatewayTimeout:
		return failure(exitTimedOut, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return failure(exitTimedOut, "the master on %s has not finished in time; `%s status` shows what it does", path, a.program.Name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run this as root, as the user of the master, or as a member of the group that `control_group` names", err)
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
	if s.Reloading {
		b.WriteString("a reload goes on\n")
	}
	b.WriteString(lastReload(s.LastReload))
	b.WriteString(upgradeText(s))
	b.WriteString(overrides(s))
	if t := &s.Totals; t.Finished > 0 {
		fmt.Fprintf(&b, "%d requests so far, of all children, ended ones included; half of them took at most %s, 99 %% at most %s\n",
			t.Finished, short(t.Latency.P50), short(t.Latency.P99))
	}
	if s.LogDropped > 0 {
		fmt.Fprintf(&b, "%d log lines were dropped\n", s.LogDropped)
	}
	table(&b, "LISTENER\tADDRESS\tSHARDS", func(w io.Writer) {
		for _, l := range s.Listeners {
			fmt.Fprintf(w, "%s\t%s\t%d\n", l.Name, l.Address, l.Shards)
		}
	})
	table(&b, "CHILD\tPID\tSTATE\tUPTIME\tGENERATION\tRESTARTS\tCONNECTIONS\tREQUESTS\tLAST END", func(w io.Writer) {
		for i := range s.Children {
			c := &s.Children[i]
			connections, requests := "-", "-" // it has not reported
			if n := c.Numbers; n != nil {
				connections, requests = fmt.Sprint(n.Connections), fmt.Sprint(n.Finished)
			}
			pid, uptime, generation := "-", "-", "-" // nothing runs
			if c.Pid > 0 {
				pid, uptime, generation = fmt.Sprint(c.Pid), age(c.UptimeSeconds), fmt.Sprint(c.Generation)
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
				c.Index, pid, c.State, uptime, generation, c.Restarts, connections, requests, c.LastEnd)
		}
	})
	for i := range s.Children {
		if note := childNote(&s.Children[i]); note != "" {
			fmt.Fprintf(&b, "child %d %s\n", s.Children[i].Index, note)
		}
	}
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
	addHousekeeper(&b, s.Housekeeper)
	return b.String()
}

// lastReload is one line, and one more for each diagnostic of a refusal.
func lastReload(r *master.Reload) string {
	if r == nil {
		return ""
	}
	at := r.At.Local().Format(time.DateTime)
	if r.Committed {
		return fmt.Sprintf("last reload %s by %s: generation %d, %s\n", at, r.By, r.Generation, countChanges(r.Changes))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "last reload %s by %s was refused%s\n", at, r.By, reason(r.Reason, r.Diagnostics))
	for _, d := range r.Diagnostics {
		fmt.Fprintf(&b, "  %s\n", d)
	}
	return b.String()
}

// overrides says what the operator has set in place of the configuration's.
func overrides(s *master.Status) string {
	var set []string
	if s.Overrides.Children > 0 {
		set = append(set, fmt.Sprintf("children %d", s.Overrides.Children))
	}
	if w := s.Overrides.Workers; w != nil {
		set = append(set, fmt.Sprintf("workers %d to %d", w.Min, w.Max))
	}
	if s.Overrides.LogLevel != "" {
		set = append(set, "log level "+s.Overrides.LogLevel)
	}
	if len(set) == 0 {
		return ""
	}
	return "set by the operator, not in the configuration: " + strings.Join(set, ", ") + "\n"
}

// childNote says what is unusual about a child; "" when nothing is.
func childNote(c *master.ChildStatus) string {
	var notes []string
	if c.CrashLoop {
		notes = append(notes, fmt.Sprintf("is in a crash loop: %d faults in a row", c.Faults))
	}
	if c.WaitingUntil != nil {
		notes = append(notes, "is started again at "+c.WaitingUntil.Local().Format("15:04:05.000"))
	}
	if c.LentTo != nil {
		notes = append(notes, fmt.Sprintf("has its connections accepted by child %d", *c.LentTo))
	}
	if c.Successor {
		notes = append(notes, "is the successor of one that serves")
	}
	if c.Leaving {
		notes = append(notes, "leaves: there are to be fewer children")
	}
	return strings.Join(notes, "; ")
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

// short writes a part of a second with three digits, such as 1.23ms; µs are the smallest.
func short(seconds float64) string {
	d, unit := time.Duration(seconds*float64(time.Second)), time.Microsecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

// age writes seconds as 1h2m3s.
func age(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Truncate(time.Second).String()
}
