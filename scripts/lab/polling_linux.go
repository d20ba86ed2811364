package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// spareFiles are descriptors that a process needs beside connections.
const spareFiles = 64

// fetched is how many events one epoll_wait takes: as many as netcore's.
const fetched = 256

// mechanisms of polling, the server's own last: it is what the others are compared with.
var mechanisms = []struct {
	name string
	make func(room int) (waiter, error)
}{
	{"select", func(room int) (waiter, error) { return newLibrary("select", room) }},
	{"poll", func(room int) (waiter, error) { return newLibrary("poll", room) }},
	{"epoll, level", func(room int) (waiter, error) { return newRawEpoll(0, fetched) }},
	{"epoll, edge", func(room int) (waiter, error) { return newRawEpoll(edge, fetched) }},
	{"netcore's epoll", func(room int) (waiter, error) { return newLibrary("epoll", room) }},
}

// runPolling: peers write to the active connections, then one turn of the loop looks for them. Only
// the looking is timed: the reads that follow are everybody's.
func runPolling(l *lab) (*Outcome, error) {
	p, err := startPeers()
	if err != nil {
		return nil, err
	}
	defer p.end()
	head := []string{"connections", "active"}
	for _, m := range mechanisms {
		head = append(head, m.name)
	}
	table := Table{Caption: "Time to find the active connections in one turn of a loop, and its ratio to netcore's epoll:", Head: head}
	shares := []struct {
		percent int
		file    string
	}{{1, "polling-few"}, {100, "polling-all"}}
	plots := make([]Plot, len(shares))
	for i, share := range shares {
		plots[i] = Plot{File: share.file, Form: formLines, Title: fmt.Sprintf("One look at all connections, %d %% of them active", share.percent),
			X: Axis{Label: "connections", Log: true}, Y: Axis{Label: "time of a turn's looking", Unit: unitTime, Log: true}}
		for _, m := range mechanisms {
			plots[i].Series = append(plots[i].Series, Series{Name: m.name})
		}
	}
	counts := []int{10, 100, 1000, 10_000}
	if l.quick {
		counts = []int{10, 2000}
	}
	for _, count := range counts {
		if count+spareFiles > l.files {
			table.Rows = append(table.Rows, []string{thousands(count), fmt.Sprintf("not measured: the limit of open files is %s", thousands(l.files))})
			continue
		}
		conns, err := p.connect(count)
		if err != nil {
			return nil, err
		}
		for i, share := range shares {
			active := max(1, count*share.percent/100)
			row := []string{thousands(count), thousands(active)}
			f, at, err := l.lookFor(p, conns, active)
			if err != nil {
				return nil, fmt.Errorf("%d connections, %d active: %w", count, active, err)
			}
			own := len(f.names) - 1
			for m := range mechanisms {
				if at[m] < 0 {
					row = append(row, "impossible")
					continue
				}
				row = append(row, f.timeOf(at[m], own, 0))
				point := f.point(at[m], 0)
				point.X = float64(count)
				plots[i].Series[m].Points = append(plots[i].Series[m].Points, point)
			}
			table.Rows = append(table.Rows, row)
		}
		if err := p.drop(conns); err != nil {
			return nil, err
		}
	}
	return &Outcome{Tables: []Table{table}, Plots: plots}, nil
}

// lookFor compares the mechanisms on connections of which active get a byte each turn. at is the
// place of each mechanism among the contenders, -1 for one that cannot take these descriptors.
func (l *lab) lookFor(p *peers, conns []int, active int) (f *figures, at []int, err error) {
	at = make([]int, len(mechanisms))
	var contenders []contender
	for i, m := range mechanisms {
		w, err := register(m.make, conns)
		if errors.Is(err, unix.EINVAL) {
			at[i] = -1 // select, which has no bit for them
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.name, err)
		}
		if err := w.Close(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.name, err)
		}
		at[i] = len(contenders)
		contenders = append(contenders, contender{m.name, func() ([]float64, error) {
			// Registered anew each round: readiness that others have consumed would be reported.
			w, err := register(m.make, conns)
			if err != nil {
				return nil, err
			}
			defer w.Close()
			t := &turns{waiter: w, peers: p, count: len(conns), active: active}
			if _, _, err := t.turn(); err != nil { // the first is for the caches
				return nil, err
			}
			ns, err := perUnit(l.slice, t.turn)
			return []float64{ns}, err
		}})
	}
	err = pinned(func() error {
		var err error
		f, err = compare(l.rounds, contenders)
		return err
	})
	return f, at, err
}

func register(make func(int) (waiter, error), conns []int) (waiter, error) {
	w, err := make(len(conns))
	if err != nil {
		return nil, err
	}
	for _, fd := range conns {
		if err := w.Add(fd); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// turns of a loop on connections.
type turns struct {
	waiter
	peers         *peers
	count, active int
	from          int // the first active connection of the next turn
	ready         []int
}

// turn lets the peers write, finds and reads all that have something, and says how long finding took.
func (t *turns) turn() (int, time.Duration, error) {
	step := t.count / t.active
	if err := t.peers.do("write %d %d %d", t.from, step, t.active); err != nil {
		return 0, 0, err
	}
	t.from = (t.from + 1) % t.count
	var spent time.Duration
	var b [16]byte
	for left, looks := t.active, 0; left > 0; looks++ {
		if looks > t.count+1000 {
			return 0, 0, fmt.Errorf("%d active connections were not found", left)
		}
		var err error
		began := time.Now()
		t.ready, err = t.Look(t.ready[:0])
		spent += time.Since(began)
		if err != nil {
			return 0, 0, err
		}
		for _, fd := range t.ready {
			switch n, err := netcore.Recv(fd, b[:]); err {
			case nil:
				left -= n
			case unix.EAGAIN:
			default:
				return 0, 0, fmt.Errorf("recv: %w", err)
			}
		}
	}
	return 1, spent, nil
}
