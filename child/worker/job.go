package worker

// A Task is what a worker runs.
type Task interface{ Run() }

// TaskFunc makes a Task of a function.
type TaskFunc func()

// Run calls f.
func (f TaskFunc) Run() { f() }

// A Job is a Task with its place in a queue. It is meant to be embedded in what the
// task works on, so that submitting allocates nothing. Its owner must not touch it
// from Submit until the task runs or Remove has returned true; from then on it may be
// submitted again, by the task itself too. It must not be copied while queued.
type Job struct {
	Task Task

	list       *list // the one that it waits in, guarded by the lock of that list
	next, prev *Job
	worker     *worker // that runs it, guarded by the pool's lock
}

// A list is a queue of jobs, first in, first out, out of which any job can be taken
// in constant time. Its owner's lock guards it.
type list struct {
	head, tail *Job
	length     int
}

func (l *list) push(j *Job) {
	if j.list != nil {
		panic("worker: a job was submitted while it was queued")
	}
	j.list, j.prev = l, l.tail
	if l.tail == nil {
		l.head = j
	} else {
		l.tail.next = j
	}
	l.tail = j
	l.length++
}

// pop takes the oldest job, nil when there is none.
func (l *list) pop() *Job {
	j := l.head
	if j == nil {
		return nil
	}
	if l.head = j.next; l.head == nil {
		l.tail = nil
	} else {
		l.head.prev = nil
	}
	j.list, j.next = nil, nil
	l.length--
	return j
}

// remove takes j out, and reports whether it was there.
func (l *list) remove(j *Job) bool {
	if j.list != l {
		return false
	}
	if j.prev == nil {
		l.head = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		l.tail = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.list, j.next, j.prev = nil, nil, nil
	l.length--
	return true
}
