package web_test

import (
	"bufio"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func ExampleRequest_Cookie() {
	visits := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		name := "stranger"
		if c, err := r.Cookie("name"); err == nil {
			name = c.Value
		}
		err := web.SetCookie(w, &http.Cookie{Name: "name", Value: "Ada", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		if err != nil {
			web.Error(w, 500)
			return
		}
		w.SendString("Hello, " + name + "!")
	})
	first := webtest.Get(visits, "/")
	fmt.Println(first.Text(), first.Header.Get("Set-Cookie"))
	second := webtest.Do(visits, webtest.Request{Header: map[string]string{"Cookie": "name=Ada"}})
	fmt.Println(second.Text())
	// Output:
	// Hello, stranger! name=Ada; Path=/; HttpOnly; SameSite=Lax
	// Hello, Ada!
}

func ExampleRequest_FormValue() {
	search := web.StringFunc(func(r *web.Request) string { return "searching " + r.FormValue("q") })
	fmt.Println(webtest.Get(search, "/?q=tea").Text())
	fmt.Println(webtest.Post(search, "/", "application/x-www-form-urlencoded", "q=green+tea").Text())
	// Output:
	// searching tea
	// searching green tea
}

func ExampleServeContent() {
	changed := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	report := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.Header().Set("ETag", `"v7"`)
		web.ServeContent(w, r, "report.txt", changed, strings.NewReader("The first line.\nThe second.\n"))
	})
	for _, fields := range []map[string]string{nil, {"Range": "bytes=0-8"}, {"If-None-Match": `"v7"`}} {
		resp := webtest.Do(report, webtest.Request{Header: fields})
		fmt.Printf("%d %q %q\n", resp.Status, resp.Header.Get("Content-Range"), resp.Text())
	}
	// Output:
	// 200 "" "The first line.\nThe second.\n"
	// 206 "bytes 0-8/28" "The first"
	// 304 "" ""
}

func ExampleRequest_BasicAuth() {
	const name, password = "ada", "secret"
	equal := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	login := func(next web.Handler) web.Handler {
		return web.HandlerFunc(func(w *web.Response, r *web.Request) {
			n, p, _ := r.BasicAuth()
			if !equal(n, name) || !equal(p, password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="admin", charset="UTF-8"`)
				web.Error(w, 401)
				return
			}
			next.Serve(w, r)
		})
	}
	admin := web.Chain(web.StringFunc(func(*web.Request) string { return "welcome" }), login)
	fmt.Println(webtest.Get(admin, "/").Status)
	fmt.Println(webtest.Do(admin, webtest.Request{Header: map[string]string{"Authorization": "Basic YWRhOnNlY3JldA=="}}).Text())
	// Output:
	// 401
	// welcome
}

// A body of any length is read as it arrives: a handler that is slow stops the client.
func ExampleBody() {
	count := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		lines := 0
		scanner := bufio.NewScanner(&r.Body)
		for scanner.Scan() {
			lines++
		}
		if err := scanner.Err(); err != nil {
			web.Error(w, web.StatusOf(err))
			return
		}
		fmt.Fprintln(w, lines, "lines")
	})
	resp := webtest.Do(count, webtest.Request{Method: "POST", Stream: strings.NewReader("a\nb\nc\n")})
	fmt.Print(resp.Text())
	// Output: 3 lines
}

func ExampleRequest_JSON() {
	create := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		r.Body.Limit(1 << 10)
		var item struct{ Name string }
		if err := r.JSON(&item); err != nil {
			web.Error(w, web.StatusOf(err))
			return
		}
		w.SetStatus(201)
		if err := w.SendJSON(map[string]string{"created": item.Name}); err != nil {
			web.Error(w, 500)
		}
	})
	for _, body := range []string{`{"name": "tea"}`, `{"name": 7}`, `{"name": "` + strings.Repeat("x", 2<<10) + `"}`} {
		resp := webtest.Post(create, "/", "application/json", body)
		fmt.Print(resp.Status, " ", resp.Text())
	}
	// Output:
	// 201 {"created":"tea"}
	// 400 Bad Request
	// 413 Content Too Large
}

// A PUT that must not overwrite what somebody else has written meanwhile.
func ExampleRepresentation_Evaluate() {
	current := web.Representation{Size: 5, ETag: `"v1"`}
	put := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		if v := current.Evaluate(r); v.Status != 200 {
			web.Error(w, v.Status)
			return
		}
		w.SetStatus(204)
	})
	for _, tag := range []string{`"v1"`, `"v0"`} {
		fmt.Println(webtest.Do(put, webtest.Request{Method: "PUT", Header: map[string]string{"If-Match": tag}}).Status)
	}
	// Output:
	// 204
	// 412
}
