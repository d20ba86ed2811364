package master

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// watchedFleet is a serving fleet whose children have joined the board.
func watchedFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := servingFleet(t, n)
	f.config.Health.HangTimeout = 5 * time.Second
	for i := range n {
		f.join(f.last(i))
	}
	f.tick()
	return f
}

// join lets a child count on the board.
func (f *fleet) join(c *child) {
	c.life.Set(board.WordPid, int64(c.proc.Pid()))
	f.turns(c)
}

// turns lets the loop of a child turn.
func (f *fleet) turns(c *child) { c.life.Set(board.WordHeartbeat, c.life.Get(board.WordHeartbeat)+1) }

// passes lets time go by as the master sees it: tick by tick, at the times at which it wants to be called.
func (f *fleet) passes(d time.Duration, meanwhile func()) {
	end := f.clock.Add(d)
	for f.clock.Before(end) {
		f.clock = f.clock.Add(min(max(f.tick(), time.Millisecond), end.Sub(f.clock)))
		meanwhile()
		f.tick()
	}
}

// answersLeases lets a child answer what it is lent, and asked back.
func (f *fleet) answersLeases(c *child) {
	for len(c.lends) > 0 && c.state == Serving {
		f.says(c, &control.Lent{})
	}
	for len(c.backs) > 0 && c.state == Serving {
		f.says(c, &control.Returned{})
	}
}

