package worker

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Options say how large a Pool may become.
type Options struct {
	Name string // for Stats and messages

	// Min workers are there even when idle; 0 lets an idle pool hold none. Max may run
	// at the same time; below 1 it counts as 1. Min above Max counts as Max.
	Min, Max int

	// Queue is how many jobs may wait beyond those that the pool could run at once:
	// Submit refuses when Max+Queue jobs are running or queued.
	Queue int

	// Idle is how long a worker above Min waits for a job before it goes. It takes
	// half as long again at most. 0 is DefaultIdle.
	Idle time.Duration

	// Panic is told about a task that panicked, with its stack, on the worker that ran
	// it; the worker goes on after it returns. It must not panic. nil: only counted.
	// A task that ended its goroutine (runtime.Goexit) is told with a nil value.
	Panic func(task Task, value any, stack []byte)
}

// DefaultIdle is the Idle of a Pool that sets none.
const DefaultIdle = 10 * time.Second

// A Pool runs jobs on Min to Max goroutines, from one bounded queue.
//
//	Submit ──▶ queue ──▶ worker        busy: runs, then takes the next from the queue
//	             │                        │ nothing queued
//	             │ a wake per processor   ▼
//	             └─────────────────▶ idle stack ── not used for Idle, above Min ──▶ gone
//
// The most recently idle worker is woken first: its stack is warm, and those at the
// bottom are the ones that the pool can do without. At most one wake per processor is
// under way at a time; the woken worker wakes the next one before it runs its job, if
// more are queued. So a burst of short tasks is run by one worker without a switch of
// goroutines for each, and tasks that block still get a worker each. When nobody is
// idle, the wake starts a new worker.
//
// All methods are safe for concurrent use and never wait for a task.
type Pool struct {
	name     string
	panicked func(task Task, value any, stack []byte) // may be nil
	done     chan struct{}

	mu       sync.Mutex
	queue    list
	idle     []*worker // parked, the most recent at the end
	workers  int       // those that have not left or been told to
	alive    int       // goroutines
	busy     int       // running a task
	min, max int
	room     int           // jobs that may wait beyond max
	idleFor  time.Duration // Options.Idle
	waking   int           // workers woken or started for the queue that have not looked at it yet
	wakes    int           // how many that may be
	closed   bool          // no job is accepted any more
	ended    bool          // done is closed
	turn     uint64        // of the reaper, two per Idle
	reaper   *time.Timer
	reaping  bool // the reaper's timer is armed
	counts   counts
}

type counts struct{ started, rejected, removed, panicked, spawned, excused uint64 }

// stint is how long a worker runs one job after the other before it lets other
// goroutines run. With one processor the loop, which the first completion has made
// ready, would otherwise wait until the queue is empty or Go preempts the worker,
// which is 10 ms.
const stint = 50 * time.Microsecond

// A worker is one goroutine. Its fields belong to the pool's lock.
type worker struct {
	wake   chan struct{} // a place for one token, so that waking never waits
	leave  bool          // woken in order to go
	excuse bool          // its task has left the pool's count, and it goes after it
	parked uint64        // the reaper's turn at which it became idle
}

// Stats are a Pool's numbers at one moment. The first group is how things are, the
// second counts since New.
type Stats struct {
	Name                          string
	Min, Max, Workers, Idle, Busy int
	Queued                        int
	Started                       uint64 // jobs that a worker began to run
	Rejected                      uint64 // jobs that Submit refused
	Removed                       uint64 // jobs that Remove took out of the queue
	Panicked                      uint64 // jobs that panicked
	Spawned                       uint64 // workers that were started
	Excused                       uint64 // jobs that left the count while they ran
}

// New starts a pool with Min idle workers.
func New(o Options) *Pool {
	p := &Pool{name: o.Name, panicked: o.Panic, done: make(chan struct{})}
	p.reaper = time.AfterFunc(time.Hour, p.reap)
	p.reaper.Stop()
	p.Resize(o)
	return p
}

