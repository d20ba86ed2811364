package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// succession bounds the wait for a child.
	succession = 15 * time.Second
	// commandPatience bounds a command of the server's.
	commandPatience = 60 * time.Second
)

// server is the server under test: a binary, its configuration, and the commands that it takes.
type server struct {
	crew    *rig.Crew
	ground  *ground
	binary  string
	folder  string
	config  string // path
	log     string // path
	control string // path
	process *rig.Process

	// temp is the servers' folder for what is temporary.
	temp string
	// printed is the path of the file with what the processes print.
	printed string

	mu sync.Mutex
	// own are the processes that somebody here waits for. All others that this process becomes the parent of are orphans, which it buries.
	own   map[int]bool
	ended chan struct{} // closed when there is nobody left to bury
}

// newServer starts binary with a configuration, and waits until it serves. The folder is the run's own.
func newServer(t *trial, binary, text string) (*server, error) {
	s := &server{
		crew: t.crew, ground: t.ground, binary: binary, folder: t.folder, config: filepath.Join(t.folder, "storm.hcl"),
		log: filepath.Join(t.folder, "storm.log"), temp: filepath.Join(t.folder, "tmp"),
		printed: filepath.Join(t.folder, "printed"), own: make(map[int]bool), ended: make(chan struct{}),
	}
	s.control = filepath.Join(s.folder, "run", "control.sock")
	for _, folder := range []string{filepath.Dir(s.control), s.temp} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	if err := s.write(text); err != nil {
		return nil, err
	}
	go s.bury()
	return s, s.start(binary)
}

// write puts a configuration in place, whole.
func (s *server) write(text string) error {
	next := s.config + ".next"
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.config)
}

// start starts a master and waits until it serves.
func (s *server) start(binary string) error {
	env := []string{"RUNTIME_DIRECTORY=" + filepath.Dir(s.control), "TMPDIR=" + s.temp}
	p, err := s.launch(func() (started *rig.Process, err error) {
		s.ground.atServer(func() {
			// What it prints goes to a file: a pipe would end with this process, and its successors go on with it.
			started, err = s.crew.Start(rig.AnyCore, env, "sh", "-c", `exec "$@" >>"$0" 2>&1`, s.printed, binary, "run", "-c", s.config)
		})
		return started, err
	})
	if err != nil {
		return err
	}
	s.process = p
	for deadline := time.Now().Add(succession); ; {
		st, err := s.status()
		if err == nil && st.State == "serving" {
			return nil
		}
		select {
		case <-s.process.Ended():
			return fmt.Errorf("%s has ended at once: %s", binary, s.logged())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not serve after %v: %w", binary, succession, errors.Join(err, errors.New(st.String())))
		}
	}
}

// launch starts a process that the crew waits for.
func (s *server) launch(start func() (*rig.Process, error)) (*rig.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := start()
	if err != nil {
		return nil, err
	}
	s.own[p.Pid] = true
	go func() {
		<-p.Ended()
		s.disown(p.Pid)
	}()
	return p, nil
}

func (s *server) disown(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.own, pid)
}

// killMaster kills the master. This process takes its children over.
func (s *server) killMaster() error {
	st, err := s.status()
	if err != nil {
		return err
	}
	if err := syscall.Kill(st.Pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the master: %w", err)
	}
	for deadline := time.Now().Add(succession); !gone(st.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("master %d is still there %v after SIGKILL", st.Pid, succession)
		}
	}
	return nil
}

// buryEvery is how often orphans are looked for that have died.
const buryEvery = 20 * time.Millisecond

// bury waits for orphans that have died, as their parent must: children whose master was killed, and masters whose predecessors have left.
func (s *server) bury() {
	tick := time.NewTicker(buryEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-tick.C:
		}
		for s.buryOne() {
		}
	}
}

// buryOne reports whether it has met an orphan that had died.
func (s *server) buryOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var dead struct { // siginfo_t of a 64-bit machine, waitid(2)
		_   [16]byte
		pid int32
		_   [108]byte
	}
	// What somebody waits for must stay for him, and who waits has not been told yet.
	err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&dead)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	pid := int(dead.pid)
	if err != nil || pid == 0 || s.own[pid] {
		return false
	}
	_, err = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	return err == nil
}

