package master

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// attempt is an upgrade that a test has asked for.
type attempt struct {
	mu      sync.Mutex
	texts   []string
	outcome chan Upgrade
}

func (a *attempt) follow(p UpgradeProgress) {
	a.mu.Lock()
	a.texts = append(a.texts, p.Text)
	a.mu.Unlock()
	if p.Outcome != nil {
		a.outcome <- *p.Outcome
	}
}

// has reports whether a line of progress contains a text.
func (a *attempt) has(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.texts, func(line string) bool { return strings.Contains(line, text) })
}

func (a *attempt) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.texts, "\n")
}

// asks begins an upgrade.
func (r *reign) asks(request UpgradeRequest) *attempt {
	a := &attempt{outcome: make(chan Upgrade, 2)}
	r.do(func() { r.m.upgrade("test", request, a.follow) })
	return a
}

// ended waits for the outcome.
func (l *lineage) ended(a *attempt) Upgrade {
	l.t.Helper()
	var outcome Upgrade
	l.await("the end of the upgrade", func() bool {
		select {
		case outcome = <-a.outcome:
			return true
		default:
			return false
		}
	})
	return outcome
}

// latest is the master that was started last.
func (l *lineage) latest() *reign {
	all := l.all()
	return all[len(all)-1]
}

// settled waits until a master serves alone, with all its children.
func (l *lineage) settled(r *reign, children int) {
	l.t.Helper()
	l.await(r.version+" serves alone", func() bool {
		return r.is(func(m *master) bool {
			return m.phase == serving && m.succession == nil && m.upgrading == nil && m.waitsFor() == "" && len(m.lives) == children && m.parentGone
		})
	})
	l.await("all children accept, and those of "+r.version+" alone", func() bool {
		lives := l.lives(nil)
		return len(lives) == children && !slices.ContainsFunc(lives, func(c *fakeLife) bool { return c.born != r || !c.serving() })
	})
	s, err := NewClient(r.m.runtime.control).Status(l.t.Context())
	if err != nil || s.Version != r.version {
		l.t.Errorf("the control socket: %v, %v", s, err)
	}
}

// upgraded upgrades a master, and waits until its successor serves alone.
func (l *lineage) upgraded(r *reign, children int) (*reign, *attempt) {
	l.t.Helper()
	a := r.asks(UpgradeRequest{})
	if outcome := l.ended(a); !outcome.Done {
		l.t.Fatalf("%+v\n%s", outcome, a)
	}
	<-r.gone
	next := l.latest()
	l.settled(next, children)
	return next, a
}

// failed waits for an upgrade that has to fail, with words of the reason.
func (l *lineage) failed(a *attempt, words ...string) {
	l.t.Helper()
	outcome := l.ended(a)
	if outcome.Done || outcome.Stage != control.StageFailed {
		l.t.Fatalf("%+v\n%s", outcome, a)
	}
	contains(l.t, outcome.Reason, words...)
}

// goesOn expects that a master serves as before after an upgrade that has failed, and can be upgraded.
func (l *lineage) goesOn(r *reign, children int) *reign {
	l.t.Helper()
	l.settled(r, children)
	next, _ := l.upgraded(r, children)
	return next
}

// at calls f once, at a step.
func (l *lineage) at(up bool, kind control.Kind, number int, after bool, f func(relayStep)) {
	l.watch(func(s relayStep) {
		if s.up == up && s.kind == kind && s.number == number && s.after == after {
			f(s)
		}
	})
}

