package control

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Door is a child's own listening socket, by which a later master reaches it. The file of that socket has mode 0600 in a folder of
// mode 0700, both of the master's user: that is what keeps others away. The kernel's word on who connects would say no more, and
// SO_PEERCRED seen from the other side names whoever called listen, which was the master before.
type Door struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool
}

// NewDoor takes f over, a listening SEQPACKET socket: f is closed, also on error.
func NewDoor(f *os.File) (*Door, error) {
	defer f.Close()
	fd, err := dup(f)
	if err != nil {
		return nil, fmt.Errorf("child's socket: %w", err)
	}
	// Non-blocking before NewFile: only then Go's poller takes it, and Close ends an Accept.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("child's socket: %w", os.NewSyscallError("fcntl", err))
	}
	d := &Door{file: os.NewFile(uintptr(fd), "child's socket")}
	if d.raw, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, fmt.Errorf("child's socket: %w", err)
	}
	return d, nil
}

// Accept waits for the next connection. One goroutine at a time. os.ErrClosed after Close.
func (d *Door) Accept() (*Conn, error) {
	var fd int
	var errno error
	err := d.raw.Read(func(listener uintptr) bool {
		for {
			// The master has a descriptor of the same open file, and may make it a blocking one when it starts another process: the
			// call must not be tried unless somebody waits.
			ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
			switch n, err := unix.Poll(ready, 0); {
			case err == unix.EINTR:
				continue
			case n == 0 && err == nil:
				return false
			}
			if fd, _, errno = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); errno != unix.EINTR && errno != unix.ECONNABORTED {
				return errno != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil && d.closed.Load(): // a RawConn has another name for it
		return nil, os.ErrClosed
	case err != nil:
		return nil, fmt.Errorf("child's socket: %w", err)
	case errno != nil:
		return nil, fmt.Errorf("child's socket: %w", os.NewSyscallError("accept4", errno))
	}
	return New(os.NewFile(uintptr(fd), "control"))
}

// Pass lends the descriptor of the socket to f, to be sent to a master. It is valid until f returns.
func (d *Door) Pass(f func(fd int)) error {
	return d.raw.Control(func(fd uintptr) { f(int(fd)) })
}

// Close ends an Accept that waits. Other processes may have the socket too.
func (d *Door) Close() error {
	d.closed.Store(true)
	return d.file.Close()
}

// Dial connects to the child behind path, for its adoption. Each message that comes names its sender (Sender). ECONNREFUSED: nobody has
// the socket any more; EAGAIN: its queue is full, nobody takes what comes.
func Dial(path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, os.NewSyscallError("socket", err))
	}
	// Before the connection: what is sent while the option is not set names nobody.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", path, os.NewSyscallError("setsockopt", err))
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", path, os.NewSyscallError("connect", err))
	}
	return New(os.NewFile(uintptr(fd), "control"))
}
