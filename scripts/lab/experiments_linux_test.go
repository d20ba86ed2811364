package main

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tined/tined/child/worker"
)

// Every scheme runs every job once, and its queue keeps the order.
func TestRivalsRunEverything(t *testing.T) {
	for _, r := range rivals {
		pool := r.make()
		var ran atomic.Int64
		for size := range []int{1, 7, 500} {
			b := newBurst(size+1, func() { ran.Add(1) })
			for range 3 {
				before := ran.Load()
				if err := b.submit(pool); err != nil {
					t.Fatalf("%s: %v", r.name, err)
				}
				<-b.back
				if got := ran.Load() - before; got != int64(size+1) {
					t.Errorf("%s: %d of %d jobs have run", r.name, got, size+1)
				}
			}
		}
		pool.Close()
	}
	var q jobs
	var next, oldest int
	all := make([]worker.Job, 1000)
	for next < len(all) { // two in, one out: the ring turns and grows
		q.push(&all[next])
		q.push(&all[next+1])
		next += 2
		if q.pop() != &all[oldest] {
			t.Fatalf("job %d is not the oldest", oldest)
		}
		oldest++
	}
	for ; oldest < len(all); oldest++ {
		if q.pop() != &all[oldest] {
			t.Fatalf("job %d is not the oldest", oldest)
		}
	}
	if q.pop() != nil {
		t.Error("the queue has more than it was given")
	}
}

// No scheme loses an event.
func TestOwnershipLosesNothing(t *testing.T) {
	for _, s := range schemes() {
		for _, count := range []int{1, 100} {
			o := &ownership{owned: s, conns: make([]connection, count), order: []int32{0, int32(count - 1), 0, int32(count / 2)}}
			const n = 20_000
			o.loopAndWorkers(n)
			var events, bytes uint64
			for i := range o.conns {
				events += o.conns[i].sequence
				bytes += o.conns[i].bytes
			}
			if events != 2*n || bytes != n+100*n {
				t.Errorf("%s, %d connections: %d events, %d bytes", s.name, count, events, bytes)
			}
		}
	}
}

// What the page says of closed connections is what this kernel does.
func TestClosed(t *testing.T) {
	outcome, err := runClosed(nil)
	if err != nil {
		t.Fatal(err)
	}
	for scene, want := range map[string][4]string{
		"closed while the wait sleeps":                                       {seesNothing, seesNothing, seesNothing, seesNothing},
		"closed before the wait":                                             {"EBADF", "POLLNVAL", seesNothing, seesNothing},
		"closed, but a duplicate lives; the peer sends":                      {"EBADF", "POLLNVAL", "cannot be removed (EBADF)", seesStale},
		"closed, and the number is a new connection's, whose peer sends":     {"the new connection's bytes", "the new connection's bytes", seesNothing, seesNothing},
		"the same, but a duplicate of the old lives, and the old peer sends": {seesNothing, seesNothing, "EAGAIN", seesStale},
		"shutdown(2) instead of close, while the wait sleeps":                {"end of stream", "end of stream", "end of stream", "end of stream"},
	} {
		found := false
		for _, row := range outcome.Tables[0].Rows {
			if row[0] != scene {
				continue
			}
			found = true
			for i, w := range want {
				if !strings.Contains(row[i+1], w) {
					t.Errorf("%s, %s: %q, want %q", scene, observers[i].name, row[i+1], w)
				}
			}
		}
		if !found {
			t.Errorf("no scene %q", scene)
		}
	}
}

// A connection that all processes of a herd wait for wakes them all, and a shard's wakes one.
func TestHerd(t *testing.T) {
	const size = 3
	for mode, want := range map[accepting]int{
		{"shared", waitEpoll, false}:        size,
		{"exclusive", waitExclusive, false}: 1,
		{"nested", waitNested, false}:       size,
		{"shards", waitEpoll, true}:         1,
	} {
		h, err := startHerd(mode, size)
		if err != nil {
			t.Fatalf("%s: %v", mode.name, err)
		}
		for range 3 { // the first of a new process may start threads
			before, err := h.switches()
			if err != nil {
				t.Fatal(err)
			}
			if err := h.visit(); err != nil {
				t.Fatal(err)
			}
			if err := h.rest(); err != nil {
				t.Fatal(err)
			}
			after, err := h.switches()
			if err != nil {
				t.Fatal(err)
			}
			woken := 0
			for i := range after {
				if after[i] != before[i] {
					woken++
				}
			}
			if woken < want || (want == 1 && woken == size) {
				t.Errorf("%s: %d of %d processes were woken, want %d", mode.name, woken, size, want)
			}
		}
		if got := h.count().accepted; got != 3 {
			t.Errorf("%s: %d of 3 connections were accepted", mode.name, got)
		}
		h.end()
	}
}

func TestParse(t *testing.T) {
	if n, err := parseSwitches("Name:\tx\nvoluntary_ctxt_switches:\t4711\nnonvoluntary_ctxt_switches:\t3\n"); err != nil || n != 4711 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseSwitches("Name:\tx\nnonvoluntary_ctxt_switches:\t3\n"); err == nil {
		t.Error("no error without the count")
	}
	for want, text := range map[string]string{
		"A CPU 3000":                          "processor : 0\nmodel name\t: A CPU   3000\nmodel name : other\n",
		"CPU implementer 0x41 CPU part 0xd0c": "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
		"not named by the system":             "processor: 0\n",
	} {
		if got, err := parseModel(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
}
