package static

import (
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no string // names, with blanks between
	}{
		{"*.html", "a.html x/y/a.html .html", "a.htm html a.html/b"},
		{"*", "a x/y a/", ""},
		{"/*", "a a/", "x/y x/y/"},
		{"/a/*", "a/b a/b/", "a a/ a/b/c b/a/b"},
		{"a/*", "a/b", "x/a/b"},
		{"/private/**", "private private/ private/a private/a/b/ private/a/b", "privates x/private privat private2/a"},
		{"/private/", "private private/ private/a private/a/b", "privates x/private"},
		{"**", "a a/b a/b/c", ""},
		{"/", "a a/b", ""},
		{"**/x", "x a/x a/b/x a/x/", "ax a/x/b"},
		{"a/**/b", "a/b a/x/b a/x/y/b", "a/bx ab a/b/c"},
		{"a/**/b/**/c", "a/b/c a/b/b/c a/x/b/y/c a/b/x/c", "a/c a/b c"},
		{"a/**/b/*", "a/b/c a/b/b/c a/x/b/y", "a/b a/b/c/d"},
		{"?.txt", "a.txt x/ü.txt", "ab.txt .txt"},
		{"[a-c].txt", "a.txt b.txt", "d.txt -.txt"},
		{"[!a-c].txt", "d.txt ü.txt", "a.txt"},
		{"[^a].txt", "d.txt", "a.txt"},
		{"[]a].txt", "].txt a.txt", "b.txt"},
		{"[a-].txt", "-.txt a.txt", "b.txt"},
		{`[\]].txt`, "].txt", "a.txt"},
		{"*.{jpg,png}", "a.jpg x/b.png", "a.gif a.{jpg,png}"},
		{"{a,b/c}", "a b/c", "x/a c"},
		{"/{a,b}/{c,d}", "a/c b/d", "a/b c/d"},
		{`a\*b`, "a*b", "axb"},
		{`a\{b`, "a{b", "ab"},
		{"a*b*c", "abc axbxc abcbc", "abcb acb"},
		{"*a*a*a*", "aaa xaxaxax", "aa"},
		{"\xff*", "\xff \xffa", "a"},
		{"{,x}.js", ".js x.js", "y.js"},
		{"*??", "ab €u", "€ a"},
	} {
		g, err := parseGlob(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		for _, name := range strings.Fields(test.yes) {
			if !g.matches(name) {
				t.Errorf("%s is not for %s", test.pattern, name)
			}
		}
		for _, name := range strings.Fields(test.no) {
			if g.matches(name) {
				t.Errorf("%s is for %s", test.pattern, name)
			}
		}
	}
}

func TestGlobRefuses(t *testing.T) {
	for pattern, want := range map[string]error{
		"": errGlobEmpty, "[a": errGlobClass, "a[": errGlobClass, "[]": errGlobClass, "[a-": errGlobClass, "{a": errGlobBraces, "a}": errGlobBraces,
		"{a,{b}}": errGlobBraces, `a\`: errGlobEscape, "a**": errGlobSegment, "**.js": errGlobSegment, "a/../b": errGlobDots, "./a": errGlobDots,
		strings.Repeat("{a,b}", 9): errGlobMany,
	} {
		if _, err := parseGlob(pattern); err != want {
			t.Errorf("%q: %v, want %v", pattern, err, want)
		}
	}
}

// FuzzGlob: no pattern makes a match fail, or take long; what has no special character matches itself only.
func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"*.html", "/a/**/b", "[a-z]?{x,y}*", `\`, "**/**/**/a", "[", "{,}"} {
		f.Add(seed, "a/b/c.html")
	}
	f.Add("a*a*a*a*a*a*a*a*a*b", strings.Repeat("a", 200))
	f.Add(strings.Repeat("**/a/", 20)+"b", strings.Repeat("a/", 200))
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := parseGlob(pattern)
		if err != nil {
			return
		}
		got := g.matches(name)
		if clean := strings.Trim(pattern, "/"); !strings.ContainsAny(pattern, `*?[{}\`) && !strings.HasSuffix(pattern, "/") && strings.Contains(pattern, "/") {
			if want := strings.TrimSuffix(name, "/") == strings.TrimPrefix(pattern, "/"); got != want && clean != "" {
				t.Errorf("%q for %q: %t", pattern, name, got)
			}
		}
	})
}
