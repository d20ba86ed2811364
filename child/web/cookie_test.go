package web_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestCookies(t *testing.T) {
	q := webtest.Request{Fields: []web.Field{
		{Name: "Cookie", Value: `a=1; b="two"; bad name=x`}, {Name: "cookie", Value: "a=3; c"},
	}}
	webtest.Do(web.HandlerFunc(func(_ *web.Response, r *web.Request) {
		var all []string
		for _, c := range r.Cookies() {
			all = append(all, c.Name+"="+c.Value)
		}
		if !slices.Equal(all, []string{"a=1", "b=two", "a=3", "c="}) {
			t.Errorf("%q", all)
		}
		if c, err := r.Cookie("b"); err != nil || c.Value != "two" {
			t.Error(c, err)
		}
		if _, err := r.Cookie("B"); !errors.Is(err, http.ErrNoCookie) || web.StatusOf(err) != 400 {
			t.Error(err)
		}
		if named := r.CookiesNamed("a"); len(named) != 2 || named[1].Value != "3" {
			t.Error(named)
		}
	}), q)
	webtest.Do(web.HandlerFunc(func(_ *web.Response, r *web.Request) {
		if _, err := r.Cookie("a"); !errors.Is(err, http.ErrNoCookie) || r.Cookies() != nil || r.CookiesNamed("a") != nil {
			t.Error("a cookie without a Cookie field")
		}
	}), webtest.Request{})
}

func TestSetCookie(t *testing.T) {
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		for _, c := range []*http.Cookie{
			{Name: "a", Value: "1"}, {Name: "a", Value: "2", Path: "/x"},
			{Name: "s", Value: "v", MaxAge: 60, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, Expires: time.Unix(1e9, 0)},
		} {
			if err := web.SetCookie(w, c); err != nil {
				t.Error(err)
			}
		}
		for _, c := range []*http.Cookie{nil, {}, {Name: "a b"}, {Name: "a", Value: "x\r\ny"}, {Name: "a", Value: "ü"}, {Name: "a", Path: "/;"}, {Name: "a", Domain: "-"}} {
			if err := web.SetCookie(w, c); err == nil {
				t.Errorf("%v was set", c)
			}
		}
	}), "/")
	want := []string{"a=1", "a=2; Path=/x", "s=v; Expires=Sun, 09 Sep 2001 01:46:40 GMT; Max-Age=60; HttpOnly; Secure; SameSite=Lax"}
	if got := resp.Header.Values("Set-Cookie"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
