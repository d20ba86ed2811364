package local

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// A snapshot is used again while nothing is written, and never after a write of anybody.
func TestSnapshotIsUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
	f := openTest(t, Options{Path: path, Readers: 1})
	count := func() int64 { return mustOne(t, f, "SELECT count(*) FROM t") }
	o := f.opened.Load()
	idle := func() *reader {
		o.readers.mu.Lock()
		defer o.readers.mu.Unlock()
		return o.readers.idle[0]
	}
	count()
	first := idle()
	if !first.begun || first.header == (lite.Header{}) {
		t.Fatal("no snapshot is left to be used again")
	}
	for range 3 {
		since := first.since
		if count() != 1 {
			t.Error("another content")
		}
		if first.since != since && time.Since(epoch)-since < snapshotMost {
			t.Error("a snapshot was begun anew that was young, and of the present content")
		}
	}
	mustExecute(t, f, "INSERT INTO t VALUES (2)")
	if n := count(); n != 2 {
		t.Errorf("%d rows after a write of our own", n)
	}
	outside, err := lite.Open(lite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if err := outside.Exec("INSERT INTO t VALUES (3)"); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 3 {
		t.Errorf("%d rows after a write of another connection", n)
	}
	if _, _, ok, err := one(f, "SELECT wrong"); ok || err == nil {
		t.Error("no error")
	}
	if n := count(); n != 3 {
		t.Errorf("%d rows after an error", n)
	}
}

// A snapshot that lies idle is given up, so that the log can be begun anew, and no timer is left.
func TestIdleSnapshotEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t (x)")
	f := openTest(t, Options{Path: path})
	mustExecute(t, f, "INSERT INTO t VALUES (1)")
	mustOne(t, f, "SELECT count(*) FROM t")
	o := f.opened.Load()
	o.readers.mu.Lock()
	for _, r := range o.readers.idle {
		r.since -= snapshotMost
	}
	o.readers.mu.Unlock()
	o.readers.look()
	o.readers.mu.Lock()
	for _, r := range o.readers.idle {
		if r.begun || r.conn.InTransaction() {
			t.Error("a snapshot is left")
		}
	}
	if o.readers.resting {
		t.Error("a timer is left")
	}
	o.readers.mu.Unlock()
	outside, err := lite.Open(lite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if _, _, busy, err := outside.Checkpoint("TRUNCATE"); err != nil || busy {
		t.Errorf("the log cannot be begun anew: %v", err)
	}
}

// A hookContext calls hook when SQLite is about to make a statement's first step.
type hookContext struct {
	context.Context
	hook func()
}

func (c *hookContext) Done() <-chan struct{} {
	if hook := c.hook; hook != nil {
		c.hook = nil
		hook()
	}
	return c.Context.Done()
}

// A transaction that has read nothing from the file yet has no snapshot: a commit that comes before its first reading is seen by that, and the rows
// must not have the tag of the content before.
func TestTransactionWithoutSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t (x)")
	f := openTest(t, Options{Path: path, Readers: 1})
	mustExecute(t, f, "INSERT INTO t VALUES (1)")
	for range 10 { // a transaction may be too old to be used again
		mustOne(t, f, "SELECT 1")
		before, known := f.Tag()
		if !known {
			t.Fatal("no tag")
		}
		ctx := &hookContext{t.Context(), func() { mustExecute(t, f, "INSERT INTO t VALUES (2)") }}
		rows, err := f.Query(ctx, &engine.Query{Statement: engine.Statement{SQL: "SELECT count(*) FROM t"}, Policy: operator})
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		n := rows.Value(0).Int
		tag, ok := rows.Tag()
		rows.Close()
		if now := mustOne(t, f, "SELECT count(*) FROM t"); ok && tag == before && n == now {
			t.Fatal("the tag of the content before stands for the one after")
		}
	}
}
