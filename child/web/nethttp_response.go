package web

import (
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// responseWriter is the http.ResponseWriter of one exchange. One goroutine at a time may use it, but for WriteHeader(1xx) as
// httputil.ReverseProxy calls it.
type responseWriter struct {
	response *Response
	request  *http.Request
	body     *requestBody
	header   http.Header

	wrote    bool        // WriteHeader was called
	trailers http.Header // what the Trailer field announced then
	declared int64       // Content-Length of the handler, -1: none
	written  int64       // content bytes of the handler
	head     []byte      // of an answer to HEAD: the first bytes, to sniff
	held     *heldFile
	conn     net.Conn // once hijacked
	done     bool     // the handler has returned
}

var errHandlerReturned = errors.New("web: the handler has returned")

// usable says whether there still is a response.
func (w *responseWriter) usable() error {
	switch {
	case w.conn != nil:
		return http.ErrHijacked
	case w.done:
		return errHandlerReturned
	}
	return nil
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic("web: WriteHeader with the invalid code " + strconv.Itoa(status)) // as net/http does
	case w.wrote || w.usable() != nil:
		return
	case status < 200 && status != 101: // which Hijack sends
		var h Header
		copyFields(&h, w.header)
		_ = w.response.Inform(status, &h) // a client that has gone shows when the response is written
		return
	}
	w.wrote = true
	w.response.outcome.Status = status
	if value := w.header.Get("Content-Length"); value != "" {
		if n, err := strconv.ParseUint(value, 10, 63); err == nil {
			w.declared = int64(n)
		} else {
			delete(w.header, "Content-Length")
		}
	}
	h := w.response.Header()
	h.Reset()
	copyFields(h, w.header)
	if w.declared >= 0 {
		h.Del("Trailer") // none can follow
		return
	}
	w.trailers = announced(w.header)
}

// copyFields appends the fields of a handler to dst, sorted by name. What HTTP does not allow is left out or mended, as net/http does.
func copyFields(dst *Header, from http.Header) {
	var few [16]string
	keys := few[:0]
	for key := range from {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		switch {
		case !validName(key): // a ':' is in http.TrailerPrefix and in no name
			continue
		case key == "Content-Type" && len(from[key]) == 0:
			dst.Add(key, "") // none is wanted
		case key == "Content-Encoding" && from.Get(key) == "":
			continue // it does not say that there is one
		}
		for _, value := range from[key] {
			if !validValue(value) {
				value = inOneLine(value)
			}
			dst.Add(key, textproto.TrimString(value))
		}
	}
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

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if err := w.admit(int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	if w.request.Method == "HEAD" {
		w.head = append(w.head, p[:min(len(p), sniffed-len(w.head))]...)
		return len(p), nil
	}
	if err := w.spill(); err != nil {
		return 0, err
	}
	return w.response.Write(p)
}

// WriteString implements io.StringWriter.
func (w *responseWriter) WriteString(s string) (int, error) {
	if w.request.Method == "HEAD" || w.held != nil {
		return w.Write([]byte(s))
	}
	if err := w.admit(int64(len(s))); err != nil || s == "" {
		return 0, err
	}
	return w.response.WriteString(s)
}

// admit says whether n more bytes of content may be written, and counts them.
func (w *responseWriter) admit(n int64) error {
	if err := w.usable(); err != nil {
		return err
	}
	if !w.wrote {
		w.WriteHeader(200)
	}
	switch {
	case n == 0:
		return nil
	case !bodyAllowed(w.response.outcome.Status):
		return http.ErrBodyNotAllowed
	case w.declared >= 0 && n > w.declared-w.written:
		return http.ErrContentLength
	}
	w.written += n
	return nil
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *responseWriter) FlushError() error {
	if err := w.usable(); err != nil {
		return err
	}
	if !w.wrote {
		w.WriteHeader(200)
	}
	if w.response.outcome.Status == 101 {
		return nil // Hijack sends it
	}
	if err := w.spill(); err != nil {
		return err
	}
	if w.request.Method == "HEAD" && !w.response.Streaming() {
		w.response.sniff(w.head)
	}
	return w.response.Flush()
}

// EnableFullDuplex is for http.ResponseController: a handler may always read while it writes.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// SetReadDeadline is for http.ResponseController.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	return w.setDeadline(t, net.Conn.SetReadDeadline, (*Response).SetReadDeadline)
}

// SetWriteDeadline is for http.ResponseController.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	return w.setDeadline(t, net.Conn.SetWriteDeadline, (*Response).SetWriteDeadline)
}

func (w *responseWriter) setDeadline(t time.Time, hijacked func(net.Conn, time.Time) error, served func(*Response, time.Time) error) error {
	switch {
	case w.conn != nil:
		return hijacked(w.conn, t)
	case w.done:
		return errHandlerReturned
	}
	w.body.mu.Lock()
	defer w.body.mu.Unlock()
	return notSupported(served(w.response, t))
}

// notSupported gives errors.ErrUnsupported the name that it has in net/http.
func notSupported(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return http.ErrNotSupported
	}
	return err
}

// finish completes the response when the handler has returned.
func (w *responseWriter) finish() {
	if w.conn != nil {
		return
	}
	if !w.wrote {
		w.WriteHeader(200)
	}
	if w.response.outcome.Status == 101 {
		Error(w.response, 500) // a protocol that the handler did not switch to
		return
	}
	w.setTrailers()
	switch {
	case !bodyAllowed(w.response.outcome.Status):
	case w.request.Method == "HEAD":
		if w.response.Streaming() {
			return
		}
		w.response.sniff(w.head)
		length := w.declared
		if length < 0 && w.written > 0 {
			length = w.written
		}
		w.response.SendReader(http.NoBody, length) // never read: only its length matters
	case w.declared > w.written:
		_ = w.spill()
		_ = w.response.Flush()
		panic(http.ErrAbortHandler) // the client must see that the content is not whole
	default:
		w.sendHeld()
	}
}

// setTrailers gives the server the trailer fields with the values that they have by now.
func (w *responseWriter) setTrailers() {
	if w.declared >= 0 {
		return // a response with a Content-Length has none
	}
	final := http.Header{}
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			final[name] = values
		}
	}
	for key := range w.trailers {
		final[key] = append(final[key], w.header[key]...)
	}
	copyFields(w.response.Trailer(), final)
}
