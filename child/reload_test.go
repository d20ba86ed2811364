package child

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// A theatre is a module whose handlers do what a program could be in the middle of when a reload comes. Each knows the generation that it
// was opened for, and notes if its instance was closed before it was done.
type theatre struct {
	begun  chan string       // names of handlers that have begun
	gate   chan struct{}     // goes on those that wait
	ended  chan string       // those whose context has ended, and that return for it
	pushes chan theatrePush  // of handlers that have returned
	conns  chan *theatreConn // detached
	hold   chan struct{}     // handlers that have detached return when it is closed
	close  func(says string) // called by Close, if it is set
	open   func(says string) error

	mu     sync.Mutex
	opened map[string]int // instances, by what they say
	closed map[string]int
	early  []string
}

type theatrePush struct {
	*web.PushStream
	says string
}

type theatreConn struct {
	net.Conn
	says string
}

func newTheatre() *theatre {
	return &theatre{
		begun: make(chan string, 100), gate: make(chan struct{}), ended: make(chan string, 100), pushes: make(chan theatrePush, 10),
		conns: make(chan *theatreConn, 10), hold: make(chan struct{}), opened: map[string]int{}, closed: map[string]int{},
	}
}

func (*theatre) Spec() configs.BlockSpec {
	return configs.BlockSpec{Name: "theatre", Doc: "for tests", Attributes: []configs.Attribute{
		{Name: "says", Type: configs.String, Doc: "what it answers"}, {Name: "plays", Type: configs.String, Doc: "what it does"},
	}}
}

func (m *theatre) Open(b *configs.Block, _ *module.Env) (module.Instance, error) {
	says, plays := b.String("says"), b.String("plays")
	if m.open != nil {
		if err := m.open(says); err != nil {
			return module.Instance{}, err
		}
	}
	m.mu.Lock()
	m.opened[says]++
	m.mu.Unlock()
	gone := false // under mu
	alive := func(where string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if gone {
			m.early = append(m.early, plays+": "+where)
		}
	}
	i := module.Instance{Close: func() {
		m.mu.Lock()
		gone = true
		m.mu.Unlock()
		if m.close != nil {
			m.close(says)
		}
		m.mu.Lock()
		m.closed[says]++
		m.mu.Unlock()
	}}
	i.Handler = web.HandlerFunc(func(w *web.Response, r *web.Request) {
		alive("begins")
		m.play(plays, says, w, r, alive)
		alive("ends")
	})
	if plays == "now" {
		i.Handler = nowHandler(func(w *web.Response, _ *web.Request) { alive("now"); w.SendString(says) })
	}
	return i, nil
}

// wait waits for the gate; false: the client has gone.
func (m *theatre) wait(plays string, r *web.Request) bool {
	ctx := r.Context()
	m.begun <- plays
	select {
	case <-m.gate:
		return true
	case <-ctx.Done():
		m.ended <- plays
		return false
	}
}

func (m *theatre) play(plays, says string, w *web.Response, r *web.Request, alive func(string)) {
	switch plays {
	case "slow":
		if m.wait(plays, r) {
			w.SendString(says)
		}
	case "upload":
		ctx := r.Context()
		n, err := io.Copy(io.Discard, &r.Body)
		if err != nil {
			m.ended <- fmt.Sprint(plays, ctx.Err() != nil)
		}
		w.SendString(fmt.Sprint(says, " ", n, " ", err))
	case "stream":
		io.WriteString(w, says)
		w.Flush()
		if m.wait(plays, r) {
			io.WriteString(w, says)
		}
	case "push":
		s, err := w.Push()
		if err != nil {
			m.early = append(m.early, err.Error())
			return
		}
		s.Push([]byte(says))
		m.pushes <- theatrePush{s, says}
	case "pull":
		w.SendReader(&theatreSource{m: m, says: says, alive: alive}, -1)
	case "large":
		w.SendBytes([]byte(strings.Repeat(says, 8<<20)))
	case "detach":
		ctx := r.Context()
		conn, _, err := w.Detach()
		if err != nil {
			m.early = append(m.early, err.Error())
			return
		}
		m.conns <- &theatreConn{conn, says}
		select {
		case <-m.hold:
		case <-ctx.Done():
			m.ended <- plays
			<-m.hold
		}
	default:
		w.SendString(says)
	}
}

// theatreSource is a body that comes in two pieces.
type theatreSource struct {
	m     *theatre
	says  string
	read  int
	alive func(string)
}

