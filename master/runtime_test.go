package master

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func TestDefaultControlPath(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		uid  int
		want string
	}{
		{"tined", map[string]string{"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"}, 0, "/run/a/control.sock"},
		{"tined", nil, 0, "/run/tined/control.sock"},
		{"shop", nil, 0, "/run/shop/control.sock"},
		{"tined", map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/tined/control.sock"},
		{"tined", nil, 7, "/tmp/tined-7/control.sock"},
		{"shop", nil, 7, "/tmp/shop-7/control.sock"},
	} {
		if got := defaultControlPath(c.name, func(k string) string { return c.env[k] }, c.uid, "/tmp"); got != c.want {
			t.Errorf("%v, uid %d: %s, want %s", c.env, c.uid, got, c.want)
		}
	}
}

func TestControlPath(t *testing.T) {
	if got, err := ControlPath("tined", "/a", "/b"); err != nil || got != "/a" {
		t.Error(got, err)
	}
	if got, err := ControlPath("tined", "", "/b"); err != nil || got != "/b" {
		t.Error(got, err)
	}
	if _, err := ControlPath("tined", "/"+strings.Repeat("x", maxSocketPath), ""); err == nil || !strings.Contains(err.Error(), "at most 107") {
		t.Error(err)
	}
	if _, err := ControlPath("tined", "/"+strings.Repeat("x", maxSocketPath-1), ""); err != nil {
		t.Error(err)
	}
}

func TestChildrenFolder(t *testing.T) {
	for _, c := range [][3]string{
		{"/run/tined/control.sock", "", "/run/tined/children"},
		{"/tmp/a.sock", "", "/tmp/a.children"},
		{"/tmp/a.sock", "/run/x", "/run/x/children"},
	} {
		if got := childrenFolder(c[0], c[1]); got != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}

func TestRuntimeDir(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	// What a dead master has left.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	r, err := openRuntime(path, "", socketAccess{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, err := openRuntime(path, "", socketAccess{}); err == nil || !strings.Contains(err.Error(), "another master (pid ") {
		t.Errorf("a second one: %v", err)
	}
	// The same socket by way of another runtime directory.
	if _, err := openRuntime(path, t.TempDir(), socketAccess{}); err == nil || !strings.Contains(err.Error(), "another master (pid ") {
		t.Errorf("a second one with another folder: %v", err)
	}
	s, name, err := r.childSocket(0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("unixpacket", filepath.Join(r.children, "0.sock"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	again, second, err := r.childSocket(0) // of another life beside it
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if name != "0.sock" || second != "0-2.sock" || !orphanSocket.MatchString(name) || !orphanSocket.MatchString(second) {
		t.Errorf("the sockets of two lives are %s and %s", name, second)
	}
	r.removeSocket(name)
	if f, again, err := r.childSocket(0); err != nil || again != name {
		t.Errorf("the name of a socket that is gone is not used again: %s, %v", again, err)
	} else {
		f.Close()
	}
	// Another's file at our path is not removed.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.close()
	if _, err := os.Lstat(path); err != nil {
		t.Error("another's file was removed")
	}
	if _, err := openRuntime(path, "", socketAccess{}); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a plain file: %v", err)
	}
}

// Somebody removes the runtime directory under a server that runs: its children can still be replaced.
func TestRuntimeDirRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r, err := openRuntime(filepath.Join(t.TempDir(), "run", "control.sock"), "", socketAccess{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := os.RemoveAll(r.children); err != nil {
		t.Fatal(err)
	}
	f, name, err := r.childSocket(0)
	if err != nil || name != "" {
		t.Fatalf("%q, %v", name, err)
	}
	defer f.Close()
	listens := 0
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { listens, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) }); err != nil || listens != 1 {
		t.Errorf("it does not listen: %v", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The longest path that a control socket can have leaves no room for the children's: they are
// bound by way of the folder.
func TestLongRuntimePath(t *testing.T) {
	dir := t.TempDir()
	rest := maxSocketPath - len(dir) - len("//control.sock")
	if rest < 1 {
		t.Skip("the temporary folder's path is too long")
	}
	path := filepath.Join(dir, strings.Repeat("d", rest), "control.sock")
	r, err := openRuntime(path, "", socketAccess{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	s, _, err := r.childSocket(11)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Lstat(filepath.Join(r.children, "11.sock")); err != nil {
		t.Error(err)
	}
}

func TestTemporaryRuntimeMustBeOurs(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	dir := temporaryRuntime("tined", os.Getuid(), temp)
	if err := makeParent(dir); err != nil {
		t.Fatal(err)
	}
	if err := makeParent(dir); err != nil {
		t.Error("it does not take its own again:", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeParent(dir); err == nil {
		t.Error("a folder that is open to others was taken")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	if err := makeParent(dir); err == nil {
		t.Error("a symbolic link was taken")
	}
}

func TestCPUQuota(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  float64
	}{
		"none": {fstest.MapFS{"proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/cpu.max": file("max 100000\n")}, 0},
		"v2":   {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/cpu.max": file("150000 100000\n")}, 1.5},
		"v2, the parent's is smaller": {fstest.MapFS{
			"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/cpu.max": file("400000 100000\n"), "sys/fs/cgroup/a/cpu.max": file("200000 100000\n"),
		}, 2},
		"v2, the container's own root": {fstest.MapFS{"proc/self/cgroup": file("0::/docker/x\n"), "sys/fs/cgroup/cpu.max": file("50000 100000\n")}, 0.5},
		"v1": {fstest.MapFS{
			"proc/self/cgroup": file("9:name=systemd:/\n2:cpu,cpuacct:/c\n0::/\n"),
			"sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us":   file("300000\n"),
			"sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us":  file("100000\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":     file("-1\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":    file("100000\n"),
			"sys/fs/cgroup/cpuset/c/cpu.cfs_quota_us":        file("1\n"),
			"sys/fs/cgroup/name=systemd/cpu.cfs_quota_us":    file("1\n"),
			"sys/fs/cgroup/name=systemd/c/cpu.cfs_period_us": file("1\n"),
		}, 3},
		"nonsense": {fstest.MapFS{"proc/self/cgroup": file("x\n\n::\n0::/a\n"), "sys/fs/cgroup/a/cpu.max": file("1 0\n")}, 0},
		"no proc":  {fstest.MapFS{}, 0},
	} {
		if got, ok := cpuQuota(c.files); got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %v, %v, want %v", name, got, ok, c.want)
		}
		if n := usableCores(c.files); n < 1 || c.want > 0 && n > int(c.want+0.999) {
			t.Errorf("%s: %d cores", name, n)
		}
	}
}

// A core is taken from the affinity mask.
func TestUsableCoresFollowAffinity(t *testing.T) {
	done := make(chan struct{})
	go func() { // the thread is thrown away with its mask: the goroutine never unlocks it
		defer close(done)
		runtime.LockOSThread()
		var mask unix.CPUSet
		if err := unix.SchedGetaffinity(0, &mask); err != nil {
			t.Error(err)
			return
		}
		for cpu := range 1024 {
			if mask.IsSet(cpu) {
				mask.Zero()
				mask.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &mask); err != nil {
			t.Error(err)
			return
		}
		if n := usableCores(fstest.MapFS{}); n != 1 {
			t.Errorf("%d cores with one in the mask", n)
		}
	}()
	<-done
}
