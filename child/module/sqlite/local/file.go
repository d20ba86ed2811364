package local

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// lookEvery is how often a File looks whether its path names another file by now.
const lookEvery = time.Second

// Options say what is served, and how. A file that several have open has the options of the one that was opened last.
type Options struct {
	// Path is the file's, absolute. It must exist.
	Path string
	// Claim keeps others of the process from opening and closing the file with this device and inode, until release; nil: there are none.
	Claim func(dev, ino uint64) (release func())
	// Readers is how many connections read, at most; 0: 8.
	Readers int
	// Queue is how many batches wait to be written, at most, and QueueTimeout how long one waits that does not say so itself; 0: 1000, and 5 s.
	Queue        int
	QueueTimeout time.Duration
	// CacheBytes bounds the pages that a connection keeps in memory; 0: 2 MB. Connections that are open keep theirs.
	CacheBytes int64
	// Log is told what the operator should know; nil: nobody is.
	Log func(message string, err error)
}

// A File is one user's share of a served file. It implements engine.Database; its methods may be called by any goroutine.
type File struct {
	options Options
	number  int64                  // of Files, in the order that they were opened
	next    atomic.Int64           // when to look again, in nanoseconds since epoch
	opened  atomic.Pointer[opened] // nil: the path names no file that can be opened, or f is closed

	mu     sync.Mutex
	closed bool
	change *change // nil: none is under way
	failed error   // why opened is nil, as the last look found it
}

// A change is the opening of another file that the path names. It runs in a goroutine of its own: nobody waits for it longer than it wants to.
type change struct {
	began time.Duration // from epoch
	done  chan struct{}
}

var epoch = time.Now()

var lastNumber atomic.Int64

// Open opens the file, or shares it if it is open. A file of another journal mode gets a WAL, for ever. It waits 5 s at most for others that write,
// and for the closing of the file by its last user. Errors are of type *engine.Error; one for a file that is not there has fs.ErrNotExist inside.
func Open(o Options) (*File, error) {
	if o.Readers <= 0 {
		o.Readers = 8
	}
	if o.Log == nil {
		o.Log = func(string, error) {}
	}
	if o.Claim == nil {
		o.Claim = func(uint64, uint64) func() { return func() {} }
	}
	f := &File{options: o, number: lastNumber.Add(1)}
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	opened, err := acquire(ctx, f)
	if err != nil {
		return nil, copyOf(lite.ErrorOf(err))
	}
	f.opened.Store(opened)
	f.next.Store(int64(time.Since(epoch) + lookEvery))
	return f, nil
}

// Close gives the share back. Who is last waits for the transaction that runs, and closes the file.
func (f *File) Close() {
	f.mu.Lock()
	f.closed = true
	o := f.opened.Swap(nil)
	f.mu.Unlock()
	if o == nil {
		return
	}
	o.leave(f)
	if o.giveBack() {
		o.end()
	}
}

