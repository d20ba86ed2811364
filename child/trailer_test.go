package child

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/web"
)

// Trailers follow every kind of body, announced, in chunked framing; not where nothing may follow.
func TestResponseTrailers(t *testing.T) {
	late := func(w *web.Response) {
		w.Trailer().Add("X-Sum", "1")
		w.Trailer().Add("X-Sum", "2")
		w.Trailer().Add("Set-Cookie", "a=b") // forbidden
		w.Trailer().Add("X-Split", "a\r\nb") // malformed
	}
	kinds := map[string]func(w *web.Response){
		"nothing":   func(w *web.Response) {},
		"collected": func(w *web.Response) { io.WriteString(w, "body") },
		"text":      func(w *web.Response) { w.SendString("body") },
		"bytes":     func(w *web.Response) { w.SendBytes([]byte("body")) },
		"large":     func(w *web.Response) { w.SendBytes([]byte(strings.Repeat("body", 10<<10))) },
		"file":      func(w *web.Response) { w.SendFile(web.OwnFile(openTemp(t, "a body")), 2, 4) },
		"reader":    func(w *web.Response) { w.SendReader(strings.NewReader("body"), 4) },
		"unknown":   func(w *web.Response) { w.SendReader(strings.NewReader("body"), -1) },
		"stream":    func(w *web.Response) { io.WriteString(w, "body"); w.Flush() },
		"declared":  func(w *web.Response) { w.Header().Set("Content-Length", "4"); io.WriteString(w, "body"); w.Flush() },
	}
	for name, body := range kinds {
		t.Run(name, func(t *testing.T) {
			tc := start(t, "", routes{
				"/s": web.HandlerFunc(func(w *web.Response, r *web.Request) { late(w); body(w) }),
				"/later": web.HandlerFunc(func(w *web.Response, r *web.Request) {
					w.Header().Set("Trailer", "X-Sum") // announced, set when the content is known
					body(w)
					late(w)
				}),
				"/204": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SetStatus(204); late(w); body(w) }),
				"/x":   text("x"),
			})
			p := tc.dial()
			want := "body"
			switch name {
			case "nothing":
				want = ""
			case "large":
				want = strings.Repeat("body", 10<<10)
			}
			for target, announced := range map[string]string{"/s": "X-Sum, X-Split", "/later": "X-Sum"} {
				r := p.get(target)
				if string(r.Body) != want || r.Framing != http1test.Chunked || r.Get("Trailer") != announced || r.Close {
					t.Fatalf("%s: %d bytes, %s, %v", target, len(r.Body), r.Framing, r.Fields)
				}
				if got := r.Trailers.All("X-Sum"); !slices.Equal(got, []string{"1", "2"}) || len(r.Trailers) != 2 {
					t.Errorf("%s: %v", target, r.Trailers)
				}
				p.send("HEAD " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
				if r := p.answer("HEAD"); r.Get("Trailer") != announced || r.Get("Transfer-Encoding") != "chunked" || r.Close {
					t.Errorf("HEAD %s: %v", target, r.Fields)
				}
			}
			if r := p.get("/204"); r.Status != 204 || r.Fields.Has("Trailer") {
				t.Errorf("%v", r.Fields)
			}
			if r := p.get("/x"); string(r.Body) != "x" {
				t.Fatalf("the next answer is %q", r.Body)
			}
			p.send("GET /s HTTP/1.0\r\nHost: x\r\n\r\n")
			if r := p.answer("GET"); string(r.Body) != want || r.Fields.Has("Trailer") || r.Fields.Has("Transfer-Encoding") {
				t.Errorf("HTTP/1.0: %d bytes, %v", len(r.Body), r.Fields)
			}
			p.wantEnd()
		})
	}
}

// What is sent beside a Fixed.
func TestFixedWithFields(t *testing.T) {
	h := new(web.Header)
	h.Set("Content-Type", "text/html")
	h.Set("Vary", "Accept-Encoding")
	fixed := web.NewFixed(200, h, []byte("fixed"))
	serve := func(w *web.Response, r *web.Request) {
		w.Header().Set("X-Request-Id", "7")
		w.Header().Set("Vary", "Origin")
		w.Header().Set("Content-Type", "text/plain")
		w.Trailer().Set("X-Sum", "1")
		w.SendFixed(fixed)
	}
	tc := start(t, "", routes{"/now": nowHandler(serve), "/worker": web.HandlerFunc(serve)})
	p := tc.dial()
	for _, target := range []string{"/now", "/worker"} {
		r := p.get(target)
		if string(r.Body) != "fixed" || r.Framing != http1test.ContentLength || r.Fields.Has("Trailer") {
			t.Fatalf("%q, %s, %v", r.Body, r.Framing, r.Fields)
		}
		if types := r.Fields.All("Content-Type"); !slices.Equal(types, []string{"text/html"}) || r.Get("X-Request-Id") != "7" || len(r.Fields.All("Vary")) != 2 {
			t.Errorf("%v", r.Fields)
		}
	}
}

// The Content-Type of what is written without one, whole and as a stream; an empty one is none.
func TestContentTypeIsFound(t *testing.T) {
	const page = "<!DOCTYPE html><title>x</title>"
	large := page + strings.Repeat(" ", web.StreamAt)
	for _, test := range []struct {
		name  string
		serve func(w *web.Response)
		want  string
		none  bool
	}{
		{"collected", func(w *web.Response) { io.WriteString(w, page) }, "text/html; charset=utf-8", false},
		{"flushed", func(w *web.Response) { io.WriteString(w, page); w.Flush() }, "text/html; charset=utf-8", false},
		{"flushed text", func(w *web.Response) { w.SendString(page); w.Flush() }, "text/plain; charset=utf-8", false},
		{"flushed bytes", func(w *web.Response) { w.SendBytes([]byte(page)); w.Flush() }, "text/html; charset=utf-8", false},
		{"one large Write", func(w *web.Response) { io.WriteString(w, large) }, "text/html; charset=utf-8", false},
		{"many Writes", func(w *web.Response) {
			for i := range len(large) {
				io.WriteString(w, large[i:i+1])
			}
		}, "text/html; charset=utf-8", false},
		{"flushed before", func(w *web.Response) { w.Flush(); io.WriteString(w, page) }, "", true},
		{"set", func(w *web.Response) { w.Header().Set("Content-Type", "a/b"); io.WriteString(w, large) }, "a/b", false},
		{"encoded", func(w *web.Response) { w.Header().Set("Content-Encoding", "gzip"); io.WriteString(w, large) }, "", true},
		{"none, stream", func(w *web.Response) { w.Header().Set("Content-Type", ""); io.WriteString(w, large) }, "", true},
		{"none, collected", func(w *web.Response) { w.Header().Set("Content-Type", ""); io.WriteString(w, page) }, "", true},
		{"none, text", func(w *web.Response) { w.Header().Set("Content-Type", ""); w.SendString(page) }, "", true},
	} {
		for _, inline := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, inline), func(t *testing.T) {
				serve := func(w *web.Response, r *web.Request) { test.serve(w) }
				var h web.Handler = web.HandlerFunc(serve)
				if inline {
					h = nowHandler(serve)
				}
				r := start(t, "", routes{"/s": h}).dial().get("/s")
				if r.Get("Content-Type") != test.want || r.Fields.Has("Content-Type") == test.none {
					t.Errorf("%v", r.Fields)
				}
				if want := len(page); len(r.Body) != want && len(r.Body) != len(large) {
					t.Errorf("%d bytes", len(r.Body))
				}
			})
		}
	}
}

// openTemp opens a file with this content.
func openTemp(t *testing.T, content string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
