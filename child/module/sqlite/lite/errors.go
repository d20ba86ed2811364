package lite

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// ErrorOf returns err as what a client may learn: an *engine.Error that it is or holds; a full disk and a file that cannot be opened by their
// codes; any other is engine.CodeInternal.
func ErrorOf(err error) *engine.Error {
	var e *engine.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return withCause(engine.CodeFull, "the server's disk is full", err)
	case errors.Is(err, unix.EROFS):
		return withCause(engine.CodeReadOnlyDatabase, "the database cannot be written", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return withCause(engine.CodeUnavailable, "the database cannot be opened", err)
	}
	return engine.ErrorOf(err)
}

func withCause(code engine.Code, message string, err error) *engine.Error {
	return &engine.Error{Code: code, Message: message, Offset: -1, Err: err}
}

// primary returns the primary code of an extended one (https://www.sqlite.org/rescode.html).
func primary(rc int32) int32 { return rc & 0xff }

// constraints are the kinds of constraints that have a code of their own.
var constraints = map[int32]engine.Code{
	lib.SQLITE_CONSTRAINT_UNIQUE:     engine.CodeConstraintUnique,
	lib.SQLITE_CONSTRAINT_PRIMARYKEY: engine.CodeConstraintPrimaryKey,
	lib.SQLITE_CONSTRAINT_ROWID:      engine.CodeConstraintPrimaryKey,
	lib.SQLITE_CONSTRAINT_FOREIGNKEY: engine.CodeConstraintForeignKey,
	lib.SQLITE_CONSTRAINT_NOTNULL:    engine.CodeConstraintNotNull,
	lib.SQLITE_CONSTRAINT_CHECK:      engine.CodeConstraintCheck,
	lib.SQLITE_CONSTRAINT_TRIGGER:    engine.CodeConstraintTrigger,
	lib.SQLITE_CONSTRAINT_DATATYPE:   engine.CodeConstraintDatatype,
}

// failure says what the call that has just returned rc means. The message of SQLite goes to the client where it speaks of the statement and its
// data only.
func (c *Conn) failure(rc int32) *engine.Error {
	message, offset := "", -1
	if c.db != 0 {
		if extended := lib.Xsqlite3_extended_errcode(c.tls, c.db); primary(extended) == primary(rc) {
			rc = extended
		}
		message = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
		offset = int(lib.Xsqlite3_error_offset(c.tls, c.db))
	}
	cause := fmt.Errorf("SQLite on %s: code %d: %s", c.path, rc, message)
	kind := primary(rc)
	if c.refused != "" && (kind == lib.SQLITE_AUTH || kind == lib.SQLITE_ERROR || kind == lib.SQLITE_CORRUPT) {
		return c.denial()
	}
	switch kind {
	case lib.SQLITE_ERROR, lib.SQLITE_MISMATCH:
		e := withCause(engine.CodeSQL, sentence(message), cause)
		e.Offset = offset
		return e
	case lib.SQLITE_CONSTRAINT:
		code, ok := constraints[rc]
		if !ok {
			code = engine.CodeConstraint
		}
		return withCause(code, sentence(message), cause)
	case lib.SQLITE_INTERRUPT:
		e := c.deadline.failure()
		e.Err = cause
		return e
	case lib.SQLITE_TOOBIG:
		return withCause(engine.CodeTooLarge, "the statement or one of its values is too large", cause)
	case lib.SQLITE_RANGE:
		return withCause(engine.CodeParameter, "the statement has no such parameter", cause)
	}
	return c.fileFailure(rc, cause)
}

// fileFailure is failure for what is the file's fault.
func (c *Conn) fileFailure(rc int32, cause error) *engine.Error {
	switch primary(rc) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL:
		return withCause(engine.CodeBusy, "the database is busy", cause)
	case lib.SQLITE_FULL:
		return withCause(engine.CodeFull, "the server's disk is full", cause)
	case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN:
		if full(c.path) {
			return withCause(engine.CodeFull, "the server's disk is full", cause)
		}
		if primary(rc) == lib.SQLITE_CANTOPEN {
			return withCause(engine.CodeUnavailable, "the database cannot be opened", cause)
		}
	case lib.SQLITE_READONLY:
		if rc == lib.SQLITE_READONLY_DBMOVED {
			return withCause(engine.CodeUnavailable, "the database has been replaced", cause)
		}
		return withCause(engine.CodeReadOnlyDatabase, "the database cannot be written",
			fmt.Errorf("%w; let the server's user write the file and its directory, where -wal, -shm and -turnstile stand", cause))
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_FORMAT:
		return withCause(engine.CodeCorrupt, "the database is damaged, or no database", cause)
	case lib.SQLITE_SCHEMA:
		return withCause(engine.CodeUnavailable, "the database's schema is being changed", cause)
	case lib.SQLITE_NOMEM:
		return withCause(engine.CodeUnavailable, "the server has no memory for this statement", cause)
	case lib.SQLITE_AUTH, lib.SQLITE_PERM:
		return withCause(engine.CodeDenied, "that is not allowed", cause)
	}
	return engine.ErrorOf(cause)
}

// sentence makes SQLite's message the end of a line, as all messages are.
func sentence(message string) string { return strings.TrimRight(message, ". ") }

// full reports whether the file system of path has no room for even a WAL index: then that SQLite could not make or grow a file has this reason.
func full(path string) bool {
	if path == Memory {
		return false
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return false
	}
	return fs.Bavail*uint64(fs.Bsize) < 64<<10 || (fs.Files > 0 && fs.Ffree == 0)
}
