package http1

import (
	"strconv"
	"strings"

	"github.com/tined/tined/child/web"
)

// ValidFieldName reports whether name is a token (RFC 9110, 5.1).
func ValidFieldName(name string) bool { return validToken(bytesOf(name)) }

// ValidFieldValue reports whether value can be sent as it is: visible characters, obs-text, SP and HTAB, no whitespace
// at either end (RFC 9110, 5.5). The empty value is valid.
func ValidFieldValue(value string) bool {
	b := bytesOf(value)
	return validValue(b) && len(trim(b)) == len(b)
}

// ValidMethod reports whether method is a token (RFC 9110, 9.1).
func ValidMethod(method string) bool { return validToken(bytesOf(method)) }

// AppendField appends a field line with its CRLF. Whitespace around the value is left out. With an invalid name, or a
// value that has CR, LF, NUL or another control byte, nothing is appended and ok is false: a handler that passes a
// client's bytes on cannot split a response.
func AppendField(dst []byte, name, value string) (line []byte, ok bool) {
	trimmed := trim(bytesOf(value))
	if !ValidFieldName(name) || !validValue(trimmed) {
		return dst, false
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, trimmed...)
	return append(dst, "\r\n"...), true
}

// AppendEnd appends the empty line that ends a head.
func AppendEnd(dst []byte) []byte { return append(dst, "\r\n"...) }

// AppendInt appends n in decimal.
func AppendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// AppendContentLength appends the Content-Length field line with its CRLF.
func AppendContentLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// AppendChunkSize appends the line before a chunk of n bytes. The chunk is followed by CRLF (AppendEnd). n must be
// above 0, since the chunk of size 0 is the last; with 0 or less nothing is appended.
func AppendChunkSize(dst []byte, n int) []byte {
	if n <= 0 {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the last chunk, the trailer section and the empty line. Trailer fields that are invalid or
// not allowed there (RFC 9110, 6.5.1) are left out; nil stands for none.
func AppendLastChunk(dst []byte, trailer *web.Header) []byte {
	dst = append(dst, "0\r\n"...)
	if trailer != nil {
		for name, value := range trailer.All() {
			if TrailerAllowed(name) {
				dst, _ = AppendField(dst, name, value)
			}
		}
	}
	return append(dst, "\r\n"...)
}

// AppendTrailerNames appends the Trailer field line that announces the fields of a trailer section (RFC 9110, 6.6.2),
// each name once, with its CRLF; nothing when none of them is allowed there.
func AppendTrailerNames(dst []byte, trailer *web.Header) []byte {
	start := len(dst)
	for i := range trailer.Len() {
		name := trailer.At(i).Name
		if !TrailerAllowed(name) || named(trailer, name, i) {
			continue
		}
		if len(dst) == start {
			dst = append(dst, "Trailer: "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(dst, name...)
	}
	if len(dst) == start {
		return dst
	}
	return append(dst, "\r\n"...)
}

// named reports whether one of the first n fields is called name.
func named(h *web.Header, name string, n int) bool {
	for i := range n {
		if strings.EqualFold(h.At(i).Name, name) {
			return true
		}
	}
	return false
}

// TrailerAllowed reports whether a field may be sent, and is accepted, in a trailer section (RFC 9110, 6.5.1).
func TrailerAllowed(name string) bool {
	return ValidFieldName(name) && !forbiddenTrailer(bytesOf(name))
}

// HasToken reports whether a comma-separated list has the token, ignoring case, as fields like Connection and Vary
// need it (RFC 9110, 5.6.1). The token consists of letters, digits and '-'; the list is a valid field value.
func HasToken(list []byte, token string) bool {
	for more := true; more; {
		var element []byte
		if element, list, more = nextElement(list); equalFold(element, token) {
			return true
		}
	}
	return false
}

// EqualFold compares a field name, or a value that was validated, with a name of letters, digits and '-', ignoring
// ASCII case.
func EqualFold(b []byte, name string) bool { return len(b) == len(name) && equalFold(b, name) }
