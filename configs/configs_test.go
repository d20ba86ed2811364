package configs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const small = `
listen "main" {
  address = ":80"
}
site "main" {
  route "GET /a/{id}" {
    function "hello" {}
  }
}
`

func TestDefault(t *testing.T) {
	schema := testSchema()
	schema.CodeRoutes = []CodeRoute{{"GET /", "main.go:7"}}
	c := Default(schema)
	if len(c.Listeners) != 1 || c.Listeners[0].Name != "main" || c.Listeners[0].Address.String() != "127.0.0.1:8080" {
		t.Errorf("listeners %+v", c.Listeners)
	}
	if len(c.Sites) != 1 || !c.Sites[0].Default || !slices.Equal(c.Sites[0].Listeners, []string{"main"}) {
		t.Errorf("sites %+v", c.Sites)
	}
	if r := c.Sites[0].Routes; len(r) != 1 || !r[0].FromCode || r[0].Pattern != "GET /" || r[0].Pos.String() != "main.go:7" {
		t.Errorf("routes %+v", r)
	}
	if c.Procs != 1 || c.DrainTimeout != 30*time.Second || c.Limits.Size("body") != 16<<20 || c.Workers.Int("max") != 1024 {
		t.Errorf("defaults %+v", c)
	}
	if !strings.Contains(c.Dump(), `# from code: route "GET /"`) {
		t.Errorf("dump:\n%s", c.Dump())
	}
	again, diags := Resolve(sources("dump.hcl", c.Dump()), schema)
	if len(diags) > 0 || again.Digest != c.Digest {
		t.Errorf("the dump of the default differs: %v", diags)
	}
}

func TestNoFile(t *testing.T) {
	schema := testSchema()
	if c, diags := Resolve(&Sources{}, schema); c != nil || !diags.HasErrors() {
		t.Error("accepted without a file")
	}
	schema.NoFile = true
	c, diags := Resolve(nil, schema)
	if c == nil || len(diags) > 0 || c.Digest != Default(schema).Digest {
		t.Errorf("%v, %v", c, diags)
	}
	schema.CodeRoutes = []CodeRoute{{"nonsense", "main.go:9"}, {"/a", "main.go:10"}, {"/a", "main.go:11"}}
	_, diags = Resolve(nil, schema)
	want := "main.go:9: the path is missing; write \"GET /\"\nmain.go:11: the pattern \"/a\" is registered already at main.go:10; remove one of them"
	if diags.Error() != want {
		t.Errorf("got %v", diags)
	}
}

func TestCodeRoutes(t *testing.T) {
	schema := testSchema()
	schema.CodeRoutes = []CodeRoute{{"GET /a/{name}", "main.go:7"}, {"/b", "main.go:8"}}
	_, diags := Resolve(sources("tined.hcl", small), schema)
	if want := `tined.hcl:6:3: route "GET /a/{id}" is registered in code too, at main.go:7; remove one of them, or change its pattern`; diags.Error() != want {
		t.Errorf("got %v", diags)
	}
	// Two default sites, on a listener each, get them both.
	schema.CodeRoutes = schema.CodeRoutes[1:]
	c, diags := Resolve(sources("tined.hcl", strings.Replace(small, "site \"main\" {", "listen \"b\" {\n address = \":81\"\n}\nsite \"b\" {\n listen = [\"b\"]\n}\nsite \"main\" {\n listen = [\"main\"]", 1)), schema)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if len(c.Sites) != 2 || len(c.Sites[0].Routes) != 1 || len(c.Sites[1].Routes) != 2 {
		t.Errorf("%+v", c.Sites)
	}
	// Without a default site they get a site of their own.
	c, diags = Resolve(sources("tined.hcl", strings.Replace(small, "site \"main\" {", "site \"code\" {\n hosts = [\"a.example\"]", 1)), schema)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if len(c.Sites) != 2 || c.Sites[1].Name != "code_" || !c.Sites[1].Default || len(c.Sites[1].Routes) != 1 {
		t.Errorf("%+v", c.Sites)
	}
}

