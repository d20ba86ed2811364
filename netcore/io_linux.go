package netcore

import (
	"errors"
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

// ErrUncached says that a range of a file is not in the page cache as a whole: to read or send it would wait for a disk.
var ErrUncached = errors.New("not in the page cache")

// ErrCacheUnknown says that a file system does not tell what is in the page cache (no RWF_NOWAIT: overlayfs, FUSE): to read or send it may
// wait for a disk.
var ErrCacheUnknown = errors.New("the file system does not tell what is in the page cache")

// ReadCached reads len(p) bytes of a file from off on, all by one call, if none of them has to wait for a disk: otherwise it returns
// ErrUncached or ErrCacheUnknown, then somebody else reads the range, and ReadWaiting gets it. 0 and nil is the end of the file. A range
// that goes beyond it is taken for one that is not cached. p must not be empty (EINVAL).
func ReadCached(file int, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, unix.EINVAL
	}
	if !offsetsFit {
		return 0, ErrCacheUnknown
	}
	vector := unix.Iovec{Base: &p[0]}
	vector.SetLen(len(p))
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(file), uintptr(unsafe.Pointer(&vector)), 1, uintptr(off), 0, unix.RWF_NOWAIT)
		if errno == unix.EOPNOTSUPP {
			if !inMemory(file) {
				return 0, ErrCacheUnknown
			}
			n, _, errno = unix.RawSyscall6(unix.SYS_PREAD64, uintptr(file), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(off), 0, 0)
		}
		switch {
		case errno == 0 && (n == 0 || int(n) == len(p)):
			return int(n), nil
		case errno != unix.EINTR:
			return 0, ErrUncached
		}
	}
}

// ReadWaiting is ReadCached that may wait for a disk: an ordinary pread(2), of which Go's scheduler knows. A short count is followed by the
// end of the file.
func ReadWaiting(file int, p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(file, p, off)
		if err == nil {
			return n, nil
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
}

// Sendfile copies at most n bytes of the file in, from *off on, to the socket out, and moves *off past what it has sent. It returns 0 and
// nil at the end of the file, EAGAIN when the socket has no room, and ErrUncached or ErrCacheUnknown, having sent nothing, when it would, or
// might, have to wait for a disk: then somebody else reads the range, and SendfileWaiting sends it.
//
// It is a raw call: a sendfile of many pages takes longer than Go lets a system call take before it moves the caller's work to another
// thread, although nothing waits.
func Sendfile(out, in int, off *int64, n int) (int, error) {
	if err := cached(in, *off, n); err != nil {
		return 0, err
	}
	for {
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(out), uintptr(in), uintptr(unsafe.Pointer(off)), uintptr(n), 0, 0)
		switch errno {
		case 0:
			return int(sent), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// SendfileWaiting is Sendfile that does not ask the page cache and may wait for a disk. It is an ordinary call, of which Go's scheduler knows.
func SendfileWaiting(out, in int, off *int64, n int) (int, error) {
	for {
		sent, err := unix.Sendfile(out, in, off, n)
		if err == nil {
			return sent, nil
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
}

// probeStep is how far apart the bytes are that tell whether a range is cached: the size of a read-ahead, as it is by default
// (/sys/block/*/queue/read_ahead_kb). What the kernel reads and drops is mostly larger than a page, and a probe costs less than a hundredth
// of sending so much.
const probeStep = 128 << 10

// oneProbe is the longest range of which only the last byte is asked for: the kernel's smallest read-ahead, so that what is there of so little
// is mostly all of it. Two probes would be a tenth of what it costs to send.
const oneProbe = 16 << 10

// offsetsFit: sendfile and preadv2 take another off_t where a register is shorter than an offset.
const offsetsFit = unsafe.Sizeof(int64(0)) == unsafe.Sizeof(uintptr(0))

// cached reports whether the n bytes at off of a file can be read without waiting for a disk: nil, ErrUncached or ErrCacheUnknown. It asks
// for its first byte, its last one, and one in each probeStep, or of a short range for the last alone, by reads that may not wait
// (RWF_NOWAIT, preadv2(2)). They see whether a page holds its content; cachestat(2) also counts those that are still being read. Beyond the
// end of the file there is nothing to wait for.
func cached(file int, off int64, n int) error {
	if !offsetsFit {
		return ErrCacheUnknown
	}
	last := off + int64(n) - 1
	at := off
	if n <= oneProbe {
		at = last
	}
	for at <= last {
		var b [1]byte
		vector := unix.Iovec{Base: &b[0], Len: 1}
		got, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(file), uintptr(unsafe.Pointer(&vector)), 1, uintptr(at), 0, unix.RWF_NOWAIT)
		switch {
		case errno == unix.EOPNOTSUPP && inMemory(file):
			return nil
		case errno == unix.EOPNOTSUPP:
			return ErrCacheUnknown
		case errno != 0:
			return ErrUncached
		case got == 0 || at == last:
			return nil
		}
		at = min(at+probeStep, last)
	}
	return nil
}

// inMemory reports whether a file has no disk behind it: tmpfs, whose files do not know RWF_NOWAIT. Only they, those of hugetlbfs and
// memfds have seals to tell of (F_GET_SEALS, fcntl(2)). statfs(2) would tell too, but on a file system of the network it asks the server.
func inMemory(file int) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(file), unix.F_GET_SEALS, 0)
	return errno == 0
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
