package main

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

const permissive = `Copyright (c) 2020 Jane Doe. All rights reserved.

Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that the above
copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES
WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF
MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR
ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF
OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`

// tree writes files below a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func linked(deps ...*debug.Module) *buildinfo.BuildInfo {
	return &buildinfo.BuildInfo{GoVersion: "go1.99.1 X:experiment", Deps: deps}
}

func TestParts(t *testing.T) {
	goroot := tree(t, map[string]string{"LICENSE": permissive, "PATENTS": "Some grant.\n", "src/vendor/x/LICENSE": "not read"})
	modules := tree(t, map[string]string{
		"example.org/!upper@v1.0.0/LICENSE.md":            permissive,
		"example.org/!upper@v1.0.0/NOTICE":                "Upper\nCopyright 2019 Upper Inc.\n",
		"example.org/!upper@v1.0.0/inner/COPYING":         permissive,
		"example.org/!upper@v1.0.0/testdata/x/LICENSE":    "not read",
		"example.org/!upper@v1.0.0/license.go":            "package x",
		"example.org/fork@v2.0.0+incompatible/LICENCE":    permissive,
		"example.org/other@v0.0.0-2026-abcdef012345/READ": "",
	})
	all, err := parts(linked(
		&debug.Module{Path: "example.org/Upper", Version: "v1.0.0", Sum: "h1:AAAA"},
		&debug.Module{Path: "example.org/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v2.0.0+incompatible"}},
	), modules, goroot)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range all {
		var names []string
		for _, text := range p.texts {
			names = append(names, text.name)
		}
		got = append(got, p.name+" "+p.version+" "+p.licence+" ["+strings.Join(names, " ")+"] "+strings.Join(p.holders, "; "))
	}
	want := []string{
		"example.org/Upper v1.0.0 ISC [LICENSE.md NOTICE inner/COPYING] 2019 Upper Inc.; 2020 Jane Doe.",
		"example.org/fork v2.0.0+incompatible ISC [LICENCE] 2020 Jane Doe.",
		"std 1.99.1 ISC [LICENSE PATENTS] 2020 Jane Doe.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("parts:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e := expression(all); e != "Apache-2.0 AND ISC" {
		t.Errorf("expression: %q", e)
	}

	texts := string(thirdParty(all))
	if n := strings.Count(texts, "THE SOFTWARE IS PROVIDED"); n != 1 {
		t.Errorf("a text that several have stands %d times", n)
	}
	for _, want := range []string{"example.org/Upper v1.0.0, inner/COPYING\n", "Go's library and runtime, 1.99.1, PATENTS\n", "Copyright 2019 Upper Inc.\n"} {
		if !strings.Contains(texts, want) {
			t.Errorf("third-party.txt lacks %q", want)
		}
	}
	debian := string(copyright([]byte("Format: x\n"), all))
	for _, want := range []string{"Files: example.org/Upper/*\nCopyright: 2019 Upper Inc.\n           2020 Jane Doe.\nLicense: ISC\n", "\nLicense: ISC\n The text"} {
		if !strings.Contains(debian, want) {
			t.Errorf("copyright lacks %q:\n%s", want, debian)
		}
	}
}

func TestPartsRefuses(t *testing.T) {
	goroot := tree(t, map[string]string{"LICENSE": permissive})
	modules := tree(t, map[string]string{
		"example.org/bare@v1.0.0/main.go":    "package x",
		"example.org/odd@v1.0.0/LICENSE":     "You may do with this whatever the author feels like on the day that you ask.\n",
		"example.org/notice@v1.0.0/NOTICE":   "Copyright 2020 X\n",
		"example.org/patents@v1.0.0/PATENTS": "A grant.\n",
	})
	for name, want := range map[string]string{
		"example.org/gone":    "go mod download example.org/gone@v1.0.0",
		"example.org/bare":    "has no licence",
		"example.org/odd":     "no licence that is known",
		"example.org/notice":  "has no licence",
		"example.org/patents": "has no licence",
	} {
		if _, err := parts(linked(&debug.Module{Path: name, Version: "v1.0.0"}), modules, goroot); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	local := &debug.Module{Path: "example.org/x", Version: "v1.0.0", Replace: &debug.Module{Path: "../x"}}
	if _, err := parts(linked(local), modules, goroot); err == nil || !strings.Contains(err.Error(), "without replacements") {
		t.Errorf("a replaced module: %v", err)
	}
	if _, err := parts(linked(), modules, tree(t, nil)); err == nil || !strings.Contains(err.Error(), "std") {
		t.Errorf("Go without its licence: %v", err)
	}
}
