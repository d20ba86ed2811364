package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// Live connections move from one process to another on a handoff channel: a socketpair(AF_UNIX, SOCK_SEQPACKET) of which a master has given
// one end to the child that gives and the other to the child that takes. No master stands in between: the move goes on when one dies. The
// frames are those of every channel of this package. PROTOCOL.md has the procedure.

// Give asks a child to give connections on which nothing goes on to others. Files: the giver's ends of one or more handoff channels; the
// connections are spread over them. Answer: Gave.
type Give struct {
	// ID is the master's, for the answer.
	ID uint64 `json:"id"`
	// Count is how many connections to give at most.
	Count int `json:"count"`
	// Listeners are those whose connections may be given: the numbers that the takers' configuration has.
	Listeners []uint32 `json:"listeners"`
}

// Take gives a child the taker's end of a handoff channel (file). It takes what comes until the channel ends. No answer: a child that cannot
// use the channel closes it.
type Take struct{}

// Gave answers Give.
type Gave struct {
	ID uint64 `json:"id"`
	// Count is how many connections have moved: their takers have acknowledged them.
	Count int `json:"count"`
	// Broken is why channels ended before their time; "": none did.
	Broken string `json:"broken,omitempty"`
}

// Connections hands connections over: one file for each, in the order of the records. Its body is not JSON. Answer: Held or NotHeld; until
// it has come the giver keeps its own descriptors and does not touch the sockets.
type Connections struct {
	// Sequence counts the sender's Connections messages on a channel, from 1.
	Sequence uint32
	// Records are as PROTOCOL.md has them.
	Records []Connection
}

// Connection is what the taker cannot learn from the socket.
type Connection struct {
	// Listener is the number of the one that the connection has come in by.
	Listener uint32
	// Peer is the address of the socket's other end, as it was accepted; the zero value for a unix socket.
	Peer netip.AddrPort
	// Preface: the connection has still to pass the listener's preface stages. Otherwise Client and Server are both ends as a PROXY header
	// has named them, Hidden says that it has named none, and HTTPS that the client came to the proxy by TLS.
	Preface        bool
	Client, Server netip.AddrPort
	Hidden, HTTPS  bool
	// Exchanges counts those that have begun, Received and Sent the bytes of the connection so far.
	Exchanges      uint32
	Received, Sent uint64
	// LeftMillis is what is left of the time that the connection may stay without a request, or may take for the head that has begun;
	// negative: it has no bound.
	LeftMillis int64
	// Unread is what was received and belongs to no exchange yet.
	Unread []byte
}

// Unread brings bytes that a connection has received and nobody has understood yet, if they are too many for its record: they go before
// those of the first record of the next Connections. Its body is the bytes, at least one. No answer.
type Unread struct {
	Bytes []byte
}

// Held acknowledges Connections: the taker owns them from now on. It is sent before the taker reads from any of them.
type Held struct {
	Sequence uint32 `json:"sequence"`
}

// NotHeld declines a whole Connections message: the giver goes on with its connections.
type NotHeld struct {
	Sequence uint32 `json:"sequence"`
	Reason   string `json:"reason"`
}

func (*Give) Kind() Kind        { return KindGive }
func (*Take) Kind() Kind        { return KindTake }
func (*Gave) Kind() Kind        { return KindGave }
func (*Connections) Kind() Kind { return KindConnections }
func (*Unread) Kind() Kind      { return KindUnread }
func (*Held) Kind() Kind        { return KindHeld }
func (*NotHeld) Kind() Kind     { return KindNotHeld }

// The body of Connections, little endian:
//
//	size  field
//	   4  sequence
//	   2  count of the records, 1 to MaxFiles
//	then the records, one behind the other:
//	   4  listener
//	   1  flags: preface 1, hidden 2, https 4; others are refused
//	   1  size of the peer's IP address: 0, 4 or 16; 0: no peer, and nothing of the next two
//	      the address
//	   2  its port
//	      client and server, each as the peer
//	   4  exchanges
//	   8  received
//	   8  sent
//	   8  left, in milliseconds; -1: it has no bound
//	   4  size of the unread bytes
//	      the bytes
const (
	flagPreface = 1 << iota
	flagHidden
	flagHTTPS

	// maxLeft is the longest bound of a connection, in milliseconds: in nanoseconds it still is an int64.
	maxLeft = math.MaxInt64 / 1_000_000
)

// ConnectionsSize is how many bytes the body of a Connections has without its records. With the Size of each record it must stay within
// MaxBody.
const ConnectionsSize = 4 + 2

// Size is how many bytes the record has in the body of Connections.
func (c *Connection) Size() int {
	return 4 + 1 + endSize(c.Peer) + endSize(c.Client) + endSize(c.Server) + 4 + 8 + 8 + 8 + 4 + len(c.Unread)
}

