package static

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// A glob is a pattern for names below the root. In it
//
//   - '*' stands for any bytes but '/', '?' for one character but '/';
//   - '[a-z]' for one character of a class, '[!a-z]' for one that is not in it, neither for '/';
//   - '{a,b}' for one of several texts, which may be patterns too, but hold no braces;
//   - '**' as a whole segment for any number of segments, none included;
//   - '\' takes the meaning from the character behind it.
//
// Without a slash it is for the last segment, at any depth: "*.html". With one it begins at the root: "/css/*.css" and "css/*.css" are the
// same. "/private/**" and "/private/" are for everything below, and for the directory itself, with and without its slash.
type glob struct {
	alternatives [][]string // the segments of each, once the braces are gone
	anywhere     bool       // it has no slash
}

// maxAlternatives is how many patterns the braces of one may stand for.
const maxAlternatives = 256

var (
	errGlobEmpty   = errors.New("a pattern for names must not be empty")
	errGlobClass   = errors.New("a '[' without its ']'")
	errGlobBraces  = errors.New("braces that are not closed, or in each other")
	errGlobEscape  = errors.New("a '\\' at the end")
	errGlobMany    = errors.New("braces that stand for more than 256 patterns")
	errGlobSegment = errors.New("'**' has to stand between slashes")
	errGlobDots    = errors.New("segments '.' and '..' are in no name")
)

func parseGlob(pattern string) (glob, error) {
	if pattern == "" {
		return glob{}, errGlobEmpty
	}
	expanded, err := expandBraces(pattern)
	if err != nil {
		return glob{}, err
	}
	g := glob{anywhere: !strings.Contains(pattern, "/") && pattern != "**"}
	for _, text := range expanded {
		if strings.Contains(text, "/") {
			g.anywhere = false
		}
	}
	for _, text := range expanded {
		text = strings.TrimPrefix(text, "/")
		if text == "" || strings.HasSuffix(text, "/") {
			text += "**" // a directory is all that it holds
		}
		segments := strings.Split(text, "/")
		for _, s := range segments {
			if err := checkSegment(s); err != nil {
				return glob{}, err
			}
		}
		g.alternatives = append(g.alternatives, segments)
	}
	return g, nil
}

// expandBraces returns the patterns without braces that one stands for.
func expandBraces(pattern string) ([]string, error) {
	done := []string{""}
	extend := func(texts ...string) error {
		if len(done)*len(texts) > maxAlternatives {
			return errGlobMany
		}
		next := make([]string, 0, len(done)*len(texts))
		for _, d := range done {
			for _, t := range texts {
				next = append(next, d+t)
			}
		}
		done = next
		return nil
	}
	for pattern != "" {
		i := indexBare(pattern, "{}")
		if i < 0 {
			return done, extend(pattern)
		}
		if pattern[i] == '}' {
			return nil, errGlobBraces
		}
		if err := extend(pattern[:i]); err != nil {
			return nil, err
		}
		pattern = pattern[i+1:]
		end := indexBare(pattern, "{}")
		if end < 0 || pattern[end] == '{' {
			return nil, errGlobBraces
		}
		var choices []string
		inside := pattern[:end]
		for {
			comma := indexBare(inside, ",")
			if comma < 0 {
				break
			}
			choices = append(choices, inside[:comma])
			inside = inside[comma+1:]
		}
		if err := extend(append(choices, inside)...); err != nil {
			return nil, err
		}
		pattern = pattern[end+1:]
	}
	return done, nil
}

// indexBare returns the place of the first of some bytes that no backslash stands before, or -1. In a class they mean themselves.
func indexBare(s, bytes string) int {
	class := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[' && strings.IndexByte(s[i:], ']') > 0:
			class = true
		case strings.IndexByte(bytes, c) >= 0:
			return i
		}
	}
	return -1
}

// checkSegment reports what is wrong with a segment; a match of it afterwards meets no error.
func checkSegment(s string) error {
	switch s {
	case "**":
		return nil
	case ".", "..":
		return errGlobDots
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return errGlobEscape
			}
		case '*':
			if i+1 < len(s) && s[i+1] == '*' {
				return errGlobSegment
			}
		case '[':
			_, rest, ok := class(s[i+1:], 0)
			if !ok {
				return errGlobClass
			}
			i = len(s) - len(rest) - 1
		}
	}
	return nil
}

