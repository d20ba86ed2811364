package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCost(t *testing.T) {
	l := Load{Requests: 1000, Bytes: 2e9, Duration: time.Second}
	if got := (Case{}).cost(l, 7*time.Millisecond); got != 7 {
		t.Errorf("%g µs a request", got)
	}
	if got := (Case{PerByte: true}).cost(l, 200*time.Millisecond); math.Abs(got-0.1) > 1e-12 {
		t.Errorf("%g s/GB", got)
	}
}

func TestDecideAndTable(t *testing.T) {
	rounds := func(v float64) []float64 {
		values := make([]float64, minRounds)
		for i := range values {
			values[i] = v + float64(i%3)/100
		}
		return values
	}
	r := &Result{Case: "plaintext-64", Figures: []Figures{
		{Server: nginx, Rate: rounds(100000), CPU: rounds(8), P99: rounds(900)},
		{Server: tined, Rate: rounds(120000), CPU: rounds(6.5), P99: rounds(800)},
		{Server: limit, Rate: rounds(130000), CPU: rounds(5), P99: rounds(700)},
	}}
	r.decide(cases[0])
	if len(r.Bars) != 2 || r.Bars[0].Verdict != Holds || r.Bars[1].Verdict != Missed {
		t.Fatalf("bars: %+v", r.Bars)
	}
	var text strings.Builder
	table(&text, []*Result{r})
	for _, want := range []string{"plaintext-64", "120,000", "6.51 µs", "0.81", "<= 0.95 HOLDS", "1.3", "<= 1.2 MISSED"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// The pooled path is compared with the inline one of the same server, and with nobody else.
func TestDecidePooled(t *testing.T) {
	at := slices.IndexFunc(cases, func(c Case) bool { return c.ToInline.Value != 0 })
	if at < 0 {
		t.Fatal("no case compares the pooled path")
	}
	if got := cases[at].servers([]string{nginx, tined, limit}); !slices.Equal(got, []string{tined}) {
		t.Errorf("%v take part", got)
	}
	if got := cases[at].servers([]string{nginx}); len(got) != 0 {
		t.Errorf("%v take part without tined", got)
	}
	r := &Result{Case: cases[at].Name, Figures: []Figures{
		{Server: inline, CPU: slices.Repeat([]float64{6}, minRounds)},
		{Server: tined, CPU: slices.Repeat([]float64{6.6}, minRounds)},
	}}
	r.decide(cases[at])
	if len(r.Bars) != 1 || len(r.Reference) != 0 || r.Bars[0].Verdict != Holds || r.Bars[0].Interval.Median < 1.09 {
		t.Errorf("%+v, %+v", r.Bars, r.Reference)
	}
}

// A case that one server alone has run has no ratios, and a report all the same.
func TestDecideAlone(t *testing.T) {
	r := &Result{Case: "plaintext-64", Figures: []Figures{{Server: tined, Rate: []float64{1}, CPU: []float64{1}}}}
	r.decide(cases[0])
	if len(r.Bars) != 0 {
		t.Errorf("bars: %+v", r.Bars)
	}
	table(new(strings.Builder), []*Result{r})
	r.Bars = append(r.Bars, judge(tined, Bar{Value: 1}, nil))
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
