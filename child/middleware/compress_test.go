package middleware

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// decode undoes a coding. A content that is cut short is an error.
func decode(t testing.TB, coding string, content []byte) string {
	t.Helper()
	var r io.Reader
	switch coding {
	case "":
		return string(content)
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "br":
		r = brotli.NewReader(bytes.NewReader(content))
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(content), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)) // RFC 9659
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	default:
		t.Fatalf("unknown coding %q", coding)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(plain)
}

func header(fields ...string) (h web.Header) {
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

// text of n bytes that shrinks.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "Line %d of a text that says the same again and again.\n", i*i)
	}
	return b.String()[:n]
}

// answer is a handler that sends body in one of the ways of a Response.
func answer(kind web.BodyKind, body string, change func(w *web.Response)) web.HandlerFunc {
	return func(w *web.Response, r *web.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if change != nil {
			change(w)
		}
		send(w, kind, body)
	}
}

func send(w *web.Response, kind web.BodyKind, body string) {
	switch kind {
	case web.BodyCollected:
		for rest := body; rest != ""; {
			n := min(len(rest), 1000)
			if _, err := w.WriteString(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	case web.BodyBytes:
		w.SendBytes([]byte(body))
	case web.BodyText:
		w.SendString(body)
	case web.BodyFixed:
		h := w.Header().Clone()
		w.Header().Reset()
		w.SendFixed(web.NewFixed(w.Status(), &h, []byte(body)))
	case web.BodyFile:
		f, err := os.CreateTemp("", "compress")
		if err != nil {
			panic(err)
		}
		os.Remove(f.Name())
		if _, err := f.WriteString("before" + body + "behind"); err != nil {
			panic(err)
		}
		w.SendFile(web.OwnFile(f), int64(len("before")), int64(len(body)))
	case web.BodyReader:
		w.SendReader(strings.NewReader(body), int64(len(body)))
	}
}

var kinds = map[string]web.BodyKind{
	"collected": web.BodyCollected, "bytes": web.BodyBytes, "text": web.BodyText, "fixed": web.BodyFixed, "file": web.BodyFile, "reader": web.BodyReader,
}

func get(h web.Handler, accept string, more ...web.Field) *webtest.Response {
	return webtest.Do(h, webtest.Request{Fields: append([]web.Field{{Name: "Accept-Encoding", Value: accept}}, more...)})
}

// Every way to send a body, in every coding and of every size.
func TestCompressContent(t *testing.T) {
	for name, kind := range kinds {
		for _, n := range []int{1024, 20_000, 100_000, 600_000} {
			body := text(n)
			h := Compress(CompressOptions{})(answer(kind, body, func(w *web.Response) {
				w.SetStatus(404)
				w.Header().Set("ETag", `"v1"`)
				w.Header().Set("Accept-Ranges", "bytes")
				w.Header().Set("Repr-Digest", "sha-256=:AAAA:")
				w.Header().Set("Content-MD5", "AAAA")
				w.Header().Set("Vary", "Cookie")
			}))
			for _, coding := range []string{"", "gzip", "br", "zstd"} {
				t.Run(fmt.Sprintf("%s %d %s", name, n, coding), func(t *testing.T) {
					resp := get(h, coding)
					if got := decode(t, resp.Header.Get("Content-Encoding"), resp.Body); got != body {
						t.Fatalf("%d bytes came back of %d", len(got), len(body))
					}
					if got := resp.Header.Get("Content-Encoding"); got != coding {
						t.Fatalf("Content-Encoding: %q", got)
					}
					want := map[string]string{
						"ETag": `"v1"`, "Vary": "Cookie, Accept-Encoding", "Accept-Ranges": "bytes", "Repr-Digest": "sha-256=:AAAA:", "Content-MD5": "AAAA",
						"Content-Type": "text/html; charset=utf-8",
					}
					if coding != "" {
						want["ETag"] = `"v1-` + coding + `"`
						want["Accept-Ranges"], want["Repr-Digest"], want["Content-MD5"] = "", "", ""
					}
					for field, value := range want {
						if got := strings.Join(resp.Header.Values(field), " | "); got != value {
							t.Errorf("%s: %q, want %q", field, got, value)
						}
					}
					if resp.Status != 404 || resp.Length >= 0 && int(resp.Length) != len(resp.Body) {
						t.Errorf("status %d, length %d of %d", resp.Status, resp.Length, len(resp.Body))
					}
					if coding != "" && len(resp.Body) > len(body)/2 {
						t.Errorf("%d bytes were made of %d", len(resp.Body), len(body))
					}
				})
			}
		}
	}
}

func TestCompressNever(t *testing.T) {
	body := text(4000)
	for name, c := range map[string]struct {
		handler web.Handler
		request []web.Field
		vary    bool
	}{
		"tiny":        {handler: answer(web.BodyText, text(1023), nil)},
		"image":       {handler: answer(web.BodyText, body, func(w *web.Response) { w.Header().Set("Content-Type", "image/png") })},
		"coded":       {handler: answer(web.BodyText, body, func(w *web.Response) { w.Header().Set("Content-Encoding", "deflate") })},
		"noTransform": {handler: answer(web.BodyText, body, func(w *web.Response) { w.Header().Set("Cache-Control", "public, No-Transform") })},
		"range": {handler: answer(web.BodyText, body, func(w *web.Response) {
			w.SetStatus(206)
			w.Header().Set("Content-Range", "bytes 0-3999/5000")
		}), request: []web.Field{{Name: "Range", Value: "bytes=0-3999"}}, vary: true},
		"wholeForRange": {handler: answer(web.BodyText, body, nil), request: []web.Field{{Name: "Range", Value: "bytes=0-9"}}, vary: true},
		"noContent":     {handler: answer(web.BodyNone, "", func(w *web.Response) { w.SetStatus(204) })},
		"typeless": {handler: web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.Header().Set("Content-Type", "")
			w.SendBytes([]byte(body))
		})},
		"tinyStream": {handler: web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "4")
			w.Flush()
			io.WriteString(w, "tiny")
		})},
		"imageStream": {handler: answer(web.BodyCollected, text(100_000), func(w *web.Response) { w.Header().Set("Content-Type", "image/webp") })},
		"randomBytes": {handler: web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.SendBytes(noise(2000))
		}), vary: true},
		"randomFixed": {handler: web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			h := header("Content-Type", "text/plain")
			w.SendFixed(web.NewFixed(200, &h, noise(2000)))
		}), vary: true},
		"longFile": {handler: answer(web.BodyFile, text(300_000), nil), vary: true},
		"notAccepted": {handler: answer(web.BodyText, body, nil),
			request: []web.Field{{Name: "Accept-Encoding", Value: "identity, *;q=0"}}, vary: true},
	} {
		t.Run(name, func(t *testing.T) {
			plain := webtest.Do(c.handler, webtest.Request{Fields: c.request})
			h := Compress(CompressOptions{MaxFile: 200_000})(c.handler)
			request := c.request
			if name != "notAccepted" {
				request = append([]web.Field{{Name: "Accept-Encoding", Value: "gzip, br, zstd"}}, request...)
			}
			resp := webtest.Do(h, webtest.Request{Fields: request})
			if !bytes.Equal(resp.Body, plain.Body) || resp.Header.Get("Content-Encoding") != plain.Header.Get("Content-Encoding") || resp.Length != plain.Length || resp.Kind != plain.Kind {
				t.Errorf("changed: %q, length %d, kind %d", resp.Header.Get("Content-Encoding"), resp.Length, resp.Kind)
			}
			if got := resp.Header.Get("Vary"); c.vary != (got == "Accept-Encoding") || !c.vary && got != "" {
				t.Errorf("Vary: %q", got)
			}
		})
	}
}

