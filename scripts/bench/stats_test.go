package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("%v: %g, want %g", c.values, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
	values := []float64{3, 1, 2}
	if median(values); values[0] != 3 {
		t.Error("the values were sorted in place")
	}
}

func TestBootstrap(t *testing.T) {
	if i := bootstrap([]float64{2, 2, 2, 2}); i.Median != 2 || i.Low != 2 || i.High != 2 || i.Count != 4 {
		t.Errorf("without spread: %+v", i)
	}
	if i := bootstrap([]float64{7}); i.Low != 7 || i.High != 7 {
		t.Errorf("one value: %+v", i)
	}
	values := []float64{0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.00, 1.01, 1.02, 1.03, 5}
	i := bootstrap(values)
	if i.Median != 0.97 || i.Low < 0.90 || i.Low >= 0.97 || i.High <= 0.97 || i.High > 1.03 {
		t.Errorf("one outlier of 15: %+v", i)
	}
	if j := bootstrap(values); i != j {
		t.Errorf("the same values gave %+v and %+v", i, j)
	}
}

// The interval contains the true median about 95 times of 100.
func TestBootstrapCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 3))
	const trials = 50
	inside := 0
	for range trials {
		values := make([]float64, minRounds)
		for j := range values {
			values[j] = 1 + random.NormFloat64()/10
		}
		if i := bootstrap(values); i.Low <= 1 && i.High >= 1 {
			inside++
		}
	}
	if inside < 42 {
		t.Errorf("%d of %d intervals contain the median", inside, trials)
	}
}

func TestPaired(t *testing.T) {
	got := paired([]float64{2, 9, 1}, []float64{1, 0, 4, 5})
	if len(got) != 2 || got[0] != 2 || got[1] != 0.25 {
		t.Errorf("%v", got)
	}
}

func TestJudge(t *testing.T) {
	atMost, atLeast := Bar{Value: 0.95}, Bar{Value: 6, AtLeast: true}
	for name, c := range map[string]struct {
		bar   Bar
		i     Interval
		want  Verdict
		gross bool
	}{
		"below":            {atMost, Interval{0.90, 0.88, 0.92, 15}, Holds, false},
		"reached":          {atMost, Interval{0.97, 0.95, 0.99, 15}, Holds, false},
		"above":            {atMost, Interval{0.98, 0.96, 0.99, 15}, Missed, false},
		"far above":        {atMost, Interval{1.95, 1.90, 1.99, 15}, Missed, true},
		"few rounds":       {atMost, Interval{0.90, 0.88, 0.92, 14}, Open, false},
		"few but gross":    {atMost, Interval{2.00, 1.88, 2.92, 3}, Open, true},
		"never measured":   {atMost, Interval{Median: math.NaN()}, Open, false},
		"at least":         {atLeast, Interval{6.5, 6.1, 6.9, 15}, Holds, false},
		"at least reached": {atLeast, Interval{5.8, 5.5, 6.0, 15}, Holds, false},
		"too little":       {atLeast, Interval{5.0, 4.5, 5.9, 15}, Missed, false},
		"far too little":   {atLeast, Interval{2.9, 2.5, 3.3, 15}, Missed, true},
		"own rounds":       {Bar{Value: 512, Rounds: 3}, Interval{500, 490, 530, 3}, Holds, false},
	} {
		if got := c.bar.judge(c.i); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if got := c.bar.grossly(c.i); got != c.gross {
			t.Errorf("%s: gross %t", name, got)
		}
	}
}