func (s *theatreSource) Read(p []byte) (int, error) {
	s.alive("read")
	switch s.read++; s.read {
	case 1:
		return copy(p, s.says), nil
	case 2:
		s.m.begun <- "pull"
		<-s.m.gate
		return copy(p, s.says), nil
	}
	return 0, io.EOF
}

func (s *theatreSource) Close() error { s.alive("close"); return nil }

// over waits until the instances that say this are closed.
func (m *theatre) over(tc *testChild, says string) {
	tc.t.Helper()
	tc.until("generation "+says+" is closed", func(*loop) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.closed[says] > 0 && m.closed[says] == m.opened[says]
	})
}

// lives fails if an instance that says this was closed.
func (m *theatre) lives(tc *testChild, says, when string) {
	tc.t.Helper()
	tc.onLoop(func(*loop) {})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed[says] > 0 {
		tc.t.Errorf("generation %s was closed %s", says, when)
	}
}

var plays = []string{"plain", "now", "slow", "upload", "stream", "push", "pull", "large", "detach"}

// programme is a configuration whose routes say the number of their generation.
func programme(number int, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nsite \"main\" {\n", more)
	for _, p := range plays {
		fmt.Fprintf(&b, "  route \"/%s\" {\n    theatre {\n      says = \"%d\"\n      plays = %q\n    }\n  }\n", p, number, p)
	}
	b.WriteString("  route \"/narrow\" {\n    limits {\n      concurrency = 1\n      queue = 9\n    }\n")
	fmt.Fprintf(&b, "    theatre {\n      says = \"%d\"\n      plays = \"slow\"\n    }\n  }\n}\n", number)
	return b.String()
}

// tell sends a message, as the master does.
func (tc *testChild) tell(m control.Message, fds ...int) {
	tc.t.Helper()
	if err := tc.master.Send(m, fds...); err != nil {
		tc.t.Fatal(err)
	}
}

// heard waits for an answer of a type to the master; others are passed over.
func heard[T control.Message](tc *testChild) (m T) {
	tc.t.Helper()
	for {
		if m, ok := await(tc.t, fmt.Sprintf("a %T", m), tc.answers).(T); ok {
			return m
		}
	}
}

// prepare sends a generation, as the master does, and returns what the child says. ids are the numbers of its listeners, in order; nil: from
// 1 on. names are the access logs, files their files.
func (tc *testChild) prepares(config string, number uint64, ids []uint32, names []string, files []*os.File) control.Message {
	tc.t.Helper()
	if !strings.Contains(config, "listen ") {
		config += "\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\n"
	}
	sources := &configs.Sources{Path: "/test.hcl", Files: []configs.Source{{Name: "/test.hcl", Bytes: []byte(config)}}}
	resolved, diags := configs.Resolve(sources, tc.options.Schema)
	if diags.HasErrors() {
		tc.t.Fatal(diags)
	}
	sealed, err := control.Seal("test", sources.Encode())
	if err != nil {
		tc.t.Fatal(err)
	}
	m := &control.Prepare{Generation: number, Digest: resolved.Digest, LogFormat: "json", Files: names}
	for i, l := range resolved.Listeners {
		id := uint32(i + 1)
		if ids != nil {
			id = ids[i]
		}
		m.Listeners = append(m.Listeners, control.Listener{Name: l.Name, ID: id})
	}
	fds := []int{int(sealed.Fd())}
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	tc.tell(m, fds...)
	sealed.Close()
	for _, f := range files {
		f.Close()
	}
	for {
		switch answer := await(tc.t, "the answer to prepare", tc.answers).(type) {
		case *control.Prepared, *control.Failed:
			return answer
		}
	}
}

// reloads prepares and commits a generation, as the master does.
func (tc *testChild) reloads(config string, number uint64, ids ...uint32) {
	tc.t.Helper()
	if failed, is := tc.prepares(config, number, ids, nil, nil).(*control.Failed); is {
		tc.t.Fatal(failed.Diagnostic)
	}
	tc.tell(&control.Commit{Generation: number})
	if m := heard[*control.Committed](tc); m.Generation != number {
		tc.t.Fatalf("generation %d is committed, not %d", m.Generation, number)
	}
}

// An inFlight is something that goes on on a connection while a generation is committed.
type inFlight struct {
	name  string
	begin func(tc *testChild, m *theatre, p *peer)
	// end lets it go on, and checks that it is all of generation 1.
	end func(tc *testChild, m *theatre, p *peer)
	// ended checks what comes when the generation is ended in the middle of it.
	ended func(tc *testChild, m *theatre, p *peer)
	free  bool // it holds no generation
	gone  bool // the connection does not go on
	stays bool // it does when the generation is ended
}

