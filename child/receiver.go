package child

import (
	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
)

const (
	// collectMax is the largest request body that is collected before its handler starts; a larger one, or one of unknown length
	// that grows beyond it, streams.
	collectMax = 64 << 10
	// discardMax is how much of a body that nobody wants is read to keep the connection.
	discardMax = 256 << 10
)

// A receiver takes the body of a request off the connection. It outlives the exchange when the handler answers without reading all.
type receiver struct {
	ex       *exchange // nil: the bytes are dropped
	left     int64     // of a body with a Content-Length
	isChunky bool
	chunked  http1.Chunked
	got      int64 // content bytes so far
	dropped  int64 // of those, bytes that nobody wanted
	buf      []byte
	flow     *inflow // the handler runs and reads from here
}

// startBody arranges for the body of ex to be received. The head has been routed; ex has its own strings.
func (l *loop) startBody(c *conn, ex *exchange) {
	head := &ex.parser.Head
	r := l.takeReceiver()
	r.ex = ex
	r.isChunky = head.Chunked
	r.left = head.ContentLength
	c.receiver = r
	if ex.expected || !r.isChunky && r.left > collectMax {
		l.streamBody(c, r)
		return
	}
	if !r.isChunky {
		r.buf = make([]byte, 0, r.left)
	}
	ex.setState(WaitingForBody)
	c.current = ex
}

// streamBody starts the handler while the body comes in.
func (l *loop) streamBody(c *conn, r *receiver) {
	ex := r.ex
	length := int64(-1)
	if !r.isChunky {
		length = ex.parser.Head.ContentLength
	}
	r.flow = newInflow(ex)
	ex.ready = l.now
	ex.body = r.flow
	web.SetBody(&ex.req, length, r.buf, r.flow)
	r.buf = nil
	c.current = nil
	l.dispatch(c, ex)
}

// receive feeds bytes to the body that is coming in and returns how many were taken; fewer than given means that the handler must
// read first, or that the body is whole.
func (l *loop) receive(c *conn, data []byte) int {
	r := c.receiver
	taken := 0
	for {
		if !r.isChunky && r.left == 0 {
			l.bodyWhole(c, r)
			return taken
		}
		rest := data[taken:]
		if r.flow != nil {
			rest = rest[:min(len(rest), r.flow.room())]
		}
		if len(rest) == 0 {
			return taken
		}
		var (
			n     int
			piece []byte
			done  bool
			err   error
		)
		if r.isChunky {
			n, piece, done, err = r.unchunk(rest, &l.limits(c).http)
		} else {
			piece = rest[:min(int64(len(rest)), r.left)]
			n = len(piece)
			r.left -= int64(n)
		}
		taken += n
		switch {
		case len(piece) > 0 && !l.deliver(c, r, piece):
			return len(data)
		case err != nil:
			l.bodyFailed(c, r, err)
			return len(data)
		case done:
			l.bodyWhole(c, r)
			return taken
		case n == 0:
			return taken
		}
	}
}

// unchunk decodes src to its end, the end of the body, or an error. The content of many small chunks is gathered in place, in src, so
// that it is delivered at once: a delivery costs more than decoding a chunk of a byte.
func (r *receiver) unchunk(src []byte, lim *http1.Limits) (n int, content []byte, done bool, err error) {
	from, to := 0, 0
	for n < len(src) && !done {
		taken, piece, last, err := r.chunked.Feed(src[n:], lim)
		if err != nil {
			return n, src[from:to], false, err
		}
		n, done = n+taken, last
		at := n - len(piece)
		switch {
		case from == to:
			from, to = at, n
		default:
			to += copy(src[to:], piece)
		}
	}
	return n, src[from:to], done, nil
}

// deliver hands on content bytes; false: nobody takes more, for the connection is closing.
func (l *loop) deliver(c *conn, r *receiver, piece []byte) bool {
	r.got += int64(len(piece))
	if r.ex == nil {
		r.dropped += int64(len(piece))
		if r.dropped > discardMax {
			c.receiver = nil
			l.putReceiver(r)
			l.stopParsing(c, reasonBodyUnread)
			return false
		}
		return true
	}
	if r.got > l.bodyLimit(r.ex) {
		l.bodyFailed(c, r, errBodyTooLarge)
		return false
	}
	if r.flow != nil {
		if r.flow.put(piece) {
			r.ex.ready = l.now
		}
		return true
	}
	r.buf = append(r.buf, piece...)
	if len(r.buf) > collectMax {
		l.streamBody(c, r)
	}
	return c.receiver == r // not when that has closed the connection
}

// bodyWhole ends the body; the connection may carry the next request.
func (l *loop) bodyWhole(c *conn, r *receiver) {
	c.receiver = nil
	ex := r.ex
	if ex != nil {
		raw, fields := r.chunked.Trailers()
		if r.isChunky && len(fields) > 0 {
			base := string(raw)
			for _, f := range fields {
				web.AddTrailer(&ex.req, f.Name.Of(base), f.Value.Of(base))
			}
		}
		if r.flow != nil {
			ex.from = l.now
			if r.flow.whole() {
				ex.ready = l.now
			}
		} else {
			length := r.got
			if r.isChunky {
				length = -1
			}
			web.SetBody(&ex.req, length, r.buf, nil)
			ex.ready = l.now
			c.current = nil
			l.dispatch(c, ex)
		}
	}
	l.putReceiver(r)
}

// bodyFailed answers a body that is malformed or too large. A handler that is reading it gets an error.
func (l *loop) bodyFailed(c *conn, r *receiver, err error) {
	c.receiver = nil
	ex := r.ex
	flow := r.flow
	l.putReceiver(r)
	if ex == nil {
		l.stopParsing(c, reasonRefused)
		if last := c.pipeline.pending.last; last != nil && last.finished && !last.answered() { // its own: nothing was begun behind it
			l.discard(last)
			last.keepAlive = false
			web.Begin(&last.resp, last)
			web.Error(&last.resp, statusOf(err))
		}
		return
	}
	c.current = nil
	if flow == nil {
		l.refuse(c, ex, err)
		return
	}
	if err == errBodyTooLarge {
		flow.fail(web.ErrBodyTooLarge)
	} else {
		flow.fail(err)
	}
	l.stopParsing(c, reasonRefused)
	if !ex.begunStream && !ex.pushing && !ex.finished {
		ex.ready = l.now
		l.supplant(c, ex, statusOf(err))
	}
}

// forget separates the body that is coming in from its exchange, which is over: the rest is dropped.
func (r *receiver) forget() {
	r.ex = nil
	r.flow = nil
	r.buf = nil
}

// wanted reports whether r takes a body whose handler has not returned: it comes in to its end, even behind an answer that has begun and
// will close the connection.
func (r *receiver) wanted() bool { return r != nil && r.ex != nil }

// worthReading reports whether the rest of a body that nobody wants is read, so that the connection can go on.
func (r *receiver) worthReading(ex *exchange) bool {
	return !ex.expected && (r.isChunky || r.left <= discardMax)
}

var errBodyTooLarge = &http1.Error{Status: 413, Message: "body larger than limits.body"}

func statusOf(err error) int {
	if e, ok := err.(*http1.Error); ok {
		return e.Status
	}
	return 400
}
