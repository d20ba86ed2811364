package main

import (
	"math/rand/v2"
	"sync"

	"github.com/tined/tined/child/worker"
)

// The rivals of docs/adr/0002-worker-pool.md. Each is the shortest honest form of its scheme, with
// poolWorkers workers that are there from the start; what a real pool needs besides (limits,
// removal, statistics, panics) only worker.Pool has.

// poolWorkers is the number of workers of every scheme.
const poolWorkers = 64

// A rival takes jobs and runs them on its workers.
type rival interface {
	Submit(*worker.Job) bool
	Close()
}

var rivals = []struct {
	name string
	make func() rival
}{
	{"semaphore with the number of tasks", newSemaphore},
	{"condition variable", newCond},
	{"channel", newChannel},
	{"queue each, random", func() rival { return newSpread(1) }},
	{"queue each, shorter of two", func() rival { return newSpread(2) }},
	{"most recently idle, a wake a job", newLIFO},
	{"chain of wakes, no stint", newChain},
	{"worker.Pool", func() rival {
		return worker.New(worker.Options{Min: poolWorkers, Max: poolWorkers, Queue: 1 << 20})
	}},
}

// jobs is a queue, first in, first out. Its owner's lock guards it.
type jobs struct {
	ring  []*worker.Job // its length is a power of two
	first int
	count int
}

func (q *jobs) push(j *worker.Job) {
	if q.count == len(q.ring) {
		larger := make([]*worker.Job, max(64, 2*len(q.ring)))
		n := copy(larger, q.ring[q.first:])
		copy(larger[n:], q.ring[:q.first])
		q.ring, q.first = larger, 0
	}
	q.ring[(q.first+q.count)&(len(q.ring)-1)] = j
	q.count++
}

// pop takes the oldest job, nil when there is none.
func (q *jobs) pop() *worker.Job {
	if q.count == 0 {
		return nil
	}
	j := q.ring[q.first]
	q.ring[q.first] = nil
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.count--
	return j
}

// semaphore: one queue, and a token per job.
type semaphore struct {
	mu     sync.Mutex
	queue  jobs
	tokens chan struct{}
}

func newSemaphore() rival {
	r := &semaphore{tokens: make(chan struct{}, 1<<16)}
	for range poolWorkers {
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

func (r *semaphore) Submit(j *worker.Job) bool {
	r.mu.Lock()
	r.queue.push(j)
	r.mu.Unlock()
	r.tokens <- struct{}{}
	return true
}

func (r *semaphore) Close() { close(r.tokens) }

// cond: one queue, and a condition variable signalled for every job.
type cond struct {
	mu     sync.Mutex
	queue  jobs
	ready  *sync.Cond
	closed bool
}

func newCond() rival {
	r := new(cond)
	r.ready = sync.NewCond(&r.mu)
	for range poolWorkers {
		go r.work()
	}
	return r
}

func (r *cond) work() {
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

func (r *cond) Submit(j *worker.Job) bool {
	r.mu.Lock()
	r.queue.push(j)
	r.mu.Unlock()
	r.ready.Signal()
	return true
}

func (r *cond) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue.count
}

func (r *cond) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.ready.Broadcast()
}

// channel: a buffered channel of jobs.
type channel chan *worker.Job

func newChannel() rival {
	r := make(channel, 1<<16)
	for range poolWorkers {
		go func() {
			for j := range r {
				j.Task.Run()
			}
		}()
	}
	return r
}

func (r channel) Submit(j *worker.Job) bool { r <- j; return true }
func (r channel) Close()                    { close(r) }

// spread: a queue per worker; a job goes to the shortest of some random ones.
type spread struct {
	choices int
	workers []*cond
}

func newSpread(choices int) rival {
	r := &spread{choices: choices}
	for range poolWorkers {
		w := new(cond)
		w.ready = sync.NewCond(&w.mu)
		r.workers = append(r.workers, w)
		go w.work()
	}
	return r
}

func (r *spread) Submit(j *worker.Job) bool {
	w := r.workers[rand.IntN(len(r.workers))]
	for range r.choices - 1 {
		other := r.workers[rand.IntN(len(r.workers))]
		if other.length() < w.length() {
			w = other
		}
	}
	return w.Submit(j)
}

func (r *spread) Close() {
	for _, w := range r.workers {
		w.Close()
	}
}

// lifo: each job is handed to the most recently idle worker, over a channel of its own; a queue
// when there is none.
type lifo struct {
	mu     sync.Mutex
	queue  jobs
	idle   []chan *worker.Job
	closed bool
}

func newLIFO() rival {
	r := new(lifo)
	for range poolWorkers {
		c := make(chan *worker.Job, 1)
		r.idle = append(r.idle, c)
		go r.work(c)
	}
	return r
}

func (r *lifo) work(c chan *worker.Job) {
	for j := range c {
		for j != nil {
			j.Task.Run()
			r.mu.Lock()
			if j = r.queue.pop(); j == nil {
				if r.closed {
					close(c)
				}
				r.idle = append(r.idle, c)
			}
			r.mu.Unlock()
		}
	}
}

func (r *lifo) Submit(j *worker.Job) bool {
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

// Close lets the idle workers go, and each of the others when it becomes idle.
func (r *lifo) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.idle {
		close(c)
	}
}

// chain: the scheme of worker.Pool bare, parked on a condition variable per worker.
type chain struct {
	mu     sync.Mutex
	queue  jobs
	idle   []*sync.Cond
	waking bool
	closed bool
}

func newChain() rival {
	r := new(chain)
	for range poolWorkers {
		go r.work()
	}
	return r
}

func (r *chain) work() {
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

func (r *chain) wakeLocked() {
	if n := len(r.idle); !r.waking && n > 0 && r.queue.count > 0 {
		r.waking = true
		r.idle[n-1].Signal()
		r.idle = r.idle[:n-1]
	}
}

func (r *chain) Submit(j *worker.Job) bool {
	r.mu.Lock()
	r.queue.push(j)
	r.wakeLocked()
	r.mu.Unlock()
	return true
}

func (r *chain) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.idle {
		c.Signal()
	}
}
