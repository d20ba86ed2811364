package static

import (
	"bytes"
	"strings"
)

// maxName is the longest name below the root in bytes; Linux resolves none of PATH_MAX (4096, the final NUL included).
const maxName = 4095

// mapPath appends to dst the name below the root that rawPath stands for, a request's path as it was received, without its first
// depth slashes and what is before them. Segments are decoded one by one and once. The name is relative and has no empty, "." or ".."
// segment; it is empty or ends in '/' for a directory. ok is false for a path that names no file that may be served:
//
//   - a segment that is empty (but the last), "." or "..";
//   - one that starts with '.' (but a first ".well-known", RFC 8615), unless hidden ones are served; the names of files on their way in
//     (temporary) never are;
//   - a segment that decodes to a '/' or NUL, or has a broken escape.
func mapPath(dst []byte, rawPath string, depth int, hidden bool) (name []byte, ok bool) {
	for ; depth > 0; depth-- {
		i := strings.IndexByte(rawPath, '/')
		if i < 0 {
			return dst, false
		}
		rawPath = rawPath[i+1:]
	}
	begin := len(dst)
	segment := begin // where the present segment starts
	for i := 0; i < len(rawPath); i++ {
		c := rawPath[i]
		if c == '/' {
			if !servable(dst[segment:], hidden, segment == begin) {
				return dst, false
			}
			dst = append(dst, '/')
			segment = len(dst)
			continue
		}
		if c == '%' {
			if i+2 >= len(rawPath) {
				return dst, false
			}
			high, low := unhex(rawPath[i+1]), unhex(rawPath[i+2])
			if high|low > 0xf {
				return dst, false
			}
			c = high<<4 | low
			i += 2
			if c == '/' {
				return dst, false
			}
		}
		if c == 0 {
			return dst, false
		}
		dst = append(dst, c)
	}
	if segment < len(dst) && !servable(dst[segment:], hidden, segment == begin) {
		return dst, false
	}
	return dst, len(dst)-begin <= maxName
}

// servable reports whether a decoded segment may be part of a name.
func servable(segment []byte, hidden, first bool) bool {
	switch {
	case len(segment) == 0:
		return false
	case segment[0] != '.', first && string(segment) == ".well-known":
		return true
	}
	return hidden && string(segment) != "." && string(segment) != ".." && !bytes.HasPrefix(segment, []byte(temporary))
}

// temporary begins the names of files that are being uploaded. No path has one.
const temporary = ".tined-upload-"

// unhex returns the value of a hexadecimal digit, 0xff for another byte.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// isDirectory reports whether a name as mapPath makes it asks for a directory.
func isDirectory(name string) bool { return name == "" || name[len(name)-1] == '/' }

// slashed returns the Location of the directory that was asked for without its last slash. It starts with exactly one slash, whatever
// the request did, so that it never names another host.
func slashed(rawPath, rawQuery string) string {
	b := make([]byte, 0, len(rawPath)+len(rawQuery)+8)
	b = append(b, '/')
	b = appendEscaped(b, strings.TrimLeft(rawPath, `/\`))
	b = append(b, '/')
	if rawQuery != "" {
		b = append(b, '?')
		b = appendEscaped(b, rawQuery)
	}
	return string(b)
}

// appendEscaped appends s and escapes what a URL must not hold (RFC 3986, 2); escapes that are there stay.
func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			b = append(b, '%', digits[c>>4], digits[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}
