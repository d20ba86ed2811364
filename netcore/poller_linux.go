package netcore

import (
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// NewPoller makes a poller by the name of its mechanism: "epoll" (also ""), "poll" or "select". The latter two cost time
// in proportion to the registered descriptors and hold a thread while they wait; select takes descriptors below 1024
// only. See epoll(7), poll(2), select(2).
func NewPoller(mechanism string) (Poller, error) {
	switch mechanism {
	case "", "epoll":
		return newEpollPoller()
	case "poll":
		return newPollPoller()
	case "select":
		return newSelectPoller()
	}
	return nil, fmt.Errorf("poller %q: no such mechanism; there are epoll, poll and select", mechanism)
}

// forever is the due time of a Wait without a timeout.
const forever = math.MaxInt64

// dueAfter turns a timeout into a point in time.
func dueAfter(timeout time.Duration) int64 {
	if timeout < 0 {
		return forever
	}
	now := Now()
	if int64(timeout) > forever-now {
		return forever
	}
	return now + int64(timeout)
}

// pollReadiness reads the flags of poll(2). The epoll flags have the same values on every Linux architecture.
func pollReadiness(flags uint32) Readiness {
	var r Readiness
	if flags&unix.EPOLLIN != 0 {
		r |= Readable
	}
	if flags&unix.EPOLLOUT != 0 {
		r |= Writable
	}
	if flags&(unix.EPOLLHUP|unix.EPOLLERR|unix.POLLNVAL) != 0 {
		r |= Hangup
	}
	if flags&unix.EPOLLRDHUP != 0 {
		r |= PeerClosed
	}
	return r
}

// pollFlags is the inverse of pollReadiness, for interest.
func pollFlags(interest Readiness) uint32 {
	var flags uint32
	if interest&Readable != 0 {
		flags |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if interest&Writable != 0 {
		flags |= unix.EPOLLOUT
	}
	return flags
}

// wakeup ends a wait in poll or select: an eventfd that stands among the descriptors.
//
// Lost wake-ups: consume clears the eventfd first and pending second. A wake in between sees pending and writes nothing,
// but then the Wait that consumes is the one that it ends. The other order could leave pending set over an empty eventfd,
// and no later wake would write.
type wakeup struct {
	pending atomic.Bool

	mu sync.Mutex
	fd int // guarded by mu for wake and close; -1 when closed, so that a late wake cannot write into a recycled number
}

func (w *wakeup) open() error {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("poller: eventfd: %w", err)
	}
	w.fd = fd
	return nil
}

func (w *wakeup) wake() error {
	if w.pending.Swap(true) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return fmt.Errorf("poller: wake: %w", os.ErrClosed)
	}
	one := [8]byte{7: 1}
	// EAGAIN means that the counter is at its limit, so the wake is there already.
	if _, err := Write(w.fd, one[:]); err != nil && err != unix.EAGAIN {
		return fmt.Errorf("poller: wake: %w", err)
	}
	return nil
}

// consume uses up the wakes so far. signalled says that the wait found the eventfd readable.
func (w *wakeup) consume(signalled bool) {
	if !signalled && !w.pending.Load() {
		return
	}
	var count [8]byte
	_, _ = Read(w.fd, count[:]) // EAGAIN: the waker has announced itself and not yet written
	w.pending.Store(false)
}

func (w *wakeup) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return fmt.Errorf("poller: close: %w", os.ErrClosed)
	}
	err := Close(w.fd)
	w.fd = -1
	return err
}
