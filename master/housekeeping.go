package master

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// The housekeeper is a child without shards, on a place of its own: it holds no listener, serves nobody, and does the chores of modules,
// one run for each perform. The master knows when (chores.go), and neither what nor how: it opens nothing that a chore works on.
//
//	Starting ─hello─▶ Preparing ─prepared─▶ Committing ─committed─▶ Serving ─drain─▶ Draining ─▶ Ending ─▶ Ended
//
// There is at most one, so that no chore runs twice at the same time: a successor starts when its predecessor has gone, and not before.
// There is none while the configuration has no module with chores. A reload asks it like every child, and starts one to ask where there is
// none yet.

// socketOfHousekeeper is its listening socket, among the children's. A later master that can connect to it knows that an orphan still
// works.
const socketOfHousekeeper = "housekeeper.sock"

// pingLooks is how often an answer to a ping must be found missing, at even distances over the whole hang timeout.
const pingLooks = 2

// orphanPoll is how often a master looks whether the housekeeper of an earlier one has gone.
const orphanPoll = time.Second

// house is all that concerns the housekeeper. Owner: the loop.
type house struct {
	schedule
	slot    slot
	vote    *houseVote // of a reload that is not decided; nil: none
	orphan  bool       // that of an earlier master still works: nobody waits for this one's
	aborted bool       // the life was told to dump its goroutines and die

	lookAt   time.Time // when is looked at whether a ping was answered
	answered bool      // it was
	misses   int       // looks in a row that it was not

	coming []control.Chore // of the generation that it has prepared last
}

// houseVote is a generation that the housekeeper is asked about.
type houseVote struct {
	message *control.Prepare
	sources *os.File // the reload's
	needed  bool     // it has chores
}

// housekeeper reports whether a life is the housekeeper's and not a child's.
func (c *child) housekeeper() bool { return c.slot.index == control.Housekeeper }

// initHouse makes the place ready; due is when the first life starts if the configuration needs one.
func (m *master) initHouse(due time.Time) {
	m.house.slot.index = control.Housekeeper
	if m.config.HasChores() {
		m.house.slot.due = due
	}
}

// houseOpens reports whether a start has nothing to await from the housekeeper any more (see houseAgrees).
func (m *master) houseOpens() bool {
	c := m.house.slot.current
	return !m.config.HasChores() || m.house.orphan || c != nil && c.state == Serving
}

// keepHouse does what is due, and says when the next thing will be; zero: never.
func (m *master) keepHouse(now time.Time) (next time.Time) {
	h := &m.house
	if c := h.slot.current; c != nil {
		switch {
		case !c.due.IsZero() && !c.due.After(now):
			m.houseOverdue(c)
		case !c.owed.IsZero() && !c.owed.After(now):
			m.abortHousekeeper(c, fmt.Sprintf("it did not answer an order within %v", m.bounds.answer))
		case c.state == Serving:
			m.ping(c, now)
		}
	}
	if m.phase != stopping && !m.busy && h.slot.current == nil && !h.slot.due.IsZero() && !h.slot.due.After(now) {
		m.spawnHousekeeper(now)
	}
	c := h.slot.current
	for late := h.late(now); late != nil && c != nil && c.state < Ending; late = h.late(now) {
		m.houseLate(c, late)
	}
	performs := c != nil && c.state == Serving && c.committing == 0
	if performs {
		for _, chore := range h.begin(now) {
			m.log.Debug("a chore begins", zap.String("chore", chore.name))
			c.proc.Send(&control.Perform{ID: chore.run, Chore: chore.name})
		}
	}
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if c != nil {
		if c.state < Ending { // later its runs are lost in any case
			sooner(h.next(performs))
			sooner(c.owed)
		}
		sooner(c.due)
		if every := m.pingEvery(); c.state == Serving && every > 0 {
			sooner(h.lookAt)
		}
	} else if !m.busy && m.phase != stopping {
		sooner(h.slot.due)
	}
	return next
}

