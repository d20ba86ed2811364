package child

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

// The diagram above State, written down once more.
func TestStateDiagram(t *testing.T) {
	follows := map[State][]State{
		WaitingForHead:    {WaitingForBody, BeingProcessed, WaitingToSendHead, Closed},
		WaitingForBody:    {BeingProcessed, WaitingToSendHead, Closed},
		BeingProcessed:    {WaitingToSendHead, Closed},
		WaitingToSendHead: {WaitingToSendBody, Closed},
		WaitingToSendBody: {Closed},
		Closed:            {WaitingForHead},
	}
	for from := WaitingForHead; from <= Closed; from++ {
		for to := WaitingForHead; to <= Closed; to++ {
			allowed := slices.Contains(follows[from], to)
			refused := func() (refused bool) {
				defer func() { refused = recover() != nil }()
				ex := &exchange{state: from}
				ex.setState(to)
				if ex.state != to {
					t.Errorf("%v is not %v afterwards", from, to)
				}
				return
			}()
			if debugBuild && allowed == refused || !debugBuild && refused {
				t.Errorf("%v to %v: allowed %v, refused %v", from, to, allowed, refused)
			}
		}
	}
	for s := WaitingForHead; s <= Closed; s++ {
		if s.String() == "" {
			t.Errorf("state %d has no name", s)
		}
	}
}

// A fault is what becomes of a client.
type fault struct {
	name string
	do   func(p *peer)
}

var faults = []fault{
	{"reset", (*peer).reset},
	{"half-close", (*peer).halfClose},
	{"close", func(p *peer) { p.Conn.Close() }},
	{"timeout", func(*peer) {}}, // it does nothing any more
}

