package middleware

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
)

// compressAtOnce is up to which length, in bytes, content in memory is compressed whole, by the handler's worker: its Content-Length is
// known then. Longer content is compressed as the client takes it.
const compressAtOnce = 256 << 10

// A negotiation is what one request wants of a compressor, and what comes of it.
type negotiation struct {
	c        *compressor
	coding   coding.Coding // that the client likes best; identity: none
	plain    bool          // content without a coding is acceptable
	head     bool          // HEAD: the header is that of GET, and nothing follows
	safe     bool          // GET or HEAD
	tags     string        // If-None-Match of a GET or HEAD, as received
	onLoop   bool          // nothing is compressed here and now
	returned bool          // the handler has, so that a stream is whole
	coded    bool          // the response is
}

func (c *compressor) negotiate(r *web.Request) *negotiation {
	n := &negotiation{c: c, head: r.Method == "HEAD", safe: r.Method == "GET" || r.Method == "HEAD"}
	n.coding, n.plain = coding.Read(&r.Header).Best(c.offered)
	if r.Header.Has("Range") {
		n.coding, n.plain = coding.Identity, true // a range is one of the content without a coding (RFC 9110, 14.2)
	}
	return n
}

// depends reports whether the coding of a response with this status and header depends on what the client accepts. length is that of the
// content, -1 when it is unknown.
func (n *negotiation) depends(status int, h *web.Header, contentType string, length int64) bool {
	if h.Has("Content-Encoding") || h.HasToken("Cache-Control", "no-transform") {
		return false
	}
	t := coding.MediaType(contentType)
	switch {
	case status == http.StatusNoContent, status == http.StatusResetContent:
		return false
	case status == http.StatusNotModified, status == http.StatusPartialContent: // of what would have been a 200
		return t == "" || t == "multipart/byteranges" || coding.Worth(t, n.c.types)
	case h.Has("Content-Range"):
		return false
	case !n.plain:
		return length != 0
	}
	return coding.Worth(t, n.c.types) && (length < 0 || length >= n.c.minBytes)
}

// uncoded reports whether a response with this status has no content of its own that could be compressed.
func uncoded(status int) bool {
	return status == http.StatusNotModified || status == http.StatusPartialContent
}

// finish changes the complete response that the handler has left.
func (n *negotiation) finish(w *web.Response) {
	o := web.OutcomeOf(w)
	switch o.Kind {
	case web.BodyDetached:
		return
	case web.BodyFixed:
		if n.finishFixed(w, o.Fixed) {
			return
		}
		unpack(w, o.Fixed)
	case web.BodyFile:
		header := fieldsOf(o.Lines)
		addAll(w.Header(), &header)
		o.Lines = nil
	}
	h := w.Header()
	contentType, length := n.describe(w, o)
	if !n.depends(o.Status, h, contentType, length) {
		return
	}
	coding.Vary(h)
	if uncoded(o.Status) {
		n.notModified(o.Status, h)
		return
	}
	if n.coding == coding.Identity || length < 0 && o.Kind == web.BodyNone {
		return
	}
	n.compress(w, o, contentType, length)
}

// describe returns type and length of the content as the server would tell them; the length is -1 when it is unknown.
func (n *negotiation) describe(w *web.Response, o *web.Outcome) (contentType string, length int64) {
	h := w.Header()
	contentType = h.Get("Content-Type")
	switch o.Kind {
	case web.BodyText:
		if length = int64(len(o.Text)); !h.Has("Content-Type") {
			contentType = "text/plain; charset=utf-8"
		}
	case web.BodyBytes, web.BodyCollected:
		if length = int64(len(o.Bytes)); length > 0 && !h.Has("Content-Type") {
			contentType = http.DetectContentType(o.Bytes)
		}
	case web.BodyFile, web.BodyReader:
		length = o.Length
	}
	if length == 0 && n.head {
		length = declaredLength(h)
	}
	return contentType, length
}

