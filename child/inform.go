package child

import (
	"errors"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
)

// informMax is how many bytes of informational responses of one exchange may wait for their turn.
const informMax = 16 << 10

var errInformFull = errors.New("too many informational responses wait for the client")

// Inform implements web.Engine. The response is encoded here, by the handler's goroutine, and sent by the loop once the exchange is the
// next to be answered: at once when it is alone.
func (ex *exchange) Inform(status int, h *web.Header) error {
	switch {
	case ex.gone.Load():
		return errClientGone
	case ex.minor == 0: // RFC 9110, 15.2: never to a client of HTTP/1.0
		return nil
	case status == 100:
		if ex.body != nil {
			ex.body.ask()
		}
		return nil
	}
	head, _, _ := appendFields(http1.AppendStatusLine(nil, status), h, false)
	head = http1.AppendEnd(head)
	ex.mu.Lock()
	switch {
	case ex.stream != nil || ex.push != nil:
		ex.mu.Unlock()
		return web.ErrCommitted
	case len(ex.informs)+len(head) > informMax:
		ex.mu.Unlock()
		return errInformFull
	}
	first := len(ex.informs) == 0
	ex.informs = append(ex.informs, head...)
	ex.mu.Unlock()
	if first && ex.dispatch { // on the loop, its own look follows
		ex.post(eventInform)
	}
	return nil
}

// inform queues the informational responses of ex, which is the next to be answered.
func (l *loop) inform(c *conn, ex *exchange) {
	ex.informing = false
	ex.mu.Lock()
	heads := ex.informs
	ex.informs = nil
	ex.mu.Unlock()
	if len(heads) > 0 {
		l.putTail(c, append(l.tail(c), heads...))
	}
}
