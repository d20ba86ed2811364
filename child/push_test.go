package child

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/web"
)

const getStream = "GET /s HTTP/1.1\r\nHost: x\r\n\r\n"

// pushing is a handler that hands its stream to the test.
func pushing(streams chan<- *web.PushStream) web.Handler {
	return web.HandlerFunc(func(w *web.Response, r *web.Request) {
		s, err := w.Events()
		if err != nil {
			panic(err)
		}
		streams <- s
	})
}

// wantOver waits for the end of a stream.
func wantOver(t *testing.T, s *web.PushStream) {
	t.Helper()
	await(t, "the end of the stream", s.Done())
	if err := s.Push([]byte("x")); !errors.Is(err, web.ErrPushClosed) {
		t.Errorf("Push after the end: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after the end: %v", err)
	}
}

// How a pushed response is framed, in every version, and what may follow it.
func TestPushFraming(t *testing.T) {
	const (
		old     = "GET /s HTTP/1.0\r\nHost: x\r\n\r\n"
		oldKeep = "GET /s HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
		closing = "GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	)
	for _, test := range []struct {
		name, request string
		framing       http1test.Framing
		close         bool
	}{
		{"HTTP/1.1", getStream, http1test.Chunked, false},
		{"client closes", closing, http1test.Chunked, true},
		{"HTTP/1.0", old, http1test.UntilClose, true},
		{"HTTP/1.0, keep-alive", oldKeep, http1test.UntilClose, true},
	} {
		for _, inline := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, inline %v", test.name, inline), func(t *testing.T) {
				t.Parallel()
				streams := make(chan *web.PushStream, 1)
				h := pushing(streams)
				if inline {
					h = nowHandler(h.Serve)
				}
				tc := start(t, "", routes{"GET /s": h, "GET /x": text("x")})
				p := tc.dial()
				p.send(test.request)
				s := await(t, "the stream", streams)
				for _, piece := range []string{"one ", "two ", "three"} {
					if err := s.Push([]byte(piece)); err != nil {
						t.Fatal(err)
					}
				}
				s.Close()
				r := p.answer("GET")
				if string(r.Body) != "one two three" || r.Framing != test.framing || r.Close != test.close {
					t.Fatalf("%q, %s, close %v", r.Body, r.Framing, r.Close)
				}
				if r.Get("Content-Type") != "text/event-stream" || r.Get("Cache-Control") != "no-store" {
					t.Errorf("%v", r.Fields)
				}
				wantOver(t, s)
				if test.close {
					p.wantEnd()
				} else if r := p.get("/x"); string(r.Body) != "x" {
					t.Fatalf("the next answer is %q", r.Body)
				}
			})
		}
	}
}

// Where no content may follow, the stream is over at once and the connection goes on.
func TestPushWithoutContent(t *testing.T) {
	for _, test := range []struct {
		method string
		status int
	}{{"HEAD", 200}, {"GET", 204}, {"GET", 304}, {"GET", 205}} {
		t.Run(fmt.Sprint(test.method, test.status), func(t *testing.T) {
			streams := make(chan *web.PushStream, 1)
			tc := start(t, "", routes{"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				w.SetStatus(test.status)
				pushing(streams).Serve(w, r)
			}), "GET /x": text("x")})
			p := tc.dial()
			p.send(test.method + " /s HTTP/1.1\r\nHost: x\r\n\r\n")
			if r := p.answer(test.method); r.Status != test.status || len(r.Body) != 0 {
				t.Fatalf("%d %q", r.Status, r.Body)
			}
			wantOver(t, await(t, "the stream", streams))
			if r := p.get("/x"); string(r.Body) != "x" {
				t.Fatalf("the next answer is %q", r.Body)
			}
		})
	}
}

