package worker

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func job(f func()) *Job { return &Job{Task: TaskFunc(f)} }

// end closes a pool and waits for its last worker.
func end(t testing.TB, p *Pool) {
	t.Helper()
	p.Close()
	<-p.Done()
	if s := p.Stats(); s.Workers != 0 || s.Idle != 0 || s.Busy != 0 || s.Queued != 0 {
		t.Errorf("after Done: %+v", s)
	}
}

func TestPoolRunsEverything(t *testing.T) {
	p := New(Options{Min: 1, Max: 4, Queue: 1000})
	var ran atomic.Int64
	for range 1000 {
		if !p.Submit(job(func() { ran.Add(1) })) {
			t.Fatal("refused")
		}
	}
	end(t, p) // Close lets the queued jobs run
	if ran.Load() != 1000 {
		t.Errorf("%d jobs ran, want 1000", ran.Load())
	}
	if s := p.Stats(); s.Started != 1000 || s.Rejected != 0 || s.Spawned > 4 {
		t.Errorf("%+v", s)
	}
	if p.Submit(job(func() {})) {
		t.Error("a closed pool took a job")
	}
	p.Close()
}

// The pool grows to Max with tasks that block, refuses at Max+Queue, and after Idle
// is back at Min; never earlier than Idle and never later than one and a half of it.
func TestPoolGrowsAndShrinks(t *testing.T) {
	for _, minimum := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			const idle = 10 * time.Second
			p := New(Options{Min: minimum, Max: 8, Queue: 5, Idle: idle})
			synctest.Wait()
			if s := p.Stats(); s.Workers != minimum || s.Idle != minimum {
				t.Fatalf("at first: %+v", s)
			}
			release := make(chan struct{})
			for range 8 + 5 {
				if !p.Submit(job(func() { <-release })) {
					t.Fatal("refused below Max+Queue")
				}
			}
			if p.Submit(job(func() {})) {
				t.Fatal("accepted above Max+Queue, before a worker could run")
			}
			synctest.Wait()
			if s := p.Stats(); s.Workers != 8 || s.Busy != 8 || s.Queued != 5 || s.Idle != 0 {
				t.Fatalf("full: %+v", s)
			}
			if p.Submit(job(func() {})) {
				t.Fatal("accepted above Max+Queue")
			}
			if p.Offer(job(func() {})) {
				t.Fatal("an offer is accepted above Max+Queue")
			}
			close(release)
			synctest.Wait()
			if s := p.Stats(); s.Workers != 8 || s.Idle != 8 || s.Started != 13 || s.Rejected != 2 {
				t.Fatalf("idle: %+v", s)
			}
			time.Sleep(idle - time.Millisecond)
			synctest.Wait()
			if s := p.Stats(); s.Workers != 8 {
				t.Fatalf("a worker left too early: %+v", s)
			}
			time.Sleep(idle/2 + 2*time.Millisecond)
			synctest.Wait()
			if s := p.Stats(); s.Workers != minimum || s.Idle != minimum {
				t.Fatalf("not back at Min: %+v", s)
			}
			end(t, p)
		})
	}
}

// An excused job does not count: another takes its worker's place, and its worker goes when it returns, in whatever way.
func TestPoolExcuse(t *testing.T) {
	for _, leave := range []func(){func() {}, func() { panic("x") }, runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Options{Min: 1, Max: 1, Queue: 1})
			release := make(chan struct{})
			for range 3 {
				var long *Job
				long = job(func() {
					p.Excuse(long)
					<-release
					leave()
				})
				if !p.Submit(long) {
					t.Fatal("refused: the one before counts still")
				}
				synctest.Wait()
			}
			if s := p.Stats(); s.Busy != 0 || s.Workers != 1 || s.Idle != 1 || s.Excused != 3 {
				t.Fatalf("three are excused: %+v", s)
			}
			close(release)
			synctest.Wait()
			if s := p.Stats(); s.Busy != 0 || s.Workers != 1 || s.Idle != 1 {
				t.Errorf("they have returned: %+v", s)
			}
			end(t, p)
		})
	}
}

// One job at a time keeps one worker alive above Min, and no more.
func TestPoolKeepsTheRecentlyIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 4, Queue: 4, Idle: 10 * time.Second})
		for range 4 {
			p.Submit(job(func() { time.Sleep(time.Second) }))
		}
		for range 20 {
			time.Sleep(2 * time.Second)
			p.Submit(job(func() {}))
			synctest.Wait()
		}
		if s := p.Stats(); s.Workers != 1 || s.Spawned != 4 {
			t.Errorf("%+v", s)
		}
		end(t, p)
	})
}

