//go:build linux

package tined_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined"
	"github.com/tined/tined/child/web/webtest/servertest"
)

// Invariant 18. Children are killed while they count. Every acknowledged add is in the sum, once: no two got the same number, and the sum is at most
// what was tried.
func TestCounterIsExactWhenChildrenAreKilled(t *testing.T) {
	const clients, kills = 8, 6
	s := servertest.Start(t, servertest.Options{Children: 2})
	var tried atomic.Int64
	var mu sync.Mutex
	acknowledged := map[int64]bool{}
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
				tried.Add(1)
				sum, err := visit(s)
				if err != nil {
					continue // its child was killed, before or after it had counted
				}
				mu.Lock()
				if acknowledged[sum] {
					t.Errorf("%d was given twice", sum)
				}
				acknowledged[sum] = true
				mu.Unlock()
			}
		})
	}
	for i := range kills {
		s.Kill(i % 2)
	}
	close(stop)
	all.Wait()
	sum, err := strconv.ParseInt(s.Get("/visits"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	const before = 1000 // added by main, and counted once though main ran in every process
	if counted := sum - before; counted < int64(len(acknowledged)) || counted > tried.Load() {
		t.Errorf("counted %d, acknowledged %d, tried %d", counted, len(acknowledged), tried.Load())
	}
	for n := range acknowledged {
		if n <= before || n > sum {
			t.Errorf("acknowledged %d, and the sum is %d", n, sum)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was counted")
	}
}

func visit(s *servertest.Server) (int64, error) {
	response, err := s.Client.Post(s.URL+"/visit", "", nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(body), 10, 64)
}

// Invariant 18: a text that one child sets reaches the others, and outlives all of them.
func TestValueReachesEveryChild(t *testing.T) {
	const children = 3
	s := servertest.Start(t, servertest.Options{Children: children})
	everywhere(t, s, children, "from the master")
	put(t, s, "to all", http.StatusOK)
	everywhere(t, s, children, "to all")
	for i := range children {
		s.Kill(i)
	}
	everywhere(t, s, children, "to all")

	put(t, s, strings.Repeat("x", tined.MaxSharedValue), http.StatusOK)
	everywhere(t, s, children, strings.Repeat("x", tined.MaxSharedValue))
	put(t, s, strings.Repeat("x", tined.MaxSharedValue+1), http.StatusRequestEntityTooLarge)
	put(t, s, "any \xff\x00 bytes", http.StatusOK)
	everywhere(t, s, children, "any \xff\x00 bytes")
}

func put(t *testing.T, s *servertest.Server, text string, want int) {
	t.Helper()
	r, err := http.NewRequest("PUT", s.URL+"/motd", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != want {
		t.Errorf("PUT of %d bytes: %s, want %d", len(text), response.Status, want)
	}
}

// everywhere waits until every child answers with text. Connections are spread by the kernel, so each request has one of its own.
func everywhere(t *testing.T, s *servertest.Server, children int, text string) {
	t.Helper()
	seen := map[string]bool{}
	for bound := time.Now().Add(20 * time.Second); time.Now().Before(bound); {
		s.Client.CloseIdleConnections()
		if index, got, _ := strings.Cut(s.Get("/motd"), " "); got == text {
			seen[index] = true
		}
		if len(seen) == children {
			return
		}
	}
	t.Fatalf("only children %v have %.40q", seen, text)
}

// Whoever waits for a change is told of it, whichever child made it.
func TestValueTellsOfChanges(t *testing.T) {
	const waiting = 6
	s := servertest.Start(t, servertest.Options{Children: 2})
	var all sync.WaitGroup
	for range waiting {
		all.Go(func() {
			response, err := s.Client.Get(s.URL + "/next")
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if got, err := io.ReadAll(response.Body); err != nil || string(got) != "17" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	s.AwaitLogs("waiting for a change", waiting)
	response, err := s.Client.Post(s.URL+"/limit?to=17", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	all.Wait()
}

// A single process has all of it in its own memory, and is a server like any other.
func TestSingleProcess(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Children: 4, Args: []string{"--single-process"}})
	if all := s.Children(); len(all) != 1 || all[0].Pid != s.Pid() || all[0].State != "serving" {
		t.Fatalf("%+v", all)
	}
	if got, want := s.Get("/pid"), strconv.Itoa(s.Pid())+" 0"; got != want {
		t.Errorf("pid and index %q, want %q", got, want)
	}
	if !strings.Contains(s.Log(), " in one process") && !strings.Contains(s.Log(), " with one process") {
		t.Error("the start line does not say that it is one process")
	}
	for want := int64(1001); want < 1004; want++ {
		if got, err := visit(s); err != nil || got != want {
			t.Errorf("%d, %v, want %d", got, err, want)
		}
	}
	put(t, s, "set", http.StatusOK)
	if got := s.Get("/motd"); got != "0 set" {
		t.Errorf("%q", got)
	}
	// ^C ends it at once, a handler that goes on for ever notwithstanding.
	response, err := s.Client.Get(s.URL + "/until-drain")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	s.Signal(syscall.SIGINT)
	s.Wait()
}

// In a program without processes everything works in its own memory.
func TestSharedStateWithoutProcesses(t *testing.T) {
	p := tined.New(tined.Options{})
	c, v := p.SharedCounter("c"), p.SharedValue("v")
	if c.Add(3) != 3 || c.Add(-1) != 2 || c.Load() != 2 {
		t.Errorf("the counter is %d", c.Load())
	}
	changed := v.Changed()
	if err := v.Set("text"); err != nil || v.Get() != "text" {
		t.Errorf("%q, %v", v.Get(), err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the change")
	}
	if tined.IsChild() || tined.ChildIndex() != -1 {
		t.Errorf("a test is a child: %v %d", tined.IsChild(), tined.ChildIndex())
	}
}
