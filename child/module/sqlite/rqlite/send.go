package rqlite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A call is what is asked of the cluster, at one node after the other.
type call struct {
	path  string // with its query, which has at least one member
	kind  string // the content's media type
	body  []byte
	write bool
	// repeat: to do it twice does no harm.
	repeat bool
	// limit is how long a node may take to answer, once it has been reached; 0: as long as the call may.
	limit time.Duration
	// begin is called before each try; nil: nothing is.
	begin func()
}

const (
	// maxNotice bounds what is read of an answer that is an error.
	maxNotice = 4 << 10
	// grace is what a node's own timeout has more, so that its answer arrives.
	grace = time.Second
	// Pauses between two rounds over all nodes.
	firstPause = 50 * time.Millisecond
	lastPause  = 400 * time.Millisecond
)

var errSlow = errors.New("no answer in time")

// do sends a call until accept takes an answer, whose body is then accept's to close. It returns after the cluster's timeout, at the latest: what
// accept goes on to read is not bounded by it.
func (c *Cluster) do(ctx context.Context, r *call, accept func(*http.Response) *failure) error {
	if c.closed.Load() {
		return unavailable("the cluster is closed", nil)
	}
	end := time.Now().Add(c.timeout)
	pause, maybe := firstPause, false
	at := int(c.preferred.Load())
	for try := 1; ; try++ {
		f := c.try(ctx, at, r, time.Until(end), try == 1, accept)
		if f == nil {
			return nil
		}
		maybe = maybe || f.maybe
		if f.again && ctx.Err() == nil && (!maybe || r.repeat) {
			at = (at + 1) % len(c.nodes)
			if try%len(c.nodes) != 0 || sleep(ctx, min(pause, time.Until(end))) {
				pause = min(2*pause, lastPause)
				if time.Until(end) > 0 {
					continue
				}
			}
		}
		switch {
		case r.write && maybe && (f.again || f.maybe):
			return unknownOutcome(f.err)
		case ctx.Err() != nil && f.again:
			return contextError(ctx)
		}
		return f.err
	}
}

// sleep reports whether the time has passed before ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// contextError is what the end of a caller's context means.
func contextError(ctx context.Context) *engine.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return engine.Errorf(engine.CodeTimeout, "the statement took longer than it may")
	}
	return engine.Errorf(engine.CodeCancelled, "the client has gone")
}

// try asks one node. left is what remains of the call's time.
func (c *Cluster) try(ctx context.Context, at int, r *call, left time.Duration, first bool, accept func(*http.Response) *failure) *failure {
	limit := left
	if r.limit > 0 {
		limit = min(left, r.limit+grace)
	} else if first && r.repeat && len(c.nodes) > 1 {
		// A node that hangs must leave time for the others.
		limit = left / 2
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errSlow) })
	taken := false
	defer func() {
		timer.Stop()
		if !taken {
			cancel(nil)
		}
	}()
	if r.begin != nil {
		r.begin()
	}
	n := &c.nodes[at]
	var reached atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { reached.Store(true) }})
	url := n.base + r.path + "&timeout=" + limit.Round(time.Millisecond).String()
	request, err := http.NewRequestWithContext(traced, http.MethodPost, url, bytes.NewReader(r.body))
	if err != nil {
		return &failure{err: engine.ErrorOf(err)}
	}
	request.Header.Set("Content-Type", r.kind)
	if n.user != "" {
		request.SetBasicAuth(n.user, n.password)
	}
	response, err := c.client.Do(request)
	if err != nil {
		if errors.Is(context.Cause(ctx), errSlow) {
			err = errSlow
		}
		if !reached.Load() && errors.Is(err, errSlow) {
			return &failure{err: unavailable("no connection to the cluster is free", err), again: true}
		}
		return &failure{err: unavailable("the cluster cannot be reached", err), again: true, maybe: reached.Load()}
	}
	response.Body = &ending{response.Body, cancel}
	if response.StatusCode != http.StatusOK {
		notice, _ := io.ReadAll(io.LimitReader(response.Body, maxNotice)) // what there is of it tells enough
		f := statusFailure(response.StatusCode, strings.TrimSpace(string(notice)))
		_ = response.Body.Close() // it was only read
		return f
	}
	if f := accept(response); f != nil {
		_ = response.Body.Close() // it was only read
		return f
	}
	taken = true
	c.learn(response, at)
	return nil
}

// ending ends the request's context with its body.
type ending struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (e *ending) Close() error {
	err := e.ReadCloser.Close()
	e.cancel(nil)
	return err
}

// servedBy is the header by which a node says that it has asked the leader for us.
const servedBy = "X-Rqlite-Served-By"

// learn keeps the node for the next call, or goes to the next one if this is not the leader: a hop less. If none of those that we know is the
// leader, it stays with one after two rounds.
func (c *Cluster) learn(response *http.Response, at int) {
	if response.Header.Get(servedBy) == "" {
		c.forwarded.Store(0)
		c.preferred.Store(int64(at))
		return
	}
	if c.forwarded.Add(1) <= int64(2*len(c.nodes)) {
		at = (at + 1) % len(c.nodes)
	}
	c.preferred.Store(int64(at))
}

// readFailure is a failure to read an answer's body. The answer was on its way: a write has been done, or not.
func readFailure(err error) *failure {
	switch {
	case errors.Is(err, errLossy):
		return &failure{err: engine.Errorf(engine.CodeInternal, "%v", errLossy), maybe: true}
	case errors.Is(err, errLong):
		return &failure{err: engine.Errorf(engine.CodeTooManyBytes, "a value of the result is over the limit"), maybe: true}
	case errors.Is(err, errSyntax):
		return &failure{err: &engine.Error{Code: engine.CodeInternal, Message: "the cluster's answer is not understood", Offset: -1, Err: err}, maybe: true}
	}
	return &failure{err: unavailable("the cluster's answer has broken off", err), again: true, maybe: true}
}
