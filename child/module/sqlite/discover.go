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
	return slices.DeleteFunc(found, func(name string) bool { return s.databases[name] != nil })
}

// namesIn are the names of the databases whose files in a directory fit a name with one *.
func namesIn(directory, glob string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	before, after, _ := strings.Cut(glob, "*")
	var names []string
	for _, e := range entries {
		name, fits := strings.CutPrefix(e.Name(), before)
		if !fits || !e.Type().IsRegular() {
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
	t := &tenant{database: &d, users: 1, ready: make(chan struct{})}
	f.byName[name] = f.recent.PushFront(t)
	f.mu.Unlock()

	d.engine, t.failed = f.open(&d)
	close(t.ready)
	f.mu.Lock()
	if t.failed != nil {
		f.drop(f.byName[name])
	}
	f.shed()
	f.mu.Unlock()
	if t.failed != nil {
		f.release(t)
		return nil, t.failed
	}
	return t, nil
}

func (f *found) open(d *database) (engine.Database, error) {
	if info, err := os.Lstat(d.path); err != nil || !info.Mode().IsRegular() {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil, notFound(d.name)
		}
		return nil, engine.ErrorOf(err)
	}
	return f.service.openFile(d, d.path)
}

func notFound(name string) *engine.Error {
	return engine.Errorf(engine.CodeNotFound, "there is no database %q", name)
}

// shed drops those beyond the bound that nobody uses. The lock is held.
func (f *found) shed() {
	for e := f.recent.Back(); e != nil && f.recent.Len() > f.most; {
		previous := e.Prev()
		if t := e.Value.(*tenant); t.users == 0 {
			f.drop(e)
			t.engine.Close()
		}
		e = previous
	}
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
		t.engine.Close()
	}
}

// close closes them all: those in use with their last user.
func (f *found) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for e := f.recent.Front(); e != nil; e = f.recent.Front() {
		t := e.Value.(*tenant)
		f.drop(e)
		if t.users == 0 {
			t.engine.Close()
		}
	}
}
