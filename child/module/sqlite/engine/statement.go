package engine

import "time"

// A Statement is one statement of SQL with its arguments.
type Statement struct {
	SQL  string
	Args []Arg
	// Kept: the same SQL comes again and again, so that it is worth keeping it prepared. Set it for what the configuration declares.
	Kept bool
}

// An Arg is the value of a parameter: of the one called Name, without its ':', '@' or '$'; or, with Name "", of the parameter whose number is
// the place among the Args, from 1.
type Arg struct {
	Name string
	Value
}

// Limits bound a query, or a batch. Zero is no limit.
type Limits struct {
	Timeout  time.Duration // of running, the client's reading of the rows included
	MaxRows  int64
	MaxBytes int64 // of the values, as SQLite holds them
}

// A Query reads: what it asks for must not write, or it is refused with NotReadOnly before anything has run.
type Query struct {
	Statement
	Policy *Policy
	Limits Limits
	// Wait is how long the query may wait for a connection; 0: as long as Limits.Timeout.
	Wait time.Duration
	// Level is for a cluster: how fresh the answer must be ("none", "weak", "linearizable", "strong"); "": as its configuration says.
	Level string
}

// A Batch is what one request writes. Others' batches may share its transaction, and never see half of it.
type Batch struct {
	Statements []Statement
	Policy     *Policy
	// Atomic: the first statement that fails undoes those before it and keeps the others from running. Else each stands for itself.
	Atomic bool
	// Limits hold for the statements together: their time, and the rows and bytes that the outcomes hold. The statement that passes them fails, with
	// CodeTooManyRows or CodeTooManyBytes, and is undone, with the batch if that is Atomic; what fails is not counted. A cluster undoes nothing for a
	// limit: see the error's message.
	Limits Limits
	// Wait is how long the batch may stand in the queue before its first statement runs; 0: as the database's configuration says.
	Wait time.Duration
	// Idempotent: to run it twice does no harm. A cluster may try it again when a leader has gone with its answer.
	Idempotent bool
}

// An Outcome is what one statement of a Batch did.
type Outcome struct {
	Err          error // an *Error; the statement has changed nothing
	Columns      []Column
	Rows         [][]Value // of a RETURNING, or of a statement that reads; the caller's own memory
	Reads        bool      // the statement cannot write: RowsAffected and LastInsertID say nothing
	RowsAffected int64
	LastInsertID int64
	Elapsed      time.Duration
}

// A Column is a column of a result.
type Column struct {
	Name string
	Type string // as it was declared, in lower case: "integer"; "" for an expression
}

// Info is what can be told of a statement without running it.
type Info struct {
	ReadOnly   bool
	Parameters []string // by number from 1, each without its ':', '@' or '$'; "" for a '?'
	Columns    []Column
	Tables     []string // that it reads or writes, in the order of their names
	// Volatile: the statement calls what depends on more than the content: the clock, chance, what was written before. It may be set of one
	// that does not.
	Volatile bool
}

// Rows is a result that is read row by row. It holds a connection, and a reader's snapshot of the database, until Close: close it soon. It may
// be used by several goroutines, one after the other.
type Rows interface {
	Columns() []Column
	// Next goes to the next row, which is the first at the first call. false: there is none, or Err says why it was not reached.
	Next() bool
	// Value returns a value of the present row. Its Bytes are valid until the next call of Next or Close. It panics if there is no such column.
	Value(column int) Value
	// Err returns why Next returned false before the end: an *Error. A limit that was passed is such a reason.
	Err() error
	// Tag is the version of the database that the rows are of; ok is false if there is none to tell.
	Tag() (tag Tag, ok bool)
	// Close ends it. It can be called again.
	Close()
}

// A Tag stands for one content of a database: two that are equal were taken of the same content. Those of two machines, or of two times between
// which the machine was started anew, are never equal.
type Tag [16]byte
