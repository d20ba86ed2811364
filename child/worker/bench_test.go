package worker

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// burst is what the benchmark submits: like the loop, it sends some jobs and then
// yields until all their completions are back.
type burst struct {
	jobs []Job
	left atomic.Int64
	back chan struct{}
}

type benchTask struct {
	burst *burst
	work  func()
}

func (t *benchTask) Run() {
	if t.work != nil {
		t.work()
	}
	if t.burst.left.Add(-1) == 0 {
		t.burst.back <- struct{}{}
	}
}

func newBurst(size int, work func()) *burst {
	b := &burst{jobs: make([]Job, size), back: make(chan struct{}, 1)}
	for i := range b.jobs {
		b.jobs[i].Task = &benchTask{b, work}
	}
	return b
}

func (b *burst) run(p *Pool) {
	b.left.Store(int64(len(b.jobs)))
	for i := range b.jobs {
		p.Submit(&b.jobs[i])
	}
	<-b.back
}

// BenchmarkHandover is the time per job from Submit to the end of its run, with the
// completions' way back shared by the burst. scripts/lab compares it with other schemes.
func BenchmarkHandover(b *testing.B) {
	works := []struct {
		name string
		work func()
	}{
		{"empty", nil},
		{"sleep", func() { time.Sleep(time.Millisecond) }}, // waits for another service
	}
	for _, procs := range []int{1, 2} {
		for _, w := range works {
			for _, size := range []int{1, 8, 64} {
				if w.name == "sleep" && size < 64 {
					continue
				}
				b.Run(fmt.Sprintf("procs=%d/%s/burst=%d", procs, w.name, size), func(b *testing.B) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					pool := New(Options{Min: 64, Max: 64, Queue: 1 << 20})
					defer pool.Close()
					burst := newBurst(size, w.work)
					burst.run(pool)
					b.ReportAllocs()
					b.ResetTimer()
					for range (b.N + size - 1) / size {
						burst.run(pool)
					}
				})
			}
		}
	}
}
