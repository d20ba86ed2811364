package master

import (
	"fmt"

	"go.uber.org/zap"
)

// restart replaces the child at an index gracefully: a successor is started and proved, and only then the old one drains, and hands its
// connections over to the successor. done, if not nil,
// is called on the loop once the successor serves, or with the reason why there is none. Owner: the loop.
func (m *master) restart(index int, by string, done func(error)) {
	done = orNobody(done)
	err := m.fleet()
	if err == nil && (index < 0 || index >= len(m.slots) || m.slots[index].retiring) {
		err = fmt.Errorf("there is no child %d", index)
	}
	if err != nil {
		done(err)
		return
	}
	s := m.slots[index]
	s.waiting = append(s.waiting, done)
	if s.heir != nil {
		return // one is on its way already
	}
	if s.current == nil { // it waits for its next start: that is now
		s.due = m.now()
		return
	}
	if s.current.state < Serving {
		return // it is new as it is
	}
	m.log.Info("child is replaced", zap.Int("child", index), zap.Int("pid", s.current.proc.Pid()), zap.String("by", by))
	m.emit(EventRestarting, s.current, "a successor is started, by "+by)
	heir, err := m.begin(s)
	if err != nil {
		m.heirLost(s, err.Error())
		return
	}
	s.starts++
	heir.heir, s.heir = true, heir
}

// takeOver follows a life that has begun to serve: if it is an heir, the one before it drains now, and gives it
// its connections.
func (m *master) takeOver(c *child) {
	s := c.slot
	if s.heir == c {
		old := s.current
		s.current, s.heir, c.heir = c, nil, false
		s.restarts++
		m.dismiss(old)
	}
	if s.current == c {
		waiting := s.waiting
		s.waiting = nil
		for _, done := range waiting {
			done(nil)
		}
	}
}

// heirLost tells those who wait for a successor that there is none.
func (m *master) heirLost(s *slot, how string) {
	waiting := s.waiting
	s.waiting = nil
	for _, done := range waiting {
		done(fmt.Errorf("child %d was not replaced: its successor %s", s.index, how))
	}
}
