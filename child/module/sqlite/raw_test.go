package sqlite

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// A rawBench serves raw SQL of a rawFake to a role that may do everything, unless the test changes that.
type rawBench struct {
	fake     *rawFake
	database *database
	who      *role
	logged   []error
}

func newRawBench() *rawBench {
	f := &rawFake{statements: map[string]*rawFaked{
		"read": {columns: []engine.Column{{Name: "id", Type: "integer"}, {Name: "name", Type: "text"}},
			rows: [][]engine.Value{{engine.IntegerOf(1), engine.TextOf("Ada")}, {engine.IntegerOf(2), {}}}},
		"empty":   {columns: []engine.Column{{Name: "id", Type: "integer"}, {Name: "n"}}},
		"insert":  {writes: true, affected: 1, id: 7},
		"nothing": {writes: true},
		"returning": {writes: true, columns: []engine.Column{{Name: "id", Type: "integer"}},
			rows: [][]engine.Value{{engine.IntegerOf(8)}}},
		"twice":  {writes: true, err: engine.Errorf(engine.CodeConstraintUnique, "UNIQUE constraint failed: t.a")},
		"denied": {err: engine.Errorf(engine.CodeDenied, "not authorized")},
		"busy":   {err: &engine.Error{Code: engine.CodeBusy, Message: "the queue is full", Offset: -1, RetryAfter: 1500 * time.Millisecond, Queue: 12}},
		"slow": {columns: []engine.Column{{Name: "n"}}, rows: [][]engine.Value{{engine.IntegerOf(5)}},
			errAfter: engine.Errorf(engine.CodeTimeout, "the statement took longer than 1s")},
		"endless": {columns: []engine.Column{{Name: "n"}}, rows: [][]engine.Value{{engine.TextOf(strings.Repeat("x", 100))}}, count: 2000,
			errAfter: engine.Errorf(engine.CodeTooManyRows, "more than 2000 rows")},
		"long":  {columns: []engine.Column{{Name: "n"}}, rows: [][]engine.Value{{engine.TextOf(strings.Repeat("x", 100))}}, count: 2000},
		"wrong": {err: errors.New("disk on fire")},
	}}
	return &rawBench{fake: f, database: &database{name: "shop", path: "/shop.db", engine: f, raw: rawAccess{read: true, write: true}},
		who: &role{name: "admin", policy: &engine.Policy{Name: "admin", Read: map[string]engine.Columns{"*": nil},
			Write: map[string]engine.Columns{"*": nil}, MaxSQL: 1000}}}
}

// ask sends content to an endpoint, as in "execute?timings"; as a GET if content is "".
func (b *rawBench) ask(t testing.TB, endpoint, content string, header map[string]string) *webtest.Response {
	t.Helper()
	s := &service{log: func(message string, err error) { b.logged = append(b.logged, err) }}
	name, _, _ := strings.Cut(endpoint, "?")
	q := webtest.Request{Target: "/db/" + endpoint, Body: content, Header: header}
	if content != "" {
		q.Method = "POST"
	}
	resp := webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) { s.serveRaw(w, r, b.database, name, b.who) }), q)
	if b.fake.open != 0 {
		t.Errorf("%s %s: %d rows were left open", endpoint, content, b.fake.open)
	}
	if text := resp.Text(); text != "" && !json.Valid(resp.Body) {
		t.Errorf("%s %s: not JSON: %s", endpoint, content, text)
	}
	return resp
}

