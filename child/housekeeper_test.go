package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// sweeper is a module whose chores the test gives.
type sweeper struct {
	chores func(block *configs.Block, env *module.Env) ([]module.Chore, error)
}

func (sweeper) Spec() configs.BlockSpec {
	return configs.BlockSpec{Name: "sweeper", Attributes: []configs.Attribute{{Name: "dust", Type: configs.String, Default: "grey"}}, Chores: true}
}

func (sweeper) Open(*configs.Block, *module.Env) (module.Instance, error) {
	panic("no instance is opened in the housekeeper")
}

func (s sweeper) Chores(block *configs.Block, env *module.Env) ([]module.Chore, error) {
	return s.chores(block, env)
}

// chore is a good one that does run.
func chore(name string, run func(context.Context) error) module.Chore {
	return module.Chore{Name: name, Every: time.Minute, Timeout: patience, Run: run}
}

// always gives the same chores to every block.
func always(list ...module.Chore) sweeper {
	return sweeper{func(*configs.Block, *module.Env) ([]module.Chore, error) { return list, nil }}
}

// keptHouse is a housekeeper in the test's process, and the test is its master.
type keptHouse struct {
	t      *testing.T
	master *control.Conn
	schema *configs.Schema
	ended  chan int
}

func keepHouse(t *testing.T, m module.Module) *keptHouse {
	t.Helper()
	schema := &configs.Schema{Modules: []configs.BlockSpec{m.Spec()}, Limits: LimitsSpec(), Workers: WorkersSpec(), Pattern: func(p string) (string, error) {
		pattern, err := web.ParsePattern(p)
		return pattern.Key(), err
	}}
	ours, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	k := &keptHouse{t: t, master: ours, schema: schema, ended: make(chan int, 1)}
	t.Cleanup(func() { ours.Close() })
	go func() {
		k.ended <- ServeHousekeeper(Options{Schema: schema, Modules: []module.Module{m}, Version: "v", Hosted: true}, conn)
	}()
	hello := expect[*control.Hello](k)
	if *hello != (control.Hello{Pid: os.Getpid(), Version: "v", Child: control.Housekeeper}) {
		t.Errorf("%+v", hello)
	}
	k.send(&control.Board{})
	return k
}

func (k *keptHouse) send(m control.Message, files ...int) {
	k.t.Helper()
	if err := k.master.Send(m, files...); err != nil {
		k.t.Fatal(err)
	}
}

// expect receives the next message that is not of the log, which must be a T.
func expect[T control.Message](k *keptHouse) T {
	k.t.Helper()
	guard := time.AfterFunc(patience, func() { k.master.Close() })
	defer guard.Stop()
	for {
		m, _, err := k.master.Receive()
		if err != nil {
			k.t.Fatalf("waiting for %T: %v", *new(T), err)
		}
		if _, log := m.(*control.Log); log {
			continue
		}
		got, ok := m.(T)
		if !ok {
			k.t.Fatalf("got %s %+v, want %T", m.Kind(), m, *new(T))
		}
		return got
	}
}

// prepare proposes a generation with these routes of site main.
func (k *keptHouse) prepare(generation uint64, routes string) {
	k.t.Helper()
	text := "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n" + routes + "}\n"
	sources := &configs.Sources{Path: "/t.hcl", Files: []configs.Source{{Name: "/t.hcl", Bytes: []byte(text)}}}
	config, diags := configs.Resolve(sources, k.schema)
	if diags.HasErrors() {
		k.t.Fatal(diags)
	}
	sealed, err := control.Seal("test", sources.Encode())
	if err != nil {
		k.t.Fatal(err)
	}
	defer sealed.Close()
	k.send(&control.Prepare{Generation: generation, Digest: config.Digest, LogFormat: "json"}, int(sealed.Fd()))
}

const swept = "  route \"GET /db/{rest...}\" {\n    sweeper {}\n  }\n"

// serve prepares and commits a generation.
func (k *keptHouse) serve(generation uint64, routes string) []control.Chore {
	k.t.Helper()
	k.prepare(generation, routes)
	p := expect[*control.Prepared](k)
	if p.Generation != generation {
		k.t.Fatalf("%+v", p)
	}
	k.send(&control.Commit{Generation: generation})
	if c := expect[*control.Committed](k); c.Generation != generation {
		k.t.Fatalf("%+v", c)
	}
	return p.Chores
}

