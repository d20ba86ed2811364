package main

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tined/tined/netcore"
)

// connection is the state that is fought for: as large in every scheme, a cache line.
type connection struct {
	mu       sync.Mutex
	sequence uint64
	bytes    uint64
	_        [40]byte
}

// advance is what one event does to a connection.
func (c *connection) advance(bytes uint64) {
	c.sequence++
	c.bytes += bytes
}

// completion names a connection, as workers do it in a child.
type completion struct {
	connection int32
	bytes      uint64
}

const (
	// deliverers are the workers that finish requests of the loop's connections.
	deliverers = 2
	// loopTurn is how many events of its own the loop serves before it looks at its queue.
	loopTurn = 64
	// underWay bounds the completions that the loop has not seen, as limits do in a child.
	underWay = 1024
)

// owned is one scheme: how the loop and the workers change a connection.
type owned struct {
	name string
	// touch is an event of the loop itself.
	touch func(c *connection, bytes uint64)
	// deliver is a worker's completion; nil: it goes through the queue, and the loop applies it.
	deliver func(c *connection, bytes uint64)
}

func schemes() []owned {
	var all sync.Mutex
	each := func(c *connection, bytes uint64) {
		c.mu.Lock()
		c.advance(bytes)
		c.mu.Unlock()
	}
	one := func(c *connection, bytes uint64) {
		all.Lock()
		c.advance(bytes)
		all.Unlock()
	}
	return []owned{
		{"a mutex per connection", each, each},
		{"one mutex for all", one, one},
		{"one owner, netcore.Queue", (*connection).advance, nil},
	}
}

// runOwnership measures what the loop pays for an event when nobody interferes, and what loop and
// workers pay together when both have something to do to random connections.
func runOwnership(l *lab) (*Outcome, error) {
	alone := Table{Caption: "An event on a random connection, nobody else there:"}
	both := Table{Caption: "One event of the loop and one completion of a worker, on random connections, 2 workers:"}
	var names []string
	for _, s := range schemes() {
		names = append(names, s.name)
	}
	alone.Head = append([]string{"connections"}, names...)
	both.Head = append([]string{"GOMAXPROCS", "connections"}, names...)
	plot := Plot{File: "ownership", Form: formBars, Title: "One event of the loop and one completion of a worker",
		Y: Axis{Label: "time for both", Unit: unitTime}}
	for _, name := range names {
		plot.Series = append(plot.Series, Series{Name: name})
	}
	for _, count := range []int{1, 100, 10_000} {
		f, err := l.own(count, (*ownership).loopAlone)
		if err != nil {
			return nil, err
		}
		alone.Rows = append(alone.Rows, f.row(thousands(count)))
	}
	for _, procs := range []int{1, 2} {
		for _, count := range []int{1, 100, 10_000} {
			err := withProcs(procs, func() error {
				f, err := l.own(count, (*ownership).loopAndWorkers)
				if err != nil {
					return err
				}
				both.Rows = append(both.Rows, f.row(strconv.Itoa(procs), thousands(count)))
				for i := range plot.Series {
					point := f.point(i, 0)
					point.Group = "GOMAXPROCS=" + strconv.Itoa(procs) + ", " + thousands(count) + " connections"
					plot.Series[i].Points = append(plot.Series[i].Points, point)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return &Outcome{Tables: []Table{alone, both}, Plots: []Plot{plot}}, nil
}

// row is a line of a table: the last contender is the reference.
func (f *figures) row(cells ...string) []string {
	for i := range f.names {
		cells = append(cells, f.timeOf(i, len(f.names)-1, 0))
	}
	return cells
}

// ownership is one contender at work.
type ownership struct {
	owned
	conns []connection
	order []int32 // random connections
	queue netcore.Queue[completion]
	taken []completion
}

func (l *lab) own(count int, batch func(*ownership, int)) (*figures, error) {
	random := rand.New(rand.NewPCG(3, uint64(count)))
	order := make([]int32, 1<<14)
	for i := range order {
		order[i] = int32(random.IntN(count))
	}
	var contenders []contender
	for _, s := range schemes() {
		o := &ownership{owned: s, conns: make([]connection, count), order: order}
		n := l.scaled(1 << 16)
		contenders = append(contenders, contender{s.name, func() ([]float64, error) {
			ns, err := perUnit(l.slice, func() (int, time.Duration, error) {
				began := time.Now()
				batch(o, n)
				return n, time.Since(began), nil
			})
			return []float64{ns}, err
		}})
	}
	return compare(l.rounds, contenders)
}

// pick is the connection of event i.
func (o *ownership) pick(i int) *connection { return &o.conns[o.order[i&(len(o.order)-1)]] }

// loopAlone serves n events of the loop.
func (o *ownership) loopAlone(n int) {
	for i := range n {
		o.touch(o.pick(i), 1)
	}
}

// loopAndWorkers serves n events of the loop while workers finish n requests. The loop does not
// sleep: waking it costs the same in every scheme, and somebody must do it in every scheme.
func (o *ownership) loopAndWorkers(n int) {
	n -= n % deliverers
	var workers sync.WaitGroup
	var applied atomic.Int64
	for w := range deliverers {
		workers.Go(func() {
			for i := w; i < n; i += deliverers {
				at := o.order[(i*7)&(len(o.order)-1)]
				if o.deliver != nil {
					o.deliver(&o.conns[at], 100)
					continue
				}
				for i%loopTurn < deliverers && int64(i)-applied.Load() > underWay {
					runtime.Gosched()
				}
				o.queue.Push(completion{at, 100})
			}
		})
	}
	take := func() {
		if o.deliver != nil {
			return
		}
		o.taken = o.queue.Take(o.taken)
		for _, c := range o.taken {
			o.conns[c.connection].advance(c.bytes)
		}
		applied.Add(int64(len(o.taken)))
	}
	for i := range n {
		o.touch(o.pick(i), 1)
		if i%loopTurn == loopTurn-1 {
			take()
		}
	}
	for o.deliver == nil && applied.Load() < int64(n) {
		take()
		runtime.Gosched()
	}
	workers.Wait()
}
