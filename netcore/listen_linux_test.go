package netcore

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func option(t *testing.T, fd, level, name int) int {
	t.Helper()
	n, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestListenTCP(t *testing.T) {
	fd, at := loopback(t, ListenOptions{ReusePort: true, DeferAccept: 1500 * time.Millisecond})
	if at.Network != "tcp" || at.Addr.Port() == 0 || at.Addr.Addr() != netip.MustParseAddr("127.0.0.1") || at.DualStack {
		t.Errorf("local endpoint %+v", at)
	}
	for name, got := range map[string]int{
		"SO_REUSEADDR":  option(t, fd, unix.SOL_SOCKET, unix.SO_REUSEADDR),
		"SO_REUSEPORT":  option(t, fd, unix.SOL_SOCKET, unix.SO_REUSEPORT),
		"SO_ACCEPTCONN": option(t, fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN),
		"TCP_NODELAY":   option(t, fd, unix.IPPROTO_TCP, unix.TCP_NODELAY),
	} {
		if got != 1 {
			t.Errorf("%s is %d", name, got)
		}
	}
	// The kernel counts in retransmissions: it answers the time that it rounded up to.
	if got := option(t, fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); got < 2 {
		t.Errorf("TCP_DEFER_ACCEPT is %d s", got)
	}
	wantFlags(t, fd)
	plain, _ := loopback(t, ListenOptions{})
	if got := option(t, plain, unix.SOL_SOCKET, unix.SO_REUSEPORT); got != 0 {
		t.Errorf("SO_REUSEPORT unasked: %d", got)
	}
}

func wantFlags(t *testing.T, fd int) {
	t.Helper()
	status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || status&unix.O_NONBLOCK == 0 {
		t.Errorf("fd %d blocks: %#x, %v", fd, status, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("fd %d survives exec: %#x, %v", fd, flags, err)
	}
}

func TestListenShards(t *testing.T) {
	first, at := loopback(t, ListenOptions{ReusePort: true})
	second, again := listenAt(t, at, ListenOptions{ReusePort: true})
	if first == second || at != again {
		t.Errorf("%d at %v, %d at %v", first, at, second, again)
	}
}

func TestListenErrors(t *testing.T) {
	_, taken := loopback(t, ListenOptions{})
	long := Endpoint{Network: "unix", Path: "/" + strings.Repeat("x", maxPath)}
	for _, c := range []struct {
		name  string
		at    Endpoint
		errno unix.Errno
		text  string
	}{
		{"taken", taken, unix.EADDRINUSE, "listen " + taken.String() + ": bind: address already in use"},
		{"not ours", tcp("192.0.2.1:0"), unix.EADDRNOTAVAIL, "listen 192.0.2.1:0: bind: cannot assign requested address"},
		{"no address", Endpoint{Network: "tcp"}, unix.EADDRNOTAVAIL, "no address"},
		{"no network", Endpoint{}, unix.EAFNOSUPPORT, `network ""`},
		{"no zone", tcp("[fe80::1%nosuchlink]:0"), unix.ENODEV, `zone "nosuchlink": no such network interface`},
		{"long path", long, unix.ENAMETOOLONG, "the path has 108 bytes, a unix socket's path has at most 107"},
		{"empty path", Endpoint{Network: "unix"}, unix.EINVAL, "empty path"},
		{"abstract", Endpoint{Network: "unix", Path: "@x"}, unix.EINVAL, "abstract"},
		{"no folder", Endpoint{Network: "unix", Path: filepath.Join(t.TempDir(), "none", "s")}, unix.ENOENT, "bind: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := Listen(c.at, ListenOptions{})
			if fd != -1 {
				t.Errorf("fd %d", fd)
			}
			wantErrno(t, err, c.errno)
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q does not say %q", err, c.text)
			}
		})
	}
}

