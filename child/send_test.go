package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/web"
)

// source is the body of SendReader: it counts what is done with it.
type source struct {
	io.Reader
	closed atomic.Int32
	busy   atomic.Int32
	reads  atomic.Int32
}

func (s *source) Read(p []byte) (int, error) {
	if s.busy.Add(1) != 1 {
		panic("two reads at a time")
	}
	defer s.busy.Add(-1)
	s.reads.Add(1)
	return s.Reader.Read(p)
}

func (s *source) Close() error { s.closed.Add(1); return nil }

// wantReleased waits until what counts closes stands at exactly one.
func wantReleased(t *testing.T, tc *testChild, closed *atomic.Int32) {
	t.Helper()
	tc.until("the source is closed", func(*loop) bool { return closed.Load() > 0 })
	tc.rests("after the source was closed")
	if n := closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// failing yields n bytes and then err; a nil err panics.
func failing(n int, err error) io.Reader {
	return io.MultiReader(io.LimitReader(forever{}, int64(n)), readerFunc(func([]byte) (int, error) {
		if err == nil {
			panic("oops")
		}
		return 0, err
	}))
}

type forever struct{}

func (forever) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'r'
	}
	return len(p), nil
}

func TestSendReader(t *testing.T) {
	const large = 300<<10 + 7
	const (
		get      = "GET /s HTTP/1.1\r\nHost: x\r\n\r\n"
		getClose = "GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		head     = "HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n"
		old      = "GET /s HTTP/1.0\r\nHost: x\r\n\r\n"
	)
	yields := func(n int) func() io.Reader {
		return func() io.Reader { return io.LimitReader(forever{}, int64(n)) }
	}
	dribble := func(n int) func() io.Reader { // one byte, and sometimes none, a read
		return func() io.Reader {
			reads := 0
			return io.LimitReader(readerFunc(func(p []byte) (int, error) {
				if reads++; reads%2 == 0 {
					return 0, nil
				}
				p[0] = 'r'
				return 1, nil
			}), int64(n))
		}
	}
	tests := []struct {
		name    string
		request string
		source  func() io.Reader
		length  int64
		framing http1test.Framing // "": the response is cut
		size    int
		status  int
	}{
		{"known length", get, yields(large), large, http1test.ContentLength, large, 200},
		{"known length, longer source", get, yields(large + 1), large, http1test.ContentLength, large, 200},
		{"length 0", get, yields(0), 0, http1test.ContentLength, 0, 200},
		{"unknown length", get, yields(large), -1, http1test.Chunked, large, 200},
		{"unknown length, empty", get, yields(0), -1, http1test.Chunked, 0, 200},
		{"known length, client closes", getClose, yields(large), large, http1test.ContentLength, large, 200},
		{"unknown length, client closes", getClose, yields(large), -1, http1test.Chunked, large, 200},
		{"HTTP/1.0", old, yields(large), -1, http1test.UntilClose, large, 200},
		{"HTTP/1.0, known length", old, yields(large), large, http1test.ContentLength, large, 200},
		{"byte by byte", get, dribble(50), -1, http1test.Chunked, 50, 200},
		{"HEAD", head, yields(large), large, http1test.NoBody, 0, 200},
		{"HEAD, unknown length", head, yields(large), -1, http1test.NoBody, 0, 200},
		{"304", get, yields(large), large, http1test.NoBody, 0, 304},
		{"short source", get, yields(large - 1), large, "", 0, 200},
		{"error", get, func() io.Reader { return failing(large, errors.New("disk")) }, -1, "", 0, 200},
		{"error at once", get, func() io.Reader { return failing(0, errors.New("disk")) }, 10, "", 0, 200},
		{"panic", get, func() io.Reader { return failing(large, nil) }, -1, "", 0, 200},
		{"no progress", get, func() io.Reader { return readerFunc(func([]byte) (int, error) { return 0, nil }) }, -1, "", 0, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			src := &source{Reader: test.source()}
			tc := start(t, "", routes{"/s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				w.SetStatus(test.status)
				w.SendReader(src, test.length)
			}), "GET /x": text("x")})
			p := tc.dial()
			p.send(test.request)
			method, _, _ := strings.Cut(test.request, " ")
			r, err := p.reader.Read(method)
			if test.framing == "" {
				if err == nil {
					t.Fatalf("a response that is cut looks complete: %d bytes", len(r.Body))
				}
				p.Close() // or the server lingers
				tc.wantClosed(reasonAborted, 1)
				wantReleased(t, tc, &src.closed)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Framing != test.framing || string(r.Body) != strings.Repeat("r", test.size) {
				t.Fatalf("%s, %d bytes; want %s, %d", r.Framing, len(r.Body), test.framing, test.size)
			}
			wantReleased(t, tc, &src.closed)
			if r.Close {
				p.wantEnd()
			} else if r := p.get("/x"); string(r.Body) != "x" {
				t.Fatalf("the next answer is %q", r.Body)
			}
		})
	}
}

