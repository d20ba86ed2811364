package sqlite

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/child/web"
)

// retryAfter is when a client that was sent away may come again, where nothing better is known.
const retryAfter = time.Second

// The names below the route that are no databases.
const (
	apiName   = "openapi.json"
	rawPrefix = "db"
)

// A target is what a request is for.
type target struct {
	database *database
	tenant   *tenant // to be released; nil: a declared database
	below    string  // the path below the database, from its slash; "" without one
	raw      string  // "query" of …/db/query; "": a named query
	info     string  // of rqlite's other paths: "status"
}

// below returns what comes after the route's prefix in a path as it was received.
func (s *service) below(rawPath string) (rest string, ok bool) {
	for range s.depth {
		i := strings.IndexByte(rawPath, '/')
		if i < 0 {
			return "", false
		}
		rawPath = rawPath[i+1:]
	}
	return rawPath, true
}

// split divides what is below the prefix into the name of a database and the path below that.
func (s *service) split(rest string) (name, below string) {
	if s.only != "" && (strings.HasPrefix(rest, rawPrefix+"/") || isInfo(rest)) {
		return s.only, "/" + rest
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

// isInfo reports whether a path is one that rqlite's clients ask to learn of a cluster.
func isInfo(rest string) bool {
	return rest == "status" || rest == "readyz" || rest == "nodes" || rest == "leader"
}

// done gives a target back.
func (s *service) done(t *target) {
	if t.tenant != nil {
		s.found.release(t.tenant)
	}
}

// ServeNow answers a named query that was answered before and would be answered the same now.
func (s *service) ServeNow(w *web.Response, r *web.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	rest, ok := s.below(r.RawPath)
	if !ok || rest == "" {
		return false
	}
	name, below := s.split(rest)
	d := s.databases[name]
	if d == nil {
		if s.pattern == nil || below == "" {
			return false
		}
		t := s.found.peek(name)
		if t == nil {
			return false
		}
		defer s.found.release(t)
		d = t.database
	}
	m := matches.Get().(*web.Match)
	q, result := d.queries.Lookup(r.Method, below, m)
	matches.Put(m)
	if result != web.Found {
		return false
	}
	if j := judge(q.access, r, true); j.answer != access.Granted {
		return false
	}
	tag, ok := d.engine.Tag()
	if !ok {
		return false
	}
	format, ok := wire.Choose(r.Header.Get("Accept"), formats...)
	if !ok {
		return false
	}
	a := s.cache.get(&question{database: d.name, query: q.number, format: format, path: below, search: r.RawQuery}, tag)
	if a == nil {
		return false
	}
	s.sendAnswered(w, r, a)
	return true
}

// matches are reused: Lookup collects what the wildcards stand for.
var matches = sync.Pool{New: func() any { return new(web.Match) }}

// sendAnswered sends what is kept, or that the client has it.
func (s *service) sendAnswered(w *web.Response, r *web.Request, a *answered) {
	if !s.settled(w, r, a.etag, a.control) {
		w.SendFixed(a.reply)
	}
}

// formats are those of results, the default first.
var formats = []wire.Format{wire.JSON, wire.NDJSON, wire.CSV}

// Serve answers on a worker.
func (s *service) Serve(w *web.Response, r *web.Request) {
	rest, ok := s.below(r.RawPath)
	if !ok || rest == "" || rest == apiName {
		s.servePage(w, r, rest)
		return
	}
	t, err := s.locate(rest)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer s.done(&t)
	if t.raw != "" || t.info != "" {
		s.admitRaw(w, r, &t)
		return
	}
	var m web.Match
	q, result := t.database.queries.Lookup(r.Method, t.below, &m)
	switch {
	case result == web.Found:
		s.serveQuery(w, r, t.database, q, &m, t.below)
	case result == web.MethodNotAllowed && r.Method == http.MethodOptions:
		w.Header().Set("Allow", m.Allow+", OPTIONS")
		w.SetStatus(http.StatusNoContent)
	case result == web.MethodNotAllowed:
		w.Header().Set("Allow", m.Allow+", OPTIONS")
		s.refuse(w, r, engine.Errorf(engine.CodeMethod, "this query takes %s", m.Allow))
	default:
		s.refuse(w, r, engine.Errorf(engine.CodeNotFound, "database %q has no such query", t.database.name))
	}
}

// locate finds what a path below the prefix is for. The caller is done with it once it has answered.
func (s *service) locate(rest string) (target, error) {
	name, below := s.split(rest)
	t := target{database: s.databases[name], below: below}
	if t.database == nil {
		if s.pattern == nil {
			return target{}, notFound(name)
		}
		tenant, err := s.found.get(name)
		if err != nil {
			return target{}, err
		}
		t.database, t.tenant = tenant.database, tenant
	}
	if after, is := strings.CutPrefix(below, "/"+rawPrefix+"/"); is {
		t.raw = after
	} else if s.only == name && isInfo(strings.TrimPrefix(below, "/")) {
		t.info = below[1:]
	}
	return t, nil
}

// admitRaw lets those through to raw SQL that may send it.
func (s *service) admitRaw(w *web.Response, r *web.Request, t *target) {
	if !t.database.raw.read {
		s.refuse(w, r, engine.Errorf(engine.CodeNotFound, "database %q takes no raw SQL", t.database.name))
		return
	}
	j := judge(t.database.raw.roles, r, false)
	if j.answer != access.Granted {
		s.deny(w, r, &j)
		return
	}
	if t.info != "" {
		s.serveRawInfo(w, r, t.database, t.info)
		return
	}
	s.serveRaw(w, r, t.database, t.raw, j.role)
}

// servePage serves what is at the prefix itself.
func (s *service) servePage(w *web.Response, r *web.Request, name string) {
	if !s.page {
		s.refuse(w, r, engine.Errorf(engine.CodeNotFound, "there is nothing here"))
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.SetStatus(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		s.refuse(w, r, engine.Errorf(engine.CodeMethod, "this takes GET"))
		return
	}
	if j := judge(s.pageAccess, r, false); j.answer != access.Granted {
		s.deny(w, r, &j)
		return
	}
	d := s.html
	if name == apiName {
		d = s.api
	}
	if !s.settled(w, r, d.etag, d.control) {
		w.SendFixed(d.reply)
	}
}

// deny answers for roles that do not let a request in.
func (s *service) deny(w *web.Response, r *web.Request, j *judgement) {
	if j.answer == access.Unauthorized {
		for _, challenge := range j.challenges() {
			w.Header().Add("WWW-Authenticate", challenge)
		}
	}
	s.refuse(w, r, j.refusal())
}

// refuse answers with an error, as application/problem+json (RFC 9457).
func (s *service) refuse(w *web.Response, r *web.Request, err error) {
	e := engine.ErrorOf(err)
	status := e.Code.Status()
	if status == http.StatusInternalServerError && e.Err != nil {
		s.log("a request to a database has failed", e.Err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	setRetryAfter(h, e)
	w.SetStatus(status)
	w.SendBytes(wire.Problem(nil, e))
}

// setRetryAfter tells when to come again (RFC 9110, 10.2.3).
func setRetryAfter(h *web.Header, e *engine.Error) {
	if status := e.Code.Status(); status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
		return
	}
	told := *e // an error may be everybody's
	if told.RetryAfter <= 0 {
		told.RetryAfter = retryAfter
	}
	h.Set("Retry-After", strconv.FormatInt(wire.RetryAfter(&told), 10))
}
