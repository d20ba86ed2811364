package master

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// An upgrade, as the process sees it that serves, the predecessor. (succession.go has the other side; executable.go, bequest.go, yield.go and
// depart.go have the steps.)
//
//  1. it waits until nothing else goes on: reloads, scalings, successors of children, the rest of the upgrade before;
//  2. tableflip starts the other executable, the successor, with one end of a channel. The successor claims all that a master holds, and
//     gets duplicates of it (bequeath): nothing has changed yet;
//  3. when the successor is about to let its first child accept, and then all, it asks for the counterparts here to stop: yield. They keep
//     their shards and their connections;
//  4. at the end of probation the control socket is given up: release. The successor says Ready: that is the moment in which the server
//     becomes the successor's;
//  5. the children here drain, and what is idle on them moves to the successor's (handoff.go). With the last of them this process ends.
//
// Whatever goes wrong before 4, up to the death of the successor at any moment, has one consequence: the children here accept again, those of
// the successor, which it has left alone, are called home (recall.go), and everything is as before.

// UpgradeRequest is the body of POST /v1/upgrade.
type UpgradeRequest struct {
	// Wait asks for the news as they come; else the answer comes when it has begun.
	Wait bool `json:"wait"`
	// Binary is the absolute path of the executable to go on with; "": the one that serves, or what stands at its path by now.
	Binary string `json:"binary"`
	// Previous is the absolute path of a copy of the executable that serves now, for a rollback to go back to; "": it goes back to the path
	// of the one that serves, where another file may stand by then.
	Previous string `json:"previous,omitempty"`
	// CanaryMillis and TimeoutMillis replace `upgrade.canary` and `upgrade.timeout`; nil: they stay as configured.
	CanaryMillis  *int64 `json:"canary_millis"`
	TimeoutMillis *int64 `json:"timeout_millis"`
}

// UpgradeProgress is one piece of news of an upgrade.
type UpgradeProgress struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	// Outcome comes with the last one.
	Outcome *Upgrade `json:"outcome,omitempty"`
}

// Upgrade is how an upgrade ended, or how far it is.
type Upgrade struct {
	// At is when it was asked for, By what asked: "SIGUSR2", or "control socket (uid 0, pid 77)".
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Binary is the executable; From and To are the versions, To "" as long as the new one has not said hers.
	Binary string `json:"binary"`
	From   string `json:"from"`
	To     string `json:"to,omitempty"`
	// Stage is waiting, starting, proving, canary, probation, moving, done or failed.
	Stage string `json:"stage"`
	// Done: the new version serves alone. Reason says in one sentence why it does not; "" while it is under way.
	Done   bool   `json:"done"`
	Reason string `json:"reason,omitempty"`
	// Seconds is how long it took, or takes so far.
	Seconds float64 `json:"seconds"`
	// Moved counts the connections that the old version's children have handed over since it was confirmed, Finished the exchanges that they
	// have finished themselves, ClosedByReason the connections that they have closed, by the names of the close reasons.
	Moved          uint64            `json:"moved"`
	Finished       uint64            `json:"finished"`
	ClosedByReason map[string]uint64 `json:"closed_by_reason,omitempty"`
}

// closedByKill stands beside the names of the close reasons, for the connections of a child that was killed or has crashed: they are closed
// by nobody who could count them.
const closedByKill = "killed"

// failures are the reasons in ClosedByReason that are not the client's doing. An answer that ends its connection as the protocol has it is no
// failure, nor is a connection that a handler has taken over.
var failures = []string{
	closedByKill, "handler_timeout", "aborted", "file_changed", "drain", "drain_timeout", "system", "listener_removed", "generation_retired",
}

// Failed counts the connections of the version before that were closed though their clients had done nothing to end them.
func (u *Upgrade) Failed() (n uint64) {
	for _, reason := range failures {
		n += u.ClosedByReason[reason]
	}
	return n
}

// Predecessor is the version before, as long as something of it is left.
type Predecessor struct {
	Version string `json:"version"`
	Pid     int    `json:"pid"`
	// Children are left, with so many connections open and exchanges in flight. Until is when what is left then is ended.
	Children    int       `json:"children"`
	Connections int       `json:"connections"`
	InFlight    int       `json:"in_flight"`
	Until       time.Time `json:"until"`
}