// pingEvery is how often the housekeeper is asked whether it lives: it has no loop whose turns could be counted. 0: never.
func (m *master) pingEvery() time.Duration {
	if m.o.Host != nil {
		return 0
	}
	return m.config.Health.HangTimeout / pingLooks
}

// ping asks, and ends a housekeeper that has not answered at several looks: one look after a long sleep, of this process or of the machine,
// says nothing.
func (m *master) ping(c *child, now time.Time) {
	h, every := &m.house, m.pingEvery()
	if every == 0 || h.lookAt.After(now) {
		return
	}
	h.lookAt = now.Add(every)
	if h.answered {
		h.answered, h.misses = false, 0
		c.proc.Send(&control.Ping{})
		return
	}
	if h.misses++; h.misses == pingLooks {
		m.emit(EventChildHung, nil, "the housekeeper does not answer")
		m.abortHousekeeper(c, fmt.Sprintf("it did not answer within %v", m.config.Health.HangTimeout))
	}
}

// spawnHousekeeper starts a life.
func (m *master) spawnHousekeeper(now time.Time) {
	s := &m.house.slot
	if s.starts > 0 {
		if at := m.pace.next(now); at.After(now) {
			s.due = at
			return
		}
	}
	err := m.houseSocket()
	if errors.Is(err, errOrphan) {
		s.due = now.Add(orphanPoll)
		if !m.house.orphan {
			m.house.orphan = true
			m.log.Warn("the housekeeper of an earlier master still works; this master's starts when it has gone")
			m.admit()
			m.announce()
			m.weigh()
		}
		return
	}
	m.house.orphan = false
	c := &child{slot: s, state: Starting, since: now, born: now, due: now.Add(m.bounds.answer)}
	if err == nil {
		c.proc, err = m.start(c)
	}
	if s.starts++; s.starts > 1 {
		s.restarts++
	}
	s.due = time.Time{}
	if err != nil {
		s.faults++
		s.lastEnd = "could not be started: " + err.Error()
		m.houseless(ownFault, s.lastEnd, nil, backOff(s.faults))
		return
	}
	m.house.aborted = false
	s.current = c
	m.log.Debug("the housekeeper is started", c.fields()...)
}

// errOrphan: the housekeeper of an earlier master is still there.
var errOrphan = errors.New("the housekeeper of an earlier master still works")

// houseSocket opens the housekeeper's listening socket, once.
func (m *master) houseSocket() error {
	s := &m.house.slot
	if s.socket != nil || m.runtime == nil {
		return nil
	}
	if m.succession.pending() || m.runtime.answers(socketOfHousekeeper) { // before Ready the chores are the predecessor's
		return errOrphan
	}
	socket, err := m.runtime.socket(socketOfHousekeeper)
	if err != nil {
		return fmt.Errorf("socket of the housekeeper: %w", err)
	}
	s.socket = socket
	return nil
}

// answers reports whether a process listens on a socket of the children's folder. It accepts nothing, so a full queue is one too.
func (r *runtimeDir) answers(name string) bool {
	if _, err := os.Lstat(filepath.Join(r.children, name)); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", r.folder.Fd(), name)})
	return err == nil || errors.Is(err, unix.EAGAIN)
}

