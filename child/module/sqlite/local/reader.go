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
)

// readers are the connections that read: the one that was used last is used next, for its cache is warm. One serves all policies: what it keeps
// compiled is kept by policy.
type readers struct {
	most int

	mu      sync.Mutex
	open    int // connections, the idle ones included, and those that are being opened
	idle    []*lite.Conn
	waiting []chan *lite.Conn // in the order that they came; nil is sent for the right to open one
}

// take returns a connection. open makes one.
func (r *readers) take(ctx context.Context, wait time.Duration, open func() (*lite.Conn, error)) (*lite.Conn, error) {
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
	place := make(chan *lite.Conn, 1)
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

func (r *readers) taken(c *lite.Conn, open func() (*lite.Conn, error)) (*lite.Conn, error) {
	if c != nil {
		return c, nil
	}
	return r.make(open)
}

// make opens a connection that r.open counts already.
func (r *readers) make(open func() (*lite.Conn, error)) (*lite.Conn, error) {
	c, err := open()
	if err != nil {
		r.give(nil)
		return nil, err
	}
	return c, nil
}

// give takes a connection back; nil: it is no more.
func (r *readers) give(c *lite.Conn) {
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
}

// close closes the idle ones: all, when nobody reads.
func (r *readers) close(o *Options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.idle {
		if err := c.Close(); err != nil {
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

// start makes the first step. The content is that of the tag if the header was the same before the snapshot was taken and after it.
func (f *opened) start(ctx context.Context, c *lite.Conn, q *engine.Query, wait time.Duration) (*rows, error) {
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		var before, after lite.Header
		var known bool
		if f.index != nil {
			before, known = f.index.Header()
		}
		r, err := c.Start(ctx, q.Policy, &q.Statement, q.Limits)
		if err == nil {
			result := &rows{rows: r, conn: c, file: f, columns: r.Columns()}
			if known {
				if after, known = f.index.Header(); known && after == before {
					result.tag, result.tagged = f.tagOf(&before)
				}
			}
			return result, nil
		}
		e := lite.ErrorOf(err)
		if e.Code != engine.CodeBusy {
			return nil, e
		}
		// A reader of a WAL meets a lock only while the log is recovered, or begun anew.
		if time.Since(began) >= wait {
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

// back takes a connection back, or closes it if e says that something is wrong with it.
func (f *opened) back(c *lite.Conn, e *engine.Error) {
	if e != nil {
		switch e.Code {
		case engine.CodeInternal, engine.CodeCorrupt, engine.CodeUnavailable, engine.CodeFull:
			if err := c.Close(); err != nil {
				f.options.Log("closing a database", err)
			}
			c = nil
		}
	}
	f.readers.give(c)
}

// rows are lite.Rows with a tag. They are used once, while the lite.Rows are the connection's: to close them twice closes nobody else's.
type rows struct {
	rows    *lite.Rows // nil: closed
	conn    *lite.Conn
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
