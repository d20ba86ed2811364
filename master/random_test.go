package master

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// The core of the master against a fleet of modelled children, in random order: whatever children, operators and the clock do, in whatever
// order, some things hold after every event, and once everybody has answered all is as the configuration says. There are no processes here,
// but the sockets and files are real. A child of the model does what child/agent.go does, order by order, as late as chance will have it.

// chance decides what happens next.
type chance interface {
	// pick returns a number from 0 to n-1.
	pick(n int) int
}

type seeded struct{ *rand.Rand }

func (s seeded) pick(n int) int { return s.IntN(n) }

// given takes the decisions from bytes, and 0 when there are no more.
type given struct{ bytes []byte }

func (g *given) pick(n int) int {
	if len(g.bytes) == 0 || n <= 1 {
		return 0
	}
	b := int(g.bytes[0])
	g.bytes = g.bytes[1:]
	return b % n
}

// modelChild is a child as its process sees itself.
type modelChild struct {
	w     *world
	pid   int
	life  *child
	inbox []modelOrder

	greeted   bool
	prepared  uint64  // not committed; 0: none
	digest    string  // of prepared
	log       logFile // that came with it
	committed uint64
	serves    string // the digest of committed
	writes    logFile
	shards    map[shardID]uint64 // that it holds, by socket
	accepting bool
	draining  bool
	drained   bool

	lazy     int  // it obeys one turn in so many
	killed   bool // has got SIGKILL, or SIGABRT
	exited   bool // the master has been told
	silent   bool // likewise, of the end of the channel
	status   syscall.WaitStatus
	last     []control.Message // said between exit and the end of the channel
	released bool
}

// logFile is an access log: its name, and the file that is open.
type logFile struct {
	name string
	file uint64
}

type modelOrder struct {
	message control.Message
	files   []uint64
	taker   *modelChild // at the other end of a Give's channel
}

func (p *modelChild) Pid() int { return p.pid }
func (p *modelChild) Send(m control.Message, fds ...int) {
	if p.exited && p.silent || p.released {
		p.w.fatal("child %d (%d) is sent %s after its end", p.life.slot.index, p.pid, m.Kind())
	}
	o := modelOrder{message: m}
	for _, fd := range fds {
		o.files = append(o.files, p.w.inode(fd))
	}
	if s := p.life.slot; m.Kind() == control.KindDrain && s.retiring && p.w.phase != stopping && p.life.state == Serving {
		p.w.checkHandedOver(p)
	}
	switch m.Kind() {
	case control.KindInject:
		p.w.proofs++
	case control.KindTake, control.KindGive, control.KindDrain:
		p.w.checkChannel(p, &o)
	}
	p.inbox = append(p.inbox, o)
	p.w.note("   to %s: %s", p, describeMessage(m))
}
func (p *modelChild) Kill(s syscall.Signal) {
	p.killed, p.status = true, syscall.WaitStatus(s)
	p.w.note("   kill %s %d: %s", p, s, p.life.fault)
}
func (p *modelChild) Release() { p.released = true }
func (p *modelChild) String() string {
	return fmt.Sprintf("child %d (%d, %s)", p.life.slot.index, p.pid, p.life.state)
}

func describeMessage(m control.Message) string {
	switch m := m.(type) {
	case *control.Prepare:
		return fmt.Sprintf("prepare %d %.8s %v", m.Generation, m.Digest, m.Listeners)
	case *control.Prepared:
		return fmt.Sprintf("prepared %d %.8s", m.Generation, m.Digest)
	case *control.Lend:
		text := "lend"
		for _, s := range m.Shards {
			text += fmt.Sprintf(" %d.%d", s.ID, s.Index)
		}
		return text
	case *control.Board, *control.Hello:
		return m.Kind().String()
	}
	return fmt.Sprintf("%s %+v", m.Kind(), m)
}

// inode tells files apart.
func (w *world) inode(fd int) uint64 {
	w.t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		w.fatal("descriptor %d: %v", fd, err)
	}
	return st.Ino
}

// world is a master with its modelled children.
type world struct {
	*master
	t      testing.TB
	c      chance
	clock  time.Time
	dir    string
	broken error // what the next starts return

	children map[*child]*modelChild
	order    []*modelChild // living, in order of birth
	pids     int
	proofs   int           // requests of the master's own that are on their way; their real outcome is not listened to
	read     []func()      // readings that have come back to the loop
	reader   *reloading    // whose is the last of them
	took     []*modelChild // have got the other ends of channels that no giver has yet

	digests  map[uint64]string // of generations that a child has committed
	wanted   int               // number of children
	known    *configs.Config
	asked    []*promise
	mood     int
	proposed uint64 // by the reload that goes on
	ports    []string
	written  []string // configurations

	seen  map[uint64]seenShard // by socket, after the last event
	base  int                  // descriptors that are always open
	trace []string
}

// seenShard is an open shard.
type seenShard struct {
	id    shardID
	l     *listener
	since time.Time // when the kernel was told to send it no more connections; zero: it gets some
}

// promise is a callback that has to be called once.
type promise struct {
	what  string
	calls int
}

