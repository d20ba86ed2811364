package child

import (
	"io"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

// A client that sends a byte of its head now and then does not move the deadline.
func TestDribbledHeadIsTimedOut(t *testing.T) {
	tc := start(t, "limits {\n  head_timeout = \"150ms\"\n}\n", routes{"GET /x": text("x")})
	for _, first := range []string{"", getX} {
		p := tc.dial()
		p.send(first)
		if first != "" {
			p.answer("GET")
		}
		p.send("GET /")
		for done, last := false, int64(0); !done; {
			tc.onLoop(func(l *loop) {
				c := only(l)
				done = c == nil || c.has(flagLast)
				if l.now-last > wheelTick/10 {
					last = l.now
					io.WriteString(p.Conn, "x")
				}
			})
		}
		if r := p.answer("GET"); r.Status != 408 || !r.Close {
			t.Fatalf("%d, close %v", r.Status, r.Close)
		}
		p.Conn.Close()
		tc.until("it is gone", func(l *loop) bool { return l.table.Len() == 0 })
	}
	tc.wantClosed(reasonHeadTimeout, 2)
}

// Every head has head_timeout for itself, however many came before.
func TestHeadsHaveADeadlineEach(t *testing.T) {
	tc := start(t, "limits {\n  head_timeout = \"300ms\"\n}\n", routes{"GET /x": text("x")})
	p := tc.dial()
	p.send(getX[:10])
	for range 4 {
		var from int64
		tc.onLoop(func(l *loop) { from = l.now })
		tc.until("some time has passed", func(l *loop) bool { return l.now-from > 2*wheelTick })
		p.send(getX[10:] + getX[:10])
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatal(r.Status)
		}
	}
}

// A client that reads slowly, but not too slowly, goes on; over TCP and over a unix socket, whose count of what is unread is another.
func TestSlowReaderWithinItsRate(t *testing.T) {
	body := strings.Repeat("b", 4<<20)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			tc := start(t, "limits {\n  write_timeout = \"400ms\"\n  write_rate = 1000\n}\n", routes{
				"GET /b": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendBytes([]byte(body)) })})
			var p *peer
			if network == "tcp" {
				tc.smallBuffers()
				p = tc.dialSmall()
			} else {
				p = tc.inject(control.RoleLive)
			}
			p.send("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
			buf := make([]byte, 80_000) // more than the piece by which a unix socket counts
			for range 5 {               // a little in each period
				var mark uint64
				var from int64
				tc.until("the socket is full", func(l *loop) bool {
					c := only(l)
					if c == nil || c.phase == phaseWrite {
						from = l.now
					}
					return from != 0
				})
				tc.onLoop(func(l *loop) {
					if c := only(l); c != nil {
						mark = c.mark
					}
				})
				if _, err := io.ReadFull(p.raw, buf); err != nil {
					t.Fatal(err)
				}
				tc.until("a period has passed", func(l *loop) bool {
					c := only(l)
					return c == nil || c.mark != mark || l.now-from > 10*wheelTick
				})
			}
			tc.onLoop(func(l *loop) {
				if n := l.numbers.closed[reasonWriteTimeout]; n > 0 {
					t.Error("closed for write_timeout though the client reads")
				}
			})
			p.Conn.Close()
		})
	}
}

// The idle time begins with the end of each answer.
func TestIdleTimeout(t *testing.T) {
	tc := start(t, "limits {\n  idle_timeout = \"200ms\"\n}\n", routes{"GET /x": text("x")})
	p := tc.dial()
	for range 4 {
		if r := p.get("/x"); r.Status != 200 {
			t.Fatal(r.Status)
		}
		var from int64
		tc.onLoop(func(l *loop) { from = l.now })
		tc.until("some time has passed", func(l *loop) bool { return l.now-from > 2*wheelTick })
	}
	p.wantEnd()
	p.Conn.Close()
	tc.wantClosed(reasonIdleTimeout, 1)
}

// limits.exchanges ends a connection with its last answer, pipelined or not.
func TestExchangesPerConnection(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		tc := start(t, "limits {\n  exchanges = 3\n}\n", routes{"GET /x": text("x")})
		p := tc.dial()
		if pipelined {
			p.send(strings.Repeat(getX, 6))
		}
		for i := range 3 {
			if !pipelined {
				p.send(getX)
			}
			if r := p.answer("GET"); r.Status != 200 || r.Close != (i == 2) {
				t.Fatalf("answer %d: %d, close %v", i, r.Status, r.Close)
			}
		}
		p.wantEnd()
		p.Conn.Close()
		tc.wantClosed(reasonServerClose, 1)
	}
}

// A lingering close takes what the client still sends, up to a bound in time and bytes.
func TestLingerEnds(t *testing.T) {
	tc := start(t, "", routes{})
	endless := tc.dial()
	endless.send("BAD\x00\r\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for {
			if _, err := endless.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	await(t, "the end of an endless sender", sent)
	tc.wantClosed(reasonRefused, 1)
	silent := tc.dial()
	silent.send("BAD\x00\r\n")
	if r := silent.answer("GET"); r.Status != 400 {
		t.Fatal(r.Status)
	}
	silent.wantEnd()
	tc.until("it lingers", func(l *loop) bool { c := only(l); return c != nil && c.phase == phaseLinger && c.timer.Armed() })
	tc.onLoop(func(l *loop) { // the deadline itself, without waiting for it
		c := only(l)
		l.wheel.Cancel(&c.timer)
		l.expired(&c.timer)
	})
	tc.wantClosed(reasonRefused, 2)
}

// A half-closed client over a unix socket gets its answer, too.
func TestHalfCloseOverUnixSocket(t *testing.T) {
	tc := start(t, "", routes{"POST /b": web.HandlerFunc(readAll)})
	p := tc.inject(control.RoleLive)
	p.send(post("/b", length(5), "hello"))
	p.halfClose()
	if r := p.answer("POST"); string(r.Body) != "5 <nil>" {
		t.Fatalf("%q", r.Body)
	}
	p.wantEnd()
}
