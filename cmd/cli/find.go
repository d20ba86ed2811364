package cli

import (
	"errors"
	"io/fs"
	"os"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

// This file finds the master, in one order for every command (docs/control.md):
//
//  1. --control PATH
//  2. the environment variable TINED_CONTROL
//  3. the `control` of -c FILE, also when FILE is full of mistakes: a running master does not care
//  4. the `control` of the program's default configuration, if there is one
//  5. the default: $RUNTIME_DIRECTORY/control.sock; as root /run/NAME/control.sock; $XDG_RUNTIME_DIR/NAME/control.sock;
//     NAME-UID/control.sock below the temporary folder
//
// A FILE that sets no `control` leads to 5. The master goes the same way (master.ControlPath), so both meet.

// envControl names the control socket.
const envControl = "TINED_CONTROL"

// explicitControl is the control socket that the user names apart from any configuration; "" for none.
func (a *app) explicitControl() string {
	if a.control != "" {
		return a.control
	}
	return os.Getenv(envControl)
}

// controlPath is the path of the master's control socket. Nobody needs to listen there.
func (a *app) controlPath() (string, error) {
	explicit := a.explicitControl()
	if explicit != "" {
		return master.ControlPath(a.program.Name, explicit, "")
	}
	configured, err := a.configuredControl()
	if err != nil {
		return "", err
	}
	return master.ControlPath(a.program.Name, "", configured)
}

// controlIsHidden returns the configuration file if it might set a `control` that nobody can see for the file's mistakes; "" otherwise.
func (a *app) controlIsHidden() string {
	if a.explicitControl() != "" {
		return ""
	}
	path := a.config
	if path == "" {
		path = a.program.DefaultConfig
	}
	_, sources, diagnostics := configs.Load(path, a.schema)
	if sources == nil || !diagnostics.HasErrors() {
		return ""
	}
	if configured, _ := configs.Control(sources); configured != "" {
		return ""
	}
	return path
}

// configuredControl is what the configuration says; "" for nothing.
func (a *app) configuredControl() (string, error) {
	path := a.config
	if path == "" {
		path = a.program.DefaultConfig
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
	}
	sources, diagnostics := configs.Read(path)
	if sources == nil { // the file itself cannot be read
		return "", diagnostics
	}
	configured, _ := configs.Control(sources)
	return configured, nil
}
