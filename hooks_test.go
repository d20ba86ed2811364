//go:build linux

package tined_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tined/tined/child/web/webtest/servertest"
)

func TestHooksRunInOrder(t *testing.T) {
	for _, c := range []struct {
		name     string
		children int
		args     []string
		isChild  bool // in the master
	}{
		{"children", 2, nil, false},
		{"single process", 1, []string{"--single-process"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "notes")
			s := servertest.Start(t, servertest.Options{Children: c.children, Args: c.args, Env: []string{"NOTES=" + file}})
			// A handler that runs when the drain begins, and that its hook ends.
			response, err := s.Client.Get(s.URL + "/until-drain")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body := bufio.NewReader(response.Body)
			if line, err := body.ReadString('\n'); err != nil || line != "begun\n" {
				t.Fatalf("%q, %v", line, err)
			}
			s.Signal(syscall.SIGTERM)
			if rest, err := io.ReadAll(body); err != nil || string(rest) != "drained\n" {
				t.Errorf("the handler's end: %q, %v", rest, err)
			}
			s.Wait()

			if got, want := notes(t, file, "master "), []string{fmt.Sprintf("1 %v 1000", c.isChild), "2 from main"}; !slices.Equal(got[:2], want) {
				t.Errorf("master: %q", got)
			}
			text, err := os.ReadFile(file)
			if err != nil || !strings.HasPrefix(string(text), "master 1 ") || strings.Index(string(text), "master 2") > strings.Index(string(text), "start 1") {
				t.Errorf("the master's hooks come first: %v\n%s", err, text)
			}
			for i := range c.children {
				got := notes(t, file, fmt.Sprintf(" child %d", i))
				want := []string{fmt.Sprintf("start 1 true %d from the master", i), "start 2", "ready", "drain"}
				if len(got) != 6 || !slices.Equal(got[:4], want) || !slices.Contains(got, "context ends") || !slices.Contains(got, "exit") {
					t.Errorf("child %d: %q", i, got)
				}
			}
		})
	}
}

// A hook that fails or panics refuses the start, with its place and its reason, and is not tried again.
func TestHooksRefuseTheStart(t *testing.T) {
	for _, hook := range []string{"OnMaster", "OnChildStart"} {
		for _, c := range []struct{ how, want string }{
			{"FAIL", `(?m)` + hook + ` of \S*main_test\.go:\d+: no database$`},
			{"PANIC", `(?m)` + hook + ` of \S*main_test\.go:\d+ panicked at \S*main_test\.go:\d+: as asked$`},
			{"GOEXIT", `(?m)` + hook + ` of \S*main_test\.go:\d+ ended its goroutine and did not return$`},
		} {
			t.Run(hook+" "+c.how, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "notes")
				log := servertest.Fail(t, servertest.Options{Env: []string{"NOTES=" + file, c.how + "=" + hook}})
				if n := len(regexp.MustCompile(c.want).FindAllString(log, -1)); n != 1 {
					t.Errorf("%d lines match %s in:\n%s", n, c.want, log)
				}
				if hook == "OnMaster" && len(notes(t, file, "start ")) > 0 {
					t.Error("a child was started")
				}
				if tries := notes(t, file, "start 1 child 0"); len(tries) > 1 {
					t.Errorf("it was tried again: %q", tries)
				}
			})
		}
	}
}

// A panic in a hook that cannot refuse anything is in the log, and the child serves on.
func TestPanicOfALaterHookIsLogged(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Children: 1, Env: []string{"PANIC=OnReady"}})
	s.AwaitLog("hook on ready")
	if pattern := `OnReady of \S*main_test\.go:\d+ panicked at \S*main_test\.go:\d+: as asked`; !regexp.MustCompile(pattern).MatchString(s.Log()) {
		t.Errorf("no line matches %s", pattern)
	}
	s.Get("/pid")
}

// Every life of a child has its own hooks.
func TestRespawnedChildRunsItsHooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	s := servertest.Start(t, servertest.Options{Children: 1, Env: []string{"NOTES=" + file}})
	s.Kill(0)
	s.Drain(0)
	s.Stop()
	got := strings.Join(notes(t, file, " child 0"), "\n")
	if starts, exits := strings.Count(got, "start 2"), strings.Count(got, "exit"); starts != 3 || exits != 2 {
		t.Errorf("%d starts and %d exits, want 3 and 2:\n%s", starts, exits, got)
	}
	if masters := notes(t, file, "master 1"); len(masters) != 1 {
		t.Errorf("the master's hook ran %d times", len(masters))
	}
}

// A stop does not wait for a hook of the master that honours its context, nor does it start children after it.
func TestStopDuringTheMastersHook(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes")
	s := servertest.Begin(t, servertest.Options{Env: []string{"NOTES=" + file, "FAIL=hang"}})
	s.AwaitFile(file, "master 2")
	s.Signal(syscall.SIGINT)
	s.Wait()
	if started := notes(t, file, "start 1"); len(started) > 0 {
		t.Errorf("children were started: %q", started)
	}
}

func TestChildMustRegisterWhatTheMasterHas(t *testing.T) {
	log := servertest.Fail(t, servertest.Options{Env: []string{"EXTRA=childs-own"}})
	for _, want := range []string{`"childs-own"`, "register the same ones in the same order in every process"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in:\n%s", want, log)
		}
	}
}

// What a child finds in its configuration and its master does not comes from the code.
func TestChildMustRegisterTheMastersRoutes(t *testing.T) {
	log := servertest.Fail(t, servertest.Options{
		Env: []string{"ROUTE=GET /extra"},
		Config: `listen "test" {
  address = "127.0.0.1:0"
}
site "test" {
  route "GET /extra" {
    respond {}
  }
}
`,
	})
	for _, want := range []string{"register the same routes, functions and modules before Main in every process", `"GET /extra" is registered in code too`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in:\n%s", want, log)
		}
	}
}
