package child

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/control"
)

// Live connections move between children on handoff channels; netcore/control/PROTOCOL.md has the procedure. This file is which connections
// move; handoff_give.go is the giver's side of a channel, handoff_take.go the taker's.
//
//	open ── atRest ──► takeOff: out of poller, wheel and table ──► parcel ──► sent ──► held ──► handedOver: closed here
//	  ▲                                                              └── not held, or the channel has ended ──► takeBack
//	  └──────────────────────────────────────── install ◄──────────────────────────────────────────────────────────┘
//	                                               ▲
//	              the taker's loop: mayTake ──► held is sent
//
// A connection on its way belongs to no loop: nobody reads from it, writes to it, or closes it, and its client only sees that it is slow.

const (
	// movesPerTurn is how many connections are taken off in a turn of the loop: the others wait for a fraction of a millisecond.
	movesPerTurn = 64
	// handoffWindow is how many messages may wait for their answer on a channel: enough that neither side waits for the other, and little
	// to take back.
	handoffWindow = 4
	// answerBound is how long a taker may be silent while it is owed an answer, in ns.
	answerBound = int64(5 * time.Second)
	// unreadMost is how many received bytes a connection may have and still move: far more than any head of sensible limits.
	unreadMost = 16 << 20
	// unreadApart is from how many bytes on they go ahead of their record, so that a message has room for many records.
	unreadApart = 8 << 10
)

// handoffMarks of a connection.
type handoffMarks uint8

const (
	markListed handoffMarks = 1 << iota // among the candidates of the drain
	markShared                          // it was on its way: another process may have its socket, too, for a while
)

// A giving is one order to give connections away: a Give, or a Drain with channels. It is the loop's.
type giving struct {
	listeners []uint32  // whose connections may move
	outlets   []*outlet // that have not ended
	next      int       // of outlets, for the next message
	drain     bool      // connections that come to rest later join
	room      int       // how many more may be taken off

	candidates []uint64 // tokens
	at         int      // of candidates: the next one

	transit int    // connections on their way
	moved   int    // those that a taker has acknowledged
	broken  string // why channels have ended before their time; "": none has
	done    func(*giving)
}

// handoff is a loop's part in all of this.
type handoff struct {
	givings []*giving
	leave   *giving // of the drain, while it has a channel
	leftAt  int64   // when that was
	left    *giving // the same when its channels have ended: its connections are spared by idleCloses for as long as the drain is patient
	transit int     // connections on their way to others
	taking  int     // connections that this child may have acknowledged and that are not in its table yet
	more    bool    // there is something to give in the next turn

	answerBound int64         // of takers, in ns
	patience    time.Duration // of the drain: the least of what was ordered
	drainOver   bool          // what comes back is closed
}

// open is how many sockets of connections the loop is responsible for.
func (l *loop) open() int { return l.table.Len() + l.moves.transit }

// mayMove reports whether c is one of those that g is about.
func (g *giving) mayMove(c *conn) bool {
	return c.role == roleServer && c.transport.movable() && slices.Contains(g.listeners, c.listener.id)
}

// givable reports whether c is to go to another child as soon as it is at rest. Its client is told nothing.
func (l *loop) givable(c *conn) bool { return l.moves.leave != nil && l.moves.leave.mayMove(c) }

// willBeGivable reports the same, or that it soon may be: the channels have just ended, and the master is about to bring others.
func (l *loop) willBeGivable(c *conn) bool {
	return l.givable(c) || l.moves.left != nil && l.now-l.moves.leftAt < renewGrace && l.moves.left.mayMove(c)
}

// renewGrace is how long clients are told nothing after the last channel has ended, in ns.
const renewGrace = int64(500 * time.Millisecond)

// spared reports whether c stays open although a drain has no time for connections at rest any more.
func (l *loop) spared(c *conn) bool {
	return l.givable(c) || l.moves.left != nil && l.moves.left.mayMove(c)
}

