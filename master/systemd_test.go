package master

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// fakeSystemd is the receiving end of NOTIFY_SOCKET.
type fakeSystemd struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

type notification struct {
	text  string
	files []*os.File
}

func newFakeSystemd(t *testing.T) *fakeSystemd {
	t.Helper()
	return newFakeSystemdAt(t, filepath.Join(t.TempDir(), "notify"))
}

func newFakeSystemdAt(t *testing.T, path string) *fakeSystemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &fakeSystemd{t, conn, path}
}

func (s *fakeSystemd) env(name string) string {
	if name == "NOTIFY_SOCKET" {
		return s.path
	}
	return ""
}

// notifier is one that speaks to s.
func (s *fakeSystemd) notifier() *notifier {
	s.t.Helper()
	n, err := newNotifier(s.env)
	if err != nil || n == nil {
		s.t.Fatalf("%v, %v", n, err)
	}
	s.t.Cleanup(n.close)
	return n
}

// next is the next datagram. Its files are closed at the end of the test.
func (s *fakeSystemd) next() notification {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	text, rights := make([]byte, 8192), make([]byte, unix.CmsgSpace(4*64))
	n, oobn, _, _, err := s.conn.ReadMsgUnix(text, rights)
	if err != nil {
		s.t.Fatal(err)
	}
	got := notification{text: string(text[:n])}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			f := os.NewFile(uintptr(fd), "passed")
			s.t.Cleanup(func() { f.Close() })
			got.files = append(got.files, f)
		}
	}
	return got
}

// nothing fails when a datagram waits.
func (s *fakeSystemd) nothing() {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now())
	if n, _, err := s.conn.ReadFromUnix(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("%d bytes, %v; nothing was to be said", n, err)
	}
}

func TestNotifierSays(t *testing.T) {
	s := newFakeSystemd(t)
	n := s.notifier()
	for _, c := range []struct {
		say  func() error
		want string
	}{
		{func() error { return n.ready(17, "serving") }, "MAINPID=17\nSTATUS=serving\nREADY=1"},
		{func() error { return n.reloading(1234567) }, "MONOTONIC_USEC=1234567\nRELOADING=1"},
		{func() error { return n.reloaded("reload refused: x:1:2: y") }, "STATUS=reload refused: x:1:2: y\nREADY=1"},
		{func() error { return n.status("two\nlines\x1b and \xff") }, "STATUS=two lines? and ?"},
		{func() error { return n.stopping("stopping", 90*time.Second) }, "STATUS=stopping\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=90000000"},
		{func() error { return n.extend(1500 * time.Millisecond) }, "EXTEND_TIMEOUT_USEC=1500000"},
		{n.watchdog, "WATCHDOG=1"},
		{func() error { return n.forget("a,b") }, "FDNAME=a,b\nFDSTOREREMOVE=1"},
	} {
		if err := c.say(); err != nil {
			t.Errorf("%s: %v", c.want, err)
		}
		if got := s.next(); got.text != c.want || got.files != nil {
			t.Errorf("%q with %d files, want %q", got.text, len(got.files), c.want)
		}
	}
	s.nothing()
}

func TestNotifierStores(t *testing.T) {
	s := newFakeSystemd(t)
	n := s.notifier()
	fd := listening(t, "127.0.0.1:0", true)
	if err := n.store("tined,0,x", fd); err != nil {
		t.Fatal(err)
	}
	got := s.next()
	if got.text != "FDNAME=tined,0,x\nFDPOLL=0\nFDSTORE=1" || len(got.files) != 1 {
		t.Fatalf("%q with %d files", got.text, len(got.files))
	}
	if socketNumber(int(got.files[0].Fd())) != socketNumber(fd) {
		t.Error("another socket was passed")
	}
}

func TestNotifierAbstractAddress(t *testing.T) {
	s := newFakeSystemdAt(t, "@"+t.TempDir())
	if err := s.notifier().status("x"); err != nil {
		t.Fatal(err)
	}
	if got := s.next(); got.text != "STATUS=x" {
		t.Errorf("%q", got.text)
	}
}

func TestNotifierWithoutSupervisor(t *testing.T) {
	n, err := newNotifier(func(string) string { return "" })
	if n != nil || err != nil {
		t.Fatalf("%v, %v", n, err)
	}
	for _, err := range []error{
		n.ready(1, ""), n.reloading(1), n.reloaded(""), n.status(""), n.stopping("", 0), n.extend(0), n.watchdog(), n.store("x", 0), n.forget("x"),
		n.barrier(0), n.flush(),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if n.waiting() {
		t.Error("something waits")
	}
	n.close()
	for _, address := range []string{"vsock:2:1", "relative", "@", "/"} {
		if n, err := newNotifier(func(string) string { return address }); n != nil || err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v, %v", address, n, err)
		}
	}
}

// TestNotifierOfADeadSupervisor: its end is an error, not a wait, and what was to be said is given up.
func TestNotifierOfADeadSupervisor(t *testing.T) {
	s := newFakeSystemd(t)
	n := s.notifier()
	s.conn.Close()
	if err := n.ready(1, ""); err == nil || errors.Is(err, unix.EAGAIN) {
		t.Errorf("%v", err)
	}
	if n.waiting() {
		t.Error("it waits for the dead")
	}
	if err := n.barrier(patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("barrier: %v", err)
	}
}

