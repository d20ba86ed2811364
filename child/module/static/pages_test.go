package static

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// twice asks for target until the answer comes from the cache, or three times, and wants the same answer each time.
func twice(t *testing.T, s *server, request webtest.Request) *webtest.Response {
	t.Helper()
	first := webtest.Do(s, request)
	for range 2 {
		again := webtest.Do(s, request)
		if again.Status != first.Status || again.Text() != first.Text() || again.Length != first.Length {
			t.Errorf("%s: %d %.30q, then %d %.30q", request.Target, first.Status, first.Text(), again.Status, again.Text())
		}
		for name, value := range first.Header.All() {
			if again.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, then %q", request.Target, name, value, again.Header.Get(name))
			}
		}
		if again.Inline {
			break
		}
	}
	return first
}

// A page that is in the cache is sent without taking memory, however long its name is.
func TestPageNowCosts(t *testing.T) {
	root := tree(t)
	name := "errors/" + strings.Repeat("long", 20) + ".html"
	write(t, root, name, "<p>page")
	s, _ := serve(t, root, func(o *options) { o.pages = []pageOption{{status: 404, file: name}} })
	webtest.Get(s, "/../x")
	var w web.Response
	r := request("/../x")
	if n := testing.AllocsPerRun(200, func() { hit(t, s, &w, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTry(t *testing.T) {
	root := tree(t)
	write(t, root, "about.html", "about")
	write(t, root, "docs/index.html", "docs")
	write(t, root, "docs.html", "page called docs")
	write(t, root, "app/shell.html", "shell")
	all := []string{"{path}", "{path}/", "{path}.html", "/app/shell.html"}
	for _, test := range []struct {
		try            []string
		target         string
		status         int
		body, location string
	}{
		{all, "/a.txt", 200, "hello", ""},
		{all, "/about", 200, "about", ""},
		{all, "/about.html", 200, "about", ""},
		{all, "/docs", 307, "", "/docs/"},
		{all, "/docs?x=/y", 307, "", "/docs/?x=/y"},
		{all, "/docs/", 200, "docs", ""},
		{all, "/nothing/at/all", 200, "shell", ""},
		{all, "/bare/", 200, "shell", ""},
		{all, "/bare", 200, "shell", ""},
		{all, "/", 200, "<p>home", ""},
		{all, "/.hidden", 404, "Not Found\n", ""},
		{all, "/../secret", 404, "Not Found\n", ""},
		{[]string{"{path}", "{path}.html"}, "/docs", 200, "page called docs", ""},
		{[]string{"{path}", "{path}.html"}, "/docs/", 200, "docs", ""},
		{[]string{"{path}", "{path}.html"}, "/nothing", 404, "Not Found\n", ""},
		{[]string{"{path}.html", "{path}"}, "/a.txt", 200, "hello", ""},
		{[]string{"{path}.html"}, "/a.txt", 404, "Not Found\n", ""},
		{[]string{"/a.txt"}, "/anything/else", 200, "hello", ""},
		{[]string{"/docs/"}, "/anything", 200, "docs", ""},
		{[]string{"/"}, "/anything", 200, "<p>home", ""},
	} {
		s, _ := serve(t, root, func(o *options) { o.try = test.try })
		resp := twice(t, s, webtest.Request{Target: test.target})
		if resp.Status != test.status || resp.Text() != test.body || resp.Header.Get("Location") != test.location {
			t.Errorf("try %v, %s: %d %q %s", test.try, test.target, resp.Status, resp.Text(), resp.Header.Get("Location"))
		}
	}
}

// A better candidate that appears is served, and one that vanishes is not.
func TestTrySeesChanges(t *testing.T) {
	root := tree(t)
	write(t, root, "fall.html", "fall")
	s, c := serve(t, root, func(o *options) { o.try = []string{"{path}", "{path}.html", "/fall.html"} })
	want := func(body string) {
		t.Helper()
		for range 2 {
			if resp := webtest.Get(s, "/new"); resp.Text() != body {
				t.Errorf("%d %q, want %q", resp.Status, resp.Text(), body)
			}
		}
		s.sweep()
		c.add(time.Second)
	}
	want("fall")
	write(t, root, "new.html", "with html")
	want("with html")
	write(t, root, "new", "without")
	want("without")
	if err := os.Remove(filepath.Join(root, "new")); err != nil {
		t.Fatal(err)
	}
	want("with html")
}

func TestFallback(t *testing.T) {
	root := tree(t)
	s, c := serve(t, root, func(o *options) {
		o.headers = map[string]string{"Cache-Control": "max-age=60"}
		o.fallback = []pageOption{{status: 200, file: "index.html", headers: map[string]string{"Cache-Control": "no-cache"}}}
		o.access = []accessOption{{name: "no", paths: []string{"/closed/**"}, allow: "none"}}
	})
	resp := twice(t, s, webtest.Request{Target: "/users/7?tab=1"})
	if resp.Status != 200 || resp.Text() != "<p>home" || resp.Header.Get("Cache-Control") != "no-cache" || len(resp.Header.Values("Cache-Control")) != 1 ||
		resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || resp.Header.Get("ETag") == "" {
		t.Errorf("%d %q %v", resp.Status, resp.Text(), resp.Header)
	}
	if again := webtest.Do(s, webtest.Request{Target: "/users/8", Header: map[string]string{"If-None-Match": resp.Header.Get("ETag")}}); again.Status != 304 {
		t.Errorf("%d", again.Status)
	}
	if file := webtest.Get(s, "/index.html"); file.Header.Get("Cache-Control") != "max-age=60" {
		t.Errorf("the file itself: %v", file.Header)
	}
	for target, status := range map[string]int{"/a.txt": 200, "/bare/": 200, "/sub": 307, "/closed/x": 403, "/.hidden": 404, "/%00": 404} {
		if got := webtest.Get(s, target); got.Status != status {
			t.Errorf("%s: %d, want %d", target, got.Status, status)
		}
	}
	if got := webtest.Do(s, webtest.Request{Method: "POST", Target: "/users/7"}); got.Status != 405 {
		t.Errorf("POST: %d", got.Status)
	}
	if err := os.Remove(filepath.Join(root, "index.html")); err != nil {
		t.Fatal(err)
	}
	c.add(time.Second)
	if got := webtest.Get(s, "/users/7"); got.Status != 404 {
		t.Errorf("without its file: %d", got.Status)
	}
}

func TestErrorPages(t *testing.T) {
	root := tree(t)
	write(t, root, "404.html", "<p>nowhere")
	write(t, root, "big.html", large)
	s, c := serve(t, root, func(o *options) {
		o.headers = map[string]string{"X-All": "1"}
		o.files = []fieldsOption{{"404.html", map[string]string{"X-Page": "1", "X-Own": "glob"}}}
		o.pages = []pageOption{
			{404, "404.html", map[string]string{"Cache-Control": "no-store", "X-Own": "page"}},
			{405, "big.html", nil},
			{416, "404.html", nil},
			{412, "missing.html", nil},
		}
	})
	for _, target := range []string{"/nothing", "/.hidden", "/a/../b"} {
		resp := twice(t, s, webtest.Request{Target: target})
		if resp.Status != 404 || resp.Text() != "<p>nowhere" || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || resp.Header.Get("X-All") != "1" ||
			resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Page") != "1" || resp.Header.Get("X-Own") != "page" {
			t.Errorf("%s: %d %q %v", target, resp.Status, resp.Text(), resp.Header)
		}
		for _, name := range []string{"ETag", "Last-Modified", "Accept-Ranges"} {
			if resp.Header.Has(name) {
				t.Errorf("%s has %s", target, name)
			}
		}
		ranged := webtest.Do(s, webtest.Request{Target: target, Header: map[string]string{"Range": "bytes=0-1", "If-None-Match": "*"}})
		if ranged.Status != 404 || ranged.Text() != "<p>nowhere" {
			t.Errorf("%s with conditions: %d %q", target, ranged.Status, ranged.Text())
		}
		if head := webtest.Head(s, target); head.Status != 404 || head.Length != int64(len("<p>nowhere")) || len(head.Body) > 0 {
			t.Errorf("HEAD %s: %d length %d", target, head.Status, head.Length)
		}
	}
	resp := twice(t, s, webtest.Request{Method: http.MethodPatch, Target: "/a.txt"})
	if resp.Status != 405 || resp.Text() != large || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("%d, %d bytes, Allow %q", resp.Status, len(resp.Body), resp.Header.Get("Allow"))
	}
	resp = twice(t, s, webtest.Request{Target: "/a.txt", Header: map[string]string{"Range": "bytes=99-"}})
	if resp.Status != 416 || resp.Text() != "<p>nowhere" || resp.Header.Get("Content-Range") != "bytes */5" {
		t.Errorf("%d %q %q", resp.Status, resp.Text(), resp.Header.Get("Content-Range"))
	}
	resp = twice(t, s, webtest.Request{Target: "/a.txt", Header: map[string]string{"If-Match": `"x"`}})
	if resp.Status != 412 || !strings.HasPrefix(resp.Text(), "Precondition Failed") {
		t.Errorf("a page that is not there: %d %q", resp.Status, resp.Text())
	}
	write(t, root, "404.html", "changed")
	c.add(time.Second)
	if resp := webtest.Get(s, "/nothing"); resp.Status != 404 || resp.Text() != "changed" {
		t.Errorf("%d %q", resp.Status, resp.Text())
	}
	if resp := webtest.Get(s, "/404.html"); resp.Status != 200 || resp.Header.Get("X-Own") != "glob" {
		t.Errorf("the page itself: %d %v", resp.Status, resp.Header)
	}
}

func TestFieldsByPattern(t *testing.T) {
	s, _ := serve(t, tree(t), func(o *options) {
		o.nosniff = true
		o.headers = map[string]string{"Cache-Control": "max-age=60", "X-Frame-Options": "DENY"}
		o.files = []fieldsOption{
			{"*.html", map[string]string{"cache-control": "no-cache"}},
			{"/sub/**", map[string]string{"X-Sub": "1", "Vary": "Cookie"}},
			{"/sub/index.html", map[string]string{"X-Content-Type-Options": "none"}},
		}
		o.types = map[string]string{".TXT": "text/x-own", "large.bin": "application/x-large"}
	})
	for target, want := range map[string]string{
		"/a.txt":     "Cache-Control=max-age=60 X-Frame-Options=DENY X-Content-Type-Options=nosniff Content-Type=text/x-own",
		"/large.bin": "Cache-Control=max-age=60 X-Content-Type-Options=nosniff Content-Type=application/x-large",
		"/":          "cache-control=no-cache X-Frame-Options=DENY X-Content-Type-Options=nosniff",
		"/sub/":      "cache-control=no-cache X-Sub=1 Vary=Cookie X-Content-Type-Options=none",
		"/sub":       "X-Sub=1 Cache-Control=max-age=60 Location=/sub/",
	} {
		resp := twice(t, s, webtest.Request{Target: target})
		for pair := range strings.FieldsSeq(want) {
			name, value, _ := strings.Cut(pair, "=")
			if got := resp.Header.Values(name); len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q, want %q", target, name, got, value)
			}
		}
	}
}

func TestHidden(t *testing.T) {
	s, _ := serve(t, tree(t), func(o *options) { o.hidden = true })
	for target, status := range map[string]int{"/.hidden": 200, "/.git/config": 200, "/sub/.well-known/x": 200, "/..": 404, "/../secret": 404, "/.": 404,
		"/" + temporary + "x": 404} {
		if resp := webtest.Get(s, target); resp.Status != status {
			t.Errorf("%s: %d, want %d", target, resp.Status, status)
		}
	}
}

func TestSymlinkModes(t *testing.T) {
	root := tree(t)
	link(t, "a.txt", filepath.Join(root, "inside"))
	link(t, "../secret", filepath.Join(root, "outside"))
	link(t, "sub", filepath.Join(root, "dir"))
	link(t, "..", filepath.Join(root, "parent"))
	link(t, filepath.Join(root, "a.txt"), filepath.Join(root, "absolute"))
	for mode, want := range map[string]map[string]int{
		linksBeneath: {"/inside": 200, "/outside": 404, "/dir/": 200, "/parent/secret": 404, "/absolute": 200, "/a.txt": 200},
		linksFollow:  {"/inside": 200, "/outside": 200, "/dir/": 200, "/parent/secret": 200, "/absolute": 200, "/a.txt": 200, "/../secret": 404, "/loop": 404},
		linksRefuse:  {"/inside": 404, "/outside": 404, "/dir/": 404, "/parent/secret": 404, "/absolute": 404, "/a.txt": 200, "/sub/": 200},
	} {
		for _, byHand := range []bool{false, true} {
			s, _ := serve(t, root, func(o *options) { o.symlinks = mode })
			s.root.openat2 = s.root.openat2 && !byHand
			for target, status := range want {
				if resp := twice(t, s, webtest.Request{Target: target}); resp.Status != status {
					t.Errorf("%s, by hand %t: %s: %d, want %d", mode, byHand, target, resp.Status, status)
				}
			}
		}
	}
}

// A directory that appears under a name that was looked for counts.
func TestTrySeesDirectories(t *testing.T) {
	root := tree(t)
	write(t, root, "about.html", "about")
	s, c := serve(t, root, func(o *options) {
		o.try = []string{"{path}", "{path}/", "{path}.html"}
		o.listing = &listingOptions{maxEntries: 100}
	})
	if resp := twice(t, s, webtest.Request{Target: "/about"}); resp.Text() != "about" {
		t.Errorf("%d %q", resp.Status, resp.Text())
	}
	if err := os.Mkdir(filepath.Join(root, "about"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.add(time.Duration(renewAfter))
	s.sweep()
	if resp := webtest.Get(s, "/about"); resp.Status != 307 {
		t.Errorf("%d: the directory is not seen", resp.Status)
	}
}

// A large page that was written in place is not sent as what it was.
func TestPageChangedInPlace(t *testing.T) {
	root := t.TempDir()
	write(t, root, "404.html", large)
	touch(t, filepath.Join(root, "404.html"), 1000)
	s, _ := serve(t, root, func(o *options) { o.pages = []pageOption{{status: 404, file: "404.html"}} })
	if resp := twice(t, s, webtest.Request{Target: "/.x"}); resp.Text() != large {
		t.Fatalf("%d bytes", len(resp.Body))
	}
	overwrite(t, filepath.Join(root, "404.html"), "X")
	if resp := webtest.Get(s, "/.x"); resp.Inline || resp.Status != 404 || resp.Text()[0] != 'X' {
		t.Errorf("%d %.1q, on the loop %t", resp.Status, resp.Text(), resp.Inline)
	}
}

// A page's own field takes the place of the one that its status implies.
func TestPageFieldsComeFirst(t *testing.T) {
	for _, body := range []string{"small", large} {
		root := t.TempDir()
		write(t, root, "405.html", body)
		s, _ := serve(t, root, func(o *options) {
			o.pages = []pageOption{{status: 405, file: "405.html", headers: map[string]string{"Allow": "GET"}}}
		})
		resp := twice(t, s, webtest.Request{Method: "POST", Target: "/"})
		if got := resp.Header.Values("Allow"); len(got) != 1 || got[0] != "GET" {
			t.Errorf("%d bytes: Allow %q", len(body), got)
		}
	}
}

func TestMissingPagesAreTold(t *testing.T) {
	root := tree(t)
	var lines []string
	s, _ := serve(t, root, func(o *options) {
		o.pages = []pageOption{{404, "a.txt", nil}, {403, strings.TrimPrefix(root, "/") + "/a.txt", nil}}
		o.fallback = []pageOption{{200, "gone.html", nil}}
		o.log = func(level module.Level, message string, fields ...module.Field) {
			lines = append(lines, fmt.Sprint(level, message, fields))
		}
	})
	s.missing()
	all := strings.Join(lines, "\n")
	if len(lines) != 2 || !strings.Contains(all, `error "403"`) || !strings.Contains(all, `write "/a.txt"`) || !strings.Contains(all, "fallback") || !strings.Contains(all, "/gone.html") {
		t.Error(all)
	}
	if n := s.cache.bytes; n != 0 {
		t.Errorf("%d bytes in the cache", n)
	}
}
