package main

import (
	"errors"
	"syscall"
	"time"
)

// Kill is the death of a child.
type Kill struct {
	At time.Time
	// Held are the clients' ports of the connections that the child had accepted.
	Held map[uint16]bool
	// Queued is how many connections waited in the queues of all shards.
	Queued int
}

// Failure is a connection that did not get its answer.
type Failure struct {
	Port  uint16 // the client's, 0 when it did not connect
	Begin time.Time
	End   time.Time
	Err   error
}

// Loss is what a failure was.
type Loss string

const (
	// LossHeld: a killed child had accepted the connection. Nobody could save it.
	LossHeld Loss = "broken because held"
	// LossRefused: the connection was refused.
	LossRefused Loss = "refused"
	// LossReset: it was reset or closed, though no killed child had accepted it.
	LossReset Loss = "reset before accept"
	// LossTimeout: it had no answer in time.
	LossTimeout Loss = "timed out"
	// LossOther is any other error.
	LossOther Loss = "other"
)

// classify says what a failure was. Ports are used again, so a kill explains a failure only
// if the connection had begun before it and ended after it.
func classify(f Failure, kills []Kill) Loss {
	for _, k := range kills {
		if k.Held[f.Port] && f.Begin.Before(k.At) && f.End.After(k.At) {
			return LossHeld
		}
	}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(f.Err, syscall.ECONNREFUSED):
		return LossRefused
	case errors.Is(f.Err, syscall.ECONNRESET), errors.Is(f.Err, syscall.EPIPE), errors.Is(f.Err, errClosed):
		return LossReset
	case errors.As(f.Err, &timeout) && timeout.Timeout():
		return LossTimeout
	}
	return LossOther
}

// errClosed says that the server closed a connection without a whole answer.
var errClosed = errors.New("closed without a whole answer")