// A client that does not read holds neither a worker nor more than some pieces.
func TestSlowReaderHoldsNoWorker(t *testing.T) {
	src := &source{Reader: forever{}}
	tc := start(t, "workers {\n  min = 1\n  max = 1\n}\n", routes{
		"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(src, 1<<30) }),
		"GET /x": text("x"),
	})
	tc.smallBuffers()
	slow := tc.dialSmall()
	slow.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("the output is full", func(l *loop) bool {
		c := only(l)
		return c != nil && c.out.unsent() >= highWater && !c.has(flagWritable)
	})
	tc.rests("while the client does not read")
	if n := src.reads.Load(); n > 20 {
		t.Errorf("%d reads", n)
	}
	if stats := tc.poolStats(); stats[0].Busy != 0 || stats[0].Queued != 0 {
		t.Errorf("%+v", stats[0])
	}
	if r := tc.dial().get("/x"); string(r.Body) != "x" {
		t.Fatalf("%q", r.Body)
	}
	slow.reset()
	wantReleased(t, tc, &src.closed)
}

// The client goes while a worker reads the next piece: the source is closed once, after the read.
func TestClientGoneInMidRead(t *testing.T) {
	reading, gate := make(chan struct{}), make(chan struct{})
	reads := 0
	src := &source{Reader: readerFunc(func(p []byte) (int, error) {
		if reads++; reads == 2 {
			close(reading)
			<-gate
		}
		return forever{}.Read(p)
	})}
	tc := start(t, "", routes{
		"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(src, -1) }),
		"GET /x": text("x"),
	})
	p := tc.dial()
	p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the second read", reading)
	p.reset()
	tc.wantClosed(reasonClientGone, 1)
	other := tc.dial() // it must not get the exchange that the reader still uses
	for range 5 {
		other.get("/x")
	}
	if n := src.closed.Load(); n != 0 {
		t.Error("closed in the middle of a read")
	}
	close(gate)
	wantReleased(t, tc, &src.closed)
}

// What a source does when it is closed is not the loop's concern: it may block, or panic.
type nasty struct {
	io.Reader
	closing chan struct{}
	gate    chan struct{}
}

func (n *nasty) Close() error {
	close(n.closing)
	<-n.gate
	panic("closed")
}

func TestSourceThatBlocksInClose(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		src := &nasty{strings.NewReader("body"), make(chan struct{}), make(chan struct{})}
		tc := start(t, "", routes{"/s": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(src, 4) }), "GET /x": text("x")})
		tc.dial().send(method + " /s HTTP/1.1\r\nHost: x\r\n\r\n")
		await(t, "the close", src.closing)
		if r := tc.dial().get("/x"); string(r.Body) != "x" {
			t.Fatalf("%q", r.Body)
		}
		close(src.gate)
		for !strings.Contains(tc.loggedLines(), "closed") {
			tc.onLoop(func(*loop) {})
		}
	}
}

// counted is a file that counts its releases.
type counted struct {
	*os.File
	released atomic.Int32
}

func (f *counted) Release() { f.released.Add(1); f.File.Close() }

