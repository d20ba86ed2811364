package main

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/scripts/internal/stats"
)

// fullBurst is how many jobs the loop hands over in a busy turn.
const fullBurst = 64

// trial is a way to use a pool, and what it gives: one figure in nanoseconds.
type trial struct {
	name string
	// chart has the trial in the plot of throughput, or else of latency; "" has it in none.
	chart string
	prepare
}

// prepare makes the measurement of a trial on a pool.
type prepare func(l *lab, pool rival) func() (float64, error)

const (
	throughput = "throughput"
	latency    = "latency"
)

// trials of every scheme: what a job costs, and how long somebody waits.
func trials() []trial {
	short := spinner(10 * time.Microsecond)
	long := spinner(200 * time.Microsecond)
	wait := func() { time.Sleep(time.Millisecond) } // for another service
	return []trial{
		{"empty, 1 at a time", throughput, perJob(1, nil)},
		{"empty, bursts of 8", throughput, perJob(8, nil)},
		{"empty, bursts of 64", throughput, perJob(fullBurst, nil)},
		{"10 µs, bursts of 64", "", perJob(fullBurst, short)},
		{"blocks 1 ms, bursts of 64", "", perJob(fullBurst, wait)},
		{"until a single job runs, median", latency, untilStart(50)},
		{"until a single job runs, p99", latency, untilStart(99)},
		{"loop's wait behind 64 of 200 µs", latency, loopDelay(long)},
	}
}

