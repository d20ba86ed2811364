package middleware

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestTimeout(t *testing.T) {
	waits := func(then func(w *web.Response, r *web.Request)) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.Header().Set("X-Handler", "1")
			<-r.Context().Done()
			if !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
				t.Error(r.Context().Err())
			}
			then(w, r)
		})
	}
	late := func(w *web.Response, _ *web.Request) { w.SendString("too late") }
	for name, c := range map[string]struct {
		handler web.Handler
		options TimeoutOptions
		status  int
		retry   string
		body    string
	}{
		"inTime":   {web.StringFunc(func(*web.Request) string { return "here" }), TimeoutOptions{After: time.Hour}, 200, "", "here"},
		"late":     {waits(late), TimeoutOptions{After: time.Millisecond}, 503, "1", "Service Unavailable\n"},
		"gateway":  {waits(late), TimeoutOptions{After: time.Millisecond, Status: 504}, 504, "", "Gateway Timeout\n"},
		"streamed": {waits(late), TimeoutOptions{After: time.Hour}, 0, "", ""},
	} {
		if name == "streamed" {
			c.options.After = time.Millisecond
			c.handler = web.HandlerFunc(func(w *web.Response, r *web.Request) {
				w.Flush()
				<-r.Context().Done()
				io.WriteString(w, "it goes on")
			})
			c.status, c.body = 200, "it goes on"
		}
		outer := web.Middleware(func(next web.Handler) web.Handler {
			return web.HandlerFunc(func(w *web.Response, r *web.Request) {
				w.Header().Set("X-Outer", "1")
				next.Serve(w, r)
				if r.Context().Err() != nil {
					t.Errorf("%s: the outer context has ended", name)
				}
			})
		})
		resp := webtest.Get(web.Chain(c.handler, outer, Timeout(c.options)), "/")
		if resp.Status != c.status || resp.Text() != c.body || resp.Header.Get("Retry-After") != c.retry || resp.Header.Get("X-Outer") != "1" {
			t.Errorf("%s: %d %q %v", name, resp.Status, resp.Text(), resp.Header)
		}
		if c.status >= 500 && resp.Header.Has("X-Handler") {
			t.Errorf("%s: what the handler has left is in the answer", name)
		}
	}
}

// Who answers after a panic has the context as it was outside.
func TestTimeoutPanic(t *testing.T) {
	answer := func(w *web.Response, r *web.Request, _ any) {
		if err := r.Context().Err(); err != nil {
			t.Error(err)
		}
		w.SendString("answered")
	}
	panics := web.HandlerFunc(func(*web.Response, *web.Request) { panic("a mistake") })
	resp := webtest.Get(web.Chain(panics, Recover(RecoverOptions{Answer: answer}), Timeout(TimeoutOptions{After: time.Hour})), "/")
	if resp.Text() != "answered" {
		t.Errorf("%d %q", resp.Status, resp.Text())
	}
}

// A client that leaves is no timeout, and a handler on the loop has none.
func TestTimeoutNot(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	h := Timeout(TimeoutOptions{After: time.Hour})(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		if _, bounded := r.Context().Deadline(); !bounded {
			t.Error("the handler sees no deadline")
		}
		leave()
		<-r.Context().Done()
		w.SendString("nobody reads it")
	}))
	if resp := webtest.Do(h, webtest.Request{Context: ctx}); resp.Status != 200 {
		t.Error(resp.Status)
	}
	now := Timeout(TimeoutOptions{After: time.Nanosecond})(onLoop{HandlerFunc: func(w *web.Response, _ *web.Request) { w.SendString("now") }})
	if resp := webtest.Get(now, "/"); !resp.Inline || resp.Text() != "now" {
		t.Errorf("inline %v, %d", resp.Inline, resp.Status)
	}
	for _, o := range []TimeoutOptions{{}, {After: -1}, {After: 1, Status: 500}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is accepted", o)
				}
			}()
			Timeout(o)
		}()
	}
}