// TestListenLeaksNothing: a failed Listen keeps no descriptor open.
func TestListenLeaksNothing(t *testing.T) {
	_, taken := loopback(t, ListenOptions{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lowest := func() int {
		fd, err := unix.Open("/dev/null", unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = Close(fd)
		return fd
	}
	before := lowest()
	for range 4 {
		_, _ = Listen(taken, ListenOptions{})
		_, _ = Listen(Endpoint{Network: "unix", Path: file}, ListenOptions{})
		_ = Probe(taken)
		_, _ = Holder(taken)
	}
	if after := lowest(); after != before {
		t.Errorf("the lowest free descriptor was %d, is %d", before, after)
	}
}

func TestListenIPv6(t *testing.T) {
	if fd, err := Listen(tcp("[::1]:0"), ListenOptions{}); err != nil {
		t.Skipf("no IPv6: %v", err)
	} else {
		_ = Close(fd)
	}
	both, at := listenAt(t, dual("[::]:0"), ListenOptions{})
	if !at.DualStack || option(t, both, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) != 0 {
		t.Errorf("not dual-stack: %+v", at)
	}
	client, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Addr.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, peer := acceptOne(t, both)
	defer func() { _ = Close(conn) }()
	if peer.String() != client.LocalAddr().String() {
		t.Errorf("an IPv4 peer is %v, want %v", peer, client.LocalAddr())
	}
	local, err := Local(conn)
	if err != nil || local.Addr.String() != client.RemoteAddr().String() || local.DualStack {
		t.Errorf("the accepted socket is at %+v, %v; want %v", local, err, client.RemoteAddr())
	}

	only, at6 := listenAt(t, tcp("[::]:0"), ListenOptions{})
	if at6.DualStack || option(t, only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) != 1 {
		t.Errorf("dual-stack: %+v", at6)
	}
	client6, err := net.Dial("tcp6", netip.AddrPortFrom(netip.IPv6Loopback(), at6.Addr.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client6.Close() }()
	conn6, peer6 := acceptOne(t, only)
	defer func() { _ = Close(conn6) }()
	if peer6.String() != client6.LocalAddr().String() {
		t.Errorf("an IPv6 peer is %v, want %v", peer6, client6.LocalAddr())
	}
}

func socketPath(t *testing.T) Endpoint {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	if len(path) > maxPath {
		t.Skipf("the temporary folder's name is too long: %s", path)
	}
	return Endpoint{Network: "unix", Path: path}
}

func TestListenUnix(t *testing.T) {
	at := socketPath(t)
	fd, local := listenAt(t, at, ListenOptions{Mode: 0o640})
	if local != at {
		t.Errorf("local %+v, want %+v", local, at)
	}
	wantFlags(t, fd)
	info, err := os.Lstat(at.Path)
	if err != nil || info.Mode() != fs.ModeSocket|0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	client, err := net.Dial("unix", at.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, peer := acceptOne(t, fd)
	defer func() { _ = Close(conn) }()
	if peer.IsValid() {
		t.Errorf("a unix peer is %v", peer)
	}
	wantFlags(t, conn)
}

func TestListenUnixOpenMode(t *testing.T) {
	at := socketPath(t)
	// 0666 is what most umasks would take bits from.
	listenAt(t, at, ListenOptions{Mode: 0o666})
	if info, err := os.Lstat(at.Path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestListenUnixReplacesOnlyTheDead(t *testing.T) {
	t.Run("a dead server's file", func(t *testing.T) {
		at := socketPath(t)
		fd, _ := listenAt(t, at, ListenOptions{})
		closeNow(t, fd)
		if err := Probe(at); err != nil {
			t.Errorf("Probe: %v", err)
		}
		listenAt(t, at, ListenOptions{})
		if client, err := net.Dial("unix", at.Path); err != nil {
			t.Error(err)
		} else {
			_ = client.Close()
		}
	})
	t.Run("a live server", func(t *testing.T) {
		at := socketPath(t)
		fd, _ := listenAt(t, at, ListenOptions{})
		for range 2 {
			_, err := Listen(at, ListenOptions{})
			wantErrno(t, err, unix.EADDRINUSE)
			wantErrno(t, Probe(at), unix.EADDRINUSE)
		}
		// It is still the one that answers.
		for {
			conn, _, err := Accept(fd)
			if err != nil {
				break
			}
			_ = Close(conn)
		}
		client, err := net.Dial("unix", at.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		conn, _ := acceptOne(t, fd)
		_ = Close(conn)
	})
	t.Run("a live server with a full queue", func(t *testing.T) {
		at := socketPath(t)
		listenAt(t, at, ListenOptions{Backlog: 1})
		for range 4 {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = Close(fd) }()
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: at.Path}); err != nil && err != unix.EAGAIN {
				t.Fatal(err)
			}
		}
		wantErrno(t, Probe(at), unix.EADDRINUSE)
		_, err := Listen(at, ListenOptions{})
		wantErrno(t, err, unix.EADDRINUSE)
	})
	t.Run("a datagram socket", func(t *testing.T) {
		at := socketPath(t)
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at.Path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		wantErrno(t, Probe(at), unix.EADDRINUSE)
		_, err = Listen(at, ListenOptions{})
		wantErrno(t, err, unix.EADDRINUSE)
	})
	for name, make := range map[string]func(path string) error{
		"a file":   func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":   func(path string) error { return os.Symlink("/nonexistent", path) },
	} {
		t.Run(name, func(t *testing.T) {
			at := socketPath(t)
			if err := make(at.Path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(at.Path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Listen(at, ListenOptions{})
			wantErrno(t, err, unix.ENOTSOCK)
			wantErrno(t, Probe(at), unix.ENOTSOCK)
			if after, err := os.Lstat(at.Path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// TestBindIsSilentBeforeItListens: until StartListening, connect is refused and a unix socket's mode is in force; what comes then is
// accepted.
func TestBindIsSilentBeforeItListens(t *testing.T) {
	for _, at := range []Endpoint{tcp("127.0.0.1:0"), socketPath(t)} {
		fd, err := Bind(at, ListenOptions{ReusePort: at.Network == "tcp", Mode: 0o640})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeLater(fd) })
		wantFlags(t, fd)
		local, err := Local(fd)
		if err != nil {
			t.Fatal(err)
		}
		address := local.String()
		if at.Network == "unix" {
			address = at.Path
			if info, err := os.Lstat(at.Path); err != nil || info.Mode() != fs.ModeSocket|0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		}
		if client, err := net.Dial(at.Network, address); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s, a bound socket that does not listen: %v, %v", at.Network, client, err)
		}
		for range 2 { // the second time it keeps what has queued
			if err := StartListening(fd, ListenOptions{}); err != nil {
				t.Fatal(err)
			}
			client, err := net.Dial(at.Network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
		}
		for range 2 {
			conn, _ := acceptOne(t, fd)
			defer func() { _ = Close(conn) }()
		}
	}
}

func TestStartListeningErrors(t *testing.T) {
	err := StartListening(-1, ListenOptions{})
	wantErrno(t, err, unix.EBADF)
	if err == nil || err.Error() != "listen fd -1: listen: bad file descriptor" {
		t.Errorf("%v", err)
	}
	_, taken := loopback(t, ListenOptions{})
	if fd, err := Bind(taken, ListenOptions{}); fd != -1 || err == nil || !strings.HasPrefix(err.Error(), "listen "+taken.String()+": bind: ") {
		t.Errorf("%d, %v", fd, err)
	}
}

func TestLocalOfNothing(t *testing.T) {
	_, err := Local(-1)
	wantErrno(t, err, unix.EBADF)
}
