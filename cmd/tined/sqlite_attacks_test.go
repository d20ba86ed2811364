package main

import (
	"bytes"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tined/tined/child/http1/http1test"
)

// No statement, and no request, reads or writes what its role may not.
func TestSQLiteAttacks(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	files := []string{"shop.db", "archive.db", "notes.db", "quiet.db", "vault.db", ".hidden.db", "tenant-a.db"}
	before := map[string]map[string][]string{}
	for _, name := range files {
		before[name] = b.content(t, name)
	}
	b.send("", "GET", "/db/shop/mixed?words=open", "", "") // an index that others have used keeps its statements compiled
	children := b.children(t)
	t.Run("statements", b.statements)
	t.Run("arguments", b.arguments)
	t.Run("queries", b.namedQueries)
	t.Run("requests", b.requests)
	t.Run("bombs", b.bombs)
	for _, name := range files {
		after := b.content(t, name)
		for table, rows := range before[name] {
			if !slices.Equal(rows, after[table]) {
				t.Errorf("%s: the table %s has changed:\n%s\nwas:\n%s", name, table, cut(strings.Join(after[table], "\n")), cut(strings.Join(rows, "\n")))
			}
		}
		if len(after) != len(before[name]) {
			t.Errorf("%s has %d tables, and had %d", name, len(after), len(before[name]))
		}
	}
	if now := b.children(t); !slices.Equal(now, children) {
		t.Errorf("the children were %v, and are %v", children, now)
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(b.dir), "*"))
	more, _ := filepath.Glob(filepath.Join(b.dir, "*stolen*")) // the pattern is well formed
	if err != nil || len(more) > 0 || slices.ContainsFunc(found, func(name string) bool { return strings.Contains(name, "stolen") }) {
		t.Errorf("files that nobody made: %v %v %v", found, more, err)
	}
}

// statements sends the list.
func (b *besieged) statements(t *testing.T) {
	list := b.attacks(t)
	t.Logf("%d statements", len(list))
	if testing.Short() || slices.Contains(buildFlags, "-race") {
		var some []attack
		for i := 0; i < len(list); i += 4 {
			some = append(some, list[i])
		}
		list = some
	}
	each(list, func(a attack) {
		content := document(a.sql)
		if strings.Contains(a.sql, "?1") {
			content = document([]any{a.sql, 1}) // which would be refused for want of its argument
		}
		for _, role := range besiegedRoles {
			for i, path := range []string{"/db/shop/db/request", "/db/shop/db/query", "/db/shop/db/execute", "/db/archive/db/request?transaction"} {
				r := b.send(role, "POST", path, content, "application/json")
				// Of a batch that does not write, db/execute tells rows too: an error has no status there.
				if bad := a.sign == "!" || a.sign == "-" && role != "wide"; bad && !r.refused() {
					b.fault("%s (%s) at %s: %s: answered with %d %s", role, a.class, path, a.sql, r.status, cut(string(r.body)))
				}
				if i == 2 && role == "wide" && !r.refused() {
					b.fault("wide (%s) at %s: %s: answered with %d %s", a.class, path, a.sql, r.status, cut(string(r.body)))
				}
			}
			path := "/db/archive/db/execute"
			if r := b.send(role, "POST", path, content, "application/json"); !r.refused() {
				b.fault("%s (%s) at %s: %s: answered with %d %s", role, a.class, path, a.sql, r.status, cut(string(r.body)))
			}
			b.send(role, "GET", "/db/shop/db/query?associative&pretty&q="+url.QueryEscape(a.sql), "", "")
		}
		for _, path := range []string{"/db/shop/db/query", "/db/quiet/db/query", "/db/tenant-a/db/query", "/db/a/db/query", "/db/notes/db/request"} {
			for _, role := range []string{"", "nobody", "staff"} {
				if r := b.send(role, "POST", path, document(a.sql), ""); path != "/db/notes/db/request" && !r.refused() {
					b.fault("%q at %s: %s: answered with %d %s", role, path, a.sql, r.status, cut(string(r.body)))
				}
			}
		}
	})
	b.tellAll(t)
}

