package static

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

// writable opens a server that everybody may write to. At the end of the test nothing must be left of an upload.
func writable(t testing.TB, root string, change ...func(o *options)) *server {
	t.Helper()
	s, _ := serve(t, root, append([]func(o *options){func(o *options) {
		o.write = &writeOptions{maxBytes: 1 << 20, uploads: 100, delete: true, mode: 0o644}
		o.access = []accessOption{{name: "all", paths: []string{"**"}, allow: "all"}}
	}}, change...)...)
	t.Cleanup(func() { noTemporary(t, root) })
	return s
}

// ways runs a test with files without a name, and with names as on file systems that have no such files, flushed or not.
func ways(t *testing.T, test func(t *testing.T, s func(root string, change ...func(o *options)) *server)) {
	for _, way := range []struct{ named, fsync bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("named=%t,fsync=%t", way.named, way.fsync), func(t *testing.T) {
			before := openFiles(t)
			t.Cleanup(func() { noDescriptors(t, before) })
			test(t, func(root string, change ...func(o *options)) *server {
				s := writable(t, root, append(change, func(o *options) { o.write.fsync = way.fsync })...)
				s.writer.tmpfile = s.writer.tmpfile && !way.named
				return s
			})
		})
	}
}

func noDescriptors(t *testing.T, before int) {
	t.Helper()
	for range 1000 { // closing is another goroutine's
		if openFiles(t) <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d descriptors are open, %d were", openFiles(t), before)
}

// temporaryFiles are the names that uploads have left.
func temporaryFiles(t testing.TB, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(entry.Name(), temporary) && entry.Name() != lockName {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return names
}

func noTemporary(t testing.TB, root string) {
	t.Helper()
	if names := temporaryFiles(t, root); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func put(s *server, target, body string, fields ...web.Field) *webtest.Response {
	return webtest.Do(s, webtest.Request{Method: "PUT", Target: target, Body: body, Fields: fields})
}

func remove(s *server, target string, fields ...web.Field) *webtest.Response {
	return webtest.Do(s, webtest.Request{Method: "DELETE", Target: target, Fields: fields})
}

// holds tells what a file has, "-" when it is not there.
func holds(t testing.TB, root, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// unread is a body that nobody may ask for.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was asked for")
	return 0, io.EOF
}

func TestPut(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		s := open(root)
		for _, test := range []struct {
			target, name, body string
			status             int
		}{
			{"/new.txt", "new.txt", "one", 201},
			{"/new.txt", "new.txt", "two", 204},
			{"/a.txt", "a.txt", "", 204},
			{"/sub/x%20y.txt", "sub/x y.txt", "three", 201},
			{"/.well-known/token", ".well-known/token", "four", 201},
			{"/small", "small", strings.Repeat("s", smallFile), 201},
			{"/large.bin", "large.bin", strings.Repeat("l", 3*pieceSize+1), 204},
			{"/larger.bin", "larger.bin", strings.Repeat("m", 1<<20), 201},
		} {
			before := webtest.Get(s, test.target)
			for _, stream := range []bool{false, true} { // in memory; as it comes, of unknown length
				q := webtest.Request{Method: "PUT", Target: test.target, Body: test.body}
				if stream {
					half := len(test.body) / 2
					q.Body, q.Stream = test.body[:half], iotest.HalfReader(strings.NewReader(test.body[half:]))
				}
				resp := webtest.Do(s, q)
				if stream {
					test.status = 204
				}
				if resp.Status != test.status || len(resp.Body) > 0 {
					t.Fatalf("PUT %s: %d %q, want %d", test.target, resp.Status, resp.Text(), test.status)
				}
				if got := holds(t, root, test.name); got != test.body {
					t.Errorf("%s: %d bytes, want %d", test.name, len(got), len(test.body))
				}
				info, err := os.Stat(filepath.Join(root, test.name))
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != 0o644 {
					t.Errorf("%s: %v", test.name, info.Mode())
				}
				after := webtest.Get(s, test.target)
				if after.Status != 200 || after.Text() != test.body {
					t.Errorf("GET %s: %d, %d bytes after a PUT of %d", test.target, after.Status, len(after.Body), len(test.body))
				}
				if tag := after.Header.Get("ETag"); tag == "" || tag != resp.Header.Get("ETag") || tag == before.Header.Get("ETag") {
					t.Errorf("%s: ETag %s of PUT, %s of GET, %s before", test.target, resp.Header.Get("ETag"), tag, before.Header.Get("ETag"))
				}
				if date := after.Header.Get("Last-Modified"); date == "" || date != resp.Header.Get("Last-Modified") {
					t.Errorf("%s: Last-Modified %s of PUT, %s of GET", test.target, resp.Header.Get("Last-Modified"), date)
				}
				noTemporary(t, root)
			}
		}
	})
}

// What cannot be stored is refused before the body is asked for.
func TestPutRefuses(t *testing.T) {
	root := tree(t)
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	link(t, "sub", filepath.Join(root, "to-sub"))
	link(t, "fifo", filepath.Join(root, "to-fifo"))
	link(t, "..", filepath.Join(root, "out"))
	link(t, "nowhere", filepath.Join(root, "lost"))
	claims, release := claimed(t, root, "data.db")
	defer release()
	link(t, "data.db", filepath.Join(root, "to-data"))
	write(t, root, "data.db-wal", "wal")

	tests := []struct {
		target string
		fields string // name: value, separated by '|'
		length int64  // 0: unknown
		status int
	}{
		{"/", "", 0, 405},
		{"/sub/", "", 0, 405},
		{"/new/", "", 0, 405},
		{"/sub", "", 0, 409},
		{"/to-sub", "", 0, 409},
		{"/nothing/file", "", 0, 409},
		{"/a.txt/file", "", 0, 409},
		{"/out/file", "", 0, 409},
		{"/lost/file", "", 0, 409},
		{"/fifo", "", 0, 403},
		{"/to-fifo", "", 0, 403},
		{"/data.db", "", 0, 403},
		{"/to-data", "", 0, 403},
		{"/data.db-wal", "", 0, 403},
		{"/data.db-shm", "", 0, 403},
		{"/data.db-journal", "", 0, 403},
		{"/.hidden", "", 0, 404},
		{"/" + temporary + "x", "", 0, 404},
		{"/../a.txt", "", 0, 404},
		{"/" + strings.Repeat("n", 256), "", 0, 400},
		{"/a.txt", "Content-Range: bytes 0-1/5", 0, 400},
		{"/a.txt", "Content-Encoding: gzip", 0, 415},
		{"/a.txt", "Content-Encoding: identity, br", 0, 415},
		{"/a.txt", "Content-Encoding: identity|Content-Encoding: gzip", 0, 415},
		{"/a.txt", "", 1<<20 + 1, 413},
		{"/a.txt", `If-Match: "x"`, 0, 412},
		{"/a.txt", `If-None-Match: *`, 0, 412},
		{"/new", `If-Match: *`, 0, 412},
		{"/sub", `If-Match: "x"`, 0, 409}, // it would be refused anyway (RFC 9110, 13.2.1)
	}
	for _, createDirectories := range []bool{false, true} {
		for _, byHand := range []bool{false, true} {
			s := writable(t, root, func(o *options) { o.claims, o.write.createDirectories = claims, createDirectories })
			s.root.openat2 = s.root.openat2 && !byHand
			for _, test := range tests {
				if createDirectories && strings.HasSuffix(test.target, "/file") && test.target != "/a.txt/file" && test.target != "/out/file" {
					continue // another test
				}
				q := webtest.Request{Method: "PUT", Target: test.target, Stream: unread{t}, Length: test.length}
				for line := range strings.SplitSeq(test.fields, "|") {
					if name, value, ok := strings.Cut(line, ": "); ok {
						q.Fields = append(q.Fields, web.Field{Name: name, Value: value})
					}
				}
				before := openFiles(t)
				resp := webtest.Do(s, q)
				if resp.Status != test.status {
					t.Errorf("PUT %s %s: %d %q, want %d", test.target, test.fields, resp.Status, resp.Text(), test.status)
				}
				switch resp.Status {
				case 405:
					if allow := resp.Header.Values("Allow"); len(allow) != 1 || allow[0] != "GET, HEAD, OPTIONS" {
						t.Errorf("PUT %s: Allow %q", test.target, allow)
					}
				case 415:
					if got := resp.Header.Get("Accept-Encoding"); got != "identity" {
						t.Errorf("Accept-Encoding %q", got)
					}
				}
				noDescriptors(t, before)
			}
		}
	}
	if got := holds(t, root, "a.txt") + holds(t, root, "data.db") + holds(t, root, "data.db-wal") + holds(t, root, "data.db-shm"); got != "hellodbwal-" {
		t.Errorf("something has changed: %q", got)
	}
}

// claimed makes a file and claims it.
func claimed(t *testing.T, root, name string) (*module.Claims, func()) {
	t.Helper()
	write(t, root, name, "db")
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, name), &st); err != nil {
		t.Fatal(err)
	}
	claims := new(module.Claims)
	return claims, claims.Claim(st.Dev, st.Ino)
}

