package child

import (
	"compress/gzip"
	"encoding/json"
	"expvar"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/rs/cors"

	"github.com/tined/tined/child/web"
)

// lineWriter collects lines of a log from several goroutines.
type lineWriter struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// A chi router with its middleware, and rs/cors before it.
func TestAdaptedChi(t *testing.T) {
	var logged lineWriter
	throttled := make(chan struct{})
	release := make(chan struct{})
	r := chi.NewRouter()
	r.Use(cors.New(cors.Options{AllowedOrigins: []string{"https://a.example"}, AllowedMethods: []string{"GET", "PUT"}}).Handler)
	r.Use(middleware.RequestID, middleware.CleanPath, middleware.GetHead)
	r.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(&logged, "", 0), NoColor: true}))
	r.Use(middleware.Recoverer)
	r.Use(middleware.Compress(5, "text/plain"))
	r.Use(middleware.Heartbeat("/ping"))
	r.Route("/items/{id}", func(r chi.Router) {
		r.Get("/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, strings.Repeat(chi.URLParam(r, "id"), 1000))
		})
		r.Put("/", func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, " ", err, " ", middleware.GetReqID(r.Context()) != "")
		})
	})
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("oops") })
	r.With(middleware.Timeout(10*time.Millisecond)).Get("/late", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r.With(middleware.ThrottleBacklog(1, 1, patience)).Get("/throttled", func(w http.ResponseWriter, r *http.Request) {
		throttled <- struct{}{}
		<-release
	})
	r.With(middleware.Throttle(1)).Get("/crowded", func(w http.ResponseWriter, r *http.Request) {
		throttled <- struct{}{}
		<-release
	})
	r.Get("/flush", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "one")
		if err := http.NewResponseController(w).Flush(); err != nil {
			fmt.Fprint(w, err)
		}
		io.WriteString(w, "two")
	})
	r.Mount("/debug", middleware.Profiler())
	tc := start(t, "", routes{"/": web.HTTP(r)})
	c := client(t)

	resp, body := fetch(t, c, "GET", tc.url("/items/7"), nil, "Accept-Encoding", "gzip", "Origin", "https://a.example")
	unzipped, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v: %v", resp.Header, err)
	}
	if plain, err := io.ReadAll(unzipped); err != nil || string(plain) != strings.Repeat("7", 1000) || resp.Header.Get("Access-Control-Allow-Origin") != "https://a.example" {
		t.Errorf("%d bytes, %v, %v", len(plain), err, resp.Header)
	}
	if resp, _ := fetch(t, c, "OPTIONS", tc.url("/items/7"), nil, "Origin", "https://a.example", "Access-Control-Request-Method", "PUT"); resp.StatusCode != 204 ||
		resp.Header.Get("Access-Control-Allow-Methods") != "PUT" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	for _, q := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "/items/7", strings.Repeat("x", 300_000), 200, "300000 <nil> true"},
		{"HEAD", "/flush", "", 200, ""},
		{"DELETE", "/items/7", "", 405, ""},
		{"GET", "/nothing", "", 404, "404 page not found\n"},
		{"GET", "/panic", "", 500, ""},
		{"GET", "/late", "", 504, ""},
		{"GET", "/ping", "", 200, "."},
		{"GET", "/flush", "", 200, "onetwo"},
		{"GET", "/debug/pprof/cmdline", "", 200, ""},
	} {
		resp, body := fetch(t, c, q.method, tc.url(q.path), strings.NewReader(q.body))
		if resp.StatusCode != q.status || q.want != "" && body != q.want {
			t.Errorf("%s %s: %d %q", q.method, q.path, resp.StatusCode, body)
		}
	}
	if n := strings.Count(logged.String(), "\n"); n < 9 || !strings.Contains(logged.String(), `"GET http://`+tc.address+`/nothing HTTP/1.1" from 127.0.0.1:`) {
		t.Errorf("the log has %d lines: %s", n, logged.String())
	}

	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { fetch(t, c, "GET", tc.url("/throttled"), nil) })
	}
	await(t, "one of two", throttled)
	select {
	case <-throttled:
		t.Error("both at a time")
	default:
	}
	release <- struct{}{}
	await(t, "the other", throttled)
	release <- struct{}{}
	both.Go(func() { fetch(t, c, "GET", tc.url("/crowded"), nil) })
	await(t, "the first of the crowd", throttled)
	if resp, _ := fetch(t, c, "GET", tc.url("/crowded"), nil); resp.StatusCode != 429 {
		t.Errorf("beyond the limit: %d", resp.StatusCode)
	}
	close(release)
	both.Wait()
}

// expvar and net/http/pprof, as a program would register them.
func TestAdaptedExpvarAndPprof(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/debug/vars", expvar.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	tc := start(t, "", routes{"/debug/": web.HTTP(mux)})
	c := client(t)
	_, vars := fetch(t, c, "GET", tc.url("/debug/vars"), nil)
	var values map[string]any
	if err := json.Unmarshal([]byte(vars), &values); err != nil || values["memstats"] == nil {
		t.Errorf("%v: %.100s", err, vars)
	}
	for path, begin := range map[string]string{
		"/debug/pprof/":                      "<html>",
		"/debug/pprof/goroutine?debug=1":     "goroutine profile:",
		"/debug/pprof/heap":                  "\x1f\x8b",
		"/debug/pprof/profile?seconds=1":     "\x1f\x8b",
		"/debug/pprof/trace?seconds=0.05":    "go 1.",
		"/debug/pprof/allocs?seconds=1":      "\x1f\x8b", // the difference of two
		"/debug/pprof/symbol?0x1":            "num_symbols: 1",
		"/debug/pprof/heap?debug=1&gc=1":     "heap profile:",
		"/debug/pprof/threadcreate?debug=1":  "threadcreate profile:",
		"/debug/pprof/nothing-of-this-name?": "Unknown profile",
	} {
		if _, body := fetch(t, c, "GET", tc.url(path), nil, "Accept-Encoding", "identity"); !strings.HasPrefix(body, begin) {
			t.Errorf("%s: %.60q", path, body)
		}
	}
}
