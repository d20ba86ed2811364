package child

import (
	"net"
	"runtime"
	"time"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
)

const (
	// readChunk is how many bytes of one connection are read in a turn of the loop.
	readChunk = 64 << 10
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
	scratch []byte  // what the connection in turn reads into
	iov     [][]byte
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

	listeners   []*listener
	shards      []*shard
	readyShard  bool          // a shard may have more to accept
	accepting   bool          // the master has said so
	choked      bool          // accepting pauses: connections or descriptors are at their limit
	starved     []uint64      // tokens of connections whose pulled bodies wait for a place in a pool's queue
	feeding     netcore.Timer // tries again for them
	reserve     netcore.Reserve
	shortLogged int64         // when the lack of descriptors was logged last
	retry       netcore.Timer // ends choked when no connection closes

	generation *generation
	draining   bool
	drained    func() // called once, when the last connection of a draining loop has gone
	detached   map[*detachedConn]struct{}
	stopped    bool
	handed     int // jobs given to pools since the last turn
	turnLeft   int // requests that the connection in turn may still begin

	numbers numbers
	host    host
}

// host is what the loop needs from its child.
type host interface {
	logPanic(r *web.Request, value any, stack []byte)
	logLine(level int, message string, keysAndValues ...any)
}

// numbers are the loop's counters; they only grow.
type numbers struct {
	accepted, begun, finished, bytesIn, bytesOut uint64
	closed                                       [reasonCount]uint64
}

type eventKind uint8

const (
	eventFinished eventKind = iota // a handler has returned
	eventStreamed                  // a handler has written to its stream
	eventRoom                      // a handler has read: the body may go on
	eventContinue                  // a handler reads a body that the client holds back
	eventPulled                    // a worker has read a piece of a body
	eventDetach                    // a handler wants the connection
	eventCall                      // run call on the loop
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
		l.bury()
		if debugBuild {
			l.check()
		}
		if l.generation != nil && len(l.ready) == 0 {
			l.generation.flushLogs()
		}
	}
	return nil
}