func TestPutAccepts(t *testing.T) {
	root := tree(t)
	link(t, "sub", filepath.Join(root, "to-sub"))
	link(t, filepath.Join(root, "a.txt"), filepath.Join(root, "to-a"))
	link(t, "../secret", filepath.Join(root, "to-secret"))
	link(t, "nowhere", filepath.Join(root, "lost"))
	s := writable(t, root)
	tests := []struct {
		target, field string
		status        int
	}{
		{"/a.txt", "Content-Encoding: identity", 204},
		{"/a.txt", "Content-Type: image/png", 204},
		{"/to-sub/file", "", 201},
		{"/to-a", "", 204},
		{"/to-secret", "", 201}, // GET saw nothing there
		{"/lost", "If-None-Match: *", 201},
		{"/a.txt", "If-Match: *", 204},
		{"/a.txt", "If-Modified-Since: Mon, 06 May 2024 07:08:09 GMT", 204}, // for GET and HEAD (RFC 9110, 13.1.3)
	}
	for _, test := range tests {
		var fields []web.Field
		if name, value, ok := strings.Cut(test.field, ": "); ok {
			fields = append(fields, web.Field{Name: name, Value: value})
		}
		body := "body of " + test.target + test.field
		if resp := put(s, test.target, body, fields...); resp.Status != test.status {
			t.Errorf("PUT %s %s: %d %q, want %d", test.target, test.field, resp.Status, resp.Text(), test.status)
		}
		if resp := webtest.Get(s, test.target); resp.Text() != body {
			t.Errorf("GET %s: %q", test.target, resp.Text())
		}
	}
	for _, name := range []string{"to-a", "to-secret", "lost"} { // the link is replaced, not followed
		if info, err := os.Lstat(filepath.Join(root, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if got := holds(t, root, "../secret") + holds(t, root, "sub/file") + holds(t, root, "nowhere"); got != "secretbody of /to-sub/file-" {
		t.Errorf("%q", got)
	}
}

func TestPutThroughSymlinks(t *testing.T) {
	for links, want := range map[string][2]int{linksBeneath: {201, 409}, linksFollow: {201, 201}, linksRefuse: {409, 409}} {
		root := tree(t)
		link(t, "sub", filepath.Join(root, "inside"))
		link(t, "../beside", filepath.Join(root, "outside"))
		write(t, root, "../beside/x", "")
		s := writable(t, root, func(o *options) { o.symlinks = links })
		for i, target := range []string{"/inside/file", "/outside/file"} {
			if resp := put(s, target, "x"); resp.Status != want[i] {
				t.Errorf("%s: PUT %s: %d, want %d", links, target, resp.Status, want[i])
			}
		}
	}
}

func TestDelete(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		link(t, filepath.Join(root, "a.txt"), filepath.Join(root, "to-a"))
		link(t, "nowhere", filepath.Join(root, "lost"))
		if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
			t.Fatal(err)
		}
		claims, release := claimed(t, root, "data.db")
		defer release()
		s := open(root, func(o *options) { o.claims, o.write.createDirectories = claims, true })
		tag := webtest.Get(s, "/a.txt").Header.Get("ETag")
		for _, test := range []struct {
			target, name, value string
			status              int
		}{
			{"/", "", "", 405},
			{"/sub/", "", "", 405},
			{"/sub", "", "", 409},
			{"/nothing", "", "", 404},
			{"/nothing", "If-Match", "*", 404},
			{"/nothing/file", "", "", 404},
			{"/nothing/further/file", "", "", 404},
			{"/a.txt/file", "", "", 404},
			{"/lost", "", "", 404},
			{"/fifo", "", "", 403},
			{"/data.db", "", "", 403},
			{"/data.db-wal", "", "", 403},
			{"/a.txt", "If-Match", `"x"`, 412},
			{"/a.txt", "If-None-Match", tag, 412},
			{"/a.txt", "If-Unmodified-Since", "Mon, 06 May 2024 07:08:09 GMT", 412},
			{"/to-a", "", "", 204},
			{"/a.txt", "If-Match", tag, 204},
			{"/a.txt", "", "", 404},
			{"/large.bin", "", "", 204},
			{"/sub/index.html", "", "", 204},
		} {
			var fields []web.Field
			if test.name != "" {
				fields = append(fields, web.Field{Name: test.name, Value: test.value})
			}
			if resp := remove(s, test.target, fields...); resp.Status != test.status || resp.Status == 204 && len(resp.Body) > 0 {
				t.Errorf("DELETE %s %s: %d %q, want %d", test.target, test.name, resp.Status, resp.Text(), test.status)
			}
			if test.status == 204 {
				if resp := webtest.Get(s, test.target); resp.Status != 404 {
					t.Errorf("GET %s: %d after DELETE", test.target, resp.Status)
				}
			}
		}
		if holds(t, root, "nothing") != "-" {
			t.Error("DELETE has made a directory")
		}
	})
}

