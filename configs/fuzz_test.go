package configs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzResolve: any text is either a configuration whose dump means the same, or
// refused with diagnostics that all have a place in the file.
func FuzzResolve(f *testing.F) {
	for _, folder := range []string{"valid", "invalid"} {
		for _, format := range []string{".hcl", ".json"} {
			files, err := os.ReadDir("testdata/" + folder)
			if err != nil {
				f.Fatal(err)
			}
			for _, file := range files {
				text, err := os.ReadFile("testdata/" + folder + "/" + file.Name())
				if err == nil && bytes.HasSuffix([]byte(file.Name()), []byte(format)) {
					f.Add(text, format == ".json")
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, inJSON bool) {
		name := "fuzz.hcl"
		if inJSON {
			name = "fuzz.hcl.json"
		}
		config, diags := Resolve(sources(name, string(text)), testSchema())
		if (config == nil) != diags.HasErrors() {
			t.Fatalf("config %v with diagnostics %v", config != nil, diags)
		}
		lines := bytes.Count(text, []byte("\n")) + 1
		for _, d := range diags {
			if d.File != name || d.Line < 1 || d.Line > lines || d.Column < 1 || d.Message == "" {
				t.Errorf("diagnostic without a place or words: %#v", d)
			}
		}
		if config != nil {
			roundTrip(t, config)
		}
		Control(sources(name, string(text)))
	})
}

// FuzzDiff: two configurations differ in what Diff names, or have one digest.
func FuzzDiff(f *testing.F) {
	for _, pattern := range []string{"testdata/plan/*.from.hcl", "testdata/plan/*.to.hcl", "testdata/valid/*.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for i, file := range files {
			from, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			to, err := os.ReadFile(files[(i+1)%len(files)])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(from), string(to))
			f.Add(string(from), string(from)+"health {\n  memory_limit = \"1GiB\"\n}\ncontrol_mode = \"0666\"\nretired_timeout = \"0s\"\n")
		}
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		from, _ := Resolve(sources("fuzz.hcl", before), testSchema())
		to, _ := Resolve(sources("fuzz.hcl", after), testSchema())
		if from != nil && to != nil {
			diffed(t, from, to)
		}
	})
}

// FuzzDecodeSources: any bytes are refused, or encode to themselves.
func FuzzDecodeSources(f *testing.F) {
	f.Add((&Sources{}).Encode())
	f.Add((&Sources{Path: "/etc/tined/tined.hcl", Dir: "/etc", Files: []Source{
		{Name: "tined/tined.hcl", Bytes: []byte("include = [\"a.hcl\"]\n")}, {Name: "tined/a.hcl"},
	}}).Encode())
	f.Add([]byte(sourcesMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSources(b)
		if err != nil {
			return
		}
		again, err := DecodeSources(s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if again.Path != s.Path || again.Dir != s.Dir || !slices.EqualFunc(again.Files, s.Files, equalSource) {
			t.Errorf("%#v became %#v", s, again)
		}
	})
}

func equalSource(a, b Source) bool { return a.Name == b.Name && bytes.Equal(a.Bytes, b.Bytes) }
