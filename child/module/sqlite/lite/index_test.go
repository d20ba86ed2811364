package lite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// processMode is the environment of a test binary that is another process: what it does, and on which file.
const processMode = "LITE_TEST_PROCESS"

func TestMain(m *testing.M) {
	if mode, path, found := strings.Cut(os.Getenv(processMode), " "); found {
		if err := otherProcess(mode, path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// otherProcess does one thing for each line that it reads, and answers each by a line.
func otherProcess(mode, path string) error {
	in := bufio.NewScanner(os.Stdin)
	switch mode {
	case "write":
		c, err := Open(Options{Path: path})
		if err != nil {
			return err
		}
		for in.Scan() {
			if err := c.Exec(in.Text()); err != nil {
				return err
			}
			fmt.Println("done")
		}
		return c.Close()
	case "turnstile":
		t, err := OpenTurnstile(path)
		if err != nil {
			return err
		}
		for in.Scan() {
			switch in.Text() {
			case "lock":
				err = t.Lock()
			case "unlock":
				err = t.Unlock()
			}
			if err != nil {
				return err
			}
			fmt.Println("done")
		}
		return nil // the end of the process unlocks it
	}
	return errors.New("unknown mode")
}

// A process is another one, that is asked line by line.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startProcess(t *testing.T, mode, path string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processMode+"="+mode+" "+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(p.stop)
	return p
}

func (p *process) send(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) answer() {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatal("the other process has ended:", p.out.Err())
	}
}

func (p *process) stop() {
	if p.cmd.ProcessState == nil {
		_ = p.in.Close() // it may have ended
		_ = p.cmd.Wait() // its answers told all
	}
}

func TestIndex(t *testing.T) {
	path, maker := newFile(t, "CREATE TABLE t(x)", "INSERT INTO t VALUES (0)")
	if err := maker.Close(); err != nil {
		t.Fatal(err)
	}
	index, err := OpenIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := index.Header(); ok {
		t.Error("a header before the mapping")
	}
	if err := index.Map(); err != nil {
		t.Fatal(err)
	}
	first, ok := index.Header()
	if !ok || !first.Blank() {
		t.Fatal("the header of a log that is empty:", first, ok)
	}
	other := startProcess(t, "write", path)
	seen := map[Header]int{first: 0}
	last := first
	for i := range 200 {
		switch {
		case i%50 == 49:
			if _, _, _, err := c.Checkpoint("TRUNCATE"); err != nil {
				t.Fatal(err)
			}
		case i%2 == 0:
			execAll(t, c, fmt.Sprintf("UPDATE t SET x = %d", i+1))
		default:
			other.send(fmt.Sprintf("UPDATE t SET x = %d", i+1))
			other.answer()
		}
		h, ok := index.Header()
		if !ok || h.Blank() {
			t.Fatal(i, h, ok)
		}
		if at, found := seen[h]; found && i%50 != 49 {
			t.Fatalf("the header of change %d is that of %d", i, at)
		}
		seen[h] = i
		last = h
	}
	// Reading changes nothing.
	if _, err := all(c, vetted, engine.Limits{}, "SELECT * FROM t"); err != nil {
		t.Fatal(err)
	}
	if h, ok := index.Header(); !ok || h != last {
		t.Error("reading has changed the header")
	}
	other.stop()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if now, err := index.Current(); err != nil || now {
		t.Error("the last connection leaves the index:", err)
	}
	if err := errors.Join(index.Close(), index.Close()); err != nil {
		t.Error(err)
	}
}

func TestIndexThatIsReplaced(t *testing.T) {
	path, c := newFile(t, "CREATE TABLE t(x)")
	if err := c.Close(); err != nil { // and with it -shm
		t.Fatal(err)
	}
	index, err := OpenIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	if err := index.Map(); err == nil {
		t.Fatal("an empty index was mapped")
	}
	if err := os.Remove(path + "-shm"); err != nil {
		t.Fatal(err)
	}
	openTest(t, Options{Path: path})
	if err := index.Map(); !errors.Is(err, ErrIndexReplaced) {
		t.Fatal(err)
	}
}

// Headers that are half old and half new, or not SQLite's, are none.
func TestHeaderThatIsTorn(t *testing.T) {
	path, c := newFile(t, "CREATE TABLE t(x)")
	index, err := OpenIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(); _ = index.Close() }()
	if err := index.Map(); err != nil {
		t.Fatal(err)
	}
	good, ok := index.Header()
	if !ok {
		t.Fatal("no header")
	}
	page := make([]byte, 4096)
	fake := &Index{memory: page, fd: -1}
	for i := range 2 * headerSize {
		copy(page, good[:])
		copy(page[headerSize:], good[:])
		if h, ok := fake.Header(); !ok || h != good {
			t.Fatal("a whole header was refused")
		}
		page[i] ^= 0x40
		if _, ok := fake.Header(); ok {
			t.Errorf("byte %d of one copy was changed, and not seen", i)
		}
		page[(i+headerSize)%(2*headerSize)] ^= 0x40
		if _, ok := fake.Header(); ok {
			t.Errorf("byte %d of both copies was changed, and not seen", i)
		}
	}
}

