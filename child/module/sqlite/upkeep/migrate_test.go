package upkeep

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// migrationsOf writes a directory of migrations, given as name, text, name, text.
func migrationsOf(t testing.TB, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, pairs[i]), []byte(pairs[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                 nil,
		" ;; -- nothing\n /* ; */ ":        nil,
		"SELECT 1":                         {"SELECT 1"},
		"SELECT 1;SELECT 2;\n":             {"SELECT 1;", "SELECT 2;"},
		"SELECT ';''' ; SELECT \";\", [;]": {"SELECT ';''' ;", "SELECT \";\", [;]"},
		"-- a;\nSELECT 1 -- b;\n;":         {"SELECT 1 -- b;\n;"},
		"CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET a = CASE 1 WHEN 1 THEN 2 END; SELECT 1; END; SELECT 2": {
			"CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET a = CASE 1 WHEN 1 THEN 2 END; SELECT 1; END;", "SELECT 2"},
		"create/**/temp\ntrigger a begin select 1; end ; select 2":        {"create/**/temp\ntrigger a begin select 1; end ;", "select 2"},
		"EXPLAIN QUERY PLAN CREATE TRIGGER a BEGIN SELECT 1; END; SELECT": {"EXPLAIN QUERY PLAN CREATE TRIGGER a BEGIN SELECT 1; END;", "SELECT"},
		"CREATE TABLE trigger_a (x); SELECT 1;":                           {"CREATE TABLE trigger_a (x);", "SELECT 1;"},
		"\ufeffSELECT 1;":                                                 {"SELECT 1;"},
		"SELECT 'open; no":                                                {"SELECT 'open; no"},
		"SELECT 1 /* open;":                                               {"SELECT 1 /* open;"},
	} {
		var got []string
		for _, p := range split(text) {
			got = append(got, p.sql)
			if text[p.offset:p.offset+len(p.sql)] != p.sql {
				t.Errorf("%q: %q does not stand at %d", text, p.sql, p.offset)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Whatever the text is: the statements stand in it in their order, do not overlap, and what is between them is space, comments and semicolons.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"SELECT 1; -- x\nSELECT ';'", "CREATE TRIGGER a BEGIN SELECT 1; END; x", "/*", "'", "\ufeff;", "[", "\x00;\xff", "--"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at := 0
		for _, p := range split(text) {
			if p.offset < at || p.sql == "" || text[p.offset:p.offset+len(p.sql)] != p.sql {
				t.Fatalf("%q: %+v at %d", text, p, at)
			}
			if between := split(text[at:p.offset]); len(between) != 0 && p.offset > 0 && at > 0 {
				t.Fatalf("%q: %+v was left out", text, between)
			}
			at = p.offset + len(p.sql)
			p.refused()
			if line, column := place(text, p.offset); line < 1 || column < 1 {
				t.Fatalf("%d:%d", line, column)
			}
		}
	})
}

func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	dir := migrationsOf(t,
		"0001_create.sql", "CREATE TABLE items (id INTEGER PRIMARY KEY);\nINSERT INTO items VALUES (1), (2);",
		"0002_prices.sql", "-- prices\nALTER TABLE items ADD price REAL;\nCREATE TRIGGER t AFTER INSERT ON items BEGIN\n  UPDATE items SET price = 1; END;\nINSERT INTO items(id) VALUES (3)",
		"README.md", "not one", ".0003_hidden.sql", "not one")
	todo, err := Rehearse(t.Context(), path, dir)
	if err != nil || !slices.Equal(todo, []string{"0001_create.sql", "0002_prices.sql"}) {
		t.Fatalf("%q, %v", todo, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("a rehearsal has made the file")
	}
	applied, err := Migrate(t.Context(), path, dir)
	if err != nil || !slices.Equal(applied, todo) {
		t.Fatalf("%q, %v", applied, err)
	}
	if applied, err := Migrate(t.Context(), path, dir); err != nil || len(applied) > 0 {
		t.Errorf("again: %q, %v", applied, err)
	}
	c, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if n := count(t, c, "items WHERE price = 1"); n != 3 {
		t.Errorf("%d items", n)
	}
	rows := must(t, c, "SELECT version, name, length(sha256), applied_at LIKE '20__-__-__T__:__:__Z' FROM tined_migrations ORDER BY version")
	if len(rows) != 2 || rows[1][0].Int != 2 || string(rows[1][1].Bytes) != "0002_prices.sql" || rows[1][2].Int != 64 || rows[1][3].Int != 1 {
		t.Errorf("%v", rows)
	}
	// One more, while the database is open.
	write(t, filepath.Join(dir, "0003_more.sql"), "CREATE TABLE more (id INTEGER PRIMARY KEY)")
	if todo, err := Rehearse(t.Context(), path, dir); err != nil || !slices.Equal(todo, []string{"0003_more.sql"}) {
		t.Errorf("%q, %v", todo, err)
	}
	if applied, err := Migrate(t.Context(), path, dir); err != nil || !slices.Equal(applied, []string{"0003_more.sql"}) || count(t, c, "more") != 0 {
		t.Errorf("%q, %v", applied, err)
	}
}

func TestMigrateFails(t *testing.T) {
	const create = "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent);"
	for name, c := range map[string]struct {
		files []string
		want  []string
	}{
		"a mistake":        {[]string{"0002_x.sql", "SELECT 1;\n  INSERT INTO\n  nowhere VALUES (1);"}, []string{"0002_x.sql:2:3: no such table: nowhere"}},
		"syntax":           {[]string{"0002_x.sql", "CREATE TABLE a (b);\nSELECT 1 FORM a;"}, []string{`0002_x.sql:2:15: near "a": syntax error`}},
		"a constraint":     {[]string{"0002_x.sql", "INSERT INTO parent VALUES (1);\nINSERT INTO parent VALUES (1)"}, []string{"0002_x.sql:2:1: UNIQUE constraint failed"}},
		"a transaction":    {[]string{"0002_x.sql", "SELECT 1;\n  commit;"}, []string{"0002_x.sql:2:3: COMMIT cannot stand in a migration"}},
		"many mistakes":    {[]string{"0002_x.sql", "BEGIN;\nATTACH 'x' AS y;\nVACUUM;\nPRAGMA foreign_keys = off;\n.mode"}, []string{":1:1: BEGIN", ":2:1: ATTACH", ":3:1: VACUUM", ":4:1: this PRAGMA", ":5:1: this is a command of the sqlite3 shell"}},
		"a rollback":       {[]string{"0002_x.sql", "INSERT INTO parent VALUES (1);\nINSERT OR ROLLBACK INTO parent VALUES (1)"}, []string{"0002_x.sql:2:1: "}},
		"a hidden one":     {[]string{"0002_x.sql", "CREATE TRIGGER t AFTER INSERT ON parent BEGIN SELECT raise(ROLLBACK, 'no'); END;\nINSERT INTO parent VALUES (1)"}, []string{"0002_x.sql:2:1: no"}},
		"a foreign key":    {[]string{"0002_x.sql", "INSERT INTO child VALUES (1, 7)"}, []string{"0002_x.sql leaves 1 rows", "rowid 1 of child, which refers to parent"}},
		"a gap":            {[]string{"0003_x.sql", "SELECT 1"}, []string{"0003_x.sql follows 0001_create.sql", "no migration 0002"}},
		"one number twice": {[]string{"0001_x.sql", "SELECT 1"}, []string{"0001_x.sql has the number of 0001_create.sql"}},
		"a name":           {[]string{"2-x.sql", "SELECT 1"}, []string{"2-x.sql: the name of a migration is"}},
		"nothing":          {[]string{"0002_x.sql", "-- later"}, []string{"0002_x.sql holds no statement"}},
		"a zero byte":      {[]string{"0002_x.sql", "SELECT 1;\nSELECT \x00 2"}, []string{"0002_x.sql:2:1: the statement holds a zero byte"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "shop.db")
			dir := migrationsOf(t, "0001_create.sql", create)
			if _, err := Migrate(t.Context(), path, dir); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(c.files); i += 2 {
				write(t, filepath.Join(dir, c.files[i]), c.files[i+1])
			}
			_, err := Migrate(t.Context(), path, dir)
			wants(t, err, c.want...)
			_, err = Rehearse(t.Context(), path, dir)
			wants(t, err, c.want...)
			k, err := open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer k.close()
			if count(t, k, "parent") != 0 || count(t, k, "child") != 0 || count(t, k, "tined_migrations") != 1 || count(t, k, "sqlite_schema WHERE name = 'a'") != 0 {
				t.Error("half of it is done")
			}
		})
	}
}

