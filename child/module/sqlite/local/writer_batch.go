package local

import (
	"strings"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// lossesMost is how many of its statements may destroy a transaction before a batch as a whole is given up: each costs all others a run.
const lossesMost = 8

// A run is one try to run a batch.
type run struct {
	*entry
	conn  connection
	until time.Time // for the statements together; zero: no end
}

// run runs e in the open transaction. false: the transaction has to be undone, through a fault of e; e has its answer, or may run again without the
// statements that did it.
//
// Each statement of a batch that is not atomic stands in a savepoint, and so does an atomic batch as a whole: SQLite undoes by itself what a
// statement has done that fails, but not after OR FAIL, RAISE(FAIL), or a limit that its rows pass.
func (w *writer) run(e *entry) bool {
	e.outcomes = e.outcomes[:0]
	r := run{entry: e, conn: w.conn}
	if t := e.batch.Limits.Timeout; t > 0 {
		r.until = time.Now().Add(t)
	}
	// last_insert_rowid() shows nobody another's row.
	w.conn.SetLastInsertID(0)
	if e.batch.Atomic {
		return r.atomic()
	}
	return r.each()
}

// atomic runs all statements or none.
func (r *run) atomic() bool {
	if err := r.conn.Exec("SAVEPOINT batch"); err != nil {
		return r.lose(0, lite.ErrorOf(err))
	}
	for i := range r.batch.Statements {
		outcome, err := r.statement(&r.batch.Statements[i])
		if err == nil && i == len(r.batch.Statements)-1 {
			err = r.deferred()
		}
		if err == nil {
			r.outcomes = append(r.outcomes, outcome)
			continue
		}
		r.outcomes = append(r.outcomes, engine.Outcome{Err: err, Elapsed: outcome.Elapsed})
		r.err, r.settled = err, true
		if err.Code == engine.CodeCancelled {
			r.outcomes = nil
		}
		return r.conn.InTransaction() && r.undo()
	}
	if err := r.conn.Exec("RELEASE batch"); err != nil {
		return r.lose(0, lite.ErrorOf(err))
	}
	return true
}

// each runs statement by statement.
func (r *run) each() bool {
	for i := range r.batch.Statements {
		if r.failed != nil && r.failed[i] != nil {
			r.outcomes = append(r.outcomes, engine.Outcome{Err: r.failed[i]})
			continue
		}
		if err := r.conn.Exec("SAVEPOINT batch"); err != nil {
			return r.lose(i, lite.ErrorOf(err))
		}
		outcome, err := r.statement(&r.batch.Statements[i])
		if err == nil {
			err = r.deferred()
		}
		switch {
		case err == nil:
			if e := r.conn.Exec("RELEASE batch"); e != nil {
				return r.lose(i, lite.ErrorOf(e))
			}
		case err.Code == engine.CodeCancelled:
			r.settle(err)
			// What the statements before it have done has to go too.
			return i == 0 && r.conn.InTransaction() && r.undo()
		case !r.conn.InTransaction() || !r.undo():
			return r.lose(i, err)
		default:
			outcome = engine.Outcome{Err: err, Elapsed: outcome.Elapsed}
		}
		r.outcomes = append(r.outcomes, outcome)
	}
	return true
}

// undo goes back to the savepoint. false: that was not possible, and the transaction has to go.
func (r *run) undo() bool {
	return r.conn.Exec("ROLLBACK TO batch") == nil && r.conn.Exec("RELEASE batch") == nil
}

// lose notes that the statement numbered i has destroyed the transaction; it returns false. Of a batch that is not atomic the other statements are
// to be run again, but those behind a time that is over.
func (r *run) lose(i int, err *engine.Error) bool {
	n := len(r.batch.Statements)
	r.losses++
	if r.batch.Atomic || n > 1 && r.losses >= lossesMost {
		r.settle(err)
		return false
	}
	if r.failed == nil {
		r.failed = make([]*engine.Error, n)
	}
	r.failed[i] = err
	if err.Code == engine.CodeTimeout {
		for j := i + 1; j < n; j++ {
			if r.failed[j] == nil {
				r.failed[j] = err
			}
		}
	}
	outcomes := make([]engine.Outcome, 0, n)
	for _, e := range r.failed {
		if e == nil {
			return false
		}
		outcomes = append(outcomes, engine.Outcome{Err: e})
	}
	r.outcomes, r.settled = outcomes, true
	return false
}

// settle gives e an error as its answer: nothing of it is done.
func (e *entry) settle(err *engine.Error) {
	e.outcomes, e.err, e.settled = nil, err, true
}

// deferred reports deferred foreign keys that are open where the batch, or the statement that stands for itself, ends: it would not have been
// committed alone. Asked here, SQLite tells whose they are; COMMIT would not, and would fail for all.
func (r *run) deferred() *engine.Error {
	if !r.conn.DeferredViolations() {
		return nil
	}
	return engine.Errorf(engine.CodeConstraintForeignKey, "FOREIGN KEY constraint failed")
}

// statement runs one, and copies what it gives.
func (r *run) statement(s *engine.Statement) (outcome engine.Outcome, err *engine.Error) {
	limits := r.batch.Limits
	started := time.Now()
	if !r.until.IsZero() {
		if limits.Timeout = r.until.Sub(started); limits.Timeout <= 0 {
			return outcome, engine.Errorf(engine.CodeTimeout, "the statements together took longer than they may")
		}
	}
	before := r.conn.LastInsertID()
	rows, e := r.conn.Start(r.ctx, r.batch.Policy, s, limits)
	if e != nil {
		outcome.Elapsed = time.Since(started)
		return outcome, lite.ErrorOf(e)
	}
	outcome.Reads = rows.ReadOnly()
	outcome.Columns = rows.Columns()
	for rows.Next() {
		row := make([]engine.Value, len(outcome.Columns))
		for i := range row {
			row[i] = rows.Value(i).Clone()
		}
		outcome.Rows = append(outcome.Rows, row)
	}
	e = rows.Err()
	rows.Close()
	outcome.Elapsed = time.Since(started)
	if e != nil {
		return outcome, lite.ErrorOf(e)
	}
	if !outcome.Reads {
		outcome.RowsAffected = r.conn.Changes()
		outcome.LastInsertID = r.inserted(s.SQL, before, outcome.RowsAffected)
	}
	return outcome, nil
}

// inserted returns the row that the statement has inserted last; 0: none. SQLite keeps the number of the last insert of the connection, which is
// another's, or an earlier statement's, if this one inserts nothing. It must stand for last_insert_rowid() in the statements behind, so that it
// cannot be set to 0 before each: where it is the same before and after, the statement's kind and whether it changed rows decide.
func (r *run) inserted(sql string, before, affected int64) int64 {
	id := r.conn.LastInsertID()
	if id != before || affected > 0 && mayInsert(sql) {
		return id
	}
	return 0
}

// mayInsert tells by its first word whether a statement may be an INSERT.
func mayInsert(sql string) bool {
	sql = withoutComments(sql)
	for _, word := range [...]string{"INSERT", "REPLACE", "WITH"} {
		if len(sql) > len(word) && strings.EqualFold(sql[:len(word)], word) {
			return true
		}
	}
	return false
}

// withoutComments cuts space and comments from the front of sql (https://www.sqlite.org/lang_comment.html).
func withoutComments(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\n\f\r")
		var end int
		switch {
		case strings.HasPrefix(sql, "--"):
			end = strings.Index(sql, "\n") + 1
		case strings.HasPrefix(sql, "/*"):
			if end = strings.Index(sql, "*/"); end >= 0 {
				end += 2
			}
		default:
			return sql
		}
		if end <= 0 {
			return ""
		}
		sql = sql[end:]
	}
}