// use returns the opened file, for which the caller has to call release. For one that is being opened it waits to until, and no longer than openWait.
// Both times are from epoch.
func (f *File) use(ctx context.Context, now, until time.Duration) (*opened, error) {
	due := f.due(now)
	if !due {
		if o := f.opened.Load(); o != nil && o.share() {
			return o, nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if due && !f.closed && f.change == nil {
		f.lookLocked(now)
	}
	if c := f.change; c != nil {
		f.mu.Unlock()
		err := c.wait(ctx, now, until)
		f.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	if f.closed {
		return nil, engine.Errorf(engine.CodeUnavailable, "the database has been closed")
	}
	o := f.opened.Load()
	switch {
	case o != nil:
		o.refs.Add(1) // f's own share keeps it above zero
		return o, nil
	case f.change != nil: // another one by now
		return nil, notYet(errMoved)
	}
	return nil, copyOf(lite.ErrorOf(f.failed)) // each caller may add to its own
}

// due reports whether it is time to look, and is true for one caller.
func (f *File) due(now time.Duration) bool {
	next := f.next.Load()
	return int64(now) >= next && f.next.CompareAndSwap(next, int64(now+lookEvery))
}

// lookLocked begins to open what the path names by now, if that is not what is open.
func (f *File) lookLocked(now time.Duration) {
	old := f.opened.Load()
	_, id, err := locate(f.options.Path)
	if err == nil && old != nil && old.id == id {
		return
	}
	if old != nil {
		f.opened.Store(nil)
		f.options.Log("the database has been replaced, moved or removed: "+f.options.Path, err)
		old.retire()
		old.leave(f)
		old.release()
	}
	if f.failed = err; err != nil {
		return
	}
	f.change = &change{now, make(chan struct{})}
	go f.changeOver(f.change)
}

// changeOver opens the file, however long that takes.
func (f *File) changeOver(c *change) {
	o, err := acquire(context.Background(), f)
	f.mu.Lock()
	closed := f.closed
	f.change, f.failed = nil, err
	if err == nil && !closed {
		f.opened.Store(o)
	}
	f.mu.Unlock()
	close(c.done)
	if err == nil && closed {
		o.leave(f)
		o.release()
	}
}

func (c *change) wait(ctx context.Context, now, until time.Duration) error {
	timer := time.NewTimer(min(until, c.began+openWait) - now)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return engine.Errorf(engine.CodeCancelled, "the request was cancelled before it was done")
		}
	}
	return notYet(errors.New("the file has been replaced, and who opens the new one waits for a process that writes, or is stopped"))
}

// Query implements engine.Database. The statement's time runs from the call: what the query waits for, a connection above all, is part of it. The
// connection and the snapshot are given back when it is over, though nobody calls Next or Close, and about a second after ctx has ended.
func (f *File) Query(ctx context.Context, q *engine.Query) (engine.Rows, error) {
	if q.Policy == nil {
		return nil, engine.ErrorOf(errors.New("a query without a policy"))
	}
	arrived := time.Since(epoch)
	o, err := f.use(ctx, arrived, arrived+waitOf(q))
	if err != nil {
		return nil, err
	}
	rows, err := o.query(ctx, q, arrived)
	if err != nil {
		o.release()
		return nil, err
	}
	return rows, nil
}

// Execute implements engine.Database. A batch that waits while the file is replaced is written into the new one.
func (f *File) Execute(ctx context.Context, b *engine.Batch) (outcomes []engine.Outcome, err error) {
	wait := b.Wait
	if wait <= 0 {
		_, wait = queueBounds(0, f.options.QueueTimeout)
	}
	for range 3 {
		now := time.Since(epoch)
		o, e := f.use(ctx, now, now+wait)
		if e != nil {
			return nil, e
		}
		outcomes, err = o.writing().execute(ctx, b)
		o.release()
		if !errors.Is(err, errWriterClosed) {
			break
		}
		f.next.Store(0) // somebody has seen that the file is another
	}
	return outcomes, err
}

// Inspect implements engine.Database.
func (f *File) Inspect(ctx context.Context, policy *engine.Policy, sql string) (engine.Info, error) {
	if policy == nil { // it would be the server's own, and a PRAGMA takes effect while it is compiled
		return engine.Info{}, engine.ErrorOf(errors.New("a statement to inspect without a policy"))
	}
	now := time.Since(epoch)
	o, err := f.use(ctx, now, now+openWait)
	if err != nil {
		return engine.Info{}, err
	}
	defer o.release()
	return o.inspect(policy, sql)
}

// Tag implements engine.Database. Once a second it asks the file system for the file's identity.
func (f *File) Tag() (engine.Tag, bool) {
	o := f.opened.Load()
	if o == nil || !o.share() {
		return engine.Tag{}, false
	}
	defer o.release()
	if f.due(time.Since(epoch)) {
		if id, err := identityOf(f.options.Path); err != nil || id != o.id {
			f.next.Store(0) // who uses it next changes over
			return engine.Tag{}, false
		}
	}
	return o.tag()
}
