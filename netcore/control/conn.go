package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// SendTimeout is how long Send waits for a peer that does not read.
	SendTimeout = 2 * time.Second
	// sendBuffer is asked of the kernel for both directions, in bytes; it caps it at
	// net.core.wmem_max and doubles the rest. It must hold at least one frame of MaxBody.
	sendBuffer = 256 << 10
)

// Conn is one end of a control channel: a SEQPACKET socket, so that message boundaries and the
// place of files among messages are kept by the kernel.
type Conn struct {
	file *os.File
	raw  syscall.RawConn

	// sending is a lock that can be waited for with a bound: whoever has put a token in owns the
	// write deadline and the frame buffer.
	sending chan struct{}
	frame   []byte // owner: the holder of sending
	id      uint32 // owner: the holder of sending

	closed    atomic.Bool
	receiving atomic.Bool // panics on a second concurrent Receive
	in, oob   []byte      // owner: Receive's goroutine
	sender    int         // of the message that came last; owner: Receive's goroutine
}

// Pair makes a channel. theirs is for the child: it is closed by the caller once the child has it.
// Both are close-on-exec.
func Pair() (ours *Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control channel: %w", os.NewSyscallError("socketpair", err))
	}
	ours, err = New(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	setBuffer(fds[1])
	return ours, os.NewFile(uintptr(fds[1]), "control (child)"), nil
}

// New makes a Conn of a connected SEQPACKET socket. It takes f over: f is closed, also on error.
func New(f *os.File) (*Conn, error) {
	defer f.Close()
	fd, err := dup(f)
	if err != nil {
		return nil, fmt.Errorf("control channel: %w", err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		unix.Close(fd)
		return nil, errors.New("control channel: descriptor is not a SEQPACKET socket")
	}
	// Non-blocking before NewFile: only then Go's poller takes it, which gives us deadlines.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("control channel: %w", os.NewSyscallError("fcntl", err))
	}
	setBuffer(fd)
	file := os.NewFile(uintptr(fd), "control")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("control channel: %w", err)
	}
	return &Conn{file: file, raw: raw, sending: make(chan struct{}, 1)}, nil
}

// dup duplicates f's descriptor without f.Fd, which would make the open file blocking.
func dup(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd int
	var errno error
	err = raw.Control(func(old uintptr) { fd, errno = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return -1, err
	}
	return fd, os.NewSyscallError("fcntl", errno)
}

func setBuffer(fd int) {
	// A smaller buffer than asked for only means that the peer is found busy earlier.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
}

// Send is SendWithin with SendTimeout.
func (c *Conn) Send(m Message, fds ...int) error { return c.SendWithin(SendTimeout, m, fds...) }

// SendWithin sends one message and passes fds beside it; the caller keeps them. Any goroutine may
// call it. It waits at most d for a peer that does not read, then fails with ErrBusy; d <= 0 only
// tries. A message is sent whole or not at all.
func (c *Conn) SendWithin(d time.Duration, m Message, fds ...int) error {
	deadline := time.Now().Add(d)
	if !c.lock(d) {
		return fmt.Errorf("send %s: %w", m.Kind(), ErrBusy)
	}
	defer c.unlock()
	frame, err := appendFrame(c.frame[:0], m, len(fds), c.id)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	c.id++
	if cap(frame) <= 4<<10 { // keep a small buffer only; long messages are rare
		c.frame = frame
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if d <= 0 {
		deadline = time.Time{} // one past would end the call before it tries
	}
	if err := c.file.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind(), c.closing(err))
	}
	var errno error
	err = c.raw.Write(func(fd uintptr) bool {
		for {
			errno = unix.Sendmsg(int(fd), frame, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if errno != unix.EINTR {
				break
			}
		}
		return errno != unix.EAGAIN || d <= 0
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), err == nil && errno == unix.EAGAIN:
		return fmt.Errorf("send %s: %w", m.Kind(), ErrBusy)
	case err != nil:
		return fmt.Errorf("send %s: %w", m.Kind(), c.closing(err))
	case errno != nil:
		return fmt.Errorf("send %s: %w", m.Kind(), os.NewSyscallError("sendmsg", errno))
	}
	return nil
}

func (c *Conn) lock(d time.Duration) bool {
	select {
	case c.sending <- struct{}{}:
		return true
	default:
	}
	if d <= 0 {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case c.sending <- struct{}{}:
		return true
	case <-t.C:
		return false
	}
}

func (c *Conn) unlock() { <-c.sending }

// Receive waits for the next message. One goroutine at a time. io.EOF means that the peer is gone:
// every message that it had sent was returned before. ErrMalformed, ErrVersion and ErrFilesLost
// concern one message, whose files are closed; the next Receive goes on behind it. With ErrFilesLost comes the message itself, for whoever
// has to answer it.
// The files are close-on-exec and the caller's.
func (c *Conn) Receive() (Message, []*os.File, error) {
	m, fds, err := c.ReceiveDescriptors()
	if len(fds) == 0 {
		return m, nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "received")
	}
	return m, files, err
}

