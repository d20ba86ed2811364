package cli

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

// folders is a module that is configured like static.
type folders struct{}

func (folders) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "static",
		Attributes: []configs.Attribute{
			{Name: "root", Type: configs.Path, Required: true},
			{Name: "index", Type: configs.Strings},
		},
		Blocks: []configs.BlockSpec{{Name: "listing"}},
	}
}

func (folders) Open(*configs.Block, *module.Env) (module.Instance, error) {
	return module.Instance{}, nil
}

// tool is a program like tined: it serves what a configuration says.
func tool(t *testing.T) Program {
	p := bare(t)
	p.Modules = []module.Module{folders{}}
	return p
}

// serveOn calls serve with a master that plays what play does, and says what it was asked.
func serveOn(t *testing.T, play func(o master.Options), args ...string) (status int, stderr string, asked bool) {
	t.Helper()
	defer childIndex.Store(-1)
	p := tool(t).withDefaults()
	var out, errs strings.Builder
	a := &app{program: p, schema: schema(p), stdout: &out, stderr: &errs, executable: "/usr/bin/prog", master: func(o master.Options) int {
		asked = true
		play(o)
		return 0
	}}
	status = a.execute(append([]string{"serve"}, args...))
	return status, errs.String(), asked
}

// The folder is the root whatever it is called, and what the master reads is valid each time.
func TestServeMakesTheConfiguration(t *testing.T) {
	base := t.TempDir()
	t.Chdir(base)
	t.Setenv(envControl, filepath.Join(base, "of-another.sock"))
	for _, name := range []string{"www", "with space", `"quoted"`, "${x}%{y}", "new\nline", "\xff\xfe", "u\u0308", "."} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{name, filepath.Join(base, name)} {
			status, stderr, asked := serveOn(t, func(o master.Options) {
				for range 2 {
					sources, diagnostics := o.Sources()
					if diagnostics.HasErrors() {
						t.Fatal(diagnostics.Err())
					}
					config, diagnostics := configs.Resolve(sources, o.Schema)
					if len(diagnostics) > 0 {
						t.Fatalf("%q: %v", dir, diagnostics)
					}
					route := config.Sites[0].Routes[0]
					if got := route.Block.Path("root"); got != filepath.Join(base, name) || route.Block.Block("listing") == nil {
						t.Errorf("%q: the root is %q", dir, got)
					}
					if l := config.Listeners[0].Address; l.String() != "[::]:0" || !l.DualStack || config.Log.Level != "warn" || config.Sites[0].AccessLog == nil {
						t.Errorf("%+v", config)
					}
				}
				if o.Path != "" || o.Host == nil || !o.Foreground || o.Control == os.Getenv(envControl) {
					t.Errorf("%+v", o)
				}
			}, "--listen", "0", "--", dir)
			if status != exitOK || stderr != "" || !asked {
				t.Errorf("%q: %d %s", dir, status, stderr)
			}
		}
	}
}

// The control socket is in a folder of this process, which is gone once it serves, and in any case at the end. One that the user names is left alone.
func TestServeLeavesNothing(t *testing.T) {
	for _, base := range []string{"XDG_RUNTIME_DIR", "TMPDIR"} {
		t.Run(base, func(t *testing.T) {
			private := t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", "/nonexistent")
			t.Setenv(base, private)
			for _, starts := range []bool{true, false} {
				status, stderr, _ := serveOn(t, func(o master.Options) {
					if info, err := os.Stat(filepath.Dir(o.Control)); err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(filepath.Dir(o.Control)) != private {
						t.Errorf("%s: %v", o.Control, err)
					}
					if !starts {
						return
					}
					o.Announce(nil)
					if left, err := os.ReadDir(private); err != nil || len(left) > 0 {
						t.Errorf("%v, %v", left, err)
					}
				}, "--listen", "127.0.0.1:0", t.TempDir())
				if left, err := os.ReadDir(private); err != nil || len(left) > 0 || status != exitOK {
					t.Errorf("%d %s: %v, %v", status, stderr, left, err)
				}
			}
		})
	}
	mine := filepath.Join(t.TempDir(), "mine.sock")
	serveOn(t, func(o master.Options) {
		o.Announce(nil)
		if _, err := os.Stat(filepath.Dir(mine)); err != nil || o.Control != mine {
			t.Errorf("%s: %v", o.Control, err)
		}
	}, "--listen", "127.0.0.1:0", "--control", mine, t.TempDir())

	// A temporary folder whose name is too long for a socket is no obstacle.
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", long)
	if _, stderr, asked := serveOn(t, func(o master.Options) {}, "--listen", "127.0.0.1:0", "."); !asked {
		t.Error(stderr)
	}
	if left, err := os.ReadDir(long); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestServeRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	file := write(t, filepath.Join(dir, "file"), "")
	taken := fmt.Sprintf("prog: %s is in use by ", l.Addr())
	for _, c := range []struct {
		args   []string
		status int
		stderr string // begins so
		cure   string // and ends so
	}{
		{[]string{"none"}, exitFailed, "prog: there is no folder none; make it, or name another\n", ""},
		{[]string{":8080"}, exitFailed, "prog: there is no folder :8080; if it is where to listen, write --listen :8080\n", ""},
		{[]string{"no\nne"}, exitFailed, `prog: there is no folder "no\nne"; `, ""},
		{[]string{""}, exitFailed, `prog: there is no folder ""; `, ""},
		{[]string{file}, exitFailed, "prog: " + file + " is no folder; ", dir + "\n"},
		{[]string{file + "/x"}, exitFailed, "prog: the folder " + file + "/x cannot be served: not a directory\n", ""},
		{[]string{"a", "b"}, exitUsage, "prog: serve takes one DIR, and was given 2", ""},
		{[]string{"-c", "x.hcl"}, exitUsage, "prog: serve takes no configuration: `prog run -c x.hcl` serves one; ", ""},
		{[]string{"--listen", l.Addr().String()}, exitFailed, taken, "; choose another port with --listen, such as 127.0.0.1:0 for any that is free\n"},
		{[]string{"--listen", ""}, exitUsage, "prog: --listen: the address is empty; ", ""},
		{[]string{"--listen", "http://localhost"}, exitUsage, "prog: --listen: an address has no scheme", ""},
		{[]string{"--listen", "65536"}, exitUsage, "prog: --listen: ", ""},
		{[]string{"--listen", "unix:none/x.sock"}, exitFailed, "prog: unix:" + dir + "/none/x.sock: the directory of the socket does not exist; create it\n", ""},
		{[]string{"--listen", "unix:" + strings.Repeat("x", 105)}, exitUsage, "prog: --listen: the path of a unix socket holds at most 107 bytes", ""},
		{[]string{"--listen", "unix:\xff.sock"}, exitFailed, `prog: the path "` + dir + `/\xff.sock" cannot stand in a configuration`, ""},
	} {
		status, stderr, asked := serveOn(t, func(master.Options) {}, c.args...)
		if status != c.status || asked || !strings.HasPrefix(stderr, c.stderr) || !strings.HasSuffix(stderr, c.cure) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: %d %q", c.args, status, stderr)
		}
	}
	if os.Geteuid() == 0 {
		return // it may do everything
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	if status, stderr, asked := serveOn(t, func(master.Options) {}, closed); status != exitFailed || asked || !strings.Contains(stderr, "may not search it") {
		t.Errorf("%d %q", status, stderr)
	}
}

