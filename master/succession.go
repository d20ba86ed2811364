package master

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// An upgrade, as the process sees it that was started by one, the successor. (upgrade.go has the other side, bequest.go the claim, predecessor.go
// what follows Ready.)
//
//	claim ─▶ proving ─▶ canary ─────▶ takeover ────▶ probation ─▶ release ─▶ Ready ─▶ the predecessor drains ─▶ farewell
//	          every      child 0       all accept;    the gates              this is
//	          child      accepts       the old ones   as before              the master
//	          proved     alone         have paused
//
// Up to Ready this process is nobody: it answers on no control socket, tells no supervisor anything, removes no file, closes no queue. When
// something is wrong it says so and ends (sick). Its children that have accepted are left alone as they are: the predecessor calls them home.
//
// If the predecessor dies before Ready, this is the master at once, and calls the predecessor's children home (recall.go). If it dies later,
// the same happens to those that are left.

// gateEvery is how often the gates are looked at.
const gateEvery = 200 * time.Millisecond

// succession is what a master has from the one whose place it takes. Owner: the loop, once it runs.
type succession struct {
	channel     *control.Conn // until the loop has it
	conn        *running
	bequest     control.Bequest
	shards      []orphanShard
	kept        []*control.Kept
	runtime     *runtimeDir
	past        *os.File
	counters    *os.File
	init        *os.File
	lives       map[int]*board.Life // of the predecessor's children, by their pids
	later       []func() error      // what living sockets are told once this is the master
	supervision *supervision        // who is told nothing before

	change *shardChange // whose listeners do not listen yet
	stage  string
	due    time.Time // of the stage; zero: none
	lookAt time.Time // at the gates
	asked  bool      // Yielded is awaited
	answer time.Time // when Yielded, or Released, must have come; zero: none is awaited
	own    *board.Sums
	theirs *board.Sums
	values map[string]uint64

	alone       bool // the channel has ended
	confirming  bool
	confirmed   bool
	since       time.Time // it is confirmed
	ended       bool      // the predecessor was killed
	farewell    bool
	reload      bool
	predecessor Predecessor
}

// enterShards makes the change's listeners the present ones. What living sockets are told, and that new ones listen, waits.
func (m *master) enterShards(change *shardChange) {
	s := m.succession
	s.change = change
	for i, l := range change.next {
		if slices.Contains(change.opened, l) {
			continue
		}
		before, want := l.config, change.config[i]
		s.later = append(s.later, func() error {
			now := l.config
			l.config = before
			err := l.adjust(want)
			l.config = now
			return err
		})
	}
	m.shards.install(change)
	m.shards.spare() // files are the predecessor's until this is the master
}

// pending reports whether this process was started by an upgrade that is not confirmed.
func (s *succession) pending() bool { return s != nil && !s.confirmed }

// mayAdmit reports whether a proved life may accept now, as far as an upgrade has a say.
func (m *master) mayAdmit(c *child) bool {
	if s := m.succession; s.pending() && s.stage == control.StageProving || s.pending() && s.stage == control.StageCanary && c.slot.index != 0 {
		return false
	}
	return !m.yielded(c.slot)
}

// hearPredecessor begins to receive from the predecessor.
func (m *master) hearPredecessor() {
	s := m.succession
	if s == nil {
		return
	}
	s.conn = m.talk(s.channel, func(event any) { m.heardPredecessor(s, event) })
	s.progress("claimed " + plural(m.shards.count(), "shard", "shards"))
}

// progress tells the operator, by way of the predecessor.
func (s *succession) progress(text string) {
	if !s.alone {
		s.conn.Send(&control.Progress{Stage: s.stage, Text: text})
	}
}

func (m *master) heardPredecessor(s *succession, event any) {
	if m.succession != s {
		if r, ok := event.(received); ok {
			closeAll(r.files)
		}
		return
	}
	switch e := event.(type) {
	case undelivery:
		m.log.Warn("the version before cannot be told", zap.Error(e.err))
	case silence:
		m.predecessorGone(s)
	case received:
		m.obeyPredecessor(s, e.message, e.files)
	}
}

