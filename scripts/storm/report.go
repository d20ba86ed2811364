package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// report is what a scenario has found: a line for each figure.
type report struct {
	Scenario string   `json:"scenario"`
	About    string   `json:"about"`
	Figures  []figure `json:"figures"`
	// Missed are the bars that were missed; Inconclusive says why the run proves nothing about them.
	Missed       []string `json:"missed"`
	Inconclusive []string `json:"inconclusive"`
	Seconds      float64  `json:"seconds"`
	phases       []phase
}

// phase is a part of a run, for messages.
type phase struct {
	name  string
	begin time.Time
}

// phase says what happens from now on.
func (r *report) phase(name string) { r.phases = append(r.phases, phase{name, time.Now()}) }

// when says in which phase something was.
func (r *report) when(at time.Time) string {
	for _, p := range slices.Backward(r.phases) {
		if at.After(p.begin) {
			return fmt.Sprintf(" (%s, after %d ms)", p.name, at.Sub(p.begin).Milliseconds())
		}
	}
	return ""
}

// figure is a number with its unit, or words.
type figure struct {
	Name   string `json:"name"`
	Value  any    `json:"value"`
	Bar    string `json:"bar,omitempty"`
	Missed bool   `json:"missed,omitempty"`
}

// note adds a figure without a bar.
func (r *report) note(name string, value any) {
	r.Figures = append(r.Figures, figure{Name: name, Value: value})
}

// bar adds a figure that must be as the bar says.
func (r *report) bar(name string, value any, bar string, ok bool) {
	r.Figures = append(r.Figures, figure{Name: name, Value: value, Bar: bar, Missed: !ok})
	if !ok {
		r.Missed = append(r.Missed, fmt.Sprintf("%s: %v, and the bar is %s", name, value, bar))
	}
}

// zero adds a count that must be 0.
func (r *report) zero(name string, n int) { r.bar(name, n, "0", n == 0) }

// say adds a check that has no number.
func (r *report) say(name string, err error) {
	if err != nil {
		r.bar(name, err.Error(), "ok", false)
		return
	}
	r.bar(name, "ok", "ok", true)
}

// doubt says why what was missed may not be the server's fault.
func (r *report) doubt(format string, args ...any) {
	r.Inconclusive = append(r.Inconclusive, fmt.Sprintf(format, args...))
}

// failed reports whether a bar was missed in a run that proves something.
func (r *report) failed() bool { return len(r.Missed) > 0 && len(r.Inconclusive) == 0 }

// crowd adds what a crowd has seen. Failures that kills explain, or that excused does, are counted apart; the rest must be none.
func (r *report) crowd(c *crowd, kills []Kill, excused func(Failure) bool) {
	n := c.count()
	r.note(c.name+": connections", n.Connected)
	r.note(c.name+": answers", n.Answered)
	r.note(c.name+": slowest answer, ms", n.Slowest.Milliseconds())
	if n.Announced > 0 {
		r.note(c.name+": closed as announced", n.Announced)
	}
	r.lost(c.name, c.failures(), kills, excused)
}

// kept adds that the server must not have closed a connection of a crowd, not even one that it had announced to close.
func (r *report) kept(c *crowd) {
	closed := c.closes()
	r.zero(c.name+": closed by the server", len(closed))
	for i, f := range closed[:min(detailed, len(closed))] {
		r.note(fmt.Sprintf("  number %d of them", i+1), r.detail(f))
	}
}

// detailed is how many failures of a kind are told in full.
const detailed = 3

// lost adds failures: those that kills explain, or that excused does, are counted apart; the rest must be none.
func (r *report) lost(name string, failures []Failure, kills []Kill, excused func(Failure) bool) {
	kinds := make(map[Loss][]Failure)
	pardoned := 0
	for _, f := range failures {
		if excused != nil && excused(f) {
			pardoned++
			continue
		}
		kind := classify(f, kills)
		kinds[kind] = append(kinds[kind], f)
	}
	if held := len(kinds[LossHeld]) + pardoned; held > 0 {
		r.note(name+": "+string(LossHeld), held)
	}
	sum := 0
	for _, kind := range losses {
		if len(kinds[kind]) > 0 {
			r.zero(name+": "+string(kind), len(kinds[kind]))
		}
		for i, f := range kinds[kind][:min(detailed, len(kinds[kind]))] {
			r.note(fmt.Sprintf("  number %d of them", i+1), r.detail(f))
		}
		sum += len(kinds[kind])
	}
	if sum == 0 {
		r.zero(name+": failures", 0)
	}
}

// detail tells all that is known of a failure.
func (r *report) detail(f Failure) string {
	text := fmt.Sprintf("%v%s, from %s, answers before %d, on a connection of %d ms", f.Err, r.when(f.End), f.From, f.Answers,
		f.End.Sub(f.Begin).Milliseconds())
	if f.Answers > 0 {
		text += fmt.Sprintf(", the last one of configuration %d", f.Value)
	}
	if f.Child != "" {
		text += fmt.Sprintf(" and child %s (pid %s)", f.Slot, f.Child)
	}
	return text
}

// maxValue is the longest value that stands in the table; a longer one follows it.
const maxValue = 50

// table writes it for people.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s: %s\n", r.Scenario, r.About)
	for _, f := range r.Figures {
		verdict, value := "", fmt.Sprint(f.Value)
		if len(value) > maxValue {
			value = "below"
		}
		if f.Bar != "" {
			verdict = "ok"
		}
		if f.Missed {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", f.Name, value, f.Bar, verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Figures {
		if value := fmt.Sprint(f.Value); len(value) > maxValue {
			fmt.Fprintf(w, "  %s: %s\n", f.Name, value)
		}
	}
	for _, why := range r.Inconclusive {
		fmt.Fprintf(w, "  inconclusive: %s\n", why)
	}
	_, err := fmt.Fprintf(w, "  %.1f s\n\n", r.Seconds)
	return err
}