// The shapes are those of https://rqlite.io/docs/api/api/, with a code beside an error.
func TestRawAnswers(t *testing.T) {
	const problem = "application/problem+json"
	read := `{"columns":["id","name"],"types":["integer","text"],"values":[[1,"Ada"],[2,null]]}`
	unique := `{"error":"UNIQUE constraint failed: t.a","code":"constraint_unique"}`
	for _, c := range []struct{ endpoint, content, accept, want string }{
		{"query?q=read", "", "", `200 {"results":[` + read + `]}`},
		{"query", `["read","read"]`, "", `200 {"results":[` + read + `,` + read + `]}`},
		{"query", `["", ["read"]]`, "", `200 {"results":[` + read + `]}`},
		{"query", `[""]`, "", `200 {"results":[]}`},
		{"query", `["empty"]`, "", `200 {"results":[{"columns":["id","n"],"types":["integer",""]}]}`},
		{"query?associative", `["read","empty"]`, "", `200 {"results":[{"types":{"id":"integer","name":"text"},"rows":[{"id":1,"name":"Ada"},` +
			`{"id":2,"name":null}]},{"types":{"id":"integer","n":""},"rows":[]}]}`},
		{"query", `["insert","read"]`, "",
			`200 {"results":[{"error":"attempt to change database via query operation","code":"not_read_only"},` + read + `]}`},
		{"query", `["slow","read"]`, "", `200 {"results":[{"error":"the statement took longer than 1s","code":"timeout"},` + read + `]}`},
		{"query?associative", `["slow"]`, "", `200 {"results":[{"rows":[],"error":"the statement took longer than 1s","code":"timeout"}]}`},
		{"query", `["read","denied"]`, problem, `403 denied statement=1`},
		{"query", `["read","slow"]`, "text/html, " + problem + ";q=0.5", `504 timeout statement=1`},
		{"query", `["denied"]`, problem + ";q=0", `200 {"results":[{"error":"not authorized","code":"denied"}]}`},
		{"query", `["denied"]`, "*/*", `200 {"results":[{"error":"not authorized","code":"denied"}]}`},
		{"query", `["read","busy"]`, "", `503 {"error":"the queue is full","code":"busy","queue":12}`},
		{"query", `["busy"]`, problem, `503 busy statement=0`},
		{"query?pretty", `["empty"]`, "", "200 {\n    \"results\": [\n        {\n            \"columns\": [\n                \"id\",\n" +
			"                \"n\"\n            ],\n            \"types\": [\n                \"integer\",\n                \"\"\n            ]\n" +
			"        }\n    ]\n}"},

		{"execute", `["insert"]`, "", `200 {"results":[{"last_insert_id":7,"rows_affected":1}]}`},
		{"execute", `["nothing","insert"]`, "", `200 {"results":[{},{"last_insert_id":7,"rows_affected":1}]}`},
		{"execute?associative", `["insert","returning"]`, "",
			`200 {"results":[{"last_insert_id":7,"rows_affected":1},{"columns":["id"],"types":["integer"],"values":[[8]]}]}`},
		{"execute", `["insert","twice","insert"]`, "", `200 {"results":[{"last_insert_id":7,"rows_affected":1},` + unique +
			`,{"last_insert_id":7,"rows_affected":1}]}`},
		{"execute?transaction", `["insert","twice","insert"]`, "", `200 {"results":[{"last_insert_id":7,"rows_affected":1},` + unique + `]}`},
		{"execute?transaction", `["insert","twice","insert"]`, problem, `409 constraint_unique statement=1`},
		{"execute", `["insert","","twice"]`, problem, `409 constraint_unique statement=2 results=[{"last_insert_id":7,"rows_affected":1},` + unique + `]`},
		{"execute", `["read"]`, "", `200 {"results":[` + read + `]}`},
		{"execute?queue&wait", `["twice"]`, "", `200 {"results":[` + unique + `]}`},

		{"request", `["insert","read","twice"]`, "", `200 {"results":[{"last_insert_id":7,"rows_affected":1},` + read + `,` + unique + `]}`},
		{"request?associative", `["insert","empty","twice"]`, "", `200 {"results":[{"last_insert_id":7,"rows_affected":1,"rows":null},` +
			`{"types":{"id":"integer","n":""},"rows":[]},{"error":"UNIQUE constraint failed: t.a","code":"constraint_unique"}]}`},
		{"request?transaction", `["insert","read","insert"]`, "", `200 {"results":[{"last_insert_id":7,"rows_affected":1},` + read +
			`,{"last_insert_id":7,"rows_affected":1}]}`},
		{"request?transaction", `["insert","nonsense"]`, "", `200 {"results":[{"error":"no such statement: nonsense","code":"sql_error"}]}`},
		{"request", `["read","read"]`, "", `200 {"results":[` + read + `,` + read + `]}`},
		{"request", `["insert","slow"]`, problem, `504 timeout statement=1 results=[{"last_insert_id":7,"rows_affected":1},` +
			`{"error":"the statement took longer than 1s","code":"timeout"}]`},
	} {
		b := newRawBench()
		header := map[string]string{}
		if c.accept != "" {
			header["Accept"] = c.accept
		}
		if got := rawSummary(b.ask(t, c.endpoint, c.content, header)); got != c.want {
			t.Errorf("%s %s (Accept: %s):\n got %s\nwant %s", c.endpoint, c.content, c.accept, got, c.want)
		}
	}
}

