package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tined/tined/configs"
)

func (a *app) checkCommand() *cobra.Command {
	dump := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration",
		Long: `Check reads a configuration with all its includes and reports every mistake at once, as

  file:line:column: what is wrong; what to write instead

It opens no socket and changes nothing. The status is 0 and "FILE: ok" is printed, or 1.
With --dump it prints the configuration as it is understood, every default written out,
in a form that can be read again.`,
		Example: fmt.Sprintf(`  %[1]s check %[1]s.hcl
  %[1]s check --dump -c %[1]s.hcl > whole.hcl
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
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.config = args[0]
			}
			return a.check(dump)
		},
	}
	cmd.Flags().BoolVar(&dump, "dump", false, "print the configuration with every default")
	return cmd
}

func (a *app) check(dump bool) error {
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
	if dump {
		return a.printf("%s", config.Dump())
	}
	if path == "" {
		path = "the routes in code"
	}
	return a.printf("%s: ok\n", path)
}

// load resolves the configuration at path, "" for none. Nothing is looked at but files.
func (a *app) load(path string) (*configs.Config, configs.Diagnostics) {
	if path == "" {
		return configs.Resolve(&configs.Sources{}, a.schema)
	}
	config, _, diagnostics := configs.Load(path, a.schema)
	return config, diagnostics
}
