package child

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"net/http"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/netcore"
)

// State is where an exchange stands. Only setState changes it.
//
//	WAITING_FOR_HEAD ──► WAITING_FOR_BODY ──► BEING_PROCESSED ──► WAITING_TO_SEND_HEAD ──► WAITING_TO_SEND_BODY ──► CLOSED
//	        │ └──────── no body ───────────────►▲ │                       │                                          ▲
//	        │                                     │ └ a large body: it goes on coming in while it is processed       │
//	        └──────────────┴──────────────────────┴───────────────────────┴──── the connection is closed ────────────┘
type State uint8

const (
	// WaitingForHead: bytes of the head are fed to the parser. Refusals are answered without a handler.
	WaitingForHead State = iota
	// WaitingForBody: a small body is collected; no handler runs yet.
	WaitingForBody
	// BeingProcessed: the handler runs, waits for a worker, or has finished before an earlier exchange. A large body streams to it.
	BeingProcessed
	// WaitingToSendHead: the response is encoded, nothing of it has left.
	WaitingToSendHead
	// WaitingToSendBody: part of the response has left.
	WaitingToSendBody
	// Closed: the response has left, or the connection is gone. The memory may be used again.
	Closed
)

var stateNames = [...]string{"WAITING_FOR_HEAD", "WAITING_FOR_BODY", "BEING_PROCESSED", "WAITING_TO_SEND_HEAD", "WAITING_TO_SEND_BODY", "CLOSED"}

func (s State) String() string { return stateNames[s] }

// stateFollows is the diagram as data: bit t of entry s is set when s may become t.
var stateFollows = [...]uint8{
	WaitingForHead:    1<<WaitingForBody | 1<<BeingProcessed | 1<<WaitingToSendHead | 1<<Closed,
	WaitingForBody:    1<<BeingProcessed | 1<<WaitingToSendHead | 1<<Closed,
	BeingProcessed:    1<<WaitingToSendHead | 1<<Closed,
	WaitingToSendHead: 1<<WaitingToSendBody | 1<<Closed,
	WaitingToSendBody: 1 << Closed,
	Closed:            1 << WaitingForHead,
}

// An exchange is one request with its response. The loop owns it, but while its job is with a pool its worker owns request and
// response; the two meet in the fields under mu.
type exchange struct {
	job    worker.Job
	loop   *loop
	next   *exchange // in a pipeline or in the free list
	listed bool

	// What a completion names: the connection by descriptor and serial, the exchange by its place in the pipeline.
	fd       int32
	serial   uint32
	sequence uint32

	state       State
	safe        bool // may run beside others of the connection
	head        bool // HEAD: no body is sent
	minor       uint8
	keepAlive   bool // the client would go on with the connection
	finished    bool // the response is complete and waits for its turn
	dispatch    bool // a pool has the job
	begun       bool // the head of a streamed response is queued
	begunStream bool // the loop's copy of stream != nil
	pushing     bool // the loop's copy of push != nil
	informing   bool // informs may have something
	orphan      bool // the connection is gone, or another exchange has taken this one's place: recycle on completion
	wantGo      bool // the handler reads a body whose "100 Continue" was not sent
	aborted     bool // the handler gave up: close without an answer
	detached    bool // the handler has the connection (the handler's)
	counted     bool // it is among the loop's exchanges
	headBytes   int32

	parser   http1.Parser
	route    *route
	site     int
	gen      *generation
	started  int64  // monotonic ns, when the head was complete
	from     int64  // monotonic ns, since when nothing but the handler is waited for
	ready    int64  // monotonic ns, since when the handler has not waited for the client: that of the head, or of a later byte of the body
	latency  int64  // ns from ready until the answer began; 0: it has not
	end      uint64 // value of conn.queued behind the response's last byte
	first    uint64 // value of conn.queued before its first byte
	bodySent int64  // content bytes of the response, for the access log
	expected bool   // Expect: 100-continue

	req      web.Request
	resp     web.Response
	gateLink gateLink // before the route's gate

	frame   framing       // of reader
	reader  *pull         // body by web.Response.SendReader
	stream  *stream       // body by Write, once it streams
	push    *push         // response that outlives its handler
	outside *detachedConn // the connection that the handler has taken; the loop's
	body    *inflow       // request body that streams to the handler
	logged  []byte        // what the access log keeps of the request, in its line's form; empty without one

	peer      netip.AddrPort // of the connection
	entry     *entry         // of the connection; nothing changes in it any more
	deadlines *deadlines     // that the handler has set
	unlimited atomic.Uint32  // sides that the handler has set a deadline of: bit sideRead, bit sideWrite

	mu        sync.Mutex
	ctx       context.Context    // under mu; made on demand
	cancel    context.CancelFunc // under mu
	informs   []byte             // under mu; encoded informational responses that the loop has not taken
	lateWrite bool               // under mu; the deadline of the response has passed
	gone      atomic.Bool        // the client has gone: Write fails, the context is cancelled
}

