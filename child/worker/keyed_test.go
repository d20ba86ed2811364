package worker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestKeyedOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 8, Queue: 8})
		k := NewKeyed[string](p, KeyedOptions{Queue: 10, PerKey: 3})
		release := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		var order []string
		var mu sync.Mutex
		submit := func(key string, n int) bool {
			return k.Submit(key, job(func() {
				<-release[key]
				mu.Lock()
				order = append(order, fmt.Sprint(key, n))
				mu.Unlock()
			}))
		}
		submit("a", 0)
		synctest.Wait()
		for n := 1; n <= 3; n++ {
			if !submit("a", n) {
				t.Fatalf("a%d refused", n)
			}
		}
		if submit("a", 4) {
			t.Error("a fourth waiting job of one key was accepted")
		}
		if !submit("b", 0) {
			t.Fatal("b refused")
		}
		synctest.Wait()
		if s := p.Stats(); s.Busy != 2 || s.Workers != 2 {
			t.Errorf("a waiting key must hold no worker: %+v", s)
		}
		if s := k.Stats(); s.Keys != 2 || s.Queued != 3 || s.Rejected != 1 {
			t.Errorf("%+v", s)
		}
		close(release["b"]) // b does not wait for a
		synctest.Wait()
		if s := k.Stats(); s.Keys != 1 {
			t.Errorf("an idle key is still known: %+v", s)
		}
		close(release["a"])
		synctest.Wait()
		if want := []string{"b0", "a0", "a1", "a2", "a3"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		if s := k.Stats(); s.Keys != 0 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
		end(t, p)
	})
}

func TestKeyedBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 1, Queue: 2})
		k := NewKeyed[int](p, KeyedOptions{Queue: 4})
		release := make(chan struct{})
		wait := func() *Job { return job(func() { <-release }) }
		k.Submit(0, wait())
		synctest.Wait()
		for key := 1; key <= 2; key++ {
			if !k.Submit(key, wait()) {
				t.Errorf("key %d refused", key)
			}
		}
		if k.Submit(3, wait()) {
			t.Error("the pool is full, and another key was accepted")
		}
		if s := k.Stats(); s.Keys != 3 {
			t.Errorf("the refused key stayed: %+v", s)
		}
		if !k.Submit(0, wait()) || !k.Submit(1, wait()) {
			t.Error("a known key needs no place in the pool")
		}
		if k.Submit(1, wait()) {
			t.Error("accepted above Queue")
		}
		close(release)
		end(t, p) // the pool is closed: the lanes still drain
		if s := k.Stats(); s.Keys != 0 || s.Queued != 0 || s.Rejected != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestKeyedRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 1, Queue: 5})
		k := NewKeyed[string](p, KeyedOptions{})
		release := make(chan struct{})
		first := job(func() { <-release })
		k.Submit("a", first)
		synctest.Wait()
		never := job(func() { t.Error("a removed job ran") })
		k.Submit("a", never)
		k.Submit("b", job(func() {}))
		alone := job(func() { t.Error("a removed job ran") })
		k.Submit("c", alone)
		if k.Remove("a", first) || k.Remove("b", never) || k.Remove("z", never) {
			t.Error("removed what is not there")
		}
		if !k.Remove("a", never) || k.Remove("a", never) || !k.Remove("c", alone) {
			t.Error("want removed once")
		}
		if s, q := k.Stats(), p.Stats().Queued; s.Keys != 2 || s.Removed != 2 || q != 1 {
			t.Errorf("%+v, %d lanes queued", s, q)
		}
		close(release)
		synctest.Wait()
		if s := k.Stats(); s.Keys != 0 {
			t.Errorf("%+v", s)
		}
		end(t, p)
	})
}

func TestKeyedSurvivesPanics(t *testing.T) {
	var told atomic.Int64
	p := New(Options{Max: 1, Queue: 5, Panic: func(task Task, value any, stack []byte) {
		if value == "bad" {
			if _, ok := task.(TaskFunc); !ok {
				t.Errorf("told about a %T", task)
			}
		}
		told.Add(1)
	}})
	k := NewKeyed[string](p, KeyedOptions{})
	done := make(chan struct{})
	k.Submit("a", job(func() { panic("bad") }))
	k.Submit("a", job(runtime.Goexit))
	k.Submit("a", job(func() { close(done) }))
	<-done
	end(t, p)
	if told.Load() != 2 {
		t.Errorf("told %d times", told.Load())
	}
}

// Jobs of one key never overlap and keep their order, whatever the pool does.
func TestKeyedStress(t *testing.T) {
	p := New(Options{Min: 1, Max: 6, Queue: 8})
	k := NewKeyed[int](p, KeyedOptions{Queue: 64, PerKey: 8})
	const keys, submitters, each = 16, 4, 3000
	var running [keys]atomic.Int32
	var last [keys][submitters]int // guarded by "one at a time", which the race detector checks
	var ended atomic.Int64
	var group sync.WaitGroup
	for submitter := range submitters {
		group.Go(func() {
			for n := 1; n <= each; n++ {
				key := rand.IntN(keys)
				j := job(func() {
					if running[key].Add(1) != 1 {
						t.Error("two at a time")
					}
					if last[key][submitter] >= n {
						t.Error("out of order")
					}
					last[key][submitter] = n
					if n%7 == 0 {
						runtime.Gosched()
					}
					running[key].Add(-1)
					ended.Add(1)
					if n%50 == 0 {
						panic("bad")
					}
				})
				switch {
				case !k.Submit(key, j):
					ended.Add(1)
					runtime.Gosched()
				case rand.IntN(4) == 0 && k.Remove(key, j):
					ended.Add(1)
				}
			}
		})
	}
	group.Wait()
	end(t, p)
	if ended.Load() != submitters*each {
		t.Errorf("%d jobs ended, want %d", ended.Load(), submitters*each)
	}
	if s := k.Stats(); s.Keys != 0 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
}

func TestKeyedDoesNotAllocate(t *testing.T) {
	p := New(Options{Min: 2, Max: 2, Queue: 10})
	defer end(t, p)
	k := NewKeyed[int](p, KeyedOptions{})
	back := make(chan struct{}, 1)
	j := job(func() { back <- struct{}{} })
	key := 0
	if n := testing.AllocsPerRun(200, func() {
		key = (key + 1) % 16
		k.Submit(key, j)
		<-back
	}); n != 0 {
		t.Errorf("%v allocations a job", n)
	}
}
