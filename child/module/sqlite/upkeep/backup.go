package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Backup makes a copy of a database in a directory, while others read and write, and removes copies that are surplus by b. A copy counts once
// it is complete, durable and checked; a failed one leaves nothing behind. It reads one state of the database from its beginning to its end, and the
// WAL grows meanwhile.
//
// An error that comes with a Copy is about surplus ones that could not be removed.
func Backup(ctx context.Context, d Database, b *Backups, now time.Time) (Copy, error) {
	d.Path = resolved(d.Path)
	release, err := claimCopies(b.Directory, d.Name)
	if err != nil {
		return Copy{}, fmt.Errorf("back %s up: %w", d.Name, err)
	}
	defer release()
	made, err := makeCopy(ctx, d, b.Directory, copySuffix, b.Check, now)
	if err != nil {
		return Copy{}, fmt.Errorf("back %s up: %w", d.Name, err)
	}
	list, err := copies(b.Directory, d.Name)
	if err != nil {
		return made, err
	}
	for _, c := range b.surplus(now, list) {
		if err := os.Remove(c.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return made, fmt.Errorf("remove an old backup: %w", err)
		}
	}
	return made, nil
}

// makeCopy makes one copy. The caller has claimed the database's copies in the directory.
//
// VACUUM INTO reads in one transaction, so that it ends under any load; SQLite's backup interface begins anew whenever somebody else writes
// (https://www.sqlite.org/c3ref/backup_finish.html).
func makeCopy(ctx context.Context, d Database, directory, suffix, check string, now time.Time) (Copy, error) {
	if err := sweep(directory, d.Name); err != nil {
		return Copy{}, err
	}
	path := filepath.Join(directory, copyName(d.Name, now, suffix))
	if _, err := os.Lstat(path); err == nil {
		return Copy{}, fmt.Errorf("%s is there already: two in one second are one too many", path)
	}
	part := filepath.Join(directory, "."+filepath.Base(path)+partSuffix)
	defer func() { _ = sweep(directory, d.Name) }() // of a success nothing is left; what a failure leaves, the next one removes
	if err := vacuumInto(ctx, d.Path, part); err != nil {
		return Copy{}, explainFull(err, d.Path, directory)
	}
	if ctx.Err() != nil { // a small database is copied before anybody looks
		return Copy{}, context.Cause(ctx)
	}
	if err := syncFile(part); err != nil {
		return Copy{}, explainFull(err, d.Path, directory)
	}
	if err := checkCopy(ctx, part, check); err != nil {
		return Copy{}, fmt.Errorf("the copy is not good: %w; check the database itself: `db check %s`", err, d.Name)
	}
	info, err := os.Stat(part)
	if err != nil {
		return Copy{}, err
	}
	if err := os.Rename(part, path); err != nil {
		return Copy{}, err
	}
	if err := syncFile(directory); err != nil {
		return Copy{}, err
	}
	return Copy{path, now.UTC().Truncate(time.Second), info.Size()}, nil
}

// vacuumInto copies the database at path into a new file.
func vacuumInto(ctx context.Context, path, target string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	// An empty file of our own making has the rights of the database from its first byte on: SQLite accepts it.
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()&0o660|0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	adopt(target, filepath.Dir(target))
	c, err := open(path)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.rows(ctx, "VACUUM INTO ?", engine.TextOf(target))
	return err
}

// checkCopy checks a file that nobody has open.
func checkCopy(ctx context.Context, path, check string) error {
	c, err := openCopy(path)
	if err != nil {
		return err
	}
	defer c.close()
	return c.integrity(ctx, check)
}

// maxFaults is how many faults of a database are said.
const maxFaults = 5

// integrity checks a database by PRAGMA integrity_check, or quick_check.
func (c *conn) integrity(ctx context.Context, check string) error {
	pragma := "integrity_check"
	if check == checkQuick {
		pragma = "quick_check"
	}
	rows, err := c.rows(ctx, fmt.Sprintf("PRAGMA %s(%d)", pragma, maxFaults))
	if err != nil {
		return err
	}
	var faults []string
	for _, row := range rows {
		if text := string(row[0].Bytes); text != "ok" {
			faults = append(faults, strings.Join(strings.Fields(text), " "))
		}
	}
	if len(faults) > 0 || len(rows) == 0 {
		return fmt.Errorf("%s finds: %s", pragma, strings.Join(faults, "; "))
	}
	return nil
}

// explainFull adds to an error of a full disk how much is needed, and how much is there.
func explainFull(err error, database, directory string) error {
	if codeOf(err) != engine.CodeFull && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	var fs unix.Statfs_t
	info, gone := os.Stat(database)
	if gone != nil || unix.Statfs(directory, &fs) != nil {
		return err
	}
	return fmt.Errorf("%w: the database has %s, and %s has %s left: make room, keep fewer copies, or use another disk", err,
		bytesText(info.Size()), directory, bytesText(int64(fs.Bavail)*fs.Bsize))
}

// bytesText writes a size for people: "12.3 MiB".
func bytesText(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	value := float64(n) / (1 << 10)
	for i := 0; ; i++ {
		if value < 1000 || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", value, units[i])
		}
		value /= 1 << 10
	}
}
