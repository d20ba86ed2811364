package child

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// probe is a module whose instances count how often they are opened and closed.
type probe struct {
	opened, closed atomic.Int32
	fail           atomic.Bool
	served         func() // by each request, if it is not nil
}

func (*probe) Spec() configs.BlockSpec {
	return configs.BlockSpec{Name: "probe", Doc: "for tests", Attributes: []configs.Attribute{{Name: "says", Type: configs.String, Doc: "what it answers"}}}
}

func (m *probe) Open(b *configs.Block, _ *module.Env) (module.Instance, error) {
	if m.fail.Load() && b.String("says") == "bad" {
		return module.Instance{}, fmt.Errorf("cannot open")
	}
	m.opened.Add(1)
	var live atomic.Bool
	live.Store(true)
	says := b.String("says")
	return module.Instance{
		Handler: web.StringFunc(func(*web.Request) string {
			if m.served != nil {
				m.served()
			}
			if !live.Load() {
				return "closed while it was served"
			}
			return says
		}),
		Close: func() { live.Store(false); m.closed.Add(1) },
	}, nil
}

// generationOf builds a generation as a reload would.
func (tc *testChild) generationOf(config string, number uint64) (*generation, error) {
	tc.t.Helper()
	schema := &configs.Schema{Limits: LimitsSpec(), Workers: WorkersSpec(), Pattern: func(p string) (string, error) {
		pattern, err := web.ParsePattern(p)
		return pattern.Key(), err
	}}
	for _, m := range tc.builder.modules {
		schema.Modules = append(schema.Modules, m.Spec())
	}
	for _, m := range tc.builder.middleware {
		schema.Middleware = append(schema.Middleware, m.Spec())
	}
	config += "\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\n"
	resolved, diags := configs.Resolve(&configs.Sources{Path: "/test.hcl", Files: []configs.Source{{Name: "/test.hcl", Bytes: []byte(config)}}}, schema)
	if diags.HasErrors() {
		tc.t.Fatal(diags)
	}
	return tc.builder.build(resolved, number, listenerIDs(resolved))
}

func (tc *testChild) commitNext(config string, number uint64) {
	tc.t.Helper()
	g, err := tc.generationOf(config, number)
	if err != nil {
		tc.t.Fatal(err)
	}
	tc.onLoop(func(l *loop) { l.commit(g) })
}

func says(what string) string {
	return fmt.Sprintf("site \"main\" {\n  route \"/p\" {\n    probe {\n      says = %q\n    }\n  }\n}\n", what)
}

// Generations change under load: every request is answered by one whole generation, and each retires exactly once, after its last exchange.
func TestCommitUnderLoad(t *testing.T) {
	tc := start(t, "", nil)
	m := &probe{}
	tc.builder.modules["probe"] = m
	tc.commitNext(says("1"), 1)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var answered atomic.Int64
	for range 4 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			p := tc.dial()
			for {
				select {
				case <-stop:
					return
				default:
				}
				p.send("GET /p HTTP/1.1\r\nHost: x\r\n\r\nGET /p HTTP/1.1\r\nHost: x\r\n\r\n")
				for range 2 {
					if r := p.answer("GET"); r.Status != 200 || len(r.Body) > 2 {
						t.Errorf("%d %q", r.Status, r.Body)
						return
					}
					answered.Add(1)
				}
			}
		}()
	}
	const generations = 30
	for number := uint64(2); number <= generations; number++ {
		before := answered.Load()
		for answered.Load() < before+10 && !t.Failed() {
			tc.onLoop(func(*loop) {})
		}
		tc.commitNext(says(fmt.Sprint(number)), number)
		if r := tc.dial().get("/p"); string(r.Body) != fmt.Sprint(number) {
			t.Errorf("%q after the commit of %d", r.Body, number)
		}
	}
	close(stop)
	clients.Wait()
	tc.until("the old ones are closed", func(*loop) bool { return m.closed.Load() == generations-1 })
	tc.rests("after all")
	if m.opened.Load() != generations || m.closed.Load() != generations-1 {
		t.Errorf("opened %d, closed %d", m.opened.Load(), m.closed.Load())
	}
}

