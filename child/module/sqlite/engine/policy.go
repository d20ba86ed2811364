package engine

// A Policy is what SQL may do, whoever sent it. Whatever it says, no SQL ever attaches or detaches a file, runs a PRAGMA, begins, ends or names a
// transaction, loads an extension, or changes the schema. It is immutable, and shared: two are the same if their pointers are.
type Policy struct {
	// Name is for messages and the log: the role's.
	Name string
	// Vetted: the SQL is the operator's own (a named query). It may read and write all tables, and use all functions but those that reach
	// outside the database. Read, Write and Functions say nothing.
	Vetted bool
	// Read are the tables and views that may be read; Write those that may be changed too, which does not include that they may be read. The
	// key is a name, its ASCII letters in lower case (SQLite folds no others), or "*" for all that are not named, but for SQLite's own tables. A
	// view or a trigger grants nothing: what it uses must be granted too. To insert and to delete is to write all columns.
	Read, Write map[string]Columns
	// Functions are further functions that may be called, in lower case, beside those that only compute; "*": all but those that reach outside.
	Functions map[string]bool
	// MaxSQL bounds a statement in bytes, MaxDepth its expressions' depth; 0: the server's own bounds.
	MaxSQL, MaxDepth int
}

// Columns are the columns of a table that are granted, in lower case; nil: all of them.
type Columns map[string]bool

// Writes reports whether p lets anything be changed.
func (p *Policy) Writes() bool { return p.Vetted || len(p.Write) > 0 }
