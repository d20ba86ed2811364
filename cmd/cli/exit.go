package cli

import "fmt"

// The exit statuses of every command.
const (
	exitOK         = 0
	exitFailed     = 1 // refused, or failed
	exitUsage      = 2 // the command line itself is wrong
	exitNotRunning = 3 // there is no master on the control socket
	exitTimedOut   = 4 // the master did not finish in time
)

// exitError is an error with its status. A nil err is a status that has been explained already.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exit makes an error of a status that needs no further words; nil for 0.
func exit(status int) error {
	if status == exitOK {
		return nil
	}
	return &exitError{status: status}
}

// failure makes an error with a status and a message.
func failure(status int, format string, args ...any) error {
	return &exitError{status: status, err: fmt.Errorf(format, args...)}
}
