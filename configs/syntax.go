package configs

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Bounds on a file. The parser recurses: without a bound on the depth a file of
// brackets would exhaust the stack, which Go cannot recover from.
const (
	maxFileSize  = 4 << 20 // bytes
	maxDepth     = 64      // of brackets
	maxOperators = 1000    // prefix and conditional operators, none of which is allowed in the end
)

// parsed is one file as a tree.
type parsed struct {
	body bodyNode
	// partial: the parser lost something; what seems missing may be there.
	partial bool
}

// parse reads a file by the syntax that its name tells. The spec of the top
// level is needed by JSON, which does not tell a block from an attribute.
func parse(src Source, spec *BlockSpec, r *report) parsed {
	loc := newLocator(src.Name, src.Bytes)
	if len(src.Bytes) > maxFileSize {
		r.err(loc.at(0), fmt.Sprintf("the file has %d bytes", len(src.Bytes)),
			fmt.Sprintf("at most %d are read; split it by include", maxFileSize))
		return parsed{partial: true}
	}
	if strings.HasSuffix(src.Name, ".json") {
		return parseJSON(loc, spec, r)
	}
	return parseNative(loc, r)
}

// native reads the syntax tree of the HCL parser into ours.
type native struct {
	*report
	loc  *locator
	text []byte // the mended source, to which the ranges of the parser refer
}

func parseNative(loc *locator, r *report) parsed {
	n := &native{report: r, loc: loc}
	start := hcl.Pos{Line: 1, Column: 1}
	// The lexer's own findings come again from the parser.
	tokens, _ := hclsyntax.LexConfig(loc.src, loc.file, start)
	if at, ok := tooDeep(tokens); !ok {
		r.err(loc.at(at), fmt.Sprintf("more than %d brackets are open here", maxDepth), "close them, or write the values plainly")
		return parsed{partial: true}
	}
	m := mend(loc, tokens)
	n.text = loc.mended(m.edits)
	told := make(map[int]bool) // lines whose syntax is reported already
	for _, s := range m.slips {
		at := loc.at(s.at)
		told[at.Line] = true
		r.err(at, s.message, s.cure)
	}
	if len(m.edits) > 0 {
		if again, _ := hclsyntax.LexConfig(n.text, loc.file, start); again != nil {
			if at, ok := tooDeep(again); !ok {
				r.err(loc.at(loc.original(at)), fmt.Sprintf("more than %d brackets are open here", maxDepth), "close them, or write the values plainly")
				return parsed{partial: true}
			}
		}
	}
	file, diags := hclsyntax.ParseConfig(n.text, loc.file, start)
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return parsed{partial: true}
	}
	p := parsed{}
	for _, d := range diags {
		if n.redefined(d, body) {
			continue
		}
		p.partial = true
		at, message, cure := n.translate(d)
		if told[at.Line] {
			continue
		}
		told[at.Line] = true
		r.err(at, message, cure)
		if d.Summary == unclosedBlock || d.Summary == openText {
			// Whatever follows the opening brace is in the wrong block, and
			// what follows an open quote is inside out: to judge it would be
			// noise.
			return p
		}
	}
	p.body = n.body(body)
	return p
}

// tooDeep returns the offset at which the brackets pass maxDepth.
func tooDeep(tokens hclsyntax.Tokens) (offset int, ok bool) {
	depth, operators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
			hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
			hclsyntax.TokenTemplateSeqEnd:
			depth = max(0, depth-1)
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenQuestion:
			operators++
		}
		if depth > maxDepth || operators > maxOperators {
			return t.Range.Start.Byte, false
		}
	}
	return 0, true
}

func (n *native) pos(r hcl.Range) Position { return n.loc.at(n.loc.original(r.Start.Byte)) }

// source returns the text of a range, "" when the range is out of the file.
func (n *native) source(r hcl.Range) string {
	if r.Start.Byte < 0 || r.End.Byte > len(n.text) || r.Start.Byte > r.End.Byte {
		return ""
	}
	return string(n.text[r.Start.Byte:r.End.Byte])
}

// lines returns where the lines of a text stand whose template begins at that byte. A heredoc's begin on the next line, each behind the
// indentation that "<<-" takes away.
func (n *native) lines(start int, text string) []Position {
	rest := n.text[min(max(start, 0), len(n.text)):]
	if !bytes.HasPrefix(rest, []byte("<<")) {
		if bytes.HasPrefix(rest, []byte{'"'}) {
			start++
		}
		return []Position{n.loc.at(n.loc.original(start))}
	}
	var places []Position
	for line := range strings.Lines(text) {
		_, after, _ := bytes.Cut(rest, []byte{'\n'})
		raw, _, _ := bytes.Cut(after, []byte{'\n'})
		indent := max(0, len(raw)-len(strings.TrimSuffix(line, "\n")))
		places = append(places, n.loc.at(n.loc.original(len(n.text)-len(after)+indent)))
		rest = after
	}
	return places
}

