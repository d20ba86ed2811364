package configs

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Mending: some slips break the syntax and are still plain in their meaning: a
// block with two attributes on one line, a value without quotes, a semicolon.
// After the first of them the HCL parser skips ahead and stays silent, so that
// an operator would meet their mistakes one by one. Therefore a light pass over
// the tokens, before the parser runs:
//
//  1. outline the file: items (attributes and blocks) with their tokens;
//  2. walk the outline, note every slip with its cure and the edit that undoes
//     it;
//  3. the parser reads the edited copy (a locator maps its positions back).
//
// A mended file is refused like any other with mistakes. The pass never has to
// understand everything: what it leaves alone, the parser reports.

// slip is one mistake of syntax that was understood.
type slip struct {
	at            int // offset
	message, cure string
}

// item is an attribute or a block in the outline. Numbers are token indexes;
// -1 is absent.
type item struct {
	name       int
	equal      int // of an attribute
	from, to   int // its value: tokens from <= i < to
	open       int // { of a block
	close      int // and its }
	items      []item
	last       int // last token of the item
	separator  int // a comma or semicolon directly after
	unquoted   int // length in bytes of a value that lacks its quotes, 0: none
	text       string
	complete   bool // the outline is sure of it
	newlineBad bool // the { stands on a later line
	label      string
	labelLen   int // length in bytes of a label that lacks its quotes, 0: none
}

type mender struct {
	src    []byte
	tokens hclsyntax.Tokens
	edits  []edit
	slips  []slip
}

func mend(loc *locator, tokens hclsyntax.Tokens) *mender {
	m := &mender{src: loc.src, tokens: tokens}
	m.templates()
	items, _ := m.outline(0, false)
	m.walk(items, false)
	return m
}

func (m *mender) slip(token int, message, cure string) {
	m.slips = append(m.slips, slip{m.start(token), message, cure})
}

func (m *mender) edit(at, remove int, insert string) {
	m.edits = append(m.edits, edit{at: at, remove: remove, insert: insert})
}

func (m *mender) kind(i int) hclsyntax.TokenType {
	if i < 0 || i >= len(m.tokens) {
		return hclsyntax.TokenEOF
	}
	return m.tokens[i].Type
}

func (m *mender) start(i int) int {
	if i >= len(m.tokens) {
		return len(m.src)
	}
	return m.tokens[i].Range.Start.Byte
}
func (m *mender) end(i int) int       { return m.tokens[i].Range.End.Byte }
func (m *mender) firstLine(i int) int { return m.tokens[i].Range.Start.Line }
func (m *mender) lastLine(i int) int {
	line := m.tokens[i].Range.End.Line
	if b := m.tokens[i].Bytes; len(b) > 0 && b[len(b)-1] == '\n' {
		line-- // a heredoc or comment ends with its line
	}
	return line
}

// endsLine tells whether the token is the end of a line.
func (m *mender) endsLine(i int) bool {
	switch m.kind(i) {
	case hclsyntax.TokenNewline, hclsyntax.TokenEOF:
		return true
	case hclsyntax.TokenComment:
		return bytes.HasSuffix(m.tokens[i].Bytes, []byte("\n"))
	}
	return false
}

// endsStatement tells whether an attribute may end before the token.
func (m *mender) endsStatement(i int) bool {
	switch m.kind(i) {
	case hclsyntax.TokenSemicolon, hclsyntax.TokenComma, hclsyntax.TokenCBrace:
		return true
	}
	return m.endsLine(i)
}

// templates notes every ${ and %{ in a text, and escapes it.
func (m *mender) templates() {
	depth := 0
	for i, t := range m.tokens {
		switch t.Type {
		case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			if depth++; depth > 1 {
				continue
			}
			mark := string(t.Bytes[:2])
			m.slip(i, templateMessage(mark), templateCure(mark))
			m.edit(m.start(i), 0, mark[:1])
		case hclsyntax.TokenTemplateSeqEnd:
			depth--
		}
	}
}

// outline reads items until the } of the block (inner) or the end of the file,
// and returns the index of the token that ended them.
func (m *mender) outline(i int, inner bool) (items []item, end int) {
	for {
		switch m.kind(i) {
		case hclsyntax.TokenEOF:
			return items, i
		case hclsyntax.TokenCBrace:
			if inner {
				return items, i
			}
			i++
		case hclsyntax.TokenIdent:
			it := m.item(i)
			i = it.last + 1
			if k := m.kind(i); k == hclsyntax.TokenComma || k == hclsyntax.TokenSemicolon {
				it.separator = i
				i++
			}
			items = append(items, it)
		default:
			i++
		}
	}
}

