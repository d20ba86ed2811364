package web_test

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

const urlencoded = "application/x-www-form-urlencoded"

// form encodes fields and files, each a name and content, as multipart/form-data.
func form(t testing.TB, fields, files [][2]string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		part, err := w.CreateFormFile(f[0], f[0]+".txt")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(part, f[1])
	}
	w.Close()
	return w.FormDataContentType(), b.String()
}

func TestParseForm(t *testing.T) {
	many := strings.Repeat("a&", web.MaxFormFields-1)
	for _, test := range []struct {
		name, method, target, contentType, body string
		form, post                              url.Values
		status                                  int // of the error
	}{
		{"query only", "GET", "/?a=1&a=2", "", "", url.Values{"a": {"1", "2"}}, url.Values{}, 0},
		{"content before query", "POST", "/?a=1&b=2", urlencoded, "a=3&c=%26", url.Values{"a": {"3", "1"}, "b": {"2"}, "c": {"&"}}, url.Values{"a": {"3"}, "c": {"&"}}, 0},
		{"parameters of the type", "PUT", "/", "Application/X-WWW-form-urlencoded; charset=utf-8", "a=1", url.Values{"a": {"1"}}, url.Values{"a": {"1"}}, 0},
		{"GET has no form", "GET", "/", urlencoded, "a=1", url.Values{}, url.Values{}, 0},
		{"another type", "POST", "/?a=1", "text/plain", "a=2", url.Values{"a": {"1"}}, url.Values{}, 0},
		{"no type", "POST", "/", "", "a=2", url.Values{}, url.Values{}, 0},
		{"malformed query", "GET", "/?a=1&b=%zz", "", "", url.Values{"a": {"1"}}, url.Values{}, 400},
		{"malformed content", "POST", "/?c=3", urlencoded, "a=1&b=%zz", url.Values{"a": {"1"}, "c": {"3"}}, url.Values{"a": {"1"}}, 400},
		{"too long", "POST", "/?a=1", urlencoded, strings.Repeat("x", web.MaxFormBytes+1), url.Values{"a": {"1"}}, url.Values{}, 413},
		{"too many", "POST", "/?a=1", urlencoded, many + "a&a", url.Values{"a": {"1"}}, url.Values{}, 413},
		{"many", "POST", "/", urlencoded, many + "b", nil, nil, 0},
	} {
		q := webtest.Request{Method: test.method, Target: test.target, Body: test.body, Header: map[string]string{"Content-Type": test.contentType}}
		with(q, func(r *web.Request) {
			err := r.ParseForm()
			if test.status == 0 != (err == nil) || err != nil && web.StatusOf(err) != test.status {
				t.Errorf("%s: %v, want status %d", test.name, err, test.status)
			}
			if test.form != nil && (!reflect.DeepEqual(r.Form, test.form) || !reflect.DeepEqual(r.PostForm, test.post)) {
				t.Errorf("%s: %v, %v", test.name, r.Form, r.PostForm)
			}
			if err := r.ParseForm(); err != nil {
				t.Errorf("%s: the second time: %v", test.name, err)
			}
		})
	}
}

func TestFormValue(t *testing.T) {
	contentType, body := form(t, [][2]string{{"a", "1"}, {"b", "2"}}, [][2]string{{"f", "content"}})
	for name, q := range map[string]webtest.Request{
		"multipart":  {Method: "POST", Target: "/?q=9", Body: body, Header: map[string]string{"Content-Type": contentType}},
		"urlencoded": {Method: "PATCH", Target: "/?q=9", Body: "b=2&a=1", Header: map[string]string{"Content-Type": urlencoded}},
	} {
		with(q, func(r *web.Request) {
			if r.FormValue("a") != "1" || r.PostFormValue("b") != "2" || r.FormValue("q") != "9" || r.PostFormValue("q") != "" || r.FormValue("none") != "" {
				t.Errorf("%s: %v %v", name, r.Form, r.PostForm)
			}
		})
		with(q, func(r *web.Request) { // the other way round
			if r.ParseForm() != nil || r.PostFormValue("b") != "2" {
				t.Errorf("%s: after ParseForm: %v", name, r.PostForm)
			}
		})
	}
}

func TestFormFile(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	small, big := "content", strings.Repeat("0123456789", web.FormMemory/10+1)
	contentType, body := form(t, [][2]string{{"a", "1"}}, [][2]string{{"f", small}, {"g", big}, {"g", "second"}})
	var file multipart.File
	with(webtest.Request{Method: "POST", Body: body, Header: map[string]string{"Content-Type": contentType}}, func(r *web.Request) {
		for name, want := range map[string]string{"f": small, "g": big} {
			f, header, err := r.FormFile(name)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(f)
			if string(content) != want || err != nil || header.Filename != name+".txt" || header.Size != int64(len(want)) {
				t.Errorf("%s: %d bytes, %v, %v", name, len(content), header, err)
			}
			if file = f; name == "f" {
				f.Close()
			}
		}
		if len(r.MultipartForm.File["g"]) != 2 {
			t.Errorf("%d files", len(r.MultipartForm.File["g"]))
		}
		if _, _, err := r.FormFile("none"); !errors.Is(err, http.ErrMissingFile) || web.StatusOf(err) != 400 {
			t.Error(err)
		}
		if left := entries(t); left != 1 {
			t.Errorf("%d temporary files while the handler runs", left)
		}
	})
	file.Close()
	if left := entries(t); left != 0 {
		t.Errorf("%d temporary files are left", left)
	}
}