func TestDeleteIsOff(t *testing.T) {
	root := tree(t)
	s := writable(t, root, func(o *options) { o.write.delete = false })
	resp := remove(s, "/a.txt")
	if resp.Status != 405 || resp.Header.Get("Allow") != "GET, HEAD, PUT, OPTIONS" || holds(t, root, "a.txt") != "hello" {
		t.Errorf("%d, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
	if resp := webtest.Do(s, webtest.Request{Method: "OPTIONS", Target: "/a.txt"}); resp.Header.Get("Allow") != "GET, HEAD, PUT, OPTIONS" {
		t.Errorf("OPTIONS: %q", resp.Header.Get("Allow"))
	}
}

// Without a rule that lets it through nothing is written.
func TestPutNeedsARule(t *testing.T) {
	root := tree(t)
	s := writable(t, root, func(o *options) {
		o.access = []accessOption{{name: "sub", paths: []string{"/sub/**"}, methods: []string{"PUT"}, allow: "all"}}
	})
	for target, want := range map[string]int{"/a.txt": 403, "/new": 403, "/sub/new": 201} {
		if resp := put(s, target, "x"); resp.Status != want {
			t.Errorf("PUT %s: %d, want %d", target, resp.Status, want)
		}
	}
	if resp := remove(s, "/sub/new"); resp.Status != 403 {
		t.Errorf("DELETE: %d", resp.Status)
	}
}

// A large file that is young has a tag of its content for GET, and the one that it will have later, which PUT tells: both are good for conditions.
func TestTagsOfALargeFile(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		s := open(root, func(o *options) { o.write.maxBytes = 2 * snapshot })
		settledWall := s.wall
		young := func() { s.wall = time.Now }
		young()
		for _, size := range []int{smallFile + 1, snapshot/8 + 1} {
			body := strings.Repeat("b", size)
			told := put(s, "/f", body).Header.Get("ETag")
			now := webtest.Get(s, "/f").Header.Get("ETag")
			if told == "" || told[0] != '"' {
				t.Fatalf("PUT tells %q", told)
			}
			for _, tag := range []string{told, now} {
				if resp := put(s, "/f", body, web.Field{Name: "If-None-Match", Value: tag}); resp.Status != 412 {
					t.Errorf("If-None-Match %s: %d", tag, resp.Status)
				}
			}
			if resp := put(s, "/f", body, web.Field{Name: "If-Match", Value: `"x", ` + told}); resp.Status != 204 {
				t.Errorf("If-Match with the tag of PUT: %d", resp.Status)
			}
			if resp := put(s, "/f", body, web.Field{Name: "If-Match", Value: told}); resp.Status != 412 {
				t.Errorf("If-Match with the tag of the version before: %d", resp.Status)
			}
			now = webtest.Get(s, "/f").Header.Get("ETag")
			if resp := put(s, "/f", body+"!", web.Field{Name: "If-Match", Value: now}); resp.Status != 204 {
				t.Errorf("If-Match with the tag of GET: %d", resp.Status)
			}
			told = put(s, "/f", body).Header.Get("ETag")
			s.cache.remove("f")
			s.wall = settledWall
			if got := webtest.Get(s, "/f").Header.Get("ETag"); got != told {
				t.Errorf("%s later, %s was told", got, told)
			}
			young()
			remove(s, "/f")
		}
		// One that is too large to be read whole has only the tag of PUT.
		body := strings.Repeat("b", snapshot+1)
		told := put(s, "/f", body).Header.Get("ETag")
		if now := webtest.Get(s, "/f").Header.Get("ETag"); !strings.HasPrefix(now, "W/") {
			t.Errorf("GET tells %s", now)
		}
		for _, want := range []int{204, 412} {
			if resp := put(s, "/f", body, web.Field{Name: "If-Match", Value: told}); resp.Status != want {
				t.Errorf("If-Match with the tag of PUT: %d, want %d", resp.Status, want)
			}
		}
	})
}

