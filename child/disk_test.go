package child

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/netcore"
)

// cold is a plain socket whose files are never in the page cache: all that is sent of them by sendfile has to be fetched.
type cold struct{ plain }

func (cold) sendfile(c *conn, file int, offset int64, n int, wait bool) (int, error) {
	if !wait {
		return 0, netcore.ErrUncached
	}
	return plain{}.sendfile(c, file, offset, n, wait)
}

// dialCold connects, and makes the files that are sent there cold.
func (tc *testChild) dialCold() *peer {
	tc.t.Helper()
	p := tc.dial()
	tc.chill(p)
	return p
}

// chill makes the files that are sent to p cold, and the short ones that are sent to anybody.
func (tc *testChild) chill(p *peer) {
	tc.t.Helper()
	tc.onLoop(func(l *loop) {
		l.disk.peek = func(int, []byte, int64) (int, error) { return 0, netcore.ErrUncached }
	})
	address := p.LocalAddr().(*net.TCPAddr).AddrPort()
	tc.until("the connection is there", func(l *loop) bool {
		for c := range l.table.All() {
			if netip.AddrPortFrom(c.peer.Addr().Unmap(), c.peer.Port()) == address {
				c.transport = cold{}
				return true
			}
		}
		return false
	})
}

// A gatedDisk holds every read of files until it is opened.
type gatedDisk struct {
	began chan int64 // offsets
	gate  chan struct{}
	open  func()
}

// gateDisk puts a gate before the child's disk, which opens at the end of the test at the latest. err, if not nil, is what its reads yield.
func (tc *testChild) gateDisk(err error) *gatedDisk {
	d := &gatedDisk{began: make(chan int64, 10_000), gate: make(chan struct{})}
	d.open = sync.OnceFunc(func() { close(d.gate) })
	tc.t.Cleanup(d.open)
	tc.onLoop(func(l *loop) {
		l.disk.read = func(fd int, p []byte, offset int64) (int, error) {
			d.began <- offset
			<-d.gate
			if err != nil {
				return 0, err
			}
			return unix.Pread(fd, p, offset)
		}
	})
	return d
}

// contentOf is n bytes in which every place tells where it is.
func contentOf(n int) []byte {
	b := make([]byte, 0, n+16)
	for i := 0; len(b) < n; i += 8 {
		b = fmt.Appendf(b, "%07x ", i)
	}
	return b[:n]
}

// fileRoute answers with a file, and counts how often the file was given back.
func fileRoute(t testing.TB, content []byte) (h web.Handler, path string, released *atomic.Int32) {
	t.Helper()
	path = t.TempDir() + "/file"
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	released = new(atomic.Int32)
	return nowHandler(func(w *web.Response, r *web.Request) {
		f, err := os.Open(path)
		if err != nil {
			web.Error(w, 500)
			return
		}
		w.SendFile(releaseFunc{f, func() { released.Add(1); f.Close() }}, 0, int64(len(content)))
	}), path, released
}

// restsWholly is rests for what would make the loop turn as fast as it can answer: each call is one turn, and there are no others.
func (tc *testChild) restsWholly(when string) {
	tc.t.Helper()
	tc.rests(when)
	const calls = 20
	least := int64(1 << 62)
	for range 50 { // others may have something to do meanwhile, but not always
		from := tc.turns.turns.Load()
		for range calls {
			tc.onLoop(func(*loop) {})
		}
		least = min(least, tc.turns.turns.Load()-from)
	}
	if least > calls+calls/4 {
		tc.t.Errorf("the loop turns %s: %d times for %d calls", when, least, calls)
	}
}

const getFile = "GET /file HTTP/1.1\r\nHost: x\r\n\r\n"

