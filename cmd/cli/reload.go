package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

// changeBound is how long a command waits for a change by default: longer than the master allows its children for it.
const changeBound = 2 * time.Minute

func (a *app) reloadCommand() *cobra.Command {
	var w waiting
	asJSON := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Bring the server to the configuration as it is now",
		Long: `Reload makes the running master read its configuration anew, with all includes. Every child
takes it, or none: connections stay, and the next request on each is served by the new
generation. It waits for the end, and prints what has changed. A configuration that is
refused changes nothing: its mistakes are printed as check prints them, and the status is 1.

With --no-wait it returns as soon as the master knows; status and events say how it ended.
With -c FILE the master is found by what FILE says, mistakes or not; what is read is the
file that the master was started with.
The status is 3 when no master is running, 4 when --timeout has passed; the reload goes on
then.`,
		Example: fmt.Sprintf(`  %[1]s reload
  %[1]s plan && %[1]s reload --timeout 30s
  %[1]s reload --json`, name),
		Args:              w.check(noArguments),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.reload(cmd.Context(), w, asJSON)
		},
	}
	w.flags(cmd, true)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print how it ended as JSON")
	return cmd
}

func (a *app) reload(ctx context.Context, w waiting, asJSON bool) error {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	return a.ask(func(c *master.Client) error {
		if !w.yes() {
			reply, err := c.StartReload(ctx)
			if err != nil {
				return err
			}
			return a.printf("%s: %s\n", a.program.Name, reply.State)
		}
		r, err := c.Reload(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			if err := a.printJSON(r); err != nil || r.Committed {
				return err
			}
			return exit(exitFailed)
		}
		a.diagnose(r.Diagnostics)
		if !r.Committed {
			return failure(exitFailed, "the reload is refused%s; nothing has changed, generation %d serves", reason(r.Reason, r.Diagnostics), r.Generation)
		}
		return a.printf("%s: generation %d serves: %s, after %s\n", a.program.Name, r.Generation, countChanges(r.Changes), took(r.Seconds))
	})
}

// diagnose prints diagnostics as check does.
func (a *app) diagnose(diagnostics []string) {
	for _, d := range diagnostics {
		fmt.Fprintln(a.stderr, d)
	}
}

// reason is what a refusal's sentence adds to the diagnostics above it: nothing when it only repeats one of them.
func reason(why string, diagnostics []string) string {
	repeated := func(d string) bool { return strings.Contains(why, d) }
	if why == "" || slices.ContainsFunc(diagnostics, repeated) {
		return ""
	}
	return ": " + why
}

func countChanges(changes []configs.Change) string {
	if len(changes) == 0 {
		return "nothing has changed"
	}
	return counted(uint64(len(changes)), "change", "changes")
}

// took writes a short time for people.
func took(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

func (a *app) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.printf("%s\n", text)
}

// waiting are the flags of a command that may wait for the end of what it begins.
type waiting struct {
	wait, noWait bool
	timeout      time.Duration
}

// flags adds them; always: the command waits when it is not told not to.
func (w *waiting) flags(cmd *cobra.Command, always bool) {
	flags := cmd.Flags()
	if always {
		flags.BoolVar(&w.wait, "wait", true, "return when it is over: what it does anyway")
		flags.BoolVar(&w.noWait, "no-wait", false, "return when it has begun")
	} else {
		flags.BoolVar(&w.wait, "wait", false, "return when it is over")
	}
	flags.DurationVar(&w.timeout, "timeout", changeBound, "give up waiting after `DURATION`; 0: never")
	noFlagCompletion(cmd, "timeout")
}

func (w *waiting) yes() bool { return w.wait && !w.noWait }

// check is the command's check of arguments, and one of these flags.
func (w *waiting) check(arguments cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		flags := cmd.Flags()
		switch {
		case w.noWait && flags.Changed("wait") && w.wait:
			return failure(exitUsage, "--wait and --no-wait exclude each other")
		case flags.Changed("timeout") && !w.yes():
			return failure(exitUsage, "--timeout is for waiting; add --wait")
		case w.timeout < 0:
			return failure(exitUsage, "--timeout %s is negative; write for example 30s", w.timeout)
		}
		return arguments(cmd, args)
	}
}

// bound gives the command its time.
func (w *waiting) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if !w.yes() {
		return within(ctx, answerBound)
	}
	return within(ctx, w.timeout)
}

// within is a context of so much time; 0: without end.
func within(ctx context.Context, bound time.Duration) (context.Context, context.CancelFunc) {
	if bound == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, bound)
}