// noise of n bytes does not shrink.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestCompressTypes(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/css": true, "TEXT/HTML;charset=utf-8": true, "application/json": true, "application/ld+json; x=y": true, "image/svg+xml": true,
		"application/wasm": true, "text/javascript": true, "application/atom+xml": true, "font/ttf": true,
		"font/woff2": false, "image/jpeg": false, "application/zip": false, "application/octet-stream": false, "video/mp4": false,
		"application/x-thing": true, "chemical/x-pdb": true, "application/x-things": false,
	} {
		h := Compress(CompressOptions{Types: []string{"application/X-Thing", "chemical/*"}})(answer(web.BodyText, text(2000), func(w *web.Response) {
			w.Header().Set("Content-Type", contentType)
		}))
		if got := get(h, "gzip").Header.Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%s: %v", contentType, got)
		}
	}
	guessed := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.SendBytes([]byte("<!DOCTYPE html>" + text(3000)))
	}))
	resp := get(guessed, "br")
	if resp.Header.Get("Content-Encoding") != "br" || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("a type that the server guesses: %v", resp.Header)
	}
	said := get(Compress(CompressOptions{})(web.StringFunc(func(*web.Request) string { return text(3000) })), "zstd")
	if said.Header.Get("Content-Encoding") != "zstd" || said.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("a string: %v", said.Header)
	}
}

