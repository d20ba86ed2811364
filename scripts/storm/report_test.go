package main

import (
	"strings"
	"syscall"
	"testing"
)

func TestReport(t *testing.T) {
	r := &report{Scenario: "kill", About: "children die"}
	r.note("kills", 3)
	r.zero("refused", 0)
	if r.failed() {
		t.Error("failed without a missed bar")
	}
	c := &crowd{name: "connects", lost: []Failure{{Err: syscall.ECONNREFUSED}, {Err: errClosed, Child: "7"}}}
	r.crowd(c, nil, func(f Failure) bool { return f.Child == "7" })
	if !r.failed() || len(r.Missed) != 1 || !strings.Contains(r.Missed[0], "refused") {
		t.Errorf("missed: %q", r.Missed)
	}
	r.doubt("%d packets are gone", 2)
	if r.failed() {
		t.Error("failed in a run that proves nothing")
	}
	var b strings.Builder
	if err := r.table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kill: children die", "kills", "MISSED", "inconclusive: 2 packets are gone", "broken because held"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
