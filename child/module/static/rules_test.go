package static

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web/webtest"
)

func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestRules(t *testing.T) {
	root := tree(t)
	write(t, root, "private/a.txt", "private")
	write(t, root, "private/open.txt", "open")
	write(t, root, "office/a.txt", "office")
	write(t, root, "dump.sql", "sql")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := serve(t, root, func(o *options) {
		o.try = []string{"{path}", "{path}.sql", "{path}/"}
		o.access = []accessOption{
			{name: "open", paths: []string{"/private/open.txt"}, allow: "all"},
			{name: "private", paths: []string{"/private/**"}, methods: []string{"GET"}, who: access.Options{Users: map[string]string{"anna": string(hash)}, Realm: "private"}},
			{name: "office", paths: []string{"/office/**"}, who: access.Options{From: []string{"192.0.2.0/24"}, Tokens: []string{tokenHash("t0ken")}, Any: true}},
			{name: "dumps", paths: []string{"*.sql"}, allow: "none"},
		}
	})
	inside, outside := netip.MustParseAddrPort("192.0.2.7:1"), netip.MustParseAddrPort("198.51.100.1:1")
	const anna, wrong = "Basic YW5uYTpzZWNyZXQ=", "Basic YW5uYTp3cm9uZw=="
	for _, test := range []struct {
		target, authorization string
		from                  netip.AddrPort
		status                int
	}{
		{"/a.txt", "", outside, 200},
		{"/private/open.txt", "", outside, 200},
		{"/private/a.txt", "", outside, 401},
		{"/private/a.txt", wrong, outside, 401},
		{"/private/a.txt", anna, outside, 200},
		{"/private/a%2etxt", "", outside, 401},
		{"/%70rivate/a.txt", "", outside, 401},
		{"/private", "", outside, 401},
		{"/private/", "", outside, 401},
		{"/private/", anna, outside, 404},
		{"/private/nothing", "", outside, 401},
		{"/privateer", "", outside, 404},
		{"/office/a.txt", "", outside, 401},
		{"/office/a.txt", "Bearer t0ken", outside, 200},
		{"/office/a.txt", "Bearer token", outside, 401},
		{"/office/a.txt", "", inside, 200},
		{"/dump.sql", anna, inside, 403},
		{"/dump", "", inside, 403}, // tried, found, and refused by the name that it has
		{"/private/open.txt", wrong, outside, 200},
	} {
		for range 3 { // by a worker, and from the cache
			for _, method := range []string{"GET", "HEAD"} {
				header := map[string]string{}
				if test.authorization != "" {
					header["Authorization"] = test.authorization
				}
				resp := webtest.Do(s, webtest.Request{Method: method, Target: test.target, Header: header, RemoteAddr: test.from})
				challenged := resp.Header.Has("WWW-Authenticate")
				if resp.Status != test.status || challenged != (test.status == 401) {
					t.Errorf("%s %s %q from %s: %d, challenged %t; want %d", method, test.target, test.authorization, test.from, resp.Status, challenged, test.status)
				}
			}
		}
	}
	if resp := webtest.Get(s, "/private/a.txt"); !strings.Contains(resp.Header.Get("WWW-Authenticate"), `realm="private"`) {
		t.Errorf("%q", resp.Header.Get("WWW-Authenticate"))
	}
	known := webtest.Request{Target: "/private/a.txt", Header: map[string]string{"Authorization": anna}}
	if resp := twice(t, s, known); resp.Status != 200 {
		t.Errorf("%d", resp.Status)
	}
	if resp := webtest.Do(s, known); !resp.Inline {
		t.Error("a known password is judged by a worker")
	}
}

// A precompressed sibling is no way around the rules of its file, for readers and for writers.
func TestRulesOfSiblings(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a.html", "a.html.gz", "b.css", "b.css.gz", "c.html.br"} {
		write(t, root, name, name)
	}
	for _, siblings := range []bool{true, false} {
		s, _ := serve(t, root, func(o *options) {
			if siblings {
				o.precompressed = []coding.Coding{coding.Gzip}
			}
			o.access = []accessOption{
				{name: "pages", paths: []string{"*.html"}, allow: "none"},
				{name: "packed", paths: []string{"*.gz"}, methods: []string{"PUT"}, allow: "all"},
			}
		})
		around := map[bool]int{true: 403, false: 200}[siblings]
		for target, want := range map[string]int{"/a.html": 403, "/a.html.gz": around, "/b.css": 200, "/b.css.gz": 200, "/c.html.br": 200} {
			if resp := twice(t, s, webtest.Request{Target: target}); resp.Status != want {
				t.Errorf("siblings %t: %s: %d, want %d", siblings, target, resp.Status, want)
			}
		}
		if a := s.admit(nil, "PUT", "b.css.gz", false); (a.status == 403) != siblings {
			t.Errorf("siblings %t: PUT: %+v", siblings, a)
		}
	}
}

// What no rule is for may be read by everybody and changed by nobody.
func TestRulesDefault(t *testing.T) {
	s, _ := serve(t, tree(t), func(o *options) {
		o.access = []accessOption{{name: "writers", paths: []string{"/in/**"}, methods: []string{"PUT"}, allow: "all"}}
	})
	for _, test := range []struct {
		method, name string
		want         bool
	}{
		{"GET", "a.txt", true}, {"HEAD", "in/x", true}, {"PUT", "in/x", true}, {"DELETE", "in/x", false}, {"PUT", "a.txt", false}, {"PUT", "inx", false},
	} {
		a := s.admit(nil, test.method, test.name, false)
		if (a.status == 0) != test.want {
			t.Errorf("%s %s: %+v", test.method, test.name, a)
		}
	}
	s.rules = nil
	if a := s.admit(nil, "PUT", "x", true); a.status != 403 {
		t.Errorf("without rules PUT is %+v", a)
	}
	if a := s.admit(nil, "GET", "x", true); a.status != 0 {
		t.Errorf("without rules GET is %+v", a)
	}
}
