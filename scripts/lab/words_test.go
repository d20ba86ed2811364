package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/scripts/internal/stats"
)

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"0":      digits(0),
		"0.0123": digits(0.012345),
		"0.988":  digits(0.98765),
		"1.23":   digits(1.2345),
		"12.3":   digits(12.345),
		"123":    digits(123.45),
		"17,500": digits(17523),
		"–":      digits(math.NaN()),
		"830 ns": duration(830),
		"1.00 s": duration(1e9),
		"999 ns": duration(999),
		// Rounded up, it is the next unit's.
		"1.00 µs":             duration(999.6),
		"45.0 ms":             duration(45e6),
		"× 1.23 [1.20, 1.25]": times(stats.Interval{Median: 1.23, Low: 1.2, High: 1.25}),
		"1,234,567":           thousands(1234567),
		"12":                  thousands(12),
		"0.05":                count(0.051),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The contenders take turns, each is measured once a round, and nobody is always first.
func TestCompareInterleaves(t *testing.T) {
	var order string
	value := 0.0
	measure := func(name string, factor float64) contender {
		return contender{name, func() ([]float64, error) {
			order += name
			value++
			return []float64{value * factor, factor}, nil
		}}
	}
	f, err := compare(3, []contender{measure("a", 1), measure("b", 2), measure("c", 3)})
	if err != nil {
		t.Fatal(err)
	}
	if order != "abcbcacab" {
		t.Errorf("order %s", order)
	}
	if !slices.Equal(f.values[0][0], []float64{1, 6, 8}) {
		t.Errorf("a's values by round: %v", f.values[0][0])
	}
	if r := f.ratio(1, 0, 1); r.Median != 2 || r.Low != 2 || r.High != 2 || r.Count != 3 {
		t.Errorf("ratio %+v", r)
	}
	broken := errors.New("broken")
	if _, err := compare(1, []contender{{"d", func() ([]float64, error) { return nil, broken }}}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "d:") {
		t.Errorf("error %v", err)
	}
}

func TestPerUnit(t *testing.T) {
	turns := 0
	got, err := perUnit(0, func() (int, time.Duration, error) {
		turns++
		return 4, 100 * time.Nanosecond, nil
	})
	if err != nil || got != 25 || turns < 1 {
		t.Errorf("%g ns after %d turns, %v", got, turns, err)
	}
}
