package wire

import (
	"encoding/base64"
	"math"
	"strconv"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// appendHeader appends the line of names (RFC 4180, 2, 3). An empty one is quoted, so that the line is none that readers skip.
func appendHeader(dst []byte, names []string) []byte {
	if len(names) == 0 {
		return dst
	}
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendField(dst, name)
	}
	return append(dst, "\r\n"...)
}

func (e *Encoder) appendRecord(dst []byte, rows engine.Rows) []byte {
	for i := range e.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch v := rows.Value(i); v.Kind {
		case engine.Integer:
			dst = strconv.AppendInt(dst, v.Int, 10)
		case engine.Real:
			if !math.IsNaN(v.Real) && !math.IsInf(v.Real, 0) {
				dst = appendReal(dst, v.Real)
			}
		case engine.Text:
			dst = appendField(dst, v.Bytes)
		case engine.Blob:
			if len(v.Bytes) == 0 {
				dst = append(dst, `""`...)
			}
			dst = base64.StdEncoding.AppendEncode(dst, v.Bytes)
		}
	}
	return append(dst, "\r\n"...)
}

// appendField appends a field, quoted where it must be (RFC 4180, 2, 6 and 7), where it is empty, which tells it from NULL, and where it begins
// or ends with white space, which some readers drop.
func appendField[T string | []byte](dst []byte, s T) []byte {
	quote := len(s) == 0 || s[0] == ' ' || s[0] == '\t' || s[len(s)-1] == ' ' || s[len(s)-1] == '\t'
	for i := 0; i < len(s) && !quote; i++ {
		c := s[i]
		quote = c == ',' || c == '"' || c == '\r' || c == '\n'
	}
	if !quote {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			dst = append(dst, s[done:i+1]...)
			done = i // it comes once more, with what follows
		}
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