const uploadHead = "POST /upload HTTP/1.1\r\nHost: x\r\n"

func getOf(name string) string { return "GET /" + name + " HTTP/1.1\r\nHost: x\r\n\r\n" }

func wantBody(tc *testChild, p *peer, method, body string) {
	tc.t.Helper()
	if r := p.answer(method); r.Status != 200 || string(r.Body) != body || r.Close {
		tc.t.Errorf("%d %.40q, close %v; want %q", r.Status, r.Body, r.Close, body)
	}
}

// wantUnserved expects n requests to be answered with a 503, the last of them with the end of the connection.
func wantUnserved(tc *testChild, p *peer, n int) {
	tc.t.Helper()
	for i := range n {
		if r := p.answer("GET"); r.Status != 503 || r.Get("Retry-After") == "" || r.Close != (i == n-1) {
			tc.t.Errorf("answer %d of %d: %d, close %v", i, n, r.Status, r.Close)
		}
	}
	p.wantEnd()
}

// wantCut expects an answer that has begun and does not end.
func wantCut(tc *testChild, p *peer) {
	tc.t.Helper()
	if r, err := p.reader.Read("GET"); err == nil {
		tc.t.Errorf("the answer looks whole: %d, %d bytes", r.Status, len(r.Body))
	}
}

