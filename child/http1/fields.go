package http1

import (
	"bytes"
	"math"
)

// parseField parses the field line buf[start:end], which is not empty and has no CRLF (RFC 9112, 5).
func parseField(buf []byte, start, end int) (FieldSpan, *Error) {
	if buf[start] == ' ' || buf[start] == '\t' {
		// RFC 9112, 2.2 (before the first field) and 5.2 (obs-fold): refused in both places.
		return FieldSpan{}, errFold
	}
	line := buf[start:end]
	colon := 0
	for colon < len(line) && classes[line[colon]]&tokenChar != 0 {
		colon++
	}
	// RFC 9112, 5.1: whitespace between name and colon is refused with 400.
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return FieldSpan{}, errFieldName
	}
	from, to := start+colon+1, end
	for from < to && (buf[from] == ' ' || buf[from] == '\t') {
		from++
	}
	for to > from && (buf[to-1] == ' ' || buf[to-1] == '\t') {
		to--
	}
	if !validValue(buf[from:to]) {
		return FieldSpan{}, errFieldValue // RFC 9110, 5.5
	}
	return FieldSpan{Name: span(start, start+colon), Value: span(from, to)}, nil
}

// addField parses the field line from p.line to end and notes what it says about framing and connection.
func (p *Parser) addField(buf []byte, end, count int) *Error {
	h := &p.Head
	if len(h.Fields) >= count {
		return errHeaderCount
	}
	field, err := parseField(buf, p.line, end)
	if err != nil {
		return err
	}
	h.Fields = append(h.Fields, field)
	name, value := field.Name.In(buf), field.Value.In(buf)
	switch len(name) {
	case len("Host"):
		if equalFold(name, "Host") {
			return p.noteHost(field.Value, value)
		}
	case len("Expect"):
		if equalFold(name, "Expect") {
			p.noteExpect(value)
		}
	case len("Upgrade"):
		if equalFold(name, "Upgrade") {
			p.noted |= notedUpgrade
		}
	case len("Connection"):
		if equalFold(name, "Connection") {
			p.noteConnection(value)
		}
	case len("Content-Length"):
		if equalFold(name, "Content-Length") {
			return p.noteLength(value)
		}
	case len("Transfer-Encoding"):
		if equalFold(name, "Transfer-Encoding") {
			return p.noteCoding(value)
		}
	}
	return nil
}

// noteHost: RFC 9112, 3.2: more than one Host field, or one with an invalid value, is 400 in every version. It is
// checked even when the target's authority wins.
func (p *Parser) noteHost(at Span, value []byte) *Error {
	if p.noted&notedHost != 0 {
		return errHostRepeated
	}
	p.noted |= notedHost
	if !validAuthority(value, false) {
		return errHost
	}
	if p.Head.Host == (Span{}) { // else the target's authority wins (RFC 9112, 3.2.2)
		p.Head.Host = at
	}
	return nil
}

// noteExpect: RFC 9110, 10.1.1. A list; the value is case-insensitive.
func (p *Parser) noteExpect(value []byte) {
	for more := true; more; {
		var element []byte
		element, value, more = nextElement(value)
		switch {
		case len(element) == 0:
		case !equalFold(element, "100-continue"):
			p.Head.Expect = ExpectUnknown
		case p.Head.Expect == ExpectNone:
			p.Head.Expect = ExpectContinue
		}
	}
}

// noteConnection: RFC 9110, 7.6.1. Options are case-insensitive; those that we do not know name fields, which an
// origin server has no one to hide from.
func (p *Parser) noteConnection(value []byte) {
	for more := true; more; {
		var option []byte
		option, value, more = nextElement(value)
		switch len(option) {
		case len("close"):
			if equalFold(option, "close") {
				p.noted |= notedClose
			}
		case len("upgrade"):
			if equalFold(option, "upgrade") {
				p.noted |= notedUpgradeOption
			}
		case len("keep-alive"):
			if equalFold(option, "keep-alive") {
				p.noted |= notedKeepAlive
			}
		}
	}
}

// noteLength: RFC 9110, 8.6 and RFC 9112, 6.3. A list or a second field of equal values could be mended; we refuse.
func (p *Parser) noteLength(value []byte) *Error {
	if p.noted&notedLength != 0 {
		return errLengthRepeated
	}
	p.noted |= notedLength
	if len(value) == 0 || len(value) > 19 { // 19 digits fit in an uint64
		return errLength
	}
	var n uint64
	for _, c := range value {
		if c < '0' || c > '9' {
			return errLength
		}
		n = n*10 + uint64(c-'0')
	}
	if n > math.MaxInt64 {
		return errLength
	}
	p.Head.ContentLength = int64(n)
	return nil
}

// noteCoding: RFC 9112, 6.1 and 7. The fields join to one list, whose last element must be chunked, which stands only
// once and has no parameters. An empty element is legal in other lists and refused in this one.
func (p *Parser) noteCoding(value []byte) *Error {
	if p.Head.Minor == 0 {
		return errCodingOld // RFC 9112, 6.1: faulty framing
	}
	p.noted |= notedCoding
	for more := true; more; {
		var coding []byte
		coding, value, more = nextElement(value)
		if p.noted&notedChunked != 0 {
			return errChunkedNotLast
		}
		if equalFold(coding, "chunked") {
			p.noted |= notedChunked
			continue
		}
		name, parameters := coding, false
		if i := bytes.IndexByte(coding, ';'); i >= 0 {
			name, parameters = trim(coding[:i]), true
		}
		if !validToken(name) || parameters && equalFold(name, "chunked") {
			return errCoding
		}
		p.noted |= notedOtherCoding
	}
	return nil
}

// finish checks what only the whole head can tell.
func (p *Parser) finish() *Error {
	h, noted := &p.Head, p.noted
	if noted&notedHost == 0 && h.Minor > 0 {
		return errNoHost // RFC 9112, 3.2, in absolute-form too
	}
	if noted&notedCoding != 0 {
		switch {
		case noted&notedLength != 0:
			return errLengthAndCoding // RFC 9112, 6.1: may be an attempt at smuggling
		case noted&notedChunked == 0:
			return errChunkedNotLast // RFC 9112, 6.3, item 4: the length cannot be known
		case noted&notedOtherCoding != 0:
			return errCodingUnknown // RFC 9112, 6.1
		}
		h.Chunked = true
	}
	if noted&notedLength == 0 {
		h.ContentLength = -1
	}
	// RFC 9112, 9.3
	h.KeepAlive = noted&notedClose == 0 && (h.Minor > 0 || noted&notedKeepAlive != 0)
	// RFC 9110, 7.8: ignored in HTTP/1.0, and it must be named as a connection option.
	h.Upgrade = h.Minor > 0 && noted&notedUpgrade != 0 && noted&notedUpgradeOption != 0
	if h.Minor == 0 {
		h.Expect = ExpectNone // RFC 9110, 10.1.1
	}
	return nil
}

// nextElement cuts the first element off a comma-separated list (RFC 9110, 5.6.1), without the whitespace around it.
func nextElement(list []byte) (element, rest []byte, more bool) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:], true
	}
	return trim(list), nil, false
}