// While a file is fetched others are served and the loop sleeps, whatever the poller; then the file arrives as it is, in its place among
// the answers.
func TestColdFileStopsNobody(t *testing.T) {
	content := contentOf(3<<20 + 7)
	for _, mechanism := range []string{"epoll", "poll", "select"} {
		t.Run(mechanism, func(t *testing.T) {
			h, _, released := fileRoute(t, content)
			slow := make(chan struct{})
			tc := startOn(t, mechanism, "limits {\n  pipeline_depth = 1\n}\n", routes{"/file": h, "/x": text("x"),
				"/slow": web.StringFunc(func(*web.Request) string { <-slow; return "slow" })})
			p, other := tc.dialCold(), tc.dial()
			for range 2 {
				released.Store(0)
				disk := tc.gateDisk(nil)
				p.send(getX + getFile + getX)
				if r := p.answer("GET"); string(r.Body) != "x" {
					t.Fatalf("%q", r.Body)
				}
				await(t, "the read", disk.began)
				p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
				tc.until("a handler runs", func(l *loop) bool { return l.exchanges == 3 })
				p.send(getX) // the pipeline is full: reading pauses, which changes what the poller watches
				tc.restsWholly("while a file is fetched")
				if r := other.get("/x"); string(r.Body) != "x" {
					t.Fatalf("%q", r.Body)
				}
				if n := len(disk.began); n > 0 {
					t.Errorf("%d reads beside the one that is held", n)
				}
				if released.Load() != 0 {
					t.Error("released in the middle of a read")
				}
				disk.open()
				if r := p.answer("GET"); !bytes.Equal(r.Body, content) {
					t.Fatalf("%d bytes, or not the same", len(r.Body))
				}
				slow <- struct{}{}
				for _, want := range []string{"x", "slow", "x"} {
					if r := p.answer("GET"); string(r.Body) != want {
						t.Fatalf("%q, want %q", r.Body, want)
					}
				}
				wantReleased(t, tc, released)
			}
		})
	}
}

// The same with a file that is really on the disk alone.
func TestEvictedFile(t *testing.T) {
	const size = 1<<20 + 3
	for _, n := range []int{size, copyFile, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { testEvictedFile(t, contentOf(size), n) })
	}
}

// testEvictedFile asks for the first n bytes.
func testEvictedFile(t *testing.T, content []byte, n int) {
	_, path, released := fileRoute(t, content)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fd, probe := int(f.Fd()), [][]byte{make([]byte, 1)}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Preadv2(fd, probe, 0, unix.RWF_NOWAIT); err != nil {
		t.Skipf("needs a file system that tells what is cached (preadv2 with RWF_NOWAIT); that of %s does not: %v", path, err)
	}
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Skipf("needs a file that is on the disk alone; the page cache of %s cannot be told to drop it: posix_fadvise: %v", path, err)
	}
	if _, err := unix.Preadv2(fd, probe, int64(len(content)/2), unix.RWF_NOWAIT); err != unix.EAGAIN {
		t.Skipf("needs a file that is on the disk alone; the page cache keeps %s, though told to drop it: preadv2: %v, not EAGAIN", path, err)
	}
	tc := start(t, "", routes{"/x": text("x"), "/file": nowHandler(func(w *web.Response, r *web.Request) {
		w.SendFile(releaseFunc{f, func() { released.Add(1) }}, 0, int64(n))
	})})
	disk := tc.gateDisk(nil)
	p := tc.dial()
	p.send(getFile)
	await(t, "the read", disk.began)
	if r := tc.dial().get("/x"); string(r.Body) != "x" {
		t.Fatalf("%q", r.Body)
	}
	disk.open()
	if r := p.answer("GET"); !bytes.Equal(r.Body, content[:n]) {
		t.Fatalf("%d bytes, or not the same", len(r.Body))
	}
	wantReleased(t, tc, released)
}

