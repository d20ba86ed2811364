package master

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// A lineage is a server through its upgrades: masters that follow one another, all in this process, each with a loop of its own and with
// children on goroutines. Between a master and its successor stands a relay, which knows every message, and can end either of them before or
// after any. The sockets, the files, the channels and the adoptions are real; the clock is the test's.
type lineage struct {
	t      *testing.T
	dir    string
	path   string // of the configuration
	binary string // that every upgrade executes

	mu       sync.Mutex
	clock    time.Time
	reigns   []*reign
	children []*fakeLife
	pids     int

	obey    func(c *fakeLife, m control.Message) bool // false: the child does not obey this order; owner: mu
	relayed func(step relayStep)                      // called before and after each message between masters; owner: mu

	// What a test changes, before the goroutines that look at it run.
	broken  error                  // the executable cannot be started
	mute    atomic.Bool            // a successor claims nothing
	late    func(successor *reign) // called with a successor that is about to run
	lasting atomic.Bool            // children that drain have connections that do not move
}

// reign is a master's life.
type reign struct {
	*fakeFlip
	l       *lineage
	m       *master // nil: it has come to nothing before
	killed  bool
	version string
	out     *lines
	log     *lines
	signals chan os.Signal
	code    int           // once gone
	gone    chan struct{} // closed: its process has ended
	ending  sync.Once
	parent  *reign
	anchor  *os.Process     // a process that stands for this master in the eyes of its predecessor, which may have to kill it
	channel []*control.Conn // both ends of the relay
}

// relayStep is a message between two masters.
type relayStep struct {
	up       bool // from the successor to the predecessor
	number   int  // from 1, of its kind in this direction
	kind     control.Kind
	message  control.Message
	after    bool // it was delivered
	from, to *reign
}

func (s relayStep) String() string {
	who, when := "predecessor", "before"
	if s.up {
		who = "successor"
	}
	if s.after {
		when = "after"
	}
	return fmt.Sprintf("%s_%s_%d_of_the_%s", when, s.kind, s.number, who)
}

// lineageConfig has no trial, so that no clock has to be moved for an upgrade.
const lineageConfig = `control = %q
drain_timeout = "20s"
children = %d
upgrade {
  timeout   = "40s"
  canary    = "0s"
  probation = "0s"
}
listen "main" { address = "127.0.0.1:0" }
site "main" {}
`

// newLineage starts the first master, and waits until it serves.
func newLineage(t *testing.T, children int) (*lineage, *reign) {
	t.Helper()
	l := lineageOf(t)
	l.configure(fmt.Sprintf(lineageConfig, filepath.Join(l.dir, "control.sock"), children))
	return l, l.first()
}

func lineageOf(t *testing.T) *lineage {
	t.Helper()
	dir, err := os.MkdirTemp("", "l") // short: paths of sockets are
	if err != nil {
		t.Fatal(err)
	}
	l := &lineage{t: t, dir: dir, path: filepath.Join(dir, "test.hcl"), clock: time.Now()}
	if l.binary, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range l.all() {
			for range 3 {
				r.do(func() {
					l.tame(r.m)
					r.m.onSignal(syscall.SIGINT)
				})
			}
			if r.m == nil {
				r.dies()
			}
			<-r.gone
			if t.Failed() {
				t.Logf("log of %s:\n%s", r.version, r.log)
			}
		}
		for _, c := range l.lives(nil) {
			c.dies(syscall.SIGKILL)
		}
		os.RemoveAll(dir)
	})
	return l
}

func (l *lineage) configure(text string) {
	if err := os.WriteFile(l.path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// reconfigure replaces a part of the configuration.
func (l *lineage) reconfigure(old, text string) {
	l.t.Helper()
	before, err := os.ReadFile(l.path)
	if err != nil || !strings.Contains(string(before), old) {
		l.t.Fatalf("%q is not in the configuration: %v", old, err)
	}
	l.configure(strings.Replace(string(before), old, text, 1))
}

func (l *lineage) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock
}

// pass moves the clock, and wakes the loops.
func (l *lineage) pass(d time.Duration) {
	l.mu.Lock()
	l.clock = l.clock.Add(d)
	l.mu.Unlock()
	for _, r := range l.all() {
		r.do(func() {})
	}
}

func (l *lineage) all() []*reign {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.reigns)
}

