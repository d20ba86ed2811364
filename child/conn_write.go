package child

import (
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
)

const (
	// writeChunk is how many bytes of files and memory one connection may send in a turn of the loop, so that a fast client does
	// not make the others wait. turnWrite and writeLeast are to it what turnRead and readLeast are to readChunk.
	writeChunk = 512 << 10
	turnWrite  = 8 << 20
	writeLeast = 64 << 10
	// highWater is how many unsent bytes in memory stop the encoding of further responses.
	highWater = 256 << 10
	// copyMax is the largest body that is copied behind its head; a larger one is sent from where it is.
	copyMax = 16 << 10
	// fileWeight is what a queued file counts for beside the high-water mark, in bytes: it holds a descriptor.
	fileWeight = 32 << 10
	// pieces is how many pieces of memory one system call sends.
	pieces = 16
)

// A segment is part of what is to be sent: memory, or a range of a file.
type segment struct {
	b    []byte
	file web.File
	off  int64
	n    int64 // of the file
	own  bool  // b came from the loop's buffers
}

// An output is what a connection has to send: segments, then the tail, to which small responses are appended.
type output struct {
	segments []segment
	first    int        // of segments, the first that is not sent
	tail     []byte     // from the loop's buffers; nil when nothing is in it
	sent     int        // bytes of the first segment, or of the tail when there is none, that have left
	fetch    *diskFetch // of the first segment; nothing is sent until it is over. nil: none is under way
	fetched  int64      // offset in the first segment's file up to which a fetch has just read it; at or below the segment's: nothing
}

// tail returns the memory to which the next bytes of c are appended; putTail takes it back.
func (l *loop) tail(c *conn) []byte {
	if c.out == nil {
		c.out = l.takeOutput()
	}
	if c.out.tail == nil {
		c.out.tail = l.takeTail()
	}
	c.out.compact()
	return c.out.tail
}

// compact forgets what has left, when that is more than what waits: otherwise an output that is never empty, which is that of any long
// response to a slow client, would keep all that it ever held.
func (o *output) compact() {
	switch {
	case o.first == len(o.segments) && o.sent > len(o.tail)/2:
		o.tail = o.tail[:copy(o.tail, o.tail[o.sent:])]
		o.sent = 0
		o.segments, o.first = o.segments[:0], 0
	case o.first >= pieces && o.first > len(o.segments)/2:
		n := copy(o.segments, o.segments[o.first:])
		clear(o.segments[n:])
		o.segments, o.first = o.segments[:n], 0
	}
}

// putTail stores what was appended to the tail and counts it.
func (l *loop) putTail(c *conn, tail []byte) {
	c.queued += uint64(len(tail) - len(c.out.tail))
	c.out.tail = tail
}

// seal makes a segment of the tail, so that something else can follow it.
func (l *loop) seal(c *conn) {
	o := c.out
	if len(o.tail) > 0 {
		o.segments = append(o.segments, segment{b: o.tail, own: true})
		o.tail = nil
	}
}

// sendMemory queues b, which nobody changes any more, without copying it.
func (l *loop) sendMemory(c *conn, b []byte) {
	l.seal(c)
	c.out.segments = append(c.out.segments, segment{b: b})
	c.queued += uint64(len(b))
}

// sendFile queues a range of f and owns it from now on.
func (l *loop) sendFile(c *conn, f web.File, off, n int64) {
	l.seal(c)
	c.out.segments = append(c.out.segments, segment{file: f, off: off, n: n})
	c.queued += uint64(n)
}

// flush sends what the socket takes, at most a chunk. It closes the connection when the peer is gone.
func (l *loop) flush(c *conn) {
	if c.out != nil && c.out.fetch != nil {
		c.unset(flagWritable) // watch has withdrawn the interest, or does so now
		return
	}
	budget := l.share(turnWrite, writeChunk, writeLeast)
	for c.out != nil && budget > 0 && c.has(flagWritable) {
		o := c.out
		if o.first < len(o.segments) && o.segments[o.first].file != nil {
			budget -= l.flushFile(c, &o.segments[o.first], budget)
			continue
		}
		iov, total, more := l.gather(o, budget)
		if total == 0 {
			l.dropOutput(c)
			break
		}
		var (
			n   int
			err error
		)
		if len(iov) == 1 {
			n, err = c.transport.flush(c, iov[0], more)
		} else {
			n, err = c.transport.flushAll(c, iov)
		}
		clear(iov) // or a body that was sent would live on
		if err != nil {
			l.writeFailed(c, err)
			break
		}
		if n < total {
			c.unset(flagWritable)
		}
		budget -= n
		l.sentBytes(c, n)
		l.shift(c, n)
	}
}

