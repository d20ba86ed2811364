package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The end-to-end tests: each file of testdata/script runs real servers, built from this tree, and talks to them over sockets. The files
// are numbered so that what everything else needs fails first. The commands that they have beside testscript's own:
//
//	status N PROGRAM ARG...                 exec, with exactly this exit status
//	serve [-name NAME] [-cmd PROGRAM] [-pid1] ARG...   start PROGRAM (tined; or an absolute path) and wait for its start line. Sets $URL,
//	                                        $ADDR, $PORT and $PID, or $NAME_URL…; its output is in NAME.stdout and NAME.stderr (server.…)
//	signal SIGNAL [NAME | PID]              send a signal to it
//	ended [-status N] [NAME]                wait for its end, with status 0 or N
//	http [-body] [-d TEXT | -f FILE] [-chunked] [-unix PATH] METHOD URL ['Field: value']...
//	                                        one request on a connection of its own; prints the response, or its body alone
//	raw [-half] ADDR FILE                   send the file's lines, each ended by CR LF, and print what comes until the end of the stream
//	dial CONN ADDR; send CONN FILE; recv [-body] CONN; eof CONN; hangup CONN
//	                                        a connection step by step; recv prints one response
//	processes                               set $MASTER and $CHILD0… to the process ids that status reports
//	respawned INDEX PID                     wait until child INDEX serves and is not PID
//	await FILE REGEXP                       wait until the file matches
//	hold ADDR                               see to it that somebody listens on ADDR
//	traffic start ADDR PATH CLIENTS; traffic flows; traffic end
//	                                        clients that ask again and again on connections that they keep; no request may fail
//
// Output is printed with LF for CR LF and with the Date field's value left out, so that it can be compared.
//
// Whatever a script leaves running is stopped by SIGTERM and must end with status 0; a process that is left after that is a failure. A server
// that was upgraded is another process than the one that was started: the script stops it.

// buildFlags build the servers like the tests.
var buildFlags []string

// patience bounds every wait of a script. It is reached only by a failure.
const patience = 30 * time.Second

// programs is the folder of the built binaries.
var programs string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "tined-e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	args := append([]string{"build"}, buildFlags...)
	args = append(args, "-ldflags", "-X main.version=0.0.0-test", "-o", programs+string(filepath.Separator), ".", "../hello")
	build := exec.Command("go", args...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs under test:", err)
		return 1
	}
	return m.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", programs+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("TINED_CONTROL", filepath.Join(env.WorkDir, "control.sock"))
			env.Setenv(marker, env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			w := newWorld(t, env.WorkDir)
			env.Values[worldKey{}] = w
			env.Defer(w.end)
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": cmdServe, "signal": cmdSignal, "ended": cmdEnded, "processes": cmdProcesses, "status": cmdStatus, "respawned": cmdRespawned,
			"http": cmdHTTP, "raw": cmdRaw, "dial": cmdDial, "send": cmdSend, "recv": cmdRecv, "eof": cmdEOF, "hangup": cmdHangup,
			"await": cmdAwait, "shows": cmdShows, "hold": cmdHold, "traffic": cmdTraffic,
		},
	})
}

// condition adds [exists:PATH], [ipv6] and [pidns] to testscript's own.
func condition(name string) (bool, error) {
	if path, ok := strings.CutPrefix(name, "exists:"); ok {
		_, err := os.Stat(path)
		return err == nil, nil
	}
	switch name {
	case "ipv6":
		l, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			return false, nil
		}
		return true, l.Close()
	case "pidns":
		cmd := exec.Command("true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		return cmd.Run() == nil, nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}
