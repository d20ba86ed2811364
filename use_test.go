//go:build linux

package tined

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/middleware"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web/webtest"
)

// note is a middleware that leaves its name in the response.
func note(name string) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(w *Response, r *Request) {
			w.Header().Add("X-Note", name)
			next.Serve(w, r)
		})
	}
}

// Use puts middleware around all routes from code, whenever they are registered, and not around named functions.
func TestUse(t *testing.T) {
	defer func(before *Program) { program = before }(program)
	program = New(Options{})
	HandleFunc("GET /a", answer)
	Use(note("one"), note("two"))
	program.Use(note("three"))
	HandleFunc("GET /b", answer)
	Func("f", answer)
	got := program.start()
	for _, r := range got.Code {
		if notes := strings.Join(webtest.Get(r.Handler, "/").Header.Values("X-Note"), " "); notes != "one two three" {
			t.Errorf("%s: %s", r.Pattern, notes)
		}
	}
	for name, register := range map[string]func(){"after Main": func() { Use(note("late")) }, "nil": func() { New(Options{}).Use(nil) }} {
		func() {
			defer func() {
				if message, _ := recover().(string); !strings.Contains(message, "use_test.go:") {
					t.Errorf("%s: panicked with %q", name, message)
				}
			}()
			register()
		}()
	}
}

// Every program has the blocks of package middleware; one of its own may take the place of another.
func TestMiddlewareBlocks(t *testing.T) {
	own := middleware.All()[0]
	got := New(Options{Middleware: []module.Middleware{own}}).start().Middleware
	var names []string
	for _, m := range got {
		names = append(names, m.Spec().Name)
	}
	if strings.Join(names, " ") != "compress recover request_id timeout" {
		t.Errorf("%v", names)
	}
}