func TestSendFile(t *testing.T) {
	const size = 1<<20 + 3
	content := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
	const get = "GET /s HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name      string
		request   string
		status    int
		offset, n int64
		body      int // bytes; -1: the response is cut
		shrink    bool
		replaced  bool // by another body before the handler returns
	}{
		{"whole", get, 200, 0, size, size, false, false},
		{"range", get, 206, 10, 1000, 1000, false, false},
		{"empty range", get, 200, 5, 0, 0, false, false},
		{"client closes", "GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, 0, size, size, false, false},
		{"HTTP/1.0", "GET /s HTTP/1.0\r\nHost: x\r\n\r\n", 200, 0, size, size, false, false},
		{"HEAD", "HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n", 200, 0, size, 0, false, false},
		{"304", get, 304, 0, size, 0, false, false},
		{"shorter than promised", get, 200, 0, size + 1, -1, false, false},
		{"truncated before", get, 200, 0, size, -1, true, false},
		{"replaced", get, 200, 0, size, 4, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			file := &counted{File: f}
			tc := start(t, "", routes{"/s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				w.SetStatus(test.status)
				w.SendFile(file, test.offset, test.n)
				if test.shrink {
					os.Truncate(path, 100)
				}
				if test.replaced {
					w.SendString("text")
				}
			}), "GET /x": text("x")})
			p := tc.dial()
			p.send(test.request)
			method, _, _ := strings.Cut(test.request, " ")
			r, err := p.reader.Read(method)
			if test.body < 0 {
				if err == nil {
					t.Fatal("a response that is cut looks complete")
				}
				tc.wantClosed(reasonFileChanged, 1)
			} else if err != nil {
				t.Fatal(err)
			} else if want := string(content[test.offset : int(test.offset)+test.body]); !test.replaced && string(r.Body) != want || len(r.Body) != test.body {
				t.Fatalf("%d bytes", len(r.Body))
			} else if r.Close {
				p.wantEnd()
			} else if next := p.get("/x"); string(next.Body) != "x" {
				t.Fatalf("the next answer is %q", next.Body)
			}
			wantReleased(t, tc, &file.released)
		})
	}
}

// A response whose file range is empty is not held back for bytes that never come.
func TestEmptyFileIsNotHeldBack(t *testing.T) {
	fake := &meter{take: func() int { return 1 << 20 }}
	l, c := bareLoop(fake)
	l.generation = &generation{}
	ex := l.takeExchange()
	l.join(c, ex)
	ex.minor, ex.safe, ex.keepAlive = 1, true, true
	c.pipeline.begin(ex)
	ex.setState(BeingProcessed)
	web.Begin(&ex.resp, ex)
	file := &fakeFile{}
	ex.resp.SendFile(file, 0, 0)
	l.finish(c, ex)
	l.advance(c)
	l.flush(c)
	if fake.corks || c.out != nil || !bytes.Contains(fake.sent, []byte("Content-Length: 0\r\n")) {
		t.Errorf("the head is held back: %q", fake.sent)
	}
	if file.released != 1 {
		t.Errorf("released %d times", file.released)
	}
}

// A client that goes in the middle of a file, and one that asks for many and reads none: every file is released, and few are open.
func TestFilesOfClientsThatDoNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var opened, released atomic.Int32
	serve := func(w *web.Response, r *web.Request) {
		f, err := os.Open(path)
		if err != nil {
			web.Error(w, 500)
			return
		}
		opened.Add(1)
		w.SendFile(releaseFunc{f, func() { released.Add(1); f.Close() }}, 0, 1<<20)
	}
	for name, h := range map[string]web.Handler{"pooled": web.HandlerFunc(serve), "inline": nowHandler(serve)} {
		t.Run(name, func(t *testing.T) {
			opened.Store(0)
			released.Store(0)
			tc := start(t, "", routes{"GET /x": h})
			tc.smallBuffers()
			p := tc.dialSmall()
			go io.WriteString(p.Conn, strings.Repeat(getX, 2000))
			tc.until("the socket is full", func(l *loop) bool { c := only(l); return c != nil && c.out != nil && !c.has(flagWritable) })
			tc.rests("while the client does not read")
			if n := opened.Load() - released.Load(); n > 150 {
				t.Errorf("a connection holds %d open files", n)
			}
			p.reset()
			tc.wantClosed(reasonClientGone, 1)
			tc.until("all files are released", func(*loop) bool { return opened.Load() == released.Load() })
		})
	}
}

type releaseFunc struct {
	*os.File
	release func()
}

func (f releaseFunc) Release() { f.release() }

func TestSendBytes(t *testing.T) {
	for _, size := range []int{0, 1, copyMax - 1, copyMax, copyMax + 1, 5 << 20} {
		body := bytes.Repeat([]byte("b"), size)
		tc := start(t, "", routes{"/s": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendBytes(body) })})
		p := tc.dial()
		for i := range 4 {
			method := []string{"GET", "HEAD"}[i%2]
			p.send(method + " /s HTTP/1.1\r\nHost: x\r\n\r\n")
			r := p.answer(method)
			if r.Get("Content-Length") != fmt.Sprint(size) || method == "GET" && !bytes.Equal(r.Body, body) {
				t.Fatalf("%s, %d: Content-Length %s, %d bytes", method, size, r.Get("Content-Length"), len(r.Body))
			}
		}
	}
}

