package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// writable is a policy of the operator's own statements.
var writable = &engine.Policy{Name: "test", Vetted: true}

// A tapped connection calls what is set before it does what it is told. Its functions run in the writer's goroutine.
type tapped struct {
	connection
	exec  func(sql string) error // an error is returned instead of running sql
	start func(sql string)
}

func (c *tapped) Exec(sql string) error {
	if c.exec != nil {
		if err := c.exec(sql); err != nil {
			return err
		}
	}
	return c.connection.Exec(sql)
}

func (c *tapped) Start(ctx context.Context, p *engine.Policy, s *engine.Statement, l engine.Limits) (results, error) {
	if c.start != nil {
		c.start(s.SQL)
	}
	return c.connection.Start(ctx, p, s, l)
}

// A desk is a writer with its file.
type desk struct {
	*writer
	t    testing.TB
	path string
	held *lite.Turnstile
	tap  *tapped
}

const deskSchema = `CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE keyed (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE moves (id INTEGER PRIMARY KEY, parent INTEGER);
CREATE TRIGGER move BEFORE UPDATE ON moves WHEN new.parent IS NULL
  BEGIN UPDATE moves SET parent = last_insert_rowid() WHERE id = new.id; SELECT RAISE(IGNORE); END;
CREATE TABLE watched (id INTEGER PRIMARY KEY, what TEXT);
CREATE TRIGGER watch_rollback BEFORE INSERT ON watched WHEN new.what = 'rollback' BEGIN SELECT RAISE(ROLLBACK, 'rolled back'); END;
CREATE TRIGGER watch_fail BEFORE INSERT ON watched WHEN new.what = 'fail'
  BEGIN INSERT INTO t (name) VALUES ('by fail'); SELECT RAISE(FAIL, 'failed'); END`

