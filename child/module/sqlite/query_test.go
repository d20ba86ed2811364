package sqlite

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/sqlite/lite"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

// shopSchema is what most tests serve.
const shopSchema = `CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, price REAL, photo BLOB, CHECK (price >= 0));
CREATE TABLE secrets (id INTEGER PRIMARY KEY, word TEXT);
INSERT INTO items VALUES (1, 'nail', 0.5, NULL), (2, 'screw', 1, x'00ff'), (3, 'glue', NULL, NULL);
INSERT INTO secrets VALUES (1, 'sesame');`

// makeDatabase makes a file in the directory of a test.
func makeDatabase(t testing.TB, directory, name, script string) string {
	t.Helper()
	path := filepath.Join(directory, name)
	c, err := lite.Open(lite.Options{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, statement := range strings.Split(script, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := c.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return path
}

// resolve reads a configuration with one route "/db/" that holds text, in which DIR is directory.
func resolve(t testing.TB, directory, text string) (*configs.Block, configs.Diagnostics) {
	t.Helper()
	file := "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n  route \"/db/\" {\n    sqlite {\n" +
		strings.ReplaceAll(text, "DIR", directory) + "\n    }\n  }\n}\n"
	schema := &configs.Schema{Modules: []configs.BlockSpec{(*Module)(nil).Spec()}}
	config, problems := configs.Resolve(&configs.Sources{Path: "/t.hcl", Files: []configs.Source{{Name: "/t.hcl", Bytes: []byte(file)}}}, schema)
	if config == nil {
		return nil, problems
	}
	return config.Sites[0].Routes[0].Block, problems
}

// serve opens a configuration; it is closed with the test.
func serve(t testing.TB, directory, text string) *service {
	t.Helper()
	block, problems := resolve(t, directory, text)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	s, problems := open(block, &module.Env{Prefix: "/db/", Pattern: "/db/", Claims: new(module.Claims)})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	t.Cleanup(s.close)
	return s
}

// shop is a configuration over shopSchema.
const shop = `
directory = "DIR"
database "shop" {
  query "item" {
    path = "items/{id}"
    sql  = "SELECT id, name, price, photo FROM items WHERE id = :id"
    row  = "single"
    param "id" {
      type = "integer"
      min  = 1
    }
  }
  query "items" {
    sql = "SELECT id, name FROM items WHERE name LIKE :like ORDER BY id"
    param "like" { default = "%" }
  }
  query "paged" {
    sql = "SELECT id FROM items ORDER BY id LIMIT :limit OFFSET :offset"
    page { size = 2 }
  }
  query "after" {
    sql = "SELECT id FROM items WHERE id > :after ORDER BY id LIMIT :limit"
    param "after" {
      type    = "integer"
      default = "0"
    }
    page {
      size = 2
      key  = "id"
    }
  }
  query "nulls" {
    sql = "SELECT price FROM items WHERE :after IS NULL OR price > :after ORDER BY price LIMIT :limit"
    param "after" {
      type     = "number"
      nullable = true
    }
    page {
      size = 1
      key  = "price"
    }
  }
  query "add" {
    method = "POST"
    path   = "items"
    sql    = "INSERT INTO items (name, price) VALUES (:name, :price)"
    param "name" { min_length = 1 }
    param "price" {
      type     = "number"
      nullable = true
    }
  }
  query "rename" {
    method = "PUT"
    path   = "items/{id}"
    sql    = "UPDATE items SET name = :name WHERE id = :id RETURNING id, name"
    row    = "single"
    param "id" { type = "integer" }
    param "name" {}
  }
  query "endless" {
    timeout = "50ms"
    sql     = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS n FROM n"
  }
  query "many" {
    max_rows = 1000
    sql      = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :n) SELECT i, hex(zeroblob(:width)) AS filling FROM n"
    param "n" { type = "integer" }
    param "width" {
      type    = "integer"
      default = "0"
    }
  }
}`

func newShop(t testing.TB) *service {
	directory := t.TempDir()
	makeDatabase(t, directory, "shop.db", shopSchema)
	return serve(t, directory, shop)
}

func do(t testing.TB, s web.Handler, r webtest.Request) *webtest.Response {
	t.Helper()
	return webtest.Do(s, r)
}

// What clients get for what they ask.
func TestQueries(t *testing.T) {
	s := newShop(t)
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	document := map[string]string{"Content-Type": "application/json"}
	accept := func(value string) map[string]string { return map[string]string{"Accept": value} }
	for _, test := range []struct {
		request webtest.Request
		status  int
		body    string // whole, or with … at its end its beginning
	}{
		{webtest.Request{Target: "/db/shop/items/1"}, 200, `{"id":1,"name":"nail","price":0.5,"photo":null}`},
		{webtest.Request{Target: "/db/shop/items/2"}, 200, `{"id":2,"name":"screw","price":1.0,"photo":{"$base64":"AP8="}}`},
		{webtest.Request{Target: "/db/shop/items/9"}, 404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no such row","code":"not_found"}`},
		{webtest.Request{Target: "/db/shop/items/0"}, 400, `…"parameter \"id\" is less than 1"`},
		{webtest.Request{Target: "/db/shop/items/x"}, 400, `…"code":"parameter"`},
		{webtest.Request{Target: "/db/shop/items/1%20OR%201=1"}, 400, `…"code":"parameter"`},
		{webtest.Request{Target: "/db/shop/items/1?x=1"}, 400, `…there is no parameter \"x\": the query takes id`},
		{webtest.Request{Target: "/db/shop/items/1?id=1"}, 400, `…a part of the path`},
		{webtest.Request{Target: "/db/shop/items?like=a&like=b"}, 400, `…twice`},
		{webtest.Request{Target: "/db/shop/items?like=%zz"}, 400, `…"code":"request"`},
		{webtest.Request{Target: "/db/shop/items"}, 200, `{"rows":[{"id":1,"name":"nail"},{"id":2,"name":"screw"},{"id":3,"name":"glue"}]}`},
		{webtest.Request{Target: "/db/shop/items?like=%25il"}, 200, `{"rows":[{"id":1,"name":"nail"}]}`},
		{webtest.Request{Target: "/db/shop/items?like=';DROP%20TABLE%20items"}, 400, `…"code":"request"`},
		{webtest.Request{Target: "/db/shop/items?like='%3BDROP%20TABLE%20items"}, 200, `{"rows":[]}`},
		{webtest.Request{Target: "/db/shop/items", Header: accept("application/x-ndjson")}, 200,
			"{\"id\":1,\"name\":\"nail\"}\n{\"id\":2,\"name\":\"screw\"}\n{\"id\":3,\"name\":\"glue\"}\n{\"$end\":{\"rows\":3}}\n"},
		{webtest.Request{Target: "/db/shop/items", Header: accept("text/csv")}, 200, "id,name\r\n1,nail\r\n2,screw\r\n3,glue\r\n"},
		{webtest.Request{Target: "/db/shop/items", Header: accept("text/html")}, 406, `…"code":"not_acceptable"`},
		{webtest.Request{Target: "/db/shop/paged"}, 200, `{"rows":[{"id":1},{"id":2}],"next":"?offset=2"}`},
		{webtest.Request{Target: "/db/shop/paged?offset=2"}, 200, `{"rows":[{"id":3}]}`},
		{webtest.Request{Target: "/db/shop/paged?limit=1&offset=1"}, 200, `{"rows":[{"id":2}],"next":"?limit=1&offset=2"}`},
		{webtest.Request{Target: "/db/shop/paged?limit=501"}, 400, `…greater than 500`},
		{webtest.Request{Target: "/db/shop/paged?limit=0"}, 400, `…less than 1`},
		{webtest.Request{Target: "/db/shop/after"}, 200, `{"rows":[{"id":1},{"id":2}],"next":"?after=2"}`},
		{webtest.Request{Target: "/db/shop/after?after=2"}, 200, `{"rows":[{"id":3}]}`},
		{webtest.Request{Target: "/db/shop/nulls"}, 500, `…the page ends with a row whose key is NULL`},
		{webtest.Request{Target: "/db/shop/nulls?limit=500"}, 200, `{"rows":[{"price":null},{"price":0.5},{"price":1.0}]}`},
		{webtest.Request{Target: "/db/shop/endless"}, 504, `…"code":"timeout"`},
		{webtest.Request{Target: "/db/shop/many?n=1001"}, 413, `…"code":"too_many_rows"`},
		{webtest.Request{Target: "/db/shop/none"}, 404, `…no such query`},
		{webtest.Request{Target: "/db/none/items"}, 404, `…no database`},
		{webtest.Request{Target: "/db/shop"}, 404, `…`},
		{webtest.Request{Method: "DELETE", Target: "/db/shop/items"}, 405, `…this query takes GET, HEAD, POST`},
		{webtest.Request{Method: "OPTIONS", Target: "/db/shop/items"}, 204, ``},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"name":"nut","price":2}`, Header: document}, 200, `{"rows_affected":1,"last_insert_id":4}`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `name=bolt&price=0.1`, Header: form}, 200, `{"rows_affected":1,"last_insert_id":5}`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items?name=washer"}, 200, `{"rows_affected":1,"last_insert_id":6}`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"name":"nut"}`, Header: document}, 409, `…"code":"constraint_unique"`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"name":"x","price":-1}`, Header: document}, 409, `…"code":"constraint_check"`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"name":""}`, Header: document}, 400, `…fewer than 1`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"name":7}`, Header: document}, 400, `…type text`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"nam":"x"}`, Header: document}, 400, `…nam`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"price":1}`, Header: document}, 400, `…\"name\" is missing`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `{"name":`, Header: document}, 400, `…"code":"request"`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `x`, Header: map[string]string{"Content-Type": "text/plain"}}, 415, `…"code":"media_type"`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `[{"name":"a1"},{"name":"a2","price":3}]`, Header: document}, 200,
			`{"results":[{"rows_affected":1,"last_insert_id":7},{"rows_affected":1,"last_insert_id":8}],"rows_affected":2}`},
		{webtest.Request{Method: "POST", Target: "/db/shop/items", Body: `[{"name":"b1"},{"name":"a1"}]`, Header: document}, 409, `…set 2: `},
		{webtest.Request{Target: "/db/shop/items?like=b1"}, 200, `{"rows":[]}`}, // all or nothing
		{webtest.Request{Method: "PUT", Target: "/db/shop/items/1", Body: `{"name":"tack"}`, Header: document}, 200, `{"id":1,"name":"tack"}`},
		{webtest.Request{Method: "PUT", Target: "/db/shop/items/99", Body: `{"name":"tick"}`, Header: document}, 404, `…"code":"not_found"`},
		{webtest.Request{Method: "PUT", Target: "/db/shop/items/1", Body: `{"name":"tack","id":2}`, Header: document}, 400, `…part of the path`},
		{webtest.Request{Method: "PUT", Target: "/db/shop/items/1", Body: `{"name":"t"}`, Header: map[string]string{"Content-Type": "application/json", "If-Match": `"x"`}}, 412, `…`},
	} {
		got := do(t, s, test.request)
		part, begins := strings.CutPrefix(test.body, "…")
		what := fmt.Sprintf("%s %s %s", test.request.Method, test.request.Target, test.request.Body)
		if got.Status != test.status || begins && !strings.Contains(got.Text(), part) || !begins && got.Text() != test.body {
			t.Errorf("%s: %d %s, want %d %s", what, got.Status, got.Text(), test.status, test.body)
		}
		if got.Status >= 400 && got.Status != 412 {
			if got.Header.Get("Content-Type") != "application/problem+json" || !json.Valid([]byte(got.Text())) {
				t.Errorf("%s: an error of type %q", what, got.Header.Get("Content-Type"))
			}
		}
		if got.Status == 405 && got.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", what)
		}
	}
}

