package master

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// ask is one request on the control socket.
func (h *harness) ask(method, target, body string) (*http.Response, string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.context(), method, "http://tined"+target, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := h.client().http.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response, string(text)
}

func (h *harness) client() *Client { return NewClient(h.m.runtime.control) }

// here is what this process is called as the author of an act.
func here() string { return fmt.Sprintf("control socket (uid %d, pid %d)", os.Geteuid(), os.Getpid()) }

// acts replaces what the operator has the loop do.
type acts struct {
	outcome *Reload
	plan    *Plan
	err     error
	asked   chan string // what was asked, in words

	upgrade func(follow func(UpgradeProgress)) // what an upgrade brings at once
	balance Balance
}

func (a *acts) into(m *master) {
	a.asked = make(chan string, 16)
	answer := func(done func(error)) {
		if done != nil {
			done(a.err)
		}
	}
	m.operator.reload = func(by string, done func(*Reload)) {
		a.asked <- fmt.Sprintf("reload by %s, wait %t", by, done != nil)
		if done != nil {
			done(a.outcome)
		}
	}
	m.operator.plan = func(done func(*Plan)) { done(a.plan) }
	m.operator.scale = func(children int, by string, done func(error)) {
		a.asked <- fmt.Sprintf("scale to %d by %s", children, by)
		answer(done)
	}
	change := func(what string) func(string, UpgradeRequest, func(UpgradeProgress)) {
		return func(by string, r UpgradeRequest, follow func(UpgradeProgress)) {
			a.asked <- fmt.Sprintf("%s to %q by %s, canary %s, timeout %s", what, r.Binary, by, millisOrNone(r.CanaryMillis), millisOrNone(r.TimeoutMillis))
			a.upgrade(follow)
		}
	}
	m.operator.upgrade, m.operator.rollback = change("upgrade"), change("rollback")
	m.operator.balance = func(by string, done func(Balance, error)) {
		a.asked <- "balance by " + by
		done(a.balance, a.err)
	}
	m.operator.restart = func(index int, by string, done func(error)) {
		a.asked <- fmt.Sprintf("restart %d by %s, wait %t", index, by, done != nil)
		answer(done)
	}
}

func (a *acts) want(t *testing.T, words string) {
	t.Helper()
	select {
	case got := <-a.asked:
		if got != words {
			t.Errorf("the loop was asked for %q, not %q", got, words)
		}
	default:
		t.Errorf("the loop was not asked for %q", words)
	}
}

func launchOperator(t *testing.T, a *acts) *harness {
	t.Helper()
	o := Options{Name: "prog", Schema: &configs.Schema{Workers: workersSpec}}
	h := launchWith(t, o, withWorkers(t, testConfig(t.TempDir())), a.into)
	h.stdout.wait(t, "serving http", 1)
	return h
}