// item reads the item whose name is token i.
func (m *mender) item(i int) item {
	it := item{name: i, equal: -1, open: -1, close: -1, separator: -1, last: i}
	j := i + 1
	if k := m.kind(j); k == hclsyntax.TokenEqual || k == hclsyntax.TokenColon {
		it.equal = j
		m.valueOf(&it, j+1)
		return it
	}
	labels := 0
	for {
		next := m.label(j)
		if next == j {
			break
		}
		j, labels = next, labels+1
	}
	brace := j
	if m.kind(brace) == hclsyntax.TokenEqual && m.kind(brace+1) == hclsyntax.TokenOBrace {
		it.equal, brace = brace, brace+1 // listen "main" = {
	}
	for m.kind(brace) == hclsyntax.TokenNewline {
		brace++
	}
	if m.kind(brace) == hclsyntax.TokenOBrace {
		it.newlineBad = brace > j && it.equal < 0
		m.content(&it, brace)
		return it
	}
	if brace, ok := m.bareLabel(&it); ok {
		m.content(&it, brace)
		return it
	}
	if m.kind(i+1) == hclsyntax.TokenNumberLit || labels == 1 && m.endsStatement(j) {
		m.valueOf(&it, i+1) // status 200
		return it
	}
	m.skip(&it)
	return it
}

// skip extends an item that is not understood to the end of its line, and of
// the block that it opens.
func (m *mender) skip(it *item) {
	depth := 0
	for ; m.kind(it.last+1) != hclsyntax.TokenEOF; it.last++ {
		switch m.kind(it.last + 1) {
		case hclsyntax.TokenOBrace:
			depth++
		case hclsyntax.TokenCBrace:
			if depth == 0 {
				return
			}
			depth--
		}
		if depth == 0 && m.endsLine(it.last+1) {
			return
		}
	}
}

// content reads what stands in a block, whose { is token open.
func (m *mender) content(it *item, open int) {
	it.open = open
	it.items, it.close = m.outline(open+1, true)
	it.last = it.close
	if m.kind(it.close) != hclsyntax.TokenCBrace {
		it.close, it.last = -1, it.close-1 // the end of the file
	}
	it.complete = it.close >= 0
}

// bareLabel recognises a block whose label lacks its quotes, as in
// route GET /hello/{name} {, and returns the token of its {.
func (m *mender) bareLabel(it *item) (open int, ok bool) {
	if it.equal >= 0 || it.name+1 >= len(m.tokens) {
		return 0, false
	}
	at := m.start(it.name + 1)
	line, _, _ := bytes.Cut(m.src[at:min(len(m.src), at+maxUnquoted)], []byte("\n"))
	line = bytes.TrimRight(line, " \t\r")
	label, ok := bytes.CutSuffix(line, []byte("{"))
	label = bytes.TrimRight(label, " \t")
	if !ok || len(label) == 0 || bytes.ContainsAny(label, "\"=\u201c\u201d\u2018\u2019") || m.start(it.name+1) == m.end(it.name) {
		return 0, false
	}
	for i := it.name + 1; m.kind(i) != hclsyntax.TokenEOF && m.start(i) < at+len(line); i++ {
		if m.kind(i) == hclsyntax.TokenOBrace && m.start(i) == at+len(line)-1 {
			it.label, it.labelLen = string(label), len(label)
			return i, true
		}
	}
	return 0, false
}

// label returns the index after a label at token i, i when there is none.
func (m *mender) label(i int) int {
	switch m.kind(i) {
	case hclsyntax.TokenIdent:
		return i + 1
	case hclsyntax.TokenOQuote:
		for j := i + 1; m.kind(j) != hclsyntax.TokenEOF; j++ {
			if m.kind(j) == hclsyntax.TokenCQuote {
				return j + 1
			}
		}
	}
	return i
}

// valueOf finds the end of a value that begins at token i.
func (m *mender) valueOf(it *item, i int) {
	it.from = i
	if text, length := m.unquoted(i); length > 0 {
		it.text, it.unquoted = text, length
		stop := m.start(i) + length
		for i < len(m.tokens) && m.kind(i) != hclsyntax.TokenEOF && m.start(i) < stop {
			i++
		}
		it.to, it.last, it.complete = i, i-1, true
		return
	}
	depth := 0
	for ; ; i++ {
		if depth == 0 && i > it.from && m.beginsItem(i) || depth == 0 && m.endsLine(i) || m.kind(i) == hclsyntax.TokenEOF {
			break
		}
		switch m.kind(i) {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
			hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			depth--
		}
		if depth < 0 || depth == 0 && (m.kind(i) == hclsyntax.TokenComma || m.kind(i) == hclsyntax.TokenSemicolon) {
			break
		}
	}
	it.to, it.last = i, max(i-1, it.from-1)
	it.complete = it.to > it.from && depth <= 0
}

