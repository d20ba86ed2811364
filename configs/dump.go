package configs

import (
	"fmt"
	"strings"
)

// Dump writes the configuration as one file in the native syntax, with every
// default spelled out and every path absolute. It resolves to the same Digest.
// Routes from code stand in comments.
func (c *Config) Dump() string {
	d := &dumper{}
	d.content(c.outline())
	return d.String()
}

// dumper writes native syntax, indented, with the = of neighbours aligned.
type dumper struct {
	strings.Builder
	depth int
}

// line writes an indented line.
func (d *dumper) line(text string) {
	if text != "" {
		text = strings.Repeat("  ", d.depth) + text
	}
	d.WriteString(text + "\n")
}

// content writes what stands between the braces of a block.
func (d *dumper) content(o *outline) {
	width := 0
	for _, s := range o.settings {
		width = max(width, len(s.name))
	}
	for _, s := range o.settings {
		value := strings.ReplaceAll(s.value, "\n", "\n"+strings.Repeat("  ", d.depth))
		d.line(fmt.Sprintf("%-*s = %s", width, s.name, value))
	}
	for _, inner := range o.blocks {
		d.block(inner)
	}
}

func (d *dumper) block(o *outline) {
	switch {
	case o.group == codeRoute:
		d.line("# from code: route " + Quote(o.labels[0]))
		return
	case len(o.settings) == 0 && len(o.blocks) == 0:
		d.line(o.header() + " {}")
		return
	}
	if text := d.String(); text != "" && !strings.HasSuffix(text, "{\n") {
		d.line("")
	}
	d.line(o.header() + " {")
	d.depth++
	d.content(o)
	d.depth--
	d.line("}")
}
