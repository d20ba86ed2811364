package child

import (
	"runtime"
	"time"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
)

const (
	// readChunk is how many bytes of one connection are read in a turn of the loop, unless so many are ready that each gets its share of
	// turnRead, at least readLeast: one waits for all the others, so the more there are, the less each may take.
	readChunk = 64 << 10
	turnRead  = 1 << 20
	readLeast = 4 << 10
	// turnRequests is how many requests of one connection are begun in a turn: a chunk of pipelined small ones would keep the others
	// waiting for most of a millisecond.
	turnRequests = 64
	// wheelTick is the precision of deadlines, in ns.
	wheelTick = int64(50 * time.Millisecond)
	// batch is how many events one Wait returns.
	batch = 256
	// freeExchanges, freeOutputs, freeConns and freeReceivers bound what is kept for use again.
	freeExchanges = 256
	freeOutputs   = 64
	freeConns     = 1024
	freeReceivers = 64
)

// tokens of descriptors that are no connections have the serial 0, which the table never gives out.
const shardSerial = 0

// A loop serves the connections of a child. Its goroutine (run) owns every field but queue, and blocks only in Poller.Wait.
type loop struct {
	poller netcore.Poller
	queue  netcore.Queue[event]
	table  netcore.Table[conn]
	wheel  *netcore.Wheel
	events []netcore.Event
	taken  []event

	now    int64 // monotonic ns, once a turn
	start  int64 // of the loop
	second int64 // of the wall clock, once a turn
	epoch  int64 // wall clock ns minus monotonic ns, refreshed with the date
	dateAt int64
	date   []byte // "Server: …\r\nDate: …\r\n"

	begin200 []byte // status line of a 200 with date

	ready   []*conn // served round-robin: one chunk in, one chunk out for each, a turn
	serving []*conn // the turn's part of ready
	touched []*conn // what the queue was about
	crowd   int     // connections that are served in this turn
	ebb     ebb
	scratch []byte // what the connection in turn reads into
	iov     [][]byte
	copied  []byte // ranges of files on their way to the connection in turn; nil until the first
	spare   []byte // a tail for the connection in turn
	chunk   []byte // for streams
	buffers netcore.Buffers
	match   web.Match
	view    string // the bytes that match was made on

	freeConn     []*conn
	closed       []*conn // in this turn
	freeExchange list
	freeOutput   []*output
	freeReceiver []*receiver

	listeners  []*listener
	shards     []*shard
	readyShard bool          // a shard may have more to accept
	accepting  bool          // the master has said so
	choked     bool          // accepting pauses: connections or descriptors are at their limit
	starved    []uint64      // tokens of connections whose pulled bodies wait for a place in a pool's queue
	feeding    netcore.Timer // tries again for them
	disk       disk
	reserve    netcore.Reserve
	// mostConnections is how many the limit of open files allows, whatever is configured; 0: not known.
	mostConnections int
	shortLogged     int64         // when the lack of descriptors was logged last
	refusedLogged   int64         // when a connection that was refused before its first request was logged last
	retry           netcore.Timer // ends choked when no connection closes

	generation  *generation
	retired     []*generation // those that something goes on under and that were not ended, the oldest first
	aging       netcore.Timer // ends the oldest
	draining    bool
	idleCloses  bool   // of a draining loop: it does not wait for another request
	drained     func() // called once, when the last connection of a draining loop has gone
	detached    map[*detachedConn]struct{}
	moves       handoff
	drainBegins chan struct{} // closed when draining is set
	lateLogs    []*accessLog  // of retired generations, with lines that were not handed on
	stopped     bool
	handed      int // jobs given to pools since the last turn
	turnLeft    int // requests that the connection in turn may still begin

	numbers         numbers
	published       numbers     // what the life says of them
	life            *board.Life // where the loop counts: memory of its own until the master's comes
	watched         bool        // life is the master's: the loop turns now and then, so that it is not taken to hang
	turns           int64
	exchanges       int   // that have begun and are not over
	retirees        int   // generations that are retired and have exchanges
	stale           bool  // the life's gauges are not of now
	gauged          int64 // when they were
	gaugedExchanges int   // at that time
	host            host
}

