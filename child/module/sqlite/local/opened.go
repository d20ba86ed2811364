package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

const (
	// openTries bounds how often a file is opened again that others replace, or whose WAL index they remove, meanwhile.
	openTries = 5
	// openWait is how long somebody waits for a file that is being opened, or closed by its last user: another process may stand in the turnstile.
	openWait = 5 * time.Second
	// openRetry is when a client should ask again that has waited so long.
	openRetry = time.Second
)

// errMoved says that the path names another file than it did a moment ago.
var errMoved = errors.New("the file has been replaced while it was opened")

// An identity is what a file is known by, whatever its name.
type identity struct{ dev, ino uint64 }

// remains are the files beside a database that has been replaced. They belong to the old one: to read the new one with them would destroy it.
type remains struct {
	database identity
	born     int64 // of the database, in nanoseconds: an inode is used again when its file has gone; 0: the file system does not tell
	wal, shm identity
}

// registry has the files that the process has open. It is the process's, as the locks are.
var registry = struct {
	mu    sync.Mutex
	files map[identity]*opened
	last  map[string]remains // by path: what was opened there last
}{files: map[identity]*opened{}, last: map[string]remains{}}

// An opened is a file that is open. It is shared, and closed with the last of its shares: those of Files, rows and whoever is at work on it.
type opened struct {
	path    string // without symbolic links: -wal and -shm stand beside it
	id      identity
	options atomic.Pointer[Options] // of the user that was opened last
	refs    atomic.Int64
	ready   chan struct{} // closed when it is open, or err says why not
	gone    chan struct{} // closed when it is closed
	err     error

	usersMu sync.Mutex
	users   []*File // that have a share

	index   *lite.Index // nil: the file has no WAL
	blank   *blankState // nil: the index was not blank
	lastTag atomic.Pointer[tagged]
	readers readers

	writerMu sync.Mutex
	writer   *writer
	retiring sync.WaitGroup // the closing of writers that were retired
	retired  bool           // the path has been seen to name another file: writer is closed, or about to be

	anchorMu sync.Mutex
	anchor   *lite.Conn // keeps the WAL index in being, and compiles for Inspect
	claims   []func()
}

// acquire returns a share of the file that the path names by now, whose options become those of its newest user. When ctx ends, the file is opened
// nevertheless, and closed again if nobody else wants it: a lock that is waited for cannot be given up.
func acquire(ctx context.Context, user *File) (*opened, error) {
	err := errMoved
	for range openTries {
		path, id, e := locate(user.options.Path)
		if e != nil {
			return nil, e
		}
		registry.mu.Lock()
		f := registry.files[id]
		switch {
		case f == nil:
			f = &opened{path: path, id: id, ready: make(chan struct{}), gone: make(chan struct{})}
			f.refs.Store(1)
			f.options.Store(&user.options)
			registry.files[id] = f
			before, known := registry.last[path]
			registry.mu.Unlock()
			go f.begin(known && (before.database != id || before.born != born(path)), before)
		case f.path != path:
			registry.mu.Unlock()
			e := engine.Errorf(engine.CodeUnavailable, "the database is open under another name")
			e.Err = fmt.Errorf("open %s: it is open as %s, whose log it would not share; use one name", path, f.path)
			return nil, e
		case f.share():
			registry.mu.Unlock()
		default: // it is being closed: its descriptors must be, before there are new locks
			registry.mu.Unlock()
			select {
			case <-f.gone:
				continue
			case <-ctx.Done():
				return nil, notYet(fmt.Errorf("open %s: it is being closed, which waits for a transaction or the disk", path))
			}
		}
		select {
		case <-f.ready:
		case <-ctx.Done():
			go f.abandon()
			return nil, notYet(fmt.Errorf("open %s: a process that writes, or is stopped, stands in %s-turnstile", path, path))
		}
		if err = f.err; err == nil {
			if err = f.current(); err != nil {
				f.release()
				return nil, err
			}
			f.revive()
			f.adopt(user)
			return f, nil
		}
		if !errors.Is(err, errMoved) && !errors.Is(err, lite.ErrIndexReplaced) {
			return nil, err
		}
	}
	e := engine.Errorf(engine.CodeUnavailable, "the database cannot be opened")
	e.Err = fmt.Errorf("open %s, %d times: %w", user.options.Path, openTries, err)
	return nil, e
}

