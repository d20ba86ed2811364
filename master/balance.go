package master

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/control"
)

// The kernel spreads connections over the shards by a hash of their addresses, and keep-alive connections stay where they have fallen: of 64
// over 4 children the busiest has a quarter more than its share, and a child that is new has none. So children that have many give some on
// which nothing goes on to those that have few, and clients see nothing. A run, of the operator or by itself, goes round by round:
//
//  1. every child that takes part brings its numbers on the board up to date (report);
//  2. those far above the mean are told how many to give to whom (take, give), a channel for each pair;
//  3. when all have answered (gave) the next round begins; the run is over when nobody is far above the mean, or nothing has moved.
//
// A child takes part that serves, stays, and whose loop turns. By itself a run only begins when it is worth it and nothing else goes on in
// the fleet, and moves so few connections a second that nobody notices.

const (
	// startShare, in percent, and startCount are how far above the mean the busiest child must be for a run to begin by itself: what the
	// hash makes of some hundred connections is no reason, nor is what a few connections are, whatever their share.
	startShare = 25
	startCount = 32
	// endShare, in percent, is how far above the mean nobody is any more at the end of such a run: well below startShare, so that the next
	// connections do not begin another one.
	endShare = 10
	// operatorShare is the same for a run that the operator has asked for: as even as it can be while clients come and go.
	operatorShare = 2
	// roundEvery is how long a round of a run by itself takes at the least, roundCount how many connections a child gives in it at the most,
	// and gets: to move one costs as much as to answer a request or two, and a child answers tens of thousands of these in the time.
	roundEvery = time.Second
	roundCount = 256
	// operatorCount is the same for the operator's, whose rounds follow one another: it bounds the descriptors in flight.
	operatorCount = 2048
	// operatorBound is how long the operator's run goes on while clients bring new connections.
	operatorBound = 30 * time.Second
	// lookEvery is how often the numbers are looked at, and how long after a change of the fleet for the first time, restAfter how long
	// nothing is tried after a run in which nothing could be moved: requests are under way on all connections, or the takers had no
	// descriptors left.
	lookEvery = 5 * time.Second
	restAfter = 30 * time.Second
)

