package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t (name) SELECT 'endless ' || i FROM n"

func limited(b *engine.Batch, l engine.Limits) *engine.Batch {
	b.Limits = l
	return b
}

// TestWriterGuiltyAndInnocent: batches share a transaction, and one of them does what undoes all of it, or its own part. Each gets what is its own.
func TestWriterGuiltyAndInnocent(t *testing.T) {
	tests := []struct {
		name   string
		guilty *engine.Batch
		codes  string
		left   string // names in t that the guilty one has left
	}{
		{"unique", batchOf("INSERT INTO t (name) VALUES ('x'), ('first')"), "constraint_unique/", ""},
		{"or rollback", batchOf("INSERT OR ROLLBACK INTO t (name) VALUES ('first')"), "constraint_unique/", ""},
		{"or fail", batchOf("INSERT OR FAIL INTO t (name) VALUES ('x'), ('first')"), "constraint_unique/", ""},
		{"raise rollback", batchOf("INSERT INTO watched (what) VALUES ('rollback')"), "constraint_trigger/", ""},
		{"raise fail", batchOf("INSERT INTO watched (what) VALUES ('fail')"), "constraint_trigger/", ""},
		{"syntax", batchOf("INSERT INTO nowhere VALUES (1)"), "sql_error/", ""},
		{"two statements", batchOf("INSERT INTO t (name) VALUES ('x'); DELETE FROM t"), "sql_error/", ""},
		{"timeout", limited(batchOf(endless), engine.Limits{Timeout: 20 * time.Millisecond}), "timeout/", ""},
		{"timeout of reading", limited(batchOf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"),
			engine.Limits{Timeout: 20 * time.Millisecond}), "timeout/", ""},
		{"timeout of the rest", limited(batchOf("INSERT INTO t (name) VALUES ('x')", endless, "INSERT INTO t (name) VALUES ('y')"),
			engine.Limits{Timeout: 20 * time.Millisecond}), "ok timeout timeout/", "x"},
		{"rows", limited(batchOf("INSERT INTO t (name) VALUES ('x'), ('y'), ('z') RETURNING id"), engine.Limits{MaxRows: 2}), "too_many_rows/", ""},
		{"bytes", limited(batchOf("INSERT INTO t (name) VALUES ('xxxxxxxx') RETURNING name"), engine.Limits{MaxBytes: 7}), "too_many_bytes/", ""},
		{"rows together", limited(batchOf("INSERT INTO t (name) VALUES ('x'), ('y') RETURNING id", "INSERT INTO t (name) VALUES ('v'), ('w') RETURNING id",
			"SELECT 1", "SELECT 1", "INSERT INTO t (name) VALUES ('z')"), engine.Limits{MaxRows: 3}), "ok too_many_rows ok too_many_rows ok/", "x y z"},
		{"bytes together", limited(batchOf("INSERT INTO t (name) VALUES ('xxxx') RETURNING name", "INSERT INTO t (name) VALUES ('yyyy') RETURNING name",
			"SELECT '123'", "INSERT INTO t (name) VALUES ('z')"), engine.Limits{MaxBytes: 7}), "ok too_many_bytes ok ok/", "xxxx z"},
		{"bytes together, atomic", limited(atomicOf("INSERT INTO t (name) VALUES ('xxxx') RETURNING name",
			"INSERT INTO t (name) VALUES ('yyyy') RETURNING name"), engine.Limits{MaxBytes: 7}), "ok too_many_bytes/too_many_bytes", ""},
		{"deferred", batchOf("INSERT INTO child (parent) VALUES (77)"), "constraint_foreign_key/", ""},
		{"deferred, atomic", atomicOf("INSERT INTO t (name) VALUES ('x')", "INSERT INTO child (parent) VALUES (77)"),
			"ok constraint_foreign_key/constraint_foreign_key", ""},
		{"deferred and met", atomicOf("INSERT INTO child (parent) VALUES (5)", "INSERT INTO parent VALUES (5)"), "ok ok/", ""},
		{"each for itself", batchOf("INSERT INTO t (name) VALUES ('x')", "INSERT INTO t (name) VALUES ('first')", "INSERT INTO t (name) VALUES ('y')"),
			"ok constraint_unique ok/", "x y"},
		{"each, and rollback", batchOf("INSERT INTO t (name) VALUES ('x')", "INSERT OR ROLLBACK INTO t (name) VALUES ('first')",
			"INSERT INTO t (name) VALUES ('y')", "INSERT INTO watched (what) VALUES ('rollback')"), "ok constraint_unique ok constraint_trigger/", "x y"},
		{"atomic", atomicOf("INSERT INTO t (name) VALUES ('x')", "INSERT INTO t (name) VALUES ('first')", "INSERT INTO t (name) VALUES ('y')"),
			"ok constraint_unique/constraint_unique", ""},
		{"atomic, and rollback", atomicOf("INSERT INTO t (name) VALUES ('x')", "INSERT OR ROLLBACK INTO t (name) VALUES ('first')"),
			"ok constraint_unique/constraint_unique", ""},
		{"rollback without end", batchOf(slices.Repeat([]string{"INSERT OR ROLLBACK INTO t (name) VALUES ('first')"}, 3*lossesMost)...),
			"/constraint_unique", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t, Options{})
			answers := d.together(t.Context(),
				batchOf("INSERT INTO t (name) VALUES ('first')"),
				atomicOf("INSERT INTO t (name) VALUES ('second')", "SELECT count(*) FROM t WHERE name IN ('first', 'second')"),
				test.guilty,
				batchOf("INSERT INTO t (name) VALUES ('third')", "INSERT INTO t (name) VALUES ('third')"),
				batchOf("INSERT INTO t (name) VALUES ('fourth') RETURNING name"))
			for i, want := range []string{"ok/", "ok ok/", test.codes, "ok constraint_unique/", "ok/"} {
				if got := answers[i].codes(); got != want {
					t.Errorf("batch %d: %s, want %s", i, got, want)
				}
			}
			if o := answers[1].outcomes; len(o) != 2 || len(o[1].Rows) != 1 || o[1].Rows[0][0].Int != 2 {
				t.Errorf("a batch saw %v, want its own and earlier writes once", o)
			}
			want := append(strings.Fields(test.left), "first", "second", "third", "fourth")
			slices.Sort(want)
			d.wantRows("SELECT name FROM t ORDER BY name", want...)
			d.wantRows("PRAGMA integrity_check", "ok")
		})
	}
}