// An old generation stays whole until its last exchange is over, and then retires once.
func TestOldGenerationOutlivesItsCommit(t *testing.T) {
	begun, gate := make(chan struct{}, 10), make(chan struct{})
	tc := start(t, "", nil)
	m := &probe{served: func() { begun <- struct{}{}; <-gate }}
	tc.builder.modules["probe"] = m
	tc.commitNext(says("old"), 1)
	var peers []*peer
	for range 3 {
		p := tc.dial()
		p.send("GET /p HTTP/1.1\r\nHost: x\r\n\r\n")
		await(t, "a request", begun)
		peers = append(peers, p)
	}
	tc.commitNext(says("new"), 2)
	tc.rests("with an old generation")
	peers[2].reset() // its handler goes on, and needs the generation
	tc.wantClosed(reasonClientGone, 1)
	if m.closed.Load() != 0 {
		t.Error("closed while requests run")
	}
	close(gate)
	for _, p := range peers[:2] {
		if r := p.answer("GET"); string(r.Body) != "old" {
			t.Errorf("%q", r.Body)
		}
		if r := p.get("/p"); string(r.Body) != "new" {
			t.Errorf("%q", r.Body)
		}
	}
	tc.until("the old one is closed", func(*loop) bool { return m.closed.Load() == 1 })
}

// A generation that cannot be built leaves nothing open.
func TestBuildFailsWhole(t *testing.T) {
	tc := start(t, "", nil)
	m := &probe{}
	m.fail.Store(true)
	tc.builder.modules["probe"] = m
	route := func(n int, says string) string {
		return fmt.Sprintf("  route \"/p%d\" {\n    probe {\n      says = %q\n    }\n  }\n", n, says)
	}
	_, err := tc.generationOf("site \"main\" {\n"+route(1, "a")+route(2, "b")+route(3, "bad")+"}\n", 2)
	if err == nil || !strings.Contains(err.Error(), "cannot open") || !strings.Contains(err.Error(), "test.hcl:") {
		t.Errorf("%v", err)
	}
	if m.opened.Load() != 2 || m.closed.Load() != 2 {
		t.Errorf("opened %d, closed %d", m.opened.Load(), m.closed.Load())
	}
}

// An exchange that is answered in another's place belongs to the generation of that one: the new one may have neither its site nor its log.
func TestTimeoutAfterACommit(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "limits {\n  handler_timeout = \"100ms\"\n}\nsite \"main\" {\n  access_log {\n    file = \"stdout\"\n  }\n}\n", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
	})
	p := tc.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.inState(BeingProcessed)
	tc.commitNext("limits {\n  handler_timeout = \"100ms\"\n}\n", 2)
	if r := p.answer("GET"); r.Status != 503 {
		t.Errorf("%d", r.Status)
	}
	close(gate)
	tc.until("its line is written", func(*loop) bool { return strings.Contains(tc.loggedLines(), "GET /slow HTTP/1.1\" 503") })
}

// What concerns the process changes with the commit of a generation, not before: an abort must leave nothing behind.
func TestPreparedGenerationChangesNothing(t *testing.T) {
	tc := start(t, "", routes{"/": text("x")})
	tc.first = false
	before := tc.poolOf("").Stats().Max
	sources := &configs.Sources{Path: "/t.hcl", Files: []configs.Source{{Name: "/t.hcl", Bytes: []byte(
		"workers {\n  max = 7\n}\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {}\n")}}}
	config, diags := configs.Resolve(sources, tc.options.Schema)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	prepare := func(generation uint64) {
		t.Helper()
		sealed, err := control.Seal("test", sources.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tc.prepare(&control.Prepare{Generation: generation, Digest: config.Digest, LogFormat: "json"}, []*os.File{sealed}); err != nil {
			t.Fatal(err)
		}
	}
	prepare(2)
	tc.abort(2)
	if now := tc.poolOf("").Stats().Max; now != before {
		t.Fatalf("an aborted generation has set max to %d", now)
	}
	prepare(3)
	if err := tc.commit(3); err != nil {
		t.Fatal(err)
	}
	if now := tc.poolOf("").Stats().Max; now != 7 {
		t.Fatalf("after the commit max is %d", now)
	}
}
