package master

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/netcore/control"
)

// withRuntime gives a fleet the folder of the children's sockets.
func (f *fleet) withRuntime() *fleet {
	f.t.Helper()
	r, err := openRuntime(f.config.Control, "", accessOf(f.config))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(r.close)
	f.runtime = r
	return f
}

func (f *fleet) dies(c *child, status syscall.WaitStatus) {
	f.t.Helper()
	f.handle(c, exit{status})
	f.handle(c, silence{})
	f.tick()
}

// A slot is given up in this order: lent to a sibling, drained, parked, returned, closed.
func TestScaleDown(t *testing.T) {
	f := serving3(t).withRuntime()
	l := f.shards.listeners[0]
	var done []error
	f.scale(2, "test", func(err error) { done = append(done, err) })
	f.tick()
	leaving, keeper := f.started[2], f.slots[2].keeper
	if keeper == nil || heard(leaving, control.KindDrain) != 0 {
		t.Fatal("no keeper, or it drains before there is one")
	}
	f.says(keeper.current, &control.Lent{Count: 2})
	if leaving.state != Draining || l.steered != 2 || len(done) != 1 || done[0] != nil {
		t.Fatalf("%s, steered to %d, done %v", leaving.state, l.steered, done)
	}
	f.says(leaving, &control.Draining{}, &control.Drained{})
	f.dies(leaving, 0)
	if len(l.shards) != 3 || heard(keeper.current, control.KindReturn) != 0 {
		t.Fatal("the shard is not parked")
	}
	f.after(parkTime)
	if heard(keeper.current, control.KindReturn) != 1 || len(l.shards) != 3 {
		t.Fatalf("asked back %d times, %d shards", heard(keeper.current, control.KindReturn), len(l.shards))
	}
	f.says(keeper.current, &control.Returned{Count: 1})
	if len(l.shards) != 2 || len(f.slots) != 2 || l.steered != 0 {
		t.Fatalf("%d shards, %d slots, steered to %d", len(l.shards), len(f.slots), l.steered)
	}
	if len(f.started) != 3 {
		t.Error("a successor of the leaving child was started")
	}
}

// More children while a slot is parked take it back with its sockets.
func TestScaleUpFromParked(t *testing.T) {
	f := serving3(t).withRuntime()
	l := f.shards.listeners[0]
	fd := l.shards[2]
	f.scale(2, "test", nil)
	f.tick()
	keeper := f.slots[2].keeper.current
	f.says(keeper, &control.Lent{Count: 2})
	f.says(f.started[2], &control.Draining{})
	done := false
	f.scale(4, "test", func(err error) { done = err == nil })
	f.tick()
	if l.shards[2] != fd || len(l.shards) != 4 || l.steered != 0 {
		t.Fatalf("%v, steered to %d", l.shards, l.steered)
	}
	// Until the new children serve, siblings accept for both.
	if f.slots[2].keeper == nil || f.slots[3].keeper == nil {
		t.Fatal("nobody accepts for the new children")
	}
	for index := 2; index < 4; index++ {
		for _, c := range f.started[:2] {
			for len(c.lends) > 0 {
				f.says(c, &control.Lent{})
			}
		}
		f.brings(f.last(index), Serving)
	}
	if !done || f.slots[2].keeper != nil || f.slots[3].keeper != nil {
		t.Fatalf("done %v", done)
	}
	for _, c := range f.started[:2] {
		for len(c.backs) > 0 {
			f.says(c, &control.Returned{})
		}
		if len(c.held) != 1 {
			t.Errorf("child %d still holds %v", c.slot.index, c.held)
		}
	}
}

// The shards of a child that fails again and again are lent to a sibling until it serves, and to the next one when that goes.
func TestCrashLoopIsLent(t *testing.T) {
	f := serving3(t)
	f.dies(f.started[1], 2<<8)
	s := f.slots[1]
	if s.keeper == nil || s.faults != 1 {
		t.Fatalf("keeper %v, %d faults", s.keeper, s.faults)
	}
	first := s.keeper
	f.says(first.current, &control.Lent{})
	if !f.holds(first.current, 1) {
		t.Fatalf("%v", first.current.held)
	}
	f.dies(first.current, syscall.WaitStatus(syscall.SIGKILL))
	if s.keeper == nil || s.keeper == first {
		t.Fatal("the keeper has gone, and nobody took its place")
	}
	f.after(backOffFirst)
	f.brings(f.last(1), Serving)
	if s.keeper != nil || heard(f.started[2], control.KindReturn) != 0 {
		t.Fatalf("a shard is asked back that was not taken yet: %v", f.started[2].held)
	}
	f.says(f.started[2], &control.Lent{})
	if heard(f.started[2], control.KindReturn) != 1 {
		t.Fatal("it is not asked back")
	}
}

// A kill from outside is over before a sibling could help.
func TestKilledChildIsNotLent(t *testing.T) {
	f := serving3(t)
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	if f.slots[1].keeper != nil {
		t.Fatal("its shards are lent")
	}
}

