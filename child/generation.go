package child

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/router"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/configs"
)

// A generation is one configuration, whole and ready to serve. It is built by the agent beside the one that serves, and belongs to the
// loop once it is committed. Every exchange holds the generation that it began with.
type generation struct {
	number     uint64
	digest     string
	limits     limits
	table      *router.Router[*route]
	sites      []site
	listeners  map[string]entrance // by name
	allow      string              // Allow of OPTIONS *
	selfAnswer string
	instances  []module.Instance
	logs       []*accessLog
	routes     []*route
	queue      int    // of the workers, as configured
	configure  func() // takes over what concerns the whole process, at the commit; nil: done already

	exchanges int  // the loop's: begun under this generation and not over
	retired   bool // the loop's: no exchange begins any more
	retire    func()
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

// enter and leave count the exchanges of a generation; the last one of a retired generation closes it.
func (g *generation) enter() { g.exchanges++ }

func (g *generation) leave() {
	g.exchanges--
	if g.retired && g.exchanges == 0 {
		g.retire()
	}
}

// entranceFor makes the entrance of listener number i.
func entranceFor(l *configs.Listener, i int, field string) entrance {
	e := entrance{index: i, field: forwardedFields[field]}
	if !l.TrustedProxies.Nobody() {
		e.proxies = &l.TrustedProxies
	}
	if l.ProxyProtocol {
		e.prefaces, e.guarded = []preface{proxyProtocol{}}, true
	}
	return e
}

// entranceOf returns the entrance of the listener called name, which the generation need not have.
func (g *generation) entranceOf(name string) entrance {
	if e, ok := g.listeners[name]; ok {
		return e
	}
	return entrance{index: -1}
}

// flushLogs hands the collected lines of the access logs on.
func (g *generation) flushLogs() {
	for _, log := range g.logs {
		log.flush()
	}
}

// close closes the instances. No exchange of the generation is left.
func (g *generation) close() {
	for _, i := range g.instances {
		if i.Close != nil {
			i.Close()
		}
	}
	g.instances = nil
}

// builder makes generations; it is the child's side of what the configuration cannot say.
type builder struct {
	modules    map[string]module.Module
	middleware map[string]module.Middleware
	code       map[string]module.CodeRoute
	pool       func(name string) *worker.Pool
	log        func(level module.Level, message string, fields ...module.Field)
	access     func(site string, c *configs.AccessLog) (*accessLog, error)
	child      int
}

// build makes a generation of a resolved configuration. On an error everything that it opened is closed again.
func (b *builder) build(c *configs.Config, number uint64) (_ *generation, err error) {
	g := &generation{
		number:     number,
		digest:     c.Digest,
		limits:     newLimits(c.Limits),
		listeners:  make(map[string]entrance, len(c.Listeners)),
		queue:      c.Workers.Int("queue"),
		allow:      "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH",
		selfAnswer: "tined child " + strconv.Itoa(b.child) + " generation " + strconv.FormatUint(number, 10) + "\n",
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	for i, l := range c.Listeners {
		g.listeners[l.Name] = entranceFor(&l, i, c.ForwardedField)
	}
	sites := make([]router.Site[*route], 0, len(c.Sites))
	for _, s := range c.Sites {
		entry := router.Site[*route]{Name: s.Name, Hosts: s.Hosts, Routes: new(web.Patterns[*route])}
		for _, name := range s.Listeners {
			entry.Listeners = append(entry.Listeners, g.listeners[name].index)
		}
		for i := range s.Routes {
			if err := b.addRoute(g, entry.Routes, &s, &s.Routes[i]); err != nil {
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
	g.share(c.Workers.Int("max"))
	return g, nil
}

// share sets the gates of the routes that have no number of their own, for pools of so many workers: none may take the whole of a pool
// that others use too. Once the generation is committed, it is the loop's.
func (g *generation) share(workers int) {
	users := make(map[*worker.Pool]int)
	for _, rt := range g.routes {
		users[rt.pool]++
	}
	for _, rt := range g.routes {
		gt := rt.gate
		shared := users[rt.pool] > 1
		if gt.concurrency = rt.limits.concurrency; gt.concurrency == 0 {
			gt.concurrency = workers + g.queue // open: the pool has its own bounds
			if shared {
				gt.concurrency = gateShare(workers)
			}
		}
		if gt.queue = rt.limits.queue; gt.queue == 0 {
			switch {
			case shared:
				gt.queue = gateShare(g.queue)
			case rt.limits.concurrency > 0:
				gt.queue = g.queue
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
	env := &module.Env{Prefix: pattern.Prefix(), Pattern: r.Pattern, Pool: b.pool, Log: b.log}
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
