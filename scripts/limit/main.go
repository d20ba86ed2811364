//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxFD bounds the table of connections. An untouched page of it costs nothing.
	maxFD = 1 << 16
	// readSize is one read: more than sixteen pipelined requests of a load generator.
	readSize = 16 << 10
	// maxMemoryBody is the largest body that is sent from memory. Larger ones go by sendfile.
	maxMemoryBody = 8 << 10
	// maxAnswers is how many answers one write can carry.
	maxAnswers = 256
	// maxEvents is one turn of epoll.
	maxEvents = 512
)

// conn is what one connection needs: nothing is allocated for it.
type conn struct {
	length int32 // bytes of one request on this connection, 0: not known yet
	have   int32 // bytes of a request that has not fully arrived
	head   int32 // bytes of the head still to send (large bodies only)
	owed   int32 // answers not begun (large bodies only)
	left   int64 // bytes of the body still to send (large bodies only)
}

// limit is the whole program. One thread owns all of it.
type limit struct {
	epoll, listener int
	conns           []conn
	buffer          []byte
	head            []byte // head of one answer
	answers         []byte // maxAnswers whole answers, one after the other (small bodies only)
	answer          int    // bytes of one of them
	body            int64
	file            int      // the large body
	keep            *os.File // keeps it open
	closing         bool
}

func main() {
	address := flag.String("listen", "127.0.0.1:8081", "address to listen on")
	body := flag.Int64("body", 13, "bytes in the body of the answer")
	closing := flag.Bool("close", false, "close the connection after each answer")
	deferred := flag.Bool("deferred", false, "TCP_DEFER_ACCEPT on the listener")
	flag.Parse()

	// The loop allocates nothing, so the collector has nothing to do.
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	l, err := open(*address, *body, *closing, *deferred)
	if err == nil {
		err = l.run()
	}
	fmt.Fprintln(os.Stderr, "limit:", err)
	os.Exit(1)
}

func open(address string, body int64, closing, deferred bool) (*limit, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if !to.Addr().Is4() {
		return nil, fmt.Errorf("listen: %s is not an IPv4 address", address)
	}
	l := &limit{conns: make([]conn, maxFD), buffer: make([]byte, readSize), body: body, closing: closing}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		if err := unix.SetsockoptInt(l.listener, o.level, o.name, o.value); err != nil {
			return nil, fmt.Errorf("setsockopt: %w", err)
		}
	}
	if deferred {
		if err := unix.SetsockoptInt(l.listener, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1); err != nil {
			return nil, fmt.Errorf("TCP_DEFER_ACCEPT: %w", err)
		}
	}
	if err := unix.Bind(l.listener, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("bind %s: %w", address, err)
	}
	if err := unix.Listen(l.listener, 65535); err != nil {
		return nil, fmt.Errorf("listen %s: %w", address, err)
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.listener)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.listener, &event); err != nil {
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return l, nil
}

// prepare makes the fixed answer: whole in memory, or a head and a file in memory.
func (l *limit) prepare() error {
	connection := ""
	if l.closing {
		connection = "Connection: close\r\n"
	}
	l.head = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: limit\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"+
		"Content-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n", l.body, connection)
	text := func(n int64) []byte {
		return bytes.Repeat([]byte("Hello, World!"), int(n)/13+1)[:n]
	}
	if l.body <= maxMemoryBody {
		one := append(bytes.Clone(l.head), text(l.body)...)
		l.answers, l.answer = bytes.Repeat(one, maxAnswers), len(one)
		return nil
	}
	// A file like those that servers serve: memory files have smaller pages.
	file, err := os.CreateTemp("", "limit-")
	if err != nil {
		return err
	}
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	if _, err := file.Write(text(l.body)); err != nil {
		return err
	}
	l.file, l.keep = int(file.Fd()), file
	return nil
}

