package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A Form is what a value in a JSON document is, by its look.
type Form uint8

// The forms. A number without fraction and exponent is an integer.
const (
	FormNull Form = iota
	FormBoolean
	FormInteger
	FormReal
	FormText
	FormBlob // {"$base64":"…"} and no other member
	FormArray
	FormObject
)

// String returns f with its article, for sentences.
func (f Form) String() string {
	return [...]string{"null", "a boolean", "an integer", "a number", "a string", `a {"$base64":"…"}`, "an array", "an object"}[f]
}

// A Member is a value of a document: a member of an object, an element of an array, or the document itself. It may be copied.
type Member struct {
	Name   string // in its object; "" elsewhere
	Form   Form
	Raw    json.RawMessage // as it was sent; a part of the document
	body   []byte
	offset int // of Raw in body
}

// An Object is the members of an object in their order. No name is there twice.
type Object []Member

// Get returns the member called name, nil if there is none.
func (o Object) Get(name string) *Member {
	for i := range o {
		if o[i].Name == name {
			return &o[i]
		}
	}
	return nil
}

func member(name string, body []byte, start, end int) Member {
	raw := body[start:end:end]
	return Member{Name: name, Form: formOf(raw), Raw: raw, body: body, offset: start}
}

func formOf(raw []byte) Form {
	switch raw[0] {
	case 'n':
		return FormNull
	case 't', 'f':
		return FormBoolean
	case '"':
		return FormText
	case '[':
		return FormArray
	case '{':
		if start, _ := base64String(raw); start > 0 {
			return FormBlob
		}
		return FormObject
	}
	if bytes.ContainsAny(raw, ".eE") {
		return FormReal
	}
	return FormInteger
}

// base64String returns where the string in {"$base64":"…"} begins and ends; 0: the object is another.
func base64String(raw []byte) (start, end int) {
	i := skipSpace(raw, 1)
	if raw[i] != '"' {
		return 0, 0
	}
	end = skipString(raw, i)
	if end-i > len(`"$base64"`)*len(`\u0000`) {
		return 0, 0
	}
	if name, wrong := unquote(raw[i:end]); wrong >= 0 || string(name) != "$base64" {
		return 0, 0
	}
	start = skipSpace(raw, skipSpace(raw, end)+1)
	if raw[start] != '"' {
		return 0, 0
	}
	if end = skipString(raw, start); raw[skipSpace(raw, end)] != '}' {
		return 0, 0
	}
	return start, end
}

// Errorf returns an *engine.Error whose message says where in the document m is, and its name.
func (m *Member) Errorf(code engine.Code, format string, args ...any) *engine.Error {
	return m.errorAt(0, code, format, args...)
}

// errorAt is Errorf for the byte of Raw with the number i.
func (m *Member) errorAt(i int, code engine.Code, format string, args ...any) *engine.Error {
	if m.Name != "" {
		format = "%s: " + format
		args = append([]any{short(m.Name)}, args...)
	}
	return at(m.body, m.offset+i, code, format, args...)
}

// shown is how many bytes of a client's name or number a message repeats.
const shown = 64

// short returns s in quotes, and its beginning only if it is long.
func short(s string) string {
	if len(s) <= shown {
		return strconv.Quote(s)
	}
	n := shown
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return strconv.Quote(s[:n]) + "…"
}

// Value returns m as a value of SQL, which shares no memory with the document. Booleans are 1 and 0, integers are exact, other numbers are
// reals. It fails for arrays, objects, integers beyond 64 bits, reals beyond the greatest, strings with half a surrogate pair, and
// a "$base64" that is none (Base64).
func (m *Member) Value() (engine.Value, error) {
	switch m.Form {
	case FormNull:
		return engine.Value{}, nil
	case FormBoolean:
		return engine.IntegerOf(int64(len("false") - len(m.Raw))), nil
	case FormInteger:
		i, err := strconv.ParseInt(string(m.Raw), 10, 64)
		if err != nil {
			return engine.Value{}, m.Errorf(engine.CodeParameter, "the integer %s is beyond 64 bits (%d to %d)", m.number(), int64(-1<<63), int64(1<<63-1))
		}
		return engine.IntegerOf(i), nil
	case FormReal:
		f, err := strconv.ParseFloat(string(m.Raw), 64)
		if err != nil {
			return engine.Value{}, m.Errorf(engine.CodeParameter, "the number %s is beyond what 64 bits of floating point hold", m.number())
		}
		return engine.RealOf(f), nil
	case FormText:
		text, wrong := unquote(m.Raw)
		if wrong >= 0 {
			return engine.Value{}, m.errorAt(wrong, engine.CodeParameter, "half of a surrogate pair is no character")
		}
		return engine.Value{Kind: engine.Text, Bytes: text}, nil
	case FormBlob:
		start, end := base64String(m.Raw)
		coded, wrong := unquote(m.Raw[start:end])
		if wrong >= 0 {
			return engine.Value{}, m.errorAt(start, engine.CodeParameter, "this is not base64")
		}
		b, err := Base64(string(coded))
		if err != nil {
			return engine.Value{}, m.errorAt(start, engine.CodeParameter, "%v", err)
		}
		return engine.BlobOf(b), nil
	}
	return engine.Value{}, m.Errorf(engine.CodeParameter, "a value is expected, not %s", m.Form)
}

