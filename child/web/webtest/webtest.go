package webtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/child/web"
)

// A Request is what a handler is asked. The zero value is a GET of "/".
type Request struct {
	Method string // "": GET
	Target string // request target, "": "/"
	Host   string // "": "example.com"
	HTTP10 bool   // the client speaks HTTP/1.0

	// Header holds further fields, by name; it may also be set with Fields, which keeps order and repetitions.
	Header map[string]string
	Fields []web.Field

	// Body is the content, in memory when the handler starts. Stream follows it, as a body that is still being received; with it the
	// length is Length, or unknown (chunked) if that is 0. Trailer is what the body's trailer section holds.
	Body    string
	Stream  io.Reader
	Length  int64
	Trailer []web.Field

	// Params are what PathValue returns; a web.Mux sets its own.
	Params []web.Param
	// RemoteAddr is the client; the zero value: 192.0.2.1:1234.
	RemoteAddr netip.AddrPort
	// Context, if not nil, is the request's context: cancelling it is a client that leaves, and ends a stream.
	Context context.Context
	// Tee, if not nil, gets the pieces of a stream as the handler writes them. Its error is a client that has gone.
	Tee io.Writer
	// Conn is what Detach gives to the handler, with Unread; nil: Detach is not supported.
	Conn   net.Conn
	Unread []byte
}

// A Response is what a client would have received.
type Response struct {
	Status int
	Header web.Header // without Date, Connection and Content-Length
	Body   []byte     // empty where HTTP sends none: HEAD, 204, 304
	// Length is the Content-Length that would be sent, -1: none (a stream of unknown length, 204, 304).
	Length int64
	// Kind is the way in which the handler set the body.
	Kind web.BodyKind
	// Inline: ServeNow has answered.
	Inline bool
	// Streamed: the head was sent before the handler had returned. Flushes counts what it flushed.
	Streamed bool
	Flushes  int
	// Detached: the handler has taken the connection.
	Detached bool
	// Trailer is what follows the content.
	Trailer web.Header
	// Informed are the informational responses that were sent before.
	Informed []Informed
	// ReadDeadline and WriteDeadline are what the handler has set; nothing in a test is late by them.
	ReadDeadline, WriteDeadline time.Time
	// Pushed is the stream that goes on after the handler, nil without one.
	Pushed *Pushed
	// Cut: less was streamed than the Content-Length announced, so that the server closes the connection.
	Cut bool
	// Closing: the handler asked for the connection to be closed.
	Closing bool
}

// An Informed is an informational response (1xx).
type Informed struct {
	Status int
	Header web.Header
}

// Text returns the body.
func (r *Response) Text() string { return string(r.Body) }

// Get asks h for target.
func Get(h web.Handler, target string) *Response { return Do(h, Request{Target: target}) }

// Head is Get with the method HEAD.
func Head(h web.Handler, target string) *Response {
	return Do(h, Request{Method: "HEAD", Target: target})
}

// Post sends body to target.
func Post(h web.Handler, target, contentType, body string) *Response {
	return Do(h, Request{Method: "POST", Target: target, Body: body, Header: map[string]string{"Content-Type": contentType}})
}

// Do runs h for one request and returns what it answered. It panics if the request itself makes no sense, and passes on a panic of h.
func Do(h web.Handler, request Request) *Response {
	e := &engine{request: &request}
	ctx := request.Context
	if ctx == nil {
		ctx = context.Background()
	}
	var cancel context.CancelFunc
	e.outer = ctx
	e.ctx, cancel = context.WithCancel(ctx)
	defer cancel()

	var r web.Request
	defer web.Finish(&r)
	var w web.Response
	e.accept(&r)
	web.Begin(&w, e)
	if n, ok := h.(web.NonBlocking); ok && n.ServeNow(&w, &r) {
		e.response.Inline = true
	} else {
		if ok && (w.Header().Len() > 0 || web.OutcomeOf(&w).Kind != web.BodyNone || w.Status() != 200) {
			panic("webtest: ServeNow returned false after it had touched the response")
		}
		h.Serve(&w, &r)
	}
	e.finish(&w)
	return &e.response
}

// engine implements web.Engine by recording.
type engine struct {
	request  *Request
	response Response
	outer    context.Context // the client's: a pushed stream ends with it
	ctx      context.Context // the handler's
	declared int64           // of a stream, -1: nothing
}

