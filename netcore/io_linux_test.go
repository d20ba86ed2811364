package netcore

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestReadWrite(t *testing.T) {
	ours, theirs := pair(t)
	p := make([]byte, 16)
	if n, err := Read(ours, p); n != 0 || err != unix.EAGAIN {
		t.Errorf("nothing there: %d, %v", n, err)
	}
	write(t, theirs, "abc")
	if n, err := Read(ours, p); string(p[:n]) != "abc" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	if n, err := Read(ours, nil); n != 0 || err != unix.EINVAL {
		t.Errorf("an empty read looks like the end: %d, %v", n, err)
	}
	for name, f := range map[string]func() (int, error){
		"Write":  func() (int, error) { return Write(ours, nil) },
		"Send":   func() (int, error) { return Send(ours, nil, false) },
		"Writev": func() (int, error) { return Writev(ours, [][]byte{nil, {}}) },
	} {
		if n, err := f(); n != 0 || err != nil {
			t.Errorf("%s of nothing: %d, %v", name, n, err)
		}
	}
	closeNow(t, theirs)
	if n, err := Read(ours, p); n != 0 || err != nil {
		t.Errorf("end: %d, %v", n, err)
	}
	for name, f := range map[string]func() (int, error){
		"Write":  func() (int, error) { return Write(ours, p) },
		"Send":   func() (int, error) { return Send(ours, p, false) },
		"Writev": func() (int, error) { return Writev(ours, [][]byte{p}) },
	} {
		if n, err := f(); n != 0 || err != unix.EPIPE {
			t.Errorf("%s to nobody: %d, %v", name, n, err)
		}
	}
}

