package web

import (
	"net/http"
	"strings"
	"time"
)

// A Representation is what a GET of a resource would send, as far as conditions and ranges need to know it (RFC 9110, 8.8). The nil
// *Representation is one that does not exist, as before the first PUT.
type Representation struct {
	Size int64  // of the content, bytes
	ETag string // with its quotes, and W/ if it is weak; "": none

	lastModified string // as a field value; "": unknown
	modified     int64  // lastModified in seconds since 1970
	settled      bool   // lastModified is a strong validator
}

// SetModified sets the time of the last change; whole seconds count. settled says that the change is so long ago that no other can have
// the same time: only then may a client complete a part that it has by this date (RFC 9110, 8.8.2.2).
func (p *Representation) SetModified(t time.Time, settled bool) {
	p.modified = t.Unix()
	p.lastModified = time.Unix(p.modified, 0).UTC().Format(http.TimeFormat)
	p.settled = settled
}

// LastModified returns the value of the Last-Modified field, "" if the time is unknown.
func (p *Representation) LastModified() string { return p.lastModified }

// A Verdict is what the conditions of a request make of its answer.
type Verdict struct {
	// Status is 200 when the request is to be done, and for GET and HEAD 206 (send Ranges), 304 (Not Modified), 412 (Precondition Failed)
	// or 416 (Range Not Satisfiable); for other methods 412.
	Status int
	// Ranges are the parts of a 206, without overlap and in the order in which they are sent.
	Ranges []Range
}

// condition is a set of the fields that Evaluate looks at.
type condition uint8

const (
	hasRange condition = 1 << iota
	hasIfMatch
	hasIfNoneMatch
	hasIfModifiedSince
	hasIfUnmodifiedSince
)

// conditions returns which of them the request has; most have none.
func conditions(h *Header) condition {
	var c condition
	for i := range h.fields {
		name := h.fields[i].Name
		switch len(name) { // all names differ in length
		case len("Range"):
			c |= named(name, "Range", hasRange)
		case len("If-Match"):
			c |= named(name, "If-Match", hasIfMatch)
		case len("If-None-Match"):
			c |= named(name, "If-None-Match", hasIfNoneMatch)
		case len("If-Modified-Since"):
			c |= named(name, "If-Modified-Since", hasIfModifiedSince)
		case len("If-Unmodified-Since"):
			c |= named(name, "If-Unmodified-Since", hasIfUnmodifiedSince)
		}
	}
	return c
}

func named(name, want string, c condition) condition {
	if equalFold(name, want) {
		return c
	}
	return 0
}

// Evaluate applies the preconditions of r to p, the representation that it asks for, in their order of precedence (RFC 9110, 13.2.2), and
// for GET the range (14.2). It is also for methods that change something: a PUT whose verdict is 412 must not be done. Methods that do
// nothing with a representation have no conditions (13.2.1). It does not allocate but for ranges and for dates in the obsolete formats.
func (p *Representation) Evaluate(r *Request) Verdict {
	h := &r.Header
	c := conditions(h)
	if c == 0 || r.Method == "OPTIONS" || r.Method == "TRACE" || r.Method == "CONNECT" {
		return Verdict{Status: 200}
	}
	safe := r.Method == "GET" || r.Method == "HEAD"
	if c&hasIfMatch != 0 {
		if !p.tagIn(h, "If-Match", true) {
			return Verdict{Status: 412}
		}
	} else if c&hasIfUnmodifiedSince != 0 && p.dated() {
		if date, ok := dateOf(h, "If-Unmodified-Since"); ok && p.modified > date {
			return Verdict{Status: 412}
		}
	}
	if c&hasIfNoneMatch != 0 {
		if p.tagIn(h, "If-None-Match", false) {
			if safe {
				return Verdict{Status: 304}
			}
			return Verdict{Status: 412}
		}
	} else if c&hasIfModifiedSince != 0 && safe && p.dated() && !p.modifiedSince(h) {
		return Verdict{Status: 304}
	}
	if c&hasRange != 0 && r.Method == "GET" && p != nil && p.rangeWanted(h) {
		return p.ranged(h)
	}
	return Verdict{Status: 200}
}

func (p *Representation) dated() bool { return p != nil && p.lastModified != "" }

// modifiedSince evaluates If-Modified-Since (RFC 9110, 13.1.3).
func (p *Representation) modifiedSince(h *Header) bool {
	value, lines := only(h, "If-Modified-Since")
	if lines == 1 && value == p.lastModified { // as browsers send it back: nothing to parse
		return false
	}
	date, ok := dateOf(h, "If-Modified-Since")
	return !ok || p.modified > date
}

// rangeWanted evaluates If-Range (RFC 9110, 13.1.5); without it a range is wanted in any case.
func (p *Representation) rangeWanted(h *Header) bool {
	value, lines := only(h, "If-Range")
	switch {
	case lines == 0:
		return true
	case lines > 1:
		return false
	case strings.HasPrefix(value, `"`) || strings.HasPrefix(value, `W/`):
		return value == p.ETag && value[0] == '"'
	}
	date, ok := parseDate(value)
	return ok && p.dated() && p.settled && date == p.modified
}

// ranged applies the Range field. What is no set of byte ranges is ignored (RFC 9110, 14.2).
func (p *Representation) ranged(h *Header) Verdict {
	value, lines := only(h, "Range")
	if lines != 1 {
		return Verdict{Status: 200}
	}
	ranges, satisfiable := parseRanges(value, p.Size)
	switch {
	case !satisfiable:
		return Verdict{Status: 416}
	case len(ranges) == 0:
		return Verdict{Status: 200}
	}
	return Verdict{Status: 206, Ranges: ranges}
}

// tagIn reports whether a list of entity tags, in all lines of the field, has the representation's or is "*". strong selects the
// comparison (RFC 9110, 8.8.3.2). A malformed list ends where it is malformed.
func (p *Representation) tagIn(h *Header, name string, strong bool) bool {
	if p == nil {
		return false
	}
	for i := range h.fields {
		if f := &h.fields[i]; equalFold(f.Name, name) && tagListed(f.Value, p.ETag, strong) {
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
		end := tagEnd(tag)
		if end == 0 {
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

// tagEnd returns the length of the opaque tag that s begins with, quotes included, or 0 if there is none (RFC 9110, 8.8.3).
func tagEnd(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c <= ' ' || c == 0x7f:
			return 0
		}
	}
	return 0
}

// only returns the value of a field that must not be repeated, and in how many lines it is there.
func only(h *Header, name string) (value string, lines int) {
	for i := range h.fields {
		if f := &h.fields[i]; equalFold(f.Name, name) {
			value = f.Value
			lines++
		}
	}
	return trim(value), lines
}

// dateOf returns the date of a field in seconds since 1970; ok is false when there is none, or more than one (RFC 9110, 13.1.3).
func dateOf(h *Header, name string) (seconds int64, ok bool) {
	value, lines := only(h, name)
	if lines != 1 {
		return 0, false
	}
	return parseDate(value)
}

// parseDate reads a date in one of the three formats of RFC 9110, 5.6.7. The time zone of all is GMT; the one without a comma does not
// say so.
func parseDate(s string) (seconds int64, ok bool) {
	if strings.Contains(s, ",") && !strings.HasSuffix(s, " GMT") {
		return 0, false // package net/http would take other zones, for GMT
	}
	date, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	return date.Unix(), true
}

func trim(s string) string { return strings.Trim(s, " \t") }
