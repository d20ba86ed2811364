package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// result is one attack with what was seen beside it.
type result struct {
	Name   string       `json:"name"`
	Attack attackReport `json:"attack"`
	Polite politeReport `json:"polite"`
	Before State        `json:"before"`
	Peak   int64        `json:"peakMemoryBytes"`
	After  State        `json:"after"`
	// Return is the time from the end of the attack until everything was back, in seconds.
	Return float64  `json:"returnSeconds"`
	Missed []string `json:"missed"`
}

// table writes a row for each attack.
func table(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "attack\tconnections\tsent\treceived\tclosed\treset\tp50\tp99\tmax ms\terrors\tmemory before\tduring\tafter\tback in\t  answers\t")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%d\t%s\t%s\t%s\t%.0f s\t  %s\t\n", r.Name, r.Attack.Connections,
			size(r.Attack.Sent), size(r.Attack.Received), r.Attack.Closed, r.Attack.Reset, r.Polite.P50, r.Polite.P99, r.Polite.Max,
			r.Polite.Errors, size(r.Before.Memory), size(r.Peak), size(r.After.Memory), r.Return, statuses(r.Attack.Answers))
	}
	return t.Flush()
}

// statuses writes 200:17 431:300.
func statuses(answers map[int]int64) string {
	if len(answers) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, status := range sortedStatuses(answers) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d:%d", status, answers[status])
	}
	return b.String()
}

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.0fGiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1fKiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%dB", n)
}
