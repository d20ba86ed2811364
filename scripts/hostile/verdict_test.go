package main

import (
	"strings"
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	a := &attack{name: "x", statuses: []int{408}, owed: true}
	before := State{Memory: 100 << 20, Descriptors: 50, Workers: 4, Restarts: 1}
	good := func() result {
		return result{Before: before, After: before, Attack: attackReport{Answers: map[int]int64{408: 3}}, Polite: politeReport{Requests: 9, P99: 49}}
	}
	for name, c := range map[string]struct {
		spoil func(r *result)
		want  string // in the bar that is missed, "" for none
		gross bool
		hasty bool
	}{
		"good":                       {spoil: func(*result) {}},
		"an error":                   {spoil: func(r *result) { r.Polite.Errors = 2 }, want: "saw 2 errors"},
		"an error, gross":            {spoil: func(r *result) { r.Polite.Errors = 2 }, want: "saw 2 errors", gross: true},
		"slow":                       {spoil: func(r *result) { r.Polite.P99 = 50 }, want: "p99"},
		"slow is not gross":          {spoil: func(r *result) { r.Polite.P99 = 500 }, gross: true},
		"grossly slow":               {spoil: func(r *result) { r.Polite.P99 = 2000 }, want: "p99", gross: true},
		"a dead child":               {spoil: func(r *result) { r.After.Restarts = 2 }, want: "1 children have died"},
		"a status":                   {spoil: func(r *result) { r.Attack.Answers[500] = 7 }, want: "7 answers 500"},
		"cheated":                    {spoil: func(r *result) { r.Attack.Cheated = 1 }, want: "ended without an answer"},
		"memory within 10 %":         {spoil: func(r *result) { r.After.Memory = 110 << 20 }},
		"memory":                     {spoil: func(r *result) { r.After.Memory = 111 << 20 }, want: "memory is 1.11 of before"},
		"memory is not gross":        {spoil: func(r *result) { r.After.Memory = 111 << 20 }, gross: true},
		"descriptors":                {spoil: func(r *result) { r.After.Descriptors = 51 }, want: "51 descriptors (50 before)"},
		"connections":                {spoil: func(r *result) { r.After.Connections = 1 }, want: "1 connections (0 before)"},
		"workers":                    {spoil: func(r *result) { r.After.Workers = 5 }, want: "5 workers (4 before)"},
		"less than before":           {spoil: func(r *result) { r.After = State{Restarts: 1} }},
		"no time to settle":          {spoil: func(r *result) { r.After.Workers = 5 }, hasty: true},
		"no time to settle, a death": {spoil: func(r *result) { r.After.Restarts = 2 }, want: "died", hasty: true},
	} {
		r := good()
		c.spoil(&r)
		missed := r.verdict(a, c.gross, !c.hasty)
		if c.want == "" && len(missed) > 0 || c.want != "" && (len(missed) != 1 || !strings.Contains(missed[0], c.want)) {
			t.Errorf("%s: %q, want %q", name, missed, c.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	var sorted []time.Duration
	for i := range 200 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for p, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := percentile(sorted, p); got != want {
			t.Errorf("p%d is %d, want %d", p, got, want)
		}
	}
	if got := percentile(sorted[:1], 50); got != 1 {
		t.Errorf("p50 of one value is %d", got)
	}
	if got := percentile(nil, 99); got != 0 {
		t.Errorf("p99 of nothing is %d", got)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := table(&b, []result{{Name: "x", Attack: attackReport{Connections: 300, Sent: 3 << 20, Answers: map[int]int64{431: 2, 200: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"connections", " 300 ", "3.0MiB", "200:1 431:2"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
