package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/lite"
)

// A Finding is one thing that was looked at.
type Finding struct {
	What  string // "integrity"
	Value string // what it is: "ok"
	Cure  string // what to do about it; "": nothing is wrong
}

// Inspection says how a database is looked at.
type Inspection struct {
	Quick bool // quick_check in place of integrity_check
	// User and Group are the names of whom the server's children run as; "": whoever looks.
	User, Group string
	Now         time.Time
}

// Inspect looks at a database, of which this process must have no connection open, and at what belongs to it. Others may have it open.
func Inspect(ctx context.Context, d Database, how Inspection) (list []Finding) {
	d.Path = resolved(d.Path)
	add := func(what, value, cure string) { list = append(list, Finding{what, value, cure}) }
	info, err := os.Stat(d.Path)
	if err != nil {
		add("file", err.Error(), fmt.Sprintf("restore it: `db restore %s BACKUP`; or make it, or correct its path in the configuration", d.Name))
		return list
	}
	add("file", fmt.Sprintf("%s, %s", d.Path, bytesText(info.Size())), "")
	list = append(list, fileSystem(d.Path), journal(d.Path), wal(d))
	list = append(list, rights(d, how)...)
	list = append(list, inside(ctx, d, how)...)
	return append(list, newestBackup(d, how.Now))
}

func fileSystem(path string) Finding {
	if name, is := lite.NetworkFileSystem(path); is {
		return Finding{"file system", name,
			"a write-ahead log needs memory that all its users share, and a network has none: move the database to a local disk"}
	}
	return Finding{"file system", "local", ""}
}

// journal reads what the file's header says (https://www.sqlite.org/fileformat2.html#file_format_version_numbers). To open a database makes a WAL of
// it, so the file itself is asked, before.
func journal(path string) Finding {
	const what = "journal"
	f, err := os.Open(path)
	if err != nil {
		return Finding{what, err.Error(), "run this as root, or as the user of the server"}
	}
	defer f.Close()
	var header [20]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return Finding{what, "unknown: the file has no header", "it is empty, and becomes a database at the first write; or restore it from a backup"}
	}
	if header[18] == 2 && header[19] == 2 {
		return Finding{what, "wal", ""}
	}
	return Finding{what, "no write-ahead log as yet: the server makes one when it opens the file", ""}
}

func wal(d Database) Finding {
	info, err := os.Stat(d.Path + "-wal")
	if err != nil {
		return Finding{"wal", "none", ""}
	}
	f := Finding{"wal", bytesText(info.Size()), ""}
	if info.Size() >= d.Settings.Checkpoint.Alarm {
		f.Cure = "it is over the alarm: nobody copies it back, or somebody reads an old state"
		if list, _, err := readers(d.Path); err == nil && len(list) > 0 { // without /proc nobody can be named
			f.Cure += ": " + processName(list[0].pid)
		}
	}
	return f
}

// inside looks at what the database holds.
func inside(ctx context.Context, d Database, how Inspection) (list []Finding) {
	c, err := open(d.Path)
	if err != nil {
		return []Finding{{"open", err.Error(), explainCure(d)}}
	}
	defer c.close()
	check := checkFull
	if how.Quick {
		check = checkQuick
	}
	f := Finding{"integrity", "ok", ""}
	if err := c.integrity(ctx, check); err != nil {
		f.Value, f.Cure = err.Error(), explainCure(d)
	}
	list = append(list, f)
	f = Finding{"foreign keys", "ok", ""}
	if n, where, err := c.dangling(ctx); err != nil {
		f.Value, f.Cure = err.Error(), "look at the schema: a foreign key names what does not exist"
	} else if n > 0 {
		f.Value = fmt.Sprintf("%d rows refer to nothing, such as %s", n, where)
		f.Cure = "see all with `PRAGMA foreign_key_check`, and add what they refer to, or delete them"
	}
	list = append(list, f, c.free(ctx))
	if d.Settings.Migrations != "" {
		list = append(list, c.migrationsLeft(ctx, d))
	}
	return list
}

// free says how much of the file holds nothing. Half and more of a large one is worth a VACUUM.
func (c *conn) free(ctx context.Context) Finding {
	var n [3]int64
	for i, pragma := range []string{"page_count", "freelist_count", "page_size"} {
		var err error
		if n[i], err = c.integer(ctx, "PRAGMA "+pragma); err != nil {
			return Finding{"free pages", err.Error(), "see integrity"}
		}
	}
	f := Finding{"free pages", fmt.Sprintf("%d of %d, %s", n[1], n[0], bytesText(n[1]*n[2])), ""}
	if n[1]*2 > n[0] && n[1]*n[2] > 64<<20 {
		f.Value += ": a VACUUM at a quiet time would make the file smaller"
	}
	return f
}

