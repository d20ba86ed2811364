package master

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestWhoMayCommand(t *testing.T) {
	me := uint32(os.Geteuid())
	o := &operator{m: &master{runtime: new(runtimeDir)}}
	o.m.runtime.owners.Store(&socketOwners{4001, 4002})
	for name, c := range map[string]struct {
		peer peer
		may  bool
	}{
		"root":                       {peer{uid: 0}, true},
		"the master's user":          {peer{uid: me, gid: 9}, true},
		"the owner of the socket":    {peer{uid: 4001, gid: 9}, true},
		"the group of the socket":    {peer{uid: 9001, gid: 4002}, true},
		"a supplementary group":      {peer{uid: 9001, gid: 9, groups: []uint32{1, 4002}}, true},
		"anybody":                    {peer{uid: 9001, gid: 9, groups: []uint32{1, 2}}, false},
		"a group of the owner's id":  {peer{uid: 9001, gid: 4001, groups: []uint32{4001}}, false},
		"a user of the group's id":   {peer{uid: 4002, gid: 9}, false},
		"root's group":               {peer{uid: 9001, gid: 0}, false},
		"one that cannot be told":    {peer{err: errors.New("no")}, false},
		"nobody, with what was root": {peer{uid: 65534, gid: 65534}, false},
	} {
		why := o.forbidden(c.peer)
		if (why == "") != c.may {
			t.Errorf("%s: %q", name, why)
		}
		if !c.may && c.peer.err == nil && !strings.Contains(why, "`control_group`") {
			t.Errorf("%s: the cure is missing: %s", name, why)
		}
	}
}

// as calls f on a thread of its own that is another user, in the given supplementary groups. What f opens keeps that identity.
func as(t *testing.T, uid, gid int, groups []uint32, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
		var err error
		if errno != 0 {
			err = errno
		}
		for _, call := range []struct {
			number uintptr
			id     int
		}{{unix.SYS_SETRESGID, gid}, {unix.SYS_SETRESUID, uid}} {
			if _, _, errno := unix.RawSyscall(call.number, uintptr(call.id), uintptr(call.id), uintptr(call.id)); errno != 0 && err == nil {
				err = errno
			}
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The kernel's word on who has connected is what counts, not the mode of the file.
func TestPeersOfOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become others")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := testConfig(dir)
	config.ControlMode, config.ControlOwner, config.ControlGroup = 0o666, "4001", "4002"
	h := serve(t, config, nil)
	var st unix.Stat_t
	if err := unix.Stat(config.Control, &st); err != nil || st.Uid != 4001 || st.Gid != 4002 || st.Mode&0o7777 != 0o666 {
		t.Fatalf("%+v, %v", st, err)
	}
	many := make([]uint32, 300) // more than the first try of asking has room for
	for i := range many {
		many[i] = uint32(5000 + i)
	}
	for name, c := range map[string]struct {
		uid, gid int
		groups   []uint32
		code     int
	}{
		"owner":                     {4001, 9001, nil, 200},
		"group":                     {9001, 4002, nil, 200},
		"supplementary group":       {9001, 9001, []uint32{9002, 4002}, 200},
		"the last of many groups":   {9001, 9001, append(many, 60000, 4002), 200},
		"others":                    {9001, 9001, []uint32{9002}, 403},
		"others with many groups":   {9001, 9001, many, 403},
		"root's group is no root's": {9001, 0, []uint32{0}, 403},
	} {
		var conn net.Conn
		var err error
		as(t, c.uid, c.gid, c.groups, func() { conn, err = net.Dial("unix", config.Control) })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = io.WriteString(conn, "GET /v1/log-level HTTP/1.1\r\nHost: tined\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		conn.Close()
		if response.StatusCode != c.code || c.code == 403 && !strings.Contains(string(text), "user 9001 may not command this master") {
			t.Errorf("%s: %d %s", name, response.StatusCode, text)
		}
	}
	// It can be given to others while it is in use, and back.
	if err := h.m.runtime.give(socketAccess{mode: 0o600, group: "4003"}); err != nil {
		t.Fatal(err)
	}
	if now := *h.m.runtime.owners.Load(); now != (socketOwners{0, 4003}) {
		t.Errorf("%+v", now)
	}
	if err := unix.Stat(config.Control, &st); err != nil || st.Uid != 0 || st.Gid != 4003 || st.Mode&0o7777 != 0o600 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestAccessOfTheControlSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	for _, c := range []struct {
		access socketAccess
		mode   fs.FileMode
		part   string
	}{
		{socketAccess{}, 0o660, ""},
		{socketAccess{mode: 0o600}, 0o600, ""},
		{socketAccess{group: "no-such-group"}, 0, `control_group "no-such-group"`},
		{socketAccess{owner: "no-such-user"}, 0, `control_owner "no-such-user"`},
	} {
		l, _, err := listenControl(path, c.access)
		if c.part != "" {
			if err == nil || !strings.Contains(err.Error(), c.part) {
				t.Errorf("%+v: %v", c.access, err)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%+v: the file is left", c.access)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != c.mode {
			t.Errorf("%+v: %v, %v", c.access, info, err)
		}
		l.Close()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// Giving a file to whom it belongs needs no call: a filter of system calls may forbid it.
func TestOwnedAlready(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, filepath.Dir(dir)} { // the test's own folder
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	group := os.Getegid()
	as(t, 4001, 4001, nil, func() { // who is neither root nor the owner may not even change it to what it is
		for _, c := range []struct {
			uid, gid int
			allowed  bool
		}{{-1, -1, true}, {0, -1, true}, {-1, group, true}, {0, group, true}, {4001, -1, false}, {-1, 4001, false}} {
			if err := own(path, c.uid, c.gid); (err == nil) != c.allowed || err != nil && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%d, %d: %v", c.uid, c.gid, err)
			}
		}
		err := socketAccess{group: "4001"}.give(path)
		if err == nil || !strings.Contains(err.Error(), "SystemCallFilter=@chown") {
			t.Errorf("%v", err)
		}
	})
}
