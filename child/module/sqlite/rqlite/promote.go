package rqlite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// PromoteOptions say how a file is copied into a cluster.
type PromoteOptions struct {
	// Options are the cluster's. Timeout bounds each call; 0: 2 minutes, for the file is one call.
	Options
	// Replace lets what the cluster has be lost. Else it must be empty.
	Replace bool
	// TempDir is where the snapshot is made, as large as the file; "": os.TempDir.
	TempDir string
}

// Progress is how far a promotion is.
type Progress struct {
	Step  string // "snapshot", "load" or "verify"
	Table string // that is being verified
	Rows  int64  // of it that have been
	Bytes int64  // of the snapshot
}

// A Report is what a promotion has copied and found equal.
type Report struct {
	Bytes  int64 // of the snapshot
	Tables []TableReport
	// Objects are the tables, views, indexes and triggers whose SQL is equal.
	Objects int
}

// TableReport is a table with its rows.
type TableReport struct {
	Name string
	Rows int64
}

// A Difference is what verifying has found.
type Difference struct {
	Table string
	Key   string // of the row, as SQL; "": the table itself
	What  string
}

func (d *Difference) Error() string {
	if d.Key == "" {
		return fmt.Sprintf("verify: %s: %s", d.Table, d.What)
	}
	return fmt.Sprintf("verify: table %s, row %s: %s", d.Table, d.Key, d.What)
}

const (
	promoteTimeout = 2 * time.Minute
	// maxLoad bounds a snapshot: each node holds it several times in memory while it loads.
	maxLoad = 1 << 30
	// A chunk is so many rows that are compared at once, or fewer of so many bytes.
	chunkRows  = 500
	chunkBytes = 4 << 20
)

// Promote copies the database file from into the cluster of nodes, and compares every row. from may be in use, also by writers: what is copied is a
// snapshot. Nobody should write to the cluster meanwhile. progress is called now and then; nil: not.
//
// The snapshot is sent as a file, to /db/load, and not as statements: it becomes one entry of raft's log, so that each node has all of it or nothing,
// and values, rowids and what SQLite keeps for itself arrive as they are. The price is that it goes through each node's memory, hence its bound. As
// rqlite answers before it knows whether the nodes could open the file, only the comparison says that it has worked. It is safe to repeat.
func Promote(ctx context.Context, from string, nodes []string, o PromoteOptions, progress func(Progress)) (Report, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	o.Nodes = nodes
	if o.Timeout <= 0 {
		o.Timeout = promoteTimeout
	}
	c, err := Open(o.Options)
	if err != nil {
		return Report{}, err
	}
	defer c.Close()
	objects, err := c.objects(ctx, "strong")
	if err != nil {
		return Report{}, fmt.Errorf("ask the cluster for its schema: %w", explained(err))
	}
	if len(objects) > 0 && !o.Replace {
		return Report{}, fmt.Errorf("the cluster is not empty (it has %s %s): take another, or say that its content may be replaced",
			objects[0].kind, objects[0].name)
	}
	dir, err := os.MkdirTemp(o.TempDir, "tined-promote-")
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left of a folder of temporary files is no reason to fail
	progress(Progress{Step: "snapshot"})
	snapshot := filepath.Join(dir, "snapshot.db")
	data, err := takeSnapshot(from, snapshot)
	if err != nil {
		return Report{}, fmt.Errorf("snapshot of %s: %w", from, explained(err))
	}
	report := Report{Bytes: int64(len(data))}
	progress(Progress{Step: "load", Bytes: report.Bytes})
	if err := c.load(ctx, data); err != nil {
		return report, fmt.Errorf("load %d bytes into the cluster: %w", len(data), explained(err))
	}
	conn, err := lite.Open(lite.Options{Path: snapshot, Immutable: true, MaxValue: 1 << 30})
	if err != nil {
		return report, fmt.Errorf("snapshot of %s: %w", from, explained(err))
	}
	v := &verifier{c: c, conn: conn, report: &report, progress: progress}
	err = v.all(ctx)
	if closed := conn.Close(); err == nil {
		err = closed
	}
	return report, err
}

// explained adds what an *engine.Error keeps for the log: this is for an operator.
func explained(err error) error {
	var e *engine.Error
	if errors.As(err, &e) && e.Err != nil {
		return fmt.Errorf("%w (%v)", err, e.Err)
	}
	return err
}

// takeSnapshot copies a database into a file of its own, in rollback journal mode, and returns its bytes.
func takeSnapshot(from, to string) ([]byte, error) {
	from, err := filepath.Abs(from)
	if err != nil {
		return nil, err
	}
	conn, err := lite.Open(lite.Options{Path: from, KeepJournal: true, Attach: 1, MaxValue: 1 << 30})
	if err != nil {
		return nil, err
	}
	err = conn.Exec("VACUUM INTO " + quoteText(to))
	if closed := conn.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(to)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxLoad {
		return nil, fmt.Errorf("it has %d MB, and rqlite takes %d MB at once: start the first node with it (rqlite's /boot) instead",
			info.Size()>>20, maxLoad>>20)
	}
	return os.ReadFile(to)
}

