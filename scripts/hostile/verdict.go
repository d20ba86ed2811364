package main

import (
	"fmt"
	"slices"
)

// Bars of every attack.
const (
	// slowest is the p99 of the well-behaved client, in ms.
	slowest = 50.0
	// residue is what memory may be of the figure before.
	residue = 1.10
)

// Gross breakage: what no noise of a busy machine explains.
const (
	grosslySlow    = 1000.0
	grosslyBloated = 2.0
)

// verdict lists the bars that an attack has missed. gross asks for gross breakage only, settled
// says that the server had time to be as it was before.
func (r *result) verdict(a *attack, gross, settled bool) (missed []string) {
	miss := func(format string, args ...any) { missed = append(missed, fmt.Sprintf(format, args...)) }
	latency, memory := slowest, residue
	if gross {
		latency, memory = grosslySlow, grosslyBloated
	}
	if n := r.Polite.Errors; n > 0 {
		miss("the well-behaved client saw %d errors: %v", n, r.Polite.First)
	}
	if p := r.Polite.P99; p >= latency {
		miss("p99 of the well-behaved client %.0f ms, the slowest was %s", p, r.Polite.Slowest)
	}
	if n := r.After.Restarts - r.Before.Restarts; n > 0 {
		miss("%d children have died", n)
	}
	for _, status := range sortedStatuses(r.Attack.Answers) {
		if !slices.Contains(a.statuses, status) {
			miss("%d answers %d", r.Attack.Answers[status], status)
		}
	}
	if n := r.Attack.Cheated; n > 0 {
		miss("%d connections were ended without an answer", n)
	}
	if settled && !returned(r.Before, r.After, memory) {
		miss("afterwards %s", r.After.beside(r.Before))
	}
	return missed
}

// returned reports whether everything is back at the figures from before, memory within a
// factor.
func returned(before, now State, memory float64) bool {
	return float64(now.Memory) <= memory*float64(before.Memory) &&
		now.Descriptors <= before.Descriptors && now.Connections <= before.Connections &&
		now.Workers <= before.Workers && now.Busy <= before.Busy && now.Queued <= before.Queued
}

// beside says what is higher than before.
func (s State) beside(before State) string {
	text := fmt.Sprintf("memory is %.2f of before", float64(s.Memory)/float64(max(before.Memory, 1)))
	for _, f := range []struct {
		name     string
		now, was int
	}{
		{"descriptors", s.Descriptors, before.Descriptors},
		{"connections", s.Connections, before.Connections},
		{"workers", s.Workers, before.Workers},
		{"busy workers", s.Busy, before.Busy},
		{"queued requests", s.Queued, before.Queued},
	} {
		if f.now > f.was {
			text += fmt.Sprintf(", %d %s (%d before)", f.now, f.name, f.was)
		}
	}
	return text
}

func sortedStatuses(answers map[int]int64) []int {
	statuses := make([]int, 0, len(answers))
	for status := range answers {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	return statuses
}