func inFlights() []inFlight {
	begun := func(name string, n int) func(tc *testChild, m *theatre, p *peer) {
		return func(tc *testChild, m *theatre, p *peer) {
			p.send(strings.Repeat(getOf(name), n))
			for range n {
				await(tc.t, name, m.begun)
			}
		}
	}
	uploads := func(fields, first, rest, want string) (begin, end, ended func(tc *testChild, m *theatre, p *peer)) {
		return func(tc *testChild, m *theatre, p *peer) {
				p.send(uploadHead + fields + "\r\n" + first)
				tc.until("the body comes in", func(l *loop) bool {
					c := only(l)
					return c != nil && c.receiver != nil && c.received == uint64(len(uploadHead+fields+first)+2)
				})
			}, func(tc *testChild, m *theatre, p *peer) {
				p.send(rest)
				wantBody(tc, p, "POST", want)
			}, func(tc *testChild, m *theatre, p *peer) {
				if r := p.answer("POST"); r.Status != 503 || !r.Close {
					tc.t.Errorf("%d, close %v", r.Status, r.Close)
				}
				p.wantEnd()
			}
	}
	list := []inFlight{
		{name: "idle", free: true, stays: true,
			begin: func(tc *testChild, m *theatre, p *peer) { p.send(getOf("plain")); wantBody(tc, p, "GET", "1") },
			end:   func(tc *testChild, m *theatre, p *peer) {}, ended: func(tc *testChild, m *theatre, p *peer) {}},
		{name: "half a head", free: true, stays: true,
			begin: func(tc *testChild, m *theatre, p *peer) {
				p.send(getOf("plain")[:20])
				tc.until("it is there", func(l *loop) bool { c := only(l); return c != nil && len(c.in) == 20 })
			},
			end:   func(tc *testChild, m *theatre, p *peer) { p.send(getOf("plain")[20:]); wantBody(tc, p, "GET", "2") },
			ended: func(tc *testChild, m *theatre, p *peer) { p.send(getOf("plain")[20:]); wantBody(tc, p, "GET", "3") }},
		{name: "running handler", begin: begun("slow", 1),
			end:   func(tc *testChild, m *theatre, p *peer) { close(m.gate); wantBody(tc, p, "GET", "1") },
			ended: func(tc *testChild, m *theatre, p *peer) { wantUnserved(tc, p, 1); await(tc.t, "the context", m.ended) }},
		{name: "pipeline", begin: func(tc *testChild, m *theatre, p *peer) {
			p.send(getOf("slow") + getOf("plain") + getOf("now") + getOf("slow"))
			await(tc.t, "slow", m.begun)
			await(tc.t, "slow", m.begun)
			tc.until("the others have finished", func(l *loop) bool {
				second := only(l).pipeline.pending.first.next
				return second.finished && second.next.finished
			})
		}, end: func(tc *testChild, m *theatre, p *peer) {
			close(m.gate)
			for range 4 {
				wantBody(tc, p, "GET", "1")
			}
		}, ended: func(tc *testChild, m *theatre, p *peer) {
			for i, status := range []int{503, 200, 200, 503} {
				if r := p.answer("GET"); r.Status != status || r.Close != (i == 3) {
					tc.t.Errorf("answer %d: %d, close %v", i, r.Status, r.Close)
				}
			}
			p.wantEnd()
		}},
		{name: "before a gate", begin: func(tc *testChild, m *theatre, p *peer) {
			p.send(getOf("narrow") + getOf("narrow"))
			await(tc.t, "the first", m.begun)
			tc.until("the second waits", func(l *loop) bool { return l.waiting() == 1 })
		}, end: func(tc *testChild, m *theatre, p *peer) {
			tc.onLoop(func(l *loop) {
				if l.waiting() != 1 {
					tc.t.Errorf("%d wait after the commit", l.waiting())
				}
			})
			close(m.gate)
			wantBody(tc, p, "GET", "1")
			wantBody(tc, p, "GET", "1")
		}, ended: func(tc *testChild, m *theatre, p *peer) { wantUnserved(tc, p, 2); await(tc.t, "the context", m.ended) }},
		{name: "stream", begin: begun("stream", 1),
			end:   func(tc *testChild, m *theatre, p *peer) { close(m.gate); wantBody(tc, p, "GET", "11") },
			ended: func(tc *testChild, m *theatre, p *peer) { wantCut(tc, p); await(tc.t, "the context", m.ended) }},
		{name: "pulled body", begin: begun("pull", 1),
			end:   func(tc *testChild, m *theatre, p *peer) { close(m.gate); wantBody(tc, p, "GET", "11") },
			ended: func(tc *testChild, m *theatre, p *peer) { wantCut(tc, p); close(m.gate) }},
		{name: "slow client", begin: func(tc *testChild, m *theatre, p *peer) {
			p.send(getOf("large"))
			tc.until("the answer is under way", func(l *loop) bool { c := only(l); return c != nil && c.pipeline.sending.first != nil })
		}, end: func(tc *testChild, m *theatre, p *peer) { wantBody(tc, p, "GET", strings.Repeat("1", 8<<20)) },
			ended: func(tc *testChild, m *theatre, p *peer) { wantCut(tc, p) }},
		{name: "push", stays: true, begin: func(tc *testChild, m *theatre, p *peer) {
			p.send(getOf("push"))
			s := await(tc.t, "the stream", m.pushes)
			tc.until("its handler is over", func(l *loop) bool { c := only(l); return c.push != nil && c.push.ex == nil })
			m.pushes <- s
		}, end: func(tc *testChild, m *theatre, p *peer) {
			s := <-m.pushes
			if err := s.Push([]byte("more")); err != nil {
				tc.t.Error(err)
			}
			m.lives(tc, "1", "before its stream has ended")
			s.Close()
			wantBody(tc, p, "GET", "1more")
		}, ended: func(tc *testChild, m *theatre, p *peer) {
			wantBody(tc, p, "GET", "1")
			s := <-m.pushes
			await(tc.t, "the end of the stream", s.Done())
			if err := s.Push([]byte("x")); !errors.Is(err, web.ErrPushClosed) {
				tc.t.Error(err)
			}
		}},
		{name: "detached, handler over", gone: true, begin: func(tc *testChild, m *theatre, p *peer) {
			close(m.hold)
			p.send(getOf("detach"))
			conn := await(tc.t, "the connection", m.conns)
			tc.until("its handler is over", func(l *loop) bool { return l.generation.exchanges == 0 })
			m.conns <- conn
		}, end: func(tc *testChild, m *theatre, p *peer) {
			conn := <-m.conns
			io.WriteString(conn, "still there")
			conn.Close()
			if all, err := io.ReadAll(p.raw); string(all) != "still there" || err != nil {
				tc.t.Errorf("%q, %v", all, err)
			}
		}, ended: func(tc *testChild, m *theatre, p *peer) { p.wantEnd() }},
		{name: "detached, handler running", gone: true, begin: func(tc *testChild, m *theatre, p *peer) {
			p.send(getOf("detach"))
			conn := await(tc.t, "the connection", m.conns)
			m.conns <- conn
		}, end: func(tc *testChild, m *theatre, p *peer) {
			(<-m.conns).Close()
			p.wantEnd()
			m.lives(tc, "1", "before its handler has returned")
			close(m.hold)
		}, ended: func(tc *testChild, m *theatre, p *peer) {
			p.wantEnd()
			await(tc.t, "its context", m.ended)
			m.lives(tc, "1", "before its handler has returned")
			close(m.hold)
		}},
	}
	add := func(name, fields, first, rest, want string) {
		begin, end, ended := uploads(fields, first, rest, want)
		list = append(list, inFlight{name: name, begin: begin, end: end, ended: ended})
	}
	add("small body", length(10), "1234", "567890", "1 10 <nil>")
	add("large body", length(300_000), strings.Repeat("a", 5000), strings.Repeat("a", 295_000), "1 300000 <nil>")
	add("chunked body", isChunked, "4\r\nabcd\r\n", "6\r\nefghij\r\n0\r\n\r\n", "1 10 <nil>")
	list = append(list, inFlight{name: "body that is asked for", begin: func(tc *testChild, m *theatre, p *peer) {
		p.send(uploadHead + "Expect: 100-continue\r\n" + length(4) + "\r\n")
		line, err := p.raw.ReadString('\n')
		if rest, _ := p.raw.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" || rest != "\r\n" {
			tc.t.Fatal(line, rest, err)
		}
	}, end: func(tc *testChild, m *theatre, p *peer) { p.send("abcd"); wantBody(tc, p, "POST", "1 4 <nil>") },
		ended: func(tc *testChild, m *theatre, p *peer) {
			if r := p.answer("POST"); r.Status != 503 || !r.Close {
				tc.t.Errorf("%d, close %v", r.Status, r.Close)
			}
		}})
	return list
}

