// Package web is what a handler sees: a Request, a Response, and the kinds of Handler that turn one into the other.
//
// It owns the vocabulary of an exchange (method, path, header, body) and the patterns by which a Mux chooses a handler. It
// knows no socket, no process and no loop, and imports the standard library only, so that a handler can be tested without a server
// (package webtest).
//
// The simplest handler takes a request and returns a string:
//
//	hello := web.StringFunc(func(r *web.Request) string { return "Hello, " + r.PathValue("name") + "!\n" })
//
// The full form chooses status, header and one of five bodies (see Response):
//
//	created := web.HandlerFunc(func(w *web.Response, r *web.Request) {
//		w.Header().Set("Location", "/items/7")
//		w.SetStatus(201)
//	})
package web
