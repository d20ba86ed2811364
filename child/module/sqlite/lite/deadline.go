package lite

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"modernc.org/libc"

	"github.com/tined/tined/child/module/sqlite/engine"
)

const (
	// progressEvery is how many operations of SQLite's machine pass between two looks at the clock: some 10 to 50 µs.
	progressEvery = 1000
	// breathEvery is how long a statement runs before it lets others have the processor.
	breathEvery = time.Millisecond
)

// epoch is where the monotonic clock is counted from.
var epoch = time.Now()

// A deadline says when the present statement ends. The goroutine of its Conn owns it, but for flag.
type deadline struct {
	until   time.Duration // since epoch; 0: never
	ctx     context.Context
	flag    atomic.Bool
	cause   engine.Code   // why it has ended; "": it has not
	breathe time.Duration // since epoch: when it should let others run; 0: the first look says
}

func (d *deadline) begin(timeout time.Duration, ctx context.Context) {
	d.until, d.ctx, d.cause, d.breathe = 0, ctx, "", 0
	d.flag.Store(false)
	if timeout > 0 {
		d.until = time.Since(epoch) + timeout
	}
	if ctx != nil && ctx.Done() == nil {
		d.ctx = nil
	}
}

func (d *deadline) end() { d.until, d.ctx = 0, nil }

// passed reports whether the statement must end.
func (d *deadline) passed() bool {
	if d.until == 0 && d.ctx == nil && !d.flag.Load() {
		return false
	}
	return d.passedAt(time.Since(epoch))
}

func (d *deadline) passedAt(now time.Duration) bool {
	switch {
	case d.until != 0 && now >= d.until:
		d.cause = engine.CodeTimeout
	case d.flag.Load():
		d.cause = engine.CodeCancelled
	case d.ctx != nil && d.ctx.Err() != nil:
		d.cause = engine.CodeCancelled
		if errors.Is(d.ctx.Err(), context.DeadlineExceeded) {
			d.cause = engine.CodeTimeout
		}
	default:
		return false
	}
	return true
}

func (d *deadline) failure() *engine.Error {
	if d.cause == engine.CodeTimeout {
		return engine.Errorf(engine.CodeTimeout, "the statement took longer than it may")
	}
	return engine.Errorf(engine.CodeCancelled, "the statement was cancelled")
}

// progress is sqlite3_progress_handler's callback (https://www.sqlite.org/c3ref/progress_handler.html). It runs in the goroutine of the Conn.
func progress(_ *libc.TLS, number uintptr) int32 {
	c := connection(number)
	if c == nil {
		return 0
	}
	d, now := &c.deadline, time.Since(epoch)
	if d.passedAt(now) {
		return 1
	}
	switch {
	case d.breathe == 0:
		d.breathe = now + breathEvery
	case now >= d.breathe:
		breathe()
		d.breathe = time.Since(epoch) + breathEvery
	}
	return 0
}
