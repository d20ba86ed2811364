package master

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

func TestServeAndStop(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Listeners = append(config.Listeners, configs.Listener{
		Name: "local", Mode: 0o600, Address: configs.Address{Network: "unix", Path: filepath.Join(t.TempDir(), "l.sock")},
	})
	h := serve(t, config, nil)
	unixPath := config.Listeners[1].Address.Path
	want := fmt.Sprintf("tined v0-test: serving %s, unix:%s with 2 children, configuration test.hcl\n", h.base, unixPath)
	if got := h.stdout.String(); got != want {
		t.Errorf("start line %q, want %q", got, want)
	}
	if _, err := h.get("/pid"); err != nil {
		t.Fatal(err)
	}
	s := h.status()
	if s.Version != "v0-test" || s.Pid != os.Getpid() || s.State != "serving" || s.Generation != 1 || s.Configuration != "/etc/test.hcl" {
		t.Errorf("status %+v", s)
	}
	if len(s.Listeners) != 2 || s.Listeners[0].Shards != 2 || s.Listeners[1].Shards != 1 || "http://"+s.Listeners[0].Address != h.base {
		t.Errorf("listeners %+v", s.Listeners)
	}
	if len(s.Children) != 2 {
		t.Fatalf("children %+v", s.Children)
	}
	for i, c := range s.Children {
		if c.Index != i || c.State != "serving" || c.Pid != h.pid(i, 1) || c.Restarts != 0 || c.Numbers == nil || c.Numbers.Finished != 2 {
			t.Errorf("child %+v", c)
		}
	}
	control := h.m.runtime.control
	if info, err := os.Stat(control); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("control socket %v, %v", info, err)
	}
	for i := range 2 {
		name := filepath.Join(h.m.runtime.children, strconv.Itoa(i)+".sock")
		if info, err := os.Stat(name); err != nil || info.Mode().Type() != fs.ModeSocket {
			t.Errorf("child's socket %v, %v", info, err)
		}
	}
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, left := range []string{control, h.m.runtime.children, unixPath} {
		if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind", left)
		}
	}
	if _, err := h.get("/pid"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the stop: %v", err)
	}
	if _, err := NewClient(control).Status(h.context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the stop: %v", err)
	}
}

// FACTS 1: the queue of a killed child's shard is served by its successor, since the master holds
// the shard. The child is deaf, so that every connection stays in the queue.
func TestQueueOfAKilledChildIsServed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FAKE_CHILD", "deaf")
	t.Setenv("FAKE_DIR", dir)
	config := testConfig(t.TempDir())
	config.Children = 1
	h := serve(t, config, nil)
	first := h.pid(0, 1)
	const n = 50
	var waiting []net.Conn
	for range n {
		c, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	if err := os.WriteFile(filepath.Join(dir, "hear"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := h.pid(0, 2)
	for i, c := range waiting {
		_ = c.SetDeadline(time.Now().Add(patience))
		answer := make([]byte, 4096)
		n, err := c.Read(answer)
		if err != nil || !strings.HasSuffix(string(answer[:n]), strconv.Itoa(second)) {
			t.Fatalf("connection %d: %q, %v", i, answer[:n], err)
		}
	}
	contains(t, h.stderr.String(), "child was ended from outside; its successor starts at once")
	if s := h.status(); s.Children[0].Restarts != 1 || s.Children[0].Faults != 0 {
		t.Errorf("%+v", s.Children[0])
	}
}

func TestTermToAChildDrainsItAndItIsReplaced(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), nil)
	if err := syscall.Kill(h.pid(1, 1), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if h.pid(1, 2) == h.pid(1, 1) {
		t.Error("the same process")
	}
	if s := h.status(); s.Children[1].Faults != 0 {
		t.Errorf("%+v", s.Children)
	}
}

// FACTS 17: the end of the channel is the death watch; a process that lives on without it is
// ended.
func TestChildWithoutChannelIsReplaced(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Children = 1
	h := serve(t, config, func(m *master) { m.bounds.lastWords = 50 * time.Millisecond })
	first := h.pid(0, 1)
	if _, err := h.get("/abandon"); err != nil {
		t.Fatal(err)
	}
	h.pid(0, 2)
	contains(t, h.stderr.String(), "it closed its control channel and did not exit")
	if err := syscall.Kill(first, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the first process still is there: %v", err)
	}
}

func TestPanicIsLoggedAndBacksOff(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Children = 1
	h := serve(t, config, nil)
	_, _ = h.get("/panic")
	h.pid(0, 2)
	log := h.stderr.String()
	contains(t, log, `"msg":"panic: as asked","child":0,"pid":`, "exited with status 2", `"after":"100ms","faults":1`)
	if strings.Index(log, "panic: as asked") > strings.Index(log, "child has failed") {
		t.Error("the end is logged before the reason")
	}
}

func TestStartFailures(t *testing.T) {
	for _, c := range []struct{ faults, message string }{
		{"exit3", "tined: no child could start; child "},
		{"exitonaccept", "tined: no child could start; child "},
		{"unwell", "proof: answered 503 Service Unavailable"},
		{"hangproof", "proof: no answer within 500ms"},
		{"mute", "it was starting for "},
		{"otherdigest", "it resolved another configuration"},
		{"1:refuse", "\nsite.hcl:3:5: no such directory\n"},
	} {
		t.Run(c.faults, func(t *testing.T) {
			t.Setenv("FAKE_CHILD", c.faults)
			h := launch(t, testConfig(t.TempDir()), func(m *master) {
				if c.faults == "mute" || c.faults == "hangproof" {
					m.bounds.answer = 500 * time.Millisecond
				}
			})
			if code := h.exitCode(); code != exitRefused {
				t.Errorf("exit code %d", code)
			}
			contains(t, h.stderr.String(), c.message)
			if c.faults == "exit3" {
				contains(t, h.stderr.String(), "module sqlite: no such database", "exited with status 3 before it served")
			}
			if out := h.stdout.String(); out != "" {
				t.Errorf("stdout %q", out)
			}
			if _, err := os.Lstat(h.m.runtime.control); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the control socket is left behind")
			}
		})
	}
}

