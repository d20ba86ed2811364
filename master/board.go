package master

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// Every life has a segment of its own on the board, which the master makes before the start, and reads whenever it likes. When the life is
// over, what it has counted is added to the past: so the sums over all children, past and living, never fall, however children end. What a
// life says is not believed: it is numbers of any kind, and the master takes them for no more than that.

// Numbers are what a child says of itself, or the sums over all that there are and have been. Counters only grow.
type Numbers struct {
	// Generation is the one that serves; 0: none yet.
	Generation uint64 `json:"generation"`
	// Connections are open now; Accepted is a counter.
	Connections int    `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	// Exchanges counts the started ones, before their first byte is written; Finished those whose
	// last byte the kernel has taken. InFlight have begun and are not over: an exchange whose client has gone is over before it is finished.
	Exchanges uint64 `json:"exchanges"`
	Finished  uint64 `json:"finished"`
	InFlight  int    `json:"in_flight"`
	// BytesIn and BytesOut are those of the clients' connections.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// ClosedByReason counts closed connections by the names of the close reasons.
	ClosedByReason map[string]uint64 `json:"closed_by_reason,omitempty"`
	// Latency is the server's own time of the finished exchanges.
	Latency Latency `json:"latency"`
	// Workers exist now, of which WorkersBusy run a handler and WorkersIdle wait for one; the others
	// are on their way. WorkersMin and WorkersMax bound them; WorkersSpawned counts those that were
	// started. All are sums over the child's pools.
	Workers        int    `json:"workers"`
	WorkersBusy    int    `json:"workers_busy"`
	WorkersIdle    int    `json:"workers_idle"`
	WorkersMin     int    `json:"workers_min"`
	WorkersMax     int    `json:"workers_max"`
	WorkersSpawned uint64 `json:"workers_spawned"`
	// Queued jobs wait, before the limit of their route or for a worker. The others are counters: of
	// jobs that a worker began, of those that found the queue full, and of those that have left the
	// count of workers while they ran, for they have taken their connection over.
	Queued   int    `json:"queued"`
	Started  uint64 `json:"started"`
	Rejected uint64 `json:"rejected"`
	Excused  uint64 `json:"excused"`
	// Retired generations still have exchanges.
	Retired int `json:"retired_generations"`
	// LogDropped is a counter of log lines that found no room.
	LogDropped uint64 `json:"log_dropped"`
}

// Latency is how long the server itself took for its exchanges, in seconds, whatever the clients' pace. It begins with the turn of the loop
// in which the head of the request was there, or the last byte of its body that the server has waited for: the last of all where the body is
// collected before the handler starts, else the last for which a Read of the handler's had to wait. It ends when the answer begins: when the
// handler has returned, or the loop has the head of what it streams. What waits in a queue or before a limit is in it; the way of the request
// and of the answer, and the content that follows a streamed head, or comes from a reader or a file, are not. Each counts when the kernel has
// the last byte of its answer. Responses that were pushed after their handler's return are not in it. P50, P90 and P99 are quantiles, wrong
// by 3.2 % at most; Max is exact. All are 0 when there was no exchange.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// lifeBoard is what a life has of the board.
type lifeBoard struct {
	life *board.Life // nil: it is over, or another version of the program has made it
}

// newBoard makes the memory of a life that is about to be started.
func (m *master) newBoard(c *child) (err error) {
	if m.past == nil {
		if m.past, err = board.CreatePast(); err != nil {
			return fmt.Errorf("board: %w", err)
		}
	}
	if c.life, err = board.CreateLife(); err != nil {
		return fmt.Errorf("board: %w", err)
	}
	return nil
}

// openLife takes the segment of an adopted child's life over. It closes f. One of another version of the program cannot be read: then the
// child is not watched, and says no numbers.
func (m *master) openLife(c *child, f *os.File) {
	life, err := board.OpenLife(f)
	_ = f.Close()
	if err != nil {
		m.log.Warn("the numbers of a child cannot be read", append(c.fields(), zap.Error(err))...)
		return
	}
	c.life = life
}

// openPast takes the sums of an earlier master over, which a child has kept. It owns f. All children of a server keep the same: only the
// first that can be read is used. Without one the sums begin anew.
func (m *master) openPast(f *os.File) {
	if m.past != nil {
		_ = f.Close()
		return
	}
	past, err := board.OpenPast(f)
	if err != nil {
		_ = f.Close()
		m.log.Warn("the sums of an earlier master cannot be read; they begin anew", zap.Error(err))
		return
	}
	m.past = past
}

// boardFiles are the descriptors of a life's segments, as control.Board wants them before that of the counters.
func (m *master) boardFiles(c *child) []int {
	return []int{int(c.life.File().Fd()), int(m.past.File().Fd())}
}

// foldBoard adds what a life has counted to the sums of those that have ended, and gives its memory back.
func (m *master) foldBoard(c *child) {
	if c.life == nil {
		return
	}
	if c.proc != nil && m.past != nil {
		m.sumUp(c)
	}
	_ = c.life.Close() // there is nothing in it that could be lost
	c.life = nil
}

// sumUp adds what a life has counted to the past. After an upgrade that is the successor's to do, which sees the same memory.
func (m *master) sumUp(c *child) {
	if m.succession.pending() { // the predecessor writes there, and nobody else may: what few lives of a trial have counted is lost with them
		return
	}
	u := m.upgrading
	if u == nil || !u.claimed {
		m.past.Add(c.life.Sums())
		return
	}
	if u.confirmed {
		u.ended.Merge(c.life.Sums())
		if !c.drained {
			u.cut += uint64(c.life.Gauge(board.WordConnections))
		}
	}
	summed := !u.confirmed || u.left
	if summed {
		m.past.Add(c.life.Sums())
	}
	if !u.left {
		u.conn.Send(&control.LifeOver{Pid: c.proc.Pid(), Summed: summed})
	}
}

// closeBoard gives back all memory of the board. The children keep theirs.
func (m *master) closeBoard() {
	for c := range m.lives {
		if c.life != nil {
			_ = c.life.Close()
			c.life = nil
		}
	}
	if m.past != nil {
		_ = m.past.Close()
		m.past = nil
	}
}

// joined reports whether the child counts on the board.
func (c *child) joined() bool { return c.life != nil && c.life.Get(board.WordPid) != 0 }

// numbers are those of a life; nil: it has none.
func (c *child) numbers() *Numbers {
	if !c.joined() {
		return nil
	}
	n := &Numbers{Generation: uint64(max(0, c.life.Get(board.WordGeneration)))}
	n.sum(c.life.Sums()) // before the gauges: see the order in package board
	n.gauge(c.life)
	return n
}

// totals are the sums over all children, those that have ended included.
func (m *master) totals() Numbers {
	n := Numbers{Generation: m.generation}
	all := new(board.Sums)
	for c := range m.lives {
		if c.joined() {
			all.Merge(c.life.Sums())
			n.gauge(c.life)
		}
	}
	if m.past != nil {
		all.Merge(m.past.Sums())
	}
	if s := m.succession; s != nil && s.confirmed {
		all.Merge(s.sums())
	}
	n.sum(all)
	return n
}

// gauge adds how things are now.
func (n *Numbers) gauge(life *board.Life) {
	for word, to := range map[board.Word]*int{
		board.WordConnections: &n.Connections, board.WordInFlight: &n.InFlight, board.WordQueued: &n.Queued, board.WordRetired: &n.Retired,
		board.WordWorkers: &n.Workers, board.WordBusy: &n.WorkersBusy, board.WordIdle: &n.WorkersIdle, board.WordMin: &n.WorkersMin,
		board.WordMax: &n.WorkersMax,
	} {
		*to += life.Gauge(word)
	}
}

// sum takes the counters.
func (n *Numbers) sum(s *board.Sums) {
	for word, to := range map[board.Word]*uint64{
		board.WordStarted: &n.Exchanges, board.WordAccepted: &n.Accepted, board.WordFinished: &n.Finished, board.WordBytesIn: &n.BytesIn,
		board.WordBytesOut: &n.BytesOut, board.WordSpawned: &n.WorkersSpawned, board.WordJobs: &n.Started, board.WordRejected: &n.Rejected,
		board.WordExcused: &n.Excused, board.WordLogDropped: &n.LogDropped,
	} {
		*to = s.Of(word)
	}
	n.ClosedByReason = map[string]uint64{}
	for reason, name := range board.CloseReasons {
		if count := s.Closed(reason); count > 0 {
			n.ClosedByReason[name] = count
		}
	}
	seconds := func(micros uint64) float64 { return float64(micros) / float64(time.Second/time.Microsecond) }
	h := &s.Latency
	n.Latency = Latency{P50: seconds(h.Quantile(0.5)), P90: seconds(h.Quantile(0.9)), P99: seconds(h.Quantile(0.99)), Max: seconds(h.Max)}
}
