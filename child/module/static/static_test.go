package static

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

// A clock is what a server under test takes for the time.
type clock struct{ ns atomic.Int64 }

func (c *clock) add(d time.Duration) { c.ns.Add(int64(d)) }

// serve opens a server for root with a clock that stands still. Its wall time is an hour ahead, so that files are not racy.
func serve(t testing.TB, root string, change ...func(o *options)) (*server, *clock) {
	t.Helper()
	o := options{root: root, index: []string{"index.html"}, symlinks: linksBeneath, prefix: "/", bounds: defaultBounds}
	for _, f := range change {
		f(&o)
	}
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	s.rest() // tests call sweep
	c := &clock{}
	c.ns.Store(s.now())
	s.now = c.ns.Load
	s.wall = func() time.Time { return time.Now().Add(time.Hour) }
	return s, c
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

var large = strings.Repeat("0123456789abcdef", 4<<10) // 64 KiB

// tree makes a root with one of each, and a secret beside it.
func tree(t testing.TB) string {
	t.Helper()
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	write(t, outside, "secret", "secret")
	write(t, root, "index.html", "<p>home")
	write(t, root, "a.txt", "hello")
	write(t, root, "empty", "")
	write(t, root, "large.bin", large)
	write(t, root, "with space & ü.css", "css")
	write(t, root, `back\slash.txt`, "backslash")
	write(t, root, "sub/index.html", "sub")
	write(t, root, "bare/file.json", "{}")
	write(t, root, ".hidden", "secret")
	write(t, root, ".git/config", "secret")
	write(t, root, ".well-known/acme", "token")
	write(t, root, "sub/.well-known/x", "secret")
	write(t, root, "%2e%2e", "encoded name")
	return root
}

func TestServe(t *testing.T) {
	const text = "text/plain; charset=utf-8"
	tests := []struct {
		target string
		status int
		body   string
		typ    string
	}{
		{"/", 200, "<p>home", "text/html; charset=utf-8"},
		{"/index.html", 200, "<p>home", "text/html; charset=utf-8"},
		{"/a.txt", 200, "hello", text},
		{"/a.txt?query", 200, "hello", text},
		{"/%61%2etxt", 200, "hello", text},
		{"/empty", 200, "", unknownType},
		{"/large.bin", 200, large, unknownType},
		{"/with%20space%20&%20%C3%BC.css", 200, "css", "text/css; charset=utf-8"},
		{`/back%5Cslash.txt`, 200, "backslash", text},
		{`/back\slash.txt`, 200, "backslash", text},
		{"/sub/", 200, "sub", "text/html; charset=utf-8"},
		{"/bare/file.json", 200, "{}", "application/json"},
		{"/.well-known/acme", 200, "token", unknownType},
		{"/%252e%252e", 200, "encoded name", unknownType},
		{"/bare/", 404, "Not Found\n", text},
		{"/nothing", 404, "Not Found\n", text},
		{"/nothing/", 404, "Not Found\n", text},
		{"/a.txt/", 404, "Not Found\n", text},
		{"/a.txt/b", 404, "Not Found\n", text},
		{"/.hidden", 404, "Not Found\n", text},
		{"/%2ehidden", 404, "Not Found\n", text},
		{"/.git/config", 404, "Not Found\n", text},
		{"/sub/.well-known/x", 404, "Not Found\n", text},
		{"//a.txt", 404, "Not Found\n", text},
		{"/sub//index.html", 404, "Not Found\n", text},
		{"/sub%2Findex.html", 404, "Not Found\n", text},
		{"/a.txt%00", 404, "Not Found\n", text},
		{"/a.txt%", 404, "Not Found\n", text},
		{"/a.txt%4", 404, "Not Found\n", text},
		{"/a.txt%zz", 404, "Not Found\n", text},
		{"/..", 404, "Not Found\n", text},
		{"/../secret", 404, "Not Found\n", text},
		{"/%2e%2e/secret", 404, "Not Found\n", text},
		{"/" + strings.Repeat("n", 300), 404, "Not Found\n", text},
		{"/" + strings.Repeat("n/", 4000), 404, "Not Found\n", text},
	}
	for _, how := range []string{"openat2", "by hand"} {
		s, _ := serve(t, tree(t))
		if how == "by hand" {
			s.root.openat2 = false
		}
		for _, test := range tests {
			for round := range 2 { // from disk, from memory
				resp := webtest.Get(s, test.target)
				if resp.Status != test.status || resp.Text() != test.body || resp.Header.Get("Content-Type") != test.typ || resp.Length != int64(len(test.body)) {
					t.Errorf("%s: GET %s: %d %.20q %s length %d", how, test.target, resp.Status, resp.Text(), resp.Header.Get("Content-Type"), resp.Length)
				}
				if resp.Status == 200 && round == 1 && !resp.Inline {
					t.Errorf("%s: %s is not answered from the cache", how, test.target)
				}
				head := webtest.Head(s, test.target)
				if head.Status != resp.Status || head.Length != resp.Length || !reflect.DeepEqual(head.Header, resp.Header) || len(head.Body) > 0 {
					t.Errorf("%s: HEAD %s: %d length %d %v", how, test.target, head.Status, head.Length, head.Header)
				}
			}
		}
	}
}

func TestFields(t *testing.T) {
	s, _ := serve(t, tree(t), func(o *options) {
		o.headers = map[string]string{"Cache-Control": "max-age=60", "X-Content-Type-Options": "nosniff"}
	})
	for _, target := range []string{"/a.txt", "/large.bin"} {
		resp := webtest.Get(s, target)
		info, err := os.Stat(filepath.Join(s.root.path, target))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := resp.Header.Get("Last-Modified"), info.ModTime().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"); got != want {
			t.Errorf("%s: Last-Modified %s, want %s", target, got, want)
		}
		if tag := resp.Header.Get("ETag"); len(tag) != 26 || tag[0] != '"' {
			t.Errorf("%s: ETag %s", target, tag)
		}
		for name, want := range map[string]string{"Accept-Ranges": "bytes", "Cache-Control": "max-age=60", "X-Content-Type-Options": "nosniff"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
	}
	if resp := webtest.Get(s, "/nothing"); resp.Header.Has("Cache-Control") {
		t.Error("an error page has the fields of files")
	}
}

func TestMethods(t *testing.T) {
	s, _ := serve(t, tree(t))
	for method, status := range map[string]int{"POST": 405, "PUT": 405, "DELETE": 405, "PATCH": 405, "get": 405, "OPTIONS": 204} {
		resp := webtest.Do(s, webtest.Request{Method: method, Target: "/a.txt"})
		if resp.Status != status || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" || !resp.Inline {
			t.Errorf("%s: %d %q", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
}

func TestDirectoryRedirect(t *testing.T) {
	root := tree(t)
	write(t, root, "evil.example/index.html", "x")
	write(t, root, `\evil.example/index.html`, "x")
	write(t, root, "<a b>/index.html", "x")
	tests := []struct{ prefix, target, location string }{
		{"/", "/sub", "/sub/"},
		{"/", "/sub?a=b&c", "/sub/?a=b&c"},
		{"/", "/sub?//x\"\\", "/sub/?//x%22%5C"},
		{"/", "/s%75b", "/s%75b/"},
		{"/", "/bare", "/bare/"},
		{"/", `/\evil.example`, "/evil.example/"},
		{"/", `/%5cevil.example`, "/%5cevil.example/"},
		{"/", "/%3Ca%20b>", "/%3Ca%20b%3E/"},
		{"/x/", "//sub", "/sub/"}, // by a router that is less strict than ours
		{"/x/", "/x/sub", "/x/sub/"},
		{"/x/y/", "//evil.example/sub", "/evil.example/sub/"},
	}
	for _, test := range tests {
		s, _ := serve(t, root, func(o *options) { o.prefix = test.prefix })
		resp := webtest.Get(s, test.target)
		if resp.Status != 307 || resp.Header.Get("Location") != test.location {
			t.Errorf("%s below %s: %d %q, want %q", test.target, test.prefix, resp.Status, resp.Header.Get("Location"), test.location)
		}
	}
	s, _ := serve(t, root)
	if resp := webtest.Get(s, "//evil.example"); resp.Status != 404 {
		t.Errorf("//evil.example: %d", resp.Status)
	}
}

func TestPrefix(t *testing.T) {
	s, _ := serve(t, tree(t), func(o *options) { o.prefix = "/assets/v1/" })
	for target, want := range map[string]int{"/assets/v1/a.txt": 200, "/%61ssets/v1/a.txt": 200, "/assets/v1/": 200, "/a.txt": 404, "/assets/v1": 404, "*": 404} {
		if resp := webtest.Get(s, target); resp.Status != want {
			t.Errorf("%s: %d, want %d", target, resp.Status, want)
		}
	}
}

func TestIndex(t *testing.T) {
	root := tree(t)
	write(t, root, "both/b.html", "b")
	s, c := serve(t, root, func(o *options) { o.index = []string{"a.html", "b.html"} })
	if resp := webtest.Get(s, "/both/"); resp.Text() != "b" {
		t.Errorf("%d %q", resp.Status, resp.Text())
	}
	write(t, root, "both/a.html", "a")
	c.add(time.Second)
	if resp := webtest.Get(s, "/both/"); resp.Text() != "a" {
		t.Errorf("a better index file has appeared: %q", resp.Text())
	}
	if err := os.Mkdir(filepath.Join(root, "sub", "a.html"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, root, "sub/b.html", "second")
	if resp := webtest.Get(s, "/sub/"); resp.Text() != "second" {
		t.Errorf("a directory called as an index: %d %q", resp.Status, resp.Text())
	}
}

// both runs a test with openat2, and by hand as on kernels without it.
func both(t *testing.T, root string, test func(t *testing.T, s *server)) {
	for _, byHand := range []bool{false, true} {
		t.Run(fmt.Sprintf("byHand=%t", byHand), func(t *testing.T) {
			s, _ := serve(t, root)
			if byHand {
				s.root.openat2 = false
			} else if !s.root.openat2 {
				t.Skip("this kernel, or its filter, has no openat2")
			}
			test(t, s)
		})
	}
}

func TestSymlinks(t *testing.T) {
	root := tree(t)
	link(t, "a.txt", filepath.Join(root, "inside"))
	link(t, "../a.txt", filepath.Join(root, "sub", "up"))
	link(t, filepath.Join(root, "a.txt"), filepath.Join(root, "absolute"))
	link(t, filepath.Join(root, "sub"), filepath.Join(root, "absolutedir"))
	link(t, "sub", filepath.Join(root, "dir"))
	link(t, "inside", filepath.Join(root, "twice"))
	link(t, "sub/../sub/./up", filepath.Join(root, "winding"))
	link(t, "../secret", filepath.Join(root, "outside"))
	link(t, "..", filepath.Join(root, "parent"))
	link(t, "/", filepath.Join(root, "slash"))
	link(t, "/proc/self/root", filepath.Join(root, "magic"))
	link(t, filepath.Join(root, "..", "secret"), filepath.Join(root, "absoluteoutside"))
	link(t, root+"x/secret", filepath.Join(root, "neighbour"))
	link(t, "../root/a.txt", filepath.Join(root, "outandin"))
	link(t, "loop", filepath.Join(root, "loop"))
	link(t, "ping", filepath.Join(root, "pong"))
	link(t, "pong", filepath.Join(root, "ping"))
	link(t, "nothing", filepath.Join(root, "dangling"))
	link(t, filepath.Join(root, "chain0"), filepath.Join(root, "endless"))
	link(t, filepath.Join(root, "endless"), filepath.Join(root, "chain0"))
	write(t, root+"x", "secret", "secret")
	both(t, root, func(t *testing.T, s *server) {
		for target, want := range map[string]string{
			"/inside": "hello", "/sub/up": "hello", "/absolute": "hello", "/absolutedir/up": "hello", "/absolutedir/": "sub", "/dir/": "sub",
			"/dir/up": "hello", "/twice": "hello", "/winding": "hello",
			"/outside": "", "/parent/secret": "", "/slash/etc/passwd": "", "/magic/etc/passwd": "", "/absoluteoutside": "", "/neighbour": "", "/outandin": "",
			"/loop": "", "/ping": "", "/dangling": "", "/loop/x": "", "/endless": "",
		} {
			resp := webtest.Get(s, target)
			switch {
			case want != "" && (resp.Status != 200 || resp.Text() != want):
				t.Errorf("%s: %d %q, want %q", target, resp.Status, resp.Text(), want)
			case want == "" && resp.Status != 404:
				t.Errorf("%s: %d %q, want 404", target, resp.Status, resp.Text())
			}
		}
		if resp := webtest.Get(s, "/dir"); resp.Status != 307 || resp.Header.Get("Location") != "/dir/" {
			t.Errorf("/dir: %d %q", resp.Status, resp.Header.Get("Location"))
		}
	})
}

func TestRootIsASymlink(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "v1/file", "one")
	write(t, dir, "v2/file", "two")
	current := filepath.Join(dir, "current")
	link(t, "v1", current)
	link(t, filepath.Join(current, "file"), filepath.Join(dir, "v1", "absolute"))
	link(t, filepath.Join(dir, "v1", "file"), filepath.Join(dir, "v1", "resolved"))
	s, c := serve(t, current)
	for _, target := range []string{"/file", "/absolute", "/resolved"} {
		if resp := webtest.Get(s, target); resp.Text() != "one" {
			t.Errorf("%s: %d %q", target, resp.Status, resp.Text())
		}
	}
	link(t, "v2", current+".new")
	if err := os.Rename(current+".new", current); err != nil {
		t.Fatal(err)
	}
	c.add(time.Second)
	if resp := webtest.Get(s, "/file"); resp.Text() != "two" {
		t.Errorf("after the root was turned: %d %q", resp.Status, resp.Text())
	}
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	c.add(time.Second)
	if resp := webtest.Get(s, "/file"); resp.Status != 404 {
		t.Errorf("without a root: %d", resp.Status)
	}
	link(t, "v1", current)
	c.add(time.Second)
	if resp := webtest.Get(s, "/file"); resp.Text() != "one" {
		t.Errorf("the root is back: %d %q", resp.Status, resp.Text())
	}
}

func TestSpecialFiles(t *testing.T) {
	root := tree(t)
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	write(t, root, "indexed/x", "")
	if err := unix.Mkfifo(filepath.Join(root, "indexed/index.html"), 0o666); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(root, "socket")}); err != nil {
		t.Fatal(err)
	}
	targets := []string{"/fifo", "/socket", "/indexed/"}
	if err := unix.Mknod(filepath.Join(root, "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err == nil { // needs root
		targets = append(targets, "/device")
	}
	both(t, root, func(t *testing.T, s *server) {
		for _, target := range targets {
			if resp := webtest.Get(s, target); resp.Status != 403 {
				t.Errorf("%s: %d", target, resp.Status)
			}
		}
		if resp := webtest.Get(s, "/fifo/x"); resp.Status != 404 {
			t.Errorf("/fifo/x: %d", resp.Status)
		}
	})
}

func TestPermission(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil { // is private, and another user comes below
		t.Fatal(err)
	}
	write(t, root, "private", "secret")
	write(t, root, "closed/file", "secret")
	for _, name := range []string{"private", "closed"} {
		if err := os.Chmod(filepath.Join(root, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(root, "closed"), 0o700)
	both(t, root, func(t *testing.T, s *server) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if os.Geteuid() == 0 {
				runtime.LockOSThread() // for ever: the thread, which is nobody's, ends with the goroutine
				if err := unix.Setfsuid(65534); err != nil {
					t.Errorf("setfsuid: %v", err)
					return
				}
			}
			for _, target := range []string{"/private", "/closed/file", "/closed/"} {
				if resp := webtest.Get(s, target); resp.Status != 403 {
					t.Errorf("%s: %d %q", target, resp.Status, resp.Text())
				}
			}
		}()
		<-done
	})
}

func TestStatusOf(t *testing.T) {
	for err, want := range map[error]int{
		unix.EMFILE: 503, unix.ENFILE: 503, unix.ENOMEM: 503, unix.ENOENT: 404, unix.ENOTDIR: 404, unix.ENAMETOOLONG: 404, unix.ELOOP: 404,
		unix.EXDEV: 404, unix.EACCES: 403, unix.EPERM: 403, unix.ENXIO: 403, unix.EIO: 500, errSpecial: 403, errLeft: 503, fs.ErrClosed: 500,
		fmt.Errorf("wrapped: %w", unix.EMFILE): 503, errClaimed: 403, errListed: 404,
	} {
		if got := statusOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// starve runs f in a process without a free descriptor; one that is closed meanwhile is free again.
func starve(t *testing.T, f func()) {
	t.Helper()
	lowest, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(lowest)
	limitFiles(t, uint64(lowest), f)
}

// limitFiles runs f while no descriptor from limit on can be opened.
func limitFiles(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// Without descriptors a request is refused for a moment, and those that the cache holds are given up first.
func TestDescriptorsRunOut(t *testing.T) {
	root := tree(t)
	for i := range 8 {
		write(t, root, fmt.Sprintf("l%d", i), large)
	}
	s, _ := serve(t, root)
	starve(t, func() {
		if resp := webtest.Get(s, "/l0"); resp.Status != 503 || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%d, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
		}
	})
	for i := range 8 {
		if resp := webtest.Get(s, fmt.Sprintf("/l%d", i)); resp.Status != 200 {
			t.Fatalf("%d once there are descriptors again", resp.Status)
		}
	}
	starve(t, func() {
		if resp := webtest.Get(s, "/large.bin"); resp.Status != 200 {
			t.Errorf("%d: the cache has kept its descriptors", resp.Status)
		}
	})
}

func TestSeesChanges(t *testing.T) {
	root := t.TempDir()
	for _, size := range []int{10, 100 << 10} {
		name := "file" + strconv.Itoa(size)
		content := func(c string) string { return strings.Repeat(c, size) }
		changes := map[string]func(){
			"rewritten":  func() { write(t, root, name, content("b")) },
			"longer":     func() { write(t, root, name, content("b")+"b") },
			"replaced":   func() { write(t, root, name+".new", content("b")); rename(t, root, name+".new", name) },
			"same mtime": func() { write(t, root, name, content("b")); touch(t, filepath.Join(root, name), 1000) },
		}
		for what, change := range changes {
			write(t, root, name, content("a"))
			touch(t, filepath.Join(root, name), 1000)
			s, c := serve(t, root)
			first := webtest.Get(s, "/"+name)
			if !strings.HasPrefix(first.Text(), "aaa") || webtest.Get(s, "/"+name).Inline != true {
				t.Fatalf("%s: not cached", what)
			}
			change()
			c.add(time.Second)
			second := webtest.Get(s, "/"+name)
			if !strings.HasPrefix(second.Text(), "bbb") || second.Inline {
				t.Errorf("%s, %d bytes: the old file is served", what, size)
			}
			if first.Header.Get("ETag") == second.Header.Get("ETag") {
				t.Errorf("%s, %d bytes: the entity tag is the same", what, size)
			}
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			c.add(time.Second)
			if resp := webtest.Get(s, "/"+name); resp.Status != 404 {
				t.Errorf("%s, %d bytes: removed, and %d", what, size, resp.Status)
			}
			if s.cache.files != 0 || s.cache.bytes != 0 {
				t.Errorf("the cache holds %d files, %d bytes", s.cache.files, s.cache.bytes)
			}
		}
	}
}

func rename(t testing.TB, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func touch(t testing.TB, path string, seconds int64) {
	t.Helper()
	if err := os.Chtimes(path, time.Time{}, time.Unix(seconds, 0)); err != nil {
		t.Fatal(err)
	}
}

// A file that was just written may be written again without a trace in its stat: it is read anew each time.
func TestRacyFile(t *testing.T) {
	for name, content := range map[string]string{"small": "a", "snapshot": large, "huge": strings.Repeat(large, snapshot/len(large)) + "x"} {
		root := t.TempDir()
		write(t, root, name, content)
		s, c := serve(t, root)
		s.wall = time.Now
		first := webtest.Get(s, "/"+name)
		tag := first.Header.Get("ETag")
		if weak := strings.HasPrefix(tag, "W/"); weak != (name == "huge") || first.Text() != content {
			t.Errorf("%s: ETag %s, %d bytes", name, tag, len(first.Body))
		}
		before, _ := s.cache.peek(name, c.ns.Load())
		if watched := before.plain.file != nil && before.plain.file.watched; !before.racy || watched != (name == "huge") {
			t.Errorf("%s: racy %t, in its own file %t", name, before.racy, watched)
		}
		// The same stat, other content: as if written twice within a tick.
		overwrite(t, filepath.Join(root, name), "b")
		touchAll(t, filepath.Join(root, name), before.id)
		c.add(time.Second)
		second := webtest.Get(s, "/"+name)
		if second.Text()[0] != 'b' || second.Header.Get("ETag") == tag {
			t.Errorf("%s: %.1q has the tag of what was there before", name, second.Text())
		}
		s.wall = func() time.Time { return time.Now().Add(time.Hour) }
		c.add(time.Second)
		webtest.Get(s, "/"+name)
		settledEntry, _ := s.cache.peek(name, c.ns.Load())
		c.add(time.Second)
		again := webtest.Get(s, "/"+name).Header.Get("ETag")
		if e, _ := s.cache.peek(name, c.ns.Load()); e != settledEntry || e.racy {
			t.Errorf("%s: a settled entry was read anew", name)
		}
		if strings.HasPrefix(again, "W/") {
			t.Errorf("%s: ETag %s", name, again)
		}
	}
}

// overwrite changes the first bytes of a file in place.
func overwrite(t testing.TB, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(content), 0)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// touchAll gives a file the modification time that it had.
func touchAll(t testing.TB, path string, id fileID) {
	t.Helper()
	if err := os.Chtimes(path, time.Time{}, time.Unix(0, id.mtime)); err != nil {
		t.Fatal(err)
	}
}

// What is in use is looked at before it must not be trusted any more; what nobody asks for is left alone.
func TestSweep(t *testing.T) {
	root := tree(t)
	s, c := serve(t, root)
	for _, target := range []string{"/a.txt", "/large.bin", "/sub/"} {
		webtest.Get(s, target)
		webtest.Get(s, target) // a use of what is in the cache
	}
	if s.sweep(); !s.cache.awaits() {
		t.Error("nothing will come up")
	}
	c.add(time.Duration(renewAfter))
	if s.sweep(); !s.cache.awaits() {
		t.Error("nothing will come up, though files were used")
	}
	c.add(time.Duration(trustFor) - 1)
	if resp := webtest.Get(s, "/a.txt"); !resp.Inline {
		t.Error("not renewed")
	}
	if resp := webtest.Get(s, "/%61.txt"); !resp.Inline {
		t.Error("another spelling is another entry")
	}
	write(t, root, "a.txt", "another")
	s.sweep() // the others were not used, and are left
	if len(s.cache.entries) != 2 {
		t.Errorf("%d entries: the changed one was to be forgotten", len(s.cache.entries))
	}
	if resp := webtest.Get(s, "/a.txt"); resp.Text() != "another" || resp.Inline {
		t.Errorf("%q", resp.Text())
	}
	c.add(time.Duration(trustFor))
	s.sweep()
	if resp := webtest.Get(s, "/large.bin"); resp.Inline || resp.Text() != large {
		t.Error("answered after it was not to be trusted any more")
	}
	for range 100 {
		c.add(time.Duration(renewAfter))
		if s.sweep(); !s.cache.awaits() {
			break
		}
	}
	if s.sweep(); s.cache.awaits() || s.cache.files != 0 || len(s.cache.entries) != 2 {
		t.Errorf("nobody asks any more, and the sweeper goes on, or the cache holds %d files of %d entries", s.cache.files, len(s.cache.entries))
	}
}

func TestCacheIsBounded(t *testing.T) {
	root := t.TempDir()
	for i := range 40 {
		write(t, root, fmt.Sprintf("s%d", i), strings.Repeat("x", 1000))
		write(t, root, fmt.Sprintf("l%d", i), large)
	}
	for name, b := range map[string]bounds{
		"entries": {entries: 5, bytes: 1 << 20, files: 100},
		"bytes":   {entries: 100, bytes: 10 << 10, files: 100},
		"files":   {entries: 100, bytes: 1 << 20, files: 3},
		"nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := serve(t, root, func(o *options) { o.bounds = b })
			for round := range 3 {
				for i := range 40 {
					if resp := webtest.Get(s, fmt.Sprintf("/s%d", i)); len(resp.Body) != 1000 {
						t.Fatalf("round %d: %d, %d bytes", round, resp.Status, len(resp.Body))
					}
					if resp := webtest.Get(s, fmt.Sprintf("/l%d", i)); resp.Text() != large {
						t.Fatalf("round %d: %d, %d bytes", round, resp.Status, len(resp.Body))
					}
					c := s.cache
					if len(c.entries) > b.entries || c.bytes > b.bytes || c.files > b.files || c.bytes < 0 || c.files < 0 {
						t.Fatalf("%d entries, %d bytes, %d files", len(c.entries), c.bytes, c.files)
					}
				}
			}
			s.cache.shed()
			s.cache.close()
			if len(s.cache.entries) != 0 || s.cache.bytes != 0 || s.cache.files != 0 {
				t.Errorf("after close: %d entries, %d bytes, %d files", len(s.cache.entries), s.cache.bytes, s.cache.files)
			}
		})
	}
}

// The entries used last stay.
func TestCacheKeepsTheHot(t *testing.T) {
	root := t.TempDir()
	for i := range 20 {
		write(t, root, fmt.Sprint(i), "x")
	}
	s, _ := serve(t, root, func(o *options) { o.bounds.entries = 4 })
	webtest.Get(s, "/0")
	for i := 1; i < 20; i++ {
		webtest.Get(s, fmt.Sprintf("/%d", i))
		if !webtest.Get(s, "/0").Inline {
			t.Fatalf("the file that is used all the time was evicted after %d", i)
		}
	}
}

// A response that is being sent keeps its descriptor, whatever the cache does.
func TestDescriptorOutlivesTheCache(t *testing.T) {
	root := tree(t)
	s, _ := serve(t, root)
	webtest.Get(s, "/large.bin")
	var w web.Response
	var r web.Request
	web.Accept(&r, nil)
	web.Begin(&w, nil)
	r.Method, r.RawPath = "GET", "/large.bin"
	if !s.ServeNow(&w, &r) {
		t.Fatal("not cached")
	}
	o := web.OutcomeOf(&w)
	s.cache.close()
	b := make([]byte, len(large))
	if n, err := unix.Pread(int(o.File.Fd()), b, o.Offset); n != len(large) || err != nil || string(b) != large {
		t.Errorf("%d bytes, %v", n, err)
	}
	d := o.File.(*descriptor)
	o.File.Release()
	if d.users.Load() != 0 || d.acquire() {
		t.Errorf("%d users", d.users.Load())
	}
	defer func() {
		if recover() == nil {
			t.Error("one Release too many went unnoticed")
		}
	}()
	d.Release()
}

func TestNoDescriptorLeaks(t *testing.T) {
	root := tree(t)
	link(t, filepath.Join(root, "a.txt"), filepath.Join(root, "absolute"))
	link(t, "../secret", filepath.Join(root, "outside"))
	s, c := serve(t, root, func(o *options) { o.bounds.files = 1 })
	visit := func() {
		for _, byHand := range []bool{false, true} {
			s.root.openat2 = s.root.openat2 && !byHand
			for _, target := range []string{"/", "/a.txt", "/large.bin", "/sub", "/nothing", "/absolute", "/outside", "/sub/x/y", "/bare/"} {
				for _, header := range []string{"", "bytes=1-2", "bytes=999999999-"} {
					webtest.Do(s, webtest.Request{Target: target, Header: map[string]string{"Range": header}})
					webtest.Do(s, webtest.Request{Target: target, Header: map[string]string{"If-None-Match": "*"}})
					webtest.Do(s, webtest.Request{Target: target, Header: map[string]string{"If-Match": `"x"`}})
				}
			}
			c.add(time.Second)
		}
	}
	visit()
	before := openFiles(t)
	for range 20 {
		visit()
	}
	for range 1000 { // closing is another goroutine's
		if openFiles(t) <= before+1 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d descriptors are open, %d were", openFiles(t), before)
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(names)
}

// One worker looks for a file while the others wait for it; each gets it.
func TestSingleFlight(t *testing.T) {
	s, _ := serve(t, tree(t))
	var looks atomic.Int32
	began := make(chan struct{})
	wall := s.wall
	s.wall = func() time.Time { // called once a look
		if looks.Add(1) == 1 {
			<-began
		}
		return wall()
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if i == 7 {
				close(began)
			}
			if resp := webtest.Get(s, "/large.bin"); resp.Text() != large {
				t.Errorf("%d, %d bytes", resp.Status, len(resp.Body))
			}
		})
	}
	all.Wait()
	if n := looks.Load(); n != 1 {
		t.Errorf("%d looks at the disk", n)
	}
}

// Files are replaced all the time: every answer is one version, whole, with its own entity tag.
func TestReplaceWhileRead(t *testing.T) {
	root := t.TempDir()
	version := func(i, size int) string { return strings.Repeat(fmt.Sprintf("%07d.", i%100), size/8) }
	sizes := map[string]int{"small": 4 << 10, "large": 40 << 10}
	for name, size := range sizes {
		write(t, root, name, version(0, size))
	}
	s, _ := serve(t, root)
	start := time.Now()
	s.now = func() int64 { return int64(time.Since(start)) * 1000 } // a second is a millisecond
	s.wall = time.Now
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for name, size := range sizes {
		writers.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				write(t, root, name+".new", version(i, size))
				rename(t, root, name+".new", name)
			}
		})
		for range 3 {
			readers.Go(func() {
				tags := map[string]string{}
				for range 500 {
					resp := webtest.Get(s, "/"+name)
					tag, body := resp.Header.Get("ETag"), resp.Text()
					if resp.Status != 200 || len(body) != size || strings.Count(body, body[:8]) != size/8 {
						t.Errorf("%s: %d, %d bytes, a mix of versions", name, resp.Status, len(body))
						return
					}
					if old, ok := tags[tag]; ok && old != body[:8] {
						t.Errorf("%s: the tag %s is %s's and %s's", name, tag, old, body[:8])
						return
					}
					tags[tag] = body[:8]
				}
			})
		}
	}
	readers.Wait()
	close(stop)
	writers.Wait()
}

