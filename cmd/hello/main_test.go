package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The example is built and run as a user would: without arguments and without a configuration. It then listens on port 8080, so this
// is done in a network of its own.
func TestHello(t *testing.T) {
	program := filepath.Join(t.TempDir(), "hello")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat("/etc/hello/hello.hcl"); err == nil {
		t.Skip("this machine has a /etc/hello/hello.hcl, which hello would read")
	}
	// The goroutine's thread moves into the network, with what it starts; it ends with the goroutine, for it is never unlocked.
	moved := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		err := ownNetwork()
		moved <- err
		if err == nil {
			serveHello(t, program)
		}
	}()
	<-done
	if err := <-moved; err != nil {
		t.Skipf("no network of its own can be made here (root is needed): %v", err)
	}
}

func serveHello(t *testing.T, program string) {
	cmd := exec.Command(program)
	socket := filepath.Join(t.TempDir(), "control.sock")
	cmd.Env = append(os.Environ(), "TINED_CONTROL="+socket)
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	defer func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("hello ended with %v", err)
		}
		t.Logf("its log:\n%s", log.String())
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "serving http://127.0.0.1:8080 with ") || !strings.Contains(line, "without a configuration file") {
		t.Errorf("the start line is %q, %v", line, err)
		return
	}
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/hello/you", 200, "Hello, you!\n"},
		{"GET", "/", 200, "Try /hello/you\n"},
		{"GET", "/nothing", 404, "Not Found\n"},
		{"POST", "/hello/you", 405, "Method Not Allowed\n"},
	} {
		status, body, err := request(c.method, c.path)
		if err != nil || status != c.status || body != c.body {
			t.Errorf("%s %s: %d %q %v, want %d %q", c.method, c.path, status, body, err, c.status, c.body)
		}
	}
}

// Under go run it is one process, which says so, and which ^C in the terminal ends.
func TestGoRun(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "hello.hcl")
	if err := os.WriteFile(config, []byte("children = 3\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", ".", "run", "-c", config, "--control", filepath.Join(dir, "control.sock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's job: ^C goes to all of it
	cmd.WaitDelay = 20 * time.Second
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if killed := unix.Kill(-cmd.Process.Pid, unix.SIGINT); killed != nil {
		t.Error(killed)
	}
	if err != nil || !strings.Contains(line, " with one process, ") {
		t.Errorf("the start line is %q, %v", line, err)
	}
	// Interrupted, go run fails whatever its program does; it prints the status of one that has failed.
	_ = cmd.Wait()
	if !strings.Contains(log.String(), `"msg":"stopped"`) || strings.Contains(log.String(), "exit status") {
		t.Errorf("it was not stopped by ^C:\n%s", log.String())
	}
	if hint := "hello: one process, since `go run` started it; build it"; !strings.HasPrefix(log.String(), hint) {
		t.Errorf("the log does not begin with %q:\n%s", hint, log.String())
	}
}

// request is done without net/http's client, whose goroutines are on other threads and so in another network.
func request(method, path string) (int, string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, "", err
	}
	f := os.NewFile(uintptr(fd), "client")
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, "", os.NewSyscallError("connect", err)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, "", err
	}
	if _, err := io.WriteString(c, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// ownNetwork moves the calling thread into a new network in which nothing but 127.0.0.1 exists.
func ownNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, loopback))
}