// One child that cannot start does not keep the others from serving.
func TestStartWithOneFailingChild(t *testing.T) {
	t.Setenv("FAKE_CHILD", "1:exit3")
	h := serve(t, testConfig(t.TempDir()), nil)
	contains(t, h.stdout.String(), "with 1 of 2 children")
	h.wait(`"child has failed; it is started again","child":1,.*"faults":3`, 1)
	s := h.status()
	if s.Children[0].State != "serving" || s.Children[1].Faults < 3 || !strings.Contains(s.Children[1].LastEnd, "exited with status 3") {
		t.Errorf("%+v", s.Children)
	}
	if s.Children[1].Restarts < 2 {
		t.Errorf("%+v", s.Children[1])
	}
}

// A child that ignores the drain is killed at the end of the bound, and the exit code stays 0.
func TestDrainTimeout(t *testing.T) {
	t.Setenv("FAKE_CHILD", "0:stubborn,1:slow")
	config := testConfig(t.TempDir())
	config.DrainTimeout = 30 * time.Millisecond
	h := serve(t, config, func(m *master) { m.bounds.drained = 30 * time.Millisecond })
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(h.stderr.String(), "it did not drain in time"); n != 2 {
		t.Errorf("%d children were killed, want 2", n)
	}
}

func TestSecondTermIsFastAndThirdKills(t *testing.T) {
	t.Setenv("FAKE_CHILD", "stubborn")
	config := testConfig(t.TempDir())
	config.DrainTimeout = time.Hour
	h := serve(t, config, func(m *master) { m.bounds.fast = time.Hour })
	for range 3 {
		h.signals <- syscall.SIGTERM
	}
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	contains(t, h.stderr.String(), "stopping fast", "fast stop, asked for twice")
}