// TestNotifierOfASlowSupervisor: what must arrive does, in order, once there is room; the rest is left out meanwhile.
func TestNotifierOfASlowSupervisor(t *testing.T) {
	s := newFakeSystemd(t)
	n := s.notifier()
	full := 0
	for {
		err := n.watchdog()
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if full++; err != nil || full > 1<<20 {
			t.Fatalf("%d, %v", full, err)
		}
	}
	if err := n.reloading(1); err != nil || !n.waiting() {
		t.Fatalf("%v, waiting %v", err, n.waiting())
	}
	if err := n.reloaded("second"); err != nil {
		t.Fatal(err)
	}
	for range full {
		if got := s.next(); got.text != "WATCHDOG=1" {
			t.Fatalf("%q", got.text)
		}
	}
	if err := n.status("overtakes"); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%v", err)
	}
	if err := n.flush(); err != nil || n.waiting() {
		t.Errorf("%v, waiting %v", err, n.waiting())
	}
	for _, want := range []string{"MONOTONIC_USEC=1\nRELOADING=1", "STATUS=second\nREADY=1"} {
		if got := s.next(); got.text != want {
			t.Errorf("%q, want %q", got.text, want)
		}
	}
	s.nothing()
}

func TestNotifierQueueIsBounded(t *testing.T) {
	s := newFakeSystemd(t)
	n := s.notifier()
	for n.watchdog() == nil {
	}
	for range maxQueued {
		if err := n.reloading(1); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.reloading(1); !errors.Is(err, unix.EAGAIN) || n.lost != 1 || len(n.queue) != maxQueued {
		t.Errorf("%v, %d lost, %d wait", err, n.lost, len(n.queue))
	}
}

func TestBarrier(t *testing.T) {
	s := newFakeSystemd(t)
	n := s.notifier()
	answer := make(chan error, 1)
	go func() { answer <- n.barrier(patience) }()
	got := s.next()
	if got.text != "BARRIER=1" || len(got.files) != 1 {
		t.Fatalf("%q with %d files", got.text, len(got.files))
	}
	select {
	case err := <-answer:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if _, err := got.files[0].Write(nil); err != nil { // the writing end
		t.Error(err)
	}
	got.files[0].Close()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if err := n.barrier(time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30000000": 15 * time.Second, "": 0, "0": 0, "-1": 0, "x": 0, "1": time.Millisecond, "18446744073709551615": 0,
	} {
		env := map[string]string{"WATCHDOG_USEC": text, "WATCHDOG_PID": "1"}
		if got := watchdogInterval(func(name string) string { return env[name] }); got != want {
			t.Errorf("WATCHDOG_USEC=%s: %v, want %v", text, got, want)
		}
	}
}

// TestSupervisorEnvIsTaken: nothing of it is left for whatever this process executes.
func TestSupervisorEnvIsTaken(t *testing.T) {
	for _, name := range supervisorEnv {
		t.Setenv(name, "of "+name)
	}
	t.Setenv("NOTIFY_SOCKETS", "mine")
	taken := takeSupervisorEnv()
	for _, name := range supervisorEnv {
		if taken[name] != "of "+name {
			t.Errorf("%s was not taken: %q", name, taken[name])
		}
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is left", name, v)
		}
	}
	if os.Getenv("NOTIFY_SOCKETS") != "mine" {
		t.Error("too much is taken")
	}
	if again := takeSupervisorEnv(); len(again) != 0 {
		t.Errorf("%v", again)
	}
}

func TestOneLine(t *testing.T) {
	long := oneLine(strings.Repeat("ä", maxNotified))
	if len(long) > maxNotified || !utf8.ValidString(long) || !strings.HasSuffix(long, "ä…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
	if got := oneLine(" a\tb\nc\x00 "); got != "a b c?" {
		t.Errorf("%q", got)
	}
}

func TestStatusLines(t *testing.T) {
	urls := []string{"http://0.0.0.0:80"}
	for _, c := range []struct{ got, want string }{
		{servingStatus(urls, 4, 4, 7, 1204, ""), "serving http://0.0.0.0:80 with 4 children, generation 7, 1,204 connections"},
		{servingStatus(urls, 1, 1, 1, 1, ""), "serving http://0.0.0.0:80 with 1 child, generation 1, 1 connection"},
		{servingStatus(urls, 3, 4, 1, 0, ""), "serving http://0.0.0.0:80 with 3 of 4 children, generation 1, 0 connections"},
		{servingStatus([]string{"a", "b", "c", "d", "e"}, 2, 2, 1, 1234567, ""), "serving a, b, c and 2 more with 2 children, generation 1, 1,234,567 connections"},
		{servingStatus(urls, 4, 4, 7, 12, "/etc/tined/tined.hcl:3:5: no"),
			"reload refused: /etc/tined/tined.hcl:3:5: no; still serving http://0.0.0.0:80 with 4 children, generation 7, 12 connections"},
		{servingStatus(urls, 1, 1, 1, 0, strings.Repeat("x", 4096)), "reload refused: " + strings.Repeat("x", maxRefusal-3) +
			"…; still serving http://0.0.0.0:80 with 1 child, generation 1, 0 connections"},
		{startingStatus(2), "starting 2 children"},
		{reloadingStatus(7), "reloading, generation 7 still serves"},
		{stoppingStatus(12), "stopping: 12 connections left"},
		{stoppingStatus(0), "stopping"},
		{refusedStatus("/etc/x.hcl:1:1: a\n/etc/x.hcl:2:1: b\n"), "start refused: /etc/x.hcl:1:1: a"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234: "-1,234", 1000000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// TestMonotonicMicros: it is the kernel's clock, in the unit that systemd compares with.
func TestMonotonicMicros(t *testing.T) {
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Skip(err)
	}
	before := monotonicMicros()
	seconds, err := strconv.ParseFloat(strings.Fields(string(up))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	// Uptime counts suspended time too: it is never behind, but for its rounding.
	if now := float64(before) / 1e6; now == 0 || now > seconds+patience.Seconds() {
		t.Errorf("%v s, up for %v s", now, seconds)
	}
	if monotonicMicros() < before {
		t.Error("it goes backwards")
	}
}
