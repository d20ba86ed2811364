package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// page is a manual page in the making, in roff with the macros of man(7).
type page struct{ out strings.Builder }

// prose makes a text safe within a paragraph. Hyphens may become typographic ones there.
func prose(text string) string { return proseEscapes.Replace(text) }

// literal makes safe what people copy: every character of it is the one of the keyboard.
func literal(text string) string { return literalEscapes.Replace(text) }

var (
	proseEscapes   = strings.NewReplacer(`\`, `\e`, `~`, `\(ti`, `^`, `\(ha`)
	literalEscapes = strings.NewReplacer(`\`, `\e`, `~`, `\(ti`, `^`, `\(ha`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`)
)

func bold(text string) string   { return `\fB` + literal(text) + `\fR` }
func italic(text string) string { return `\fI` + literal(text) + `\fR` }

// newPage begins a page. Lines are neither hyphenated nor justified, so that names and settings stay whole, and there is one blank after a
// sentence wherever it ends. Paragraphs of groff set hyphenation anew, by the register HY.
func newPage(title, section, date, source string) *page {
	p := &page{}
	fmt.Fprintf(&p.out, ".TH \"%s\" \"%s\" \"%s\" \"%s\" \"tined manual\"\n", literal(title), section, date, literal(source))
	p.out.WriteString(".nr HY 0\n.nh\n.ad l\n.ss 12 0\n")
	return p
}

// macro writes a request with its arguments, which may hold blanks.
func (p *page) macro(name string, arguments ...string) {
	p.out.WriteString(name)
	for _, a := range arguments {
		fmt.Fprintf(&p.out, " \"%s\"", strings.ReplaceAll(literal(a), `"`, `\(dq`))
	}
	p.out.WriteString("\n")
}

func (p *page) section(title string) { p.macro(".SH", strings.ToUpper(title)) }

func (p *page) subsection(title string) { p.macro(".SS", title) }

// text writes what is roff already, in lines of at most width bytes. One that begins like a request is none.
func (p *page) text(roff string) {
	const width = 80
	line := ""
	finish := func() {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		p.out.WriteString(line + "\n")
	}
	for word := range strings.FieldsSeq(roff) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width-len(`\&`):
			finish()
			line = word
		default:
			line += " " + word
		}
	}
	finish()
}

func (p *page) paragraph(roff string) {
	p.begin()
	p.text(roff)
}

// begin begins a paragraph, which a heading has done already.
func (p *page) begin() {
	text := strings.TrimSuffix(p.out.String(), "\n")
	if last := text[strings.LastIndexByte(text, '\n')+1:]; !strings.HasPrefix(last, ".SH ") && !strings.HasPrefix(last, ".SS ") && !strings.HasPrefix(last, ".RS ") {
		p.out.WriteString(".PP\n")
	}
}

// item is a term and what there is to say about it.
func (p *page) item(term, roff string) {
	p.out.WriteString(".TP\n")
	p.text(term)
	p.text(roff)
}

// verbatim writes lines as they are.
func (p *page) verbatim(text string) {
	p.begin()
	p.out.WriteString(".RS 4\n.EX\n")
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		for _, line := range narrow(strings.TrimRight(line, "\n")) {
			line = literal(line)
			if strings.HasPrefix(line, ".") {
				line = `\&` + line
			}
			p.out.WriteString(line + "\n")
		}
	}
	p.out.WriteString(".EE\n.RE\n")
}

// remark is a comment behind something, set off by blanks.
var remark = regexp.MustCompile(`^( *)(\S.*?) {2,}(# .*)$`)

// narrow puts a comment before its line if both have no room beside each other on a page of 80 columns.
func narrow(line string) []string {
	const room = 80 - 7 - 4 // less the indentations of a section and of what is verbatim
	m := remark.FindStringSubmatch(line)
	switch {
	case m == nil || utf8.RuneCountInString(line) <= room:
		return []string{line}
	case utf8.RuneCountInString(m[1]+m[2]+"  "+m[3]) <= room:
		return []string{m[1] + m[2] + "  " + m[3]}
	}
	return []string{m[1] + m[3], m[1] + m[2]}
}

// codeSpan is what Markdown and our help texts put between backquotes.
var codeSpan = regexp.MustCompile("`([^`]+)`")

// marked is prose with `code` in it.
func marked(text string) string {
	var out strings.Builder
	last := 0
	for _, m := range codeSpan.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(prose(text[last:m[0]]) + bold(text[m[2]:m[3]]))
		last = m[1]
	}
	return out.String() + prose(text[last:])
}

// option is what begins with hyphens and stands alone, as in --dump.
var option = regexp.MustCompile(`(^|[\s(])(--?[a-zA-Z][a-zA-Z-]*)`)

// help writes a text as the command line prints it: paragraphs, lines that are indented to stay as they are, and blank lines between them.
func (p *page) help(text string) {
	for block := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(block, " ") {
			p.verbatim(unindented(block))
			continue
		}
		for _, paragraph := range paragraphs(block) {
			p.paragraph(option.ReplaceAllStringFunc(marked(paragraph), func(found string) string {
				at := strings.IndexByte(found, '-')
				return found[:at] + `\fB` + strings.ReplaceAll(found[at:], "-", `\-`) + `\fR`
			}))
		}
	}
}

// paragraphs parts a block where its author has begun a new line after a sentence though the next word had room.
func paragraphs(block string) []string {
	var out []string
	width, last := 0, ""
	for line := range strings.Lines(block) {
		width = max(width, len(strings.TrimSuffix(line, "\n")))
	}
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		word, _, _ := strings.Cut(line, " ")
		if last == "" || strings.HasSuffix(last, ".") && len(last)+1+len(word) <= width {
			out = append(out, line)
		} else {
			out[len(out)-1] += "\n" + line
		}
		last = line
	}
	return out
}

// unindented takes away the blanks that all lines begin with.
func unindented(text string) string {
	least := len(text)
	for line := range strings.Lines(text) {
		if blanks := len(line) - len(strings.TrimLeft(line, " ")); strings.TrimSpace(line) != "" && blanks < least {
			least = blanks
		}
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(line[min(least, len(line)-len(strings.TrimLeft(line, " "))):])
	}
	return out.String()
}
