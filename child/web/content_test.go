package web_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

var (
	modtime = time.Date(2024, 5, 6, 7, 8, 9, 500, time.UTC)
	large   = strings.Repeat("0123456789abcdef", 8<<10) // more than a response collects
)

// plainSeeker hides what content is, so that it has to be copied.
type plainSeeker struct{ io.ReadSeeker }

// sources are the ways in which a handler has content, each sent in another way.
func sources(t *testing.T, content string) map[string]func() io.ReadSeeker {
	path := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]func() io.ReadSeeker{
		"memory": func() io.ReadSeeker { return strings.NewReader(content) },
		"bytes":  func() io.ReadSeeker { return bytes.NewReader([]byte(content)) },
		"copied": func() io.ReadSeeker { return plainSeeker{strings.NewReader(content)} },
		"file": func() io.ReadSeeker {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
	}
}

// serving is a handler that closes its content, as one for net/http does.
func serving(name, etag string, open func() io.ReadSeeker) web.Handler {
	return web.HandlerFunc(func(w *web.Response, r *web.Request) {
		content := open()
		if c, ok := content.(io.Closer); ok {
			defer c.Close()
		}
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		web.ServeContent(w, r, name, modtime, content)
	})
}

func fields(lines ...string) []web.Field {
	var all []web.Field
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		all = append(all, web.Field{Name: name, Value: value})
	}
	return all
}

// parts reads a multipart/byteranges response: Content-Range and content of each part.
func parts(contentType string, body []byte) ([]string, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	var all []string
	for {
		part, err := reader.NextRawPart()
		if err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return all, err
		}
		all = append(all, part.Header.Get("Content-Type"), part.Header.Get("Content-Range"), string(content))
	}
}

func TestServeContent(t *testing.T) {
	for _, content := range []string{"0123456789", large, ""} {
		size := int64(len(content))
		for source, open := range sources(t, content) {
			h := serving("a.txt", `"tag"`, open)
			resp := webtest.Get(h, "/")
			if resp.Status != 200 || resp.Text() != content || resp.Length != size || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" ||
				resp.Header.Get("Accept-Ranges") != "bytes" || resp.Header.Get("Last-Modified") != "Mon, 06 May 2024 07:08:09 GMT" || resp.Cut {
				t.Errorf("%s, %d bytes: %d, %d bytes of %d, %v", source, size, resp.Status, len(resp.Body), resp.Length, resp.Header)
			}
			resp = webtest.Head(h, "/")
			if resp.Status != 200 || resp.Length != size || len(resp.Body) != 0 || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s, %d bytes: HEAD: %d, length %d, %v", source, size, resp.Status, resp.Length, resp.Header)
			}
			resp = webtest.Do(h, webtest.Request{Fields: fields(`If-None-Match: "tag"`)})
			if resp.Status != 304 || resp.Header.Get("ETag") != `"tag"` || resp.Header.Has("Content-Type") || resp.Header.Has("Last-Modified") {
				t.Errorf("%s: 304: %d %v", source, resp.Status, resp.Header)
			}
			resp = webtest.Do(h, webtest.Request{Fields: fields(`If-Match: "other"`)})
			if resp.Status != 412 || resp.Text() != "Precondition Failed\n" || resp.Header.Has("ETag") {
				t.Errorf("%s: 412: %d %q %v", source, resp.Status, resp.Text(), resp.Header)
			}
			resp = webtest.Do(h, webtest.Request{Fields: fields("Range: bytes=999999-")})
			if resp.Status != 416 || !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes */") || resp.Header.Has("ETag") {
				t.Errorf("%s: 416: %d %v", source, resp.Status, resp.Header)
			}
			if size == 0 {
				continue
			}
			resp = webtest.Do(h, webtest.Request{Fields: fields("Range: bytes=-3")})
			if resp.Status != 206 || resp.Text() != content[size-3:] || resp.Length != 3 || resp.Header.Get("Content-Range") == "" {
				t.Errorf("%s: one range: %d %q %v", source, resp.Status, resp.Text(), resp.Header)
			}
			resp = webtest.Do(h, webtest.Request{Fields: fields("Range: bytes=5-,1-2")})
			got, err := parts(resp.Header.Get("Content-Type"), resp.Body)
			if err != nil || resp.Status != 206 || len(got) != 6 || got[2] != content[5:] || got[5] != content[1:3] || got[0] != "text/plain; charset=utf-8" ||
				resp.Length != int64(len(resp.Body)) || resp.Header.Has("Content-Range") {
				t.Errorf("%s: two ranges: %d, %d parts, %v, length %d of %d, %v", source, resp.Status, len(got)/3, err, resp.Length, len(resp.Body), resp.Header)
			}
		}
	}
}