// rawSummary is the status with the content, of a problem its code and our own members.
func rawSummary(resp *webtest.Response) string {
	s := strconv.Itoa(resp.Status) + " "
	if resp.Header.Get("Content-Type") != "application/problem+json" {
		return s + resp.Text()
	}
	var p struct {
		Status    int
		Code      string
		Statement *int
		Results   json.RawMessage
	}
	if err := json.Unmarshal(resp.Body, &p); err != nil || p.Status != resp.Status {
		return s + "not a problem: " + resp.Text()
	}
	s += p.Code
	if p.Statement != nil {
		s += " statement=" + strconv.Itoa(*p.Statement)
	}
	if p.Results != nil {
		s += " results=" + string(p.Results)
	}
	return s
}

// A request that cannot be served is refused with its status before anything is run.
func TestRawRefusals(t *testing.T) {
	text := map[string]string{"Content-Type": "text/plain; charset=utf-8"}
	for _, c := range []struct {
		endpoint, content string
		header            map[string]string
		status            int
		says              string
	}{
		{"query", "", nil, 400, "needs the statement"},
		{"query?q=", "", nil, 400, "q is empty"},
		{"query?q=%ff", "", nil, 400, "not UTF-8 at byte 1"},
		{"query?q=a;b", "", nil, 400, "malformed"},
		{"query?q=read&level=strongest", "", nil, 400, "level is"},
		{"query?q=read&timeout=soon", "", nil, 400, "timeout is not a duration"},
		{"query?q=read&db_timeout=-1s", "", nil, 400, "db_timeout is not a duration"},
		{"query?q=read&freshness_strict", "", nil, 400, "freshness"},
		{"query?q=read&retries=x", "", nil, 400, "retries"},
		{"execute?q=insert", "", nil, 405, "OPTIONS, POST"},
		{"request", "", nil, 405, "OPTIONS, POST"},
		{"load", `[]`, nil, 404, "db/query"},
		{"query", ` `, nil, 400, "the content is empty"},
		{"query", `[]`, nil, 400, "the array is empty"},
		{"query", `{"sql":"read"}`, nil, 400, "not an array"},
		{"query", `["read"`, nil, 400, "ends, at byte 7"},
		{"query", `["read",]`, nil, 400, "at byte 9"},
		{"query", `["read" "read"]`, nil, 400, "at byte 9"},
		{"query", `["read"] ["read"]`, nil, 400, "behind the array"},
		{"query", `["read"] x`, nil, 400, "at byte 10"},
		{"query", `["read"` + "\n" + `, "re` + "\n" + `ad"]`, nil, 400, "at byte 14"},
		{"query", `[7]`, nil, 400, "a statement is"},
		{"query", `[{"a":1}]`, nil, 400, "a statement is"},
		{"query", `[[]]`, nil, 400, "a statement is"},
		{"query", `[["read",{"a":{"b":1}}]]`, nil, 400, "a parameter is"},
		{"query", `[["read",{"a":1,"a":2}]]`, nil, 400, "twice"},
		{"query", `[["read",[1,256]]]`, nil, 400, "bytes from 0 to 255"},
		{"query", `[["read",[1.5]]]`, nil, 400, "bytes from 0 to 255"},
		{"query", `[["read",9223372036854775808]]`, nil, 400, "64 bits"},
		{"query", `[["read",1e999]]`, nil, 400, "real"},
		{"query", "[\"re\xffad\"]", nil, 400, "not UTF-8 at byte 5"},
		{"query", "\xff", text, 400, "not UTF-8 at byte 1"},
		{"request", "insert", text, 400, "not JSON"},
		{"execute", `["insert"]`, map[string]string{"Content-Encoding": "gzip"}, 415, "encoded"},
		{"execute", `["insert"]`, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, 415, "multipart/form-data"},
		{"execute", `["` + strings.Repeat("x", 1001) + `"]`, nil, 413, "1001 bytes"},
		{"execute", `["insert"` + strings.Repeat(`,"insert"`, rawStatements) + `]`, nil, 413, "1000"},
	} {
		b := newRawBench()
		resp := b.ask(t, c.endpoint, c.content, c.header)
		if resp.Status != c.status || !strings.Contains(resp.Text()+resp.Header.Get("Allow"), c.says) {
			t.Errorf("%s %.40q: %d %s, want %d with %q", c.endpoint, c.content, resp.Status, resp.Text(), c.status, c.says)
		}
		if len(b.fake.queries)+len(b.fake.batches) > 0 {
			t.Errorf("%s %.40q: something was run", c.endpoint, c.content)
		}
	}
}

