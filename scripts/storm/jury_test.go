package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// versions makes a file whose versions were all written at once, an hour ago, but for the last.
func versions(m manner, size int, varies bool, n int, last time.Time) *target {
	f := &target{index: 3, name: "f.txt", manner: m, size: size, varies: varies}
	for range n - 1 {
		f.changes = append(f.changes, change{last.Add(-time.Hour), last.Add(-time.Hour)})
	}
	f.changes = append(f.changes, change{last, last})
	return f
}

func TestContent(t *testing.T) {
	f := versions(renamed, 1<<10, true, 9, time.Now())
	for v := range uint64(9) {
		content := f.content(nil, v)
		if len(content) != f.length(v) || len(content)%lineSize != 0 {
			t.Errorf("version %d: %d bytes, want %d", v, len(content), f.length(v))
		}
		for first := 0; first < len(content); first += lineSize {
			if got, err := f.whole(content[first:first+lineSize], first, len(content)); err != nil || got != v {
				t.Errorf("version %d from %d on: %d, %v", v, first, got, err)
			}
		}
	}
	if f.length(0) == f.length(1) {
		t.Error("the length does not vary")
	}
	old, next := f.content(nil, 0), f.content(nil, 8) // of one length
	for _, at := range []int{30, lineSize, lineSize + 50, len(old) - 2} {
		if v, err := f.whole(append(bytes.Clone(old[:at]), next[at:]...), 0, len(old)); err == nil {
			t.Errorf("a mixture at %d is version %d", at, v)
		}
	}
	for name, part := range map[string][]byte{"nothing": nil, "short": old[:len(old)-1], "other": bytes.Repeat([]byte("x"), len(old))} {
		if v, err := f.whole(part, 0, len(part)); err == nil {
			t.Errorf("%s is version %d", name, v)
		}
	}
}

