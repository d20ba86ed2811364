package http1

// validAuthority reports whether b is `uri-host [ ":" port ]` (RFC 9110, 4.2.1 and 7.2) with a host that is not empty
// and without userinfo, which RFC 9110, 4.2.4 tells recipients to treat as an error. portNeeded is for
// authority-form, where the port is part of the grammar (RFC 9112, 3.2.3).
func validAuthority(b []byte, portNeeded bool) bool {
	n := hostLen(b)
	if n <= 0 {
		return false
	}
	if n == len(b) {
		return !portNeeded
	}
	return b[n] == ':' && validPort(b[n+1:]) && (!portNeeded || n+1 < len(b))
}

// hostLen gives the length of the host that b begins with, -1 when it is malformed.
func hostLen(b []byte) int {
	if len(b) > 0 && b[0] == '[' {
		for i, c := range b {
			if c == ']' {
				if !validIPv6(b[1:i]) {
					return -1
				}
				return i + 1
			}
		}
		return -1
	}
	i := 0
	for i < len(b) {
		switch {
		case classes[b[i]]&hostChar != 0:
			i++
		case b[i] == '%' && escaped(b, i):
			i += 3
		case b[i] == ':':
			return i
		default:
			return -1
		}
	}
	return i
}

// escaped reports whether a whole percent-encoding (RFC 3986, 2.1) begins at b[i], which is '%'.
func escaped(b []byte, i int) bool {
	return i+2 < len(b) && hexValue[b[i+1]] != 0xff && hexValue[b[i+2]] != 0xff
}

// validPort reports whether b is empty or a number of 0 to 65535 (RFC 3986, 3.2.3 has no upper bound, TCP has).
func validPort(b []byte) bool {
	port := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		if port = port*10 + int(c-'0'); port > 65535 {
			return false
		}
	}
	return true
}

// validIPv6 reports whether b is an IPv6address (RFC 3986, 3.2.2): no zone, and no IPvFuture, of which no version
// exists that we could serve.
func validIPv6(b []byte) bool {
	groups, elided := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		elided, b = true, b[2:]
		if len(b) == 0 {
			return true
		}
	}
	for {
		n := 0
		for n < len(b) && hexValue[b[n]] != 0xff {
			n++
		}
		if n < len(b) && b[n] == '.' { // the last 32 bits as IPv4
			groups += 2
			return validIPv4(b) && (groups == 8 && !elided || groups < 8 && elided)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		b = b[n:]
		if len(b) == 0 {
			return groups == 8 && !elided || groups < 8 && elided
		}
		if b[0] != ':' || groups == 8 {
			return false
		}
		b = b[1:]
		if len(b) > 0 && b[0] == ':' {
			if elided {
				return false
			}
			elided, b = true, b[1:]
			if len(b) == 0 {
				return groups < 8
			}
		}
	}
}

// validIPv4 reports whether b is an IPv4address: four numbers of 0 to 255 without leading zeros.
func validIPv4(b []byte) bool {
	for part := 0; ; part++ {
		n, value := 0, 0
		for n < len(b) && n < 4 && b[n] >= '0' && b[n] <= '9' {
			value = value*10 + int(b[n]-'0')
			n++
		}
		if n == 0 || n > 3 || value > 255 || n > 1 && b[0] == '0' {
			return false
		}
		if b = b[n:]; len(b) == 0 {
			return part == 3
		}
		if b[0] != '.' || part == 3 {
			return false
		}
		b = b[1:]
	}
}
