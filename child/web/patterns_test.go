package web

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// patternsOf makes Patterns whose values are the patterns themselves.
func patternsOf(t testing.TB, patterns ...string) *Patterns[string] {
	t.Helper()
	p := new(Patterns[string])
	for _, s := range patterns {
		pattern, err := ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Add(pattern, s); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// answer is what Lookup says, on one line.
func answer(p *Patterns[string], method, path string) string {
	var m Match
	value, result := p.Lookup(method, path, &m)
	switch result {
	case Found:
		s := value
		for _, param := range m.Params {
			s += fmt.Sprintf(" %s=%q", param.Name, param.Value)
		}
		return s
	case Moved:
		return "-> " + m.Location
	case MethodNotAllowed:
		return "405 " + m.Allow
	}
	return "404"
}

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		patterns string // separated by commas
		requests string // "METHOD path: answer", separated by lines
	}{
		{"/,/a,/a/,/a/{x},/a/{x}/b,/a/b/{y...},/a/{$}", `
			GET /: /
			GET /z: /
			GET /z/: /
			GET /a: /a
			GET /a/: /a/{$}
			GET /a/1: /a/{x} x="1"
			GET /a/1/: /a/
			GET /a/1/b: /a/{x}/b x="1"
			GET /a/1/b/: /a/
			GET /a/b: /a/{x} x="b"
			GET /a/b/: /a/b/{y...} y=""
			GET /a/b/c/d: /a/b/{y...} y="c/d"
			GET /a/b/b: /a/b/{y...} y="b"`},
		{"POST /a,/", `
			GET /a: /
			POST /a: POST /a
			HEAD /a: /`},
		{"GET /a,POST /a,PUT /{x},/{x}/y", `
			GET /a: GET /a
			HEAD /a: GET /a
			PUT /a: PUT /{x} x="a"
			DELETE /a: 405 GET, HEAD, POST, PUT
			OPTIONS /a: 405 GET, HEAD, POST, PUT
			GET /b: 405 PUT
			DELETE /a/y: /{x}/y x="a"
			GET /a/z: 404`},
		{"GET /a,HEAD /a,/a", `
			GET /a: GET /a
			HEAD /a: HEAD /a
			POST /a: /a
			get /a: /a`},
		{"/a,GET /a", `
			HEAD /a: GET /a
			POST /a: /a`},
		{"HEAD /{x},GET /a", `
			HEAD /a: GET /a
			HEAD /b: HEAD /{x} x="b"
			GET /b: 405 HEAD`},
		{"GET /,POST /dir/,/x/{$}", `
			GET /dir: GET /
			POST /dir: -> /dir/
			PUT /dir: 405 GET, HEAD, POST
			PUT /dir/: 405 GET, HEAD, POST
			POST /x: -> /x/
			GET /x/y: GET /`},
		{"/x/{p...},/{q}/y/,/{q}/z", `
			GET /x/y: /x/{p...} p="y"
			GET /w/y: -> /w/y/
			GET /x/z: /x/{p...} p="z"`},
		{"/dir/,/{x}", `
			GET /dir: /{x} x="dir"
			GET /dir/: /dir/
			GET /other/: 404`},
		{"/static/,GET /,/items/{id},/items/new", `
			GET /static/x: /static/
			POST /static/x: /static/
			POST /x: 405 GET, HEAD
			GET /items/new: /items/new
			GET /items/old: /items/{id} id="old"
			GET /items/: GET /`},
		{"/a%2Fb,/a/b,/café,/%25,/{x}/c", `
			GET /a%2fb: /a%2Fb
			GET /a/b: /a/b
			GET /%61/b: /a/b
			GET /caf%C3%A9: /café
			GET /café: /café
			GET /%: /%25
			GET /%25: /%25
			GET /x%2Fy/c: /{x}/c x="x/y"
			GET /%2e%2e%2fetc/c: /{x}/c x="../etc"
			GET /%zz/c: /{x}/c x="%zz"
			GET /%00/c: /{x}/c x="\x00"`},
		{"/{a}/{b...}", `
			GET /x: -> /x/
			GET /x/: /{a}/{b...} a="x" b=""
			GET /x/%41/%2F: /{a}/{b...} a="x" b="A//"
			GET /: 404`},
		{"/{a},/%2F/x", `
			GET /: 404
			GET /%2F: /{a} a="/"
			GET /%2f/x: /%2F/x`},
		{"/{$}", `
			GET /: /{$}
			GET /%2F: 404
			GET /a: 404`},
		{"/", `
			GET //: -> /
			GET /./: -> /
			GET /.: -> /
			GET /..: -> /
			GET /a/..: -> /
			GET /a/b/..: -> /a/
			GET /a/.: -> /a/
			GET /a//b///c//: -> /a/b/c/
			GET /a/../../b: -> /b
			GET /%2e/a: -> /a
			GET /a/%2E%2e/b: -> /b
			GET /a/.%2e: -> /
			GET /a/...: /
			GET /a/%2e%2e%2e: /
			GET /a/.b: /
			GET /a/b..: /
			GET /%2e%2e%2fa: /
			GET //evil.example/..: -> /
			GET //evil.example: -> /evil.example
			GET /.//\evil.example: -> /%5Cevil.example
			GET /a/..//\\evil: -> /%5C%5Cevil
			GET a: 404
			GET *: 404
			GET : 404`},
		{"/{x}/", `
			GET //a: -> /a/
			GET /b/../a: -> /a/
			GET /\evil.example: -> /%5Cevil.example/
			GET /é: -> /%C3%A9/
			GET /a%2Fb: -> /a%2Fb/`},
		{"", `
			GET /: 404
			GET //: -> /`},
	} {
		p := new(Patterns[string])
		if c.patterns != "" {
			p = patternsOf(t, strings.Split(c.patterns, ",")...)
		}
		for line := range strings.Lines(c.requests) {
			line = strings.TrimSpace(line)
			if line == "" {
				continue
			}
			request, want, _ := strings.Cut(line, ": ")
			method, path, _ := strings.Cut(request, " ")
			if got := answer(p, method, path); got != want {
				t.Errorf("[%s] %s %q: %s, want %s", c.patterns, method, path, got, want)
			}
		}
	}
}

