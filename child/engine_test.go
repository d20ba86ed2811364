package child

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

// explosive panics when it is given back.
type explosive struct{ web.File }

func (explosive) Release()                 { panic("given back") }
func (explosive) Close() error             { panic("given back") }
func (explosive) Read([]byte) (int, error) { return 0, io.EOF }

// What a handler gives to the server may panic when it is given back, wherever that happens: the child lives and says so.
func TestReleaseThatPanics(t *testing.T) {
	for name, c := range map[string]struct {
		serve  func(w *web.Response)
		status int // 0: the response is cut
	}{
		"sent":      {func(w *web.Response) { w.SendFile(explosive{web.OwnFile(openTemp(t, "body"))}, 0, 4) }, 200},
		"empty":     {func(w *web.Response) { w.SendFile(explosive{web.OwnFile(openTemp(t, "body"))}, 0, 0) }, 200},
		"bodyless":  {func(w *web.Response) { w.SetStatus(204); w.SendFile(explosive{web.OwnFile(openTemp(t, "body"))}, 0, 4) }, 204},
		"a reader":  {func(w *web.Response) { w.SetStatus(204); w.SendReader(explosive{}, -1) }, 204},
		"replaced":  {func(w *web.Response) { w.SendFile(explosive{}, 0, 4); w.SendString("x") }, 500},
		"panicking": {func(w *web.Response) { w.SendFile(explosive{}, 0, 4); panic("before") }, 0},
	} {
		for _, inline := range []bool{false, true} {
			t.Run(fmt.Sprint(name, inline), func(t *testing.T) {
				serve := func(w *web.Response, r *web.Request) { c.serve(w) }
				var h web.Handler = web.HandlerFunc(serve)
				if inline {
					h = nowHandler(serve)
				}
				tc := start(t, "", routes{"/s": h, "/x": text("x")})
				p := tc.dial()
				p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
				r, err := p.reader.Read("GET")
				switch {
				case c.status == 0 && err == nil:
					t.Errorf("%d", r.Status)
				case c.status > 0 && (err != nil || r.Status != c.status && r.Status != 500):
					t.Errorf("%+v, %v", r, err)
				}
				if r := tc.dial().get("/x"); string(r.Body) != "x" {
					t.Error("the child does not serve any more")
				}
				tc.until("the panic is logged", func(*loop) bool { return strings.Contains(tc.loggedLines(), "panicked") })
			})
		}
	}
}

// A unix client that has written its request and closed is served, as one of TCP is.
func TestRequestBeforeAHangup(t *testing.T) {
	served := make(chan string, 4)
	tc := start(t, "", routes{"POST /p": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		body, err := r.Body.Bytes()
		served <- fmt.Sprint(len(body), err)
	})})
	for _, size := range []int{4, 60_000, 150_000} {
		p := tc.inject(control.RoleLive)
		tc.until("it is there", func(l *loop) bool { return l.table.Len() == 1 && only(l).has(flagRegistered) })
		held := make(chan struct{})
		tc.loop.call(func() { <-held }) // the loop sees request and hangup together
		p.send(post("/p", length(size), strings.Repeat("b", size)))
		p.Conn.Close()
		close(held)
		if got := await(t, "the request", served); got != fmt.Sprint(size, error(nil)) {
			t.Errorf("%d: %s", size, got)
		}
		tc.until("the connection is closed", func(l *loop) bool { return l.table.Len() == 0 })
	}
}

// A client that has ended its side may still reset: the handler's context ends then, and not before.
func TestResetAfterHalfClose(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	tc := start(t, "", routes{"GET /wait": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		close(begun)
		<-r.Context().Done()
		close(over)
	})})
	p := tc.dial()
	p.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the handler", begun)
	p.halfClose()
	tc.until("the end of its side is seen", func(l *loop) bool { return only(l).has(flagEOF | flagEnd) })
	select {
	case <-over:
		t.Error("the end of the client's side cancels")
	default:
	}
	p.reset()
	await(t, "the context", over)
	tc.wantClosed(reasonClientGone, 1)
}

