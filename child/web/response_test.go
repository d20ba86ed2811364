package web_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// counted is a file and a reader that counts how often it was given back.
type counted struct {
	io.Reader
	releases int
}

func (c *counted) Fd() uintptr  { return ^uintptr(0) }
func (c *counted) Release()     { c.releases++ }
func (c *counted) Close() error { c.releases++; return nil }

func TestLastSendWins(t *testing.T) {
	sends := map[string]func(w *web.Response){
		"Write":      func(w *web.Response) { w.Write([]byte("last")) },
		"String":     func(w *web.Response) { w.WriteString("last") },
		"SendBytes":  func(w *web.Response) { w.SendBytes([]byte("last")) },
		"SendString": func(w *web.Response) { w.SendString("last") },
		"SendFixed":  func(w *web.Response) { w.SendFixed(web.NewFixed(200, &web.Header{}, []byte("last"))) },
		"SendReader": func(w *web.Response) { w.SendReader(strings.NewReader("last"), -1) },
		"Flush": func(w *web.Response) {
			w.Flush()
			w.Write([]byte("last"))
		},
	}
	for name, send := range sends {
		t.Run(name, func(t *testing.T) {
			var file, reader counted
			resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
				w.SendBytes([]byte("first"))
				w.SendReader(&reader, 5)
				w.SendFile(&file, 0, 5)
				send(w)
			}), "/")
			if resp.Text() != "last" || file.releases != 1 || reader.releases != 1 {
				t.Errorf("body %q, file released %d times, reader closed %d times", resp.Text(), file.releases, reader.releases)
			}
		})
	}
}

func TestSendAfterStreamingIsRefused(t *testing.T) {
	var file, reader counted
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.WriteString("streamed")
		w.Flush()
		w.SendBytes([]byte("x"))
		w.SendString("x")
		w.SendFixed(web.NewFixed(404, &web.Header{}, []byte("x")))
		w.SendFile(&file, 0, 1)
		w.SendReader(&reader, 1)
		if _, _, err := w.Detach(); !errors.Is(err, web.ErrCommitted) {
			t.Errorf("Detach: %v", err)
		}
	}), "/")
	if resp.Status != 200 || resp.Text() != "streamed" || file.releases != 1 || reader.releases != 1 {
		t.Errorf("%d %q, released %d and %d times", resp.Status, resp.Text(), file.releases, reader.releases)
	}
}

func TestRetry(t *testing.T) {
	var w web.Response
	web.Begin(&w, nil)
	var file counted
	w.SetStatus(201)
	w.Header().Set("X-A", "1")
	w.SendFile(&file, 0, 1)
	if !web.Retry(&w) || file.releases != 1 || w.Status() != 200 || w.Header().Len() != 0 || web.OutcomeOf(&w).Kind != web.BodyNone {
		t.Errorf("after Retry: %d, %d fields, released %d times", w.Status(), w.Header().Len(), file.releases)
	}
}

func TestWriteTurnsIntoStream(t *testing.T) {
	piece := strings.Repeat("x", web.StreamAt)
	for name, write := range map[string]func(w *web.Response, s string){
		"Write":       func(w *web.Response, s string) { w.Write([]byte(s)) },
		"WriteString": func(w *web.Response, s string) { w.WriteString(s) },
	} {
		for pieces := range 4 {
			resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
				for range pieces {
					write(w, piece)
				}
				if w.Streaming() != (pieces > 1) {
					t.Errorf("%s: %d pieces: streaming is %t", name, pieces, w.Streaming())
				}
			}), "/")
			if len(resp.Body) != pieces*web.StreamAt {
				t.Errorf("%s: %d pieces: %d bytes", name, pieces, len(resp.Body))
			}
		}
	}
}

// What was written before another Send does not come back.
func TestWriteAfterSend(t *testing.T) {
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.WriteString("first")
		w.SendString("second")
		w.WriteString("third")
	}), "/")
	if resp.Text() != "third" {
		t.Errorf("%q", resp.Text())
	}
}

// A Flush sends what was set in memory, and leaves files and readers to the server.
func TestFlushOfSends(t *testing.T) {
	for name, c := range map[string]struct {
		send     func(w *web.Response)
		streamed bool
	}{
		"text":   {func(w *web.Response) { w.SendString("body") }, true},
		"bytes":  {func(w *web.Response) { w.SendBytes([]byte("body")) }, true},
		"reader": {func(w *web.Response) { w.SendReader(strings.NewReader("body"), 4) }, false},
		"fixed":  {func(w *web.Response) { w.SendFixed(web.NewFixed(200, new(web.Header), []byte("body"))) }, false},
	} {
		resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			c.send(w)
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
		}), "/")
		if resp.Text() != "body" || resp.Streamed != c.streamed {
			t.Errorf("%s: %q, streamed %v", name, resp.Text(), resp.Streamed)
		}
	}
}

// What a handler says beside its answer.
func TestInformTrailersAndDeadlines(t *testing.T) {
	at := time.Unix(5, 0)
	for _, old := range []bool{false, true} {
		resp := webtest.Do(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			h := new(web.Header)
			h.Set("Link", "</a.css>; rel=preload")
			if err := w.Inform(103, h); err != nil {
				t.Error(err)
			}
			if w.Inform(101, nil) == nil || w.Inform(200, nil) == nil {
				t.Error("a status that is not informational")
			}
			if err := errors.Join(w.SetReadDeadline(at), w.SetWriteDeadline(at)); err != nil {
				t.Error(err)
			}
			w.Trailer().Set("X-Sum", "1")
			w.WriteString("body")
		}), webtest.Request{HTTP10: old})
		if len(resp.Informed) == 1 == old || (resp.Trailer.Len() == 1) == old || (resp.Length == -1) == old || !resp.ReadDeadline.Equal(at) || !resp.WriteDeadline.Equal(at) {
			t.Errorf("HTTP/1.0 %v: %+v", old, resp)
		}
	}
}

func TestSetStatusRefusesNonsense(t *testing.T) {
	for _, status := range []int{0, 99, 100, 199, 600} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("SetStatus(%d) did not panic", status)
				}
			}()
			webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SetStatus(status) }), "/")
		}()
	}
}

func TestNewFixed(t *testing.T) {
	var h web.Header
	h.Set("X-A", "1")
	h.Set("Bad Name", "1")
	h.Set("X-Split", "a\r\nb: c")
	h.Set("Connection", "close")
	h.Set("Content-Length", "99")
	h.Set("Date", "never")
	for status, want := range map[int]string{
		200: "X-A: 1\r\nContent-Length: 4\r\n",
		204: "X-A: 1\r\n",
		304: "X-A: 1\r\n",
	} {
		if got := string(web.NewFixed(status, &h, []byte("body")).Fields); got != want {
			t.Errorf("%d: %q, want %q", status, got, want)
		}
	}
}

func TestOwnFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	web.OwnFile(f).Release()
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
}

func TestErrorPage(t *testing.T) {
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) { web.Error(w, 418) }), "/")
	if resp.Status != 418 || resp.Text() != "I'm a teapot\n" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Error(resp.Status, resp.Text())
	}
}