// What a node does with more children than it compares in turn.
func TestLookupManyChildren(t *testing.T) {
	var patterns []string
	for i := range 100 {
		patterns = append(patterns, fmt.Sprintf("/p%d/{x}", i))
	}
	p := patternsOf(t, patterns...)
	for i := range 100 {
		want := fmt.Sprintf("/p%d/{x} x=\"1\"", i)
		if got := answer(p, "GET", fmt.Sprintf("/p%d/1", i)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := answer(p, "GET", "/p100/1"); got != "404" {
		t.Error(got)
	}
}

func TestAddRefusesTheSamePattern(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"/a", "/a", true},
		{"/{x}", "/{y}", true},
		{"/a/", "/a/{rest...}", true},
		{"/é", "/%C3%A9", true},
		{"GET /a", "/a", false},
		{"GET /a", "HEAD /a", false},
		{"/a", "/a/", false},
		{"/a/", "/a/{$}", false},
		{"/{x}", "/{x...}", false},
		{"GET /", "/static/", false},
		{"/items/{id}", "/items/new", false},
		{"/{a}/b", "/a/{b}", false},
	} {
		a, _ := ParsePattern(c.a)
		b, _ := ParsePattern(c.b)
		var p Patterns[int]
		if err := p.Add(a, 1); err != nil {
			t.Fatal(err)
		}
		if err := p.Add(b, 2); (err != nil) != c.same || (a.Key() == b.Key()) != c.same {
			t.Errorf("%q and %q: %v, keys %q and %q", c.a, c.b, err, a.Key(), b.Key())
		}
	}
	if err := new(Patterns[int]).Add(Pattern{Path: "/"}, 1); err == nil {
		t.Error("a pattern that was not parsed was accepted")
	}
}

