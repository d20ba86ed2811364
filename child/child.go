package child

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// outboxSize is how many answers wait for a master that is slow to take them.
const outboxSize = 256

// Options are what the program gives its children.
type Options struct {
	Schema     *configs.Schema     // the same as the master's
	Modules    []module.Module     // linked in
	Middleware []module.Middleware // linked in
	Code       []module.CodeRoute  // registered in code; they join the default site
	Version    string              // of the program
	Hooks      Hooks
	// Shared is what the program shares with its other processes; nil: it needs no sharing, for the child is a part of the master's
	// process.
	Shared *board.Shared
	// Hosted: the process is the master's too. The child leaves to it what a process has once: signals, cores, GOMAXPROCS.
	Hosted bool
}

// child is the process: the loop and what stands around it.
type child struct {
	journal
	options Options
	index   int
	link    *link // to the master
	sink    *masterSink
	loop    *loop
	builder builder
	outbox  chan letter // the loop's answers to the master
	orders  chan order  // for the agent; closed when none can come any more

	door     *control.Door // where a later master comes; nil: none can, for the child is a part of its master's process
	output   [2]int        // the descriptors of what the program prints
	admitted atomic.Bool   // a master has let it accept
	patience *time.Timer   // the agent's: ends the time without a master
	over     chan struct{} // closed when the loop has ended

	hooks   *hookRunner
	sharing *sharing
	fast    atomic.Bool // the drain has no time

	first     bool          // the agent's: nothing was committed yet
	mechanism chan string   // one element: the poller that the first configuration wants
	mailed    chan struct{} // the outbox is closed and empty

	poolMu sync.Mutex
	pools  map[string]*worker.Pool
	pool   worker.Options // for pools that are made from now on

	logs    *logFiles
	offered map[string]*os.File // the agent's: the log files that came with the generation that is being built

	logFormat string       // the agent's: of the present generation
	cores     *unix.CPUSet // that the process may use, as it was started; nil: unknown
	pinned    bool         // the agent's: to one of them

	mu       sync.Mutex
	prepared *generation // built, not committed

	drainTimeout  time.Duration // under mu; of the first generation prepared, and then of the one that serves
	orphanTimeout time.Duration // the same
}

// Run is a child's main function: it takes what the master has handed down and serves until the master dismisses it or is gone. It
// returns the exit status.
func Run(o Options) int {
	heritage, err := control.Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	door, err := control.NewDoor(heritage.Listener)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	defer door.Close()
	return serve(o, heritage.Child, heritage.Conn, door)
}

// Serve is Run for a child whose index and control channel are given, and which no other master can take over: it drains when the channel
// ends. It takes the channel over: when Serve has returned, it is closed.
func Serve(o Options, index int, conn *control.Conn) int { return serve(o, index, conn, nil) }

