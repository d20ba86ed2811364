package child

import (
	"bytes"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
)

// encode puts the response of the pipeline's head behind what c has to send, and moves the exchange on.
func (l *loop) encode(c *conn, ex *exchange) {
	o := web.OutcomeOf(&ex.resp)
	first := c.queued
	tail := l.tail(c)
	closing := false
	tail = l.appendStatus(tail, o.Status)
	fixed := o.Kind == web.BodyFixed
	typed, announced := false, false
	if fixed {
		tail = append(tail, o.Fixed.Fields...)
		typed = ex.resp.Header().Len() > 0 && hasField(o.Fixed.Fields, "Content-Type")
	}
	if o.Kind == web.BodyFile {
		tail = append(tail, o.Lines...)
		typed = ex.resp.Header().Has("Content-Type") && hasField(o.Lines, "Content-Type")
	}
	tail, closing, announced = appendFields(tail, ex.resp.Header(), typed)

	length, frame := l.frame(ex, o)
	chunked := false // a body that is here as a whole, because trailers follow
	if ex.minor > 0 && frame == framingLength && (announced || ex.resp.Trailer().Len() > 0) && !fixed && o.Status != 205 {
		frame, chunked = framingChunked, o.Kind != web.BodyReader
	}
	switch frame {
	case framingLength:
		if !fixed {
			tail = http1.AppendContentLength(tail, length)
			tail = l.appendType(tail, ex, o)
		}
	case framingChunked:
		tail = append(l.appendType(tail, ex, o), "Transfer-Encoding: chunked\r\n"...)
		if announced || ex.resp.Trailer().Len() > 0 {
			tail = appendAnnouncement(tail, &ex.resp)
		}
	}
	tail = l.appendConnection(c, ex, tail, closing, frame)
	if chunked && !ex.head {
		tail = http1.AppendChunkSize(tail, int(length))
	}

	if frame == framingNone || ex.head || o.Status == 205 {
		l.putTail(c, tail)
		l.discard(ex)
		l.encoded(c, ex, first)
		return
	}
	switch o.Kind {
	case web.BodyBytes, web.BodyCollected:
		l.putBody(c, tail, o.Bytes, o.Kind == web.BodyBytes)
	case web.BodyFixed:
		l.putBody(c, tail, o.Fixed.Body, true)
	case web.BodyText:
		tail = append(tail, o.Text...)
		l.putTail(c, tail)
	case web.BodyFile:
		l.putTail(c, tail)
		if o.Length == 0 { // nothing would follow the head, which is held back for what follows
			l.discard(ex)
			break
		}
		file := o.File
		o.File = nil
		l.sendFile(c, file, o.Offset, o.Length)
	case web.BodyReader:
		l.putTail(c, tail)
		ex.reader = &pull{ex: ex, source: o.Reader, left: o.Length}
		ex.reader.job.Task = ex.reader
		ex.frame = frame
		o.Reader = nil
		ex.first = first
		l.pullMore(c, ex)
		return // goes on in pulled
	default:
		l.putTail(c, tail)
	}
	if chunked {
		tail = l.tail(c)
		if length > 0 {
			tail = http1.AppendEnd(tail)
		}
		l.putTail(c, http1.AppendLastChunk(tail, ex.resp.Trailer()))
	}
	ex.bodySent = length
	l.encoded(c, ex, first)
}

// putBody appends a small body to the head, and queues a large one as it is.
func (l *loop) putBody(c *conn, tail, body []byte, stable bool) {
	if len(body) <= copyMax {
		l.putTail(c, append(tail, body...))
		return
	}
	l.putTail(c, tail)
	if !stable { // the collected bytes are the exchange's memory, which lives until they have left
		body = body[:len(body):len(body)]
	}
	l.sendMemory(c, body)
}

// frame says how the body of a complete response is delimited, and how long it is.
func (l *loop) frame(ex *exchange, o *web.Outcome) (int64, framing) {
	if !http1.BodyAllowed(o.Status) {
		return 0, framingNone
	}
	if o.Status == 205 {
		return 0, framingLength // RFC 9110, 15.3.6: no content, and that has to be said
	}
	var length int64
	switch o.Kind {
	case web.BodyBytes, web.BodyCollected:
		length = int64(len(o.Bytes))
	case web.BodyText:
		length = int64(len(o.Text))
	case web.BodyFixed:
		length = int64(len(o.Fixed.Body))
	case web.BodyFile:
		length = o.Length
	case web.BodyReader:
		length = o.Length
		if length < 0 {
			if ex.minor == 0 {
				return 0, framingClose
			}
			return 0, framingChunked
		}
	}
	if ex.head && length == 0 {
		if declared := declaredLength(ex.resp.Header()); declared > 0 {
			length = declared // a HEAD answered by a handler that knows the length of its GET
		}
	}
	return length, framingLength
}

