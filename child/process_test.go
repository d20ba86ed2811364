package child

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

func workersBlock(least, most, queue int, idle string) string {
	return fmt.Sprintf("workers {\n  min = %d\n  max = %d\n  queue = %d\n  idle = %q\n}\n", least, most, queue, idle)
}

// A commit gives the pools that there are the numbers of its configuration, whatever the operator has set, and the gates of retired
// generations with them: what waits there goes on.
func TestWorkersFollowTheCommit(t *testing.T) {
	b := newBlocker()
	code := routes{"/blocked": b, "/free": text("free")}
	tc := start(t, workersBlock(1, 4, 8, "10s"), code)
	site := "site \"main\" {}\n"
	var peers []*peer
	for range 9 { // 3 run, 6 wait: three quarters of each
		p := tc.dial()
		p.send(blocked)
		peers = append(peers, p)
	}
	tc.until("they run and wait", func(l *loop) bool {
		g := l.routeOf("/blocked").gate
		return g.running == 3 && g.waiting.length == 6
	})
	tc.resize(1, 2)
	tc.reloads(workersBlock(2, 8, 100, "20s")+site, 2)
	tc.poolMu.Lock()
	o := tc.child.pool
	tc.poolMu.Unlock()
	if o.Min != 2 || o.Max != 8 || o.Queue != 100 || o.Idle.Seconds() != 20 {
		t.Errorf("%+v", o)
	}
	if s := tc.poolOf("").Stats(); s.Min != 2 || s.Max != 8 {
		t.Errorf("%+v", s)
	}
	tc.until("six of the old run", func(l *loop) bool {
		return len(l.retired) == 1 && l.retired[0].exchanges == 9 && l.waiting() == 3
	})
	tc.resize(1, 16)
	tc.until("all of the old run", func(l *loop) bool { return l.waiting() == 0 })
	for range 9 {
		await(t, "a handler", b.begun)
	}
	tc.reloads(workersBlock(2, 8, 100, "20s")+site, 3)
	if s := tc.poolOf("").Stats(); s.Max != 8 {
		t.Errorf("what the operator has set outlives a commit: %+v", s)
	}
	close(b.gate)
	for _, p := range peers {
		if r := p.answer("GET"); r.Status != 200 {
			t.Errorf("%d", r.Status)
		}
	}
}

// The new limit of connections holds for those that are open, both ways.
func TestConnectionsFollowTheCommit(t *testing.T) {
	most := func(n int) string { return fmt.Sprintf("limits {\n  connections = %d\n}\nsite \"main\" {}\n", n) }
	tc := start(t, most(2), routes{"GET /x": text("x")})
	first, second, third := tc.dial(), tc.dial(), tc.dial()
	first.get("/x")
	second.get("/x")
	third.send(getX)
	tc.until("accepting pauses", func(l *loop) bool { return l.choked && l.table.Len() == 2 })
	tc.reloads(most(3), 2)
	third.answer("GET")
	tc.reloads(most(1), 3)
	fourth := tc.dial()
	fourth.send(getX)
	for _, p := range []*peer{first, second, third} {
		p.get("/x")
		p.Conn.Close()
	}
	fourth.answer("GET")
}

// The log's level is the configuration's from a commit on, and the operator's in between.
func TestLogLevelFollowsTheCommit(t *testing.T) {
	level := func(level string) string { return fmt.Sprintf("log {\n  level = %q\n}\nsite \"main\" {}\n", level) }
	tc := start(t, level("warn"), nil)
	says := func(what string, heard bool) {
		t.Helper()
		tc.logLine(levelDebug, what)
		tc.logLine(levelError, "end of "+what)
		tc.until("the end", func(*loop) bool { return strings.Contains(tc.loggedLines(), "end of "+what) })
		if strings.Contains(tc.loggedLines(), `"`+what+`"`) != heard {
			t.Errorf("%s is logged: %v", what, !heard)
		}
	}
	sets := func(level string) {
		t.Helper()
		tc.tell(&control.LogLevel{Level: level})
		tc.prepares("site \"main\" {}\n", 99, nil, nil, nil) // after it; nothing of it holds before a commit
		tc.tell(&control.Abort{Generation: 99})
	}
	tc.reloads(level("info"), 2)
	says("one", false)
	sets("debug")
	says("two", true)
	sets("loud")
	says("three", true)
	tc.reloads(level("info"), 3)
	says("four", false)
	tc.reloads(level("debug"), 4)
	says("five", true)
	if !strings.Contains(tc.loggedLines(), "loud") {
		t.Error("an unknown level is not reported")
	}
}

// pin binds all threads to one core and gives them back what they had.
func TestPinAndBack(t *testing.T) {
	tc := start(t, "", nil)
	if tc.cores == nil {
		t.Skip("the system does not tell the cores")
	}
	threads := func() (sets []unix.CPUSet) {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Skip(err)
		}
		for _, e := range entries {
			var tid int
			fmt.Sscan(e.Name(), &tid)
			var set unix.CPUSet
			if unix.SchedGetaffinity(tid, &set) == nil {
				sets = append(sets, set)
			}
		}
		return sets
	}
	runtime.LockOSThread() // one more than the scheduler's
	defer runtime.UnlockOSThread()
	for range 2 {
		tc.pin(true)
		for _, set := range threads() {
			if set != nthCore(tc.cores, 0) {
				t.Errorf("a thread has %d cores", set.Count())
			}
		}
		tc.pin(true)
		tc.pin(false)
		for _, set := range threads() {
			if set != *tc.cores {
				t.Errorf("a thread has %d cores again, and not %d", set.Count(), tc.cores.Count())
			}
		}
	}
	if tc.cores.Count() > 1 {
		if one, two := nthCore(tc.cores, 0), nthCore(tc.cores, 1); one == two || two.Count() != 1 {
			t.Error("the first core is the second")
		}
	}
}

// Where a filter of system calls forbids it, as that of a hardened unit, the child serves unpinned and says what allows it.
func TestPinThatIsForbidden(t *testing.T) {
	tc := start(t, "", nil)
	if tc.cores == nil {
		t.Skip("the system does not tell the cores")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the filter ends with the thread
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SCHED_SETAFFINITY, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if err == nil {
			tc.pin(true)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skipf("no filter can be set here: %v", err)
	}
	if tc.pinned {
		t.Error("it takes itself for pinned")
	}
	tc.until("it is said what allows it", func(*loop) bool { return strings.Contains(tc.loggedLines(), "SystemCallFilter=sched_setaffinity") })
}

// A commit takes over everything that concerns the process; a preparation nothing.
func TestTimeoutsFollowTheCommit(t *testing.T) {
	tc := start(t, "drain_timeout = \"1s\"\n", nil)
	now := func() string {
		tc.child.mu.Lock()
		defer tc.child.mu.Unlock()
		return fmt.Sprint(tc.drainTimeout, " ", tc.orphanTimeout)
	}
	before := now()
	tc.prepares("drain_timeout = \"7s\"\norphan_timeout = \"8s\"\nsite \"main\" {}\n", 2, nil, nil, nil)
	if now() != before {
		t.Error(now())
	}
	tc.tell(&control.Commit{Generation: 2})
	heard[*control.Committed](tc)
	if now() != "7s 8s" {
		t.Error(now())
	}
}