// load makes data, a database file, the cluster's content.
func (c *Cluster) load(ctx context.Context, data []byte) error {
	accept := func(response *http.Response) *failure {
		a := newAnswer(response.Body, maxNotice)
		err := a.open()
		for more := true; err == nil && more; {
			if more, err = a.begin(&result{}); more && err == nil {
				err = syntax("a result of a load")
			}
		}
		if err != nil {
			return readFailure(err)
		}
		if a.failure != "" {
			return failureOf(a.failure)
		}
		_ = response.Body.Close() // it was only read
		return nil
	}
	return c.do(ctx, &call{path: "/db/load?timings", kind: "application/octet-stream", body: data, write: true, repeat: true}, accept)
}

// A verifier compares the snapshot with the cluster.
type verifier struct {
	c        *Cluster
	conn     *lite.Conn
	report   *Report
	progress func(Progress)
}

func (v *verifier) all(ctx context.Context) error {
	const settings = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id"
	for _, same := range []struct{ what, sql string }{{"the schema", objectsSQL}, {"user_version and application_id", settings}} {
		here, err := v.here(ctx, same.sql, nil)
		if err != nil {
			return err
		}
		at, columns := 0, 2
		if same.sql == objectsSQL {
			columns, v.report.Objects = 4, len(here)
		}
		err = v.c.readAll(ctx, "strong", same.sql, nil, columns, engine.Limits{}, func(row []engine.Value) error {
			if at >= len(here) {
				return &Difference{Table: same.what, What: "the cluster has " + literals(row) + " more"}
			}
			if !slices.EqualFunc(row, here[at], equal) {
				return &Difference{Table: same.what, What: "the file has " + literals(here[at]) + ", the cluster " + literals(row) + " there"}
			}
			at++
			return nil
		})
		if err != nil {
			return explained(err)
		}
		if at < len(here) {
			return &Difference{Table: same.what, What: "the cluster has not " + literals(here[at])}
		}
	}
	// Virtual tables are compared as what they are made of. Statistics are each node's own.
	tables, err := v.here(ctx, "SELECT name, wr FROM pragma_table_list WHERE schema='main' AND type IN ('table','shadow') "+
		"AND name NOT GLOB 'sqlite_stat*' AND name NOT IN ('sqlite_schema','sqlite_master') ORDER BY name", nil)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := v.table(ctx, string(t[0].Bytes), t[1].Int != 0); err != nil {
			return err
		}
	}
	return nil
}

