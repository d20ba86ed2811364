package child

import (
	"errors"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

var (
	errNotAlone   = errors.New("the connection cannot be detached: earlier responses are unsent, or the body is unread")
	errOnLoop     = errors.New("the connection cannot be detached by a handler that does not block: ServeNow must report false, so that Serve does it")
	errNotMovable = errors.New("the connection cannot be detached: its transport cannot be moved")
)

// detached is the answer to eventDetach.
type detached struct {
	conn   net.Conn
	unread []byte
	err    error
}

// A detachedConn is a connection that left the loop: a net.Conn of Go's own poller. It is still counted, and holds its generation until it is
// closed: by who has taken it, at the end of a drain, or when its generation is ended.
type detachedConn struct {
	net.Conn
	loop *loop
	once sync.Once

	generation *generation // the loop's, as is the next
	ex         *exchange   // whose handler has taken it; nil once that has returned
}

var _ net.Conn = (*detachedConn)(nil)

// Close closes the connection and tells the loop.
func (d *detachedConn) Close() error {
	err := d.Conn.Close()
	d.once.Do(func() {
		d.loop.call(func() {
			d.loop.forgetDetached(d)
			d.loop.checkDrained()
		})
	})
	return err
}

// endDetached closes a detached connection. Its handler's reads and writes fail, and its context ends; whether it notices is not waited for.
func (l *loop) endDetached(d *detachedConn) {
	if d.ex != nil {
		d.ex.leave()
	}
	d.Conn.Close()
	l.forgetDetached(d)
}

func (l *loop) forgetDetached(d *detachedConn) {
	if _, known := l.detached[d]; known {
		delete(l.detached, d)
		d.generation.let()
	}
}

// CloseWrite ends our side of the connection.
func (d *detachedConn) CloseWrite() error {
	if half, ok := d.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// detach takes a connection out of the loop, with the bytes that were received behind the request of ex.
func (l *loop) detach(c *conn, ex *exchange) detached {
	if c != nil && c.out != nil && c.has(flagWritable) { // an informational response, or the end of the answer before
		l.flush(c)
	}
	switch {
	case c == nil || ex.orphan || c.has(flagClosed):
		return detached{err: errClientGone}
	case c.pipeline.head() != ex || c.pipeline.depth() != 1 || c.pipeline.sending.first != nil || c.out != nil || c.push != nil || c.receiver != nil:
		return detached{err: errNotAlone}
	case !c.transport.movable():
		return detached{err: errNotMovable}
	}
	unread := append([]byte(nil), c.in...)
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return detached{err: os.NewSyscallError("fcntl", err)}
	}
	file := os.NewFile(uintptr(fd), "connection")
	conn, err := net.FileConn(file)
	file.Close() // FileConn has a duplicate of its own
	if err != nil {
		return detached{err: err}
	}
	l.logAccess(c, ex, reasonDetached)
	c.pipeline.pending.pop() // not deserted: the handler goes on, and its context with it
	ex.orphan = true
	if ex.dispatch { // the worker belongs to the connection now, for as long as its handler likes
		ex.route.pool.Excuse(&ex.job)
		l.returned(ex)
	}
	d := &detachedConn{Conn: conn, loop: l, generation: ex.gen, ex: ex}
	d.generation.hold()
	ex.outside = d
	if l.detached == nil {
		l.detached = make(map[*detachedConn]struct{})
	}
	l.detached[d] = struct{}{}
	if c.has(flagRegistered) {
		l.poller.Remove(int(c.fd)) // not Forget: the duplicate keeps the open file alive, and its registration with it
	}
	l.release(c, reasonDetached)
	netcore.Close(int(c.fd))
	l.gone(c)
	return detached{conn: d, unread: unread}
}
