package upkeep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A stored copy of the database NAME is the file NAME-20260102T150405Z.db, the time being the UTC of its beginning. What was saved before a
// restore ends in .before-restore.db; a copy that is being made begins with a dot. Nothing else in the directory is touched.
const (
	copyTime    = "20060102T150405Z"
	copySuffix  = ".db"
	saveSuffix  = ".before-restore.db"
	partSuffix  = ".part"
	futureSlack = time.Minute // by which a copy may be younger than the clock
)

// A Copy is a backup in its directory.
type Copy struct {
	Path string
	Time time.Time
	Size int64
}

func copyName(database string, t time.Time, suffix string) string {
	return database + "-" + t.UTC().Format(copyTime) + suffix
}

var copyPattern = regexp.MustCompile(`^(.+)-(\d{8}T\d{6}Z)\.db$`)

// copies returns the backups of a database, the newest first. A directory that is not there is an error.
func copies(directory, database string) ([]Copy, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("look for backups: %w", err)
	}
	var list []Copy
	for _, e := range entries {
		m := copyPattern.FindStringSubmatch(e.Name())
		if m == nil || m[1] != database || e.Name()[0] == '.' {
			continue
		}
		t, err := time.Parse(copyTime, m[2])
		if err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for backups: %w", err)
		}
		if info.Mode().IsRegular() {
			list = append(list, Copy{filepath.Join(directory, e.Name()), t, info.Size()})
		}
	}
	slices.SortFunc(list, func(a, b Copy) int { return b.Time.Compare(a.Time) })
	return list, nil
}

// due reports whether a backup is to be made at the time now. Copies from the future, which a wrong clock has made, do not count.
func (b *Backups) due(now time.Time, list []Copy) bool {
	for _, c := range list {
		if c.Time.After(now.Add(futureSlack)) {
			continue
		}
		return !c.Time.After(b.last(now))
	}
	return true
}

// last is the time at which a backup became due last: one that is younger will do.
func (b *Backups) last(now time.Time) time.Time {
	of, err := time.Parse("15:04", b.At)
	if err != nil { // none is set
		return now.Add(-b.Every)
	}
	y, m, d := now.Local().Date()
	at := time.Date(y, m, d, of.Hour(), of.Minute(), 0, 0, time.Local)
	if at.After(now) {
		at = time.Date(y, m, d-1, of.Hour(), of.Minute(), 0, 0, time.Local)
	}
	return at
}

// surplus returns those that are to be removed, of a list that begins with the newest. The newest is never among them.
func (b *Backups) surplus(now time.Time, list []Copy) []Copy {
	var old []Copy
	for i, c := range list {
		if i > 0 && (i >= b.Keep || b.KeepFor > 0 && now.Sub(c.Time) > b.KeepFor) {
			old = append(old, c)
		}
	}
	return old
}

// claimCopies makes this process the only one that makes copies of the database in the directory, until release is called. A process that
// dies gives it back.
func claimCopies(directory, database string) (release func(), err error) {
	path := filepath.Join(directory, "."+database+".lock")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	adopt(path, directory)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("%w: %s", errCopying, database)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { unix.Close(fd) }, nil
}

var errCopying = errors.New("another process makes a backup of it at this moment")

// adopt gives a file that root has made to the owner of another one, which is there already: the server, which does not run as root, needs it.
// Who is not root makes files of its own.
func adopt(path, like string) {
	var st unix.Stat_t
	if os.Geteuid() == 0 && unix.Stat(like, &st) == nil {
		_ = unix.Lchown(path, int(st.Uid), int(st.Gid)) // a file system without owners has nothing to give
	}
}

// syncFile makes what was written into a file durable.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// sweep removes what a killed process has left of copies of the database. The caller has claimed them.
func sweep(directory, database string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m := partPattern.FindStringSubmatch(e.Name())
		if m == nil || m[1] != database {
			continue
		}
		if err := os.Remove(filepath.Join(directory, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// partPattern is the name of a copy that is being made, and of SQLite's journal beside it.
var partPattern = regexp.MustCompile(`^\.(.+)-\d{8}T\d{6}Z(?:\.before-restore|\.converted)?\.db\.part(?:-journal|-wal|-shm)?$`)
