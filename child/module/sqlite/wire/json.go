package wire

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

func (e *Encoder) rowJSON(dst []byte, rows engine.Rows) []byte {
	if e.options.Single {
		if e.rows > 0 {
			panic("wire: a second row of a single one")
		}
		return e.appendMembers(dst, rows) // End or Fail closes it
	}
	if e.rows > 0 {
		dst = append(dst, ',')
	}
	return append(e.appendMembers(dst, rows), '}')
}

// appendMembers appends the object of a row without its last brace.
func (e *Encoder) appendMembers(dst []byte, rows engine.Rows) []byte {
	if len(e.ends) == 0 {
		return append(dst, '{')
	}
	at := 0
	for i, end := range e.ends {
		dst = append(dst, e.keys[at:end]...)
		dst = AppendValue(dst, rows.Value(i))
		at = end
	}
	return dst
}

func (e *Encoder) endJSON(dst []byte, members []Extra) []byte {
	if e.options.Single {
		if e.rows == 0 {
			return append(dst, "null"...)
		}
		return append(dst, '}')
	}
	return append(appendExtras(append(dst, ']'), members), '}')
}

func (e *Encoder) failJSON(dst []byte, err *engine.Error) []byte {
	switch {
	case !e.options.Single:
		dst = append(dst, `],"error":`...)
	case e.rows == 0:
		dst = append(dst, `{"$error":`...)
	case len(e.ends) == 0:
		dst = append(dst, `"$error":`...)
	default:
		dst = append(dst, `,"$error":`...)
	}
	return append(AppendError(dst, err), '}')
}

// appendExtras appends members, each with a comma in front.
func appendExtras(dst []byte, members []Extra) []byte {
	for _, m := range members {
		dst = AppendText(append(dst, ','), m.Name)
		dst = AppendValue(append(dst, ':'), m.Value)
	}
	return dst
}

// AppendError appends {"code":"…","message":"…"}.
func AppendError(dst []byte, err *engine.Error) []byte {
	dst = AppendText(append(dst, `{"code":`...), string(err.Code))
	dst = AppendText(append(dst, `,"message":`...), err.Message)
	return append(dst, '}')
}

// AppendValue appends v as JSON; the package comment says how.
func AppendValue(dst []byte, v engine.Value) []byte {
	switch v.Kind {
	case engine.Integer:
		return strconv.AppendInt(dst, v.Int, 10)
	case engine.Real:
		if math.IsNaN(v.Real) || math.IsInf(v.Real, 0) {
			return append(dst, "null"...)
		}
		return appendReal(dst, v.Real)
	case engine.Text:
		if utf8.Valid(v.Bytes) {
			return appendQuoted(dst, v.Bytes)
		}
		return appendBase64(dst, v.Bytes)
	case engine.Blob:
		return appendBase64(dst, v.Bytes)
	}
	return append(dst, "null"...)
}

// AppendText appends s as a JSON string (RFC 8259, 7). Bytes that are no UTF-8 become U+FFFD.
func AppendText(dst []byte, s string) []byte {
	return appendQuoted(dst, strings.ToValidUTF8(s, "\uFFFD"))
}

func appendBase64(dst, b []byte) []byte {
	dst = append(dst, `{"$base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, `"}`...)
}

// appendReal appends a finite f: digits where there are few of them, an exponent elsewhere; the bounds are those of ECMA-262 (Number::toString).
func appendReal(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	for _, c := range dst[start:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// plain are the bytes that stand for themselves in a string. 0xE2 is not among them as it may begin U+2028 or U+2029, which JavaScript before
// 2019 takes for ends of lines.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 256; c++ {
		t[c] = c != '"' && c != '\\' && c != 0xE2
	}
	return t
}()

// appendQuoted appends s, which is UTF-8, as a JSON string.
func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain[c] {
			continue
		}
		if c == 0xE2 && (s[i+1] != 0x80 || s[i+2]&^1 != 0xA8) {
			continue
		}
		dst = append(dst, s[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\r':
			dst = append(dst, `\r`...)
		case 0xE2:
			dst = append(dst, `\u202`...)
			i += 2
			dst = append(dst, hex[s[i]&0xF])
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&0xF])
		}
		done = i + 1
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
