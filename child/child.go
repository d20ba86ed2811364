package child

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
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
	conn    *control.Conn
	sink    *masterSink
	loop    *loop
	builder builder
	outbox  chan control.Message // the loop's answers to the master

	hooks   *hookRunner
	sharing *sharing
	fast    atomic.Bool // the drain has no time

	first     bool          // the agent's: nothing was committed yet
	mechanism chan string   // one element: the poller that the first configuration wants
	mailed    chan struct{} // the outbox is closed and empty

	poolMu sync.Mutex
	pools  map[string]*worker.Pool
	pool   worker.Options // for pools that are made from now on

	mu       sync.Mutex
	prepared *generation           // built, not committed
	writers  map[string]*logWriter // access logs by file; "stdout" is the master

	drainTimeout time.Duration // under mu; of the last generation prepared
}

// Run is a child's main function: it takes what the master has handed down and serves until the master dismisses it or is gone. It
// returns the exit status.
func Run(o Options) int {
	heritage, err := control.Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	// The listening socket in the runtime directory is held open and not served: a master that takes over living children connects
	// to it, which this version does not answer.
	defer heritage.Listener.Close()
	return Serve(o, heritage.Child, heritage.Conn)
}

// Serve is Run for a child whose index and control channel are given. It takes the channel over: when Serve has returned, it is closed.
func Serve(o Options, index int, conn *control.Conn) int {
	defer conn.Close()
	ch, err := newChild(o, index, conn)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	return ch.serve()
}

