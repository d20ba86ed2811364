package static

import (
	"slices"
	"strings"

	"github.com/tined/tined/child/web"
)

// A view is what a request wants to see of a directory.
type view struct {
	json bool
	order
}

func (v view) contentType() string {
	if v.json {
		return "application/json"
	}
	return "text/html; charset=utf-8"
}

// String is different for different views.
func (v view) String() string {
	return v.contentType() + " " + sortNames[v.by] + " " + v.direction()
}

// viewOf reads the query and Accept. What the query says wrongly counts as not said.
func (l *listing) viewOf(r *web.Request) view {
	v := view{order: l.order}
	switch r.QueryValue("format") {
	case "json":
		v.json = true
	case "html":
	default:
		v.json = prefersJSON(&r.Header)
	}
	if by := slices.Index(sortNames, r.QueryValue("sort")); by >= 0 {
		if by != int(l.order.by) {
			v.down = false
		}
		v.by = sortKey(by)
	}
	if direction := slices.Index(orderNames, r.QueryValue("order")); direction >= 0 {
		v.down = direction == 1
	}
	return v
}

// A liking is what a client says of a media type (RFC 9110, 12.5.1).
type liking struct {
	precise int // of the media range that is for it: 1 "*/*", 2 "text/*", 3 "text/html", 4 with a parameter; 0: none is
	q       int // thousandths
}

// add takes a media range into account. The most precise counts, and of two alike the lower weight.
func (k *liking) add(precise, q int) {
	if precise > k.precise || precise == k.precise && q < k.q {
		k.precise, k.q = precise, q
	}
}

// prefersJSON reports whether a client likes JSON better than HTML. It does so too if it names JSON but HTML by a wildcard only, with the
// same weight: "application/json, */*" is how programs ask for JSON. A client that accepts neither gets HTML.
func prefersJSON(h *web.Header) bool {
	var html, json liking
	for i := range h.Len() {
		f := h.At(i)
		if !strings.EqualFold(f.Name, "Accept") {
			continue
		}
		for element := range splitQuoted(f.Value, ',') {
			mediaRange, precise, q, ok := parseMediaRange(element)
			if !ok {
				continue
			}
			switch mediaRange {
			case "*/*":
				html.add(1, q)
				json.add(1, q)
			case "text/*":
				html.add(2, q)
			case "application/*":
				json.add(2, q)
			case "text/html":
				html.add(precise, q)
			case "application/json":
				if precise == 3 { // JSON has no charset
					json.add(precise, q)
				}
			}
		}
	}
	return json.q > html.q || json.q > 0 && json.q == html.q && json.precise >= 3 && html.precise < 3
}

// parseMediaRange reads an element of Accept. ok is false if it is malformed, or has a parameter that neither HTML nor JSON of ours has.
func parseMediaRange(element string) (mediaRange string, precise, q int, ok bool) {
	precise, q = 3, 1000
	first := true
	for part := range splitQuoted(element, ';') {
		part = strings.Trim(part, " \t")
		if first {
			mediaRange, first = strings.ToLower(part), false
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		switch strings.ToLower(name) {
		case "": // RFC 9110, 5.6.6 allows an empty parameter
		case "q":
			if q, ok = parseQuality(value); !ok {
				return "", 0, 0, false
			}
		case "charset":
			if !strings.EqualFold(strings.Trim(value, `"`), "utf-8") {
				return "", 0, 0, false
			}
			precise = 4
		default:
			return "", 0, 0, false
		}
	}
	return mediaRange, precise, q, true
}

// parseQuality reads a qvalue (RFC 9110, 12.4.2) in thousandths.
func parseQuality(s string) (q int, ok bool) {
	if s == "" || len(s) > len("0.000") || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	q = int(s[0]-'0') * 1000
	for i, unit := 2, 100; i < len(s); i, unit = i+1, unit/10 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		q += int(s[i]-'0') * unit
	}
	return q, q <= 1000
}

// splitQuoted yields what is between separators that are not inside quotes (RFC 9110, 5.6.4).
func splitQuoted(s string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == separator && !quoted:
				if !yield(s[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		yield(s[begin:])
	}
}
