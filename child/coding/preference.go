package coding

import (
	"strings"

	"github.com/tined/tined/child/web"
)

// A Preference is what a request says of each coding in Accept-Encoding (RFC 9110, 12.5.3). The zero value says nothing, as a request
// without that field. Equal ones mean the same; two that mean the same may differ.
type Preference struct {
	of   [Count]weight
	rest weight // of "*": every coding that is not named
}

// A weight is one more than a qvalue in thousandths (RFC 9110, 12.4.2), so from 1 to 1001. 0: nothing is said.
type weight uint16

const (
	refused weight = 1 // q=0
	highest weight = 1001
)

// Read returns what h says. What does not follow the grammar counts as absent, all of it: then no coding is used. It allocates nothing.
func Read(h *web.Header) (p Preference) {
	for i := range h.Len() {
		f := h.At(i)
		if len(f.Name) != len("Accept-Encoding") || !strings.EqualFold(f.Name, "Accept-Encoding") {
			continue
		}
		if !p.add(f.Value) {
			return Preference{}
		}
	}
	return p
}

// Best returns the coding that the client wants most of those offered in the server's order, the first where it wants several alike, and
// whether content without a coding is acceptable. A coding is preferred to none where both have the same weight; without a word on it,
// none has the weight of "*", and where that is missing too it counts for less than any coding. best is Identity if nothing offered is
// acceptable, whatever plain is. It allocates nothing.
func (p Preference) Best(offered []Coding) (best Coding, plain bool) {
	none := p.weight(Identity)
	most := refused
	for _, c := range offered {
		if q := p.weight(c); q > most {
			best, most = c, q
		}
	}
	if none > most {
		best = Identity
	}
	return best, none != refused // acceptable unless excluded (RFC 9110, 12.5.3)
}

func (p *Preference) weight(c Coding) weight {
	if q := p.of[c]; q != 0 {
		return q
	}
	return p.rest
}

// add reads one field value: #( codings [ weight ] ). A coding that is named twice has the lower weight. false: it is malformed.
func (p *Preference) add(value string) bool {
	for element := range strings.SplitSeq(value, ",") {
		element = trim(element)
		if element == "" {
			continue // RFC 9110, 5.6.1.2
		}
		name, parameter, weighted := strings.Cut(element, ";")
		name = trim(name)
		if name != "*" && !web.ValidFieldName(name) {
			return false
		}
		q := highest
		if weighted {
			var ok bool
			if q, ok = parseWeight(trim(parameter)); !ok {
				return false
			}
		}
		at := &p.rest
		if name != "*" {
			c, known := Parse(name)
			if !known {
				continue
			}
			at = &p.of[c]
		}
		if *at == 0 || q < *at {
			*at = q
		}
	}
	return true
}

// parseWeight reads "q=" qvalue (RFC 9110, 12.4.2).
func parseWeight(s string) (q weight, ok bool) {
	if len(s) < len("q=0") || len(s) > len("q=0.000") || s[0]|0x20 != 'q' || s[1] != '=' {
		return 0, false
	}
	s = s[2:]
	if s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	q = refused + weight(s[0]-'0')*1000
	for i, unit := 2, weight(100); i < len(s); i, unit = i+1, unit/10 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		q += weight(s[i]-'0') * unit
	}
	return q, q <= highest
}

// trim removes optional white space (RFC 9110, 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
