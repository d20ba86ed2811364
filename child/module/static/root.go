package static

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// rootFor is how long the root's own path is trusted: a symlink that names the root may be turned to another directory (ns).
const rootFor = int64(100 * time.Millisecond)

// maxLinks is how many symlinks a name may pass, as in the kernel (path_resolution(7)).
const maxLinks = 40

var (
	errDirectory = errors.New("is a directory")
	errSpecial   = errors.New("is no regular file")
)

// Which symlinks below the root are followed.
const (
	linksBeneath = "beneath" // those that stay below the root, wherever they point there; absolute ones too, if they name the root's path
	linksFollow  = "follow"  // all
	linksRefuse  = "refuse"  // none
)

// A root is the directory that is served. Names below it are resolved beneath its descriptor, so neither ".." nor a symlink leaves it,
// unless all symlinks are followed.
type root struct {
	path    string // absolute
	links   string // which symlinks are followed: linksBeneath…
	openat2 bool   // the kernel and its filters know openat2(2)

	mu      sync.Mutex
	dir     *descriptor
	id      fileID
	checked int64 // when path was last looked at
}

// A fileID tells whether a file is the one seen before, unchanged as far as stat shows.
type fileID struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // ns since 1970
}

func identify(st *unix.Stat_t) fileID {
	return fileID{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()}
}

// openRoot opens the directory at path, which need not stay the same one.
func openRoot(path, links string, now int64) (*root, error) {
	t := &root{path: path, links: links, checked: now}
	dir, id, err := t.openDir()
	if err != nil {
		return nil, fmt.Errorf("root %s: %w; %s", path, err, cureRoot(err, path))
	}
	if err := unix.Faccessat(dir.fd, ".", unix.X_OK, unix.AT_EACCESS); err != nil {
		dir.Release()
		return nil, fmt.Errorf("root %s: %w; %s", path, err, cureRoot(err, path))
	}
	t.dir, t.id = dir, id
	t.openat2 = hasOpenat2(dir.fd)
	return t, nil
}

// cureRoot says what to do about a root that cannot be served.
func cureRoot(err error, path string) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "make it, or name another"
	case errors.Is(err, unix.ENOTDIR):
		return "name the folder that it is in: " + filepath.Dir(path)
	}
	return fmt.Sprintf("let the user of the server (%d) search it and the folders above: chmod o+x", os.Geteuid())
}

