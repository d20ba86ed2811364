package child

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/netcore/control"
)

// logged is a configuration with an access log in a file.
func logged(file string) string {
	return fmt.Sprintf("site \"main\" {\n  access_log {\n    file = %q\n  }\n  route \"/\" {\n    theatre {\n      plays = \"now\"\n    }\n  }\n}\n", file)
}

// appending opens a file as the master does.
func appending(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// openHere is how many descriptors of this process are open on a file, under whatever name.
func openHere(t *testing.T, file string) (n int) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range entries {
		if open, err := os.Stat("/proc/self/fd/" + e.Name()); err == nil && os.SameFile(open, info) {
			n++
		}
	}
	return n
}

// The files of the access logs are those of the generations that are committed, and open as long as one of them lives.
func TestLogFilesFollowGenerations(t *testing.T) {
	m := newTheatre()
	tc := start(t, "", nil, m)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	prepares := func(number uint64, name string) {
		t.Helper()
		answer := tc.prepares(logged(at(name)), number, nil, []string{at(name)}, []*os.File{appending(t, at(name))})
		if failed, is := answer.(*control.Failed); is {
			t.Fatal(failed.Diagnostic)
		}
	}
	commits := func(number uint64) {
		t.Helper()
		tc.tell(&control.Commit{Generation: number})
		heard[*control.Committed](tc)
	}
	p := tc.dial()
	serves := func(target string) {
		t.Helper()
		p.send("GET /" + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		p.answer("GET")
	}
	holds := func(name, text string) {
		t.Helper()
		tc.until(text+" is in "+name, func(*loop) bool {
			b, err := os.ReadFile(at(name))
			return err == nil && strings.Contains(string(b), "/"+text+" ")
		})
	}
	open := func(name string, n int) {
		t.Helper()
		tc.until(fmt.Sprint(name, " is open ", n, " times"), func(*loop) bool { return openHere(t, at(name)) == n })
	}

	prepares(2, "a")
	commits(2)
	serves("one")
	holds("a", "one")

	// Aborted: the files of before, and none of the aborted one is left open.
	prepares(3, "b")
	serves("two")
	holds("a", "two")
	open("b", 1)
	tc.tell(&control.Abort{Generation: 3})
	open("b", 0)
	if err := os.Rename(at("a"), at("a.1")); err != nil {
		t.Fatal(err)
	}
	prepares(4, "a") // another file of the same name
	serves("three")
	holds("a.1", "three")
	tc.tell(&control.Abort{Generation: 4})
	open("a", 0)
	serves("four")
	holds("a.1", "four")

	// Committed: the new file of the name, for what is left of the old generation too.
	prepares(5, "a")
	commits(5)
	open("a.1", 0)
	serves("five")
	holds("a", "five")

	// Reopened while a generation waits whose files are older.
	prepares(6, "a")
	if err := os.Rename(at("a"), at("a.2")); err != nil {
		t.Fatal(err)
	}
	newer, stranger := appending(t, at("a")), appending(t, at("c"))
	tc.tell(&control.ReopenLogs{Files: []string{at("a"), at("c")}}, int(newer.Fd()), int(stranger.Fd()))
	newer.Close()
	stranger.Close()
	heard[*control.Reopened](tc)
	open("c", 0)
	commits(6)
	open("a.2", 0)
	serves("six")
	holds("a", "six")
	open("a", 1)

	// A generation that is held keeps its log; with the last of it the file is closed.
	held := tc.dial()
	held.send("POST /held HTTP/1.1\r\nHost: x\r\n" + length(2) + "\r\na")
	tc.until("it is held", func(l *loop) bool { return l.generation.exchanges == 1 })
	prepares(7, "b")
	commits(7)
	serves("seven")
	holds("b", "seven")
	open("a", 1)
	held.send("b")
	held.answer("POST")
	holds("a", "held")
	open("a", 0)
	open("b", 1)

	// A generation that names a file that did not come, and one whose sources are broken, leave nothing open.
	if answer, is := tc.prepares(logged(at("c")), 8, nil, []string{at("d")}, []*os.File{appending(t, at("d"))}).(*control.Failed); !is {
		t.Error(answer)
	}
	open("d", 0)
	broken := appending(t, at("e"))
	tc.tell(&control.Prepare{Generation: 9, Files: []string{at("e")}}, int(broken.Fd()), int(broken.Fd()))
	broken.Close()
	heard[*control.Failed](tc)
	open("e", 0)
	serves("eight")
	holds("b", "eight")
}

// A file is replaced without waiting for who writes to it, and closed by him.
func TestLogFileIsReplacedWhileItIsWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "next")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := &logFile{file: w, fail: func(err error) { t.Error(err) }}
	full := make([]byte, 1<<20)
	done := make(chan struct{})
	go func() { f.write(full); close(done) }()
	if _, err := r.Read(make([]byte, 1)); err != nil { // it writes, and waits for a reader
		t.Fatal(err)
	}
	f.replace(appending(t, name))
	for n := 1; n < len(full); {
		read, err := r.Read(make([]byte, 64<<10))
		if n += read; err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the write", done)
	if n, err := r.Read(make([]byte, 1)); err == nil {
		t.Errorf("the file before is open: %d", n)
	}
	f.write([]byte("line\n"))
	f.close()
	if b, err := os.ReadFile(name); err != nil || string(b) != "line\n" {
		t.Errorf("%q, %v", b, err)
	}
}