// Of many who replace the same version one wins, whichever child they come to.
func TestOneWins(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		var servers []*server
		for range 4 {
			servers = append(servers, open(root))
		}
		for _, size := range []int{10, smallFile + 10} {
			for _, condition := range []string{"If-Match", "If-None-Match"} {
				value, want := "*", 201
				remove(servers[0], "/f")
				if condition == "If-Match" {
					value, want = put(servers[0], "/f", strings.Repeat("-", size)).Header.Get("ETag"), 204
				}
				var won, lost atomic.Int32
				var winner atomic.Value
				var all sync.WaitGroup
				start := make(chan struct{})
				for i := range 32 {
					all.Go(func() {
						body := fmt.Sprintf("%02d", i) + strings.Repeat("x", size-2)
						<-start
						resp := put(servers[i%len(servers)], "/f", body, web.Field{Name: condition, Value: value})
						switch resp.Status {
						case want:
							won.Add(1)
							winner.Store(body)
						case 412:
							lost.Add(1)
						default:
							t.Errorf("%s: %d %q", condition, resp.Status, resp.Text())
						}
					})
				}
				close(start)
				all.Wait()
				if won.Load() != 1 || lost.Load() != 31 {
					t.Fatalf("%s: %d have won, %d have lost", condition, won.Load(), lost.Load())
				}
				if holds(t, root, "f") != winner.Load() {
					t.Errorf("%s: the file is not the winner's", condition)
				}
			}
		}
	})
}

// The conditions hold when the file gets its name, not only when the body begins.
func TestConditionsHoldAtTheEnd(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		s, other := open(root), open(root)
		tag := webtest.Get(s, "/a.txt").Header.Get("ETag")
		for _, test := range []struct{ target, name, value string }{{"/a.txt", "If-Match", tag}, {"/new", "If-None-Match", "*"}} {
			late := readerFunc(func([]byte) (int, error) {
				put(other, test.target, "other")
				return 0, io.EOF
			})
			resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: test.target, Body: "mine", Stream: late,
				Fields: []web.Field{{Name: test.name, Value: test.value}}})
			if resp.Status != 412 || holds(t, root, test.target) != "other" {
				t.Errorf("%s: %d, %q", test.name, resp.Status, holds(t, root, test.target))
			}
		}
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// unnamed reports whether the file system of root has files without a name.
func unnamed(root string) bool {
	fd, err := unix.Open(root, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// A body that does not come whole changes nothing, and leaves nothing behind.
func TestBrokenUpload(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		s := open(root, func(o *options) { o.write.maxBytes = 100_000; o.write.createDirectories = true })
		part := strings.Repeat("p", 70_000)
		broken := errors.New("connection reset")
		for name, test := range map[string]struct {
			stream io.Reader // nil: rest
			rest   string
			length int64
			status int
		}{
			"the client leaves":   {iotest.ErrReader(broken), "", 0, 400},
			"an errno":            {iotest.ErrReader(unix.ENOSPC), "", 0, 400}, // of the connection: not the disk's
			"too late":            {iotest.ErrReader(os.ErrDeadlineExceeded), "", 0, 400},
			"the server's limit":  {iotest.ErrReader(web.ErrBodyTooLarge), "", 0, 413},
			"too large":           {nil, part, 0, 413},
			"one byte too large":  {nil, part[:30_001], 0, 413},
			"shorter than it was": {nil, part[:10], 80_000, 400},
		} {
			for _, target := range []string{"/a.txt", "/new", "/d/e/new"} {
				seen := 0
				look := readerFunc(func([]byte) (int, error) {
					seen = len(temporaryFiles(t, root))
					return 0, io.EOF
				})
				stream := test.stream
				if stream == nil {
					stream = strings.NewReader(test.rest)
				}
				resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: target, Body: part, Stream: io.MultiReader(look, stream), Length: test.length})
				if resp.Status != test.status {
					t.Errorf("%s: %d %q, want %d", name, resp.Status, resp.Text(), test.status)
				}
				if named := !s.writer.tmpfile || !unnamed(root); seen > 0 != named {
					t.Errorf("%d names during the upload", seen)
				}
				noTemporary(t, root)
				if got := holds(t, root, "a.txt") + holds(t, root, "new") + holds(t, root, "d"); got != "hello--" {
					t.Errorf("%s: %q is there", name, got)
				}
			}
		}
		if resp := put(s, "/new", part+part[:30_000]); resp.Status != 201 {
			t.Errorf("exactly the limit: %d", resp.Status)
		}
	})
}