// matches reports whether the glob is for a name below the root; that of a directory may end in a slash.
func (g *glob) matches(name string) bool {
	if g.anywhere {
		name = strings.TrimSuffix(name, "/")
		name = name[strings.LastIndexByte(name, '/')+1:]
		for _, segments := range g.alternatives {
			if matchSegment(segments[0], name) {
				return true
			}
		}
		return false
	}
	for _, segments := range g.alternatives {
		if matchPath(segments, name) {
			return true
		}
	}
	return false
}

// matchPath matches segments against a name. On a mismatch it goes back to the last "**" only, which is enough: what an earlier one could
// take, the last one can take too. So the work is bounded by the product of both lengths.
func matchPath(segments []string, name string) bool {
	name = strings.TrimSuffix(name, "/")
	rest, more := name, name != ""
	backSegments, backRest, backMore, back := segments, rest, more, false
	for {
		switch {
		case len(segments) > 0 && segments[0] == "**":
			segments = segments[1:]
			if len(segments) == 0 {
				return true
			}
			backSegments, backRest, backMore, back = segments, rest, more, true
			continue
		case len(segments) == 0 && !more:
			return true
		case len(segments) > 0 && more:
			first, tail, slash := strings.Cut(rest, "/")
			if matchSegment(segments[0], first) {
				segments, rest, more = segments[1:], tail, slash
				continue
			}
		}
		if !back || !backMore {
			return false
		}
		_, backRest, backMore = strings.Cut(backRest, "/")
		segments, rest, more = backSegments, backRest, backMore
	}
}

// matchSegment matches a pattern without slashes against a text without, going back to the last '*' only.
func matchSegment(pattern, text string) bool {
	var backPattern, backText string
	back := false
	for {
		if pattern == "" && text == "" {
			return true
		}
		if pattern != "" && pattern[0] == '*' {
			pattern = pattern[1:]
			backPattern, backText, back = pattern, text, true
			continue
		}
		if pattern != "" && text != "" {
			if p, t, ok := matchOne(pattern, text); ok {
				pattern, text = p, t
				continue
			}
		}
		if !back || backText == "" {
			return false
		}
		_, size := utf8.DecodeRuneInString(backText)
		backText = backText[size:]
		pattern, text = backPattern, backText
	}
}

// matchOne matches the first element of a pattern, which is no '*', and returns what is left of both.
func matchOne(pattern, text string) (restPattern, restText string, ok bool) {
	c, size := utf8.DecodeRuneInString(text)
	switch pattern[0] {
	case '?':
		return pattern[1:], text[size:], true
	case '[':
		in, rest, ok := class(pattern[1:], c)
		return rest, text[size:], ok && in
	case '\\':
		pattern = pattern[1:]
	}
	return pattern[1:], text[1:], pattern[0] == text[0] // byte by byte: names need not be UTF-8
}

// class reads a class behind its '[', and reports whether c is in it. ok: it is closed.
func class(s string, c rune) (in bool, rest string, ok bool) {
	not := s != "" && (s[0] == '!' || s[0] == '^')
	if not {
		s = s[1:]
	}
	for first := true; ; first = false {
		if s == "" {
			return false, "", false
		}
		if s[0] == ']' && !first {
			return in != not, s[1:], true
		}
		low, size, ok := member(s)
		if !ok {
			return false, "", false
		}
		s = s[size:]
		high := low
		if len(s) > 1 && s[0] == '-' && s[1] != ']' {
			if high, size, ok = member(s[1:]); !ok {
				return false, "", false
			}
			s = s[1+size:]
		}
		in = in || low <= c && c <= high
	}
}

// member reads one character of a class.
func member(s string) (c rune, size int, ok bool) {
	escaped := 0
	if s[0] == '\\' {
		s = s[1:]
		escaped = 1
	}
	if s == "" {
		return 0, 0, false
	}
	c, size = utf8.DecodeRuneInString(s)
	return c, size + escaped, true
}