// host is what the loop needs from its child.
type host interface {
	logPanic(r *web.Request, value any, stack []byte)
	logLine(level int, message string, keysAndValues ...any)
	// gauge writes to the life what the loop does not know by itself.
	gauge(life *board.Life)
}

// numbers are the loop's counters; they only grow.
type numbers struct {
	accepted, begun, finished, bytesIn, bytesOut uint64
	refused                                      uint64 // by a gate or its pool
	movedIn                                      uint64 // connections that other children have given
	serverErrors                                 uint64 // of finished: with a status from 500 on
	closed                                       [reasonCount]uint64
}

type eventKind uint8

const (
	eventFinished  eventKind = iota // a handler has returned
	eventStreamed                   // a handler has written to its stream
	eventRoom                       // a handler has read: the body may go on
	eventContinue                   // a handler reads a body that the client holds back
	eventPulled                     // a worker has read a piece of a body
	eventDetach                     // a handler wants the connection
	eventInform                     // a handler has an informational response
	eventDeadline                   // a handler has set a deadline
	eventReadLate                   // the deadline of a body has passed
	eventWriteLate                  // the deadline of a response has passed
	eventPushed                     // a handler has begun a push stream (ex), or somebody has pushed to one (no ex)
	eventFetched                    // a worker has read a part of a file
	eventCall                       // run call on the loop
)

// An event is what others tell the loop. Connection and exchange are named by descriptor, serial and sequence; ex is only looked at
// when they still fit.
type event struct {
	kind     eventKind
	fd       int32
	serial   uint32
	sequence uint32
	ex       *exchange
	pull     *pull
	fetch    *diskFetch
	answer   chan detached
	call     func()
}

func newLoop(poller netcore.Poller, h host) *loop {
	now := netcore.Now()
	l := &loop{
		poller:  poller,
		wheel:   netcore.NewWheel(wheelTick, now),
		events:  make([]netcore.Event, batch),
		now:     now,
		start:   now,
		scratch: make([]byte, readChunk),
		iov:     make([][]byte, 0, pieces),
		host:    h,
		life:    board.NewLife(),
		moves:   handoff{answerBound: answerBound},
		disk:    newDisk(),

		drainBegins: make(chan struct{}),
	}
	l.tick()
	return l
}

// post tells the loop something, from any goroutine, and wakes it if it sleeps.
func (l *loop) post(e event) {
	if l.queue.Push(e) {
		l.poller.Wake() // an error means that the poller is closed: the loop has ended
	}
}

// call runs f on the loop.
func (l *loop) call(f func()) { l.post(event{kind: eventCall, call: f}) }

// run turns until stop.
func (l *loop) run() error {
	defer l.report()
	for !l.stopped {
		n, err := l.poller.Wait(l.events, l.patience())
		l.queue.Awake()
		if err != nil {
			return err
		}
		l.tick()
		for i := range l.events[:n] {
			l.notice(&l.events[i])
		}
		l.acceptTurn()
		l.serveReady()
		l.drainQueue()
		if l.handed > 0 {
			// Let the workers run before the next system call: with one P they are waiting for this goroutine, and most will have
			// their answer ready when it is back.
			l.handed = 0
			runtime.Gosched()
			l.drainQueue()
		}
		l.wheel.Advance(l.now, l.expired)
		l.giveTurn()
		l.watchEbb()
		l.bury()
		l.publish()
		if debugBuild {
			l.check()
		}
		if len(l.ready) == 0 {
			l.flushLogs()
		}
	}
	return nil
}

