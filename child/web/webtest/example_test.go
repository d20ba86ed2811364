package webtest_test

import (
	"fmt"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func ExampleGet() {
	hello := web.StringFunc(func(r *web.Request) string { return "Hello, " + r.QueryValue("name") + "!" })
	resp := webtest.Get(hello, "/hello?name=Ada")
	fmt.Println(resp.Status, resp.Text())
	// Output: 200 Hello, Ada!
}

func ExampleDo() {
	created := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		body, err := r.Body.BytesMax(16)
		if err != nil {
			web.Error(w, 413)
			return
		}
		w.Header().Set("Location", "/items/"+string(body))
		w.SetStatus(201)
	})
	resp := webtest.Do(created, webtest.Request{Method: "POST", Target: "/items", Body: "7"})
	fmt.Println(resp.Status, resp.Header.Get("Location"))
	resp = webtest.Do(created, webtest.Request{Method: "POST", Target: "/items", Body: "a body that is too long"})
	fmt.Println(resp.Status)
	// Output:
	// 201 /items/7
	// 413
}

func ExampleRequest_params() {
	item := web.StringFunc(func(r *web.Request) string { return "item " + r.PathValue("id") })
	resp := webtest.Do(item, webtest.Request{Params: []web.Param{{Name: "id", Value: "7"}}})
	fmt.Println(resp.Text())
	// Output: item 7
}
