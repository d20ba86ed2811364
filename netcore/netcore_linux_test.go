package netcore

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// pair is a connected pair of unix stream sockets, non-blocking, closed at the end of the test.
func pair(t testing.TB) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLater(fds[0]); closeLater(fds[1]) })
	return fds[0], fds[1]
}

// given lists the descriptors that a test has closed itself, so that its cleanup does not close a stranger.
var given = map[int]bool{}

// closeNow closes a descriptor of pair before the end of the test. Tests of this package do not run in parallel.
func closeNow(t testing.TB, fd int) {
	t.Helper()
	given[fd] = true
	if err := Close(fd); err != nil {
		t.Fatal(err)
	}
}

func closeLater(fd int) {
	if given[fd] {
		delete(given, fd)
		return
	}
	_ = Close(fd)
}

func loopback(t testing.TB, o ListenOptions) (fd int, e Endpoint) {
	t.Helper()
	return listenAt(t, tcp("127.0.0.1:0"), o)
}

func listenAt(t testing.TB, e Endpoint, o ListenOptions) (int, Endpoint) {
	t.Helper()
	fd, err := Listen(e, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLater(fd) })
	local, err := Local(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, local
}

func tcp(address string) Endpoint {
	return Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort(address)}
}

func dual(address string) Endpoint {
	e := tcp(address)
	e.DualStack = true
	return e
}

// tcpPair is a connection over loopback: the accepted descriptor, and the client as a net.Conn.
func tcpPair(t testing.TB) (server int, client *net.TCPConn) {
	t.Helper()
	listener, at := loopback(t, ListenOptions{})
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	server, _ = acceptOne(t, listener)
	t.Cleanup(func() { closeLater(server) })
	return server, conn.(*net.TCPConn)
}

// acceptOne accepts a connection that the client believes to be established: the last ACK may still be on its way.
func acceptOne(t testing.TB, listener int) (int, netip.AddrPort) {
	t.Helper()
	waitFor(t, listener, unix.POLLIN)
	conn, peer, err := Accept(listener)
	if err != nil {
		t.Fatal(err)
	}
	return conn, peer
}

// waitFor waits until poll(2) reports one of the flags.
func waitFor(t testing.TB, fd int, flags int16) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: flags}}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
	}
	t.Fatalf("fd %d: none of poll flags %#x in %v", fd, flags, patience)
}

func write(t testing.TB, fd int, text string) {
	t.Helper()
	if n, err := Write(fd, []byte(text)); err != nil || n != len(text) {
		t.Fatalf("write fd %d: %d, %v", fd, n, err)
	}
}

func read(t testing.TB, fd int) string {
	t.Helper()
	waitFor(t, fd, unix.POLLIN)
	p := make([]byte, 4096)
	n, err := Read(fd, p)
	if err != nil {
		t.Fatalf("read fd %d: %v", fd, err)
	}
	return string(p[:n])
}

func wantErrno(t testing.TB, err error, want unix.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// wantNoAllocs fails when f allocates. It runs f once beforehand, so that slices have grown.
func wantNoAllocs(t *testing.T, name string, f func()) {
	t.Helper()
	f()
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s: %v allocations, want none", name, n)
	}
}
