package netcore

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListening(t *testing.T) {
	alone, at := loopback(t, ListenOptions{})
	if local, reuse, err := Listening(alone); local != at || reuse || err != nil {
		t.Errorf("%v, %v, %v; want %v", local, reuse, err, at)
	}
	shard, at := loopback(t, ListenOptions{ReusePort: true})
	if local, reuse, err := Listening(shard); local != at || !reuse || err != nil {
		t.Errorf("%v, %v, %v; want %v", local, reuse, err, at)
	}
	file, at := listenAt(t, socketPath(t), ListenOptions{})
	if local, reuse, err := Listening(file); local != at || reuse || err != nil {
		t.Errorf("%v, %v, %v; want %v", local, reuse, err, at)
	}
	abstract, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = Close(abstract) }()
	name := "@" + filepath.Base(t.TempDir()) + t.Name()
	if err := unix.Bind(abstract, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(abstract, 1); err != nil {
		t.Fatal(err)
	}
	if local, _, err := Listening(abstract); local.Path != name || err != nil {
		t.Errorf("%v, %v; want %v", local, err, name)
	}
}

func TestListeningRefuses(t *testing.T) {
	bound, err := Bind(tcp("127.0.0.1:0"), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = Close(bound) }()
	connected, _ := tcpPair(t)
	datagram, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = Close(datagram) }()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, c := range map[string]struct {
		fd    int
		errno unix.Errno
	}{
		"nothing":                          {-1, unix.EBADF},
		"a file":                           {int(file.Fd()), unix.ENOTSOCK},
		"a datagram socket":                {datagram, unix.EPROTONOSUPPORT},
		"a connection":                     {connected, unix.EINVAL},
		"a socket that only listens later": {bound, unix.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Listening(c.fd)
			wantErrno(t, err, c.errno)
		})
	}
}

// TestAdjust: a socket as a supervisor opens it becomes like one of Listen, and what has queued in it is kept.
func TestAdjust(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLater(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	at, err := Local(fd)
	if err != nil {
		t.Fatal(err)
	}
	sibling, _ := listenAt(t, at, ListenOptions{ReusePort: true})
	if err := Steer(fd, 1); err != nil {
		t.Fatal(err)
	}
	early, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Close() }()

	if err := Adjust(fd, ListenOptions{ReusePort: true, DeferAccept: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	wantFlags(t, fd)
	if got := option(t, fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); got != 1 {
		t.Errorf("TCP_NODELAY is %d", got)
	}
	if got := option(t, fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); got < 10 {
		t.Errorf("TCP_DEFER_ACCEPT is %d s", got)
	}
	conn, peer := acceptOne(t, fd)
	defer func() { _ = Close(conn) }()
	if peer.String() != early.LocalAddr().String() {
		t.Errorf("the queue held %v, want %v", peer, early.LocalAddr())
	}
	if err := Adjust(fd, ListenOptions{ReusePort: true}); err != nil {
		t.Fatal(err)
	}
	if got := option(t, fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); got != 0 {
		t.Errorf("TCP_DEFER_ACCEPT is still %d s", got)
	}
	// Neither the backlog of 1 nor the steering is left.
	counts := connectMany(t, at, []int{fd, sibling}, many)
	if counts[0] == 0 || counts[1] == 0 {
		t.Errorf("still steered: %v", counts)
	}
}

func TestAdjustUnix(t *testing.T) {
	fd, at := listenAt(t, socketPath(t), ListenOptions{Backlog: 1})
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	if err := Adjust(fd, ListenOptions{DeferAccept: time.Second}); err != nil {
		t.Fatal(err)
	}
	wantFlags(t, fd)
	for range 8 {
		client, err := net.Dial("unix", at.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
	}
}

func TestAdjustErrors(t *testing.T) {
	wantErrno(t, Adjust(-1, ListenOptions{}), unix.EBADF)
	wantErrno(t, CloseOnExec(-1), unix.EBADF)
	wantErrno(t, SetDeferAccept(-1, 0), unix.EBADF)
}
