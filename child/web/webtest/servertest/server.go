package servertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds every wait. Only a test that fails meets it.
	patience = 30 * time.Second
	// poll is how often is looked at what changes without telling.
	poll = 2 * time.Millisecond
	// envRun is the mark of all processes of one server: its directory.
	envRun = "SERVERTEST_RUN"
	// drainTimeout is that of the default configuration, in seconds.
	drainTimeout = 10
)

// Options of a server. The zero value serves the program's routes with two children.
type Options struct {
	// Children is their number, 0: 2. It is for the default configuration: with Config set it must be 0.
	Children int
	// Config is a whole configuration in HCL; its listeners should have port 0. "": one listener on 127.0.0.1 and one default site.
	Config string
	// Args are added to the command line behind `run`.
	Args []string
	// Env are variables, NAME=VALUE, beside those of the test. Names that begin with TINED_ do not reach the children.
	Env []string
}

// Server is a running server. Its methods fail the test when they cannot do what they say; they are for the test's goroutine, but for URL
// and Client, which any may use.
type Server struct {
	// URL is the address of the first listener, "http://127.0.0.1:PORT", or "http://unix" for a unix socket.
	URL string
	// Client reaches that listener whatever the host of a URL is, and keeps connections alive. It does not follow redirects.
	Client *http.Client

	t       testing.TB
	dir     string
	command *exec.Cmd
	control http.Client
	log     *journal
	ended   chan struct{} // closed once the master has ended
	err     error         // what Wait said, once ended
}

// Child is one child as the master sees it.
type Child struct {
	Index int    `json:"index"`
	Pid   int    `json:"pid"`   // 0 while nothing runs
	State string `json:"state"` // "serving", "draining", …
}

type status struct {
	State     string `json:"state"`
	Listeners []struct {
		Address string `json:"address"`
	} `json:"listeners"`
	Children []Child `json:"children"`
}

// Start runs the program's `run` command and returns when it serves. The server ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := Begin(t, o)
	serving := func(text string) bool { return strings.Contains(text, ": serving ") }
	if !s.log.await(serving, s.ended) {
		t.Fatal("the server does not start") // its log follows when the test ends
	}
	listeners := s.status().Listeners
	if len(listeners) == 0 {
		t.Fatal("the server has no listener")
	}
	network, address := "tcp", listeners[0].Address
	s.URL = "http://" + address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address, s.URL = "unix", path, "http://unix"
	}
	s.Client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
	return s
}

// Fail runs the program's `run` command, expects that it refuses to start, and returns what it has printed.
func Fail(t testing.TB, o Options) string {
	t.Helper()
	s := Begin(t, o)
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatalf("the server neither starts nor ends:\n%s", s.Log())
	}
	if s.err == nil {
		t.Errorf("the server ended with status 0:\n%s", s.Log())
	}
	return s.Log()
}

// Begin is Start without the wait: the server may still be starting, and URL and Client are not set.
func Begin(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Config != "" && o.Children != 0 {
		t.Fatal("servertest: Children is for the default configuration: set `children` in Config")
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its name may be too long for a socket.
	dir, err := os.MkdirTemp("", "tined")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir, log: newJournal(), ended: make(chan struct{})}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := filepath.Join(dir, "test.hcl")
	if err := os.WriteFile(config, []byte(o.config()), 0o600); err != nil {
		t.Fatal(err)
	}
	lifeline, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "control.sock")
	s.control.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}
	s.control.Timeout = patience
	s.command = exec.Command(executable, append([]string{"run", "-c", config, "--control", socket}, o.Args...)...)
	s.command.Env = append(append(os.Environ(), o.Env...), envMaster+"=1", envRun+"="+dir)
	s.command.Stdout, s.command.Stderr = s.log, s.log
	s.command.ExtraFiles = []*os.File{lifeline}
	s.command.WaitDelay = patience
	err = s.command.Start()
	_ = lifeline.Close()
	if err != nil {
		_ = ours.Close()
		t.Fatalf("start the server: %v", err)
	}
	go func() {
		s.err = s.command.Wait()
		_ = ours.Close()
		close(s.ended)
	}()
	t.Cleanup(s.cleanUp)
	return s
}

func (o Options) config() string {
	if o.Config != "" {
		return o.Config
	}
	children := o.Children
	if children == 0 {
		children = 2
	}
	return fmt.Sprintf("children = %d\ndrain_timeout = \"%ds\"\nlisten \"test\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"test\" {\n}\n",
		children, drainTimeout)
}

// Get asks for path and returns the body of the answer, which must be a 200.
func (s *Server) Get(path string) string {
	s.t.Helper()
	response, err := s.Client.Get(s.URL + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s, %q, %v", path, response.Status, body, err)
	}
	return string(body)
}

