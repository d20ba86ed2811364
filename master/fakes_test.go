package master

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// fakeProcess records what the master does with a child.
type fakeProcess struct {
	pid      int
	sent     []control.Message
	killed   []syscall.Signal
	released bool
	handoffEnds
}

func (p *fakeProcess) Pid() int                           { return p.pid }
func (p *fakeProcess) Send(m control.Message, fds ...int) { p.sent = append(p.sent, m); p.keep(m, fds) }
func (p *fakeProcess) Kill(s syscall.Signal)              { p.killed = append(p.killed, s) }
func (p *fakeProcess) Release()                           { p.released = true }
func (p *fakeProcess) sentKinds() (kinds []control.Kind) {
	for _, m := range p.sent {
		kinds = append(kinds, m.Kind())
	}
	return kinds
}

// fleet is a master without processes, driven by hand: the test is the loop, and owns the clock.
type fleet struct {
	*master
	t       *testing.T
	clock   time.Time
	started []*child // every life, in order
	broken  error    // what the next starts return
	seen    *observer.ObservedLogs
	out     *lines
}

func fakeSink(t *testing.T, stdout io.Writer) *sink {
	t.Helper()
	s, err := newSink(configs.Log{Format: formatJSON}, stdout, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func newFleet(t *testing.T, children int) *fleet {
	t.Helper()
	core, seen := observer.New(zapcore.DebugLevel)
	f := &fleet{t: t, clock: time.Unix(1_000_000, 0), seen: seen, out: newLines()}
	sources, err := control.Seal("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sources.Close() })
	config := testConfig(t.TempDir())
	shards, err := openShards(config.Listeners, children)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shards.close)
	f.master = &master{
		o: Options{Version: "v0", Path: "test.hcl"}.withDefaults(), config: config, generation: 1, lastGeneration: 1, sources: sources,
		shards: shards, accessLogs: new(logFiles), log: zap.New(core),
		sink:  fakeSink(t, f.out),
		lives: map[*child]struct{}{}, bounds: defaultBounds,
		events: make(chan lifeEvent, 1000), done: make(chan struct{}),
	}
	t.Cleanup(func() { close(f.done) })
	f.now = func() time.Time { return f.clock }
	f.born = f.clock
	f.start = func(c *child) (process, error) {
		if f.broken != nil {
			return nil, f.broken
		}
		f.started = append(f.started, c)
		return &fakeProcess{pid: 1000 + len(f.started)}, nil
	}
	for i := range children {
		f.slots = append(f.slots, &slot{index: i, due: f.clock})
	}
	f.tick()
	return f
}

// after moves the clock and does what is due.
func (f *fleet) after(d time.Duration) {
	f.clock = f.clock.Add(d)
	f.tick()
}

// last is the latest life of the child.
func (f *fleet) last(index int) *child {
	f.t.Helper()
	for _, c := range slices.Backward(f.started) {
		if c.slot.index == index {
			return c
		}
	}
	f.t.Fatalf("child %d was never started", index)
	return nil
}

func proc(c *child) *fakeProcess { return c.proc.(*fakeProcess) }

func (f *fleet) says(c *child, messages ...control.Message) {
	for _, m := range messages {
		f.handle(c, received{message: m})
	}
	f.tick()
}

// brings moves a started child up to a state.
func (f *fleet) brings(c *child, to State) {
	f.t.Helper()
	for c.state < to {
		before := c.state
		switch c.state {
		case Starting:
			f.says(c, &control.Hello{Pid: c.proc.Pid(), Child: c.slot.index, Version: "v0"})
		case Preparing:
			f.says(c, &control.Prepared{Generation: c.preparing, Digest: c.expected})
		case Committing:
			f.says(c, &control.Committed{Generation: c.committing})
		case Lending:
			f.says(c, &control.Lent{Count: 1})
		case Proving:
			f.handle(c, proof{})
		case Admitting:
			f.says(c, &control.Accepting{})
		}
		if c.state == before {
			f.t.Fatalf("child %d stays %s", c.slot.index, before)
		}
	}
}

func (f *fleet) ends(c *child, s syscall.WaitStatus) {
	f.handle(c, silence{})
	f.handle(c, exit{s})
	f.tick()
}

func bySignal(s syscall.Signal) syscall.WaitStatus { return syscall.WaitStatus(s) }
func byExit(code int) syscall.WaitStatus           { return syscall.WaitStatus(code << 8) }

func (f *fleet) logged(part string) bool {
	for _, e := range f.seen.All() {
		if strings.Contains(e.Message, part) || strings.Contains(fmt.Sprint(e.ContextMap()), part) {
			return true
		}
	}
	return false
}

// FACTS 29: no child accepts before it is proved, at the start none before all are.
func TestStartOrder(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.last(0), f.last(1)
	f.brings(a, Proved)
	if kinds := proc(a).sentKinds(); !slices.Equal(kinds, []control.Kind{control.KindBoard, control.KindPrepare, control.KindCommit, control.KindLend, control.KindInject}) {
		t.Fatalf("sent %v", kinds)
	}
	f.brings(b, Proving)
	if slices.Contains(proc(a).sentKinds(), control.KindAccept) {
		t.Fatal("a child was admitted before all were proved")
	}
	f.handle(b, proof{})
	for _, c := range []*child{a, b} {
		if c.state != Admitting || !slices.Contains(proc(c).sentKinds(), control.KindAccept) {
			t.Fatalf("child is %s", c.state)
		}
	}
	f.says(a, &control.Accepting{})
	if f.phase != starting {
		t.Fatal("announced too early")
	}
	f.says(b, &control.Accepting{})
	if f.phase != serving {
		t.Fatal("not announced")
	}
	f.out.wait(t, `tined v0: serving http://127.0.0.1:\d+ with 2 children, configuration test.hcl\n`, 1)
	// A later one is admitted alone.
	f.ends(a, bySignal(syscall.SIGKILL))
	next := f.last(0)
	f.brings(next, Serving)
	if p := proc(next).sent[1].(*control.Prepare); p.Digest != f.config.Digest || p.LogFormat != formatJSON {
		t.Errorf("%+v", p)
	}
}

func servingFleet(t *testing.T, n int) *fleet {
	f := newFleet(t, n)
	for i := range n {
		f.brings(f.last(i), Proved)
	}
	for i := range n {
		f.brings(f.last(i), Serving)
	}
	return f
}

func TestCrashLoopBacksOff(t *testing.T) {
	f := servingFleet(t, 2)
	want := []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000}
	for i, w := range want {
		c := f.last(0)
		f.brings(c, Serving)
		f.after(time.Second)
		lives := len(f.started)
		f.ends(c, byExit(2))
		f.after(w*time.Millisecond - 1)
		if len(f.started) != lives {
			t.Fatalf("fault %d: started before %v", i+1, w*time.Millisecond)
		}
		f.after(1)
		if len(f.started) != lives+1 {
			t.Fatalf("fault %d: not started after %v", i+1, w*time.Millisecond)
		}
	}
	// Who has served long enough starts afresh, at once.
	c := f.last(0)
	f.brings(c, Serving)
	f.after(faultWindow)
	f.ends(c, byExit(2))
	if next := f.last(0); next == c {
		t.Fatal("a fault after a long life waits")
	}
	if f.slots[0].faults != 1 {
		t.Errorf("%d faults", f.slots[0].faults)
	}
	// A kill from outside forgives.
	c = f.last(0)
	f.brings(c, Serving)
	f.ends(c, bySignal(syscall.SIGKILL))
	if f.last(0) == c || f.slots[0].faults != 0 {
		t.Fatal("a kill from outside counts as a fault")
	}
	if f.slots[0].restarts != uint64(len(want))+2 {
		t.Errorf("%d restarts", f.slots[0].restarts)
	}
}

func TestKillsFromOutsideArePaced(t *testing.T) {
	f := servingFleet(t, 1)
	lives := len(f.started)
	for range respawnsPerSecond {
		f.brings(f.last(0), Serving)
		f.ends(f.last(0), bySignal(syscall.SIGTERM))
	}
	if n := len(f.started) - lives; n != respawnsPerSecond {
		t.Fatalf("%d respawns at once", n)
	}
	f.brings(f.last(0), Serving)
	f.ends(f.last(0), bySignal(syscall.SIGKILL))
	if len(f.started)-lives != respawnsPerSecond {
		t.Fatal("the storm is not paced")
	}
	if wait := f.tick(); wait <= 0 || wait > time.Second {
		t.Errorf("next tick in %v", wait)
	}
	f.after(time.Second)
	if len(f.started)-lives != respawnsPerSecond+1 {
		t.Fatal("no successor after the pause")
	}
}

// A child that ends before its first word has most likely never reached the server: its main function has returned.
func TestChildWithoutAWordIsToldTheCure(t *testing.T) {
	f := newFleet(t, 1)
	f.ends(f.last(0), byExit(0))
	if end := f.slots[0].lastEnd; !strings.Contains(end, "without calling Main") {
		t.Errorf("silent: %q", end)
	}
	f = newFleet(t, 1)
	f.brings(f.last(0), Preparing)
	f.ends(f.last(0), byExit(0))
	if end := f.slots[0].lastEnd; end != "exited with status 0 before it served" {
		t.Errorf("after its hello: %q", end)
	}
}

func TestJudge(t *testing.T) {
	now := time.Unix(5, 0)
	for name, c := range map[string]struct {
		child child
		want  verdict
	}{
		"killed":              {child{served: now, exited: true, status: bySignal(syscall.SIGKILL)}, fromOutside},
		"terminated":          {child{served: now, exited: true, status: bySignal(syscall.SIGTERM)}, fromOutside},
		"drained by TERM":     {child{served: now, exited: true, status: byExit(0)}, fromOutside},
		"exit 0 before":       {child{exited: true, status: byExit(0)}, ownFault},
		"panic":               {child{served: now, exited: true, status: byExit(2)}, ownFault},
		"abort":               {child{served: now, exited: true, status: bySignal(syscall.SIGABRT)}, ownFault},
		"segv":                {child{served: now, exited: true, status: bySignal(syscall.SIGSEGV)}, ownFault},
		"killed before":       {child{exited: true, status: bySignal(syscall.SIGKILL)}, ownFault},
		"killed by us":        {child{served: now, exited: true, status: bySignal(syscall.SIGKILL), fault: "hung"}, ownFault},
		"asked":               {child{served: now, exited: true, status: byExit(0), asked: true}, asked},
		"refused":             {child{exited: true, status: byExit(1), failed: &control.Failed{}}, ownFault},
		"asked, did not obey": {child{served: now, exited: true, status: bySignal(syscall.SIGKILL), asked: true, fault: "late"}, ownFault},
	} {
		if got, how := judge(&c.child); got != c.want || how == "" {
			t.Errorf("%s: %d %q, want %d", name, got, how, c.want)
		}
	}
}

// Every state but those that wait for the master has a bound.
func TestHangsAreEnded(t *testing.T) {
	for s := Starting; s <= Draining; s++ {
		if s == Proved || s == Serving {
			continue
		}
		f := newFleet(t, 2)
		c := f.last(0)
		if s >= Admitting {
			f.brings(f.last(1), Proved)
		}
		f.brings(c, min(s, Serving))
		if s == Draining {
			f.says(c, &control.Draining{})
		}
		if c.state != s {
			t.Fatalf("child is %s, want %s", c.state, s)
		}
		if c.due.IsZero() {
			t.Fatalf("%s has no bound", s)
		}
		f.after(c.due.Sub(f.clock))
		if c.state != Ending || !slices.Equal(proc(c).killed, []syscall.Signal{syscall.SIGKILL}) {
			t.Errorf("%s: child is %s, killed %v", s, c.state, proc(c).killed)
		}
		f.ends(c, bySignal(syscall.SIGKILL))
		if c.state != Ended || !proc(c).released {
			t.Errorf("%s: child is %s", s, c.state)
		}
		f.handle(c, received{message: &control.Accepting{}}) // a late event changes nothing
		f.handle(c, exit{})
		f.handle(c, proof{errors.New("late")})
	}
}

func TestMessagesThatDoNotFitEndTheChild(t *testing.T) {
	digest := testConfig("").Digest
	for name, c := range map[string]struct {
		at State
		m  control.Message
	}{
		"accepts unasked":  {Proving, &control.Accepting{}},
		"prepared early":   {Starting, &control.Prepared{Generation: 1, Digest: digest}},
		"two hellos":       {Preparing, &control.Hello{}},
		"another pid":      {Starting, &control.Hello{Pid: 1, Child: 0}},
		"another child":    {Starting, &control.Hello{Pid: 1001, Child: 1}},
		"another digest":   {Preparing, &control.Prepared{Generation: 1, Digest: "x"}},
		"other generation": {Preparing, &control.Prepared{Generation: 2, Digest: digest}},
		"drains early":     {Lending, &control.Draining{}},
	} {
		f := newFleet(t, 2)
		f.brings(f.last(0), c.at)
		f.says(f.last(0), c.m)
		if p := proc(f.last(0)); len(p.killed) != 1 {
			t.Errorf("%s: killed %v", name, p.killed)
		}
	}
	f := servingFleet(t, 1)
	f.says(f.last(0), &control.Unknown{Number: 999}, &control.Pong{}, &control.Reopened{}, &control.LogDropped{Count: 3})
	if f.last(0).state != Serving || f.status().LogDropped != 3 {
		t.Error("a message of a later version, or one that needs no act, ended the child")
	}
	f.handle(f.last(0), undelivery{control.ErrBusy})
	if f.last(0).state != Ending {
		t.Error("a child that does not read was kept")
	}
}

// The channel's end and the exit come in any order, and either may fail to come.
func TestEnds(t *testing.T) {
	f := servingFleet(t, 1)
	c := f.last(0)
	f.handle(c, silence{})
	f.after(f.bounds.lastWords)
	if len(proc(c).killed) != 1 || !strings.Contains(c.fault, "closed its control channel") {
		t.Fatalf("a process without a channel lives on: %v %q", proc(c).killed, c.fault)
	}
	f.handle(c, exit{bySignal(syscall.SIGKILL)})
	if c.state != Ended {
		t.Fatal(c.state)
	}

	f = servingFleet(t, 1)
	c = f.last(0)
	f.handle(c, exit{bySignal(syscall.SIGKILL)})
	if c.state != Ending {
		t.Fatal(c.state)
	}
	f.says(c, &control.Accepting{}) // too late to mean anything
	f.after(f.bounds.lastWords)
	if c.state != Ended || f.last(0) == c {
		t.Fatal("the end of a channel that another process holds is waited for")
	}
}

func TestUnaskedDrainIsReplacedAtOnce(t *testing.T) {
	f := servingFleet(t, 1)
	c := f.last(0)
	f.says(c, &control.Draining{})
	next := f.last(0)
	if next == c || c.state != Draining {
		t.Fatal("no successor beside the draining child")
	}
	f.brings(next, Serving)
	s := f.status()
	if len(s.Children) != 2 {
		t.Errorf("%+v", s.Children)
	}
	f.says(c, &control.Drained{})
	f.ends(c, byExit(0))
	if f.last(0) != next || next.state != Serving || f.slots[0].faults != 0 {
		t.Error("the end of the drained child touched its successor")
	}
}

// A child gets time for its exit hooks once, however often it says that it has drained.
func TestDrainedTwiceGivesNoMoreTime(t *testing.T) {
	f := servingFleet(t, 1)
	c := f.last(0)
	f.onSignal(syscall.SIGTERM)
	f.says(c, &control.Draining{}, &control.Drained{})
	f.after(f.bounds.exit - time.Second)
	f.says(c, &control.Drained{})
	if len(proc(c).killed) != 0 {
		t.Fatal("it is killed while its hooks may run")
	}
	f.after(time.Second)
	if len(proc(c).killed) != 1 {
		t.Error("the stop waits for a child that says again and again that it has drained")
	}
}

func TestStopOrder(t *testing.T) {
	f := servingFleet(t, 2)
	a, b := f.last(0), f.last(1)
	open := func() bool { return len(f.shards.listeners[0].shards) > 0 }
	f.onSignal(syscall.SIGTERM)
	for _, c := range []*child{a, b} {
		d, ok := proc(c).sent[len(proc(c).sent)-1].(*control.Drain)
		if !ok || d.TimeoutMillis != f.config.DrainTimeout.Milliseconds() {
			t.Fatalf("sent %v", proc(c).sentKinds())
		}
	}
	f.says(a, &control.Draining{})
	if !open() {
		t.Fatal("the shards are closed while a child accepts")
	}
	f.says(b, &control.Draining{})
	if open() {
		t.Fatal("the shards are open though no child accepts")
	}
	f.ends(a, byExit(0))
	if f.finished {
		t.Fatal("finished too early")
	}
	f.ends(b, byExit(0))
	if !f.finished || f.code != 0 || len(f.started) != 2 {
		t.Errorf("finished %v, code %d, %d lives", f.finished, f.code, len(f.started))
	}
}

// A child that does not say that it has let go of its shards keeps nobody waiting for ever.
func TestStopClosesShardsInTheEnd(t *testing.T) {
	f := servingFleet(t, 2)
	f.onSignal(syscall.SIGQUIT)
	f.says(f.last(0), &control.Draining{})
	f.after(f.bounds.answer)
	if len(f.shards.listeners[0].shards) > 0 {
		t.Error("the shards stay open")
	}
}

func TestStopInTheMiddleOfTheStart(t *testing.T) {
	f := newFleet(t, 2)
	f.brings(f.last(0), Proved)
	f.onSignal(syscall.SIGTERM)
	for i := range 2 {
		if len(proc(f.last(i)).killed) != 1 {
			t.Errorf("child %d is not killed", i)
		}
		f.ends(f.last(i), bySignal(syscall.SIGKILL))
	}
	if !f.finished || f.code != 0 {
		t.Errorf("finished %v, code %d", f.finished, f.code)
	}
}

// What a child answered before it was told to drain is no fault.
func TestAnswersThatCrossTheStop(t *testing.T) {
	f := newFleet(t, 1)
	c := f.last(0)
	f.brings(c, Admitting)
	f.onSignal(syscall.SIGTERM)
	f.says(c, &control.Accepting{}, &control.Draining{}, &control.Drained{})
	f.ends(c, byExit(0))
	if len(proc(c).killed) != 0 || !f.finished {
		t.Errorf("killed %v (%s), finished %v", proc(c).killed, c.fault, f.finished)
	}
}

func TestStopWhileNothingRuns(t *testing.T) {
	f := servingFleet(t, 1)
	f.ends(f.last(0), byExit(2))
	f.onSignal(syscall.SIGINT)
	if !f.finished {
		t.Error("the stop waits for a child that waits for its back-off")
	}
	f.after(time.Hour)
	if len(f.started) != 1 {
		t.Error("a child was started in a stop")
	}
}

func TestSecondStop(t *testing.T) {
	f := servingFleet(t, 1)
	c := f.last(0)
	f.onSignal(syscall.SIGTERM)
	f.onSignal(syscall.SIGTERM)
	if d, ok := proc(c).sent[len(proc(c).sent)-1].(*control.Drain); !ok || d.TimeoutMillis != 0 {
		t.Fatal("the second TERM does not hurry")
	}
	if due := c.due.Sub(f.clock); due > f.bounds.fast {
		t.Errorf("it may take %v", due)
	}
	f.onSignal(syscall.SIGTERM)
	if len(proc(c).killed) != 1 {
		t.Fatal("the third TERM does not kill")
	}
	// Not even SIGKILL ends it: the stop goes on without it.
	f.after(f.bounds.unkilled)
	if !f.finished {
		t.Fatal("a process that does not die holds the master")
	}
}

func TestStartThatCannotStartProcesses(t *testing.T) {
	f := servingFleet(t, 1)
	f.broken = errors.New("no more processes")
	f.ends(f.last(0), bySignal(syscall.SIGKILL))
	if !f.logged("no more processes") {
		t.Error("the reason is not logged")
	}
	f.broken = nil
	f.after(backOffFirst)
	f.brings(f.last(0), Serving)
}

func TestStatusWaitsForNumbersWithinABound(t *testing.T) {
	f := servingFleet(t, 2)
	answer := make(chan *Status, 1)
	f.askNumbers(func(s *Status) { answer <- s })
	f.join(f.last(0))
	f.last(0).life.Set(board.WordAccepted, 7)
	f.says(f.last(0), &control.Reported{})
	if len(answer) != 0 {
		t.Fatal("answered before the second child, and before the bound")
	}
	f.after(f.bounds.numbers)
	s := <-answer
	if s.Children[0].Numbers == nil || s.Children[0].Numbers.Accepted != 7 || s.Children[1].Numbers != nil {
		t.Errorf("%+v", s.Children)
	}
	f.askNumbers(func(s *Status) { answer <- s })
	f.says(f.last(0), &control.Reported{})
	f.ends(f.last(1), bySignal(syscall.SIGKILL))
	if len(answer) != 1 {
		t.Error("the numbers of a dead child are waited for")
	}
}

func TestEnterRefusesImpossibleSteps(t *testing.T) {
	for from := Starting; from <= Ended; from++ {
		for to := Starting; to <= Ended; to++ {
			want := to == from+1 && to <= Serving || to == Ending && from != Ended || to == Ended && from == Ending ||
				to == Draining && (from == Admitting || from == Serving) || to == Preparing && from == Committing
			if allowed(from, to) != want {
				t.Errorf("%s to %s: %v", from, to, !want)
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f := newFleet(t, 1)
	f.enter(f.last(0), Serving, 0)
}

func TestSignalsWithoutEffectSayWhy(t *testing.T) {
	f := servingFleet(t, 1)
	for _, s := range []os.Signal{syscall.SIGUSR2, syscall.SIGUSR1} {
		f.onSignal(s)
	}
	for _, part := range []string{"the upgrade has not come about", "log files are reopened"} {
		if !f.logged(part) {
			t.Errorf("%q is not logged", part)
		}
	}
	if f.phase != serving {
		t.Error(f.phase)
	}
}
