package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// A Restoring is what Restore did.
type Restoring struct {
	// Saved is the copy of what was there before; its Path is "" if nothing was.
	Saved  Copy
	Tables int
}

// Restore gives a database the content of a backup, while a server may read and write it. First the backup is checked, and the present
// content is saved beside it (or in the directory of d's backups). Then all pages are written in one transaction: who reads goes on to see the old
// content until its transaction ends, who writes comes before it or after it, and nobody sees half of it. If it fails, or the process is
// killed, the old content stays.
//
// From the beginning of saving to the end the writers of the server wait at the turnstile, and may be told to come again (503). An outside
// program that writes between the saving and the restoring loses that.
//
// force: the backup may be of another application, and may lack tables that the database has.
func Restore(ctx context.Context, d Database, backup string, force bool, now time.Time) (Restoring, error) {
	done, err := restore(ctx, d, backup, force, now)
	if err != nil {
		return done, fmt.Errorf("restore %s: %w", d.Name, err)
	}
	return done, nil
}

func restore(ctx context.Context, d Database, backup string, force bool, now time.Time) (done Restoring, err error) {
	d.Path = resolved(d.Path)
	from, have, err := openBackup(ctx, backup, false)
	if err != nil {
		return done, err
	}
	defer func() { from.close() }()
	done.Tables = len(have.tables)
	live, err := open(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return done, RestoreTo(ctx, backup, d.Path)
	}
	if err != nil {
		return done, explainBroken(err, d, backup)
	}
	defer live.close()
	present, err := live.contents(ctx, false)
	if err != nil {
		return done, explainBroken(err, d, backup)
	}
	if err := compare(present, have, force); err != nil {
		return done, err
	}
	directory := filepath.Dir(backup)
	if b := d.Settings.Backup; b != nil {
		directory = b.Directory
	}
	release, err := claimCopies(directory, d.Name)
	if err != nil {
		return done, err
	}
	defer release()
	if present.pageSize != have.pageSize {
		path := filepath.Join(directory, "."+copyName(d.Name, now, ".converted.db")+partSuffix)
		defer os.Remove(path)
		converted, err := convert(ctx, backup, path, present.pageSize)
		if err != nil {
			return done, fmt.Errorf("make its pages %d bytes long, as those of the database are: %w", present.pageSize, err)
		}
		from.close()
		from = converted
	}
	unlock, err := lock(ctx, d.Path)
	if err != nil {
		return done, fmt.Errorf("wait for the writers: %w", err)
	}
	defer unlock()
	saved, err := makeCopy(ctx, d, directory, saveSuffix, checkQuick, now)
	if err != nil {
		return done, fmt.Errorf("save what is there now: %w; nothing was changed", err)
	}
	done.Saved = saved
	err = whileBusy(ctx, func() error { return live.lite.Overwrite(from.lite) })
	if err != nil {
		return done, fmt.Errorf("%w; the database is as it was", &statementError{err})
	}
	return done, nil
}

// openBackup opens a backup and checks all of it.
func openBackup(ctx context.Context, path string, count bool) (*conn, contents, error) {
	var k contents
	if info, err := os.Stat(path); err != nil {
		return nil, k, err
	} else if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, k, fmt.Errorf("%s is no database: it is empty, or no file", path)
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Size() > 0 {
			return nil, k, fmt.Errorf("%s%s holds a part of the database: make one whole file of both with `sqlite3 %s \"VACUUM INTO 'whole.db'\"`",
				path, suffix, path)
		}
	}
	c, err := openCopy(path)
	if err != nil {
		return nil, k, fmt.Errorf("%s is no good backup: %w; take another one", path, err)
	}
	if err = c.integrity(ctx, checkFull); err == nil {
		k, err = c.contents(ctx, count)
	}
	if err != nil {
		c.close()
		return nil, k, fmt.Errorf("%s is no good backup: %w; take another one", path, err)
	}
	return c, k, nil
}

// compare refuses a backup that is probably of another database.
func compare(now, backup contents, force bool) error {
	if force {
		return nil
	}
	if now.application != backup.application && now.application != 0 {
		return fmt.Errorf("the backup is of another application: its application_id is %d, and that of the database %d; --force restores it nevertheless",
			backup.application, now.application)
	}
	var missing []string
	for _, t := range now.tables {
		if !slices.Contains(backup.tables, t) {
			missing = append(missing, t)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the backup has no table %s: it is older, or of another database; --force restores it nevertheless", strings.Join(missing, ", "))
}

// explainBroken says what to do with a database that SQLite cannot read, and cannot write over either.
func explainBroken(err error, d Database, backup string) error {
	if codeOf(err) != engine.CodeCorrupt {
		return err
	}
	return fmt.Errorf("%s cannot be read any more (%w): "+
		"stop the server, move %s and its -wal and -shm files away, restore with `db restore %s %s`, and start it again",
		d.Path, err, d.Path, d.Name, backup)
}

// convert copies a backup into a new file with another page size: SQLite refuses to write over a database of another (sqlite3_backup_step). It
// must be able to write the file whose pages it changes (https://www.sqlite.org/lang_vacuum.html), hence not into one from the backup itself.
func convert(ctx context.Context, backup, path string, pageSize int64) (*conn, error) {
	if err := copyFile(ctx, backup, path); err != nil {
		return nil, err
	}
	c, err := openBy(lite.Options{Path: path, KeepJournal: true})
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{"PRAGMA journal_mode = delete", fmt.Sprintf("PRAGMA page_size = %d", pageSize), "VACUUM"} {
		if err := c.exec(ctx, sql); err != nil {
			c.close()
			return nil, err
		}
	}
	c.close()
	return openCopy(path)
}

// RestoreTo makes a new database of a backup, in a file that must not be there. The file is complete and durable when it appears.
func RestoreTo(ctx context.Context, backup, path string) error {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if _, err := os.Lstat(path + suffix); err == nil {
			return fmt.Errorf("%s%s is there already: move it away, or restore to another name", path, suffix)
		}
	}
	c, _, err := openBackup(ctx, backup, false)
	if err != nil {
		return err
	}
	c.close() // the copy is made of the file's bytes, which nobody writes
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+partSuffix)
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return err
	}
	defer os.Remove(part)
	if err := copyFile(ctx, backup, part); err != nil {
		return explainFull(err, backup, filepath.Dir(path))
	}
	adopt(part, filepath.Dir(path))
	if err := checkCopy(ctx, part, checkFull); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, part, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: part, New: path, Err: err}
	}
	return syncFile(filepath.Dir(path))
}

// copyFile copies a file into a new one, durably.
func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, &patientReader{ctx, in}); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}

// A patientReader reads until its context ends.
type patientReader struct {
	ctx context.Context
	in  io.Reader
}

func (r *patientReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.in.Read(p)
}
