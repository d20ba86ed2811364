package web_test

import (
	"errors"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestJSON(t *testing.T) {
	type item struct{ Name string }
	for _, test := range []struct {
		contentType, body string
		status            int
	}{
		{"application/json", `{"Name": "x"}`, 0},
		{"Application/JSON; charset=utf-8", ` {"name": "x"} `, 0},
		{"application/problem+json", `{"name": "x"}`, 0},
		{"", `{"name": "x"}`, 415},
		{"text/plain", `{"name": "x"}`, 415},
		{"+json", `{"name": "x"}`, 415},
		{"application/json", ``, 400},
		{"application/json", `{"name": "x"} {}`, 400},
		{"application/json", `{"name": 7}`, 400},
		{"application/json", `{"name":`, 400},
		{"application/json", `{"name": "a name that is too long"}`, 413},
	} {
		with(webtest.Request{Method: "POST", Body: test.body, Header: map[string]string{"Content-Type": test.contentType}}, func(r *web.Request) {
			r.Body.Limit(20)
			var got item
			err := r.JSON(&got)
			if test.status == 0 && (err != nil || got.Name != "x") || test.status != 0 && (err == nil || web.StatusOf(err) != test.status) {
				t.Errorf("%s %s: %v, %v, want %d", test.contentType, test.body, got, err, test.status)
			}
		})
	}
	with(webtest.Request{Body: "{}", Header: map[string]string{"Content-Type": "application/json"}}, func(r *web.Request) {
		if err := r.JSON(item{}); web.StatusOf(err) != 500 {
			t.Errorf("a value instead of a pointer: %v", err)
		}
	})
}

func TestSendJSON(t *testing.T) {
	resp := webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.SetStatus(201)
		if err := w.SendJSON(map[string]int{"a<b": 1}); err != nil {
			t.Error(err)
		}
		if err := w.SendJSON(func() {}); err == nil {
			t.Error("a function was encoded")
		}
	}), "/")
	if resp.Status != 201 || resp.Text() != "{\"a\\u003cb\":1}\n" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %q %v", resp.Status, resp.Text(), resp.Header)
	}
	webtest.Get(web.HandlerFunc(func(w *web.Response, _ *web.Request) {
		w.Flush()
		if err := w.SendJSON(1); !errors.Is(err, web.ErrCommitted) {
			t.Error(err)
		}
	}), "/")
}
