package main

import (
	"fmt"
	"time"

	"github.com/tined/tined/scripts/internal/stats"
)

// A contender is one of those that an experiment compares.
type contender struct {
	name string
	// measure gives one round's figures: one or several, always as many.
	measure func() ([]float64, error)
}

// figures are what contenders gave: by contender, by kind of figure, by round.
type figures struct {
	names  []string
	values [][][]float64
}

// compare measures every contender once a round. Who is first changes from round to round,
// so that nobody always follows the same neighbour.
func compare(rounds int, contenders []contender) (*figures, error) {
	f := &figures{values: make([][][]float64, len(contenders))}
	for _, c := range contenders {
		f.names = append(f.names, c.name)
	}
	for round := range rounds {
		for i := range contenders {
			at := (i + round) % len(contenders)
			got, err := contenders[at].measure()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[at].name, err)
			}
			if f.values[at] == nil {
				f.values[at] = make([][]float64, len(got))
			}
			for kind, v := range got {
				f.values[at][kind] = append(f.values[at][kind], v)
			}
		}
	}
	return f, nil
}

// of is one contender's figure of a kind.
func (f *figures) of(contender, kind int) stats.Interval {
	return stats.Bootstrap(f.values[contender][kind])
}

// ratio is one contender's figure over another's of the same round.
func (f *figures) ratio(contender, reference, kind int) stats.Interval {
	return stats.Bootstrap(stats.Paired(f.values[contender][kind], f.values[reference][kind]))
}

// point is a figure for a plot.
func (f *figures) point(contender, kind int) Point {
	i := f.of(contender, kind)
	return Point{Y: i.Median, Low: i.Low, High: i.High}
}

// perUnit repeats a batch for at least the slice, and returns the nanoseconds that one of its
// units took. timed is what a batch took of it.
func perUnit(slice time.Duration, batch func() (units int, timed time.Duration, err error)) (float64, error) {
	units, spent := 0, time.Duration(0)
	for end := time.Now().Add(slice); ; {
		n, timed, err := batch()
		if err != nil {
			return 0, err
		}
		units += n
		spent += timed
		if time.Now().After(end) {
			return float64(spent) / float64(units), nil
		}
	}
}
