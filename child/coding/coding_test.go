package coding

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decode undoes a coding. Content that is cut short is an error.
func decode(t testing.TB, c Coding, content []byte) string {
	t.Helper()
	var r io.Reader
	var err error
	switch c {
	case Gzip:
		r, err = gzip.NewReader(bytes.NewReader(content))
	case Brotli:
		r = brotli.NewReader(bytes.NewReader(content))
	case Zstd:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(content), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil { // RFC 9659
			defer z.Close()
		}
		r = z
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	return string(plain)
}

// text of n bytes that shrinks.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "Line %d of a text that says the same again and again.\n", i*i)
	}
	return b.String()[:n]
}

func TestNames(t *testing.T) {
	for c := range Count {
		if got, ok := Parse(strings.ToUpper(c.String())); got != c || !ok {
			t.Errorf("%v: %v, %v", c, got, ok)
		}
	}
	for name, want := range map[string]Coding{"x-gzip": Gzip, "X-GZip": Gzip, "Br": Brotli, "zstd": Zstd, "identity": Identity} {
		if got, ok := Parse(name); got != want || !ok {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "deflate", "x-br", "gzi", "gzipp", "*", "brotli", "gz\u0130p", "\u017fzstd"} {
		if got, ok := Parse(name); ok || got != Identity {
			t.Errorf("%q is %v", name, got)
		}
	}
	if got := Names(); !slices.Equal(got, []string{"gzip", "br", "zstd"}) {
		t.Error(got)
	}
	for i, want := range []string{"", ".gz", ".br", ".zst"} {
		if got := Coding(i).Extension(); got != want {
			t.Errorf("%v: %q", Coding(i), got)
		}
	}
	Names()[0] = "changed"
	if Gzip.String() != "gzip" {
		t.Error("a caller has changed a name")
	}
}

func TestWorth(t *testing.T) {
	further := Types([]string{"application/X-Thing", "audio/*"})
	for contentType, want := range map[string]bool{
		"text/html; charset=utf-8": true, "TEXT/plain": true, "application/json": true, "image/svg+xml": true, " application/wasm ;x=y": true,
		"application/problem+json": true, "application/x+text": true, "application/atom+xml;type=entry": true,
		"application/x-thing": true, "audio/wav": true, "application/x-things": false, "x/audio": false,
		"": false, ";": false, "image/png": false, "video/mp4": false, "application/zip": false, "application/octet-stream": false, "font/woff2": false,
		"+json": false, "image/x+png": false, "text": false,
	} {
		if got := Worth(MediaType(contentType), further); got != want {
			t.Errorf("%q: %v", contentType, got)
		}
	}
	if Worth("audio/wav", nil) {
		t.Error("without further types")
	}
	for entry, want := range map[string]bool{
		"a/b": true, "application/*": true, "application/x-thing": true, "text": false, "*/*": false, "*": false, "a/": false, "/b": false, "a/b*": false,
		"a b/c": false, "a/b; c": false, "": false, "a/b/c": false,
	} {
		if ValidType(entry) != want {
			t.Errorf("%q: %v", entry, !want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Worth(MediaType("application/x-other; charset=utf-8"), nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		coding    Coding
		tag, want string
	}{
		{Gzip, `"v1"`, `"v1-gzip"`}, {Brotli, `""`, `"-br"`}, {Zstd, `"a-gzip"`, `"a-gzip-zstd"`}, {Gzip, `W/"v1"`, `W/"v1"`}, {Identity, `"v1"`, `"v1"`},
		{Gzip, "", ""}, {Gzip, `"`, `"`}, {Gzip, "v1", "v1"},
	} {
		got := c.coding.Tag(c.tag)
		if got != c.want {
			t.Errorf("%s in %v: %s", c.tag, c.coding, got)
		}
		back, ok := c.coding.Untag(got)
		if changed := got != c.tag; ok != changed && c.tag != `""` || ok && back != c.tag {
			t.Errorf("%s in %v: back %s, %v", c.tag, c.coding, back, ok)
		}
	}
	for _, tag := range []string{`"v1"`, `-gzip"`, `"v1-br"`, "", `"v1-gzip`} {
		if back, ok := Gzip.Untag(tag); ok {
			t.Errorf("%s was made from %s", tag, back)
		}
	}
	for before, want := range map[string]string{"": "Accept-Encoding", "Cookie": "Cookie, Accept-Encoding", "*": "*", "accept-encoding, X": "accept-encoding, X"} {
		h := header()
		if before != "" {
			h.Set("Vary", before)
		}
		if Vary(&h); h.Get("Vary") != want {
			t.Errorf("%q: %q", before, h.Get("Vary"))
		}
	}
	h := header("ETag", `"1"`, "Accept-Ranges", "bytes", "Content-MD5", "x", "Digest", "x", "Repr-Digest", "x", "Content-Digest", "x", "Content-Length", "5", "X", "y")
	if Zstd.Describe(&h); h.Len() != 3 || h.Get("ETag") != `"1-zstd"` || h.Get("Content-Length") != "5" || h.Get("X") != "y" {
		t.Errorf("%v", h)
	}
}

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		listed string
		want   string
	}{
		{"gzip br zstd", ""}, {"", ""}, {"gzip gzip", `"gzip" is there twice; remove one of them`},
		{"identity", `there is no coding "identity"`}, {"zsdt", `did you mean "zstd"?`}, {"GZIP", `there is no coding "GZIP"`},
	} {
		problems := CheckCodings("codings", strings.Fields(c.listed))
		if (len(problems) == 0) != (c.want == "") || c.want != "" && (problems[0].At != "codings" || !strings.Contains(problems[0].Error(), c.want)) {
			t.Errorf("%s: %v", c.listed, problems)
		}
	}
	if p := CheckTypes("types", []string{"a/b", "text"}); len(p) != 1 || !strings.Contains(p[0].Error(), `"text" is no media type; write for example`) {
		t.Errorf("%v", p)
	}
	if got := List([]string{"zstd", "gzip"}); !slices.Equal(got, []Coding{Zstd, Gzip}) {
		t.Error(got)
	}
}

// Every coding, level and window makes content that a decoder takes, whole.
func TestPack(t *testing.T) {
	contents := []string{"", "a", text(100), text(40_000), strings.Repeat("\x00", 10_000)}
	try := func(o EncoderOptions, c Coding) {
		e := NewEncoders(o)
		for range 2 { // an encoder that was used before, too
			for _, content := range contents {
				got := e.Pack(c, []byte(content))
				if decode(t, c, got) != content {
					t.Errorf("%+v, %v: other content comes back of %d bytes", o, c, len(content))
				}
				if len(content) > 1000 && len(got) > len(content)/5 {
					t.Errorf("%+v, %v: %d bytes of %d", o, c, len(got), len(content))
				}
			}
		}
	}
	for level := 1; level <= 9; level++ {
		try(EncoderOptions{Levels: Levels{Gzip: level}}, Gzip)
	}
	for _, level := range []int{1, 4, 6, 9, 11} {
		try(EncoderOptions{Levels: Levels{Brotli: level}}, Brotli)
	}
	for level := range 5 {
		try(EncoderOptions{Levels: Levels{Zstd: level}}, Zstd)
	}
	for _, window := range []int{10, MaxWindow} {
		try(EncoderOptions{Window: window}, Brotli)
		try(EncoderOptions{Window: window}, Zstd)
	}
	if got := (Levels{Brotli: 6}).WithDefaults(); got != (Levels{5, 6, 2}) {
		t.Errorf("%+v", got)
	}
	for _, o := range []EncoderOptions{
		{Levels: Levels{Gzip: 10}}, {Levels: Levels{Gzip: -1}}, {Levels: Levels{Brotli: 12}}, {Levels: Levels{Zstd: 5}}, {Window: 9}, {Window: 24}, {Window: -1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is taken", o)
				}
			}()
			NewEncoders(o)
		}()
	}
}

