package configs

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// jsonReader reads HCL's JSON syntax into the tree.
type jsonReader struct {
	*report
	loc *locator
}

func parseJSON(loc *locator, spec *BlockSpec, r *report) parsed {
	j := &jsonReader{report: r, loc: loc}
	if at, ok := jsonTooDeep(loc.src); !ok {
		r.err(loc.at(at), fmt.Sprintf("more than %d brackets are open here", maxDepth), "close them")
		return parsed{partial: true}
	}
	file, diags := json.Parse(loc.src, loc.file)
	if len(diags) > 0 {
		// The parser does not recover: what follows the first one is noise.
		j.translate(diags[0])
		return parsed{partial: true}
	}
	return parsed{body: j.body(file.Body, spec)}
}

// jsonTooDeep returns the offset at which the brackets pass maxDepth.
func jsonTooDeep(src []byte) (offset int, ok bool) {
	depth, quoted := 0, false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return i, false
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return 0, true
}

func (j *jsonReader) pos(r hcl.Range) Position { return j.loc.at(r.Start.Byte) }

func (j *jsonReader) translate(d *hcl.Diagnostic) {
	at := j.loc.at(0)
	if d.Subject != nil {
		at = j.pos(*d.Subject)
	}
	message := strings.TrimSuffix(d.Detail, ".")
	if message == "" {
		message = d.Summary
	}
	cure := ""
	if d.Subject != nil && bytes.HasPrefix(j.loc.src[min(d.Subject.Start.Byte, len(j.loc.src)):], []byte("//")) {
		cure = `JSON has no comments; write "//": "..." as a property`
	}
	j.err(at, lowerFirst(message), cure)
}

// name returns the property name that a range holds.
func (j *jsonReader) name(r hcl.Range) string {
	if r.Start.Byte < 0 || r.End.Byte > len(j.loc.src) || r.Start.Byte > r.End.Byte {
		return ""
	}
	var name string
	if stdjson.Unmarshal(j.loc.src[r.Start.Byte:r.End.Byte], &name) != nil {
		return ""
	}
	return name
}

func (j *jsonReader) body(b hcl.Body, spec *BlockSpec) bodyNode {
	schema := &hcl.BodySchema{}
	for _, a := range spec.Attributes {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	for _, inner := range spec.Blocks {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: inner.Name, LabelNames: inner.Labels})
	}
	content, diags := b.Content(schema)
	var node bodyNode
	for _, name := range sortedKeys(content.Attributes) {
		a := content.Attributes[name]
		node.attributes = append(node.attributes, attributeNode{name: name, pos: j.pos(a.NameRange), value: j.value(a.Expr)})
	}
	for _, d := range diags {
		switch {
		case d.Summary == "Extraneous JSON object property" && d.Subject != nil:
			// An unknown name; the engine has the words for it.
			node.attributes = append(node.attributes, attributeNode{
				name: j.name(*d.Subject), pos: j.pos(*d.Subject), value: value{kind: wrongValue, trouble: &Problem{}},
			})
		case d.Summary == "Duplicate argument" && d.Subject != nil && content.Attributes[j.name(*d.Subject)] != nil:
			name := j.name(*d.Subject)
			j.twice(name, j.pos(*d.Subject), j.pos(content.Attributes[name].NameRange))
		default:
			node.damaged = true
			j.translate(d)
		}
	}
	for _, inner := range content.Blocks {
		block := blockNode{name: inner.Type, pos: j.pos(inner.TypeRange), json: true}
		for i, text := range inner.Labels {
			at := j.pos(inner.LabelRanges[i])
			block.labels = append(block.labels, labelNode{text: text, pos: at})
			block.pos = at
		}
		block.body = j.body(inner.Body, spec.block(inner.Type))
		node.blocks = append(node.blocks, block)
	}
	return node
}

func (j *jsonReader) value(e hcl.Expression) value {
	v := value{pos: j.pos(e.Range())}
	val, diags := e.Value(nil) // no context: texts are not templates
	if diags.HasErrors() {
		for _, d := range diags {
			j.translate(d)
		}
		v.kind, v.trouble = wrongValue, &Problem{}
		return v
	}
	switch t := val.Type(); {
	case val.IsKnown() && !val.IsNull() && t.IsTupleType():
		v.kind = listValue
		items, _ := hcl.ExprList(e)
		for _, item := range items {
			v.items = append(v.items, j.value(item))
		}
		return v
	case val.IsKnown() && !val.IsNull() && t.IsObjectType():
		v.kind = mapValue
		pairs, _ := hcl.ExprMap(e)
		for _, pair := range pairs {
			key, _ := pair.Key.Value(nil)
			if key.Type() != cty.String || key.IsNull() || !key.IsKnown() {
				continue
			}
			v.entries = append(v.entries, entry{key: key.AsString(), pos: j.pos(pair.Key.Range()), value: j.value(pair.Value)})
		}
		return v
	}
	v = literal(v, val)
	if v.kind == textValue {
		text, mark := plainText(v.text)
		if mark != "" {
			v.kind, v.trouble = wrongValue, &Problem{Message: templateMessage(mark), Cure: templateCure(mark)}
		}
		v.text = text
	}
	return v
}

// plainText undoes the escapes $${ and %%{, and returns the first mark that is
// not escaped.
func plainText(s string) (text, mark string) {
	if !strings.Contains(s, "${") && !strings.Contains(s, "%{") {
		return s, ""
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		rest := s[i:]
		switch {
		case strings.HasPrefix(rest, "$${"), strings.HasPrefix(rest, "%%{"):
			b.WriteString(rest[1:3])
			i += 2
		case strings.HasPrefix(rest, "${"), strings.HasPrefix(rest, "%{"):
			return s, rest[:2]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
