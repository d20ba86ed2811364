package main

import (
	"math"
	"testing"

	"github.com/tined/tined/scripts/internal/stats"
)

func TestJudge(t *testing.T) {
	atMost, atLeast := Bar{Value: 0.95}, Bar{Value: 6, AtLeast: true}
	for name, c := range map[string]struct {
		bar   Bar
		i     stats.Interval
		want  Verdict
		gross bool
	}{
		"below":            {atMost, stats.Interval{Median: 0.90, Low: 0.88, High: 0.92, Count: 15}, Holds, false},
		"reached":          {atMost, stats.Interval{Median: 0.97, Low: 0.95, High: 0.99, Count: 15}, Holds, false},
		"above":            {atMost, stats.Interval{Median: 0.98, Low: 0.96, High: 0.99, Count: 15}, Missed, false},
		"far above":        {atMost, stats.Interval{Median: 1.95, Low: 1.90, High: 1.99, Count: 15}, Missed, true},
		"few rounds":       {atMost, stats.Interval{Median: 0.90, Low: 0.88, High: 0.92, Count: 14}, Open, false},
		"few but gross":    {atMost, stats.Interval{Median: 2.00, Low: 1.88, High: 2.92, Count: 3}, Open, true},
		"never measured":   {atMost, stats.Interval{Median: math.NaN()}, Open, false},
		"at least":         {atLeast, stats.Interval{Median: 6.5, Low: 6.1, High: 6.9, Count: 15}, Holds, false},
		"at least reached": {atLeast, stats.Interval{Median: 5.8, Low: 5.5, High: 6.0, Count: 15}, Holds, false},
		"too little":       {atLeast, stats.Interval{Median: 5.0, Low: 4.5, High: 5.9, Count: 15}, Missed, false},
		"far too little":   {atLeast, stats.Interval{Median: 2.9, Low: 2.5, High: 3.3, Count: 15}, Missed, true},
		"own rounds":       {Bar{Value: 512, Rounds: 3}, stats.Interval{Median: 500, Low: 490, High: 530, Count: 3}, Holds, false},
	} {
		if got := c.bar.judge(c.i); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if got := c.bar.grossly(c.i); got != c.gross {
			t.Errorf("%s: gross %t", name, got)
		}
	}
}