// A request that was given up, by the client or by the server after handler_timeout, changes nothing even if its body is whole.
func TestGivenUpUpload(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		s := open(root)
		ctx, cancel := context.WithCancel(context.Background())
		leave := readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, io.EOF
		})
		if resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/a.txt", Body: "x", Stream: leave, Context: ctx}); resp.Status != 503 {
			t.Errorf("PUT: %d", resp.Status)
		}
		if resp := webtest.Do(s, webtest.Request{Method: "DELETE", Target: "/a.txt", Context: ctx}); resp.Status != 503 {
			t.Errorf("DELETE: %d", resp.Status)
		}
		if holds(t, root, "a.txt") != "hello" {
			t.Error("it was changed")
		}
	})
}

// Who holds the lock of a directory holds up changes in it, but not uploads, other directories, and not for ever.
func TestLock(t *testing.T) {
	for _, lockFile := range []bool{false, true} {
		root := tree(t)
		s, other := writable(t, root), writable(t, root)
		before := openFiles(t)
		for _, w := range []*writer{s.writer, other.writer} {
			w.patience = 20 * time.Millisecond
			if lockFile { // as on NFS
				w.flock = func(fd, how int) error {
					var st unix.Stat_t
					if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
						return unix.EBADF
					}
					return unix.Flock(fd, how)
				}
			}
		}
		p, err := other.place("a.txt")
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := other.writer.lock(context.Background(), p.fd)
		if err != nil {
			t.Fatal(err)
		}
		read := false
		body := readerFunc(func([]byte) (int, error) {
			read = true
			return 0, io.EOF
		})
		for _, method := range []string{"PUT", "DELETE"} {
			for _, by := range []*server{s, other} { // of another process, of this one
				resp := webtest.Do(by, webtest.Request{Method: method, Target: "/a.txt", Stream: body})
				if resp.Status != 503 || resp.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %d", method, resp.Status)
				}
			}
		}
		if !read {
			t.Error("the body was not taken")
		}
		if resp := put(s, "/sub/new", "x"); resp.Status != 201 {
			t.Errorf("in another directory: %d", resp.Status)
		}
		noTemporary(t, root)
		unlock()
		p.close()
		if resp := put(s, "/a.txt", "x"); resp.Status != 204 {
			t.Errorf("once it is free: %d", resp.Status)
		}
		if got := holds(t, root, lockName) != "-"; got != lockFile {
			t.Errorf("lock file: %t, want %t", got, lockFile)
		}
		if resp := webtest.Get(writable(t, root, func(o *options) { o.hidden = true }), "/"+lockName); resp.Status != 404 {
			t.Errorf("the lock file can be had: %d", resp.Status)
		}
		if resp := put(writable(t, root, func(o *options) { o.hidden = true }), "/"+lockName, "x"); resp.Status != 404 {
			t.Errorf("the lock file can be written: %d", resp.Status)
		}
		noDescriptors(t, before+2) // the roots of the servers with hidden
	}
}

// A lock ends with who waits for the one who has it.
func TestLockOfTheGone(t *testing.T) {
	root := tree(t)
	s := writable(t, root)
	p, err := s.place("a.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	unlock, err := s.writer.lock(context.Background(), p.fd)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.writer.lock(ctx, p.fd); !errors.Is(err, errLocked) {
		t.Errorf("%v", err)
	}
	unlock()
	s.writer.flock = func(int, int) error { return unix.EIO }
	if resp := put(s, "/a.txt", "x"); resp.Status != 500 {
		t.Errorf("%d", resp.Status)
	}
	s.writer.flock = unix.Flock
	if resp := put(s, "/a.txt", "x"); resp.Status != 204 {
		t.Errorf("%d", resp.Status)
	}
}

