package main

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A rowKey is what a writer calls a row of its own.
type rowKey struct{ writer, seq int64 }

// A fate is what a writer has been told of a row.
type fate uint8

const (
	// unknown: the connection was cut, so that it may be there or not.
	unknown fate = iota
	// acknowledged: it is there once, whatever has happened since.
	acknowledged
	// refused: whatever the reason, it is not there.
	refused
)

// sqlJury holds what the clients of databases are told against each other, and at the end against the file. Any goroutine may use it.
type sqlJury struct {
	seed maphash.Seed

	mu       sync.Mutex
	fates    map[rowKey]fate
	reached  int64 // the greatest id that any finished answer has shown
	bodies   map[tagKey]uint64
	kinds    map[string]int   // answers by kind
	faults   map[string]int   // what must not be, by kind
	examples map[string]error // the first of each
	took     map[string][]time.Duration
}

// A tagKey is an entity tag and what it was of.
type tagKey struct{ path, tag string }

func newSQLJury() *sqlJury {
	return &sqlJury{
		seed: maphash.MakeSeed(), fates: make(map[rowKey]fate), bodies: make(map[tagKey]uint64), kinds: make(map[string]int),
		faults: make(map[string]int), examples: make(map[string]error), took: make(map[string][]time.Duration),
	}
}

// An sqlAnswer is what counts of an answer from a database.
type sqlAnswer struct {
	status     int
	tag        string
	retryAfter string
	code       string // of a problem
	kind       string // Content-Type
	body       []byte
}

// problemCode reads the code of application/problem+json (RFC 9457).
func problemCode(body []byte) string {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &problem) // without a code it is a fault anyway
	return problem.Code
}

// The kinds of answers that are no fault.
const (
	answeredWell  = "200"
	answeredSame  = "304"
	answeredBusy  = "503 with Retry-After"
	answeredFull  = "507"
	answeredWrong = "409 that was due"
	answeredLimit = "504 that was due"
)

// An expectation is what a request may be answered with beside 200.
type expectation struct {
	same       bool // 304
	constraint bool // nothing but 409
	full       bool // 507 and 503: the disk is full, or was a moment ago
	limit      bool // nothing but 504
}

// classifyAnswer says what kind an answer is. An error is one that must not be.
func classifyAnswer(a *sqlAnswer, e expectation) (kind string, err error) {
	switch {
	case a.status == http.StatusServiceUnavailable && a.code != "" && a.retryAfter != "":
		return answeredBusy, nil
	case a.status == http.StatusInsufficientStorage && e.full && a.code == "disk_full":
		return answeredFull, nil
	case e.constraint && a.status == http.StatusConflict && a.code == "constraint_check":
		return answeredWrong, nil
	case e.limit && a.status == http.StatusGatewayTimeout && a.code == "timeout":
		return answeredLimit, nil
	case e.constraint || e.limit:
	case a.status == http.StatusOK:
		return answeredWell, nil
	case e.same && a.status == http.StatusNotModified:
		return answeredSame, nil
	}
	return "", fmt.Errorf("status %d, code %q, Retry-After %q: %.200q", a.status, a.code, a.retryAfter, a.body)
}

// count notes an answer of a kind to one of the requests called name.
func (j *sqlJury) count(name, kind string, took time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kinds[name+": "+kind]++
	j.took[name] = append(j.took[name], took)
}

// blame notes what must not be.
func (j *sqlJury) blame(fault string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.faults[fault]++; j.examples[fault] == nil {
		j.examples[fault] = err
	}
}

// tell notes what a writer has been told of rows.
func (j *sqlJury) tell(f fate, rows ...rowKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range rows {
		j.fates[r] = f
	}
}

// floor is the id that every answer must reach to a question that is asked from now on.
func (j *sqlJury) floor() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.reached
}

// reach notes that an answer has shown an id, to a question from before which floor was known.
func (j *sqlJury) reach(id, floor int64) {
	j.mu.Lock()
	j.reached = max(j.reached, id)
	j.mu.Unlock()
	if id < floor {
		j.blame("went back", fmt.Errorf("an answer shows row %d as the last, and row %d was there before it was asked for", id, floor))
	}
}

// tagged notes that a tag came with a body.
func (j *sqlJury) tagged(path, tag string, body []byte) {
	sum := maphash.Bytes(j.seed, body)
	key := tagKey{path, tag}
	j.mu.Lock()
	before, known := j.bodies[key]
	if !known {
		j.bodies[key] = sum
	}
	j.mu.Unlock()
	if known && before != sum {
		j.blame("one tag, two bodies", fmt.Errorf("%s %s: %.200q", path, tag, body))
	}
}

// An account is what became of rows.
type account struct {
	acknowledged, refused, unknown int // that were told
	landed                         int // of the unknown, those that are there
	missing, twice, ghosts         int // acknowledged and not there; there more than once; refused and there, or nobody's
	example                        string
}

// settle holds what the writers were told against the rows of the file, with how often each is there.
func (j *sqlJury) settle(found map[rowKey]int) (a account) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wrong := func(counter *int, what string, r rowKey) {
		if *counter++; a.example == "" {
			a.example = fmt.Sprintf("row %d of writer %d is %s", r.seq, r.writer, what)
		}
	}
	for r, f := range j.fates {
		n := found[r]
		if n > 1 {
			wrong(&a.twice, fmt.Sprintf("there %d times", n), r)
		}
		switch f {
		case acknowledged:
			if a.acknowledged++; n == 0 {
				wrong(&a.missing, "acknowledged, and not there", r)
			}
		case refused:
			if a.refused++; n > 0 {
				wrong(&a.ghosts, "refused, and there", r)
			}
		case unknown:
			if a.unknown++; n > 0 {
				a.landed++
			}
		}
	}
	for r := range found {
		if _, known := j.fates[r]; !known {
			wrong(&a.ghosts, "there, and nobody has sent it", r)
		}
	}
	return a
}

// report tells what the clients have seen.
func (j *sqlJury) report(r *report) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(j.kinds)) {
		r.note(kind, j.kinds[kind])
	}
	for _, fault := range slices.Sorted(maps.Keys(j.faults)) {
		r.zero(fault, j.faults[fault])
		r.note("  the first of them", j.examples[fault].Error())
	}
	if len(j.faults) == 0 {
		r.zero("faults", 0)
	}
}

// times are the middle, the 99th of a hundred and the longest of what requests took, from the number begin on; n is how many they are.
func (j *sqlJury) times(name string, begin int) (p50, p99, longest time.Duration, n int) {
	j.mu.Lock()
	took := slices.Clone(j.took[name][min(begin, len(j.took[name])):])
	j.mu.Unlock()
	if len(took) == 0 {
		return 0, 0, 0, 0
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], took[len(took)-1], len(took)
}

// asked is how many requests of that name have been answered.
func (j *sqlJury) asked(name string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.took[name])
}

// kindCount is how many answers of a kind there were to requests of that name.
func (j *sqlJury) kindCount(name, kind string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kinds[name+": "+kind]
}