// TestWriterManyGuilty: innocents between many that destroy the transaction are neither lost nor done twice.
func TestWriterManyGuilty(t *testing.T) {
	d := newDesk(t, Options{})
	batches := []*engine.Batch{batchOf("INSERT INTO t (name) VALUES ('first')")}
	for i := range 20 {
		batches = append(batches, batchOf(fmt.Sprintf("INSERT INTO parent VALUES (%d)", i)), batchOf("INSERT OR ROLLBACK INTO t (name) VALUES ('first')"))
	}
	for i, a := range d.together(t.Context(), batches...) {
		want := "ok/"
		if i > 0 && i%2 == 0 {
			want = "constraint_unique/"
		}
		if got := a.codes(); got != want {
			t.Errorf("batch %d: %s, want %s", i, got, want)
		}
	}
	d.wantRows("SELECT count(*) FROM parent", "20")
}

// TestWriterCancelledInTheMiddle: what has begun is undone as a whole, with the statements before.
func TestWriterCancelledInTheMiddle(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		d := newDesk(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		d.tap.start = func(sql string) {
			if sql == endless {
				cancel()
			}
		}
		d.hold()
		var all sync.WaitGroup
		var gone, stays answer
		b := batchOf("INSERT INTO t (name) VALUES ('x')", endless, "INSERT INTO t (name) VALUES ('y')")
		b.Atomic = atomic
		all.Go(func() { gone.outcomes, gone.err = d.execute(ctx, b) })
		d.awaitQueue(1)
		all.Go(func() {
			stays.outcomes, stays.err = d.execute(t.Context(), batchOf("INSERT INTO t (name) VALUES ('stays')"))
		})
		d.awaitQueue(2)
		d.release()
		all.Wait()
		if gone.codes() != "/cancelled" || stays.codes() != "ok/" {
			t.Errorf("atomic %v: %s and %s, want /cancelled and ok/", atomic, gone.codes(), stays.codes())
		}
		d.wantRows("SELECT name FROM t", "stays")
	}
}

