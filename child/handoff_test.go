package child

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// handoffEnds makes a handoff channel, as a master does.
func handoffEnds(t testing.TB) (giver, taker int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// channelTo makes channels to takers and returns the giver's ends of them.
func channelTo(t testing.TB, takers ...*testChild) (ends []int) {
	t.Helper()
	for _, taker := range takers {
		giver, end := handoffEnds(t)
		taker.tell(&control.Take{}, end)
		unix.Close(end)
		ends = append(ends, giver)
	}
	return ends
}

// moves gives up to count connections to takers and returns the answer.
func (tc *testChild) moves(count int, takers ...*testChild) *control.Gave {
	tc.t.Helper()
	ends := channelTo(tc.t, takers...)
	tc.tell(&control.Give{ID: 7, Count: count, Listeners: []uint32{1}}, ends...)
	closeDescriptors(ends)
	m := heard[*control.Gave](tc)
	if m.ID != 7 {
		tc.t.Errorf("the answer to order %d", m.ID)
	}
	return m
}

// movesAll is moves for exactly n.
func (tc *testChild) movesAll(n int, takers ...*testChild) {
	tc.t.Helper()
	if m := tc.moves(n, takers...); m.Count != n || m.Broken != "" {
		tc.t.Fatalf("%d of %d have moved: %q", m.Count, n, m.Broken)
	}
}

// startTwo starts a giver and a taker whose handlers tell them apart: /x answers with a or b.
func startTwo(t testing.TB, config string, handlers routes) (a, b *testChild) {
	t.Helper()
	with := func(name string) routes {
		all := routes{"GET /x": text(name), "GET /who": whoIs, "POST /b": web.HandlerFunc(readAll)}
		for pattern, h := range handlers {
			all[pattern] = h
		}
		return all
	}
	return start(t, config, with("a")), start(t, config, with("b"))
}

func (p *peer) wantX(want string) {
	p.t.Helper()
	if r := p.get("/x"); string(r.Body) != want || r.Close {
		p.t.Fatalf("%d %q, close %v, want %q", r.Status, r.Body, r.Close, want)
	}
}

// received waits until the child has read n bytes of its one connection.
func (tc *testChild) received(n int) {
	tc.t.Helper()
	tc.until("the bytes", func(l *loop) bool {
		c := only(l)
		return c != nil && c.received == uint64(n) && !c.has(flagReady)
	})
}

// A taker or giver that is played by the test.
type played struct {
	*control.Conn
	t testing.TB
}

func playEnd(t testing.TB, end int) *played {
	t.Helper()
	conn, err := control.New(os.NewFile(uintptr(end), "handoff"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &played{conn, t}
}

// next returns the next Connections with its sockets.
func (p *played) next() (*control.Connections, []int) {
	p.t.Helper()
	if err := p.ReceiveBy(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	m, fds, err := p.ReceiveDescriptors()
	c, is := m.(*control.Connections)
	if err != nil || !is || len(c.Records) != len(fds) {
		p.t.Fatalf("%T, %d descriptors, %v", m, len(fds), err)
	}
	return c, fds
}

func (p *played) says(m control.Message, fds ...int) {
	p.t.Helper()
	if err := p.Send(m, fds...); err != nil {
		p.t.Fatal(err)
	}
}

// givesToTest asks for count connections, which come to the test.
func (tc *testChild) givesToTest(count int) *played {
	tc.t.Helper()
	giver, taker := handoffEnds(tc.t)
	tc.tell(&control.Give{ID: 7, Count: count, Listeners: []uint32{1}}, giver)
	unix.Close(giver)
	return playEnd(tc.t, taker)
}

// A connection at rest moves, its client notices nothing, and it can move again.
func TestHandoffOfAnIdleConnection(t *testing.T) {
	a, b := startTwo(t, "", nil)
	p := a.dial()
	p.wantX("a")
	who := string(p.get("/who").Body)
	a.movesAll(1, b)
	a.wantClosed(reasonMoved, 1)
	a.onLoop(func(l *loop) {
		if l.open() != 0 || len(l.moves.givings) != 0 {
			t.Errorf("%d open, %d givings", l.open(), len(l.moves.givings))
		}
	})
	p.wantX("b")
	if got := string(p.get("/who").Body); got != who {
		t.Errorf("the client was %s, and is %s", who, got)
	}
	b.onLoop(func(l *loop) {
		c := only(l)
		if l.numbers.accepted != 0 || l.numbers.movedIn != 1 || c.exchanges != 4 || c.received == 0 || c.sent == 0 {
			t.Errorf("%d accepted, %d moved in, %d exchanges, %d bytes in", l.numbers.accepted, l.numbers.movedIn, c.exchanges, c.received)
		}
	})
	b.movesAll(1, a)
	p.wantX("a")
	p.Close()
	a.until("the end", func(l *loop) bool { return l.table.Len() == 0 })
}

// A fresh connection moves too; its first request is its taker's.
func TestHandoffOfAFreshConnection(t *testing.T) {
	a, b := startTwo(t, "", nil)
	p := a.dial()
	a.until("the accept", func(l *loop) bool { return l.table.Len() == 1 && !only(l).has(flagReady) })
	a.movesAll(1, b)
	p.wantX("b")
}

// A request whose head moves between two children after each of its bytes is answered as any other. So is one behind it.
func TestHandoffAfterEveryByte(t *testing.T) {
	a, b := startTwo(t, "", nil)
	p := a.dial()
	children := [2]*testChild{a, b}
	const request = "POST /b?q HTTP/1.1\r\nHost: x\r\nX-Y: z\r\nContent-Length: 3\r\n\r\n"
	sent := 0
	for range 2 {
		for i := range len(request) - 1 {
			p.send(request[i : i+1])
			sent++
			children[0].received(sent)
			children[0].movesAll(1, children[1])
			children[0], children[1] = children[1], children[0]
		}
		p.send(request[len(request)-1:] + "abc")
		sent += 4
		if r := p.answer("POST"); string(r.Body) != "3 <nil>" || r.Close {
			t.Fatalf("%d %q, close %v", r.Status, r.Body, r.Close)
		}
		children[0].until("it rests", func(l *loop) bool { return atRest(only(l)) })
	}
	for _, tc := range children {
		if log := tc.loggedLines(); strings.Contains(log, "runtime error") {
			t.Error(log)
		}
	}
}

// At every split of two pipelined requests: what has come before moves, the rest is sent behind it, and the answers are in order.
func TestHandoffOfEverySplit(t *testing.T) {
	a, b := startTwo(t, "", nil)
	const stream = "GET /x HTTP/1.1\r\nHost: x\r\n\r\nGET /x?2 HTTP/1.1\r\nHost: x\r\n\r\n"
	first := strings.Index(stream, "\r\n\r\n") + 4
	for i := 1; i < len(stream); i++ {
		p := a.dial()
		p.send(stream[:i])
		want := []string{"b", "b"}
		if i >= first {
			want[0] = "a"
			if r := p.answer("GET"); string(r.Body) != "a" {
				t.Fatalf("split %d: %q", i, r.Body)
			}
		}
		a.until("it rests", func(l *loop) bool {
			c := only(l)
			return c != nil && c.received == uint64(i) && atRest(c) && !c.has(flagReady)
		})
		a.movesAll(1, b)
		p.send(stream[i:])
		if i < first {
			if r := p.answer("GET"); string(r.Body) != "b" {
				t.Fatalf("split %d: %q", i, r.Body)
			}
		}
		if r := p.answer("GET"); string(r.Body) != "b" || r.Close {
			t.Fatalf("split %d: %q", i, r.Body)
		}
		p.Close()
	}
}

// A long part of a head goes ahead of its record.
func TestHandoffOfALongHead(t *testing.T) {
	a, b := startTwo(t, "limits {\n  header_bytes = \"1MiB\"\n}\n", nil)
	for _, size := range []int{unreadApart - 200, unreadApart, unreadApart + 1, control.MaxBody, 200_000} {
		p, other := a.dial(), a.dial()
		other.wantX("a")
		head := "GET /x HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("y", size)
		p.send(head)
		a.until("it has come", func(l *loop) bool {
			for c := range l.table.All() {
				if c.received == uint64(len(head)) && !c.has(flagReady) {
					return true
				}
			}
			return false
		})
		a.movesAll(2, b)
		other.wantX("b")
		p.send("\r\n\r\n")
		if r := p.answer("GET"); string(r.Body) != "b" {
			t.Fatalf("%d bytes: %d %q", size, r.Status, r.Body)
		}
		p.Close()
		other.Close()
	}
}

// What arrives while a connection is on its way, bytes and ends, is found by the taker; and by the giver if it comes back.
func TestHandoffWhileTheClientActs(t *testing.T) {
	for _, held := range []bool{true, false} {
		for name, c := range map[string]struct {
			act     func(p *peer)
			answers int
			over    bool // the connection is, afterwards
		}{
			"sends":                   {func(p *peer) { p.send(getX) }, 1, false},
			"pipelines":               {func(p *peer) { p.send(getX + getX) }, 2, false},
			"sends and ends its side": {func(p *peer) { p.send(getX); p.halfClose() }, 1, true},
			"ends its side":           {func(p *peer) { p.halfClose() }, 0, true},
			"resets":                  {func(p *peer) { p.reset() }, 0, true},
		} {
			t.Run(fmt.Sprintf("held %v, %s", held, name), func(t *testing.T) {
				a, b := startTwo(t, "", nil)
				p := a.dial()
				p.wantX("a")
				mine := a.givesToTest(1)
				m, fds := mine.next()
				c.act(p)
				owner, letter := a, "a"
				if held {
					owner, letter = b, "b"
					giver, taker := handoffEnds(t)
					b.tell(&control.Take{}, taker)
					unix.Close(taker)
					on := playEnd(t, giver)
					on.says(&control.Connections{Sequence: 1, Records: m.Records}, fds...)
					if h, _, err := on.Receive(); err != nil || h.(*control.Held).Sequence != 1 {
						t.Fatal(h, err)
					}
					mine.says(&control.Held{Sequence: 1})
					on.Close()
				} else {
					mine.says(&control.NotHeld{Sequence: 1, Reason: "the test says so"})
				}
				closeDescriptors(fds)
				if g := heard[*control.Gave](a); held != (g.Count == 1) || held != (g.Broken == "") {
					t.Errorf("%+v", g)
				}
				for range c.answers {
					if r := p.answer("GET"); string(r.Body) != letter {
						t.Fatalf("%q", r.Body)
					}
				}
				if c.over {
					owner.until("the end", func(l *loop) bool { return l.table.Len() == 0 })
				} else {
					p.wantX(letter)
				}
			})
		}
	}
}

// A taker that declines, dies, or says nothing leaves the connections with the giver, as they were.
func TestHandoffToABadTaker(t *testing.T) {
	for name, answer := range map[string]func(a *testChild, p *played, m *control.Connections){
		"declines": func(_ *testChild, p *played, m *control.Connections) {
			p.says(&control.NotHeld{Sequence: m.Sequence, Reason: "no"})
		},
		"dies":      func(_ *testChild, p *played, _ *control.Connections) { p.Close() },
		"is silent": func(*testChild, *played, *control.Connections) {},
		"lies":      func(_ *testChild, p *played, m *control.Connections) { p.says(&control.Held{Sequence: m.Sequence + 1}) },
		"babbles": func(_ *testChild, p *played, _ *control.Connections) {
			p.says(&control.Unknown{Number: control.KindHeld, Body: []byte("{")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := startTwo(t, "", nil)
			a.onLoop(func(l *loop) { l.moves.answerBound = 2 * wheelTick })
			var peers []*peer
			for range 5 {
				p := a.dial()
				p.wantX("a")
				peers = append(peers, p)
			}
			peers[0].send(getX[:9])
			a.until("part of a head", func(l *loop) bool {
				for c := range l.table.All() {
					if c.current != nil && !c.has(flagReady) {
						return true
					}
				}
				return false
			})
			before := make(map[int]int64)
			a.onLoop(func(l *loop) {
				for c := range l.table.All() {
					before[int(c.fd)] = c.timer.Due()
				}
			})
			mine := a.givesToTest(10)
			m, fds := mine.next()
			if len(fds) != 5 {
				t.Fatalf("%d connections", len(fds))
			}
			a.onLoop(func(l *loop) {
				if l.table.Len() != 0 || l.open() != 5 {
					t.Errorf("%d in the table, %d open", l.table.Len(), l.open())
				}
				if l.gauge(); l.life.Get(board.WordConnections) != 5 {
					t.Errorf("%d on the board", l.life.Get(board.WordConnections))
				}
			})
			answer(a, mine, m)
			g := heard[*control.Gave](a)
			if g.Count != 0 || g.Broken == "" {
				t.Errorf("%+v", g)
			}
			if name == "is silent" { // it is too late
				if err := mine.Send(&control.Held{Sequence: 1}); err == nil {
					t.Error("held by two")
				}
			}
			closeDescriptors(fds)
			a.onLoop(func(l *loop) {
				for c := range l.table.All() {
					if due, is := before[int(c.fd)]; !is || c.timer.Due() != due {
						t.Errorf("the deadline of descriptor %d was %d and is %d", c.fd, due, c.timer.Due())
					}
				}
			})
			peers[0].send(getX[9:])
			if r := peers[0].answer("GET"); string(r.Body) != "a" {
				t.Errorf("%q", r.Body)
			}
			for _, p := range peers {
				p.wantX("a")
				p.Close()
			}
			a.wantClosed(reasonClientDone, 5)
		})
	}
}

// After held the connection is the taker's alone: when that dies, the client sees the end.
func TestHandoffToATakerThatDiesWithIt(t *testing.T) {
	a, _ := startTwo(t, "", nil)
	p := a.dial()
	p.wantX("a")
	mine := a.givesToTest(1)
	m, fds := mine.next()
	mine.says(&control.Held{Sequence: m.Sequence})
	if g := heard[*control.Gave](a); g.Count != 1 || g.Broken != "" {
		t.Errorf("%+v", g)
	}
	closeDescriptors(fds)
	p.wantEnd()
}

// A taker declines what it cannot take, and closes it.
func TestHandoffDeclined(t *testing.T) {
	a, b := startTwo(t, "", nil)
	for name, prepare := range map[string]func(l *loop){
		"descriptors":   func(l *loop) { l.mostConnections = 1 },
		"no generation": func(l *loop) { l.mostConnections = 0; l.generation = nil },
	} {
		p, q := a.dial(), a.dial()
		p.wantX("a")
		q.wantX("a")
		var g *generation
		b.onLoop(func(l *loop) { g = l.generation; prepare(l) })
		m := a.moves(2, b)
		b.onLoop(func(l *loop) {
			l.generation, l.mostConnections = g, 0
			if l.moves.taking != 0 {
				t.Errorf("%d are promised", l.moves.taking)
			}
		})
		if m.Count != 0 || !strings.HasPrefix(m.Broken, "not held: ") {
			t.Errorf("%s: %+v", name, m)
		}
		p.wantX("a")
		q.wantX("a")
		p.Close()
		q.Close()
		a.until("the end", func(l *loop) bool { return l.table.Len() == 0 })
	}
	// Descriptors that were lost on the way, and messages that do not fit together.
	for _, c := range []struct {
		records int
		lost    bool
		long    bool
	}{{1, true, false}, {2, false, false}, {1, false, true}} {
		giver, taker := handoffEnds(t)
		ours, theirs := playEnd(t, giver), playEnd(t, taker)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		in := &intake{child: b.child, conn: theirs.Conn, long: c.long}
		if err := in.hold(&control.Connections{Sequence: 3, Records: make([]control.Connection, c.records)}, pair[:1], c.lost); err != nil {
			t.Fatal(err)
		}
		if m, _, err := ours.Receive(); err != nil || m.(*control.NotHeld).Sequence != 3 || m.(*control.NotHeld).Reason == "" {
			t.Errorf("%+v, %v", m, err)
		}
		if n, err := unix.Read(pair[1], make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("the socket is open: %d, %v", n, err)
		}
		unix.Close(pair[1])
	}
}

// Bytes without end are declined, with the connection that they are for, and the next one is not.
func TestHandoffOfTooMuchUnread(t *testing.T) {
	_, b := startTwo(t, "", nil)
	giver, taker := handoffEnds(t)
	b.tell(&control.Take{}, taker)
	unix.Close(taker)
	ours := playEnd(t, giver)
	for range unreadMost/control.MaxBody + 1 {
		ours.says(&control.Unread{Bytes: make([]byte, control.MaxBody)})
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	records := []control.Connection{{Listener: 1}}
	ours.says(&control.Connections{Sequence: 1, Records: records}, pair[0])
	if m, _, err := ours.Receive(); err != nil || m.(*control.NotHeld).Sequence != 1 {
		t.Fatal(m, err)
	}
	ours.says(&control.Connections{Sequence: 2, Records: records}, pair[0])
	if m, _, err := ours.Receive(); err != nil || m.(*control.Held).Sequence != 2 {
		t.Fatal(m, err)
	}
	unix.Close(pair[0])
	file := fileOf(pair[1])
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	b.peerOf(conn).wantX("b")
}

// Give gives as many as it was asked for, of those on which nothing goes on, and answers at once when there are fewer.
func TestGiveCounts(t *testing.T) {
	gate := make(chan struct{})
	a, b := startTwo(t, "", routes{"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" })})
	c := start(t, "", routes{"GET /x": text("c")})
	var peers []*peer
	for range 10 {
		p := a.dial()
		p.wantX("a")
		peers = append(peers, p)
	}
	busy := a.dial()
	busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	a.until("it runs", func(l *loop) bool { return l.numbers.begun == 11 })
	a.movesAll(4, b)
	a.onLoop(func(l *loop) {
		if l.table.Len() != 7 {
			t.Errorf("%d are left", l.table.Len())
		}
	})
	if m := a.moves(0, b); m.Count != 0 {
		t.Errorf("%+v", m)
	}
	a.movesAll(2, b, c)
	for _, tc := range []*testChild{b, c} {
		want := map[*testChild]int{b: 5, c: 1}[tc]
		tc.until("its share", func(l *loop) bool { return l.table.Len() == want }) // it has acknowledged them, and may not have them yet
	}
	if m := a.moves(100, b); m.Count != 4 || m.Broken != "" {
		t.Errorf("%+v", m)
	}
	close(gate)
	if r := busy.answer("GET"); string(r.Body) != "slow" || r.Close {
		t.Errorf("%q, close %v", r.Body, r.Close)
	}
	for _, p := range peers {
		if r := p.get("/x"); !slices.Contains([]string{"b", "c"}, string(r.Body)) {
			t.Errorf("%q", r.Body)
		}
	}
	// Others' listeners are left alone, and an order without a channel is answered.
	a.tell(&control.Give{ID: 9, Count: 5, Listeners: []uint32{1}})
	if m := heard[*control.Gave](a); m.ID != 9 || m.Count != 0 || m.Broken == "" {
		t.Errorf("%+v", m)
	}
	ends := channelTo(t, b)
	a.tell(&control.Give{ID: 10, Count: 5, Listeners: []uint32{2}}, ends...)
	closeDescriptors(ends)
	if m := heard[*control.Gave](a); m.ID != 10 || m.Count != 0 {
		t.Errorf("%+v", m)
	}
}

// What waits for the client goes on to wait: neither an idle nor a head deadline is moved by a move.
func TestHandoffKeepsDeadlines(t *testing.T) {
	a, b := startTwo(t, "limits {\n  head_timeout = \"400ms\"\n}\n", nil)
	idle, head := a.dial(), a.dial()
	idle.wantX("a")
	head.wantX("a")
	head.send("GET /")
	dues := func(tc *testChild) (due [2]int64) {
		tc.until("both are at rest", func(l *loop) bool {
			due = [2]int64{}
			for c := range l.table.All() {
				if c.has(flagReady) {
					return false
				}
				switch c.phase {
				case phaseIdle:
					due[0] = c.timer.Due()
				case phaseHead:
					due[1] = c.timer.Due()
				}
			}
			return due[0] > 0 && due[1] > 0
		})
		return due
	}
	before := dues(a)
	a.movesAll(2, b)
	after := dues(b)
	for i := range before {
		if moved := after[i] - before[i]; moved < -int64(10*time.Millisecond) || moved > int64(100*time.Millisecond) {
			t.Errorf("deadline %d has moved by %v", i, time.Duration(moved))
		}
	}
	b.movesAll(2, a)
	if r := head.answer("GET"); r.Status != 408 {
		t.Errorf("%d", r.Status)
	}
	idle.wantX("a")
}

// The taker's own limits hold.
func TestHandoffToShorterLimits(t *testing.T) {
	a := start(t, "", routes{"GET /x": text("a")})
	b := start(t, "limits {\n  idle_timeout = \"50ms\"\n}\n", routes{"GET /x": text("b")})
	p := a.dial()
	p.wantX("a")
	a.movesAll(1, b)
	p.wantEnd()
	b.until("the close", func(l *loop) bool {
		return l.numbers.closed[reasonIdleTimeout] == 1 || only(l) != nil && only(l).why == reasonIdleTimeout
	})
}

// A PROXY header moves in any part, and what it has said moves on.
func TestHandoffOfAProxiedConnection(t *testing.T) {
	a, b := startTwo(t, proxied(`["127.0.0.1"]`, ""), nil)
	children := [2]*testChild{a, b}
	headers := []string{"PROXY TCP4 192.0.2.1 198.51.100.7 1234 443\r\n", version2(0x21, 0x21, v6Block, overTLS), "PROXY UNKNOWN\r\n"}
	for _, header := range headers {
		for i := range len(header) + 1 {
			p := children[0].dial()
			p.send(header[:i])
			children[0].received(i)
			children[0].movesAll(1, children[1])
			p.send(header[i:] + getWho)
			first := string(p.answer("GET").Body)
			children[1].until("it rests", func(l *loop) bool { return atRest(only(l)) && !only(l).has(flagReady|flagReadable) })
			children[1].movesAll(1, children[0])
			if again := string(p.get("/who").Body); again != first {
				t.Fatalf("split %d of %q: %q, and then %q", i, header, first, again)
			}
			if !strings.Contains(header, "UNKNOWN") && !strings.HasSuffix(first, ":1234") {
				t.Fatalf("split %d of %q: %q", i, header, first)
			}
			p.Close()
			children[0].until("the end", func(l *loop) bool { return l.table.Len() == 0 })
		}
	}
}

// What was accepted when the listener still asked for a PROXY header has to bring one, wherever it is.
func TestHandoffOfAProxiedConnectionToAnother(t *testing.T) {
	a := start(t, proxied(`["127.0.0.1"]`, ""), routes{"GET /who": whoIs})
	b := start(t, "", routes{"GET /who": whoIs})
	p := a.dial()
	p.send("PROXY TCP4 192")
	a.received(14)
	a.movesAll(1, b)
	p.send(".0.2.1 198.51.100.7 1234 443\r\n" + getWho)
	p.wantBody("http 192.0.2.1:1234")
	// And the other way round, none that has come without.
	q := b.dial()
	q.get("/who")
	b.movesAll(2, a)
	q.wantBodyOf("http " + q.LocalAddr().String())
}

func (p *peer) wantBodyOf(want string) {
	p.t.Helper()
	if r := p.get("/who"); string(r.Body) != want {
		p.t.Errorf("%q, want %q", r.Body, want)
	}
}

// The connection of a unix socket has no address, before and after.
func TestHandoffOfAUnixSocket(t *testing.T) {
	const config = "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nlisten \"local\" {\n  address = \"unix:/run/test.sock\"\n}\n"
	a, b := startTwo(t, config, nil)
	var local *listener
	a.onLoop(func(l *loop) { local = l.listenerOf(2, "local") })
	p := a.lendUnix(local)
	p.wantX("a")
	who := string(p.get("/who").Body)
	ends := channelTo(t, b)
	a.tell(&control.Give{ID: 7, Count: 3, Listeners: []uint32{2}}, ends...)
	closeDescriptors(ends)
	if m := heard[*control.Gave](a); m.Count != 1 {
		t.Fatalf("%+v", m)
	}
	p.wantX("b")
	if got := string(p.get("/who").Body); got != who {
		t.Errorf("%q, and then %q", who, got)
	}
	b.onLoop(func(l *loop) {
		if c := only(l); c.listener.id != 2 || c.listener.name != "local" || c.peer != (netip.AddrPort{}) {
			t.Errorf("listener %d %s, peer %v", c.listener.id, c.listener.name, c.peer)
		}
	})
}

// A connection of a listener that the taker does not know is one of a removed listener there.
func TestHandoffOfAnUnknownListener(t *testing.T) {
	a, b := startTwo(t, "", nil)
	p := a.dial()
	p.wantX("a")
	b.onLoop(func(l *loop) {
		l.listeners[0].id, l.generation.listeners = 99, map[uint32]entrance{99: l.listeners[0].entrance}
	})
	a.movesAll(1, b)
	p.wantEnd()
	p.Close()
	b.until("the end", func(l *loop) bool { return l.table.Len() == 0 && len(l.listeners) == 1 })
	if n := b.closedFor(reasonListenerRemoved); n != 1 {
		t.Errorf("%d were closed for their listener", n)
	}
}

func (tc *testChild) closedFor(why closeReason) (n uint64) {
	tc.t.Helper()
	tc.onLoop(func(l *loop) { n = l.numbers.closed[why] })
	return n
}

// The death of the master stops no move, of what rests later either.
func TestHandoffWithoutMasters(t *testing.T) {
	gate := make(chan struct{})
	outfit = func(ch *child) { // one that another master could adopt: it goes on without
		ch.door = new(control.Door)
		ch.admitted.Store(true)
		ch.orphanTimeout = time.Hour
	}
	defer func() { outfit = nil }()
	a, b := startTwo(t, "", routes{"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" })})
	idle, busy := a.dial(), a.dial()
	idle.wantX("a")
	busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	a.until("it runs", func(l *loop) bool { return l.numbers.begun == 2 })
	a.drainsTo(time.Hour, 0, b)
	idle.wantX("b")
	a.until("the answer", func(l *loop) bool { return l.moves.transit == 0 })
	alone := func(tc *testChild) {
		lost := tc.link.lost()
		tc.master.Close()
		await(t, "the end of the channel", lost)
	}
	alone(a)
	alone(b)
	close(gate)
	if r := busy.answer("GET"); string(r.Body) != "slow" || r.Close {
		t.Errorf("%q, close %v", r.Body, r.Close)
	}
	busy.wantX("b")
	await(t, "the end of the child", a.ended)
}

// Thousands move in one go, spread over two takers, none is lost, and each is answered.
func TestHandoffOfThousands(t *testing.T) {
	n := 2000
	if raceEnabled {
		n = 600
	}
	if *mechanism == "select" {
		n = 150 // it takes descriptors below 1024
	}
	a, b := startTwo(t, "", nil)
	c := start(t, "", routes{"GET /x": text("c")})
	before := descriptors(t)
	clients := make([]*rawClient, n)
	buffer := make([]byte, 4096)
	for i := range clients {
		clients[i] = a.dialRaw(t)
		t.Cleanup(clients[i].close)
		if i%2 == 0 {
			clients[i].ask(t, buffer, "a")
		}
	}
	a.until("all are there", func(l *loop) bool { return l.table.Len() == n })
	a.rests("before the move")
	a.drainsTo(time.Hour, 0, b, c)
	heard[*control.Drained](a)
	await(t, "the end of the child", a.ended)
	var at [2]int
	for i, tc := range []*testChild{b, c} {
		tc.until("all have come that were acknowledged", func(l *loop) bool {
			at[i] = l.table.Len()
			return l.moves.taking == 0
		})
	}
	if at[0]+at[1] != n || at[0] == 0 || at[1] == 0 { // who answers faster gets more
		t.Errorf("%v of %d connections", at, n)
	}
	for _, client := range clients {
		client.ask(t, buffer, "")
	}
	for _, client := range clients {
		client.close()
	}
	for _, tc := range []*testChild{b, c} {
		tc.until("all have gone", func(l *loop) bool { return l.table.Len() == 0 })
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// ask sends getX and reads the answer, whose body is want unless that is "".
func (c *rawClient) ask(t testing.TB, buffer []byte, want string) {
	t.Helper()
	if _, err := unix.Write(c.fd, []byte(getX)); err != nil {
		t.Fatal(err)
	}
	n, err := c.read(buffer)
	answer := string(buffer[:max(n, 0)])
	if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 200 ") || !strings.HasSuffix(answer, want) ||
		strings.Contains(answer, "Connection: close") {
		t.Fatalf("%q, %v", answer, err)
	}
}

// Orders that cannot be carried out are answered, or logged, and break nothing.
func TestHandoffOrdersThatCannotBe(t *testing.T) {
	a, _ := startTwo(t, "", nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	a.tell(&control.Give{ID: 3, Count: 1, Listeners: []uint32{1}}, int(r.Fd()))
	if m := heard[*control.Gave](a); m.ID != 3 || m.Broken == "" {
		t.Errorf("%+v", m)
	}
	a.tell(&control.Take{}, int(r.Fd()))
	a.tell(&control.Take{})
	a.tell(&control.Ping{})
	heard[*control.Pong](a)
	a.until("two lines in the log", func(*loop) bool { return strings.Count(a.loggedLines(), `"message":"take"`) == 2 })
}
