package static

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// storeAt makes a store with a clock of its own.
func storeAt(t testing.TB, dir string, limit int64) (*store, *time.Time) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	s, err := newStore(storeOptions{limit: limit, directory: dir, now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s, &now
}

// packed is some content that tells which it is.
func packed(i, n int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("content %d ", i)), n/10+1)[:n]
}

// mustPut puts content and looks at what the descriptor gives.
func mustPut(t testing.TB, s *store, key string, content []byte) *descriptor {
	t.Helper()
	d, err := s.put(key, content)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	if got := storedContent(t, d, int64(len(content))); !bytes.Equal(got, content) {
		t.Fatalf("put %s: other content comes back", key)
	}
	return d
}

func storedContent(t testing.TB, d *descriptor, size int64) []byte {
	t.Helper()
	got := make([]byte, size)
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	return got
}

// has reports whether the store has content for key, and fails if it has other content.
func has(t testing.TB, s *store, key string, content []byte) bool {
	t.Helper()
	d, size := s.get(key)
	if d == nil {
		return false
	}
	defer d.releaseNow()
	if size != int64(len(content)) || !bytes.Equal(storedContent(t, d, size), content) {
		t.Errorf("get %s: other content", key)
	}
	return true
}

// directorySum counts our files in dir as du does, without the ledger.
func directorySum(t testing.TB, dir string) (sum int64, parts int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if ours, part := isStored(e.Name()); ours && e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if sum += space(info.Size()); part {
				parts++
			}
		}
	}
	return sum, parts
}

