package lite

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

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

	policy   *engine.Policy  // that the authorizer asks at present; nil: the server itself
	bounds                   // as they are set
	refused  string          // what the authorizer has refused since the statement began: "read users.password"; "": nothing
	tables   map[string]bool // that Inspect's statement uses; nil: none is inspected
	volatile bool            // Inspect's statement calls what is not of steadyFunctions
	replaces bool            // see statement.replaces: of the one that is compiled or runs
	asksLast bool            // see statement.asksLast: of the one that is compiled
	costly   bool            // see statement.costly: of the one that is compiled or runs
	inserted int64           // what LastInsertID returns
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
	c.narrow()
}

// Bounds of a role's statements. The clock is not looked at inside of a function, so that what one may take is bounded by what it is given. The
// worst that a call took, on one core: LIKE and GLOB 1.3 to 2.3 ns for each byte of the text times each of the pattern: 1.6 to 2.5 s within these
// bounds, and a quarter of an hour for 64 MiB by 10,000 bytes; what is linear (hex, quote, printf, upper, json) 0.4 s for 16 MiB, and JSON with 120
// paths 5 s. A role can neither read nor change a value that is stored and longer (engine.CodeTooLarge); the other columns of its row it can read.
const (
	roleValue   = 16 << 20 // bytes of a value, and of a row
	roleLike    = 64       // bytes of a pattern
	costlyValue = 16 << 10 // bytes of a value, and of a row, for costlyFunctions
)

// costlyFunctions may take the product of two arguments' lengths: a statement of a role that calls one has no longer values than costlyValue,
// unless the role names the function among its Functions. The worst is trim with characters of its own: 1.2 s at 16 KiB, 5 min at 256 KiB. At 16 MiB instr takes a quarter of an hour, and trim days.
var costlyFunctions = set("instr replace trim ltrim rtrim json_patch jsonb_patch geopoly_overlap geopoly_within")

// bounds are those of SQLite that a policy may narrow (https://www.sqlite.org/c3ref/c_limit_attached.html).
type bounds struct{ depth, value, like int }

// narrow sets the bounds for the present policy, and for the statement that is compiled or runs under it.
func (c *Conn) narrow() {
	b := bounds{maxDepth, c.maxValue, maxLike}
	if p := c.policy; p != nil {
		if p.MaxDepth > 0 {
			b.depth = min(b.depth, p.MaxDepth)
		}
		if !p.Vetted {
			b.value, b.like = min(b.value, roleValue), roleLike
			if c.costly {
				b.value = min(b.value, costlyValue)
			}
		}
	}
	if b == c.bounds {
		return
	}
	c.bounds = b
	lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_EXPR_DEPTH, int32(b.depth))
	lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_LENGTH, int32(b.value))
	lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, int32(b.like))
}

// Inspect compiles a statement as p would have it, and says what it is. It runs nothing.
func (c *Conn) Inspect(p *engine.Policy, sql string) (engine.Info, error) {
	c.begin(engine.Limits{}, nil)
	c.tables, c.volatile = map[string]bool{}, false
	defer func() { c.tables = nil }()
	s, err := c.take(p, sql, false)
	if err != nil {
		return engine.Info{}, err
	}
	defer c.give(s)
	info := engine.Info{ReadOnly: s.readOnly, Columns: s.columns, Parameters: make([]string, len(s.names)), Tables: sorted(c.tables),
		Volatile: c.volatile && c.programVolatile(sql)}
	copy(info.Parameters, s.names)
	return info, nil
}

// programVolatile reports whether the program of a statement calls what is not of steadyFunctions. The authorizer is asked about more than that: who
// reads a column whose default is CURRENT_TIMESTAMP does not call it. EXPLAIN shows the functions as "name(arguments)", also those of views and
// triggers (https://www.sqlite.org/opcode.html). Whatever cannot be shown is volatile.
func (c *Conn) programVolatile(sql string) bool {
	tables := c.tables
	c.tables = nil // they have been gathered
	defer func() { c.tables = tables }()
	if word, _ := cutWord(sql); word == "explain" {
		return true
	}
	s, err := c.take(nil, "EXPLAIN "+sql, false)
	if err != nil || len(s.columns) < 6 {
		return true
	}
	defer c.give(s)
	for {
		switch lib.Xsqlite3_step(c.tls, s.stmt) {
		case lib.SQLITE_ROW:
			name, rest, ok := strings.Cut(libc.GoString(lib.Xsqlite3_column_text(c.tls, s.stmt, 5)), "(")
			if _, e := strconv.Atoi(strings.TrimSuffix(rest, ")")); ok && e == nil && !steadyFunctions[lower(name)] {
				return true
			}
		case lib.SQLITE_DONE:
			return false
		default:
			return true
		}
	}
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
	c.first(st, p, l)
	if e := c.rows.err; e != nil {
		c.rows.Close()
		return nil, e
	}
	return &c.rows, nil
}

// noRowid is what last_insert_rowid() would tell while a statement runs that does not call it: nobody gives a row this number.
const noRowid = math.MinInt64

// first makes the first step, in which SQLite makes all changes (https://www.sqlite.org/lang_returning.html, 3), and finds out which row they have
// inserted. SQLite keeps the number of the last INSERT of the connection, also when a later one has only updated. It must stand for the statements
// behind that call last_insert_rowid(), and for st if that does. Of such a one, where the number is the same before and after, its verb decides,
// and whether it changed rows; an upsert that calls it and only updates repeats the earlier number.
func (c *Conn) first(st *statement, p *engine.Policy, l engine.Limits) {
	c.inserted = 0
	if st.readOnly {
		c.rows.begin(st, p, l)
		return
	}
	last := lib.Xsqlite3_last_insert_rowid(c.tls, c.db)
	if !st.asksLast {
		c.SetLastInsertID(noRowid)
	}
	c.rows.begin(st, p, l)
	id := lib.Xsqlite3_last_insert_rowid(c.tls, c.db)
	switch {
	case c.rows.err != nil || id == noRowid:
		c.SetLastInsertID(last)
	case id != last || !st.asksLast || c.Changes() > 0 && slices.Contains(insertingVerbs, firstWord(st.key.sql)):
		c.inserted = id
	}
}

var insertingVerbs = []string{"insert", "replace", "with"}

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

// LastInsertID returns the rowid that the last statement of Start has inserted last; 0: it has inserted none. Those of triggers do not count.
func (c *Conn) LastInsertID() int64 { return c.inserted }

// SetLastInsertID changes what last_insert_rowid() tells until the next INSERT.
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
