package netcore

import (
	"slices"
	"sync"
	"testing"
)

func TestQueue(t *testing.T) {
	var q Queue[int]
	if got := q.Take(nil); len(got) != 0 {
		t.Errorf("an empty queue has %v", got)
	}
	if q.Push(1) || q.Push(2) {
		t.Error("a wake for a consumer that does not sleep")
	}
	if q.Sleep() {
		t.Error("Sleep although something waits")
	}
	if q.Push(3) {
		t.Error("a refused Sleep counts")
	}
	got := q.Take(nil)
	if !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("%v", got)
	}
	if !q.Sleep() {
		t.Error("no Sleep although nothing waits")
	}
	if !q.Push(4) || q.Push(5) {
		t.Error("not exactly one producer is told to wake")
	}
	if got = q.Take(got); !slices.Equal(got, []int{4, 5}) {
		t.Errorf("%v", got)
	}
	if !q.Sleep() {
		t.Error("no Sleep")
	}
	q.Awake()
	if q.Push(6) {
		t.Error("a wake after Awake")
	}
}

// TestQueueClearsWhatItTakesBack: a drained value is not kept alive by the room for the next ones.
func TestQueueClearsWhatItTakesBack(t *testing.T) {
	var q Queue[*int]
	q.Push(new(int))
	got := q.Take(nil)
	q.Take(got)
	if got[0] != nil {
		t.Error("the old pointer is still in the slice")
	}
}

func TestQueueDropsHugeSlices(t *testing.T) {
	var q Queue[int]
	q.Take(make([]int, 0, queueKept+1))
	if cap(q.items) != 0 {
		t.Errorf("it keeps room for %d", cap(q.items))
	}
	q.Take(make([]int, 0, queueKept))
	if cap(q.items) != queueKept {
		t.Errorf("it drops room for %d", queueKept)
	}
}

// TestQueueManyProducers: every value arrives once, in its producer's order, and the consumer sleeps on a channel as the
// loop does in its poller.
func TestQueueManyProducers(t *testing.T) {
	const producers, each = 16, 3000
	type value struct{ producer, n int }
	var q Queue[value]
	wake := make(chan struct{}, 1)
	var group sync.WaitGroup
	for p := range producers {
		group.Go(func() {
			for n := range each {
				if q.Push(value{p, n}) {
					wake <- struct{}{}
				}
			}
		})
	}
	var next [producers]int
	var got []value
	for count := 0; count < producers*each; {
		got = q.Take(got)
		count += len(got)
		for _, v := range got {
			if v.n != next[v.producer] {
				t.Fatalf("producer %d: %d, want %d", v.producer, v.n, next[v.producer])
			}
			next[v.producer]++
		}
		if len(got) == 0 && q.Sleep() {
			<-wake
			q.Awake()
		}
	}
	group.Wait()
}

func TestQueueAllocatesNothing(t *testing.T) {
	var q Queue[[4]int]
	var got [][4]int
	turn := func() {
		for i := range 8 {
			q.Push([4]int{i})
		}
		got = q.Take(got)
		q.Sleep()
		q.Awake()
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	var q Queue[[4]uint64]
	var got [][4]uint64
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q.Push([4]uint64{})
		if i&15 == 15 {
			got = q.Take(got)
		}
	}
}

func BenchmarkQueueParallel(b *testing.B) {
	var q Queue[[4]uint64]
	stop, stopped := make(chan struct{}), make(chan struct{})
	wake := make(chan struct{}, 1)
	go func() {
		defer close(stopped)
		var got [][4]uint64
		for {
			got = q.Take(got)
			if len(got) > 0 || !q.Sleep() {
				continue
			}
			select {
			case <-wake:
			case <-stop:
				return
			}
		}
	}()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if q.Push([4]uint64{}) {
				wake <- struct{}{}
			}
		}
	})
	close(stop)
	<-stopped
}
