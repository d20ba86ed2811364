package sqlite

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/configs"
)

// paramTypes are the words of type.
var paramTypes = []string{string(typeText), string(typeInteger), string(typeNumber), string(typeBoolean), string(typeBlob), string(typeJSON)}

// maxLength bounds texts and blobs that have no max_length of their own, in characters and bytes.
const maxLength = 64 << 10

// checkParam finds what is wrong in param { }.
func checkParam(b *configs.Block) []configs.Problem {
	var problems []configs.Problem
	wrong := func(at, message, cure string) {
		problems = append(problems, configs.Problem{At: at, Message: message, Cure: cure})
	}
	typ := paramType(b.String("type"))
	numeric, sized := typ == typeInteger || typ == typeNumber, typ == typeText || typ == typeBlob || typ == typeJSON
	for _, at := range []string{"min", "max"} {
		if b.Has(at) && !numeric {
			wrong(at, fmt.Sprintf("%s is for integers and numbers, and this is of type %s", at, typ), "for the length of a text write "+at+"_length")
		}
		if b.Has(at) && typ == typeInteger && b.Number(at) != math.Trunc(b.Number(at)) {
			wrong(at, at+" of an integer is no integer", "write a whole number")
		}
		if length := at + "_length"; b.Has(length) && !sized {
			wrong(length, length+" is for texts and blobs", "for the value of a number write "+at)
		}
	}
	if b.Has("min") && b.Has("max") && b.Number("min") > b.Number("max") {
		wrong("min", "min is greater than max", "lower min or raise max")
	}
	if b.Has("min_length") && b.Has("max_length") && b.Int("min_length") > b.Int("max_length") {
		wrong("min_length", "min_length is greater than max_length", "lower min_length or raise max_length")
	}
	for _, at := range []string{"pattern", "one_of"} {
		if b.Has(at) && typ != typeText {
			wrong(at, at+" is for texts", "remove it, or take type = \"text\"")
		}
	}
	if _, err := wholePattern(b.String("pattern")); err != nil {
		wrong("pattern", "the pattern is no regular expression: "+err.Error(), "see https://pkg.go.dev/regexp/syntax")
	}
	if len(problems) == 0 && b.Has("default") {
		p := newParam(b)
		if _, err := p.parse(b.String("default")); err != nil {
			wrong("default", "the default is no value of the parameter: "+err.Message, "write a value that a client may send")
		}
	}
	return problems
}

