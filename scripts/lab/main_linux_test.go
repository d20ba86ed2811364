package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain makes the test's own binary obey the hidden commands: the lab starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

// A quick run of everything fills every place of the real page, and draws plots that are XML.
func TestQuickRun(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "lab.md"))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "lab.md")
	if err := os.WriteFile(copied, page, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := openReport(copied)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range experiments {
		outcome, err := e.run(l)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		outcome.Name = e.name
		for _, table := range outcome.Tables {
			if len(table.Rows) == 0 {
				t.Errorf("%s: an empty table: %q", e.name, table.Caption)
			}
		}
		r.put(*outcome)
	}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	filled, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.outcomes {
		for _, p := range o.Plots {
			if !strings.Contains(string(filled), "(lab/"+p.File+".svg)") {
				t.Errorf("the page does not show %s", p.File)
			}
			svg, err := os.ReadFile(filepath.Join(r.folder, p.File+".svg"))
			if err != nil {
				t.Fatal(err)
			}
			wellFormed(t, svg)
		}
	}
	// What was saved is enough to draw it all again.
	again, err := openReport(copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.write(); err != nil {
		t.Fatal(err)
	}
	if redrawn, err := os.ReadFile(copied); err != nil || string(redrawn) != string(filled) {
		t.Errorf("drawn again from the saved data, the page is another one (%v)", err)
	}
}
