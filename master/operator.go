package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxOperatorBody bounds a request's body, in bytes.
	maxOperatorBody = 1 << 20
	// operatorReadBound bounds the reading of a request's head, and then of its body.
	operatorReadBound = 5 * time.Second
	// operatorIdleBound is how long a connection may stay open without a request.
	operatorIdleBound = time.Minute
	// operatorEndBound is how long the end of the master waits for its last answers to be taken.
	operatorEndBound = time.Second
	// apiVersion is that of the interface, in every answer's field Tined-API. The first number is that of the paths; the second grows with
	// every operation, key or parameter that is added.
	apiVersion = "1.3"
)

// operator serves HTTP on the control socket. Its handlers run on goroutines of their own and
// reach the master's state only through master.do. docs/control.md and openapi.json describe it.
type operator struct {
	m        *master
	listener net.Listener
	server   *http.Server
	bound    time.Duration // for a body
	left     chan struct{} // closed when another master answers here
	silent   sync.Map      // of net.Conn: those that have asked for nothing yet

	// What a test replaces: the loop's acts.
	reload  func(by string, done func(*Reload))
	plan    func(done func(*Plan))
	scale   func(children int, by string, done func(error))
	restart func(index int, by string, done func(error))

	upgrade, rollback func(by string, request UpgradeRequest, follow func(UpgradeProgress))
	balance           func(by string, done func(Balance, error))
}

// operation is one thing that the operator may ask for.
type operation struct {
	method, path string
	query        []string // the parameters that it knows
	serve        http.HandlerFunc
}

type errorReply struct {
	Error string `json:"error"`
}

func newOperator(m *master) *operator {
	o := &operator{
		m: m, bound: operatorReadBound, left: make(chan struct{}), reload: m.reload, plan: m.plan, scale: m.scale, restart: m.restart,
		upgrade: m.upgrade, rollback: m.rollback, balance: m.balance,
	}
	if m.runtime != nil {
		o.listener = m.runtime.listener
	}
	o.server = &http.Server{
		Handler: o.handler(), ReadHeaderTimeout: operatorReadBound, IdleTimeout: operatorIdleBound, ErrorLog: zap.NewStdLog(m.log),
		ConnState:   o.watch,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return withPeer(ctx, peerOf(c)) },
	}
	return o
}

// operations are all that there are.
func (o *operator) operations() []operation {
	return []operation{
		{"GET", "/v1/status", nil, o.status},
		{"GET", "/v1/children", nil, o.children},
		{"PUT", "/v1/children", nil, o.setChildren},
		{"POST", "/v1/children/{index}/restart", nil, o.restartChild},
		{"POST", "/v1/reload", nil, o.reloadNow},
		{"GET", "/v1/plan", nil, o.planNow},
		{"POST", "/v1/upgrade", nil, o.upgradeNow},
		{"POST", "/v1/rollback", nil, o.rollbackNow},
		{"POST", "/v1/balance", nil, o.balanceNow},
		{"GET", "/v1/workers", nil, o.workers},
		{"PUT", "/v1/workers", nil, o.setWorkers},
		{"GET", "/v1/log-level", nil, o.logLevel},
		{"PUT", "/v1/log-level", nil, o.setLogLevel},
		{"POST", "/v1/logs/reopen", nil, o.reopenLogs},
		{"GET", "/v1/events", []string{"since", "follow"}, o.events},
		{"POST", "/v1/stop", nil, o.stop},
		{"GET", "/v1/openapi.json", nil, o.openAPI},
	}
}