func TestCreateDirectories(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		link(t, "sub", filepath.Join(root, "to-sub"))
		link(t, "nowhere", filepath.Join(root, "lost"))
		if err := os.Mkdir(filepath.Join(root, "group"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(root, "group"), 0o755|fs.ModeSetgid); err != nil {
			t.Fatal(err)
		}
		s := open(root, func(o *options) { o.write.createDirectories, o.write.mode = true, 0o640 })
		for target, want := range map[string]int{
			"/new/file": 201, "/x/y/z/file": 201, "/x/y/w/file": 201, "/sub/deep/file": 201, "/to-sub/deeper/file": 201, "/group/d/file": 201,
			"/lost/file": 409, "/a.txt/d/file": 409, "/n/" + strings.Repeat("n", 256) + "/file": 400,
		} {
			resp := put(s, target, "body")
			if resp.Status != want {
				t.Errorf("PUT %s: %d %q, want %d", target, resp.Status, resp.Text(), want)
			}
			if want == 201 && holds(t, root, target) != "body" {
				t.Errorf("%s is not there", target)
			}
		}
		for name, want := range map[string]fs.FileMode{"new": 0o750, "x": 0o750, "x/y/z": 0o750, "group/d": 0o750 | fs.ModeSetgid, "x/y/z/file": 0o640} {
			info, err := os.Stat(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode() &^ fs.ModeDir; got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		if _, err := os.Lstat(filepath.Join(root, "n")); err == nil {
			t.Error("directories of a file that could not be stored are left")
		}
		s.writer.flock = func(int, int) error { return unix.EWOULDBLOCK }
		s.writer.patience = time.Millisecond
		if resp := put(s, "/p/q/file", "body"); resp.Status != 503 {
			t.Errorf("%d", resp.Status)
		}
		if _, err := os.Lstat(filepath.Join(root, "p")); err == nil {
			t.Error("directories of a file that could not be stored are left")
		}
	})
}

// Many who make the same directories do not get into each other's way.
func TestCreateDirectoriesTogether(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := t.TempDir()
		servers := []*server{}
		for range 3 {
			servers = append(servers, open(root, func(o *options) { o.write.createDirectories = true }))
		}
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				target := fmt.Sprintf("/a/b/c%d/file%d", i%2, i)
				if resp := put(servers[i%3], target, target); resp.Status != 201 {
					t.Errorf("%s: %d", target, resp.Status)
				}
			})
		}
		all.Wait()
		for i := range 24 {
			if target := fmt.Sprintf("/a/b/c%d/file%d", i%2, i); holds(t, root, target) != target {
				t.Errorf("%s is missing", target)
			}
		}
	})
}

// The directory may be replaced by another while a body comes in: what counts is the one that has the name in the end.
func TestDirectoryMoves(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := tree(t)
		s := open(root)
		turn := func(f func()) io.Reader {
			return readerFunc(func([]byte) (int, error) {
				f()
				return 0, io.EOF
			})
		}
		resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/bare/new", Body: "x", Stream: turn(func() {
			rename(t, root, "bare", "old")
			if err := os.Mkdir(filepath.Join(root, "bare"), 0o755); err != nil {
				t.Fatal(err)
			}
		})})
		if resp.Status != 201 || holds(t, root, "bare/new") != "x" || holds(t, root, "old/new") != "-" {
			t.Errorf("replaced: %d %q %q", resp.Status, holds(t, root, "bare/new"), holds(t, root, "old/new"))
		}
		resp = webtest.Do(s, webtest.Request{Method: "PUT", Target: "/bare/other", Body: "x", Stream: turn(func() {
			if err := os.RemoveAll(filepath.Join(root, "bare")); err != nil {
				t.Fatal(err)
			}
		})})
		if resp.Status != 409 {
			t.Errorf("removed: %d", resp.Status)
		}
	})
}

// mount makes a small file system, or skips the test.
func mount(t *testing.T, options string) (root string) {
	t.Helper()
	root = t.TempDir()
	if err := unix.Mount("none", root, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { // after that of the server
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return root
}

// A full disk is 507, and what was there stays.
func TestNoSpace(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := mount(t, "size=64k")
		write(t, root, "a.txt", "hello")
		s := open(root)
		logged := 0
		s.log = func(level module.Level, message string, _ ...module.Field) {
			if logged++; level != module.Warn {
				t.Errorf("level %d: %s", level, message)
			}
		}
		announced := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/a.txt", Stream: unread{t}, Length: 100_000})
		if announced.Status != 507 {
			t.Errorf("announced: %d", announced.Status)
		}
		for range 3 {
			resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/a.txt", Stream: strings.NewReader(strings.Repeat("f", 100_000))})
			if resp.Status != 507 || resp.Text() != "Insufficient Storage\n" {
				t.Errorf("%d %q", resp.Status, resp.Text())
			}
			noTemporary(t, root)
		}
		if logged != 4 || holds(t, root, "a.txt") != "hello" {
			t.Errorf("%d lines of log, %q", logged, holds(t, root, "a.txt"))
		}
		if resp := put(s, "/a.txt", strings.Repeat("g", 40_000)); resp.Status != 204 {
			t.Errorf("what has space: %d", resp.Status)
		}
	})
}

func TestNoInodes(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := mount(t, "nr_inodes=3")
		write(t, root, "a.txt", "hello")
		write(t, root, "b.txt", "hello")
		s := open(root, func(o *options) { o.write.createDirectories = true })
		for _, target := range []string{"/a.txt", "/new", "/d/new"} {
			if resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: target, Stream: unread{t}}); resp.Status != 507 {
				t.Errorf("%s: %d", target, resp.Status)
			}
		}
		remove(s, "/b.txt")
		if resp := put(s, "/d/new", "x"); resp.Status != 507 { // there is one for the file, and none for its directory
			t.Errorf("%d", resp.Status)
		}
		if resp := put(s, "/b.txt", "x"); resp.Status != 201 {
			t.Errorf("%d", resp.Status)
		}
	})
}

