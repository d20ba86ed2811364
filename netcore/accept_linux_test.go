package netcore

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAccept(t *testing.T) {
	listener, at := loopback(t, ListenOptions{})
	if conn, peer, err := Accept(listener); conn != -1 || peer.IsValid() || err != unix.EAGAIN {
		t.Errorf("empty queue: %d, %v, %v", conn, peer, err)
	}
	client, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, peer := acceptOne(t, listener)
	defer func() { _ = Close(conn) }()
	if peer.String() != client.LocalAddr().String() {
		t.Errorf("peer %v, want %v", peer, client.LocalAddr())
	}
	wantFlags(t, conn)
	if got := option(t, conn, unix.IPPROTO_TCP, unix.TCP_NODELAY); got != 1 {
		t.Errorf("TCP_NODELAY is not inherited: %d", got)
	}
	if _, _, err := Accept(conn); err != unix.EINVAL {
		t.Errorf("accept on a connection: %v", err)
	}
	if _, _, err := Accept(-1); err != unix.EBADF {
		t.Errorf("accept on -1: %v", err)
	}
}

func TestAcceptAllocatesNothing(t *testing.T) {
	for name, address := range map[string]Endpoint{"tcp": tcp("127.0.0.1:0"), "unix": socketPath(t)} {
		listener, at := listenAt(t, address, ListenOptions{})
		var clients []net.Conn
		for range 210 {
			target := at.Addr.String()
			if at.Network == "unix" {
				target = at.Path
			}
			client, err := net.Dial(at.Network, target)
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, client)
		}
		waitFor(t, listener, unix.POLLIN)
		wantNoAllocs(t, "Accept "+name, func() {
			conn, _, err := Accept(listener)
			if err == unix.EAGAIN {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = Close(conn)
		})
		for {
			conn, _, err := Accept(listener)
			if err != nil {
				break
			}
			_ = Close(conn)
		}
		wantNoAllocs(t, "Accept with EAGAIN "+name, func() {
			if _, _, err := Accept(listener); err == nil {
				t.Fatal("a connection is left")
			}
		})
		for _, client := range clients {
			_ = client.Close()
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	listener, at := loopback(b, ListenOptions{})
	b.ReportAllocs()
	for b.Loop() {
		client, err := net.Dial("tcp", at.String())
		if err != nil {
			b.Fatal(err)
		}
		conn, _ := acceptOne(b, listener)
		_ = ResetOnClose(conn)
		_ = Close(conn)
		_ = client.Close()
	}
}