// An idle pool has no timer: nothing wakes the process.
func TestPoolAtMinimumHasNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Min: 1, Max: 4, Queue: 4, Idle: time.Second})
		for range 4 {
			p.Submit(job(func() { time.Sleep(time.Second) }))
		}
		time.Sleep(time.Minute)
		p.mu.Lock()
		turn, reaping := p.turn, p.reaping
		p.mu.Unlock()
		if reaping {
			t.Error("the timer is armed")
		}
		time.Sleep(time.Minute)
		if p.mu.Lock(); p.turn != turn {
			t.Error("the reaper ran")
		}
		p.mu.Unlock()
		end(t, p)
	})
}

func TestPoolRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 1, Queue: 10})
		release := make(chan struct{})
		first := job(func() { <-release })
		p.Submit(first)
		synctest.Wait()
		var order []int
		jobs := make([]*Job, 5)
		for i := range jobs {
			jobs[i] = job(func() { order = append(order, i) })
			p.Submit(jobs[i])
		}
		if p.Remove(first) {
			t.Error("removed a running job")
		}
		for _, i := range []int{2, 0, 4} { // middle, head, tail
			if !p.Remove(jobs[i]) || p.Remove(jobs[i]) {
				t.Errorf("job %d: want removed once", i)
			}
		}
		if p.Remove(job(nil)) {
			t.Error("removed a job that was never submitted")
		}
		if !p.Submit(jobs[2]) {
			t.Error("a removed job cannot be submitted again")
		}
		close(release)
		synctest.Wait()
		if len(order) != 3 || order[0] != 1 || order[1] != 3 || order[2] != 2 {
			t.Errorf("order %v, want [1 3 2]", order)
		}
		if s := p.Stats(); s.Removed != 3 || s.Started != 4 {
			t.Errorf("%+v", s)
		}
		end(t, p)
	})
}

// Removing the last queued job of a closed pool must not leave idle workers behind.
func TestPoolRemoveAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 1, Queue: 1})
		release := make(chan struct{})
		p.Submit(job(func() { <-release }))
		synctest.Wait()
		queued := job(func() { t.Error("a removed job ran") })
		p.Submit(queued)
		p.Close()
		if !p.Remove(queued) {
			t.Error("not removed")
		}
		close(release)
		<-p.Done()
	})
}

func sized(least, most int) Options {
	return Options{Min: least, Max: most, Queue: 10, Idle: time.Second}
}

func TestPoolResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Min: 1, Max: 2, Queue: 10, Idle: time.Second})
		release := make(chan struct{})
		for range 10 {
			p.Submit(job(func() { <-release }))
		}
		p.Resize(sized(2, 6))
		synctest.Wait()
		if s := p.Stats(); s.Busy != 6 || s.Queued != 4 {
			t.Errorf("raised: %+v", s)
		}
		p.Resize(sized(0, 3))
		if s := p.Stats(); s.Busy != 6 || s.Workers != 6 {
			t.Errorf("lowered while busy: %+v", s)
		}
		close(release)
		synctest.Wait()
		if s := p.Stats(); s.Workers > 3 || s.Started != 10 {
			t.Errorf("lowered: %+v", s)
		}
		p.Resize(sized(5, 5))
		synctest.Wait()
		if s := p.Stats(); s.Idle != 5 || s.Workers != 5 {
			t.Errorf("minimum raised: %+v", s)
		}
		p.Resize(sized(0, 2))
		synctest.Wait()
		if s := p.Stats(); s.Idle != 2 || s.Workers != 2 {
			t.Errorf("lowered while idle: %+v", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := p.Stats(); s.Workers != 0 {
			t.Errorf("after Idle: %+v", s)
		}
		p.Resize(sized(9, -1))
		if s := p.Stats(); s.Max != 1 || s.Min != 1 {
			t.Errorf("nonsense: %+v", s)
		}
		end(t, p)
	})
}

// The queue and the time that idle workers stay are set anew too.
func TestPoolResizeOfQueueAndIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Max: 2, Queue: 1, Idle: time.Hour})
		release := make(chan struct{})
		taken := func() (n int) {
			for p.Submit(job(func() { <-release })) {
				n++
			}
			return n
		}
		if n := taken(); n != 3 {
			t.Errorf("%d were taken", n)
		}
		p.Resize(Options{Max: 2, Queue: 4, Idle: time.Hour})
		if n := taken(); n != 3 {
			t.Errorf("%d more were taken", n)
		}
		p.Resize(Options{Max: 2, Queue: -1, Idle: time.Hour})
		synctest.Wait()
		if n, s := taken(), p.Stats(); n != 0 || s.Busy != 2 || s.Queued != 4 {
			t.Errorf("%d were taken: %+v", n, s)
		}
		close(release)
		synctest.Wait()
		time.Sleep(50 * time.Minute) // the reaper is set for long
		p.Resize(Options{Max: 2, Idle: time.Second})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := p.Stats(); s.Workers != 0 || s.Started != 6 {
			t.Errorf("after a shorter Idle: %+v", s)
		}
		end(t, p)
	})
}

