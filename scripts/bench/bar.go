package main

import "github.com/tined/tined/scripts/internal/stats"

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
func (b Bar) judge(i stats.Interval) Verdict {
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
func (b Bar) grossly(i stats.Interval) bool {
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