// A fresh connection that says nothing holds a drain for a moment only.
func TestDrainOfASilentConnection(t *testing.T) {
	tc := start(t, "limits {\n  head_timeout = \"1h\"\n}\n", nil)
	p := tc.dial()
	tc.until("it is there", func(l *loop) bool { return l.table.Len() == 1 })
	tc.drain(time.Hour, 0)
	p.wantEnd()
	p.Conn.Close()
	await(t, "the end of the child", tc.ended)
}

// A body that is malformed while nobody reads it: the answer that has not begun is a 400, and the connection closes.
func TestMalformedBodyBeforeTheAnswer(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
		"GET /b":    text("unread"),
	})
	p := tc.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n12000\r\n" + strings.Repeat("b", 0x12000))
	tc.until("its handler has returned", func(l *loop) bool {
		c := only(l)
		return c != nil && c.pipeline.depth() == 2 && c.pipeline.pending.last.finished
	})
	p.send("\r\nnonsense\r\n")
	tc.until("it is refused", func(l *loop) bool { return only(l).has(flagNoMore) })
	close(gate)
	if r := p.answer("GET"); string(r.Body) != "slow" || r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
	if r := p.answer("GET"); r.Status != 400 || !r.Close {
		t.Fatalf("%d, close %v", r.Status, r.Close)
	}
	p.halfClose()
	p.wantEnd()
	tc.wantClosed(reasonRefused, 1)
}

// Exchanges that end otherwise have a line in the access log as well: a detached connection at once, a pushed stream when it is over,
// whichever generation has the log by then.
func TestAccessLogOfDetachedAndPushed(t *testing.T) {
	streams := make(chan *web.PushStream, 1)
	tc := start(t, "site \"main\" {\n  access_log {\n    file = \"stdout\"\n  }\n}\n", routes{
		"GET /d": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			if conn, _, err := w.Detach(); err == nil {
				conn.Close()
			}
		}),
		"GET /s": pushing(streams),
	})
	p := tc.dial()
	p.send("GET /d HTTP/1.1\r\nHost: x\r\n\r\n")
	p.wantEnd()
	p = tc.dial()
	p.send(getStream)
	s := await(t, "the stream", streams)
	s.Push([]byte("12345"))
	tc.commitNext("", 2)
	s.Close()
	p.answer("GET")
	for _, line := range []string{`"GET /d HTTP/1.1" 101 0 "-" "-"`, `"GET /s HTTP/1.1" 200 5 "-" "-"`} {
		tc.until("its line is written", func(*loop) bool { return strings.Contains(tc.loggedLines(), line+"\n") })
	}
}

// What cannot be sent is refused as the programmer's mistake, and given back.
func TestSendRefusesNonsense(t *testing.T) {
	closed := &source{}
	file := &fakeFile{}
	tc := start(t, "", routes{
		"/file":   web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendFile(file, 0, -1) }),
		"/offset": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendFile(file, -1, 1) }),
		"/reader": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(closed, -2) }),
	})
	p := tc.dial()
	for _, target := range []string{"/file", "/offset", "/reader"} {
		if r := p.get(target); r.Status != 500 {
			t.Errorf("%s: %d", target, r.Status)
		}
	}
	if closed.closed.Load() != 1 || file.released != 2 {
		t.Errorf("closed %d times, released %d times", closed.closed.Load(), file.released)
	}
}

// Deadlines, informational responses and streams of a handler whose client has gone are refused.
func TestEngineAfterTheClient(t *testing.T) {
	begun, results := make(chan struct{}), make(chan error, 1)
	tc := start(t, "", routes{"GET /g": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		close(begun)
		<-r.Context().Done()
		if r.LocalAddr().IsValid() || !r.PeerAddr().IsValid() {
			t.Errorf("%v, %v", r.LocalAddr(), r.PeerAddr())
		}
		for i, err := range []error{w.Inform(103, nil), w.SetReadDeadline(past), w.SetWriteDeadline(past), w.Flush()} {
			if err == nil {
				results <- fmt.Errorf("%d is not refused", i)
			}
		}
		results <- nil
	})})
	p := tc.dial()
	p.send("GET /g HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the handler", begun)
	p.reset()
	if err := await(t, "the results", results); err != nil {
		t.Error(errors.Unwrap(err), err)
	}
}
