package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// The test binary starts itself with this variable set to the name of a part, and with the file's path.
const (
	partVariable = "TINED_TEST_WRITER_PART"
	pathVariable = "TINED_TEST_WRITER_PATH"
)

// TestWriterPart is no test: it is what a process does that another test has started.
func TestWriterPart(t *testing.T) {
	path := os.Getenv(pathVariable)
	switch part := os.Getenv(partVariable); part {
	case "":
		t.Skip("this runs in processes that other tests start")
	case "load":
		partLoad(t, path)
	case "shell":
		partShell(t, path)
	case "full":
		partFull(t, path)
	}
}

// part makes the command for a process that does the part named.
func part(t *testing.T, name, path string) *exec.Cmd {
	c := exec.Command(os.Args[0], "-test.run=^TestWriterPart$", "-test.v")
	c.Env = append(os.Environ(), partVariable+"="+name, pathVariable+"="+path)
	c.Stderr = os.Stderr
	return c
}

// A peer is a process that has been started.
type peer struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startPeer(t *testing.T, c *exec.Cmd) *peer {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{c, in, bufio.NewScanner(out)}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill() // it may have ended
			_ = c.Wait()         // killed
		}
	})
	return p
}

// partWriter is a writer of a process of its own.
func partWriter(path string) *writer {
	return newWriter(fileWriter(path, func() (*lite.Conn, error) { return lite.Open(lite.Options{Path: path}) }, &Options{}))
}

const loadSchema = `CREATE TABLE done (process INTEGER, worker INTEGER, n INTEGER);
CREATE TABLE only (id INTEGER PRIMARY KEY);
INSERT INTO only VALUES (1)`

// partLoad writes with some goroutines until its input ends, and prints each row when it is acknowledged. Among them are guilty ones.
func partLoad(t *testing.T, path string) {
	w := partWriter(path)
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				row := fmt.Sprintf("%d %d %d", os.Getpid(), worker, n)
				b := batchOf(fmt.Sprintf("INSERT INTO done VALUES (%s)", strings.ReplaceAll(row, " ", ", ")))
				switch n % 8 {
				case 3:
					b.Statements = append(b.Statements, engine.Statement{SQL: "INSERT OR ROLLBACK INTO only VALUES (1)"})
				case 6:
					b = atomicOf(b.Statements[0].SQL, "INSERT INTO only VALUES (1)")
				}
				outcomes, err := w.execute(context.Background(), b)
				switch {
				case n%8 == 6 && codeOf(err) == engine.CodeConstraintPrimaryKey: // none of it is there
				case err != nil || outcomes[0].Err != nil:
					fmt.Printf("failed %s: %v %v\n", row, outcomes, err)
				default:
					fmt.Printf("done %s\n", row)
				}
			}
		})
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		fmt.Printf("failed: %v\n", err)
	}
	stop()
	all.Wait()
	w.close()
}

// TestWritersKilled: some processes write into one file, and one after the other is killed in the middle. Every row that was acknowledged is there,
// once.
func TestWritersKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "load.db")
	makeFile(t, path, loadSchema)
	const processes, kills = 3, 20
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	// Of a line each process writes whole, or nothing: it is shorter than a pipe's atomic writes.
	read := func(p *peer, enough int, reached chan<- struct{}) {
		n := 0
		for p.out.Scan() {
			row, done := strings.CutPrefix(p.out.Text(), "done ")
			if !done {
				if strings.HasPrefix(p.out.Text(), "failed") {
					t.Error(p.out.Text())
				}
				continue
			}
			mu.Lock()
			acknowledged[row] = true
			mu.Unlock()
			if n++; n == enough {
				close(reached)
			}
		}
		if n < enough {
			close(reached)
		}
	}
	type member struct {
		*peer
		reached, ended chan struct{}
	}
	start := func(enough int) member {
		m := member{startPeer(t, part(t, "load", path)), make(chan struct{}), make(chan struct{})}
		go func() {
			defer close(m.ended)
			read(m.peer, enough, m.reached)
		}()
		return m
	}
	var members []member
	for i := range processes {
		members = append(members, start(10+i))
	}
	for i := range kills {
		m := members[0]
		<-m.reached
		if err := m.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-m.ended
		if err := m.Wait(); err == nil {
			t.Error("a process ended by itself")
		}
		members = append(members[1:], start(10+i*3))
	}
	for _, m := range members {
		<-m.reached
		if err := m.in.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range members {
		<-m.ended
		if err := m.Wait(); err != nil {
			t.Error(err)
		}
	}
	there := map[string]int{}
	for _, row := range readRows(t, path, "SELECT process || ' ' || worker || ' ' || n FROM done") {
		there[row]++
	}
	for row := range acknowledged {
		if there[row] != 1 {
			t.Errorf("row %s was acknowledged, and is there %d times", row, there[row])
		}
	}
	for row, n := range there {
		if n != 1 || strings.HasSuffix(row, " 6") {
			t.Errorf("row %s is there %d times", row, n)
		}
	}
	if got := readRows(t, path, "PRAGMA integrity_check"); len(got) != 1 || got[0] != "ok" {
		t.Errorf("integrity: %q", got)
	}
	t.Logf("%d rows acknowledged, %d there", len(acknowledged), len(there))
}

