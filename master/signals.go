package master

import (
	"os"
	"os/signal"
	"syscall"
)

// catchSignals sends the signals that mean something to ch, and makes the others harmless. The
// meanings are in docs/signals.md.
func catchSignals(ch chan<- os.Signal) (release func()) {
	// Ignored, and so in the children too: a log reader that goes away is an error of the write
	// (FACTS 47); the terminal's own must neither stop a background master that writes to it (TTOU)
	// nor be taken for an order (WINCH comes with every resize).
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return func() { signal.Stop(ch) }
}

// onSignal gives one signal its meaning.
func (m *master) onSignal(s os.Signal) {
	switch s {
	case syscall.SIGTERM, syscall.SIGQUIT:
		m.stop(m.phase == stopping) // the second one hurries
	case syscall.SIGINT:
		m.stop(true)
	case syscall.SIGUSR1:
		m.reopenLogs()
	case syscall.SIGHUP:
		m.log.Warn("SIGHUP: reload is not available in this version; stop and start the server to change its configuration")
	case syscall.SIGUSR2:
		m.log.Warn("SIGUSR2: upgrade is not available in this version; stop and start the server to change its binary")
	}
}