// What is wrong in a request is refused with a sentence that names it, and nothing happens.
func TestRequestsThatAreRefused(t *testing.T) {
	a := new(acts)
	h := launchOperator(t, a)
	long := `{"wait": true` + strings.Repeat(" ", maxOperatorBody) + `}`
	for _, c := range []struct {
		method, target, body string
		code                 int
		part                 string
	}{
		{"GET", "/", "", 404, "no such operation: GET /"},
		{"GET", "/v1/statuses", "", 404, "no such operation"},
		{"GET", "/v1/children/0", "", 404, "no such operation"},
		{"POST", "/v1/status", "", 405, "POST is not possible for /v1/status; use GET"},
		{"HEAD", "/v1/status", "", 405, ""},
		{"DELETE", "/v1/workers", "", 405, "use GET or PUT"},
		{"GET", "/v1/status?verbose=1", "", 400, `no parameter \"verbose\"; this operation has none`},
		{"GET", "/v1/events?sinse=1", "", 400, "known are since, follow"},
		{"GET", "/v1/events?since=-1", "", 400, "write the id of an event"},
		{"GET", "/v1/events?follow=maybe", "", 400, "write true or false"},
		{"POST", "/v1/reload", `{"wiat": true}`, 400, `reload: there is no field \"wiat\"; known are wait`},
		{"POST", "/v1/reload", `{"wait": "yes"}`, 400, "reload: wait must be true or false, and is a string"},
		{"POST", "/v1/reload", `{"wait": true} {}`, 400, "something follows it"},
		{"POST", "/v1/reload", `[]`, 400, "must be a JSON object, and is a array"},
		{"POST", "/v1/reload", `{"wait":`, 400, "ends too early"},
		{"POST", "/v1/reload", `wait=true`, 400, "is not JSON"},
		{"POST", "/v1/reload", long, 413, "longer than 1048576 bytes"},
		{"POST", "/v1/upgrade", `{"binary": "tined"}`, 400, `upgrade: binary cannot be \"tined\"; write an absolute path`},
		{"POST", "/v1/upgrade", `{"canary": "5s"}`, 400, "known are wait, binary, previous, canary_millis, timeout_millis"},
		{"POST", "/v1/upgrade", `{"previous": "tined"}`, 400, `upgrade: previous cannot be \"tined\"; write an absolute path`},
		{"POST", "/v1/rollback", `{"previous": "/usr/bin/tined"}`, 400, "rollback: previous cannot be set"},
		{"POST", "/v1/upgrade", `{"canary_millis": -1}`, 400, "upgrade: canary_millis cannot be -1; write a whole number from 0 to 1800000"},
		{"POST", "/v1/upgrade", `{"canary_millis": "5s"}`, 400, "canary_millis must be a whole number, and is a string"},
		{"POST", "/v1/upgrade", `{"timeout_millis": 0}`, 400, "timeout_millis cannot be 0; write a whole number from 1 to 3600000"},
		{"POST", "/v1/rollback", `{"timeout_millis": 3600001}`, 400, "rollback: timeout_millis cannot be 3600001"},
		{"POST", "/v1/rollback", `{"binary": "/usr/bin/tined"}`, 400, "cannot be set"},
		{"GET", "/v1/upgrade", "", 405, "use POST"},
		{"POST", "/v1/balance", `{"wait": true}`, 400, "there are none"},
		{"POST", "/v1/stop", `{"fats": true}`, 400, "known are wait, fast"},
		{"PUT", "/v1/children", ``, 400, "count is needed"},
		{"PUT", "/v1/children", `{"count": null}`, 400, "count is needed"},
		{"PUT", "/v1/children", `{"count": 0}`, 400, "count cannot be 0; write a whole number from 1 to 1024"},
		{"PUT", "/v1/children", `{"count": 1025}`, 400, "from 1 to 1024"},
		{"PUT", "/v1/children", `{"count": 1.5}`, 400, "count cannot be 1.5"},
		{"PUT", "/v1/children", `{"count": "many"}`, 400, `count cannot be \"many\"`},
		{"POST", "/v1/children/x/restart", ``, 400, "is no child"},
		{"POST", "/v1/children/2/restart", ``, 404, "there is no child 2; there are children 0 to 1"},
		{"POST", "/v1/children/-1/restart", ``, 404, "there is no child -1"},
		{"PUT", "/v1/log-level", `{}`, 400, "level is needed; write one of debug, info, warn, error"},
		{"PUT", "/v1/log-level", `{"level": "loud"}`, 400, `level cannot be \"loud\"`},
		{"PUT", "/v1/log-level", `{"level": 1}`, 400, "level must be a string, and is a number"},
	} {
		response, text := h.ask(c.method, c.target, c.body)
		var e errorReply
		if err := json.Unmarshal([]byte(text), &e); c.method != "HEAD" && (err != nil || e.Error == "") {
			t.Errorf("%s %s %.40s: no error in %q", c.method, c.target, c.body, text)
		}
		if response.StatusCode != c.code || !strings.Contains(text, c.part) {
			t.Errorf("%s %s %.40s: %d %s", c.method, c.target, c.body, response.StatusCode, text)
		}
		if allow := response.Header.Get("Allow"); (allow != "") != (c.code == 405) {
			t.Errorf("%s %s: Allow %q", c.method, c.target, allow)
		}
		if response.Header.Get("Tined-API") != apiVersion || response.Header.Get("Server") != "prog/v0-test" {
			t.Errorf("%s %s: %v", c.method, c.target, response.Header)
		}
	}
	if len(a.asked) != 0 {
		t.Errorf("a refused request has an effect: %s", <-a.asked)
	}
	if s := h.status(); s.State != "serving" || len(s.Children) != 2 {
		t.Errorf("%+v", s)
	}
}

