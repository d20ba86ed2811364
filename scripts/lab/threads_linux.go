package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/scripts/internal/rig"
)

// watchers is how many threads poll the one connection.
const watchers = 4

// handling is how long a thread works on what it has read.
const handling = 300 * time.Microsecond

// glance is how long the lab sleeps between looks whether others sleep: it leaves them the core.
const glance = 50 * time.Microsecond

// sharing is a way in which several threads wait for one connection.
type sharing struct {
	name  string
	own   bool // an epoll set for each thread, the connection in all of them; else one set for all
	flags uint32
}

var sharings = []sharing{
	{"one set, level", false, 0},
	{"one set, edge", false, edge},
	{"one set, edge, EPOLLONESHOT", false, edge | unix.EPOLLONESHOT},
	{"a set each, level", true, 0},
	{"a set each, edge", true, edge},
	{"a set each, level, EPOLLEXCLUSIVE", true, unix.EPOLLEXCLUSIVE},
	{"a set each, edge, EPOLLEXCLUSIVE", true, edge | unix.EPOLLEXCLUSIVE},
}

// runThreads counts who wakes for a message, who finds nothing, and how often two threads work on
// one connection at once when a message comes in two parts.
func runThreads(l *lab) (*Outcome, error) {
	table := Table{
		Caption: fmt.Sprintf("%d threads wait for one connection. Per message, and of messages whose second half comes while the first is handled:", watchers),
		Head:    []string{"how they wait", "threads woken by the kernel", "returns of epoll_wait", "reads that found nothing", "two threads in one connection at once"},
	}
	plot := Plot{File: "threads", Form: formBars, Title: "One message to one connection that " + strconv.Itoa(watchers) + " threads poll",
		Y: Axis{Label: "per message"}, Series: []Series{{Name: "threads woken"}, {Name: "reads that found nothing"}, {Name: "handled twice at once"}}}
	for _, s := range sharings {
		var f *figures
		// A thread that comes back from the kernel must find a processor of Go's at once.
		err := withProcs(watchers+4, func() error {
			var err error
			f, err = compare(max(3, l.rounds/3), []contender{{s.name, func() ([]float64, error) { return l.share(s) }}})
			return err
		})
		if err != nil {
			return nil, err
		}
		row := []string{s.name}
		for kind := range 3 {
			row = append(row, count(f.of(0, kind).Median))
		}
		table.Rows = append(table.Rows, append(row, strconv.FormatFloat(100*f.of(0, 3).Median, 'f', 0, 64)+" %"))
		for series, kind := range []int{0, 2, 3} {
			point := f.point(0, kind)
			point.Group = s.name
			plot.Series[series].Points = append(plot.Series[series].Points, point)
		}
	}
	return &Outcome{Tables: []Table{table}, Plots: []Plot{plot}}, nil
}

// crowd is several threads on one connection.
type crowd struct {
	sharing
	conn    int // non-blocking
	peer    int // blocking
	sets    []*rawEpoll
	stop    int // an eventfd in every set: readable for ever when the threads shall go
	threads []int

	returns, empty, consumed atomic.Int64
	inside                   atomic.Int64 // threads that handle what they have read
	twice                    atomic.Int64 // times that one began while another had not finished
	failed                   atomic.Pointer[error]
}

// share measures one way: switches of threads, returns, empty reads a message; then the share of
// divided messages that two threads handled at once.
func (l *lab) share(s sharing) ([]float64, error) {
	c := &crowd{sharing: s}
	if err := c.open(); err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	ids := make(chan int, watchers)
	for i := range watchers {
		set := c.sets[i%len(c.sets)]
		events := &rawEpoll{fd: set.fd, flags: set.flags, events: make([]unix.EpollEvent, 8)}
		running.Go(func() {
			runtime.LockOSThread() // the thread ends with it
			ids <- unix.Gettid()
			if err := c.wait(events); err != nil {
				c.failed.Store(&err)
			}
		})
	}
	for range watchers {
		c.threads = append(c.threads, <-ids)
	}
	result, err := c.messages(l.scaled(100))
	if stopped := c.halt(); err == nil {
		err = stopped
	}
	running.Wait()
	if failed := c.failed.Load(); failed != nil && err == nil {
		err = *failed
	}
	c.close()
	return result, err
}

