package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// A waiter is a mechanism of polling as the experiments see it. Descriptors are added readable.
type waiter interface {
	Add(fd int) error
	// Look appends the descriptors that are ready, and does not wait.
	Look(ready []int) ([]int, error)
	Close() error
}

// library is a poller of netcore.
type library struct {
	netcore.Poller
	events []netcore.Event
}

func newLibrary(mechanism string, room int) (waiter, error) {
	p, err := netcore.NewPoller(mechanism)
	if err != nil {
		return nil, err
	}
	return &library{Poller: p, events: make([]netcore.Event, room)}, nil
}

func (p *library) Add(fd int) error {
	return p.Poller.Add(fd, netcore.Readable, netcore.MakeToken(fd, 1))
}

func (p *library) Look(ready []int) ([]int, error) {
	n, err := p.Wait(p.events, 0)
	for i := range p.events[:n] {
		fd, _ := netcore.SplitToken(p.events[i].Token)
		ready = append(ready, fd)
	}
	return ready, err
}

// rawEpoll is epoll as epoll(7) has it, with any flags: what netcore does not offer is there to be
// compared.
type rawEpoll struct {
	fd     int
	flags  uint32
	events []unix.EpollEvent
}

// newRawEpoll makes one that fetches at most room events at a time.
func newRawEpoll(flags uint32, room int) (*rawEpoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &rawEpoll{fd: fd, flags: flags, events: make([]unix.EpollEvent, room)}, nil
}

func (e *rawEpoll) control(op, fd int) error {
	if err := unix.EpollCtl(e.fd, op, fd, &unix.EpollEvent{Events: e.flags | unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll_ctl fd %d: %w", fd, err)
	}
	return nil
}

func (e *rawEpoll) Add(fd int) error { return e.control(unix.EPOLL_CTL_ADD, fd) }

// Look makes a raw call, as netcore does: it cannot block.
func (e *rawEpoll) Look(ready []int) ([]int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return ready, fmt.Errorf("epoll_pwait: %w", errno)
	}
	if errno == 0 {
		for i := range e.events[:n] {
			ready = append(ready, int(e.events[i].Fd))
		}
	}
	return ready, nil
}

// sleep waits for events, timeout in ms, -1 for ever, and returns their descriptors.
func (e *rawEpoll) sleep(timeout int) ([]unix.EpollEvent, error) {
	for {
		n, err := unix.EpollWait(e.fd, e.events, timeout)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("epoll_wait: %w", err)
		}
		return e.events[:n], nil
	}
}

func (e *rawEpoll) Close() error { return netcore.Close(e.fd) }

// edge is EPOLLET in the type of an event's flags.
const edge = uint32(unix.EPOLLET & 0xffffffff)
