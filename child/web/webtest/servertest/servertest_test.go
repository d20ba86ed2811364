//go:build linux

package servertest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined"
	"github.com/tined/tined/child/web/webtest/servertest"
)

func TestMain(m *testing.M) {
	servertest.Main(m, func() {
		visits := tined.SharedCounter("visits")
		tined.HandleFunc("GET /visit", func(*tined.Request) string { return fmt.Sprintln(visits.Add(1)) })
		tined.HandleFunc("GET /env", func(*tined.Request) string { return os.Getenv("OF_THE_TEST") + " " + os.Getenv("TINED_TEST_MASTER") })
		tined.Main()
	})
}

func TestStartKillAndStop(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Children: 3, Env: []string{"OF_THE_TEST=yes"}})
	if got := s.Get("/visit"); got != "1\n" {
		t.Errorf("the first visit is %q", got)
	}
	before := s.Children()
	if len(before) != 3 {
		t.Fatalf("%+v", before)
	}
	s.Kill(1)
	if after := s.Children(); after[1].Pid == before[1].Pid || after[0] != before[0] || after[2] != before[2] {
		t.Errorf("%+v became %+v", before, after)
	}
	s.Drain(2)
	if got := s.Get("/visit"); got != "2\n" {
		t.Errorf("the second visit is %q", got)
	}
	if got := s.Get("/env"); got != "yes " {
		t.Errorf("the environment is %q", got)
	}
	s.Stop()
	s.Stop()
	if !strings.Contains(s.Log(), "stopped") {
		t.Errorf("the log is\n%s", s.Log())
	}
}

func TestConfigOfItsOwn(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Config: `
children = 1
listen "main" {
  address = "127.0.0.1:0"
}
site "main" {
  route "GET /fixed" {
    respond {
      body = "from the file"
    }
  }
}
`})
	if got := s.Get("/fixed"); got != "from the file" || len(s.Children()) != 1 {
		t.Errorf("%q, %+v", got, s.Children())
	}
}

func TestFail(t *testing.T) {
	if log := servertest.Fail(t, servertest.Options{Config: "nonsense = 1\n"}); !strings.Contains(log, "nonsense") {
		t.Errorf("%q", log)
	}
}

// The server ends with its test, also when the test cannot see to it.
func TestNothingIsLeftRunning(t *testing.T) {
	for _, how := range []string{"panic", "hang"} {
		t.Run(how, func(t *testing.T) {
			test := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
			dir := t.TempDir()
			test.Env = append(os.Environ(), "VICTIM="+how, "TMPDIR="+dir)
			out, err := test.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := test.Start(); err != nil {
				t.Fatal(err)
			}
			var pids []int
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if list, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
					for _, field := range strings.Fields(list) {
						pid, err := strconv.Atoi(field)
						if err != nil {
							t.Fatal(err)
						}
						pids = append(pids, pid)
					}
					if how == "hang" {
						_ = test.Process.Kill()
					}
				}
			}
			if err := test.Wait(); err == nil || len(pids) != 3 {
				t.Fatalf("the victim ended with %v, its processes were %v", err, pids)
			}
			for bound := time.Now().Add(20 * time.Second); len(pids) > 0; time.Sleep(time.Millisecond) {
				if syscall.Kill(pids[0], 0) == syscall.ESRCH {
					pids = pids[1:]
				} else if time.Now().After(bound) {
					t.Fatalf("processes %v are left", pids)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v are left, %v", left, err)
			}
		})
	}
}

// TestVictim is what TestNothingIsLeftRunning runs.
func TestVictim(t *testing.T) {
	how := os.Getenv("VICTIM")
	if how == "" {
		t.Skip("it is run by TestNothingIsLeftRunning")
	}
	s := servertest.Start(t, servertest.Options{Children: 2})
	children := s.Children()
	fmt.Printf("serving %d %d %d\n", s.Pid(), children[0].Pid, children[1].Pid)
	if how == "panic" {
		panic("as asked")
	}
	select {}
}
