package main

import (
	"fmt"
	"strings"
)

// The markers of a page, around what the program writes. Everything outside is written by hand
// and is not touched.
const (
	markerBegin = "<!-- measured: %s -->"
	markerEnd   = "<!-- end of the measured part -->"
)

// fill replaces what stands between a page's markers of that name.
func fill(page, name, content string) (string, error) {
	begin := fmt.Sprintf(markerBegin, name)
	before, rest, found := strings.Cut(page, begin)
	if !found {
		return "", fmt.Errorf("the page has no place for %q: it needs the lines %s and %s", name, begin, markerEnd)
	}
	old, after, found := strings.Cut(rest, markerEnd)
	if !found || strings.Contains(old, "<!-- measured:") {
		return "", fmt.Errorf("the page's part %q has no end: it needs the line %s", name, markerEnd)
	}
	if strings.Contains(after, begin) {
		return "", fmt.Errorf("the page has two places for %q", name)
	}
	return before + begin + "\n" + strings.TrimRight(content, "\n") + "\n" + markerEnd + after, nil
}

// markdown writes an outcome. folder is where its plots are, seen from the page.
func (o *Outcome) markdown(folder string) string {
	var b strings.Builder
	for _, t := range o.Tables {
		b.WriteString("\n")
		t.write(&b)
	}
	for _, p := range o.Plots {
		fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", p.Title, folder, p.File)
	}
	return b.String()
}

func (t *Table) write(b *strings.Builder) {
	if t.Caption != "" {
		b.WriteString(t.Caption + "\n\n")
	}
	row := func(cells []string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(c) + " |")
		}
		b.WriteString("\n")
	}
	row(t.Head)
	b.WriteString(strings.Repeat("|---", len(t.Head)) + "|\n")
	for _, cells := range t.Rows {
		row(cells)
	}
}
