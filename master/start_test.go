package master

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/configs"
)

// A broken configuration never starts and never half-starts: every mistake is said, one per line,
// and nothing was opened.
func TestRunRefusesABrokenConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.hcl")
	text := "control = \"" + filepath.Join(dir, "c.sock") + "\"\nchildern = 2\nlisten \"main\" {\n  address = 7\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		file:                         {file + ":2:1: ", file + ":4:"},
		filepath.Join(dir, "no.hcl"): {"no.hcl"},
	} {
		out, err := newLines(), newLines()
		if code := Run(Options{Path: path, Schema: new(configs.Schema), Stdout: out, Stderr: err}); code != exitRefused {
			t.Errorf("exit code %d", code)
		}
		contains(t, err.String(), want...)
		if out.String() != "" {
			t.Errorf("stdout %q", out)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "c.*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What hinders the opening after the probes undoes all that was opened before.
func TestOpenUndoesEverything(t *testing.T) {
	dir := t.TempDir()
	for name, change := range map[string]func(*configs.Config){
		"log": func(c *configs.Config) { c.Log.File = filepath.Join(dir, "none", "x.log") },
		"access log": func(c *configs.Config) {
			c.Sites = []configs.Site{{Name: "a", AccessLog: &configs.AccessLog{File: dir}}}
		},
		"user": func(c *configs.Config) { c.User = "nobody-of-that-name" },
		"unix": func(c *configs.Config) {
			c.Listeners = append(c.Listeners, configs.Listener{Name: "u", Address: configs.Address{Network: "unix", Path: filepath.Join(dir, "none", "u.sock")}})
		},
		"control": func(c *configs.Config) { c.Control = filepath.Join(dir, strings.Repeat("x", 200)) },
	} {
		before := openDescriptors(t)
		config := testConfig(dir)
		change(config)
		_, err := open(Options{Stdout: newLines(), Stderr: newLines()}.withDefaults(), config, new(configs.Sources))
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, defaultSocket)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the control socket is left behind", name)
		}
		if after := openDescriptors(t); after > before {
			t.Errorf("%s: %d descriptors, %d before", name, after, before)
		}
	}
}

func openDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStartLine(t *testing.T) {
	f := newFleet(t, 3)
	f.o.Path = ""
	for n, want := range map[int]string{1: "1 of 3 children", 2: "2 of 3 children", 3: "3 children"} {
		if got := f.startLine(n); !strings.HasPrefix(got, "tined v0: serving http://127.0.0.1:") || !strings.HasSuffix(got, " with "+want+", without a configuration file") {
			t.Errorf("%q", got)
		}
	}
	one := newFleet(t, 1)
	if got := one.startLine(1); !strings.HasSuffix(got, " with 1 child, configuration test.hcl") {
		t.Errorf("%q", got)
	}
}