// Submit queues a job, and reports false if the pool is full or closed. It takes
// well under a microsecond and allocates nothing unless it starts a worker.
func (p *Pool) Submit(j *Job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.offerLocked(j) {
		p.counts.rejected++
		return false
	}
	return true
}

// Offer is Submit for a caller that keeps the job and comes again: a refusal is not counted.
func (p *Pool) Offer(j *Job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offerLocked(j)
}

// offerLocked queues a job if there is room.
func (p *Pool) offerLocked(j *Job) bool {
	if p.closed || p.busy+p.queue.length >= p.max+p.room {
		return false
	}
	p.queue.push(j)
	p.wakeLocked()
	return true
}

// Remove takes a job out of the queue before it runs. It reports false when the job
// is not queued here: it runs, has run, or was never submitted. It takes the same
// short time wherever in the queue the job is.
func (p *Pool) Remove(j *Job) bool {
	p.mu.Lock()
	removed := p.queue.remove(j)
	if removed {
		p.counts.removed++
		p.endLocked()
	}
	p.mu.Unlock()
	return removed
}

// Excuse takes the job's task, which runs, out of the count: another worker may take the place of its own, which ends with it. It is for
// tasks that turn into something long, such as the handler of a connection that has left the server. It must be called while the task
// runs, once.
func (p *Pool) Excuse(j *Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.worker.excuse = true
	p.busy--
	p.workers--
	p.counts.excused++
	p.fillLocked()
	p.wakeLocked()
}

// Resize sets the Min, Max, Queue and Idle of o anew; the pool keeps its Name and Panic.
// More workers are started up to Min; those above Max go, an idle one now and a busy one
// after its task. What is queued stays queued, even if it is now too much.
func (p *Pool) Resize(o Options) {
	o = o.bounded()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.min, p.max, p.room = o.Min, o.Max, o.Queue
	p.wakes = runtime.GOMAXPROCS(0)
	shorter := o.Idle < p.idleFor
	p.idleFor = o.Idle
	if p.closed {
		return
	}
	p.dismissLocked(p.workers - p.max)
	p.fillLocked()
	p.wakeLocked()
	if shorter && p.reaping { // a timer that was set for longer would keep them so long once more
		p.reaper.Reset(p.period())
	}
	p.armLocked()
}

// bounded returns o with every number within its bounds.
func (o Options) bounded() Options {
	o.Max = max(1, o.Max)
	o.Min = min(max(0, o.Min), o.Max)
	o.Queue = max(0, o.Queue)
	if o.Idle <= 0 {
		o.Idle = DefaultIdle
	}
	return o
}

// Stats returns the pool's numbers.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Name: p.name, Min: p.min, Max: p.max,
		Workers: p.workers, Idle: len(p.idle), Busy: p.busy, Queued: p.queue.length,
		Started: p.counts.started, Rejected: p.counts.rejected, Removed: p.counts.removed,
		Panicked: p.counts.panicked, Spawned: p.counts.spawned, Excused: p.counts.excused,
	}
}

// Close refuses further jobs and lets the workers go once the queued jobs have run.
// It returns at once; Done says when they have. It may be called twice.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.reaper.Stop()
	p.endLocked()
}

// Done is closed when the pool is closed and its last worker has left.
func (p *Pool) Done() <-chan struct{} { return p.done }

// wakeLocked sees to it that somebody looks at the queue: every change that makes
// the queue longer, or takes away somebody who would have looked, ends with it.
func (p *Pool) wakeLocked() {
	if p.waking >= p.wakes || p.waking >= p.queue.length {
		return
	}
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.waking++
		w.wake <- struct{}{}
	} else if p.workers < p.max {
		p.waking++
		p.startLocked().wake <- struct{}{}
		p.armLocked()
	}
}

// fillLocked starts idle workers up to the minimum.
func (p *Pool) fillLocked() {
	for p.workers < p.min && !p.closed {
		w := p.startLocked()
		w.parked = p.turn
		p.idle = append(p.idle, w)
	}
}

// startLocked starts a worker that waits for its first wake.
func (p *Pool) startLocked() *worker {
	w := &worker{wake: make(chan struct{}, 1)}
	p.workers++
	p.alive++
	p.counts.spawned++
	go p.work(w)
	return w
}

