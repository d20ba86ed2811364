package configs

import (
	"fmt"
	"math"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// valueKind is what a value looks like in a file.
type valueKind int

const (
	textValue valueKind = iota
	numberValue
	boolValue
	nullValue
	listValue
	mapValue
	wrongValue // not a value at all: an expression, a template; trouble says so
)

func (k valueKind) String() string {
	return [...]string{"text", "a number", "true or false", "null", "a list", "a map", "an expression"}[k]
}

// value is one value of a file, independent of the syntax.
type value struct {
	kind    valueKind
	pos     Position
	text    string
	lines   []Position // of a text of the native syntax: where each of its lines begins
	number  *big.Float
	flag    bool
	items   []value
	entries []entry
	trouble *Problem
}

// entry is one pair of a map.
type entry struct {
	key   string
	pos   Position
	value value
}

// echo writes the value as the operator may have written it.
func (v value) echo() string {
	switch v.kind {
	case textValue:
		return Quote(v.text)
	case numberValue:
		return v.number.Text('g', 15)
	case boolValue:
		return strconv.FormatBool(v.flag)
	}
	return v.kind.String()
}

// plain writes the value without quotes.
func (v value) plain() string {
	if v.kind == textValue {
		return v.text
	}
	return v.echo()
}

func (t Type) noun() string {
	return [...]string{
		`text in quotes`, `true or false`, `a whole number`, `a number`, `a duration`, `a size`,
		`a list of texts`, `a path in quotes`, `a map of texts`,
	}[t]
}

// example is a value of the type as it stands in a file.
func (t Type) example() string {
	return [...]string{
		`"text"`, `true`, `1`, `1.5`, `"30s"`, `"1MiB"`, `["one", "two"]`, `"/path/to/it"`, `{ "key" = "value" }`,
	}[t]
}

// example is a fitting value of the attribute as it stands in a file.
func (a *Attribute) example() string {
	switch {
	case a.Example != "":
		return a.Example
	case len(a.OneOf) > 0 && a.Type == String:
		return Quote(a.OneOf[0])
	case len(a.OneOf) > 0:
		return a.OneOf[0]
	}
	if a.Default != nil {
		if v, err := a.native(a.Default); err == nil && v != "" {
			return a.format(v)
		}
	}
	return a.Type.example()
}

// assignment is the attribute set to an example.
func (a *Attribute) assignment() string { return a.Name + " = " + a.example() }

// decode turns a value of a file into the Go type of the attribute. dir is the
// directory that relative paths start from. The result is right only if there
// are no mistakes.
func (a *Attribute) decode(v value, dir string) (result any, mistakes []mistake) {
	if word, ok := a.Words[v.text]; ok && v.kind == textValue {
		n, err := a.native(word)
		if err != nil {
			panic(fmt.Sprintf("configs: word %s of %s: %v", v.text, a.Name, err))
		}
		return n, nil // Min and Max are for the values without a name
	}
	switch {
	case a.Type == Strings && v.kind == listValue:
		result, mistakes = a.decodeStrings(v)
	case a.Type == StringMap && v.kind == mapValue:
		result, mistakes = a.decodeMap(v)
	default:
		var p *Problem
		if result, p = a.decodeOne(v, dir); p != nil {
			mistakes = []mistake{{v.pos, p}}
		}
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	if p := a.check(result); p != nil {
		return nil, []mistake{{v.pos, p}}
	}
	return result, nil
}

// mistake is a problem and its place.
type mistake struct {
	at Position
	*Problem
}

// decodeOne decodes a value that has at most one mistake.
func (a *Attribute) decodeOne(v value, dir string) (any, *Problem) {
	if v.trouble != nil {
		return nil, v.trouble
	}
	if v.kind == nullValue {
		return nil, &Problem{Message: a.Name + " is null", Cure: "remove it, and the default holds"}
	}
	switch a.Type {
	case String:
		return a.decodeText(v)
	case Path:
		return a.decodePath(v, dir)
	case Bool:
		return a.decodeBool(v)
	case Int:
		return a.decodeInt(v)
	case Number:
		return a.decodeNumber(v)
	case Duration:
		return a.decodeDuration(v)
	case Size:
		return a.decodeSize(v)
	case Strings:
		if v.kind == textValue {
			return nil, a.wrongType(v, a.write("["+v.echo()+"]"))
		}
	}
	return nil, a.wrongType(v, "")
}

// wrongType is the problem of a value that has another type; cure may be "".
func (a *Attribute) wrongType(v value, cure string) *Problem {
	noun := a.Type.noun()
	for _, w := range sortedKeys(a.Words) {
		noun += " or " + Quote(w)
	}
	if len(a.OneOf) > 0 && a.Type == String {
		cure = "it may be " + orList(quoteAll(a.OneOf))
	}
	if cure == "" {
		cure = "write " + a.assignment()
	}
	return &Problem{Message: fmt.Sprintf("%s must be %s, not %s", a.Name, noun, v.echo()), Cure: cure}
}

func (a *Attribute) write(literal string) string { return "write " + a.Name + " = " + literal }

func (a *Attribute) decodeText(v value) (any, *Problem) {
	switch v.kind {
	case textValue:
		return v.text, nil
	case numberValue, boolValue:
		return nil, a.wrongType(v, a.write(Quote(v.plain())))
	}
	return nil, a.wrongType(v, "")
}

func (a *Attribute) decodePath(v value, dir string) (any, *Problem) {
	if v.kind != textValue {
		return nil, a.wrongType(v, "")
	}
	if v.text == "" {
		if a.Default == "" {
			return "", nil
		}
		return nil, &Problem{Message: a.Name + " is empty", Cure: "write " + a.assignment()}
	}
	return absolute(v.text, dir)
}

// absolute joins a path of a file to the directory of that file.
func absolute(path, dir string) (string, *Problem) {
	if strings.ContainsRune(path, 0) {
		return "", &Problem{Message: "a path holds no NUL character", Cure: "remove \\u0000"}
	}
	if strings.HasPrefix(path, "~") {
		return "", &Problem{Message: "~ is not expanded in " + Quote(path), Cure: "write the whole path, from /"}
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return filepath.Clean(path), nil
}

func (a *Attribute) decodeBool(v value) (any, *Problem) {
	switch v.kind {
	case boolValue:
		return v.flag, nil
	case textValue, numberValue:
		switch strings.ToLower(v.plain()) {
		case "true", "on", "yes", "1":
			return nil, a.wrongType(v, a.write("true"))
		case "false", "off", "no", "0":
			return nil, a.wrongType(v, a.write("false"))
		}
	}
	return nil, a.wrongType(v, "")
}

func (a *Attribute) decodeInt(v value) (any, *Problem) {
	switch v.kind {
	case numberValue:
		n, accuracy := v.number.Int64()
		if v.number.IsInt() && accuracy == big.Exact && int64(int(n)) == n {
			return int(n), nil
		}
		if v.number.IsInt() {
			return nil, &Problem{Message: fmt.Sprintf("%s is out of range", a.Name), Cure: a.rangeCure()}
		}
	case textValue:
		if _, err := strconv.Atoi(v.text); err == nil {
			return nil, a.wrongType(v, a.write(v.text)+" without quotes")
		}
		if w := closest(v.text, sortedKeys(a.Words)); w != "" {
			return nil, a.wrongType(v, a.write(Quote(w)))
		}
	}
	return nil, a.wrongType(v, "")
}

func (a *Attribute) decodeNumber(v value) (any, *Problem) {
	switch v.kind {
	case numberValue:
		f, _ := v.number.Float64()
		if !math.IsInf(f, 0) {
			return f, nil
		}
		return nil, &Problem{Message: a.Name + " is out of range", Cure: a.rangeCure()}
	case textValue:
		if _, err := strconv.ParseFloat(v.text, 64); err == nil {
			return nil, a.wrongType(v, a.write(v.text)+" without quotes")
		}
	}
	return nil, a.wrongType(v, "")
}

func (a *Attribute) decodeDuration(v value) (any, *Problem) {
	switch v.kind {
	case textValue:
		d, p := parseDuration(v.text)
		if p != nil {
			p.Message = a.Name + ": " + p.Message
		}
		return d, p
	case numberValue:
		return nil, &Problem{
			Message: fmt.Sprintf("%s is a duration and %s has no unit", a.Name, v.plain()),
			Cure:    a.write(Quote(v.plain()+"s")) + " for seconds (units: ms, s, m, h)",
		}
	}
	return nil, a.wrongType(v, "")
}

func (a *Attribute) decodeSize(v value) (any, *Problem) {
	switch v.kind {
	case textValue:
		n, p := parseSize(v.text)
		if p != nil {
			p.Message = a.Name + ": " + p.Message
		}
		return n, p
	case numberValue:
		n, accuracy := v.number.Int64()
		if v.number.IsInt() && accuracy == big.Exact && n >= 0 {
			return n, nil
		}
		return nil, &Problem{
			Message: fmt.Sprintf("%s is %s bytes, and a size is a whole number from 0", a.Name, v.plain()),
			Cure:    "write " + a.assignment(),
		}
	}
	return nil, a.wrongType(v, "")
}

func (a *Attribute) decodeStrings(v value) (any, []mistake) {
	list := make([]string, 0, len(v.items))
	var mistakes []mistake
	for _, item := range v.items {
		if item.trouble == nil && item.kind == textValue {
			list = append(list, item.text)
			continue
		}
		p := item.trouble
		if p == nil {
			p = &Problem{Message: fmt.Sprintf("%s is a list of texts, and %s is none", a.Name, item.echo()), Cure: "write " + a.assignment()}
			if item.kind == numberValue || item.kind == boolValue {
				p.Cure = "write " + Quote(item.plain()) + " in quotes"
			}
		}
		mistakes = append(mistakes, mistake{item.pos, p})
	}
	return list, mistakes
}

func (a *Attribute) decodeMap(v value) (any, []mistake) {
	m := make(map[string]string, len(v.entries))
	var mistakes []mistake
	for _, e := range v.entries {
		at, p := e.value.pos, e.value.trouble
		_, twice := m[e.key]
		switch {
		case p != nil:
		case twice:
			at, p = e.pos, &Problem{Message: fmt.Sprintf("%s has the key %s twice", a.Name, Quote(e.key)), Cure: "keep one of them"}
		case e.value.kind != textValue:
			p = &Problem{
				Message: fmt.Sprintf("the value of %s in %s must be text in quotes, not %s", Quote(e.key), a.Name, e.value.echo()),
				Cure:    "write " + Quote(e.key) + " = " + Quote(e.value.plain()),
			}
		}
		m[e.key] = e.value.text
		if p != nil {
			mistakes = append(mistakes, mistake{at, p})
		}
	}
	return m, mistakes
}

// check applies OneOf, Min, Max and Check to a value in its Go type.
func (a *Attribute) check(v any) *Problem {
	if len(a.OneOf) > 0 {
		text := fmt.Sprint(v)
		if !slices.Contains(a.OneOf, text) {
			p := &Problem{Message: fmt.Sprintf("%s cannot be %s", a.Name, literalOf(v))}
			if w := closest(text, a.OneOf); w != "" && a.Type == String {
				p.Cure = fmt.Sprintf("did you mean %s? it may be ", Quote(w))
			} else {
				p.Cure = "it may be "
			}
			words := a.OneOf
			if a.Type == String {
				words = quoteAll(words)
			}
			p.Cure += orList(words)
			return p
		}
	}
	if !a.within(v) {
		return &Problem{Message: fmt.Sprintf("%s cannot be %s", a.Name, literalOf(v)), Cure: a.rangeCure()}
	}
	if a.Check == nil {
		return nil
	}
	if err := a.Check(v); err != nil {
		p := asProblem(err)
		return &p
	}
	return nil
}

// within tells whether v keeps to Min and Max.
func (a *Attribute) within(v any) bool {
	n, ok := magnitude(v)
	if !ok {
		return true
	}
	if low, ok := a.bound(a.Min); ok && n < low {
		return false
	}
	high, ok := a.bound(a.Max)
	return !ok || n <= high
}

func (a *Attribute) bound(v any) (float64, bool) {
	if v == nil {
		return 0, false
	}
	n, err := a.native(v)
	if err != nil {
		panic(fmt.Sprintf("configs: bound of %s: %v", a.Name, err))
	}
	return magnitude(n)
}

func magnitude(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	case time.Duration:
		return float64(n), true
	}
	return 0, false
}

// rangeCure says in words what Min, Max and Words allow.
func (a *Attribute) rangeCure() string {
	show := func(v any) string {
		n, err := a.native(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return a.format(n)
	}
	var cure string
	switch {
	case a.Min != nil && a.Max != nil:
		cure = "it may be from " + show(a.Min) + " to " + show(a.Max)
	case a.Min != nil:
		cure = "it must be at least " + show(a.Min)
	case a.Max != nil:
		cure = "it must be at most " + show(a.Max)
	default:
		cure = "write " + a.assignment()
	}
	for _, w := range sortedKeys(a.Words) {
		cure += ", or " + Quote(w)
	}
	return cure
}

// native brings a default, a bound or a value of NewBlock into the Go type of
// the attribute.
func (a *Attribute) native(v any) (any, error) {
	switch a.Type {
	case Duration:
		if text, ok := v.(string); ok {
			d, p := parseDuration(text)
			if p != nil {
				return nil, *p
			}
			return d, nil
		}
	case Size:
		switch n := v.(type) {
		case int:
			return int64(n), nil
		case string:
			size, p := parseSize(n)
			if p != nil {
				return nil, *p
			}
			return size, nil
		}
	case Int:
		if n, ok := v.(int64); ok {
			return int(n), nil
		}
	case Number:
		if n, ok := v.(int); ok {
			return float64(n), nil
		}
	}
	ok := false
	switch v.(type) {
	case string:
		ok = a.Type == String || a.Type == Path
	case bool:
		ok = a.Type == Bool
	case int:
		ok = a.Type == Int
	case float64:
		ok = a.Type == Number
	case time.Duration:
		ok = a.Type == Duration
	case int64:
		ok = a.Type == Size
	case []string:
		ok = a.Type == Strings
	case map[string]string:
		ok = a.Type == StringMap
	}
	if !ok {
		return nil, fmt.Errorf("%s must be %s, not %T", a.Name, a.Type.noun(), v)
	}
	return v, nil
}

// format writes a value as it stands in a file.
func (a *Attribute) format(v any) string {
	for _, w := range sortedKeys(a.Words) {
		if n, err := a.native(a.Words[w]); err == nil && equatable(n) && n == v {
			return Quote(w)
		}
	}
	return literalOf(v)
}

// literalOf writes a value by its Go type.
func literalOf(v any) string {
	switch v := v.(type) {
	case string:
		return Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return formatSize(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case time.Duration:
		return Quote(formatDuration(v))
	case []string:
		return "[" + strings.Join(quoteAll(v), ", ") + "]"
	case map[string]string:
		if len(v) == 0 {
			return "{}"
		}
		var b strings.Builder
		b.WriteString("{\n")
		for _, k := range sortedKeys(v) {
			b.WriteString("  " + Quote(k) + " = " + Quote(v[k]) + "\n")
		}
		b.WriteString("}")
		return b.String()
	}
	panic(fmt.Sprintf("configs: value of type %T", v))
}

// equatable tells whether == is defined for a value of an attribute.
func equatable(v any) bool {
	switch v.(type) {
	case []string, map[string]string:
		return false
	}
	return true
}
