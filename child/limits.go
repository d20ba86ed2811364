package child

import (
	"math"
	"time"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
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
			{Name: "header_count", Type: configs.Int, Default: 128, Min: 4, Max: 10000, Doc: "field lines of a head; more: 431"},
			{Name: "body", Type: configs.Size, Default: "16MiB", Min: int64(0), Doc: "largest request body; larger: 413"},
			{Name: "pipeline_depth", Type: configs.Int, Default: 64, Min: 1, Max: 10000, Doc: "unanswered requests of a connection; beyond it reading pauses"},
			{Name: "connections", Type: configs.Int, Default: 0, Min: 0, Doc: "open connections of a child, 0: as many as descriptors allow; beyond it accepting pauses"},
			{Name: "exchanges", Type: configs.Int, Default: 0, Min: 0, Max: math.MaxInt32, Doc: "requests that a connection may make before it is closed, 0: any number"},
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

// RouteLimitsSpec describes the block limits {} of a route: bounds of its own beside those of limits {} at the top level.
func RouteLimitsSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "limits",
		Doc:  "bounds of one route",
		Attributes: []configs.Attribute{
			{Name: "concurrency", Type: configs.Int, Default: 0, Words: map[string]any{"auto": 0}, Min: 1, Max: 1000000,
				Doc: `handlers of the route that run at a time in a child; "auto": three quarters of the workers, all of them if no other route uses them`},
			{Name: "queue", Type: configs.Int, Default: 0, Words: map[string]any{"auto": 0}, Min: 1, Max: 1000000,
				Doc: `requests that wait for one of them, beyond it: 503; "auto": three quarters of the workers' queue, or all of it`},
			{Name: "handler_timeout", Type: configs.Duration, Min: time.Duration(0), Example: `"5s"`, Doc: "as limits.handler_timeout, which is the default"},
			{Name: "body", Type: configs.Size, Min: int64(0), Example: `"1MiB"`, Doc: "as limits.body, which is the default"},
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
			{Name: "max", Type: configs.Int, Default: 1024, Min: 1, Max: 100000, Doc: "most workers"},
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

// routeLimits are those of one route. body and handlerTimeout are -1 for what limits {} of the top level says.
type routeLimits struct {
	concurrency, queue int // 0: a share of the pool's
	body               int64
	handlerTimeout     int64 // ns
}

// newRouteLimits joins what code says of a route with its limits {}, which may be nil and wins.
func newRouteLimits(code web.Limits, b *configs.Block) routeLimits {
	l := routeLimits{concurrency: max(0, code.Concurrency), queue: max(0, code.Queue), body: -1, handlerTimeout: -1}
	if code.Body != 0 {
		l.body = max(0, code.Body)
	}
	if code.HandlerTimeout != 0 {
		l.handlerTimeout = max(0, int64(code.HandlerTimeout)) // 0: for ever
	}
	if b == nil {
		return l
	}
	if n := b.Int("concurrency"); n != 0 {
		l.concurrency = n
	}
	if n := b.Int("queue"); n != 0 {
		l.queue = n
	}
	if b.Has("body") {
		l.body = b.Size("body")
	}
	if b.Has("handler_timeout") {
		l.handlerTimeout = int64(b.Duration("handler_timeout"))
	}
	return l
}

// bodyLimit is the largest body that ex may have.
func (l *loop) bodyLimit(ex *exchange) int64 {
	if rt := ex.route; rt != nil && rt.limits.body >= 0 {
		return rt.limits.body
	}
	return ex.gen.limits.body
}

// leastBytes is what rate (bytes a second) makes in period (ns), at least 1: a period without a single byte is always too slow.
func leastBytes(rate, period int64) int64 {
	return max(1, int64(float64(rate)*float64(period)/float64(time.Second)))
}

func workerOptions(name string, b *configs.Block) worker.Options {
	return worker.Options{Name: name, Min: b.Int("min"), Max: b.Int("max"), Queue: b.Int("queue"), Idle: b.Duration("idle")}
}