func entries(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestParseMultipartFormRefuses(t *testing.T) {
	contentType, body := form(t, [][2]string{{"a", "1"}}, [][2]string{{"f", strings.Repeat("x", 1000)}})
	var many [][2]string
	for range 1001 {
		many = append(many, [2]string{"a", ""})
	}
	manyType, manyBody := form(t, many, nil)
	longType, longBody := form(t, [][2]string{{"a", strings.Repeat("x", web.MaxFormBytes+web.FormMemory)}}, nil)
	gone := errors.New("the client has gone")
	for _, test := range []struct {
		name, contentType, body string
		stream                  io.Reader
		limit                   int64
		status                  int
	}{
		{"no type", "", body, nil, 1 << 30, 415},
		{"another type", urlencoded, "a=1", nil, 1 << 30, 415},
		{"mixed", strings.Replace(contentType, "form-data", "mixed", 1), body, nil, 1 << 30, 415},
		{"no boundary", "multipart/form-data", body, nil, 1 << 30, 400},
		{"malformed type", "multipart/form-data; boundary", body, nil, 1 << 30, 400},
		{"another boundary", "multipart/form-data; boundary=x", body, nil, 1 << 30, 400},
		{"cut", contentType, body[:len(body)-10], nil, 1 << 30, 400},
		{"the client goes", contentType, body[:len(body)-10], iotest.ErrReader(gone), 1 << 30, 400},
		{"limited", contentType, body, nil, 500, 413},
		{"limited stream", contentType, body[:10], strings.NewReader(body[10:]), 500, 413},
		{"many parts", manyType, manyBody, nil, 1 << 30, 413},
		{"long value", longType, longBody, nil, 1 << 30, 413},
	} {
		q := webtest.Request{Method: "POST", Body: test.body, Stream: test.stream, Header: map[string]string{"Content-Type": test.contentType}}
		with(q, func(r *web.Request) {
			r.Body.Limit(test.limit)
			if err := r.ParseMultipartForm(100); err == nil || web.StatusOf(err) != test.status {
				t.Errorf("%s: %v, status %d, want %d", test.name, err, web.StatusOf(err), test.status)
			}
			if r.MultipartForm != nil {
				t.Errorf("%s: %v", test.name, r.MultipartForm)
			}
		})
		with(q, func(r *web.Request) {
			r.Body.Limit(test.limit)
			if _, _, err := r.FormFile("f"); err == nil || web.StatusOf(err) != test.status {
				t.Errorf("%s: FormFile: %v", test.name, err)
			}
		})
	}
}

func TestParseMultipartFormWithoutFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	contentType, body := form(t, nil, [][2]string{{"f", strings.Repeat("x", 1000)}})
	with(webtest.Request{Method: "POST", Body: body, Header: map[string]string{"Content-Type": contentType}}, func(r *web.Request) {
		if err := r.ParseMultipartForm(10); !errors.Is(err, os.ErrNotExist) || web.StatusOf(err) != 500 {
			t.Error(err)
		}
	})
}

func TestMultipartReader(t *testing.T) {
	contentType, body := form(t, [][2]string{{"a", "1"}}, [][2]string{{"f", "content"}})
	for _, contentType := range []string{contentType, strings.Replace(contentType, "form-data", "mixed", 1)} {
		q := webtest.Request{Method: "POST", Target: "/?q=1", Stream: iotest.OneByteReader(strings.NewReader(body)), Header: map[string]string{"Content-Type": contentType}}
		with(q, func(r *web.Request) {
			reader, err := r.MultipartReader()
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"1", "content"} {
				part, err := reader.NextPart()
				if err != nil {
					t.Fatal(err)
				}
				if content, err := io.ReadAll(part); string(content) != want || err != nil {
					t.Errorf("%q, %v", content, err)
				}
			}
			if _, err := r.MultipartReader(); err == nil {
				t.Error("a second reader")
			}
			if err := r.ParseMultipartForm(1); err == nil {
				t.Error("parsed behind the reader's back")
			}
			if r.FormValue("q") != "1" || r.PostFormValue("a") != "" {
				t.Errorf("%v", r.Form)
			}
		})
	}
	with(webtest.Request{Method: "POST", Body: "{}", Header: map[string]string{"Content-Type": "application/json"}}, func(r *web.Request) {
		if _, err := r.MultipartReader(); web.StatusOf(err) != 415 || !errors.Is(err, http.ErrNotMultipart) {
			t.Error(err)
		}
	})
}

// FuzzForm: whatever a body holds, a form is read or refused with a status of the client's; what is read comes from the body.
func FuzzForm(f *testing.F) {
	contentType, body := form(f, [][2]string{{"a", "1"}}, [][2]string{{"f", "content"}})
	f.Add(contentType, body)
	f.Add(urlencoded, "a=1&b=%41&&=")
	f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		with(webtest.Request{Method: "POST", Body: body, Header: map[string]string{"Content-Type": contentType}}, func(r *web.Request) {
			for _, err := range []error{r.ParseForm(), r.ParseMultipartForm(64)} {
				if status := web.StatusOf(err); err != nil && (status < 400 || status > 499) {
					t.Errorf("%d: %v", status, err)
				}
			}
			size := 0
			for name, values := range r.PostForm {
				for _, value := range values {
					size += len(name) + len(value)
				}
			}
			if size > len(body) && r.MultipartForm == nil {
				t.Errorf("%d bytes of form in %d bytes of body", size, len(body))
			}
		})
	})
}
