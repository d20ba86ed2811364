package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// marker is the environment variable by which a script's processes are found, however far they have come from it.
const marker = "SCRIPT_OF"

type worldKey struct{}

// world is what one script has running. The script's goroutine owns it.
type world struct {
	t       *testing.T
	dir     string
	servers map[string]*server
	conns   map[string]*conn
	held    []net.Listener
	traffic *traffic // nil: none flows
}

func newWorld(t *testing.T, dir string) *world {
	return &world{t: t, dir: dir, servers: map[string]*server{}, conns: map[string]*conn{}}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// server is a started program.
type server struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{}
	status         int // once ended
}

// startLine is what a program prints once it serves.
var startLine = regexp.MustCompile(`(?m)^\S+ .*serving (\S+)`)

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "serve")
	name := flags.String("name", "", "")
	program := flags.String("cmd", "tined", "")
	pid1 := flags.Bool("pid1", false, "")
	flags.parse(args)
	w := worldOf(ts)
	prefix, file := *name+"_", *name
	if *name == "" {
		prefix, file = "", "server"
	}
	if w.servers[*name] != nil {
		ts.Fatalf("serve: there is a server %q", file)
	}
	path := *program
	if !filepath.IsAbs(path) {
		path = filepath.Join(programs, path)
	}
	s := &server{cmd: exec.Command(path, flags.Args()...), ended: make(chan struct{})}
	s.cmd.Dir = ts.MkAbs(".")
	s.cmd.Env = environ(ts)
	s.cmd.WaitDelay = patience
	var err error
	if s.stdout, err = newOutput(ts.MkAbs(file + ".stdout")); err != nil {
		ts.Fatalf("serve: %v", err)
	}
	if s.stderr, err = newOutput(ts.MkAbs(file + ".stderr")); err != nil {
		ts.Fatalf("serve: %v", err)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.stdout, s.stderr
	if *pid1 {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	}
	ts.Check(s.cmd.Start())
	w.servers[*name] = s
	go s.wait()
	s.stdout.await(func(text []byte) bool { return startLine.Match(text) }, s.ended)
	match := startLine.FindSubmatch(s.stdout.bytes())
	if match == nil {
		ts.Fatalf("serve: %s has not started:\n%s%s", *program, s.stdout.bytes(), s.stderr.bytes())
	}
	url := strings.TrimRight(string(match[1]), ",")
	ts.Setenv(prefix+"URL", url)
	address := strings.TrimPrefix(url, "http://")
	ts.Setenv(prefix+"ADDR", address)
	if _, port, err := net.SplitHostPort(address); err == nil {
		ts.Setenv(prefix+"PORT", port)
	}
	ts.Setenv(prefix+"PID", strconv.Itoa(s.cmd.Process.Pid))
}

// environ is the script's environment, for processes that testscript does not start.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TINED_CONTROL", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "GORACE", marker} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (s *server) wait() {
	err := s.cmd.Wait()
	s.status = s.cmd.ProcessState.ExitCode()
	if signal := s.cmd.ProcessState.Sys().(syscall.WaitStatus); signal.Signaled() {
		s.status = 128 + int(signal.Signal())
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		fmt.Fprintln(s.stderr, "script: a process that has outlived its master holds the output")
		s.status = -1
	}
	s.stdout.close()
	s.stderr.close()
	close(s.ended)
}

// end waits for the end, and says whether it came.
func (s *server) end() bool {
	select {
	case <-s.ended:
		return true
	case <-time.After(patience):
		return false
	}
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("status: %v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("status %d, not %d", got, want)
	}
}

func (w *world) server(ts *testscript.TestScript, args []string) *server {
	name := ""
	if len(args) == 1 {
		name = args[0]
	}
	s := w.servers[name]
	if s == nil || len(args) > 1 {
		ts.Fatalf("there is no server %q", args)
	}
	return s
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "signal")
	flags.parse(args)
	if flags.NArg() < 1 {
		ts.Fatalf("usage: signal SIGNAL [NAME | PID]")
	}
	number := unix.SignalNum("SIG" + flags.Arg(0))
	if number == 0 {
		ts.Fatalf("signal: %s is no signal", flags.Arg(0))
	}
	if pid, err := strconv.Atoi(flags.Arg(1)); err == nil {
		ts.Check(syscall.Kill(pid, number))
		return
	}
	ts.Check(worldOf(ts).server(ts, flags.Args()[1:]).cmd.Process.Signal(number))
}

func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "ended")
	want := flags.Int("status", 0, "")
	flags.parse(args)
	w := worldOf(ts)
	s := w.server(ts, flags.Args())
	if !s.end() {
		ts.Fatalf("ended: it runs on\n%s", s.stderr.bytes())
	}
	for name, other := range w.servers {
		if other == s {
			delete(w.servers, name)
		}
	}
	if s.status != *want {
		ts.Fatalf("ended: status %d, not %d\n%s", s.status, *want, s.stderr.bytes())
	}
}

// status is what these tests read of `tined status --json`.
type status struct {
	Pid      int
	Children []struct {
		Index, Pid int
		State      string
	}
}