// injections are values that would be SQL if they were not values.
var injections = []string{
	`' OR 1=1 --`, `'; DELETE FROM vault; --`, `1 OR 1=1`, `1; DROP TABLE vault`, `' UNION SELECT word FROM vault --`, `" OR ""="`,
	`%27%20OR%201=1`, `\' OR 1=1 --`, `''; SELECT word FROM vault`, `(SELECT word FROM vault)`, `x'00' OR 1`, "a\x00' OR 1=1", "\xff' OR 1=1", `:id`,
	`?1`,
	`1)) UNION SELECT pin FROM accounts --`, `{"$gt":""}`, `[1,2]`, `null`, `1e999`, `0x31`, `１`, `ʼ OR 1=1`, "1\n", ` 1`, `+1`, `-1`,
	`9223372036854775808`,
	`NaN`, `hidden : *`, `body : x OR *`, `"`, `NEAR(`, strings.Repeat("(", 2000), strings.Repeat("'", 3000), `%`, `_`, `*`, `--`, `/*`, `;`,
}

// arguments sends values of raw SQL in the place of its parameters.
func (b *besieged) arguments(t *testing.T) {
	each(injections, func(text string) {
		for _, content := range []string{
			document([]any{"SELECT id, name FROM items WHERE name = ?", text}),
			document([]any{"SELECT id, name FROM items WHERE name = :name", map[string]any{"name": text}}),
			document([]any{"SELECT id, name FROM items WHERE name = @a AND id = $b", map[string]any{"a": text, "b": text}}),
			document([]any{"SELECT ?, ?", text, "X'27'"}),
			document([]any{"SELECT ?" + text, text}),
			document([]any{"SELECT :a", map[string]any{text: 1}}),
			document([]any{"INSERT INTO orders(note) VALUES (?)", text}),
			document([]any{text, text}),
			document(text),
			`[["SELECT ?", ` + text + `]]`,
			`["SELECT 1"] ` + text,
			text,
		} {
			for _, path := range []string{"/db/shop/db/request", "/db/shop/db/execute?transaction", "/db/shop/db/query?level=strong", "/shop/db/query"} {
				b.send("writer", "POST", path, content, "application/json")
				b.send("reader", "POST", path, content, "text/plain")
			}
		}
		for _, name := range []string{"q", "timeout", "db_timeout", "level", "freshness", "transaction", "retries", "associative", "key", "ver"} {
			b.send("reader", "GET", "/db/shop/db/query?q=SELECT+1&"+name+"="+url.QueryEscape(text), "", "")
		}
	})
	b.tellAll(t)
}

// namedQueries sends values in the place of the parameters of named queries.
func (b *besieged) namedQueries(t *testing.T) {
	names := []string{"text", "integer", "number", "boolean", "blob", "json"}
	each(injections, func(text string) {
		escaped := url.QueryEscape(text)
		for _, path := range []string{"items/" + url.PathEscape(text), "items/1?id=" + escaped, "items/1?" + escaped, "items/1?" + escaped + "=1",
			"named/" + url.PathEscape(text), "mixed?words=" + escaped, "pages?limit=" + escaped, "pages?offset=" + escaped, "pages?limit=1&limit=" + escaped,
			"pins?access=" + escaped, "vault/" + url.PathEscape(text)} {
			b.send("reader", "GET", "/db/shop/"+path, "", "", "Accept: "+[]string{"text/csv", "application/x-ndjson", "application/json"}[len(text)%3])
		}
		quoted := document(text)
		for _, name := range names {
			b.send("", "POST", "/db/shop/echo", `{"`+name+`":`+quoted[1:len(quoted)-1]+`}`, "application/json")
			b.send("", "POST", "/db/shop/echo", `{"`+name+`":`+text+`}`, "application/json")
			b.send("", "POST", "/db/shop/echo", `{"`+name+`":1,"`+name+`":`+quoted[1:len(quoted)-1]+`}`, "application/json")
			b.send("", "POST", "/db/shop/echo", name+"="+escaped, "application/x-www-form-urlencoded")
			b.send("", "POST", "/db/shop/echo?"+name+"="+escaped, name+"="+escaped, "application/x-www-form-urlencoded")
		}
		b.send("", "POST", "/db/shop/orders", `[{"note":"a"},{"note":`+quoted[1:len(quoted)-1]+`},{"note":1}]`, "application/json")
		b.send("", "POST", "/db/shop/orders", `[{"note":`+quoted[1:len(quoted)-1]+`}]`, "application/json")
		b.send("", "POST", "/db/shop/orders", `{`+quoted[1:len(quoted)-1]+`:1}`, "application/json")
		b.send("", "POST", "/db/shop/orders", "note="+escaped+"&note=2", "application/x-www-form-urlencoded")
		b.send("", "POST", "/db/shop/orders", text, "text/plain")
		b.send("", "POST", "/db/shop/orders", quoted, "application/xml")
		for _, role := range append([]string{"", "nobody", text}, besiegedRoles...) {
			if strings.ContainsAny(role, "\x00\n") || !utf8.ValidString(role) {
				continue
			}
			for _, r := range []*reply{b.send(role, "GET", "/db/shop/pins", "", ""), b.send(role, "DELETE", "/db/shop/vault/1", "", "")} {
				if r.status != 401 && r.status != 403 {
					b.fault("%q: a query of the staff is answered with %d", role, r.status)
				}
			}
		}
	})
	b.tellAll(t)
}

