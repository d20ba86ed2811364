package middleware

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestRecover(t *testing.T) {
	panics := func(w *web.Response, _ *web.Request) {
		w.Header().Set("X-Handler", "1")
		w.SendString("half an answer")
		panic("gone wrong")
	}
	for name, c := range map[string]struct {
		options RecoverOptions
		status  int
		body    string
		kind    string
	}{
		"plain":  {RecoverOptions{}, 500, "Internal Server Error\n", "text/plain; charset=utf-8"},
		"status": {RecoverOptions{Status: 502}, 502, "Bad Gateway\n", "text/plain; charset=utf-8"},
		"body":   {RecoverOptions{Body: "<p>Sorry.</p>", ContentType: "text/html"}, 500, "<p>Sorry.</p>", "text/html"},
		"text":   {RecoverOptions{Body: "Sorry."}, 500, "Sorry.", "text/plain; charset=utf-8"},
		"answer": {RecoverOptions{Answer: func(w *web.Response, r *web.Request, v any) {
			w.SendString(fmt.Sprintf("%s: %v", r.Path, v))
		}}, 500, "/x: gone wrong", "text/plain; charset=utf-8"},
	} {
		for _, inline := range []bool{false, true} {
			var logged []string
			c.options.Log = func(r *web.Request, v any, stack []byte) {
				logged = append(logged, fmt.Sprintf("%s %v", r.Path, v))
				if !strings.Contains(string(stack), "recover_test.go") {
					t.Errorf("%s: the stack does not lead to the panic:\n%s", name, stack)
				}
			}
			var h web.Handler = web.HandlerFunc(panics)
			if inline {
				h = onLoop{HandlerFunc: panics}
			}
			resp := webtest.Get(web.Chain(h, RequestID(RequestIDOptions{}), Recover(c.options)), "/x")
			if resp.Status != c.status || resp.Text() != c.body || resp.Header.Get("Content-Type") != c.kind || resp.Inline != inline {
				t.Errorf("%s: inline %v, %d %q %v", name, resp.Inline, resp.Status, resp.Text(), resp.Header)
			}
			if resp.Header.Has("X-Handler") || !resp.Header.Has("X-Request-Id") {
				t.Errorf("%s: %v", name, resp.Header)
			}
			if len(logged) != 1 || logged[0] != "/x gone wrong" {
				t.Errorf("%s: logged %q", name, logged)
			}
		}
	}
	quiet := Recover(RecoverOptions{})(web.StringFunc(func(*web.Request) string { return "fine" }))
	if resp := webtest.Get(quiet, "/"); resp.Text() != "fine" {
		t.Error(resp.Text())
	}
	defer func() {
		if recover() == nil {
			t.Error("a status of 404 is accepted")
		}
	}()
	Recover(RecoverOptions{Status: 404})
}

// What cannot be answered any more is passed on as http.ErrAbortHandler, which closes the connection.
func TestRecoverAborts(t *testing.T) {
	for name, c := range map[string]struct {
		handler web.HandlerFunc
		logged  int
	}{
		"abort":   {func(*web.Response, *web.Request) { panic(http.ErrAbortHandler) }, 0},
		"wrapped": {func(*web.Response, *web.Request) { panic(fmt.Errorf("no: %w", http.ErrAbortHandler)) }, 0},
		"stream": {func(w *web.Response, _ *web.Request) {
			io.WriteString(w, "begun")
			w.Flush()
			panic("gone wrong")
		}, 1},
	} {
		logged := 0
		h := Recover(RecoverOptions{Log: func(*web.Request, any, []byte) { logged++ }})(c.handler)
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) || logged != c.logged {
					t.Errorf("%s: %v, %d lines", name, err, logged)
				}
			}()
			webtest.Get(h, "/")
		}()
	}
}
