//go:build linux

package tined_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tined/tined"
)

// A whole server: three kinds of handler, and the command line.
func Example() {
	main := func() {
		tined.HandleFunc("GET /hello/{name}", func(r *tined.Request) string {
			return "Hello, " + r.PathValue("name") + "!\n"
		})
		tined.Handle("POST /items", tined.HandlerFunc(func(w *tined.Response, r *tined.Request) {
			w.Header().Set("Location", "/items/7")
			w.SetStatus(http.StatusCreated)
		}))
		tined.Handle("/files/", tined.HTTP(http.StripPrefix("/files/", http.FileServer(http.Dir("/srv/files")))))
		tined.Main()
	}
	_ = main // it would serve
}

// A named function is served where the configuration says so: function "shout" {}.
func ExampleProgram_Func() {
	p := tined.New(tined.Options{Name: "shouter", Version: "1.0.0"})
	p.Func("shout", func(r *tined.Request) string { return strings.ToUpper(r.QueryValue("text")) })
	main := p.Main
	_ = main // main calls it last
}

// A stream of any length: Write waits while the client is slow.
func ExampleHandlerFunc() {
	count := tined.HandlerFunc(func(w *tined.Response, r *tined.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range 1000 {
			if _, err := fmt.Fprintln(w, i); err != nil {
				return // the client has gone
			}
		}
	})
	copyBack := tined.HandlerFunc(func(w *tined.Response, r *tined.Request) {
		_, _ = io.Copy(w, &r.Body) // an error is the end of the client
	})
	_, _ = count, copyBack
}