func TestDigest(t *testing.T) {
	base := resolved(t, "tined.hcl", small).Digest
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(base) {
		t.Errorf("digest %q", base)
	}
	same := []string{
		"# a comment\n" + small,
		"children = \"auto\"\n" + small,
		"drain_timeout = \"30000ms\"\n" + small,
		strings.Replace(small, `":80"`, `"[::]:80"`, 1),
		strings.Replace(small, "site \"main\" {", "site \"main\" {\n listen = [\"main\"]", 1),
		small + "limits {\n  body = 16777216\n}\n",
	}
	for _, text := range same {
		if d := resolved(t, "other.hcl", text).Digest; d != base {
			t.Errorf("the digest differs for:\n%s", text)
		}
	}
	other := []string{
		"children = 1\n" + small,
		strings.Replace(small, "hello", "echo", 1),
		strings.Replace(small, `":80"`, `"0.0.0.0:80"`, 1),
		small + "limits {\n  body = 1\n}\n",
		strings.Replace(small, "site \"main\" {", "site \"main\" {\n stamp {}\n squeeze {}", 1),
		strings.Replace(small, "site \"main\" {", "site \"main\" {\n squeeze {}\n stamp {}", 1),
		strings.Replace(small, "    function", "    stamp {}\n    function", 1),
		strings.Replace(small, "    function", "    limits {}\n    function", 1),
		small + "listen \"b\" {\n  address = \":81\"\n}\n",
	}
	seen := map[string]bool{base: true}
	for _, text := range other {
		d := resolved(t, "tined.hcl", text).Digest
		if seen[d] {
			t.Errorf("the digest does not differ for:\n%s", text)
		}
		seen[d] = true
	}
}

func TestWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"listen \"main\" {\n  address = \":80\"\n}\n":  `tined.hcl:1:1: warning: there is no site: every request gets a 404; add site "main" { } with a route`,
		small + "site \"b\" {\n  hosts = [\"b\"]\n}\n": `tined.hcl:10:1: warning: site "b" has no route: every request to it gets a 404; add route "/" { } with a module`,
		strings.Replace(small, "site \"main\" {", "listen \"b\" {\n address = \":81\"\n}\nsite \"main\" {\n listen = [\"main\"]", 1): `tined.hcl:5:1: warning: listen "b" has no site: every request to it gets a 404; name it in listen of a site, or remove it`,
	} {
		c, diags := Resolve(sources("tined.hcl", text), testSchema())
		if c == nil || diags.HasErrors() || diags.Err() != nil || diags.Error() != want {
			t.Errorf("got %v, want %s", diags, want)
		}
	}
}

func TestControl(t *testing.T) {
	text := "control = \"run/control.sock\"\nruntime_dir = \"/run/x\"\nnonsense {\nlisten \"main\" { address = 5 backlog = \"x\" }\n"
	if _, diags := Resolve(sources("tined.hcl", text), testSchema()); !diags.HasErrors() {
		t.Fatal("accepted")
	}
	text = strings.Replace(text, "nonsense {", "nonsense {}", 1)
	control, runtime := Control(sources("tined.hcl", text))
	if control != "/etc/tined/run/control.sock" || runtime != "/run/x" {
		t.Errorf("got %q and %q", control, runtime)
	}
	control, runtime = Control(sources("tined.hcl", "control = ${x\nruntime_dir = 5\n"))
	if control != "" || runtime != "" {
		t.Errorf("got %q and %q", control, runtime)
	}
	for _, broken := range []string{
		"listen \"main\" {\n  address = \":80\"\n\ncontrol = \"/run/c.sock\"\n",
		"control = \"/run/c.sock\"\nsite \"x\" {\n  route \"/\n",
	} {
		if control, _ = Control(sources("tined.hcl", broken)); control != "/run/c.sock" {
			t.Errorf("Control of a file with an unclosed block or quote = %q\n%s", control, broken)
		}
	}
	if control, runtime = Control(nil); control != "" || runtime != "" {
		t.Errorf("got %q and %q", control, runtime)
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:80":        "127.0.0.1:80",
		"0.0.0.0:0":           "0.0.0.0:0",
		"[::1]:80":            "[::1]:80",
		"[::]:80":             "[::]:80 dual",
		":80":                 "[::]:80 dual",
		"localhost:80":        "127.0.0.1:80",
		"[::ffff:10.0.0.1]:1": "10.0.0.1:1",
		"unix:/run/x.sock":    "unix:/run/x.sock",
		"unix:x.sock":         "unix:x.sock",
	} {
		a, err := ParseAddress(text)
		got := a.String()
		if a.DualStack {
			got += " dual"
		}
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Errorf("%s: %+v became %+v, %v", text, a, again, err)
		}
	}
	for _, text := range []string{"", ":", "80", "host:80", "::80", "[::]", "1.2.3.4", ":-1", ":65536", ":+1", "unix:", "unix:@x", "unix:/" + strings.Repeat("x", 107)} {
		if a, err := ParseAddress(text); err == nil {
			t.Errorf("%q is accepted as %v", text, a)
		} else if p := asProblem(err); p.Message == "" || p.Cure == "" {
			t.Errorf("%q: no cure in %#v", text, p)
		}
	}
}