// A client that refuses content without a coding gets one whatever it costs, where there is a choice.
func TestCompressForced(t *testing.T) {
	for _, kind := range kinds {
		h := Compress(CompressOptions{})(answer(kind, "tiny", func(w *web.Response) { w.Header().Set("Content-Type", "image/png") }))
		resp := get(h, "gzip, identity;q=0")
		if got := resp.Header.Get("Content-Encoding"); got != "gzip" || decode(t, got, resp.Body) != "tiny" || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("kind %d: %q %q", kind, got, resp.Body)
		}
		if resp := get(h, "compress, identity;q=0"); resp.Text() != "tiny" || resp.Header.Has("Content-Encoding") {
			t.Errorf("kind %d, none acceptable: %q", kind, resp.Body)
		}
	}
}

// HEAD has the header of GET.
func TestCompressHead(t *testing.T) {
	for name, kind := range kinds {
		for _, n := range []int{4000, 600_000} {
			if kind == web.BodyCollected && n > web.StreamAt {
				continue // a handler that streams an answer to HEAD announces nothing
			}
			h := Compress(CompressOptions{})(answer(kind, text(n), func(w *web.Response) { w.Header().Set("ETag", `"v1"`) }))
			request := webtest.Request{Header: map[string]string{"Accept-Encoding": "br"}}
			get := webtest.Do(h, request)
			request.Method = "HEAD"
			head := webtest.Do(h, request)
			if fmt.Sprint(get.Header) != fmt.Sprint(head.Header) || len(head.Body) > 0 || head.Length != get.Length {
				t.Errorf("%s, %d bytes: %v, length %d; GET: %v, length %d", name, n, head.Header, head.Length, get.Header, get.Length)
			}
		}
	}
	declares := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "5000")
	}))
	resp := webtest.Do(declares, webtest.Request{Method: "HEAD", Header: map[string]string{"Accept-Encoding": "gzip"}})
	if resp.Header.Get("Content-Encoding") != "gzip" || resp.Length != -1 {
		t.Errorf("a declared length: %v, length %d", resp.Header, resp.Length)
	}
	silent := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, r *web.Request) { w.Header().Set("Content-Type", "text/plain") }))
	resp = webtest.Do(silent, webtest.Request{Method: "HEAD", Header: map[string]string{"Accept-Encoding": "gzip"}})
	if resp.Header.Has("Content-Encoding") || resp.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("nothing is known: %v", resp.Header)
	}
}