func wholePattern(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// newParam reads param { }, which has been checked.
func newParam(b *configs.Block) param {
	p := param{
		name: b.Label(0), doc: b.String("doc"), typ: paramType(b.String("type")), nullable: b.Bool("nullable"),
		minLen: b.Int("min_length"), maxLen: maxLength, oneOf: b.Strings("one_of"),
	}
	p.pattern, _ = wholePattern(b.String("pattern")) // checkParam has compiled it
	if b.Has("max_length") {
		p.maxLen = b.Int("max_length")
	}
	bound := func(at string) (*float64, *int64) {
		if !b.Has(at) {
			return nil, nil
		}
		f := b.Number(at)
		if p.typ == typeNumber {
			return &f, nil
		}
		i := saturate(f)
		return nil, &i
	}
	p.min, p.minInt = bound("min")
	p.max, p.maxInt = bound("max")
	p.required = !b.Has("default") && !p.nullable
	if b.Has("default") {
		p.fallback, _ = p.parse(b.String("default")) // checkParam has parsed it
	}
	return p
}

// saturate is the int64 nearest to f.
func saturate(f float64) int64 {
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

// wrong is the error of a value of p.
func (p *param) wrong(format string, args ...any) *engine.Error {
	return engine.Errorf(engine.CodeParameter, "parameter %q "+format, append([]any{p.name}, args...)...)
}

// parse reads a value as it stands in a URL or a form.
func (p *param) parse(text string) (engine.Value, *engine.Error) {
	switch p.typ {
	case typeInteger:
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return engine.Value{}, p.wrong("is no integer of 64 bits")
		}
		return p.integer(i)
	case typeNumber:
		if !decimal.MatchString(text) {
			return engine.Value{}, p.wrong("is no number")
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return engine.Value{}, p.wrong("is no number that 64 bits can hold")
		}
		return p.number(f)
	case typeBoolean:
		switch text {
		case "true", "1":
			return engine.IntegerOf(1), nil
		case "false", "0":
			return engine.IntegerOf(0), nil
		}
		return engine.Value{}, p.wrong("is neither true nor false")
	case typeBlob:
		bytes, err := wire.Base64(text)
		if err != nil {
			return engine.Value{}, p.wrong("is no base64")
		}
		return p.blob(bytes)
	case typeJSON:
		if !json.Valid([]byte(text)) {
			return engine.Value{}, p.wrong("is no JSON")
		}
	}
	return p.text(text)
}

// decimal is how a number is written in a URL: no hexadecimal, no infinity, no underscores.
var decimal = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// take reads a value of a JSON document. A text is no number there, nor a number a text.
func (p *param) take(m *wire.Member) (engine.Value, error) {
	if m.Form == wire.FormNull && p.typ != typeJSON {
		if !p.nullable {
			return engine.Value{}, m.Errorf(engine.CodeParameter, "it is null, and must not be")
		}
		return engine.Value{}, nil
	}
	v, err := p.convert(m)
	if e, ok := err.(*engine.Error); ok && e.Code == engine.CodeParameter && e.Err == nil {
		return v, m.Errorf(engine.CodeParameter, "%s", e.Message)
	}
	return v, err
}

// convert is take for what is not null.
func (p *param) convert(m *wire.Member) (engine.Value, error) {
	if p.typ == typeJSON {
		return checked(p.text(string(m.Raw)))
	}
	want := map[paramType][]wire.Form{
		typeInteger: {wire.FormInteger, wire.FormReal}, typeNumber: {wire.FormInteger, wire.FormReal}, typeBoolean: {wire.FormBoolean},
		typeText: {wire.FormText}, typeBlob: {wire.FormText, wire.FormBlob},
	}[p.typ]
	if !slices.Contains(want, m.Form) {
		return engine.Value{}, p.wrong("is %s, and must be of type %s", m.Form, p.typ)
	}
	v, err := m.Value()
	if err != nil {
		return v, err
	}
	switch {
	case p.typ == typeInteger && v.Kind == engine.Real:
		if v.Real != math.Trunc(v.Real) || math.Abs(v.Real) > 1<<53 {
			return v, p.wrong("is no integer")
		}
		return checked(p.integer(int64(v.Real))) // 1e3, or 2.0
	case p.typ == typeInteger:
		return checked(p.integer(v.Int))
	case p.typ == typeNumber && v.Kind == engine.Integer:
		return checked(p.number(float64(v.Int)))
	case p.typ == typeNumber:
		return checked(p.number(v.Real))
	case p.typ == typeBlob && v.Kind == engine.Text:
		return checked(p.parse(string(v.Bytes)))
	case p.typ == typeBlob:
		return checked(p.blob(v.Bytes))
	case p.typ == typeText:
		return checked(p.text(string(v.Bytes)))
	}
	return v, nil
}

// checked keeps a nil *engine.Error from becoming an error.
func checked(v engine.Value, err *engine.Error) (engine.Value, error) {
	if err != nil {
		return v, err
	}
	return v, nil
}

func (p *param) integer(i int64) (engine.Value, *engine.Error) {
	if p.minInt != nil && i < *p.minInt {
		return engine.Value{}, p.wrong("is less than %d", *p.minInt)
	}
	if p.maxInt != nil && i > *p.maxInt {
		return engine.Value{}, p.wrong("is greater than %d", *p.maxInt)
	}
	return engine.IntegerOf(i), nil
}

func (p *param) number(f float64) (engine.Value, *engine.Error) {
	if p.min != nil && f < *p.min {
		return engine.Value{}, p.wrong("is less than %v", *p.min)
	}
	if p.max != nil && f > *p.max {
		return engine.Value{}, p.wrong("is greater than %v", *p.max)
	}
	return engine.RealOf(f), nil
}

func (p *param) blob(bytes []byte) (engine.Value, *engine.Error) {
	if err := p.length(len(bytes), "bytes"); err != nil {
		return engine.Value{}, err
	}
	return engine.BlobOf(bytes), nil
}

func (p *param) text(text string) (engine.Value, *engine.Error) {
	if !utf8.ValidString(text) {
		return engine.Value{}, p.wrong("is no UTF-8")
	}
	if strings.IndexByte(text, 0) >= 0 {
		return engine.Value{}, p.wrong("holds a NUL, which ends a text for most functions of SQLite")
	}
	if err := p.length(utf8.RuneCountInString(text), "characters"); err != nil {
		return engine.Value{}, err
	}
	if p.pattern != nil && !p.pattern.MatchString(text) {
		return engine.Value{}, p.wrong("does not have the form that it must have")
	}
	if len(p.oneOf) > 0 && !slices.Contains(p.oneOf, text) {
		return engine.Value{}, p.wrong("is none of %s", strings.Join(p.oneOf, ", "))
	}
	return engine.TextOf(text), nil
}

func (p *param) length(n int, unit string) *engine.Error {
	if n < p.minLen {
		return p.wrong("has fewer than %d %s", p.minLen, unit)
	}
	if n > p.maxLen {
		return p.wrong("has more than %d %s", p.maxLen, unit)
	}
	return nil
}