// makeFile makes a database of statements that end in ";\n".
func makeFile(t testing.TB, path, schema string) {
	t.Helper()
	c, err := lite.Open(lite.Options{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Split(schema, ";\n") {
		if err := c.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func newDesk(t testing.TB, o Options) *desk {
	t.Helper()
	d := &desk{t: t, path: filepath.Join(t.TempDir(), "desk.db"), tap: &tapped{}}
	makeFile(t, d.path, deskSchema)
	w := fileWriter(d.path, func() (*lite.Conn, error) { return lite.Open(lite.Options{Path: d.path}) }, &o)
	open := w.open
	w.open = func() (connection, error) {
		c, err := open()
		if err != nil {
			return nil, err
		}
		d.tap.connection = c
		return d.tap, nil
	}
	d.writer = newWriter(w)
	t.Cleanup(func() {
		if d.held != nil {
			d.release()
		}
		d.close()
		d.awaitIdle()
	})
	return d
}

// hold keeps the writer out, as another child does.
func (d *desk) hold() {
	d.t.Helper()
	turnstile, err := lite.OpenTurnstile(d.path)
	if err == nil {
		err = turnstile.Lock()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.held = turnstile
}

func (d *desk) release() {
	d.t.Helper()
	if err := errors.Join(d.held.Unlock(), d.held.Close()); err != nil {
		d.t.Fatal(err)
	}
	d.held = nil
}

// awaitIdle waits until the goroutine has ended.
func (d *desk) awaitIdle() {
	for {
		d.queue.mu.Lock()
		served := d.queue.served
		d.queue.mu.Unlock()
		if !served {
			return
		}
		runtime.Gosched()
	}
}

// awaitQueue waits until n batches wait.
func (d *desk) awaitQueue(n int) {
	for d.queue.waits() != n {
		runtime.Gosched()
	}
}

// rows reads with a connection of its own.
func (d *desk) rows(sql string) []string {
	d.t.Helper()
	return readRows(d.t, d.path, sql)
}

func readRows(t testing.TB, path, sql string) []string {
	t.Helper()
	c, err := lite.Open(lite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows, err := c.Start(t.Context(), nil, &engine.Statement{SQL: sql}, engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var line []string
		for i := range rows.Columns() {
			line = append(line, show(rows.Value(i)))
		}
		got = append(got, strings.Join(line, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func (d *desk) wantRows(sql string, want ...string) {
	d.t.Helper()
	if got := d.rows(sql); !reflect.DeepEqual(got, want) {
		d.t.Errorf("%s: %q, want %q", sql, got, want)
	}
}

func show(v engine.Value) string {
	switch v.Kind {
	case engine.Integer:
		return fmt.Sprint(v.Int)
	case engine.Text:
		return string(v.Bytes)
	}
	return v.Kind.String()
}

func batchOf(sql ...string) *engine.Batch {
	b := &engine.Batch{Policy: writable}
	for _, s := range sql {
		b.Statements = append(b.Statements, engine.Statement{SQL: s})
	}
	return b
}

func atomicOf(sql ...string) *engine.Batch {
	b := batchOf(sql...)
	b.Atomic = true
	return b
}

// codeOf is "" for nil.
func codeOf(err error) engine.Code {
	if err == nil {
		return ""
	}
	return engine.ErrorOf(err).Code
}

// An answer is what execute returned.
type answer struct {
	outcomes []engine.Outcome
	err      error
}

// codes are those of the outcomes, and of the whole behind a '/'.
func (a answer) codes() string {
	var s []string
	for _, o := range a.outcomes {
		c := string(codeOf(o.Err))
		if c == "" {
			c = "ok"
		}
		s = append(s, c)
	}
	return strings.Join(s, " ") + "/" + string(codeOf(a.err))
}

// together has batches enter the queue in their order while the writer cannot run, lets it, and waits for all.
func (d *desk) together(ctx context.Context, batches ...*engine.Batch) []answer {
	d.t.Helper()
	d.hold()
	answers := make([]answer, len(batches))
	var all sync.WaitGroup
	for i, b := range batches {
		all.Go(func() { answers[i].outcomes, answers[i].err = d.execute(ctx, b) })
		d.awaitQueue(i + 1)
	}
	d.release()
	all.Wait()
	return answers
}

func TestWriterOutcomes(t *testing.T) {
	d := newDesk(t, Options{})
	args := batchOf("INSERT INTO t (name) VALUES (?)")
	args.Statements[0].Args = []engine.Arg{{Value: engine.TextOf("bound")}}
	tests := []struct {
		batch *engine.Batch
		want  string // rows affected, last id and rows of each statement
	}{
		{args, "1 1"},
		{batchOf("INSERT INTO t (name) VALUES ('a'), ('b') RETURNING id, name"), "2 3 [2|a 3|b]"},
		{batchOf("UPDATE t SET name = name || '!' WHERE id > 1"), "2 0"},
		{batchOf("DELETE FROM t WHERE id = 77"), "0 0"},
		{batchOf("INSERT OR IGNORE INTO t (name) VALUES ('bound')"), "0 0"},
		{batchOf("INSERT INTO t (id, name) VALUES (1, '') ON CONFLICT DO UPDATE SET name = 'c'"), "1 0"},
		{batchOf("SELECT last_insert_rowid()"), "reads [0]"},
		{batchOf("INSERT INTO parent VALUES (9)", "/* same id */ INSERT INTO watched VALUES (9, 'x')", "UPDATE t SET name = name WHERE id = 1",
			"SELECT last_insert_rowid(), (SELECT count(*) FROM parent)", "INSERT INTO child VALUES (4, last_insert_rowid())"),
			"1 9; 1 9; 1 0; reads [9|1]; 1 4"},
		{atomicOf("INSERT INTO parent VALUES (10)", "SELECT id FROM parent"), "1 10; reads [9 10]"},
		{batchOf("INSERT INTO parent VALUES (11)", "INSERT INTO t (id, name) VALUES (1, '') ON CONFLICT DO UPDATE SET name = 'd'",
			"INSERT INTO keyed VALUES ('k')", "INSERT INTO parent VALUES (last_insert_rowid() + 1)", "SELECT last_insert_rowid()"),
			"1 11; 1 0; 1 0; 1 12; reads [12]"},
		// The trigger asks for the statement.
		{atomicOf("INSERT INTO moves VALUES (3, 0)", "INSERT INTO parent VALUES (13)", "UPDATE moves SET parent = NULL", "SELECT parent FROM moves"),
			"1 3; 1 13; 0 0; reads [13]"},
		// A row that is undone is not the last.
		{batchOf("INSERT INTO parent VALUES (14)", "INSERT OR FAIL INTO parent VALUES (15), (14)", "SELECT last_insert_rowid()"),
			"1 14; constraint_primary_key: UNIQUE constraint failed: parent.id; reads [14]"},
		{batchOf(), ""},
	}
	for _, test := range tests {
		outcomes, err := d.execute(t.Context(), test.batch)
		if err != nil {
			t.Errorf("%v: %v", test.batch.Statements, err)
			continue
		}
		var got []string
		for _, o := range outcomes {
			s := fmt.Sprintf("%d %d", o.RowsAffected, o.LastInsertID)
			if o.Reads {
				s = "reads"
			}
			if o.Err != nil {
				s = o.Err.Error()
			}
			var rows []string
			for _, row := range o.Rows {
				var line []string
				for _, v := range row {
					line = append(line, show(v))
				}
				rows = append(rows, strings.Join(line, "|"))
			}
			if rows != nil {
				s += fmt.Sprint(" ", rows)
			}
			if o.Elapsed < 0 || (len(o.Columns) > 0) != (rows != nil) {
				t.Errorf("%v: elapsed %v, columns %v", test.batch.Statements, o.Elapsed, o.Columns)
			}
			got = append(got, s)
		}
		if s := strings.Join(got, "; "); s != test.want {
			t.Errorf("%v: %q, want %q", test.batch.Statements, s, test.want)
		}
	}
}

func TestWriterWantsPolicy(t *testing.T) {
	d := newDesk(t, Options{})
	b := batchOf("COMMIT")
	b.Policy = nil
	if _, err := d.execute(t.Context(), b); codeOf(err) != engine.CodeInternal {
		t.Errorf("without a policy: %v", err)
	}
	for _, sql := range []string{"COMMIT", "ROLLBACK", "RELEASE batch", "ROLLBACK TO batch", "SAVEPOINT batch", "BEGIN"} {
		answers := d.together(t.Context(), batchOf("INSERT INTO parent VALUES (NULL)"), batchOf(sql), batchOf("INSERT INTO parent VALUES (NULL)"))
		for i, want := range []string{"ok/", "denied/", "ok/"} {
			if got := answers[i].codes(); got != want {
				t.Errorf("%s: batch %d: %s, want %s", sql, i, got, want)
			}
		}
	}
	d.wantRows("SELECT count(*) FROM parent", "12")
}

// TestWriterEndsItsGoroutine: an idle writer has none.
func TestWriterEndsItsGoroutine(t *testing.T) {
	d := newDesk(t, Options{})
	for range 3 {
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if _, err := d.execute(t.Context(), batchOf("INSERT INTO t (name) VALUES (NULL)")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		d.awaitIdle()
		for strings.Contains(stacks(), "local.(*writer).work") {
			runtime.Gosched()
		}
	}
	d.wantRows("SELECT count(*) FROM t", "48")
}

func stacks() string {
	buffer := make([]byte, 1<<20)
	return string(buffer[:runtime.Stack(buffer, true)])
}
