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