// accept fills r as a server does.
func (e *engine) accept(r *web.Request) {
	q := e.request
	web.Accept(r, e)
	r.Method = orElse(q.Method, "GET")
	r.Target = orElse(q.Target, "/")
	r.Host = orElse(q.Host, "example.com")
	r.Minor = 1
	if q.HTTP10 {
		r.Minor = 0
	}
	r.RawPath, r.RawQuery, _ = strings.Cut(r.Target, "?")
	if scheme, rest, ok := strings.Cut(r.RawPath, "://"); ok && !strings.HasPrefix(r.RawPath, "/") && scheme != "" {
		host, path, _ := strings.Cut(rest, "/") // absolute-form (RFC 9112, 3.2.2)
		r.Host, r.RawPath = host, "/"+path
	}
	path, err := url.PathUnescape(r.RawPath)
	if err != nil {
		path = r.RawPath
	}
	r.Path = path
	r.RemoteAddr = e.peer()
	web.AddField(r, "Host", r.Host)
	names := make([]string, 0, len(q.Header))
	for name := range q.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		web.AddField(r, name, q.Header[name])
	}
	for _, f := range q.Fields {
		web.AddField(r, f.Name, f.Value)
	}
	length := int64(len(q.Body))
	if q.Stream != nil {
		if length = q.Length; length == 0 {
			length = -1
		}
	}
	web.SetBody(r, length, []byte(q.Body), q.Stream)
	for _, f := range q.Trailer {
		web.AddTrailer(r, f.Name, f.Value)
	}
	web.SetParams(r, q.Params)
}

// Both ends of the connection, for a request that names no client: of the networks for documentation (RFC 5737).
var (
	localAddr  = netip.MustParseAddrPort("198.51.100.1:80")
	clientAddr = netip.MustParseAddrPort("192.0.2.1:1234")
)

func (e *engine) peer() netip.AddrPort {
	if e.request.RemoteAddr.IsValid() {
		return e.request.RemoteAddr
	}
	return clientAddr
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// bodyless reports whether a response has no content by its method or status (RFC 9110, 6.4.1).
func (e *engine) bodyless(status int) bool {
	return e.request.Method == "HEAD" || status < 200 || status == 204 || status == 304
}

// head records status and header.
func (e *engine) head(w *web.Response) {
	p := &e.response
	p.Status = w.Status()
	for name, value := range w.Header().All() {
		e.field(name, value)
	}
}

func (e *engine) field(name, value string) {
	if value == "" && strings.EqualFold(name, "Content-Type") {
		return // the handler wants none
	}
	if web.ServerField(name) {
		if strings.EqualFold(name, "Connection") && strings.EqualFold(value, "close") {
			e.response.Closing = true
		}
		return
	}
	e.response.Header.Add(name, value)
}

// finish turns what the handler has left into what a client gets.
func (e *engine) finish(w *web.Response) {
	p := &e.response
	if p.Pushed != nil {
		return
	}
	if p.Streamed {
		p.Cut = !e.bodyless(p.Status) && e.declared >= 0 && int64(len(p.Body)) < e.declared
		if e.declared < 0 {
			e.trailer(w)
		}
		return
	}
	o := web.OutcomeOf(w)
	p.Kind, p.Length = o.Kind, -1
	if o.Kind == web.BodyDetached {
		p.Detached = true
		return
	}
	if o.Kind == web.BodyFixed {
		p.Status = o.Status
		for line := range strings.SplitSeq(string(o.Fixed.Fields), "\r\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				e.field(name, value)
			}
		}
		for name, value := range w.Header().All() { // sent beside those
			if !strings.EqualFold(name, "Content-Type") || !p.Header.Has(name) {
				e.field(name, value)
			}
		}
	} else {
		for line := range strings.SplitSeq(string(o.Lines), "\r\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				e.field(name, value)
			}
		}
		if p.Header.Has("Content-Type") {
			w.Header().Del("Content-Type") // that of the lines wins
		}
		e.head(w)
	}
	body, length, err := content(o, e.bodyless(o.Status))
	if err != nil {
		panic(fmt.Sprintf("webtest: the body cannot be read: %v", err))
	}
	if length == 0 && e.request.Method == "HEAD" {
		if declared := declaredLength(w.Header()); declared > 0 {
			length = declared
		}
	}
	if p.Status >= 200 && p.Status != 204 && p.Status != 304 {
		p.Length = length
	}
	switch typed := w.Header().Has("Content-Type"); {
	case o.Kind == web.BodyText && o.Text != "" && !typed:
		p.Header.Set("Content-Type", "text/plain; charset=utf-8")
	case (o.Kind == web.BodyCollected || o.Kind == web.BodyBytes) && len(o.Bytes) > 0 && !typed && !w.Header().Has("Content-Encoding"):
		p.Header.Set("Content-Type", http.DetectContentType(o.Bytes))
	}
	if !e.bodyless(o.Status) {
		p.Body = body
	}
	if o.Kind != web.BodyFixed && w.Trailer().Len() > 0 && !e.request.HTTP10 {
		if e.trailer(w); !e.bodyless(o.Status) {
			p.Length = -1 // chunked
		}
	}
}

// trailer records what follows the content.
func (e *engine) trailer(w *web.Response) {
	if e.request.HTTP10 || e.bodyless(e.response.Status) {
		return
	}
	e.response.Trailer = w.Trailer().Clone()
}

