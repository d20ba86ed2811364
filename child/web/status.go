package web

import (
	"errors"
	"net/http"
)

// Error answers with status and a text: message, or the status's reason phrase without one. It is the plain error page. Fields that
// describe other content (Content-Encoding, Content-Range, ETag, Last-Modified) are removed.
func Error(w *Response, status int, message ...string) {
	text := StatusText(status)
	if len(message) > 0 {
		text = message[0]
	}
	w.SetStatus(status)
	if h := w.Header(); h.Len() > 0 {
		for _, name := range []string{"Content-Encoding", "Content-Range", "ETag", "Last-Modified"} {
			h.Del(name)
		}
		if h.Has("Content-Type") {
			h.Set("Content-Type", "text/plain; charset=utf-8")
		}
	}
	w.SendString(text + "\n")
}

// StatusText returns a status's reason phrase, "" for an unknown one (RFC 9110, 15); net/http has older names for some.
func StatusText(status int) string {
	switch status {
	case 413:
		return "Content Too Large"
	case 416:
		return "Range Not Satisfiable"
	case 422:
		return "Unprocessable Content"
	}
	return http.StatusText(status)
}

// A RequestError is what is wrong with the content of a request. Error is for logs: clients get the status.
type RequestError struct {
	Status int   // 400 malformed, 413 too large, 415 another media type
	Err    error // never nil
}

func (e *RequestError) Error() string { return e.Err.Error() }

func (e *RequestError) Unwrap() error { return e.Err }

// StatusOf returns the status that tells a client of err: that of a RequestError, 413 for ErrBodyTooLarge, 400 for a missing file, field
// or cookie, and 500 for what is not the client's fault.
//
//	if err := r.ParseForm(); err != nil {
//		web.Error(w, web.StatusOf(err))
//		return
//	}
func StatusOf(err error) int {
	var wrong *RequestError
	switch {
	case errors.As(err, &wrong):
		return wrong.Status
	case errors.Is(err, ErrBodyTooLarge):
		return 413
	case errors.Is(err, http.ErrMissingFile), errors.Is(err, http.ErrNoCookie):
		return 400
	}
	return 500
}

// unreadable is the RequestError of a body that could not be read.
func unreadable(err error) error {
	if errors.Is(err, ErrBodyTooLarge) {
		return &RequestError{Status: 413, Err: err}
	}
	return &RequestError{Status: 400, Err: err}
}
