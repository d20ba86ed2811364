package web

import (
	"net/http"
)

// HTTP makes a Handler of any net/http handler: a ServeMux, a router, a reverse proxy, a file server, a WebSocket upgrader. It is run on a
// worker, which it holds until ServeHTTP returns or the connection is hijacked.
//
// The request is what net/http's server would make of it: Host, URL, RequestURI, RemoteAddr (the client's, see Request.RemoteAddr),
// Pattern and PathValue of the route, Trailer, MultipartForm (whose files are removed), http.ServerContextKey and
// http.LocalAddrContextKey. TLS is nil. Its context is Request.Context's.
//
// The body may be read by another goroutine than the one that writes the response, before, during and after the writing
// (EnableFullDuplex is always on). Close does not wait for a Read that is under way but ends it, and the return of the handler closes.
//
// The ResponseWriter implements http.Flusher, http.Hijacker, io.ReaderFrom and io.StringWriter, and all of http.ResponseController.
// It holds as in net/http:
//
//   - The first WriteHeader counts, and changes of the header after it are ignored.
//   - WriteHeader(103) and other 1xx send an informational response with the header as it is, as often as it is called.
//   - A missing Content-Type is sniffed from the content, unless there is a Content-Encoding; "Content-Type": nil sends none.
//   - A Content-Length that the handler sets is kept: writing more is http.ErrContentLength, writing less closes the connection.
//   - Trailers are announced by the Trailer field or begin with http.TrailerPrefix. They are sent behind a chunked body, so not beside a
//     Content-Length, nor to HTTP/1.0.
//   - "Connection: close" closes.
//   - Hijack hands over the bytes that were received behind the request in its reader, also after WriteHeader(101), which is then sent.
//     A hijacked connection is counted, closed at the end of a drain, and does not hold a place of workers.max.
//   - Read and write deadlines of http.ResponseController take the place of the server's limits; past them Read and Write fail with
//     os.ErrDeadlineExceeded.
//   - A panic with http.ErrAbortHandler closes the connection without a log line.
//
// It is better or other than in net/http:
//
//   - A response of at most StreamAt bytes that is not flushed has a Content-Length; so has an answer to HEAD that was written.
//   - A regular file that is copied in whole or in part as the only content, as http.ServeContent and http.FileServer do, is sent with
//     sendfile by the loop when the handler has returned: no worker waits for a slow client. The handler may close the file and remove
//     it, but not change its content.
//   - Any other panic is a 500 if nothing was sent, and a line in the log.
//   - Date, Server, Keep-Alive and Transfer-Encoding are the server's, and cannot be set or suppressed. A status above 599 is sent as 500.
//   - limits.handler_timeout answers with 503 when the handler has not begun to.
//   - Hijack after Flush, or after more than StreamAt bytes, is refused, and so is one whose client still sends a large request body or
//     waits for earlier responses.
//   - A client that ends its sending side may still want the answer, so the context is not cancelled by that alone: see Request.Context.
//     A handler that has begun its answer and waits for events should write something now and then.
//   - http.CloseNotifier and http.Pusher are not implemented.
func HTTP(h http.Handler) Handler { return adapter{h} }

type adapter struct{ handler http.Handler }

func (a adapter) Serve(w *Response, r *Request) {
	body := &requestBody{body: &r.Body, response: w}
	request, err := newHTTPRequest(r, body)
	if err != nil {
		Error(w, 400)
		return
	}
	body.request = request
	rw := &responseWriter{response: w, request: request, body: body, header: httpHeader(w.Header()), declared: -1}
	defer func() { // of a handler that panics, too: what it has left running must not touch the next exchange
		rw.done = true
		rw.dropHeld()
		body.end()
		if request.MultipartForm != nil {
			request.MultipartForm.RemoveAll()
		}
	}()
	a.handler.ServeHTTP(rw, request)
	rw.finish()
}