// partShell runs the lines of its input with a connection that knows no turnstile, and prints "did" behind each.
func partShell(t *testing.T, path string) {
	c, err := lite.Open(lite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := c.Exec(lines.Text()); err != nil {
			fmt.Println(err)
		}
		fmt.Println("did")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestWriterBesideOutsideProgram: a program that takes no turnstile holds the lock. Who waits is served after it, or told at its deadline; nobody
// sees SQLite's own answer.
func TestWriterBesideOutsideProgram(t *testing.T) {
	programs := map[string]func(path string) (*exec.Cmd, error){
		"a connection of the same library": func(path string) (*exec.Cmd, error) { return part(t, "shell", path), nil },
		"sqlite3": func(path string) (*exec.Cmd, error) {
			name, err := exec.LookPath("sqlite3")
			return exec.Command(name, "-batch", path), err
		},
	}
	for name, command := range programs {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, Options{})
			c, err := command(d.path)
			if err != nil {
				t.Skip("there is no such program: ", err)
			}
			outside := startPeer(t, c)
			say := func(sql string) {
				t.Helper()
				if name == "sqlite3" {
					sql += "; SELECT 'did';"
				}
				if _, err := io.WriteString(outside.in, sql+"\n"); err != nil {
					t.Fatal(err)
				}
				for outside.out.Scan() {
					switch line := outside.out.Text(); {
					case line == "did":
						return
					case !strings.HasPrefix(line, "="):
						t.Errorf("the outside program: %s", line)
					}
				}
				t.Fatal("the outside program has ended")
			}
			tries := make(chan struct{}, 1)
			d.tap.exec = func(sql string) error {
				if sql == "BEGIN IMMEDIATE" {
					select {
					case tries <- struct{}{}:
					default:
					}
				}
				return nil
			}
			say("BEGIN IMMEDIATE")
			var all sync.WaitGroup
			var hasty, patient answer
			b := batchOf("INSERT INTO t (name) VALUES ('hasty')")
			b.Wait = 1
			all.Go(func() {
				patient.outcomes, patient.err = d.execute(t.Context(), batchOf("INSERT INTO t (name) VALUES ('patient')"))
			})
			for range 5 {
				<-tries
			}
			hasty.outcomes, hasty.err = d.execute(t.Context(), b)
			say("INSERT INTO t (name) VALUES ('outside')")
			<-tries
			say("COMMIT")
			all.Wait()
			if hasty.codes() != "/busy" || patient.codes() != "ok/" {
				t.Errorf("hasty %s, patient %s; want /busy and ok/", hasty.codes(), patient.codes())
			}
			d.wantRows("SELECT name FROM t ORDER BY id", "outside", "patient")
			if err := errors.Join(outside.in.Close(), outside.Wait()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWriterDiskFull: on a file system of 1 MiB, all that was acknowledged before, while and after it is full is there, and nothing else.
func TestWriterDiskFull(t *testing.T) {
	c := part(t, "full", t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	c.Stderr = nil
	out, err := c.CombinedOutput()
	switch {
	case errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC):
		t.Skip("namespaces of users and mounts are not permitted here: ", err)
	case strings.Contains(string(out), "cannot mount"):
		t.Skipf("a process with namespaces of its own may not mount a tmpfs here: %s", out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	default:
		t.Logf("%s", out)
	}
}

// partFull fills its disk, makes room, and counts.
func partFull(t *testing.T, dir string) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal("cannot mount: ", err)
	}
	ballast := filepath.Join(dir, "ballast")
	path := filepath.Join(dir, "full.db")
	makeFile(t, path, "CREATE TABLE t (id INTEGER PRIMARY KEY, content BLOB)")
	w := partWriter(path)
	defer w.close()
	acknowledged, refused := 0, 0
	write := func(size, askers int) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for range askers {
			all.Go(func() {
				a := answer{}
				a.outcomes, a.err = w.execute(t.Context(), batchOf(fmt.Sprintf("INSERT INTO t (content) VALUES (zeroblob(%d))", size)))
				mu.Lock()
				defer mu.Unlock()
				switch got := a.codes(); got {
				case "ok/":
					acknowledged++
				case "/disk_full", "disk_full/":
					refused++
				default:
					t.Errorf("%s", got)
				}
			})
		}
		all.Wait()
	}
	check := func(when string) {
		t.Helper()
		want := strconv.Itoa(acknowledged)
		if got := readRows(t, path, "SELECT count(*) FROM t"); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q rows, want %s", when, got, want)
		}
		if got := readRows(t, path, "PRAGMA integrity_check"); len(got) != 1 || got[0] != "ok" {
			t.Errorf("%s: integrity: %q", when, got)
		}
	}
	write(100, 8)
	check("at first")
	for round := range 3 {
		refused = 0
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
		for refused == 0 { // the log may have room
			write(5000, 4)
		}
		if refused = 0; round == 1 {
			write(200_000, 2)
			if refused == 0 {
				t.Error("a large row went into a full disk")
			}
		}
		check("on a full disk")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		refused = 0
		write(5000, 4)
		if refused != 0 {
			t.Errorf("%d were refused when there was room again", refused)
		}
		check("with room again")
	}
	// A row that is larger than the disk harms none of those that come with it.
	before := acknowledged
	var all sync.WaitGroup
	all.Go(func() { write(10, 8) })
	large := answer{}
	large.outcomes, large.err = w.execute(t.Context(), batchOf("INSERT INTO t (content) VALUES (zeroblob(4000000)) RETURNING id"))
	if got := large.codes(); got != "disk_full/" && got != "/disk_full" {
		t.Errorf("4 MB in 1 MiB: %s", got)
	}
	all.Wait()
	if acknowledged != before+8 {
		t.Errorf("%d of 8 small rows got in beside a large one", acknowledged-before)
	}
	check("beside a large row")
}
