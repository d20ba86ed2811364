package cli

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// The tests of the init role run this test binary as stub and as master: playPart says what a process plays.
const playPart = "CLI_TEST_PART"

const playStarted = "TEST_STUB_STARTED" // set once a stub runs

func TestMain(m *testing.M) {
	part := os.Getenv(playPart)
	if part == "" {
		os.Exit(m.Run())
	}
	time.AfterFunc(time.Minute, func() { os.Exit(99) }) // no part outlives its test for long, whatever goes wrong
	if control.Role() == "" {
		// A master that does not see its role would play the stub again, and start the next one: a chain without an end.
		if os.Getenv(playStarted) != "" {
			os.Exit(98)
		}
		os.Setenv(playStarted, "1")
		status, err := runInit(os.Args)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(status)
	}
	os.Unsetenv(control.EnvRole) // as Main does
	channel, err := inheritedInit()
	if err == nil {
		err = parts[part](channel)
	}
	if err != nil {
		fmt.Println("error:", err)
	}
	os.Exit(1)
}

// parts are masters. They report on stdout, a line each.
var parts = map[string]func(channel *os.File) error{
	// ends at once with a status
	"exit 7": func(*os.File) error { os.Exit(7); return nil },

	// is killed
	"killed": func(*os.File) error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) },

	// tells every signal, and ends by TERM
	"signals": func(*os.File) error {
		return untilTerm("master", 3)
	},

	// leaves an orphan that ends, and waits until somebody has reaped it
	"orphan": func(*os.File) error {
		orphan, err := exec.Command("sh", "-c", "sleep 0.01 >/dev/null & echo $!").Output()
		if err != nil {
			return err
		}
		stat := filepath.Join("/proc", strings.TrimSpace(string(orphan)), "stat")
		for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
			if _, err := os.Stat(stat); os.IsNotExist(err) {
				fmt.Println("reaped")
				os.Exit(0)
			}
		}
	},

	// starts a successor, as an upgrade does, and ends once told by USR1
	"upgrade": func(channel *os.File) error {
		if _, err := startSuccessor("successor", channel); err != nil {
			return err
		}
		go func() { _ = untilTerm("master", 3) }()
		wait(unix.SIGUSR2)
		os.Exit(0)
		return nil
	},

	// is the new master from now on
	"successor": func(channel *os.File) error {
		if err := sayMaster(channel); err != nil {
			return err
		}
		return untilTerm("successor", 5)
	},

	// starts a successor that says so and dies, and serves on
	"sick upgrade": func(channel *os.File) error {
		p, err := startSuccessor("sick successor", channel)
		if err != nil {
			return err
		}
		if _, err := p.Wait(); err != nil {
			return err
		}
		return untilTerm("master", 3)
	},
	"sick successor": func(channel *os.File) error { return sayMaster(channel) },
}

func startSuccessor(part string, channel *os.File) (*os.Process, error) {
	os.Setenv(playPart, part)
	return os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), control.EnvRole+"="+roleMaster, envInit+"="+strconv.Itoa(fdInit)),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, channel},
	})
}

// untilTerm says what it is, tells its signals, and ends the process by TERM.
func untilTerm(who string, status int) error {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGHUP, unix.SIGUSR1, unix.SIGTERM)
	fmt.Println(who, os.Getpid())
	for s := range ch {
		fmt.Println(who, unix.SignalName(s.(syscall.Signal)))
		if s == unix.SIGTERM {
			os.Exit(status)
		}
	}
	return nil
}

func wait(s os.Signal) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, s)
	<-ch
}

// play starts a stub with a master that plays a part. lines yields what the masters say.
func play(t *testing.T, part string, attr *syscall.SysProcAttr) (stub *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	stub = exec.Command(os.Args[0])
	stub.Env = append(os.Environ(), playPart+"="+part)
	stub.SysProcAttr = attr
	stub.Stderr = os.Stderr
	out, err := stub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stub.Start(); err != nil {
		t.Fatal(err)
	}
	bound := time.AfterFunc(20*time.Second, func() { _ = stub.Process.Kill() })
	t.Cleanup(func() { bound.Stop(); _ = stub.Process.Kill(); _ = stub.Wait() })
	return stub, bufio.NewScanner(out)
}

