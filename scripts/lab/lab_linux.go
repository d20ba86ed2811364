package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An experiment answers one question.
type experiment struct {
	name     string // of its place in the page
	question string
	run      func(*lab) (*Outcome, error)
}

// experiments in the order in which they run.
var experiments = []experiment{
	{"polling", "what do select, poll and epoll cost?", runPolling},
	{"ownership", "a mutex per connection, or one owner?", runOwnership},
	{"threads", "several threads polling one connection", runThreads},
	{"herd", "who wakes when a client connects?", runHerd},
	{"handover", "how should a job reach a worker?", runHandover},
	{"batching", "what does it save to do several things in one system call?", runBatching},
	{"closed", "what happens to a connection that is closed while it is polled?", runClosed},
	{"machine", "where was this measured?", describeMachine},
}

// lab is how much an experiment may spend.
type lab struct {
	quick  bool
	rounds int
	slice  time.Duration // of one contender in one round
	files  int           // descriptors that this process may open
}

func newLab(quick bool) (*lab, error) {
	l := &lab{quick: quick, rounds: 15, slice: 60 * time.Millisecond}
	if quick {
		l.rounds, l.slice = 2, time.Millisecond
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("getrlimit RLIMIT_NOFILE: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("setrlimit RLIMIT_NOFILE: %w", err)
	}
	l.files = int(min(limit.Cur, 1<<20))
	return l, nil
}

// scaled is n, or the small part of it that a quick run needs.
func (l *lab) scaled(n int) int {
	if l.quick {
		return max(1, n/50)
	}
	return n
}

// pinned runs f on a thread of its own that stays on one core, and ends the thread: nothing else
// inherits the pinning. With one usable core it is that one.
func pinned(f func() error) error {
	var usable unix.CPUSet
	if err := unix.SchedGetaffinity(0, &usable); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var one unix.CPUSet
		for cpu := range 8 * int(unsafe.Sizeof(one)) {
			if usable.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			done <- fmt.Errorf("sched_setaffinity: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// withProcs runs f with that GOMAXPROCS.
func withProcs(procs int, f func() error) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	return f()
}

// self is this program, for the processes that it starts as itself.
func self() (string, error) { return os.Executable() }
