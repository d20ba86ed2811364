package child

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"

	"github.com/tined/tined/netcore/board"
)

// The constants and the names in package board are two lists: reasonClientGone stands where client_gone does.
func TestCloseReasonsAreThoseOfTheBoard(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "closereason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	capital := regexp.MustCompile(`[A-Z]`)
	var names []string
	for _, d := range file.Decls {
		constants, ok := d.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, s := range constants.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				name := capital.ReplaceAllStringFunc(strings.TrimPrefix(n.Name, "reason"), func(c string) string { return "_" + strings.ToLower(c) })
				names = append(names, strings.TrimPrefix(name, "_"))
			}
		}
	}
	if len(names) != len(board.CloseReasons)+1 || names[len(names)-1] != "count" {
		t.Fatalf("constants %q", names)
	}
	for i, want := range board.CloseReasons {
		if names[i] != want || closeReason(i).String() != want {
			t.Errorf("constant %d is for %s, its name is %s", i, names[i], want)
		}
	}
}
