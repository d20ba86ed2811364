package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tined/tined/child"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// Program is what is served: what the command line and all processes are made from. Every process of a program must have the same.
type Program struct {
	// Name is the program's name in help and messages, and that of its default configuration; "": the name of the executable.
	Name string
	// Version is printed and reported; "": the version of the main module, as the Go tool has noted it.
	Version string
	// Short says in one line what the program is.
	Short string
	// DefaultConfig is read when no -c is given; "": /etc/NAME/NAME.hcl.
	DefaultConfig string
	// Modules are the kinds of handler that a route may hold.
	Modules []module.Module
	// Middleware are the blocks that a site and a route may hold around what answers.
	Middleware []module.Middleware
	// Code are the routes registered in code. A program that has some may run without a configuration file.
	Code []module.CodeRoute
	// Hooks are what the program does at the turns of its processes' lives.
	Hooks Hooks
	// Shared is what its processes share; nil: nothing.
	Shared *board.Shared
}

// Main is the whole program: it plays the role that the process was started for, and returns the exit status.
func Main(p Program) int {
	p = p.withDefaults()
	restoreName(p.Name)
	switch role := control.Role(); role {
	case control.RoleChild:
		return child.Run(childOptions(p))
	case control.RoleHousekeeper:
		return child.RunHousekeeper(childOptions(p))
	case roleMaster, "":
		os.Unsetenv(control.EnvRole)
		a := &app{program: p, schema: schema(p), stdout: os.Stdout, stderr: os.Stderr, supervised: role == roleMaster, master: master.Run}
		a.executable, _ = os.Executable() // without /proc it is "", which is nobody's
		return a.execute(os.Args[1:])
	default:
		fmt.Fprintf(os.Stderr, "%s: %s=%q is no role: unset it\n", p.Name, control.EnvRole, role)
		return exitFailed
	}
}

// childOptions are those of a child in a process of its own.
func childOptions(p Program) child.Options {
	h := p.Hooks
	o := child.Options{
		Schema: schema(p), Modules: p.Modules, Middleware: p.Middleware, Code: p.Code, Version: p.Version, Shared: p.Shared,
		Hooks: child.Hooks{Start: h.ChildStart, Ready: h.Ready, Drain: h.Drain, Exit: h.Exit},
	}
	if o.Shared == nil {
		o.Shared = new(board.Shared)
	}
	return o
}

func (p Program) withDefaults() Program {
	if p.Name == "" {
		p.Name, _, _ = strings.Cut(filepath.Base(os.Args[0]), ":") // a child's is "tined: child 0"
	}
	if p.Version == "" {
		p.Version = builtVersion()
	}
	if p.Short == "" {
		p.Short = "a prefork HTTP server"
	}
	if p.DefaultConfig == "" {
		p.DefaultConfig = filepath.Join("/etc", p.Name, p.Name+".hcl")
	}
	return p
}

// restoreName gives a process that was started by way of /proc/self/exe its program's name back: ps and /proc/PID/comm would say "exe".
// Nothing depends on it, so an error (no /proc) is of no interest.
func restoreName(name string) {
	const comm = "/proc/self/comm"
	if now, err := os.ReadFile(comm); err == nil && strings.TrimSpace(string(now)) == "exe" {
		_ = os.WriteFile(comm, []byte(name), 0)
	}
}

// schema is what a configuration of p may hold.
func schema(p Program) *configs.Schema {
	s := &configs.Schema{
		Limits:      child.LimitsSpec(),
		RouteLimits: child.RouteLimitsSpec(),
		Workers:     child.WorkersSpec(),
		Pattern:     patternKey,
		NoFile:      len(p.Code) > 0,
	}
	for _, m := range p.Modules {
		spec := m.Spec()
		_, spec.Chores = m.(module.Housekeeper)
		s.Modules = append(s.Modules, spec)
	}
	for _, m := range p.Middleware {
		s.Middleware = append(s.Middleware, m.Spec())
	}
	for _, r := range p.Code {
		s.CodeRoutes = append(s.CodeRoutes, configs.CodeRoute{Pattern: r.Pattern, Place: r.Place})
	}
	return s
}

// patternKey tells configs which patterns are valid, and which are the same.
func patternKey(pattern string) (string, error) {
	p, err := web.ParsePattern(pattern)
	if e, ok := errors.AsType[*web.PatternError](err); ok {
		return "", configs.Problem{Message: e.Message, Cure: e.Cure, Column: e.Column}
	}
	if err != nil {
		return "", err
	}
	return p.Key(), nil
}

// app is one run of the command line.
type app struct {
	program        Program
	schema         *configs.Schema
	stdout, stderr io.Writer
	executable     string                   // this process's own, "" when it is not known
	supervised     bool                     // this master was started by a stub
	master         func(master.Options) int // master.Run; tests have another

	config  string // --config
	control string // --control
}

// execute runs one command and returns the exit status.
func (a *app) execute(args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(context.Background())
	switch e, known := errors.AsType[*exitError](err); {
	case err == nil:
		return exitOK
	case known && e.err == nil: // explained already
		return e.status
	case known && e.status != exitUsage:
		fmt.Fprintf(a.stderr, "%s: %v\n", a.program.Name, err)
		return e.status
	default:
		fmt.Fprintf(a.stderr, "%s: %v; see `%s --help`\n", a.program.Name, err, cmd.CommandPath())
		return exitUsage
	}
}

