package master

import (
	"github.com/tined/tined/netcore/control"
)

// In an upgrade the children of the predecessor stop accepting when those of the successor do: first child 0, the canary, then all. They keep
// their shards and their connections, and accept again if the upgrade is taken back.

// yield lets children stop accepting.
func (m *master) yield(u *upgrading, e *control.Yield) {
	if u.yields == nil {
		u.yields = map[int]bool{}
	}
	u.listeners, u.asked = e.Listeners, true
	for _, index := range e.Slots {
		u.yields[index] = true
	}
	for c := range m.lives {
		m.pauseYielded(c)
	}
	m.checkYielded()
}

// pauseYielded tells a life to stop accepting if its place has yielded.
func (m *master) pauseYielded(c *child) {
	u := m.upgrading
	if u == nil || !u.yields[c.slot.index] || c.state != Serving || c.pausing || c.paused {
		return
	}
	c.pausing = true
	c.proc.Send(&control.Pause{Listeners: u.listeners})
	m.owes(c)
}

// hasPaused takes the answer to pause.
func (m *master) hasPaused(c *child) {
	switch {
	case c.revoked > 0: // it crossed the order to accept again
		c.revoked--
		m.answered(c)
		return
	case !c.pausing:
		m.kill(c, "it said paused without being asked to pause")
		return
	}
	c.pausing, c.paused = false, true
	m.answered(c)
	m.checkYielded()
}

// checkYielded answers the successor once nobody accepts any more who should not. A life that has not come to serve does not, and will not.
func (m *master) checkYielded() {
	u := m.upgrading
	if u == nil || !u.asked {
		return
	}
	for c := range m.lives {
		if u.yields[c.slot.index] && (c.state == Admitting || c.state == Serving && !c.paused) {
			return
		}
	}
	u.asked = false
	u.conn.Send(&control.Yielded{})
}

// yielded reports whether the children of a place must not accept.
func (m *master) yielded(s *slot) bool { return m.upgrading != nil && m.upgrading.yields[s.index] }

// acceptAgain lets those accept whose places had yielded, unless the server stops.
func (m *master) acceptAgain() {
	if m.phase == stopping {
		return
	}
	for c := range m.lives {
		if c.pausing {
			c.revoked++
		}
		resume := (c.pausing || c.paused) && c.state == Serving
		c.pausing, c.paused = false, false
		if resume {
			c.resumes++
			c.proc.Send(&control.Accept{})
			m.owes(c)
		}
	}
	m.admit()
}