func (f *fleet) eventsOf(kind string) (messages []string) {
	for _, e := range f.feed.ring {
		if e.Kind == kind {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

// A loop that does not turn is found within the timeout, and asked for its goroutines; if it does not end at that, it is killed.
func TestHangingChildIsEnded(t *testing.T) {
	f := watchedFleet(t, 2)
	a, b := f.last(0), f.last(1)
	f.passes(time.Minute, func() { f.turns(a); f.turns(b) })
	if len(proc(a).killed)+len(proc(b).killed) > 0 {
		t.Fatal("a loop that turns is ended")
	}
	f.passes(4400*time.Millisecond, func() { f.turns(b) })
	if len(proc(a).killed) > 0 {
		t.Fatal("it is ended too early")
	}
	f.passes(600*time.Millisecond, func() { f.turns(b) })
	if a.state != Ending || !slices.Equal(proc(a).killed, []syscall.Signal{syscall.SIGABRT}) || len(proc(b).killed) > 0 {
		t.Fatalf("child is %s, killed %v", a.state, proc(a).killed)
	}
	if events := f.eventsOf(EventChildHung); len(events) != 1 || !strings.HasPrefix(events[0], "its loop has not turned for 4.5s") || !f.logged("child hangs") {
		t.Errorf("events %q", events)
	}
	f.passes(abortGrace, func() { f.turns(b) })
	if !slices.Equal(proc(a).killed, []syscall.Signal{syscall.SIGABRT, syscall.SIGKILL}) {
		t.Fatalf("killed %v", proc(a).killed)
	}
	f.ends(a, bySignal(syscall.SIGKILL))
	if s := f.slots[0]; !strings.Contains(s.lastEnd, "its loop has not turned") || s.faults != 1 {
		t.Errorf("%d faults, %q", s.faults, s.lastEnd)
	}
	if f.last(0) == a {
		t.Error("there is no successor") // it had served for long: at once
	}
	// One that ends at the first signal gets no second.
	f.passes(5*time.Second, func() { f.turns(f.last(0)) })
	if !slices.Equal(proc(b).killed, []syscall.Signal{syscall.SIGABRT}) {
		t.Fatalf("killed %v", proc(b).killed)
	}
	f.ends(b, bySignal(syscall.SIGABRT))
	f.passes(abortGrace, func() {})
	if len(proc(b).killed) != 1 {
		t.Error("a process that has ended is killed")
	}
}

// What the master has slept through it has not seen.
func TestPauseOfTheMasterEndsNobody(t *testing.T) {
	f := watchedFleet(t, 1)
	c := f.last(0)
	for range 20 {
		f.passes(4*time.Second, func() {})
		f.after(time.Hour)
		f.passes(4*time.Second, func() {}) // not yet: it counts anew
		f.turns(c)
	}
	if len(proc(c).killed) > 0 {
		t.Fatal("a child was ended for a pause of its master")
	}
	f.passes(7*time.Second, func() {})
	if len(proc(c).killed) == 0 {
		t.Error("after a pause nobody is watched any more")
	}
}

// Only a loop that must turn is watched, and only when the configuration says so.
func TestWhoIsNotWatched(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(f *fleet, c *child)
		ended   bool
	}{
		"never":                             {func(f *fleet, _ *child) { f.config.Health.HangTimeout = 0 }, false},
		"one that has not joined the board": {func(_ *fleet, c *child) { c.life.Set(board.WordPid, 0) }, false},
		"one of another version":            {func(_ *fleet, c *child) { c.life = nil }, false},
		"exit hooks": {func(f *fleet, c *child) {
			f.drain(c, time.Hour, 2*time.Hour)
			f.says(c, &control.Draining{}, &control.Drained{})
			c.due = time.Time{}
		}, false},
		"one that drains": {func(f *fleet, c *child) { f.drain(c, time.Hour, 2*time.Hour) }, true},
		"single process":  {func(f *fleet, _ *child) { f.o.Host = func(int, *control.Conn) int { return 0 } }, false},
	} {
		f := watchedFleet(t, 2)
		one := f.last(0)
		c.prepare(f, one)
		f.passes(20*time.Second, func() {
			if one != f.last(1) {
				f.turns(f.last(1))
			}
		})
		if ended := slices.Contains(proc(one).killed, syscall.SIGABRT); ended != c.ended {
			t.Errorf("%s: ended %v", name, ended)
		}
	}
}

// A child that is too large is replaced gracefully, and not again as long as its successors are too large from their start.
func TestHeavyChildIsReplaced(t *testing.T) {
	f := watchedFleet(t, 1)
	f.config.Health.HangTimeout = 0
	f.config.Health.MemoryLimit = 1000
	sizes := map[int]int64{}
	f.health.anonymous = func(pid int) (int64, error) {
		if size, ok := sizes[pid]; ok {
			return size, nil
		}
		return 0, os.ErrNotExist
	}
	first := f.last(0)
	sizes[first.proc.Pid()] = 1001
	f.passes(memoryEvery-1, func() {})
	if f.last(0) != first {
		t.Fatal("one look was enough")
	}
	sizes[first.proc.Pid()] = 999 // a collection has helped
	f.passes(memoryEvery, func() {})
	sizes[first.proc.Pid()] = 1001
	f.passes(memoryEvery, func() {})
	if f.last(0) != first {
		t.Fatal("two looks that were not in a row were enough")
	}
	f.passes(memoryEvery, func() {})
	second := f.last(0)
	if second == first || first.state != Serving {
		t.Fatalf("no successor; the first is %s", first.state)
	}
	if events := f.eventsOf(EventChildHeavy); len(events) != 1 || !strings.Contains(events[0], "1001 bytes") {
		t.Errorf("events %q", events)
	}
	f.passes(10*memoryEvery, func() { second.due = time.Time{} })
	if f.last(0) != second {
		t.Fatal("another successor before the first one serves")
	}

	// Successors that are too large from the start: the waits double.
	for _, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		c := f.last(0)
		sizes[c.proc.Pid()] = 5000
		f.brings(c, Serving)
		begun := f.slots[0].lightUntil.Add(-wait)
		f.passes(f.slots[0].lightUntil.Sub(f.clock)-time.Second, func() {})
		if f.last(0) != c {
			t.Fatalf("replaced before %v", wait)
		}
		f.passes(2*memoryEvery+time.Second, func() {})
		if f.last(0) == c {
			t.Fatalf("not replaced %v after the last one", f.clock.Sub(begun))
		}
	}

	// One that stays within the limit makes good.
	c := f.last(0)
	sizes[c.proc.Pid()] = 10
	f.brings(c, Serving)
	f.passes(f.slots[0].lightUntil.Sub(f.clock)+2*memoryEvery, func() {})
	sizes[c.proc.Pid()] = 5000
	f.passes(2*memoryEvery, func() {})
	if f.last(0) == c || f.slots[0].heavyWait != heavyFirst {
		t.Errorf("the next wait is %v", f.slots[0].heavyWait)
	}
}

// A successor that fails leaves the child where it is, and is not tried again at once.
func TestHeavyChildStaysWhenItsSuccessorFails(t *testing.T) {
	f := watchedFleet(t, 1)
	f.config.Health.HangTimeout = 0
	f.config.Health.MemoryLimit = 1000
	f.health.anonymous = func(int) (int64, error) { return 2000, nil }
	first := f.last(0)
	f.passes(2*memoryEvery, func() {})
	heir := f.last(0)
	if heir == first {
		t.Fatal("no successor")
	}
	f.ends(heir, byExit(3))
	f.passes(heavyFirst-3*memoryEvery, func() {})
	if f.last(0) != heir || first.state != Serving {
		t.Fatal("tried again at once")
	}
	f.passes(4*memoryEvery, func() {})
	if f.last(0) == heir {
		t.Error("never tried again")
	}
}

func TestAnonymousMemory(t *testing.T) {
	before, err := anonymousOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += os.Getpagesize() {
		memory[i] = 1
	}
	after, err := anonymousOf(os.Getpid())
	if err != nil || after-before < size/2 {
		t.Errorf("%d bytes have become %d, %v", before, after, err)
	}
	if err := syscall.Munmap(memory); err != nil {
		t.Error(err)
	}
	if _, err := anonymousOf(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}

// Real processes, stopped in every way: their goroutines stand in the log, whole and before their end, if they could write them down.
func TestRealHangs(t *testing.T) {
	for _, how := range []string{"spin", "syscall", "lock", "stop"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			config := testConfig(t.TempDir())
			config.Children = 1
			config.Health.HangTimeout = 2 * time.Second
			h := serve(t, config, nil)
			first := h.pid(0, 1)
			if how == "stop" {
				if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			} else if _, err := h.get("/hang/" + how); err != nil {
				t.Fatal(err)
			}
			second := h.pid(0, 2)
			if second == first {
				t.Fatal("the same process")
			}
			if err := syscall.Kill(first, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the first process still is there: %v", err)
			}
			log := h.stderr.String()
			contains(t, log, `child hangs: its loop has not turned for`)
			end := strings.Index(log, "was killed by the master: its loop has not turned")
			dump := regexp.MustCompile(fmt.Sprintf(`"msg":"goroutine \d+ [^"]*","child":0,"pid":%d`, first)).FindAllStringIndex(log, -1)
			if how == "stop" {
				contains(t, log, "child has not ended, and is killed")
				return
			}
			if len(dump) < 300 || end < dump[len(dump)-1][1] {
				t.Errorf("%d goroutines are in the log, the last at %v, the end at %d", len(dump), dump[len(dump)-1:], end)
			}
			contains(t, log, "master.(*fake).beat", "master.hangIn"+strings.ToUpper(how[:1])+how[1:])
		})
	}
}

