package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// TimeoutOptions say how long a handler may take, and what the client gets then.
type TimeoutOptions struct {
	// After is how long the handler may take, from its start. It must be positive.
	After time.Duration
	// Status is what the client gets: 503, also if it is 0, or 504.
	Status int
}

func timeoutSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "timeout",
		Doc:  "bounds the time that a handler has",
		Attributes: []configs.Attribute{
			{Name: "after", Type: configs.Duration, Required: true, Example: `"5s"`, Min: time.Millisecond, Max: 24 * time.Hour, Doc: "from the start of the handler"},
			{Name: "status", Type: configs.Int, Default: 503, OneOf: []string{"503", "504"}, Doc: "what the client gets then"},
		},
	}
}

func timeoutOptions(b *configs.Block) TimeoutOptions {
	return TimeoutOptions{After: b.Duration("after"), Status: b.Int("status")}
}

// Timeout bounds the time that a handler has. When it is over the handler's context ends (context.DeadlineExceeded), and the client is
// answered at once, whether the handler comes back or not; a 503 has a Retry-After. A handler that has begun to stream goes on, with its
// context ended.
//
// The time runs from the start of the handler; while a request waits for a worker, and for the whole of both, limits.handler_timeout
// counts. No goroutine is started, but until a handler that ignores its context returns, it holds its worker. A handler that answers on
// the loop has no need of a timeout and is passed through. It panics if o makes no sense.
func Timeout(o TimeoutOptions) web.Middleware {
	if o.Status == 0 {
		o.Status = 503
	}
	if o.After <= 0 || o.Status != 503 && o.Status != 504 {
		panic(fmt.Sprintf("middleware: Timeout after %v with status %d: use a positive time, and 503 or 504", o.After, o.Status))
	}
	return func(next web.Handler) web.Handler {
		h := timeout{TimeoutOptions: o, next: next}
		if now, ok := next.(web.NonBlocking); ok {
			return timeoutNow{h, now}
		}
		return h
	}
}

type timeout struct {
	TimeoutOptions
	next web.Handler
}

// Serve implements web.Handler.
func (h timeout) Serve(w *web.Response, r *web.Request) {
	outer := r.Context()
	ctx, cancel := context.WithTimeout(outer, h.After)
	defer cancel()
	answer := web.Substitute(r, h.Status)
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && outer.Err() == nil { // else it is the deadline of somebody outside
			answer()
		}
	})
	defer stop()
	kept := w.Header().Clone()
	func() {
		defer r.SetContext(outer) // also for those that answer when the handler panics
		r.SetContext(ctx)
		h.next.Serve(w, r)
	}()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) || outer.Err() != nil || web.OutcomeOf(w).Kind == web.BodyDetached {
		return
	}
	// The same answer, from a handler that stopped when it was told to.
	if web.Retry(w) {
		restore(w.Header(), &kept)
		if h.Status == 503 {
			w.Header().Set("Retry-After", "1")
		}
		web.Error(w, h.Status)
	}
}

type timeoutNow struct {
	timeout
	now web.NonBlocking
}

// ServeNow implements web.NonBlocking.
func (h timeoutNow) ServeNow(w *web.Response, r *web.Request) bool { return h.now.ServeNow(w, r) }

// restore puts back what outer middleware had set before the response was begun anew.
func restore(h, kept *web.Header) {
	for name, value := range kept.All() {
		h.Add(name, value)
	}
}
