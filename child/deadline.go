package child

import (
	"time"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/netcore"
)

const (
	// lingerTimeout is how long a lingering close waits for the next byte, in ns, and lingerPeriods how many times over while bytes come.
	lingerTimeout = int64(5 * time.Second)
	lingerPeriods = 6
	// drainLinger is the same for a child that drains, and for a listener that was removed: it waits for a request that may be under way,
	// not for clients to close.
	drainLinger = int64(time.Second)
	// never is a deadline that does not come.
	never = int64(1 << 62)
)

// phaseOf says what a connection is waiting for.
func (l *loop) phaseOf(c *conn) phase {
	switch {
	case c.has(flagLingering):
		return phaseLinger
	case c.out != nil && !c.has(flagWritable):
		if ex := c.pipeline.sent(); ex != nil && c.push == nil && ex.hasOwn(sideWrite) {
			return phaseStream // the handler's own deadline holds
		}
		return phaseWrite
	case c.receiver != nil && c.receiver.awaited():
		if ex := c.receiver.ex; ex != nil && ex.hasOwn(sideRead) {
			return phaseStream
		}
		return phaseBody
	case c.push != nil:
		return phaseStream
	case c.current != nil && c.receiver == nil:
		return phaseHead
	}
	if ex := c.pipeline.head(); ex != nil {
		if ex.begunStream || ex.pushing || ex.finished {
			return phaseStream
		}
		return phaseHandler
	}
	switch {
	case c.listener.removed && !l.draining && (c.exchanges > 0 || c.received == 0):
		return phaseSilent
	case c.exchanges > 0:
		return phaseIdle
	case l.idleCloses && c.received == 0 && !l.spared(c):
		return phaseSilent
	}
	return phaseHead
}

// limitsIn returns the bounds that hold for a connection in a phase: those of the generation of the exchange that it waits for.
func (l *loop) limitsIn(c *conn, p phase) *limits {
	var g *generation
	switch p {
	case phaseBody:
		if c.receiver != nil && c.receiver.ex != nil {
			g = c.receiver.ex.gen
		}
	case phaseHandler:
		g = c.pipeline.head().gen
	case phaseWrite:
		if c.push != nil && c.push.ex == nil {
			g = c.push.generation
		} else if ex := c.pipeline.sent(); ex != nil {
			g = ex.gen
		}
	}
	if g == nil {
		return l.limits(c)
	}
	return &g.limits
}

// awaited reports whether it is the client's turn to send more of the body: not when the handler must read first, be it because the
// window is full or because the client waits for "100 Continue".
func (r *receiver) awaited() bool {
	if r.flow == nil {
		return true
	}
	return !r.flow.full() && (!r.ex.expected || r.ex.begunStream)
}

// setDeadline arms the connection's timer when it begins to wait for something else. Within a phase the deadline stays: a client that
// sends a byte now and then does not move it.
func (l *loop) setDeadline(c *conn) {
	p := l.phaseOf(c)
	lim := l.limitsIn(c, p)
	if p == c.phase && p != phaseIdle && p != phaseHandler && (p != phaseHead || uint32(c.mark) == c.exchanges) {
		return
	}
	due := never
	switch p {
	case phaseIdle:
		due = l.now + lim.idleTimeout
	case phaseHead:
		due = l.now + lim.headTimeout
		c.mark = uint64(c.exchanges)
	case phaseSilent:
		due = l.now + min(drainLinger, lim.headTimeout)
	case phaseBody:
		due = l.now + lim.bodyTimeout
		c.mark = c.received
	case phaseWrite:
		due = l.now + lim.writeTimeout
		c.mark = l.takenBytes(c)
	case phaseHandler:
		ex := c.pipeline.head()
		timeout := lim.handlerTimeout
		if ex.route != nil && ex.route.limits.handlerTimeout >= 0 {
			timeout = ex.route.limits.handlerTimeout
		}
		if timeout > 0 {
			due = ex.from + timeout
		}
		due = min(due, l.probeDue(c, ex))
	case phaseLinger:
		due = l.now + lingerTimeout
		if l.leaving(c) {
			due = l.now + drainLinger
		}
		c.mark = 0
	case phaseStream:
	}
	c.phase = p
	if due == never {
		l.wheel.Cancel(&c.timer)
		return
	}
	l.wheel.Schedule(&c.timer, due)
}

// takenBytes is how many bytes the client has acknowledged: what was sent less what its socket still holds. A client that reads
// slowly from a full socket buffer makes progress long before the buffer takes more.
func (l *loop) takenBytes(c *conn) uint64 {
	held, err := netcore.Unsent(int(c.fd))
	if err != nil {
		return c.sent
	}
	return c.sent - min(c.sent, uint64(held)) // a unix socket counts the system's overhead as held
}

var (
	errHeadTimeout = &http1.Error{Status: 408, Message: "the head took longer than limits.head_timeout"}
	errBodyTimeout = &http1.Error{Status: 408, Message: "the body came slower than limits.body_rate"}
)

// expired is called by the wheel for every timer that is due.
func (l *loop) expired(t *netcore.Timer) {
	switch t {
	case &l.retry:
		l.unchoke()
		return
	case &l.feeding:
		l.feed()
		return
	case &l.aging:
		l.boundRetired()
		return
	case &l.ebb.timer:
		l.turnOfTide()
		return
	case &l.disk.warm.timer:
		l.cool()
		return
	}
	fd, serial := netcore.SplitToken(t.Key)
	c := l.table.Get(fd, serial)
	if c == nil {
		l.outletLate(t)
		return
	}
	lim := l.limitsIn(c, c.phase)
	switch c.phase {
	case phaseIdle:
		c.why = reasonIdleTimeout
		l.linger(c)
	case phaseSilent:
		c.why = l.whyLeaving()
		l.linger(c)
	case phaseHead:
		ex := c.current
		if ex == nil || !ex.parser.Started() { // not a byte of a request: nobody waits for an answer
			l.close(c, reasonHeadTimeout)
			return
		}
		c.current = nil
		l.refuse(c, ex, errHeadTimeout)
		c.why = reasonHeadTimeout
	case phaseBody:
		if int64(c.received-c.mark) >= lim.bodyLeast {
			c.mark = c.received
			l.wheel.Schedule(t, l.now+lim.bodyTimeout)
			return
		}
		l.bodyFailed(c, c.receiver, errBodyTimeout)
		c.why = reasonBodyTimeout
	case phaseWrite:
		if taken := l.takenBytes(c); int64(taken-c.mark) >= lim.writeLeast {
			c.mark = taken
			l.wheel.Schedule(t, l.now+lim.writeTimeout)
			return
		}
		l.close(c, reasonWriteTimeout)
	case phaseHandler:
		if l.probe(c) {
			break
		}
		ex := c.pipeline.head()
		l.stopParsing(c, reasonHandlerTimeout)
		ex.keepAlive = false
		l.supplant(c, ex, 503)
	case phaseLinger:
		if c.periods++; c.mark > 0 && c.periods < lingerPeriods && !l.leaving(c) {
			c.mark = 0
			l.wheel.Schedule(t, l.now+lingerTimeout)
			return
		}
		l.close(c, c.why)
	case phaseStream:
	}
	if c.has(flagClosed) {
		return
	}
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	l.settle(c)
}
