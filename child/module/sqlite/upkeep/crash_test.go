package upkeep

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays a process that works on a database until it is killed: UPKEEP_TEST_WORK is what, and the paths.
func TestMain(m *testing.M) {
	if work := os.Getenv("UPKEEP_TEST_WORK"); work != "" {
		if err := playWorker(strings.Split(work, "|")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func playWorker(args []string) error {
	ctx := context.Background()
	d := Database{Name: "shop", Path: args[1], Settings: DefaultSettings()}
	fmt.Println("begun")
	switch args[0] {
	case "backup":
		d.Settings.Backup = &Backups{Directory: args[2], Every: time.Hour, Keep: 1000, Check: checkQuick}
		for at := time.Unix(int64(os.Getpid())*1000, 0); ; at = at.Add(time.Second) { // a name for each
			if _, err := Backup(ctx, d, d.Settings.Backup, at); err != nil {
				return err
			}
		}
	case "restore":
		for at := time.Now(); ; at = at.Add(time.Second) {
			for _, backup := range args[2:4] {
				c, err := open(d.Path)
				if err != nil {
					return err
				}
				from, _, err := openBackup(ctx, backup, false)
				if err != nil {
					return err
				}
				if err := whileBusy(ctx, func() error { return c.lite.Overwrite(from.lite) }); err != nil {
					return err
				}
				from.close()
				c.close()
			}
		}
	case "migrate":
		_, err := Migrate(ctx, args[1], args[2])
		return err
	case "limited": // files of at most so many bytes: the disk is full
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			return err
		}
		d.Settings.Backup = &Backups{Directory: args[2], Every: time.Hour, Keep: 1, Check: checkQuick}
		_, err := Backup(ctx, d, d.Settings.Backup, noon)
		return err
	}
	return fmt.Errorf("no work %q", args[0])
}

// work starts one, and returns when it has begun.
func work(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "UPKEEP_TEST_WORK="+strings.Join(args, "|"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// killAfter kills a process, which is at some point of its work then.
func killAfter(t *testing.T, cmd *exec.Cmd, d time.Duration) {
	t.Helper()
	timer := time.AfterFunc(d, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer timer.Stop()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
		t.Errorf("the process failed before it was killed: %v", err)
	}
}

func TestKilledBackups(t *testing.T) {
	d, c := newDatabase(t, "shop", 20_000)
	d = withBackups(t, d)
	b := d.Settings.Backup
	b.Keep = 1000
	for i := range 12 {
		killAfter(t, work(t, "backup", d.Path, b.Directory), time.Duration(5+17*i)*time.Millisecond)
	}
	for _, name := range listing(t, b.Directory) {
		if name[0] == '.' {
			continue // what is left of a killed one counts as nothing
		}
		if n := countIn(t, filepath.Join(b.Directory, name)); n != 20_000 {
			t.Errorf("%s has %d items", name, n)
		}
	}
	if _, err := Backup(t.Context(), d, b, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, name := range listing(t, b.Directory) {
		if name[0] == '.' {
			t.Errorf("%s is still there after the next one", name)
		}
	}
	if n := count(t, c, "items"); n != 20_000 {
		t.Errorf("%d items", n)
	}
}

// Whoever reads while one is restored, and the process is killed, sees one of the two contents.
func TestKilledRestores(t *testing.T) {
	d, c := newDatabase(t, "shop", 10_000)
	dir := t.TempDir()
	large, small := filepath.Join(dir, "large.db"), filepath.Join(dir, "small.db")
	must(t, c, "VACUUM INTO '"+large+"'")
	must(t, c, "DELETE FROM items WHERE id > 100")
	must(t, c, "VACUUM INTO '"+small+"'")
	seen := map[int64]int{}
	for i := range 12 {
		cmd := work(t, "restore", d.Path, large, small)
		done := make(chan struct{})
		go func() {
			killAfter(t, cmd, time.Duration(20+31*i)*time.Millisecond)
			close(done)
		}()
		for going := true; going; {
			select {
			case <-done:
				going = false
			default:
			}
			n := count(t, c, "items")
			if n != 100 && n != 10_000 {
				t.Fatalf("%d items: half of a restore", n)
			}
			seen[n]++
		}
		if err := c.integrity(t.Context(), checkFull); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 2 {
		t.Errorf("no restore came to its end: %v", seen)
	}
}

func TestKilledMigrations(t *testing.T) {
	var pairs []string
	const files = 30
	for i := 1; i <= files; i++ {
		pairs = append(pairs, fmt.Sprintf("%04d_x.sql", i), fmt.Sprintf("CREATE TABLE t%d (a);"+
			" INSERT INTO t%d WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 500) SELECT i FROM n;"+
			" CREATE TABLE IF NOT EXISTS log (version); INSERT INTO log VALUES (%d);", i, i, i))
	}
	dir := migrationsOf(t, pairs...)
	path := filepath.Join(t.TempDir(), "shop.db")
	for i := range 8 {
		one, two := work(t, "migrate", path, dir), work(t, "migrate", path, dir)
		killAfter(t, one, time.Duration(5+9*i)*time.Millisecond)
		killAfter(t, two, time.Millisecond)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		c, err := open(path)
		if err != nil {
			t.Fatal(err)
		}
		if must(t, c, "SELECT count(*) FROM sqlite_schema WHERE name = 'log'")[0][0].Int == 1 {
			logged, remembered := count(t, c, "log"), count(t, c, "tined_migrations")
			tables := count(t, c, "sqlite_schema WHERE name LIKE 't%' AND name <> 'tined_migrations'")
			if logged != remembered || tables != logged || count(t, c, fmt.Sprintf("t%d", logged)) != 500 {
				t.Errorf("%d applied, %d remembered, %d tables", logged, remembered, tables)
			}
		}
		c.close()
	}
	if _, err := Migrate(t.Context(), path, dir); err != nil {
		t.Fatal(err)
	}
	c, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if n := count(t, c, "log"); n != files {
		t.Errorf("%d of %d were applied", n, files)
	}
}

// A disk that is full in the middle of a copy: the reason is said, nothing is left, and the older copies stay.
func TestBackupOnAFullDisk(t *testing.T) {
	d, _ := newDatabase(t, "shop", 30_000)
	d = withBackups(t, d)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "UPKEEP_TEST_WORK="+strings.Join([]string{"limited", d.Path, d.Settings.Backup.Directory}, "|"))
	older := write(t, filepath.Join(d.Settings.Backup.Directory, "shop-20250101T000000Z.db"), "an older one")
	text, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(text), "back shop up") {
		t.Errorf("%v: %s", err, text)
	}
	if got := listing(t, d.Settings.Backup.Directory); len(got) != 1 || got[0] != filepath.Base(older) {
		t.Errorf("%q", got)
	}
	t.Logf("%s", text)
}

// The same on a real small disk, which takes the right to mount one.
func TestBackupOnASmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	d, _ := newDatabase(t, "shop", 30_000)
	d = withBackups(t, d)
	d.Settings.Backup.Directory = dir
	_, err := Backup(t.Context(), d, d.Settings.Backup, noon)
	wants(t, err, "back shop up", "the database has", "left: make room")
	if got := listing(t, dir); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
	small := write(t, filepath.Join(t.TempDir(), "x"), "")
	os.Remove(small)
	if made, err := Backup(t.Context(), d, &Backups{Directory: filepath.Dir(small), Keep: 1, Check: checkQuick}, noon); err != nil {
		t.Error(err)
	} else {
		wants(t, RestoreTo(t.Context(), made.Path, filepath.Join(dir, "shop.db")), "no space left", "left: make room")
	}
	if got := listing(t, dir); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}