func endSize(end netip.AddrPort) int {
	switch {
	case !end.IsValid():
		return 1
	case end.Addr().Is4():
		return 1 + 4 + 2
	}
	return 1 + 16 + 2
}

// contradicts reports whether the fields of c exclude each other: a connection before its preface stages knows nothing of them, and one
// whose client is hidden knows no client.
func (c *Connection) contradicts() bool {
	told := c.Client.IsValid() || c.Server.IsValid()
	return c.Preface && (told || c.Hidden || c.HTTPS) || c.Hidden && told
}

func encodeConnections(m *Connections) ([]byte, error) {
	if len(m.Records) == 0 || len(m.Records) > MaxFiles {
		return nil, fmt.Errorf("%d records", len(m.Records))
	}
	size := ConnectionsSize
	for i := range m.Records {
		size += m.Records[i].Size()
	}
	if size > MaxBody { // as any other body that is too long, but without writing it
		return nil, fmt.Errorf("%d bytes: %w", size, ErrTooLong)
	}
	le := binary.LittleEndian
	b := make([]byte, 0, size)
	b = le.AppendUint32(b, m.Sequence)
	b = le.AppendUint16(b, uint16(len(m.Records)))
	for i := range m.Records {
		c := &m.Records[i]
		if c.contradicts() {
			return nil, fmt.Errorf("record %d contradicts itself", i)
		}
		b = le.AppendUint32(b, c.Listener)
		b = append(b, c.flags())
		b = appendEnd(b, c.Peer)
		b = appendEnd(b, c.Client)
		b = appendEnd(b, c.Server)
		b = le.AppendUint32(b, c.Exchanges)
		b = le.AppendUint64(b, c.Received)
		b = le.AppendUint64(b, c.Sent)
		b = le.AppendUint64(b, uint64(max(-1, min(c.LeftMillis, maxLeft))))
		b = le.AppendUint32(b, uint32(len(c.Unread)))
		b = append(b, c.Unread...)
	}
	return b, nil
}

func (c *Connection) flags() (f byte) {
	if c.Preface {
		f |= flagPreface
	}
	if c.Hidden {
		f |= flagHidden
	}
	if c.HTTPS {
		f |= flagHTTPS
	}
	return f
}

// appendEnd appends an address with its port. A zone does not travel: it means nothing but to who connects.
func appendEnd(b []byte, end netip.AddrPort) []byte {
	if !end.IsValid() {
		return append(b, 0)
	}
	address := end.Addr().AsSlice()
	b = append(b, byte(len(address)))
	b = append(b, address...)
	return binary.LittleEndian.AppendUint16(b, end.Port())
}

var errRecord = errors.New("malformed record of a connection")

// decodeConnections is the inverse of encodeConnections: it takes exactly what that writes. The records share no memory with body.
func decodeConnections(m *Connections, body []byte) error {
	r := reader{rest: body}
	m.Sequence = r.uint32()
	count := int(r.uint16())
	if r.failed || count == 0 || count > MaxFiles {
		return errors.New("malformed head of connections")
	}
	m.Records = make([]Connection, count)
	for i := range m.Records {
		c := &m.Records[i]
		c.Listener = r.uint32()
		flags := r.byte()
		c.Preface, c.Hidden, c.HTTPS = flags&flagPreface != 0, flags&flagHidden != 0, flags&flagHTTPS != 0
		c.Peer, c.Client, c.Server = r.end(), r.end(), r.end()
		c.Exchanges, c.Received, c.Sent = r.uint32(), r.uint64(), r.uint64()
		c.LeftMillis = int64(r.uint64())
		c.Unread = r.bytes(int64(r.uint32()))
		if r.failed || flags&^(flagPreface|flagHidden|flagHTTPS) != 0 || c.LeftMillis < -1 || c.LeftMillis > maxLeft || c.contradicts() {
			return fmt.Errorf("record %d of %d: %w", i, count, errRecord)
		}
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("%d bytes behind the last record", len(r.rest))
	}
	return nil
}

// reader takes fields off the front of rest. Once one is not whole it has failed, and all that follows is zero.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int64) []byte {
	if r.failed || n > int64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// bytes copies n bytes; nil for none.
func (r *reader) bytes(n int64) []byte { return append([]byte(nil), r.take(n)...) }

func (r *reader) end() netip.AddrPort {
	size := r.byte()
	if size != 0 && size != 4 && size != 16 {
		r.failed = true
	}
	if size == 0 || r.failed {
		return netip.AddrPort{}
	}
	address, _ := netip.AddrFromSlice(r.take(int64(size)))
	return netip.AddrPortFrom(address, r.uint16())
}
