package local

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

const (
	// readerWait is how long a query without a bound of its own waits for a connection, and for the locks of a file that is being recovered.
	readerWait = 5 * time.Second
	// readerRetry is when a client should ask again that has found none.
	readerRetry = time.Second
	// snapshotMost is how long a snapshot is used for one query after the other, and about how long it may lie idle: the checkpointer cannot
	// begin the WAL anew while somebody reads from it.
	snapshotMost = 5 * time.Millisecond
	// watchEvery is how often it is looked whether the contexts of open rows have ended. Their deadlines are met when they come.
	watchEvery = time.Second
	// rowMost is how much memory for a row a connection keeps for the next query, in bytes.
	rowMost = 16 << 10
)

// A reader is a connection with its snapshot. To begin a snapshot and to end it takes as long as a small query, in locks mostly; while nothing is
// written, which the WAL index tells, the next query reads from the same.
type reader struct {
	conn   *lite.Conn
	begun  bool          // a transaction is open
	broken bool          // it could not be ended: the connection is of no use
	header lite.Header   // of the content that it reads; blank as an array: unknown
	since  time.Duration // when it was begun, from epoch

	row *lite.Row // memory for a row, which rows have while they are open; nil: there is none to use again

	// Guarded by the lock of readers.
	busy  bool // with a query, which owns what stands above
	ctx   context.Context
	until time.Duration // when the query must end, from epoch; 0: never

	using atomic.Pointer[rows] // of the query, from its first step until it gives the connection back
}

// late returns why the query must end; nil: it need not.
func (r *reader) late(now time.Duration) *engine.Error {
	err := r.ctx.Err()
	switch {
	case r.until != 0 && now >= r.until, errors.Is(err, context.DeadlineExceeded):
		return engine.Errorf(engine.CodeTimeout, "the statement took longer than it may")
	case err != nil:
		return engine.Errorf(engine.CodeCancelled, "the statement was cancelled")
	}
	return nil
}

// end gives the snapshot up.
func (r *reader) end() error {
	if !r.begun {
		return nil
	}
	r.begun, r.header = false, lite.Header{}
	err := r.conn.Exec("COMMIT")
	r.broken = r.broken || err != nil
	return err
}

// readers are the connections that read: the one that was used last is used next, for its cache is warm. One serves all policies: what it keeps
// compiled is kept by policy.
type readers struct {
	connect func() (*lite.Conn, error)
	log     func(message string, err error)

	mu      sync.Mutex
	most    int
	open    int // connections, the idle ones included, and those that are being opened
	all     []*reader
	idle    []*reader
	waiting []*place // in the order that they came
	closed  bool

	// One timer looks after them all: it ends rows whose time is over, whoever has them, and snapshots that lie idle.
	timer   *time.Timer
	wake    time.Duration // when it fires, from epoch, which is at most watchEvery away; 0: it does not
	resting bool          // it will look for snapshots
}

// A place is in the line for a connection; nil is sent for the right to open one.
type place struct {
	ready chan *reader // of capacity 1
	ctx   context.Context
	until time.Duration
}

// take returns a connection for a query that must end at until, and waits for it no longer than to limit, both from epoch. No until: 0.
func (r *readers) take(ctx context.Context, limit, until time.Duration) (*reader, error) {
	r.mu.Lock()
	r.watchLocked(until)
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		c.busy, c.ctx, c.until = true, ctx, until
		r.mu.Unlock()
		return c, nil
	}
	if r.open < r.most {
		r.open++
		r.mu.Unlock()
		return r.make(ctx, until)
	}
	p := &place{make(chan *reader, 1), ctx, until}
	r.waiting = append(r.waiting, p)
	r.mu.Unlock()
	timer := time.NewTimer(limit - time.Since(epoch))
	defer timer.Stop()
	select {
	case c := <-p.ready:
		return r.taken(ctx, c, until)
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	i := slices.Index(r.waiting, p)
	if i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	queue := len(r.waiting)
	r.mu.Unlock()
	if i < 0 { // it has come in the same moment
		return r.taken(ctx, <-p.ready, until)
	}
	if ctx.Err() != nil {
		return nil, engine.Errorf(engine.CodeCancelled, "the query was cancelled")
	}
	e := engine.Errorf(engine.CodeBusy, "all connections that read are in use")
	e.Queue, e.RetryAfter = queue, readerRetry
	return nil, e
}