// content reads the body of an outcome and releases what it holds. length is -1 when only the end of the reader tells.
func content(o *web.Outcome, skip bool) (body []byte, length int64, err error) {
	switch o.Kind {
	case web.BodyCollected, web.BodyBytes:
		return slices.Clone(o.Bytes), int64(len(o.Bytes)), nil
	case web.BodyText:
		return []byte(o.Text), int64(len(o.Text)), nil
	case web.BodyFixed:
		return slices.Clone(o.Fixed.Body), int64(len(o.Fixed.Body)), nil
	case web.BodyFile:
		defer o.File.Release()
		if skip {
			return nil, o.Length, nil
		}
		body, err = readFile(int(o.File.Fd()), o.Offset, o.Length)
		return body, o.Length, err
	case web.BodyReader:
		if c, ok := o.Reader.(io.Closer); ok {
			defer c.Close()
		}
		if skip {
			return nil, o.Length, nil
		}
		if o.Length < 0 {
			body, err = io.ReadAll(o.Reader)
			return body, -1, err
		}
		body, err = io.ReadAll(io.LimitReader(o.Reader, o.Length))
		if err == nil && int64(len(body)) < o.Length {
			err = io.ErrUnexpectedEOF
		}
		return body, o.Length, err
	}
	return nil, 0, nil
}

// readFile reads n bytes of a descriptor without moving its offset, as sendfile does.
func readFile(fd int, offset, n int64) ([]byte, error) {
	body := make([]byte, n)
	for done := int64(0); done < n; {
		m, err := syscall.Pread(fd, body[done:], offset+done)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return nil, os.NewSyscallError("pread", err)
		case m == 0:
			return nil, io.ErrUnexpectedEOF // shorter than it was
		}
		done += int64(m)
	}
	return body, nil
}

func declaredLength(h *web.Header) int64 {
	var n int64
	if _, err := fmt.Sscanf(h.Get("Content-Length"), "%d", &n); err != nil || n < 0 {
		return -1
	}
	return n
}

var (
	errGone    = errors.New("webtest: the client has gone")
	errTooLong = errors.New("webtest: more was written than Content-Length announces")
)

// Addrs implements web.Engine.
func (e *engine) Addrs() (local, peer netip.AddrPort) { return localAddr, e.peer() }

// Inform implements web.Engine.
func (e *engine) Inform(status int, h *web.Header) error {
	if !e.request.HTTP10 {
		e.response.Informed = append(e.response.Informed, Informed{Status: status, Header: h.Clone()})
	}
	return nil
}

// SetDeadlines implements web.Engine.
func (e *engine) SetDeadlines(read, write *time.Time) error {
	if read != nil {
		e.response.ReadDeadline = *read
	}
	if write != nil {
		e.response.WriteDeadline = *write
	}
	return nil
}

// Push implements web.Engine.
func (e *engine) Push(w *web.Response) (web.Pusher, error) {
	p := &e.response
	w.Header().Del("Content-Length")
	w.Trailer().Reset()
	e.head(w)
	p.Kind, p.Length = web.BodyCollected, -1
	p.Pushed = newPushed(e.bodyless(p.Status))
	context.AfterFunc(e.outer, p.Pushed.Leave)
	return p.Pushed, nil
}

// Context implements web.Engine.
func (e *engine) Context() context.Context { return e.ctx }

// Stream implements web.Engine.
func (e *engine) Stream(w *web.Response) error {
	p := &e.response
	p.Streamed = true
	p.Kind = web.BodyCollected
	e.head(w)
	e.declared = declaredLength(w.Header())
	if w.Trailer().Len() > 0 && !e.request.HTTP10 {
		e.declared = -1 // chunked
	}
	p.Length = e.declared
	if e.ctx.Err() != nil {
		return errGone
	}
	return nil
}

// Write implements web.Engine.
func (e *engine) Write(b []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, errGone
	}
	p := &e.response
	if e.bodyless(p.Status) {
		return len(b), nil
	}
	var long error
	if room := e.declared - int64(len(p.Body)); e.declared >= 0 && int64(len(b)) > room {
		b, long = b[:room], errTooLong
	}
	if e.request.Tee != nil && len(b) > 0 {
		if n, err := e.request.Tee.Write(b); err != nil {
			return n, err
		}
	}
	p.Body = append(p.Body, b...)
	return len(b), long
}

// Flush implements web.Engine.
func (e *engine) Flush() error {
	e.response.Flushes++
	if e.ctx.Err() != nil {
		return errGone
	}
	return nil
}

// Detach implements web.Engine.
func (e *engine) Detach() (net.Conn, []byte, error) {
	if e.request.Conn == nil {
		return nil, nil, errors.ErrUnsupported
	}
	return e.request.Conn, e.request.Unread, nil
}