// appendStatus begins a response: status line, Server and Date.
func (l *loop) appendStatus(dst []byte, status int) []byte {
	if l.dateAt != l.second {
		l.freshDate()
	}
	if status == 200 {
		return append(dst, l.begin200...)
	}
	dst = http1.AppendStatusLine(dst, status)
	return append(dst, l.date...)
}

// appendFields encodes a handler's header. The fields that only the server writes are left out, and so is what HTTP does not allow, an
// empty Content-Type, and any if typed. announced: there is a Trailer field, which appendAnnouncement writes where trailers may follow.
func appendFields(dst []byte, h *web.Header, typed bool) (out []byte, closing, announced bool) {
	for i := range h.Len() {
		f := h.At(i)
		if web.ServerField(f.Name) {
			if len(f.Name) == len("Connection") && strings.EqualFold(f.Name, "Connection") && http1.HasToken([]byte(f.Value), "close") {
				closing = true
			}
			continue
		}
		switch len(f.Name) {
		case len("Upgrade"): // and of Trailer
			if strings.EqualFold(f.Name, "Trailer") {
				announced = true
				continue
			}
			if strings.EqualFold(f.Name, "Upgrade") {
				dst = append(dst, "Connection: upgrade\r\n"...) // RFC 9110, 7.8: who sends the one must send the other
			}
		case len("Content-Type"):
			if (typed || f.Value == "") && strings.EqualFold(f.Name, "Content-Type") {
				continue
			}
		}
		dst, _ = http1.AppendField(dst, f.Name, f.Value)
	}
	return dst, closing, announced
}

// appendAnnouncement says which trailers follow: as the handler says, or else those that are there.
func appendAnnouncement(dst []byte, w *web.Response) []byte {
	announced := false
	for name, value := range w.Header().All() {
		if len(name) == len("Trailer") && strings.EqualFold(name, "Trailer") {
			dst, announced = http1.AppendField(dst, "Trailer", value)
		}
	}
	if announced {
		return dst
	}
	return http1.AppendTrailerNames(dst, w.Trailer())
}

// hasField reports whether encoded field lines have one called name.
func hasField(lines []byte, name string) bool {
	for len(lines) > len(name) {
		if lines[len(name)] == ':' && http1.EqualFold(lines[:len(name)], name) {
			return true
		}
		_, lines, _ = bytes.Cut(lines, []byte("\r\n"))
	}
	return false
}

// appendType adds the Content-Type of a body whose handler has set none.
func (l *loop) appendType(dst []byte, ex *exchange, o *web.Outcome) []byte {
	switch {
	case o.Kind == web.BodyText && len(o.Text) > 0:
		if !ex.resp.Header().Has("Content-Type") {
			dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\n"...)
		}
	case (o.Kind == web.BodyCollected || o.Kind == web.BodyBytes) && len(o.Bytes) > 0:
		if !ex.resp.Header().Has("Content-Type") && !ex.resp.Header().Has("Content-Encoding") {
			dst, _ = http1.AppendField(dst, "Content-Type", http.DetectContentType(o.Bytes))
		}
	}
	return dst
}

