package static

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// Module serves files. The zero value is ready.
type Module struct{}

// Open opens the root. It fails if the root is no directory, or may not be searched, and if a file with passwords cannot be read.
func (Module) Open(b *configs.Block, env *module.Env) (module.Instance, error) {
	o := optionsOf(b)
	o.prefix, o.claims, o.log = env.Prefix, env.Claims, env.Log
	s, err := open(o)
	if err != nil {
		return module.Instance{}, err
	}
	s.missing()
	instance := module.Instance{Handler: s.limited(), Close: s.close}
	if env.Pool != nil {
		instance.Pool = env.Pool("static")
	}
	return instance, nil
}

// A server is the handler of one route of one generation. All its methods may be called by any goroutine.
type server struct {
	root          *root
	index, try    []string
	hidden        bool
	depth         int // slashes in the route's prefix
	rules         []rule
	rulesOfFields []fieldRule
	types         contentTypes
	siblings      []coding.Coding // codings whose siblings are looked for
	packer        *packer         // nil: nothing is compressed here
	young         *store          // of snapshots
	complained    atomic.Int64    // when it was logged last that something is sent uncompressed, monotonic ns; 0: never
	pages         pages
	listing       *listing // nil: off
	writer        *writer  // nil: off
	claims        *module.Claims

	cache    *cache
	flights  flights
	sweeper  sweeper
	refusals map[int]*web.Fixed
	allow    string
	options  *web.Fixed
	log      func(module.Level, string, ...module.Field)

	now  func() int64     // monotonic ns
	wall func() time.Time // to compare with what stat says
}

func open(o options) (*server, error) {
	s := &server{
		index:    o.index,
		try:      o.try,
		hidden:   o.hidden,
		depth:    strings.Count(o.prefix, "/"),
		types:    newContentTypes(o.types),
		siblings: o.precompressed,
		pages:    newPages(&o),
		claims:   o.claims,
		cache:    newCache(o.bounds),
		refusals: newRefusals(),
		allow:    "GET, HEAD, OPTIONS",
		log:      o.log,
		now:      netcore.Now,
		wall:     time.Now,
	}
	var err error
	if s.rulesOfFields, err = newFieldRules(&o); err != nil {
		return nil, err
	}
	if s.rules, err = newRules(&o); err != nil {
		return nil, err
	}
	if o.listing != nil {
		s.listing = newListing(o.listing)
	}
	if o.write != nil {
		s.writer = newWriter(o.write)
		s.allow = s.writer.allow()
	}
	if o.compress != nil {
		if s.packer, err = newPacker(o.compress); err != nil {
			return nil, err
		}
	}
	if s.young, err = newStore(storeOptions{limit: snapshots}); err != nil {
		return nil, err
	}
	s.options = told(s.allow)
	s.root, err = openRoot(o.root, o.symlinks, s.now())
	return s, err
}

// limited is the handler with the limits that its configuration gives the route.
func (s *server) limited() web.Handler {
	if s.writer == nil {
		return s
	}
	return web.Limit(s, web.Limits{Body: s.writer.maxBytes()})
}

func (s *server) close() {
	s.rest()
	s.cache.close()
	s.root.close()
}

// reads reports whether a method asks for a file.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// changes reports whether a method is one that changes files, and may.
func (s *server) changes(method string) bool {
	return s.writer != nil && s.writer.takes(method)
}

// ServeNow answers from the cache, and refuses what needs no look at the file system.
func (s *server) ServeNow(w *web.Response, r *web.Request) bool {
	if !reads(r.Method) {
		switch {
		case s.changes(r.Method):
			return false
		case r.Method == http.MethodOptions:
			w.SendFixed(s.options)
			return true
		}
		return s.refuseNow(w, 405)
	}
	var buf [256]byte // a longer name costs an allocation
	name, ok := mapPath(buf[:0], r.RawPath, s.depth, s.hidden)
	if !ok {
		return s.refuseNow(w, 404)
	}
	if len(s.rules) > 0 {
		if a := s.admit(r, r.Method, string(name), true); a.undecided || a.status != 0 {
			return !a.undecided && s.refuseNow(w, a.status, a.fields()...)
		}
	}
	now := s.now()
	e := s.cache.get(name, now)
	if e == nil {
		return false
	}
	if len(s.rules) > 0 && e.name != string(name) {
		if a := s.admit(r, r.Method, e.name, true); a.undecided || a.status != 0 {
			return false
		}
	}
	f := e.choose(r, now)
	return f != nil && !f.changed() && s.answer(w, r, f, true)
}