// tagged answers conditional requests, as net/http's ServeContent does for its own tags.
func tagged(fixed bool) web.Handler {
	const digest = "sha-256=:x:" // of the content without a coding
	notModified, full := header("ETag", `"v1"`, "Repr-Digest", digest), header("ETag", `"v1"`, "Content-Type", "text/plain", "Repr-Digest", digest)
	answers := [2]*web.Fixed{web.NewFixed(304, &notModified, nil), web.NewFixed(200, &full, []byte(text(4000)))}
	return web.HandlerFunc(func(w *web.Response, r *web.Request) {
		match := false
		for tag := range eachTag(strings.Join(r.Header.Values("If-None-Match"), ",")) {
			match = match || tag == `"v1"`
		}
		if fixed {
			if match {
				w.SendFixed(answers[0])
			} else {
				w.SendFixed(answers[1])
			}
			return
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Repr-Digest", digest)
		if match {
			w.SetStatus(304)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.SendString(text(4000))
	})
}

func TestCompressConditions(t *testing.T) {
	for _, c := range []struct {
		accept, match string
		status        int
		tag           string
	}{
		{"gzip", ``, 200, `"v1-gzip"`},
		{"gzip", `"v1-gzip"`, 304, `"v1-gzip"`},
		{"gzip", `W/"v1-gzip"`, 304, `"v1-gzip"`},
		{"gzip", `"v0", "v1-br", "v1-gzip"`, 304, `"v1-gzip"`},
		{"gzip", `"v1"`, 304, `"v1"`},           // what it had as it is, it may use again
		{"gzip", `"v1-br"`, 200, `"v1-gzip"`},   // but not what it would not get now
		{"", `"v1-gzip"`, 200, `"v1"`},          //
		{"", `"v1"`, 304, `"v1"`},               //
		{"br;q=0.1", `"v1-br"`, 304, `"v1-br"`}, //
		{"gzip", `"-gzip"`, 200, `"v1-gzip"`},   //
		{"gzip", `v1-gzip"`, 200, `"v1-gzip"`},  // no tag
		{"gzip", `"v1-gzip`, 200, `"v1-gzip"`},  //
		{"gzip", `"v1-gzip-gzip"`, 200, `"v1-gzip"`},
	} {
		for _, fixed := range []bool{false, true} {
			h := Compress(CompressOptions{})(tagged(fixed))
			for range 2 { // the second time from memory
				resp := get(h, c.accept, web.Field{Name: "If-None-Match", Value: c.match})
				if resp.Status != c.status || resp.Header.Get("ETag") != c.tag || resp.Header.Get("Vary") != "Accept-Encoding" {
					t.Errorf("fixed %v, %s, If-None-Match: %s: %d %v", fixed, c.accept, c.match, resp.Status, resp.Header)
				}
				if resp.Header.Has("Repr-Digest") != (c.tag == `"v1"`) {
					t.Errorf("fixed %v, %s, If-None-Match: %s: the digest of another content: %v", fixed, c.accept, c.match, resp.Header)
				}
			}
		}
	}
	var seen web.Header
	put := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, r *web.Request) { seen = r.Header.Clone() }))
	webtest.Do(put, webtest.Request{Method: "PUT", Header: map[string]string{"If-Match": `"a-zstd", "b"`, "If-None-Match": `"c-br"`}})
	if seen.Get("If-Match") != `"a-zstd", "b", "a"` || seen.Get("If-None-Match") != `"c-br", "c"` {
		t.Errorf("%v", seen)
	}
	weak := Compress(CompressOptions{})(answer(web.BodyText, text(3000), func(w *web.Response) { w.Header().Set("ETag", `W/"v1"`) }))
	if tag := get(weak, "gzip").Header.Get("ETag"); tag != `W/"v1"` {
		t.Errorf("a weak tag became %s", tag)
	}
}

// Two of them, as in a site and in a route: the inner one does the work.
func TestCompressTwice(t *testing.T) {
	for _, kind := range kinds {
		h := web.Chain(answer(kind, text(5000), nil), Compress(CompressOptions{}), Compress(CompressOptions{Codings: []string{"gzip"}}))
		resp := get(h, "zstd, gzip;q=0.1")
		if got := resp.Header.Get("Content-Encoding"); got != "gzip" || decode(t, got, resp.Body) != text(5000) || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("kind %d: %v", kind, resp.Header)
		}
	}
}

// Encoders go from request to request: many at a time.
func TestCompressConcurrently(t *testing.T) {
	h := Compress(CompressOptions{Encoders: 3})(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		n := len(r.Path) * 9000
		w.Header().Set("Content-Type", "text/plain")
		if n%2 == 0 {
			io.WriteString(w, text(n))
			return
		}
		send(w, web.BodyFile, text(n))
	}))
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for j := range 10 {
				path := "/" + strings.Repeat("x", (i+j)%9)
				for _, coding := range []string{"gzip", "br", "zstd"} {
					resp := webtest.Do(h, webtest.Request{Target: path, Header: map[string]string{"Accept-Encoding": coding}})
					if decode(t, resp.Header.Get("Content-Encoding"), resp.Body) != text(len(path)*9000) {
						t.Errorf("%s %s: other content", coding, path)
					}
				}
			}
		})
	}
	clients.Wait()
	if lent := h.(*compressor).encoders.Reserved(); lent != 0 {
		t.Errorf("%d encoders are lent", lent)
	}
}

