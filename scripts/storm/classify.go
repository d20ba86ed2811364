package main

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"time"
)

// Kill is the death of a child.
type Kill struct {
	At time.Time
	// Held are the clients' addresses of the connections that the child had accepted.
	Held map[netip.AddrPort]bool
	// Queued is how many connections waited in the queues of all shards.
	Queued int
}

// Failure is a connection that did not get its answer.
type Failure struct {
	From    netip.AddrPort // the client's address, the zero value when it had none yet
	Begin   time.Time
	End     time.Time
	Err     error
	Child   string // that the last answer named, by its process id; "" when none did
	Slot    string // and by its index
	Answers int    // on this connection, before
	Value   uint64 // the number of the configuration in the last answer
}

// Loss is what a failure was.
type Loss string

const (
	// LossHeld: a killed child had accepted the connection. Nobody could save it.
	LossHeld Loss = "broken because held"
	// LossRefused: the connection was refused.
	LossRefused Loss = "refused"
	// LossReset: it was reset, though no killed child had accepted it.
	LossReset Loss = "reset"
	// LossClosed: it was closed before its answer was whole.
	LossClosed Loss = "closed without a whole answer"
	// LossIdle: it was closed between two requests, and no answer had announced it.
	LossIdle Loss = "closed while idle"
	// LossTimeout: it had no answer in time.
	LossTimeout Loss = "timed out"
	// LossWrong: the answer was not the right one.
	LossWrong Loss = "wrong answer"
)

// losses are the kinds that are a fault of the server.
var losses = []Loss{LossRefused, LossReset, LossClosed, LossIdle, LossTimeout, LossWrong}

// classify says what a failure was. Ports are used again, so a kill explains a failure only
// if the connection had begun before it and ended after it.
func classify(f Failure, kills []Kill) Loss {
	for _, k := range kills {
		if k.Held[f.From] && f.Begin.Before(k.At) && f.End.After(k.At) {
			return LossHeld
		}
	}
	timeout, _ := errors.AsType[interface {
		error
		Timeout() bool
	}](f.Err)
	switch {
	case errors.Is(f.Err, syscall.ECONNREFUSED):
		return LossRefused
	case errors.Is(f.Err, syscall.ECONNRESET), errors.Is(f.Err, syscall.EPIPE):
		return LossReset
	case errors.Is(f.Err, errClosed), errors.Is(f.Err, io.EOF), errors.Is(f.Err, io.ErrUnexpectedEOF):
		return LossClosed
	case errors.Is(f.Err, errClosedIdle):
		return LossIdle
	case timeout != nil && timeout.Timeout():
		return LossTimeout
	}
	return LossWrong
}

// errClosed says that the server closed a connection without a whole answer.
var errClosed = errors.New("closed without a whole answer")

// errClosedIdle says that the server closed a connection that waited for nothing.
var errClosedIdle = errors.New("closed between two requests, and no answer had announced it")

// errAnnounced says that the server closed a connection as an answer had announced.
var errAnnounced = errors.New("closed as announced")

// errTimeout says that nothing came in time.
var errTimeout error = timeoutError{}

type timeoutError struct{}

func (timeoutError) Error() string { return "no answer within " + patience.String() }
func (timeoutError) Timeout() bool { return true }
