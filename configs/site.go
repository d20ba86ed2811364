package configs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (r *resolver) site(b *Block) Site {
	r.name(b)
	s := Site{Name: b.Label(0), Pos: b.pos, Listeners: r.siteListeners(b)}
	for i, text := range b.Strings("hosts") {
		host, p := parseHost(text)
		if p != nil {
			r.problem(b.itemPos("hosts", i), p)
			continue
		}
		if slices.Contains(s.Hosts, host) {
			r.err(b.itemPos("hosts", i), fmt.Sprintf("%s has the host %s twice", b.where(), Quote(host)), "remove one of them")
			continue
		}
		s.Hosts = append(s.Hosts, host)
		r.hosts[hostOf{s.Name, host}] = b.itemPos("hosts", i)
	}
	s.Default = len(b.Strings("hosts")) == 0 && !r.broken[b]
	if log := b.Block("access_log"); log != nil {
		s.AccessLog = &AccessLog{Format: log.String("format"), File: log.Path("file")}
	}
	s.Middleware = r.middleware(b)
	keys := make(map[string]Position)
	for _, route := range b.Blocks("route") {
		r.route(&s, route, keys)
	}
	return s
}

// siteListeners resolves listen: all listeners when it is left out.
func (r *resolver) siteListeners(b *Block) []string {
	var names []string
	for _, l := range r.listeners {
		names = append(names, l.Name)
	}
	if !b.Has("listen") {
		return names
	}
	wanted := b.Strings("listen")
	if len(wanted) == 0 {
		r.err(b.Pos("listen"), b.where()+" has no listener", "leave listen out for all of them, or name one")
		return nil
	}
	known := sortedKeys(r.known)
	for i, name := range wanted {
		switch {
		case slices.Contains(wanted[:i], name):
			r.err(b.itemPos("listen", i), fmt.Sprintf("%s names the listener %s twice", b.where(), Quote(name)), "remove one of them")
		case !r.known[name] && !r.partial:
			cure := "the listeners are " + strings.Join(quoteAll(known), ", ")
			if mean := DidYouMean(name, known); mean != "" {
				cure = mean + " " + cure
			}
			if len(known) == 0 {
				cure = "add listen " + Quote(name) + " { address = \"127.0.0.1:8080\" }"
			}
			r.err(b.itemPos("listen", i), fmt.Sprintf("there is no listener %s", Quote(name)), cure)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(wanted, name) })
}

// route adds a route of a file to its site. keys holds the patterns so far.
func (r *resolver) route(s *Site, b *Block, keys map[string]Position) {
	pattern := b.Label(0)
	key, ok := r.pattern(pattern, b.labelPos(0))
	if ok {
		if first, twice := keys[key]; twice {
			r.err(b.pos, fmt.Sprintf("route %s is the same pattern as the route at %s", Quote(pattern), first), "remove one of them, or change its pattern")
			return
		}
		keys[key] = b.pos
	}
	route := Route{Pattern: pattern, Middleware: r.middleware(b), Pos: b.pos}
	if b.spec.block("limits") != nil {
		route.Limits = b.Block("limits")
	}
	modules := slices.DeleteFunc(slices.Clone(b.blocks), func(inner *Block) bool { return !inner.spec.module })
	switch {
	case len(modules) == 0 && !r.broken[b] && !r.partial:
		r.err(b.pos, b.where()+" has no module to answer", "write one of "+orList(r.moduleHeaders())+" into it")
	case len(modules) > 1:
		second := modules[1]
		r.err(second.pos, fmt.Sprintf("%s has two modules, %s and %s", b.where(), modules[0].where(), second.where()), "keep one of them; a route has exactly one")
	case len(modules) == 1:
		route.Module, route.Block = modules[0].Name(), modules[0]
		s.Routes = append(s.Routes, route)
	}
}

// middleware returns the blocks of a site or route that are middleware, in the
// order of the file.
func (r *resolver) middleware(b *Block) []*Block {
	var list []*Block
	for _, inner := range b.blocks {
		if slices.ContainsFunc(r.schema.Middleware, func(spec BlockSpec) bool { return spec.Name == inner.Name() }) {
			list = append(list, inner)
		}
	}
	return list
}