// Encoders are lent to many at once, and an encoder that was given back before its end keeps nothing of what was written to it.
func TestEncoders(t *testing.T) {
	e := NewEncoders(EncoderOptions{Limit: 3})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for n := range 20 {
				c, content := Gzip+Coding((i+n)%3), text(1000*i+n+1)
				if n%4 == 0 {
					enc := e.Get(c, io.Discard)
					if _, err := io.WriteString(enc, "something else"); err != nil {
						t.Error(err)
					}
					e.Put(c, enc)
				}
				if decode(t, c, e.Pack(c, []byte(content))) != content {
					t.Errorf("%v: other content", c)
				}
			}
		})
	}
	all.Wait()
	for i := range 5 {
		if got := e.Reserve(); got != (i < 3) {
			t.Errorf("place %d: %v", i, got)
		}
	}
	if e.Reserved() != 3 {
		t.Errorf("%d places are lent", e.Reserved())
	}
	if e.Free(); !e.Reserve() || e.Reserve() {
		t.Error("a place that was given back")
	}
	if NewEncoders(EncoderOptions{}).Reserve() {
		t.Error("a place where there is none")
	}
	// What was flushed can be decoded at once.
	for c := Gzip; c < Count; c++ {
		var out bytes.Buffer
		enc := e.Get(c, &out)
		if _, err := io.WriteString(enc, "at once"); err != nil {
			t.Fatal(err)
		}
		if err := enc.Flush(); err != nil {
			t.Fatal(err)
		}
		before := out.Len()
		if err := enc.Close(); err != nil || decode(t, c, out.Bytes()) != "at once" || before == 0 {
			t.Errorf("%v: %d bytes, %v", c, before, err)
		}
		e.Put(c, enc)
	}
}