// beginsItem tells whether a new item begins at token i, in the middle of a
// line: a name after a blank, and = or { or a label after it.
func (m *mender) beginsItem(i int) bool {
	if m.kind(i) != hclsyntax.TokenIdent || m.start(i) == m.end(i-1) {
		return false
	}
	switch m.kind(i + 1) {
	case hclsyntax.TokenEqual, hclsyntax.TokenOBrace, hclsyntax.TokenOQuote:
		return true
	}
	return false
}

var (
	plainLiteral  = regexp.MustCompile(`^(-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|true|false|null)$`)
	bareWord      = regexp.MustCompile(`^[A-Za-z0-9_./:@+~*?,%-]+$`)
	bareBracketed = regexp.MustCompile(`^\[[0-9A-Fa-f:.]*\]:[0-9]+$`)
)

// maxUnquoted bounds, in bytes, how far the rest of a line is looked at.
const maxUnquoted = 2048

// unquoted recognises a value that lacks its quotes and stands alone on the
// rest of its line or block, and returns the text and its length in bytes.
func (m *mender) unquoted(i int) (text string, length int) {
	if m.kind(i) == hclsyntax.TokenEOF || m.endsLine(i) && m.kind(i) != hclsyntax.TokenComment {
		return "", 0
	}
	at := m.start(i)
	line, _, _ := bytes.Cut(m.src[at:min(len(m.src), at+maxUnquoted)], []byte("\n"))
	if len(line) == maxUnquoted {
		return "", 0
	}
	rest := string(bytes.TrimRight(line, "\r"))
	if strings.HasPrefix(rest, "'") {
		word, after, ok := strings.Cut(rest[1:], "'")
		if !ok || strings.ContainsAny(word, `"\`) || !endsValue(after) {
			return "", 0
		}
		return word, len(word) + 2
	}
	word, after := rest, ""
	if j := strings.IndexAny(rest, " \t"); j >= 0 {
		word, after = rest[:j], rest[j:]
	}
	if trimmed := strings.TrimRight(word, ",;}"); trimmed != word {
		word, after = trimmed, word[len(trimmed):]+after
	}
	if plainLiteral.MatchString(word) || !bareWord.MatchString(word) && !bareBracketed.MatchString(word) {
		return "", 0
	}
	if !endsValue(after) || strings.HasPrefix(word, "//") {
		return "", 0
	}
	return word, len(word)
}

// endsValue tells whether the rest of a line lets a value end before it.
func endsValue(rest string) bool {
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" || strings.IndexByte("#},;", rest[0]) >= 0 || strings.HasPrefix(rest, "//") {
		return true
	}
	name := strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz_")
	if name == rest {
		return false
	}
	name = strings.TrimLeft(name, " \t")
	return strings.HasPrefix(name, "=") && !strings.HasPrefix(name, "==") || strings.HasPrefix(name, "{")
}

// walk notes the slips of a list of items. quiet: the block around them is
// reported already, with a cure that rewrites them too.
func (m *mender) walk(items []item, quiet bool) {
	for i := range items {
		it := &items[i]
		slips := len(m.slips)
		if it.open < 0 {
			m.walkAttribute(it, quiet)
		} else {
			m.walkBlock(it, quiet)
		}
		if it.separator >= 0 {
			if !quiet && len(m.slips) == slips { // another cure shows the line without it already
				m.slip(it.separator, "a line ends without "+string(m.tokens[it.separator].Bytes), "remove it")
			}
			m.edit(m.start(it.separator), 1, "\n")
			continue
		}
		if i+1 < len(items) && m.lastLine(it.last) == m.firstLine(items[i+1].name) {
			next := items[i+1].name
			if !quiet {
				m.slip(next, m.name(next)+" begins in the middle of a line", "put it on a line of its own")
			}
			m.edit(m.start(next), 0, "\n")
		}
	}
}

func (m *mender) name(token int) string { return string(m.tokens[token].Bytes) }

func (m *mender) walkAttribute(it *item, quiet bool) {
	if !it.complete {
		return
	}
	name := m.name(it.name)
	wrong := false
	switch {
	case it.equal < 0:
		m.edit(m.start(it.from), 0, "= ")
		wrong = true
	case m.kind(it.equal) == hclsyntax.TokenColon:
		m.edit(m.start(it.equal), 1, " = ")
		wrong = true
	}
	if it.unquoted > 0 {
		m.edit(m.start(it.from), it.unquoted, Quote(it.text))
		if !wrong && !quiet {
			m.slip(it.from, "the value of "+name+" is not in double quotes", "write "+name+" = "+Quote(it.text))
		}
	}
	if wrong && !quiet {
		m.slip(it.name, "an = is missing after "+name, "write "+name+" = "+m.valueText(it))
	}
}

// valueText is the value as it should be written.
func (m *mender) valueText(it *item) string {
	if it.unquoted > 0 {
		return Quote(it.text)
	}
	return strings.TrimSpace(string(m.src[m.start(it.from):m.end(it.last)]))
}

func (m *mender) walkBlock(it *item, quiet bool) {
	if it.labelLen > 0 {
		if !quiet {
			m.slip(it.name+1, "the label of "+m.name(it.name)+" is not in double quotes", "write "+m.header(it)+" {")
		}
		m.edit(m.start(it.name+1), it.labelLen, Quote(it.label))
	}
	if it.equal >= 0 {
		if !quiet {
			m.slip(it.equal, m.name(it.name)+" is a block, and no = stands before its {", "remove the =")
		}
		m.edit(m.start(it.equal), 1, "")
	}
	if it.newlineBad {
		if !quiet {
			m.slip(it.open, "the { of a block stands on the line of its name", "move it to the end of "+m.header(it))
		}
		at := m.end(m.headerEnd(it))
		m.edit(at, m.start(it.open)-at, " ")
	}
	if it.close < 0 || !m.crowded(it) {
		m.walk(it.items, quiet)
		return
	}
	if !quiet {
		m.slip(it.name, "a block on one line holds at most one attribute", m.rewritten(it))
	}
	if m.firstLine(it.items[0].name) == m.lastLine(it.open) {
		m.edit(m.end(it.open), 0, "\n")
	}
	m.walk(it.items, true)
	last := it.items[len(it.items)-1]
	if last.separator < 0 && m.lastLine(last.last) == m.firstLine(it.close) {
		m.edit(m.start(it.close), 0, "\n")
	}
}

// crowded tells whether the block shares its lines with its content in a way
// that the syntax refuses.
func (m *mender) crowded(it *item) bool {
	if len(it.items) == 0 {
		return false
	}
	first, last := it.items[0], it.items[len(it.items)-1]
	opens := m.firstLine(first.name) == m.lastLine(it.open)
	closes := m.lastLine(last.last) == m.firstLine(it.close)
	if !opens && !closes {
		return false
	}
	plain := len(it.items) == 1 && first.open < 0 && first.complete && first.separator < 0
	// The parser takes one attribute between braces on its own lines, and also
	// when its value goes over several: { hosts = [\n ... ] }.
	return !(plain && opens && closes)
}

func (m *mender) headerEnd(it *item) int {
	end := it.open - 1
	for end > it.name && (m.kind(end) == hclsyntax.TokenNewline || m.kind(end) == hclsyntax.TokenEqual) {
		end--
	}
	return end
}

func (m *mender) header(it *item) string {
	if it.labelLen > 0 {
		return m.name(it.name) + " " + Quote(it.label)
	}
	return string(m.src[m.start(it.name):m.end(m.headerEnd(it))])
}

// maxRewritten is the number of lines up to which a cure shows a whole block.
const maxRewritten = 16

// rewritten is the cure of a crowded block: the same block on several lines.
func (m *mender) rewritten(it *item) string {
	lines, ok := m.render(nil, it, "    ")
	if !ok || len(lines) > maxRewritten {
		return "put every attribute and every block on a line of its own, and the } too"
	}
	return "write it on several lines:\n" + strings.Join(lines, "\n")
}

func (m *mender) render(lines []string, it *item, indent string) ([]string, bool) {
	if !it.complete || len(lines) > maxRewritten {
		return lines, false
	}
	if it.open < 0 {
		return append(lines, indent+m.name(it.name)+" = "+m.valueText(it)), true
	}
	if len(it.items) == 0 {
		return append(lines, indent+m.header(it)+" {}"), true
	}
	lines = append(lines, indent+m.header(it)+" {")
	width := 0
	for _, inner := range it.items {
		if inner.open < 0 {
			width = max(width, len(m.name(inner.name)))
		}
	}
	for i := range it.items {
		inner := &it.items[i]
		if inner.open < 0 && inner.complete {
			name := m.name(inner.name)
			lines = append(lines, indent+"  "+name+strings.Repeat(" ", width-len(name))+" = "+m.valueText(inner))
			continue
		}
		var ok bool
		if lines, ok = m.render(lines, inner, indent+"  "); !ok {
			return lines, false
		}
	}
	return append(lines, indent+"}"), true
}
