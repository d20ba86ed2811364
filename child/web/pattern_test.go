package web

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestParsePattern(t *testing.T) {
	for _, c := range []struct{ in, key, prefix, text string }{
		{"/", "/{...}", "/", "/"},
		{"GET /", "GET /{...}", "/", "GET /"},
		{"GET \t /a", "GET /a", "/", "GET /a"},
		{"/old/", "/old/{...}", "/old/", "/old/"},
		{"/old/{rest...}", "/old/{...}", "/old/", "/old/{rest...}"},
		{"/files/x", "/files/x", "/files/", "/files/x"},
		{"/assets/{p...}", "/assets/{...}", "/assets/", "/assets/{p...}"},
		{"GET /{$}", "GET /{$}", "/", "GET /{$}"},
		{"/a/{b}/c/{d...}", "/a/{}/c/{...}", "/a/", "/a/{b}/c/{d...}"},
		{"/{a}", "/{}", "/", "/{a}"},
		{"/caf%C3%A9/x", "/caf%C3%A9/x", "/caf%C3%A9/", "/caf%C3%A9/x"},
		{"/café/x", "/caf%C3%A9/x", "/café/", "/café/x"},
		{"/a%2fb", "/a%2Fb", "/", "/a%2fb"},
		{"/%7Ba%7D", "/%7Ba%7D", "/", "/%7Ba%7D"},
		{"/a}b", "/a%7Db", "/", "/a}b"},
		{"M-SEARCH /x", "M-SEARCH /x", "/", "M-SEARCH /x"},
		{"/...", "/...", "/", "/..."},
		{"/.a/..b", "/.a/..b", "/.a/", "/.a/..b"},
		{"/{naïve_1}", "/{}", "/", "/{naïve_1}"},
		{"/a%20b/", "/a%20b/{...}", "/a%20b/", "/a%20b/"},
	} {
		p, err := ParsePattern(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if p.Key() != c.key || p.Prefix() != c.prefix || p.String() != c.text {
			t.Errorf("%q: key %q, prefix %q, text %q; want %q, %q, %q", c.in, p.Key(), p.Prefix(), p, c.key, c.prefix, c.text)
		}
	}
}

func TestParsePatternErrors(t *testing.T) {
	for _, c := range []struct {
		in     string
		column int
		says   string // part of the error
	}{
		{"", 1, `write "/" for every path`},
		{" /a", 1, `write "/a"`},
		{"GET", 4, `write "GET /"`},
		{"GET ", 5, `write "GET /"`},
		{"get /a", 1, `write "GET /a"`},
		{"Get /a", 1, `write "GET /a"`},
		{"G@T /a", 2, `"@" cannot be part of a method`},
		{"GET,POST /a", 4, `"," cannot be part of a method`},
		{"example.com/a", 1, `names the host "example.com"; use a site block's hosts, and write "/a"`},
		{"GET example.com/", 5, `use a site block's hosts, and write "GET /"`},
		{"GET example.com", 5, `use a site block's hosts, and write "GET /"`},
		{"GET a", 5, `write "GET /a"`},
		{"index", 1, `write "/index"`},
		{"/a//b", 4, `write "/a/b"`},
		{"GET //", 6, `write "GET /"`},
		{"/a/./b", 4, `write "/a/b"`},
		{"/a/../b", 4, `write "/b"`},
		{"/a/%2e%2E", 4, `write "/"`},
		{"/a/..", 4, `write "/"`},
		{"/a{b}", 2, `write "a/{b}"`},
		{"/{a}b/", 2, `write "{a}/b"`},
		{"/x/{a", 4, `write "{a}"`},
		{"/{}", 2, "without a name"},
		{"/{...}", 2, "without a name"},
		{"/{a-b}", 2, `"a-b" is not a wildcard name`},
		{"/{1a}", 2, "a letter first"},
		{"/{a...}/b", 2, "not at the end"},
		{"/{a...}/", 2, "not at the end"},
		{"/{$}/", 2, "not at the end"},
		{"/{a}/{b}/{a}", 10, "there twice"},
		{"/{a}/{a...}", 6, "there twice"},
		{"/a?b=c", 3, "write %3F"},
		{"/a#b", 3, "write %23"},
		{"/a\nb", 3, "write %0A"},
		{"/a b", 3, "write %20"},
		{"GET /a ", 7, "remove it"},
		{"/a%zz", 2, "write %25"},
		{"/100%", 2, "write %25"},
	} {
		p, err := ParsePattern(c.in)
		var e *PatternError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v, pattern %+v; want a PatternError", c.in, err, p)
			continue
		}
		if e.Column != c.column || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%q: %v; want column %d and %q", c.in, e, c.column, c.says)
		}
	}
}

func TestPatternRest(t *testing.T) {
	for _, c := range []struct{ pattern, path, want string }{
		{"/", "/a/b", "a/b"},
		{"/", "/", ""},
		{"/assets/", "/assets/a%2Fb/c", "a%2Fb/c"},
		{"/assets/{p...}", "/assets/", ""},
		{"/café/{p...}", "/caf%c3%a9/x", "x"},
		{"/files/x", "/files/x", "x"},
		{"/a/{id}/b", "/a/7/b", "7/b"},
		{"/{$}", "/", ""},
		{"/a/b/", "/a", ""},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Rest(c.path); got != c.want {
			t.Errorf("%q of %q: %q, want %q", c.pattern, c.path, got, c.want)
		}
	}
}

// A pattern is accepted only if net/http accepts it, survives its own String, and
// its Key is a pattern with the same key.
func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"/", "GET /a/{b}/{c...}", "/a/{$}", "h/{x}", "POST /%2e%2e/", "/{a", "get /", "/a%zz", "/é/{é}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			var e *PatternError
			if !errors.As(err, &e) || e.Column < 1 || e.Column > len(s)+1 {
				t.Fatalf("%q: %#v", s, err)
			}
			return
		}
		if !serveMuxAccepts(s) {
			t.Fatalf("%q: net/http refuses it", s)
		}
		if q, err := ParsePattern(p.String()); err != nil || q.Key() != p.Key() || q.Prefix() != p.Prefix() {
			t.Fatalf("%q: its String %q gives %+v, %v", s, p, q, err)
		}
		if !strings.HasPrefix(p.Path, p.Prefix()) || !strings.HasSuffix(p.Prefix(), "/") {
			t.Fatalf("%q: prefix %q", s, p.Prefix())
		}
		literal := strings.NewReplacer("{...}", "{r...}").Replace(p.Key())
		for i := 0; strings.Contains(literal, "{}"); i++ {
			literal = strings.Replace(literal, "{}", "{w"+strings.Repeat("x", i)+"}", 1)
		}
		if q, err := ParsePattern(literal); err != nil || q.Key() != p.Key() {
			t.Fatalf("%q: key %q reads as %+v, %v", s, p.Key(), q, err)
		}
	})
}

func serveMuxAccepts(pattern string) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	http.NewServeMux().Handle(pattern, http.NotFoundHandler())
	return true
}
