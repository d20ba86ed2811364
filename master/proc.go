package master

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

const (
	// outboxSize is how many messages wait for one child. A child that lets them pile up does not
	// read at all.
	outboxSize = 128
	// maxOutputLine bounds a line of a child's stdout or stderr, in bytes; the rest is cut.
	maxOutputLine = 8 << 10
	// outputBound is how long a child's output is read after its exit.
	outputBound = 2 * time.Second
	// outputPatience is how long the news of its exit waits for a next line. A hung child's goroutines can be thousands of lines.
	outputPatience = 100 * time.Millisecond
)

// childListener is a child's own listening socket.
type childListener = *os.File

// process is what the loop can do with a started child. No method blocks.
type process interface {
	Pid() int
	// Send sends a message, or queues it: then it duplicates fds. The caller keeps its own. A failure arrives as an undelivery.
	Send(m control.Message, fds ...int)
	// Kill signals the process, unless it has been waited for.
	Kill(s syscall.Signal)
	// Release closes the channel, once the life has ended.
	Release()
}

// spawnSpec is all that a child gets.
type spawnSpec struct {
	name       string // argv[0]
	index      int
	env        []string // of the master; the child's is made of it
	socket     childListener
	credential *syscall.Credential // nil: the master's own
	post       func(event any)     // takes the life's events; any goroutine
	output     printer
	log        func(*control.Log) // takes its Log messages; any goroutine
}

// running is a started child. Its goroutines: one waits for the exit, one receives, one sends, two
// read its output; all end with the process.
type running struct {
	process *os.Process
	conn    *control.Conn
	post    func(event any)
	outbox  chan outgoing
	queued  atomic.Int64 // messages of the outbox that are not sent; after a failure it stays above 0
	release sync.Once
	sent    chan struct{} // closed when nothing is sent any more, for finish; nil where nobody waits for that
}

type outgoing struct {
	message control.Message
	fds     []int // duplicates, closed once sent
}

// startChild starts the image that this process itself runs (FACTS 16: /proc/self/exe keeps
// naming it after the file was replaced) with exactly the descriptors and the environment of
// control's heritage. The child has a process group of its own, so that a terminal's Ctrl-C
// reaches the master alone. It is not tied to us by a parent-death signal (FACTS 17).
func startChild(s spawnSpec) (_ *running, err error) {
	ours, theirs, err := control.Pair()
	if err != nil {
		return nil, err
	}
	var opened []*os.File // what is closed here in any case: the child's ends
	opened = append(opened, theirs)
	defer func() {
		for _, f := range opened {
			_ = f.Close()
		}
		if err != nil {
			_ = ours.Close()
		}
	}()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	opened = append(opened, null)
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	opened = append(opened, outW)
	errR, errW, err := os.Pipe()
	if err != nil {
		_ = outR.Close()
		return nil, err
	}
	opened = append(opened, errW)
	p, err := os.StartProcess("/proc/self/exe", []string{s.name + ": " + roleOf(s.index)}, &os.ProcAttr{
		Env:   control.Environ(s.env, s.index),
		Files: []*os.File{0: null, 1: outW, 2: errW, control.FDControl: theirs, control.FDListener: s.socket},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Credential: s.credential},
	})
	if err != nil {
		_ = outR.Close()
		_ = errR.Close()
		return nil, fmt.Errorf("start child: %w", err)
	}
	r := &running{process: p, conn: ours, post: s.post, outbox: make(chan outgoing, outboxSize)}
	finish := readOutput(p.Pid, outR, errR, s.output)
	go r.receive(s.log)
	go r.send()
	go func() {
		status := r.wait()
		finish()
		r.post(exit{status})
	}()
	return r, nil
}

// printer takes a line of what a process prints, without its newline; any goroutine. cut is how many bytes were cut off.
type printer func(pid int, stream string, line []byte, cut int)

// readOutput begins to read what a process prints, and closes the files at the end of it. finish has to be called when the process has
// ended: what it wrote before its end then stands in the log before its end does.
func readOutput(pid int, stdout, stderr *os.File, output printer) (finish func()) {
	var reading sync.WaitGroup
	var lines atomic.Uint64
	take := func(stream string) func([]byte, int) {
		return func(l []byte, cut int) {
			output(pid, stream, l, cut)
			lines.Add(1)
		}
	}
	reading.Go(func() { readLines(stdout, take("stdout")) })
	reading.Go(func() { readLines(stderr, take("stderr")) })
	return func() {
		// The pipes may be held by a process that the child has started: that must not delay a successor for longer than what it says.
		bound := time.Now().Add(outputBound)
		_ = stdout.SetReadDeadline(bound)
		_ = stderr.SetReadDeadline(bound)
		read := make(chan struct{})
		go func() { reading.Wait(); close(read) }()
		patience := time.NewTicker(outputPatience)
		defer patience.Stop()
		for before := lines.Load(); ; {
			select {
			case <-read:
				return
			case <-patience.C:
			}
			now := lines.Load()
			if now == before {
				return
			}
			before = now
		}
	}
}

// roleOf is what a process with this index is.
func roleOf(index int) string {
	if index == control.Housekeeper {
		return control.RoleHousekeeper
	}
	return "child " + strconv.Itoa(index)
}

func (r *running) wait() syscall.WaitStatus {
	state, err := r.process.Wait() // of this pid alone
	if err != nil {
		return syscall.WaitStatus(255 << 8) // cannot happen: nobody else waits for it
	}
	return state.Sys().(syscall.WaitStatus)
}