// hearHousekeeper takes a message. What does not fit the state is a fault, as a child's.
func (m *master) hearHousekeeper(c *child, message control.Message) {
	if c.state == Ending {
		if f, ok := message.(*control.Failed); ok { // last words that came after the exit was seen
			c.failed = f
		}
		return
	}
	switch e := message.(type) {
	case *control.Hello:
		if m.expect(c, message, Starting) {
			if e.Child != control.Housekeeper || e.Pid != c.proc.Pid() {
				m.kill(c, fmt.Sprintf("it says that it is %d with pid %d", e.Child, e.Pid))
				return
			}
			c.version = e.Version
			m.sendBoard(c)
			m.enter(c, Preparing, m.bounds.prepare)
			m.leadHousekeeper()
		}
	case *control.Prepared:
		m.housePrepared(c, e)
	case *control.Failed:
		m.houseFailed(c, e)
	case *control.Committed:
		m.houseCommitted(c, e)
	case *control.Performed:
		m.housePerformed(c, e)
	case *control.Pong:
		m.house.answered = true
	case *control.Draining:
		if c.state != Draining { // somebody sent it TERM
			if m.expect(c, message, Serving) {
				m.enter(c, Draining, m.config.DrainTimeout+m.bounds.drained)
				m.log.Info("the housekeeper drains though the master did not ask it to; a successor follows it", c.fields()...)
			}
		}
	case *control.Drained:
		if m.expect(c, message, Draining) && !c.drained {
			c.drained = true
			if !m.fast {
				c.due = m.now().Add(m.bounds.exit)
			}
		}
	case *control.SetValue:
		m.setValue(c, e)
	case *control.ValueSeen:
		m.seen(c)
	case *control.LogDropped:
		m.lostLines += e.Count
	}
}

// leadHousekeeper says what the housekeeper should do next: prepare what a reload proposes, or what serves, or leave.
func (m *master) leadHousekeeper() {
	h := &m.house
	c := h.slot.current
	if c == nil || c.state < Preparing || c.state > Serving || c.preparing != 0 || c.committing != 0 {
		return
	}
	switch v := h.vote; {
	case v != nil && v.needed && c.prepared != v.message.Generation:
		m.sendGeneration(c, v.message, v.sources, new(logFiles))
	case v != nil: // it has prepared it, or need not: the others are awaited
		if c.state == Preparing && v.needed {
			c.due = time.Time{}
		}
	case !m.config.HasChores():
		m.dismissHousekeeper(c)
	case c.generation != m.generation:
		m.sendGeneration(c, &control.Prepare{Generation: m.generation, Digest: m.config.Digest, LogFormat: m.sink.format}, m.sources, new(logFiles))
		if c.state == Serving {
			c.owed = m.now().Add(m.bounds.prepare)
		} else {
			c.due = m.now().Add(m.bounds.prepare)
		}
	}
}

// dismissHousekeeper ends a housekeeper that no generation needs any more. What runs may finish in its time.
func (m *master) dismissHousekeeper(c *child) {
	c.owed = time.Time{}
	if c.state < Serving { // it has nothing to finish
		c.asked = true
		c.proc.Kill(syscall.SIGKILL)
		m.enter(c, Ending, m.bounds.unkilled)
		return
	}
	timeout := m.config.DrainTimeout
	for _, chore := range m.house.running() {
		timeout = max(timeout, chore.limit.Sub(m.now()))
	}
	m.log.Info("no chore is left; the housekeeper ends", c.fields()...)
	m.drain(c, timeout, timeout+m.bounds.drained)
}

// proposeToHouse asks the housekeeper for its vote about a generation. One that has failed before is tried at once: the new generation may
// be what cures it.
func (m *master) proposeToHouse(r *reloading) {
	h := &m.house
	h.vote = &houseVote{
		message: &control.Prepare{
			Generation: r.number, Digest: r.read.config.Digest, LogFormat: m.sink.formatFor(r.read.config.Log, r.read.log),
		},
		sources: r.sources, needed: r.read.config.HasChores(),
	}
	if h.vote.needed && h.slot.current == nil {
		h.slot.due = m.now()
	}
	m.leadHousekeeper()
}

// houseAgrees reports whether the housekeeper lets the generation be committed. That of an earlier master may work for hours yet: this
// one's is not waited for then, and begins with what serves.
func (m *master) houseAgrees(generation uint64) bool {
	v, c := m.house.vote, m.house.slot.current
	return v == nil || !v.needed || m.house.orphan || c != nil && c.prepared == generation && c.state <= Serving
}