func (m *master) obeyPredecessor(s *succession, message control.Message, files []*os.File) {
	switch e := message.(type) {
	case *control.Bequest: // a life that has begun since
		if err := s.take(&control.Bequest{Lives: e.Lives}, files); err != nil {
			m.log.Warn("the life of a child of the version before", zap.Error(err))
		}
		return
	case *control.Forward:
		m.takeForward(e, files)
		return
	}
	closeAll(files)
	switch e := message.(type) {
	case *control.Yielded:
		s.asked, s.answer = false, time.Time{}
		m.advanceSuccession()
	case *control.Released:
		s.reload, s.answer = e.Reload, time.Time{}
		m.confirm(s)
	case *control.Leaving:
		s.predecessor.Children, s.predecessor.Connections, s.predecessor.InFlight = e.Children, e.Connections, e.InFlight
		s.predecessor.Until = time.UnixMilli(e.UntilMillis)
	case *control.LifeOver:
		m.buryLife(s, e.Pid, e.Summed)
	case *control.Progress:
		m.log.Info("upgraded: " + e.Text)
		m.emit(EventUpgrade, nil, e.Text)
	case *control.Value:
		m.followValue(e, s.values)
	case *control.Farewell:
		s.farewell = true
		outcome := new(Upgrade)
		if json.Unmarshal(e.Outcome, outcome) == nil {
			m.lastUpgrade = outcome
		}
	}
}

// tellOffspring gives the predecessor the means to end a child that hangs when this process is gone.
func (m *master) tellOffspring(c *child) {
	s := m.succession
	if !s.pending() || s.alone || s.conn == nil {
		return
	}
	fd, err := unix.PidfdOpen(c.proc.Pid(), 0)
	if err != nil {
		m.log.Warn("a child cannot be named to the version before", append(c.fields(), zap.Error(os.NewSyscallError("pidfd_open", err)))...)
		return
	}
	s.conn.Send(&control.Offspring{Pid: c.proc.Pid()}, fd)
	_ = unix.Close(fd)
}

// hasProved tells how the proving goes on.
func (m *master) hasProved(c *child) {
	if s := m.succession; s.pending() && s.stage == control.StageProving {
		s.progress(fmt.Sprintf("child %d proved", c.slot.index))
	}
}

// advanceSuccession takes the next step whose time has come. It is called after every event.
func (m *master) advanceSuccession() {
	s := m.succession
	if !s.pending() || m.phase == stopping || s.asked || s.confirming || s.alone {
		return
	}
	switch s.stage {
	case control.StageProving:
		if !m.admissions {
			return
		}
		s.stage = control.StageCanary
		m.admit()
	case control.StageCanary:
		switch {
		case s.own == nil && m.serves(0):
			s.own, s.theirs = m.livingSums(), s.sums()
			m.askYield(s, []int{0})
			s.due, s.lookAt = m.now().Add(m.canaryTime()), m.now().Add(gateEvery)
			if m.canaryTime() > 0 {
				s.progress(fmt.Sprintf("canary: child 0 serves in place of its predecessor for %v", m.canaryTime()))
			}
		case s.own != nil && !m.now().Before(s.due):
			if m.canaryTime() > 0 {
				s.progress(fmt.Sprintf("canary %v: %s", m.canaryTime(), trialText(m.livingSums().Since(s.own))))
			}
			m.takeOverAll(s)
		}
	case control.StageProbation:
		switch {
		case s.due.IsZero() && m.allServe():
			var slots []int
			for _, slot := range m.slots {
				slots = append(slots, slot.index)
			}
			m.askYield(s, slots)
			s.due, s.lookAt = m.now().Add(m.config.Upgrade.Probation), m.now().Add(gateEvery)
			s.progress(fmt.Sprintf("taking over: %s; probation for %v", plural(m.children(), "child accepts", "children accept"), m.config.Upgrade.Probation))
		case !s.due.IsZero() && !m.now().Before(s.due):
			s.progress(fmt.Sprintf("probation %v: %s", m.config.Upgrade.Probation, trialText(m.livingSums().Since(s.own))))
			s.confirming, s.answer = true, m.now().Add(m.bounds.answer+m.bounds.lastWords)
			s.conn.Send(&control.Release{})
		}
	}
}

