package main

import (
	"testing"
	"time"
)

func TestClassifyAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer sqlAnswer
		expect expectation
		kind   string // "": a fault
	}{
		{"well", sqlAnswer{status: 200}, expectation{}, answeredWell},
		{"same", sqlAnswer{status: 304}, expectation{same: true}, answeredSame},
		{"304 to who has nothing", sqlAnswer{status: 304}, expectation{}, ""},
		{"deliberate 503", sqlAnswer{status: 503, code: "busy", retryAfter: "1"}, expectation{}, answeredBusy},
		{"503 without Retry-After", sqlAnswer{status: 503, code: "busy"}, expectation{}, ""},
		{"503 without a code", sqlAnswer{status: 503, retryAfter: "1"}, expectation{}, ""},
		{"507 on a full disk", sqlAnswer{status: 507, code: "disk_full"}, expectation{full: true}, answeredFull},
		{"507 on a disk with room", sqlAnswer{status: 507, code: "disk_full"}, expectation{}, ""},
		{"409 that was due", sqlAnswer{status: 409, code: "constraint_check"}, expectation{constraint: true}, answeredWrong},
		{"409 that was not", sqlAnswer{status: 409, code: "constraint_check"}, expectation{}, ""},
		{"200 for what must be refused", sqlAnswer{status: 200}, expectation{constraint: true}, ""},
		{"504 that was due", sqlAnswer{status: 504, code: "timeout"}, expectation{limit: true}, answeredLimit},
		{"504 that was not", sqlAnswer{status: 504, code: "timeout"}, expectation{}, ""},
		{"200 from what never ends", sqlAnswer{status: 200}, expectation{limit: true}, ""},
		{"500", sqlAnswer{status: 500, code: "internal"}, expectation{}, ""},
	} {
		kind, err := classifyAnswer(&c.answer, c.expect)
		if kind != c.kind || (err == nil) != (c.kind != "") {
			t.Errorf("%s: %q, %v; want %q", c.name, kind, err, c.kind)
		}
	}
}

func TestProblemCode(t *testing.T) {
	for body, want := range map[string]string{
		`{"type":"about:blank","status":503,"code":"busy","queue":3}`: "busy", `{}`: "", `no JSON`: "", ``: "", `[1]`: "",
	} {
		if got := problemCode([]byte(body)); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func TestSettle(t *testing.T) {
	key := func(seq int64) rowKey { return rowKey{7, seq} }
	for _, c := range []struct {
		name  string
		told  map[rowKey]fate
		found map[rowKey]int
		want  account
	}{
		{"all is well", map[rowKey]fate{key(1): acknowledged, key(2): refused, key(3): unknown, key(4): unknown},
			map[rowKey]int{key(1): 1, key(3): 1}, account{acknowledged: 1, refused: 1, unknown: 2, landed: 1}},
		{"lost", map[rowKey]fate{key(1): acknowledged}, nil, account{acknowledged: 1, missing: 1, example: "row 1 of writer 7 is acknowledged, and not there"}},
		{"twice", map[rowKey]fate{key(1): acknowledged}, map[rowKey]int{key(1): 2},
			account{acknowledged: 1, twice: 1, example: "row 1 of writer 7 is there 2 times"}},
		{"twice, of unknown outcome", map[rowKey]fate{key(1): unknown}, map[rowKey]int{key(1): 2},
			account{unknown: 1, landed: 1, twice: 1, example: "row 1 of writer 7 is there 2 times"}},
		{"refused, and there", map[rowKey]fate{key(1): refused}, map[rowKey]int{key(1): 1},
			account{refused: 1, ghosts: 1, example: "row 1 of writer 7 is refused, and there"}},
		{"nobody's", nil, map[rowKey]int{key(1): 1}, account{ghosts: 1, example: "row 1 of writer 7 is there, and nobody has sent it"}},
	} {
		j := newSQLJury()
		for k, f := range c.told {
			j.tell(f, k)
		}
		if got := j.settle(c.found); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSQLJuryBlames(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(j *sqlJury)
		fault string // "": none
	}{
		{"the same body", func(j *sqlJury) { j.tagged("/a", `"1"`, []byte("x")); j.tagged("/a", `"1"`, []byte("x")) }, ""},
		{"another tag", func(j *sqlJury) { j.tagged("/a", `"1"`, []byte("x")); j.tagged("/a", `"2"`, []byte("y")) }, ""},
		{"another path", func(j *sqlJury) { j.tagged("/a", `"1"`, []byte("x")); j.tagged("/b", `"1"`, []byte("y")) }, ""},
		{"another body", func(j *sqlJury) { j.tagged("/a", `"1"`, []byte("x")); j.tagged("/a", `"1"`, []byte("y")) }, "one tag, two bodies"},
		{"forward", func(j *sqlJury) { j.reach(5, j.floor()); j.reach(6, j.floor()) }, ""},
		{"an answer under way", func(j *sqlJury) { f := j.floor(); j.reach(5, j.floor()); j.reach(4, f) }, ""},
		{"back", func(j *sqlJury) { j.reach(5, j.floor()); j.reach(4, j.floor()) }, "went back"},
	} {
		j := newSQLJury()
		c.do(j)
		if (len(j.faults) > 0) != (c.fault != "") || c.fault != "" && j.faults[c.fault] != 1 {
			t.Errorf("%s: faults %v, want %q", c.name, j.faults, c.fault)
		}
	}
}

func TestSQLJuryTimes(t *testing.T) {
	j := newSQLJury()
	for i := range 200 {
		j.count("writes", answeredWell, time.Duration(i+1)*time.Millisecond)
	}
	p50, p99, longest, n := j.times("writes", 0)
	if p50 != 101*time.Millisecond || p99 != 199*time.Millisecond || longest != 200*time.Millisecond || n != 200 {
		t.Errorf("times: %v %v %v of %d", p50, p99, longest, n)
	}
	if p50, _, _, n := j.times("writes", 199); p50 != 200*time.Millisecond || n != 1 {
		t.Errorf("times of the last: %v of %d", p50, n)
	}
	if _, _, _, n := j.times("reads", 0); n != 0 {
		t.Errorf("times of nothing: %d", n)
	}
	if j.kindCount("writes", answeredWell) != 200 || j.asked("writes") != 200 {
		t.Error("the counts are wrong")
	}
}
