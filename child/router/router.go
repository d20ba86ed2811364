package router

import (
	"fmt"

	"github.com/tined/tined/child/web"
)

// A Site is what a name serves: some hosts on some listeners, and the routes.
type Site[T any] struct {
	Name string // for messages

	// Hosts are names ("example.com"), suffixes ("*.example.com": every name below
	// example.com at any depth, not example.com itself), IPv4 addresses, or IPv6
	// addresses in brackets; no ports. Case and a trailing dot do not matter.
	// A site without hosts is the default site of its listeners.
	Hosts []string

	// Listeners are the numbers of the listeners that the site is served on, from 0.
	Listeners []int

	// Routes is read only once it has been given to New; nil is a site without routes.
	Routes *web.Patterns[T]
}

// A Router maps (listener, host, method, path) to a value. It never changes after
// New and is safe for concurrent use.
type Router[T any] struct {
	sites     []Site[T]
	listeners []hosts // by listener
}

// none is the site number that stands for no site.
const none = -1

// New builds a router. It refuses what cannot be answered in one way only: two
// default sites on one listener, a host twice on one listener; and hosts that no
// request can have.
func New[T any](sites []Site[T]) (*Router[T], error) {
	r := &Router[T]{sites: append([]Site[T](nil), sites...)}
	for i := range r.sites {
		s := &r.sites[i]
		if s.Routes == nil {
			s.Routes = new(web.Patterns[T])
		}
		for _, l := range s.Listeners {
			if l < 0 {
				return nil, fmt.Errorf("router: site %q: listener %d", s.Name, l)
			}
			for len(r.listeners) <= l {
				r.listeners = append(r.listeners, hosts{fallback: none})
			}
			if other, err := r.listeners[l].add(s.Hosts, i); err != nil {
				if other != none {
					return nil, fmt.Errorf("router: site %q: %w on listener %d, of site %q", s.Name, err, l, sites[other].Name)
				}
				return nil, fmt.Errorf("router: site %q: %w", s.Name, err)
			}
		}
	}
	return r, nil
}

// Site returns the index, in the slice given to New, of the site that serves host on
// a listener, or -1. The host is a request's Host field or authority as it came: a
// port, upper case and a trailing dot do not matter. An exact host comes first, then
// the longest suffix, then the default site. It does not allocate.
func (r *Router[T]) Site(listener int, host string) int {
	if listener < 0 || listener >= len(r.listeners) {
		return none
	}
	return r.listeners[listener].find(host)
}

// Lookup finds the site and then the route within it, as web.Patterns.Lookup does.
// Without a site it is -1 and web.Missing.
func (r *Router[T]) Lookup(listener int, host, method, path string, m *web.Match) (value T, site int, result web.Result) {
	site = r.Site(listener, host)
	if site == none {
		m.Reset()
		return value, none, web.Missing
	}
	value, result = r.sites[site].Routes.Lookup(method, path, m)
	return value, site, result
}

// Names reports whether a route of any site names the method: see web.Patterns.Names.
func (r *Router[T]) Names(method string) bool {
	for i := range r.sites {
		if r.sites[i].Routes.Names(method) {
			return true
		}
	}
	return false
}