func (r *readers) taken(ctx context.Context, c *reader, until time.Duration) (*reader, error) {
	if c != nil {
		return c, nil
	}
	return r.make(ctx, until)
}

// make opens a connection that r.open counts already.
func (r *readers) make(ctx context.Context, until time.Duration) (*reader, error) {
	conn, err := r.connect()
	if err != nil {
		r.lost(nil)
		return nil, err
	}
	c := &reader{conn: conn, busy: true, ctx: ctx, until: until}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, c)
	return c, nil
}

// give takes a connection back. false: there are too many; the caller has to close it, and to call lost.
func (r *readers) give(c *reader) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open > r.most {
		return false
	}
	if len(r.waiting) > 0 {
		r.handLocked(c)
		return true
	}
	c.busy, c.ctx = false, nil
	r.idle = append(r.idle, c)
	if c.begun && !r.resting {
		r.resting = true
		r.armLocked(time.Since(epoch) + snapshotMost)
	}
	return true
}

// lost is for a connection that has been closed, and, nil, for one that could not be opened.
func (r *readers) lost(c *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lostLocked(c)
}

func (r *readers) lostLocked(c *reader) {
	if i := slices.Index(r.all, c); i >= 0 {
		r.all = slices.Delete(r.all, i, i+1)
	}
	if len(r.waiting) > 0 && r.open <= r.most {
		r.handLocked(nil)
		return
	}
	r.open--
}

// handLocked gives c, or the right to open a connection, to who has waited longest.
func (r *readers) handLocked(c *reader) {
	p := r.waiting[0]
	r.waiting = slices.Delete(r.waiting, 0, 1)
	if c != nil {
		c.ctx, c.until = p.ctx, p.until
	}
	r.watchLocked(p.until)
	p.ready <- c
}

// resize changes how many there may be. Those in use beyond it are closed when they come back.
func (r *readers) resize(most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = most
	for len(r.waiting) > 0 && r.open < r.most {
		r.open++
		r.handLocked(nil)
	}
	for len(r.idle) > 0 && r.open > r.most {
		c := r.idle[0]
		r.idle = slices.Delete(r.idle, 0, 1)
		r.discardLocked(c)
	}
}

func (r *readers) discardLocked(c *reader) {
	if err := c.conn.Close(); err != nil {
		r.log("closing a database", err)
	}
	r.lostLocked(c)
}

// watchLocked sees to it that the timer fires for a query that must end at until.
func (r *readers) watchLocked(until time.Duration) {
	if r.wake != 0 && (until == 0 || r.wake <= until) {
		return
	}
	at := time.Since(epoch) + watchEvery
	if until != 0 {
		at = min(at, until)
	}
	r.armLocked(at)
}

// armLocked makes the timer fire at a time, from epoch, if it does not earlier.
func (r *readers) armLocked(at time.Duration) {
	if r.closed || r.wake != 0 && r.wake <= at {
		return
	}
	r.wake = max(at, 1)
	if wait := at - time.Since(epoch); r.timer == nil {
		r.timer = time.AfterFunc(wait, r.look)
	} else {
		r.timer.Reset(wait)
	}
}

// look ends the snapshots that lie idle and are old, and the rows whose time is over, and comes again while there are others. The lock is held
// while it ends snapshots: who closes the file must find every connection that is not in use.
func (r *readers) look() {
	type ended struct {
		*rows
		why *engine.Error
	}
	var over []ended
	r.mu.Lock()
	r.wake, r.resting = 0, false
	now := time.Since(epoch)
	for i := 0; i < len(r.idle); i++ {
		c := r.idle[i]
		if c.begun && now-c.since >= snapshotMost && c.end() != nil {
			r.idle = slices.Delete(r.idle, i, i+1)
			r.discardLocked(c)
			i--
			continue
		}
		r.resting = r.resting || c.begun
	}
	if r.resting {
		r.armLocked(now + snapshotMost)
	}
	for _, c := range r.all {
		if !c.busy {
			continue
		}
		why := c.late(now)
		if why == nil {
			r.watchLocked(c.until)
			continue
		}
		if u := c.using.Load(); u != nil {
			over = append(over, ended{u, why})
		}
		// If SQLite is at a step, that ends by itself; but it may just have ended in time.
		r.armLocked(now + snapshotMost)
	}
	r.mu.Unlock()
	for _, u := range over {
		u.expire(u.why)
	}
}

