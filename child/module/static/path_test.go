package static

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tined/tined/child/web/webtest"
)

func TestMapPath(t *testing.T) {
	tests := []struct {
		path  string
		depth int
		want  string
		ok    bool
	}{
		{"/", 1, "", true},
		{"/a", 1, "a", true},
		{"/a/", 1, "a/", true},
		{"/a/b", 1, "a/b", true},
		{"/x/a/b", 2, "a/b", true},
		{"/x", 2, "", false},
		{"", 1, "", false},
		{"*", 1, "", false},
		{"/%41%2d", 1, "A-", true},
		{"/a%2fb", 1, "", false},
		{"/a%2Fb", 1, "", false},
		{"/a%00", 1, "", false},
		{"/a\x00", 1, "", false},
		{"/%", 1, "", false},
		{"/%1", 1, "", false},
		{"/%g0", 1, "", false},
		{"/.", 1, "", false},
		{"/..", 1, "", false},
		{"/%2e", 1, "", false},
		{"/a/..", 1, "", false},
		{"/a/.%2e/b", 1, "", false},
		{"/a/./b", 1, "", false},
		{"//a", 1, "", false},
		{"/a//", 1, "", false},
		{"/...", 1, "", false},
		{"/a..b/c.", 1, "a..b/c.", true},
		{"/%252e%252e/a", 1, "%2e%2e/a", true},
		{"/%c0%ae%c0%ae/a", 1, "\xc0\xae\xc0\xae/a", true},
		{`/a\..\b`, 1, `a\..\b`, true},
		{"/.well-known/a", 1, ".well-known/a", true},
		{"/%2ewell-known/a", 1, ".well-known/a", true},
		{"/.well-known", 1, ".well-known", true},
		{"/.well-known/.a", 1, "", false},
		{"/a/.well-known/b", 1, "", false},
		{"/.well-knownx", 1, "", false},
		{"/" + strings.Repeat("a", maxName), 1, strings.Repeat("a", maxName), true},
		{"/" + strings.Repeat("a", maxName+1), 1, "", false},
	}
	for _, test := range tests {
		got, ok := mapPath([]byte("before"), test.path, test.depth, false)
		if ok != test.ok || ok && string(got) != "before"+test.want {
			t.Errorf("%q: %q %t", test.path, got, ok)
		}
	}
	for path, want := range map[string]bool{
		"/.a": true, "/a/.b/c": true, "/...": true, "/.": false, "/..": false, "/a/../b": false, "/%2e%2e/a": false, "/.%2e": false, "/..a": true,
		"/" + temporary + "1": false, "/a/" + temporary + "1": false, "/%2etined-upload-1": false, "/.tined-uploa": true,
	} {
		if name, ok := mapPath(nil, path, 1, true); ok != want {
			t.Errorf("hidden names served: %q: %q %t", path, name, ok)
		}
	}
}

// FuzzMapPath checks what the safety of everything else rests on.
func FuzzMapPath(f *testing.F) {
	for _, path := range []string{"/", "/a/b", "/%2e%2e/x", "/..%2f", "/.well-known/x", "//", "/%00", "/\\..", "/a%2", "/%c0%af"} {
		f.Add(path, 1, false)
		f.Add(path, 2, true)
	}
	f.Fuzz(func(t *testing.T, path string, depth int, hidden bool) {
		if depth < 0 || depth > 8 {
			return
		}
		name, ok := mapPath(nil, path, depth, hidden)
		if !ok {
			return
		}
		s := string(name)
		if len(s) > maxName || strings.HasPrefix(s, "/") || strings.Contains(s, "//") || strings.ContainsRune(s, 0) {
			t.Fatalf("%q: %q", path, s)
		}
		for i, segment := range strings.Split(strings.TrimSuffix(s, "/"), "/") {
			if segment == "." || segment == ".." || !hidden && strings.HasPrefix(segment, ".") && (i > 0 || segment != ".well-known") {
				t.Fatalf("%q: %q", path, s)
			}
		}
		if strings.Count(s, "/")+depth != strings.Count(path, "/") {
			t.Fatalf("%q: %q has other segments", path, s)
		}
		location := slashed(path, path)
		if location[0] != '/' || location[1] == '/' && len(location) > 2 && !strings.HasPrefix(location, "//?") || location[1] == '\\' {
			t.Fatalf("%q redirects to %q", path, location)
		}
		if strings.ContainsAny(location, "\r\n\x00 \\") || utf8.RuneCountInString(location) != len(location) {
			t.Fatalf("%q redirects to %q", path, location)
		}
	})
}

// Thousands of ways to say "up", against a tree that has a secret everywhere but in the root.
func TestTraversal(t *testing.T) {
	root := tree(t)
	dots := []string{"..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..%00", "..%2f", "..%5c", `..\`, "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..;", "....", "%u002e%u002e",
		".", "%2e", "", "..%09", "..%20", "%2e%2e%2f", "%2e%2e%5c", "..%c0%af", "..%ef%bc%8f", "．．", "..%0a", "..%0d", "%%32%65%%32%65"}
	slashes := []string{"/", "%2f", "%2F", "%5c", `\`, "%252f", "%c0%af", "//", "/./", "%00/"}
	starts := []string{"/", "//", "/sub/", "/a.txt/", "/bare/", "/.well-known/", "/sub/../", "/nothing/"}
	ends := []string{"secret", "secret%00.txt", "secret/", "root/.hidden", ".hidden", ".git/config", "etc/passwd", "sub/.well-known/x", "secret%20", "secret."}
	both(t, root, func(t *testing.T, s *server) {
		n := 0
		for _, start := range starts {
			for _, dot := range dots {
				for _, slash := range slashes {
					for _, end := range ends {
						for _, times := range []int{0, 1, 3} {
							target := start + strings.Repeat(dot+slash, times) + end
							resp := webtest.Get(s, target)
							if resp.Status != 404 && resp.Status != 403 && resp.Status != 307 || strings.Contains(resp.Text(), "secret") || strings.Contains(resp.Text(), "root:") {
								t.Fatalf("%s: %d %q", target, resp.Status, resp.Text())
							}
							n++
						}
					}
				}
			}
		}
		if n < 1000 {
			t.Error(fmt.Sprint(n, " paths only"))
		}
	})
}