func (ex *exchange) setState(next State) {
	if debugBuild && stateFollows[ex.state]&(1<<next) == 0 {
		panic("child: an exchange went from " + ex.state.String() + " to " + next.String())
	}
	ex.state = next
}

// Run is the worker's part: it runs the handler and reports the completion. A panic is answered with a 500.
func (ex *exchange) Run() {
	returned := false
	defer func() {
		if v := recover(); v != nil {
			ex.recovered(v)
		} else if !returned { // runtime.Goexit: nobody knows whether the answer is whole
			ex.aborted = true
		}
		ex.endOfHandler()
		ex.post(eventFinished)
	}()
	ex.route.handler.Serve(&ex.resp, &ex.req)
	returned = true
}

// post tells the loop something about the exchange.
func (ex *exchange) post(kind eventKind) {
	ex.loop.post(event{kind: kind, fd: ex.fd, serial: ex.serial, sequence: ex.sequence, ex: ex})
}

// recovered turns a handler's panic into an answer, or into an abort where one has begun.
func (ex *exchange) recovered(v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		ex.aborted = true
		return
	}
	ex.loop.logPanic(&ex.req, v, debug.Stack())
	if !ex.retry() {
		ex.aborted = true
		return
	}
	web.Error(&ex.resp, 500)
}

// retry empties the response for another answer. What it gives back may panic in its turn.
func (ex *exchange) retry() (emptied bool) {
	defer func() {
		if v := recover(); v != nil {
			ex.loop.logPanic(&ex.req, v, debug.Stack())
			emptied = false
		}
	}()
	return web.Retry(&ex.resp)
}

// endOfHandler ends what a handler may use only while it runs.
func (ex *exchange) endOfHandler() {
	ex.mu.Lock()
	if ex.cancel != nil {
		ex.cancel()
	}
	ex.ctx, ex.cancel = nil, nil
	ex.mu.Unlock()
	if ex.stream != nil {
		ex.stream.end()
	}
	if ex.body != nil {
		ex.body.abandon()
	}
	web.Finish(&ex.req)
}

// leave tells a running handler that its client has gone.
func (ex *exchange) leave() {
	ex.gone.Store(true)
	ex.mu.Lock()
	if ex.cancel != nil {
		ex.cancel()
	}
	s, p := ex.stream, ex.push // the handler may be starting it right now: Stream and Push look at gone after setting it
	ex.mu.Unlock()
	if s != nil {
		s.fail(errClientGone)
	}
	if p != nil {
		p.end()
	}
	if ex.body != nil {
		ex.body.fail(errClientGone)
	}
}

// answered reports whether the answer of the handler has begun, so that no other can take its place.
func (ex *exchange) answered() bool {
	return ex.begun || ex.begunStream || ex.pushing || ex.reader != nil || ex.aborted
}

var (
	errClientGone = errors.New("the client has gone")
	errTooLong    = errors.New("more was written than the Content-Length that the handler has set")
)

// Context implements web.Engine.
func (ex *exchange) Context() context.Context {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if ex.ctx == nil {
		ex.ctx, ex.cancel = context.WithCancel(context.Background())
		if ex.gone.Load() {
			ex.cancel()
		}
	}
	return ex.ctx
}

// Stream implements web.Engine: the head is encoded here, by the handler's goroutine, so that the loop never reads a header that the
// handler may be changing.
func (ex *exchange) Stream(w *web.Response) error {
	s := newStream(ex, w)
	ex.mu.Lock()
	ex.stream = s
	late := ex.lateWrite
	ex.mu.Unlock()
	switch {
	case late:
		s.fail(os.ErrDeadlineExceeded)
		return os.ErrDeadlineExceeded
	case ex.gone.Load():
		s.fail(errClientGone)
		return errClientGone
	}
	return nil
}

// Write implements web.Engine.
func (ex *exchange) Write(p []byte) (int, error) { return ex.stream.write(p) }

// Flush implements web.Engine.
func (ex *exchange) Flush() error { return ex.stream.flush() }

// Addrs implements web.Engine.
func (ex *exchange) Addrs() (local, peer netip.AddrPort) {
	if ex.entry != nil && ex.entry.server.IsValid() {
		return ex.entry.server, ex.peer
	}
	// The loop sets gone before it closes the descriptor: if gone is false afterwards, it was this connection that was asked. A handler
	// that has detached the connection holds it itself.
	if !ex.detached {
		if end, err := netcore.Local(int(ex.fd)); err == nil && !ex.gone.Load() {
			local = end.Addr
		}
	}
	return local, ex.peer
}

// Detach implements web.Engine.
func (ex *exchange) Detach() (net.Conn, []byte, error) {
	if !ex.dispatch { // it runs on the loop, which could not answer
		return nil, nil, errOnLoop
	}
	answer := make(chan detached, 1)
	ex.loop.post(event{kind: eventDetach, fd: ex.fd, serial: ex.serial, sequence: ex.sequence, ex: ex, answer: answer})
	d := <-answer
	ex.detached = d.err == nil
	return d.conn, d.unread, d.err
}
