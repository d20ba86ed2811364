//go:build linux

package tined_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tined/tined/child/web/webtest/servertest"
)

// numbersOf are the totals as the master tells them.
func numbersOf(t *testing.T, s *servertest.Server) (n struct{ Exchanges, Finished, Accepted int64 }) {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(string(line), "\x00")
	socket := args[slices.Index(args, "--control")+1]
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Get("http://tined/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var status struct{ Totals any }
	status.Totals = &n
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return n
}

// Children are killed while they answer pipelines. The master knows afterwards how many responses the clients have at the least, for so
// many were whole with the kernel, and how many at the most, for so many were begun: no kill makes it lie.
func TestCountersHoldWhenChildrenAreKilled(t *testing.T) {
	const clients, depth, kills = 8, 8, 8
	s := servertest.Start(t, servertest.Options{Children: 2})
	address := strings.TrimPrefix(s.URL, "http://")
	before := numbersOf(t, s)
	var sent, complete atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				talk(address, depth, stop, &sent, &complete)
			}
		})
	}
	for i := range kills {
		s.Kill(i % 2)
		n := numbersOf(t, s)
		// What has been sent is read after the numbers, and what is complete before: at one moment they are in order.
		if most := sent.Load(); n.Exchanges-before.Exchanges > most || n.Finished > n.Exchanges {
			t.Errorf("kill %d: %+v, sent %d", i, n, most)
		}
	}
	close(stop)
	all.Wait()
	n := numbersOf(t, s)
	started, finished := n.Exchanges-before.Exchanges, n.Finished-before.Finished
	t.Logf("finished %d, complete %d, started %d, sent %d", finished, complete.Load(), started, sent.Load())
	if finished > complete.Load() || complete.Load() > started || started > sent.Load() || complete.Load() == 0 {
		t.Errorf("finished %d, complete %d, started %d, sent %d", finished, complete.Load(), started, sent.Load())
	}
	if lost := started - finished; lost > kills*clients*depth {
		t.Errorf("%d were started and not finished, more than can have been in flight", lost)
	}
}

// A child that is stopped is found and replaced; one that has nothing to do is not taken for it.
func TestStoppedChildIsReplaced(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Config: `children = 2
health {
  hang_timeout = "2s"
}
listen "test" {
  address = "127.0.0.1:0"
}
site "test" {
}
`})
	before := s.Children()
	if err := syscall.Kill(before[0].Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.AwaitLog("child hangs: its loop has not turned for")
	s.AwaitLog("child has not ended, and is killed")
	s.AwaitLog("child serves")
	after := s.Children()
	if after[0].Pid == before[0].Pid || after[1].Pid != before[1].Pid {
		t.Errorf("%+v have become %+v", before, after)
	}
}

// A child that has grown beyond its limit leaves once its successor serves.
func TestHeavyChildIsReplaced(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Config: `children = 1
health {
  memory_limit = "64MiB"
}
listen "test" {
  address = "127.0.0.1:0"
}
site "test" {
}
`})
	before := s.Children()
	s.Get("/grow")
	s.AwaitLog("more than health.memory_limit")
	s.AwaitLog("child that was replaced has ended")
	if after := s.Children(); len(after) != 1 || after[0].Pid == before[0].Pid || after[0].State != "serving" {
		t.Errorf("%+v have become %+v", before, after)
	}
	if n := numbersOf(t, s); n.Finished != 1 || n.Exchanges != 1 {
		t.Errorf("%+v, want 1 finished", n)
	}
}

// talk sends pipelines on one connection, and counts the whole responses, until the connection ends or stop is closed.
func talk(address string, depth int, stop <-chan struct{}, sent, complete *atomic.Int64) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	request := strings.Repeat("GET /pid HTTP/1.1\r\nHost: test\r\n\r\n", depth)
	for {
		select {
		case <-stop:
			return
		default:
		}
		sent.Add(int64(depth))
		_, err := io.WriteString(conn, request) // what has come back before a failure counts all the same
		for range depth {
			response, e := http.ReadResponse(in, nil)
			if e == nil {
				_, e = io.Copy(io.Discard, response.Body)
			}
			if e != nil {
				return
			}
			complete.Add(1)
		}
		if err != nil {
			return
		}
	}
}
