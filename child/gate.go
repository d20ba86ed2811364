package child

import "github.com/tined/tined/child/web"

// A gate bounds how many handlers of one route run at a time, so that a route whose handlers all wait for something cannot take every
// worker from the others. It belongs to the loop. Requests beyond the bound wait in order; what would wait beyond the queue is refused.
//
//	dispatch ──► running < concurrency ──► pool ──► finished: the first that waits takes the place
//	   └───────► waiting < queue ──► … its client goes, or its deadline passes: taken out
//	   └───────► 503 with Retry-After
type gate struct {
	concurrency int
	queue       int
	running     int
	waiting     gateList
}

// gateShare is the part of a pool's workers and queue that a route without a limit of its own may hold, if it is not the only one that
// uses the pool: what is left keeps the other routes going.
func gateShare(n int) int { return max(1, n-n/4) }

// A gateList is a queue of exchanges out of which any can be taken.
type gateList struct {
	first, last *exchange
	length      int
}

func (g *gateList) push(ex *exchange) {
	ex.gateLink = gateLink{before: g.last, waits: true}
	if g.last == nil {
		g.first = ex
	} else {
		g.last.gateLink.after = ex
	}
	g.last = ex
	g.length++
}

// remove takes ex out, and reports whether it was there.
func (g *gateList) remove(ex *exchange) bool {
	link := ex.gateLink
	if !link.waits {
		return false
	}
	if link.before == nil {
		g.first = link.after
	} else {
		link.before.gateLink.after = link.after
	}
	if link.after == nil {
		g.last = link.before
	} else {
		link.after.gateLink.before = link.before
	}
	ex.gateLink = gateLink{}
	g.length--
	return true
}

// gateLink is an exchange's place before a gate.
type gateLink struct {
	before, after *exchange
	waits         bool
}

// submit gives ex to its pool, or lets it wait for a place. false: it is refused.
func (l *loop) submit(ex *exchange) bool {
	g := ex.route.gate
	switch {
	case g.running < g.concurrency && g.waiting.length == 0:
		if l.handOver(ex) {
			g.running++
			return true
		}
	case g.waiting.length < g.queue:
		g.waiting.push(ex)
		l.letIn(g)
		return true
	}
	l.numbers.refused++
	return false
}

// handOver gives ex to its pool.
func (l *loop) handOver(ex *exchange) bool {
	ex.dispatch = true
	if !ex.route.pool.Offer(&ex.job) {
		ex.dispatch = false
		return false
	}
	l.handed++
	return true
}

// returned takes note that the handler of ex does not run any more, or never will, and lets the next one in.
func (l *loop) returned(ex *exchange) {
	ex.dispatch = false
	ex.route.gate.running--
	l.letIn(ex.route.gate)
}

// letIn gives the places of a gate that are free to those that wait. If their pool is full with others, they wait on as long as one of
// the route runs, whose return lets them in.
func (l *loop) letIn(g *gate) {
	for g.running < g.concurrency {
		next := g.waiting.first
		switch {
		case next == nil:
			return
		case l.handOver(next):
			g.waiting.remove(next)
			g.running++
		case g.running > 0:
			return
		default:
			g.waiting.remove(next)
			l.numbers.refused++
			l.refuseWaiting(next)
		}
	}
}

// resize fits all gates to pools of so many workers, and lets in what may now run. What runs or waits beyond smaller numbers stays.
func (l *loop) resize(workers int) {
	if l.generation == nil {
		return
	}
	for _, g := range append([]*generation{l.generation}, l.retired...) {
		g.share(workers, l.generation.queue)
		for _, rt := range g.routes {
			l.letIn(rt.gate)
		}
	}
}

// waiting is how many requests wait before the gates of all generations.
func (l *loop) waiting() (n int) {
	if l.generation != nil {
		n = l.generation.waiting()
	}
	for _, g := range l.retired {
		n += g.waiting()
	}
	return n
}

// refuseWaiting answers an exchange that waited before a gate and finds its pool full.
func (l *loop) refuseWaiting(ex *exchange) {
	c := l.table.Get(int(ex.fd), ex.serial)
	if c == nil {
		return // an exchange that waits has a connection
	}
	l.overloaded(ex)
	l.finish(c, ex)
	l.makeReady(c) // not advanced here: this may be the end of a neighbour's turn
}

// overloaded makes the answer of an exchange for which there is no worker (RFC 9110, 15.6.4).
func (l *loop) overloaded(ex *exchange) {
	web.Begin(&ex.resp, ex)
	ex.resp.Header().Set("Retry-After", "1")
	web.Error(&ex.resp, 503)
}