// patience is how long the loop may sleep: not at all while something is ready, else until the next deadline.
func (l *loop) patience() time.Duration {
	if len(l.ready) > 0 || l.readyShard || l.moves.more || !l.queue.Sleep() {
		return 0
	}
	wait := time.Duration(-1)
	if due, ok := l.wheel.Next(); ok {
		wait = max(0, time.Duration(due-l.now))
	}
	if l.watched && (wait < 0 || wait > l.beat()) {
		return l.beat()
	}
	return wait
}

// tick reads the clocks, once a turn.
func (l *loop) tick() {
	l.now = netcore.Now()
	if l.now-l.start+l.epoch < (l.second+1)*int64(time.Second) && l.epoch != 0 {
		return
	}
	wall := time.Now()
	l.epoch = wall.UnixNano() - (l.now - l.start)
	l.second = wall.Unix()
}

// freshDate encodes the date once a second.
func (l *loop) freshDate() {
	l.dateAt = l.second
	l.date = append(l.date[:0], "Server: tined\r\nDate: "...)
	l.date = http1.AppendDate(l.date, time.Unix(l.second, 0))
	l.date = append(l.date, "\r\n"...)
	l.begin200 = append(http1.AppendStatusLine(l.begin200[:0], 200), l.date...)
}

// notice takes one event of the poller.
func (l *loop) notice(e *netcore.Event) {
	fd, serial := netcore.SplitToken(e.Token)
	if serial == shardSerial {
		l.shardReady(fd)
		return
	}
	c := l.table.Get(fd, serial)
	if c == nil {
		return // closed since the system saw it
	}
	if e.Ready&netcore.Hangup != 0 {
		if !l.readsFirst(c, e.Ready) {
			l.hungUp(c)
			return
		}
		c.set(flagEnd | flagReadable)
	}
	if e.Ready&netcore.PeerClosed != 0 {
		c.set(flagEnd | flagReadable)
	}
	if e.Ready&netcore.Readable != 0 {
		c.set(flagReadable)
	}
	if e.Ready&netcore.Writable != 0 {
		c.set(flagWritable)
	}
	if c.has(flagReadable) && c.interest&netcore.Readable != 0 && !l.wantsInput(c) {
		l.setInterest(c, c.interest&^netcore.Readable) // paused: what comes now must not wake the loop again
	}
	l.makeReady(c)
}

// readsFirst reports whether what a connection has brought before both its directions died is still to be read: a request, or the rest
// of one, that was sent whole is served, as it is when the client has only ended its side. A lingering close reads it too: bytes that
// nobody has read make a reset of the close. A reset by the client is seen by the read itself.
func (l *loop) readsFirst(c *conn, ready netcore.Readiness) bool {
	if ready&netcore.Readable == 0 || !l.wantsInput(c) {
		return false
	}
	return c.has(flagLingering) || c.receiver != nil || c.pipeline.empty()
}

// hungUp takes a connection whose both directions are dead.
func (l *loop) hungUp(c *conn) {
	switch {
	case c.has(flagLingering):
		l.close(c, c.why)
	case c.busy():
		l.close(c, reasonClientGone)
	default:
		l.close(c, reasonClientDone)
	}
}

// share is what one of the connections that are served in this turn gets of total: most when there are few of them, least when many.
func (l *loop) share(total, most, least int) int {
	return min(most, max(least, total/max(1, l.crowd)))
}

func (l *loop) makeReady(c *conn) {
	if !c.has(flagReady) {
		c.set(flagReady)
		l.ready = append(l.ready, c)
	} else if debugBuild {
		l.assertReady(c)
	}
}

// assertReady checks that a connection is in the ready list exactly once.
func (l *loop) assertReady(c *conn) {
	times := 0
	for _, list := range [][]*conn{l.ready, l.serving} {
		for _, other := range list {
			if other == c {
				times++
			}
		}
	}
	if times != 1 {
		panic("child: a ready connection is in the ready list more or less than once")
	}
}

