package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
)

// A drawing is an SVG 1.1 document under construction. It brings its own background, so that
// it reads the same on a light and on a dark page.
type drawing struct{ b bytes.Buffer }

const (
	inkColour   = "#1f2328"
	faintColour = "#d0d7de"
	paperColour = "#ffffff"
	textSize    = 12
)

// palette is Okabe and Ito's, without the yellow that white paper swallows: it is told apart
// by colour-blind readers too. Series beyond it begin again with other markers.
var palette = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7a5195"}

func colour(series int) string { return palette[series%len(palette)] }

// newDrawing begins a drawing of width by height pixels. title and description are for those
// who do not see it.
func newDrawing(width, height float64, title, description string) *drawing {
	d := new(drawing)
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]s" height="%[2]s" viewBox="0 0 %[1]s %[2]s" role="img" font-family="sans-serif" font-size="%[3]d">`+"\n",
		number(width), number(height), textSize)
	d.named("title", title)
	d.named("desc", description)
	d.element("rect", "width", width, "height", height, "rx", 6, "fill", paperColour, "stroke", faintColour)
	return d
}

func (d *drawing) named(name, content string) {
	d.b.WriteString("<" + name + ">" + escaped(content) + "</" + name + ">\n")
}

// element writes an empty element; attributes are names and values in turn.
func (d *drawing) element(name string, attributes ...any) {
	d.open(name, attributes)
	d.b.WriteString("/>\n")
}

func (d *drawing) open(name string, attributes []any) {
	d.b.WriteString("<" + name)
	for i := 0; i+1 < len(attributes); i += 2 {
		fmt.Fprintf(&d.b, ` %s="%s"`, attributes[i], escaped(attribute(attributes[i+1])))
	}
}

// text writes s at a place; anchor is start, middle or end.
func (d *drawing) text(x, y float64, anchor, s string, more ...any) {
	d.open("text", append([]any{"x", x, "y", y, "text-anchor", anchor, "fill", inkColour}, more...))
	d.b.WriteString(">" + escaped(s) + "</text>\n")
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string, more ...any) {
	d.element("line", append([]any{"x1", x1, "y1", y1, "x2", x2, "y2", y2, "stroke", colour}, more...)...)
}

// marker draws the sign of a series: shapes differ too, for paper without colours.
func (d *drawing) marker(x, y float64, series int) {
	const r = 4
	fill := colour(series)
	switch series % 4 {
	case 0:
		d.element("circle", "cx", x, "cy", y, "r", r, "fill", fill)
	case 1:
		d.element("rect", "x", x-r, "y", y-r, "width", 2*r, "height", 2*r, "fill", fill)
	case 2:
		d.element("path", "d", fmt.Sprintf("M%s %sl%d %dh%dz", number(x), number(y-r-1), r+1, 2*r, -2*(r+1)), "fill", fill)
	case 3:
		d.element("path", "d", fmt.Sprintf("M%s %sl%[3]d %[3]dl-%[3]d %[3]dl-%[3]d -%[3]dz", number(x), number(y-r-1), r+1), "fill", fill)
	}
}

// end closes the document and returns it.
func (d *drawing) end() []byte {
	d.b.WriteString("</svg>\n")
	return d.b.Bytes()
}

// number writes a coordinate; a tenth of a pixel is enough.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

func attribute(v any) string {
	switch v := v.(type) {
	case float64:
		return number(v)
	case string:
		return v
	}
	return fmt.Sprint(v)
}

func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes everything
	return b.String()
}
