package child

import (
	"fmt"
	"os"
	"time"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
)

// A child's life on the board is what the master knows of its loop, also when that hangs, or when the child is dead. So that the master can
// tell how many responses clients may have, and how many they must have, an exchange is counted as started before anything of its answer
// can leave, and as finished after all of it has. Everything else may be behind: counters by a turn, what the pools and logs have by a
// gaugeEvery.

// gaugeEvery is how often the gauges are brought up to date, and how long a loop that is watched sleeps at most.
const gaugeEvery = time.Second

// gaugeGrowth is how many exchanges more bring the gauges up to date before that: how long the loop may have to wait among handlers that
// compute, the master knows from their number.
const gaugeGrowth = 8

// enter takes the life that the master has made; what was counted so far goes on there.
func (l *loop) enter(life *board.Life) {
	life.Take(l.life)
	l.life, l.watched = life, true
	life.Set(board.WordPid, int64(os.Getpid()))
	l.stale = true
}

// beat is how long the loop may sleep while it is watched: several times within the time after which it is taken to hang.
func (l *loop) beat() time.Duration {
	if g := l.generation; g != nil && g.hangTimeout > 0 {
		return min(gaugeEvery, g.hangTimeout/4)
	}
	return gaugeEvery
}

// count counts an exchange that begins. It comes before anything is written for it.
func (l *loop) count(c *conn, ex *exchange) {
	if c.role == roleSelf {
		return
	}
	l.numbers.begun++
	l.life.Set(board.WordStarted, int64(l.numbers.begun))
	l.exchanges++
	ex.counted = true
}

// answers takes the time when the response of ex begins: its head could be written, were it the connection's next. Only the first call
// counts. The latency ends here, and not with the last byte, for what follows is as fast as the client reads; it begins with ex.ready, for
// what is before is as fast as the client sends. So it is the server's own time, whatever clients do.
func (ex *exchange) answers() {
	if ex.latency == 0 {
		ex.latency = max(1, netcore.Now()-ex.ready)
	}
}

// took counts an exchange whose last byte the kernel has taken.
func (l *loop) took(ex *exchange) {
	l.finished(ex.status())
	l.life.Took(ex.latency / int64(time.Microsecond))
}

// finished counts a final response that has left.
func (l *loop) finished(status int) {
	l.numbers.finished++
	if status >= 500 {
		l.numbers.serverErrors++
	}
}

// publish ends a turn: the master sees that the loop turns, and what it has counted.
func (l *loop) publish() {
	l.turns++
	l.life.Set(board.WordHeartbeat, l.turns)
	n, old := &l.numbers, &l.published
	if *n != *old {
		l.life.Set(board.WordAccepted, int64(n.accepted))
		l.life.Set(board.WordFinished, int64(n.finished))
		l.life.Set(board.WordBytesIn, int64(n.bytesIn))
		l.life.Set(board.WordBytesOut, int64(n.bytesOut))
		l.life.Set(board.WordMovedIn, int64(n.movedIn))
		l.life.Set(board.WordServerErrors, int64(n.serverErrors))
		*old = *n
	}
	if l.stale || l.watched && (l.now-l.gauged >= int64(gaugeEvery) || l.exchanges-l.gaugedExchanges >= gaugeGrowth) {
		l.gauge()
	}
}

// gauge brings the gauges up to date.
func (l *loop) gauge() {
	l.stale, l.gauged, l.gaugedExchanges = false, l.now, l.exchanges
	state := int64(0)
	if l.accepting {
		state |= board.StateAccepting
	}
	if l.draining {
		state |= board.StateDraining
	}
	l.life.Set(board.WordState, state)
	l.life.Set(board.WordConnections, int64(l.open()))
	l.life.Set(board.WordInFlight, int64(l.exchanges))
	l.life.Set(board.WordRetired, int64(l.retirees))
	if l.generation != nil {
		l.life.Set(board.WordGeneration, int64(l.generation.number))
	}
	l.host.gauge(l.life)
}

// report brings all of the life up to date.
func (l *loop) report() {
	l.publish()
	l.gauge()
}

// enterLife maps the life in f, which the caller keeps, and lets the loop count there.
func (ch *child) enterLife(f *os.File) error {
	life, err := board.OpenLife(f)
	if err != nil {
		return fmt.Errorf("the board: %w", err)
	}
	ch.loop.call(func() { ch.loop.enter(life) })
	return nil
}

// gauge implements host.
func (ch *child) gauge(life *board.Life) {
	var workers, busy, idle, least, most, queued int
	var spawned, jobs, excused uint64
	rejected := ch.loop.numbers.refused
	for _, s := range ch.poolStats() {
		workers, busy, idle = workers+s.Workers, busy+s.Busy, idle+s.Idle
		least, most, queued = least+s.Min, most+s.Max, queued+s.Queued
		spawned, jobs, excused, rejected = spawned+s.Spawned, jobs+s.Started, excused+s.Excused, rejected+s.Rejected
	}
	queued += ch.loop.waiting()
	life.Set(board.WordWorkers, int64(workers))
	life.Set(board.WordBusy, int64(busy))
	life.Set(board.WordIdle, int64(idle))
	life.Set(board.WordMin, int64(least))
	life.Set(board.WordMax, int64(most))
	life.Set(board.WordQueued, int64(queued))
	life.Set(board.WordSpawned, int64(spawned))
	life.Set(board.WordJobs, int64(jobs))
	life.Set(board.WordRejected, int64(rejected))
	life.Set(board.WordExcused, int64(excused))
	life.Set(board.WordLogDropped, int64(ch.sink.dropped.Load()+ch.droppedAccess()))
}
