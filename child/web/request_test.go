package web_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// with runs f in a handler that was asked for q.
func with(q webtest.Request, f func(r *web.Request)) {
	webtest.Do(web.HandlerFunc(func(_ *web.Response, r *web.Request) { f(r) }), q)
}

func TestRequest(t *testing.T) {
	with(webtest.Request{Target: "/a%20b?x=1&x=2&bad=%zz&y=%26", HTTP10: true, Header: map[string]string{"Content-Type": " Text/HTML ; a=b"},
		Params: []web.Param{{Name: "id", Value: "7"}}}, func(r *web.Request) {
		if r.Path != "/a b" || r.RawPath != "/a%20b" || r.RawQuery != "x=1&x=2&bad=%zz&y=%26" {
			t.Errorf("%q %q %q", r.Path, r.RawPath, r.RawQuery)
		}
		if q := r.Query(); len(q["x"]) != 2 || q.Has("bad") || r.QueryValue("y") != "&" || r.QueryValue("none") != "" {
			t.Errorf("query %v", q)
		}
		if r.Proto() != "HTTP/1.0" || r.MediaType() != "text/html" {
			t.Errorf("%s %s", r.Proto(), r.MediaType())
		}
		if r.PathValue("id") != "7" || r.PathValue("none") != "" {
			t.Error("PathValue")
		}
		if r.Context().Err() != nil {
			t.Error(r.Context().Err())
		}
	})
	with(webtest.Request{}, func(r *web.Request) {
		if r.QueryValue("x") != "" || len(r.Query()) != 0 || r.Proto() != "HTTP/1.1" {
			t.Error("empty query")
		}
	})
	if (&web.Request{}).Context() == nil {
		t.Error("no context without an engine")
	}
}

func TestBody(t *testing.T) {
	forms := map[string]webtest.Request{
		"in memory": {Body: "0123456789"},
		"streamed":  {Stream: iotest.OneByteReader(strings.NewReader("0123456789"))},
		"both":      {Body: "0123", Stream: strings.NewReader("456789"), Length: 10},
	}
	reads := map[string]func(b *web.Body) ([]byte, error){
		"Bytes":    func(b *web.Body) ([]byte, error) { return b.Bytes() },
		"BytesMax": func(b *web.Body) ([]byte, error) { return b.BytesMax(10) },
		"Read":     func(b *web.Body) ([]byte, error) { return io.ReadAll(b) },
		"part": func(b *web.Body) ([]byte, error) {
			var start [3]byte
			io.ReadFull(b, start[:])
			rest, err := b.Bytes()
			return append(start[:], rest...), err
		},
	}
	for form, q := range forms {
		for name, read := range reads {
			if stream, ok := q.Stream.(io.Seeker); ok {
				stream.Seek(0, io.SeekStart)
			} else if q.Stream != nil {
				q.Stream = iotest.OneByteReader(strings.NewReader("0123456789"))
			}
			with(q, func(r *web.Request) {
				if got, err := read(&r.Body); string(got) != "0123456789" || err != nil {
					t.Errorf("%s, %s: %q, %v", form, name, got, err)
				}
				if n, err := r.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("%s, %s: behind the end: %d, %v", form, name, n, err)
				}
			})
		}
	}
}

