package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the peers that are believed when they tell another client's
// address than their own. The zero value is nobody. It is immutable and safe for
// concurrent use.
type Proxies struct {
	Prefixes []netip.Prefix // ascending, masked, none inside another; IPv4 is never mapped into IPv6
	Unix     bool           // the peers of unix sockets
}

// proxyWords are names for what is tedious to write: RFC 1122, 3.2.1.3 and RFC
// 4291, 2.5.3; RFC 1918, 3 and RFC 4193, 3.1.
var proxyWords = map[string][]netip.Prefix{
	"loopback": {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	"private": {
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	},
}

// Nobody reports whether no peer is trusted.
func (p *Proxies) Nobody() bool { return len(p.Prefixes) == 0 && !p.Unix }

// Trusts reports whether the peer with that address is trusted. The zero Addr
// stands for the peer of a unix socket.
func (p *Proxies) Trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return p.Unix
	}
	// None is inside another, so only the last that begins at or before a can contain it.
	low, high := 0, len(p.Prefixes)
	for low < high {
		if middle := (low + high) / 2; p.Prefixes[middle].Addr().Compare(a) <= 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low > 0 && p.Prefixes[low-1].Contains(a)
}

// literals are the items of trusted_proxies that give p.
func (p *Proxies) literals() []string {
	list := make([]string, 0, len(p.Prefixes)+1)
	for _, prefix := range p.Prefixes {
		if prefix.IsSingleIP() {
			list = append(list, prefix.Addr().String())
		} else {
			list = append(list, prefix.String())
		}
	}
	if p.Unix {
		list = append(list, "unix")
	}
	return list
}

// normalize brings the prefixes into the order and form that Trusts relies on.
func (p *Proxies) normalize() {
	slices.SortFunc(p.Prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	kept := p.Prefixes[:0]
	for _, prefix := range p.Prefixes {
		if len(kept) == 0 || !kept[len(kept)-1].Overlaps(prefix) {
			kept = append(kept, prefix)
		}
	}
	p.Prefixes = kept
}

// trustedProxies reads the attribute of that name in the top level or a listen.
func (r *resolver) trustedProxies(b *Block) (p Proxies) {
	for i, item := range b.Strings("trusted_proxies") {
		if item == "unix" {
			p.Unix = true
			continue
		}
		if known, ok := proxyWords[item]; ok {
			p.Prefixes = append(p.Prefixes, known...)
			continue
		}
		prefix, problem := parseProxy(item)
		if problem != nil {
			r.problem(b.itemPos("trusted_proxies", i), problem)
			r.broken[b] = true
			continue
		}
		if prefix.Bits() == 0 {
			r.warn(b.itemPos("trusted_proxies", i), Quote(item)+" trusts everybody: every client can claim any address", "name the addresses of the proxies")
		}
		p.Prefixes = append(p.Prefixes, prefix)
	}
	p.normalize()
	return p
}

// parseProxy reads an address or a prefix.
func parseProxy(s string) (netip.Prefix, *Problem) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, notAProxy(s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, notAProxy(s)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, &Problem{
			Message: fmt.Sprintf("%s names an address inside its prefix", Quote(s)),
			Cure:    fmt.Sprintf("write %s for all of it, or %s for the one address", Quote(prefix.Masked().String()), Quote(prefix.Addr().String())),
		}
	}
	if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
	}
	return prefix, nil
}

// notAProxy finds what is often written in place of an address or prefix.
func notAProxy(s string) *Problem {
	p := &Problem{
		Message: Quote(s) + " is neither an address nor a prefix",
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
	case strings.HasPrefix(s, "unix:"):
		p.Cure = `write "unix": it stands for the peers of every unix socket`
	case err == nil && a.Zone() != "":
		p.Cure = "write " + Quote(a.WithZone("").String()) + ", without the zone"
	case err == nil && host != s:
		p.Cure = "write " + Quote(host) + ", without port and brackets"
	}
	return p
}

// proxyProtocol refuses a listener with proxy_protocol on which every connection
// would be refused.
func (r *resolver) proxyProtocol(b *Block, l *Listener) {
	p, at := &l.TrustedProxies, b.Pos("proxy_protocol")
	switch unix := l.Address.Network == "unix"; {
	case unix && !p.Unix:
		r.err(at, b.where()+" has proxy_protocol and does not trust the peers of its unix socket: every connection would be refused",
			`add trusted_proxies = ["unix"]`)
	case !unix && len(p.Prefixes) == 0:
		r.err(at, b.where()+" has proxy_protocol and trusts no proxy: every connection would be refused",
			`add trusted_proxies with the addresses of the proxies, like ["10.0.0.0/8"]`)
	}
}