// command runs one of the server's commands and returns what it printed and its exit status; -1 when it did not end in time.
func (s *server) command(args ...string) (string, int, error) {
	return s.run(s.binary, append(args, "--control", s.control)...)
}

// run is command for another binary.
func (s *server) run(binary string, args ...string) (string, int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	s.mu.Lock()
	err := cmd.Start()
	if err == nil {
		s.own[cmd.Process.Pid] = true
	}
	s.mu.Unlock()
	if err == nil {
		err = cmd.Wait()
		s.disown(cmd.Process.Pid)
	}
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return out.String(), -1, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out.String(), cmd.ProcessState.ExitCode(), nil
}

// must runs a command that has to succeed.
func (s *server) must(args ...string) error {
	out, code, err := s.command(args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", strings.Join(args, " "), code, strings.TrimSpace(out))
	}
	return err
}

// status is the part of `status --json` that counts here.
type status struct {
	Version    string `json:"version"`
	Pid        int    `json:"pid"`
	State      string `json:"state"`
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest"`
	Children   []struct {
		Index      int    `json:"index"`
		Pid        int    `json:"pid"`
		State      string `json:"state"`
		Restarts   uint64 `json:"restarts"`
		LastEnd    string `json:"last_end"`
		Generation uint64 `json:"generation"`
		Digest     string `json:"digest"`
	} `json:"children"`
	// Totals are over all children, those that have ended included.
	Totals struct {
		Exchanges uint64 `json:"exchanges"`
		Finished  uint64 `json:"finished"`
	} `json:"totals"`
	LastReload struct {
		Committed bool   `json:"committed"`
		Reason    string `json:"reason"`
	} `json:"last_reload"`
	// Upgrade is the one that goes on, LastUpgrade the last that has ended, Predecessor what is left of the version before.
	Upgrade     *upgradeStatus `json:"upgrade"`
	LastUpgrade *upgradeStatus `json:"last_upgrade"`
	Predecessor *struct {
		Version     string `json:"version"`
		Pid         int    `json:"pid"`
		Children    int    `json:"children"`
		Connections int    `json:"connections"`
	} `json:"predecessor"`
}

// upgradeStatus is how far an upgrade is, or how it ended.
type upgradeStatus struct {
	Stage  string    `json:"stage"`
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Done   bool      `json:"done"`
	Reason string    `json:"reason"`
	Moved  uint64    `json:"moved"`
}

// String is short, for messages.
func (s *status) String() string {
	if s == nil {
		return "no status"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, generation %d", s.State, s.Generation)
	for _, c := range s.Children {
		fmt.Fprintf(&b, "; child %d pid %d %s generation %d restarts %d", c.Index, c.Pid, c.State, c.Generation, c.Restarts)
		if c.LastEnd != "" {
			fmt.Fprintf(&b, " (%s)", c.LastEnd)
		}
	}
	if s.Upgrade != nil {
		fmt.Fprintf(&b, "; upgrade to %s: %s", s.Upgrade.To, s.Upgrade.Stage)
	}
	if p := s.Predecessor; p != nil {
		fmt.Fprintf(&b, "; predecessor %d with %d children, %d connections", p.Pid, p.Children, p.Connections)
	}
	if s.LastReload.Reason != "" {
		fmt.Fprintf(&b, "; last reload: %s", s.LastReload.Reason)
	}
	return b.String()
}

func (s *server) status() (*status, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.control)
	}
	client := http.Client{Timeout: commandPatience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	answer, err := client.Get("http://tined/v1/status")
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	defer answer.Body.Close()
	st := new(status)
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	if err == nil {
		err = json.Unmarshal(text, st)
	}
	if err != nil {
		return nil, fmt.Errorf("status: %w: %s", err, text)
	}
	return st, nil
}

