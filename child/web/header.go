package web

import (
	"iter"
	"strings"
)

// A Field is one field line of a header or trailer section (RFC 9110, 5).
type Field struct {
	Name  string // as it was received or set; compared without regard to case
	Value string // without surrounding white space
}

// A Header is an ordered list of field lines. Names compare without regard to case (RFC 9110, 5.1). The zero value is empty and
// ready. A Header belongs to its Request or Response and may be used by one goroutine at a time.
type Header struct {
	fields []Field
}

// Get returns the value of the first field called name, or "".
func (h *Header) Get(name string) string {
	for i := range h.fields {
		if equalFold(h.fields[i].Name, name) {
			return h.fields[i].Value
		}
	}
	return ""
}

// Has reports whether there is a field called name, even an empty one.
func (h *Header) Has(name string) bool {
	for i := range h.fields {
		if equalFold(h.fields[i].Name, name) {
			return true
		}
	}
	return false
}

// Values returns the values of all fields called name, in order.
func (h *Header) Values(name string) []string {
	var values []string
	for i := range h.fields {
		if equalFold(h.fields[i].Name, name) {
			values = append(values, h.fields[i].Value)
		}
	}
	return values
}

// HasToken reports whether token is an element of the field called name, a comma-separated list in one line or several, without regard to
// case (RFC 9110, 5.6.1), as in HasToken("Connection", "upgrade"). Parameters of an element do not count: "gzip;q=0" has "gzip".
func (h *Header) HasToken(name, token string) bool {
	for i := range h.fields {
		if !equalFold(h.fields[i].Name, name) {
			continue
		}
		for element := range strings.SplitSeq(h.fields[i].Value, ",") {
			element, _, _ = strings.Cut(element, ";")
			if strings.EqualFold(trim(element), token) {
				return true
			}
		}
	}
	return false
}

// Add appends a field line.
func (h *Header) Add(name, value string) {
	h.fields = append(h.fields, Field{Name: name, Value: value})
}

// Set replaces every field called name by one.
func (h *Header) Set(name, value string) {
	for i := range h.fields {
		if equalFold(h.fields[i].Name, name) {
			h.fields[i].Value = value
			h.deleteFrom(i+1, name)
			return
		}
	}
	h.Add(name, value)
}

// Del removes every field called name.
func (h *Header) Del(name string) { h.deleteFrom(0, name) }

func (h *Header) deleteFrom(from int, name string) {
	kept := h.fields[:from]
	for _, f := range h.fields[from:] {
		if !equalFold(f.Name, name) {
			kept = append(kept, f)
		}
	}
	clear(h.fields[len(kept):])
	h.fields = kept
}

// All yields name and value of every field line, in order.
func (h *Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range h.fields {
			if !yield(h.fields[i].Name, h.fields[i].Value) {
				return
			}
		}
	}
}

// Len returns the number of field lines.
func (h *Header) Len() int { return len(h.fields) }

// At returns field line i, counted from 0, in the order of arrival.
func (h *Header) At(i int) Field { return h.fields[i] }

// Reset removes all fields and keeps the memory for those to come.
func (h *Header) Reset() {
	clear(h.fields)
	h.fields = h.fields[:0]
}

// Clone returns a copy that shares nothing with h but the strings.
func (h *Header) Clone() Header { return Header{fields: append([]Field(nil), h.fields...)} }

// equalFold compares two field names. Names are tokens, thus ASCII; the lengths differ nearly always when the names do.
func equalFold(a, b string) bool { return len(a) == len(b) && (a == b || strings.EqualFold(a, b)) }
