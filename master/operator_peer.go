package master

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
)

// Who may command the master: root, the user that it runs as, the owner of the control socket, and the members of its group. The mode of
// the socket's file keeps most others out; what the kernel knows of a connection's other end is asked all the same, for a file's mode is
// easily widened by mistake.

// socketAccess says whose the control socket is.
type socketAccess struct {
	mode         fs.FileMode // 0: controlMode
	owner, group string      // names or numbers; "": the master's own
}

func accessOf(c *configs.Config) socketAccess {
	return socketAccess{mode: c.ControlMode, owner: c.ControlOwner, group: c.ControlGroup}
}

// give makes the bound socket at path theirs. It must come before listen: until then nobody can connect.
func (a socketAccess) give(path string) error {
	uid, gid := -1, -1
	var err error
	if a.owner != "" {
		if uid, err = idOf(a.owner, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		}); err != nil {
			return fmt.Errorf("control_owner %q: %w; name a user of this system", a.owner, err)
		}
	}
	if a.group != "" {
		if gid, err = idOf(a.group, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		}); err != nil {
			return fmt.Errorf("control_group %q: %w; name a group of this system", a.group, err)
		}
	}
	if err := own(path, uid, gid); errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("control_owner %q, control_group %q: %w; only root can give the socket away, others can give it to a group of their own;"+
			" and a systemd unit whose SystemCallFilter= leaves chown(2) out needs SystemCallFilter=@chown for it, by `systemctl edit`", a.owner, a.group, err)
	} else if err != nil {
		return err
	}
	mode := a.mode
	if mode == 0 {
		mode = controlMode
	}
	return os.Chmod(path, mode.Perm())
}

// own gives a file to a user and a group, -1: whose it is. What is theirs already needs no call, which may be forbidden.
func own(path string, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if (uid < 0 || uint32(uid) == st.Uid) && (gid < 0 || uint32(gid) == st.Gid) {
		return nil
	}
	return os.Lchown(path, uid, gid)
}

// idOf is the number of a user or group that is given by name or by number.
func idOf(name string, lookup func(string) (string, error)) (int, error) {
	id, err := lookup(name)
	if err != nil {
		if n, wrong := strconv.ParseUint(name, 10, 31); wrong == nil {
			return int(n), nil
		}
		return -1, err
	}
	return number(id), nil
}

// socketOwners are the user and the group of the control socket.
type socketOwners struct{ uid, gid uint32 }

// noteOwners looks whose the control socket is.
func (r *runtimeDir) noteOwners() error {
	var st unix.Stat_t
	if err := unix.Lstat(r.control, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: r.control, Err: err}
	}
	r.owners.Store(&socketOwners{st.Uid, st.Gid})
	return nil
}

// give makes the control socket theirs while it is in use. Who is connected is asked anew with the next request.
func (r *runtimeDir) give(a socketAccess) error {
	if a.owner == "" {
		a.owner = strconv.Itoa(os.Geteuid())
	}
	if a.group == "" {
		a.group = strconv.Itoa(os.Getegid())
	}
	if err := a.give(r.control); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return r.noteOwners()
}

// peer is the process at the other end of a connection, as the kernel has noted it when it connected.
type peer struct {
	uid, gid uint32
	pid      int32
	groups   []uint32 // supplementary
	err      error    // why nothing is known
}

// String names the peer in log, status and events.
func (p peer) String() string {
	if p.err != nil {
		return "control socket"
	}
	return fmt.Sprintf("control socket (uid %d, pid %d)", p.uid, p.pid)
}

type peerKey struct{}

func withPeer(ctx context.Context, p peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

func peerIn(ctx context.Context) peer {
	if p, ok := ctx.Value(peerKey{}).(peer); ok {
		return p
	}
	return peer{err: errors.New("the connection is no unix socket")}
}

func peerOf(c net.Conn) (p peer) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return peer{err: errors.New("the connection is no unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			p.err = os.NewSyscallError("getsockopt SO_PEERCRED", err)
			return
		}
		p.uid, p.gid, p.pid = cred.Uid, cred.Gid, cred.Pid
		p.groups, p.err = peerGroups(int(fd))
	})
	if err != nil {
		return peer{err: err}
	}
	return p
}

// peerGroups are the peer's supplementary groups (unix(7), SO_PEERGROUPS; x/sys has no call for it). The kernel says ERANGE, and how
// much room it wants, when there is too little.
func peerGroups(fd int) ([]uint32, error) {
	buffer := make([]byte, 4*64)
	for {
		size := uint32(len(buffer))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == unix.ERANGE && int(size) > len(buffer) {
			buffer = make([]byte, size)
			continue
		}
		if errno != 0 {
			return nil, os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
		}
		groups := make([]uint32, size/4)
		for i := range groups {
			groups[i] = binary.NativeEndian.Uint32(buffer[4*i:])
		}
		return groups, nil
	}
}

// forbidden says why a peer may not command this master; "" when it may.
func (o *operator) forbidden(p peer) string {
	socket := o.m.runtime.owners.Load()
	switch {
	case p.err != nil:
		return fmt.Sprintf("the master cannot tell who asks: %v", p.err)
	case p.uid == 0, p.uid == uint32(os.Geteuid()), p.uid == socket.uid:
		return ""
	case p.gid == socket.gid, slices.Contains(p.groups, socket.gid):
		return ""
	}
	return fmt.Sprintf("user %d may not command this master: run this as root or as the master's user, or let `control_group` in the configuration"+
		" name a group that this user is in", p.uid)
}