// Without a role nothing is run; a role or a database that only reads does not reach the writer.
func TestRawReadersDoNotWrite(t *testing.T) {
	reader := &role{policy: &engine.Policy{Name: "reader", Read: map[string]engine.Columns{"*": nil}}}
	for name, change := range map[string]func(b *rawBench){
		"nobody":          func(b *rawBench) { b.who = nil },
		"no policy":       func(b *rawBench) { b.who = &role{} },
		"a reader":        func(b *rawBench) { b.who = reader },
		"raw = read":      func(b *rawBench) { b.database.raw.write = false },
		"both only read":  func(b *rawBench) { b.who, b.database.raw.write = reader, false },
		"an empty policy": func(b *rawBench) { b.who = &role{policy: &engine.Policy{}} },
	} {
		b := newRawBench()
		change(b)
		if resp := b.ask(t, "execute", `["insert"]`, nil); resp.Status != 403 {
			t.Errorf("%s: execute is %d %s", name, resp.Status, resp.Text())
		}
		resp := b.ask(t, "request", `["insert","read"]`, nil)
		if b.who == nil || b.who.policy == nil {
			if resp.Status != 403 || len(b.fake.queries) > 0 {
				t.Errorf("%s: request is %d %s", name, resp.Status, resp.Text())
			}
		} else if !strings.Contains(resp.Text(), `{"error":"only reading is allowed here","code":"denied"},{"columns"`) {
			t.Errorf("%s: request is %s", name, resp.Text())
		}
		if len(b.fake.batches) > 0 {
			t.Errorf("%s: the writer was asked", name)
		}
		for _, q := range b.fake.queries {
			if q.Policy == nil || q.Policy != b.who.policy {
				t.Errorf("%s: a query ran under another policy", name)
			}
		}
	}
}

