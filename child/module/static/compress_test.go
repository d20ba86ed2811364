package static

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web/webtest"
)

func compressing(o *options) {
	o.compress = &compressOptions{codings: []coding.Coding{coding.Zstd, coding.Brotli, coding.Gzip}, minBytes: 100, maxFile: 1 << 20, cache: 4 << 20,
		levels: coding.Levels{Gzip: 6, Brotli: 5, Zstd: 3}}
}

func decode(t *testing.T, name string, body []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch name {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(plain)
}

func TestCompress(t *testing.T) {
	root := tree(t)
	text := func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString(strings.Repeat(string(rune('a'+i*7%26)), i%13+1) + " ")
			b.WriteByte(byte(i * 31 % 251))
		}
		return b.String()
	}
	files := map[string]string{"small.js": text(5 << 10), "mid.js": text(400 << 10), "tiny.js": "x", "picture.png": text(5 << 10), "huge.js": text(1<<20 + 1)}
	for name, content := range files {
		write(t, root, name, content)
	}
	for _, racy := range []bool{false, true} {
		s, c := serve(t, root, compressing)
		if racy {
			s.wall = time.Now
		}
		for name, content := range files {
			packs := name == "small.js" || name == "mid.js"
			plain := twice(t, s, webtest.Request{Target: "/" + name})
			if plain.Header.Has("Content-Encoding") || plain.Text() != content || plain.Header.HasToken("Vary", "Accept-Encoding") != packs {
				t.Errorf("%s: plain: %v", name, plain.Header)
			}
			tags := map[string]bool{plain.Header.Get("ETag"): true}
			for _, accept := range []string{"gzip", "br", "zstd", "gzip;q=0.5, br;q=0.9", "identity;q=0.1, *;q=0.2", "gzip;q=0", "deflate"} {
				want := map[string]string{"gzip": "gzip", "br": "br", "zstd": "zstd", "gzip;q=0.5, br;q=0.9": "br", "identity;q=0.1, *;q=0.2": "zstd"}[accept]
				if !packs {
					want = ""
				}
				request := webtest.Request{Target: "/" + name, Header: map[string]string{"Accept-Encoding": accept}}
				resp := twice(t, s, request)
				if resp.Header.Get("Content-Encoding") != want || decode(t, want, resp.Body) != content || resp.Header.HasToken("Vary", "Accept-Encoding") != packs {
					t.Errorf("%s, %s: %v", name, accept, resp.Header)
				}
				if inline := webtest.Do(s, request); !inline.Inline {
					t.Errorf("%s, %s: not from the cache", name, accept)
				}
				tag := resp.Header.Get("ETag")
				if want != "" && resp.Length >= int64(len(content)) {
					t.Errorf("%s, %s: %d bytes of %d", name, accept, resp.Length, len(content))
				}
				tags[tag] = true
				request.Header["If-None-Match"] = tag
				if again := webtest.Do(s, request); again.Status != 304 || again.Header.Get("ETag") != tag || again.Header.HasToken("Vary", "Accept-Encoding") != packs {
					t.Errorf("%s, %s: %d %v", name, accept, again.Status, again.Header)
				}
				delete(request.Header, "If-None-Match")
				request.Header["Range"] = "bytes=1-9"
				ranged := webtest.Do(s, request)
				if name != "tiny.js" && (ranged.Status != 206 || ranged.Text() != content[1:10] || ranged.Header.Has("Content-Encoding") || ranged.Header.Get("ETag") != plain.Header.Get("ETag")) {
					t.Errorf("%s, %s: a range: %d %q %v", name, accept, ranged.Status, ranged.Text(), ranged.Header)
				}
				request.Header["If-Range"] = tag
				if ranged := webtest.Do(s, request); name != "tiny.js" && want != "" && (ranged.Status != 200 || ranged.Text() != content) {
					t.Errorf("%s, %s: a range of another form: %d, %d bytes", name, accept, ranged.Status, len(ranged.Body))
				}
			}
			if packs && len(tags) != 4 {
				t.Errorf("%s: %d tags for four forms", name, len(tags))
			}
		}
		c.add(time.Second) // all is looked at again
		for name, content := range files {
			resp := webtest.Do(s, webtest.Request{Target: "/" + name, Header: map[string]string{"Accept-Encoding": "gzip"}})
			if decode(t, resp.Header.Get("Content-Encoding"), resp.Body) != content {
				t.Errorf("%s: later", name)
			}
		}
		s.cache.close()
		for began := time.Now(); s.packer.store.held.Load() != 0 && time.Since(began) < 10*time.Second; { // closing is another goroutine's
			runtime.Gosched()
		}
		if held := s.packer.store.held.Load(); held != 0 {
			t.Errorf("the store holds %d bytes of nobody's", held)
		}
	}
}

