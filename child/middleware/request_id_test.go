package middleware

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestRequestID(t *testing.T) {
	told := netip.MustParseAddrPort("198.51.100.7:0")
	for name, c := range map[string]struct {
		options  RequestIDOptions
		received []web.Field
		proxied  bool
		header   bool   // of the PROXY protocol
		want     string // "": a new one
	}{
		"none":             {},
		"notTrusted":       {received: []web.Field{{Name: "X-Request-Id", Value: "abc"}}},
		"trusted":          {options: RequestIDOptions{Trust: TrustAnybody}, received: []web.Field{{Name: "x-request-id", Value: "a-B_9.~+/=:@"}}, want: "a-B_9.~+/=:@"},
		"several":          {options: RequestIDOptions{Trust: TrustAnybody}, received: []web.Field{{Name: "X-Request-Id", Value: "a"}, {Name: "x-request-id", Value: "b"}}},
		"empty":            {options: RequestIDOptions{Trust: TrustAnybody}, received: []web.Field{{Name: "X-Request-Id"}}},
		"space":            {options: RequestIDOptions{Trust: TrustAnybody}, received: []web.Field{{Name: "X-Request-Id", Value: "a b"}}},
		"long":             {options: RequestIDOptions{Trust: TrustAnybody}, received: []web.Field{{Name: "X-Request-Id", Value: strings.Repeat("a", 129)}}},
		"markup":           {options: RequestIDOptions{Trust: TrustAnybody}, received: []web.Field{{Name: "X-Request-Id", Value: "<script>"}}},
		"byProxy":          {options: RequestIDOptions{Trust: TrustProxies}, received: []web.Field{{Name: "X-Request-Id", Value: "abc"}}, proxied: true, want: "abc"},
		"byPROXY":          {options: RequestIDOptions{Trust: TrustProxies}, received: []web.Field{{Name: "X-Request-Id", Value: "abc"}}, proxied: true, header: true},
		"notByProxy":       {options: RequestIDOptions{Trust: TrustProxies}, received: []web.Field{{Name: "X-Request-Id", Value: "abc"}}},
		"proxyNotTrusted":  {received: []web.Field{{Name: "X-Request-Id", Value: "abc"}}, proxied: true},
		"otherField":       {options: RequestIDOptions{Header: "Trace", Trust: TrustAnybody}, received: []web.Field{{Name: "Trace", Value: "t"}}, want: "t"},
		"otherFieldUnused": {options: RequestIDOptions{Header: "Trace", Trust: TrustAnybody}, received: []web.Field{{Name: "X-Request-Id", Value: "t"}}},
	} {
		for _, inline := range []bool{false, true} {
			field := c.options.Header
			if field == "" {
				field = "X-Request-Id"
			}
			var inHeader []string
			var inContext string
			serve := func(w *web.Response, r *web.Request) {
				inHeader = r.Header.Values(field)
				if !inline {
					inContext = RequestIDOf(r.Context())
				}
				w.SendString("x")
			}
			var inner web.Handler = web.HandlerFunc(serve)
			if inline {
				inner = onLoop{HandlerFunc: serve}
			}
			h := RequestID(c.options)(inner)
			if c.proxied { // as a trusted proxy does
				behind := h
				h = web.HandlerFunc(func(w *web.Response, r *web.Request) {
					r.RemoteAddr = told
					if !c.header {
						web.SetRelayed(r)
					}
					behind.Serve(w, r)
				})
			}
			resp := webtest.Do(h, webtest.Request{Fields: c.received})
			id := resp.Header.Get(field)
			if c.want != "" && id != c.want || c.want == "" && !uuid7.MatchString(id) {
				t.Errorf("%s: %q", name, id)
			}
			if len(inHeader) != 1 || inHeader[0] != id || !inline && inContext != id {
				t.Errorf("%s: header %q, context %q, response %q", name, inHeader, inContext, id)
			}
			if resp.Inline != (inline && !c.proxied) {
				t.Errorf("%s: inline %v", name, resp.Inline)
			}
		}
	}
}

// A request that the loop leaves to a worker comes to it as it was received.
func TestRequestIDLeft(t *testing.T) {
	var seen []string
	h := RequestID(RequestIDOptions{})(onLoop{leave: true, HandlerFunc: func(w *web.Response, r *web.Request) {
		seen = append(seen, r.Header.Get("X-Request-Id"))
	}})
	resp := webtest.Do(h, webtest.Request{Fields: []web.Field{{Name: "X-Request-Id", Value: "a"}, {Name: "X-Request-Id", Value: "b"}}})
	if resp.Inline || len(seen) != 1 || seen[0] != resp.Header.Get("X-Request-Id") {
		t.Errorf("inline %v, %q, response %q", resp.Inline, seen, resp.Header.Get("X-Request-Id"))
	}
	var r web.Request
	web.AddField(&r, "X-Request-Id", "a")
	web.AddField(&r, "X-Request-Id", "b")
	var w web.Response
	if h.(web.NonBlocking).ServeNow(&w, &r) || strings.Join(r.Header.Values("X-Request-Id"), " ") != "a b" || w.Header().Len() != 0 {
		t.Errorf("left as %v, %v", r.Header, w.Header())
	}
}

// The identifier outlives an answer that is begun anew.
func TestRequestIDOfPanic(t *testing.T) {
	panics := web.HandlerFunc(func(*web.Response, *web.Request) { panic("gone wrong") })
	for name, c := range map[string]struct {
		handler web.Handler
		has     bool
	}{
		"recoverInside":  {web.Chain(panics, RequestID(RequestIDOptions{}), Recover(RecoverOptions{})), true},
		"recoverOutside": {web.Chain(panics, Recover(RecoverOptions{}), RequestID(RequestIDOptions{})), false},
		"begunAnew": {web.Chain(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			web.Retry(w)
			web.Error(w, 500)
		}), RequestID(RequestIDOptions{})), true},
	} {
		resp := webtest.Get(c.handler, "/")
		if resp.Status != 500 || resp.Header.Has("X-Request-Id") != c.has {
			t.Errorf("%s: %d %v", name, resp.Status, resp.Header)
		}
	}
}

func TestNewRequestID(t *testing.T) {
	at := time.UnixMilli(0x0123456789ab)
	if id := newRequestID(at); !strings.HasPrefix(id, "01234567-89ab-7") || !uuid7.MatchString(id) {
		t.Error(id)
	}
	if a, b := newRequestID(at), newRequestID(at.Add(time.Millisecond)); a >= b {
		t.Errorf("%s is not before %s", a, b)
	}
	if a, b := newRequestID(at), newRequestID(at); a == b {
		t.Errorf("%s twice", a)
	}
}

func FuzzRequestID(f *testing.F) {
	f.Add("abc")
	f.Add("a\x00b")
	f.Fuzz(func(t *testing.T, id string) {
		if validRequestID(id) && (!web.ValidFieldValue(id) || id == "" || len(id) > maxRequestID || strings.TrimSpace(id) != id) {
			t.Errorf("%q", id)
		}
	})
}