// The kind of body tells how content is sent: a file by sendfile, whole and in one range.
func TestServeContentWays(t *testing.T) {
	for source, want := range map[string][3]web.BodyKind{
		"file":   {web.BodyFile, web.BodyFile, web.BodyReader},
		"memory": {web.BodyReader, web.BodyReader, web.BodyReader},
		"copied": {web.BodyCollected, web.BodyCollected, web.BodyCollected},
	} {
		h := serving("", "", sources(t, large)[source])
		for i, value := range []string{"", "bytes=10-", "bytes=10-,0-0"} {
			if resp := webtest.Do(h, webtest.Request{Fields: fields("Range: " + value)}); resp.Kind != want[i] || resp.Streamed != (source == "copied") {
				t.Errorf("%s, Range %q: kind %d, streamed %v", source, value, resp.Kind, resp.Streamed)
			}
		}
	}
}

func TestServeContentType(t *testing.T) {
	for _, test := range []struct{ name, set, content, want string }{
		{"a.css", "", "<html>", "text/css; charset=utf-8"},
		{"a.css", "text/x", "<html>", "text/x"},
		{"", "", "<html>", "text/html; charset=utf-8"},
		{"a.unknown", "", "%PDF-1.7", "application/pdf"},
		{"", "", "", "text/plain; charset=utf-8"},
	} {
		resp := webtest.Get(web.HandlerFunc(func(w *web.Response, r *web.Request) {
			if test.set != "" {
				w.Header().Set("Content-Type", test.set)
			}
			web.ServeContent(w, r, test.name, time.Time{}, strings.NewReader(test.content))
		}), "/")
		if resp.Header.Get("Content-Type") != test.want || resp.Text() != test.content || resp.Header.Has("Last-Modified") {
			t.Errorf("%v: %v %q", test, resp.Header, resp.Text())
		}
	}
}

func TestServeContentDates(t *testing.T) {
	for _, date := range []time.Time{{}, time.Unix(0, 0)} {
		resp := webtest.Get(web.HandlerFunc(func(w *web.Response, r *web.Request) {
			web.ServeContent(w, r, "", date, strings.NewReader("x"))
		}), "/")
		if resp.Header.Has("Last-Modified") {
			t.Errorf("%v: %v", date, resp.Header)
		}
	}
	future := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		web.ServeContent(w, r, "", time.Now().Add(time.Hour), strings.NewReader("x"))
	})
	date, err := http.ParseTime(webtest.Get(future, "/").Header.Get("Last-Modified"))
	if err != nil || date.After(time.Now()) {
		t.Errorf("a date in the future is sent as %v, %v", date, err)
	}
	resp := webtest.Do(future, webtest.Request{Fields: fields("Range: bytes=0-0", "If-Range: "+date.Format(http.TimeFormat))})
	if resp.Status != 200 {
		t.Errorf("a range of what has only just changed: %d", resp.Status)
	}
}

// brokenSeeker fails, or is shorter than it says.
type brokenSeeker struct {
	*strings.Reader
	size int64
	err  error
}

func (b brokenSeeker) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return b.size, b.err
	}
	return b.Reader.Seek(offset, whence)
}

func TestServeContentFails(t *testing.T) {
	for name, content := range map[string]brokenSeeker{
		"seek":    {strings.NewReader(""), 0, errors.New("broken")},
		"shorter": {strings.NewReader("123"), 10, nil},
	} {
		resp := webtest.Get(web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.Header().Set("Cache-Control", "immutable")
			web.ServeContent(w, r, "a.txt", modtime, content)
		}), "/")
		if resp.Status != 500 || resp.Text() != "Internal Server Error\n" || resp.Header.Has("Cache-Control") || resp.Header.Has("Last-Modified") {
			t.Errorf("%s: %d %q %v", name, resp.Status, resp.Text(), resp.Header)
		}
	}
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, r *web.Request) {
		web.ServeContent(w, r, "a.txt", modtime, brokenSeeker{strings.NewReader(large), int64(len(large)) + 1, nil})
	}), "/")
	if resp.Status != 200 || !resp.Cut {
		t.Errorf("a stream that ends early: %d, cut %v", resp.Status, resp.Cut)
	}
}

func TestServeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, target, fields string
		status               int
		body                 string
	}{
		{path, "/", "", 200, "0123456789"},
		{path, "/", "Range: bytes=2-3", 206, "23"},
		{path, "/", "If-None-Match: *", 304, ""},
		{path, "/", "If-Match: \"x\"", 412, "Precondition Failed\n"},
		{path, "/a/%2e%2e%2fb", "", 400, "Bad Request\n"},
		{path, "/a..b/", "", 200, "0123456789"},
		{dir, "/", "", 404, "Not Found\n"},
		{dir + "/none", "/", "", 404, "Not Found\n"},
		{path + "/", "/", "", 404, "Not Found\n"},
		{dir + "/\x00", "/", "", 404, "Not Found\n"},
		{dir + "/fifo", "/", "", 404, "Not Found\n"},
		{dir + "/" + strings.Repeat("n", 300), "/", "", 404, "Not Found\n"},
	} {
		h := web.HandlerFunc(func(w *web.Response, r *web.Request) { web.ServeFile(w, r, test.name) })
		for _, method := range []string{"GET", "HEAD"} {
			resp := webtest.Do(h, webtest.Request{Method: method, Target: test.target, Fields: fields(test.fields)})
			status, body := test.status, test.body
			if method == "HEAD" {
				body = ""
				if status == 206 {
					status = 200
				}
			}
			if resp.Status != status || resp.Text() != body {
				t.Errorf("%s %s (%s): %d %q, want %d %q", method, test.name, test.fields, resp.Status, resp.Text(), status, body)
			}
		}
	}
}

// outcome is what two servers are compared by.
type outcome struct {
	status int
	fields map[string]string
	body   []string
}

// compared are the fields that two answers must share.
var compared = []string{"Content-Range", "ETag", "Last-Modified", "Accept-Ranges", "Content-Type", "Content-Length"}

func outcomeOf(status int, get func(string) string, body []byte) outcome {
	o := outcome{status: status, fields: map[string]string{}}
	if status < 300 || status == 304 {
		for _, name := range compared {
			o.fields[name] = get(name)
		}
	}
	o.fields["Content-Range"] = get("Content-Range")
	switch {
	case strings.HasPrefix(get("Content-Type"), "multipart/byteranges"):
		o.body, _ = parts(get("Content-Type"), body)
		delete(o.fields, "Content-Type") // the boundary is random,
		delete(o.fields, "Content-Length")
	case status < 300:
		o.body = []string{string(body)}
	}
	return o
}

// ask puts the same question to net/http's ServeContent and to this package's.
func ask(method string, lines []string, content, etag string) (theirs, ours outcome) {
	q := httptest.NewRequest(method, "/", nil)
	for _, f := range fields(lines...) {
		q.Header.Add(f.Name, f.Value)
	}
	recorder := httptest.NewRecorder()
	if etag != "" {
		recorder.Header().Set("ETag", etag)
	}
	http.ServeContent(recorder, q, "a.txt", modtime, strings.NewReader(content))
	theirs = outcomeOf(recorder.Code, recorder.Header().Get, recorder.Body.Bytes())

	resp := webtest.Do(serving("a.txt", etag, func() io.ReadSeeker { return strings.NewReader(content) }),
		webtest.Request{Method: method, Fields: fields(lines...)})
	if resp.Status < 300 {
		resp.Header.Set("Content-Length", strconv.FormatInt(resp.Length, 10))
	}
	ours = outcomeOf(resp.Status, resp.Header.Get, resp.Body)
	return theirs, ours
}

func (o outcome) equal(other outcome) bool {
	return o.status == other.status && maps.Equal(o.fields, other.fields) && slices.Equal(o.body, other.body)
}