// upgrading is an upgrade that goes on. Owner: the loop.
type upgrading struct {
	outcome Upgrade
	request UpgradeRequest
	kept    previous // what a rollback goes back to
	follow  []func(UpgradeProgress)

	due      time.Time // when it has taken too long
	accepted bool      // it was not refused at once
	obstacle string    // what it waits for, as it was told
	started  bool
	conn     *running // to the successor; nil before the start
	claimed  bool
	pid      int    // of the successor, once it has said it
	sick     string // why it gave up, in its words; or why it was ended
	killed   bool   // by this process

	yields    map[int]bool // slots whose children stop accepting
	listeners []uint32     // those that the successor accepts from
	asked     bool         // a Yielded is owed
	released  bool         // the control socket is the successor's
	confirmed bool
	told      bool              // to stop, since it is confirmed
	left      bool              // the channel has ended
	over      error             // how its process has ended, while the end of the channel is awaited; nil: it has not
	offspring map[int]*os.File  // the successor's children, by their pids
	values    map[string]uint64 // revisions of shared values that the successor has been told

	base      *board.Sums // of all lives at the confirmation
	ended     board.Sums  // of those that have ended since
	cut       uint64      // connections of those of them that did not drain to their end
	toldMoved uint64      // what was said of the connections that have moved
	saidAt    time.Time   // when the successor was last told what is left
}

// previous is the executable that served before this one.
type previous struct {
	path     string
	identity string
	version  string
}

// missing says why there is nothing to go back to; "": there is.
func (p previous) missing() string {
	switch now := identity(p.path); {
	case p.path == "":
		return "there is no version before: this server was not upgraded since its start"
	case now == "":
		return fmt.Sprintf("the executable of the version before, %s, is not on disk any more", p.path)
	case now != p.identity:
		return fmt.Sprintf("the executable of the version before is not on disk any more: %s is another file now; name a copy with `upgrade --binary PATH`", p.path)
	}
	return ""
}

// upgrade puts another image of the program in this process's place. follow, if not nil, is called on the loop with each piece of news; the
// last has the outcome. Owner: the loop.
func (m *master) upgrade(by string, request UpgradeRequest, follow func(UpgradeProgress)) {
	u := &upgrading{request: request, outcome: Upgrade{At: m.now(), By: by, Binary: request.Binary, From: m.o.Version, Stage: control.StageWaiting}}
	if follow != nil {
		u.follow = append(u.follow, follow)
	}
	if u.outcome.Binary == "" {
		u.outcome.Binary = m.o.Executable
	}
	why := m.refusesUpgrade(u)
	if why == "" {
		why = m.keep(u)
	}
	if why != "" {
		m.endUpgrade(u, why)
		return
	}
	m.upgrading, u.accepted = u, true
	u.due = m.now().Add(m.upgradeBound(request))
	m.log.Info("upgrading", zap.String("by", by), zap.String("binary", u.outcome.Binary))
	m.advanceUpgrade()
}

// rollback is upgrade to the executable that served before this one.
func (m *master) rollback(by string, request UpgradeRequest, follow func(UpgradeProgress)) {
	path := m.previous.path
	if why := m.previous.missing(); why != "" {
		u := &upgrading{outcome: Upgrade{At: m.now(), By: by, Binary: path, From: m.o.Version}}
		if follow != nil {
			u.follow = append(u.follow, follow)
		}
		m.endUpgrade(u, why)
		return
	}
	request.Binary = path
	m.upgrade(by, request, follow)
}

// upgradeBound is how long an upgrade may take, up to its confirmation.
func (m *master) upgradeBound(r UpgradeRequest) time.Duration {
	if r.TimeoutMillis != nil {
		return time.Duration(*r.TimeoutMillis) * time.Millisecond
	}
	bound := m.config.Upgrade.Timeout
	if r.CanaryMillis != nil { // the operator wants to look longer than the configuration
		bound += max(0, time.Duration(*r.CanaryMillis)*time.Millisecond-m.config.Upgrade.Canary)
	}
	return bound
}