// work is a worker's life.
func (p *Pool) work(w *worker) {
	<-w.wake
	p.mu.Lock()
	for p.attendLocked(w) {
	}
	p.alive--
	p.endLocked()
	p.mu.Unlock()
}

// attendLocked follows a wake: it runs jobs until none is queued and then waits for
// the next wake. It reports false when the worker has to go.
func (p *Pool) attendLocked(w *worker) bool {
	if w.leave {
		return false
	}
	p.waking--
	var since time.Time // when the present stint began; not read while one job at a time comes
	for p.workers <= p.max {
		j := p.queue.pop()
		if j == nil {
			if p.closed {
				break
			}
			w.parked = p.turn
			p.idle = append(p.idle, w)
			p.mu.Unlock()
			<-w.wake
			p.mu.Lock()
			return true
		}
		task := j.Task
		j.worker = w
		p.busy++
		p.counts.started++
		p.wakeLocked()
		if p.queue.length > 0 && since.IsZero() {
			since = time.Now()
		}
		p.mu.Unlock()
		p.run(w, task)
		p.mu.Lock()
		if w.excuse {
			return false // not counted any more
		}
		p.busy--
		if p.queue.length > 0 && !since.IsZero() && time.Since(since) > stint {
			p.mu.Unlock()
			runtime.Gosched()
			p.mu.Lock()
			since = time.Time{}
		}
	}
	p.workers--
	p.wakeLocked()
	return false
}

// run runs a task and outlives its panic.
func (p *Pool) run(w *worker, task Task) {
	returned := false
	defer func() {
		if !returned {
			p.caught(w, task, recover())
		}
	}()
	task.Run()
	returned = true
}

// caught accounts for a task that did not return. The value is nil when it ended
// the worker's goroutine, in which case another worker takes its place.
func (p *Pool) caught(w *worker, task Task, value any) {
	p.report(task, value, debug.Stack())
	if value != nil {
		return
	}
	p.mu.Lock()
	if !w.excuse {
		p.busy--
		p.workers--
	}
	p.alive--
	p.fillLocked()
	p.wakeLocked()
	p.endLocked()
	p.mu.Unlock()
}

// report counts a task that did not return and tells Options.Panic.
func (p *Pool) report(task Task, value any, stack []byte) {
	p.mu.Lock()
	p.counts.panicked++
	p.mu.Unlock()
	if p.panicked != nil {
		p.panicked(task, value, stack)
	}
}

// dismissLocked tells the n workers that have been idle longest to go, as far as
// there are so many.
func (p *Pool) dismissLocked(n int) {
	n = max(0, min(n, len(p.idle)))
	for _, w := range p.idle[:n] {
		w.leave = true
		w.wake <- struct{}{}
	}
	p.workers -= n
	p.idle = slices.Delete(p.idle, 0, n)
}

// endLocked lets the idle workers of a closed pool go once no job is left to wait
// for, and says so when the last one has left.
func (p *Pool) endLocked() {
	if !p.closed || p.queue.length > 0 || p.ended {
		return
	}
	p.dismissLocked(len(p.idle))
	if p.alive == 0 {
		p.ended = true
		close(p.done)
	}
}

// armLocked starts the reaper's timer when there is somebody whom it may let go: a
// pool at its minimum has no timer.
func (p *Pool) armLocked() {
	if !p.reaping && !p.closed && p.workers > p.min {
		p.reaping = true
		p.reaper.Reset(p.period())
	}
}

// period is a turn of the reaper.
func (p *Pool) period() time.Duration { return (p.idleFor + 1) / 2 }

// reap lets those go that have been idle for three turns, which is at least Idle: the
// first was under way when they became idle.
func (p *Pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaping = false
	if p.closed {
		return
	}
	p.turn++
	n := 0
	for n < len(p.idle) && n < p.workers-p.min && p.turn-p.idle[n].parked >= 3 {
		n++
	}
	p.dismissLocked(n)
	p.armLocked()
}
