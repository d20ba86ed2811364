package tined_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The import policy: who may import whom. What is absent is forbidden, and so is a package that is not in the table.
//
// A row names packages below the module ("child/module/*" stands for every package one level below), or modules of others. Every
// package may import the standard library, but for the row's never. Tests may import more: what the row's tests says, the packages
// of testing aids (testAids), and the package under test.
type rule struct {
	imports []string
	never   []string // packages of the standard library that the row must do without, and why is in the row's comment
	tests   []string
}

const (
	sysUnix = "golang.org/x/sys"
	zap     = "go.uber.org/zap"
	cobra   = "github.com/spf13/cobra"
	hcl     = "github.com/hashicorp/hcl/v2"
	cty     = "github.com/zclconf/go-cty"
	flip    = "github.com/cloudflare/tableflip"

	compress = "github.com/klauspost/compress"
	brotli   = "github.com/andybalholm/brotli"
	crypto   = "golang.org/x/crypto"

	modernc = "modernc.org/sqlite" // its package lib: SQLite itself
	libc    = "modernc.org/libc"
)

// unchanged are libraries for net/http that tests run on adapted handlers as they are.
var unchanged = []string{"github.com/go-chi/chi", "github.com/gorilla/websocket", "github.com/coder/websocket", "github.com/rs/cors"}

// module is the path that go.mod declares.
const modulePath = "github.com/tined/tined"

// testAids are for the tests of every package.
var testAids = []string{sysUnix, "github.com/rogpeppe/go-internal", "child/web/webtest", "child/web/webtest/servertest", "child/http1/http1test"}

// logging is for processes, not for the packages that they are made of.
var logging = []string{"log", "log/slog"}

