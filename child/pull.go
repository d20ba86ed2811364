package child

import (
	"io"

	"github.com/tined/tined/child/worker"
)

// pullSize is how much of a pulled body is read at a time.
const pullSize = 64 << 10

// A pull reads a response's body from its source, piece by piece, on workers: a piece is asked for when the one before it has been
// taken by the client, so a slow client holds no worker. The loop and the worker take turns: read is the worker's while reading is set.
type pull struct {
	job     worker.Job
	ex      *exchange
	source  io.Reader
	left    int64 // bytes to come, -1: until io.EOF
	reading bool  // the loop's: a job is with the pool
	dropped bool  // the loop's: close the source when the job comes back

	buf  []byte // the piece
	n    int
	done bool // the source has ended
	err  error
}

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
			p.ex.loop.logPanic(&p.ex.req, v, nil)
			p.err = errClientGone
		}
		ex := p.ex
		ex.loop.post(event{kind: eventPulled, fd: ex.fd, serial: ex.serial, sequence: ex.sequence, ex: ex, pull: p})
	}()
	if len(piece) > 0 {
		for empty := 0; p.n == 0 && p.err == nil && empty < 100; empty++ { // a reader may return 0, nil; not for ever
			p.n, p.err = p.source.Read(piece)
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
