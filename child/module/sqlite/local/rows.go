package local

import (
	"sync"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// rows are lite.Rows with a tag. They are used once, while the lite.Rows are the connection's: to close them twice closes nobody else's.
//
// Each row is copied as a whole, so that the rows can be ended while somebody looks at it: a client that has stopped reading keeps neither the
// connection nor the snapshot past the statement's time.
type rows struct {
	file    *opened
	columns []engine.Column
	tag     engine.Tag
	tagged  bool
	row     *lite.Row // the user's; nil: closed by it

	mu   sync.Mutex
	rows *lite.Rows // nil: closed
	conn *reader
	err  error // of rows that are closed
}

func (r *rows) Columns() []engine.Column { return r.columns }

func (r *rows) Next() bool {
	r.mu.Lock()
	if r.rows == nil {
		if r.row != nil {
			r.row.Values = nil
		}
		r.mu.Unlock()
		return false
	}
	ok := r.rows.NextInto(r.row)
	r.mu.Unlock()
	return ok
}

func (r *rows) Value(column int) engine.Value {
	if r.row == nil {
		panic("local: a value of rows that are closed")
	}
	return r.row.Values[column]
}

func (r *rows) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows == nil {
		return r.err
	}
	return r.rows.Err()
}

func (r *rows) Tag() (engine.Tag, bool) { return r.tag, r.tagged }

func (r *rows) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.row
	r.row = nil
	if r.rows == nil {
		return
	}
	if row.Size() <= rowMost {
		r.conn.row = row
	}
	r.endLocked(r.rows.Err())
}

// expire ends rows whose time is over. Whoever makes a step at the moment meets the end by it.
func (r *rows) expire(why *engine.Error) {
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	if r.rows == nil {
		return
	}
	err := r.rows.Err()
	if err == nil {
		err = why
	}
	r.endLocked(err)
}

// endLocked gives the connection back.
func (r *rows) endLocked(err error) {
	r.err = err
	r.rows.Close()
	c := r.conn
	r.rows, r.conn = nil, nil
	c.using.Store(nil)
	var e *engine.Error
	if err != nil {
		e = lite.ErrorOf(err)
	}
	r.file.back(c, e)
	r.file.release()
}