func TestCompressOptions(t *testing.T) {
	for _, o := range []CompressOptions{
		{Codings: []string{"deflate"}}, {Codings: []string{"gzip", "gzip"}}, {Codings: []string{"identity"}}, {Types: []string{"text"}}, {Types: []string{"*/*"}},
		{GzipLevel: 10}, {BrotliLevel: 11}, {ZstdLevel: 4}, {GzipLevel: -1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is accepted", o)
				}
			}()
			Compress(o)
		}()
	}
}

// changing is a file that turns into another one after some bytes.
type changing struct {
	whole    []byte
	at       int64
	released bool
}

var errAnother = errors.New("another file by now")

func (c *changing) Fd() uintptr { panic("read past its own eyes") }
func (c *changing) Release()    { c.released = true }
func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.at {
		return 0, errAnother
	}
	return copy(p, c.whole[off:]), nil
}

// A file that changes while it is packed ends the response: its entity tag stands for what it was.
func TestPackedFileChanges(t *testing.T) {
	file := &changing{whole: bytes.Repeat([]byte("text "), 40<<10), at: 100 << 10}
	c := Compress(CompressOptions{})(web.HandlerFunc(func(*web.Response, *web.Request) {})).(*compressor)
	if !c.encoders.Reserve() {
		t.Fatal("no place")
	}
	p := &packer{encoders: c.encoders, coding: coding.Gzip, file: file, left: int64(len(file.whole))}
	if _, err := io.Copy(io.Discard, p); err != errAnother {
		t.Errorf("%v", err)
	}
	if p.Close(); !file.released {
		t.Error("not released")
	}
}

// rewritten is a file without a ReadAt that another one writes to in place when it is about to be read for the last time.
type rewritten struct {
	file  *os.File
	reads int // how many are left
	told  time.Time
}

func (f *rewritten) Release() {}
func (f *rewritten) Fd() uintptr {
	if f.reads--; f.reads == 0 {
		if _, err := f.file.WriteAt([]byte("other"), 0); err != nil {
			panic(err)
		}
		if err := os.Chtimes(f.file.Name(), time.Time{}, f.told.Add(time.Second)); err != nil {
			panic(err)
		}
	}
	return f.file.Fd()
}
func (f *rewritten) Changed() bool {
	info, err := f.file.Stat()
	return err != nil || !info.ModTime().Equal(f.told)
}

// So does one that is read by its descriptor, even if it changes during the last read: it is asked behind each.
func TestPackedFileChangesInPlace(t *testing.T) {
	const size = 2*pieceSize - 1
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	encoders := coding.NewEncoders(coding.EncoderOptions{Limit: 1})
	for _, test := range []struct {
		reads int
		want  error
	}{{0, nil}, {1, errChanged}, {2, errChanged}} {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if !encoders.Reserve() {
			t.Fatal("no place")
		}
		p := &packer{encoders: encoders, coding: coding.Gzip, file: &rewritten{f, test.reads, info.ModTime()}, left: size}
		if _, err := io.Copy(io.Discard, p); err != test.want {
			t.Errorf("changed in read %d: %v", test.reads, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A file whose field lines were encoded beforehand is compressed like any other.
func TestCompressFileLines(t *testing.T) {
	content := strings.Repeat("text ", 1000)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var header web.Header
	header.Add("Content-Type", "text/plain")
	header.Add("ETag", `"1"`)
	lines := web.EncodeFields(&header)
	h := Compress(CompressOptions{})(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		w.SendFileLines(lines, web.OwnFile(f), 0, int64(len(content)))
	}))
	for accept, want := range map[string]string{"gzip": `gzip "1-gzip"`, "": ` "1"`} {
		resp := webtest.Do(h, webtest.Request{Header: map[string]string{"Accept-Encoding": accept}})
		if got := resp.Header.Get("Content-Encoding") + " " + resp.Header.Get("ETag"); got != want || len(resp.Header.Values("Content-Type")) != 1 || !resp.Header.HasToken("Vary", "Accept-Encoding") {
			t.Errorf("%q: %v", accept, resp.Header)
		}
	}
}
