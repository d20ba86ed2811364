//go:build linux

package tined_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest/servertest"
	"github.com/tined/tined/configs"
)

// sweep is a module with a chore: it adds to a shared counter, which its routes answer with, and does what its block says.
type sweep struct{ swept *tined.Counter }

func (sweep) Spec() configs.BlockSpec {
	return configs.BlockSpec{Name: "sweep", Attributes: []configs.Attribute{
		{Name: "every", Type: configs.Duration, Default: "100ms"},
		{Name: "timeout", Type: configs.Duration, Default: "20s"},
		{Name: "how", Type: configs.String, Default: "well", OneOf: []string{"well", "never", "slowly", "refuse"}},
	}}
}

func (s sweep) Open(*configs.Block, *module.Env) (module.Instance, error) {
	return module.Instance{Handler: web.StringFunc(func(*web.Request) string { return fmt.Sprint(s.swept.Load()) })}, nil
}

func (s sweep) Chores(block *configs.Block, _ *module.Env) ([]module.Chore, error) {
	how := block.String("how")
	if how == "refuse" {
		return nil, errors.New("there is no broom")
	}
	run := func(ctx context.Context) error {
		note("sweep %d %v %v", os.Getpid(), tined.IsChild(), block.Duration("every"))
		s.swept.Add(1)
		switch how {
		case "never":
			select {}
		case "slowly":
			<-ctx.Done()
			note("told: %v", context.Cause(ctx))
			for !exists(os.Getenv("NOTES") + ".end") {
				time.Sleep(time.Millisecond) // a file tells nobody of its birth
			}
			note("finished")
		}
		return nil
	}
	return []module.Chore{{Name: "floor", Every: block.Duration("every"), Timeout: block.Duration("timeout"), Run: run}}, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// sweeping is a configuration of n children with this block of sweep, "" for none, in a file that a test may change.
func sweeping(t *testing.T, n int, block string) (config string, change func(block string)) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "site.hcl")
	change = func(block string) {
		t.Helper()
		if block != "" {
			block = "  route \"/swept\" {\n    " + block + "\n  }\n"
		}
		if err := os.WriteFile(name, []byte("site \"test\" {\n"+block+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(block)
	return fmt.Sprintf("children = %d\ndrain_timeout = \"20s\"\ninclude = [%q]\nlisten \"test\" {\n  address = \"127.0.0.1:0\"\n}\n", n, name), change
}

// swept is what the route of sweep answers.
func swept(t *testing.T, s *servertest.Server) int {
	t.Helper()
	n, err := strconv.Atoi(s.Get("/swept"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sweepers are the processes that have swept, each once, and how often they did.
func sweepers(t *testing.T, file string) (pids []int, sweeps int) {
	t.Helper()
	for _, line := range notes(t, file, "sweep ") {
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			continue
		}
		if sweeps++; !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids, sweeps
}

// Invariant 19: a chore runs in one process, however many children there are; and what it shares, it shares with them.
func TestChoresRunOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	config, _ := sweeping(t, 3, "sweep {}")
	s := servertest.Start(t, servertest.Options{Config: config, Env: []string{"NOTES=" + file}})
	until(t, "four sweeps", func() bool { return swept(t, s) >= 4 })
	pids, _ := sweepers(t, file)
	if len(pids) != 1 || pids[0] == s.Pid() || slices.ContainsFunc(s.Children(), func(c servertest.Child) bool { return c.Pid == pids[0] }) {
		t.Fatalf("swept by %d; the master is %d, the children are %+v", pids, s.Pid(), s.Children())
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pids[0]))
	if err != nil || strings.TrimRight(string(line), "\x00") != "prog: housekeeper" {
		t.Errorf("its name is %q, %v", line, err)
	}
	if got := notes(t, file, fmt.Sprintf("sweep %d ", pids[0]))[0]; got != "false 100ms" {
		t.Errorf("%q", got)
	}
	if starts := notes(t, file, "start 1 child "); len(starts) != 3 {
		t.Errorf("start hooks ran %d times", len(starts))
	}

	// Killed, it has a successor.
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "its successor sweeps", func() bool { pids, _ = sweepers(t, file); return len(pids) == 2 })
	if err := syscall.Kill(pids[1], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "the third one sweeps", func() bool { pids, _ := sweepers(t, file); return len(pids) == 3 })
	if s.Stop(); strings.Contains(s.Log(), "panic") {
		t.Error("something panicked")
	}
}

func TestChoresOfASingleProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	config, _ := sweeping(t, 1, "sweep {}")
	s := servertest.Start(t, servertest.Options{Config: config, Args: []string{"--single-process"}, Env: []string{"NOTES=" + file}})
	until(t, "two sweeps", func() bool { return swept(t, s) >= 2 })
	if pids, _ := sweepers(t, file); len(pids) != 1 || pids[0] != s.Pid() {
		t.Errorf("swept by %d, and not by %d", pids, s.Pid())
	}
}

// A reload changes the interval, is refused with the module's own words, ends the housekeeper, and brings it back.
func TestReloadOfChores(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	config, change := sweeping(t, 1, `sweep { every = "10h" }`)
	s := servertest.Start(t, servertest.Options{Config: config, Env: []string{"NOTES=" + file}})
	reload := func(block, log string, n int) {
		t.Helper()
		change(block)
		s.Signal(syscall.SIGHUP)
		s.AwaitLogs(log, n)
	}
	reload(`sweep { every = "50ms" }`, `"msg":"reloaded","generation":2`, 1)
	until(t, "it sweeps by the new interval", func() bool { return swept(t, s) >= 2 })
	before, _ := sweepers(t, file)
	reload(`sweep { how = "refuse" }`, "the housekeeper cannot serve it: ", 1)
	if !regexp.MustCompile(`the housekeeper cannot serve it: \S*site\.hcl:2:\d+: sweep: there is no broom`).MatchString(s.Log()) {
		t.Error("the reason of the refusal is not the module's")
	}
	n := swept(t, s)
	until(t, "it sweeps on", func() bool { return swept(t, s) > n })
	reload("", "the housekeeper has ended", 1)
	if pids, _ := sweepers(t, file); !slices.Equal(pids, before) || len(pids) != 1 {
		t.Errorf("swept by %d, before by %d", pids, before)
	}
	if err := syscall.Kill(before[0], 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the housekeeper still is there: %v", err)
	}
	reload(`sweep { every = "50ms" }`, "the housekeeper serves", 2)
	until(t, "a new one sweeps", func() bool { pids, _ := sweepers(t, file); return len(pids) == 2 })
}

func TestStartWithChoresThatRefuse(t *testing.T) {
	config, _ := sweeping(t, 1, `sweep { how = "refuse" }`)
	log := servertest.Fail(t, servertest.Options{Config: config})
	if !regexp.MustCompile(`(?m)^\S*site\.hcl:2:\d+: sweep: there is no broom$`).MatchString(log) {
		t.Errorf("no reason in:\n%s", log)
	}
}

// A chore that does not return ends with its process, which says where it hangs.
func TestHangingChore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	config, _ := sweeping(t, 1, `sweep {
      timeout = "10ms"
      how     = "never"
    }`)
	s := servertest.Start(t, servertest.Options{Config: config, Env: []string{"NOTES=" + file}})
	s.AwaitLog("did not return within 10ms")
	until(t, "it is tried again", func() bool { pids, _ := sweepers(t, file); return len(pids) == 2 })
	for _, want := range []string{"SIGABRT", "housekeeper_test.go", "a chore has failed"} {
		if !strings.Contains(s.Log(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
	s.Signal(syscall.SIGINT) // its run would be waited for
	s.Wait()
}

// A stop tells a chore to end, and waits for it.
func TestStopWaitsForAChore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	config, _ := sweeping(t, 2, `sweep { how = "slowly" }`)
	s := servertest.Start(t, servertest.Options{Config: config, Env: []string{"NOTES=" + file}})
	s.AwaitFile(file, "sweep ")
	s.Signal(syscall.SIGTERM)
	s.AwaitFile(file, "told: the housekeeper stops")
	s.AwaitFile(file, "exit child 0")
	s.AwaitFile(file, "exit child 1")
	if err := syscall.Kill(s.Pid(), 0); err != nil {
		t.Errorf("the master has not waited: %v", err)
	}
	if err := os.WriteFile(file+".end", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Wait()
	if len(notes(t, file, "finished")) != 1 {
		t.Error("the chore was not waited for")
	}
}

// until waits for what tells nobody that it has come.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for bound := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(bound) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
