package child

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// onBoard gives the child a life to count in, as a master does, and returns the master's view of it.
func (tc *testChild) onBoard() *board.Life {
	tc.t.Helper()
	life, err := board.CreateLife()
	if err != nil {
		tc.t.Fatal(err)
	}
	past, err := board.CreatePast()
	if err != nil {
		tc.t.Fatal(err)
	}
	tc.t.Cleanup(func() { life.Close(); past.Close() })
	if err := tc.master.Send(&control.Board{}, int(life.File().Fd()), int(past.File().Fd())); err != nil {
		tc.t.Fatal(err)
	}
	tc.until("the child counts on the board", func(l *loop) bool { return l.watched })
	return life
}

// What the master reads is what has happened, in every way in which exchanges and connections can end. Its own requests are not in it.
func TestLifeOnTheBoard(t *testing.T) {
	b := newBlocker()
	tc := start(t, "workers {\n  max = 3\n}\n", routes{"/": text("hello"), "/blocked": b})
	p := tc.dial()
	p.get("/") // before the board comes
	life := tc.onBoard()
	self := tc.inject(control.RoleSelf)
	self.send("GET / HTTP/1.1\r\nHost: " + control.SelfHost + "\r\n\r\n")
	self.answer("GET")
	self.Close()
	p.send(strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 5))
	for range 5 {
		p.answer("GET")
	}
	bad := tc.dial()
	bad.send("nonsense\r\n\r\n")
	if r := bad.answer("GET"); r.Status != 400 {
		t.Fatal(r.Status)
	}
	bad.Close()
	gone := tc.dial()
	gone.send(blocked)
	tc.until("it is at work", func(l *loop) bool { return l.numbers.begun == 8 })
	waiting := tc.dial()
	waiting.send(blocked)
	tc.until("so is the other", func(l *loop) bool { return l.numbers.begun == 9 && tc.poolStats()[0].Busy == 2 })
	gone.Close()
	tc.until("one has gone", func(l *loop) bool { return l.numbers.closed[reasonClientGone] == 1 && l.table.Len() == 2 })
	tc.onLoop(func(l *loop) { l.report() })
	s := life.Sums()
	for w, want := range map[board.Word]uint64{
		board.WordStarted: 9, board.WordAccepted: 4, board.WordFinished: 7, board.WordJobs: 8,
	} {
		if got := s.Of(w); got != want {
			t.Errorf("counter %d is %d, want %d", w, got, want)
		}
	}
	for w, want := range map[board.Word]int{
		board.WordGeneration: 1, board.WordState: board.StateAccepting, board.WordConnections: 2, board.WordInFlight: 2, board.WordMax: 3,
		board.WordBusy: 2, board.WordQueued: 0, board.WordRetired: 0,
	} {
		if got := life.Gauge(w); got != want {
			t.Errorf("gauge %d is %d, want %d", w, got, want)
		}
	}
	if s.Latency.Count() != 7 || s.Of(board.WordBytesIn) == 0 || s.Of(board.WordBytesOut) == 0 || life.Get(board.WordHeartbeat) == 0 {
		t.Errorf("%d latencies, %d and %d bytes", s.Latency.Count(), s.Of(board.WordBytesIn), s.Of(board.WordBytesOut))
	}
	if s.Closed(int(reasonClientGone)) != 1 || s.Closed(int(reasonRefused)) != 1 {
		t.Errorf("closed: %d have gone, %d were refused", s.Closed(int(reasonClientGone)), s.Closed(int(reasonRefused)))
	}
	close(b.gate)
	waiting.answer("GET")
	tc.until("nothing is in flight", func(l *loop) bool { return l.exchanges == 0 })
	tc.child.drain(time.Minute, 0)
	p.wantEnd()
	waiting.wantEnd()
	<-tc.ended
	if life.Gauge(board.WordState) != board.StateDraining || life.Gauge(board.WordConnections) != 0 || life.Sums().Of(board.WordFinished) != 8 {
		t.Errorf("at the end: state %d, %d connections, %d finished", life.Gauge(board.WordState), life.Gauge(board.WordConnections),
			life.Sums().Of(board.WordFinished))
	}
}

// A handler that looks finds its own exchange among the started ones: no byte of an answer can leave before that.
func TestStartedIsCountedFirst(t *testing.T) {
	var life *board.Life
	var seen []uint64
	tc := start(t, "", routes{"/": looking(func() { seen = append(seen, life.Sums().Of(board.WordStarted)) })})
	made := tc.onBoard()
	tc.onLoop(func(*loop) { life = made }) // where the handler runs
	p := tc.dial()
	p.send(strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 5))
	for range 5 {
		p.answer("GET")
	}
	tc.onLoop(func(*loop) {
		for i, n := range seen {
			if n != uint64(i+1) {
				t.Errorf("exchange %d sees %d started", i+1, n)
			}
		}
	})
}

