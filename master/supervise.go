package master

import (
	"fmt"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// faultWindow: a child that dies by its own fault within this time of serving is a crash loop.
	faultWindow = 5 * time.Second
	// backOffFirst and backOffMost bound the wait before a crash-looping child is started again; it
	// doubles with every fault.
	backOffFirst = 100 * time.Millisecond
	backOffMost  = 10 * time.Second
	// respawnsPerSecond bounds the starts after kills from outside, over all children.
	respawnsPerSecond = 20
)

// slot is the place of a child: what stays when a life ends. Owner: the loop.
type slot struct {
	index   int
	socket  childListener // the housekeeper's; a child's is its life's own
	current *child        // nil: nothing runs, and due says when something will
	heir    *child        // is being brought up to take current's place; nil: none
	waiting []func(error) // wait for the heir
	due     time.Time     // of the next start; zero: none
	keeper  *slot         // holds the shards meanwhile; nil: nobody has to, or nobody can
	fresh   bool          // no life of it has served yet
	dark    time.Time     // since when no life of it accepts; zero: one does

	retiring bool      // the slot is beyond the number of children
	parked   time.Time // of a retiring one: until when its keeper goes on; zero: its own life has still to return the shards
	gone     bool      // of a retiring one: its shards are only awaited, to be closed

	faults   int    // in a row, of the child's own
	restarts uint64 // lives after the first
	starts   uint64
	lastEnd  string // how the last life ended, in words

	slotHealth
}

// verdict is what a life's end was.
type verdict uint8

const (
	// asked: the master wanted it.
	asked verdict = iota
	// fromOutside: a signal of somebody else to a child that served, a TERM that it drained after
	// included. No fault of the child.
	fromOutside
	// ownFault: a crash, an exit, a hang, or any end before it served.
	ownFault
)

// judge says what a life's end was, in a verdict and in words.
func judge(c *child) (verdict, string) {
	how := describe(c.status)
	switch {
	case !c.exited:
		how = "is still there"
	case c.unknown:
		how = "has ended (its master was another process)"
	}
	switch {
	case c.failed != nil:
		return ownFault, "could not prepare"
	case c.fault != "":
		return ownFault, "was killed by the master: " + c.fault
	case c.asked:
		return asked, how
	case c.unknown:
		return fromOutside, how
	case c.served.IsZero() && c.told == nil && c.status.Exited() && c.status.ExitStatus() == 0: // it has not even said hello
		return ownFault, "ended before it served: its main function returns, or exits, without calling Main"
	case c.served.IsZero():
		return ownFault, how + " before it served"
	case c.status.Exited() && c.status.ExitStatus() == 0:
		return fromOutside, "drained and exited"
	case c.status.Signaled() && !crash(c.status.Signal()):
		return fromOutside, how
	}
	return ownFault, how
}

// crash tells the signals that a process earns by itself from those that somebody sends. Go turns
// an unhandled fault into SIGABRT or exit status 2.
func crash(s syscall.Signal) bool {
	switch s {
	case syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGSYS, syscall.SIGTRAP:
		return true
	}
	return false
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return fmt.Sprintf("was ended by signal %d (%v)", int(s.Signal()), s.Signal())
	}
	return fmt.Sprintf("exited with status %d", s.ExitStatus())
}

// ended closes a life and fills its place, now or later.
func (m *master) ended(c *child) {
	if c.housekeeper() {
		m.endedHousekeeper(c)
		return
	}
	if c.state != Ending {
		m.enter(c, Ending, 0)
	}
	m.enter(c, Ended, 0)
	c.proc.Release()
	m.removeSocket(c)
	delete(m.lives, c)
	m.tidyLater()
	m.answerInquiries()
	v, how := judge(c)
	m.foldBoard(c)
	m.lostVoter(c, v, how)
	s := c.slot
	s.lastEnd = how
	replaced := s.current != c && s.heir != c
	if s.current == c {
		s.current = nil
	}
	if m.phase == stopping {
		level := zap.DebugLevel
		if c.fault != "" && c.fault != stopReason {
			level = zap.WarnLevel
		}
		m.log.Log(level, "child has ended", append(c.fields(), zap.String("how", how))...)
		m.closeShards()
		m.finish()
		return
	}
	fields := append(c.fields(), zap.String("how", how))
	m.emit(EventChildEnded, c, how)
	if m.succession.pending() && c.misfit == "" {
		if c.failed != nil {
			how += ": " + c.failed.Diagnostic
		}
		m.sick(fmt.Sprintf("child %d of the new version %s", s.index, how))
		return
	}
	if s.heir == c {
		s.heir = nil
		if s.retiring {
			m.log.Info("the successor of a child is not needed any more, and has ended", fields...)
		} else {
			m.log.Error("the successor of a child has failed; the child stays", fields...)
		}
		m.heirLost(s, how)
		return
	}
	if replaced || s.retiring {
		if !replaced {
			m.succeed(s, 0)
		}
		what := "child that was replaced has ended"
		if s.retiring {
			what = "child that was to leave has ended" // there are to be fewer
		}
		m.log.Info(what, fields...)
		return
	}
	if m.phase == starting && c.failed != nil {
		m.fail(c.failed.Diagnostic)
		return
	}
	if m.o.Host != nil {
		m.fail(fmt.Sprintf("%s: the single process can serve no longer: its child %s", m.o.Name, how))
		return
	}
	wait := s.after(v, c, m.now())
	if v == ownFault {
		m.log.Error("child has failed; it is started again", append(fields, zap.Duration("after", wait), zap.Int("faults", s.faults))...)
		if c.failed != nil {
			m.log.Error(c.failed.Diagnostic, c.fields()...)
		}
	} else {
		m.log.Warn("child was ended from outside; its successor starts at once", fields...)
	}
	if wait > 0 {
		m.emit(EventCrashLoop, c, fmt.Sprintf("%d faults in a row; the next start comes after %v", s.faults, wait))
	}
	m.succeed(s, wait)
	m.weighStart(s, how)
}

