// Package stats is the arithmetic of measurements that are repeated in rounds: medians,
// their intervals, and ratios within a round. Imports the standard library only.
package stats

import (
	"fmt"
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

// MarshalJSON keeps NaN, which JSON does not know, out of a report.
func (i Interval) MarshalJSON() ([]byte, error) {
	if math.IsNaN(i.Median) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, `{"median":%g,"low":%g,"high":%g,"count":%d}`, i.Median, i.Low, i.High, i.Count), nil
}

// Median of values, NaN of none. values keep their order.
func Median(values []float64) float64 {
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

// Bootstrap is the median of values with its 95 % percentile bootstrap interval. The same
// values always give the same interval.
func Bootstrap(values []float64) Interval {
	result := Interval{Median: Median(values), Count: len(values)}
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

// Paired is a[i]/b[i] for each round that both have.
func Paired(a, b []float64) []float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return ratios
}