// What a handler does with the response after Push is refused, and harms nothing; nor does a response that has begun become a stream.
func TestPushCommits(t *testing.T) {
	after := make(chan []error, 2)
	tc := start(t, "", routes{
		"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.Header().Set("Content-Length", "3")
			w.Trailer().Set("X-Late", "y")
			io.WriteString(w, "dropped")
			s, err := w.Push()
			if err != nil {
				t.Error(err)
				return
			}
			_, again := w.Push()
			_, write := w.Write([]byte("x"))
			_, writeString := w.WriteString("x")
			_, _, detach := w.Detach()
			w.SendString("x")
			file := &fakeFile{}
			w.SendFile(file, 0, 1)
			if file.released != 1 {
				t.Error("the file was not released")
			}
			after <- []error{again, write, writeString, detach, w.Flush(), w.Inform(103, nil)}
			s.Push([]byte("all"))
			s.Close()
		}),
		"GET /late": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			io.WriteString(w, "streamed")
			w.Flush()
			_, err := w.Push()
			after <- []error{err}
		}),
	})
	p := tc.dial()
	if r := p.get("/s"); string(r.Body) != "all" || r.Get("Trailer") != "" || r.Get("Content-Length") != "" {
		t.Fatalf("%q %v", r.Body, r.Fields)
	}
	if r := p.get("/late"); string(r.Body) != "streamed" {
		t.Fatalf("%q", r.Body)
	}
	for range 2 {
		for i, err := range await(t, "the errors", after) {
			if !errors.Is(err, web.ErrCommitted) {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
}

// Requests behind a stream wait for its end, those in flight and those to come, and their answers keep their order.
func TestPushKeepsTheOrder(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	begun, gate := make(chan struct{}), make(chan struct{})
	tc := start(t, "", routes{
		"GET /s": pushing(streams),
		"GET /first": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			close(begun)
			<-gate
			w.SendString("first")
		}),
		"POST /p": text("p"),
		"GET /x":  text("x"),
	})
	p := tc.dial()
	p.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + getStream + getX)
	await(t, "the first", begun)
	s := await(t, "the stream", streams)
	if err := s.Push([]byte("early ")); err != nil { // not its turn yet
		t.Fatal(err)
	}
	p.send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1" + getX)
	close(gate)
	if r := p.answer("GET"); string(r.Body) != "first" {
		t.Fatalf("%q", r.Body)
	}
	tc.until("the stream goes on without its exchange", func(l *loop) bool {
		c := only(l)
		return c != nil && c.push != nil && c.push.ex == nil
	})
	s.Push([]byte("late"))
	tc.rests("while a stream is open and requests wait behind it")
	s.Close()
	for i, want := range []string{"early late", "x", "p", "x"} {
		method := "GET"
		if want == "p" {
			method = "POST"
		}
		if r := p.answer(method); string(r.Body) != want {
			t.Fatalf("answer %d: %q", i, r.Body)
		}
	}
}

// Push is all or nothing against PushBacklog, and room comes back as the client reads.
func TestPushBacklog(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	tc := start(t, "", routes{"GET /s": pushing(streams)})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send(getStream)
	s := await(t, "the stream", streams)
	if err := s.Push(make([]byte, web.PushBacklog+1)); !errors.Is(err, web.ErrPushFull) {
		t.Fatalf("more than the backlog: %v", err)
	}
	piece := []byte(strings.Repeat("0123456789", 1000))
	sent := 0
	for {
		err := s.Push(piece)
		if errors.Is(err, web.ErrPushFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent += len(piece); sent > 64<<20 {
			t.Fatal("the backlog has no bound")
		}
		tc.onLoop(func(*loop) {}) // the loop has taken what it could
	}
	tc.onLoop(func(l *loop) {
		if c := only(l); c.out.unsent() > web.PushBacklog+1024 {
			t.Errorf("%d bytes wait in the connection", c.out.unsent())
		}
	})
	tc.rests("while the client of a stream does not read")
	done := make(chan int)
	go func() {
		r, err := p.reader.Read("GET")
		if err != nil {
			t.Error(err)
			close(done)
			return
		}
		done <- len(r.Body)
	}()
	deadline := time.Now().Add(patience)
	for { // the client reads now: there will be room
		if err := s.Push(piece); err == nil {
			sent += len(piece)
			break
		} else if !errors.Is(err, web.ErrPushFull) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		tc.onLoop(func(*loop) {})
	}
	s.Close()
	if got := await(t, "the body", done); got != sent {
		t.Errorf("%d bytes arrived of %d", got, sent)
	}
}

// However a stream ends, Done is closed, once, and nothing of it is left.
func TestPushEnds(t *testing.T) {
	for name, end := range map[string]func(tc *testChild, p *peer, s *web.PushStream) closeReason{
		"reset": func(tc *testChild, p *peer, s *web.PushStream) closeReason {
			p.reset()
			return reasonClientGone
		},
		"closed, then pushed to": func(tc *testChild, p *peer, s *web.PushStream) closeReason {
			for line := ""; line != "hello \r\n"; { // unread, it would make a reset of the close
				var err error
				if line, err = p.raw.ReadString('\n'); err != nil {
					tc.t.Fatal(err)
				}
			}
			p.Conn.Close()
			if err := s.Ping(); err != nil { // answered by a reset
				tc.t.Error(err)
			}
			return reasonClientGone
		},
		"write timeout": func(tc *testChild, p *peer, s *web.PushStream) closeReason {
			for s.Push(make([]byte, 16<<10)) == nil {
				tc.onLoop(func(*loop) {})
			}
			return reasonWriteTimeout
		},
		"end of the drain": func(tc *testChild, p *peer, s *web.PushStream) closeReason {
			select {
			case <-s.Draining():
				tc.t.Error("it drains from the start")
			default:
			}
			tc.loop.call(func() { tc.loop.drain(func() {}); tc.loop.closeIdle() })
			await(tc.t, "Draining", s.Draining())
			select {
			case <-s.Done():
				tc.t.Error("the beginning of a drain ends the stream")
			default:
			}
			s.Push([]byte("bye"))
			tc.loop.call(tc.loop.endDrain)
			if r := p.answer("GET"); !strings.HasSuffix(string(r.Body), "bye") {
				tc.t.Errorf("%q", r.Body)
			}
			p.wantEnd()
			return reasonDrainTimeout
		},
		"closed in a drain": func(tc *testChild, p *peer, s *web.PushStream) closeReason {
			tc.loop.call(func() { tc.loop.drain(func() {}); tc.loop.closeIdle() })
			await(tc.t, "Draining", s.Draining())
			s.Close()
			p.answer("GET")
			p.wantEnd()
			p.Conn.Close()
			return reasonDrain
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			streams := make(chan *web.PushStream, 1)
			tc := start(t, "limits {\n  write_timeout = \"200ms\"\n}\n", routes{"GET /s": pushing(streams)})
			tc.smallBuffers()
			p := tc.dialSmall()
			p.send(getStream)
			s := await(t, "the stream", streams)
			s.Push([]byte("hello "))
			tc.until("it is on its way", func(l *loop) bool {
				c := only(l)
				return c != nil && c.push != nil && c.out == nil
			})
			why := end(tc, p, s)
			wantOver(t, s)
			tc.wantClosed(why, 1)
		})
	}
}

