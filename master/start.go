package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// The start, all or nothing:
//
//  1. the configuration is read and resolved; every mistake is printed, and nothing was opened;
//  2. the runtime directory, the children of a dead master (adopt.go), then every address is probed that they do not hold; every obstacle
//     is printed;
//  3. shards, log files, the board and the children's sockets are opened;
//  4. the program's own preparation runs, while the loop answers the operator;
//  5. the loop starts the children, and admits them together once each is proved.

// resolve reads the configuration and resolves it. Without errors among the diagnostics it can be used. Any goroutine.
func resolve(o Options) (*configs.Config, *configs.Sources, configs.Diagnostics) {
	sources, diagnostics := new(configs.Sources), configs.Diagnostics(nil)
	switch {
	case o.Sources != nil:
		sources, diagnostics = o.Sources()
	case o.Path != "":
		sources, diagnostics = configs.Read(o.Path)
	}
	if diagnostics.HasErrors() {
		return nil, nil, diagnostics
	}
	config, diagnostics := configs.Resolve(sources, o.Schema)
	return config, sources, diagnostics
}

// open makes a master that is ready to run. After an error, which may hold several lines, nothing
// is open.
func open(o Options, config *configs.Config, sources *configs.Sources) (_ *master, err error) {
	m := &master{
		o: o, config: config, generation: 1, lastGeneration: 1,
		lives: map[*child]struct{}{}, bounds: defaultBounds, now: time.Now,
		events: make(chan lifeEvent, 64), calls: make(chan func()),
		done: make(chan struct{}), stopped: make(chan struct{}),
	}
	m.born = m.now()
	m.succession, m.flip = o.succession, o.flip
	m.identity, m.parent = identity(ownImage), os.Getppid()
	var undo []func()
	defer func() {
		if err != nil {
			for i := range undo {
				undo[len(undo)-1-i]()
			}
		}
	}()
	credential, err := credentialOf(config.User, config.Group)
	if err != nil {
		return nil, err
	}
	path, err := ControlPath(o.Name, o.Control, config.Control)
	if err != nil {
		return nil, err
	}
	children := config.Children
	switch {
	case o.Host != nil:
		children = 1
	case m.succession != nil: // as many as there are: each takes the place of one
		children = m.succession.bequest.Slots
		if err := m.succession.fits(o, config); err != nil {
			return nil, err
		}
	case children == 0:
		children = usableCores(os.DirFS("/"))
	}
	// Both are tried, so that one start reports all that is in its way.
	m.shards = new(shardSet)
	undo = append(undo, m.shards.close)
	warnings := m.meetSupervisor()
	defer func() {
		for _, w := range warnings { // not logged: the start is refused, and they may say why
			fmt.Fprintln(o.Stderr, w)
		}
	}()
	undo = append(undo, m.supervision.close, m.shards.inherited.close)
	if s := m.succession; s != nil {
		s.supervision, m.supervision = m.supervision, nil
		if s.supervision != nil {
			s.supervision.store.held = s.bequest.Stored
		}
	}
	if s := m.succession; s != nil {
		m.runtime = s.runtime
	} else if m.runtime, err = openRuntime(path, config.Runtime, accessOf(config)); err == nil {
		undo = append(undo, m.runtime.close)
	}
	if err != nil {
		change, busy := m.shards.change(config.Listeners, children)
		if busy == nil {
			change.abandon()
		}
		return nil, errors.Join(err, busy)
	}
	if m.sink, err = newSink(config.Log, o.Stdout, o.Stderr); err != nil {
		return nil, err
	}
	undo = append(undo, m.sink.close)
	m.log = m.sink.log
	undo = append(undo, m.abandonOrphans)
	switch {
	case m.succession != nil:
		if err = m.inheritShards(config); err != nil {
			return nil, err
		}
		m.shards.spare() // also if this start is refused
	case o.Host == nil: // a single process cannot be their master
		if err = m.findOrphans(); err != nil {
			return nil, err
		}
		m.adoptShards(config.Listeners)
	}
	change, err := m.shards.change(config.Listeners, children)
	if err != nil {
		return nil, m.explain(err)
	}
	undo = append(undo, change.abandon)
	for _, w := range warnings {
		m.log.Warn(w)
	}
	warnings = nil
	if m.accessLogs, err = openAccessLogs(config.Sites); err != nil {
		return nil, err
	}
	undo = append(undo, m.accessLogs.close)
	if m.sources, err = control.Seal("tined sources", sources.Encode()); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = m.sources.Close() })
	if m.succession != nil {
		m.enterShards(change)
	} else {
		if err = change.start(); err != nil {
			return nil, err
		}
		m.shards.commit(change)
	}
	if err = m.shards.mergeInherited(); err != nil {
		return nil, err
	}
	slots := max(m.slotsFor(children), m.shards.most()) // of shards that were passed there may be more
	if err = m.shards.complete(slots); err != nil {
		return nil, err
	}
	for i := range slots {
		s := &slot{index: i, due: m.born}
		if i >= children {
			s.retiring, s.due = true, time.Time{}
		}
		m.slots = append(m.slots, s)
	}
	m.inheritBoard()
	if m.adoptCounters(); m.counters == nil {
		if m.counters, err = o.Shared.Share(); err != nil {
			return nil, err
		}
	}
	m.generation = m.generationAfter()
	m.lastGeneration, m.firstGeneration = m.generation, m.generation
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.initHouse(m.born)
	m.start = m.startReal(filepath.Base(o.Name), os.Environ(), credential)
	if o.Host != nil {
		m.start = m.startHosted(o.Host)
	}
	m.operator = newOperator(m)
	switch {
	case credential != nil && o.Host != nil:
		m.log.Warn("`user` and `group` have no effect in a single process")
	case os.Getuid() == 0 && o.Host != nil:
		m.log.Warn("the process runs as root: start it as another user")
	case os.Getuid() == 0 && credential == nil:
		m.log.Warn("children run as root: set `user` to give that up")
	}
	return m, nil
}

