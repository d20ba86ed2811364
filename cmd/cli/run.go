package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

// defaultAddress is where a program without a configuration listens (configs.Default).
const defaultAddress = "127.0.0.1:8080"

func (a *app) runCommand() *cobra.Command {
	supervised, single := false, false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve",
		Long: fmt.Sprintf(`Run checks the whole configuration, opens every listener, starts the children, proves
each by a request, and only then prints one line with the URL. Anything wrong before
that is printed, and nothing has been changed.

It stays in the foreground. SIGTERM, SIGQUIT: finish what is in flight, at most
drain_timeout long, then end. SIGINT (^C): end at once.

As process 1, in a container, or with --supervised, a small process stands between the
supervisor and the master: it starts the master, reaps orphans, passes signals on, and
ends with the master's status, so that the supervised process stays the same when %s
is upgraded in place.

With --single-process master and child are one process, for a debugger or a profiler. Nothing
replaces its child, and only one core is served. It is the default under `+"`go run`"+`, where
--single-process=false gives the children back.`, name),
		Example: fmt.Sprintf(`  %[1]s run -c ./%[1]s.hcl
  %[1]s run -c ./%[1]s.hcl --control ./%[1]s.sock
  %[1]s run --supervised -c ./%[1]s.hcl`, name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("single-process") {
				single = a.byGoRun()
			}
			return a.serve(supervised, single)
		},
	}
	cmd.Flags().BoolVar(&single, "single-process", false, "serve in this one process, without children")
	cmd.Flags().BoolVar(&supervised, "supervised", false, "keep one process id for a supervisor, whatever the master's becomes")
	return cmd
}

// serve is `run`: as a stub where one is due, else as the master, alone or with children.
func (a *app) serve(supervised, single bool) error {
	if a.supervised || master.Upgraded() || !supervised && os.Getpid() != 1 {
		return a.run(single)
	}
	status, err := runInit(os.Args)
	if err != nil {
		return err
	}
	return exit(status)
}

// run is the master.
func (a *app) run(single bool) error {
	path, err := a.configuration()
	if err != nil {
		return err
	}
	channel, err := inheritedInit()
	if err != nil {
		return err
	}
	if channel != nil {
		// It stays open as long as this process: the next master will need it.
		defer channel.Close()
		if err := sayMaster(channel); err != nil {
			return fmt.Errorf("tell the init process that this is the master: %w", err)
		}
	}
	o := master.Options{
		Name:    a.program.Name,
		Path:    path,
		Schema:  a.schema,
		Version: a.program.Version,
		Control: a.explicitControl(),
		Shared:  a.program.Shared,
		Prepare: a.program.Hooks.Master,
		Init:    channel,
		Promote: sayMaster,

		Executable: ownExecutable(),

		Stdout: a.stdout,
		Stderr: a.stderr,
	}
	if single {
		o.Host = a.program.host()
	}
	return exit(a.master(o))
}

// ownExecutable is the absolute path of what this process was started by, which may be another file by the time of an upgrade; "": not known.
func ownExecutable() string {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

// configuration names the file to read, as the user did: -c, else the default. "" says that there is none and that the program can do
// without.
func (a *app) configuration() (string, error) {
	path := a.config
	if path == "" {
		path = a.program.DefaultConfig
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if a.schema.NoFile {
				return "", nil
			}
			return "", failure(exitFailed, "there is no configuration: %s does not exist; write it, or name another with -c FILE", path)
		}
	}
	return path, nil
}
