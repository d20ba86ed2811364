package child

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"net/http"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
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
	safe        bool // the method is safe (RFC 9110, 9.2.1)
	head        bool // HEAD: no body is sent
	minor       uint8
	keepAlive   bool // the client would go on with the connection
	finished    bool // the response is complete and waits for its turn
	dispatch    bool // a pool has the job
	begun       bool // the head of a streamed response is queued
	begunStream bool // the loop's copy of stream != nil
	orphan      bool // the connection is gone, or another exchange has taken this one's place: recycle on completion
	wantGo      bool // the handler reads a body whose "100 Continue" was not sent
	aborted     bool // the handler gave up: close without an answer

	parser   http1.Parser
	route    *route
	site     int
	gen      *generation
	started  int64  // monotonic ns, when the head was complete
	from     int64  // monotonic ns, since when nothing but the handler is waited for
	end      uint64 // value of conn.queued behind the response's last byte
	first    uint64 // value of conn.queued before its first byte
	bodySent int64  // content bytes of the response, for the access log
	expected bool   // Expect: 100-continue

	req    web.Request
	resp   web.Response
	frame  framing // of reader
	reader *pull   // body by web.Response.SendReader
	stream *stream // body by Write, once it streams
	body   *inflow // request body that streams to the handler
	logged []byte  // what the access log keeps of the request, in its line's form; empty without one

	mu     sync.Mutex
	ctx    context.Context    // under mu; made on demand
	cancel context.CancelFunc // under mu
	gone   atomic.Bool        // the client has gone: Write fails, the context is cancelled
}

func (ex *exchange) setState(next State) {
	if debugBuild && stateFollows[ex.state]&(1<<next) == 0 {
		panic("child: an exchange went from " + ex.state.String() + " to " + next.String())
	}
	ex.state = next
}

// Run is the worker's part: it runs the handler and reports the completion. A panic is answered with a 500.
func (ex *exchange) Run() {
	defer func() {
		if v := recover(); v != nil {
			ex.recovered(v)
		}
		ex.endOfHandler()
		ex.loop.post(event{kind: eventFinished, fd: ex.fd, serial: ex.serial, sequence: ex.sequence, ex: ex})
	}()
	ex.route.handler.Serve(&ex.resp, &ex.req)
}

// recovered turns a handler's panic into an answer, or into an abort where one has begun.
func (ex *exchange) recovered(v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		ex.aborted = true
		return
	}
	ex.loop.logPanic(&ex.req, v, debug.Stack())
	if !web.Retry(&ex.resp) {
		ex.aborted = true
		return
	}
	web.Error(&ex.resp, 500)
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
}

// leave tells a running handler that its client has gone.
func (ex *exchange) leave() {
	ex.gone.Store(true)
	ex.mu.Lock()
	if ex.cancel != nil {
		ex.cancel()
	}
	s := ex.stream // the handler may be starting it right now: Stream looks at gone after setting it
	ex.mu.Unlock()
	if s != nil {
		s.fail()
	}
	if ex.body != nil {
		ex.body.fail(errClientGone)
	}
}

// delimitedByClose reports whether the end of the connection is the end of the body (HTTP/1.0 without a length).
func (ex *exchange) delimitedByClose() bool {
	return ex.begunStream && ex.stream.frame == framingClose || ex.reader != nil && ex.frame == framingClose
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
	s := newStream(ex)
	s.encodeHead(w)
	ex.mu.Lock()
	ex.stream = s
	ex.mu.Unlock()
	if ex.gone.Load() {
		s.fail()
		return errClientGone
	}
	return nil
}

// Write implements web.Engine.
func (ex *exchange) Write(p []byte) (int, error) { return ex.stream.write(p) }

// Flush implements web.Engine.
func (ex *exchange) Flush() error { return ex.stream.flush() }

// Detach implements web.Engine.
func (ex *exchange) Detach() (net.Conn, []byte, error) {
	answer := make(chan detached, 1)
	ex.loop.post(event{kind: eventDetach, fd: ex.fd, serial: ex.serial, sequence: ex.sequence, ex: ex, answer: answer})
	d := <-answer
	return d.conn, d.unread, d.err
}
