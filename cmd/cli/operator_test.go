package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

// desk is a master as its clients see it: it notes what it is asked, and answers as the test says.
type desk struct {
	t      *testing.T
	path   string // of the control socket
	server *httptest.Server

	mu      sync.Mutex
	asked   []string          // method, target and body of each request
	answers map[string]answer // by method and path
	each    func(asked int)   // called with each request; nil: nothing
}

type answer struct {
	code int
	body any // a string is sent as it is
}

// newDesk starts one; a request for which there is no answer is never answered.
func newDesk(t *testing.T, answers map[string]answer) *desk {
	t.Helper()
	d := &desk{t: t, path: filepath.Join(t.TempDir(), "control.sock"), answers: answers}
	l, err := net.Listen("unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	d.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: d}}
	d.server.Start()
	t.Cleanup(d.server.Close)
	return d
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	d.asked = append(d.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL, body)))
	a, known := d.answers[r.Method+" "+r.URL.Path]
	if d.each != nil {
		d.each(len(d.asked))
	}
	d.mu.Unlock()
	if !known {
		<-r.Context().Done() // its client has given up
		return
	}
	w.WriteHeader(a.code)
	if text, ok := a.body.(string); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	_ = json.NewEncoder(w).Encode(a.body)
}

// call runs a command against the desk.
func (d *desk) call(args ...string) (status int, stdout, stderr string) {
	d.t.Helper()
	d.mu.Lock()
	d.asked = nil
	d.mu.Unlock()
	status, stdout, stderr, _ = call(d.t, bare(d.t), append(args, "--control", d.path)...)
	return status, stdout, stderr
}

func (d *desk) want(asked ...string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.asked, asked) {
		d.t.Errorf("asked %q, not %q", d.asked, asked)
	}
}

type errorBody struct {
	Error string `json:"error"`
}

// clients are the commands that ask a master, each with arguments that are right.
var clients = [][]string{
	{"status"}, {"status", "--json"}, {"status", "--watch"}, {"status", "--watch=1s", "--json"}, {"status", "--health"}, {"stop"}, {"stop", "--wait", "--fast"},
	{"workers"}, {"workers", "0", "1"}, {"reload"}, {"reload", "--wait"}, {"reload", "--no-wait"}, {"reload", "--json"}, {"plan"},
	{"plan", "--json"}, {"scale", "2"}, {"scale", "auto"}, {"restart", "0"}, {"restart", "0", "--wait"}, {"events"},
	{"events", "--follow=false", "--json"}, {"log-level"}, {"log-level", "debug"}, {"reopen-logs"},
	{"-s", "reload"}, {"-s", "quit"}, {"-s", "stop"}, {"-s", "reopen"},
	{"upgrade"}, {"upgrade", "--json", "--timeout", "5s"}, {"rollback"}, {"upgrade", "--brief", "--previous", "/x"}, {"balance"}, {"balance", "--json"},
}

func TestNotRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.sock")
	for _, args := range clients {
		status, stdout, stderr, _ := call(t, bare(t), append(args, "--control", path)...)
		if status != exitNotRunning || stdout != "" || !strings.Contains(stderr, path) || !strings.Contains(stderr, "prog run") {
			t.Errorf("%q: %d %q %q", args, status, stdout, stderr)
		}
	}
}

