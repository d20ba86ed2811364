package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/web"
)

// How a response that is written is framed (RFC 9112, 6.3).
func TestStreamFraming(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 20<<10)
	write := func(pieces ...string) func(w *web.Response) {
		return func(w *web.Response) {
			for _, p := range pieces {
				io.WriteString(w, p)
			}
		}
	}
	flushed := func(pieces ...string) func(w *web.Response) {
		return func(w *web.Response) {
			for _, p := range pieces {
				io.WriteString(w, p)
				w.Flush()
			}
		}
	}
	declared := func(length string, then func(w *web.Response)) func(w *web.Response) {
		return func(w *web.Response) { w.Header().Set("Content-Length", length); then(w) }
	}
	status := func(code int, then func(w *web.Response)) func(w *web.Response) {
		return func(w *web.Response) { w.SetStatus(code); then(w) }
	}
	const (
		old       = "GET /s HTTP/1.0\r\nHost: x\r\n\r\n"
		oldKeep   = "GET /s HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
		get       = "GET /s HTTP/1.1\r\nHost: x\r\n\r\n"
		getClose  = "GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		head      = "HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n"
		cut       = http1test.Framing("cut") // the response must not look complete
		noFraming = http1test.NoBody
	)
	tests := []struct {
		name    string
		request string
		handler func(w *web.Response)
		framing http1test.Framing
		body    string
		close   bool
	}{
		{"nothing", get, write(), http1test.ContentLength, "", false},
		{"small", get, write("a", "b"), http1test.ContentLength, "ab", false},
		{"exactly StreamAt", get, write(large[:web.StreamAt]), http1test.ContentLength, large[:web.StreamAt], false},
		{"beyond StreamAt", get, write(large[:web.StreamAt], "x"), http1test.Chunked, large[:web.StreamAt] + "x", false},
		{"large", get, write(large), http1test.Chunked, large, false},
		{"flushed", get, flushed("a", "b"), http1test.Chunked, "ab", false},
		{"flushed, nothing written", get, flushed(""), http1test.Chunked, "", false},
		{"large, client closes", getClose, write(large), http1test.Chunked, large, true},
		{"flushed, client closes", getClose, flushed("a", "b"), http1test.Chunked, "ab", true},
		{"HTTP/1.0", old, write(large), http1test.UntilClose, large, true},
		{"HTTP/1.0, flushed", old, flushed("a", "b"), http1test.UntilClose, "ab", true},
		{"HTTP/1.0, keep-alive", oldKeep, write(large), http1test.UntilClose, large, true},
		{"HTTP/1.0, keep-alive, declared", oldKeep, declared(fmt.Sprint(len(large)), write(large)), http1test.ContentLength, large, false},
		{"declared", get, declared("2", flushed("a", "b")), http1test.ContentLength, "ab", false},
		{"declared, large", get, declared(fmt.Sprint(len(large)), write(large)), http1test.ContentLength, large, false},
		{"declared, too little", get, declared("3", flushed("a", "b")), cut, "", true},
		{"declared, too much", get, declared("1", flushed("a", "b")), http1test.ContentLength, "a", false},
		{"HEAD", head, write("ab"), noFraming, "", false},
		{"HEAD, large", head, write(large), noFraming, "", false},
		{"HEAD, flushed", head, flushed("a", "b"), noFraming, "", false},
		{"HEAD, declared and not written", head, declared("100", write()), noFraming, "", false},
		{"204", get, status(204, flushed("a")), noFraming, "", false},
		{"304", get, status(304, write(large)), noFraming, "", false},
	}
	for _, inline := range []bool{false, true} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, inline %v", test.name, inline), func(t *testing.T) {
				t.Parallel()
				serve := func(w *web.Response, r *web.Request) { test.handler(w) }
				var h web.Handler = web.HandlerFunc(serve)
				if inline {
					h = nowHandler(serve)
				}
				tc := start(t, "", routes{"/s": h, "GET /x": text("x")})
				p := tc.dial()
				p.send(test.request)
				method, _, _ := strings.Cut(test.request, " ")
				r, err := p.reader.Read(method)
				if test.framing == cut {
					if err == nil {
						t.Fatalf("a response that is cut looks complete: %+v", r)
					}
					tc.wantClosed(reasonAborted, 1)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if r.Framing != test.framing || string(r.Body) != test.body || r.Close != test.close {
					t.Fatalf("framing %s, %d bytes, close %v; want %s, %d, %v", r.Framing, len(r.Body), r.Close, test.framing, len(test.body), test.close)
				}
				if strings.HasPrefix(test.name, "HEAD, declared") && r.Get("Content-Length") != "100" {
					t.Errorf("Content-Length %q", r.Get("Content-Length"))
				}
				if test.close {
					p.wantEnd()
				} else if r := p.get("/x"); string(r.Body) != "x" {
					t.Fatalf("the next answer is %q", r.Body)
				}
			})
		}
	}
}