func (w *world) promise(what string) *promise {
	p := &promise{what: fmt.Sprintf("%s, asked at %v", what, w.clock.Sub(time.Unix(1_000_000, 0)))}
	w.asked = append(w.asked, p)
	return p
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%9.3f ", w.clock.Sub(time.Unix(1_000_000, 0)).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	from := max(0, len(w.trace)-60)
	if os.Getenv(randomSeeds) != "" {
		from = 0
	}
	w.t.Fatalf("%s\nbefore:\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[from:], "\n"))
}

// configure writes a random configuration.
func (w *world) configure() {
	if n := len(w.written); n > 1 && w.c.pick(2) == 0 { // one that there was: listeners come back while they leave
		w.write(w.written[max(0, n-1-w.c.pick(3))])
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "control = %q\ndrain_timeout = %q\nchildren = %d\n", filepath.Join(w.dir, "control.sock"), "20s", 1+w.c.pick(4))
	fmt.Fprintf(&b, "site \"main\" {\n  access_log { file = %q }\n", filepath.Join(w.dir, fmt.Sprintf("access%d.log", w.c.pick(2))))
	if w.c.pick(3) == 1 {
		b.WriteString("  route \"/\" {\n    sweeper {}\n  }\n") // which has chores
	}
	b.WriteString("}\n")
	listens := 0
	for i, address := range append(w.ports, "127.0.0.1:0", "unix:"+filepath.Join(w.dir, "a.sock"), "unix:"+filepath.Join(w.dir, "b.sock")) {
		if w.c.pick(2) == 0 {
			listens++
			fmt.Fprintf(&b, "listen \"l%d%d\" { address = %q }\n", i, w.c.pick(2), address) // two names: some are renamed
		}
	}
	if listens == 0 {
		fmt.Fprintf(&b, "listen \"main\" { address = \"127.0.0.1:0\" }\n")
	}
	if w.c.pick(8) == 7 {
		b.WriteString("nonsense\n")
	}
	w.written = append(w.written, b.String())
	w.write(b.String())
}

func (w *world) write(text string) {
	if err := os.WriteFile(w.o.Path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func newWorld(t testing.TB, c chance) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "w") // short: paths of sockets are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, c: c, clock: time.Unix(1_000_000, 0), dir: dir, children: map[*child]*modelChild{}, digests: map[uint64]string{}}
	var free []int
	for range 2 { // addresses that are free now; a reload that finds one taken is refused, as it should be
		fd, err := netcore.Listen(endpoint(testConfig(dir).Listeners[0].Address), netcore.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		local, _ := netcore.Local(fd)
		free = append(free, fd)
		w.ports = append(w.ports, local.Addr.String())
	}
	closeFds(free) // not before there are two: they would be the same
	o := Options{Version: "v0", Path: filepath.Join(dir, "test.hcl"), Stdout: io.Discard, Stderr: io.Discard,
		Schema: &configs.Schema{Modules: []configs.BlockSpec{{Name: "sweeper", Chores: true}}}}.withDefaults()
	w.master = &master{o: o}
	var config *configs.Config
	var sources *configs.Sources
	for {
		w.configure()
		var diagnostics configs.Diagnostics
		if config, sources, diagnostics = resolve(o); !diagnostics.HasErrors() {
			break
		} else if text, _ := os.ReadFile(o.Path); !strings.Contains(string(text), "nonsense") {
			t.Fatal(diagnostics.Err())
		}
	}
	if w.master, err = open(o, config, sources); err != nil && strings.Contains(err.Error(), "in use") {
		t.Skip(err) // somebody was faster
	} else if err != nil {
		t.Fatal(err)
	}
	w.wanted, w.known = config.Children, config
	w.now = func() time.Time { return w.clock }
	w.events = make(chan lifeEvent, 100_000)
	w.born, w.start = w.clock, w.startModel
	for _, s := range w.slots {
		s.due = w.clock
	}
	w.initHouse(w.clock)
	w.base = w.descriptors() - w.expected()
	return w
}

func (w *world) startModel(c *child) (process, error) {
	if w.broken != nil {
		return nil, w.broken
	}
	w.pids++
	p := &modelChild{w: w, pid: 1000 + w.pids, life: c, lazy: 1 + w.c.pick(4), shards: map[shardID]uint64{}}
	w.children[c] = p
	w.order = append(w.order, p)
	w.note("   start %s", p)
	return p, nil
}

func (w *world) descriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		w.t.Fatal(err)
	}
	return len(names)
}

// expected is how many descriptors the master should have beyond what it always has.
func (w *world) expected() int {
	n := len(w.accessLogs.files)
	for _, l := range w.shards.listeners {
		n += len(l.shards)
	}
	for c := range w.lives {
		if c.life != nil {
			n++
		}
	}
	if w.past != nil {
		n++
	}
	if w.house.slot.socket != nil {
		n++
	}
	if r := w.reloading; r != nil && r.number != 0 && !r.decided {
		n++ // sources
		for _, l := range r.change.opened {
			n += len(l.shards)
		}
		n += len(r.read.logs.files)
	}
	return n
}