// number returns Raw, or the beginning of a long one.
func (m *Member) number() string {
	if len(m.Raw) <= shown {
		return string(m.Raw)
	}
	return string(m.Raw[:shown]) + "…"
}

// Object returns the members of an object. A {"$base64":"…"} is one too, if an object is what is asked for. It fails if m is no object, has a
// name twice or more than MaxMembers.
func (m *Member) Object() (Object, error) {
	if m.Form != FormObject && m.Form != FormBlob {
		return nil, m.Errorf(engine.CodeRequest, "an object is expected, not %s", m.Form)
	}
	o := make(Object, 0, 4)
	var seen map[string]bool
	b := m.Raw
	for i := skipSpace(b, 1); b[i] != '}'; {
		if b[i] == ',' {
			i = skipSpace(b, i+1)
		}
		end := skipString(b, i)
		name, wrong := unquoteName(b[i:end])
		if wrong >= 0 {
			return nil, m.errorAt(i+wrong, engine.CodeRequest, "half of a surrogate pair is no character")
		}
		if len(o) == MaxMembers {
			return nil, m.errorAt(i, engine.CodeTooLarge, "more than %d members", MaxMembers)
		}
		if o.known(&seen, name) {
			return nil, m.errorAt(i, engine.CodeRequest, "the name %s is there twice", short(name))
		}
		i = skipSpace(b, skipSpace(b, end)+1)
		end = skipValue(b, i)
		o = append(o, member(name, m.body, m.offset+i, m.offset+end))
		i = skipSpace(b, end)
	}
	return o, nil
}

// few is how many names are compared one by one.
const few = 12

// known reports whether o has the name; if not, it will have it next. *seen are the names of o once there are more than a few.
func (o Object) known(seen *map[string]bool, name string) bool {
	if len(o) < few {
		return o.Get(name) != nil
	}
	if *seen == nil {
		*seen = make(map[string]bool, 2*len(o))
		for _, m := range o {
			(*seen)[m.Name] = true
		}
	}
	if (*seen)[name] {
		return true
	}
	(*seen)[name] = true
	return false
}

// Elements returns the elements of an array. It fails if m is no array or has more than most.
func (m *Member) Elements(most int) ([]Member, error) {
	if m.Form != FormArray {
		return nil, m.Errorf(engine.CodeRequest, "an array is expected, not %s", m.Form)
	}
	var elements []Member
	b := m.Raw
	for i := skipSpace(b, 1); b[i] != ']'; {
		if b[i] == ',' {
			i = skipSpace(b, i+1)
		}
		if len(elements) >= most {
			return nil, m.errorAt(i, engine.CodeTooLarge, "more than %d elements", most)
		}
		end := skipValue(b, i)
		elements = append(elements, member("", m.body, m.offset+i, m.offset+end))
		i = skipSpace(b, end)
	}
	return elements, nil
}

var errBase64 = errors.New("this is not base64 (RFC 4648, 4 or 5)")

// Base64 reads base64 in its usual alphabet or in the one for URLs (RFC 4648, 4 and 5), with or without padding. It takes no line breaks and
// no bits that are lost (RFC 4648, 3.3 and 3.5).
func Base64(s string) ([]byte, error) {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	unpadded := strings.TrimRight(s, "=")
	if padding := len(s) - len(unpadded); padding > 0 && (padding > 2 || len(s)%4 != 0) || strings.ContainsAny(s, "\r\n") {
		return nil, errBase64
	}
	b, err := encoding.Strict().DecodeString(unpadded)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}