func serve(o Options, index int, conn *control.Conn, door *control.Door) int {
	ch, err := newChild(o, index, conn)
	if err != nil {
		_ = conn.Close()
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	ch.door = door
	return ch.serve()
}

func newChild(o Options, index int, conn *control.Conn) (*child, error) {
	channel := newLink(conn)
	ch := &child{options: o, index: index, link: channel, sink: newMasterSink(channel), first: true, output: [2]int{1, 2}}
	ch.logger.Store(newLogger("json", "info", ch.sink, index))
	poller, err := netcore.NewPoller("")
	if err != nil {
		return nil, err
	}
	ch.loop = newLoop(poller, ch)
	if !o.Hosted {
		ch.loop.ebb.release = releaseMemory
	}
	ch.mechanism = make(chan string, 1)
	ch.sharing = newSharing(o.Shared, channel)
	ch.sharing.life = ch.enterLife
	ch.hooks = newHookRunner(o.Hooks, index, func(hook string, err error) { ch.logLine(levelError, "hook "+hook, "error", err) })
	ch.outbox, ch.mailed = make(chan letter, outboxSize), make(chan struct{})
	ch.orders, ch.over = make(chan order, ordersSize), make(chan struct{})
	go ch.mail()
	go ch.obeyAll()
	ch.pools = make(map[string]*worker.Pool)
	workers, err := configs.NewBlock(WorkersSpec(), nil)
	if err != nil {
		return nil, err
	}
	ch.pool = workerOptions("", workers)
	ch.logs = newLogFiles(&ch.journal, func(batch []byte) { ch.sink.put(1, batch) })
	ch.cores = usableCores()
	ch.builder = builder{
		modules:    make(map[string]module.Module),
		middleware: make(map[string]module.Middleware),
		code:       make(map[string]module.CodeRoute),
		pool:       ch.poolOf,
		log:        ch.logModule,
		access:     ch.accessLog,
		claims:     new(module.Claims),
		child:      index,
	}
	for _, m := range o.Modules {
		ch.builder.modules[m.Spec().Name] = m
	}
	for _, m := range o.Middleware {
		ch.builder.middleware[m.Spec().Name] = m
	}
	for _, r := range o.Code {
		ch.builder.code[r.Pattern] = r
	}
	return ch, nil
}

// serve runs the loop until it is stopped.
func (ch *child) serve() int {
	if !ch.options.Hosted {
		catchSignals(ch.drainAsConfigured)
	}
	descriptors, err := netcore.RaiseFileLimit()
	if err != nil {
		ch.logLine(levelWarn, "the limit of open files cannot be raised", "error", err)
	}
	if descriptors > 0 {
		ch.loop.mostConnections = connectionsFor(descriptors)
	}
	if err := ch.loop.reserve.Refill(); err != nil {
		ch.logLine(levelWarn, "no spare descriptor", "error", err)
	}
	first := ch.link.get()
	defer func() {
		_ = first.Close() // of a hosted child the master waits for it; the others end by their exit
	}()
	if err := first.Send(&control.Hello{Pid: os.Getpid(), Version: ch.options.Version, Child: ch.index}); err != nil {
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	go ch.attend(first)
	if ch.door != nil {
		go ch.answerDoor()
	}
	err = ch.usePoller(<-ch.mechanism)
	if err == nil {
		err = ch.loop.run()
	}
	close(ch.over)
	if err != nil {
		ch.logLine(levelError, "the loop ended", "error", err)
	}
	bound := control.ExitHooks
	if ch.fast.Load() {
		bound = fastExit
	}
	ch.hooks.exit(bound)
	ch.closeLogs()
	close(ch.outbox)
	<-ch.mailed
	if err != nil {
		return 1
	}
	return 0
}

// catchSignals calls terminated at the first TERM.
func catchSignals(terminated func()) {
	// HUP and INT from a terminal are the master's business; a log's reader that goes away must not end the child.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		<-terminate
		terminated()
	}()
}

// begin lets the loop start to turn, on a poller of this mechanism ("": the default). Only the first call counts: a loop does not change
// its poller.
func (ch *child) begin(mechanism string) {
	select {
	case ch.mechanism <- mechanism:
	default:
	}
}

// usePoller replaces the loop's poller by one of another mechanism. The loop does not turn yet and has registered nothing.
func (ch *child) usePoller(mechanism string) error {
	if mechanism == "" || mechanism == "epoll" {
		return nil
	}
	poller, err := netcore.NewPoller(mechanism)
	if err != nil {
		return err
	}
	err = ch.loop.poller.Close()
	ch.loop.poller = poller
	return err
}

// drain finishes what is in flight and ends the child, within timeout; 0 closes at once what is not finished. Connections on which nothing
// goes on may bring one more request for as long as idle. A second drain can only shorten the first.
func (ch *child) drain(timeout, idle time.Duration) { ch.drainOnto(timeout, idle, nil) }

// drainOnto is drain for a child that gives connections away by g, unless that is nil.
func (ch *child) drainOnto(timeout, idle time.Duration, g *giving) {
	if timeout <= 0 {
		ch.fast.Store(true)
	}
	ch.begin("")
	ch.loop.call(func() {
		if ch.loop.generation == nil { // nothing was ever served
			g.abandon()
			ch.loop.stop()
			return
		}
		if ch.loop.draining {
			ch.loop.moves.patience = min(ch.loop.moves.patience, idle)
		} else {
			ch.loop.moves.patience = idle
			ch.answer(&control.Draining{})
			ch.hooks.drain()
			ch.loop.drain(func() {
				ch.answer(&control.Drained{})
				ch.loop.stop()
			})
		}
		if ch.loop.stopped {
			g.abandon()
			return
		}
		if timeout <= 0 {
			g.abandon()
			ch.loop.endDrain()
			return
		}
		if g != nil {
			ch.loop.giveAway(g)
		}
		impatient := func() {
			if g == nil {
				ch.loop.moves.left = nil // its patience is longer than this one
			}
			ch.loop.closeIdle()
		}
		if idle > 0 {
			time.AfterFunc(idle, func() { ch.loop.call(impatient) })
		} else {
			impatient()
		}
		time.AfterFunc(timeout, func() { ch.loop.call(ch.loop.endDrain) })
	})
}

// drainAsConfigured is drain by drain_timeout.
func (ch *child) drainAsConfigured() {
	ch.mu.Lock()
	timeout := ch.drainTimeout
	ch.mu.Unlock()
	ch.drain(timeout, 0)
}

// poolOf returns the pool called name, "" for the child's own. Pools live as long as the child.
func (ch *child) poolOf(name string) *worker.Pool {
	ch.poolMu.Lock()
	defer ch.poolMu.Unlock()
	p := ch.pools[name]
	if p == nil {
		o := ch.pool
		o.Name = name
		o.Panic = func(_ worker.Task, value any, stack []byte) {
			ch.logLine(levelError, "a task panicked", "panic", fmt.Sprint(value), "pool", name, "stack", string(stack))
		}
		p = worker.New(o)
		ch.pools[name] = p
	}
	return p
}

func (ch *child) poolStats() []worker.Stats {
	ch.poolMu.Lock()
	defer ch.poolMu.Unlock()
	stats := make([]worker.Stats, 0, len(ch.pools))
	for _, p := range ch.pools {
		stats = append(stats, p.Stats())
	}
	return stats
}

// closeLogs writes what is left of all logs. The loop has ended.
func (ch *child) closeLogs() {
	ch.loop.flushLogs()
	ch.logs.close()
	ch.sink.close()
}

var _ zapcore.WriteSyncer = (*masterSink)(nil)
