package configs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPlan: pairs of configurations in testdata/plan, NAME.from.hcl and NAME.to.hcl; NAME.plan is the text with what a reload says to it,
// and NAME.golden.json the changes.
func TestPlan(t *testing.T) {
	pairs, err := filepath.Glob("testdata/plan/*.from.hcl")
	if err != nil || len(pairs) < 4 {
		t.Fatalf("%d pairs, %v", len(pairs), err)
	}
	for _, before := range pairs {
		name := strings.TrimSuffix(before, ".from.hcl")
		t.Run(filepath.Base(name), func(t *testing.T) {
			read := func(path string) *Config {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return resolved(t, "tined.hcl", string(text))
			}
			changes := diffed(t, read(before), read(name+".to.hcl"))
			view, err := json.MarshalIndent(changes, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			text := PlanText(changes)
			if reason := RestartOnly(changes); reason != "" {
				text += "\n" + reason + "\n"
			}
			golden(t, name+".plan", text)
			golden(t, name+".golden.json", string(view)+"\n")
		})
	}
}

// diffed compares two configurations in both directions, and checks what holds for every difference.
func diffed(t *testing.T, from, to *Config) []Change {
	t.Helper()
	for _, c := range []*Config{from, to} {
		if changes := Diff(c, c); len(changes) > 0 {
			t.Errorf("a configuration differs from itself: %v", changes)
		}
	}
	changes := Diff(from, to)
	for _, list := range [][]Change{changes, Diff(to, from)} {
		if (len(list) == 0) != (from.Digest == to.Digest) {
			t.Errorf("%d changes, digests equal: %v\n%s\n%s", len(list), from.Digest == to.Digest, from.Dump(), to.Dump())
		}
		seen := make(map[string]bool)
		for _, c := range list {
			if c.What == "" || seen[c.Kind+c.What] {
				t.Errorf("no name, or the same twice: %+v", c)
			}
			seen[c.Kind+c.What] = true
			if ok := map[string]bool{added: c.From == "", removed: c.To == "", changed: c.From != c.To && c.From != "" && c.To != ""}[c.Kind]; !ok {
				t.Errorf("its values do not fit its kind: %+v", c)
			}
		}
		if text := PlanText(list); strings.Count(text, "\n") < len(list) || strings.Contains(text, "\n\n\n") {
			t.Errorf("%d changes in the text:\n%s", len(list), text)
		}
	}
	return changes
}

// every is a configuration in which each attribute of the grammar can be told apart from its default.
const every = `
listen "main" {
  address = ":80"
}
listen "socket" {
  address         = "unix:/run/x.sock"
  trusted_proxies = ["unix"]
}
site "main" {
  access_log {}
  squeeze {}
  route "/" {
    limits {}
    squeeze {}
    static {
      root = "/srv"
      cache {}
    }
  }
  route "/r" {
    redirect {
      to = "/"
    }
  }
  route "/t" {
    respond {}
  }
}
site "b" {
  hosts = ["b"]
}
log {}
health {}
upgrade {}
limits {}
workers {}
`

// other is a value of an attribute that is not v, as it stands in a file.
func other(t *testing.T, a *Attribute, v string) string {
	t.Helper()
	own := map[string]string{
		"user": `"root"`, "group": `"root"`, "control_owner": `"root"`, "control_group": `"root"`, "control_mode": `"0600"`, "mode": `"0600"`,
		"hosts": `["c"]`, "listen": `["main"]`, "trusted_proxies": `["10.0.0.0/8", "unix"]`, "address": `":81"`, "memory_limit": `"1GiB"`, "status": "301",
		"timeout": `"2m"`, "latency_factor": "4",
	}
	if text, ok := own[a.Name]; ok {
		return text
	}
	for _, text := range slices.Concat(quoteAll(a.OneOf), a.OneOf, []string{`"/other"`, "true", "3", `"3s"`, `"3KiB"`, "0.25", `["other"]`, `{ "other" = "x" }`}) {
		if len(a.OneOf) > 0 && strings.HasPrefix(text, `"`) != (a.Type == String) {
			continue
		}
		kind := map[bool]valueKind{true: textValue, false: numberValue}[strings.HasPrefix(text, `"`)]
		fits := map[Type]bool{
			String: kind == textValue, Path: text == `"/other"`, Bool: text == "true", Int: text != "true" && text[0] >= '0' && text[0] <= '9' && text != "0.25",
			Number: text == "0.25", Duration: text == `"3s"`, Size: text == `"3KiB"`, Strings: text[0] == '[', StringMap: text[0] == '{',
		}[a.Type]
		if fits && text != v {
			return text
		}
	}
	t.Fatalf("no other value for %s", a.Name)
	return ""
}

// TestDiffNamesEveryAttribute changes each attribute of each block alone, and looks for it among the changes.
func TestDiffNamesEveryAttribute(t *testing.T) {
	base := resolved(t, "tined.hcl", every)
	spec := topLevel(testSchema())
	tried := 0
	// try puts a line into the block whose header has that text, and wants it named.
	try := func(a *Attribute, open, path string) {
		t.Helper()
		tried++
		was := ""
		if a.Default != nil {
			v, err := a.native(a.Default)
			if err != nil {
				t.Fatal(err)
			}
			was = a.format(v)
		}
		line := a.Name + " = " + other(t, a, was) + "\n"
		text := line + every
		if open != "" {
			at := strings.Index(every, open)
			if at < 0 {
				t.Fatalf("no %s", open)
			}
			at += len(open)
			rest := every[at:]
			// The attribute may be there already, in this block.
			end := strings.Index(rest, "}")
			body := regexp.MustCompile(`(?m)^ *`+a.Name+` .*\n`).ReplaceAllString(rest[:end], "")
			text = every[:at] + "\n" + line + body + "\n" + rest[end:]
		}
		changes := diffed(t, base, resolved(t, "tined.hcl", text))
		i := slices.IndexFunc(changes, func(c Change) bool { return c.What == path+a.Name })
		if i < 0 {
			t.Errorf("%s is not named in %+v", path+a.Name, changes)
			return
		}
		c := changes[i]
		if !strings.HasPrefix(c.Pos, "tined.hcl:") {
			t.Errorf("%+v has no place", c)
		}
		if restart := open == "" && slices.ContainsFunc(restartOnly, func(r struct{ setting, reason string }) bool { return r.setting == a.Name }); c.Restart != restart {
			t.Errorf("%+v", c)
		}
		if a.Type != Strings && a.Type != StringMap && "\n"+a.Name+" = "+c.To+"\n" != "\n"+line && !strings.Contains(c.To, strings.Trim(other(t, a, was), `"`)) {
			t.Errorf("%s became %s, not what the line says: %s", path+a.Name, c.To, line)
		}
	}
	all := func(spec *BlockSpec, open, path string, not ...string) {
		t.Helper()
		for i := range spec.Attributes {
			if a := &spec.Attributes[i]; !slices.Contains(not, a.Name) {
				try(a, open, path)
			}
		}
	}
	all(&spec, "", "", "include")
	for _, name := range []string{"log", "health", "upgrade", "limits", "workers"} {
		all(spec.block(name), "\n"+name+" {", name+" ")
	}
	all(spec.block("listen"), `listen "main" {`, `listen "main" `, "mode", "proxy_protocol") // a proxy must be trusted first
	all(spec.block("listen"), `listen "socket" {`, `listen "socket" `, "deferred", "address")
	site := spec.block("site")
	all(site, `site "b" {`, `site "b" `)
	all(site.block("access_log"), "access_log {", `site "main" access_log `)
	all(site.block("squeeze"), "  squeeze {", `site "main" squeeze `)
	route := site.block("route")
	all(route.block("limits"), "    limits {", `site "main" route "/" limits `)
	all(route.block("squeeze"), "    squeeze {", `site "main" route "/" squeeze `)
	all(route.block("static").block("cache"), "      cache {", `site "main" route "/" static cache `)
	all(route.block("redirect"), "    redirect {", `site "main" route "/r" redirect `)
	all(route.block("respond"), "    respond {", `site "main" route "/t" respond `)
	// static has a block inside, so its attributes stand in their own texts.
	for _, line := range []string{"root", "index"} {
		text := map[string]string{
			"root":  strings.Replace(every, `root = "/srv"`, `root = "/srv2"`, 1),
			"index": strings.Replace(every, `root = "/srv"`, "root = \"/srv\"\nindex = []", 1),
		}[line]
		changes := diffed(t, base, resolved(t, "tined.hcl", text))
		if len(changes) != 1 || changes[0].What != `site "main" route "/" static `+line {
			t.Errorf("%s: %+v", line, changes)
		}
	}
	if tried < 60 {
		t.Errorf("only %d attributes tried", tried)
	}
}

// TestDiffStructure: what is not an attribute.
func TestDiffStructure(t *testing.T) {
	replaced := func(old, now string) string {
		if !strings.Contains(every, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(every, old, now, 1)
	}
	for _, tt := range []struct {
		to   string
		want string // KIND WHAT FROM TO, one a line
	}{
		{replaced(`listen "main"`, `listen "front"`), `changed listen "front" name: "main" -> "front"
changed site "main" listen: ["main", "socket"] -> ["front", "socket"]
changed site "b" listen: ["main", "socket"] -> ["front", "socket"]`},
		{replaced("listen \"main\" {\n  address = \":80\"", "listen \"front\" {\n  address = \":80\"\n backlog = 5"), `changed listen "front" name: "main" -> "front"
changed listen "front" backlog: 0 -> 5
changed site "main" listen: ["main", "socket"] -> ["front", "socket"]
changed site "b" listen: ["main", "socket"] -> ["front", "socket"]`},
		{replaced("listen \"main\" {", "listen \"v4\" {\n  address = \"0.0.0.0:80\"\n}\nlisten \"main\" {"), `added listen "v4"
added listen "v4" address: "0.0.0.0:80"
changed listen "main" address: "[::]:80" -> "[::]:80" (IPv6 only)
changed site "main" listen: ["main", "socket"] -> ["v4", "main", "socket"]
changed site "b" listen: ["main", "socket"] -> ["v4", "main", "socket"]`},
		{replaced("listen \"main\" {\n  address = \":80\"\n}", ""), `removed listen "main": "[::]:80" ->
changed site "main" listen: ["main", "socket"] -> ["socket"]
changed site "b" listen: ["main", "socket"] -> ["socket"]`},
		{replaced("listen \"main\" {\n  address = \":80\"", "listen \"front\" {\n  address = \":0\""), `removed listen "main": "[::]:80" ->
added listen "front"
added listen "front" address: "[::]:0"
changed site "main" listen: ["main", "socket"] -> ["front", "socket"]
changed site "b" listen: ["main", "socket"] -> ["front", "socket"]`},
		{replaced(`site "b"`, `site "c"`), `changed site "c" name: "b" -> "c"`},
		{replaced("site \"b\" {\n  hosts = [\"b\"]", "site \"c\" {\n  hosts = [\"c\"]"), `removed site "b": ["b"] ->
added site "c"
added site "c" hosts: ["c"]`},
		{replaced("hosts = [\"b\"]", "hosts = [\"b\"]\n route \"/x\" {\n respond {\n status = 201\n}\n}"), `added site "b" route "/x"
added site "b" route "/x" respond
added site "b" route "/x" respond status: 201`},
		{replaced("  route \"/t\" {\n    respond {}\n  }\n", ""), `removed site "main" route "/t": respond ->`},
		{replaced("    respond {}", "    function \"echo\" {}"), `changed site "main" route "/t" module: respond -> function "echo"`},
		{replaced("    respond {}", "    stamp {}\n    respond {}\n    squeeze {}"), `added site "main" route "/t" stamp
added site "main" route "/t" squeeze`},
		{replaced("  access_log {}\n", ""), `removed site "main" access_log`},
		{replaced("  squeeze {}\n", ""), `removed site "main" squeeze`},
		{replaced("    limits {}\n", ""), `removed site "main" route "/" limits`},
		{replaced("      cache {}\n", ""), `removed site "main" route "/" static cache`},
		{replaced("  route \"/r\" {\n    redirect {\n      to = \"/\"\n    }\n  }\n  route \"/t\" {\n    respond {}\n  }\n", "  route \"/t\" {\n    respond {}\n  }\n  route \"/r\" {\n    redirect {\n      to = \"/\"\n    }\n  }\n"),
			`changed site "main" order of routes: ["/", "/r", "/t"] -> ["/", "/t", "/r"]`},
		{replaced("    respond {}", "    respond {\n      headers = { a = \"b\" }\n    }"), `added site "main" route "/t" respond headers:  -> {
  "a" = "b"
}`},
	} {
		var got []string
		for _, c := range diffed(t, resolved(t, "tined.hcl", every), resolved(t, "tined.hcl", tt.to)) {
			line := c.Kind + " " + c.What
			if c.From != "" || c.To != "" && !(c.Kind == added && c.From == "" && c.To[0] != '{') {
				line += strings.TrimRight(": "+c.From+" -> "+c.To, " ")
			} else if c.To != "" {
				line += ": " + c.To
			}
			got = append(got, line)
		}
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), tt.want)
		}
	}
}

