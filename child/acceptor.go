package child

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/control"
)

const (
	// acceptBurst is how many connections one shard may bring in a turn of the loop. Fewer were tried, to save the accept(2) that finds
	// nothing and costs as much as one that finds something: their first requests were then read too early more often, at a higher price.
	acceptBurst = 64
	// chokeRetry is how long accepting pauses when descriptors are short and no connection closes, in ns.
	chokeRetry = int64(100 * time.Millisecond)
	// shortLog is how often the lack of descriptors is logged.
	shortLog = 10 * time.Second
)

// A listener is what connections need to know of the configured address that they came in by. It is the same for as long as the master
// keeps its number, whatever the generations call it. One that the generation of now does not have is removed: what has come by it, and
// what still queues in its shards, is answered by the last generation that had it, with "Connection: close".
type listener struct {
	id uint32
	entrance
	users   int         // connections and shards
	removed bool        // by the generation of now
	last    *generation // that had it; held while it is removed and has users
}

// An entrance is what a generation says of a listener.
type entrance struct {
	name     string
	index    int                // in the generation's routing table; negative: the generation does not have the listener
	proxies  *configs.Addresses // the peers that are believed when they tell another client; nil: nobody
	field    forwardedField     // that they tell it in
	prefaces []preface          // of connections to come
	guarded  bool               // connections of other peers are closed at once
}

// A shard is one listening socket that the master has lent.
type shard struct {
	fd         int
	listener   *listener
	lent       control.Shard // as the master has named it
	registered bool
	readable   bool // there may be more to accept
	paused     bool // although the child accepts
}

// named is the master's name of a shard, with what its listener is called now.
func (s *shard) named() control.Shard {
	s.lent.Listener = s.listener.name
	return s.lent
}

// lend takes shards; they are polled only while the child accepts. One that it holds already is closed, and so is one that comes to a child
// that drains.
func (l *loop) lend(shards []*shard) {
	for _, s := range shards {
		if l.draining || slices.ContainsFunc(l.shards, s.same) {
			netcore.Close(s.fd)
			continue
		}
		s.listener.users++
		l.shards = append(l.shards, s)
	}
	if l.accepting {
		l.accept(true)
	}
}

// accept starts or pauses accepting. The queues of paused shards fill up in the kernel; nothing is lost.
func (l *loop) accept(on bool) {
	l.accepting, l.stale = on, true
	for _, s := range l.shards {
		on := on && !s.paused
		switch {
		case on && !s.registered:
			if err := l.poller.Add(s.fd, l.shardInterest(), netcore.MakeToken(s.fd, shardSerial)); err != nil {
				l.host.logLine(levelError, "a shard cannot be polled", "error", err, "listener", s.listener.name)
				continue
			}
			s.registered = true
		case !on && s.registered:
			l.poller.Remove(s.fd) // an error means that it was not there
			s.registered = false
			s.readable = false
		}
	}
	l.readyShard = l.readyShard && on
}

// resume lets all shards accept, those that were paused alone included.
func (l *loop) resume() {
	for _, s := range l.shards {
		s.paused = false
	}
	l.accept(true)
}

// pause stops accepting from the shards of some listeners; nil: of all.
func (l *loop) pause(listeners []uint32) {
	if listeners == nil {
		l.accept(false)
		return
	}
	for _, s := range l.shards {
		s.paused = s.paused || slices.Contains(listeners, s.listener.id)
	}
	l.accept(l.accepting)
}

// acceptsAll reports whether the child accepts, and from all shards.
func (l *loop) acceptsAll() bool {
	return l.accepting && !slices.ContainsFunc(l.shards, func(s *shard) bool { return s.paused })
}

// shardInterest is what the poller watches shards for: a pause must not be interrupted by every connection that arrives.
func (l *loop) shardInterest() netcore.Readiness {
	if l.choked {
		return 0
	}
	return netcore.Readable
}