// appendConnection ends the head, and decides whether the connection goes on.
func (l *loop) appendConnection(c *conn, ex *exchange, dst []byte, closing bool, frame framing) []byte {
	untilClose := frame == framingClose && !ex.head
	if untilClose {
		c.set(flagUntilClose)
	}
	closing = closing || untilClose
	// The body that is coming in belongs to the last request: the answers before it do not close.
	unread := c.pipeline.depth() == 1 && c.receiver != nil && c.receiver.ex == nil && !c.receiver.worthReading(ex)
	// A body that was not asked for may come or not, now that the answer does: it could not be told from a next request.
	unread = unread || ex.expected && c.receiver != nil && c.receiver.ex == ex
	last := c.pipeline.depth() == 1 && (l.leaving(c) && !l.willBeGivable(c) || c.has(flagNoMore|flagEOF))
	if (closing || !ex.keepAlive) && c.pipeline.depth() > 1 && !untilClose {
		// The requests behind it have begun: they are answered, and the last of them closes.
		if c.why == reasonNone {
			l.stopParsing(c, reasonServerClose)
		}
		c.set(flagNoMore | flagLinger)
		return append(dst, "\r\n"...)
	}
	if ex.keepAlive && !closing && !unread && !last {
		if ex.minor == 0 {
			dst = append(dst, "Connection: keep-alive\r\n"...)
		}
		return append(dst, "\r\n"...)
	}
	c.set(flagLast)
	switch {
	case c.why != reasonNone: // decided before
	case unread:
		c.why = reasonBodyUnread
		c.set(flagLinger)
	case ex.keepAlive:
		c.why = reasonServerClose
		c.set(flagLinger) // the client may have a request under way
	default:
		c.why = reasonAnswered
	}
	return append(dst, "Connection: close\r\n\r\n"...)
}

// encoded moves ex from pending to sending.
func (l *loop) encoded(c *conn, ex *exchange, first uint64) {
	c.pipeline.encoded()
	ex.first = first
	ex.end = c.queued
	ex.setState(WaitingToSendHead)
	l.reap(c) // of a stream, everything may have left already
}

// releaseFile gives a file back, and outlives a panic of its Release.
func (l *loop) releaseFile(f web.File) {
	defer func() {
		if v := recover(); v != nil {
			l.host.logLine(levelError, "releasing a file panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f.Release()
}

// discard releases what the response of ex holds and will not be sent.
func (l *loop) discard(ex *exchange) {
	o := web.OutcomeOf(&ex.resp)
	if f := o.File; f != nil {
		o.File = nil
		l.releaseFile(f)
	}
	if o.Reader != nil {
		l.closeSource(ex, o.Reader)
		o.Reader = nil
	}
}

// pumpStream sends what the handler of the pipeline's head has streamed so far. It reports whether the response is complete.
func (l *loop) pumpStream(c *conn, ex *exchange) bool {
	s := ex.stream
	if !ex.begun {
		ex.begun = true
		ex.first = c.queued
		tail := l.appendStatus(l.tail(c), s.status)
		tail = append(tail, s.fields...)
		l.putTail(c, l.appendConnection(c, ex, tail, s.close, s.frame))
	}
	data, ended, complete := s.take(l.takeChunk())
	ended = ended && ex.finished
	if len(data) > 0 && !ex.head && s.frame != framingNone {
		l.putPiece(c, s.frame, data)
		ex.bodySent += int64(len(data))
	}
	l.giveChunk(data)
	if !ended {
		return false
	}
	if !complete && !ex.head || ex.aborted { // less than was declared: the close must tell
		l.abort(c)
		return false
	}
	l.endPieces(c, ex, s.frame)
	return true
}

// putPiece appends a piece of a streamed body in its framing.
func (l *loop) putPiece(c *conn, frame framing, data []byte) {
	tail := l.tail(c)
	if frame == framingChunked {
		tail = http1.AppendChunkSize(tail, len(data))
	}
	tail = append(tail, data...)
	if frame == framingChunked {
		tail = append(tail, "\r\n"...)
	}
	l.putTail(c, tail)
}

// endPieces ends a streamed body.
func (l *loop) endPieces(c *conn, ex *exchange, frame framing) {
	if frame == framingChunked && !ex.head {
		l.putTail(c, http1.AppendLastChunk(l.tail(c), ex.resp.Trailer()))
	}
	l.encoded(c, ex, ex.first)
}

// pullMore asks a worker for the next piece of a pulled body.
func (l *loop) pullMore(c *conn, ex *exchange) {
	p := ex.reader
	if p.reading || p.done || p.starved {
		return
	}
	p.reading = true
	l.handed++
	if !ex.route.pool.Submit(&p.job) {
		p.reading = false
		p.starved = true
		l.starve(c)
	}
}

// pulled takes a piece that a worker has read, and ends the response after the last.
func (l *loop) pulled(c *conn, ex *exchange) {
	p := ex.reader
	p.reading = false
	if p.n > 0 {
		l.putPiece(c, ex.frame, p.buf[:p.n])
		ex.bodySent += int64(p.n)
	}
	switch {
	case p.err != nil:
		l.abort(c)
	case p.done:
		ex.reader = nil
		l.endPieces(c, ex, ex.frame)
		l.advance(c)
	}
}
