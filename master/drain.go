package master

import (
	"errors"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/control"
)

// The stop, in this order:
//
//  1. every child that may serve is told to drain: it stops accepting and closes its lent shards;
//     those that do not serve yet are killed, for they hold nothing;
//  2. once no child holds a shard any more, the master closes its own: from then on connects are
//     refused instead of waiting in a queue that nobody empties;
//  3. children finish what is in flight; who does not by drain_timeout is killed;
//  4. with the last child gone, the control socket is removed; only then whoever asked is answered.

// stopReason is why a stop kills children that do not serve yet.
const stopReason = "the master stops"

// stop begins the stop, or hurries one that goes on: fast children close everything at once, and
// asked twice to be fast, they are killed.
func (m *master) stop(fast bool) {
	if m.phase == stopping {
		m.hurry(fast)
		return
	}
	if m.succession.pending() {
		m.sick("it was told to stop")
		return
	}
	m.log.Info("stopping", zap.Bool("fast", fast), zap.Int("children", len(m.lives)))
	m.phase, m.fast = stopping, fast
	m.emit(EventStopping, nil, plural(len(m.lives), "child is", "children are")+" told to drain")
	if u := m.upgrading; u != nil && u.started {
		m.endSuccessor(u, "the server is stopping")
	} else if u != nil {
		m.takeBack(u, "the server is stopping")
	}
	m.endBalancing("", errors.New("the server is stopping"))
	if r := m.reloading; r != nil && !r.decided {
		m.refuse(r, "the server is stopping")
	}
	for _, request := range m.reloads {
		request.done(&Reload{At: m.now(), By: request.by, Generation: m.generation, Reason: "the server is stopping"})
	}
	m.reloads = nil
	scaling := m.scaling
	m.scaling = nil
	for _, done := range scaling {
		done(errors.New("the server is stopping"))
	}
	for _, s := range m.slots {
		m.heirLost(s, "is not needed: the server is stopping")
	}
	timeout, bound := m.config.DrainTimeout, m.config.DrainTimeout+m.bounds.drained
	if fast {
		timeout, bound = 0, m.bounds.fast
	}
	m.shardsDue = m.now().Add(m.bounds.answer)
	if m.busy {
		m.cancel()
		m.busyDue = m.now().Add(bound)
	}
	for _, s := range m.slots {
		s.due = time.Time{}
	}
	for c := range m.lives {
		m.drain(c, timeout, bound)
	}
	if c := m.house.slot.current; c != nil {
		m.drain(c, timeout, bound)
	}
	m.tellStopping() // with all bounds known
	if fast {
		m.hurryPredecessor()
	}
	m.closeShards()
	m.finish()
}

// dismiss drains a life that others have taken the place of, and that gives its connections to them (handoff.go). It is not urgent: what
// cannot move, or finds nobody who takes it, is not closed under a request that may be on its way, but with the answer to its next one, if
// it comes within half the time.
func (m *master) dismiss(c *child) {
	timeout := m.config.DrainTimeout
	var channels []int
	if c.state == Admitting || c.state == Serving || c.state == Draining {
		channels = m.channelsTo(m.takersOf(c))
	}
	m.drainGiving(c, timeout, timeout/2, timeout+m.bounds.drained, m.listenerIDs(), channels...)
	closeFds(channels)
}

func (m *master) drain(c *child, timeout, bound time.Duration) {
	m.drainPatiently(c, timeout, 0, bound)
}

func (m *master) drainPatiently(c *child, timeout, idle, bound time.Duration) {
	c.asked = true
	switch c.state {
	case Admitting, Serving:
		c.proc.Send(&control.Drain{TimeoutMillis: timeout.Milliseconds(), IdleMillis: idle.Milliseconds()})
		m.enter(c, Draining, bound)
		m.excuse(c)
	case Draining:
		c.proc.Send(&control.Drain{TimeoutMillis: timeout.Milliseconds()})
		if due := m.now().Add(bound); due.Before(c.due) {
			c.due = due
		}
	case Ending, Ended:
	default:
		m.kill(c, stopReason)
	}
}

func (m *master) hurry(fast bool) {
	kill := m.fast
	m.fast = m.fast || fast
	if m.busy && m.fast {
		m.busyDue = m.now()
	}
	hurry := func(c *child) {
		switch {
		case kill && c.state < Ending:
			m.kill(c, "fast stop, asked for twice")
		case !kill && fast:
			m.drain(c, 0, m.bounds.fast)
		}
	}
	for c := range m.lives {
		hurry(c)
	}
	if c := m.house.slot.current; c != nil {
		hurry(c)
	}
	if kill || fast {
		m.hurryPredecessor()
	}
	if !kill && fast {
		m.log.Info("stopping fast", zap.Int("children", len(m.lives)))
	}
}

// closeShards closes the master's shards in a stop, once no child may accept from them: each has
// said so, or was given long enough to.
func (m *master) closeShards() {
	if m.phase != stopping {
		return
	}
	if m.now().Before(m.shardsDue) {
		for c := range m.lives {
			if c.state == Draining && !c.released {
				return
			}
		}
	}
	m.shardsDue = time.Time{}
	m.shards.close() // children hold duplicates at most: what is lent is forgotten with them
}

// finish ends the loop once the last child is gone, and with it what is left of the version before: a supervisor takes the end of the master
// for that of the server, and would end a predecessor in the middle of what it finishes.
func (m *master) finish() {
	if m.phase == stopping && len(m.lives) == 0 && m.house.slot.current == nil && !m.busy && !m.recalling && (m.upgrading == nil || m.departed()) && !m.preceded() {
		m.finished = true
	}
}

// abandon ends every process that still is there: for the error paths of the start.
func (m *master) abandon() {
	for c := range m.lives {
		c.proc.Kill(syscall.SIGKILL)
	}
	if c := m.house.slot.current; c != nil {
		c.proc.Kill(syscall.SIGKILL)
	}
}
