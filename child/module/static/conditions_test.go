package static

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestConditions(t *testing.T) {
	root := t.TempDir()
	modified := time.Date(2024, 5, 6, 7, 8, 9, 500, time.UTC)
	for name, content := range map[string]string{"small": "0123456789", "large": strings.Repeat("0123456789", 5000)} {
		write(t, root, name, content)
		if err := os.Chtimes(filepath.Join(root, name), time.Time{}, modified); err != nil {
			t.Fatal(err)
		}
	}
	const (
		same   = "Mon, 06 May 2024 07:08:09 GMT"
		older  = "Mon, 06 May 2024 07:08:08 GMT"
		newer  = "Mon, 06 May 2024 07:08:10 GMT"
		asctim = "Mon May  6 07:08:09 2024"
		rfc850 = "Monday, 06-May-24 07:08:09 GMT"
	)
	s, _ := serve(t, root)
	tests := []struct {
		fields string // name: value, separated by '|'; TAG is the entity tag
		status int
	}{
		{"If-None-Match: TAG", 304},
		{"If-None-Match: W/TAG", 304},
		{"If-None-Match: *", 304},
		{`If-None-Match: "x", TAG`, 304},
		{`If-None-Match: "x",TAG,"y"`, 304},
		{`If-None-Match: "a,b" , W/"y" ,, TAG`, 304},
		{`If-None-Match: "x"|If-None-Match: TAG`, 304},
		{`if-none-match: TAG`, 304},
		{`If-None-Match: "x"`, 200},
		{`If-None-Match: ""`, 200},
		{`If-None-Match: x TAG`, 200},
		{`If-None-Match: "unclosed`, 200},
		{`If-None-Match: "x" TAG`, 200},
		{`If-None-Match: w/TAG`, 200},
		{"If-None-Match: ", 200},
		{"If-Modified-Since: " + same, 304},
		{"If-Modified-Since: " + newer, 304},
		{"If-Modified-Since: " + asctim, 304},
		{"If-Modified-Since: " + rfc850, 304},
		{"If-Modified-Since: " + older, 200},
		{"If-Modified-Since: yesterday", 200},
		{"If-Modified-Since: 0", 200},
		{`If-None-Match: "x"|If-Modified-Since: ` + newer, 200}, // the tag decides
		{"If-None-Match: TAG|If-Modified-Since: " + older, 304},
		{"If-Match: TAG", 200},
		{"If-Match: *", 200},
		{`If-Match: "x"`, 412},
		{"If-Match: W/TAG", 412}, // strong comparison
		{`If-Match: "x", TAG`, 200},
		{`If-Match: "x"|If-None-Match: TAG`, 412},
		{"If-Match: TAG|If-None-Match: TAG", 304},
		{"If-Unmodified-Since: " + same, 200},
		{"If-Unmodified-Since: " + newer, 200},
		{"If-Unmodified-Since: " + older, 412},
		{"If-Unmodified-Since: yesterday", 200},
		{"If-Match: TAG|If-Unmodified-Since: " + older, 200}, // the tag decides
		{"Range: bytes=0-3|If-Range: TAG", 206},
		{`Range: bytes=0-3|If-Range: "x"`, 200},
		{"Range: bytes=0-3|If-Range: W/TAG", 200},
		{"Range: bytes=0-3|If-Range: " + same, 206},
		{"Range: bytes=0-3|If-Range: " + asctim, 206},
		{"Range: bytes=0-3|If-Range: " + newer, 200}, // exact match only
		{"Range: bytes=0-3|If-Range: " + older, 200},
		{"Range: bytes=0-3|If-Range: x", 200},
		{"Range: bytes=0-3|If-None-Match: TAG", 304},
		{`Range: bytes=0-3|If-Match: "x"`, 412},
		{"Range: bytes=999999-|If-None-Match: TAG", 304},
		{"If-Range: TAG", 200},
	}
	for _, name := range []string{"small", "large"} {
		full := webtest.Get(s, "/"+name)
		tag := full.Header.Get("ETag")
		for _, test := range tests {
			for _, method := range []string{"GET", "HEAD"} {
				request := webtest.Request{Method: method, Target: "/" + name}
				for field := range strings.SplitSeq(strings.ReplaceAll(test.fields, "TAG", tag), "|") {
					name, value, _ := strings.Cut(field, ": ")
					request.Fields = append(request.Fields, web.Field{Name: name, Value: value})
				}
				want := test.status
				if want == 206 && method == "HEAD" {
					want = 200
				}
				resp := webtest.Do(s, request)
				if resp.Status != want || !resp.Inline {
					t.Errorf("%s %s: %s: %d, want %d (inline %t)", method, name, test.fields, resp.Status, want, resp.Inline)
				}
				switch resp.Status {
				case 304:
					if resp.Header.Get("ETag") != tag || len(resp.Body) > 0 || resp.Length != -1 || resp.Header.Has("Content-Type") {
						t.Errorf("%s: 304 with %v", test.fields, resp.Header)
					}
				case 200:
					if method == "GET" && resp.Text() != full.Text() {
						t.Errorf("%s: %d bytes", test.fields, len(resp.Body))
					}
				}
			}
		}
	}
}