// An answer longer than what is collected is a stream, and whole; one that passes its bounds says so at its end.
func TestLongResult(t *testing.T) {
	s := newShop(t)
	got := do(t, s, webtest.Request{Target: "/db/shop/many?n=1000&width=100"})
	var document struct{ Rows []struct{ I int } }
	if err := json.Unmarshal([]byte(got.Text()), &document); err != nil || len(document.Rows) != 1000 || got.Status != 200 {
		t.Fatalf("%d, %d rows: %v", got.Status, len(document.Rows), err)
	}
	got = do(t, s, webtest.Request{Target: "/db/shop/many?n=2000&width=100"})
	var cut struct {
		Rows  []struct{ I int }
		Error struct{ Code string }
	}
	if err := json.Unmarshal([]byte(got.Text()), &cut); err != nil || len(cut.Rows) != 1000 || cut.Error.Code != "too_many_rows" {
		t.Errorf("%d rows, %+v: %v", len(cut.Rows), cut.Error, err)
	}
}

// An entity tag stands for one content: 304 as long as nothing is written, also without the cache, and another one afterwards.
func TestEntityTags(t *testing.T) {
	for _, cached := range []string{"0", "1MiB"} {
		directory := t.TempDir()
		makeDatabase(t, directory, "shop.db", shopSchema)
		s := serve(t, directory, "cache = \""+cached+"\"\n"+shop)
		first := do(t, s, webtest.Request{Target: "/db/shop/items/1"})
		etag := first.Header.Get("ETag")
		if etag == "" || first.Header.Get("Cache-Control") != "no-cache" || first.Header.Get("Vary") != "Accept" {
			t.Fatalf("fields %v", first.Header)
		}
		again := do(t, s, webtest.Request{Target: "/db/shop/items/1"})
		if again.Text() != first.Text() || again.Header.Get("ETag") != etag {
			t.Errorf("the second answer is %s %q", again.Text(), again.Header.Get("ETag"))
		}
		do(t, s, webtest.Request{Target: "/db/shop/items/1"}) // from the cache, if there is one
		same := do(t, s, webtest.Request{Target: "/db/shop/items/1", Header: map[string]string{"If-None-Match": etag}})
		if same.Status != 304 || same.Text() != "" || same.Header.Get("ETag") != etag {
			t.Errorf("cache %s: %d %q", cached, same.Status, same.Text())
		}
		others := map[string]bool{etag: true}
		for _, r := range []webtest.Request{
			{Target: "/db/shop/items/2"}, {Target: "/db/shop/items"}, {Target: "/db/shop/items?like=%25"},
			{Target: "/db/shop/items", Header: map[string]string{"Accept": "text/csv"}},
		} {
			tag := do(t, s, r).Header.Get("ETag")
			if others[tag] && r.Target != "/db/shop/items?like=%25" {
				t.Errorf("%v has the tag of another", r)
			}
			others[tag] = true
		}
		if w := do(t, s, webtest.Request{Method: "POST", Target: "/db/shop/items?name=new"}); w.Status != 200 {
			t.Fatal(w.Text())
		}
		after := do(t, s, webtest.Request{Target: "/db/shop/items/1", Header: map[string]string{"If-None-Match": etag}})
		if after.Status != 200 || after.Header.Get("ETag") == etag {
			t.Errorf("after a write: %d %q", after.Status, after.Header.Get("ETag"))
		}
		if list := do(t, s, webtest.Request{Target: "/db/shop/items?like=new"}); !strings.Contains(list.Text(), "new") {
			t.Errorf("after a write: %s", list.Text())
		}
	}
}