// handler is who may ask, and what for.
func (o *operator) handler() http.Handler {
	mux := http.NewServeMux()
	paths := map[string]map[string]operation{}
	for _, op := range o.operations() {
		if paths[op.path] == nil {
			paths[op.path] = map[string]operation{}
		}
		paths[op.path][op.method] = op
	}
	for path, methods := range paths {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { dispatch(w, r, methods) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "no such operation: "+r.Method+" "+r.URL.Path)
	})
	name := product(o.m.o.Name, o.m.o.Version)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", name)
		w.Header().Set("Tined-API", apiVersion)
		if r.ContentLength != 0 { // it holds also when nobody reads the body; an error means that the client has gone
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(o.bound))
		}
		if why := o.forbidden(peerIn(r.Context())); why != "" {
			w.Header().Set("Connection", "close")
			refuse(w, http.StatusForbidden, why)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// product is what the field Server says.
func product(name, version string) string {
	if version == "" {
		return name
	}
	return name + "/" + strings.ReplaceAll(version, " ", "_")
}

// dispatch calls the operation of the request's method. A parameter that none knows is a slip, and would be without effect: it is refused.
func dispatch(w http.ResponseWriter, r *http.Request, methods map[string]operation) {
	op, known := methods[r.Method]
	if !known {
		var allowed []string
		for m := range methods {
			allowed = append(allowed, m)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is not possible for %s; use %s", r.Method, r.URL.Path, strings.Join(allowed, " or ")))
		return
	}
	for name := range r.URL.Query() {
		if !slices.Contains(op.query, name) {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("there is no parameter %q; %s", name, knownWords(op.query, "this operation has none")))
			return
		}
	}
	op.serve(w, r)
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

// await runs f in the loop and returns what f's argument is called with, at once or later. ok is false when the master ends before, which
// is answered here, or when the client has gone.
func await[T any](o *operator, w http.ResponseWriter, r *http.Request, f func(answer func(T))) (result T, ok bool) {
	answers := make(chan T, 1)
	if o.m.do(func() { f(func(t T) { answers <- t }) }) {
		select {
		case result = <-answers:
			return result, true
		case <-r.Context().Done():
			return result, false
		case <-o.m.done:
			select { // it may have been the loop's last act
			case result = <-answers:
				return result, true
			default:
			}
		}
	}
	refuse(w, http.StatusServiceUnavailable, "the master has stopped")
	return result, false
}

// now is await for what the loop knows at once.
func now[T any](o *operator, w http.ResponseWriter, r *http.Request, f func() T) (T, bool) {
	return await(o, w, r, func(answer func(T)) { answer(f()) })
}

func (o *operator) stop(w http.ResponseWriter, r *http.Request) {
	var request StopRequest
	if !take(w, r, "stop", &request) {
		return
	}
	by := peerIn(r.Context()).String()
	o.m.do(func() {
		o.m.log.Info("stop is asked for on the control socket", zap.String("by", by), zap.Bool("fast", request.Fast))
		// Asked again without `fast`, a stop goes on as it is.
		if o.m.phase != stopping || request.Fast {
			o.m.stop(request.Fast)
		}
	})
	if !request.Wait {
		reply(w, http.StatusAccepted, StopReply{stopping.String(), os.Getpid()})
		return
	}
	// The answer means that a new master can start: so it comes after the control socket has gone
	// (FACTS 29), not after the last child.
	select {
	case <-o.m.stopped:
		reply(w, http.StatusOK, StopReply{"stopped", os.Getpid()})
	case <-r.Context().Done():
	}
}

// take reads a request's body, which may be empty, into a pointer to a struct. When it cannot, it answers, and returns false. name is the
// operation's, for people.
func take(w http.ResponseWriter, r *http.Request, name string, into any) bool {
	err := decode(http.MaxBytesReader(w, r.Body, maxOperatorBody), into)
	_, tooLong := errors.AsType[*http.MaxBytesError](err)
	switch {
	case err == nil:
		// The answer may take long, and the end of the client is seen by reading.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, name+": the body has not come in time")
	case tooLong:
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("%s: the body is longer than %d bytes", name, maxOperatorBody))
	default:
		refuse(w, http.StatusBadRequest, name+": "+err.Error())
	}
	return false
}

// decode reads one JSON object. What it does not know is an error: a slip of the pen must not be silently without effect.
func decode(body io.Reader, into any) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	err = d.Decode(into)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			return errors.New("the body must be one JSON object, and something follows it")
		}
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return fmt.Errorf("the body must be a JSON object, and is a %s", wrong.Value)
		}
		return fmt.Errorf("%s must be %s, and is a %s", wrong.Field, inWords(wrong.Type), wrong.Value)
	}
	// encoding/json has no type for this one.
	if unknown, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("there is no field %s; %s", unknown, knownWords(fieldsOf(into), "there are none"))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the body is not JSON: it ends too early")
	}
	return fmt.Errorf("the body is not JSON: %w", err)
}

// inWords says what a field must be.
func inWords(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	default:
		return "a whole number"
	}
}

// fieldsOf are the names of a struct's fields in JSON.
func fieldsOf(pointer any) (names []string) {
	t := reflect.TypeOf(pointer).Elem()
	for f := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(f).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// knownWords lists what could have been said.
func knownWords(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return "known are " + strings.Join(words, ", ")
}

func refuse(w http.ResponseWriter, code int, message string) { reply(w, code, errorReply{message}) }

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(body) // the client may have gone
}
