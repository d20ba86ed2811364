package configs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxSocketPath is the longest path of a unix socket: sun_path holds 108 bytes
// with the closing NUL (unix(7)).
const maxSocketPath = 107

// String writes the address as it stands in a file.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Path
	}
	return a.Addr.String()
}

// ParseAddress reads an address: "IP:port", "[v6]:port", ":port" (all
// addresses, IPv6 and IPv4), "localhost:port" (127.0.0.1) or "unix:PATH". Port 0
// lets the kernel choose. [::] takes IPv4 too. A relative path stays relative,
// and its length is checked as it is. The error is a Problem.
func ParseAddress(s string) (Address, error) {
	a, p := parseAddress(s)
	if p != nil {
		return Address{}, *p
	}
	if p := a.checkPath(); p != nil {
		return Address{}, *p
	}
	return a, nil
}

func (a Address) checkPath() *Problem {
	if a.Network == "unix" {
		return checkSocketPath(a.Path)
	}
	return nil
}

func checkSocketPath(path string) *Problem {
	if len(path) <= maxSocketPath {
		return nil
	}
	return &Problem{
		Message: fmt.Sprintf("the path of a unix socket holds at most %d bytes, and %s has %d", maxSocketPath, Quote(path), len(path)),
		Cure:    "use a shorter directory, such as /run/tined",
	}
}

func parseAddress(s string) (Address, *Problem) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseUnix(path)
	}
	if p := notAnAddress(s); p != nil {
		return Address{}, p
	}
	colon := strings.LastIndexByte(s, ':')
	host, portText := s[:colon], s[colon+1:]
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return Address{}, &Problem{
			Message: fmt.Sprintf("%s has no port from 0 to 65535 after the last colon", Quote(s)),
			Cure:    "write " + Quote(host+":8080"),
		}
	}
	tcp := func(ip netip.Addr) (Address, *Problem) {
		ip = ip.Unmap()
		return Address{
			Network: "tcp", Addr: netip.AddrPortFrom(ip, uint16(port)),
			DualStack: ip == netip.IPv6Unspecified(),
		}, nil
	}
	switch host {
	case "":
		return tcp(netip.IPv6Unspecified())
	case "localhost":
		return tcp(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	case "*":
		return Address{}, &Problem{Message: Quote(s) + " is not an address", Cure: "write " + Quote(":"+portText) + " for all addresses"}
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	ip, err := netip.ParseAddr(bare)
	switch {
	case err != nil:
		return Address{}, &Problem{
			Message: fmt.Sprintf("%s is not an IP address", Quote(host)),
			Cure: fmt.Sprintf("write the IP of this machine, or %s for all; names belong into hosts of a site",
				Quote(":"+portText)),
		}
	case ip.Is4() && bare != host:
		return Address{}, &Problem{
			Message: fmt.Sprintf("the IPv4 address in %s has brackets", Quote(s)),
			Cure:    "write " + Quote(bare+":"+portText),
		}
	}
	return tcp(ip)
}

func parseUnix(path string) (Address, *Problem) {
	switch {
	case path == "":
		return Address{}, &Problem{Message: "the path of the unix socket is missing", Cure: `write "unix:/run/tined/web.sock"`}
	case path[0] == '@':
		return Address{}, &Problem{
			Message: "abstract sockets are not supported",
			Cure:    "write a path, like " + Quote("unix:/run/tined/"+path[1:]+".sock"),
		}
	case strings.HasSuffix(path, "/"):
		return Address{}, &Problem{Message: Quote(path) + " is a directory", Cure: "write the name of the socket too, like " + Quote("unix:"+path+"web.sock")}
	case strings.ContainsRune(path, 0):
		return Address{}, &Problem{Message: "a path holds no NUL character", Cure: "remove \\u0000"}
	}
	return Address{Network: "unix", Path: path}, nil
}

// notAnAddress finds what is often written in place of an address.
func notAnAddress(s string) *Problem {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		p := &Problem{Message: "an address has no scheme, and " + Quote(s) + " has " + Quote(scheme)}
		rest, _, _ = strings.Cut(rest, "/")
		if !strings.Contains(rest, ":") {
			rest += map[bool]string{true: ":443", false: ":80"}[scheme == "https"]
		}
		p.Cure = "write " + Quote(rest)
		return p
	}
	if s == "" {
		return &Problem{Message: "the address is empty", Cure: `write address = "127.0.0.1:8080"`}
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasSuffix(s, ".sock") {
		return &Problem{Message: Quote(s) + " is a path, not an address", Cure: "write " + Quote("unix:"+s)}
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return &Problem{Message: Quote(s) + " is a port without an address", Cure: "write " + Quote(":"+s) + " for all addresses, or " + Quote("127.0.0.1:"+s)}
	}
	if strings.ContainsRune(s, '%') {
		return &Problem{Message: Quote(s) + " has a zone, which is not supported", Cure: `write "[::]:8080", or an address that is not link-local`}
	}
	if i := strings.LastIndexByte(s, ':'); i > 0 && s[0] != '[' {
		host, port := s[:i], s[i+1:]
		_, noPort := strconv.ParseUint(port, 10, 16)
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && noPort == nil {
			return &Problem{Message: "the IPv6 address in " + Quote(s) + " needs brackets", Cure: "write " + Quote("["+host+"]:"+port)}
		}
	}
	if s == "localhost" {
		return &Problem{Message: `"localhost" has no port`, Cure: `write "localhost:8080"`}
	}
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return &Problem{Message: Quote(s) + " has no port", Cure: "write " + Quote(netip.AddrPortFrom(ip, 8080).String())}
	}
	if !strings.Contains(s, ":") {
		return &Problem{Message: Quote(s) + " is not an address with a port", Cure: `write an IP and a port, like "127.0.0.1:8080"`}
	}
	return nil
}

// normal returns an address without the mark that two spellings differ in:
// what is listened on.
func (a Address) normal() Address {
	a.DualStack = false
	return a
}