// notYet is for who has waited long enough for a file.
func notYet(cause error) *engine.Error {
	e := engine.Errorf(engine.CodeUnavailable, "the database is being opened")
	e.RetryAfter, e.Err = openRetry, cause
	return e
}

// abandon gives a share back that came too late.
func (f *opened) abandon() {
	<-f.ready
	if f.err == nil {
		f.release()
	}
}

// adopt makes user one of f's, and the options of the newest user those of f: a reload opens anew what the generation before it has open still.
// What connections have in memory already, they keep.
func (f *opened) adopt(user *File) {
	f.usersMu.Lock()
	defer f.usersMu.Unlock()
	f.users = append(f.users, user)
	f.applyLocked()
}

// leave ends a use. If user was the newest, as one of a generation that is refused after all, the options are again those of the one before.
func (f *opened) leave(user *File) {
	f.usersMu.Lock()
	defer f.usersMu.Unlock()
	if i := slices.Index(f.users, user); i >= 0 {
		f.users = slices.Delete(f.users, i, i+1)
	}
	if len(f.users) > 0 {
		f.applyLocked()
	}
}

func (f *opened) applyLocked() {
	newest := slices.MaxFunc(f.users, func(a, b *File) int { return cmp.Compare(a.number, b.number) })
	if f.options.Swap(&newest.options) == &newest.options {
		return
	}
	f.readers.resize(newest.options.Readers)
	f.writing().adopt(&newest.options)
}

// log tells the operator.
func (f *opened) log(message string, err error) { f.options.Load().Log(message, err) }

// locate returns the path without symbolic links and what is there.
func locate(path string) (string, identity, error) {
	id, err := identityOf(path)
	if err != nil {
		return "", id, fmt.Errorf("open database: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", id, fmt.Errorf("open database: %w", err)
	}
	return resolved, id, nil
}

func identityOf(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{uint64(st.Dev), st.Ino}, nil
}

// born returns when the file was made.
func born(path string) int64 {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
}

// share takes a share, unless the last one has been given back.
func (f *opened) share() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// giveBack gives a share back. last: it was the last one, and the caller has to call end.
func (f *opened) giveBack() (last bool) { return f.refs.Add(-1) == 0 }

// release gives a share back, and does not wait if it was the last one: to close a file may take a checkpoint.
func (f *opened) release() {
	if f.giveBack() {
		go f.end()
	}
}

// end closes the file after its last share.
func (f *opened) end() {
	f.close()
	registry.mu.Lock()
	delete(registry.files, f.id)
	registry.mu.Unlock()
	close(f.gone)
}

// begin opens the file, and tells who waits for it.
func (f *opened) begin(replaced bool, before remains) {
	defer close(f.ready)
	f.err = f.openAfter(replaced, before)
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if f.err != nil {
		delete(registry.files, f.id) // who has a share of it has nothing to give back
		return
	}
	left := remains{database: f.id, born: born(f.path)}
	left.wal, _ = identityOf(f.path + "-wal") // none: there is none to mistake
	if f.index != nil {
		left.shm.dev, left.shm.ino = f.index.Identity()
	}
	registry.last[f.path] = left
}

// openAfter opens the file. If another one was at the path, its log is removed first. The turnstile keeps the other children out meanwhile: two
// that removed at once would remove the new log too.
func (f *opened) openAfter(replaced bool, before remains) error {
	if !replaced {
		return f.open()
	}
	turnstile, err := lite.OpenTurnstile(f.path)
	if err != nil {
		return err
	}
	defer turnstile.Close()
	if err := turnstile.Lock(); err != nil {
		return err
	}
	for _, log := range []struct {
		path string
		id   identity
	}{{f.path + "-wal", before.wal}, {f.path + "-shm", before.shm}} {
		if id, err := identityOf(log.path); err != nil || id != log.id {
			continue
		}
		if err := unix.Unlink(log.path); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the log of the database that was replaced: %w", &os.PathError{Op: "unlink", Path: log.path, Err: err})
		}
	}
	return f.open()
}

