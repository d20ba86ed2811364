package web

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Patterns finds the route of a request: a set of patterns, each with a value of
// type T. Its zero value is empty and ready to use.
//
// Patterns never conflict. If several fit a path, the more specific one comes first:
// at the first segment in which they differ a literal comes before {name}, that
// before {name...} and a trailing slash, and {$} before both. Among the patterns of one path the
// request's own method comes first, then GET if the method is HEAD, then the pattern
// without a method. A pattern that fits the path and not the method is passed over.
//
// Add is for one goroutine, before the first Lookup; after that any number of
// goroutines may Lookup at the same time.
type Patterns[T any] struct {
	root    node[T]
	fixed   map[string]*node[T] // paths of literals only -> the node they lead to
	methods []string            // those that patterns name, GET's HEAD with it
	all     []*route[T]         // as added
}

// A Result says what Lookup found.
type Result int

const (
	Found            Result = iota + 1 // a value, Match.Params, Match.Pattern
	Moved                              // Match.Location: the same thing under its proper path (307)
	Missing                            // no pattern fits the path (404)
	MethodNotAllowed                   // Match.Allow: the methods that would be served (405)
)

var resultNames = [...]string{"", "Found", "Moved", "Missing", "MethodNotAllowed"}

func (r Result) String() string {
	if r < Found || r > MethodNotAllowed {
		return fmt.Sprintf("Result(%d)", int(r))
	}
	return resultNames[r]
}

// A Param is what a wildcard matched. Value is percent-decoded and untrusted: a
// segment may hold "/", ".." or NUL after decoding, and is no file name.
type Param struct{ Name, Value string }

// A Match receives what Lookup has to say beside its results. It is meant to be
// used again and again: each Lookup resets it and keeps the memory of Params.
// Params are valid until the next Lookup; their strings are slices of the path that
// was looked up unless it has a '%'.
type Match struct {
	Params   []Param
	Pattern  *Pattern // nil unless Found; shared, read-only
	Location string   // path of Moved, safe to send; the caller appends the query
	Allow    string   // "GET, HEAD", sorted
}

// Param is the value of the wildcard called name, "" when there is none.
func (m *Match) Param(name string) string {
	for i := range m.Params {
		if m.Params[i].Name == name {
			return m.Params[i].Value
		}
	}
	return ""
}

// Reset forgets the last result and keeps the memory of Params.
func (m *Match) Reset() {
	m.Params = m.Params[:0]
	m.Pattern, m.Location, m.Allow = nil, "", ""
}

// A route is one pattern with its value.
type route[T any] struct {
	pattern Pattern
	value   T
}

// A leaf holds the routes that share one path, the one without a method last.
type leaf[T any] []*route[T]

// A node stands for a beginning of a path, up to the end of one segment.
type node[T any] struct {
	few    []child[T]          // literal children, while they are few
	many   map[string]*node[T] // all literal children, once they are not
	single *node[T]            // below {name}
	here   leaf[T]             // the path ends with this segment
	end    leaf[T]             // {$}: and one slash follows
	rest   leaf[T]             // a slash and anything follow
}

type child[T any] struct {
	text string
	node *node[T]
}

// fewChildren is the number of children up to which comparing them in turn is faster
// than a map.
const fewChildren = 6

// Add registers pattern, which must come from ParsePattern. It is refused only if
// the same pattern (equal Key) is there already.
func (p *Patterns[T]) Add(pattern Pattern, value T) error {
	if len(pattern.segments) == 0 {
		return errors.New("web: the pattern does not come from ParsePattern")
	}
	n, fixed, path := &p.root, true, ""
	var place *leaf[T]
	for i, g := range pattern.segments {
		switch g.kind {
		case literalSegment:
			n = n.literal(g.text)
			// A decoded '/' or '%' would make another path of it.
			fixed = fixed && !strings.ContainsAny(g.text, "/%")
			path += "/" + g.text
			if i == len(pattern.segments)-1 {
				place = &n.here
			}
		case singleSegment:
			if n.single == nil {
				n.single = new(node[T])
			}
			n = n.single
			fixed = false
			if i == len(pattern.segments)-1 {
				place = &n.here
			}
		case restSegment:
			place = &n.rest
			path += "/"
		case endSegment:
			place = &n.end
			path += "/"
		}
	}
	for _, r := range *place {
		if r.pattern.Method == pattern.Method {
			return fmt.Errorf("web: pattern %q is the same as %q", pattern, r.pattern)
		}
	}
	r := &route[T]{pattern, value}
	if len(*place) > 0 && (*place)[len(*place)-1].pattern.Method == "" {
		*place = slices.Insert(*place, len(*place)-1, r)
	} else {
		*place = append(*place, r)
	}
	if fixed {
		if p.fixed == nil {
			p.fixed = make(map[string]*node[T])
		}
		p.fixed[path] = n
	}
	p.all = append(p.all, r)
	p.methods = appendMethods(p.methods, leaf[T]{r})
	return nil
}

// Len is the number of patterns.
func (p *Patterns[T]) Len() int { return len(p.all) }

// All calls yield for each pattern in the order in which they were added, until it
// returns false.
func (p *Patterns[T]) All(yield func(*Pattern, T) bool) {
	for _, r := range p.all {
		if !yield(&r.pattern, r.value) {
			return
		}
	}
}

// Names reports whether some pattern names the method (GET names HEAD too). A method
// that no pattern names and that the server does not know is a 501, not a 405.
func (p *Patterns[T]) Names(method string) bool { return slices.Contains(p.methods, method) }