// What a request asks for reaches the engine.
func TestRawEngineIsAsked(t *testing.T) {
	b := newRawBench()
	b.database.limits = engine.Limits{Timeout: 3 * time.Second, MaxRows: 10, MaxBytes: 20}
	b.database.raw.limits = engine.Limits{MaxRows: 5}
	b.ask(t, "query?q=read&level=LINEARIZABLE&db_timeout=1s", "", nil)
	b.ask(t, "query?q=read&level=auto&db_timeout=10s", "", nil)
	q := b.fake.queries[0]
	if l := q.Limits; q.Level != "linearizable" || q.Kept || l.Timeout > time.Second || l.MaxRows != 5 || l.MaxBytes != 20 {
		t.Errorf("the query was %+v", q)
	}
	if q := b.fake.queries[1]; q.Level != "" || q.Limits.Timeout <= time.Second || q.Limits.Timeout > 3*time.Second {
		t.Errorf("the query was %+v", q)
	}
	resp := b.ask(t, "query?db_timeout=1ns", `["read"]`, nil)
	if !strings.Contains(resp.Text(), `"code":"timeout"`) || len(b.fake.queries) != 2 {
		t.Errorf("without time: %s", resp.Text())
	}
	b.ask(t, "execute?timeout=2s", `[["insert",1,"a",{"x":true},null],"",["insert"]]`, nil)
	b.ask(t, "execute?timeout=1h&transaction", "insert", map[string]string{"Content-Type": "text/plain"})
	first, second := b.fake.batches[0], b.fake.batches[1]
	if first.Atomic || first.Wait != 2*time.Second || len(first.Statements) != 2 || len(first.Statements[0].Args) != 4 || first.Idempotent {
		t.Errorf("the batch was %+v", first)
	}
	if !second.Atomic || second.Wait != 0 || second.Policy != b.who.policy || second.Statements[0].SQL != "insert" {
		t.Errorf("the batch was %+v", second)
	}
	// Of a request that is no transaction neighbours that write share a batch, and reads come after the writes before them.
	b = newRawBench()
	b.ask(t, "request", `["insert","insert","read","nothing"]`, nil)
	if len(b.fake.batches) != 2 || len(b.fake.batches[0].Statements) != 2 || len(b.fake.queries) != 1 {
		t.Errorf("%d batches and %d queries", len(b.fake.batches), len(b.fake.queries))
	}
	b.ask(t, "request?transaction", `["insert","read"]`, nil)
	if last := b.fake.batches[2]; !last.Atomic || len(last.Statements) != 2 {
		t.Errorf("the transaction was %+v", last)
	}
}

// A queued write is durable when it has its number; without one it has failed.
func TestRawQueue(t *testing.T) {
	b := newRawBench()
	var said struct {
		Results  []any
		Sequence int64 `json:"sequence_number"`
	}
	err := json.Unmarshal(b.ask(t, "execute?queue", `["insert"]`, nil).Body, &said)
	if err != nil || said.Sequence == 0 || len(said.Results) != 0 {
		t.Errorf("%+v, %v", said, err)
	}
	if len(b.fake.batches) != 1 {
		t.Error("it was not written")
	}
	if resp := b.ask(t, "execute?queue&wait", " ", nil); !strings.Contains(resp.Text(), "sequence_number") {
		t.Errorf("an empty one: %s", resp.Text())
	}
	if resp := b.ask(t, "execute?queue", `["insert","twice"]`, nil); strings.Contains(resp.Text(), "sequence_number") {
		t.Errorf("a failed one: %s", resp.Text())
	}
}

// A batch of which nothing was done: 503 has its status, and other errors are the answer's.
func TestRawExecuteFails(t *testing.T) {
	b := newRawBench()
	b.fake.executeErr = &engine.Error{Code: engine.CodeBusy, Message: "busy", RetryAfter: 1500 * time.Millisecond, Queue: 3}
	resp := b.ask(t, "execute", `["insert"]`, nil)
	if rawSummary(resp) != `503 {"error":"busy","code":"busy","queue":3}` || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("%s, Retry-After %q", rawSummary(resp), resp.Header.Get("Retry-After"))
	}
	b.fake.executeErr = engine.Errorf(engine.CodeUnknown, "the leader has gone")
	if resp := b.ask(t, "execute", `["insert"]`, nil); resp.Status != 502 || resp.Header.Has("Retry-After") {
		t.Errorf("%s, Retry-After %q: nobody shall send it again", rawSummary(resp), resp.Header.Get("Retry-After"))
	}
	b.fake.executeErr = engine.Errorf(engine.CodeFull, "the disk is full")
	if resp := b.ask(t, "execute", `["insert"]`, nil); rawSummary(resp) != `200 {"results":[],"error":"the disk is full","code":"disk_full"}` {
		t.Error(rawSummary(resp))
	}
	resp = b.ask(t, "execute", `["insert"]`, map[string]string{"Accept": "application/problem+json"})
	if rawSummary(resp) != "507 disk_full" {
		t.Error(rawSummary(resp))
	}
	if resp := b.ask(t, "query", `["wrong"]`, nil); strings.Contains(resp.Text(), "fire") || len(b.logged) != 1 {
		t.Errorf("an unknown error: %s, logged %v", resp.Text(), b.logged)
	}
}

