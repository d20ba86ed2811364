package master

import (
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// A predecessor, as its successor sees it from Ready on: what is left of it, and how that ends.

// takeForward gives a handoff channel to the counterpart of the child that gives, or to the one that has the fewest connections.
func (m *master) takeForward(e *control.Forward, files []*os.File) {
	defer closeAll(files)
	if len(files) != 1 {
		return
	}
	var taker *child
	for _, s := range m.slots {
		c := s.current
		if c == nil || !c.takes() {
			continue
		}
		if s.index == e.Child {
			taker = c
			break
		}
		if taker == nil || c.load() < taker.load() {
			taker = c
		}
	}
	if taker == nil {
		return // the end of the channel tells who gives; the predecessor sends another
	}
	raw, err := files[0].SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { m.letTake(taker, int(fd)) })
	}
	if err != nil {
		m.log.Warn("a handoff channel cannot be passed on", append(taker.fields(), zap.Error(err))...)
	}
}

// buryLife ends the account of one of the predecessor's lives.
func (m *master) buryLife(s *succession, pid int, summed bool) {
	life := s.lives[pid]
	if life == nil {
		return
	}
	delete(s.lives, pid)
	if !summed && m.past != nil {
		m.past.Add(life.Sums())
	}
	_ = life.Close()
}

// disown forgets one of the predecessor's lives, which somebody else sums up.
func (s *succession) disown(pid int) {
	if s == nil || s.lives[pid] == nil {
		return
	}
	_ = s.lives[pid].Close()
	delete(s.lives, pid)
}

// sums are the counters of the predecessor's lives that have not ended.
func (s *succession) sums() *board.Sums {
	all := new(board.Sums)
	for _, life := range s.lives {
		all.Merge(life.Sums())
	}
	return all
}

// checkPredecessor ends a predecessor that does not end by itself: it has told when it will have, and has children of its own that end what is
// left then. Without that there could be no further upgrade.
func (m *master) checkPredecessor(s *succession, now time.Time) (next time.Time) {
	if s.ended {
		return time.Time{}
	}
	until := s.since
	if s.predecessor.Until.After(until) {
		until = s.predecessor.Until
	}
	if until = until.Add(predecessorGrace); until.After(now) {
		return until
	}
	s.ended = true
	m.log.Error("the version before does not end; it is killed", zap.Int("pid", m.parent))
	if os.Getppid() == m.parent { // it cannot be another process: this one would have another parent
		_ = unix.Kill(m.parent, unix.SIGKILL)
	}
	return time.Time{}
}

// preceded reports whether something is left of the version before: its children, or its process.
func (m *master) preceded() bool {
	return m.previous.path != "" && (m.succession != nil || !m.parentGone)
}

// hurryPredecessor passes a fast stop on to a predecessor that still drains.
func (m *master) hurryPredecessor() {
	if m.preceded() && os.Getppid() == m.parent { // as in checkPredecessor
		_ = unix.Kill(m.parent, unix.SIGINT)
	}
}

// predecessorGrace is how long beyond the time that it has told a predecessor may need to its end.
const predecessorGrace = 20 * time.Second

// predecessorGone follows the end of the channel, or of the process.
func (m *master) predecessorGone(s *succession) {
	if s.alone {
		return
	}
	s.alone = true
	s.conn.Release()
	switch {
	case m.phase == stopping && !s.confirmed: // this process gives up just now: then its children are orphans, like those of the other
		m.log.Warn("the version before has died while this one gives up")
	case !s.confirmed:
		m.log.Error("the version before has died in the upgrade; this one serves in its place")
		m.emit(EventUpgrade, nil, "the version before has died; this one serves in its place")
		if err := s.listen(); err != nil {
			m.log.Error("listener", zap.Error(err))
		}
		s.stage = control.StageProbation
		s.confirming = true
		m.upgradedBy(s, "the death of the master before")
		m.admit() // before the start is announced: it waits for them
		m.become(s)
		go func() {
			m.promote(s.init)
			_ = m.flip.Ready() // nobody hears it; but this process can be upgraded from now on
			m.do(func() { m.parentGone = true; m.finish() })
		}()
		m.recall("the version before has died", func(int) { m.endSuccession(s) })
	case s.farewell:
		m.endSuccession(s)
	default:
		m.log.Error("the version before has died while its connections moved")
		m.recall("the version before has died", func(int) { m.endSuccession(s) })
	}
}

// upgradedBy is the outcome of an upgrade whose predecessor did not live to tell it.
func (m *master) upgradedBy(s *succession, by string) {
	m.lastUpgrade = &Upgrade{
		At: m.born, By: by, Binary: m.o.Executable, From: s.bequest.Version, To: m.o.Version, Stage: control.StageDone, Done: true,
		Seconds: m.now().Sub(m.born).Seconds(),
	}
}

// endSuccession closes the account of the predecessor: this server is one version again.
func (m *master) endSuccession(s *succession) {
	if m.succession != s {
		return
	}
	for pid := range s.lives {
		m.buryLife(s, pid, false)
	}
	m.succession = nil
	m.finish()
	m.log.Info("the version before has gone", zap.String("version", s.bequest.Version))
	if m.lastUpgrade == nil { // it has died before its farewell
		m.upgradedBy(s, "the version before")
	}
	// What the operator has set in place of the configuration stays, as in a reload that does not change it.
	if wanted := m.configuredChildren(); m.config.Children != s.bequest.Configured && wanted != m.children() && m.phase == serving {
		if err := m.resizeSlots(wanted); err != nil {
			m.log.Error("the number of children stays as it is", zap.Error(err))
		}
	}
	if s.reload {
		m.reload("a SIGHUP during the upgrade", nil)
	}
}
