package child

import (
	"errors"
	"io"
	"runtime/debug"
	"time"

	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/netcore"
)

// pullSize is how much of a pulled body is read at a time.
const pullSize = 64 << 10

// A pull reads a response's body from its source, piece by piece, on workers: a piece is asked for when the one before it has been
// taken by the client, so a slow client holds no worker. The loop and the worker take turns: read is the worker's while reading is set.
type pull struct {
	job     worker.Job
	ex      *exchange
	source  io.Reader // nil once it is closed
	left    int64     // bytes to come, -1: until io.EOF
	reading bool      // the loop's: a job is with the pool
	starved bool      // the loop's: the pool had no room for the job

	buf  []byte // the piece
	n    int
	done bool // the source has ended
	err  error
}

var (
	errSourcePanicked = errors.New("the source of a body panicked")
	errSourceCount    = errors.New("the source of a body has read another number of bytes than fits")
)

// Run is the worker's part.
func (p *pull) Run() {
	if p.buf == nil {
		p.buf = make([]byte, pullSize)
	}
	piece := p.buf
	if p.left >= 0 && p.left < int64(len(piece)) {
		piece = piece[:p.left]
	}
	p.n, p.err = 0, nil
	defer func() {
		if v := recover(); v != nil {
			p.ex.loop.logPanic(&p.ex.req, v, debug.Stack())
			p.err = errSourcePanicked
		}
		if p.done || p.err != nil {
			p.ex.loop.shutSource(p.source)
			p.source = nil
		}
		ex := p.ex
		ex.loop.post(event{kind: eventPulled, fd: ex.fd, serial: ex.serial, sequence: ex.sequence, ex: ex, pull: p})
	}()
	if len(piece) > 0 {
		for empty := 0; p.n == 0 && p.err == nil && empty < 100; empty++ { // a reader may return 0, nil; not for ever
			p.n, p.err = p.source.Read(piece)
		}
		if p.n < 0 || p.n > len(piece) {
			p.n, p.err = 0, errSourceCount
		}
		if p.n == 0 && p.err == nil {
			p.err = io.ErrNoProgress
		}
	}
	if p.left > 0 {
		p.left -= int64(p.n)
	}
	switch {
	case p.left == 0:
		p.done, p.err = true, nil
	case p.err == io.EOF:
		p.done = true
		if p.left > 0 {
			p.err = io.ErrUnexpectedEOF
		} else {
			p.err = nil
		}
	}
}

// closeSource closes the source of a body that is not read to its end. It may block, so the loop does not do it itself; the generation of
// ex, which is held until then, may be over before.
func (l *loop) closeSource(ex *exchange, source io.Reader) {
	if _, ok := source.(io.Closer); ok {
		g := ex.gen
		g.hold()
		go func() {
			l.shutSource(source)
			l.call(g.let)
		}()
	}
}

// shutSource closes a source, if it wants that, and outlives its panic.
func (l *loop) shutSource(source io.Reader) {
	defer func() {
		if v := recover(); v != nil {
			l.host.logLine(levelError, "closing the source of a body panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	if c, ok := source.(io.Closer); ok {
		c.Close()
	}
}

// starvedRetry is when a piece that no worker could read is tried again, if nothing happens before, in ns.
const starvedRetry = int64(100 * time.Millisecond)

// starve remembers a connection whose body waits for a place in a pool's queue. The response has begun, so it can only wait.
func (l *loop) starve(c *conn) {
	l.starved = append(l.starved, netcore.MakeToken(int(c.fd), c.serial))
	if !l.feeding.Armed() {
		l.wheel.Schedule(&l.feeding, l.now+starvedRetry)
	}
}

// feed tries again for the connections that starve.
func (l *loop) feed() {
	waiting := l.starved
	l.starved = nil
	for _, token := range waiting {
		c := l.table.Get(netcore.SplitToken(token))
		if c == nil {
			continue
		}
		if ex := c.pipeline.head(); ex != nil && ex.reader != nil && ex.reader.starved {
			ex.reader.starved = false
			l.advance(c)
			l.settle(c)
		}
	}
}
