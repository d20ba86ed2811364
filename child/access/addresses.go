package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// addresses is a set of clients, written like trusted_proxies.
type addresses struct {
	prefixes []netip.Prefix // ascending, masked, none inside another; IPv4 is never mapped into IPv6
	unix     bool           // clients of unix sockets without an address
}

// words are names for what is tedious to write: RFC 1122, 3.2.1.3 and RFC 4291, 2.5.3; RFC 1918, 3 and RFC 4193, 3.1.
var words = map[string][]netip.Prefix{
	"loopback": {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	"private": {
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	},
}

// add adds an item of from. Before the first question normalize must be called.
func (s *addresses) add(item string) *configs.Problem {
	if item == "unix" {
		s.unix = true
		return nil
	}
	if known, ok := words[item]; ok {
		s.prefixes = append(s.prefixes, known...)
		return nil
	}
	prefix, problem := parsePrefix(item)
	if problem == nil {
		s.prefixes = append(s.prefixes, prefix)
	}
	return problem
}

func (s *addresses) normalize() {
	slices.SortFunc(s.prefixes, netip.Prefix.Compare)
	kept := s.prefixes[:0]
	for _, prefix := range s.prefixes {
		if len(kept) == 0 || !kept[len(kept)-1].Overlaps(prefix) {
			kept = append(kept, prefix)
		}
	}
	s.prefixes = kept
}

// contain reports whether r's client is in the set.
//
// A trusted proxy that sends the fields for the client's address, and whose word was not taken since they contradict each other, leaves
// its own address in RemoteAddr. It is not the client's: a client that could make it so would stand where the proxy stands.
func (s *addresses) contain(r *web.Request) bool {
	if web.Relayed(r) && r.RemoteAddr == r.PeerAddr() && (r.Header.Has("X-Forwarded-For") || r.Header.Has("Forwarded")) {
		return false
	}
	if !r.RemoteAddr.Addr().IsValid() {
		return s.unix
	}
	a := r.RemoteAddr.Addr().Unmap().WithZone("")
	// None is inside another, so only the last that begins at or before a can contain it.
	i, exact := slices.BinarySearchFunc(s.prefixes, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return exact || i > 0 && s.prefixes[i-1].Contains(a)
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

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (netip.Prefix, *configs.Problem) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, noPrefix(s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, noPrefix(s)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, &configs.Problem{
			Message: fmt.Sprintf("%q names an address inside its prefix", s),
			Cure:    fmt.Sprintf("write %q for all of it, or %q for the one address", prefix.Masked(), prefix.Addr()),
		}
	}
	if a := prefix.Addr(); a.Is4In6() {
		prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96) // masked and still mapped: it has 96 bits at least
	}
	return prefix, nil
}

// noPrefix finds what is often written in place of an address or prefix.
func noPrefix(s string) *configs.Problem {
	p := &configs.Problem{
		Message: strconv.Quote(s) + " is neither an address nor a prefix",
		Cure:    `write one like "192.0.2.7" or "10.0.0.0/8", or a word: "loopback", "private", "unix"`,
	}
	host := s
	if a, err := netip.ParseAddrPort(s); err == nil {
		host = a.Addr().String()
	}
	host = strings.Trim(host, "[]")
	a, err := netip.ParseAddr(host)
	switch {
	case s == "localhost":
		p.Cure = `write "loopback"`
	case s == "all" || s == "any" || s == "*":
		p.Cure = "leave from out: then the address does not matter"
	case err == nil && a.Zone() != "":
		p.Cure = fmt.Sprintf("write %q, without the zone", a.WithZone(""))
	case err == nil && host != s:
		p.Cure = fmt.Sprintf("write %q, without port and brackets", host)
	}
	return p
}
