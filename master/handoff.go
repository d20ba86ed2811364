package master

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// A child that leaves while the server goes on closes no connection on which nothing goes on: it hands them over to children that stay
// (netcore/control: handoff channels), and their clients see nothing. The master only chooses who gives to whom:
//
//  1. for each taker it makes a channel, sends its one end to the taker (take) and the others to the giver, with the order to drain;
//  2. the giver gives each connection as soon as nothing goes on on it, and ends when it has none any more;
//  3. if its takers die or leave before, it says so (gave, without being asked to give), and drains like one that nobody takes from; after
//     a moment it gets new channels, to those that serve then, as often as needed until its time is over.

const (
	// maxTakers is to how many children one that leaves gives at most. Every channel costs a descriptor at both ends, and so many share the
	// work well.
	maxTakers = 8
	// renewFirst and renewMost bound how long a child that leaves waits for new channels: a taker that has died may be seen by the giver
	// before it is by the master, and one that refuses all must not keep everybody busy. The time doubles each time. In it connections are
	// told to close with their next response, so it begins short.
	renewFirst = 20 * time.Millisecond
	renewMost  = 2 * time.Second
)

// lifeHandoff is what is known of a life that gives its connections away.
type lifeHandoff struct {
	gives     bool          // it was told to, with the order to drain
	giveUntil time.Time     // when its drain's time is over
	idle      time.Duration // how long connections at rest stay open while nobody takes them
	renewAt   time.Time     // when it gets new channels; zero: it has some
	renewWait time.Duration // before it got the last ones; 0: it has never lacked any
	moved     uint64        // connections that it had given away before it was told to drain
}

// handoffPair makes a handoff channel. Both ends are close-on-exec; the caller closes them once they are sent.
func handoffPair() (giver, taker int, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("handoff channel: %w", os.NewSyscallError("socketpair", err))
	}
	return ends[0], ends[1], nil
}

// letTake gives a child the taker's end of a handoff channel. The caller keeps fd.
func (m *master) letTake(c *child, fd int) { c.proc.Send(new(control.Take), fd) }

// takes reports whether a life may get the connections of others: it serves, it stays, and its loop turns. One that has to be replaced
// would have to give them away again.
func (c *child) takes() bool {
	return c.state == Serving && !c.asked && c.misfit == "" && !c.stands() && c.slot.current == c && !c.slot.retiring
}

// load is how many connections a life has, by the board.
func (c *child) load() int {
	if !c.joined() {
		return 0
	}
	return c.life.Gauge(board.WordConnections)
}

// takersOf are those to whom a life that leaves gives: to the one that has taken its place, and when its slot is given up, or has no life
// that serves, to those that stay, the least loaded first.
func (m *master) takersOf(giver *child) (takers []*child) {
	if c := giver.slot.current; c != nil && c != giver && c.takes() {
		return []*child{c}
	}
	for _, s := range m.slots {
		if c := s.current; c != nil && c != giver && c.takes() {
			takers = append(takers, c)
		}
	}
	slices.SortStableFunc(takers, func(a, b *child) int { return cmp.Compare(a.load(), b.load()) })
	return takers[:min(len(takers), maxTakers)]
}

// channelsTo makes a handoff channel to each of the takers, and returns the giver's ends, which the caller closes. Those that cannot be made
// are missing.
func (m *master) channelsTo(takers []*child) (givers []int) {
	for _, c := range takers {
		giver, taker, err := handoffPair()
		if err != nil {
			m.log.Warn("connections cannot be handed over", append(c.fields(), zap.Error(err))...)
			break
		}
		m.letTake(c, taker)
		_ = unix.Close(taker)
		givers = append(givers, giver)
	}
	return givers
}

// listenerIDs are the numbers of the listeners that do not leave: whose connections may move.
func (m *master) listenerIDs() (ids []uint32) {
	for _, l := range m.shards.ids() {
		ids = append(ids, l.ID)
	}
	return ids
}