// awaitProofs waits for the master's own requests, which nobody has answered. Each has closed its descriptor when it reports.
func (w *world) awaitProofs() {
	for ; w.proofs > 0; w.proofs-- {
		<-w.events
	}
}

// checkDescriptors holds what is open against what should be.
func (w *world) checkDescriptors() {
	w.t.Helper()
	w.awaitProofs()
	if len(w.read) > 0 { // what a reading has opened is not in the books yet
		return
	}
	if got, want := w.descriptors()-w.base, w.expected(); got > want { // fewer: something of an earlier test was closed late
		names, _ := os.ReadDir("/proc/self/fd")
		for _, n := range names {
			to, _ := os.Readlink("/proc/self/fd/" + n.Name())
			w.note("   %s is %s", n.Name(), to)
		}
		w.fatal("%d descriptors are open, and not %d", got, want)
	}
}

// follow does what the loop does after every event, and checks what has to hold. It says when the next thing will be due.
func (w *world) follow() time.Duration {
	w.t.Helper()
	for _, p := range w.order { // loops turn
		if life := p.life.life; life != nil && !p.exited {
			life.Set(board.WordHeartbeat, w.clock.UnixNano())
		}
	}
	w.tick()
	w.tidyDue = time.Time{} // to collect garbage takes real time
	next := w.tick()
	if w.reloading != nil {
		w.proposed = w.reloading.number
	}
	if w.reloading != nil && w.reloading != w.reader {
		w.reader = w.reloading
		w.read = append(w.read, <-w.calls) // its reading is done at once, and proposed later, perhaps too late
	}
	if w.config != w.known {
		if w.config.Children != w.known.Children {
			w.wanted = w.config.Children
		}
		w.known = w.config
	}
	w.order = slices.DeleteFunc(w.order, func(p *modelChild) bool { return p.life.state == Ended })
	w.check()
	return next
}

func (w *world) says(p *modelChild, m control.Message) {
	w.note("%s says %s", p, describeMessage(m))
	w.handle(p.life, received{message: m})
	w.follow()
}

// work lets p obey the oldest order.
func (w *world) work(p *modelChild) {
	if len(p.inbox) == 0 || p.exited || p.silent || p.killed {
		return
	}
	for _, m := range w.obey(p) {
		w.says(p, m)
	}
}

// obey is what a child does with its oldest order, and what it answers.
func (w *world) obey(p *modelChild) (answers []control.Message) {
	o := p.inbox[0]
	p.inbox = p.inbox[1:]
	w.note("%s obeys %s", p, describeMessage(o.message))
	switch m := o.message.(type) {
	case *control.Prepare:
		if len(o.files) != 1+len(m.Files) {
			w.fatal("%s: %d files for %d logs", p, len(o.files), len(m.Files))
		}
		p.prepared, p.digest, p.log = m.Generation, m.Digest, logFile{}
		if len(o.files) > 1 {
			p.log = logFile{m.Files[0], o.files[1]}
		}
		answer := &control.Prepared{Generation: m.Generation, Digest: m.Digest}
		if p.life.housekeeper() {
			answer.Chores = []control.Chore{{Name: "sweep", EveryMillis: 5000, TimeoutMillis: 3000}}
		}
		return []control.Message{answer}
	case *control.Commit:
		if p.prepared != m.Generation {
			w.fatal("%s: commit of %d, prepared is %d", p, m.Generation, p.prepared)
		}
		p.committed, p.serves, p.writes, p.prepared = m.Generation, p.digest, p.log, 0
		w.hasCommitted(p)
		return []control.Message{&control.Committed{Generation: m.Generation}}
	case *control.Abort:
		if p.prepared == m.Generation {
			p.prepared = 0
		}
	case *control.Lend:
		if p.committed == 0 {
			w.fatal("%s is lent shards before its first commit", p)
		}
		for i, s := range m.Shards {
			id := shardID{s.ID, s.Index}
			if _, has := p.shards[id]; !has && !p.draining {
				p.shards[id] = o.files[i]
			}
		}
		return []control.Message{&control.Lent{Count: len(p.shards)}}
	case *control.Return:
		for _, s := range m.Shards {
			delete(p.shards, shardID{s.ID, s.Index})
		}
		return []control.Message{&control.Returned{Count: len(p.shards)}}
	case *control.Inject:
		w.note("%s answers the master's own request", p)
		w.handle(p.life, proof{})
		w.follow()
	case *control.Accept:
		p.accepting = true
		w.connect(p)
		return []control.Message{&control.Accepting{}}
	case *control.Drain:
		if !p.draining {
			answers = w.drains(p)
		}
		if len(o.files) > 0 && w.c.pick(3) > 0 { // its takers go before it has given all
			answers = append(answers, &control.Gave{Count: w.c.pick(9), Broken: "end of the channel"})
		}
		return answers
	case *control.Give:
		return w.gives(p, m, o.taker)
	case *control.ReopenLogs:
		for _, l := range []*logFile{&p.writes, &p.log} {
			if i := slices.Index(m.Files, l.name); i >= 0 {
				l.file = o.files[i]
			}
		}
		return []control.Message{&control.Reopened{}}
	case *control.Resize:
		return []control.Message{&control.Resized{}}
	case *control.Report:
		return []control.Message{&control.Reported{}}
	case *control.Perform:
		return []control.Message{&control.Performed{ID: m.ID}}
	case *control.Ping:
		return []control.Message{&control.Pong{}}
	}
	return nil
}

