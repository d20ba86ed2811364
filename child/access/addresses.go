package access

import (
	"net/netip"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// fromOne reports whether r's client is in the set. One that nobody knows is in none: what its proxy has told contradicts itself, and RemoteAddr
// is the proxy's.
func fromOne(s *configs.Addresses, r *web.Request) bool {
	return !web.UnknownClient(r) && s.Contains(r.RemoteAddr.Addr())
}

// sourceOf says who waits with others for the same turn: one address, or all of an IPv6 network's last 64 bits, which one client may have.
func sourceOf(r *web.Request) netip.Prefix {
	a := r.RemoteAddr.Addr().Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	source, _ := a.Prefix(bits) // the zero Prefix for a unix socket's client
	return source
}
