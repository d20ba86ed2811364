package child

// prefaceResult is what a preface stage says of the bytes that it was shown.
type prefaceResult uint8

const (
	prefaceDone    prefaceResult = iota // the stage has taken its bytes; the next one follows
	prefacePartial                      // the stage needs more bytes
	prefaceRefused                      // these bytes are no preface; the connection is closed
)

// A preface is a stage that a new connection passes before its first request is parsed: the PROXY protocol, the TLS handshake, the
// choice of a protocol. Stages run in order, on the loop, and are shown all bytes that have arrived and were not taken.
type preface interface {
	// advance looks at data and returns how many bytes it has taken. It may replace c.transport and c.peer.
	advance(c *conn, data []byte) (taken int, result prefaceResult)
}

// prefaces runs the listener's remaining stages over data and returns what is left for the parser.
func (l *loop) prefaces(c *conn, data []byte) (rest []byte, ready bool) {
	stages := c.listener.prefaces
	for int(c.stage) < len(stages) {
		taken, result := stages[c.stage].advance(c, data)
		data = data[taken:]
		switch result {
		case prefaceDone:
			c.stage++
		case prefacePartial:
			return data, false
		case prefaceRefused:
			l.close(c, reasonRefused)
			return nil, false
		}
	}
	return data, true
}