// Whatever goes on on a connection goes on when a generation is committed, to its end under the old one, and the next request is the new
// one's. The old one is closed when its last is over, and not before.
func TestCommitBesideEverything(t *testing.T) {
	for _, c := range inFlights() {
		t.Run(c.name, func(t *testing.T) {
			m := newTheatre()
			tc := start(t, programme(1, ""), nil, m)
			tc.smallBuffers()
			p := tc.dialSmall()
			c.begin(tc, m, p)
			tc.reloads(programme(2, "limits {\n  body = 1\n  handler_timeout = \"1ms\"\n}\n"), 2) // what goes on has the limits that it began with
			if other := tc.dial(); true {
				other.send(getOf("now"))
				wantBody(tc, other, "GET", "2")
				other.Conn.Close()
			}
			if c.free {
				m.over(tc, "1")
			} else {
				m.lives(tc, "1", "while it is served")
			}
			c.end(tc, m, p)
			if !c.gone {
				p.send(getOf("now"))
				wantBody(tc, p, "GET", "2")
			}
			m.over(tc, "1")
			tc.rests("after all")
			tc.onLoop(func(l *loop) {
				if len(l.retired) != 0 || l.retirees != 0 {
					t.Errorf("%d retired, %d counted", len(l.retired), l.retirees)
				}
			})
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.early) > 0 {
				t.Error("served by a closed instance: ", m.early)
			}
		})
	}
}

// What is left of a retired generation beyond retired_generations is ended as well as it can be.
func TestRetiredGenerationIsEnded(t *testing.T) {
	for _, c := range inFlights() {
		t.Run(c.name, func(t *testing.T) {
			m := newTheatre()
			tc := start(t, programme(1, ""), nil, m)
			tc.smallBuffers()
			p := tc.dialSmall()
			c.begin(tc, m, p)
			keeper := &theatreHolder{tc: tc}
			tc.reloads(programme(2, ""), 2)
			keeper.holds(2)
			if !c.free {
				m.lives(tc, "1", "while it is served")
			}
			tc.reloads(programme(3, "retired_generations = 1\n"), 3)
			c.ended(tc, m, p)
			if c.stays {
				p.send(getOf("now"))
				wantBody(tc, p, "GET", "3")
			}
			m.over(tc, "1")
			m.lives(tc, "2", "though it is not one too many")
			keeper.ends()
			m.over(tc, "2")
			tc.rests("after all")
			p.Conn.Close()
			if why := reasonGenerationRetired; !c.gone && !c.stays {
				tc.until("it is closed for that", func(l *loop) bool { return l.numbers.closed[why] == 1 })
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.early) > 0 {
				t.Error("served by a closed instance: ", m.early)
			}
		})
	}
}

// theatreHolder keeps a generation in use by an upload that does not end.
type theatreHolder struct {
	tc *testChild
	p  *peer
}

func (h *theatreHolder) holds(number uint64) {
	h.tc.t.Helper()
	h.p = h.tc.dial()
	h.p.send(uploadHead + length(4) + "\r\nab")
	h.tc.until("it is held", func(l *loop) bool { return l.generation.number == number && l.generation.exchanges > 0 })
}

func (h *theatreHolder) ends() {
	h.tc.t.Helper()
	h.p.send("cd")
	wantBody(h.tc, h.p, "POST", "2 4 <nil>")
}

