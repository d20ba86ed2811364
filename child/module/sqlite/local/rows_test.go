package local

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

const counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 'row ' || i FROM n"

func start(t *testing.T, f *File, ctx context.Context, sql string, timeout time.Duration) engine.Rows {
	t.Helper()
	rows, err := f.Query(ctx, &engine.Query{Statement: engine.Statement{SQL: sql}, Policy: operator, Limits: engine.Limits{Timeout: timeout}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rows.Close)
	return rows
}

// Rows that nobody pulls give their connections back when their time is over, and show the row that they stand at nevertheless.
func TestRowsThatNobodyPulls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES ('kept'), ('more')")
	f := openTest(t, Options{Path: path, Readers: 3})
	mustExecute(t, f, "INSERT INTO t VALUES ('in the log')")
	ctx, cancel := context.WithCancel(t.Context())
	untouched := start(t, f, t.Context(), counting, 50*time.Millisecond)
	pulled := start(t, f, t.Context(), "SELECT x FROM t ORDER BY rowid", 50*time.Millisecond)
	left := start(t, f, ctx, counting, time.Hour)
	if !pulled.Next() || !left.Next() {
		t.Fatal("no rows")
	}
	text := pulled.Value(0).Bytes
	cancel()
	for range 3 { // each waits until one of those above has gone
		rows := start(t, f, t.Context(), "SELECT count(*) FROM t", time.Minute)
		if !rows.Next() || rows.Value(0).Int != 3 {
			t.Error(rows.Err())
		}
	}
	if string(text) != "kept" || string(pulled.Value(0).Bytes) != "kept" || left.Value(0).Int != 1 {
		t.Errorf("the present row has become %q, %q, %v", text, pulled.Value(0).Bytes, left.Value(0))
	}
	for rows, code := range map[engine.Rows]engine.Code{untouched: engine.CodeTimeout, pulled: engine.CodeTimeout, left: engine.CodeCancelled} {
		for range 2 {
			if rows.Next() {
				t.Error("a row after the end")
			}
		}
		rows.Close()
		if err := rows.Err(); err == nil || lite.ErrorOf(err).Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
}

// Who pulls when the time is over meets the end as well, whoever ends it.
func TestRowsEndWhilePulled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path)
	f := openTest(t, Options{Path: path, Readers: 1})
	for range 10 {
		rows := start(t, f, t.Context(), counting, 5*time.Millisecond)
		for i := int64(1); rows.Next(); i++ {
			if rows.Value(0).Int != i || !strings.HasPrefix(string(rows.Value(1).Bytes), "row ") {
				t.Fatal(rows.Value(0), rows.Value(1))
			}
			if i == 100 {
				look := f.opened.Load().readers.look
				for range 5 {
					go look()
				}
			}
		}
		if err := rows.Err(); lite.ErrorOf(err).Code != engine.CodeTimeout {
			t.Error(err)
		}
		rows.Close()
	}
}

// The time of a query runs from its arrival.
func TestQueryTimeRunsFromItsArrival(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path)
	f := openTest(t, Options{Path: path, Readers: 1})
	o := f.opened.Load()
	query := func(left time.Duration) (*rows, error) {
		q := &engine.Query{Statement: engine.Statement{SQL: counting}, Policy: operator, Limits: engine.Limits{Timeout: time.Hour}}
		o.refs.Add(1)
		rows, err := o.query(t.Context(), q, time.Since(epoch)-time.Hour+left)
		if err != nil {
			o.release()
		}
		return rows, err
	}
	if _, err := query(0); err == nil || lite.ErrorOf(err).Code != engine.CodeBusy || lite.ErrorOf(err).RetryAfter == 0 {
		t.Error("a query that came when its time was over:", err)
	}
	rows, err := query(50 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
	}
	if lite.ErrorOf(rows.Err()).Code != engine.CodeTimeout {
		t.Error(rows.Err())
	}
	rows.Close()
	start(t, f, t.Context(), counting, time.Hour) // has the only connection; Wait bounds the waiting only
	_, err = f.Query(t.Context(), &engine.Query{Statement: engine.Statement{SQL: counting}, Policy: operator, Wait: time.Millisecond})
	if err == nil || lite.ErrorOf(err).Code != engine.CodeBusy {
		t.Error(err)
	}
	for _, test := range []struct{ wait, timeout, want time.Duration }{
		{0, 0, readerWait}, {0, 3, 3}, {2, 0, 2}, {2, 3, 2}, {4, 3, 3},
	} {
		if got := waitOf(&engine.Query{Wait: test.wait, Limits: engine.Limits{Timeout: test.timeout}}); got != test.want {
			t.Errorf("%v: %v", test, got)
		}
	}
}