// drainGiving drains a life that gives the connections of the listeners away, on channels, as soon as nothing goes on on them. To one that
// drains already it brings other channels. The caller closes the channels. Without any it is a patient drain.
func (m *master) drainGiving(c *child, timeout, idle, bound time.Duration, listeners []uint32, channels ...int) {
	if len(channels) == 0 || c.state != Admitting && c.state != Serving && c.state != Draining {
		m.drainPatiently(c, timeout, idle, bound)
		return
	}
	now := m.now()
	c.asked = true
	c.proc.Send(&control.Drain{TimeoutMillis: timeout.Milliseconds(), IdleMillis: idle.Milliseconds(), Listeners: listeners}, channels...)
	if c.state != Draining {
		m.enter(c, Draining, bound)
		m.excuse(c)
	} else if due := now.Add(bound); due.Before(c.due) {
		c.due = due
	}
	if !c.gives {
		c.lifeHandoff = lifeHandoff{gives: true, giveUntil: now.Add(timeout), idle: idle, moved: c.movedAway()}
	}
	c.renewAt = time.Time{}
}

// movedReason is the place of moved connections among the close reasons.
var movedReason = slices.Index(board.CloseReasons[:], "moved")

// movedAway is how many connections a life has given away.
func (c *child) movedAway() uint64 {
	if movedReason < 0 || !c.joined() {
		return 0
	}
	return c.life.Sums().Closed(movedReason)
}

// hasGave follows the news of a child that gives.
func (m *master) hasGave(c *child, e *control.Gave) {
	if e.ID != 0 {
		m.balancingGave(c, e)
		return
	}
	if c.state != Draining || c.drained || !c.renewAt.IsZero() {
		return
	}
	if !c.gives { // an earlier master has told it to
		until := c.due.Add(-m.bounds.drained)
		c.lifeHandoff = lifeHandoff{gives: true, giveUntil: until, idle: until.Sub(m.now()) / 2, moved: c.movedAway()}
	}
	c.renewWait = min(max(renewFirst, 2*c.renewWait), renewMost)
	c.renewAt = m.now().Add(c.renewWait)
	m.log.Debug("nobody takes the connections of a child that leaves any more; it gets new takers",
		append(c.fields(), zap.Int("moved", e.Count), zap.String("reason", e.Broken))...)
}

// checkHandoff gives children that leave new takers, when theirs have gone. It says when it has to be called again; zero: not by itself.
func (m *master) checkHandoff(now time.Time) (next time.Time) {
	if m.phase == stopping && !m.departed() { // nobody stays who could take
		return time.Time{}
	}
	for c := range m.lives {
		if c.renewAt.IsZero() {
			continue
		}
		if c.state != Draining || c.drained || !now.Before(c.giveUntil) {
			c.renewAt = time.Time{}
			continue
		}
		if !c.renewAt.After(now) {
			m.renew(c, now)
		}
		if !c.renewAt.IsZero() && (next.IsZero() || c.renewAt.Before(next)) {
			next = c.renewAt
		}
	}
	return next
}

// renew gives a child that leaves new channels, with what is left of its time. Without takers it tries again later.
func (m *master) renew(c *child, now time.Time) {
	if m.departed() {
		if c.renewAt = (time.Time{}); !m.upgrading.left { // else it drains on, patiently, as it does by itself
			m.sendAway(c, c.giveUntil.Sub(now))
		}
		return
	}
	channels := m.channelsTo(m.takersOf(c))
	if len(channels) == 0 {
		c.renewWait = min(2*c.renewWait, renewMost)
		c.renewAt = now.Add(c.renewWait)
		return
	}
	left := c.giveUntil.Sub(now)
	m.drainGiving(c, left, min(c.idle, left), left+m.bounds.drained, m.listenerIDs(), channels...)
	closeFds(channels)
}

// handedAll tells how many connections a life has given away that has none any more.
func (m *master) handedAll(c *child) {
	if n := c.movedAway() - c.moved; c.gives && n > 0 && n < 1<<63 { // the board is not believed
		m.log.Info("child has handed its connections over", append(c.fields(), zap.Uint64("connections", n))...)
		m.emit(EventMoved, c, "it has handed "+plural(int(n), "connection", "connections")+" over")
	}
}