// A reload answers at once, or with its outcome: the code tells why it was refused.
func TestReloadOperation(t *testing.T) {
	a := new(acts)
	h := launchOperator(t, a)
	if response, text := h.ask("POST", "/v1/reload", ""); response.StatusCode != 202 || !strings.Contains(text, `"reloading"`) {
		t.Errorf("%d %s", response.StatusCode, text)
	}
	a.want(t, "reload by "+here()+", wait false")
	at := time.Unix(1_000_000, 0).UTC()
	for _, c := range []struct {
		outcome Reload
		code    int
	}{
		{Reload{At: at, By: "x", Committed: true, Generation: 2, Seconds: .5, Changes: []configs.Change{{Kind: "added", What: "y"}}}, 200},
		{Reload{At: at, Generation: 1, Reason: "it is wrong", Diagnostics: []string{"a:1:2: wrong; right"}}, 422},
		{Reload{At: at, Generation: 1, Reason: "child 0 cannot", Diagnostics: []string{"a:1:2: warning: odd"}}, 409},
		{Reload{At: at, Generation: 1, Reason: "child 0 cannot"}, 409},
	} {
		a.outcome = &c.outcome
		response, text := h.ask("POST", "/v1/reload", `{"wait": true}`)
		if response.StatusCode != c.code || strings.Contains(text, `"error": "`+c.outcome.Reason) != (c.code != 200) {
			t.Errorf("%+v: %d %s", c.outcome, response.StatusCode, text)
		}
		a.want(t, "reload by "+here()+", wait true")
		got, err := h.client().Reload(h.context())
		if err != nil || !reflect.DeepEqual(*got, c.outcome) {
			t.Errorf("the client: %+v, %v; want %+v", got, err, c.outcome)
		}
		a.want(t, "reload by "+here()+", wait true")
	}
	if reply, err := h.client().StartReload(h.context()); err != nil || reply.State != "reloading" {
		t.Errorf("%+v, %v", reply, err)
	}
	// What refuses without an outcome is an error.
	a.outcome = &Reload{}
	if _, err := h.client().Reload(h.context()); err == nil {
		t.Error("a refusal without an outcome is none")
	}
}

