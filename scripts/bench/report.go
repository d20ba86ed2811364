package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tined/tined/scripts/internal/stats"
)

// Figures are one server's in one case, a value per round.
type Figures struct {
	Server string    `json:"server"`
	Rate   []float64 `json:"requestsPerSecond,omitempty"`
	CPU    []float64 `json:"cpu,omitempty"` // µs per request, or s per GB
	Bytes  []float64 `json:"bytesPerSecond,omitempty"`
	P99    []float64 `json:"p99Micros,omitempty"`
	Memory []float64 `json:"bytesPerConnection,omitempty"`
	// Slope is the memory of the second half of the connections alone.
	Slope []float64 `json:"bytesPerFurtherConnection,omitempty"`
}

// Judged is a bar with what was measured for it.
type Judged struct {
	Server string `json:"server"`
	Bar
	Interval stats.Interval `json:"interval"`
	Verdict  Verdict        `json:"verdict"`
}

func judge(server string, b Bar, values []float64) Judged {
	i := stats.Bootstrap(values)
	return Judged{Server: server, Bar: b, Interval: i, Verdict: b.judge(i)}
}

// Result is a case with all its figures.
type Result struct {
	Case    string    `json:"case"`
	PerByte bool      `json:"perByte,omitempty"`
	Figures []Figures `json:"figures"`
	Bars    []Judged  `json:"bars,omitempty"`
	// Reference are ratios without a bar: the limit's to nginx's.
	Reference []Judged `json:"reference,omitempty"`
}

// find is the figures of one server, nil when it did not take part.
func (r *Result) find(server string) *Figures {
	for i := range r.Figures {
		if r.Figures[i].Server == server {
			return &r.Figures[i]
		}
	}
	return nil
}

// gross reports that a figure is grossly worse than its bar.
func (r *Result) gross() bool {
	return slices.ContainsFunc(r.Bars, func(j Judged) bool { return j.grossly(j.Interval) })
}

// table prints results as people read them: medians over the rounds, and the median of the
// paired ratios with its 95 % interval.
func table(w io.Writer, results []*Result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tSERVER\tREQ/S\tCPU\tP99\tRATIO\t[95 %]\tOF\tBAR\t")
	for _, r := range results {
		for i, f := range r.Figures {
			name := ""
			if i == 0 {
				name = r.Case
			}
			first := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", name, f.Server, f.rate(), f.cost(r.PerByte), f.p99())
			rows := append(r.of(r.Bars, f.Server, true), r.of(r.Reference, f.Server, false)...)
			if len(rows) == 0 {
				rows = []string{"\t\t\t\t"}
			}
			for _, row := range rows {
				fmt.Fprintf(t, "%s\t%s\n", first, row)
				first = "\t\t\t\t"
			}
		}
	}
	t.Flush()
}

func (r *Result) of(all []Judged, server string, withBar bool) []string {
	var rows []string
	for _, j := range all {
		if j.Server != server {
			continue
		}
		bar := ""
		if withBar {
			sign := "<="
			if j.AtLeast {
				sign = ">="
			}
			bar = fmt.Sprintf("%s %g %s", sign, j.Value, j.Verdict)
		}
		i := j.Interval
		rows = append(rows, fmt.Sprintf("%s\t[%s, %s]\t%s\t%s\t", digits(i.Median), digits(i.Low), digits(i.High), j.What, bar))
	}
	return rows
}

// digits prints a ratio to three decimals and a large figure to none.
func digits(v float64) string {
	if math.Abs(v) >= 20 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func (f *Figures) rate() string {
	if len(f.Rate) == 0 {
		return "-"
	}
	return thousands(int64(math.Round(stats.Median(f.Rate))))
}

func (f *Figures) cost(perByte bool) string {
	switch {
	case len(f.Memory) > 0 && len(f.Slope) > 0:
		return fmt.Sprintf("%.0f B (+%.0f)", stats.Median(f.Memory), stats.Median(f.Slope))
	case len(f.CPU) == 0:
		return "-"
	case perByte:
		return fmt.Sprintf("%.3f s/GB", stats.Median(f.CPU))
	}
	return fmt.Sprintf("%.2f µs", stats.Median(f.CPU))
}

func (f *Figures) p99() string {
	if len(f.P99) == 0 {
		return "-"
	}
	d := time.Duration(stats.Median(f.P99) * float64(time.Microsecond))
	return d.Round(time.Microsecond).String()
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
