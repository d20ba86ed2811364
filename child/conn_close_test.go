package child

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

// Bytes that come with the end of the client's side, while the close lingers, are read: left where they are they would make a reset of it.
func TestLingeringCloseReadsToTheEnd(t *testing.T) {
	tc := start(t, "", routes{"/x": text("x")})
	p := tc.inject(control.RoleLive)
	tc.until("the connection is there", func(l *loop) bool { return l.table.Len() == 1 })
	held := make(chan struct{})
	tc.loop.call(func() { <-held })
	p.send("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + strings.Repeat("b", 150_000))
	p.halfClose()
	close(held)
	if r := p.answer("GET"); string(r.Body) != "x" || !r.Close {
		t.Errorf("%+v", r)
	}
	if rest, err := io.ReadAll(p.reader.Rest()); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v behind the answer", rest, err)
	}
}

// A body that the close delimits and that is cut ends in a reset, also when its client takes the last bytes long after.
func TestCutBodyOfASlowClientIsReset(t *testing.T) {
	for name, answer := range map[string]func(w *web.Response){
		"a stream": func(w *web.Response) {
			w.Write(make([]byte, 60_000))
			panic(http.ErrAbortHandler)
		},
		"a reader": func(w *web.Response) { w.SendReader(failing(60_000, io.ErrUnexpectedEOF), -1) },
	} {
		t.Run(name, func(t *testing.T) {
			tc := start(t, "", routes{"/": web.HandlerFunc(func(w *web.Response, _ *web.Request) { answer(w) })})
			tc.smallBuffers()
			p := tc.dialSmall()
			p.send("GET / HTTP/1.0\r\n\r\n")
			tc.until("the answer is cut and has not left", func(l *loop) bool { c := only(l); return c != nil && c.why == reasonAborted && c.out != nil })
			if all, err := io.ReadAll(p.raw); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("%d bytes, %v; want a reset", len(all), err)
			}
		})
	}
}

// So does one whose connection is closed for another reason.
func TestCloseInABodyThatItDelimits(t *testing.T) {
	release := make(chan struct{})
	tc := start(t, "", routes{"/": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.WriteString("part")
		w.Flush()
		<-release
	})})
	p := tc.dial()
	p.send("GET / HTTP/1.0\r\n\r\n")
	if _, err := p.raw.Peek(1); err != nil {
		t.Fatal(err)
	}
	tc.onLoop(func(l *loop) { l.close(only(l), reasonDrainTimeout) })
	if all, err := io.ReadAll(p.raw); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %q, %v; want a reset", all, err)
	}
	close(release)
}

// When an answer is aborted, what the client has sent behind it does not turn the close into a reset that destroys the answers before.
func TestAbortLingersForEarlierAnswers(t *testing.T) {
	large := make([]byte, 400_000)
	tc := start(t, "", routes{
		"/large":      web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SendBytes(large) }),
		"POST /abort": web.HandlerFunc(func(*web.Response, *web.Request) { panic(http.ErrAbortHandler) }),
	})
	p := tc.dial()
	p.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n" + post("/abort", "", "") + strings.Repeat(post("/abort", length(10_000), strings.Repeat("b", 10_000)), 10))
	tc.until("it is aborted", func(l *loop) bool { c := only(l); return c == nil || c.why == reasonAborted && c.out == nil })
	if r := p.answer("GET"); len(r.Body) != len(large) {
		t.Errorf("%d bytes", len(r.Body))
	}
}

// An abort ends the exchanges behind it, and with them the body of one that is still coming in.
func TestAbortBeforeABodyThatComesIn(t *testing.T) {
	for name, length := range map[string]int{"collected": 10, "streamed": 100_000} {
		t.Run(name, func(t *testing.T) {
			abort := make(chan struct{})
			tc := start(t, "", routes{
				"/abort": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
					w.Write(make([]byte, 60_000))
					<-abort
					panic(http.ErrAbortHandler)
				}),
				"/body": web.HandlerFunc(func(_ *web.Response, r *web.Request) {
					if body, err := r.Body.Bytes(); err == nil {
						t.Errorf("a body of %d bytes was served", len(body))
					}
				}),
			})
			tc.smallBuffers()
			p := tc.dialSmall()
			p.send("GET /abort HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Replace(post("/body", fmt.Sprintf("Content-Length: %d\r\n", length), "part"), "POST", "GET", 1))
			tc.until("the body comes in", func(l *loop) bool { c := only(l); return c != nil && c.receiver != nil && c.receiver.got == 4 })
			close(abort)
			tc.until("it is aborted", func(l *loop) bool { c := only(l); return c != nil && c.why == reasonAborted && c.out != nil })
			p.send(strings.Repeat("b", length-4))
			if _, err := p.reader.Read("GET"); err == nil {
				t.Error("the answer looks whole")
			}
		})
	}
}

// A body comes in to its end behind an answer that has begun and closes the connection.
func TestBodyBehindALastAnswer(t *testing.T) {
	const size = 1 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	tc := start(t, "", routes{"POST /echo": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			if err != nil {
				return
			}
		}
	})})
	for _, c := range []struct{ name, line, fields, body string }{
		{"close", "HTTP/1.1", "Connection: close\r\n" + length(size), body},
		{"close, chunked", "HTTP/1.1", "Connection: close\r\n" + isChunked, chunked(body, 50_000)},
		{"1.0", "HTTP/1.0", length(size), body},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := tc.dial()
			go func() {
				p.Write([]byte("POST /echo " + c.line + "\r\nHost: x\r\n" + c.fields + "\r\n"))
				p.Write([]byte(c.body[:300_000]))
				p.Write([]byte(c.body[300_000:]))
			}()
			if r := p.answer("POST"); r.Status != 200 || string(r.Body) != body {
				t.Fatalf("%d, %d bytes", r.Status, len(r.Body))
			}
			p.wantEnd()
		})
	}
}

// What comes behind the last request while its answer is on the way does not destroy the answer (RFC 9112, 9.6).
func TestBytesBehindTheLastRequest(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 4<<20/16)
	tc := start(t, "", routes{"/large": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendBytes([]byte(large)) })})
	tc.smallBuffers() // or all of it is there before the bytes are sent, and a reset does no harm
	for _, junk := range []string{"\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		p := tc.dialSmall()
		p.send("GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		tc.until("the answer is under way", func(l *loop) bool {
			for c := range l.table.All() {
				if c.has(flagLast) {
					return true
				}
			}
			return false
		})
		p.send(junk)
		if r := p.answer("GET"); len(r.Body) != len(large) {
			t.Fatalf("%d bytes", len(r.Body))
		}
		p.wantEnd()
	}
}
