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

// Options say what is served, and how. Those of the first who opens a file hold for all.
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
	// CacheBytes bounds the pages that a connection keeps in memory; 0: 2 MB.
	CacheBytes int64
	// Log is told what the operator should know; nil: nobody is.
	Log func(message string, err error)
}

// A File is one user's share of a served file. It implements engine.Database; its methods may be called by any goroutine.
type File struct {
	options Options
	next    atomic.Int64           // when to look again, in nanoseconds since epoch
	opened  atomic.Pointer[opened] // nil: the path names no file that can be opened, or f is closed

	mu     sync.Mutex
	closed bool
	failed error // why opened is nil, as the last look found it
}

var epoch = time.Now()

// Open opens the file, or shares it if it is open. A file of another journal mode gets a WAL, for ever. Errors are of type *engine.Error.
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
	f := &File{options: o}
	opened, err := acquire(&f.options)
	if err != nil {
		return nil, lite.ErrorOf(err)
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
	if o != nil && o.giveBack() {
		o.end()
	}
}

// use returns the opened file, for which the caller has to call release.
func (f *File) use() (*opened, error) {
	if !f.due() {
		if o := f.opened.Load(); o != nil && o.share() {
			return o, nil
		}
	} else if err := f.changeOver(); err != nil {
		return nil, lite.ErrorOf(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, engine.Errorf(engine.CodeUnavailable, "the database has been closed")
	}
	o := f.opened.Load()
	if o == nil {
		return nil, lite.ErrorOf(f.failed)
	}
	o.refs.Add(1) // f's own share keeps it above zero
	return o, nil
}

// due reports whether it is time to look, and is true for one caller.
func (f *File) due() bool {
	now, next := int64(time.Since(epoch)), f.next.Load()
	return now >= next && f.next.CompareAndSwap(next, now+int64(lookEvery))
}

// changeOver opens what the path names by now, if that is not what is open. Others wait, but for those that ask for the tag.
func (f *File) changeOver() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	old := f.opened.Load()
	_, id, err := locate(f.options.Path)
	if err == nil && old != nil && old.id == id {
		return nil
	}
	if old != nil {
		f.opened.Store(nil)
		f.options.Log("the database has been replaced, moved or removed: "+f.options.Path, err)
		old.retire()
		old.release()
	}
	var o *opened
	if err == nil {
		o, err = acquire(&f.options)
	}
	if f.failed = err; err != nil {
		return err
	}
	f.opened.Store(o)
	return nil
}

// Query implements engine.Database.
func (f *File) Query(ctx context.Context, q *engine.Query) (engine.Rows, error) {
	if q.Policy == nil {
		return nil, engine.ErrorOf(errors.New("a query without a policy"))
	}
	o, err := f.use()
	if err != nil {
		return nil, err
	}
	rows, err := o.query(ctx, q)
	if err != nil {
		o.release()
		return nil, err
	}
	return rows, nil
}

// Execute implements engine.Database. A batch that waits while the file is replaced is written into the new one.
func (f *File) Execute(ctx context.Context, b *engine.Batch) (outcomes []engine.Outcome, err error) {
	for range 3 {
		o, e := f.use()
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
func (f *File) Inspect(_ context.Context, policy *engine.Policy, sql string) (engine.Info, error) {
	if policy == nil { // it would be the server's own, and a PRAGMA takes effect while it is compiled
		return engine.Info{}, engine.ErrorOf(errors.New("a statement to inspect without a policy"))
	}
	o, err := f.use()
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
	if f.due() {
		if id, err := identityOf(f.options.Path); err != nil || id != o.id {
			f.next.Store(0) // who uses it next changes over
			return engine.Tag{}, false
		}
	}
	return o.tag()
}