func (c *conn) migrationsLeft(ctx context.Context, d Database) Finding {
	list, err := readMigrations(d.Settings.Migrations)
	if err != nil {
		return Finding{"migrations", err.Error(), "correct the files"}
	}
	todo, err := c.pending(ctx, list)
	switch {
	case err != nil:
		return Finding{"migrations", err.Error(), "correct the files"}
	case len(todo) > 0:
		return Finding{"migrations", "to be applied: " + versions(todo),
			fmt.Sprintf("try them with `db migrate %s --dry-run`, and reload the server", d.Name)}
	}
	return Finding{"migrations", fmt.Sprintf("all %d applied", len(list)), ""}
}

func explainCure(d Database) string {
	return fmt.Sprintf("stop the server, keep a copy of the file with its -wal, and restore the newest backup: `db restore %s`", d.Name)
}

func newestBackup(d Database, now time.Time) Finding {
	const what = "backup"
	b := d.Settings.Backup
	if b == nil {
		return Finding{what, "none is scheduled", ""}
	}
	list, err := copies(b.Directory, d.Name)
	if err != nil {
		return Finding{what, err.Error(), "make the directory, and let the user of the server write there"}
	}
	if len(list) == 0 {
		return Finding{what, "none", fmt.Sprintf("make one: `db backup %s`; the server makes one every %v while it runs", d.Name, b.Every)}
	}
	f := Finding{what, fmt.Sprintf("%s, %v old, %d kept", filepath.Base(list[0].Path), now.Sub(list[0].Time).Truncate(time.Second), len(list)), ""}
	if err := b.stale(now, list[0]); err != nil {
		f.Cure = err.Error()
	}
	return f
}

// rights looks whether the server may do what it must: read and write the file, and make files beside it and in the directory of backups.
func rights(d Database, how Inspection) (list []Finding) {
	who, err := identityOf(how.User, how.Group)
	if err != nil {
		return []Finding{{"rights", err.Error(), "correct user and group in the configuration"}}
	}
	places := []string{d.Path, filepath.Dir(d.Path)}
	for _, suffix := range []string{"-wal", "-shm", "-turnstile"} {
		if _, err := os.Stat(d.Path + suffix); err == nil {
			places = append(places, d.Path+suffix)
		}
	}
	if b := d.Settings.Backup; b != nil {
		places = append(places, b.Directory)
	}
	for _, place := range places {
		if err := who.mayChange(place); err != nil {
			list = append(list, Finding{"rights", err.Error(), fmt.Sprintf("chown it to %s, or set its mode", who.name)})
		}
	}
	if len(list) == 0 {
		list = []Finding{{"rights", fmt.Sprintf("%s may read and write", who.name), ""}}
	}
	return list
}

// identity is whom the children run as.
type identity struct {
	name   string
	uid    uint32
	groups []uint32
}

func identityOf(name, group string) (*identity, error) {
	if name == "" {
		id := &identity{name: "uid " + strconv.Itoa(os.Geteuid()), uid: uint32(os.Geteuid())}
		groups, err := os.Getgroups()
		for _, g := range append(groups, os.Getegid()) {
			id.groups = append(id.groups, uint32(g))
		}
		return id, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, err
		}
		ids = append(ids, g.Gid)
	}
	id := &identity{name: name}
	for i, text := range append(ids, u.Uid) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the number of user %s: %w", name, err)
		}
		if i == len(ids) {
			id.uid = uint32(n)
		} else {
			id.groups = append(id.groups, uint32(n))
		}
	}
	return id, nil
}

var errMayNot = errors.New("may not")

// mayChange reports whether the mode bits let id read and write a file, or read, write and enter a directory. Access control lists are not seen.
func (id *identity) mayChange(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	need := uint32(6)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		need = 7
	}
	has := st.Mode & 7
	for _, g := range id.groups {
		if g == st.Gid {
			has = st.Mode >> 3 & 7
		}
	}
	if id.uid == st.Uid {
		has = st.Mode >> 6 & 7
	}
	if id.uid != 0 && has&need != need {
		return fmt.Errorf("%s %w read and write %s (its mode is %04o, its owner uid %d, gid %d)", id.name, errMayNot, path, st.Mode&0o7777, st.Uid, st.Gid)
	}
	return nil
}
