package master

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/control"
)

// Which child holds which shard is not ordered step by step: after every event the loop compares what each life should hold with what it
// holds, and sends the difference. A shard is held
//
//   - by the lives of its own slot, from the moment in which they may take shards until they drain;
//   - by the keeper of its slot: a sibling that serves, while the slot has no life that does, or is about to leave;
//   - by nobody, when its listener leaves or its slot has been parked long enough: then it is closed.
//
// So a connection never waits in a queue that nobody empties, but for the time that a killed child's successor takes to start.

// lease is what a life has of a shard.
type lease uint8

const (
	lending   lease = iota // it was sent
	lent                   // it has said so
	returning              // it was asked back
)

func (s shardID) compare(other shardID) int {
	return cmp.Or(cmp.Compare(s.listener, other.listener), cmp.Compare(s.index, other.index))
}

// leases are the shards of one life, and the orders about them that it has not answered yet.
type leases struct {
	held  map[shardID]lease
	lends [][]shardID // messages, the oldest first
	backs [][]shardID
}

// settle brings everything that follows from the present state about: keepers, leases, the steps of a scaling, the closing of what nobody
// holds. It is called after every event.
func (m *master) settle() {
	if m.phase == stopping {
		return
	}
	m.weigh() // who leaves does not vote any more
	m.assignKeepers()
	for c := range m.lives {
		m.lendAndReturn(c)
	}
	m.closeLeft()
	m.advanceScale()
	m.advanceUpgrade()
	m.advanceSuccession()
	m.checkYielded()
}

// wants are the shards that c should hold, in a fixed order; nil when c takes none.
func (m *master) wants(c *child) []shardID {
	if c.state < Lending || c.state > Serving {
		return nil
	}
	var ids []shardID
	for _, l := range m.shards.listeners {
		if l.leaving {
			continue
		}
		if l.shared {
			ids = append(ids, shardID{l.id, 0})
			continue
		}
		for index := range l.shards {
			own := index == c.slot.index && !c.slot.gone
			if own || c == c.slot.current && c.state == Serving && index < len(m.slots) && m.slots[index].keeper == c.slot {
				ids = append(ids, shardID{l.id, index})
			}
		}
	}
	return ids
}

