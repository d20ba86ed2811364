package master

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// Exit codes of Run.
const (
	exitOK      = 0
	exitRefused = 1
)

// Options of a master.
type Options struct {
	// Name is the program's name in messages; "" is "tined".
	Name string
	// Version is the program's version.
	Version string
	// Path is the configuration file as the operator gave it; "": none.
	Path string
	// Sources gives the configuration in place of the file at Path: at the start, at each reload and for each plan. It may be called by any
	// goroutine, and several at once. Diagnostics name the files as the sources do. nil: Path is read.
	Sources func() (*configs.Sources, configs.Diagnostics)
	// Schema is what modules and code routes add to the configuration. Children must have the same.
	Schema *configs.Schema
	// Control is the control socket's path; "": as configured, else the default.
	Control string
	// Shared is what the program shares with its children; nil: nothing.
	Shared *board.Shared
	// Prepare runs once, after everything is opened and before the first child is started; an error refuses the start. ctx ends with
	// the master, and when a stop comes first. nil: nothing to do.
	Prepare func(ctx context.Context) error
	// Host, if not nil, is a child's main function, and makes this a single process: it runs on a goroutine, once, instead of children
	// in processes of their own. It takes its control channel over and returns the exit status.
	Host func(index int, conn *control.Conn) int
	// Init is the channel to the process that supervises the masters, for the next one; nil: there is none. Promote tells it by the channel
	// that the calling process is the master.
	Init    *os.File
	Promote func(channel *os.File) error
	// Announce makes the lines that are printed once the server serves, each with its newline, of the addresses that it listens on, with the
	// ports that the kernel has chosen. The loop calls it, once. nil: one line with the URLs.
	Announce func(addresses []configs.Address) string
	// Foreground: the server is as long there as the terminal that it was started on. SIGINT and SIGHUP stop it as SIGTERM does: first
	// what is in flight is finished, and the second one ends it at once. One that was ignored at the start, as by nohup(1), stays so.
	Foreground bool
	// Executable is the absolute path of what an upgrade executes if nobody names another: what this process was started by.
	Executable string
	// Stdout takes the start line and access logs, Stderr diagnostics and the log; nil is the
	// process's own.
	Stdout, Stderr io.Writer

	flip       flip              // nil: this process cannot be upgraded
	succession *succession       // nil: no upgrade has started this process
	supervisor map[string]string // what the process that started this one has said in the environment (systemd.go)
}

// Run is a master's life: it starts the server, serves until it is told to stop, and returns the
// exit code: 0 after a stop, 1 when the start failed (then nothing is left open). It takes the
// process's signals over, and must be called once, in a process that has no other children of its
// own making.
func Run(o Options) int {
	o = o.withDefaults()
	if _, err := netcore.RaiseFileLimit(); err != nil {
		fmt.Fprintf(o.Stderr, "%s: %v\n", o.Name, err)
	}
	o.supervisor = takeSupervisorEnv()
	signals := make(chan os.Signal, 16)
	defer catchSignals(signals, o.Foreground)()
	if err := o.begin(); err != nil {
		fmt.Fprintf(o.Stderr, "%s: %v\n", o.Name, err)
		return exitRefused
	}
	config, sources, diagnostics := resolve(o)
	for _, d := range diagnostics {
		fmt.Fprintln(o.Stderr, d)
	}
	if diagnostics.HasErrors() {
		o.refused("the new version refuses the configuration: " + firstError(diagnostics))
		return exitRefused
	}
	m, err := open(o, config, sources)
	if err != nil {
		fmt.Fprintln(o.Stderr, err)
		o.refused(err.Error())
		return exitRefused
	}
	m.signals = signals
	return m.run()
}

// begin finds out how this process was started, and takes over what an upgrade has passed on.
func (o *Options) begin() error {
	if o.Host != nil {
		return nil
	}
	upgraded := Upgraded()
	f, envelope, err := newFlip()
	switch {
	case err != nil && upgraded:
		return err
	case err != nil: // it serves as well as any other, and says why it cannot be upgraded when somebody wants to
		return nil
	}
	o.flip = f
	if envelope == nil {
		return nil
	}
	conn, err := control.Passed(envelope)
	if err != nil {
		return err
	}
	if o.succession, err = claim(conn, o.Version, o.Executable); err != nil {
		return err
	}
	o.supervisor = o.succession.supervisorEnv()
	return nil
}

