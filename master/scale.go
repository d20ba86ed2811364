package master

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Fewer children without losing a connection (FACTS 2). On a link with delay, connections are on their way to a shard's queue long after
// anybody looked at it, so a shard is not closed when its child goes:
//
//  1. a child that stays becomes the keeper of the leaving slot, and accepts from its shards too;
//  2. when it does, the kernel is told to send new connections to the shards that stay (netcore.Steer), and the leaving child drains,
//     and hands its connections over to those that stay (handoff.go);
//  3. from then on the shards stay parked with their keeper for parkTime;
//  4. the keeper takes what has queued and returns them, and they are closed, the last one first: so the order of the others in the
//     kernel's group stays that of the slots. If the kernel could not be told, it goes on to fill them, and they stay with their keeper.
//
// More children: new shards are opened, and the keeper of a new slot accepts from them until its child does. A slot that is parked is taken
// back as it is.

// parkTime is how long the shards of a slot that is given up are still accepted from: whoever began a handshake with it before the kernel steered others away has finished it by then,
// also if a packet was lost and sent again several times (tcp(7), 1 + 2 + 4 s).
const parkTime = 10 * time.Second

// forever is longer than any server runs.
const forever = 100 * 365 * 24 * time.Hour

// scale sets the number of children until a reload changes `children`. done, if not nil, is called on the loop, nil once the new number
// serves and the leaving ones have been told to drain. Owner: the loop.
func (m *master) scale(children int, by string, done func(error)) {
	done = orNobody(done)
	err := m.fleet()
	if children < 1 || children > MaxChildren {
		err = fmt.Errorf("the number of children must be 1 to %d", MaxChildren)
	}
	if err != nil {
		done(err)
		return
	}
	before := m.children()
	if err := m.resizeSlots(children); err != nil {
		done(err)
		return
	}
	if before != children {
		m.log.Info("the number of children is set", zap.Int("from", before), zap.Int("to", children), zap.String("by", by))
		m.emit(EventScaled, nil, fmt.Sprintf("%s in place of %d, by %s", plural(children, "child", "children"), before, by))
	}
	m.scaling = append(m.scaling, done)
}

// fleet says why the children cannot be changed one by one now; nil: they can.
func (m *master) fleet() error {
	switch {
	case m.o.Host != nil:
		return errors.New("this is a single process: it has no children of its own; start it without --single-process, or under `go run` with --single-process=false")
	case m.phase != serving:
		return fmt.Errorf("the server is %s", m.phase)
	case m.beingReplaced():
		return fmt.Errorf("an upgrade to %s is under way: wait for its end", m.upgrading.outcome.Binary)
	}
	return nil
}

// orNobody is done, or what nobody waits for.
func orNobody(done func(error)) func(error) {
	if done == nil {
		return func(error) {}
	}
	return done
}

// children is the number that there should be.
func (m *master) children() (n int) {
	for _, s := range m.slots {
		if !s.retiring {
			n++
		}
	}
	return n
}

// resizeSlots makes, takes back and retires slots. On an error nothing has changed that serves.
func (m *master) resizeSlots(children int) error {
	if err := m.shards.grow(children); err != nil {
		return err
	}
	for len(m.slots) < children {
		m.slots = append(m.slots, &slot{index: len(m.slots), fresh: true, due: m.now()})
	}
	for _, s := range m.slots {
		switch {
		case s.index >= children && !s.retiring:
			s.retiring, s.due, s.parked, s.gone = true, time.Time{}, time.Time{}, false
			m.heirLost(s, "is not needed: the number of children is smaller")
		case s.index < children && s.retiring:
			s.retiring, s.parked, s.gone = false, time.Time{}, false
			if s.current == nil || s.current.state > Serving { // its last life drains, or is over
				s.fresh = true
				m.succeed(s, 0)
			}
		}
	}
	return nil
}

// advanceScale takes the next step of every slot that leaves. It is a part of settle.
func (m *master) advanceScale() {
	now := m.now()
	staying := m.children()
	for _, s := range m.slots {
		if !s.retiring {
			continue
		}
		if s.parked.IsZero() && m.handedOver(s) {
			s.parked = now.Add(m.parkFor(s))
			for c := range m.lives {
				if c.slot == s && !c.asked {
					m.dismiss(c)
				}
			}
		}
		if !s.parked.IsZero() && !s.gone && !s.parked.After(now) {
			if !m.shards.steeredFrom(s.index) { // connections still come: the keeper goes on
				s.parked = now.Add(parkTime)
				continue
			}
			s.gone, s.keeper = true, nil
			for c := range m.lives {
				m.lendAndReturn(c)
			}
		}
	}
	if m.phase == serving {
		m.steer(staying)
	}
	for len(m.slots) > staying {
		s := m.slots[len(m.slots)-1]
		held := m.isHeld(func(id shardID) bool { return id.index == s.index && !m.shards.byID(id.listener).shared })
		if !s.gone || held || s.current != nil && s.current.state <= Serving || m.supervision.holdsBack() {
			break
		}
		m.slots = m.slots[:len(m.slots)-1]
		m.shards.shrink(len(m.slots))
	}
	m.finishScaling()
}

// parkFor is how long a slot stays parked. A shard of a socket unit is never closed, for the unit goes on to listen.
func (m *master) parkFor(s *slot) time.Duration {
	for _, l := range m.shards.listeners {
		if !l.leaving && !l.shared && s.index < l.units {
			return forever
		}
	}
	return parkTime
}

// parkedForGood reports whether the shards of a slot that leaves stay open as long as the server lives, with its keeper: those of a socket unit, and
// those from which the kernel cannot be told to steer new connections away.
func (m *master) parkedForGood(s *slot) bool {
	if !s.retiring || s.parked.IsZero() || s.current != nil {
		return false
	}
	return m.parkFor(s) == forever || !m.shards.steeredFrom(s.index)
}

// handedOver reports whether the life of a leaving slot may drain: a keeper holds what it holds.
func (m *master) handedOver(s *slot) bool {
	return s.keeper != nil && s.keeper.current != nil && m.holds(s.keeper.current, s.index)
}

// steer tells the kernel to send new connections to the shards that stay, once all others have a keeper that holds them. The time for which
// a shard is parked begins anew when it gets no more of them: the slots that leave may be handed over one long after the other.
func (m *master) steer(staying int) {
	for _, s := range m.slots {
		if s.retiring && s.parked.IsZero() {
			return
		}
	}
	var reached []*slot
	for _, s := range m.slots {
		if s.retiring && !s.gone && !m.shards.steeredFrom(s.index) {
			reached = append(reached, s)
		}
	}
	problems := m.shards.steer(staying)
	for _, s := range reached {
		if until := m.now().Add(m.parkFor(s)); m.shards.steeredFrom(s.index) && until.After(s.parked) {
			s.parked = until
		}
	}
	for _, err := range problems {
		m.log.Warn("new connections cannot be steered away from shards that leave", zap.Error(err))
	}
}

// finishScaling answers those who wait, once all that stay serve and all that leave drain.
func (m *master) finishScaling() {
	if len(m.scaling) == 0 {
		return
	}
	for _, s := range m.slots {
		if s.retiring && s.parked.IsZero() || !s.retiring && (s.current == nil || s.current.state != Serving) && s.faults == 0 {
			return
		}
	}
	waiting := m.scaling
	m.scaling = nil
	for _, done := range waiting {
		done(nil)
	}
}
