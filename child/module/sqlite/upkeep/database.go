package upkeep

import (
	"context"
	"errors"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// A conn is a connection for upkeep: everything is allowed.
type conn struct{ lite *lite.Conn }

// largest is a bound of values (https://www.sqlite.org/limits.html, 1): what somebody else has put into a database is copied and checked too.
const largest = 1_000_000_000

// open opens a database that others may have open. An error is a fs.ErrNotExist if there is no file.
func open(path string) (*conn, error) {
	return openBy(lite.Options{Path: path})
}

// openCopy opens a file that nobody writes, and leaves it as it is.
func openCopy(path string) (*conn, error) {
	return openBy(lite.Options{Path: path, Immutable: true})
}

// openMemory opens an empty database.
func openMemory() (*conn, error) {
	return openBy(lite.Options{Path: lite.Memory})
}

func openBy(o lite.Options) (*conn, error) {
	o.Attach, o.MaxValue = 1, largest // VACUUM attaches what it writes
	c, err := lite.Open(o)
	if err != nil {
		return nil, &statementError{err}
	}
	return &conn{c}, nil
}

// close ends the connection. What it has committed is durable, whatever closing says.
func (c *conn) close() { _ = c.lite.Close() }

func (c *conn) inTransaction() bool { return c.lite.InTransaction() }

// rows runs one statement, and returns what it gives.
func (c *conn) rows(ctx context.Context, sql string, args ...engine.Value) ([][]engine.Value, error) {
	s := engine.Statement{SQL: sql}
	for _, v := range args {
		s.Args = append(s.Args, engine.Arg{Value: v})
	}
	rows, err := c.lite.Start(ctx, nil, &s, engine.Limits{})
	if err != nil {
		return nil, because(ctx, err)
	}
	defer rows.Close()
	var list [][]engine.Value
	for width := len(rows.Columns()); rows.Next(); {
		row := make([]engine.Value, width)
		for i := range row {
			row[i] = rows.Value(i).Clone()
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		return nil, because(ctx, err)
	}
	return list, nil
}

// exec runs one statement whose rows nobody wants.
func (c *conn) exec(ctx context.Context, sql string) error {
	_, err := c.rows(ctx, sql)
	return err
}

// because makes of a statement's error what its operator can do something with: engine's messages are for clients, and name no file.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &statementError{err}
}

// A statementError says the cause of an *engine.Error, where that says more than its message.
type statementError struct{ err error }

func (e *statementError) Error() string {
	known, ok := errors.AsType[*engine.Error](e.err)
	switch {
	case !ok:
		return e.err.Error()
	case known.Err != nil && known.Code == engine.CodeInternal:
		return known.Err.Error()
	case known.Err != nil && known.Code != engine.CodeSQL && !constraint(known.Code):
		return known.Message + " (" + known.Err.Error() + ")"
	}
	return known.Message
}

func (e *statementError) Unwrap() error { return e.err }

func constraint(code engine.Code) bool { return code.Status() == 409 }

// codeOf returns the code of an error of SQLite's; "" for another one.
func codeOf(err error) engine.Code {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e.Code
	}
	return ""
}
