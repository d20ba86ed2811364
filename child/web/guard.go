package web

// This file is the seam for middleware that answers in the place of a handler. An Engine implements these interfaces if it can.

// A Substituter answers while a handler still runs.
type Substituter interface {
	// Substitute returns a function that any goroutine may call at any time: it answers the current exchange with status, unless its
	// handler has returned or has begun an answer of its own. The handler is told that its client has gone.
	Substitute(status int) (answer func())
}

// Substitute asks the server of r for a function that answers in the place of the handler, which does not come back. Where the server
// cannot do that, as in tests, the function does nothing.
func Substitute(r *Request, status int) (answer func()) {
	if s, ok := r.engine.(Substituter); ok {
		return s.Substitute(status)
	}
	return func() {}
}

// A PanicLogger writes the panic of a handler to the server's log.
type PanicLogger interface {
	LogPanic(r *Request, v any, stack []byte)
}

// LogPanic writes a panic of r's handler to the server's log, as the server does for those that reach it.
func LogPanic(r *Request, v any, stack []byte) {
	if l, ok := r.engine.(PanicLogger); ok {
		l.LogPanic(r, v, stack)
	}
}
