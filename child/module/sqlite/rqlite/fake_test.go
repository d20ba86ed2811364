package rqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A fake is a node that answers with what a test gives it; the schema it knows by itself: a table t(a), and nothing else.
type fake struct {
	*httptest.Server
	writes, reads atomic.Int64
	answer        func(n int64, w http.ResponseWriter, r *http.Request)
}

const fakeSchema = `{"results":[{"columns":["a"],"values":[["ttable","tt","tt","tCREATE TABLE t(a)"]]}]}`

func newFake(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) *fake {
	t.Helper()
	f := &fake{answer: answer}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		switch {
		case strings.Contains(string(body), "tbl_name, coalesce"):
			fmt.Fprint(w, fakeSchema)
		case r.URL.Path == "/db/query":
			f.answer(f.reads.Add(1), w, r)
		default:
			f.answer(f.writes.Add(1), w, r)
		}
	}))
	t.Cleanup(f.Server.Close)
	return f
}

func says(text string) func(int64, http.ResponseWriter, *http.Request) {
	return func(_ int64, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func status(code int, text string) func(int64, http.ResponseWriter, *http.Request) {
	return func(_ int64, w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
}

// dies ends the connection without an answer.
func dies(int64, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// dead returns the address of a node that is not there.
func dead(t *testing.T) string { return "http://" + freeAddress(t) }

func failing(text string) string { return `{"results":[],"error":"` + text + `"}` }

const (
	inserted = `{"results":[{"last_insert_id":9,"rows_affected":1,"time":0.5}]}`
	oneRow   = `{"results":[{"columns":["x"],"types":["text"],"values":[["same"]]},{"columns":["a"],"types":["text"],"values":[["i7"]]}]}`
)

// TestWriteFailures is every way in which a write may fail, with one node that answers so for ever, and how often it was sent.
func TestWriteFailures(t *testing.T) {
	const many = 99 // more than once
	for _, c := range []struct {
		name       string
		answer     func(int64, http.ResponseWriter, *http.Request)
		want       engine.Code
		sent       int64
		idempotent engine.Code
	}{
		{"done", says(inserted), "", 1, ""},
		{"constraint", says(`{"results":[{"error":"UNIQUE constraint failed: t.a"}]}`), engine.CodeConstraintUnique, 1, engine.CodeConstraintUnique},
		{"foreign key at the commit", says(failing("FOREIGN KEY constraint failed")), engine.CodeConstraintForeignKey, 1, engine.CodeConstraintForeignKey},
		{"read-only", says(`{"results":[{"error":"attempt to write a readonly database"}]}`), engine.CodeReadOnlyDatabase, 1, engine.CodeReadOnlyDatabase},
		{"full", says(`{"results":[{"error":"database or disk is full"}]}`), engine.CodeFull, 1, engine.CodeFull},
		{"corrupt", says(`{"results":[{"error":"database disk image is malformed"}]}`), engine.CodeCorrupt, 1, engine.CodeCorrupt},
		{"too big", says(`{"results":[{"error":"string or blob too big"}]}`), engine.CodeTooLarge, 1, engine.CodeTooLarge},
		{"no table there", says(`{"results":[{"error":"no such table: t"}]}`), engine.CodeSQL, 1, engine.CodeSQL},
		{"leader not found", says(failing("leader not found")), engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"leader not found, 503", status(503, "leader not found"), engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"not leader", says(failing("not leader")), engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"not ready", says(failing("store not ready")), engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"leader not reached", says(failing("node failed to process Execute on remote node at 10.0.0.1:4002: pool get: dial tcp: connection refused")),
			engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"leader says not leader", says(failing("node failed to process Execute on remote node at 10.0.0.1:4002: not leader")),
			engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"leader lost", says(failing("leadership lost while committing log")), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"leader's answer lost", says(failing("node failed to process Execute on remote node at 10.0.0.1:4002: read protobuf length: EOF")),
			engine.CodeUnknown, 1, engine.CodeUnknown},
		{"unheard of", says(failing("the moon is full")), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"proxy's 503", status(503, "<html>"), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"502", status(502, "bad gateway"), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"unauthorized", status(401, ""), engine.CodeInternal, 1, engine.CodeInternal},
		{"not understood", status(400, "invalid request"), engine.CodeRequest, 1, engine.CodeRequest},
		{"redirect", status(301, ""), engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"no rqlite", status(404, ""), engine.CodeUnavailable, many, engine.CodeUnavailable},
		{"no answer", dies, engine.CodeUnknown, 1, engine.CodeUnknown},
		{"half an answer", says(inserted[:30]), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"no JSON", says("<html>"), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"no results", says(`{"results":[]}`), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"too many results", says(`{"results":[{},{},{}]}`), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"a number out of range", says(`{"results":[{"last_insert_id":99999999999999999999}]}`), engine.CodeUnknown, 1, engine.CodeUnknown},
		{"something behind", says(inserted + "{}"), engine.CodeUnknown, 1, engine.CodeUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, idempotent := range []bool{false, true} {
				node := newFake(t, c.answer)
				cluster := open(t, Options{Nodes: []string{node.URL}, Timeout: 200 * time.Millisecond})
				b := batch(vetted, false, "INSERT INTO t VALUES(1)")
				b.Idempotent = idempotent
				out, err := cluster.Execute(t.Context(), b)
				want := c.want
				if idempotent {
					want = c.idempotent
				}
				if code(err) != want {
					t.Fatalf("idempotent %v: %v (%v)", idempotent, err, engine.ErrorOf(err).Err)
				}
				if e := engine.ErrorOf(err); err != nil && e.Code.Status() == 503 && e.RetryAfter == 0 {
					t.Error("a 503 does not say when to ask again")
				}
				if strings.Contains(fmt.Sprint(err), "10.0.0.1") {
					t.Errorf("the message names a node: %v", err)
				}
				if sent := node.writes.Load(); !idempotent && (c.sent == 1) != (sent == 1) {
					t.Errorf("sent %d times", sent)
				}
				if err == nil && (out[0].LastInsertID != 9 || out[0].RowsAffected != 1 || out[0].Elapsed != 500*time.Millisecond) {
					t.Errorf("%+v", out)
				}
			}
		})
	}
}

// TestBatchLimits: the rows and bytes of a batch are counted together, also when the answer has to be asked for again.
func TestBatchLimits(t *testing.T) {
	reads := `{"results":[{"columns":["x"],"values":[[null]]},{"columns":["a"],"values":[["t1234"]]},{"rows_affected":1},` +
		`{"columns":["a"],"values":[["t5678"]]},{"columns":["1"],"values":[[1]]}]}`
	for _, c := range []struct {
		limits engine.Limits
		want   engine.Code
	}{
		{engine.Limits{MaxRows: 2, MaxBytes: 8}, ""},
		{engine.Limits{MaxRows: 1}, engine.CodeTooManyRows},
		{engine.Limits{MaxBytes: 7}, engine.CodeTooManyBytes},
	} {
		node := newFake(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				fmt.Fprint(w, reads[:len(reads)-10])
				return
			}
			fmt.Fprint(w, reads)
		})
		cluster := open(t, Options{Nodes: []string{node.URL}, Timeout: 2 * time.Second})
		b := batch(vetted, true, "SELECT '1234'", "INSERT INTO t VALUES(1)", "SELECT '5678'")
		b.Limits, b.Idempotent = c.limits, true
		out, err := cluster.Execute(t.Context(), b)
		if code(err) != c.want || len(out) != 3 || code(out[2].Err) != c.want {
			t.Errorf("%+v: %v, %v", c.limits, out, err)
		}
		if c.want != "" && !strings.HasSuffix(err.Error(), "; the statements have been run") {
			t.Errorf("%+v: %v", c.limits, err)
		}
	}
}

// TestInspectVolatile: what the copy of the schema tells of a statement arrives.
func TestInspectVolatile(t *testing.T) {
	cluster := open(t, Options{Nodes: []string{newFake(t, says(inserted)).URL}})
	for sql, want := range map[string]bool{"SELECT a FROM t": false, "SELECT a FROM t WHERE a > unixepoch()": true, "SELECT CURRENT_DATE": true} {
		for range 2 {
			if info, err := cluster.Inspect(t.Context(), vetted, sql); err != nil || info.Volatile != want {
				t.Errorf("%s: %t, %v", sql, info.Volatile, err)
			}
		}
	}
}

// TestReadFailures: reads are tried again, whatever has happened to the node.
func TestReadFailures(t *testing.T) {
	slow := func(_ int64, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, c := range []struct {
		name   string
		answer func(int64, http.ResponseWriter, *http.Request)
		want   engine.Code // "": the second node is asked
	}{
		{"leader not found", says(failing("leader not found")), ""},
		{"stale", says(failing("stale read")), ""},
		{"leader lost", says(failing("leadership lost while committing log")), ""},
		{"dies", dies, ""},
		{"half a row", says(oneRow[:80]), ""},
		{"502", status(502, ""), ""},
		{"no rqlite", status(404, ""), ""},
		{"hangs", slow, ""},
		{"timeout", says(`{"results":[{"columns":["x"],"values":[["same"]]},{"error":"query timeout"}]}`), engine.CodeTimeout},
		{"wrong", says(`{"results":[{"columns":["x"],"values":[["same"]]},{"error":"no such function: f"}]}`), engine.CodeSQL},
		{"infinity", status(500, "json: error calling MarshalJSON for type *http.DBResults: json: unsupported value: +Inf"), engine.CodeInternal},
		{"no JSON", says("null"), engine.CodeInternal},
		{"columns that are too many", says(strings.Replace(oneRow, `"i7"`, `"i7","i8"`, 1)), engine.CodeInternal},
		{"no type", says(strings.Replace(oneRow, `i7`, `?7`, 1)), engine.CodeInternal},
		{"no integer", says(strings.Replace(oneRow, `i7`, `i7.5`, 1)), engine.CodeInternal},
		{"no UTF-8", says(strings.Replace(oneRow, `i7`, `t\ufffd`, 1)), engine.CodeInternal},
		{"half a surrogate", says(strings.Replace(oneRow, `i7`, `t\ud800x`, 1)), engine.CodeInternal},
		{"guard", says(strings.Replace(oneRow, `same`, `other`, 1)), engine.CodeUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad, good := newFake(t, c.answer), newFake(t, says(oneRow))
			cluster := open(t, Options{Nodes: []string{dead(t), bad.URL, good.URL}, Timeout: 3 * time.Second})
			cluster.preferred.Store(1)
			for range 2 {
				rows, err := read(t, cluster, &engine.Query{Policy: vetted, Statement: engine.Statement{SQL: "SELECT a FROM t"}})
				if code(err) != c.want || err == nil && rows[0][0].Int != 7 {
					t.Fatalf("%v, %v (%v)", rows, err, engine.ErrorOf(err).Err)
				}
			}
			if c.want == "" && bad.reads.Load() != 1 {
				t.Errorf("the bad node was asked %d times: who answers is to be asked first", bad.reads.Load())
			}
		})
	}
}

// TestLeaderIsRemembered: a node that asks the leader for us is left for one that does not.
func TestLeaderIsRemembered(t *testing.T) {
	follower := newFake(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(servedBy, "10.0.0.1:4002")
		fmt.Fprint(w, inserted)
	})
	leader := newFake(t, says(inserted))
	c := open(t, Options{Nodes: []string{follower.URL, follower.URL, leader.URL}})
	for range 10 {
		mustWrite(t, c, vetted, "INSERT INTO t VALUES(1)")
	}
	if follower.writes.Load() > 2 || leader.writes.Load() < 8 {
		t.Errorf("%d at followers, %d at the leader", follower.writes.Load(), leader.writes.Load())
	}
}