func (w *world) status(ts *testscript.TestScript) (s status) {
	cmd := exec.Command(filepath.Join(programs, "tined"), "status", "--json")
	cmd.Env = environ(ts)
	text, err := cmd.Output()
	if err != nil {
		ts.Fatalf("status: %v", err)
	}
	ts.Check(json.Unmarshal(text, &s))
	return s
}

// cmdShows waits until the status for people matches.
func cmdShows(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "shows")
	flags.parse(args)
	if flags.NArg() != 1 {
		ts.Fatalf("usage: shows REGEXP")
	}
	pattern, err := regexp.Compile("(?m)" + flags.Arg(0))
	ts.Check(err)
	var text []byte
	defer func() { fmt.Fprintf(ts.Stdout(), "%s", text) }()
	poll(ts, "shows "+flags.Arg(0), func() bool {
		cmd := exec.Command(filepath.Join(programs, "tined"), "status")
		cmd.Env = environ(ts)
		text, err = cmd.Output()
		return err == nil && pattern.Match(text)
	})
}

func cmdProcesses(ts *testscript.TestScript, neg bool, args []string) {
	newFlags(ts, neg, "processes").parse(args)
	s := worldOf(ts).status(ts)
	ts.Setenv("MASTER", strconv.Itoa(s.Pid))
	for _, c := range s.Children {
		if c.State == "serving" {
			ts.Setenv("CHILD"+strconv.Itoa(c.Index), strconv.Itoa(c.Pid))
		}
	}
}

func cmdRespawned(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "respawned")
	flags.parse(args)
	if flags.NArg() != 2 {
		ts.Fatalf("usage: respawned INDEX PID")
	}
	w := worldOf(ts)
	poll(ts, "respawned", func() bool {
		for _, c := range w.status(ts).Children {
			if strconv.Itoa(c.Index) == flags.Arg(0) && strconv.Itoa(c.Pid) != flags.Arg(1) && c.State == "serving" {
				return true
			}
		}
		return false
	})
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "await")
	flags.parse(args)
	if flags.NArg() != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	pattern, err := regexp.Compile("(?m)" + flags.Arg(1))
	ts.Check(err)
	poll(ts, "await "+flags.Arg(1), func() bool {
		text, err := os.ReadFile(ts.MkAbs(flags.Arg(0)))
		return err == nil && pattern.Match(text)
	})
}

// poll is for what other processes change without telling.
func poll(ts *testscript.TestScript, what string, done func() bool) {
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if done() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: waited in vain", what)
		}
	}
}

func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "hold")
	flags.parse(args)
	// An error says that somebody else listens there, which is as good.
	if l, err := net.Listen("tcp", flags.Arg(0)); err == nil {
		w := worldOf(ts)
		w.held = append(w.held, l)
	}
}

// end stops what the script has left running, and looks for what it should not have left.
func (w *world) end() {
	if w.traffic != nil {
		w.traffic.end()
	}
	for _, l := range w.held {
		l.Close()
	}
	for _, c := range w.conns {
		c.Close()
	}
	for name, s := range w.servers {
		_ = s.cmd.Process.Signal(unix.SIGTERM)
		if !s.end() {
			w.t.Errorf("%s: server %q does not end:\n%s", filepath.Base(w.dir), name, s.stderr.bytes())
			_ = s.cmd.Process.Kill()
			continue
		}
		if s.status != 0 {
			w.t.Errorf("%s: server %q ended with status %d:\n%s", filepath.Base(w.dir), name, s.status, s.stderr.bytes())
		}
	}
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		left := marked(w.dir)
		if len(left) == 0 {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			w.t.Errorf("%s: processes are left: %v", filepath.Base(w.dir), left)
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return
		}
	}
}

// marked finds the living processes of a script by their environment.
func marked(dir string) []int {
	var pids []int
	want := []byte(marker + "=" + dir + "\x00")
	names, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well formed
	for _, name := range names {
		// Processes come and go, and those of others cannot be read. A zombie's environment is empty.
		if env, err := os.ReadFile(name); err == nil && bytes.Contains(append(env, 0), want) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// output is a program's output: kept, copied to a file, and watched.
type output struct {
	mu      sync.Mutex
	file    *os.File
	text    []byte
	changed chan struct{} // closed at the next write
}

func newOutput(name string) (*output, error) {
	f, err := os.Create(name)
	return &output{file: f, changed: make(chan struct{})}, err
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	close(o.changed)
	o.changed = make(chan struct{})
	return o.file.Write(p)
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.text)
}

func (o *output) close() { o.file.Close() }

// await waits until done is true of the text, or the program has ended, or for too long.
func (o *output) await(done func([]byte) bool, ended <-chan struct{}) {
	bound := time.After(patience)
	for {
		o.mu.Lock()
		changed, finished := o.changed, done(o.text)
		o.mu.Unlock()
		if finished {
			return
		}
		select {
		case <-changed:
		case <-ended:
			return
		case <-bound:
			return
		}
	}
}
