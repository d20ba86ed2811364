package local

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// BenchmarkWriter compares writes a second of 64 goroutines that share transactions with those that have one each.
func BenchmarkWriter(b *testing.B) {
	for _, bench := range []struct {
		name     string
		together int
		askers   int
	}{
		{"one by one/64", 1, 64},
		{"together/1", 0, 1},
		{"together/64", 0, 64},
		{"together/256", 0, 256},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := newDesk(b, Options{})
			if bench.together > 0 {
				d.writer.together = bench.together
			}
			work := make(chan struct{}, bench.askers)
			var all sync.WaitGroup
			for asker := range bench.askers {
				all.Go(func() {
					s := engine.Statement{SQL: "INSERT INTO watched (what) VALUES (?)", Kept: true,
						Args: []engine.Arg{{Value: engine.TextOf(fmt.Sprint("of ", asker))}}}
					for range work {
						// Made anew each time, as a request is.
						batch := &engine.Batch{Policy: writable, Statements: []engine.Statement{s}, Limits: engine.Limits{Timeout: 10 * time.Second}}
						if o, err := d.execute(context.Background(), batch); err != nil || o[0].Err != nil {
							b.Error(o, err)
						}
					}
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