// Copies of rows are the rows.
func TestRowsAreCopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path)
	f := openTest(t, Options{Path: path, Readers: 1})
	for range 2 { // the memory is used again
		rows := start(t, f, t.Context(), `SELECT 1, -1.5, 'a', x'00ff', NULL, '', x''
			UNION ALL SELECT 9223372036854775807, 1e308, hex(zeroblob(20000)), zeroblob(40000), 2, 'b', 'c'`, 0)
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		want := []engine.Value{engine.IntegerOf(1), engine.RealOf(-1.5), engine.TextOf("a"), engine.BlobOf([]byte{0, 255}), {},
			engine.TextOf(""), engine.BlobOf([]byte{})}
		for i, w := range want {
			if v := rows.Value(i); v.Kind != w.Kind || v.Int != w.Int || v.Real != w.Real || string(v.Bytes) != string(w.Bytes) ||
				(v.Bytes == nil) != (w.Bytes == nil) {
				t.Errorf("column %d: %v, want %v", i, v, w)
			}
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if rows.Value(0).Int != math.MaxInt64 || string(rows.Value(2).Bytes) != strings.Repeat("0", 40000) ||
			string(rows.Value(3).Bytes) != strings.Repeat("\x00", 40000) || string(rows.Value(6).Bytes) != "c" {
			t.Error("a large row is not what it was")
		}
		if rows.Next() || rows.Err() != nil {
			t.Error(rows.Err())
		}
		rows.Close()
	}
}

func TestQueryAllocations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES (1, 'one')")
	f := openTest(t, Options{Path: path})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	q := &engine.Query{Statement: engine.Statement{SQL: "SELECT b FROM t WHERE a = 1", Kept: true}, Policy: operator,
		Limits: engine.Limits{Timeout: time.Minute, MaxRows: 10, MaxBytes: 1000}}
	n := testing.AllocsPerRun(1000, func() {
		rows, err := f.Query(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			_ = rows.Value(0)
		}
		rows.Close()
	})
	if n > 1 { // the rows themselves
		t.Errorf("%v allocations", n)
	}
}

// A snapshot that cannot be ended takes its connection with it, and no other one.
func TestBrokenSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)")
	f := openTest(t, Options{Path: path, Readers: 1})
	r := &f.opened.Load().readers
	for _, ended := range []func(){
		func() {
			r.mu.Lock()
			r.idle[0].since -= snapshotMost
			r.mu.Unlock()
			r.look()
		},
		func() { // by the next query
			r.mu.Lock()
			r.idle[0].since -= snapshotMost
			r.mu.Unlock()
			if _, _, _, err := one(f, "SELECT count(*) FROM t"); err == nil {
				t.Error("no error")
			}
		},
	} {
		mustOne(t, f, "SELECT count(*) FROM t")
		r.mu.Lock()
		if err := r.idle[0].conn.Exec("COMMIT"); err != nil {
			t.Fatal(err)
		}
		r.mu.Unlock()
		ended()
		r.mu.Lock()
		if r.open != 0 || len(r.idle) != 0 || len(r.all) != 0 {
			t.Error("the connection is left:", r.open, len(r.idle), len(r.all))
		}
		r.mu.Unlock()
		mustOne(t, f, "SELECT count(*) FROM t")
	}
}