// serveReady gives every ready connection one turn. Those that are still ready afterwards wait for the next.
func (l *loop) serveReady() {
	l.serving, l.ready = l.ready, l.serving[:0]
	l.crowd = len(l.serving)
	for i, c := range l.serving {
		l.serving[i] = nil
		c.unset(flagReady)
		if c.has(flagClosed) {
			l.closed = append(l.closed, c)
			continue
		}
		l.turn(c)
	}
	l.serving = l.serving[:0]
}

// drainQueue takes what others have told the loop, and then serves each connection that it was about once: answers that came together
// leave together.
func (l *loop) drainQueue() {
	l.taken = l.queue.Take(l.taken[:0])
	for i := range l.taken {
		l.told(&l.taken[i])
		l.taken[i] = event{}
	}
	for i, c := range l.touched {
		l.touched[i] = nil
		c.unset(flagTouched)
		if c.out != nil && c.has(flagWritable) {
			l.flush(c)
		}
		if !c.has(flagClosed) && c.out == nil {
			l.advance(c) // what the high-water mark has held back
		}
		l.settle(c)
	}
	l.touched = l.touched[:0]
	if len(l.starved) > 0 && len(l.taken) > 0 {
		l.feed()
	}
}

func (l *loop) told(e *event) {
	if e.kind == eventCall {
		e.call()
		return
	}
	c := l.table.Get(int(e.fd), e.serial)
	ex := e.ex
	switch e.kind {
	case eventFinished:
		if ex.dispatch { // not one that was excused
			l.returned(ex)
		}
		if c == nil || ex.orphan {
			l.recycleOrphan(ex)
			return
		}
		ex.begunStream = ex.begunStream || ex.stream != nil
		ex.pushing = ex.pushing || ex.push != nil
		l.finish(c, ex)
	case eventPulled:
		if c == nil || ex.orphan {
			l.closeSource(ex, e.pull.source)
			l.recycleOrphan(ex)
			return
		}
		l.pulled(c, ex)
	case eventFetched:
		if e.fetch.orphan {
			l.endFetch(e.fetch)
			return
		}
		l.fetched(c, e.fetch)
	case eventStreamed:
		if c == nil || ex.orphan || ex.serial != e.serial || ex.sequence != e.sequence || ex.stream == nil {
			return
		}
		ex.begunStream = true
		ex.answers()
	case eventInform:
		if c == nil || ex.orphan || ex.serial != e.serial || ex.sequence != e.sequence {
			return
		}
		ex.informing = true
	case eventPushed:
		if c == nil || ex != nil && (ex.orphan || ex.serial != e.serial || ex.sequence != e.sequence || ex.push == nil) {
			return
		}
		if ex != nil {
			ex.pushing = true
		}
	case eventDeadline, eventReadLate, eventWriteLate:
		if c == nil {
			return
		}
		switch e.kind {
		case eventReadLate:
			l.readLate(c, e.sequence)
		case eventWriteLate:
			l.writeLate(c, e.sequence)
		}
	case eventRoom, eventContinue:
		if c == nil || ex.orphan || ex.serial != e.serial || ex.sequence != e.sequence {
			return
		}
		if e.kind == eventContinue {
			ex.wantGo = true
		}
		if len(c.in) > 0 {
			c.set(flagInput)
		}
	case eventDetach:
		e.answer <- l.detach(c, ex)
		if c == nil {
			return
		}
	}
	if c.has(flagClosed) {
		return
	}
	l.advance(c)
	if !c.has(flagTouched) {
		c.set(flagTouched)
		l.touched = append(l.touched, c)
	}
}

// limits returns the bounds that hold for a connection.
func (l *loop) limits(*conn) *limits { return &l.generation.limits }

// stop ends run after the present turn. It is called on the loop.
func (l *loop) stop() { l.stopped = true }

// logPanic reports a handler's panic; any goroutine.
func (l *loop) logPanic(r *web.Request, value any, stack []byte) { l.host.logPanic(r, value, stack) }