func (n *native) body(b *hclsyntax.Body) bodyNode {
	var node bodyNode
	if b == nil {
		return node
	}
	for _, name := range sortedKeys(b.Attributes) {
		a := b.Attributes[name]
		if a == nil {
			continue
		}
		node.attributes = append(node.attributes, attributeNode{
			name: a.Name, pos: n.pos(a.NameRange), value: n.value(a.Expr),
		})
	}
	for _, b := range b.Blocks {
		block := blockNode{name: b.Type, pos: n.pos(b.TypeRange), body: n.body(b.Body)}
		for i, text := range b.Labels {
			block.labels = append(block.labels, labelNode{text: text, pos: n.pos(b.LabelRanges[i])})
		}
		node.blocks = append(node.blocks, block)
	}
	return node
}

// value reads a literal. Everything else that HCL can compute is refused: a
// configuration says what it means.
func (n *native) value(e hclsyntax.Expression) value {
	if e == nil {
		return value{kind: wrongValue, trouble: &Problem{}}
	}
	v := value{pos: n.pos(e.Range())}
	refuse := func(message, cure string) value {
		v.kind, v.trouble = wrongValue, &Problem{Message: message, Cure: cure}
		return v
	}
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return literal(v, e.Val)
	case *hclsyntax.TemplateExpr:
		var text strings.Builder
		for _, part := range e.Parts {
			l, ok := part.(*hclsyntax.LiteralValueExpr)
			if !ok || l.Val.Type() != cty.String || l.Val.IsNull() || !l.Val.IsKnown() {
				return refuse(templateMessage("${"), templateCure("${"))
			}
			text.WriteString(l.Val.AsString())
		}
		v.kind, v.text = textValue, text.String()
		v.lines = n.lines(e.Range().Start.Byte, v.text)
		return v
	case *hclsyntax.TemplateWrapExpr:
		return refuse(templateMessage("${"), templateCure("${"))
	case *hclsyntax.TupleConsExpr:
		v.kind = listValue
		for _, item := range e.Exprs {
			v.items = append(v.items, n.value(item))
		}
		return v
	case *hclsyntax.ObjectConsExpr:
		v.kind = mapValue
		for _, item := range e.Items {
			key := n.key(item.KeyExpr)
			if key.trouble != nil {
				return key
			}
			v.entries = append(v.entries, entry{key: key.text, pos: key.pos, value: n.value(item.ValueExpr)})
		}
		return v
	case *hclsyntax.UnaryOpExpr:
		inner := n.value(e.Val)
		if e.Op == hclsyntax.OpNegate && inner.kind == numberValue {
			v.kind, v.number = numberValue, inner.number.Neg(inner.number)
			return v
		}
	case *hclsyntax.ScopeTraversalExpr:
		word := n.source(e.SrcRange)
		return refuse(word+" is not in quotes", "write "+Quote(word))
	case *hclsyntax.FunctionCallExpr:
		return refuse("there are no functions, and "+e.Name+"() is one", "write the value itself")
	}
	return refuse("a value is not computed", "write the value itself, without operators or brackets around it")
}

func (n *native) key(e hclsyntax.Expression) value {
	if k, ok := e.(*hclsyntax.ObjectConsKeyExpr); ok {
		if word := hcl.ExprAsKeyword(k.Wrapped); word != "" && !k.ForceNonLiteral {
			return value{kind: textValue, text: word, pos: n.pos(k.Range())}
		}
		e = k.Wrapped
	}
	v := n.value(e)
	if v.trouble == nil && v.kind != textValue {
		v.trouble = &Problem{Message: "a key must be text, not " + v.echo(), Cure: "write it in quotes"}
	}
	return v
}

// literal reads a value of the cty type system, and copies what it refers to.
func literal(v value, val cty.Value) value {
	switch {
	case !val.IsKnown() || val.Type() == cty.DynamicPseudoType && !val.IsNull():
		v.kind, v.trouble = wrongValue, &Problem{} // the parser has reported it
	case val.IsNull():
		v.kind = nullValue
	case val.Type() == cty.String:
		v.kind, v.text = textValue, val.AsString()
	case val.Type() == cty.Bool:
		v.kind, v.flag = boolValue, val.True()
	case val.Type() == cty.Number:
		v.kind, v.number = numberValue, val.AsBigFloat()
	default:
		v.kind, v.trouble = wrongValue, &Problem{}
	}
	return v
}

func templateMessage(mark string) string {
	return mark + " in a text begins a template, and there are none"
}

func templateCure(mark string) string {
	return "write " + mark[:1] + mark + " for a plain " + mark
}

// Findings after which the parser is out of step.
const (
	unclosedBlock = "Unclosed configuration block"
	openText      = "Invalid multi-line string"
)

