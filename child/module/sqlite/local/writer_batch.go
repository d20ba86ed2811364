package local

import (
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

	// What the outcomes hold, and the bytes of the present statement's rows. One that fails is not counted: its rows are dropped.
	rows, bytes, size int64
	last              int64 // what last_insert_rowid() told behind the last statement that was done
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
			r.keep(outcome)
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
			r.keep(outcome)
		case err.Code == engine.CodeCancelled:
			r.settle(err)
			// What the statements before it have done has to go too.
			return i == 0 && r.conn.InTransaction() && r.undo()
		case !r.conn.InTransaction() || !r.undo():
			return r.lose(i, err)
		default:
			r.outcomes = append(r.outcomes, engine.Outcome{Err: err, Elapsed: outcome.Elapsed})
		}
	}
	return true
}

// keep adds what a statement has done.
func (r *run) keep(o engine.Outcome) {
	r.outcomes = append(r.outcomes, o)
	r.rows += int64(len(o.Rows))
	r.bytes += r.size
	if o.LastInsertID != 0 {
		r.last = o.LastInsertID
	}
}

// undo goes back to the savepoint. false: that was not possible, and the transaction has to go.
func (r *run) undo() bool {
	r.conn.SetLastInsertID(r.last) // a row that is not there any more is not the last
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

// statement runs one, and copies what it gives: no more than the limits leave of it behind the statements before.
func (r *run) statement(s *engine.Statement) (outcome engine.Outcome, err *engine.Error) {
	r.size = 0
	limits := engine.Limits{Timeout: r.batch.Limits.Timeout}
	started := time.Now()
	if !r.until.IsZero() {
		if limits.Timeout = r.until.Sub(started); limits.Timeout <= 0 {
			return outcome, engine.Errorf(engine.CodeTimeout, "the statements together took longer than they may")
		}
	}
	rows, e := r.conn.Start(r.ctx, r.batch.Policy, s, limits)
	if e != nil {
		outcome.Elapsed = time.Since(started)
		return outcome, lite.ErrorOf(e)
	}
	outcome.Reads = rows.ReadOnly()
	outcome.Columns = rows.Columns()
	for err == nil && rows.Next() {
		row := make([]engine.Value, len(outcome.Columns))
		for i := range row {
			row[i] = rows.Value(i)
			r.size += sizeOf(row[i])
		}
		if err = r.passed(len(outcome.Rows) + 1); err != nil {
			break
		}
		for i := range row {
			row[i] = row[i].Clone()
		}
		outcome.Rows = append(outcome.Rows, row)
	}
	if e = rows.Err(); e != nil {
		err = lite.ErrorOf(e)
	}
	rows.Close()
	outcome.Elapsed = time.Since(started)
	if err != nil {
		return outcome, err
	}
	if !outcome.Reads {
		outcome.RowsAffected = r.conn.Changes()
		outcome.LastInsertID = r.conn.LastInsertID()
	}
	return outcome, nil
}

// passed says which limit of the batch is passed with the first rows of the present statement.
func (r *run) passed(rows int) *engine.Error {
	l, all := &r.batch.Limits, "the result has"
	if len(r.batch.Statements) > 1 {
		all = "the results of the batch together have"
	}
	switch {
	case l.MaxRows > 0 && r.rows+int64(rows) > l.MaxRows:
		return engine.Errorf(engine.CodeTooManyRows, "%s more than %d rows", all, l.MaxRows)
	case l.MaxBytes > 0 && r.bytes+r.size > l.MaxBytes:
		return engine.Errorf(engine.CodeTooManyBytes, "%s more than %d bytes", all, l.MaxBytes)
	}
	return nil
}

// sizeOf returns a value's bytes as lite.Rows counts them: 8 for a number, 1 for NULL.
func sizeOf(v engine.Value) int64 {
	switch v.Kind {
	case engine.Text, engine.Blob:
		return int64(len(v.Bytes))
	case engine.Null:
		return 1
	}
	return 8
}
