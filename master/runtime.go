package master

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

const (
	// controlMode of the control socket where the configuration does not say: the owner and the group may command the master.
	controlMode = 0o660
	// maxSocketPath is the longest path of a unix socket in bytes (unix(7), sun_path less its zero).
	maxSocketPath = 107
	// childBacklog is the queue of a child's own socket: one later master, and its retries.
	childBacklog = 16
	// defaultSocket is the name of the control socket where nobody has chosen one.
	defaultSocket = "control.sock"
)

// ControlPath finds the control socket, for the master that makes it and for the commands that use
// it: explicit (--control, TINED_CONTROL), else configured, else the default of the program called
// name for this user.
func ControlPath(name, explicit, configured string) (string, error) {
	path := explicit
	if path == "" {
		path = configured
	}
	if path == "" {
		path = defaultControlPath(name, os.Getenv, os.Getuid(), os.TempDir())
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("control socket: %w", err)
	}
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("control socket: %s has %d bytes; a socket's path has at most %d: set a shorter `control`", path, len(path), maxSocketPath)
	}
	return path, nil
}

// defaultControlPath is the order of DESIGN section 10.
func defaultControlPath(name string, env func(string) string, uid int, temp string) string {
	// systemd may name several runtime directories, separated by colons (systemd.exec(5)).
	if dir, _, _ := strings.Cut(env("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, defaultSocket)
	}
	if uid == 0 {
		return filepath.Join("/run", name, defaultSocket)
	}
	if dir := env("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, name, defaultSocket)
	}
	return filepath.Join(temporaryRuntime(name, uid, temp), defaultSocket)
}

func temporaryRuntime(name string, uid int, temp string) string {
	return filepath.Join(temp, name+"-"+strconv.Itoa(uid))
}

// runtimeDir is the master's place in the file system: the control socket, and the folder with one
// listening socket per child. The folder is locked as long as this master owns it.
type runtimeDir struct {
	control  string                       // path of the control socket
	listener net.Listener                 // of the control socket
	identity fileID                       // of its file: another master's is never removed
	owners   atomic.Pointer[socketOwners] // of its file: who may command; any goroutine
	secret   []byte                       // for later masters and the children
	made     []string                     // sockets in the folder: those of others stay when this master leaves, for a later one may reach their processes
	children string                       // the folder
	folder   *os.File                     // the folder, locked

	// inherited: all but the children's own sockets is another master's: this one is its successor and not confirmed, or has a successor.
	inherited bool

	closing sync.Once
}

// openRuntime makes the folder and the control socket. runtime is the configured directory, "" for
// the control socket's own. A living master there is refused by name; a dead one's socket is
// replaced.
func openRuntime(control, runtime string, access socketAccess) (_ *runtimeDir, err error) {
	r := &runtimeDir{control: control, children: childrenFolder(control, runtime)}
	if err := makeParent(filepath.Dir(control)); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(r.children), 0o755); err != nil {
		return nil, fmt.Errorf("runtime directory: %w", err)
	}
	if r.folder, err = lockFolder(r.children); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, aliveError(control)
		}
		return nil, fmt.Errorf("runtime directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = r.folder.Close()
		}
	}()
	if err := removeStale(control); err != nil {
		return nil, err
	}
	if r.listener, r.identity, err = listenControl(control, access); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := r.noteOwners(); err != nil {
		r.identity.remove(control)
		_ = r.listener.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return r, nil
}

// inheritRuntime takes over what a master has passed on of its runtime directory: duplicates of the listening control socket and of the
// locked folder. It owns both files. The lock is the open file's: it lasts as long as one of the two masters has it.
func inheritRuntime(control, children string, socket, folder *os.File, secret []byte) (*runtimeDir, error) {
	r := &runtimeDir{control: control, children: children, folder: folder, secret: secret, inherited: true}
	defer socket.Close()
	fd, err := duplicate(socket)
	if err == nil {
		var l *operatorListener
		if l, err = newOperatorListener(fd, control); err == nil {
			r.listener = l
		}
	}
	if err == nil {
		r.identity, err = identify(control)
	}
	if err == nil {
		err = r.noteOwners()
	}
	if err != nil {
		_ = folder.Close()
		if r.listener != nil {
			_ = r.listener.Close()
		}
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return r, nil
}

// bequeathed leaves everything but the children's own sockets to the successor.
func (r *runtimeDir) bequeathed() { r.inherited = true }

// lockFolder makes the folder if need be and locks it. The lock is the folder's own, so nothing is
// left behind by a killed master: it ends with the last descriptor of this open file, and no child
// inherits one.
func lockFolder(path string) (*os.File, error) {
	for {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
		}
		// A master that was leaving may have removed the folder between the two.
		mine, err1 := f.Stat()
		now, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, now) {
			return f, nil
		}
		_ = f.Close()
	}
}

