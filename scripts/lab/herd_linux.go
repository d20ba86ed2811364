package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/scripts/internal/rig"
)

// accepting is a way in which several processes wait for clients.
type accepting struct {
	name   string
	mode   string
	shards bool // each has a socket of its own, by SO_REUSEPORT; else all have the same one
}

// acceptings, the server's last: it is what the others are compared with.
var acceptings = []accepting{
	{"one socket, epoll level", waitEpoll, false},
	{"one socket, epoll edge", waitEdge, false},
	{"one socket, EPOLLEXCLUSIVE", waitExclusive, false},
	{"one socket, EPOLLEXCLUSIVE nested", waitNested, false},
	{"one socket, netcore's poller", waitLibrary, false},
	{"one socket, blocking accept", waitAccept, false},
	{"a shard each, epoll level", waitEpoll, true},
	{"a shard each, netcore's poller", waitLibrary, true},
}

const (
	// herdClients connect at the same time when there is load.
	herdClients = 8
	// loadedHerd is how many processes accept then.
	loadedHerd = 4
)

// runHerd counts who wakes for a single client, and what a connection costs when many come.
func runHerd(l *lab) (*Outcome, error) {
	counts := Table{Caption: "A client connects while all processes sleep. Processes that the kernel wakes per connection, in parentheses loops that come back from " +
		"their wait and find nothing, and the CPU time of all processes:", Head: []string{"how they wait"}}
	plot := Plot{File: "herd", Form: formBars, Title: "One client connects to idle processes",
		Y: Axis{Label: "processes woken per connection"}}
	for _, a := range acceptings {
		counts.Rows = append(counts.Rows, []string{a.name})
		plot.Series = append(plot.Series, Series{Name: a.name})
	}
	for _, size := range []int{2, 4, 8} {
		counts.Head = append(counts.Head, strconv.Itoa(size)+" processes")
		for i, a := range acceptings {
			cell, point, err := l.single(a, size)
			if err != nil {
				return nil, fmt.Errorf("%s, %d processes: %w", a.name, size, err)
			}
			point.Group = strconv.Itoa(size) + " processes"
			counts.Rows[i] = append(counts.Rows[i], cell)
			plot.Series[i].Points = append(plot.Series[i].Points, point)
		}
	}
	loaded, err := l.loaded()
	if err != nil {
		return nil, err
	}
	return &Outcome{Tables: []Table{counts, *loaded}, Plots: []Plot{plot}}, nil
}

// single lets clients connect one after the other, each when all processes sleep.
func (l *lab) single(a accepting, size int) (string, Point, error) {
	h, err := startHerd(a, size)
	if err != nil {
		return "", Point{}, err
	}
	defer h.end()
	clients := l.scaled(100)
	f, err := compare(3, []contender{{a.name, func() ([]float64, error) {
		if err := h.rest(); err != nil {
			return nil, err
		}
		before := h.count()
		cpu, err := rig.CPU(h.members)
		if err != nil {
			return nil, err
		}
		woken := 0
		last, err := h.switches()
		if err != nil {
			return nil, err
		}
		for range clients {
			if err := h.visit(); err != nil {
				return nil, err
			}
			if err := h.rest(); err != nil {
				return nil, err
			}
			now, err := h.switches()
			if err != nil {
				return nil, err
			}
			for i := range now {
				if now[i] != last[i] {
					woken++
				}
			}
			last = now
		}
		used, err := rig.CPU(h.members)
		if err != nil {
			return nil, err
		}
		after := h.count()
		if got := after.accepted - before.accepted; got != int64(clients) {
			return nil, fmt.Errorf("%d clients, %d accepted", clients, got)
		}
		per := float64(clients)
		return []float64{float64(woken) / per, float64(after.empty-before.empty) / per, float64(used-cpu) / per}, nil
	}}})
	if err != nil {
		return "", Point{}, err
	}
	return count(f.of(0, 0).Median) + " (" + count(f.of(0, 1).Median) + "), " + duration(f.of(0, 2).Median), f.point(0, 0), nil
}

// loaded lets several clients connect as fast as they are taken.
func (l *lab) loaded() (*Table, error) {
	table := &Table{
		Caption: fmt.Sprintf("%d clients connect as fast as they are accepted, %d processes. Per connection, with the ratio to shards and netcore's poller:", herdClients, loadedHerd),
		Head:    []string{"how they wait", "CPU of the processes", "wake-ups", "wake-ups that found nothing"},
	}
	var contenders []contender
	for _, a := range acceptings {
		h, err := startHerd(a, loadedHerd)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		defer h.end()
		contenders = append(contenders, contender{a.name, func() ([]float64, error) { return h.storm(2 * l.slice) }})
	}
	f, err := compare(l.rounds, contenders)
	if err != nil {
		return nil, err
	}
	for i, a := range acceptings {
		table.Rows = append(table.Rows, []string{a.name, f.timeOf(i, len(acceptings)-1, 0), count(f.of(i, 1).Median), count(f.of(i, 2).Median)})
	}
	return table, nil
}

