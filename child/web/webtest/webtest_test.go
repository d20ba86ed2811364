package webtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestKindsOfBody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	var header web.Header
	header.Set("X-Fixed", "yes")
	fixed := web.NewFixed(203, &header, []byte("fixed"))
	tests := []struct {
		name   string
		serve  web.HandlerFunc
		status int
		body   string
		length int64
	}{
		{"nothing", func(*web.Response, *web.Request) {}, 200, "", 0},
		{"collected", func(w *web.Response, _ *web.Request) { io.WriteString(w, "abc") }, 200, "abc", 3},
		{"bytes", func(w *web.Response, _ *web.Request) { w.SendBytes([]byte("abcd")) }, 200, "abcd", 4},
		{"text", func(w *web.Response, _ *web.Request) { w.SendString("ab") }, 200, "ab", 2},
		{"fixed", func(w *web.Response, _ *web.Request) { w.SendFixed(fixed) }, 203, "fixed", 5},
		{"file", func(w *web.Response, _ *web.Request) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			w.SetStatus(206)
			w.SendFile(web.OwnFile(f), 2, 3)
		}, 206, "234", 3},
		{"reader", func(w *web.Response, _ *web.Request) { w.SendReader(strings.NewReader("read"), -1) }, 200, "read", -1},
		{"reader with a length", func(w *web.Response, _ *web.Request) { w.SendReader(strings.NewReader("read on"), 4) }, 200, "read", 4},
		{"stream", func(w *web.Response, _ *web.Request) {
			w.Write([]byte("a"))
			w.Flush()
			w.Write([]byte("b"))
		}, 200, "ab", -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp := webtest.Get(test.serve, "/")
			if resp.Status != test.status || resp.Text() != test.body || resp.Length != test.length {
				t.Errorf("GET: %d %q length %d, want %d %q length %d", resp.Status, resp.Text(), resp.Length, test.status, test.body, test.length)
			}
			if resp.Streamed != (test.name == "stream") {
				t.Errorf("Streamed is %t", resp.Streamed)
			}
			resp = webtest.Head(test.serve, "/")
			if resp.Text() != "" || resp.Length != test.length {
				t.Errorf("HEAD: body %q, length %d, want %d", resp.Text(), resp.Length, test.length)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	var failed error
	h := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Write([]byte("a"))
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
		leave()
		<-r.Context().Done()
		_, failed = w.Write([]byte("b"))
	})
	resp := webtest.Do(h, webtest.Request{Context: ctx})
	if failed == nil || resp.Text() != "a" {
		t.Errorf("a Write after the client has gone returned %v, body %q", failed, resp.Text())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestTee(t *testing.T) {
	var seen strings.Builder
	h := web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.Write([]byte("a"))
		w.Flush()
		if seen.String() != "a" {
			t.Errorf("after the flush the client has %q", seen.String())
		}
	})
	webtest.Do(h, webtest.Request{Tee: &seen})
	h = func(w *web.Response, _ *web.Request) {
		w.Write([]byte("a"))
		if err := w.Flush(); err == nil {
			t.Error("Flush to a client that has gone returned no error")
		}
	}
	webtest.Do(h, webtest.Request{Tee: full{}})
}

func TestDeclaredLength(t *testing.T) {
	h := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Set("Content-Length", "5")
		w.Flush()
		_, err := w.Write([]byte(r.QueryValue("body")))
		if long := len(r.QueryValue("body")) > 5; long != (err != nil) {
			t.Errorf("%s: %v", r.RawQuery, err)
		}
	})
	for query, cut := range map[string]bool{"abc": true, "abcde": false, "abcdef": false} {
		resp := webtest.Get(h, "/?body="+query)
		if resp.Cut != cut || resp.Length != 5 || len(resp.Body) > 5 {
			t.Errorf("%s: cut %t, length %d, body %q", query, resp.Cut, resp.Length, resp.Body)
		}
	}
}

func TestDetach(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	h := web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		conn, unread, err := w.Detach()
		if err != nil || string(unread) != "more" {
			t.Fatalf("unread %q, %v", unread, err)
		}
		conn.Close()
	})
	if resp := webtest.Do(h, webtest.Request{Conn: server, Unread: []byte("more")}); !resp.Detached {
		t.Error("not detached")
	}
	webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		if _, _, err := w.Detach(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("without a connection: %v", err)
		}
	}), "/")
}

type touching struct{}

func (touching) Serve(*web.Response, *web.Request) {}
func (touching) ServeNow(w *web.Response, _ *web.Request) bool {
	w.SetStatus(204)
	return false
}

func TestServeNowMustNotTouch(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	webtest.Get(touching{}, "/")
}