// childrenFolder is "children" in the runtime directory. A control socket of a name of its own has
// a folder of that name, so that two masters can share a directory.
func childrenFolder(control, runtime string) string {
	if runtime != "" {
		return filepath.Join(runtime, "children")
	}
	dir, base := filepath.Split(control)
	if base == defaultSocket {
		return filepath.Join(dir, "children")
	}
	return filepath.Join(dir, strings.TrimSuffix(base, ".sock")+".children")
}

// makeParent makes the control socket's directory. The one below the temporary folder is
// everybody's to take: it must be ours and closed to others.
func makeParent(dir string) error {
	name, ours := strings.CutSuffix(filepath.Base(dir), "-"+strconv.Itoa(os.Getuid()))
	if !ours || dir != temporaryRuntime(name, os.Getuid(), os.TempDir()) {
		return os.MkdirAll(dir, 0o755)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a directory of this user with mode 0700: remove it, or set `control`", dir)
	}
	return nil
}

// removeStale removes what a dead master has left at path, and refuses a living one.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket: %s exists and is no socket: remove it, or set another `control`", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
		return aliveError(path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func aliveError(control string) error {
	if pid := peerPid(control); pid != 0 {
		return fmt.Errorf("control socket: another master (pid %d) is running on %s: stop it, or choose another socket with `control` or --control", pid, control)
	}
	return fmt.Errorf("control socket: another master is starting or stopping on %s", control)
}

// peerPid is the process that listens on path: SO_PEERCRED of a connection names who called
// listen (unix(7)). 0 when nobody answers.
func peerPid(path string) int {
	c, err := net.Dial("unix", path)
	if err != nil {
		return 0
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// listenControl binds and listens. The file has its final owner and mode before anybody can connect.
func listenControl(path string, access socketAccess) (_ net.Listener, id fileID, err error) {
	fd, err := bound(unix.SOCK_STREAM, path)
	if err != nil {
		return nil, id, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			_ = os.Remove(path)
		}
	}()
	if err := access.give(path); err != nil {
		return nil, id, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, id, os.NewSyscallError("listen", err)
	}
	if id, err = identify(path); err != nil {
		return nil, id, err
	}
	l, e := newOperatorListener(fd, path)
	if e != nil {
		_ = os.Remove(path)
		return nil, id, e // it has closed the descriptor
	}
	return l, id, nil
}

// bound makes a unix socket of the given type bound to path. Nobody can connect before listen.
func bound(kind int, path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return -1, &fs.PathError{Op: "bind", Path: path, Err: err}
	}
	return fd, nil
}

// namelessSocket makes a listening socket whose file is removed at once.
func namelessSocket() (*os.File, error) {
	folder, err := os.MkdirTemp("", "socket-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	fd, err := bound(unix.SOCK_SEQPACKET, filepath.Join(folder, "s"))
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, childBacklog); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("listen", err)
	}
	return os.NewFile(uintptr(fd), "socket without a name"), nil
}

