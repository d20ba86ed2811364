package child

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/router"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/configs"
)

// A generation is one configuration, whole and ready to serve. It is built by the agent beside the one that serves, and belongs to the
// loop once it is committed. What goes on under it after the next commit holds it: see retire.go.
type generation struct {
	number     uint64
	digest     string
	limits     limits
	table      *router.Router[*route]
	sites      []site
	listeners  map[uint32]entrance // by the master's numbers
	allow      string              // Allow of OPTIONS *
	selfAnswer string
	instances  []module.Instance
	logs       []*accessLog
	routes     []*route
	workers    int // at most, as configured
	queue      int // of the workers, as configured
	// hangTimeout is how long the loop may stand still before the master ends the child; 0: for ever.
	hangTimeout time.Duration
	configure   func()              // takes over what concerns the whole process, at the commit; nil: nothing
	files       map[string]*os.File // that its access logs are to write to from the commit on, by name
	bounds      configs.Retired     // of the generations before it
	log         func(level module.Level, message string, fields ...module.Field)

	exchanges int   // the loop's: begun under this generation and not over
	held      int   // the loop's: by what is not an exchange
	retired   bool  // the loop's: another one serves
	since     int64 // the loop's: when it was retired
	over      func()
}

// A route is what the routing table yields.
type route struct {
	pattern     string
	handler     web.Handler
	nonBlocking web.NonBlocking // handler, if it is one
	pool        *worker.Pool
	gate        *gate // before the pool
	limits      routeLimits
}

// A site is what the access log needs of one.
type site struct {
	name string
	log  *accessLog // nil: none
}

// enter and leave count the exchanges of a generation, hold and let what else goes on under it. The last one of a retired generation
// closes it.
func (g *generation) enter() { g.exchanges++ }

func (g *generation) leave() {
	g.exchanges--
	g.rest()
}

func (g *generation) hold() { g.held++ }

func (g *generation) let() {
	g.held--
	g.rest()
}

// rest closes a retired generation that nothing goes on under.
func (g *generation) rest() {
	if over := g.over; g.retired && g.exchanges == 0 && g.held == 0 && over != nil {
		g.over = nil
		over()
	}
}

// entranceFor makes the entrance of listener number i.
func entranceFor(l *configs.Listener, i int, field string) entrance {
	e := entrance{name: l.Name, index: i, field: forwardedFields[field]}
	if !l.TrustedProxies.Empty() {
		e.proxies = &l.TrustedProxies
	}
	if l.ProxyProtocol {
		e.prefaces, e.guarded = []preface{proxyProtocol{}}, true
	}
	return e
}

// flushLogs hands the collected lines of the access logs on.
func (g *generation) flushLogs() {
	for _, log := range g.logs {
		log.flush()
	}
}

// close closes the instances and leaves the access logs. Nothing goes on under the generation any more. It may take as long as the modules
// do.
func (g *generation) close() {
	for _, i := range g.instances {
		g.closeInstance(i)
	}
	g.instances = nil
	for _, log := range g.logs {
		if log.close != nil {
			log.close()
		}
	}
	g.logs = nil
	closeNamed(g.files)
	g.files = nil
}

// closeInstance closes an instance, and outlives its panic.
func (g *generation) closeInstance(i module.Instance) {
	defer func() {
		if v := recover(); v != nil {
			g.log(module.Error, "closing an instance of a module panicked", module.Field{Key: "panic", Value: fmt.Sprint(v)},
				module.Field{Key: "stack", Value: string(debug.Stack())})
		}
	}()
	if i.Close != nil {
		i.Close()
	}
}

// builder makes generations; it is the child's side of what the configuration cannot say.
type builder struct {
	modules    map[string]module.Module
	middleware map[string]module.Middleware
	code       map[string]module.CodeRoute
	pool       func(name string) *worker.Pool
	log        func(level module.Level, message string, fields ...module.Field)
	access     func(site string, c *configs.AccessLog) (*accessLog, error)
	claims     *module.Claims // of all generations
	child      int
}

