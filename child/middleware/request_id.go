package middleware

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// maxRequestID is the length in bytes up to which an identifier is taken over.
const maxRequestID = 128

// Trust says whose identifiers RequestID takes over.
type Trust uint8

const (
	// TrustNobody makes a new identifier for every request.
	TrustNobody Trust = iota
	// TrustProxies takes over those of requests that came by a trusted proxy (trusted_proxies), which has told the client's address in a
	// field. One that only speaks the PROXY protocol passes on what the client writes.
	TrustProxies
	// TrustAnybody takes over those of all clients: for a server that only proxies can reach.
	TrustAnybody
)

// RequestIDOptions say how RequestID works.
type RequestIDOptions struct {
	// Header is the name of the field. "": X-Request-Id.
	Header string
	// Trust says whose identifiers are taken over. An identifier has 1 to 128 letters, digits and characters of -_.~+/=:@, and there is
	// only one.
	Trust Trust
}

func requestIDSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "request_id",
		Doc:  "gives every request an identifier",
		Attributes: []configs.Attribute{
			{Name: "header", Type: configs.String, Default: "X-Request-Id", Doc: "the field of request and response", Check: checkFieldName},
			{Name: "trust", Type: configs.String, Default: "nobody", OneOf: []string{"nobody", "proxies", "anybody"}, Doc: "whose identifiers are taken over"},
		},
	}
}

func checkFieldName(v any) error {
	if name := v.(string); !web.ValidFieldName(name) || web.ServerField(name) {
		return configs.Problem{Message: "\"" + name + "\" is no name for a field of its own (RFC 9110, 5.1)", Cure: `write for example "X-Request-Id"`}
	}
	return nil
}

func requestIDOptions(b *configs.Block) RequestIDOptions {
	trust := map[string]Trust{"nobody": TrustNobody, "proxies": TrustProxies, "anybody": TrustAnybody}
	return RequestIDOptions{Header: b.String("header"), Trust: trust[b.String("trust")]}
}

type requestIDKey struct{}

// RequestIDOf returns the identifier of the request that ctx belongs to, "" when RequestID is not around its handler, and for a handler
// that answers on the loop: there the request's header has it.
func RequestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// RequestID gives every request an identifier: a new one, which sorts by time (a UUID of version 7, RFC 9562), or the one that it came
// with. The handler finds it in the request's header and in its context (RequestIDOf), the client in the response's header. It panics if
// o.Header is no name of a field.
func RequestID(o RequestIDOptions) web.Middleware {
	if o.Header == "" {
		o.Header = "X-Request-Id"
	}
	if err := checkFieldName(o.Header); err != nil {
		panic("middleware: RequestID: " + err.Error())
	}
	return func(next web.Handler) web.Handler {
		h := requestID{RequestIDOptions: o, next: next}
		if now, ok := next.(web.NonBlocking); ok {
			return requestIDNow{h, now}
		}
		return h
	}
}

type requestID struct {
	RequestIDOptions
	next web.Handler
}

// Serve implements web.Handler.
func (h requestID) Serve(w *web.Response, r *web.Request) {
	id := h.identify(r)
	r.Header.Set(h.Header, id)
	outer := r.Context()
	r.SetContext(context.WithValue(outer, requestIDKey{}, id))
	w.Header().Set(h.Header, id)
	h.next.Serve(w, r)
	r.SetContext(outer)
	h.keep(w, id)
}

// keep puts the identifier back into a response that was begun anew, after a panic for example.
func (h requestID) keep(w *web.Response, id string) {
	if !w.Streaming() && !w.Header().Has(h.Header) {
		w.Header().Set(h.Header, id)
	}
}

type requestIDNow struct {
	requestID
	now web.NonBlocking
}

// ServeNow implements web.NonBlocking.
func (h requestIDNow) ServeNow(w *web.Response, r *web.Request) bool {
	id := h.identify(r)
	received := r.Header
	if received.Has(h.Header) {
		r.Header = received.Clone()
	}
	r.Header.Set(h.Header, id)
	w.Header().Set(h.Header, id)
	if !h.now.ServeNow(w, r) {
		w.Header().Del(h.Header)
		r.Header = received
		return false
	}
	h.keep(w, id)
	return true
}

// identify returns the identifier of a request, in memory of its own.
func (h requestID) identify(r *web.Request) string {
	if h.Trust == TrustNobody || h.Trust == TrustProxies && (!web.Relayed(r) || r.PeerAddr() == r.RemoteAddr) {
		return newRequestID(time.Now())
	}
	id, lines := "", 0
	for name, value := range r.Header.All() {
		if strings.EqualFold(name, h.Header) {
			id = value
			lines++
		}
	}
	if lines != 1 || !validRequestID(id) { // of several, one may be the client's, to which a proxy has added its own
		return newRequestID(time.Now())
	}
	return strings.Clone(id)
}

func validRequestID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-_.~+/=:@", c) >= 0:
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}

// newRequestID makes a UUID of version 7 (RFC 9562, 5.7): 48 bits of milliseconds since 1970, then chance.
func newRequestID(now time.Time) string {
	var b [16]byte
	rand.Read(b[6:]) // it never fails
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(b[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
	b[6] = b[6]&0x0f | 0x70 // version
	b[8] = b[8]&0x3f | 0x80 // variant
	var text [36]byte
	hex.Encode(text[0:], b[0:4])
	hex.Encode(text[9:], b[4:6])
	hex.Encode(text[14:], b[6:8])
	hex.Encode(text[19:], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