// patience is how long the loop may sleep: not at all while something is ready, else until the next deadline.
func (l *loop) patience() time.Duration {
	if len(l.ready) > 0 || l.readyShard || !l.queue.Sleep() {
		return 0
	}
	due, ok := l.wheel.Next()
	if !ok {
		return -1
	}
	return max(0, time.Duration(due-l.now))
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
		l.hungUp(c)
		return
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

// turn serves one connection: at most a chunk out, a chunk in, and what its handlers answered at once out again.
func (l *loop) turn(c *conn) {
	l.turnLeft = turnRequests
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	if !c.has(flagClosed) {
		l.advance(c)
	}
	if !c.has(flagClosed) {
		l.read(c)
	}
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	if !c.has(flagClosed) && c.out == nil {
		l.advance(c) // what the high-water mark has held back
	}
	l.settle(c)
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
		ex.dispatch = false
		if c == nil || ex.orphan {
			l.recycleOrphan(ex)
			return
		}
		ex.begunStream = ex.begunStream || ex.stream != nil
		l.finish(c, ex)
	case eventPulled:
		if c == nil || ex.orphan {
			l.closeSource(e.pull.source)
			l.recycleOrphan(ex)
			return
		}
		l.pulled(c, ex)
	case eventStreamed:
		if c == nil || ex.orphan || ex.serial != e.serial || ex.sequence != e.sequence || ex.stream == nil {
			return
		}
		ex.begunStream = true
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
		return
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

// advance encodes what is next in order, as long as there is room, and makes sure that input which waited is looked at again.
func (l *loop) advance(c *conn) {
	for c.out.unsent() < highWater && !c.has(flagClosed) {
		ex := c.pipeline.head()
		if ex == nil {
			break
		}
		if c.has(flagLast) && !c.pipeline.answering() {
			break // the answer before it was the last
		}
		if ex.begunStream {
			if !l.pumpStream(c, ex) {
				break
			}
			continue
		}
		if ex.reader != nil {
			l.pullMore(c, ex)
			break
		}
		if !ex.finished {
			if ex.wantGo && ex.expected {
				ex.expected = false
				l.putTail(c, append(l.tail(c), "HTTP/1.1 100 Continue\r\n\r\n"...))
			}
			break
		}
		if ex.aborted {
			l.abort(c)
			break
		}
		l.encode(c, ex)
		if ex.reader != nil {
			break
		}
	}
	if !c.has(flagClosed) {
		l.reap(c)
		if len(c.in) > 0 && !c.partial() && !l.stalled(c) {
			c.set(flagInput)
		}
	}
}

// abort gives a connection up whose response cannot be completed. What is queued still leaves, for it may belong to earlier responses.
func (l *loop) abort(c *conn) {
	c.why = reasonAborted
	c.set(flagNoMore | flagLast)
	if ex := c.pipeline.head(); ex != nil && ex.delimitedByClose() {
		_ = netcore.ResetOnClose(int(c.fd)) // an orderly end would make the part look like the whole
	}
	for ex := c.pipeline.pending.pop(); ex != nil; ex = c.pipeline.pending.pop() {
		l.desert(c, ex, reasonAborted)
	}
	c.pipeline.unsafe = 0
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	if c.out == nil && !c.has(flagClosed) {
		l.close(c, reasonAborted)
	}
}

// finish takes an exchange whose response is complete.
func (l *loop) finish(c *conn, ex *exchange) {
	if r := c.receiver; r != nil && r.ex == ex {
		r.forget()
		if c.current == ex {
			c.current = nil
		}
	}
	c.pipeline.finish(ex)
}

// stalled reports whether the next request has to wait before it is even parsed.
func (l *loop) stalled(c *conn) bool {
	p := &c.pipeline
	if c.has(flagWaitEmpty) {
		if p.head() != nil {
			return true
		}
		c.unset(flagWaitEmpty)
	}
	return p.unsafe > 0 && c.receiver == nil || p.depth() >= l.limits(c).pipelineDepth || c.out.unsent() >= highWater
}

// wantsInput reports whether the connection should be read from now.
func (l *loop) wantsInput(c *conn) bool {
	switch {
	case c.has(flagLingering):
		return true
	case c.has(flagEOF | flagLast):
		return false
	case c.receiver != nil:
		return c.receiver.flow == nil || !c.receiver.flow.full()
	case c.has(flagNoMore):
		return false
	}
	return !l.stalled(c)
}

// settle leaves a connection after it has had its turn: closes it when it is done, tells the poller what to watch, sets the deadline,
// and keeps it in the ready list while it has something to do.
func (l *loop) settle(c *conn) {
	if c.has(flagClosed) {
		return
	}
	if c.has(flagNoMore) && !c.busy() {
		c.set(flagLast)
	}
	if c.out == nil && c.has(flagLast) && !c.has(flagLingering) && !c.pipeline.answering() {
		l.endOfAnswers(c)
		if c.has(flagClosed) {
			return
		}
	}
	if c.has(flagEOF) && !c.has(flagLingering) && !c.busy() && !c.has(flagInput) {
		l.close(c, c.reasonOfEnd())
		return
	}
	if l.draining && !c.busy() && len(c.in) == 0 && c.exchanges > 0 && !c.has(flagReadable|flagLingering) {
		c.why = reasonDrain
		l.linger(c)
		if c.has(flagClosed) {
			return
		}
	}
	l.watch(c)
	l.setDeadline(c)
	wants := l.wantsInput(c)
	if c.has(flagReadable) && wants || c.out != nil && c.has(flagWritable) || c.has(flagInput) && wants {
		l.makeReady(c)
	}
}

// watch keeps the poller's interest what it should be. A connection that is read and answered in its first turn, and closed, is never
// registered at all.
func (l *loop) watch(c *conn) {
	want := c.interest
	if l.wantsInput(c) {
		want |= netcore.Readable
	} // withdrawn only when an event comes while paused: most pauses are over before
	if c.out != nil && !c.has(flagWritable) {
		want |= netcore.Writable
	} else {
		want &^= netcore.Writable
	}
	if want != c.interest || !c.has(flagRegistered) {
		l.setInterest(c, want)
	}
}

func (l *loop) setInterest(c *conn, want netcore.Readiness) {
	token := netcore.MakeToken(int(c.fd), c.serial)
	var err error
	if c.has(flagRegistered) {
		err = l.poller.Modify(int(c.fd), want, token)
	} else {
		err = l.poller.Add(int(c.fd), want, token)
	}
	if err != nil {
		l.host.logLine(levelError, "poller", "error", err, "fd", c.fd)
		l.close(c, reasonSystem)
		return
	}
	c.set(flagRegistered)
	c.interest = want
}

// endOfAnswers closes a connection after its last response, gently where the client may still be sending.
func (l *loop) endOfAnswers(c *conn) {
	if c.has(flagLinger) || c.receiver != nil || len(c.in) > 0 {
		l.linger(c)
		return
	}
	l.close(c, c.why)
}

// linger shuts our side down and drops what the client still sends, so that the system does not answer it with a reset that would
// destroy the response on its way (RFC 9112, 9.6).
func (l *loop) linger(c *conn) {
	c.set(flagLingering | flagLast)
	l.dropInput(c)
	if c.has(flagEOF) {
		l.close(c, c.why)
		return
	}
	if err := c.transport.closeNotify(c); err != nil {
		l.close(c, c.why)
	}
}

// dropInput forgets what was received and will not be parsed.
func (l *loop) dropInput(c *conn) {
	if c.in != nil {
		l.buffers.Put(c.in)
		c.in = nil
	}
	c.unset(flagInput)
	if r := c.receiver; r != nil {
		if r.flow != nil {
			r.flow.fail(errClientGone)
		}
		c.receiver = nil
		l.putReceiver(r)
	}
	c.current = nil
}

// reasonOfEnd is why a connection closes whose peer has ended its side and that owes nothing.
func (c *conn) reasonOfEnd() closeReason {
	switch {
	case c.why != reasonNone:
		return c.why
	case len(c.in) > 0:
		return reasonClientGone
	}
	return reasonClientDone
}

// close ends a connection at once.
func (l *loop) close(c *conn, why closeReason) {
	if c.has(flagClosed) {
		return
	}
	l.release(c, why)
	if c.has(flagRegistered) {
		l.poller.Forget(int(c.fd))
	}
	netcore.Close(int(c.fd)) // nothing can be done about an error; the descriptor is gone in any case (close(2))
	l.gone(c)
}

// release ends everything that hangs on a connection but its socket.
func (l *loop) release(c *conn, why closeReason) {
	c.set(flagClosed)
	if c.role != roleSelf {
		l.numbers.closed[why]++
	}
	l.wheel.Cancel(&c.timer)
	if c.out != nil {
		l.dropOutput(c)
	}
	if r := c.receiver; r != nil {
		if r.flow != nil {
			r.flow.fail(errClientGone)
		}
		c.receiver = nil
		l.putReceiver(r)
	}
	current := c.current
	c.current = nil
	if current != nil && !current.listed {
		l.recycle(current)
	}
	for ex := c.pipeline.sending.pop(); ex != nil; ex = c.pipeline.sending.pop() {
		l.ended(c, ex, why)
	}
	for ex := c.pipeline.pending.pop(); ex != nil; ex = c.pipeline.pending.pop() {
		l.desert(c, ex, why)
	}
	if c.in != nil {
		l.buffers.Put(c.in)
		c.in = nil
	}
	l.table.Remove(int(c.fd), c.serial)
}

// gone gives the object of a closed connection back at the end of the turn: whoever has closed it may still look at its flags.
func (l *loop) gone(c *conn) {
	if l.choked {
		l.unchoke()
	}
	if !c.has(flagReady) {
		l.closed = append(l.closed, c)
	}
	l.checkDrained()
}

// desert leaves an exchange whose connection has gone, or whose place another has taken.
func (l *loop) desert(c *conn, ex *exchange, why closeReason) {
	ex.leave()
	l.logAccess(c, ex, why)
	if ex.dispatch && !ex.route.pool.Remove(&ex.job) {
		ex.orphan = true // the worker gives it back
		return
	}
	ex.dispatch = false
	if p := ex.reader; p != nil {
		if p.reading && !ex.route.pool.Remove(&p.job) {
			ex.orphan = true // so does the one that reads its body
			return
		}
		l.closeSource(p.source)
	}
	l.recycleOrphan(ex)
}

// recycleOrphan gives back an exchange whose response nobody will read.
func (l *loop) recycleOrphan(ex *exchange) {
	l.discard(web.OutcomeOf(&ex.resp))
	l.recycle(ex)
}

// reap ends the exchanges whose response has left.
func (l *loop) reap(c *conn) {
	for ex := c.pipeline.sending.first; ex != nil && ex.end <= c.sent; ex = c.pipeline.sending.first {
		c.pipeline.sending.pop()
		l.ended(c, ex, reasonNone)
	}
}

// ended takes an exchange whose response has left (why is reasonNone) or will not.
func (l *loop) ended(c *conn, ex *exchange, why closeReason) {
	if why == reasonNone && c.role != roleSelf {
		l.numbers.finished++
	}
	l.logAccess(c, ex, why)
	if ex.finished {
		l.recycle(ex)
	}
}

// recycle makes the memory of an exchange free for the next.
func (l *loop) recycle(ex *exchange) {
	ex.setState(Closed)
	if ex.gen != nil {
		ex.gen.leave()
		ex.gen = nil
	}
	if l.freeExchange.length >= freeExchanges || cap(ex.logged) > 4096 {
		return
	}
	ex.route = nil
	ex.req.Body, *web.OutcomeOf(&ex.resp) = web.Body{}, web.Outcome{} // they may hold much memory, and this one may be free for long
	ex.stream, ex.body, ex.reader = nil, nil, nil
	ex.begun, ex.begunStream, ex.finished, ex.orphan, ex.wantGo, ex.aborted, ex.expected = false, false, false, false, false, false, false
	ex.logged = ex.logged[:0]
	ex.gone.Store(false)
	l.freeExchange.push(ex)
}

func (l *loop) takeExchange() *exchange {
	ex := l.freeExchange.pop()
	if ex == nil {
		ex = &exchange{loop: l, state: Closed}
		ex.job.Task = ex
	}
	ex.setState(WaitingForHead)
	ex.parser.Reset()
	return ex
}

func (l *loop) takeConn() *conn {
	if n := len(l.freeConn); n > 0 {
		c := l.freeConn[n-1]
		l.freeConn = l.freeConn[:n-1]
		return c
	}
	return new(conn)
}

// bury keeps the objects of the turn's closed connections for the next ones.
func (l *loop) bury() {
	for i, c := range l.closed {
		l.closed[i] = nil
		if len(l.freeConn) < freeConns {
			*c = conn{}
			l.freeConn = append(l.freeConn, c)
		}
	}
	l.closed = l.closed[:0]
}

func (l *loop) takeOutput() *output {
	if n := len(l.freeOutput); n > 0 {
		o := l.freeOutput[n-1]
		l.freeOutput = l.freeOutput[:n-1]
		return o
	}
	return new(output)
}

func (l *loop) giveOutput(o *output) {
	if len(l.freeOutput) < freeOutputs {
		l.freeOutput = append(l.freeOutput, o)
	}
}

func (l *loop) takeTail() []byte {
	if t := l.spare; t != nil {
		l.spare = nil
		return t
	}
	return l.buffers.Get(4 << 10)
}

func (l *loop) giveTail(t []byte) {
	if l.spare == nil && cap(t) <= 1<<20 {
		l.spare = t[:0]
		return
	}
	l.buffers.Put(t)
}

func (l *loop) takeChunk() []byte {
	c := l.chunk
	l.chunk = nil
	return c
}

func (l *loop) giveChunk(c []byte) {
	if cap(c) <= 2*streamWindow {
		l.chunk = c[:0]
	}
}

func (l *loop) takeReceiver() *receiver {
	if n := len(l.freeReceiver); n > 0 {
		r := l.freeReceiver[n-1]
		l.freeReceiver = l.freeReceiver[:n-1]
		return r
	}
	return new(receiver)
}

func (l *loop) putReceiver(r *receiver) {
	if len(l.freeReceiver) < freeReceivers {
		r.chunked.Reset()
		*r = receiver{chunked: r.chunked}
		l.freeReceiver = append(l.freeReceiver, r)
	}
}

// limits returns the bounds that hold for a connection.
func (l *loop) limits(*conn) *limits { return &l.generation.limits }

// stop ends run after the present turn. It is called on the loop.
func (l *loop) stop() { l.stopped = true }

// logPanic reports a handler's panic; any goroutine.
func (l *loop) logPanic(r *web.Request, value any, stack []byte) { l.host.logPanic(r, value, stack) }

var _ net.Conn = (*detachedConn)(nil)