// lives are the living children, of a master or of all (nil).
func (l *lineage) lives(of *reign) (all []*fakeLife) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.children {
		if !c.dead && (of == nil || c.born == of) {
			all = append(all, c)
		}
	}
	return all
}

// child is the latest life of a master's child.
func (l *lineage) child(of *reign, index int) *fakeLife {
	l.t.Helper()
	for _, c := range slices.Backward(l.lives(of)) {
		if c.index == index {
			return c
		}
	}
	l.t.Fatalf("%s has no child %d", of.version, index)
	return nil
}

// await waits until something is true.
func (l *lineage) await(what string, ok func() bool) {
	l.t.Helper()
	for bound := time.Now().Add(patience); !ok(); {
		if time.Now().After(bound) {
			l.t.Fatalf("it did not come about: %s", what)
		}
		<-time.After(200 * time.Microsecond)
	}
}

// options are those of every master of the lineage.
func (r *reign) options() Options {
	o := Options{Version: r.version, Path: r.l.path, Stdout: r.out, Stderr: r.log, Executable: r.l.binary, Shared: new(board.Shared)}.withDefaults()
	if _, err := o.Shared.Counter("hits"); err != nil {
		panic(err)
	}
	if _, err := o.Shared.Value("color"); err != nil {
		panic(err)
	}
	o.flip = r.fakeFlip
	return o
}

func (l *lineage) newReign(parent *reign) *reign {
	r := &reign{l: l, out: newLines(), log: newLines(), signals: make(chan os.Signal, 4), gone: make(chan struct{}), parent: parent}
	r.fakeFlip = &fakeFlip{r: r, ready: make(chan struct{})}
	l.mu.Lock()
	l.reigns = append(l.reigns, r)
	r.version = fmt.Sprintf("v%d", len(l.reigns))
	l.mu.Unlock()
	return r
}

func (l *lineage) first() *reign {
	l.t.Helper()
	r := l.newReign(nil)
	o := r.options()
	config, sources, diagnostics := resolve(o)
	if diagnostics.HasErrors() {
		l.t.Fatal(diagnostics.Err())
	}
	forksEnd()
	m, err := open(o, config, sources)
	if err != nil {
		close(r.gone)
		l.t.Fatal(err)
	}
	r.begin(m)
	r.out.wait(l.t, "serving http", 1)
	return r
}

// forksEnd waits for the forks of other tests: between its fork and its exec a process has all descriptors, and with them the locks of those that
// are closed here.
func forksEnd() {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
}

// begin runs a master whose clock and children are the test's.
func (r *reign) begin(m *master) {
	m.signals, m.now, m.start = r.signals, r.l.now, r.start
	m.parent = 0 // the test's parent is no master that may be killed
	m.born = m.now()
	for _, s := range m.slots {
		if !s.due.IsZero() {
			s.due = m.born
		}
	}
	r.l.mu.Lock()
	r.m = m
	killed := r.killed
	r.l.mu.Unlock()
	if killed { // while it opened
		r.lapse()
		r.ends(exitRefused)
		return
	}
	go func() {
		code := exitOK
		defer func() { r.ends(code) }()
		code = m.run()
	}()
}

// ends closes the books of a process.
func (r *reign) ends(code int) {
	r.ending.Do(func() {
		r.code = code
		close(r.gone)
		if r.anchor != nil {
			_ = r.anchor.Kill()
		}
	})
}

