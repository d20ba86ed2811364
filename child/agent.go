package child

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// The agent is the child's end of the control channel. One goroutine receives, and takes what concerns shared state; a second one
// obeys the other messages one by one, builds generations beside the loop, and tells the loop the rest. How it gets another channel is in
// adopt.go.

// ordersSize is how many messages wait while a generation is built.
const ordersSize = 64

// maxDiagnostic bounds the reason of a failed preparation in bytes, which may be an error of the program's own: it must fit into a message
// even if all of it has to be escaped.
const maxDiagnostic = control.MaxBody / 8

// sameInAll is the cure for a child that differs from its master: both run the same executable.
const sameInAll = "register the same routes, functions and modules before Main in every process"

// order is a message that waits to be obeyed.
type order struct {
	conn    *control.Conn // that it came by, for the answer
	message control.Message
	files   []*os.File
}

// attend takes messages until the master is gone or has dismissed the child.
func (ch *child) attend(conn *control.Conn) {
	for {
		m, files, err := conn.Receive()
		if m != nil && errors.Is(err, control.ErrFilesLost) {
			// It is obeyed without them, which says to the master what cannot be done. What serves goes on.
			ch.logLine(levelError, "out of descriptors: the files of an order are lost; raise the limit of open files (LimitNOFILE, ulimit -n)",
				"message", m.Kind().String())
			err = nil
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				ch.logLine(levelError, "control channel", "error", err)
			}
			ch.masterless(conn)
			return
		}
		if !ch.sharing.hear(m, files) {
			ch.order(order{conn, m, files})
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
		return ch.commit(m.Generation)
	case *control.Abort:
		closeFiles(files)
		ch.abort(m.Generation)
		return nil
	case *control.Lend:
		return ch.lend(m, files)
	case *control.Return:
		ch.giveBack(m)
	case *control.LogLevel:
		return ch.setLogLevel(m.Level)
	case *control.Inject:
		return ch.inject(m, files)
	case *control.Accept:
		ch.admitted.Store(true)
		ch.loop.call(func() {
			ch.loop.resume()
			ch.answer(&control.Accepting{})
			ch.hooks.ready()
		})
	case *control.Pause:
		ch.loop.call(func() {
			ch.loop.pause(m.Listeners)
			ch.answer(&control.Paused{})
		})
	case *control.Drain:
		timeout, idle := time.Duration(m.TimeoutMillis)*time.Millisecond, time.Duration(m.IdleMillis)*time.Millisecond
		if len(m.Listeners) == 0 {
			closeFiles(files)
			ch.drain(timeout, idle)
		} else {
			ch.drainGiving(timeout, idle, m.Listeners, files)
		}
	case *control.Give:
		ch.give(conn, m, files)
	case *control.Take:
		if len(files) != 1 {
			closeFiles(files)
			return fmt.Errorf("%d files came for one handoff channel", len(files))
		}
		return ch.take(files[0])
	case *control.Ping:
		ch.loop.call(func() { ch.answer(&control.Pong{}) })
	case *control.ReopenLogs:
		ch.reopenLogs(m.Files, files)
		return conn.Send(&control.Reopened{})
	case *control.Resize:
		ch.resize(m.Min, m.Max)
	case *control.Report:
		ch.loop.call(func() {
			ch.loop.report()
			ch.answer(&control.Reported{})
		})
	default:
		closeFiles(files)
		return fmt.Errorf("unknown message")
	}
	return nil
}

// letter is an answer and the master that it is for: another one would not know what it answers.
type letter struct {
	to      *control.Conn
	message control.Message
	next    *nextMaster // not nil: to is about to be the master, and is to be told other things first
}

// answer queues what the loop has to say: answers leave in order, and the loop does not wait for the master.
func (ch *child) answer(m control.Message) {
	if next := ch.link.next.Load(); next != nil {
		ch.post(letter{next.conn, m, next})
		return
	}
	ch.answerTo(ch.link.get(), m)
}

// answerTo is answer for the master that has asked, who may have gone since; nil: there is none.
func (ch *child) answerTo(conn *control.Conn, m control.Message) {
	if conn != nil {
		ch.post(letter{to: conn, message: m})
	}
}

