package child

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/netcore/control"
)

// resize tells the child its numbers of workers, as the master does, and waits until they hold.
func (tc *testChild) resize(least, most int) {
	tc.t.Helper()
	if err := tc.master.Send(&control.Resize{Min: least, Max: most}); err != nil {
		tc.t.Fatal(err)
	}
	tc.until("the pools have their numbers", func(*loop) bool {
		s := tc.poolStats()[0]
		return s.Min == least && s.Max == most
	})
	tc.onLoop(func(*loop) {}) // the gates follow in the next call
}

// The pools and the gates follow new numbers while handlers run and requests wait, in both directions, and nothing is lost.
func TestResize(t *testing.T) {
	b, own := newBlocker(), newBlocker()
	tc := start(t, "workers {\n  min = 1\n  max = 4\n  queue = 40\n}\n", routes{
		"/blocked": b,
		"/own":     web.Limit(own, web.Limits{Concurrency: 2, Queue: 3}),
		"/free":    text("free"),
	})
	blockedGate := func(l *loop) *gate { return l.routeOf("/blocked").gate }
	stands := func(running, waiting int) {
		t.Helper()
		tc.until("so many run and wait", func(l *loop) bool {
			return blockedGate(l).running == running && blockedGate(l).waiting.length == waiting
		})
	}
	const clients = 20
	var peers []*peer
	for range clients {
		p := tc.dial()
		p.send(blocked)
		peers = append(peers, p)
	}
	stands(3, clients-3)

	tc.resize(2, 8)
	stands(6, clients-6) // three quarters of 8
	for range 6 {
		await(t, "a handler", b.begun)
	}
	if r := tc.dial().get("/free"); r.Status != 200 {
		t.Errorf("the other route: %d", r.Status)
	}

	tc.resize(0, 1) // what runs goes on, and none begins before all but the last have come back
	stands(6, clients-6)
	for range 5 {
		b.gate <- struct{}{}
	}
	stands(1, clients-6)
	if len(b.begun) != 0 {
		t.Error("a handler has begun beside those that the smaller number allows")
	}
	b.gate <- struct{}{}
	await(t, "the next one", b.begun)
	stands(1, clients-7)

	tc.resize(2, 8)
	stands(6, clients-12)
	tc.onLoop(func(l *loop) {
		if g := l.routeOf("/own").gate; g.concurrency != 2 || g.queue != 3 {
			t.Errorf("a route with numbers of its own has %d and %d", g.concurrency, g.queue)
		}
		if s := tc.poolOf("later").Stats(); s.Min != 2 || s.Max != 8 {
			t.Errorf("a pool that is made later has %d to %d workers", s.Min, s.Max)
		}
	})
	close(b.gate)
	for i, p := range peers {
		if r := p.answer("GET"); r.Status != 200 {
			t.Errorf("request %d: %d", i, r.Status)
		}
	}
	stands(0, 0)
}

// The numbers change all the time under a load of short handlers: every request is answered, and none is refused, for they fit the queue.
func TestResizeUnderLoad(t *testing.T) {
	tc := start(t, "workers {\n  max = 4\n  queue = 1000\n}\n", routes{"/{n}": text("short"), "/free": text("free")})
	const clients, requests = 8, 300
	done := make(chan struct{}, clients)
	for range clients {
		p := tc.dial()
		go func() {
			defer func() { done <- struct{}{} }()
			p.send(strings.Repeat("GET /x HTTP/1.1\r\nHost: x\r\n\r\n", requests))
			for i := range requests {
				if r, err := p.reader.Read("GET"); err != nil || r.Status != 200 {
					t.Errorf("answer %d: %v, %v", i, r, err)
					return
				}
			}
		}()
	}
	for left, i := clients, 0; left > 0; i++ {
		sizes := []int{1, 8, 2, 64}
		tc.resize(0, sizes[i%len(sizes)])
		select {
		case <-done:
			left--
		default:
		}
	}
}

// A request that waits before its gate is not refused because others have filled the pool when its turn comes.
func TestWaitingIsNotRefused(t *testing.T) {
	b := newBlocker()
	tc := start(t, "workers {\n  min = 1\n  max = 1\n  queue = 1\n}\n", routes{"/blocked": web.Limit(b, web.Limits{Concurrency: 2, Queue: 2})})
	peers := []*peer{tc.dial(), tc.dial(), tc.dial()}
	for i, p := range peers {
		p.send(blocked)
		tc.until("it has come", func(l *loop) bool { return l.numbers.begun == uint64(i+1) })
	}
	await(t, "the first", b.begun)
	other := worker.Job{Task: worker.TaskFunc(func() {})}
	tc.onLoop(func(l *loop) { // it does not see the end of the first before another job has taken its place in the pool
		b.gate <- struct{}{}
		await(t, "the second", b.begun)
		if !tc.poolOf("").Submit(&other) {
			t.Error("there is no place for the other job")
		}
	})
	tc.until("the first has come back", func(l *loop) bool { return l.routeOf("/blocked").gate.running == 1 })
	late := tc.dial()
	late.send(blocked)
	tc.until("the next waits behind the third", func(l *loop) bool { return l.routeOf("/blocked").gate.waiting.length == 2 })
	close(b.gate)
	for i, p := range append(peers, late) {
		if r := p.answer("GET"); r.Status != 200 {
			t.Errorf("request %d: %d", i, r.Status)
		}
	}
}
