package child

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

// A detached connection is the handler's: with the bytes that had come behind the request, usable after the handler has returned, counted
// until it is closed.
func TestDetach(t *testing.T) {
	for _, behind := range []string{"", "unread bytes"} {
		t.Run("unread "+behind, func(t *testing.T) {
			type taken struct {
				conn   net.Conn
				unread string
				again  error
			}
			got := make(chan taken, 1)
			tc := start(t, "", routes{"GET /up": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				conn, unread, err := w.Detach()
				if err != nil {
					t.Error(err)
					return
				}
				_, _, again := w.Detach()
				io.WriteString(w, "dropped")
				got <- taken{conn, string(unread), again}
			}), "GET /x": text("x")})
			p := tc.dial()
			if r := p.get("/x"); string(r.Body) != "x" {
				t.Fatal(r.Status)
			}
			p.send("GET /up HTTP/1.1\r\nHost: x\r\n\r\n" + behind)
			d := await(t, "the connection", got)
			if d.unread != behind || d.again == nil {
				t.Errorf("unread %q, a second Detach %v", d.unread, d.again)
			}
			tc.wantClosed(reasonDetached, 1)
			tc.until("the handler is over", func(l *loop) bool { return l.generation.exchanges == 0 })
			tc.onLoop(func(l *loop) {
				if len(l.detached) != 1 || l.table.Len() != 0 {
					t.Errorf("%d detached, %d in the table", len(l.detached), l.table.Len())
				}
			})
			go io.Copy(d.conn, d.conn)
			p.send("echo")
			echo := make([]byte, 4)
			if _, err := io.ReadFull(p.raw, echo); err != nil || string(echo) != "echo" {
				t.Fatalf("%q, %v", echo, err)
			}
			p.halfClose()
			p.wantHalfEnd(d.conn)
			d.conn.Close()
			d.conn.Close()
			tc.until("it is not counted any more", func(l *loop) bool { return len(l.detached) == 0 })
			tc.rests("after all")
		})
	}
}

// wantHalfEnd closes the other side's writing half and expects the end here.
func (p *peer) wantHalfEnd(other net.Conn) {
	p.t.Helper()
	if err := other.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
	p.wantEnd()
}

func TestDetachRefused(t *testing.T) {
	result := make(chan error, 1)
	gate := make(chan struct{})
	up := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		_, _, err := w.Detach()
		result <- err
		io.WriteString(w, "no")
	})
	tc := start(t, "", routes{
		"/up": up,
		"GET /streamed": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.Flush()
			_, _, err := w.Detach()
			result <- err
		}),
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
	})
	t.Run("earlier answer missing", func(t *testing.T) {
		p := tc.dial()
		p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /up HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := await(t, "the handler", result); !errors.Is(err, errNotAlone) {
			t.Error(err)
		}
		close(gate)
		p.answer("GET")
		if r := p.answer("GET"); string(r.Body) != "no" {
			t.Errorf("%q", r.Body)
		}
	})
	t.Run("later request begun", func(t *testing.T) {
		// The answer to this one would have no connection.
		p := tc.dial()
		p.send("POST /up HTTP/1.1\r\nHost: x\r\n" + length(10<<20) + "\r\n")
		if err := await(t, "the handler", result); !errors.Is(err, errNotAlone) {
			t.Error(err)
		}
		p.answer("POST")
	})
	t.Run("streaming", func(t *testing.T) {
		p := tc.dial()
		p.send("GET /streamed HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := await(t, "the handler", result); !errors.Is(err, web.ErrCommitted) {
			t.Error(err)
		}
		p.answer("GET")
	})
	t.Run("client gone", func(t *testing.T) {
		begun, gate := make(chan struct{}), make(chan struct{})
		tc := start(t, "", routes{"/up": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			close(begun)
			<-gate
			up(w, r)
		})})
		p := tc.dial()
		p.send("GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
		p.reset()
		tc.wantClosed(reasonClientGone, 1)
		close(gate)
		if err := await(t, "the handler", result); !errors.Is(err, errClientGone) {
			t.Error(err)
		}
	})
}

// The end of a drain closes what handlers have detached, also when they never close it.
func TestDrainEndsDetached(t *testing.T) {
	got := make(chan net.Conn, 1)
	tc := start(t, "", routes{"GET /up": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		conn, _, err := w.Detach()
		if err != nil {
			t.Error(err)
		}
		got <- conn
	})})
	p := tc.dial()
	p.send("GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
	conn := await(t, "the connection", got)
	tc.drain(timeoutShort, 0)
	await(t, "the end of the child", tc.ended)
	p.wantEnd()
	if _, err := conn.Write([]byte(strings.Repeat("x", 10))); err == nil {
		t.Error("the connection is still open")
	}
}

// A handler that runs on the loop cannot wait for it: it is told so, and the child goes on.
func TestDetachOnTheLoop(t *testing.T) {
	refused := make(chan error, 1)
	tc := start(t, "", routes{"/up": nowHandler(func(w *web.Response, _ *web.Request) {
		_, _, err := w.Detach()
		refused <- err
	})})
	p := tc.dial()
	if r := p.get("/up"); r.Status != 200 {
		t.Error(r.Status)
	}
	if err := await(t, "the refusal", refused); err == nil {
		t.Error("it was detached")
	}
}

// An informational response leaves before the connection does, and what is written to the Response afterwards is refused: it would wait
// for a client that is not the server's any more.
func TestDetachBetweenInformAndWrite(t *testing.T) {
	written := make(chan error, 2)
	tc := start(t, "", routes{"/up": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		if err := w.Inform(103, nil); err != nil {
			t.Error(err)
		}
		conn, _, err := w.Detach()
		if err != nil {
			written <- err
			return
		}
		_, err = w.Write(make([]byte, 4*web.StreamAt))
		written <- err
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		conn.Close()
	})})
	p := tc.dial()
	if r := p.get("/up"); r.Status != 200 || len(r.Interim) != 1 {
		t.Errorf("%+v", r)
	}
	if err := await(t, "the write", written); !errors.Is(err, web.ErrCommitted) {
		t.Error(err)
	}
}