// checkChannel: those who take serve and stay, and every channel has two ends.
func (w *world) checkChannel(p *modelChild, o *modelOrder) {
	c := p.life
	switch m := o.message.(type) {
	case *control.Take:
		if len(o.files) != 1 || c.state != Serving || c.asked || c.slot.retiring || c.slot.current != c || w.phase == stopping {
			w.fatal("%s is to take: %+v", p, c)
		}
		w.took = append(w.took, p)
	case *control.Give:
		if len(o.files) != 1 || len(w.took) != 1 || w.took[0] == p || c.state != Serving || m.Count < 1 || len(m.Listeners) == 0 {
			w.fatal("%s is to give to %v: %+v", p, w.took, m)
		}
		o.taker, w.took = w.took[0], nil
	case *control.Drain:
		if len(o.files) != len(w.took) || len(o.files) > 0 && (w.phase == stopping || slices.Contains(w.took, p)) {
			w.fatal("%s is to drain to %v with %d channels", p, w.took, len(o.files))
		}
		w.took = nil
	}
}

// connect lets clients come and go.
func (w *world) connect(p *modelChild) {
	if p.life.life != nil {
		p.life.life.Set(board.WordPid, int64(p.pid))
		p.life.life.Set(board.WordConnections, []int64{0, 3, 100, 5000}[w.c.pick(4)])
	}
}

// gives is what a child does that is to give connections away while it serves: all, some, or none of them, or nothing at all.
func (w *world) gives(p *modelChild, m *control.Give, taker *modelChild) []control.Message {
	answer := &control.Gave{ID: m.ID}
	switch w.c.pick(5) {
	case 0:
		return nil
	case 1:
		answer.Broken = "end of the channel"
	case 2:
		answer.Count = w.c.pick(m.Count + 1)
	default:
		answer.Count = m.Count
	}
	from, to := p.life.life, taker.life.life
	if answer.Count = min(answer.Count, from.Gauge(board.WordConnections)); to == nil || taker.exited || taker.killed {
		answer.Count, answer.Broken = 0, "end of the channel"
	}
	if answer.Count > 0 {
		from.Set(board.WordConnections, from.Get(board.WordConnections)-int64(answer.Count))
		to.Set(board.WordConnections, to.Get(board.WordConnections)+int64(answer.Count))
	}
	return []control.Message{answer}
}

func (w *world) drains(p *modelChild) []control.Message {
	p.draining = true
	clear(p.shards)
	return []control.Message{&control.Draining{}}
}

// checkHandedOver: before a child leaves for good, another one accepts from its shards.
func (w *world) checkHandedOver(leaver *modelChild) {
	for id := range leaver.shards {
		l := w.shards.byID(id.listener)
		if l == nil || l.leaving || l.shared || id.index != leaver.life.slot.index {
			continue
		}
		if !slices.ContainsFunc(w.order, func(p *modelChild) bool { return p != leaver && p.accepting && p.shards[id] != 0 }) {
			w.fatal("%s is told to drain, and nobody else holds %v", leaver, id)
		}
	}
}

// hasCommitted checks that a generation is one configuration, and one that the master has.
func (w *world) hasCommitted(p *modelChild) {
	if p.committed > w.generation {
		w.fatal("%s has committed %d, the master is at %d", p, p.committed, w.generation)
	}
	if known := w.digests[p.committed]; known != "" && known != p.serves {
		w.fatal("generation %d is two configurations", p.committed)
	}
	w.digests[p.committed] = p.serves
}

// dies ends a process, in any order of its last words, its exit and the end of its channel.
func (w *world) dies(p *modelChild, status syscall.WaitStatus) {
	if p.exited {
		return
	}
	if p.killed {
		status = p.status
	}
	for n := w.c.pick(3); n > 0 && len(p.inbox) > 0 && !p.silent && !p.killed; n-- { // what it has still done
		if p.inbox[0].message.Kind() == control.KindInject {
			break
		}
		p.last = append(p.last, w.obey(p)...)
	}
	p.exited = true
	clear(p.shards)
	w.note("%s exits with %v", p, describe(status))
	w.handle(p.life, exit{status})
	w.follow()
}

// falls ends a channel.
func (w *world) falls(p *modelChild) {
	if p.silent {
		return
	}
	for _, m := range p.last {
		w.says(p, m)
	}
	p.silent = true
	w.note("the channel of %s ends", p)
	w.handle(p.life, silence{})
	w.follow()
}

func (w *world) ends(p *modelChild, status syscall.WaitStatus) {
	if w.c.pick(2) == 0 {
		w.dies(p, status)
		w.falls(p)
	} else {
		w.falls(p)
		w.dies(p, status)
	}
}

