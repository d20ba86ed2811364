package function_test

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/function"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

func TestFunction(t *testing.T) {
	m := function.New(map[string]web.Handler{
		"hello": web.StringFunc(func(r *web.Request) string { return "Hello, " + r.PathValue("name") + "!\n" }),
		"echo":  web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(&r.Body, r.Body.Length()) }),
	})
	open := func(name string) web.Handler {
		b, err := configs.NewBlock(m.Spec(), nil, name)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := m.Open(b, &module.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return instance.Handler
	}
	resp := webtest.Do(open("hello"), webtest.Request{Params: []web.Param{{Name: "name", Value: "Ada"}}})
	if resp.Text() != "Hello, Ada!\n" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%q %q", resp.Text(), resp.Header.Get("Content-Type"))
	}
	if resp := webtest.Post(open("echo"), "/", "a/b", "content"); resp.Text() != "content" {
		t.Error(resp.Text())
	}
}

func TestUnknownFunction(t *testing.T) {
	none := function.New(nil)
	some := function.New(map[string]web.Handler{"b": web.StringFunc(nil), "a": web.StringFunc(nil)})
	for _, test := range []struct {
		module *function.Module
		says   string
	}{{none, "this program registers none"}, {some, "the program has a, b"}} {
		_, err := configs.NewBlock(test.module.Spec(), nil, "c")
		if err == nil || !strings.Contains(err.Error(), `no function "c"`) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want %q", err, test.says)
		}
	}
	b, err := configs.NewBlock(some.Spec(), nil, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Open(b, &module.Env{}); err == nil {
		t.Error("opened without the function")
	}
}
