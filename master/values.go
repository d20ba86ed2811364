package master

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// The texts of shared values are decided here: this process's copy gives each its revision, whether a child or this process sets it, and
// the children are told. A child is told one change at a time after its start, the last one, so that a slow child makes nothing pile up.

// watchValues lets the loop tell the children of every change, whoever has made it.
func (m *master) watchValues() {
	for _, v := range m.o.Shared.Values() {
		go func() {
			for {
				changed := v.Changed()
				if !m.do(m.tellAll) {
					return
				}
				select {
				case <-changed:
				case <-m.done:
					return
				}
			}
		}()
	}
}

// sendBoard gives a child what the program shares, with the present texts.
func (m *master) sendBoard(c *child) {
	b := &control.Board{Counters: m.o.Shared.Counters()}
	if m.runtime != nil {
		b.Secret = m.runtime.secret
	}
	for _, v := range m.o.Shared.Values() {
		b.Values = append(b.Values, v.Name())
	}
	var fds []int
	if !c.housekeeper() {
		fds = m.boardFiles(c)
	}
	if m.counters != nil {
		fds = append(fds, int(m.counters.File().Fd()))
	}
	c.proc.Send(b, fds...)
	c.told = map[string]uint64{}
	for c.tell(m.o.Shared.Values()) {
	}
}

// tell sends a child the first text that it has not been sent, and reports whether there was one.
func (c *child) tell(values []*board.Value) bool {
	for _, v := range values {
		if text, revision := v.Reading(); revision > c.told[v.Name()] {
			c.proc.Send(&control.Value{Name: v.Name(), Revision: revision, Text: []byte(text)})
			c.told[v.Name()] = revision
			c.unseen++
			return true
		}
	}
	return false
}

func (m *master) tellAll() {
	for c := range m.lives {
		m.tellNext(c)
	}
	if c := m.house.slot.current; c != nil {
		m.tellNext(c)
	}
	if u := m.upgrading; u != nil && u.claimed && !u.left {
		m.tellMaster(u.conn, u.values)
	}
	if s := m.succession; s != nil && s.conn != nil && !s.alone {
		m.tellMaster(s.conn, s.values)
	}
}

func (m *master) tellNext(c *child) {
	if c.unseen == 0 && c.state > Starting && c.state < Ending {
		c.tell(m.o.Shared.Values())
	}
}

func (m *master) seen(c *child) {
	if c.unseen == 0 {
		m.kill(c, "it has seen a value that it was not sent")
		return
	}
	c.unseen--
	m.tellNext(c)
}

// setValue carries out what a child asks for. It is told like the others: its answer has no text.
func (m *master) setValue(c *child, s *control.SetValue) {
	if c.state == Starting {
		m.kill(c, fmt.Sprintf("it said %s while %s", s.Kind(), c.state))
		return
	}
	answer := &control.ValueSet{ID: s.ID}
	switch v := m.o.Shared.Named(s.Name); {
	case v == nil:
		answer.Refused = "the master knows no shared value of this name"
	case len(s.Text) > board.MaxValue:
		answer.Refused = board.ErrTooLong.Error()
	default:
		answer.Revision = v.Advance(string(s.Text))
	}
	if answer.Refused != "" {
		m.log.Warn("a shared value is not set", append(c.fields(), zap.String("value", s.Name), zap.String("reason", answer.Refused))...)
	}
	c.proc.Send(answer)
}
