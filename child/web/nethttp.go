package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// HTTP makes a Handler of any net/http handler. It is run on a worker.
//
// The request has what net/http's server would give it, but Context's http.LocalAddrContextKey and TLS. The ResponseWriter implements
// http.Flusher, http.Hijacker, io.ReaderFrom and io.StringWriter, and http.ResponseController's Flush, Hijack and EnableFullDuplex;
// deadlines are the server's. As in net/http:
//
//   - the first WriteHeader counts, and changes of the header after it are ignored;
//   - a missing Content-Type is sniffed from the content; "Content-Type": nil prevents that for streams;
//   - a Content-Length that the handler sets is kept: writing more is http.ErrContentLength, writing less closes the connection;
//   - a panic with http.ErrAbortHandler closes the connection without a log line.
//
// Informational responses (1xx) and response trailers are not sent.
func HTTP(h http.Handler) Handler { return adapter{h} }

type adapter struct{ handler http.Handler }

func (a adapter) Serve(w *Response, r *Request) {
	body := &requestBody{body: &r.Body}
	request, err := newHTTPRequest(r, body)
	if err != nil {
		Error(w, 400)
		return
	}
	body.request = request
	rw := &responseWriter{response: w, request: request, header: http.Header{}, declared: -1}
	defer func() { // of a handler that panics, too: what it has left running must not write to the next exchange
		rw.done = true
		body.Close()
	}()
	a.handler.ServeHTTP(rw, request)
	rw.finish()
}

// contextServer is what http.ServerContextKey yields. Handlers do not use it, but httputil.ReverseProxy aborts a response whose source
// has failed only if it is there.
var contextServer = &http.Server{}

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
	return q.WithContext(context.WithValue(r.Context(), http.ServerContextKey, contextServer)), nil
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

// announced returns the keys of the Trailer field without values.
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
	mu      sync.Mutex
	body    *Body
	request *http.Request // gets the trailer
	closed  bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.body.Read(p)
	if err == io.EOF {
		for name, value := range b.body.trailer.All() {
			if b.request.Trailer == nil {
				b.request.Trailer = http.Header{}
			}
			b.request.Trailer[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
		}
	}
	return n, err
}

// Close ends reading; the server deals with what was not read.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// responseWriter is the http.ResponseWriter of one exchange. One goroutine at a time may use it.
type responseWriter struct {
	response *Response
	request  *http.Request
	header   http.Header

	wrote    bool        // WriteHeader was called
	sent     http.Header // header as it was then
	declared int64       // Content-Length of the handler, -1: none
	written  int64       // content bytes of the handler
	head     []byte      // of an answer to HEAD: the first bytes, to sniff
	typed    bool        // Content-Type is settled
	hijacked bool
	done     bool // the handler has returned
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic("web: WriteHeader with the invalid code " + strconv.Itoa(status)) // as net/http does
	case w.wrote || w.done || w.hijacked:
		return
	case status < 200 && status != 101:
		return // informational: more follows
	case status == 101:
		status = 500 // a protocol is switched by Hijack
	}
	w.wrote = true
	w.response.outcome.Status = status
	w.sent = w.header.Clone()
	if value := w.sent.Get("Content-Length"); value != "" {
		if n, err := strconv.ParseUint(value, 10, 63); err == nil {
			w.declared = int64(n)
		} else {
			delete(w.sent, "Content-Length")
		}
	}
	trailers := w.sent["Trailer"]
	delete(w.sent, "Trailer") // none is sent
	for _, name := range trailers {
		delete(w.sent, textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)))
	}
	h := w.response.Header()
	for _, name := range slices.Sorted(maps.Keys(w.sent)) {
		if strings.HasPrefix(name, http.TrailerPrefix) || !validName(name) {
			continue
		}
		for _, value := range w.sent[name] {
			if !validValue(value) {
				value = inOneLine(value)
			}
			h.Add(name, textproto.TrimString(value))
		}
	}
	_, present := w.sent["Content-Type"]
	w.typed = present || len(w.sent["Content-Encoding"]) > 0 && w.sent["Content-Encoding"][0] != "" || !w.bodyAllowed()
}

// inOneLine replaces control characters by spaces.
func inOneLine(value string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, value)
}