// tellProgress tells those who follow. Owner: the loop.
func (m *master) tellProgress(u *upgrading, text string) {
	m.log.Info("upgrade: "+text, zap.String("stage", u.outcome.Stage))
	m.emit(EventUpgrade, nil, text)
	for _, follow := range u.follow {
		follow(UpgradeProgress{At: m.now(), Text: text})
	}
}

// waitsFor says what an upgrade has to wait for; "": nothing.
func (m *master) waitsFor() string {
	if p := m.succession; p != nil {
		return fmt.Sprintf("version %s, from before the last upgrade, still drains: %s, until %s at the latest", p.bequest.Version,
			plural(p.predecessor.Connections, "connection", "connections"), p.predecessor.Until.Format(time.TimeOnly))
	}
	if m.reloading != nil || len(m.reloads) > 0 {
		return "a reload goes on"
	}
	if !m.parentGone {
		return "the process before this one ends"
	}
	if m.recalling {
		return "children of an upgrade that was taken back are called home"
	}
	if slices.ContainsFunc(slices.Collect(maps.Keys(m.lives)), func(c *child) bool { return c.state == Serving && m.unaligned(c) }) {
		return "children of an earlier master are brought to the configuration"
	}
	for _, s := range m.slots {
		switch {
		case m.parkedForGood(s):
		case s.retiring:
			return "the shards of children that have left are closed soon"
		case s.heir != nil:
			return fmt.Sprintf("child %d is being replaced", s.index)
		case s.current == nil && s.faults == 0, s.current != nil && s.current.state < Serving:
			return fmt.Sprintf("child %d starts", s.index)
		}
	}
	for _, l := range m.shards.listeners {
		if l.leaving {
			return fmt.Sprintf("listener %q is closed soon", l.name)
		}
	}
	return ""
}

// advanceUpgrade starts an upgrade whose turn has come.
func (m *master) advanceUpgrade() {
	u := m.upgrading
	if u == nil || u.started {
		return
	}
	if obstacle := m.waitsFor(); obstacle != "" {
		kind, _, _ := strings.Cut(obstacle, ":")
		if kind != u.obstacle {
			u.obstacle = kind
			m.tellProgress(u, "waiting: "+obstacle)
		}
		return
	}
	if why := m.startSuccessor(u); why != "" {
		m.takeBack(u, why)
	}
}

// startSuccessor lets tableflip start the other executable.
func (m *master) startSuccessor(u *upgrading) string {
	ours, theirs, err := control.Pair()
	if err != nil {
		return err.Error()
	}
	envelope, err := control.Pass(theirs)
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		return err.Error()
	}
	u.started, u.outcome.Stage, u.offspring, u.values = true, control.StageStarting, map[int]*os.File{}, map[string]uint64{}
	u.due = m.now().Add(m.upgradeBound(u.request))
	m.tellProgress(u, "starting "+u.outcome.Binary)
	u.conn = m.talk(ours, func(event any) { m.hearSuccessor(u, event) })
	go func() {
		err := m.flip.Upgrade(u.outcome.Binary, envelope)
		if err != nil { // the channel's end may still be in the envelope, which tableflip keeps
			if conn, err := control.Passed(envelope); err == nil {
				_ = conn.Close()
			}
		}
		_ = envelope.Close()
		m.do(func() { m.flipped(u, err) })
	}()
	return ""
}

// talk serves a channel to another master: what comes by it goes to hear, on the loop.
func (m *master) talk(conn *control.Conn, hear func(event any)) *running {
	r := &running{conn: conn, outbox: make(chan outgoing, outboxSize), sent: make(chan struct{})}
	r.post = func(event any) {
		if !m.do(func() { hear(event) }) {
			if e, ok := event.(received); ok { // the loop has ended
				closeAll(e.files)
			}
		}
	}
	go r.receive(m.sink.write)
	go r.send()
	return r
}