// succeed is what the process of a successor does, from its start on (Run).
func (r *reign) succeed(conn *control.Conn) {
	if r.l.mute.Load() {
		return // until it is killed
	}
	o := r.options()
	s, err := claim(conn, o.Version, o.Executable)
	if err != nil {
		fmt.Fprintln(r.log, err)
		r.ends(exitRefused)
		return
	}
	o.succession = s
	o.supervisor = s.supervisorEnv()
	config, sources, diagnostics := resolve(o)
	if diagnostics.HasErrors() {
		fmt.Fprintln(r.log, diagnostics.Err())
		o.refused("the new version refuses the configuration: " + firstError(diagnostics))
		r.ends(exitRefused)
		return
	}
	m, err := open(o, config, sources)
	if err != nil {
		fmt.Fprintln(r.log, err)
		o.refused(err.Error())
		r.ends(exitRefused)
		return
	}
	if r.l.late != nil {
		r.l.late(r)
	}
	r.begin(m)
}

// do runs f in the master's loop; false: it has ended.
func (r *reign) do(f func()) bool {
	r.l.mu.Lock()
	m := r.m
	r.l.mu.Unlock()
	return m != nil && m.do(f)
}

// is asks something of the loop.
func (r *reign) is(f func(m *master) bool) (yes bool) {
	r.do(func() { yes = f(r.m) })
	return yes
}

// dies ends the process at once, in the middle of whatever it does: no file is removed, nobody is told.
func (r *reign) dies() {
	select {
	case <-r.gone:
		return // its last words may be on their way
	default:
	}
	r.l.mu.Lock()
	r.killed = true
	m, channel := r.m, r.channel
	r.l.mu.Unlock()
	if m != nil { // before the end of its channel: it must not see that, and draw conclusions
		select {
		case m.calls <- func() { r.lapse(); runtime.Goexit() }:
		case <-m.done:
		case <-r.gone:
		}
		<-r.gone
		return
	}
	for _, c := range channel {
		_ = c.Shutdown()
	}
	if r.l.mute.Load() {
		r.ends(exitRefused)
	}
	// Otherwise it ends before it runs.
}

// lapse gives back what a process has, as the kernel does at its end.
func (r *reign) lapse() {
	m := r.m
	if s := m.succession; s != nil && s.conn != nil {
		s.conn.Release()
	} else if s != nil {
		_ = s.channel.Close()
	}
	if u := m.upgrading; u != nil && u.conn != nil {
		u.conn.Release()
	}
	_ = m.operator.server.Close()
	_ = m.runtime.listener.Close()
	_ = m.runtime.folder.Close()
	for _, l := range m.shards.listeners {
		for _, fd := range l.shards {
			_ = netcore.Close(fd)
		}
	}
	for c := range m.lives {
		c.proc.Release()
	}
	close(m.done)
}

// fakeFlip keeps the rules of the real one.
type fakeFlip struct {
	r        *reign
	ready    chan struct{} // closed by Ready
	once     sync.Once
	mu       sync.Mutex
	upgraded bool
}

