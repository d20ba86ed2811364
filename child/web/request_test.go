package web_test

import (
	"errors"
	"io"
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
