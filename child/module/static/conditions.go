package static

import (
	"net/http"
	"strings"

	"github.com/tined/tined/child/web"
)

// A verdict is what the conditions of a request make of it: the status, and for a 206 the range of bytes.
type verdict struct {
	status    int // 200, 206, 304, 412 or 416
	offset, n int64
}

// asked is a set of the fields that evaluate looks at.
type asked uint8

const (
	askedRange asked = 1 << iota
	askedIfMatch
	askedIfNoneMatch
	askedIfModifiedSince
	askedIfUnmodifiedSince
)

// conditions returns which of them the request has; most have none.
func conditions(h *web.Header) asked {
	var a asked
	for i := range h.Len() {
		name := h.At(i).Name
		switch len(name) { // all names differ in length
		case len("Range"):
			a |= fold(name, "Range", askedRange)
		case len("If-Match"):
			a |= fold(name, "If-Match", askedIfMatch)
		case len("If-None-Match"):
			a |= fold(name, "If-None-Match", askedIfNoneMatch)
		case len("If-Modified-Since"):
			a |= fold(name, "If-Modified-Since", askedIfModifiedSince)
		case len("If-Unmodified-Since"):
			a |= fold(name, "If-Unmodified-Since", askedIfUnmodifiedSince)
		}
	}
	return a
}

func fold(name, want string, a asked) asked {
	if name == want || name[0]|0x20 == want[0]|0x20 && strings.EqualFold(name, want) {
		return a
	}
	return 0
}

// evaluate applies the preconditions in their order of precedence (RFC 9110, 13.2.2), then the range (14.2).
func (e *entry) evaluate(r *web.Request, a asked) verdict {
	h := &r.Header
	if a&askedIfMatch != 0 {
		if !e.tagIn(h, "If-Match", true) {
			return verdict{status: 412}
		}
	} else if a&askedIfUnmodifiedSince != 0 {
		if date, ok := dateOf(h, "If-Unmodified-Since"); ok && e.modified > date {
			return verdict{status: 412}
		}
	}
	if a&askedIfNoneMatch != 0 {
		if e.tagIn(h, "If-None-Match", false) {
			return verdict{status: 304}
		}
	} else if a&askedIfModifiedSince != 0 {
		if h.Get("If-Modified-Since") == e.lastModified { // as browsers send it back: nothing to parse
			return verdict{status: 304}
		}
		if date, ok := dateOf(h, "If-Modified-Since"); ok && e.modified <= date {
			return verdict{status: 304}
		}
	}
	if a&askedRange != 0 && r.Method == "GET" && e.inRange(h) {
		return e.ranged(h)
	}
	return verdict{status: 200}
}

// inRange evaluates If-Range (RFC 9110, 13.1.5); without it a range is wanted in any case.
func (e *entry) inRange(h *web.Header) bool {
	if !h.Has("If-Range") {
		return true
	}
	value := trim(h.Get("If-Range"))
	if strings.HasPrefix(value, `"`) || strings.HasPrefix(value, `W/`) {
		return value == e.etag && value[0] == '"'
	}
	date, ok := dateOf(h, "If-Range")
	return ok && e.datable && date == e.modified
}

// ranged applies the Range field. What is not one range of bytes is ignored, as RFC 9110, 14.2 allows.
func (e *entry) ranged(h *web.Header) verdict {
	whole := verdict{status: 200}
	var value string
	for i, lines := 0, 0; i < h.Len(); i++ {
		if f := h.At(i); strings.EqualFold(f.Name, "Range") {
			if value = f.Value; lines > 0 {
				return whole
			}
			lines++
		}
	}
	unit, set, ok := strings.Cut(value, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return whole
	}
	var spec string
	for element := range strings.SplitSeq(set, ",") {
		if element = trim(element); element == "" {
			continue // an empty list element (RFC 9110, 5.6.1.2)
		}
		if spec != "" {
			return whole // several ranges
		}
		spec = element
	}
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return whole
	}
	if first == "" {
		n, ok := number(last)
		switch {
		case !ok:
			return whole
		case n == 0:
			return verdict{status: 416}
		case e.size == 0:
			return whole // satisfiable, but no Content-Range can say so
		}
		n = min(n, e.size)
		return verdict{status: 206, offset: e.size - n, n: n}
	}
	from, ok := number(first)
	if !ok {
		return whole
	}
	to := e.size - 1
	if last != "" {
		n, ok := number(last)
		if !ok || n < from {
			return whole
		}
		to = min(to, n)
	}
	if from >= e.size {
		return verdict{status: 416}
	}
	return verdict{status: 206, offset: from, n: to - from + 1}
}

// number reads 1*DIGIT; what does not fit is a very large number.
func number(s string) (n int64, ok bool) {
	const most = 1 << 62
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > most/10-1 {
			n = most / 10 // stays there: larger than any file
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, s != ""
}

// tagIn reports whether a list of entity tags, in all lines of the field, has the entry's or is "*". strong selects the comparison
// (RFC 9110, 8.8.3.2). A malformed list ends where it is malformed.
func (e *entry) tagIn(h *web.Header, name string, strong bool) bool {
	for i := range h.Len() {
		if f := h.At(i); strings.EqualFold(f.Name, name) && tagListed(f.Value, e.etag, strong) {
			return true
		}
	}
	return false
}

func tagListed(list, etag string, strong bool) bool {
	if trim(list) == "*" {
		return true
	}
	opaque, isWeak := strings.CutPrefix(etag, "W/")
	for {
		list = strings.TrimLeft(list, " \t,")
		tag, weak := strings.CutPrefix(list, "W/")
		if tag == "" || tag[0] != '"' {
			return false
		}
		end := strings.IndexByte(tag[1:], '"') + 2
		if end < 2 {
			return false
		}
		if tag[:end] == opaque && !(strong && (weak || isWeak)) {
			return true
		}
		list = strings.TrimLeft(tag[end:], " \t")
		if list != "" && list[0] != ',' {
			return false
		}
	}
}

// dateOf returns the date of a field in seconds since 1970; ok is false when there is none, or more than one (RFC 9110, 13.1.3).
func dateOf(h *web.Header, name string) (seconds int64, ok bool) {
	value := ""
	for i := range h.Len() {
		if f := h.At(i); strings.EqualFold(f.Name, name) {
			if value != "" {
				return 0, false
			}
			value = f.Value
		}
	}
	if value == "" {
		return 0, false
	}
	date, err := http.ParseTime(trim(value))
	if err != nil {
		return 0, false
	}
	return date.Unix(), true
}

func trim(s string) string { return strings.Trim(s, " \t") }
