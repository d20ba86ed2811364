package child

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// The agent is the child's end of the control channel. One goroutine receives, and takes what concerns shared state; a second one
// obeys the other messages one by one, builds generations beside the loop, and tells the loop the rest.

// ordersSize is how many messages wait while a generation is built.
const ordersSize = 64

// maxDiagnostic bounds the reason of a failed preparation in bytes, which may be an error of the program's own: it must fit into a message
// even if all of it has to be escaped.
const maxDiagnostic = control.MaxBody / 8

// sameInAll is the cure for a child that differs from its master: both run the same executable.
const sameInAll = "register the same routes, functions and modules before Main in every process"

// order is a message that waits to be obeyed.
type order struct {
	message control.Message
	files   []*os.File
}

// attend takes messages until the master is gone or has dismissed the child.
func (ch *child) attend(conn *control.Conn) {
	orders := make(chan order, ordersSize)
	defer close(orders)
	go func() {
		for o := range orders {
			if err := ch.obey(conn, o.message, o.files); err != nil {
				ch.logLine(levelError, "control channel", "message", o.message.Kind().String(), "error", err)
			}
		}
	}()
	for {
		m, files, err := conn.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				ch.logLine(levelError, "control channel", "error", err)
			}
			// A new master cannot take the child over in this version, and it must not serve an old configuration for ever (ADR 3).
			ch.sharing.orphaned()
			ch.drainAsConfigured()
			return
		}
		if !ch.sharing.hear(m, files) {
			orders <- order{m, files}
		}
	}
}

// obey carries one message out. It owns files.
func (ch *child) obey(conn *control.Conn, m control.Message, files []*os.File) error {
	switch m := m.(type) {
	case *control.Prepare:
		digest, err := ch.prepare(m, files)
		if err != nil {
			text := err.Error()
			return conn.Send(&control.Failed{Generation: m.Generation, Diagnostic: text[:min(len(text), maxDiagnostic)]})
		}
		return conn.Send(&control.Prepared{Generation: m.Generation, Digest: digest})
	case *control.Commit:
		return ch.commit(conn, m.Generation)
	case *control.Abort:
		closeFiles(files)
		ch.abort(m.Generation)
		return nil
	case *control.Lend:
		return ch.lend(conn, m, files)
	case *control.Inject:
		return ch.inject(m, files)
	case *control.Accept:
		ch.loop.call(func() {
			ch.loop.accept(true)
			ch.answer(&control.Accepting{})
			ch.hooks.ready()
		})
	case *control.Pause:
		ch.loop.call(func() {
			ch.loop.accept(false)
			ch.answer(&control.Paused{})
		})
	case *control.Drain:
		ch.drain(time.Duration(m.TimeoutMillis) * time.Millisecond)
	case *control.Ping:
		ch.loop.call(func() { ch.answer(&control.Pong{}) })
	case *control.ReopenLogs:
		ch.reopen(m.Files, files)
		return conn.Send(&control.Reopened{})
	case *control.Resize:
		ch.resize(m.Min, m.Max)
	case *control.Report:
		ch.loop.call(func() { ch.answer(ch.report()) })
	default:
		closeFiles(files)
		return fmt.Errorf("unknown message")
	}
	return nil
}

// answer queues what the loop has to say: answers leave in order, and the loop does not wait for the master.
func (ch *child) answer(m control.Message) {
	select {
	case ch.outbox <- m:
	default: // a master that leaves so many unread is hung, or gone
		ch.logLine(levelError, "control channel: an answer is dropped", "message", m.Kind().String())
	}
}

