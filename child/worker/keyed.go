package worker

import (
	"runtime/debug"
	"sync"
)

// Keyed runs jobs on a Pool, those of one key one at a time and in the order of
// Submit, those of different keys side by side. A key needs no goroutine, and no
// memory once its last job has run.
//
//	Submit(key) ──▶ the key's lane ──▶ Pool: one lane is one job there
//	                     ▲                 │ runs the oldest job of the lane
//	                     └─── more jobs ◀──┘ no more: the lane is freed
//
// After each job the lane goes to the end of the pool's queue, so that a busy key
// does not hold a worker while other keys wait.
//
// All methods are safe for concurrent use and never wait for a task.
type Keyed[K comparable] struct {
	pool    *Pool
	options KeyedOptions

	mu     sync.Mutex
	lanes  map[K]*lane[K]
	free   *lane[K] // lanes to use again, at most freeLanes
	frees  int
	queued int
	counts KeyedStats
}

// KeyedOptions say how many jobs may wait. Whatever they say, the job of an idle key
// also needs a place in the Pool.
type KeyedOptions struct {
	Queue  int // jobs waiting over all keys; below 1: DefaultKeyedQueue
	PerKey int // jobs waiting of one key, not counting the one that runs; below 1: no limit of its own
}

// DefaultKeyedQueue is the Queue of KeyedOptions that set none.
const DefaultKeyedQueue = 1024

// freeLanes is how many lanes a Keyed keeps for the next keys.
const freeLanes = 64

// KeyedStats are a Keyed's numbers at one moment; Rejected and Removed count since
// NewKeyed. What ran, and what panicked, is in the Pool's.
type KeyedStats struct {
	Keys     int // with a job queued or running
	Queued   int
	Rejected uint64
	Removed  uint64
}

// A lane is a key that has something to do. Its fields belong to the lock of Keyed.
type lane[K comparable] struct {
	keyed   *Keyed[K]
	key     K
	job     Job // the lane's place in the pool; its Task is the lane
	waiting list
	running bool // a task of the key runs
	next    *lane[K]
}

// NewKeyed makes a Keyed on a pool, which it shares with others and does not close.
func NewKeyed[K comparable](pool *Pool, o KeyedOptions) *Keyed[K] {
	if o.Queue < 1 {
		o.Queue = DefaultKeyedQueue
	}
	return &Keyed[K]{pool: pool, options: o, lanes: make(map[K]*lane[K])}
}

// Submit queues a job behind those of its key, and reports false if that is more than
// may wait, or if the key is idle and the pool is full or closed. The rules of Job hold.
func (k *Keyed[K]) Submit(key K, j *Job) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lanes[key]
	switch {
	case k.queued >= k.options.Queue,
		l != nil && k.options.PerKey > 0 && l.waiting.length >= k.options.PerKey:
		k.counts.Rejected++
		return false
	case l == nil:
		l = k.takeLaneLocked(key)
		if !k.pool.Submit(&l.job) {
			k.freeLaneLocked(l)
			k.counts.Rejected++
			return false
		}
	}
	l.waiting.push(j)
	k.queued++
	return true
}

// Remove takes a job out of its key's queue before it runs. It reports false when
// the job is not queued under that key.
func (k *Keyed[K]) Remove(key K, j *Job) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lanes[key]
	if l == nil || !l.waiting.remove(j) {
		return false
	}
	k.queued--
	k.counts.Removed++
	// A lane that a worker has begun to run finds out by itself.
	if l.waiting.length == 0 && !l.running && k.pool.Remove(&l.job) {
		k.freeLaneLocked(l)
	}
	return true
}

// Stats returns the numbers.
func (k *Keyed[K]) Stats() KeyedStats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.counts
	s.Keys, s.Queued = len(k.lanes), k.queued
	return s
}

// Run is the lane's turn on a worker.
func (l *lane[K]) Run() {
	k := l.keyed
	for {
		k.mu.Lock()
		j := l.waiting.pop()
		if j == nil {
			k.freeLaneLocked(l)
			k.mu.Unlock()
			return
		}
		k.queued--
		l.running = true
		task := j.Task
		k.mu.Unlock()
		l.run(task)
		if l.pass() {
			return
		}
	}
}

// pass ends a task's turn and reports whether the lane has left this worker. It
// stays when the pool has no place for it: what is queued runs.
func (l *lane[K]) pass() bool {
	k := l.keyed
	k.mu.Lock()
	defer k.mu.Unlock()
	l.running = false
	if l.waiting.length == 0 {
		k.freeLaneLocked(l)
		return true
	}
	k.pool.mu.Lock()
	defer k.pool.mu.Unlock()
	return k.pool.offerLocked(&l.job)
}

// run runs one task and outlives its panic, which the pool counts and reports as the
// task's, not as the lane's. The end of the goroutine (runtime.Goexit) cannot be
// stopped: the pool sees that for itself, and the lane goes on elsewhere.
func (l *lane[K]) run(task Task) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			l.keyed.pool.report(task, value, debug.Stack())
		} else if !l.pass() {
			go l.Run()
		}
	}()
	task.Run()
	returned = true
}

func (k *Keyed[K]) takeLaneLocked(key K) *lane[K] {
	l := k.free
	if l == nil {
		l = &lane[K]{keyed: k}
		l.job.Task = l
	} else {
		k.free, l.next = l.next, nil
		k.frees--
	}
	l.key = key
	k.lanes[key] = l
	return l
}

// freeLaneLocked forgets a lane that neither waits nor runs.
func (k *Keyed[K]) freeLaneLocked(l *lane[K]) {
	delete(k.lanes, l.key)
	var zero K
	l.key = zero // may hold memory
	if k.frees < freeLanes {
		l.next, k.free = k.free, l
		k.frees++
	}
}