func TestPlanOperation(t *testing.T) {
	a := &acts{plan: &Plan{From: 1, To: 2, Refused: "it is wrong", Diagnostics: []string{"a:1:2: wrong"}, Changes: []configs.Change{}}}
	h := launchOperator(t, a)
	got, err := h.client().Plan(h.context())
	if err != nil || !reflect.DeepEqual(got, a.plan) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestScaleOperation(t *testing.T) {
	a := new(acts)
	h := launchOperator(t, a)
	for count, words := range map[int]string{3: "scale to 3 by ", 0: fmt.Sprintf("scale to %d by ", usableCores(os.DirFS("/")))} {
		now, err := h.client().Scale(h.context(), count)
		if err != nil || now.Count != 2 || now.Configured != 2 || len(now.Children) != 2 {
			t.Errorf("%+v, %v", now, err)
		}
		a.want(t, words+here())
	}
	a.err = errors.New("the server is starting")
	_, err := h.client().Scale(h.context(), 3)
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 409 || refused.Message != "children: the server is starting" {
		t.Errorf("%v", err)
	}
}

func TestRestartOperation(t *testing.T) {
	a := new(acts)
	h := launchOperator(t, a)
	if reply, err := h.client().Restart(h.context(), 1, WaitRequest{}); err != nil || reply.State != "restarting" {
		t.Errorf("%+v, %v", reply, err)
	}
	a.want(t, "restart 1 by "+here()+", wait false")
	if reply, err := h.client().Restart(h.context(), 0, WaitRequest{Wait: true}); err != nil || reply.State != "restarted" {
		t.Errorf("%+v, %v", reply, err)
	}
	a.want(t, "restart 0 by "+here()+", wait true")
	a.err = errors.New("its successor has failed")
	_, err := h.client().Restart(h.context(), 0, WaitRequest{Wait: true})
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 409 || refused.Message != "restart: its successor has failed" || refused.Version != apiVersion {
		t.Errorf("%v", err)
	}
}

// Also who does not wait is told that a child is not there, or cannot be replaced.
func TestRestartIsRefusedAtOnce(t *testing.T) {
	a := new(acts)
	h := launchOperator(t, a)
	for _, index := range []int{2, -1} {
		_, err := h.client().Restart(h.context(), index, WaitRequest{})
		if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 404 || !strings.Contains(refused.Message, "there are children 0 to 1") {
			t.Errorf("%d: %v", index, err)
		}
	}
	h.m.do(func() { h.m.scale(1, "a test", nil) })
	_, err := h.client().Restart(h.context(), 1, WaitRequest{})
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 404 || !strings.Contains(refused.Message, "there is child 0 alone") {
		t.Errorf("%v", err)
	}
}

// Who waits for what does not come is told when the master ends.
func TestWaitingEndsWithTheMaster(t *testing.T) {
	asked := make(chan struct{})
	h := serve(t, testConfig(t.TempDir()), func(m *master) {
		m.operator.reload = func(string, func(*Reload)) { close(asked) } // and no word more
	})
	failed := make(chan error, 1)
	go func() {
		_, err := h.client().Reload(h.context())
		failed <- err
	}()
	<-asked
	h.signals <- os.Interrupt
	err := <-failed
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 503 {
		t.Errorf("%v", err)
	}
}

// The level reaches the master and every child that has committed at once, the others when they have, and every later life.
func TestLogLevelReachesEveryProcess(t *testing.T) {
	f := newFleet(t, 2)
	first, second := f.last(0), f.last(1)
	f.brings(first, Proved)
	f.brings(second, Committing)
	levels := func(c *child) (sent []string) {
		for _, m := range proc(c).sent {
			if l, ok := m.(*control.LogLevel); ok {
				sent = append(sent, l.Level)
			}
		}
		return sent
	}
	f.setLogLevel("debug", "a test")
	if !slices.Equal(levels(first), []string{"debug"}) || levels(second) != nil {
		t.Errorf("%v %v", levels(first), levels(second))
	}
	f.says(second, &control.Committed{Generation: 1})
	if !slices.Equal(levels(second), []string{"debug"}) {
		t.Errorf("one that commits later: %v", levels(second))
	}
	if f.sink.level.String() != "debug" || f.logLevelNow() != (LogLevel{Level: "debug", Configured: f.config.Log.Level}) {
		t.Errorf("the master: %s, %+v", f.sink.level, f.logLevelNow())
	}
	f.setLogLevel("error", "a test")
	if f.sink.level.String() != "error" || !slices.Equal(levels(first), []string{"debug", "error"}) {
		t.Errorf("%s %v", f.sink.level, levels(first))
	}
	if o := f.overrides(); o.LogLevel != "error" {
		t.Errorf("%+v", o)
	}
	if events, _ := f.feed.after(0); events[len(events)-1].Kind != EventLogLevel || events[len(events)-1].Message != "error, by a test" {
		t.Errorf("%+v", events)
	}
}

func TestLogLevelOperation(t *testing.T) {
	h := launchOperator(t, new(acts))
	now, err := h.client().LogLevel(h.context())
	if err != nil || *now != (LogLevel{"debug", "debug"}) {
		t.Fatalf("%+v, %v", now, err)
	}
	if now, err = h.client().SetLogLevel(h.context(), "error"); err != nil || *now != (LogLevel{"error", "debug"}) {
		t.Fatalf("%+v, %v", now, err)
	}
	h.wait(`"the level of the log is set","to":"error","by":"`+regexp.QuoteMeta(here())+`"`, 1)
	if s := h.status(); s.Overrides != (Overrides{LogLevel: "error"}) {
		t.Errorf("%+v", s.Overrides)
	}
	if _, err := h.client().SetLogLevel(h.context(), "debug"); err != nil {
		t.Fatal(err)
	}
	if s := h.status(); s.Overrides != (Overrides{}) {
		t.Errorf("%+v", s.Overrides)
	}
}

// The answer comes once every child has said that it has the new files, or at the end of the bound.
func TestReopenIsAwaited(t *testing.T) {
	f := servingFleet(t, 2)
	log, err := os.Create(t.TempDir() + "/access.log")
	if err != nil {
		t.Fatal(err)
	}
	f.accessLogs.names, f.accessLogs.files = []string{log.Name()}, []*os.File{log}
	t.Cleanup(func() { f.accessLogs.close() })
	var late []int
	done := func(n int) { late = append(late, n) }
	if err := f.reopenLogs(); err != nil {
		t.Fatal(err)
	}
	f.awaitReopened(done)
	f.says(f.last(0), &control.Reopened{})
	if late != nil {
		t.Fatal("answered before the second child")
	}
	f.says(f.last(1), &control.Reopened{})
	if !slices.Equal(late, []int{0}) {
		t.Fatal(late)
	}
	late = nil
	_ = f.reopenLogs()
	f.awaitReopened(done)
	f.says(f.last(0), &control.Reopened{}, &control.Reopened{}) // one too many harms nobody
	f.after(f.bounds.resize)
	if !slices.Equal(late, []int{1}) {
		t.Fatal(late)
	}
	f.accessLogs.names[0] = "/nowhere/access.log"
	if err := f.reopenLogs(); err == nil || !strings.Contains(err.Error(), "/nowhere/access.log") {
		t.Errorf("%v", err)
	}
}

func TestReopenOperation(t *testing.T) {
	dir := t.TempDir()
	config := testConfig(dir)
	config.Log.File = dir + "/server.log"
	h := launch(t, config, nil)
	h.stdout.wait(t, "serving http", 1)
	if err := os.Rename(config.Log.File, dir+"/old.log"); err != nil {
		t.Fatal(err)
	}
	if reply, err := h.client().ReopenLogs(h.context()); err != nil || reply.State != "reopened" {
		t.Fatalf("%+v, %v", reply, err)
	}
	if _, err := os.Stat(config.Log.File); err != nil {
		t.Error(err)
	}
	if err := os.Remove(config.Log.File); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(config.Log.File, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := h.client().ReopenLogs(h.context())
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 500 || !strings.Contains(refused.Message, "server.log") {
		t.Errorf("%v", err)
	}
}

// Everything that can be asked for is in the description for machines and in the one for people, and nothing else is.
func TestOperationsAreDescribed(t *testing.T) {
	var document struct {
		Info  struct{ Version string }
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(openAPIDocument, &document); err != nil {
		t.Fatal(err)
	}
	if document.Info.Version != apiVersion {
		t.Errorf("the document is of version %s, the interface of %s", document.Info.Version, apiVersion)
	}
	var inDocument, inCode []string
	for path, methods := range document.Paths {
		for method, operation := range methods {
			entry := strings.ToUpper(method) + " " + path
			for _, p := range operation.Parameters {
				if p.In == "query" {
					entry += " " + p.Name
				}
			}
			inDocument = append(inDocument, entry)
		}
	}
	for _, op := range new(operator).operations() {
		inCode = append(inCode, strings.Join(append([]string{op.method, op.path}, op.query...), " "))
	}
	slices.Sort(inCode)
	slices.Sort(inDocument)
	if !slices.Equal(inCode, inDocument) {
		t.Errorf("openapi.json has\n%s\nthe code has\n%s", strings.Join(inDocument, "\n"), strings.Join(inCode, "\n"))
	}

	page, err := os.ReadFile("../docs/control.md")
	if err != nil {
		t.Fatal(err)
	}
	var inPage []string
	for _, match := range regexp.MustCompile(`(?m)^## ([A-Z]+ /\S+)$`).FindAllStringSubmatch(string(page), -1) {
		inPage = append(inPage, match[1])
	}
	for i, entry := range inCode {
		fields := strings.Fields(entry)
		inCode[i] = fields[0] + " " + fields[1]
	}
	slices.Sort(inPage)
	if !slices.Equal(inCode, inPage) {
		t.Errorf("docs/control.md has\n%s\nthe code has\n%s", strings.Join(inPage, "\n"), strings.Join(inCode, "\n"))
	}

	// What is sent and taken has the keys that the document says.
	for name, value := range map[string]any{
		"Error": errorReply{}, "State": StateReply{}, "WaitRequest": WaitRequest{}, "StopRequest": StopRequest{}, "StopReply": StopReply{}, "Status": Status{},
		"Overrides": Overrides{}, "Listener": ListenerStatus{}, "Child": ChildStatus{}, "Children": Children{}, "Numbers": Numbers{},
		"Latency": Latency{}, "Change": configs.Change{}, "Reload": Reload{}, "RefusedReload": refusedReload{}, "Plan": Plan{},
		"Workers": Workers{}, "WorkersRequest": WorkersRequest{}, "LogLevel": LogLevel{}, "LogLevelRequest": LogLevelRequest{}, "Event": Event{},
		"UpgradeRequest": UpgradeRequest{}, "UpgradeProgress": UpgradeProgress{}, "Upgrade": Upgrade{}, "RefusedUpgrade": refusedUpgrade{},
		"Predecessor": Predecessor{}, "Balance": Balance{}, "Housekeeper": HousekeeperStatus{}, "Chore": ChoreStatus{},
	} {
		var documented []string
		for key := range document.Components.Schemas[name].Properties {
			documented = append(documented, key)
		}
		keys := keysOf(reflect.TypeOf(value))
		slices.Sort(documented)
		slices.Sort(keys)
		if !slices.Equal(documented, keys) {
			t.Errorf("%s: openapi.json has %v, the code has %v", name, documented, keys)
		}
		for _, key := range keys {
			if !regexp.MustCompile("[.`\"]" + key + "[`\"]").Match(page) {
				t.Errorf("docs/control.md says nothing of %s in %s", key, name)
			}
		}
	}

	// And every kind of event is in both.
	source, err := os.ReadFile("events.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^\tEvent\w+ += "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		if kind := match[1]; !bytes.Contains(page, []byte("| `"+kind+"` |")) || !bytes.Contains(openAPIDocument, []byte(`"`+kind+`"`)) {
			t.Errorf("the kind of event %s is not described", kind)
		}
	}
}

// keysOf are the keys of a struct in JSON.
func keysOf(t reflect.Type) (keys []string) {
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous {
			keys = append(keys, keysOf(field.Type.Elem())...)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		keys = append(keys, name)
	}
	return keys
}

// Who announces a body and does not send it is not waited for.
func TestBodyThatDoesNotCome(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), func(m *master) { m.operator.bound = time.Millisecond })
	for target, code := range map[string]int{"POST /v1/stop": 408, "GET /v1/log-level": 200} {
		c, err := net.Dial("unix", h.m.runtime.control)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, target+" HTTP/1.1\r\nHost: tined\r\nContent-Length: 9\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != code {
			t.Fatalf("%s: %+v, %v", target, response, err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Error(err)
		}
		if _, err := in.ReadByte(); err != io.EOF { // the connection cannot go on
			t.Errorf("%s: %v", target, err)
		}
	}
	if s := h.status(); s.State != "serving" {
		t.Error(s.State)
	}
}

// A body that has come leaves no bound behind: the answer may take longer.
func TestAnswerMayTakeLongerThanTheBody(t *testing.T) {
	var finish func(*Reload)
	asked := make(chan struct{})
	h := serve(t, testConfig(t.TempDir()), func(m *master) {
		m.operator.bound = time.Second
		m.operator.reload = func(_ string, done func(*Reload)) { finish = done; close(asked) }
	})
	outcome := make(chan error, 1)
	go func() {
		r, err := h.client().Reload(h.context())
		if err == nil && r.Generation != 9 {
			err = fmt.Errorf("%+v", r)
		}
		outcome <- err
	}()
	<-asked
	passed := time.NewTimer(1200 * time.Millisecond) // the bound, and some: a bound that was left behind would have cut the request off
	<-passed.C
	h.m.do(func() { finish(&Reload{At: time.Unix(1, 0), Committed: true, Generation: 9}) })
	if err := <-outcome; err != nil {
		t.Error(err)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	h := launchOperator(t, new(acts))
	response, text := h.ask("GET", "/v1/openapi.json", "")
	if response.StatusCode != 200 || text != string(openAPIDocument) || response.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
}
