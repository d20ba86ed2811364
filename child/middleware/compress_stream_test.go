package middleware

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// What a handler flushes can be decoded at once, and the end is there.
func TestCompressStream(t *testing.T) {
	for _, coding := range []string{"gzip", "br", "zstd"} {
		t.Run(coding, func(t *testing.T) {
			var client bytes.Buffer
			var tooLate []int
			h := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 20 {
					event := fmt.Sprintf("data: event %d\n\n", i)
					io.WriteString(w, event)
					if err := w.Flush(); err != nil {
						t.Error(err)
					}
					if !strings.HasSuffix(part(t, coding, client.Bytes()), event) {
						tooLate = append(tooLate, i)
					}
				}
			}))
			resp := webtest.Do(h, webtest.Request{Header: map[string]string{"Accept-Encoding": coding}, Tee: &client})
			if len(tooLate) > 0 {
				t.Errorf("the events %v were held back", tooLate)
			}
			if resp.Header.Get("Content-Encoding") != coding || resp.Header.Get("Vary") != "Accept-Encoding" || resp.Cut {
				t.Errorf("%v", resp.Header)
			}
			if got := decode(t, coding, resp.Body); strings.Count(got, "data: ") != 20 {
				t.Errorf("%q", got)
			}
		})
	}
}

// part decodes what there is of a coded stream.
func part(t *testing.T, coding string, content []byte) string {
	t.Helper()
	var r io.Reader
	switch coding {
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "br":
		r = brotli.NewReader(bytes.NewReader(content))
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(content), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	got, _ := io.ReadAll(r)
	return string(got)
}

// events is a source whose every Read is an event.
type events struct {
	left   int
	closed bool
	failed error
}

func (e *events) Read(p []byte) (int, error) {
	if e.left == 0 {
		if e.failed != nil {
			return 0, e.failed
		}
		return 0, io.EOF
	}
	e.left--
	return copy(p, fmt.Sprintf("data: %d\n\n", e.left)), nil
}

func (e *events) Close() error {
	e.closed = true
	return nil
}

// A source of unknown length is passed on as it comes, and closed.
func TestCompressReader(t *testing.T) {
	for _, chosen := range []coding.Coding{coding.Gzip, coding.Brotli, coding.Zstd} {
		var c compressor
		o := CompressOptions{}
		o.withDefaults()
		c.encoders = o.newEncoders()
		if !c.encoders.Reserve() {
			t.Fatal("no encoder")
		}
		source := &events{left: 3}
		p := &packer{encoders: c.encoders, coding: chosen, reader: source, left: -1}
		var got []byte
		buf := make([]byte, 4096)
		for i := 2; i >= 0; i-- {
			n, err := p.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
			if event := fmt.Sprintf("data: %d\n\n", i); !strings.HasSuffix(part(t, chosen.String(), got), event) {
				t.Errorf("%v: event %d was held back", chosen, i)
			}
		}
		rest, err := io.ReadAll(p)
		if err != nil || decode(t, chosen.String(), append(got, rest...)) != "data: 2\n\ndata: 1\n\ndata: 0\n\n" {
			t.Errorf("%v: %v", chosen, err)
		}
		p.Close()
		if p.Close(); !source.closed || c.encoders.Reserved() != 0 {
			t.Errorf("%v: closed %v, %d encoders are lent", chosen, source.closed, c.encoders.Reserved())
		}
		if _, err := p.Read(buf); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// stuck yields nothing, for ever.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestCompressBrokenSources(t *testing.T) {
	failed := errors.New("a disk that fails")
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte(text(2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(short)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		packer packer
		want   error
	}{
		"fails":     {packer{reader: &events{left: 3, failed: failed}, left: -1}, failed},
		"short":     {packer{reader: strings.NewReader("abc"), left: 4}, io.ErrUnexpectedEOF},
		"stuck":     {packer{reader: stuck{}, left: -1}, io.ErrNoProgress},
		"shortFile": {packer{file: web.OwnFile(f), left: 3000}, io.ErrUnexpectedEOF},
	} {
		var c2 compressor
		o := CompressOptions{}
		o.withDefaults()
		c2.encoders = o.newEncoders()
		c2.encoders.Reserve()
		c.packer.encoders, c.packer.coding = c2.encoders, coding.Gzip
		if _, err := io.ReadAll(&c.packer); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		c.packer.Close()
		if c2.encoders.Reserved() != 0 {
			t.Errorf("%s: an encoder is lent", name)
		}
	}
	if err := f.Close(); err == nil {
		t.Error("the file was not released")
	}
}

// Beyond the bound on encoders, streams and long content leave as they are; what is compressed at once does not count.
func TestCompressEncoders(t *testing.T) {
	var h web.Handler
	inner := text(100_000)
	h = Compress(CompressOptions{Encoders: 1})(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Set("Content-Type", "text/plain")
		switch r.Path {
		case "/stream":
			w.Flush()
			for _, path := range []string{"/file", "/nested", "/text"} {
				resp := webtest.Do(h, webtest.Request{Target: path, Header: map[string]string{"Accept-Encoding": "gzip"}})
				if want := map[string]string{"/text": "gzip"}[path]; resp.Header.Get("Content-Encoding") != want || resp.Header.Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s while a stream goes on: %v", path, resp.Header)
				}
				if decode(t, resp.Header.Get("Content-Encoding"), resp.Body) != inner {
					t.Errorf("%s has other content", path)
				}
			}
			io.WriteString(w, inner)
		case "/nested":
			io.WriteString(w, inner)
		case "/file":
			send(w, web.BodyFile, inner)
		case "/text":
			w.SendString(inner)
		}
	}))
	for range 3 {
		resp := webtest.Do(h, webtest.Request{Target: "/stream", Header: map[string]string{"Accept-Encoding": "gzip"}})
		if resp.Header.Get("Content-Encoding") != "gzip" || decode(t, "gzip", resp.Body) != inner {
			t.Errorf("%v", resp.Header)
		}
	}
}

