package child

import (
	"fmt"
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
	listeners  map[string]int // index of each listener's name in table
	allow      string         // Allow of OPTIONS *
	selfAnswer string
	instances  []module.Instance
	logs       []*accessLog
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
	modules map[string]module.Module
	code    map[string]module.CodeRoute
	pool    func(name string) *worker.Pool
	log     func(level module.Level, message string, fields ...module.Field)
	access  func(site string, c *configs.AccessLog) (*accessLog, error)
	child   int
}

// build makes a generation of a resolved configuration. On an error everything that it opened is closed again.
func (b *builder) build(c *configs.Config, number uint64) (_ *generation, err error) {
	g := &generation{
		number:     number,
		digest:     c.Digest,
		limits:     newLimits(c.Limits),
		listeners:  make(map[string]int, len(c.Listeners)),
		allow:      "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH",
		selfAnswer: "tined child " + strconv.Itoa(b.child) + " generation " + strconv.FormatUint(number, 10) + "\n",
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	for i, l := range c.Listeners {
		g.listeners[l.Name] = i
	}
	sites := make([]router.Site[*route], 0, len(c.Sites))
	for _, s := range c.Sites {
		entry := router.Site[*route]{Name: s.Name, Hosts: s.Hosts, Routes: new(web.Patterns[*route])}
		for _, name := range s.Listeners {
			entry.Listeners = append(entry.Listeners, g.listeners[name])
		}
		for i := range s.Routes {
			if err := b.addRoute(g, entry.Routes, &s.Routes[i]); err != nil {
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
	return g, nil
}

func (b *builder) addRoute(g *generation, routes *web.Patterns[*route], r *configs.Route) error {
	pattern, err := web.ParsePattern(r.Pattern)
	if err != nil {
		return err
	}
	rt := &route{pattern: r.Pattern, pool: b.pool("")}
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
		instance, err := m.Open(r.Block, &module.Env{Prefix: pattern.Prefix(), Pattern: r.Pattern, Pool: b.pool, Log: b.log})
		if err != nil {
			return fmt.Errorf("%s: %w", r.Module, err)
		}
		g.instances = append(g.instances, instance)
		rt.handler = instance.Handler
		if instance.Pool != nil {
			rt.pool = instance.Pool
		}
	}
	rt.nonBlocking, _ = rt.handler.(web.NonBlocking)
	return routes.Add(pattern, rt)
}
