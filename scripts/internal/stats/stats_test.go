package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(c.values); got != c.want {
			t.Errorf("%v: %g, want %g", c.values, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
	values := []float64{3, 1, 2}
	if Median(values); values[0] != 3 {
		t.Error("the values were sorted in place")
	}
}

func TestBootstrap(t *testing.T) {
	if i := Bootstrap([]float64{2, 2, 2, 2}); i.Median != 2 || i.Low != 2 || i.High != 2 || i.Count != 4 {
		t.Errorf("without spread: %+v", i)
	}
	if i := Bootstrap([]float64{7}); i.Low != 7 || i.High != 7 {
		t.Errorf("one value: %+v", i)
	}
	values := []float64{0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.00, 1.01, 1.02, 1.03, 5}
	i := Bootstrap(values)
	if i.Median != 0.97 || i.Low < 0.90 || i.Low >= 0.97 || i.High <= 0.97 || i.High > 1.03 {
		t.Errorf("one outlier of 15: %+v", i)
	}
	if j := Bootstrap(values); i != j {
		t.Errorf("the same values gave %+v and %+v", i, j)
	}
}

// The interval contains the true median about 95 times of 100.
func TestBootstrapCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 3))
	const trials, rounds = 50, 15
	inside := 0
	for range trials {
		values := make([]float64, rounds)
		for j := range values {
			values[j] = 1 + random.NormFloat64()/10
		}
		if i := Bootstrap(values); i.Low <= 1 && i.High >= 1 {
			inside++
		}
	}
	if inside < 42 {
		t.Errorf("%d of %d intervals contain the median", inside, trials)
	}
}

func TestPaired(t *testing.T) {
	got := Paired([]float64{2, 9, 1}, []float64{1, 0, 4, 5})
	if len(got) != 2 || got[0] != 2 || got[1] != 0.25 {
		t.Errorf("%v", got)
	}
}

// What was never measured is null, not a document that nobody can read.
func TestIntervalJSON(t *testing.T) {
	for want, i := range map[string]Interval{
		"null": Bootstrap(nil),
		`{"median":2,"low":1,"high":3,"count":4}`: {Median: 2, Low: 1, High: 3, Count: 4},
	} {
		if got, err := json.Marshal(i); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
