package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

// behindProxy starts a child with an httputil.ReverseProxy before a child with backend.
func behindProxy(t *testing.T, backend http.HandlerFunc) (proxy, behind *testChild) {
	t.Helper()
	behind = start(t, "", routes{"/": web.HTTP(backend)})
	target, err := url.Parse(behind.url(""))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return start(t, "", routes{"/": web.HTTP(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
	})}), behind
}

func TestAdaptedReverseProxy(t *testing.T) {
	tc, _ := behindProxy(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("X-Forwarded", r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Host"))
			w.Header().Set("Trailer", "X-Sum")
			n, err := io.Copy(w, r.Body)
			w.Header().Set("X-Sum", fmt.Sprint(n, err))
			w.Header().Set(http.TrailerPrefix+"X-Late", "late")
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.Header().Set("Link", "</b.css>; rel=preload")
			w.WriteHeader(103)
			io.WriteString(w, "done")
		case "/broken":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/broken-chunks":
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/early":
			w.WriteHeader(403) // without a look at the body
		}
	})
	c := client(t)
	long := strings.Repeat("0123456789", 100_000)
	resp, body := fetch(t, c, "POST", tc.url("/echo"), io.MultiReader(strings.NewReader(long))) // chunked
	if body != long || resp.Header.Get("X-Forwarded") != "127.0.0.1 "+tc.address {
		t.Errorf("%d bytes, %v", len(body), resp.Header)
	}
	if want := (http.Header{"X-Sum": {"1000000 <nil>"}, "X-Late": {"late"}}); !reflect.DeepEqual(resp.Trailer, want) {
		t.Errorf("trailer %v, want %v", resp.Trailer, want)
	}

	var hints []string
	traced := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, h.Get("Link")))
		return nil
	}})
	q, err := http.NewRequestWithContext(traced, "GET", tc.url("/hints"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = c.Do(q); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := []string{"103</a.css>; rel=preload", "103</b.css>; rel=preload"}; !reflect.DeepEqual(hints, want) {
		t.Errorf("hints %q", hints)
	}

	for _, path := range []string{"/broken", "/broken-chunks"} {
		resp, err := c.Get(tc.url(path))
		if err != nil {
			continue // nothing was sent
		}
		if all, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: %q looks whole", path, all)
		}
		resp.Body.Close()
	}

	// The backend answers before the body has come, and the client goes on sending.
	p := tc.dial()
	p.send("POST /early HTTP/1.1\r\nHost: x\r\n" + length(10_000_000) + "\r\nbegin")
	if r := p.answer("POST"); r.Status != 403 {
		t.Errorf("early: %d", r.Status)
	}
	if resp, body := fetch(t, c, "GET", tc.url("/nothing"), nil); resp.StatusCode != 200 || body != "" {
		t.Errorf("afterwards: %d %q", resp.StatusCode, body)
	}
}

// What a backend flushes reaches the client, and a client that goes ends the backend's handler.
func TestAdaptedReverseProxyStreams(t *testing.T) {
	next, ended := make(chan string), make(chan error, 1)
	tc, _ := behindProxy(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			fmt.Fprintf(w, "data: %s\n\n", event)
			if err := http.NewResponseController(w).Flush(); err != nil {
				break
			}
		}
		for r.Context().Err() == nil { // a client that is gone is noticed by writing
			io.WriteString(w, ": ping\n\n")
			w.(http.Flusher).Flush()
		}
		ended <- context.Cause(r.Context())
	})
	p := tc.dial()
	p.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, event := range []string{"one", "two"} {
		next <- event
		for {
			line, err := p.raw.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "data: "+event+"\n" {
				break
			}
		}
	}
	close(next)
	p.Conn.Close()
	if err := await(t, "the backend's handler", ended); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A WebSocket passes through the proxy: Hijack on its one side, an upgraded connection of the transport on the other.
func TestAdaptedReverseProxyUpgrade(t *testing.T) {
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			tc, behind := behindProxy(t, echo)
			converseGorilla(t, tc.address)
			converseCoder(t, tc.address)
			for _, child := range []*testChild{tc, behind} {
				child.until("all connections are given back", func(l *loop) bool { return len(l.detached) == 0 })
			}
		})
	}
}
