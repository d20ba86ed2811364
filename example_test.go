//go:build linux

package tined_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

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

// What is done once, what in each child, and in which order.
func ExampleOnChildStart() {
	var db io.Closer // each child has its own
	tined.OnMaster(func(ctx context.Context) error {
		return nil // migrate the database: no child runs yet
	})
	tined.OnChildStart(func(ctx context.Context, c tined.Child) error {
		var err error
		db, err = os.Open("/srv/shop.db")
		return err // it is printed, and the server does not start
	})
	tined.OnExit(func(context.Context, tined.Child) { _ = db.Close() }) // its last request is over
}

// Every client that listens is told what any of them has posted: the value brings it to all children, and each child tells its own clients.
func Example_events() {
	var mu sync.Mutex
	streams := map[*tined.PushStream]bool{} // of this child
	each := func(tell func(s *tined.PushStream) error) {
		mu.Lock()
		defer mu.Unlock()
		for s := range streams {
			if tell(s) != nil { // the client has gone, or is too slow
				_ = s.Close()
				delete(streams, s)
			}
		}
	}
	news := tined.SharedValue("news")

	tined.Handle("GET /news", tined.HandlerFunc(func(w *tined.Response, r *tined.Request) {
		s, err := w.Events()
		if err != nil {
			tined.Error(w, http.StatusInternalServerError)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		streams[s] = true
	}))
	tined.Handle("POST /news", tined.HandlerFunc(func(w *tined.Response, r *tined.Request) {
		if err := news.Set(r.PostFormValue("text")); err != nil {
			tined.Error(w, http.StatusServiceUnavailable)
			return
		}
		w.SetStatus(http.StatusNoContent)
	}))
	tined.OnChildStart(func(ctx context.Context, _ tined.Child) error {
		changed := news.Changed()
		go func() {
			ping := time.NewTicker(30 * time.Second)
			defer ping.Stop()
			for {
				select {
				case <-changed:
					changed = news.Changed() // before Get, so that no change is missed
					e := tined.Event{Data: news.Get()}
					each(func(s *tined.PushStream) error { return s.Send(e) })
				case <-ping.C:
					each((*tined.PushStream).Ping)
				case <-ctx.Done():
					return
				}
			}
		}()
		return nil
	})
	tined.OnDrain(func(tined.Child) { each((*tined.PushStream).Close) }) // their clients come back to another child
}

// Every visitor gets a number of their own, whichever child counts them.
func ExampleProgram_SharedCounter() {
	p := tined.New(tined.Options{})
	visits := p.SharedCounter("visits")
	p.HandleFunc("GET /{$}", func(*tined.Request) string { return fmt.Sprintf("You are visitor %d.\n", visits.Add(1)) })

	// Without processes it counts in this one.
	visits.Add(1)
	fmt.Println(visits.Add(1))
	// Output: 2
}

// Every child answers with the text that any of them has set last.
func ExampleProgram_SharedValue() {
	p := tined.New(tined.Options{})
	motd := p.SharedValue("motd")
	p.HandleFunc("GET /motd", func(*tined.Request) string { return motd.Get() })

	changed := motd.Changed()
	if err := motd.Set("closed on Monday"); err != nil {
		fmt.Println(err)
	}
	<-changed // in every process
	fmt.Println(motd.Get())
	// Output: closed on Monday
}
