package configs

import (
	"strings"
	"testing"
)

// A byte of a text stands where the file has it, in a quoted text and in both kinds of heredocs.
func TestPosIn(t *testing.T) {
	const file = "listen \"main\" {\n  address = \"127.0.0.1:8080\"\n}\n" +
		"site \"main\" {\n" +
		"  route \"/a\" {\n    respond {\n      body = \"SELECT wrong FROM x\"\n    }\n  }\n" +
		"  route \"/b\" {\n    respond {\n      body = <<-EOT\n        SELECT é,\n          wrong FROM x\n      EOT\n    }\n  }\n" +
		"  route \"/c\" {\n    respond {\n      body = <<EOT\n SELECT 1,\n\n wrong FROM x\nEOT\n    }\n  }\n" +
		"}\n"
	config, problems := Resolve(&Sources{Path: "/x.hcl", Files: []Source{{Name: "/x.hcl", Bytes: []byte(file)}}}, testSchema())
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	lines := strings.Split(file, "\n")
	for _, r := range config.Sites[0].Routes {
		text := r.Block.String("body")
		got := r.Block.PosIn("body", strings.Index(text, "wrong"))
		column := strings.Index(lines[got.Line-1], "wrong")
		if column+1 != got.Column {
			t.Errorf("route %q: %v, which is %q", r.Pattern, got, lines[got.Line-1])
		}
		if end := r.Block.PosIn("body", len(text)+10); end.Line < got.Line {
			t.Errorf("route %q: behind the text is %v", r.Pattern, end)
		}
	}
	if pos := config.Sites[0].Routes[0].Block.PosIn("content_type", 3); pos != config.Sites[0].Routes[0].Block.Pos("") {
		t.Errorf("a default stands at %v", pos)
	}
}