// What is left of a generation is ended at its age, too; without a bound it goes on.
func TestRetiredTimeout(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	p := tc.dial()
	p.send(getOf("slow"))
	await(t, "slow", m.begun)
	tc.reloads(programme(2, "retired_timeout = \"0s\"\n"), 2)
	tc.onLoop(func(l *loop) {
		if l.aging.Armed() {
			t.Error("a generation that may live for ever has a timer")
		}
		l.generation.bounds.Timeout = time.Hour
		l.boundRetired()
	})
	m.lives(tc, "1", "before its time")
	tc.onLoop(func(l *loop) {
		l.generation.bounds.Timeout = timeoutShort
		l.boundRetired()
	})
	wantUnserved(tc, p, 1)
	await(t, "the context", m.ended)
	m.over(tc, "1")
	tc.onLoop(func(l *loop) {
		if l.aging.Armed() {
			t.Error("the timer runs on")
		}
	})
	tc.until("it is logged", func(*loop) bool { return strings.Contains(tc.loggedLines(), "retired generation is ended") })
}

// A generation that is ended waits for a handler that does not notice, however long.
func TestEndedGenerationWaitsForItsHandler(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	p := tc.dial()
	p.send(getOf("pull"))
	await(t, "pull", m.begun)
	tc.reloads(programme(2, ""), 2)
	tc.onLoop(func(l *loop) { l.endGeneration(l.retired[0]) })
	wantCut(tc, p)
	tc.wantClosed(reasonGenerationRetired, 1)
	m.lives(tc, "1", "while its source is read")
	close(m.gate)
	m.over(tc, "1")
	if len(m.early) > 0 {
		t.Error(m.early)
	}
}

// A generation is committed while others of the same child are being prepared, refused and aborted: the child goes on as it was.
func TestPrepareIsWithoutEffect(t *testing.T) {
	m := newTheatre()
	m.open = func(says string) error {
		switch says {
		case "666":
			return errors.New("cannot open 666")
		case "777":
			panic("panics at 777")
		}
		return nil
	}
	m.close = func(says string) {
		if says == "4" {
			panic("closing panics")
		}
	}
	tc := start(t, programme(1, ""), nil, m)
	p := tc.dial()
	serves := func(says string) {
		t.Helper()
		p.send(getOf("now"))
		wantBody(tc, p, "GET", says)
	}
	serves("1")
	tc.tell(&control.Abort{Generation: 99}) // of an unknown number: nothing
	for number, text := range map[int]string{666: "cannot open 666", 777: "panics at 777"} {
		failed, is := tc.prepares(programme(number, ""), 2, nil, nil, nil).(*control.Failed)
		if !is || !strings.Contains(failed.Diagnostic, text) {
			t.Errorf("%v", failed)
		}
		serves("1")
	}
	prepared := func(number int) {
		t.Helper()
		if failed, is := tc.prepares(programme(number, ""), uint64(number), nil, nil, nil).(*control.Failed); is {
			t.Fatal(failed.Diagnostic)
		}
	}
	prepared(3)
	prepared(4)
	m.over(tc, "3") // another was prepared
	tc.tell(&control.Commit{Generation: 3})
	tc.tell(&control.Abort{Generation: 3})
	serves("1")
	tc.tell(&control.Abort{Generation: 4})
	tc.until("the instances of 4 are closed, though that panics", func(*loop) bool {
		return strings.Count(tc.loggedLines(), "closing panics") == m.opened["4"]
	})
	prepared(5)
	if failed, is := tc.prepares(programme(666, ""), 6, nil, nil, nil).(*control.Failed); !is {
		t.Fatal(failed)
	}
	tc.tell(&control.Commit{Generation: 5}) // what was prepared before the one that failed
	heard[*control.Committed](tc)
	serves("5")
	m.over(tc, "1")
}

// A listener keeps its connections and shards under another name.
func TestListenerIsRenamed(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	p := tc.dial()
	p.send(getOf("slow"))
	await(t, "slow", m.begun)
	idle := tc.dial()
	idle.send(getOf("now"))
	wantBody(tc, idle, "GET", "1")
	tc.reloads(programme(2, "listen \"another\" {\n  address = \"127.0.0.1:0\"\n}\n"), 2, 1)
	close(m.gate)
	wantBody(tc, p, "GET", "1")
	for _, p := range []*peer{p, idle, tc.dial()} {
		p.send(getOf("now"))
		wantBody(tc, p, "GET", "2")
	}
	tc.onLoop(func(l *loop) {
		if len(l.listeners) != 1 || l.shards[0].named().Listener != "another" {
			t.Errorf("%d listeners, a shard of %+v", len(l.listeners), l.shards[0].named())
		}
	})
}

