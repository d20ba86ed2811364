package lite

import (
	"strings"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// shadows are the tables that virtual tables keep their content in (https://www.sqlite.org/vtab.html, 2.8): docs_data and others of a full-text
// index docs. The virtual table reads them by statements of its own, which ask the same authorizer: who is granted the virtual table whole is
// granted them too. They hold nothing else, and defensive mode lets no SQL write them directly.
type shadows struct {
	version string            // of the schema that owners is of; "": not read
	owners  map[string]string // shadow -> virtual table, both in lower case
	virtual map[string]bool   // the virtual tables
}

// refreshShadows reads them again if the schema has changed. It is called before a statement of a role.
func (c *Conn) refreshShadows() error {
	c.use(nil)
	tables := c.tables
	c.tables = nil // Inspect gathers those of the role's statement
	defer func() { c.tables = tables }()
	version, err := c.schemaVersion()
	if err != nil || version == c.shadows.version {
		return err
	}
	owners, virtual := map[string]string{}, map[string]bool{}
	var names []string
	s, err := c.take(nil, "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type IN ('shadow', 'virtual')", false)
	if err != nil {
		return err
	}
	defer c.give(s)
	for {
		rc := lib.Xsqlite3_step(c.tls, s.stmt)
		if rc == lib.SQLITE_DONE {
			break
		}
		if rc != lib.SQLITE_ROW {
			return c.failure(rc)
		}
		name := lower(libc.GoString(lib.Xsqlite3_column_text(c.tls, s.stmt, 0)))
		if libc.GoString(lib.Xsqlite3_column_text(c.tls, s.stmt, 1)) == "virtual" {
			virtual[name] = true
		} else {
			names = append(names, name)
		}
	}
	for _, name := range names {
		// SQLite takes the name up to the last '_' for the owner's.
		if i := strings.LastIndexByte(name, '_'); i > 0 && virtual[name[:i]] {
			owners[name] = name[:i]
		}
	}
	c.shadows = shadows{version, owners, virtual}
	return nil
}

func (c *Conn) schemaVersion() (string, error) {
	s, err := c.take(nil, "PRAGMA schema_version", true)
	if err != nil {
		return "", err
	}
	defer c.give(s)
	if rc := lib.Xsqlite3_step(c.tls, s.stmt); rc != lib.SQLITE_ROW {
		return "", c.failure(rc)
	}
	return libc.GoString(lib.Xsqlite3_column_text(c.tls, s.stmt, 0)), nil
}

// shadowGranted reports whether table is a shadow of one that tables grant with all columns.
func (c *Conn) shadowGranted(tables map[string]engine.Columns, table string) bool {
	owner, ok := c.shadows.owners[table]
	if !ok {
		return false
	}
	columns, ok := grant(tables, owner)
	return ok && columns == nil
}
