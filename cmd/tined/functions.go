//go:build linux

package main

import (
	"errors"
	"io"
	"net/http"

	"github.com/tined/tined"
)

// wholeEcho is the longest body that echo reads before it answers, in bytes. A longer one flows through.
const wholeEcho = 64 << 10

// hello greets the wildcard {name} of its route, else the query parameter name, else the world.
func hello(r *tined.Request) string {
	name := r.PathValue("name")
	if name == "" {
		name = r.QueryValue("name")
	}
	if name == "" {
		name = "World"
	}
	return "Hello, " + name + "!\n"
}

// echo answers with the request's body as it came, under its Content-Type.
func echo(w *tined.Response, r *tined.Request) {
	kind := r.Header.Get("Content-Type")
	if kind == "" {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	var err error
	if n := r.Body.Length(); n >= 0 && n <= wholeEcho {
		var body []byte
		body, err = r.Body.Bytes()
		w.SendBytes(body)
	} else {
		// Write waits while the client does not read, and so the client's body waits too.
		_, err = io.Copy(w, &r.Body)
	}
	switch {
	case err == nil:
	case w.Streaming():
		panic(http.ErrAbortHandler) // the head has gone: the close alone can say that the content is not whole
	case errors.Is(err, tined.ErrBodyTooLarge):
		w.Header().Del("Content-Type")
		tined.Error(w, http.StatusRequestEntityTooLarge)
	default:
		w.Header().Del("Content-Type")
		tined.Error(w, http.StatusBadRequest)
	}
}
