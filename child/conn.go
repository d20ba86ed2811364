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
	flagUntilClose                   // the end of the connection is the end of a body (HTTP/1.0 without a length)
	flagTouched                      // in the list of connections that the queue was about
	flagProbed                       // the client was asked whether it is there
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
	phaseSilent               // nothing is under way and the connection is to go: a request that crosses that is still answered
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
	periods   uint8 // of a lingering close
	why       closeReason
	interest  netcore.Readiness
	marks     handoffMarks
	listener  *listener
	transport transport
	peer      netip.AddrPort // of the socket
	entry     *entry         // nil for most: the socket tells everything

	pipeline pipeline
	current  *exchange // whose head or body is coming in; nil between requests
	receiver *receiver // of the body that is coming in; nil without one
	in       []byte    // bytes received and not parsed; nil when there are none
	out      *output   // what is to be sent; nil when there is nothing
	push     *push     // the response that goes on after its handler; nil without one

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
	return c.current != nil || c.receiver != nil || !c.pipeline.empty() || c.out != nil || c.push != nil
}

// answering reports whether a response has begun and is not yet encoded to its end.
func (c *conn) answering() bool { return c.push != nil || c.pipeline.answering() }

// cut reports whether the body that only the end of the connection ends has not left as a whole.
func (c *conn) cut() bool {
	return c.has(flagUntilClose) && (c.why == reasonAborted || c.out != nil || c.answering())
}

// partial reports whether what was received can only be gone on with when more has come: a part of a preface, or of a head.
func (c *conn) partial() bool {
	return c.receiver == nil && (c.current != nil || c.waiting())
}
