package static

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// lists turns the listing of a server under test on.
func lists(change ...func(l *listingOptions)) func(o *options) {
	return func(o *options) {
		o.listing = &listingOptions{maxEntries: 10_000}
		for _, f := range change {
			f(o.listing)
		}
	}
}

// listed asks for a directory as JSON.
func listed(t testing.TB, h web.Handler, target string) listedJSON {
	t.Helper()
	resp := webtest.Do(h, webtest.Request{Target: target, Header: map[string]string{"Accept": "application/json"}})
	if resp.Status != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %q %s", target, resp.Status, resp.Header.Get("Content-Type"), resp.Body)
	}
	var l listedJSON
	if err := json.Unmarshal(resp.Body, &l); err != nil {
		t.Fatalf("%s: %v in %s", target, err, resp.Body)
	}
	return l
}

// names returns those of all entries, folders with a slash.
func (l *listedJSON) names() string {
	var list []string
	for _, e := range l.Entries {
		if e.Type == "directory" {
			e.Name += "/"
		}
		list = append(list, e.Name)
	}
	return strings.Join(list, " ")
}

func expectNames(t *testing.T, h web.Handler, target, want string) {
	t.Helper()
	l := listed(t, h, target)
	if got := l.names(); got != want {
		t.Errorf("%s: %q, want %q", target, got, want)
	}
	if n := len(strings.Fields(want)); l.Truncated || l.Shown != "" || l.Total != n || !l.TotalExact {
		t.Errorf("%s: truncated %v (%q), total %d (exact: %v), want all of %d", target, l.Truncated, l.Shown, l.Total, l.TotalExact, n)
	}
}

func TestListingEntries(t *testing.T) {
	root := tree(t)
	dir := filepath.Join(root, "bare")
	write(t, root, "bare/folder/x", "")
	write(t, root, "bare/.hidden", "")
	write(t, root, "bare/"+temporary+"0123", "")
	write(t, root, "bare/secret.db", "")
	write(t, root, "bare/secret.db-wal", "")
	write(t, root, "bare/unreadable", "")
	if err := os.Chmod(filepath.Join(dir, "unreadable"), 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"broken": "nothing", "circle": "circle", "outside": "../../secret", "out-folder": "/", "to-fifo": "fifo", "to-db": "secret.db",
		"inside": "../a.txt", "in-folder": "../sub", "absolute": filepath.Join(root, "large.bin"),
	} {
		link(t, target, filepath.Join(dir, name))
	}
	claims := new(module.Claims)
	release := claim(t, claims, root, "bare/secret.db")
	defer release()

	for _, how := range []string{"openat2", "by hand"} {
		for _, test := range []struct {
			links  string
			hidden bool
			want   string
		}{
			{linksBeneath, false, "folder/ in-folder/ absolute file.json inside unreadable"},
			{linksBeneath, true, "folder/ in-folder/ .hidden absolute file.json inside unreadable"},
			{linksRefuse, false, "folder/ file.json unreadable"},
			{linksFollow, false, "folder/ in-folder/ out-folder/ absolute file.json inside outside unreadable"},
		} {
			s, c := serve(t, root, lists(), func(o *options) { o.symlinks, o.hidden, o.claims = test.links, test.hidden, claims })
			if how == "by hand" {
				s.root.openat2 = false
			}
			for _, order := range []string{"name", "size", "time"} { // all decide about the same entries
				l := listed(t, s, "/bare/?sort="+order)
				got := strings.Fields(l.names())
				slices.SortFunc(got, func(a, b string) int {
					return cmp.Or(cmp.Compare(len(b)-len(strings.TrimSuffix(b, "/")), len(a)-len(strings.TrimSuffix(a, "/"))), cmp.Compare(a, b))
				})
				if strings.Join(got, " ") != test.want || l.Total != len(got) {
					t.Errorf("%s, symlinks %s, hidden %v, by %s: %q (total %d), want %q", how, test.links, test.hidden, order, got, l.Total, test.want)
				}
			}
			c.add(time.Second)
			for _, e := range listed(t, s, "/bare/").Entries { // what is listed is what is served
				if resp := webtest.Get(s, "/bare/"+strings.TrimPrefix(e.Href, "./")); resp.Status != 200 && e.Name != "unreadable" {
					t.Errorf("%s, symlinks %s: %s is listed and answered with %d", how, test.links, e.Href, resp.Status)
				}
			}
		}
	}

	s, _ := serve(t, root, lists())
	for _, e := range listed(t, s, "/bare/").Entries {
		switch {
		case e.Name == "inside" && (e.Size == nil || *e.Size != 5), e.Type == "directory" && e.Size != nil:
			t.Errorf("%s: size %v", e.Name, e.Size)
		case e.Modified == "":
			t.Errorf("%s: no time", e.Name)
		}
	}
}