var policy = map[string]rule{
	"netcore":         {imports: []string{sysUnix}, never: slices.Concat(logging, []string{"net/http"})},
	"netcore/control": {imports: []string{"netcore", sysUnix}, never: slices.Concat(logging, []string{"net/http", "os/exec"})},
	"netcore/board":   {imports: []string{"netcore", sysUnix}, never: logging},
	"configs":         {imports: []string{hcl, cty}, never: slices.Concat(logging, []string{"net/http", "os/exec"})},

	// The standard log is in it for the http.Server that adapted handlers look at.
	"child/web": {},
	// Handlers are tested without a server.
	"child/web/webtest": {imports: []string{"child/web"}, never: logging},
	// It knows the server from outside only: as a process, its signals, its control socket. Its tests need a program.
	"child/web/webtest/servertest": {never: logging, tests: []string{"."}},
	// Bytes in, values out: no I/O, no clock but the formatting of dates that it is given.
	"child/http1":           {imports: []string{"child/web"}, never: slices.Concat(logging, []string{"net", "net/http", "os", "syscall"})},
	"child/http1/http1test": {imports: []string{"child/web", "child/http1"}, never: logging},
	"child/router":          {imports: []string{"child/web"}, never: slices.Concat(logging, []string{"net", "os", "time", "syscall"})},
	"child/worker":          {imports: []string{"netcore"}, never: slices.Concat(logging, []string{"net", "os"})},
	"child/module":          {imports: []string{"child/web", "child/worker", "configs"}, never: logging},
	// Who may. What hashes passwords is linked in here only.
	"child/access": {imports: []string{"child/web", "configs", crypto}, never: logging},
	// What packs contents, and how a configuration names that. Contents are bytes and writers here.
	"child/coding": {imports: []string{"child/web", "configs", compress, brotli}, never: slices.Concat(logging, []string{"net", "net/http", "os", "syscall"})},
	"child/module/*": {
		imports: []string{"child/access", "child/coding", "child/module", "child/web", "child/worker", "configs", "netcore", zap, sysUnix},
		never:   logging,
		tests:   []string{compress, brotli, crypto}, // they unpack what was packed, and make cheap hashes
	},
	// Databases: the words, the connection, the two engines, what clients see, the chores; the module is the only one that sees all.
	"child/module/sqlite/engine": {never: slices.Concat(logging, []string{"net/http", "os", "syscall"})},
	"child/module/sqlite/wire":   {imports: []string{"child/module/sqlite/engine"}, never: slices.Concat(logging, []string{"net/http", "os", "syscall"})},
	"child/module/sqlite/lite": {
		imports: []string{"child/module/sqlite/engine", modernc, libc, sysUnix}, never: slices.Concat(logging, []string{"net/http"}),
	},
	"child/module/sqlite/local": {
		imports: []string{"child/module/sqlite/engine", "child/module/sqlite/lite", sysUnix}, never: slices.Concat(logging, []string{"net/http"}),
	},
	"child/module/sqlite/rqlite": {
		imports: []string{"child/module/sqlite/engine", "child/module/sqlite/lite"}, never: logging,
	},
	"child/module/sqlite/upkeep": {
		imports: []string{"child/module", "child/module/sqlite/engine", "child/module/sqlite/lite", "configs", sysUnix}, never: logging,
	},
	"child/module/sqlite": {
		imports: []string{
			"child/access", "child/module", "child/module/sqlite/engine", "child/module/sqlite/lite", "child/module/sqlite/local", "child/module/sqlite/rqlite",
			"child/module/sqlite/upkeep", "child/module/sqlite/wire", "child/web", "child/worker", "configs", sysUnix,
		},
		never: logging,
		tests: []string{"github.com/coder/websocket", crypto}, // a browser is driven over a socket
	},
	"child/middleware": {
		imports: []string{"child/coding", "child/module", "child/web", "configs", sysUnix},
		never:   logging,
		tests:   []string{compress, brotli}, // they unpack what was packed
	},
	// It gets its modules from cmd/cli; its tests may link some in.
	"child": {
		imports: []string{
			"netcore", "netcore/control", "netcore/board", "configs", "child/web", "child/http1", "child/router", "child/worker",
			"child/module", zap, sysUnix,
		},
		never: logging,
		tests: slices.Concat(unchanged, []string{"child/module/*", "child/middleware"}),
	},
	"master": {
		imports: []string{"netcore", "netcore/control", "netcore/board", "configs", flip, zap, sysUnix},
		never:   []string{"os/exec"}, // proc.go starts processes, with exactly what they inherit
		tests:   []string{"child/web", "child/module"},
	},

	// The only package that sees both processes.
	"cmd/cli": {imports: []string{"netcore/board", "netcore/control", "configs", "child", "child/access", "child/web", "child/module", "master", cobra, sysUnix}},
	".": {imports: []string{
		"cmd/cli", "netcore/board", "child/web", "child/middleware", "child/module", "child/module/function", "child/module/redirect", "child/module/respond",
		"child/module/static",
	}, tests: []string{"configs"}},
	"cmd/tined": {
		imports: []string{".", "child/module", "child/module/*"},
		tests:   []string{"child/module/sqlite/engine", "child/module/sqlite/lite"}, // they look into the files that were served
	},
	// What a user of the library writes.
	"cmd/hello": {imports: []string{"."}},

	// Programs that measure from outside. What they share is in rig.
	"scripts/*": {imports: []string{"scripts/internal/rig", "scripts/internal/stats", sysUnix}},
	"scripts/bench": {imports: []string{ // what it compares with has the same driver
		"scripts/internal/rig", "scripts/internal/stats", "child/module/sqlite/engine", "child/module/sqlite/lite", sysUnix,
	}},
	"scripts/internal/rig":   {imports: []string{sysUnix}},
	"scripts/internal/stats": {},
	"scripts/internal/link":  {imports: []string{sysUnix}},
	// A server to measure.
	"scripts/sleeper": {imports: []string{"."}},
	// A program that runs servers, and one of those.
	"scripts/storm":        {imports: []string{"scripts/internal/link", "scripts/internal/rig", sysUnix}},
	"scripts/storm/unruly": {imports: []string{".", "child/module", "configs"}},
	// It measures the server's own parts beside others.
	"scripts/lab": {imports: []string{"scripts/internal/rig", "scripts/internal/stats", "netcore", "child/worker", sysUnix}},
}

