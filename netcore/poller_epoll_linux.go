package netcore

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollBatch is the number of events that one system call fetches at most.
const epollBatch = 256

// spent is the value of epollPoller.armed when the deadline lies in the past and must be set before the next park.
const spent = -1

// epollPoller waits without holding a thread. The epoll descriptor is itself registered with Go's own poller, and the
// loop parks as any goroutine that reads a socket does.
//
// The flow of Wait with a timeout:
//  1. arm: the timeout becomes the read deadline of the epoll descriptor, unless an armed one will do;
//  2. a Wake since then? It has set woken before the deadline, so either woken is seen here or the deadline ends step 3;
//  3. park: Go's poller resets its edge, look fetches by epoll_pwait with timeout 0, a RawSyscall, for it cannot block; only if it
//     finds nothing the goroutine sleeps until the epoll descriptor is readable or the deadline passes, and looks again.
//
// To look before step 1 would be a system call more in every sleep, and a busy loop that does not sleep asks with timeout 0.
//
// A Wake is a read deadline in the past: no system call, and nothing registered for it.
type epollPoller struct {
	fd   int
	file *os.File // owns fd
	conn syscall.RawConn
	look func(uintptr) bool // fetch as a closure, built once: one per Wait would be an allocation

	// Owner: the loop.
	raw   []unix.EpollEvent
	room  int        // how many events look may fetch
	ready int        // how many it did
	errno unix.Errno // or why not
	armed int64      // the read deadline as Now counts; 0: none; spent: it lies in the past

	woken atomic.Bool // any goroutine: a Wake that no Wait has used up
}

func newEpollPoller() (Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("poller: epoll_create1: %w", err)
	}
	// os.NewFile hands only a non-blocking descriptor to Go's poller. The flag means nothing to epoll itself.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = Close(fd)
		return nil, fmt.Errorf("poller: fcntl: %w", err)
	}
	p := &epollPoller{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), raw: make([]unix.EpollEvent, epollBatch)}
	p.look = func(uintptr) bool {
		p.fetch()
		return p.ready > 0 || p.errno != 0
	}
	if p.conn, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if Go's poller did not take the descriptor
	}
	if err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("poller: register epoll with the runtime: %w", err)
	}
	return p, nil
}

func (p *epollPoller) control(op int, fd int, interest Readiness, token uint64) error {
	event := unix.EpollEvent{
		Events: pollFlags(interest) | unix.EPOLLET,
		Fd:     int32(uint32(token)),
		Pad:    int32(uint32(token >> 32)),
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (p *epollPoller) Add(fd int, interest Readiness, token uint64) error {
	if err := p.control(unix.EPOLL_CTL_ADD, fd, interest, token); err != nil {
		return fmt.Errorf("poller: epoll add fd %d: %w", fd, err)
	}
	return nil
}

func (p *epollPoller) Modify(fd int, interest Readiness, token uint64) error {
	if err := p.control(unix.EPOLL_CTL_MOD, fd, interest, token); err != nil {
		return fmt.Errorf("poller: epoll modify fd %d: %w", fd, err)
	}
	return nil
}

func (p *epollPoller) Remove(fd int) error {
	if err := p.control(unix.EPOLL_CTL_DEL, fd, 0, 0); err != nil {
		return fmt.Errorf("poller: epoll remove fd %d: %w", fd, err)
	}
	return nil
}

func (p *epollPoller) Forget(int) {}

func (p *epollPoller) Wait(events []Event, timeout time.Duration) (int, error) {
	if len(events) == 0 {
		return 0, unix.EINVAL
	}
	p.room = min(len(events), len(p.raw))
	p.ready, p.errno = 0, 0
	if timeout == 0 {
		p.fetch()
	} else if err := p.park(timeout); err != nil {
		return 0, fmt.Errorf("poller: wait: %w", err)
	}
	if p.woken.Load() {
		p.armed = spent
		p.woken.Store(false)
		if p.ready == 0 && p.errno == 0 {
			p.fetch() // or a flow of wakes would keep the sockets waiting
		}
	}
	if p.errno != 0 {
		return 0, fmt.Errorf("poller: epoll_pwait: %w", p.errno)
	}
	for i := range p.raw[:p.ready] {
		e := &p.raw[i]
		events[i] = Event{
			Token: uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32,
			Ready: pollReadiness(e.Events),
		}
	}
	return p.ready, nil
}

// fetch takes what is ready and never blocks.
func (p *epollPoller) fetch() {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.raw[0])), uintptr(p.room), 0, 0, 0)
		switch errno {
		case 0:
			p.ready, p.errno = int(n), 0
			return
		case unix.EINTR:
		default:
			p.ready, p.errno = 0, errno
			return
		}
	}
}

// park sleeps until look has found something, the timeout is over or a Wake came.
func (p *epollPoller) park(timeout time.Duration) error {
	due := dueAfter(timeout)
	for {
		now := Now()
		if now >= due {
			return nil
		}
		if err := p.arm(now, due); err != nil {
			return err
		}
		if p.woken.Load() {
			return nil
		}
		err := p.conn.Read(p.look)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// The timeout, a Wake, a deadline that was armed for an earlier Wait, or a Wake that the last Wait has used up
		// already. Only the first two end this one.
		p.armed = spent
		if p.woken.Load() {
			return nil
		}
	}
}

// arm sets the read deadline unless the present one will do. Moving a runtime timer at every park is what it saves: an
// earlier deadline only makes park turn once more, and one that is late by a sixteenth of the timeout may stay.
func (p *epollPoller) arm(now, due int64) error {
	if due == forever {
		if p.armed == 0 || p.armed > now {
			return nil
		}
		p.armed = 0
		return p.file.SetReadDeadline(time.Time{})
	}
	if p.armed > now && p.armed-(due-now)/16 <= due {
		return nil
	}
	p.armed = due
	return p.file.SetReadDeadline(timeAt(due))
}

func (p *epollPoller) Wake() error {
	if p.woken.Swap(true) {
		return nil
	}
	if err := p.file.SetReadDeadline(epoch); err != nil {
		return fmt.Errorf("poller: wake: %w", os.ErrClosed) // nothing else can go wrong, the constructor has tried it
	}
	return nil
}

func (p *epollPoller) Close() error {
	p.fd = -1 // the raw calls must not meet the number's next owner
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("poller: %w", err)
	}
	return nil
}