// receive passes messages on until the channel ends. Log lines take the short way.
func (r *running) receive(log func(*control.Log)) {
	for {
		m, files, err := r.conn.Receive()
		if errors.Is(err, control.ErrMalformed) || errors.Is(err, control.ErrVersion) || errors.Is(err, control.ErrFilesLost) {
			r.post(undelivery{err})
			continue
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			r.post(silence{err})
			return
		}
		if l, ok := m.(*control.Log); ok {
			log(l)
			continue
		}
		r.post(received{m, files})
	}
}

func (r *running) send() {
	if r.sent != nil {
		defer close(r.sent)
	}
	failed := false
	for o := range r.outbox {
		if !failed {
			if err := r.conn.Send(o.message, o.fds...); err != nil {
				failed = true
				// A channel that has ended says so by itself.
				if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, os.ErrClosed) {
					r.post(undelivery{err})
				}
			}
		}
		closeFds(o.fds)
		if !failed {
			r.queued.Add(-1)
		}
	}
}

// finish is Release once all that was queued is sent, or cannot be, or the bound has passed. Nothing may be sent after it.
func (r *running) finish(bound time.Duration) {
	r.release.Do(func() {
		close(r.outbox)
		timer := time.NewTimer(bound)
		defer timer.Stop()
		select {
		case <-r.sent:
		case <-timer.C:
		}
		_ = r.conn.Close()
	})
}

func (r *running) Pid() int { return r.process.Pid }

func (r *running) Send(m control.Message, fds ...int) {
	// What need not wait for another message goes at once. That takes no duplicates: a master that has no descriptor left can still lend
	// shards and ask for votes.
	if r.queued.Load() == 0 && r.conn.SendWithin(0, m, fds...) == nil {
		return
	}
	o := outgoing{message: m}
	for _, fd := range fds {
		d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			closeFds(o.fds)
			go r.post(undelivery{fmt.Errorf("send %s: %w", m.Kind(), os.NewSyscallError("fcntl", err))})
			return
		}
		o.fds = append(o.fds, d)
	}
	r.queued.Add(1)
	select {
	case r.outbox <- o:
	default:
		closeFds(o.fds)
		go r.post(undelivery{fmt.Errorf("send %s: %w", m.Kind(), control.ErrBusy)})
	}
}

func (r *running) Kill(s syscall.Signal) { _ = r.process.Signal(s) } // by pidfd: never another's pid

func (r *running) Release() {
	r.release.Do(func() {
		close(r.outbox)
		_ = r.conn.Close()
	})
}

func closeFds(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// adoptedProcess is a child that an earlier master has started: its exit is noticed, and its status is not known to anybody but its parent.
type adoptedProcess struct {
	*running
	pid   int
	pidfd *os.File
}

// adoptProcess takes the orphan's channel, process and output.
func adoptProcess(o *orphan, post func(event any), log func(*control.Log), output printer) *adoptedProcess {
	p := &adoptedProcess{running: &running{conn: o.conn, post: post, outbox: make(chan outgoing, outboxSize)}, pid: o.pid, pidfd: o.pidfd}
	read := readOutput(o.pid, o.output[0], o.output[1], output)
	o.conn, o.pidfd, o.output = nil, nil, [2]*os.File{}
	go p.receive(log)
	go p.send()
	go func() {
		if p.wait() {
			read()
			post(departure{})
		}
	}()
	return p
}

// wait waits until the process has ended: then its descriptor is readable. false: it was released before.
func (p *adoptedProcess) wait() bool {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		return n > 0 && err == nil
	}) == nil
}

func (p *adoptedProcess) Pid() int { return p.pid }

// Kill signals the process: never another one that has got its number.
func (p *adoptedProcess) Kill(s syscall.Signal) {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), s, nil, 0) }) // it may have ended
}

func (p *adoptedProcess) Release() {
	p.running.Release()
	_ = p.pidfd.Close()
}

// readLines gives every line of f to take, without its newline and cut to maxOutputLine, and how
// many bytes were cut. It closes f.
func readLines(f *os.File, take func(line []byte, cut int)) {
	defer f.Close()
	in := bufio.NewReaderSize(f, maxOutputLine)
	for {
		line, prefix, err := in.ReadLine()
		if err != nil {
			return
		}
		if !prefix {
			take(line, 0)
			continue
		}
		line = append([]byte(nil), line...)
		cut := 0
		for prefix && err == nil {
			var more []byte
			more, prefix, err = in.ReadLine()
			cut += len(more)
		}
		take(line, cut)
	}
}

// credentialOf looks up what children run as; nil when it is what the master runs as. An empty
// group is the user's own.
func credentialOf(name, group string) (*syscall.Credential, error) {
	if name == "" && group == "" {
		return nil, nil
	}
	uid, gid := os.Getuid(), os.Getgid()
	var groups []uint32
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("user: %w", err)
		}
		uid, gid = number(u.Uid), number(u.Gid)
		ids, err := u.GroupIds()
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		for _, id := range ids {
			groups = append(groups, uint32(number(id)))
		}
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("group: %w", err)
		}
		gid = number(g.Gid)
	}
	if uid == os.Getuid() && gid == os.Getgid() {
		return nil, nil
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("user %q, group %q: only root can start children as somebody else", name, group)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: groups}, nil
}

func number(id string) int {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		panic(fmt.Sprintf("master: id %q is no number", id)) // os/user promises one on Linux
	}
	return int(n)
}