// ReceiveDescriptors is Receive for whoever has a use of his own for the files, such as thousands of sockets: each would be registered with
// Go's poller as an os.File. The descriptors are close-on-exec and the caller's.
func (c *Conn) ReceiveDescriptors() (Message, []int, error) {
	if !c.receiving.CompareAndSwap(false, true) {
		panic("control: Receive is called by two goroutines")
	}
	defer c.receiving.Store(false)
	if c.in == nil {
		c.in = make([]byte, headerSize+MaxBody)
		c.oob = make([]byte, unix.CmsgSpace(MaxFiles*4)+unix.CmsgSpace(unix.SizeofUcred))
	}
	c.sender = 0
	n, oobn, flags, err := c.receive()
	if err != nil {
		return nil, nil, err
	}
	fds, sender, err := parseDescriptors(c.oob[:oobn])
	c.sender = sender
	if err != nil {
		return nil, nil, fmt.Errorf("receive: %w", err)
	}
	m, h, err := decodeFrame(c.in[:n])
	whole := err == nil
	switch {
	case flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("frame of more than %d bytes: %w", len(c.in), ErrMalformed)
	case flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("%s: %w", h.kind, ErrFilesLost)
	case err == nil && h.files != len(fds):
		err = fmt.Errorf("%s: %d of %d files: %w", h.kind, len(fds), h.files, ErrFilesLost)
	}
	if err != nil {
		closeDescriptors(fds)
		if !whole || !errors.Is(err, ErrFilesLost) {
			m = nil
		}
		return m, nil, fmt.Errorf("receive: %w", err)
	}
	return m, fds, nil
}

func (c *Conn) receive() (n, oobn, flags int, err error) {
	var errno error
	err = c.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, errno = unix.Recvmsg(int(fd), c.in, c.oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
			// ECONNRESET is reported once, before what is still queued, when the peer closed its end
			// without reading all that we had sent. Its last words are behind it.
			if errno != unix.EINTR && errno != unix.ECONNRESET {
				break
			}
		}
		return errno != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, 0, 0, fmt.Errorf("receive: %w", c.closing(err))
	case errno != nil:
		return 0, 0, 0, fmt.Errorf("receive: %w", os.NewSyscallError("recvmsg", errno))
	case n == 0 && oobn == 0 && flags&unix.MSG_TRUNC == 0:
		return 0, 0, 0, io.EOF
	}
	return n, oobn, flags, nil
}

// parseAncillary is parseDescriptors with files.
func parseAncillary(oob []byte) (files []*os.File, sender int, err error) {
	fds, sender, err := parseDescriptors(oob)
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "received"))
	}
	return files, sender, err
}

// parseDescriptors takes the descriptors and the sender out of the ancillary data; other ancillary data is ignored.
func parseDescriptors(oob []byte) (fds []int, sender int, err error) {
	if len(oob) == 0 {
		return nil, 0, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrFilesLost, err)
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET {
			continue
		}
		switch messages[i].Header.Type {
		case unix.SCM_CREDENTIALS:
			if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
				sender = int(cred.Pid)
			}
		case unix.SCM_RIGHTS:
			some, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				closeDescriptors(fds)
				return nil, 0, fmt.Errorf("%w: %w", ErrFilesLost, err)
			}
			fds = append(fds, some...)
		}
	}
	return fds, sender, nil
}

// Sender is the process that the kernel names as the sender of the message that Receive has returned last, for its goroutine alone. It is 0
// when the kernel was not asked to (Dial does), and for a process that this one's namespace does not show.
func (c *Conn) Sender() int { return c.sender }

// ReceiveBy sets the time by which a Receive must have returned, with os.ErrDeadlineExceeded if nothing has come. The zero time is never.
func (c *Conn) ReceiveBy(t time.Time) error { return c.closing(c.file.SetReadDeadline(t)) }

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func closeDescriptors(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Shutdown ends both directions: nothing can be sent any more, by neither side, and what the peer has sent before is still received, up to
// io.EOF. So whoever shuts down knows after it all that the peer has said, and the peer whether what it says was said in time. Close has to
// follow.
func (c *Conn) Shutdown() error {
	var errno error
	if err := c.raw.Control(func(fd uintptr) { errno = unix.Shutdown(int(fd), unix.SHUT_RDWR) }); err != nil {
		return fmt.Errorf("shut down: %w", c.closing(err))
	}
	if errno != nil {
		return fmt.Errorf("shut down: %w", os.NewSyscallError("shutdown", errno))
	}
	return nil
}

// Close ends this end of the channel: a Receive that waits returns, the peer sees io.EOF.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.file.Close()
}

// closing names a closed Conn as os.ErrClosed, which a RawConn does not.
func (c *Conn) closing(err error) error {
	if err != nil && c.closed.Load() {
		return os.ErrClosed
	}
	return err
}