// The second answer comes from the loop.
func TestAnswersFromTheLoop(t *testing.T) {
	s := newShop(t)
	r := webtest.Request{Target: "/db/shop/items/1"}
	do(t, s, r)
	if len(s.cache.byKey) != 0 {
		t.Error("what was asked once is kept")
	}
	do(t, s, r)
	if len(s.cache.byKey) != 1 {
		t.Fatalf("%d answers are kept", len(s.cache.byKey))
	}
	if got := do(t, onlyNow{s, t}, r); got.Status != 200 || !strings.Contains(got.Text(), "nail") {
		t.Errorf("%d %s", got.Status, got.Text())
	}
}

// Roles say who may.
func TestRoles(t *testing.T) {
	directory := t.TempDir()
	makeDatabase(t, directory, "shop.db", shopSchema)
	s := serve(t, directory, `
directory = "DIR"
role "reader" {
  tokens = ["sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"] # of "key"
}
role "local" { from = ["loopback"] }
database "shop" {
  query "words" {
    sql    = "SELECT word FROM secrets"
    access = ["reader", "local"]
  }
  query "names" { sql = "SELECT name FROM items" }
}`)
	if got := do(t, s, webtest.Request{Target: "/db/shop/names"}); got.Status != 200 {
		t.Errorf("for everybody: %d", got.Status)
	}
	got := do(t, s, webtest.Request{Target: "/db/shop/words"})
	if got.Status != 401 || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("without a token: %d %v", got.Status, got.Header)
	}
	if got := do(t, s, webtest.Request{Target: "/db/shop/words", Header: map[string]string{"Authorization": "Bearer kez"}}); got.Status != 401 {
		t.Errorf("with a wrong token: %d", got.Status)
	}
	for range 3 { // the last one from the cache
		got = do(t, s, webtest.Request{Target: "/db/shop/words", Header: map[string]string{"Authorization": "Bearer key"}})
		if got.Status != 200 || got.Header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("with the token: %d %s %v", got.Status, got.Text(), got.Header)
		}
	}
	if got := do(t, s, webtest.Request{Target: "/db/shop/words"}); got.Status != 401 {
		t.Errorf("without a token, from the cache: %d", got.Status)
	}
}