func TestPatternsListing(t *testing.T) {
	p := patternsOf(t, "GET /a", "/b", "PURGE /c")
	var list []string
	p.All(func(pattern *Pattern, value string) bool {
		list = append(list, value)
		return len(list) < 2
	})
	if p.Len() != 3 || len(list) != 2 || list[1] != "/b" {
		t.Errorf("%d, %v", p.Len(), list)
	}
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "PURGE": true, "POST": false, "": false} {
		if p.Names(method) != want {
			t.Errorf("Names(%q) is %v", method, !want)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	p := patternsOf(t, "/", "/a/b/c", "GET /users/{id}/posts/{post}", "/files/{path...}")
	m := Match{Params: make([]Param, 0, 4)}
	for _, path := range []string{"/", "/a/b/c", "/users/1/posts/2", "/files/a/b/c", "/x/y"} {
		if n := testing.AllocsPerRun(100, func() {
			if _, result := p.Lookup("GET", path, &m); result != Found {
				t.Fatal(path, result)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// --- against net/http -------------------------------------------------------------

// muxAnswer is what net/http.ServeMux does, in the words of answer.
func muxAnswer(mux *http.ServeMux, method, path string) string {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return "bad: " + err.Error()
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, &http.Request{Method: method, URL: u, Host: "h", Header: http.Header{}})
	switch w.Code {
	case http.StatusOK:
		return w.Body.String()
	case http.StatusTemporaryRedirect:
		return "-> " + w.Header().Get("Location")
	case http.StatusMethodNotAllowed:
		return "405 " + w.Header().Get("Allow")
	}
	return fmt.Sprint(w.Code)
}

// register adds a pattern to mux and reports whether it took it.
func register(mux *http.ServeMux, pattern Pattern) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	mux.HandleFunc(pattern.String(), func(w http.ResponseWriter, r *http.Request) {
		s := pattern.String()
		for _, name := range pattern.names {
			s += fmt.Sprintf(" %s=%q", name, r.PathValue(name))
		}
		_, _ = w.Write([]byte(s))
	})
	return true
}

func randomPattern(r *rand.Rand) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	s := pick("", "", "GET ", "POST ", "HEAD ", "PUT ")
	depth := r.IntN(4)
	for i := range depth {
		s += "/" + pick("a", "b", "c", "a%2Fb", "é", fmt.Sprintf("{w%d}", i), fmt.Sprintf("{w%d}", i))
	}
	last := pick("", "/", "/", "/{$}", "/{rest...}")
	if depth == 0 && last == "" {
		last = "/"
	}
	return s + last
}

func randomPath(r *rand.Rand) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	s := ""
	for range r.IntN(5) {
		s += "/" + pick("a", "b", "c", "d", "%61", "a%2Fb", "a%2fb", "%C3%A9", "a", "b", "c")
		if r.IntN(40) == 0 {
			s += pick("/.", "/..", "/") + "/x"
		}
	}
	return s + pick("", "/", "/x")
}

// Where net/http accepts a set of patterns it must be answered in the same way.
func TestAgainstServeMux(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	sets, requests := 1000, 40
	if testing.Short() {
		sets = 100
	}
	for range sets {
		mux := http.NewServeMux()
		var p Patterns[string]
		var list []string
		for range 1 + r.IntN(9) {
			pattern, err := ParsePattern(randomPattern(r))
			if err != nil {
				t.Fatal(err)
			}
			if !register(mux, pattern) {
				continue // a conflict, or the same again
			}
			if err := p.Add(pattern, pattern.String()); err != nil {
				t.Fatal(err)
			}
			list = append(list, pattern.String())
		}
		for range requests {
			method := []string{"GET", "HEAD", "POST", "PUT", "DELETE"}[r.IntN(5)]
			path := randomPath(r)
			if path == "" {
				path = "/"
			}
			want, got := muxAnswer(mux, method, path), answer(&p, method, path)
			if strings.HasPrefix(want, "-> ") && strings.Contains(path, "%") && strings.HasPrefix(got, "-> ") {
				continue // net/http decodes and encodes its Location
			}
			if got != want {
				t.Fatalf("patterns %q\n%s %s: %s, net/http says %s", list, method, path, got, want)
			}
		}
	}
}

// --- fuzzing ----------------------------------------------------------------------

func FuzzLookup(f *testing.F) {
	for _, path := range []string{"/", "//", "/a/../b", "/%2e%2e/", "/a/b/c", "/.//\\evil", "/\t/evil/", "/%", "/a/%2", "*", "", "/é?x#y"} {
		f.Add("GET", path)
		f.Add("POST", path)
	}
	sets := []*Patterns[string]{
		patternsOf(f, "/"),
		patternsOf(f, "/{a}/", "GET /{a}/{b}/", "/{a}/{b}/{c...}", "/a/b"),
		patternsOf(f, "GET /a/", "POST /{$}", "/{x...}", "/a/{y}/b/", "/%2F/", "/é/"),
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		if strings.HasPrefix(path, "/") {
			c := clean(path)
			if clean(c) != c || !isClean(c) || isClean(path) != (c == path) {
				t.Fatalf("clean(%q) is %q, then %q", path, c, clean(c))
			}
		}
		for _, p := range sets {
			var m Match
			_, result := p.Lookup(method, path, &m)
			switch result {
			case Found:
				if len(m.Params) != len(m.Pattern.names) {
					t.Fatalf("%q: params %q of %q", path, m.Params, m.Pattern)
				}
			case Moved:
				checkRedirect(t, p, method, path, m.Location)
			}
		}
	})
}

func checkRedirect(t *testing.T, p *Patterns[string], method, path, to string) {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\t\r\n ?#\"<>") {
		t.Fatalf("%q leads to %q", path, to)
	}
	base, _ := url.Parse("http://us.example/x/y")
	if u, err := base.Parse(to); err == nil && u.Host != "us.example" {
		t.Fatalf("%q leads to host %q", path, u.Host)
	}
	if !isClean(to) {
		t.Fatalf("%q leads to the unclean %q", path, to)
	}
	var m Match
	if _, result := p.Lookup(method, to, &m); result == Moved {
		// A slash may still be missing, once.
		if m.Location != to+"/" {
			t.Fatalf("%q leads to %q, that to %q", path, to, m.Location)
		}
		if _, result := p.Lookup(method, m.Location, &m); result != Found {
			t.Fatalf("%q leads to %q, and there %v", path, m.Location, result)
		}
	}
}

