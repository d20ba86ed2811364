package child

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

// heads reads what the child sends up to the final head, which begins with a status from 200 on, and returns the heads.
func (p *peer) heads() (heads []string) {
	p.t.Helper()
	for {
		head := ""
		for !strings.HasSuffix(head, "\r\n\r\n") {
			line, err := p.raw.ReadString('\n')
			if err != nil {
				p.t.Fatalf("%q: %v", head+line, err)
			}
			head += line
		}
		heads = append(heads, head)
		if !strings.HasPrefix(head, "HTTP/1.1 1") {
			return heads
		}
	}
}

// hints is a header with a Link, and with what must not be in an informational response.
func hints() *web.Header {
	h := new(web.Header)
	h.Add("Link", "</a.css>; rel=preload")
	h.Add("Content-Length", "5")
	h.Add("Transfer-Encoding", "chunked")
	h.Add("X-Split", "a\r\nX-Evil: b")
	h.Add("bad name", "x")
	return h
}

const earlyHints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

// Informational responses leave before the final one, at once when it is their turn, and only where they may.
func TestInform(t *testing.T) {
	gate := make(chan struct{})
	refused := make(chan []error, 1)
	serve := func(w *web.Response, r *web.Request) {
		if err := w.Inform(103, hints()); err != nil {
			t.Error(err)
		}
		if err := w.Inform(100, nil); err != nil { // nobody waits for it
			t.Error(err)
		}
		w.SendString("x")
	}
	tc := start(t, "", routes{
		"/now":    nowHandler(serve),
		"/worker": web.HandlerFunc(serve),
		"/waits": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.Inform(103, hints())
			<-gate
			w.Inform(102, nil)
			w.SendString("x")
		}),
		"/streams": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.Inform(103, hints())
			var errs []error
			for _, status := range []int{99, 101, 200, 0, -1} {
				errs = append(errs, w.Inform(status, nil))
			}
			io.WriteString(w, "x")
			w.Flush()
			refused <- append(errs, w.Inform(103, nil))
		}),
	})
	for _, target := range []string{"/now", "/worker"} {
		p := tc.dial()
		p.send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if heads := p.heads(); len(heads) != 2 || heads[0] != earlyHints {
			t.Errorf("%s: %q", target, heads)
		}
		old := tc.dial()
		old.send("GET " + target + " HTTP/1.0\r\n\r\n")
		if heads := old.heads(); len(heads) != 1 {
			t.Errorf("%s: HTTP/1.0: %q", target, heads)
		}
	}

	p := tc.dial()
	p.send("GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
	got := make([]byte, len(earlyHints))
	if _, err := io.ReadFull(p.raw, got); err != nil || string(got) != earlyHints {
		t.Fatalf("%q, %v", got, err)
	}
	close(gate)
	if heads := p.heads(); len(heads) != 2 || !strings.HasPrefix(heads[0], "HTTP/1.1 102 ") {
		t.Errorf("%q", heads)
	}

	p = tc.dial()
	p.send("GET /streams HTTP/1.1\r\nHost: x\r\n\r\n")
	if heads := p.heads(); len(heads) != 2 || heads[0] != earlyHints {
		t.Errorf("%q", heads)
	}
	for i, err := range await(t, "the errors", refused) {
		if err == nil || errors.Is(err, web.ErrCommitted) != (i == 5) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Behind an earlier request informational responses wait, as many as fit, and leave in order.
func TestInformInAPipeline(t *testing.T) {
	gate, informed := make(chan struct{}), make(chan int, 1)
	tc := start(t, "", routes{
		"/first": web.StringFunc(func(*web.Request) string { <-gate; return "first" }),
		"/many": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			h := new(web.Header)
			h.Set("X-Long", strings.Repeat("y", 1000))
			n := 0
			for ; n < 1000 && w.Inform(103, h) == nil; n++ {
			}
			informed <- n
			w.SendString("many")
		}),
	})
	p := tc.dial()
	p.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /many HTTP/1.1\r\nHost: x\r\n\r\n")
	n := await(t, "the number", informed)
	if n < 10 || n > 20 {
		t.Fatalf("%d were kept", n)
	}
	close(gate)
	if r := p.answer("GET"); string(r.Body) != "first" {
		t.Fatalf("%q", r.Body)
	}
	if heads := p.heads(); len(heads) != n+1 {
		t.Fatalf("%d heads, want %d", len(heads), n+1)
	}
}

