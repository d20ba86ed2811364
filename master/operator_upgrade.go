package master

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"
)

// maxUpgradeMillis bounds the times that a request sets, as the configuration does those that it replaces.
const (
	maxCanaryMillis  = int64(30 * time.Minute / time.Millisecond)
	maxTimeoutMillis = int64(time.Hour / time.Millisecond)
)

// upgradeNews is what has come about in an upgrade and was not written yet. The loop adds, and never waits for who reads.
type upgradeNews struct {
	mu   sync.Mutex
	list []UpgradeProgress
	more chan struct{} // has a token when list is not empty
}

func newUpgradeNews() *upgradeNews { return &upgradeNews{more: make(chan struct{}, 1)} }

func (n *upgradeNews) add(p UpgradeProgress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, p)
	select {
	case n.more <- struct{}{}:
	default:
	}
}

func (n *upgradeNews) take() []UpgradeProgress {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// refusal is the outcome if that is the first thing that has come about; nil: it is not.
func (n *upgradeNews) refusal() *Upgrade {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 || n.list[0].Outcome == nil || n.list[0].Outcome.Done {
		return nil
	}
	return n.list[0].Outcome
}

// refusedUpgrade is an Upgrade with the key that every refusal has.
type refusedUpgrade struct {
	Error string `json:"error"`
	*Upgrade
}

func (o *operator) upgradeNow(w http.ResponseWriter, r *http.Request) {
	var request UpgradeRequest
	if !take(w, r, "upgrade", &request) {
		return
	}
	if request.Binary != "" && !filepath.IsAbs(request.Binary) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("upgrade: binary cannot be %.200q; write an absolute path", request.Binary))
		return
	}
	if request.Previous != "" && !filepath.IsAbs(request.Previous) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("upgrade: previous cannot be %.200q; write an absolute path", request.Previous))
		return
	}
	o.follow(w, r, "upgrade", request, o.upgrade)
}

func (o *operator) rollbackNow(w http.ResponseWriter, r *http.Request) {
	var request UpgradeRequest
	if !take(w, r, "rollback", &request) {
		return
	}
	if request.Binary != "" {
		refuse(w, http.StatusBadRequest, "rollback: binary is that of the version before, and cannot be set; to go on with another one ask for an upgrade")
		return
	}
	if request.Previous != "" {
		refuse(w, http.StatusBadRequest, "rollback: previous cannot be set; a rollback back from this one goes to the file of the version that serves now")
		return
	}
	o.follow(w, r, "rollback", request, o.rollback)
}

// follow begins an upgrade and writes what comes about, until its outcome. It goes on after the control socket was given to another master,
// and the upgrade goes on when the client does not.
func (o *operator) follow(w http.ResponseWriter, r *http.Request, name string, request UpgradeRequest,
	act func(string, UpgradeRequest, func(UpgradeProgress)),
) {
	for _, set := range []struct {
		name string
		to   *int64
		low  int64
		high int64
	}{{"canary_millis", request.CanaryMillis, 0, maxCanaryMillis}, {"timeout_millis", request.TimeoutMillis, 1, maxTimeoutMillis}} {
		if set.to != nil && (*set.to < set.low || *set.to > set.high) {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("%s: %s cannot be %d; write a whole number from %d to %d", name, set.name, *set.to, set.low, set.high))
			return
		}
	}
	by, news := peerIn(r.Context()).String(), newUpgradeNews()
	refused, ok := now(o, w, r, func() *Upgrade {
		act(by, request, news.add)
		return news.refusal()
	})
	switch {
	case !ok:
	case refused != nil:
		reply(w, http.StatusConflict, refusedUpgrade{name + ": " + refused.Reason, refused})
	case !request.Wait:
		reply(w, http.StatusAccepted, StateReply{"upgrading"})
	default:
		o.tell(w, r, news)
	}
}

// tell writes the news, a line each, as they come.
func (o *operator) tell(w http.ResponseWriter, r *http.Request, news *upgradeNews) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for ended := false; ; {
		// Errors of these: the client has gone, or does not read.
		_ = control.SetWriteDeadline(time.Now().Add(eventBound))
		for _, p := range news.take() {
			if json.NewEncoder(w).Encode(p) != nil {
				return
			}
			ended = ended || p.Outcome != nil
		}
		if control.Flush() != nil || ended {
			return
		}
		select {
		case <-news.more:
		case <-r.Context().Done():
			return
		case <-o.m.done:
			ended = true // the outcome may have been the loop's last act
		}
	}
}

func (o *operator) balanceNow(w http.ResponseWriter, r *http.Request) {
	var request struct{}
	if !take(w, r, "balance", &request) {
		return
	}
	type outcome struct {
		Balance
		err error
	}
	by := peerIn(r.Context()).String()
	end, ok := await(o, w, r, func(answer func(outcome)) {
		o.balance(by, func(b Balance, err error) { answer(outcome{b, err}) })
	})
	switch {
	case !ok:
	case end.err != nil:
		refuse(w, http.StatusConflict, "balance: "+end.err.Error())
	default:
		reply(w, http.StatusOK, end.Balance)
	}
}