// TestDiffOrderOfMiddleware: it decides what sees the request first.
func TestDiffOrderOfMiddleware(t *testing.T) {
	a := resolved(t, "tined.hcl", strings.Replace(every, "  squeeze {}\n", "  squeeze {}\n  stamp {}\n", 1))
	b := resolved(t, "tined.hcl", strings.Replace(every, "  squeeze {}\n", "  stamp {}\n  squeeze {}\n", 1))
	changes := diffed(t, a, b)
	if len(changes) != 1 || changes[0].What != `site "main" order of middleware` || changes[0].From != "[squeeze, stamp]" || changes[0].To != "[stamp, squeeze]" {
		t.Errorf("%+v", changes)
	}
}

func TestDiffCode(t *testing.T) {
	schema := testSchema()
	before, _ := Resolve(sources("tined.hcl", small), schema)
	schema.CodeRoutes = []CodeRoute{{"GET /a", "main.go:7"}}
	after, _ := Resolve(sources("tined.hcl", small), schema)
	changes := diffed(t, before, after)
	if len(changes) != 1 || changes[0] != (Change{Kind: added, What: `site "main" route "GET /a" from code`, Pos: "main.go:7"}) {
		t.Errorf("%+v", changes)
	}
	// Between a route of a file and one of the code is a difference.
	schema = testSchema()
	file, _ := Resolve(sources("tined.hcl", strings.Replace(small, "GET /a/{id}", "GET /a", 1)), schema)
	diffed(t, file, after)
	// A configuration that stands in no file has no places.
	for _, c := range diffed(t, Default(schema), before) {
		if c.Kind == removed && c.Pos != "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestDiffSecret(t *testing.T) {
	schema := testSchema()
	schema.Limits.Attributes = append(schema.Limits.Attributes, Attribute{Name: "key", Type: String, Default: "", Secret: true})
	before, _ := Resolve(sources("tined.hcl", small+"limits {\n  key = \"hidden1\"\n}\n"), schema)
	after, _ := Resolve(sources("tined.hcl", small+"limits {\n  key = \"hidden2\"\n}\n"), schema)
	changes := Diff(before, after)
	if len(changes) != 1 || changes[0].What != "limits key" || strings.Contains(fmt.Sprint(changes)+PlanText(changes), "hidden") {
		t.Errorf("%+v", changes)
	}
}

// A configuration that a test or a program has put together itself, without blocks, is compared too.
func TestDiffWithoutBlocks(t *testing.T) {
	a := &Config{Children: 2, Listeners: []Listener{{Name: "main"}}}
	b := &Config{Children: 3, Sites: []Site{{Name: "a", Routes: []Route{{Pattern: "/"}}}}}
	if len(Diff(a, b)) == 0 || len(Diff(a, a)) > 0 {
		t.Error("wrong")
	}
}

// PlanText gets its changes from another program, which may be of another version.
func TestPlanTextOfAnything(t *testing.T) {
	for _, what := range []string{"", "x", `listen "`, `listen "a`, `listen "a\`, `site "a" route "b\"c`, `site "a" listen "b" route "c" d`, `route "x"`} {
		for _, value := range []string{"", "[", "[]", "{", "{\n", `["a", "`, "]", strings.Repeat("ä", 100), "[" + strings.Repeat("x, ", 100)} {
			text := PlanText([]Change{{Kind: "turned", What: what, From: value, To: value + "b"}, {Kind: added, What: what, To: value}})
			if strings.Count(text, "\n") < 2 {
				t.Errorf("%q, %q: %q", what, value, text)
			}
		}
	}
	if text := PlanText(nil); text != "" {
		t.Errorf("%q", text)
	}
}

func TestRestartOnly(t *testing.T) {
	spec := topLevel(&Schema{})
	for _, r := range restartOnly {
		if spec.attribute(r.setting) == nil {
			t.Errorf("there is no %s", r.setting)
		}
	}
	base := resolved(t, "tined.hcl", small)
	for text, want := range map[string]string{
		"children = 3\n":    "",
		"user = \"root\"\n": "user cannot be changed by a reload: put it back, or restart the server",
		"user = \"root\"\ngroup = \"root\"\nchildren = 3\n":      "user and group cannot be changed by a reload: put them back, or restart the server",
		"user = \"root\"\ngroup = \"root\"\npoller = \"poll\"\n": "user, group and poller cannot be changed by a reload: put them back, or restart the server",
	} {
		if got := RestartOnly(Diff(base, resolved(t, "tined.hcl", text+small))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// With port 0 a name decides: under another one the kernel gives another port.
func TestDiffPortZero(t *testing.T) {
	at := func(name string) *Config {
		return resolved(t, "tined.hcl", "listen \""+name+"\" {\n  address = \":0\"\n}\n")
	}
	changes := diffed(t, at("a"), at("b"))
	if len(changes) != 3 || changes[0].Kind != removed || changes[1].Kind != added {
		t.Errorf("%+v", changes)
	}
}

// TestReloadPage: docs/reload.md has the table of what a reload cannot change, and no row more; and what it shows of a plan is one.
func TestReloadPage(t *testing.T) {
	text, err := os.ReadFile("../docs/reload.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n| Setting | Why |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var want []string
	for _, r := range restartOnly {
		want = append(want, "| `"+r.setting+"` | "+r.reason+" |")
	}
	if strings.TrimSpace(table) != strings.Join(want, "\n") {
		t.Errorf("the table is:\n%s\nwant:\n%s", table, strings.Join(want, "\n"))
	}
	plan, err := os.ReadFile("testdata/plan/page.plan")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n```text\n"+string(plan)+"```\n") {
		t.Errorf("the plan is not on the page:\n%s", plan)
	}
}
