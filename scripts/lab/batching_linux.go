package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// answerSize is a small response with its head, in bytes.
const answerSize = 160

// runBatching: answers to one connection, connections that are accepted, events that are fetched,
// each one at a time and many by one call. Everything runs on one thread.
func runBatching(l *lab) (*Outcome, error) {
	outcome := new(Outcome)
	for _, measure := range []func(*lab) (*Table, *Plot, error){answers, accepts, fetches} {
		table, plot, err := measure(l)
		if err != nil {
			return nil, err
		}
		outcome.Tables = append(outcome.Tables, *table)
		outcome.Plots = append(outcome.Plots, *plot)
	}
	return outcome, nil
}

// comparePinned is compare on one core.
func (l *lab) comparePinned(contenders []contender) (f *figures, err error) {
	err = pinned(func() error {
		f, err = compare(l.rounds, contenders)
		return err
	})
	return f, err
}

// grid makes table and plot of contenders over sizes; the first contender is the reference.
func grid(table *Table, plot *Plot, sizes []int, measure func(size int) (*figures, error)) error {
	for _, size := range sizes {
		f, err := measure(size)
		if err != nil {
			return err
		}
		row := []string{thousands(size)}
		for i, name := range f.names {
			if len(plot.Series) <= i {
				plot.Series = append(plot.Series, Series{Name: name})
				table.Head = append(table.Head, name)
			}
			row = append(row, f.timeOf(i, 0, 0))
			point := f.point(i, 0)
			point.X = float64(size)
			plot.Series[i].Points = append(plot.Series[i].Points, point)
		}
		table.Rows = append(table.Rows, row)
	}
	return nil
}

// answers sends n answers that are ready on one connection. Only the sending is timed.
func answers(l *lab) (*Table, *Plot, error) {
	table := &Table{Caption: fmt.Sprintf("Answers of %d bytes that are ready on one connection, time per answer, with the ratio to a send for each:", answerSize), Head: []string{"answers"}}
	plot := &Plot{File: "batching-answers", Form: formLines, Title: "Sending answers that are ready together",
		X: Axis{Label: "answers", Log: true}, Y: Axis{Label: "time per answer", Unit: unitTime, Log: true}}
	p, err := startPair()
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	one := bytes.Repeat([]byte{'a'}, answerSize)
	err = grid(table, plot, []int{1, 4, 16, 64}, func(n int) (*figures, error) {
		pieces := make([][]byte, n)
		for i := range pieces {
			pieces[i] = bytes.Clone(one)
		}
		joined := make([]byte, 0, n*answerSize)
		ways := []struct {
			name string
			send func() (int, error)
		}{
			{"a send each", func() (sent int, err error) {
				for _, piece := range pieces {
					n, err := netcore.Send(p.ours, piece, false)
					if sent += n; err != nil {
						return sent, err
					}
				}
				return sent, nil
			}},
			{"one writev", func() (int, error) { return netcore.Writev(p.ours, pieces) }},
			{"copied together, one send", func() (int, error) {
				joined = joined[:0]
				for _, piece := range pieces {
					joined = append(joined, piece...)
				}
				return netcore.Send(p.ours, joined, false)
			}},
		}
		var contenders []contender
		for _, w := range ways {
			contenders = append(contenders, contender{w.name, func() ([]float64, error) {
				ns, err := perUnit(l.slice, func() (int, time.Duration, error) {
					began := time.Now()
					sent, err := w.send()
					spent := time.Since(began)
					if err == nil && sent != n*answerSize {
						err = fmt.Errorf("%d of %d bytes were sent", sent, n*answerSize)
					}
					if err == nil {
						err = p.drain(sent)
					}
					return n, spent, err
				})
				return []float64{ns}, err
			}})
		}
		return l.comparePinned(contenders)
	})
	return table, plot, err
}

// pair is a connection with both ends here.
type pair struct {
	ours, theirs int
	buffer       []byte
}

func startPair() (*pair, error) {
	listener, err := netcore.Listen(loopback, netcore.ListenOptions{})
	if err != nil {
		return nil, err
	}
	defer netcore.Close(listener)
	at, err := netcore.Local(listener)
	if err != nil {
		return nil, err
	}
	p := &pair{buffer: make([]byte, 64<<10)}
	if p.theirs, err = dial(at.Addr); err != nil {
		return nil, err
	}
	if p.ours, _, err = netcore.Accept(listener); err != nil {
		netcore.Close(p.theirs)
		return nil, fmt.Errorf("accept: %w", err)
	}
	return p, nil
}

func (p *pair) close() {
	_ = netcore.ResetOnClose(p.theirs) // else the port would be held a while
	netcore.Close(p.theirs)
	netcore.Close(p.ours)
}

// drain reads n bytes at the other end.
func (p *pair) drain(n int) error {
	for n > 0 {
		got, err := unix.Read(p.theirs, p.buffer)
		if err == unix.EINTR {
			continue
		}
		if err == nil && got == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		n -= got
	}
	return nil
}

