package web

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// A Pattern says which requests a route serves: "[METHOD ]/path". Its syntax is
// that of net/http.ServeMux, without a host.
//
//	/exact/path        this path and no other
//	/images/           this path and everything below it
//	/posts/{id}        one segment, never empty, as parameter id
//	/files/{path...}   everything below /files/, as parameter path
//	/posts/{$}         /posts/ itself, nothing below it
//	GET /posts/{id}    GET and HEAD only; without a method: every method
//
// A wildcard is a whole segment. Literal segments are compared after percent-decoding,
// so "/caf%C3%A9" and "/café" are one pattern; a literal brace is written %7B.
//
// A Pattern comes from ParsePattern only, and is read-only after that.
type Pattern struct {
	Method string // "" fits every method
	Path   string // as written, still percent-encoded

	segments []segment // never empty in a parsed pattern
	names    []string  // of the wildcards that have one, from left to right
	prefix   int       // length of Prefix
	depth    int       // number of '/' in Prefix
	key      string
}

type segmentKind uint8

const (
	literalSegment segmentKind = iota
	singleSegment              // {name}
	restSegment                // {name...}, or the anonymous one of a trailing slash
	endSegment                 // {$}
)

// A segment is what stands between two slashes of a pattern.
type segment struct {
	kind segmentKind
	text string // a literal's decoded text, or a wildcard's name
}

// A PatternError says what is wrong with a pattern, where, and what to write instead.
type PatternError struct {
	Pattern string // as given to ParsePattern
	Column  int    // of the first wrong byte, in bytes, from 1
	Message string
	Cure    string // may be empty
}

// Error puts all that is known on one line.
func (e *PatternError) Error() string {
	s := fmt.Sprintf("pattern %q, column %d: %s", e.Pattern, e.Column, e.Message)
	if e.Cure != "" {
		s += "; " + e.Cure
	}
	return s
}

// ParsePattern reads a pattern. Every error is a *PatternError.
func ParsePattern(s string) (Pattern, error) {
	method, at, err := parseMethod(s)
	if err != nil {
		return Pattern{}, err
	}
	p := Pattern{Method: method, Path: s[at:]}
	if err := p.parsePath(s, at); err != nil {
		return Pattern{}, err
	}
	p.key = p.buildKey()
	return p, nil
}

// parseMethod returns the method and the offset at which the path begins.
func parseMethod(s string) (method string, at int, err error) {
	fail := func(offset int, message, cure string) (string, int, error) {
		return "", 0, &PatternError{s, offset + 1, message, cure}
	}
	if s == "" {
		return fail(0, "it is empty", `write "/" for every path`)
	}
	if i := strings.IndexAny(s, " \t"); i >= 0 && !strings.Contains(s[:i], "/") {
		method = s[:i]
		at = len(s) - len(strings.TrimLeft(s[i:], " \t"))
		if i == 0 {
			return fail(0, "it begins with a blank", fmt.Sprintf("write %q", s[at:]))
		}
		for k := range len(method) {
			if !isTokenByte(method[k]) {
				return fail(k, fmt.Sprintf("%q cannot be part of a method", method[k:k+1]), `write "METHOD /path"`)
			}
		}
		if upper := strings.ToUpper(method); upper != method {
			return fail(0, fmt.Sprintf("the method %q is not in upper case", method),
				fmt.Sprintf("write %q", upper+" "+s[at:]))
		}
	}
	rest := s[at:]
	switch {
	case strings.HasPrefix(rest, "/"):
		return method, at, nil
	case rest == "" || method == "" && isUpperToken(rest):
		return fail(len(s), "the path is missing", fmt.Sprintf("write %q", strings.TrimSpace(s)+" /"))
	case !strings.Contains(rest, "/") && !strings.Contains(rest, "."):
		return fail(at, "the path does not begin with a slash", fmt.Sprintf("write %q", s[:at]+"/"+rest))
	default:
		host, path, _ := strings.Cut(rest, "/")
		return fail(at, fmt.Sprintf("it names the host %q", host),
			fmt.Sprintf("use a site block's hosts, and write %q", s[:at]+"/"+path))
	}
}

// parsePath fills the fields that follow from p.Path, which begins at offset at of s.
func (p *Pattern) parsePath(s string, at int) error {
	fail := func(offset int, message, cure string) error {
		return &PatternError{s, at + offset + 1, message, cure}
	}
	path := p.Path
	for i := range len(path) {
		switch c := path[i]; {
		case c == '?' || c == '#':
			return fail(i, fmt.Sprintf("%q ends a path", path[i:i+1]),
				fmt.Sprintf("a pattern sees the path only; write %%%02X for the character itself", c))
		case c == ' ':
			return fail(i, "a blank in the path", "remove it, or write %20")
		case c < ' ' || c == 0x7f:
			return fail(i, "a control character in the path", fmt.Sprintf("write %%%02X", c))
		}
	}
	literal := true // so far
	for i := 0; i < len(path); {
		start := i + 1
		end := segmentEnd(path, start)
		text, last := path[start:end], end == len(path)
		g, message, cure := parseSegment(text, last)
		if message == "" && g.kind == literalSegment && (text == "" || dots(text) > 0) {
			message, cure = "the path is not clean, so no request fits it", fmt.Sprintf("write %q", s[:at]+clean(path))
		}
		if message != "" {
			return fail(start, message, cure)
		}
		if literal {
			p.prefix = start
			p.depth++
		}
		literal = literal && g.kind == literalSegment
		if g.kind != literalSegment && g.text != "" {
			for _, name := range p.names {
				if name == g.text {
					return fail(start, fmt.Sprintf("the wildcard name %q is there twice", name), "give each its own name")
				}
			}
			p.names = append(p.names, g.text)
		}
		p.segments = append(p.segments, g)
		i = end
	}
	return nil
}

