package control

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test binary be started as a child, since a heritage is made of fixed
// descriptors and an environment.
func TestMain(m *testing.M) {
	if os.Getenv("CONTROL_TEST_CHILD") != "" {
		os.Exit(heir())
	}
	os.Exit(m.Run())
}

// heir takes the heritage over and says what it found; the exit code tells what was wrong.
func heir() int {
	if Role() != RoleChild {
		return 10
	}
	h, err := Inherited()
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 11
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "TINED_") {
			return 12
		}
	}
	if _, err := Inherited(); !errors.Is(err, ErrNotChild) {
		return 13
	}
	if err := h.Conn.Send(&Hello{Pid: os.Getpid(), Child: h.Child}); err != nil {
		return 14
	}
	// What the child executes inherits neither descriptor.
	out, err := exec.Command("/bin/sh", "-c", "ls -l /proc/self/fd").CombinedOutput()
	if err != nil || strings.Contains(string(out), "socket:") {
		os.Stderr.Write(out)
		return 15
	}
	if _, _, err := h.Conn.Receive(); err != io.EOF {
		return 16
	}
	return 0
}

func TestInherited(t *testing.T) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "0.sock"), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var stderr strings.Builder
	c := exec.Command("/proc/self/exe")
	c.Env = Environ(append(os.Environ(), "CONTROL_TEST_CHILD=1"), 5)
	c.ExtraFiles = []*os.File{theirs, socket}
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	m, _, err := ours.Receive()
	if err == nil {
		if h := m.(*Hello); h.Child != 5 || h.Pid != c.Process.Pid {
			t.Errorf("hello: %+v", h)
		}
	} else {
		t.Error(err)
	}
	ours.Close()
	if err := c.Wait(); err != nil {
		t.Fatalf("%v %s", err, stderr.String())
	}
}

// FACTS 13: nothing of supervisors and upgraders leaks into a child.
func TestEnvironLeaksNothing(t *testing.T) {
	got := Environ([]string{
		"PATH=/bin", "TINED_CONTROL=/x", "TINED_ROLE=master", "NOTIFY_SOCKET=@s", "LISTEN_FDS=3", "LISTEN_PID=1",
		"WATCHDOG_USEC=1", "TABLEFLIP_HAS_PARENT_7DIU3=yes", "MY_TINED_X=1",
	}, 2)
	want := []string{"PATH=/bin", "MY_TINED_X=1", "TINED_ROLE=child", "TINED_CHILD=2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInheritedWithoutAMaster(t *testing.T) {
	t.Setenv(EnvRole, "")
	if _, err := Inherited(); !errors.Is(err, ErrNotChild) {
		t.Error(err)
	}
	t.Setenv(EnvRole, RoleChild)
	t.Setenv(EnvChild, "x")
	if _, err := Inherited(); err == nil || errors.Is(err, ErrNotChild) {
		t.Error(err)
	}
}

func TestInheritRefusesWrongDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := inherit(0, int(r.Fd()), int(w.Fd())); err == nil {
		t.Error("a pipe was taken for a listening socket")
	}
}
