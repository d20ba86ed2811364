package http1

import "bytes"

// The flow of Feed:
//
//  1. one empty line is skipped                     (phaseStart)
//  2. the method is read byte by byte               (phaseMethod)
//  3. the request line is parsed when it is whole   (phaseRequestLine)
//  4. each field line is parsed when it is whole    (phaseFields)
//  5. the empty line: what only the whole head can tell is checked (finish)
//
// That the result does not depend on how the input is split rests on two rules. A line is parsed only when it is
// whole, and the checks before that (line end, limits) depend on nothing but the bytes up to the one that breaks them.
// And since a bare CR is refused while its line is still incomplete, it must win over all else that is wrong with the
// same line: see verdict.

type phase uint8

const (
	phaseStart       phase = iota // nothing came, or a part of the one empty line
	phaseMethod                   // the empty line is behind us, or a byte that is not CR came
	phaseRequestLine              // the method is known, the rest of its line is awaited
	phaseFields                   // the request line is known
	phaseDone                     // Head is filled; the next Feed begins a new message
	phaseFailed                   // every Feed returns err
)

// notes are what the field lines said so far.
type notes uint16

const (
	notedHost notes = 1 << iota
	notedLength
	notedCoding      // a Transfer-Encoding field
	notedChunked     // its last coding so far is chunked
	notedOtherCoding // it has another coding too
	notedClose       // connection options
	notedKeepAlive
	notedUpgradeOption
	notedUpgrade // an Upgrade field
)

// Parser parses one request head after the other. The zero value is ready. It holds offsets only, never a pointer
// into the buffer, and allocates only to grow Head.Fields, which it reuses. One goroutine at a time.
type Parser struct {
	Head Head // valid from the Feed that returned n > 0 until the next Feed or Reset

	line   int // start of the line being received
	scan   int // bytes before it have been searched for a line end
	fields int // start of the first field line
	err    *Error
	noted  notes
	phase  phase
}

// Reset makes the parser ready for a new message.
func (p *Parser) Reset() {
	fields := p.Head.Fields[:0]
	*p = Parser{}
	p.Head.Fields = fields
}

// Started reports whether any byte of a request was seen; the empty line that may precede it is not counted.
func (p *Parser) Started() bool {
	return p.phase > phaseMethod || p.phase == phaseMethod && p.scan > p.line
}

// Feed looks at what is new in buf, which begins at the first byte of the message and holds all of it that was
// received so far (it may have moved since the last call). n > 0: the head is complete, has n bytes, and Head is
// filled. n == 0 without an error: more bytes are needed. An error is an *Error, and final. A Feed after a complete
// head begins the next message. lim may be nil.
func (p *Parser) Feed(buf []byte, lim *Limits) (n int, err error) {
	switch p.phase {
	case phaseFailed:
		return 0, p.err
	case phaseDone:
		p.Reset()
	}
	if lim == nil {
		lim = &noLimits
	}
	n, refused := p.advance(buf, lim)
	if refused != nil {
		p.phase, p.err = phaseFailed, refused
		return 0, refused
	}
	return n, nil
}

func (p *Parser) advance(buf []byte, lim *Limits) (n int, err *Error) {
	if p.phase == phaseStart {
		if ready, err := p.skipEmptyLine(buf); !ready {
			return 0, err
		}
	}
	if p.phase == phaseMethod {
		if ready, err := p.readMethod(buf); !ready {
			return 0, err
		}
	}
	if p.phase == phaseRequestLine {
		end, err := p.lineEnd(buf, p.line+orDefault(lim.RequestLine, DefaultRequestLine)+2, errRequestLineLong)
		if end < 0 {
			return 0, err
		}
		if err := p.parseRequestLine(buf[:end]); err != nil {
			return 0, verdict(buf[p.line:end], err)
		}
		p.line, p.scan, p.fields = end+2, end+2, end+2
		p.phase = phaseFields
	}
	window := p.fields + orDefault(lim.HeaderBytes, DefaultHeaderBytes) + 2
	count := orDefault(lim.HeaderCount, DefaultHeaderCount)
	for {
		end, err := p.lineEnd(buf, window, errHeaderBytes)
		if end < 0 {
			return 0, err
		}
		if end == p.line {
			if err := p.finish(); err != nil {
				return 0, err
			}
			p.phase = phaseDone
			return end + 2, nil
		}
		if err := p.addField(buf, end, count); err != nil {
			return 0, verdict(buf[p.line:end], err)
		}
		p.line, p.scan = end+2, end+2
	}
}

// skipEmptyLine skips one CRLF before the request line. RFC 9112, 2.2 wants "at least one" tolerated, for old clients
// that send one after a body; more have no such excuse.
func (p *Parser) skipEmptyLine(buf []byte) (ready bool, err *Error) {
	switch {
	case len(buf) == 0:
		return false, nil
	case buf[0] == '\n':
		return false, errLineEnd
	case buf[0] == '\r':
		if len(buf) < 2 {
			return false, nil
		}
		if buf[1] != '\n' {
			return false, errLineEnd
		}
		p.line, p.scan = 2, 2
	}
	p.phase = phaseMethod
	return true, nil
}

// readMethod reads up to the SP that ends the method, byte by byte, so that what cannot be HTTP (a TLS ClientHello
// on the wrong port) is refused at its first bytes.
func (p *Parser) readMethod(buf []byte) (ready bool, err *Error) {
	for p.scan < len(buf) {
		c := buf[p.scan]
		if classes[c]&tokenChar == 0 {
			if c == ' ' && p.scan > p.line {
				break
			}
			if c == '\r' && p.line > 0 && p.scan == p.line {
				return false, errEmptyLines
			}
			return false, errMethod
		}
		if p.scan-p.line == MaxMethod {
			return false, errMethodTooLong // RFC 9112, 3
		}
		p.scan++
	}
	if p.scan >= len(buf) {
		return false, nil
	}
	p.Head.Method = span(p.line, p.scan)
	p.Head.MethodID = LookupMethod(string(buf[p.line:p.scan])) // before the rest is seen: a refused HEAD is still a HEAD
	p.scan++
	p.phase = phaseRequestLine
	return true, nil
}

// lineEnd gives the offset of the CRLF that ends the present line, or -1 with the reason, nil for more bytes needed.
// The line with its CRLF must end before window, else the error is tooLong. A bare CR or LF is an error as soon as it
// is seen: RFC 9112, 2.2 allows a lone LF as line end and forbids a lone CR, and both are the stuff of smuggling.
func (p *Parser) lineEnd(buf []byte, window int, tooLong *Error) (int, *Error) {
	end := min(len(buf), window)
	if p.scan > end {
		return -1, tooLong // only when the limits shrank within a message
	}
	fresh := buf[p.scan:end]
	if i := bytes.IndexByte(fresh, '\n'); i >= 0 {
		i += p.scan
		if i == p.line || buf[i-1] != '\r' {
			return -1, errLineEnd
		}
		return i - 1, nil
	}
	i := bytes.IndexByte(fresh, '\r')
	if i >= 0 && i < len(fresh)-1 {
		return -1, errLineEnd
	}
	if end == window {
		return -1, tooLong
	}
	p.scan = end
	if i >= 0 {
		p.scan-- // a CR at the very end is looked at again, with its successor
	}
	return -1, nil
}

// verdict gives the error for a whole line that was refused with err: a bare CR in it wins.
func verdict(line []byte, err *Error) *Error {
	if bytes.IndexByte(line, '\r') >= 0 {
		return errLineEnd
	}
	return err
}
