package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func serve(f func(w http.ResponseWriter, r *http.Request)) web.Handler {
	return web.HTTP(http.HandlerFunc(f))
}

func TestHTTPRequest(t *testing.T) {
	var got *http.Request
	var body string
	h := serve(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got, body = r, string(b)
	})
	webtest.Do(h, webtest.Request{
		Method: "POST", Target: "/a%2Fb/c?x=1&y=2", Host: "tined.example:8080", Body: "content",
		Fields:     []web.Field{{Name: "content-type", Value: "text/plain"}, {Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}, {Name: "Pragma", Value: "no-cache"}, {Name: "Connection", Value: "close"}},
		Params:     []web.Param{{Name: "id", Value: "seven"}},
		RemoteAddr: netip.MustParseAddrPort("[2001:db8::1]:99"),
	})
	if got.Method != "POST" || got.RequestURI != "/a%2Fb/c?x=1&y=2" || got.Host != "tined.example:8080" || got.Proto != "HTTP/1.1" {
		t.Errorf("request line: %s %s %s %s", got.Method, got.RequestURI, got.Host, got.Proto)
	}
	if got.URL.Path != "/a/b/c" || got.URL.EscapedPath() != "/a%2Fb/c" || got.URL.RawQuery != "x=1&y=2" || got.FormValue("y") != "2" {
		t.Errorf("URL: %#v", got.URL)
	}
	want := http.Header{"Content-Type": {"text/plain"}, "X-A": {"1", "2"}, "Pragma": {"no-cache"}, "Cache-Control": {"no-cache"}, "Connection": {"close"}}
	if !reflect.DeepEqual(got.Header, want) {
		t.Errorf("header %v, want %v", got.Header, want)
	}
	if got.RemoteAddr != "[2001:db8::1]:99" || got.ContentLength != 7 || got.TransferEncoding != nil || !got.Close || body != "content" {
		t.Errorf("%q %d %v %t %q", got.RemoteAddr, got.ContentLength, got.TransferEncoding, got.Close, body)
	}
	if got.PathValue("id") != "seven" {
		t.Errorf("PathValue is %q", got.PathValue("id"))
	}
	if got.Context().Err() == nil || got.Context().Value(http.ServerContextKey) == nil {
		t.Error("the context is not the exchange's")
	}
	if _, err := got.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("Read after the handler has returned: %v", err)
	}
}

// The requests of both servers are the same, whatever the form of the target.
func TestHTTPRequestEqualsNetHTTP(t *testing.T) {
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a?b HTTP/1.0\r\n\r\n",
		"GET http://other/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"GET //x/y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	} {
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(raw, "\r\n")
		words := strings.Fields(line)
		request := webtest.Request{Method: words[0], Target: words[1], Host: want.Host, HTTP10: words[2] == "HTTP/1.0"}
		if c := want.Header.Get("Connection"); c != "" {
			request.Header = map[string]string{"Connection": c}
		}
		var got *http.Request
		webtest.Do(serve(func(_ http.ResponseWriter, r *http.Request) { got = r }), request)
		if got == nil {
			t.Fatalf("%s: not served", line)
		}
		if want.Host == "" {
			want.Host = got.Host
		}
		for _, pair := range [][2]any{
			{got.URL, want.URL}, {got.Host, want.Host}, {got.RequestURI, want.RequestURI}, {got.Header, want.Header}, {got.Close, want.Close},
			{got.Proto, want.Proto}, {got.ProtoMinor, want.ProtoMinor}, {got.ContentLength, want.ContentLength}, {got.Body, want.Body},
		} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("%s: %#v, net/http has %#v", line, pair[0], pair[1])
			}
		}
	}
}

func TestHTTPChunkedBody(t *testing.T) {
	h := serve(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != -1 || len(r.TransferEncoding) != 1 || r.Trailer == nil || len(r.Trailer["X-Sum"]) != 0 {
			t.Errorf("%d %v %v", r.ContentLength, r.TransferEncoding, r.Trailer)
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", b, r.Trailer.Get("X-Sum"))
	})
	resp := webtest.Do(h, webtest.Request{Method: "PUT", Body: "ab", Stream: strings.NewReader("cd"),
		Header: map[string]string{"Trailer": "x-sum"}, Trailer: []web.Field{{Name: "x-sum", Value: "7"}}})
	if resp.Text() != "abcd 7" {
		t.Error(resp.Text())
	}
}

