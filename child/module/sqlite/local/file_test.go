package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

var operator = &engine.Policy{Name: "operator", Vetted: true}

// makeDatabase makes a database at path.
func makeDatabase(t testing.TB, path string, statements ...string) {
	t.Helper()
	c, err := lite.Open(lite.Options{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range statements {
		if err := c.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func openTest(t testing.TB, o Options) *File {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// one reads the first value of a query, and the tag of what it was read from.
func one(f *File, sql string) (engine.Value, engine.Tag, bool, error) {
	rows, err := f.Query(context.Background(), &engine.Query{Statement: engine.Statement{SQL: sql, Kept: true}, Policy: operator})
	if err != nil {
		return engine.Value{}, engine.Tag{}, false, err
	}
	defer rows.Close()
	var v engine.Value
	if rows.Next() {
		v = rows.Value(0).Clone()
	}
	tag, ok := rows.Tag()
	return v, tag, ok, rows.Err()
}

func mustOne(t testing.TB, f *File, sql string) int64 {
	t.Helper()
	v, _, _, err := one(f, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v.Int
}

func execute(f *File, sql string) error {
	outcomes, err := f.Execute(context.Background(), &engine.Batch{Statements: []engine.Statement{{SQL: sql}}, Policy: operator})
	if err != nil {
		return err
	}
	return outcomes[0].Err
}

func mustExecute(t testing.TB, f *File, sql string) {
	t.Helper()
	if err := execute(f, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (1)")
	f := openTest(t, Options{Path: path})
	if n := mustOne(t, f, "SELECT x FROM t"); n != 1 {
		t.Fatal(n)
	}
	mustExecute(t, f, "UPDATE t SET x = 2")
	if n := mustOne(t, f, "SELECT x FROM t"); n != 2 {
		t.Fatal(n)
	}
	_, err := f.Query(t.Context(), &engine.Query{Statement: engine.Statement{SQL: "DELETE FROM t"}, Policy: operator})
	if lite.ErrorOf(err).Code != engine.CodeNotReadOnly {
		t.Error(err)
	}
	if _, err := f.Query(t.Context(), &engine.Query{Statement: engine.Statement{SQL: "SELECT 1"}}); err == nil {
		t.Error("a query without a policy has run")
	}
	if info, err := f.Inspect(t.Context(), operator, "DELETE FROM t"); err != nil || info.ReadOnly {
		t.Error(info, err)
	}
	f.Close()
	f.Close()
	if _, _, _, err := one(f, "SELECT 1"); lite.ErrorOf(err).Code != engine.CodeUnavailable {
		t.Error(err)
	}
	if _, ok := f.Tag(); ok {
		t.Error("a tag of a file that is closed")
	}
	if _, err := os.Stat(path + "-shm"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the WAL index is left:", err)
	}
}

func TestOpenFailures(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	held := map[[2]uint64]int{}
	claim := func(dev, ino uint64) func() {
		held[[2]uint64{dev, ino}]++
		return func() { held[[2]uint64{dev, ino}]-- }
	}
	for path, code := range map[string]engine.Code{filepath.Join(dir, "missing"): engine.CodeUnavailable, dir: engine.CodeUnavailable,
		garbage: engine.CodeCorrupt} {
		_, err := Open(Options{Path: path, Claim: claim})
		if e := lite.ErrorOf(err); err == nil || e.Code != code {
			t.Errorf("%s: %v", path, err)
		}
	}
	for key, n := range held {
		if n != 0 {
			t.Errorf("%v is claimed %d times", key, n)
		}
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if len(registry.files) != 0 {
		t.Error("failures are in the registry:", len(registry.files))
	}
}

func TestClaims(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)")
	var mu sync.Mutex
	held := map[identity]int{}
	claim := func(dev, ino uint64) func() {
		mu.Lock()
		defer mu.Unlock()
		held[identity{dev, ino}]++
		return func() {
			mu.Lock()
			defer mu.Unlock()
			held[identity{dev, ino}]--
		}
	}
	f := openTest(t, Options{Path: path, Claim: claim})
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		id, err := identityOf(name)
		if err != nil || held[id] != 1 {
			t.Errorf("%s is claimed %d times: %v", name, held[id], err)
		}
	}
	f.Close()
	for id, n := range held {
		if n != 0 {
			t.Errorf("%v is claimed %d times", id, n)
		}
	}
}

// Several Files of one process share one opened file; a second name of it is refused.
func TestSharing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (1)")
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	first, second := openTest(t, Options{Path: path}), openTest(t, Options{Path: link})
	if first.opened.Load() != second.opened.Load() {
		t.Error("one file was opened twice")
	}
	if err := os.Link(path, filepath.Join(dir, "hard.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: filepath.Join(dir, "hard.db")}); err == nil {
		t.Error("the same file was opened under another name, with another log")
	}
	first.Close()
	mustExecute(t, second, "INSERT INTO t VALUES (2)")
	if n := mustOne(t, second, "SELECT count(*) FROM t"); n != 2 {
		t.Error(n)
	}
	second.Close()
	for range 20 { // opened while it is being closed
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				f, err := Open(Options{Path: path})
				if err != nil {
					t.Error(err)
					return
				}
				if v, _, _, err := one(f, "SELECT count(*) FROM t"); err != nil || v.Int != 2 {
					t.Error(v, err)
				}
				f.Close()
			})
		}
		group.Wait()
	}
}

// Rows that are open outlive the File.
func TestRowsOutliveTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (1), (2), (3)")
	f := openTest(t, Options{Path: path})
	rows, err := f.Query(t.Context(), &engine.Query{Statement: engine.Statement{SQL: "SELECT x FROM t"}, Policy: operator})
	if err != nil {
		t.Fatal(err)
	}
	o := f.opened.Load()
	f.Close()
	n := 0
	for rows.Next() {
		n++
	}
	if n != 3 || rows.Err() != nil {
		t.Error(n, rows.Err())
	}
	rows.Close()
	rows.Close()
	<-o.gone
}

func TestReadersAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (1), (2)")
	f := openTest(t, Options{Path: path, Readers: 2})
	query := func(ctx context.Context, timeout time.Duration) (engine.Rows, error) {
		return f.Query(ctx, &engine.Query{Statement: engine.Statement{SQL: "SELECT x FROM t"}, Policy: operator, Limits: engine.Limits{Timeout: timeout}})
	}
	var open []engine.Rows
	for range 2 {
		rows, err := query(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, rows)
	}
	if _, err := query(t.Context(), time.Millisecond); lite.ErrorOf(err).Code != engine.CodeBusy || lite.ErrorOf(err).RetryAfter == 0 {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := query(ctx, time.Minute); lite.ErrorOf(err).Code != engine.CodeCancelled {
		t.Error(err)
	}
	got := make(chan error)
	go func() {
		rows, err := query(context.Background(), time.Minute)
		if err == nil {
			rows.Close()
		}
		got <- err
	}()
	o := f.opened.Load()
	for waiting := 0; waiting == 0; {
		o.readers.mu.Lock()
		waiting = len(o.readers.waiting)
		o.readers.mu.Unlock()
	}
	open[0].Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	open[1].Close()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, _, _, err := one(f, "SELECT count(*) FROM t"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if o.readers.open > 2 || len(o.readers.idle) != o.readers.open {
		t.Error(o.readers.open, len(o.readers.idle))
	}
}

// look makes f look at its path now.
func look(f *File) { f.next.Store(0) }

func TestReplacedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (1), (1), (1)")
	f, other := openTest(t, Options{Path: path}), openTest(t, Options{Path: path})
	mustExecute(t, f, "INSERT INTO t VALUES (1)") // is in the old log only
	_, oldTag, _, err := one(f, "SELECT count(*) FROM t")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := f.Query(t.Context(), &engine.Query{Statement: engine.Statement{SQL: "SELECT x FROM t"}, Policy: operator})
	if err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, path+".new", "CREATE TABLE t(x)", "INSERT INTO t VALUES (7)")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	look(f)
	if _, ok := f.Tag(); ok {
		t.Error("a tag of a file that has been replaced")
	}
	if n := mustOne(t, f, "SELECT sum(x) FROM t"); n != 7 {
		t.Error("the new file says", n)
	}
	if tag, ok := f.Tag(); !ok || tag == oldTag {
		t.Error("the tag of the old file:", tag, ok)
	}
	mustExecute(t, f, "INSERT INTO t VALUES (8)")
	// Who has not looked yet writes into the new file too: the writer of the old one has ended.
	mustExecute(t, other, "INSERT INTO t VALUES (9)")
	if n := mustOne(t, other, "SELECT sum(x) FROM t"); n != 24 {
		t.Error(n)
	}
	n := 0
	for rows.Next() {
		n++
	}
	if n != 4 || rows.Err() != nil {
		t.Error("old rows:", n, rows.Err())
	}
	old := openedOf(rows)
	rows.Close()
	<-old.gone
	v, _, _, err := one(f, "SELECT group_concat(x) FROM t")
	if err != nil || string(v.Bytes) != "7,8,9" {
		t.Error(string(v.Bytes), err)
	}
	f.Close()
	other.Close()
	c, err := lite.Open(lite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("PRAGMA integrity_check"); err != nil {
		t.Error(err)
	}
}

func TestRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)")
	f := openTest(t, Options{Path: path})
	mustExecute(t, f, "INSERT INTO t VALUES (1)")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(f)
	for range 2 {
		if _, _, _, err := one(f, "SELECT x FROM t"); lite.ErrorOf(err).Code != engine.CodeUnavailable {
			t.Error(err)
		}
		if err := execute(f, "INSERT INTO t VALUES (2)"); lite.ErrorOf(err).Code != engine.CodeUnavailable {
			t.Error(err)
		}
	}
	makeDatabase(t, path+".new", "CREATE TABLE t(x)", "INSERT INTO t VALUES (5)")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	look(f)
	if n := mustOne(t, f, "SELECT sum(x) FROM t"); n != 5 {
		t.Error(n)
	}
}