// What happens in each state when the client does something, and that nothing of it stays behind (which start's cleanup checks).
func TestFaultsInEveryState(t *testing.T) {
	const limits = `limits {
  head_timeout    = "100ms"
  body_timeout    = "100ms"
  write_timeout   = "100ms"
  idle_timeout    = "100ms"
  handler_timeout = "100ms"
}
`
	type outcome struct {
		why    closeReason
		status int  // of the answer that the client gets, 0: none
		gone   bool // the handler's context is cancelled before it returns
	}
	states := []struct {
		name    string
		state   State
		request string
		outcome map[string]outcome
	}{
		{"before the first byte", Closed, "", map[string]outcome{
			"reset": {why: reasonClientDone}, "half-close": {why: reasonClientDone}, "close": {why: reasonClientDone},
			"timeout": {why: reasonHeadTimeout},
		}},
		{"WAITING_FOR_HEAD", WaitingForHead, "GET /quick HTTP/1.1\r\nHos", map[string]outcome{
			"reset": {why: reasonClientGone}, "half-close": {why: reasonClientGone}, "close": {why: reasonClientGone},
			"timeout": {why: reasonHeadTimeout, status: 408},
		}},
		{"WAITING_FOR_BODY", WaitingForBody, "POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345", map[string]outcome{
			"reset": {why: reasonClientGone}, "half-close": {why: reasonClientGone, status: 400}, "close": {why: reasonClientGone},
			"timeout": {why: reasonBodyTimeout, status: 408},
		}},
		{"BEING_PROCESSED", BeingProcessed, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", map[string]outcome{
			"reset": {why: reasonClientGone, gone: true}, "half-close": {why: reasonHalfClosed, status: 200},
			"close":   {why: reasonHalfClosed}, // a FIN does not say that nobody reads
			"timeout": {why: reasonHandlerTimeout, status: 503, gone: true},
		}},
		{"BEING_PROCESSED, unsafe", BeingProcessed, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", map[string]outcome{
			"reset": {why: reasonClientGone, gone: true}, "half-close": {why: reasonClientDone, status: 200},
			"close":   {why: reasonClientDone},
			"timeout": {why: reasonHandlerTimeout, status: 503, gone: true},
		}},
		{"BEING_PROCESSED, body streaming", BeingProcessed, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n12345", map[string]outcome{
			"reset": {why: reasonClientGone, gone: true}, "half-close": {why: reasonClientGone, status: 400, gone: true},
			"close":   {why: reasonClientGone, gone: true},
			"timeout": {why: reasonBodyTimeout, status: 408, gone: true},
		}},
		{"WAITING_TO_SEND_BODY", WaitingToSendBody, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", map[string]outcome{
			"reset": {why: reasonClientGone}, "half-close": {why: reasonHalfClosed, status: 200}, "close": {why: reasonClientGone},
			"timeout": {why: reasonWriteTimeout},
		}},
		{"streaming", BeingProcessed, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", map[string]outcome{
			"reset": {why: reasonClientGone, gone: true}, "half-close": {why: reasonHalfClosed, status: 200}, "close": {why: reasonClientGone, gone: true},
			"timeout": {why: reasonWriteTimeout, gone: true},
		}},
		{"idle", Closed, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n", map[string]outcome{
			"reset": {why: reasonClientDone, status: 200}, "half-close": {why: reasonClientDone, status: 200},
			"close": {why: reasonClientDone, status: 200}, "timeout": {why: reasonIdleTimeout, status: 200},
		}},
	}
	large := make([]byte, 8<<20)
	for _, s := range states {
		for _, f := range faults {
			t.Run(s.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				if *mechanism == "select" && s.name == "BEING_PROCESSED, unsafe" && f.name == "reset" {
					t.Skip("select(2) reports no reset of a socket that is not read from")
				}
				want := s.outcome[f.name]
				release := make(chan struct{})
				type end struct {
					err error
					ctx error
				}
				begun, ended := make(chan struct{}, 1), make(chan end, 1)
				config := limits
				if f.name != "timeout" {
					config = ""
				}
				tc := start(t, config, routes{
					"/quick": text("quick"),
					"/wait": web.HandlerFunc(func(w *web.Response, r *web.Request) {
						ctx := r.Context()
						begun <- struct{}{}
						select {
						case <-ctx.Done():
						case <-release:
						}
						ended <- end{ctx: context.Cause(ctx)}
					}),
					"/body": web.HandlerFunc(func(w *web.Response, r *web.Request) {
						ctx := r.Context()
						begun <- struct{}{}
						_, err := r.Body.Bytes()
						<-ctx.Done()
						ended <- end{err, ctx.Err()}
					}),
					"/large": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendBytes(large) }),
					"/stream": web.HandlerFunc(func(w *web.Response, r *web.Request) {
						ctx := r.Context()
						begun <- struct{}{}
						var err error
						for sent := 0; err == nil && sent < len(large); sent += 64 << 10 {
							_, err = w.Write(large[:64<<10])
						}
						ended <- end{err, ctx.Err()}
					}),
				})
				tc.smallBuffers()
				p := tc.dialSmall()
				p.send(s.request)
				if s.state == BeingProcessed {
					await(t, "the handler's start", begun)
				}
				switch {
				case s.name == "idle":
					if r := p.answer("GET"); r.Status != want.status {
						t.Fatal(r.Status)
					}
				case s.name == "streaming" || s.state == WaitingToSendBody:
					if s.state == WaitingToSendBody {
						tc.inState(s.state)
					}
					tc.until("the socket is full", func(l *loop) bool { c := only(l); return c == nil || c.out != nil && !c.has(flagWritable) })
				case s.state != Closed:
					if f.name != "timeout" {
						tc.inState(s.state)
					}
				default:
					tc.until("the connection is there", func(l *loop) bool { return l.numbers.accepted == 1 })
				}
				if f.name != "timeout" {
					tc.rests("in " + s.name)
				}
				f.do(p)
				if strings.HasPrefix(s.name, "BEING_PROCESSED") && s.name != "BEING_PROCESSED, body streaming" && !want.gone {
					if s.name == "BEING_PROCESSED" { // an unsafe request pauses reading, and the end is seen afterwards
						tc.until("the end was noticed", func(l *loop) bool { c := only(l); return c == nil || c.has(flagEnd|flagEOF) })
					}
					tc.rests("after the end")
					close(release)
				}
				if want.gone {
					e := await(t, "the handler", ended)
					if e.ctx == nil || s.name == "streaming" && e.err == nil {
						t.Errorf("the handler saw %v, its context %v", e.err, e.ctx)
					}
				}
				if want.status > 0 && s.name != "idle" {
					if r := p.answer("GET"); r.Status != want.status {
						t.Errorf("answer %d, want %d", r.Status, want.status)
					} else if want.status == 200 && (s.name == "streaming" || s.state == WaitingToSendBody) && len(r.Body) != len(large) {
						t.Errorf("%d bytes", len(r.Body))
					}
				}
				if f.name == "timeout" && want.why != reasonWriteTimeout {
					p.wantEnd()
					p.Conn.Close()
				}
				tc.wantClosed(want.why, 1)
				tc.rests("when nobody is there")
			})
		}
	}
}