func TestHTTPServeMux(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id"), r.Pattern) })
	h := web.HTTP(mux)
	if resp := webtest.Get(h, "/items/a%20b"); resp.Text() != "a bGET /items/{id}" {
		t.Error(resp.Text())
	}
	if resp := webtest.Get(h, "/nothing"); resp.Status != 404 {
		t.Error(resp.Status)
	}
	if resp := webtest.Post(h, "/items/1", "a/b", ""); resp.Status != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Error(resp.Status, resp.Header.Get("Allow"))
	}
	if resp := webtest.Get(h, "/items//1?q"); resp.Status != 307 || resp.Header.Get("Location") != "/items/1?q" {
		t.Error(resp.Status, resp.Header.Get("Location"))
	}
}

func TestHTTPFileServer(t *testing.T) {
	dir := t.TempDir()
	content := strings.Repeat("0123456789", 20000)
	if err := os.WriteFile(filepath.Join(dir, "file.txt"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	h := web.HTTP(http.FileServer(http.Dir(dir)))
	resp := webtest.Get(h, "/file.txt")
	if resp.Status != 200 || resp.Text() != content || resp.Length != int64(len(content)) || resp.Cut {
		t.Errorf("%d, %d bytes, length %d", resp.Status, len(resp.Body), resp.Length)
	}
	if resp := webtest.Head(h, "/file.txt"); resp.Length != int64(len(content)) || len(resp.Body) > 0 {
		t.Errorf("HEAD: length %d", resp.Length)
	}
	r := webtest.Do(h, webtest.Request{Target: "/file.txt", Header: map[string]string{"Range": "bytes=5-9"}})
	if r.Status != 206 || r.Text() != "56789" {
		t.Error(r.Status, r.Text())
	}
	r = webtest.Do(h, webtest.Request{Target: "/file.txt", Header: map[string]string{"If-Modified-Since": resp.Header.Get("Last-Modified")}})
	if r.Status != 304 || len(r.Body) > 0 {
		t.Error(r.Status)
	}
}

func TestHTTPReverseProxy(t *testing.T) {
	slow, cut := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("X-Method", r.Method)
			b, _ := io.ReadAll(r.Body)
			w.Write(b)
		case "/events":
			for i := range 3 {
				fmt.Fprintf(w, "event %d\n", i)
				w.(http.Flusher).Flush()
			}
		case "/broken":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			close(slow)
			<-r.Context().Done()
			close(cut)
		}
	}))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	h := web.HTTP(proxy)

	resp := webtest.Post(h, "/echo", "text/plain", "some content")
	if resp.Status != 200 || resp.Text() != "some content" || resp.Header.Get("X-Method") != "POST" {
		t.Errorf("%d %q %q", resp.Status, resp.Text(), resp.Header.Get("X-Method"))
	}
	resp = webtest.Do(h, webtest.Request{Method: "PUT", Target: "/echo", Stream: strings.NewReader(strings.Repeat("y", 200<<10))})
	if len(resp.Body) != 200<<10 {
		t.Errorf("%d bytes came back", len(resp.Body))
	}
	resp = webtest.Get(h, "/events")
	if resp.Text() != "event 0\nevent 1\nevent 2\n" || !resp.Streamed {
		t.Errorf("%q, streamed %t", resp.Text(), resp.Streamed)
	}
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("an upstream that breaks off must abort the response")
			}
		}()
		webtest.Get(h, "/broken")
	}()
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		<-slow
		leave()
	}()
	func() {
		defer func() { _ = recover() }() // the proxy aborts when its client has gone
		webtest.Do(h, webtest.Request{Target: "/slow", Context: ctx})
	}()
	<-cut
}

func BenchmarkHTTP(b *testing.B) {
	h := serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	var r web.Request
	web.Accept(&r, nil)
	r.Method, r.Target, r.RawPath, r.Path, r.Host, r.Minor = "GET", "/", "/", "/", "localhost", 1
	web.AddField(&r, "Host", "localhost")
	web.AddField(&r, "User-Agent", "bench")
	var w web.Response
	b.ReportAllocs()
	for b.Loop() {
		web.Begin(&w, nil)
		h.Serve(&w, &r)
	}
}

func ExampleHTTP() {
	var mux web.Mux
	mux.Handle("GET /items/{id}", web.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "item %s by %s", r.PathValue("id"), r.Pattern)
		w.Header().Set("X-Sum", "42")
	})))
	answer := webtest.Get(&mux, "/items/7")
	fmt.Println(answer.Text(), answer.Trailer.Get("X-Sum"))
	// Output: item 7 by GET /items/{id} 42
}