// Handlers that compute keep the loop from its turn without being its fault: the more of them there are, the more time it has. What a child
// says of them is not believed beyond a bound.
func TestCrowdedChildHasMoreTime(t *testing.T) {
	f := watchedFleet(t, 2)
	crowded, other := f.last(0), f.last(1)
	crowded.life.Set(board.WordBusy, 80)
	crowded.life.Set(board.WordQueued, 500)
	crowded.life.Set(board.WordMax, 100)
	for range 5 {
		f.passes(8*time.Second, func() { f.turns(other); f.answersLeases(other) })
		if len(proc(crowded).killed) > 0 {
			t.Fatal("it is ended though its handlers may compute")
		}
		f.turns(crowded)
	}
	f.passes(9*time.Second, func() { f.turns(other); f.answersLeases(other) })
	if len(proc(crowded).killed) == 0 {
		t.Fatal("it is not ended")
	}
	other.life.Set(board.WordBusy, 1<<62)
	other.life.Set(board.WordMax, 1<<62)
	f.turns(other)
	f.passes(5*time.Second+crowdMost, func() {})
	if len(proc(other).killed) == 0 {
		t.Fatal("one that lies is not ended")
	}
}

// While the loop of a child stands still, a sibling accepts for it, long before it is taken for hung; when it goes on, that ends.
func TestStandingChildIsLent(t *testing.T) {
	f := watchedFleet(t, 2)
	a, b := f.last(0), f.last(1)
	f.passes(2*time.Second, func() { f.turns(a); f.turns(b) })
	f.passes(3*time.Second, func() { f.turns(b) })
	if f.slots[0].keeper != f.slots[1] || f.slots[1].keeper != nil || a.state != Serving {
		t.Fatalf("keepers %v and %v, child 0 is %s", f.slots[0].keeper, f.slots[1].keeper, a.state)
	}
	f.says(b, &control.Lent{})
	f.passes(time.Second, func() { f.turns(a); f.turns(b) })
	if f.slots[0].keeper != nil || a.state != Serving {
		t.Fatalf("keeper %v, child 0 is %s", f.slots[0].keeper, a.state)
	}
}