// A loop that has nothing to do is not taken to hang.
func TestIdleLoopTurns(t *testing.T) {
	tc := start(t, "", nil)
	life := tc.onBoard()
	tc.onLoop(func(l *loop) {
		if l.beat() != gaugeEvery {
			t.Errorf("it sleeps for %v", l.beat())
		}
		l.generation.hangTimeout = 40 * time.Millisecond
		if l.beat() != 10*time.Millisecond {
			t.Errorf("it sleeps for %v", l.beat())
		}
	})
	before := life.Get(board.WordHeartbeat)
	for deadline := time.Now().Add(patience); life.Get(board.WordHeartbeat) < before+5; {
		if time.Now().After(deadline) {
			t.Fatal("its heart does not beat")
		}
		time.Sleep(time.Millisecond)
	}
}

// A board of another layout fails the first preparation.
func TestBoardOfAnotherLayout(t *testing.T) {
	tc := start(t, "", nil)
	past, err := board.CreatePast()
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	if err := tc.enterLife(past.File()); err == nil {
		t.Error("the past was taken for a life")
	}
}

// The latency of an exchange is what the server takes: neither the time in which a client sends its body nor that in which it reads the
// answer is in it, and all that a handler takes is, also while a body comes in that it does not wait for.
func TestLatencyIsTheServersOwn(t *testing.T) {
	const long = int64(time.Hour) // that the test lets pass
	const big = 4 << 20
	head := func(l *loop) *exchange {
		if c := only(l); c != nil {
			return c.pipeline.head()
		}
		return nil
	}
	atWork := func(l *loop) *exchange {
		if ex := head(l); ex != nil && ex.dispatch {
			return ex
		}
		return nil
	}
	streamed := length(2 * collectMax)
	for name, c := range map[string]struct {
		sent    string
		arrived func(l *loop) *exchange // the exchange, once long may pass
		rest    string
		fails   error // what the body comes to; nil: its end
		late    bool  // the handler's time is over
		slow    bool  // it is the server that took long
	}{
		"a body that is collected": {sent: post("/read", length(9), "1234"), rest: "56789",
			arrived: func(l *loop) *exchange {
				if ex := head(l); ex != nil && ex.state == WaitingForBody {
					return ex
				}
				return nil
			}},
		"one that does not come": {sent: post("/read", length(9), "1234"), fails: errBodyTimeout,
			arrived: func(l *loop) *exchange {
				if ex := head(l); ex != nil && ex.state == WaitingForBody {
					return ex
				}
				return nil
			}},
		"a body that the handler waits for": {sent: post("/read", streamed, "b"), rest: strings.Repeat("b", 2*collectMax-1), arrived: hungry},
		"one of chunks":                     {sent: post("/read", isChunked, chunked(strings.Repeat("b", 2*collectMax), 9000)[:90_000]), rest: chunked(strings.Repeat("b", 2*collectMax), 9000)[90_000:], arrived: hungry},
		"one that it waits for in vain":     {sent: post("/read", streamed, "b"), fails: errBodyTimeout, arrived: hungry},
		"a body that the handler could read": {sent: post("/later", length(collectMax+1), strings.Repeat("b", collectMax/2)), rest: strings.Repeat("b", collectMax/2+1), slow: true,
			arrived: func(l *loop) *exchange {
				ex := head(l)
				if ex == nil || ex.body == nil {
					return nil
				}
				ex.body.mu.Lock()
				defer ex.body.mu.Unlock()
				unread := int64(len(ex.body.buf) - ex.body.off)
				if r := only(l).receiver; r.got < collectMax/2 || r.got-unread < 100 { // the handler has not read what it wants at first
					return nil
				}
				return ex
			}},
		"part of a body":                      {sent: post("/part", streamed, "b"), rest: strings.Repeat("b", 99), arrived: hungry},
		"a handler":                           {sent: blocked, arrived: atWork, slow: true},
		"one that is not waited for any more": {sent: blocked, arrived: atWork, late: true, slow: true},
		"an answer that the client does not read": {sent: "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
			arrived: func(l *loop) *exchange {
				if c := only(l); c != nil && c.out != nil && !c.has(flagWritable) {
					return c.pipeline.sending.first
				}
				return nil
			}},
		"an answer that has begun": {sent: "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
			arrived: func(l *loop) *exchange {
				if ex := head(l); ex != nil && ex.begun {
					return ex
				}
				return nil
			}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlocker()
			tc := start(t, "", routes{
				"POST /read": web.HandlerFunc(readAll), "GET /big": text(strings.Repeat("x", big)), "GET /blocked": b,
				"POST /part": web.HandlerFunc(func(_ *web.Response, r *web.Request) { io.ReadFull(&r.Body, make([]byte, 100)) }),
				"POST /later": web.HandlerFunc(func(w *web.Response, r *web.Request) {
					io.ReadFull(&r.Body, make([]byte, 100))
					<-b.gate
					readAll(w, r)
				}),
				"GET /stream": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
					io.WriteString(w, "begun")
					w.Flush()
					<-b.gate
				}),
			})
			life := tc.onBoard()
			tc.smallBuffers()
			p := tc.dial()
			p.send(c.sent)
			tc.until("long may pass", func(l *loop) bool {
				ex := c.arrived(l)
				if ex == nil {
					return false
				}
				ex.started, ex.ready = ex.started-long, ex.ready-long
				if c.late {
					ex.from -= long
					l.setDeadline(only(l))
				}
				if c.fails != nil {
					on := only(l)
					l.bodyFailed(on, on.receiver, c.fails)
					l.flush(on)
					l.settle(on)
				}
				return true
			})
			p.send(c.rest)
			tc.until("nothing more of the body is waited for", func(l *loop) bool { on := only(l); return on == nil || !on.receiver.wanted() })
			if !c.late {
				close(b.gate)
			}
			p.answer(c.sent[:strings.IndexByte(c.sent, ' ')])
			tc.until("it is counted", func(*loop) bool { return life.Sums().Latency.Count() > 0 })
			if c.late {
				close(b.gate)
			}
			if most := life.Sums().Latency.Max; (most >= uint64(long)/1000) != c.slow {
				t.Errorf("the latency is %d µs", most)
			}
		})
	}
}

