package access_test

import (
	"fmt"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func Example() {
	token, item := access.NewToken()
	guard, err := access.New(access.Options{Tokens: []string{item}, Realm: "reports"})
	if err != nil {
		fmt.Println(err)
		return
	}
	reports := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		switch guard.Judge(r) {
		case access.Granted:
			w.SendString("the numbers are good")
		case access.Unauthorized:
			for _, challenge := range guard.Challenges() {
				w.Header().Add("WWW-Authenticate", challenge)
			}
			web.Error(w, 401)
		case access.Busy:
			w.Header().Set("Retry-After", "1")
			web.Error(w, 503)
		default:
			web.Error(w, 403)
		}
	})
	resp := webtest.Get(reports, "/")
	fmt.Println(resp.Status, resp.Header.Get("WWW-Authenticate"))
	resp = webtest.Do(reports, webtest.Request{Header: map[string]string{"Authorization": "Bearer " + token}})
	fmt.Println(resp.Status, resp.Text())
	// Output:
	// 401 Bearer realm="reports"
	// 200 the numbers are good
}
