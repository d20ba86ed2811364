package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tined/tined/child/module"
)

// commanding is a module with commands: `things list NAME…` prints its blocks, `things fail` ends with what its argument says.
type commanding struct{ anything }

func (commanding) Command() module.Command {
	return module.Command{
		Name: "things", Short: "Look after things", Long: "Things of {program}.", Example: "  {program} things list -c {defaultconfig}",
		Commands: []module.Command{
			{
				Name: "list", Args: "[NAME...]", MaxArgs: -1, Short: "List things", Long: "List them.", Example: "  {program} things list",
				Setup: func(flags *flag.FlagSet) func(context.Context, *module.Call) error {
					loud := flags.Bool("loud", false, "say it aloud")
					size := flags.String("size", "", "of `BYTES`")
					return func(_ context.Context, c *module.Call) error {
						config, err := c.Configuration()
						if err != nil {
							return err
						}
						for _, r := range config.Routes {
							fmt.Fprintf(c.Stdout, "%s %s %s %v %q %q %v\n", r.Site, r.Pattern, r.Block.Name(), *loud, *size, c.Args, c.Terminal)
						}
						return nil
					}
				},
			},
			{
				Name: "fail", Args: "HOW", MinArgs: 1, MaxArgs: 1, Short: "Fail", Long: "Fail.", Example: "  {program} things fail plain",
				Setup: func(*flag.FlagSet) func(context.Context, *module.Call) error {
					return func(_ context.Context, c *module.Call) error {
						switch c.Args[0] {
						case "quiet":
							return &module.StatusError{Status: module.StatusFailed}
						case "usage":
							return fmt.Errorf("so: %w", &module.StatusError{Status: module.StatusUsage, Err: errors.New("not so")})
						case "late":
							return &module.StatusError{Status: module.StatusTimedOut, Err: errors.New("too late")}
						}
						return errors.New("it failed")
					}
				},
			},
		},
	}
}

func TestModuleCommands(t *testing.T) {
	p := bare(t)
	p.Modules = []module.Module{commanding{}}
	path := write(t, filepath.Join(t.TempDir(), "c.hcl"), minimal[:len(minimal)-2]+"  route \"/a/\" {\n    anything {}\n  }\n}\n")
	status, stdout, stderr, asked := call(t, p, "things", "list", "one", "--loud", "--size", "3", "-c", path)
	if status != exitOK || stdout != "main /a/ anything true \"3\" [\"one\"] false\n" || stderr != "" || asked != nil {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	for _, c := range []struct {
		args           []string
		status         int
		stdout, stderr string // parts
	}{
		{[]string{"things"}, exitOK, "Things of prog.", ""},
		{[]string{"things", "lits"}, exitUsage, "", `there is no command "things lits"; did you mean list?`},
		{[]string{"things", "list", "--nonsense"}, exitUsage, "", "--help`"},
		{[]string{"things", "fail"}, exitUsage, "", "fail takes 1: HOW, and was given 0"},
		{[]string{"things", "fail", "plain"}, exitFailed, "", "prog: it failed\n"},
		{[]string{"things", "fail", "quiet"}, exitFailed, "", ""},
		{[]string{"things", "fail", "usage"}, exitUsage, "", "prog: not so; see `prog things fail --help`\n"},
		{[]string{"things", "fail", "late"}, exitTimedOut, "", "prog: too late\n"},
		{[]string{"things", "list"}, exitFailed, "", "there is no configuration"},
		{[]string{"things", "list", "-c", write(t, filepath.Join(t.TempDir(), "bad.hcl"), "nonsense = 1\n")}, exitFailed, "", "nonsense"},
		{[]string{"help", "things", "list"}, exitOK, "--size BYTES", ""},
		{[]string{"--help"}, exitOK, "Modules:\n  things", ""},
	} {
		status, stdout, stderr, _ := call(t, p, c.args...)
		if status != c.status || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%q: %d %q %q", c.args, status, stdout, stderr)
		}
	}
	if status, _, _, _ := call(t, bare(t), "things"); status != exitUsage {
		t.Errorf("a program without the module has its command: %d", status)
	}
}

func TestModuleCommandsOfOneName(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two modules have one command")
		}
	}()
	p := bare(t)
	p.Modules = []module.Module{commanding{}, commanding{}}
	Command(p)
}

// Every command of a linked module has what its manual page is made from.
func TestLinkedModulesAreDocumented(t *testing.T) {
	p := bare(t)
	p.Modules = []module.Module{commanding{}}
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" || strings.Contains(cmd.Long+cmd.Example, "{program}") {
			t.Errorf("%s has no text or no example", cmd.CommandPath())
		}
		for _, below := range cmd.Commands() {
			look(below)
		}
	}
	cmd, _, err := Command(p).Find([]string{"things"})
	if err != nil {
		t.Fatal(err)
	}
	look(cmd)
}
