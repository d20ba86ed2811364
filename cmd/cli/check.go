package cli

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

func (a *app) checkCommand() *cobra.Command {
	look := checking{}
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration",
		Long: `Check reads a configuration with all its includes and reports every mistake at once, as

  file:line:column: what is wrong; what to write instead

It opens no socket and changes nothing. Folders and files that the configuration names are
looked at by run and reload only, as the user of the children. The status is 0 and "FILE: ok"
is printed, or 1. With --ports it also tries the address of each listener, and says of each
that cannot be had what a start would say: by whom it is used, or what is missing. That is for
a server that does not run: one that does holds its own, and is named. Root sees the names of
all, and may use ports below 1024, which the user of the server may not. With --dump it prints
the configuration as it is understood, every default written out, in a form that can be read
again.`,
		Example: fmt.Sprintf(`  %[1]s check %[1]s.hcl
  %[1]s check --dump -c %[1]s.hcl > whole.hcl
  %[1]s check --ports && systemctl start %[1]s
  %[1]s check && systemctl reload %[1]s`, name),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return failure(exitUsage, "check takes one FILE, and was given %d", len(args))
			}
			if len(args) == 1 && a.config != "" {
				return failure(exitUsage, "check takes -c FILE or FILE, not both")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions([]string{"hcl", "json"}, cobra.ShellCompDirectiveFilterFileExt),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.config = args[0]
			}
			return a.check(cmd.Context(), look)
		},
	}
	cmd.Flags().BoolVar(&look.dump, "dump", false, "print the configuration with every default")
	cmd.Flags().BoolVar(&look.ports, "ports", false, "look whether the addresses of the listeners can be had")
	return cmd
}

// checking is what is done beside the check.
type checking struct{ dump, ports bool }

func (a *app) check(ctx context.Context, look checking) error {
	path, err := a.configuration()
	if err != nil {
		return err
	}
	config, diagnostics := a.load(path)
	for _, d := range diagnostics {
		fmt.Fprintln(a.stderr, d)
	}
	if config == nil || diagnostics.HasErrors() {
		return exit(exitFailed)
	}
	if look.ports {
		if err := master.ProbePorts(config, a.runningHolder(ctx)); err != nil {
			fmt.Fprintln(a.stderr, err)
			return exit(exitFailed)
		}
	}
	if look.dump {
		return a.printf("%s", config.Dump())
	}
	if path == "" {
		path = "the routes in code"
	}
	return a.printf("%s: ok\n", path)
}

// runningBound is how long the check of a configuration may ask whether a server runs.
const runningBound = 2 * time.Second

// runningHolder names the server that commands would find for the addresses that it serves. It is asked when one is not free.
func (a *app) runningHolder(ctx context.Context) func(address string) string {
	running := sync.OnceValue(func() *master.Status {
		path, err := a.controlPath()
		if err != nil {
			return nil
		}
		ctx, cancel := within(ctx, runningBound)
		defer cancel()
		s, err := master.NewClient(path).Status(ctx)
		if err != nil { // none that can be asked
			return nil
		}
		return s
	})
	return func(address string) string {
		s := running()
		if s == nil || !slices.ContainsFunc(s.Listeners, func(l master.ListenerStatus) bool { return l.Address == address && l.Shards > 0 }) {
			return ""
		}
		return fmt.Sprintf("the running %s (pid %d)", a.program.Name, s.Pid)
	}
}

// load resolves the configuration at path, "" for none. Nothing is looked at but files.
func (a *app) load(path string) (*configs.Config, configs.Diagnostics) {
	if path == "" {
		return configs.Resolve(&configs.Sources{}, a.schema)
	}
	config, _, diagnostics := configs.Load(path, a.schema)
	return config, diagnostics
}
