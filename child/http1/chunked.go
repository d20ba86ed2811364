package http1

import "math"

// chunkState says what the next byte may be (RFC 9112, 7.1 and 7.1.1).
//
//	chunk-size [ chunk-ext ] CRLF chunk-data CRLF ... 0 [ chunk-ext ] CRLF trailer-section CRLF
//	chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
type chunkState uint8

const (
	chunkSize       chunkState = iota // a digit; after the first also BWS, ';' or CR
	chunkExtension                    // BWS came: BWS or ';'
	chunkNameStart                    // ';' came: BWS or the name
	chunkName                         // in the name
	chunkNameEnd                      // BWS after the name: BWS, '=' or ';'
	chunkValueStart                   // '=' came: BWS or the value
	chunkValue                        // in a value that is a token
	chunkQuoted                       // in a value that is a quoted-string
	chunkQuotedPair                   // '\' came in it
	chunkQuotedEnd                    // its last '"' came: BWS, ';' or CR
	chunkLineLF                       // the LF of the size line
	chunkData                         // payload
	chunkDataCR                       // the CR after it
	chunkDataLF                       // the LF after it
	chunkTrailer                      // in a trailer line, or at its start
	chunkTrailerLF                    // the LF of a trailer line
	chunkDone                         // the whole body was seen
	chunkFailed                       // every Feed returns err
)

// Chunked decodes a body in the chunked transfer coding. The zero value is ready. It copies nothing but trailer
// fields. One goroutine at a time.
type Chunked struct {
	size       uint64 // of the chunk, or what is left of it
	digits     int    // of the size
	lineBytes  int    // of the size line so far
	extensions int    // bytes of extensions in the whole body so far
	line       int    // start of the present trailer line in trailer
	trailer    []byte // trailer lines, each with its CRLF
	fields     []FieldSpan
	err        *Error
	state      chunkState
}

// Reset makes the decoder ready for a new body.
func (c *Chunked) Reset() { *c = Chunked{trailer: c.trailer[:0], fields: c.fields[:0]} }

// Done reports whether the whole body was seen.
func (c *Chunked) Done() bool { return c.state == chunkDone }

// Trailers gives the trailer fields, as spans of raw, once the body is done. Both are reused after Reset.
func (c *Chunked) Trailers() (raw []byte, fields []FieldSpan) { return c.trailer, c.fields }

// Feed consumes n bytes of src, the next bytes of the body that were not consumed yet. data is the next run of
// payload, a part of src[:n], and may be empty. Call it again with src[n:] until src is exhausted, then with new
// bytes; done: the body and its trailer section are complete, and what follows in src is the next message. An error
// is an *Error, and final; n is then 0. lim may be nil.
func (c *Chunked) Feed(src []byte, lim *Limits) (n int, data []byte, done bool, err error) {
	if lim == nil {
		lim = &noLimits
	}
	for n < len(src) && c.state < chunkDone {
		if c.state == chunkData {
			run := int(min(c.size, uint64(len(src)-n)))
			data = src[n : n+run : n+run]
			if c.size -= uint64(run); c.size == 0 {
				c.state = chunkDataCR
			}
			return n + run, data, false, nil
		}
		if err := c.step(src[n], lim); err != nil {
			c.state, c.err = chunkFailed, err
			break
		}
		n++
	}
	if c.state == chunkFailed {
		return 0, nil, false, c.err
	}
	return n, nil, c.state == chunkDone, nil
}

// step takes one byte that is not payload.
func (c *Chunked) step(b byte, lim *Limits) *Error {
	switch c.state {
	case chunkLineLF:
		if b != '\n' {
			return errLineEnd
		}
		c.beginData()
	case chunkDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return errChunkEnd
		}
		c.state, c.size, c.digits, c.lineBytes = chunkSize, 0, 0, 0
	case chunkTrailer, chunkTrailerLF:
		return c.trailerByte(b, lim)
	default:
		if b == '\n' {
			return errLineEnd
		}
		if b != '\r' {
			if c.lineBytes++; c.lineBytes > orDefault(lim.ChunkLine, DefaultChunkLine) {
				return errChunkLineLong
			}
		}
		if c.state == chunkSize {
			return c.sizeByte(b)
		}
		if c.extensions++; c.extensions > MaxChunkExtensions {
			return errChunkExtensions
		}
		return c.extensionByte(b)
	}
	return nil
}

