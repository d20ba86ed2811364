package board

import "sync/atomic"

// A record of KindCounters, version 1, is one counter with a cache line of its own:
//
//	word  field
//	   0  sum    signed; every process adds to it and reads it
//	 1-7  zero
var counters = Layout{Kind: KindCounters, Version: 1, Record: lineSize}

const wordSum = 0

// Counter is a number that every process of a server adds to. Any goroutine may use it; no call waits.
type Counter struct {
	name string
	sum  atomic.Pointer[atomic.Int64] // into the board; at first to own
	own  atomic.Int64
}

func newCounter(name string) *Counter {
	c := &Counter{name: name}
	c.sum.Store(&c.own)
	return c
}

// Add adds n, which may be negative, and returns the sum over all processes right after it. It wraps around like any int64.
func (c *Counter) Add(n int64) int64 { return c.sum.Load().Add(n) }

// Load returns the sum over all processes.
func (c *Counter) Load() int64 { return c.sum.Load().Load() }

// move lets the counter count at word from now on.
func (c *Counter) move(word *atomic.Int64) { c.sum.Store(word) }
