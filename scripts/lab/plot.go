package main

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Sizes of a plot, in pixels.
const (
	plotWidth   = 920
	linesHeight = 420
	titleHeight = 44
	leftMargin  = 92
	letterWidth = 7 // of text of the usual size, generously
	footHeight  = 56
	rowHeight   = 13
	groupGap    = 16
	legendStep  = 20
	digitWidth  = 64 // room for a figure behind its bar
)

// draw makes the chart.
func (p *Plot) draw() ([]byte, error) {
	switch p.Form {
	case formLines:
		return p.drawLines(), nil
	case formBars:
		return p.drawBars(), nil
	}
	return nil, fmt.Errorf("plot %s: no form %q", p.File, p.Form)
}

// extent is every figure that the plot shows, with the ends of intervals.
func (p *Plot) extent() (x, y []float64) {
	for _, s := range p.Series {
		for _, point := range s.Points {
			x = append(x, point.X)
			y = append(y, point.Low, point.Y, point.High)
		}
	}
	return x, y
}

func (p *Plot) begin(height float64) *drawing {
	d := newDrawing(plotWidth, height, p.Title, p.describe())
	d.text(16, 26, "start", p.Title, "font-size", 15, "font-weight", "bold")
	return d
}

// describe says in words what the plot shows.
func (p *Plot) describe() string {
	s := p.Y.Label + " of"
	for i, series := range p.Series {
		if i > 0 {
			s += ","
		}
		s += " " + series.Name
	}
	if p.Form == formLines {
		s += ", over " + p.X.Label
	}
	return s + ". The figures are in the tables of the page."
}

// right is where the figures end and the legend begins.
func (p *Plot) right() float64 {
	longest := 0
	for _, s := range p.Series {
		longest = max(longest, utf8.RuneCountInString(s.Name))
	}
	return float64(plotWidth - 48 - longest*letterWidth)
}

func (p *Plot) legend(d *drawing) {
	x, y := p.right()+22, float64(titleHeight+14)
	for i, s := range p.Series {
		d.marker(x, y-4, i)
		d.text(x+14, y, "start", s.Name)
		y += legendStep
	}
}

// drawLines draws series over a number.
func (p *Plot) drawLines() []byte {
	xs, ys := p.extent()
	bottom, right := float64(linesHeight-footHeight), p.right()
	x := newScale(p.X.Log, xs, leftMargin, right)
	y := newScale(p.Y.Log, ys, bottom, titleHeight)
	d := p.begin(linesHeight)
	for _, v := range y.ticks() {
		at := y.at(v)
		d.line(leftMargin, at, right, at, faintColour)
		d.text(leftMargin-8, at+4, "end", tickLabel(v, p.Y.Unit))
	}
	slices.Sort(xs)
	for _, v := range slices.Compact(xs) {
		at := x.at(v)
		d.line(at, bottom, at, bottom+5, inkColour)
		d.text(at, bottom+20, "middle", tickLabel(v, p.X.Unit))
	}
	d.line(leftMargin, bottom, right, bottom, inkColour)
	d.line(leftMargin, titleHeight, leftMargin, bottom, inkColour)
	d.text((leftMargin+right)/2, linesHeight-14, "middle", p.X.Label)
	middle := number((titleHeight + bottom) / 2)
	d.text(22, (titleHeight+bottom)/2, "middle", p.Y.Label, "transform", "rotate(-90 22 "+middle+")")
	for i, s := range p.Series {
		path := ""
		for _, point := range s.Points {
			if math.IsNaN(point.Y) {
				continue
			}
			path += number(x.at(point.X)) + "," + number(y.at(point.Y)) + " "
		}
		d.element("polyline", "points", path, "fill", "none", "stroke", colour(i), "stroke-width", 1.5)
		for _, point := range s.Points {
			if math.IsNaN(point.Y) {
				continue
			}
			at := x.at(point.X)
			d.line(at, y.at(point.Low), at, y.at(point.High), colour(i), "stroke-width", 2)
			d.marker(at, y.at(point.Y), i)
		}
	}
	p.legend(d)
	return d.end()
}

// drawBars draws the series of each group one below the other: bars from zero, or, on a
// logarithmic axis, which has no zero, only their ends.
func (p *Plot) drawBars() []byte {
	var groups []string
	rows, longest := 0, 0
	for _, s := range p.Series {
		for _, point := range s.Points {
			rows++
			if !slices.Contains(groups, point.Group) {
				groups = append(groups, point.Group)
				longest = max(longest, utf8.RuneCountInString(point.Group))
			}
		}
	}
	bottom := float64(titleHeight + rows*rowHeight + (len(groups)+1)*groupGap)
	bottom = max(bottom, float64(titleHeight+len(p.Series)*legendStep+groupGap))
	left, right := float64(longest*letterWidth+20), p.right()-digitWidth
	_, ys := p.extent()
	x := newScale(p.Y.Log, ys, left, right)
	d := p.begin(bottom + footHeight)
	free := 0.0 // pixels left of it are written on
	for _, v := range x.ticks() {
		at, label := x.at(v), tickLabel(v, p.Y.Unit)
		d.line(at, titleHeight, at, bottom, faintColour)
		if half := float64(letterWidth*utf8.RuneCountInString(label)) / 2; at-half > free {
			d.text(at, bottom+18, "middle", label)
			free = at + half + letterWidth
		}
	}
	at := float64(titleHeight + groupGap)
	for _, group := range groups {
		top := at
		for i, s := range p.Series {
			for _, point := range s.Points {
				if point.Group == group {
					p.bar(d, x, at, i, point)
					at += rowHeight
				}
			}
		}
		d.text(left-10, (top+at)/2+4, "end", group)
		at += groupGap
	}
	d.line(left, titleHeight, left, bottom, inkColour)
	d.line(left, bottom, right, bottom, inkColour)
	d.text((left+right)/2, bottom+footHeight-14, "middle", p.Y.Label)
	p.legend(d)
	return d.end()
}

func (p *Plot) bar(d *drawing, x scale, at float64, series int, point Point) {
	if math.IsNaN(point.Y) {
		return
	}
	middle := at + rowHeight/2
	if p.Y.Log {
		d.line(x.at(point.Low), middle, x.at(point.High), middle, colour(series), "stroke-width", 2)
		d.marker(x.at(point.Y), middle, series)
	} else {
		d.element("rect", "x", x.from, "y", at+1, "width", x.at(point.Y)-x.from, "height", rowHeight-2, "fill", colour(series))
		d.line(x.at(point.Low), middle, x.at(point.High), middle, inkColour)
	}
	label := digits(point.Y)
	if p.Y.Unit == unitTime {
		label = duration(point.Y)
	}
	d.text(max(x.at(point.High), x.at(point.Y))+8, middle+4, "start", label, "font-size", textSize-2)
}