// Files that appear in the directory are served without a reload, and others are not.
func TestDiscovery(t *testing.T) {
	directory := t.TempDir()
	s := serve(t, directory, `
directory = "DIR"
database "*" {
  open = 2
  query "names" { sql = "SELECT name FROM items ORDER BY id" }
}`)
	if got := do(t, s, webtest.Request{Target: "/db/one/names"}); got.Status != 404 {
		t.Errorf("before it is there: %d", got.Status)
	}
	for _, name := range []string{"one", "two", "three", "four"} {
		makeDatabase(t, directory, name+".db", shopSchema+"\nUPDATE items SET name = '"+name+"' WHERE id = 1")
	}
	for range 2 {
		for _, name := range []string{"one", "two", "three", "four"} {
			got := do(t, s, webtest.Request{Target: "/db/" + name + "/names"})
			if got.Status != 200 || !strings.Contains(got.Text(), name) {
				t.Errorf("%s: %d %s", name, got.Status, got.Text())
			}
		}
	}
	if n := s.found.recent.Len(); n != 2 {
		t.Errorf("%d files are open, at most 2 may be", n)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(directory, "passwd.db")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one-wal", "one-shm", "one.db-wal", "passwd", "..%2fone", "%2e%2e", "one.db", "one%00", "*", ""} {
		if got := do(t, s, webtest.Request{Target: "/db/" + name + "/names"}); got.Status != 404 && got.Status != 307 {
			t.Errorf("%q: %d %s", name, got.Status, got.Text())
		}
	}
}