// redefined reports an attribute that stands twice in one block: for the HCL
// parser a matter of syntax, for us one of meaning.
func (n *native) redefined(d *hcl.Diagnostic, root *hclsyntax.Body) bool {
	if d.Summary != "Attribute redefined" || d.Subject == nil {
		return false
	}
	name := n.source(*d.Subject)
	var first *hclsyntax.Attribute
	var find func(b *hclsyntax.Body)
	find = func(b *hclsyntax.Body) { // the innermost body wins
		if a := b.Attributes[name]; a != nil {
			first = a
		}
		for _, block := range b.Blocks {
			if r := block.Body.SrcRange; r.Start.Byte <= d.Subject.Start.Byte && d.Subject.Start.Byte < r.End.Byte {
				find(block.Body)
			}
		}
	}
	find(root)
	if first == nil {
		return false
	}
	n.twice(name, n.pos(*d.Subject), n.pos(first.NameRange))
	return true
}

// twice reports a name that may stand once only.
func (r *report) twice(what string, at, first Position) {
	r.err(at, fmt.Sprintf("%s is set already at %s", what, first), "keep one of them")
}

// translate puts a finding of the HCL parser into our words.
func (n *native) translate(d *hcl.Diagnostic) (at Position, message, cure string) {
	at = n.loc.at(0)
	var line string
	if d.Subject != nil {
		at = n.pos(*d.Subject)
		line = n.line(at.Line)
	}
	switch d.Summary {
	case unclosedBlock:
		message = "the block that opens here is not closed"
		cure = "add the missing }"
		if before := n.outdented(at.Line); before > 0 {
			cure = fmt.Sprintf("add the missing }, probably before line %d", before)
		}
		return at, message, cure
	case "Argument or block definition required":
		if strings.HasPrefix(strings.TrimSpace(line), "}") {
			return at, "this } closes nothing", "remove it, or look for a missing {"
		}
		return at, "an attribute or a block is expected here", `write NAME = VALUE, or NAME "LABEL" { and the block's lines below`
	case "Invalid block definition":
		return at, "this is neither an attribute nor a block", `write NAME = VALUE, or NAME "LABEL" { with the { on the same line`
	case "Invalid argument name":
		return at, "the name of an attribute stands without quotes", "remove the quotes"
	case "Missing newline after argument":
		return at, "an attribute ends its line, and something follows", "put the value into quotes if it is one text, or begin a new line"
	case "Missing newline after block definition":
		return at, "a block ends its line, and something follows", "begin a new line after the }"
	case openText, "Unterminated string literal", "Unterminated template string":
		return at, "a text ends on its line, and this one is not closed", `add the missing ", and write \n for a new line`
	case "Missing item separator", "Unterminated tuple constructor expression":
		return at, "the list is not closed, or a comma is missing", `write ["one", "two"]`
	case "Missing attribute separator", "Missing attribute value", "Missing key/value separator", "Unterminated object constructor expression":
		return at, "the map is not closed, or a pair is not well formed", `write { "key" = "value" }`
	case "Missing expression", "Invalid expression":
		return at, "a value is expected here", `write a text in quotes, a number, true, false or a list`
	case "Invalid escape sequence":
		return at, "unknown escape in a text: " + lowerFirst(strings.TrimSuffix(d.Detail, ".")), `write \\ for a plain \ (escapes: \n \r \t \" \\ \uNNNN)`
	case "Invalid character encoding":
		return at, "the file is not UTF-8", "save it as UTF-8"
	case "Invalid character":
		if strings.Contains(d.Detail, "urly quotes") {
			return at, "this quotation mark is not a straight one", `write "`
		}
		return at, "this character has no meaning here", "put the value into straight double quotes if it belongs to a text"
	case "Invalid single-argument block definition", "Argument definition required":
		return at, "a block on one line holds at most one attribute", "put every attribute and every block on a line of its own, and the } too"
	}
	message = strings.TrimSuffix(d.Detail, ".")
	if message == "" {
		message = d.Summary
	}
	return at, strings.NewReplacer("argument", "attribute", "Argument", "Attribute").Replace(lowerFirst(message)), ""
}

// line returns a line of the original source.
func (n *native) line(number int) string {
	if number < 1 || number > len(n.loc.lines) {
		return ""
	}
	line := n.loc.src[n.loc.lines[number-1]:]
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return string(line)
}

// outdented returns the first line after the given one that is not indented
// more and does not close a block: a brace is missing before it, if the file is
// indented at all. 0: none.
func (n *native) outdented(number int) int {
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }
	own := indent(n.line(number))
	for i := number + 1; i <= len(n.loc.lines); i++ {
		text := n.line(i)
		trimmed := strings.TrimSpace(text)
		if trimmed == "" || trimmed[0] == '#' || strings.HasPrefix(trimmed, "//") {
			continue
		}
		if indent(text) > own {
			continue
		}
		if trimmed[0] == '}' {
			return 0
		}
		return i
	}
	return 0
}

func lowerFirst(s string) string {
	if len(s) < 2 || s[1] >= 'A' && s[1] <= 'Z' {
		return s // "JSON ..."
	}
	return strings.ToLower(s[:1]) + s[1:]
}
