// Package web is what a handler sees: a Request, a Response, and the kinds of Handler that turn one into the other.
//
// It owns the vocabulary of an exchange (method, path, header, body) and the patterns by which a Mux chooses a handler. It
// knows no socket, no process and no loop, and imports the standard library only, so that a handler can be tested without a server
// (package webtest).
//
// # Handlers
//
// The simplest handler takes a request and returns a string:
//
//	hello := web.StringFunc(func(r *web.Request) string { return "Hello, " + r.PathValue("name") + "!\n" })
//
// The full form chooses status, header and one of the bodies that Response lists:
//
//	created := web.HandlerFunc(func(w *web.Response, r *web.Request) {
//		w.Header().Set("Location", "/items/7")
//		w.SetStatus(201)
//	})
//
// HTTP makes a Handler of any http.Handler. A Middleware wraps a Handler; SetContext passes values on to it.
//
// # What was asked
//
// Request has the names of net/http's: PathValue, Pattern, Query, FormValue, FormFile, Cookie, BasicAuth, UserAgent, Context. URL is a
// method, and Header is a Header of this package, which keeps the order of fields. docs/library.md has the whole table.
//
// Content is read in one of these ways: Body.Bytes and Body.BytesMax into memory, Body as an io.Reader of any length, JSON, ParseForm,
// ParseMultipartForm and MultipartReader. The server bounds all of them (limits.body), Body.Limit bounds one request further. Their
// errors carry the status that tells the client what is wrong:
//
//	r.Body.Limit(64 << 10)
//	if err := r.JSON(&item); err != nil {
//		web.Error(w, web.StatusOf(err))
//		return
//	}
//
// # What is answered
//
// Beside the methods of Response, functions with the names of net/http's: Error, NotFound, Redirect, SetCookie, ServeContent, ServeFile.
// ServeContent evaluates conditions and ranges; a handler that has a representation of its own to compare, as before a PUT, asks
// Representation.Evaluate.
package web
