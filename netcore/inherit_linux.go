package netcore

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Listening says what a descriptor that somebody else has opened is: the endpoint that it listens on, and whether it has SO_REUSEPORT and
// so may have siblings. Only the kernel is asked. An error when it is no socket (ENOTSOCK), none that carries connections of TCP or of the
// unix domain (EPROTONOSUPPORT), or when it does not listen (EINVAL), as a connection does not. A unix socket's path begins with @ when
// its name is abstract, and is where it was bound: the file may be another one's since.
func Listening(fd int) (local Endpoint, reusePort bool, err error) {
	fail := func(err error) (Endpoint, bool, error) {
		return Endpoint{}, false, fmt.Errorf("fd %d is no listening socket: %w", fd, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fail(fmt.Errorf("getsockopt SO_TYPE: %w", err))
	}
	if kind != unix.SOCK_STREAM {
		return fail(fmt.Errorf("it carries no stream: %w", unix.EPROTONOSUPPORT))
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fail(fmt.Errorf("getsockopt SO_DOMAIN: %w", err))
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return fail(fmt.Errorf("getsockopt SO_PROTOCOL: %w", err))
	}
	tcp := (domain == unix.AF_INET || domain == unix.AF_INET6) && protocol == unix.IPPROTO_TCP
	if !tcp && domain != unix.AF_UNIX {
		return fail(fmt.Errorf("it is neither of TCP nor of the unix domain: %w", unix.EPROTONOSUPPORT))
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fail(fmt.Errorf("getsockopt SO_ACCEPTCONN: %w", err))
	}
	if listening == 0 {
		return fail(fmt.Errorf("it is a connection, or was never made to listen: %w", unix.EINVAL))
	}
	if tcp {
		reuse, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
		if err != nil {
			return fail(fmt.Errorf("getsockopt SO_REUSEPORT: %w", err))
		}
		reusePort = reuse != 0
	}
	if local, err = Local(fd); err != nil {
		return fail(err)
	}
	return local, reusePort, nil
}

// Adjust makes a listening socket that somebody else has opened one of ours: close-on-exec, non-blocking (which every duplicate of it
// becomes, theirs too), with what Listen sets. The queue is kept. ReusePort must be what the socket has, for it cannot be changed any more;
// with it, a steering program that an earlier process has left in the group is taken away. The mode of a unix socket's file is not touched:
// the file may be gone, or another's.
func Adjust(fd int, o ListenOptions) error {
	fail := func(err error) error { return fmt.Errorf("adjust fd %d: %w", fd, err) }
	if err := closeOnExec(fd); err != nil {
		return fail(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fail(fmt.Errorf("fcntl O_NONBLOCK: %w", err))
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fail(fmt.Errorf("getsockopt SO_DOMAIN: %w", err))
	}
	if domain != unix.AF_UNIX {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fail(fmt.Errorf("setsockopt TCP_NODELAY: %w", err))
		}
		if err := SetDeferAccept(fd, o.DeferAccept); err != nil {
			return fail(err)
		}
	}
	if err := StartListening(fd, o); err != nil {
		return fail(err)
	}
	if o.ReusePort {
		if err := Unsteer(fd); err != nil {
			return fail(err)
		}
	}
	return nil
}

// SetDeferAccept sets TCP_DEFER_ACCEPT of a TCP socket, listening or not, as ListenOptions.DeferAccept says; 0 takes it away. What waits in
// the queue already stays as it is.
func SetDeferAccept(fd int, d time.Duration) error {
	seconds := int((max(d, 0) + time.Second - 1) / time.Second)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds); err != nil {
		return fmt.Errorf("setsockopt TCP_DEFER_ACCEPT: %w", err)
	}
	return nil
}

// CloseOnExec keeps an inherited descriptor from what this process executes. EBADF: there is none of this number.
func CloseOnExec(fd int) error {
	if err := closeOnExec(fd); err != nil {
		return fmt.Errorf("fd %d: %w", fd, err)
	}
	return nil
}

func closeOnExec(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return fmt.Errorf("fcntl FD_CLOEXEC: %w", err)
	}
	return nil
}
