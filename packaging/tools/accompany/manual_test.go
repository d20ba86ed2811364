package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/cmd/cli"
)

func rendered(t *testing.T, markdown string, how outline) string {
	t.Helper()
	p := &page{}
	if err := p.markdown("docs/test.md", []byte(markdown), how); err != nil {
		t.Fatal(err)
	}
	return p.out.String()
}

func TestMarkdown(t *testing.T) {
	for name, c := range map[string]struct {
		markdown, want string
		how            outline
	}{
		"headings": {"# Title\n\n## Part\n\nText.\n\n### Deeper\n", ".SH \"PART\"\nText.\n.SS \"Deeper\"\n", outline{withoutTitle: true}},
		"deeper":   {"## Name\n\nText.\n\n## Part\n\nText.\n", ".PP\nText.\n.SS \"Part\"\nText.\n", outline{deeper: 1, silent: "Name"}},
		"escapes":  {"A \\ and \\* and `a-b\\n'` and ~.\n\n.dot and\n'quote\n", ".PP\nA \\e and * and \\fBa\\-b\\en\\(aq\\fR and \\(ti.\n.PP\n\\&.dot and 'quote\n", outline{}},
		"attributes": {
			"| Attribute | Type | Default | Meaning |\n|---|---|---|---|\n| `a` | text | `\"x\\|y\"` | what it is. |\n| `b` | path | required | Where. |\n",
			".TP\n\\fBa\\fR (text; default \\fB\"x|y\"\\fR)\nWhat it is.\n.TP\n\\fBb\\fR (path; required)\nWhere.\n", outline{},
		},
		"table":    {"| a | b |\n|---|---|\n| `x` | y |\n", ".TP\n\\fBx\\fR\ny\n", outline{}},
		"contents": {"- [One](#one)\n- [Two](#two)\n", "", outline{}},
		"list":     {"- one\n- two:\n\n  ```\n  .code\n  ```\n", ".IP \\(bu 3\none\n.IP \\(bu 3\ntwo:\n.RS 3\n.RS 4\n.EX\n\\&.code\n.EE\n.RE\n.RE\n", outline{}},
		"links": {
			"[x](#x), [reload.md](reload.md#y), [it](modules/static.md), [design](ARCHITECTURE.md), [site](https://example.org/a-b).\n",
			".PP\nx, \\fI/usr/share/doc/tined/reload.md\\fR, it\n(\\fI/usr/share/doc/tined/modules/static.md\\fR), design, site\n\\(lahttps://example.org/a\\-b\\(ra.\n", outline{},
		},
	} {
		if got := rendered(t, c.markdown, c.how); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestMarkdownRefuses(t *testing.T) {
	for _, markdown := range []string{"<b>x</b>\n", "> quoted\n", "![x](y.png)\n", "<div>\n</div>\n"} {
		if err := new(page).markdown("docs/test.md", []byte(markdown), outline{}); err == nil || !strings.Contains(err.Error(), "docs/test.md") {
			t.Errorf("%q: %v, want an error that names the document", markdown, err)
		}
	}
}

func TestNarrow(t *testing.T) {
	long := strings.Repeat("x", 50)
	for line, want := range map[string]string{
		"a = 1     # short":                          "a = 1     # short",
		"  a = 1" + strings.Repeat(" ", 60) + "# so": "  a = 1  # so",
		"  a = 1  # " + long + long:                  "  # " + long + long + "\n  a = 1",
		long + long:                                  long + long,
	} {
		if got := strings.Join(narrow(line), "\n"); got != want {
			t.Errorf("narrow(%q) = %q, want %q", line, got, want)
		}
	}
}

// Every command has a page with all of its options, an example, and references to pages that exist.
func TestCommandPages(t *testing.T) {
	p := papers{version: "1.2.3", source: "../../.."}
	root := cli.Command(p.program())
	pages := map[string]bool{"tined.hcl(5)": true, "systemctl(1)": true, "journalctl(1)": true, "tined(8)": true}
	for _, cmd := range documented(root) {
		pages[pageName(cmd)+"(8)"] = true
	}
	if len(pages) < 15 {
		t.Fatalf("only %d pages", len(pages))
	}
	for _, cmd := range append(documented(root), root) {
		text, err := p.commandPage(cmd)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".SH \"NAME\"", ".SH \"SYNOPSIS\"", ".SH \"DESCRIPTION\"", ".SH \"OPTIONS\"", ".SH \"SEE ALSO\"", literal("--control")} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s", pageName(cmd), want)
			}
		}
		_, after, _ := strings.Cut(text, ".SH \"SEE ALSO\"\n")
		refer, _, _ := strings.Cut(after, ".PP")
		for one := range strings.SplitSeq(strings.Join(strings.Fields(refer), " "), ", ") {
			if name := strings.NewReplacer(`\fB`, "", `\fR`, "", `\-`, "-").Replace(one); !pages[name] {
				t.Errorf("%s refers to %q, which is no page", pageName(cmd), name)
			}
		}
	}
}

// What config.md lists is in tined.hcl(5), and so are modules and middleware.
func TestConfigurationPage(t *testing.T) {
	p := papers{version: "1.2.3", source: "../../.."}
	text, err := p.configurationPage()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../../docs/modules/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../../docs/config.md") {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(source)) {
			if name, found := strings.CutPrefix(line, "| `"); found {
				name, _, _ = strings.Cut(name, "`")
				if !strings.Contains(text, bold(name)) {
					t.Errorf("%s: %s is not in the manual", file, name)
				}
			}
		}
	}
	for _, want := range []string{`.SH "MIDDLEWARE COMPRESS"`, `.SH "MODULE STATIC"`, `.SH "LISTEN"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the manual lacks %s", want)
		}
	}
}