// Once a part of a request is durable, the rest cannot make a 503 of it: a client would send it again.
func TestRawNothingIsDoneTwice(t *testing.T) {
	b := newRawBench()
	b.fake.statements["later"] = &rawFaked{columns: []engine.Column{{Name: "a"}}, errAfter: engine.Errorf(engine.CodeBusy, "busy")}
	resp := b.ask(t, "request", `["insert","later"]`, nil)
	if want := `200 {"results":[{"last_insert_id":7,"rows_affected":1},{"error":"busy","code":"busy"}]}`; rawSummary(resp) != want {
		t.Error(rawSummary(resp))
	}
}

// A long answer leaves in pieces, an error in its midst is in its place, and what was not sent is taken back.
func TestRawStreams(t *testing.T) {
	for _, accept := range []string{"*/*", "application/problem+json"} {
		for _, endpoint := range []string{"query", "query?associative", "query?pretty", "query?associative&pretty", "request?timings"} {
			b := newRawBench()
			resp := b.ask(t, endpoint, `["long","endless","read"]`, map[string]string{"Accept": accept})
			if !resp.Streamed || resp.Status != 200 {
				t.Errorf("%s: %d, streamed %v", endpoint, resp.Status, resp.Streamed)
			}
			var said struct {
				Results []struct {
					Values, Rows []any
					Error, Code  string
				}
			}
			if err := json.Unmarshal(resp.Body, &said); err != nil || len(said.Results) != 3 {
				t.Fatalf("%s: %d results, %v", endpoint, len(said.Results), err)
			}
			for i, want := range []int{2001, 2001, 2} {
				if n := len(said.Results[i].Values) + len(said.Results[i].Rows); n != want {
					t.Errorf("%s: result %d has %d rows, want %d", endpoint, i, n, want)
				}
			}
			if said.Results[1].Code != "too_many_rows" || said.Results[0].Error != "" {
				t.Errorf("%s: %q %q", endpoint, said.Results[1].Error, said.Results[0].Error)
			}
		}
	}
	// A client that leaves ends it.
	b := newRawBench()
	s := &service{}
	gone := errors.New("gone")
	webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) { s.serveRaw(w, r, b.database, "query", b.who) }),
		webtest.Request{Method: "POST", Body: `["long","read"]`, Tee: rawClosed{gone}})
	if len(b.fake.queries) != 1 || b.fake.open != 0 {
		t.Errorf("%d queries were run, %d are open", len(b.fake.queries), b.fake.open)
	}
}

type rawClosed struct{ err error }

func (c rawClosed) Write(p []byte) (int, error) { return 0, c.err }

// The statements of a transaction that reads see one content, or the client is told.
func TestRawReadTransaction(t *testing.T) {
	b := newRawBench()
	b.fake.tags = []engine.Tag{{1}, {2}, {3}}
	resp := b.ask(t, "query?transaction", `["read","empty"]`, nil)
	if strings.Contains(resp.Text(), "error") || len(b.fake.queries) != 4 {
		t.Errorf("after %d queries: %s", len(b.fake.queries), resp.Text())
	}
	b = newRawBench()
	b.fake.noTag = true
	if resp := b.ask(t, "query?transaction", `["read","empty"]`, nil); resp.Status != 503 || len(b.fake.queries) != rawReadings {
		t.Errorf("after %d queries: %s", len(b.fake.queries), rawSummary(resp))
	}
	if resp := b.ask(t, "query?transaction", `["read"]`, nil); resp.Status != 200 {
		t.Errorf("one statement: %s", rawSummary(resp))
	}
	b.database.path = ""
	if resp := b.ask(t, "query?transaction", `["read","empty"]`, nil); resp.Status != 400 {
		t.Errorf("a cluster: %s", rawSummary(resp))
	}
	if resp := b.ask(t, "query?q=read&level=none&freshness=1s", "", nil); resp.Status != 400 {
		t.Errorf("a cluster: %s", rawSummary(resp))
	}
}

