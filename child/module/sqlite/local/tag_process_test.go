package local

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// tagProcess is the environment of TestTagProcess in a process of its own: the path.
const tagProcess = "LOCAL_TEST_TAGS"

// TestTagProcess is what the other process of TestTagsOfProcesses runs: it tells the tag and the content each time that it has written one.
func TestTagProcess(t *testing.T) {
	path := os.Getenv(tagProcess)
	if path == "" {
		t.Skip("only as a process of TestTagsOfProcesses")
	}
	f := openTest(t, Options{Path: path})
	tell := func() {
		v, tag, ok, err := one(f, "SELECT x FROM t")
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			fmt.Printf("tag %s %d\n", hex.EncodeToString(tag[:]), v.Int)
		}
	}
	tell()
	for range 5 {
		mustExecute(t, f, "UPDATE t SET x = x + 1")
		tell()
	}
	c, err := lite.Open(lite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := c.Checkpoint("TRUNCATE"); err != nil { // the next user finds a log that is empty
		t.Fatal(err)
	}
	tell()
	fmt.Println("written")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until it is killed, or let go
}

// The log is begun anew from nothing after each crash: then its header is the same for different contents, and the tag must not be.
func TestTagsOfProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (0)")
	seen := map[string]string{}
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTagProcess$", "-test.v")
		cmd.Env = append(os.Environ(), tagProcess+"="+path)
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
		written := false
		for lines := bufio.NewScanner(out); !written && lines.Scan(); {
			written = lines.Text() == "written"
			tag, content, found := strings.Cut(strings.TrimPrefix(lines.Text(), "tag "), " ")
			if !found || !strings.HasPrefix(lines.Text(), "tag ") {
				continue
			}
			if before, known := seen[tag]; known && before != content {
				t.Errorf("round %d: one tag stands for %s and %s", round, before, content)
			}
			seen[tag] = content
		}
		if !written {
			t.Error("the other process has ended before it had written")
		}
		if round == 5 { // two processes have one tag for one content
			f := openTest(t, Options{Path: path})
			v, tag, ok, err := one(f, "SELECT x FROM t")
			if err != nil || !ok || seen[hex.EncodeToString(tag[:])] != fmt.Sprint(v.Int) {
				t.Error("another tag than the other process's:", v.Int, ok, err)
			}
			if now, ok := f.Tag(); !ok || now == (engine.Tag{}) {
				t.Error(now, ok)
			}
		}
		if round%2 == 0 {
			err = cmd.Process.Kill()
		} else {
			err = in.Close()
		}
		if err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed, or its failure would have been seen above
	}
	if len(seen) < 30 {
		t.Error("only", len(seen), "tags")
	}
}
