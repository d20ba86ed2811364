package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"time"
)

// contextServer is what http.ServerContextKey yields. Handlers do not use it, but httputil.ReverseProxy aborts a response whose source
// has failed only if it is there.
var contextServer = &http.Server{}

// requestContext is a request's context with the values that net/http's server puts there. It does not point to the request, whose
// memory is used again.
type requestContext struct {
	context.Context
	local netip.AddrPort
}

func (c *requestContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return contextServer
	case http.LocalAddrContextKey:
		if !c.local.IsValid() {
			return &net.UnixAddr{Net: "unix"}
		}
		return net.TCPAddrFromAddrPort(c.local)
	}
	return c.Context.Value(key)
}

// newHTTPRequest builds what net/http's server would have made of r.
func newHTTPRequest(r *Request, body *requestBody) (*http.Request, error) {
	target := r.Target
	if target == "" {
		target = r.RawPath
		if r.RawQuery != "" {
			target += "?" + r.RawQuery
		}
	}
	authority := r.Method == "CONNECT" && !strings.HasPrefix(target, "/")
	parse := target
	if authority {
		parse = "http://" + target
	}
	u, err := url.ParseRequestURI(parse)
	if err != nil {
		return nil, err
	}
	if authority {
		u.Scheme = ""
	}
	q := &http.Request{
		Method:        r.Method,
		URL:           u,
		Proto:         r.Proto(),
		ProtoMajor:    1,
		ProtoMinor:    r.Minor,
		Header:        httpHeader(&r.Header),
		Body:          http.NoBody,
		ContentLength: r.Body.length,
		Host:          r.Host,
		RemoteAddr:    "@", // a unix socket, as net/http has it
		RequestURI:    target,
		Pattern:       r.Pattern(),
	}
	if r.RemoteAddr.IsValid() {
		q.RemoteAddr = r.RemoteAddr.String()
	}
	if q.ContentLength != 0 {
		q.Body = body
	}
	if q.ContentLength < 0 {
		q.TransferEncoding = []string{"chunked"}
		delete(q.Header, "Content-Length")
		q.Trailer = announced(q.Header)
		delete(q.Header, "Trailer")
	}
	q.Close = closes(q.Header["Connection"], r.Minor)
	delete(q.Header, "Host")
	delete(q.Header, "Transfer-Encoding")
	if pragma := q.Header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && q.Header["Cache-Control"] == nil {
		q.Header["Cache-Control"] = []string{"no-cache"} // as net/http does (RFC 9111, 5.4)
	}
	for i := range r.params {
		q.SetPathValue(r.params[i].Name, r.params[i].Value)
	}
	return q.WithContext(&requestContext{Context: r.Context(), local: r.LocalAddr()}), nil
}

// httpHeader copies a header; all values share one array.
func httpHeader(h *Header) http.Header {
	m := make(http.Header, len(h.fields))
	values := make([]string, 0, len(h.fields))
	for i := range h.fields {
		key := textproto.CanonicalMIMEHeaderKey(h.fields[i].Name)
		if present := m[key]; present != nil {
			m[key] = append(present, h.fields[i].Value)
			continue
		}
		values = append(values, h.fields[i].Value)
		m[key] = values[len(values)-1 : len(values) : len(values)]
	}
	return m
}

// announced returns the keys of the Trailer field without values; nil when there are none.
func announced(h http.Header) http.Header {
	var trailer http.Header
	for _, line := range h["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				if trailer == nil {
					trailer = http.Header{}
				}
				trailer[textproto.CanonicalMIMEHeaderKey(name)] = nil
			}
		}
	}
	return trailer
}

// closes reports whether the client wants the connection closed after the response (RFC 9112, 9.3).
func closes(connection []string, minor int) bool {
	keep := minor > 0
	for _, line := range connection {
		for token := range strings.SplitSeq(line, ",") {
			switch token = textproto.TrimString(token); {
			case strings.EqualFold(token, "close"):
				return true
			case strings.EqualFold(token, "keep-alive"):
				keep = true
			}
		}
	}
	return !keep
}

// requestBody is http.Request.Body. Handlers may read and close it from several goroutines.
type requestBody struct {
	body     *Body
	response *Response     // through which a Read is ended
	request  *http.Request // gets the trailer

	reading sync.Mutex // held during a Read

	mu     sync.Mutex // never waits for a Read; guards the deadlines of response, too
	closed bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.isClosed() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.body.Read(p)
	switch {
	case err == io.EOF:
		for name, value := range b.body.trailer.All() {
			if b.request.Trailer == nil {
				b.request.Trailer = http.Header{}
			}
			b.request.Trailer.Add(name, value)
		}
		b.body.trailer.Reset() // the next Read comes here again
	case err != nil && b.isClosed():
		err = http.ErrBodyReadAfterClose // not the deadline by which Close has ended the Read
	}
	return n, err
}

func (b *requestBody) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// Close ends reading, also a Read that waits for the client; the server deals with what was not read.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.reading.TryLock() {
		b.reading.Unlock()
		return nil
	}
	_ = b.response.SetReadDeadline(time.Unix(1, 0)) // where there are no deadlines, the Read ends when it ends
	return nil
}

// end closes the body and returns when no Read is under way any more: the memory goes to the next request.
func (b *requestBody) end() {
	b.Close()
	b.reading.Lock()
	defer b.reading.Unlock()
}
