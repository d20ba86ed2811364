package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestRedirect(t *testing.T) {
	for _, test := range []struct{ from, to, location string }{
		{"/a/b", "c", "/a/c"},
		{"/a/b", "", "/a/"},
		{"/a/b", ".", "/a/"},
		{"/a/b/", "../c", "/a/c"},
		{"/a/b", "../../../c", "/c"},
		{"/a/b", "c/../d/", "/a/d/"},
		{"/a/b?x=1", "?y=2", "/a/?y=2"},
		{"/a/b", "c?next=/../x", "/a/c?next=/../x"},
		{"/a/b", "c#part/../x", "/a/c#part/../x"},
		{"/a/b", "/x//y/./z", "/x/y/z"},
		{"/a%2Fb/c", "d", "/a%2Fb/d"},
		{"/a", "https://example.net/x/../y", "https://example.net/x/../y"},
		{"/a", "//example.net/x", "//example.net/x"},
		{"/a", "mailto:ada@example.net", "mailto:ada@example.net"},
		{"/a", "/ü <&>", "/%C3%BC%20%3C&%3E"},
		{"/a", "/%C3%BC", "/%C3%BC"},
		{"/a", `/\example.net`, "/%5Cexample.net"},
		{"/a", "/x\r\nSet-Cookie: a=b", "/x%0D%0ASet-Cookie:%20a=b"},
		{"/a", "http://[::1]:8080/", "http://[::1]:8080/"},
	} {
		resp := webtest.Get(web.RedirectHandler(test.to, 303), test.from)
		if got := resp.Header.Get("Location"); resp.Status != 303 || got != test.location {
			t.Errorf("%s to %q: %d %q, want %q", test.from, test.to, resp.Status, got, test.location)
		}
	}
}

// The answer is what net/http gives, but for the cleaning of dot segments at the end (RFC 3986, 5.2.4), fragments and line ends.
func TestAgainstRedirect(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST"} {
		for _, contentType := range []string{"", "text/x"} {
			for _, to := range []string{"c", "/x?a=1&b=2", "../x/", "http://example.net/?q='\"", "/ü"} {
				recorder := httptest.NewRecorder()
				if contentType != "" {
					recorder.Header().Set("Content-Type", contentType)
				}
				http.Redirect(recorder, httptest.NewRequest(method, "/a/b/c", nil), to, http.StatusFound)
				resp := webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) {
					if contentType != "" {
						w.Header().Set("Content-Type", contentType)
					}
					web.Redirect(w, r, to, 302)
				}), webtest.Request{Method: method, Target: "/a/b/c"})
				for _, name := range []string{"Location", "Content-Type"} {
					if got, want := resp.Header.Get(name), recorder.Header().Get(name); got != want && to != "/ü" && to != "http://example.net/?q='\"" {
						t.Errorf("%s %s: %s %q, want %q", method, to, name, got, want)
					}
				}
				if got, want := len(resp.Body) > 0, recorder.Body.Len() > 0; got != want || resp.Status != recorder.Code {
					t.Errorf("%s %s: %d %q, want %q", method, to, resp.Status, resp.Body, recorder.Body)
				}
			}
		}
	}
	resp := webtest.Get(web.RedirectHandler("/x?a=1&b='", 301), "/")
	if resp.Text() != "<a href=\"/x?a=1&amp;b=&#39;\">Moved Permanently</a>.\n" {
		t.Error(resp.Text())
	}
}

func TestNotFound(t *testing.T) {
	if resp := webtest.Get(web.HandlerFunc(web.NotFound), "/"); resp.Status != 404 || resp.Text() != "Not Found\n" {
		t.Error(resp.Status, resp.Text())
	}
}

// An error page is text and describes nothing else, whatever the handler had set before.
func TestErrorAfterHeaders(t *testing.T) {
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		for _, name := range []string{"Content-Type", "Content-Encoding", "ETag", "Last-Modified", "Content-Range", "X-Kept"} {
			w.Header().Set(name, "x")
		}
		web.Error(w, 400, "<b>no</b>")
	}), "/")
	if resp.Status != 400 || resp.Text() != "<b>no</b>\n" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.Header.Len() != 2 {
		t.Errorf("%d %q %v", resp.Status, resp.Text(), resp.Header)
	}
}