// A `control` that stands behind the mistakes of its file may not be seen: then the answer says so.
func TestNotRunningBehindMistakes(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	file := filepath.Join(t.TempDir(), "broken.hcl")
	if err := os.WriteFile(file, []byte("children = \"\ncontrol = \"c.sock\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr, _ := call(t, bare(t), "reload", "-c", file)
	if status != exitNotRunning || !strings.Contains(stderr, "the mistakes of "+file+" may hide its `control`: `prog check` shows them") {
		t.Errorf("%d %q", status, stderr)
	}
}

// The path of the socket is in the message once, and no URL that nobody has written.
func TestForbiddenSocket(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	status, _, stderr, _ := call(t, bare(t), "status", "--control", path)
	if status != exitFailed || strings.Count(stderr, path) != 1 || strings.Contains(stderr, "http://") || !strings.Contains(stderr, "run this as root") {
		t.Errorf("%d %q", status, stderr)
	}
}

// What the master refuses is status 1, with its own words; so is what it does not know.
func TestRefusals(t *testing.T) {
	d := newDesk(t, map[string]answer{})
	for _, op := range []string{
		"GET /v1/status", "POST /v1/stop", "GET /v1/workers", "PUT /v1/workers", "POST /v1/reload", "GET /v1/plan", "PUT /v1/children",
		"POST /v1/children/0/restart", "GET /v1/events", "GET /v1/log-level", "PUT /v1/log-level", "POST /v1/logs/reopen",
		"POST /v1/upgrade", "POST /v1/rollback", "POST /v1/balance",
	} {
		d.answers[op] = answer{403, errorBody{"user 7 may not"}}
	}
	for _, args := range clients {
		if status, stdout, stderr := d.call(args...); status != exitFailed || stdout != "" || stderr != "prog: user 7 may not\n" {
			t.Errorf("%q: %d %q %q", args, status, stdout, stderr)
		}
	}
	for op := range d.answers {
		d.answers[op] = answer{404, errorBody{"no such operation: " + op}}
	}
	for _, args := range clients {
		if status, _, stderr := d.call(args...); status != exitFailed || !strings.Contains(stderr, "is older than this command") {
			t.Errorf("%q: %d %q", args, status, stderr)
		}
	}
	d.answers["GET /v1/status"] = answer{200, master.Status{Version: "1", Pid: 7}}
	d.answers["POST /v1/upgrade"] = answer{400, errorBody{`upgrade: there is no field "previous"; known are wait, binary`}}
	if status, stdout, stderr := d.call("upgrade", "--brief", "--previous", "/x"); status != exitFailed || stdout != "" || !strings.Contains(stderr, "is older than this command") ||
		!strings.Contains(stderr, `no field "previous"`) {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
}

func TestTimedOut(t *testing.T) {
	silent := newDesk(t, nil)
	for _, args := range [][]string{
		{"reload", "--timeout", "1ms"}, {"reload", "--wait", "--timeout", "1ms"}, {"scale", "2", "--timeout", "1ms"},
		{"balance", "--timeout", "1ms"}, {"restart", "0", "--wait", "--timeout", "1ms"}, {"stop", "--wait", "--timeout", "1ms"},
	} {
		if status, stdout, stderr := silent.call(args...); status != exitTimedOut || stdout != "" || !strings.Contains(stderr, "has not finished in time") {
			t.Errorf("%q: %d %q %q", args, status, stdout, stderr)
		}
	}
	late := newDesk(t, map[string]answer{
		"PUT /v1/workers": {504, errorBody{"set, but late"}}, "POST /v1/logs/reopen": {504, errorBody{"set, but late"}},
	})
	for _, args := range [][]string{{"workers", "1", "2"}, {"reopen-logs"}, {"-s", "reopen"}} {
		if status, _, stderr := late.call(args...); status != exitTimedOut || !strings.Contains(stderr, "set, but late") {
			t.Errorf("%q: %d %q", args, status, stderr)
		}
	}
}

func TestReload(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	d := newDesk(t, map[string]answer{})
	const op = "POST /v1/reload"
	for name, c := range map[string]struct {
		args    []string
		answer  answer
		asked   string
		status  int
		out     string
		message string
	}{
		"committed": {
			[]string{"reload"},
			answer{200, master.Reload{At: at, Committed: true, Generation: 3, Seconds: .0314, Changes: make([]configs.Change, 2), Diagnostics: []string{"a:1:2: warning: odd"}}},
			`{"wait":true}`, 0, "prog: generation 3 serves: 2 changes, after 31ms\n", "a:1:2: warning: odd\n",
		},
		"without a change": {
			[]string{"reload", "--wait"}, answer{200, master.Reload{At: at, Committed: true, Generation: 3, Seconds: 1}},
			`{"wait":true}`, 0, "prog: generation 3 serves: nothing has changed, after 1s\n", "",
		},
		"mistakes": {
			[]string{"reload"},
			answer{422, master.Reload{At: at, Generation: 2, Reason: "the configuration has mistakes: a:1:2: wrong; right", Diagnostics: []string{"a:1:2: wrong; right", "a:3:4: bad"}}},
			`{"wait":true}`, 1, "", "a:1:2: wrong; right\na:3:4: bad\nprog: the reload is refused; nothing has changed, generation 2 serves\n",
		},
		"a child that cannot": {
			[]string{"reload"}, answer{409, master.Reload{At: at, Generation: 2, Reason: "child 1 cannot serve it"}},
			`{"wait":true}`, 1, "", "prog: the reload is refused: child 1 cannot serve it; nothing has changed, generation 2 serves\n",
		},
		"not waited for": {[]string{"reload", "--no-wait"}, answer{202, master.StateReply{State: "reloading"}}, `{"wait":false}`, 0, "prog: reloading\n", ""},
		"nor so":         {[]string{"reload", "--wait=false"}, answer{202, master.StateReply{State: "reloading"}}, `{"wait":false}`, 0, "prog: reloading\n", ""},
		"as a habit":     {[]string{"-s", "reload"}, answer{409, master.Reload{At: at, Generation: 2, Reason: "no"}}, `{"wait":true}`, 1, "", "prog: the reload is refused: no; nothing has changed, generation 2 serves\n"},
	} {
		d.answers[op] = c.answer
		status, stdout, stderr := d.call(c.args...)
		if status != c.status || stdout != c.out || stderr != c.message {
			t.Errorf("%s: %d %q %q", name, status, stdout, stderr)
		}
		d.want(op + " " + c.asked)
	}
	// An upgrade that comes about meanwhile: the new master is asked.
	d.answers[op] = answer{409, master.Reload{At: at, Generation: 2, Reason: master.UpgradedMeanwhile}}
	d.each = func(int) {
		d.answers[op] = answer{200, master.Reload{At: at, Committed: true, Generation: 3, Seconds: 1}}
	}
	if status, stdout, stderr := d.call("reload"); status != 0 || stdout != "prog: generation 3 serves: nothing has changed, after 1s\n" || stderr != "" {
		t.Errorf("in an upgrade: %d %q %q", status, stdout, stderr)
	}
	d.want(op+` {"wait":true}`, op+` {"wait":true}`)
	d.each = nil
	d.answers[op] = answer{409, master.Reload{At: at, Reason: "no"}}
	status, stdout, stderr := d.call("reload", "--json")
	var r master.Reload
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != exitFailed || r.Reason != "no" || stderr != "" {
		t.Errorf("%d %q %q %v", status, stdout, stderr, err)
	}
}

func TestPlan(t *testing.T) {
	d := newDesk(t, map[string]answer{})
	plan := func(p master.Plan, args ...string) (int, string, string) {
		d.answers["GET /v1/plan"] = answer{200, p}
		return d.call(append([]string{"plan"}, args...)...)
	}
	changes := []configs.Change{{Kind: "changed", What: "children", From: "2", To: "4"}}
	if status, stdout, stderr := plan(master.Plan{From: 1, To: 2, Changes: changes}); status != 0 || stderr != "" ||
		!strings.HasPrefix(stdout, "generation 1, which serves, and generation 2, which a reload would make:\n") || !strings.Contains(stdout, "2 -> 4") {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	if status, stdout, _ := plan(master.Plan{From: 1, To: 2, Diagnostics: []string{"a:1:2: warning: odd"}}); status != 0 ||
		stdout != "prog: a reload would change nothing: generation 1 serves what the files say\n" {
		t.Errorf("%d %q", status, stdout)
	}
	if status, stdout, stderr := plan(master.Plan{Refused: "mistakes: a:1:2: wrong", Diagnostics: []string{"a:1:2: wrong"}}); status != exitFailed ||
		stdout != "" || stderr != "a:1:2: wrong\nprog: a reload would be refused\n" {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	if status, stdout, stderr := plan(master.Plan{Changes: changes, Refused: "children need a restart"}); status != exitFailed ||
		!strings.Contains(stdout, "2 -> 4") || stderr != "prog: a reload would be refused: children need a restart\n" {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	for refused, want := range map[string]int{"": exitOK, "no": exitFailed} {
		status, stdout, _ := plan(master.Plan{From: 7, Refused: refused, Changes: changes}, "--json")
		var p master.Plan
		if err := json.Unmarshal([]byte(stdout), &p); err != nil || status != want || p.From != 7 || len(p.Changes) != 1 {
			t.Errorf("%d %q %v", status, stdout, err)
		}
	}
}

// What needs few words: what is asked of the master, and what is printed.
func TestShortCommands(t *testing.T) {
	children := func(count int) answer { return answer{200, master.Children{Count: count, Configured: 2}} }
	for _, c := range []struct {
		args       string
		op, body   string
		answer     answer
		out        string
		statusCode int
	}{
		{"scale 1", "PUT /v1/children", `{"count":1}`, children(1), "1 child, until a reload changes `children`, or a restart; configured: 2", 0},
		{"scale 2", "PUT /v1/children", `{"count":2}`, children(2), "2 children, as configured", 0},
		{"scale auto", "PUT /v1/children", `{"count":"auto"}`, children(8), "8 children, until a reload changes `children`, or a restart; configured: 2", 0},
		{"restart 3", "POST /v1/children/3/restart", `{"wait":false}`, answer{202, master.StateReply{State: "restarting"}}, "child 3: restarting", 0},
		{"restart 3 --wait", "POST /v1/children/3/restart", `{"wait":true}`, answer{200, master.StateReply{State: "restarted"}}, "child 3: restarted", 0},
		{"log-level", "GET /v1/log-level", "", answer{200, master.LogLevel{Level: "info", Configured: "info"}}, "info, as configured", 0},
		{
			"log-level debug", "PUT /v1/log-level", `{"level":"debug"}`, answer{200, master.LogLevel{Level: "debug", Configured: "info"}},
			"debug, until a reload or restart; configured is info", 0,
		},
		{
			"balance", "POST /v1/balance", "", answer{200, master.Balance{Moved: 3, Before: []int{6, 0}, After: []int{3, 3}}},
			"3 connections moved, [6 0] before, [3 3] after", 0,
		},
		{
			"balance", "POST /v1/balance", "", answer{200, master.Balance{Before: []int{6, 0}, After: []int{6, 0}, Reason: "all are in use"}},
			"no connection moved: the children have [6 0]; all are in use", 0,
		},
		{"reopen-logs", "POST /v1/logs/reopen", "", answer{200, master.StateReply{State: "reopened"}}, "log files are reopened", 0},
		{"-s reopen", "POST /v1/logs/reopen", "", answer{200, master.StateReply{State: "reopened"}}, "log files are reopened", 0},
		{"stop", "POST /v1/stop", `{"wait":false,"fast":false}`, answer{202, master.StopReply{State: "stopping"}}, "stopping", 0},
		{"stop --wait --fast", "POST /v1/stop", `{"wait":true,"fast":true}`, answer{200, master.StopReply{State: "stopped"}}, "stopped", 0},
		{"-s quit", "POST /v1/stop", `{"wait":false,"fast":false}`, answer{202, master.StopReply{State: "stopping"}}, "stopping", 0},
		{"-s stop", "POST /v1/stop", `{"wait":false,"fast":true}`, answer{202, master.StopReply{State: "stopping"}}, "stopping", 0},
	} {
		d := newDesk(t, map[string]answer{c.op: c.answer})
		status, stdout, stderr := d.call(strings.Fields(c.args)...)
		if status != c.statusCode || stdout != "prog: "+c.out+"\n" || stderr != "" {
			t.Errorf("%s: %d %q %q", c.args, status, stdout, stderr)
		}
		d.want(strings.TrimSpace(c.op + " " + c.body))
	}
}

func TestEvents(t *testing.T) {
	const stream = `{"id":7,"time":"2026-03-01T12:00:00.1Z","kind":"child_ended","child":1,"pid":813,"generation":2,"message":"was ended"}` + "\n" +
		`{"id":8,"time":"2026-03-01T12:00:01Z","kind":"stopping","generation":2,"message":"bye"}` + "\n"
	d := newDesk(t, map[string]answer{"GET /v1/events": {200, stream}})
	status, stdout, _ := d.call("events")
	lines := strings.Split(stdout, "\n")
	if status != 0 || len(lines) != 3 || !strings.HasSuffix(lines[0], "     7  child_ended     child 1 (pid 813): was ended") || !strings.HasSuffix(lines[1], "     8  stopping        bye") {
		t.Errorf("%d %q", status, stdout)
	}
	d.want("GET /v1/events?since=0&follow=true")
	if status, stdout, _ = d.call("events", "--json", "--since", "6", "--follow=false"); status != 0 || stdout != strings.ReplaceAll(stream, ".1Z", ".1Z") {
		t.Errorf("%d %q", status, stdout)
	}
	d.want("GET /v1/events?since=6&follow=false")
	// A stream that is cut off in the middle of an event is no end.
	d.answers["GET /v1/events"] = answer{200, stream[:200]}
	if status, _, stderr := d.call("events"); status != exitFailed || stderr == "" {
		t.Errorf("%d %q", status, stderr)
	}
}

func TestStatusText(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	keeper := 0
	s := &master.Status{
		Version: "1.2", Pid: 7, State: "serving", UptimeSeconds: 61, Configuration: "/etc/x.hcl", Generation: 3, Reloading: true,
		LastReload: &master.Reload{At: at, By: "SIGHUP", Reason: "mistakes: a:1:2: wrong", Diagnostics: []string{"a:1:2: wrong"}},
		Totals:     master.Numbers{Finished: 70, Latency: master.Latency{P50: .00041, P99: .0123456}},
		Overrides:  master.Overrides{Children: 2, Workers: &master.WorkersRequest{Min: 1, Max: 2}, LogLevel: "debug"},
		Children: []master.ChildStatus{
			{Index: 0, Pid: 8, State: "serving", Generation: 3, Numbers: &master.Numbers{Connections: 4, Finished: 5}},
			{Index: 1, State: "waiting", Faults: 2, CrashLoop: true, WaitingUntil: &at, LentTo: &keeper, LastEnd: "exited"},
			{Index: 2, Pid: 9, State: "draining", Leaving: true},
			{Index: 3, Pid: 10, State: "proved", Successor: true},
		},
	}
	text := statusText("prog", s)
	for _, line := range []string{
		"prog 1.2, pid 7: serving for 1m1s", "configuration /etc/x.hcl, generation 3", "a reload goes on",
		"last reload 2026-03-01 12:00:00 by SIGHUP was refused", "  a:1:2: wrong",
		"70 requests so far, of all children, ended ones included; half of them took at most 410µs, 99 % at most 12.3ms",
		"set by the operator, not in the configuration: children 2, workers 1 to 2, log level debug",
		"CHILD  PID  STATE     UPTIME  GENERATION  RESTARTS  CONNECTIONS  REQUESTS  LAST END",
		"0      8    serving   0s      3           0         4            5",
		"child 1 is in a crash loop: 2 faults in a row; is started again at 12:00:00.000; has its connections accepted by child 0",
		"child 2 leaves: there are to be fewer children", "child 3 is the successor of one that serves",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%q is not in:\n%s", line, text)
		}
	}
	s.LastReload = &master.Reload{At: at, By: "SIGHUP", Committed: true, Generation: 3, Changes: make([]configs.Change, 1)}
	s.Overrides = master.Overrides{}
	text = statusText("prog", s)
	if !strings.Contains(text, "last reload 2026-03-01 12:00:00 by SIGHUP: generation 3, 1 change\n") || strings.Contains(text, "operator") {
		t.Error(text)
	}
}

// One line for who watches the server, and the status that such a thing looks at.
func TestHealth(t *testing.T) {
	children := func(states ...string) (all []master.ChildStatus) {
		for i, state := range states {
			all = append(all, master.ChildStatus{Index: i, State: state})
		}
		return all
	}
	for _, c := range []struct {
		now      master.Status
		status   int
		out, err string
	}{
		{master.Status{State: "serving", ChildCount: 2, Children: children("serving", "serving")}, 0, "prog: serves with 2 of 2 children\n", ""},
		{master.Status{State: "serving", ChildCount: 2, Children: children("waiting", "serving")}, 0, "prog: serves with 1 of 2 children\n", ""},
		{master.Status{State: "serving", ChildCount: 1, Children: children("serving")}, 0, "prog: serves with 1 of 1 child\n", ""},
		{ // a child that drains behind its successor
			master.Status{State: "serving", ChildCount: 1, Children: append(children("serving"), master.ChildStatus{State: "serving"}, master.ChildStatus{State: "draining"})},
			0, "prog: serves with 1 of 1 child\n", "",
		},
		{
			master.Status{State: "serving", ChildCount: 2, Children: append(children("waiting", "proving"), master.ChildStatus{Index: 2, State: "serving", Leaving: true})},
			1, "", "prog: does not serve: 0 of 2 children are ready\n",
		},
		{master.Status{State: "starting", ChildCount: 1, Children: children("serving")}, 1, "", "prog: does not serve: the server is starting\n"},
		{master.Status{State: "stopping", ChildCount: 1, Children: children("serving")}, 1, "", "prog: does not serve: the server is stopping\n"},
	} {
		d := newDesk(t, map[string]answer{"GET /v1/status": {200, c.now}})
		if status, stdout, stderr := d.call("status", "--health"); status != c.status || stdout != c.out || stderr != c.err {
			t.Errorf("%d %q %q, not %d %q %q", status, stdout, stderr, c.status, c.out, c.err)
		}
	}
}

// --watch asks until there is nobody any more.
func TestWatch(t *testing.T) {
	d := newDesk(t, map[string]answer{"GET /v1/status": {200, master.Status{Version: "1.2", State: "serving"}}})
	third := make(chan struct{})
	d.each = func(asked int) {
		if asked == 3 {
			close(third)
		}
	}
	go func() {
		<-third
		d.server.Close()
	}()
	status, stdout, stderr := d.call("status", "--watch", "1ms")
	if status != exitNotRunning || strings.Count(stdout, "prog 1.2, pid 0: serving") < 2 || !strings.Contains(stdout, "\n\nprog 1.2") || stderr == "" {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
}

// On a terminal each page takes the place of the one before.
func TestWatchInPlace(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &out}
	page := 0
	show := a.inPlace(func(*master.Status) error { page++; return a.printf("page %d\nend\n", page) })
	for range 2 {
		if err := show(nil); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "\x1b[2J\x1b[Hpage 1\x1b[K\nend\x1b[K\n\x1b[J\x1b[Hpage 2\x1b[K\nend\x1b[K\n\x1b[J" {
		t.Errorf("%q", out.String())
	}
}

func TestHabits(t *testing.T) {
	p := bare(t)
	write(t, p.DefaultConfig, minimal)
	if status, stdout, _, _ := call(t, p, "-t"); status != exitOK || stdout != p.DefaultConfig+": ok\n" {
		t.Errorf("%d %q", status, stdout)
	}
	bad := write(t, filepath.Join(t.TempDir(), "bad.hcl"), "nonsense = 1\n"+minimal)
	if status, stdout, stderr, _ := call(t, p, "-t", "-c", bad); status != exitFailed || stdout != "" || !strings.HasPrefix(stderr, bad+":1:1: ") {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	// A program that serves without a command does not when it is only asked.
	if status, stdout, _, asked := call(t, library(t), "-t"); status != exitOK || stdout != "the routes in code: ok\n" || asked != nil {
		t.Errorf("%d %q %v", status, stdout, asked)
	}
	_, stdout, _, _ := call(t, p)
	if !strings.Contains(stdout, "-s reload") || strings.Contains(stdout, "--signal") {
		t.Errorf("the help: %s", stdout)
	}
}

func TestCompletion(t *testing.T) {
	d := newDesk(t, map[string]answer{"GET /v1/children": {200, master.Children{Children: []master.ChildStatus{
		{Index: 0, Pid: 8, State: "serving"}, {Index: 0, Pid: 7, State: "draining"}, {Index: 1, State: "waiting"},
	}}}})
	complete := func(args ...string) string {
		t.Helper()
		_, stdout, _, _ := call(t, bare(t), append([]string{"__complete"}, args...)...)
		return stdout
	}
	if got := complete("restart", "--control", d.path, ""); got != "0\tpid 8, serving\n1\tpid 0, waiting\n:4\n" {
		t.Errorf("restart: %q", got)
	}
	silent := filepath.Join(t.TempDir(), "none.sock")
	for args, want := range map[string]string{
		"restart --control " + silent: ":4\n",
		"restart 0":                   ":4\n",
		"log-level":                   "debug\ninfo\nwarn\nerror\n:36\n",
		"log-level debug":             ":4\n",
		"scale":                       "auto\tone per usable core\n:4\n",
		"-s":                          "reload\tas reload\nquit\tas stop\nstop\tas stop --fast\nreopen\tas reopen-logs\n:4\n",
		"reload":                      ":4\n",
		"reload --timeout":            ":4\n",
		"upgrade":                     ":4\n",
		"upgrade --canary":            ":4\n",
		"upgrade --binary":            ":0\n",
		"rollback":                    ":4\n",
		"balance":                     ":4\n",
		"workers":                     ":4\n",
		"plan":                        ":4\n",
		"events":                      ":4\n",
		"events --since":              ":4\n",
		"reopen-logs":                 ":4\n",
		"status":                      ":4\n",
		"stop":                        ":4\n",
		"run":                         ":4\n",
		"version":                     ":4\n",
		"check":                       "hcl\njson\n:8\n",
	} {
		if got := complete(append(strings.Fields(args), "")...); got != want {
			t.Errorf("%s: %q, not %q", args, got, want)
		}
	}
	for _, cmd := range []string{"reload", "plan", "scale", "restart", "events", "log-level", "reopen-logs", "workers", "status", "stop", "upgrade", "rollback", "balance"} {
		if got := complete(""); !strings.Contains(got, "\n"+cmd+"\t") && !strings.HasPrefix(got, cmd+"\t") {
			t.Errorf("%s is not offered: %q", cmd, got)
		}
	}
}
