package lite

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Memory is the path of a database in memory, which ends with its connection.
const Memory = ":memory:"

// Bounds of every connection (https://www.sqlite.org/limits.html). A policy's may be narrower.
const (
	maxSQL        = 1_000_000 // bytes of a statement
	maxDepth      = 500       // of an expression
	maxValue      = 64 << 20  // bytes of a value, and of a row
	maxColumns    = 2000
	maxCompound   = 100     // terms of a UNION
	maxOperations = 250_000 // of a compiled statement
	maxArguments  = 127     // of a function
	maxLike       = 10_000  // bytes of a pattern: LIKE and GLOB may take its length times the text's
	maxParameters = 32766
	maxTriggers   = 100 // that run one in another
)

// Options say how a Conn is opened.
type Options struct {
	// Path is the file's: absolute, or Memory.
	Path string
	// ReadOnly refuses all that writes. The file is opened for writing nevertheless, if it can be: the readers of a WAL write into its index.
	ReadOnly bool
	// Create makes the file if it is missing.
	Create bool
	// KeepJournal leaves the file's journal mode as it is; else it gets a WAL.
	KeepJournal bool
	// Immutable promises that nobody writes the file, so that nothing is locked and no file made beside it: for a backup, or a medium that
	// cannot be written. It implies ReadOnly.
	Immutable bool
	// CacheBytes bounds the pages that the connection keeps in memory; 0: 2 MB.
	CacheBytes int64
	// Wait is how long to wait for others' locks while opening; 0: 5 s. Later nothing waits: what finds a lock fails with engine.CodeBusy.
	Wait time.Duration
	// Attach is how many files may be attached. VACUUM needs one; who serves needs none.
	Attach int
	// MaxValue bounds a value in bytes; 0: 64 MB.
	MaxValue int
}

// Open opens a connection. Commits are durable when they return (synchronous FULL); the schema is not trusted (trusted_schema off, defensive on,
// https://www.sqlite.org/security.html); foreign keys hold; nothing is checkpointed but by who asks for it. Errors are of type *engine.Error.
func Open(o Options) (*Conn, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.ReadOnly = o.ReadOnly || o.Immutable
	boundMemory()
	c := &Conn{tls: libc.NewTLS(), path: o.Path, readOnly: o.ReadOnly}
	c.rows.conn = c
	if err := c.open(&o); err != nil {
		_ = c.Close() // the first error is the one to tell
		return nil, err
	}
	return c, nil
}

// maxHeap bounds the memory of all connections of the process, in bytes: a sort of what a recursion makes would take any. What passes it fails.
const maxHeap = 1 << 30

// boundMemory sets the bound, before the first connection: SQLite counts its memory only if it is told so when it begins.
var boundMemory = sync.OnceFunc(func() {
	tls := libc.NewTLS()
	defer tls.Close()
	args := libc.NewVaList(int32(1))
	defer libc.Xfree(tls, args)
	lib.Xsqlite3_config(tls, lib.SQLITE_CONFIG_MEMSTATUS, args) // if SQLite has begun already, there is no bound
	lib.Xsqlite3_hard_heap_limit64(tls, maxHeap)
})

func (o *Options) check() error {
	if o.Path == Memory {
		return nil
	}
	if !filepath.IsAbs(o.Path) || strings.ContainsRune(o.Path, 0) {
		return engine.ErrorOf(fmt.Errorf("open database %q: the path must be absolute", o.Path))
	}
	info, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.Create:
	case err != nil:
		return ErrorOf(fmt.Errorf("open database: %w", err))
	case !info.Mode().IsRegular():
		e := engine.Errorf(engine.CodeUnavailable, "the database is no regular file")
		e.Err = fmt.Errorf("open database %s: it is no regular file", o.Path)
		return e
	}
	return nil
}

func (c *Conn) open(o *Options) error {
	if c.out = libc.Xmalloc(c.tls, 16); c.out == 0 {
		return engine.ErrorOf(errors.New("open database: no memory"))
	}
	// Without OPEN_URI a path is a path. A connection is never used by two goroutines at once: no mutex.
	name, flags := o.Path, int32(lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_NOMUTEX|lib.SQLITE_OPEN_EXRESCODE)
	switch {
	case o.Immutable:
		name = "file:" + (&url.URL{Path: o.Path}).EscapedPath() + "?immutable=1"
		flags = lib.SQLITE_OPEN_READONLY | lib.SQLITE_OPEN_NOMUTEX | lib.SQLITE_OPEN_EXRESCODE | lib.SQLITE_OPEN_URI
	case o.Create:
		flags |= lib.SQLITE_OPEN_CREATE
	}
	path, err := libc.CString(name)
	if err != nil {
		return engine.ErrorOf(fmt.Errorf("open database: %w", err))
	}
	defer libc.Xfree(c.tls, path)
	rc := lib.Xsqlite3_open_v2(c.tls, path, c.out, flags, 0)
	c.db = c.outPointer(0)
	if rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	register(c)
	lib.Xsqlite3_progress_handler(c.tls, c.db, progressEvery, progressCallback, c.number)
	if rc := lib.Xsqlite3_set_authorizer(c.tls, c.db, authorizeCallback, c.number); rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	if err := c.configure(o); err != nil {
		return err
	}
	return c.prepareFile(o)
}

