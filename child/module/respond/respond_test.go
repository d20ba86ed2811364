package respond_test

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/respond"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

func TestRespond(t *testing.T) {
	tests := []struct {
		name   string
		values map[string]any
		status int
		body   string
		fields map[string]string
	}{
		{"defaults", nil, 200, "", map[string]string{"Content-Type": ""}},
		{"text", map[string]any{"body": "Hello"}, 200, "Hello", map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		{"all", map[string]any{"status": 410, "body": "<p>", "content_type": "text/html", "headers": map[string]string{"X-A": "1", "Cache-Control": "no-store"}},
			410, "<p>", map[string]string{"Content-Type": "text/html", "X-A": "1", "Cache-Control": "no-store"}},
		{"no content", map[string]any{"status": 204}, 204, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := configs.NewBlock(respond.Module{}.Spec(), test.values)
			if err != nil {
				t.Fatal(err)
			}
			instance, err := respond.Module{}.Open(b, &module.Env{})
			if err != nil {
				t.Fatal(err)
			}
			for _, method := range []string{"GET", "POST", "HEAD"} {
				resp := webtest.Do(instance.Handler, webtest.Request{Method: method})
				want := test.body
				if method == "HEAD" {
					want = ""
				}
				if resp.Status != test.status || resp.Text() != want || !resp.Inline || test.status != 204 && resp.Length != int64(len(test.body)) {
					t.Errorf("%s: %d %q length %d inline %t", method, resp.Status, resp.Text(), resp.Length, resp.Inline)
				}
				for name, value := range test.fields {
					if got := resp.Header.Get(name); got != value {
						t.Errorf("%s: %s is %q", method, name, got)
					}
				}
			}
		})
	}
}

// The conditions of a request hold for a response that succeeds (RFC 9110, 13.2).
func TestConditions(t *testing.T) {
	for _, test := range []struct {
		status       int
		tag          string
		method       string
		field, value string
		want         int
	}{
		{200, "", "GET", "If-None-Match", "*", 304},
		{200, "", "HEAD", "If-None-Match", "*", 304},
		{200, "", "POST", "If-None-Match", "*", 412},
		{200, "", "GET", "If-None-Match", `"x"`, 200},
		{200, `"x"`, "GET", "If-None-Match", `"x"`, 304},
		{200, `"x"`, "GET", "If-Match", `"x"`, 200},
		{200, `"x"`, "GET", "If-Match", `"y"`, 412},
		{200, "", "GET", "If-Match", `"x"`, 412},
		{200, "", "GET", "If-Match", "*", 200},
		{200, "", "GET", "If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", 200}, // it has no date
		{200, "", "GET", "Range", "bytes=0-0", 200},
		{404, `"x"`, "GET", "If-None-Match", "*", 404},
		{404, "", "GET", "If-Match", `"y"`, 404},
	} {
		values := map[string]any{"status": test.status, "body": "text"}
		if test.tag != "" {
			values["headers"] = map[string]string{"ETag": test.tag}
		}
		b, err := configs.NewBlock(respond.Module{}.Spec(), values)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := respond.Module{}.Open(b, &module.Env{})
		if err != nil {
			t.Fatal(err)
		}
		resp := webtest.Do(instance.Handler, webtest.Request{Method: test.method, Header: map[string]string{test.field: test.value}})
		if resp.Status != test.want || !resp.Inline || test.want == 304 && resp.Header.Get("ETag") != test.tag {
			t.Errorf("%+v: %d, ETag %q", test, resp.Status, resp.Header.Get("ETag"))
		}
	}
}

func TestSpecRefuses(t *testing.T) {
	tests := []struct {
		values map[string]any
		says   string
	}{
		{map[string]any{"status": 199}, "199"},
		{map[string]any{"status": 600}, "600"},
		{map[string]any{"status": 204, "body": "x"}, "no body"},
		{map[string]any{"status": 304, "body": "x"}, "no body"},
		{map[string]any{"content_type": "a\r\nb"}, "control characters"},
		{map[string]any{"headers": map[string]string{"a b": "c"}}, `"a b"`},
		{map[string]any{"headers": map[string]string{"A": "c\n"}}, "control characters"},
		{map[string]any{"headers": map[string]string{"Content-Length": "1"}}, "written by the server"},
	}
	for _, test := range tests {
		if _, err := configs.NewBlock(respond.Module{}.Spec(), test.values); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v", test.values, err)
		}
	}
}
