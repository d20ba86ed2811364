package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
	"github.com/tined/tined/scripts/internal/stats"
)

const (
	// fairConnections are the ordinary clients, fairRate is what they ask together in a
	// second: far below what a server can do, so that only the hog makes them wait.
	fairConnections = 64
	fairRate        = 4000
	// hogLead is how long a hog works before the others come, and after they have gone.
	hogLead = 300 * time.Millisecond
)

// hog is one connection that does as much as it can.
type hog struct{ name, path string }

var hogs = []hog{
	{name: "sends", path: "/plain"},   // requests without end, as fast as they are taken
	{name: "reads", path: "/10m.txt"}, // large answers without end, as fast as they come
}

// fairBar is for the ratio of the p99 beside a hog to the p99 alone. A p99 of a busy
// machine is noise: only a server that starves its clients is grossly unfair.
var fairBar = Bar{Value: 3, Gross: 33}

// openLoopReport is what `bench open-loop` prints.
type openLoopReport struct {
	Requests int     `json:"requests"`
	P50      float64 `json:"p50Micros"`
	P99      float64 `json:"p99Micros"`
	Max      float64 `json:"maxMicros"`
}

// hogReport is what `bench hog` prints.
type hogReport struct {
	Sent     int64 `json:"sentBytes"`
	Received int64 `json:"receivedBytes"`
}

// fairness measures every server alone, and beside each hog, in every round.
func (b *bench) fairness() (*Result, error) {
	// The limit takes no part: it has one answer, and cuts off who does not read it.
	fair := *b
	fair.servers = slices.DeleteFunc(slices.Clone(b.servers), func(name string) bool { return name == limit })
	servers, err := fair.start(Case{Name: "fairness"})
	if err != nil {
		return nil, err
	}
	defer stop(servers)
	alone := make(map[string][]float64)
	beside := make(map[string]map[hog][]float64)
	for _, s := range servers {
		beside[s.name] = make(map[hog][]float64)
	}
	for round := range b.rounds {
		for _, s := range servers {
			report, _, err := b.openLoop(s.Server, nil)
			if err != nil {
				return nil, fmt.Errorf("fairness: %s: %w", s.name, err)
			}
			alone[s.name] = append(alone[s.name], report.P99)
			line := fmt.Sprintf("alone p50 %.0f p99 %.0f µs", report.P50, report.P99)
			for _, h := range hogs {
				report, work, err := b.openLoop(s.Server, &h)
				if err != nil {
					return nil, fmt.Errorf("fairness: %s beside one that %s: %w", s.name, h.name, err)
				}
				beside[s.name][h] = append(beside[s.name][h], report.P99)
				line += fmt.Sprintf("; beside one that %s (%d MB up, %d MB down) p50 %.0f p99 %.0f µs",
					h.name, work.Sent/1e6, work.Received/1e6, report.P50, report.P99)
			}
			b.progress("fairness", round, s.name, line)
		}
	}
	result := &Result{Case: "fairness"}
	for _, s := range servers {
		result.Figures = append(result.Figures, Figures{Server: s.name, P99: alone[s.name]})
		for _, h := range hogs {
			bar := fairBar
			bar.What = "p99 beside one that " + h.name + ", to alone"
			j := judge(s.name, bar, stats.Paired(beside[s.name][h], alone[s.name]))
			if s.name == tined {
				result.Bars = append(result.Bars, j)
			} else {
				result.Reference = append(result.Reference, j)
			}
		}
	}
	return result, nil
}

// openLoop runs the ordinary clients, beside a hog unless it is nil. Both clients share
// the load's core: the hog has the kernel's idle class and gets what the others leave, so
// that it is the server, and not that core, that the others wait for.
func (b *bench) openLoop(s *rig.Server, h *hog) (report openLoopReport, work hogReport, err error) {
	var other *rig.Process
	if h != nil {
		other, err = b.crew.Start(loadCore, nil, "chrt", "-i", "0", b.self, "hog", "-address", s.Address,
			"-path", h.path, "-seconds", seconds(b.seconds+3*hogLead))
		if err != nil {
			return report, work, err
		}
		defer other.End()
		time.Sleep(hogLead)
	}
	if report, err = b.ordinary(s.Address, plainPath, b.seconds); err != nil || other == nil {
		return report, work, err
	}
	if err := decode(other, &work); err != nil {
		return report, work, err
	}
	if work.Received == 0 {
		return report, work, errors.New("the hog received nothing")
	}
	return report, work, nil
}

// ordinary runs the ordinary clients.
func (b *bench) ordinary(address, path string, d time.Duration) (report openLoopReport, err error) {
	clients, err := b.crew.Start(loadCore, nil, b.self, "open-loop", "-address", address, "-path", path,
		"-connections", strconv.Itoa(fairConnections), "-rate", strconv.Itoa(fairRate), "-seconds", seconds(d))
	if err != nil {
		return report, err
	}
	defer clients.End()
	err = decode(clients, &report)
	return report, err
}

// seconds is a duration as a flag of bench's own clients.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) }

// decode waits for one of bench's own clients and reads its report.
func decode(p *rig.Process, into any) error {
	output, err := p.Wait()
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(output), into); err != nil {
		return fmt.Errorf("client's report %q: %w", output, err)
	}
	return nil
}