func TestReadOnly(t *testing.T) {
	root := mount(t, "")
	write(t, root, "a.txt", "hello")
	if err := unix.Mount("none", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("it cannot be made read-only: %v", err)
	}
	s := writable(t, root)
	var logged []string
	s.log = func(_ module.Level, _ string, fields ...module.Field) { logged = append(logged, fmt.Sprint(fields)) }
	if resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/a.txt", Stream: unread{t}}); resp.Status != 403 {
		t.Errorf("PUT: %d", resp.Status)
	}
	if resp := remove(s, "/a.txt"); resp.Status != 403 {
		t.Errorf("DELETE: %d", resp.Status)
	}
	if len(logged) != 2 || !strings.Contains(logged[0], unix.EROFS.Error()) {
		t.Errorf("log: %q", logged)
	}
}

// A file that is larger than the process may make it is refused as one that is larger than the server wants it.
func TestFileSizeLimit(t *testing.T) {
	root := tree(t)
	s := writable(t, root)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100_000, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	resp := put(s, "/a.txt", strings.Repeat("x", 200_000))
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if resp.Status != 413 || holds(t, root, "a.txt") != "hello" {
		t.Errorf("%d", resp.Status)
	}
}

func TestWritePermission(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil { // is private, and another user comes below
		t.Fatal(err)
	}
	write(t, root, "file", "x")
	write(t, root, "closed/file", "x")
	for name, mode := range map[string]fs.FileMode{".": 0o555, "closed": 0} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(root, "closed"), 0o700)
	defer os.Chmod(root, 0o700)
	s, _ := serve(t, root, func(o *options) {
		o.write = &writeOptions{maxBytes: 1, uploads: 100, delete: true, mode: 0o644}
		o.access = []accessOption{{name: "all", paths: []string{"**"}, allow: "all"}}
	})
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
		for _, target := range []string{"/file", "/new", "/closed/file", "/closed/new"} {
			for _, method := range []string{"PUT", "DELETE"} {
				resp := webtest.Do(s, webtest.Request{Method: method, Target: target, Stream: unread{t}})
				if resp.Status != 403 {
					t.Errorf("%s %s: %d", method, target, resp.Status)
				}
			}
		}
	}()
	<-done
}

func TestChangeStatus(t *testing.T) {
	for err, want := range map[error]int{
		unix.ENOSPC: 507, unix.EDQUOT: 507, unix.EFBIG: 413, unix.EROFS: 403, unix.EACCES: 403, unix.EPERM: 403, unix.EMFILE: 503, unix.ENFILE: 503,
		unix.ENOMEM: 503, unix.EISDIR: 409, unix.EBUSY: 409, unix.EIO: 500, unix.ESTALE: 500, errDirectory: 409, errNoParent: 409, errSpecial: 403,
		errClaimed: 403, errLocked: 503, errMoved: 503, errLeft: 503, errBody: 400, web.ErrBodyTooLarge: 413, bodyError(unix.ENOSPC): 400,
		fmt.Errorf("wrapped: %w", unix.ENOSPC): 507,
	} {
		if got := changeStatus(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// This child serves a change at once, though the time stands still: also where the file is served under another name.
func TestSeesItsOwnChanges(t *testing.T) {
	gzip := web.Field{Name: "Accept-Encoding", Value: "gzip"}
	for _, test := range []struct {
		put, get string
		fields   []web.Field
	}{
		{"/a.css", "/a.css", nil},
		{"/a.css.gz", "/a.css.gz", nil},
		{"/a.css.gz", "/a.css", []web.Field{gzip}},
		{"/index.html", "/", nil},
		{"/sub/index.html", "/sub/", nil},
		{"/page.html", "/page", nil},
		{"/404.html", "/nothing", nil},
	} {
		root := t.TempDir()
		for _, name := range []string{"a.css", "a.css.gz", "index.html", "sub/index.html", "page.html", "404.html"} {
			write(t, root, name, "old "+name)
		}
		s := writable(t, root, func(o *options) {
			o.try = []string{"{path}", "{path}.html", "{path}/"}
			o.precompressed = []coding.Coding{coding.Gzip}
			o.pages = []pageOption{{status: 404, file: "404.html"}}
		})
		get := func() string { return webtest.Do(s, webtest.Request{Target: test.get, Fields: test.fields}).Text() }
		for i := range 3 {
			get()
			body := fmt.Sprintf("new %d", i)
			if resp := put(s, test.put, body); resp.Status != 204 {
				t.Fatalf("PUT %s: %d", test.put, resp.Status)
			}
			if got := get(); got != body {
				t.Errorf("GET %s after PUT %s: %q", test.get, test.put, got)
			}
		}
		remove(s, test.put)
		if got := get(); strings.HasPrefix(got, "new") {
			t.Errorf("GET %s after DELETE %s: %q", test.get, test.put, got)
		}
		if resp := put(s, test.put, "again"); resp.Status != 201 || get() != "again" {
			t.Errorf("GET %s after PUT %s: %d %q", test.get, test.put, resp.Status, get())
		}
	}
}

// Whoever looked before a change and comes to its end after it does not bring the old file back.
func TestChangeAndLook(t *testing.T) {
	root := tree(t)
	s := writable(t, root)
	old := webtest.Get(s, "/a.txt")
	s.cache.remove("a.txt")
	f, leader := s.flights.join("a.txt")
	if !leader {
		t.Fatal("somebody looks")
	}
	stale, err := s.find("a.txt") // it has seen the old file, and puts that into the cache
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		put(s, "/a.txt", "new")
	}()
	for holds(t, root, "a.txt") != "new" {
		runtime.Gosched()
	}
	s.cache.put(stale)
	f.entry = stale
	s.flights.land("a.txt", f)
	<-done
	if resp := webtest.Get(s, "/a.txt"); resp.Text() != "new" || old.Text() != "hello" {
		t.Errorf("%q after %q", resp.Text(), old.Text())
	}
}

// Who reads while others write gets one version, whole.
func TestReadWhileWritten(t *testing.T) {
	ways(t, func(t *testing.T, open func(string, ...func(o *options)) *server) {
		root := t.TempDir()
		writerOf, reader := open(root), open(root)
		content := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), smallFile/2+i%3*smallFile) }
		put(writerOf, "/f", content(0))
		var stop atomic.Bool
		var all sync.WaitGroup
		all.Go(func() {
			defer stop.Store(true)
			for i := range 60 {
				if resp := put(writerOf, "/f", content(i)); resp.Status != 204 {
					t.Errorf("PUT: %d", resp.Status)
				}
			}
		})
		for !stop.Load() {
			reader.cache.remove("f")
			resp := webtest.Get(reader, "/f")
			if resp.Status != 200 || len(resp.Body) < smallFile/2 || len(bytes.Trim(resp.Body, string(resp.Body[0]))) > 0 {
				t.Fatalf("%d, %d bytes, begins %.1q", resp.Status, len(resp.Body), resp.Body)
			}
		}
		all.Wait()
	})
}

