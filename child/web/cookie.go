package web

import (
	"fmt"
	"net/http"
)

// Cookies returns the request's cookies in their order, without those that are malformed (RFC 6265, 5.4).
func (r *Request) Cookies() []*http.Cookie {
	q, ok := r.cookies()
	if !ok {
		return nil
	}
	return q.Cookies()
}

// Cookie returns the first cookie called name, or http.ErrNoCookie.
func (r *Request) Cookie(name string) (*http.Cookie, error) {
	q, ok := r.cookies()
	if !ok {
		return nil, http.ErrNoCookie
	}
	return q.Cookie(name)
}

// CookiesNamed returns all cookies called name: a client may have several, of several paths or domains.
func (r *Request) CookiesNamed(name string) []*http.Cookie {
	q, ok := r.cookies()
	if !ok {
		return nil
	}
	return q.CookiesNamed(name)
}

// cookies is the request for net/http's reader of cookies.
func (r *Request) cookies() (q http.Request, ok bool) {
	lines := r.Header.Values("Cookie")
	if len(lines) == 0 {
		return q, false
	}
	q.Header = http.Header{"Cookie": lines}
	return q, true
}

// SetCookie adds a Set-Cookie field to w. Each cookie gets a line of its own, also two with one name. A cookie that RFC 6265, 4.1.1
// does not allow is not set: the error says why.
func SetCookie(w *Response, c *http.Cookie) error {
	if err := c.Valid(); err != nil {
		name := ""
		if c != nil {
			name = c.Name
		}
		return fmt.Errorf("set cookie %q: %w", name, err)
	}
	w.Header().Add("Set-Cookie", c.String())
	return nil
}
