package web

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
)

// ErrBodyTooLarge is what reading a body returns once it has passed the limit (limits.body, Body.Limit, or the argument of BytesMax).
var ErrBodyTooLarge = errors.New("request body is larger than the limit")

// A Body is the content of a request. Small ones are in memory when the handler starts; larger ones are read from the connection as
// the handler reads, and a handler that does not read stops the client (back-pressure). The first read asks a client that waits for it
// to send the content (Expect: 100-continue). One goroutine at a time may use it. *Body is an io.ReadCloser.
type Body struct {
	length  int64
	bytes   []byte    // what has arrived and was not read
	stream  io.Reader // what follows, nil when bytes is all
	trailer Header
	failed  error
	seen    int64 // bytes that were read
	fence   int64 // the limit plus one, 0: none
}

// Limit makes content of more than max bytes in all fail with ErrBodyTooLarge: what http.MaxBytesReader is for. If the announced length
// is more, the first Read fails and the client is not asked for any of it. Of several limits the smallest holds, the server's own
// (limits.body) among them. A negative one is 0.
func (b *Body) Limit(max int64) {
	if max < 0 {
		max = 0
	}
	if max == math.MaxInt64 || b.fence > 0 && b.fence <= max {
		return
	}
	b.fence = max + 1
	if b.length > max || b.seen+int64(len(b.bytes)) > max {
		b.bytes, b.failed = nil, ErrBodyTooLarge
	}
}

// Read reads the next bytes of the content; io.EOF after the last.
func (b *Body) Read(p []byte) (int, error) {
	if len(b.bytes) > 0 {
		n := copy(p, b.bytes)
		b.bytes = b.bytes[n:]
		b.seen += int64(n)
		return n, nil
	}
	if b.failed != nil {
		return 0, b.failed
	}
	if b.stream == nil {
		return 0, io.EOF
	}
	if b.fence > 0 && int64(len(p)) > b.fence-b.seen {
		p = p[:b.fence-b.seen]
	}
	n, err := b.stream.Read(p)
	b.seen += int64(n)
	if b.fence > 0 && b.seen >= b.fence {
		n, err = n-1, ErrBodyTooLarge // the byte on the fence is one too many
	}
	if err != nil {
		b.failed = err
	}
	return n, err
}

// Close makes every later Read fail. It need not be called: the server deals with what was not read.
func (b *Body) Close() error {
	b.bytes, b.failed = nil, http.ErrBodyReadAfterClose
	return nil
}

// Bytes reads what is left of the content into memory. The server's limit for bodies bounds it.
func (b *Body) Bytes() ([]byte, error) {
	if b.stream == nil && b.failed == nil {
		all := b.bytes
		b.bytes = nil
		b.seen += int64(len(all))
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
