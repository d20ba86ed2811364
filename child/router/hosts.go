package router

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// maxHost is the longest host name that can match, in bytes (RFC 1035, section
// 2.3.4). It bounds the work that a long Host field can cause.
const maxHost = 253

// hosts are the sites of one listener, by host.
type hosts struct {
	exact    map[string]int     // "example.com", "192.0.2.1"
	suffix   map[string]int     // ".example.com"
	ipv6     map[netip.Addr]int // spelt in many ways, so compared as an address
	fallback int                // the default site, or none
}

// add enters a site under its hosts, or as the default site when there are none. With
// an error comes the site that is in the way, if one is.
func (h *hosts) add(names []string, site int) (other int, err error) {
	if len(names) == 0 {
		if h.fallback != none {
			return h.fallback, errors.New("a second default site (without hosts)")
		}
		h.fallback = site
		return none, nil
	}
	for _, name := range names {
		host, address, err := ParseHost(name)
		if err != nil {
			return none, err
		}
		var old int
		var taken bool
		switch {
		case address.IsValid():
			old, taken = enter(&h.ipv6, address, site)
		case strings.HasPrefix(host, "*"):
			old, taken = enter(&h.suffix, host[1:], site)
		default:
			old, taken = enter(&h.exact, host, site)
		}
		if taken {
			return old, fmt.Errorf("host %q is there already", name)
		}
	}
	return none, nil
}

// enter puts a site under a key unless another one has it.
func enter[K comparable](m *map[K]int, key K, site int) (old int, taken bool) {
	if old, taken = (*m)[key]; taken {
		return old, true
	}
	if *m == nil {
		*m = make(map[K]int)
	}
	(*m)[key] = site
	return none, false
}

// ParseHost brings a configured host into the form in which two hosts are equal if
// they are the same: lower case, without a trailing dot. An IPv6 literal comes back
// as an address. An error says what to write.
func ParseHost(s string) (host string, ipv6 netip.Addr, err error) {
	fail := func(format string, args ...any) (string, netip.Addr, error) {
		return "", netip.Addr{}, fmt.Errorf("host %q: "+format, append([]any{s}, args...)...)
	}
	if strings.HasPrefix(s, "[") {
		inner, ok := strings.CutSuffix(s[1:], "]")
		address, err := netip.ParseAddr(inner)
		if !ok || err != nil || !address.Is6() || address.Zone() != "" {
			return fail("not an IPv6 address in brackets; write it as [2001:db8::1], without port and zone")
		}
		return "", address, nil
	}
	host = strings.ToLower(strings.TrimSuffix(s, "."))
	name := host
	if strings.HasPrefix(host, "*") {
		var ok bool
		if name, ok = strings.CutPrefix(host, "*."); !ok || name == "" {
			return fail(`a star stands for whole labels at the beginning; write "*.example.com", or no hosts for the default site`)
		}
	}
	if address, err := netip.ParseAddr(name); err == nil && address.Is6() {
		return fail("an IPv6 address stands in brackets; write [%s]", name)
	}
	switch {
	case name == "":
		return fail("it is empty; write no hosts for the default site")
	case len(name) > maxHost:
		return fail("longer than %d bytes", maxHost)
	case strings.Contains(name, ":"):
		return fail("a host has no port; remove it, the listener has one")
	case strings.Contains(name, "*"):
		return fail("a star stands at the beginning only")
	case strings.Contains(name, "/"):
		return fail("a host is a name without scheme and path")
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return fail("write international names in their ASCII form (xn--…)")
		}
		if !isHostByte(name[i]) {
			return fail("%q cannot be part of a host", name[i:i+1])
		}
	}
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return fail("a label between two dots is empty")
	}
	return host, netip.Addr{}, nil
}

// isHostByte is what names hold in practice (letters, digits, '-', '_', '.'), lower
// case.
func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// find returns the site for the host of a request, or none.
func (h *hosts) find(host string) int {
	if h.exact == nil && h.suffix == nil && h.ipv6 == nil {
		return h.fallback
	}
	if host != "" && host[0] == '[' {
		return h.findIPv6(host)
	}
	if i := strings.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if host == "" || len(host) > maxHost {
		return h.fallback
	}
	for i := range len(host) {
		if 'A' <= host[i] && host[i] <= 'Z' {
			return h.findFolded(host)
		}
	}
	if site, ok := h.exact[host]; ok {
		return site
	}
	if h.suffix != nil {
		for i := 1; i < len(host); i++ { // from 1: a star stands for one label or more
			if host[i] != '.' {
				continue
			}
			if site, ok := h.suffix[host[i:]]; ok {
				return site
			}
		}
	}
	return h.fallback
}

// findFolded is find for a host with upper-case letters; the copy stays on the stack.
func (h *hosts) findFolded(host string) int {
	var space [maxHost]byte
	b := space[:copy(space[:], host)]
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	if site, ok := h.exact[string(b)]; ok {
		return site
	}
	if h.suffix != nil {
		for i := 1; i < len(b); i++ {
			if b[i] != '.' {
				continue
			}
			if site, ok := h.suffix[string(b[i:])]; ok {
				return site
			}
		}
	}
	return h.fallback
}

// findIPv6 is find for a literal in brackets, with or without a port behind it.
func (h *hosts) findIPv6(host string) int {
	end := strings.IndexByte(host, ']')
	if h.ipv6 == nil || end < 0 || end > maxHost {
		return h.fallback
	}
	address, err := netip.ParseAddr(host[1:end])
	if err != nil || !address.Is6() {
		return h.fallback
	}
	if site, ok := h.ipv6[address]; ok {
		return site
	}
	return h.fallback
}