// FACTS 29: whoever is told "stopped" can start a new master at once.
func TestStopAnswersAfterTheControlSocketIsGone(t *testing.T) {
	dir := t.TempDir()
	h := serve(t, testConfig(dir), nil)
	reply, err := NewClient(h.m.runtime.control).Stop(h.context(), StopRequest{Wait: true})
	if err != nil || reply.State != "stopped" {
		t.Fatal(reply, err)
	}
	config := testConfig(dir)
	config.Listeners[0].Address.Addr = h.local
	serve(t, config, nil)
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestStopWithoutWait(t *testing.T) {
	t.Setenv("FAKE_CHILD", "stubborn")
	config := testConfig(t.TempDir())
	config.DrainTimeout = time.Hour
	h := serve(t, config, func(m *master) { m.bounds.fast = 10 * time.Millisecond })
	client := NewClient(h.m.runtime.control)
	if reply, err := client.Stop(h.context(), StopRequest{}); err != nil || reply.State != "stopping" {
		t.Fatal(reply, err)
	}
	if s := h.status(); s.State != "stopping" || s.Children[0].State != "draining" {
		t.Errorf("%+v", s)
	}
	if reply, err := client.Stop(h.context(), StopRequest{Fast: true, Wait: true}); err != nil || reply.State != "stopped" {
		t.Fatal(reply, err)
	}
	var refused *RefusedError
	if err := client.call(h.context(), "POST", "/v1/stop", "nonsense", nil); !errors.Is(err, ErrNotRunning) {
		t.Error(err, refused)
	}
}

// FACTS 13: the child gets its environment and its descriptors, and nothing else.
func TestHeritage(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/none")
	t.Setenv("TABLEFLIP_HAS_PARENT_7DIU3", "yes")
	t.Setenv("TINED_CONTROL", "/run/none")
	t.Setenv("MY_OWN", "kept")
	config := testConfig(t.TempDir())
	config.Children = 1
	h := serve(t, config, nil)
	got, err := h.get("/heritage")
	if err != nil {
		t.Fatal(err)
	}
	pid := h.pid(0, 1)
	contains(t, got, "MY_OWN=kept", "TINED_ROLE=child", "TINED_CHILD=0", fmt.Sprintf("pgid=%d ", pid), "fd 0 /dev/null", "fd 1 pipe:", "fd 2 pipe:", "fd 4 socket:")
	for _, leak := range []string{"NOTIFY_SOCKET", "TABLEFLIP", "TINED_CONTROL", "memfd:", "/children"} {
		if strings.Contains(strings.NewReplacer("memfd:tined sources", "", "memfd:tined board", "").Replace(got), leak) {
			t.Errorf("%s leaks:\n%s", leak, got)
		}
	}
	if n := strings.Count(got, "memfd:tined board"); n != 2 { // its life, and those that have ended
		t.Errorf("%d segments of the board:\n%s", n, got)
	}
	// Control, its own socket, one shard (a duplicate of it), this connection; for a moment also the one of the proof.
	eventually(t, func() bool {
		got, err := h.get("/heritage")
		return err == nil && strings.Count(got, "socket:") <= 5
	})
}

func TestChildrenRunAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: children as another user")
	}
	config := testConfig(t.TempDir())
	config.Children, config.User = 1, "nobody"
	h := serve(t, config, nil)
	got, err := h.get("/heritage")
	if err != nil || !strings.Contains(got, "uid=65534 ") {
		t.Errorf("%.100s, %v", got, err)
	}
}

func TestOutputOfChildren(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), nil)
	for range 4 {
		if _, err := h.get("/print"); err != nil {
			t.Fatal(err)
		}
	}
	h.wait(`(?m)^\{.*"msg":"printed x+","child":\d,"pid":\d+,"stream":"stdout","cut_bytes":11816\}$`, 4)
	h.wait(`(?m)^\{.*"msg":"cried","child":\d,"pid":\d+,"stream":"stderr"\}$`, 4)
	h.wait(`(?m)^\{"msg":"own line \d+","child":\d\}$`, 400)
	h.stdout.wait(t, `(?m)^access line$`, 4)
	for line := range strings.Lines(h.stderr.String()) {
		if !regexp.MustCompile(`^\{.*\}\n$`).MatchString(line) {
			t.Errorf("torn line %q", line)
		}
	}
}

func TestReopenLogs(t *testing.T) {
	dir := t.TempDir()
	config := testConfig(dir)
	config.Children = 1
	config.Log.File = filepath.Join(dir, "server.log")
	access := filepath.Join(dir, "access.log")
	config.Sites = []configs.Site{
		{Name: "a", AccessLog: &configs.AccessLog{File: access}},
		{Name: "b", AccessLog: &configs.AccessLog{File: access}},
		{Name: "c", AccessLog: &configs.AccessLog{File: "stdout"}},
	}
	h := serve(t, config, nil)
	if b, err := os.ReadFile(access); err != nil || string(b) != "prepared\n" {
		t.Fatalf("%q, %v", b, err)
	}
	if info, err := os.Stat(access); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, f := range []string{access, config.Log.File} {
		if err := os.Rename(f, f+".1"); err != nil {
			t.Fatal(err)
		}
	}
	h.signals <- syscall.SIGUSR1
	eventually(t, func() bool {
		a, _ := os.ReadFile(access)
		l, _ := os.ReadFile(config.Log.File)
		return string(a) == "reopened\n" && strings.Contains(string(l), "log files are reopened")
	})
	h.signals <- syscall.SIGHUP
	h.signals <- syscall.SIGUSR2
	eventually(t, func() bool {
		l, _ := os.ReadFile(config.Log.File)
		return strings.Contains(string(l), "the reload is refused") && strings.Contains(string(l), "the upgrade has not come about")
	})
}

// eventually waits for what only a file can tell.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	bound := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(bound) {
			t.Fatal("it did not become true")
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
}

