package child

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
)

// timeoutShort is a drain_timeout that tests wait for.
const timeoutShort = 50 * time.Millisecond

// A drain closes what is idle at once, lets what is in flight finish with "Connection: close", serves what has not asked yet, and ends.
func TestDrain(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
		"GET /x":    text("x"),
		"GET /stream": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			io.WriteString(w, "one")
			w.Flush()
			<-gate
			io.WriteString(w, "two")
		}),
		"POST /b": web.HandlerFunc(readAll),
	})
	idle := tc.dial()
	idle.get("/x")
	busy := tc.dial()
	busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + getX)
	stream := tc.dial()
	stream.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	fresh, silent := tc.dial(), tc.dial()
	head := tc.dial()
	head.send("GET /x HTTP/1.1\r\nHo")
	body := tc.dial()
	body.send(post("/b", length(5), "12"))
	tc.until("all have come", func(l *loop) bool {
		return l.numbers.accepted == 7 && l.numbers.begun == 5
	})
	tc.rests("before the drain")
	tc.drain(time.Hour, 0)
	idle.wantEnd()
	idle.Conn.Close()
	tc.rests("while it drains")
	if conn, err := net.Dial("tcp", tc.address); err == nil {
		conn.Close()
		t.Error("a draining child accepts")
	}
	if r := fresh.get("/x"); string(r.Body) != "x" || !r.Close {
		t.Errorf("fresh: %q, close %v", r.Body, r.Close)
	}
	fresh.wantEnd()
	head.send("st: x\r\n\r\n")
	if r := head.answer("GET"); string(r.Body) != "x" || !r.Close {
		t.Errorf("head: %q, close %v", r.Body, r.Close)
	}
	head.wantEnd()
	body.send("345")
	if r := body.answer("POST"); string(r.Body) != "5 <nil>" || !r.Close {
		t.Errorf("body: %q, close %v", r.Body, r.Close)
	}
	body.wantEnd()
	close(gate)
	if r := busy.answer("GET"); string(r.Body) != "slow" || r.Close {
		t.Errorf("busy: %q, close %v", r.Body, r.Close)
	}
	if r := busy.answer("GET"); string(r.Body) != "x" || !r.Close {
		t.Errorf("busy, second: %q, close %v", r.Body, r.Close)
	}
	if r := stream.answer("GET"); string(r.Body) != "onetwo" {
		t.Errorf("stream: %q", r.Body)
	}
	select {
	case <-tc.ended:
		t.Error("the child has ended before its last connection")
	default:
	}
	for _, p := range []*peer{fresh, head, body, busy, stream, silent} {
		p.Conn.Close()
	}
	await(t, "the end of the child", tc.ended)
}

// What the drain finds queued on its shard is served, not reset.
func TestDrainTakesTheQueue(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	tc.onLoop(func(l *loop) { l.accept(false) })
	var queued []*peer
	for range 20 {
		p := tc.dial()
		p.send(getX)
		queued = append(queued, p)
	}
	tc.rests("while accepting is paused, with a full queue")
	tc.onLoop(func(l *loop) {
		if l.table.Len() != 0 {
			t.Errorf("%d connections were accepted while paused", l.table.Len())
		}
		l.accept(true)
		l.drain(l.stop)
		l.closeIdle()
	})
	for i, p := range queued {
		if r := p.answer("GET"); string(r.Body) != "x" || !r.Close {
			t.Fatalf("%d: %q, close %v", i, r.Body, r.Close)
		}
		p.Conn.Close()
	}
	await(t, "the end of the child", tc.ended)
}

// At the end of drain_timeout what is left is closed, and a handler that still runs does not hold the child up.
func TestDrainTimeout(t *testing.T) {
	cancelled, gate := make(chan struct{}), make(chan struct{})
	defer close(gate)
	tc := start(t, "", routes{"GET /slow": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		<-r.Context().Done()
		close(cancelled)
		<-gate
	})})
	p := tc.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	silent := tc.dial()
	tc.until("both are there", func(l *loop) bool { return l.numbers.accepted == 2 && l.numbers.begun == 1 })
	tc.drain(timeoutShort, 0)
	await(t, "the end of the child", tc.ended)
	await(t, "the handler's context", cancelled)
	if _, err := p.reader.Read("GET"); err == nil {
		t.Error("an answer")
	}
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	if n := tc.loop.numbers.closed[reasonDrainTimeout]; n != 2 {
		t.Errorf("%d closed for drain_timeout", n)
	}
}

func TestDrainOfNothing(t *testing.T) {
	tc := start(t, "", nil)
	tc.drain(time.Hour, 0)
	await(t, "the end of the child", tc.ended)
}

// A patient drain closes no connection under a request that may be on its way: the next answer is its last, and who brings none is closed
// when the patience ends.
func TestDrainWaitsForOneMoreRequest(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	active, idle := tc.dial(), tc.dial()
	for _, p := range []*peer{active, idle} {
		if r := p.get("/x"); r.Close {
			t.Fatal("closed before the drain")
		}
	}
	tc.child.drain(time.Hour, time.Hour)
	tc.until("the drain", func(l *loop) bool { return l.draining })
	if r := active.get("/x"); string(r.Body) != "x" || !r.Close {
		t.Errorf("%q, close %v", r.Body, r.Close)
	}
	active.wantEnd()
	active.Close()
	tc.until("the end of the active one", func(l *loop) bool { return l.table.Len() == 1 })
	tc.rests("while it is patient")
	tc.child.drain(time.Hour, 0) // a stop is not
	idle.wantEnd()
	await(t, "the end of the child", tc.ended)
}

// The patience has an end of its own.
func TestDrainLosesItsPatience(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	p := tc.dial()
	p.get("/x")
	tc.child.drain(time.Hour, time.Millisecond)
	p.wantEnd()
	await(t, "the end of the child", tc.ended)
}
