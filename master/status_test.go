package master

import (
	"reflect"
	"testing"
	"time"
)

// A child that fails again and again is shown as what it is: since when, until when, and who stands in for it.
func TestStatusOfACrashLoop(t *testing.T) {
	f := servingFleet(t, 2)
	f.ends(f.last(0), byExit(2))
	s := f.status()
	one := s.Children[0]
	if one.Index != 0 || one.State != StateWaiting || !one.CrashLoop || one.Faults != 1 || one.LastEnd != "exited with status 2" || one.Pid != 0 {
		t.Errorf("%+v", one)
	}
	if one.WaitingUntil == nil || !one.WaitingUntil.Equal(f.clock.Add(backOffFirst)) || one.LentTo == nil || *one.LentTo != 1 {
		t.Errorf("until %v, lent to %v", one.WaitingUntil, one.LentTo)
	}
	if other := s.Children[1]; other.CrashLoop || other.WaitingUntil != nil || other.LentTo != nil || other.Generation != 1 {
		t.Errorf("the sibling: %+v", other)
	}
	f.after(backOffFirst)
	if one = f.status().Children[0]; one.State != "starting" || !one.CrashLoop || one.WaitingUntil != nil || one.Generation != 0 || one.Restarts != 1 {
		t.Errorf("on its way: %+v", one)
	}
	f.brings(f.last(0), Serving)
	if one = f.status().Children[0]; one.State != "serving" || one.CrashLoop || one.Generation != 1 {
		t.Errorf("again: %+v", one)
	}
}

func TestStatusOfASuccessor(t *testing.T) {
	f := servingFleet(t, 1)
	f.restart(0, "a test", nil)
	s := f.status()
	if len(s.Children) != 2 || s.ChildCount != 1 {
		t.Fatalf("%+v", s.Children)
	}
	successors := 0
	for _, c := range s.Children {
		if c.Successor {
			successors++
			if c.State != "starting" {
				t.Errorf("%+v", c)
			}
		} else if c.State != "serving" {
			t.Errorf("%+v", c)
		}
	}
	if successors != 1 {
		t.Errorf("%d successors", successors)
	}
}

func TestStatusOfFewerChildren(t *testing.T) {
	f := servingFleet(t, 2)
	if o := f.status().Overrides; !reflect.DeepEqual(o, Overrides{}) {
		t.Errorf("%+v", o)
	}
	f.scale(1, "a test", nil)
	s := f.status()
	if s.ChildCount != 1 || s.Overrides.Children != 1 || len(s.Children) != 2 || s.Children[0].Leaving || !s.Children[1].Leaving {
		t.Errorf("%d, %+v, %+v", s.ChildCount, s.Overrides, s.Children)
	}
}

func TestStatusShowsTheLastReload(t *testing.T) {
	f := servingFleet(t, 1)
	if s := f.status(); s.LastReload != nil || s.Reloading {
		t.Errorf("%+v", s)
	}
	f.lastReload = &Reload{At: time.Unix(1, 0), Reason: "no"}
	f.reloading = new(reloading)
	if s := f.status(); s.LastReload.Reason != "no" || !s.Reloading {
		t.Errorf("%+v", s)
	}
}
