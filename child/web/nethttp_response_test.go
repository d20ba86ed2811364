package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestHTTPResponse(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	tests := []struct {
		name     string
		serve    func(w http.ResponseWriter, r *http.Request)
		status   int
		body     string
		typ      string
		length   int64
		headLen  int64
		streamed bool
	}{
		{"nothing", func(http.ResponseWriter, *http.Request) {}, 200, "", "", 0, -1, false},
		{"text", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, 200, "hello", "text/plain; charset=utf-8", 5, 5, false},
		{"html in pieces", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<ht")
			io.WriteString(w, "ml>")
		}, 200, "<html>", "text/html; charset=utf-8", 6, 6, false},
		{"type of the handler", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-type", "a/b")
			io.WriteString(w, "<html>")
		}, 200, "<html>", "a/b", 6, 6, false},
		{"encoded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "<html>")
		}, 200, "<html>", "", 6, 6, false},
		{"long", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, long) }, 200, long, "text/plain; charset=utf-8", -1, int64(len(long)), true},
		{"long with a length", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(long)))
			io.Copy(w, strings.NewReader(long))
		}, 200, long, "text/plain; charset=utf-8", int64(len(long)), int64(len(long)), true},
		{"no content", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("Write after 204: %v", err)
			}
		}, 204, "", "", -1, -1, false},
		{"not modified", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, 304, "", "", -1, -1, false},
		{"unusual status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) }, 799, "", "", 0, -1, false},
		{"early hints first", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(201)
			w.WriteHeader(500) // superfluous
		}, 201, "", "", 0, -1, false},
		{"header after WriteHeader", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
			w.Header().Set("Content-Type", "late/late")
			io.WriteString(w, "a")
		}, 202, "a", "text/plain; charset=utf-8", 1, 1, false},
		{"more than declared", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			io.WriteString(w, "abc")
			if _, err := io.WriteString(w, "d"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("Write beyond Content-Length: %v", err)
			}
		}, 200, "abc", "text/plain; charset=utf-8", 3, 3, false},
		{"nonsense declared", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "many")
			io.WriteString(w, "abc")
		}, 200, "abc", "text/plain; charset=utf-8", 3, 3, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp := webtest.Get(serve(test.serve), "/")
			if resp.Status != test.status || resp.Text() != test.body || resp.Header.Get("Content-Type") != test.typ || resp.Length != test.length ||
				resp.Streamed != test.streamed || resp.Cut {
				t.Errorf("GET: %d, %d bytes, type %q, length %d, streamed %t, cut %t", resp.Status, len(resp.Body), resp.Header.Get("Content-Type"),
					resp.Length, resp.Streamed, resp.Cut)
			}
			resp = webtest.Head(serve(test.serve), "/")
			if resp.Status != test.status || len(resp.Body) > 0 || resp.Header.Get("Content-Type") != test.typ || resp.Length != test.headLen {
				t.Errorf("HEAD: %d, %d bytes, type %q, length %d", resp.Status, len(resp.Body), resp.Header.Get("Content-Type"), resp.Length)
			}
		})
	}
}

func TestHTTPHeader(t *testing.T) {
	resp := webtest.Get(serve(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["X-Two"] = []string{"1", " 2 "}
		h.Set("X-Split", "a\r\nSet-Cookie: b")
		h["bad name"] = []string{"x"}
		h.Set(http.TrailerPrefix+"X-Other", "x")
		h.Set("Content-Encoding", "")
		h.Set("Connection", "close")
	}), "/")
	var lines []string
	for name, value := range resp.Header.All() {
		lines = append(lines, name+": "+value)
	}
	want := []string{"X-Split: a  Set-Cookie: b", "X-Two: 1", "X-Two: 2"}
	if !reflect.DeepEqual(lines, want) || !resp.Closing {
		t.Errorf("header %q, closing %t; want %q", lines, resp.Closing, want)
	}
}

func mustAbort(t *testing.T, h web.Handler) {
	t.Helper()
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("panic with %v, want http.ErrAbortHandler", v)
		}
	}()
	webtest.Get(h, "/")
}

func TestHTTPAborts(t *testing.T) {
	mustAbort(t, serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	mustAbort(t, serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "short")
	}))
	mustAbort(t, serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "short")
		w.(http.Flusher).Flush()
	}))
}

func TestHTTPFlush(t *testing.T) {
	var seen strings.Builder
	h := serve(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "<html>")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		if seen.String() != "<html>" {
			t.Errorf("flushed: %q", seen.String())
		}
		io.WriteString(w, "b")
	})
	resp := webtest.Do(h, webtest.Request{Tee: &seen})
	if !resp.Streamed || resp.Text() != "<html>b" || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%t %q %q", resp.Streamed, resp.Text(), resp.Header.Get("Content-Type"))
	}
	ctx, leave := context.WithCancel(context.Background())
	leave()
	webtest.Do(serve(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err == nil || r.Context().Err() == nil {
			t.Errorf("the client has gone: Flush %v, context %v", err, r.Context().Err())
		}
	}), webtest.Request{Context: ctx})
}

