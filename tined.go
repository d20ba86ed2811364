//go:build linux

package tined

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tined/tined/child/web"
)

// What a handler sees. Package web has the full documentation.
type (
	// Request is one HTTP request.
	Request = web.Request
	// Response is what a handler answers: status, header, and a body of bytes, a file or a stream.
	Response = web.Response
	// Header is the ordered list of field lines of a message.
	Header = web.Header
	// Handler answers requests. It may block, and is called by several goroutines at a time.
	Handler = web.Handler
	// HandlerFunc is a function that fills a Response.
	HandlerFunc = web.HandlerFunc
	// Middleware makes a handler of a handler. Package child/middleware has some: Compress, Recover, RequestID, Timeout.
	Middleware = web.Middleware
	// StringFunc is a function whose result is the body of a 200.
	StringFunc = web.StringFunc
	// Body is the content of a request.
	Body = web.Body
	// PushStream is a response that goes on after its handler has returned, such as server-sent events.
	PushStream = web.PushStream
	// Event is one server-sent event.
	Event = web.Event
	// Limits are bounds of one route.
	Limits = web.Limits
	// Mux is a Handler with routes of its own: for a part of a program that has middleware of its own, and for tests.
	Mux = web.Mux
)

// ErrBodyTooLarge is what reading a body returns once it has passed the limit.
var ErrBodyTooLarge = web.ErrBodyTooLarge

// Errors of a PushStream.
var (
	// ErrPushFull: the client is slow, and nothing was queued.
	ErrPushFull = web.ErrPushFull
	// ErrPushClosed: the stream is over.
	ErrPushClosed = web.ErrPushClosed
)

// Error answers with a status and a text: message, or the status's reason phrase without one.
func Error(w *Response, status int, message ...string) { web.Error(w, status, message...) }

// NotFound answers with 404.
func NotFound(w *Response, r *Request) { web.NotFound(w, r) }

// Redirect answers with a redirect to target, which may be relative to the request's path.
func Redirect(w *Response, r *Request, target string, status int) { web.Redirect(w, r, target, status) }

// SetCookie adds a Set-Cookie field. The error says what is wrong with the cookie.
func SetCookie(w *Response, c *http.Cookie) error { return web.SetCookie(w, c) }

// ServeFile answers with the file called name, by the conditions and ranges of the request.
func ServeFile(w *Response, r *Request, name string) { web.ServeFile(w, r, name) }

// ServeContent is ServeFile for what is not a file. name tells the Content-Type by its extension, and content is read from its beginning;
// modtime may be zero. See web.ServeContent.
func ServeContent(w *Response, r *Request, name string, modtime time.Time, content io.ReadSeeker) {
	web.ServeContent(w, r, name, modtime, content)
}

// StatusOf returns the status that tells a client of an error that reading the request has returned.
func StatusOf(err error) int { return web.StatusOf(err) }

// Limit gives the route that h is registered for limits of its own: how many of its handlers run and wait, for how long, and the size of
// its bodies.
func Limit(h Handler, l Limits) Handler { return web.Limit(h, l) }

// Chain puts middleware before h: the first is the outermost.
func Chain(h Handler, m ...Middleware) Handler { return web.Chain(h, m...) }

// program is what the functions of this package register with, as http.DefaultServeMux is for net/http.
var program = New(Options{})

// Handle serves pattern with h, on the default site. See Program.Handle.
func Handle(pattern string, h Handler) { program.handle(pattern, h) }

// HandleFunc serves pattern with a function whose result is the body. See Program.Handle.
func HandleFunc(pattern string, f func(r *Request) string) { program.handle(pattern, StringFunc(f)) }

// Func gives a function the name by which a configuration serves it. See Program.FuncHandler.
func Func(name string, f func(r *Request) string) { program.function(name, StringFunc(f)) }

// FuncHandler is Func for any handler. See Program.FuncHandler.
func FuncHandler(name string, h Handler) { program.function(name, h) }

// Use puts middleware around every route that is registered in code. See Program.Use.
func Use(m ...Middleware) { program.use(m) }

// OnMaster registers a hook that runs once, in the master. See Program.OnMaster.
func OnMaster(f func(ctx context.Context) error) { program.onMaster(f) }

// OnChildStart registers a hook that runs in each child before it serves. See Program.OnChildStart.
func OnChildStart(f func(ctx context.Context, c Child) error) { program.onChildStart(f) }

// OnReady registers a hook that runs in each child once it accepts. See Program.OnReady.
func OnReady(f func(c Child)) { program.onReady(f) }

// OnDrain registers a hook that runs in each child when it begins to drain. See Program.OnDrain.
func OnDrain(f func(c Child)) { program.onDrain(f) }

// OnExit registers a hook that runs in each child after its last request. See Program.OnExit.
func OnExit(f func(ctx context.Context, c Child)) { program.onExit(f) }

// SharedCounter registers a number that all children share. See Program.SharedCounter.
func SharedCounter(name string) *Counter { return program.sharedCounter(name) }

// SharedValue registers a text that all children share. See Program.SharedValue.
func SharedValue(name string) *Value { return program.sharedValue(name) }

// Main runs the command line of the program that the functions of this package have made, and exits. main calls it last.
func Main() { program.Main() }

// HTTP makes a Handler of an http.Handler. See web.HTTP. It panics when h is nil, which does not stand for http.DefaultServeMux here.
func HTTP(h http.Handler) Handler {
	if nothing(h) {
		panic(fmt.Sprintf("tined: %s: the http.Handler is nil; for the handlers of http.Handle pass http.DefaultServeMux", callerPlace(1)))
	}
	return web.HTTP(h)
}
