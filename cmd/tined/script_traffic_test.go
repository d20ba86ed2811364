package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// traffic is a number of clients that ask again and again, each on a connection that it keeps, and never twice for one request.
type traffic struct {
	stop     chan struct{}
	clients  sync.WaitGroup
	answered atomic.Int64

	mu     sync.Mutex
	failed []string
}

// cmdTraffic is:
//
//	traffic start ADDR PATH CLIENTS   let clients ask for PATH from now on
//	traffic flows                     wait until they have got answers since
//	traffic end                       let them finish; a request that failed is a failure
func cmdTraffic(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "traffic")
	flags.parse(args)
	w := worldOf(ts)
	switch {
	case flags.NArg() == 4 && flags.Arg(0) == "start" && w.traffic == nil:
		var clients int
		if _, err := fmt.Sscan(flags.Arg(3), &clients); err != nil {
			ts.Fatalf("traffic: %v", err)
		}
		w.traffic = &traffic{stop: make(chan struct{})}
		for range clients {
			w.traffic.clients.Go(func() { w.traffic.client(flags.Arg(1), flags.Arg(2)) })
		}
	case flags.NArg() == 1 && flags.Arg(0) == "flows" && w.traffic != nil:
		enough := w.traffic.answered.Load() + 200
		poll(ts, "traffic flows", func() bool { return w.traffic.answered.Load() >= enough || w.traffic.failures() > 0 })
	case flags.NArg() == 1 && flags.Arg(0) == "end" && w.traffic != nil:
		t := w.traffic
		t.end()
		w.traffic = nil
		for _, f := range t.failed {
			fmt.Fprintln(ts.Stderr(), f)
		}
		if len(t.failed) > 0 {
			ts.Fatalf("traffic: %d requests failed, %d did not; the first: %s", len(t.failed), t.answered.Load(), t.failed[0])
		}
		fmt.Fprintf(ts.Stdout(), "answered %d\n", t.answered.Load())
	default:
		ts.Fatalf("usage: traffic start ADDR PATH CLIENTS | flows | end")
	}
}

func (t *traffic) end() {
	close(t.stop)
	t.clients.Wait()
}

func (t *traffic) failures() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failed)
}

// client asks until the end or a failure. It takes a new connection when the server has announced the end of the old one.
func (t *traffic) client(addr, path string) {
	fail := func(err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.failed = append(t.failed, err.Error())
	}
	for {
		c, err := dial(addr)
		if err != nil {
			fail(err)
			return
		}
		in := bufio.NewReader(c)
		for open := true; open; {
			select {
			case <-t.stop:
				c.Close()
				return
			default:
			}
			_ = c.SetDeadline(time.Now().Add(patience)) // a request on a closed connection says so
			if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
				fail(fmt.Errorf("send: %w", err))
				return
			}
			r, err := http.ReadResponse(in, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err == nil && r.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", r.StatusCode)
			}
			if err != nil {
				fail(fmt.Errorf("answer: %w", err))
				return
			}
			t.answered.Add(1)
			open = !r.Close
		}
		c.Close()
	}
}