func TestScaleRefuses(t *testing.T) {
	f := serving3(t)
	for n, want := range map[int]string{0: "1 to", MaxChildren + 1: "1 to"} {
		f.scale(n, "test", func(err error) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d: %v", n, err)
			}
		})
	}
	if len(f.slots) != 3 {
		t.Error("the slots have changed")
	}
}

// A successor serves before the child that it replaces drains.
func TestRestart(t *testing.T) {
	f := serving3(t)
	old := f.started[1]
	var done []error
	for range 2 { // asked for twice, it is done once
		f.restart(1, "test", func(err error) { done = append(done, err) })
	}
	f.tick()
	if len(f.started) != 4 {
		t.Fatalf("%d lives were started", len(f.started))
	}
	heir := f.started[3]
	f.brings(heir, Admitting)
	if old.state != Serving || len(done) != 0 {
		t.Fatalf("before the successor serves: %s", old.state)
	}
	f.brings(heir, Serving)
	if old.state != Draining || f.slots[1].current != heir || len(done) != 2 || done[0] != nil {
		t.Fatalf("%s, done %v", old.state, done)
	}
	f.says(old, &control.Draining{}, &control.Drained{})
	f.dies(old, 0)
	if len(f.started) != 4 || f.slots[1].faults != 0 {
		t.Error("the end of the replaced child is taken for a fault")
	}
}

// A successor that fails changes nothing; a child that dies meanwhile is succeeded by it.
func TestRestartFails(t *testing.T) {
	f := serving3(t)
	var why error
	f.restart(1, "test", func(err error) { why = err })
	f.tick()
	f.dies(f.last(1), 2<<8)
	if why == nil || f.started[1].state != Serving || f.slots[1].current != f.started[1] {
		t.Fatalf("%v, %s", why, f.started[1].state)
	}
	f.restart(1, "test", nil)
	f.tick()
	heir := f.last(1)
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	if f.slots[1].current != heir || len(f.started) != 5 {
		t.Fatalf("the heir does not succeed; %d lives", len(f.started))
	}
	f.brings(heir, Serving)
}

// As in the field's other prefork servers, a signal adds or takes a child.
func TestScaleBySignal(t *testing.T) {
	f := serving3(t).withRuntime()
	f.onSignal(syscall.SIGTTIN)
	f.tick()
	if f.children() != 4 || len(f.started) != 4 {
		t.Fatalf("%d children, %d lives", f.children(), len(f.started))
	}
	f.onSignal(syscall.SIGTTOU)
	f.onSignal(syscall.SIGTTOU)
	if f.children() != 2 {
		t.Fatalf("%d children", f.children())
	}
	f.onSignal(syscall.SIGTTOU)
	f.onSignal(syscall.SIGTTOU)
	if f.children() != 1 || !f.logged("stays as it is") {
		t.Fatalf("%d children", f.children())
	}
}

// Where the kernel cannot be told to send new connections elsewhere, nothing is closed that gets some.
func TestScaleDownWithoutSteering(t *testing.T) {
	f := serving3(t).withRuntime()
	l := f.shards.listeners[0]
	l.unknown = true
	f.scale(2, "test", nil)
	f.tick()
	keeper := f.slots[2].keeper.current
	f.says(keeper, &control.Lent{Count: 2})
	f.says(f.started[2], &control.Draining{}, &control.Drained{})
	f.dies(f.started[2], 0)
	for range 10 {
		f.after(parkTime)
	}
	if len(l.shards) != 3 || heard(keeper, control.KindReturn) != 0 {
		t.Fatalf("%d shards, asked back %d times", len(l.shards), heard(keeper, control.KindReturn))
	}
	f.scale(3, "test", nil) // it is taken back as it is
	f.tick()
	f.brings(f.last(2), Serving)
	if heard(keeper, control.KindReturn) != 1 || len(l.shards) != 3 {
		t.Fatalf("%d shards, asked back %d times", len(l.shards), heard(keeper, control.KindReturn))
	}
}

// An heir whose slot is given up and taken back is the child of the slot, or is forgotten when it has ended.
func TestScaleTakesBackASlotWithAnHeir(t *testing.T) {
	for _, dies := range []bool{false, true} {
		f := serving3(t).withRuntime()
		f.restart(2, "test", nil)
		f.tick()
		s, heir := f.slots[2], f.last(2)
		f.scale(2, "test", nil)
		if dies {
			f.dies(heir, 2<<8)
		}
		f.dies(f.started[2], syscall.WaitStatus(syscall.SIGKILL))
		if (s.current == heir) == dies {
			t.Fatalf("the heir has ended: %v; current %v", dies, s.current)
		}
		f.scale(3, "test", nil)
		f.tick()
		if dies == (s.current == heir) || s.heir != nil || s.current == nil || s.current.state == Ended {
			t.Fatalf("the heir has ended: %v; current %v, heir %v", dies, s.current, s.heir)
		}
		f.brings(s.current, Serving)
	}
}