func TestCompressedFileChanges(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.css", strings.Repeat("a {} ", 1000))
	s, c := serve(t, root, compressing)
	request := webtest.Request{Target: "/a.css", Header: map[string]string{"Accept-Encoding": "br"}}
	first := twice(t, s, request)
	write(t, root, "a.css", strings.Repeat("b {} ", 1000))
	c.add(time.Second)
	second := twice(t, s, request)
	if decode(t, "br", second.Body)[0] != 'b' || first.Header.Get("ETag") == second.Header.Get("ETag") {
		t.Errorf("%v", second.Header)
	}
}

func TestPrecompressed(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.css", "plain")
	write(t, root, "a.css.gz", "gzipped")
	write(t, root, "a.css.br", large) // longer, and sent all the same
	write(t, root, "old.css", "plain")
	write(t, root, "old.css.gz", "stale")
	write(t, root, "dir.css", "plain")
	write(t, root, "dir.css.gz/x", "")
	write(t, root, "none.css", "plain")
	for _, name := range []string{"a.css", "a.css.gz", "a.css.br", "old.css"} {
		touch(t, filepath.Join(root, name), 2000)
	}
	touch(t, filepath.Join(root, "old.css.gz"), 1000)
	s, c := serve(t, root, func(o *options) { o.precompressed = []coding.Coding{coding.Brotli, coding.Gzip} })
	want := func(target, accept, encoding, body string) {
		t.Helper()
		resp := twice(t, s, webtest.Request{Target: target, Header: map[string]string{"Accept-Encoding": accept}})
		if resp.Status != 200 || resp.Header.Get("Content-Encoding") != encoding || resp.Text() != body || resp.Header.Get("Content-Type") != "text/css; charset=utf-8" ||
			!resp.Header.HasToken("Vary", "Accept-Encoding") {
			t.Errorf("%s, %s: %d %.20q %v", target, accept, resp.Status, resp.Text(), resp.Header)
		}
		head := webtest.Do(s, webtest.Request{Method: "HEAD", Target: target, Header: map[string]string{"Accept-Encoding": accept}})
		if head.Length != int64(len(body)) || head.Header.Get("Content-Encoding") != encoding {
			t.Errorf("HEAD %s, %s: length %d %v", target, accept, head.Length, head.Header)
		}
	}
	want("/a.css", "gzip", "gzip", "gzipped")
	want("/a.css", "gzip, br", "br", large)
	want("/a.css", "gzip, br;q=0.5", "gzip", "gzipped")
	want("/a.css", "zstd", "", "plain")
	want("/a.css", "", "", "plain")
	want("/old.css", "gzip", "", "plain")
	want("/dir.css", "gzip", "", "plain")
	want("/none.css", "gzip", "", "plain")
	if resp := webtest.Get(s, "/a.css.gz"); resp.Text() != "gzipped" || resp.Header.Has("Content-Encoding") {
		t.Errorf("the sibling itself: %v", resp.Header)
	}
	write(t, root, "a.css.gz", "another")
	write(t, root, "none.css.gz", "appeared")
	if err := os.Remove(filepath.Join(root, "a.css.br")); err != nil {
		t.Fatal(err)
	}
	s.sweep()
	c.add(time.Second)
	want("/a.css", "gzip, br", "gzip", "another")
	want("/none.css", "gzip", "gzip", "appeared")
}

// What was a sibling's is not taken over when the sibling has gone, though the same coding can be made now.
func TestSiblingRemoved(t *testing.T) {
	root := t.TempDir()
	content := strings.Repeat("a {} ", 1000)
	write(t, root, "a.css", content)
	touch(t, filepath.Join(root, "a.css"), 1000)
	s, c := serve(t, root, func(o *options) {
		compressing(o)
		o.precompressed = []coding.Coding{coding.Gzip}
	})
	request := webtest.Request{Target: "/a.css", Header: map[string]string{"Accept-Encoding": "gzip"}}
	for range 2 {
		write(t, root, "a.css.gz", "sibling")
		c.add(time.Second)
		if resp := twice(t, s, request); resp.Text() != "sibling" {
			t.Errorf("%.20q, want the sibling", resp.Text())
		}
		if err := os.Remove(filepath.Join(root, "a.css.gz")); err != nil {
			t.Fatal(err)
		}
		c.add(time.Second)
		if resp := twice(t, s, request); resp.Text() == "sibling" || decode(t, "gzip", resp.Body) != content {
			t.Errorf("%.20q after the sibling was removed", resp.Text())
		}
	}
}