// TestWriterCommitFails: what COMMIT says, and what comes of it.
func TestWriterCommitFails(t *testing.T) {
	tests := []struct {
		name  string
		code  engine.Code
		times int // that COMMIT fails
		codes []string
		left  string
	}{
		{"busy", engine.CodeBusy, 3, []string{"ok/", "ok/", "ok/"}, "3"},
		{"full for all together", engine.CodeFull, 1, []string{"ok/", "ok/", "ok/"}, "3"},
		{"full for the first too", engine.CodeFull, 2, []string{"/disk_full", "ok/", "ok/"}, "2"},
		{"a constraint of the second", engine.CodeConstraintForeignKey, 1, []string{"ok/", "ok/", "ok/"}, "3"},
		{"the disk", engine.CodeInternal, 1, []string{"/internal", "/internal", "/internal"}, "0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var logged []string
			d := newDesk(t, Options{Log: func(message string, err error) { logged = append(logged, message) }})
			times := test.times
			d.tap.exec = func(sql string) error {
				if sql == "COMMIT" && times > 0 {
					times--
					return engine.Errorf(test.code, "no")
				}
				return nil
			}
			insert := batchOf("INSERT INTO t (name) VALUES (NULL)")
			for i, a := range d.together(t.Context(), insert, insert, insert) {
				if got := a.codes(); got != test.codes[i] {
					t.Errorf("batch %d: %s, want %s", i, got, test.codes[i])
				}
			}
			d.wantRows("SELECT count(*) FROM t", test.left)
			if _, err := d.execute(t.Context(), insert); err != nil {
				t.Errorf("the next: %v", err)
			}
			if want := test.code != engine.CodeBusy; len(logged) > 1 || (len(logged) == 1) != want {
				t.Errorf("logged %q", logged)
			}
		})
	}
}

// TestWriterCannotBegin: all that wait are told, and the next try has a new connection.
func TestWriterCannotBegin(t *testing.T) {
	for _, failure := range []error{engine.Errorf(engine.CodeUnavailable, "no file"), errMoved} {
		d := newDesk(t, Options{})
		open, fails := d.open, true
		d.open = func() (connection, error) {
			if fails {
				fails = false
				return nil, failure
			}
			return open()
		}
		insert := batchOf("INSERT INTO t (name) VALUES (NULL)")
		for _, a := range d.together(t.Context(), insert, insert) {
			// Of a file that has moved who asked may ask the next writer.
			if got := a.codes(); got != "/unavailable" || errors.Is(a.err, errWriterClosed) != errors.Is(failure, errMoved) {
				t.Errorf("%v: %v", failure, a.err)
			}
		}
		if _, err := d.execute(t.Context(), insert); err != nil {
			t.Error(err)
		}
		d.wantRows("SELECT count(*) FROM t", "1")
	}
}

// TestWriterUnderRandomLoad: whatever comes together, each asker's answer is the truth about its rows.
func TestWriterUnderRandomLoad(t *testing.T) {
	d := newDesk(t, Options{})
	if _, err := d.execute(t.Context(), batchOf("INSERT INTO t (name) VALUES ('taken')")); err != nil {
		t.Fatal(err)
	}
	const askers, rounds = 16, 40
	var all sync.WaitGroup
	want := make([][]string, askers)
	for asker := range askers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(asker), 1))
			for round := range rounds {
				name := fmt.Sprintf("%02d/%02d", asker, round)
				insert := fmt.Sprintf("INSERT INTO t (name) VALUES ('%s')", name)
				spoil := []string{"INSERT INTO t (name) VALUES ('taken')", "INSERT OR ROLLBACK INTO t (name) VALUES ('taken')",
					"INSERT INTO child (parent) VALUES (-1)", "INSERT INTO watched (what) VALUES ('fail')"}[random.IntN(4)]
				var b *engine.Batch
				wantCodes, done := "ok/", true
				switch random.IntN(4) {
				case 0:
					b, wantCodes = batchOf(insert, spoil), "ok constraint"
				case 1:
					b, wantCodes, done = atomicOf(insert, spoil), "ok constraint", false
				default:
					b = batchOf(insert)
				}
				a := answer{}
				a.outcomes, a.err = d.execute(t.Context(), b)
				if !strings.HasPrefix(a.codes(), wantCodes) {
					t.Errorf("%v: %s, want %s", b.Statements, a.codes(), wantCodes)
				}
				if done {
					want[asker] = append(want[asker], name)
				}
			}
		})
	}
	all.Wait()
	d.wantRows("SELECT name FROM t WHERE name <> 'taken' ORDER BY name", slices.Concat(want...)...)
	d.wantRows("SELECT count(*) FROM child", "0")
	d.wantRows("PRAGMA integrity_check", "ok")
}
