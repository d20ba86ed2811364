package child

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// drainsTo lets the child drain, giving its connections to takers.
func (tc *testChild) drainsTo(timeout, idle time.Duration, takers ...*testChild) {
	tc.t.Helper()
	tc.drainsOn(timeout, idle, channelTo(tc.t, takers...)...)
}

func (tc *testChild) drainsOn(timeout, idle time.Duration, ends ...int) {
	tc.t.Helper()
	tc.tell(&control.Drain{TimeoutMillis: timeout.Milliseconds(), IdleMillis: idle.Milliseconds(), Listeners: []uint32{1}}, ends...)
	closeDescriptors(ends)
	heard[*control.Draining](tc)
}

// A drain with channels tells no client anything: what rests moves, what goes on goes on, and moves behind its last answer.
func TestDrainThatGives(t *testing.T) {
	gate := make(chan struct{})
	a, b := startTwo(t, "", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
		"GET /stream": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			io.WriteString(w, "one")
			w.Flush()
			<-gate
			io.WriteString(w, "two")
		}),
	})
	idle, fresh, head, body, busy, stream := a.dial(), a.dial(), a.dial(), a.dial(), a.dial(), a.dial()
	idle.wantX("a")
	head.send(getX[:20])
	body.send(post("/b", length(5), "12"))
	busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + getX + getX[:7])
	stream.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	a.until("all have come", func(l *loop) bool { return l.numbers.accepted == 6 && l.numbers.begun == 5 })
	a.rests("before the drain")
	a.drainsTo(time.Hour, 0, b)
	b.until("those at rest", func(l *loop) bool { return l.numbers.movedIn == 3 })
	a.rests("while it drains")
	idle.wantX("b")
	fresh.wantX("b")
	head.send(getX[20:])
	if r := head.answer("GET"); string(r.Body) != "b" || r.Close {
		t.Errorf("head: %q, close %v", r.Body, r.Close)
	}
	body.send("345")
	if r := body.answer("POST"); string(r.Body) != "5 <nil>" || r.Close {
		t.Errorf("body: %q, close %v", r.Body, r.Close)
	}
	body.wantX("b")
	close(gate)
	for _, want := range []string{"slow", "a"} {
		if r := busy.answer("GET"); string(r.Body) != want || r.Close {
			t.Errorf("busy: %q, close %v, want %q", r.Body, r.Close, want)
		}
	}
	busy.send(getX[7:])
	if r := busy.answer("GET"); string(r.Body) != "b" || r.Close {
		t.Errorf("busy: %q, close %v", r.Body, r.Close)
	}
	if r := stream.answer("GET"); string(r.Body) != "onetwo" || r.Close {
		t.Errorf("stream: %q, close %v", r.Body, r.Close)
	}
	stream.wantX("b")
	heard[*control.Drained](a)
	await(t, "the end of the child", a.ended)
	if n := a.loop.numbers.closed[reasonMoved]; n != 6 {
		t.Errorf("%d have moved", n)
	}
}

