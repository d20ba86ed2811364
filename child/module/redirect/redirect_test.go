package redirect_test

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/redirect"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

func TestRedirect(t *testing.T) {
	tests := []struct {
		pattern, to, target, location string
	}{
		{"/old/", "/new/", "/old/a/b", "/new/a/b"},
		{"/old/", "/new/", "/old/", "/new/"},
		{"/old/", "/new/", "/old/a?x=1", "/new/a?x=1"},
		{"/old/", "/new/", "/old/a%2Fb", "/new/a%2Fb"},
		{"/old/", "/new/?fixed", "/old/a?x=1", "/new/?fixed"},
		{"/old/", "/new", "/old/a", "/new"},
		{"/old", "/new/", "/old", "/new/"},
		{"GET /old/", "https://example.com/", "/old/a?b", "https://example.com/a?b"},
		{"/old/", "/", "/old/a", "/a"},
		{"/old/", "/", "/old//evil.example", "/evil.example"},
		{"/old/", "/", `/old/\evil.example`, "/evil.example"},
		{"/old/", "/", `/old/\/\evil.example`, "/evil.example"},
		{"/a/b/", "/new/", "/a/b/c", "/new/c"},
		{"/a/b/", "/new/", "/%61/b/c", "/new/c"},
		{"/old/{x}", "/new/", "/old/7", "/new/"},
		{"/", "https://example.com/", "/a/b?c", "https://example.com/a/b?c"},
	}
	for _, test := range tests {
		pattern, err := web.ParsePattern(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		b, err := configs.NewBlock(redirect.Module{}.Spec(), map[string]any{"to": test.to})
		if err != nil {
			t.Fatal(err)
		}
		instance, err := redirect.Module{}.Open(b, &module.Env{Prefix: pattern.Prefix(), Pattern: test.pattern})
		if err != nil {
			t.Fatal(err)
		}
		resp := webtest.Get(instance.Handler, test.target)
		if resp.Status != 308 || resp.Header.Get("Location") != test.location || !resp.Inline {
			t.Errorf("%s to %s: %s: %d %q, want %q", test.pattern, test.to, test.target, resp.Status, resp.Header.Get("Location"), test.location)
		}
	}
}

func TestStatus(t *testing.T) {
	for status := 200; status < 600; status++ {
		b, err := configs.NewBlock(redirect.Module{}.Spec(), map[string]any{"to": "/", "status": status})
		switch status {
		case 301, 302, 303, 307, 308:
			if err != nil {
				t.Errorf("%d: %v", status, err)
				continue
			}
			instance, err := redirect.Module{}.Open(b, &module.Env{Prefix: "/", Pattern: "/"})
			if err != nil {
				t.Fatal(err)
			}
			if resp := webtest.Get(instance.Handler, "/"); resp.Status != status {
				t.Errorf("%d, want %d", resp.Status, status)
			}
		default:
			if err == nil || !strings.Contains(err.Error(), "no status of a redirect") {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

func TestSpecRefuses(t *testing.T) {
	for _, to := range []string{"", "/a b", "/a\r\nb", `/a"`, "/ü", `\\host`, "<"} {
		if _, err := configs.NewBlock(redirect.Module{}.Spec(), map[string]any{"to": to}); err == nil {
			t.Errorf("%q is accepted", to)
		}
	}
	if _, err := configs.NewBlock(redirect.Module{}.Spec(), nil); err == nil {
		t.Error("to may be left out")
	}
}