// run never returns without an error. It blocks in the kernel without telling Go's
// scheduler: nothing else wants to run, and what the scheduler costs is not the limit's.
func (l *limit) run() error {
	events := make([]unix.EpollEvent, maxEvents)
	const forEver = ^uintptr(0)
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), maxEvents, forEver, 0, 0)
		if e == unix.EINTR {
			continue // the scheduler asks now and then
		}
		if e != 0 {
			return fmt.Errorf("epoll_pwait: %w", e)
		}
		for i := range events[:min(int(n), maxEvents)] {
			if fd := int(events[i].Fd); fd == l.listener {
				l.accept()
			} else {
				l.serve(fd, events[i].Events)
			}
		}
	}
}

func (l *limit) accept() {
	for {
		fd, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l.listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e != 0 {
			return
		}
		if fd >= maxFD {
			unix.Close(int(fd))
			continue
		}
		l.conns[fd] = conn{}
		// With a short life, or a deferred accept, the request is often here already.
		if l.closing && !l.serve(int(fd), unix.EPOLLIN) {
			continue
		}
		interest := uint32(unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff)
		if l.answers == nil {
			interest |= unix.EPOLLOUT
		}
		event := unix.EpollEvent{Events: interest, Fd: int32(fd)}
		unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(l.epoll), unix.EPOLL_CTL_ADD, fd, uintptr(unsafe.Pointer(&event)), 0, 0)
	}
}

// serve reads once and answers what it has read. It reports whether the connection lives.
func (l *limit) serve(fd int, ready uint32) bool {
	c := &l.conns[fd]
	for ready&unix.EPOLLIN != 0 {
		r, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&l.buffer[0])), readSize, 0, 0, 0)
		if e == unix.EAGAIN {
			break
		}
		if e != 0 || r == 0 {
			return l.end(fd)
		}
		n := l.count(c, l.buffer[:r])
		if l.answers == nil {
			c.owed += n
		} else if n > 0 && (!l.write(fd, int(n)) || l.closing) {
			return l.end(fd)
		}
		if int(r) < readSize {
			break // a short read: the kernel has no more, and says so when it has
		}
	}
	if l.answers == nil {
		return l.send(fd, c)
	}
	if ready&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		return l.end(fd)
	}
	return true
}

// count says how many requests end in p.
func (l *limit) count(c *conn, p []byte) int32 {
	if c.length == 0 {
		end := bytes.Index(p, []byte("\r\n\r\n"))
		if end < 0 {
			return 0 // a request in two reads is not for a yardstick
		}
		c.length = int32(end) + 4
	}
	have := c.have + int32(len(p))
	n := have / c.length
	c.have = have - n*c.length
	return n
}

// write sends n answers. A client that does not read its answers is cut off: load
// generators read.
func (l *limit) write(fd, n int) bool {
	for n > 0 {
		k := min(n, maxAnswers)
		size := uintptr(k * l.answer)
		w, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&l.answers[0])), size, unix.MSG_NOSIGNAL, 0, 0)
		if e != 0 || w != size {
			return false
		}
		n -= k
	}
	return true
}

// send goes on with the large bodies that are owed until the socket is full.
func (l *limit) send(fd int, c *conn) bool {
	for c.left > 0 || c.owed > 0 {
		if c.left == 0 {
			c.owed--
			c.head, c.left = int32(len(l.head)), l.body
		}
		if c.head > 0 {
			from := len(l.head) - int(c.head)
			w, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&l.head[from])), uintptr(c.head), unix.MSG_NOSIGNAL|unix.MSG_MORE, 0, 0)
			if e == unix.EAGAIN {
				return true
			}
			if e != 0 {
				return l.end(fd)
			}
			if c.head -= int32(w); c.head > 0 {
				return true
			}
		}
		at := l.body - c.left
		w, err := unix.Sendfile(fd, l.file, &at, int(c.left))
		if err == unix.EAGAIN {
			return true
		}
		if err != nil {
			return l.end(fd)
		}
		if c.left -= int64(w); c.left == 0 && l.closing {
			return l.end(fd)
		}
	}
	return true
}

func (l *limit) end(fd int) bool {
	unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return false
}
