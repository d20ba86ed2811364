package upkeep

import (
	"context"
	"strings"
)

// contents are what can be told of a database at a glance.
type contents struct {
	application int64 // PRAGMA application_id
	pageSize    int64
	tables      []string // in the order of their names; SQLite's own are left out
	rows        int64    // of all tables
}

// contents looks at a database, and counts its rows if count is set: that reads all of it.
func (c *conn) contents(ctx context.Context, count bool) (k contents, err error) {
	for pragma, to := range map[string]*int64{"application_id": &k.application, "page_size": &k.pageSize} {
		if *to, err = c.integer(ctx, "PRAGMA "+pragma); err != nil {
			return k, err
		}
	}
	rows, err := c.rows(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
	if err != nil {
		return k, err
	}
	for _, r := range rows {
		name := string(r[0].Bytes)
		k.tables = append(k.tables, name)
		if !count {
			continue
		}
		n, err := c.integer(ctx, `SELECT count(*) FROM "`+strings.ReplaceAll(name, `"`, `""`)+`"`)
		if err != nil {
			return k, err
		}
		k.rows += n
	}
	return k, nil
}

// integer returns the one number that a statement gives.
func (c *conn) integer(ctx context.Context, sql string) (int64, error) {
	rows, err := c.rows(ctx, sql)
	if err != nil {
		return 0, err
	}
	return rows[0][0].Int, nil
}