// A tag is of one content, whoever writes.
func TestTags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (0)")
	seen := map[engine.Tag]int64{}
	note := func(f *File) {
		t.Helper()
		v, tag, ok, err := one(f, "SELECT x FROM t")
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return
		}
		if before, found := seen[tag]; found && before != v.Int {
			t.Fatalf("one tag stands for %d and %d", before, v.Int)
		}
		seen[tag] = v.Int
		if now, ok := f.Tag(); !ok || now != tag {
			t.Error("the tag of the rows is not that of the file, though nobody has written")
		}
	}
	for round := range int64(5) { // the log begins anew in each round
		f := openTest(t, Options{Path: path})
		note(f)
		note(f)
		for i := range int64(10) {
			mustExecute(t, f, fmt.Sprintf("UPDATE t SET x = %d", round*100+i+1))
			note(f)
		}
		f.Close()
	}
	if len(seen) < 50 {
		t.Error("only", len(seen), "tags for 51 contents")
	}
	f := openTest(t, Options{Path: path})
	n := testing.AllocsPerRun(100, func() { _, _ = f.Tag() }) // its value was looked at above
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// While others write, rows that have a tag are of the content that the tag stands for.
func TestTagsWhileOthersWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (0)")
	f := openTest(t, Options{Path: path})
	var mu sync.Mutex
	seen := map[engine.Tag]int64{}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, tag, ok, err := one(f, "SELECT x FROM t")
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					continue
				}
				mu.Lock()
				before, found := seen[tag]
				seen[tag] = v.Int
				mu.Unlock()
				if found && before != v.Int {
					t.Errorf("one tag stands for %d and %d", before, v.Int)
				}
			}
		})
	}
	for i := range 300 {
		if err := execute(f, fmt.Sprintf("UPDATE t SET x = %d", i+1)); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	group.Wait()
	if len(seen) < 2 {
		t.Error("only", len(seen), "tags")
	}
}

func BenchmarkTag(b *testing.B) {
	path := filepath.Join(b.TempDir(), "a.db")
	makeDatabase(b, path, "CREATE TABLE t(x)")
	f := openTest(b, Options{Path: path})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := f.Tag(); !ok {
			b.Fatal("no tag")
		}
	}
}

func BenchmarkQuery(b *testing.B) {
	path := filepath.Join(b.TempDir(), "a.db")
	makeDatabase(b, path, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES (1, 'one')")
	f := openTest(b, Options{Path: path})
	q := &engine.Query{Statement: engine.Statement{SQL: "SELECT b FROM t WHERE a = 1", Kept: true}, Policy: operator}
	b.ReportAllocs()
	for b.Loop() {
		rows, err := f.Query(b.Context(), q)
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
			_ = rows.Value(0)
		}
		rows.Close()
	}
}

func openedOf(r engine.Rows) *opened { return r.(*rows).file }
