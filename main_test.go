//go:build linux

package tined_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/tined/tined"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web/webtest/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m, program) }

// program is the server of this package's tests of processes. What a test wants of it is in the environment: NOTES is the file that takes
// a line from every hook, FAIL the hook that returns an error, PANIC the one that panics, GOEXIT the one that ends its goroutine, EXTRA
// a shared name and ROUTE a route that only children register.
func program() {
	broom := new(sweep)
	p := tined.New(tined.Options{Name: "prog", Version: "1.0.0", Modules: []module.Module{broom}})
	visits, motd, limit := p.SharedCounter("visits"), p.SharedValue("motd"), p.SharedValue("limits/max")
	broom.swept = p.SharedCounter("swept")
	visits.Add(1000)
	if err := motd.Set("from main"); err != nil {
		panic(err)
	}
	if extra := os.Getenv("EXTRA"); extra != "" && tined.IsChild() {
		p.SharedCounter(extra)
	}
	if route := os.Getenv("ROUTE"); route != "" && tined.IsChild() {
		p.HandleFunc(route, func(*tined.Request) string { return "" })
	}
	hooks(p, visits, motd, limit)

	var ballast []byte
	p.HandleFunc("GET /grow", func(*tined.Request) string {
		ballast = bytes.Repeat([]byte("x"), 100<<20)
		return fmt.Sprint(len(ballast))
	})
	p.HandleFunc("GET /pid", func(*tined.Request) string { return fmt.Sprint(os.Getpid(), " ", tined.ChildIndex()) })
	p.HandleFunc("POST /visit", func(*tined.Request) string { return fmt.Sprint(visits.Add(1)) })
	p.HandleFunc("GET /visits", func(*tined.Request) string { return fmt.Sprint(visits.Load()) })
	p.HandleFunc("GET /motd", func(*tined.Request) string { return fmt.Sprint(tined.ChildIndex(), " ", motd.Get()) })
	p.Handle("PUT /motd", tined.HandlerFunc(func(w *tined.Response, r *tined.Request) {
		text, err := r.Body.BytesMax(1 << 20)
		if err == nil {
			err = motd.Set(string(text))
		}
		if errors.Is(err, tined.ErrValueTooLong) {
			tined.Error(w, http.StatusRequestEntityTooLarge)
		} else if err != nil {
			tined.Error(w, http.StatusInternalServerError)
		}
	}))
	// It answers with what the value has changed to, and says in the log when it waits.
	p.HandleFunc("GET /next", func(*tined.Request) string {
		changed := limit.Changed()
		fmt.Println("waiting for a change")
		<-changed
		return limit.Get()
	})
	p.HandleFunc("POST /limit", func(r *tined.Request) string { return fmt.Sprint(limit.Set(r.QueryValue("to"))) })
	// It begins to answer at once, and ends when the child drains.
	p.Handle("GET /until-drain", tined.HandlerFunc(func(w *tined.Response, _ *tined.Request) {
		_, _ = w.Write([]byte("begun\n"))
		_ = w.Flush()
		<-drained
		_, _ = w.Write([]byte("drained\n"))
	}))
	p.Main()
}

// drained is closed by the first OnDrain hook.
var drained = make(chan struct{})

// contextEnded is closed once the end of the first hook's context is noted.
var contextEnded = make(chan struct{})

func hooks(p *tined.Program, visits *tined.Counter, motd, limit *tined.Value) {
	fails := func(hook string) error {
		if os.Getenv("PANIC") == hook {
			panic("as asked")
		}
		if os.Getenv("GOEXIT") == hook {
			runtime.Goexit()
		}
		if os.Getenv("FAIL") == hook {
			return errors.New("no database")
		}
		return nil
	}
	p.OnMaster(func(context.Context) error {
		note("master 1 %v %d", tined.IsChild(), visits.Load())
		return fails("OnMaster")
	})
	p.OnMaster(func(ctx context.Context) error {
		note("master 2 %s", motd.Get())
		if os.Getenv("FAIL") == "hang" {
			<-ctx.Done()
			return ctx.Err()
		}
		return motd.Set("from the master")
	})
	p.OnChildStart(func(ctx context.Context, c tined.Child) error {
		note("start 1 child %d %v %d %s", c.Index, tined.IsChild(), tined.ChildIndex(), motd.Get())
		context.AfterFunc(ctx, func() {
			note("context ends child %d", c.Index)
			close(contextEnded)
		})
		return fails("OnChildStart")
	})
	p.OnChildStart(func(_ context.Context, c tined.Child) error {
		note("start 2 child %d", c.Index)
		return limit.Set(fmt.Sprint("set by child ", c.Index))
	})
	p.OnReady(func(c tined.Child) {
		note("ready child %d", c.Index)
		_ = fails("OnReady")
	})
	p.OnDrain(func(c tined.Child) {
		note("drain child %d", c.Index)
		close(drained)
	})
	p.OnExit(func(_ context.Context, c tined.Child) {
		<-contextEnded // on a goroutine of its own, which the process does not wait for
		note("exit child %d", c.Index)
	})
}

// note adds a line to the file NOTES.
func note(format string, args ...any) {
	name := os.Getenv("NOTES")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, format+"\n", args...); err != nil {
		panic(err)
	}
}

// notes are the lines of the file, those of one child with its number left out.
func notes(t *testing.T, name, of string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if before, after, found := strings.Cut(line, of); found {
			lines = append(lines, before+after)
		}
	}
	return lines
}
