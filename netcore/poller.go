package netcore

import (
	"strings"
	"time"
)

// Readiness says what a descriptor is ready for, or what its owner wants to hear of.
type Readiness uint8

const (
	// Readable: a read does not block. It returns data, end of file or an error; on a listener, accept does.
	Readable Readiness = 1 << iota
	// Writable: there is room in the send buffer, or a write fails at once.
	Writable
	// Hangup: the descriptor is dead in both directions or carries an error (EPOLLHUP, EPOLLERR). It needs no interest.
	Hangup
	// PeerClosed: the peer will send no more, but may still read (EPOLLRDHUP). It is part of Readable interest.
	PeerClosed
)

var readinessNames = [...]string{"readable", "writable", "hangup", "peer_closed"}

// String is the list of the bits' names, such as "readable|peer_closed".
func (r Readiness) String() string {
	if r == 0 {
		return "none"
	}
	var names []string
	for i, name := range readinessNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Event is one report of Wait.
type Event struct {
	Token uint64 // as given to Add or to the last Modify
	Ready Readiness
}

// Poller waits for the readiness of many descriptors. Its owner is one goroutine, the loop; only Wake is for everybody.
//
// A backend may be edge-triggered or level-triggered, so the owner keeps to what is true of both:
//   - a reported readiness holds until a call returns EAGAIN (or a short count), and may not be reported again;
//   - readiness may be reported again although nothing is new;
//   - interest that is not being served is withdrawn by Modify, or a level-triggered Wait never sleeps.
type Poller interface {
	// Add registers a descriptor. Readiness that is already there is reported by the next Wait. interest is made of
	// Readable and Writable, or 0 for paused; other bits are ignored. Adding a descriptor twice is an error (EEXIST).
	Add(fd int, interest Readiness, token uint64) error
	// Modify replaces interest and token, and reports readiness that is already there again. With interest 0 the
	// descriptor is paused: only Hangup may still be reported. An unknown descriptor is an error (ENOENT).
	Modify(fd int, interest Readiness, token uint64) error
	// Remove deregisters a descriptor that stays open, such as one that is handed to another process: a duplicate would
	// keep its registration alive. A later Wait never reports it. An unknown descriptor is an error (ENOENT).
	Remove(fd int) error
	// Forget is said just before the close of a descriptor that has no duplicate. The kernel drops it from epoll by
	// itself, other backends drop it here. An unknown descriptor is no error.
	Forget(fd int)
	// Wait fills events and returns their number: 0 with a nil error after the timeout or a Wake. A negative timeout
	// waits for ever, 0 only looks; a timeout is never early, and late by at most a sixteenth of itself and the
	// scheduler's delay. EINTR is hidden. What did not fit into events comes with the next Wait. events must not be
	// empty (EINVAL).
	Wait(events []Event, timeout time.Duration) (int, error)
	// Wake ends the present Wait, or the next one if none is under way. It is sticky but does not count: every Wait that
	// returns, with events or without, uses up the Wakes before it. So the owner looks at its queues after every Wait.
	// Any goroutine may call it at any time; after Close it returns an error and does no harm.
	Wake() error
	// Close frees the poller, and none of the registered descriptors.
	Close() error
}