// Those of a removed listener are served to their end by the generation that had it, and closed.
func TestListenerIsRemoved(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	idle, silent, active := tc.dial(), tc.dial(), tc.dial()
	for _, p := range []*peer{idle, active} {
		p.send(getOf("now"))
		wantBody(tc, p, "GET", "1")
	}
	half := tc.dial()
	half.send(getOf("now")[:20])
	slow := tc.dial()
	slow.send(getOf("slow") + getOf("slow"))
	await(t, "slow", m.begun)
	await(t, "slow", m.begun)
	stream := tc.dial()
	stream.send(getOf("stream"))
	await(t, "stream", m.begun)
	upload := tc.dial()
	upload.send(uploadHead + length(4) + "\r\nab")
	tc.until("all have come", func(l *loop) bool { return l.numbers.accepted == 7 && l.numbers.begun == 6 && l.table.Len() == 7 })
	tc.onLoop(func(l *loop) { l.accept(false) })
	queued := []*peer{tc.dial(), tc.dial()} // the shard still takes them
	for _, p := range queued {
		p.send(getOf("now"))
	}
	tc.reloads(programme(2, "listen \"other\" {\n  address = \"127.0.0.1:0\"\n}\n"), 2, 2)
	tc.onLoop(func(l *loop) { l.accept(true) })
	active.send(getOf("now")) // as if it had crossed the commit
	for i, p := range append(queued, active) {
		if r := p.answer("GET"); string(r.Body) != "1" || !r.Close {
			t.Errorf("queued %d: %d %q, close %v", i, r.Status, r.Body, r.Close)
		}
		p.Conn.Close()
	}
	tc.tell(&control.Return{Shards: []control.Shard{{ID: 1}}})
	if returned := heard[*control.Returned](tc); returned.Count != 0 {
		t.Errorf("%d shards are left", returned.Count)
	}
	half.send(getOf("now")[20:])
	if r := half.answer("GET"); string(r.Body) != "1" || !r.Close {
		t.Errorf("half: %d %q, close %v", r.Status, r.Body, r.Close)
	}
	upload.send("cd")
	if r := upload.answer("POST"); string(r.Body) != "1 4 <nil>" || !r.Close {
		t.Errorf("upload: %d %q, close %v", r.Status, r.Body, r.Close)
	}
	m.lives(tc, "1", "while it is served")
	close(m.gate)
	for i := range 2 {
		if r := slow.answer("GET"); string(r.Body) != "1" || r.Close != (i == 1) {
			t.Errorf("slow: %d %q, close %v", r.Status, r.Body, r.Close)
		}
	}
	wantBody(tc, stream, "GET", "11")
	for _, p := range []*peer{stream, half, upload, slow} {
		p.wantEnd()
		p.Conn.Close()
	}
	idle.wantEnd() // after the time in which a request may still come
	silent.wantEnd()
	idle.Conn.Close()
	silent.Conn.Close()
	m.over(tc, "1")
	tc.onLoop(func(l *loop) {
		if len(l.listeners) != 0 || l.table.Len() != 0 {
			t.Errorf("%d listeners, %d connections", len(l.listeners), l.table.Len())
		}
		if n := l.numbers.closed[reasonListenerRemoved]; n != 3 { // idle, silent, and the stream, whose head had promised to go on
			t.Errorf("%d closed for it", n)
		}
	})
}

// A listener that comes back before its sockets were closed is what it was.
func TestListenerComesBack(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	p := tc.dial()
	p.send(getOf("slow"))
	await(t, "slow", m.begun)
	other := "listen \"other\" {\n  address = \"127.0.0.1:0\"\n}\n"
	tc.reloads(programme(2, other), 2, 2)
	tc.reloads(programme(3, other), 3, 2) // still away
	m.over(tc, "2")
	tc.reloads(programme(4, ""), 4, 1)
	close(m.gate)
	wantBody(tc, p, "GET", "1")
	p.send(getOf("now"))
	wantBody(tc, p, "GET", "4")
	fresh := tc.dial()
	fresh.send(getOf("now"))
	wantBody(tc, fresh, "GET", "4")
	m.over(tc, "1")
	m.over(tc, "3")
}

