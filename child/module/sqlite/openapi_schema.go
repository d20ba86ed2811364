package sqlite

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A schema is one of JSON Schema 2020-12 (https://json-schema.org/draft/2020-12/json-schema-core), as far as it is needed here. The zero schema
// takes any value.
type schema struct {
	Ref         string `json:"$ref,omitempty"`
	Type        any    `json:"type,omitempty"` // a string, or a list of them
	Format      string `json:"format,omitempty"`
	Description string `json:"description,omitempty"`
	// Encoding of a string's bytes (JSON Schema validation, 8.3).
	Encoding   string             `json:"contentEncoding,omitempty"`
	MediaType  string             `json:"contentMediaType,omitempty"`
	Enum       []any              `json:"enum,omitempty"`
	Default    json.RawMessage    `json:"default,omitempty"`
	Minimum    *json.Number       `json:"minimum,omitempty"`
	Maximum    *json.Number       `json:"maximum,omitempty"`
	MinLength  int                `json:"minLength,omitempty"`
	MaxLength  int                `json:"maxLength,omitempty"`
	Pattern    string             `json:"pattern,omitempty"`
	Items      *schema            `json:"items,omitempty"`
	MinItems   int                `json:"minItems,omitempty"`
	MaxItems   int                `json:"maxItems,omitempty"`
	Properties map[string]*schema `json:"properties,omitempty"`
	Required   []string           `json:"required,omitempty"`
	Additional *bool              `json:"additionalProperties,omitempty"`
	AnyOf      []*schema          `json:"anyOf,omitempty"`
	OneOf      []*schema          `json:"oneOf,omitempty"`
}

func refer(name string) *schema { return &schema{Ref: "#/components/schemas/" + name} }

func listOf(items *schema) *schema { return &schema{Type: "array", Items: items} }

// describe is a parameter of the path or the query string; name is what it is called there.
func (p *param) describe(name string) apiParameter {
	to := apiParameter{Name: name, In: string(p.in), Description: markdown(sentences(p.doc, p.said())), Required: p.required || p.in == inPath}
	if p.typ == typeJSON {
		to.Content = map[string]apiMedia{"application/json": {Schema: p.schema(true)}}
	} else {
		to.Schema = p.schema(true)
	}
	return to
}

// said is what a schema cannot say of a parameter.
func (p *param) said() string {
	var list []string
	if _, portable := p.portablePattern(); p.pattern != nil && !portable {
		list = append(list, "It matches "+p.pattern.String()+" (RE2)")
	}
	switch {
	case p.typ == typeBlob && (p.minLen > 0 || p.maxLen > 0):
		list = append(list, strings.ToUpper(p.bounds()[:1])+p.bounds()[1:]+" when decoded")
	case p.nullable && p.in != inBody:
		list = append(list, "NULL when it is not given")
	}
	return sentences(list...)
}

// bounds says the length for people: "1 to 40 characters".
func (p *param) bounds() string {
	unit := " characters"
	if p.typ == typeBlob {
		unit = " bytes"
	}
	switch {
	case p.minLen > 0 && p.maxLen > 0:
		return strconv.Itoa(p.minLen) + " to " + strconv.Itoa(p.maxLen) + unit
	case p.minLen > 0:
		return "at least " + strconv.Itoa(p.minLen) + unit
	case p.maxLen > 0:
		return "at most " + strconv.Itoa(p.maxLen) + unit
	}
	return ""
}

// schema is that of a value: as text, in a URL or a form, or in JSON.
func (p *param) schema(text bool) *schema {
	s := &schema{}
	kind := "string"
	switch p.typ {
	case typeInteger:
		kind, s.Format = "integer", "int64"
		s.Minimum, s.Maximum = integerBound(p.minInt), integerBound(p.maxInt)
	case typeNumber:
		kind, s.Format = "number", "double"
		s.Minimum, s.Maximum = numberBound(p.min), numberBound(p.max)
	case typeBoolean:
		kind = "boolean"
	case typeBlob:
		s.Encoding = "base64"
		if !text {
			return p.blobSchema()
		}
	case typeJSON:
		s.Default = p.defaultJSON()
		return s
	case typeText:
		s.MinLength, s.MaxLength = p.minLen, p.maxLen
		s.Pattern, _ = p.portablePattern()
		for _, one := range p.oneOf {
			s.Enum = append(s.Enum, one)
		}
	}
	s.Type, s.Default = kind, p.defaultJSON()
	if p.nullable && !text {
		s.Type = []string{kind, "null"}
		if s.Enum != nil {
			s.Enum = append(s.Enum, nil)
		}
	}
	return s
}

// blobSchema is that of a blob in JSON: an object that says so, or base64.
func (p *param) blobSchema() *schema {
	s := &schema{AnyOf: []*schema{refer("Blob"), {Type: "string", Encoding: "base64"}}, Default: p.defaultJSON()}
	if p.nullable {
		s.AnyOf = append(s.AnyOf, &schema{Type: "null"})
	}
	return s
}

func integerBound(i *int64) *json.Number {
	if i == nil {
		return nil
	}
	n := json.Number(strconv.FormatInt(*i, 10))
	return &n
}

func numberBound(f *float64) *json.Number {
	if f == nil {
		return nil
	}
	return (*json.Number)(numberText(*f))
}

// numberText is nil for what JSON cannot write.
func numberText(f float64) *string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil
	}
	s := string(text)
	return &s
}

