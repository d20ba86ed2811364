package local

import (
	"context"
	"slices"
	"sync"
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
	snapshotMost = 50 * time.Millisecond
)

// A reader is a connection with its snapshot. To begin a snapshot and to end it takes as long as a small query, in locks mostly; while nothing is
// written, which the WAL index tells, the next query reads from the same.
type reader struct {
	conn   *lite.Conn
	begun  bool          // a transaction is open
	header lite.Header   // of the content that it reads; blank as an array: unknown
	since  time.Duration // when it was begun, from epoch
}

// end gives the snapshot up.
func (r *reader) end() error {
	if !r.begun {
		return nil
	}
	r.begun, r.header = false, lite.Header{}
	return r.conn.Exec("COMMIT")
}

// readers are the connections that read: the one that was used last is used next, for its cache is warm. One serves all policies: what it keeps
// compiled is kept by policy.
type readers struct {
	most int

	mu      sync.Mutex
	open    int // connections, the idle ones included, and those that are being opened
	idle    []*reader
	resting bool           // a timer will look for snapshots that lie idle
	waiting []chan *reader // in the order that they came; nil is sent for the right to open one
}

// take returns a connection. open makes one.
func (r *readers) take(ctx context.Context, wait time.Duration, open func() (*lite.Conn, error)) (*reader, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	if r.open < r.most {
		r.open++
		r.mu.Unlock()
		return r.make(open)
	}
	place := make(chan *reader, 1)
	r.waiting = append(r.waiting, place)
	r.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case c := <-place:
		return r.taken(c, open)
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	i := slices.Index(r.waiting, place)
	if i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	queue := len(r.waiting)
	r.mu.Unlock()
	if i < 0 { // it has come in the same moment
		return r.taken(<-place, open)
	}
	if ctx.Err() != nil {
		return nil, engine.Errorf(engine.CodeCancelled, "the query was cancelled")
	}
	e := engine.Errorf(engine.CodeBusy, "all connections that read are in use")
	e.Queue, e.RetryAfter = queue, readerRetry
	return nil, e
}

func (r *readers) taken(c *reader, open func() (*lite.Conn, error)) (*reader, error) {
	if c != nil {
		return c, nil
	}
	return r.make(open)
}

// make opens a connection that r.open counts already.
func (r *readers) make(open func() (*lite.Conn, error)) (*reader, error) {
	c, err := open()
	if err != nil {
		r.give(nil)
		return nil, err
	}
	return &reader{conn: c}, nil
}

// give takes a connection back; nil: it is no more.
func (r *readers) give(c *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 {
		place := r.waiting[0]
		r.waiting = slices.Delete(r.waiting, 0, 1)
		place <- c // of capacity 1
		return
	}
	if c == nil {
		r.open--
		return
	}
	r.idle = append(r.idle, c)
	if c.begun && !r.resting {
		r.resting = true
		time.AfterFunc(snapshotMost, r.rest)
	}
}

// rest ends the snapshots that are old, and comes again while there are others. The lock is held meanwhile: who closes the file must find every
// connection that is not in use.
func (r *readers) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resting = false
	for _, c := range r.idle {
		if c.begun && time.Since(epoch)-c.since >= snapshotMost {
			_ = c.end() // what is wrong with the connection shows when it is used
		}
		r.resting = r.resting || c.begun
	}
	if r.resting {
		time.AfterFunc(snapshotMost, r.rest)
	}
}

// close closes the idle ones: all, when nobody reads.
func (r *readers) close(o *Options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.idle {
		if err := c.conn.Close(); err != nil {
			o.Log("closing a database", err)
		}
	}
	r.open -= len(r.idle)
	r.idle = nil
}

// query starts to read. The rows have the caller's share of f.
func (f *opened) query(ctx context.Context, q *engine.Query) (*rows, error) {
	wait := q.Limits.Timeout
	if wait <= 0 {
		wait = readerWait
	}
	c, err := f.readers.take(ctx, wait, func() (*lite.Conn, error) { return f.connect(true) })
	if err != nil {
		return nil, err
	}
	result, err := f.start(ctx, c, q, wait)
	if err != nil {
		f.back(c, lite.ErrorOf(err))
		return nil, err
	}
	return result, nil
}

// start makes the first step.
func (f *opened) start(ctx context.Context, c *reader, q *engine.Query, wait time.Duration) (*rows, error) {
	began := time.Since(epoch)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		result, e := f.try(ctx, c, q)
		if e == nil {
			return result, nil
		}
		if e.Code != engine.CodeBusy {
			return nil, e
		}
		// A reader of a WAL meets a lock only while the log is recovered, or begun anew.
		if time.Since(epoch)-began >= wait {
			e.RetryAfter = readerRetry
			return nil, e
		}
		select {
		case <-ctx.Done():
			return nil, engine.Errorf(engine.CodeCancelled, "the query was cancelled")
		case <-time.After(pause):
		}
	}
}

// try is start without waiting. A snapshot is used again if its content is the present one still, so that who has written reads that. A new one
// has the content of the header that was the same before it was taken and after it; else its content is of no known tag.
func (f *opened) try(ctx context.Context, c *reader, q *engine.Query) (*rows, *engine.Error) {
	now := time.Since(epoch)
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
	r, err := c.conn.Start(ctx, q.Policy, &q.Statement, q.Limits)
	if err != nil {
		if e := c.end(); e != nil {
			return nil, lite.ErrorOf(e)
		}
		return nil, lite.ErrorOf(err)
	}
	result := &rows{rows: r, conn: c, file: f, columns: r.Columns()}
	if known && c.header != before {
		if after, ok := f.index.Header(); ok && after == before {
			c.header = before
		}
	}
	if known && c.header == before {
		result.tag, result.tagged = f.tagOf(&before)
	}
	return result, nil
}

// back takes a connection back, or closes it if e says that something is wrong with it.
func (f *opened) back(c *reader, e *engine.Error) {
	var err error
	if c.begun && (c.header == (lite.Header{}) || time.Since(epoch)-c.since >= snapshotMost) {
		err = c.end()
	}
	wrong := err != nil
	if e != nil {
		switch e.Code {
		case engine.CodeInternal, engine.CodeCorrupt, engine.CodeUnavailable, engine.CodeFull:
			wrong = true
		}
	}
	if wrong {
		if err := c.conn.Close(); err != nil {
			f.options.Log("closing a database", err)
		}
		c = nil
	}
	f.readers.give(c)
}

// rows are lite.Rows with a tag. They are used once, while the lite.Rows are the connection's: to close them twice closes nobody else's.
type rows struct {
	rows    *lite.Rows // nil: closed
	conn    *reader
	file    *opened
	columns []engine.Column
	tag     engine.Tag
	tagged  bool
	err     error // of rows that are closed
}

func (r *rows) Columns() []engine.Column { return r.columns }

func (r *rows) Next() bool { return r.rows != nil && r.rows.Next() }

func (r *rows) Value(column int) engine.Value {
	if r.rows == nil {
		panic("local: a value of rows that are closed")
	}
	return r.rows.Value(column)
}

func (r *rows) Err() error {
	if r.rows == nil {
		return r.err
	}
	return r.rows.Err()
}

func (r *rows) Tag() (engine.Tag, bool) { return r.tag, r.tagged }

func (r *rows) Close() {
	if r.rows == nil {
		return
	}
	r.err = r.rows.Err()
	r.rows.Close()
	r.rows = nil
	var e *engine.Error
	if r.err != nil {
		e = lite.ErrorOf(r.err)
	}
	r.file.back(r.conn, e)
	r.file.release()
}
