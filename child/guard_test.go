package child

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/middleware"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

func timeoutAfter(d time.Duration, status int) web.Middleware {
	return middleware.Timeout(middleware.TimeoutOptions{After: d, Status: status})
}

// The client of a handler that does not come back is answered in time, and the handler is told.
func TestTimeoutAnswersForTheHandler(t *testing.T) {
	release, told := make(chan struct{}), make(chan error, 3)
	stuck := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		<-r.Context().Done()
		told <- r.Context().Err()
		<-release
		w.SendString("too late")
	})
	tc := start(t, "", routes{
		"GET /503": web.Chain(stuck, timeoutAfter(30*time.Millisecond, 503)),
		"GET /504": web.Chain(stuck, timeoutAfter(30*time.Millisecond, 504)),
		"GET /out": web.Chain(stuck, timeoutAfter(30*time.Millisecond, 504), timeoutAfter(time.Hour, 503)),
		"GET /x":   text("x"),
	})
	for _, c := range []struct {
		target string
		status int
		retry  string
	}{{"/503", 503, "1"}, {"/504", 504, ""}, {"/out", 504, ""}} {
		p := tc.dial()
		if r := p.get(c.target); r.Status != c.status || !r.Close || r.Get("Retry-After") != c.retry {
			t.Errorf("%s: %d, close %v, Retry-After %q", c.target, r.Status, r.Close, r.Get("Retry-After"))
		}
		p.wantEnd()
		p.Close() // or the server lingers
		if err := <-told; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the handler was told %v", c.target, err)
		}
	}
	tc.wantClosed(reasonHandlerTimeout, 3)
	if r := tc.dial().get("/x"); r.Status != 200 {
		t.Errorf("after it: %d", r.Status)
	}
	close(release)
}

// Answers leave in order, also those in the place of a handler.
func TestTimeoutInAPipeline(t *testing.T) {
	release, second := make(chan struct{}), make(chan struct{})
	tc := start(t, "", routes{
		"GET /first": web.StringFunc(func(r *web.Request) string {
			<-release
			return "first"
		}),
		"GET /second": web.Chain(web.HandlerFunc(func(w *web.Response, r *web.Request) {
			<-r.Context().Done()
			<-second
		}), timeoutAfter(30*time.Millisecond, 503)),
	})
	p := tc.dial()
	p.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("the second is answered", func(l *loop) bool {
		c := only(l)
		return c != nil && c.pipeline.pending.last != nil && c.pipeline.pending.last.finished
	})
	close(release)
	if r := p.answer("GET"); r.Status != 200 || string(r.Body) != "first" || r.Close {
		t.Errorf("first: %d %q, close %v", r.Status, r.Body, r.Close)
	}
	if r := p.answer("GET"); r.Status != 503 || !r.Close {
		t.Errorf("second: %d, close %v", r.Status, r.Close)
	}
	p.wantEnd()
	close(second)
}

// A handler that has begun its answer is not interrupted, and what it streams is whole.
func TestTimeoutLeavesStreams(t *testing.T) {
	tc := start(t, "", routes{"GET /": web.Chain(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		io.WriteString(w, "begun, ")
		w.Flush()
		<-r.Context().Done()
		io.WriteString(w, "and ended")
	}), timeoutAfter(30*time.Millisecond, 503))})
	p := tc.dial()
	for range 2 {
		if r := p.get("/"); r.Status != 200 || string(r.Body) != "begun, and ended" || r.Close {
			t.Errorf("%d %q, close %v", r.Status, r.Body, r.Close)
		}
	}
}

// A substitute that comes too late finds nothing: neither the exchange whose handler has returned, nor the next of its connection.
func TestSubstituteComesTooLate(t *testing.T) {
	answers, entered, release := make(chan func(), 1), make(chan struct{}), make(chan struct{})
	tc := start(t, "", routes{
		"GET /first": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			answers <- web.Substitute(r, 503)
			w.SendString("first")
		}),
		"GET /next": web.StringFunc(func(r *web.Request) string {
			close(entered)
			<-release
			return "next"
		}),
	})
	p := tc.dial()
	if r := p.get("/first"); string(r.Body) != "first" {
		t.Fatalf("%d %q", r.Status, r.Body)
	}
	late := <-answers
	late()
	p.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	late()
	tc.onLoop(func(*loop) {}) // it has been heard
	close(release)
	if r := p.answer("GET"); r.Status != 200 || string(r.Body) != "next" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	p.Close()
	tc.until("the connection is gone", func(l *loop) bool { return l.table.Len() == 0 })
	late()
	tc.onLoop(func(*loop) {})
}

