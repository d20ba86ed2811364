package worker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The rivals of docs/adr/0002-worker-pool.md. Each is the shortest honest form of its
// scheme, with benchWorkers workers that are there from the start; what a real pool
// needs besides (limits, removal, statistics, panics) only Pool has.

const benchWorkers = 64

type rival interface {
	Submit(*Job) bool
	Close()
}

var rivals = []struct {
	name string
	make func() rival
}{
	{"Pool", func() rival {
		return New(Options{Min: benchWorkers, Max: benchWorkers, Queue: 1 << 20})
	}},
	{"chain-cond", newChainCond},
	{"semaphore", newSemaphore},
	{"cond", newCond},
	{"channel", newChannel},
	{"random", func() rival { return newSpread(1) }},
	{"two-choice", func() rival { return newSpread(2) }},
	{"lifo-channel", newLIFO},
}

// semaphoreRival: one queue, and a token per job.
type semaphoreRival struct {
	mu     sync.Mutex
	queue  list
	tokens chan struct{}
}

func newSemaphore() rival {
	r := &semaphoreRival{tokens: make(chan struct{}, 1<<16)}
	for range benchWorkers {
		go func() {
			for range r.tokens {
				r.mu.Lock()
				j := r.queue.pop()
				r.mu.Unlock()
				j.Task.Run()
			}
		}()
	}
	return r
}

func (r *semaphoreRival) Submit(j *Job) bool {
	r.mu.Lock()
	r.queue.push(j)
	r.mu.Unlock()
	r.tokens <- struct{}{}
	return true
}

func (r *semaphoreRival) Close() { close(r.tokens) }

// condRival: one queue, and a condition variable signalled for every job.
type condRival struct {
	mu     sync.Mutex
	queue  list
	ready  *sync.Cond
	closed bool
}

func newCond() rival {
	r := new(condRival)
	r.ready = sync.NewCond(&r.mu)
	for range benchWorkers {
		go r.work()
	}
	return r
}

func (r *condRival) work() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		j := r.queue.pop()
		switch {
		case j != nil:
			r.mu.Unlock()
			j.Task.Run()
			r.mu.Lock()
		case r.closed:
			return
		default:
			r.ready.Wait()
		}
	}
}

func (r *condRival) Submit(j *Job) bool {
	r.mu.Lock()
	r.queue.push(j)
	r.mu.Unlock()
	r.ready.Signal()
	return true
}

func (r *condRival) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.ready.Broadcast()
}

// channelRival: a buffered channel of jobs.
type channelRival chan *Job

func newChannel() rival {
	r := make(channelRival, 1<<16)
	for range benchWorkers {
		go func() {
			for j := range r {
				j.Task.Run()
			}
		}()
	}
	return r
}

func (r channelRival) Submit(j *Job) bool { r <- j; return true }
func (r channelRival) Close()             { close(r) }

// spreadRival: a queue per worker; a job goes to the shortest of some random ones.
type spreadRival struct {
	choices int
	workers []*condRival
}

func newSpread(choices int) rival {
	r := &spreadRival{choices: choices}
	for range benchWorkers {
		w := new(condRival)
		w.ready = sync.NewCond(&w.mu)
		r.workers = append(r.workers, w)
		go w.work()
	}
	return r
}

func (r *spreadRival) Submit(j *Job) bool {
	w := r.workers[rand.IntN(len(r.workers))]
	for range r.choices - 1 {
		other := r.workers[rand.IntN(len(r.workers))]
		if other.length() < w.length() {
			w = other
		}
	}
	return w.Submit(j)
}

func (r *condRival) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue.length
}

func (r *spreadRival) Close() {
	for _, w := range r.workers {
		w.Close()
	}
}

// lifoRival: each job is handed to the most recently idle worker, over a channel of
// its own; a queue when there is none.
type lifoRival struct {
	mu    sync.Mutex
	queue list
	idle  []chan *Job
}

func newLIFO() rival {
	r := new(lifoRival)
	for range benchWorkers {
		c := make(chan *Job, 1)
		r.idle = append(r.idle, c)
		go r.work(c)
	}
	return r
}

func (r *lifoRival) work(c chan *Job) {
	for j := range c {
		for j != nil {
			j.Task.Run()
			r.mu.Lock()
			if j = r.queue.pop(); j == nil {
				r.idle = append(r.idle, c)
			}
			r.mu.Unlock()
		}
	}
}

func (r *lifoRival) Submit(j *Job) bool {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		c <- j
		return true
	}
	r.queue.push(j)
	r.mu.Unlock()
	return true
}

func (r *lifoRival) Close() {
	for _, c := range r.idle {
		close(c)
	}
}

// chainCond: the scheme of Pool, parked on a condition variable per worker.
type chainCond struct {
	mu     sync.Mutex
	queue  list
	idle   []*sync.Cond
	waking bool
	closed bool
}