// A large sibling that is written in place is another one at once.
func TestSiblingChangedInPlace(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a.css", "a.css.gz"} {
		write(t, root, name, large)
		touch(t, filepath.Join(root, name), 1000)
	}
	s, _ := serve(t, root, func(o *options) { o.precompressed = []coding.Coding{coding.Gzip} })
	request := webtest.Request{Target: "/a.css", Header: map[string]string{"Accept-Encoding": "gzip"}}
	first := twice(t, s, request)
	overwrite(t, filepath.Join(root, "a.css.gz"), "X")
	second := webtest.Do(s, request)
	if second.Text()[0] != 'X' || second.Header.Get("ETag") == first.Header.Get("ETag") || second.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%.1q %v", second.Text(), second.Header)
	}
}

// words are 100 kB that get shorter, but not short.
func words(seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 0))
	var b strings.Builder
	for b.Len() < 100_000 {
		fmt.Fprintf(&b, "%x ", random.IntN(1<<20))
	}
	return b.String()
}

// What could not be kept is sent as it is for a while, and then tried again.
func TestStoreFullForAWhile(t *testing.T) {
	root := t.TempDir()
	content := words(1)
	write(t, root, "a.css", content)
	s, c := serve(t, root, compressing)
	s.packer.store.held.Add(s.packer.store.limit)
	request := webtest.Request{Target: "/a.css", Header: map[string]string{"Accept-Encoding": "gzip"}}
	for range 3 {
		if resp := webtest.Do(s, request); resp.Header.Has("Content-Encoding") || resp.Text() != content {
			t.Fatalf("%v", resp.Header)
		}
	}
	if resp := webtest.Do(s, request); !resp.Inline {
		t.Error("tried again at once")
	}
	s.packer.store.held.Add(-s.packer.store.limit)
	c.add(time.Duration(packRest))
	if resp := webtest.Do(s, request); resp.Header.Get("Content-Encoding") != "gzip" || decode(t, "gzip", resp.Body) != content {
		t.Errorf("later: %v", resp.Header)
	}
}

// What is sent from the cache again and again is known to be in use, and that is told to the directory once a minute only.
func TestCodedIsKept(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	write(t, root, "a.css", words(1))
	s, c := serve(t, root, func(o *options) {
		compressing(o)
		o.compress.directory = dir
	})
	gzip := webtest.Request{Target: "/a.css", Header: map[string]string{"Accept-Encoding": "gzip"}}
	if resp := twice(t, s, gzip); resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v", resp.Header)
	}
	e, _ := s.cache.peek("a.css", c.ns.Load())
	if e == nil || e.files() != 2 || len(e.descriptors()) != 2 {
		t.Fatalf("not a file and its coded form: %+v", e)
	}
	if n := testing.AllocsPerRun(100, func() { e.files() }); n != 0 {
		t.Errorf("to count the descriptors takes %v allocations", n)
	}
	file, _ := storedName(e.coded[coding.Gzip].Load().kept)
	path := filepath.Join(dir, file)
	const minute = int(int64(touchEvery) / renewAfter) // in sweeps
	told := 0
	for range 2*minute + 1 {
		touch(t, path, 1000)
		webtest.Do(s, gzip)
		c.add(time.Duration(renewAfter))
		s.sweep()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().Unix() != 1000 {
			told++
		}
	}
	if told != 3 {
		t.Errorf("told %d times in two minutes", told)
	}
	if now, _ := s.cache.peek("a.css", c.ns.Load()); now != e {
		t.Error("it has become another entry")
	}
}

// Room is made by what nobody has used for long, and by nothing else: else each request would pack what the one before it has pushed out.
func TestShedCoded(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.css", words(1))
	write(t, root, "b.css", words(2))
	s, c := serve(t, root, compressing)
	gzip := func(target string) *webtest.Response {
		return webtest.Do(s, webtest.Request{Target: target, Header: map[string]string{"Accept-Encoding": "gzip"}})
	}
	first := gzip("/a.css")
	if first.Header.Get("Content-Encoding") != "gzip" || first.Length <= smallFile {
		t.Fatalf("length %d, %v", first.Length, first.Header)
	}
	s.packer.store.limit = s.packer.store.held.Load() + 8<<10 // no room for another
	gzip("/a.css")
	if resp := gzip("/b.css"); resp.Header.Has("Content-Encoding") {
		t.Error("what is in use has been pushed out")
	}
	c.add(time.Duration(renewAfter))
	s.sweep() // counts the use
	c.add(time.Duration(idleFor))
	if resp := gzip("/b.css"); resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("what nobody uses has not made room: %v", resp.Header)
	}
}
