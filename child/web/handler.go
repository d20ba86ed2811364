package web

// A Handler answers a request. The server calls Serve on a worker goroutine, so it may block; w and r belong to the call and must not
// be used after it has returned.
type Handler interface {
	Serve(w *Response, r *Request)
}

// A NonBlocking handler can answer some requests without ever blocking: no lock that another goroutine holds for long, no file
// system, no network. The server calls ServeNow on its loop, which every other connection of the process waits for; it must return
// within microseconds. If it returns false it has touched neither w nor r, and Serve runs on a worker.
//
// During ServeNow the strings of the request point into the connection's buffer and must not be kept.
type NonBlocking interface {
	Handler
	ServeNow(w *Response, r *Request) bool
}

// HandlerFunc is the full form of a handler as a function.
type HandlerFunc func(w *Response, r *Request)

// Serve calls f.
func (f HandlerFunc) Serve(w *Response, r *Request) { f(w, r) }

// StringFunc is the simplest handler: the returned string is the body of a 200 with the type "text/plain; charset=utf-8".
type StringFunc func(r *Request) string

// Serve calls f and sends what it returns.
func (f StringFunc) Serve(w *Response, r *Request) { w.SendString(f(r)) }