// check holds the master against what is true after every event.
func (w *world) check() {
	w.t.Helper()
	open := map[uint64]shardID{}
	for _, l := range w.shards.listeners {
		for i, fd := range l.shards {
			open[w.inode(fd)] = shardID{l.id, i}
		}
		if l.leaving || w.phase == stopping {
			continue
		}
		if len(l.shards) == 0 {
			w.fatal("listener %s is wanted, and has no shard", l.name)
		}
		if !l.shared && len(l.shards) < w.master.children() {
			w.fatal("listener %s has %d shards for %d children", l.name, len(l.shards), w.master.children())
		}
		if !l.shared && len(l.shards) > len(w.slots) {
			w.fatal("listener %s has %d shards, and %d slots: nobody accepts from the last ones", l.name, len(l.shards), len(w.slots))
		}
	}
	now := map[uint64]seenShard{}
	for socket, id := range open {
		was := w.seen[socket]
		l := w.shards.byID(id.listener)
		if l.steered == 0 || id.index < l.steered {
			was.since = time.Time{}
		} else if was.since.IsZero() {
			was.since = w.clock
		}
		now[socket] = seenShard{id, l, was.since}
	}
	for socket, was := range w.seen {
		if _, ok := now[socket]; ok || was.l.leaving || w.phase == stopping {
			continue
		}
		if was.since.IsZero() || w.clock.Sub(was.since) < parkTime {
			w.fatal("shard %v is closed, and has got connections until %v", was.id, was.since)
		}
	}
	w.seen = now
	for _, p := range w.order {
		if p.life.housekeeper() {
			if p.life != w.house.slot.current {
				w.fatal("%s is another housekeeper", p)
			}
			continue
		}
		if _, lives := w.lives[p.life]; !lives {
			w.fatal("%s is not among the lives", p)
		}
		if w.phase == stopping {
			continue
		}
		for id, socket := range p.shards {
			if p.exited {
				continue
			}
			if got, ok := open[socket]; !ok || got != id {
				w.fatal("%s holds %v, which is closed", p, id)
			}
		}
	}
	for _, s := range w.slots {
		if w.phase == stopping {
			break
		}
		if s.current != nil && (s.current.state == Ended || s.current.slot != s) {
			w.fatal("slot %d has a life that is over", s.index)
		}
		if s.heir != nil && (s.heir.state == Ended || s.heir == s.current) {
			w.fatal("slot %d has an heir that is over, or current: %v", s.index, s.heir.state)
		}
		if !s.retiring && s.current != nil && s.current.state == Draining {
			w.fatal("slot %d has a life that leaves, and no other", s.index)
		}
		if s.current == nil && s.heir != nil && s.heir.state <= Serving {
			w.fatal("slot %d is empty, and has an heir", s.index)
		}
		if s.keeper != nil && !slices.Contains(w.slots, s.keeper) {
			w.fatal("slot %d has a keeper that is gone", s.index)
		}
	}
	for c := range w.lives {
		if c.state == Serving && len(c.lends)+len(c.backs)+int(c.committing) > 0 && c.owed.IsZero() && w.phase != stopping {
			w.fatal("%s owes an answer, and has no bound", w.children[c])
		}
		if r := w.reloading; c.state == Draining && r != nil && r.number != 0 && !r.decided && (c.preparing == r.number || c.prepared == r.number) {
			w.fatal("%s leaves, and its vote is awaited", w.children[c])
		}
	}
	if w.phase != stopping {
		generation := w.generation
		if w.weigh(); w.generation != generation {
			w.fatal("nobody's vote was awaited any more, and the reload was not decided")
		}
	}
	for _, p := range w.asked {
		if p.calls > 1 {
			w.fatal("%s: answered %d times", p.what, p.calls)
		}
	}
	if len(w.took) > 0 {
		w.fatal("%v take, and nobody gives", w.took)
	}
	if w.phase == serving && w.master.children() != w.wanted {
		w.fatal("%d children, %d are wanted", w.master.children(), w.wanted)
	}
}

var clockSteps = []time.Duration{
	time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second, 22 * time.Second, 61 * time.Second,
}

// Numbers of what can happen, as step has them.
const (
	aChildWorks     = 0
	theClockGoesOn  = 55
	aChildEnds      = 65
	aChildDrains    = 71
	aChildFails     = 77
	aReloadIsAsked  = 81
	aReloadIsRead   = 87
	aScaleIsAsked   = 90
	aRestartIsAsked = 92
)

// moods are what happens more often for a while.
var moods = [][]int{
	{aChildWorks},
	{aChildWorks, aChildWorks, aReloadIsAsked, aReloadIsAsked, aReloadIsRead, aReloadIsRead, aChildFails, aChildEnds},
	{aChildWorks, aReloadIsAsked, aReloadIsRead, aScaleIsAsked, theClockGoesOn},
	{aChildWorks, aReloadIsAsked, aReloadIsRead, aChildDrains, aRestartIsAsked},
	{aChildWorks, aScaleIsAsked, aRestartIsAsked, aChildEnds, theClockGoesOn},
}

