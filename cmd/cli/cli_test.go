package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

// call runs one command line of p with a master that only notes what it was asked. asked is nil when there was none.
func call(t *testing.T, p Program, args ...string) (status int, stdout, stderr string, asked *master.Options) {
	t.Helper()
	return callAs(t, "/usr/bin/prog", p, args...)
}

// callAs is call in a process of this executable.
func callAs(t *testing.T, executable string, p Program, args ...string) (status int, stdout, stderr string, asked *master.Options) {
	t.Helper()
	p = p.withDefaults()
	var out, errs bytes.Buffer
	a := &app{program: p, schema: schema(p), stdout: &out, stderr: &errs, executable: executable, master: func(o master.Options) int {
		asked = &o
		return 0
	}}
	status = a.execute(args)
	return status, out.String(), errs.String(), asked
}

// library is a program with a route in code, file a bare one, both with a default configuration that is not there.
func library(t *testing.T) Program {
	p := bare(t)
	p.Code = []module.CodeRoute{{Pattern: "/", Handler: web.StringFunc(func(*web.Request) string { return "" }), Place: "main.go:7"}}
	return p
}

func bare(t *testing.T) Program {
	return Program{Name: "prog", Version: "1.2.3", DefaultConfig: filepath.Join(t.TempDir(), "prog.hcl")}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const minimal = "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n}\n"

func TestRunChoosesTheConfiguration(t *testing.T) {
	t.Setenv(envControl, "")
	p := bare(t)
	if status, _, stderr, asked := call(t, p, "run"); status != exitFailed || asked != nil || !strings.Contains(stderr, "-c FILE") {
		t.Errorf("without a file: status %d, %q, %v", status, stderr, asked)
	}
	if _, _, _, asked := call(t, p, "run", "-c", "x.hcl", "--control", "x.sock"); asked == nil || asked.Path != "x.hcl" || asked.Control != "x.sock" {
		t.Errorf("-c: %+v", asked)
	}
	write(t, p.DefaultConfig, minimal)
	_, _, _, asked := call(t, p, "run")
	if asked == nil || asked.Path != p.DefaultConfig || asked.Version != "1.2.3" || asked.Name != "prog" || asked.Control != "" {
		t.Errorf("the default file: %+v", asked)
	}
	t.Setenv(envControl, "from-env.sock")
	if _, _, _, asked = call(t, p, "run"); asked == nil || asked.Control != "from-env.sock" {
		t.Errorf("TINED_CONTROL: %+v", asked)
	}
	if _, _, _, asked = call(t, p, "run", "--control", "flag.sock"); asked == nil || asked.Control != "flag.sock" {
		t.Errorf("--control before TINED_CONTROL: %+v", asked)
	}
}

func TestLibraryRunsWithoutAFile(t *testing.T) {
	p := library(t)
	for _, args := range [][]string{{}, {"run"}} {
		if _, _, stderr, asked := call(t, p, args...); asked == nil || asked.Path != "" || !asked.Schema.NoFile {
			t.Errorf("%q: %+v, %s", args, asked, stderr)
		}
	}
	if status, stdout, _, _ := call(t, p, "check"); status != exitOK || stdout != "the routes in code: ok\n" {
		t.Errorf("check: %d %q", status, stdout)
	}
	// A file that is there is read.
	write(t, p.DefaultConfig, minimal)
	if _, _, _, asked := call(t, p); asked == nil || asked.Path != p.DefaultConfig {
		t.Errorf("with a default file: %+v", asked)
	}
	if _, _, _, asked := call(t, p, "-c", "other.hcl"); asked == nil || asked.Path != "other.hcl" {
		t.Errorf("-c without a command: %+v", asked)
	}
	if status, _, _, asked := call(t, p, "nonsense"); status != exitUsage || asked != nil {
		t.Errorf("an unknown command runs: %d %+v", status, asked)
	}
}

func TestBareProgramPrintsItsHelp(t *testing.T) {
	if status, stdout, _, asked := call(t, bare(t)); status != exitOK || asked != nil || !strings.Contains(stdout, "prog run -c") {
		t.Errorf("%d %q %+v", status, stdout, asked)
	}
}

// The order of docs/control.md.
func TestControlPath(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	configured := write(t, at("configured.hcl"), "control = \"file.sock\"\n"+minimal)
	broken := write(t, at("broken.hcl"), "nonsense = 1\ncontrol = \"file.sock\"\nsite {}\n")
	silent := write(t, at("silent.hcl"), minimal)
	p := bare(t)
	write(t, p.DefaultConfig, "control = \"default.sock\"\n")
	byDefault := filepath.Join(filepath.Dir(p.DefaultConfig), "default.sock")
	for name, c := range map[string]struct {
		flag, env, config string
		program           Program
		want              string
	}{
		"--control comes first":             {at("flag.sock"), at("env.sock"), configured, p, at("flag.sock")},
		"then TINED_CONTROL":                {"", at("env.sock"), configured, p, at("env.sock")},
		"then -c FILE":                      {"", "", configured, p, at("file.sock")},
		"FILE may be broken":                {"", "", broken, p, at("file.sock")},
		"FILE may not say":                  {"", "", silent, p, at("run/control.sock")},
		"then the default configuration":    {"", "", "", p, byDefault},
		"without one, the default's socket": {"", "", "", bare(t), at("run/control.sock")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(envControl, c.env)
			t.Setenv("RUNTIME_DIRECTORY", at("run")+":/elsewhere")
			a := &app{program: c.program, config: c.config, control: c.flag}
			if got, err := a.controlPath(); err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
	t.Run("a missing FILE is no default", func(t *testing.T) {
		t.Setenv(envControl, "")
		a := &app{program: p, config: at("missing.hcl")}
		if got, err := a.controlPath(); err == nil {
			t.Errorf("%s", got)
		}
	})
	t.Run("a path that no socket can have", func(t *testing.T) {
		a := &app{program: p, control: "/" + strings.Repeat("x", 107)}
		if _, err := a.controlPath(); err == nil || !strings.Contains(err.Error(), "at most 107") {
			t.Errorf("%v", err)
		}
	})
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"}, {"--nonsense"}, {"run", "more"}, {"run", "--nonsense"}, {"check", "a", "b"}, {"check", "-c", "a", "b"},
		{"status", "more"}, {"stop", "more"}, {"stop", "--timeout", "1s"}, {"stop", "--wait", "--timeout", "-1s"},
		{"stop", "--wait", "--timeout", "soon"}, {"version", "more"}, {"run", "-c"}, {"completion", "nonsense"}, {"help", "nonsense"},
		{"workers", "1"}, {"workers", "1", "2", "3"}, {"workers", "1", "two"}, {"workers", "2", "1"}, {"workers", "0", "0"}, {"workers", "--", "-1", "2"},
		{"workers", "1", "100001"}, {"workers", "1", "99999999999999999999"},
		{"reload", "more"}, {"reload", "--wait", "--no-wait"}, {"reload", "--no-wait", "--timeout", "1s"}, {"reload", "--timeout", "-1s"},
		{"plan", "more"}, {"scale"}, {"scale", "0"}, {"scale", "1025"}, {"scale", "many"}, {"scale", "2", "3"}, {"scale", "--", "-1"},
		{"scale", "2", "--timeout", "-1s"}, {"restart"}, {"restart", "one"}, {"restart", "--", "-1"}, {"restart", "0", "1"},
		{"restart", "0", "--timeout", "1s"}, {"events", "more"}, {"events", "--since", "x"}, {"log-level", "loud"}, {"log-level", "info", "more"},
		{"reopen-logs", "more"}, {"status", "--watch", "often"}, {"status", "--watch=0s"}, {"status", "--watch", "-1s"}, {"status", "--watch", "1s", "2s"},
		{"status", "--watch=1s", "1s"}, {"-s", "start"}, {"-s", ""}, {"-t", "-s", "reload"}, {"-t", "more"}, {"-s"},
		{"upgrade", "more"}, {"upgrade", "--timeout", "0s"}, {"upgrade", "--timeout", "2h"}, {"upgrade", "--canary", "-1s"}, {"upgrade", "--canary", "31m"},
		{"upgrade", "--binary", ""}, {"rollback", "more"}, {"rollback", "--binary", "/x"}, {"rollback", "--timeout", "soon"}, {"balance", "more"},
		{"balance", "--timeout", "-1s"}, {"upgrade", "--previous", ""}, {"rollback", "--previous", "/x"}, {"upgrade", "--brief", "--json"},
		{"rollback", "--json", "--brief"}, {"status", "--health", "--json"}, {"status", "--health", "--watch"}, {"status", "--watch", "1s", "--health"},
		{"--version", "more"},
	} {
		status, stdout, stderr, asked := call(t, bare(t), args...)
		if status != exitUsage || stdout != "" || asked != nil || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--help`") {
			t.Errorf("%q: %d %q %q %v", args, status, stdout, stderr, asked)
		}
	}
}

// The flag is the command, also for a program that serves when nothing else is said.
func TestVersionFlag(t *testing.T) {
	for _, p := range []Program{bare(t), library(t)} {
		_, want, _, _ := call(t, p, "version")
		if status, stdout, stderr, asked := call(t, p, "--version"); status != exitOK || stdout != want || stdout == "" || stderr != "" || asked != nil {
			t.Errorf("%d %q, not %q; %q %v", status, stdout, want, stderr, asked)
		}
	}
}

// With --ports the check says of every address that cannot be had what a start would.
func TestCheckPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := library(t)
	listen := func(name, address string) string {
		return fmt.Sprintf("listen %q {\n  address = %q\n}\n", name, address)
	}
	free := write(t, filepath.Join(t.TempDir(), "free.hcl"), listen("any", "127.0.0.1:0"))
	if status, stdout, stderr, _ := call(t, p, "check", "--ports", free); status != exitOK || stdout != free+": ok\n" || stderr != "" {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	taken := write(t, filepath.Join(t.TempDir(), "taken.hcl"), listen("one", l.Addr().String())+listen("any", "127.0.0.1:0"))
	if status, stdout, _, _ := call(t, p, "check", taken); status != exitOK || stdout != taken+": ok\n" {
		t.Errorf("without --ports: %d %q", status, stdout)
	}
	for _, more := range []string{"", "--dump"} {
		args := slices.DeleteFunc([]string{"check", "--ports", more, taken}, func(arg string) bool { return arg == "" })
		status, stdout, stderr, _ := call(t, p, args...)
		want := fmt.Sprintf("listen \"one\": %s is in use by ", l.Addr())
		if status != exitFailed || stdout != "" || !strings.HasPrefix(stderr, want) || !strings.HasSuffix(stderr, fmt.Sprintf("(pid %d)\n", os.Getpid())) {
			t.Errorf("%q: %d %q %q", args, status, stdout, stderr)
		}
	}
	// The server that commands find is named as such, for what it serves; and what it serves may be held by others as well.
	for _, c := range []struct {
		listeners []master.ListenerStatus
		holder    string
	}{
		{[]master.ListenerStatus{{Address: "127.0.0.1:1", Shards: 1}, {Address: l.Addr().String(), Shards: 2}}, "the running prog (pid 7)\n"},
		{[]master.ListenerStatus{{Address: "127.0.0.1:1", Shards: 1}}, fmt.Sprintf("(pid %d)\n", os.Getpid())},
		{[]master.ListenerStatus{{Address: l.Addr().String()}}, fmt.Sprintf("(pid %d)\n", os.Getpid())}, // a stop has closed it
	} {
		d := newDesk(t, map[string]answer{"GET /v1/status": {200, master.Status{Pid: 7, Listeners: c.listeners}}})
		status, stdout, stderr, _ := call(t, p, "check", "--ports", taken, "--control", d.path)
		if status != exitFailed || stdout != "" || !strings.HasSuffix(stderr, c.holder) || !strings.HasPrefix(stderr, "listen \"one\": ") {
			t.Errorf("%+v: %d %q %q", c.listeners, status, stdout, stderr)
		}
	}
}

func TestVersionJSON(t *testing.T) {
	_, stdout, _, _ := call(t, bare(t), "version", "--json")
	var info versionInfo
	if err := json.Unmarshal([]byte(stdout), &info); err != nil {
		t.Fatal(err)
	}
	if info.Program != "prog" || info.Version != "1.2.3" || info.Go == "" || info.OS != "linux" || info.Arch == "" {
		t.Errorf("%+v", info)
	}
}

// Every command has what its manual page is made from.
func TestCommandsAreDocumented(t *testing.T) {
	p := library(t)
	p.DefaultConfig = ""
	root := Command(p)
	for _, cmd := range append(root.Commands(), root) {
		if name := cmd.Name(); name == "help" || name == "completion" {
			continue // cobra's
		}
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s has no text or no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(line) > 101 {
				t.Errorf("%s: a line of the help is wider than 100 columns: %s", cmd.CommandPath(), line)
			}
		}
	}
}

// The blocks of limits and workers are the child's: a configuration may hold them.
func TestSchemaHasLimitsAndWorkers(t *testing.T) {
	s := schema(library(t))
	if s.Limits.Name != child.LimitsSpec().Name || s.Workers.Name != child.WorkersSpec().Name || len(s.CodeRoutes) != 1 {
		t.Errorf("%+v", s)
	}
	if _, err := s.Pattern("GET example.com/"); err == nil {
		t.Error("a host in a pattern is allowed")
	}
	a, _ := s.Pattern("/{a}")
	b, err := s.Pattern("/{b}")
	if a != b || a == "" || err != nil {
		t.Errorf("keys %q and %q, %v", a, b, err)
	}
}

// docs/config.md has a row for every limit, in the section of its block, with its default.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	s := schema(Program{Modules: []module.Module{anything{}}})
	config, diags := configs.Resolve(&configs.Sources{Path: "/t.hcl", Dir: "/", Files: []configs.Source{{Name: "t.hcl", Bytes: []byte(`
listen "main" {
  address = "127.0.0.1:0"
}
site "main" {
  route "/" {
    limits {}
    anything {}
  }
}
`)}}}, s)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	dump := config.Dump()
	for section, spec := range map[string]configs.BlockSpec{"limits": s.Limits, "workers": s.Workers, "limits of a route": s.RouteLimits} {
		_, page, found := strings.Cut(string(text), "\n## "+section+"\n")
		if !found {
			t.Errorf("there is no section on %s", section)
			continue
		}
		page, _, _ = strings.Cut(page, "\n## ")
		indent := ""
		if section == "limits of a route" {
			indent = "    "
		}
		_, block, _ := strings.Cut(dump, "\n"+indent+spec.Name+" {\n")
		block, _, _ = strings.Cut(block, "\n"+indent+"}\n")
		for _, a := range spec.Attributes {
			standard := "that of `limits`"
			if set := regexp.MustCompile(`(?m)^ *` + a.Name + ` += (.*)$`).FindStringSubmatch(block); set != nil {
				standard = "`" + set[1] + "`"
			}
			row := regexp.MustCompile("(?m)^\\| `" + a.Name + "` \\| [^|]+ \\| " + regexp.QuoteMeta(standard) + " \\| .+ \\|$")
			if !row.MatchString(page) {
				t.Errorf("docs/config.md, %s: no row for %s with the default %s", section, a.Name, standard)
			}
		}
	}
}

// anything is a module for a route that must have one.
type anything struct{}

func (anything) Spec() configs.BlockSpec { return configs.BlockSpec{Name: "anything"} }

func (anything) Open(*configs.Block, *module.Env) (module.Instance, error) {
	return module.Instance{}, nil
}
