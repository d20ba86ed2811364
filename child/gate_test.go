package child

import (
	"testing"
	"time"

	"github.com/tined/tined/child/web"
)

const blocked = "GET /blocked HTTP/1.1\r\nHost: x\r\n\r\n"

// blocker is a handler that waits, and tells when it runs.
type blocker struct{ begun, gate chan struct{} }

func newBlocker() *blocker { return &blocker{make(chan struct{}, 1000), make(chan struct{})} }

func (b *blocker) Serve(w *web.Response, r *web.Request) {
	b.begun <- struct{}{}
	<-b.gate
	w.SendString("done")
}

// A route whose handlers all wait leaves workers to the others, without any setting.
func TestBlockedRouteLeavesWorkers(t *testing.T) {
	b := newBlocker()
	tc := start(t, "workers {\n  max = 4\n  queue = 8\n}\n", routes{"/blocked": b, "/free": text("free")})
	var waiting []*peer
	for range 9 { // 3 run, 6 wait: three quarters of each
		p := tc.dial()
		p.send(blocked)
		waiting = append(waiting, p)
	}
	for range 3 {
		await(t, "a blocked handler", b.begun)
	}
	gateOf := func(l *loop) *gate { return l.routeOf("/blocked").gate }
	tc.until("the others wait", func(l *loop) bool { return gateOf(l).waiting.length == 6 })
	refused := tc.dial()
	refused.send(blocked)
	if r := refused.answer("GET"); r.Status != 503 || r.Get("Retry-After") == "" || r.Close {
		t.Errorf("beyond the queue: %d %v", r.Status, r.Fields)
	}
	for range 3 {
		if r := refused.get("/free"); r.Status != 200 {
			t.Fatalf("the other route: %d", r.Status)
		}
	}
	waiting[8].reset()
	tc.until("a client that has gone does not wait", func(l *loop) bool { return gateOf(l).waiting.length == 5 })
	close(b.gate)
	for _, p := range waiting[:8] {
		if r := p.answer("GET"); r.Status != 200 {
			t.Errorf("a waiting one: %d", r.Status)
		}
	}
	tc.until("the gate is free", func(l *loop) bool { return gateOf(l).running == 0 && gateOf(l).waiting.length == 0 })
	if n := len(b.begun); n != 5 {
		t.Errorf("%d more handlers ran, and not 5", n)
	}
}

// routeOf finds a route of the present generation.
func (l *loop) routeOf(pattern string) *route {
	for _, rt := range l.generation.routes {
		if rt.pattern == pattern {
			return rt
		}
	}
	return nil
}

// A route alone may have all workers and their whole queue.
func TestOnlyRouteHasAllWorkers(t *testing.T) {
	b := newBlocker()
	tc := start(t, "workers {\n  max = 4\n  queue = 8\n}\n", routes{"/blocked": b})
	for i := range 13 {
		p := tc.dial()
		p.send(blocked)
		if i == 12 {
			if r := p.answer("GET"); r.Status != 503 {
				t.Errorf("beyond all: %d", r.Status)
			}
			break
		}
		tc.until("it is running or queued", func(*loop) bool {
			s := tc.poolStats()[0]
			return s.Busy+s.Queued == i+1
		})
	}
	close(b.gate)
}

// The limits of a route: concurrency in the order of arrival, the deadline of its handlers also while they wait, and its body.
func TestRouteLimits(t *testing.T) {
	b := newBlocker()
	tc := start(t, "", routes{
		"/blocked":   web.Limit(b, web.Limits{Concurrency: 1, Queue: 2, HandlerTimeout: 100 * time.Millisecond}),
		"POST /body": web.Limit(web.HandlerFunc(readAll), web.Limits{Body: 10}),
		"POST /none": web.Limit(web.HandlerFunc(readAll), web.Limits{Body: -1}),
		"POST /free": web.HandlerFunc(readAll),
	})
	first, second := tc.dial(), tc.dial()
	first.send(blocked)
	await(t, "the first", b.begun)
	second.send(blocked)
	tc.until("the second waits", func(l *loop) bool { return l.routeOf("/blocked").gate.waiting.length == 1 })
	for i, p := range []*peer{first, second} {
		if r := p.answer("GET"); r.Status != 503 || !r.Close {
			t.Errorf("deadline of request %d: %d %v", i, r.Status, r.Fields)
		}
	}
	if len(b.begun) != 0 {
		t.Error("the handler of the one that waited in vain has run")
	}
	tc.onLoop(func(l *loop) {
		if g := l.routeOf("/blocked").gate; g.running != 1 || g.waiting.length != 0 {
			t.Errorf("%d running, %d waiting: a handler that does not come back keeps its place", g.running, g.waiting.length)
		}
	})
	close(b.gate)
	tc.until("it comes back", func(l *loop) bool { return l.routeOf("/blocked").gate.running == 0 })

	for _, c := range []struct {
		path, fields, body string
		status             int
	}{
		{"/body", length(10), "0123456789", 200},
		{"/body", length(11), "0123456789a", 413},
		{"/body", isChunked, chunked("0123456789", 3), 200},
		{"/body", isChunked, chunked("0123456789a", 3), 413},
		{"/none", length(1), "a", 413},
		{"/none", length(0), "", 200},
		{"/free", length(11), "0123456789a", 200},
	} {
		p := tc.dial()
		p.send(post(c.path, c.fields, c.body))
		if r := p.answer("POST"); r.Status != c.status {
			t.Errorf("%s with %q: %d, not %d", c.path, c.body, r.Status, c.status)
		}
	}
}

// A handler that has taken its connection out of the server does not count any more, neither as a worker nor for its route.
func TestDetachedHandlerIsExcused(t *testing.T) {
	left, gate := make(chan struct{}, 10), make(chan struct{})
	tc := start(t, "workers {\n  min = 1\n  max = 1\n  queue = 8\n}\n", routes{
		"/take": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			conn, _, err := w.Detach()
			if err != nil {
				t.Error(err)
			}
			left <- struct{}{}
			<-gate
			conn.Close()
		}),
		"/free": text("free"),
	})
	for range 3 {
		p := tc.dial()
		p.send("GET /take HTTP/1.1\r\nHost: x\r\n\r\n")
		await(t, "a detached handler", left)
	}
	if r := tc.dial().get("/free"); r.Status != 200 {
		t.Errorf("the one worker is not free: %d", r.Status)
	}
	tc.until("nothing counts", func(l *loop) bool {
		s := tc.poolStats()[0]
		return s.Busy == 0 && s.Excused == 3 && l.routeOf("/take").gate.running == 0
	})
	close(gate)
}