// A panic that Recover answers is in the server's log, like one that the server answers.
func TestRecoverLogs(t *testing.T) {
	panics := web.StringFunc(func(*web.Request) string { panic("gone wrong") })
	tc := start(t, "", routes{"GET /": web.Chain(panics, middleware.Recover(middleware.RecoverOptions{Body: "Sorry."}))})
	p := tc.dial()
	if r := p.get("/"); r.Status != 500 || string(r.Body) != "Sorry." || r.Close {
		t.Errorf("%d %q, close %v", r.Status, r.Body, r.Close)
	}
	tc.until("the log has it", func(*loop) bool { return strings.Contains(tc.loggedLines(), "gone wrong") })
	if log := tc.loggedLines(); !strings.Contains(log, "guard_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
}

// A client that comes by no proxy cannot choose its identifier.
func TestRequestIDOfAClient(t *testing.T) {
	tc := start(t, "", routes{"GET /": web.Chain(text("x"), middleware.RequestID(middleware.RequestIDOptions{Trust: middleware.TrustProxies}))})
	p := tc.dial()
	p.send("GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n")
	if id := p.answer("GET").Get("X-Request-Id"); len(id) != 36 {
		t.Errorf("%q", id)
	}
}

// stamp is a middleware that leaves its name behind.
type stamp struct{ name string }

func (s stamp) Spec() configs.BlockSpec {
	return configs.BlockSpec{Name: s.name, Attributes: []configs.Attribute{{Name: "fails", Type: configs.Bool, Default: false}}}
}

func (s stamp) Wrap(next web.Handler, b *configs.Block, env *module.Env) (web.Handler, error) {
	if b.Bool("fails") {
		return nil, errors.New("it does not fit")
	}
	return web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Add("X-Stamp", s.name+" "+env.Pattern)
		next.Serve(w, r)
	}), nil
}

// The blocks of a site stand around those of its routes, in the order of the file, and around the routes from code.
func TestMiddlewareOfTheConfiguration(t *testing.T) {
	tc := start(t, "", nil)
	tc.builder.modules["probe"] = &probe{}
	for _, name := range []string{"one", "two"} {
		tc.builder.middleware[name] = stamp{name}
	}
	tc.commitNext(`
site "main" {
  two {}
  route "/p" {
    probe { says = "p" }
    one {}
    two {}
  }
  route "/plain" {
    probe { says = "plain" }
  }
}
site "bare" {
  hosts = ["bare"]
  route "/p" {
    probe { says = "bare" }
  }
}
`, 2)
	p := tc.dial()
	for target, want := range map[string]string{"/p": "two /p, one /p, two /p", "/plain": "two /plain", "http://bare/p": ""} {
		r := p.get(target)
		if got := strings.Join(r.Fields.All("X-Stamp"), ", "); r.Status != 200 || got != want {
			t.Errorf("%s: %d, %q, want %q", target, r.Status, got, want)
		}
	}
	tc.builder.code["GET /code"] = module.CodeRoute{Handler: text("code")}
	g := &generation{}
	patterns := new(web.Patterns[*route])
	block, err := configs.NewBlock(stamp{"two"}.Spec(), nil)
	if err == nil {
		err = tc.builder.addRoute(g, patterns, &configs.Site{Middleware: []*configs.Block{block}}, &configs.Route{Pattern: "GET /code", FromCode: true})
	}
	rt, result := patterns.Lookup("GET", "/code", new(web.Match))
	if err != nil || result != web.Found || webtest.Get(rt.handler, "/code").Header.Get("X-Stamp") != "two GET /code" {
		t.Errorf("a route from code: %v, %v", err, result)
	}
	_, err = tc.generationOf("site \"main\" {\n  one {\n    fails = true\n  }\n  route \"/p\" {\n    probe { says = \"p\" }\n  }\n}\n", 3)
	if err == nil || !strings.Contains(err.Error(), "one: it does not fit") || !strings.Contains(err.Error(), ":5:") {
		t.Errorf("a middleware that refuses: %v", err)
	}
}