// startReal is the seam's real side: it ties a process to the life that it is.
func (m *master) startReal(name string, env []string, credential *syscall.Credential) func(*child) (process, error) {
	return func(c *child) (process, error) {
		index := c.slot.index
		return startChild(spawnSpec{
			name: name, index: index, env: env, socket: cmp.Or(c.socket, c.slot.socket), credential: credential,
			post:   func(event any) { m.post(c, event) },
			log:    m.sink.write,
			output: m.printed(c),
		})
	}
}

// printed logs what a life prints.
func (m *master) printed(c *child) printer {
	who := zap.Int("child", c.slot.index)
	if c.housekeeper() {
		who = zap.String("process", control.RoleHousekeeper)
	}
	return func(pid int, stream string, line []byte, cut int) {
		fields := []zap.Field{who, zap.Int("pid", pid), zap.String("stream", stream)}
		if cut > 0 {
			fields = append(fields, zap.Int("cut_bytes", cut))
		}
		if stream == "stderr" {
			m.log.Warn(string(line), fields...)
		} else {
			m.log.Info(string(line), fields...)
		}
	}
}

// startHosted is startReal for a single process.
func (m *master) startHosted(run func(int, *control.Conn) int) func(*child) (process, error) {
	return func(c *child) (process, error) {
		return startGoroutine(m.sink.write, func(event any) { m.post(c, event) }, func(conn *control.Conn) int { return run(c.slot.index, conn) })
	}
}

// prepare begins the program's own preparation. No child is started before it has succeeded.
func (m *master) prepare() {
	if m.o.Prepare == nil {
		return
	}
	m.busy = true
	for _, s := range m.slots {
		s.due = time.Time{}
	}
	go func() {
		err := m.o.Prepare(m.ctx)
		m.do(func() { m.prepared(err) })
	}()
}

func (m *master) prepared(err error) {
	m.busy, m.busyDue = false, time.Time{}
	switch {
	case m.phase == stopping:
		m.finish()
	case err != nil:
		m.fail(fmt.Sprintf("%s: %v", m.o.Name, err))
	default:
		for _, s := range m.slots {
			if !s.retiring && s.current == nil {
				s.due = m.now()
			}
		}
		m.alignOrphans()
	}
}

// admit opens the start's gate once every child is proved or has failed, and lets every proved
// child accept from then on.
func (m *master) admit() {
	if m.phase == stopping {
		return
	}
	if !m.admissions {
		for _, s := range m.slots {
			if s.faults == 0 && !s.retiring && !s.ready() {
				return
			}
		}
		if !m.houseOpens() {
			return
		}
		m.admissions = true
	}
	for c := range m.lives {
		if c.state == Proved && m.mayAdmit(c) {
			c.proc.Send(&control.Accept{})
			m.enter(c, Admitting, m.bounds.answer)
		}
	}
}

// ready reports whether the slot's child need not be waited for: it is proved, or serves already.
func (s *slot) ready() bool {
	return s.current != nil && (s.current.state == Proved || s.current.adopted && s.current.state == Serving)
}

// announce ends the start once every child that was admitted serves.
func (m *master) announce() {
	if m.phase != starting || !m.admissions || m.succession.pending() {
		return
	}
	n := 0
	for _, s := range m.slots {
		switch {
		case s.retiring:
		case s.current != nil && s.current.state == Serving:
			if m.unaligned(s.current) {
				return
			}
			n++
		case s.current != nil && s.current.state == Admitting:
			return
		}
	}
	if n == 0 {
		return
	}
	m.phase = serving
	m.tidyLater()
	_, _ = m.sink.stdout.Write([]byte(m.announcement(n)))
	m.log.Info("serving", zap.String("version", m.o.Version), zap.Int("children", n), zap.Uint64("generation", m.generation))
	m.emit(EventServing, nil, m.startLine(n))
	m.tellReady()
	if m.succession == nil && m.flip != nil && !m.parentGone {
		m.parentGone = true
		_ = m.flip.Ready() // it has nobody to tell: only now it lets this process be upgraded
	}
	m.dismissRecalled()
	m.nextReload()
}

