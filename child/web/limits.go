package web

import "time"

// Limits are bounds of one route, beside those of the configuration's limits {}. The zero value of a field changes nothing, nor does a
// negative Concurrency or Queue.
type Limits struct {
	// Concurrency is how many handlers of the route run at a time in a child.
	Concurrency int
	// Queue is how many requests wait for one of them; what comes beyond is answered with 503 and Retry-After.
	Queue int
	// HandlerTimeout is how long a handler may take to begin its answer; then the client gets a 503 and the handler's context ends.
	// Negative: for ever.
	HandlerTimeout time.Duration
	// Body is the largest request body in bytes; a larger one is answered with 413. Negative: none at all.
	Body int64
}

// Limit gives the route that h is registered for limits of its own. What limits {} in the route's block says comes before them. It has to
// be the outermost, or inside a Chain: a handler that another calls, such as those of a Mux, has none.
func Limit(h Handler, l Limits) Handler { return limited{h, l} }

type limited struct {
	Handler
	limits Limits
}

// LimitsOf returns the limits that Limit has given to h, and h without them.
func LimitsOf(h Handler) (Handler, Limits) {
	l, ok := h.(limited)
	if !ok {
		return h, Limits{}
	}
	inner, limits := LimitsOf(l.Handler)
	if l.limits.Concurrency != 0 {
		limits.Concurrency = l.limits.Concurrency
	}
	if l.limits.Queue != 0 {
		limits.Queue = l.limits.Queue
	}
	if l.limits.HandlerTimeout != 0 {
		limits.HandlerTimeout = l.limits.HandlerTimeout
	}
	if l.limits.Body != 0 {
		limits.Body = l.limits.Body
	}
	return inner, limits
}
