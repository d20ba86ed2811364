package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// The housekeeper is a child without loop, shards and hooks: it builds of each generation only what modules have to do once for the whole
// server, and does one thing of it whenever the master says so. When is the master's to know.
//
// One goroutine receives, a second one obeys message by message, as in a child, and every run has one of its own.

const (
	// choreGrace is how long an orphan waits for a run whose time is over.
	choreGrace = 5 * time.Second
	// maxChores bounds the encoded list of a generation's chores in bytes: it must fit into a message.
	maxChores = control.MaxBody - 4<<10
	// shortest is the least time of a chore: the protocol counts milliseconds.
	shortest = time.Millisecond
)

type housekeeper struct {
	journal
	options Options
	conn    *control.Conn
	link    *link // the same, for the log and shared values
	sink    *masterSink
	sharing *sharing
	modules map[string]module.Module

	runs  sync.WaitGroup
	ended sync.Once
	end   chan struct{} // closed when the process may end

	mu           sync.Mutex
	prepared     *chores                            // built, not committed
	present      *chores                            // nil before the first commit
	running      map[string]context.CancelCauseFunc // by name
	due          time.Time                          // when the last run that is on its way must be over
	leaving      bool                               // no run begins any more
	announced    bool                               // the master knows that it leaves
	drainTimeout time.Duration                      // of the present generation
}

// chores are what a generation wants done.
type chores struct {
	generation   uint64
	list         []control.Chore
	byName       map[string]module.Chore
	procs        int
	drainTimeout time.Duration
	level        string
	format       string
}

// RunHousekeeper is the housekeeper's main function, as Run is a child's.
func RunHousekeeper(o Options) int {
	heritage, err := control.Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tined: housekeeper:", err)
		return 1
	}
	// Nobody connects to talk: as long as it is open, a later master knows that this process still works.
	defer heritage.Listener.Close()
	return ServeHousekeeper(o, heritage.Conn)
}

// ServeHousekeeper is RunHousekeeper for a given control channel, which it takes over and closes. Of the options it has no use for code,
// middleware and hooks.
func ServeHousekeeper(o Options, conn *control.Conn) int {
	defer conn.Close()
	h := newHousekeeper(o, conn)
	if !o.Hosted {
		catchSignals(h.drainAsConfigured)
	}
	if err := conn.Send(&control.Hello{Pid: os.Getpid(), Version: o.Version, Child: control.Housekeeper}); err != nil {
		fmt.Fprintln(os.Stderr, "tined: housekeeper:", err)
		return 1
	}
	go h.attend()
	<-h.end
	h.sink.close()
	return 0
}

func newHousekeeper(o Options, conn *control.Conn) *housekeeper {
	l := newLink(conn)
	h := &housekeeper{
		options: o, conn: conn, link: l, sink: newMasterSink(l), sharing: newSharing(o.Shared, l), modules: map[string]module.Module{},
		end: make(chan struct{}), running: map[string]context.CancelCauseFunc{},
	}
	h.logger.Store(newLogger("json", "info", h.sink, control.Housekeeper))
	for _, m := range o.Modules {
		h.modules[m.Spec().Name] = m
	}
	return h
}

// attend takes messages until the master is gone or has dismissed the housekeeper.
func (h *housekeeper) attend() {
	orders := make(chan order, ordersSize)
	defer close(orders)
	go func() {
		for o := range orders {
			if err := h.obey(o.message, o.files); err != nil {
				h.logLine(levelError, "control channel", "message", o.message.Kind().String(), "error", err)
			}
		}
	}()
	for {
		m, files, err := h.conn.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				h.logLine(levelError, "control channel", "error", err)
			}
			h.link.lose()
			h.sharing.orphaned()
			h.orphaned()
			return
		}
		if _, ping := m.(*control.Ping); ping { // at once: it asks whether the process lives, and not whether a generation is prepared
			closeFiles(files)
			h.say(&control.Pong{})
		} else if !h.sharing.hear(m, files) {
			orders <- order{message: m, files: files}
		}
	}
}

