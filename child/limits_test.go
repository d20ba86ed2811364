package child

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// The reference tells every limit, with its default.
func TestLimitsAreInTheReference(t *testing.T) {
	reference, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	for header, spec := range map[string]configs.BlockSpec{
		"limits": LimitsSpec(), "workers": WorkersSpec(), "limits of a route": RouteLimitsSpec(),
	} {
		_, section, found := strings.Cut(string(reference), "\n## "+header+"\n")
		if !found {
			t.Fatalf("docs/config.md has no section %q", header)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for _, a := range spec.Attributes {
			_, row, found := strings.Cut(section, "\n| `"+a.Name+"` |")
			if !found {
				t.Errorf("section %q has no row for %s", header, a.Name)
				continue
			}
			row, _, _ = strings.Cut(row, "\n")
			columns := strings.Split(row, "|")
			if a.Default == nil || len(columns) < 2 {
				continue
			}
			if want, got := documented(a), documentedAs(a, strings.TrimSpace(columns[1])); got != want {
				t.Errorf("section %q, %s: the default is %s there, and %s in the program", header, a.Name, got, want)
			}
		}
	}
}

// documented is an attribute's default as the reference has it.
func documented(a configs.Attribute) string {
	for word, value := range a.Words {
		if value == a.Default {
			return fmt.Sprintf("`%q`", word)
		}
	}
	if text, ok := a.Default.(string); ok {
		return documentedAs(a, fmt.Sprintf("`%q`", text))
	}
	return fmt.Sprintf("`%v`", a.Default)
}

// documentedAs brings a value as it stands in the reference into one form: "75s" is "1m15s".
func documentedAs(a configs.Attribute, value string) string {
	if d, err := time.ParseDuration(strings.Trim(value, "`\"")); err == nil && a.Type == configs.Duration {
		return d.String()
	}
	return value
}

// Limits of code, those of the route's block over them, and several Limit around one handler: the outermost wins.
func TestRouteLimitsJoin(t *testing.T) {
	block := func(values map[string]any) *configs.Block {
		b, err := configs.NewBlock(RouteLimitsSpec(), values)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		code  web.Limits
		block *configs.Block
		want  routeLimits
	}{
		{web.Limits{}, nil, routeLimits{body: -1, handlerTimeout: -1}},
		{web.Limits{}, block(nil), routeLimits{body: -1, handlerTimeout: -1}},
		{web.Limits{Concurrency: 2, Queue: 3, HandlerTimeout: 5, Body: 7}, block(nil), routeLimits{2, 3, 7, 5}},
		{web.Limits{HandlerTimeout: -1, Body: -1}, nil, routeLimits{}},
		{web.Limits{Concurrency: -1, Queue: -1}, nil, routeLimits{body: -1, handlerTimeout: -1}},
		{web.Limits{Concurrency: 2, Queue: 3, HandlerTimeout: 5, Body: 7}, block(map[string]any{"concurrency": 4, "body": int64(0)}), routeLimits{4, 3, 0, 5}},
	} {
		if got := newRouteLimits(c.code, c.block); got != c.want {
			t.Errorf("%+v: %+v, not %+v", c.code, got, c.want)
		}
	}
	through := func(next web.Handler) web.Handler { return web.HandlerFunc(next.Serve) }
	if _, limits := web.LimitsOf(web.Chain(web.Limit(text(""), web.Limits{Queue: 1}), through)); limits.Queue != 1 {
		t.Errorf("behind middleware: %+v", limits)
	}
	inner := web.StringFunc(func(*web.Request) string { return "" })
	h, limits := web.LimitsOf(web.Limit(web.Limit(inner, web.Limits{Concurrency: 1, Body: 2}), web.Limits{Concurrency: 3, Queue: 4}))
	if _, ok := h.(web.StringFunc); !ok || limits != (web.Limits{Concurrency: 3, Queue: 4, Body: 2}) {
		t.Errorf("%T %+v", h, limits)
	}
}
