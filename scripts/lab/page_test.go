package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const blank = "# Title\n\nby hand\n\n<!-- measured: one -->\nold\n<!-- end of the measured part -->\n\nbetween\n\n" +
	"<!-- measured: two -->\n<!-- end of the measured part -->\nthe end\n"

func TestFill(t *testing.T) {
	page, err := fill(blank, "one", "new\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(blank, "\nold\n", "\nnew\n", 1); page != want {
		t.Errorf("%q, want %q", page, want)
	}
	if again, err := fill(page, "one", "new\n"); err != nil || again != page {
		t.Errorf("filled twice: %q, %v", again, err)
	}
	for name, broken := range map[string]string{
		"no place":          strings.Replace(blank, "measured: one", "measured: none", 1),
		"no end":            strings.ReplaceAll(blank, "<!-- end of the measured part -->", ""),
		"the next one's":    strings.Replace(blank, "old\n<!-- end of the measured part -->", "old", 1),
		"two places":        blank + "<!-- measured: one -->\n<!-- end of the measured part -->\n",
		"nothing":           "",
		"a marker in words": "measured: one",
	} {
		if _, err := fill(broken, "one", "new"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMarkdown(t *testing.T) {
	o := Outcome{
		Tables: []Table{{Caption: "What:", Head: []string{"a", "b"}, Rows: [][]string{{"x|y", "1\n2"}}}},
		Plots:  []Plot{{File: "f", Title: "T"}},
	}
	if got, want := o.markdown("lab"), "\nWhat:\n\n| a | b |\n|---|---|\n| x\\|y | 1 2 |\n\n![T](lab/f.svg)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A later run of one experiment keeps what the others have found, and a page that cannot be filled
// is left as it was.
func TestReport(t *testing.T) {
	page := filepath.Join(t.TempDir(), "p.md")
	if _, err := openReport(page); err == nil {
		t.Error("a page that is not there was opened")
	}
	if err := os.WriteFile(page, []byte(blank), 0o644); err != nil {
		t.Fatal(err)
	}
	outcome := func(name, cell string) Outcome {
		return Outcome{Name: name, Tables: []Table{{Head: []string{"h"}, Rows: [][]string{{cell}}}},
			Plots: []Plot{{File: name, Form: formBars, Series: []Series{{Name: "s", Points: []Point{{Group: "g", Y: 1}}}}}}}
	}
	run := func(outcomes ...Outcome) error {
		r, err := openReport(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			r.put(o)
		}
		return r.write()
	}
	if err := run(outcome("one", "first"), outcome("two", "second")); err != nil {
		t.Fatal(err)
	}
	if err := run(outcome("one", "third")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| third |", "| second |", "by hand", "between", "the end", "(p/two.svg)"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "first") {
		t.Error("the older outcome is still there")
	}
	if err := run(outcome("three", "x")); err == nil {
		t.Error("an outcome without a place was written")
	}
	if after, err := os.ReadFile(page); err != nil || string(after) != string(text) {
		t.Errorf("the page has changed (%v)", err)
	}
}
