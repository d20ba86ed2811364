package child

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Who the client is, when proxies stand between. What a proxy has appended to the field stands rightmost, and everything to the left of
// it has come from further away. So the walk goes from the connection's peer through the field from right to left, each step only as
// long as the one who has told it is trusted: what a client writes itself is never reached, be it as malformed as it likes.

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"

	fieldFor       = "X-Forwarded-For"
	fieldProto     = "X-Forwarded-Proto"
	fieldForwarded = "Forwarded" // RFC 7239

	// nodeMax is the longest text of a node that can be an address, in bytes: an IPv6 address with an IPv4 tail, brackets and a port,
	// or an obfuscated port.
	nodeMax = 80
)

// forwardedField says which field trusted proxies tell the client in.
type forwardedField uint8

const (
	forwardedAuto forwardedField = iota // whichever is there; none of both when they differ
	forwardedX                          // X-Forwarded-For with X-Forwarded-Proto
	forwardedRFC                        // Forwarded
)

// forwardedFields are the values of forwarded_field.
var forwardedFields = map[string]forwardedField{"auto": forwardedAuto, fieldFor: forwardedX, fieldForwarded: forwardedRFC}

// identify sets r's RemoteAddr and Scheme, which are the socket's, to what trusted proxies tell.
func (c *conn) identify(r *web.Request) {
	if e := c.entry; e != nil {
		if e.client.IsValid() {
			r.RemoteAddr = e.client
		}
		if e.https {
			r.Scheme = schemeHTTPS
		}
		if e.hidden {
			web.SetUnknownClient(r) // the peer is trusted, and what it relays is an unknown client's word
			return
		}
	}
	if trusted := c.listener.proxies; trusted != nil && trusted.Contains(r.RemoteAddr.Addr()) {
		web.SetRelayed(r)
		c.listener.field.believe(r, trusted)
	}
}

// believe takes what the fields of r tell, whose RemoteAddr is trusted.
func (f forwardedField) believe(r *web.Request, trusted *configs.Addresses) {
	var x, rfc trail
	if f != forwardedRFC {
		x = walk(&r.Header, fieldFor, trusted, r.RemoteAddr)
	}
	if f != forwardedX {
		rfc = walk(&r.Header, fieldForwarded, trusted, r.RemoteAddr)
	}
	if x.found && x.hops == 0 || rfc.found && rfc.hops == 0 {
		web.SetUnknownClient(r) // "unknown", or nothing that could be read
	}
	switch {
	case x.found && rfc.found && x.client.Addr() != rfc.client.Addr():
		web.SetUnknownClient(r) // a proxy that writes one of them has passed the other as its client sent it: which one cannot be told
	case rfc.found:
		r.RemoteAddr = rfc.client
		if rfc.scheme != "" && (!x.found || rfc.scheme == schemeAt(&r.Header, max(1, x.hops))) { // else it may be the client's word
			r.Scheme = rfc.scheme
		}
	case f != forwardedRFC:
		if x.found {
			r.RemoteAddr = x.client
		}
		if scheme := schemeAt(&r.Header, max(1, x.hops)); scheme != "" {
			r.Scheme = scheme
		}
	}
}

// A trail is where a walk has come to.
type trail struct {
	found  bool // there is such a field
	client netip.AddrPort
	scheme string // of the last element that was looked at; "" when it has none
	hops   int    // elements that were believed
}

// walk follows the field called name from peer, which is trusted, to the first client that is not. It stops before an element that
// names no address.
func walk(h *web.Header, name string, trusted *configs.Addresses, peer netip.AddrPort) trail {
	t := trail{client: peer}
	for i := h.Len() - 1; i >= 0; i-- {
		line := h.At(i)
		if len(line.Name) != len(name) || !strings.EqualFold(line.Name, name) {
			continue
		}
		t.found = true
		for rest, more := line.Value, true; more; {
			var element string
			var ok bool
			if name == fieldForwarded {
				rest, element, more, ok = cutLastQuoted(rest)
			} else {
				rest, element, more, ok = cutLast(rest)
			}
			if ok && element == "" {
				continue // RFC 9110, 5.6.1.2: an empty element says nothing
			}
			node := element
			if ok && name == fieldForwarded {
				node, t.scheme, ok = parseForwarded(element)
			}
			client, known := parseNode(node)
			if !ok || !known {
				return t
			}
			t.client = client
			if t.hops++; !trusted.Contains(client.Addr()) {
				return t
			}
		}
	}
	return t
}

// schemeAt returns what element n of X-Forwarded-Proto, counted from the right, says: each proxy may have appended one, as it did to
// X-Forwarded-For. If there are fewer, proxies have passed it on or replaced it, and the leftmost counts.
func schemeAt(h *web.Header, n int) (scheme string) {
	for i := h.Len() - 1; i >= 0; i-- {
		line := h.At(i)
		if len(line.Name) != len(fieldProto) || !strings.EqualFold(line.Name, fieldProto) {
			continue
		}
		for rest, more := line.Value, true; more; {
			var element string
			if rest, element, more, _ = cutLast(rest); element == "" {
				continue
			}
			scheme = parseScheme(element)
			if n--; n == 0 {
				return scheme
			}
		}
	}
	return scheme
}

