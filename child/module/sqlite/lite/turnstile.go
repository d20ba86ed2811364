package lite

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Turnstile lets one writer of all processes pass at a time. It is a lock (flock) on the file PATH-turnstile, which is empty, made by who
// comes first, and never removed. The kernel wakes who waits, in turn, where SQLite's own lock is asked again and again. A Turnstile is one
// descriptor: one goroutine uses it at a time. Programs that know nothing of it are not kept out; SQLite's lock is behind it.
type Turnstile struct {
	path string
	fd   int
}

// OpenTurnstile opens the turnstile of the database at path.
func OpenTurnstile(path string) (*Turnstile, error) {
	path += "-turnstile"
	fd, err := openBeside(path, path[:len(path)-len("-turnstile")])
	if err != nil {
		return nil, ErrorOf(fmt.Errorf("open the turnstile %s: %w", path, err))
	}
	return &Turnstile{path: path, fd: fd}, nil
}

// Lock passes, after those that have come before. It blocks its thread for as long as they take.
func (t *Turnstile) Lock() error {
	if err := t.flock(unix.LOCK_EX); err != nil {
		return ErrorOf(fmt.Errorf("lock the turnstile %s: %w", t.path, err))
	}
	return nil
}

// TryLock passes if nobody is inside.
func (t *Turnstile) TryLock() (bool, error) {
	err := t.flock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, ErrorOf(fmt.Errorf("lock the turnstile %s: %w", t.path, err))
	}
	return true, nil
}

// Unlock lets the next one pass.
func (t *Turnstile) Unlock() error {
	if err := t.flock(unix.LOCK_UN); err != nil {
		return ErrorOf(fmt.Errorf("unlock the turnstile %s: %w", t.path, err))
	}
	return nil
}

// Close closes it, and unlocks it.
func (t *Turnstile) Close() error {
	if t.fd < 0 {
		return nil
	}
	fd := t.fd
	t.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close the turnstile %s: %w", t.path, err)
	}
	return nil
}

func (t *Turnstile) flock(how int) error {
	for {
		if err := unix.Flock(t.fd, how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openBeside opens the file at path, and makes it if it is missing, with the mode of the database beside it, and its owner if the process may
// give files away: so does SQLite with its own (https://www.sqlite.org/wal.html#the_wal_index).
func openBeside(path, database string) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(database, &st); err != nil {
		return -1, err
	}
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(path, flags, 0) })
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	mode := st.Mode & 0o777
	fd, err = ignoringEINTR(func() (int, error) { return unix.Open(path, flags|unix.O_CREAT|unix.O_EXCL, mode) })
	if errors.Is(err, unix.EEXIST) { // another was faster
		return ignoringEINTR(func() (int, error) { return unix.Open(path, flags, 0) })
	}
	if err != nil {
		return -1, err
	}
	if unix.Geteuid() == 0 {
		err = unix.Fchown(fd, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = unix.Fchmod(fd, mode) // past the umask
	}
	if err != nil {
		_ = unix.Close(fd) // the first error is the one to tell
		return -1, err
	}
	return fd, nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		fd, err := f()
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
