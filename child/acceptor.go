package child

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
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

// A listener is what connections need to know of the configured address that they came in by.
type listener struct {
	name string
	entrance
}

// An entrance is what a generation says of a listener.
type entrance struct {
	index    int              // in the generation's routing table; negative: the generation does not have the listener
	proxies  *configs.Proxies // the peers that are believed when they tell another client; nil: nobody
	field    forwardedField   // that they tell it in
	prefaces []preface        // of connections to come
	guarded  bool             // connections of other peers are closed at once
}

// A shard is one listening socket that the master has lent.
type shard struct {
	fd         int
	listener   *listener
	registered bool
	readable   bool // there may be more to accept
}

// lend takes shards; they are polled only while the child accepts.
func (l *loop) lend(shards []*shard) {
	l.shards = append(l.shards, shards...)
	if l.accepting {
		l.accept(true)
	}
}

// accept starts or pauses accepting. The queues of paused shards fill up in the kernel; nothing is lost.
func (l *loop) accept(on bool) {
	l.accepting = on
	for _, s := range l.shards {
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

// returnShards closes our descriptors of all shards; the master keeps its own. What has queued up to now is taken first.
func (l *loop) returnShards() {
	for _, s := range l.shards {
		if s.registered {
			for l.acceptFrom(s, 1<<16) { // until EAGAIN
			}
			l.poller.Remove(s.fd)
		}
		netcore.Close(s.fd)
	}
	l.shards = nil
	l.accepting, l.readyShard = false, false
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

// acceptFrom accepts up to most connections and reports whether there may be more.
func (l *loop) acceptFrom(s *shard, most int) bool {
	for range most {
		if l.table.Len() >= l.generation.limits.connections {
			l.choke()
			return false
		}
		fd, peer, err := netcore.Accept(s.fd)
		switch err {
		case nil:
			l.admit(fd, peer, s.listener, roleServer)
		case unix.EAGAIN:
			s.readable = false
			return false
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			if l.now-l.shortLogged > int64(shortLog) || l.shortLogged == 0 {
				l.shortLogged = l.now
				l.host.logLine(levelWarn, "accepting pauses: out of descriptors or memory; raise the limit of open files (LimitNOFILE, ulimit -n)",
					"error", err, "connections", l.table.Len())
			}
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
	c := l.takeConn()
	c.fd = int32(fd)
	c.serial = l.table.Put(fd, c)
	if c.serial == shardSerial { // the one serial that is taken: the next will do
		l.table.Remove(fd, c.serial)
		c.serial = l.table.Put(fd, c)
	}
	c.timer.Key = netcore.MakeToken(fd, c.serial)
	c.listener = from
	c.peer = peer
	c.role = r
	c.transport = plain{}
	c.phase = phaseNew // so that settle sees a change and sets the first deadline
	c.flags = flagWritable | flagReadable
	if r != roleSelf {
		l.numbers.accepted++
		if from.guarded && !from.proxies.Trusts(peer.Addr()) {
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

// drain stops accepting, closes what is idle and lets the rest finish; done is called when no connection is left.
func (l *loop) drain(done func()) {
	if l.draining {
		return
	}
	l.returnShards()
	l.draining = true
	close(l.drainBegins)
	l.drained = done
	for _, c := range slices.Collect(l.table.All()) {
		if !c.has(flagReady) {
			l.settle(c)
		}
	}
	l.checkDrained()
}

// endDrain closes what is left at the end of drain_timeout.
func (l *loop) endDrain() {
	for _, c := range slices.Collect(l.table.All()) {
		if c.push != nil && c.push.ex == nil { // a stream is whole wherever it ends
			l.endPush(c)
			l.flush(c)
		}
		l.close(c, reasonDrainTimeout)
	}
	for d := range l.detached {
		d.Conn.Close() // its handler's reads and writes fail; whether it notices is not waited for
	}
	clear(l.detached)
	l.checkDrained()
}

func (l *loop) checkDrained() {
	if l.draining && l.drained != nil && l.table.Len() == 0 && len(l.detached) == 0 {
		done := l.drained
		l.drained = nil
		done()
	}
}