// hearSuccessor takes what comes by the channel.
func (m *master) hearSuccessor(u *upgrading, event any) {
	if m.upgrading != u {
		if r, ok := event.(received); ok {
			closeAll(r.files)
		}
		return
	}
	switch e := event.(type) {
	case undelivery:
		m.log.Warn("upgrade: the new version cannot be told", zap.Error(e.err))
		m.endSuccessor(u, "it does not read what it is told")
	case silence:
		u.left = true // its process says the rest by its end
		switch {
		case u.confirmed:
			m.finish()
		case u.over != nil:
			m.lostSuccessor(u, u.over)
		}
	case received:
		m.obeySuccessor(u, e.message, e.files)
	}
}

func (m *master) obeySuccessor(u *upgrading, message control.Message, files []*os.File) {
	if e, ok := message.(*control.Offspring); ok && len(files) == 1 {
		if old := u.offspring[e.Pid]; old != nil {
			_ = old.Close()
		}
		if u.offspring == nil { // it is the master
			_ = files[0].Close()
			return
		}
		u.offspring[e.Pid] = files[0]
		return
	}
	closeAll(files) // no other message has any
	switch e := message.(type) {
	case *control.Claim:
		if u.claimed {
			return
		}
		if u.pid = e.Pid; u.sick != "" { // it was to be ended when it could not be found yet
			m.endSuccessor(u, u.sick)
			return
		}
		u.claimed, u.outcome.To = true, e.Version
		u.outcome.Stage = control.StageProving
		m.tellProgress(u, fmt.Sprintf("started: version %s, pid %d", e.Version, e.Pid))
		m.bequeath(u)
	case *control.Progress:
		if !u.confirmed {
			u.outcome.Stage = e.Stage
		}
		m.tellProgress(u, e.Text)
	case *control.Yield:
		m.yield(u, e)
	case *control.Release:
		m.release(u)
	case *control.Sick:
		u.sick = e.Reason
	case *control.Value:
		m.followValue(e, u.values)
	}
}

// release leaves the control socket to the successor, once those are answered who have connected before.
func (m *master) release(u *upgrading) {
	u.released = true
	m.operator.pause()
	go func() {
		m.operator.drain()
		m.do(func() {
			if m.upgrading == u {
				u.conn.Send(&control.Released{Reload: len(m.reloads) > 0})
			}
		})
	}()
}

// endSuccessor ends the new process; what follows comes with the news of its end.
func (m *master) endSuccessor(u *upgrading, why string) {
	if u.confirmed {
		return
	}
	how := syscall.SIGKILL
	if u.sick == "" {
		u.sick = why
		if m.phase == stopping && u.released { // it may be the master by now: then it stops like one, and its children end
			how, u.due = syscall.SIGTERM, m.now().Add(m.bounds.answer)
		}
	}
	pid := u.pid
	if pid == 0 {
		pid = successorPid(m)
	}
	if pid > 0 {
		u.killed = u.killed || how == syscall.SIGKILL
		_ = unix.Kill(pid, how) // our child, which nobody but tableflip waits for, and that only when it has ended
	}
}

// successorPid finds the process that tableflip has started and that has not said anything yet; 0: there is none.
func successorPid(m *master) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, after, found := strings.Cut(string(text), ") ")
		if fields := strings.Fields(after); err != nil || !found || len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && slices.ContainsFunc(strings.Split(string(env), "\x00"), func(v string) bool { return strings.HasPrefix(v, envHasParent+"=") }) {
			return pid
		}
	}
	return 0
}

// checkUpgrade ends an upgrade that takes too long, tells the successor what is left, and says when it has to be called again.
func (m *master) checkUpgrade(now time.Time) (next time.Time) {
	u := m.upgrading
	switch {
	case u == nil:
		return time.Time{}
	case u.confirmed:
		if at := u.saidAt.Add(leavingEvery); at.After(now) {
			return at
		}
		u.saidAt = now
		m.tellMoved(u)
		m.tellLeaving(u)
		return now.Add(leavingEvery)
	case u.due.After(now):
		return u.due
	}
	if u.over != nil { // something else holds the other end of its channel
		m.lostSuccessor(u, u.over)
		return time.Time{}
	}
	bound := m.upgradeBound(u.request)
	if !u.started {
		m.takeBack(u, fmt.Sprintf("its turn has not come within %v: %s", bound, m.waitsFor()))
		return time.Time{}
	}
	u.due = now.Add(m.bounds.unkilled)
	m.endSuccessor(u, fmt.Sprintf("the new version was not ready within upgrade.timeout, %v; it was %s", bound, stageText(u.outcome.Stage)))
	return u.due
}