// obey carries one message out. It owns files.
func (h *housekeeper) obey(m control.Message, files []*os.File) error {
	if p, ok := m.(*control.Prepare); ok {
		list, err := h.prepare(p, files)
		if err != nil {
			text := err.Error()
			return h.conn.Send(&control.Failed{Generation: p.Generation, Diagnostic: text[:min(len(text), maxDiagnostic)]})
		}
		return h.conn.Send(&control.Prepared{Generation: p.Generation, Digest: p.Digest, Chores: list})
	}
	closeFiles(files)
	switch m := m.(type) {
	case *control.Commit:
		return h.commit(m.Generation)
	case *control.Abort:
		h.takePrepared(m.Generation)
	case *control.Perform:
		return h.perform(m)
	case *control.Drain:
		h.drain(time.Duration(m.TimeoutMillis) * time.Millisecond)
	case *control.LogLevel:
		h.mu.Lock()
		format := "json"
		if h.present != nil {
			format = h.present.format
		}
		h.mu.Unlock()
		h.logger.Store(newLogger(format, m.Level, h.sink, control.Housekeeper))
	default:
		return errors.New("unknown message")
	}
	return nil
}

// prepare gathers the chores of the generation that the master describes. The digest is the master's, or this fails.
func (h *housekeeper) prepare(m *control.Prepare, files []*os.File) ([]control.Chore, error) {
	if len(files) != 1 {
		closeFiles(files)
		return nil, fmt.Errorf("%d files came for one of sources", len(files))
	}
	config, err := resolve(m, files[0], h.options.Schema)
	if err != nil {
		return nil, err
	}
	if err := h.sharing.fault; err != nil {
		return nil, err
	}
	g := &chores{
		generation: m.Generation, byName: map[string]module.Chore{}, procs: config.Procs, drainTimeout: config.DrainTimeout,
		level: config.Log.Level, format: m.LogFormat,
	}
	for _, s := range config.Sites {
		for _, r := range s.Routes {
			if err := h.gather(g, &s, &r); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", r.Pos, r.Module, err)
			}
		}
	}
	if encoded, err := json.Marshal(g.list); err != nil || len(encoded) > maxChores {
		return nil, fmt.Errorf("%d chores are too many for one server: as a list they have more than %d bytes; have fewer routes with chores, or shorter names",
			len(g.list), maxChores)
	}
	h.mu.Lock()
	h.prepared = g
	h.mu.Unlock()
	return g.list, nil
}

// gather adds the chores of a route.
func (h *housekeeper) gather(g *chores, s *configs.Site, r *configs.Route) (err error) {
	m, keeps := h.modules[r.Module].(module.Housekeeper)
	if r.FromCode || !keeps {
		return nil
	}
	defer func() {
		if value := recover(); value != nil {
			h.logLine(levelError, "the list of chores panicked", "module", r.Module, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
			err = fmt.Errorf("the list of chores panicked: %v", value)
		}
	}()
	pattern, err := web.ParsePattern(r.Pattern)
	if err != nil {
		return err
	}
	list, err := m.Chores(r.Block, &module.Env{Prefix: pattern.Prefix(), Pattern: r.Pattern, Pool: noPools, Log: h.logModule})
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Name == "" || c.Every < shortest || c.Timeout < shortest || c.Run == nil {
			return fmt.Errorf("the chore %q of the module needs a name, a function, and an interval and a timeout of at least %v", c.Name, shortest)
		}
		name := r.Module + " " + s.Name + " " + r.Pattern + " " + c.Name
		if _, twice := g.byName[name]; twice {
			return fmt.Errorf("the module gives the name %q to two chores", c.Name)
		}
		g.byName[name] = c
		g.list = append(g.list, control.Chore{Name: name, EveryMillis: c.Every.Milliseconds(), TimeoutMillis: c.Timeout.Milliseconds()})
	}
	return nil
}

func noPools(string) *worker.Pool {
	panic("the housekeeper has no pools: every chore runs on a goroutine of its own")
}

func (h *housekeeper) takePrepared(generation uint64) *chores {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.prepared
	if g == nil || g.generation != generation {
		return nil
	}
	h.prepared = nil
	return g
}