// TestDeadNodes: what was certainly not sent is tried at every node, also a write.
func TestDeadNodes(t *testing.T) {
	good := newFake(t, says(inserted))
	c := open(t, Options{Nodes: []string{dead(t), dead(t), good.URL}})
	mustWrite(t, c, vetted, "INSERT INTO t VALUES(1)")
	none := open(t, Options{Nodes: []string{dead(t), dead(t)}, Timeout: 200 * time.Millisecond})
	if _, err := write(t, none, vetted, "INSERT INTO t VALUES(1)"); code(err) != engine.CodeUnavailable || engine.ErrorOf(err).RetryAfter == 0 {
		t.Error(err)
	}
}

// TestRowsBreakOff: after the first row there is no second try; the error comes from the rows.
func TestRowsBreakOff(t *testing.T) {
	const begin = `{"results":[{"columns":["x"],"values":[["same"]]},{"columns":["a"],"values":[["i1"],["i2"]`
	for _, c := range []struct {
		name, rest string
		want       engine.Code
	}{
		{"end", `]}]}`, ""},
		{"broken off", ``, engine.CodeUnavailable},
		{"no JSON", `;`, engine.CodeInternal},
		{"error of the statement", `],"error":"interrupted"}]}`, engine.CodeTimeout},
		{"error of the cluster", `]}],"error":"leader not found"}`, engine.CodeUnavailable},
		{"three rows", `,["i3"]]}]}`, engine.CodeTooManyRows},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := open(t, Options{Nodes: []string{newFake(t, says(begin+c.rest)).URL}})
			q := &engine.Query{Policy: vetted, Statement: engine.Statement{SQL: "SELECT a FROM t"}, Limits: engine.Limits{MaxRows: 2}}
			rows, err := read(t, cluster, q)
			if code(err) != c.want || len(rows) != 2 {
				t.Errorf("%v, %v", rows, err)
			}
		})
	}
}

