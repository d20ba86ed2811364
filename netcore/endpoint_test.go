package netcore

import (
	"net/netip"
	"testing"
)

func TestEndpointString(t *testing.T) {
	for _, c := range []struct {
		endpoint Endpoint
		want     string
	}{
		{Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:8080")}, "127.0.0.1:8080"},
		{Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("[::]:80"), DualStack: true}, "[::]:80"},
		{Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("[fe80::1%eth0]:80")}, "[fe80::1%eth0]:80"},
		{Endpoint{Network: "unix", Path: "/run/x.sock"}, "unix:/run/x.sock"},
	} {
		if got := c.endpoint.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