// commitToHouse follows the commit of a reload: m.config and m.generation are new.
func (m *master) commitToHouse() {
	h := &m.house
	h.vote = nil
	c := h.slot.current
	switch {
	case !m.config.HasChores():
		h.slot.due, h.slot.faults = time.Time{}, 0
		h.replace(nil, m.now())
	case c == nil && h.slot.due.IsZero():
		h.slot.due = m.now()
	case c != nil && c.prepared == m.generation && c.state <= Serving:
		m.commitHousekeeper(c)
		return
	}
	m.leadHousekeeper()
}

// abortInHouse follows the refusal of a reload.
func (m *master) abortInHouse(generation uint64) {
	h := &m.house
	if h.vote = nil; h.slot.current == nil {
		if !m.config.HasChores() {
			h.slot.due, h.slot.faults = time.Time{}, 0
		}
		return
	}
	c := h.slot.current
	if generation != 0 && (c.preparing == generation || c.prepared == generation) && c.state < Draining {
		c.preparing, c.prepared, c.aborted = 0, 0, generation
		c.proc.Send(&control.Abort{Generation: generation})
	}
	m.leadHousekeeper()
}

func (m *master) commitHousekeeper(c *child) {
	c.committing, c.prepared = c.prepared, 0
	c.proc.Send(&control.Commit{Generation: c.committing})
	if c.state == Preparing {
		m.enter(c, Committing, m.bounds.answer)
	} else {
		c.owed = m.now().Add(m.bounds.answer)
	}
}

func (m *master) housePrepared(c *child, e *control.Prepared) {
	if c.preparing != e.Generation || e.Generation == 0 {
		m.stale(c, e, e.Generation)
		return
	}
	c.preparing, c.owed = 0, time.Time{}
	if e.Digest != c.expected {
		m.kill(c, fmt.Sprintf("it resolved another configuration: generation %d, digest %.12s; the master has %.12s", e.Generation, e.Digest, c.expected))
		return
	}
	for _, chore := range e.Chores {
		if chore.EveryMillis <= 0 || chore.TimeoutMillis <= 0 || max(chore.EveryMillis, chore.TimeoutMillis) > math.MaxInt64/int64(4*time.Millisecond) {
			m.kill(c, fmt.Sprintf("the times of its chore %q make no sense", chore.Name))
			return
		}
	}
	c.prepared, m.house.coming = e.Generation, e.Chores
	if m.house.vote != nil {
		m.leadHousekeeper()
		m.weigh()
		return
	}
	if c.state > Serving { // it drains, and what it was asked for may have been refused since
		c.prepared = 0
		return
	}
	m.commitHousekeeper(c)
}

func (m *master) houseFailed(c *child, e *control.Failed) {
	if c.preparing != e.Generation || e.Generation == 0 {
		m.stale(c, e, e.Generation)
		return
	}
	c.preparing = 0
	if r := m.reloading; r != nil && r.number == e.Generation && m.house.vote != nil {
		m.refuse(r, "the housekeeper cannot serve it: "+e.Diagnostic)
		return
	}
	c.failed = e
	m.kill(c, "it could not prepare")
}

func (m *master) houseCommitted(c *child, e *control.Committed) {
	if c.committing == 0 || c.committing != e.Generation {
		m.kill(c, fmt.Sprintf("it said %s of generation %d, which it was not told to", e.Kind(), e.Generation))
		return
	}
	now, h := m.now(), &m.house
	c.committing, c.generation, c.owed = 0, e.Generation, time.Time{}
	if c.state == Draining {
		m.finishReload()
		return
	}
	if c.generation == m.generation {
		h.replace(h.coming, now)
	}
	if c.state == Committing {
		m.enter(c, Serving, 0)
		c.served, h.lookAt, h.answered, h.misses = now, now.Add(m.pingEvery()), true, 0
		m.sendLogLevel(c)
		m.log.Info("the housekeeper serves", append(c.fields(), zap.Int("chores", len(h.coming)))...)
	}
	m.leadHousekeeper()
	m.finishReload()
	m.admit()
	m.announce() // of children that were adopted and wait for nothing else
}

