package child

import (
	"net/netip"
	"time"
)

// refusedLog is how often refused connections are logged.
const refusedLog = 10 * time.Second

// prefaceResult is what a preface stage says of the bytes that it was shown.
type prefaceResult uint8

const (
	prefaceDone    prefaceResult = iota // the stage has taken its bytes; the next one follows
	prefacePartial                      // the stage needs more bytes
	prefaceRefused                      // these bytes are no preface; the connection is closed
)

// A preface is a stage that a new connection passes before its first request is parsed: the PROXY protocol, the TLS handshake, the
// choice of a protocol. Stages run in order, on the loop, and are shown all bytes that have arrived and were not taken. All of them
// together have limits.head_timeout, as the head that follows.
type preface interface {
	// advance looks at data and returns how many bytes it has taken. It may replace c.transport and write to c.entry.
	advance(c *conn, data []byte) (taken int, result prefaceResult)
}

// An entry is how a connection came in when its socket does not tell everything: the stages that it has yet to pass, and what those
// behind it have found out. It goes wherever the connection goes.
type entry struct {
	stages []preface // of the listener as it was when the connection was accepted: a reload changes them for later ones only

	client, server netip.AddrPort // both ends as a proxy's header has them; zero without one
	hidden         bool           // a proxy relays a client that it has told nothing of: who it is stays unknown
	https          bool           // the client came to the proxy by TLS
}

// waiting reports whether c has yet to pass a preface stage.
func (c *conn) waiting() bool { return c.entry != nil && len(c.entry.stages) > 0 }

// prefaces runs the stages that c has yet to pass over data and returns what is left for the parser.
func (l *loop) prefaces(c *conn, data []byte) (rest []byte, ready bool) {
	for c.waiting() {
		taken, result := c.entry.stages[0].advance(c, data)
		data = data[taken:]
		switch result {
		case prefaceDone:
			c.entry.stages = c.entry.stages[1:]
		case prefacePartial:
			return data, false
		case prefaceRefused:
			l.turnAway(c, reasonRefused, "a connection was closed: it does not begin with a PROXY header, as proxy_protocol wants")
			return nil, false
		}
	}
	return data, true
}

// turnAway closes a connection before its first request. The operator cannot see why from an answer, so it is logged now and then.
func (l *loop) turnAway(c *conn, why closeReason, message string) {
	if l.now-l.refusedLogged > int64(refusedLog) || l.refusedLogged == 0 {
		l.refusedLogged = l.now
		l.host.logLine(levelWarn, message, "peer", string(appendClient(nil, c.peer.Addr())), "listener", c.listener.name)
	}
	l.close(c, why)
}
