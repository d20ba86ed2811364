package local

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// The way of a batch:
//  1. its asker puts it into the queue (execute), and starts the goroutine if there is none. From here on the asker keeps its deadline itself;
//  2. the goroutine takes the turnstile, on which the writers of all children stand in line. It may block there for any time: nobody waits for it
//     but through the queue;
//  3. it begins a transaction, and tries again while an outside program, which takes no turnstile, holds the lock (writer_turn.go);
//  4. it runs batch after batch, each in savepoints, up to a number, a time, or the end of the queue (writer_batch.go);
//  5. it commits, gives the turnstile to the next child, and only then answers all that were in the transaction. Those that another's fault has
//     undone go to the front of the queue.
//
// There is a goroutine only while something waits or runs.

// Defaults of Options and bounds of a transaction.
const (
	defaultQueue        = 1000
	defaultQueueTimeout = 5 * time.Second

	groupBatches = 256                  // of one transaction
	groupTime    = 8 * time.Millisecond // after which no further batch is put into it: other children wait
)

// errWriterClosed is inside the error of a batch of which nothing has run, since the writer was closed.
var errWriterClosed = errors.New("the writer is closed")

// A connection is what the writer needs of a lite.Conn.
type connection interface {
	Exec(sql string) error
	Start(ctx context.Context, p *engine.Policy, s *engine.Statement, l engine.Limits) (results, error)
	InTransaction() bool
	Changes() int64
	LastInsertID() int64
	SetLastInsertID(id int64)
	DeferredViolations() bool
	Close() error
}

// results are what a statement gives.
type results interface {
	engine.Rows
	ReadOnly() bool
}

// A gate lets in one writer of all children.
type gate interface {
	Lock() error
	Unlock() error
	Close() error
}

// writerOptions are what a writer is made of.
type writerOptions struct {
	open      func() (connection, error) // called again after a connection had to be given up
	turnstile func() (gate, error)       // called once
	capacity  int                        // batches that wait, at most; 0: 1000
	timeout   time.Duration              // that a batch waits, if it does not say so itself; 0: 5 s
	together  int                        // batches of a transaction, at most; 0: 256
	log       func(message string, err error)
}

// fileWriter returns the options of the writer for the file at path. open opens its connection, whenever it needs one: it must not open another
// file that has taken the name meanwhile.
func fileWriter(path string, open func() (*lite.Conn, error), o *Options) writerOptions {
	return writerOptions{
		open: func() (connection, error) {
			c, err := open()
			if err != nil {
				return nil, err
			}
			return liteConnection{c}, nil
		},
		turnstile: func() (gate, error) { return openGate(path) },
		capacity:  o.Queue,
		timeout:   o.QueueTimeout,
		log:       o.Log,
	}
}

// liteConnection is a lite.Conn as a connection.
type liteConnection struct{ *lite.Conn }