func TestListingOnlyWithoutIndex(t *testing.T) {
	root := tree(t)
	s, _ := serve(t, root, lists())
	for target, want := range map[string]int{"/": 200, "/sub/": 200, "/bare/": 200, "/bare": 307, "/nothing/": 404, "/.git/": 404, "/a.txt/": 404} {
		resp := webtest.Get(s, target)
		if isListing := strings.Contains(resp.Text(), "<table>"); resp.Status != want || isListing != (target == "/bare/") {
			t.Errorf("%s: %d, listed: %v", target, resp.Status, isListing)
		}
	}
	off, _ := serve(t, root)
	if resp := webtest.Get(off, "/bare/"); resp.Status != 404 {
		t.Errorf("without listing: %d", resp.Status)
	}
	if resp := webtest.Do(s, webtest.Request{Method: "POST", Target: "/bare/"}); resp.Status != 405 {
		t.Errorf("POST: %d", resp.Status)
	}
}

func TestListingOrder(t *testing.T) {
	root := t.TempDir()
	for i, name := range []string{"a10", "a9", "B1", "c", "d1/x", "D2/x"} {
		write(t, root, name, strings.Repeat("x", (i*7)%5))
		name, _, _ = strings.Cut(name, "/")
		if err := os.Chtimes(filepath.Join(root, name), time.Time{}, time.Unix(int64(1e9+(i*3)%4), 0)); err != nil {
			t.Fatal(err)
		}
	}
	const dir = "d1/ D2/ "
	for _, test := range []struct{ query, byName, byTimeDown string }{
		{"", dir + "a9 a10 B1 c", "D2/ d1/ a9 B1 c a10"},
		{"?order=desc", "D2/ d1/ c B1 a10 a9", "D2/ d1/ a9 B1 c a10"},
		{"?order=asc", dir + "a9 a10 B1 c", "d1/ D2/ a10 c B1 a9"},
		{"?sort=name", dir + "a9 a10 B1 c", dir + "a9 a10 B1 c"},
		{"?sort=name&order=desc", "D2/ d1/ c B1 a10 a9", "D2/ d1/ c B1 a10 a9"},
		{"?sort=size", dir + "a10 c a9 B1", dir + "a10 c a9 B1"},
		{"?sort=size&order=desc", dir + "B1 a9 c a10", dir + "B1 a9 c a10"},
		{"?sort=time", dir + "a10 c B1 a9", "D2/ d1/ a9 B1 c a10"},
		{"?sort=time&order=asc", dir + "a10 c B1 a9", dir + "a10 c B1 a9"},
		{"?sort=nothing&order=up&x=%zz", dir + "a9 a10 B1 c", "D2/ d1/ a9 B1 c a10"},
	} {
		s, _ := serve(t, root, lists())
		expectNames(t, s, "/"+test.query, test.byName)
		s, _ = serve(t, root, lists(func(l *listingOptions) { l.order = order{byTime, true} }))
		expectNames(t, s, "/"+test.query, test.byTimeDown)
	}
}