func TestPoolSurvivesPanics(t *testing.T) {
	var told []any
	var stack string
	p := New(Options{Min: 1, Max: 1, Queue: 10, Panic: func(task Task, value any, s []byte) {
		told = append(told, value)
		stack += string(s)
	}})
	var ran bool
	p.Submit(job(func() { panic("first") }))
	p.Submit(job(func() { panic(nil) }))
	p.Submit(job(runtime.Goexit))
	p.Submit(job(func() { ran = true }))
	end(t, p)
	if !ran {
		t.Error("the job behind the panics did not run")
	}
	if len(told) != 3 || told[0] != "first" || told[1] == nil || told[2] != nil {
		t.Errorf("told %v", told)
	}
	if !strings.Contains(stack, "TestPoolSurvivesPanics.func") {
		t.Errorf("the stack does not show the task:\n%s", stack)
	}
	if s := p.Stats(); s.Panicked != 3 || s.Started != 4 || s.Spawned != 2 {
		t.Errorf("%+v", s)
	}
}

// A task that never returns to the pool must not lower its minimum.
func TestPoolReplacesALostWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Min: 2, Max: 2, Queue: 10})
		for range 5 {
			p.Submit(job(runtime.Goexit))
		}
		synctest.Wait()
		if s := p.Stats(); s.Workers != 2 || s.Idle != 2 || s.Panicked != 5 {
			t.Errorf("%+v", s)
		}
		end(t, p)
	})
}

// A job may submit itself from its own task.
func TestJobMayBeSubmittedAgain(t *testing.T) {
	p := New(Options{Max: 1, Queue: 1})
	done := make(chan struct{})
	n := 0
	j := new(Job)
	j.Task = TaskFunc(func() {
		if n++; n == 100 {
			close(done)
		} else if !p.Submit(j) {
			t.Error("refused")
			close(done)
		}
	})
	p.Submit(j)
	<-done
	end(t, p)
}

func TestSubmitTwicePanics(t *testing.T) {
	p := New(Options{Max: 1, Queue: 5})
	defer end(t, p)
	release := make(chan struct{})
	defer close(release)
	p.Submit(job(func() { <-release }))
	j := job(func() {})
	p.Submit(j)
	p.Submit(job(func() {}))
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	p.Submit(j)
}

func TestSubmitDoesNotAllocate(t *testing.T) {
	p := New(Options{Min: 2, Max: 2, Queue: 100})
	defer end(t, p)
	b := newBurst(8, nil)
	if n := testing.AllocsPerRun(200, func() { b.run(p) }); n != 0 {
		t.Errorf("%v allocations for a burst of 8", n)
	}
}

// Everything at once: each job ends exactly once, as run, removed or rejected.
func TestPoolStress(t *testing.T) {
	p := New(Options{Min: 1, Max: 8, Queue: 20, Idle: time.Microsecond})
	var ran, removed, rejected, panicked atomic.Int64
	const submitters, each = 4, 3000
	var group sync.WaitGroup
	for range submitters {
		group.Go(func() {
			var mine []*Job
			for range each {
				bad := rand.IntN(50) == 0
				j := job(func() {
					if bad {
						panicked.Add(1)
						panic("bad")
					}
					if rand.IntN(10) == 0 {
						runtime.Gosched()
					}
					ran.Add(1)
				})
				if !p.Submit(j) {
					rejected.Add(1)
					runtime.Gosched()
					continue
				}
				if mine = append(mine, j); rand.IntN(3) == 0 && p.Remove(mine[rand.IntN(len(mine))]) {
					removed.Add(1)
				}
			}
		})
	}
	stop := make(chan struct{})
	var resizer sync.WaitGroup
	resizer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.Resize(sized(rand.IntN(4), rand.IntN(10)))
				p.Stats()
				runtime.Gosched()
			}
		}
	})
	group.Wait()
	close(stop)
	resizer.Wait()
	end(t, p)
	if sum := ran.Load() + removed.Load() + rejected.Load() + panicked.Load(); sum != submitters*each {
		t.Errorf("ran %d + removed %d + rejected %d + panicked %d = %d, want %d", ran.Load(), removed.Load(),
			rejected.Load(), panicked.Load(), sum, submitters*each)
	}
	s := p.Stats()
	if s.Started != uint64(ran.Load()+panicked.Load()) || s.Removed != uint64(removed.Load()) ||
		s.Rejected != uint64(rejected.Load()) || s.Panicked != uint64(panicked.Load()) {
		t.Errorf("%+v", s)
	}
}