// announcement is what is printed once the server serves, with the last newline.
func (m *master) announcement(children int) string {
	if m.o.Announce == nil {
		return m.startLine(children) + "\n"
	}
	var addresses []configs.Address
	for _, l := range m.shards.listeners {
		if e := l.local; !l.leaving {
			addresses = append(addresses, configs.Address{Network: e.Network, Addr: e.Addr, DualStack: e.DualStack, Path: e.Path})
		}
	}
	return m.o.Announce(addresses)
}

func (m *master) startLine(children int) string {
	count := fmt.Sprintf("%d children", children)
	if children == 1 {
		count = "1 child"
	}
	if all := m.children(); children < all {
		count = fmt.Sprintf("%d of %d children", children, all)
	}
	if m.o.Host != nil {
		count = "one process"
	}
	from := "without a configuration file"
	if m.o.Sources == nil && m.o.Path != "" {
		from = "configuration " + m.o.Path
	}
	version := strings.TrimSpace(m.o.Name + " " + m.o.Version)
	return fmt.Sprintf("%s: serving %s with %s, %s", version, m.shards.urls(), count, from)
}

// weighStart says what the failure of a child means for a start: nothing, as long as another one
// may still succeed; its end, when every child has failed before ever serving.
func (m *master) weighStart(failed *slot, how string) {
	if m.phase != starting {
		return
	}
	m.admit()
	m.announce()
	if m.admissions && slices.ContainsFunc(m.slots, func(s *slot) bool { return s.current != nil && s.current.state >= Proved }) {
		return
	}
	if slices.ContainsFunc(m.slots, func(s *slot) bool { return s.faults == 0 && !s.retiring }) {
		return
	}
	m.fail(fmt.Sprintf("%s: no child could start; child %d %s", m.o.Name, failed.index, how))
}

// fail ends a start that cannot succeed. message goes to stderr, after the log.
func (m *master) fail(message string) {
	if m.phase == stopping {
		return
	}
	if m.succession.pending() {
		m.sick(message)
		return
	}
	m.failure, m.code = message, exitRefused
	m.letGo()
	m.stop(true)
}

// logFiles are the access log files, opened by the master alone: children may have no right to.
type logFiles struct {
	names []string
	files []*os.File
}

// openAccessLogs opens every file that a site names, once.
func openAccessLogs(sites []configs.Site) (*logFiles, error) {
	l := new(logFiles)
	seen := map[string]bool{}
	for _, s := range sites {
		if s.AccessLog == nil || s.AccessLog.File == control.StreamStdout || seen[s.AccessLog.File] {
			continue
		}
		seen[s.AccessLog.File] = true
		f, err := openLog(s.AccessLog.File)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("access log of site %q: %w", s.Name, err)
		}
		l.names, l.files = append(l.names, s.AccessLog.File), append(l.files, f)
	}
	if most := control.MaxFiles - 1; len(l.files) > most { // one place is for the sources
		n := len(l.files)
		l.close()
		return nil, fmt.Errorf("access logs: %d files are more than %d: let sites share a file", n, most)
	}
	return l, nil
}

func (l *logFiles) close() {
	for _, f := range l.files {
		_ = f.Close()
	}
}

// reopenedText says in an event which files were to be reopened, and how many could not be.
func reopenedText(accessLogs, failed int) string {
	text := "the log"
	if accessLogs > 0 {
		text += " and " + plural(accessLogs, "access log file", "access log files")
	}
	if failed > 0 {
		text += "; " + plural(failed, "file", "files") + " could not be opened: what was open is written on"
	}
	return text
}

// reopenLogs opens the log files anew and gives the new ones to the children. A file that cannot
// be opened keeps its old descriptor, and is in the error.
func (m *master) reopenLogs() error {
	var problems []error
	if r := m.reloading; r != nil && !r.decided {
		r.reopen = true // again when it is committed
	}
	if err := m.sink.reopen(); err != nil {
		problems = append(problems, err)
		m.log.Error("log file is not reopened", zap.Error(err))
	}
	for i, name := range m.accessLogs.names {
		f, err := openLog(name)
		if err != nil {
			problems = append(problems, fmt.Errorf("access log: %w", err))
			m.log.Error("access log file is not reopened", zap.Error(err))
			continue
		}
		_ = m.accessLogs.files[i].Close()
		m.accessLogs.files[i] = f
	}
	m.emit(EventLogsReopened, nil, reopenedText(len(m.accessLogs.names), len(problems)))
	if len(problems) == 0 {
		m.log.Info("log files are reopened")
	}
	if len(m.accessLogs.names) == 0 {
		return errors.Join(problems...)
	}
	var fds []int
	for _, f := range m.accessLogs.files {
		fds = append(fds, int(f.Fd()))
	}
	for c := range m.lives {
		// A child that has not got the files yet gets the new ones with prepare.
		if c.state > Starting && c.state < Ending {
			c.proc.Send(&control.ReopenLogs{Files: m.accessLogs.names}, fds...)
			c.unopened++
		}
	}
	return errors.Join(problems...)
}