// requests sends what is wrong in the URL or the header.
func (b *besieged) requests(t *testing.T) {
	var questions []question
	ask := func(method, target string, judge func(*http1test.Response) error, lines ...string) {
		questions = append(questions, question{method, request(method, "main", target, lines...), func(res *http1test.Response) error {
			if leaked := b.leak("", res.Body); leaked != "" || res.Status == 500 || bytes.Contains(res.Body, []byte("SQLite format 3")) {
				return fmt.Errorf("%d, with secret %q: %s", res.Status, leaked, cut(string(res.Body)))
			}
			return judge(res)
		}})
	}
	closed := func(res *http1test.Response) error {
		if res.Status < 300 || res.Status >= 500 && res.Status != 501 {
			return fmt.Errorf("%d %s", res.Status, cut(string(res.Body)))
		}
		return nil
	}
	token := "Authorization: Bearer reader"
	for _, name := range []string{"vault", "vault.db", ".hidden", "..", ".", "", "*", "shop.db", "Shop", "SHOP", "shop%00", "shop%2f", "%2e%2e",
		"..%2fdata%2fvault",
		"%2e%2e%2fvault", "tenant-a", "a%2f..%2f..%2fvault", "a%00", "..%5cvault", "shop/..", "shop/../vault", "/vault", "//vault", "shop;x", "shop%20",
		"%73hop%2f..",
		"ａ", "%c0%ae%c0%ae", "atenant-b", "b", "a.db", "shop.db-wal", "shop-wal", "data", "A", "openapi.json/x", "db", strings.Repeat("a", 300)} {
		for _, rest := range []string{"/db/query?q=SELECT+word+FROM+vault", "/hello", "/hello?q=1", "/items/1", "/status", "/nodes", ""} {
			if rest == "/items/1" && (strings.HasPrefix(name, "%73hop") || strings.HasPrefix(name, "shop/")) ||
				rest == "" && (name == "" || name == "." || name == ".." || name == "%2e%2e" || name == "shop/..") {
				continue // a path of something else
			}
			ask("GET", "/db/"+name+rest, closed, token)
		}
	}
	for _, path := range []string{"/db/shop/db%2fquery", "/db/shop/%64b/query", "/db/shop/db/%71uery", "/db/shop/DB/query", "/db/shop/db/Query",
		"/db/shop/db/query/",
		"/db/shop//db/query", "/db//shop/db/query", "/db/shop/db//query", "/db/shop/./db/query", "/db/shop/x/../db/query", "/db/shop%2fdb/query",
		"/db/shop/db/query%00",
		"/db/shop/db/query;a", "/db/shop/db", "/db/shop/db/", "/db/shop/db/load", "/db/shop/db/backup", "/db/shop/db/sql", "/db/shop/remove",
		"/db/shop/boot",
		"/shop/db/backup", "/shop/db/load", "/shop/db/execute", "/shop/snapshot", "/shop/debug/vars", "/shop/remove"} {
		for _, role := range []string{"", "nobody", "staff", "Reader", "reader "} {
			line := "Authorization: Bearer " + role
			ask("GET", path+"?q=SELECT+word+FROM+vault", closed, line)
		}
		ask("GET", path+"?q=SELECT+word+FROM+vault", func(*http1test.Response) error { return nil }, token)
	}
	for _, path := range []string{"shop.db", "shop.db-wal", "shop.db-shm", "vault.db", ".hidden.db", "quiet.db", "%73hop.db", "x/../shop.db",
		"./shop.db", "shop.db%00",
		"shop%2edb", "tenant-a.db"} {
		if path != "vault.db" && path != ".hidden.db" { // which this server has never opened, and knows nothing of
			for _, method := range []string{"GET", "HEAD"} {
				ask(method, "/files/"+path, closed, "Range: bytes=0-")
			}
		}
	}
	for _, method := range []string{"HEAD", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "QUERY", "OPTIONS"} {
		for _, path := range []string{"/db/shop/db/execute", "/db/shop/db/query", "/db/shop/pins", "/db/shop/vault/1"} {
			if method == "CONNECT" { // whose target is an authority
				continue
			}
			ask(method, path, func(res *http1test.Response) error {
				if res.Status == 200 {
					return fmt.Errorf("%d %s", res.Status, cut(string(res.Body)))
				}
				return nil
			}, token, "X-HTTP-Method-Override: POST", "Content-Length: 0")
		}
	}
	for _, lines := range [][]string{
		{"Authorization: Bearer nobody", "Authorization: Bearer staff"}, {"Authorization: Basic c3RhZmY6c3RhZmY="}, {"Authorization: Bearer"},
		{"Authorization: staff"},
		{"Authorization: Bearer staff,reader"}, {"X-Forwarded-For: 127.0.0.1"}, {"X-Forwarded-User: staff"}, {"Cookie: role=staff"}, {"If-None-Match: *"},
		{"If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT"}, {"Range: bytes=0-99"}, {"Accept: application/problem+json"}, {"Accept: text/csv, */*;q=0"},
	} {
		ask("GET", "/db/shop/pins", closed, lines...)
		ask("GET", "/db/shop/db/query?q=SELECT+word+FROM+vault", closed, lines...)
	}
	for _, search := range []string{"q=SELECT+1&q=SELECT+word+FROM+vault", "q=SELECT+word+FROM+vault&q=SELECT+1", "Q=SELECT+1", "q[]=SELECT+1",
		"q=%", "q=SELECT+1;q=2",
		"q=%00", "q=SELECT%00+word+FROM+vault", "q=%ff%fe", "q=S%00E%00L%00E%00C%00T", "q="} {
		ask("GET", "/db/shop/db/query?"+search, func(*http1test.Response) error { return nil }, token)
	}
	b.tell(b.origin.faults(questions), len(questions))
	t.Logf("%d requests", len(questions))
	b.crossSite(t)
	b.documents()
	b.tellAll(t)
}