func (c *crowd) open() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	c.conn, c.peer = pair[0], pair[1]
	if err := unix.SetNonblock(c.conn, true); err != nil {
		return err
	}
	if c.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	sets := 1
	if c.own {
		sets = watchers
	}
	for range sets {
		e, err := newRawEpoll(c.flags, 8)
		if err != nil {
			return err
		}
		c.sets = append(c.sets, e)
		if err := e.Add(c.conn); err != nil {
			return err
		}
		if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, c.stop, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.stop)}); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return nil
}

func (c *crowd) halt() error {
	_, err := netcore.Write(c.stop, []byte{7: 1})
	return err
}

func (c *crowd) close() {
	for _, e := range c.sets {
		e.Close()
	}
	for _, fd := range []int{c.conn, c.peer, c.stop} {
		netcore.Close(fd)
	}
}

// wait is a thread's life. It reads until nothing is left, as an edge demands.
func (c *crowd) wait(set *rawEpoll) error {
	for {
		events, err := set.sleep(-1)
		if err != nil {
			return err
		}
		for _, e := range events {
			if int(e.Fd) == c.stop {
				return nil
			}
		}
		c.returns.Add(1)
		if err := c.serve(); err != nil {
			return err
		}
		if c.flags&unix.EPOLLONESHOT != 0 {
			if err := set.control(unix.EPOLL_CTL_MOD, c.conn); err != nil {
				return err
			}
		}
	}
}

func (c *crowd) serve() error {
	var b [64]byte
	for first := true; ; first = false {
		n, err := netcore.Recv(c.conn, b[:])
		if err == unix.EAGAIN {
			if first {
				c.empty.Add(1)
			}
			return nil
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("recv: %w", err)
		}
		if c.inside.Add(1) > 1 {
			c.twice.Add(1)
		}
		spin(handling)
		c.inside.Add(-1)
		c.consumed.Add(int64(n))
	}
}

// spin keeps the processor busy.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// messages sends n whole messages and n divided ones, each when all threads sleep.
func (c *crowd) messages(n int) ([]float64, error) {
	sent := int64(0)
	send := func() error {
		sent++
		_, err := unix.Write(c.peer, []byte{'x'})
		return err
	}
	if err := c.settle(sent); err != nil {
		return nil, err
	}
	switches, err := c.switches()
	if err != nil {
		return nil, err
	}
	for range n {
		if err := send(); err != nil {
			return nil, err
		}
		if err := c.settle(sent); err != nil {
			return nil, err
		}
	}
	after, err := c.switches()
	if err != nil {
		return nil, err
	}
	per := float64(n)
	result := []float64{float64(after-switches) / per, float64(c.returns.Load()) / per, float64(c.empty.Load()) / per}
	c.twice.Store(0)
	for range n {
		if err := send(); err != nil {
			return nil, err
		}
		for deadline := deadline(); c.inside.Load() == 0 && c.consumed.Load() < sent; {
			if time.Now().After(deadline) {
				return nil, errors.New("nobody has read the first half of a message")
			}
		}
		if err := send(); err != nil {
			return nil, err
		}
		if err := c.settle(sent); err != nil {
			return nil, err
		}
	}
	return append(result, float64(c.twice.Load())/per), nil
}

// settle waits until all that was sent has been read and every thread sleeps.
func (c *crowd) settle(sent int64) error {
	for deadline := deadline(); ; {
		if c.failed.Load() != nil {
			return errors.New("a thread has failed")
		}
		if c.consumed.Load() == sent && asleep(c.threads) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d bytes read, and the threads do not come to rest", c.consumed.Load(), sent)
		}
		time.Sleep(glance)
	}
}

// asleep reports whether all threads sleep.
func asleep(threads []int) bool {
	for _, id := range threads {
		if m, err := rig.Look(id); err != nil || m.State != 'S' {
			return false
		}
	}
	return true
}

// switches sums how often the threads have gone to sleep: once for every time that they were woken.
func (c *crowd) switches() (sum int64, err error) {
	for _, id := range c.threads {
		n, err := voluntarySwitches(id)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// voluntarySwitches reads proc_pid_status(5) of a thread.
func voluntarySwitches(thread int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return 0, err
	}
	return parseSwitches(string(text))
}

func parseSwitches(status string) (int64, error) {
	_, rest, found := strings.Cut(status, "\nvoluntary_ctxt_switches:")
	if !found {
		return 0, errors.New("status: no voluntary_ctxt_switches")
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}