// What is in memory can be sent and cannot be changed, and counts until nobody uses it.
func TestStoreMemory(t *testing.T) {
	s, _ := storeAt(t, "", 3*block)
	a := mustPut(t, s, "a", packed(1, block+1))
	if _, err := unix.Pwrite(a.fd, []byte("x"), 0); err != unix.EPERM {
		t.Errorf("write: %v", err)
	}
	for _, n := range []int64{0, 2 * block} {
		if err := unix.Ftruncate(a.fd, n); err != unix.EPERM {
			t.Errorf("truncate to %d: %v", n, err)
		}
	}
	if flags, err := unix.FcntlInt(uintptr(a.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("not closed on exec: %v", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	offset := int64(3)
	if n, err := unix.Sendfile(pair[0], a.fd, &offset, 100); err != nil || n != 100 {
		t.Fatalf("sendfile: %d, %v", n, err)
	}
	got := make([]byte, 100)
	if n, err := unix.Read(pair[1], got); err != nil || !bytes.Equal(got[:n], packed(1, block)[3:103]) {
		t.Errorf("sendfile sends %q, %v", got, err)
	}

	if d, size := s.get("a"); d != nil || size != 0 {
		t.Error("what is in memory has a name")
	}
	s.touch("a")
	if _, err := s.put("b", packed(2, block+1)); err != errStoreFull {
		t.Errorf("beyond the limit: %v", err)
	}
	b := mustPut(t, s, "b", packed(2, block))
	empty := mustPut(t, s, "empty", nil)
	if got := s.held.Load(); got != 3*block {
		t.Errorf("%d bytes are counted", got)
	}
	a.acquire()
	a.releaseNow()
	if _, err := s.put("c", packed(3, 1)); err != errStoreFull {
		t.Errorf("while it is being sent: %v", err)
	}
	for _, d := range []*descriptor{a, b, empty} {
		d.releaseNow()
	}
	if got := s.held.Load(); got != 0 {
		t.Errorf("%d bytes are counted at the end", got)
	}
	mustPut(t, s, "d", packed(4, 3*block)).releaseNow()
}

// What is put is there for other stores, those of other processes and of later ones.
func TestStoreDirectory(t *testing.T) {
	dir := t.TempDir()
	s, _ := storeAt(t, dir, 1<<20)
	for i, n := range []int{0, 1, block, 200_000} {
		key, content := fmt.Sprintf("key/%d\x00", i), packed(i, n)
		if has(t, s, key, content) {
			t.Errorf("%s: there before", key)
		}
		d := mustPut(t, s, key, content)
		if _, err := unix.Pwrite(d.fd, []byte("x"), 0); err != unix.EBADF {
			t.Errorf("%s: the descriptor writes: %v", key, err)
		}
		d.releaseNow()
		other, _ := storeAt(t, dir, 1<<20)
		if !has(t, s, key, content) || !has(t, other, key, content) {
			t.Errorf("%s: not found", key)
		}
	}
	old, _ := s.get("key/1\x00")
	mustPut(t, s, "key/1\x00", packed(9, 77)).releaseNow() // another child was as quick
	if !has(t, s, "key/1\x00", packed(9, 77)) || !bytes.Equal(storedContent(t, old, 1), packed(1, 1)) {
		t.Error("a second put")
	}
	old.releaseNow()
	sum, _ := directorySum(t, dir)
	if l, err := os.ReadFile(filepath.Join(dir, ledgerName)); err != nil || int64(binary.LittleEndian.Uint64(l)) != sum {
		t.Errorf("%v in the ledger of %d, %v", l, sum, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Errorf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if _, err := s.put("huge", make([]byte, 1<<20)); err != errStoreFull {
		t.Errorf("more than the limit: %v", err)
	}
	if !has(t, s, "key/3\x00", packed(3, 200_000)) {
		t.Error("something was removed for what does not fit")
	}
}

// A file is taken only if it is one of ours, and whole; else the next put takes its place.
func TestStoreDamage(t *testing.T) {
	content := packed(1, 10_000)
	whole := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	edit := func(change func(b []byte) []byte) func(path string) error {
		return func(path string) error { return os.WriteFile(path, change(whole(path)), 0o600) }
	}
	end := len(content)
	cases := map[string]func(path string) error{
		"empty":            edit(func(b []byte) []byte { return nil }),
		"one short":        edit(func(b []byte) []byte { return b[:len(b)-1] }),
		"without trailer":  edit(func(b []byte) []byte { return b[:end] }),
		"half":             edit(func(b []byte) []byte { return b[:end/2] }),
		"one more":         edit(func(b []byte) []byte { return append(b, 0) }),
		"hole":             edit(func(b []byte) []byte { clear(b[block : 2*block]); return b }),
		"only zeros":       edit(func(b []byte) []byte { clear(b); return b }),
		"first bit":        edit(func(b []byte) []byte { b[0] ^= 1; return b }),
		"last bit":         edit(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"key":              edit(func(b []byte) []byte { b[end] ^= 1; return b }),
		"length":           edit(func(b []byte) []byte { b[end+32] ^= 1; return b }),
		"negative":         edit(func(b []byte) []byte { b[end+39] = 0xff; return b }),
		"checksum":         edit(func(b []byte) []byte { b[end+40] ^= 1; return b }),
		"end of another":   edit(func(b []byte) []byte { return slices.Delete(b, 0, 10) }),
		"readable to all":  func(path string) error { return os.Chmod(path, 0o604) },
		"writable to some": func(path string) error { return os.Chmod(path, 0o620) },
		"symlink": func(path string) error {
			aside := filepath.Join(filepath.Dir(path), "aside")
			return errors.Join(os.Rename(path, aside), os.Symlink(aside, path))
		},
		"pipe":   func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"socket": func(path string) error { return errors.Join(os.Remove(path), unix.Mknod(path, unix.S_IFSOCK|0o600, 0)) },
	}
	if os.Geteuid() == 0 {
		cases["another user's"] = func(path string) error { return os.Chown(path, 12345, 12345) }
	}
	for name, damage := range cases {
		dir := t.TempDir()
		s, _ := storeAt(t, dir, 1<<20)
		mustPut(t, s, "key", content).releaseNow()
		file, _ := storedName("key")
		if err := damage(filepath.Join(dir, file)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d, _ := s.get("key"); d != nil {
			t.Errorf("%s: taken", name)
			d.releaseNow()
		}
		mustPut(t, s, "key", content).releaseNow()
		if !has(t, s, "key", content) {
			t.Errorf("%s: not put right", name)
		}
	}
	// A file under the name of another key.
	dir := t.TempDir()
	s, _ := storeAt(t, dir, 1<<20)
	mustPut(t, s, "one", content).releaseNow()
	one, _ := storedName("one")
	two, _ := storedName("two")
	if err := os.Rename(filepath.Join(dir, one), filepath.Join(dir, two)); err != nil {
		t.Fatal(err)
	}
	if d, _ := s.get("two"); d != nil {
		t.Error("the content of another key")
	}
	// A directory in the place of a file stays, and nothing beside it.
	if err := os.Mkdir(filepath.Join(dir, one), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("one", content); !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EEXIST) {
		t.Errorf("a directory in its place: %v", err)
	}
	if _, parts := directorySum(t, dir); parts > 0 {
		t.Error("a part is left")
	}
}

// Any bytes may stand in a file. Only those that put writes are taken.
func FuzzStoredFile(f *testing.F) {
	_, sum := storedName("key")
	for _, content := range [][]byte{nil, []byte("a"), packed(1, 100)} {
		f.Add(append(content, trailer(sum, content)...))
	}
	f.Add([]byte{})
	f.Add(make([]byte, trailerSize))
	f.Add(append(make([]byte, 40), "\x00\x00\x00\x00TND1"...))
	fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
	if err != nil {
		f.Fatal(err)
	}
	d := newDescriptor(fd)
	f.Cleanup(d.releaseNow)
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := unix.Ftruncate(fd, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(fd, file, 0); err != nil {
			t.Fatal(err)
		}
		size, err := verify(d, sum)
		right := len(file) >= trailerSize && bytes.Equal(file[len(file)-trailerSize:], trailer(sum, file[:len(file)-trailerSize]))
		if (err == nil) != right || right && size != int64(len(file)-trailerSize) {
			t.Errorf("%q: %d, %v", file, size, err)
		}
	})
}

// A directory that others could put something into is refused, with a cure.
func TestStoreSecurity(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(dir string) error
		want    string
	}{
		"world":   {func(dir string) error { return os.Chmod(dir, 0o777) }, "chmod go-w"},
		"sticky":  {func(dir string) error { return unix.Chmod(dir, 0o1777) }, "mode 1777"},
		"group":   {func(dir string) error { return os.Chmod(dir, 0o770) }, "chmod go-w"},
		"missing": {os.Remove, "install -d -m 700 -o " + strconv.Itoa(os.Geteuid())},
		"file":    {func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, "not a directory"},
		"closed":  {func(dir string) error { return os.Chmod(dir, 0o500) }, "cannot read and write it"},
		"alien":   {func(dir string) error { return os.Chown(dir, 12345, -1) }, "belongs to user 12345"},
	} {
		if root := os.Geteuid() == 0; name == "closed" && root || name == "alien" && !root {
			continue // root may always write; only root can give a directory away
		}
		dir := filepath.Join(t.TempDir(), "coded")
		if err := errors.Join(os.Mkdir(dir, 0o700), c.prepare(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := newStore(storeOptions{limit: 1 << 20, directory: dir}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What was right at the start may not stay so.
	dir := t.TempDir()
	s, _ := storeAt(t, dir, 1<<20)
	mustPut(t, s, "key", packed(1, 10)).releaseNow()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("other", nil); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("put: %v", err)
	}
	if has(t, s, "key", packed(1, 10)) {
		t.Error("taken from a directory that everybody writes to")
	}
}

// The directory stays below the limit. What was used longest ago goes first, and nothing goes that is not ours.
func TestStoreBound(t *testing.T) {
	dir := t.TempDir()
	const limit = 64 * block
	name, _ := storedName("foreign")
	foreign := []string{
		"notes", storedPrefix, name[:20], name + "x", name + ".part", name + ".0123456789abcdeX.part",
		strings.ToUpper(name), name + ".gz", ledgerName + "2",
	}
	for _, f := range foreign {
		path := filepath.Join(dir, f)
		if err := errors.Join(os.WriteFile(path, []byte("mine"), 0o600), os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0))); err != nil {
			t.Fatal(err)
		}
	}
	linked, _ := storedName("link")
	folder, _ := storedName("folder")
	if err := errors.Join(os.Symlink("notes", filepath.Join(dir, linked)), os.Mkdir(filepath.Join(dir, folder), 0o700)); err != nil {
		t.Fatal(err)
	}
	foreign = append(foreign, linked, folder)

	s, now := storeAt(t, dir, limit)
	key := func(i int) string { return fmt.Sprintf("key %d", i) }
	before := int64(0)
	for i := range 200 {
		*now = now.Add(2 * time.Minute)
		mustPut(t, s, key(i), packed(i, block-trailerSize+i%2*block)).releaseNow()
		s.touch(key(i)) // the clock of the file system is another one
		if i > 0 && !has(t, s, key(0), packed(0, block-trailerSize)) {
			t.Fatalf("after %d: what is used all the time was removed", i)
		}
		if !has(t, s, key(i), packed(i, block-trailerSize+i%2*block)) {
			t.Fatalf("%d was removed at once", i)
		}
		sum, _ := directorySum(t, dir)
		removed := sum < before+int64(1+i%2)*block
		if sum > limit || removed && sum > limit-limit/8 {
			t.Fatalf("after %d: %d bytes are there, %d before", i, sum, before)
		}
		before = sum
	}
	kept := 0
	for i := 1; i < 200; i++ {
		if has(t, s, key(i), packed(i, block-trailerSize+i%2*block)) {
			kept++
		} else if kept > 0 {
			t.Errorf("%d was removed before an older one", i)
		}
	}
	if kept < 35 {
		t.Errorf("only %d are kept", kept)
	}
	for _, f := range foreign {
		if _, err := os.Lstat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	// A smaller limit holds from the next put on.
	small, _ := storeAt(t, dir, limit/8)
	mustPut(t, small, "one more", packed(1, 1)).releaseNow()
	if sum, _ := directorySum(t, dir); sum > limit/8 {
		t.Errorf("%d bytes are there beyond the smaller limit", sum)
	}
}

// The time of use is written once a minute, not each time.
func TestStoreTouch(t *testing.T) {
	dir := t.TempDir()
	s, now := storeAt(t, dir, 1<<20)
	mustPut(t, s, "key", packed(1, 10)).releaseNow()
	file, _ := storedName("key")
	used := func() time.Time {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	s.touch("key")
	first := used()
	if !first.Equal(*now) {
		t.Fatalf("used at %v", first)
	}
	*now = now.Add(touchEvery - 1)
	s.touch("key")
	has(t, s, "key", packed(1, 10))
	if !used().Equal(first) {
		t.Error("written too early")
	}
	for _, use := range []func(){func() { s.touch("key") }, func() { has(t, s, "key", packed(1, 10)) }} {
		*now = now.Add(touchEvery)
		if use(); !used().Equal(*now) {
			t.Errorf("used at %v, not %v", used(), *now)
		}
	}
	s.touch("nothing")
}

// What was left by those who died in the middle counts at first and is removed later.
func TestStoreAbandoned(t *testing.T) {
	dir := t.TempDir()
	s, now := storeAt(t, dir, 8*block)
	name, _ := storedName("dead")
	part := filepath.Join(dir, name+".0123456789abcdef"+partSuffix)
	if err := errors.Join(os.WriteFile(part, make([]byte, 6*block), 0o600), os.Chtimes(part, *now, *now)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("key", packed(1, 2*block)); err != errStoreFull {
		t.Errorf("beside one that is being written: %v", err)
	}
	*now = now.Add(abandoned + time.Second)
	mustPut(t, s, "key", packed(1, 2*block)).releaseNow()
	if _, err := os.Lstat(part); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// The ledger may be wrong, garbage or gone: the directory is what counts.
func TestStoreLedger(t *testing.T) {
	le := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	for name, ledger := range map[string][]byte{
		"none": nil, "short": {1, 2}, "long": make([]byte, 9), "too high": le(1 << 40), "negative": le(1 << 63),
	} {
		dir := t.TempDir()
		s, _ := storeAt(t, dir, 8*block)
		for i := range 8 {
			mustPut(t, s, fmt.Sprint(i), packed(i, 10)).releaseNow()
		}
		if err := os.WriteFile(filepath.Join(dir, ledgerName), ledger, 0o600); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, "more", packed(9, 10)).releaseNow()
		if sum, _ := directorySum(t, dir); sum > 8*block || sum < 6*block {
			t.Errorf("%s: %d bytes are there", name, sum)
		}
	}
	// One that is too low is found out in time, and by whoever comes anew at once.
	dir := t.TempDir()
	s, now := storeAt(t, dir, 8*block)
	for i := range 8 {
		mustPut(t, s, fmt.Sprint(i), packed(i, 10)).releaseNow()
	}
	low := func() {
		if err := os.WriteFile(filepath.Join(dir, ledgerName), le(0), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	low()
	fresh, _ := storeAt(t, dir, 8*block)
	mustPut(t, fresh, "fresh", packed(9, 10)).releaseNow()
	if sum, _ := directorySum(t, dir); sum > 8*block {
		t.Errorf("%d bytes are there", sum)
	}
	low()
	*now = now.Add(recount)
	mustPut(t, s, "later", packed(9, 10)).releaseNow()
	if sum, _ := directorySum(t, dir); sum > 8*block {
		t.Errorf("%d bytes are there after a while", sum)
	}
	// A ledger that somebody else could have written is refused.
	if err := os.Chmod(filepath.Join(dir, ledgerName), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("key", nil); err == nil || !strings.Contains(err.Error(), ledgerName) {
		t.Errorf("put beside it: %v", err)
	}
}

// Somebody who was stopped with the ledger in hand holds nobody up.
func TestStoreBusy(t *testing.T) {
	dir := t.TempDir()
	s, now := storeAt(t, dir, 1<<20)
	mustPut(t, s, "key", packed(1, 10)).releaseNow()
	holder, err := os.Open(filepath.Join(dir, ledgerName))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("other", packed(2, 10)); err != errStoreBusy {
		t.Errorf("put: %v", err)
	}
	if !has(t, s, "key", packed(1, 10)) {
		t.Error("get needs the ledger")
	}
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("other", packed(2, 10)); err != errStoreBusy {
		t.Errorf("put without a rest: %v", err)
	}
	*now = now.Add(ledgerRest)
	mustPut(t, s, "other", packed(2, 10)).releaseNow()
}

// Whatever a write comes to, there is an error and nothing is left; short writes are gone on with.
func TestStoreWriteFails(t *testing.T) {
	dir := t.TempDir()
	for _, directory := range []string{"", dir} {
		s, _ := storeAt(t, directory, 1<<20)
		calls, failAt, failure := 0, -1, error(nil)
		s.write = func(fd int, p []byte) (int, error) {
			if calls++; calls == failAt {
				return 0, failure
			}
			return unix.Write(fd, p[:min(len(p), 1000)])
		}
		content := packed(1, 3500)
		mustPut(t, s, "key", content).releaseNow()
		total := calls
		for _, failure = range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EFBIG, nil} {
			for failAt = 1; failAt <= total; failAt++ {
				calls = 0
				want := failure
				if want == nil {
					want = io.ErrShortWrite
				}
				if _, err := s.put("key", packed(2, 3500)); !errors.Is(err, want) {
					t.Errorf("%q, write %d: %v, not %v", directory, failAt, err, want)
				}
			}
		}
		if calls, failAt = 0, 2; s.held.Load() != 0 {
			t.Errorf("%d bytes are counted", s.held.Load())
		}
		failure = unix.EINTR
		mustPut(t, s, "another", content).releaseNow()
		if directory == "" {
			continue
		}
		if !has(t, s, "key", content) {
			t.Error("a put that failed has changed what was there")
		}
		sum, parts := directorySum(t, dir)
		l, err := os.ReadFile(filepath.Join(dir, ledgerName))
		if parts > 0 || err != nil || int64(binary.LittleEndian.Uint64(l)) != sum {
			t.Errorf("%d parts are left, %v in the ledger of %d, %v", parts, l, sum, err)
		}
	}
}

// While a file is being written it counts with its full length, and has no name that get knows.
func TestStoreWriting(t *testing.T) {
	dir := t.TempDir()
	s, _ := storeAt(t, dir, 1<<20)
	content := packed(1, 10_000)
	writes := 0
	s.write = func(fd int, p []byte) (int, error) {
		writes++
		if sum, parts := directorySum(t, dir); parts != 1 || sum != space(int64(len(content)+trailerSize)) {
			t.Errorf("%d bytes and %d parts are there", sum, parts)
		}
		if has(t, s, "key", content) {
			t.Error("found before it was whole")
		}
		return unix.Write(fd, p[:min(len(p), 4000)])
	}
	mustPut(t, s, "key", content).releaseNow()
	if writes < 4 {
		t.Errorf("%d writes", writes)
	}
}

// A file system that is full, read-only or gone.
func TestStoreFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s, _ := storeAt(t, dir, 10<<20)
	content := packed(1, 100_000)
	mustPut(t, s, "1", content).releaseNow()
	mustPut(t, s, "2", content).releaseNow()
	for range 20 {
		if _, err := s.put("3", content); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	if sum, parts := directorySum(t, dir); parts > 0 || sum != 2*space(int64(len(content)+trailerSize)) {
		t.Errorf("%d bytes and %d parts are left", sum, parts)
	}
	mustPut(t, s, "4", packed(4, 10_000)).releaseNow()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=256k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("5", nil); !errors.Is(err, unix.EROFS) {
		t.Errorf("on a read-only disk: %v", err)
	}
	if !has(t, s, "1", content) || !has(t, s, "2", content) || !has(t, s, "4", packed(4, 10_000)) || has(t, s, "3", content) {
		t.Error("what was there is lost, or what was not is there")
	}
	if _, err := newStore(storeOptions{limit: 1, directory: dir}); !errors.Is(err, unix.EROFS) {
		t.Errorf("a new store on a read-only disk: %v", err)
	}
}

func TestStoreVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "coded")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, _ := storeAt(t, dir, 1<<20)
	d := mustPut(t, s, "key", packed(1, 10))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("key", nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("put: %v", err)
	}
	s.touch("key")
	if has(t, s, "key", nil) || !bytes.Equal(storedContent(t, d, 10), packed(1, 10)) {
		t.Error("what is gone is there, or what is being sent is gone")
	}
	d.releaseNow()
	// While a file is being written.
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write = func(fd int, p []byte) (int, error) {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		return unix.Write(fd, p)
	}
	if _, err := s.put("key", packed(1, 10)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("put while it vanishes: %v", err)
	}
	// It is back.
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write = unix.Write
	mustPut(t, s, "key", packed(1, 10)).releaseNow()
	if !has(t, s, "key", packed(1, 10)) {
		t.Error("nothing is kept in the new directory")
	}
}

// storeWork is what several do at once with one store or several: nobody gets other content than was put.
func storeWork(t testing.TB, s *store, seed, rounds int) {
	for i := range rounds {
		n := (i*7 + seed*3) % 40
		key, content := fmt.Sprint(n), packed(n, 100+n*1000)
		if n%5 == 0 {
			s.touch(key)
		}
		if has(t, s, key, content) {
			continue
		}
		d, err := s.put(key, content)
		switch {
		case err == errStoreFull, errors.Is(err, errStoreBusy):
		case err != nil:
			t.Error(err)
		default:
			if !bytes.Equal(storedContent(t, d, int64(len(content))), content) {
				t.Errorf("%s: other content", key)
			}
			d.Release()
		}
	}
}

func TestStoreMany(t *testing.T) {
	dir := t.TempDir()
	const limit = 60 * block
	var stores []*store
	for range 3 {
		s, err := newStore(storeOptions{limit: limit, directory: dir})
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	memory, _ := storeAt(t, "", limit)
	stores = append(stores, memory)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { storeWork(t, stores[i%len(stores)], i, 150) })
	}
	all.Wait()
	if sum, parts := directorySum(t, dir); sum > limit || parts > 0 {
		t.Errorf("%d bytes and %d parts are left", sum, parts)
	}
}

// TestStoreProcess is the other end of TestStoreProcesses.
func TestStoreProcess(t *testing.T) {
	dir, limit := os.Getenv("STORE_DIRECTORY"), int64(60*block)
	if dir == "" {
		t.Skip("it is a process of TestStoreProcesses")
	}
	s, err := newStore(storeOptions{limit: limit, directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	for seed := 0; !t.Failed(); seed++ {
		storeWork(t, s, seed, 10)
		fmt.Println("done") // once nobody reads any more, SIGPIPE
	}
}

// Processes that are killed in the middle leave nothing that others take for whole, and never more than the limit.
func TestStoreProcesses(t *testing.T) {
	dir := t.TempDir()
	const limit = 60 * block
	checker, now := storeAt(t, dir, limit)
	*now = time.Now()
	// counted holds the ledger, so that nobody creates a file meanwhile.
	counted := func() (sum int64) {
		at, err := checker.openDirectory()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(at)
		l, err := checker.openLedgerLocked(at)
		if err == errStoreBusy {
			*now = now.Add(ledgerRest)
			return 0
		} else if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		if _, sum, err = checker.count(at); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	for range 3 {
		var running []*exec.Cmd
		var lines []*bufio.Scanner
		for range 3 {
			c := exec.Command(os.Args[0], "-test.run=^TestStoreProcess$")
			c.Env = append(os.Environ(), "STORE_DIRECTORY="+dir)
			out, err := c.StdoutPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			running, lines = append(running, c), append(lines, bufio.NewScanner(out))
		}
		for range 10 {
			for _, l := range lines {
				if !l.Scan() || l.Text() != "done" {
					t.Errorf("a process says %q, %v", l.Text(), l.Err())
				}
				if sum := counted(); sum > limit {
					t.Errorf("%d bytes are there", sum)
				}
			}
		}
		for _, c := range running {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	for n := range 40 {
		has(t, checker, fmt.Sprint(n), packed(n, 100+n*1000))
	}
	*now = now.Add(abandoned + time.Hour)
	mustPut(t, checker, "last", packed(1, 10)).releaseNow()
	if sum, parts := directorySum(t, dir); sum > limit || parts > 0 {
		t.Errorf("%d bytes and %d parts are left", sum, parts)
	}
}