// An explicit 100 asks for the body, once; reading does not ask again.
func TestInformContinue(t *testing.T) {
	for _, explicit := range []bool{false, true} {
		t.Run(fmt.Sprint(explicit), func(t *testing.T) {
			tc := start(t, "", routes{"POST /p": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				if explicit {
					w.Inform(100, nil)
					w.Inform(100, nil)
				}
				body, err := r.Body.Bytes()
				if err != nil {
					t.Error(err)
				}
				w.SendBytes(body)
			})})
			p := tc.dial()
			p.send("POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			if line, err := p.raw.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			if line, err := p.raw.ReadString('\n'); err != nil || line != "\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			p.send("body")
			if r := p.answer("POST"); string(r.Body) != "body" || r.Close {
				t.Fatalf("%q, close %v", r.Body, r.Close)
			}
		})
	}
}

// Once the answer has begun no 100 can be sent: reading waits for a body that may come all the same, the answer closes, for what comes next
// could be either, and a body that does not come fails the reading after body_timeout.
func TestAnswerBeforeContinue(t *testing.T) {
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprint(comes), func(t *testing.T) {
			reading := make(chan struct{})
			failed := make(chan error, 1)
			tc := start(t, "limits {\n  body_timeout = \"200ms\"\n}\n", routes{"POST /p": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				io.WriteString(w, "head ")
				w.Flush()
				close(reading)
				body, err := r.Body.Bytes()
				failed <- err
				w.Write(body)
			})})
			p := tc.dial()
			p.send("POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			await(t, "the reading", reading)
			want := "head "
			if comes {
				// A body that is whole before the loop writes the head leaves nothing open, and the connection stays.
				if _, err := p.raw.Peek(1); err != nil {
					t.Fatal(err)
				}
				p.send("body")
				want += "body"
			}
			if err := await(t, "the reading", failed); (err == nil) != comes {
				t.Errorf("reading: %v", err)
			}
			if r := p.answer("POST"); string(r.Body) != want || !r.Close {
				t.Fatalf("%q, close %v", r.Body, r.Close)
			}
			p.wantEnd()
		})
	}
}

// Both ends of the connection, as the sockets have them; none for a unix socket.
func TestAddrs(t *testing.T) {
	serve := func(w *web.Response, r *web.Request) {
		w.SendString(r.LocalAddr().String() + " " + r.PeerAddr().String())
	}
	tc := start(t, "", routes{"/now": nowHandler(serve), "/worker": web.HandlerFunc(serve), "/detached": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		conn, _, err := w.Detach()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, r.LocalAddr().IsValid())
		conn.Close()
	})})
	p := tc.dial()
	for _, target := range []string{"/now", "/worker"} {
		if r := p.get(target); string(r.Body) != p.RemoteAddr().String()+" "+p.LocalAddr().String() {
			t.Errorf("%s: %q", target, r.Body)
		}
	}
	p.send("GET /detached HTTP/1.1\r\nHost: x\r\n\r\n")
	if rest, err := io.ReadAll(p.raw); err != nil || string(rest) != "false" {
		t.Errorf("%q, %v", rest, err)
	}
	local := tc.inject(control.RoleLive)
	if r := local.get("/worker"); string(r.Body) != "invalid AddrPort invalid AddrPort" {
		t.Errorf("%q", r.Body)
	}
}