// A handler that panics in its stream leaves a part that no decoder takes for the whole, and no encoder behind.
func TestCompressPanic(t *testing.T) {
	var part bytes.Buffer
	c := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, text(50_000))
		w.Flush()
		panic(http.ErrAbortHandler)
	})).(*compressor)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not pass")
			}
		}()
		webtest.Do(c, webtest.Request{Header: map[string]string{"Accept-Encoding": "gzip"}, Tee: &part})
	}()
	z, err := gzip.NewReader(&part)
	if err == nil {
		_, err = io.ReadAll(z)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the part reads as %v", err)
	}
	if c.encoders.Reserved() != 0 {
		t.Error("an encoder is lent")
	}
}

// Trailers of the content's digest are wrong for what is sent.
func TestCompressTrailers(t *testing.T) {
	h := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Trailer().Set("X-Sum", "")
		w.Flush()
		io.WriteString(w, text(3000))
		w.Trailer().Set("X-Sum", "7")
		w.Trailer().Set("Repr-Digest", "sha-256=:AAAA:")
	}))
	var left web.Header
	outer := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		h.Serve(w, r)
		left = w.Trailer().Clone()
	})
	get(outer, "gzip")
	if left.Has("Repr-Digest") || left.Get("X-Sum") != "7" {
		t.Errorf("%v", left)
	}
}

// A stream that ends before the length that it has declared is cut off, though that length is not sent any more.
func TestCompressDeclaredStream(t *testing.T) {
	content := text(50_000)
	for name, c := range map[string]struct {
		declared int
		refused  error
		ends     any // what the handler ends with
	}{
		"exact": {declared: len(content)},
		"short": {declared: len(content) + 1, ends: http.ErrAbortHandler},
		"long":  {declared: len(content) - 1, refused: errTooLong},
	} {
		var received bytes.Buffer
		h := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", strconv.Itoa(c.declared))
			w.Flush()
			if _, err := io.WriteString(w, content); !errors.Is(err, c.refused) {
				t.Errorf("%s: Write: %v", name, err)
			}
		}))
		func() {
			defer func() {
				if ends := recover(); ends != c.ends {
					t.Errorf("%s: it ends with %v", name, ends)
				}
			}()
			webtest.Do(h, webtest.Request{Header: map[string]string{"Accept-Encoding": "gzip"}, Tee: &received})
		}()
		if whole := part(t, "gzip", received.Bytes()); c.ends == nil && whole != content[:min(c.declared, len(content))] {
			t.Errorf("%s: %d bytes arrive", name, len(whole))
		}
	}
}