func (f *opened) open() (err error) {
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	f.claim(f.id)
	f.index, err = lite.OpenIndex(f.path)
	if code := lite.ErrorOf(err).Code; err != nil && code != engine.CodeReadOnlyDatabase && !errors.Is(err, os.ErrPermission) {
		return err
	}
	if f.index != nil {
		var id identity
		id.dev, id.ino = f.index.Identity()
		f.claim(id)
	}
	f.anchor, err = lite.Open(lite.Options{Path: f.path, ReadOnly: true, CacheBytes: 256 << 10})
	if err != nil {
		return err
	}
	if f.index != nil && f.anchor.WAL() {
		if err = f.index.Map(); err != nil {
			return err
		}
		f.blank = blankStateOf(f.index, f.path)
	}
	if id, e := identityOf(f.path); e != nil || id != f.id {
		return errMoved
	}
	if wal, e := identityOf(f.path + "-wal"); e == nil {
		f.claim(wal)
	}
	f.readers.most, f.readers.log = f.options.Load().Readers, f.log
	f.readers.connect = func() (*lite.Conn, error) { return f.connect(true) }
	f.writer = f.newWriter()
	return nil
}

func (f *opened) newWriter() *writer {
	o := fileWriter(f.path, func() (*lite.Conn, error) { return f.connect(false) }, f.options.Load())
	o.log = f.log
	return newWriter(o)
}

func (f *opened) claim(id identity) {
	f.claims = append(f.claims, f.options.Load().Claim(id.dev, id.ino))
}

// connect opens a further connection to the file, and to no other one.
func (f *opened) connect(readOnly bool) (*lite.Conn, error) {
	// SQLite would take the log for that of a file that has another's place by now, and write it into that.
	if id, err := identityOf(f.path); err == nil && id != f.id {
		e := engine.Errorf(engine.CodeUnavailable, "the database has been replaced")
		e.Err = fmt.Errorf("open %s: %w", f.path, errMoved)
		return nil, e
	}
	c, err := lite.Open(lite.Options{Path: f.path, ReadOnly: readOnly, CacheBytes: f.options.Load().CacheBytes})
	if err != nil {
		return nil, err
	}
	if err := f.current(); err != nil {
		if e := c.Close(); e != nil {
			f.log("closing a database", e)
		}
		return nil, err
	}
	return c, nil
}

// current returns an error if the path names another file, or the WAL index beside it is another: a connection that is opened now would not see
// what the others write, and destroy it.
func (f *opened) current() error {
	id, err := identityOf(f.path)
	if err == nil && id != f.id {
		err = errMoved
	}
	if err == nil && f.index != nil && f.anchor.WAL() {
		var ok bool
		if ok, err = f.index.Current(); err == nil && !ok {
			err = lite.ErrIndexReplaced
		}
	}
	if err == nil {
		return nil
	}
	e := engine.Errorf(engine.CodeUnavailable, "the database has been replaced")
	e.Err = fmt.Errorf("open %s: %w", f.path, err)
	return e
}

// writing returns the writer. If it has been closed meanwhile, it says so.
func (f *opened) writing() *writer {
	f.writerMu.Lock()
	defer f.writerMu.Unlock()
	return f.writer
}

// retire ends the writer: the path names another file. Batches that wait go there.
func (f *opened) retire() {
	f.writerMu.Lock()
	defer f.writerMu.Unlock()
	if !f.retired {
		f.retired = true
		w := f.writer
		f.retiring.Go(w.close)
	}
}

// revive begins anew with writing: the path names the file again.
func (f *opened) revive() {
	f.writerMu.Lock()
	defer f.writerMu.Unlock()
	if f.retired {
		f.retired = false
		f.writer = f.newWriter()
	}
}

// close closes what is open, in order. Nobody uses it any more.
func (f *opened) close() {
	f.retiring.Wait()
	if f.writer != nil {
		f.writer.close()
	}
	f.readers.close()
	if f.anchor != nil {
		if err := f.anchor.Close(); err != nil {
			f.log("closing a database", err)
		}
	}
	if f.index != nil {
		if err := f.index.Close(); err != nil {
			f.log("closing a database", err)
		}
	}
	for _, release := range f.claims {
		release()
	}
	f.claims = nil
}

// inspect compiles a statement on the anchor.
func (f *opened) inspect(policy *engine.Policy, sql string) (engine.Info, error) {
	f.anchorMu.Lock()
	defer f.anchorMu.Unlock()
	return f.anchor.Inspect(policy, sql)
}