func TestModule(t *testing.T) {
	root := tree(t)
	spec := Module{}.Spec()
	b, err := configs.NewBlock(spec, map[string]any{"root": root, "headers": map[string]string{"Cache-Control": "no-store"}})
	if err != nil {
		t.Fatal(err)
	}
	instance, err := Module{}.Open(b, &module.Env{Prefix: "/", Pattern: "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Close()
	resp := webtest.Get(instance.Handler, "/")
	if resp.Status != 200 || resp.Text() != "<p>home" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %q", resp.Status, resp.Text())
	}
	for _, bad := range []string{filepath.Join(root, "nothing"), filepath.Join(root, "a.txt")} {
		b, err := configs.NewBlock(spec, map[string]any{"root": bad})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (Module{}).Open(b, &module.Env{Prefix: "/"}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("root %s: %v", bad, err)
		}
	}
}

func TestSpecRefuses(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"no root":        {},
		"index path":     {"root": "/", "index": []string{"a/b"}},
		"index up":       {"root": "/", "index": []string{".."}},
		"index empty":    {"root": "/", "index": []string{""}},
		"field name":     {"root": "/", "headers": map[string]string{"a b": "c"}},
		"field value":    {"root": "/", "headers": map[string]string{"A": "c\nd"}},
		"server's field": {"root": "/", "headers": map[string]string{"content-length": "1"}},
		"own field":      {"root": "/", "headers": map[string]string{"etag": "1"}},
	} {
		if _, err := configs.NewBlock(Module{}.Spec(), values); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestContentType(t *testing.T) {
	for name, want := range map[string]string{
		"a.html": "text/html; charset=utf-8", "A.HTM": "text/html; charset=utf-8", "x/y.js": "text/javascript; charset=utf-8", "a.mjs": "text/javascript; charset=utf-8",
		"a.css": "text/css; charset=utf-8", "a.json": "application/json", "a.svg": "image/svg+xml; charset=utf-8", "a.wasm": "application/wasm",
		"a.woff2": "font/woff2", "a.tar.gz": "application/gzip", "a.md": "text/markdown; charset=utf-8", "a.webp": "image/webp", "a.mp4": "video/mp4",
		"LICENSE": "text/plain; charset=utf-8", "dir.html/README": "text/plain; charset=utf-8", "dir.html/noext": unknownType, "a.": unknownType,
		"a.unknown": unknownType, "a.pdf": "application/pdf", "a.xml": "application/xml; charset=utf-8", "a.webmanifest": "application/manifest+json",
		"a.ico": "image/x-icon", "a.avif": "image/avif", "a.txt": "text/plain; charset=utf-8",
	} {
		if got := newContentTypes(nil).of(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestServeNowCosts(t *testing.T) {
	root := tree(t)
	s, _ := serve(t, root)
	for _, target := range []string{"/a.txt", "/with%20space%20&%20%C3%BC.css", "/sub/", "/large.bin", "/../x"} {
		webtest.Get(s, target)
		var w web.Response
		r := request(target)
		if n := testing.AllocsPerRun(200, func() { hit(t, s, &w, r) }); n != 0 {
			t.Errorf("%s: %v allocations", target, n)
		}
		web.AddField(r, "If-None-Match", webtest.Get(s, target).Header.Get("ETag"))
		if n := testing.AllocsPerRun(200, func() { hit(t, s, &w, r) }); n != 0 {
			t.Errorf("%s, not modified: %v allocations", target, n)
		}
	}
}

func request(target string) *web.Request {
	r := new(web.Request)
	web.Accept(r, nil)
	r.Method, r.RawPath = "GET", target
	for _, f := range []web.Field{{Name: "Host", Value: "localhost"}, {Name: "User-Agent", Value: "bench"}, {Name: "Accept", Value: "*/*"}, {Name: "Accept-Encoding", Value: "gzip"}} {
		web.AddField(r, f.Name, f.Value)
	}
	return r
}

func hit(t testing.TB, s *server, w *web.Response, r *web.Request) {
	web.Begin(w, nil)
	if !s.ServeNow(w, r) {
		t.Fatal("not answered on the loop")
	}
	if o := web.OutcomeOf(w); o.File != nil {
		o.File.Release()
	}
}

func BenchmarkServeNow(b *testing.B) {
	root := tree(b)
	s, _ := serve(b, root)
	at := s.now()
	start := time.Now()
	s.now = func() int64 { return at + int64(time.Since(start))&1 } // costs what a clock costs, and stands still
	for _, bench := range []struct{ name, target, field, value string }{
		{"small", "/a.txt", "", ""},
		{"escaped", "/with%20space%20&%20%C3%BC.css", "", ""},
		{"large", "/large.bin", "", ""},
		{"not modified", "/a.txt", "If-None-Match", "tag"},
		{"not found", "/../x", "", ""},
	} {
		b.Run(bench.name, func(b *testing.B) {
			tag := webtest.Get(s, bench.target).Header.Get("ETag")
			r := request(bench.target)
			if bench.field != "" {
				web.AddField(r, bench.field, tag)
			}
			var w web.Response
			b.ReportAllocs()
			for b.Loop() {
				hit(b, s, &w, r)
			}
		})
	}
}

// What the cache has dropped takes no memory while its time to be looked at has not come.
func TestDroppedEntriesAreFree(t *testing.T) {
	root := t.TempDir()
	for i := range 20 {
		write(t, root, fmt.Sprint(i), strings.Repeat("x", 10<<10))
	}
	s, c := serve(t, root, func(o *options) { o.bounds.entries = 4 })
	for i := range 20 {
		webtest.Get(s, fmt.Sprintf("/%d", i))
	}
	held := 0
	for _, a := range s.cache.due {
		if a.e != nil {
			held++
		}
	}
	if held != len(s.cache.entries) || held != 4 {
		t.Errorf("%d entries wait for a look, %d are in the cache", held, len(s.cache.entries))
	}
	c.add(time.Duration(renewAfter))
	s.sweep()
	if len(s.cache.due) > 4 {
		t.Errorf("%d appointments after a sweep", len(s.cache.due))
	}
}

// An entry that comes while the sweeper is about to rest keeps it from resting.
func TestSweeperGoesOn(t *testing.T) {
	s, _ := serve(t, tree(t))
	w := &s.sweeper
	w.closed, w.running, w.timer = false, true, time.AfterFunc(time.Hour, func() {})
	w.mu.Lock()
	ticked := make(chan struct{})
	go func() { // finds nothing, and waits for the lock to say so
		s.tick()
		close(ticked)
	}()
	e := &entry{key: "x", name: "x", checked: s.now()}
	e.plain = *newForm(200, 0, web.Representation{}, []byte("x"), nil, "", nil)
	s.cache.put(e)
	w.mu.Unlock()
	<-ticked
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		t.Error("the sweeper rests, and an entry waits for it")
	}
	w.timer.Stop()
}

// A sweep without descriptors knows nothing: what is in memory still answers until its time has run out.
func TestSweepWithoutDescriptors(t *testing.T) {
	s, c := serve(t, tree(t))
	webtest.Get(s, "/a.txt")
	webtest.Get(s, "/a.txt")
	c.add(time.Duration(renewAfter))
	dir, err := s.root.acquire(s.now()) // or it would need one too
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Release()
	limitFiles(t, 0, func() { s.sweep() })
	if resp := webtest.Get(s, "/a.txt"); !resp.Inline {
		t.Error("forgotten for want of a descriptor")
	}
	c.add(time.Duration(trustFor - renewAfter))
	if resp := webtest.Get(s, "/a.txt"); resp.Inline || resp.Text() != "hello" {
		t.Error("trusted for too long")
	}
}

// Snapshots are bounded, those that clients still get included; beyond that a young file has a weak tag.
func TestSnapshotsAreBounded(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.bin", large)
	s, c := serve(t, root)
	s.wall = time.Now
	s.young.limit = 2 * int64(len(large))
	var held []*entry
	for i := range 4 {
		overwrite(t, filepath.Join(root, "a.bin"), fmt.Sprint(i))
		e, err := s.find("a.bin")
		if err != nil {
			t.Fatal(err)
		}
		if strong := e.plain.content.ETag[0] == '"'; strong != (i < 2) {
			t.Errorf("version %d: ETag %s", i, e.plain.content.ETag)
		}
		held = append(held, e)
		c.add(time.Second)
	}
	for _, e := range held {
		e.release()
	}
	s.cache.close()
	for began := time.Now(); s.young.held.Load() != 0 && time.Since(began) < 10*time.Second; {
		runtime.Gosched()
	}
	if n := s.young.held.Load(); n != 0 {
		t.Errorf("%d bytes of snapshots are nobody's", n)
	}
}

// A file of the future is at rest when nothing has changed it for two seconds, and is not newer than now.
func TestFileOfTheFuture(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.bin", large)
	touch(t, filepath.Join(root, "a.bin"), time.Now().Add(1000*time.Hour).Unix())
	s, c := serve(t, root)
	first := webtest.Get(s, "/a.bin")
	c.add(time.Second)
	second := webtest.Get(s, "/a.bin")
	if tag := first.Header.Get("ETag"); tag[0] != '"' || tag != second.Header.Get("ETag") || first.Header.Get("Last-Modified") != second.Header.Get("Last-Modified") {
		t.Errorf("%v, then %v", first.Header, second.Header)
	}
	if modified, err := time.Parse(time.RFC1123, first.Header.Get("Last-Modified")); err != nil || modified.After(time.Now()) {
		t.Errorf("Last-Modified %s", modified)
	}
	if e, _ := s.cache.peek("a.bin", c.ns.Load()); e == nil || e.racy {
		t.Error("it never comes to rest")
	}
}

// So is a precompressed sibling of the future: what it stands beside is not looked for anew for ever.
func TestSiblingOfTheFuture(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.css", "plain")
	write(t, root, "a.css.gz", "gzipped")
	touch(t, filepath.Join(root, "a.css.gz"), time.Now().Add(1000*time.Hour).Unix())
	s, c := serve(t, root, func(o *options) { o.precompressed = []coding.Coding{coding.Gzip} })
	gzip := webtest.Request{Target: "/a.css", Header: map[string]string{"Accept-Encoding": "gzip"}}
	twice(t, s, gzip)
	if e, _ := s.cache.peek("a.css", c.ns.Load()); e == nil || e.racy {
		t.Error("it never comes to rest")
	}
	c.add(time.Duration(renewAfter))
	s.sweep()
	c.add(time.Duration(trustFor) - 1)
	if resp := webtest.Do(s, gzip); !resp.Inline || resp.Text() != "gzipped" {
		t.Errorf("from the cache: %t, %q", resp.Inline, resp.Text())
	}
}