func TestSendMore(t *testing.T) {
	server, client := tcpPair(t)
	for _, part := range []struct {
		text string
		more bool
	}{{"head ", true}, {"body", false}} {
		if n, err := Send(server, []byte(part.text), part.more); n != len(part.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	// Both parts come as one segment, so one read has them.
	p := make([]byte, 64)
	_ = client.SetReadDeadline(time.Now().Add(patience))
	n, err := client.Read(p)
	if string(p[:n]) != "head body" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
}

func TestWritev(t *testing.T) {
	ours, theirs := pair(t)
	if n, err := Writev(ours, [][]byte{[]byte("a"), nil, []byte("bc"), {}, []byte("def")}); n != 6 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := read(t, theirs); got != "abcdef" {
		t.Errorf("%q", got)
	}
	many := make([][]byte, 3*maxVectors)
	var all []byte
	for i := range many {
		if i%3 != 0 {
			many[i] = []byte{byte('a' + i%26)}
			all = append(all, many[i]...)
		}
	}
	if n, err := Writev(ours, many); n != maxVectors || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := read(t, theirs); got != string(all[:maxVectors]) {
		t.Errorf("%q, want %q", got, all[:maxVectors])
	}
}

func TestShortWrites(t *testing.T) {
	ours, theirs := pair(t)
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	n, err := Writev(ours, [][]byte{big[:7], big[7:]})
	if err != nil || n <= 7 || n >= len(big) {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := Send(ours, big, false); err != unix.EAGAIN {
		t.Errorf("a full buffer: %v", err)
	}
	var got []byte
	p := make([]byte, 1<<16)
	for {
		m, err := Read(theirs, p)
		if err != nil {
			break
		}
		got = append(got, p[:m]...)
	}
	if !bytes.Equal(got, big[:n]) {
		t.Errorf("%d bytes arrived, %d were written", len(got), n)
	}
}

func TestSendfile(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	server, client := tcpPair(t)
	off := int64(10)
	n, err := Sendfile(server, int(file.Fd()), &off, 20)
	if n != 20 || err != nil || off != 30 {
		t.Fatalf("%d, %v, offset %d", n, err, off)
	}
	off = int64(len(content) - 5)
	n, err = Sendfile(server, int(file.Fd()), &off, 100)
	if n != 5 || err != nil || off != int64(len(content)) {
		t.Fatalf("%d, %v, offset %d", n, err, off)
	}
	if n, err = Sendfile(server, int(file.Fd()), &off, 100); n != 0 || err != nil {
		t.Fatalf("at the end: %d, %v", n, err)
	}
	if err := ShutdownWrite(server); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(client)
	if want := content[10:30] + content[len(content)-5:]; string(got) != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := Sendfile(server, int(file.Fd()), new(int64), 1); err != unix.EPIPE {
		t.Errorf("after the shutdown: %v", err)
	}
}

// TestShutdownWriteBesideADuplicate: the peer sees the end although a duplicate is open.
func TestShutdownWriteBesideADuplicate(t *testing.T) {
	server, client := tcpPair(t)
	other, err := unix.FcntlInt(uintptr(server), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = Close(other) }()
	if err := ShutdownWrite(server); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}

func TestResetOnClose(t *testing.T) {
	server, client := tcpPair(t)
	if err := ResetOnClose(server); err != nil {
		t.Fatal(err)
	}
	closeNow(t, server)
	_ = client.SetReadDeadline(time.Now().Add(patience))
	_, err := client.Read(make([]byte, 1))
	wantErrno(t, err, unix.ECONNRESET)
}

func TestBadDescriptors(t *testing.T) {
	wantErrno(t, Close(-1), unix.EBADF)
	wantErrno(t, ShutdownWrite(-1), unix.EBADF)
	wantErrno(t, ResetOnClose(-1), unix.EBADF)
	wantErrno(t, SocketError(-1), unix.EBADF)
}

func TestIOAllocatesNothing(t *testing.T) {
	ours, theirs := pair(t)
	p, q := make([]byte, 512), make([]byte, 512)
	drain := func() {
		if n, err := Read(theirs, q); n == 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	wantNoAllocs(t, "Write and Read", func() { _, _ = Write(ours, p); drain() })
	wantNoAllocs(t, "Send", func() { _, _ = Send(ours, p, true); drain() })
	for _, count := range []int{2, 16, maxVectors} {
		iov := make([][]byte, count)
		for i := range iov {
			iov[i] = p[:8]
		}
		wantNoAllocs(t, "Writev", func() { _, _ = Writev(ours, iov); drain() })
	}
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	in, off := int(file.Fd()), int64(0)
	wantNoAllocs(t, "Sendfile", func() { _, _ = Sendfile(ours, in, &off, 512); drain() })
	wantNoAllocs(t, "Read with EAGAIN", func() {
		if _, err := Read(theirs, q); err != unix.EAGAIN {
			t.Fatal(err)
		}
	})
	closeNow(t, theirs)
	for name, f := range map[string]func() (int, error){
		"Write":  func() (int, error) { return Write(ours, p) },
		"Send":   func() (int, error) { return Send(ours, p, false) },
		"Writev": func() (int, error) { return Writev(ours, [][]byte{p}) },
	} {
		wantNoAllocs(t, name+" with EPIPE", func() {
			if _, err := f(); err != unix.EPIPE {
				t.Fatal(err)
			}
		})
	}
}

func BenchmarkWriteRead(b *testing.B) {
	ours, theirs := pair(b)
	p := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Send(ours, p, false)
		_, _ = Read(theirs, p)
	}
}

func BenchmarkWritev(b *testing.B) {
	ours, theirs := pair(b)
	p := make([]byte, 1024)
	iov := [][]byte{p[:128], p[:16], p[:64]}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Writev(ours, iov)
		_, _ = Read(theirs, p)
	}
}

// tempFile is a file of n bytes that a disk has, under dir or else where tests keep theirs.
func tempFile(t testing.TB, dir string, n int) *os.File {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	file, err := os.CreateTemp(dir, "tined-test-")
	if err != nil {
		t.Skipf("no file can be made there: %v", err)
	}
	t.Cleanup(func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	})
	if _, err := file.Write(bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	return file
}

// evict takes a range of a file out of the page cache and brings the rest of it there. It skips the test where the file system does not do
// that or cannot tell.
func evict(t testing.TB, file *os.File, off, n int64) {
	t.Helper()
	fd := int(file.Fd())
	probe := [][]byte{make([]byte, 1)}
	if _, err := unix.Preadv2(fd, probe, off, unix.RWF_NOWAIT); err == unix.EOPNOTSUPP {
		t.Skip("the file system does not know RWF_NOWAIT")
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	read := func(off, n int64) {
		if _, err := io.Copy(io.Discard, io.NewSectionReader(file, off, n)); err != nil {
			t.Fatal(err)
		}
	}
	advise := func(advice int) {
		if err := unix.Fadvise(fd, 0, 0, advice); err != nil {
			t.Skipf("posix_fadvise: %v", err)
		}
	}
	for range 100 { // what somebody holds for a moment stays
		read(0, info.Size())       // what an earlier probe has begun to read would stay
		advise(unix.FADV_DONTNEED) // all of it: a part of a large folio would stay
		advise(unix.FADV_RANDOM)   // nothing is read ahead
		read(0, off)
		read(off+n, info.Size()-off-n)
		if resident(t, fd, off, n) == 0 {
			return
		}
	}
	t.Skip("the file system keeps what it is told to drop")
}

// resident counts the pages of a range that are in the page cache (mincore(2)), and has none read, as a probe would.
func resident(t testing.TB, fd int, off, n int64) (pages int) {
	t.Helper()
	m, err := unix.Mmap(fd, off, int(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	seen := make([]byte, (int(n)+os.Getpagesize()-1)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(n), uintptr(unsafe.Pointer(&seen[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, page := range seen {
		pages += int(page & 1)
	}
	return pages
}

// What was just written is in the page cache. Beyond the end there is nothing to wait for; of what is no file it is not known.
func TestCached(t *testing.T) {
	const size = 1 << 20
	file := tempFile(t, "", size)
	_, err := unix.Preadv2(int(file.Fd()), [][]byte{make([]byte, 1)}, 0, unix.RWF_NOWAIT)
	unknown := err == unix.EOPNOTSUPP && !inMemory(int(file.Fd())) // not every file system can tell
	for _, r := range []struct {
		off int64
		n   int
	}{{0, 1}, {0, size}, {size - 1, 1}, {1000, size}, {size, 10}, {5, 0}} {
		var want error
		if unknown && r.n > 0 {
			want = ErrCacheUnknown
		}
		if got := cached(int(file.Fd()), r.off, r.n); got != want {
			t.Errorf("cached(%d, %d) = %v, want %v", r.off, r.n, got, want)
		}
	}
	if err := cached(-1, 0, 1); err != ErrUncached {
		t.Errorf("cached(-1): %v", err)
	}
	p := make([]int, 2)
	if err := unix.Pipe(p); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = Close(p[0]), Close(p[1]) }()
	if cached(p[0], 0, 1) == nil {
		t.Error("a pipe is cached")
	}
	wantNoAllocs(t, "cached", func() { _ = cached(int(file.Fd()), 0, size) })
}

// A hole is found wherever it is in a range: at its ends, and in its middle; of a short range at its end. What does not touch it is there.
func TestCachedSeesHoles(t *testing.T) {
	const size, hole = 2 << 20, 256 << 10
	for _, at := range []int64{0, 512 << 10, 1 << 20, size - hole} {
		file := tempFile(t, "", size)
		evict(t, file, at, hole)
		fd := int(file.Fd())
		for _, r := range []struct {
			off int64
			n   int
		}{{0, size}, {max(0, at-700<<10), 700<<10 + 1}, {at, hole}, {at + 100, 1}, {at + hole - 10, 10}, {at + hole - 1, oneProbe + 1}, {max(0, at-64<<10), 512 << 10}} {
			if cached(fd, r.off, r.n) == nil {
				t.Errorf("a hole at %d: %d bytes at %d are cached", at, r.n, r.off)
			}
			evict(t, file, at, hole) // a probe may read ahead
		}
		if at > 0 && cached(fd, 0, int(at)) != nil || at == 0 && cached(fd, hole, size-hole) != nil {
			t.Errorf("a hole at %d: what is beside it is not cached", at)
		}
	}
}

// What would wait for the disk is not sent until it has been read, or somebody is ready to wait.
func TestSendfileOfWhatIsNotCached(t *testing.T) {
	const size = 64 << 10
	file := tempFile(t, "", size)
	fd := int(file.Fd())
	server, client := tcpPair(t)
	read := make(chan int, 1)
	go func() {
		got, _ := io.ReadAll(client)
		read <- len(got)
	}()
	send := func(f func(out, in int, off *int64, n int) (int, error)) (n int, off int64, err error) {
		for err = error(unix.EAGAIN); err == unix.EAGAIN; {
			waitFor(t, server, unix.POLLOUT)
			n, err = f(server, fd, &off, size)
		}
		return n, off, err
	}
	evict(t, file, 0, size)
	if n, off, err := send(Sendfile); n != 0 || off != 0 || err != ErrUncached {
		t.Errorf("evicted: %d, %v, offset %d", n, err, off)
	}
	evict(t, file, 0, size)
	if n, off, err := send(SendfileWaiting); n <= 0 || off != int64(n) || err != nil {
		t.Errorf("waiting: %d, %v, offset %d", n, err, off)
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(file, 0, size)); err != nil {
		t.Fatal(err)
	}
	if n, off, err := send(Sendfile); n <= 0 || off != int64(n) || err != nil {
		t.Errorf("read: %d, %v, offset %d", n, err, off)
	}
	if err := ShutdownWrite(server); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n == 0 {
		t.Error("nothing came")
	}
	if _, err := SendfileWaiting(server, fd, new(int64), 1); err != unix.EPIPE {
		t.Errorf("after the shutdown: %v", err)
	}
}

// The files of tmpfs do not know RWF_NOWAIT, and need not wait: they are sent at once.
func TestSendfileOfTmpfs(t *testing.T) {
	file := tempFile(t, "/dev/shm", 1000)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skipf("/dev/shm is no tmpfs: %#x, %v", fs.Type, err)
	}
	if !inMemory(int(file.Fd())) {
		t.Error("a file of tmpfs is not in memory")
	}
	server, _ := tcpPair(t)
	off := int64(0)
	if n, err := Sendfile(server, int(file.Fd()), &off, 1000); n != 1000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	other := tempFile(t, "", 10)
	if err := unix.Fstatfs(int(other.Fd()), &fs); err == nil && fs.Type != unix.TMPFS_MAGIC && inMemory(int(other.Fd())) {
		t.Errorf("a file of file system %#x is in memory", fs.Type)
	}
	if inMemory(-1) {
		t.Error("no file is in memory")
	}
}

// ReadCached reads a range or nothing of it, as ReadWaiting does not.
func TestReadCached(t *testing.T) {
	const size = 256 << 10
	for _, folder := range []string{"", "/dev/shm"} {
		file := tempFile(t, folder, size)
		fd := int(file.Fd())
		content, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		_, err = unix.Preadv2(fd, [][]byte{make([]byte, 1)}, 0, unix.RWF_NOWAIT)
		unknown := err == unix.EOPNOTSUPP && !inMemory(fd)
		p := make([]byte, size+1)
		for _, r := range []struct {
			off           int64
			n             int
			cached, waits int   // what is read
			err           error // of ReadCached
		}{
			{0, 1, 1, 1, nil},
			{0, size, size, size, nil},
			{5, 64 << 10, 64 << 10, 64 << 10, nil},
			{size - 7, 7, 7, 7, nil},
			{size - 7, 8, 0, 7, ErrUncached},
			{0, size + 1, 0, size, ErrUncached},
			{size, 1, 0, 0, nil},
			{size + 100, 10, 0, 0, nil},
		} {
			want := r.err
			if unknown {
				r.cached, want = 0, ErrCacheUnknown
			}
			clear(p)
			if n, err := ReadCached(fd, p[:r.n], r.off); n != r.cached || err != want || n > 0 && !bytes.Equal(p[:n], content[r.off:][:n]) {
				t.Errorf("%q: ReadCached of %d bytes at %d: %d, %v, or not the same", folder, r.n, r.off, n, err)
			}
			clear(p)
			if n, err := ReadWaiting(fd, p[:r.n], r.off); n != r.waits || err != nil || n > 0 && !bytes.Equal(p[:n], content[r.off:][:n]) {
				t.Errorf("%q: ReadWaiting of %d bytes at %d: %d, %v, or not the same", folder, r.n, r.off, n, err)
			}
		}
		wantNoAllocs(t, "ReadCached", func() { _, _ = ReadCached(fd, p[:4096], 0) })
		wantNoAllocs(t, "ReadWaiting", func() { _, _ = ReadWaiting(fd, p[:4096], 0) })
		if _, err := ReadCached(fd, nil, 0); err != unix.EINVAL {
			t.Errorf("ReadCached of nothing: %v", err)
		}
	}
	if _, err := ReadCached(-1, make([]byte, 1), 0); err != ErrUncached {
		t.Errorf("ReadCached of no file: %v", err)
	}
	if _, err := ReadWaiting(-1, make([]byte, 1), 0); err != unix.EBADF {
		t.Errorf("ReadWaiting of no file: %v", err)
	}
}

// A hole in the range, wherever it is, ends a read that may not wait, and is there after one that may.
func TestReadCachedOfWhatIsNot(t *testing.T) {
	const size, hole = 1 << 20, 128 << 10
	for _, at := range []int64{0, 448 << 10, size - hole} {
		file := tempFile(t, "", size)
		fd := int(file.Fd())
		p := make([]byte, 512<<10)
		off := min(max(0, at-200<<10), size-int64(len(p)))
		evict(t, file, at, hole)
		if n, err := ReadCached(fd, p, off); n != 0 || err != ErrUncached {
			t.Errorf("a hole at %d: %d, %v", at, n, err)
		}
		if n, err := ReadWaiting(fd, p, off); n != len(p) || err != nil {
			t.Errorf("a hole at %d, waiting: %d, %v", at, n, err)
		}
		if n, err := ReadCached(fd, p, off); n != len(p) || err != nil {
			t.Errorf("what was a hole at %d: %d, %v", at, n, err)
		}
	}
}

// BenchmarkSendfile sends a cached range and drops what arrives: both in one thread.
func BenchmarkSendfile(b *testing.B) {
	for _, size := range []int{64 << 10, 512 << 10} {
		b.Run(strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
			file := tempFile(b, "", size)
			in := int(file.Fd())
			ours, client := tcpPair(b)
			raw, err := client.SyscallConn()
			if err != nil {
				b.Fatal(err)
			}
			theirs := -1
			_ = raw.Control(func(fd uintptr) { theirs = int(fd) })
			drop := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for off := int64(0); off < int64(size); {
					n, err := Sendfile(ours, in, &off, size-int(off))
					if err != nil && err != unix.EAGAIN {
						b.Fatal(err)
					}
					for n > 0 {
						r, _, _ := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(theirs), uintptr(unsafe.Pointer(&drop[0])), uintptr(n), unix.MSG_TRUNC, 0, 0)
						if int(r) > 0 {
							n -= int(r)
						}
					}
				}
			}
		})
	}
}
