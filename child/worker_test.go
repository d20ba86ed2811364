package child

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

const oneWorker = "workers {\n  min = 1\n  max = 1\n  queue = 2\n}\n"

// A full queue is a 503 with Retry-After at once; a connection whose own requests fill it is not read from, and has none refused.
func TestQueueFull(t *testing.T) {
	begun, gate := make(chan struct{}, 10), make(chan struct{})
	tc := start(t, oneWorker, routes{
		"/slow":    web.StringFunc(func(*web.Request) string { begun <- struct{}{}; <-gate; return "slow" }),
		"GET /now": nowHandler(func(w *web.Response, r *web.Request) { w.SendString("now") }),
	})
	p := tc.dial()
	slow := "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
	p.send(strings.Repeat(slow, 3)) // one runs, two are queued
	await(t, "the first", begun)
	tc.until("two are queued", func(l *loop) bool { return l.generation.waiting() == 2 })
	p.send(slow)
	other := tc.dial()
	other.send(slow)
	if r := other.answer("GET"); r.Status != 503 || r.Get("Retry-After") == "" || r.Close {
		t.Fatalf("%d %v", r.Status, r.Fields)
	}
	if r := other.get("/now"); r.Status != 200 {
		t.Fatal("the loop does not answer by itself")
	}
	close(gate)
	for i := range 4 { // the last has waited unread: it is its own connection that crowds the queue
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatalf("answer %d: %d", i, r.Status)
		}
	}
	if r := p.get("/slow"); r.Status != 200 {
		t.Fatal("the connection did not go on")
	}
}

// A queued job whose client has gone never runs.
func TestQueuedJobOfAGoneClient(t *testing.T) {
	begun, gate := make(chan string, 10), make(chan struct{})
	tc := start(t, oneWorker, routes{"/{n}": web.StringFunc(func(r *web.Request) string {
		begun <- r.PathValue("n")
		<-gate
		return r.PathValue("n")
	})})
	first, gone, last := tc.dial(), tc.dial(), tc.dial()
	first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the first", begun)
	gone.send("GET /gone HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("it is queued", func(l *loop) bool { return tc.poolStats()[0].Queued == 1 })
	last.send("GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("both are queued", func(l *loop) bool { return tc.poolStats()[0].Queued == 2 })
	gone.reset()
	tc.until("one is left", func(l *loop) bool { return tc.poolStats()[0].Queued == 1 && l.numbers.closed[reasonClientGone] == 1 })
	tc.onLoop(func(l *loop) {
		if l.generation.exchanges != 2 {
			t.Errorf("%d exchanges", l.generation.exchanges)
		}
	})
	close(gate)
	first.answer("GET")
	if r := last.answer("GET"); string(r.Body) != "last" {
		t.Fatalf("%q", r.Body)
	}
	if n := await(t, "the last", begun); n != "last" || len(begun) != 0 {
		t.Errorf("%s ran", n)
	}
}

// handler_timeout is a 503 while the handler still runs; what it does afterwards is dropped, in every way that it may end.
func TestHandlerTimeout(t *testing.T) {
	late := map[string]func(w *web.Response, r *web.Request){
		"returns":      func(w *web.Response, r *web.Request) { w.SendString("late") },
		"streams":      func(w *web.Response, r *web.Request) { w.Write(make([]byte, 1<<20)); w.Flush() },
		"panics":       func(w *web.Response, r *web.Request) { panic("late") },
		"aborts":       func(w *web.Response, r *web.Request) { panic(http.ErrAbortHandler) },
		"detaches":     func(w *web.Response, r *web.Request) { w.Detach() },
		"sends a file": func(w *web.Response, r *web.Request) { w.SendFile(&fakeFile{}, 0, 100) },
		"sends a reader": func(w *web.Response, r *web.Request) {
			w.SendReader(&source{Reader: forever{}}, -1)
		},
	}
	for name, f := range late {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate, done := make(chan struct{}), make(chan struct{})
			tc := start(t, "limits {\n  handler_timeout = \"50ms\"\n}\n", routes{
				"GET /slow": web.HandlerFunc(func(w *web.Response, r *web.Request) {
					defer close(done)
					<-r.Context().Done()
					<-gate
					f(w, r)
				}),
				"GET /x": text("x"),
			})
			p := tc.dial()
			// The one before it was answered, and so are those behind it, which have begun; the last of them closes.
			p.send(getX + "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + getX + getX)
			if r := p.answer("GET"); r.Status != 200 || r.Close {
				t.Fatalf("%d, close %v", r.Status, r.Close)
			}
			if r := p.answer("GET"); r.Status != 503 || r.Close || r.Get("Retry-After") == "" {
				t.Fatalf("%d, close %v, %v", r.Status, r.Close, r.Fields)
			}
			for i := range 2 {
				if r := p.answer("GET"); r.Status != 200 || r.Close != (i == 1) {
					t.Fatalf("%d, close %v", r.Status, r.Close)
				}
			}
			p.wantEnd()
			p.Conn.Close()
			tc.wantClosed(reasonHandlerTimeout, 1)
			other := tc.dial()
			for range 5 {
				other.get("/x") // they must not get the exchange that the handler still uses
			}
			close(gate)
			await(t, "the handler", done)
			if r := other.get("/x"); string(r.Body) != "x" {
				t.Fatalf("%q", r.Body)
			}
		})
	}
}

// The time in the queue is part of the handler's time.
func TestHandlerTimeoutInTheQueue(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	begun := make(chan struct{}, 2)
	tc := start(t, oneWorker+"limits {\n  handler_timeout = \"50ms\"\n}\n", routes{"GET /slow": web.StringFunc(func(*web.Request) string {
		begun <- struct{}{}
		<-gate
		return "slow"
	})})
	first, second := tc.dial(), tc.dial()
	first.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the first", begun)
	second.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, p := range []*peer{first, second} {
		if r := p.answer("GET"); r.Status != 503 || !r.Close {
			t.Fatalf("%d, close %v", r.Status, r.Close)
		}
	}
	tc.until("the second left the queue", func(*loop) bool { return tc.poolStats()[0].Queued == 0 })
	if len(begun) != 0 {
		t.Error("the second ran")
	}
}

// handler_timeout = "0s" waits for ever, and a response that has begun has no such limit.
func TestNoHandlerTimeout(t *testing.T) {
	for name, limit := range map[string]string{"0s": "0s", "begun": "50ms"} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan struct{})
			tc := start(t, "limits {\n  handler_timeout = \""+limit+"\"\n  body_timeout = \"50ms\"\n  idle_timeout = \"50ms\"\n}\n", routes{
				"GET /slow": web.HandlerFunc(func(w *web.Response, r *web.Request) {
					if name == "begun" {
						w.Flush()
					}
					<-gate
					io.WriteString(w, "slow")
				})})
			p := tc.dial()
			p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
			var from int64
			tc.onLoop(func(l *loop) { from = l.now })
			tc.until("some time has passed", func(l *loop) bool { return l.now-from > 4*wheelTick })
			close(gate)
			if r := p.answer("GET"); string(r.Body) != "slow" {
				t.Fatalf("%d %q", r.Status, r.Body)
			}
		})
	}
}