// A body that has been sent is not kept alive by what the loop keeps for later use.
func TestSentBodiesAreFree(t *testing.T) {
	const large = 1 << 20
	kept := make(chan weak.Pointer[byte], 2)
	tc := start(t, "", routes{"POST /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		b := make([]byte, large)
		kept <- weak.Make(&b[0])
		body, _ := r.Body.Bytes()
		kept <- weak.Make(&body[0])
		w.SendBytes(b)
	})})
	p := tc.dial()
	p.send(post("/s", length(60_000), strings.Repeat("b", 60_000)))
	p.answer("POST")
	tc.rests("after the answer")
	for range 2 {
		runtime.GC()
		if b := <-kept; b.Value() != nil {
			t.Error("a body is still alive")
		}
	}
}

// A source that claims to have read more than it was asked for, or less than nothing, is a failed one: the loop does not believe it.
func TestSourceThatLies(t *testing.T) {
	for _, claim := range []int{-1, 5, pullSize + 1} {
		tc := start(t, "", routes{"/s": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.SendReader(readerFunc(func([]byte) (int, error) { return claim, nil }), 4)
		}), "/x": text("x")})
		p := tc.dial()
		p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
		if r, err := p.reader.Read("GET"); err == nil {
			t.Errorf("%d: %+v", claim, r)
		}
		if r := tc.dial().get("/x"); string(r.Body) != "x" {
			t.Errorf("%d: the child does not serve any more", claim)
		}
	}
}

// What cannot be sent is the handler's mistake, where it makes it; the fields of a Fixed belong to its status.
func TestSendOfNothing(t *testing.T) {
	for name, c := range map[string]struct {
		serve  func(w *web.Response)
		status int
		body   string
	}{
		"no file":             {func(w *web.Response) { w.SendFile(nil, 0, 4) }, 500, "Internal Server Error\n"},
		"no source":           {func(w *web.Response) { w.SendReader(nil, -1) }, 500, "Internal Server Error\n"},
		"an interim Fixed":    {func(w *web.Response) { w.SendFixed(&web.Fixed{Status: 100}) }, 500, "Internal Server Error\n"},
		"a Fixed and a 204":   {func(w *web.Response) { w.SendFixed(web.NewFixed(200, new(web.Header), []byte("f"))); w.SetStatus(204) }, 200, "f"},
		"a Fixed and a 205":   {func(w *web.Response) { w.SendFixed(web.NewFixed(200, new(web.Header), []byte("f"))); w.SetStatus(205) }, 200, "f"},
		"a Fixed and a page":  {func(w *web.Response) { w.SendFixed(web.NewFixed(204, new(web.Header), nil)); web.Error(w, 404) }, 404, "Not Found\n"},
		"a Fixed 204 and 200": {func(w *web.Response) { w.SendFixed(web.NewFixed(204, new(web.Header), nil)); w.SetStatus(200) }, 204, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc := start(t, "", routes{"/s": web.HandlerFunc(func(w *web.Response, _ *web.Request) { c.serve(w) })})
			p := tc.dial()
			for range 2 {
				if r := p.get("/s"); r.Status != c.status || string(r.Body) != c.body {
					t.Errorf("%d %q", r.Status, r.Body)
				}
			}
		})
	}
}

// Field lines that were encoded beforehand come before those of the header, of which none takes their Content-Type's place; what is sent
// instead of the file does not have them.
func TestSendFileLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	var header web.Header
	header.Add("Content-Type", "text/x-file")
	header.Add("ETag", `"1"`)
	header.Add("Content-Length", "99") // only the server writes it
	lines := web.EncodeFields(&header)
	serve := func(after func(w *web.Response)) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			f, err := os.Open(path)
			if err != nil {
				panic(err)
			}
			w.SetStatus(206)
			w.Header().Set("X-More", "1")
			w.SendFileLines(lines, web.OwnFile(f), 2, 5)
			after(w)
		})
	}
	tc := start(t, "", routes{
		"/file":  serve(func(*web.Response) {}),
		"/type":  serve(func(w *web.Response) { w.Header().Set("Content-Type", "text/other") }),
		"/error": serve(func(w *web.Response) { web.Error(w, 404) }),
	})
	p := tc.dial()
	for target, want := range map[string]string{
		"/file": "206 23456 text/x-file \"1\"", "/type": "206 23456 text/x-file \"1\"", "/error": "404 Not Found\n text/plain; charset=utf-8 ",
	} {
		r := p.get(target)
		types, tags := r.Fields.All("Content-Type"), r.Fields.All("ETag")
		if got := fmt.Sprint(r.Status, " ", string(r.Body), " ", strings.Join(types, "|"), " ", strings.Join(tags, "|")); got != want || r.Get("X-More") != "1" {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
