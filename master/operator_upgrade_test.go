package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func millisOrNone(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

// news makes pieces of news; the last has the outcome.
func news(outcome *Upgrade, texts ...string) (list []UpgradeProgress) {
	for i, text := range texts {
		p := UpgradeProgress{At: time.Unix(int64(1_000_000+i), 0).UTC(), Text: text}
		if i == len(texts)-1 {
			p.Outcome = outcome
		}
		list = append(list, p)
	}
	return list
}

var (
	upgraded = &Upgrade{
		At: time.Unix(1_000_000, 0).UTC(), By: "x", Binary: "/new", From: "1", To: "2", Stage: "done", Done: true, Seconds: 3, Moved: 7,
		ClosedByReason: map[string]uint64{"idle_timeout": 1},
	}
	takenBack = &Upgrade{At: time.Unix(1_000_000, 0).UTC(), By: "x", Binary: "/new", From: "1", Stage: "failed", Reason: "it is sick", Seconds: 3}
)

// followed asks as the client does, and returns what it was told.
func followed(h *harness, ask func(context.Context, UpgradeRequest, func(UpgradeProgress) error) (*Upgrade, error), r UpgradeRequest) (*Upgrade, []UpgradeProgress, error) {
	var told []UpgradeProgress
	outcome, err := ask(h.context(), r, func(p UpgradeProgress) error {
		told = append(told, p)
		return nil
	})
	return outcome, told, err
}

// The news of an upgrade come as a stream up to the outcome, done or taken back; one that is refused at once has its own code.
func TestUpgradeOperation(t *testing.T) {
	a := new(acts)
	h := launchOperator(t, a)
	canary, timeout := int64(0), int64(9000)
	for _, c := range []struct {
		outcome *Upgrade
		list    []UpgradeProgress
	}{
		{upgraded, news(upgraded, "started", "serves", "done")},
		{takenBack, news(takenBack, "started", "failed: it is sick")},
	} {
		a.upgrade = func(follow func(UpgradeProgress)) {
			for _, p := range c.list {
				follow(p)
			}
		}
		outcome, told, err := followed(h, h.client().Upgrade, UpgradeRequest{Binary: "/new", CanaryMillis: &canary, TimeoutMillis: &timeout})
		if err != nil || !reflect.DeepEqual(outcome, c.outcome) || !reflect.DeepEqual(told, c.list) {
			t.Errorf("%+v, %+v, %v; want %+v", outcome, told, err, c.list)
		}
		a.want(t, `upgrade to "/new" by `+here()+", canary 0, timeout 9000")
		outcome, told, err = followed(h, h.client().Rollback, UpgradeRequest{})
		if err != nil || !reflect.DeepEqual(outcome, c.outcome) || !reflect.DeepEqual(told, c.list) {
			t.Errorf("%+v, %+v, %v; want %+v", outcome, told, err, c.list)
		}
		a.want(t, `rollback to "" by `+here()+", canary none, timeout none")
		response, text := h.ask("POST", "/v1/upgrade", `{"wait": true}`)
		if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || kind != "application/x-ndjson" || strings.Count(text, "\n") != len(c.list) {
			t.Errorf("%d %s %s", response.StatusCode, kind, text)
		}
		a.want(t, `upgrade to "" by `+here()+", canary none, timeout none")
		if response, text := h.ask("POST", "/v1/upgrade", ""); response.StatusCode != 202 || !strings.Contains(text, `"upgrading"`) {
			t.Errorf("%d %s", response.StatusCode, text)
		}
		a.want(t, `upgrade to "" by `+here()+", canary none, timeout none")
	}
}

func TestUpgradeIsRefusedAtOnce(t *testing.T) {
	a := &acts{upgrade: func(follow func(UpgradeProgress)) {
		follow(UpgradeProgress{At: takenBack.At, Text: failedText(takenBack.Reason), Outcome: takenBack})
	}}
	h := launchOperator(t, a)
	for _, body := range []string{"", `{"wait": true}`} {
		response, text := h.ask("POST", "/v1/upgrade", body)
		var e errorReply
		if err := json.Unmarshal([]byte(text), &e); err != nil || response.StatusCode != http.StatusConflict || e.Error != "upgrade: it is sick" {
			t.Errorf("%d %s", response.StatusCode, text)
		}
	}
	outcome, told, err := followed(h, h.client().Rollback, UpgradeRequest{})
	if err != nil || !reflect.DeepEqual(outcome, takenBack) || len(told) != 1 || !reflect.DeepEqual(told[0].Outcome, takenBack) || told[0].Text != "failed: it is sick" {
		t.Errorf("%+v, %+v, %v", outcome, told, err)
	}
	_, err = h.client().Upgrade(h.context(), UpgradeRequest{Binary: "new"}, nil)
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 400 {
		t.Errorf("%v", err)
	}
}

// The news come one by one; a client that goes away stops nothing, and the loop never waits for one.
func TestNewsOfUpgradeAreFlushed(t *testing.T) {
	follows := make(chan func(UpgradeProgress), 2)
	a := &acts{upgrade: func(follow func(UpgradeProgress)) { follows <- follow }}
	h := launchOperator(t, a)
	list := news(upgraded, "one", "two", "three")
	told := make(chan UpgradeProgress)
	end := make(chan error, 1)
	go func() {
		outcome, err := h.client().Upgrade(h.context(), UpgradeRequest{}, func(p UpgradeProgress) error { told <- p; return nil })
		if err == nil && !outcome.Done {
			err = errors.New("not done")
		}
		end <- err
	}()
	follow := <-follows
	for _, p := range list {
		h.m.do(func() { follow(p) })
		if got := <-told; !reflect.DeepEqual(got, p) {
			t.Fatalf("%+v, not %+v", got, p)
		}
	}
	if err := <-end; err != nil {
		t.Error(err)
	}

	gone := errors.New("enough")
	go func() {
		_, err := h.client().Upgrade(h.context(), UpgradeRequest{}, func(UpgradeProgress) error { return gone })
		end <- err
	}()
	follow = <-follows
	h.m.do(func() { follow(list[0]) })
	if err := <-end; !errors.Is(err, gone) {
		t.Error(err)
	}
	for range 10_000 { // more than any buffer holds
		h.m.do(func() { follow(list[1]) })
	}
	if s := h.status(); s.State != "serving" {
		t.Error(s.State)
	}
}

// The stream goes on while another master has the control socket, and is told what comes last; streams of events end.
func TestNewsOfUpgradeOutliveTheControlSocket(t *testing.T) {
	follows := make(chan func(UpgradeProgress), 1)
	a := &acts{upgrade: func(follow func(UpgradeProgress)) { follows <- follow }}
	h := launchOperator(t, a)
	type end struct {
		outcome *Upgrade
		err     error
	}
	ends, events := make(chan end, 1), make(chan error, 1)
	told, first := make(chan UpgradeProgress, 8), make(chan struct{}, 512)
	go func() {
		outcome, err := h.client().Upgrade(h.context(), UpgradeRequest{}, func(p UpgradeProgress) error { told <- p; return nil })
		ends <- end{outcome, err}
	}()
	go func() {
		events <- h.client().Events(h.context(), EventsRequest{Follow: true}, func(Event) error { first <- struct{}{}; return nil })
	}()
	follow := <-follows
	<-first
	list := news(upgraded, "one", "two", "done")
	h.m.do(func() {
		follow(list[0])
		h.m.operator.pause()
		h.m.operator.leave()
	})
	if err := <-events; err != nil {
		t.Errorf("events: %v", err)
	}
	h.m.do(func() { follow(list[1]) })
	for i := range 2 {
		if got := <-told; got.Text != list[i].Text {
			t.Errorf("%+v", got)
		}
	}
	h.m.do(func() {
		follow(list[2])
		h.m.stop(true) // the last act
	})
	if e := <-ends; e.err != nil || !reflect.DeepEqual(e.outcome, upgraded) {
		t.Errorf("%+v, %v", e.outcome, e.err)
	}
}

// A master that ends without an outcome leaves none: that is no error of the client's.
func TestUpgradeWithoutOutcome(t *testing.T) {
	follows := make(chan func(UpgradeProgress), 1)
	a := &acts{upgrade: func(follow func(UpgradeProgress)) { follows <- follow }}
	h := launchOperator(t, a)
	told := make(chan struct{}, 1)
	ends := make(chan error, 1)
	go func() {
		outcome, err := h.client().Upgrade(h.context(), UpgradeRequest{}, func(UpgradeProgress) error { told <- struct{}{}; return nil })
		if outcome != nil {
			err = fmt.Errorf("there is an outcome: %+v", outcome)
		}
		ends <- err
	}()
	follow := <-follows
	h.m.do(func() { follow(news(nil, "one")[0]) })
	<-told
	h.signals <- os.Interrupt
	if err := <-ends; err != nil {
		t.Error(err)
	}
}

func TestBalanceOperation(t *testing.T) {
	a := &acts{balance: Balance{At: time.Unix(1_000_000, 0).UTC(), By: "x", Moved: 3, Before: []int{6, 0}, After: []int{3, 3}, Seconds: .5}}
	h := launchOperator(t, a)
	got, err := h.client().Balance(h.context())
	if err != nil || !reflect.DeepEqual(*got, a.balance) {
		t.Errorf("%+v, %v", got, err)
	}
	a.want(t, "balance by "+here())
	a.err = errors.New("the server is starting")
	_, err = h.client().Balance(h.context())
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 409 || refused.Message != "balance: the server is starting" {
		t.Errorf("%v", err)
	}
}