// Short files, one behind another, leave with their heads by one call, each after one read and one question whether it has changed; longer
// ones leave by themselves. A client that asks for the head alone has nothing read.
func TestShortFilesLeaveTogether(t *testing.T) {
	const short, long = 5000, copyFile + 1
	content := contentOf(long)
	file := &changing{File: &sharedFile{openTemp(t, string(content))}, changes: func(int32) bool { return false }}
	send := func(from, n int64) web.Handler {
		return nowHandler(func(w *web.Response, r *web.Request) { w.SendFile(file, from, n) })
	}
	tc := start(t, accessLogConfig, routes{"/short": send(7, short), "/most": send(1, copyFile), "/long": send(0, long),
		"/x": nowHandler(func(w *web.Response, r *web.Request) { w.SendString("x") })})
	p := tc.dial()
	calls := newCallMeter(tc)
	for _, test := range []struct {
		targets                             string
		flushes, sendfiles, reads, answered int
	}{
		{"/short", 1, 0, 1, 1},
		{"/short /x", 1, 0, 1, 1},
		{"/x /short /short /x /short", 1, 0, 3, 3},
		{"/most", 1, 0, 1, 1},
		{"/long", 1, 1, 0, 1},
		{"/short /long /short", 2, 1, 2, 3},
		{"HEAD/short", 1, 0, 0, 0},
	} {
		var requests, methods []string
		for _, target := range strings.Fields(test.targets) {
			method, path, _ := strings.Cut(target, "/")
			method = cmp.Or(method, "GET")
			methods = append(methods, method+" /"+path)
			requests = append(requests, method+" /"+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		tc.onLoop(func(*loop) { *calls.seen = sendCalls{}; file.asked.Store(0) })
		p.send(strings.Join(requests, ""))
		for _, m := range methods {
			method, path, _ := strings.Cut(m, " ")
			want := map[string]string{"/short": string(content[7 : 7+short]), "/most": string(content[1 : 1+copyFile]), "/long": string(content),
				"/x": "x"}[path]
			if method == "HEAD" {
				want = ""
			}
			if r := p.answer(method); string(r.Body) != want {
				t.Fatalf("%s: %s: %d bytes, or not the same", test.targets, path, len(r.Body))
			}
		}
		var got sendCalls
		fetched := false
		tc.onLoop(func(l *loop) { got, fetched = *calls.seen, len(l.disk.warm.ranges) > 0 })
		if fetched {
			t.Skip("needs a file system that tells what is cached (preadv2 with RWF_NOWAIT): else each file is fetched first, by calls of its own")
		}
		if want := (sendCalls{test.flushes, test.sendfiles, test.reads}); got != want || int(file.asked.Load()) != test.answered {
			t.Errorf("%s: %+v, asked %d times; want %+v, %d", test.targets, got, file.asked.Load(), want, test.answered)
		}
	}
	tc.until("all is logged", func(*loop) bool { return strings.Count(tc.loggedLines(), `"status":200`) == 14 })
	if n := strings.Count(tc.loggedLines(), fmt.Sprintf(`"bytes":%d`, short)); n != 7 {
		t.Errorf("%d lines with the length of the short file", n)
	}
}

// sendCalls counts what sends files.
type sendCalls struct{ flushes, sendfiles, reads int }

// A callMeter is a plain socket that counts.
type callMeter struct {
	plain
	seen *sendCalls
}

// newCallMeter puts a meter on the child's one connection, and one on its reads of files.
func newCallMeter(tc *testChild) callMeter {
	m := callMeter{seen: new(sendCalls)}
	tc.until("the connection is there", func(l *loop) bool {
		c := only(l)
		if c != nil {
			c.transport = m
		}
		return c != nil
	})
	tc.onLoop(func(l *loop) {
		l.disk.peek = func(fd int, p []byte, offset int64) (int, error) {
			m.seen.reads++
			return netcore.ReadCached(fd, p, offset)
		}
	})
	return m
}

func (m callMeter) flush(c *conn, p []byte, more bool) (int, error) {
	m.seen.flushes++
	return m.plain.flush(c, p, more)
}
func (m callMeter) flushAll(c *conn, pieces [][]byte) (int, error) {
	m.seen.flushes++
	return m.plain.flushAll(c, pieces)
}
func (m callMeter) sendfile(c *conn, file int, offset int64, n int, wait bool) (int, error) {
	m.seen.sendfiles++
	return m.plain.sendfile(c, file, offset, n, wait)
}

// A short file that has changed, or shrunk, by the time it was read: none of it leaves, but what was before it does.
func TestShortFileThatChanges(t *testing.T) {
	content := contentOf(5000)
	for _, shrinks := range []bool{false, true} {
		for _, tr := range []transport{plain{}, cold{}} {
			t.Run(fmt.Sprintf("shrinks %v, %T", shrinks, tr), func(t *testing.T) {
				var released atomic.Int32
				tc := start(t, "", routes{"/x": text("x"), "/file": nowHandler(func(w *web.Response, r *web.Request) {
					f := openTemp(t, string(content))
					file := &changing{File: web.OwnFile(f), changes: func(int32) bool { return !shrinks }}
					w.SendFile(releasing{file, func() { released.Add(1) }}, 0, int64(len(content)))
					if shrinks {
						if err := os.Truncate(f.Name(), 0); err != nil {
							t.Error(err)
						}
					}
				})})
				p := tc.dial()
				if tr == (cold{}) {
					tc.chill(p)
				}
				p.send(getX + getFile + getX)
				if r := p.answer("GET"); string(r.Body) != "x" {
					t.Fatalf("%q", r.Body)
				}
				if r, err := p.reader.Read("GET"); err == nil || r != nil && len(r.Body) > 0 {
					t.Errorf("a response that is cut: %+v, %v", r, err)
				}
				tc.wantClosed(reasonFileChanged, 1)
				wantReleased(t, tc, &released)
			})
		}
	}
}

// blind is a plain socket whose files are on a file system that does not tell what is cached.
type blind struct{ plain }

func (blind) sendfile(c *conn, file int, offset int64, n int, wait bool) (int, error) {
	if !wait {
		return 0, netcore.ErrCacheUnknown
	}
	return plain{}.sendfile(c, file, offset, n, wait)
}

// Where nobody can tell what is cached, a worker reads a file once in a while and not for each response, if it is the same File.
func TestFileSystemThatDoesNotTell(t *testing.T) {
	for _, size := range []int{5000, copyFile, copyFile + 1, 3*fetchMost + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			content := contentOf(size)
			f := openTemp(t, string(content))
			var hot web.File = &sharedFile{f}
			tc := start(t, "", routes{
				"/file": nowHandler(func(w *web.Response, r *web.Request) { w.SendFile(hot, 0, int64(size)) }),
				"/new":  nowHandler(func(w *web.Response, r *web.Request) { w.SendFile(sharedFile{f}, 0, int64(size)) }),
			})
			p := tc.dial()
			var fetches atomic.Int32
			tc.until("the connection is there", func(l *loop) bool {
				c := only(l)
				if c == nil {
					return false
				}
				c.transport = blind{}
				l.disk.peek = func(int, []byte, int64) (int, error) { return 0, netcore.ErrCacheUnknown }
				l.disk.read = func(fd int, p []byte, offset int64) (int, error) {
					fetches.Add(1)
					return unix.Pread(fd, p, offset)
				}
				return true
			})
			reads := int32((size + fetchPiece - 1) / fetchPiece) // of fetches of the whole file
			get := func(path string, want int32) {
				t.Helper()
				before := fetches.Load()
				if r := p.get(path); !bytes.Equal(r.Body, content) {
					t.Fatalf("%s: %d bytes, or not the same", path, len(r.Body))
				}
				if n := fetches.Load() - before; n < want || want == 0 && n > 0 {
					t.Errorf("%s: %d reads by workers, want %d", path, n, want)
				}
			}
			get("/new", reads)
			get("/new", reads) // nothing is remembered of what may not be compared
			get("/file", reads)
			for range 3 {
				get("/file", 0)
			}
			tc.onLoop(func(l *loop) { // time passes
				l.disk.warm.place(hot).until = l.now
			})
			get("/file", reads)
			get("/file", 0)
			tc.onLoop(func(l *loop) { // another file gets its descriptor
				l.disk.warm.place(hot).file = &sharedFile{f}
			})
			get("/file", reads)
			get("/file", 0)
		})
	}
}