// What cannot move ends as in any drain: a pushed stream and a detached connection at the timeout, and those of other listeners by the
// patience that the order has for them.
func TestDrainThatGivesEnds(t *testing.T) {
	streams, detached := make(chan web.Pusher, 1), make(chan net.Conn, 1)
	a, b := startTwo(t, "", routes{
		"GET /sse": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			s, err := w.Push()
			if err != nil {
				t.Error(err)
			}
			streams <- s
		}),
		"GET /up": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			conn, _, err := w.Detach()
			if err != nil {
				t.Error(err)
			}
			detached <- conn
		}),
	})
	var other *listener
	a.onLoop(func(l *loop) { other = l.listenerOf(2, "other"); other.removed = false })
	elsewhere := a.lendUnix(other)
	elsewhere.get("/x")
	sse, up := a.dial(), a.dial()
	sse.send("GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
	stream := await(t, "the stream", streams)
	up.send("GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
	conn := await(t, "the detached connection", detached)
	idle := a.dial()
	idle.wantX("a")
	a.drainsTo(10*wheelTickDuration, 0, b)
	elsewhere.wantEnd()
	elsewhere.Close()
	idle.wantX("b")
	if err := stream.Push([]byte("data")); err != nil {
		t.Error(err)
	}
	heard[*control.Drained](a)
	await(t, "the end of the child", a.ended)
	if r := sse.answer("GET"); string(r.Body) != "data" { // whole wherever it ends
		t.Errorf("%q", r.Body)
	}
	up.wantEnd()
	conn.Close()
	closed := a.loop.numbers.closed
	if closed[reasonMoved] != 1 || closed[reasonDrainTimeout] != 1 || closed[reasonDetached] != 1 || closed[reasonDrain] != 1 {
		t.Errorf("%v", closed)
	}
}

// A stream that ends in time moves behind its end.
func TestDrainGivesAStreamBehindItsEnd(t *testing.T) {
	a, b := startTwo(t, "", routes{"GET /sse": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		s, err := w.Push()
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			<-s.Draining()
			_ = s.Push([]byte("bye"))
			_ = s.Close()
		}()
	})})
	p := a.dial()
	p.send("GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
	a.until("it streams", func(l *loop) bool { c := only(l); return c != nil && c.push != nil && c.push.ex == nil })
	a.drainsTo(time.Hour, 0, b)
	if r := p.answer("GET"); string(r.Body) != "bye" || r.Close {
		t.Errorf("%q, close %v", r.Body, r.Close)
	}
	p.wantX("b")
	await(t, "the end of the child", a.ended)
}

// wheelTickDuration is the precision of deadlines.
const wheelTickDuration = time.Duration(wheelTick)

// When the channels have ended, the drain says so, is patient for as long as it was told, and goes on when others come.
func TestDrainWhoseChannelsEnd(t *testing.T) {
	a, b := startTwo(t, "", nil)
	p, q := a.dial(), a.dial()
	p.wantX("a")
	q.wantX("a")
	giver, taker := handoffEnds(t)
	mine := playEnd(t, taker)
	a.drainsOn(time.Hour, time.Hour, giver)
	_, fds := mine.next()
	mine.Close()
	closeDescriptors(fds)
	if m := heard[*control.Gave](a); m.ID != 0 || m.Count != 0 || m.Broken == "" {
		t.Errorf("%+v", m)
	}
	if r := p.get("/x"); string(r.Body) != "a" || r.Close {
		t.Errorf("while the master may bring others: %q, close %v", r.Body, r.Close)
	}
	a.onLoop(func(l *loop) { l.moves.leftAt -= renewGrace })
	if r := p.get("/x"); string(r.Body) != "a" || !r.Close {
		t.Errorf("%q, close %v", r.Body, r.Close)
	}
	p.wantEnd()
	p.Close()
	a.rests("while it is patient")
	ends := channelTo(t, b)
	a.tell(&control.Drain{TimeoutMillis: time.Hour.Milliseconds(), Listeners: []uint32{1}}, ends...)
	closeDescriptors(ends)
	b.until("the move", func(l *loop) bool { return l.numbers.movedIn == 1 })
	q.wantX("b")
	heard[*control.Drained](a)
	await(t, "the end of the child", a.ended)
}

// A drain with channels that are of no use is one without: nothing waits longer than the patience that was ordered, and a stop shortens it.
func TestDrainWithoutPatienceWhoseChannelsEnd(t *testing.T) {
	for _, later := range []bool{false, true} {
		a, _ := startTwo(t, "", nil)
		p := a.dial()
		p.wantX("a")
		giver, taker := handoffEnds(t)
		unix.Close(taker)
		idle := time.Duration(0)
		if later {
			idle = time.Hour
		}
		a.drainsOn(time.Hour, idle, giver)
		heard[*control.Gave](a)
		if later {
			a.tell(&control.Drain{TimeoutMillis: time.Hour.Milliseconds()})
		}
		p.wantEnd()
		p.Close()
		await(t, "the end of the child", a.ended)
	}
}

