package child

import "github.com/tined/tined/netcore"

// This file is what happens to one connection in a turn of the loop, and after a handler has told it something.

// turn serves one connection: at most a chunk out, a chunk in, and what its handlers answered at once out again.
func (l *loop) turn(c *conn) {
	l.turnLeft = turnRequests
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	if !c.has(flagClosed) {
		l.advance(c)
	}
	if !c.has(flagClosed) {
		l.read(c)
	}
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	if !c.has(flagClosed) && c.out == nil {
		l.advance(c) // what the high-water mark has held back
	}
	l.settle(c)
}

// advance encodes what is next in order, as long as there is room, and makes sure that input which waited is looked at again.
func (l *loop) advance(c *conn) {
	for c.out.unsent() < highWater && !c.has(flagClosed) {
		if c.push != nil {
			if !l.pumpPush(c) {
				break
			}
			continue
		}
		ex := c.pipeline.head()
		if ex == nil {
			break
		}
		if c.has(flagLast) && !c.pipeline.answering() {
			break // the answer before it was the last
		}
		if ex.informing && !ex.begun {
			l.inform(c, ex)
		}
		if ex.pushing {
			l.beginPush(c, ex)
			continue
		}
		if ex.begunStream {
			if !l.pumpStream(c, ex) {
				break
			}
			continue
		}
		if ex.reader != nil {
			l.pullMore(c, ex)
			break
		}
		if !ex.finished {
			if ex.wantGo && ex.expected {
				ex.expected = false
				l.putTail(c, append(l.tail(c), "HTTP/1.1 100 Continue\r\n\r\n"...))
			}
			break
		}
		if ex.aborted {
			l.abort(c)
			break
		}
		l.encode(c, ex)
		if ex.reader != nil {
			break
		}
	}
	if !c.has(flagClosed) {
		l.reap(c)
		if len(c.in) > 0 && !c.partial() && !l.stalled(c) {
			c.set(flagInput)
		}
	}
}

// abort gives a connection up whose response cannot be completed. What is queued still leaves, for it may belong to earlier responses;
// settle closes then.
func (l *loop) abort(c *conn) {
	c.why = reasonAborted
	c.set(flagNoMore | flagLast)
	if c.push != nil {
		l.leavePush(c, reasonAborted)
	}
	l.dropBody(c)
	for ex := c.pipeline.pending.pop(); ex != nil; ex = c.pipeline.pending.pop() {
		l.desert(c, ex, reasonAborted)
	}
	c.pipeline.unsafe = 0
}

// finish takes an exchange whose response is complete.
func (l *loop) finish(c *conn, ex *exchange) {
	if r := c.receiver; r != nil && r.ex == ex {
		r.forget()
		if c.current == ex {
			c.current = nil
		}
	}
	ex.answers()
	c.pipeline.finish(ex)
}

// stalled reports whether the next request has to wait before it is even parsed.
func (l *loop) stalled(c *conn) bool {
	p := &c.pipeline
	if c.push != nil {
		return true
	}
	if c.has(flagWaitEmpty) {
		if p.head() != nil {
			return true
		}
		c.unset(flagWaitEmpty)
	}
	return p.unsafe > 0 && c.receiver == nil || p.depth() >= l.limits(c).pipelineDepth || c.out.unsent() >= highWater
}

// wantsInput reports whether the connection should be read from now.
func (l *loop) wantsInput(c *conn) bool {
	switch {
	case c.has(flagLingering):
		return true
	case c.has(flagEOF), c.has(flagLast) && !c.receiver.wanted():
		return false
	case c.receiver != nil:
		return c.receiver.flow == nil || !c.receiver.flow.full()
	case c.has(flagNoMore):
		return false
	}
	return !l.stalled(c)
}

// settle leaves a connection after it has had its turn: closes it when it is done, tells the poller what to watch, sets the deadline,
// and keeps it in the ready list while it has something to do.
func (l *loop) settle(c *conn) {
	if c.has(flagClosed) {
		return
	}
	if c.has(flagNoMore) && !c.busy() {
		c.set(flagLast)
	}
	if c.out == nil && c.has(flagLast) && !c.has(flagLingering) && !c.answering() {
		l.endOfAnswers(c)
		if c.has(flagClosed) {
			return
		}
	}
	if c.has(flagEOF) && !c.has(flagLingering) && !c.busy() && !c.has(flagInput) {
		l.close(c, c.reasonOfEnd())
		return
	}
	if l.moves.leave != nil && l.givable(c) && atRest(c) {
		l.moves.leave.list(c)
	}
	if l.idleCloses && !l.spared(c) && !c.busy() && len(c.in) == 0 && c.exchanges > 0 && !c.has(flagReadable|flagLingering) {
		c.why = reasonDrain
		l.linger(c)
		if c.has(flagClosed) {
			return
		}
	}
	l.watch(c)
	l.setDeadline(c)
	wants := l.wantsInput(c)
	if c.has(flagReadable) && wants || c.out != nil && c.has(flagWritable) || c.has(flagInput) && wants {
		l.makeReady(c)
	}
}

// watch keeps the poller's interest what it should be. A connection that is read and answered in its first turn, and closed, is never
// registered at all.
func (l *loop) watch(c *conn) {
	want := c.interest
	if l.wantsInput(c) {
		want |= netcore.Readable
	} // withdrawn only when an event comes while paused: most pauses are over before
	if c.out != nil && !c.has(flagWritable) && c.out.fetch == nil { // what waits for the disk does not wait for room
		want |= netcore.Writable
	} else {
		want &^= netcore.Writable
	}
	if want != c.interest || !c.has(flagRegistered) {
		l.setInterest(c, want)
	}
}

func (l *loop) setInterest(c *conn, want netcore.Readiness) {
	token := netcore.MakeToken(int(c.fd), c.serial)
	var err error
	if c.has(flagRegistered) {
		err = l.poller.Modify(int(c.fd), want, token)
	} else {
		err = l.poller.Add(int(c.fd), want, token)
	}
	if err != nil {
		l.host.logLine(levelError, "poller", "error", err, "fd", c.fd)
		l.close(c, reasonSystem)
		return
	}
	c.set(flagRegistered)
	c.interest = want
}
