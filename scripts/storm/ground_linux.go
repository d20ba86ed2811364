package main

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/scripts/internal/link"
	"github.com/tined/tined/scripts/internal/rig"
)

// ground is the network of a run: this machine's loopback, or both ends of a link with a delay.
type ground struct {
	link    *link.Link // nil: loopback
	address netip.AddrPort
	extra   netip.AddrPort // a second address, for a listener that comes and goes
	sources []netip.Addr   // clients' addresses; none: the kernel's choice
}

// Ports of the server on a link, where all are free.
const (
	linkPort  = 8080
	extraPort = 8081
)

// newGround makes a link with a round trip of delay, or takes loopback for 0.
func newGround(delay time.Duration) (*ground, error) {
	if delay > 0 {
		l, err := link.Start(delay / 2)
		if err != nil {
			return nil, err
		}
		server := link.ServerAddress()
		return &ground{
			link: l, address: netip.AddrPortFrom(server, linkPort), extra: netip.AddrPortFrom(server, extraPort),
			sources: link.ClientAddresses(),
		}, nil
	}
	g := new(ground)
	for _, a := range []*netip.AddrPort{&g.address, &g.extra} {
		for !a.IsValid() || g.address == g.extra {
			free, err := rig.FreePort()
			if err != nil {
				return nil, err
			}
			*a = netip.MustParseAddrPort(free)
		}
	}
	return g, nil
}

func (g *ground) close() {
	if g.link != nil {
		g.link.Close()
	}
}

// atServer runs f where the server is: processes that it starts are there.
func (g *ground) atServer(f func()) {
	if g.link == nil {
		f()
		return
	}
	g.link.Server(f)
}

// joinClient moves the calling goroutine to the clients' end for good.
func (g *ground) joinClient() error {
	if g.link == nil {
		return nil
	}
	return g.link.JoinClient()
}

// dial connects from the clients' end.
func (g *ground) dial() (conn net.Conn, err error) {
	connect := func() { conn, err = net.DialTimeout("tcp4", g.address.String(), patience) }
	if g.link == nil {
		connect()
	} else {
		g.link.Client(connect)
	}
	return conn, err
}

func (g *ground) sockaddr() unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(g.address.Port()), Addr: g.address.Addr().As4()}
}

// sockets reads the server's sockets.
func (g *ground) sockets() (all []rig.Socket, err error) {
	g.atServer(func() { all, err = rig.Sockets(g.address.Port()) })
	return all, err
}