func (k *keptHouse) perform(id uint64, name string) {
	k.t.Helper()
	k.send(&control.Perform{ID: id, Chore: "sweeper main GET /db/{rest...} " + name})
}

func (k *keptHouse) performed(id uint64, want string) {
	k.t.Helper()
	if p := expect[*control.Performed](k); p.ID != id || (want == "") != (p.Error == "") || !strings.Contains(p.Error, want) {
		k.t.Errorf("%+v, want %d %q", p, id, want)
	}
}

func (k *keptHouse) wantEnd() {
	k.t.Helper()
	select {
	case status := <-k.ended:
		if status != 0 {
			k.t.Errorf("status %d", status)
		}
	case <-time.After(patience):
		k.t.Fatal("the housekeeper does not end")
	}
}

func TestHousekeeperPerforms(t *testing.T) {
	var runs atomic.Int64
	k := keepHouse(t, always(
		chore("count", func(context.Context) error { runs.Add(1); return nil }),
		chore("fail", func(context.Context) error { return errors.New("disk full") }),
		chore("panic", func(context.Context) error { panic("as asked") }),
		chore("leave", func(context.Context) error { runtime.Goexit(); return nil }),
		module.Chore{Name: "late", Every: time.Hour, Timeout: time.Millisecond, Run: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	))
	k.send(&control.Ping{})
	expect[*control.Pong](k)
	k.perform(1, "count")
	k.performed(1, "no such chore")
	chores := k.serve(1, swept)
	if len(chores) != 5 || chores[4] != (control.Chore{Name: "sweeper main GET /db/{rest...} late", EveryMillis: 3_600_000, TimeoutMillis: 1}) {
		t.Errorf("%+v", chores)
	}
	for id, c := range map[uint64]struct{ name, want string }{
		2: {"count", ""}, 3: {"fail", "disk full"}, 4: {"panic", "it panicked: as asked"}, 5: {"leave", "did not return"},
		6: {"late", "deadline exceeded"}, 7: {"count", ""}, 8: {"unknown", "no such chore"},
	} {
		k.perform(id, c.name)
		k.performed(id, c.want)
	}
	if n := runs.Load(); n != 2 {
		t.Errorf("%d runs", n)
	}
	k.send(&control.Drain{TimeoutMillis: 1000})
	expect[*control.Draining](k)
	expect[*control.Drained](k)
	k.wantEnd()
}

// gated is a chore that says when it has begun, and goes on until it may end or, if it is obedient, its context ends.
type gated struct {
	begun, end chan struct{}
	cause      chan error
	obedient   bool
}

func newGated(obedient bool) *gated {
	return &gated{begun: make(chan struct{}, 1), end: make(chan struct{}), cause: make(chan error, 1), obedient: obedient}
}

func (g *gated) run(ctx context.Context) error {
	g.begun <- struct{}{}
	if !g.obedient {
		<-g.end
		return nil
	}
	select {
	case <-g.end:
		return nil
	case <-ctx.Done():
		g.cause <- context.Cause(ctx)
		return ctx.Err()
	}
}

// A chore is never twice at work. A reload that keeps it lets it finish, one that takes it away tells it so.
func TestChoreOverReloads(t *testing.T) {
	g := newGated(true)
	k := keepHouse(t, always(chore("sweep", g.run)))
	k.serve(1, swept)
	k.perform(1, "sweep")
	<-g.begun
	k.perform(2, "sweep")
	k.performed(2, "it runs already")
	k.serve(5, swept)
	k.perform(3, "sweep")
	k.performed(3, "it runs already")
	g.end <- struct{}{}
	k.performed(1, "")
	k.perform(4, "sweep")
	<-g.begun
	if chores := k.serve(6, ""); len(chores) != 0 {
		t.Errorf("%+v", chores)
	}
	if cause := <-g.cause; !errors.Is(cause, module.ErrRetired) {
		t.Error(cause)
	}
	k.performed(4, module.ErrRetired.Error())
}

// A drain tells what runs to end, and waits for it as long as it was told to.
func TestHousekeeperDrains(t *testing.T) {
	g := newGated(true)
	k := keepHouse(t, always(chore("sweep", g.run)))
	k.serve(1, swept)
	k.perform(1, "sweep")
	<-g.begun
	k.send(&control.Drain{TimeoutMillis: patience.Milliseconds()})
	expect[*control.Draining](k)
	if cause := <-g.cause; !errors.Is(cause, module.ErrStopping) {
		t.Error(cause)
	}
	k.performed(1, module.ErrStopping.Error())
	expect[*control.Drained](k)
	k.wantEnd()
}

func TestDrainIsBounded(t *testing.T) {
	g := newGated(false)
	defer close(g.end)
	k := keepHouse(t, always(chore("sweep", g.run)))
	k.serve(1, swept)
	k.perform(1, "sweep")
	<-g.begun
	k.send(&control.Drain{TimeoutMillis: patience.Milliseconds()})
	expect[*control.Draining](k)
	k.perform(2, "sweep")
	k.performed(2, module.ErrStopping.Error())
	k.send(&control.Drain{})
	expect[*control.Drained](k)
	k.wantEnd()
}

// Without a master, what runs is finished, and then the process ends.
func TestOrphanedHousekeeperFinishes(t *testing.T) {
	g := newGated(true)
	k := keepHouse(t, always(chore("sweep", g.run)))
	k.serve(1, swept)
	k.perform(1, "sweep")
	<-g.begun
	k.master.Close()
	select {
	case g.end <- struct{}{}:
	case <-k.ended:
		t.Fatal("the housekeeper has ended before its chore")
	case <-g.cause:
		t.Fatal("the chore was told to end")
	}
	k.wantEnd()
}

func TestHousekeeperRefuses(t *testing.T) {
	good := func(context.Context) error { return nil }
	long := strings.Repeat("x", 1000)
	many := make([]module.Chore, 100)
	for i := range many {
		many[i] = chore(fmt.Sprint(i, long), good)
	}
	for name, c := range map[string]struct {
		list []module.Chore
		err  error
		want string
	}{
		"an error":       {nil, errors.New("no such file"), `^/t\.hcl:5:\d+: sweeper: no such file$`},
		"no name":        {[]module.Chore{chore("", good)}, nil, `needs a name`},
		"no function":    {[]module.Chore{chore("a", nil)}, nil, `needs a name`},
		"too often":      {[]module.Chore{{Name: "a", Every: 1, Timeout: time.Second, Run: good}}, nil, `at least 1ms`},
		"no time":        {[]module.Chore{{Name: "a", Every: time.Second, Run: good}}, nil, `at least 1ms`},
		"the same twice": {[]module.Chore{chore("a", good), chore("a", good)}, nil, `the name "a" to two chores`},
		"far too many":   {many, nil, `100 chores are too many`},
	} {
		t.Run(name, func(t *testing.T) {
			k := keepHouse(t, sweeper{func(*configs.Block, *module.Env) ([]module.Chore, error) { return c.list, c.err }})
			k.prepare(1, swept)
			if f := expect[*control.Failed](k); f.Generation != 1 || !regexp.MustCompile(c.want).MatchString(f.Diagnostic) {
				t.Errorf("%+v", f)
			}
			k.serve(2, "") // and goes on
		})
	}
}

// What a module asks for is the block, the route's prefix, and no pools.
func TestChoresAreAskedFor(t *testing.T) {
	k := keepHouse(t, sweeper{func(block *configs.Block, env *module.Env) ([]module.Chore, error) {
		if block.String("dust") == "none" {
			env.Pool("mine")
		}
		return []module.Chore{chore(block.String("dust")+" below "+env.Prefix, func(context.Context) error { return nil })}, nil
	}})
	chores := k.serve(1, swept+"  route \"/\" {\n    sweeper {\n      dust = \"red\"\n    }\n  }\n")
	if len(chores) != 2 || chores[0].Name != "sweeper main GET /db/{rest...} grey below /db/" || chores[1].Name != "sweeper main / red below /" {
		t.Errorf("%+v", chores)
	}
	k.prepare(2, "  route \"/\" {\n    sweeper {\n      dust = \"none\"\n    }\n  }\n")
	if f := expect[*control.Failed](k); !strings.Contains(f.Diagnostic, "the list of chores panicked: the housekeeper has no pools") {
		t.Errorf("%+v", f)
	}
	// A generation that is given up changes nothing.
	k.prepare(3, "")
	expect[*control.Prepared](k)
	k.send(&control.Abort{Generation: 3})
	k.perform(1, "grey below /db/")
	k.performed(1, "")
}
