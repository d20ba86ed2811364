package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// systemd plays the part of systemd that a service of Type=notify sees: it takes notifications, keeps what is put into its store, and passes
// it to the next process, as sd_notify(3) and sd_listen_fds(3) say.
type systemd struct {
	t      *testing.T
	socket *net.UnixConn
	path   string
	seen   []string // datagrams, but for those of the watchdog and the store
	alive  int      // WATCHDOG=1
	names  []string // of the store
	store  []*os.File
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	s := &systemd{t: t, path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if s.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: s.path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.socket.Close()
		for _, f := range s.store {
			f.Close()
		}
	})
	return s
}

// until takes notifications until enough is true.
func (s *systemd) until(what string, enough func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !enough(); {
		if !s.takeOne(end) {
			s.t.Fatalf("%s: not within %v; seen %q, store %q, %d signs of life", what, patience, s.seen, s.names, s.alive)
		}
	}
}

// takeOne takes a notification; false when none comes until end.
func (s *systemd) takeOne(end time.Time) bool {
	s.t.Helper()
	_ = s.socket.SetReadDeadline(end)
	data, oob := make([]byte, 8192), make([]byte, 1024)
	n, oobn, _, _, err := s.socket.ReadMsgUnix(data, oob)
	if os.IsTimeout(err) {
		return false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(data[:n])
	name := regexp.MustCompile(`(?m)^FDNAME=(.*)$`).FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "FDSTORE=1"):
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 || name == nil || !strings.Contains(text, "FDPOLL=0") {
			s.t.Fatalf("%q: %v, %d messages", text, err, len(messages))
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			s.t.Fatalf("%q: %v, %d descriptors", text, err, len(fds))
		}
		unix.CloseOnExec(fds[0])
		if listening, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening != 1 {
			s.t.Errorf("%s does not listen: %v", name[1], err)
		}
		s.names, s.store = append(s.names, name[1]), append(s.store, os.NewFile(uintptr(fds[0]), name[1]))
	case strings.Contains(text, "FDSTOREREMOVE=1"):
		for i := len(s.names) - 1; i >= 0; i-- {
			if s.names[i] == name[1] {
				s.store[i].Close()
				s.names, s.store = slices.Delete(s.names, i, i+1), slices.Delete(s.store, i, i+1)
			}
		}
	case text == "BARRIER=1":
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			s.t.Fatalf("%q: %v, %d messages", text, err, len(messages))
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			s.t.Fatalf("%q: %v, %d descriptors", text, err, len(fds))
		}
		unix.Close(fds[0]) // everything before it is done
	case text == "WATCHDOG=1":
		s.alive++
	default:
		s.seen = append(s.seen, text)
	}
	return true
}

// said waits for a notification that matches, behind those that were waited for before, and drops it and what came before.
func (s *systemd) said(pattern string) {
	s.t.Helper()
	re, at := regexp.MustCompile(pattern), -1
	s.until(pattern, func() bool {
		at = slices.IndexFunc(s.seen, re.MatchString)
		return at >= 0
	})
	s.seen = s.seen[at+1:]
}

// service is one process of the service.
type service struct {
	cmd            *exec.Cmd
	stdout, stderr *bytes.Buffer
}

// start starts the next process, with what the store has. The shell knows its own pid before it becomes the server.
func (s *systemd) start(config string) *service {
	s.t.Helper()
	p := &service{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}
	p.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"`, filepath.Join(programs, "tined"), "run", "-c", config)
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.path, "WATCHDOG_USEC=400000", "WATCHDOG_PID=1",
		"LISTEN_FDS="+strconv.Itoa(len(s.store)), "LISTEN_FDNAMES="+strings.Join(s.names, ":"))
	p.cmd.ExtraFiles = s.store
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = p.stdout, p.stderr, patience
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			_ = p.cmd.Wait()
		}
		if s.t.Failed() {
			s.t.Logf("pid %d:\n%s%s", p.cmd.Process.Pid, p.stdout, p.stderr)
		}
	})
	return p
}

func (p *service) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// stop waits for the end, so that its output can be read.
func (p *service) stop(t *testing.T, s *systemd) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	s.said(`^STATUS=stopping.*\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=\d+$`)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s%s", err, p.stdout, p.stderr)
	}
}

