package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// The habits of nginx's users: `-t` checks the configuration, `-s SIGNAL` tells the running master something.

// habit is what -s may say.
type habit struct {
	word, like string // like: the command that it is
	act        func(*app, context.Context) error
}

var habits = []habit{
	{"reload", "reload", func(a *app, ctx context.Context) error {
		return a.reload(ctx, waiting{wait: true, timeout: changeBound}, false)
	}},
	{"quit", "stop", func(a *app, ctx context.Context) error { return a.stop(ctx, stopping{}) }},
	{"stop", "stop --fast", func(a *app, ctx context.Context) error { return a.stop(ctx, stopping{fast: true}) }},
	{"reopen", "reopen-logs", (*app).reopenLogs},
}

// habitFlags adds them to the root command, where nobody sees them who does not look for them.
func habitFlags(root *cobra.Command) (test *bool, signal *string) {
	flags := root.Flags()
	test = flags.BoolP("test", "t", false, "check the configuration")
	signal = flags.StringP("signal", "s", "", "tell the master: reload, quit, stop or reopen")
	for _, name := range []string{"test", "signal"} {
		_ = flags.MarkHidden(name) // it fails only for a flag that does not exist
	}
	words := make([]string, len(habits))
	for i, h := range habits {
		words[i] = h.word + "\tas " + h.like
	}
	_ = root.RegisterFlagCompletionFunc("signal", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return test, signal
}

// habitual does what the flags say; done is false when there are none.
func (a *app) habitual(cmd *cobra.Command, test bool, signal string) (done bool, err error) {
	asked := cmd.Flags().Changed("signal")
	switch {
	case test && asked:
		return true, failure(exitUsage, "-t and -s exclude each other")
	case test:
		return true, a.check(cmd.Context(), checking{})
	case !asked:
		return false, nil
	}
	var words []string
	for _, h := range habits {
		if h.word == signal {
			return true, h.act(a, cmd.Context())
		}
		words = append(words, h.word)
	}
	return true, failure(exitUsage, "-s cannot be %q; write one of %s", signal, strings.Join(words, ", "))
}