// A handler that ends its goroutine has not said that its answer is whole: the connection ends without one.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	tc := start(t, "", routes{"GET /end": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		w.WriteString("half")
		runtime.Goexit()
	}), "GET /x": text("x")})
	p := tc.dial()
	p.send(getX + "GET /end HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := p.answer("GET"); string(r.Body) != "x" {
		t.Fatalf("%q", r.Body)
	}
	p.wantEnd()
	if r := tc.dial().get("/x"); r.Status != 200 {
		t.Error(r.Status)
	}
}

// A handler's panic is a 500, and http.ErrAbortHandler the end of the connection without an answer.
func TestPanics(t *testing.T) {
	tests := []struct {
		name   string
		value  any
		status int
		why    closeReason
		logged bool
	}{
		{"before", "oops", 500, reasonNone, true},
		{"abort", http.ErrAbortHandler, 0, reasonAborted, false},
		{"wrapped abort", fmt.Errorf("no: %w", http.ErrAbortHandler), 0, reasonAborted, false},
	}
	for _, inline := range []bool{false, true} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, inline %v", test.name, inline), func(t *testing.T) {
				f := func(w *web.Response, r *web.Request) {
					w.Header().Set("X-Half", "done")
					w.WriteString("half")
					panic(test.value)
				}
				var h web.Handler = web.HandlerFunc(f)
				if inline {
					h = nowHandler(f)
				}
				tc := start(t, "", routes{"GET /panic": h, "GET /x": text("x")})
				p := tc.dial()
				p.send(getX + "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")
				if r := p.answer("GET"); string(r.Body) != "x" {
					t.Fatalf("%q", r.Body)
				}
				if test.status > 0 {
					if r := p.answer("GET"); r.Status != test.status || r.Fields.Has("X-Half") || strings.Contains(string(r.Body), "half") {
						t.Fatalf("%d %v %q", r.Status, r.Fields, r.Body)
					}
					if r := p.get("/x"); r.Status != 200 {
						t.Fatal("the connection did not go on")
					}
				} else {
					if _, err := p.reader.Read("GET"); err == nil {
						t.Fatal("an answer")
					}
					p.Close() // or the server lingers
					tc.wantClosed(test.why, 1)
				}
				if test.logged {
					for !strings.Contains(tc.loggedLines(), "oops") {
						tc.onLoop(func(*loop) {})
					}
				} else if strings.Contains(tc.loggedLines(), "panic") {
					t.Error("logged")
				}
			})
		}
	}
}

// An aborted response does not destroy the answers before it, which the client has not read yet.
func TestAbortKeepsEarlierAnswers(t *testing.T) {
	large := strings.Repeat("x", 200<<10)
	tc := start(t, "", routes{
		"GET /x":     web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendBytes([]byte(large)) }),
		"GET /abort": web.HandlerFunc(func(w *web.Response, r *web.Request) { panic(http.ErrAbortHandler) }),
	})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send(getX + "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n" + getX)
	tc.until("all have begun", func(l *loop) bool { return l.numbers.begun == 3 })
	if r := p.answer("GET"); len(r.Body) != len(large) {
		t.Fatalf("%d bytes", len(r.Body))
	}
	p.wantEnd()
	p.Close()
	tc.wantClosed(reasonAborted, 1)
}

// A context belongs to one exchange: the next one that uses the same memory has another.
func TestContextIsNotHandedOn(t *testing.T) {
	kept := make(chan context.Context, 3)
	keep := func(w *web.Response, r *web.Request) { kept <- r.Context(); w.SendString("x") }
	for name, h := range map[string]web.Handler{"pooled": web.HandlerFunc(keep), "inline": nowHandler(keep)} {
		t.Run(name, func(t *testing.T) {
			tc := start(t, "", routes{"GET /x": h})
			p := tc.dial()
			var contexts []context.Context
			for range 3 {
				p.get("/x")
				contexts = append(contexts, <-kept)
			}
			for i, ctx := range contexts {
				if ctx.Err() == nil {
					t.Errorf("context %d lives on after its handler", i)
				}
				if i > 0 && ctx == contexts[i-1] {
					t.Errorf("context %d is that of the request before", i)
				}
			}
		})
	}
}