// A program with routes in code serves those, and no folder by accident.
func TestServeIsATools(t *testing.T) {
	if status, _, _, asked := call(t, library(t), "serve"); status != exitUsage || asked != nil {
		t.Errorf("%d %+v", status, asked)
	}
	cmd, _, err := Command(bare(t)).Find([]string{"serve"})
	if err != nil || cmd.Short == "" || cmd.Example == "" {
		t.Fatalf("%+v, %v", cmd, err)
	}
	for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
		if len(line) > 101 {
			t.Errorf("a line of the help is wider than 100 columns: %s", line)
		}
	}
}

func TestOpens(t *testing.T) {
	machine := []machineAddress{
		{netip.MustParseAddr("192.168.1.5"), "eth0"}, {netip.MustParseAddr("fe80::1%eth0"), "eth0"}, {netip.MustParseAddr("2001:db8::5"), "eth0"},
	}
	for listen, want := range map[string][]string{
		":8000": {
			"http://localhost:8000/ this machine", "http://192.168.1.5:8000/ the network of eth0", "http://[2001:db8::5]:8000/ the network of eth0",
		},
		"0.0.0.0:80":          {"http://localhost:80/ this machine", "http://192.168.1.5:80/ the network of eth0"},
		"127.0.0.1:8000":      {"http://127.0.0.1:8000/ this machine only"},
		"[::1]:8000":          {"http://[::1]:8000/ this machine only"},
		"[2001:db8::5]:8000":  {"http://[2001:db8::5]:8000/ the network of eth0"},
		"198.51.100.7:8000":   {"http://198.51.100.7:8000/ who can reach this address"},
		"unix:/run/web.sock":  {"unix:/run/web.sock who may write to this socket"},
		"unix:/run/we b.sock": {"unix:/run/we b.sock who may write to this socket"},
	} {
		at, err := configs.ParseAddress(listen)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range opens(at, machine) {
			got = append(got, o.url+" "+o.who)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", listen, got, want)
		}
	}
	var many []machineAddress
	for i := range 40 {
		many = append(many, machineAddress{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), "br0"})
	}
	at, _ := configs.ParseAddress(":1")
	if all := opens(at, many); len(all) != mostURLs+1 || all[mostURLs].url != "and 25 more addresses of this machine" {
		t.Errorf("%d: %v", len(all), all[len(all)-1])
	}
}

func TestAnnouncement(t *testing.T) {
	at, _ := configs.ParseAddress("127.0.0.1:8000")
	for folder, want := range map[string]string{
		"/srv/www":      "prog 1.2.3: serving /srv/www; ^C ends it\nhttp://127.0.0.1:8000/  this machine only\n",
		"/srv/a\nb\x1b": "prog 1.2.3: serving \"/srv/a\\nb\\x1b\"; ^C ends it\nhttp://127.0.0.1:8000/  this machine only\n",
	} {
		if got := announcement(bare(t), folder, []configs.Address{at}); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
