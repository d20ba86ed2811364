package sqlite

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module/sqlite/engine"
)

// The names that a description and a page must not take for anything but text.
const (
	hostileMark = `<img src=x onerror="window.broken=1">`
	hostileEnd  = `</script></style></textarea><script>window.broken=2</script>`
	hostileJS   = "';window.broken=3;//${window.broken=4}`"
)

// describedService is a service with every kind of query, as far as the description and the page are concerned. It opens nothing.
func describedService(t *testing.T) *service {
	t.Helper()
	guarded := func(name string, o access.Options) *role {
		guard, err := access.New(o)
		if err != nil {
			t.Fatal(err)
		}
		return &role{name: name, guard: guard}
	}
	token := "sha256:" + strings.Repeat("ab", 32)
	reader := guarded("reader", access.Options{Users: map[string]string{"anna": "$2a$04$mhGSxJW0hfS2pMx6CkYVBe3/hCR/s40RXKxT.Qj1lRvXj1OhD5PFa"}, Tokens: []string{token}})
	near := guarded("near", access.Options{From: []string{"loopback"}})
	shop := &database{name: "shop", raw: rawAccess{read: true, write: true, roles: []*role{reader}}}
	hostile := &database{name: "a.b-c"}
	every := &database{name: "*"}
	s := &service{base: "/db/", order: []*database{shop, hostile, every}, databases: map[string]*database{"shop": shop, "a.b-c": hostile}, pattern: every,
		only: "shop", page: true, roles: map[string]*role{"reader": reader, "near": near}}
	shop.order = shopQueries(t, reader, near)
	hostile.order = hostileQueries()
	every.order = []*query{
		{name: "size", method: "GET", path: "size/{database}", row: rowSingle, info: engine.Info{ReadOnly: true, Columns: []engine.Column{{Name: "n"}}},
			params: []param{{name: "database", typ: typeText, in: inPath, required: true, maxLen: maxLength}}},
		{name: "later", method: "GET", path: "later", row: rowMany, info: engine.Info{ReadOnly: true}, byName: true},
	}
	return s
}

func shopQueries(t *testing.T, reader, near *role) []*query {
	one, hundred, half, zero := int64(1), int64(100), 0.5, int64(0)
	id := param{name: "id", typ: typeInteger, in: inPath, required: true, minInt: &one, doc: "the item's number"}
	item := []engine.Column{{Name: "id", Type: "integer"}, {Name: "name", Type: "text"}, {Name: "price", Type: "double precision"}, {Name: "photo", Type: "blob"},
		{Name: "added", Type: "date"}, {Name: "upper(name)"}}
	body := []param{
		{name: "name", typ: typeText, in: inBody, required: true, minLen: 1, maxLen: 40, pattern: mustPattern(t, `[a-z ]+`)},
		{name: "price", typ: typeNumber, in: inBody, min: &half, fallback: engine.RealOf(1.5)},
		{name: "photo", typ: typeBlob, in: inBody, nullable: true, maxLen: 1000},
		{name: "tags", typ: typeJSON, in: inBody, fallback: engine.TextOf(`["a"]`), maxLen: maxLength},
		{name: "size", typ: typeText, in: inBody, nullable: true, oneOf: []string{"s", "m"}},
		{name: "kept", typ: typeBoolean, in: inBody, fallback: engine.IntegerOf(1)},
	}
	wide := int64(-1 << 63)
	return []*query{
		{name: "item", doc: "One item", method: "GET", path: "items/{id}", row: rowSingle, access: []*role{reader, near}, params: []param{id},
			info: engine.Info{ReadOnly: true, Columns: item}, limits: engine.Limits{Timeout: 5 * time.Second, MaxRows: 1000}},
		{name: "items", method: "GET", path: "items", row: rowMany, info: engine.Info{ReadOnly: true, Columns: item}, page: &pagination{size: 10, most: 100, key: "id"},
			params: []param{
				{name: "limit", typ: typeInteger, in: inQuery, minInt: &one, maxInt: &hundred, fallback: engine.IntegerOf(10), doc: "rows of a page"},
				{name: "after", typ: typeInteger, in: inQuery, minInt: &wide, fallback: engine.IntegerOf(0)},
				{name: "like", typ: typeText, in: inQuery, nullable: true, pattern: mustPattern(t, `(?i)[[:alpha:]]+`), maxLen: maxLength},
				{name: "shape", typ: typeJSON, in: inQuery, nullable: true, maxLen: maxLength},
				{name: "open", typ: typeBoolean, in: inQuery, fallback: engine.IntegerOf(0)},
			}},
		{name: "add", method: "POST", path: "items", row: rowMany, batch: 1000, params: body, access: []*role{reader},
			info: engine.Info{Columns: []engine.Column{{Name: "id", Type: "integer"}}}},
		{name: "change", method: "PUT", path: "items/{number}", row: rowMany, batch: 1000, info: engine.Info{},
			params: append([]param{{name: "number", typ: typeInteger, in: inPath, required: true}}, body...)},
		{name: "remove", method: "DELETE", path: "items/{id}", row: rowMany, params: []param{id, {name: "sure", typ: typeInteger, in: inQuery, minInt: &zero}}},
		{name: "search", method: "POST", path: "search", row: rowMany, params: body[:1], info: engine.Info{ReadOnly: true, Columns: item[:2]}},
		{name: "file", method: "GET", path: "files/{path...}", row: rowSingle, info: engine.Info{ReadOnly: true, Columns: item[:1]},
			params: []param{{name: "path", typ: typeText, in: inPath, required: true, maxLen: 10}}},
		{name: "file one", method: "GET", path: "files/{path}", row: rowSingle, info: engine.Info{ReadOnly: true, Columns: item[:1]},
			params: []param{{name: "path", typ: typeText, in: inPath, required: true, maxLen: 10}}},
	}
}

