package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
)

// answers is a module that is configured like respond.
type answers struct{ folders }

func (answers) Spec() configs.BlockSpec {
	return configs.BlockSpec{Name: "respond", Attributes: []configs.Attribute{{Name: "body", Type: configs.String}}}
}

// What is written is what was asked for, by each kind of program.
func TestInitWrites(t *testing.T) {
	base := t.TempDir()
	t.Chdir(base)
	for _, dir := range []string{"www", "below/www", `a "b" ${c}`} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := tool(t)
	p.Modules = append(p.Modules, answers{})
	for _, c := range []struct {
		program Program
		args    []string
		file    string   // that is written
		holds   []string // lines
	}{
		{p, nil, "prog.hcl", []string{`  address = "127.0.0.1:8080"`, `      body = "Hello from prog.\n"`}},
		{p, []string{"-o", "a.hcl", "--listen", "80"}, "a.hcl", []string{`  address = ":80"`}},
		{p, []string{"-o", "b.hcl", "--static", "www"}, "b.hcl", []string{`      root  = "www"`}},
		{p, []string{"-o", "below/c.hcl", "--static", "./www"}, "below/c.hcl", []string{`      root  = "` + base + `/www"`}},
		{p, []string{"-o", "below/d.hcl", "--static", "below/www"}, "below/d.hcl", []string{`      root  = "www"`}},
		{p, []string{"-o", "e.hcl", "--static", base + "/www"}, "e.hcl", []string{`      root  = "` + base + `/www"`}},
		{p, []string{"-o", "f.hcl", "--static", "."}, "f.hcl", []string{`      root  = "."`}},
		{p, []string{"-o", "g.hcl", "--static", `a "b" ${c}`, "-l", "unix:web.sock"}, "g.hcl", []string{`      root  = "a \"b\" $${c}"`, `  address = "unix:web.sock"`}},
		{p, []string{"-o", "below/h.hcl", "-l", "unix:web.sock"}, "below/h.hcl", []string{`  address = "unix:` + base + `/web.sock"`}},
		{library(t), []string{"-o", "i.hcl"}, "i.hcl", []string{"# The routes of the program's code belong to this site. Others can be added."}},
	} {
		status, stdout, stderr, _ := call(t, c.program, append([]string{"init"}, c.args...)...)
		if status != exitOK || stderr != "" || !strings.Contains(stdout, "  prog run -c ") {
			t.Errorf("%q: %d %q %q", c.args, status, stdout, stderr)
			continue
		}
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range c.holds {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%q: no line %q in:\n%s", c.args, line, text)
			}
		}
		if status, stdout, stderr, _ := call(t, c.program, "check", c.file); status != exitOK {
			t.Errorf("%q: %s%s", c.args, stdout, stderr)
		}
	}
}

func TestInitPrints(t *testing.T) {
	t.Chdir(t.TempDir())
	p := tool(t)
	status, stdout, stderr, _ := call(t, p, "init", "--static", ".", "-o", "-")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if status != exitOK || stderr != "" || !strings.HasPrefix(stdout, "# The configuration of prog.") || !strings.Contains(stdout, configs.Quote(here)) {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestInitRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"\xff", "u\u0308", "folder.hcl"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "there.hcl", "mine")
	if err := os.Symlink("nowhere", "link.hcl"); err != nil {
		t.Fatal(err)
	}
	p := tool(t)
	for _, c := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"-o", "there.hcl", "--static", "."}, exitFailed, "prog: there.hcl exists; --force replaces it, and -o FILE writes another\n"},
		{[]string{"-o", "link.hcl", "--static", "."}, exitFailed, "prog: link.hcl exists; "},
		{[]string{"-o", "none/x.hcl", "--static", "."}, exitFailed, "prog: none/x.hcl is not written: no such file or directory\n"},
		{[]string{"-o", "folder.hcl", "--static", ".", "--force"}, exitFailed, "prog: folder.hcl is not written: is a directory\n"},
		{[]string{"-o", "x.json"}, exitUsage, "prog: init writes HCL, and x.json would be read as JSON; "},
		{[]string{"--static", "none"}, exitFailed, "prog: there is no folder none; "},
		{[]string{"--static", ""}, exitFailed, `prog: there is no folder ""; `},
		{[]string{"--static", "\xff"}, exitFailed, "prog: the path "},
		{[]string{"--static", "u\u0308"}, exitFailed, "prog: the path "},
		{[]string{"--static", ".", "--listen", "unix:\xff"}, exitFailed, "prog: the path "},
		{[]string{"--listen", "x"}, exitUsage, "prog: --listen: "},
		{[]string{"x"}, exitUsage, "prog: init takes no argument"},
		{[]string{"-c", "x.hcl"}, exitUsage, "prog: init reads no configuration: the file to write is -o x.hcl; "},
		{nil, exitFailed, "prog: this program cannot have such a configuration: "}, // without the module respond
	} {
		status, stdout, stderr, _ := call(t, p, append([]string{"init"}, c.args...)...)
		if status != c.status || stdout != "" || !strings.HasPrefix(stderr, c.stderr) {
			t.Errorf("%q: %d %q %q", c.args, status, stdout, stderr)
		}
	}
	if text, err := os.ReadFile("there.hcl"); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if left, err := filepath.Glob("*.hcl"); err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}
	if status, _, stderr, _ := call(t, p, "init", "-o", "there.hcl", "--static", ".", "--force"); status != exitOK {
		t.Errorf("%d %q", status, stderr)
	}
	if status, _, stderr, _ := call(t, p, "check", "there.hcl"); status != exitOK {
		t.Errorf("%d %q", status, stderr)
	}
}

func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"./a.hcl": "./a.hcl", "/etc/größe.hcl": "/etc/größe.hcl", "-x": "./-x", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a\nb": "'a\nb'",
	} {
		if got := shellWord(path); got != want {
			t.Errorf("%q: %q, not %q", path, got, want)
		}
	}
}

// A text reads as what it was made of; what no configuration can hold reads as something else, and nothing else breaks.
func FuzzQuoted(f *testing.F) {
	for _, seed := range []string{"", "a", `"\`, "${x}", "$${x}", "%%{y}", "\n\r\t", "\x00", "\x7f", "\xff", "\u2028", "\U0001f600", "\U000e0001", "\ufffd", "u\u0308"} {
		f.Add(seed)
	}
	s := schema(Program{Modules: []module.Module{answers{}}})
	f.Fuzz(func(t *testing.T, text string) {
		source := "listen \"a\" {\n  address = \":0\"\n}\nsite \"a\" {\n  route \"/\" {\n    respond {\n      body = " + configs.Quote(text) + "\n    }\n  }\n}\n"
		config, diagnostics := configs.Resolve(&configs.Sources{Dir: "/", Files: []configs.Source{{Name: "a", Bytes: []byte(source)}}}, s)
		if diagnostics.HasErrors() {
			t.Fatalf("%q: %v", text, diagnostics)
		}
		if got := config.Sites[0].Routes[0].Block.String("body"); got != text && plain(text) {
			t.Errorf("%q reads as %q", text, got)
		}
	})
}

// plain: nothing in it is composed of several code points, and it is UTF-8.
func plain(s string) bool {
	return strings.ToValidUTF8(s, "") == s && strings.IndexFunc(s, func(r rune) bool { return r >= 0x300 }) < 0
}