// Lookup finds the route of a request and fills m. The path is that of the request
// target, without query, still percent-encoded: it is split into segments first, and
// each is decoded by itself. A path that does not begin with a slash is Missing.
//
// An unclean path ("//", "/./", "/../", dots encoded or not) is Moved to the
// clean one. A path that nothing matches exactly is Moved to itself with a slash
// at the end, if that is matched exactly. One move does both, so none leads to
// another (unless the path is badly percent-encoded). An unclean path is Moved
// even if nothing serves the clean one.
//
// Lookup does not allocate when it returns Found and the path has no '%'.
func (p *Patterns[T]) Lookup(method, path string, m *Match) (value T, result Result) {
	m.Reset()

	// Literals everywhere: nothing is more specific, and such a path is clean.
	if n := p.fixed[path]; n != nil {
		r := n.here.find(method)
		if path[len(path)-1] == '/' {
			if r = n.end.find(method); r == nil {
				r = n.rest.find(method)
			}
		}
		if r != nil {
			if len(r.pattern.names) > 0 { // a {name...} that matched nothing
				m.Params = append(m.Params, Param{Name: r.pattern.names[0]})
			}
			m.Pattern = &r.pattern
			return r.value, Found
		}
	}

	if path == "" || path[0] != '/' {
		return value, Missing
	}
	unclean := !isClean(path)
	if unclean {
		path = clean(path)
	}
	s := search{method: method, path: path, params: m.Params}
	r := p.root.walk(&s, 0)
	m.Params = s.params
	switch {
	case s.slash:
		m.Params = m.Params[:0]
		m.Location = location(path + "/")
		return value, Moved
	case unclean:
		m.Params = m.Params[:0]
		m.Location = location(path)
		return value, Moved
	case r != nil:
		for i := range m.Params {
			m.Params[i].Name = r.pattern.names[i]
			m.Params[i].Value = unescape(m.Params[i].Value)
		}
		m.Pattern = &r.pattern
		return r.value, Found
	}
	if methods := p.root.allow(nil, path, 0); len(methods) > 0 {
		slices.Sort(methods)
		m.Allow = strings.Join(methods, ", ")
		return value, MethodNotAllowed
	}
	return value, Missing
}

// A search is the state of one walk through the tree.
type search struct {
	method, path string
	params       []Param // values only, not yet decoded
	slash        bool    // a slash at the end would match exactly, and nothing better was found
}

// walk returns the first route below n, in order of precedence, that fits the path
// from its i-th byte on, a slash or the end. Each node is visited at most once.
func (n *node[T]) walk(s *search, i int) *route[T] {
	path := s.path
	if i == len(path) {
		if r := n.here.find(s.method); r != nil {
			s.slash = false
			return r
		}
		if n.end.find(s.method) != nil || n.rest.find(s.method) != nil {
			s.slash = true
		}
		return nil
	}
	if i+1 == len(path) {
		if r := n.end.find(s.method); r != nil {
			return r
		}
	} else {
		end := segmentEnd(path, i+1)
		text := path[i+1 : end]
		if c := n.find(unescape(text)); c != nil {
			if r := c.walk(s, end); r != nil {
				return r
			}
		}
		if n.single != nil {
			mark := len(s.params)
			s.params = append(s.params, Param{Value: text})
			if r := n.single.walk(s, end); r != nil {
				return r
			}
			s.params = s.params[:mark]
		}
	}
	r := n.rest.find(s.method)
	if r != nil && len(r.pattern.names) > len(s.params) {
		s.params = append(s.params, Param{Value: path[i+1:]})
	}
	return r
}

// allow adds the methods of all routes below n that fit the path from i on, as it is
// or with a slash at the end. It is the slow path, so it may allocate.
func (n *node[T]) allow(methods []string, path string, i int) []string {
	if i == len(path) {
		methods = appendMethods(methods, n.here)
		methods = appendMethods(methods, n.end)
		return appendMethods(methods, n.rest)
	}
	if i+1 == len(path) {
		methods = appendMethods(methods, n.end)
	} else {
		end := segmentEnd(path, i+1)
		if c := n.find(unescape(path[i+1 : end])); c != nil {
			methods = c.allow(methods, path, end)
		}
		if n.single != nil {
			methods = n.single.allow(methods, path, end)
		}
	}
	return appendMethods(methods, n.rest)
}

// find returns the route that serves the method, or nil.
func (l leaf[T]) find(method string) *route[T] {
	var get *route[T]
	for _, r := range l {
		switch r.pattern.Method {
		case method:
			return r
		case "":
			if get == nil {
				return r // it is the last
			}
		case "GET":
			if method == "HEAD" {
				get = r
			}
		}
	}
	return get
}

// find returns the child for a decoded literal segment, or nil.
func (n *node[T]) find(text string) *node[T] {
	if n.many != nil {
		return n.many[text]
	}
	for i := range n.few {
		if n.few[i].text == text {
			return n.few[i].node
		}
	}
	return nil
}

// literal returns the child for a decoded literal segment, making it if need be.
func (n *node[T]) literal(text string) *node[T] {
	if c := n.find(text); c != nil {
		return c
	}
	c := new(node[T])
	if n.many == nil && len(n.few) < fewChildren {
		n.few = append(n.few, child[T]{text, c})
		return c
	}
	if n.many == nil {
		n.many = make(map[string]*node[T])
		for _, f := range n.few {
			n.many[f.text] = f.node
		}
		n.few = nil
	}
	n.many[text] = c
	return c
}

func appendMethods[T any](methods []string, l leaf[T]) []string {
	add := func(method string) {
		if method != "" && !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
	}
	for _, r := range l {
		add(r.pattern.Method)
		if r.pattern.Method == "GET" {
			add("HEAD")
		}
	}
	return methods
}

// unescape decodes text, which stays as it is when it is badly encoded: the parser
// has its own opinion on that, and a route must not panic.
func unescape(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	return text
}