// build makes a generation of a resolved configuration; ids are the master's numbers of its listeners, by name. On an error, or a panic of
// a module, everything that it opened is closed again.
func (b *builder) build(c *configs.Config, number uint64, ids map[string]uint32) (_ *generation, err error) {
	g := &generation{
		number:      number,
		digest:      c.Digest,
		limits:      newLimits(c.Limits),
		listeners:   make(map[uint32]entrance, len(c.Listeners)),
		workers:     c.Workers.Int("max"),
		queue:       c.Workers.Int("queue"),
		bounds:      c.Retired,
		log:         b.log,
		hangTimeout: c.Health.HangTimeout,
		allow:       "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH",
		selfAnswer:  "tined child " + strconv.Itoa(b.child) + " generation " + strconv.FormatUint(number, 10) + "\n",
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a module panicked: %v", v)
			b.log(module.Error, "building a generation panicked", module.Field{Key: "panic", Value: fmt.Sprint(v)},
				module.Field{Key: "stack", Value: string(debug.Stack())})
		}
		if err != nil {
			g.close()
		}
	}()
	index := make(map[string]int, len(c.Listeners))
	for i, l := range c.Listeners {
		index[l.Name] = i
		if id, known := ids[l.Name]; known {
			g.listeners[id] = entranceFor(&l, i, c.ForwardedField)
		}
	}
	sites := make([]router.Site[*route], 0, len(c.Sites))
	for _, s := range c.Sites {
		entry := router.Site[*route]{Name: s.Name, Hosts: s.Hosts, Routes: new(web.Patterns[*route])}
		for _, name := range s.Listeners {
			entry.Listeners = append(entry.Listeners, index[name])
		}
		for i := range s.Routes {
			if err := b.addRoute(g, entry.Routes, &s, &s.Routes[i]); err != nil {
				if _, placed := errors.AsType[configs.Diagnostics](err); placed {
					return nil, err
				}
				return nil, fmt.Errorf("%s: %w", s.Routes[i].Pos, err)
			}
		}
		sites = append(sites, entry)
		log := site{name: s.Name}
		if s.AccessLog != nil {
			if log.log, err = b.access(s.Name, s.AccessLog); err != nil {
				return nil, fmt.Errorf("%s: access_log: %w", s.Pos, err)
			}
			g.logs = append(g.logs, log.log)
		}
		g.sites = append(g.sites, log)
	}
	if g.table, err = router.New(sites); err != nil {
		return nil, err
	}
	g.share(g.workers, g.queue)
	return g, nil
}

// share sets the gates of the routes that have no number of their own, for pools of so many workers and such a queue: none may take the
// whole of a pool that others use too. Once the generation is committed, it is the loop's.
func (g *generation) share(workers, queue int) {
	users := make(map[*worker.Pool]int)
	for _, rt := range g.routes {
		users[rt.pool]++
	}
	for _, rt := range g.routes {
		gt := rt.gate
		shared := users[rt.pool] > 1
		if gt.concurrency = rt.limits.concurrency; gt.concurrency == 0 {
			gt.concurrency = workers + queue // open: the pool has its own bounds
			if shared {
				gt.concurrency = gateShare(workers)
			}
		}
		if gt.queue = rt.limits.queue; gt.queue == 0 {
			switch {
			case shared:
				gt.queue = gateShare(queue)
			case rt.limits.concurrency > 0:
				gt.queue = queue
			}
		}
	}
}

// waiting is how many requests wait before the gates.
func (g *generation) waiting() (n int) {
	for _, rt := range g.routes {
		n += rt.gate.waiting.length
	}
	return n
}

func (b *builder) addRoute(g *generation, routes *web.Patterns[*route], s *configs.Site, r *configs.Route) error {
	pattern, err := web.ParsePattern(r.Pattern)
	if err != nil {
		return err
	}
	env := &module.Env{Prefix: pattern.Prefix(), Pattern: r.Pattern, Pool: b.pool, Claims: b.claims, Log: b.log}
	rt := &route{pattern: r.Pattern, pool: b.pool(""), gate: new(gate)}
	g.routes = append(g.routes, rt)
	if r.FromCode {
		rt.handler = b.code[r.Pattern].Handler
		if rt.handler == nil {
			return fmt.Errorf("the program registers no handler for %q", r.Pattern)
		}
	} else {
		m := b.modules[r.Module]
		if m == nil {
			return fmt.Errorf("there is no module %q", r.Module)
		}
		instance, err := m.Open(r.Block, env)
		if _, placed := errors.AsType[configs.Diagnostics](err); placed {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.Module, err)
		}
		g.instances = append(g.instances, instance)
		rt.handler = instance.Handler
		if instance.Pool != nil {
			rt.pool = instance.Pool
		}
	}
	var code web.Limits
	rt.handler, code = web.LimitsOf(rt.handler)
	rt.limits = newRouteLimits(code, r.Limits)
	for _, block := range slices.Backward(slices.Concat(s.Middleware, r.Middleware)) {
		m := b.middleware[block.Name()]
		if m == nil {
			return fmt.Errorf("there is no middleware %q", block.Name())
		}
		if rt.handler, err = m.Wrap(rt.handler, block, env); err != nil {
			return fmt.Errorf("%s: %w", block.Name(), err)
		}
	}
	rt.nonBlocking, _ = rt.handler.(web.NonBlocking)
	return routes.Add(pattern, rt)
}
