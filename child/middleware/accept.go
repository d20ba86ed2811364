package middleware

import (
	"strings"

	"github.com/tined/tined/child/web"
)

// A coding is a content coding (RFC 9110, 8.4.1).
type coding uint8

const (
	identity coding = iota
	gzipped
	brotlied
	zstandard
	codings // how many there are
)

var codingNames = [codings]string{"identity", "gzip", "br", "zstd"}

func (c coding) String() string { return codingNames[c] }

// codingOf returns the coding of that name without regard to case (RFC 9110, 8.4.1); x-gzip is gzip (8.4.1.3).
func codingOf(name string) (coding, bool) {
	for c, known := range codingNames {
		if len(name) == len(known) && strings.EqualFold(name, known) {
			return coding(c), true
		}
	}
	return gzipped, len(name) == len("x-gzip") && strings.EqualFold(name, "x-gzip")
}

// weights are what Accept-Encoding says of each coding, in thousandths; -1: nothing.
type weights struct {
	of   [codings]int16
	rest int16 // of "*": every coding that is not named
}

// preferred returns the coding that the request wants most, of those offered in the server's order, and whether content without one is
// acceptable. What does not follow the grammar counts as absent: without Accept-Encoding no coding is used.
func preferred(h *web.Header, offered []coding) (best coding, plain bool) {
	w := weights{rest: -1}
	for c := range w.of {
		w.of[c] = -1
	}
	for i := range h.Len() {
		f := h.At(i)
		if len(f.Name) != len("Accept-Encoding") || !strings.EqualFold(f.Name, "Accept-Encoding") {
			continue
		}
		if !w.add(f.Value) {
			return identity, true
		}
	}
	return w.choose(offered)
}

func (w *weights) choose(offered []coding) (best coding, plain bool) {
	none := w.of[identity]
	if none < 0 {
		none = w.rest
	}
	highest := int16(0)
	for _, c := range offered {
		q := w.of[c]
		if q < 0 {
			q = w.rest
		}
		if q > highest {
			best, highest = c, q
		}
	}
	if none > highest {
		best = identity
	}
	return best, none != 0 // acceptable unless excluded (RFC 9110, 12.5.3)
}

// add reads one field value: #( codings [ weight ] ). A coding that is named twice has the lower weight. false: it is malformed.
func (w *weights) add(value string) bool {
	for element := range strings.SplitSeq(value, ",") {
		element = trim(element)
		if element == "" {
			continue // RFC 9110, 5.6.1.2
		}
		name, weight, weighted := strings.Cut(element, ";")
		name = trim(name)
		if name != "*" && !web.ValidFieldName(name) {
			return false
		}
		q := int16(1000)
		if weighted {
			var ok bool
			if q, ok = parseWeight(trim(weight)); !ok {
				return false
			}
		}
		at := &w.rest
		if name != "*" {
			c, known := codingOf(name)
			if !known {
				continue
			}
			at = &w.of[c]
		}
		if *at < 0 || q < *at {
			*at = q
		}
	}
	return true
}

// parseWeight reads "q=" qvalue (RFC 9110, 12.4.2) in thousandths.
func parseWeight(s string) (q int16, ok bool) {
	if len(s) < len("q=0") || len(s) > len("q=0.000") || s[0]|0x20 != 'q' || s[1] != '=' {
		return 0, false
	}
	s = s[2:]
	if s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	q = int16(s[0]-'0') * 1000
	for i, unit := 2, int16(100); i < len(s); i, unit = i+1, unit/10 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		q += int16(s[i]-'0') * unit
	}
	return q, q <= 1000
}

// trim removes optional white space (RFC 9110, 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
