package master

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tined/tined/netcore/control"
)

// host launches a master whose child is run, on a goroutine.
func host(t *testing.T, o Options, run func(int, *control.Conn) int) *harness {
	t.Helper()
	o.Host = run
	return launchWith(t, o, testConfig(t.TempDir()), nil)
}

// servesNothing plays a child up to its Accepting and then obeys drain.
func servesNothing(_ int, conn *control.Conn) int {
	defer conn.Close()
	say := func(m control.Message) { _ = conn.Send(m) }
	say(&control.Hello{Pid: os.Getpid()})
	for {
		m, files, err := conn.Receive()
		if err != nil {
			return 1
		}
		switch m := m.(type) {
		case *control.Prepare:
			say(&control.Prepared{Generation: m.Generation, Digest: m.Digest})
		case *control.Commit:
			say(&control.Committed{Generation: m.Generation})
		case *control.Lend:
			say(&control.Lent{Count: len(files)})
		case *control.Inject:
			_, _ = files[0].Read(make([]byte, len(selfRequest))) // whoever closes before has the master write to nobody
			_, _ = files[0].WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		case *control.Accept:
			say(&control.Accepting{})
		case *control.Drain:
			say(&control.Draining{})
			say(&control.Drained{})
			return 0
		}
		for _, f := range files {
			f.Close()
		}
	}
}

func TestSingleProcessServesAndStops(t *testing.T) {
	h := host(t, Options{}, servesNothing)
	h.stdout.wait(t, ` with one process, `, 1)
	if s := h.status(); len(s.Children) != 1 || s.Children[0].Pid != os.Getpid() || s.State != "serving" {
		t.Errorf("%+v", s)
	}
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A single process that has lost its child ends, and says why.
func TestSingleProcessEndsWithItsChild(t *testing.T) {
	for name, run := range map[string]func(int, *control.Conn) int{
		"exited with status 3": func(_ int, conn *control.Conn) int { conn.Close(); return 3 },
		"was killed by the master: it said committed while preparing": func(_ int, conn *control.Conn) int {
			_ = conn.Send(&control.Hello{Pid: os.Getpid()})
			_ = conn.Send(&control.Committed{})
			_, _, _ = conn.Receive()
			<-make(chan struct{}) // it does not end, whatever the master does
			return 0
		},
	} {
		h := host(t, Options{}, run)
		if code := h.exitCode(); code != exitRefused {
			t.Errorf("%s: exit code %d", name, code)
		}
		contains(t, h.stderr.String(), "the single process can serve no longer: its child "+name)
	}
}

// The program's preparation runs before any child is started, while the operator is answered; its error ends the start.
func TestPreparation(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan error)
	prepare := func(context.Context) error {
		close(begun)
		return <-goOn
	}
	h := host(t, Options{Prepare: prepare}, servesNothing)
	<-begun
	if s := h.status(); s.State != "starting" || s.Children[0].State != "waiting" {
		t.Errorf("%+v", s)
	}
	goOn <- errors.New("no database")
	if code := h.exitCode(); code != exitRefused || !strings.HasSuffix(h.stderr.String(), "tined: no database\n") {
		t.Errorf("exit code %d\n%s", code, h.stderr)
	}
}

// A preparation that does not return does not keep a fast stop waiting; one that honours its context ends any stop.
func TestStopDuringPreparation(t *testing.T) {
	h := host(t, Options{Prepare: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, servesNothing)
	h.signals <- syscall.SIGTERM
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	o := Options{Prepare: func(context.Context) error { <-make(chan struct{}); return nil }, Host: servesNothing}
	h = launchWith(t, o, testConfig(t.TempDir()), func(m *master) { m.bounds.fast = 0 })
	h.signals <- syscall.SIGINT
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	contains(t, h.stderr.String(), "it is not waited for")
}