// refused tells those who wait for this start, beside stderr, that it has come to nothing.
func (o *Options) refused(why string) {
	if o.succession != nil {
		o.succession.refuse(why)
		return
	}
	tellRefused(o.supervisor, strings.TrimPrefix(why, "the new version refuses the configuration: "))
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "tined"
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Shared == nil {
		o.Shared = new(board.Shared)
	}
	if o.Schema == nil {
		o.Schema = new(configs.Schema)
	}
	return o
}

// phase is where the master is in its life; it only goes forward.
type phase uint8

const (
	// starting: children are on their way; none accepts before all are proved or have failed.
	starting phase = iota
	// serving: the start line is printed.
	serving
	// stopping: children drain.
	stopping
)

func (p phase) String() string { return [...]string{"starting", "serving", "stopping"}[p] }

// master is the state of the process. Owner of every field without another note: the loop.
type master struct {
	o          Options // immutable
	config     *configs.Config
	sources    *os.File // sealed, what children are prepared from
	generation uint64   // that serves

	lastGeneration uint64          // the highest number that was proposed
	reloading      *reloading      // nil: no reload goes on
	reloads        []reloadRequest // wait for their turn
	lastReload     *Reload         // nil: there was none
	scaling        []func(error)   // wait for the number of children

	flip        flip        // nil: this process cannot be upgraded
	upgrading   *upgrading  // nil: no upgrade goes on
	lastUpgrade *Upgrade    // that has not come about; nil: none
	succession  *succession // nil: there is no predecessor (any more)
	previous    previous    // zero: no upgrade has led to this process
	identity    string      // of this process's executable
	parent      int         // the process that has started this one
	parentGone  bool        // tableflip has been told that this process is ready, and its parent, if it was a master, has gone
	recalling   bool        // children of the other master are being called

	orphans         []*orphan // of a dead master, until they are lives
	missed          []missed  // likewise, which could not be taken over
	firstGeneration uint64    // that this master has begun with
	alignDue        time.Time // by when adopted lives must serve it; zero: never

	runtime    *runtimeDir
	operator   *operator
	shards     *shardSet
	counters   *board.Segment // of the program's shared counters; nil: it has none
	past       *board.Past    // the sums of the lives that have ended; nil: none has begun
	accessLogs *logFiles
	sink       *sink       // any goroutine
	log        *zap.Logger // any goroutine

	ctx        context.Context // the program's in this process
	cancel     context.CancelFunc
	busy       bool      // Options.Prepare runs
	busyDue    time.Time // of a stop: when it is not waited for any more; zero: never
	tidyDue    time.Time // when the garbage of configurations and lives goes back to the system; zero: there is none
	phase      phase
	fast       bool // the stop is a fast one
	finished   bool // the loop ends
	code       int
	failure    string // why the start failed
	born       time.Time
	shardsDue  time.Time // of a stop: when the shards are closed in any case; zero: never
	slots      []*slot
	house      house
	lives      map[*child]struct{} // every life that has not ended, replaced ones included
	pace       pace
	lostLines  uint64 // of logs, reported by children
	inquiries  []*inquiry
	workers    *control.Resize // what the operator has set in place of the configuration's; nil: nothing
	level      string          // of the log, likewise; "": nothing
	feed       feed            // any goroutine
	health     health          // at the last looks
	balancer   balancer        // of connections between children
	admissions bool            // the start's gate is open: who is proved may accept

	supervision *supervision // nil: no supervisor wants to know

	// Seams of the tests.
	bounds bounds
	now    func() time.Time
	start  func(*child) (process, error)

	events  chan lifeEvent
	calls   chan func() // functions for the loop to run
	signals <-chan os.Signal
	done    chan struct{} // closed when the loop has ended
	stopped chan struct{} // closed when nothing of this master can be reached any more
}

type lifeEvent struct {
	child *child
	event any
}

// post hands an event to the loop. Any goroutine but the loop's.
func (m *master) post(c *child, event any) {
	select {
	case m.events <- lifeEvent{c, event}:
	case <-m.done:
	}
}

// do runs f in the loop and waits for it; false when the loop has ended. Any goroutine but the
// loop's.
func (m *master) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case m.calls <- func() { f(); close(ran) }:
		<-ran // the loop runs what it has taken
		return true
	case <-m.done:
		return false
	}
}

