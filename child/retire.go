package child

import (
	"slices"
	"time"
)

// A generation serves until another one is committed. Then it retires: what goes on under it goes on as if nothing had happened, and the
// last of that closes it. These hold a generation:
//   - an exchange, from the end of its head until its response has left and its handler has returned;
//   - a pushed response, until it ends;
//   - a detached connection, until it is closed: who serves it runs the code of an instance, also after the handler has returned;
//   - a listener that the next generation does not have, until its last connection and shard are gone.
//
// A connection belongs to no generation: its next request begins under the present one, and the present limits hold for what is between
// two exchanges. An exchange has the limits that it began with.
//
//	commit ──► retired ── nothing goes on under it any more ──► Instance.Close
//	              └────── one of too many, or retired_timeout ──► what is left is ended ──► its last handler returns ──► Instance.Close

// commit makes g the generation of every request that begins from now on.
func (l *loop) commit(g *generation) {
	old := l.generation
	l.generation, l.stale = g, true
	removed := l.readdress(old)
	if l.choked {
		l.unchoke() // there may be room now
	}
	if old == nil {
		l.stirred()
		return
	}
	l.retire(old)
	l.resize(g.workers) // the gates of the retired ones to the pools as they are now, or what waits there could wait for ever
	if removed {
		l.leaveRemoved()
	}
	l.boundRetired()
}

// readdress tells the listeners what the present generation says of them, and whether it has removed any.
func (l *loop) readdress(old *generation) (removed bool) {
	for _, known := range slices.Clone(l.listeners) {
		present, is := l.generation.listeners[known.id]
		switch {
		case is:
			known.entrance, known.removed = present, false
			if last := known.last; last != nil {
				known.last = nil
				last.let()
			}
		case known.removed:
		case known.users == 0:
			l.listeners = slices.DeleteFunc(l.listeners, func(other *listener) bool { return other == known })
		default:
			known.removed, removed = true, true
			if known.index >= 0 {
				known.last = old
				old.hold()
			}
		}
	}
	return removed
}

// listenerOf returns the listener of a number, which lives as long as it has connections or shards, or the generation has it.
func (l *loop) listenerOf(id uint32, name string) *listener {
	for _, known := range l.listeners {
		if known.id == id {
			return known
		}
	}
	added := &listener{id: id, entrance: entrance{name: name, index: -1}}
	if l.generation != nil {
		present, is := l.generation.listeners[id]
		if added.removed = !is; is {
			added.entrance = present
		}
	}
	l.listeners = append(l.listeners, added)
	return added
}

// generationFor is the one that the next request of c begins under.
func (l *loop) generationFor(c *conn) *generation {
	if last := c.listener.last; last != nil {
		return last
	}
	return l.generation
}

// leaving reports whether c is to leave this child when nothing goes on on it: the next answer is its last, unless it is given to another.
func (l *loop) leaving(c *conn) bool { return l.draining || c.listener.removed }

// whyLeaving is why a connection that is leaving is closed.
func (l *loop) whyLeaving() closeReason {
	if l.draining {
		return reasonDrain
	}
	return reasonListenerRemoved
}

// leaveRemoved gives the connections of removed listeners a turn if nothing goes on on them: what has arrived is answered, and so is what
// arrives within drainLinger. Then they are closed.
func (l *loop) leaveRemoved() {
	for c := range l.table.All() {
		if c.listener.removed && !c.busy() && !c.has(flagLingering) {
			c.set(flagReadable)
			l.makeReady(c)
		}
	}
}

// retire takes a generation out of service.
func (l *loop) retire(old *generation) {
	old.flushLogs()
	for _, log := range old.logs {
		log.retired = true
	}
	old.retired, old.since = true, l.now
	l.retirees++
	l.retired = append(l.retired, old)
	old.over = func() {
		l.retirees--
		l.stale = true
		l.stirred()
		l.forgetRetired(old)
		l.call(func() { // when what is just ending has let go of all that it holds
			old.flushLogs() // of the last exchange: nothing is given to the writers after the close
			go old.close()  // which may block
		})
	}
	old.rest()
}

func (l *loop) forgetRetired(g *generation) {
	l.retired = slices.DeleteFunc(l.retired, func(other *generation) bool { return other == g })
}

// boundRetired ends what is left of retired generations that are too many or too old.
func (l *loop) boundRetired() {
	bounds := l.generation.bounds
	for len(l.retired) > 0 {
		oldest := l.retired[0]
		age := l.now - oldest.since
		many := bounds.Most > 0 && len(l.retired) > bounds.Most
		if !many && (bounds.Timeout <= 0 || age < int64(bounds.Timeout)) {
			break
		}
		l.host.logLine(levelWarn, "what was left of a retired generation is ended", "generation", oldest.number,
			"age", time.Duration(age).Round(time.Millisecond), "retired_generations", bounds.Most, "retired_timeout", bounds.Timeout)
		l.endGeneration(oldest)
	}
	if len(l.retired) == 0 || bounds.Timeout <= 0 {
		l.wheel.Cancel(&l.aging)
		return
	}
	l.wheel.Schedule(&l.aging, l.retired[0].since+int64(bounds.Timeout))
}

// endGeneration ends what goes on under a retired generation. Handlers that run are told that their clients have gone; the last to return
// closes it.
func (l *loop) endGeneration(g *generation) {
	l.forgetRetired(g)
	g.hold() // to the end of this
	for _, known := range l.listeners {
		if known.last == g {
			known.last, known.index = nil, -1 // the present generation knows nothing of it: 404
			g.let()
		}
	}
	for _, c := range slices.Collect(l.table.All()) {
		if !c.has(flagClosed) {
			l.expel(c, g)
		}
	}
	for d := range l.detached {
		if d.generation == g {
			l.endDetached(d)
		}
	}
	g.let()
}

// expel ends what goes on under g on a connection. A request that nothing was answered to yet gets a 503, a pushed response ends as its
// program could have ended it at any time, and in the middle of any other answer the connection is closed.
func (l *loop) expel(c *conn, g *generation) {
	for ex := c.pipeline.sending.first; ex != nil; ex = ex.next {
		if ex.gen == g {
			l.close(c, reasonGenerationRetired)
			return
		}
	}
	if ex := c.pipeline.head(); ex != nil && ex.gen == g && (ex.begun || ex.reader != nil) {
		l.close(c, reasonGenerationRetired)
		return
	}
	expelled := false
	if c.push != nil && c.push.generation == g {
		l.endPush(c)
		expelled = true
	}
	var unanswered []*exchange
	for ex := c.pipeline.pending.first; ex != nil; ex = ex.next {
		if ex.gen == g && !ex.finished {
			unanswered = append(unanswered, ex)
		}
	}
	if len(unanswered) > 0 {
		expelled = true
		if r := c.receiver; r != nil && r.ex != nil && r.ex.gen == g {
			l.dropBody(c)
		}
		l.stopParsing(c, reasonGenerationRetired)
	}
	for _, ex := range unanswered {
		if !c.has(flagClosed) {
			ex.keepAlive = false
			l.supplant(c, ex, 503)
		}
	}
	if !expelled || c.has(flagClosed) {
		return
	}
	l.advance(c)
	if !c.has(flagClosed) && c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	l.settle(c)
}
