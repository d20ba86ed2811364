package netcore

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// on moves an endpoint to a port.
func on(e Endpoint, port uint16) Endpoint {
	e.Addr = netip.AddrPortFrom(e.Addr.Addr(), port)
	return e
}

// TestProbeSeesReuseport: whoever listens with SO_REUSEPORT on an overlapping address is found, although a Listen with
// SO_REUSEPORT beside it succeeds; that is the accident that Probe prevents.
func TestProbeSeesReuseport(t *testing.T) {
	for _, c := range []struct {
		holder, probe Endpoint
		free          bool
	}{
		{tcp("127.0.0.1:0"), tcp("127.0.0.1:0"), false},
		{tcp("127.0.0.1:0"), tcp("0.0.0.0:0"), false},
		{tcp("0.0.0.0:0"), tcp("127.0.0.1:0"), false},
		{tcp("0.0.0.0:0"), tcp("0.0.0.0:0"), false},
		{tcp("127.0.0.1:0"), tcp("127.0.0.2:0"), true},
		{tcp("127.0.0.1:0"), dual("[::]:0"), false},
		{tcp("0.0.0.0:0"), dual("[::]:0"), false},
		{dual("[::]:0"), tcp("127.0.0.1:0"), false},
		{dual("[::]:0"), tcp("0.0.0.0:0"), false},
		{dual("[::]:0"), tcp("[::1]:0"), false},
		{dual("[::]:0"), dual("[::]:0"), false},
		{tcp("[::1]:0"), dual("[::]:0"), false},
		{tcp("[::1]:0"), tcp("[::]:0"), false},
		{tcp("127.0.0.1:0"), tcp("[::]:0"), true},
		{tcp("[::]:0"), tcp("0.0.0.0:0"), true},
		{tcp("[::]:0"), tcp("127.0.0.1:0"), true},
		{tcp("[::1]:0"), tcp("127.0.0.1:0"), true},
	} {
		name := c.probe.String() + " beside " + c.holder.String()
		for i, e := range []Endpoint{c.probe, c.holder} {
			if e.DualStack {
				name += []string{" (probe dual)", " (holder dual)"}[i]
			}
		}
		t.Run(name, func(t *testing.T) {
			fd, err := Listen(c.holder, ListenOptions{ReusePort: true})
			if err != nil {
				if c.holder.Addr.Addr().Is6() {
					t.Skipf("no IPv6: %v", err)
				}
				t.Fatal(err)
			}
			defer func() { _ = Close(fd) }()
			local, err := Local(fd)
			if err != nil {
				t.Fatal(err)
			}
			probe := on(c.probe, local.Addr.Port())
			for range 2 { // a probe leaves no trace
				err = Probe(probe)
				if c.free && err != nil {
					// A stranger may hold the port in the other family.
					t.Errorf("not free: %v", err)
				}
				if !c.free {
					wantErrno(t, err, unix.EADDRINUSE)
				}
			}
			shard, err := Listen(probe, ListenOptions{ReusePort: true})
			if err != nil {
				t.Fatalf("the silent join: %v", err)
			}
			_ = Close(shard)
		})
	}
}

func TestProbeSeesPlainListeners(t *testing.T) {
	_, at := loopback(t, ListenOptions{})
	wantErrno(t, Probe(at), unix.EADDRINUSE)
	if err := Probe(on(at, 0)); err != nil {
		t.Errorf("port 0: %v", err)
	}
}

// TestProbeIgnoresTheDead: neither connections that outlive their listener nor those in TIME_WAIT hold the port.
func TestProbeIgnoresTheDead(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		listener, at := loopback(t, ListenOptions{ReusePort: reuse})
		client, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		conn, _ := acceptOne(t, listener)
		closeNow(t, listener)
		if err := Probe(at); err != nil {
			t.Errorf("a live connection without a listener: %v", err)
		}
		// The side that closes first keeps TIME_WAIT.
		_ = Close(conn)
		_ = client.SetReadDeadline(time.Now().Add(patience))
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		_ = client.Close()
		if err := Probe(at); err != nil {
			t.Errorf("TIME_WAIT, reuseport %v: %v", reuse, err)
		}
		listenAt(t, at, ListenOptions{ReusePort: true})
		listenAt(t, at, ListenOptions{ReusePort: true})
		wantErrno(t, Probe(at), unix.EADDRINUSE)
	}
}

func TestProbeErrors(t *testing.T) {
	wantErrno(t, Probe(tcp("192.0.2.1:0")), unix.EADDRNOTAVAIL)
	wantErrno(t, Probe(Endpoint{}), unix.EAFNOSUPPORT)
	wantErrno(t, Probe(Endpoint{Network: "unix"}), unix.EINVAL)
	if err := Probe(socketPath(t)); err != nil {
		t.Errorf("no file: %v", err)
	}
}