// atRest reports whether nothing goes on on c: all that there is of it are a few numbers and what was received of a head or a preface.
func atRest(c *conn) bool {
	const busy = flagEnd | flagEOF | flagInput | flagWaitEmpty | flagNoMore | flagLast | flagLinger | flagLingering | flagUntilClose |
		flagClosed
	return !c.has(busy) && c.receiver == nil && c.pipeline.empty() && c.out == nil && c.push == nil &&
		(len(c.in) == 0 || c.partial() && len(c.in) <= unreadMost)
}

// list makes c a candidate of the drain; it is looked at again when its turn to move comes.
func (g *giving) list(c *conn) {
	if c.marks&markListed == 0 {
		c.marks |= markListed
		g.candidates = append(g.candidates, c.timer.Key)
	}
}

// give begins a giving. Its channels begin to be used at the end of the turn.
func (l *loop) give(g *giving) {
	l.moves.givings = append(l.moves.givings, g)
	l.enlist(g)
	for _, o := range g.outlets {
		o.start(l, g)
	}
	l.settleGiving(g)
}

// enlist makes candidates of all connections that there are.
func (l *loop) enlist(g *giving) {
	g.candidates, g.at = g.candidates[:0], 0
	for c := range l.table.All() {
		if g.drain {
			c.marks &^= markListed // an earlier drain may have listed it
		}
		switch {
		case !g.mayMove(c):
		case g.drain:
			g.list(c)
		default:
			g.candidates = append(g.candidates, c.timer.Key)
		}
	}
}

// giveTurn takes connections off that are to move.
func (l *loop) giveTurn() {
	l.moves.more = false
	if len(l.moves.givings) == 0 {
		return
	}
	left := movesPerTurn
	for _, g := range slices.Clone(l.moves.givings) {
		left -= l.giveSome(g, left)
		l.settleGiving(g)
	}
}

// giveSome takes up to most connections off for g, spread over its channels, and returns how many.
func (l *loop) giveSome(g *giving, most int) (taken int) {
	open := 0
	for _, o := range g.outlets {
		if o.takes() {
			open++
		}
	}
	if open == 0 || g.room <= 0 || l.candidate(g) == nil {
		return 0 // the next answer, or the next connection that comes to rest, is another turn
	}
	most = min(most, g.room)
	share := (min(most, len(g.candidates)-g.at) + open - 1) / open
	for range len(g.outlets) {
		o := g.outlets[g.next%len(g.outlets)]
		g.next++
		if o.takes() {
			taken += l.load(g, o, min(share, most-taken))
		}
	}
	l.moves.more = l.moves.more || g.room > 0 && g.at < len(g.candidates) && slices.ContainsFunc(g.outlets, (*outlet).takes)
	return taken
}

// candidate returns the next connection that g can give now, or nil. It stays the next one until it is taken off.
func (l *loop) candidate(g *giving) *conn {
	for ; g.at < len(g.candidates); g.at++ {
		c := l.table.Get(netcore.SplitToken(g.candidates[g.at]))
		if c == nil {
			continue
		}
		// One that has something to read is about to be busy: a drain moves it, for it would hardly come to rest otherwise.
		if g.mayMove(c) && atRest(c) && (g.drain || !c.has(flagReadable|flagReady)) {
			return c
		}
		if g.drain {
			c.marks &^= markListed // it is listed again when it comes to rest
		}
	}
	g.candidates, g.at = g.candidates[:0], 0
	return nil
}

// load fills messages for a channel with up to most connections.
func (l *loop) load(g *giving, o *outlet, most int) (taken int) {
	var s *shipment
	send := func() {
		if s != nil {
			l.ship(g, o, s)
			s = nil
		}
	}
	defer send()
	for taken < most {
		c := l.candidate(g)
		if c == nil {
			break
		}
		r := l.recordOfConn(c)
		apart := len(c.in) > unreadApart
		if apart {
			r.Unread = nil
		}
		if s != nil && (apart || s.size+r.Size() > control.MaxBody) {
			send()
		}
		if s == nil {
			if !o.takes() {
				break
			}
			s = &shipment{size: control.ConnectionsSize}
			if apart {
				s.ahead = c.in
			}
		}
		s.size += r.Size()
		s.parcels = append(s.parcels, l.takeOff(c, r))
		taken++
	}
	return taken
}