// housePerformed takes the end of a run.
func (m *master) housePerformed(c *child, e *control.Performed) {
	now := m.now()
	chore := m.house.end(e.ID, e.Error, now)
	switch {
	case chore == nil:
		m.kill(c, fmt.Sprintf("it has performed a run %d, which it was not asked for", e.ID))
	case e.Error != "":
		m.choreFailed(chore, e.Error)
	default:
		m.log.Debug("a chore is done", zap.String("chore", chore.name), zap.Duration("after", chore.took.Round(time.Millisecond)))
	}
}

func (m *master) choreFailed(c *chore, why string) {
	fields := []zap.Field{zap.String("chore", c.name), zap.String("error", why), zap.Duration("after", c.took.Round(time.Millisecond))}
	if !c.gone {
		fields = append(fields, zap.Duration("next_in", c.due.Sub(m.now()).Round(time.Millisecond)))
	}
	m.log.Error("a chore has failed", fields...)
	m.emit(EventChore, nil, c.name+": "+why)
}

// houseLate ends a housekeeper with a chore that does not return: nothing else ends a goroutine.
func (m *master) houseLate(c *child, late *chore) {
	late.limit = time.Time{}
	switch {
	case c.state == Draining: // which has a bound of its own
	case m.o.Host != nil:
		m.log.Error("a chore does not return; a single process cannot end it, and it is not begun again", zap.String("chore", late.name))
		m.emit(EventChore, nil, late.name+": does not return")
	default:
		m.abortHousekeeper(c, fmt.Sprintf("its chore %q did not return within %v", late.name, late.timeout))
	}
}

// abortHousekeeper ends one that hangs: it is made to say where, and killed when it does not die of that.
func (m *master) abortHousekeeper(c *child, why string) {
	if c.state >= Ending {
		return
	}
	c.fault = why
	m.house.aborted = true
	c.proc.Kill(syscall.SIGABRT)
	m.enter(c, Ending, abortGrace)
}

// houseOverdue is called when the bound of the housekeeper's state has passed.
func (m *master) houseOverdue(c *child) {
	if m.house.aborted && c.state == Ending && !c.exited {
		m.house.aborted = false
		c.proc.Kill(syscall.SIGKILL)
		c.due = m.now().Add(m.bounds.unkilled)
		return
	}
	m.overdue(c)
}

// endedHousekeeper closes a life, and plans the next if one is needed. What ran is lost, and comes again as planned.
func (m *master) endedHousekeeper(c *child) {
	if c.state != Ending {
		m.enter(c, Ending, 0)
	}
	m.enter(c, Ended, 0)
	c.proc.Release()
	h := &m.house
	h.slot.current = nil
	v, how := judge(c)
	h.slot.lastEnd = how
	for _, chore := range h.running() {
		m.choreFailed(h.end(chore.run, "the housekeeper "+how, m.now()), "the housekeeper "+how)
	}
	if m.phase == stopping {
		m.log.Debug("the housekeeper has ended", append(c.fields(), zap.String("how", how))...)
		m.finish()
		return
	}
	m.houseless(v, how, c, h.slot.after(v, c, m.now()))
}

