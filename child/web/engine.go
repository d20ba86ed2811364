package web

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// This file is the seam between handlers and the server that runs them; handlers have no use for it.

// Engine is what a server does for an exchange while its handler runs. Its methods are called by the handler's goroutine.
type Engine interface {
	// Context returns the exchange's context.
	Context() context.Context
	// Addrs returns both ends of the connection itself, zero for a unix socket: peer is the client, or the proxy before it.
	Addrs() (local, peer netip.AddrPort)
	// Inform sends an informational response (1xx but 101), before the head. It does not wait.
	Inform(status int, h *Header) error
	// SetDeadlines bounds how long reading the body and writing the response may take, instead of the server's limits. nil: as it was;
	// the zero time: no bound.
	SetDeadlines(read, write *time.Time) error
	// Stream sends the head of w and lets Write follow.
	Stream(w *Response) error
	// Write adds p to the streamed body and waits while too much is unsent.
	Write(p []byte) (int, error)
	// Flush asks for what was written to be sent now.
	Flush() error
	// Push sends the head of w and lets the handler return while the response goes on.
	Push(w *Response) (Pusher, error)
	// Detach takes the connection out of the server.
	Detach() (net.Conn, []byte, error)
}

// A Pusher is the server's end of a PushStream. Its methods may be called by any goroutine and never wait.
type Pusher interface {
	// Push queues p, which it copies: all of it or nothing.
	Push(p []byte) error
	// Close ends the response.
	Close() error
	// Done is closed when the response is over, by Close or by the client.
	Done() <-chan struct{}
	// Draining is closed when the server begins to drain.
	Draining() <-chan struct{}
}

// BodyKind says which field of an Outcome holds the body.
type BodyKind uint8

// The kinds of body, one for each way of Response to set one.
const (
	BodyNone      BodyKind = iota
	BodyCollected          // Collected, or streamed
	BodyBytes              // Bytes
	BodyText               // Text
	BodyFixed              // Fixed
	BodyFile               // File, Offset, Length
	BodyReader             // Reader, Length
	BodyDetached           // the connection belongs to the handler
)

// An Outcome is what a handler has left in a Response.
type Outcome struct {
	Status int
	Kind   BodyKind
	Bytes  []byte
	Text   string
	Fixed  *Fixed
	File   File
	Lines  []byte // field lines of a BodyFile, encoded, that come before those of the header
	Offset int64
	Length int64 // of File, or of Reader (-1: unknown)
	Reader io.Reader
}

// OutcomeOf returns what the handler has left in w. For BodyCollected, Bytes holds what was collected; of a Fixed the status is its own.
func OutcomeOf(w *Response) *Outcome {
	switch w.outcome.Kind {
	case BodyCollected:
		w.outcome.Bytes = w.buf
	case BodyFixed:
		w.outcome.Status = w.outcome.Fixed.Status // its fields were encoded for this one
	}
	return &w.outcome
}

// Begin makes w an empty 200 of the exchange of e. Memory is kept.
func Begin(w *Response, e Engine) {
	w.outcome = Outcome{Status: 200}
	w.header.Reset()
	w.trailer.Reset()
	w.engine = e
	w.buf = w.buf[:0]
	w.stream = false
	w.filters, w.stations, w.content = w.filters[:0], nil, nil
}

// idleBuffer is the largest buffer that a response keeps while it is not in use, in bytes.
const idleBuffer = 4 << 10

// Rest is called before w lies idle: the buffer of an unusually long answer is not kept.
func Rest(w *Response) {
	if cap(w.buf) > idleBuffer {
		w.buf = nil
	}
}

// Retry empties w for another answer, if nothing has been sent: what a server does after a panic.
func Retry(w *Response) bool {
	if w.stream {
		return false
	}
	w.release()
	Begin(w, w.engine)
	return true
}

// Accept empties r for the next request of the exchange of e. Memory is kept.
func Accept(r *Request, e Engine) {
	r.Header.Reset()
	r.Body = Body{length: 0}
	r.params = r.params[:0]
	r.forget()
	r.engine = e
}

// AddField appends a received field line.
func AddField(r *Request, name, value string) {
	r.Header.fields = append(r.Header.fields, Field{Name: name, Value: value})
}