// All that a column can hold, by its declared type; the wanted values are rqlite's but where TestRawAnswers' head says otherwise.
func TestRawValues(t *testing.T) {
	for _, c := range []struct {
		declared string
		value    engine.Value
		flags    string
		typ      string
		want     string
	}{
		{"", engine.IntegerOf(math.MaxInt64), "", "integer", "9223372036854775807"},
		{"integer", engine.IntegerOf(math.MinInt64), "", "integer", "-9223372036854775808"},
		{"", engine.RealOf(1), "", "real", "1"},
		{"", engine.RealOf(1e21), "", "real", "1e+21"},
		{"", engine.RealOf(1e-7), "", "real", "1e-7"},
		{"", engine.RealOf(math.Inf(-1)), "", "real", "null"},
		{"real", engine.RealOf(math.NaN()), "", "real", "null"},
		{"", engine.Value{}, "", "", "null"},
		{"varchar(10)", engine.TextOf("a<b\u2028\x00"), "", "varchar(10)", `"a\u003cb\u2028\u0000"`},
		{"", engine.BlobOf([]byte{0, 255}), "", "blob", `"AP8="`},
		{"text", engine.BlobOf([]byte{0, 255}), "&blob_array", "text", `[0,255]`},
		{"blob", engine.BlobOf(nil), "&blob_array", "blob", `[]`},
		{"blob", engine.BlobOf(nil), "", "blob", `""`},
		{"blob", engine.TextOf("no blob"), "&blob_array", "blob", `"no blob"`},
		{"boolean", engine.IntegerOf(1), "", "boolean", `true`},
		{"boolean", engine.IntegerOf(0), "", "boolean", `false`},
		{"boolean", engine.IntegerOf(5), "", "boolean", `5`},
		{"boolean", engine.TextOf("yes"), "", "boolean", `"yes"`},
		{"datetime", engine.TextOf("2024-01-02 03:04:05"), "", "datetime", `"2024-01-02T03:04:05Z"`},
		{"datetime", engine.TextOf("2024-01-02T03:04:05.25+02:00"), "", "datetime", `"2024-01-02T03:04:05.25+02:00"`},
		{"date", engine.TextOf("2024-01-02"), "", "date", `"2024-01-02T00:00:00Z"`},
		{"date", engine.TextOf("tomorrow"), "", "date", `"tomorrow"`},
		{"timestamp", engine.IntegerOf(1704164645), "", "timestamp", `"2024-01-02T03:04:05Z"`},
		{"timestamp", engine.IntegerOf(1704164645250), "", "timestamp", `"2024-01-02T03:04:05.25Z"`},
		{"timestamp", engine.IntegerOf(math.MaxInt64), "", "timestamp", `9223372036854775807`},
		{"date", engine.RealOf(2460311.5), "", "date", `2460311.5`},
	} {
		b := newRawBench()
		b.fake.statements["v"] = &rawFaked{columns: []engine.Column{{Name: "v", Type: c.declared}}, rows: [][]engine.Value{{c.value}}}
		resp := b.ask(t, "query?q=v"+c.flags, "", nil)
		if want := `{"results":[{"columns":["v"],"types":["` + c.typ + `"],"values":[[` + c.want + `]]}]}`; resp.Text() != want {
			t.Errorf("%s %+v:\n got %s\nwant %s", c.declared, c.value, resp.Text(), want)
		}
	}
	b := newRawBench()
	b.fake.statements["v"] = &rawFaked{columns: []engine.Column{{Name: "v", Type: "text"}}, rows: [][]engine.Value{{engine.TextOf("\xff")}}}
	if resp := b.ask(t, "query?q=v", "", nil); !strings.Contains(resp.Text(), "not UTF-8") {
		t.Error(resp.Text())
	}
	if resp := b.ask(t, "query?q=v&blob_array", "", nil); !strings.Contains(resp.Text(), `[[[255]]]`) {
		t.Error(resp.Text())
	}
	b.fake.statements["v"] = &rawFaked{columns: []engine.Column{{Name: "b"}, {Name: "a"}, {Name: "b"}},
		rows: [][]engine.Value{{engine.IntegerOf(1), engine.IntegerOf(2), engine.TextOf("3")}}}
	resp := b.ask(t, "query?q=v&associative", "", nil)
	if !strings.Contains(resp.Text(), `{"types":{"a":"integer","b":"text"},"rows":[{"a":2,"b":"3"}]}`) {
		t.Error(resp.Text())
	}
}

