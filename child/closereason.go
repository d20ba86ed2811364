package child

// closeReason says why a connection was closed. Every close has one: it is the log field and the counter.
type closeReason uint8

const (
	reasonNone           closeReason = iota
	reasonClientDone                 // the client closed between two exchanges
	reasonClientGone                 // the client closed or reset in the middle of an exchange
	reasonAnswered                   // the last answer said "Connection: close", as the client had asked
	reasonServerClose                // the last answer said "Connection: close", as the server wanted
	reasonHalfClosed                 // the client had shut down its sending side, and everything was answered
	reasonIdleTimeout                // no request within limits.idle_timeout
	reasonHeadTimeout                // a head took longer than limits.head_timeout
	reasonBodyTimeout                // a body came slower than limits.body_rate
	reasonWriteTimeout               // the client took the answer slower than limits.write_rate
	reasonHandlerTimeout             // a handler took longer than limits.handler_timeout
	reasonRefused                    // a request was malformed or over a limit
	reasonUntrusted                  // only trusted proxies may connect to the listener, and the peer is none
	reasonBodyUnread                 // the handler left more of the body unread than is worth reading
	reasonAborted                    // a handler gave up in mid-response
	reasonFileChanged                // a file shrank while it was sent
	reasonDrain                      // the child drains, and the connection was idle
	reasonDrainTimeout               // the child's drain_timeout ended it
	reasonDetached                   // the connection was given to a handler
	reasonSystem                     // the system refused a call on the connection
	reasonCount
)

// closeReasons is the table behind the constants: the name in logs and counters, and whether somebody should look at it.
var closeReasons = [reasonCount]struct {
	name    string
	isError bool
}{
	reasonNone:           {"none", true},
	reasonClientDone:     {"client_done", false},
	reasonClientGone:     {"client_gone", true},
	reasonAnswered:       {"answered", false},
	reasonServerClose:    {"server_close", false},
	reasonHalfClosed:     {"half_closed", false},
	reasonIdleTimeout:    {"idle_timeout", false},
	reasonHeadTimeout:    {"head_timeout", true},
	reasonBodyTimeout:    {"body_timeout", true},
	reasonWriteTimeout:   {"write_timeout", true},
	reasonHandlerTimeout: {"handler_timeout", true},
	reasonRefused:        {"refused", true},
	reasonUntrusted:      {"untrusted", true},
	reasonBodyUnread:     {"body_unread", false},
	reasonAborted:        {"aborted", true},
	reasonFileChanged:    {"file_changed", true},
	reasonDrain:          {"drain", false},
	reasonDrainTimeout:   {"drain_timeout", true},
	reasonDetached:       {"detached", false},
	reasonSystem:         {"system", true},
}

func (r closeReason) String() string { return closeReasons[r].name }
