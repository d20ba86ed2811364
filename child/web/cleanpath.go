package web

import (
	"bytes"
	"strings"
)

// isClean reports that path has no empty segment but a last one, and no dot segment.
func isClean(path string) bool {
	for i := 0; i+1 < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		switch path[i+1] {
		case '/':
			return false
		case '.', '%':
			if dots(path[i+1:segmentEnd(path, i+1)]) > 0 {
				return false
			}
		}
	}
	return true
}

// clean removes empty segments and dot segments (RFC 3986, section 5.2.4: what ends
// in a dot segment is a directory, so a slash stays at the end). It works on the
// percent-encoded path and counts an encoded dot as a dot, as user agents do.
// The result begins with exactly one slash.
func clean(path string) string {
	out := make([]byte, 0, len(path)+1)
	slash := true // the last segment leaves a slash at the end
	for i := 0; i < len(path); {
		end := segmentEnd(path, i+1)
		text := path[i+1 : end]
		i = end
		slash = true
		switch {
		case text == "":
		case dots(text) == 1:
		case dots(text) == 2:
			out = out[:max(0, bytes.LastIndexByte(out, '/'))]
		default:
			out = append(append(out, '/'), text...)
			slash = false
		}
	}
	if slash {
		out = append(out, '/')
	}
	return string(out)
}

// dots is 1 for the segment ".", 2 for "..", in any mixture with %2e, and 0 for
// every other segment.
func dots(text string) int {
	n := 0
	for text != "" && n < 3 {
		switch {
		case text[0] == '.':
			text = text[1:]
		case len(text) >= 3 && text[0] == '%' && text[1] == '2' && text[2]|0x20 == 'e':
			text = text[3:]
		default:
			return 0
		}
		n++
	}
	if n > 2 {
		return 0
	}
	return n
}

// location makes a clean path safe for a Location field: what may not stand in a
// URI's path (RFC 3986, section 3.3) is percent-encoded. That matters for the
// backslash, which user agents read as a slash, and for tabs and line ends, which
// they drop: "/\host/" would lead to another host.
func location(path string) string {
	bad := 0
	for i := range len(path) {
		if !isLocationByte(path[i]) {
			bad++
		}
	}
	if bad == 0 {
		return path
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(path)+2*bad)
	for i := range len(path) {
		if c := path[i]; isLocationByte(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func isLocationByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("/%-._~!$&'()*+,;=:@", c) >= 0
}