// accepts takes connections that wait in the queue of a listening socket.
func accepts(l *lab) (*Table, *Plot, error) {
	table := &Table{Caption: "Connections that wait to be accepted, time per connection from the wait to the last accept, with the ratio to one accept a wait:", Head: []string{"waiting"}}
	plot := &Plot{File: "batching-accepts", Form: formLines, Title: "Accepting connections that wait",
		X: Axis{Label: "connections that wait", Log: true}, Y: Axis{Label: "time per connection", Unit: unitTime}}
	p, err := startPeers()
	if err != nil {
		return nil, nil, err
	}
	defer p.end()
	level, err := newRawEpoll(0, fetched)
	if err != nil {
		return nil, nil, err
	}
	defer level.Close()
	if err := level.Add(p.listener); err != nil {
		return nil, nil, err
	}
	err = grid(table, plot, []int{1, 8, 64}, func(n int) (*figures, error) {
		var contenders []contender
		for _, way := range []struct {
			name  string
			burst int // accepts after a wait, at most
		}{{"one accept a wait", 1}, {"until the queue is empty", n + 1}} {
			contenders = append(contenders, contender{way.name, func() ([]float64, error) {
				ns, err := perUnit(l.slice, func() (int, time.Duration, error) {
					if err := p.do("connect %d", n); err != nil {
						return 0, 0, err
					}
					conns, spent, err := acceptAll(level, p.listener, way.burst)
					if err == nil && len(conns) != n {
						err = fmt.Errorf("%d of %d connections were accepted", len(conns), n)
					}
					if dropped := p.drop(conns); err == nil {
						err = dropped
					}
					return n, spent, err
				})
				return []float64{ns}, err
			}})
		}
		return l.comparePinned(contenders)
	})
	return table, plot, err
}

// acceptAll turns as a loop does, with at most burst accepts a turn, until a wait finds nothing.
func acceptAll(poller *rawEpoll, listener, burst int) (conns []int, spent time.Duration, err error) {
	var ready []int
	began := time.Now()
	for {
		if ready, err = poller.Look(ready[:0]); err != nil || len(ready) == 0 {
			return conns, time.Since(began), err
		}
		for range burst {
			fd, _, err := netcore.Accept(listener)
			if err == unix.EAGAIN {
				break
			}
			if err != nil {
				return conns, 0, fmt.Errorf("accept: %w", err)
			}
			conns = append(conns, fd)
		}
	}
}

// fetches takes the events of connections that are all ready, some by each call.
func fetches(l *lab) (*Table, *Plot, error) {
	const connections = 1024
	table := &Table{Caption: thousands(connections) + " ready connections, time per event by the number of events that one epoll_wait may return:", Head: []string{"events a call"}}
	plot := &Plot{File: "batching-events", Form: formLines, Title: "Fetching the events of " + thousands(connections) + " ready connections",
		X: Axis{Label: "events that one epoll_wait may return", Log: true}, Y: Axis{Label: "time per event", Unit: unitTime, Log: true}}
	p, err := startPeers()
	if err != nil {
		return nil, nil, err
	}
	defer p.end()
	conns, err := p.connect(connections)
	if err != nil {
		return nil, nil, err
	}
	// Nobody reads, so that a level-triggered set reports them again and again, in turn.
	if err := p.do("write 0 1 %d", connections); err != nil {
		return nil, nil, err
	}
	sizes := []int{1, 8, 64, 256, 1024}
	var contenders []contender
	for _, size := range sizes {
		e, err := newRawEpoll(0, size)
		if err != nil {
			return nil, nil, err
		}
		defer e.Close()
		for _, fd := range conns {
			if err := e.Add(fd); err != nil {
				return nil, nil, err
			}
		}
		contenders = append(contenders, contender{strconv.Itoa(size), func() ([]float64, error) {
			ready := make([]int, 0, size)
			ns, err := perUnit(l.slice, func() (found int, spent time.Duration, err error) {
				began := time.Now()
				for found < connections {
					if ready, err = e.Look(ready[:0]); err == nil && len(ready) == 0 {
						err = fmt.Errorf("%d events of %d", found, connections)
					}
					if err != nil {
						return 0, 0, err
					}
					found += len(ready)
				}
				return found, time.Since(began), nil
			})
			return []float64{ns}, err
		}})
	}
	f, err := l.comparePinned(contenders)
	if err != nil {
		return nil, nil, err
	}
	table.Head = append(table.Head, "time per event")
	plot.Series = []Series{{Name: "epoll_wait"}}
	for i, size := range sizes {
		table.Rows = append(table.Rows, []string{thousands(size), f.timeOf(i, 0, 0)})
		point := f.point(i, 0)
		point.X = float64(size)
		plot.Series[0].Points = append(plot.Series[0].Points, point)
	}
	return table, plot, p.drop(conns)
}