// TestAgainstServeContent: where a request is well-formed and asks for what both do, the answers are the same.
func TestAgainstServeContent(t *testing.T) {
	const seeds = 4000
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	for range seeds {
		var lines []string
		add := func(name string, values ...string) {
			if rnd.IntN(3) == 0 {
				lines = append(lines, name+": "+pick(values...))
			}
		}
		tags := []string{`"tag"`, `W/"tag"`, `*`, `"x"`, `"x", "tag"`, `"x,y",W/"tag"`, `"x" ,  "y"`, `tag`}
		times := []string{"Mon, 06 May 2024 07:08:09 GMT", "Mon, 06 May 2024 07:08:08 GMT", "Tue, 07 May 2024 07:08:09 GMT", "Monday, 06-May-24 07:08:09 GMT",
			"Mon May  6 07:08:09 2024", "yesterday"}
		add("If-Match", tags...)
		add("If-None-Match", tags...)
		add("If-Modified-Since", times...)
		add("If-Unmodified-Since", times...)
		method := pick("GET", "GET", "HEAD", "POST")
		if method == "GET" {
			add("If-Range", append(times, `"tag"`, `W/"tag"`, `"x"`)...)
			add("Range", "bytes=0-0", "bytes=2-5", "bytes=5-", "bytes=-3", "bytes=-99", "bytes=7-99", "bytes=10-", "bytes=99-100", "bytes=0-0,9-9", "bytes=9-9,0-0",
				"bytes=0-1, 4-5 ,-1", "bytes=0-1,99-", "bytes=0-9")
		}
		etag := pick("", `"tag"`, `W/"tag"`, `"x,y"`)
		if theirs, ours := ask(method, lines, "0123456789", etag); !ours.equal(theirs) {
			t.Errorf("seed %d: %s %q, ETag %s:\n net/http %v\n ours     %v", seed, method, lines, etag, theirs, ours)
		}
	}
}

// Where the answers differ, and why. Sections are those of RFC 9110.
func TestDifferencesFromServeContent(t *testing.T) {
	for _, test := range []struct {
		why          string
		method       string
		lines        []string
		content      string
		theirs, ours int
	}{
		{"14.2: a Range in other methods than GET is ignored", "HEAD", []string{"Range: bytes=0-1"}, "0123456789", 206, 200},
		{"14.2: a Range in other methods than GET is ignored", "POST", []string{"Range: bytes=99-"}, "0123456789", 416, 200},
		{"14.2: a malformed Range may be ignored, so that the client gets what it can use", "GET", []string{"Range: bytes=5-2"}, "0123456789", 416, 200},
		{"14.2: an unknown unit is ignored", "GET", []string{"Range: lines=1-2"}, "0123456789", 416, 200},
		{"14.1.1: no blank stands in a range", "GET", []string{"Range: bytes=1 - 2"}, "0123456789", 206, 200},
		{"14.1: units do not depend on case", "GET", []string{"Range: BYTES=1-2"}, "0123456789", 416, 206},
		{"14.1.2: numbers of any size are numbers", "GET", []string{"Range: bytes=5-99999999999999999999"}, "0123456789", 416, 206},
		{"14.1.2: the last 0 bytes are not satisfiable", "GET", []string{"Range: bytes=-0"}, "0123456789", 206, 416},
		{"14.1.2: a range of empty content that begins at 0 is not satisfiable", "GET", []string{"Range: bytes=0-"}, "", 200, 416},
		{"14.4: no Content-Range can tell the last bytes of nothing", "GET", []string{"Range: bytes=-1"}, "", 206, 200},
		{"15.3.7.2: overlapping ranges become one", "GET", []string{"Range: bytes=0-6,3-9"}, "0123456789", 200, 206},
		{"14.2: too many ranges are ignored", "GET", []string{"Range: bytes=0-0" + strings.Repeat(",2-2", web.MaxRanges)}, large, 206, 200},
		{"5.3: a list goes on in further lines", "GET", []string{`If-None-Match: "x"`, `If-None-Match: "tag"`}, "0123456789", 200, 304},
		{"5.3: a Range has one line", "GET", []string{"Range: bytes=0-0", "Range: bytes=5-6"}, "0123456789", 206, 200},
		{"5.6.7: dates are of GMT", "GET", []string{"If-Modified-Since: Monday, 06-May-24 07:08:09 PST"}, "0123456789", 304, 200},
		{"13.1.3: with two dates the field is ignored", "GET", []string{"If-Modified-Since: Tue, 07 May 2024 07:08:09 GMT", "If-Modified-Since: x"}, "0123456789", 304, 200},
	} {
		theirs, ours := ask(test.method, test.lines, test.content, `"tag"`)
		if theirs.status != test.theirs || ours.status != test.ours || theirs.equal(ours) {
			t.Errorf("%s: %.80q: net/http %d, ours %d", test.why, test.lines, theirs.status, ours.status)
		}
	}
}