func stageText(stage string) string {
	switch stage {
	case control.StageStarting:
		return "starting, and had not even claimed the server's sockets"
	case control.StageProving:
		return "starting its children"
	}
	return "in its " + stage
}

// flipped takes tableflip's word: the successor is ready, or has ended without.
func (m *master) flipped(u *upgrading, err error) {
	if err == nil && u.killed {
		err = errors.New("it was killed when it had just become ready") // so nobody else is the master
	}
	switch {
	case m.upgrading != u:
	case err == nil:
		m.depart(u)
	case !u.left: // its last words may still be in the channel
		u.over, u.due = err, m.now().Add(m.bounds.lastWords)
	default:
		m.lostSuccessor(u, err)
	}
}

// lostSuccessor follows the end of the successor's process.
func (m *master) lostSuccessor(u *upgrading, err error) {
	if u.sick != "" {
		m.takeBack(u, u.sick)
		return
	}
	m.takeBack(u, flipFault(err))
}

// flipFault says in the operator's words what tableflip reports.
func flipFault(err error) string {
	text := err.Error()
	if _, how, found := strings.Cut(text, "fork/exec: "); found {
		return "the executable cannot be started: " + how
	}
	if _, how, found := strings.Cut(text, " exited"); found {
		if how == "" {
			how = ": exit status 0"
		}
		return "the new version has ended before it was ready" + how + "; its own words are on the server's standard error"
	}
	return text
}

// takeBack ends an upgrade that has not come about: everything goes on as before.
func (m *master) takeBack(u *upgrading, reason string) {
	if u.conn != nil {
		u.conn.Release()
	}
	if u.released {
		m.operator.resume()
	}
	m.upgrading = nil
	m.acceptAgain()
	end := func() {
		m.endOffspring(u)
		m.endUpgrade(u, reason)
		m.nextReload()
		m.finish()
	}
	if !u.claimed { // it has no children
		end()
		return
	}
	const why = "the new version is taken back"
	m.recall(why, func(silent int) {
		if silent == 0 {
			end()
			return
		}
		m.recall(why, func(int) { end() }) // on a busy machine they may only be late: who is silent twice hangs, and is ended
	})
}

// endOffspring ends those of the successor's children that could not be called home: they have never served, and end by themselves if they
// can, or they hang.
func (m *master) endOffspring(u *upgrading) {
	home := map[int]bool{}
	for c := range m.lives {
		home[c.proc.Pid()] = true
	}
	for pid, pidfd := range u.offspring {
		if !home[pid] {
			if raw, err := pidfd.SyscallConn(); err == nil {
				_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }) // it may have ended
			}
		}
		_ = pidfd.Close()
	}
	u.offspring = nil
}

// endUpgrade tells everybody how an upgrade that has not come about has ended.
func (m *master) endUpgrade(u *upgrading, why string) {
	u.outcome.Stage, u.outcome.Reason = control.StageFailed, why
	u.outcome.Seconds = m.now().Sub(u.outcome.At).Seconds()
	outcome := u.outcome
	if u.accepted { // of one that was refused at once, who asked has been told
		m.lastUpgrade = &outcome
	}
	m.log.Error("the upgrade has not come about", zap.String("reason", why), zap.String("binary", u.outcome.Binary))
	m.emit(EventUpgradeFailed, nil, why)
	for _, follow := range u.follow {
		follow(UpgradeProgress{At: m.now(), Text: "failed: " + why, Outcome: &outcome})
	}
}

// beingReplaced reports whether another process takes this master's place: it has claimed what there is now, or will in a moment, and nothing
// of that may change.
func (m *master) beingReplaced() bool { return m.upgrading != nil && m.upgrading.started }
