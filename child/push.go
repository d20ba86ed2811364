package child

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
)

// How the system finds out that the client of a silent push stream is gone: after pushIdle seconds without a byte it probes, and again
// every pushProbe seconds, pushProbes times. A client that has only closed its socket answers the first probes for as long as its system
// remembers the connection (net.ipv4.tcp_fin_timeout, 60 s), and resets it then.
const (
	pushIdle   = 30
	pushProbe  = 15
	pushProbes = 4
)

// A push is a response that goes on after its handler. It takes the exchange's place at the front of the pipeline: once the handler has
// returned, the exchange with its request and response is over, and an idle stream holds no more than this and its conn.
//
//	handler: Push ──► ex.push ── the exchange is next in order ──► c.push: the head leaves ── the handler has returned ──► the exchange
//	is recycled ── pieces ── Close ──► the last chunk, the next exchange
//
// The program adds bytes under mu, from any goroutine; the loop takes them when everything before has left, so that what waits for a
// slow client is at most web.PushBacklog bytes.
type push struct {
	preamble // fields are dropped once the head is queued
	loop     *loop
	fd       int32
	serial   uint32

	// The loop's.
	ex         *exchange   // until its handler has returned
	first      uint64      // value of conn.queued before the head
	sent       int64       // content bytes
	record     record      // for the access log
	generation *generation // held, from then on

	mu      sync.Mutex
	backlog []byte // not taken by the loop
	taken   int    // bytes that the loop has taken and that have not left
	posted  bool   // the loop will look
	closed  bool   // by the program
	over    bool   // nothing is sent any more
	done    chan struct{}
}

// ended is the Done of a stream that was over before anybody asked.
var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

var errPushTwice = errors.New("the response goes on by an earlier Push")

// Push implements web.Engine.
func (ex *exchange) Push(w *web.Response) (web.Pusher, error) {
	if ex.push != nil {
		return nil, errPushTwice
	}
	w.Header().Del("Content-Length")
	w.Header().Del("Trailer")
	w.Trailer().Reset()
	p := &push{preamble: ex.preamble(w), loop: ex.loop, fd: ex.fd, serial: ex.serial}
	if ex.head {
		p.frame = framingNone
	}
	p.over = p.frame == framingNone
	ex.mu.Lock()
	ex.push = p
	ex.mu.Unlock()
	if ex.gone.Load() {
		p.end()
		return nil, errClientGone
	}
	if ex.dispatch { // on the loop, its own look follows
		ex.post(eventPushed)
	}
	return p, nil
}

// Push implements web.Pusher.
func (p *push) Push(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over || p.closed:
		return web.ErrPushClosed
	case len(p.backlog)+p.taken+len(b) > web.PushBacklog:
		return web.ErrPushFull
	}
	p.backlog = append(p.backlog, b...)
	p.postLocked()
	return nil
}

// Close implements web.Pusher.
func (p *push) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.closed {
		return nil
	}
	p.closed = true
	p.closeDoneLocked()
	p.posted = false // it may have been left from bytes that wait for earlier ones
	p.postLocked()
	return nil
}

// Done implements web.Pusher.
func (p *push) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = ended
		if !p.over && !p.closed {
			p.done = make(chan struct{})
		}
	}
	return p.done
}

// Draining implements web.Pusher.
func (p *push) Draining() <-chan struct{} { return p.loop.drainBegins }

func (p *push) postLocked() {
	if !p.posted {
		p.posted = true
		p.loop.post(event{kind: eventPushed, fd: p.fd, serial: p.serial})
	}
}

func (p *push) closeDoneLocked() {
	if p.done != nil && p.done != ended {
		close(p.done)
	}
	p.done = ended
}

// end tells the program that nothing is sent any more.
func (p *push) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		if !p.closed {
			p.closeDoneLocked()
		}
	}
	p.backlog = nil
}

// take gives the loop what was pushed, once everything that it took before has left. unsent is what the connection has to send. closed:
// nothing will follow.
func (p *push) take(unsent int) (data []byte, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken = min(p.taken, unsent); p.taken > 0 {
		return nil, false // what is pushed meanwhile leaves as one piece
	}
	data, p.backlog = p.backlog, nil // an idle stream keeps no memory for the next piece
	p.taken = len(data)
	p.posted = false
	return data, p.closed || p.over
}

// beginPush queues the head of a pushed response, which is next in order.
func (l *loop) beginPush(c *conn, ex *exchange) {
	p := ex.push
	p.ex, p.first = ex, c.queued
	ex.begun, ex.first = true, c.queued
	tail := append(l.appendStatus(l.tail(c), p.status), p.fields...)
	p.fields = nil
	l.putTail(c, l.appendConnection(c, ex, tail, p.close, p.frame))
	c.push = p
}

// pumpPush sends what was pushed so far. It reports whether the response is complete.
func (l *loop) pumpPush(c *conn) bool {
	p := c.push
	if ex := p.ex; ex != nil && ex.finished {
		if ex.aborted {
			l.abort(c)
			return false
		}
		l.outlive(c, p)
	}
	data, closed := p.take(c.out.unsent())
	if len(data) > 0 && p.frame != framingNone {
		l.putPiece(c, p.frame, data)
		p.sent += int64(len(data))
	}
	if !closed || p.ex != nil {
		return false
	}
	l.endPush(c)
	return true
}

// outlive ends the exchange of a pushed response whose handler has returned.
func (l *loop) outlive(c *conn, p *push) {
	ex := p.ex
	p.ex = nil
	p.record = l.recordOf(ex)
	p.generation = ex.gen
	p.generation.hold()
	ex.logged = nil
	c.pipeline.drop()
	l.recycle(ex)
	keepAlive(int(c.fd))
}

// keepAlive lets the system look after a silent client (tcp(7)). Errors are of no use: a unix socket has no such options, and needs none.
func keepAlive(fd int) {
	for _, option := range [...][2]int{{unix.TCP_KEEPIDLE, pushIdle}, {unix.TCP_KEEPINTVL, pushProbe}, {unix.TCP_KEEPCNT, pushProbes}} {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option[0], option[1])
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

// endPush ends a pushed response as it should.
func (l *loop) endPush(c *conn) {
	p := c.push
	if p.frame == framingChunked {
		l.putTail(c, http1.AppendLastChunk(l.tail(c), nil))
	}
	l.finished(p.status)
	l.leavePush(c, reasonNone)
}

// leavePush forgets a pushed response that is over, or whose connection is.
func (l *loop) leavePush(c *conn, why closeReason) {
	p := c.push
	c.push = nil
	p.end()
	if p.ex != nil {
		return // its exchange is deserted, and logged, by itself
	}
	sent := p.sent
	if why != reasonNone {
		sent = int64(c.sent - min(c.sent, p.first))
	}
	l.logRecord(&p.record, p.status, sent, why)
	p.generation.let()
	p.generation = nil
}
