package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/master"
)

// lines are the body of a stream of news.
func lines(list ...master.UpgradeProgress) string {
	var b strings.Builder
	for _, p := range list {
		text, _ := json.Marshal(p)
		b.Write(append(text, '\n'))
	}
	return b.String()
}

var (
	stepOne   = master.UpgradeProgress{At: time.Unix(1_000_000, 0).UTC(), Text: "started: version 2, pid 9"}
	stepDone  = master.UpgradeProgress{At: time.Unix(1_000_001, 0).UTC(), Text: "done: 7 connections moved", Outcome: &done}
	stepSick  = master.UpgradeProgress{At: time.Unix(1_000_001, 0).UTC(), Text: "failed: it is sick", Outcome: &sick}
	done      = master.Upgrade{At: time.Unix(1_000_000, 0).UTC(), By: "x", From: "1", To: "2", Stage: "done", Done: true, Seconds: 1.5}
	sick      = master.Upgrade{At: time.Unix(1_000_000, 0).UTC(), By: "x", From: "1", To: "2", Stage: "failed", Reason: "it is sick"}
	oldServes = answer{200, master.Status{Version: "1", Pid: 7, State: "serving"}}
)

func TestUpgrade(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	refused, _ := json.Marshal(struct {
		Error string `json:"error"`
		master.Upgrade
	}{"upgrade: it is sick", sick})
	for _, c := range []struct {
		args, body string // the body of what is asked
		answer     answer
		status     int
		out, err   string
	}{
		{
			"upgrade", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`, answer{200, lines(stepOne, stepDone)}, 0,
			"prog: started: version 2, pid 9\nprog: done: 7 connections moved\nprog: version 2 serves, after 1.5s\n", "",
		},
		{
			"upgrade --binary new/prog --canary 0s --timeout 1m30s", fmt.Sprintf(`{"wait":true,"binary":%q,"canary_millis":0,"timeout_millis":90000}`, filepath.Join(here, "new/prog")),
			answer{200, lines(stepOne, stepSick)}, 1, "prog: started: version 2, pid 9\n", "prog: the upgrade has not come about: it is sick; version 1 serves on\n",
		},
		{
			"rollback --canary 5s", `{"wait":true,"binary":"","canary_millis":5000,"timeout_millis":null}`, answer{409, string(refused)}, 1,
			"", "prog: the rollback has not come about: it is sick; version 1 serves on\n",
		},
		{
			"upgrade --json", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`, answer{200, lines(stepOne, stepDone)}, 0,
			lines(stepOne, stepDone), "",
		},
		{
			"rollback --json", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`, answer{409, string(refused)}, 1,
			lines(master.UpgradeProgress{At: sick.At, Text: "failed: it is sick", Outcome: &sick}), "prog: the rollback has not come about: it is sick; version 1 serves on\n",
		},
	} {
		op := "POST /v1/" + strings.Fields(c.args)[0]
		d := newDesk(t, map[string]answer{"GET /v1/status": oldServes, op: c.answer})
		status, stdout, stderr := d.call(strings.Fields(c.args)...)
		if status != c.status || stdout != c.out || stderr != c.err {
			t.Errorf("%s: %d\n%q, not\n%q;\n%q, not\n%q", c.args, status, stdout, c.out, stderr, c.err)
		}
		d.want("GET /v1/status", op+" "+c.body)
	}
}

// In brief: one line at the end, made of the outcome and of who serves then.
func TestUpgradeInBrief(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	serving := func(n int, more ...master.ChildStatus) (all []master.ChildStatus) {
		for i := range n {
			all = append(all, master.ChildStatus{Index: i, Pid: 10 + i, State: "serving"})
		}
		return append(all, more...)
	}
	ends := func(moved uint64, closed map[string]uint64) answer {
		outcome := master.Upgrade{At: time.Unix(1_000_000, 0).UTC(), From: "1", To: "2", Stage: "done", Done: true, Moved: moved, ClosedByReason: closed}
		return answer{200, lines(stepOne, master.UpgradeProgress{Text: "done", Outcome: &outcome})}
	}
	for _, c := range []struct {
		args, body string
		answer     answer
		now        answer // of the status afterwards
		status     int
		out, err   string
	}{
		{
			"upgrade --brief --previous old/prog", fmt.Sprintf(`{"wait":true,"binary":"","previous":%q,"canary_millis":null,"timeout_millis":null}`, filepath.Join(here, "old/prog")),
			ends(118, map[string]uint64{"client_done": 9, "answered": 2, "idle_timeout": 1}),
			answer{200, master.Status{Version: "2", Pid: 9, State: "serving", Rollback: "1", ChildCount: 4, Children: serving(4, master.ChildStatus{Index: 3, State: "draining"})}},
			0, "prog 2: 4 of 4 children, 118 connections moved, 0 failed; undo: prog rollback\n", "",
		},
		{
			"rollback --brief", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`,
			ends(1, map[string]uint64{"drain_timeout": 2, "killed": 1, "client_gone": 7}),
			answer{200, master.Status{Version: "2", Pid: 9, State: "serving", ChildCount: 1, Children: serving(1, master.ChildStatus{Index: 1, State: "serving", Leaving: true})}},
			0, "prog 2: 1 of 1 child, 1 connection moved, 3 failed\n", "",
		},
		{
			"upgrade --brief", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`, ends(0, nil), answer{503, errorBody{"the master has stopped"}},
			0, "prog 2: 0 connections moved, 0 failed; its children are not known: the master has stopped\n", "",
		},
		{
			"upgrade --brief", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`, answer{200, lines(stepOne, stepSick)}, answer{},
			1, "", "prog: the upgrade has not come about: it is sick; version 1 serves on\n",
		},
		{
			"upgrade --brief", `{"wait":true,"binary":"","canary_millis":null,"timeout_millis":null}`, answer{200, lines(stepOne)},
			answer{200, master.Status{Version: "2", Pid: 9, Rollback: "1", ChildCount: 2, Children: serving(2)}},
			0, "prog 2: 2 of 2 children, how many connections moved is not known, the master before was killed in the middle of the upgrade; undo: prog rollback\n", "",
		},
	} {
		op := "POST /v1/" + strings.Fields(c.args)[0]
		d := newDesk(t, map[string]answer{"GET /v1/status": oldServes, op: c.answer})
		d.each = func(asked int) {
			if asked == 2 {
				d.answers["GET /v1/status"] = c.now
			}
		}
		status, stdout, stderr := d.call(strings.Fields(c.args)...)
		if status != c.status || stdout != c.out || stderr != c.err {
			t.Errorf("%s: %d\n%q, not\n%q;\n%q, not\n%q", c.args, status, stdout, c.out, stderr, c.err)
		}
		asked := []string{"GET /v1/status", op + " " + c.body, "GET /v1/status"}
		if c.now.code == 0 {
			asked = asked[:2]
		}
		d.want(asked...)
	}
	// The new version has come, and gone at once.
	d := newDesk(t, map[string]answer{"GET /v1/status": oldServes, "POST /v1/upgrade": ends(3, nil)})
	d.each = func(asked int) {
		if asked == 2 {
			_ = d.server.Listener.Close()
		}
	}
	status, stdout, stderr := d.call("upgrade", "--brief")
	if status != exitNotRunning || stdout != "" || !strings.HasPrefix(stderr, "prog: version 2 has taken the server over (3 connections moved, 0 failed), and then: no master is running") {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
}

// A stream that ends without an outcome: the master was killed. Who serves then says how it has ended.
func TestUpgradeWhoseMasterDies(t *testing.T) {
	at := time.Unix(2_000_000, 0)
	for name, c := range map[string]struct {
		now      answer
		status   int
		out, err string
	}{
		"the new version serves":         {answer{200, master.Status{Version: "2", Pid: 9}}, 0, "prog: version 2 serves, pid 9; the master before it was killed", ""},
		"the same version, by upgrade":   {answer{200, master.Status{Version: "1", Pid: 9, Predecessor: &master.Predecessor{Pid: 7}}}, 0, "version 1 serves, pid 9", ""},
		"somebody has started the old":   {answer{200, master.Status{Version: "1", Pid: 9}}, 1, "", "another one serves, pid 9, and it is of version 1 as well"},
		"the old one serves, and why":    {answer{200, master.Status{Version: "1", Pid: 7, LastUpgrade: &master.Upgrade{At: at, Reason: "it is sick"}}}, 1, "", "it is sick; version 1 serves on"},
		"the old one serves, none knows": {oldServes, 1, "", "have ended too early; version 1 serves, pid 7"},
		"nobody may ask":                 {answer{403, errorBody{"user 7 may not"}}, 1, "", "user 7 may not"},
	} {
		d := newDesk(t, map[string]answer{"GET /v1/status": oldServes, "POST /v1/upgrade": {200, lines(stepOne)}})
		d.each = func(asked int) {
			if asked == 2 { // the request itself: what is asked next finds another master
				d.answers["GET /v1/status"] = c.now
			}
		}
		status, stdout, stderr := d.call("upgrade")
		if status != c.status || !strings.Contains(stdout, c.out) || !strings.Contains(stderr, c.err) || (c.err == "") != (stderr == "") {
			t.Errorf("%s: %d %q %q", name, status, stdout, stderr)
		}
	}
	d := newDesk(t, map[string]answer{"GET /v1/status": oldServes, "POST /v1/upgrade": {200, lines(stepOne)}})
	d.each = func(asked int) {
		if asked == 2 {
			_ = d.server.Listener.Close()
		}
	}
	if status, _, stderr := d.call("upgrade"); status != exitNotRunning || !strings.Contains(stderr, "no other one has taken its place") {
		t.Errorf("%d %q", status, stderr)
	}
}

func TestStatusTextOfUpgrades(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for _, c := range []struct {
		status master.Status
		lines  string
	}{
		{master.Status{}, ""},
		{
			master.Status{Upgrade: &master.Upgrade{By: "SIGUSR2", Binary: "/new", From: "1", Stage: "starting", Seconds: 2}},
			"an upgrade from version 1 to /new is under way for 2s, asked for by SIGUSR2: starting\n",
		},
		{
			master.Status{
				Upgrade:     &master.Upgrade{Binary: "/new", From: "1", To: "2", Stage: "moving", Seconds: 22},
				Predecessor: &master.Predecessor{Version: "1", Pid: 7, Children: 2, Connections: 30, InFlight: 4, Until: at},
			},
			"an upgrade from version 1 to version 2 is under way for 22s, asked for by somebody: moving\n" +
				"version 1 leaves, pid 7: children 2, connections 30, in flight 4; ended at 12:00:00 at the latest\n",
		},
		{
			master.Status{Predecessor: &master.Predecessor{Version: "1", Pid: 7, Children: 1, Until: time.UnixMilli(0)}},
			"version 1 leaves, pid 7: children 1, connections 0, in flight 0\n",
		},
		{
			master.Status{LastUpgrade: &master.Upgrade{At: at, By: "SIGUSR2", From: "1", To: "2", Done: true, Seconds: 16}},
			"last upgrade 2026-03-01 12:00:00 by SIGUSR2: from version 1 to 2, after 16s\n",
		},
		{master.Status{Rollback: "1"}, "a rollback goes back to version 1\n"},
		{
			master.Status{LastUpgrade: &master.Upgrade{At: at, By: "SIGUSR2", Reason: "it is sick"}},
			"last upgrade 2026-03-01 12:00:00 by SIGUSR2 has not come about: it is sick\n",
		},
	} {
		if got := upgradeText(&c.status); got != c.lines || !strings.Contains(statusText("prog", &c.status), c.lines) {
			t.Errorf("%q, not %q", got, c.lines)
		}
	}
}

// Who follows the events goes on with those of the new master, which ends here by a stop.
func TestEventsGoOnAfterAnUpgrade(t *testing.T) {
	const before = `{"id":41,"time":"2026-03-01T12:00:00.1Z","kind":"upgrade","generation":2,"message":"confirmed"}` + "\n"
	const after = `{"id":1,"time":"2026-03-01T12:00:00.2Z","kind":"stopping","generation":3,"message":"bye"}` + "\n"
	d := newDesk(t, map[string]answer{"GET /v1/events": {200, before}})
	d.each = func(asked int) {
		if asked == 1 {
			d.answers["GET /v1/events"] = answer{200, after}
		}
	}
	status, stdout, stderr := d.call("events", "--since", "40", "--json")
	if status != 0 || stdout != before+after {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	d.want("GET /v1/events?since=40&follow=true", "GET /v1/events?since=0&follow=true")
	d.each = nil
	d.answers["GET /v1/events"] = answer{200, before}
	if status, stdout, _ = d.call("events", "--follow=false", "--json"); status != 0 || stdout != before {
		t.Errorf("%d %q", status, stdout)
	}
}