func hostileQueries() []*query {
	return []*query{{
		name: hostileMark, doc: hostileEnd + "\u202e", method: "GET", path: "caf%C3%A9 %7B%22%3E/{id}/%2F", row: rowMany,
		info: engine.Info{ReadOnly: true, Columns: []engine.Column{{Name: hostileMark, Type: hostileEnd}, {Name: "__proto__"}, {Name: "1", Type: "int"}}},
		params: []param{
			{name: "id", typ: typeText, in: inPath, required: true, maxLen: 10, doc: hostileJS},
			{name: "constructor", typ: typeText, in: inQuery, fallback: engine.TextOf(`"><script>window.broken=5</script>`), maxLen: maxLength},
			{name: "action", typ: typeText, in: inQuery, nullable: true, oneOf: []string{`"><script>window.broken=6</script>`, "é"}},
		},
	}, {name: hostileMark + "!", method: "GET", path: "x", row: rowMany, info: engine.Info{ReadOnly: true}}}
}

func mustPattern(t *testing.T, pattern string) *regexp.Regexp {
	t.Helper()
	re, err := wholePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return re
}

func TestOpenAPI(t *testing.T) {
	s := describedService(t)
	text := s.openAPI()
	if again := s.openAPI(); !bytes.Equal(text, again) {
		t.Error("the same service is described in two ways")
	}
	if to := os.Getenv("TINED_KEEP"); to != "" { // for other validators
		if err := os.WriteFile(to+"/openapi.json", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc := decodeAPI(t, text)
	for _, problem := range validateAPI(doc) {
		t.Error(problem)
	}
	for _, c := range []struct{ path, want string }{
		{"openapi", `"3.1.1"`},
		{"servers", `[{"description":"where this description was found: it holds behind a proxy too","url":"."}]`},
		{"paths//shop/items/{id}/get/operationId", `"shop_item"`},
		{"paths//shop/items/{id}/get/security", `[{"basic":["reader"]},{"bearer":["reader"]},{}]`},
		{"paths//shop/items/{id}/get/parameters/0", `{"description":"the item's number.","in":"path","name":"id","required":true,"schema":{"format":"int64","minimum":1,"type":"integer"}}`},
		{"paths//shop/items/{id}/get/responses/304", `{"$ref":"#/components/responses/NotModified"}`},
		{"paths//shop/items/{id}/put/parameters/0/name", `"id"`}, // "number" there: one path, one name
		{"paths//shop/items/get/parameters/0/schema", `{"default":10,"format":"int64","maximum":100,"minimum":1,"type":"integer"}`},
		{"paths//shop/items/get/parameters/1/schema/minimum", `-9223372036854775808`},
		{"paths//shop/items/get/parameters/2/schema", `{"maxLength":65536,"type":"string"}`}, // the pattern is RE2's only
		{"paths//shop/items/get/parameters/3/content", `{"application/json":{"schema":{}}}`},
		{"paths//shop/items/get/parameters/4/schema", `{"default":false,"type":"boolean"}`},
		{"paths//shop/items/get/security", `[]`},
		{"paths//shop/items/post/requestBody/content/application~1json/schema/oneOf/1/maxItems", `1000`},
		{"paths//shop/items/post/requestBody/content/application~1json/schema/oneOf/0/required", `["name"]`},
		{"paths//shop/items/post/requestBody/content/application~1json/schema/oneOf/0/properties/name",
			`{"maxLength":40,"minLength":1,"pattern":"^(?:[a-z ]+)$","type":"string"}`},
		{"paths//shop/items/post/requestBody/content/application~1json/schema/oneOf/0/properties/size/enum", `["s","m",null]`},
		{"paths//shop/items/post/responses/409", `{"$ref":"#/components/responses/Constraint"}`},
		{"paths//shop/items/{id}/delete/responses/200/content/application~1json/schema", `{"$ref":"#/components/schemas/Written"}`},
		{"paths//shop/files/{path}/get/parameters/0/x-multi-segment", `true`},
		{"paths//a.b-c/caf%C3%A9%20%7B%22%3E/{id}/%2F/get/tags", `["a.b-c"]`},
		{"paths//{_database}/size/{database}/get/operationId", `"any_size"`},
		{"paths//{_database}/size/{database}/get/parameters/0/name", `"_database"`},
		{"paths//db/query/get/operationId", `"direct_shop_db_query_get"`},
		{"paths//shop/db/execute/post/operationId", `"shop_db_execute"`},
		{"paths//a.b-c/caf%C3%A9%20%7B%22%3E/{id}/%2F/get/description", `"\u0026lt;/script>\u0026lt;/style>\u0026lt;/textarea>\u0026lt;script>window.broken=2\u0026lt;/script>` + "\u202e" + `. For everybody."`},
		{"x-unlisted", `["shop_file_one: GET /db/shop/files/{path}"]`},
	} {
		if got := pick(t, doc, c.path); got != c.want {
			t.Errorf("%s is %s\nand not %s", c.path, got, c.want)
		}
	}
}

func TestOpenAPIOfNothing(t *testing.T) {
	s := &service{base: "/"}
	for _, problem := range validateAPI(decodeAPI(t, s.openAPI())) {
		t.Error(problem)
	}
}

// A new configuration has another version, and the same has the same.
func TestOpenAPIVersion(t *testing.T) {
	s := describedService(t)
	before := pick(t, decodeAPI(t, s.openAPI()), "info/version")
	s.order[0].order[0].doc = "another"
	if after := pick(t, decodeAPI(t, s.openAPI()), "info/version"); before == after {
		t.Error("the version is still", before)
	}
}

func TestPortablePattern(t *testing.T) {
	for pattern, want := range map[string]bool{
		`[a-z]+`: true, `(?:a|b)*?`: true, `\d{2,3}\.\w`: true, `^a$`: true, `[^/\]]`: true, ``: true, `a{2}`: true,
		`(?i)a`: false, `\pL`: false, `[[:alpha:]]`: false, `\Aa\z`: false, `(?P<n>a)`: false, `a{,2}`: false, `\Q.\E`: false, `[]a]`: false,
		`a}`: false, `\-`: false, `\x{10FFFF}`: false, `[\b]`: false, `{`: false, `a]`: false,
	} {
		if _, err := regexp.Compile(pattern); err != nil && want {
			t.Fatal(err)
		}
		if got := portable(pattern); got != want {
			t.Errorf("portable(%q) = %t", pattern, got)
		}
	}
}

func FuzzPortable(f *testing.F) {
	for _, seed := range []string{`[a-z]+\d{2}`, `\`, `[`, `(?`, `a{`, `[[:x:]]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if _, err := regexp.Compile(pattern); err == nil {
			portable(pattern)
		}
	})
}

func decodeAPI(t *testing.T, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// pick returns what is at a path as JSON. "paths//shop/…" finds the longest name that is there; "~1" is a '/' of a name.
func pick(t *testing.T, doc any, path string) string {
	t.Helper()
	for at := path; at != ""; {
		found := false
		switch node := doc.(type) {
		case []any:
			index, rest, _ := strings.Cut(at, "/")
			if i := int(index[0] - '0'); len(index) == 1 && i < len(node) {
				doc, at, found = node[i], rest, true
			}
		case map[string]any:
			names := strings.Split(at, "/")
			for n := len(names); n > 0 && !found; n-- {
				name := strings.ReplaceAll(strings.Join(names[:n], "/"), "~1", "/")
				if child, ok := node[name]; ok {
					doc, at, found = child, strings.Join(names[n:], "/"), true
				}
			}
		}
		if !found {
			return "absent from " + at
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(`\u003e`), []byte(">"))
	return string(text)
}

// The rules are tried on documents that break them, each in one way.
func TestValidateAPI(t *testing.T) {
	text := string(describedService(t).openAPI())
	for _, c := range []struct{ old, new, want string }{
		{`"openapi":"3.1.1"`, `"openapi":"3.0.3"`, "is no 3.1"},
		{`"operationId":"shop_items"`, `"operationId":"shop_item"`, "is there twice"},
		{`#/components/responses/Full`, `#/components/responses/Fall`, "leads nowhere"},
		{`"/shop/items/{id}":`, `"/shop/items/{other}":`, "has no parameter"},
		{`"/shop/search":`, `"shop/search":`, "does not begin with a slash"},
		{`"in":"path","description":"the item's`, `"in":"paths","description":"the item's`, "is no place"},
		{`"tags":["shop"]`, `"tags":["shopp"]`, "is not declared"},
		{`"description":"The disk is full. Nothing has been changed."`, `"x":""`, "without a description"},
		{`{"basic":["reader"]}`, `{"basics":["reader"]}`, "no such security scheme"},
		{`"minimum":1,"maximum":100`, `"minimum":101,"maximum":100`, "minimum is over"},
		{`"type":"integer","format":"int64"`, `"type":"int","format":"int64"`, "is no type"},
		{`"summary":"GET /db/shop/items/{id}"`, `"sumary":"GET"`, "has no field"},
		{`"required":["name"]`, `"required":["nam"]`, "is required and has no schema"},
	} {
		broken := strings.Replace(text, c.old, c.new, 1)
		if broken == text {
			t.Errorf("%q is not in the description", c.old)
			continue
		}
		problems := validateAPI(decodeAPI(t, []byte(broken)))
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("with %q: %q, and nothing with %q", c.new, problems, c.want)
		}
	}
}
