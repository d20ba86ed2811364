package upkeep

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// newDatabase makes a database with a table items of so many rows, and keeps a connection to it, as a server does.
func newDatabase(t *testing.T, name string, rows int) (Database, *conn) {
	t.Helper()
	d := Database{Name: name, Path: filepath.Join(t.TempDir(), name+".db"), Settings: DefaultSettings()}
	if err := makeEmpty(d.Path); err != nil {
		t.Fatal(err)
	}
	c, err := open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	must(t, c, "CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT)")
	insert(t, c, rows)
	return d, c
}

// withBackups gives a database a directory of backups.
func withBackups(t *testing.T, d Database) Database {
	t.Helper()
	d.Settings.Backup = &Backups{Directory: t.TempDir(), Every: time.Hour, Keep: 3, Check: checkFull, Timeout: time.Minute}
	return d
}

func must(t *testing.T, c *conn, sql string, args ...engine.Value) [][]engine.Value {
	t.Helper()
	rows, err := c.rows(context.Background(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// insert adds rows of some 100 bytes each.
func insert(t *testing.T, c *conn, rows int) {
	t.Helper()
	must(t, c, fmt.Sprintf("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO items(text) SELECT printf('%%0100d', i) FROM n WHERE %d > 0",
		max(rows, 1), rows))
}

func count(t *testing.T, c *conn, table string) int64 {
	t.Helper()
	return must(t, c, "SELECT count(*) FROM "+table)[0][0].Int
}

// countIn counts the items of a file that nobody has open.
func countIn(t *testing.T, path string) int64 {
	t.Helper()
	c, err := openCopy(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.integrity(context.Background(), checkFull); err != nil {
		t.Fatal(err)
	}
	return count(t, c, "items")
}

// listing are the names in a directory but those of locks.
func listing(t *testing.T, directory string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			names = append(names, e.Name())
		}
	}
	return names
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func wants(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestBackupAndRotation(t *testing.T) {
	d, c := newDatabase(t, "shop", 1000)
	d = withBackups(t, d)
	b := d.Settings.Backup
	b.KeepFor = 100 * time.Hour
	write(t, filepath.Join(b.Directory, "notes.txt"), "mine")
	write(t, filepath.Join(b.Directory, "shop-eu-20260101T000000Z.db"), "another's")
	write(t, filepath.Join(b.Directory, ".shop-20260101T000000Z.db.part"), "of one that was killed")
	write(t, filepath.Join(b.Directory, ".shop-eu-20260101T000000Z.db.part"), "another's, at work")
	var made Copy
	for i := range 5 {
		var err error
		if made, err = Backup(t.Context(), d, b, noon.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		insert(t, c, 10)
	}
	want := []string{".shop-eu-20260101T000000Z.db.part", "notes.txt", "shop-20260304T140000Z.db", "shop-20260304T150000Z.db", "shop-20260304T160000Z.db",
		"shop-eu-20260101T000000Z.db"}
	if got := listing(t, b.Directory); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if made.Path != filepath.Join(b.Directory, want[4]) || countIn(t, made.Path) != 1040 || made.Size == 0 {
		t.Errorf("%+v", made)
	}
	if _, err := Backup(t.Context(), d, b, noon.Add(4*time.Hour)); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second one of the same second: %v", err)
	}
	if _, err := Backup(t.Context(), d, b, noon.Add(200*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, _ := copies(b.Directory, "shop"); len(got) != 1 {
		t.Errorf("old ones are kept: %v", got)
	}
}

func TestBackupFails(t *testing.T) {
	d, _ := newDatabase(t, "shop", 10)
	d = withBackups(t, d)
	b := d.Settings.Backup
	release, err := claimCopies(b.Directory, "shop")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Backup(t.Context(), d, b, noon)
	wants(t, err, "another process makes a backup")
	release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Backup(ctx, d, b, noon); err == nil {
		t.Error("a cancelled one is made")
	}
	gone := *b
	gone.Directory = filepath.Join(b.Directory, "none")
	_, err = Backup(t.Context(), d, &gone, noon)
	wants(t, err, "no such file")
	d.Path = write(t, filepath.Join(t.TempDir(), "x.db"), strings.Repeat("this is no database ", 100))
	_, err = Backup(t.Context(), d, b, noon)
	wants(t, err, "back shop up", "damaged, or no database")
	if got := listing(t, b.Directory); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}

// A copy of a broken database does not count.
func TestBackupOfABrokenDatabase(t *testing.T) {
	d, c := newDatabase(t, "shop", 5000)
	must(t, c, "CREATE INDEX by_text ON items(text)")
	if _, err := c.checkpoint("TRUNCATE"); err != nil {
		t.Fatal(err)
	}
	root := must(t, c, "SELECT rootpage FROM sqlite_schema WHERE name = 'items'")[0][0].Int
	c.close()
	d = withBackups(t, d)
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 4096), (root-1)*4096); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = Backup(t.Context(), d, d.Settings.Backup, noon)
	wants(t, err, "back shop up")
	if got := listing(t, d.Settings.Backup.Directory); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}

func TestDue(t *testing.T) {
	day := 24 * time.Hour
	at := func(hours ...int) (list []Copy) {
		for _, h := range hours {
			list = append(list, Copy{Time: noon.Add(time.Duration(h) * time.Hour)})
		}
		return list
	}
	local := noon.Local()
	past := local.Add(-time.Hour).Format("15:04")
	for name, c := range map[string]struct {
		b    Backups
		list []Copy
		want bool
	}{
		"none":                            {Backups{Every: day}, nil, true},
		"a young one":                     {Backups{Every: day}, at(-23), false},
		"an old one":                      {Backups{Every: day}, at(-24, -48), true},
		"one from the future":             {Backups{Every: day}, at(5), true},
		"one from the future and another": {Backups{Every: day}, at(5, -1), false},
		"since the time of day":           {Backups{Every: day, At: past}, at(-2), true},
		"after the time of day":           {Backups{Every: day, At: past}, at(0), false},
		"before today's time of day":      {Backups{Every: day, At: local.Add(time.Hour).Format("15:04")}, at(-22), false},
		"and yesterday's was missed":      {Backups{Every: day, At: local.Add(time.Hour).Format("15:04")}, at(-24), true},
	} {
		if got := c.b.due(noon, c.list); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRestore(t *testing.T) {
	d, c := newDatabase(t, "shop", 1000)
	d = withBackups(t, d)
	made, err := Backup(t.Context(), d, d.Settings.Backup, noon)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "DELETE FROM items WHERE id > 3")
	must(t, c, "CREATE TABLE later (id INTEGER PRIMARY KEY)")
	_, err = Restore(t.Context(), d, made.Path, false, noon)
	wants(t, err, "restore shop", "no table later", "--force")
	// A reader that has begun sees the old content to its end.
	reader, err := open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	must(t, reader, "BEGIN")
	if n := count(t, reader, "items"); n != 3 {
		t.Fatal(n)
	}
	done, err := Restore(t.Context(), d, made.Path, true, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, reader, "items"); n != 3 {
		t.Errorf("a reader in a transaction sees %d items", n)
	}
	must(t, reader, "COMMIT")
	for _, one := range []*conn{reader, c} {
		if n := count(t, one, "items"); n != 1000 {
			t.Errorf("%d items after restoring", n)
		}
		if err := one.integrity(t.Context(), checkFull); err != nil {
			t.Error(err)
		}
	}
	if done.Tables != 1 || filepath.Base(done.Saved.Path) != "shop-20260304T130000Z.before-restore.db" || countIn(t, done.Saved.Path) != 3 {
		t.Errorf("%+v", done)
	}
	must(t, c, "INSERT INTO items(text) VALUES ('after')") // it is a database that can be written, in WAL mode
	if mode := string(must(t, c, "PRAGMA journal_mode")[0][0].Bytes); mode != "wal" {
		t.Errorf("journal mode %s", mode)
	}
	// What was saved counts as no backup, and is a backup.
	if list, _ := copies(d.Settings.Backup.Directory, "shop"); len(list) != 1 {
		t.Errorf("%v", list)
	}
	if _, err := Restore(t.Context(), d, done.Saved.Path, false, noon.Add(2*time.Hour)); err != nil || count(t, c, "items") != 3 || count(t, c, "later") != 0 {
		t.Errorf("back again: %v", err)
	}
}

func TestRestoreOtherPageSize(t *testing.T) {
	d, c := newDatabase(t, "shop", 10)
	other := filepath.Join(t.TempDir(), "other.db")
	must(t, c, "PRAGMA page_size = 8192")
	must(t, c, "VACUUM INTO '"+other+"'")
	insert(t, c, 10)
	if _, err := Restore(t.Context(), d, other, false, noon); err != nil {
		t.Fatal(err)
	}
	if n, size := count(t, c, "items"), must(t, c, "PRAGMA page_size")[0][0].Int; n != 10 || size != 4096 {
		t.Errorf("%d items, pages of %d bytes", n, size)
	}
	if got := listing(t, filepath.Dir(other)); !slices.Equal(got, []string{"other.db", "shop-20260304T120000Z.before-restore.db"}) {
		t.Errorf("%q", got)
	}
}

func TestRestoreRefuses(t *testing.T) {
	d, c := newDatabase(t, "shop", 10)
	d = withBackups(t, d)
	made, err := Backup(t.Context(), d, d.Settings.Backup, noon)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "PRAGMA application_id = 7")
	_, err = Restore(t.Context(), d, made.Path, false, noon)
	wants(t, err, "another application", "--force")
	must(t, c, "PRAGMA application_id = 0")
	whole, err := os.ReadFile(made.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "none": strings.Repeat("x", 5000), "half": string(whole[:len(whole)/2])} {
		_, err := Restore(t.Context(), d, write(t, filepath.Join(dir, name), text), false, noon)
		if err == nil {
			t.Errorf("%s is restored", name)
		}
	}
	write(t, filepath.Join(dir, "split"), string(whole))
	write(t, filepath.Join(dir, "split-wal"), "frames")
	_, err = Restore(t.Context(), d, filepath.Join(dir, "split"), false, noon)
	wants(t, err, "split-wal holds a part", "VACUUM INTO")
	if n := count(t, c, "items"); n != 10 {
		t.Errorf("%d items", n)
	}
	// Nothing waits for ever: not for the writers of the server, and not for outside programs.
	unlock, err := lock(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Restore(ctx, d, made.Path, false, noon)
	wants(t, err, "wait for the writers")
	unlock()
	must(t, c, "BEGIN IMMEDIATE")
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Restore(ctx, d, made.Path, false, noon); err == nil {
		t.Error("restored under a writer")
	}
	must(t, c, "ROLLBACK")
	if _, err := Restore(t.Context(), d, made.Path, false, noon.Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestRestoreToAFile(t *testing.T) {
	d, _ := newDatabase(t, "shop", 10)
	d = withBackups(t, d)
	made, err := Backup(t.Context(), d, d.Settings.Backup, noon)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new.db")
	if err := RestoreTo(t.Context(), made.Path, to); err != nil || countIn(t, to) != 10 {
		t.Errorf("%v", err)
	}
	wants(t, RestoreTo(t.Context(), made.Path, to), "is there already")
	os.Remove(to)
	write(t, to+"-wal", "of another database")
	wants(t, RestoreTo(t.Context(), made.Path, to), "-wal is there already")
	// A database whose file is lost is made anew.
	lost := d
	lost.Path = filepath.Join(t.TempDir(), "shop.db")
	if _, err := Restore(t.Context(), lost, made.Path, false, noon); err != nil || countIn(t, lost.Path) != 10 {
		t.Errorf("%v", err)
	}
}

func TestDrill(t *testing.T) {
	d, _ := newDatabase(t, "shop", 10)
	folder := t.TempDir()
	if k := RunDrill(t.Context(), d, folder, noon); k.Err == nil {
		t.Error("without a block backup it is well")
	}
	d = withBackups(t, d)
	if k := RunDrill(t.Context(), d, folder, noon); k.Err != errNoBackup {
		t.Errorf("%v", k.Err)
	}
	made, err := Backup(t.Context(), d, d.Settings.Backup, noon)
	if err != nil {
		t.Fatal(err)
	}
	if k := RunDrill(t.Context(), d, folder, noon.Add(time.Minute)); k.Err != nil || k.Rows != 10 || k.Tables != 1 || k.Backup.Path != made.Path {
		t.Errorf("%+v", k)
	}
	if k := RunDrill(t.Context(), d, folder, noon.Add(3*time.Hour)); k.Err == nil || !strings.Contains(k.Err.Error(), "3h0m0s old") {
		t.Errorf("an old one: %v", k.Err)
	}
	if err := os.Truncate(made.Path, 5000); err != nil {
		t.Fatal(err)
	}
	k := RunDrill(t.Context(), d, folder, noon)
	wants(t, k.Err, "no good backup")
	if got := listing(t, folder); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}
