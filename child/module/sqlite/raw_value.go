package sqlite

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// rawKind is what a column's declared type makes of its values.
type rawKind uint8

// The kinds. rqlite's driver, and so what its clients expect, knows no others.
const (
	rawPlain   rawKind = iota
	rawBoolean         // 0 and 1 are false and true
	rawDate            // text that SQLite takes for a time, and seconds or milliseconds since 1970, are RFC 3339
)

// rawColumns are the columns of one result.
type rawColumns struct {
	names [][]byte // as JSON
	types [][]byte // as JSON
	plain []string // the names
	kinds []rawKind
	order []int // of an object's members: by name, and of those with one name the last
}

// set makes c those of columns. A column without a declared type has that of its value in the first row.
func (c *rawColumns) set(columns []engine.Column, first []engine.Value, o *rawOptions) {
	c.names, c.types, c.plain, c.kinds, c.order = c.names[:0], c.types[:0], c.plain[:0], c.kinds[:0], c.order[:0]
	for i, column := range columns {
		t := column.Type
		if t == "" && first != nil && first[i].Kind != engine.Null {
			t = first[i].Kind.String()
		}
		kind := rawPlain
		switch column.Type {
		case "boolean":
			kind = rawBoolean
		case "date", "datetime", "timestamp":
			kind = rawDate
		}
		c.names, c.types = append(c.names, rawString(nil, []byte(column.Name))), append(c.types, rawString(nil, []byte(t)))
		c.plain, c.kinds = append(c.plain, column.Name), append(c.kinds, kind)
	}
	if !o.associative {
		return
	}
	last := make(map[string]int, len(columns))
	for i, column := range columns {
		last[column.Name] = i
	}
	for _, i := range last {
		c.order = append(c.order, i)
	}
	slices.SortFunc(c.order, func(a, b int) int { return strings.Compare(c.plain[a], c.plain[b]) })
}

// append appends a row. On an error what was appended is of no use.
func (c *rawColumns) append(dst []byte, row []engine.Value, o *rawOptions) ([]byte, error) {
	var err error
	if o.associative {
		dst = append(dst, '{')
		for n, i := range c.order {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, c.names[i]...), ':')
			if dst, err = c.value(dst, i, &row[i], o); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	dst = append(dst, '[')
	for i := range row {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = c.value(dst, i, &row[i], o); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// value appends the value v of a column.
func (c *rawColumns) value(dst []byte, column int, v *engine.Value, o *rawOptions) ([]byte, error) {
	kind := c.kinds[column]
	switch v.Kind {
	case engine.Integer:
		switch {
		case kind == rawBoolean && v.Int == 0:
			return append(dst, "false"...), nil
		case kind == rawBoolean && v.Int == 1:
			return append(dst, "true"...), nil
		case kind == rawDate:
			if said, ok := rawTime(dst, rawSince(v.Int)); ok {
				return said, nil
			}
		}
		return strconv.AppendInt(dst, v.Int, 10), nil
	case engine.Real:
		return rawFloat(dst, v.Real), nil
	case engine.Blob:
		return rawBlob(dst, v.Bytes, o), nil
	case engine.Text:
		if kind == rawDate {
			if t, ok := rawParseTime(string(v.Bytes)); ok {
				if said, ok := rawTime(dst, t); ok {
					return said, nil
				}
			}
		}
		switch {
		case utf8.Valid(v.Bytes):
			return rawString(dst, v.Bytes), nil
		case o.blobArray:
			return rawBlob(dst, v.Bytes, o), nil
		}
		return dst, engine.Errorf(engine.CodeSQL,
			"column %s has text that is not UTF-8: ask with blob_array, or for CAST(… AS BLOB), to have its bytes", c.names[column])
	}
	return append(dst, "null"...), nil
}

// rawBlob appends b as base64 text, or as an array of its bytes.
func rawBlob(dst, b []byte, o *rawOptions) []byte {
	if !o.blobArray {
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"')
	}
	dst = append(dst, '[')
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
	}
	return append(dst, ']')
}

// rawSince takes n for the seconds since 1970, or the milliseconds if it has 13 digits.
func rawSince(n int64) time.Time {
	if n > 1e12 || n < -1e12 {
		return time.UnixMilli(n).UTC()
	}
	return time.Unix(n, 0).UTC()
}

// rawTime appends t as RFC 3339 has it, if that can be said.
func rawTime(dst []byte, t time.Time) ([]byte, bool) {
	n := len(dst)
	said, err := t.AppendText(append(dst, '"'))
	if err != nil {
		return dst[:n], false
	}
	return append(said, '"'), true
}

// rawTimes are the forms of time values 1 to 7 of https://www.sqlite.org/lang_datefunc.html, with an offset or without. A fraction of a second
// need not be written here to be read.
var rawTimes = []string{"2006-01-02", "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04",
	"2006-01-02 15:04:05-07:00", "2006-01-02T15:04:05-07:00"}

// rawParseTime reads a time. Without an offset it is one of UTC.
func rawParseTime(s string) (time.Time, bool) {
	s = strings.TrimSuffix(s, "Z")
	if len(s) < 10 || s[4] != '-' {
		return time.Time{}, false
	}
	for _, form := range rawTimes {
		if t, err := time.ParseInLocation(form, s, time.UTC); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// rawFloat appends f as encoding/json does, and with it rqlite: the shortest form, without a fraction if there is none. JSON has no number for
// NaN and the infinities.
func rawFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	form, size := byte('f'), math.Abs(f)
	if size != 0 && (size < 1e-6 || size >= 1e21) {
		form = 'e'
	}
	dst = strconv.AppendFloat(dst, f, form, -1, 64)
	if n := len(dst); form == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // 1e-07 is 1e-7
		dst = dst[:n-1]
	}
	return dst
}

// rawString appends s as encoding/json does, and with it rqlite: what HTML or JavaScript would take for more than text is escaped.
func rawString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, `\b`...)
			case '\f':
				dst = append(dst, `\f`...)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && n == 1: // a name of a column, or a message
			dst = append(append(dst, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[from:i]...), '\\', 'u', '2', '0', '2', hex[r&15])
			from = i + n
		}
		i += n
	}
	return append(append(dst, s[from:]...), '"')
}