// A client that ends its side still gets its stream.
func TestPushAfterHalfClose(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	tc := start(t, "", routes{"GET /s": pushing(streams)})
	p := tc.dial()
	p.send(getStream)
	p.halfClose()
	s := await(t, "the stream", streams)
	for _, piece := range []string{"a", "b"} {
		s.Push([]byte(piece))
		tc.until("it has left", func(l *loop) bool { c := only(l); return c != nil && c.push != nil && c.out == nil })
	}
	tc.rests("after the half-close")
	s.Close()
	if r := p.answer("GET"); string(r.Body) != "ab" {
		t.Fatalf("%q", r.Body)
	}
	p.wantEnd()
	// The end of its side is read together with the request, or when the stream is over.
	tc.until("the end", func(l *loop) bool { return l.numbers.closed[reasonClientDone]+l.numbers.closed[reasonHalfClosed] == 1 })
}

// The system looks after the client of a stream that is silent.
func TestPushKeepsAlive(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	tc := start(t, "", routes{"GET /s": pushing(streams)})
	tc.dial().send(getStream)
	await(t, "the stream", streams)
	tc.until("the stream goes on without its exchange", func(l *loop) bool {
		c := only(l)
		return c != nil && c.push != nil && c.push.ex == nil
	})
	tc.onLoop(func(l *loop) {
		fd := int(only(l).fd)
		on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		if err != nil || on == 0 {
			t.Errorf("SO_KEEPALIVE %d, %v", on, err)
		}
		if idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); err != nil || idle != pushIdle {
			t.Errorf("TCP_KEEPIDLE %d, %v", idle, err)
		}
	})
}

// A handler that fails after Push cuts the response; one whose client has gone gets no stream.
func TestPushFailures(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	gone := make(chan error, 1)
	begun := make(chan struct{})
	tc := start(t, "", routes{
		"GET /panics": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			pushing(streams).Serve(w, r)
			panic("after Push")
		}),
		"GET /gone": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			close(begun)
			<-r.Context().Done()
			_, err := w.Push()
			gone <- err
		}),
	})
	p := tc.dial()
	p.send("GET /panics HTTP/1.1\r\nHost: x\r\n\r\n")
	wantOver(t, await(t, "the stream", streams))
	if r, err := p.reader.Read("GET"); err == nil {
		t.Errorf("a response that is cut looks complete: %+v", r)
	}
	tc.wantClosed(reasonAborted, 1)

	p = tc.dial()
	p.send("GET /gone HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the handler", begun)
	p.reset()
	if err := await(t, "the error", gone); err == nil {
		t.Error("a stream for a client that has gone")
	}
}

// Many goroutines push to a stream, close it, and ask for its end, while its client goes.
func TestPushRaces(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	tc := start(t, "", routes{"GET /s": pushing(streams)})
	for round := range 30 {
		p := tc.dial()
		p.send(getStream)
		s := await(t, "the stream", streams)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 50 {
					if s.Push([]byte("0123456789")) == web.ErrPushClosed {
						break
					}
				}
				if i == 0 {
					s.Close()
				}
				<-s.Done()
			})
		}
		switch round % 3 {
		case 0:
			p.reset()
		case 1:
			p.Conn.Close()
		case 2:
			if r := p.answer("GET"); len(r.Body)%10 != 0 {
				t.Errorf("%d bytes", len(r.Body))
			}
		}
		all.Wait()
	}
}
