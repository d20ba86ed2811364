package upkeep

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
)

// ran is what a command has said.
type ran struct {
	stdout, stderr string
	err            error
	status         int
}

// run runs `db ARGS` on databases, with what is typed on a terminal; "" for none.
func run(t *testing.T, o CommandOptions, typed string, args ...string) ran {
	t.Helper()
	cmd := Command(o)
	for len(cmd.Commands) > 0 {
		i := slices.IndexFunc(cmd.Commands, func(c module.Command) bool { return c.Name == args[0] })
		cmd, args = cmd.Commands[i], args[1:]
	}
	var flags flag.FlagSet
	do := cmd.Setup(&flags)
	var names []string
	for len(args) > 0 { // flags may stand behind names, as on the command line
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		if args = flags.Args(); len(args) > 0 {
			names, args = append(names, args[0]), args[1:]
		}
	}
	if len(names) < cmd.MinArgs || cmd.MaxArgs >= 0 && len(names) > cmd.MaxArgs {
		t.Fatalf("%q: %d arguments", cmd.Name, len(names))
	}
	var out, errs bytes.Buffer
	err := do(t.Context(), &module.Call{
		Program: "prog", Args: names, Stdin: strings.NewReader(typed), Stdout: &out, Stderr: &errs, Terminal: typed != "",
		Configuration: func() (*module.Configuration, error) {
			return &module.Configuration{Path: "x.hcl", Routes: []module.Placed{{Site: "main", Pattern: "/"}, {Site: "main", Pattern: "/again/"}}}, nil
		},
	})
	r := ran{out.String(), errs.String(), err, 0}
	if err != nil {
		r.status = 1
	}
	if e, known := errors.AsType[*module.StatusError](err); known {
		r.status = e.Status
	}
	return r
}

func optionsOf(list ...Database) CommandOptions {
	return CommandOptions{Databases: func(*configs.Block) ([]Database, error) { return list, nil }}
}

func (r ran) want(t *testing.T, status int, stdout string, said ...string) {
	t.Helper()
	if r.status != status || !regexp.MustCompile(`(?s)^`+stdout+`$`).MatchString(r.stdout) {
		t.Errorf("status %d, %q, %q, %v; want %d, %s", r.status, r.stdout, r.stderr, r.err, status, stdout)
	}
	for _, part := range said {
		if !strings.Contains(r.stderr+fmt.Sprint(r.err), part) {
			t.Errorf("%q and %v do not say %q", r.stderr, r.err, part)
		}
	}
}

