package master

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/board"
)

// A child whose loop does not turn serves nobody, and its shard's queue waits: it spins, is stopped, or hangs in a system call or on a lock.
// Its heartbeat on the board tells. It gets SIGABRT, at which Go writes what every goroutine does to the log and ends, and SIGKILL if it
// has not ended a moment later, for a stopped process obeys nothing else (FACTS 19).
//
// A child that grows beyond the memory limit still serves: it gets a successor first, like in a restart by the operator.

const (
	// heartbeatLooks is how often the heartbeats are looked at, at even distances, within the hang timeout. All but the first look after
	// the last beat must find the same: one look after a long sleep, of this process or of the machine, says nothing. A child that begins
	// to hang right after a look is found at the end of the timeout, not after it.
	heartbeatLooks = 10
	// handlerSlice is how long a handler that computes can keep the loop waiting: Go's scheduler takes the processor from it after 10 ms,
	// and the system may have given it to others meanwhile. crowdMost bounds what all of a child's handlers together can.
	handlerSlice = 40 * time.Millisecond
	crowdMost    = 10 * time.Second
	// abortGrace is how long the end may take after SIGABRT.
	abortGrace = time.Second
	// memoryEvery is how often the children's memory is looked at, memoryLooks how many looks in a row must find too much of it: the
	// next garbage collection may free what one has found.
	memoryEvery = 2 * time.Second
	memoryLooks = 2
	// heavyFirst is how long after a child was replaced for its memory the next one is, at the least. It doubles up to heavyMost, until
	// one has stayed within the limit for so long.
	heavyFirst = time.Minute
	heavyMost  = time.Hour
)

// health is what the master remembers between two looks. Owner: the loop.
type health struct {
	every  time.Duration // between two looks at the heartbeats; 0: there was none
	beatAt time.Time     // of the next look
	sizeAt time.Time     // of the next look at the memory

	// anonymous is a seam of the tests; nil: anonymousOf.
	anonymous func(pid int) (int64, error)
}

// lifeHealth is what is known of a life's health.
type lifeHealth struct {
	beat      int64     // the heartbeat at the last look
	beatSince time.Time // when the look was that found it first; zero: it is not watched
	sameBeats int       // looks after that one
	hungAt    time.Time // when it got SIGABRT; zero: it has not, or has got SIGKILL too

	heavyLooks int  // in a row, that found too much memory
	replacing  bool // a successor for its memory's sake is on its way
}

// slotHealth is what outlives a life.
type slotHealth struct {
	lightUntil time.Time     // no life is replaced for its memory before
	heavyWait  time.Duration // between the last one that was and the next
}