func TestUploadWithoutDescriptors(t *testing.T) {
	root := tree(t)
	s := writable(t, root)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lowest, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(lowest)
	for spare := range 4 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest + spare), Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		resp := put(s, "/a.txt", "x", web.Field{Name: "If-None-Match", Value: `"x"`})
		if resp.Status != 503 && resp.Status != 204 || resp.Status == 204 && spare == 0 {
			t.Errorf("%d with %d descriptors", resp.Status, spare)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if resp := put(s, "/a.txt", "x"); resp.Status != 204 {
		t.Errorf("%d", resp.Status)
	}
}

func TestWriteSpec(t *testing.T) {
	for _, mode := range []string{"", "644", "0644", "0400", "0777"} {
		values := map[string]any{}
		want := uint32(0o644)
		if mode != "" {
			values["mode"] = mode
			fmt.Sscanf(mode, "%o", &want)
		}
		b, err := configs.NewBlock(writeSpec(), values)
		if err != nil {
			t.Errorf("mode %q: %v", mode, err)
			continue
		}
		if o := writeOptionsOf(b); *o != (writeOptions{maxBytes: 100 << 20, fsync: true, uploads: 16, delete: true, mode: want}) {
			t.Errorf("mode %q: %+v", mode, *o)
		}
	}
	for name, values := range map[string]map[string]any{
		"decimal": {"mode": "0888"}, "words": {"mode": "rw-r--r--"}, "set-user-ID": {"mode": "4755"}, "nobody reads": {"mode": "0200"}, "short": {"mode": "64"},
		"long": {"mode": "00644"}, "sign": {"mode": "+644"}, "prefix": {"mode": "0o644"}, "empty": {"mode": ""}, "no bytes": {"max_bytes": int64(0)},
	} {
		if _, err := configs.NewBlock(writeSpec(), values); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s := writable(t, t.TempDir())
	if _, limits := web.LimitsOf(s.limited()); limits.Body != 1<<20 {
		t.Errorf("the route's body: %d", limits.Body)
	}
}

// More uploads than may go on at a time are told to come again, before they are asked for their bodies; reading goes on.
func TestUploadsAreBounded(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.txt", "hello")
	s, _ := serve(t, root, func(o *options) {
		o.write = &writeOptions{maxBytes: 1 << 20, uploads: 1, delete: true, mode: 0o644}
		o.access = []accessOption{{name: "all", paths: []string{"**"}, allow: "all"}}
	})
	body, trickle := io.Pipe()
	var all sync.WaitGroup
	all.Go(func() {
		if resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/slow", Stream: body, Length: 4}); resp.Status != 201 {
			t.Errorf("the slow one: %d", resp.Status)
		}
	})
	if _, err := trickle.Write([]byte("ab")); err != nil { // it is being read
		t.Fatal(err)
	}
	if resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/other", Body: "x"}); resp.Status != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("one too many: %d", resp.Status)
	}
	if resp := webtest.Do(s, webtest.Request{Method: "DELETE", Target: "/a.txt"}); resp.Status != 204 {
		t.Errorf("DELETE: %d", resp.Status)
	}
	if _, err := trickle.Write([]byte("cd")); err != nil {
		t.Fatal(err)
	}
	trickle.Close()
	all.Wait()
	if resp := webtest.Do(s, webtest.Request{Method: "PUT", Target: "/other", Body: "x"}); resp.Status != 201 {
		t.Errorf("afterwards: %d", resp.Status)
	}
}