// Children are the children at present, by index. One that drains after it was replaced follows its successor.
func (s *Server) Children() []Child {
	s.t.Helper()
	return s.status().Children
}

func (s *Server) status() (now status) {
	s.t.Helper()
	response, err := s.control.Get("http://tined/v1/status")
	if err != nil {
		s.t.Fatalf("status: %v", err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&now); err != nil {
		s.t.Fatalf("status: %v", err)
	}
	return now
}

// Kill ends child index with SIGKILL, and returns when its successor serves.
func (s *Server) Kill(index int) { s.t.Helper(); s.replace(index, syscall.SIGKILL) }

// Drain tells child index to finish and exit, and returns when its successor serves.
func (s *Server) Drain(index int) { s.t.Helper(); s.replace(index, syscall.SIGTERM) }

func (s *Server) replace(index int, signal syscall.Signal) {
	s.t.Helper()
	pid := s.serving(index, 0)
	if err := syscall.Kill(pid, signal); err != nil {
		s.t.Fatalf("end child %d: %v", index, err)
	}
	s.serving(index, pid)
}

// serving waits until a child of this index serves that is not the process other, and returns its pid.
func (s *Server) serving(index, other int) int {
	s.t.Helper()
	for bound := time.Now().Add(patience); time.Now().Before(bound); time.Sleep(poll) {
		for _, c := range s.Children() {
			if c.Index == index && c.State == "serving" && c.Pid != other {
				return c.Pid
			}
		}
	}
	s.t.Fatalf("child %d does not serve:\n%s", index, s.Log())
	return 0
}

// Pid is the master's.
func (s *Server) Pid() int { return s.command.Process.Pid }

// Signal sends the master a signal.
func (s *Server) Signal(signal os.Signal) {
	s.t.Helper()
	if err := s.command.Process.Signal(signal); err != nil {
		s.t.Fatalf("signal %v: %v", signal, err)
	}
}

// Log is what the server has printed so far, log and output together.
func (s *Server) Log() string { return s.log.String() }

// AwaitLog waits until the server has printed text.
func (s *Server) AwaitLog(text string) {
	s.t.Helper()
	s.AwaitLogs(text, 1)
}

// AwaitLogs waits until the server has printed text n times.
func (s *Server) AwaitLogs(text string, n int) {
	s.t.Helper()
	if !s.log.await(func(all string) bool { return strings.Count(all, text) >= n }, s.ended) {
		s.t.Fatalf("the server does not print %q %d times", text, n)
	}
}

// AwaitFile waits until a file that the program writes holds text.
func (s *Server) AwaitFile(name, text string) {
	s.t.Helper()
	for bound := time.Now().Add(patience); time.Now().Before(bound); time.Sleep(poll) {
		if content, err := os.ReadFile(name); err == nil && strings.Contains(string(content), text) {
			return
		}
	}
	s.t.Fatalf("%s does not hold %q", name, text)
}

// Stop lets the server finish what is in flight and waits for its end, which must be one with status 0. It does nothing when the server
// has ended. It is called at the end of the test, if not before.
func (s *Server) Stop() {
	s.t.Helper()
	_ = s.command.Process.Signal(syscall.SIGTERM) // an error says that it has ended
	s.Wait()
}

// Wait waits for the end of the server, which must be one with status 0.
func (s *Server) Wait() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Errorf("the server does not end")
		_ = s.command.Process.Kill()
		<-s.ended
	}
	if s.err != nil && !s.t.Failed() {
		s.t.Errorf("the server ended with %v:\n%s", s.err, s.Log())
	}
}

// cleanUp ends what is left.
func (s *Server) cleanUp() {
	select {
	case <-s.ended: // as it should have, or the test knows
	default:
		s.Stop()
	}
	if s.Client != nil {
		s.Client.CloseIdleConnections()
	}
	for bound := time.Now().Add(patience); ; time.Sleep(poll) {
		left := processesOf(s.dir)
		if len(left) == 0 {
			break
		}
		if time.Now().After(bound) {
			s.t.Errorf("processes %v have outlived their master; they are killed", left)
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			break
		}
	}
	if s.t.Failed() {
		s.t.Logf("the server's log:\n%s", s.Log())
	}
}

// processesOf finds the living processes of a server by their environment.
func processesOf(dir string) (pids []int) {
	mark := "\x00" + envRun + "=" + dir + "\x00"
	names, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well formed
	for _, name := range names {
		// Processes come and go, and those of others cannot be read. A zombie's environment is empty.
		environ, err := os.ReadFile(name)
		if err != nil || !strings.Contains("\x00"+string(environ), mark) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