// A child that drains has not drained while an answer is outstanding, and at the end of its time it takes back what was not acknowledged.
func TestDrainWaitsForAnswers(t *testing.T) {
	for _, held := range []bool{true, false} {
		a, _ := startTwo(t, "", nil)
		p := a.dial()
		p.wantX("a")
		giver, taker := handoffEnds(t)
		mine := playEnd(t, taker)
		a.drainsOn(time.Hour, 0, giver)
		m, fds := mine.next()
		a.rests("while it waits for the answer")
		a.onLoop(func(l *loop) {
			if l.table.Len() != 0 || l.stopped || l.drained == nil {
				t.Error("it has drained")
			}
		})
		if held {
			mine.says(&control.Held{Sequence: m.Sequence})
		} else {
			a.tell(&control.Drain{}) // fast
		}
		await(t, "the end of the child", a.ended)
		if held != (a.loop.numbers.closed[reasonMoved] == 1) || held == (a.loop.numbers.closed[reasonDrainTimeout] == 1) {
			t.Errorf("%v", a.loop.numbers.closed)
		}
		if err := mine.Send(&control.Held{Sequence: m.Sequence}); err == nil {
			t.Error("held after the end")
		}
		closeDescriptors(fds)
		p.wantEnd()
	}
}

// Pause stops the shards of its listeners alone, and accept lets all of them accept again.
func TestPauseOfListeners(t *testing.T) {
	a, _ := startTwo(t, "", nil)
	path := filepath.Join(t.TempDir(), "s")
	fd, err := netcore.Listen(netcore.Endpoint{Network: "unix", Path: path}, netcore.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.onLoop(func(l *loop) {
		l.lend([]*shard{{fd: fd, listener: l.listenerOf(2, "other"), lent: control.Shard{ID: 2}}})
	})
	other := func() *peer {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return a.peerOf(conn)
	}
	a.tell(&control.Pause{Listeners: []uint32{1}})
	heard[*control.Paused](a)
	waits := a.dial()
	waits.send(getX)
	other().get("/x")
	a.rests("while a listener is paused")
	a.onLoop(func(l *loop) {
		if l.numbers.accepted != 1 || !l.accepting {
			t.Errorf("%d accepted", l.numbers.accepted)
		}
	})
	for range 2 { // the second one changes nothing, and is answered
		a.tell(&control.Accept{})
		heard[*control.Accepting](a)
	}
	if r := waits.answer("GET"); string(r.Body) != "a" {
		t.Errorf("%q", r.Body)
	}
	other().get("/x")
	a.tell(&control.Pause{})
	heard[*control.Paused](a)
	queued := a.dial()
	queued.send(getX)
	a.onLoop(func(l *loop) {
		if l.accepting || l.shards[0].registered || l.shards[1].registered {
			t.Error("it accepts")
		}
	})
	a.tell(&control.Accept{})
	if r := queued.answer("GET"); string(r.Body) != "a" {
		t.Errorf("%q", r.Body)
	}
}

// The board counts what moved in and the answers that the server is to blame for, the master's own request aside.
func TestBoardCountsMovesAndServerErrors(t *testing.T) {
	a, b := startTwo(t, "", routes{
		"GET /500": web.HandlerFunc(func(w *web.Response, r *web.Request) { web.Error(w, 500) }),
		"GET /404": nowHandler(func(w *web.Response, r *web.Request) { web.Error(w, 404) }),
		"GET /503": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SetStatus(503)
			io.WriteString(w, "one")
			w.Flush()
			io.WriteString(w, "two")
		}),
	})
	p := a.dial()
	p.get("/404")
	a.movesAll(1, b)
	for _, target := range []string{"/500", "/404", "/503", "/x"} {
		p.get(target)
	}
	self := b.inject(control.RoleSelf)
	self.send("GET / HTTP/1.1\r\nHost: nobody.internal\r\n\r\n")
	self.answer("GET")
	b.onLoop(func(l *loop) {
		l.publish()
		if in, errs := l.life.Get(board.WordMovedIn), l.life.Get(board.WordServerErrors); in != 1 || errs != 2 {
			t.Errorf("%d moved in, %d server errors", in, errs)
		}
	})
	a.onLoop(func(l *loop) {
		l.publish()
		if n := l.life.Sums().Closed(int(reasonMoved)); n != 1 || l.life.Get(board.WordServerErrors) != 0 {
			t.Errorf("%d moved away, %d server errors", n, l.life.Get(board.WordServerErrors))
		}
	})
}
