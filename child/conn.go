package child

import (
	"net/netip"

	"github.com/tined/tined/netcore"
)

// role says which side of HTTP a connection is.
type role uint8

const (
	roleServer   role = iota // a client's connection: requests come in
	roleSelf                 // the master's own: served by the internal target, neither counted nor logged
	roleUpstream             // reserved: a connection that this child has opened to another server
)

// flags of a connection. All are the loop's.
type flags uint16

const (
	flagReadable   flags = 1 << iota // the socket may have bytes
	flagWritable                     // the socket may take bytes
	flagEnd                          // the peer has ended its side: the next read that finds nothing more sees it
	flagEOF                          // the end was read
	flagReady                        // the connection is in the ready list
	flagRegistered                   // the poller knows the socket
	flagInput                        // c.in holds bytes that could be parsed now
	flagWaitEmpty                    // the next request is unsafe and waits for the pipeline to be empty
	flagNoMore                       // no further request is parsed; the last pending response closes
	flagLast                         // the last response has been encoded: nothing is parsed any more
	flagLinger                       // the last response is to be followed by a lingering close
	flagLingering                    // our side is shut down; what comes is read and dropped
	flagTouched                      // in the list of connections that the queue was about
	flagClosed                       // closed; the object is kept until the end of the turn
)

// phase is what a connection's deadline watches.
type phase uint8

const (
	phaseIdle    phase = iota // between two requests
	phaseHead                 // part of a head has come, or nothing yet since the accept
	phaseBody                 // a body is coming in
	phaseHandler              // a handler has not begun its answer
	phaseWrite                // the client has not taken what was sent
	phaseLinger               // waiting for the peer to close
	phaseStream               // a handler is producing; nothing is due from the client
	phaseNew                  // accepted, no deadline set yet: a refusal in the very first turn lingers with one too
)

// A conn is one open connection. Only the loop touches it. An idle one keeps no buffer: what it needs while it is active hangs on
// pointers that are nil between exchanges.
type conn struct {
	timer     netcore.Timer
	fd        int32
	serial    uint32
	flags     flags
	phase     phase
	role      role
	stage     uint8 // of the listener's prefaces
	periods   uint8 // of a lingering close
	why       closeReason
	interest  netcore.Readiness
	listener  *listener
	transport transport
	peer      netip.AddrPort

	pipeline pipeline
	current  *exchange // whose head or body is coming in; nil between requests
	receiver *receiver // of the body that is coming in; nil without one
	in       []byte    // bytes received and not parsed; nil when there are none
	out      *output   // what is to be sent; nil when there is nothing

	exchanges uint32 // begun
	received  uint64 // bytes
	sent      uint64 // bytes
	queued    uint64 // bytes, sent or not
	mark      uint64 // counter of bytes when the period of the deadline began
}

func (c *conn) has(f flags) bool { return c.flags&f != 0 }
func (c *conn) set(f flags)      { c.flags |= f }
func (c *conn) unset(f flags)    { c.flags &^= f }

// busy reports whether an exchange has begun and is not over.
func (c *conn) busy() bool {
	return c.current != nil || c.receiver != nil || !c.pipeline.empty() || c.out != nil
}

// partial reports whether what was received can only be gone on with when more has come: a part of a preface, or of a head.
func (c *conn) partial() bool {
	return c.receiver == nil && (c.current != nil || int(c.stage) < len(c.listener.prefaces))
}