// hungry is an exchange whose handler waits for its body.
func hungry(l *loop) *exchange {
	c := only(l)
	if c == nil || c.receiver == nil || c.receiver.flow == nil || len(c.in) > 0 {
		return nil
	}
	f := c.receiver.flow
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waits && f.off == len(f.buf) {
		return c.receiver.ex
	}
	return nil
}

// quiet is a host without anything of its own.
type quiet struct{ host }

func (quiet) gauge(*board.Life) {}

// looking is a handler of the loop that looks at the board.
type looking func()

func (h looking) Serve(w *web.Response, _ *web.Request) { w.SendString("from a worker") }
func (h looking) ServeNow(w *web.Response, _ *web.Request) bool {
	h()
	w.SendString("seen")
	return true
}

// BenchmarkCounting is what counting costs an exchange that has a turn of the loop for itself.
func BenchmarkCounting(b *testing.B) {
	l := newLoop(nil, quiet{})
	life, err := board.CreateLife()
	if err != nil {
		b.Fatal(err)
	}
	defer life.Close()
	l.enter(life)
	c, ex := new(conn), new(exchange)
	b.Run("exchange", func(b *testing.B) {
		for range b.N {
			l.count(c, ex)
			ex.ready, ex.latency = l.now, 0
			ex.answers()
			l.took(ex)
		}
	})
	b.Run("turn", func(b *testing.B) {
		for range b.N {
			l.numbers.finished++
			l.numbers.bytesIn++
			l.numbers.bytesOut++
			l.publish()
		}
	})
}

// When much has begun since the last time, the gauges do not wait for the next: the master has to know how many handlers may keep the loop
// from its turn.
func TestGaugesFollowGrowth(t *testing.T) {
	b := newBlocker()
	tc := start(t, "", routes{"/blocked": b})
	life := tc.onBoard()
	var peers []*peer
	for range gaugeGrowth {
		peers = append(peers, tc.dial())
	}
	tc.until("they are accepted", func(l *loop) bool { return l.table.Len() == gaugeGrowth })
	tc.onLoop(func(l *loop) {
		l.gauge()
		l.gauged += int64(time.Hour)
	})
	for _, p := range peers {
		p.send(blocked)
	}
	tc.until("the gauges are up to date", func(*loop) bool {
		return life.Gauge(board.WordBusy)+life.Gauge(board.WordQueued) > 0 && life.Gauge(board.WordInFlight) == gaugeGrowth
	})
	close(b.gate)
	for _, p := range peers {
		p.answer("GET")
	}
}