func (m *master) canaryTime() time.Duration {
	if ms := m.succession.bequest.CanaryMillis; ms != nil {
		return time.Duration(*ms) * time.Millisecond
	}
	return m.config.Upgrade.Canary
}

// askYield asks the predecessor to let children stop accepting, whose counterparts here accept.
func (m *master) askYield(s *succession, slots []int) {
	s.asked, s.answer = true, m.now().Add(m.bounds.answer+m.bounds.lastWords) // it gives its own children less
	message := &control.Yield{Slots: slots}
	for _, l := range m.shards.ids() {
		message.Listeners = append(message.Listeners, l.ID)
	}
	s.conn.Send(message)
}

// takeOverAll lets every child accept, from every listener.
func (m *master) takeOverAll(s *succession) {
	if err := s.listen(); err != nil {
		m.sick(err.Error())
		return
	}
	s.stage, s.due = control.StageProbation, time.Time{}
	m.admit()
	m.advanceSuccession()
}

// listen lets the listeners listen that the predecessor does not have.
func (s *succession) listen() error {
	if s.change == nil {
		return nil
	}
	change := s.change
	s.change = nil
	return change.start()
}

// serves reports whether a place has a life that serves.
func (m *master) serves(index int) bool {
	return index < len(m.slots) && m.slots[index].current != nil && m.slots[index].current.state == Serving
}

// allServe reports whether every place has a life that serves, and those that leave have keepers.
func (m *master) allServe() bool {
	for _, s := range m.slots {
		if !s.retiring && !m.serves(s.index) || s.retiring && !m.handedOver(s) {
			return false
		}
	}
	return true
}

// onProbation reports whether all children of this version accept, though it is not confirmed.
func (s *succession) onProbation() bool { return s.pending() && s.stage == control.StageProbation }

