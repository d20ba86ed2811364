package web

import (
	"html"
	"net/http"
	"net/url"
	"strings"
)

// Redirect answers with a Location and the status code, usually 301, 302, 303, 307 or 308. A target without scheme and host is taken
// relative to the request's path and made clean (RFC 3986, 5.2). Bytes that no URI holds are percent-encoded, the backslash among
// them. A GET gets a short page with the link, unless the Content-Type is set already.
//
// A target that comes from a client must be checked before: "//host/" leads away.
func Redirect(w *Response, r *Request, target string, code int) {
	if u, err := url.Parse(target); err == nil && u.Scheme == "" && u.Host == "" {
		target = resolve(r.RawPath, target)
	}
	target = escapeURI(target)
	h := w.Header()
	h.Set("Location", target)
	w.SetStatus(code)
	if (r.Method == "GET" || r.Method == "HEAD") && !h.Has("Content-Type") {
		h.Set("Content-Type", "text/html; charset=utf-8")
		w.SendString(`<a href="` + html.EscapeString(target) + `">` + http.StatusText(code) + "</a>.\n")
	}
}

// RedirectHandler answers every request with Redirect.
func RedirectHandler(target string, code int) Handler {
	return HandlerFunc(func(w *Response, r *Request) { Redirect(w, r, target, code) })
}

// NotFound answers 404.
func NotFound(w *Response, _ *Request) { Error(w, 404) }

// resolve makes an absolute and clean path of a relative reference, base being the path that it is relative to.
func resolve(base, reference string) string {
	path, rest := reference, ""
	if i := strings.IndexAny(reference, "?#"); i >= 0 {
		path, rest = reference[:i], reference[i:]
	}
	if !strings.HasPrefix(path, "/") {
		path = base[:strings.LastIndexByte(base, '/')+1] + path
	}
	if !strings.HasPrefix(path, "/") { // the request has no path: OPTIONS *
		path = "/" + path
	}
	return clean(path) + rest
}

// escapeURI percent-encodes what stands nowhere in a URI (RFC 3986, 2). What is encoded already stays.
func escapeURI(s string) string {
	const hex = "0123456789ABCDEF"
	bad := 0
	for i := range len(s) {
		if !isURIByte(s[i]) {
			bad++
		}
	}
	if bad == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+2*bad)
	for i := range len(s) {
		if c := s[i]; isURIByte(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func isURIByte(c byte) bool { return isLocationByte(c) || c == '?' || c == '#' || c == '[' || c == ']' }
