package board

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func register(t testing.TB, counterNames, valueNames []string) *Shared {
	t.Helper()
	s := new(Shared)
	for _, name := range counterNames {
		if _, err := s.Counter(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range valueNames {
		if _, err := s.Value(name); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// What the master has counted so far counts, what a child has counted by itself does not, and both count together from then on.
func TestShareAndJoin(t *testing.T) {
	names, values := []string{"a", "b"}, []string{"v"}
	master, child := register(t, names, values), register(t, names, values)
	master.counters[0].Add(5)
	child.counters[0].Add(5)
	if err := child.values[0].Set("forgotten"); err != nil {
		t.Fatal(err)
	}
	segment, err := master.Share()
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	over := child.values[0].Changed()
	carried := ""
	carry := func(name, text string, _ time.Time) (uint64, error) {
		carried += name + "=" + text + ";"
		if text == "bad" {
			return 0, ErrNoMaster
		}
		return 7, nil
	}
	if err := child.Join(segment.File(), names, values, carry); err != nil {
		t.Fatal(err)
	}
	if got := child.counters[0].Add(2); got != 7 || master.counters[0].Load() != 7 || master.counters[1].Load() != 0 {
		t.Errorf("%d, %d, %d", got, master.counters[0].Load(), master.counters[1].Load())
	}
	v := child.values[0]
	if text, revision := v.Reading(); text != "" || revision != 0 {
		t.Errorf("after joining: %q, %d", text, revision)
	}
	select {
	case <-over:
	default:
		t.Error("nobody is told that the own text is gone")
	}
	if err := v.Set("x"); err != nil || v.Get() != "x" || carried != "v=x;" {
		t.Errorf("%q, %v, carried %q", v.Get(), err, carried)
	}
	v.Follow("older", 6)
	if v.Get() != "x" {
		t.Error("an older text was taken")
	}
	v.Follow("newer", 8)
	if err := v.Set("bad"); !errors.Is(err, ErrNoMaster) || v.Get() != "newer" {
		t.Errorf("%q, %v", v.Get(), err)
	}
	if err := v.Set(strings.Repeat("x", MaxValue+1)); !errors.Is(err, ErrTooLong) || strings.Contains(carried, "xx") {
		t.Errorf("%v", err)
	}
}

// With a master that hangs, no Set waits longer than SetBound, however many wait before it.
func TestSetIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValue("v")
		v.submit(func(_, _ string, by time.Time) (uint64, error) {
			time.Sleep(time.Until(by))
			return 0, ErrNoMaster
		})
		begun := time.Now()
		var sets sync.WaitGroup
		for range 10 {
			sets.Go(func() {
				if err := v.Set("x"); !errors.Is(err, ErrNoMaster) {
					t.Error(err)
				}
				if waited := time.Since(begun); waited > SetBound {
					t.Errorf("a Set has waited for %v", waited)
				}
			})
		}
		sets.Wait()
	})
}

func TestJoinRefuses(t *testing.T) {
	three := create(t, counters, 3).File()
	for name, c := range map[string]struct {
		file             *os.File
		counters, values []string
		want             string
	}{
		"other counters": {three, []string{"a", "c"}, []string{"v"}, `master are ["a" "c"], those of the child ["a" "b"]`},
		"another order":  {three, []string{"b", "a"}, []string{"v"}, "in the same order"},
		"other values":   {three, []string{"a", "b"}, nil, "shared values"},
		"no file":        {nil, []string{"a", "b"}, []string{"v"}, "has not come"},
		"another file":   {three, []string{"a", "b"}, []string{"v"}, "bytes, not"},
	} {
		s := register(t, []string{"a", "b"}, []string{"v"})
		if err := s.Join(c.file, c.counters, c.values, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if s.counters[0].Add(1) != 1 {
			t.Errorf("%s: the counter has moved", name)
		}
	}
	if err := new(Shared).Join(nil, nil, nil, nil); err != nil {
		t.Errorf("nothing to share: %v", err)
	}
	if segment, err := new(Shared).Share(); segment != nil || err != nil {
		t.Errorf("nothing to share: %v, %v", segment, err)
	}
}

func TestNamesAndLimits(t *testing.T) {
	s := new(Shared)
	for name, ok := range map[string]bool{
		"visits": true, "a/b.c:D-9_": true, strings.Repeat("n", 64): true,
		"": false, strings.Repeat("n", 65): false, "a b": false, "é": false, "a\n": false, "\xff": false,
	} {
		if _, err := s.Counter(name); (err == nil) != ok {
			t.Errorf("counter %q: %v", name, err)
		}
		if _, err := s.Value(name); (err == nil) != ok {
			t.Errorf("value %q: %v", name, err)
		}
	}
	s = new(Shared)
	for i := range MaxCounters {
		if _, err := s.Counter(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range MaxValues {
		if _, err := s.Value(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Counter("more"); err == nil {
		t.Error("one counter too many")
	}
	if _, err := s.Value("more"); err == nil {
		t.Error("one value too many")
	}
	if s.Named("3") != s.values[3] || s.Named("none") != nil {
		t.Error("Named finds another value")
	}
}

// Whoever looks sees texts in their order, each whole, and is told of the last one.
func TestValueUnderConcurrentUse(t *testing.T) {
	const sets, setters, readers = 200, 3, 3
	v := newValue("v")
	var reading, setting sync.WaitGroup
	final := make(chan struct{})
	for range readers {
		reading.Go(func() {
			for last := uint64(0); ; {
				changed := v.Changed()
				text, revision := v.Reading()
				if revision < last || revision > 0 && text != "text" {
					t.Errorf("revision %d after %d, %q", revision, last, text)
				}
				if last = revision; last == sets*setters {
					return
				}
				<-changed
			}
		})
	}
	for range setters {
		setting.Go(func() {
			for range sets {
				if err := v.Set("text"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	setting.Wait()
	go func() { reading.Wait(); close(final) }()
	<-final
}

func BenchmarkCounterAdd(b *testing.B) {
	s := register(b, []string{"a"}, nil)
	segment, err := s.Share()
	if err != nil {
		b.Fatal(err)
	}
	defer segment.Close()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.counters[0].Add(1)
		}
	})
}

func BenchmarkValueGet(b *testing.B) {
	v := newValue("v")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = v.Get()
		}
	})
}

// A later process goes on with the counters of the one before, and adds what it has counted itself.
func TestResume(t *testing.T) {
	make2 := func(names ...string) (*Shared, []*Counter) {
		s := new(Shared)
		var counters []*Counter
		for _, name := range names {
			c, err := s.Counter(name)
			if err != nil {
				t.Fatal(err)
			}
			counters = append(counters, c)
		}
		return s, counters
	}
	old, before := make2("a", "b")
	first, err := old.Share()
	if err != nil {
		t.Fatal(err)
	}
	before[0].Add(5)
	next, after := make2("a", "b")
	after[0].Add(2)
	second, err := next.Resume(first.File(), old.Counters())
	if err != nil {
		t.Fatal(err)
	}
	if before[0].Load() != 7 || after[0].Load() != 7 || after[1].Add(3) != 3 || before[1].Load() != 3 {
		t.Errorf("%d %d, %d %d", before[0].Load(), after[0].Load(), before[1].Load(), after[1].Load())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third, last := make2("a", "b") // the file of the second is one of its own
	if _, err := third.Resume(second.File(), next.Counters()); err != nil || last[0].Load() != 7 {
		t.Errorf("%d, %v", last[0].Load(), err)
	}
	for name, names := range map[string][]string{"fewer": {"a"}, "others": {"a", "c"}, "another order": {"b", "a"}, "none": nil} {
		s, _ := make2(names...)
		if _, err := s.Resume(second.File(), next.Counters()); !errors.Is(err, ErrNotSegment) {
			t.Errorf("%s: %v", name, err)
		}
		if len(names) == 2 {
			continue
		}
		if _, err := s.Resume(second.File(), names); err == nil { // the names are as they say, and the segment is not
			t.Errorf("%s, of the right names: no error", name)
		}
	}
}