// close closes the idle ones: all, when nobody reads.
func (r *readers) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	for len(r.idle) > 0 {
		c := r.idle[0]
		r.idle = slices.Delete(r.idle, 0, 1)
		r.discardLocked(c)
	}
}

// query starts to read. Its time has run since it arrived, from epoch. The rows have the caller's share of f.
func (f *opened) query(ctx context.Context, q *engine.Query, arrived time.Duration) (*rows, error) {
	wait, until := waitOf(q), time.Duration(0)
	if q.Limits.Timeout > 0 {
		until = arrived + q.Limits.Timeout
	}
	c, err := f.readers.take(ctx, arrived+wait, until)
	if err != nil {
		return nil, err
	}
	result, err := f.start(ctx, c, q, until)
	if err != nil {
		f.back(c, lite.ErrorOf(err))
		return nil, err
	}
	c.using.Store(result)
	return result, nil
}

// waitOf returns how long q may wait for a connection.
func waitOf(q *engine.Query) time.Duration {
	t := q.Limits.Timeout
	switch {
	case q.Wait > 0 && t > 0:
		return min(q.Wait, t)
	case q.Wait > 0:
		return q.Wait
	case t > 0:
		return t
	}
	return readerWait
}

// start makes the first step.
func (f *opened) start(ctx context.Context, c *reader, q *engine.Query, until time.Duration) (*rows, error) {
	now := time.Since(epoch)
	last := until
	if last == 0 {
		last = now + readerWait
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if now >= last { // a limit of no time would be none
			e := engine.Errorf(engine.CodeBusy, "the time for the query was over before it could read")
			e.RetryAfter = readerRetry
			return nil, e
		}
		limits := q.Limits
		if until != 0 {
			limits.Timeout = until - now
		}
		result, e := f.try(ctx, c, q, limits, now)
		if e == nil {
			return result, nil
		}
		if e.Code != engine.CodeBusy {
			return nil, e
		}
		// A reader of a WAL meets a lock only while the log is recovered, or begun anew.
		select {
		case <-ctx.Done():
			return nil, engine.Errorf(engine.CodeCancelled, "the query was cancelled")
		case <-time.After(pause):
		}
		now = time.Since(epoch)
	}
}

// try is start without waiting. A snapshot is used again if its content is the present one still, so that who has written reads that. A new one
// has the content of the header that was the same before it was taken and after it; else its content is of no known tag. One that is used again is
// asked about too: SQLite takes it with the first statement that reads from the file, which the one before need not have done.
func (f *opened) try(ctx context.Context, c *reader, q *engine.Query, limits engine.Limits, now time.Duration) (*rows, *engine.Error) {
	before, known := lite.Header{}, false
	if f.index != nil {
		before, known = f.index.Header()
	}
	if again := known && c.begun && c.header == before && now-c.since < snapshotMost; !again {
		if err := c.end(); err != nil {
			return nil, lite.ErrorOf(err)
		}
		if known {
			if err := c.conn.Exec("BEGIN"); err != nil {
				return nil, lite.ErrorOf(err)
			}
			c.begun, c.since = true, now
		}
	}
	r, err := c.conn.Start(ctx, q.Policy, &q.Statement, limits)
	if err != nil {
		if e := c.end(); e != nil {
			return nil, lite.ErrorOf(e)
		}
		return nil, lite.ErrorOf(err)
	}
	result := &rows{rows: r, conn: c, file: f, columns: r.Columns(), row: c.row}
	if c.row = nil; result.row == nil {
		result.row = new(lite.Row)
	}
	if !known {
		return result, nil
	}
	if after, ok := f.index.Header(); ok && after == before {
		c.header = before
		result.tag, result.tagged = f.tagOf(&before)
	} else {
		c.header = lite.Header{}
	}
	return result, nil
}

// back takes a connection back, or closes it if e says that something is wrong with it.
func (f *opened) back(c *reader, e *engine.Error) {
	if c.begun && (c.header == (lite.Header{}) || time.Since(epoch)-c.since >= snapshotMost) {
		_ = c.end() // broken says it
	}
	wrong := c.broken
	if e != nil {
		switch e.Code {
		case engine.CodeInternal, engine.CodeCorrupt, engine.CodeUnavailable, engine.CodeFull:
			wrong = true
		}
	}
	if !wrong && f.readers.give(c) {
		return
	}
	if err := c.conn.Close(); err != nil {
		f.log("closing a database", err)
	}
	f.readers.lost(c)
}
