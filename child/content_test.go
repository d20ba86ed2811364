package child

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/static"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Parts of a file over a real connection: sent by web.ServeContent from a file that its handler has closed, copied by it, and by the
// module static on the loop.
func TestContentInRanges(t *testing.T) {
	content := strings.Repeat("0123456789", 100_000)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	block, err := configs.NewBlock(static.Module{}.Spec(), map[string]any{"root": dir})
	if err != nil {
		t.Fatal(err)
	}
	instance, err := static.Module{}.Open(block, &module.Env{Prefix: "/static/", Pattern: "/static/"})
	if err != nil {
		t.Fatal(err)
	}
	tc := start(t, "", routes{
		"/file": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			f, err := os.Open(path)
			if err != nil {
				web.Error(w, 500)
				return
			}
			defer f.Close()
			web.ServeContent(w, r, path, old, f)
		}),
		"/copied": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			web.ServeContent(w, r, path, old, struct{ io.ReadSeeker }{strings.NewReader(content)})
		}),
		"/name":    web.HandlerFunc(func(w *web.Response, r *web.Request) { web.ServeFile(w, r, path) }),
		"/static/": instance.Handler,
	})
	t.Cleanup(instance.Close)
	p := tc.dial()
	for _, target := range []string{"/file", "/copied", "/name", "/static/a.txt"} {
		ask := func(method, fields string) (status int, contentType string, body []byte) {
			t.Helper()
			p.send(method + " " + target + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n")
			r := p.answer(method)
			return r.Status, r.Get("Content-Type"), r.Body
		}
		for range 2 { // static answers the second time from its cache
			if status, _, body := ask("GET", ""); status != 200 || string(body) != content {
				t.Fatalf("%s: %d, %d bytes", target, status, len(body))
			}
			if status, _, body := ask("HEAD", "Range: bytes=0-0\r\n"); status != 200 || len(body) != 0 {
				t.Fatalf("%s: HEAD: %d, %d bytes", target, status, len(body))
			}
			if status, _, body := ask("GET", "Range: bytes=500005-\r\n"); status != 206 || string(body) != content[500005:] {
				t.Fatalf("%s: one range: %d, %d bytes", target, status, len(body))
			}
			if status, _, _ := ask("GET", "Range: bytes=1000000-\r\n"); status != 416 {
				t.Fatalf("%s: no range: %d", target, status)
			}
			if status, _, body := ask("GET", "If-Modified-Since: "+time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05")+" GMT\r\n"); status != 304 || len(body) != 0 {
				t.Fatalf("%s: not modified: %d, %d bytes", target, status, len(body))
			}
			status, contentType, body := ask("GET", "Range: bytes=3-400002,999999-,1-1\r\n")
			_, params, err := mime.ParseMediaType(contentType)
			if status != 206 || err != nil {
				t.Fatalf("%s: three ranges: %d %q", target, status, contentType)
			}
			reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
			for _, want := range []string{content[3:400003], "9", "1"} {
				part, err := reader.NextRawPart()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(part); string(got) != want || err != nil {
					t.Fatalf("%s: part %v: %d bytes, %v", target, part.Header, len(got), err)
				}
			}
		}
	}
}

// The files of a form live as long as the handler, also of one that panics.
func TestFormFilesAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	temporary := func() int {
		names, err := os.ReadDir(os.TempDir())
		if err != nil {
			t.Error(err)
		}
		return len(names)
	}
	tc := start(t, "", routes{"POST /{how}": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		r.Body.Limit(1 << 20)
		if err := r.ParseMultipartForm(10); err != nil {
			web.Error(w, web.StatusOf(err))
			return
		}
		fmt.Fprintf(w, "%s %s %d", r.Pattern(), r.FormValue("a"), temporary())
		if r.PathValue("how") == "panic" {
			panic("as asked")
		}
	})})
	form := func(size int) string {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		if form.SetBoundary("boundary") != nil || form.WriteField("a", "1") != nil {
			t.Fatal("a form without a field")
		}
		file, err := form.CreateFormFile("f", "f")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(file, strings.Repeat("x", size))
		form.Close()
		return post("/%s", "Content-Type: multipart/form-data; boundary=boundary\r\n"+length(body.Len()), body.String())
	}
	p := tc.dial()
	for _, test := range []struct {
		how    string
		size   int
		status int
		body   string
	}{
		{"return", 500_000, 200, "POST /{how} 1 1"},
		{"return", 5, 200, "POST /{how} 1 0"},
		{"panic", 500_000, 500, "Internal Server Error\n"},
		{"return", 2 << 20, 413, "Content Too Large\n"},
	} {
		p.send(strings.Replace(form(test.size), "%s", test.how, 1))
		if r := p.answer("POST"); r.Status != test.status || string(r.Body) != test.body {
			t.Errorf("%s, %d bytes: %d %q", test.how, test.size, r.Status, r.Body)
		}
		if left := temporary(); left != 0 {
			t.Errorf("%s, %d bytes: %d files are left", test.how, test.size, left)
		}
	}
}
