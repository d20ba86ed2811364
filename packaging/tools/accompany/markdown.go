package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// outline says how a document becomes a part of a manual page.
type outline struct {
	deeper              int    // how much deeper its headings are: 0 makes sections of those of the second level
	withoutTitle        bool   // the heading of the first level is left out
	withoutIntroduction bool   // and so is what stands before the first of the second level
	named               string // a format for the titles of sections
	silent              string // a heading that is left out, with its text staying
}

// unshipped are the pages of docs/ for people who have the source. All others are for operators, and in the packages.
var unshipped = []string{"ARCHITECTURE.md", "bench.md", "lab.md", "library.md", "release.md"}

// installed is where the packages have a file of the source that our pages refer to; "": nowhere.
func installed(file string) string {
	if file == "configs/dist/tined.hcl" {
		return "/usr/share/doc/tined/examples/tined.hcl"
	}
	below, ok := strings.CutPrefix(file, "docs/")
	if !ok || slices.Contains(unshipped, below) || path.Ext(file) != ".md" || strings.HasPrefix(below, "adr/") {
		return ""
	}
	return "/usr/share/doc/tined/" + below
}

// writeDocs copies the pages for operators.
func (p *papers) writeDocs() error {
	for _, pattern := range []string{"docs/*.md", "docs/modules/*.md"} {
		files, err := filepath.Glob(filepath.Join(p.source, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		for _, file := range files {
			name, err := filepath.Rel(p.source, file)
			if err != nil {
				return err
			}
			if installed(filepath.ToSlash(name)) == "" {
				continue
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := p.file(filepath.Join("doc", strings.TrimPrefix(filepath.ToSlash(name), "docs/")), content); err != nil {
				return err
			}
		}
	}
	return nil
}

// markdown adds a document of ours. Tables become lists of what their first column names, which are readable in 80 columns.
func (p *page) markdown(name string, source []byte, how outline) error {
	m := &markdown{page: p, name: name, source: source, how: how}
	document := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader(source))
	started := !how.withoutIntroduction
	for n := document.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok && h.Level > 1 {
			started = true
		}
		if !started {
			continue
		}
		if err := m.block(n); err != nil {
			return err
		}
	}
	return nil
}

type markdown struct {
	*page
	name   string
	source []byte
	how    outline
}

func (m *markdown) block(n ast.Node) error {
	switch n := n.(type) {
	case *ast.Heading:
		return m.heading(n)
	case *ast.Paragraph, *ast.TextBlock:
		roff, err := m.inline(n)
		if err != nil {
			return err
		}
		m.paragraph(roff)
	case *ast.FencedCodeBlock:
		m.verbatim(m.lines(n))
	case *ast.CodeBlock:
		m.verbatim(m.lines(n))
	case *ast.List:
		return m.list(n)
	case *extast.Table:
		return m.table(n)
	default:
		return m.unknown(n)
	}
	return nil
}

func (m *markdown) unknown(n ast.Node) error {
	return fmt.Errorf("%s: the manual cannot show %s: teach packaging/tools/accompany/markdown.go, or write it otherwise", m.name, n.Kind())
}

func (m *markdown) lines(n ast.Node) string {
	var out strings.Builder
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		out.Write(line.Value(m.source))
	}
	return strings.ReplaceAll(out.String(), "\t", "    ")
}

func (m *markdown) heading(n *ast.Heading) error {
	if n.Level == 1 && m.how.withoutTitle {
		return nil
	}
	title := m.words(n)
	switch level := n.Level + m.how.deeper; {
	case title == m.how.silent:
	case level > 2:
		m.subsection(title)
	case m.how.named != "":
		m.section(fmt.Sprintf(m.how.named, title))
	default:
		m.section(title)
	}
	return nil
}