// hasOpenat2 tries it: old kernels answer ENOSYS, and seccomp filters that do not know it EPERM or ENOSYS.
func hasOpenat2(dir int) bool {
	fd, err := unix.Openat2(dir, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

func (t *root) openDir() (*descriptor, fileID, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(t.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fileID{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fileID{}, err
	}
	return newDescriptor(fd), identify(&st), nil
}

// acquire returns the directory that the root's path names now, to be released by the caller.
func (t *root) acquire(now int64) (*descriptor, error) {
	t.mu.Lock()
	if now-t.checked < rootFor {
		defer t.mu.Unlock()
		if !t.dir.acquire() {
			return nil, unix.ENOENT // the instance has been closed
		}
		return t.dir, nil
	}
	t.mu.Unlock()

	dir, id, err := t.openDir() // not under the lock: a dead network file system holds it up
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id.dev == t.id.dev && id.ino == t.id.ino && t.dir.acquire() {
		t.checked = max(t.checked, now)
		dir.Release()
		return t.dir, nil
	}
	if now > t.checked && t.dir.acquire() { // false once closed: then nothing is kept
		t.dir.Release()
		t.dir.Release()
		dir.acquire()
		t.dir, t.id, t.checked = dir, id, now
	}
	return dir, nil
}

// close gives the directory back.
func (t *root) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dir.Release()
}

// stat looks at the file called name beneath dir. It opens nothing that could wait or have an effect.
func (t *root) stat(dir int, name string, st *unix.Stat_t) error {
	fd, err := t.lookup(dir, name, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, st); err != nil {
		return err
	}
	return regular(st)
}

// open opens a regular file beneath dir for reading.
func (t *root) open(dir int, name string, st *unix.Stat_t) (int, error) {
	if err := t.stat(dir, name, st); err != nil { // opening a device may have an effect
		return -1, err
	}
	fd, err := t.lookup(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	err = unix.Fstat(fd, st)
	if err == nil {
		err = regular(st) // it may have been replaced since
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func regular(st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return errDirectory
	}
	return errSpecial
}

// openDirectory opens the directory called name beneath dir, "" or with a slash at its end: to read its entries, to flush or to lock it.
func (t *root) openDirectory(dir int, name string) (int, error) {
	return t.lookup(dir, directoryName(name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
}

// lookup opens name beneath dir. name has no "..", so that only symlinks could lead elsewhere.
func (t *root) lookup(dir int, name string, flags int) (int, error) {
	if t.links == linksFollow {
		return retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
	}
	if t.openat2 {
		how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
		if t.links == linksRefuse {
			how.Resolve |= unix.RESOLVE_NO_SYMLINKS
		}
		var fd int
		var err error
		for range 8 { // EAGAIN: something was renamed meanwhile, and the kernel could not tell whether it stayed beneath
			fd, err = unix.Openat2(dir, name, &how)
			if err != unix.EAGAIN && err != unix.EINTR {
				break
			}
		}
		if err != unix.EXDEV && err != unix.EAGAIN {
			return fd, err
		}
	}
	return t.walk(dir, name, flags)
}

// walk is lookup by hand, for kernels without openat2, and for absolute symlinks, which RESOLVE_BENEATH refuses.
func (t *root) walk(dir int, name string, flags int) (int, error) {
	w := walker{root: t, stack: []int{dir}, todo: components(name)}
	defer w.close()
	for {
		fd, err := w.step(flags)
		if err != nil || fd >= 0 {
			return fd, err
		}
	}
}

// A walker resolves a name component by component. Each directory is opened beneath the one before it without following a symlink, so
// whatever is renamed meanwhile, every descriptor on the stack was reached from the root downwards.
type walker struct {
	root  *root
	stack []int    // directories from the root to where we stand; the first is not ours
	todo  []string // components to come
	links int
}

func components(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

func (w *walker) close() { w.truncate(1) }

func (w *walker) truncate(n int) {
	for _, fd := range w.stack[n:] {
		unix.Close(fd)
	}
	w.stack = w.stack[:n]
}

// step resolves one component. It returns the file once the last is resolved, else -1.
func (w *walker) step(flags int) (int, error) {
	top := w.stack[len(w.stack)-1]
	if len(w.todo) == 0 { // the name ends at a directory on the stack
		return retry(func() (int, error) { return unix.Openat(top, ".", flags, 0) })
	}
	name := w.todo[0]
	w.todo = w.todo[1:]
	switch name {
	case ".":
		return -1, nil
	case "..":
		if len(w.stack) == 1 {
			return -1, unix.EXDEV
		}
		w.truncate(len(w.stack) - 1)
		return -1, nil
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(top, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		w.stack = append(w.stack, fd)
		return -1, nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		if w.root.links == linksRefuse {
			return -1, unix.ELOOP
		}
		return -1, w.follow(fd)
	}
	if len(w.todo) > 0 {
		unix.Close(fd)
		return -1, unix.ENOTDIR
	}
	if flags&unix.O_PATH != 0 {
		return fd, nil
	}
	unix.Close(fd)
	return retry(func() (int, error) { return unix.Openat(top, name, flags|unix.O_NOFOLLOW, 0) })
}

// follow puts the target of a symlink before what is to come.
func (w *walker) follow(link int) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	var buf [maxName + 1]byte
	n, err := unix.Readlinkat(link, "", buf[:])
	if err != nil {
		return err
	}
	target := string(buf[:n])
	if strings.HasPrefix(target, "/") {
		below, ok := w.root.below(target)
		if !ok {
			return unix.EXDEV
		}
		target = below
		w.truncate(1)
	}
	w.todo = append(components(target), w.todo...)
	return nil
}

// below returns what an absolute path names beneath the root, if it starts with the root's path, as configured or resolved.
func (t *root) below(target string) (string, bool) {
	if rest, ok := cutDir(target, t.path); ok {
		return rest, true
	}
	resolved, err := filepath.EvalSymlinks(t.path)
	if err != nil {
		return "", false
	}
	return cutDir(target, resolved)
}

func cutDir(path, dir string) (string, bool) {
	dir = strings.TrimRight(dir, "/")
	rest, ok := strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		fd, err := call()
		if err != unix.EINTR {
			return fd, err
		}
	}
}