// Balance is how connections were moved between children.
type Balance struct {
	// At is when it was asked for, By what asked: "control socket (uid 0, pid 77)".
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Moved connections are with another child now.
	Moved int `json:"moved"`
	// Before and After are the open connections of the children, by their indexes; of one that does not serve: 0.
	Before []int `json:"before"`
	After  []int `json:"after"`
	// Reason says in one sentence why the children are not even; "": they are, but for a few connections.
	Reason string `json:"reason,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
}

// balancer is what the master remembers between two looks. Owner: the loop.
type balancer struct {
	run      *balancing // nil: none goes on
	lookAt   time.Time  // of the next look
	lastGive uint64     // the highest number of a Give
}

// balancing is a run.
type balancing struct {
	outcome Balance
	done    []func(Balance, error) // wait for the end
	itself  bool                   // nobody has asked for it
	until   time.Time              // when no other round begins; zero: it has no bound

	since   time.Time         // when this round began
	due     time.Time         // when the present step ends
	step    balanceStep       //
	gives   map[uint64]*child // that have not been answered
	moved   int               // in this round
	trouble string            // of this round
}

// balanceStep is where a round is.
type balanceStep uint8

const (
	// counting: children bring their numbers up to date.
	counting balanceStep = iota
	// giving: connections are on their way.
	giving
	// resting: the next round of a run by itself is not due yet.
	resting
)

// balance moves connections from children that have many to those that have few, now. done is called on the loop with the outcome, or with
// the reason why there is none. One that is asked for while another goes on shares its outcome. Owner: the loop.
func (m *master) balance(by string, done func(Balance, error)) {
	if done == nil {
		done = func(Balance, error) {}
	}
	err := m.fleet()
	if err == nil && m.busyUpgrading() {
		err = errors.New("an upgrade is under way, and moves connections itself")
	}
	if err != nil {
		done(Balance{At: m.now(), By: by}, err)
		return
	}
	now := m.now()
	b := m.balancer.run
	switch {
	case b == nil:
		b = m.startBalancing(by, now)
	case b.itself: // it goes on as the operator's
		b.outcome, b.itself = Balance{At: now, By: by}, false
		if b.step == resting {
			m.beginRound(b, now)
		}
	}
	b.until = now.Add(operatorBound)
	b.done = append(b.done, done)
}

func (m *master) startBalancing(by string, now time.Time) *balancing {
	b := &balancing{outcome: Balance{At: now, By: by}}
	m.balancer.run = b
	m.beginRound(b, now)
	return b
}

// checkBalance goes on with a run, or begins one by itself. It says when it has to be called again; zero: not by itself.
func (m *master) checkBalance(now time.Time) (next time.Time) {
	if b := m.balancer.run; b != nil {
		m.advanceBalancing(b, now)
	}
	if b := m.balancer.run; b != nil {
		return b.due
	}
	if !m.balances() {
		// What a change of the fleet brings about, and those who leave hand over, is to be there first.
		if at := now.Add(lookEvery); at.After(m.balancer.lookAt) {
			m.balancer.lookAt = at
		}
		return time.Time{}
	}
	if at := m.balancer.lookAt; at.After(now) {
		return at
	}
	m.balancer.lookAt = now.Add(lookEvery)
	if loads := loadsOf(m.balanced()); uneven(loads) {
		b := m.startBalancing("the server itself", now)
		b.itself = true
		m.advanceBalancing(b, now)
		return b.due
	}
	return m.balancer.lookAt
}

// balances reports whether connections may be moved without anybody asking: it is configured, and nothing is under way that changes who
// serves.
func (m *master) balances() bool {
	if !m.config.Balance || m.o.Host != nil || m.phase != serving || m.reloading != nil || len(m.scaling) > 0 || m.busyUpgrading() {
		return false
	}
	for _, s := range m.slots {
		switch {
		case s.heir != nil, s.retiring && s.parked.IsZero():
			return false
		case !s.retiring && s.faults == 0 && (s.current == nil || s.current.state != Serving):
			return false
		}
	}
	return len(m.slots) > 1
}

// balanced are the lives that take part.
func (m *master) balanced() (all []*child) {
	for _, s := range m.slots {
		if c := s.current; c != nil && s.heir == nil && c.takes() && c.joined() {
			all = append(all, c)
		}
	}
	return all
}

func loadsOf(lives []*child) []int {
	loads := make([]int, len(lives))
	for i, c := range lives {
		loads[i] = c.load()
	}
	return loads
}

// loads are those of all children, by index.
func (m *master) loads() []int {
	loads := make([]int, m.children())
	for _, c := range m.balanced() {
		if c.slot.index < len(loads) {
			loads[c.slot.index] = c.load()
		}
	}
	return loads
}

// advanceBalancing takes the steps of a run that are due.
func (m *master) advanceBalancing(b *balancing, now time.Time) {
	for m.balancer.run == b {
		if m.phase != serving {
			m.endBalancing("", fmt.Errorf("the server is %s", m.phase))
			return
		}
		switch b.step {
		case counting:
			late := func(c *child) bool { return c.reported.Before(b.since) }
			if now.Before(b.due) && slices.ContainsFunc(m.balanced(), late) {
				return
			}
			m.give(b, now)
		case giving:
			for id, c := range b.gives {
				if c.state >= Ending {
					delete(b.gives, id)
					b.trouble = fmt.Sprintf("child %d has ended", c.slot.index)
				}
			}
			if len(b.gives) > 0 && now.Before(b.due) {
				return
			}
			m.finishRound(b, now)
		case resting:
			if now.Before(b.due) {
				return
			}
			m.beginRound(b, now)
		}
	}
}

// beginRound begins a round: children bring their numbers up to date.
func (m *master) beginRound(b *balancing, now time.Time) {
	b.step, b.since, b.due = counting, now, now.Add(m.bounds.numbers)
	for _, c := range m.balanced() {
		c.proc.Send(&control.Report{})
	}
}

// give tells the children of this round what to give, or ends the run.
func (m *master) give(b *balancing, now time.Time) {
	lives := m.balanced()
	loads := loadsOf(lives)
	if b.outcome.Before == nil {
		b.outcome.Before, b.outcome.Moved = m.loads(), 0
	}
	share, most := operatorShare, operatorCount
	if b.itself {
		share, most = endShare, roundCount
	}
	moves := evenOut(loads, share, most)
	switch {
	case len(moves) == 0:
		m.endBalancing("", nil)
		return
	case b.itself && !m.balances():
		m.endBalancing("the fleet is about to change", nil)
		return
	case !b.until.IsZero() && !now.Before(b.until):
		m.endBalancing(fmt.Sprintf("clients bring new connections as fast as others move; it was given up after %v", operatorBound), nil)
		return
	}
	b.step, b.due, b.moved, b.trouble, b.gives = giving, now.Add(m.bounds.answer), 0, "", map[uint64]*child{}
	listeners := m.listenerIDs()
	for _, move := range moves {
		from, to := lives[move.from], lives[move.to]
		giver, taker, err := handoffPair()
		if err != nil {
			b.trouble = err.Error()
			break
		}
		m.balancer.lastGive++
		m.letTake(to, taker)
		from.proc.Send(&control.Give{ID: m.balancer.lastGive, Count: move.count, Listeners: listeners}, giver)
		closeFds([]int{giver, taker})
		b.gives[m.balancer.lastGive] = from
	}
}

// balancingGave takes a child's answer to a Give. One that nobody waits for is late, or of an earlier master.
func (m *master) balancingGave(c *child, e *control.Gave) {
	b := m.balancer.run
	if b == nil || b.gives[e.ID] != c {
		return
	}
	delete(b.gives, e.ID)
	b.moved += max(0, e.Count)
	if e.Broken != "" {
		b.trouble = fmt.Sprintf("child %d: %s", c.slot.index, e.Broken)
	}
}

// finishRound follows the last answer of a round, or the end of the time for it.
func (m *master) finishRound(b *balancing, now time.Time) {
	b.outcome.Moved += b.moved
	for _, c := range b.gives {
		b.trouble = fmt.Sprintf("child %d has not answered within %v", c.slot.index, m.bounds.answer)
	}
	late := len(b.gives) > 0
	b.gives = nil
	switch {
	case late:
		m.endBalancing(b.trouble, nil)
	case b.moved == 0 && b.trouble != "":
		m.endBalancing(b.trouble, nil)
	case b.moved == 0:
		m.endBalancing("requests are under way on the connections of the busiest children", nil)
	case b.itself:
		b.step, b.due = resting, b.since.Add(roundEvery)
	default:
		m.beginRound(b, now)
	}
}

// endBalancing ends the run that goes on, if one does; err is why it is not over, and "" and nil that the children are even.
func (m *master) endBalancing(reason string, err error) {
	b := m.balancer.run
	if b == nil {
		return
	}
	now := m.now()
	m.balancer.run = nil
	m.balancer.lookAt = now.Add(lookEvery)
	if reason != "" {
		m.balancer.lookAt = now.Add(restAfter)
	}
	o := &b.outcome
	if o.Before == nil {
		o.Before = m.loads()
	}
	o.After, o.Reason, o.Seconds = m.loads(), reason, now.Sub(o.At).Seconds()
	level := zap.InfoLevel
	if b.itself && o.Moved == 0 {
		level = zap.DebugLevel
	}
	m.log.Log(level, "connections were moved between children", zap.String("by", o.By), zap.Int("moved", o.Moved),
		zap.Ints("before", o.Before), zap.Ints("after", o.After), zap.String("reason", reason), zap.Error(err))
	if o.Moved > 0 {
		m.emit(EventBalanced, nil, fmt.Sprintf("%s moved between children, by %s: %s became %s", plural(o.Moved, "connection", "connections"),
			o.By, countList(o.Before), countList(o.After)))
	}
	for _, done := range b.done {
		done(*o, err)
	}
}

// countList writes some numbers for people; of many the first ones.
func countList(counts []int) string {
	const most = 16
	var words []string
	for i, n := range counts {
		if i == most {
			words = append(words, "…")
			break
		}
		words = append(words, thousands(n))
	}
	return strings.Join(words, ", ")
}

// uneven reports whether some child has so many connections more than the mean that it is worth moving them.
func uneven(loads []int) bool {
	if len(loads) < 2 {
		return false
	}
	total := sumOf(loads)
	most := slices.Max(loads)
	return most*len(loads)*100 > total*(100+startShare) && most*len(loads) > total+startCount*len(loads)
}

func sumOf(loads []int) (total int) {
	for _, n := range loads {
		total += n
	}
	return total
}

// move is so many connections of one child that go to another one; both are indexes of loads.
type move struct{ from, to, count int }

// evenOut says how to make loads even: those that are more than share percent above the mean, and by more than one connection, give what
// they have too much, but at most `most`, to those below, the largest first. Each pair comes once. Whatever part of this happens, the
// largest load does not grow and the smallest does not shrink.
func evenOut(loads []int, share, most int) (moves []move) {
	if len(loads) < 2 {
		return nil
	}
	total, n := sumOf(loads), len(loads)
	order := make([]int, n) // the largest first
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(loads[b], loads[a]) })
	mean, slack := total/n, max(1, total/n*share/100)
	type part struct{ index, count int }
	var givers, takers []part
	for place, i := range order {
		target := mean
		if place < total%n { // what cannot be divided stays with those that have most
			target++
		}
		switch {
		case loads[i] > target+slack:
			givers = append(givers, part{i, min(loads[i]-target, most)})
		case loads[i] < target:
			takers = append(takers, part{i, min(target-loads[i], most)})
		}
	}
	slices.Reverse(takers) // who lacks most, first
	slices.SortStableFunc(takers, func(a, b part) int { return cmp.Compare(b.count, a.count) })
	for len(givers) > 0 && len(takers) > 0 {
		g, t := &givers[0], &takers[0]
		count := min(g.count, t.count)
		moves = append(moves, move{g.index, t.index, count})
		if g.count -= count; g.count == 0 {
			givers = givers[1:]
		}
		if t.count -= count; t.count == 0 {
			takers = takers[1:]
		}
	}
	return moves
}

// busyUpgrading reports whether an upgrade is under way.
func (m *master) busyUpgrading() bool { return m.upgrading != nil || m.succession != nil }
