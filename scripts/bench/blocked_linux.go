package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
	"github.com/tined/tined/scripts/internal/stats"
)

// blockedCase is the name of the case.
const blockedCase = "blocked"

const (
	// sleepTime and sleepRate are the calls of the route that sleeps. So sleepTime*sleepRate handlers wait at a time.
	sleepTime = 10 * time.Second
	sleepRate = 100
	// firstGap is between two of the calls that come before the steady rate: a server's own queue of connections must hold their burst.
	firstGap = 500 * time.Microsecond
	// blockedTime of the ordinary clients in one round: 40 answers are beyond the p99.
	blockedTime = time.Second
	// blockedPatience bounds the wait for a state of the server.
	blockedPatience = 20 * time.Second

	sleepPath  = "/sleep"
	sleepRoute = `  route "GET ` + sleepPath + `" {
    function "sleep" {}
  }
`
)

// blockedBar is for the ratio of another route's p99 beside a route whose handlers all sleep, to that of a server without.
var blockedBar = Bar{Value: 2, Gross: 50}

// A bed is a server with a route that sleeps, and what its sleepers come to.
type bed struct {
	name    string
	workers int // the most of each child, 0: the default
	first   int // calls to begin with
	busy    int // handlers that sleep then, at least
	refuses bool
	*rig.Server
}

// beds: with the default, all calls of sleepTime sleep; with few workers, most calls wait, and those beyond the queue are refused.
var beds = []bed{
	{name: "default workers", first: int(sleepTime.Seconds()) * sleepRate, busy: int(sleepTime.Seconds()) * sleepRate * 9 / 10},
	{name: "64 workers", workers: 64, first: 2000, busy: 2 * 48, refuses: true},
}

// blocked measures a route whose handlers answer at once, on a server of two children that is undisturbed, and on one where another
// route's handlers all sleep.
func (b *bench) blocked() (*Result, error) {
	quiet, err := b.startBed(bed{})
	if err != nil {
		return nil, err
	}
	defer quiet.End()
	disturbed := slices.Clone(beds)
	for i := range disturbed {
		if disturbed[i].Server, err = b.startBed(disturbed[i]); err != nil {
			return nil, err
		}
		defer disturbed[i].End()
	}
	var alone []float64
	beside := make([][]float64, len(beds))
	for round := range b.rounds {
		report, err := b.ordinary(quiet.Address, pooledPath, blockedTime)
		if err != nil {
			return nil, fmt.Errorf("%s: alone: %w", blockedCase, err)
		}
		alone = append(alone, report.P99)
		line := fmt.Sprintf("alone p50 %.0f p99 %.0f µs", report.P50, report.P99)
		for i := range disturbed {
			d := &disturbed[i]
			report, sleep, err := b.besideSleepers(d)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", blockedCase, d.name, err)
			}
			beside[i] = append(beside[i], report.P99)
			line += fmt.Sprintf("; %s (%d calls, %d refused) p50 %.0f p99 %.0f µs", d.name, sleep.Calls, sleep.Refused, report.P50, report.P99)
		}
		b.progress(blockedCase, round, tined, line)
	}
	result := &Result{Case: blockedCase, Figures: []Figures{{Server: tined, P99: alone}}}
	for i := range beds {
		bar := blockedBar
		bar.What = "p99 beside handlers that sleep, " + beds[i].name + ", to alone"
		result.Bars = append(result.Bars, judge(tined, bar, stats.Paired(beside[i], alone)))
	}
	return result, nil
}

// startBed starts a server of two children on the server's core. Its first clients are not counted.
func (b *bench) startBed(d bed) (*rig.Server, error) {
	folder, err := os.MkdirTemp(b.folder, "sleeper-")
	if err != nil {
		return nil, err
	}
	s, err := rig.Tined(b.crew, serverCore, b.programs[sleeper], folder, rig.Site{Root: b.root, Children: 2, Routes: pooledRoute + sleepRoute})
	if err != nil {
		return nil, err
	}
	if d.workers > 0 {
		out, err := exec.Command(b.programs[sleeper], "workers", "2", strconv.Itoa(d.workers), "--control", s.Control).CombinedOutput()
		if err != nil {
			s.End()
			return nil, fmt.Errorf("%w: %s", err, out)
		}
	}
	if _, err := b.ordinary(s.Address, pooledPath, blockedTime); err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// besideSleepers measures the other route of d once its sleepers sleep, and waits until they have gone.
func (b *bench) besideSleepers(d *bed) (report openLoopReport, sleep sleepersReport, err error) {
	before, err := b.lookAt(d)
	if err != nil {
		return report, sleep, err
	}
	callers, err := b.crew.Start(loadCore, nil, "chrt", "-i", "0", b.self, "sleepers", "-address", d.Address, "-first", strconv.Itoa(d.first))
	if err != nil {
		return report, sleep, err
	}
	defer callers.End()
	err = b.until(d, callers, func(n sleepingNumbers) bool { return n.begun-before.begun >= d.first && n.busy >= d.busy })
	if err != nil {
		return report, sleep, err
	}
	if report, err = b.ordinary(d.Address, pooledPath, blockedTime); err != nil {
		return report, sleep, err
	}
	// In the idle class it may take a while until it has reported.
	_ = syscall.Kill(callers.Pid, syscall.SIGTERM)
	select {
	case <-callers.Ended():
	case <-time.After(blockedPatience):
	}
	callers.End()
	if err := decode(callers, &sleep); err != nil {
		return report, sleep, err
	}
	switch {
	case sleep.Failed > 0:
		return report, sleep, fmt.Errorf("%d of %d calls failed: %s", sleep.Failed, sleep.Calls, sleep.Failure)
	case d.refuses != (sleep.Refused > 0):
		return report, sleep, fmt.Errorf("%d of %d calls were refused", sleep.Refused, sleep.Calls)
	}
	return report, sleep, b.until(d, nil, func(n sleepingNumbers) bool { return n.busy == 0 && n.waiting == 0 })
}

// sleepingNumbers are sums over a server's children.
type sleepingNumbers struct {
	begun   int // requests, ever
	busy    int
	waiting int
}

// lookAt reads the numbers of a server.
func (b *bench) lookAt(d *bed) (n sleepingNumbers, err error) {
	var told struct {
		Children []struct {
			Numbers struct {
				Exchanges int `json:"exchanges"`
				Busy      int `json:"workers_busy"`
				Queued    int `json:"queued"`
			} `json:"numbers"`
		} `json:"children"`
	}
	out, err := exec.Command(b.programs[sleeper], "status", "--json", "--control", d.Control).Output()
	if err == nil {
		err = json.Unmarshal(out, &told)
	}
	if err != nil {
		return n, fmt.Errorf("status: %w: %s", err, d.Output())
	}
	for _, c := range told.Children {
		n.begun += c.Numbers.Exchanges
		n.busy += c.Numbers.Busy
		n.waiting += c.Numbers.Queued
	}
	return n, nil
}

// until waits for a state of the server, while the other process lives, unless it is nil.
func (b *bench) until(d *bed, other *rig.Process, reached func(sleepingNumbers) bool) error {
	var ended <-chan struct{}
	if other != nil {
		ended = other.Ended()
	}
	for deadline := time.Now().Add(blockedPatience); ; {
		n, err := b.lookAt(d)
		if err != nil || reached(n) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d handlers run and %d requests wait after %v", n.busy, n.waiting, blockedPatience)
		}
		select {
		case <-ended:
			return errors.New("the client has ended: " + other.Output())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