// runHandover compares the schemes, with one processor, as a child has, and with two.
func runHandover(l *lab) (*Outcome, error) {
	all := trials()
	outcome := new(Outcome)
	plots := map[string]*Plot{
		throughput: {File: "handover-cost", Form: formBars, Title: "An empty job from Submit to its end", Y: Axis{Label: "time per job", Unit: unitTime}},
		latency:    {File: "handover-wait", Form: formBars, Title: "Who waits", Y: Axis{Label: "time", Unit: unitTime, Log: true}},
	}
	for _, p := range plots {
		for _, r := range rivals {
			p.Series = append(p.Series, Series{Name: r.name})
		}
	}
	for _, procs := range []int{1, 2} {
		err := withProcs(procs, func() error {
			table, err := l.tryAll(all, procs, plots)
			if err == nil {
				outcome.Tables = append(outcome.Tables, *table)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	outcome.Plots = []Plot{*plots[throughput], *plots[latency]}
	return outcome, nil
}

// tryAll makes a table: schemes by trials.
func (l *lab) tryAll(all []trial, procs int, plots map[string]*Plot) (*Table, error) {
	table := &Table{Caption: "GOMAXPROCS=" + strconv.Itoa(procs) + ", time, and its ratio to worker.Pool:", Head: []string{"scheme"}}
	var contenders []contender
	for _, t := range all {
		table.Head = append(table.Head, t.name)
	}
	for _, r := range rivals {
		table.Rows = append(table.Rows, []string{r.name})
		pool := r.make()
		defer pool.Close()
		var measures []func() (float64, error)
		for _, t := range all {
			measures = append(measures, t.prepare(l, pool))
		}
		contenders = append(contenders, contender{r.name, func() ([]float64, error) {
			var got []float64
			for _, measure := range measures {
				v, err := measure()
				if err != nil {
					return nil, err
				}
				got = append(got, v)
			}
			return got, nil
		}})
	}
	f, err := compare(l.rounds, contenders)
	if err != nil {
		return nil, err
	}
	for i := range rivals {
		for kind, t := range all {
			table.Rows[i] = append(table.Rows[i], f.timeOf(i, len(rivals)-1, kind))
			if p := plots[t.chart]; p != nil {
				point := f.point(i, kind)
				point.Group = "GOMAXPROCS=" + strconv.Itoa(procs) + ", " + t.name
				p.Series[i].Points = append(p.Series[i].Points, point)
			}
		}
	}
	return table, nil
}

// burst is what the loop does: it hands over some jobs and then parks until they are done.
type burst struct {
	jobs []worker.Job
	left atomic.Int64
	back chan struct{}
}

// burstTask is one job of a burst.
type burstTask struct {
	burst *burst
	work  func()
}

func (t *burstTask) Run() {
	if t.work != nil {
		t.work()
	}
	if t.burst.left.Add(-1) == 0 {
		t.burst.back <- struct{}{}
	}
}

func newBurst(size int, work func()) *burst {
	b := &burst{jobs: make([]worker.Job, size), back: make(chan struct{}, 1)}
	for i := range b.jobs {
		b.jobs[i].Task = &burstTask{b, work}
	}
	return b
}

func (b *burst) submit(to rival) error {
	b.left.Store(int64(len(b.jobs)))
	for i := range b.jobs {
		if !to.Submit(&b.jobs[i]) {
			return fmt.Errorf("job %d of %d was refused", i, len(b.jobs))
		}
	}
	return nil
}

// perJob is the time from Submit to the end of the job, its share of the way back included.
func perJob(size int, work func()) prepare {
	return func(l *lab, pool rival) func() (float64, error) {
		b := newBurst(size, work)
		return func() (float64, error) {
			return perUnit(l.slice, func() (int, time.Duration, error) {
				began := time.Now()
				// The clock is read once for many, so that it costs nothing.
				turns := max(1, 256/size)
				if work != nil {
					turns = 1
				}
				for range turns {
					if err := b.submit(pool); err != nil {
						return 0, 0, err
					}
					<-b.back
				}
				return turns * size, time.Since(began), nil
			})
		}
	}
}

// untilStart is a percentile of the time from Submit until the job runs, when nothing else is to do.
func untilStart(percent int) prepare {
	return func(l *lab, pool rival) func() (float64, error) {
		var started time.Time
		b := newBurst(1, func() { started = time.Now() })
		waits := make([]float64, l.scaled(1000))
		return func() (float64, error) {
			for i := range waits {
				began := time.Now()
				if err := b.submit(pool); err != nil {
					return 0, err
				}
				<-b.back
				waits[i] = float64(started.Sub(began))
			}
			slices.Sort(waits)
			return waits[len(waits)*percent/100], nil
		}
	}
}

// loopDelay is what the loop suffers: it hands over a full burst, and the time counts from the
// first completion, which makes the loop ready, until the loop runs.
func loopDelay(work func()) prepare {
	return func(_ *lab, pool rival) func() (float64, error) {
		var first atomic.Int64
		woken := make(chan struct{}, 1)
		epoch := time.Now()
		b := newBurst(fullBurst, func() {
			work()
			if first.CompareAndSwap(0, int64(time.Since(epoch))) {
				woken <- struct{}{}
			}
		})
		once := func() (float64, error) {
			first.Store(0)
			if err := b.submit(pool); err != nil {
				return 0, err
			}
			<-woken
			waited := int64(time.Since(epoch)) - first.Load()
			<-b.back
			return float64(waited), nil
		}
		return func() (float64, error) {
			var waits [3]float64
			for i := range waits {
				var err error
				if waits[i], err = once(); err != nil {
					return 0, err
				}
			}
			return stats.Median(waits[:]), nil
		}
	}
}

// spinner returns a function that keeps a processor busy for about d. It counts turns and looks at
// no clock: what another thread takes away from it is not its work.
func spinner(d time.Duration) func() {
	loop := func(n int) (x int) {
		for i := range n {
			x += i ^ x
		}
		return x
	}
	const probe = 1 << 22
	best := time.Duration(1 << 62)
	for range 3 {
		start := time.Now()
		runtime.KeepAlive(loop(probe))
		best = min(best, time.Since(start))
	}
	n := int(int64(probe) * int64(d) / int64(best))
	return func() { runtime.KeepAlive(loop(n)) }
}