// TestImports holds the policy against every file, whatever its build tags are (invariant 5 of docs/ARCHITECTURE.md is a part of it).
func TestImports(t *testing.T) {
	for dir, files := range goFiles(t) {
		row, known := rowOf(dir)
		if !known {
			t.Errorf("package %s is not in the policy: add a row to imports_test.go that says what it may import", dir)
			continue
		}
		for _, file := range files {
			allowed := row.imports
			test := strings.HasSuffix(file, "_test.go")
			if test {
				allowed = slices.Concat(row.imports, row.tests, testAids, []string{dir})
			}
			for _, imported := range importsOf(t, file) {
				switch own, other := within(imported); {
				case own != "":
					if !slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, own) }) {
						t.Errorf("%s: %s must not import %s (see imports_test.go)", file, dir, own)
					}
				case other:
					if !slices.ContainsFunc(allowed, func(pattern string) bool { return imported == pattern || strings.HasPrefix(imported, pattern+"/") }) {
						t.Errorf("%s: %s must not import %s: it is not among the modules that the policy gives it", file, dir, imported)
					}
				case !test && slices.Contains(row.never, imported):
					t.Errorf("%s: %s must do without %s (imports_test.go)", file, dir, imported)
				}
			}
		}
	}
}

// TestImportPolicyBites is the test of the test.
func TestImportPolicyBites(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		allowed       bool
	}{
		{"master", "child", false},
		{"child", "master", false},
		{"child", "child/module/static", false},
		{"child/module/static", "child/module/respond", false},
		{"child/module/static", "netcore", true},
		{"netcore", "configs", false},
		{"cmd/tined", "child/module/static", true},
		{"cmd/tined", "child/module", true},
		{"cmd/hello", "cmd/cli", false},
		{".", "master", false},
	} {
		row, known := rowOf(c.dir)
		if !known {
			t.Errorf("%s has no row", c.dir)
		}
		if got := slices.ContainsFunc(row.imports, func(p string) bool { return matches(p, c.imported) }); got != c.allowed {
			t.Errorf("%s may import %s: %v, want %v", c.dir, c.imported, got, c.allowed)
		}
	}
	if _, known := rowOf("util"); known {
		t.Error("a package outside the table has a row")
	}
}

// rowOf finds the row of a package, its own before a pattern's.
func rowOf(dir string) (rule, bool) {
	if row, ok := policy[dir]; ok {
		return row, true
	}
	for pattern, row := range policy {
		if strings.HasSuffix(pattern, "/*") && matches(pattern, dir) {
			return row, true
		}
	}
	return rule{}, false
}

func matches(pattern, dir string) bool {
	parent, many := strings.CutSuffix(pattern, "/*")
	if !many {
		return pattern == dir
	}
	return path.Dir(dir) == parent
}

// within splits an import: own is the folder of one of this module's packages, other says that it is another module's.
func within(imported string) (own string, other bool) {
	if imported == modulePath {
		return ".", false
	}
	if rest, ok := strings.CutPrefix(imported, modulePath+"/"); ok {
		return rest, false
	}
	first, _, _ := strings.Cut(imported, "/")
	return "", strings.Contains(first, ".")
}

// goFiles lists the Go files of this module by folder. Folders with a go.mod of their own are other modules.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".":
			if base := entry.Name(); base == "testdata" || base == "bin" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return fs.SkipDir
			}
		case strings.HasSuffix(name, ".go"):
			files[filepath.Dir(name)] = append(files[filepath.Dir(name)], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var imports []string
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		imports = append(imports, name)
	}
	return imports
}
