package child

import (
	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1"
)

// lingerMax is how many bytes a lingering close drops in one of its periods before it gives up.
const lingerMax = 64 << 20

// read takes at most a chunk from the socket and processes it, after what was left over from before.
func (l *loop) read(c *conn) {
	if c.has(flagInput) && l.wantsInput(c) && !c.has(flagLingering) {
		c.unset(flagInput)
		l.keep(c, l.process(c, c.in))
	}
	if c.has(flagClosed|flagInput) || !c.has(flagReadable) || !l.wantsInput(c) {
		return
	}
	if c.receiver != nil && len(c.in) > 0 {
		return // the handler has just made room for what is here: eventRoom is on its way
	}
	target := l.scratch
	if c.in != nil {
		target = l.roomBehind(c)
	}
	target = target[:min(len(target), l.share(turnRead, readChunk, readLeast))]
	n, err := c.transport.fill(c, target)
	switch {
	case err == unix.EAGAIN:
		c.unset(flagReadable)
		return
	case err != nil:
		l.readFailed(c, err)
		return
	case n == 0:
		l.end(c)
		return
	}
	// A short read means that the socket is empty; the end of the peer's side, which may have come with the data, was noticed by
	// its own event and is read in the next turn.
	if n < len(target) && !c.has(flagEnd) {
		c.unset(flagReadable)
	}
	c.received += uint64(n)
	if c.role == roleServer {
		l.numbers.bytesIn += uint64(n)
	}
	if c.has(flagLingering) {
		if c.mark += uint64(n); c.mark > lingerMax {
			l.close(c, c.why)
		}
		return
	}
	data := target[:n]
	if c.in != nil {
		c.in = c.in[:len(c.in)+n]
		data = c.in
	}
	l.keep(c, l.process(c, data))
}

// roomBehind returns free memory behind the bytes that c keeps, growing it if there is little.
func (l *loop) roomBehind(c *conn) []byte {
	if cap(c.in)-len(c.in) < 1024 {
		grown := append(l.buffers.Get(2*cap(c.in)), c.in...)
		l.buffers.Put(c.in)
		c.in = grown
	}
	return c.in[len(c.in):cap(c.in)]
}

// keep stores what process has left over: at the front of c.in, in new memory when it came from the loop's scratch, nowhere when it is
// nothing.
func (l *loop) keep(c *conn, rest []byte) {
	if c.has(flagClosed) {
		return
	}
	switch {
	case len(rest) == 0 || c.receiver == nil && c.has(flagLast|flagNoMore):
		if c.in != nil {
			l.buffers.Put(c.in)
			c.in = nil
		}
		if len(rest) > 0 {
			c.set(flagLinger) // bytes behind the last request: a plain close would answer them with a reset
		}
	case c.in == nil:
		c.in = append(l.buffers.Get(len(rest)+1024), rest...)
	default:
		c.in = c.in[:copy(c.in, rest)]
	}
}

func (l *loop) readFailed(c *conn, err error) {
	switch {
	case c.has(flagLingering):
		l.close(c, c.why)
	case err == unix.ECONNRESET || err == unix.EPIPE || err == unix.ETIMEDOUT || err == unix.EHOSTUNREACH || err == unix.ENETUNREACH:
		if c.busy() {
			l.close(c, reasonClientGone)
		} else {
			l.close(c, reasonClientDone)
		}
	default:
		l.close(c, reasonSystem)
	}
}

var errIncomplete = &http1.Error{Status: 400, Message: "the client ended its side in the middle of the body"}

// end takes the end of what the peer sends. What it has asked for before is still answered (half-close).
func (l *loop) end(c *conn) {
	c.set(flagEOF)
	c.unset(flagReadable | flagEnd)
	if c.has(flagLingering) {
		l.close(c, c.why)
		return
	}
	c.why = reasonHalfClosed
	if r := c.receiver; r != nil {
		l.bodyFailed(c, r, errIncomplete)
		c.why = reasonClientGone
		return
	}
	if ex := c.current; ex != nil { // part of a head: nobody waits for an answer to it
		c.current = nil
		l.recycle(ex)
		l.dropInput(c)
		c.why = reasonClientGone
	}
	if !c.busy() && c.why == reasonHalfClosed {
		c.why = reasonClientDone
	}
}

// process feeds bytes to the preface stages, the body that is coming in, and the parser, and returns what nobody takes now.
func (l *loop) process(c *conn, data []byte) []byte {
	if c.waiting() {
		var ready bool
		if data, ready = l.prefaces(c, data); !ready {
			return data
		}
	}
	for len(data) > 0 && !c.has(flagClosed) && (!c.has(flagLast) || c.receiver.wanted()) {
		if c.receiver != nil {
			n := l.receive(c, data)
			data = data[n:]
			if n == 0 && c.receiver != nil {
				return data // the handler must read first
			}
			continue
		}
		if c.has(flagNoMore) || l.stalled(c) {
			return data
		}
		if l.turnLeft == 0 {
			c.set(flagInput)
			return data
		}
		ex := c.current
		if ex == nil {
			ex = l.takeExchange()
		}
		n, err := ex.parser.Feed(data, &l.limits(c).http)
		switch {
		case err != nil:
			c.current = nil
			l.refuse(c, ex, err)
			return data
		case n == 0:
			c.current = ex
			return data
		}
		c.current = nil
		if !c.pipeline.admits(sideBySide(&ex.parser.Head)) || c.pipeline.crowded() {
			// Parsed again when the pipeline is empty: rare, and cheaper than keeping a parsed head somewhere.
			l.recycle(ex)
			c.set(flagWaitEmpty)
			return data
		}
		l.turnLeft--
		ex.headBytes = int32(n)
		head := data[:n]
		data = data[n:]
		l.begin(c, ex, head)
	}
	if c.has(flagClosed) {
		return nil
	}
	return data
}