// What is remembered of fetches is bounded in files and in time.
func TestWarmth(t *testing.T) {
	l, c := bareLoop(&meter{})
	l.tail(c)
	o := c.out
	file := &fakeFile{fd: 5}
	present := func(f web.File, off int64) int64 {
		o.segments, o.first = []segment{{file: f, off: off, n: 100}}, 0
		return l.present(o, &o.segments[0])
	}
	want := func(what string, f web.File, off, want int64) {
		t.Helper()
		if got := present(f, off); got != want {
			t.Errorf("%s: from %d on up to %d, want %d", what, off, got, want)
		}
	}
	begin := l.now
	pass := func(d int64) {
		l.now += d
		l.wheel.Advance(l.now, l.expired)
	}
	want("at first", file, 0, 0)
	l.remember(file, 100, 200)
	want("before it", file, 99, 0)
	want("its beginning", file, 100, 200)
	want("in it", file, 199, 200)
	want("another file", &fakeFile{fd: 5}, 100, 0)
	want("another place", &fakeFile{fd: 6}, 100, 0)
	l.remember(file, 300, 350)
	want("a shorter range apart", file, 300, 200)
	want("the range that stays", file, 100, 200)
	pass(warmTime / 2)
	l.remember(file, 200, 300)
	l.remember(file, 50, 120)
	want("extended", file, 50, 300)
	o.fetched = 400
	want("the output's own", file, 350, 400)
	o.fetched = 0
	l.remember(file, 1000, 2000)
	want("a longer range apart", file, 1000, 2000)
	want("what it has replaced", file, 100, 0)
	young := &fakeFile{fd: 6}
	l.remember(young, 0, 10)
	pass(warmTime/2 + wheelTick)
	want("not yet old", file, 1000, 2000)
	pass(warmTime / 2)
	want("old", file, 1000, 0)
	want("old", young, 0, 0)

	l.remember(file, 0, 100)
	pass(warmTime / 2)
	l.remember(file, 100, 200)
	pass(warmTime/2 + 1)
	want("as old as its oldest part", file, 150, 0)

	for fd := range 3 * warmFiles {
		l.remember(&fakeFile{fd: fd}, 0, 1)
	}
	if n := len(l.disk.warm.ranges); n != warmFiles {
		t.Errorf("%d ranges", n)
	}
	l.remember(releaseFunc{}, 0, 1)
	pass(warmTime + 2*wheelTick)
	pass(warmTime + 2*wheelTick)
	for _, r := range l.disk.warm.ranges {
		if r.file != nil {
			t.Fatalf("%+v is remembered %d ns after the first", r, l.now-begin)
		}
	}
	if l.disk.warm.timer.Armed() {
		t.Error("the timer is armed for nothing")
	}
}

