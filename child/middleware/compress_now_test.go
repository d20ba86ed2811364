package middleware

import (
	"io"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// onLoop answers without blocking, but for the requests that it leaves to a worker.
type onLoop struct {
	web.HandlerFunc
	leave bool
}

func (h onLoop) ServeNow(w *web.Response, r *web.Request) bool {
	if h.leave {
		return false
	}
	h.HandlerFunc(w, r)
	return true
}

// A handler that answers on the loop stays there, and nothing is compressed there: a worker does it, once for a Fixed.
func TestCompressNow(t *testing.T) {
	body := text(5000)
	fixed := header("Content-Type", "text/plain", "ETag", `"v1"`)
	whole := web.NewFixed(200, &fixed, []byte(body))
	for name, kind := range kinds {
		handler := onLoop{HandlerFunc: answer(kind, body, nil)}
		if kind == web.BodyFixed {
			handler.HandlerFunc = func(w *web.Response, _ *web.Request) { w.SendFixed(whole) }
		}
		h := Compress(CompressOptions{})(handler)
		for i := range 3 {
			for _, coding := range []string{"", "zstd", "gzip"} {
				resp := get(h, coding)
				if !resp.Inline || resp.Header.Get("Content-Encoding") != coding || decode(t, coding, resp.Body) != body || resp.Header.Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s, %q: inline %v, %v", name, coding, resp.Inline, resp.Header)
				}
				want := web.BodyReader
				if kind == web.BodyFixed && (i > 0 || coding == "") {
					want = web.BodyFixed
				}
				if coding != "" && resp.Kind != want {
					t.Errorf("%s, %q for the time %d: kind %d, want %d", name, coding, i+1, resp.Kind, want)
				}
			}
		}
	}
	left := Compress(CompressOptions{})(onLoop{answer(web.BodyText, body, nil), true})
	resp := webtest.Do(left, webtest.Request{Header: map[string]string{"Accept-Encoding": "br", "If-None-Match": `"v1-br"`}})
	if resp.Inline || resp.Header.Get("Content-Encoding") != "br" || resp.Length != int64(len(resp.Body)) {
		t.Errorf("left to a worker: inline %v, %v", resp.Inline, resp.Header)
	}
	streams := Compress(CompressOptions{})(onLoop{HandlerFunc: func(w *web.Response, _ *web.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Flush()
		io.WriteString(w, body)
	}})
	if resp := get(streams, "gzip"); !resp.Inline || resp.Header.Has("Content-Encoding") || resp.Header.Get("Vary") != "Accept-Encoding" || resp.Text() != body {
		t.Errorf("a stream: inline %v, %v", resp.Inline, resp.Header)
	}
	var r web.Request
	var w web.Response
	web.AddField(&r, "Accept-Encoding", "br")
	web.AddField(&r, "If-None-Match", `"v1-br"`)
	if left.(web.NonBlocking).ServeNow(&w, &r) || r.Header.Get("If-None-Match") != `"v1-br"` {
		t.Errorf("left as %v", r.Header)
	}
	if _, ok := Compress(CompressOptions{})(answer(web.BodyText, body, nil)).(web.NonBlocking); ok {
		t.Error("a handler that may block is offered to the loop")
	}
}

// What is kept of Fixed answers is bounded.
func TestCompressKeepsLittle(t *testing.T) {
	fields := header("Content-Type", "text/plain")
	answers := make([]*web.Fixed, 300)
	for i := range answers {
		answers[i] = web.NewFixed(200, &fields, []byte(text(100_000+i)))
	}
	next := 0
	c := Compress(CompressOptions{GzipLevel: 1})(onLoop{HandlerFunc: func(w *web.Response, _ *web.Request) { w.SendFixed(answers[next]) }}).(compressorNow)
	for next = range answers {
		if resp := get(c, "gzip"); decode(t, "gzip", resp.Body) != string(answers[next].Body) {
			t.Fatal("wrong content")
		}
		var sum int64
		for _, a := range c.fixed.kept {
			sum += a.length
		}
		if sum != c.fixed.length || sum > keepAnswers {
			t.Fatalf("%d bytes are kept, %d counted", sum, c.fixed.length)
		}
	}
	if len(c.fixed.kept) < 20 {
		t.Errorf("only %d answers are kept", len(c.fixed.kept))
	}
	huge := web.NewFixed(200, &fields, []byte(text(2*keepAnswer)))
	h := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SendFixed(huge) }))
	resp := get(h, "br")
	if decode(t, "br", resp.Body) != string(huge.Body) || len(h.(*compressor).fixed.kept) > 0 {
		t.Error("a huge one is kept, or wrong")
	}
}