// FACTS 47: without the probe the second server would share the port silently.
func TestSecondServerIsRefusedByName(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), nil)
	taken := h.local
	config := testConfig(t.TempDir())
	config.Control = h.m.runtime.control
	for name, a := range map[string]netip.AddrPort{"same": taken, "wild": netip.AddrPortFrom(netip.IPv4Unspecified(), taken.Port())} {
		config.Listeners = append(config.Listeners, configs.Listener{Name: name, Address: configs.Address{Network: "tcp", Addr: a}})
	}
	_, err := open(Options{}.withDefaults(), config, new(configs.Sources))
	if err == nil {
		t.Fatal("a second master started")
	}
	contains(t, err.Error(), fmt.Sprintf("control socket: another master (pid %d) is running on %s", os.Getpid(), h.m.runtime.control))
	// The sockets are the children's too: any process of the tree is a true answer.
	for name, addr := range map[string]string{"same": taken.String(), "wild": fmt.Sprintf("0.0.0.0:%d", taken.Port())} {
		match := regexp.MustCompile(fmt.Sprintf(`(?m)^listen "%s": %s is in use by \S+ \(pid (\d+)\)$`, name, regexp.QuoteMeta(addr))).FindStringSubmatch(err.Error())
		if match == nil {
			t.Fatalf("listener %q is not named:\n%v", name, err)
		}
		if pid, _ := strconv.Atoi(match[1]); pid != os.Getpid() && pid != h.pid(0, 1) && pid != h.pid(1, 1) {
			t.Errorf("pid %d is not of the first server", pid)
		}
	}
	if s := h.status(); s.State != "serving" {
		t.Error("the first master has suffered")
	}
}

// An address in use by a server that does not set SO_REUSEPORT, and one by a unix socket.
func TestAddressInUseOpensNothing(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	dir := t.TempDir()
	unixPath := filepath.Join(dir, "taken.sock")
	otherUnix, err := net.Listen("unix", unixPath)
	if err != nil {
		t.Fatal(err)
	}
	defer otherUnix.Close()
	config := testConfig(dir)
	config.Listeners = append(config.Listeners,
		configs.Listener{Name: "two", Address: configs.Address{Network: "tcp", Addr: netip.MustParseAddrPort(other.Addr().String())}},
		configs.Listener{Name: "three", Address: configs.Address{Network: "unix", Path: unixPath}})
	_, err = open(Options{}.withDefaults(), config, new(configs.Sources))
	if err == nil {
		t.Fatal("started")
	}
	contains(t, err.Error(), `listen "two": `+other.Addr().String()+" is in use by ", `listen "three": unix:`+unixPath+" is in use by ")
	if _, err := os.Lstat(config.Control); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the control socket is left behind")
	}
}

func lonely(t *testing.T, binary, control string) (*exec.Cmd, *lines) {
	t.Helper()
	out := newLines()
	c := exec.Command(binary)
	c.Env = append(os.Environ(), "MASTER_TEST_CONTROL="+control)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c, out
}

// FACTS 16: children are of the master's image, whatever became of the file.
func TestRespawnAfterTheBinaryIsReplaced(t *testing.T) {
	dir := t.TempDir()
	image, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "server")
	if err := os.WriteFile(binary, image, 0o755); err != nil {
		t.Fatal(err)
	}
	c, out := lonely(t, binary, filepath.Join(dir, "control.sock"))
	base := out.wait(t, `serving (http://\S+)`, 1)[1]
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("#!/bin/sh\nexit 77\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, binary); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(out.wait(t, `"child is serving","child":0,"pid":(\d+)`, 1)[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	out.wait(t, `"child is serving"`, 2)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	exe, err := get(ctx, base+"/exe")
	if err != nil || exe != binary+" (deleted)" {
		t.Errorf("%q, %v", exe, err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// FACTS 29 and 17: what a killed master has left (socket, folder, lock) does not refuse the next,
// and its children see the end of the channel.
func TestStartAfterAKilledMaster(t *testing.T) {
	control := filepath.Join(t.TempDir(), "control.sock")
	c, out := lonely(t, "/proc/self/exe", control)
	addr := netip.MustParseAddrPort(out.wait(t, `serving http://(\S+)`, 1)[1])
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // also for the end of its output, which its children hold as long as they live
	if _, err := os.Lstat(control); err != nil {
		t.Fatal("the killed master has left no socket:", err)
	}
	if _, err := NewClient(control).Status(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v", err)
	}
	config := testConfig(filepath.Dir(control))
	config.Listeners[0].Address.Addr = addr
	eventually(t, func() bool { return netcore.Probe(endpoint(config.Listeners[0].Address)) == nil })
	h := serve(t, config, nil)
	if s := h.status(); s.Pid != os.Getpid() {
		t.Errorf("%+v", s)
	}
}

func TestStormOfKills(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), nil)
	for i := 1; i <= 10; i++ {
		if err := syscall.Kill(h.pid(0, i), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	h.pid(0, 11)
	if s := h.status(); s.Children[0].Restarts != 10 || s.Children[0].Faults != 0 {
		t.Errorf("%+v", s.Children)
	}
	if _, err := h.get("/pid"); err != nil {
		t.Error(err)
	}
}