// defaultJSON is the value that stands for one that is not given; nil: there is none, or it is NULL.
func (p *param) defaultJSON() json.RawMessage {
	v := p.fallback
	if p.required {
		return nil
	}
	switch {
	case p.typ == typeBoolean && v.Kind == engine.Integer:
		return json.RawMessage(strconv.FormatBool(v.Int != 0))
	case p.typ == typeJSON && v.Kind == engine.Text && json.Valid(v.Bytes):
		return json.RawMessage(v.Bytes)
	case v.Kind == engine.Integer:
		return json.RawMessage(strconv.FormatInt(v.Int, 10))
	case v.Kind == engine.Real:
		if text := numberText(v.Real); text != nil {
			return json.RawMessage(*text)
		}
	case v.Kind == engine.Text:
		return quoted(string(v.Bytes))
	case v.Kind == engine.Blob:
		return quoted(base64.StdEncoding.EncodeToString(v.Bytes))
	}
	return nil
}

func quoted(s string) json.RawMessage {
	text, err := json.Marshal(s)
	if err != nil {
		return nil // a string can always be written
	}
	return text
}

// portablePattern is the pattern as ECMA-262 has it, with its "u" flag, which is what a schema wants (JSON Schema core, 6.4). false: there is one,
// and it means something else there, or nothing.
func (p *param) portablePattern() (string, bool) {
	if p.pattern == nil {
		return "", true
	}
	source, whole := strings.CutPrefix(p.pattern.String(), `\A(?:`)
	if whole {
		source = strings.TrimSuffix(source, `)\z`)
	}
	if !portable(source) {
		return "", false
	}
	if whole {
		source = "^(?:" + source + ")$"
	}
	return source, true
}

// portable reports whether RE2 and ECMA-262 surely read source in the same way.
func portable(source string) bool {
	class := false // between '[' and ']'
	for i := 0; i < len(source); i++ {
		switch c := source[i]; {
		case c == '\\':
			i++ // not the last byte: it has been compiled
			if !strings.ContainsRune(`^$\.*+?()[]{}|/dDwWntrbB`, rune(source[i])) || class && (source[i] == 'b' || source[i] == 'B') {
				return false
			}
		case class:
			if c == '[' || c == '{' || c == '}' { // "[:alpha:]" is RE2's only
				return false
			}
			class = c != ']'
		case c == '[':
			class = true
			if rest := strings.TrimPrefix(source[i+1:], "^"); strings.HasPrefix(rest, "]") { // RE2: a member
				return false
			}
		case c == ']', c == '}':
			return false // RE2: itself
		case c == '{':
			end := strings.IndexByte(source[i:], '}')
			if end < 2 || strings.Trim(source[i+1:i+end], "0123456789,") != "" || source[i+1] == ',' {
				return false
			}
			i += end
		case strings.HasPrefix(source[i:], "(?") && !strings.HasPrefix(source[i:], "(?:"):
			return false // flags
		}
	}
	return !class
}

// body describes the content that a query takes; nil: none.
func (q *query) body() *apiBody {
	object := &schema{Type: "object", Properties: map[string]*schema{}, Additional: new(bool)}
	form := &schema{Type: "object", Properties: map[string]*schema{}, Additional: new(bool)}
	for i := range q.params {
		p := &q.params[i]
		if p.in != inBody {
			continue
		}
		about := func(s *schema) *schema {
			s.Description = markdown(sentences(p.doc, p.said()))
			return s
		}
		object.Properties[p.name] = about(p.schema(false))
		form.Properties[p.name] = about(p.formSchema())
		if p.required {
			object.Required = append(object.Required, p.name)
			form.Required = append(form.Required, p.name)
		}
	}
	if len(object.Properties) == 0 {
		return nil
	}
	sets := object
	if q.batch > 0 {
		sets = &schema{OneOf: []*schema{object, {Type: "array", Items: object, MinItems: 1, MaxItems: q.batch,
			Description: "Sets of parameters that are written in one transaction: all of them, or none."}}}
	}
	return &apiBody{
		Description: "The parameters. One that is not here may stand in the query string instead.",
		Content:     map[string]apiMedia{"application/json": {Schema: sets}, "application/x-www-form-urlencoded": {Schema: form}},
		Required:    len(object.Required) > 0,
	}
}

func (p *param) formSchema() *schema {
	if p.typ == typeJSON {
		return &schema{Type: "string", MediaType: "application/json"}
	}
	return p.schema(true)
}

// columnSchema is the type of a column as it was declared. Only a column that was declared so, and STRICT tables, hold to it.
func columnSchema(c *engine.Column) *schema {
	declared := strings.ToLower(c.Type)
	said := markdown("Declared as " + strconv.Quote(c.Type) + ".")
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(declared, w) })
	}
	switch { // https://www.sqlite.org/datatype3.html, 3.1: in this order
	case declared == "":
		return refer("Value") // an expression
	case has("int"):
		return &schema{Type: []string{"integer", "null"}, Format: "int64", Description: said}
	case has("char", "clob", "text"):
		return &schema{Type: []string{"string", "null"}, Description: said}
	case has("blob"):
		return &schema{AnyOf: []*schema{refer("Blob"), {Type: "null"}}, Description: said}
	case has("real", "floa", "doub"):
		return &schema{Type: []string{"number", "null"}, Description: said}
	}
	return &schema{Ref: "#/components/schemas/Value", Description: said} // dates, decimals: numbers or texts
}

// rowSchema is that of an object of a result.
func (q *query) rowSchema() *schema {
	row := &schema{Type: "object", Properties: map[string]*schema{}}
	for i := range q.info.Columns {
		c := &q.info.Columns[i]
		if row.Properties[c.Name] == nil {
			row.Properties[c.Name] = columnSchema(c)
			row.Required = append(row.Required, c.Name)
		}
	}
	return row
}