func TestListingTruncated(t *testing.T) {
	root := t.TempDir()
	const many = 57
	for i := range many {
		write(t, root, fmt.Sprintf("f%d", i), strings.Repeat("x", (i*31)%many))
		if err := os.Chtimes(filepath.Join(root, fmt.Sprintf("f%d", i)), time.Time{}, time.Unix(int64(1e9+(i*11)%many), 0)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, root, "folder/x", "")
	all, _ := serve(t, root, lists())
	for query, which := range map[string]string{
		"?sort=name": "first", "?sort=name&order=desc": "last", "?sort=size": "smallest", "?sort=size&order=desc": "largest",
		"?sort=time": "oldest", "?sort=time&order=desc": "newest",
	} {
		full := listed(t, all, "/"+query)
		for _, limit := range []int{1, 2, 7, 28, 29, many, many + 1} {
			s, _ := serve(t, root, lists(func(l *listingOptions) { l.maxEntries = limit }))
			l := listed(t, s, "/"+query)
			want := full
			want.Entries = full.Entries[:limit]
			if l.names() != want.names() || l.Total != many+1 || !l.TotalExact || l.Truncated != (limit <= many) || (l.Shown == which) != l.Truncated {
				t.Errorf("%s, %d: %q %q, total %d (exact: %v, truncated: %v)", query, limit, l.names(), l.Shown, l.Total, l.TotalExact, l.Truncated)
			}
			said := fmt.Sprintf("Showing the %s %d of %d entries", which, limit, many+1)
			if page := webtest.Get(s, "/"+query).Text(); strings.Contains(page, said) != l.Truncated || strings.Contains(page, `role="status"`) != l.Truncated {
				t.Errorf("%s, %d: the page says %q: %v", query, limit, said, strings.Contains(page, said))
			}
		}
	}

	// More files than may be looked at to choose: the first by name, in the order that was asked for.
	s, _ := serve(t, root, lists(func(l *listingOptions) { l.maxEntries = 6 }))
	s.listing.looks = 20
	l := listed(t, s, "/?sort=size&order=desc")
	if got, want := l.names(), "folder/ f3 f1 f4 f2 f0"; got != want || l.Shown != "first" || l.Total != many+1 || !l.TotalExact {
		t.Errorf("beyond the looks: %q, want %q (%q, total %d)", got, want, l.Shown, l.Total)
	}
	// Links have to be looked at in every order.
	for i := range 30 {
		link(t, "f0", filepath.Join(root, fmt.Sprintf("link%d", i)))
	}
	s, _ = serve(t, root, lists())
	s.listing.looks = 20
	if l = listed(t, s, "/"); l.Total != many+1+20 || l.TotalExact || !l.Truncated {
		t.Errorf("links beyond the looks: total %d (exact: %v, truncated: %v)", l.Total, l.TotalExact, l.Truncated)
	}
	// More names than are read.
	s.listing.names = 40
	if l = listed(t, s, "/?sort=name&order=desc"); l.Total > 40 || l.TotalExact || !l.Truncated {
		t.Errorf("names beyond those read: total %d (exact: %v, truncated: %v)", l.Total, l.TotalExact, l.Truncated)
	}
	if page := webtest.Get(s, "/?order=desc").Text(); !strings.Contains(page, "and there are more that were not looked at.") {
		t.Error("names beyond those read: the page does not say so")
	}
}

func TestListingFields(t *testing.T) {
	root := tree(t)
	s, c := serve(t, root, lists(), func(o *options) {
		o.nosniff = true
		o.headers = map[string]string{"X-Own": "1", "Vary": "Cookie", "Content-Security-Policy": "default-src 'self'"}
	})
	for _, format := range []string{"html", "json"} {
		target := "/bare/?format=" + format
		resp := webtest.Get(s, target)
		if resp.Status != 200 || resp.Length != int64(len(resp.Body)) {
			t.Fatalf("%s: %d, length %d of %d", target, resp.Status, resp.Length, len(resp.Body))
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-cache", "Vary": "Cookie, Accept", "X-Content-Type-Options": "nosniff", "X-Own": "1", "ETag": contentTag(resp.Body),
			"Content-Type": map[string]string{"html": "text/html; charset=utf-8", "json": "application/json"}[format],
		} {
			if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s: %q, want %q", target, name, got, want)
			}
		}
		if format == "html" {
			_, style, _ := strings.Cut(resp.Text(), "<style>")
			style, _, _ = strings.Cut(style, "</style>")
			sum := sha256.Sum256([]byte(style))
			if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") ||
				!strings.HasPrefix(policy, "default-src 'none'") {
				t.Errorf("the policy is %q", policy)
			}
		}
		head := webtest.Head(s, target)
		if head.Status != 200 || len(head.Body) > 0 || head.Length != resp.Length || fmt.Sprint(head.Header) != fmt.Sprint(resp.Header) {
			t.Errorf("HEAD %s: %d, length %d, %v, want %v", target, head.Status, head.Length, head.Header, resp.Header)
		}
		tag := resp.Header.Get("ETag")
		for _, test := range []struct {
			name, value string
			status      int
		}{
			{"If-None-Match", tag, 304}, {"If-None-Match", `"x", W/` + tag, 304}, {"If-None-Match", `"x"`, 200},
			{"If-Match", tag, 200}, {"If-Match", `"x"`, 412}, {"If-Modified-Since", time.Now().UTC().Format(time.RFC1123), 200},
			{"Range", "bytes=0-9", 200}, {"Range", "bytes=99999999-", 200},
		} {
			got := webtest.Do(s, webtest.Request{Target: target, Header: map[string]string{test.name: test.value}})
			if got.Status != test.status || test.status == 200 && string(got.Body) != resp.Text() {
				t.Errorf("%s with %s: %s: %d, want %d", target, test.name, test.value, got.Status, test.status)
			}
			if test.status == 304 && (got.Header.Get("ETag") != tag || got.Header.Get("Vary") != "Cookie, Accept" || got.Header.Has("Content-Type")) {
				t.Errorf("%s: the 304 has %v", target, got.Header)
			}
		}
		c.add(time.Hour)
		if again := webtest.Get(s, target); again.Header.Get("ETag") != tag {
			t.Errorf("%s: another tag for the same content", target)
		}
	}
	s, _ = serve(t, root, lists(), func(o *options) { o.headers = map[string]string{"Cache-Control": "max-age=60"} })
	if got := webtest.Get(s, "/bare/").Header.Values("Cache-Control"); len(got) != 1 || got[0] != "max-age=60" {
		t.Errorf("Cache-Control as configured: %q", got)
	}
}

func TestListingFresh(t *testing.T) {
	root := tree(t)
	s, c := serve(t, root, lists())
	expectNames(t, s, "/bare/", "file.json")
	write(t, root, "bare/new", "")
	expectNames(t, s, "/bare/", "file.json") // within a second
	expectNames(t, s, "/bare/?sort=time", "file.json new")
	c.add(time.Second)
	expectNames(t, s, "/bare/", "file.json new")
	if err := os.RemoveAll(filepath.Join(root, "bare")); err != nil {
		t.Fatal(err)
	}
	c.add(time.Second)
	if resp := webtest.Get(s, "/bare/"); resp.Status != 404 {
		t.Errorf("removed: %d", resp.Status)
	}
}