// bodyAllowed reports whether a response with the status has content (RFC 9110, 6.4.1).
func (w *responseWriter) bodyAllowed() bool {
	s := w.response.outcome.Status
	return s >= 200 && s != 204 && s != 304
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	w.settle(p)
	if w.request.Method == "HEAD" {
		return len(p), nil
	}
	return w.response.Write(p)
}

// WriteString implements io.StringWriter.
func (w *responseWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// admit says whether n more bytes of content may be written.
func (w *responseWriter) admit(n int) error {
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.done:
		return errors.New("web: Write after the handler has returned")
	}
	if !w.wrote {
		w.WriteHeader(200)
	}
	switch {
	case n == 0:
		return nil
	case !w.bodyAllowed():
		return http.ErrBodyNotAllowed
	case w.declared >= 0 && int64(n) > w.declared-w.written:
		return http.ErrContentLength
	}
	w.written += int64(n)
	return nil
}

// settle sniffs the Content-Type as late as the response allows: when so much has been written that the head leaves.
func (w *responseWriter) settle(p []byte) {
	const sniffed = 512 // what http.DetectContentType looks at
	if w.typed {
		return
	}
	if w.request.Method == "HEAD" {
		w.head = append(w.head, p[:min(len(p), sniffed-len(w.head))]...)
		if len(w.head) == sniffed {
			w.sniff(w.head)
		}
		return
	}
	if collected := w.response.buf; len(collected) >= sniffed {
		w.sniff(collected)
	} else if len(collected)+len(p) > StreamAt {
		w.sniff(append(slices.Clone(collected), p[:min(len(p), sniffed)]...))
	}
}

// sniff settles the Content-Type by the beginning of the content.
func (w *responseWriter) sniff(content []byte) {
	if w.typed || len(content) == 0 {
		return
	}
	w.typed = true
	w.response.Header().Set("Content-Type", http.DetectContentType(content))
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *responseWriter) FlushError() error {
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.done:
		return errors.New("web: Flush after the handler has returned")
	}
	if !w.wrote {
		w.WriteHeader(200)
	}
	if w.request.Method == "HEAD" || !w.bodyAllowed() {
		return nil // the head leaves when the handler returns, with the right length
	}
	w.sniff(w.response.buf)
	return w.response.Flush()
}

// EnableFullDuplex is for http.ResponseController: a handler may always read while it writes.
func (w *responseWriter) EnableFullDuplex() error { return nil }

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// ReadFrom implements io.ReaderFrom.
func (w *responseWriter) ReadFrom(src io.Reader) (n int64, err error) {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(writerOnly{w}, readerOnly{src}, buf[:])
}

// writerOnly and readerOnly hide the methods by which io.Copy would not use the buffer.
type writerOnly struct{ io.Writer }
type readerOnly struct{ io.Reader }

// Hijack implements http.Hijacker. What was received behind the request is in the reader's buffer.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.done:
		return nil, nil, errors.New("web: Hijack after the handler has returned")
	case w.wrote:
		return nil, nil, errors.New("web: Hijack after WriteHeader")
	}
	conn, unread, err := w.response.Detach()
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			err = http.ErrNotSupported
		}
		return nil, nil, err
	}
	w.hijacked = true
	const size = 4 << 10
	reader := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(unread), conn), max(size, len(unread)))
	if len(unread) > 0 {
		if _, err := reader.Peek(len(unread)); err != nil {
			return nil, nil, err // cannot be: the bytes are in memory
		}
	}
	return conn, bufio.NewReadWriter(reader, bufio.NewWriterSize(conn, size)), nil
}

// finish completes the response when the handler has returned.
func (w *responseWriter) finish() {
	if w.hijacked {
		w.done = true
		return
	}
	if !w.wrote {
		w.WriteHeader(200)
	}
	w.done = true
	switch {
	case !w.bodyAllowed():
	case w.request.Method == "HEAD":
		w.sniff(w.head)
		length := w.declared
		if length < 0 && w.written > 0 {
			length = w.written
		}
		w.response.SendReader(http.NoBody, length) // never read: only its length matters
	case w.declared > w.written:
		panic(http.ErrAbortHandler) // the client must see that the content is not whole
	default:
		w.sniff(w.response.buf)
	}
}