// A file that is declared is served by its own block only, and all files of the directory get the migrations.
func TestDiscoveryBesideDeclared(t *testing.T) {
	directory, migrations := t.TempDir(), t.TempDir()
	first := "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO items (name) VALUES ('migrated');"
	if err := os.WriteFile(filepath.Join(migrations, "0001_items.sql"), []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, directory, "hidden.db", shopSchema)
	makeDatabase(t, directory, "one.db", "CREATE TABLE own (x)")
	s := serve(t, directory, `
directory = "DIR"
database "private" {
  file = "hidden.db"
}
database "*" {
  migrations = "`+migrations+`"
  query "names" { sql = "SELECT name FROM items ORDER BY id" }
}`)
	makeDatabase(t, directory, "two.db", "CREATE TABLE own (x)")
	for _, name := range []string{"one", "two"} {
		if got := do(t, s, webtest.Request{Target: "/db/" + name + "/names"}); !strings.Contains(got.Text(), "migrated") {
			t.Errorf("%s: %d %s", name, got.Status, got.Text())
		}
	}
	if got := do(t, s, webtest.Request{Target: "/db/hidden/names"}); got.Status != 404 {
		t.Errorf("the file of another block: %d %s", got.Status, got.Text())
	}
	if err := os.Remove(filepath.Join(directory, "two.db")); err != nil {
		t.Fatal(err)
	}
	if got := do(t, s, webtest.Request{Target: "/db/two/names?x"}); got.Status != 400 {
		t.Errorf("%d %s", got.Status, got.Text())
	}
	makeDatabase(t, directory, "two.db", "CREATE TABLE own (x)")
	set := setOf(mustResolve(t, directory, "directory = \"DIR\"\ndatabase \"private\" { file = \"hidden.db\" }\ndatabase \"*\" {}"))
	found, err := set.Found()
	if err != nil || len(found) != 2 || len(set.Declared) != 1 {
		t.Errorf("to be looked after: %v and %v, %v", set.Declared, found, err)
	}
}