func TestListingKeepsLittle(t *testing.T) {
	s, c := serve(t, tree(t), lists())
	l := s.listing
	for i := range 100 {
		id := fmt.Sprint("x", i)
		made, leader := l.join(id, s.now())
		if !leader {
			t.Fatalf("%s is there already", id)
		}
		if other, leader := l.join(id, s.now()); leader || other != made {
			t.Fatalf("%s: two leaders", id)
		}
		made.body = make([]byte, 1<<20)
		l.land(id, made, s.now())
	}
	state := func() (sheets, bytes int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.sheets), l.bytes
	}
	if sheets, bytes := state(); sheets != 15 || bytes > sheetBytes || bytes < sheetBytes/2 {
		t.Errorf("%d sheets of %d bytes are kept", sheets, bytes)
	}
	c.add(time.Second) // then the old ones go for a new one
	made, _ := l.join("new", s.now())
	made.body = make([]byte, 2<<20)
	l.land("new", made, s.now())
	if sheets, bytes := state(); sheets != 1 || bytes != made.cost("new") {
		t.Errorf("%d sheets of %d bytes are kept, want the new one alone", sheets, bytes)
	}
	large, _ := l.join("large", s.now())
	large.body = make([]byte, sheetBytes)
	l.land("large", large, s.now())
	l.mu.Lock()
	l.dropLocked("new", made)
	l.dropLocked("new", made)
	l.mu.Unlock()
	if sheets, bytes := state(); sheets != 0 || bytes != 0 {
		t.Errorf("%d sheets of %d bytes are left", sheets, bytes)
	}
}

// What a client may not have is not shown to it, nor what another client was shown.
func TestListingAccess(t *testing.T) {
	root := tree(t)
	write(t, root, "bare/private/x", "")
	write(t, root, "bare/dump.sql", "")
	write(t, root, "bare/office.txt", "")
	s, _ := serve(t, root, lists(), func(o *options) {
		o.access = []accessOption{
			{name: "private", paths: []string{"/bare/private/**"}, who: access.Options{Tokens: []string{tokenHash("t0ken")}}},
			{name: "office", paths: []string{"office.txt"}, who: access.Options{From: []string{"192.0.2.0/24"}}},
			{name: "dumps", paths: []string{"*.sql"}, allow: "none"},
		}
	})
	for range 2 {
		for _, test := range []struct{ from, authorization, want string }{
			{"192.0.2.7:1", "", "file.json office.txt"},
			{"198.51.100.1:1", "", "file.json"},
			{"198.51.100.1:1", "Bearer t0ken", "private/ file.json"},
			{"198.51.100.1:1", "Bearer other", "file.json"},
		} {
			request := webtest.Request{Target: "/bare/?format=json", RemoteAddr: netip.MustParseAddrPort(test.from), Header: map[string]string{}}
			if test.authorization != "" {
				request.Header["Authorization"] = test.authorization
			}
			resp := webtest.Do(s, request)
			var l listedJSON
			if err := json.Unmarshal(resp.Body, &l); err != nil || l.names() != test.want || l.Total != len(l.Entries) {
				t.Errorf("%s %q: %s (total %d, %v), want %q", test.from, test.authorization, l.names(), l.Total, err, test.want)
			}
			if got := resp.Header.Get("Cache-Control"); got != "private, no-cache" {
				t.Errorf("Cache-Control: %q", got)
			}
		}
	}
}