func TestTurnstile(t *testing.T) {
	path, _ := newFile(t)
	own, err := OpenTurnstile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	other := startProcess(t, "turnstile", path)
	other.send("lock")
	other.answer()
	if ok, err := own.TryLock(); ok || err != nil {
		t.Fatal("two are inside:", err)
	}
	passed := make(chan error)
	go func() { passed <- own.Lock() }()
	select {
	case <-passed:
		t.Fatal("two are inside")
	default:
	}
	other.send("unlock")
	other.answer()
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
	other.send("lock")
	if err := own.Unlock(); err != nil {
		t.Fatal(err)
	}
	other.answer()
	other.stop() // with the lock
	if err := own.Lock(); err != nil {
		t.Fatal(err)
	}
}

func TestFilesBesideHaveTheMode(t *testing.T) {
	path, _ := newFile(t)
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	turnstile, err := OpenTurnstile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer turnstile.Close()
	if info, err := os.Stat(path + "-turnstile"); err != nil || info.Mode().Perm() != 0o660 {
		t.Fatal(info, err)
	}
	if err := os.Symlink("/etc/passwd", path+"2-turnstile"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTurnstile(path + "2"); err == nil {
		t.Fatal("a symbolic link was followed")
	}
}

func TestOpenFailures(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		code engine.Code
	}{
		{filepath.Join(dir, "missing"), engine.CodeUnavailable},
		{filepath.Join(dir, "missing", "x"), engine.CodeUnavailable},
		{dir, engine.CodeUnavailable},
		{filepath.Join(dir, "pipe"), engine.CodeUnavailable},
		{garbage, engine.CodeCorrupt},
		{"relative", engine.CodeInternal},
	} {
		before := descriptors(t)
		for range 5 {
			_, err := Open(Options{Path: test.path})
			if got := codeOf(t, err); got != test.code {
				t.Errorf("%s: %v", test.path, err)
			}
		}
		if after := descriptors(t); after != before {
			t.Errorf("%s: %d descriptors, and %d before", test.path, after, before)
		}
	}
	if _, err := Open(Options{Path: filepath.Join(dir, "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestImmutableAndMemory(t *testing.T) {
	path, c := newFile(t, "CREATE TABLE t(x)", "INSERT INTO t VALUES (7)")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	strange := filepath.Join(filepath.Dir(path), "a?mode=memory%20#x.db")
	if err := os.Rename(path, strange); err != nil {
		t.Fatal(err)
	}
	fixed := openTest(t, Options{Path: strange, Immutable: true})
	if rows, err := all(fixed, vetted, engine.Limits{}, "SELECT x FROM t"); err != nil || rows[0][0].Int != 7 {
		t.Fatal(rows, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	memory := openTest(t, Options{Path: Memory})
	if err := memory.Overwrite(fixed); err != nil {
		t.Fatal(err)
	}
	if rows, err := all(memory, vetted, engine.Limits{}, "SELECT x FROM t"); err != nil || rows[0][0].Int != 7 {
		t.Fatal(rows, err)
	}
	if memory2 := openTest(t, Options{Path: Memory}); memory2.Exec("SELECT x FROM t") == nil {
		t.Fatal("two databases in memory are one")
	}
}

func TestVacuumNeedsAttach(t *testing.T) {
	path, _ := newFile(t, "CREATE TABLE t(x)")
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := openTest(t, Options{Path: path}).Exec("VACUUM INTO '" + copied + "'"); err == nil {
		t.Error("a file was attached by who may attach none")
	}
	if err := openTest(t, Options{Path: path, Attach: 1}).Exec("VACUUM INTO '" + copied + "'"); err != nil {
		t.Error(err)
	}
}

func TestNetworkFileSystem(t *testing.T) {
	const mounts = `22 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:40 / /mnt/ssh rw - fuse.sshfs me@host:/data rw
31 22 0:41 / /mnt/local\040disk rw - fuseblk /dev/sdb1 rw
32 22 0:42 / /mnt/named rw - fuse server:/x rw
33 22 0:43 / /mnt/portal rw - fuse.portal portal rw
`
	asked := func(magic int64) func(string, *unix.Statfs_t) error {
		return func(_ string, fs *unix.Statfs_t) error {
			fs.Type = magic
			return nil
		}
	}
	for _, test := range []struct {
		magic int64
		path  string
		name  string
		is    bool
	}{
		{0x6969, "/x", "NFS", true},
		{0xFF534D42, "/x", "CIFS", true},
		{0xEF53, "/x", "", false},
		{0x01021994, "/x", "", false},
		{0x65735546, "/mnt/ssh/a.db", "FUSE (sshfs)", true},
		{0x65735546, "/mnt/local disk/a.db", "", false},
		{0x65735546, "/mnt/named/a.db", "FUSE (server:/x)", true},
		{0x65735546, "/mnt/portal", "", false},
		{0x65735546, "/mnt/sshelf/a.db", "", false},
	} {
		name, is := networkFileSystem(test.path, asked(test.magic), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(mounts)), nil })
		if name != test.name || is != test.is {
			t.Errorf("%#x %s: %q %t", test.magic, test.path, name, is)
		}
	}
	if name, is := NetworkFileSystem(filepath.Join(t.TempDir(), "missing.db")); is {
		t.Skip("the tests' folder is on a network file system:", name)
	}
}
