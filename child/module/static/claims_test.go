package static

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// claim makes the file called name another module's.
func claim(t *testing.T, c *module.Claims, root, name string) (release func()) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, name), &st); err != nil {
		t.Fatal(err)
	}
	return c.Claim(st.Dev, st.Ino)
}

func TestClaimed(t *testing.T) {
	root := tree(t)
	for _, name := range []string{"shop.db", "shop.db-wal", "shop.db-shm", "shop.db-journal", "other.db", "other.db-wal", "dir-wal/x"} {
		write(t, root, name, "data")
	}
	link(t, "shop.db", filepath.Join(root, "link"))
	if err := unix.Link(filepath.Join(root, "shop.db"), filepath.Join(root, "hard")); err != nil {
		t.Fatal(err)
	}
	claims := new(module.Claims)
	s, c := serve(t, root, func(o *options) { o.claims = claims })
	want := func(what string, status int, targets ...string) {
		t.Helper()
		for _, target := range targets {
			if resp := webtest.Get(s, target); resp.Status != status {
				t.Errorf("%s: %s: %d, want %d", what, target, resp.Status, status)
			}
		}
	}
	mine := []string{"/shop.db", "/shop.db-wal", "/shop.db-shm", "/shop.db-journal", "/link", "/hard"}
	want("before", 200, mine...)
	release := claim(t, claims, root, "shop.db")
	s.sweep()
	c.add(time.Second)
	want("claimed", 403, mine...)
	want("claimed", 200, "/other.db", "/other.db-wal", "/dir-wal/x")
	release()
	release()
	want("released", 200, mine...)
}

// A descriptor that is open when its file is claimed is closed after the claim: a close would drop the locks of who claims it.
func TestClaimParksDescriptors(t *testing.T) {
	root := tree(t)
	claims := new(module.Claims)
	s, _ := serve(t, root, func(o *options) { o.claims = claims })
	webtest.Get(s, "/large.bin")
	e, _ := s.cache.peek("large.bin", s.now())
	fd := e.plain.file.fd
	isOpen := func() bool {
		var st unix.Stat_t
		return unix.Fstat(fd, &st) == nil && st.Size == int64(len(large))
	}
	first, second := claim(t, claims, root, "large.bin"), claim(t, claims, root, "large.bin")
	e.plain.file.acquire()
	s.cache.forget(e)
	e.plain.file.releaseNow()
	if !isOpen() {
		t.Error("closed under the claim")
	}
	first()
	if !isOpen() {
		t.Error("closed under the second claim")
	}
	second()
	if isOpen() {
		t.Error("open after the last claim")
	}
}

// A large file that is changed in place is another one at once, and one that is replaced or unlinked stays what it was for those who
// have it.
func TestChangedDescriptor(t *testing.T) {
	root := tree(t)
	path := filepath.Join(root, "large.bin")
	touch(t, path, 1000)
	s, _ := serve(t, root)
	webtest.Get(s, "/large.bin")
	first := webtest.Get(s, "/large.bin")
	e, _ := s.cache.peek("large.bin", s.now())
	var _ web.ChangingFile = e.plain.file
	if !first.Inline || e.plain.file.changedAt(0) {
		t.Fatal("not served from the cache")
	}
	overwrite(t, path, "X")
	if !e.plain.file.changedAt(0) {
		t.Error("overwritten, and not changed")
	}
	second := webtest.Get(s, "/large.bin")
	if second.Inline || second.Text()[0] != 'X' || second.Header.Get("ETag") == first.Header.Get("ETag") {
		t.Errorf("a file that was changed in place is served as it was: %.3q %s", second.Text(), second.Header.Get("ETag"))
	}
	touch(t, path, 2000)
	webtest.Get(s, "/large.bin")
	e, _ = s.cache.peek("large.bin", s.now())
	write(t, root, "new", large+large)
	rename(t, root, "new", "large.bin")
	if e.plain.file.changedAt(0) {
		t.Error("a file that was replaced counts as changed")
	}
	if err := unix.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	weak := newFileDescriptor(-1, fileID{size: 100}, false, nil)
	if weak.Changed() {
		t.Error("a descriptor that cannot be looked at counts as changed")
	}
}
