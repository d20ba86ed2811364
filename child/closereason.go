package child

import "github.com/tined/tined/netcore/board"

// closeReason says why a connection was closed. Every close has one: it is the log field and the counter. Their names are in
// board.CloseReasons, in the same order.
type closeReason uint8

const (
	reasonNone              closeReason = iota
	reasonClientDone                    // the client closed between two exchanges
	reasonClientGone                    // the client closed or reset in the middle of an exchange
	reasonAnswered                      // the last answer said "Connection: close", as the client had asked
	reasonServerClose                   // the last answer said "Connection: close", as the server wanted
	reasonHalfClosed                    // the client had shut down its sending side, and everything was answered
	reasonIdleTimeout                   // no request within limits.idle_timeout
	reasonHeadTimeout                   // a head took longer than limits.head_timeout
	reasonBodyTimeout                   // a body came slower than limits.body_rate
	reasonWriteTimeout                  // the client took the answer slower than limits.write_rate
	reasonHandlerTimeout                // a handler took longer than limits.handler_timeout
	reasonRefused                       // a request was malformed or over a limit
	reasonUntrusted                     // only trusted proxies may connect to the listener, and the peer is none
	reasonBodyUnread                    // the handler left more of the body unread than is worth reading
	reasonAborted                       // a handler gave up in mid-response
	reasonFileChanged                   // a file shrank, or was changed, while it was sent
	reasonDrain                         // the child drains, and the connection was idle
	reasonDrainTimeout                  // the child's drain_timeout ended it
	reasonDetached                      // the connection was given to a handler
	reasonSystem                        // the system refused a call on the connection, or a read of a file for it
	reasonListenerRemoved               // a reload has removed the listener, and nothing went on on the connection
	reasonGenerationRetired             // what went on on it belonged to a generation beyond retired_generations or retired_timeout
	reasonMoved                         // it was given to another child, and goes on there
	reasonCount
)

func (r closeReason) String() string { return board.CloseReasons[r] }

var _ [reasonCount]string = board.CloseReasons // there are as many
