package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xeipuuv/gojsonschema"
)

// goEnv asks the Go that runs the test.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// written runs all of it on a binary that is built from this tree.
func written(t *testing.T, binary string) map[string][]byte {
	t.Helper()
	p := papers{
		binary: binary, version: "1.2.3", source: "../../..", packager: "A B <a@b.example>", date: time.Unix(1700000000, 0).UTC(),
		modules: goEnv(t, "GOMODCACHE"), goroot: goEnv(t, "GOROOT"), out: t.TempDir(),
	}
	if err := p.write(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	err := filepath.WalkDir(p.out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(p.out, path)
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestWrite(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "tined")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./cmd/tined")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := written(t, binary)
	for _, name := range []string{
		"changelog.gz", "changelog.yaml", "completions/bash/tined", "completions/zsh/_tined", "completions/fish/tined.fish", "man/man8/tined.8.gz",
		"man/man8/tined-upgrade.8.gz", "man/man5/tined.hcl.5.gz", "doc/config.md", "doc/modules/static.md", "copyright", "third-party.txt", "licence",
		"tined.cdx.json",
	} {
		if len(files[name]) == 0 {
			t.Errorf("%s is not written", name)
		}
	}
	if files["doc/ARCHITECTURE.md"] != nil {
		t.Error("pages for those who have the source are written too")
	}
	t.Run("again", func(t *testing.T) {
		again := written(t, binary)
		if len(again) != len(files) {
			t.Errorf("%d files, then %d", len(files), len(again))
		}
		for name, content := range files {
			if !bytes.Equal(content, again[name]) {
				t.Errorf("%s is not the same the second time", name)
			}
		}
	})
	t.Run("completions", func(t *testing.T) {
		for shell, name := range map[string]string{"bash": "completions/bash/tined", "zsh": "completions/zsh/_tined", "fish": "completions/fish/tined.fish"} {
			out, err := exec.Command(binary, "completion", shell).Output()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, files[name]) {
				t.Errorf("%s is not what `tined completion %s` prints", name, shell)
			}
		}
	})
	t.Run("another architecture", func(t *testing.T) {
		p := papers{binary: binary, arch: "sparc", version: "1.2.3", source: "../../..", out: t.TempDir()}
		if err := p.write(); err == nil || !strings.Contains(err.Error(), "the package for sparc") {
			t.Errorf("%v, want a refusal", err)
		}
	})
	t.Run("sbom", func(t *testing.T) { validSBOM(t, files["tined.cdx.json"]) })
}

// validSBOM holds it against the schema of CycloneDX, which the library brings.
func validSBOM(t *testing.T, document []byte) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	schemas := filepath.Join(strings.TrimSpace(string(out)), "schema")
	loader := gojsonschema.NewSchemaLoader()
	for _, name := range []string{"spdx.schema.json", "jsf-0.82.schemax.json"} {
		text, err := os.ReadFile(filepath.Join(schemas, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := loader.AddSchemas(gojsonschema.NewBytesLoader(text)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(schemas, "bom-1.6.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := loader.Compile(gojsonschema.NewBytesLoader(text))
	if err != nil {
		t.Fatal(err)
	}
	result, err := schema.Validate(gojsonschema.NewBytesLoader(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range result.Errors() {
		t.Errorf("the SBOM is not valid: %s", e)
	}

	var bom struct {
		Metadata   struct{ Component struct{ Purl string } }
		Components []struct {
			Name, Version, Purl string
			Hashes              []struct{ Content string }
			Licenses            []any
		}
	}
	if err := json.Unmarshal(document, &bom); err != nil {
		t.Fatal(err)
	}
	if got := bom.Metadata.Component.Purl; got != "pkg:golang/github.com/tined/tined@v1.2.3" {
		t.Errorf("the SBOM is of %s", got)
	}
	if len(bom.Components) < 5 {
		t.Errorf("only %d components", len(bom.Components))
	}
	for _, c := range bom.Components {
		if c.Version == "" || !strings.HasPrefix(c.Purl, "pkg:golang/") || len(c.Licenses) == 0 || (len(c.Hashes) == 0 && c.Name != "std") {
			t.Errorf("a component lacks something: %+v", c)
		}
	}
}

func TestRefusals(t *testing.T) {
	script := filepath.Join(tree(t, map[string]string{"tined": "#!/bin/sh\n"}), "tined")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "accompany version VERSION"},
		{[]string{"version"}, "accompany version VERSION"},
		{[]string{"version", "x"}, `VERSION="x"`},
		{[]string{"write", "-binary", script, "-version", "1.2.3"}, "tells nothing of what it is made of"},
	} {
		if err := run(c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
}
