package static

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// Module serves files. The zero value is ready.
type Module struct{}

// Spec describes static { root, index, headers }.
func (Module) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "static",
		Doc:  "serves the files below a directory",
		Attributes: []configs.Attribute{
			{Name: "root", Type: configs.Path, Required: true, Doc: "directory whose files are served", Example: `"/srv/www"`},
			{Name: "index", Type: configs.Strings, Default: []string{"index.html"},
				Doc: "names of the file that is served for a directory, the first that exists"},
			{Name: "headers", Type: configs.StringMap, Doc: "further header fields of files and redirects"},
		},
		Check: check,
	}
}

// written are the fields that this module writes itself.
var written = []string{"Accept-Ranges", "Content-Range", "Content-Type", "ETag", "Last-Modified", "Location"}

func check(b *configs.Block) []configs.Problem {
	var problems []configs.Problem
	for _, name := range b.Strings("index") {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
			problems = append(problems, configs.Problem{At: "index", Message: fmt.Sprintf("%q is no name of a file in a directory", name),
				Cure: `write names such as "index.html"`})
		}
	}
	fields := b.StringMap("headers")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch {
		case !web.ValidFieldName(name):
			problems = append(problems, configs.Problem{At: "headers", Message: fmt.Sprintf("%q is no field name (RFC 9110, 5.1)", name),
				Cure: "use letters, digits and '-'"})
		case web.ServerField(name):
			problems = append(problems, configs.Problem{At: "headers", Message: name + " is written by the server", Cure: "remove it"})
		case slices.ContainsFunc(written, func(own string) bool { return strings.EqualFold(own, name) }):
			problems = append(problems, configs.Problem{At: "headers", Message: name + " is written by static for each file", Cure: "remove it"})
		case !web.ValidFieldValue(fields[name]):
			problems = append(problems, configs.Problem{At: "headers", Message: "the value of " + name + " holds control characters",
				Cure: "write it on one line"})
		}
	}
	return problems
}

// Open opens the root. It fails if the root is no directory, or may not be searched.
func (Module) Open(b *configs.Block, env *module.Env) (module.Instance, error) {
	s, err := open(options{
		root:    b.Path("root"),
		index:   b.Strings("index"),
		headers: b.StringMap("headers"),
		prefix:  env.Prefix,
		bounds:  defaultBounds,
		log:     env.Log,
	})
	if err != nil {
		return module.Instance{}, err
	}
	instance := module.Instance{Handler: s, Close: s.close}
	if env.Pool != nil {
		instance.Pool = env.Pool("static")
	}
	return instance, nil
}

type options struct {
	root    string
	index   []string
	headers map[string]string
	prefix  string
	bounds  bounds
	log     func(module.Level, string, ...module.Field)
}

// A server is the handler of one route of one generation. All its methods may be called by any goroutine.
type server struct {
	root     *root
	index    []string
	headers  []web.Field // ordered by name
	depth    int         // slashes in the route's prefix
	cache    *cache
	flights  flights
	refusals refusals
	log      func(module.Level, string, ...module.Field)

	now  func() int64     // monotonic ns
	wall func() time.Time // to compare with what stat says
}

func open(o options) (*server, error) {
	s := &server{
		index:    o.index,
		depth:    strings.Count(o.prefix, "/"),
		cache:    newCache(o.bounds),
		refusals: newRefusals(),
		log:      o.log,
		now:      netcore.Now,
		wall:     time.Now,
	}
	for _, name := range slices.Sorted(maps.Keys(o.headers)) {
		s.headers = append(s.headers, web.Field{Name: name, Value: o.headers[name]})
	}
	var err error
	s.root, err = openRoot(o.root, s.now())
	return s, err
}

func (s *server) close() {
	s.cache.close()
	s.root.close()
}

// ServeNow answers from the cache, and refuses what needs no look at the file system.
func (s *server) ServeNow(w *web.Response, r *web.Request) bool {
	if r.Method != "GET" && r.Method != "HEAD" {
		w.SendFixed(s.refusals.otherMethod(r.Method))
		return true
	}
	var buf [256]byte // a longer name costs an allocation
	name, ok := mapPath(buf[:0], r.RawPath, s.depth)
	if !ok {
		w.SendFixed(s.refusals.notFound)
		return true
	}
	e := s.cache.get(name, s.now())
	return e != nil && s.answer(w, r, e)
}

