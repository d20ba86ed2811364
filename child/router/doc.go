// Package router finds the route of a request: the listener it came in on and its
// host name the site, and the site's patterns (package web) the route.
//
// It owns the rules of host names and nothing else: no I/O, no clock, no
// configuration format. A Router is built once per generation of the configuration
// and never changes, so any number of goroutines may read it.
//
// It imports the standard library and child/web only.
//
//	r, err := router.New([]router.Site[web.Handler]{
//		{Name: "main", Listeners: []int{0}, Routes: routes},                                   // the default site
//		{Name: "shop", Hosts: []string{"shop.example", "*.shop.example"}, Listeners: []int{0}, Routes: shop},
//	})
//	handler, site, result := r.Lookup(0, host, method, path, &match)
package router