// SetParams sets what PathValue returns; params is copied.
func SetParams(r *Request, params []Param) { r.params = append(r.params[:0], params...) }

// SetPattern sets what Pattern returns.
func SetPattern(r *Request, p *Pattern) { r.pattern = p }

// SetRelayed says that a trusted proxy has sent r. One that only passes bytes on, behind a PROXY header, has not.
func SetRelayed(r *Request) { r.relayed = true }

// SetUnknownClient says that RemoteAddr is a proxy's: what it tells of the client contradicts itself, or is hidden.
func SetUnknownClient(r *Request) { r.unknown = true }

// UnknownClient reports whether RemoteAddr is that of a trusted proxy, since the client's is not known: a rule for addresses must not take
// the one for the other.
func UnknownClient(r *Request) bool { return r.unknown }

// Relayed reports whether a trusted proxy has sent r, so that what proxies write into the header is its word and not the client's.
func Relayed(r *Request) bool { return r.relayed }

// SetBody sets the content: bytes that are here, then what stream yields (nil: nothing). length is the announced length, -1 for chunked.
func SetBody(r *Request, length int64, bytes []byte, stream io.Reader) {
	r.Body.length, r.Body.bytes, r.Body.stream, r.Body.failed = length, bytes, stream, nil
}

// AddTrailer appends a trailer field of the request's body.
func AddTrailer(r *Request, name, value string) { r.Body.trailer.Add(name, value) }

// A Fixed is a response that was encoded beforehand and is the same for every request. It is immutable and may be shared by all
// goroutines.
type Fixed struct {
	Status int
	Fields []byte // encoded field lines with their CRLF, Content-Length included, without Date and Connection
	Body   []byte
}

// EncodeFields encodes the field lines of h for SendFileLines. Fields that HTTP does not allow are left out, and those that only the server
// writes.
func EncodeFields(h *Header) []byte { return appendFields(nil, h) }

// appendFields encodes what a handler may set.
func appendFields(b []byte, h *Header) []byte {
	for i := range h.fields {
		name, value := h.fields[i].Name, h.fields[i].Value
		if !validName(name) || !validValue(value) || serverField(name) || value == "" && equalFold(name, "Content-Type") {
			continue
		}
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, "\r\n"...)
	}
	return b
}

// NewFixed encodes a response. Fields with a name or value that HTTP does not allow are left out.
func NewFixed(status int, header *Header, body []byte) *Fixed {
	if status == 205 { // RFC 9110, 15.3.6: no content
		body = nil
	}
	f := &Fixed{Status: status, Body: body}
	f.Fields = appendFields(f.Fields, header)
	if status >= 200 && status != 204 && status != 304 {
		f.Fields = append(f.Fields, "Content-Length: "...)
		f.Fields = strconv.AppendInt(f.Fields, int64(len(body)), 10)
		f.Fields = append(f.Fields, "\r\n"...)
	}
	return f
}

// serverField reports whether the server alone writes the field.
func serverField(name string) bool {
	switch len(name) {
	case len("Date"):
		return equalFold(name, "Date")
	case len("Server"):
		return equalFold(name, "Server")
	case len("Connection"):
		return equalFold(name, "Connection") || equalFold(name, "Keep-Alive")
	case len("Content-Length"):
		return equalFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return equalFold(name, "Transfer-Encoding")
	}
	return false
}

// ServerField reports whether the server alone writes the field called name, so that a handler's is left out.
func ServerField(name string) bool { return serverField(name) }

func validName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '!' || c == '#' || c == '$' || c == '%' || c == '&' || c == '\'' || c == '*' || c == '+' || c == '-' || c == '.' ||
			c == '^' || c == '_' || c == '`' || c == '|' || c == '~':
		default:
			return false
		}
	}
	return name != ""
}

func validValue(value string) bool {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// ValidFieldName reports whether name is a token (RFC 9110, 5.1).
func ValidFieldName(name string) bool { return validName(name) }

// ValidFieldValue reports whether value can stand in a field line: no control characters but HTAB (RFC 9110, 5.5).
func ValidFieldValue(value string) bool { return validValue(value) }
