package child

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
)

// A deadline in the past has passed; one without a bound lifts the limits of the server.
var (
	past    = time.Unix(1, 0)
	noBound time.Time
)

// A missed read deadline fails the reading, whether it waits already or not, and closes behind the answer.
func TestReadDeadline(t *testing.T) {
	for name, deadline := range map[string]func() time.Time{
		"passed":  func() time.Time { return past },
		"to come": func() time.Time { return time.Now().Add(30 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			tc := start(t, "", routes{"POST /p": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				if err := w.SetReadDeadline(deadline()); err != nil {
					t.Error(err)
				}
				_, err := io.ReadAll(&r.Body)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("reading: %v", err)
				}
				w.SendString("late")
			})})
			p := tc.dial()
			p.send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\npart")
			if r := p.answer("POST"); string(r.Body) != "late" || !r.Close {
				t.Fatalf("%q, close %v", r.Body, r.Close)
			}
			p.halfClose()
			p.wantEnd()
			tc.wantClosed(reasonBodyTimeout, 1)
		})
	}
}

// A read deadline replaces body_timeout, for this exchange only, and can be moved.
func TestReadDeadlineReplacesTheLimit(t *testing.T) {
	waiting := make(chan struct{})
	tc := start(t, "limits {\n  body_timeout = \"100ms\"\n}\n", routes{"POST /p": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		if r.QueryValue("own") != "" {
			w.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			w.SetReadDeadline(noBound)
			close(waiting)
		}
		body, err := r.Body.Bytes()
		if err != nil {
			web.Error(w, 400)
			return
		}
		w.SendBytes(body[:4])
	})})
	p := tc.dial()
	p.send("POST /p?own=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	await(t, "the handler", waiting)
	tc.until("no limit holds", func(l *loop) bool { c := only(l); return c.phase == phaseStream && !c.timer.Armed() })
	p.send("body" + string(make([]byte, 100000-4)))
	if r := p.answer("POST"); string(r.Body) != "body" || r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
	p.send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	if r := p.answer("POST"); r.Status != 408 {
		t.Fatalf("%d: the limit does not hold for the next exchange", r.Status)
	}
}

// A missed write deadline ends the connection: of a stream, whose Write fails, and of an answer whose handler has returned.
func TestWriteDeadline(t *testing.T) {
	failed := make(chan error, 1)
	tc := start(t, "", routes{
		"/stream": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 16<<10))
			}
			failed <- err
		}),
		"/passed": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SetWriteDeadline(past)
			failed <- w.Flush()
		}),
		"/bytes": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			w.SendBytes(make([]byte, 8<<20))
		}),
		"/in-time": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SetWriteDeadline(time.Now().Add(time.Hour))
			w.SendString("x")
		}),
	})
	tc.smallBuffers()
	for i, target := range []string{"/stream", "/passed", "/bytes"} {
		p := tc.dialSmall()
		if r := p.get("/in-time"); string(r.Body) != "x" || r.Close {
			t.Fatalf("%q, close %v", r.Body, r.Close)
		}
		p.send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if target != "/bytes" {
			if err := await(t, "the error", failed); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", target, err)
			}
		}
		tc.wantClosed(reasonWriteTimeout, uint64(i+1))
	}
}

// A write deadline without a bound lifts write_timeout, for this exchange only.
func TestWriteDeadlineReplacesTheLimit(t *testing.T) {
	tc := start(t, "limits {\n  write_timeout = \"100ms\"\n}\n", routes{"/{own}": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		if r.PathValue("own") == "own" {
			w.SetWriteDeadline(noBound)
		}
		w.SendBytes(make([]byte, 8<<20))
	})})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send("GET /own HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("no limit holds", func(l *loop) bool {
		c := only(l)
		return c != nil && c.out != nil && !c.has(flagWritable) && c.phase == phaseStream && !c.timer.Armed()
	})
	if r := p.answer("GET"); len(r.Body) != 8<<20 {
		t.Fatalf("%d bytes", len(r.Body))
	}
	p.send("GET /limit HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.wantClosed(reasonWriteTimeout, 1)
}

// The deadlines of an exchange that is over do nothing to the next one, which may use its memory.
func TestDeadlinesEndWithTheExchange(t *testing.T) {
	tc := start(t, "", routes{
		"/short": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SetReadDeadline(time.Now().Add(time.Millisecond))
			w.SetWriteDeadline(time.Now().Add(time.Millisecond))
			w.SendString("x")
		}),
		"/stream": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			for range 5 {
				if _, err := io.WriteString(w, "x"); err != nil {
					t.Error(err)
				}
				if err := w.Flush(); err != nil {
					t.Error(err)
				}
			}
		}),
	})
	p := tc.dial()
	for range 100 {
		p.send("GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := p.reader.Read("GET")
		if err != nil { // on a busy machine the millisecond is over first
			p = tc.dial()
			continue
		}
		if string(r.Body) != "x" {
			t.Fatalf("%q", r.Body)
		}
		if r := p.get("/stream"); string(r.Body) != "xxxxx" {
			t.Fatalf("%q", r.Body)
		}
	}
}
