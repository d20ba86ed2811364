package lite

import (
	"fmt"

	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// lookEvery is how many rows pass between two looks at the clock, beside those of the progress handler: a client that is slow makes few
// operations.
const lookEvery = 16

// Rows are the result of a statement, with its first step made. It implements engine.Rows, without a tag.
type Rows struct {
	conn    *Conn
	st      *statement // nil: closed
	policy  *engine.Policy
	limits  engine.Limits
	row     bool // there is a present row, or one that Next has yet to show
	first   bool // the row of the first step has not been shown
	count   int64
	bytes   int64
	err     *engine.Error
	reads   bool
	columns []engine.Column
}

// begin makes the first step.
func (r *Rows) begin(st *statement, p *engine.Policy, l engine.Limits) {
	*r = Rows{conn: r.conn, st: st, policy: p, limits: l, first: true, reads: st.readOnly}
	r.step()
	if r.err == nil {
		st.refresh(r.conn)
		r.columns = st.columns
	}
}

func (r *Rows) step() {
	r.conn.use(r.policy) // the server's own may have run since
	switch rc := lib.Xsqlite3_step(r.conn.tls, r.st.stmt); rc {
	case lib.SQLITE_ROW:
		r.row = true
	case lib.SQLITE_DONE:
		r.row = false
	default:
		r.row = false
		r.err = r.conn.failure(rc)
	}
}

// Columns returns what the rows are made of.
func (r *Rows) Columns() []engine.Column { return r.columns }

// ReadOnly reports whether the statement cannot write.
func (r *Rows) ReadOnly() bool { return r.reads }

// Next implements engine.Rows.
func (r *Rows) Next() bool {
	if !r.advance() {
		return false
	}
	return r.limits.MaxBytes <= 0 || r.charge(r.size())
}

// advance is Next without the bound on bytes.
func (r *Rows) advance() bool {
	if r.st == nil || r.err != nil {
		return false
	}
	if r.first {
		r.first = false
	} else if r.row {
		r.step()
	}
	if !r.row {
		return false
	}
	if r.count++; r.count%lookEvery == 0 && r.conn.deadline.passed() {
		return r.fail(r.conn.deadline.failure())
	}
	if r.limits.MaxRows > 0 && r.count > r.limits.MaxRows {
		return r.fail(engine.Errorf(engine.CodeTooManyRows, "the result has more than %d rows", r.limits.MaxRows))
	}
	return true
}

// charge counts the bytes of a row, or of a part of it.
func (r *Rows) charge(n int64) bool {
	if r.bytes += n; r.limits.MaxBytes > 0 && r.bytes > r.limits.MaxBytes {
		return r.fail(engine.Errorf(engine.CodeTooManyBytes, "the result has more than %d bytes", r.limits.MaxBytes))
	}
	return true
}

// A Row is a copy of a row, whose memory is used for one row after the other. The zero Row is empty.
type Row struct {
	Values []engine.Value // whose Bytes are the Row's
	bytes  []byte
}

// Size returns how many bytes of memory are kept for texts and blobs.
func (row *Row) Size() int { return cap(row.bytes) }

// NextInto is Next, and copies the row that it goes to. row has no values when there is none.
func (r *Rows) NextInto(row *Row) bool {
	row.Values = row.Values[:0]
	if !r.advance() {
		return false
	}
	tls, stmt := r.conn.tls, r.st.stmt
	b := row.bytes[:0]
	for i := range int32(len(r.columns)) {
		size, v := int64(8), engine.Value{}
		switch lib.Xsqlite3_column_type(tls, stmt, i) {
		case lib.SQLITE_INTEGER:
			v.Kind, v.Int = engine.Integer, lib.Xsqlite3_column_int64(tls, stmt, i)
		case lib.SQLITE_FLOAT:
			v.Kind, v.Real = engine.Real, lib.Xsqlite3_column_double(tls, stmt, i)
		case lib.SQLITE_TEXT: // the text before its length, as in Value
			v.Kind = engine.Text
			p := lib.Xsqlite3_column_text(tls, stmt, i)
			v.Bytes = bytesAt(p, int(lib.Xsqlite3_column_bytes(tls, stmt, i)))
			size = int64(len(v.Bytes))
		case lib.SQLITE_BLOB:
			v.Kind = engine.Blob
			p := lib.Xsqlite3_column_blob(tls, stmt, i)
			v.Bytes = bytesAt(p, int(lib.Xsqlite3_column_bytes(tls, stmt, i)))
			size = int64(len(v.Bytes))
		default:
			size = 1
		}
		if !r.charge(size) {
			row.Values = row.Values[:0]
			return false
		}
		if len(v.Bytes) > 0 {
			start := len(b)
			b = append(b, v.Bytes...) // what stands in the old memory stays whole if it moves
			v.Bytes = b[start:len(b):len(b)]
		}
		row.Values = append(row.Values, v)
	}
	row.bytes = b
	return true
}

func (r *Rows) fail(e *engine.Error) bool {
	r.err, r.row = e, false
	return false
}

// size returns the bytes of the present row: 8 for a number, 1 for NULL.
func (r *Rows) size() (n int64) {
	tls, stmt := r.conn.tls, r.st.stmt
	for i := range int32(len(r.columns)) {
		switch lib.Xsqlite3_column_type(tls, stmt, i) {
		case lib.SQLITE_TEXT, lib.SQLITE_BLOB:
			n += int64(lib.Xsqlite3_column_bytes(tls, stmt, i))
		case lib.SQLITE_NULL:
			n++
		default:
			n += 8
		}
	}
	return n
}

// Value implements engine.Rows. Its Bytes are SQLite's memory: valid until the next call of Next or Close.
func (r *Rows) Value(column int) engine.Value {
	if r.st == nil || !r.row || r.first || uint(column) >= uint(len(r.columns)) {
		panic(fmt.Sprintf("lite: value of column %d of %d, with a row: %t", column, len(r.columns), r.row && !r.first))
	}
	tls, stmt, i := r.conn.tls, r.st.stmt, int32(column)
	switch lib.Xsqlite3_column_type(tls, stmt, i) {
	case lib.SQLITE_INTEGER:
		return engine.Value{Kind: engine.Integer, Int: lib.Xsqlite3_column_int64(tls, stmt, i)}
	case lib.SQLITE_FLOAT:
		return engine.Value{Kind: engine.Real, Real: lib.Xsqlite3_column_double(tls, stmt, i)}
	case lib.SQLITE_TEXT: // the text before its length, which a conversion from UTF-16 changes
		p := lib.Xsqlite3_column_text(tls, stmt, i)
		return engine.Value{Kind: engine.Text, Bytes: bytesAt(p, int(lib.Xsqlite3_column_bytes(tls, stmt, i)))}
	case lib.SQLITE_BLOB:
		p := lib.Xsqlite3_column_blob(tls, stmt, i)
		return engine.Value{Kind: engine.Blob, Bytes: bytesAt(p, int(lib.Xsqlite3_column_bytes(tls, stmt, i)))}
	}
	return engine.Value{}
}

// Err implements engine.Rows.
func (r *Rows) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Tag implements engine.Rows: a connection knows none.
func (r *Rows) Tag() (engine.Tag, bool) { return engine.Tag{}, false }

// Close ends the statement, and with it the snapshot that it reads. The next Start makes other rows of r.
func (r *Rows) Close() {
	if r.st == nil {
		return
	}
	st := r.st
	r.st, r.row = nil, false
	r.conn.give(st)
	r.conn.deadline.end()
}
