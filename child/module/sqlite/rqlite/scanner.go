package rqlite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner pulls the parts of a JSON text (RFC 8259) out of a reader, without holding the whole of it.
type scanner struct {
	r *bufio.Reader
	// max bounds one string or number in bytes.
	max int
}

// maxDepth bounds arrays and objects that are skipped.
const maxDepth = 32

var (
	errSyntax = errors.New("the answer is no JSON that rqlite sends")
	errLong   = errors.New("a value of the answer is over its bound")
)

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errSyntax, fmt.Sprintf(format, args...))
}

// read returns the next byte. An answer that ends too early is an error of the connection, not of the syntax.
func (s *scanner) read() (byte, error) {
	c, err := s.r.ReadByte()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return c, err
}

// peek returns the first byte of the next part, and leaves it there.
func (s *scanner) peek() (byte, error) {
	for {
		c, err := s.read()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, s.r.UnreadByte()
		}
	}
}

func (s *scanner) expect(want byte) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c != want {
		return syntax("%q instead of %q", c, want)
	}
	_, err = s.read()
	return err
}

// more goes to the next element of an array or member of an object that ends with end; first: there was none before it.
func (s *scanner) more(end byte, first bool) (bool, error) {
	c, err := s.peek()
	if err != nil {
		return false, err
	}
	if c == end {
		_, err = s.read()
		return false, err
	}
	if first {
		return true, nil
	}
	if err := s.expect(','); err != nil {
		return false, err
	}
	// A comma before the end is an error of what follows: no part begins with it.
	return true, nil
}

// key reads a member's name and its colon.
func (s *scanner) key() (string, error) {
	name, _, err := s.str(nil)
	if err != nil {
		return "", err
	}
	return string(name), s.expect(':')
}

// str appends a string's text. lossy: it has \ufffd, by which Go's encoder says that bytes were no UTF-8. U+FFFD itself is sent as it is.
func (s *scanner) str(dst []byte) (text []byte, lossy bool, err error) {
	if err := s.expect('"'); err != nil {
		return dst, false, err
	}
	begin := len(dst)
	for {
		c, err := s.read()
		if err != nil {
			return dst, lossy, err
		}
		switch {
		case c == '"':
			return dst, lossy, nil
		case c < ' ':
			return dst, lossy, syntax("a control character in a string")
		case c == '\\':
			var bad bool
			if dst, bad, err = s.escape(dst); err != nil {
				return dst, lossy, err
			}
			lossy = lossy || bad
		default:
			dst = append(dst, c)
		}
		if len(dst)-begin > s.max {
			return dst, lossy, errLong
		}
	}
}

func (s *scanner) escape(dst []byte) (text []byte, lossy bool, err error) {
	c, err := s.read()
	if err != nil {
		return dst, false, err
	}
	switch c {
	case '"', '\\', '/':
		return append(dst, c), false, nil
	case 'b':
		return append(dst, '\b'), false, nil
	case 'f':
		return append(dst, '\f'), false, nil
	case 'n':
		return append(dst, '\n'), false, nil
	case 'r':
		return append(dst, '\r'), false, nil
	case 't':
		return append(dst, '\t'), false, nil
	case 'u':
		r, err := s.hex4()
		if err != nil {
			return dst, false, err
		}
		if utf16.IsSurrogate(r) {
			low, err := s.lowSurrogate()
			if err != nil {
				return dst, false, err
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return dst, false, syntax("half a surrogate pair")
			}
			return utf8.AppendRune(dst, r), false, nil
		}
		return utf8.AppendRune(dst, r), r == utf8.RuneError, nil
	}
	return dst, false, syntax("an unknown escape")
}

func (s *scanner) lowSurrogate() (rune, error) {
	for _, want := range []byte{'\\', 'u'} {
		c, err := s.read()
		if err != nil {
			return 0, err
		}
		if c != want {
			return 0, syntax("half a surrogate pair")
		}
	}
	return s.hex4()
}

func (s *scanner) hex4() (rune, error) {
	var r rune
	for range 4 {
		c, err := s.read()
		if err != nil {
			return 0, err
		}
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, syntax("an unknown escape")
		}
	}
	return r, nil
}

// bare appends a number or a word: what reaches to the next separator. Who reads it checks it.
func (s *scanner) bare(dst []byte) ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return dst, err
	}
	begin := len(dst)
	for {
		c, err := s.r.ReadByte()
		if err == io.EOF {
			break
		}
		if err != nil {
			return dst, err
		}
		if c < '0' && c != '+' && c != '-' && c != '.' || c == '[' || c == ']' || c == '}' || c == '{' || c == ':' || c > 'z' {
			if err := s.r.UnreadByte(); err != nil {
				return dst, err
			}
			break
		}
		if dst = append(dst, c); len(dst)-begin > min(s.max, 512) {
			return dst, errLong
		}
	}
	if len(dst) == begin {
		return dst, syntax("a value is missing")
	}
	return dst, nil
}

func (s *scanner) word(want string) error {
	text, err := s.bare(nil)
	if err == nil && string(text) != want {
		err = syntax("%q instead of %q", text, want)
	}
	return err
}

func (s *scanner) int() (int64, error) {
	text, err := s.bare(nil)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, syntax("%q is no integer of 64 bits", text)
	}
	return n, nil
}

func (s *scanner) float() (float64, error) {
	text, err := s.bare(nil)
	if err != nil {
		return 0, err
	}
	return parseFloat(text)
}

// parseFloat takes what JSON takes for a number: no Inf, NaN, hexadecimal or '_'.
func parseFloat(text []byte) (float64, error) {
	for _, c := range text {
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			return 0, syntax("%q is no number", text)
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, syntax("%q is no number", text)
	}
	return f, nil
}

// skip passes over any value.
func (s *scanner) skip(depth int) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return syntax("deeper than %d", maxDepth)
	}
	switch c {
	case '"':
		_, _, err = s.str(nil)
		return err
	case '[':
		return s.array(func() error { return s.skip(depth + 1) })
	case '{':
		return s.object(func(string) error { return s.skip(depth + 1) })
	case 'n':
		return s.word("null")
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	}
	_, err = s.float()
	return err
}

// array calls element at the begin of each.
func (s *scanner) array(element func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		if more, err := s.more(']', first); err != nil || !more {
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// object calls member at the begin of each value.
func (s *scanner) object(member func(name string) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		if more, err := s.more('}', first); err != nil || !more {
			return err
		}
		name, err := s.key()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}
