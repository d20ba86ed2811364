package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tined/tined/scripts/internal/stats"
)

// digits writes v, which is not negative, with three significant digits and no exponent.
func digits(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	if v == 0 {
		return "0"
	}
	three := fmt.Sprintf("%.2e", v)
	first, _ := strconv.Atoi(three[strings.IndexByte(three, 'e')+1:]) // the place of the first digit: 0 for units
	if first >= 3 {
		rounded, _ := strconv.ParseFloat(three, 64)
		return thousands(int(rounded))
	}
	return strconv.FormatFloat(v, 'f', min(2-first, 4), 64)
}

// duration writes nanoseconds in the unit that fits them.
func duration(ns float64) string {
	for _, unit := range []struct {
		ns   float64
		name string
	}{{1e9, " s"}, {1e6, " ms"}, {1e3, " µs"}} {
		if ns >= unit.ns*0.9995 {
			return digits(ns/unit.ns) + unit.name
		}
	}
	if math.IsNaN(ns) {
		return "–"
	}
	return digits(ns) + " ns"
}

// times writes a ratio with its interval.
func times(i stats.Interval) string {
	if math.IsNaN(i.Median) {
		return "–"
	}
	return "× " + digits(i.Median) + " [" + digits(i.Low) + ", " + digits(i.High) + "]"
}

// thousands writes 10000 as 10,000. n is not negative.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// timeOf is a cell: a time, and its ratio to the reference's unless it is the reference.
func (f *figures) timeOf(contender, reference, kind int) string {
	cell := duration(f.of(contender, kind).Median)
	if contender != reference {
		cell += ", " + times(f.ratio(contender, reference, kind))
	}
	return cell
}

// count writes how many of something there were for each of something else.
func count(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
