package master

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// withChores gives a configuration a route with the block of a module that has chores.
func withChores(t *testing.T, c *configs.Config) {
	t.Helper()
	block, err := configs.NewBlock(configs.BlockSpec{Name: "sweeper", Chores: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Sites = []configs.Site{{Name: "main", Routes: []configs.Route{{Pattern: "/", Module: "sweeper", Block: block}}}}
}

func withoutChores(c *configs.Config) { c.Sites = nil }

// keptFleet is a fleet of one child whose configuration has chores, and whose housekeeper is started.
func keptFleet(t *testing.T) *fleet {
	t.Helper()
	f := newFleet(t, 1)
	withChores(t, f.config)
	f.initHouse(f.clock)
	f.tick()
	return f
}

// housekeepers are the lives of the housekeeper, in order.
func (f *fleet) housekeepers() (lives []*child) {
	for _, c := range f.started {
		if c.housekeeper() {
			lives = append(lives, c)
		}
	}
	return lives
}

// greets lets a housekeeper say hello.
func (f *fleet) greets(c *child) {
	f.t.Helper()
	f.says(c, &control.Hello{Pid: c.proc.Pid(), Child: control.Housekeeper})
}

// offers lets a housekeeper answer prepare with chores.
func (f *fleet) offers(c *child, chores ...control.Chore) {
	f.t.Helper()
	f.says(c, &control.Prepared{Generation: c.preparing, Digest: c.expected, Chores: chores})
}

// keeps brings a housekeeper to serve with chores.
func (f *fleet) keeps(c *child, chores ...control.Chore) {
	f.t.Helper()
	f.greets(c)
	f.offers(c, chores...)
	f.commits(c)
	if c.state != Serving {
		f.t.Fatalf("the housekeeper is %s", c.state)
	}
}

// servingHouse is a fleet that serves, with a housekeeper that has these chores.
func servingHouse(t *testing.T, chores ...control.Chore) (*fleet, *child) {
	t.Helper()
	f := keptFleet(t)
	f.keeps(f.last(control.Housekeeper), chores...)
	f.brings(f.last(0), Serving)
	if f.phase != serving {
		t.Fatal(f.phase)
	}
	return f, f.last(control.Housekeeper)
}

// performs are the runs that a housekeeper was asked for.
func performs(c *child) (runs []control.Perform) {
	for _, m := range proc(c).sent {
		if p, ok := m.(*control.Perform); ok {
			runs = append(runs, *p)
		}
	}
	return runs
}

// A start is all or nothing: nobody accepts before the housekeeper has its generation.
func TestStartWaitsForTheHousekeeper(t *testing.T) {
	f := keptFleet(t)
	h, c := f.last(control.Housekeeper), f.last(0)
	f.brings(c, Proved)
	f.greets(h)
	f.offers(h)
	if c.state != Proved || f.phase != starting {
		t.Fatalf("child is %s, server %s", c.state, f.phase)
	}
	f.commits(h)
	if c.state != Admitting {
		t.Fatalf("child is %s", c.state)
	}
	f.says(c, &control.Accepting{})
	if f.phase != serving {
		t.Fatal(f.phase)
	}
	if kinds := proc(h).sentKinds(); !slices.Equal(kinds, []control.Kind{control.KindBoard, control.KindPrepare, control.KindCommit}) {
		t.Errorf("sent %v", kinds)
	}
	if p := proc(h).sent[1].(*control.Prepare); p.Generation != 1 || p.Digest != f.config.Digest || p.Files != nil || p.Listeners != nil {
		t.Errorf("%+v", p)
	}
}

func TestStartFailsWithTheHousekeeper(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(f *fleet, h *child)
		want string
	}{
		"its module refuses": {func(f *fleet, h *child) {
			f.greets(h)
			f.says(h, &control.Failed{Generation: 1, Diagnostic: "a.hcl:3:5: no such database"})
			f.ends(h, bySignal(syscall.SIGKILL))
		}, "a.hcl:3:5: no such database"},
		"it crashes":              {func(f *fleet, h *child) { f.ends(h, byExit(2)) }, "the housekeeper could not start: it exited with status 2"},
		"it says nothing":         {func(f *fleet, h *child) { f.after(f.bounds.answer); f.ends(h, bySignal(syscall.SIGKILL)) }, "it was starting for 10s"},
		"it is of another binary": {func(f *fleet, h *child) { f.says(h, &control.Hello{Child: 3}); f.ends(h, bySignal(syscall.SIGKILL)) }, "it says that it is 3"},
		"it resolves another": {func(f *fleet, h *child) {
			f.greets(h)
			f.says(h, &control.Prepared{Generation: 1, Digest: "other"})
			f.ends(h, bySignal(syscall.SIGKILL))
		}, "it resolved another configuration"},
		"its chores make no sense": {func(f *fleet, h *child) {
			f.greets(h)
			f.offers(h, control.Chore{Name: "a", EveryMillis: 1 << 62, TimeoutMillis: 1})
			f.ends(h, bySignal(syscall.SIGKILL))
		}, `the times of its chore "a" make no sense`},
	} {
		t.Run(name, func(t *testing.T) {
			f := keptFleet(t)
			f.brings(f.last(0), Proved)
			c.end(f, f.last(control.Housekeeper))
			if f.phase != stopping || !strings.Contains(f.failure, c.want) {
				t.Errorf("%s, %q", f.phase, f.failure)
			}
		})
	}
}

func TestNoHousekeeperWithoutChores(t *testing.T) {
	f := serving3(t)
	f.initHouse(f.clock)
	f.after(time.Hour)
	if n := len(f.housekeepers()); n != 0 || f.houseStatus() != nil {
		t.Errorf("%d housekeepers, %+v", n, f.houseStatus())
	}
}

// One run at a time, an interval after the end of the one before; a failure is told, and changes nothing about that.
func TestChoresArePerformed(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a", "b")...)
	f.after(20 * time.Second)
	runs := performs(h)
	if len(runs) != 2 || runs[0] != (control.Perform{ID: 1, Chore: "a"}) || runs[1] != (control.Perform{ID: 2, Chore: "b"}) {
		t.Fatalf("%+v", runs)
	}
	f.after(time.Second)
	f.says(h, &control.Performed{ID: 1}, &control.Performed{ID: 2, Error: "disk full"})
	if !f.logged("a chore has failed") || !f.logged("disk full") {
		t.Error("the failure is not logged")
	}
	f.after(159 * time.Second)
	if n := len(performs(h)); n != 2 {
		t.Fatalf("%d runs", n)
	}
	s := f.houseStatus()
	if s.State != "serving" || s.Pid != h.proc.Pid() || len(s.Chores) != 2 {
		t.Fatalf("%+v", s)
	}
	if b := s.Chores[1]; b.Name != "b" || b.Running || b.Runs != 1 || b.Failed != 1 || b.LastError != "disk full" || b.LastSeconds != 1 ||
		!b.Next.Equal(f.clock.Add(time.Second)) || b.EverySeconds != 160 {
		t.Errorf("%+v", b)
	}
	f.after(time.Second)
	if runs = performs(h); len(runs) != 4 || runs[3] != (control.Perform{ID: 4, Chore: "b"}) {
		t.Fatalf("%+v", runs)
	}
	// What it was not asked for is a fault.
	f.says(h, &control.Performed{ID: 77})
	if h.state != Ending || !strings.Contains(h.fault, "run 77") {
		t.Errorf("%s %q", h.state, h.fault)
	}
}

// A run that does not return ends its process: by SIGABRT, then by SIGKILL. Its successor goes on by the plan.
func TestHangingChoreIsEnded(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a")...)
	f.after(20 * time.Second)
	f.after(time.Second + choreGrace - 1)
	if h.state != Serving {
		t.Fatal("ended early")
	}
	f.after(1)
	if h.state != Ending || !slices.Equal(proc(h).killed, []syscall.Signal{syscall.SIGABRT}) || !strings.Contains(h.fault, `chore "a" did not return within 1s`) {
		t.Fatalf("%s, %v, %q", h.state, proc(h).killed, h.fault)
	}
	f.after(abortGrace)
	if !slices.Equal(proc(h).killed, []syscall.Signal{syscall.SIGABRT, syscall.SIGKILL}) {
		t.Fatal(proc(h).killed)
	}
	f.ends(h, bySignal(syscall.SIGKILL))
	next := f.last(control.Housekeeper) // it had served long enough: its successor need not wait
	if next == h {
		t.Fatal("no successor")
	}
	f.keeps(next, listOf(160*time.Second, "a")...)
	if s := f.houseStatus(); s.Restarts != 1 || s.Chores[0].Failed != 1 || !strings.Contains(s.Chores[0].LastError, "did not return") {
		t.Errorf("%+v", s)
	}
	f.after(150 * time.Second)
	if n := len(performs(next)); n != 0 {
		t.Errorf("it is tried again at once: %d runs", n)
	}
	f.after(10 * time.Second)
	if n := len(performs(next)); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// What is killed from outside has a successor at once, what crashes of itself waits longer and longer; and there are never two.
func TestHousekeeperIsRespawned(t *testing.T) {
	f, h := servingHouse(t)
	f.ends(h, bySignal(syscall.SIGKILL))
	second := f.last(control.Housekeeper)
	if second == h || second.state != Starting {
		t.Fatal("no successor")
	}
	f.keeps(second)
	f.ends(second, byExit(2))
	if n := len(f.housekeepers()); n != 2 {
		t.Fatalf("%d lives", n)
	}
	f.after(backOffFirst)
	third := f.last(control.Housekeeper)
	if third == second {
		t.Fatal("no successor after the first wait")
	}
	f.ends(third, byExit(2))
	f.after(backOffFirst)
	if f.last(control.Housekeeper) != third {
		t.Fatal("the second wait is as short as the first")
	}
	f.after(backOffFirst)
	if f.last(control.Housekeeper) == third || f.phase != serving || len(f.lives) != 1 {
		t.Fatal("no successor after the second wait")
	}
}

// Somebody's TERM drains it; its successor comes when it has gone, and not before.
func TestTermToTheHousekeeper(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a")...)
	f.after(20 * time.Second)
	f.says(h, &control.Draining{})
	f.after(time.Second)
	if h.state != Draining || len(f.housekeepers()) != 1 {
		t.Fatalf("%s, %d lives", h.state, len(f.housekeepers()))
	}
	f.says(h, &control.Performed{ID: 1}, &control.Drained{})
	f.ends(h, byExit(0))
	if n := len(f.housekeepers()); n != 2 || f.house.slot.faults != 0 {
		t.Errorf("%d lives, %d faults", n, f.house.slot.faults)
	}
}

// It is asked whether it lives; a single look that finds no answer says nothing.
func TestHousekeeperMustAnswer(t *testing.T) {
	f, h := servingHouse(t)
	f.config.Health.HangTimeout = 10 * time.Second
	f.after(0)
	if heard(h, control.KindPing) != 1 {
		t.Fatal("not asked")
	}
	f.after(time.Hour) // the machine slept
	f.says(h, &control.Pong{})
	f.after(5 * time.Second)
	if heard(h, control.KindPing) != 2 {
		t.Fatal("not asked again")
	}
	f.after(5 * time.Second)
	if h.state != Serving {
		t.Fatal("ended early")
	}
	f.after(5 * time.Second)
	if h.state != Ending || !slices.Equal(proc(h).killed, []syscall.Signal{syscall.SIGABRT}) || !strings.Contains(h.fault, "did not answer within 10s") {
		t.Errorf("%s, %v, %q", h.state, proc(h).killed, h.fault)
	}
}

// The housekeeper votes like a child.
func TestHousekeeperVotes(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a")...)
	c := f.last(0)
	f.proposes(nil)
	f.prepares(c)
	if f.generation != 1 {
		t.Fatal("committed without the housekeeper")
	}
	f.says(h, &control.Failed{Generation: 2, Diagnostic: "a.hcl:3:5: no such database"})
	if l := f.lastReload; l == nil || l.Committed || l.Reason != "the housekeeper cannot serve it: a.hcl:3:5: no such database" {
		t.Fatalf("%+v", l)
	}
	if heard(c, control.KindAbort) != 1 || h.state != Serving || h.generation != 1 {
		t.Errorf("%s, generation %d", h.state, h.generation)
	}
	f.proposes(nil)
	f.offers(h, listOf(16*time.Second, "a")...)
	if heard(h, control.KindCommit) != 1 {
		t.Fatal("committed without the child")
	}
	f.prepares(c)
	f.commits(c)
	if f.lastReload.Committed {
		t.Fatal("the reload has ended before the housekeeper has committed")
	}
	f.commits(h)
	if l := f.lastReload; !l.Committed || l.Generation != 3 || h.generation != 3 {
		t.Fatalf("%+v", l)
	}
	f.after(2 * time.Second) // by the new interval
	if n := len(performs(h)); n != 1 {
		t.Errorf("%d runs", n)
	}
	// The child refuses: the housekeeper hears abort, and stays.
	f.proposes(nil)
	f.offers(h)
	f.says(c, &control.Failed{Generation: 4, Diagnostic: "no"})
	if heard(h, control.KindAbort) != 1 || h.prepared != 0 || h.state != Serving || len(f.house.chores) != 1 {
		t.Errorf("%d aborts, %s", heard(h, control.KindAbort), h.state)
	}
}

// The child's refusal and the housekeeper's answer cross: the answer comes after the abort was sent, and is no fault.
func TestAbortCrossesTheHousekeeper(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a")...)
	c := f.last(0)
	f.proposes(nil)
	answer := &control.Prepared{Generation: h.preparing, Digest: h.expected}
	f.says(c, &control.Failed{Generation: 2, Diagnostic: "no"})
	if heard(h, control.KindAbort) != 1 {
		t.Fatal("the housekeeper was not told")
	}
	f.says(h, answer)
	if h.state != Serving || f.last(control.Housekeeper) != h || len(f.house.chores) != 1 {
		t.Errorf("the housekeeper is %s", h.state)
	}
	f.says(h, &control.Prepared{Generation: 7})
	if h.state == Serving {
		t.Error("an answer to what was never asked is taken")
	}
}

// A reload that brings the first chores starts a housekeeper to ask it, one that takes the last away ends it.
func TestReloadBringsAndEndsTheHousekeeper(t *testing.T) {
	f := serving3(t)
	f.initHouse(f.clock)
	children := slices.Clone(f.started)
	vote := func(then func(c *child)) {
		for _, c := range children {
			then(c)
		}
	}
	refused := func(how func(h *child)) {
		f.proposes(func(c *configs.Config) { withChores(t, c) })
		vote(f.prepares)
		h := f.last(control.Housekeeper)
		f.greets(h)
		if h.preparing != f.reloading.number {
			t.Fatalf("it is asked about generation %d", h.preparing)
		}
		how(h)
		if f.lastReload == nil || f.lastReload.Committed || h.state != Ending {
			t.Fatalf("%+v, %s", f.lastReload, h.state)
		}
		if len(proc(h).killed) > 0 {
			f.ends(h, bySignal(syscall.SIGKILL))
		}
		f.lastReload = nil
		f.after(time.Hour)
	}
	refused(func(h *child) { f.says(h, &control.Failed{Generation: h.preparing, Diagnostic: "no such database"}) })
	if n := len(f.housekeepers()); n != 1 || f.houseStatus() != nil || f.house.slot.faults != 0 {
		t.Fatalf("%d lives, %d faults", n, f.house.slot.faults)
	}
	refused(func(*child) { f.refuse(f.reloading, "another one refuses") })
	if n := len(f.housekeepers()); n != 2 {
		t.Fatalf("%d lives", n)
	}

	f.proposes(func(c *configs.Config) { withChores(t, c) })
	vote(f.prepares)
	h := f.last(control.Housekeeper)
	f.greets(h)
	f.offers(h, listOf(160*time.Second, "a")...)
	vote(f.commits)
	f.commits(h)
	if !f.lastReload.Committed || h.state != Serving {
		t.Fatalf("%+v, %s", f.lastReload, h.state)
	}
	f.after(20 * time.Second)
	if len(performs(h)) != 1 {
		t.Fatal("the chore does not run")
	}

	f.proposes(withoutChores)
	if heard(h, control.KindPrepare) != 1 {
		t.Error("it is asked about a generation that does not need it")
	}
	vote(f.prepares)
	vote(f.commits)
	if !f.lastReload.Committed || h.state != Draining || f.houseStatus() == nil {
		t.Fatalf("%+v, %s", f.lastReload, h.state)
	}
	f.says(h, &control.Draining{}, &control.Performed{ID: 1, Error: "retired"}, &control.Drained{})
	f.ends(h, byExit(0))
	f.after(time.Hour)
	if n := len(f.housekeepers()); n != 3 || f.houseStatus() != nil {
		t.Errorf("%d lives, %+v", n, f.houseStatus())
	}
}

// A chore that the reload takes away has its time to end, although that is longer than drain_timeout; and a reload that brings it back in
// the meantime waits for the old housekeeper's end.
func TestReloadWaitsForTheOldHousekeeper(t *testing.T) {
	long := control.Chore{Name: "backup", EveryMillis: 160_000, TimeoutMillis: 30_000}
	f, h := servingHouse(t, long)
	f.after(20 * time.Second)
	c := f.last(0)
	f.proposes(withoutChores)
	f.prepares(c)
	f.commits(c)
	if d, ok := proc(h).sent[len(proc(h).sent)-1].(*control.Drain); !ok || d.TimeoutMillis != 30_000+choreGrace.Milliseconds() {
		t.Fatalf("%+v", proc(h).sentKinds())
	}
	f.proposes(func(c *configs.Config) { withChores(t, c) })
	f.prepares(c)
	f.after(time.Second)
	if len(f.housekeepers()) != 1 || f.generation != 2 {
		t.Fatal("there are two housekeepers, or none was asked")
	}
	f.says(h, &control.Draining{}, &control.Performed{ID: 1}, &control.Drained{})
	f.ends(h, byExit(0))
	next := f.last(control.Housekeeper)
	f.greets(next)
	f.offers(next, long)
	f.commits(c)
	f.commits(next)
	if !f.lastReload.Committed || f.generation != 3 {
		t.Errorf("%+v", f.lastReload)
	}
}

// A housekeeper that cannot serve its generation any more is asked about the next one at once: that may be the cure.
func TestReloadCuresTheHousekeeper(t *testing.T) {
	f, h := servingHouse(t)
	for range 8 {
		f.ends(h, byExit(2))
		f.after(backOffMost)
		h = f.last(control.Housekeeper)
	}
	f.ends(h, byExit(2))
	f.proposes(nil)
	next := f.last(control.Housekeeper)
	if next == h {
		t.Fatal("it is not started to be asked")
	}
	f.prepares(f.last(0))
	f.greets(next)
	f.offers(next)
	f.commits(f.last(0))
	f.commits(next)
	if !f.lastReload.Committed || next.generation != 2 || next.state != Serving {
		t.Errorf("%+v", f.lastReload)
	}
}

// A vote is lost with a voter that ends by its own fault. One that is killed is asked again in its successor, and after the decision the
// successor begins with what was decided.
func TestHousekeeperDiesDuringTheVote(t *testing.T) {
	f, h := servingHouse(t)
	c := f.last(0)
	f.proposes(nil)
	f.ends(h, byExit(2))
	if l := f.lastReload; l == nil || l.Reason != "the housekeeper exited with status 2 while it prepared" {
		t.Fatalf("%+v", l)
	}
	f.says(c, &control.Prepared{Generation: 2, Digest: c.expected})
	f.after(backOffFirst)
	h = f.last(control.Housekeeper)
	f.keeps(h)

	f.proposes(nil)
	f.ends(h, bySignal(syscall.SIGKILL))
	h = f.last(control.Housekeeper)
	f.prepares(c)
	if f.generation != 1 {
		t.Fatal("committed without the successor")
	}
	f.greets(h)
	f.offers(h)
	if f.generation != 3 || h.committing != 3 {
		t.Fatalf("generation %d", f.generation)
	}
	f.ends(h, bySignal(syscall.SIGKILL))
	f.commits(c)
	if !f.lastReload.Committed {
		t.Fatalf("%+v", f.lastReload)
	}
	f.after(backOffMost) // it had not served yet
	next := f.last(control.Housekeeper)
	f.greets(next)
	if next.preparing != 3 {
		t.Errorf("it begins with generation %d", next.preparing)
	}
}

// A stop waits for the housekeeper, and a fast one does not wait long.
func TestStopWaitsForTheHousekeeper(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a")...)
	f.after(20 * time.Second)
	f.stop(false)
	c := f.last(0)
	f.says(c, &control.Draining{}, &control.Drained{})
	f.ends(c, byExit(0))
	if d, ok := proc(h).sent[len(proc(h).sent)-1].(*control.Drain); !ok || d.TimeoutMillis != f.config.DrainTimeout.Milliseconds() || f.finished {
		t.Fatalf("%v, finished: %v", proc(h).sentKinds(), f.finished)
	}
	f.after(5 * time.Second) // the run is beyond its timeout: the drain decides
	if h.state != Draining {
		t.Fatal(h.state)
	}
	f.stop(true)
	if d, ok := proc(h).sent[len(proc(h).sent)-1].(*control.Drain); !ok || d.TimeoutMillis != 0 {
		t.Fatalf("%v", proc(h).sentKinds())
	}
	f.stop(true)
	if !slices.Equal(proc(h).killed, []syscall.Signal{syscall.SIGKILL}) {
		t.Fatal(proc(h).killed)
	}
	f.ends(h, bySignal(syscall.SIGKILL))
	if !f.finished {
		t.Error("the master does not end")
	}
}

// In a single process nothing can end a chore that hangs: it is left alone, others go on, and it counts again when it has returned.
func TestHangingChoreOfASingleProcess(t *testing.T) {
	f, h := servingHouse(t, listOf(160*time.Second, "a", "b")...)
	f.o.Host = func(int, *control.Conn) int { return 0 }
	f.config.Health.HangTimeout = time.Second
	f.after(20 * time.Second)
	f.says(h, &control.Performed{ID: 2})
	f.after(time.Minute)
	if h.state != Serving || len(proc(h).killed) != 0 || !f.logged("a single process cannot end it") || heard(h, control.KindPing) != 0 {
		t.Fatalf("%s, %v", h.state, proc(h).killed)
	}
	f.after(100 * time.Second)
	if runs := performs(h); len(runs) != 3 || runs[2].Chore != "b" {
		t.Fatalf("%+v", runs)
	}
	f.says(h, &control.Performed{ID: 1})
	f.after(160 * time.Second)
	if runs := performs(h); len(runs) != 4 || runs[3].Chore != "a" {
		t.Fatalf("%+v", runs)
	}
}

// What the operator and the program set reaches the housekeeper like a child.
func TestHousekeeperIsTold(t *testing.T) {
	f, h := servingHouse(t)
	f.setLogLevel("debug", "test")
	f.ends(h, bySignal(syscall.SIGKILL))
	next := f.last(control.Housekeeper)
	f.keeps(next)
	for i, c := range []*child{h, next} {
		if heard(c, control.KindLogLevel) != 1 {
			t.Errorf("life %d was told of the level %d times", i, heard(c, control.KindLogLevel))
		}
	}
}