func TestJury(t *testing.T) {
	now := time.Now()
	begin, end := now.Add(-20*time.Millisecond), now.Add(-10*time.Millisecond)
	long := 256 << 10
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	still := versions(renamed, 1<<10, false, 3, ago(time.Minute)) // version 2 for a minute
	fresh := versions(renamed, 1<<10, false, 3, ago(100*time.Millisecond))
	quiet := versions(overwritten, long, false, 2, ago(time.Minute))
	busy := versions(overwritten, long, false, 2, ago(15*time.Millisecond))
	small := versions(overwritten, 1<<10, false, 2, ago(15*time.Millisecond))
	mix := func(f *target) []byte {
		return append(f.content(nil, 0)[:f.size/2], f.content(nil, 1)[f.size/2:]...)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(still.content(nil, 2))
	_ = zip.Close()
	type asked struct {
		question
		status            int
		tag, packed, part string
		body              []byte
	}
	ok := func(f *target, v uint64, tag string) asked {
		return asked{question: question{of: f}, status: 200, tag: tag, body: f.content(nil, v)}
	}
	held := &form{of: still, tag: `"two"`, body: still.content(nil, 2), version: 2, known: true}
	same := func(h *form, tag string) asked {
		return asked{question: question{of: h.of, about: h}, status: 304, tag: tag}
	}
	part := func(h *form, part string, body []byte) asked {
		return asked{question: question{of: h.of, about: h, ranged: true, first: 20, last: 29}, status: 206, tag: h.tag, part: part, body: body}
	}
	heldQuiet := &form{of: quiet, tag: `"q"`, body: quiet.content(nil, 1)}
	heldBusy := &form{of: busy, tag: `"b"`, body: busy.content(nil, 0)}
	heldOld := &form{of: still, tag: `"old"`, body: still.content(nil, 1), version: 1, known: true}
	for name, c := range map[string]struct {
		all  []asked // the last one is judged
		want Fault
	}{
		"right":                           {[]asked{ok(still, 2, `"two"`)}, ""},
		"an older one in its time":        {[]asked{ok(fresh, 1, `"one"`)}, ""},
		"too old":                         {[]asked{ok(still, 1, `"one"`)}, FaultStale},
		"mixed":                           {[]asked{{question{of: still}, 200, `W/"m"`, "", "", mix(still)}}, FaultMixed},
		"one tag, another version":        {[]asked{ok(fresh, 1, `"one"`), ok(fresh, 2, `"one"`)}, FaultTwice},
		"one weak tag, another version":   {[]asked{ok(fresh, 1, `W/"one"`), ok(fresh, 2, `W/"one"`)}, ""},
		"one tag for both forms":          {[]asked{ok(still, 2, `"two"`), {question{of: still, coding: "gzip"}, 200, `"two"`, "gzip", "", packed.Bytes()}}, FaultTwice},
		"packed":                          {[]asked{{question{of: still, coding: "gzip"}, 200, `"two-gzip"`, "gzip", "", packed.Bytes()}}, ""},
		"packed for one who did not ask":  {[]asked{{question{of: still}, 200, `"two-gzip"`, "gzip", "", packed.Bytes()}}, FaultStatus},
		"packed and cut":                  {[]asked{{question{of: still, coding: "gzip"}, 200, `"x"`, "gzip", "", packed.Bytes()[:40]}}, FaultPacking},
		"no tag":                          {[]asked{ok(still, 2, "")}, FaultTag},
		"500":                             {[]asked{{question: question{of: quiet}, status: 500}}, FaultStatus},
		"404 of what is renamed":          {[]asked{{question: question{of: still}, status: 404}}, FaultStatus},
		"404 of what is made again":       {[]asked{{question: question{of: quiet}, status: 404}}, ""},
		"304":                             {[]asked{ok(still, 2, `"two"`), same(held, `"two"`)}, ""},
		"304 for another":                 {[]asked{ok(still, 2, `"two"`), same(held, `"three"`)}, FaultUnknown},
		"304 for what is too old":         {[]asked{ok(still, 2, `"two"`), ok(fresh, 1, `"old"`), same(heldOld, `"old"`)}, FaultStale},
		"304 to who asked for all":        {[]asked{{question: question{of: still}, status: 304, tag: `"two"`}}, FaultStatus},
		"a part":                          {[]asked{part(held, "bytes 20-29/1024", held.body[20:30])}, ""},
		"another part":                    {[]asked{part(held, "bytes 20-29/1024", held.body[21:31])}, FaultPart},
		"a part of another length":        {[]asked{part(held, "bytes 20-29/1000", held.body[20:30])}, FaultPart},
		"a part of a quiet file's other":  {[]asked{part(heldQuiet, "bytes 20-29/262144", quiet.content(nil, 0)[20:30])}, FaultPart},
		"the same of one being written":   {[]asked{part(heldBusy, "bytes 20-29/262144", busy.content(nil, 1)[20:30])}, ""},
		"mixed, strong, nobody wrote":     {[]asked{{question{of: quiet}, 200, `"m"`, "", "", mix(quiet)}}, FaultQuiet},
		"mixed, weak":                     {[]asked{{question{of: quiet}, 200, `W/"m"`, "", "", mix(quiet)}}, ""},
		"mixed, strong, being written":    {[]asked{{question{of: busy}, 200, `"m"`, "", "", mix(busy)}}, ""},
		"a small one's mixed content":     {[]asked{{question{of: small}, 200, `"m"`, "", "", mix(small)}}, ""},
		"a small one's tag of two bodies": {[]asked{{question{of: small}, 200, `"m"`, "", "", mix(small)}, ok(small, 1, `"m"`)}, FaultTwice},
	} {
		j := newJury()
		for i, a := range c.all {
			r := &reply{question: a.question, begin: begin, end: end, status: a.status, tag: a.tag, packed: a.packed, part: a.part, body: a.body}
			r.road = "/"
			before := len(j.faulty())
			j.judge(r)
			got := j.faulty()
			switch {
			case i < len(c.all)-1 && len(got) > 0:
				t.Errorf("%s: answer %d: %v", name, i, got)
			case i == len(c.all)-1 && c.want == "" && len(got) > 0, i == len(c.all)-1 && c.want != "" && (len(got) != before+1 || got[0] != c.want):
				t.Errorf("%s: %v, want %q: %v", name, got, c.want, j.found)
			}
		}
	}
}

// faulty are the kinds of faults found so far.
func (j *jury) faulty() (all []Fault) {
	for _, f := range faults {
		if len(j.found[f]) > 0 {
			all = append(all, f)
		}
	}
	return all
}

// Only who writes into a file that is being sent has its clients cut off.
func TestJuryBroken(t *testing.T) {
	for _, c := range []struct {
		manner manner
		err    error
		fault  bool
	}{
		{renamed, io.ErrUnexpectedEOF, true}, {overwritten, io.ErrUnexpectedEOF, false}, {truncated, syscall.ECONNRESET, false},
		{remade, errTimeout, true}, {remade, syscall.ECONNREFUSED, true},
	} {
		j := newJury()
		j.broken(question{of: &target{manner: c.manner}}, c.err)
		if got := len(j.faulty()) > 0; got != c.fault {
			t.Errorf("%s, %v: fault %t", c.manner, c.err, got)
		}
	}
}

func TestQuestion(t *testing.T) {
	f := &target{name: "f"}
	whole := question{of: f, road: "/a/", coding: "zstd", about: &form{tag: `W/"x"`}}
	part := question{of: f, road: "/", ranged: true, first: 1, last: 2, about: &form{tag: `"y"`}}
	for text, want := range map[string]string{
		whole.text(): "GET /a/f HTTP/1.1\r\nHost: storm\r\nAccept-Encoding: zstd\r\nIf-None-Match: W/\"x\"\r\n\r\n",
		part.text():  "GET /f HTTP/1.1\r\nHost: storm\r\nRange: bytes=1-2\r\nIf-Range: \"y\"\r\n\r\n",
	} {
		if text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
	if !strings.HasSuffix(whole.text(), "\r\n\r\n") {
		t.Error("the head does not end")
	}
}