// Serve looks at the file system, unless another worker has just done so.
func (s *server) Serve(w *web.Response, r *web.Request) {
	if !reads(r.Method) && !s.changes(r.Method) {
		if r.Method == http.MethodOptions {
			w.SendFixed(s.options)
			return
		}
		s.refuse(w, r, 405)
		return
	}
	name, ok := mapPath(nil, r.RawPath, s.depth, s.hidden)
	if !ok {
		s.refuse(w, r, 404)
		return
	}
	key := string(name)
	if a := s.admit(r, r.Method, key, false); a.status != 0 {
		s.refuse(w, r, a.status, a.fields()...)
		return
	}
	if s.changes(r.Method) {
		s.change(w, r, key)
		return
	}
	err := s.deliver(w, r, key)
	if err == errListed {
		err = s.list(w, r, key)
	}
	if err != nil && s.pages.fallback != nil && statusOf(err) == 404 {
		if s.deliver(w, r, s.pages.fallback.key) == nil {
			return
		}
	}
	if err != nil {
		s.fail(w, r, key, err)
	}
}

// deliver sends the file that key stands for. An error has touched nothing.
func (s *server) deliver(w *web.Response, r *web.Request, key string) error {
	for {
		e, err := s.obtain(r, key)
		if err != nil {
			return err
		}
		done, err := s.deliverEntry(w, r, e)
		e.release()
		if done || err != nil {
			return err
		}
	}
}

// deliverEntry sends an entry whose file the caller uses. done is false when it was evicted and closed meanwhile: the next leader always gets
// its answer.
func (s *server) deliverEntry(w *web.Response, r *web.Request, e *entry) (done bool, err error) {
	if e.name != e.key {
		if a := s.admit(r, r.Method, e.name, false); a.status != 0 {
			s.refuse(w, r, a.status, a.fields()...)
			return true, nil
		}
	}
	f := e.choose(r, s.now())
	if f != nil && f.changed() {
		s.cache.forget(e)
		return false, nil
	}
	if f == nil {
		f = s.encode(r, e)
		if f.file != nil && f != &e.plain {
			defer f.file.Release()
		}
	}
	return s.answer(w, r, f, false), nil
}

// obtain returns the entry for key, found by this worker or by another. The caller is a user of its file.
func (s *server) obtain(r *web.Request, key string) (*entry, error) {
	for {
		if e := s.recent(key); e != nil {
			return e, nil
		}
		f, leader := s.flights.join(key)
		if leader {
			return s.lead(f, key)
		}
		select {
		case <-f.done:
		case <-r.Context().Done():
			return nil, errLeft
		}
		if f.err != nil {
			return nil, f.err
		}
		if f.entry.acquire() {
			return f.entry, nil
		}
	}
}

// recent returns the entry for key if it needs no look, for a user of its file; else nil.
func (s *server) recent(key string) *entry {
	e, recent := s.cache.peek(key, s.now())
	if !recent || !e.acquire() {
		return nil
	}
	if e.plain.changed() {
		e.release()
		return nil
	}
	e.used.Store(true)
	return e
}

// lead finds the entry for key, and tells all who wait. Its caller is a user of the entry's descriptor.
func (s *server) lead(f *flight, key string) (*entry, error) {
	f.err = errors.New("static: the worker panicked") // unless it returns
	defer s.flights.land(key, f)
	if e := s.recent(key); e != nil {
		f.entry, f.err = e, nil // another flight has landed since the caller looked
		return e, nil
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
	return f.entry, f.err
}

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

// fail answers for a file that could not be found or opened.
func (s *server) fail(w *web.Response, r *web.Request, key string, err error) {
	if errors.Is(err, errDirectory) {
		for _, f := range s.commonFields(key + "/") {
			w.Header().Set(f.Name, f.Value)
		}
		w.Header().Set("Location", slashed(r.RawPath, r.RawQuery))
		w.SetStatus(307)
		return
	}
	status := statusOf(err)
	if status == 500 && s.log != nil {
		s.log(module.Error, "a file cannot be served", module.Field{Key: "path", Value: r.Path}, module.Field{Key: "error", Value: err.Error()})
	}
	s.refuse(w, r, status)
}

// statusOf maps an error to a status. What a client can bring about by the choice of a path is never a 5xx.
func statusOf(err error) int {
	var errno unix.Errno
	switch {
	case errors.Is(err, errSpecial), errors.Is(err, errClaimed):
		return 403
	case errors.Is(err, errListed):
		return 404
	case errors.Is(err, errLeft), errors.Is(err, errCrowded):
		return 503
	case errors.As(err, &errno):
		switch errno {
		case unix.EACCES, unix.EPERM,
			unix.ENXIO, unix.ENODEV: // became a special file after the stat
			return 403
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN:
			return 503
		}
		if absent(errno) { // and names that the file system cannot hold
			return 404
		}
	}
	return 500
}