// gather collects the pieces of memory up to the next file, and up to most bytes.
func (l *loop) gather(o *output, most int) (iov [][]byte, total int, more bool) {
	iov = l.iov[:0]
	skip := o.sent
	for i := o.first; i < len(o.segments) && len(iov) < pieces; i++ {
		s := &o.segments[i]
		if s.file != nil {
			return iov, total, true
		}
		piece := s.b[skip:]
		if len(piece) > most-total {
			return append(iov, piece[:most-total]), most, true
		}
		iov = append(iov, piece)
		total += len(piece)
		skip = 0
	}
	if len(iov) < pieces && len(o.tail) > skip {
		piece := o.tail[skip:]
		if len(piece) > most-total {
			return append(iov, piece[:most-total]), most, true
		}
		iov = append(iov, piece)
		total += len(piece)
	}
	return iov, total, false
}

// shift drops n sent bytes of memory from the front.
func (l *loop) shift(c *conn, n int) {
	o := c.out
	for n > 0 && o.first < len(o.segments) {
		s := &o.segments[o.first]
		if rest := len(s.b) - o.sent; n < rest {
			o.sent += n
			return
		} else {
			n -= rest
		}
		if s.own {
			l.giveTail(s.b)
		}
		*s = segment{}
		o.first++
		o.sent = 0
	}
	o.sent += n
	if o.first == len(o.segments) && o.sent == len(o.tail) {
		l.dropOutput(c)
	}
}

// flushFile sends up to budget bytes of a file, or has them fetched from the disk. A file that is not what its head has told of is not sent
// to its end, and nothing makes up for that: its length is announced in every version of HTTP, so the client knows that the part is not
// the whole.
func (l *loop) flushFile(c *conn, s *segment, budget int) int {
	if s.n == 0 {
		l.fileSent(c, s)
		return 0
	}
	if changing, ok := s.file.(web.ChangingFile); ok && l.changed(changing) {
		l.close(c, reasonFileChanged)
		return 0
	}
	o := c.out
	want := min(s.n, int64(budget))
	if s.off < o.fetched {
		want = min(want, o.fetched-s.off)
	}
	n, err := c.transport.sendfile(c, int(s.file.Fd()), &s.off, int(want))
	switch {
	case err == netcore.ErrUncached:
		l.fetch(c, s)
		return 0
	case err == unix.EAGAIN:
		c.unset(flagWritable)
		o.fetched = 0 // it may be dropped again before the client has read what is before it
		return 0
	case err != nil:
		l.writeFailed(c, err)
		return 0
	case n == 0: // the file has shrunk
		l.close(c, reasonFileChanged)
		return 0
	}
	s.n -= int64(n)
	l.sentBytes(c, n)
	if s.n == 0 {
		l.fileSent(c, s)
	}
	return n
}

// changed asks a file whether it has changed, and outlives a panic of its answer: what cannot tell is not sent.
func (l *loop) changed(f web.ChangingFile) (changed bool) {
	defer func() {
		if v := recover(); v != nil {
			l.host.logLine(levelError, "a file panicked when it was asked whether it has changed", "panic", v, "stack", string(debug.Stack()))
			changed = true
		}
	}()
	return f.Changed()
}

func (l *loop) fileSent(c *conn, s *segment) {
	l.releaseFile(s.file)
	*s = segment{}
	o := c.out
	o.first++
	o.sent, o.fetched = 0, 0
	if o.first == len(o.segments) && len(o.tail) == 0 {
		l.dropOutput(c)
	}
}

// dropOutput gives an output's memory back; what is left in it is not sent.
func (l *loop) dropOutput(c *conn) {
	o := c.out
	c.out = nil
	if o.fetch != nil {
		l.leaveFetch(o)
	}
	for i := o.first; i < len(o.segments); i++ {
		s := &o.segments[i]
		if s.file != nil {
			l.releaseFile(s.file)
		}
		if s.own {
			l.giveTail(s.b)
		}
		*s = segment{}
	}
	o.segments = o.segments[:0]
	o.first, o.sent, o.fetched = 0, 0, 0
	if o.tail != nil {
		l.giveTail(o.tail)
		o.tail = nil
	}
	l.giveOutput(o)
}

func (l *loop) writeFailed(c *conn, err error) {
	switch err {
	case unix.EAGAIN:
		c.unset(flagWritable)
	case unix.EPIPE, unix.ECONNRESET, unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOTCONN:
		l.close(c, reasonClientGone)
	default:
		l.close(c, reasonSystem)
	}
}

// sentBytes counts n sent bytes and ends the exchanges whose response has left.
func (l *loop) sentBytes(c *conn, n int) {
	c.sent += uint64(n)
	if c.role == roleServer {
		l.numbers.bytesOut += uint64(n)
	}
	l.reap(c)
	if ex := c.pipeline.sending.first; ex != nil && ex.state == WaitingToSendHead && c.sent > ex.first {
		ex.setState(WaitingToSendBody)
	}
}

// unsent is what waits to be sent: bytes in memory, and fileWeight for a file.
func (o *output) unsent() int {
	if o == nil {
		return 0
	}
	n := len(o.tail) - o.sent
	for i := o.first; i < len(o.segments); i++ {
		n += len(o.segments[i].b)
		if o.segments[i].file != nil {
			n += fileWeight
		}
	}
	return n
}
