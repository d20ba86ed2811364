package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var codeBlock = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```")

// What the README shows is true: its configuration is one, and its program is the example that is tested.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	hello, err := os.ReadFile("../hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, block := range codeBlock.FindAllStringSubmatch(string(readme), -1) {
		kind, text := block[1], block[2]
		seen[kind]++
		switch kind {
		case "hcl":
			check(t, text)
		case "go":
			if text != string(hello) {
				t.Errorf("the program in the README is not cmd/hello/main.go:\n%s", text)
			}
		}
	}
	if seen["hcl"] == 0 || seen["go"] == 0 {
		t.Errorf("blocks of code: %v", seen)
	}
}

// The example that is shipped is right as it stands, and in another place.
func TestShippedConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../configs/dist/tined.hcl")
	if err != nil {
		t.Fatal(err)
	}
	check(t, string(text))
	if regexp.MustCompile(`(?m)^\s*control\b`).Match(text) {
		t.Error("the shipped example sets control: it must be found by the default")
	}
}

func check(t *testing.T, configuration string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tined.hcl")
	if err := os.WriteFile(path, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(programs, "tined"), "check", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, strings.ReplaceAll(string(out), path, "tined.hcl"), configuration)
	}
}

// The unit that the page on systemd shows first is the one that the packages ship, and the page says nothing of a key that it lacks.
func TestShownUnit(t *testing.T) {
	page, err := os.ReadFile("../../docs/systemd.md")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../../packaging/systemd/tined.service")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, block := range codeBlock.FindAllStringSubmatch(string(page), -1) {
		if block[1] == "ini" {
			shown = append(shown, block[2])
		}
	}
	if len(shown) < 2 {
		t.Fatalf("docs/systemd.md shows %d units, not the shipped one and the least", len(shown))
	}
	if shown[0] != string(unit) {
		t.Errorf("docs/systemd.md shows another unit than packaging/systemd/tined.service:\n%s", shown[0])
	}
	// The least is a part of the whole; numbers may differ.
	for line := range strings.Lines(shown[1]) {
		key, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if !strings.Contains(string(unit), "\n"+key) {
			t.Errorf("the least unit of docs/systemd.md has %q, and the shipped one does not", key)
		}
	}
}

// Configurations that the pages on packages show are right, in the place of what the packages include.
func TestPackagesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/packages.md")
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("../../packaging/tined.hcl")
	if err != nil {
		t.Fatal(err)
	}
	check(t, string(shipped))
	seen := 0
	for _, block := range regexp.MustCompile("(?ms)^ *```hcl\n(.*?)^ *```").FindAllStringSubmatch(string(page), -1) {
		seen++
		check(t, string(shipped)+block[1])
	}
	if seen == 0 {
		t.Error("docs/packages.md shows no configuration")
	}
}