// A stream that has been flushed and goes on later is not over, whatever the connection does afterwards.
func TestStreamPausesBetweenFlushes(t *testing.T) {
	for _, request := range []string{
		"GET /s HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /s HTTP/1.0\r\nHost: x\r\n\r\n",
	} {
		more := make(chan struct{})
		tc := start(t, "", routes{"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			for _, piece := range []string{"one ", "two ", "three"} {
				io.WriteString(w, piece)
				w.Flush()
				<-more
			}
		})})
		p := tc.dial()
		p.send(request)
		for range 3 {
			tc.until("a piece has left", func(l *loop) bool {
				c := only(l)
				return c != nil && c.out == nil && c.pipeline.head() != nil && c.pipeline.head().begun
			})
			tc.rests("between two pieces")
			more <- struct{}{}
		}
		if r := p.answer("GET"); string(r.Body) != "one two three" {
			t.Fatalf("%q", r.Body)
		}
	}
}

// A client that does not read stops the producer: neither the window nor the output grow.
func TestSlowReaderStopsTheProducer(t *testing.T) {
	var written atomic.Int64
	const total = 64 << 20
	piece := bytes.Repeat([]byte("p"), 10_000)
	tc := start(t, "", routes{"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		for written.Load() < total {
			n, err := w.Write(piece)
			if err != nil {
				return
			}
			written.Add(int64(n))
		}
	})})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("the socket is full", func(l *loop) bool { c := only(l); return c != nil && c.out != nil && !c.has(flagWritable) })
	tc.until("the window is full", func(l *loop) bool {
		s := only(l).pipeline.head().stream
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.posted && len(s.buf) >= streamWindow
	})
	tc.rests("while the client does not read")
	if n := written.Load(); n > 2<<20 {
		t.Errorf("%d bytes were taken from the handler though the client reads nothing", n)
	}
	// It reads on, but so slowly that the output is never empty: nothing may pile up behind what has left.
	buf := make([]byte, 4<<10)
	for read := 0; read < 8<<20; {
		n, err := p.Conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		read += n
		if read%(1<<20) < n {
			tc.onLoop(func(l *loop) {
				c := only(l)
				if c.out != nil && cap(c.out.tail) > 4*highWater {
					t.Fatalf("a tail of %d bytes after %d were read", cap(c.out.tail), read)
				}
			})
		}
	}
	p.reset()
	tc.wantClosed(reasonClientGone, 1)
}

// A producer that waits for its client learns at once that the client has gone.
func TestGoneClientFreesTheProducer(t *testing.T) {
	failed := make(chan error, 2)
	tc := start(t, "", routes{"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		piece := make([]byte, 64<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				failed <- err
				failed <- w.Flush()
				return
			}
		}
	})})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("the socket is full", func(l *loop) bool { c := only(l); return c != nil && c.out != nil && !c.has(flagWritable) })
	tc.rests("while the producer waits")
	p.reset()
	if err := await(t, "the producer", failed); !errors.Is(err, errClientGone) {
		t.Error(err)
	}
	if err := await(t, "a flush afterwards", failed); !errors.Is(err, errClientGone) {
		t.Error(err)
	}
	tc.wantClosed(reasonClientGone, 1)
}

func TestPanicInMidStream(t *testing.T) {
	for _, value := range []any{"oops", http.ErrAbortHandler} {
		tc := start(t, "", routes{"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			io.WriteString(w, "begun")
			w.Flush()
			panic(value)
		})})
		p := tc.dial()
		p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
		if r, err := p.reader.Read("GET"); err == nil {
			t.Fatalf("a response that is cut looks complete: %q", r.Body)
		}
		tc.wantClosed(reasonAborted, 1)
	}
}

// Two streams of one connection: the second waits for its turn, and its head does not come before the end of the first.
func TestStreamsInOrder(t *testing.T) {
	large := strings.Repeat("x", 300<<10)
	gate := make(chan struct{})
	tc := start(t, "", routes{"GET /{n}": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		if r.PathValue("n") == "a" {
			<-gate
		}
		io.WriteString(w, large+r.PathValue("n"))
	})})
	p := tc.dial()
	p.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("the second waits", func(l *loop) bool {
		c := only(l)
		return c != nil && c.pipeline.depth() == 2 && c.pipeline.pending.last.begunStream
	})
	tc.rests("while the first has not begun")
	close(gate)
	for _, n := range []string{"a", "b"} {
		if r := p.answer("GET"); string(r.Body) != large+n {
			t.Fatalf("%d bytes, want those of %s", len(r.Body), n)
		}
	}
}

// A body that ends with the connection (HTTP/1.0) and is given up must not look whole: the connection is reset.
func TestAbortedBodyOfHTTP10IsReset(t *testing.T) {
	tc := start(t, "", routes{"/": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.WriteString("part")
		w.Flush()
		panic(http.ErrAbortHandler)
	})})
	p := tc.dial()
	p.send("GET / HTTP/1.0\r\n\r\n")
	if all, err := io.ReadAll(p.raw); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %q, %v; want a reset", all, err)
	}
}