// A file of overlayfs, which does not tell.
func TestOverlay(t *testing.T) {
	content := contentOf(copyFile)
	f, err := openOnOverlay(t, content)
	if err != nil {
		t.Skipf("needs a file of overlayfs, and to mount one in a mount namespace of its own (root): %v", err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := netcore.ReadCached(int(f.Fd()), make([]byte, 1), 0); err != netcore.ErrCacheUnknown {
		t.Skipf("needs an overlayfs that does not tell what is cached; this one does: %v", err)
	}
	for _, size := range []int64{5000, copyFile, copyFile - 1} {
		var file web.File = &sharedFile{f}
		tc := start(t, "", routes{"/file": nowHandler(func(w *web.Response, r *web.Request) { w.SendFile(file, 0, size) })})
		disk := tc.gateDisk(nil)
		disk.open()
		p := tc.dial()
		for range 10 {
			if r := p.get("/file"); !bytes.Equal(r.Body, content[:size]) {
				t.Fatalf("%d bytes, or not the same", len(r.Body))
			}
		}
		if n := len(disk.began); n != 1 {
			t.Errorf("%d bytes: %d reads by workers", size, n)
		}
	}
}

// openOnOverlay opens a file in a mount that nobody else sees, and that ends with the file.
func openOnOverlay(t *testing.T, content []byte) (f *os.File, err error) {
	dir := t.TempDir()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(dir+"/"+name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/lower/file", content, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with this goroutine, and the namespace with it
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
		if err = unix.Mount("overlay", dir+"/merged", "overlay", 0, options); err != nil {
			return
		}
		f, err = os.Open(dir + "/merged/file")
	}()
	<-done
	return f, err
}

// Slow clients of cold files get them whole, too: what was fetched and not taken is asked for again.
func TestSlowReadersOfAColdFile(t *testing.T) {
	content := contentOf(1<<20 + 5)
	h, _, released := fileRoute(t, content)
	tc := start(t, "", routes{"/file": h})
	tc.smallBuffers()
	var readers sync.WaitGroup
	const clients = 5
	for range clients {
		p := tc.dialSmall()
		tc.chill(p)
		p.send(getFile)
		readers.Go(func() {
			if r, err := p.reader.Read("GET"); err != nil || !bytes.Equal(r.Body, content) {
				t.Errorf("%v, or not the same", err)
			}
		})
	}
	readers.Wait()
	tc.until("all are released", func(*loop) bool { return released.Load() == clients })
}

// A client that goes while its file is read: the connection ends at once, the file when nobody reads it any more.
func TestClientGoneDuringAFetch(t *testing.T) {
	h, _, released := fileRoute(t, contentOf(1<<20))
	tc := start(t, "", routes{"/file": h, "/x": text("x")})
	disk := tc.gateDisk(nil)
	p := tc.dialCold()
	p.send(getFile + getX)
	await(t, "the read", disk.began)
	p.reset()
	tc.wantClosed(reasonClientGone, 1)
	for range 3 { // on the same descriptor
		if r := tc.dialCold().get("/x"); string(r.Body) != "x" {
			t.Fatalf("%q", r.Body)
		}
	}
	tc.rests("while nobody waits for the disk")
	tc.onLoop(func(l *loop) {
		if l.generation.held != 1 {
			t.Errorf("the generation is held %d times", l.generation.held)
		}
	})
	if released.Load() != 0 {
		t.Error("released in the middle of a read")
	}
	disk.open()
	wantReleased(t, tc, released)
}

// More fetches than workers wait in the pool's queue; those of clients that have gone leave it without a read.
func TestFetchesWaitForWorkers(t *testing.T) {
	content := contentOf(300 << 10)
	h, _, released := fileRoute(t, content)
	tc := start(t, "", routes{"/file": h, "/x": text("x")})
	disk := tc.gateDisk(nil)
	tc.loop.disk.pool.Resize(worker.Options{Max: 1, Queue: diskQueue})
	var peers []*peer
	for i := range 6 {
		p := tc.dialCold()
		p.send(getFile)
		peers = append(peers, p)
		tc.until("its fetch waits", func(l *loop) bool { return tc.loop.disk.pool.Stats().Queued == i })
	}
	tc.until("the first is being read", func(*loop) bool { return len(disk.began) > 0 })
	tc.rests("while fetches wait")
	if n := len(disk.began); n != 1 {
		t.Errorf("%d reads", n)
	}
	peers[3].reset()
	wantReleased(t, tc, released)
	if n := tc.loop.disk.pool.Stats().Queued; n != 4 {
		t.Errorf("%d fetches wait", n)
	}
	if r := tc.dial().get("/x"); string(r.Body) != "x" {
		t.Fatalf("%q", r.Body)
	}
	disk.open()
	for i, p := range peers {
		if i == 3 {
			continue
		}
		if r := p.answer("GET"); !bytes.Equal(r.Body, content) {
			t.Fatalf("%d bytes, or not the same", len(r.Body))
		}
	}
	tc.until("all are released", func(*loop) bool { return released.Load() == 6 })
}

// A pool that takes nothing ends the response, and nothing else.
func TestFetchThatIsRefused(t *testing.T) {
	h, _, released := fileRoute(t, contentOf(300<<10))
	tc := start(t, "", routes{"/file": h, "/x": text("x")})
	tc.loop.disk.pool.Close()
	p := tc.dialCold()
	p.send(getFile)
	if _, err := p.reader.Read("GET"); err == nil {
		t.Error("a response that is cut looks complete")
	}
	tc.wantClosed(reasonSystem, 1)
	wantReleased(t, tc, released)
	if r := tc.dial().get("/x"); string(r.Body) != "x" {
		t.Fatalf("%q", r.Body)
	}
}

// A drain lets a fetch finish, and what follows it; the end of its patience does not wait for the disk.
func TestDrainDuringAFetch(t *testing.T) {
	content := contentOf(1<<20 + 1)
	for _, patient := range []bool{true, false} {
		h, _, released := fileRoute(t, content)
		tc := start(t, "", routes{"/file": h, "/x": text("x")})
		disk := tc.gateDisk(nil)
		p := tc.dialCold()
		p.send(getFile)
		await(t, "the read", disk.began)
		if !patient {
			tc.drain(timeoutShort, 0)
			await(t, "the end of the child", tc.ended)
			if _, err := p.reader.Read("GET"); err == nil {
				t.Error("a response that is cut looks complete")
			}
			disk.open()
			continue
		}
		tc.drain(time.Hour, 0)
		tc.rests("while a draining child waits for the disk")
		disk.open()
		if r := p.answer("GET"); !bytes.Equal(r.Body, content) {
			t.Fatalf("%d bytes, or not the same", len(r.Body))
		}
		p.wantEnd()
		p.Conn.Close()
		await(t, "the end of the child", tc.ended)
		if released.Load() != 1 {
			t.Errorf("released %d times", released.Load())
		}
	}
}

// A file that cannot be read ends the response in the middle, with a reason, and once a second with a line in the log.
func TestUnreadableFile(t *testing.T) {
	h, _, released := fileRoute(t, contentOf(1<<20))
	tc := start(t, accessLogConfig, routes{"/file": h, "/x": text("x")})
	tc.gateDisk(unix.EIO).open()
	p := tc.dialCold()
	p.send(getFile + getX)
	if _, err := p.reader.Read("GET"); err == nil {
		t.Error("a response that is cut looks complete")
	}
	tc.wantClosed(reasonSystem, 1)
	wantReleased(t, tc, released)
	tc.until("it is logged", func(*loop) bool {
		log := tc.loggedLines()
		return strings.Contains(log, "input/output error") && strings.Contains(log, `"target":"/file"`) && strings.Contains(log, `"closed":"system"`)
	})
}

// The time of the disk is not the client's.
func TestFetchLongerThanTheWriteTimeout(t *testing.T) {
	content := contentOf(1<<20 + 1)
	h, _, _ := fileRoute(t, content)
	tc := start(t, "limits {\n  write_timeout = \"100ms\"\n}\n", routes{"/file": h})
	disk := tc.gateDisk(nil)
	p := tc.dialCold()
	p.send(getFile)
	await(t, "the read", disk.began)
	var from int64
	tc.onLoop(func(l *loop) { from = l.now })
	tc.until("some time has passed", func(l *loop) bool { return l.now-from > int64(300*time.Millisecond) })
	disk.open()
	if r := p.answer("GET"); !bytes.Equal(r.Body, content) {
		t.Fatalf("%d bytes, or not the same", len(r.Body))
	}
}

// A fetch does not give a client that does not read more time than it has.
func TestWriteTimeoutGoesOnAfterAFetch(t *testing.T) {
	h, _, released := fileRoute(t, contentOf(8<<20))
	tc := start(t, "limits {\n  write_timeout = \"200ms\"\n}\n", routes{"/file": h})
	tc.smallBuffers()
	p := tc.dialSmall()
	tc.chill(p)
	p.send(getFile)
	tc.wantClosed(reasonWriteTimeout, 1)
	wantReleased(t, tc, released)
}

const accessLogConfig = "site \"main\" {\n  access_log {\n    file   = \"stdout\"\n    format = \"json\"\n  }\n}\n"

// A changing file tells after some answers that it has changed.
type changing struct {
	web.File
	asked   atomic.Int32
	changes func(asked int32) bool
}

func (f *changing) Changed() bool { return f.changes(f.asked.Add(1)) }

// A file that has changed is sent no further: the client does not get the length that it was promised, and nothing of what was to follow.
func TestChangingFile(t *testing.T) {
	content := contentOf(3<<20 + 1)
	const (
		old    = "GET /file HTTP/1.0\r\nHost: x\r\n\r\n"
		closes = "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	)
	never := func(int32) bool { return false }
	at := func(n int32) func(int32) bool { return func(asked int32) bool { return asked >= n } }
	for _, test := range []struct {
		name    string
		request string
		changes func(int32) bool
		trailer bool
		whole   bool
	}{
		{"never", getFile + getX, never, false, true},
		{"never, with a trailer", getFile + getX, never, true, true},
		{"before the first byte", getFile, at(1), false, false},
		{"before the first byte, HTTP/1.0", old, at(1), false, false},
		{"before the first byte, with a trailer", getFile, at(1), true, false},
		{"in the middle", getFile, at(3), false, false},
		{"in the middle, the client closes", closes, at(3), false, false},
		{"in the middle, HTTP/1.0", old, at(3), false, false},
		{"in the middle, with a trailer", getFile, at(3), true, false},
		{"in the middle, with requests behind it", getFile + getX + getX, at(2), false, false},
		{"it panics", getFile, func(int32) bool { panic("asked") }, false, false},
	} {
		for _, tr := range []transport{plain{}, cold{}} {
			t.Run(fmt.Sprintf("%s %T", test.name, tr), func(t *testing.T) {
				t.Parallel()
				var released atomic.Int32
				file := &changing{changes: test.changes}
				tc := start(t, accessLogConfig, routes{"GET /x": text("x"), "/file": web.HandlerFunc(func(w *web.Response, r *web.Request) {
					f := openTemp(t, string(content))
					file.File = releaseFunc{f, func() { released.Add(1); f.Close() }}
					if test.trailer {
						w.Header().Set("Trailer", "Sum")
						w.Trailer().Set("Sum", "1")
					}
					w.SendFile(file, 0, int64(len(content)))
				})})
				p := tc.dial()
				if tr == (cold{}) {
					tc.chill(p)
				}
				p.send(test.request)
				if test.whole {
					if r := p.answer("GET"); !bytes.Equal(r.Body, content) {
						t.Fatalf("%d bytes, or not the same", len(r.Body))
					}
					if r := p.answer("GET"); string(r.Body) != "x" {
						t.Fatalf("%q", r.Body)
					}
					if least := int32(len(content) / writeChunk); file.asked.Load() < least {
						t.Errorf("asked %d times, want %d at least", file.asked.Load(), least)
					}
				} else {
					if _, err := p.reader.Read("GET"); err == nil {
						t.Fatal("a response that is cut looks complete")
					}
					if rest, _ := io.ReadAll(p.raw); bytes.Contains(rest, []byte("HTTP/1.1")) {
						t.Error("an answer follows one that is cut")
					}
					tc.wantClosed(reasonFileChanged, 1)
					tc.until("it is logged", func(*loop) bool { return strings.Contains(tc.loggedLines(), `"closed":"file_changed"`) })
				}
				wantReleased(t, tc, &released)
			})
		}
	}
}

// A file that changes or shrinks while it is fetched is not sent.
func TestFileThatChangesDuringAFetch(t *testing.T) {
	content := contentOf(1 << 20)
	for _, shrinks := range []bool{false, true} {
		var changed atomic.Bool
		h, path, released := fileRoute(t, content)
		file := &changing{changes: func(int32) bool { return changed.Load() }}
		tc := start(t, "", routes{"/file": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			if shrinks {
				h.Serve(w, r)
				return
			}
			file.File = web.OwnFile(openTemp(t, string(content)))
			w.SendFile(releasing{file, func() { released.Add(1) }}, 0, int64(len(content)))
		})})
		disk := tc.gateDisk(nil)
		p := tc.dialCold()
		p.send(getFile)
		await(t, "the read", disk.began)
		if shrinks {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}
		changed.Store(true)
		disk.open()
		if _, err := p.reader.Read("GET"); err == nil {
			t.Fatal("a response that is cut looks complete")
		}
		tc.wantClosed(reasonFileChanged, 1)
		wantReleased(t, tc, released)
	}
}

// releasing is a changing file that tells when it is given back.
type releasing struct {
	*changing
	released func()
}

func (f releasing) Release() {
	f.released()
	f.changing.Release()
}

// idleTransport counts the calls that are made on sockets.
type idleTransport struct {
	plain
	calls *int
}

func (t idleTransport) fill(c *conn, p []byte) (int, error) { *t.calls++; return t.plain.fill(c, p) }
func (t idleTransport) flush(c *conn, p []byte, more bool) (int, error) {
	*t.calls++
	return t.plain.flush(c, p, more)
}
func (t idleTransport) flushAll(c *conn, pieces [][]byte) (int, error) {
	*t.calls++
	return t.plain.flushAll(c, pieces)
}
func (t idleTransport) sendfile(c *conn, file int, offset int64, n int, wait bool) (int, error) {
	*t.calls++
	return t.plain.sendfile(c, file, offset, n, wait)
}

// Many slow readers of a large file cost a turn of the loop nothing while their sockets are full.
func TestSlowReadersOfALargeFile(t *testing.T) {
	const readers, size = 200, 100 << 20 // select(2) knows 1024 descriptors
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	shared, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	var released atomic.Int32
	tc := start(t, "", routes{"/x": text("x"), "/file": nowHandler(func(w *web.Response, r *web.Request) {
		w.SendFile(releaseFunc{shared, func() { released.Add(1) }}, 0, size)
	})})
	tc.smallBuffers()
	peers := make([]*peer, readers)
	for i := range peers {
		peers[i] = tc.dialSmall()
		peers[i].send(getFile)
	}
	tc.until("all sockets are full", func(l *loop) bool {
		full := 0
		for c := range l.table.All() {
			if c.out != nil && c.out.fetch == nil && !c.has(flagWritable|flagReady) {
				full++
			}
		}
		return full == readers
	})
	tc.rests("while no client reads")
	calls := 0
	tc.onLoop(func(l *loop) {
		for c := range l.table.All() {
			c.transport = idleTransport{calls: &calls}
		}
	})
	other := tc.dial()
	for range 50 {
		if r := other.get("/x"); string(r.Body) != "x" {
			t.Fatalf("%q", r.Body)
		}
	}
	tc.onLoop(func(l *loop) {
		if calls > 0 {
			t.Errorf("%d calls on sockets that are full", calls)
		}
	})
	for _, p := range peers {
		p.reset()
	}
	tc.until("all are released", func(*loop) bool { return released.Load() == readers })
}

// sharedFile is a file that outlives its responses, as that of a cache does.
type sharedFile struct{ *os.File }

func (sharedFile) Release()      {}
func (sharedFile) Changed() bool { return false }

// A file from the page cache takes no memory of the heap, however it is sent, and in however many parts.
func TestAllocationsOfAFile(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, size := range []int{1000, copyFile, copyFile + 1, 3 * writeChunk} {
		t.Run(fmt.Sprint(size), func(t *testing.T) { wantNoAllocationsOfAFile(t, size) })
	}
}

func wantNoAllocationsOfAFile(t *testing.T, size int) {
	var file web.File = &sharedFile{openTemp(t, strings.Repeat("f", size))}
	tc := start(t, "", routes{"/file": nowHandler(func(w *web.Response, r *web.Request) { w.SendFile(file, 0, int64(size)) })})
	c := tc.dialRaw(t)
	t.Cleanup(c.close)
	request, buffer := []byte(getFile), make([]byte, 1<<20)
	round := func() {
		if _, err := unix.Write(c.fd, request); err != nil {
			t.Fatal(err)
		}
		for got, head := 0, -1; head < 0 || got < head+size; {
			n, err := c.read(buffer)
			if err != nil || n <= 0 {
				t.Fatal(n, err)
			}
			if head < 0 {
				head = bytes.Index(buffer[:n], []byte("\r\n\r\n")) + 4
			}
			got += n
		}
	}
	for range 100 {
		round()
	}
	if tc.loop.disk.pool.Stats().Started > 0 {
		t.Skip("the file system does not tell what is cached: every part is fetched")
	}
	if n := testing.AllocsPerRun(200, round); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
}
