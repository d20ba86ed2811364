package rqlite

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/lite"
)

// TestRealPromote copies a file of all kinds of things into a cluster of three, spoils a row there, and finds it.
func TestRealPromote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	conn, err := lite.Open(lite.Options{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, v, g AS (id * 2) STORED)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 1700) INSERT INTO a(v) SELECT CASE i%5 WHEN 0 THEN i WHEN 1 THEN i/4.0 " +
			"WHEN 2 THEN 'text '||i WHEN 3 THEN randomblob(20) END FROM n",
		"INSERT INTO a(id, v) VALUES(-5, 9e999), (9223372036854775806, 'x''41''')",
		"CREATE TABLE k(a COLLATE NOCASE, b, d DATE, PRIMARY KEY(a COLLATE BINARY, b DESC)) WITHOUT ROWID",
		"INSERT INTO k VALUES('one', 1, 5), ('ONE', 1, '2026-01-01'), ('X''41''', X'00', NULL), (1, 2, 3), (1.5, 'b', 3), (X'31', 1, 1)",
		"CREATE TABLE rowid(rowid, oid TEXT)", "INSERT INTO rowid VALUES('r', 'o'), ('s', X'6f')",
		"CREATE INDEX i ON a(v)", "CREATE VIEW w AS SELECT * FROM a",
		"CREATE TRIGGER g AFTER INSERT ON k BEGIN DELETE FROM a WHERE id = new.b; END",
		"CREATE VIRTUAL TABLE f USING fts5(body)", "INSERT INTO f VALUES('words to find')", "PRAGMA user_version = 7",
	} {
		if err := conn.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	nodes := startNodes(t, 3)
	c := openNodes(t, nodes, Options{})
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, "http://"+n.http)
	}
	report, err := Promote(t.Context(), path, addresses, PromoteOptions{TempDir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, table := range report.Tables {
		counts[table.Name] = table.Rows
	}
	if counts["a"] != 1702 || counts["k"] != 6 || counts["rowid"] != 2 ||
		counts["sqlite_sequence"] != 1 || counts["f_content"] != 1 || report.Objects < 6 {
		t.Errorf("%+v", report)
	}
	_, err = Promote(t.Context(), path, addresses, PromoteOptions{TempDir: t.TempDir()}, nil)
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Error(err)
	}
	if out := mustWrite(t, c, vetted, "UPDATE f SET body = 'others' WHERE f MATCH 'find'"); out.RowsAffected != 1 {
		t.Errorf("full-text search: %+v", out)
	}
	if _, err := Promote(t.Context(), path, addresses, PromoteOptions{TempDir: t.TempDir(), Replace: true}, nil); err != nil {
		t.Error(err)
	}
	snapshot := filepath.Join(t.TempDir(), "snapshot.db")
	if _, err := takeSnapshot(path, snapshot); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []struct{ sql, undo, table, key string }{
		{"UPDATE a SET v = 5.0 WHERE id = 5", "UPDATE a SET v = 5 WHERE id = 5", "a", "(5)"},
		{"DELETE FROM a WHERE id = 1500", "", "a", "(1500)"},
		{"INSERT INTO a(id, v) VALUES(1000000, 1)", "", "a", "(9223372036854775806)"},
		{"INSERT INTO k VALUES('ONE', 0, 5)", "", "k", "('ONE', 1)"},
		{"UPDATE rowid SET oid = 'changed' WHERE rowid = 's'", "", "rowid", "(2)"},
	} {
		mustWrite(t, c, vetted, spoil.sql)
		var d *Difference
		if err := verifySnapshot(t, c, snapshot); !errors.As(err, &d) || d.Table != spoil.table || d.Key != spoil.key {
			t.Errorf("%s: %v", spoil.sql, err)
		}
		if spoil.undo != "" {
			mustWrite(t, c, vetted, spoil.undo)
			continue
		}
		if _, err := Promote(t.Context(), snapshot, addresses, PromoteOptions{TempDir: t.TempDir(), Replace: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ddl(t, c, "DROP INDEX i")
	if err := verifySnapshot(t, c, snapshot); err == nil || !strings.Contains(err.Error(), "CREATE INDEX i") {
		t.Error(err)
	}
}

func verifySnapshot(t *testing.T, c *Cluster, snapshot string) error {
	t.Helper()
	conn, err := lite.Open(lite.Options{Path: snapshot, Immutable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	v := &verifier{c: c, conn: conn, report: &Report{}, progress: func(Progress) {}}
	return v.all(t.Context())
}
