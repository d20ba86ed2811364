package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err = New(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestConnRoundTrip(t *testing.T) {
	a, b := pair(t)
	for _, m := range samples {
		if err := a.Send(m); err != nil {
			t.Fatal(err)
		}
		got, files, err := b.Receive()
		if err != nil || len(files) != 0 {
			t.Fatalf("%s: %d files, %v", m.Kind(), len(files), err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, want %+v", got, m)
		}
	}
}

func TestLongestMessageIsNeverEMSGSIZE(t *testing.T) {
	a, b := pair(t)
	m := &Log{Lines: strings.Repeat("x", MaxLines-1) + "\n"}
	for range 3 {
		if err := a.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		got, _, err := b.Receive()
		if err != nil || got.(*Log).Lines != m.Lines {
			t.Fatal(err)
		}
	}
	// FACTS 47: 250,000 bytes would be EMSGSIZE; they are refused before the kernel sees them.
	if err := a.Send(&Log{Lines: strings.Repeat("x", 250_000)}); !errors.Is(err, ErrTooLong) {
		t.Fatal(err)
	}
}

// openFiles returns n files whose content is their number.
func openFiles(t *testing.T, n int) []int {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		f, err := Seal(fmt.Sprint(i), []byte(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		fds[i] = int(f.Fd())
	}
	return fds
}

func TestFilesArriveInOrderAndCloseOnExec(t *testing.T) {
	a, b := pair(t)
	for _, n := range []int{1, 2, MaxFiles} {
		if err := a.Send(&Lend{Shards: make([]Shard, n)}, openFiles(t, n)...); err != nil {
			t.Fatal(err)
		}
		_, files, err := b.Receive()
		if err != nil || len(files) != n {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for i, f := range files {
			content, err := ReadSealed(f)
			if err != nil || string(content) != fmt.Sprint(i) {
				t.Fatalf("file %d holds %q, %v", i, content, err)
			}
			if !closeOnExec(t, int(f.Fd())) {
				t.Fatal("a received file is not close-on-exec")
			}
			f.Close()
		}
	}
	if err := a.Send(&Accept{}, openFiles(t, MaxFiles+1)...); !errors.Is(err, ErrTooManyFiles) {
		t.Fatal(err)
	}
	if err := a.Send(&Accept{}, -1); !errors.Is(err, unix.EBADF) {
		t.Fatalf("a closed file: %v", err)
	}
	// After refusals the channel still works.
	if err := a.Send(&Ping{}); err != nil {
		t.Fatal(err)
	}
	if m, _, err := b.Receive(); err != nil || m.Kind() != KindPing {
		t.Fatal(m, err)
	}
}

func closeOnExec(t *testing.T, fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.FD_CLOEXEC != 0
}

// FACTS 9: a receiver at its file limit gets fewer files and MSG_CTRUNC.
func TestFilesLostAtTheLimit(t *testing.T) {
	a, b := pair(t)
	before := fdCount(t)
	if err := a.Send(&Lend{}, openFiles(t, 8)...); err != nil {
		t.Fatal(err)
	}
	// The lowest free descriptor tells where the next ones go.
	probe, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(probe)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(probe) + 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	_, files, err := b.Receive()
	if e := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, ErrFilesLost) || files != nil {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if after := fdCount(t); after != before+8 {
		t.Errorf("%d descriptors leaked", after-before-8)
	}
	if err := a.Send(&Ping{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Receive(); err != nil {
		t.Fatalf("after lost files: %v", err)
	}
}

func fdCount(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A peer that announces files and sends none must not be believed.
func TestAnnouncedFilesMissing(t *testing.T) {
	a, b := pair(t)
	frame, err := appendFrame(nil, &Lend{}, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	rawSend(t, a, frame)
	m, _, err := b.Receive()
	if !errors.Is(err, ErrFilesLost) {
		t.Fatal(err)
	}
	if _, is := m.(*Lend); !is { // who is asked has to answer
		t.Errorf("the message is %v", m)
	}
}

func rawSend(t *testing.T, c *Conn, b []byte) {
	t.Helper()
	var errno error
	err := c.raw.Control(func(fd uintptr) { errno = unix.Sendmsg(int(fd), b, nil, nil, unix.MSG_NOSIGNAL) })
	if err = errors.Join(err, errno); err != nil {
		t.Fatal(err)
	}
}

func TestMalformedMessageDoesNotEndTheChannel(t *testing.T) {
	a, b := pair(t)
	other, err := appendFrame(nil, &Ping{}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	other[2] = Version + 1
	for _, c := range []struct {
		bytes []byte
		want  error
	}{
		{[]byte("nonsense"), ErrMalformed},
		{make([]byte, headerSize+MaxBody+1), ErrMalformed},
		{other, ErrVersion},
	} {
		rawSend(t, a, c.bytes)
		if _, _, err := b.Receive(); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
	if err := a.Send(&Ping{}); err != nil {
		t.Fatal(err)
	}
	if m, _, err := b.Receive(); err != nil || m.Kind() != KindPing {
		t.Fatal(m, err)
	}
}

// The last words of a peer that left unread messages behind come before EOF.
func TestLastWordsBeforeEOF(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(&Ping{}); err != nil { // b never reads it: the kernel reports ECONNRESET to a
		t.Fatal(err)
	}
	if err := b.Send(&Failed{Diagnostic: "last words"}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	m, _, err := a.Receive()
	if f, ok := m.(*Failed); err != nil || !ok || f.Diagnostic != "last words" {
		t.Fatalf("got %+v, %v", m, err)
	}
	for range 2 {
		if _, _, err := a.Receive(); err != io.EOF {
			t.Fatalf("got %v, want EOF", err)
		}
	}
	if err := a.Send(&Ping{}); !errors.Is(err, unix.EPIPE) {
		t.Fatalf("send to nobody: %v", err)
	}
}

func TestCloseEndsReceive(t *testing.T) {
	a, _ := pair(t)
	done := make(chan error)
	go func() { _, _, err := a.Receive(); done <- err }()
	for !a.receiving.Load() {
		time.Sleep(0) // yields until the goroutine is inside Receive
	}
	a.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}

// Who sends on a channel that was closed meanwhile can tell it from one that does not work.
func TestSendAfterClose(t *testing.T) {
	a, _ := pair(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{0, time.Second} {
		if err := a.SendWithin(d, &Ping{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("within %v: %v", d, err)
		}
	}
}

func fill(t *testing.T, c *Conn) (n int) {
	t.Helper()
	for {
		err := c.SendWithin(0, &Log{Lines: strings.Repeat("x", 4096) + "\n"})
		if errors.Is(err, ErrBusy) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

// A peer that does not read must not hold the master for ever, and what fits later is sent whole.
func TestSendIsBounded(t *testing.T) {
	a, b := pair(t)
	n := fill(t, a)
	begin := time.Now()
	const bound = 20 * time.Millisecond
	var wg sync.WaitGroup
	for range 8 { // the bound holds for each of many senders, not for their sum
		wg.Go(func() {
			if err := a.SendWithin(bound, &Log{Lines: strings.Repeat("x", 4096) + "\n"}); !errors.Is(err, ErrBusy) {
				t.Errorf("send to a full socket: %v", err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(begin); d < bound || d > 10*time.Second {
		t.Errorf("8 bounded sends took %v", d)
	}
	// A sender that waits goes on as soon as the peer reads.
	done := make(chan error)
	go func() { done <- a.SendWithin(time.Minute, &Ping{}) }()
	for range n {
		if m, _, err := b.Receive(); err != nil || m.Kind() != KindLog {
			t.Fatal(m, err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if m, _, err := b.Receive(); err != nil || m.Kind() != KindPing {
		t.Fatal(m, err)
	}
}

func TestConcurrentSendersNeverMix(t *testing.T) {
	a, b := pair(t)
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for range each {
				if err := a.Send(&Log{Lines: strings.Repeat(fmt.Sprint(i), 2000) + "\n"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range senders * each {
		m, _, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		l := m.(*Log).Lines
		if l != strings.Repeat(l[:1], 2000)+"\n" {
			t.Fatal("two messages are mixed")
		}
	}
	wg.Wait()
}

func TestNewRefusesOtherSockets(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := New(r); err == nil {
		t.Fatal("a pipe was taken for a control channel")
	}
}

func TestBothEndsAreCloseOnExec(t *testing.T) {
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer f.Close()
	var ours bool
	if err := a.raw.Control(func(fd uintptr) { ours = closeOnExec(t, int(fd)) }); err != nil {
		t.Fatal(err)
	}
	if !ours || !closeOnExec(t, int(f.Fd())) {
		t.Fatal("an end of a new channel is not close-on-exec")
	}
}

func TestSealed(t *testing.T) {
	for _, content := range []string{"", "text", strings.Repeat("long", 100_000)} {
		f, err := Seal("test", []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // reading has no offset
			if got, err := ReadSealed(f); err != nil || string(got) != content {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
		}
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Error("a sealed file was written")
		}
		if err := f.Truncate(1 << 20); err == nil {
			t.Error("a sealed file grew")
		}
		if !closeOnExec(t, int(f.Fd())) {
			t.Error("a sealed file is not close-on-exec")
		}
		f.Close()
	}
	plain, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := ReadSealed(plain); !errors.Is(err, ErrNotSealed) {
		t.Errorf("a plain file: %v", err)
	}
	fd, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	unsealed := os.NewFile(uintptr(fd), "open")
	defer unsealed.Close()
	if _, err := ReadSealed(unsealed); !errors.Is(err, ErrNotSealed) {
		t.Errorf("an open memory file: %v", err)
	}
}
