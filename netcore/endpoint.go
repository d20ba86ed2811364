package netcore

import "net/netip"

// Networks of an Endpoint.
const (
	tcpNetwork  = "tcp"
	unixNetwork = "unix"
)

// Endpoint is where a listener listens. The zero value names nothing.
type Endpoint struct {
	Network   string         // "tcp" or "unix"
	Addr      netip.AddrPort // of tcp; port 0 lets the kernel choose
	DualStack bool           // of tcp: the IPv6 address also takes IPv4 connections
	Path      string         // of unix: a name in the file system, at most 107 bytes
}

// String is the endpoint as an operator writes it: "127.0.0.1:8080", "[::]:80", "unix:/run/x.sock".
func (e Endpoint) String() string {
	if e.Network == unixNetwork {
		return "unix:" + e.Path
	}
	return e.Addr.String()
}