// Serve looks at the file system, unless another worker has just done so.
func (s *server) Serve(w *web.Response, r *web.Request) {
	if r.Method != "GET" && r.Method != "HEAD" {
		w.SendFixed(s.refusals.otherMethod(r.Method))
		return
	}
	name, ok := mapPath(nil, r.RawPath, s.depth)
	if !ok {
		w.SendFixed(s.refusals.notFound)
		return
	}
	key := string(name)
	for {
		if e, recent := s.cache.peek(key, s.now()); recent && s.answer(w, r, e) {
			return
		}
		f, leader := s.flights.join(key)
		if !leader {
			select {
			case <-f.done:
			case <-r.Context().Done():
				s.refuse(w, r, errLeft)
				return
			}
			switch {
			case f.err != nil:
				s.refuse(w, r, f.err)
				return
			case s.answer(w, r, f.entry):
				return
			}
			continue // it has been evicted and closed since; the next leader always gets its answer
		}
		e := s.lead(f, key)
		if e == nil {
			s.refuse(w, r, f.err)
			return
		}
		s.answer(w, r, e)
		if e.file != nil {
			e.file.Release()
		}
		return
	}
}

// lead finds the entry for key, and tells all who wait. Its caller is a user of the entry's descriptor.
func (s *server) lead(f *flight, key string) *entry {
	f.err = errors.New("static: the worker panicked") // unless it returns
	defer s.flights.land(key, f)
	if e, recent := s.cache.peek(key, s.now()); recent && (e.file == nil || e.file.acquire()) {
		f.entry, f.err = e, nil // another flight has landed since the caller looked
		return e
	}
	f.entry, f.err = s.find(key)
	if f.err == unix.EMFILE || f.err == unix.ENFILE {
		s.cache.shed()
		f.entry, f.err = s.find(key)
	}
	if f.err != nil {
		s.cache.remove(key)
		f.entry = nil
	}
	return f.entry
}

// find looks at the file system, and puts the entry that is right for key into the cache. The caller is a user of its descriptor.
func (s *server) find(key string) (*entry, error) {
	now, wall := s.now(), s.wall()
	dir, err := s.root.acquire(now)
	if err != nil {
		return nil, err
	}
	defer dir.Release()

	var st unix.Stat_t
	name, err := s.resolve(dir.fd, key, &st)
	if err != nil {
		return nil, err
	}
	if e, _ := s.cache.peek(key, now); e != nil && !e.racy && e.name == name && e.id == identify(&st) {
		if e.file == nil || e.file.acquire() {
			s.cache.renew(e, now)
			return e, nil
		}
	}
	fd, err := s.root.open(dir.fd, name, &st)
	if err != nil {
		return nil, err
	}
	e, err := newEntry(key, name, fd, &st, wall, s.headers)
	if err != nil {
		return nil, err
	}
	e.checked, e.renew = now, now+renewAfter
	s.cache.put(e)
	return e, nil
}

// resolve returns the name of the regular file that is served for key: key itself, or an index file in it.
func (s *server) resolve(dir int, key string, st *unix.Stat_t) (string, error) {
	if !isDirectory(key) {
		return key, s.root.stat(dir, key, st)
	}
	for _, index := range s.index {
		name := key + index
		switch err := s.root.stat(dir, name, st); err {
		case errDirectory, unix.ENOENT, unix.ELOOP, unix.EXDEV:
		default:
			return name, err
		}
	}
	return "", unix.ENOENT
}

// errLeft: the client has gone while another worker was looking for its file.
var errLeft = errors.New("static: the request has been given up")

// flights lets one worker at a time look for a file; the others wait for what it finds.
type flights struct {
	mu    sync.Mutex
	byKey map[string]*flight
}

// A flight is one look at the file system. entry and err may be read once done is closed.
type flight struct {
	done  chan struct{}
	entry *entry
	err   error
}

// join returns the flight for key. The leader has to land it.
func (f *flights) join(key string) (_ *flight, leader bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if present := f.byKey[key]; present != nil {
		return present, false
	}
	if f.byKey == nil {
		f.byKey = map[string]*flight{}
	}
	started := &flight{done: make(chan struct{})}
	f.byKey[key] = started
	return started, true
}

// land ends a flight and wakes those who wait.
func (f *flights) land(key string, landed *flight) {
	f.mu.Lock()
	delete(f.byKey, key)
	f.mu.Unlock()
	close(landed.done)
}
