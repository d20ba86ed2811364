// Package webtest runs a web.Handler in a test, without a server, a socket or a process:
//
//	resp := webtest.Get(handler, "/hello/Ada")
//	if resp.Status != 200 || resp.Text() != "Hello, Ada!\n" { … }
//
// The handler of a route with path values stands in a web.Mux, or gets them by Request.Params.
//
// A handler is run as a server would run it: ServeNow first if it is a web.NonBlocking, then Serve; files are read, readers are
// pulled, streams are recorded, and what a client would see is left in the Response. A panic of the handler is the test's.
package webtest