// A table can be made anew though others refer to it.
func TestMigrateAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	dir := migrationsOf(t, "0001_create.sql", `CREATE TABLE parent (id INTEGER PRIMARY KEY, a);
CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent ON DELETE CASCADE);
INSERT INTO parent VALUES (1, 2); INSERT INTO child VALUES (1, 1);`,
		"0002_anew.sql", `CREATE TABLE new_parent (id INTEGER PRIMARY KEY, a INTEGER NOT NULL);
INSERT INTO new_parent SELECT * FROM parent;
DROP TABLE parent;
ALTER TABLE new_parent RENAME TO parent;`)
	if _, err := Migrate(t.Context(), path, dir); err != nil {
		t.Fatal(err)
	}
	c, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if count(t, c, "child") != 1 || count(t, c, "parent") != 1 {
		t.Error("rows have gone with the old table")
	}
}

func TestPending(t *testing.T) {
	list := func(versions ...int) (l []migration) {
		for _, v := range versions {
			name := fmt.Sprintf("%04d_x.sql", v)
			l = append(l, migration{version: v, name: name, path: "m/" + name, sha256: fmt.Sprint("sum", v)})
		}
		return l
	}
	done := func(versions ...int) (l []appliedMigration) {
		for _, m := range list(versions...) {
			l = append(l, appliedMigration{m.version, m.name, m.sha256, "2026-01-01T00:00:00Z"})
		}
		return l
	}
	changed := done(1, 2)
	changed[0].sha256 = "other"
	for name, c := range map[string]struct {
		files []migration
		done  []appliedMigration
		todo  string
		want  string
	}{
		"all":                    {list(1, 2), nil, "0001_x.sql, 0002_x.sql", ""},
		"the last one":           {list(1, 2, 3), done(1, 2), "0003_x.sql", ""},
		"none":                   {list(1, 2), done(1, 2), "", ""},
		"files of an older time": {list(1), done(1, 2), "", ""},
		"first ones are gone":    {list(3, 4), done(1, 2, 3), "", "0002_x.sql was applied on 2026-01-01T00:00:00Z, and its file is gone"},
		"a changed one":          {list(1, 2, 3), changed, "", "m/0001_x.sql has changed since it was applied on 2026-01-01T00:00:00Z as sha256 other: bring its old text back, and write the change as a new file, 0004_….sql"},
		"the first one is gone":  {list(1, 2, 3)[1:], done(1, 2), "", "0001_x.sql was applied on"},
		"one lost in the middle": {append(list(1), list(3)...), done(1, 2), "", "0002_x.sql was applied on 2026-01-01T00:00:00Z, and its file is gone"},
		"too new":                {list(4, 5), done(1, 2), "", "the database is at migration 0002, and the files begin with 0004_x.sql"},
		"too late":               {list(1, 2, 3), append(done(1), done(3)...), "", "m/0002_x.sql was not applied, and later ones were: give it the number 0004"},
	} {
		todo, err := pending(c.files, c.done)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || versions(todo) != c.todo {
			t.Errorf("%s: %q, %v", name, versions(todo), err)
		}
	}
}

