package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// Descriptors that an acceptor inherits.
const (
	listenerFile = 3
	boardFile    = 4
)

// maxAcceptors have a place on the board.
const maxAcceptors = 16

// tally is what one acceptor counts, in memory that it shares with the lab: asking it would wake it.
type tally struct {
	begun    atomic.Int64 // 1 once it is about to wait
	accepted atomic.Int64
	returns  atomic.Int64 // of the wait
	empty    atomic.Int64 // returns after which no connection was there
}

type board [maxAcceptors]tally

// newBoard makes the memory, and a descriptor of it for the acceptors.
func newBoard() (*board, *os.File, error) {
	fd, err := unix.MemfdCreate("tally", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), "tally")
	if err := file.Truncate(int64(unsafe.Sizeof(board{}))); err != nil {
		file.Close()
		return nil, nil, err
	}
	b, err := openBoard(fd)
	if err != nil {
		file.Close()
	}
	return b, file, err
}

func openBoard(fd int) (*board, error) {
	memory, err := unix.Mmap(fd, 0, int(unsafe.Sizeof(board{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return (*board)(unsafe.Pointer(&memory[0])), nil
}

func (b *board) free() {
	_ = unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(b)), unsafe.Sizeof(*b))) // it can only fail for another address
}

// An acceptor's ways of waiting for connections.
const (
	waitEpoll     = "epoll"            // epoll_wait, level-triggered
	waitEdge      = "epoll-edge"       // and edge-triggered
	waitExclusive = "epoll-exclusive"  // and with EPOLLEXCLUSIVE
	waitNested    = "nested-exclusive" // EPOLLEXCLUSIVE, and Go's poller waits for the epoll descriptor
	waitLibrary   = "netcore"          // netcore's poller: the server's
	waitAccept    = "accept"           // accept4 itself, on a blocking socket
)

// runAcceptor is `lab acceptor MODE INDEX`. It accepts, resets what it has accepted, and counts. It
// ends with its standard input.
func runAcceptor(args []string) error {
	if len(args) != 2 {
		return errors.New("a way to wait and a number are needed")
	}
	index, err := strconv.Atoi(args[1])
	if err != nil || index < 0 || index >= maxAcceptors {
		return fmt.Errorf("number %q", args[1])
	}
	b, err := openBoard(boardFile)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- acceptBy(args[0], &b[index]) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	return <-failed
}

func acceptBy(mode string, t *tally) error {
	switch mode {
	case waitAccept:
		t.begun.Store(1)
		for {
			fd, _, err := unix.Accept4(listenerFile, unix.SOCK_CLOEXEC)
			switch err {
			case nil:
				t.returns.Add(1)
				t.take(fd)
			case unix.EINTR, unix.ECONNABORTED:
			default:
				return fmt.Errorf("accept4: %w", err)
			}
		}
	case waitLibrary:
		p, err := netcore.NewPoller("epoll")
		if err != nil {
			return err
		}
		if err := p.Add(listenerFile, netcore.Readable, 1); err != nil {
			return err
		}
		t.begun.Store(1)
		for events := make([]netcore.Event, 16); ; {
			if _, err := p.Wait(events, -1); err != nil {
				return err
			}
			if err := t.burst(); err != nil {
				return err
			}
		}
	}
	flags, known := map[string]uint32{waitEpoll: 0, waitEdge: edge, waitExclusive: unix.EPOLLEXCLUSIVE, waitNested: unix.EPOLLEXCLUSIVE}[mode]
	if !known {
		return fmt.Errorf("no way to wait is called %q", mode)
	}
	e, err := newRawEpoll(flags, 16)
	if err != nil {
		return err
	}
	if err := e.Add(listenerFile); err != nil {
		return err
	}
	if mode == waitNested {
		return t.nested(e)
	}
	t.begun.Store(1)
	for {
		if _, err := e.sleep(-1); err != nil {
			return err
		}
		if err := t.burst(); err != nil {
			return err
		}
	}
}

// nested waits for the epoll descriptor in Go's own poller.
func (t *tally) nested(e *rawEpoll) error {
	if err := unix.SetNonblock(e.fd, true); err != nil {
		return err
	}
	file := os.NewFile(uintptr(e.fd), "epoll")
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	t.begun.Store(1)
	parked := false
	look := func() error {
		ready, err := e.Look(nil)
		if err != nil {
			return err
		}
		if len(ready) == 0 {
			if parked { // woken for what another process has taken
				t.returns.Add(1)
				t.empty.Add(1)
			}
			return nil
		}
		return t.burst()
	}
	for {
		var failed error
		err := conn.Read(func(uintptr) bool {
			failed = look()
			parked = true // it parks after the first look, and every later one follows a wake
			return failed != nil
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
}

// burst accepts what is there, after a wake.
func (t *tally) burst() error {
	t.returns.Add(1)
	for found := false; ; found = true {
		fd, _, err := netcore.Accept(listenerFile)
		switch err {
		case nil:
			t.take(fd)
		case unix.EAGAIN:
			if !found {
				t.empty.Add(1)
			}
			return nil
		case unix.ECONNABORTED:
		default:
			return fmt.Errorf("accept4: %w", err)
		}
	}
}

// take ends an accepted connection by a reset, so that no port is held. Counted first: the reset
// tells the client that it was accepted.
func (t *tally) take(fd int) {
	t.accepted.Add(1)
	_ = netcore.ResetOnClose(fd) // an error means that the client has gone
	_ = netcore.Close(fd)
}