// parseScheme returns http or https, whatever their case is (RFC 3986, 3.1), and "" for anything else.
func parseScheme(s string) string {
	switch {
	case strings.EqualFold(s, schemeHTTPS):
		return schemeHTTPS
	case strings.EqualFold(s, schemeHTTP):
		return schemeHTTP
	}
	return ""
}

// cutLast takes the last element of a comma-separated list.
func cutLast(list string) (rest, element string, more, ok bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", trimSpace(list), false, true
	}
	return list[:i], trimSpace(list[i+1:]), true, true
}

// cutLastQuoted is cutLast for elements that may hold quoted strings. It goes from right to left, so that an unbalanced quote to the
// left of the last comma cannot swallow what stands behind it. ok is false when the element itself has one.
func cutLastQuoted(list string) (rest, element string, more, ok bool) {
	for i := len(list) - 1; i >= 0; i-- {
		switch list[i] {
		case ',':
			return list[:i], trimSpace(list[i+1:]), true, true
		case '"':
			if i = openingQuote(list[:i]); i < 0 {
				return "", list, false, false
			}
		}
	}
	return "", trimSpace(list), false, true
}

// openingQuote finds the quote that opens the string which ends behind s: the last one without a backslash. A quoted string has none
// before its opening quote, so what has is a part of the text (RFC 9110, 5.6.4).
func openingQuote(s string) int {
	for {
		i := strings.LastIndexByte(s, '"')
		if i <= 0 || s[i-1] != '\\' {
			return i
		}
		s = s[:i]
	}
}

func trimSpace(s string) string { return strings.Trim(s, " \t") }

// parseForwarded reads one element of Forwarded (RFC 7239, 4): its node, "" without one, and its scheme. ok is false when it is
// malformed. Other parameters are skipped; white space around the semicolons is forgiven.
func parseForwarded(element string) (node, scheme string, ok bool) {
	var hasNode, hasScheme bool
	for rest := element; ; {
		if rest = strings.TrimLeft(rest, "; \t"); rest == "" { // empty pairs are allowed
			return node, scheme, true
		}
		name, behind, found := strings.Cut(rest, "=")
		if !found || !web.ValidFieldName(name) {
			return "", "", false
		}
		var value string
		if value, rest, ok = cutValue(behind); !ok {
			return "", "", false
		}
		switch {
		case strings.EqualFold(name, "for"):
			if hasNode { // RFC 7239, 4: a parameter occurs once
				return "", "", false
			}
			hasNode, node = true, value
		case strings.EqualFold(name, "proto"):
			if hasScheme {
				return "", "", false
			}
			hasScheme, scheme = true, parseScheme(value)
		}
	}
}

// cutValue takes the value of a parameter, a quoted string or anything up to the next semicolon: IPv6 addresses and ports are often
// not quoted, though they should be. The rest begins with a semicolon, or is empty. A quoted string with a backslash in it keeps it: no
// address and no scheme has one.
func cutValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		end := strings.IndexByte(s, ';')
		if end < 0 {
			end = len(s)
		}
		value = trimSpace(s[:end])
		return value, s[end:], !strings.ContainsAny(value, "\" \t")
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			value, rest = s[1:i], trimSpace(s[i+1:])
			return value, rest, rest == "" || rest[0] == ';'
		}
	}
	return "", "", false
}

// parseNode reads an address with or without a port: 1.2.3.4, 1.2.3.4:5, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. The port is 0
// when there is none, or an obfuscated one (RFC 7239, 6.2). "unknown", obfuscated identifiers (6.3) and anything else are no address.
func parseNode(s string) (netip.AddrPort, bool) {
	if s == "" || len(s) > nodeMax || !addressBegin(s[0]) || strings.IndexByte(s, '%') >= 0 {
		return netip.AddrPort{}, false // before ParseAddr, whose errors take memory
	}
	host, port, hasPort := s, "", false
	bracketed := s[0] == '['
	if bracketed {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return netip.AddrPort{}, false
		}
		host, port = s[1:end], s[end+1:]
		if hasPort = port != ""; hasPort {
			if port[0] != ':' {
				return netip.AddrPort{}, false
			}
			port = port[1:]
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 && i == strings.LastIndexByte(s, ':') {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	address, err := netip.ParseAddr(host)
	if err != nil || bracketed && !address.Is6() {
		return netip.AddrPort{}, false
	}
	var number uint16
	if hasPort && !obfuscated(port) {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return netip.AddrPort{}, false
		}
		number = uint16(n)
	}
	return netip.AddrPortFrom(address.Unmap(), number), true
}

// addressBegin reports whether a node that begins with b can be an address.
func addressBegin(b byte) bool {
	return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f' || b == ':' || b == '['
}

// obfuscated reports whether a port is an identifier that hides it: an underscore and letters, digits, '.', '_' or '-' (RFC 7239, 6.3).
func obfuscated(port string) bool {
	if len(port) < 2 || port[0] != '_' {
		return false
	}
	for _, b := range []byte(port[1:]) {
		if !(b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b == '.' || b == '_' || b == '-') {
			return false
		}
	}
	return true
}
