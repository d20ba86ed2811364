package master

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tined/tined/netcore/control"
)

// adoptedFleet is a fleet whose one child serves what an earlier master has given it, while this one starts.
func adoptedFleet(t *testing.T) (*fleet, *child) {
	f := servingFleet(t, 1)
	c := f.last(0)
	c.adopted = true
	f.phase, f.admissions = starting, false
	f.generation, f.lastGeneration, f.firstGeneration = 2, 2, 2
	proc(c).sent = nil
	f.alignOrphans()
	if kinds := proc(c).sentKinds(); !slices.Equal(kinds, []control.Kind{control.KindPrepare}) || f.phase != starting {
		t.Fatalf("sent %v, %s", kinds, f.phase)
	}
	return f, c
}

// The start waits until an adopted child serves the configuration; no child is started for it.
func TestAdoptedChildIsAligned(t *testing.T) {
	f, c := adoptedFleet(t)
	f.says(c, &control.Prepared{Generation: 2, Digest: f.config.Digest})
	if f.phase != starting {
		t.Fatal("announced before the commit")
	}
	f.says(c, &control.Committed{Generation: 2})
	if f.phase != serving || c.generation != 2 || len(f.started) != 1 {
		t.Errorf("%s, generation %d, %d lives", f.phase, c.generation, len(f.started))
	}
	f.after(f.bounds.prepare)
	if c.state != Serving || c.misfit != "" || len(f.started) != 1 {
		t.Errorf("later: %s, %q", c.state, c.misfit)
	}
}

// One that refuses, or does not answer, serves on until a successor does. It has no vote in a reload meanwhile.
func TestMisfitServesUntilItsSuccessorDoes(t *testing.T) {
	for name, refuse := range map[string]func(*fleet, *child){
		"refuses": func(f *fleet, c *child) { f.says(c, &control.Failed{Generation: 2, Diagnostic: "not mine"}) },
		"silent":  func(f *fleet, _ *child) { f.after(f.bounds.prepare) },
	} {
		f, c := adoptedFleet(t)
		refuse(f, c)
		if c.state != Serving || c.misfit == "" || f.phase != serving || c.votes() {
			t.Fatalf("%s: %s, misfit %q, %s", name, c.state, c.misfit, f.phase)
		}
		f.tick()
		if len(f.started) != 2 {
			t.Fatalf("%s: no successor is started", name)
		}
		f.ends(f.last(0), byExit(3)) // the next attempt waits
		f.tick()
		if len(f.started) != 2 || c.state != Serving {
			t.Fatalf("%s: %d lives, %s", name, len(f.started), c.state)
		}
		f.after(misfitRetry)
		if len(f.started) != 3 {
			t.Fatalf("%s: no second attempt", name)
		}
		heir := f.last(0)
		f.brings(heir, Serving)
		if c.state != Draining || f.slots[0].current != heir || len(proc(c).killed) != 0 {
			t.Errorf("%s: the misfit is %s, killed %v", name, c.state, proc(c).killed)
		}
	}
}

// A start that fails ends its own children, and lets the adopted ones go.
func TestFailedStartKillsNoAdoptedChild(t *testing.T) {
	f := servingFleet(t, 2)
	adopted, own := f.last(0), f.last(1)
	adopted.adopted = true
	f.phase = starting
	f.fail("no")
	if p := proc(adopted); len(p.killed) != 0 || !p.released || adopted.state != Ended || slices.Contains(p.sentKinds(), control.KindDrain) {
		t.Errorf("killed %v, released %v, %s, sent %v", p.killed, p.released, adopted.state, p.sentKinds())
	}
	if !slices.Contains(proc(own).sentKinds(), control.KindDrain) {
		t.Error("the other goes on")
	}
	f.ends(own, byExit(0))
	if !f.finished || f.code != exitRefused {
		t.Errorf("finished %v, code %d", f.finished, f.code)
	}
}

// Nobody but the parent learns how a process has ended: it is no fault, and its place is filled at once.
func TestDepartureOfAnAdoptedChild(t *testing.T) {
	f := servingFleet(t, 1)
	c := f.last(0)
	c.adopted = true
	f.handle(c, silence{})
	f.handle(c, departure{})
	f.tick()
	if c.state != Ended || f.last(0) == c || f.slots[0].faults != 0 || !strings.Contains(f.slots[0].lastEnd, "its master was another process") {
		t.Errorf("%s, %d faults, %q", c.state, f.slots[0].faults, f.slots[0].lastEnd)
	}
	f = servingFleet(t, 1)
	c = f.last(0)
	f.kill(c, "it hung")
	f.handle(c, departure{})
	f.handle(c, silence{})
	if v, how := judge(c); v != ownFault || !strings.Contains(how, "it hung") || !slices.Equal(proc(c).killed, []syscall.Signal{syscall.SIGKILL}) {
		t.Errorf("%d, %q", v, how)
	}
}
