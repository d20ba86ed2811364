package static

import (
	"context"
	"crypto/rand"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
)

// A place is where a file is, or shall be: its directory, or the deepest that there is on the way to it.
type place struct {
	root *descriptor
	fd   int
	key  string
	base string   // the last component of key
	rest string   // the directories behind fd that are missing, with a final slash; or ""
	made []string // those that were made
}

// place finds the directory of key, with symlinks as they are for reading. Without create_directories it is there.
func (s *server) place(key string) (*place, error) {
	root, err := s.root.acquire(s.now())
	if err != nil {
		return nil, err
	}
	directory := parentOf(key)
	p := &place{root: root, fd: -1, key: key, base: key[len(directory):]}
	for name := directory; ; name = parentOf(strings.TrimSuffix(name, "/")) {
		p.fd, err = s.root.openDirectory(root.fd, name)
		if err == nil {
			p.rest = directory[len(name):]
			return p, nil
		}
		if err != unix.ENOENT || name == "" || !s.writer.options.createDirectories {
			break
		}
	}
	p.close()
	if absent(err) {
		err = errNoParent
	}
	return nil, err
}

func (p *place) close() {
	p.root.releaseNow()
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// parentOf returns the directory that name is in, with its final slash; "" for the root.
func parentOf(name string) string { return name[:strings.LastIndexByte(name, '/')+1] }

// writable reports an error if the directory cannot be changed.
func (p *place) writable() error {
	return again(func() error { return unix.Faccessat(p.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
}

// holds reports ENOSPC if there is no space for n bytes (-1: unknown). It is no promise that they will find some.
func (p *place) holds(n int64) error {
	var fs unix.Statfs_t
	if n <= 0 || again(func() error { return unix.Fstatfs(p.fd, &fs) }) != nil || fs.Blocks == 0 || fs.Bsize <= 0 { // 0: without a bound, or unknown
		return nil
	}
	free := fs.Bavail
	if unix.Geteuid() == 0 {
		free = fs.Bfree
	}
	if uint64(n)/uint64(fs.Bsize) > free {
		return unix.ENOSPC
	}
	return nil
}

// make makes the directories that are missing.
func (s *server) make(p *place) error {
	for p.rest != "" {
		name, rest, _ := strings.Cut(p.rest, "/")
		path := p.key[:len(p.key)-len(p.base)-len(rest)]
		err := again(func() error { return unix.Mkdirat(p.fd, name, 0o700) })
		if err != nil && err != unix.EEXIST {
			return nameError(err)
		}
		made := err == nil
		if made {
			p.made = append(p.made, path)
		}
		fd, err := s.root.openDirectory(p.root.fd, path)
		if err == nil && made {
			if err = s.writer.found(p.fd, fd); err != nil {
				unix.Close(fd)
			}
		}
		if err != nil {
			if absent(err) && err != unix.ENOENT {
				err = errNoParent
			}
			return err
		}
		unix.Close(p.fd)
		p.fd, p.rest = fd, rest
	}
	return nil
}

// found gives a new directory its permissions, whatever the umask is, and makes its name stay.
func (w *writer) found(parent, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	mode := w.options.mode | 0o700 | w.options.mode&0o444>>2
	if err := unix.Fchmod(fd, mode|st.Mode&unix.S_ISGID); err != nil { // which it has got from its parent (inode(7))
		return err
	}
	if !w.options.fsync {
		return nil
	}
	if err := again(func() error { return unix.Fsync(parent) }); err != nil && err != unix.EINVAL {
		return err
	}
	return nil
}

// unmake removes the directories that were made for a file that is not there, unless somebody else uses them by now.
func (s *server) unmake(p *place) {
	for len(p.made) > 0 {
		last := strings.TrimSuffix(p.made[len(p.made)-1], "/")
		p.made = p.made[:len(p.made)-1]
		parent := parentOf(last)
		fd, err := s.root.openDirectory(p.root.fd, parent)
		if err != nil {
			return
		}
		err = unix.Unlinkat(fd, last[len(parent):], unix.AT_REMOVEDIR)
		unix.Close(fd)
		if err != nil {
			return
		}
	}
}

// nameError tells the errors of names that no file system holds from those of its state.
func nameError(err error) error {
	switch err {
	case unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ:
		return denied{status: 400}
	}
	return err
}

// lock makes the caller the only one of all processes that changes files in the directory dir. It waits, but not for ever. Locks of flock(2)
// are the descriptor's: they end with the process, and its other descriptors of the same directory do not have them.
func (w *writer) lock(ctx context.Context, dir int) (unlock func(), err error) {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	turn := w.turns[(st.Ino^st.Dev)%uint64(len(w.turns))]
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, errLocked
	}
	fd := dir
	free := func() {
		if fd != dir {
			unix.Close(fd)
		}
		<-turn
	}
	for wait := time.Millisecond; ; {
		switch err := w.flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() {
				_ = w.flock(fd, unix.LOCK_UN) // before the descriptor is closed, which a process that is being started may still share
				free()
			}, nil
		case err == unix.EINTR:
		case err == unix.EWOULDBLOCK:
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				free()
				return nil, errLocked
			}
			wait = min(2*wait, 16*time.Millisecond)
		case fd == dir && (err == unix.EBADF || err == unix.EOPNOTSUPP || err == unix.ENOLCK || err == unix.EINVAL || err == unix.ENOSYS):
			// NFS has no locks of directories: it wants a descriptor that may write (flock(2), NFS details).
			lockFile, err := retry(func() (int, error) {
				return unix.Openat(dir, lockName, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			})
			if err != nil {
				free()
				return nil, err
			}
			fd = lockFile
		default:
			free()
			return nil, os.NewSyscallError("flock", err)
		}
	}
}

// again repeats a system call that a signal has interrupted.
func again(call func() error) error {
	_, err := retry(func() (int, error) { return 0, call() })
	return err
}

// An upload is a file on its way: without a name where the file system has such files, so that nothing is left of it whatever happens to
// the process; else with one that no request can have.
type upload struct {
	fd    int
	dir   int    // the directory of name; -1: none
	name  string // ""; of an upload that has one, until it is published
	size  int64
	small []byte // the content, as long as its tag is made of it
	stamp int64  // the modification time that it was given, ns since 1970; 0: none
}

// begin makes an empty file in p's directory, which it may take over.
func (w *writer) begin(p *place) (*upload, error) {
	if w.tmpfile {
		fd, err := retry(func() (int, error) { return unix.Openat(p.fd, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600) })
		switch err {
		case nil:
			return &upload{fd: fd, dir: -1}, nil
		case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOSYS: // the file system, or the kernel, has none (open(2), O_TMPFILE)
		default:
			return nil, err
		}
	}
	name := temporaryName()
	fd, err := retry(func() (int, error) {
		return unix.Openat(p.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, err
	}
	u := &upload{fd: fd, dir: p.fd, name: name}
	p.fd = -1
	return u, nil
}

func temporaryName() string { return temporary + rand.Text() }

// close gives up what was not published. What was may be another module's by now.
func (u *upload) close(claims *module.Claims) {
	if u.name != "" {
		_ = unix.Unlinkat(u.dir, u.name, 0) // at worst it takes space: no request can name it
	}
	var st unix.Stat_t
	_ = unix.Fstat(u.fd, &st) // it does not fail for an open file
	claims.Close(u.fd, st.Dev, st.Ino)
	if u.dir >= 0 {
		unix.Close(u.dir)
	}
}

// write appends p.
func (u *upload) write(p []byte) error {
	if u.size+int64(len(p)) <= smallFile {
		u.small = append(u.small, p...)
	}
	for len(p) > 0 {
		n, err := retry(func() (int, error) { return unix.Write(u.fd, p) })
		if err != nil {
			return err
		}
		u.size += int64(n)
		p = p[n:]
	}
	return nil
}

// finish makes a file of what was written: with its permissions, a time of its own, and on the disk.
func (u *upload) finish(o *writeOptions) error {
	if err := unix.Fchmod(u.fd, o.mode); err != nil { // which the umask does not change
		return err
	}
	u.setTime(time.Now().UnixNano())
	if o.fsync {
		return again(func() error { return unix.Fsync(u.fd) })
	}
	if u.name == "" {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(u.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd) // NFS writes now, and tells that it could not (close(2))
}

// setTime sets the modification time to the nanosecond: the kernel's own stands still for some milliseconds, and two versions could share it.
func (u *upload) setTime(ns int64) {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(ns)}
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(u.fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); errno == 0 {
		u.stamp = ns
	}
}

// publish gives the file its name, in place of what has it; occupied: something had it just now. Its caller holds the directory's lock.
func (u *upload) publish(p *place, occupied bool) error {
	from, name := u.dir, u.name
	if name == "" {
		if !occupied {
			if err := u.link(p.fd, p.base); err != unix.EEXIST { // who does not know of the lock may have been here
				return err
			}
		}
		from, name = p.fd, temporaryName()
		if err := u.link(from, name); err != nil {
			return err
		}
	}
	err := again(func() error { return unix.Renameat(from, name, p.fd, p.base) })
	switch {
	case err == nil:
		u.name = ""
	case u.name == "":
		_ = unix.Unlinkat(from, name, 0) // as in close; the error of the rename is what counts
	}
	if err == unix.EXDEV {
		return errMoved
	}
	return err
}

// link gives a file without a name one, by way of /proc: the direct one is for the privileged (open(2), O_TMPFILE).
func (u *upload) link(dir int, name string) error {
	err := again(func() error {
		return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(u.fd), dir, name, unix.AT_SYMLINK_FOLLOW)
	})
	if err == unix.EXDEV {
		return errMoved
	}
	return err
}

// describe tells the validators that a published file has for GET, from now on or, if it is large, once it is no longer young: what cannot
// be promised is left out (RFC 9110, 9.3.4).
func (u *upload) describe(wall time.Time, created bool) receipt {
	done := receipt{created: created}
	var st unix.Stat_t
	if unix.Fstat(u.fd, &st) != nil || st.Size != u.size {
		return done
	}
	switch {
	case u.size <= smallFile:
		done.etag = contentTag(u.small)
	case st.Mtim.Nano() == u.stamp: // else the file system keeps times less exactly, and others could have this one
		done.etag = statTag(identify(&st))
	}
	var c web.Representation
	c.SetModified(time.Unix(0, min(st.Mtim.Nano(), wall.UnixNano())), false)
	done.lastModified = c.LastModified()
	return done
}