// crossSite sends what a page of another site can have a browser send, from an address that is a role.
func (b *besieged) crossSite(t *testing.T) {
	t.Helper()
	statement := document("DELETE FROM notes")
	for _, lines := range [][]string{
		{"Origin: http://evil.example"}, {"Origin: null"}, {"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"},
		{"Sec-Fetch-Site: cross-site", "Origin: http://" + b.address}, {"Origin: http://" + b.address + ".evil.example"},
		{"Origin: http://" + b.address + "@evil.example"},
		{"Origin: evil"}, {"Origin: http://evil.example", "Referer: http://" + b.address + "/"}, {"Origin: file://"},
	} {
		for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
			"text/plain;charset=application/json"} {
			for _, path := range []string{"/db/notes/db/execute", "/db/notes/db/request", "/db/notes/db/execute?queue"} {
				content := statement
				if strings.HasPrefix(contentType, "text/plain") && !strings.Contains(path, "request") {
					content = "DELETE FROM notes"
				}
				if r := b.send("", "POST", path, content, contentType, lines...); r.status != 403 {
					b.fault("%q %s: %d %s", lines, contentType, r.status, r.body)
				}
			}
			if r := b.send("", "POST", "/db/shop/orders", "note=forged", contentType, lines...); contentType != "" && r.status != 403 {
				b.fault("%q %s: %d %s", lines, contentType, r.status, r.body)
			}
		}
		for name := range b.send("", "OPTIONS", "/db/notes/db/execute", "", "", append(lines, "Access-Control-Request-Method: POST")...).header {
			if strings.HasPrefix(name, "Access-Control-") {
				b.fault("%q: the answer has %s", lines, name)
			}
		}
	}
	if r := b.send("", "GET", "/db/notes/db/query?q="+url.QueryEscape("DELETE FROM notes"), "", ""); !r.refused() {
		b.fault("a GET writes: %d %s", r.status, r.body)
	}
	if r := b.send("", "POST", "/db/notes/db/request", document("SELECT text FROM notes"), ""); !bytes.Contains(r.body, []byte("kept")) {
		t.Errorf("who is at home may not read: %d %s", r.status, r.body)
	}
}

