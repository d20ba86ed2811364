package master

import (
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
//  2. the runtime directory, then every address is probed; every obstacle is printed;
//  3. shards, log files, the board and the children's sockets are opened;
//  4. the program's own preparation runs, while the loop answers the operator;
//  5. the loop starts the children, and admits them together once each is proved.

// load reads and resolves the configuration and prints its diagnostics, one per line. ok is false
// when it is refused.
func load(o Options) (*configs.Config, *configs.Sources, bool) {
	sources := new(configs.Sources)
	if o.Path != "" {
		var diagnostics configs.Diagnostics
		if sources, diagnostics = configs.Read(o.Path); diagnostics.HasErrors() {
			printDiagnostics(o, diagnostics)
			return nil, nil, false
		}
	}
	config, diagnostics := configs.Resolve(sources, o.Schema)
	printDiagnostics(o, diagnostics)
	return config, sources, !diagnostics.HasErrors()
}

func printDiagnostics(o Options, diagnostics configs.Diagnostics) {
	for _, d := range diagnostics {
		fmt.Fprintln(o.Stderr, d)
	}
}

// open makes a master that is ready to run. After an error, which may hold several lines, nothing
// is open.
func open(o Options, config *configs.Config, sources *configs.Sources) (_ *master, err error) {
	m := &master{
		o: o, config: config, generation: 1,
		lives: map[*child]struct{}{}, bounds: defaultBounds, now: time.Now,
		events: make(chan lifeEvent, 64), calls: make(chan func()),
		done: make(chan struct{}), stopped: make(chan struct{}),
	}
	m.born = m.now()
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
	// Both are tried, so that one start reports all that is in its way.
	problems := probeListeners(config.Listeners)
	if m.runtime, err = openRuntime(path, config.Runtime); err != nil {
		problems = append([]error{err}, problems...)
	} else {
		undo = append(undo, m.runtime.close)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if m.sink, err = newSink(config.Log, o.Stdout, o.Stderr); err != nil {
		return nil, err
	}
	undo = append(undo, m.sink.close)
	m.log = m.sink.log
	if m.accessLogs, err = openAccessLogs(config.Sites); err != nil {
		return nil, err
	}
	undo = append(undo, m.accessLogs.close)
	if m.sources, err = control.Seal("tined sources", sources.Encode()); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = m.sources.Close() })
	children := config.Children
	switch {
	case o.Host != nil:
		children = 1
	case children == 0:
		children = usableCores(os.DirFS("/"))
	}
	if m.shards, err = openShards(config.Listeners, children); err != nil {
		return nil, err
	}
	undo = append(undo, m.shards.close)
	for i := range children {
		socket, err := m.runtime.childSocket(i)
		if err != nil {
			return nil, err
		}
		undo = append(undo, func() { _ = socket.Close() })
		m.slots = append(m.slots, &slot{index: i, socket: socket, due: m.born})
	}
	if m.counters, err = o.Shared.Share(); err != nil {
		return nil, err
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
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
			name: name, index: index, env: env, socket: c.slot.socket, credential: credential,
			post: func(event any) { m.post(c, event) },
			log:  m.sink.write,
			output: func(pid int, stream string, line []byte, cut int) {
				fields := []zap.Field{zap.Int("child", index), zap.Int("pid", pid), zap.String("stream", stream)}
				if cut > 0 {
					fields = append(fields, zap.Int("cut_bytes", cut))
				}
				if stream == "stderr" {
					m.log.Warn(string(line), fields...)
				} else {
					m.log.Info(string(line), fields...)
				}
			},
		})
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
			s.due = m.now()
		}
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
			if s.faults == 0 && (s.current == nil || s.current.state != Proved) {
				return
			}
		}
		m.admissions = true
	}
	for c := range m.lives {
		if c.state == Proved {
			c.proc.Send(&control.Accept{})
			m.enter(c, Admitting, m.bounds.answer)
		}
	}
}

// announce ends the start once every child that was admitted serves.
func (m *master) announce() {
	if m.phase != starting || !m.admissions {
		return
	}
	n := 0
	for _, s := range m.slots {
		switch {
		case s.current != nil && s.current.state == Serving:
			n++
		case s.current != nil && s.current.state == Admitting:
			return
		}
	}
	if n == 0 {
		return
	}
	m.phase = serving
	_, _ = fmt.Fprintln(m.sink.stdout, m.startLine(n))
	m.log.Info("serving", zap.String("version", m.o.Version), zap.Int("children", n), zap.Uint64("generation", m.generation))
}

func (m *master) startLine(children int) string {
	count := fmt.Sprintf("%d children", children)
	if children == 1 {
		count = "1 child"
	}
	if all := len(m.slots); children < all {
		count = fmt.Sprintf("%d of %d children", children, all)
	}
	if m.o.Host != nil {
		count = "one process"
	}
	from := "without a configuration file"
	if m.o.Path != "" {
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
	if slices.ContainsFunc(m.slots, func(s *slot) bool { return s.faults == 0 }) {
		return
	}
	m.fail(fmt.Sprintf("%s: no child could start; child %d %s", m.o.Name, failed.index, how))
}

// fail ends a start that cannot succeed. message goes to stderr, after the log.
func (m *master) fail(message string) {
	if m.phase == stopping {
		return
	}
	m.failure, m.code = message, exitRefused
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

// reopenLogs opens the log files anew and gives the new ones to the children. A file that cannot
// be opened keeps its old descriptor.
func (m *master) reopenLogs() {
	if err := m.sink.reopen(); err != nil {
		m.log.Error("log file is not reopened", zap.Error(err))
	}
	for i, name := range m.accessLogs.names {
		f, err := openLog(name)
		if err != nil {
			m.log.Error("access log file is not reopened", zap.Error(err))
			continue
		}
		_ = m.accessLogs.files[i].Close()
		m.accessLogs.files[i] = f
	}
	m.log.Info("log files are reopened")
	if len(m.accessLogs.names) == 0 {
		return
	}
	var fds []int
	for _, f := range m.accessLogs.files {
		fds = append(fds, int(f.Fd()))
	}
	for c := range m.lives {
		// A child that has not got the files yet gets the new ones with prepare.
		if c.state > Starting && c.state < Ending {
			c.proc.Send(&control.ReopenLogs{Files: m.accessLogs.names}, fds...)
		}
	}
}
