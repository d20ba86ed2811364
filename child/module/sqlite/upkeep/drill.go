package upkeep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// A Drill is what restoring the newest backup of a database has shown.
type Drill struct {
	Database string
	Backup   Copy // its Path is "" if there is none
	Tables   int
	Rows     int64
	Took     time.Duration
	Err      error // why it could not be relied on
}

// errNoBackup: there is none in the directory.
var errNoBackup = errors.New("there is no backup")

// RunDrill restores the newest backup of a database into a folder, checks it, counts what it holds, and removes it again.
func RunDrill(ctx context.Context, d Database, folder string, now time.Time) (k Drill) {
	begun := time.Now()
	k.Database = d.Name
	defer func() { k.Took = time.Since(begun) }()
	if d.Settings.Backup == nil {
		k.Err = errors.New("it has no block backup")
		return k
	}
	list, err := copies(d.Settings.Backup.Directory, d.Name)
	if err == nil && len(list) == 0 {
		err = errNoBackup
	}
	if err != nil {
		k.Err = err
		return k
	}
	k.Backup = list[0]
	path := filepath.Join(folder, d.Name+copySuffix)
	defer os.Remove(path)
	if k.Err = RestoreTo(ctx, k.Backup.Path, path); k.Err != nil {
		return k
	}
	c, held, err := openBackup(ctx, path, true)
	if err != nil {
		k.Err = err
		return k
	}
	c.close()
	k.Tables, k.Rows = len(held.tables), held.rows
	k.Err = d.Settings.Backup.stale(now, k.Backup)
	return k
}