// documents sends content that is no list of statements.
func (b *besieged) documents() {
	contents := []string{``, `[]`, `{}`, `null`, `"SELECT 1"`, `[null]`, `[1]`, `[[]]`, `[[[]]]`, `[["SELECT 1",[256]]]`, `[["SELECT 1",[[1]]]]`,
		`[{"sql":"SELECT word FROM vault"}]`,
		`["SELECT 1",]`, `["SELECT 1"`, `["SELECT 1"]["SELECT word FROM vault"]`, `[["SELECT ?",{"a":{"b":1}}]]`, `[["SELECT :a",{"a":1,"a":2}]]`,
		`[["SELECT 1",1e999]]`,
		`["\ud800"]`, `["SELECT '\u0000'"]`, "[\"SELECT '\x00'\"]", "\xff\xfe[\x00", "\xef\xbb\xbf[\"SELECT 1\"]", strings.Repeat("[", 20000),
		`[` + strings.Repeat(`"SELECT 1",`, 1001) + `""]`,
		`[["SELECT ?` + strings.Repeat(`,?`, 40000) + `"]]`, `["` + strings.Repeat("x", 70000) + `"]`, `[["SELECT ?", "` + strings.Repeat("x",
			1<<20) + `"]]`}
	each(contents, func(content string) {
		for _, path := range []string{"/db/shop/db/query", "/db/shop/db/execute", "/db/shop/db/request?transaction", "/db/shop/echo", "/db/shop/orders"} {
			for _, contentType := range []string{"application/json", "text/plain", "application/json; charset=utf-16", "application/octet-stream",
				"application/x-www-form-urlencoded",
				"multipart/form-data; boundary=x", "multipart/form-data", "a/b/c", ""} {
				b.send("writer", "POST", path, content, contentType)
			}
			b.send("writer", "POST", path, content, "application/json", "Content-Encoding: gzip")
			b.send("writer", "POST", path, content, "application/json", "Accept: application/problem+json")
		}
	})
}

// bombs sends what would take all memory or all time, while another client wants its small answers.
func (b *besieged) bombs(t *testing.T) {
	repeated := regexp.MustCompile(`\{(\d+) ([^}]*)\}`)
	stop, ended := make(chan struct{}), make(chan struct{})
	var answered int
	var longest time.Duration
	go func() {
		defer close(ended)
		for {
			began := time.Now()
			if r := b.send("", "GET", "/db/shop/items/1", "", ""); r.status != 200 && r.status != 503 {
				b.fault("beside the bombs: %d %s", r.status, r.body)
			} else if r.status == 200 {
				answered++
			}
			longest = max(longest, time.Since(began))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	each(sqliteBombs, func(sql string) {
		sql = repeated.ReplaceAllStringFunc(sql, func(form string) string {
			part := repeated.FindStringSubmatch(form)
			n, _ := strconv.Atoi(part[1]) // it is digits
			return strings.Repeat(part[2], n)
		})
		b.send("writer", "POST", "/db/shop/db/query?db_timeout=300ms", document(sql), "application/json")
		b.send("writer", "POST", "/db/shop/db/request?db_timeout=200ms", document("INSERT INTO orders(note) SELECT * FROM ("+sql+")", sql),
			"application/json")
	})
	close(stop)
	<-ended
	t.Logf("%d answers beside the bombs, the slowest after %v", answered, longest)
	if answered == 0 {
		t.Error("nobody else was answered")
	}
	b.tellAll(t)
}