// childSocket makes the listening socket of one life of a child, by which a later master finds it, and says its file's name. Two lives of
// one index may be there at a time, and each has to be found: the second one's name has a number. When somebody has removed the folder, the
// name is "": a child that no later master finds is better than none.
func (r *runtimeDir) childSocket(index int) (_ *os.File, name string, err error) {
	name = strconv.Itoa(index) + ".sock"
	var f *os.File
	for n := 2; ; n++ {
		// Another master may make one at the same time: who binds first has the name.
		if f, err = r.listenAt(name); !errors.Is(err, unix.EADDRINUSE) || n > maxOrphans {
			break
		}
		name = fmt.Sprintf("%d-%d.sock", index, n)
	}
	if errors.Is(err, fs.ErrNotExist) {
		f, err = namelessSocket()
		name = ""
	}
	if err != nil {
		return nil, "", fmt.Errorf("socket of child %d: %w", index, err)
	}
	return f, name, nil
}

// socket makes a listening socket in the children's folder, in place of one that nobody answers on.
func (r *runtimeDir) socket(name string) (*os.File, error) {
	if err := os.Remove(filepath.Join(r.children, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return r.listenAt(name)
}

// listenAt makes a listening socket in the children's folder. It is bound by way of the folder's descriptor, so that no path is too long.
func (r *runtimeDir) listenAt(name string) (*os.File, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", r.folder.Fd(), name)
	fd, err := bound(unix.SOCK_SEQPACKET, path)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(r.made, name) {
		r.made = append(r.made, name)
	}
	f := os.NewFile(uintptr(fd), name)
	err = os.Chmod(path, 0o600)
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, childBacklog))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// removeSocket removes the file of a socket whose process is gone.
func (r *runtimeDir) removeSocket(name string) {
	_ = os.Remove(filepath.Join(r.children, name)) // it may be gone with the folder
}

// at calls use with a path of a file in the folder that is short enough for a socket's. The folder's descriptor is not closed meanwhile. Any
// goroutine; fs.ErrClosed after close.
func (r *runtimeDir) at(name string, use func(path string) error) error {
	raw, err := r.folder.SyscallConn()
	if err != nil {
		return err
	}
	var used error
	if err := raw.Control(func(fd uintptr) { used = use(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)) }); err != nil {
		return err
	}
	return used
}

// sweepEvery and sweepBound are how often and how long is looked whether the process behind a socket has ended.
const (
	sweepEvery = 200 * time.Millisecond
	sweepBound = 30 * time.Second
)

// sweep removes the sockets of processes that are about to end, once they have, until done. Any goroutine.
func (r *runtimeDir) sweep(left []missed, done <-chan struct{}) {
	every := time.NewTicker(sweepEvery)
	defer every.Stop()
	for end := time.Now().Add(sweepBound); len(left) > 0 && time.Now().Before(end); {
		left = slices.DeleteFunc(left, func(l missed) bool {
			err := r.at(l.socket, func(path string) error {
				conn, err := control.Dial(path)
				if err == nil {
					_ = conn.Close()
				}
				return err
			})
			gone := errors.Is(err, unix.ECONNREFUSED)
			if gone {
				r.removeSocket(l.socket)
			}
			return gone || errors.Is(err, unix.ENOENT)
		})
		select {
		case <-every.C:
		case <-done:
			return
		}
	}
}

// close removes what openRuntime made: first the control socket, so that no later command reaches
// a master that is leaving, then the children's sockets, then the lock. While there is a child of an earlier master that a later one may
// take over, its socket and the secret stay.
func (r *runtimeDir) close() {
	r.closing.Do(func() {
		if r.inherited {
			if slices.Contains(r.made, socketOfHousekeeper) { // ours still listens: no other master has one at its place
				r.removeSocket(socketOfHousekeeper)
			}
			_ = r.listener.Close()
			_ = r.folder.Close() // the children's sockets are removed one by one, with their lives
			return
		}
		r.identity.remove(r.control)
		_ = r.listener.Close()
		for _, name := range r.made {
			r.removeSocket(name)
		}
		if left, err := filepath.Glob(filepath.Join(r.children, "*.sock")); err == nil && len(left) == 0 {
			_ = os.Remove(filepath.Join(r.children, secretName))
		}
		_ = os.Remove(r.children)
		_ = r.folder.Close()
	})
}

// fileID tells whether a path still is the file that we made.
type fileID struct{ dev, ino uint64 }

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// remove unlinks path if it still is this file.
func (id fileID) remove(path string) {
	if now, err := identify(path); err == nil && now == id {
		_ = os.Remove(path)
	}
}
