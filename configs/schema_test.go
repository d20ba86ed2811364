package configs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// testSchema is a small program: four modules, a few limits, and patterns that
// know wildcards. The real ones belong to their packages.
func testSchema() *Schema {
	functions := []string{"echo", "hello"}
	return &Schema{
		Modules: []BlockSpec{
			{
				Name: "function", Labels: []string{"NAME"},
				Check: func(b *Block) []Problem {
					for _, name := range functions {
						if b.Label(0) == name {
							return nil
						}
					}
					cure := strings.TrimSpace(DidYouMean(b.Label(0), functions) + " the functions are echo, hello")
					return []Problem{{Message: fmt.Sprintf("there is no function %q", b.Label(0)), Cure: cure}}
				},
			},
			{
				Name: "respond",
				Attributes: []Attribute{
					{Name: "status", Type: Int, Default: 200, Min: 200, Max: 599},
					{Name: "body", Type: String, Default: ""},
					{Name: "content_type", Type: String, Default: "text/plain; charset=utf-8"},
					{Name: "headers", Type: StringMap},
				},
			},
			{
				Name: "redirect",
				Attributes: []Attribute{
					{Name: "to", Type: String, Required: true, Example: `"/new/"`},
					{Name: "status", Type: Int, Default: 308, OneOf: []string{"301", "302", "303", "307", "308"}},
				},
			},
			{
				Name: "static",
				Attributes: []Attribute{
					{Name: "root", Type: Path, Required: true, Example: `"/srv/www"`},
					{Name: "index", Type: Strings, Default: []string{"index.html"}},
				},
				Blocks: []BlockSpec{{
					Name: "cache",
					Attributes: []Attribute{
						{Name: "size", Type: Size, Default: "16MiB", Max: "1GiB"},
						{Name: "ratio", Type: Number, Default: 0.5, Min: 0, Max: 1},
					},
				}},
			},
		},
		Middleware: []BlockSpec{
			{
				Name: "squeeze",
				Attributes: []Attribute{
					{Name: "least", Type: Size, Default: "1KiB"},
					{Name: "codings", Type: Strings, Default: []string{"zstd", "gzip"}},
				},
			},
			{Name: "stamp"},
		},
		RouteLimits: BlockSpec{Attributes: []Attribute{
			{Name: "concurrency", Type: Int, Default: 0, Min: 0, Max: 1000},
			{Name: "body", Type: Size},
		}},
		Limits: BlockSpec{Attributes: []Attribute{
			{Name: "body", Type: Size, Default: "16MiB"},
			{Name: "head_timeout", Type: Duration, Default: "10s", Min: time.Millisecond},
		}},
		Workers: BlockSpec{
			Attributes: []Attribute{
				{Name: "min", Type: Int, Default: 2, Min: 0, Max: 1000},
				{Name: "max", Type: Int, Default: 1024, Min: 1, Max: 2000},
			},
			Check: func(b *Block) []Problem {
				if b.Int("min") > b.Int("max") {
					return []Problem{{At: "min", Message: "min is greater than max", Cure: "lower min or raise max"}}
				}
				return nil
			},
		},
		Pattern:     testPattern,
		LookupUser:  onlyRoot,
		LookupGroup: onlyRoot,
	}
}

func onlyRoot(name string) error {
	if name != "root" {
		return errors.New("unknown")
	}
	return nil
}

var wildcard = regexp.MustCompile(`\{\w+`)

func testPattern(pattern string) (string, error) {
	path := strings.Index(pattern, "/")
	switch {
	case path < 0:
		return "", Problem{Message: "the path is missing", Cure: `write "GET /"`, Column: len(pattern) + 1}
	case path > 0 && pattern[path-1] != ' ':
		return "", Problem{Message: "the pattern has a host", Cure: "use hosts of a site", Column: strings.Index(pattern, " ") + 2}
	case strings.Count(pattern, "{") != strings.Count(pattern, "}"):
		return "", errors.New("a brace is not closed")
	}
	return wildcard.ReplaceAllString(pattern, "{"), nil
}

// sources makes sources of one file in /etc/tined.
func sources(name, text string) *Sources {
	return &Sources{Path: "/etc/tined/" + name, Dir: "/etc/tined", Files: []Source{{Name: name, Bytes: []byte(text)}}}
}

// resolved resolves a text that must be right.
func resolved(t *testing.T, name, text string) *Config {
	t.Helper()
	config, diags := Resolve(sources(name, text), testSchema())
	if diags.HasErrors() {
		t.Fatalf("unexpected mistakes:\n%v\nin:\n%s", diags, text)
	}
	return config
}