func (r *resolver) moduleHeaders() []string {
	var list []string
	for i := range r.schema.Modules {
		header := r.schema.Modules[i].Name
		for _, l := range r.schema.Modules[i].Labels {
			header += " " + Quote(strings.ToUpper(l))
		}
		list = append(list, header+" { }")
	}
	slices.Sort(list)
	return list
}

// pattern returns the key of a pattern, and reports what is wrong with it.
func (r *resolver) pattern(pattern string, at Position) (key string, ok bool) {
	if r.schema.Pattern == nil {
		return pattern, true
	}
	key, err := r.schema.Pattern(pattern)
	if err == nil {
		return key, true
	}
	p := asProblem(err)
	if p.Column > 0 && p.Column <= len(pattern)+1 && at.Column > 0 {
		at.Column += utf8.RuneCountInString(pattern[:p.Column-1]) + 1 // after the quote
	}
	r.problem(at, &p)
	return "", false
}

// overlaps refuses sites of one listener that have the same host, or are both
// its default site.
func (r *resolver) overlaps(sites []Site) {
	type place struct{ listener, host string }
	first := make(map[place]*Site)
	for i := range sites {
		s := &sites[i]
		hosts := s.Hosts
		if s.Default {
			hosts = []string{""}
		}
		for _, host := range hosts {
			for _, listener := range s.Listeners {
				other := first[place{listener, host}]
				if other == nil {
					first[place{listener, host}] = s
					continue
				}
				if host == "" {
					r.err(s.Pos, fmt.Sprintf("site %s is a second default site of listener %s: site %s at %s has no hosts either", Quote(s.Name), Quote(listener), Quote(other.Name), other.Pos),
						"give one of them hosts, or other listeners")
				} else {
					r.err(r.hosts[hostOf{s.Name, host}], fmt.Sprintf("site %s has the host %s, which site %s has already at %s, on listener %s", Quote(s.Name), Quote(host), Quote(other.Name), r.hosts[hostOf{other.Name, host}], Quote(listener)),
						"remove it from one of them")
				}
				break // once per host is enough
			}
		}
	}
}

// codeRoutes adds the routes from code to every default site; to a site of
// their own, when the files have no default site.
func (r *resolver) codeRoutes(c *Config) {
	if len(r.schema.CodeRoutes) == 0 {
		return
	}
	if !slices.ContainsFunc(c.Sites, func(s Site) bool { return s.Default }) {
		name := "code"
		for slices.ContainsFunc(c.Sites, func(s Site) bool { return s.Name == name }) {
			name += "_"
		}
		s := Site{Name: name, Default: true, Pos: r.start}
		for _, l := range r.listeners {
			s.Listeners = append(s.Listeners, l.Name)
		}
		c.Sites = append(c.Sites, s)
	}
	for i := range c.Sites {
		if c.Sites[i].Default {
			r.joinCode(&c.Sites[i])
		}
	}
}

func (r *resolver) joinCode(s *Site) {
	keys := make(map[string]Route)
	for _, route := range s.Routes {
		if key, err := r.key(route.Pattern); err == nil {
			keys[key] = route
		}
	}
	for _, code := range r.schema.CodeRoutes {
		at := placePosition(code.Place)
		key, ok := r.pattern(code.Pattern, at)
		if !ok {
			continue
		}
		first, twice := keys[key]
		route := Route{Pattern: code.Pattern, Pos: at, FromCode: true}
		switch {
		case twice && first.FromCode:
			r.err(at, fmt.Sprintf("the pattern %s is registered already at %s", Quote(code.Pattern), first.Pos), "remove one of them")
		case twice:
			r.err(first.Pos, fmt.Sprintf("route %s is registered in code too, at %s", Quote(first.Pattern), at), "remove one of them, or change its pattern")
		default:
			keys[key] = route
			s.Routes = append(s.Routes, route)
		}
	}
}

func (r *resolver) key(pattern string) (string, error) {
	if r.schema.Pattern == nil {
		return pattern, nil
	}
	return r.schema.Pattern(pattern)
}

// placePosition reads "main.go:12".
func placePosition(place string) Position {
	if i := strings.LastIndexByte(place, ':'); i >= 0 {
		if line, err := strconv.Atoi(place[i+1:]); err == nil {
			return Position{File: place[:i], Line: line}
		}
	}
	return Position{File: place}
}
