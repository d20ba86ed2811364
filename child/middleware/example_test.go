package middleware_test

import (
	"fmt"
	"strings"

	"github.com/tined/tined/child/middleware"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func ExampleCompress() {
	poem := web.StringFunc(func(*web.Request) string { return strings.Repeat("A rose is a rose. ", 200) })
	h := middleware.Compress(middleware.CompressOptions{})(poem)
	resp := webtest.Do(h, webtest.Request{Header: map[string]string{"Accept-Encoding": "gzip, deflate, br"}})
	fmt.Println(resp.Header.Get("Content-Encoding"), resp.Header.Get("Vary"), len(resp.Body) < 100)
	// Output: br Accept-Encoding true
}

func ExampleRecover() {
	broken := web.StringFunc(func(*web.Request) string { panic("out of ink") })
	sorry := middleware.Recover(middleware.RecoverOptions{
		Answer: func(w *web.Response, _ *web.Request, v any) {
			w.Header().Set("Content-Type", "application/json")
			w.SendBytes([]byte(`{"error": "internal"}`))
		},
	})
	resp := webtest.Get(sorry(broken), "/")
	fmt.Println(resp.Status, resp.Text())
	// Output: 500 {"error": "internal"}
}

func ExampleRequestIDOf() {
	h := middleware.RequestID(middleware.RequestIDOptions{Trust: middleware.TrustAnybody})(web.StringFunc(func(r *web.Request) string {
		return "request " + middleware.RequestIDOf(r.Context())
	}))
	resp := webtest.Do(h, webtest.Request{Header: map[string]string{"X-Request-Id": "f81d4fae"}})
	fmt.Println(resp.Text(), resp.Header.Get("X-Request-Id"))
	// Output: request f81d4fae f81d4fae
}
