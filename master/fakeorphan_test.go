package master

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// heirlooms of a fake child are what a later master gets.
type heirlooms struct {
	secret string
	board  []*os.File
	shards []control.Shard
	files  []*os.File // of the shards
	serves uint64     // generation
}

// awaitMaster plays the orphan: it serves on, and makes whoever knows the secret its master. FAKE_VERSION is what it says it is.
func (f *fake) awaitMaster() {
	f.h.Conn.Close()
	door, err := control.NewDoor(f.h.Listener)
	if err != nil {
		os.Exit(11)
	}
	f.h.Listener = nil
	if err := door.Pass(func(fd int) {
		own, err := syscall.Dup(fd)
		if err != nil {
			os.Exit(12)
		}
		f.h.Listener = os.NewFile(uintptr(own), "door")
	}); err != nil {
		os.Exit(13)
	}
	defer door.Close()
	for {
		conn, err := door.Accept()
		if err != nil {
			os.Exit(14)
		}
		m, files, err := conn.Receive()
		a, ok := m.(*control.Adopt)
		if err != nil || !ok || string(a.Secret) != f.heir.secret || len(files) != 2 {
			_ = conn.Send(&control.Declined{Reason: "not like this"})
			conn.Close()
			continue
		}
		for i, pipe := range files {
			_ = syscall.Dup3(int(pipe.Fd()), i+1, 0)
			pipe.Close()
		}
		fds := []int{int(f.h.Listener.Fd())}
		for _, file := range append(f.heir.board, f.heir.files...) {
			fds = append(fds, int(file.Fd()))
		}
		err = conn.Send(&control.Adopted{
			Pid: os.Getpid(), Version: os.Getenv("FAKE_VERSION"), Child: f.h.Child, Generation: f.heir.serves, Accepting: true, Shards: f.heir.shards,
		}, fds...)
		if err != nil {
			conn.Close()
			continue
		}
		f.h.Conn = conn
		fmt.Println("adopted")
		return
	}
}

// abandoned is a server with one fake child whose master has been killed.
type abandoned struct {
	t       *testing.T
	control string
	addr    netip.AddrPort
	pid     int // of the child
}

func abandon(t *testing.T, env ...string) *abandoned {
	t.Helper()
	a := &abandoned{t: t, control: filepath.Join(t.TempDir(), "control.sock")}
	out := newLines()
	c := exec.Command("/proc/self/exe")
	c.Env = append(append(os.Environ(), "MASTER_TEST_CONTROL="+a.control, "FAKE_CHILD=orphan", "FAKE_VERSION=v0-test"), env...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	a.addr = netip.MustParseAddrPort(out.wait(t, `serving http://(\S+)`, 1)[1])
	a.pid, _ = strconv.Atoi(out.wait(t, `"child is serving","child":0,"pid":(\d+)`, 1)[1])
	t.Cleanup(func() { _ = syscall.Kill(a.pid, syscall.SIGKILL) }) // nobody else has its number before init has taken note of its end
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	return a
}

// config is what the next master is started with.
func (a *abandoned) config() *configs.Config {
	config := testConfig(filepath.Dir(a.control))
	config.Control, config.Children = a.control, 1
	config.Listeners[0].Address.Addr = a.addr
	return config
}

func (a *abandoned) answers() string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pid, err := get(ctx, "http://"+a.addr.String()+"/pid")
	if err != nil {
		a.t.Fatal(err)
	}
	return pid
}

// lives: a zombie is one whose end whatever has become this orphan's parent has not taken note of yet.
func (a *abandoned) lives() bool { return syscall.Kill(a.pid, 0) == nil && stateOf(a.pid) != "Z" }

// stateOf is the letter of a process's state, as proc(5) has it.
func stateOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	if err != nil || rest == "" {
		return ""
	}
	return rest[:1]
}