func TestListingWhileItChanges(t *testing.T) {
	root := t.TempDir()
	s, c := serve(t, root, lists())
	stop := make(chan struct{})
	var changes, readers sync.WaitGroup
	changes.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			dir := filepath.Join(root, "d")
			os.Mkdir(dir, 0o755)
			for i := range 20 {
				os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644)
				os.Symlink(fmt.Sprint(i), filepath.Join(dir, fmt.Sprint("link", i)))
			}
			os.Remove(filepath.Join(dir, "3"))
			os.Mkdir(filepath.Join(dir, "3"), 0o755)
			os.RemoveAll(dir)
		}
	})
	for range 4 {
		readers.Go(func() {
			for i := range 150 {
				for _, target := range []string{"/d/", "/d/?sort=time&format=json"} {
					if resp := webtest.Get(s, target); resp.Status != 200 && resp.Status != 404 {
						t.Errorf("%s: %d", target, resp.Status)
					}
				}
				if i%3 == 0 {
					c.add(time.Second)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	changes.Wait()
}

// A directory that is open when it vanishes has no entries to read any more.
func TestListingVanishes(t *testing.T) {
	root := tree(t)
	s, _ := serve(t, root, lists())
	top, err := s.root.acquire(s.now())
	if err != nil {
		t.Fatal(err)
	}
	defer top.Release()
	dir, err := s.root.openDirectory(top.fd, "bare/")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if err := os.RemoveAll(filepath.Join(root, "bare")); err != nil {
		t.Fatal(err)
	}
	g := &reading{s: s, r: &web.Request{}, key: "bare/", root: top.fd, dir: dir, chosen: selection{max: 10}}
	if err := g.scan(); err != nil && statusOf(err) != 404 {
		t.Errorf("%v is answered with %d", err, statusOf(err))
	}
	g.chosen.items = []item{{name: "gone"}}
	g.total = 1
	if err := g.complete(order{}); err != nil || len(g.chosen.items) != 0 || g.total != 0 {
		t.Errorf("%v, %d items, total %d", err, len(g.chosen.items), g.total)
	}
}

// Without descriptors a link cannot be looked at. It is not left out for that: the request is refused, once the cache has given up its own.
func TestListingDescriptorsRunOut(t *testing.T) {
	root := tree(t)
	link(t, "file.json", filepath.Join(root, "bare/link"))
	s, _ := serve(t, root, lists())
	starve := func(spare int, f func()) {
		t.Helper()
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		lowest, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(lowest)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest + spare), Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
		}()
		f()
	}
	ask := func() error {
		_, err := s.sheetOf(&web.Request{Method: "GET", Path: "/bare/"}, "bare/", view{})
		return err
	}
	for spare := range 2 {
		starve(spare, func() {
			if err := ask(); statusOf(err) != 503 {
				t.Errorf("%d descriptors: %v", spare, err)
			}
		})
	}
	if resp := webtest.Get(s, "/large.bin"); resp.Status != 200 {
		t.Fatal(resp.Status)
	}
	starve(1, func() {
		if err := ask(); err != nil {
			t.Errorf("the cache has kept its descriptors: %v", err)
		}
	})
}

func TestListingAccept(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/html": false, "text/*": false,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": false,
		"application/json":                                 true,
		"Application/JSON":                                 true,
		"application/json, text/plain, */*":                true,
		"application/json, text/html":                      false,
		"application/json;q=0.9, text/html;q=0.8":          true,
		"application/json;q=0.8, text/html;q=0.9":          false,
		"application/json;q=0.9, */*":                      false,
		"application/json;q=0.9, */*;q=0.8":                true,
		"application/json, text/*":                         true,
		"application/*":                                    true,
		"application/*, text/*;q=0.1":                      true,
		"application/*;q=0.5, */*":                         false,
		"application/json;q=0":                             false,
		"*/*, text/html;q=0":                               true,
		"*/*, text/html;q=0, application/json;q=0":         false,
		"application/json;q=0.001":                         true,
		"application/json;q=1.001":                         false,
		"application/json;q=2":                             false,
		"application/json;q=":                              false,
		"application/json; Q=1.000":                        true,
		"application/json;version=1":                       false,
		`application/json;version="a,b;c\"", text/x`:       false,
		`text/x;a="\", application/json;q=1, ", text/html`: false,
		"application/json;charset=utf-8":                   false,
		"text/html;charset=iso-8859-1, application/json":   true,
		"text/html;charset=UTF-8;q=0.1, application/json":  true,
		"text/html;q=1, text/html;charset=utf-8;q=0, */*":  true,
		" , application/json ,":                            true,
		"application/json;;q=0.5":                          true,
		"image/png":                                        false,
		"garbage":                                          false,
		`"`:                                                false,
		`"\`:                                               false,
	} {
		var h web.Header
		if accept != "" {
			h.Add("Accept", accept)
		}
		if got := prefersJSON(&h); got != want {
			t.Errorf("Accept: %s: JSON %v", accept, got)
		}
	}
	var lines web.Header
	lines.Add("Accept", "text/html;q=0.5")
	lines.Add("accept", "application/json")
	if !prefersJSON(&lines) {
		t.Error("the second line does not count")
	}
	s, _ := serve(t, tree(t), lists())
	for _, test := range []struct{ target, accept, want string }{
		{"/bare/", "application/json", "application/json"},
		{"/bare/?format=html", "application/json", "text/html; charset=utf-8"},
		{"/bare/?format=json", "text/html", "application/json"},
		{"/bare/?format=xml", "text/html", "text/html; charset=utf-8"},
	} {
		resp := webtest.Do(s, webtest.Request{Target: test.target, Header: map[string]string{"Accept": test.accept}})
		if got := resp.Header.Get("Content-Type"); resp.Status != 200 || got != test.want {
			t.Errorf("%s, Accept %s: %d %q", test.target, test.accept, resp.Status, got)
		}
	}
}

func TestCompareNames(t *testing.T) {
	ordered := []string{"", "-", "0", "00", "01", "1", "1a", "2", "10", "a", "a01", "a1", "a1b", "a2", "a9", "A10", "a10", "a10000000000000000000000000001", "B", "b", "ba",
		"c.txt", "é", "\xff"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareNames(a, b); got != cmp.Compare(i, j) {
				t.Errorf("%q to %q: %d, want %d", a, b, got, cmp.Compare(i, j))
			}
		}
	}
}

// The order has no circle: sorting does not depend on where it began.
func FuzzCompareNames(f *testing.F) {
	f.Add("a1", "a01", "A1")
	f.Add("1", "b", "01b")
	f.Add("0", "00", "0\xff")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if compareNames(a, b) != -compareNames(b, a) || (compareNames(a, b) == 0) != (a == b) {
			t.Errorf("%q and %q", a, b)
		}
		if compareNames(a, b) <= 0 && compareNames(b, c) <= 0 && compareNames(a, c) > 0 {
			t.Errorf("%q, %q, %q", a, b, c)
		}
	})
}

func TestSelection(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		o := order{sortKey(random.IntN(3)), random.IntN(2) == 0}
		var all []item
		c := selection{order: o, max: 1 + random.IntN(20)}
		for i := range random.IntN(100) {
			it := item{name: fmt.Sprint(i), folder: random.IntN(4) == 0, modified: random.Int64N(10)}
			if !it.folder {
				it.size = random.Int64N(10)
			}
			all = append(all, it)
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, it := range all {
			c.add(it)
			if len(c.items) >= 2*c.max {
				t.Fatalf("%d items are held for %d", len(c.items), c.max)
			}
		}
		c.settle()
		o.sort(all)
		if want := all[:min(c.max, len(all))]; !slices.Equal(c.items, want) {
			t.Fatalf("%v of %d: %v, want %v", o, c.max, c.items, want)
		}
	}
}

func TestListingNumbers(t *testing.T) {
	for size, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 10<<20 - 1: "10.0 MiB",
		5 << 30: "5.0 GiB", 1 << 40: "1.0 TiB", 1 << 50: "1.0 PiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := string(appendSize(nil, size)); got != want {
			t.Errorf("%d: %q, want %q", size, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1,000 bytes", 1_000_000: "1,000,000 bytes", 12_034_056: "12,034,056 bytes"} {
		if got := string(appendCount(nil, n, " byte")); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// A tag is one of a page, with what is between it and the next.
type tag struct {
	name  string // "/a" at the end of an element
	attrs [][2]string
	text  string
}

// attr returns the value of an attribute.
func (g *tag) attr(name string) string {
	for _, a := range g.attrs {
		if a[0] == name {
			return a[1]
		}
	}
	return ""
}

// parseStrictly reads a page in which all that could be taken differently by anybody is a mistake.
func parseStrictly(page string) (tags []tag, err error) {
	for page != "" {
		if page[0] != '<' {
			return nil, fmt.Errorf("no tag at %.40q", page)
		}
		end := strings.IndexByte(page, '>')
		if end < 0 {
			return nil, fmt.Errorf("no end of %.40q", page)
		}
		inside := page[1:end]
		page = page[end+1:]
		var g tag
		g.name, inside, _ = strings.Cut(inside, " ")
		if strings.Trim(g.name, "/!abcdefghijklmnopqrstuvwxyz123") != "" {
			return nil, fmt.Errorf("a tag called %q", g.name)
		}
		for inside != "" && g.name != "!doctype" {
			name, rest, ok := strings.Cut(inside, `="`)
			value, rest, closed := strings.Cut(rest, `"`)
			if !ok || !closed || strings.ContainsAny(value, "<>\x00\r\n") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" ||
				rest != "" && rest[0] != ' ' {
				return nil, fmt.Errorf("attributes %q", inside)
			}
			g.attrs = append(g.attrs, [2]string{name, html.UnescapeString(value)})
			inside = strings.TrimPrefix(rest, " ")
		}
		next := strings.IndexByte(page, '<')
		if next < 0 {
			next = len(page)
		}
		if strings.ContainsAny(page[:next], ">\x00\r") {
			return nil, fmt.Errorf("text %q", page[:next])
		}
		g.text, page = html.UnescapeString(page[:next]), page[next:]
		tags = append(tags, g)
	}
	return tags, nil
}