// commit makes a prepared generation the present one. What runs of the one before goes on, unless it has no successor.
func (h *housekeeper) commit(generation uint64) error {
	g := h.takePrepared(generation)
	if g == nil {
		return fmt.Errorf("generation %d was not prepared", generation)
	}
	if !h.options.Hosted {
		runtime.GOMAXPROCS(max(1, g.procs))
	}
	h.logger.Store(newLogger(g.format, g.level, h.sink, control.Housekeeper))
	h.mu.Lock()
	h.present, h.drainTimeout = g, g.drainTimeout
	for name, cancel := range h.running {
		if _, stays := g.byName[name]; !stays {
			cancel(module.ErrRetired)
		}
	}
	h.mu.Unlock()
	return h.conn.Send(&control.Committed{Generation: generation})
}

// perform begins a run.
func (h *housekeeper) perform(m *control.Perform) error {
	c, ctx, err := h.begin(m.Chore)
	if err != nil {
		return h.conn.Send(&control.Performed{ID: m.ID, Error: err.Error()})
	}
	go func() {
		defer h.runs.Done()
		text := ""
		if err := h.run(ctx, m.Chore, c); err != nil {
			text = err.Error()
		}
		h.mu.Lock()
		h.running[m.Chore](nil)
		delete(h.running, m.Chore)
		h.mu.Unlock()
		h.say(&control.Performed{ID: m.ID, Error: text[:min(len(text), maxDiagnostic)]})
	}()
	return nil
}

// begin counts a run in.
func (h *housekeeper) begin(name string) (c module.Chore, ctx context.Context, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := false
	if h.present != nil {
		c, known = h.present.byName[name]
	}
	switch {
	case h.leaving:
		return c, nil, module.ErrStopping
	case !known:
		return c, nil, errors.New("the housekeeper has no such chore")
	case h.running[name] != nil:
		return c, nil, errors.New("it runs already")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h.running[name] = cancel
	if due := time.Now().Add(c.Timeout); due.After(h.due) {
		h.due = due
	}
	h.runs.Add(1)
	return c, ctx, nil
}

// run is one run, whatever its function does: returning, panicking, or ending its goroutine.
func (h *housekeeper) run(ctx context.Context, name string, c module.Chore) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine and did not return")
		defer func() {
			if value := recover(); value != nil {
				h.logLine(levelError, "a chore panicked", "chore", name, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
				err = fmt.Errorf("it panicked: %v", value)
			}
			done <- err
		}()
		err = c.Run(ctx)
	}()
	if err = <-done; err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return err
}

// drain tells what runs to come to an end, and ends the process when all has, or after timeout. A second drain can only shorten the first.
func (h *housekeeper) drain(timeout time.Duration) {
	h.mu.Lock()
	h.leaving = true
	first := !h.announced
	h.announced = true
	for _, cancel := range h.running {
		cancel(module.ErrStopping)
	}
	h.mu.Unlock()
	if first {
		h.say(&control.Draining{})
	}
	h.leave(timeout)
}

// drainAsConfigured is drain by drain_timeout.
func (h *housekeeper) drainAsConfigured() {
	h.mu.Lock()
	timeout := h.drainTimeout
	h.mu.Unlock()
	h.drain(timeout)
}

// orphaned lets what runs finish in its time, and ends the process: another master starts a housekeeper of its own, once this one is gone.
func (h *housekeeper) orphaned() {
	h.mu.Lock()
	h.leaving, h.announced = true, true
	left := time.Until(h.due) + choreGrace
	h.mu.Unlock()
	h.leave(left)
}

// leave ends the process when nothing runs any more, or after timeout. No run begins any more.
func (h *housekeeper) leave(timeout time.Duration) {
	idle := make(chan struct{})
	go func() { h.runs.Wait(); close(idle) }()
	go func() {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-idle:
		case <-timer.C:
		}
		h.ended.Do(func() {
			h.say(&control.Drained{})
			close(h.end)
		})
	}()
}

// say sends what a master that is gone need not hear.
func (h *housekeeper) say(m control.Message) { _ = h.conn.Send(m) }
