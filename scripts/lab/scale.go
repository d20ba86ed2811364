package main

import (
	"math"
	"strconv"
	"strings"
)

// A scale maps figures to pixels.
type scale struct {
	log      bool
	low      float64 // figure at from
	high     float64 // figure at to
	from, to float64 // pixels
}

// newScale covers all values. A linear scale begins at zero; a logarithmic one at a power of
// ten, and values that it cannot show are not looked at.
func newScale(log bool, values []float64, from, to float64) scale {
	s := scale{log: log, from: from, to: to, low: math.Inf(1), high: math.Inf(-1)}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) || (log && v <= 0) {
			continue
		}
		s.low, s.high = min(s.low, v), max(s.high, v)
	}
	switch {
	case s.low > s.high && log:
		s.low, s.high = 1, 10
	case s.low > s.high:
		s.low, s.high = 0, 1
	case log:
		s.low = math.Pow(10, math.Floor(math.Log10(s.low)+1e-9))
		s.high = math.Pow(10, math.Ceil(math.Log10(s.high)-1e-9))
		if s.high <= s.low {
			s.high = 10 * s.low
		}
	default:
		s.low = min(0, s.low)
		if s.high <= s.low {
			s.high = s.low + 1
		}
		step := niceStep(s.high - s.low)
		s.high = math.Ceil(s.high/step-1e-9) * step
	}
	return s
}

// at is the pixel of a figure; what lies outside is put on the nearer edge.
func (s scale) at(v float64) float64 {
	share := 0.0
	if s.log {
		if v > 0 {
			share = math.Log10(v/s.low) / math.Log10(s.high/s.low)
		}
	} else {
		share = (v - s.low) / (s.high - s.low)
	}
	return s.from + min(max(share, 0), 1)*(s.to-s.from)
}

// ticks are the figures that the axis names.
func (s scale) ticks() []float64 {
	var all []float64
	if !s.log {
		step := niceStep(s.high - s.low)
		for i := math.Ceil(s.low / step); i*step <= s.high+step/1e6; i++ {
			all = append(all, i*step)
		}
		return all
	}
	between := []float64{1}
	if math.Log10(s.high/s.low) < 2.5 {
		between = []float64{1, 2, 5}
	}
	for decade := s.low; decade <= s.high*1.0001; decade *= 10 {
		for _, times := range between {
			if v := decade * times; v <= s.high*1.0001 {
				all = append(all, v)
			}
		}
	}
	return all
}

// niceStep is 1, 2 or 5 times a power of ten, so that a span has four to ten steps.
func niceStep(span float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(span)))
	switch share := span / power; {
	case share < 2:
		return power / 5
	case share < 5:
		return power / 2
	}
	return power
}

// tickLabel writes a figure of an axis without needless zeros.
func tickLabel(v float64, unit string) string {
	if unit == unitTime && v != 0 {
		size, name, _ := strings.Cut(duration(v), " ")
		if n, err := strconv.ParseFloat(size, 64); err == nil {
			size = strconv.FormatFloat(n, 'f', -1, 64)
		}
		return size + " " + name
	}
	if v >= 1000 && v == math.Trunc(v) {
		return thousands(int(v))
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}
