package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// openLoopDrain is how long answers are awaited after the last request was due.
const openLoopDrain = 5 * time.Second

// openLoop sends requests at fixed times, whether or not earlier ones have been answered,
// and counts an answer's latency from the time when its request should have been sent:
// a server that stalls cannot slow down the clock that measures it.
//
// Request i is due at i*gap and belongs to connection i mod n. A connection has one request
// under way; those that become due meanwhile wait, and their waiting is counted.
// One thread runs it, and it allocates nothing once it has begun.
type openLoop struct {
	epoll  int
	conns  []loopConn
	gap    time.Duration
	total  int // requests in all
	length int // bytes of one answer, the same for all
	out    []byte
	in     []byte
	// latencies of answered requests, in ns.
	latencies []int64
}

type loopConn struct {
	fd   int
	next int // requests begun on this connection
	due  int // requests of this connection that have become due
	left int // bytes of the answer that are still missing, 0: nothing is under way
}

// runOpenLoop is `bench open-loop`.
func runOpenLoop(args []string) error {
	flags := flag.NewFlagSet("open-loop", flag.ExitOnError)
	address := flags.String("address", "", "server")
	path := flags.String("path", "/plain", "path to ask for")
	connections := flags.Int("connections", fairConnections, "connections")
	rate := flags.Int("rate", fairRate, "requests a second, of all connections together")
	seconds := flags.Float64("seconds", 3, "how long")
	_ = flags.Parse(args)

	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	// Wake when it is time, not up to 50 µs later.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_TIMERSLACK: %w", err)
	}
	l, err := dialOpenLoop(*address, *path, *connections)
	if err != nil {
		return err
	}
	l.gap = time.Second / time.Duration(*rate)
	l.total = int(*seconds * float64(*rate))
	l.latencies = make([]int64, 0, l.total)
	if err := l.run(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.report())
}

func dialOpenLoop(address, path string, n int) (*openLoop, error) {
	l := &openLoop{out: []byte(request(path)), in: make([]byte, 64<<10), conns: make([]loopConn, n)}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	for i := range l.conns {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			return nil, err
		}
		_ = c.SetDeadline(time.Now().Add(idlePatience))
		if err := ask(c, path, &l.length); err != nil {
			return nil, err
		}
		f, err := c.(*net.TCPConn).File() // a duplicate, which this loop owns alone
		if err != nil {
			return nil, err
		}
		c.Close()
		fd := int(f.Fd())
		kept = append(kept, f)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, err
		}
		l.conns[i].fd = fd
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return l, nil
}

// kept keeps the files of the loop's descriptors from being collected, which closes them.
var kept []*os.File

func (l *openLoop) run() error {
	var events [64]unix.EpollEvent
	start := monotonic()
	answered, due := 0, 0
	last := start + int64(l.gap)*int64(l.total) + int64(openLoopDrain)
	for answered < l.total {
		now := monotonic()
		if now > last {
			return fmt.Errorf("%d of %d requests have no answer after %v", l.total-answered, l.total, openLoopDrain)
		}
		for ; due < l.total && start+int64(due)*int64(l.gap) <= now; due++ {
			c := &l.conns[due%len(l.conns)]
			c.due++
			if c.left == 0 {
				if err := l.send(c); err != nil {
					return err
				}
			}
		}
		wait := last - now
		if due < l.total {
			wait = max(0, start+int64(due)*int64(l.gap)-monotonic())
		}
		n, err := wait2(l.epoll, events[:], wait)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			done, err := l.receive(&l.conns[e.Fd], int(e.Fd), start)
			if err != nil {
				return err
			}
			if done {
				answered++
			}
		}
	}
	return nil
}

// send begins the connection's next request.
func (l *openLoop) send(c *loopConn) error {
	n, err := unix.Write(c.fd, l.out)
	if err != nil || n != len(l.out) {
		return fmt.Errorf("send: %d of %d bytes: %w", n, len(l.out), errors.Join(err))
	}
	c.left = l.length
	c.next++
	return nil
}

// receive reads what has come and reports whether it ends an answer.
func (l *openLoop) receive(c *loopConn, index int, start int64) (bool, error) {
	n, err := unix.Read(c.fd, l.in)
	if err == unix.EAGAIN || err == unix.EINTR {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("receive: %w", err)
	}
	if n == 0 {
		return false, errors.New("the server has closed a connection")
	}
	if c.left -= n; c.left < 0 {
		return false, fmt.Errorf("answer is %d bytes too long", -c.left)
	}
	if c.left > 0 {
		return false, nil
	}
	request := int64(c.next-1)*int64(len(l.conns)) + int64(index)
	l.latencies = append(l.latencies, monotonic()-start-request*int64(l.gap))
	if c.next < c.due {
		return true, l.send(c)
	}
	return true, nil
}

func (l *openLoop) report() openLoopReport {
	slices.Sort(l.latencies)
	return openLoopReport{
		Requests: len(l.latencies),
		P50:      micros(percentile(l.latencies, 50)),
		P99:      micros(percentile(l.latencies, 99)),
		Max:      micros(percentile(l.latencies, 100)),
	}
}

// percentile of sorted values, nearest rank.
func percentile(sorted []int64, p float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func micros(ns int64) float64 { return float64(ns) / 1e3 }

// monotonic is CLOCK_MONOTONIC in ns.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock exists
	return t.Nano()
}