// step lets one thing happen.
func (w *world) step() {
	before := w.lastReload
	var p *modelChild
	if len(w.order) > 0 {
		p = w.order[w.c.pick(len(w.order))]
	}
	what := w.c.pick(100)
	if w.c.pick(2) == 0 {
		what = moods[w.mood][w.c.pick(len(moods[w.mood]))]
	}
	switch {
	case what < 55 && p != nil:
		for n := 1 + w.c.pick(6); w.c.pick(p.lazy) == 0 && n > 0 && p.life.state != Ended; n-- {
			w.work(p)
		}
	case what < 65:
		d := clockSteps[w.c.pick(len(clockSteps))]
		w.note("the clock goes on by %v", d)
		w.clock = w.clock.Add(d)
		w.follow()
	case what < 68 && p != nil:
		w.ends(p, []syscall.WaitStatus{2 << 8, 0, 1 << 8, 9, 15, 6, 11}[w.c.pick(7)])
	case what < 70 && p != nil:
		w.dies(p, []syscall.WaitStatus{2 << 8, 9}[w.c.pick(2)])
	case what < 71 && p != nil:
		w.falls(p)
	case what < 73 && p != nil:
		if !p.draining && !p.exited && !p.silent && !p.killed && (p.accepting || p.committed > 0 && w.c.pick(4) == 0) { // TERM
			for _, m := range w.drains(p) {
				w.says(p, m)
			}
		}
	case what < 77 && p != nil:
		if p.draining && !p.drained && !p.exited && !p.silent && !p.killed {
			p.drained = true
			w.says(p, &control.Drained{})
		}
		if p.drained {
			w.ends(p, 0)
		}
	case what < 80 && p != nil:
		if len(p.inbox) > 0 && !p.exited && !p.silent && !p.killed {
			if m, ok := p.inbox[0].message.(*control.Prepare); ok {
				p.inbox = p.inbox[1:]
				if w.c.pick(4) == 0 {
					w.says(p, &control.Prepared{Generation: m.Generation, Digest: "of something else"})
				} else {
					w.says(p, &control.Failed{Generation: m.Generation, Diagnostic: "x.hcl:1:1: no"})
				}
			}
		}
	case what < 81 && p != nil:
		if !p.exited && !p.silent && !p.killed {
			w.misspeaks(p)
		}
	case what < 87:
		if w.c.pick(3) > 0 {
			w.configure()
		}
		done := w.promise("reload")
		w.note("reload")
		w.reload("test", func(r *Reload) {
			done.calls++
			if number := w.proposed; !r.Committed && number != 0 && number == w.generation && w.phase != stopping {
				w.fatal("generation %d serves, and its reload is refused: %s", number, r.Reason)
			}
			w.note("   reload: committed %v, %s", r.Committed, r.Reason)
		})
		w.settle()
		w.follow()
	case what < 90:
		w.propose()
	case what < 92:
		n := 1 + w.c.pick(5)
		done := w.promise("scale")
		w.note("scale to %d", n)
		if w.phase == serving {
			w.wanted = n
		}
		w.scale(n, "test", func(err error) { done.calls++; w.note("   scale: %v", err) })
		w.settle()
		w.follow()
	case what < 94:
		n := w.c.pick(5)
		done := w.promise("restart")
		w.note("restart %d", n)
		w.restart(n, "test", func(err error) { done.calls++; w.note("   restart: %v", err) })
		w.settle()
		w.follow()
	case what < 95:
		w.note("logs are rotated")
		for i := range 2 {
			name := filepath.Join(w.dir, fmt.Sprintf("access%d.log", i))
			_ = os.Rename(name, fmt.Sprintf("%s.%d", name, len(w.trace)))
		}
		_ = w.reopenLogs()
		done := w.promise("reopen")
		w.awaitReopened(func(int) { done.calls++ })
		w.settle()
		w.follow()
	case what < 96:
		w.note("workers")
		done := w.promise("workers")
		w.resize(WorkersRequest{Min: 1, Max: 2}, "test", func(int) { done.calls++ })
		w.follow()
	case what < 97:
		done := w.promise("status")
		w.askNumbers(func(*Status) { done.calls++ })
		w.follow()
	case what < 98:
		if w.broken == nil && w.phase == serving {
			w.broken = fmt.Errorf("no more processes")
		} else {
			w.broken = nil
		}
		w.note("starts are refused: %v", w.broken)
	case what < 99:
		if w.c.pick(3) == 0 {
			for _, p := range w.order {
				if p.accepting {
					w.connect(p)
				}
			}
		}
		done := w.promise("balance")
		w.note("balance")
		w.balance("test", func(b Balance, err error) {
			done.calls++
			w.note("   balance: %+v %v", b, err)
		})
		w.follow()
	default:
		w.follow()
	}
	if l := w.lastReload; l != before && !l.Committed && w.phase != stopping { // it has left nothing open
		w.checkDescriptors()
	}
	w.greet()
}