// structure is what no name may change.
func structure(tags []tag) string {
	var b strings.Builder
	for _, g := range tags {
		b.WriteString("<" + g.name)
		for _, a := range g.attrs {
			b.WriteString(" " + a[0])
		}
	}
	return b.String()
}

// listedAs is a directory that is called name and has a file and a folder of that name.
func listedAs(name string) *contents {
	return &contents{path: "/p/" + name + "/", key: name + "/", items: []item{{name: name, folder: true, looked: true}, {name: name, looked: true, size: 2048}}, total: 2}
}

// resolved is the name below /p/ that a browser on the page of a directory comes to by href.
func resolved(directory, href string) (string, error) {
	it := item{name: directory, folder: true}
	base, err := url.Parse("https://example.com/p/" + strings.TrimPrefix(string(it.appendHref(nil)), "./"))
	if err != nil {
		return "", err
	}
	u, err := base.Parse(href)
	if err != nil {
		return "", err
	}
	name, ok := mapPath(nil, u.EscapedPath(), 2, true)
	if u.Host != "example.com" || u.RawQuery != "" || u.Fragment != "" || !ok {
		return "", fmt.Errorf("%q leads to %v", href, u)
	}
	return string(name), nil
}

func checkName(t *testing.T, name string) {
	t.Helper()
	l := newListing(&listingOptions{maxEntries: 10})
	c := listedAs(name)
	page := string(l.appendHTML(nil, c))
	tags, err := parseStrictly(page)
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	plain, err := parseStrictly(string(l.appendHTML(nil, listedAs("x"))))
	if err != nil {
		t.Fatal(err)
	}
	if structure(tags) != structure(plain) {
		t.Fatalf("%q changes the page to %s", name, page)
	}
	shown := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.In(c, unicode.Bidi_Control) && c > 0x2029 {
			return unicode.ReplacementChar
		}
		return c
	}, string([]rune(name)))
	var hrefs []string
	for i, g := range tags {
		if href := g.attr("href"); g.name == "a" && href != plain[i].attr("href") {
			hrefs = append(hrefs, href)
			if text := strings.TrimSuffix(tags[i+1].text, "/"); tags[i+1].name != "bdi" || text != shown {
				t.Errorf("%q is shown as %q", name, text)
			}
		}
	}
	if name == "x" {
		return
	}
	if len(hrefs) != 2 {
		t.Fatalf("%q: the links %q", name, hrefs)
	}
	var listed listedJSON
	content, err := c.encodeJSON()
	if err == nil {
		err = json.Unmarshal(content, &listed)
	}
	if err != nil || len(listed.Entries) != 2 {
		t.Fatalf("%q: %v in %s", name, err, content)
	}
	for i, want := range []string{name + "/" + name + "/", name + "/" + name} {
		e := listed.Entries[i]
		for _, href := range []string{hrefs[i], e.Href} {
			if got, err := resolved(name, href); err != nil || got != want || !strings.HasPrefix(href, "./") {
				t.Errorf("%q: the link %q leads to %q (%v)", name, href, got, err)
			}
		}
		if got := cmp.Or(string(e.NameBase64), e.Name); got != name {
			t.Errorf("%q is %q in JSON", name, got)
		}
	}
}