// expect reads the next line; want may end in "*".
func expect(t *testing.T, lines *bufio.Scanner, want string) string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("nothing more is said, want %q", want)
	}
	got := lines.Text()
	prefix, pattern := strings.CutSuffix(want, "*")
	if got != want && (!pattern || !strings.HasPrefix(got, prefix)) {
		t.Fatalf("got %q, want %q", got, want)
	}
	return got
}

func expectStatus(t *testing.T, stub *exec.Cmd, want int) {
	t.Helper()
	_ = stub.Wait() // a status is an error there
	if got := stub.ProcessState.ExitCode(); got != want {
		t.Errorf("the stub ended with %d, want %d", got, want)
	}
}

func send(t *testing.T, p *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Invariant 16 of docs/ARCHITECTURE.md, here and below.
func TestInitEndsWithTheMastersStatus(t *testing.T) {
	for part, want := range map[string]int{"exit 7": 7, "killed": 128 + 9} {
		stub, _ := play(t, part, nil)
		expectStatus(t, stub, want)
	}
}

func TestInitForwardsSignals(t *testing.T) {
	stub, lines := play(t, "signals", nil)
	said := expect(t, lines, "master *")
	if said == fmt.Sprint("master ", stub.Process.Pid) {
		t.Fatal("the stub itself plays the master")
	}
	send(t, stub, unix.SIGHUP)
	expect(t, lines, "master SIGHUP")
	send(t, stub, unix.SIGUSR1)
	expect(t, lines, "master SIGUSR1")
	send(t, stub, unix.SIGTERM)
	expect(t, lines, "master SIGTERM")
	expectStatus(t, stub, 3)
}

func TestInitReapsOrphans(t *testing.T) {
	stub, lines := play(t, "orphan", nil)
	expect(t, lines, "reaped")
	expectStatus(t, stub, 0)
}

// The master is replaced, as by an upgrade: signals go to the new one as soon as it says so, and its status is the one that counts.
func TestInitFollowsASuccessor(t *testing.T) {
	stub, lines := play(t, "upgrade", nil)
	seen := map[string]string{}
	for range 2 {
		who, pid, _ := strings.Cut(expect(t, lines, "*"), " ")
		seen[who] = pid
	}
	send(t, stub, unix.SIGHUP)
	expect(t, lines, "successor SIGHUP")
	old, err := strconv.Atoi(seen["master"])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(old, unix.SIGUSR2); err != nil { // the old one ends
		t.Fatal(err)
	}
	for tick := time.NewTicker(time.Millisecond); syscall.Kill(old, 0) == nil; <-tick.C { // until the stub has reaped it
	}
	send(t, stub, unix.SIGUSR1)
	expect(t, lines, "successor SIGUSR1")
	send(t, stub, unix.SIGTERM)
	expect(t, lines, "successor SIGTERM")
	expectStatus(t, stub, 5)
}

// A successor that is gone again leaves the old master in charge.
func TestInitGoesBackToTheOldMaster(t *testing.T) {
	stub, lines := play(t, "sick upgrade", nil)
	expect(t, lines, "master *")
	send(t, stub, unix.SIGTERM)
	expect(t, lines, "master SIGTERM")
	expectStatus(t, stub, 3)
}

func TestInitAsProcess1(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: a namespace of processes cannot be made")
	}
	own := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	stub, lines := play(t, "signals", own)
	expect(t, lines, "master *")
	send(t, stub, unix.SIGTERM)
	expect(t, lines, "master SIGTERM")
	expectStatus(t, stub, 3)

	stub, lines = play(t, "upgrade", own)
	var old string
	for range 2 {
		if who, pid, _ := strings.Cut(expect(t, lines, "*"), " "); who == "master" {
			old = pid
		}
	}
	if old == "" {
		t.Fatal("the old master is silent")
	}
	send(t, stub, unix.SIGTERM)
	expect(t, lines, "successor SIGTERM")
}