func TestDurationsAndSizes(t *testing.T) {
	for text, want := range map[string]string{"10s": "10s", "1m30s": "1m30s", "60s": "1m", "3600s": "1h", "90m": "1h30m", "1500ms": "1.5s", "0s": "0s", "1h0m1s": "1h0m1s", "10m": "10m"} {
		d, p := parseDuration(text)
		if p != nil || formatDuration(d) != want {
			t.Errorf("%s: got %s, %v", text, formatDuration(d), p)
		}
		if again, p := parseDuration(formatDuration(d)); p != nil || again != d {
			t.Errorf("%s does not come back", text)
		}
	}
	for text, cure := range map[string]string{"10": "10s", "10 s": "10s", "2 minutes": "2m", "1d": "24h", "1.5 days": "36h", "5 Min": "5m", "+5s": "5s", "0": "0s"} {
		if _, p := parseDuration(text); p == nil || !strings.Contains(p.Cure, Quote(cure)) {
			t.Errorf("%q: %v", text, p)
		}
	}
	for _, text := range []string{"", "s", "-1s", "1x", "abc", "9999999h", "."} {
		if d, p := parseDuration(text); p == nil || p.Cure == "" {
			t.Errorf("%q is accepted as %v", text, d)
		}
	}
	for text, want := range map[string]string{"0": "0", "1": "1", "512B": "512", "64KiB": `"64KiB"`, "1024": `"1KiB"`, "10MB": "10000000", "1000kB": "1000000", "1TiB": `"1TiB"`} {
		n, p := parseSize(text)
		if p != nil || formatSize(n) != want {
			t.Errorf("%s: got %s, %v", text, formatSize(n), p)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "1 MiB", "1mib", "1M", "9223372036854775808", "9999999TiB", "0x10", "1e3"} {
		if n, p := parseSize(text); p == nil || p.Cure == "" {
			t.Errorf("%q is accepted as %v", text, n)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"address", "backlog", "deferred", "mode", "to"}
	for word, want := range map[string]string{
		"adress": "address", "ADDRESS": "address", "addres": "address", "backlogs": "backlog", "defer": "deferred",
		"mdoe": "mode", "tp": "to", "x": "", "xyz": "", "": "", "something_else": "", strings.Repeat("a", 1000): "",
	} {
		got := DidYouMean(word, known)
		if want != "" {
			want = fmt.Sprintf("did you mean %q?", want)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

// What other servers call it is answered by the place where it was written.
func TestSynonyms(t *testing.T) {
	places := map[string][]string{
		"top":      {"children", "log", "listen", "site", "limits", "include"},
		"site":     {"hosts", "listen", "access_log", "route", "compress", "timeout"},
		"route":    {"limits", "static", "redirect", "respond", "function", "compress", "timeout"},
		"static":   {"root", "index", "try", "headers", "types", "symlinks", "hidden", "precompressed", "access", "compress", "error", "fallback", "files", "listing", "write"},
		"access":   {"paths", "methods", "allow", "from", "users", "users_file", "tokens", "satisfy", "realm"},
		"error":    {"file", "headers"},
		"compress": {"codings", "min_bytes", "max_file", "types", "gzip_level", "cache", "directory"},
		"write":    {"max_bytes", "fsync", "create_directories", "delete", "mode"},
	}
	for _, c := range []struct{ place, word, want string }{
		{"top", "server", `did you mean "site"?`},
		{"top", "client_max_body_size", `did you mean "limits"?`},
		{"site", "location", `did you mean "route"?`},
		{"site", "gzip", `did you mean "compress"?`},
		{"site", "root", `that is a matter of static { } in a route "PATTERN" { }`},
		{"site", "file_server", `that is a matter of static { } in a route "PATTERN" { }`},
		{"site", "try_files", `that is a matter of static { } in a route "PATTERN" { }`},
		{"route", "file_server", `did you mean "static"?`},
		{"route", "Try_Files", `did you mean "static"?`},
		{"route", "rewrite", `did you mean "redirect"?`},
		{"static", "AutoIndex", `did you mean "listing"?`},
		{"static", "path", `did you mean "root"?`},
		{"static", "dotfiles", `did you mean "hidden"?`},
		{"static", "rewrite", `did you mean "try"?`},
		{"static", "location", `did you mean "files"?`},
		{"static", "auth_basic", `did you mean "access"?`},
		{"static", "max_size", `did you mean "write"?`},
		{"static", "try_files", `write try = ["{path}", "{path}/", "{path}.html"], or fallback { file = "/index.html" } to send one file for all that is missing`},
		{"static", "expires", `write headers = { Cache-Control = "max-age=3600" }, or the same in files "PATTERN" { } for some of the files`},
		{"static", "error_page", `write error "404" { file = "/404.html" }, and the same for each other status`},
		{"static", "rot", `did you mean "root"?`},
		{"access", "path", `did you mean "paths"?`},
		{"access", "auth_basic", `did you mean "realm"?`},
		{"access", "deny", `write allow = "none", or from for the addresses that may`},
		{"access", "htpasswd", `did you mean "users_file"?`},
		{"error", "path", `did you mean "file"?`},
		{"compress", "dir", `did you mean "directory"?`},
		{"compress", "level", `did you mean "gzip_level"?`},
		{"write", "max_size", `did you mean "max_bytes"?`},
		{"write", "try_files", ""},
	} {
		if got := DidYouMean(c.word, places[c.place]); got != c.want {
			t.Errorf("%q in %s: got %q, want %q", c.word, c.place, got, c.want)
		}
	}
}

func TestBlock(t *testing.T) {
	spec := BlockSpec{
		Name: "thing", Labels: []string{"NAME"},
		Attributes: []Attribute{
			{Name: "text", Type: String, Required: true},
			{Name: "count", Type: Int, Default: 3, Max: 10},
			{Name: "wait", Type: Duration, Default: "5s"},
			{Name: "size", Type: Size, Default: "1KiB"},
			{Name: "ratio", Type: Number, Default: 1},
			{Name: "list", Type: Strings},
			{Name: "map", Type: StringMap},
			{Name: "on", Type: Bool},
			{Name: "path", Type: Path},
		},
		Blocks: []BlockSpec{{Name: "inner"}},
		Check: func(b *Block) []Problem {
			if b.String("text") == "bad" {
				return []Problem{{At: "text", Message: "bad", Cure: "be good"}}
			}
			return nil
		},
	}
	b, err := NewBlock(spec, map[string]any{"text": "x", "count": 4, "map": map[string]string{"a": "b"}}, "label")
	if err != nil {
		t.Fatal(err)
	}
	if b.Name() != "thing" || b.Label(0) != "label" || b.String("text") != "x" || b.Int("count") != 4 ||
		b.Duration("wait") != 5*time.Second || b.Size("size") != 1024 || b.Number("ratio") != 1 ||
		b.Strings("list") != nil || b.StringMap("map")["a"] != "b" || b.Bool("on") || b.Path("path") != "" ||
		!b.Has("count") || b.Has("wait") || b.Block("inner") != nil || len(b.Blocks("inner")) != 0 {
		t.Errorf("%+v", b)
	}
	for name, values := range map[string]map[string]any{
		"missing": {}, "unknown": {"text": "x", "y": 1}, "type": {"text": 1}, "range": {"text": "x", "count": 11}, "check": {"text": "bad"},
	} {
		if _, err := NewBlock(spec, values, "label"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewBlock(spec, map[string]any{"text": "x"}); err == nil {
		t.Error("accepted without a label")
	}
	for name, wrong := range map[string]func(){
		"unknown attribute": func() { b.Has("nothing") },
		"wrong type":        func() { b.Int("text") },
		"unknown block":     func() { b.Blocks("nothing") },
		"bad default": func() {
			_, _ = NewBlock(BlockSpec{Attributes: []Attribute{{Name: "a", Type: Duration, Default: "5"}}}, nil)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			wrong()
		}()
	}
}

func TestSourcesEncode(t *testing.T) {
	s := &Sources{Path: "/etc/tined/tined.hcl", Dir: "/etc", Files: []Source{
		{Name: "tined/tined.hcl", Bytes: []byte(small)}, {Name: "tined/a.hcl", Bytes: []byte{}}, {Name: "/b\xff", Bytes: []byte{0, 1}},
	}}
	b := s.Encode()
	got, err := DecodeSources(b)
	if err != nil || got.Path != s.Path || got.Dir != s.Dir || !slices.EqualFunc(got.Files, s.Files, equalSource) {
		t.Errorf("got %+v, %v", got, err)
	}
	if !bytes.Equal(got.Encode(), b) {
		t.Error("the encoding differs")
	}
	for n := range len(b) {
		if _, err := DecodeSources(b[:n]); err == nil {
			t.Errorf("%d bytes of %d are accepted", n, len(b))
		}
	}
	if _, err := DecodeSources(append(b, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
}

func TestDepthAndSize(t *testing.T) {
	for name, text := range map[string]string{
		"brackets.hcl":       "a = " + strings.Repeat("[", 1<<17),
		"blocks.hcl":         strings.Repeat("a {\n", 1<<15),
		"operators.hcl":      "a = " + strings.Repeat("!", 1<<17) + "true",
		"conditionals.hcl":   "a = " + strings.Repeat("1 ? 1 : ", 1<<15) + "1",
		"interpolations.hcl": "a = " + strings.Repeat(`"${`, 1<<15),
		"brackets.json":      strings.Repeat("[", 1<<17),
		"large.hcl":          strings.Repeat("#", maxFileSize+1),
		"semicolons.hcl":     strings.Repeat("a=1;", 1<<11),
		"one_line.hcl":       "a {" + strings.Repeat(" b=c", 1<<11) + "}",
	} {
		start := time.Now()
		_, diags := Resolve(sources(name, text), testSchema())
		if !diags.HasErrors() {
			t.Errorf("%s is accepted", name)
		}
		t.Logf("%s: %v, %d diagnostics", name, time.Since(start), len(diags))
	}
}

func TestLocator(t *testing.T) {
	l := newLocator("f", []byte("a = b; c = d\nü = 1\n"))
	out := l.mended([]edit{{at: 4, remove: 1, insert: `"b"`}, {at: 5, remove: 1, insert: "\n"}, {at: 11, remove: 1, insert: `"d"`}})
	if want := "a = \"b\"\n c = \"d\"\nü = 1\n"; string(out) != want {
		t.Fatalf("got %q", out)
	}
	for mended, want := range map[string]string{"a": "f:1:1", `"b"`: "f:1:5", "c": "f:1:8", `"d"`: "f:1:12", "ü": "f:2:1", "1": "f:2:5"} {
		if got := l.at(l.original(bytes.Index(out, []byte(mended)))).String(); got != want {
			t.Errorf("%s: got %s, want %s", mended, got, want)
		}
	}
}

// write makes files in a fresh folder, and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(s *Sources) string {
	var list []string
	for _, f := range s.Files {
		list = append(list, f.Name)
	}
	return strings.Join(list, " ")
}

func TestInclude(t *testing.T) {
	dir := write(t, map[string]string{
		"tined.hcl":          "children = 2\ninclude = [\"conf.d/*.hcl\", \"none/*.hcl\", \"more.json\", \"conf.d/a.hcl\"]\n" + small,
		"conf.d/b.hcl":       "include = [\"deep/*\"]\npin = true\n",
		"conf.d/a.hcl":       "site \"a\" {\n  hosts = [\"a.example\"]\n  route \"/\" {\n    static {\n      root = \"www\"\n    }\n  }\n}\n",
		"conf.d/.#a.hcl":     "an editor's leftovers",
		"conf.d/a.hcl~":      "as well",
		"conf.d/deep/c.hcl":  "log {\n  file = \"c.log\"\n}\n",
		"conf.d/deep/.hcl":   "hidden",
		"more.json":          `{"procs": 2}`,
		"elsewhere/not.here": "",
	})
	t.Chdir(dir)
	s, diags := Read("tined.hcl")
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if got, want := names(s), "tined.hcl conf.d/a.hcl conf.d/b.hcl conf.d/deep/c.hcl more.json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c, diags := Resolve(s, testSchema())
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if c.Path != filepath.Join(dir, "tined.hcl") || c.Children != 2 || !c.Pin || c.Procs != 2 ||
		c.Log.File != filepath.Join(dir, "conf.d/deep/c.log") || len(c.Sites) != 2 ||
		c.Sites[1].Routes[0].Block.Path("root") != filepath.Join(dir, "conf.d/www") {
		t.Errorf("%+v", c)
	}
	// The same by its absolute name, and after a journey.
	absolute, diags := Read(filepath.Join(dir, "tined.hcl"))
	if len(diags) > 0 || absolute.Files[1].Name != filepath.Join(dir, "conf.d/a.hcl") {
		t.Fatalf("%s, %v", names(absolute), diags)
	}
	decoded, err := DecodeSources(absolute.Encode())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	again, diags := Resolve(decoded, testSchema())
	if len(diags) > 0 || again.Digest != c.Digest {
		t.Errorf("%v, digests %s and %s", diags, again.Digest, c.Digest)
	}
}

func TestIncludeMistakes(t *testing.T) {
	files := map[string]string{
		"tined.hcl":       "include = [\"missing.hcl\", \"folder\", \"loop1.hcl\", \"*.hcl\", \"bad[\", \"\", \"twice.hcl\", \"pipe\"]\nchildren = 2\n" + small,
		"folder/x":        "",
		"loop1.hcl":       "include = [\"loop2.hcl\"]\n",
		"loop2.hcl":       "include = [\"loop1.hcl\"]\n",
		"twice.hcl":       "children = 3\nlisten \"main\" {\n  address = \":81\"\n}\nsite \"b\" {\n  hosts = 5\n}\n",
		"broken.hcl":      "include = [5\n",
		"wrong.hcl":       "include = [5]\n",
		"unreadable/.hcl": "",
	}
	for i := range 10 {
		files[fmt.Sprintf("nest/%d.hcl", i)] = fmt.Sprintf("include = [\"%d.hcl\"]\n", i+1)
	}
	files["nest/10.hcl"] = ""
	dir := write(t, files)
	t.Chdir(dir)
	if err := os.Symlink("/dev/null", "pipe"); err != nil {
		t.Fatal(err)
	}
	config, s, diags := Load("tined.hcl", testSchema())
	if config != nil || s == nil {
		t.Fatal("accepted")
	}
	got := strings.ReplaceAll(diags.Error(), dir, "DIR")
	want := `tined.hcl:1:12: cannot include "missing.hcl": no such file or directory; check the name
tined.hcl:1:27: cannot include "folder": "DIR/folder" is a directory; name a file, or "DIR/folder/*.hcl"
tined.hcl:1:50: this file includes itself; narrow the pattern, or move the other files into a folder of their own
tined.hcl:1:59: the pattern "bad[" is not well formed; close its [, or write \\[ for a plain one
tined.hcl:1:67: an include is empty; write a name or a pattern, like "conf.d/*.hcl"
tined.hcl:1:84: cannot include "pipe": "DIR/pipe" is not a regular file; name one
loop2.hcl:1:12: the includes go in a circle: DIR/loop1.hcl includes DIR/loop2.hcl includes DIR/loop1.hcl; remove this one
broken.hcl:1:11: the list is not closed, or a comma is missing; write ["one", "two"]
broken.hcl:1:12: include is a list of texts, and 5 is none; write "5" in quotes
twice.hcl:1:1: children is set already at tined.hcl:2:1; keep one of them
twice.hcl:2:1: listen "main" is there already at tined.hcl:4:1; rename one of them, or join them
twice.hcl:6:11: hosts must be a list of texts, not 5; write hosts = ["example.com", "*.example.org"]
wrong.hcl:1:12: include is a list of texts, and 5 is none; write "5" in quotes`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, diags := Read("nest/0.hcl"); diags.Error() != `nest/8.hcl:1:12: includes nest deeper than 8 files; include "9.hcl" from a file nearer to the root` {
		t.Errorf("got %v", diags)
	}
	if s, diags := Read("nothing.hcl"); s != nil || diags.Error() != "nothing.hcl: no such file or directory; check the name" {
		t.Errorf("got %v", diags)
	}
}

func TestDiagnostics(t *testing.T) {
	if (Diagnostics{}).Err() != nil || (Diagnostics{{Severity: Warning}}).HasErrors() {
		t.Error("warnings are errors")
	}
	var ds Diagnostics
	if !errors.As(Diagnostics{{File: "f", Line: 1, Column: 2, Message: "m"}}.Err(), &ds) || ds.Error() != "f:1:2: m" {
		t.Error("lost in an error")
	}
	for _, s := range []Severity{Error, Warning} {
		text, err := s.MarshalText()
		var again Severity
		if err != nil || again.UnmarshalText(text) != nil || again != s {
			t.Errorf("%v does not come back", s)
		}
	}
}

// TestDist: the shipped example is right, sets no control socket, and its
// commented defaults are the defaults.
func TestDist(t *testing.T) {
	c, _, diags := Load("dist/tined.hcl", testSchema())
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if c.Control != "" || c.Listeners[0].Address.String() != "127.0.0.1:8080" || !c.Sites[0].Default || len(c.Sites[0].Routes) != 5 {
		t.Errorf("%+v", c)
	}
	root := c.Sites[0].Routes[4].Block.Path("root")
	for _, page := range []string{"index.html", "new/index.html"} {
		if _, err := os.Stat(filepath.Join(root, page)); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile("dist/tined.hcl")
	if err != nil {
		t.Fatal(err)
	}
	setting := regexp.MustCompile(`(?m)^( *)# ((?:  )*(?:\w+ +=.*|\w+ \{|\}))$`)
	full := setting.ReplaceAllString(string(text), "$1$2")
	for _, own := range []string{`include = `, `hosts  = `, `file   = "/var`, "access_log"} {
		if !strings.Contains(full, own) {
			t.Fatalf("%s is not in the example", own)
		}
	}
	full = regexp.MustCompile(`(?m)^ *(include = .*|hosts  = .*|file   = "/var.*)$`).ReplaceAllString(full, "")
	full = regexp.MustCompile(`(?s)access_log \{.*?\}`).ReplaceAllString(full, "")
	again, diags := Resolve(&Sources{Path: c.Path, Dir: filepath.Dir(c.Path), Files: []Source{{Name: "full.hcl", Bytes: []byte(full)}}}, testSchema())
	if len(diags) > 0 {
		t.Fatalf("%v\n%s", diags, full)
	}
	if again.Digest != c.Digest {
		t.Errorf("a commented value is not the default:\n%s\n%s", again.Dump(), c.Dump())
	}
}

// TestReference: docs/config.md has every block and attribute of this package,
// with its default, and examples without mistakes of syntax.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := topLevel(&Schema{})
	var visit func(spec *BlockSpec)
	visit = func(spec *BlockSpec) {
		if spec.Name != "" && !strings.Contains(string(text), "\n## "+spec.Name+"\n") {
			t.Errorf("there is no section on %s", spec.Name)
		}
		for i := range spec.Attributes {
			a := &spec.Attributes[i]
			def := "none"
			switch {
			case a.Required:
				def = "required"
			case a.Default != nil:
				v, err := a.native(a.Default)
				if err != nil {
					t.Fatal(err)
				}
				def = "`" + a.format(v) + "`"
			}
			row := regexp.MustCompile("(?m)^\\| `" + a.Name + "` \\| [^|]+ \\| " + regexp.QuoteMeta(def) + " \\| .+ \\|$")
			if !row.Match(text) {
				t.Errorf("no row for %s of %s with default %s", a.Name, where(spec, nil), def)
			}
		}
		for i := range spec.Blocks {
			visit(&spec.Blocks[i])
		}
	}
	visit(&spec)
	for _, example := range regexp.MustCompile("(?s)```(hcl|json)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		r := &report{}
		if parse(Source{Name: "example." + example[1], Bytes: []byte(example[2])}, &spec, r); len(r.list) > 0 {
			t.Errorf("%v in\n%s", r.list, example[2])
		}
	}
}