// checkHealth looks at what the children have written to the board, ends those that hang, and replaces those that are too large. It is
// called in every turn of the loop, and says when it wants to be called again at the latest; zero: not by itself.
func (m *master) checkHealth(now time.Time) (next time.Time) {
	for _, at := range [...]time.Time{m.checkAborted(now), m.checkHeartbeats(now), m.checkMemory(now)} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// checkHeartbeats finds the children that hang.
func (m *master) checkHeartbeats(now time.Time) (next time.Time) {
	h := &m.health
	every := m.config.Health.HangTimeout / heartbeatLooks
	if every <= 0 || m.o.Host != nil {
		h.every = 0
		return time.Time{}
	}
	if h.every == every && now.Before(h.beatAt) {
		return h.beatAt
	}
	// Who comes late has slept, and so may have the whole machine.
	anew := h.every != every || now.Sub(h.beatAt) > every
	h.every, h.beatAt = every, now.Add(every)
	for c := range m.lives {
		if !c.mustTurn() {
			c.beatSince = time.Time{}
			continue
		}
		beat := c.life.Get(board.WordHeartbeat)
		if anew || c.beatSince.IsZero() || c.beat != beat {
			c.beat, c.beatSince, c.sameBeats = beat, now, 0
			continue
		}
		if c.sameBeats++; c.sameBeats >= heartbeatLooks-1 && now.Sub(c.beatSince) >= every*(heartbeatLooks-1)+c.crowd() {
			m.endHung(c, now)
		}
	}
	return h.beatAt
}

// crowd is how long the loop of a child may have to wait for its turn among the handlers that compute. Whether one computes or waits is not
// known: each that holds a worker, or is about to, counts.
func (c *child) crowd() time.Duration {
	handlers := min(c.life.Get(board.WordBusy)+c.life.Get(board.WordQueued), c.life.Get(board.WordMax))
	return time.Duration(min(max(0, handlers), int64(crowdMost/handlerSlice))) * handlerSlice
}

// standLooks is after how many looks that found the same heartbeat the loop of a child is taken to stand still: more than an idle one needs
// from one beat to the next.
const standLooks = 4

// stands reports whether the loop of a child stands still, by the last look.
func (c *child) stands() bool { return c.sameBeats >= standLooks }

// mustTurn reports whether the loop of a child turns, if nothing is wrong: from its first generation on, and until nothing is left in
// flight, when the program's exit hooks run.
func (c *child) mustTurn() bool {
	return c.state >= Lending && c.state <= Draining && !c.drained && !c.exited && c.joined()
}

// endHung ends a child that hangs, so that it says where.
func (m *master) endHung(c *child, now time.Time) {
	how := fmt.Sprintf("its loop has not turned for %v", now.Sub(c.beatSince).Round(time.Millisecond))
	m.log.Error("child hangs: "+how+"; it is told to write down its goroutines and to end", c.fields()...)
	m.emit(EventChildHung, c, how)
	c.fault, c.hungAt = how, now
	c.proc.Kill(syscall.SIGABRT)
	m.enter(c, Ending, abortGrace+m.bounds.unkilled)
}

// checkAborted ends those that SIGABRT does not.
func (m *master) checkAborted(now time.Time) (next time.Time) {
	for c := range m.lives {
		if c.hungAt.IsZero() || c.exited {
			continue
		}
		at := c.hungAt.Add(abortGrace)
		if at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		c.hungAt = time.Time{}
		m.log.Warn("child has not ended, and is killed", c.fields()...)
		c.proc.Kill(syscall.SIGKILL)
	}
	return next
}

// checkMemory finds the children that are too large.
func (m *master) checkMemory(now time.Time) (next time.Time) {
	h := &m.health
	limit := m.config.Health.MemoryLimit
	if limit <= 0 || m.o.Host != nil || m.phase != serving {
		return time.Time{}
	}
	if now.Before(h.sizeAt) {
		return h.sizeAt
	}
	h.sizeAt = now.Add(memoryEvery)
	anonymous := h.anonymous
	if anonymous == nil {
		anonymous = anonymousOf
	}
	for _, s := range m.slots {
		c := s.current
		if c == nil || c.state != Serving {
			continue
		}
		size, err := anonymous(c.proc.Pid())
		switch {
		case err != nil: // it is on its way out, or the system hides it
			c.heavyLooks = 0
		case size <= limit:
			c.heavyLooks = 0
			if !s.lightUntil.After(now) {
				s.heavyWait = 0
			}
		default:
			if c.heavyLooks++; c.heavyLooks >= memoryLooks && !c.replacing && !s.lightUntil.After(now) {
				m.replaceHeavy(c, size, now)
			}
		}
	}
	return h.sizeAt
}

// sizeText writes a size for people, in the unit of limits that are set by people.
func sizeText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// replaceHeavy gives a child that is too large a successor.
func (m *master) replaceHeavy(c *child, size int64, now time.Time) {
	s := c.slot
	s.heavyWait = min(max(heavyFirst, 2*s.heavyWait), heavyMost)
	s.lightUntil = now.Add(s.heavyWait)
	how := fmt.Sprintf("it has %s of memory of its own, more than health.memory_limit, which is %s", sizeText(size), sizeText(m.config.Health.MemoryLimit))
	m.log.Warn("child is replaced: "+how, append(c.fields(), zap.Duration("not_again_for", s.heavyWait))...)
	m.emit(EventChildHeavy, c, how)
	c.replacing = true
	m.restart(s.index, "memory limit", func(error) { c.replacing = false }) // restart says itself why it has failed
}

// anonymousOf is the memory of a process in bytes that is nobody else's, and that nothing but the process can give back: anonymous pages
// that are resident. What a child has resident beyond that is shared with the others, such as the program's code and the board, or
// belongs to files and goes when the system needs room: that grows with the files that a child serves, and is no reason to end it.
func anonymousOf(pid int) (int64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, err
	}
	var size, resident, shared int64 // in pages; shared is of files, those in memory included (proc_pid_statm(5))
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared); err != nil {
		return 0, fmt.Errorf("/proc/%d/statm is %q: %w", pid, text, err)
	}
	return (resident - shared) * int64(os.Getpagesize()), nil
}