// The children of a killed master go on with the next one, which notices their end, and ends them.
func TestAdoption(t *testing.T) {
	a := abandon(t)
	h := serve(t, a.config(), nil)
	contains(t, h.stdout.String(), "with 1 child,")
	h.wait(fmt.Sprintf(`"msg":"child of an earlier master is taken over","child":0,"pid":%d,"version":"v0-test","generation":1`, a.pid), 1)
	h.wait(fmt.Sprintf(`"msg":"adopted","child":0,"pid":%d,"stream":"stdout"`, a.pid), 1)
	s := h.status()
	if len(s.Children) != 1 || s.Children[0].Pid != a.pid || s.Children[0].State != "serving" || s.Generation != 2 || s.Children[0].Numbers.Finished != 2 {
		t.Errorf("%+v", s)
	}
	if got := a.answers(); got != strconv.Itoa(a.pid) {
		t.Errorf("%s answers, not %d", got, a.pid)
	}
	if err := syscall.Kill(a.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	next := h.pid(0, 1)
	contains(t, h.stderr.String(), "has ended (its master was another process)", "child was ended from outside; its successor starts at once")
	if got := a.answers(); got != strconv.Itoa(next) {
		t.Errorf("%s answers, not %d", got, next)
	}
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(filepath.Dir(a.control) + "/children"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the folder is left behind:", err)
	}
}

func TestStopOfAnAdoptedChild(t *testing.T) {
	a := abandon(t)
	h := serve(t, a.config(), nil)
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 || a.lives() {
		t.Errorf("exit code %d, the child lives: %v", code, a.lives())
	}
}

// A child that cannot stay serves until its successor does.
func TestMisfitIsReplaced(t *testing.T) {
	for name, c := range map[string]struct{ env, reason string }{
		"version":       {"FAKE_VERSION=v-old", `it is of version \"v-old\"`},
		"configuration": {"FAKE_CHILD=orphan,refuseagain", "cannot serve the configuration: site.hcl:9:9: not for me"},
	} {
		t.Run(name, func(t *testing.T) {
			a := abandon(t, c.env)
			h := serve(t, a.config(), nil)
			next := h.pid(0, 1)
			h.wait(`child that was replaced has ended.*its master was another process`, 1)
			contains(t, h.stderr.String(), c.reason)
			if got := a.answers(); got != strconv.Itoa(next) || a.lives() {
				t.Errorf("%s answers, not %d; the old one lives: %v", got, next, a.lives())
			}
		})
	}
}

// A start that fails lets go of the children: they wait for the next.
func TestFailedStartLetsGo(t *testing.T) {
	a := abandon(t)
	config := a.config()
	config.Log.File = "/dev/null/log"
	if _, err := open(Options{Version: "v0-test"}.withDefaults(), config, new(configs.Sources)); err == nil {
		t.Fatal("started")
	}
	config = a.config()
	config.Sites = []configs.Site{{Name: "a", AccessLog: &configs.AccessLog{File: "/dev/null/log"}}}
	if _, err := open(Options{Version: "v0-test"}.withDefaults(), config, new(configs.Sources)); err == nil {
		t.Fatal("started")
	}
	h := launchWith(t, Options{Prepare: func(context.Context) error { return errors.New("not today") }}, a.config(), nil)
	if code := h.exitCode(); code != exitRefused {
		t.Errorf("exit code %d", code)
	}
	contains(t, h.stderr.String(), "not today", "is taken over")
	if got := a.answers(); got != strconv.Itoa(a.pid) {
		t.Errorf("%s answers, not %d", got, a.pid)
	}
	if s := serve(t, a.config(), nil).status(); s.Children[0].Pid != a.pid {
		t.Errorf("%+v", s.Children)
	}
}

// A child that does not answer is reported, and what it holds is not opened beside it. When it does again, the next master finds it.
func TestUnreachableOrphan(t *testing.T) {
	a := abandon(t)
	if err := syscall.Kill(a.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return stateOf(a.pid) == "T" }) // it does not stop before its threads look
	_, err := open(Options{Version: "v0-test"}.withDefaults(), a.config(), new(configs.Sources))
	if err == nil {
		t.Fatal("started")
	}
	contains(t, err.Error(), a.addr.String()+" is in use by ", "child 0 of an earlier master still runs and cannot be taken over", "does not answer in time",
		"orphan_timeout")
	config := a.config()
	config.Listeners[0].Address.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	h := serve(t, config, nil)
	h.wait(`"msg":"a child of an earlier master cannot be taken over.*"child":0,"socket":"0.sock","error":"it does not answer in time"`, 1)
	if _, err := os.Lstat(filepath.Join(h.m.runtime.children, "0-2.sock")); err != nil {
		t.Error("the new child has no socket beside the old one's:", err)
	}
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := syscall.Kill(a.pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if s := serve(t, a.config(), nil).status(); s.Children[0].Pid != a.pid {
		t.Errorf("%+v", s.Children)
	}
}

// Fewer children than there are: the others serve until a keeper has their shards.
func TestAdoptionOfTooMany(t *testing.T) {
	a := abandon(t, "MASTER_TEST_CHILDREN=2")
	h := serve(t, a.config(), nil)
	contains(t, h.stdout.String(), "with 1 child,")
	h.wait(`"msg":"child of an earlier master is taken over"`, 2)
	h.wait(`child that was to leave has ended`, 1)
}
