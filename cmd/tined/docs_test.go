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
