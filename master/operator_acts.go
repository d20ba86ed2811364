package master

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// The operator's acts: reload, plan, scale, restart, log files. Each answers when it has come about, and goes on when the client does not
// wait that long.

// MaxChildren bounds their number, as the configuration's `children` does.
const MaxChildren = 1024

// openAPIDocument describes every operation for machines; docs/control.md does for people.
//
//go:embed openapi.json
var openAPIDocument []byte

func (o *operator) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPIDocument) // the client may have gone
}

func (o *operator) reloadNow(w http.ResponseWriter, r *http.Request) {
	var request WaitRequest
	if !take(w, r, "reload", &request) {
		return
	}
	by := peerIn(r.Context()).String()
	if !request.Wait {
		if _, ok := now(o, w, r, func() struct{} { o.reload(by, nil); return struct{}{} }); ok {
			reply(w, http.StatusAccepted, StateReply{"reloading"})
		}
		return
	}
	outcome, ok := await(o, w, r, func(answer func(*Reload)) { o.reload(by, answer) })
	switch {
	case !ok:
	case outcome.Committed:
		reply(w, http.StatusOK, outcome)
	case hasMistake(outcome.Diagnostics):
		reply(w, http.StatusUnprocessableEntity, refusedReload{outcome.Reason, outcome})
	default:
		reply(w, http.StatusConflict, refusedReload{outcome.Reason, outcome})
	}
}

// refusedReload is a Reload with the key that every refusal has.
type refusedReload struct {
	Error string `json:"error"`
	*Reload
}

// hasMistake tells a configuration that is wrong from one that only could not be brought to every child.
func hasMistake(diagnostics []string) bool {
	for _, d := range diagnostics {
		if !strings.Contains(d, "warning: ") {
			return true
		}
	}
	return false
}

func (o *operator) planNow(w http.ResponseWriter, r *http.Request) {
	if p, ok := await(o, w, r, o.plan); ok {
		reply(w, http.StatusOK, p)
	}
}

func (o *operator) setChildren(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Count json.RawMessage `json:"count"`
	}
	if !take(w, r, "children", &request) {
		return
	}
	count, err := childCount(string(request.Count))
	if err != nil {
		refuse(w, http.StatusBadRequest, "children: "+err.Error())
		return
	}
	by := peerIn(r.Context()).String()
	refused, ok := await(o, w, r, func(answer func(error)) { o.scale(count, by, answer) })
	switch {
	case !ok:
	case refused != nil:
		refuse(w, http.StatusConflict, "children: "+refused.Error())
	default:
		o.children(w, r)
	}
}

// childCount reads a number of children, or "auto".
func childCount(text string) (int, error) {
	const cure = `write a whole number from 1 to 1024, or "auto" for one per usable core`
	if text == "" || text == "null" {
		return 0, errors.New("count is needed; " + cure)
	}
	if text == `"auto"` {
		return usableCores(os.DirFS("/")), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxChildren {
		return 0, fmt.Errorf("count cannot be %.40s; %s", text, cure)
	}
	return n, nil
}

func (o *operator) restartChild(w http.ResponseWriter, r *http.Request) {
	var request WaitRequest
	if !take(w, r, "restart", &request) {
		return
	}
	index, err := strconv.Atoi(r.PathValue("index"))
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("restart: %q is no child; write its number, such as 0", r.PathValue("index")))
		return
	}
	by := peerIn(r.Context()).String()
	type outcome struct {
		missing string
		err     error
	}
	end, ok := await(o, w, r, func(answer func(outcome)) {
		if n := o.m.children(); index < 0 || index >= n { // those that leave come behind
			answer(outcome{missing: fmt.Sprintf("restart: there is no child %d; %s", index, theChildren(n))})
			return
		}
		if err := o.m.fleet(); err != nil {
			answer(outcome{err: err})
			return
		}
		if !request.Wait {
			o.restart(index, by, nil)
			answer(outcome{})
			return
		}
		o.restart(index, by, func(err error) { answer(outcome{err: err}) })
	})
	switch {
	case !ok:
	case end.missing != "":
		refuse(w, http.StatusNotFound, end.missing)
	case end.err != nil:
		refuse(w, http.StatusConflict, "restart: "+end.err.Error())
	case request.Wait:
		reply(w, http.StatusOK, StateReply{"restarted"})
	default:
		reply(w, http.StatusAccepted, StateReply{"restarting"})
	}
}

func theChildren(n int) string {
	if n == 1 {
		return "there is child 0 alone"
	}
	return fmt.Sprintf("there are children 0 to %d", n-1)
}

func (o *operator) reopenLogs(w http.ResponseWriter, r *http.Request) {
	by := peerIn(r.Context()).String()
	type outcome struct {
		err  error
		late int
	}
	end, ok := await(o, w, r, func(answer func(outcome)) {
		o.m.log.Info("reopening of the log files is asked for on the control socket", zap.String("by", by))
		err := o.m.reopenLogs()
		o.m.awaitReopened(func(late int) { answer(outcome{err, late}) })
	})
	switch {
	case !ok:
	case end.err != nil:
		refuse(w, http.StatusInternalServerError, "reopen logs: "+strings.ReplaceAll(end.err.Error(), "\n", "; "))
	case end.late > 0:
		refuse(w, http.StatusGatewayTimeout, fmt.Sprintf("reopen logs: done, but %d of the children have not said so in time", end.late))
	default:
		reply(w, http.StatusOK, StateReply{"reopened"})
	}
}

// awaitReopened calls done once no child writes to the old files any more, with the number of those that have not said so within the bound.
func (m *master) awaitReopened(done func(late int)) {
	open := func(c *child) bool { return c.unopened > 0 && c.state < Ending }
	m.inquire(m.bounds.resize, open, func() { done(m.count(open)) })
}

// count is the number of lives of a kind.
func (m *master) count(kind func(c *child) bool) (n int) {
	for c := range m.lives {
		if kind(c) {
			n++
		}
	}
	return n
}

// reopened takes a child's word that it writes to the new files.
func (m *master) reopened(c *child) {
	if c.unopened > 0 { // an adopted one may answer an earlier master
		c.unopened--
		m.answerInquiries()
	}
}