func (c *Chunked) beginData() {
	c.state = chunkData
	if c.size == 0 { // last-chunk
		c.state = chunkTrailer
	}
}

// sizeByte: 1*HEXDIG, in no more digits than an uint64 has, and within an int64.
func (c *Chunked) sizeByte(b byte) *Error {
	if v := hexValue[b]; v != 0xff {
		if c.digits++; c.digits > 16 {
			return errChunkSizeLarge
		}
		if c.size = c.size<<4 | uint64(v); c.size > math.MaxInt64 {
			return errChunkSizeLarge
		}
		return nil
	}
	if c.digits == 0 {
		return errChunkSize
	}
	switch b {
	case '\r':
		c.state = chunkLineLF
	case ';':
		c.state = chunkNameStart
	case ' ', '\t':
		c.state = chunkExtension
	default:
		return errChunkSize
	}
	return nil
}

// extensionByte walks the grammar of chunk-ext; its content is ignored, as RFC 9112, 7.1.1 demands.
func (c *Chunked) extensionByte(b byte) *Error {
	blank := b == ' ' || b == '\t'
	token := classes[b]&tokenChar != 0
	switch c.state {
	case chunkExtension:
		switch {
		case blank:
			return nil
		case b == ';':
			c.state = chunkNameStart
			return nil
		}
	case chunkNameStart:
		switch {
		case blank:
			return nil
		case token:
			c.state = chunkName
			return nil
		}
	case chunkName:
		switch {
		case token:
			return nil
		case b == '=':
			c.state = chunkValueStart
			return nil
		case blank:
			c.state = chunkNameEnd
			return nil
		default:
			return c.extensionEnd(b)
		}
	case chunkNameEnd:
		switch b {
		case ' ', '\t':
			return nil
		case '=':
			c.state = chunkValueStart
			return nil
		case ';':
			c.state = chunkNameStart
			return nil
		}
	case chunkValueStart:
		switch {
		case blank:
			return nil
		case b == '"':
			c.state = chunkQuoted
			return nil
		case token:
			c.state = chunkValue
			return nil
		}
	case chunkValue:
		switch {
		case token:
			return nil
		case blank:
			c.state = chunkExtension
			return nil
		default:
			return c.extensionEnd(b)
		}
	case chunkQuoted:
		switch {
		case b == '"':
			c.state = chunkQuotedEnd
			return nil
		case b == '\\':
			c.state = chunkQuotedPair
			return nil
		case classes[b]&quotedChar != 0:
			return nil
		}
	case chunkQuotedPair:
		if classes[b]&valueChar != 0 { // RFC 9110, 5.6.4
			c.state = chunkQuoted
			return nil
		}
	case chunkQuotedEnd:
		if blank {
			c.state = chunkExtension
			return nil
		}
		return c.extensionEnd(b)
	}
	return errChunkExtension
}

// extensionEnd: another extension, or the end of the line.
func (c *Chunked) extensionEnd(b byte) *Error {
	switch b {
	case ';':
		c.state = chunkNameStart
	case '\r':
		c.state = chunkLineLF
	default:
		return errChunkExtension
	}
	return nil
}

// trailerByte collects a trailer line and parses it when it is whole (RFC 9112, 7.1.2).
func (c *Chunked) trailerByte(b byte, lim *Limits) *Error {
	switch {
	case c.state == chunkTrailerLF:
		if b != '\n' {
			return errLineEnd
		}
	case b == '\n':
		return errLineEnd
	}
	// The two bytes of the empty line that ends the section are not counted.
	if len(c.trailer) >= orDefault(lim.TrailerBytes, DefaultTrailerBytes)+2 {
		return errTrailerBytes
	}
	c.trailer = append(c.trailer, b)
	if b == '\r' {
		c.state = chunkTrailerLF
		return nil
	}
	if b != '\n' {
		return nil
	}
	c.state = chunkTrailer
	end := len(c.trailer) - 2
	if end == c.line {
		c.trailer = c.trailer[:end]
		c.state = chunkDone
		return nil
	}
	if len(c.fields) >= orDefault(lim.HeaderCount, DefaultHeaderCount) {
		return errTrailerCount
	}
	field, err := parseField(c.trailer, c.line, end)
	if err != nil {
		return err
	}
	if forbiddenTrailer(field.Name.In(c.trailer)) {
		return errTrailerForbidden
	}
	c.fields = append(c.fields, field)
	c.line = len(c.trailer)
	return nil
}