func TestHTTPHijack(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	received := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		received <- string(b)
	}()
	h := serve(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Fatal(err)
		}
		if n := rw.Reader.Buffered(); n != 5 {
			t.Errorf("%d bytes are buffered", n)
		}
		b := make([]byte, 5)
		io.ReadFull(rw, b)
		fmt.Fprintf(rw, "you said %s", b)
		rw.Flush()
		conn.Close()
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("Write after Hijack: %v", err)
		}
	})
	if resp := webtest.Do(h, webtest.Request{Conn: server, Unread: []byte("hello")}); !resp.Detached {
		t.Error("not detached")
	}
	if got := <-received; got != "you said hello" {
		t.Error(got)
	}
	webtest.Get(serve(func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("without a connection: %v", err)
		}
	}), "/")
}

// A response has one header: what middleware before the adapter has set is there for the handler to see, to change and to remove.
func TestHTTPHeaderOfMiddleware(t *testing.T) {
	inner := serve(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		if h.Get("X-Request-Id") != "7" {
			t.Errorf("the handler sees %v", h)
		}
		h.Set("X-Request-Id", "8")
		h.Add("Vary", "Origin")
		h.Del("X-Removed")
	})
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Set("x-request-id", "7")
		w.Header().Set("Vary", "Accept")
		w.Header().Set("X-Removed", "x")
		inner.Serve(w, r)
	}), "/")
	var lines []string
	for name, value := range resp.Header.All() {
		lines = append(lines, name+": "+value)
	}
	if want := []string{"Vary: Accept", "Vary: Origin", "X-Request-Id: 8"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

func TestHTTPTrailers(t *testing.T) {
	h := serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-Never")
		io.WriteString(w, "content")
		if r.Method == "PUT" {
			w.(http.Flusher).Flush()
		}
		w.Header()["X-Sum"] = []string{"1", "2"}
		w.Header().Set(http.TrailerPrefix+"X-Late", "3")
	})
	for _, method := range []string{"GET", "PUT"} {
		resp := webtest.Do(h, webtest.Request{Method: method})
		if got := fmt.Sprint(resp.Trailer.Values("X-Sum"), resp.Trailer.Values("X-Late"), resp.Trailer.Len()); got != "[1 2] [3] 3" || resp.Length != -1 {
			t.Errorf("%s: %s, length %d", method, got, resp.Length)
		}
	}
	for _, request := range []webtest.Request{{Method: "HEAD"}, {HTTP10: true}} {
		if resp := webtest.Do(h, request); resp.Trailer.Len() > 0 {
			t.Errorf("%+v has trailers", request)
		}
	}
}

func TestHTTPInforms(t *testing.T) {
	resp := webtest.Get(serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Link", "</a.css>")
		w.WriteHeader(103)
		w.Header().Add("Link", "</b.css>")
		w.WriteHeader(103)
		w.WriteHeader(201)
		w.WriteHeader(103)
	}), "/")
	if len(resp.Informed) != 2 || resp.Informed[0].Status != 103 || len(resp.Informed[0].Header.Values("Link")) != 1 || len(resp.Informed[1].Header.Values("Link")) != 2 {
		t.Errorf("%+v", resp.Informed)
	}
	if resp.Status != 201 || len(resp.Header.Values("Link")) != 2 {
		t.Errorf("%d %v", resp.Status, resp.Header.Values("Link"))
	}
}

func TestHTTPDeadlines(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	resp := webtest.Get(serve(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		if err := errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at.Add(1)), c.EnableFullDuplex()); err != nil {
			t.Error(err)
		}
	}), "/")
	if resp.ReadDeadline != at || resp.WriteDeadline != at.Add(1) {
		t.Error(resp.ReadDeadline, resp.WriteDeadline)
	}
}

// WriteHeader(101) is for Hijack, which sends it.
func TestHTTPSwitch(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	received := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		received <- string(b)
	}()
	h := serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(101)
		if r.Method == "GET" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
	})
	if resp := webtest.Do(h, webtest.Request{Conn: server}); !resp.Detached {
		t.Error("not detached")
	}
	got := <-received
	if !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\nDate: ") || !strings.HasSuffix(got, "\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n") {
		t.Errorf("%q", got)
	}
	if resp := webtest.Post(h, "/", "a/b", ""); resp.Status != 500 {
		t.Errorf("a 101 without Hijack is sent as %d", resp.Status)
	}
}

// The files of a form are gone when the handler has returned.
func TestHTTPRemovesFormFiles(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var name string
	webtest.Post(serve(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Fatal(err)
		}
		f, err := r.MultipartForm.File["f"][0].Open()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if file, ok := f.(*os.File); ok {
			name = file.Name()
		}
	}), "/", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n"+strings.Repeat("x", 11<<20)+"\r\n--b--\r\n")
	if _, err := os.Stat(name); name == "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%q: %v", name, err)
	}
}
