package child

import "github.com/tined/tined/netcore"

// This file is the end of connections and exchanges.

// endOfAnswers closes a connection after its last response, gently where the client may still be sending.
func (l *loop) endOfAnswers(c *conn) {
	if c.cut() {
		l.close(c, c.why)
		return
	}
	// A client that has sent several requests may have sent one more, whatever it said of the last. One request on a connection is the case
	// in which lingering costs most, and has least to protect.
	if c.has(flagLinger|flagReadable) || c.exchanges > 1 || c.receiver != nil || len(c.in) > 0 || l.inFlight(c) {
		l.linger(c)
		return
	}
	l.close(c, c.why)
}

// soonThere is how many bytes reach a client at once, in the first window of TCP (RFC 6928): they are there before any reset is.
const soonThere = 14 << 10

// inFlight reports whether something that was sent may not have reached the client: a byte that comes from it, or has come while nobody
// watched, would still destroy that.
func (l *loop) inFlight(c *conn) bool {
	if c.sent <= soonThere {
		return false
	}
	if c.interest&netcore.Readable == 0 {
		return true
	}
	held, err := netcore.Unsent(int(c.fd))
	return err == nil && held > 0
}

// linger shuts our side down and drops what the client still sends, so that the system does not answer it with a reset that would
// destroy the response on its way (RFC 9112, 9.6).
func (l *loop) linger(c *conn) {
	c.set(flagLingering | flagLast)
	l.dropInput(c)
	if c.has(flagEOF) {
		l.close(c, c.why)
		return
	}
	if err := c.transport.closeNotify(c); err != nil {
		l.close(c, c.why)
	}
}

// dropInput forgets what was received and will not be parsed.
func (l *loop) dropInput(c *conn) {
	if c.in != nil {
		l.buffers.Put(c.in)
		c.in = nil
	}
	c.unset(flagInput)
	l.dropBody(c)
}

// dropBody forgets the head or body that is coming in.
func (l *loop) dropBody(c *conn) {
	if r := c.receiver; r != nil {
		if r.flow != nil {
			r.flow.fail(errClientGone)
		}
		c.receiver = nil
		l.putReceiver(r)
	}
	c.current = nil
}

// reasonOfEnd is why a connection closes whose peer has ended its side and that owes nothing.
func (c *conn) reasonOfEnd() closeReason {
	switch {
	case c.why != reasonNone:
		return c.why
	case len(c.in) > 0:
		return reasonClientGone
	}
	return reasonClientDone
}

// close ends a connection at once.
func (l *loop) close(c *conn, why closeReason) {
	if c.has(flagClosed) {
		return
	}
	if c.cut() {
		_ = netcore.ResetOnClose(int(c.fd)) // an orderly end would make the part look like the whole
	} else if c.marks&markShared != 0 {
		_ = netcore.ShutdownWrite(int(c.fd)) // as long as a duplicate is open, the close would not tell the client
	}
	l.release(c, why)
	if c.has(flagRegistered) {
		l.poller.Forget(int(c.fd))
	}
	netcore.Close(int(c.fd)) // nothing can be done about an error; the descriptor is gone in any case (close(2))
	l.gone(c)
}

// release ends everything that hangs on a connection but its socket.
func (l *loop) release(c *conn, why closeReason) {
	c.set(flagClosed)
	if c.role != roleSelf {
		l.numbers.closed[why]++
		l.life.Closed(int(why))
	}
	l.wheel.Cancel(&c.timer)
	if c.out != nil {
		l.dropOutput(c)
	}
	current := c.current
	l.dropBody(c)
	if current != nil && !current.listed {
		l.recycle(current)
	}
	for ex := c.pipeline.sending.pop(); ex != nil; ex = c.pipeline.sending.pop() {
		l.ended(c, ex, why)
	}
	if c.push != nil {
		l.leavePush(c, why)
	}
	for ex := c.pipeline.pending.pop(); ex != nil; ex = c.pipeline.pending.pop() {
		l.desert(c, ex, why)
	}
	if c.in != nil {
		l.buffers.Put(c.in)
		c.in = nil
	}
	l.table.Remove(int(c.fd), c.serial)
	l.leaveListener(c.listener)
}

// gone gives the object of a closed connection back at the end of the turn: whoever has closed it may still look at its flags.
func (l *loop) gone(c *conn) {
	if l.choked {
		l.unchoke()
	}
	if !c.has(flagReady) {
		l.closed = append(l.closed, c)
	}
	l.checkDrained()
}

// desert leaves an exchange whose connection has gone, or whose place another has taken.
func (l *loop) desert(c *conn, ex *exchange, why closeReason) {
	ex.leave()
	l.logAccess(c, ex, why)
	if ex.dispatch {
		if !ex.route.pool.Remove(&ex.job) {
			ex.orphan = true // the worker gives it back
			return
		}
		l.returned(ex)
	} else if ex.gateLink.waits {
		ex.route.gate.waiting.remove(ex)
	}
	if p := ex.reader; p != nil {
		if p.reading && !ex.route.pool.Remove(&p.job) {
			ex.orphan = true // so does the one that reads its body
			return
		}
		l.closeSource(ex, p.source)
	}
	l.recycleOrphan(ex)
}

// recycleOrphan gives back an exchange whose response nobody will read.
func (l *loop) recycleOrphan(ex *exchange) {
	l.discard(ex)
	l.recycle(ex)
}

// reap ends the exchanges whose response has left.
func (l *loop) reap(c *conn) {
	for ex := c.pipeline.sending.first; ex != nil && ex.end <= c.sent; ex = c.pipeline.sending.first {
		c.pipeline.sending.pop()
		l.ended(c, ex, reasonNone)
	}
}

// ended takes an exchange whose response has left (why is reasonNone) or will not.
func (l *loop) ended(c *conn, ex *exchange, why closeReason) {
	if why == reasonNone && c.role != roleSelf {
		l.took(ex)
	}
	l.logAccess(c, ex, why)
	if ex.finished {
		l.recycle(ex)
	}
}
