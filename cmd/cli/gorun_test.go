package cli

import (
	"strings"
	"testing"

	"github.com/tined/tined/netcore/control"
)

func TestBuiltByGoRun(t *testing.T) {
	const sum = "b2dce7f303bb21c1ea29213ee2c3142ccf747b823164273fa8004972604be569"
	for executable, want := range map[string]bool{
		"/tmp/go-build1073768759/b001/exe/hello":           true,
		"/elsewhere/go-build5/b001/exe/hello":              true, // GOTMPDIR
		"/root/.cache/go-build/b2/" + sum + "-d/hello":     true, // kept from an earlier run
		"/elsewhere/b2/" + sum + "-d/hello":                true, // GOCACHE
		"/tmp/go-build1073768759/b001/cli.test":            false,
		"/tmp/go-build1073768759/b001/exe/sub/hello":       false,
		"/root/.cache/go-build/b3/" + sum + "-d/hello":     false,
		"/root/.cache/go-build/b2/" + sum[1:] + "-d/hello": false,
		"/root/.cache/go-build/b2/" + sum + "/hello":       false,
		"/usr/bin/hello":                        false,
		"/home/go-build/exe/hello":              false,
		"/home/me/go-build1/b001/exe-old/hello": false,
		"hello":                                 false,
		"":                                      false,
		"/srv/__debug_bin123":                   false,
		"/root/.cache/go-build/b2/" + sum + "-d/deeper/prog": false,
	} {
		if got := builtByGoRun(executable); got != want {
			t.Errorf("%q: %v, want %v", executable, got, want)
		}
	}
}

// `run` is one process when asked to be, and under go run when not asked to be another.
func TestRunChoosesTheProcesses(t *testing.T) {
	defer childIndex.Store(-1)
	const byGoRun, built = "/tmp/go-build1/b001/exe/prog", "/usr/bin/prog"
	for _, c := range []struct {
		executable string
		args       []string
		single     bool
		hint       bool
	}{
		{built, nil, false, false},
		{built, []string{"run"}, false, false},
		{built, []string{"run", "--single-process"}, true, false},
		{byGoRun, nil, true, true},
		{byGoRun, []string{"run"}, true, true},
		{byGoRun, []string{"run", "--single-process"}, true, false},
		{byGoRun, []string{"run", "--single-process=false"}, false, false},
		{byGoRun, []string{"check"}, false, false},
	} {
		childIndex.Store(-1)
		status, _, stderr, asked := callAs(t, c.executable, library(t), c.args...)
		if status != exitOK || (asked != nil && asked.Host != nil) != c.single {
			t.Errorf("%s %q: status %d, %s", c.executable, c.args, status, stderr)
		}
		if hint := strings.Contains(stderr, "`go run`"); hint != c.hint || strings.Count(stderr, "\n") > 1 {
			t.Errorf("%s %q prints %q", c.executable, c.args, stderr)
		}
		if index, ok := ChildIndex(); ok != c.single || ok && index != 0 {
			t.Errorf("%s %q: child %d, %v", c.executable, c.args, index, ok)
		}
	}
}

// The children of a single process end like any other when they have no master.
func TestHostedChildNeedsItsMaster(t *testing.T) {
	defer childIndex.Store(-1)
	ours, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int)
	go func() { ended <- library(t).host()(0, conn) }()
	if m, _, err := ours.Receive(); err != nil || m.Kind() != control.KindHello {
		t.Errorf("%v, %v", m, err)
	}
	ours.Close()
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
}