// The whole way: everything that the first master has goes on in the second, and somebody answers on the control socket at any time.
func TestUpgrade(t *testing.T) {
	l, first := newLineage(t, 2)
	first.do(func() { first.m.o.Shared.Named("color").Advance("green") })
	l.await("the children have the value", func() bool {
		return !slices.ContainsFunc(l.lives(first), func(c *fakeLife) bool { return c.is(func() bool { return c.color.Revision == 0 }) })
	})
	l.child(first, 0).counters().Set(board.WordConnections, 3)

	var order []string // of what the children and the masters do
	var mu sync.Mutex
	note := func(format string, args ...any) {
		mu.Lock()
		order = append(order, fmt.Sprintf(format, args...))
		mu.Unlock()
	}
	l.command(func(c *fakeLife, m control.Message) bool {
		if k := m.Kind(); k == control.KindAccept || k == control.KindPause || k == control.KindDrain {
			note("%s %s %d", c.born.version, k, c.index)
		}
		return true
	})
	l.watch(func(s relayStep) {
		if s.after && (s.kind == control.KindRelease || s.kind == control.KindReleased) {
			note("%s", s.kind)
		}
	})
	answers := make(chan []Status, 1)
	stop := make(chan struct{})
	go func() {
		var all []Status
		defer func() { answers <- all }()
		for {
			s, err := NewClient(first.m.runtime.control).Status(t.Context())
			if err != nil {
				t.Errorf("the control socket: %v", err)
				return
			}
			all = append(all, *s)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	second, a := l.upgraded(first, 2)
	close(stop)
	var versions []string
	var finished uint64
	for _, s := range <-answers {
		versions = append(versions, s.Version)
		if s.Totals.Finished < finished {
			t.Errorf("the sum falls from %d to %d", finished, s.Totals.Finished)
		}
		finished = s.Totals.Finished
	}
	if !slices.IsSorted(versions) || versions[0] != "v1" {
		t.Errorf("answered by %v", versions)
	}
	after := -1
	for _, want := range []string{"started: version v2, pid ", "claimed 2 shards", "proved", "proved", "taking over: 2 children accept; probation for 0s",
		"probation 0s: ", "confirmed: ", "3 connections moved"} {
		i := slices.IndexFunc(a.texts[after+1:], func(text string) bool { return strings.Contains(text, want) })
		if i < 0 {
			t.Fatalf("%q is not in its place in:\n%s", want, a)
		}
		after += i + 1
	}
	at := func(text string) int {
		i := slices.Index(order, text)
		if i < 0 {
			t.Fatalf("no %q in %v", text, order)
		}
		return i
	}
	for _, pair := range [][2]string{{"v2 accept 0", "v1 pause 0"}, {"v1 pause 0", "v2 accept 1"}, {"v2 accept 1", "v1 pause 1"}, {"v1 pause 1", "release"},
		{"release", "released"}, {"released", "v1 drain 0"}, {"released", "v1 drain 1"}} {
		if at(pair[0]) > at(pair[1]) {
			t.Errorf("%q after %q: %v", pair[0], pair[1], order)
		}
	}
	l.counted(second, 4)
	second.do(func() {
		m := second.m
		if text, revision := m.o.Shared.Named("color").Reading(); text != "green" || revision != 1 {
			t.Errorf("the value is %q, revision %d", text, revision)
		}
		if m.generation != 2 || m.shards.lastID != 1 || m.runtime.inherited || m.previous.version != "v1" {
			t.Errorf("generation %d, listener %d, inherited %v, %+v", m.generation, m.shards.lastID, m.runtime.inherited, m.previous)
		}
		if u := m.lastUpgrade; u == nil || !u.Done || u.From != "v1" || u.To != "v2" || u.Moved != 3 {
			t.Errorf("last upgrade %+v", u)
		}
	})
	l.upgraded(second, 2)
}

func TestUpgradeStatus(t *testing.T) {
	l, first := newLineage(t, 1)
	l.lasting.Store(true)
	l.child(first, 0).counters().Set(board.WordConnections, 7)
	l.reconfigure(`canary    = "0s"`, `canary    = "5s"`)
	a := first.asks(UpgradeRequest{})
	l.await("the canary", func() bool { return a.has("canary: child 0 serves") })
	first.do(func() {
		if now, _, before := first.m.upgradeStatus(); now == nil || now.Stage != control.StageCanary || now.To != "v2" || before != nil {
			t.Errorf("%+v, %+v", now, before)
		}
	})
	l.pass(5 * time.Second)
	second := l.latest()
	l.await("what is left is told", func() bool {
		return second.is(func(m *master) bool {
			now, _, before := m.upgradeStatus()
			return now != nil && now.Stage == control.StageMoving && before != nil && before.Version == "v1" && before.Connections == 7 && before.Children == 1
		})
	})
	l.lasting.Store(false)
	for _, c := range l.lives(first) {
		c.dies(syscall.SIGKILL)
	}
	// They were killed with what they had.
	if outcome := l.ended(a); !outcome.Done || outcome.ClosedByReason[closedByKill] != 7 || outcome.Failed() != 7 {
		t.Errorf("%+v", outcome)
	}
	l.settled(second, 1)
}

// Failed counts what the client has not done, by names that there are.
func TestFailedConnections(t *testing.T) {
	all := map[string]uint64{closedByKill: 1}
	for _, name := range board.CloseReasons {
		all[name] = 1
	}
	for _, name := range failures {
		if all[name] == 0 {
			t.Errorf("there is no reason %q", name)
		}
	}
	if u := (Upgrade{ClosedByReason: all}); u.Failed() != uint64(len(failures)) {
		t.Errorf("%d of %d", u.Failed(), len(failures))
	}
	if u := (Upgrade{ClosedByReason: map[string]uint64{"client_gone": 3, "idle_timeout": 2, "answered": 1, "drain_timeout": 4, "moved": 5}}); u.Failed() != 4 {
		t.Errorf("%d", u.Failed())
	}
}

// What cannot be executed is refused at once.
func TestUpgradeRefusesBinaries(t *testing.T) {
	l, first := newLineage(t, 1)
	file := func(name string, mode os.FileMode, content []byte) string {
		path := filepath.Join(l.dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	image := make([]byte, 64) // the head of an executable of no machine that there is
	copy(image, "\x7fELF\x02\x01\x01")
	image[16], image[18], image[20], image[52] = 2, 0x16, 1, 64
	for path, words := range map[string]string{
		"server":                          "must be an absolute path",
		filepath.Join(l.dir, "none"):      "does not exist",
		l.dir:                             "is a directory",
		file("plain", 0o644, []byte("x")): "is not executable",
		file("empty", 0o755, nil):         "is empty",
		file("foreign", 0o755, image):     "another kind of machine",
	} {
		l.failed(first.asks(UpgradeRequest{Binary: path}), words)
	}
	l.broken = errors.New("can't start child: can't start process x: fork/exec: text file busy")
	l.failed(first.asks(UpgradeRequest{}), "cannot be started: text file busy")
	l.broken = nil
	l.goesOn(first, 1)
}

// A configuration that the successor cannot serve is refused before anything has changed.
func TestUpgradeRefusesConfigurations(t *testing.T) {
	l, first := newLineage(t, 1)
	good, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	for text, words := range map[string]string{
		strings.Replace(string(good), "site", "nonsense", 1):            "the new version refuses the configuration: ",
		strings.Replace(string(good), "control.sock", "other.sock", 1):  "`control` is ",
		string(good) + "listen \"far\" { address = \"192.0.2.1:1\" }\n": "this machine does not have the address",
	} {
		l.configure(text)
		l.failed(first.asks(UpgradeRequest{}), words)
	}
	l.configure(string(good))
	l.goesOn(first, 1)
}

// A successor that stands still, wherever it is, is killed at the end of upgrade.timeout.
func TestUpgradeTimeout(t *testing.T) {
	t.Run("before it has claimed anything", func(t *testing.T) {
		l, first := newLineage(t, 1)
		l.mute.Store(true)
		a := first.asks(UpgradeRequest{})
		l.await("the start", func() bool { return len(l.all()) == 2 && successorPid(first.m) != 0 })
		l.pass(40 * time.Second)
		l.failed(a, "not ready within upgrade.timeout, 40s; it was starting, and had not even claimed")
		l.mute.Store(false)
		l.goesOn(first, 1)
	})
	for _, at := range []struct {
		kind   control.Kind
		number int
		words  string
	}{
		{control.KindProgress, 1, "starting its children"}, {control.KindYield, 1, "starting its children"}, {control.KindYield, 2, "starting its children"}, {control.KindRelease, 1, "in its probation"},
	} {
		t.Run(fmt.Sprintf("before %s %d", at.kind, at.number), func(t *testing.T) {
			l, first := newLineage(t, 1)
			held := make(chan struct{})
			l.at(true, at.kind, at.number, false, func(s relayStep) {
				close(held)
				<-s.from.gone
			})
			a := first.asks(UpgradeRequest{})
			<-held
			first.do(func() { first.m.now = func() time.Time { return l.now().Add(40 * time.Second) } }) // the successor's clock stands still too
			first.do(func() {})
			l.failed(a, "not ready within upgrade.timeout, 40s; it was "+at.words)
			first.do(func() { first.m.now = l.now })
			l.watch(nil)
			l.goesOn(first, 1)
		})
	}
}

// A child of the successor that dies or hangs before the upgrade is confirmed takes it back.
func TestUpgradeWithSickChild(t *testing.T) {
	for _, order := range []control.Kind{control.KindBoard, control.KindPrepare, control.KindCommit, control.KindLend, control.KindInject, control.KindAccept} {
		for _, index := range []int{0, 1} {
			t.Run(fmt.Sprintf("child %d at %s", index, order), func(t *testing.T) {
				t.Parallel()
				l, first := newLineage(t, 2)
				var once sync.Once
				l.command(func(c *fakeLife, m control.Message) bool {
					if c.born != first && c.index == index && m.Kind() == order {
						once.Do(func() { go c.dies(syscall.SIGSEGV) })
						return false
					}
					return true
				})
				a := first.asks(UpgradeRequest{})
				l.failed(a, fmt.Sprintf("child %d of the new version", index))
				l.command(nil)
				l.goesOn(first, 2)
			})
		}
	}
}

// The gates of canary and probation.
func TestUpgradeGates(t *testing.T) {
	for _, stage := range []string{"canary", "probation"} {
		t.Run(stage, func(t *testing.T) {
			l, first := newLineage(t, 2)
			l.reconfigure(fmt.Sprintf("%-9s = \"0s\"", stage), fmt.Sprintf("%-9s = \"10s\"", stage))
			a := first.asks(UpgradeRequest{})
			begun := map[string]string{"canary": "canary: child 0 serves", "probation": "probation for 10s"}[stage]
			l.await(begun, func() bool { return a.has(begun) })
			life := l.child(l.latest(), 0).counters()
			life.Set(board.WordServerErrors, 100)
			life.Set(board.WordFinished, 110)
			l.pass(gateEvery)
			l.failed(a, "the "+stage+" has found: the new version has answered 100 of 100 requests with a server error")
			l.reconfigure("10s", "0s")
			l.goesOn(first, 2)
		})
	}
}

// A child of the predecessor that dies while it has yielded gets a successor that does not accept before the upgrade is taken back.
func TestChildDiesWhilePaused(t *testing.T) {
	l, first := newLineage(t, 2)
	l.reconfigure(`canary    = "0s"`, `canary    = "10s"`)
	a := first.asks(UpgradeRequest{})
	l.await("the canary", func() bool { return a.has("canary: child 0 serves") })
	paused := l.child(first, 0)
	l.await("child 0 has paused", func() bool { return paused.is(func() bool { return paused.paused }) })
	paused.dies(syscall.SIGKILL)
	l.await("its successor is proved", func() bool {
		return first.is(func(m *master) bool {
			c := m.slots[0].current
			return c != nil && c.state == Proved && m.slots[0].keeper == nil
		})
	})
	if l.child(first, 0).serving() {
		t.Error("it accepts")
	}
	_ = l.latest().anchor.Kill()
	l.failed(a, "the new version has ended before it was ready")
	l.reconfigure("10s", "0s")
	l.goesOn(first, 2)
}

// Who is stopped in an upgrade stops; the other one serves.
func TestStopInAnUpgrade(t *testing.T) {
	for _, step := range recorded(t, 1) {
		if !step.after || step.kind == control.KindFarewell {
			continue
		}
		t.Run("predecessor "+step.String(), func(t *testing.T) {
			t.Parallel()
			l, first := newLineage(t, 1)
			l.at(step.up, step.kind, step.number, true, func(relayStep) { first.signals <- syscall.SIGTERM })
			a := first.asks(UpgradeRequest{})
			outcome := l.ended(a)
			<-first.gone
			next := l.latest()
			if outcome.Done && !strings.Contains(first.log.String(), `"msg":"stopping","fast":false`) { // too late: it was leaving already
				l.settled(next, 1)
				return
			}
			<-next.gone
			if lives := l.lives(nil); len(lives) > 0 || first.code != exitOK {
				t.Errorf("%v are left; exit code %d", lives, first.code)
			}
			if _, err := os.Lstat(first.m.runtime.control); err == nil {
				t.Error("the control socket is left")
			}
		})
		if step.kind == control.KindClaim || step.kind == control.KindBequest {
			continue // its loop does not run yet
		}
		t.Run("successor "+step.String(), func(t *testing.T) {
			t.Parallel()
			l, first := newLineage(t, 1)
			l.at(step.up, step.kind, step.number, true, func(relayStep) { l.latest().signals <- syscall.SIGTERM })
			a := first.asks(UpgradeRequest{})
			outcome := l.ended(a)
			next := l.latest()
			if !outcome.Done {
				contains(t, outcome.Reason, "it was told to stop")
				l.watch(nil)
				l.goesOn(first, 1)
				return
			}
			<-next.gone
			<-first.gone
			if lives := l.lives(nil); len(lives) > 0 || next.code != exitOK {
				t.Errorf("%v are left; exit code %d", lives, next.code)
			}
		})
	}
}

// One upgrade at a time, and none before the version before the last one has gone.
func TestUpgradeWaits(t *testing.T) {
	l, first := newLineage(t, 1)
	l.lasting.Store(true)
	held := make(chan struct{})
	l.at(true, control.KindRelease, 1, false, func(relayStep) { <-held })
	a := first.asks(UpgradeRequest{})
	l.await("the probation", func() bool { return a.has("probation 0s") || a.has("taking over") })
	l.failed(first.asks(UpgradeRequest{}), "an upgrade to", "is under way already")
	close(held)
	second := l.latest()
	l.await("the second serves", func() bool { return second.is(func(m *master) bool { return m.phase == serving }) })
	b := second.asks(UpgradeRequest{})
	l.await("it waits", func() bool { return b.has("waiting: version v1, from before the last upgrade, still drains") })
	second.do(func() { second.m.now = func() time.Time { return l.now().Add(41 * time.Second) } })
	second.do(func() {})
	l.failed(b, "its turn has not come within 40s", "still drains")
	second.do(func() { second.m.now = l.now })
	c := second.asks(UpgradeRequest{})
	l.await("it waits again", func() bool { return c.has("waiting: ") })
	l.lasting.Store(false)
	for _, c := range l.lives(first) {
		c.dies(syscall.SIGKILL)
	}
	for _, a := range []*attempt{a, c} {
		if outcome := l.ended(a); !outcome.Done {
			t.Errorf("%+v", outcome)
		}
	}
	l.settled(l.latest(), 1)
}

func TestRollback(t *testing.T) {
	l, first := newLineage(t, 1)
	rollback := func(r *reign) *attempt {
		a := &attempt{outcome: make(chan Upgrade, 2)}
		r.do(func() { r.m.rollback("test", UpgradeRequest{}, a.follow) })
		return a
	}
	l.failed(rollback(first), "there is no version before")
	second, _ := l.upgraded(first, 1)
	good := second.m.previous
	for path, words := range map[string]string{filepath.Join(l.dir, "gone"): "is not on disk any more", l.path: "is another file now"} {
		second.do(func() { second.m.previous.path = path })
		l.failed(rollback(second), words)
	}
	second.do(func() { second.m.previous = good })
	if outcome := l.ended(rollback(second)); !outcome.Done || outcome.Binary != l.binary {
		t.Errorf("%+v", outcome)
	}
	l.settled(l.latest(), 1)
}

// Who replaces the executable keeps a copy of it: a rollback goes back to that, as long as it is the same.
func TestRollbackToACopy(t *testing.T) {
	l, first := newLineage(t, 1)
	kept, other, bare := filepath.Join(l.dir, "kept"), filepath.Join(l.dir, "other"), filepath.Join(l.dir, "bare")
	image, err := os.ReadFile(ownImage)
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{kept: 0o755, other: 0o755, bare: 0o644} {
		if path == other {
			image[len(image)/2]++
		}
		if err := os.WriteFile(path, image, mode); err != nil {
			t.Fatal(err)
		}
		if path == other {
			image[len(image)/2]--
		}
	}
	short := filepath.Join(l.dir, "short")
	if err := os.WriteFile(short, image[:len(image)-1], 0o755); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{
		other: "other is no copy of the executable that serves", short: "short is no copy of the executable that serves",
		bare: "could not go back to the copy of this version: " + bare + " is not executable", l.dir: "is a directory",
	} {
		l.failed(first.asks(UpgradeRequest{Previous: path}), words)
	}
	rollsBackTo := func(r *reign, version string) {
		t.Helper()
		if s, err := NewClient(r.m.runtime.control).Status(t.Context()); err != nil || s.Rollback != version {
			t.Errorf("a rollback goes to %q, not %q; %v", s.Rollback, version, err)
		}
	}
	rollsBackTo(first, "")
	if outcome := l.ended(first.asks(UpgradeRequest{Previous: kept})); !outcome.Done {
		t.Fatalf("%+v", outcome)
	}
	second := l.latest()
	l.settled(second, 1)
	rollsBackTo(second, "v1")
	a := &attempt{outcome: make(chan Upgrade, 2)}
	if err := os.Rename(kept, kept+".away"); err != nil {
		t.Fatal(err)
	}
	rollsBackTo(second, "")
	second.do(func() { second.m.rollback("test", UpgradeRequest{}, a.follow) })
	l.failed(a, kept+", is not on disk any more")
	if err := os.Rename(kept+".away", kept); err != nil {
		t.Fatal(err)
	}
	second.do(func() { second.m.rollback("test", UpgradeRequest{}, a.follow) })
	if outcome := l.ended(a); !outcome.Done || outcome.Binary != kept {
		t.Errorf("%+v", outcome)
	}
	third := l.latest()
	l.settled(third, 1)
	rollsBackTo(third, "v2")
}

// What is asked for meanwhile is done by whoever is the master then: another number of children, and a reload.
func TestReloadAndScaleInAnUpgrade(t *testing.T) {
	l, first := newLineage(t, 2)
	l.reconfigure("children = 2", "children = 3")
	held := make(chan struct{})
	l.at(true, control.KindYield, 1, true, func(relayStep) { <-held })
	a := first.asks(UpgradeRequest{})
	l.await("the proof", func() bool { return a.has("child 1 proved") })
	outcome := make(chan *Reload, 1)
	first.do(func() { first.m.reload("test", func(r *Reload) { outcome <- r }) })
	close(held)
	if outcome := l.ended(a); !outcome.Done {
		t.Fatalf("%+v", outcome)
	}
	if r := <-outcome; r.Committed {
		t.Errorf("%+v", r)
	}
	second := l.latest()
	l.settled(second, 3)
	l.await("the reload", func() bool {
		return second.is(func(m *master) bool { return m.lastReload != nil && m.lastReload.Committed })
	})
	l.upgraded(second, 3)
}