// So is one beside a child that is about to end.
func TestScaleTakesBackASlotWithAChildThatEnds(t *testing.T) {
	f := serving3(t).withRuntime()
	f.restart(2, "test", nil)
	f.tick()
	s, heir := f.slots[2], f.last(2)
	f.scale(2, "test", nil)
	f.handle(f.started[2], silence{})
	f.scale(3, "test", nil)
	f.tick()
	if s.current != heir || s.heir != nil || len(f.started) != 4 {
		t.Fatalf("current %v, heir %v, %d lives", s.current, s.heir, len(f.started))
	}
	f.brings(heir, Serving)
}

// A shard stays parked for the whole time after the kernel was told, however long before that its keeper had it.
func TestParkTimeBeginsWithTheSteering(t *testing.T) {
	f := servingFleet(t, 4).withRuntime()
	l := f.shards.listeners[0]
	f.scale(2, "test", nil)
	f.tick()
	first, second := f.slots[2].keeper.current, f.slots[3].keeper.current
	if first == second {
		t.Fatal("one child keeps both")
	}
	f.says(first, &control.Lent{})
	f.after(f.bounds.answer - time.Second)
	if l.steered != 0 {
		t.Fatal("connections are steered away from a shard before that of another leaving child is kept")
	}
	f.says(second, &control.Lent{})
	if l.steered != 2 {
		t.Fatalf("steered to %d", l.steered)
	}
	f.after(parkTime - time.Second)
	if heard(first, control.KindReturn) != 0 {
		t.Fatal("it is asked back too early")
	}
	f.after(time.Second)
	if heard(first, control.KindReturn) != 1 || heard(second, control.KindReturn) != 1 {
		t.Fatal("it is not asked back")
	}
}

// An heir that somebody tells to drain is none any more.
func TestHeirThatDrains(t *testing.T) {
	f := serving3(t)
	var why error
	f.restart(1, "test", func(err error) { why = err })
	f.tick()
	heir := f.last(1)
	f.brings(heir, Admitting)
	f.says(heir, &control.Draining{})
	if why == nil || f.slots[1].heir != nil || f.started[1].state != Serving {
		t.Fatalf("%v", why)
	}
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	if c := f.slots[1].current; c == nil || c == heir || c.state != Starting {
		t.Fatal("the place is left to a child that drains")
	}
	f.says(heir, &control.Drained{})
	f.dies(heir, 0)
	f.brings(f.last(1), Serving)
}

// An heir that is about to end does not take the place of a child that ends before it.
func TestHeirThatEndsDoesNotSucceed(t *testing.T) {
	f := serving3(t)
	f.restart(1, "test", nil)
	f.tick()
	heir := f.last(1)
	f.handle(heir, silence{})
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	if c := f.slots[1].current; c == nil || c == heir {
		t.Fatal("the place is left to a child that ends")
	}
	f.handle(heir, exit{2 << 8})
	if f.slots[1].heir != nil {
		t.Fatal("it is the heir still")
	}
	f.brings(f.last(1), Serving)
}

// A stop answers all who wait for something that will not come any more.
func TestStopAnswersThoseWhoWait(t *testing.T) {
	f := serving3(t).withRuntime()
	var scaled, restarted []error
	f.restart(1, "test", func(err error) { restarted = append(restarted, err) })
	f.scale(4, "test", func(err error) { scaled = append(scaled, err) })
	f.tick()
	f.onSignal(syscall.SIGTERM)
	if len(scaled) != 1 || scaled[0] == nil || len(restarted) != 1 || restarted[0] == nil {
		t.Errorf("scale: %v, restart: %v", scaled, restarted)
	}
}

// A child that hangs in the kernel does not keep its place, and changes nothing when it ends after all.
func TestChildThatDoesNotDieIsReplaced(t *testing.T) {
	f := serving3(t)
	c := f.started[1]
	f.says(c, &control.Accepting{}) // which it was not asked for
	f.after(f.bounds.unkilled)
	f.after(backOffFirst)
	next := f.last(1)
	if next == c || f.slots[1].current != next || f.slots[1].faults != 1 {
		t.Fatal("nobody takes its place")
	}
	f.brings(next, Serving)
	f.dies(c, syscall.WaitStatus(syscall.SIGKILL))
	if c.state != Ended || f.slots[1].current != next || f.slots[1].faults != 1 || len(f.started) != 4 {
		t.Fatalf("%s, %d faults, %d lives", c.state, f.slots[1].faults, len(f.started))
	}
}

// A successor that takes its time does not let connections wait: a sibling accepts for it after a moment.
func TestSlowSuccessorIsLent(t *testing.T) {
	f := serving3(t)
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	s := f.slots[1]
	f.brings(f.last(1), Preparing)
	f.after(darkBound - time.Millisecond)
	if s.keeper != nil {
		t.Fatal("lent too early")
	}
	f.after(time.Millisecond)
	if s.keeper == nil {
		t.Fatal("nobody accepts for it")
	}
	f.says(s.keeper.current, &control.Lent{})
	f.brings(f.last(1), Serving)
	if s.keeper != nil || !s.dark.IsZero() {
		t.Fatal("its shards are not its own again")
	}
}