// The cap ends a removed listener's connections too.
func TestEndedGenerationOfARemovedListener(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	silent := tc.dial()
	half := tc.dial()
	half.send(getOf("now")[:20])
	tc.until("half is there", func(l *loop) bool { return l.table.Len() == 2 && l.numbers.bytesIn == 20 })
	tc.reloads(programme(2, "listen \"other\" {\n  address = \"127.0.0.1:0\"\n}\n"), 2, 2)
	m.lives(tc, "1", "while a listener of it has connections")
	tc.onLoop(func(l *loop) { l.endGeneration(l.retired[0]) })
	m.over(tc, "1")
	half.send(getOf("now")[20:])
	if r := half.answer("GET"); r.Status != 404 || !r.Close {
		t.Errorf("%d, close %v", r.Status, r.Close)
	}
	silent.wantEnd()
}

// Descriptors of the process, as numbers.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

// returns gives shards back, as the master asks, and returns how many are left.
func (tc *testChild) returns(shards ...control.Shard) int {
	tc.t.Helper()
	tc.tell(&control.Return{Shards: shards})
	return heard[*control.Returned](tc).Count
}

func reusePort(_, _ string, raw syscall.RawConn) (err error) {
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
		return e
	}
	return err
}

// lends gives the child a shard of the group of tc.address, and keeps it open as the master does.
func (tc *testChild) lends(id uint32, index int) *net.TCPListener {
	tc.t.Helper()
	config := net.ListenConfig{Control: reusePort}
	listener, err := config.Listen(tc.t.Context(), "tcp", tc.address)
	if err != nil {
		tc.t.Fatal(err)
	}
	tc.t.Cleanup(func() { listener.Close() })
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		tc.t.Fatal(err)
	}
	defer file.Close()
	tc.tell(&control.Lend{Shards: []control.Shard{{ID: id, Listener: "main", Index: index, Address: tc.address}}}, int(file.Fd()))
	return listener.(*net.TCPListener)
}

// A child holds several shards of a listener and gives some of them back, with what had queued in them.
func TestReturnOfShards(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	for index := 1; index <= 2; index++ {
		tc.lends(1, index)
		if lent := heard[*control.Lent](tc); lent.Count != index+1 {
			t.Errorf("%d shards", lent.Count)
		}
	}
	again := tc.lends(1, 2)
	if lent := heard[*control.Lent](tc); lent.Count != 3 {
		t.Errorf("%d shards", lent.Count)
	}
	again.Close()
	before := descriptors(t)
	if n := tc.returns(control.Shard{ID: 7}, control.Shard{ID: 1, Index: 9}); n != 3 {
		t.Errorf("%d left after the return of others", n)
	}
	// What has queued in all of them comes in with the return, beyond limits.connections too.
	var queued []*peer
	held, begun := make(chan struct{}), make(chan struct{})
	tc.loop.call(func() { close(begun); tc.loop.generation.limits.connections = 5; <-held })
	<-begun
	for range 60 {
		p := tc.dial()
		p.send(getOf("now"))
		queued = append(queued, p)
	}
	tc.tell(&control.Return{Shards: []control.Shard{{ID: 1, Index: 0}, {ID: 1, Index: 2}, {ID: 1, Index: 1}}})
	close(held)
	if n := heard[*control.Returned](tc).Count; n != 0 {
		t.Errorf("%d left", n)
	}
	for _, p := range queued {
		wantBody(tc, p, "GET", "1")
		p.Conn.Close()
	}
	if after := descriptors(t); after >= before+60 {
		t.Errorf("%d descriptors, before there were %d", after, before)
	}
	tc.until("all are gone", func(l *loop) bool { return l.table.Len() == 0 })
	tc.onLoop(func(l *loop) {
		l.generation.limits.connections = 1 << 20
		if len(l.shards) != 0 || l.listeners[0].users != 0 {
			t.Errorf("%d shards, %d users of the listener", len(l.shards), l.listeners[0].users)
		}
	})
	tc.lends(1, 5)
	heard[*control.Lent](tc)
	tc.onLoop(func(l *loop) { l.shards[0].readable = true; l.readyShard = true })
	if n := tc.returns(); n != 1 {
		t.Errorf("%d left", n)
	}

	tc.rests("at the end")
}

// A paused child only closes: the master keeps what has queued.
func TestReturnWhilePaused(t *testing.T) {
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	var queue *net.TCPListener
	tc.onLoop(func(l *loop) { l.accept(false); l.returnShards() })
	queue = tc.lends(1, 0)
	heard[*control.Lent](tc)
	p := tc.dial()
	if n := tc.returns(control.Shard{ID: 1, Index: 0}); n != 0 {
		t.Errorf("%d left", n)
	}
	tc.onLoop(func(l *loop) {
		if l.numbers.accepted != 0 {
			t.Error("a paused child has accepted")
		}
	})
	if err := queue.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn, err := queue.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	p.wantEnd()
}