func writeConfig(t *testing.T, path string, children int, more string) {
	t.Helper()
	dir := filepath.Dir(path)
	text := fmt.Sprintf(`
children = %d
control  = %q
listen "main" { address = "127.0.0.1:0" }
listen "local" { address = "unix:%s" }
site "all" {
  route "/" {
    respond { body = "here\n" }
  }
}
%s`, children, filepath.Join(dir, "control.sock"), filepath.Join(dir, "local.sock"), more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask sends a request on a connection of its own, without waiting for the answer.
func ask(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

func answered(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	first, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.HasPrefix(first, "HTTP/1.1 200") {
		t.Errorf("%q, %v", first, err)
	}
}

// TestSystemdService is the life of a service of Type=notify: start, reloads, restart with fewer children, stop.
func TestSystemdService(t *testing.T) {
	s := newSystemd(t)
	dir := t.TempDir()
	config, local := filepath.Join(dir, "tined.hcl"), filepath.Join(dir, "local.sock")
	writeConfig(t, config, 2, "")
	first := s.start(config)
	s.said(`^MAINPID=` + strconv.Itoa(first.cmd.Process.Pid) + `\nSTATUS=serving http://127\.0\.0\.1:\d+, unix:\S+ with 2 children, generation 1, 0 connections\nREADY=1$`)
	s.until("both shards and the unix socket are stored", func() bool { return len(s.store) == 3 })
	alive := s.alive
	s.until("the watchdog is fed", func() bool { return s.alive > alive+2 })

	// Who else runs is not to speak in the master's name.
	var pids []string
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", first.cmd.Process.Pid)) // any thread may have started them
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		pids = append(pids, strings.Fields(string(children))...)
	}
	if len(pids) < 2 {
		t.Errorf("children %q", pids)
	}
	for _, pid := range pids {
		environ, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"} {
			if bytes.Contains(environ, []byte(name)) {
				t.Errorf("child %s has %s", pid, name)
			}
		}
	}

	writeConfig(t, config, 2, "drain_timeout = \"20s\"\n")
	first.signal(t, syscall.SIGHUP)
	s.said(`^MONOTONIC_USEC=[1-9]\d*\nRELOADING=1$`)
	s.said(`^STATUS=serving .* generation 2, .*\nREADY=1$`)
	writeConfig(t, config, 2, "nonsense = 1\n")
	first.signal(t, syscall.SIGHUP)
	s.said(`^MONOTONIC_USEC=[1-9]\d*\nRELOADING=1$`)
	s.said(`^STATUS=reload refused: .*tined\.hcl:\d+:\d+: .*; still serving .* generation 2, .*\nREADY=1$`)

	address := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)
	first.stop(t, s)
	at := address.FindStringSubmatch(first.stdout.String())[1]
	if len(s.store) != 3 {
		t.Fatalf("a stop changes the store: %q", s.names)
	}
	if _, err := os.Lstat(local); err != nil {
		t.Errorf("the file of a stored socket is gone: %v", err)
	}

	// Nobody runs. 40 connections leave no shard of two without one, but once in 5*10^11 times.
	var waiting []net.Conn
	for range 40 {
		waiting = append(waiting, ask(t, "tcp", at))
	}
	waiting = append(waiting, ask(t, "unix", local))
	writeConfig(t, config, 1, "")
	second := s.start(config)
	s.said(`^MAINPID=` + strconv.Itoa(second.cmd.Process.Pid) + `\nSTATUS=serving http://` + regexp.QuoteMeta(at) + `, unix:\S+ with 1 child, generation 1, .*\nREADY=1$`)
	for _, c := range waiting {
		answered(t, c)
	}
	s.until("the shard that is too many is dropped from the store", func() bool { return len(s.store) == 2 })
	for range 40 {
		answered(t, ask(t, "tcp", at))
	}
	answered(t, ask(t, "unix", local))
	second.stop(t, s)
	if strings.Contains(second.stderr.String(), "supervisor") {
		t.Errorf("something is wrong:\n%s", second.stderr)
	}

	// An address that covers the one that is stored: what nobody wants is given up before the port is asked for.
	writeConfig(t, config, 1, "")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(at)
	if err := os.WriteFile(config, bytes.Replace(text, []byte("127.0.0.1:0"), []byte("0.0.0.0:"+port), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	wider := s.start(config)
	s.said(`^MAINPID=\d+\nSTATUS=serving http://0\.0\.0\.0:` + port + `, unix:\S+ with 1 child, .*\nREADY=1$`)
	answered(t, ask(t, "tcp", at))
	s.until("the new shard is stored", func() bool { return len(s.store) == 2 })
	wider.stop(t, s)

	// A start that is refused says so.
	writeConfig(t, config, 1, "nonsense = 1\n")
	third := s.start(config)
	s.said(`^STATUS=start refused: .*tined\.hcl:\d+:\d+: .*nonsense`)
	if err := third.cmd.Wait(); err == nil {
		t.Error("it did start")
	}
}

// TestSocketActivation: sockets of socket units, with and without ReusePort=yes; the second cannot have siblings.
func TestSocketActivation(t *testing.T) {
	for name, reusePort := range map[string]int{"alone": 0, "ReusePort": 1} {
		t.Run(name, func(t *testing.T) {
			s := newSystemd(t)
			dir := t.TempDir()
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			unit := os.NewFile(uintptr(fd), "unit")
			defer unit.Close()
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, reusePort); err != nil {
				t.Fatal(err)
			}
			if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				t.Fatal(err)
			}
			if err := unix.Listen(fd, 128); err != nil {
				t.Fatal(err)
			}
			sa, err := unix.Getsockname(fd)
			if err != nil {
				t.Fatal(err)
			}
			at := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
			config := filepath.Join(dir, "tined.hcl")
			text := fmt.Sprintf("children = 2\ncontrol = %q\nlisten \"main\" { address = %q }\nsite \"all\" {\n  route \"/\" {\n    respond { body = \"here\\n\" }\n  }\n}\n",
				filepath.Join(dir, "control.sock"), at)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			early := ask(t, "tcp", at) // the reason for the start
			s.names, s.store = []string{"tined.socket"}, []*os.File{unit}
			p := s.start(config)
			s.names, s.store = nil, nil
			s.said(`READY=1$`)
			answered(t, early)
			for range 40 {
				answered(t, ask(t, "tcp", at))
			}
			if reusePort == 1 {
				s.until("the sibling is stored, and the unit's socket is not", func() bool { return len(s.store) == 1 })
			}
			p.stop(t, s)
			if reusePort == 0 && len(s.store) != 0 {
				t.Errorf("the unit's socket is stored: %q", s.names)
			}
			if c, err := net.Dial("tcp", at); err != nil {
				t.Errorf("the unit listens no more: %v", err)
			} else {
				c.Close()
			}
		})
	}
}
