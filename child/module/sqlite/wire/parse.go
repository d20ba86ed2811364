package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Bounds of a document that is read.
const (
	MaxDepth   = 128   // arrays and objects within each other; SQLite's own JSON functions stop at 1000
	MaxMembers = 32766 // of an object: as many as SQLite has parameters (https://www.sqlite.org/limits.html, 9)
)

// A PositionError is where in a document something is wrong, and what.
type PositionError struct {
	Offset  int // in bytes from 0
	Line    int // from 1
	Column  int // in characters from 1
	Message string
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// at returns an *engine.Error, for the client, about the byte offset of body.
func at(body []byte, offset int, code engine.Code, format string, args ...any) *engine.Error {
	line := body[:offset]
	e := &PositionError{Offset: offset, Line: 1 + bytes.Count(line, []byte{'\n'}), Message: fmt.Sprintf(format, args...)}
	e.Column = 1 + utf8.RuneCount(line[bytes.LastIndexByte(line, '\n')+1:])
	return &engine.Error{Code: code, Message: e.Error(), Offset: -1, Err: e}
}

// Parse reads a document: one JSON value (RFC 8259), in UTF-8 and without a byte order mark, and nothing behind it. The values inside are
// looked at when they are asked for. body must not change while the Member, or one that was got from it, is in use.
//
// Errors, here and of all that a Member tells, are *engine.Errors, whose message has line and column and whose Err is a *PositionError: CodeRequest
// for a document that is malformed or has another form than is asked for, CodeParameter for a value that is no value of SQL, CodeTooLarge
// for one of the bounds.
func Parse(body []byte) (Member, error) {
	if bytes.HasPrefix(body, []byte("\xEF\xBB\xBF")) {
		return Member{}, at(body, 0, engine.CodeRequest, "a byte order mark does not belong into JSON")
	}
	start := skipSpace(body, 0)
	if start == len(body) {
		return Member{}, at(body, start, engine.CodeRequest, "there is no content; JSON is expected")
	}
	if i := depthPassed(body); i >= 0 {
		return Member{}, at(body, i, engine.CodeTooLarge, "more than %d arrays and objects within each other", MaxDepth)
	}
	if !json.Valid(body) {
		return Member{}, malformed(body)
	}
	// encoding/json takes strings that are no UTF-8, and mends them.
	if !utf8.Valid(body) {
		i := 0
		for r, n := utf8.DecodeRune(body); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(body[i:]) {
			i += n
		}
		return Member{}, at(body, i, engine.CodeRequest, "the content is not UTF-8")
	}
	return member("", body, start, skipValue(body, start)), nil
}

// malformed says what encoding/json finds wrong with body.
func malformed(body []byte) error {
	var wrong *json.SyntaxError
	var ignored json.RawMessage
	err := json.Unmarshal(body, &ignored)
	if !errors.As(err, &wrong) {
		return at(body, 0, engine.CodeRequest, "malformed JSON: %v", err)
	}
	offset := int(wrong.Offset) // just behind the byte that does not fit, or the end
	if !strings.HasPrefix(wrong.Error(), "unexpected end") {
		offset--
	}
	return at(body, min(max(offset, 0), len(body)), engine.CodeRequest, "malformed JSON: %v", wrong)
}

// depthPassed returns where body goes deeper than MaxDepth, -1 if it does not. body may be malformed.
func depthPassed(body []byte) int {
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth++; depth > MaxDepth {
				return i
			}
		case ']', '}':
			depth--
		}
	}
	return -1
}

// ParseObject reads a document that is an object: Parse, then Member.Object.
func ParseObject(body []byte) (Object, error) {
	m, err := Parse(body)
	if err != nil {
		return nil, err
	}
	return m.Object()
}

// ParseSets reads a document that is an object, or an array of at most most objects. array says which it was.
func ParseSets(body []byte, most int) (sets []Object, array bool, err error) {
	m, err := Parse(body)
	if err != nil {
		return nil, false, err
	}
	switch m.Form {
	case FormArray:
		elements, err := m.Elements(most)
		if err != nil {
			return nil, true, err
		}
		sets = make([]Object, len(elements))
		for i := range elements {
			if sets[i], err = elements[i].Object(); err != nil {
				return nil, true, err
			}
		}
		return sets, true, nil
	case FormObject, FormBlob:
		o, err := m.Object()
		return []Object{o}, false, err
	}
	return nil, false, m.Errorf(engine.CodeRequest, "an object, or an array of objects, is expected, not %s", m.Form)
}

// The functions below walk bytes that are known to be JSON.

// skipSpace returns where white space (RFC 8259, 2) ends that begins at i.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns the end of the value that begins at i.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '[', '{':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '[', '{':
				depth++
			case ']', '}':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(b) && b[i] > ' ' && b[i] != ',' && b[i] != ']' && b[i] != '}' {
		i++
	}
	return i
}

// unquote returns the text of a string with its quotes, in memory of its own. wrong is an index into raw, -1: there is nothing wrong. Half a
// surrogate pair stands for no character (RFC 8259, 8.2); encoding/json would mend it.
func unquote(raw []byte) (text []byte, wrong int) {
	inside := raw[1 : len(raw)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return append(make([]byte, 0, len(inside)), inside...), -1
	}
	for i := 0; i < len(inside); i++ {
		if inside[i] != '\\' {
			continue
		}
		if i++; inside[i] != 'u' {
			continue
		}
		switch half := unhex(inside[i+1:]); {
		case 0xD800 <= half && half < 0xDC00:
			rest := inside[i+5:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return nil, i
			}
			if low := unhex(rest[2:]); low < 0xDC00 || low > 0xDFFF {
				return nil, i
			}
			i += 10
		case 0xDC00 <= half && half <= 0xDFFF:
			return nil, i
		default:
			i += 4
		}
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		panic(fmt.Sprintf("wire: %q was valid JSON, and is not: %v", raw, err))
	}
	return []byte(s), -1
}

// unquoteName is unquote for a name, most of which have nothing to unquote.
func unquoteName(raw []byte) (name string, wrong int) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), -1
	}
	text, wrong := unquote(raw)
	return string(text), wrong
}

// unhex returns the value of the four digits that b begins with.
func unhex(b []byte) (v rune) {
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		v = v<<4 | rune(c)
	}
	return v
}
