package local

import (
	"context"
	"sync"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A stage is where an entry is on its way:
//
//	waiting ──take──▶ running ──finish──▶ finished
//	   ▲  │             │                    ▲
//	   │  └──leave──────┼────────────────────┘
//	   └────putBack─────┘
type stage uint8

// The stages.
const (
	stageWaiting  stage = iota // in the queue: whoever asked may take it out
	stageRunning               // the writer's alone
	stageFinished              // its outcomes and its error are those of the asker
)

// An entry is one batch on its way through the writer.
type entry struct {
	ctx    context.Context
	batch  *engine.Batch
	notice chan struct{} // of capacity 1: the stage has changed by another's doing

	// Guarded by the queue's mutex.
	stage      stage
	prev, next *entry
	reruns     int  // transactions that it was in and another destroyed
	alone      bool // it gets a transaction for itself

	// The writer's while it is running, the asker's when it is finished.
	outcomes []engine.Outcome
	err      error
	settled  bool            // it has its answer, and does not run again
	failed   []*engine.Error // by statement: destroyed a transaction, and is not run again; nil: none did
	losses   int             // transactions that it destroyed itself
}

// note wakes the asker. Notices that it has not taken yet become one: it looks at the stage.
func (e *entry) note() {
	select {
	case e.notice <- struct{}{}:
	default:
	}
}

// A queue is a bounded line of entries, first in, first out, which askers leave by themselves when their time is over. It also knows whether the
// writer's goroutine exists, since both questions have to be answered at once: an entry that comes while it ends would wait for ever.
type queue struct {
	mu          sync.Mutex
	capacity    int
	idle        sync.Cond // inside has become false; its lock is mu
	first, last *entry
	length      int
	served      bool // the goroutine exists
	inside      bool // it uses the connection
	closed      bool
}

func newQueue(capacity int) *queue {
	q := &queue{capacity: capacity}
	q.idle.L = &q.mu
	return q
}

// admission is what became of an entry that wanted in.
type admission uint8

const (
	admitted      admission = iota
	admittedFirst           // the caller must start the goroutine
	refusedFull
	refusedClosed
)

func (q *queue) enter(e *entry) admission {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return refusedClosed
	case q.length >= q.capacity:
		return refusedFull
	}
	q.insertLocked(e, q.last)
	if q.served {
		return admitted
	}
	q.served = true
	return admittedFirst
}

// resize changes how many may wait. Those that do already stay.
func (q *queue) resize(capacity int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.capacity = capacity
}

// leave takes e out, if it waits still.
func (q *queue) leave(e *entry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.stage != stageWaiting {
		return false
	}
	q.removeLocked(e)
	e.stage = stageFinished
	return true
}

// take gives the next entry to the writer, which has put those of group into the transaction already. nil: the transaction is to end here. Entries
// that were rolled back by another's fault go together, without newcomers: each of them has run once without doing harm.
func (q *queue) take(group []*entry) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.first
	if e == nil {
		return nil
	}
	if len(group) > 0 && (e.alone || group[0].alone || group[0].reruns > 0 && e.reruns == 0) {
		return nil
	}
	q.removeLocked(e)
	e.stage = stageRunning
	return e
}

// putBack puts entries that were undone to the front again, in their order. They wait anew: their first wait was over in time.
func (q *queue) putBack(entries []*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var after *entry
	for _, e := range entries {
		if q.closed {
			e.err, e.outcomes, e.stage = errorClosed(), nil, stageFinished
		} else {
			e.stage = stageWaiting
			q.insertLocked(e, after)
			after = e
		}
		e.note()
	}
}

// finish gives entries their answers.
func (q *queue) finish(entries []*entry) {
	q.mu.Lock()
	for _, e := range entries {
		e.stage = stageFinished
	}
	q.mu.Unlock()
	for _, e := range entries {
		e.note()
	}
}

// refuse answers all that wait with what err makes.
func (q *queue) refuse(err func() *engine.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refuseLocked(err)
}

func (q *queue) refuseLocked(err func() *engine.Error) {
	for q.first != nil {
		e := q.first
		q.removeLocked(e)
		e.err, e.outcomes, e.stage = err(), nil, stageFinished
		e.note()
	}
}

// retire tells the goroutine whether to end: nothing waits. closed: it was closed while the goroutine was there.
func (q *queue) retire() (end, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first != nil {
		return false, false
	}
	q.served = false
	return true, q.closed
}

// claim takes the connection for the goroutine; false: the queue has been closed, and the connection is no longer there.
func (q *queue) claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inside = !q.closed
	return q.inside
}

func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inside = false
	q.idle.Broadcast()
}

// close answers what waits, and returns when the connection is not in use. served: the goroutine was there, and will find q closed, when it
// retires. first is true for one caller only.
func (q *queue) close() (first, served bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first, served = !q.closed, q.served
	q.closed = true
	q.refuseLocked(errorClosed)
	for q.inside {
		q.idle.Wait()
	}
	return first, served
}

// waits is how many are in it.
func (q *queue) waits() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length
}

// stageOf is for askers.
func (q *queue) stageOf(e *entry) stage {
	q.mu.Lock()
	defer q.mu.Unlock()
	return e.stage
}

// insertLocked puts e behind after; nil: at the front.
func (q *queue) insertLocked(e, after *entry) {
	e.prev = after
	if after == nil {
		e.next, q.first = q.first, e
	} else {
		e.next, after.next = after.next, e
	}
	if e.next == nil {
		q.last = e
	} else {
		e.next.prev = e
	}
	q.length++
}

func (q *queue) removeLocked(e *entry) {
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
	q.length--
}

// A pause is the time between two tries, which grows.
type pause struct {
	next  time.Duration
	timer *time.Timer
}

// The pauses between two tries to get a lock that an outside program holds: it has no queue to wait in.
const (
	pauseFirst = 200 * time.Microsecond
	pauseMost  = 10 * time.Millisecond
)

func (p *pause) wait() {
	if p.timer == nil {
		p.next = pauseFirst
		p.timer = time.NewTimer(p.next)
	} else {
		p.timer.Reset(p.next)
	}
	<-p.timer.C
	p.next = min(p.next*3/2, pauseMost)
}