// compress replaces the content by a compressed one.
func (n *negotiation) compress(w *web.Response, o *web.Outcome, contentType string, length int64) {
	var content []byte // what is in memory; collected bytes are the response's, which lives until the last has left
	switch o.Kind {
	case web.BodyText:
		content = []byte(o.Text) // on the loop, a text may be part of the connection's buffer
	case web.BodyBytes, web.BodyCollected:
		content = o.Bytes
	case web.BodyFile:
		if length > n.c.maxFile {
			return
		}
	}
	if content != nil && length <= compressAtOnce && !n.onLoop {
		packed := n.c.encoders.Pack(n.coding, content)
		if len(packed) >= len(content) && n.plain {
			return
		}
		n.apply(w, contentType)
		w.SendBytes(packed)
		return
	}
	if !n.c.encoders.Reserve() {
		return
	}
	source := &packer{encoders: n.c.encoders, coding: n.coding}
	switch o.Kind {
	case web.BodyFile:
		source.file, source.at, source.left = o.File, o.Offset, o.Length
		o.File = nil // source releases it
	case web.BodyReader:
		source.reader, source.left = o.Reader, o.Length
		o.Reader = nil
	default:
		source.reader, source.left = strings.NewReader(""), -1
		if content != nil {
			source.memory(content)
		}
	}
	n.apply(w, contentType)
	w.SendReader(source, -1)
}

// apply makes the header that of the coded response.
func (n *negotiation) apply(w *web.Response, contentType string) {
	h := w.Header()
	if !h.Has("Content-Type") {
		h.Set("Content-Type", contentType) // the first bytes do not tell it any more
	}
	encodeHeader(h, n.coding)
	coding.DropDigests(w.Trailer())
	n.coded = true
}

// filter looks at a response that turns into a stream.
func (n *negotiation) filter(w *web.Response) func(web.StreamWriter) web.StreamWriter {
	h := w.Header()
	contentType, declared := h.Get("Content-Type"), declaredLength(h)
	if !n.depends(w.Status(), h, contentType, declared) {
		return nil
	}
	coding.Vary(h)
	switch {
	case uncoded(w.Status()):
		n.notModified(w.Status(), h)
		return nil
	case n.coding == coding.Identity, n.onLoop:
		return nil
	case n.head:
		n.apply(w, contentType)
		return nil
	case !n.c.encoders.Reserve():
		return nil
	}
	n.apply(w, contentType)
	return func(next web.StreamWriter) web.StreamWriter {
		return &station{negotiation: n, encoder: n.c.encoders.Get(n.coding, next), next: next, left: declared}
	}
}

// A station compresses a stream.
type station struct {
	*negotiation
	encoder *coding.Encoder // nil: closed
	next    web.StreamWriter
	left    int64 // bytes to come of the Content-Length that the handler has declared, -1: any number
}

var (
	errTooLong  = errors.New("more was written than the Content-Length that the handler has set")
	errTooShort = errors.New("less was written than the Content-Length that the handler has set")
)

// Write implements web.StreamWriter.
func (s *station) Write(p []byte) (int, error) {
	if s.encoder == nil {
		return 0, io.ErrClosedPipe
	}
	if s.left < 0 {
		return s.encoder.Write(p)
	}
	fits := p[:min(int64(len(p)), s.left)]
	n, err := s.encoder.Write(fits)
	s.left -= int64(n)
	switch {
	case err != nil:
		s.left = -1 // the client has gone: nobody takes the part for the whole
	case len(fits) < len(p):
		err = errTooLong
	}
	return n, err
}

// Flush implements web.StreamWriter.
func (s *station) Flush() error {
	if s.encoder == nil {
		return io.ErrClosedPipe
	}
	if err := s.encoder.Flush(); err != nil {
		return err
	}
	return s.next.Flush()
}

// Close implements web.StreamWriter. A stream whose handler has panicked, or has written less than it has declared, stays without its
// end: the part must not look like the whole.
func (s *station) Close() (err error) {
	if s.encoder == nil {
		return nil
	}
	switch {
	case s.returned && s.left > 0:
		err = errTooShort
	case s.returned:
		err = s.encoder.Close()
	}
	s.c.encoders.Put(s.coding, s.encoder)
	s.c.encoders.Free()
	s.encoder = nil
	return err
}

// declaredLength returns the Content-Length that a handler has set, or -1.
func declaredLength(h *web.Header) int64 {
	value := h.Get("Content-Length")
	length, err := strconv.ParseInt(value, 10, 64)
	if err != nil || length < 0 || value[0] == '+' {
		return -1
	}
	return length
}