// Whoever comes at the same time: each file is applied once.
func TestMigrateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	var pairs []string
	for i := 1; i <= 20; i++ {
		pairs = append(pairs, fmt.Sprintf("%04d_x.sql", i), "CREATE TABLE IF NOT EXISTS log (version); INSERT INTO log SELECT "+fmt.Sprint(i))
	}
	dir := migrationsOf(t, pairs...)
	var all sync.WaitGroup
	total := make([]int, 6)
	for i := range total {
		all.Go(func() {
			applied, err := Migrate(t.Context(), path, dir)
			if err != nil {
				t.Error(err)
			}
			total[i] = len(applied)
		})
	}
	all.Wait()
	c, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if sum := total[0] + total[1] + total[2] + total[3] + total[4] + total[5]; sum != 20 || count(t, c, "log") != 20 {
		t.Errorf("%v, %d rows", total, count(t, c, "log"))
	}
}

// What root makes belongs to whom the directory belongs to: else the server, which is not root, could not write its own database.
func TestRootGivesFilesAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this takes root")
	}
	const other = 65534
	dir, backups := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, backups} {
		if err := os.Chown(d, other, other); err != nil {
			t.Fatal(err)
		}
	}
	d := Database{Name: "shop", Path: filepath.Join(dir, "shop.db"), Settings: DefaultSettings()}
	if _, err := Migrate(t.Context(), d.Path, migrationsOf(t, "0001_a.sql", "CREATE TABLE items (b)")); err != nil {
		t.Fatal(err)
	}
	c, err := open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	must(t, c, "INSERT INTO items VALUES (1)")
	d.Settings.Backup = &Backups{Directory: backups, Keep: 1, Check: checkFull}
	made, err := Backup(t.Context(), d, d.Settings.Backup, noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := RestoreTo(t.Context(), made.Path, filepath.Join(dir, "new.db")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{d.Path, d.Path + "-wal", d.Path + "-shm", d.Path + "-turnstile", made.Path, filepath.Join(backups, ".shop.lock"), filepath.Join(dir, "new.db")} {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil || st.Uid != other || st.Gid != other {
			t.Errorf("%s: owner %d, group %d, %v", path, st.Uid, st.Gid, err)
		}
	}
}
