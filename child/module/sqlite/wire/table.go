package wire

import "github.com/tined/tined/child/module/sqlite/engine"

// A Table is a result that is in memory, as engine.Rows: of an Outcome, so that it is written as any other. It is used by one goroutine, once.
type Table struct {
	columns []engine.Column
	rows    [][]engine.Value
	present int // index of the row behind the present one
}

// NewTable returns a result of these rows, each of which has a value for each column.
func NewTable(columns []engine.Column, rows [][]engine.Value) *Table {
	return &Table{columns: columns, rows: rows}
}

// Columns is of engine.Rows.
func (t *Table) Columns() []engine.Column { return t.columns }

// Next is of engine.Rows.
func (t *Table) Next() bool {
	if t.present >= len(t.rows) {
		return false
	}
	t.present++
	return true
}

// Value is of engine.Rows.
func (t *Table) Value(column int) engine.Value { return t.rows[t.present-1][column] }

// Err is of engine.Rows: nil.
func (t *Table) Err() error { return nil }

// Tag is of engine.Rows: there is none.
func (t *Table) Tag() (tag engine.Tag, ok bool) { return tag, false }

// Close is of engine.Rows: no row is left.
func (t *Table) Close() { t.present = len(t.rows) }
