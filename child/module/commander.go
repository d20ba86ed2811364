package module

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/tined/tined/configs"
)

// A Commander is a Module that brings a command of its own: `tined db backup shop` is the sqlite module's. A program that links the module in has the
// command among those of its command line.
type Commander interface {
	Module
	// Command describes it. It is asked once for each run of the command line, before anything is known of the configuration.
	Command() Command
}

// A Command is a command, or the parent of some. In its texts {program} stands for the program's name, {defaultconfig} for the path of its
// usual configuration. Lines have at most 100 columns.
type Command struct {
	Name string // "db"
	// Args are the arguments for the help, each in capitals: "NAME BACKUP". MinArgs and MaxArgs are how many there must be; -1: any number.
	Args             string
	MinArgs, MaxArgs int
	Short            string // a line without a period
	Long, Example    string
	// Setup declares the flags, and returns what is to be done once they are known. nil: the command does nothing but hold others. The names
	// config, control and help are taken. The text of a flag names its value in `backquotes`.
	Setup    func(flags *flag.FlagSet) func(ctx context.Context, c *Call) error
	Commands []Command
}

// A Call is what one run of a command has.
type Call struct {
	Program string
	Args    []string
	// Stdin, Stdout and Stderr are the caller's. Terminal: Stdin and Stderr are a terminal, where somebody can be asked.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool
	// Configuration reads the configuration, which -c FILE names or the program's usual one, and returns the module's part. Its errors are
	// ready to be returned; mistakes of the file were written to Stderr.
	Configuration func() (*Configuration, error)
}

// Configuration is the part of a resolved configuration that concerns a module.
type Configuration struct {
	Path   string // of its file; "" for none
	Routes []Placed
	// User and Group are those of the children; "": as the master's.
	User, Group string
}

// Placed is a module's block with its place.
type Placed struct {
	Site, Pattern string
	Block         *configs.Block
}

// The exit statuses of commands. An error that is no *StatusError is StatusFailed.
const (
	StatusFailed   = 1 // refused, or failed
	StatusUsage    = 2 // the command line itself is wrong
	StatusTimedOut = 4
)

// A StatusError is an error with the exit status of its command.
type StatusError struct {
	Status int
	Err    error // nil: everything has been said
}

func (e *StatusError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *StatusError) Unwrap() error { return e.Err }