// misspeaks lets p say what it was not asked for.
func (w *world) misspeaks(p *modelChild) {
	c := p.life
	if c.housekeeper() {
		w.says(p, []control.Message{&control.Hello{Pid: 1}, &control.Committed{Generation: w.lastGeneration + 1},
			&control.Prepared{Generation: w.lastGeneration + 1}, &control.Performed{ID: 1 << 40}}[w.c.pick(4)])
		if c.state < Ending {
			w.fatal("%s says what it was not asked for, and lives on", p)
		}
		return
	}
	words := []control.Message{&control.Hello{Pid: 1}, &control.Committed{Generation: w.lastGeneration + 1}, &control.Prepared{Generation: w.lastGeneration + 1}}
	if len(c.lends) == 0 {
		words = append(words, &control.Lent{})
	}
	if len(c.backs) == 0 {
		words = append(words, &control.Returned{})
	}
	if c.state != Admitting && c.state != Draining {
		words = append(words, &control.Accepting{})
	}
	if c.unresized == 0 {
		words = append(words, &control.Resized{})
	}
	w.says(p, words[w.c.pick(len(words))])
	if c.state < Ending && c.state != Draining {
		w.fatal("%s says what it was not asked for, and lives on", p)
	}
}

// greet lets new children say hello now and then.
func (w *world) greet() {
	for _, p := range slices.Clone(w.order) {
		if !p.greeted && !p.exited && !p.silent && !p.killed && w.c.pick(3) > 0 {
			w.hello(p)
		}
	}
}

func (w *world) hello(p *modelChild) {
	p.greeted = true
	w.says(p, &control.Hello{Pid: p.pid, Child: p.life.slot.index, Version: "v0"})
}

// propose gives a reading to the loop.
func (w *world) propose() {
	if len(w.read) == 0 {
		return
	}
	f := w.read[0]
	w.read = w.read[1:]
	w.note("the configuration was read")
	r := w.reloading
	f()
	if r != nil && r.read != nil { // otherwise it came too late
		w.note("   proposed: number %d, read children %v", r.number, r.read.config != nil)
	}
	w.follow()
}

// calm lets everybody do what they owe.
func (w *world) calm() {
	for again := true; again; {
		again = false
		if len(w.read) > 0 {
			w.propose()
			again = true
		}
		for _, p := range slices.Clone(w.order) {
			switch {
			case p.life.state == Ended:
			case p.killed || p.exited || p.silent:
				if !p.exited || !p.silent {
					w.dies(p, 9)
					if p.life.state != Ended {
						w.falls(p)
					}
					again = true
				}
			case !p.greeted:
				w.hello(p)
				again = true
			case len(p.inbox) > 0:
				w.work(p)
				again = true
			case p.draining && !p.drained:
				p.drained = true
				w.says(p, &control.Drained{})
				again = true
			case p.drained:
				w.dies(p, 0)
				w.falls(p)
				again = true
			}
		}
		w.follow()
	}
}

// quiet is how long after the last disturbance everything must be in order: the longest bounds follow one another.
const quiet = 200 * time.Second

func (w *world) quiesce() {
	w.note("all is calm")
	w.broken = nil
	for end := w.clock.Add(quiet); w.clock.Before(end) && !w.finished; {
		w.calm()
		w.clock = w.clock.Add(max(min(w.follow(), time.Second), 10*time.Millisecond))
	}
	w.calm()
}

// checkQuiet holds the master against what must be true when everybody has answered.
func (w *world) checkQuiet() {
	w.t.Helper()
	if w.phase != serving {
		w.fatal("it is %s: %s", w.phase, w.failure)
	}
	if len(w.lives) != w.wanted || len(w.slots) != w.wanted || w.reloading != nil || len(w.reloads) > 0 {
		w.fatal("%d lives, %d slots, %d wanted; reloading %v, %d wait", len(w.lives), len(w.slots), w.wanted, w.reloading != nil, len(w.reloads))
	}
	if len(w.shards.listeners) != len(w.config.Listeners) {
		w.fatal("%d listeners, %d in the configuration", len(w.shards.listeners), len(w.config.Listeners))
	}
	for i, l := range w.shards.listeners {
		want := w.wanted
		if l.shared {
			want = 1
		}
		if l.name != w.config.Listeners[i].Name || l.leaving || len(l.shards) != want || l.steered != 0 {
			w.fatal("listener %s: %+v", w.config.Listeners[i].Name, l)
		}
	}
	for _, s := range w.slots {
		c := s.current
		if c == nil || c.state != Serving || s.heir != nil || s.keeper != nil || s.retiring || len(s.waiting) > 0 {
			w.fatal("slot %d: %+v", s.index, s)
		}
		p := w.children[c]
		if c.generation != w.generation || p.committed != w.generation || p.serves != w.config.Digest || p.prepared != 0 {
			w.fatal("%s serves %d with %.8s, has prepared %d; the master is at %d with %.8s", p, p.committed, p.serves, p.prepared, w.generation, w.config.Digest)
		}
		if !c.owed.IsZero() || len(c.lends)+len(c.backs) > 0 || c.unopened+c.unresized > 0 || c.preparing != 0 || c.committing != 0 {
			w.fatal("%s owes an answer: %+v", p, c)
		}
		if len(p.shards) != len(w.shards.listeners) || len(c.held) != len(p.shards) {
			w.fatal("%s holds %v, and in the books %v", p, p.shards, c.held)
		}
		for _, l := range w.shards.listeners {
			index := s.index
			if l.shared {
				index = 0
			}
			id := shardID{l.id, index}
			if p.shards[id] != w.inode(l.shards[index]) || c.held[id] != lent {
				w.fatal("%s does not hold %v: %v %v", p, id, p.shards, c.held)
			}
		}
		if len(w.accessLogs.files) > 0 {
			name, err := os.Stat(w.accessLogs.names[0])
			if err != nil {
				w.fatal("access log: %v", err)
			}
			if now := name.Sys().(*syscall.Stat_t).Ino; p.writes.file != now || w.inode(int(w.accessLogs.files[0].Fd())) != now {
				w.fatal("%s writes to %d, the access log is %d", p, p.writes.file, now)
			}
		}
	}
	h := w.house.slot.current
	if needed := w.config.HasChores(); needed != (h != nil) {
		w.fatal("chores: %v, housekeeper: %v", needed, h)
	}
	if h != nil {
		p := w.children[h]
		if h.state != Serving || h.generation != w.generation || p.committed != w.generation || p.prepared != 0 || p.serves != w.config.Digest {
			w.fatal("%s serves %d, the master is at %d", p, p.committed, w.generation)
		}
	}
	w.checkPromises()
	w.checkDescriptors()
	sockets, err := filepath.Glob(filepath.Join(w.runtime.children, "[0-9]*.sock"))
	if err != nil || len(sockets) != len(w.lives) {
		w.fatal("%d sockets for %d lives: %v", len(sockets), len(w.lives), sockets)
	}
}