func newChainCond() rival {
	r := new(chainCond)
	for range benchWorkers {
		go r.work()
	}
	return r
}

func (r *chainCond) work() {
	c := sync.NewCond(&r.mu)
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		j := r.queue.pop()
		if j == nil {
			if r.closed {
				return
			}
			r.idle = append(r.idle, c)
			c.Wait()
			r.waking = false
			continue
		}
		r.wakeLocked()
		r.mu.Unlock()
		j.Task.Run()
		r.mu.Lock()
	}
}

func (r *chainCond) wakeLocked() {
	if n := len(r.idle); !r.waking && n > 0 && r.queue.length > 0 {
		r.waking = true
		r.idle[n-1].Signal()
		r.idle = r.idle[:n-1]
	}
}

func (r *chainCond) Submit(j *Job) bool {
	r.mu.Lock()
	r.queue.push(j)
	r.wakeLocked()
	r.mu.Unlock()
	return true
}

func (r *chainCond) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.idle {
		c.Signal()
	}
}

// burst is what the benchmark submits: like the loop, it sends some jobs and then
// yields until all their completions are back.
type burst struct {
	jobs []Job
	left atomic.Int64
	back chan struct{}
}

type benchTask struct {
	burst *burst
	work  func()
}

func (t *benchTask) Run() {
	if t.work != nil {
		t.work()
	}
	if t.burst.left.Add(-1) == 0 {
		t.burst.back <- struct{}{}
	}
}

func newBurst(size int, work func()) *burst {
	b := &burst{jobs: make([]Job, size), back: make(chan struct{}, 1)}
	for i := range b.jobs {
		b.jobs[i].Task = &benchTask{b, work}
	}
	return b
}

func (b *burst) run(p rival) {
	b.left.Store(int64(len(b.jobs)))
	for i := range b.jobs {
		p.Submit(&b.jobs[i])
	}
	<-b.back
}

// spinner returns a function that keeps a processor busy for about d.
func spinner(d time.Duration) func() {
	loop := func(n int) (x int) {
		for i := range n {
			x += i ^ x
		}
		return x
	}
	const probe = 1 << 22
	best := time.Duration(1 << 62)
	for range 3 {
		start := time.Now()
		runtime.KeepAlive(loop(probe))
		best = min(best, time.Since(start))
	}
	n := int(int64(probe) * int64(d) / int64(best))
	return func() { runtime.KeepAlive(loop(n)) }
}

// BenchmarkHandover is the table of docs/adr/0002-worker-pool.md: time per job, from
// Submit to the end of its run, with the completions' way back shared by the burst.
func BenchmarkHandover(b *testing.B) {
	spin := spinner(10 * time.Microsecond)
	works := []struct {
		name string
		work func()
	}{
		{"empty", nil},
		{"10us", spin},
		{"sleep", func() { time.Sleep(time.Millisecond) }}, // waits for another service
	}
	for _, procs := range []int{1, 2} {
		for _, w := range works {
			for _, size := range []int{1, 8, 64} {
				if w.name == "sleep" && size < 64 {
					continue
				}
				for _, r := range rivals {
					b.Run(fmt.Sprintf("procs=%d/%s/burst=%d/%s", procs, w.name, size, r.name), func(b *testing.B) {
						defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
						pool := r.make()
						defer pool.Close()
						burst := newBurst(size, w.work)
						burst.run(pool)
						b.ReportAllocs()
						b.ResetTimer()
						for range (b.N + size - 1) / size {
							burst.run(pool)
						}
					})
				}
			}
		}
	}
}

// BenchmarkLoopDelay measures what the loop suffers: a burst of 64 jobs is submitted,
// and the time counts from the first completion, which wakes the submitter as it would
// wake the loop, until the submitter runs.
func BenchmarkLoopDelay(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, d := range []time.Duration{10 * time.Microsecond, time.Millisecond} {
		work := spinner(d)
		for _, r := range rivals {
			b.Run(fmt.Sprintf("%v/%s", d, r.name), func(b *testing.B) {
				pool := r.make()
				defer pool.Close()
				burst := newBurst(64, nil)
				var first time.Time
				woken := make(chan struct{}, 1)
				var once *sync.Once
				for i := range burst.jobs {
					burst.jobs[i].Task.(*benchTask).work = func() {
						work()
						once.Do(func() {
							first = time.Now()
							woken <- struct{}{}
						})
					}
				}
				var total time.Duration
				for range b.N {
					once = new(sync.Once)
					burst.left.Store(64)
					for i := range burst.jobs {
						pool.Submit(&burst.jobs[i])
					}
					<-woken
					total += time.Since(first)
					<-burst.back
				}
				b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs-delay")
			})
		}
	}
}