func TestRange(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"small": "0123456789", "large": strings.Repeat("0123456789", 5000), "empty": ""} {
		write(t, root, name, content)
	}
	s, _ := serve(t, root)
	tests := []struct {
		file, value string
		status      int
		body, field string // of a 206 or 416
	}{
		{"small", "bytes=0-0", 206, "0", "bytes 0-0/10"},
		{"small", "bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"small", "BYTES=2-4", 206, "234", "bytes 2-4/10"},
		{"small", "bytes= 2-4 ,", 206, "234", "bytes 2-4/10"},
		{"small", "bytes=7-", 206, "789", "bytes 7-9/10"},
		{"small", "bytes=7-99999999999999999999999", 206, "789", "bytes 7-9/10"},
		{"small", "bytes=0-9", 206, "0123456789", "bytes 0-9/10"},
		{"small", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"small", "bytes=-99999999999999999999", 206, "0123456789", "bytes 0-9/10"},
		{"small", "bytes=10-", 416, "", "bytes */10"},
		{"small", "bytes=10-20", 416, "", "bytes */10"},
		{"small", "bytes=99999999999999999999-", 416, "", "bytes */10"},
		{"small", "bytes=-0", 416, "", "bytes */10"},
		{"small", "bytes=4-2", 200, "", ""},
		{"small", "bytes=", 200, "", ""},
		{"small", "bytes=-", 200, "", ""},
		{"small", "bytes=a-b", 200, "", ""},
		{"small", "bytes=1", 200, "", ""},
		{"small", "bytes=+1-2", 200, "", ""},
		{"small", "bytes=1-2-3", 200, "", ""},
		{"small", "bytes=0x1-2", 200, "", ""},
		{"small", "bytes=1 - 2", 200, "", ""},
		{"small", "lines=1-2", 200, "", ""},
		{"small", "bytes", 200, "", ""},
		{"small", "bytes=0-1,2-4", 206, "01234", "bytes 0-4/10"}, // they touch
		{"small", "bytes=0-1,20-", 206, "01", "bytes 0-1/10"},
		{"small", "", 200, "", ""},
		{"large", "bytes=49995-", 206, "56789", "bytes 49995-49999/50000"},
		{"large", "bytes=-5", 206, "56789", "bytes 49995-49999/50000"},
		{"large", "bytes=50000-", 416, "", "bytes */50000"},
		{"large", "bytes=49999-60000", 206, "9", "bytes 49999-49999/50000"},
		{"empty", "bytes=0-", 416, "", "bytes */0"},
		{"empty", "bytes=-1", 200, "", ""},
	}
	for _, test := range tests {
		full := webtest.Get(s, "/"+test.file)
		resp := webtest.Do(s, webtest.Request{Target: "/" + test.file, Header: map[string]string{"Range": test.value}})
		want := test.body
		switch test.status {
		case 200:
			want = full.Text()
		case 416:
			want = resp.Text()
		}
		if resp.Status != test.status || resp.Text() != want || resp.Header.Get("Content-Range") != test.field || resp.Length != int64(len(want)) {
			t.Errorf("%s %s: %d %.20q %q length %d", test.file, test.value, resp.Status, resp.Text(), resp.Header.Get("Content-Range"), resp.Length)
		}
		if resp.Status == 206 && (resp.Header.Get("ETag") != full.Header.Get("ETag") || resp.Header.Get("Content-Type") != full.Header.Get("Content-Type")) {
			t.Errorf("%s: a part with other fields: %v", test.value, resp.Header)
		}
	}
	resp := webtest.Do(s, webtest.Request{Target: "/small", Fields: []web.Field{{Name: "Range", Value: "bytes=0-1"}, {Name: "Range", Value: "bytes=2-3"}}})
	if resp.Status != 200 {
		t.Errorf("two Range fields: %d", resp.Status)
	}
}

// Several ranges in one answer (RFC 9110, 14.6), of a file in memory and of one that is open.
func TestRanges(t *testing.T) {
	root := t.TempDir()
	large := strings.Repeat("0123456789", 50000)
	write(t, root, "small.txt", "0123456789")
	write(t, root, "large.txt", large)
	s, _ := serve(t, root)
	for _, test := range []struct {
		file, value string
		parts       []string // Content-Range, content, …
	}{
		{"small.txt", "bytes=0-1, 7-,3-4", []string{"bytes 0-1/10", "01", "bytes 7-9/10", "789", "bytes 3-4/10", "34"}},
		{"small.txt", "bytes=-1,0-0", []string{"bytes 9-9/10", "9", "bytes 0-0/10", "0"}},
		{"large.txt", "bytes=499999-,5-6,0-0", []string{"bytes 499999-499999/500000", "9", "bytes 5-6/500000", "56", "bytes 0-0/500000", "0"}},
		{"large.txt", "bytes=0-199999,200001-", []string{"bytes 0-199999/500000", large[:200000], "bytes 200001-499999/500000", large[200001:]}},
	} {
		full := webtest.Get(s, "/"+test.file)
		resp := webtest.Do(s, webtest.Request{Target: "/" + test.file, Header: map[string]string{"Range": test.value}})
		if resp.Status != 206 || !resp.Inline || resp.Length != int64(len(resp.Body)) || resp.Header.Has("Content-Range") ||
			resp.Header.Get("ETag") != full.Header.Get("ETag") {
			t.Errorf("%s %s: %d (inline %t), length %d, %d bytes, %v", test.file, test.value, resp.Status, resp.Inline, resp.Length, len(resp.Body), resp.Header)
		}
		_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		reader := multipart.NewReader(bytes.NewReader(resp.Body), params["boundary"])
		var parts []string
		for {
			part, err := reader.NextRawPart()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s %s: %v", test.file, test.value, err)
			}
			content, err := io.ReadAll(part)
			if err != nil || part.Header.Get("Content-Type") != full.Header.Get("Content-Type") {
				t.Errorf("%s %s: %v %v", test.file, test.value, part.Header, err)
			}
			parts = append(parts, part.Header.Get("Content-Range"), string(content))
		}
		if !slices.Equal(parts, test.parts) {
			t.Errorf("%s %s: %.200q", test.file, test.value, parts)
		}
	}
}
