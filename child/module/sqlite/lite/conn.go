package lite

import (
	"context"
	"fmt"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A Conn is a connection. One goroutine uses it at a time, but for Interrupt, which any may call. It has at most one Rows open.
type Conn struct {
	tls    *libc.TLS
	db     uintptr // *sqlite3
	out    uintptr // SQLite's memory for two pointers that a call writes
	number uintptr // in connections
	path   string

	readOnly, wal bool
	maxValue      int

	policy   *engine.Policy // that the authorizer asks at present; nil: the server itself
	depth    int            // SQLITE_LIMIT_EXPR_DEPTH as it is set
	refused  string         // what the authorizer has refused since the statement began: "read users.password"; "": nothing
	tables   map[string]bool
	shadows  shadows
	deadline deadline
	kept     cache
	rows     Rows
	stats    Stats
}

// Stats count what a Conn has done.
type Stats struct {
	Statements uint64 // begun
	Compiled   uint64 // not found among the kept
}

// Stats returns the counts.
func (c *Conn) Stats() Stats { return c.stats }

// Path returns the path that c was opened by.
func (c *Conn) Path() string { return c.path }

// WAL reports whether the file has a write-ahead log.
func (c *Conn) WAL() bool { return c.wal }

// Close ends the connection and what is open of it. The last connection of all processes checkpoints the file and removes its WAL.
func (c *Conn) Close() error {
	if c.tls == nil {
		return nil
	}
	c.rows.Close()
	c.kept.drop(c)
	rc := int32(lib.SQLITE_OK)
	if c.db != 0 {
		rc = lib.Xsqlite3_close_v2(c.tls, c.db) // a statement that were left would keep it open, and not break it
	}
	unregister(c)
	if c.out != 0 {
		libc.Xfree(c.tls, c.out)
	}
	c.tls.Close()
	c.tls, c.db = nil, 0
	if rc != lib.SQLITE_OK {
		return fmt.Errorf("close database %s: SQLite's code %d", c.path, rc)
	}
	return nil
}

// Exec runs one of the server's own statements, of a fixed text: it is kept. Rows that it makes are not read.
func (c *Conn) Exec(sql string) error { return c.run(sql, true) }

// once is Exec for what does not come again.
func (c *Conn) once(sql string) error { return c.run(sql, false) }

func (c *Conn) run(sql string, keep bool) error {
	if c.rows.st == nil {
		c.refused = ""
		c.deadline.begin(0, nil)
	}
	s, err := c.take(nil, sql, keep)
	if err != nil {
		return err
	}
	defer c.give(s)
	for {
		switch rc := lib.Xsqlite3_step(c.tls, s.stmt); rc {
		case lib.SQLITE_ROW:
		case lib.SQLITE_DONE:
			return nil
		default:
			return c.failure(rc)
		}
	}
}

// text returns the first value of one of the server's own statements, as a text.
func (c *Conn) text(sql string) (string, error) {
	s, err := c.take(nil, sql, false)
	if err != nil {
		return "", err
	}
	defer c.give(s)
	switch rc := lib.Xsqlite3_step(c.tls, s.stmt); rc {
	case lib.SQLITE_ROW:
		return libc.GoString(lib.Xsqlite3_column_text(c.tls, s.stmt, 0)), nil
	case lib.SQLITE_DONE:
		return "", nil
	default:
		return "", c.failure(rc)
	}
}

// use makes p the policy that the authorizer asks, also when SQLite compiles a statement anew while it runs.
func (c *Conn) use(p *engine.Policy) {
	if c.policy == p {
		return
	}
	c.policy = p
	depth := maxDepth
	if p != nil && p.MaxDepth > 0 {
		depth = min(depth, p.MaxDepth)
	}
	if depth != c.depth {
		lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_EXPR_DEPTH, int32(depth))
		c.depth = depth
	}
}

// Inspect compiles a statement as p would have it, and says what it is. It runs nothing.
func (c *Conn) Inspect(p *engine.Policy, sql string) (engine.Info, error) {
	c.begin(engine.Limits{}, nil)
	c.tables = map[string]bool{}
	defer func() { c.tables = nil }()
	s, err := c.take(p, sql, false)
	if err != nil {
		return engine.Info{}, err
	}
	defer c.give(s)
	info := engine.Info{ReadOnly: s.readOnly, Columns: s.columns, Parameters: make([]string, len(s.names)), Tables: sorted(c.tables)}
	copy(info.Parameters, s.names)
	return info, nil
}