// --- benchmarks -------------------------------------------------------------------

// benchRoutes returns n patterns that net/http accepts too, and paths that hit them.
func benchRoutes(n int) (patterns, paths []string) {
	for i := range n {
		switch i % 4 {
		case 0:
			patterns = append(patterns, fmt.Sprintf("GET /api/v1/thing%d", i))
			paths = append(paths, fmt.Sprintf("/api/v1/thing%d", i))
		case 1:
			patterns = append(patterns, fmt.Sprintf("GET /api/v1/thing%d/{id}", i))
			paths = append(paths, fmt.Sprintf("/api/v1/thing%d/12345", i))
		case 2:
			patterns = append(patterns, fmt.Sprintf("POST /api/v1/thing%d/{id}/part/{part}", i))
			paths = append(paths, fmt.Sprintf("/api/v1/thing%d/12345/part/abc", i))
		case 3:
			patterns = append(patterns, fmt.Sprintf("/files%d/{path...}", i))
			paths = append(paths, fmt.Sprintf("/files%d/css/site.css", i))
		}
	}
	return patterns, paths
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 20, 500} {
		patterns, paths := benchRoutes(n)
		methods := make([]string, n)
		mux := http.NewServeMux()
		requests := make([]*http.Request, n)
		for i, s := range patterns {
			methods[i] = "GET"
			if strings.HasPrefix(s, "POST") {
				methods[i] = "POST"
			}
			mux.Handle(s, http.NotFoundHandler())
			requests[i] = httptest.NewRequest(methods[i], paths[i], nil)
		}
		p := patternsOf(b, patterns...)
		b.Run(fmt.Sprintf("routes=%d/Patterns", n), func(b *testing.B) {
			b.ReportAllocs()
			var m Match
			for i := range b.N {
				k := i % n
				if _, result := p.Lookup(methods[k], paths[k], &m); result != Found {
					b.Fatal(paths[k], result)
				}
			}
		})
		b.Run(fmt.Sprintf("routes=%d/ServeMux", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if _, pattern := mux.Handler(requests[i%n]); pattern == "" {
					b.Fatal(paths[i%n])
				}
			}
		})
	}
}

func ExamplePatterns() {
	var p Patterns[string]
	for _, s := range []string{"/", "GET /posts/{id}", "GET /posts/new", "/files/{path...}"} {
		pattern, err := ParsePattern(s)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := p.Add(pattern, s); err != nil {
			fmt.Println(err)
			return
		}
	}
	var m Match
	for _, path := range []string{"/posts/7", "/posts/new", "/files/a/b", "/files", "/a/../b"} {
		value, result := p.Lookup("GET", path, &m)
		fmt.Println(path, result, value+m.Location, m.Params)
	}
	// Output:
	// /posts/7 Found GET /posts/{id} [{id 7}]
	// /posts/new Found GET /posts/new []
	// /files/a/b Found /files/{path...} [{path a/b}]
	// /files Moved /files/ []
	// /a/../b Moved /b []
}