var evilNames = []string{
	"x", "a b", "a:b", "javascript:alert(1)", `"quoted"`, "'", "<script>alert(1)</script>", "</style>", "&amp;", "&lt", "100%", "%2e%2e", "%00", "?q", "#f", "a\nb", "a\r\nb", "\t",
	" ", "...", "..a", ".hidden", "ü", "\xff", "\xc3", "a\xed\xa0\x80", "\u202egpj.exe", "\u2066", "\x7f", "\u0085", "\ufeff", "{{path}}", "{{rows}}", "\\", "C:\\x", "+", "*", "~", "-", "😀",
	"--><!--", "]]>", "`", "\x1b[31m", "//example.com", "日本語", "مرحبا", "=", ";", "@", "$&", "a;b=c", strings.Repeat("n", 255),
}

func TestListingNames(t *testing.T) {
	dir := t.TempDir()
	s, _ := serve(t, dir, lists(), func(o *options) { o.hidden, o.prefix = true, "/p/" })
	for _, name := range evilNames {
		if strings.Contains(name, "/") {
			continue
		}
		checkName(t, name)
		write(t, dir, name, name)
	}
	l := listed(t, s, "/p/")
	for _, e := range l.Entries {
		name := cmp.Or(string(e.NameBase64), e.Name)
		if resp := webtest.Get(s, "/p/"+strings.TrimPrefix(e.Href, "./")); resp.Text() != name {
			t.Errorf("%q: %s answers with %d %q", name, e.Href, resp.Status, resp.Text())
		}
	}
	if l.Total < len(evilNames)-3 {
		t.Errorf("%d names are listed", l.Total)
	}
}

func FuzzListingName(f *testing.F) {
	for _, name := range evilNames {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsAny(name, "/\x00") || len(name) > 255 || !servable([]byte(name), true, false) {
			return // no name of a file that is served
		}
		checkName(t, name)
	})
}

func FuzzAccept(f *testing.F) {
	f.Add("application/json;q=0.5, text/html", true)
	f.Add(`a/b;c="\",`, false)
	f.Fuzz(func(t *testing.T, accept string, split bool) {
		var h web.Header
		h.Add("Accept", accept)
		got := prefersJSON(&h)
		h.Add("Accept", "text/html;q=1")
		if prefersJSON(&h) && !got {
			t.Errorf("%q: HTML on top makes it JSON", accept)
		}
	})
}

func TestListingLinks(t *testing.T) {
	root := tree(t)
	write(t, root, "bare/a b/c/file", "")
	for prefix, targets := range map[string]string{"/": "/", "/p/": "/p/", "/p/q r/": "/p/q%20r/"} {
		s, _ := serve(t, root, lists(), func(o *options) { o.prefix, o.index = prefix, nil })
		resp := webtest.Get(s, targets+"bare/a%20b/c/")
		tags, err := parseStrictly(resp.Text())
		if resp.Status != 200 || err != nil {
			t.Fatalf("%s: %d %v", prefix, resp.Status, err)
		}
		var links []string
		for i, g := range tags {
			if g.name == "a" {
				links = append(links, g.attr("href")+" "+g.text+tags[i+1].text)
			}
		}
		want := []string{"../../../ " + prefix, "../../ bare/", "../ a b/", "./?sort=name&order=desc Name ↑", "./?sort=size&order=desc Size", "./?sort=time&order=desc Modified (UTC)",
			"../ ../", "./file file", "./?format=json&sort=name&order=asc JSON"}
		for i, link := range want {
			if i >= len(links) || links[i] != link {
				t.Errorf("%s: link %d: %q, want %q", prefix, i, links[min(i, len(links)-1)], link)
			}
		}
		for _, text := range []string{"<title>Index of " + prefix + "bare/a b/c/</title>", "<h1>c/</h1>", "<p>1 file, 0 B</p>", `<td title="0 bytes">0 B</td>`,
			`<th scope="col" aria-sort="ascending">`} {
			if !strings.Contains(resp.Text(), text) {
				t.Errorf("%s: no %s in the page", prefix, text)
			}
		}
		if err := os.MkdirAll(filepath.Join(root, "none"), 0o755); err != nil {
			t.Fatal(err)
		}
		if page := webtest.Get(s, targets+"none/").Text(); !strings.Contains(page, "<p>This folder is empty.</p>") {
			t.Errorf("%s: an empty folder is shown as %s", prefix, page)
		}
		top := webtest.Get(s, targets).Text()
		if strings.Contains(top, `href="../`) || !strings.Contains(top, "<h1>"+prefix+"</h1>") {
			t.Errorf("%s: a link leads out of the route", prefix)
		}
	}
}

