package child

import (
	"fmt"

	"github.com/tined/tined/netcore"
)

// check panics when something that must hold between two turns of the loop does not. It runs in debug builds, after every turn:
//
//  1. a connection in the table is open, and in no list of connections that are over;
//  2. nobody is forgotten: a connection with something to do is in the ready list, and one that waits for its socket is known to the
//     poller with the interest that it needs;
//  3. one that waits for its client, or for a handler with a deadline, has its timer armed;
//  4. a pipeline's counters are what its lists hold, and responses end where the next begins;
//  5. an exchange that is free belongs to nobody;
//  6. every connection on its way to another child waits for an answer on an open channel.
func (l *loop) check() {
	for c := range l.table.All() {
		if broken := l.brokenConn(c); broken != "" {
			panic(fmt.Sprintf("child: fd %d, flags %#x, phase %d: %s", c.fd, c.flags, c.phase, broken))
		}
	}
	count := 0
	for ex := l.freeExchange.first; ex != nil; ex = ex.next {
		count++
		if ex.state != Closed || ex.gen != nil || ex.dispatch || ex.orphan || ex.reader != nil || ex.stream != nil || ex.body != nil {
			panic("child: a free exchange belongs to somebody")
		}
	}
	if count != l.freeExchange.length {
		panic("child: the free list has another length than it says")
	}
	count = 0
	for _, g := range l.moves.givings {
		waiting := 0
		for _, o := range g.outlets {
			for _, s := range o.waiting {
				waiting += len(s.parcels)
			}
			if len(o.waiting) > 0 != o.timer.Armed() && !o.down {
				panic("child: a handoff channel waits for an answer without a deadline, or has one for nothing")
			}
		}
		if waiting != g.transit {
			panic("child: a giving counts its connections wrongly")
		}
		count += waiting
	}
	if count != l.moves.transit {
		panic("child: the loop counts the connections on their way wrongly")
	}
}

// brokenConn says what is wrong with a connection, "" if nothing is.
func (l *loop) brokenConn(c *conn) string {
	if c.has(flagClosed) {
		return "closed and in the table"
	}
	if broken := c.pipeline.broken(c); broken != "" {
		return broken
	}
	if c.has(flagReady) {
		return "" // its turn comes
	}
	if c.receiver != nil && c.receiver.flow != nil {
		return "" // its handler makes room at any moment, and the event that says so may be on its way
	}
	head := c.pipeline.head()
	wants := l.wantsInput(c)
	switch {
	case c.out != nil && c.has(flagWritable):
		return "has output and a writable socket, and is not ready"
	case wants && c.has(flagReadable):
		return "has input and wants it, and is not ready"
	case c.out == nil && c.push == nil && head != nil && head.finished && head.reader == nil && !c.has(flagLast):
		return "has an answer that nobody encodes"
	case c.out == nil && c.pipeline.sending.first != nil:
		return "has nothing to send, and exchanges that wait for it"
	case !c.has(flagRegistered):
		return "is not known to the poller"
	case wants && c.interest&netcore.Readable == 0:
		return "wants input and does not watch for it"
	case c.out != nil && c.out.fetch == nil && c.interest&netcore.Writable == 0:
		return "has output and does not watch for room"
	case c.phase != l.phaseOf(c):
		return fmt.Sprintf("is in phase %d", l.phaseOf(c))
	case c.phase != phaseStream && c.phase != phaseHandler && !c.timer.Armed():
		return "waits for its client without a deadline"
	}
	return ""
}

// broken says what is wrong with a pipeline, "" if nothing is.
func (p *pipeline) broken(c *conn) string {
	var pending, unsafe uint32
	var last *exchange
	for ex := p.pending.first; ex != nil; ex = ex.next {
		pending++
		if !ex.safe {
			unsafe++
		}
		if !ex.listed || ex.state == Closed || ex.serial != c.serial {
			return "holds an exchange that is not its own"
		}
		last = ex
	}
	if last != p.pending.last || int(pending) != p.pending.length || unsafe != p.unsafe {
		return "counts its pending exchanges wrongly"
	}
	var end uint64
	count := 0
	for ex := p.sending.first; ex != nil; ex = ex.next {
		count++
		if ex.first < end || ex.end < ex.first || ex.end > c.queued || ex.end <= c.sent {
			return "holds a response out of place"
		}
		end = ex.end
	}
	if count != p.sending.length {
		return "counts its sending exchanges wrongly"
	}
	return ""
}
