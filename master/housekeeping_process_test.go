package master

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// fakeHousekeeper has one chore, and does it without doing anything.
func fakeHousekeeper() int {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP)
	h, err := control.Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	if h.Conn.Send(&control.Hello{Pid: os.Getpid(), Child: h.Child}) != nil {
		return 8
	}
	for {
		m, files, err := h.Conn.Receive()
		if err != nil {
			return 0
		}
		var answers []control.Message
		switch m := m.(type) {
		case *control.Prepare:
			if _, err := control.ReadSealed(files[0]); err != nil || len(files) != 1 {
				return 7
			}
			chore := control.Chore{Name: "sweep", EveryMillis: 20, TimeoutMillis: 10_000}
			answers = append(answers, &control.Prepared{Generation: m.Generation, Digest: m.Digest, Chores: []control.Chore{chore}})
		case *control.Commit:
			answers = append(answers, &control.Committed{Generation: m.Generation})
		case *control.Perform:
			answers = append(answers, &control.Performed{ID: m.ID})
		case *control.Ping:
			answers = append(answers, &control.Pong{})
		case *control.Drain:
			answers = append(answers, &control.Draining{}, &control.Drained{})
		}
		closeAll(files)
		for _, a := range answers {
			if h.Conn.Send(a) != nil {
				return 8
			}
		}
		if _, end := m.(*control.Drain); end {
			return 0
		}
	}
}

// performedRuns waits until the housekeeper's chore has run n times, and returns its process.
func (h *harness) performedRuns(n uint64) (pid int) {
	h.t.Helper()
	for bound := time.Now().Add(patience); time.Now().Before(bound); time.Sleep(time.Millisecond) {
		if s := h.status().Housekeeper; s != nil && len(s.Chores) == 1 && s.Chores[0].Runs >= n && s.State == "serving" {
			return s.Pid
		}
	}
	h.t.Fatalf("the chore does not run %d times", n)
	return 0
}

func TestHousekeeperProcess(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Health.HangTimeout = 20 * time.Second
	withChores(t, config)
	h := serve(t, config, nil)
	first := h.performedRuns(2)
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(first), "cmdline"))
	if err != nil || string(line) != "tined: housekeeper\x00" {
		t.Errorf("its name is %q, %v", line, err)
	}
	info, err := os.Stat(filepath.Join(h.m.runtime.children, socketOfHousekeeper))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("its socket: %v, %v", info, err)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.wait("the housekeeper serves", 2)
	if second := h.performedRuns(4); second == first {
		t.Error("the same process")
	}
	if s := h.status(); s.Housekeeper.Restarts != 1 || s.Children[0].Restarts != 0 {
		t.Errorf("%+v", s.Housekeeper)
	}
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(h.m.runtime.children); err == nil {
		t.Error("its socket is left behind")
	}
}

// Invariant 19: while the housekeeper of an earlier master works, a later one starts none; and serves without.
func TestOrphanedHousekeeperComesFirst(t *testing.T) {
	dir := t.TempDir()
	children := filepath.Join(dir, "children")
	if err := os.Mkdir(children, 0o700); err != nil {
		t.Fatal(err)
	}
	orphan, err := bound(unix.SOCK_SEQPACKET, filepath.Join(children, socketOfHousekeeper))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(orphan, 1); err != nil {
		t.Fatal(err)
	}
	config := testConfig(dir)
	withChores(t, config)
	h := serve(t, config, nil)
	h.wait("the housekeeper of an earlier master still works", 1)
	for range 10 { // more than its queue takes: nobody accepts
		if !h.m.runtime.answers(socketOfHousekeeper) {
			t.Fatal("the orphan is not seen")
		}
	}
	if s := h.status(); s.Housekeeper == nil || s.Housekeeper.Pid != 0 || s.Housekeeper.State != StateWaiting {
		t.Fatalf("%+v", s.Housekeeper)
	}
	if err := unix.Close(orphan); err != nil {
		t.Fatal(err)
	}
	h.performedRuns(1)
}
