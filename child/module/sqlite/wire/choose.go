package wire

import "strings"

// A Format is how a result is written.
type Format uint8

// The formats.
const (
	JSON Format = iota
	NDJSON
	CSV
)

// The content types of formats (RFC 8259, 11; RFC 4180, 3), and of Problem (RFC 9457, 6.1).
const (
	contentTypeJSON    = "application/json"
	contentTypeNDJSON  = "application/x-ndjson"
	contentTypeCSV     = "text/csv; charset=utf-8; header=present"
	ContentTypeProblem = "application/problem+json"
)

// ContentType returns the value for the field Content-Type.
func (f Format) ContentType() string {
	return [...]string{contentTypeJSON, contentTypeNDJSON, contentTypeCSV}[f]
}

// String returns "json", "ndjson" or "csv".
func (f Format) String() string { return [...]string{"json", "ndjson", "csv"}[f] }

// Choose returns the format that a client wants most of those offered, by its Accept (RFC 9110, 12.5.1; several lines are one, joined by
// commas): by weight, then the one that it names more exactly, then the one that is offered first. Parameters of media types do not count.
// Without Accept, or with one that does not follow the grammar, it is the first. ok is false if the client takes none of them; then f is
// the first. There must be one. It allocates nothing.
func Choose(accept string, offered ...Format) (f Format, ok bool) {
	says, valid := readAccept(accept)
	if !valid || says.absent {
		return offered[0], true
	}
	var best preference
	for _, o := range offered {
		if p := says.of[o]; p.weight > best.weight || p.weight == best.weight && p.weight > 0 && p.exactness > best.exactness {
			f, best = o, p
		}
	}
	if best.weight == 0 {
		return offered[0], false
	}
	return f, true
}

// WantsProblem reports whether a client asks for errors as application/problem+json (RFC 9457): it names that type, with a weight that is
// not less than what it gives to application/json. A wildcard asks for nothing.
func WantsProblem(accept string) bool {
	says, valid := readAccept(accept)
	p := says.of[problem]
	return valid && p.exactness == exact && p.weight > 0 && p.weight >= says.of[JSON].weight
}

// problem is the media type that Accept is read for besides those of the formats.
const problem = CSV + 1

// An acceptance is what an Accept says of each type that is known here.
type acceptance struct {
	of     [problem + 1]preference
	absent bool // it names nothing at all
}

// A preference is the weight of the range that matches a type most exactly, in thousandths; the zero value refuses.
type preference struct {
	exactness exactness
	weight    uint16
}

// exactness orders ranges (RFC 9110, 12.5.1).
type exactness uint8

const (
	everything exactness = iota + 1 // */*
	group                           // type/*
	exact                           // type/subtype
)

func (p *preference) add(e exactness, weight uint16) {
	if e > p.exactness || e == p.exactness && weight > p.weight {
		*p = preference{e, weight}
	}
}

// readAccept reads #( media-range [ weight ] ). Ranges that differ in parameters only count as the one with the highest weight.
func readAccept(s string) (a acceptance, valid bool) {
	a.absent = true
	for {
		s = strings.TrimLeft(s, " \t,") // RFC 9110, 5.6.1.2: empty elements
		if s == "" {
			return a, true
		}
		var r mediaRange
		if r, s, valid = cutRange(s); !valid {
			return a, false
		}
		a.absent = false
		a.add(r)
	}
}

func (a *acceptance) add(r mediaRange) {
	is := func(name, subtype string) bool {
		return strings.EqualFold(r.name, name) && strings.EqualFold(r.subtype, subtype)
	}
	switch {
	case r.name == "*" && r.subtype == "*":
		for i := range a.of {
			a.of[i].add(everything, r.weight)
		}
	case is("application", "*"):
		for _, f := range [...]Format{JSON, NDJSON, problem} {
			a.of[f].add(group, r.weight)
		}
	case is("text", "*"):
		a.of[CSV].add(group, r.weight)
	case is("application", "json"):
		a.of[JSON].add(exact, r.weight)
	case is("application", "x-ndjson"), is("application", "ndjson"), is("application", "jsonl"):
		a.of[NDJSON].add(exact, r.weight)
	case is("text", "csv"):
		a.of[CSV].add(exact, r.weight)
	case is("application", "problem+json"):
		a.of[problem].add(exact, r.weight)
	}
}

type mediaRange struct {
	name, subtype string
	weight        uint16 // in thousandths
}

// cutRange reads type "/" subtype parameters (RFC 9110, 8.3.1 and 5.6.6) from the beginning of s up to the comma or the end. The parameter
// "q" is the weight wherever it stands, but only once.
func cutRange(s string) (r mediaRange, rest string, ok bool) {
	r.weight = 1000
	if r.name, s = cutToken(s); r.name == "" || s == "" || s[0] != '/' {
		return r, s, false
	}
	if r.subtype, s = cutToken(s[1:]); r.subtype == "" {
		return r, s, false
	}
	for weighted := false; ; {
		s = trimSpace(s)
		if s == "" || s[0] == ',' {
			return r, s, true
		}
		if s[0] != ';' {
			return r, s, false
		}
		var name, value string
		if name, s = cutToken(trimSpace(s[1:])); name == "" {
			continue // an empty parameter
		}
		if s == "" || s[0] != '=' {
			return r, s, false
		}
		if value, s, ok = cutValue(s[1:]); !ok {
			return r, s, false
		}
		if name == "q" || name == "Q" {
			if r.weight, ok = parseWeight(value); !ok || weighted {
				return r, s, false
			}
			weighted = true
		}
	}
}

// cutValue reads token / quoted-string (RFC 9110, 5.6.4). A quoted one keeps its quotes.
func cutValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[:i+1], s[i+1:], true
		case c == '\\' && i+1 < len(s):
			if i++; s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
				return "", s, false
			}
		case c < ' ' && c != '\t', c == 0x7f, c == '\\':
			return "", s, false
		}
	}
	return "", s, false
}

// parseWeight reads a qvalue (RFC 9110, 12.4.2).
func parseWeight(s string) (thousandths uint16, ok bool) {
	if len(s) > len("0.000") || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	thousandths = uint16(s[0]-'0') * 1000
	for i, unit := 2, uint16(100); i < len(s); i, unit = i+1, unit/10 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		thousandths += uint16(s[i]-'0') * unit
	}
	return thousandths, thousandths <= 1000
}

// cutToken reads a token (RFC 9110, 5.6.2); "": there is none.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && isTokenByte(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c > ' ' && c < 0x7f && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func trimSpace(s string) string { return strings.TrimLeft(s, " \t") } // OWS: RFC 9110, 5.6.3