// watchShards tells the poller that shardInterest has changed.
func (l *loop) watchShards() {
	for _, s := range l.shards {
		if !s.registered {
			continue
		}
		if err := l.poller.Modify(s.fd, l.shardInterest(), netcore.MakeToken(s.fd, shardSerial)); err != nil {
			l.host.logLine(levelError, "a shard cannot be polled", "error", err, "listener", s.listener.name)
		}
	}
}

// same reports whether both are the same shard. Those that nobody has named are none of the master's.
func (s *shard) same(other *shard) bool {
	return s.lent != (control.Shard{}) && s.lent.ID == other.lent.ID && s.lent.Index == other.lent.Index
}

// returnShards closes our descriptors of all shards; the master keeps its own. What has queued up to now is taken first.
func (l *loop) returnShards() {
	l.giveBack(func(*shard) bool { return true })
	l.accepting, l.readyShard, l.stale = false, false, true
}

// giveBack closes our descriptors of some shards. The master may be about to close its own, and with them what is left in their queues: so
// an accepting child takes that first, also beyond limits.connections. Only for a lack of descriptors it has to leave it.
func (l *loop) giveBack(which func(*shard) bool) {
	var given []*shard
	l.shards = slices.DeleteFunc(l.shards, func(s *shard) bool {
		if which(s) {
			given = append(given, s)
		}
		return which(s)
	})
	for _, s := range given {
		if s.registered {
			for l.generation != nil && l.takeFrom(s, acceptBurst) { // until EAGAIN
			}
			l.poller.Remove(s.fd) // before the close: other descriptors of the socket would keep it polled
		}
		netcore.Close(s.fd)
		l.leaveListener(s.listener)
	}
}

// leaveListener takes note that a connection or shard of a listener is gone.
func (l *loop) leaveListener(from *listener) {
	from.users--
	if from.users > 0 || !from.removed {
		return
	}
	l.listeners = slices.DeleteFunc(l.listeners, func(known *listener) bool { return known == from })
	if g := from.last; g != nil {
		from.last = nil
		g.let()
	}
}

func (l *loop) shardReady(fd int) {
	for _, s := range l.shards {
		if s.fd == fd {
			s.readable = true
			l.readyShard = true
		}
	}
}

// acceptTurn accepts a burst from every shard that has something.
func (l *loop) acceptTurn() {
	if !l.readyShard || l.choked || !l.accepting || l.generation == nil {
		return
	}
	l.readyShard = false
	for _, s := range l.shards {
		if s.readable && !l.choked && l.acceptFrom(s, acceptBurst) {
			l.readyShard = true
		}
	}
}

// acceptFrom accepts up to most connections, as far as limits.connections allows, and reports whether there may be more.
func (l *loop) acceptFrom(s *shard, most int) bool {
	limit := l.generation.limits.connections
	short := l.mostConnections > 0 && l.mostConnections < limit
	if short {
		limit = l.mostConnections
	}
	if room := limit - l.open() - l.moves.taking; room < most {
		if l.takeFrom(s, max(0, room)) {
			if short {
				l.logShort(unix.EMFILE)
			}
			l.choke()
		}
		return false
	}
	return l.takeFrom(s, most)
}

// takeFrom accepts up to most connections and reports whether there may be more.
func (l *loop) takeFrom(s *shard, most int) bool {
	for range most {
		fd, peer, err := netcore.Accept(s.fd)
		switch err {
		case nil:
			l.admit(fd, peer, s.listener, roleServer)
		case unix.EAGAIN:
			s.readable = false
			return false
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.logShort(err)
			l.choke()
			l.reserve.Release() // a handler that needs a file now may have it
			return false
		case unix.ECONNABORTED, unix.EPROTO, unix.EPERM, unix.ENETDOWN, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH:
			// the connection was gone before it was accepted (accept(2)): the next one
		default:
			l.host.logLine(levelError, "accept", "error", err, "listener", s.listener.name)
			s.readable = false
			return false
		}
	}
	return true
}

// logShort says, not too often, that descriptors or memory are short.
func (l *loop) logShort(err error) {
	if l.now-l.shortLogged > int64(shortLog) || l.shortLogged == 0 {
		l.shortLogged = l.now
		l.host.logLine(levelWarn, "accepting pauses: out of descriptors or memory; raise the limit of open files (LimitNOFILE, ulimit -n)",
			"error", err, "connections", l.open())
	}
}