// houseless follows the end of a life, or a start that failed; c is nil then.
func (m *master) houseless(v verdict, how string, c *child, wait time.Duration) {
	h := &m.house
	fields := []zap.Field{zap.String("how", how)}
	if c != nil {
		fields = append(fields, c.fields()...)
	}
	needed := m.config.HasChores() || h.vote != nil && h.vote.needed
	switch {
	case v == asked || !needed:
		m.log.Info("the housekeeper has ended", fields...)
	case m.phase == starting && c != nil && c.failed != nil:
		m.fail(c.failed.Diagnostic)
		return
	case m.phase == starting && v == ownFault:
		m.fail(fmt.Sprintf("%s: the housekeeper could not start: it %s", m.o.Name, how))
		return
	case m.o.Host != nil:
		m.fail(fmt.Sprintf("%s: the single process can serve no longer: its housekeeper %s", m.o.Name, how))
		return
	case v == ownFault:
		m.log.Error("the housekeeper has failed; it is started again", append(fields, zap.Duration("after", wait), zap.Int("faults", h.slot.faults))...)
		if c != nil && c.failed != nil {
			m.log.Error(c.failed.Diagnostic, c.fields()...)
		}
	default:
		m.log.Warn("the housekeeper was ended from outside; its successor starts at once", fields...)
	}
	if v != asked {
		m.emit(EventChildEnded, nil, "the housekeeper "+how)
	}
	if needed {
		h.slot.due = m.now().Add(wait)
	}
	r := m.reloading
	if c == nil || r == nil || r.number == 0 {
		return
	}
	if !r.decided && v == ownFault && (c.preparing == r.number || c.prepared == r.number) {
		m.refuse(r, "the housekeeper "+how+" while it prepared")
		return
	}
	m.finishReload()
}

// HousekeeperStatus is the housekeeper. Times are seconds.
type HousekeeperStatus struct {
	// Pid is 0 while none runs. State is that of a child, or "waiting" between two lives.
	Pid           int     `json:"pid"`
	State         string  `json:"state"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Restarts, Faults and LastEnd are as a child's.
	Restarts uint64 `json:"restarts"`
	Faults   int    `json:"faults"`
	LastEnd  string `json:"last_end,omitempty"`
	// Chores are in the order of the configuration; what a reload has taken away stands behind them until its run ends.
	Chores []ChoreStatus `json:"chores"`
}

// words name it in a sentence; nil: none is there yet.
func (s *HousekeeperStatus) words() string {
	if s == nil {
		return "the housekeeper"
	}
	return "the housekeeper (" + s.State + ")"
}

// ChoreStatus is one chore.
type ChoreStatus struct {
	// Name is module, site, pattern, and the chore's own name.
	Name           string  `json:"name"`
	EverySeconds   float64 `json:"every_seconds"`
	TimeoutSeconds float64 `json:"timeout_seconds"`
	Running        bool    `json:"running"`
	// Runs are those that have ended, Failed those of them that have failed.
	Runs   uint64 `json:"runs"`
	Failed uint64 `json:"failed"`
	// LastStart is the beginning of the last run, LastSeconds how long the last one that has ended took, LastError how it failed; "": it has
	// not.
	LastStart   time.Time `json:"last_start,omitzero"`
	LastSeconds float64   `json:"last_seconds"`
	LastError   string    `json:"last_error,omitempty"`
	// Next is when the next run begins; absent while one goes on.
	Next time.Time `json:"next,omitzero"`
}

// houseStatus is the housekeeper's part of the status; nil when there is none and none is needed.
func (m *master) houseStatus() *HousekeeperStatus {
	h := &m.house
	c := h.slot.current
	if c == nil && !m.config.HasChores() {
		return nil
	}
	s := &HousekeeperStatus{State: StateWaiting, Restarts: h.slot.restarts, Faults: h.slot.faults, LastEnd: h.slot.lastEnd, Chores: []ChoreStatus{}}
	if c != nil {
		s.Pid, s.State, s.UptimeSeconds = c.proc.Pid(), c.state.String(), m.now().Sub(c.born).Seconds()
	}
	for _, c := range h.chores {
		s.Chores = append(s.Chores, ChoreStatus{
			Name: c.name, EverySeconds: c.every.Seconds(), TimeoutSeconds: c.timeout.Seconds(), Running: c.run != 0,
			Runs: c.count, Failed: c.failed, LastStart: c.started, LastSeconds: c.took.Seconds(), LastError: c.fault, Next: c.due,
		})
	}
	return s
}
