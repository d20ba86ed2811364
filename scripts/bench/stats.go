package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// resamples of the bootstrap: enough that the second digit of an interval stands still.
const resamples = 4_000

// Interval is a median and its 95 % interval.
type Interval struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Count  int     `json:"count"`
}

// median of values, NaN of none. values keep their order.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return sortedMedian(slices.Sorted(slices.Values(values)))
}

func sortedMedian(sorted []float64) float64 {
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// bootstrap is the median of values with its 95 % percentile bootstrap interval. The same
// values always give the same interval.
func bootstrap(values []float64) Interval {
	result := Interval{Median: median(values), Count: len(values)}
	result.Low, result.High = result.Median, result.Median
	if len(values) < 2 {
		return result
	}
	random := rand.New(rand.NewPCG(1, uint64(len(values))))
	medians := make([]float64, resamples)
	drawn := make([]float64, len(values))
	for i := range medians {
		for j := range drawn {
			drawn[j] = values[random.IntN(len(values))]
		}
		slices.Sort(drawn)
		medians[i] = sortedMedian(drawn)
	}
	slices.Sort(medians)
	result.Low = medians[resamples*25/1000]
	result.High = medians[resamples*975/1000]
	return result
}

// paired is a[i]/b[i] for each round that both have.
func paired(a, b []float64) []float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return ratios
}

// minRounds is what the project asks of a comparison before it is called decided.
const minRounds = 15

// Bar is a promise about a figure.
type Bar struct {
	What    string  `json:"what"`    // what the figure is
	AtLeast bool    `json:"atLeast"` // else at most
	Value   float64 `json:"value"`
	Rounds  int     `json:"-"` // rounds that decide it, 0: minRounds
	// Gross is how many times worse than Value no noise explains, 0: 2.
	Gross float64 `json:"-"`
}

// Verdict of a bar.
type Verdict string

// A bar holds when the 95 % interval reaches it. It is open as long as too few rounds, or
// none, have been measured.
const (
	Holds  Verdict = "HOLDS"
	Open   Verdict = "OPEN"
	Missed Verdict = "MISSED"
)

// judge says what the figures make of the bar.
func (b Bar) judge(i Interval) Verdict {
	rounds := b.Rounds
	if rounds == 0 {
		rounds = minRounds
	}
	switch {
	case i.Count < rounds:
		return Open
	case b.AtLeast && i.High >= b.Value, !b.AtLeast && i.Low <= b.Value:
		return Holds
	}
	return Missed
}

// grossly reports that the figure is so much worse than the bar that no noise explains it.
func (b Bar) grossly(i Interval) bool {
	if i.Count == 0 {
		return false
	}
	times := b.Gross
	if times == 0 {
		times = 2
	}
	if b.AtLeast {
		return i.Median < b.Value/times
	}
	return i.Median > b.Value*times
}
