package netcore

import "sync"

// queueKept is the capacity, in elements, above which Take drops a slice instead of keeping it for the next burst.
const queueKept = 8192

// Queue carries values from many goroutines to one, the loop, and wakes it only when it sleeps. The zero value is empty
// and ready.
//
// The consumer's turn: Take; when there is nothing to do, Sleep; if that is true, wait (for Poller.Wake); Awake. A
// producer: if Push is true, Wake. No wake-up is lost: Sleep and Push hold the same lock, so a value is pushed either
// before Sleep, which is then false, or after it, and then Push is true.
type Queue[T any] struct {
	mu       sync.Mutex
	items    []T
	sleeping bool
}

// Push appends v. wake is true when the consumer had said that it sleeps: the caller must wake it. Only one producer is
// told per Sleep. Any goroutine may call it.
func (q *Queue[T]) Push(v T) (wake bool) {
	q.mu.Lock()
	q.items = append(q.items, v)
	wake = q.sleeping
	q.sleeping = false
	q.mu.Unlock()
	return wake
}

// Take returns all values in the order of their Push. into is the slice of the last Take: its elements are cleared, and
// it becomes the room for the next values, so that a steady flow allocates nothing. Consumer only.
func (q *Queue[T]) Take(into []T) []T {
	if cap(into) > queueKept {
		into = nil
	}
	clear(into)
	q.mu.Lock()
	items := q.items
	q.items = into[:0]
	q.mu.Unlock()
	return items
}

// Sleep announces that the consumer is about to sleep. It is false, and announces nothing, when a value is waiting.
// Consumer only.
func (q *Queue[T]) Sleep() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sleeping = len(q.items) == 0
	return q.sleeping
}

// Awake takes the announcement back: until the next Sleep no Push asks for a wake. Consumer only.
func (q *Queue[T]) Awake() {
	q.mu.Lock()
	q.sleeping = false
	q.mu.Unlock()
}
