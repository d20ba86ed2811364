package child

import "github.com/tined/tined/child/web"

// This file keeps the memory of what is over for what comes next.

// recycle makes the memory of an exchange free for the next.
func (l *loop) recycle(ex *exchange) {
	ex.setState(Closed)
	if ex.counted {
		ex.counted = false
		l.exchanges--
	}
	if d := ex.outside; d != nil {
		d.ex, ex.outside = nil, nil
	}
	if ex.gen != nil {
		ex.gen.leave()
		ex.gen = nil
	}
	if ex.deadlines != nil {
		ex.deadlines.end()
		ex.deadlines = nil
	}
	if l.freeExchange.length >= freeExchanges || ex.bulky() {
		return
	}
	ex.route = nil
	ex.push, ex.pushing, ex.informing, ex.informs, ex.lateWrite, ex.detached = nil, false, false, nil, false, false
	ex.unlimited.Store(0)
	ex.req.Body, *web.OutcomeOf(&ex.resp) = web.Body{}, web.Outcome{} // they may hold much memory, and this one may be free for long
	web.Rest(&ex.resp)
	ex.stream, ex.body, ex.reader = nil, nil, nil
	ex.begun, ex.begunStream, ex.finished, ex.orphan, ex.wantGo, ex.aborted, ex.expected = false, false, false, false, false, false, false
	ex.logged = ex.logged[:0]
	ex.gone.Store(false)
	l.freeExchange.push(ex)
}

// What an exchange may hold and still be kept for the next: bytes of its head and of its log line, and field lines.
const (
	keptBytes = 4 << 10
	keptLines = 32
)

// bulky reports whether ex holds more memory than is worth keeping: hundreds may be free at a time, for long.
func (ex *exchange) bulky() bool {
	return ex.headBytes > keptBytes || cap(ex.parser.Head.Fields) > keptLines || cap(ex.logged) > keptBytes
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

// dropFree leaves all that is free to the garbage collector.
func (l *loop) dropFree() {
	l.buffers.Drop()
	l.spare, l.chunk = nil, nil
	l.freeConn, l.freeOutput, l.freeReceiver, l.freeExchange = nil, nil, nil, list{}
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
