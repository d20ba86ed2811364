package netcore

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// A byte that was just written is in the page cache; one beyond the end, or of something that is no file, is not.
func TestCached(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(make([]byte, 10000)); err != nil {
		t.Fatal(err)
	}
	_, err = unix.Preadv2(int(file.Fd()), [][]byte{make([]byte, 1)}, 0, unix.RWF_NOWAIT)
	known := err != unix.EOPNOTSUPP // not every file system can tell
	for off, want := range map[int64]bool{0: known, 9999: known, 10000: false} {
		if got := cached(int(file.Fd()), off); got != want {
			t.Errorf("cached(%d) = %v", off, got)
		}
	}
	if cached(-1, 0) {
		t.Error("cached(-1) is true")
	}
	wantNoAllocs(t, "cached", func() { cached(int(file.Fd()), 0) })
}
