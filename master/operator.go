package master

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/control"
)

const (
	// maxOperatorBody bounds a request's body, in bytes.
	maxOperatorBody = 1 << 20
	// operatorHeadBound bounds the reading of a request's head.
	operatorHeadBound = 5 * time.Second
	// operatorEndBound is how long the end of the master waits for its last answers to be taken.
	operatorEndBound = time.Second
)

// operator serves HTTP on the control socket. Its handlers run on goroutines of their own and
// reach the master's state only through master.do. docs/control.md describes it.
type operator struct {
	m        *master
	listener net.Listener
	server   *http.Server
}

type errorReply struct {
	Error string `json:"error"`
}

func newOperator(m *master) *operator {
	o := &operator{m: m, listener: m.runtime.listener}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", o.status)
	mux.HandleFunc("GET /v1/workers", o.workers)
	mux.HandleFunc("PUT /v1/workers", o.setWorkers)
	mux.HandleFunc("POST /v1/stop", o.stop)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, errorReply{"no such operation: " + r.Method + " " + r.URL.Path})
	})
	o.server = &http.Server{Handler: mux, ReadHeaderTimeout: operatorHeadBound, ErrorLog: zap.NewStdLog(m.log)}
	return o
}

// serve returns when close is called, or the listener is closed before.
func (o *operator) serve() {
	if err := o.server.Serve(o.listener); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		o.m.log.Error("control socket fails", zap.Error(err))
	}
}

// close lets the answers that are due go out, within a bound.
func (o *operator) close() {
	ctx, cancel := context.WithTimeout(context.Background(), operatorEndBound)
	defer cancel()
	if o.server.Shutdown(ctx) != nil {
		_ = o.server.Close()
	}
}

func (o *operator) status(w http.ResponseWriter, r *http.Request) {
	answer := make(chan *Status, 1)
	if !o.m.do(func() { o.m.askNumbers(answer) }) {
		reply(w, http.StatusServiceUnavailable, errorReply{"the master has stopped"})
		return
	}
	select {
	case s := <-answer:
		reply(w, http.StatusOK, s)
	case <-o.m.done:
		reply(w, http.StatusServiceUnavailable, errorReply{"the master has stopped"})
	case <-r.Context().Done():
	}
}

func (o *operator) stop(w http.ResponseWriter, r *http.Request) {
	var request StopRequest
	if err := take(w, r, &request); err != nil {
		reply(w, http.StatusBadRequest, errorReply{"stop: " + err.Error()})
		return
	}
	o.m.do(func() {
		o.m.log.Info("stop is asked for on the control socket")
		// Asked again without `fast`, a stop goes on as it is.
		if o.m.phase != stopping || request.Fast {
			o.m.stop(request.Fast)
		}
	})
	if !request.Wait {
		reply(w, http.StatusAccepted, StopReply{stopping.String()})
		return
	}
	// The answer means that a new master can start: so it comes after the control socket has gone
	// (FACTS 29), not after the last child.
	select {
	case <-o.m.stopped:
		reply(w, http.StatusOK, StopReply{"stopped"})
	case <-r.Context().Done():
	}
}

// take reads a request's body, which may be empty.
func take(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOperatorBody))
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, into)
	}
	return err
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(body) // the client may have gone
}

// inquiry waits for what the children answer. Owner: the loop.
type inquiry struct {
	open   func(c *child) bool // c has still to answer
	answer func()              // takes what is there when none has, or at the end of the bound
	due    time.Time
}

// inquire calls answer when no child has to answer any more, or at the end of the bound.
func (m *master) inquire(bound time.Duration, open func(c *child) bool, answer func()) {
	m.inquiries = append(m.inquiries, &inquiry{open: open, answer: answer, due: m.now().Add(bound)})
	m.answerInquiries()
}

// answerInquiries answers those for which everything is there, or that have waited long enough.
func (m *master) answerInquiries() {
	now := m.now()
	m.inquiries = slices.DeleteFunc(m.inquiries, func(i *inquiry) bool {
		if now.Before(i.due) {
			for c := range m.lives {
				if i.open(c) {
					return false
				}
			}
		}
		i.answer()
		return true
	})
}

// askNumbers asks every child that can answer for its numbers. answer has the capacity 1.
func (m *master) askNumbers(answer chan<- *Status) {
	asked := m.now()
	for c := range m.lives {
		if c.reports() {
			c.proc.Send(&control.Report{})
		}
	}
	m.inquire(m.bounds.numbers,
		func(c *child) bool { return c.reports() && c.numbersAt.Before(asked) },
		func() { answer <- m.status(asked) })
}

func (c *child) reports() bool { return c.state >= Proved && c.state <= Draining }

// status is the present state; numbers older than since are left out.
func (m *master) status(since time.Time) *Status {
	now := m.now()
	s := &Status{
		Version: m.o.Version, Pid: os.Getpid(), State: m.phase.String(), UptimeSeconds: now.Sub(m.born).Seconds(),
		Configuration: m.config.Path, Generation: m.generation, Digest: m.config.Digest,
		LogDropped: m.sink.dropped() + m.lostLines,
	}
	for _, l := range m.shards.listeners {
		s.Listeners = append(s.Listeners, ListenerStatus{Name: l.name, Address: l.local.String(), Shards: len(l.shards)})
	}
	for _, slot := range m.slots {
		if slot.current == nil {
			s.Children = append(s.Children, slot.status("waiting"))
		}
	}
	for c := range m.lives {
		one := c.slot.status(c.state.String())
		one.Pid, one.UptimeSeconds = c.proc.Pid(), now.Sub(c.born).Seconds()
		if !c.numbersAt.Before(since) {
			one.Numbers = c.numbers
		}
		s.Children = append(s.Children, one)
	}
	slices.SortFunc(s.Children, func(a, b ChildStatus) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.UptimeSeconds, b.UptimeSeconds))
	})
	return s
}

func (s *slot) status(state string) ChildStatus {
	return ChildStatus{Index: s.index, State: state, Restarts: s.restarts, Faults: s.faults, LastEnd: s.lastEnd}
}