// giveUp fills the place of a life that not even SIGKILL ends, for it hangs in the kernel. What it holds stays open until it ends after all.
func (m *master) giveUp(c *child) {
	const how = "does not die"
	s := c.slot
	switch {
	case c.housekeeper(): // there is never a second one
	case s.heir == c:
		s.heir = nil
		m.heirLost(s, how)
	case s.current == c:
		s.lastEnd = how
		s.faults++
		m.succeed(s, backOff(s.faults))
		m.weighStart(s, how)
	}
}

// after counts faults and says how long to wait before the next life.
func (s *slot) after(v verdict, c *child, now time.Time) time.Duration {
	lasted := !c.served.IsZero() && now.Sub(c.served) >= faultWindow
	if v != ownFault || lasted {
		s.faults = 0
	}
	if v != ownFault {
		return 0
	}
	s.faults++
	if lasted {
		return 0
	}
	return backOff(s.faults)
}

// backOff is the wait before a start after so many faults in a row, at least one.
func backOff(faults int) time.Duration {
	wait := backOffFirst
	for range faults - 1 {
		if wait *= 2; wait >= backOffMost {
			return backOffMost
		}
	}
	return wait
}

// succeed fills the place of a life that has gone: with the heir, if there is one that does not leave itself, else with one that the next
// tick starts after wait.
func (m *master) succeed(s *slot, wait time.Duration) {
	s.current = nil
	if h := s.heir; h != nil && h.state <= Serving {
		s.current, s.heir, h.heir = h, nil, false
		return
	}
	if !s.retiring {
		s.due = m.now().Add(wait)
	}
}

// spawn starts the current life of a slot, unless too many have been started within the last second.
func (m *master) spawn(s *slot) {
	now := m.now()
	if s.starts > 0 {
		if at := m.pace.next(now); at.After(now) {
			s.due = at
			return
		}
		s.restarts++
	}
	s.starts++
	s.due = time.Time{}
	c, err := m.begin(s)
	if err != nil {
		s.faults++
		wait := backOff(s.faults)
		s.lastEnd = "could not be started: " + err.Error()
		s.due = now.Add(wait)
		m.log.Error("child could not be started", zap.Int("child", s.index), zap.Error(err), zap.Duration("after", wait))
		m.weighStart(s, s.lastEnd)
		return
	}
	s.current = c
}

// begin starts a life.
func (m *master) begin(s *slot) (*child, error) {
	now := m.now()
	c := &child{slot: s, state: Starting, since: now, born: now, due: now.Add(m.bounds.answer), leases: leases{held: map[shardID]lease{}}}
	if err := m.newBoard(c); err != nil {
		return nil, err
	}
	err := m.makeSocket(c)
	if err == nil && c.socket != nil && c.socketName == "" {
		m.log.Warn("the runtime directory is gone: a master that follows this one cannot take the child over; restart the server when that does not disturb",
			zap.Int("child", s.index), zap.String("directory", m.runtime.children))
	}
	if err == nil {
		c.proc, err = m.start(c)
	}
	if c.socket != nil {
		_ = c.socket.Close() // the child has it: with its end, nobody listens there any more
		c.socket = nil
	}
	if err != nil {
		m.removeSocket(c)
		m.foldBoard(c)
		return nil, err
	}
	m.lives[c] = struct{}{}
	m.bequeathLife(c)
	m.tellOffspring(c)
	m.log.Debug("child is started", c.fields()...)
	return c, nil
}

// pace remembers the last starts, so that a storm of kills cannot keep the machine busy with
// starting processes.
type pace struct {
	last [respawnsPerSecond]time.Time
	at   int
}

// next returns now and counts a start, or says from when on one is allowed.
func (p *pace) next(now time.Time) time.Time {
	if allowed := p.last[p.at].Add(time.Second); !p.last[p.at].IsZero() && allowed.After(now) {
		return allowed
	}
	p.last[p.at] = now
	p.at = (p.at + 1) % len(p.last)
	return now
}
