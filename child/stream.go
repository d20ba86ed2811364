package child

import (
	"strconv"
	"strings"
	"sync"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
)

// streamWindow is how many bytes of a streamed response may wait unsent before Write waits too.
const streamWindow = 64 << 10

// framing says how the end of a response's body is told (RFC 9112, 6.3).
type framing uint8

const (
	framingNone    framing = iota // no body
	framingLength                 // Content-Length
	framingChunked                // chunked transfer coding
	framingClose                  // the connection's end: HTTP/1.0 and no length
)

// A stream carries a response's body from its handler to the loop. The handler adds bytes under mu and waits while the window is
// full; the loop takes them all at once and frames them.
type stream struct {
	preamble
	ex    *exchange
	left  int64 // of a declared length: bytes that may still be written (handler's)
	waits bool  // Write may wait: the handler runs on a worker, not on the loop that would make room

	mu     sync.Mutex
	room   sync.Cond // the loop has taken bytes, or the client has gone
	buf    []byte
	posted bool  // the loop will look
	ended  bool  // the handler has returned
	failed error // why nothing can be written any more: the client has gone, or the handler's deadline has passed
}

func newStream(ex *exchange, w *web.Response) *stream {
	s := &stream{ex: ex, waits: ex.dispatch, preamble: ex.preamble(w)}
	s.left = s.length
	s.room.L = &s.mu
	return s
}

// A preamble is the head of a response that is sent before its content is known.
type preamble struct {
	fields []byte // encoded field lines, framing included, without Date and Connection
	status int
	length int64   // of framingLength
	frame  framing // of the body
	close  bool    // the handler asked for the connection to be closed
}

// preamble encodes the head of w. A Content-Length that the handler has set is kept, to be enforced.
func (ex *exchange) preamble(w *web.Response) preamble {
	p := preamble{status: w.Status()}
	var announced bool
	p.fields, p.close, announced = appendFields(nil, w.Header(), false)
	trailers := ex.minor > 0 && (announced || w.Trailer().Len() > 0)
	declared := declaredLength(w.Header())
	switch {
	case !http1.BodyAllowed(p.status):
		p.frame = framingNone
	case p.status == 205:
		p.frame = framingNone
		p.fields = http1.AppendContentLength(p.fields, 0)
	case declared >= 0 && !trailers:
		p.length = declared
		p.frame = framingLength
		p.fields = http1.AppendContentLength(p.fields, declared)
	case ex.minor == 0:
		p.frame, p.close = framingClose, true
	default:
		p.frame = framingChunked
		p.fields = append(p.fields, "Transfer-Encoding: chunked\r\n"...)
		if trailers {
			p.fields = appendAnnouncement(p.fields, w)
		}
	}
	return p
}

// declaredLength returns the Content-Length that a handler has set, or -1.
func declaredLength(h *web.Header) int64 {
	value := h.Get("Content-Length")
	if value == "" || strings.HasPrefix(value, "+") {
		return -1
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for len(p) > 0 {
		for s.waits && len(s.buf) >= streamWindow && s.failed == nil {
			s.post()
			s.room.Wait()
		}
		if s.failed != nil {
			return written, s.failed
		}
		n := len(p)
		if s.waits {
			n = min(n, streamWindow-len(s.buf))
		}
		if s.frame == framingLength {
			if s.left == 0 {
				return written, errTooLong
			}
			n = int(min(int64(n), s.left))
			s.left -= int64(n)
		}
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		written += n
	}
	return written, nil
}

// post tells the loop to look; mu is held.
func (s *stream) post() {
	if !s.posted {
		s.posted = true
		s.ex.post(eventStreamed)
	}
}

func (s *stream) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.post()
	}
	return s.failed
}

// end is called when the handler has returned; the completion makes the loop look.
func (s *stream) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
}

// fail lets every Write return err, or the error of an earlier fail.
func (s *stream) fail(err error) {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = err
	}
	s.buf = nil
	s.room.Broadcast()
	s.mu.Unlock()
}

// take gives the loop what has been written, in exchange for empty memory. complete: nothing will follow, and all that was declared
// has come.
func (s *stream) take(empty []byte) (data []byte, ended, complete bool) {
	s.mu.Lock()
	data, s.buf = s.buf, empty
	s.posted = false
	ended = s.ended
	complete = ended && (s.frame != framingLength || s.left == 0)
	s.room.Signal()
	s.mu.Unlock()
	return data, ended, complete
}