func (w *world) checkPromises() {
	w.t.Helper()
	for _, p := range w.asked {
		if p.calls != 1 {
			w.fatal("%s: answered %d times", p.what, p.calls)
		}
	}
	w.asked = nil
}

// stops ends the master, and checks that nothing is left.
func (w *world) stops(steps int) {
	w.note("stop")
	w.onSignal([]os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}[w.c.pick(3)])
	w.follow()
	for n := w.c.pick(steps); n > 0 && !w.finished; n-- {
		w.step()
		if w.c.pick(20) == 0 {
			w.onSignal(syscall.SIGTERM)
			w.follow()
		}
	}
	w.quiesce()
	for _, late := range w.read { // readings that come back when nobody wants them any more
		late()
	}
	w.read = nil
	if !w.finished || w.code != 0 {
		w.fatal("it has not ended: %d lives, code %d %s", len(w.lives), w.code, w.failure)
	}
	w.checkPromises()
	w.checkDescriptors()
}

// lives is a whole life of a master.
func live(t testing.TB, c chance, steps int) {
	w := newWorld(t, c)
	defer func() {
		if e := recover(); e != nil {
			stack := make([]byte, 1<<14)
			stack = stack[:runtime.Stack(stack, false)]
			w.fatal("panic: %v\n%s", e, stack)
		}
	}()
	defer func() {
		if t.Failed() {
			w.awaitProofs()
			w.end()
		}
	}()
	w.follow()
	for range 1 + c.pick(3) {
		w.mood = c.pick(len(moods))
		for n := c.pick(steps); n > 0 && !w.finished; n-- {
			w.step()
		}
		if w.finished || w.phase == stopping { // a start may fail
			break
		}
		w.quiesce()
		if w.finished || w.phase == stopping {
			break
		}
		w.checkQuiet()
	}
	if w.phase == stopping {
		w.quiesce()
		if !w.finished {
			w.fatal("a start that has failed does not end")
		}
	} else {
		for n := c.pick(steps / 2); n > 0 && !w.finished; n-- {
			w.step()
		}
		if w.phase != stopping {
			w.stops(steps)
		}
	}
	w.awaitProofs()
	w.end()
}

const (
	// randomSteps is how many events there are at most between two calms.
	randomSteps = 200
	// randomSeeds is the environment variable that chooses the seeds.
	randomSeeds = "MASTER_TEST_SEEDS"
)

// The same seeds every time, and then others for a while. A failure names its seed; MASTER_TEST_SEEDS="SEED 50" runs that one and the next
// 49, and tells everything. The order in which the master goes through its lives is not the seed's, so a failure may need several runs to
// come again.
func TestRandomEvents(t *testing.T) {
	run := func(seed uint64) bool {
		return t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { live(t, seeded{rand.New(rand.NewPCG(seed, 0))}, randomSteps) })
	}
	first, count := uint64(0), uint64(30)
	if n, _ := fmt.Sscan(os.Getenv(randomSeeds), &first, &count); n > 0 {
		for seed := range count {
			run(first + seed)
		}
		return
	}
	for seed := range count {
		run(seed)
	}
	for end := time.Now().Add(time.Second); !testing.Short() && time.Now().Before(end); {
		if !run(rand.Uint64()) {
			return
		}
	}
}

// Every input is a life of a master.
func FuzzEvents(f *testing.F) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 0))
		bytes := make([]byte, 4096)
		for i := range bytes {
			bytes[i] = byte(r.Uint32())
		}
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, decisions []byte) { live(t, &given{decisions}, randomSteps) })
}