// parseSegment reads one segment; a message says that it is wrong.
func parseSegment(text string, last bool) (g segment, message, cure string) {
	open := strings.IndexByte(text, '{')
	switch {
	case text == "" && last:
		return segment{kind: restSegment}, "", ""
	case open < 0:
		literal, err := url.PathUnescape(text)
		if err != nil {
			return g, "a percent sign that two hexadecimal digits do not follow", "write %25 for the sign itself"
		}
		return segment{literalSegment, literal}, "", ""
	case open > 0:
		return g, "a wildcard must be a whole segment",
			fmt.Sprintf("write %q, or %%7B for the brace itself", text[:open]+"/"+text[open:])
	case text[len(text)-1] != '}':
		name, rest, closed := strings.Cut(text[1:], "}")
		if !closed {
			return g, "a wildcard's closing brace is missing", fmt.Sprintf("write %q", text+"}")
		}
		return g, "a wildcard must be a whole segment",
			fmt.Sprintf("write %q, or %%7B for the brace itself", "{"+name+"}/"+rest)
	}
	name := text[1 : len(text)-1]
	if name == "$" {
		if !last {
			return g, "{$} is not at the end", "remove it, or what follows"
		}
		return segment{kind: endSegment}, "", ""
	}
	name, rest := strings.CutSuffix(name, "...")
	switch {
	case name == "":
		return g, "a wildcard without a name", `write "{name}"`
	case !isWildcardName(name):
		return g, fmt.Sprintf("%q is not a wildcard name", name), "use letters, digits and _, a letter first"
	case rest && !last:
		return g, "a {name...} wildcard is not at the end", fmt.Sprintf("write %q, or remove what follows", "{"+name+"}")
	case rest:
		return segment{restSegment, name}, "", ""
	}
	return segment{singleSegment, name}, "", ""
}

// Key is the canonical form of the pattern: two patterns with equal keys are the
// same pattern, whatever their wildcards are called. ("/a/" and "/a/{rest...}" are
// the same.)
func (p Pattern) Key() string { return p.key }

func (p Pattern) buildKey() string {
	var b strings.Builder
	if p.Method != "" {
		b.WriteString(p.Method)
		b.WriteByte(' ')
	}
	for _, g := range p.segments {
		b.WriteByte('/')
		switch g.kind {
		case literalSegment:
			b.WriteString(url.PathEscape(g.text)) // escapes braces too
		case singleSegment:
			b.WriteString("{}")
		case restSegment:
			b.WriteString("{...}")
		case endSegment:
			b.WriteString("{$}")
		}
	}
	return b.String()
}

// Prefix is the literal beginning of the path, as written, up to and with the last
// slash before the first wildcard: "/assets/" for "/assets/{p...}" and for
// "/assets/", "/" for "GET /{$}". A pattern without wildcard and trailing slash
// fits one path only; its prefix ends at its last slash: "/files/" for "/files/x".
//
// To strip it from a request's path use Rest: the request may be percent-encoded in
// another way.
func (p Pattern) Prefix() string { return p.Path[:p.prefix] }

// Rest is what follows Prefix in path, the percent-encoded path of a request that
// the pattern matched; it has no leading slash. Every segment of it must be decoded
// by itself: a decoded segment may hold "/", "..", or NUL.
func (p Pattern) Rest(path string) string {
	for range p.depth {
		i := strings.IndexByte(path, '/')
		if i < 0 {
			return ""
		}
		path = path[i+1:]
	}
	return path
}

// String is the pattern in one normal spacing: "GET /posts/{id}".
func (p Pattern) String() string {
	if p.Method == "" {
		return p.Path
	}
	return p.Method + " " + p.Path
}

// segmentEnd is the index of the first slash at or after i, or the path's length.
func segmentEnd(path string, i int) int {
	for i < len(path) && path[i] != '/' {
		i++
	}
	return i
}

func isWildcardName(s string) bool {
	for i, c := range s {
		if !unicode.IsLetter(c) && c != '_' && (i == 0 || !unicode.IsDigit(c)) {
			return false
		}
	}
	return s != ""
}

func isUpperToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) || s[i] == '.' {
			return false
		}
	}
	return strings.ToUpper(s) == s
}

// isTokenByte is tchar of RFC 9110, section 5.6.2.
func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