// mail sends the answers until the outbox is closed.
func (ch *child) mail(conn *control.Conn) {
	defer close(ch.mailed)
	for m := range ch.outbox {
		if err := conn.Send(m); err != nil {
			ch.logLine(levelError, "control channel", "message", m.Kind().String(), "error", err)
		}
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// prepare builds the generation that the master describes, beside the one that serves.
func (ch *child) prepare(m *control.Prepare, files []*os.File) (digest string, err error) {
	if len(files) != 1+len(m.Files) {
		closeFiles(files)
		return "", fmt.Errorf("%d files came for %d logs", len(files), len(m.Files))
	}
	encoded, err := control.ReadSealed(files[0])
	files[0].Close()
	if err != nil {
		closeFiles(files[1:])
		return "", err
	}
	sources, err := configs.DecodeSources(encoded)
	if err != nil {
		closeFiles(files[1:])
		return "", err
	}
	config, ds := configs.Resolve(sources, ch.options.Schema)
	if ds.HasErrors() {
		closeFiles(files[1:])
		return "", fmt.Errorf("a child refuses the configuration that its master has accepted; %s:\n%w", sameInAll, ds.Err())
	}
	if config.Digest != m.Digest {
		closeFiles(files[1:])
		return "", fmt.Errorf("the child resolves the configuration to %.12s, the master to %.12s; %s", config.Digest, m.Digest, sameInAll)
	}
	ch.takeLogFiles(m.Files, files[1:])
	configure := func() { ch.configure(config, m.LogFormat) }
	if ch.first {
		configure() // the pools of the first generation are made as it says; later ones change nothing before they are committed
	}
	if err := ch.sharing.fault; err != nil {
		return "", err
	}
	if err := ch.hooks.start(); err != nil {
		return "", err
	}
	g, err := ch.builder.build(config, m.Generation)
	if err != nil {
		return "", err
	}
	if !ch.first {
		g.configure = configure
	}
	ch.mu.Lock()
	previous := ch.prepared
	ch.prepared = g
	ch.mu.Unlock()
	if previous != nil {
		previous.close()
	}
	return g.digest, nil
}

func (ch *child) takePrepared(number uint64) *generation {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	g := ch.prepared
	if g == nil || g.number != number {
		return nil
	}
	ch.prepared = nil
	return g
}

func (ch *child) commit(conn *control.Conn, number uint64) error {
	g := ch.takePrepared(number)
	if g == nil {
		return fmt.Errorf("generation %d was not prepared", number)
	}
	ch.first = false
	if g.configure != nil {
		g.configure()
	}
	ch.loop.call(func() {
		ch.loop.commit(g)
		ch.answer(&control.Committed{Generation: number})
	})
	return nil
}

func (ch *child) abort(number uint64) {
	if g := ch.takePrepared(number); g != nil {
		g.close()
	}
}

// commit makes g the generation of every request that begins from now on. The old one retires with its last exchange.
func (l *loop) commit(g *generation) {
	old := l.generation
	l.generation = g
	for _, listener := range l.listeners {
		listener.entrance = g.entranceOf(listener.name)
	}
	if old == nil {
		return
	}
	old.flushLogs()
	old.retired = true
	for _, log := range old.logs {
		log.retired = true
	}
	old.retire = func() { go old.close() } // closing may block
	if old.exchanges == 0 {
		old.retire()
	}
}

// listenerOf returns the listener called name, which lives as long as the loop.
func (l *loop) listenerOf(name string) *listener {
	for _, known := range l.listeners {
		if known.name == name {
			return known
		}
	}
	added := &listener{name: name, entrance: entrance{index: -1}}
	if l.generation != nil {
		added.entrance = l.generation.entranceOf(name)
	}
	l.listeners = append(l.listeners, added)
	return added
}

func (ch *child) lend(conn *control.Conn, m *control.Lend, files []*os.File) error {
	if len(files) != len(m.Shards) {
		closeFiles(files)
		return fmt.Errorf("%d files came for %d shards", len(files), len(m.Shards))
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fd, err := keepDescriptor(f)
		if err != nil {
			closeFiles(files[i:])
			return err
		}
		fds[i] = fd
	}
	ch.loop.call(func() {
		shards := make([]*shard, len(fds))
		for i, fd := range fds {
			shards[i] = &shard{fd: fd, listener: ch.loop.listenerOf(m.Shards[i].Listener)}
		}
		ch.loop.lend(shards)
		ch.answer(&control.Lent{Count: len(ch.loop.shards)})
	})
	return nil
}

// keepDescriptor takes the descriptor out of f, which is closed. Fd would make the socket blocking for every process that holds it, so
// the descriptor is duplicated by SyscallConn, which does not.
func keepDescriptor(f *os.File) (fd int, err error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if control := raw.Control(func(theirs uintptr) { fd, err = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 3) }); control != nil {
		return -1, control
	}
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

func (ch *child) inject(m *control.Inject, files []*os.File) error {
	if len(files) != 1 {
		closeFiles(files)
		return fmt.Errorf("%d files came for one connection", len(files))
	}
	fd, err := keepDescriptor(files[0])
	if err != nil {
		return err
	}
	role := roleServer
	if m.Role == control.RoleSelf {
		role = roleSelf
	}
	ch.loop.call(func() {
		if ch.loop.generation == nil {
			unix.Close(fd) // nothing can be served before the first commit
			return
		}
		ch.loop.admit(fd, peerOf(fd), ch.loop.firstListener(), role)
	})
	return nil
}

// firstListener stands for the listener of an injected connection.
func (l *loop) firstListener() *listener {
	for _, known := range l.listeners {
		if known.index == 0 {
			return known
		}
	}
	return &listener{name: "injected"}
}

// peerOf returns the address of a socket's peer; the zero AddrPort for unix sockets.
func peerOf(fd int) netip.AddrPort {
	sa, err := unix.Getpeername(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// report gathers the child's numbers, on the loop.
func (ch *child) report() *control.Numbers {
	l := ch.loop
	n := &control.Numbers{
		Connections:    l.table.Len(),
		Accepted:       l.numbers.accepted,
		Exchanges:      l.numbers.begun,
		Finished:       l.numbers.finished,
		ClosedByReason: make(map[string]uint64),
		LogDropped:     ch.sink.dropped.Load() + ch.droppedAccess(),
	}
	if l.generation != nil {
		n.Generation = l.generation.number
		n.Queued = l.generation.waiting()
	}
	for reason, count := range l.numbers.closed {
		if count > 0 {
			n.ClosedByReason[closeReason(reason).String()] = count
		}
	}
	for _, s := range ch.poolStats() {
		n.Workers += s.Workers
		n.WorkersBusy += s.Busy
		n.WorkersIdle += s.Idle
		n.WorkersMin += s.Min
		n.WorkersMax += s.Max
		n.WorkersSpawned += s.Spawned
		n.Queued += s.Queued
		n.Started += s.Started
		n.Rejected += s.Rejected
		n.Excused += s.Excused
	}
	n.Rejected += l.numbers.refused
	return n
}