// Start compiles s under p, or takes it from the kept, gives it its arguments, and makes the first step. A Conn that is ReadOnly refuses what
// writes, with engine.CodeNotReadOnly, before it runs. p nil is the server itself. The Rows are the Conn's, and good for one result: after Close
// they belong to the next Start. ctx may be nil. Errors are of type *engine.Error.
func (c *Conn) Start(ctx context.Context, p *engine.Policy, s *engine.Statement, l engine.Limits) (*Rows, error) {
	if c.rows.st != nil {
		return nil, engine.ErrorOf(fmt.Errorf("start a statement on %s: the rows of the one before are open", c.path))
	}
	c.begin(l, ctx)
	st, err := c.take(p, s.SQL, s.Kept)
	if err != nil {
		c.deadline.end()
		return nil, err
	}
	if c.readOnly && p != nil && !st.readOnly {
		c.give(st)
		c.deadline.end()
		return nil, engine.Errorf(engine.CodeNotReadOnly, "the statement writes, and only reading is allowed here")
	}
	if e := st.bind(c, s.Args); e != nil {
		c.give(st)
		c.deadline.end()
		return nil, e
	}
	c.rows.begin(st, p, l)
	if e := c.rows.err; e != nil {
		c.rows.Close()
		return nil, e
	}
	return &c.rows, nil
}

// begin is before each statement that is not the server's own.
func (c *Conn) begin(l engine.Limits, ctx context.Context) {
	c.stats.Statements++
	c.refused = ""
	c.deadline.begin(l.Timeout, ctx)
}

// Interrupt ends the statement that runs, with engine.CodeCancelled. If none does, it ends none.
func (c *Conn) Interrupt() { c.deadline.flag.Store(true) }

// InTransaction reports whether a transaction is open that the server has begun.
func (c *Conn) InTransaction() bool { return lib.Xsqlite3_get_autocommit(c.tls, c.db) == 0 }

// Changes returns how many rows the last INSERT, UPDATE or DELETE has changed, those of triggers and foreign keys not counted.
func (c *Conn) Changes() int64 { return lib.Xsqlite3_changes64(c.tls, c.db) }

// TotalChanges returns how many rows have been changed since c was opened, those of triggers and foreign keys included.
func (c *Conn) TotalChanges() int64 { return lib.Xsqlite3_total_changes64(c.tls, c.db) }

// LastInsertID returns the rowid of the last INSERT.
func (c *Conn) LastInsertID() int64 { return lib.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// SetLastInsertID changes what LastInsertID and last_insert_rowid() tell until the next INSERT.
func (c *Conn) SetLastInsertID(id int64) { lib.Xsqlite3_set_last_insert_rowid(c.tls, c.db, id) }

// DeferredViolations reports whether the transaction has broken foreign keys that are deferred, so that its COMMIT would fail.
func (c *Conn) DeferredViolations() bool {
	rc := lib.Xsqlite3_db_status(c.tls, c.db, lib.SQLITE_DBSTATUS_DEFERRED_FKS, c.out, c.out+8, 0)
	return rc == lib.SQLITE_OK && c.outInt(0) != 0
}

// Checkpoint copies the WAL into the file: mode is "PASSIVE", which waits for nobody, or "FULL", "RESTART", "TRUNCATE". It returns the frames of
// the WAL, and how many of them have been copied. busy: others were in the way, so that not all is done.
func (c *Conn) Checkpoint(mode string) (frames, copied int, busy bool, err error) {
	modes := map[string]int32{"PASSIVE": lib.SQLITE_CHECKPOINT_PASSIVE, "FULL": lib.SQLITE_CHECKPOINT_FULL,
		"RESTART": lib.SQLITE_CHECKPOINT_RESTART, "TRUNCATE": lib.SQLITE_CHECKPOINT_TRUNCATE}
	m, ok := modes[mode]
	if !ok {
		return 0, 0, false, engine.ErrorOf(fmt.Errorf("checkpoint %s: there is no mode %q", c.path, mode))
	}
	c.use(nil)
	c.deadline.end()
	rc := lib.Xsqlite3_wal_checkpoint_v2(c.tls, c.db, 0, m, c.out, c.out+8)
	frames, copied = c.outInt(0), c.outInt(1)
	if primary(rc) == lib.SQLITE_BUSY {
		return frames, copied, true, nil
	}
	if rc != lib.SQLITE_OK {
		return frames, copied, false, c.failure(rc)
	}
	return frames, copied, false, nil
}