func (ch *child) post(l letter) {
	select {
	case ch.outbox <- l:
	default: // a master that leaves so many unread is hung, or gone
		ch.logLine(levelError, "control channel: an answer is dropped", "message", l.message.Kind().String())
	}
}

// mail sends the answers until the outbox is closed.
func (ch *child) mail() {
	defer close(ch.mailed)
	for l := range ch.outbox {
		if l.next != nil {
			if <-l.next.over; !l.next.taken {
				continue
			}
		}
		if err := l.to.Send(l.message); err != nil && !masterGone(err) {
			ch.logLine(levelError, "control channel", "message", l.message.Kind().String(), "error", err)
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
		return "", fmt.Errorf("%d of %d files have reached the child: it is out of descriptors; raise the limit of open files (LimitNOFILE, ulimit -n)",
			len(files), 1+len(m.Files))
	}
	config, err := resolve(m, files[0], ch.options.Schema)
	if err != nil {
		closeFiles(files[1:])
		return "", err
	}
	ch.offered = named(m.Files, files[1:])
	g, err := ch.build(config, m)
	if err != nil {
		closeNamed(ch.offered)
		return "", err
	}
	g.files = ch.offered // what the writers that are there already are to go on with
	g.configure = func() { ch.configure(config, m.LogFormat) }
	ch.mu.Lock()
	previous := ch.prepared
	ch.prepared = g
	ch.mu.Unlock()
	if previous != nil {
		previous.close()
	}
	return g.digest, nil
}

// build is the part of prepare that may run code of the program and its modules.
func (ch *child) build(config *configs.Config, m *control.Prepare) (*generation, error) {
	if ch.first {
		ch.configure(config, m.LogFormat) // the pools of the first generation are made as it says; nothing serves that this could change
	}
	if err := ch.sharing.fault; err != nil {
		return nil, err
	}
	if err := ch.hooks.start(); err != nil {
		return nil, err
	}
	ids := make(map[string]uint32, len(m.Listeners))
	for _, l := range m.Listeners {
		ids[l.Name] = l.ID
	}
	return ch.builder.build(config, m.Generation, ids)
}

// resolve makes a configuration of the sources that came with a Prepare, and checks that it is the master's. It closes the file.
func resolve(m *control.Prepare, sealed *os.File, schema *configs.Schema) (*configs.Config, error) {
	defer sealed.Close()
	encoded, err := control.ReadSealed(sealed)
	if err != nil {
		return nil, err
	}
	sources, err := configs.DecodeSources(encoded)
	if err != nil {
		return nil, err
	}
	config, ds := configs.Resolve(sources, schema)
	if ds.HasErrors() {
		return nil, fmt.Errorf("a child refuses the configuration that its master has accepted; %s:\n%w", sameInAll, ds.Err())
	}
	if config.Digest != m.Digest {
		return nil, fmt.Errorf("the child resolves the configuration to %.12s, the master to %.12s; %s", config.Digest, m.Digest, sameInAll)
	}
	return config, nil
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

func (ch *child) commit(number uint64) error {
	g := ch.takePrepared(number)
	if g == nil {
		return fmt.Errorf("generation %d was not prepared", number)
	}
	ch.first = false
	if g.configure != nil {
		g.configure()
	}
	ch.logs.replace(g.files)
	g.files = nil
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

func (ch *child) lend(m *control.Lend, files []*os.File) error {
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
			shards[i] = &shard{fd: fd, listener: ch.loop.listenerOf(m.Shards[i].ID, m.Shards[i].Listener), lent: m.Shards[i]}
		}
		ch.loop.lend(shards)
		ch.answer(&control.Lent{Count: len(ch.loop.shards)})
	})
	return nil
}

// giveBack gives shards back to the master.
func (ch *child) giveBack(m *control.Return) {
	ch.loop.call(func() {
		ch.loop.giveBack(func(s *shard) bool {
			return slices.ContainsFunc(m.Shards, func(asked control.Shard) bool { return asked.ID == s.lent.ID && asked.Index == s.lent.Index })
		})
		ch.answer(&control.Returned{Count: len(ch.loop.shards)})
	})
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
		if known.index == 0 && !known.removed {
			return known
		}
	}
	return &listener{entrance: entrance{name: "injected"}}
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
