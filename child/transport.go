package child

import "github.com/tined/tined/netcore"

// transport is how the bytes of a connection reach the peer: plain sockets today, TLS later. All calls are made by the loop and none
// blocks; unix.EAGAIN says that nothing can be done now.
type transport interface {
	// fill reads into p; 0 and no error is the end of what the peer sends.
	fill(c *conn, p []byte) (int, error)
	// flush writes p; more says that further bytes follow at once.
	flush(c *conn, p []byte, more bool) (int, error)
	// flushAll writes several pieces in one call.
	flushAll(c *conn, pieces [][]byte) (int, error)
	// sendsFiles reports whether sendfile can be called. Otherwise files are read into memory, piece by piece, and flushed.
	sendsFiles() bool
	// sendfile writes at most n bytes of file from offset on; 0 and no error is the end of the file. Unless it may wait for a disk,
	// netcore.ErrUncached and netcore.ErrCacheUnknown say that it would, or might.
	sendfile(c *conn, file int, offset int64, n int, wait bool) (int, error)
	// closeNotify tells the peer that nothing more will be sent.
	closeNotify(c *conn) error
	// movable reports whether another process could go on with the socket alone.
	movable() bool
}

// plain is the transport of TCP and unix sockets without anything in between.
type plain struct{}

func (plain) fill(c *conn, p []byte) (int, error) { return netcore.Recv(int(c.fd), p) }

func (plain) flush(c *conn, p []byte, more bool) (int, error) {
	return netcore.Send(int(c.fd), p, more)
}

func (plain) flushAll(c *conn, pieces [][]byte) (int, error) {
	return netcore.Writev(int(c.fd), pieces)
}

func (plain) sendsFiles() bool { return true }

func (plain) sendfile(c *conn, file int, offset int64, n int, wait bool) (int, error) {
	if wait {
		return netcore.SendfileWaiting(int(c.fd), file, &offset, n)
	}
	return netcore.Sendfile(int(c.fd), file, &offset, n)
}

func (plain) closeNotify(c *conn) error { return netcore.ShutdownWrite(int(c.fd)) }

func (plain) movable() bool { return true }