func newChild(o Options, index int, conn *control.Conn) (*child, error) {
	ch := &child{options: o, index: index, conn: conn, sink: newMasterSink(conn), first: true}
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
	ch.sharing = newSharing(o.Shared, conn)
	ch.hooks = newHookRunner(o.Hooks, index, func(hook string, err error) { ch.logLine(levelError, "hook "+hook, "error", err) })
	ch.outbox, ch.mailed = make(chan control.Message, outboxSize), make(chan struct{})
	go ch.mail(conn)
	ch.pools = make(map[string]*worker.Pool)
	workers, err := configs.NewBlock(WorkersSpec(), nil)
	if err != nil {
		return nil, err
	}
	ch.pool = workerOptions("", workers)
	ch.writers = make(map[string]*logWriter)
	ch.builder = builder{
		modules:    make(map[string]module.Module),
		middleware: make(map[string]module.Middleware),
		code:       make(map[string]module.CodeRoute),
		pool:       ch.poolOf,
		log:        ch.logModule,
		access:     ch.accessLog,
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
		ch.catchSignals()
	}
	if _, err := netcore.RaiseFileLimit(); err != nil {
		ch.logLine(levelWarn, "the limit of open files cannot be raised", "error", err)
	}
	if err := ch.loop.reserve.Refill(); err != nil {
		ch.logLine(levelWarn, "no spare descriptor", "error", err)
	}
	if err := ch.conn.Send(&control.Hello{Pid: os.Getpid(), Version: ch.options.Version, Child: ch.index}); err != nil {
		fmt.Fprintln(os.Stderr, "tined: child:", err)
		return 1
	}
	go ch.attend(ch.conn)
	err := ch.usePoller(<-ch.mechanism)
	if err == nil {
		err = ch.loop.run()
	}
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

func (ch *child) catchSignals() {
	// HUP and INT from a terminal are the master's business; a log's reader that goes away must not end the child.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		<-terminate
		ch.drainAsConfigured()
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

// drain finishes what is in flight and ends the child, within timeout; 0 closes at once what is not finished. A second drain can only
// shorten the first.
func (ch *child) drain(timeout time.Duration) {
	if timeout <= 0 {
		ch.fast.Store(true)
	}
	ch.begin("")
	ch.loop.call(func() {
		if ch.loop.generation == nil { // nothing was ever served
			ch.loop.stop()
			return
		}
		if !ch.loop.draining {
			ch.answer(&control.Draining{})
			ch.hooks.drain()
			ch.loop.drain(func() {
				ch.answer(&control.Drained{})
				ch.loop.stop()
			})
		}
		if ch.loop.stopped {
			return
		}
		if timeout <= 0 {
			ch.loop.endDrain()
			return
		}
		time.AfterFunc(timeout, func() { ch.loop.call(ch.loop.endDrain) })
	})
}

// drainAsConfigured is drain by drain_timeout.
func (ch *child) drainAsConfigured() {
	ch.mu.Lock()
	timeout := ch.drainTimeout
	ch.mu.Unlock()
	ch.drain(timeout)
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

// configure takes over what of a configuration concerns the process and not the generation.
func (ch *child) configure(c *configs.Config, format string) {
	ch.begin(c.Poller)
	if !ch.options.Hosted {
		runtime.GOMAXPROCS(max(1, c.Procs))
		if c.Pin {
			ch.pin()
		}
	}
	ch.logger.Store(newLogger(format, c.Log.Level, ch.sink, ch.index))
	ch.mu.Lock()
	ch.drainTimeout = c.DrainTimeout
	ch.mu.Unlock()
	ch.poolMu.Lock()
	ch.pool = workerOptions("", c.Workers)
	ch.resizeLocked()
	ch.poolMu.Unlock()
}

// resize sets the numbers of workers until the next commit. Raised, the pools have their workers before the gates let more requests in.
// The gates of retired generations stay as they are: few requests are left before them, and the pools have their own bounds.
func (ch *child) resize(least, most int) {
	ch.poolMu.Lock()
	ch.pool.Min, ch.pool.Max = least, most
	ch.resizeLocked()
	ch.poolMu.Unlock()
	ch.loop.call(func() {
		ch.loop.resize(most)
		ch.answer(&control.Resized{})
	})
}

// resizeLocked gives all pools the present numbers.
func (ch *child) resizeLocked() {
	for _, p := range ch.pools {
		p.Resize(ch.pool.Min, ch.pool.Max)
	}
}

// pin binds the process to one of the cores that it may use, by its index.
func (ch *child) pin() {
	var usable unix.CPUSet
	if err := unix.SchedGetaffinity(0, &usable); err != nil {
		ch.logLine(levelWarn, "pin", "error", err)
		return
	}
	count := usable.Count()
	if count == 0 {
		return
	}
	nth := ch.index % count
	for cpu := range len(usable) * 64 {
		if !usable.IsSet(cpu) {
			continue
		}
		if nth == 0 {
			var one unix.CPUSet
			one.Set(cpu)
			if err := setAffinity(&one); err != nil {
				ch.logLine(levelWarn, "pin", "error", err, "core", cpu)
			}
			return
		}
		nth--
	}
}

// setAffinity binds every thread of the process: sched_setaffinity(2) knows only threads, and Go has several from the start.
func setAffinity(set *unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		var tid int
		if _, err := fmt.Sscan(thread.Name(), &tid); err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return nil
}

// takeLogFiles makes writers of the access log files that came with a generation.
func (ch *child) takeLogFiles(names []string, files []*os.File) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for i, name := range names {
		ch.setLogFile(name, files[i])
	}
}

// setLogFile lets the writer of name write to f; mu is held. A file that it wrote to before is closed once the writer has let go.
func (ch *child) setLogFile(name string, f *os.File) {
	write := func(batch []byte) {
		if _, err := f.Write(batch); err != nil {
			ch.logLine(levelError, "access log", "file", name, "error", err)
		}
	}
	if w := ch.writers[name]; w != nil {
		w.write.Store(&write) // the old file is closed by the garbage collector, when no write uses it any more
		return
	}
	ch.writers[name] = newLogWriter(write)
}

func (ch *child) reopen(names []string, files []*os.File) {
	if len(names) != len(files) {
		closeFiles(files)
		return
	}
	ch.takeLogFiles(names, files)
}

// accessLog opens the access log of a site.
func (ch *child) accessLog(siteName string, c *configs.AccessLog) (*accessLog, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	w := ch.writers[c.File]
	if w == nil {
		if c.File != "stdout" {
			return nil, fmt.Errorf("no file came for %s", c.File)
		}
		w = newLogWriter(func(batch []byte) { ch.sink.put(1, batch) })
		ch.writers[c.File] = w
	}
	return &accessLog{site: siteName, child: ch.index, json: c.Format == "json", writer: w}, nil
}

func (ch *child) droppedAccess() (lines uint64) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, w := range ch.writers {
		lines += w.dropped.Load()
	}
	return lines
}

// closeLogs writes what is left of all logs. The loop has ended.
func (ch *child) closeLogs() {
	ch.loop.flushLogs()
	ch.mu.Lock()
	for _, w := range ch.writers {
		w.close()
	}
	ch.mu.Unlock()
	ch.sink.close()
}

var _ zapcore.WriteSyncer = (*masterSink)(nil)
