package child

import (
	"os"
	"sync"
	"time"
)

// sides of an exchange that a handler may set a deadline of.
const (
	sideRead  = iota // of the request's body
	sideWrite        // of the response
	sides
)

// deadlines are what a handler has set in place of the limits, for the rest of its exchange. They may pass while the handler waits in a
// Read or Write, and after it has returned: their timers are the runtime's, and when one fires it wakes the handler and tells the loop.
type deadlines struct {
	ex *exchange // its fields may be used under mu as long as over is false

	mu     sync.Mutex
	over   bool // the exchange is recycled
	timers [sides]*time.Timer
	set    [sides]int // counts the calls of set, so that a timer that was replaced while it fired does nothing
}

// SetDeadlines implements web.Engine.
func (ex *exchange) SetDeadlines(read, write *time.Time) error {
	if ex.gone.Load() {
		return errClientGone
	}
	if ex.deadlines == nil {
		ex.deadlines = &deadlines{ex: ex}
	}
	for side, at := range [sides]*time.Time{sideRead: read, sideWrite: write} {
		if at != nil {
			ex.unlimited.Or(1 << side)
			ex.deadlines.arm(side, *at)
		}
	}
	if ex.dispatch {
		ex.post(eventDeadline)
	}
	return nil
}

// hasOwn reports whether the handler has set the deadline of a side, so that the limits do not hold.
func (ex *exchange) hasOwn(side int) bool { return ex.unlimited.Load()&(1<<side) != 0 }

// arm replaces the deadline of a side; the zero time: none.
func (d *deadlines) arm(side int, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set[side]++
	if t := d.timers[side]; t != nil {
		t.Stop()
		d.timers[side] = nil
	}
	if at.IsZero() {
		return
	}
	wait := time.Until(at)
	if wait <= 0 {
		d.passLocked(side)
		return
	}
	nth := d.set[side]
	d.timers[side] = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.over && d.set[side] == nth {
			d.passLocked(side)
		}
	})
}

// passLocked fails what the handler waits for, and lets the loop do the rest.
func (d *deadlines) passLocked(side int) {
	ex := d.ex
	if side == sideRead {
		if ex.body != nil {
			ex.post(eventReadLate) // first: once it is woken, the handler may be over before the loop knows
			ex.body.miss()
		}
		return
	}
	ex.mu.Lock()
	ex.lateWrite = true
	s := ex.stream
	ex.mu.Unlock()
	if s != nil {
		s.fail(os.ErrDeadlineExceeded)
	}
	ex.post(eventWriteLate)
}

// end stops the deadlines of an exchange that is over.
func (d *deadlines) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for _, t := range d.timers {
		if t != nil {
			t.Stop()
		}
	}
}

// readLate takes a body whose deadline has passed: its handler reads an error, what still comes is dropped, and the connection closes
// behind the answer.
func (l *loop) readLate(c *conn, sequence uint32) {
	r := c.receiver
	if r == nil || r.ex == nil || r.ex.sequence != sequence {
		return // it was whole before
	}
	c.receiver = nil
	r.ex.ready = l.now
	l.putReceiver(r)
	l.stopParsing(c, reasonBodyTimeout)
}

// writeLate closes a connection whose response has not left within its handler's deadline.
func (l *loop) writeLate(c *conn, sequence uint32) {
	for _, q := range [...]*list{&c.pipeline.pending, &c.pipeline.sending} {
		for ex := q.first; ex != nil; ex = ex.next {
			if ex.sequence == sequence {
				l.close(c, reasonWriteTimeout)
				return
			}
		}
	}
}