// connectionsFor is how many connections a child may have when it may have so many descriptors: clients must not take those that the
// orders of the master need, a reload above all, and the files of handlers.
func connectionsFor(descriptors uint64) int {
	most := int(min(descriptors, math.MaxInt32))
	return max(1, most-min(most/8, control.MaxFiles+64))
}

// choke pauses accepting until a connection closes or a moment has passed: what is queued waits in the kernel.
func (l *loop) choke() {
	if !l.choked {
		l.choked, l.readyShard = true, false
		l.watchShards()
		l.retry.Key = 0
		l.wheel.Schedule(&l.retry, l.now+chokeRetry)
	}
}

func (l *loop) unchoke() {
	l.choked = false
	_ = l.reserve.Refill() // if there is still none, the next pause goes without
	l.wheel.Cancel(&l.retry)
	l.watchShards()
	for _, s := range l.shards {
		if s.registered {
			s.readable, l.readyShard = true, true
		}
	}
}

// admit makes a connection of an accepted socket. It gets its first turn at once: the request may be there already.
func (l *loop) admit(fd int, peer netip.AddrPort, from *listener, r role) *conn {
	c := l.enroll(fd)
	c.listener = from
	from.users++
	c.peer = peer
	c.role = r
	c.transport = plain{}
	c.phase = phaseNew // so that settle sees a change and sets the first deadline
	c.flags = flagWritable | flagReadable
	if r != roleSelf {
		l.numbers.accepted++
		if from.guarded && !from.proxies.Contains(peer.Addr()) {
			l.turnAway(c, reasonUntrusted, "a connection was closed: the listener has proxy_protocol, and the peer is not in trusted_proxies")
			return c
		}
		if len(from.prefaces) > 0 {
			c.entry = &entry{stages: from.prefaces}
		}
	}
	l.makeReady(c)
	return c
}

// enroll gives a descriptor a conn and a place in the table.
func (l *loop) enroll(fd int) *conn {
	c := l.takeConn()
	c.fd = int32(fd)
	c.serial = l.table.Put(fd, c)
	if c.serial == shardSerial { // the one serial that is taken: the next will do
		l.table.Remove(fd, c.serial)
		c.serial = l.table.Put(fd, c)
	}
	c.timer.Key = netcore.MakeToken(fd, c.serial)
	return c
}

// drain stops accepting and lets what goes on finish; done is called when no connection is left. Every answer from now on is the last of
// its connection. Those on which nothing goes on stay until closeIdle.
func (l *loop) drain(done func()) {
	if l.draining {
		return
	}
	l.returnShards()
	l.draining, l.stale = true, true
	close(l.drainBegins)
	l.drained = done
	l.checkDrained()
}

// closeIdle closes the connections of a draining loop on which nothing goes on, now and from now on.
func (l *loop) closeIdle() {
	l.idleCloses = true
	for _, c := range slices.Collect(l.table.All()) {
		if !c.has(flagReady) {
			l.settle(c)
		}
	}
	l.checkDrained()
}

// endDrain closes what is left at the end of drain_timeout. What is on its way to another child stays there if that has acknowledged it.
func (l *loop) endDrain() {
	l.moves.drainOver = true
	for _, g := range l.moves.givings {
		for _, o := range g.outlets {
			l.giveUp(o, "the time of the drain is over")
		}
	}
	for _, c := range slices.Collect(l.table.All()) {
		if c.push != nil && c.push.ex == nil { // a stream is whole wherever it ends
			l.endPush(c)
			l.flush(c)
		}
		l.close(c, reasonDrainTimeout)
	}
	for d := range l.detached {
		l.endDetached(d)
	}
	l.checkDrained()
}

func (l *loop) checkDrained() {
	if l.draining && l.drained != nil && l.open() == 0 && l.moves.taking == 0 && len(l.detached) == 0 {
		done := l.drained
		l.drained = nil
		l.endHandoffs()
		done()
	}
}
