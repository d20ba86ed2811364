package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// wellFormed reads a document to its end and returns its text.
func wellFormed(t *testing.T, document []byte) string {
	t.Helper()
	var text strings.Builder
	d := xml.NewDecoder(bytes.NewReader(document))
	elements := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v in\n%s", err, document)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements++
			for _, a := range token.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s has %s=%q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			text.Write(token)
		}
	}
	if elements == 0 {
		t.Fatal("nothing is drawn")
	}
	return text.String()
}

func TestPlotsAreWellFormed(t *testing.T) {
	hostile := `<b> & "quotes" 'too' ]]>`
	points := []Point{{X: 10, Group: hostile, Y: 1200, Low: 1000, High: 1500}, {X: 1000, Group: hostile, Y: math.NaN(), Low: math.NaN(), High: math.NaN()},
		{X: 10_000, Group: "second", Y: 9, Low: 8, High: 11}}
	var many []Series
	for range 11 { // more than there are colours and markers
		many = append(many, Series{Name: hostile, Points: points})
	}
	for name, series := range map[string][]Series{"none": nil, "one without points": {{Name: hostile}}, "many": many} {
		for _, form := range []string{formLines, formBars} {
			for _, log := range []bool{false, true} {
				p := Plot{File: "x", Form: form, Title: hostile, X: Axis{Label: hostile, Log: log}, Y: Axis{Label: hostile, Unit: unitTime, Log: log}, Series: series}
				svg, err := p.draw()
				if err != nil {
					t.Fatal(err)
				}
				text := wellFormed(t, svg)
				if strings.Count(text, hostile) < 2+len(series) {
					t.Errorf("%s, %s: labels or names are missing", name, form)
				}
			}
		}
	}
	if _, err := (&Plot{Form: "pie"}).draw(); err == nil {
		t.Error("an unknown form was drawn")
	}
}

func TestScale(t *testing.T) {
	for name, c := range map[string]struct {
		log    bool
		values []float64
		value  float64
		at     float64
		ticks  []float64
	}{
		"linear begins at zero":         {false, []float64{30, 80}, 40, 50, []float64{0, 10, 20, 30, 40, 50, 60, 70, 80}},
		"linear ends on a step":         {false, []float64{97}, 50, 50, []float64{0, 20, 40, 60, 80, 100}},
		"decades":                       {true, []float64{10, 10_000}, 100, 100. / 3, []float64{10, 100, 1000, 10_000}},
		"few decades have more ticks":   {true, []float64{3, 60}, 10, 50, []float64{1, 2, 5, 10, 20, 50, 100}},
		"a log axis does not know zero": {true, []float64{0, -5, 10}, 0, 0, []float64{10, 20, 50, 100}},
		"outside is on the edge":        {false, []float64{10}, 99, 100, []float64{0, 2, 4, 6, 8, 10}},
		"nothing to show":               {false, nil, 1, 100, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		"NaN is not looked at":          {false, []float64{math.NaN(), 10}, 5, 50, []float64{0, 2, 4, 6, 8, 10}},
	} {
		s := newScale(c.log, c.values, 0, 100)
		if got := s.at(c.value); math.Abs(got-c.at) > 1e-9 {
			t.Errorf("%s: %g is at %g, want %g", name, c.value, got, c.at)
		}
		if got := s.ticks(); !slices.EqualFunc(got, c.ticks, func(a, b float64) bool { return math.Abs(a-b) <= b*1e-9 }) {
			t.Errorf("%s: ticks %v, want %v", name, got, c.ticks)
		}
	}
}

func TestTickLabel(t *testing.T) {
	for want, c := range map[string]struct {
		v    float64
		unit string
	}{"0": {0, unitTime}, "100 ns": {100, unitTime}, "1 µs": {1000, unitTime}, "1.5 µs": {1500, unitTime}, "10 ms": {1e7, unitTime}, "2 s": {2e9, unitTime},
		"10,000": {10_000, ""}, "0.5": {0.5, ""}, "8": {8, ""}} {
		if got := tickLabel(c.v, c.unit); got != want {
			t.Errorf("%g: %q, want %q", c.v, got, want)
		}
	}
}
