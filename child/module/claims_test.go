package module

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// open opens a new file and returns its descriptor and identity.
func open(t *testing.T) (fd int, dev, ino uint64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return fd, st.Dev, st.Ino
}

func isOpen(fd int, ino uint64) bool {
	var st syscall.Stat_t
	return syscall.Fstat(fd, &st) == nil && st.Ino == ino
}

func TestClaims(t *testing.T) {
	var c Claims
	fd, dev, ino := open(t)
	if c.Claimed(dev, ino) {
		t.Error("claimed by nobody")
	}
	first, second := c.Claim(dev, ino), c.Claim(dev, ino)
	if !c.Claimed(dev, ino) || c.Claimed(dev, ino+1) || c.Claimed(dev+1, ino) {
		t.Error("not claimed, or another file is")
	}
	c.Close(fd, dev, ino)
	first()
	first() // once is enough
	if !c.Claimed(dev, ino) || !isOpen(fd, ino) {
		t.Error("the second claim is gone with the first")
	}
	second()
	if c.Claimed(dev, ino) || isOpen(fd, ino) {
		t.Error("claimed, or open, after the last release")
	}
	fd, dev, ino = open(t)
	c.Close(fd, dev, ino)
	if isOpen(fd, ino) {
		t.Error("open, though nobody claims it")
	}
}

func TestNoClaims(t *testing.T) {
	var c *Claims
	fd, dev, ino := open(t)
	if c.Claimed(dev, ino) {
		t.Error("claimed by nobody")
	}
	c.Close(fd, dev, ino)
	if isOpen(fd, ino) {
		t.Error("still open")
	}
}

// Claims come and go while descriptors are closed: in the end all are.
func TestClaimsAtOnce(t *testing.T) {
	var c Claims
	_, dev, ino := open(t)
	fds := make([]int, 200)
	for i := range fds {
		fds[i], _, _ = open(t)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 100 {
				c.Claim(dev, ino)()
			}
		})
		all.Go(func() {
			for _, fd := range fds[i*50 : (i+1)*50] {
				c.Close(fd, dev, ino)
			}
		})
	}
	all.Wait()
	for _, fd := range fds {
		if err := syscall.Close(fd); err != syscall.EBADF {
			t.Fatalf("descriptor %d was left open: %v", fd, err)
		}
	}
}