func (c liteConnection) Start(ctx context.Context, p *engine.Policy, s *engine.Statement, l engine.Limits) (results, error) {
	rows, err := c.Conn.Start(ctx, p, s, l)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// A writer writes into one file for one child, whose batches share transactions.
type writer struct {
	writerOptions
	queue *queue
	pace  atomic.Int64 // nanoseconds that a batch takes, lately
	wait  atomic.Int64 // nanoseconds that a batch waits, if it does not say so itself: timeout, until other options are adopted

	// The goroutine's, or of whoever closes when there is none inside the queue.
	conn  connection  // nil: not open
	gate  gate        // nil: not open
	ill   engine.Code // what the last transaction met; "": it succeeded
	group []*entry    // of the present transaction
	again []*entry    // taken out of it: it was undone, and they have no answer
}

// newWriter makes a writer. It opens nothing before the first batch.
func newWriter(o writerOptions) *writer {
	o.capacity, o.timeout = queueBounds(o.capacity, o.timeout)
	if o.together <= 0 {
		o.together = groupBatches
	}
	if o.log == nil {
		o.log = func(string, error) {}
	}
	w := &writer{writerOptions: o, queue: newQueue(o.capacity)}
	w.wait.Store(int64(o.timeout))
	return w
}

// queueBounds returns how many wait, and how long, with the defaults for what is not set.
func queueBounds(capacity int, timeout time.Duration) (int, time.Duration) {
	if capacity <= 0 {
		capacity = defaultQueue
	}
	if timeout <= 0 {
		timeout = defaultQueueTimeout
	}
	return capacity, timeout
}

// adopt makes other options hold for the batches to come. Those that wait stay.
func (w *writer) adopt(o *Options) {
	capacity, timeout := queueBounds(o.Queue, o.QueueTimeout)
	w.queue.resize(capacity)
	w.wait.Store(int64(timeout))
}

// execute runs b, and returns when it is durable, or when it is known that nothing of it is done; see engine.Database. If ctx ends before b has
// begun, nothing of it happens. If ctx ends later, b is completed, or undone as a whole.
func (w *writer) execute(ctx context.Context, b *engine.Batch) ([]engine.Outcome, error) {
	if len(b.Statements) == 0 {
		return nil, nil
	}
	if b.Policy == nil {
		// It could end the transaction of others.
		return nil, engine.ErrorOf(errors.New("a batch without a policy"))
	}
	if ctx.Err() != nil {
		return nil, w.goneError(ctx)
	}
	e := &entry{ctx: ctx, batch: b, notice: make(chan struct{}, 1)}
	switch w.queue.enter(e) {
	case refusedFull:
		return nil, w.busyError("too many writes wait for the database")
	case refusedClosed:
		return nil, errorClosed()
	case admittedFirst:
		go w.work()
	}
	return w.await(e)
}

// await waits for e's answer, and keeps its deadline while it is in the queue.
func (w *writer) await(e *entry) ([]engine.Outcome, error) {
	wait := e.batch.Wait
	if wait <= 0 {
		wait = time.Duration(w.wait.Load())
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	gone := e.ctx.Done()
	for {
		select {
		case <-e.notice:
			if w.queue.stageOf(e) == stageFinished {
				return e.outcomes, e.err
			}
			// It was undone through another's fault, and waits again.
			timer.Reset(wait)
			gone = e.ctx.Done()
		case <-timer.C:
			if w.queue.leave(e) {
				return nil, w.busyError("the database is busy with other writes")
			}
		case <-gone:
			if w.queue.leave(e) {
				return nil, w.goneError(e.ctx)
			}
			gone = nil
		}
	}
}

// close answers what waits, waits for a transaction that runs, and closes the connection. It does not wait for the turnstile: the goroutine that
// blocks there has no connection, and gives the turnstile back when it gets it. It can be called again.
func (w *writer) close() {
	first, served := w.queue.close()
	if !first {
		return
	}
	w.drop()
	if !served {
		w.closeGate()
	}
}

// drop closes the connection: the next turn opens another.
func (w *writer) drop() {
	if w.conn == nil {
		return
	}
	if err := w.conn.Close(); err != nil {
		w.log("closing the connection that writes", err)
	}
	w.conn = nil
}

func (w *writer) closeGate() {
	if w.gate == nil {
		return
	}
	if err := w.gate.Close(); err != nil {
		w.log("closing the turnstile", err)
	}
	w.gate = nil
}

// Bounds of Retry-After.
const (
	retryLeast = time.Second
	retryMost  = 30 * time.Second
)

// busyError says when the queue will have been served, as fast as it was lately.
func (w *writer) busyError(message string) *engine.Error {
	waits := w.queue.waits()
	e := engine.Errorf(engine.CodeBusy, "%s", message)
	e.Queue = waits
	e.RetryAfter = max(retryLeast, min(time.Duration(w.pace.Load())*time.Duration(waits), retryMost))
	return e
}

// goneError is for a batch that has not run: its asker has gone, or has set a time that is over.
func (w *writer) goneError(ctx context.Context) *engine.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return w.busyError("the time for the request was over before the database could write")
	}
	e := engine.Errorf(engine.CodeCancelled, "the request was cancelled before it was done")
	e.Err = ctx.Err()
	return e
}

func errorClosed() *engine.Error {
	e := engine.Errorf(engine.CodeUnavailable, "the database is being closed")
	e.RetryAfter, e.Err = retryLeast, errWriterClosed
	return e
}
