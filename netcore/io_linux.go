package netcore

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVectors is the number of slices that one Writev sends. The kernel would take 1024; an array of 64 fits on the stack.
const maxVectors = 64

// The calls below are made by RawSyscall, without telling Go's scheduler: the descriptor must be non-blocking. Errors are
// returned as bare unix.Errno; the runtime boxes integers below 256 without an allocation, and a test holds it to that.

// Read reads what is there. It returns 0 and nil at the end of the stream, EAGAIN when nothing is there, and retries
// EINTR. p must not be empty: a read of nothing is not an end of the stream (EINVAL).
func Read(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, unix.EINVAL
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Write writes what there is room for; a short count is a normal answer. EAGAIN when there is no room; EINTR is retried.
// On a socket that the peer has closed it raises SIGPIPE beside EPIPE: use Send there.
func Write(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Send is Write for sockets: without SIGPIPE, and never blocking whatever the socket's flags. more says that further
// bytes follow at once, so that the kernel may hold back a partial segment for at most 200 ms (MSG_MORE, send(2)).
func Send(fd int, p []byte, more bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	flags := uintptr(unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT)
	if more {
		flags |= unix.MSG_MORE
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Writev writes several slices by one call, at most the first 64 that are not empty; a short count is a normal answer.
// Errors, and SIGPIPE, are those of Write.
func Writev(fd int, iov [][]byte) (int, error) {
	var vectors [maxVectors]unix.Iovec
	count := 0
	for _, p := range iov {
		if len(p) == 0 {
			continue
		}
		if count == maxVectors {
			break
		}
		vectors[count].Base = &p[0]
		vectors[count].SetLen(len(p))
		count++
	}
	if count == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vectors[0])), uintptr(count))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Sendfile copies at most n bytes of the file in, from *off on, to the socket out, and moves *off past what it has sent.
// It returns 0 and nil at the end of the file, EAGAIN when the socket has no room.
//
// What is in the page cache is sent by a raw call: a sendfile of many pages takes longer than Go lets a system call take
// before it moves the caller's work to another thread, although nothing waits. Only what may wait for the disk is an
// ordinary call, of which Go's scheduler knows.
func Sendfile(out, in int, off *int64, n int) (int, error) {
	raw := cached(in, *off+int64(n)-1)
	for {
		var (
			sent int
			err  error
		)
		if raw {
			r, _, errno := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(out), uintptr(in), uintptr(unsafe.Pointer(off)), uintptr(n), 0, 0)
			if sent = int(r); errno != 0 {
				err = errno
			}
		} else {
			sent, err = unix.Sendfile(out, in, off, n)
		}
		if err == nil {
			return sent, nil
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
}

// cached reports whether the byte at off of a file is in the page cache, by a read that may not wait (RWF_NOWAIT, preadv2(2)). Files are
// read ahead in order, so where the last byte of a range is there, the rest is. Where it cannot be known the answer is no.
func cached(file int, off int64) bool {
	if unsafe.Sizeof(off) != unsafe.Sizeof(uintptr(0)) { // sendfile takes another off_t there
		return false
	}
	var b [1]byte
	vector := unix.Iovec{Base: &b[0], Len: 1}
	n, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(file), uintptr(unsafe.Pointer(&vector)), 1, uintptr(off), 0, unix.RWF_NOWAIT)
	return errno == 0 && n == 1
}

// Recv is Read for a socket: recvfrom(2) takes a shorter way through the kernel than read(2) does.
func Recv(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, unix.EINVAL
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// ShutdownWrite sends FIN: the peer reads to the end and may still answer. It works while another process holds a
// duplicate, where a close would send nothing.
func ShutdownWrite(fd int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0); errno != 0 {
		return fmt.Errorf("shutdown fd %d: %w", fd, errno)
	}
	return nil
}

// Close closes a socket. The number is free afterwards whatever the error says (close(2)): never call it twice. It is a raw call
// too: without SO_LINGER it does not block, but it sends the FIN, and on loopback takes what that causes, which is long enough for
// Go to think it blocked and to move the loop to another thread.
func Close(fd int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0); errno != 0 && errno != unix.EINTR {
		return fmt.Errorf("close fd %d: %w", fd, errno)
	}
	return nil
}

// ResetOnClose makes the coming close drop unsent bytes and send RST (SO_LINGER with 0 seconds), which also leaves no
// TIME_WAIT. It is for abusers and for drains that are out of time.
func ResetOnClose(fd int) error {
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("setsockopt SO_LINGER fd %d: %w", fd, err)
	}
	return nil
}

// SocketError takes the error that waits on a socket (SO_ERROR), as a bare unix.Errno, and clears it; nil when there is
// none. It names the cause of a Hangup.
func SocketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}