// configure sets what is of the connection and does not touch the file.
func (c *Conn) configure(o *Options) error {
	for _, option := range []struct{ option, value int32 }{
		{lib.SQLITE_DBCONFIG_DEFENSIVE, 1},
		{lib.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
		{lib.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0},
		{lib.SQLITE_DBCONFIG_DQS_DDL, 0}, // "…" is a name, and never a text
		{lib.SQLITE_DBCONFIG_DQS_DML, 0},
		{lib.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
		{lib.SQLITE_DBCONFIG_ENABLE_FKEY, 1},
	} {
		args := libc.NewVaList(option.value, uintptr(0))
		rc := lib.Xsqlite3_db_config(c.tls, c.db, option.option, args)
		libc.Xfree(c.tls, args)
		if rc != lib.SQLITE_OK {
			return c.failure(rc)
		}
	}
	if c.maxValue = o.MaxValue; c.maxValue == 0 {
		c.maxValue = maxValue
	}
	for id, bound := range map[int32]int{
		lib.SQLITE_LIMIT_LENGTH: c.maxValue, lib.SQLITE_LIMIT_SQL_LENGTH: maxSQL, lib.SQLITE_LIMIT_COLUMN: maxColumns,
		lib.SQLITE_LIMIT_EXPR_DEPTH: maxDepth, lib.SQLITE_LIMIT_COMPOUND_SELECT: maxCompound, lib.SQLITE_LIMIT_VDBE_OP: maxOperations,
		lib.SQLITE_LIMIT_FUNCTION_ARG: maxArguments, lib.SQLITE_LIMIT_ATTACHED: o.Attach, lib.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: maxLike,
		lib.SQLITE_LIMIT_VARIABLE_NUMBER: maxParameters, lib.SQLITE_LIMIT_TRIGGER_DEPTH: maxTriggers, lib.SQLITE_LIMIT_WORKER_THREADS: 0,
	} {
		lib.Xsqlite3_limit(c.tls, c.db, id, int32(bound))
	}
	c.depth = maxDepth
	return nil
}

// makeWAL gives the file a WAL. Two connections that want it at the same time wait for each other, so that SQLite tells one of them at once that
// the file is locked, however long it would wait for other locks: that one tries again, and may find it done.
func (c *Conn) makeWAL(until time.Time) (mode string, err error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		mode, err = c.text("PRAGMA journal_mode = wal")
		if err == nil || ErrorOf(err).Code != engine.CodeBusy || time.Now().After(until) {
			return mode, err
		}
		time.Sleep(pause)
	}
}

func (o *Options) wait() time.Duration {
	if o.Wait == 0 {
		return 5 * time.Second
	}
	return o.Wait
}

// prepareFile reads the file for the first time, which recovers it if its last writer has died, and gives it a WAL.
func (c *Conn) prepareFile(o *Options) error {
	lib.Xsqlite3_busy_timeout(c.tls, c.db, int32(o.wait()/time.Millisecond))
	cache := o.CacheBytes
	if cache == 0 {
		cache = 2 << 20
	}
	statements := []string{"PRAGMA cell_size_check = on", "PRAGMA temp_store = memory", "PRAGMA synchronous = full",
		fmt.Sprintf("PRAGMA cache_size = -%d", max(cache>>10, 1))}
	for _, sql := range statements {
		if err := c.once(sql); err != nil {
			return err
		}
	}
	if err := c.journal(o); err != nil {
		return err
	}
	if rc := lib.Xsqlite3_wal_autocheckpoint(c.tls, c.db, 0); rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	if o.ReadOnly {
		if err := c.once("PRAGMA query_only = on"); err != nil {
			return err
		}
	}
	lib.Xsqlite3_busy_timeout(c.tls, c.db, 0)
	return nil
}

func (c *Conn) journal(o *Options) error {
	if o.Path == Memory {
		return nil
	}
	main, err := libc.CString("main")
	if err != nil {
		return engine.ErrorOf(fmt.Errorf("open database: %w", err))
	}
	defer libc.Xfree(c.tls, main)
	fixed := lib.Xsqlite3_db_readonly(c.tls, c.db, main) == 1
	if fixed && !o.ReadOnly {
		e := engine.Errorf(engine.CodeReadOnlyDatabase, "the database cannot be written")
		e.Err = fmt.Errorf("open database %s: it may be read only; let the server's user write it and its directory", o.Path)
		return e
	}
	mode, err := c.text("PRAGMA journal_mode")
	if err != nil {
		return err
	}
	if c.wal = mode == "wal"; c.wal || fixed || o.Immutable || o.KeepJournal {
		return c.once("SELECT count(*) FROM sqlite_schema") // the first reading maps the WAL index
	}
	if mode, err = c.makeWAL(time.Now().Add(o.wait())); err != nil {
		return err
	}
	if c.wal = mode == "wal"; !c.wal {
		e := engine.Errorf(engine.CodeUnavailable, "the database cannot have a write-ahead log")
		e.Err = fmt.Errorf("open database %s: its journal mode stays %q; its file system must know shared memory", o.Path, mode)
		return e
	}
	return c.once("SELECT count(*) FROM sqlite_schema")
}
