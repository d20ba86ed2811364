//go:build linux

package tined

import (
	"fmt"

	"github.com/tined/tined/netcore/board"
)

// MaxSharedValue is the longest text of a Value in bytes.
const MaxSharedValue = board.MaxValue

// Errors of Value.Set.
var (
	// ErrValueTooLong: the text is over MaxSharedValue.
	ErrValueTooLong = board.ErrTooLong
	// ErrNoMaster: the master is gone or does not answer.
	ErrNoMaster = board.ErrNoMaster
)

// Counter is a number that all children share: see Program.SharedCounter. Its methods may be called by any goroutine and never wait.
type Counter struct{ c *board.Counter }

// Add adds n, which may be negative, and returns the sum over all processes right after it. It wraps around like any int64.
func (c *Counter) Add(n int64) int64 { return c.c.Add(n) }

// Load returns the sum over all processes.
func (c *Counter) Load() int64 { return c.c.Load() }

// Value is a text that all children share: see Program.SharedValue. Its methods may be called by any goroutine.
type Value struct{ v *board.Value }

// Get returns the text, "" before the first Set. It reads this process's own copy and never waits.
func (v *Value) Get() string { return v.v.Get() }

// Set replaces the text everywhere. When it has returned nil, Get returns the text, or a later one, in this process; the other children
// are being told, and see all texts in one order, but may skip some. Set waits for the master, so it is not for every request, nor for
// a handler that declares that it never blocks. Errors: ErrValueTooLong; ErrNoMaster after at most 5 seconds, which leaves it open
// whether the text was set.
func (v *Value) Set(text string) error { return v.v.Set(text) }

// Changed returns a channel that is closed at the next change after the call, so that no change is missed between Get and waiting:
//
//	for {
//		changed := v.Changed()
//		use(v.Get())
//		<-changed
//	}
func (v *Value) Changed() <-chan struct{} { return v.v.Changed() }

// SharedCounter registers a counter that all children share. It is exact: no Add is lost, also when the child that made it is killed right
// after; adding is one atomic instruction on memory that the processes share. It begins with 0 at every start of the server. What is
// added before Main is called counts once, not once per process.
//
// Every process must register the same names in the same order, which a main without a condition does. It panics when the name is taken
// by a counter or a value, or is not of 1 to 64 letters, digits and _-.:/, beyond 256 counters, and after Main was called.
//
// In a program that never calls Main, a test for example, it counts in the process's own memory.
func (p *Program) SharedCounter(name string) *Counter { return p.sharedCounter(name) }

func (p *Program) sharedCounter(name string) *Counter {
	at := callerPlace(2)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserve(at, name)
	c, err := p.shared.Counter(name)
	p.accept(at, name, err)
	return &Counter{c}
}

// SharedValue registers a text that all children share, of at most MaxSharedValue bytes. The master keeps it: it survives the death of any
// child and ends with the server. What is set before Main is called is the first text.
//
// Names are those of SharedCounter, and it panics like it; there are at most 32 values.
//
// In a program that never calls Main, a test for example, the text is in the process's own memory.
func (p *Program) SharedValue(name string) *Value { return p.sharedValue(name) }

func (p *Program) sharedValue(name string) *Value {
	at := callerPlace(2)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserve(at, name)
	v, err := p.shared.Value(name)
	p.accept(at, name, err)
	return &Value{v}
}

// reserve panics when a shared name is taken or comes too late. The caller holds mu.
func (p *Program) reserve(at, name string) {
	p.open(at)
	if other, taken := p.names[name]; taken {
		panic(fmt.Sprintf("tined: %s: the shared name %q is taken, by %s", at, name, other))
	}
}

// accept notes who has registered a name, and panics when it was refused. The caller holds mu.
func (p *Program) accept(at, name string, err error) {
	if err != nil {
		panic(fmt.Sprintf("tined: %s: shared name %q: %v", at, name, err))
	}
	p.names[name] = at
}