// A page of another site cannot make a browser send SQL.
func TestRawForeignPages(t *testing.T) {
	for _, c := range []struct {
		site, origin string
		status       int
	}{
		{"", "", 200}, {"same-origin", "", 200}, {"none", "", 200}, {"", "http://example.com", 200}, {"", "https://EXAMPLE.com", 200},
		{"same-origin", "http://proxy.example", 200},
		{"cross-site", "", 403}, {"same-site", "http://example.com", 403}, {"", "http://evil.example", 403}, {"", "null", 403},
		{"", "http://example.com:81", 403}, {"", "::", 403},
	} {
		header := map[string]string{"Content-Type": "text/plain"}
		if c.site != "" {
			header["Sec-Fetch-Site"] = c.site
		}
		if c.origin != "" {
			header["Origin"] = c.origin
		}
		b := newRawBench()
		if resp := b.ask(t, "execute", "insert", header); resp.Status != c.status || c.status != 200 && len(b.fake.batches) > 0 {
			t.Errorf("%q %q: %s", c.site, c.origin, rawSummary(resp))
		}
	}
}

func TestRawTimings(t *testing.T) {
	b := newRawBench()
	var said struct {
		Results []struct{ Time float64 }
		Time    float64
	}
	if err := json.Unmarshal(b.ask(t, "query?timings", `["read"]`, nil).Body, &said); err != nil || said.Time <= 0 || said.Results[0].Time <= 0 {
		t.Errorf("%+v, %v", said, err)
	}
}

func TestRawOptionsRequest(t *testing.T) {
	b := newRawBench()
	s := &service{}
	for endpoint, allow := range map[string]string{"query": "GET, HEAD, OPTIONS, POST", "execute": "OPTIONS, POST"} {
		resp := webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) { s.serveRaw(w, r, b.database, endpoint, b.who) }),
			webtest.Request{Method: "OPTIONS"})
		if resp.Status != 204 || resp.Header.Get("Allow") != allow {
			t.Errorf("%s: %d, Allow: %s", endpoint, resp.Status, resp.Header.Get("Allow"))
		}
	}
}

// What gorqlite reads of /status and /nodes leads it back to where it came from.
func TestRawInfo(t *testing.T) {
	b := newRawBench()
	b.fake.statements["SELECT 1"] = &rawFaked{columns: []engine.Column{{Name: "1"}}, rows: [][]engine.Value{{engine.IntegerOf(1)}}}
	s := &service{log: func(string, error) {}}
	ask := func(target string) *webtest.Response {
		name, _, _ := strings.Cut(target, "?")
		return webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) { s.serveRawInfo(w, r, b.database, name) }),
			webtest.Request{Target: "/" + target, Host: "db.example:4001"})
	}
	node := `{"id":"shop","api_addr":"http://db.example:4001","addr":"db.example:4001","version":"tined","voter":true,"reachable":true,"leader":true}`
	for target, want := range map[string]string{
		"nodes":                       `200 {"shop":` + node + `}`,
		"nodes?ver=2":                 `200 {"nodes":[` + node + `]}`,
		"leader":                      `200 ` + node,
		"status?key=store.leader":     `200 {"addr":"db.example:4001","node_id":"shop"}`,
		"status?key=store.nowhere.at": `200 {}`,
		"readyz":                      "200 [+]node ok\n[+]leader ok\n[+]store ok",
		"readyz?sync":                 "200 [+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok",
		"readyz?noleader":             "200 [+]node ok",
		"boot":                        `404 {"error":"there is no \"boot\" here","code":"not_found"}`,
	} {
		if got := rawSummary(ask(target)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", target, got, want)
		}
	}
	b.fake.statements["SELECT 1"].err = engine.Errorf(engine.CodeUnavailable, "no leader")
	if resp := ask("readyz"); resp.Status != 503 || !resp.Header.Has("Retry-After") {
		t.Error(rawSummary(resp))
	}
	if len(b.fake.queries) == 0 || b.fake.queries[0].Policy == nil || b.fake.queries[0].Policy.Vetted {
		t.Error("readyz asks without a policy that allows nothing")
	}
}
