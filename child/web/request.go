package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"net/url"
	"strings"
)

// A Request is one HTTP request whose head has arrived whole. It belongs to the handler that it was given to until that handler
// returns. Its strings are the request's own memory and may be kept (but see NonBlocking).
type Request struct {
	Method   string // "GET", "POST", … (RFC 9110, 9); case matters
	Target   string // the request target as received (RFC 9112, 3.2)
	Path     string // the target's path, percent-decoded
	RawPath  string // the target's path as received
	RawQuery string // what follows the first '?', without it
	Host     string // host[:port] of the target, else of the Host field (RFC 9110, 7.2)
	Minor    int    // of the protocol version HTTP/1.Minor

	Header Header
	Body   Body

	// RemoteAddr is the client's address; it is the zero AddrPort for a connection over a unix socket.
	RemoteAddr netip.AddrPort

	params []Param
	query  url.Values
	engine Engine
}

// PathValue returns the value of the wildcard called name in the pattern that matched, percent-decoded, or "".
func (r *Request) PathValue(name string) string {
	for i := range r.params {
		if r.params[i].Name == name {
			return r.params[i].Value
		}
	}
	return ""
}

// Query returns the parsed query; malformed pairs are left out. It is parsed once.
func (r *Request) Query() url.Values {
	if r.query == nil {
		r.query, _ = url.ParseQuery(r.RawQuery) // the error only says that pairs were left out
		if r.query == nil {
			r.query = url.Values{}
		}
	}
	return r.query
}

// QueryValue returns the first value of the query parameter name, or "".
func (r *Request) QueryValue(name string) string {
	if r.RawQuery == "" {
		return ""
	}
	return r.Query().Get(name)
}

// Proto returns "HTTP/1.1" or "HTTP/1.0".
func (r *Request) Proto() string {
	if r.Minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// Context is cancelled when the client has gone, when the handler's deadline has passed, and after the handler has returned.
func (r *Request) Context() context.Context {
	if r.engine == nil {
		return context.Background()
	}
	return r.engine.Context()
}

// MediaType returns the type of the body in lower case without parameters, as in "application/json".
func (r *Request) MediaType() string {
	value, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(value))
}

// ErrBodyTooLarge is what reading a body returns once it has passed the limit (limits.body, or the argument of BytesMax).
var ErrBodyTooLarge = errors.New("request body is larger than the limit")

// A Body is the content of a request. Small ones are in memory when the handler starts; larger ones are read from the connection as
// the handler reads, and a handler that does not read stops the client (back-pressure). One goroutine at a time may use it.
type Body struct {
	length  int64
	bytes   []byte    // what has arrived and was not read
	stream  io.Reader // what follows, nil when bytes is all
	trailer Header
	failed  error
}

// Read reads the next bytes of the content; io.EOF after the last.
func (b *Body) Read(p []byte) (int, error) {
	if len(b.bytes) > 0 {
		n := copy(p, b.bytes)
		b.bytes = b.bytes[n:]
		return n, nil
	}
	if b.failed != nil {
		return 0, b.failed
	}
	if b.stream == nil {
		return 0, io.EOF
	}
	n, err := b.stream.Read(p)
	if err != nil {
		b.failed = err
	}
	return n, err
}

// Bytes reads what is left of the content into memory. The server's limit for bodies bounds it.
func (b *Body) Bytes() ([]byte, error) {
	if b.stream == nil && b.failed == nil {
		all := b.bytes
		b.bytes = nil
		return all, nil
	}
	var all bytes.Buffer
	if b.length > 0 && b.length < 1<<20 {
		all.Grow(int(b.length))
	}
	_, err := all.ReadFrom(b)
	return all.Bytes(), err
}

// BytesMax is Bytes for at most max bytes; one more is ErrBodyTooLarge.
func (b *Body) BytesMax(max int64) ([]byte, error) {
	if b.length > max {
		return nil, ErrBodyTooLarge
	}
	all, err := io.ReadAll(io.LimitReader(b, max+1))
	if err == nil && int64(len(all)) > max {
		return nil, ErrBodyTooLarge
	}
	return all, err
}

// Length is the announced length in bytes, or -1 for a chunked body (RFC 9112, 6.3).
func (b *Body) Length() int64 { return b.length }

// Trailer returns the trailer fields of a chunked body; they are there after Read has returned io.EOF.
func (b *Body) Trailer() *Header { return &b.trailer }
