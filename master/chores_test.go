package master

import (
	"slices"
	"testing"
	"time"

	"github.com/tined/tined/netcore/control"
)

// listOf are chores with these names, that come every so often.
func listOf(every time.Duration, names ...string) (list []control.Chore) {
	for _, name := range names {
		list = append(list, control.Chore{Name: name, EveryMillis: every.Milliseconds(), TimeoutMillis: 1000})
	}
	return list
}

func namesOf(chores []*chore) (names []string) {
	for _, c := range chores {
		names = append(names, c.name)
	}
	return names
}

func TestSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for _, name := range []string{"a", "b", "c", "sqlite main /db/ checkpoint", "sqlite main /db/ backup", ""} {
		d := spread(name, 16*time.Minute)
		if d < time.Minute || d >= 2*time.Minute || d != spread(name, 16*time.Minute) {
			t.Errorf("%q: %v", name, d)
		}
		seen[d] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d different times for 6 names", len(seen))
	}
}

// The interval is counted from the end of a run, whatever its outcome, and there is one at a time.
func TestScheduleOfOneChore(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(seconds) * time.Second) }
	var s schedule
	s.replace(listOf(160*time.Second, "a"), at(0))
	first := s.next(true)
	if first.Before(at(10)) || first.After(at(20)) || !s.next(false).IsZero() {
		t.Fatalf("first run at %v", first.Sub(at(0)))
	}
	if due := s.begin(at(9)); due != nil {
		t.Fatal("a run begins early")
	}
	if due := namesOf(s.begin(at(20))); !slices.Equal(due, []string{"a"}) {
		t.Fatalf("due: %q", due)
	}
	if due := s.begin(at(1000)); due != nil {
		t.Error("a run begins beside another")
	}
	limit := at(21).Add(choreGrace)
	if !s.next(true).Equal(limit) || !s.next(false).Equal(limit) || s.late(limit.Add(-1)) != nil || s.late(limit) == nil {
		t.Errorf("the limit is %v", s.next(true).Sub(at(0)))
	}
	if s.end(7, "", at(30)) != nil || s.end(0, "", at(30)) != nil {
		t.Error("a run has ended that there was not")
	}
	c := s.end(1, "disk full", at(30))
	if c == nil || c.fault != "disk full" || c.failed != 1 || c.count != 1 || c.took != 10*time.Second || !s.next(true).Equal(at(190)) {
		t.Errorf("%+v", c)
	}
	if due := s.begin(at(190)); len(due) != 1 || due[0].run != 2 {
		t.Errorf("%+v", due)
	}
	if c = s.end(2, "", at(191)); c.fault != "" || c.failed != 1 || c.count != 2 {
		t.Errorf("%+v", c)
	}
}

// A reload keeps what it knows of a chore; what it takes away while it runs is forgotten at its end, unless it has come back.
func TestScheduleOverReloads(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(seconds) * time.Second) }
	var s schedule
	s.replace(listOf(160*time.Second, "a", "b", "c"), at(0))
	s.begin(at(20))
	s.end(1, "", at(20)) // a
	s.end(2, "", at(20)) // b

	s.replace(listOf(100*time.Second, "b", "d", "a"), at(50)) // c still runs
	if got := namesOf(s.chores); !slices.Equal(got, []string{"b", "d", "a", "c"}) {
		t.Fatalf("%q", got)
	}
	if b := s.chores[0]; !b.due.Equal(at(120)) || b.count != 1 {
		t.Errorf("%+v", b)
	}
	if d := s.chores[1]; d.due.Before(at(56)) || d.due.After(at(63)) {
		t.Errorf("the new one is due at %v", d.due.Sub(at(0)))
	}
	s.replace(listOf(10*time.Second, "b", "c"), at(60))
	if c := s.chores[1]; c.gone || c.run != 3 || !c.due.IsZero() {
		t.Errorf("%+v", c)
	}
	if due := namesOf(s.begin(at(60))); !slices.Equal(due, []string{"b"}) { // its time has passed by the shorter interval
		t.Errorf("due: %q", due)
	}
	s.replace(nil, at(61))
	if due := s.begin(at(1_000_000)); due != nil || len(s.chores) != 2 {
		t.Errorf("due: %v, kept: %v", due, namesOf(s.chores))
	}
	for run := range uint64(2) {
		if s.end(run+3, "", at(62)) == nil {
			t.Errorf("run %d is not known", run+3)
		}
	}
	if len(s.chores) != 0 || !s.next(true).IsZero() {
		t.Errorf("left: %q", namesOf(s.chores))
	}
}