// here reads all rows of the snapshot's side.
func (v *verifier) here(ctx context.Context, sql string, args []engine.Value) ([][]engine.Value, error) {
	st := engine.Statement{SQL: sql}
	for _, arg := range args {
		st.Args = append(st.Args, engine.Arg{Value: arg})
	}
	r, err := v.conn.Start(ctx, nil, &st, engine.Limits{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var rows [][]engine.Value
	var bytes int64
	for r.Next() {
		row := make([]engine.Value, len(r.Columns()))
		for i := range row {
			row[i] = r.Value(i).Clone()
			bytes += sizeOf(row[i])
		}
		if rows = append(rows, row); args != nil && bytes > chunkBytes {
			break
		}
	}
	return rows, r.Err()
}

// A keyed is a table with what its rows are told apart by: the rowid, or the primary key byte by byte. Two rows of a key differ also so, whatever
// its collations are.
type keyed struct {
	name    string
	key     []string // SQL
	columns []string // SQL
}

func (v *verifier) keyed(ctx context.Context, name string, withoutRowid bool) (*keyed, error) {
	info, err := v.here(ctx, "SELECT name, pk FROM pragma_table_xinfo("+quoteText(name)+") WHERE hidden IN (0,2,3) ORDER BY cid", nil)
	if err != nil {
		return nil, err
	}
	k := &keyed{name: name}
	taken := map[string]bool{}
	for _, column := range info {
		k.columns = append(k.columns, quoteName(string(column[0].Bytes)))
		taken[strings.ToLower(string(column[0].Bytes))] = true
	}
	if withoutRowid {
		for place := int64(1); place <= int64(len(info)); place++ {
			for i, column := range info {
				if column[1].Int == place {
					k.key = append(k.key, k.columns[i]+" COLLATE BINARY")
				}
			}
		}
		return k, nil
	}
	for _, alias := range []string{"rowid", "_rowid_", "oid"} {
		if !taken[alias] {
			k.key = []string{alias}
			return k, nil
		}
	}
	return nil, &Difference{Table: name, What: "its rows have no key: columns hide the rowid under all its names"}
}

// chunk is the SQL of the rows after a key, up to another. Texts of a key are passed as blobs, which rqlite does not mistake for something else; the
// plus keeps the cast from having an affinity.
func (k *keyed) chunk(after, upTo []engine.Value, limit int) (sql string, args []engine.Value) {
	var b strings.Builder
	b.WriteString("SELECT " + strings.Join(k.key, ",") + "," + strings.Join(k.columns, ",") + " FROM " + quoteName(k.name))
	bound := func(word, operator string, values []engine.Value) {
		if values == nil {
			return
		}
		b.WriteString(word + "(" + strings.Join(k.key, ",") + ")" + operator + "(")
		for i, value := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			if value.Kind == engine.Text {
				value = engine.BlobOf(value.Bytes)
				b.WriteString("+CAST(? AS TEXT)")
			} else {
				b.WriteByte('?')
			}
			args = append(args, value)
		}
		b.WriteByte(')')
	}
	bound(" WHERE ", ">", after)
	word := " WHERE "
	if after != nil {
		word = " AND "
	}
	bound(word, "<=", upTo)
	fmt.Fprintf(&b, " ORDER BY %s LIMIT %d", strings.Join(k.key, ","), limit)
	if args == nil {
		args = []engine.Value{} // bounded like the others
	}
	return b.String(), args
}

// table compares a table, chunk by chunk in the order of its keys.
func (v *verifier) table(ctx context.Context, name string, withoutRowid bool) error {
	k, err := v.keyed(ctx, name, withoutRowid)
	if err != nil {
		return err
	}
	columns, keys := len(k.key)+len(k.columns), len(k.key)
	table := TableReport{Name: name}
	var after []engine.Value
	for {
		sql, args := k.chunk(after, nil, chunkRows)
		here, err := v.here(ctx, sql, args)
		if err != nil {
			return fmt.Errorf("verify: table %s: %w", name, err)
		}
		// The cluster's rows between the last key and this chunk's last are the same ones; behind the last chunk there is none.
		var upTo []engine.Value
		if len(here) > 0 {
			upTo = here[len(here)-1][:keys]
		}
		sql, args = k.chunk(after, upTo, len(here)+1)
		at := 0
		err = v.c.readAll(ctx, "weak", sql, args, columns, engine.Limits{}, func(row []engine.Value) error {
			switch {
			case at >= len(here):
				return &Difference{Table: name, Key: literals(row[:keys]), What: "the file has it not"}
			case !slices.EqualFunc(row[:keys], here[at][:keys], equal):
				// Which of the two lacks a row is told by their order, which is SQLite's.
				return &Difference{Table: name, Key: literals(here[at][:keys]), What: "the cluster has row " + literals(row[:keys]) + " there"}
			case !slices.EqualFunc(row, here[at], equal):
				what := "the cluster has " + literals(row[keys:]) + ", the file " + literals(here[at][keys:])
				return &Difference{Table: name, Key: literals(row[:keys]), What: what}
			}
			at++
			return nil
		})
		var difference *Difference
		switch {
		case errors.As(err, &difference):
			return difference
		case err != nil:
			return fmt.Errorf("verify: table %s after row %s: %w", name, literals(after), explained(err))
		case at < len(here):
			return &Difference{Table: name, Key: literals(here[at][:keys]), What: "the cluster has it not"}
		}
		table.Rows += int64(at)
		v.progress(Progress{Step: "verify", Table: name, Rows: table.Rows, Bytes: v.report.Bytes})
		if len(here) == 0 {
			v.report.Tables = append(v.report.Tables, table)
			return nil
		}
		after = upTo
	}
}

// equal compares values with their types. SQLite stores neither NaN nor a zero below zero (https://www.sqlite.org/fileformat2.html#record_format).
func equal(a, b engine.Value) bool {
	switch {
	case a.Kind != b.Kind:
		return false
	case a.Kind == engine.Real:
		return a.Real == b.Real
	}
	return a.Int == b.Int && string(a.Bytes) == string(b.Bytes)
}

// literals writes values for an operator, shortened.
func literals(row []engine.Value) string {
	var parts []string
	for _, v := range row {
		switch v.Kind {
		case engine.Null:
			parts = append(parts, "NULL")
		case engine.Integer:
			parts = append(parts, fmt.Sprint(v.Int))
		case engine.Real:
			parts = append(parts, fmt.Sprintf("%#v", v.Real))
		case engine.Text:
			parts = append(parts, fmt.Sprintf("'%.60s'", v.Bytes))
		case engine.Blob:
			parts = append(parts, fmt.Sprintf("X'%.60X'", v.Bytes[:min(len(v.Bytes), 30)]))
		}
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
