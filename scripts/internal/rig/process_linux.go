package rig

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// endPatience is how long a process may take to end after SIGTERM.
const endPatience = 3 * time.Second

// Process is a started program with all its descendants.
type Process struct {
	Pid    int
	cmd    *exec.Cmd
	log    *tail
	once   sync.Once
	ended  chan struct{}
	status error
}

// Core pins a program. AnyCore leaves it unpinned.
type Core int

// AnyCore is no pinning.
const AnyCore Core = -1

// Start runs a program, pinned to core, with extra environment entries. Its output is
// kept (the last of it) for error messages. The caller calls End.
func Start(core Core, env []string, name string, args ...string) (*Process, error) {
	cmd := command(core, name, args...)
	cmd.Env = append(os.Environ(), env...)
	p := &Process{cmd: cmd, log: new(tail), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// A process group of its own: an interrupt from the terminal is ours to pass on.
	// Should we be killed, the kernel asks it to end. (It does so when the thread that
	// started it ends: the runtime ends none but those that goroutines have locked.)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	// Descendants that outlive the program may keep its output open: do not wait for them.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.Pid = cmd.Process.Pid
	go func() {
		p.status = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// command is exec.Command behind taskset, which replaces itself by the program.
func command(core Core, name string, args ...string) *exec.Cmd {
	if core == AnyCore {
		return exec.Command(name, args...)
	}
	return exec.Command("taskset", append([]string{"-c", strconv.Itoa(int(core)), name}, args...)...)
}

// Wait waits for the program to end by itself, and returns what it printed.
func (p *Process) Wait() (string, error) {
	<-p.ended
	if p.status != nil {
		return p.Output(), fmt.Errorf("%s: %w: %s", p.cmd.Path, p.status, p.Output())
	}
	return p.Output(), nil
}

// Ended is closed when the program itself has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Output is the last that the program and its descendants have printed.
func (p *Process) Output() string { return p.log.String() }

// End asks the program to end, waits, and kills what is left of it and its descendants.
// It may be called more than once, and from any goroutine.
func (p *Process) End() {
	p.once.Do(func() {
		family := Tree(p.Pid)
		select {
		case <-p.ended: // its number may be another process's by now
		default:
			_ = syscall.Kill(p.Pid, syscall.SIGTERM)
		}
		select {
		case <-p.ended:
		case <-time.After(endPatience):
		}
		// A descendant may have outlived its parent, and new ones may have come.
		for _, member := range append(family, Tree(p.Pid)...) {
			if member.alive() {
				_ = syscall.Kill(member.Pid, syscall.SIGKILL)
			}
		}
		<-p.ended
	})
}

// Crew ends every process that was started through it.
type Crew struct {
	mu      sync.Mutex
	members []*Process
	closed  bool
}

// ErrClosed says that the crew has been ended, by a signal for example.
var ErrClosed = errors.New("interrupted")

// Start is [Start], remembered.
func (c *Crew) Start(core Core, env []string, name string, args ...string) (*Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	p, err := Start(core, env, name, args...)
	if err != nil {
		return nil, err
	}
	c.members = append(c.members, p)
	return p, nil
}

// End ends all of them, and lets no other start.
func (c *Crew) End() {
	c.mu.Lock()
	c.closed = true
	members := c.members
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range members {
		all.Go(p.End)
	}
	all.Wait()
}

// tailSize is how much of a program's output is kept, in bytes.
const tailSize = 8 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
