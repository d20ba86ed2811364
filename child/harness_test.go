package child

import (
	"bufio"
	"flag"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/control"
)

// patience bounds every wait of a test: far more than anything takes, so that only a hang meets it.
const patience = 6 * time.Second

// testChild is a whole child in the test's process: the real loop, agent, pools and control channel, without a master.
type testChild struct {
	*child
	t       testing.TB
	address string // of its one TCP shard
	master  *control.Conn
	ended   chan struct{}
	answers chan control.Message // to the master, but for its log
	turns   *turnCounter

	mu  sync.Mutex
	log strings.Builder
}

// routes are handlers by pattern, as a program would register them in code.
type routes map[string]web.Handler

// start runs a child. config is HCL: blocks such as limits {} (a listener and a default site are added when it has none).
func start(t testing.TB, config string, handlers routes, modules ...module.Module) *testChild {
	t.Helper()
	return startOn(t, *mechanism, config, handlers, modules...)
}

// mechanism lets the whole suite run on another poller: go test ./child -poller=select.
var mechanism = flag.String("poller", "", "the poller of the children that tests start: epoll, poll or select")

// turnCounter counts the turns of a loop: each has one Wait.
type turnCounter struct {
	netcore.Poller
	turns atomic.Int64
}

func (p *turnCounter) Wait(events []netcore.Event, timeout time.Duration) (int, error) {
	p.turns.Add(1)
	return p.Poller.Wait(events, timeout)
}

// outfit, if not nil, changes the child that is started before it takes its first message. Tests that set it start one child at a time.
var outfit func(*child)

