package static

import (
	"maps"
	"slices"
	"strings"

	"github.com/tined/tined/child/web"
)

// A fieldRule adds header fields to the files that a pattern matches, or to all.
type fieldRule struct {
	glob   glob
	all    bool
	fields []web.Field
}

// newFieldRules are the configured fields, in the order in which they take each other's place.
func newFieldRules(o *options) ([]fieldRule, error) {
	var rules []fieldRule
	if o.nosniff {
		rules = append(rules, fieldRule{all: true, fields: []web.Field{{Name: "X-Content-Type-Options", Value: "nosniff"}}})
	}
	rules = append(rules, fieldRule{all: true, fields: sortedFields(o.headers)})
	for _, f := range o.files {
		g, err := parseGlob(f.pattern)
		if err != nil {
			return nil, err
		}
		rules = append(rules, fieldRule{glob: g, fields: sortedFields(f.headers)})
	}
	return rules, nil
}

// sortedFields returns a map's fields in the order of their names.
func sortedFields(m map[string]string) []web.Field {
	var list []web.Field
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, web.Field{Name: name, Value: m[name]})
	}
	return list
}

// commonFields are the configured fields of what is served under name, with those of more behind them. A later field takes the place of an
// earlier one with its name.
func (s *server) commonFields(name string, more ...web.Field) []web.Field {
	var header web.Header
	set := func(fields []web.Field) {
		for _, f := range fields {
			header.Set(f.Name, f.Value)
		}
	}
	for i := range s.rulesOfFields {
		if rule := &s.rulesOfFields[i]; rule.all || rule.glob.matches(name) {
			set(rule.fields)
		}
	}
	set(more)
	list := make([]web.Field, 0, header.Len())
	for i := range header.Len() {
		list = append(list, header.At(i))
	}
	return list
}

// addToken adds a token to a list field.
func addToken(fields []web.Field, name, token string) []web.Field {
	for i, f := range fields {
		if strings.EqualFold(f.Name, name) {
			var h web.Header
			h.Add(name, f.Value)
			if f.Value != "*" && !h.HasToken(name, token) {
				fields[i].Value += ", " + token
			}
			return fields
		}
	}
	return append(fields, web.Field{Name: name, Value: token})
}
