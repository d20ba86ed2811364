package master

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// operatorListener is the control socket. It can be paused, which an http.Server knows nothing of: after an upgrade another process accepts
// from the same socket, and if the upgrade is taken back this one does again.
//
// It is no net.UnixListener, since that cannot be made of a descriptor, or give its own away, without a moment in which the socket blocks,
// for all processes that have it: an accept(2) of that moment would wait in the kernel, and take a connection that is another master's.
type operatorListener struct {
	file *os.File // non-blocking
	raw  syscall.RawConn
	addr *net.UnixAddr

	mu     sync.Mutex
	paused bool
	closed bool
	change *sync.Cond

	silent atomic.Int64 // connections that were accepted, and have asked for nothing yet
}

// newOperatorListener makes one of a listening, non-blocking socket. It owns fd.
func newOperatorListener(fd int, path string) (*operatorListener, error) {
	l := &operatorListener{file: os.NewFile(uintptr(fd), path), addr: &net.UnixAddr{Name: path, Net: "unix"}}
	l.change = sync.NewCond(&l.mu)
	var err error
	if l.raw, err = l.file.SyscallConn(); err == nil {
		err = l.file.SetReadDeadline(time.Time{}) // Go's poller must have taken it
	}
	if err != nil {
		_ = l.file.Close()
		return nil, err
	}
	return l, nil
}

// Accept waits for the next connection, and as long as the listener is paused.
func (l *operatorListener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		for l.paused && !l.closed {
			l.change.Wait()
		}
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return nil, net.ErrClosed
		}
		fd, err := l.accept()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ECONNABORTED):
			continue // it was paused, or nobody is there any more
		case errors.Is(err, os.ErrClosed):
			return nil, net.ErrClosed
		case err != nil:
			return nil, &net.OpError{Op: "accept", Net: "unix", Addr: l.addr, Err: err}
		}
		f := os.NewFile(uintptr(fd), "control connection")
		c, err := net.FileConn(f)
		_ = f.Close() // FileConn has a duplicate of its own
		if err != nil {
			l.silent.Add(-1)
		}
		return c, err
	}
}

func (l *operatorListener) accept() (fd int, err error) {
	outer := l.raw.Read(func(listener uintptr) bool {
		l.mu.Lock() // so that nothing is accepted once pause has returned
		defer l.mu.Unlock()
		if l.paused {
			err = os.ErrDeadlineExceeded
			return true
		}
		for {
			if fd, _, err = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); err != unix.EINTR {
				if err == nil {
					l.silent.Add(1)
				}
				return err != unix.EAGAIN
			}
		}
	})
	if outer != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			return -1, os.ErrClosed
		}
		return -1, outer
	}
	return fd, os.NewSyscallError("accept4", err)
}

// pause lets nothing be accepted any more, until it is called with false. What waits in the queue stays there.
func (l *operatorListener) pause(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = on
	until := time.Time{}
	if on {
		until = time.Unix(1, 0) // long ago: an Accept that waits returns
	}
	_ = l.file.SetReadDeadline(until) // it fails when the listener is closed
	l.change.Broadcast()
}

// duplicate is a descriptor of the socket for another master. The caller closes it.
func (l *operatorListener) duplicate() (int, error) { return duplicate(l.file) }

// duplicate is another descriptor of a file, which the caller closes. The method Fd would make the open file a blocking one, for all that have
// it.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if outer := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) }); outer != nil {
		return -1, outer
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// Addr implements net.Listener.
func (l *operatorListener) Addr() net.Addr { return l.addr }

// Close implements net.Listener. The socket's file stays, and so does the socket in other processes.
func (l *operatorListener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.change.Broadcast()
	l.mu.Unlock()
	return l.file.Close()
}

// pause lets another master answer on the control socket: requests that have come here before are answered, and their connections closed.
func (o *operator) pause() {
	o.listener.(*operatorListener).pause(true)
	o.server.SetKeepAlivesEnabled(false)
}

// silentBound is how long those are waited for who have connected and ask for nothing: a client's request follows its connection at once.
const silentBound = 100 * time.Millisecond

// drain returns once everybody has asked who had connected before the pause: nobody would answer them later. Any goroutine but the loop's.
func (o *operator) drain() {
	l := o.listener.(*operatorListener)
	for end := time.Now().Add(silentBound); l.silent.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// watch follows the connections of the server.
func (o *operator) watch(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		o.silent.Store(c, nil)
		return
	}
	if _, first := o.silent.LoadAndDelete(c); first {
		if l, ok := o.listener.(*operatorListener); ok {
			l.silent.Add(-1)
		}
	}
}

// leave ends what would go on for ever here, once another master has taken the control socket over for good.
func (o *operator) leave() { close(o.left) }

// resume ends a pause.
func (o *operator) resume() {
	o.server.SetKeepAlivesEnabled(true)
	o.listener.(*operatorListener).pause(false)
}