func mustResolve(t testing.TB, directory, text string) *configs.Block {
	t.Helper()
	block, problems := resolve(t, directory, text)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return block
}

// What depends on the clock or on chance is asked each time.
func TestVolatileQueries(t *testing.T) {
	directory := t.TempDir()
	makeDatabase(t, directory, "shop.db", shopSchema+"\nCREATE VIEW now AS SELECT random() AS r")
	s := serve(t, directory, `
directory = "DIR"
database "shop" {
  query "chance" { sql = "SELECT random() AS r" }
  query "view" { sql = "SELECT r FROM now" }
  query "clock" { sql = "SELECT count(*) AS n FROM items WHERE id < unixepoch()" }
  query "keyword" { sql = "SELECT CURRENT_TIMESTAMP AS t" }
}`)
	for _, name := range []string{"chance", "view", "clock", "keyword"} {
		for range 3 {
			got := do(t, s, webtest.Request{Target: "/db/shop/" + name, Header: map[string]string{"If-None-Match": "*"}})
			if got.Status == 304 || got.Header.Get("ETag") != "" || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", name, got.Status, got.Header)
			}
		}
	}
	if len(s.cache.byKey) > 0 {
		t.Error("an answer is kept")
	}
}

// What is wrong is said with its place, before anything is served.
func TestRefusedConfigurations(t *testing.T) {
	directory := t.TempDir()
	makeDatabase(t, directory, "shop.db", shopSchema)
	query := func(text string) string {
		return "directory = \"DIR\"\ndatabase \"shop\" {\nquery \"q\" {\n" + text + "\n}\n}"
	}
	for _, test := range []struct{ text, want string }{
		{query(`sql = "SELEC 1"`), `/t.hcl:10:8: query "q": near "SELEC": syntax error`},
		{query("sql = <<-EOT\n    SELECT id,\n      nam\n    FROM items\n  EOT"), `/t.hcl:12:7: query "q": no such column: nam`},
		{query(`sql = "DELETE FROM items"`), `/t.hcl:10:7: query "q" writes, and GET must not`},
		{query(`sql = "SELECT 1 AS a, 2 AS a"`), `two columns called "a"`},
		{query(`sql = "SELECT id FROM items WHERE id = :id"`), `does not declare :id`},
		{query(`sql = "SELECT id FROM items WHERE id = ?"`), `a parameter without a name`},
		{query("sql = \"SELECT 1 AS a\"\nparam \"x\" {}"), `/t.hcl:11:1: query "q" does not use its parameter "x"`},
		{query("sql = \"SELECT 1 AS a\"\npath = \"q/{id}\""), `does not use {id} of its path`},
		{query("sql = \"SELECT 1 AS a\"\npage {}"), `does not use :limit`},
		{query(`sql = "SELECT 1 AS a; SELECT 2 AS b"`), `more than one statement`},
		{query(`sql = "PRAGMA user_version"`), `schema changes belong into migrations`},
		{query(`sql = "ATTACH 'x' AS y"`), `/t.hcl:10`},
		{query(`sql = "CREATE TABLE x (y)"`), `/t.hcl:10`},
		{query("sql = \"SELECT 1 AS a\"\naccess = [\"nobody\"]"), `/t.hcl:11:11: there is no role "nobody"`},
		{query("sql = \"SELECT 1 AS a\"\npath = \"db/x\""), `beginning of the paths of raw SQL`},
		{query("sql = \"SELECT 1 AS a\"\npath = \"/x\""), `/t.hcl:11:8: `},
		{"directory = \"DIR\"\ndatabase \"none\" {}", `create it`},
		{"directory = \"DIR\"\ndatabase \"shop\" { file = \"../shop.db\" }", `not in the directory`},
		{"directory = \"DIR\"\nraw = \"read\"\ndatabase \"shop\" {}", `raw = "read" without raw_access`},
		{"directory = \"DIR\"\ndatabase \"a/b\" {}", `no name of a database`},
		{"database \"shop\" {}", `sqlite needs directory`},
		{"directory = \"DIR\"\nraw_access = [\"r\"]\nrole \"r\" { from = [\"loopback\"] }\ndatabase \"shop\" {}", `raw_access without raw`},
		{"directory = \"DIR\"\ndatabase \"*\" { file = \"*\" }", `a name with one * and an ending`},
		{"directory = \"DIR\"\ndatabase \"shop\" { file = \"shop.db-wal\" }", `stands beside a database`},
		{"directory = \"DIR\"\ndatabase \"shop\" { level = \"none\" }", `level is for clusters`},
		{"directory = \"DIR\"\ndatabase \"shop\" { open = 3 }", `open is for database "*"`},
		{"database \"c\" {\nengine = \"rqlite\"\nnodes = [\"http://127.0.0.1:1\"]\nmigrations = \"m\"\n}", `migrations is for files`},
		{"directory = \"DIR\"\ndatabase \"*\" {\nbackup {\ndirectory = \"DIR\"\nevery = \"1h\"\n}\n}", `whose files are all served`},
		{"directory = \"DIR\"", `serves no database`},
		{"directory = \"DIR\"\ndatabase \"shop\" { engine = \"rqlite\" }", `a cluster needs nodes`},
		{"directory = \"DIR\"\nrole \"r\" {}\ndatabase \"shop\" {}", `role "r" is for nobody`},
		{"directory = \"DIR\"\nrole \"r\" {\nfrom = [\"loopback\"]\nread = [\"a(\"]\n}\ndatabase \"shop\" {}", `names no table`},
	} {
		block, problems := resolve(t, directory, test.text)
		if !problems.HasErrors() {
			var s *service
			s, problems = open(block, &module.Env{Prefix: "/db/", Claims: new(module.Claims)})
			s.close()
		}
		if got := problems.Error(); !problems.HasErrors() || !strings.Contains(got, test.want) {
			t.Errorf("%s\n  says %s\n  want %s", test.text, got, test.want)
		}
	}
}

// onlyNow is a handler that never leaves the loop.
type onlyNow struct {
	*service
	t testing.TB
}

func (o onlyNow) Serve(*web.Response, *web.Request) { o.t.Error("it went to a worker") }