// startOn is start with the poller of a mechanism.
func startOn(t testing.TB, mechanism, config string, handlers routes, modules ...module.Module) *testChild {
	t.Helper()
	schema := &configs.Schema{Limits: LimitsSpec(), RouteLimits: RouteLimitsSpec(), Workers: WorkersSpec(), Pattern: func(p string) (string, error) {
		pattern, err := web.ParsePattern(p)
		return pattern.Key(), err
	}}
	var code []module.CodeRoute
	for pattern, h := range handlers {
		code = append(code, module.CodeRoute{Pattern: pattern, Handler: h, Place: "test"})
		schema.CodeRoutes = append(schema.CodeRoutes, configs.CodeRoute{Pattern: pattern, Place: "test"})
	}
	for _, m := range modules {
		schema.Modules = append(schema.Modules, m.Spec())
	}
	if !strings.Contains(config, "listen ") {
		config += "\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\n"
	}
	if !strings.Contains(config, "site ") {
		config += "\nsite \"main\" {}\n"
	}
	resolved, diags := configs.Resolve(&configs.Sources{Path: "/test.hcl", Files: []configs.Source{{Name: "/test.hcl", Bytes: []byte(config)}}}, schema)
	if diags.HasErrors() {
		t.Fatal(diags)
	}

	ours, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := newChild(Options{Schema: schema, Code: code, Modules: modules, Version: "test", Hosted: true}, 0, conn)
	if err != nil {
		t.Fatal(err)
	}
	poller, err := netcore.NewPoller(mechanism)
	if err != nil {
		t.Fatal(err)
	}
	ch.loop.poller.Close()
	turns := &turnCounter{Poller: poller}
	ch.loop = newLoop(turns, ch)
	tc := &testChild{child: ch, t: t, master: ours, ended: make(chan struct{}), answers: make(chan control.Message, 1000), turns: turns}
	go tc.readLog()
	ch.pool = workerOptions("", resolved.Workers)
	g, err := ch.builder.build(resolved, 1, listenerIDs(resolved))
	if err != nil {
		t.Fatal(err)
	}
	ch.drainTimeout, ch.first, ch.logFormat = resolved.DrainTimeout, false, "json"
	shardFD, err := netcore.Listen(netcore.Endpoint{Network: "tcp", Addr: resolved.Listeners[0].Address.Addr}, netcore.ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	local, err := netcore.Local(shardFD)
	if err != nil {
		t.Fatal(err)
	}
	tc.address = local.String()
	ch.loop.call(func() {
		ch.loop.commit(g)
		ch.loop.lend([]*shard{{fd: shardFD, listener: ch.loop.listenerOf(1, resolved.Listeners[0].Name), lent: control.Shard{ID: 1}}})
		ch.loop.accept(true)
	})
	if outfit != nil {
		outfit(ch)
	}
	go ch.attend(conn)
	go func() {
		defer close(tc.ended)
		if err := ch.loop.run(); err != nil {
			t.Errorf("the loop ended: %v", err)
		}
	}()
	t.Cleanup(func() {
		ch.loop.call(func() {
			ch.loop.returnShards()
			for c := range ch.loop.table.All() {
				ch.loop.close(c, reasonDrainTimeout)
			}
			for d := range ch.loop.detached {
				ch.loop.endDetached(d)
			}
		})
		if !t.Failed() {
			tc.noLeak()
		}
		ch.loop.call(ch.loop.stop)
		<-tc.ended
		for _, p := range ch.pools {
			p.Close()
		}
		ch.closeLogs()
		close(ch.outbox)
		<-ch.mailed
		ours.Close()
		conn.Close()
		ch.loop.poller.Close()
	})
	return tc
}

// listenerIDs are the master's numbers of listeners: from 1, in order.
func listenerIDs(c *configs.Config) map[string]uint32 {
	ids := make(map[string]uint32)
	for i, l := range c.Listeners {
		ids[l.Name] = uint32(i + 1)
	}
	return ids
}

// noLeak checks that nothing is left of the connections, which are closed: every exchange has come back from its handler.
func (tc *testChild) noLeak() {
	tc.t.Helper()
	// The close of a body's source may come after its exchange. A drain may end the loop at any moment.
	if !tc.untilOrEnd("all that has held a generation comes back", func(l *loop) bool {
		return l.generation.exchanges == 0 && l.generation.held == 0 && l.retirees == 0
	}) {
		return
	}
	tc.onLoopOrEnd(func(l *loop) {
		if len(l.retired) != 0 {
			tc.t.Errorf("%d generations are retired", len(l.retired))
		}
		if n := l.table.Len(); n != 0 {
			tc.t.Errorf("%d connections are left in the table", n)
		}
		for ex := l.freeExchange.first; ex != nil; ex = ex.next {
			if ex.state != Closed || ex.gen != nil || ex.dispatch || ex.reader != nil || ex.stream != nil {
				tc.t.Errorf("a free exchange is not clean: %+v", ex.state)
			}
		}
	})
}

// readLog plays the master's part of the log.
func (tc *testChild) readLog() {
	for {
		m, files, err := tc.master.Receive()
		if err != nil {
			return
		}
		closeFiles(files)
		if line, ok := m.(*control.Log); ok {
			tc.mu.Lock()
			tc.log.WriteString(line.Lines)
			tc.mu.Unlock()
			continue
		}
		select {
		case tc.answers <- m:
		default: // of a test that does not look
		}
	}
}

// logged returns what the child has logged so far.
func (tc *testChild) loggedLines() string {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	return tc.log.String()
}

// onLoop runs f on the loop and waits for it.
func (tc *testChild) onLoop(f func(l *loop)) {
	tc.t.Helper()
	if !tc.onLoopOrEnd(f) {
		tc.t.Fatal("the loop has ended")
	}
}

// onLoopOrEnd is onLoop for a loop that may end by itself: false when it has, and has not run f.
func (tc *testChild) onLoopOrEnd(f func(l *loop)) bool {
	tc.t.Helper()
	done := make(chan struct{})
	tc.loop.call(func() {
		f(tc.loop)
		close(done)
	})
	select {
	case <-done:
		return true
	case <-tc.ended:
	case <-time.After(patience):
		tc.t.Fatal("the loop does not turn")
	}
	select {
	case <-done: // in its last turn
		return true
	default:
		return false
	}
}

// until waits until condition holds, looking on the loop after each of its turns; a condition on loop state needs no sleep.
func (tc *testChild) until(what string, condition func(l *loop) bool) {
	tc.t.Helper()
	if !tc.untilOrEnd(what, condition) {
		tc.t.Fatalf("%s: the loop has ended", what)
	}
}

// untilOrEnd is until for a loop that may end by itself: false when it has, and the condition has not held.
func (tc *testChild) untilOrEnd(what string, condition func(l *loop) bool) bool {
	tc.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var holds bool
		if !tc.onLoopOrEnd(func(l *loop) { holds = condition(l) }) {
			return false
		}
		if holds {
			return true
		}
		if time.Now().After(deadline) {
			tc.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// peer is a client's connection with a strict reader of responses.
type peer struct {
	net.Conn
	t      testing.TB
	reader *http1test.Reader
	raw    *bufio.Reader
}

// dial connects to the child's shard.
func (tc *testChild) dial() *peer {
	tc.t.Helper()
	conn, err := net.Dial("tcp", tc.address)
	if err != nil {
		tc.t.Fatal(err)
	}
	return tc.peerOf(conn)
}

// inject gives the child one end of a unix socketpair, as the master does, and returns the other.
func (tc *testChild) inject(role string) *peer {
	tc.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		tc.t.Fatal(err)
	}
	file := fileOf(pair[1])
	if err := tc.master.Send(&control.Inject{Role: role}, pair[0]); err != nil {
		tc.t.Fatal(err)
	}
	unix.Close(pair[0])
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		tc.t.Fatal(err)
	}
	return tc.peerOf(conn)
}

func (tc *testChild) peerOf(conn net.Conn) *peer {
	conn.SetDeadline(time.Now().Add(patience))
	tc.t.Cleanup(func() { conn.Close() })
	raw := bufio.NewReader(conn)
	return &peer{Conn: conn, t: tc.t, reader: http1test.NewReader(raw), raw: raw}
}

// send writes raw bytes.
func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// answer reads one response to a request with this method.
func (p *peer) answer(method string) *http1test.Response {
	p.t.Helper()
	r, err := p.reader.Read(method)
	if err != nil {
		p.t.Fatalf("answer to %s: %v", method, err)
	}
	return r
}

// get sends a GET for target and reads the answer.
func (p *peer) get(target string) *http1test.Response {
	p.t.Helper()
	p.send("GET " + target + " HTTP/1.1\r\nHost: test\r\n\r\n")
	return p.answer("GET")
}

// wantEnd expects the connection's end: nothing more, and no reset.
func (p *peer) wantEnd() {
	p.t.Helper()
	rest, err := io.ReadAll(p.raw)
	if err != nil || len(rest) > 0 {
		p.t.Fatalf("expected the end of the connection, got %q, %v", rest, err)
	}
}

// text is a handler that answers with s.
func text(s string) web.Handler { return web.StringFunc(func(*web.Request) string { return s }) }
