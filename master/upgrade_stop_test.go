package master

import (
	"encoding/json"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A master that is stopped while the version before still drains ends after it: a supervisor would kill what is left then.
func TestStopWaitsForThePredecessor(t *testing.T) {
	for _, killed := range []bool{false, true} {
		l, first := newLineage(t, 1)
		l.lasting.Store(true)
		a := first.asks(UpgradeRequest{})
		l.await("the confirmation", func() bool { return a.has("confirmed: ") })
		second := l.latest()
		l.await("the second serves", func() bool { return second.is(func(m *master) bool { return m.phase == serving }) })
		second.signals <- syscall.SIGTERM
		l.await("it stops", func() bool { return second.is(func(m *master) bool { return m.phase == stopping }) })
		for _, c := range l.lives(second) {
			c.dies(syscall.SIGKILL)
		}
		l.await("its own children have gone, and it waits", func() bool {
			return second.is(func(m *master) bool { return len(m.lives) == 0 && !m.finished })
		})
		if killed { // its children are called home, and drain
			first.dies()
			l.await("the children of the version before are taken over", func() bool {
				return second.is(func(m *master) bool { return len(m.lives) == 1 && !m.finished })
			})
		}
		for _, c := range l.lives(first) {
			c.dies(syscall.SIGKILL)
		}
		<-first.gone
		<-second.gone
		if lives := l.lives(nil); len(lives) > 0 || second.code != exitOK {
			t.Errorf("%v are left; exit code %d", lives, second.code)
		}
	}
}

// A version that finishes what it has begun after its upgrade does so when it is told to stop, too; the second time it hurries.
func TestStopOfThePredecessor(t *testing.T) {
	l, first := newLineage(t, 1)
	l.lasting.Store(true)
	a := first.asks(UpgradeRequest{})
	l.await("the confirmation", func() bool { return a.has("confirmed: ") })
	fast := func() (fast bool) {
		first.do(func() { fast = first.m.fast })
		return fast
	}
	first.signals <- syscall.SIGTERM
	l.await("it has taken the signal", func() bool { return first.is(func(m *master) bool { return m.upgrading.told }) })
	if fast() {
		t.Error("the first one hurries")
	}
	first.signals <- syscall.SIGTERM
	l.await("it hurries", func() bool { return first.is(func(m *master) bool { return m.fast }) })
	for _, c := range l.lives(first) {
		c.dies(syscall.SIGKILL)
	}
	<-first.gone
	l.settled(l.latest(), 1)
}

// Stop with Wait returns when the process has ended, which is after the answer.
func TestStopWaitsForTheProcess(t *testing.T) {
	process := exec.Command("cat")
	life, err := process.StdinPipe()
	if err == nil {
		err = process.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Wait() })
	path := filepath.Join(t.TempDir(), "control.sock")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	asked := make(chan struct{})
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(StopReply{"stopped", process.Process.Pid})
			close(asked)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			select {
			case <-asked:
				if s == http.StateClosed {
					once.Do(func() { life.Close() })
				}
			default:
			}
		},
	}
	go server.Serve(socket)
	t.Cleanup(func() { server.Close() })
	pidfd, err := unix.PidfdOpen(process.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if reply, err := NewClient(path).Stop(t.Context(), StopRequest{Wait: true}); err != nil || reply.State != "stopped" {
		t.Errorf("%+v, %v", reply, err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0); n != 1 || err != nil {
		t.Errorf("the process lives: %d, %v", n, err)
	}
}
