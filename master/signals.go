package master

import (
	"os"
	"os/signal"
	"slices"
	"syscall"

	"go.uber.org/zap"
)

// catchSignals sends the signals that mean something to ch, and makes the others harmless. The
// meanings are in docs/signals.md. foreground: see Options.Foreground.
func catchSignals(ch chan<- os.Signal, foreground bool) (release func()) {
	// Ignored, and so in the children too: a log reader that goes away is an error of the write
	// (FACTS 47), and a WINCH comes with every resize of a terminal.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGWINCH)
	meant := []os.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}
	// A terminal sends these to a background process that uses it, which is no order.
	if onTerminal() {
		signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
	} else {
		meant = append(meant, syscall.SIGTTIN, syscall.SIGTTOU)
	}
	if foreground {
		meant = slices.DeleteFunc(meant, func(s os.Signal) bool { return ofTerminal(s) && signal.Ignored(s) })
	}
	signal.Notify(ch, meant...)
	return func() { signal.Stop(ch) }
}

// ofTerminal reports whether a terminal sends the signal for its user: ^C, and when it is closed.
func ofTerminal(s os.Signal) bool { return s == syscall.SIGINT || s == syscall.SIGHUP }

// onTerminal reports whether a standard descriptor is a terminal.
func onTerminal() bool {
	return isTerminal(os.Stdin) || isTerminal(os.Stdout) || isTerminal(os.Stderr)
}

// onSignal gives one signal its meaning.
func (m *master) onSignal(s os.Signal) {
	if m.o.Foreground && ofTerminal(s) {
		s = syscall.SIGTERM
	}
	switch s {
	case syscall.SIGTERM, syscall.SIGQUIT:
		again := m.phase == stopping                   // the second one hurries
		if u := m.upgrading; m.departed() && !u.told { // this is the first one: what drains does so because of the upgrade
			u.told, again = true, false
		}
		m.stop(again)
	case syscall.SIGINT:
		m.stop(true)
	case syscall.SIGUSR1:
		_ = m.reopenLogs() // it is in the log
	case syscall.SIGHUP:
		m.reload("SIGHUP", nil)
	case syscall.SIGTTIN:
		m.scaleBySignal("SIGTTIN", m.children()+1)
	case syscall.SIGTTOU:
		m.scaleBySignal("SIGTTOU", m.children()-1)
	case syscall.SIGUSR2:
		m.upgrade("SIGUSR2", UpgradeRequest{}, nil)
	}
}

func (m *master) scaleBySignal(by string, children int) {
	m.scale(children, by, func(err error) {
		if err != nil {
			m.log.Warn("the number of children stays as it is", zap.String("by", by), zap.Error(err))
		}
	})
}
