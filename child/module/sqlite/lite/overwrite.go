package lite

import (
	"errors"
	"fmt"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Overwrite makes the content of c that of from, in one transaction (https://www.sqlite.org/c3ref/backup_finish.html). Readers of c see the old
// content until it is done. If others' locks are in the way, nothing is done, and the error has engine.CodeBusy.
func (c *Conn) Overwrite(from *Conn) error {
	if c.readOnly {
		return engine.ErrorOf(errors.New("overwrite a database that is open for reading only"))
	}
	c.use(nil)
	from.use(nil)
	main, err := libc.CString("main")
	if err != nil {
		return engine.ErrorOf(fmt.Errorf("overwrite database: %w", err))
	}
	defer libc.Xfree(c.tls, main)
	backup := lib.Xsqlite3_backup_init(c.tls, c.db, main, from.db, main)
	if backup == 0 {
		return c.failure(lib.Xsqlite3_errcode(c.tls, c.db))
	}
	step := lib.Xsqlite3_backup_step(c.tls, backup, -1)
	rc := lib.Xsqlite3_backup_finish(c.tls, backup)
	if rc == lib.SQLITE_OK && step != lib.SQLITE_DONE { // finish keeps silent about busy and locked
		rc = step
	}
	if rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	return nil
}