// recordOfConn says what a taker has to know of c. It shares the memory of c.in.
func (l *loop) recordOfConn(c *conn) control.Connection {
	r := control.Connection{
		Listener: c.listener.id, Peer: c.peer, Preface: c.waiting(),
		Exchanges: c.exchanges, Received: c.received, Sent: c.sent, LeftMillis: -1, Unread: c.in,
	}
	if e := c.entry; e != nil && !r.Preface {
		r.Client, r.Server, r.Hidden, r.HTTPS = e.client, e.server, e.hidden, e.https
	}
	// The time that it has because it was to go here is no measure for who takes it.
	if (c.phase == phaseIdle || c.phase == phaseHead) && c.timer.Armed() {
		const milli = int64(time.Millisecond)
		r.LeftMillis = max(0, c.timer.Due()-l.now+milli-1) / milli
	}
	return r
}

// takeOff takes a connection at rest out of the loop, all but its descriptor.
func (l *loop) takeOff(c *conn, r control.Connection) parcel {
	p := parcel{record: r, moving: moving{
		fd: int(c.fd), listener: c.listener, peer: c.peer, entry: c.entry, exchanges: c.exchanges, received: c.received, sent: c.sent,
		due: c.timer.Due(), unread: c.in,
	}}
	if c.phase != phaseIdle && c.phase != phaseHead || !c.timer.Armed() {
		p.due = never
	}
	if c.has(flagRegistered) {
		l.poller.Remove(int(c.fd)) // not Forget: the duplicate on its way keeps the open file alive; an error means that it was not there
	}
	l.wheel.Cancel(&c.timer)
	if ex := c.current; ex != nil { // the taker parses the head from its beginning
		c.current = nil
		l.recycle(ex)
	}
	c.in = nil
	c.set(flagClosed)
	l.table.Remove(int(c.fd), c.serial)
	if !c.has(flagReady) {
		l.closed = append(l.closed, c)
	}
	l.stale = true
	return p
}

// A moving is a connection at rest that is in no table.
type moving struct {
	fd             int
	listener       *listener // of which it is a user
	peer           netip.AddrPort
	entry          *entry
	exchanges      uint32
	received, sent uint64
	due            int64  // of the deadline of its phase; never: the longest
	unread         []byte // from the loop's buffers; nil: none
}

// install makes a connection of a moving one. It goes on where it was.
func (l *loop) install(m *moving) *conn {
	c := l.enroll(m.fd)
	c.listener, c.peer, c.entry = m.listener, m.peer, m.entry
	c.role = roleServer
	c.transport = plain{}
	c.exchanges, c.received, c.sent, c.queued = m.exchanges, m.received, m.sent, m.sent
	c.in = m.unread
	c.flags = flagWritable
	c.marks = markShared
	c.phase = l.phaseOf(c)
	limit := l.limits(c).idleTimeout
	switch {
	case len(c.in) > 0:
		c.phase = phaseHead
		c.set(flagInput)
	case c.phase == phaseSilent || l.idleCloses && !l.spared(c):
		// It is to go: what has arrived is answered, and settle sees to the rest.
		c.phase = phaseNew
		c.set(flagReadable)
	}
	if c.phase == phaseHead {
		limit = l.limits(c).headTimeout
		c.mark = uint64(c.exchanges)
	}
	if c.phase != phaseNew {
		l.wheel.Schedule(&c.timer, min(m.due, l.now+limit))
	}
	if c.has(flagInput | flagReadable) {
		l.makeReady(c)
	} else {
		l.watch(c) // an edge-triggered poller, too, reports what has arrived before
	}
	return c
}

// endHandoffs ends all channels that connections are given on. Nothing is on its way.
func (l *loop) endHandoffs() {
	for _, g := range slices.Clone(l.moves.givings) {
		g.room = 0
		l.settleGiving(g)
	}
	l.moves.leave, l.moves.left = nil, nil
}
