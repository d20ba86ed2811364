package child

import (
	"math"
	"time"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/configs"
)

// LimitsSpec describes the block limits {}: every bound on what a client may send, hold or take.
func LimitsSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "limits",
		Doc:  "bounds on what a client may send, hold or take",
		Attributes: []configs.Attribute{
			{Name: "request_line", Type: configs.Size, Default: "16KiB", Min: int64(64), Max: int64(1 << 20), Doc: "longest request line; longer: 414"},
			{Name: "header_bytes", Type: configs.Size, Default: "64KiB", Min: int64(256), Max: int64(1 << 20), Doc: "all field lines of a head together; more: 431"},
			{Name: "header_count", Type: configs.Int, Default: 128, Min: 1, Max: 10000, Doc: "field lines of a head; more: 431"},
			{Name: "body", Type: configs.Size, Default: "16MiB", Min: int64(0), Doc: "largest request body; larger: 413"},
			{Name: "pipeline_depth", Type: configs.Int, Default: 64, Min: 1, Max: 10000, Doc: "unanswered requests of a connection; beyond it reading pauses"},
			{Name: "connections", Type: configs.Int, Default: 0, Min: 0, Doc: "open connections of a child, 0: as many as descriptors allow; beyond it accepting pauses"},
			{Name: "exchanges", Type: configs.Int, Default: 0, Min: 0, Doc: "requests that a connection may make before it is closed, 0: any number"},
			{Name: "head_timeout", Type: configs.Duration, Default: "10s", Min: time.Millisecond, Doc: "for a whole head, from its first byte (or the accept); later: 408"},
			{Name: "body_timeout", Type: configs.Duration, Default: "20s", Min: time.Millisecond, Doc: "period over which body_rate is judged; slower: 408"},
			{Name: "body_rate", Type: configs.Size, Default: 64, Min: int64(1), Doc: "least bytes a second that a body must bring"},
			{Name: "write_timeout", Type: configs.Duration, Default: "30s", Min: time.Millisecond, Doc: "period over which write_rate is judged; slower: close"},
			{Name: "write_rate", Type: configs.Size, Default: 64, Min: int64(1), Doc: "least bytes a second that a client must take"},
			{Name: "idle_timeout", Type: configs.Duration, Default: "75s", Min: time.Millisecond, Doc: "between two requests of a connection"},
			{Name: "handler_timeout", Type: configs.Duration, Default: "60s", Min: time.Duration(0), Doc: "for a handler to begin its answer, 0s: for ever; later: 503"},
		},
	}
}

// WorkersSpec describes the block workers {}: the child's pool.
func WorkersSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "workers",
		Doc:  "the workers of each child, on which handlers that may block run",
		Attributes: []configs.Attribute{
			{Name: "min", Type: configs.Int, Default: 2, Min: 0, Max: 100000, Doc: "workers that are always there"},
			{Name: "max", Type: configs.Int, Default: 256, Min: 1, Max: 100000, Doc: "most workers"},
			{Name: "queue", Type: configs.Int, Default: 1024, Min: 1, Max: 1000000, Doc: "requests that wait for a worker; beyond it: 503"},
			{Name: "idle", Type: configs.Duration, Default: "10s", Min: time.Millisecond, Doc: "after which a worker above min ends"},
		},
		Check: func(b *configs.Block) []configs.Problem {
			if b.Int("min") > b.Int("max") {
				return []configs.Problem{{At: "min", Message: "min is greater than max", Cure: "lower min or raise max"}}
			}
			return nil
		},
	}
}

// limits is LimitsSpec resolved. Times are nanoseconds.
type limits struct {
	http          http1.Limits
	body          int64
	pipelineDepth int
	connections   int
	exchanges     uint32

	headTimeout, bodyTimeout, writeTimeout, idleTimeout, handlerTimeout int64
	bodyLeast, writeLeast                                               int64 // bytes that each period must bring
}

func newLimits(b *configs.Block) limits {
	l := limits{
		http: http1.Limits{
			RequestLine: int(b.Size("request_line")),
			HeaderBytes: int(b.Size("header_bytes")),
			HeaderCount: b.Int("header_count"),
		},
		body:           b.Size("body"),
		pipelineDepth:  b.Int("pipeline_depth"),
		connections:    b.Int("connections"),
		exchanges:      uint32(b.Int("exchanges")),
		headTimeout:    int64(b.Duration("head_timeout")),
		bodyTimeout:    int64(b.Duration("body_timeout")),
		writeTimeout:   int64(b.Duration("write_timeout")),
		idleTimeout:    int64(b.Duration("idle_timeout")),
		handlerTimeout: int64(b.Duration("handler_timeout")),
	}
	if l.connections == 0 {
		l.connections = math.MaxInt32
	}
	if l.exchanges == 0 {
		l.exchanges = math.MaxUint32
	}
	l.bodyLeast = leastBytes(b.Size("body_rate"), l.bodyTimeout)
	l.writeLeast = leastBytes(b.Size("write_rate"), l.writeTimeout)
	return l
}

// leastBytes is what rate (bytes a second) makes in period (ns), at least 1: a period without a single byte is always too slow.
func leastBytes(rate, period int64) int64 {
	return max(1, int64(float64(rate)*float64(period)/float64(time.Second)))
}

func workerOptions(name string, b *configs.Block) worker.Options {
	return worker.Options{Name: name, Min: b.Int("min"), Max: b.Int("max"), Queue: b.Int("queue"), Idle: b.Duration("idle")}
}
