package access

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/web"
)

// Bounds of what a client may send, in bytes. Longer credentials are wrong ones.
const (
	// maxName and MaxPassword bound a user's name and password. RFC 7617 has no bound.
	maxName     = 255
	MaxPassword = 512
	// maxCredentials is the length of both in base64, and that of a token.
	maxCredentials = (maxName + 1 + MaxPassword + 2) / 3 * 4
)

// scheme is an authentication scheme (RFC 9110, 11.1).
type scheme uint8

const (
	noScheme scheme = iota // no credentials, or not ones that we know
	basicScheme
	bearerScheme
)

// authorization splits the Authorization field (RFC 9110, 11.4 and 11.6.2). More than one such field is nothing: which of them another
// reader on the way went by cannot be told.
func authorization(r *web.Request) (scheme, string) {
	const name = "Authorization"
	value, found := "", false
	for i := range r.Header.Len() {
		field := r.Header.At(i)
		if len(field.Name) != len(name) || !strings.EqualFold(field.Name, name) {
			continue
		}
		if found {
			return noScheme, ""
		}
		value, found = field.Value, true
	}
	word, credentials, _ := strings.Cut(value, " ")
	credentials = strings.TrimLeft(credentials, " ")
	switch {
	case credentials == "" || len(credentials) > maxCredentials:
		return noScheme, ""
	case strings.EqualFold(word, "Basic"):
		return basicScheme, credentials
	case strings.EqualFold(word, "Bearer"):
		return bearerScheme, credentials
	}
	return noScheme, ""
}

// isToken68 reports whether s is a token68 (RFC 9110, 11.2), which RFC 6750, 2.1 calls b64token.
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return body != ""
}

// strictBase64 takes one spelling of every value only: with padding, and without bits behind the last byte.
var strictBase64 = base64.StdEncoding.Strict()

// decoded is room for credentials and what is in them, on the stack of who judges on the loop.
type decoded struct {
	encoded [maxCredentials]byte
	plain   [maxCredentials / 4 * 3]byte
}

// basic decodes the credentials of Basic (RFC 7617, 2): the name ends at the first colon; both are UTF-8 without control characters.
// What it returns lies in d.
func (d *decoded) basic(credentials string) (name, password []byte, ok bool) {
	if strings.ContainsAny(credentials, "\r\n") { // the decoder skips them
		return nil, nil, false
	}
	n, err := strictBase64.Decode(d.plain[:], d.encoded[:copy(d.encoded[:], credentials)])
	if err != nil {
		return nil, nil, false
	}
	name, password, ok = bytes.Cut(d.plain[:n], []byte{':'})
	ok = ok && len(name) <= maxName && len(password) <= MaxPassword && utf8.Valid(name) && utf8.Valid(password) && !hasControls(name) && !hasControls(password)
	return name, password, ok
}

// hasControls reports whether valid UTF-8 has a control character: one of C0, DEL or C1, as in RFC 5234's CTL and Unicode's Cc.
func hasControls[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			return true
		}
	}
	return false
}
