package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
)

// Commands that modules bring. Who writes a module sees nothing of cobra: package module says what a command is.

const groupModules = "modules"

// addModuleCommands adds those of the program's modules. That two have one name is a mistake of the program.
func (a *app) addModuleCommands(root *cobra.Command) {
	for _, m := range a.program.Modules {
		c, brings := m.(module.Commander)
		if !brings {
			continue
		}
		described := c.Command()
		if found, _, err := root.Find([]string{described.Name}); err == nil && found != root {
			panic(fmt.Sprintf("cli: the module %s brings a command %q, and there is one already", m.Spec().Name, described.Name))
		}
		cmd := a.moduleCommand(m.Spec().Name, described)
		if !root.ContainsGroup(groupModules) {
			root.AddGroup(&cobra.Group{ID: groupModules, Title: "Modules:"})
		}
		cmd.GroupID = groupModules
		root.AddCommand(cmd)
	}
}

// moduleCommand is a command of the module with this name, with those below it.
func (a *app) moduleCommand(name string, c module.Command) *cobra.Command {
	texts := strings.NewReplacer("{program}", a.program.Name, "{defaultconfig}", a.program.DefaultConfig)
	cmd := &cobra.Command{
		Use: strings.TrimSpace(c.Name + " " + c.Args), Short: texts.Replace(c.Short), Long: texts.Replace(c.Long), Example: texts.Replace(c.Example),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	for _, below := range c.Commands {
		cmd.AddCommand(a.moduleCommand(name, below))
	}
	if c.Setup == nil {
		cmd.Args = knownBelow
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		return cmd
	}
	var flags flag.FlagSet
	run := c.Setup(&flags)
	cmd.Flags().AddGoFlagSet(&flags)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) < c.MinArgs || c.MaxArgs >= 0 && len(args) > c.MaxArgs {
			return failure(exitUsage, "%s takes %s, and was given %d", cmd.Name(), argumentCount(c), len(args))
		}
		return nil
	}
	cmd.RunE = failing(func(cmd *cobra.Command, args []string) error {
		// Who is interrupted tidies up. A second ^C ends the process at once.
		ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		err := run(ctx, a.moduleCall(cmd, name, args))
		if e, known := errors.AsType[*module.StatusError](err); known {
			return &exitError{status: e.Status, err: e.Err}
		}
		return err
	})
	return cmd
}

// knownBelow refuses the argument of a command that only holds others.
func knownBelow(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("there is no command %q", cmd.Name()+" "+args[0])
	cmd.SuggestionsMinimumDistance = 2
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		message += fmt.Sprintf("; did you mean %s?", strings.Join(similar, " or "))
	}
	return &exitError{status: exitUsage, err: errors.New(message)}
}

// argumentCount says how many arguments a command takes.
func argumentCount(c module.Command) string {
	switch {
	case c.MaxArgs == 0:
		return "no argument"
	case c.MaxArgs < 0:
		return fmt.Sprintf("at least %d: %s", c.MinArgs, c.Args)
	case c.MinArgs == c.MaxArgs:
		return fmt.Sprintf("%d: %s", c.MinArgs, c.Args)
	}
	return fmt.Sprintf("%d to %d: %s", c.MinArgs, c.MaxArgs, c.Args)
}

// moduleCall is what a run of a command of the module with this name is given.
func (a *app) moduleCall(cmd *cobra.Command, name string, args []string) *module.Call {
	in := cmd.InOrStdin()
	return &module.Call{
		Program: a.program.Name, Args: args, Stdin: in, Stdout: a.stdout, Stderr: a.stderr, Terminal: isTerminal(in) && isTerminal(a.stderr),
		Configuration: func() (*module.Configuration, error) { return a.moduleConfiguration(name) },
	}
}

func isTerminal(stream any) bool {
	f, isFile := stream.(*os.File)
	if !isFile {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// moduleConfiguration reads the configuration, and picks the blocks of the module with this name.
func (a *app) moduleConfiguration(name string) (*module.Configuration, error) {
	path, err := a.configuration()
	if err != nil {
		return nil, err
	}
	config, diagnostics := a.load(path)
	if config == nil || diagnostics.HasErrors() {
		for _, d := range diagnostics {
			fmt.Fprintln(a.stderr, d)
		}
		return nil, failure(exitFailed, "the configuration has mistakes")
	}
	found := &module.Configuration{Path: path, User: config.User, Group: config.Group}
	for _, s := range config.Sites {
		found.Routes = append(found.Routes, placed(&s, name)...)
	}
	return found, nil
}

func placed(s *configs.Site, name string) (list []module.Placed) {
	for _, r := range s.Routes {
		if r.Module == name && !r.FromCode {
			list = append(list, module.Placed{Site: s.Name, Pattern: r.Pattern, Block: r.Block})
		}
	}
	return list
}
