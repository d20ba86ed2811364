package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// remember is the table of what was applied.
const remember = "CREATE TABLE IF NOT EXISTS tined_migrations (" +
	"version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at TEXT NOT NULL)"

const (
	// busyBound is how long an outside program may keep the database locked before a write of ours is given up.
	busyBound = 10 * time.Second
	busyPause = 5 * time.Millisecond
)

// Migrate applies the migrations of a directory that the database at path has not had: in the order of their numbers, each in a transaction of
// its own together with its row in the table tined_migrations, and each once, whoever else calls Migrate in whatever process. A file that does
// not exist is created if there are migrations. applied are the names of the files that this call has applied, also if a later one fails.
//
// When nothing is to be done it reads the directory and one table. It opens the database itself; the writers of the server wait at the turnstile
// while migrations run, and ctx ends the waiting and the running. In a process that has the database open by package lite or local it may be
// called, in one that has it open otherwise not.
func Migrate(ctx context.Context, path, directory string) (applied []string, err error) {
	list, err := readMigrations(directory)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	path = resolved(path)
	var c *conn
	err = whileBusy(ctx, func() error { // who makes the file's WAL locks it
		c, err = open(path)
		if errors.Is(err, fs.ErrNotExist) {
			if err = makeEmpty(path); err == nil {
				c, err = open(path)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migrate %s: %w", path, err)
	}
	defer c.close()
	if todo, err := c.pending(ctx, list); err != nil || len(todo) == 0 {
		return nil, err
	}
	unlock, err := lock(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("migrate %s: wait for the writers: %w", path, err)
	}
	defer unlock()
	if err := c.exec(ctx, "PRAGMA foreign_keys = off"); err != nil { // it has no effect in a transaction
		return nil, err
	}
	for {
		m, err := c.applyNext(ctx, list)
		if err != nil || m == nil {
			return applied, err
		}
		applied = append(applied, m.name)
	}
}

// makeEmpty makes the file of a new database, which is an empty one, for the owner of its directory: SQLite gives its other files to the owner of
// the database. Another may be faster. It gets its name when this process has no descriptor of it any more, whose closing would drop locks.
func makeEmpty(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+partSuffix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = f.Chmod(0o640)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	adopt(f.Name(), filepath.Dir(path))
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Rehearse applies what Migrate would, all of it in one transaction, and undoes it. todo are the names of the files, all that were tried.
func Rehearse(ctx context.Context, path, directory string) (todo []string, err error) {
	list, err := readMigrations(directory)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	path = resolved(path)
	c, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		c, err = openMemory()
	} else if err == nil {
		var unlock func()
		if unlock, err = lock(ctx, path); err == nil {
			defer unlock()
		}
	}
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.exec(ctx, "PRAGMA foreign_keys = off"); err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	defer c.rollback()
	pending, err := c.pending(ctx, list)
	for i := range pending {
		todo = append(todo, pending[i].name)
		if err == nil {
			err = c.apply(ctx, &pending[i])
		}
	}
	return todo, err
}

// pending compares the files with what the database remembers.
func (c *conn) pending(ctx context.Context, list []migration) ([]migration, error) {
	applied, err := c.applied(ctx)
	if err != nil {
		return nil, err
	}
	return pending(list, applied)
}

// applied returns what the database remembers, in the order of the versions.
func (c *conn) applied(ctx context.Context) (list []appliedMigration, err error) {
	rows, err := c.rows(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'tined_migrations'")
	if err != nil || rows[0][0].Int == 0 {
		return nil, err
	}
	rows, err = c.rows(ctx, "SELECT version, name, sha256, applied_at FROM tined_migrations ORDER BY version")
	for _, r := range rows {
		list = append(list, appliedMigration{int(r[0].Int), string(r[1].Bytes), string(r[2].Bytes), string(r[3].Bytes)})
	}
	return list, err
}

// applyNext applies the next pending migration, nil if there is none. The transaction decides which it is: another process may have been faster.
func (c *conn) applyNext(ctx context.Context, list []migration) (*migration, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	defer c.rollback() // nothing is left to undo after the commit
	todo, err := c.pending(ctx, list)
	if err != nil || len(todo) == 0 {
		return nil, err
	}
	m := &todo[0]
	if err := c.apply(ctx, m); err != nil {
		return nil, err
	}
	if err := c.exec(ctx, "COMMIT"); err != nil {
		return nil, fmt.Errorf("%s: commit: %w", m.path, err)
	}
	return m, nil
}

// apply runs a migration in the present transaction.
//
// Foreign keys are not enforced meanwhile, so that a table can be made anew (https://www.sqlite.org/lang_altertable.html#otheralter); what refers to
// nothing afterwards, and did not before, is an error.
func (c *conn) apply(ctx context.Context, m *migration) error {
	before, _, err := c.dangling(ctx)
	if err != nil {
		return err
	}
	for i := range m.parts {
		p := &m.parts[i]
		_, err := c.rows(ctx, p.sql)
		if err == nil && !c.inTransaction() {
			err = errors.New("this statement has ended the transaction, and undone the file's others: remove its ROLLBACK clause")
		}
		if err != nil {
			return m.errorAt(p.offset+offsetOf(err), err)
		}
	}
	after, where, err := c.dangling(ctx)
	if err != nil {
		return err
	}
	if after > before {
		return fmt.Errorf("%s leaves %d rows whose foreign keys refer to nothing, such as %s", m.path, after-before, where)
	}
	if err := c.exec(ctx, remember); err != nil {
		return err
	}
	_, err = c.rows(ctx, "INSERT INTO tined_migrations VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
		engine.IntegerOf(int64(m.version)), engine.TextOf(m.name), engine.TextOf(m.sha256))
	return err
}

// dangling counts the rows whose foreign keys refer to nothing, and names one.
func (c *conn) dangling(ctx context.Context) (count int, where string, err error) {
	rows, err := c.rows(ctx, "PRAGMA foreign_key_check")
	if err != nil || len(rows) == 0 {
		return 0, "", err
	}
	r := rows[len(rows)-1]
	return len(rows), fmt.Sprintf("rowid %d of %s, which refers to %s", r[1].Int, r[0].Bytes, r[2].Bytes), nil
}

// begin starts to write, and waits for outside programs that do.
func (c *conn) begin(ctx context.Context) error {
	return whileBusy(ctx, func() error { return c.exec(ctx, "BEGIN IMMEDIATE") })
}

// whileBusy calls f until it does not say busy, up to busyBound.
func whileBusy(ctx context.Context, f func() error) error {
	for end := time.Now().Add(busyBound); ; {
		err := f()
		if codeOf(err) != engine.CodeBusy {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("another program has kept the database locked for %v: %w", busyBound, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(busyPause):
		}
	}
}

// rollback undoes what is begun.
func (c *conn) rollback() {
	if c.inTransaction() {
		_ = c.exec(context.Background(), "ROLLBACK") // closing the connection does the same
	}
}

// offsetOf is the place in a statement that its error is about; 0: unknown.
func offsetOf(err error) int {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return max(e.Offset, 0)
	}
	return 0
}
