package web_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// bracket is a middleware whose station puts what passes between two marks, and holds it back until a Flush or the end.
func bracket(mark string) web.Middleware {
	return func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			end := w.Filter(func(w *web.Response) func(web.StreamWriter) web.StreamWriter {
				w.Header().Add("X-Order", mark)
				return func(next web.StreamWriter) web.StreamWriter { return &bracketStation{mark: mark, next: next} }
			})
			defer func() {
				if streamed, _ := end(); !streamed {
					w.Header().Add("X-Whole", mark)
				}
			}()
			next.Serve(w, r)
		})
	}
}

type bracketStation struct {
	mark   string
	next   web.StreamWriter
	held   bytes.Buffer
	closed bool
}

func (s *bracketStation) Write(p []byte) (int, error) {
	if s.closed {
		return 0, errors.New("written to a closed station")
	}
	return s.held.Write(p)
}

func (s *bracketStation) Flush() error {
	if s.held.Len() > 0 {
		_, err := s.next.Write([]byte(s.mark + "(" + s.held.String() + ")"))
		s.held.Reset()
		if err != nil {
			return err
		}
	}
	return s.next.Flush()
}

func (s *bracketStation) Close() error {
	if s.closed {
		return errors.New("closed twice")
	}
	s.closed = true
	if err := s.Flush(); err != nil {
		return err
	}
	if _, err := s.next.Write([]byte(s.mark + ".")); err != nil {
		return err
	}
	return s.next.Close() // not its to close: nothing happens
}

func orders(r *webtest.Response, name string) string { return strings.Join(r.Header.Values(name), "") }

// Of two filters the inner one sees the response first; each is told the end once, the inner one first; what a middleware writes after
// the handler passes only those outside.
func TestFilters(t *testing.T) {
	write := func(s string) web.HandlerFunc {
		return func(w *web.Response, r *web.Request) {
			if _, err := w.WriteString(s); err != nil {
				panic(err)
			}
		}
	}
	flushed := func(pieces ...string) web.HandlerFunc {
		return func(w *web.Response, r *web.Request) {
			for _, s := range pieces {
				write(s)(w, r)
				if err := w.Flush(); err != nil {
					panic(err)
				}
			}
		}
	}
	footer := func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			next.Serve(w, r)
			write("f")(w, r)
		})
	}
	nothing := func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			defer w.Filter(func(w *web.Response) func(web.StreamWriter) web.StreamWriter { return nil })()
			next.Serve(w, r)
		})
	}
	large := strings.Repeat("x", web.StreamAt+1)
	for _, c := range []struct {
		name         string
		handler      web.Handler
		body         string
		order, whole string
	}{
		{"whole", web.Chain(write("a"), bracket("1"), bracket("2")), "a", "", "21"},
		{"flushed", web.Chain(flushed("a", "b"), bracket("1"), bracket("2")), "1(2(a))1(2(b))1(2.)1.", "21", ""},
		{"large", web.Chain(write(large), bracket("1"), bracket("2")), "1(2(" + large[:512] + "))1(2(" + large[512:] + "))1(2.)1.", "21", ""},
		{"a footer between", web.Chain(flushed("a"), bracket("1"), footer, bracket("2")), "1(2(a))1(2.f)1.", "21", ""},
		{"a footer outside", web.Chain(flushed("a"), footer, bracket("1"), bracket("2")), "1(2(a))1(2.)1.f", "21", ""},
		{"whole, then streamed outside", web.Chain(write("a"), footerThat(flushed("b")), bracket("1")), "ab", "", "1"},
		{"one that passes all", web.Chain(flushed("a"), bracket("1"), nothing, bracket("2")), "1(2(a))1(2.)1.", "21", ""},
		{"only one that passes all", web.Chain(flushed("a"), nothing), "a", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := webtest.Get(c.handler, "/")
			if r.Text() != c.body || orders(r, "X-Order") != c.order || orders(r, "X-Whole") != c.whole {
				t.Errorf("%.60q, order %q, whole %q", r.Text(), orders(r, "X-Order"), orders(r, "X-Whole"))
			}
		})
	}
}

// footerThat runs h after the handler.
func footerThat(h web.Handler) web.Middleware {
	return func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			next.Serve(w, r)
			h.Serve(w, r)
		})
	}
}

// A filter sees the type of the content, also when the server has found it.
func TestFilterSeesTheContentType(t *testing.T) {
	seen := ""
	h := func(w *web.Response, r *web.Request) {
		defer w.Filter(func(w *web.Response) func(web.StreamWriter) web.StreamWriter {
			seen = w.Header().Get("Content-Type")
			w.Header().Set("Content-Encoding", "x")
			return nil
		})()
		w.WriteString("<html>")
		w.Flush()
	}
	r := webtest.Get(web.HandlerFunc(h), "/")
	if seen != "text/html; charset=utf-8" || r.Header.Get("Content-Type") != seen {
		t.Errorf("%q, %v", seen, r.Header)
	}
}

// A panic that somebody recovers from: the answer in its place passes no filter of the handlers that have gone.
func TestFiltersAndPanics(t *testing.T) {
	leaks := func(next web.Handler) web.Handler { // a middleware that forgets to end its filter on a panic
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			end := w.Filter(func(*web.Response) func(web.StreamWriter) web.StreamWriter {
				t.Error("a filter of a handler that has gone is asked")
				return nil
			})
			next.Serve(w, r)
			end()
		})
	}
	recovers := func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			defer func() {
				if recover() != nil {
					if !web.Retry(w) {
						t.Error("nothing was sent")
					}
					w.WriteString("instead")
					w.Flush()
				}
			}()
			next.Serve(w, r)
		})
	}
	panics := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.WriteString("before")
		panic("oops")
	})
	for name, h := range map[string]web.Handler{
		"inside":  web.Chain(panics, recovers, leaks),
		"between": web.Chain(panics, bracket("1"), recovers, leaks),
		"many":    web.Chain(panics, bracket("1"), bracket("2"), recovers, leaks, leaks),
	} {
		if r := webtest.Get(h, "/"); r.Text() != "instead" {
			t.Errorf("%s: %q", name, r.Text())
		}
	}
}

// The end of a filter reports what its station could not pass on.
func TestFilterReportsErrors(t *testing.T) {
	var streamed bool
	var failed error
	h := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		end := w.Filter(func(w *web.Response) func(web.StreamWriter) web.StreamWriter {
			return func(next web.StreamWriter) web.StreamWriter { return &bracketStation{mark: "1", next: next} }
		})
		w.WriteString("a")
		w.Flush()
		w.WriteString("b")
		streamed, failed = end()
		if again, err := end(); !again || err != nil {
			t.Errorf("a second end: %v, %v", again, err)
		}
	})
	webtest.Do(h, webtest.Request{Tee: failingWriter{after: "1(a)"}})
	if !streamed || failed == nil {
		t.Errorf("%v, %v", streamed, failed)
	}
}

// failingWriter takes one piece.
type failingWriter struct{ after string }

func (f failingWriter) Write(p []byte) (int, error) {
	if string(p) != f.after {
		return 0, errors.New("the client has gone")
	}
	return len(p), nil
}
