//go:build linux

package tined

import (
	"net/http"

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
	// StringFunc is a function whose result is the body of a 200.
	StringFunc = web.StringFunc
)

// ErrBodyTooLarge is what reading a body returns once it has passed the limit.
var ErrBodyTooLarge = web.ErrBodyTooLarge

// Error answers with a status and its reason phrase as text.
func Error(w *Response, status int) { web.Error(w, status) }

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

// Main runs the command line of the program that the functions of this package have made, and exits. main calls it last.
func Main() { program.Main() }

// HTTP makes a Handler of an http.Handler.
func HTTP(h http.Handler) Handler { return web.HTTP(h) }