func TestBackupAndRestoreCommands(t *testing.T) {
	d, c := newDatabase(t, "shop", 100)
	d = withBackups(t, d)
	plain, _ := newDatabase(t, "plain", 10)
	o := optionsOf(d, plain)
	run(t, o, "", "restore", "shop").want(t, 1, "", "there is no backup of shop", "prog db backup shop")
	run(t, o, "", "restore", "shop", "newest").want(t, 1, "", "there is no backup")
	run(t, o, "", "backup").want(t, 0, `shop: /\S+/shop-\d{8}T\d{6}Z\.db, [\d.]+ KiB, checked, in \S+\n`)
	run(t, o, "", "backup", "nobody").want(t, 1, "", `there is no database "nobody"; there are shop, plain`)
	run(t, o, "", "backup", "plain").want(t, 1, "", "plain has no block backup", "--to DIR")
	dir := t.TempDir()
	run(t, o, "", "backup", plain.Path, "--to", dir).want(t, 0, `plain: \S+/plain-\S+\.db, .*\n`)
	run(t, optionsOf(plain), "", "backup").want(t, 1, "", "no database has a block backup")
	run(t, o, "", "backup", "plain", "--to", filepath.Join(dir, "none")).want(t, 1, "", "prog: back plain up: ")
	run(t, o, "", "restore", "shop").want(t, 0, `BACKUP +AGE +SIZE\nshop-\S+ +\d+s +[\d.]+ KiB\n`)

	must(t, c, "DELETE FROM items")
	run(t, o, "", "restore", "shop", "newest").want(t, 1, "", "confirm it with --force")
	run(t, o, "no\n", "restore", "shop", "newest").want(t, 1, "", "[y/N]", "nothing was changed")
	run(t, o, "\n", "restore", "shop", "newest").want(t, 1, "", "nothing was changed")
	if n := count(t, c, "items"); n != 0 {
		t.Errorf("%d items", n)
	}
	run(t, o, "y\n", "restore", "shop", "newest").want(t, 0, `shop: restored from \S+, 1 tables; what was there is \S+\.before-restore\.db\n`)
	if n := count(t, c, "items"); n != 100 {
		t.Errorf("%d items", n)
	}
	to := filepath.Join(dir, "new.db")
	list, _ := copies(d.Settings.Backup.Directory, "shop")
	run(t, o, "", "restore", "shop", filepath.Base(list[0].Path), "--to", to).want(t, 0, `\S+/new.db: made of \S+, checked\n`)
	run(t, o, "", "restore", "shop", list[0].Path, "--to", to).want(t, 1, "", "is there already")
	run(t, o, "", "restore").want(t, 2, "", "NAME")
	run(t, o, "", "restore", "--drill", "--force").want(t, 2, "", "--drill")
	run(t, o, "", "restore", "--drill").want(t, 0, `DATABASE +BACKUP +SIZE +TABLES +ROWS +TOOK +RESULT\nshop +shop-\S+ +[\d.]+ KiB +1 +100 +\S+ +ok\n`)
	if err := os.Truncate(list[0].Path, 4096); err != nil {
		t.Fatal(err)
	}
	run(t, o, "", "restore", "--drill").want(t, 1, `.*BAD: .*no good backup.*`)
	run(t, o, "", "restore", "--drill", "plain").want(t, 1, `.*BAD: it has no block backup.*`)
	run(t, optionsOf(plain), "", "restore", "--drill").want(t, 1, "", "nothing to try")
}

func TestMigrateCommand(t *testing.T) {
	d, _ := newDatabase(t, "shop", 1)
	plain, _ := newDatabase(t, "plain", 1)
	d.Settings.Migrations = migrationsOf(t, "0001_a.sql", "CREATE TABLE a (b)", "0002_b.sql", "CREATE TABLE b (a)")
	o := optionsOf(d, plain)
	run(t, o, "", "migrate", "--status").want(t, 0, `shop +APPLIED\n0001_a.sql +no\n0002_b.sql +no\n`)
	run(t, o, "", "migrate", "--dry-run").want(t, 0, `shop: would apply 0001_a.sql, 0002_b.sql\n`)
	run(t, o, "", "migrate", "shop").want(t, 0, `shop: applied 0001_a.sql, 0002_b.sql\n`)
	run(t, o, "", "migrate", "--dry-run").want(t, 0, `shop: nothing is left to apply\n`)
	run(t, o, "", "migrate").want(t, 0, `shop: nothing is left to apply\n`)
	write(t, filepath.Join(d.Settings.Migrations, "0003_c.sql"), "CREATE TABLE a (b)")
	run(t, o, "", "migrate").want(t, 1, "", "prog: shop: ", "0003_c.sql:1:14: table a already exists")
	run(t, o, "", "migrate", "--status").want(t, 0, `shop +APPLIED\n0001_a.sql +20\S+Z\n0002_b.sql +20\S+Z\n0003_c.sql +no\n`)
	run(t, o, "", "migrate", "plain").want(t, 1, "", "plain has no migrations")
	run(t, optionsOf(plain), "", "migrate").want(t, 1, "", "no database has migrations")
	run(t, o, "", "migrate", "--status", "--dry-run").want(t, 2, "", "exclude")
}