func TestListingOddTimes(t *testing.T) {
	for seconds, want := range map[int64]string{0: "1970-01-01T00:00:00Z", -1: "1969-12-31T23:59:59Z", 253402300799: "9999-12-31T23:59:59Z", 253402300800: "", -62167219201: "", 1<<63 - 1: "", -1 << 63: ""} {
		c := &contents{path: "/", items: []item{{name: "x", modified: seconds}}, total: 1}
		content, err := c.encodeJSON()
		var l listedJSON
		if err != nil || json.Unmarshal(content, &l) != nil || l.Entries[0].Modified != want {
			t.Errorf("%d: %s (%v)", seconds, content, err)
		}
		if page := string(newListing(&listingOptions{}).appendHTML(nil, c)); strings.Contains(page, "<time") != (want != "") {
			t.Errorf("%d: %s", seconds, page)
		}
	}
}

func TestListingSharesFlights(t *testing.T) {
	s, _ := serve(t, tree(t), lists())
	l := s.listing
	id := view{}.String() + "\x00bare/\x00/bare/"
	made, leader := l.join(id, s.now())
	if !leader {
		t.Fatal("somebody was there before")
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if resp := webtest.Get(s, "/bare/"); resp.Text() != "made by another" {
				t.Errorf("%d %q", resp.Status, resp.Text())
			}
		})
	}
	made.body, made.tag = []byte("made by another"), `"x"`
	l.land(id, made, s.now())
	wait.Wait()
}

func TestListingSpec(t *testing.T) {
	for _, test := range []struct {
		body string
		want listingOptions
	}{
		{"", listingOptions{maxEntries: 10_000}},
		{"sort = \"time\"\norder = \"desc\"\nmax_entries = 5", listingOptions{order{byTime, true}, 5}},
		{"sort = \"size\"\nmax_entries = 1000000", listingOptions{order{bySize, false}, namesRead}},
	} {
		b, problems := resolveBody(t, "root = \".\"\nlisting {\n"+test.body+"\n}")
		if problems != "" {
			t.Errorf("%s: %s", test.body, problems)
		} else if o := optionsOf(b).listing; *o != test.want {
			t.Errorf("%s: %+v, want %+v", test.body, *o, test.want)
		}
	}
	for _, wrong := range []string{`sort = "date"`, `order = "up"`, "max_entries = 0", "max_entries = 1000001"} {
		if _, problems := resolveBody(t, "root = \".\"\nlisting {\n"+wrong+"\n}"); problems == "" {
			t.Errorf("%s is taken", wrong)
		}
	}
}

func BenchmarkListing(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		root := b.TempDir()
		for i := range n {
			write(b, root, fmt.Sprintf("some-file-%d.txt", i*7919%n), "")
		}
		s, c := serve(b, root, lists())
		for _, query := range []string{"", "?sort=time", "?format=json"} {
			b.Run(fmt.Sprint(n, query), func(b *testing.B) {
				for b.Loop() {
					c.add(time.Second)
					if resp := webtest.Get(s, "/"+query); resp.Status != 200 {
						b.Fatal(resp.Status)
					}
				}
			})
		}
	}
}

// Directories are read one at a time, a bounded number of requests waits, and nothing is read for who has gone.
func TestListingTakesTurns(t *testing.T) {
	root := t.TempDir()
	for i := range 600 {
		write(t, root, fmt.Sprintf("f%03d", i), "")
	}
	s, _ := serve(t, root, func(o *options) {
		o.listing = &listingOptions{maxEntries: 1000}
		o.access = []accessOption{{name: "all", paths: []string{"**"}, allow: "all"}} // nothing is shared
	})
	l := s.listing
	if err := l.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range readersQueue - 1 {
		all.Go(func() {
			if resp := webtest.Do(s, webtest.Request{Target: "/", Context: ctx}); resp.Status != 503 {
				t.Errorf("a client that has gone: %d", resp.Status)
			}
		})
	}
	for l.queue.Load() < readersQueue {
		runtime.Gosched()
	}
	if resp := webtest.Get(s, "/"); resp.Status != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("one too many: %d", resp.Status)
	}
	cancel()
	all.Wait()
	l.leave()
	if n := l.queue.Load(); n != 0 {
		t.Errorf("%d in the queue", n)
	}
	if resp := webtest.Get(s, "/"); resp.Status != 200 || !strings.Contains(resp.Text(), "f599") {
		t.Errorf("%d", resp.Status)
	}
	if resp := webtest.Do(s, webtest.Request{Target: "/?sort=size", Context: ctx}); resp.Status != 503 {
		t.Errorf("read for nobody: %d", resp.Status)
	}
}

// The client for whom a shared view was read goes: another goes on.
func TestListingOutlivesItsLeader(t *testing.T) {
	root := t.TempDir()
	for i := range 600 {
		write(t, root, fmt.Sprintf("f%03d", i), "")
	}
	s, _ := serve(t, root, func(o *options) { o.listing = &listingOptions{maxEntries: 1000} })
	if err := s.listing.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { webtest.Do(s, webtest.Request{Target: "/", Context: ctx}) })
	for s.listing.queue.Load() < 2 {
		runtime.Gosched()
	}
	all.Go(func() {
		if resp := webtest.Get(s, "/"); resp.Status != 200 {
			t.Errorf("%d", resp.Status)
		}
	})
	cancel()
	s.listing.leave()
	all.Wait()
}
