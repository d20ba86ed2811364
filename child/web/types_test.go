package web

import (
	"strings"
	"testing"
)

func TestTypeTable(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(typeTable) {
		words := strings.Fields(line)
		if words[0] == "#" {
			continue
		}
		for _, extension := range words[1:] {
			if seen[extension] || extension != strings.ToLower(extension) || !ValidFieldValue(words[0]) || strings.Count(words[0], "/") != 1 {
				t.Errorf("line %q: %s", line, extension)
			}
			seen[extension] = true
		}
	}
	if len(seen) < 500 {
		t.Errorf("%d extensions", len(seen))
	}
}

func TestTypeByName(t *testing.T) {
	for name, want := range map[string]string{
		"a.html": "text/html; charset=utf-8", "dir.html/a.PNG": "image/png", "README": "text/plain; charset=utf-8", "dir/LICENSE": "text/plain; charset=utf-8",
		"": "", "noext": "", "dir.html/noext": "", "a.": "", "a.unknown": "", "a b": "",
	} {
		if got := TypeByName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