func TestCheckCommand(t *testing.T) {
	d, c := newDatabase(t, "shop", 100)
	c.close()
	run(t, optionsOf(d), "", "check").want(t, 0, `shop\n  file +/\S+/shop.db, .*  file system +local\n  journal +wal\n  wal +none\n  rights +.*  integrity +ok\n  foreign keys +ok\n  free pages +0 of .*  backup +none is scheduled\n`)
	d = withBackups(t, d)
	run(t, optionsOf(d), "", "check", "--quick", "shop").want(t, 1, `.*  backup +none\n +TROUBLE: make one: .db backup shop.;.*`)
	if _, err := Backup(t.Context(), d, d.Settings.Backup, time.Now().Add(-5*time.Hour)); err != nil {
		t.Fatal(err)
	}
	run(t, optionsOf(d), "", "check").want(t, 1, `.*  backup +shop-\S+, 5h0m\S+ old, 1 kept\n +TROUBLE: the newest backup is 5h0m0s old, and one is to be made every 1h0m0s.*`)
	d.Settings.Backup = nil
	d.Settings.Migrations = migrationsOf(t, "0001_a.sql", "CREATE TABLE a (b)")
	run(t, optionsOf(d), "", "check").want(t, 1, `.*  migrations +to be applied: 0001_a.sql\n +TROUBLE: .*`)
	d.Settings.Migrations = ""
	c, err := open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "PRAGMA foreign_keys = off")
	must(t, c, "CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES items)")
	must(t, c, "INSERT INTO child VALUES (1, 1000000)")
	c.close()
	run(t, optionsOf(d), "", "check").want(t, 1, `.*foreign keys +1 rows refer to nothing, such as rowid 1 of child, which refers to items\n +TROUBLE.*`)
	d.Path = write(t, filepath.Join(t.TempDir(), "x.db"), strings.Repeat("no database ", 1000))
	run(t, optionsOf(d), "", "check").want(t, 1, `.*TROUBLE: stop the server.*`)
	d.Path += ".gone"
	run(t, optionsOf(d), "", "check").want(t, 1, `shop\n  file +stat .*\n +TROUBLE: restore it.*`)
}

func TestRights(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.db"), "")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	for name, c := range map[string]struct {
		id  identity
		may bool
	}{
		"the owner": {identity{uid: uid}, true},
		"the group": {identity{uid: 4711, groups: []uint32{gid}}, false},
		"others":    {identity{uid: 4711}, false},
		"root":      {identity{uid: 0}, true},
	} {
		if err := c.id.mayChange(path); (err == nil) != c.may {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := identityOf("nobody-of-this-name", ""); err == nil {
		t.Error("a user who does not exist")
	}
}

func TestPromoteCommand(t *testing.T) {
	d, _ := newDatabase(t, "shop", 1)
	o := optionsOf(d)
	run(t, o, "", "promote", "shop", "--to", "http://h:4001").want(t, 1, "", "knows no clusters")
	var got []string
	o.Promote = func(_ context.Context, path string, nodes []string, _ bool, progress io.Writer) error {
		got = append([]string{path}, nodes...)
		fmt.Fprintln(progress, "1 table")
		return nil
	}
	run(t, o, "", "promote", "shop").want(t, 2, "", "--to http://HOST:4001")
	run(t, o, "", "promote", "shop", "--to", "http://u:secret@a:4001,https://b").want(t, 0, `shop is in the cluster.*engine = "rqlite"\n    nodes  = \["http://a:4001", "https://b"\].*`, "1 table")
	if !slices.Equal(got, []string{d.Path, "http://u:secret@a:4001", "https://b"}) {
		t.Errorf("%q", got)
	}
}

func TestChoose(t *testing.T) {
	all := []Database{{Name: "a", Path: "/x/a.db"}, {Name: "a", Path: "/y/a.db"}, {Name: "b", Path: "/x/b.db"}}
	if _, err := choose(all, "a"); err == nil || !strings.Contains(err.Error(), "name one by its path, such as /x/a.db") {
		t.Errorf("%v", err)
	}
	if d, err := choose(all, "/y/a.db"); err != nil || d.Path != "/y/a.db" {
		t.Errorf("%v, %v", d, err)
	}
}

// The texts of the commands fit a terminal.
func TestCommandTexts(t *testing.T) {
	var look func(c module.Command)
	look = func(c module.Command) {
		if c.Short == "" || c.Long == "" || c.Example == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s has no texts", c.Name)
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len(line) > 101 {
				t.Errorf("%s: too wide: %s", c.Name, line)
			}
		}
		for _, below := range c.Commands {
			look(below)
		}
	}
	look(Command(CommandOptions{}))
}