func TestBodyTooLarge(t *testing.T) {
	for name, q := range map[string]webtest.Request{
		"announced": {Body: "01234"},
		"streamed":  {Stream: strings.NewReader("01234")},
	} {
		with(q, func(r *web.Request) {
			if _, err := r.Body.BytesMax(4); !errors.Is(err, web.ErrBodyTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestBodyFails(t *testing.T) {
	broken := errors.New("broken")
	with(webtest.Request{Body: "ab", Stream: iotest.ErrReader(broken)}, func(r *web.Request) {
		if b, err := r.Body.Bytes(); string(b) != "ab" || !errors.Is(err, broken) {
			t.Errorf("%q %v", b, err)
		}
		if _, err := r.Body.Bytes(); !errors.Is(err, broken) {
			t.Errorf("the second time: %v", err)
		}
	})
}

func TestAcceptForgets(t *testing.T) {
	var r web.Request
	web.Accept(&r, nil)
	r.RawQuery = "a=1"
	web.AddField(&r, "X-A", "1")
	web.SetBody(&r, 3, []byte("abc"), nil)
	web.AddTrailer(&r, "X-T", "1")
	web.SetParams(&r, []web.Param{{Name: "a", Value: "b"}})
	if r.QueryValue("a") != "1" || r.Body.Trailer().Get("x-t") != "1" {
		t.Error("not set")
	}
	r.RawQuery = ""
	web.Accept(&r, nil)
	b, _ := r.Body.Bytes()
	if r.Header.Len() != 0 || len(b) != 0 || r.Body.Length() != 0 || r.PathValue("a") != "" || r.QueryValue("a") != "" || r.Body.Trailer().Len() != 0 {
		t.Error("the next request sees the one before it")
	}
}

func TestRequestFields(t *testing.T) {
	with(webtest.Request{Header: map[string]string{"User-Agent": "curl/8", "Referer": "http://a/", "Authorization": "basic QWRhOmE6Yg=="}}, func(r *web.Request) {
		if r.UserAgent() != "curl/8" || r.Referer() != "http://a/" {
			t.Errorf("%q %q", r.UserAgent(), r.Referer())
		}
		if name, password, ok := r.BasicAuth(); name != "Ada" || password != "a:b" || !ok {
			t.Errorf("%q %q %v", name, password, ok)
		}
		for _, v := range []struct {
			major, minor int
			want         bool
		}{{0, 9, true}, {1, 0, true}, {1, 1, true}, {1, 2, false}, {2, 0, false}} {
			if r.ProtoAtLeast(v.major, v.minor) != v.want {
				t.Error(v)
			}
		}
	})
	for _, authorization := range []string{"", "Basic", "Basic !", "Bearer QWRhOmE6Yg==", "Basic QWRh"} {
		with(webtest.Request{Header: map[string]string{"Authorization": authorization}}, func(r *web.Request) {
			if name, password, ok := r.BasicAuth(); ok {
				t.Errorf("%q is %q, %q", authorization, name, password)
			}
		})
	}
}

// URL is what net/http makes of the same target.
func TestURL(t *testing.T) {
	for _, target := range []string{"/", "/a/b?x=1&y", "/a%20b/%2F?q=%zz", "/a?", "/a??", "/ü", "//host/x", "http://example.net:81/a%2fb?c", "/a;b=c,d", "/a%2Fb"} {
		with(webtest.Request{Target: target}, func(r *web.Request) {
			r.Scheme = "http"
			want, err := url.ParseRequestURI(target)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.URL(); *got != *want {
				t.Errorf("%s: %#v, want %#v", target, got, want)
			}
			if changed := r.URL(); changed != nil {
				changed.Path = "/other"
				if r.Path == "/other" || r.URL().Path == "/other" {
					t.Error("the URL is the request's")
				}
			}
		})
	}
	if u := (&web.Request{Path: "/a b", RawPath: "/a%20b"}).URL(); u.String() != "/a%20b" {
		t.Error(u)
	}
}

func TestPatternOfRequest(t *testing.T) {
	var inner, outer web.Mux
	report := func(r *web.Request) string { return r.Pattern() + " " + r.PathValue("id") }
	inner.HandleFunc("GET /items/{id}", report)
	outer.Handle("/", &inner)
	outer.HandleFunc("/top", report)
	for target, want := range map[string]string{"/items/7": "GET /items/{id} 7", "/top": "/top "} {
		if got := webtest.Get(&outer, target).Text(); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	if got := webtest.Get(web.StringFunc(report), "/").Text(); got != " " {
		t.Errorf("without a pattern: %q", got)
	}
}

func TestSetPathValue(t *testing.T) {
	with(webtest.Request{Params: []web.Param{{Name: "id", Value: "7"}}}, func(r *web.Request) {
		r.SetPathValue("id", "8")
		r.SetPathValue("more", "9")
		if r.PathValue("id") != "8" || r.PathValue("more") != "9" {
			t.Error(r.PathValue("id"), r.PathValue("more"))
		}
	})
}

type userKey struct{}

// What middleware puts into the context, handlers find, net/http's among them.
func TestSetContext(t *testing.T) {
	login := func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			r.SetContext(context.WithValue(r.Context(), userKey{}, "Ada"))
			next.Serve(w, r)
		})
	}
	native := web.StringFunc(func(r *web.Request) string { return r.Context().Value(userKey{}).(string) })
	adapted := web.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Context().Value(userKey{}).(string)) }))
	for _, h := range []web.Handler{native, adapted} {
		if got := webtest.Get(web.Chain(h, login), "/").Text(); got != "Ada" {
			t.Errorf("%T: %q", h, got)
		}
	}
	client, leave := context.WithCancel(context.Background())
	webtest.Do(web.Chain(web.HandlerFunc(func(_ *web.Response, r *web.Request) {
		leave()
		<-r.Context().Done()
	}), login), webtest.Request{Context: client})
	defer func() {
		if recover() == nil {
			t.Error("SetContext(nil) did not panic")
		}
	}()
	var none context.Context
	(&web.Request{}).SetContext(none)
}

func TestBodyLimit(t *testing.T) {
	for name, q := range map[string]webtest.Request{
		"in memory": {Body: "0123456789"},
		"streamed":  {Stream: strings.NewReader("0123456789")},
		"both":      {Body: "0123", Stream: strings.NewReader("456789"), Length: 10},
		"chunked":   {Body: "0123", Stream: strings.NewReader("456789")},
	} {
		for limit, fits := range map[int64]bool{-1: false, 0: false, 3: false, 4: false, 9: false, 10: true, 11: true, math.MaxInt64: true} {
			if s, ok := q.Stream.(io.Seeker); ok {
				s.Seek(0, io.SeekStart)
			}
			with(q, func(r *web.Request) {
				r.Body.Limit(limit)
				r.Body.Limit(100) // the smallest holds
				b, err := io.ReadAll(&r.Body)
				switch {
				case fits && (err != nil || string(b) != "0123456789"):
					t.Errorf("%s, %d: %q, %v", name, limit, b, err)
				case !fits && (!errors.Is(err, web.ErrBodyTooLarge) || int64(len(b)) > max(limit, 0)):
					t.Errorf("%s, %d: %q, %v", name, limit, b, err)
				}
				if _, err := r.Body.Bytes(); !fits && !errors.Is(err, web.ErrBodyTooLarge) {
					t.Errorf("%s, %d, the second time: %v", name, limit, err)
				}
			})
		}
	}
	with(webtest.Request{Stream: iotest.ErrReader(errors.New("read")), Length: 10}, func(r *web.Request) {
		r.Body.Limit(9)
		if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, web.ErrBodyTooLarge) {
			t.Errorf("content was asked for that is announced too large: %v", err)
		}
	})
}

func TestBodyClose(t *testing.T) {
	with(webtest.Request{Body: "ab"}, func(r *web.Request) {
		r.Body.Close()
		if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Error(err)
		}
	})
}
