package lite

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// vetted is the policy of named queries.
var vetted = &engine.Policy{Name: "operator", Vetted: true}

// openTest opens a connection to path that is closed with the test.
func openTest(t testing.TB, o Options) *Conn {
	t.Helper()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// newFile makes a database, and returns its path and the connection that made it.
func newFile(t testing.TB, statements ...string) (string, *Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	c := openTest(t, Options{Path: path, Create: true})
	execAll(t, c, statements...)
	return path, c
}

func execAll(t testing.TB, c *Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if err := c.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// all runs a statement to its end, and returns copies of its rows.
func all(c *Conn, p *engine.Policy, l engine.Limits, sql string, args ...engine.Arg) ([][]engine.Value, error) {
	return allOf(c, p, l, &engine.Statement{SQL: sql, Args: args})
}

func allOf(c *Conn, p *engine.Policy, l engine.Limits, s *engine.Statement) ([][]engine.Value, error) {
	rows, err := c.Start(context.Background(), p, s, l)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out [][]engine.Value
	for rows.Next() {
		row := make([]engine.Value, len(rows.Columns()))
		for i := range row {
			row[i] = rows.Value(i).Clone()
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// codeOf returns the code of an error; "" for none.
func codeOf(t testing.TB, err error) engine.Code {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := err.(*engine.Error)
	if !ok {
		t.Fatalf("%T is no *engine.Error: %v", err, err)
	}
	return e.Code
}

func arg(v engine.Value) engine.Arg { return engine.Arg{Value: v} }

func named(name string, v engine.Value) engine.Arg { return engine.Arg{Name: name, Value: v} }