// lendAndReturn sends c what it lacks, and asks back what it should not hold.
func (m *master) lendAndReturn(c *child) {
	if c.state < Lending || c.state > Serving {
		return // one that drains returns all by itself
	}
	wanted := m.wants(c)
	var lack, excess []shardID
	for _, id := range wanted {
		if l, ok := c.held[id]; !ok || l == returning { // what comes back now is lent once more, in this order
			lack = append(lack, id)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(c.held), shardID.compare) {
		if c.held[id] == lent && !slices.Contains(wanted, id) {
			excess = append(excess, id)
		}
	}
	for part := range slices.Chunk(lack, control.MaxFiles) {
		m.lend(c, part)
	}
	for part := range slices.Chunk(excess, control.MaxFiles) {
		m.askBack(c, part)
	}
	if len(lack) == 0 && c.state == Lending && len(c.lends) == 0 {
		m.afterLending(c) // there is nothing to lend
	}
}

func (m *master) lend(c *child, ids []shardID) {
	message, fds := new(control.Lend), []int(nil)
	for _, id := range ids {
		l := m.shards.byID(id.listener)
		message.Shards = append(message.Shards, control.Shard{ID: id.listener, Listener: l.name, Index: id.index, Address: l.local.String(), Unordered: l.unknown})
		fds = append(fds, l.shard(id.index))
		c.held[id] = lending
	}
	c.lends = append(c.lends, ids)
	m.owes(c)
	c.proc.Send(message, fds...)
}

func (m *master) askBack(c *child, ids []shardID) {
	message := new(control.Return)
	for _, id := range ids {
		message.Shards = append(message.Shards, control.Shard{ID: id.listener, Index: id.index})
		c.held[id] = returning
	}
	c.backs = append(c.backs, ids)
	m.owes(c)
	c.proc.Send(message)
}

// hasLent takes the answer to the oldest lend.
func (m *master) hasLent(c *child) {
	if len(c.lends) == 0 {
		m.kill(c, "it said lent without being lent anything")
		return
	}
	for _, id := range c.lends[0] {
		c.held[id] = lent
	}
	c.lends = c.lends[1:]
	m.answered(c)
	if c.state == Lending && len(c.lends) == 0 {
		m.afterLending(c)
	}
}

// hasReturned takes the answer to the oldest return.
func (m *master) hasReturned(c *child) {
	if len(c.backs) == 0 {
		m.kill(c, "it said returned without being asked for anything")
		return
	}
	for _, id := range c.backs[0] {
		if c.held[id] == returning { // it may have been lent again since
			delete(c.held, id)
		}
	}
	c.backs = c.backs[1:]
	m.answered(c)
}

// afterLending goes on with the bring-up of a life that holds its shards.
func (m *master) afterLending(c *child) {
	m.prove(c)
	m.enter(c, Proving, m.bounds.answer+m.bounds.lastWords) // the request has a bound of its own
}

// holds reports whether c accepts from, or could accept from, every shard of a slot.
func (m *master) holds(c *child, index int) bool {
	for _, l := range m.shards.listeners {
		if l.shared || l.leaving || l.shard(index) < 0 {
			continue
		}
		if got, ok := c.held[shardID{l.id, index}]; !ok || got != lent {
			return false
		}
	}
	return true
}

// isHeld reports whether any life still has a shard that fits.
func (m *master) isHeld(fits func(shardID) bool) bool {
	for c := range m.lives {
		if c.released {
			continue
		}
		for id := range c.held {
			if fits(id) {
				return true
			}
		}
	}
	return false
}

// closeLeft closes the listeners that leave and that nobody holds any more. One that a reload would take back into service stays open until
// the vote is over.
func (m *master) closeLeft() {
	m.shards.listeners = slices.DeleteFunc(m.shards.listeners, func(l *listener) bool {
		if !l.leaving || m.reloading.keeps(l) || m.isHeld(func(id shardID) bool { return id.listener == l.id }) {
			return false
		}
		l.close()
		m.log.Info("listener is closed", zap.String("listener", l.name), zap.String("address", l.local.String()))
		return true
	})
}

func (s *shardSet) byID(id uint32) *listener {
	for _, l := range s.listeners {
		if l.id == id {
			return l
		}
	}
	return nil
}

// assignKeepers gives every slot that needs one a keeper, and takes it from those that do not.
func (m *master) assignKeepers() {
	if m.o.Host != nil {
		return
	}
	now := m.now()
	for _, s := range m.slots {
		switch {
		case s.accepts():
			s.dark = time.Time{}
		case s.dark.IsZero():
			s.dark = now
		}
		if !m.needsKeeper(s, now) {
			if s.keeper != nil {
				m.log.Info("the shards of a child are its own again", zap.Int("child", s.index), zap.Int("keeper", s.keeper.index))
				m.emit(EventReturned, s.current, fmt.Sprintf("child %d accepts from its own shards again", s.index))
				s.keeper = nil
			}
			continue
		}
		if s.keeper != nil && s.keeper.keeps() && !m.yielded(s.keeper) {
			continue
		}
		s.keeper = m.chooseKeeper(s)
		if s.keeper != nil {
			m.log.Info("a sibling takes the shards of a child", zap.Int("child", s.index), zap.Int("keeper", s.keeper.index))
			m.emit(EventLent, nil, fmt.Sprintf("child %d accepts for child %d", s.keeper.index, s.index))
		}
	}
}

// needsKeeper: connections of the slot's shards would wait too long, or for ever, without one.
func (m *master) needsKeeper(s *slot, now time.Time) bool {
	switch {
	case m.phase != serving && !m.succession.onProbation(), m.yielded(s):
		return false
	case s.retiring:
		return !s.gone
	case s.accepts():
		return false
	}
	return s.faults > 0 || s.starts == 0 || s.fresh || !s.darkUntil().After(now)
}

// darkBound is how long nobody need accept from a slot's shards: a successor is there before, unless its configuration takes long to build.
const darkBound = time.Second

// darkUntil is when a slot without a life that accepts gets a keeper at the latest.
func (s *slot) darkUntil() time.Time { return s.dark.Add(darkBound) }

// accepts reports whether the slot has a life that takes its connections: one that serves, and whose loop turns. One that stands still is
// not taken for hung yet; if it goes on, it finds its shards again.
func (s *slot) accepts() bool {
	return s.current != nil && s.current.state == Serving && !s.current.stands()
}

// keeps reports whether a slot can accept for others.
func (s *slot) keeps() bool {
	return !s.retiring && s.accepts()
}

// chooseKeeper finds the sibling that keeps the fewest slots; nil: there is none.
func (m *master) chooseKeeper(of *slot) *slot {
	kept := map[*slot]int{}
	for _, s := range m.slots {
		if s.keeper != nil {
			kept[s.keeper]++
		}
	}
	var best *slot
	for _, s := range m.slots {
		if s != of && s.keeps() && !m.yielded(s) && (best == nil || kept[s] < kept[best]) {
			best = s
		}
	}
	return best
}