// A pull whose next piece no worker can take does not wait for ever.
func TestPullAgainstAFullQueue(t *testing.T) {
	begun, gate := make(chan struct{}, 10), make(chan struct{})
	src := &source{Reader: io.LimitReader(forever{}, 1<<20)}
	tc := start(t, oneWorker, routes{
		"GET /slow/{n}": web.Limit(web.StringFunc(func(*web.Request) string { begun <- struct{}{}; <-gate; return "slow" }), web.Limits{Concurrency: 3}),
		"GET /s":        web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(src, 1<<20) }),
	})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("the output is full", func(l *loop) bool {
		c := only(l)
		return c != nil && c.out.unsent() >= highWater && !c.has(flagWritable)
	})
	var busy []*peer
	for range 3 {
		other := tc.dial()
		other.send("GET /slow/1 HTTP/1.1\r\nHost: x\r\n\r\n")
		busy = append(busy, other)
	}
	await(t, "a worker is busy", begun)
	tc.until("the queue is full", func(l *loop) bool { return tc.poolStats()[0].Queued == 2 })
	read := make(chan error, 1)
	go func() {
		r, err := p.reader.Read("GET")
		if err == nil && len(r.Body) != 1<<20 {
			t.Errorf("%d bytes", len(r.Body))
		}
		read <- err
	}()
	tc.until("the piece was asked for in vain", func(l *loop) bool { return tc.poolStats()[0].Rejected > 0 })
	close(gate)
	for _, other := range busy {
		other.answer("GET")
	}
	if err := await(t, "the response", read); err != nil {
		t.Fatal(err)
	}
	wantReleased(t, tc, &src.closed)
}