// words is the text of a node without its marks.
func (m *markdown) words(n ast.Node) string {
	var out strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			out.Write(t.Segment.Value(m.source))
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

func (m *markdown) list(list *ast.List) error {
	if m.contents(list) {
		return nil
	}
	number := list.Start
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		label := `\(bu`
		if list.IsOrdered() {
			label = fmt.Sprintf("%d.", number)
			number++
		}
		first := true
		for block := item.FirstChild(); block != nil; block = block.NextSibling() {
			if first {
				roff, err := m.inline(block)
				if err != nil {
					return err
				}
				fmt.Fprintf(&m.out, ".IP %s 3\n", label)
				m.text(roff)
				first = false
				continue
			}
			m.out.WriteString(".RS 3\n")
			if err := m.block(block); err != nil {
				return err
			}
			m.out.WriteString(".RE\n")
		}
	}
	return nil
}

// contents says whether a list is one of the sections of its own document, which a manual page does without.
func (m *markdown) contents(list *ast.List) bool {
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		if item.FirstChild() == nil {
			return false
		}
		link, ok := item.FirstChild().FirstChild().(*ast.Link)
		if !ok || link.NextSibling() != nil || !strings.HasPrefix(string(link.Destination), "#") {
			return false
		}
	}
	return true
}

// table makes an item of each row. One of attributes has type and default beside their names.
func (m *markdown) table(table *extast.Table) error {
	var columns []string
	for row := table.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			roff, err := m.inline(cell)
			if err != nil {
				return err
			}
			cells = append(cells, roff)
		}
		if _, ok := row.(*extast.TableHeader); ok {
			for _, c := range cells {
				columns = append(columns, strings.ToLower(c))
			}
			continue
		}
		if len(cells) < 2 {
			return fmt.Errorf("%s: a table of one column says nothing about what it names", m.name)
		}
		term, rest := cells[0], strings.Join(cells[1:], "; ")
		if len(columns) == 4 && columns[1] == "type" && columns[2] == "default" {
			value := "default " + cells[2]
			switch cells[2] {
			case "required":
				value = "required"
			case "none":
				value = "none by default"
			}
			term, rest = fmt.Sprintf("%s (%s; %s)", cells[0], cells[1], value), upperFirst(cells[3])
		}
		m.item(term, rest)
	}
	return nil
}

// inline is the content of a block as roff.
func (m *markdown) inline(n ast.Node) (string, error) {
	var out strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			out.WriteString(prose(string(util.UnescapePunctuations(c.Segment.Value(m.source)))))
			if c.SoftLineBreak() || c.HardLineBreak() {
				out.WriteString("\n")
			}
		case *ast.CodeSpan:
			code := m.words(c)
			if _, inTable := n.(*extast.TableCell); inTable {
				code = strings.ReplaceAll(code, `\|`, "|")
			}
			out.WriteString(bold(code))
		case *ast.Emphasis:
			inner, err := m.inline(c)
			if err != nil {
				return "", err
			}
			if c.Level == 1 {
				out.WriteString(`\fI` + inner + `\fR`)
			} else {
				out.WriteString(`\fB` + inner + `\fR`)
			}
		case *ast.Link:
			inner, err := m.inline(c)
			if err != nil {
				return "", err
			}
			out.WriteString(m.link(m.words(c), inner, string(c.Destination)))
		case *ast.AutoLink:
			out.WriteString(literal(string(c.URL(m.source))))
		default:
			return "", m.unknown(c)
		}
	}
	return out.String(), nil
}

// link names the file that a link leads to if it is in the packages, or shows its address if it leads elsewhere.
func (m *markdown) link(words, roff, target string) string {
	if strings.Contains(target, "://") {
		if words == target {
			return literal(target)
		}
		return roff + ` \(la` + literal(target) + `\(ra`
	}
	target, _, _ = strings.Cut(target, "#")
	if target == "" {
		return roff
	}
	file := path.Join(path.Dir(m.name), target)
	place := installed(file)
	if place == "" {
		return roff
	}
	// A text that is the file's name says no more than its place does.
	if words == target || words == path.Base(target) || words == file {
		return italic(place)
	}
	return roff + " (" + italic(place) + ")"
}
