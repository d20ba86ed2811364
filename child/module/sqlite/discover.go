package sqlite

import (
	"container/list"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// found are the files of database "*" that are open: those that were asked for last. A file is opened by the first request for it, so that one
// that is dropped into the directory needs no reload.
type found struct {
	service *service
	most    int

	mu     sync.Mutex
	byName map[string]*list.Element // of *tenant
	recent list.List                // the one used last at the front
	closed bool
}

// A tenant is a file of database "*" with its users.
type tenant struct {
	*database
	users  int  // requests that are under way; guarded by found's lock
	gone   bool // out of the list: the last user closes it
	ready  chan struct{}
	failed error // read after ready
}

func (f *found) init(s *service) {
	f.service, f.byName = s, map[string]*list.Element{}
	if s.pattern != nil {
		f.most = s.pattern.block.Int("open")
	}
}

// names are the databases of the directory that no block declares, in the order of their names. A directory that cannot be read has none.
func (s *service) names(d *database) []string {
	found, err := namesIn(s.directory, d.glob)
	if err != nil {
		s.log("the directory of databases cannot be read", err)
	}
	return slices.DeleteFunc(found, func(name string) bool {
		return s.databases[name] != nil || s.declared[pathIn(s.directory, d.glob, name)]
	})
}

// companions are the ends of the names of files that stand beside a database. To open one as a database, and to close it, would drop the locks of
// SQLite (https://www.sqlite.org/howtocorrupt.html, 2.2).
var companions = []string{"-wal", "-shm", "-journal", "-turnstile"}

// companion reports whether a file's name is that of one that stands beside a database.
func companion(name string) bool {
	return slices.ContainsFunc(companions, func(end string) bool { return strings.HasSuffix(name, end) })
}

// namesIn are the names of the databases whose files in a directory fit a name with one *.
func namesIn(directory, glob string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	before, after, _ := strings.Cut(glob, "*")
	var names []string
	for _, e := range entries {
		name, fits := strings.CutPrefix(e.Name(), before)
		if !fits || !e.Type().IsRegular() || companion(e.Name()) {
			continue
		}
		if name, fits = strings.CutSuffix(name, after); fits && validName(name) {
			names = append(names, name)
		}
	}
	return names, err
}

// pathIn is the path of the file whose name fits glob.
func pathIn(directory, glob, name string) string {
	return filepath.Join(directory, strings.Replace(glob, "*", name, 1))
}

// peek is get for the loop: it returns only what is open already.
func (f *found) peek(name string) *tenant {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.byName[name]
	if e == nil {
		return nil
	}
	t := e.Value.(*tenant)
	select {
	case <-t.ready:
	default:
		return nil
	}
	if t.failed != nil {
		return nil
	}
	f.recent.MoveToFront(e)
	t.users++
	return t
}

// get opens the file called name, if it is not open, and makes the caller its user. The error is an *engine.Error.
func (f *found) get(name string) (*tenant, error) {
	if !validName(name) {
		return nil, notFound(name)
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, engine.Errorf(engine.CodeUnavailable, "the server is closing the database")
	}
	if e := f.byName[name]; e != nil {
		t := e.Value.(*tenant)
		f.recent.MoveToFront(e)
		t.users++
		f.mu.Unlock()
		<-t.ready
		if t.failed != nil {
			f.release(t)
			return nil, t.failed
		}
		return t, nil
	}
	d := *f.service.pattern
	d.name, d.path = name, pathIn(f.service.directory, d.glob, name)
	if f.service.declared[d.path] || companion(d.path) {
		f.mu.Unlock()
		return nil, notFound(name)
	}
	t := &tenant{database: &d, users: 1, ready: make(chan struct{})}
	f.byName[name] = f.recent.PushFront(t)
	f.mu.Unlock()

	d.engine, t.failed = f.open(&d)
	close(t.ready)
	f.mu.Lock()
	if t.failed != nil {
		f.drop(f.byName[name])
	}
	surplus := f.shed()
	f.mu.Unlock()
	closeAll(surplus)
	if t.failed != nil {
		f.release(t)
		return nil, t.failed
	}
	return t, nil
}

// closeAll closes the files of tenants. It waits for the disk: no lock is held meanwhile that the loop may want.
func closeAll(tenants []*tenant) {
	for _, t := range tenants {
		t.engine.Close()
	}
}

func (f *found) open(d *database) (engine.Database, error) {
	if info, err := os.Lstat(d.path); err != nil || !info.Mode().IsRegular() {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil, notFound(d.name)
		}
		return nil, engine.ErrorOf(err)
	}
	if real, err := filepath.EvalSymlinks(d.path); err != nil || f.service.declared[real] {
		return nil, notFound(d.name)
	}
	if err := f.service.migrate(d, d.path); err != nil {
		return nil, engine.ErrorOf(err)
	}
	return f.service.openFile(d, d.path)
}

// forget takes the tenant called name out of the list, since its file has gone.
func (f *found) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(f.byName[name])
}

func notFound(name string) *engine.Error {
	return engine.Errorf(engine.CodeNotFound, "there is no database %q", name)
}

// shed drops those beyond the bound that nobody uses, for the caller to close. The lock is held.
func (f *found) shed() (surplus []*tenant) {
	for e := f.recent.Back(); e != nil && f.recent.Len() > f.most; {
		previous := e.Prev()
		if t := e.Value.(*tenant); t.users == 0 {
			f.drop(e)
			surplus = append(surplus, t)
		}
		e = previous
	}
	return surplus
}

// drop takes a tenant out of the list. The lock is held.
func (f *found) drop(e *list.Element) {
	if e == nil {
		return
	}
	t := e.Value.(*tenant)
	t.gone = true
	delete(f.byName, t.name)
	f.recent.Remove(e)
}

// release ends a use.
func (f *found) release(t *tenant) {
	f.mu.Lock()
	t.users--
	last := t.users == 0 && t.gone && t.engine != nil && t.failed == nil
	f.mu.Unlock()
	if last {
		go t.engine.Close() // it waits for the disk, and the loop may be here
	}
}

// close closes them all: those in use with their last user.
func (f *found) close() {
	var unused []*tenant
	f.mu.Lock()
	f.closed = true
	for e := f.recent.Front(); e != nil; e = f.recent.Front() {
		t := e.Value.(*tenant)
		f.drop(e)
		if t.users == 0 {
			unused = append(unused, t)
		}
	}
	f.mu.Unlock()
	closeAll(unused)
}
