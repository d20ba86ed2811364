package http1

import (
	"encoding/binary"
	"unsafe"
)

// class is a set of the character classes that a byte belongs to.
type class uint8

const (
	tokenChar  class = 1 << iota // tchar (RFC 9110, 5.6.2)
	valueChar                    // field-vchar, SP, HTAB (RFC 9110, 5.5)
	pathChar                     // may stand in a request target before '?'; '%' needs a look
	queryChar                    // and after it
	hostChar                     // reg-name (RFC 3986, 3.2.2), without '%', which needs a look, and ','
	quotedChar                   // qdtext (RFC 9110, 5.6.4)
)

var classes = func() (t [256]class) {
	for c := range t {
		b := byte(c)
		alnum := b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9'
		if alnum || within(b, "!#$%&'*+-.^_`|~") {
			t[c] |= tokenChar
		}
		if b == '\t' || b >= ' ' && b != 0x7f {
			t[c] |= valueChar
			if b != '"' && b != '\\' {
				t[c] |= quotedChar
			}
		}
		// RFC 3986 has no place for any of "<>[\]^`{|} in a path or query. What browsers send as it is all the same (the
		// percent-encode sets of WHATWG URL leave it alone) passes; the rest is refused.
		if alnum || within(b, "-._~!$&'()*+,;=:@/[]|") {
			t[c] |= pathChar
		}
		if t[c]&pathChar != 0 || within(b, "?\\^`{}") {
			t[c] |= queryChar
		}
		// A ',' is a sub-delim, but in a Host field it is the mark of two fields that were joined on the way.
		if alnum || within(b, "-._~!$&'()*+;=") {
			t[c] |= hostChar
		}
	}
	return t
}()

// hexValue is the value of a hexadecimal digit, 0xff for any other byte.
var hexValue = func() (t [256]byte) {
	for c := range t {
		b := byte(c)
		switch {
		case b >= '0' && b <= '9':
			t[c] = b - '0'
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			t[c] = b | 0x20 - 'a' + 10
		default:
			t[c] = 0xff
		}
	}
	return t
}()

func within(b byte, set string) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == b {
			return true
		}
	}
	return false
}

// equalFold compares ignoring ASCII case. name consists of letters, digits and '-'. b must be free of control bytes,
// which would fold to some of these. The lengths are equal.
func equalFold(b []byte, name string) bool {
	for i := 0; i < len(b) && i < len(name); i++ {
		if b[i]|0x20 != name[i]|0x20 {
			return false
		}
	}
	return len(b) == len(name)
}

const (
	every01 = 0x0101010101010101
	every20 = every01 * 0x20
	every7f = every01 * 0x7f
	every80 = every01 * 0x80
)

// suspect reports whether one of eight bytes is below SP or is DEL. HTAB is suspect and yet allowed: the table decides.
func suspect(x uint64) bool {
	del := x ^ every7f
	return ((x-every20)&^x|(del-every01)&^del)&every80 != 0
}

// validValue reports whether b is made of field-vchar, SP and HTAB only (RFC 9110, 5.5), eight bytes at a time.
func validValue(b []byte) bool {
	for len(b) >= 8 {
		if suspect(binary.LittleEndian.Uint64(b)) {
			for _, c := range b[:8] {
				if classes[c]&valueChar == 0 {
					return false
				}
			}
		}
		b = b[8:]
	}
	for _, c := range b {
		if classes[c]&valueChar == 0 {
			return false
		}
	}
	return true
}

// validToken reports whether b is a token (RFC 9110, 5.6.2).
func validToken(b []byte) bool {
	for _, c := range b {
		if classes[c]&tokenChar == 0 {
			return false
		}
	}
	return len(b) > 0
}

// bytesOf looks at a string as bytes, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// trim removes OWS (RFC 9110, 5.6.3) from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
