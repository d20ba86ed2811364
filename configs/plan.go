package configs

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Sizes of PlanText, in characters.
const (
	planColumn = 40 // names up to this length have their values in one column
	planValue  = 72 // longer values are shortened, and two that together are longer stand below each other
	planItems  = 8  // of a list or map that have come or gone; the others are counted
)

// PlanText writes changes for people: what was added with +, removed with - and changed with ~, under the listener, site and route that it
// belongs to. It is empty when there are none, and ends with a newline otherwise.
func PlanText(changes []Change) string {
	p := &planner{}
	for _, c := range changes {
		p.change(c)
	}
	p.flush()
	return p.String()
}

// planner collects the lines of a paragraph until their column is known.
type planner struct {
	strings.Builder
	headers   []string // of the last line: a listener or site, then a route
	paragraph []planLine
}

type planLine struct {
	depth       int
	mark, name  string
	value, note string
	below       []string // lines of the value, when it does not fit behind the name
}

func (p *planner) change(c Change) {
	mark := map[string]string{added: "+", removed: "-"}[c.Kind]
	if mark == "" {
		mark = "~"
	}
	headers, name := planHeaders(c.What)
	above := headers
	if name == "" && len(headers) > 0 { // the change is of the header itself
		above, name = headers[:len(headers)-1], headers[len(headers)-1]
	}
	same := 0
	for same < len(p.headers) && same < len(headers) && p.headers[same] == headers[same] {
		same++
	}
	if same == 0 && len(p.headers)+len(headers) > 0 {
		p.flush()
	}
	for i := same; i < len(above); i++ {
		p.paragraph = append(p.paragraph, planLine{depth: i, mark: "~", name: above[i]})
	}
	p.headers = headers
	line := planLine{depth: len(above), mark: mark, name: name}
	if c.Restart {
		line.note = "  (needs a restart)"
	}
	line.values(c)
	p.paragraph = append(p.paragraph, line)
}

// planHeaders splits what a change is of: the listener or site, the route in it, and the rest.
func planHeaders(what string) (headers []string, rest string) {
	for _, word := range []string{"listen", "site", "route"} {
		if !strings.HasPrefix(what, word+` "`) || word == "route" && len(headers) == 0 {
			continue
		}
		end := len(word) + 2
		for end < len(what) && what[end] != '"' {
			if what[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end+1, len(what))
		if strings.HasPrefix(what[end:], " from code") {
			end += len(" from code")
		}
		headers, what = append(headers, what[:end]), strings.TrimPrefix(what[end:], " ")
	}
	return headers, what
}

// values sets what stands behind a line's name, or below it.
func (l *planLine) values(c Change) {
	from, to := flat(c.From), flat(c.To)
	switch {
	case c.Kind == added || c.Kind == removed:
		l.value = window(from+to, 0)
	case len(from)+len(to) <= planValue:
		l.value = from + " -> " + to
	default:
		l.below = itemChanges(c.From, c.To)
		if l.below == nil {
			at := 0
			for at < len(from) && at < len(to) && from[at] == to[at] {
				at++
			}
			l.below = []string{"- " + window(from, at), "+ " + window(to, at)}
		}
	}
}

// flat writes a value of several lines, which is a map, in one.
func flat(value string) string {
	if !strings.Contains(value, "\n") {
		return value
	}
	return "{ " + strings.Join(planParts(value), ", ") + " }"
}

// window is the part of a value around a byte that matters, with … for what is left out.
func window(value string, at int) string {
	if utf8.RuneCountInString(value) <= planValue {
		return value
	}
	first := max(0, utf8.RuneCountInString(value[:min(at, len(value))])-planValue/3)
	part := []rune(value)[first:]
	after := ""
	if len(part) > planValue {
		part, after = part[:planValue], "…"
	}
	before := ""
	if first > 0 {
		before = "…"
	}
	return before + string(part) + after
}

// itemChanges lists the items of a list or map that went and came; nil when that does not tell the difference.
func itemChanges(from, to string) (lines []string) {
	old, now := planParts(from), planParts(to)
	if old == nil || now == nil {
		return nil
	}
	some := func(mark string, items, others []string) {
		n := 0
		for _, item := range items {
			if slices.Contains(others, item) {
				continue
			}
			if n++; n <= planItems {
				lines = append(lines, mark+" "+window(item, 0))
			}
		}
		if n > planItems {
			lines = append(lines, fmt.Sprintf("%s … and %d more", mark, n-planItems))
		}
	}
	some("-", old, now)
	some("+", now, old)
	return lines
}

// planParts splits a list or map, as literalOf writes it, into its items. nil: it is neither.
func planParts(value string) []string {
	if strings.HasPrefix(value, "{") {
		parts := strings.Split(strings.Trim(value, "{}\n"), "\n")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		return parts
	}
	if !strings.HasPrefix(value, "[") || !strings.HasSuffix(value, "]") {
		return nil
	}
	parts := []string{}
	start, quoted := 1, false
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case (c == ',' || c == ']') && !quoted && i > start:
			parts = append(parts, value[start:i])
			start = i + len(", ")
		}
	}
	return parts
}

// flush writes the paragraph.
func (p *planner) flush() {
	if len(p.paragraph) == 0 {
		return
	}
	if p.Len() > 0 {
		p.WriteString("\n")
	}
	column := 0
	for _, l := range p.paragraph {
		if n := l.width(); l.value != "" && n <= planColumn {
			column = max(column, n)
		}
	}
	for _, l := range p.paragraph {
		text := strings.Repeat("  ", l.depth) + l.mark + " " + l.name
		if l.value != "" {
			text += strings.Repeat(" ", max(0, column-l.width())) + "  " + l.value
		}
		p.WriteString(text + l.note + "\n")
		for _, line := range l.below {
			p.WriteString(strings.Repeat("  ", l.depth+2) + line + "\n")
		}
	}
	p.paragraph = p.paragraph[:0]
}

// width is the length of the line up to its value.
func (l *planLine) width() int { return 2*l.depth + len("~ ") + utf8.RuneCountInString(l.name) }
