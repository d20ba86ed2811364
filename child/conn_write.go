package child

import (
	"errors"
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
	// copyFile is the longest range of a file that is read into the loop's memory and sent together with its head: two calls less. From
	// 16 KiB on sendfile(2) is as cheap while the processor's caches hold the file, and cheaper when they do not, at 64 KiB by a seventh.
	copyFile = 8 << 10
	// copyPiece is how much of files is read for one call: several short ones, or a piece of a long one where there is no sendfile.
	copyPiece = 64 << 10
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

// errFileChanged: a file is not what its head has told of, any more.
var errFileChanged = errors.New("the file has changed")

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
		if o.first < len(o.segments) && o.segments[o.first].file != nil && !c.copies(&o.segments[o.first]) {
			budget -= l.flushFile(c, &o.segments[o.first], budget)
			continue
		}
		iov, total, more, err := l.gather(c, budget)
		if total == 0 {
			if err == nil {
				l.dropOutput(c)
			} else {
				l.shift(c, 0) // what is empty before the file
				l.unsendable(c, &o.segments[o.first], err)
			}
			break
		}
		var n int
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
			c.full()
		}
		budget -= n
		l.sentBytes(c, n)
		l.shift(c, n)
	}
}

// full notes that the socket takes nothing more for now.
func (c *conn) full() {
	c.unset(flagWritable)
	if c.out != nil {
		c.out.fetched = 0 // it may be dropped again before the client has read what is before it
	}
}

// copies reports whether a range of a file is sent from memory and not by sendfile.
func (c *conn) copies(s *segment) bool { return s.n <= copyFile || !c.transport.sendsFiles() }

// gather collects the pieces of memory up to the next file that is sent by sendfile, and up to most bytes. Short ranges of files between
// them are read and belong to them, whole, so total may be beyond most by almost copyFile. They are in the loop's memory, and what the socket does
// not take of them is read again. err is why a file ends the pieces.
func (l *loop) gather(c *conn, most int) (iov [][]byte, total int, more bool, err error) {
	o := c.out
	iov = l.iov[:0]
	skip, used := o.sent, 0
	for i := o.first; i < len(o.segments) && len(iov) < pieces; i++ {
		if total >= most {
			return iov, total, true, nil
		}
		s := &o.segments[i]
		if s.file != nil {
			if s.n == 0 {
				continue
			}
			if l.copied == nil {
				l.copied = make([]byte, copyPiece)
			}
			room := l.copied[used:]
			if !c.copies(s) || used > 0 && s.n > int64(len(room)) {
				return iov, total, true, nil
			}
			if s.n > copyFile {
				room = room[:min(len(room), most-total)]
			}
			n, err := l.copyOf(o, s, room)
			if err != nil {
				return iov, total, true, err
			}
			iov = append(iov, room[:n])
			total += n
			if int64(n) < s.n {
				return iov, total, true, nil
			}
			used += n
			continue
		}
		piece := s.b[skip:]
		if len(piece) > most-total {
			return append(iov, piece[:most-total]), most, true, nil
		}
		iov = append(iov, piece)
		total += len(piece)
		skip = 0
	}
	if len(iov) < pieces && len(o.tail) > skip {
		piece := o.tail[skip:]
		if len(piece) > most-total {
			return append(iov, piece[:max(0, most-total)]), max(most, total), true, nil
		}
		iov = append(iov, piece)
		total += len(piece)
	}
	return iov, total, false, nil
}

// copyOf reads what is next of s, as much as p takes. The file is asked after the read: so what was read is what its head has told of.
func (l *loop) copyOf(o *output, s *segment, p []byte) (n int, err error) {
	p = p[:min(s.n, int64(len(p)))]
	if s.off+int64(len(p)) <= l.present(o, s) {
		n, err = l.disk.wait(int(s.file.Fd()), p, s.off)
	} else {
		n, err = l.disk.peek(int(s.file.Fd()), p, s.off)
	}
	switch {
	case err != nil:
		return 0, err
	case n == 0 || l.changed(s.file): // it has shrunk, or is another one
		return 0, errFileChanged
	}
	return n, nil
}

// shift drops n sent bytes from the front, and what is empty behind them.
func (l *loop) shift(c *conn, n int) {
	o := c.out
	for o.first < len(o.segments) {
		s := &o.segments[o.first]
		if s.file != nil {
			part := min(int64(n), s.n)
			s.off += part
			s.n -= part
			n -= int(part)
			if s.n > 0 {
				return
			}
			l.releaseFile(s.file)
			o.fetched = 0
		} else {
			if rest := len(s.b) - o.sent; n < rest {
				o.sent += n
				return
			} else {
				n -= rest
			}
			if s.own {
				l.giveTail(s.b)
			}
			o.sent = 0
		}
		*s = segment{}
		o.first++
	}
	o.sent += n
	if o.sent == len(o.tail) {
		l.dropOutput(c)
	}
}

// flushFile sends up to budget bytes of a file. A file that is not what its head has told of is not sent to its end, and nothing makes up
// for that: its length is announced in every version of HTTP, so the client knows that the part is not the whole.
func (l *loop) flushFile(c *conn, s *segment, budget int) int {
	if l.changed(s.file) {
		l.unsendable(c, s, errFileChanged)
		return 0
	}
	want := min(s.n, int64(budget))
	present := l.present(c.out, s)
	if s.off < present {
		want = min(want, present-s.off)
	}
	n, err := c.transport.sendfile(c, int(s.file.Fd()), s.off, int(want), s.off < present)
	switch {
	case err == netcore.ErrUncached, err == netcore.ErrCacheUnknown:
		l.unsendable(c, s, err)
		return 0
	case err != nil:
		l.writeFailed(c, err)
		return 0
	case n == 0: // the file has shrunk
		l.unsendable(c, s, errFileChanged)
		return 0
	}
	l.sentBytes(c, n)
	l.shift(c, n)
	return n
}

// unsendable deals with the first segment, a file whose next part cannot be sent: it is fetched, or the connection closed.
func (l *loop) unsendable(c *conn, s *segment, err error) {
	switch err {
	case netcore.ErrUncached, netcore.ErrCacheUnknown:
		l.fetch(c, s, err == netcore.ErrCacheUnknown)
	case errFileChanged:
		l.close(c, reasonFileChanged)
	default:
		l.unreadable(err)
		l.close(c, reasonSystem)
	}
}

// changed asks a file whether it has changed, and outlives a panic of its answer: what cannot tell is not sent.
func (l *loop) changed(file web.File) (changed bool) {
	f, ok := file.(web.ChangingFile)
	if !ok {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			l.host.logLine(levelError, "a file panicked when it was asked whether it has changed", "panic", v, "stack", string(debug.Stack()))
			changed = true
		}
	}()
	return f.Changed()
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
		c.full()
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