// herd is several processes that accept on one address.
type herd struct {
	address netip.AddrPort
	board   *board
	helpers []helper
	members []rig.Member
}

func startHerd(a accepting, size int) (_ *herd, err error) {
	b, memory, err := newBoard()
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	h := &herd{board: b}
	defer func() {
		if err != nil {
			h.end()
		}
	}()
	at := loopback
	var listener *os.File
	defer func() { listener.Close() }() // of nil it is an error that nobody sees
	for i := range size {
		if listener == nil || a.shards {
			listener.Close()
			fd, err := netcore.Listen(at, netcore.ListenOptions{ReusePort: a.shards})
			if err != nil {
				return nil, err
			}
			if a.mode == waitAccept {
				if err := unix.SetNonblock(fd, false); err != nil {
					return nil, err
				}
			}
			if at, err = netcore.Local(fd); err != nil {
				return nil, err
			}
			listener = os.NewFile(uintptr(fd), "listener")
		}
		// One processor of Go's, as a child of the server has.
		p, err := startHelper([]*os.File{listener, memory}, []string{"GOMAXPROCS=1"}, "acceptor", a.mode, strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		h.helpers = append(h.helpers, p)
		m, err := rig.Look(p.process.Process.Pid)
		if err != nil {
			return nil, err
		}
		h.members = append(h.members, m)
	}
	h.address = at.Addr
	for i := range size {
		for until := deadline(); b[i].begun.Load() == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				return nil, errors.New("a process does not begin to accept")
			}
		}
	}
	return h, h.rest()
}

func (h *herd) end() {
	for i := range h.helpers {
		h.helpers[i].in.Close()
	}
	for i := range h.helpers {
		_ = h.helpers[i].process.Wait() // what it did is counted, how it ends is of no interest
	}
	h.board.free()
}

// rest waits until every thread of every process sleeps.
func (h *herd) rest() error {
	for until := deadline(); ; time.Sleep(glance) {
		still := true
		for _, m := range h.members {
			threads, err := threadsOf(m.Pid)
			if err != nil {
				return err
			}
			still = still && asleep(threads)
		}
		if still {
			return nil
		}
		if time.Now().After(until) {
			return errors.New("the processes do not come to rest")
		}
	}
}

// switches is how often the threads of each process have gone to sleep. Go never ends a
// thread of these, so a process that was woken has a larger number.
func (h *herd) switches() ([]int64, error) {
	all := make([]int64, len(h.members))
	for i, m := range h.members {
		threads, err := threadsOf(m.Pid)
		if err != nil {
			return nil, err
		}
		for _, id := range threads {
			n, err := voluntarySwitches(id)
			if err != nil {
				return nil, err
			}
			all[i] += n
		}
	}
	return all, nil
}

// threadsOf lists the threads of a process.
func threadsOf(pid int) ([]int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var threads []int
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		threads = append(threads, id)
	}
	return threads, nil
}

// sums over all processes.
type sums struct{ accepted, returns, empty int64 }

func (h *herd) count() (s sums) {
	for i := range h.helpers {
		t := &h.board[i]
		s.accepted += t.accepted.Load()
		s.returns += t.returns.Load()
		s.empty += t.empty.Load()
	}
	return s
}

// visit connects and waits until the connection was accepted and reset.
func (h *herd) visit() error {
	fd, err := dial(h.address)
	if errors.Is(err, unix.ECONNRESET) {
		return nil // accepted and reset before connect returned
	}
	if err != nil {
		return err
	}
	defer netcore.Close(fd)
	if err := readable(fd); err != nil {
		return fmt.Errorf("not accepted: %w", err)
	}
	return nil
}

// storm lets clients come for the slice: the processes' CPU time, wake-ups and vain wake-ups a connection.
func (h *herd) storm(slice time.Duration) ([]float64, error) {
	if err := h.rest(); err != nil {
		return nil, err
	}
	before := h.count()
	cpu, err := rig.CPU(h.members)
	if err != nil {
		return nil, err
	}
	var clients sync.WaitGroup
	failures := make(chan error, herdClients)
	end := time.Now().Add(slice)
	for range herdClients {
		clients.Go(func() {
			for time.Now().Before(end) {
				if err := h.visit(); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	clients.Wait()
	select {
	case err := <-failures:
		return nil, err
	default:
	}
	if err := h.rest(); err != nil {
		return nil, err
	}
	used, err := rig.CPU(h.members)
	if err != nil {
		return nil, err
	}
	after := h.count()
	per := float64(after.accepted - before.accepted)
	if per == 0 {
		return nil, errors.New("nothing was accepted")
	}
	return []float64{float64(used-cpu) / per, float64(after.returns-before.returns) / per, float64(after.empty-before.empty) / per}, nil
}
