package webtest

import (
	"context"
	"sync"

	"github.com/tined/tined/child/web"
)

// Pushed is a client's view of a PushStream: it keeps everything that is pushed, and may leave. It may be used by several goroutines.
type Pushed struct {
	draining chan struct{}

	mu      sync.Mutex
	pieces  []string
	more    chan struct{} // closed by the next piece, and by the end
	done    chan struct{}
	over    bool
	full    bool
	drained bool
}

func newPushed(over bool) *Pushed {
	p := &Pushed{draining: make(chan struct{}), more: make(chan struct{}), done: make(chan struct{})}
	if over {
		p.Leave()
	}
	return p
}

// Text returns everything that was pushed so far.
func (p *Pushed) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := ""
	for _, piece := range p.pieces {
		text += piece
	}
	return text
}

// Wait waits until n pieces were pushed, and returns them all; fewer if the stream ended before. The error is that of ctx.
func (p *Pushed) Wait(ctx context.Context, n int) ([]string, error) {
	for {
		p.mu.Lock()
		pieces, more, over := p.pieces, p.more, p.over
		p.mu.Unlock()
		if len(pieces) >= n || over {
			return pieces, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return pieces, ctx.Err()
		}
	}
}

// Stall makes the client one that does not read: every further Push is refused with web.ErrPushFull, until it is called with false.
func (p *Pushed) Stall(stalled bool) {
	p.mu.Lock()
	p.full = stalled
	p.mu.Unlock()
}

// Leave is a client that goes.
func (p *Pushed) Leave() { _ = p.Close() }

// Drain lets the server begin to drain.
func (p *Pushed) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.drained {
		p.drained = true
		close(p.draining)
	}
}

// Push implements web.Pusher.
func (p *Pushed) Push(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over:
		return web.ErrPushClosed
	case p.full || len(b) > web.PushBacklog:
		return web.ErrPushFull
	}
	p.pieces = append(p.pieces, string(b))
	close(p.more)
	p.more = make(chan struct{})
	return nil
}

// Close implements web.Pusher.
func (p *Pushed) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		close(p.more)
		close(p.done)
	}
	return nil
}

// Done implements web.Pusher.
func (p *Pushed) Done() <-chan struct{} { return p.done }

// Draining implements web.Pusher.
func (p *Pushed) Draining() <-chan struct{} { return p.draining }