// run is the loop, and after it the end. Each turn takes one event; due times follow.
func (m *master) run() int {
	m.enterOrphans()
	if m.succession == nil {
		go m.operator.serve()
	}
	m.hearPredecessor()
	m.watchValues()
	m.prepare()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !m.finished {
		timer.Reset(m.tick())
		if m.finished {
			break
		}
		select {
		case e := <-m.events:
			m.handle(e.child, e.event)
		case f := <-m.calls:
			f()
			m.settle()
		case s := <-m.signals:
			m.onSignal(s)
		case <-timer.C:
		}
	}
	return m.end()
}

const (
	// idle is the longest wait of the loop when nothing is due.
	idle = time.Minute
	// tidyAfter is how long after the last configuration was read, or the last life was over, their garbage goes back to the system.
	tidyAfter = 5 * time.Second
)

// tidyLater gives the garbage back once nothing of the kind has happened for a while.
func (m *master) tidyLater() {
	if m.o.Host == nil { // a program's process has its own rhythm
		m.tidyDue = m.now().Add(tidyAfter)
	}
}

// tick does what is due and says in how long the next thing will be.
func (m *master) tick() time.Duration {
	now := m.now()
	for c := range m.lives {
		if !c.due.IsZero() && !c.due.After(now) {
			m.overdue(c)
		}
	}
	for _, s := range m.slots {
		if m.phase != stopping && s.current == nil && !s.due.IsZero() && !s.due.After(now) {
			m.spawn(s)
		}
	}
	for c := range m.lives {
		if !c.owed.IsZero() && !c.owed.After(now) && c.state == Serving {
			m.kill(c, fmt.Sprintf("it did not answer an order within %v", m.bounds.answer))
		}
	}
	health := m.checkHealth(now)
	vote := m.checkReload(now)
	adopted := m.checkAdopted(now)
	house := m.keepHouse(now)
	handoff, balance := m.checkHandoff(now), m.checkBalance(now)
	upgrade, succession := m.checkUpgrade(now), m.checkSuccession(now)
	m.settle()
	if !m.busyDue.IsZero() && !m.busyDue.After(now) {
		m.log.Warn("the program's hook in the master does not return; it is not waited for")
		m.busy, m.busyDue = false, time.Time{}
		m.finish()
	}
	if !m.shardsDue.IsZero() && !m.shardsDue.After(now) {
		m.closeShards()
	}
	if !m.tidyDue.IsZero() && !m.tidyDue.After(now) {
		m.tidyDue = time.Time{}
		go debug.FreeOSMemory() // by itself Go collects a process that does next to nothing only every two minutes
	}
	m.answerInquiries()
	supervision := m.checkSupervision(now)

	next := now.Add(idle)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	sooner(m.shardsDue)
	sooner(m.busyDue)
	sooner(m.tidyDue)
	sooner(health)
	sooner(supervision)
	sooner(vote)
	sooner(adopted)
	sooner(house)
	sooner(upgrade)
	sooner(succession)
	sooner(handoff)
	sooner(balance)
	for _, s := range m.slots {
		sooner(s.due)
		if m.phase == serving && s.keeper == nil && !s.dark.IsZero() && s.darkUntil().After(now) {
			sooner(s.darkUntil())
		}
		if !s.gone {
			sooner(s.parked)
		}
	}
	for c := range m.lives {
		sooner(c.due)
		sooner(c.owed)
	}
	for _, i := range m.inquiries {
		sooner(i.due)
	}
	return max(next.Sub(now), 0)
}

// end closes everything, in the order in which others can notice: the shards, the control socket
// with the lock of the runtime directory, and only then the answers to whoever asked for the stop.
func (m *master) end() int {
	m.cancel()
	m.abandon()
	m.farewell()
	m.shards.close()
	m.runtime.close()
	close(m.done)
	close(m.stopped)
	m.operator.close()
	m.succession.release(m.bounds.fast)
	for _, s := range m.slots {
		_ = s.socket.Close()
	}
	if s := m.house.slot.socket; s != nil {
		_ = s.Close()
	}
	_ = m.sources.Close()
	if m.counters != nil {
		_ = m.counters.Close()
	}
	m.closeBoard()
	m.accessLogs.close()
	if m.failure == "" {
		m.log.Info("stopped", zap.Duration("uptime", m.now().Sub(m.born).Round(time.Millisecond)))
	}
	m.supervision.close()
	m.sink.close()
	if m.failure != "" {
		fmt.Fprintln(m.o.Stderr, m.failure)
	}
	return m.code
}