func (f *fakeFlip) Upgrade(_ string, envelope *os.File) error {
	select {
	case <-f.ready:
	default:
		return errors.New("process is not ready yet")
	}
	if p := f.r.parent; p != nil {
		select {
		case <-p.gone:
		default:
			return errors.New("parent hasn't exited")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.upgraded {
		return errors.New("already upgraded")
	}
	if f.r.l.broken != nil {
		return f.r.l.broken
	}
	conn, err := control.Passed(envelope)
	if err != nil {
		return err
	}
	next := f.r.l.newReign(f.r)
	if err := next.stand(); err != nil {
		return err
	}
	theirs := next.relay(conn)
	go next.succeed(theirs)
	select {
	case <-next.ready:
		f.upgraded = true
		return nil
	case <-next.gone:
		select {
		case <-next.ready:
			f.upgraded = true
			return nil
		default:
		}
		return fmt.Errorf("child (PID=%d) exited: exit status %d", next.anchor.Pid, max(next.code, 1))
	}
}

func (f *fakeFlip) Ready() error { f.once.Do(func() { close(f.ready) }); return nil }

func (f *fakeFlip) WaitForParent(context.Context) error {
	if f.r.parent != nil {
		<-f.r.parent.gone
	}
	return nil
}

// stand starts a process that its predecessor may kill in this master's place. It ends at the latest with the test's process.
func (r *reign) stand() error {
	c := exec.Command("cat")
	if r.l.mute.Load() { // then it has to be found
		c.Env = append(os.Environ(), envHasParent+"=yes")
	}
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	r.l.mu.Lock()
	r.anchor = c.Process
	r.l.mu.Unlock()
	go func() {
		_ = c.Wait()
		_ = in.Close()
		if c.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
			r.signals <- syscall.SIGTERM
			return
		}
		r.dies()
	}()
	return nil
}

// relay stands between two masters. It returns the successor's end.
func (r *reign) relay(predecessor *control.Conn) *control.Conn {
	successor, file, err := control.Pair()
	if err != nil {
		panic(err)
	}
	theirs, err := control.New(file)
	if err != nil {
		panic(err)
	}
	r.l.mu.Lock()
	r.channel = []*control.Conn{predecessor, successor}
	r.l.mu.Unlock()
	pass := func(from, to *control.Conn, step relayStep) {
		numbers := map[control.Kind]int{}
		for {
			m, fds, err := from.ReceiveDescriptors()
			if err != nil {
				break
			}
			if c, ok := m.(*control.Claim); ok {
				c.Pid = r.anchor.Pid
			}
			if m.Kind() == control.KindOffspring { // the process of the test, which the predecessor would kill
				closeFds(fds)
				continue
			}
			numbers[m.Kind()]++
			step.kind, step.number, step.message, step.after = m.Kind(), numbers[m.Kind()], m, false
			r.l.notice(step)
			err = to.Send(m, fds...)
			closeFds(fds)
			if err != nil {
				continue // nobody is there any more: that is the other direction's affair
			}
			step.after = true
			r.l.notice(step)
		}
		_ = to.Shutdown() // what was sent is received before its end
	}
	var both sync.WaitGroup
	both.Go(func() { pass(successor, predecessor, relayStep{up: true, from: r, to: r.parent}) })
	both.Go(func() { pass(predecessor, successor, relayStep{from: r.parent, to: r}) })
	go func() {
		both.Wait()
		_ = predecessor.Close()
		_ = successor.Close()
	}()
	return theirs
}

func (l *lineage) notice(step relayStep) {
	l.mu.Lock()
	f := l.relayed
	l.mu.Unlock()
	if f != nil {
		f(step)
	}
}

func (l *lineage) orders() func(*fakeLife, control.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.obey
}

// command sets what is asked before a child obeys.
func (l *lineage) command(f func(c *fakeLife, m control.Message) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.obey = f
}

// watch sets what is called with every step.
func (l *lineage) watch(f func(relayStep)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relayed = f
}

// fakeLife is a child on a goroutine. It does what child does with each order, and outlives its master.
type fakeLife struct {
	l     *lineage
	born  *reign
	index int
	pid   int
	name  string // of its socket
	post  func(any)
	door  *control.Door
	file  *os.File // of the door
	end   sync.Once

	// Owner: lineage.mu.
	dead      bool
	conn      *control.Conn
	accepting bool
	paused    bool
	draining  bool
	adopter   *reign
	life      *board.Life // set once
	color     control.Kept

	// Owner: the goroutine.
	admitted bool
	secret   string
	segments []*os.File
	names    []string // of the shared counters
	shards   []control.Shard
	files    []*os.File
	serves   uint64
}

// fakeChannel is a fakeLife as its master sees it.
type fakeChannel struct {
	*running
	c *fakeLife
}

func (p fakeChannel) Pid() int              { return p.c.pid }
func (p fakeChannel) Kill(s syscall.Signal) { go p.c.dies(s) }

// start is the seam.
func (r *reign) start(c *child) (process, error) {
	ours, theirs, err := control.Pair()
	if err != nil {
		return nil, err
	}
	conn, err := control.New(theirs)
	if err != nil {
		return nil, err
	}
	f := &fakeLife{l: r.l, born: r, index: c.slot.index, name: c.socketName, conn: conn, post: func(event any) { r.m.post(c, event) }}
	first, err := duplicate(c.socket)
	if err != nil {
		return nil, err
	}
	f.file = os.NewFile(uintptr(first), f.name)
	again, err := duplicate(c.socket)
	if err != nil {
		return nil, err
	}
	second := os.NewFile(uintptr(again), f.name)
	if f.door, err = control.NewDoor(second); err != nil {
		return nil, err
	}
	r.l.mu.Lock()
	r.l.pids++
	f.pid = os.Getpid() // as the kernel will name it, if it is adopted
	if f.index > 0 {
		f.pid = 1<<22 + r.l.pids
	}
	r.l.children = append(r.l.children, f)
	r.l.mu.Unlock()
	p := fakeChannel{&running{conn: ours, post: f.post, outbox: make(chan outgoing, outboxSize)}, f}
	go p.receive(r.m.sink.write)
	go p.send()
	go f.run()
	return p, nil
}

func (c *fakeLife) String() string { return fmt.Sprintf("child %d of %s", c.index, c.born.version) }

// is asks for what the child is.
func (c *fakeLife) is(f func() bool) bool {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return f()
}

// counters are the child's on the board.
func (c *fakeLife) counters() (life *board.Life) {
	c.l.await("the child is on the board", func() bool { return c.is(func() bool { life = c.life; return life != nil }) })
	return life
}

func (c *fakeLife) serving() bool {
	return c.is(func() bool { return !c.dead && c.accepting && !c.draining })
}

func (c *fakeLife) say(m control.Message) { _ = c.conn.Send(m) } // who has asked may be gone

// run obeys, until the end.
func (c *fakeLife) run() {
	c.say(&control.Hello{Pid: c.pid, Version: c.born.version, Child: c.index})
	for {
		m, files, err := c.conn.Receive()
		if err != nil {
			if c.is(func() bool { return c.dead }) {
				return
			}
			if !c.admitted || !c.awaitMaster() {
				c.exits(0)
				return
			}
			continue
		}
		if r := c.master(); r != nil {
			r.do(func() { c.l.tame(r.m) })
		}
		if obey := c.l.orders(); obey != nil && !obey(c, m) {
			closeAll(files)
			continue
		}
		if c.obeys(m, files) {
			c.exits(0)
			return
		}
	}
}

// obeys carries one order out; true: it was the last.
func (c *fakeLife) obeys(m control.Message, files []*os.File) bool {
	set := func(f func()) { c.l.mu.Lock(); f(); c.l.mu.Unlock() }
	switch m := m.(type) {
	case *control.Board:
		life, err := board.OpenLife(files[0])
		if err != nil {
			return true
		}
		set(func() { c.life = life })
		c.segments, c.secret, c.names = files, string(m.Secret), m.Counters
		c.life.Set(board.WordPid, int64(c.pid))
		c.life.Set(board.WordStarted, 10)
		c.life.Set(board.WordFinished, 10)
		return false
	case *control.Value:
		set(func() { c.color = control.Kept{Name: m.Name, Revision: m.Revision, Text: m.Text} })
		c.say(&control.ValueSeen{})
	case *control.Prepare:
		c.say(&control.Prepared{Generation: m.Generation, Digest: m.Digest})
	case *control.Commit:
		c.serves = m.Generation
		c.say(&control.Committed{Generation: m.Generation})
	case *control.Lend:
		c.shards, c.files = append(c.shards, m.Shards...), append(c.files, files...)
		c.say(&control.Lent{Count: len(c.shards)})
		return false
	case *control.Return:
		c.say(&control.Returned{})
	case *control.Inject:
		go answerSelf(files[0])
		return false
	case *control.Accept:
		c.admitted = true
		set(func() { c.accepting, c.paused = true, false })
		c.say(&control.Accepting{})
	case *control.Pause:
		set(func() { c.accepting, c.paused = false, true })
		c.say(&control.Paused{})
	case *control.Drain:
		if len(files) > 0 { // all its connections move
			for c.life.Get(board.WordConnections) > 0 && !c.l.lasting.Load() {
				c.life.Set(board.WordConnections, c.life.Get(board.WordConnections)-1)
				c.life.Closed(movedReason)
			}
		}
		already := false
		set(func() { already, c.accepting, c.draining = c.draining, false, true })
		if !already {
			c.say(&control.Draining{})
		}
		if c.l.lasting.Load() && m.TimeoutMillis > 0 {
			break
		}
		c.say(&control.Drained{})
		closeAll(files)
		return true
	case *control.Report:
		c.say(&control.Reported{})
	case *control.Ping:
		c.say(&control.Pong{})
	case *control.Resize:
		c.say(&control.Resized{})
	case *control.ReopenLogs:
		c.say(&control.Reopened{})
	}
	closeAll(files)
	return false
}

func answerSelf(f *os.File) {
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
}

// awaitMaster waits as an orphan; false: nobody will come any more.
func (c *fakeLife) awaitMaster() bool {
	_ = c.conn.Close()
	for {
		conn, err := c.door.Accept()
		if err != nil {
			return false
		}
		m, files, err := conn.Receive()
		closeAll(files)
		a, ok := m.(*control.Adopt)
		if err != nil || !ok || string(a.Secret) != c.secret {
			_ = conn.Close()
			continue
		}
		var fds []int
		for _, f := range slices.Concat([]*os.File{c.file}, c.segments, c.files) {
			raw, err := f.SyscallConn()
			if err != nil {
				return false
			}
			_ = raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
		}
		c.l.mu.Lock()
		adopted := &control.Adopted{Pid: c.pid, Version: c.born.version, Child: c.index, Generation: c.serves, Accepting: c.accepting, Draining: c.draining,
			Counters: c.names, Shards: c.shards}
		c.l.mu.Unlock()
		if c.color.Revision > 0 {
			adopted.Values = 1
		}
		if conn.Send(adopted, fds...) != nil {
			_ = conn.Close()
			continue
		}
		if c.color.Revision > 0 {
			_ = conn.Send(&c.color)
		}
		for {
			if m, files, err = conn.Receive(); err != nil {
				break
			}
			closeAll(files)
			if m.Kind() == control.KindPing {
				break
			}
		}
		if err != nil {
			_ = conn.Close()
			continue
		}
		c.l.mu.Lock() // before the master has it in its books: whoever ends the child then looks here whom to tell
		c.conn = conn
		for _, r := range c.l.reigns {
			if r.version == a.Version {
				c.adopter = r
			}
		}
		c.l.mu.Unlock()
		_ = conn.Send(&control.Pong{})
		return true
	}
}

// tame makes adopted processes in a master's books the goroutines that they are: to the kernel each is the process of the test. Owner: the loop
// of the master.
func (l *lineage) tame(m *master) {
	l.mu.Lock()
	children := slices.Clone(l.children)
	l.mu.Unlock()
	for _, c := range slices.Backward(children) {
		for life := range m.lives {
			if p, ok := life.proc.(*adoptedProcess); ok && life.socketName == c.name {
				life.proc = tamed{p, c}
			}
		}
	}
}

// master is who has adopted the child; nil: it has the one that it was started by.
func (c *fakeLife) master() *reign {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return c.adopter
}

type tamed struct {
	*adoptedProcess
	c *fakeLife
}

func (p tamed) Kill(s syscall.Signal) { go p.c.dies(s) }

// exits ends the child by itself, dies from outside.
func (c *fakeLife) exits(code int)        { c.over(syscall.WaitStatus(code << 8)) }
func (c *fakeLife) dies(s syscall.Signal) { c.over(syscall.WaitStatus(s)) }

func (c *fakeLife) over(status syscall.WaitStatus) {
	c.end.Do(func() {
		c.l.mu.Lock()
		c.dead, c.accepting = true, false
		adopter, conn := c.adopter, c.conn
		c.l.mu.Unlock()
		_ = c.door.Close()
		_ = c.file.Close()
		if adopter != nil {
			adopter.do(func() {
				for life := range adopter.m.lives {
					if life.adopted && life.socketName == c.name {
						adopter.m.handle(life, departure{})
					}
				}
			})
		}
		_ = conn.Close()
		if adopter == nil {
			c.post(exit{status})
		}
	})
}