// checkSuccession looks at the gates, and says when it has to be called again.
func (m *master) checkSuccession(now time.Time) (next time.Time) {
	s := m.succession
	switch {
	case s == nil || s.alone:
		return time.Time{}
	case s.confirmed:
		return m.checkPredecessor(s, now)
	case !s.answer.IsZero() && !s.answer.After(now):
		m.sick("the version before does not answer: it hangs")
		return time.Time{}
	}
	if s.own != nil && !s.confirming && !s.lookAt.After(now) {
		s.lookAt = now.Add(gateEvery)
		if fault := m.trial(s).fault(m.config.Upgrade); fault != "" {
			m.sick(fmt.Sprintf("the %s has found: %s", s.stage, fault))
			return time.Time{}
		}
	}
	m.advanceSuccession()
	next = s.answer
	if s.own != nil && !s.confirming {
		for _, at := range [...]time.Time{s.lookAt, s.due} {
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next
}

// trial is what the gates judge by: what both versions have done since the canary began, and the predecessor's children in all their life.
func (m *master) trial(s *succession) *trial {
	ever := s.sums()
	return &trial{candidate: m.livingSums().Since(s.own), since: ever.Since(s.theirs), ever: ever}
}

// sick ends this process, which is not the master yet: the predecessor goes on. Children that have accepted are left alone, for they hold
// connections; it calls them home.
func (m *master) sick(why string) {
	s := m.succession
	if m.phase == stopping {
		return
	}
	m.log.Error("upgrade: this version gives up, and the one before serves on", zap.String("reason", why))
	m.failure, m.code = fmt.Sprintf("%s: upgrade: %s", m.o.Name, why), exitRefused
	s.conn.Send(&control.Sick{Reason: why})
	m.phase = stopping
	for _, slot := range m.slots {
		slot.due = time.Time{}
	}
	for c := range m.lives {
		m.leaveAlone(c)
	}
	if c := m.house.slot.current; c != nil {
		m.kill(c, stopReason)
	}
	m.finish()
}

// leaveAlone makes an orphan of a life that has accepted; any other one is ended.
func (m *master) leaveAlone(c *child) {
	switch {
	case c.state >= Ending:
	case c.state < Admitting:
		m.kill(c, stopReason)
	default:
		c.socketName = "" // its file stays: by it the child is found
		c.proc.Release()
		if c.life != nil {
			_ = c.life.Close() // who takes the child over sums it up
			c.life = nil
		}
		m.enter(c, Ending, 0)
		m.enter(c, Ended, 0)
		delete(m.lives, c)
		if c.slot.current == c {
			c.slot.current = nil
		}
	}
}

// confirm makes this process the master.
func (m *master) confirm(s *succession) {
	if s.confirmed || m.phase == stopping {
		return
	}
	m.become(s)
	supervision := m.supervision
	go func() {
		m.promote(s.init)
		if err := supervision.settled(); err != nil {
			m.log.Warn("the supervisor has not taken note of the new main process", zap.Error(err))
		}
		// It fails when the predecessor has just died: then nobody has to be told.
		if err := m.flip.Ready(); err != nil {
			m.log.Warn("upgrade", zap.Error(err))
		}
		_ = m.flip.WaitForParent(context.Background()) // what is wrong with its end does not matter
		// Its last words may still be in the channel, whose end comes behind them.
		m.do(func() { m.parentGone = true; m.settle(); m.finish() })
	}()
}

// promote tells the init process that this is the master. Any goroutine but the loop's.
func (m *master) promote(init *os.File) {
	if init == nil || m.o.Promote == nil {
		return
	}
	if err := m.o.Promote(init); err != nil {
		m.log.Warn("the init process cannot be told that this is the master", zap.Error(err))
	}
}

// supervisorEnv is what the supervisor has said to the first master, as far as it concerns later ones: the sockets of its activation have come
// by another way.
func (s *succession) supervisorEnv() map[string]string {
	env := maps.Clone(s.bequest.Supervisor)
	maps.DeleteFunc(env, func(name, _ string) bool { return strings.HasPrefix(name, "LISTEN_") })
	return env
}

// release ends the channel.
func (s *succession) release(bound time.Duration) {
	if s != nil && s.conn != nil {
		s.conn.finish(bound)
	}
	if s != nil {
		s.supervision.close()
	}
}

// become takes everything over that is the master's alone.
func (m *master) become(s *succession) {
	s.confirmed, s.since = true, m.now()
	m.previous = previous{s.bequest.Executable, s.bequest.Identity, s.bequest.Version}
	s.predecessor.Version, s.predecessor.Pid, s.predecessor.Children = s.bequest.Version, m.parent, len(s.lives)
	m.supervision, s.supervision = s.supervision, nil
	m.runtime.inherited = false
	m.o.Init = s.init
	m.shards.own()
	for _, adjust := range s.later {
		if err := adjust(); err != nil {
			m.log.Warn("an option of a listener is not as configured", zap.Error(err))
		}
	}
	s.later = nil
	if now := accessOf(m.config); m.runtime.give(now) != nil {
		m.log.Warn("the control socket is not as configured")
	}
	go m.operator.serve()
	m.announce()
	if s.init == nil && onTerminal() {
		_, _ = fmt.Fprintf(m.sink.stdout, "%s: the server goes on in the background, as process %d; `%s stop` ends it\n", m.o.Name, os.Getpid(), m.o.Name)
	}
}

// followValue takes the text of a shared value from the other master. Of two texts with one number the predecessor's stays.
func (m *master) followValue(e *control.Value, known map[string]uint64) {
	v := m.o.Shared.Named(e.Name)
	if v == nil || len(e.Text) > board.MaxValue || e.Revision > maxOrphanNumber {
		return
	}
	text, revision := v.Reading()
	switch {
	case e.Revision > revision:
		known[e.Name] = e.Revision
		v.Follow(string(e.Text), e.Revision)
	case e.Revision == revision && text != string(e.Text) && m.succession != nil:
		v.Advance(string(e.Text))
	}
}

// tellMaster tells the other master of every change of a shared value.
func (m *master) tellMaster(conn *running, known map[string]uint64) {
	for _, v := range m.o.Shared.Values() {
		if text, revision := v.Reading(); revision > known[v.Name()] {
			known[v.Name()] = revision
			conn.Send(&control.Value{Name: v.Name(), Revision: revision, Text: []byte(text)})
		}
	}
}