// serving are the children's process ids by index, once n of them serve.
func (s *server) serving(n int) ([]int, error) {
	for deadline := time.Now().Add(succession); ; {
		st, err := s.status()
		if err != nil {
			return nil, err
		}
		pids := make([]int, 0, n)
		others := 0
		for _, c := range st.Children {
			switch c.State {
			case "serving":
				pids = append(pids, c.Pid)
			case "parked": // its process has left, and only its shards are still there
			default:
				others++
			}
		}
		if len(pids) == n && others == 0 {
			return pids, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d children serve after %v: %s", len(pids), n, succession, st)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// hold looks which connections a process that stands still has accepted, and how many wait in the queues of all shards.
func (s *server) hold(pid int) (Kill, error) {
	k := Kill{At: time.Now(), Held: make(map[netip.AddrPort]bool)}
	inodes, err := rig.SocketInodes(pid)
	if err != nil {
		return k, err
	}
	sockets, err := s.ground.sockets()
	if err != nil {
		return k, err
	}
	own := make(map[uint64]bool, len(inodes))
	for _, i := range inodes {
		own[i] = true
	}
	for _, one := range sockets {
		switch {
		case one.State == rig.Listening:
		case one.Inode != 0 && own[one.Inode]:
			k.Held[one.Remote] = true
		case one.State == rig.Established && one.Inode == 0:
			k.Queued++
		}
	}
	return k, nil
}

// stopHold stops a process, waits until all its threads stand still, and looks what it holds.
func (s *server) stopHold(pid int) (Kill, error) {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return Kill{}, fmt.Errorf("stop child %d: %w", pid, err)
	}
	for deadline := time.Now().Add(time.Second); !rig.Stopped(pid); {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return Kill{}, fmt.Errorf("child %d does not stop", pid)
		}
	}
	time.Sleep(stand)
	return s.hold(pid)
}

// weight is what processes use of the machine.
type weight struct {
	Memory      int64 `json:"memoryBytes"` // private
	Descriptors int   `json:"descriptors"`
	Threads     int   `json:"threads"`
	// kinds of descriptors: socket, pipe, or the path of a file.
	kinds map[string]int
}

// more says of which kinds of descriptors w has more than before.
func (w weight) more(before weight) string {
	var b strings.Builder
	for kind, n := range w.kinds {
		if n > before.kinds[kind] {
			fmt.Fprintf(&b, "; %s %d to %d", kind, before.kinds[kind], n)
		}
	}
	return b.String()
}

// served is the file that clients download.
const served = "stream"

// weigh adds up processes. One that has ended is an error.
func weigh(pids ...int) (weight, error) {
	var w weight
	tree := make([]rig.Member, 0, len(pids))
	for _, pid := range pids {
		m, err := rig.Look(pid)
		if err != nil {
			return w, err
		}
		tree = append(tree, m)
	}
	var err error
	if w.Memory, err = rig.PrivateMemory(tree); err != nil {
		return w, err
	}
	if w.Descriptors, err = rig.Descriptors(tree); err != nil {
		return w, err
	}
	w.kinds = make(map[string]int)
	for _, pid := range pids {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, l := range links {
			if target, err := os.Readlink(l); err == nil { // else it has been closed since
				kind, _, _ := strings.Cut(target, ":[")
				if filepath.Base(kind) == served {
					w.Descriptors-- // static keeps what it serves open for the next request, or does not just now
					continue
				}
				w.kinds[kind]++
			}
		}
	}
	w.Threads, err = rig.Threads(tree)
	return w, err
}

// settled weighs again and again until the result is good, or the bound is over. The last one counts.
func settled(bound time.Duration, good func(weight) bool, pids ...int) (weight, error) {
	for deadline := time.Now().Add(bound); ; {
		w, err := weigh(pids...)
		if err != nil || good(w) || time.Now().After(deadline) {
			return w, err
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// end asks the server to stop. What is left is ended with the crew.
func (s *server) end() error {
	out, code, err := s.command("stop", "--wait")
	if err == nil && code != 0 {
		err = fmt.Errorf("stop: exit status %d: %s", code, out)
	}
	return err
}

// logged is the whole log, and what the processes have printed last.
func (s *server) logged() string {
	text, _ := os.ReadFile(s.log) // what is not there yet is empty
	printed, _ := os.ReadFile(s.printed)
	return string(text) + string(printed)
}

// last is the end of the log, for messages.
func (s *server) last() string {
	lines := strings.Split(strings.TrimSpace(s.logged()), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
