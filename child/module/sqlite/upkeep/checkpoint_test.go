package upkeep

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// warnings gathers what a warden says.
type warnings struct {
	texts  []string
	fields []map[string]any
}

func (w *warnings) warn(message string, fields ...any) {
	w.texts = append(w.texts, message)
	m := map[string]any{}
	for i := 0; i < len(fields); i += 2 {
		m[fields[i].(string)] = fields[i+1]
	}
	w.fields = append(w.fields, m)
}

func walSize(t *testing.T, d Database) int64 {
	t.Helper()
	info, err := os.Stat(d.Path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// age makes the WAL look as if nobody had written for so long.
func age(t *testing.T, d Database, now time.Time, by time.Duration) {
	t.Helper()
	if err := os.Chtimes(d.Path+"-wal", now.Add(-by), now.Add(-by)); err != nil {
		t.Fatal(err)
	}
}

func TestWarden(t *testing.T) {
	d, c := newDatabase(t, "shop", 10)
	d.Settings.Checkpoint = Checkpointing{Size: 1 << 20, Every: 30 * time.Second, Alarm: 16 << 20}
	var said warnings
	w := &warden{database: d, warn: said.warn}
	now := time.Now()
	turn := func(now time.Time) {
		t.Helper()
		if err := w.turn(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	inFile := func() int64 {
		info, err := os.Stat(d.Path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	turn(now) // the first look, as every has passed since never
	small := inFile()
	if small < 8192 {
		t.Errorf("nothing was copied back: %d bytes", small)
	}
	insert(t, c, 2000)
	if turn(now.Add(time.Second)); inFile() != small {
		t.Error("a small WAL was copied back before its time")
	}
	if turn(now.Add(31 * time.Second)); inFile() == small {
		t.Error("a small WAL was not copied back in its time")
	}
	small = inFile()
	insert(t, c, 20_000)
	age(t, d, now.Add(33*time.Second), 0)
	if turn(now.Add(33 * time.Second)); inFile() == small {
		t.Error("a large WAL was not copied back at once")
	}
	if walSize(t, d) < 1<<20 {
		t.Error("it was cut while somebody may write on")
	}
	later := now.Add(time.Hour)
	age(t, d, later, quiet)
	if turn(later); walSize(t, d) != 0 {
		t.Errorf("an idle WAL has %d bytes", walSize(t, d))
	}
	insert(t, c, 60_000)
	if size := walSize(t, d); size < d.Settings.Checkpoint.bound() {
		t.Fatal(size)
	}
	age(t, d, later, 0)
	if turn(later.Add(time.Second)); walSize(t, d) != 0 {
		t.Errorf("a WAL over its bound has %d bytes", walSize(t, d))
	}
	if len(said.texts) > 0 {
		t.Errorf("%q", said.texts)
	}
	// A writer at the turnstile does not keep it from copying, only from cutting.
	insert(t, c, 20_000)
	unlock, err := lock(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	age(t, d, later.Add(time.Minute), quiet)
	turn(later.Add(time.Minute))
	if walSize(t, d) == 0 {
		t.Error("the WAL was cut while somebody had the turn")
	}
	unlock()
	if turn(later.Add(2 * time.Minute)); walSize(t, d) != 0 {
		t.Error("it was not cut when the turn was free")
	}
	os.Remove(d.Path)
	insert(t, c, 10)
	turn(later.Add(3 * time.Minute)) // nothing to look after
}

// An outside program that reads an old state is named, and since when.
func TestAlarmNamesTheReader(t *testing.T) {
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip(err)
	}
	if locks, err := os.ReadFile("/proc/locks"); err != nil {
		t.Skip(locks, err)
	}
	d, c := newDatabase(t, "shop", 10)
	d.Settings.Checkpoint = Checkpointing{Size: 1 << 20, Every: time.Second, Alarm: 2 << 20}
	reader := exec.Command(program, d.Path)
	in, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = reader.Wait() // it ends with its input
	}()
	fmt.Fprintln(in, "BEGIN; SELECT count(*) FROM items;")
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "10\n" {
		t.Fatalf("%q, %v", line, err)
	}
	insert(t, c, 30_000)
	if list, _, err := readers(d.Path); err == nil && len(list) == 0 {
		t.Skip("/proc/locks does not show the locks of this file system")
	}
	// A younger reader is not blamed.
	young, err := open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer young.close()
	must(t, young, "BEGIN")
	count(t, young, "items")
	var said warnings
	w := &warden{database: d, warn: said.warn}
	now := time.Now()
	for i := range 3 {
		if err := w.turn(t.Context(), now.Add(time.Duration(i)*40*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if len(said.texts) != 2 { // at 0 s and at 80 s
		t.Fatalf("%d warnings: %v", len(said.texts), said.fields)
	}
	f := said.fields[1]
	if f["reader"] != fmt.Sprintf("the program sqlite3 (pid %d)", reader.Process.Pid) ||
		f["reader_pid"] != reader.Process.Pid || f["database"] != "shop" ||
		f["since"] != now.UTC().Format(time.RFC3339) || f["readers"] != 2 ||
		f["wal_bytes"].(int64) < 2<<20 || !strings.Contains(said.texts[1], "end that read") {
		t.Errorf("%v %v", said.texts[1], f)
	}
	fmt.Fprintln(in, "COMMIT; SELECT 'done';")
	if _, err := io.ReadFull(out, make([]byte, len("done\n"))); err != nil {
		t.Fatal(err)
	}
	must(t, young, "COMMIT")
	if err := w.turn(t.Context(), now.Add(5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if len(said.texts) != 2 || walSize(t, d) != 0 {
		t.Errorf("%d warnings, %d bytes", len(said.texts), walSize(t, d))
	}
}

// To ask who reads drops none of this process's own locks.
func TestReadersKeepLocks(t *testing.T) {
	d, c := newDatabase(t, "shop", 10)
	must(t, c, "BEGIN IMMEDIATE")
	must(t, c, "INSERT INTO items(text) VALUES ('mine')")
	list, known, err := readers(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].pid != os.Getpid() || !known {
		t.Logf("%v, %v", list, known) // /proc may hide it
	}
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip(err)
	}
	if text, err := exec.Command(program, d.Path, "INSERT INTO items(text) VALUES ('theirs')").CombinedOutput(); err == nil ||
		!strings.Contains(string(text), "locked") {
		t.Errorf("another process has written in the middle of a transaction: %s", text)
	}
	must(t, c, "COMMIT")
}

func TestParseLocks(t *testing.T) {
	got := parseLocks([]byte(`1: POSIX  ADVISORY  READ 812 fe:00:1234 124 124
1: -> POSIX  ADVISORY  WRITE 900 fe:00:1234 124 124
2: FLOCK  ADVISORY  WRITE 7 fe:00:1234 0 EOF
3: POSIX  ADVISORY  WRITE 9 00:2f:99 127 128
4: POSIX  MSNFS     READ 10 fe:00:1 0 EOF
5: OFDLCK ADVISORY  READ -1 fe:00:1234 124 124
6: POSIX  ADVISORY  READ 99999999999999999999 fe:00:1 0 EOF
7: LEASE  ACTIVE    READ 1 fe:00:1 0 EOF
8: POSIX  ADVISORY  READ
`))
	want := []fileLock{{812, unix.Mkdev(0xfe, 0), 1234, 124, 124}, {9, unix.Mkdev(0, 0x2f), 99, 127, 128}, {10, unix.Mkdev(0xfe, 0), 1, 0, 1<<63 - 1}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func FuzzParseLocks(f *testing.F) {
	f.Add([]byte("1: POSIX  ADVISORY  READ 812 fe:00:1234 124 124\n"), "7f00-7f10 rw-s 00000000 fe:00 7 /a/b-shm\n")
	f.Fuzz(func(t *testing.T, locks []byte, maps string) {
		parseLocks(locks)
		findMapping(strings.NewReader(maps), "b-shm", 7)
	})
}

func TestFindMapping(t *testing.T) {
	const maps = `7f00-7f10 rw-s 00008000 fe:00 7 /a/b-shm
7f20-7f30 rw-s 00000000 fe:00 8 /a/b-shm
7f40-7f50 rw-s 00000000 fe:00 7 /a/other
7f60-7f70 rw-s 00000000 fe:00 7 /a b/b-shm
`
	if at, found := findMapping(strings.NewReader(maps), "b-shm", 7); !found || at != 0x7f60 {
		t.Errorf("%x, %v", at, found)
	}
	if _, found := findMapping(strings.NewReader(maps), "b-shm", 9); found {
		t.Error("found what is not there")
	}
}

func TestProcessName(t *testing.T) {
	program, err := exec.LookPath("cat")
	if err != nil {
		t.Skip(err)
	}
	child := exec.Command(program)
	child.Args[0] = "tined: child 3"
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = child.Wait() // it ends with its input
	}()
	fmt.Fprintln(in, "are you there?") // Start returns before the kernel has its arguments
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if got, want := processName(child.Process.Pid), fmt.Sprintf("child 3 (pid %d)", child.Process.Pid); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := processName(1 << 30); !strings.Contains(got, "cannot be seen") {
		t.Errorf("%q", got)
	}
	if got := processName(os.Getpid()); !strings.Contains(got, "itself") {
		t.Errorf("%q", got)
	}
}
