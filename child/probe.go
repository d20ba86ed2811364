package child

import (
	"math"
	"time"
)

// A client that closes its connection and one that only ends its side of it (half-close) look the same: a FIN. The second gets its whole
// answer; for the first a handler would work in vain, or wait for ever. So a handler that has not begun its answer some time after a FIN
// gets its client asked by an interim response, which a client of HTTP/1.1 has to expect at any time (RFC 9110, 15.2): from a connection
// that is closed a reset comes back, which ends the exchange like any other.

// probeDelay is how long a handler may take after which an ended connection is probed, in ns.
const probeDelay = int64(time.Second)

// probeDue is when the client of ex, the head of the pipeline of c, is to be probed; far away if it is not.
func (l *loop) probeDue(c *conn, ex *exchange) int64 {
	if !c.has(flagEnd|flagEOF) || c.has(flagProbed) || ex.minor == 0 || ex.route == nil {
		return math.MaxInt64
	}
	return ex.from + probeDelay
}

// probe asks whether somebody is there to whom c could be answered, if it is time to.
func (l *loop) probe(c *conn) bool {
	if l.probeDue(c, c.pipeline.head()) > l.now {
		return false
	}
	c.set(flagProbed)
	l.putTail(c, append(l.tail(c), "HTTP/1.1 100 Continue\r\n\r\n"...))
	return true
}
