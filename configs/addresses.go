package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Addresses is a set of peers or clients, as trusted_proxies names them. The
// zero value has none. Once it is made it is immutable and safe for concurrent
// use.
type Addresses struct {
	Prefixes []netip.Prefix // ascending, masked, none inside another; IPv4 is never mapped into IPv6
	Unix     bool           // the peers of unix sockets
}

// addressWords are names for what is tedious to write: RFC 1122, 3.2.1.3 and RFC
// 4291, 2.5.3; RFC 1918, 3 and RFC 4193, 3.1.
var addressWords = map[string][]netip.Prefix{
	"loopback": {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	"private": {
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	},
}

// Empty reports whether nobody is in the set.
func (p *Addresses) Empty() bool { return len(p.Prefixes) == 0 && !p.Unix }

// Contains reports whether the peer with that address is in the set. The zero
// Addr stands for the peer of a unix socket; a zone does not matter.
func (p *Addresses) Contains(a netip.Addr) bool {
	if !a.IsValid() {
		return p.Unix
	}
	a = a.Unmap().WithZone("")
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

// literals are the items that give p.
func (p *Addresses) literals() []string {
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

// add adds an item as it is written: an address, a prefix or a word. normalize
// comes after the last.
func (p *Addresses) add(item string) *Problem {
	if item == "unix" {
		p.Unix = true
		return nil
	}
	if known, ok := addressWords[item]; ok {
		p.Prefixes = append(p.Prefixes, known...)
		return nil
	}
	prefix, problem := parsePrefix(item)
	if problem == nil {
		p.Prefixes = append(p.Prefixes, prefix)
	}
	return problem
}

// ParseAddresses reads a list of addresses ("192.0.2.7"), prefixes
// ("10.0.0.0/8") and words ("loopback", "private", "unix"). A problem has the
// number of its item.
func ParseAddresses(items []string) (p Addresses, problems []Problem) {
	for i, item := range items {
		if problem := p.add(item); problem != nil {
			problem.Item = i + 1
			problems = append(problems, *problem)
		}
	}
	p.normalize()
	return p, problems
}

// normalize brings the prefixes into the order and form that Contains relies on.
func (p *Addresses) normalize() {
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

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (netip.Prefix, *Problem) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, notAPrefix(s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, notAPrefix(s)
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

// notAPrefix finds what is often written in place of an address or prefix.
func notAPrefix(s string) *Problem {
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
	case s == "all", s == "any", s == "*":
		p.Cure = `write "0.0.0.0/0" and "::/0" for every address`
	case strings.HasPrefix(s, "unix:"):
		p.Cure = `write "unix": it stands for the peers of every unix socket`
	case err == nil && a.Zone() != "":
		p.Cure = "write " + Quote(a.WithZone("").String()) + ", without the zone"
	case err == nil && host != s:
		p.Cure = "write " + Quote(host) + ", without port and brackets"
	}
	return p
}