// Command is the tree of commands of p: what a manual is made from.
func Command(p Program) *cobra.Command {
	p = p.withDefaults()
	return (&app{program: p, schema: schema(p), stdout: os.Stdout, stderr: os.Stderr, master: master.Run}).command()
}

// The groups of commands in the help.
const (
	groupServe  = "serve"
	groupLook   = "look"
	groupChange = "change"
	groupOther  = "other"
)

func (a *app) command() *cobra.Command {
	name := a.program.Name
	var test, version *bool
	var signal *string
	root := &cobra.Command{
		Use:   name,
		Short: a.program.Short,
		Long: fmt.Sprintf(`%[1]s is %[2]s. A master starts one child per core; each child accepts on its own
listening socket and serves with its own event loop and workers.

The configuration is -c FILE, else %[3]s. Commands that talk to a running
master find it by --control, else by the environment variable TINED_CONTROL, else by the
configuration, else at the default place.

For those who are used to it: -t is check, and -s reload, -s quit, -s stop and -s reopen are
reload, stop, stop --fast and reopen-logs.

Exit status: 0 done; 1 refused or failed; 2 wrong usage; 3 no master is running;
4 timed out.`, name, a.program.Short, a.program.DefaultConfig),
		Example: fmt.Sprintf(`  %[1]s check -c %[1]s.hcl    is the configuration right?
  %[1]s run -c %[1]s.hcl      serve it, until ^C
  %[1]s status -c %[1]s.hcl   what is running
  %[1]s reload -c %[1]s.hcl   bring it to the file as it is now
  %[1]s stop -c %[1]s.hcl     finish what is in flight, then end`, name),
		Args:          noArguments,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if *version {
				return a.version(false)
			}
			if done, err := a.habitual(cmd, *test, *signal); done {
				return err
			}
			// A program with routes in code is a server; bin/tined is a tool that serves when told to.
			if len(a.program.Code) > 0 {
				return a.serve(false, a.byGoRun())
			}
			return cmd.Help()
		},
	}
	if len(a.program.Code) > 0 {
		root.Long += fmt.Sprintf("\n\nWithout a command %s does what `%[1]s run` does. Without a configuration it serves its own\nroutes on %s.",
			name, defaultAddress)
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{status: exitUsage, err: err} })
	flags := root.PersistentFlags()
	flags.StringVarP(&a.config, "config", "c", "", fmt.Sprintf("configuration `FILE` (default %s)", a.program.DefaultConfig))
	flags.StringVar(&a.control, "control", "", "`PATH` of the master's control socket (default: $TINED_CONTROL, else as configured)")
	_ = root.MarkPersistentFlagFilename("config", "hcl", "json") // it fails only for a flag that does not exist
	version = root.Flags().Bool("version", false, "print the version, as the command version does")
	test, signal = habitFlags(root)
	serve := []*cobra.Command{a.runCommand(), a.checkCommand(), a.stopCommand(), a.initCommand()}
	if len(a.program.Code) == 0 { // one with routes serves those: no folder may be published by a slip of the tongue
		serve = append(serve, a.serveCommand())
	}
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{groupServe, "Serve:", serve},
		{groupLook, "Look at what runs:", []*cobra.Command{a.statusCommand(), a.eventsCommand(), a.planCommand()}},
		{groupChange, "Change what runs:", []*cobra.Command{
			a.reloadCommand(), a.upgradeCommand(), a.rollbackCommand(), a.scaleCommand(), a.restartCommand(), a.balanceCommand(), a.workersCommand(), a.logLevelCommand(), a.reopenCommand(),
		}},
		{groupOther, "Other:", []*cobra.Command{
			a.hashPasswordCommand(), a.newTokenCommand(),
			a.versionCommand(),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	for _, cmd := range append(root.Commands(), root) {
		cmd.RunE = failing(cmd.RunE)
	}
	a.addModuleCommands(root)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion": // cobra's prints its help for every argument
			cmd.Args, cmd.RunE = noArguments, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.Short = "Print a completion script for a shell"
			cmd.Long = `Completion prints a script that completes commands, flags and files of this program: for bash,
zsh, fish or powershell. Packages bring those of the first three.`
			cmd.Example = fmt.Sprintf("  %[1]s completion bash > /etc/bash_completion.d/%[1]s\n  %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish", name)
		case "help": // and this one finds nothing wrong
			cmd.Run, cmd.RunE = nil, helpOn
		}
	}
	return root
}

// helpOn is `help COMMAND`.
func helpOn(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return failure(exitUsage, "there is no command %q", strings.Join(args, " "))
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// failing gives the errors of a command that has begun their status: only cobra's own, about the command line, are left without one.
func failing(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if _, known := errors.AsType[*exitError](err); err != nil && !known {
			return &exitError{status: exitFailed, err: err}
		}
		return err
	}
}

// noArguments is cobra.NoArgs in our words: on the root an argument is a command that does not exist.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasParent() {
		return failure(exitUsage, "%s takes no argument, and was given %q", cmd.Name(), args[0])
	}
	message := fmt.Sprintf("there is no command %q", args[0])
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		message += fmt.Sprintf("; did you mean %s?", strings.Join(similar, " or "))
	}
	return &exitError{status: exitUsage, err: errors.New(message)}
}

// printf prints for the caller of a command. An error (a full disk, a closed pipe) fails the command.
func (a *app) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.stdout, format, args...); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