// TestHugeRows: rows are read as they come, and no more of them than the limits allow.
func TestHugeRows(t *testing.T) {
	var sent atomic.Int64
	row := `,["t` + strings.Repeat("x", 1<<20) + `"]`
	node := newFake(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"results":[{"columns":["x"],"values":[["same"]]},{"columns":["a"],"values":[["i1"]`)
		for r.Context().Err() == nil {
			n, err := io.WriteString(w, row)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	c := open(t, Options{Nodes: []string{node.URL}})
	q := &engine.Query{Policy: vetted, Statement: engine.Statement{SQL: "SELECT a FROM t"}, Limits: engine.Limits{MaxBytes: 3<<20 + 100}}
	if rows, err := read(t, c, q); code(err) != engine.CodeTooManyBytes || len(rows) != 4 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	q.Limits = engine.Limits{MaxBytes: 1000}
	if _, err := read(t, c, q); code(err) != engine.CodeTooManyBytes {
		t.Error(err)
	}
	q.Limits = engine.Limits{Timeout: 100 * time.Millisecond}
	if _, err := read(t, c, q); code(err) != engine.CodeTimeout {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := c.Query(ctx, &engine.Query{Policy: vetted, Statement: q.Statement})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for r.Next() {
		continue
	}
	if code(r.Err()) != engine.CodeCancelled {
		t.Error(r.Err())
	}
	r.Close()
	c.Close()
	if _, err := c.Query(t.Context(), q); code(err) != engine.CodeUnavailable {
		t.Error(err)
	}
}

// TestContextEndsCall: a client that goes ends what waits for a node.
func TestContextEndsCall(t *testing.T) {
	asked := make(chan struct{}, 10)
	node := newFake(t, func(_ int64, _ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	c := open(t, Options{Nodes: []string{node.URL}})
	for _, w := range []struct {
		want engine.Code
		do   func(context.Context) error
	}{
		{engine.CodeCancelled, func(ctx context.Context) error {
			_, err := c.Query(ctx, &engine.Query{Policy: vetted, Statement: engine.Statement{SQL: "SELECT a FROM t"}})
			return err
		}},
		{engine.CodeUnknown, func(ctx context.Context) error {
			_, err := c.Execute(ctx, batch(vetted, true, "INSERT INTO t VALUES(1)"))
			return err
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asked
			cancel()
		}()
		if err := w.do(ctx); code(err) != w.want {
			t.Error(err)
		}
		cancel()
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{}, {Nodes: []string{"localhost:4001"}}, {Nodes: []string{"ftp://a"}}, {Nodes: []string{"http://u:secret@a/path"}},
		{Nodes: []string{"http://u:secret@\x00"}}, {Nodes: []string{"http://a"}, Level: "some"},
	} {
		if _, err := Open(o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	node := newFake(t, nil)
	node.answer = func(_ int64, w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, inserted)
	}
	for _, o := range []Options{
		{Nodes: []string{strings.Replace(node.URL, "http://", "http://u:secret@", 1)}}, {Nodes: []string{node.URL}, User: "u", Password: "secret"},
	} {
		mustWrite(t, open(t, o), vetted, "INSERT INTO t VALUES(1)")
	}
	_, err := write(t, open(t, Options{Nodes: []string{dead(t)}, User: "u", Password: "secret", Timeout: time.Millisecond}), vetted, "SELECT 1")
	if text := fmt.Sprint(err, errors.Unwrap(err)); err == nil || strings.Contains(text, "secret") {
		t.Error(text)
	}
}
