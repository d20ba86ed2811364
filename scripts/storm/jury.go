package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// manner is how a file gets its next version.
type manner uint8

const (
	renamed     manner = iota // a new file takes its name: nobody may ever see anything but a whole version
	overwritten               // the same file, same length
	truncated                 // the same file, from its beginning
	remade                    // removed, and made again
)

func (m manner) String() string {
	return [...]string{"renamed", "overwritten", "truncated", "remade"}[m]
}

const (
	// lineSize is the length of a line of content, in bytes. Each tells file, version and its own number.
	lineSize = 64
	// shorter is by how many lines the versions of a file differ that has another length each time.
	shorter = 7
	// certainlyKept and certainlySent: contents up to the one length are kept in memory by the server, those from the other on are sent from
	// an open file. Between them nobody outside knows.
	certainlyKept = 16 << 10
	certainlySent = 128 << 10
	// trusted is how long the server may answer without a look at a file. racyTrusted is that and the time in which a change can leave the
	// same stat behind: until then its tags are weak.
	trusted     = time.Second
	racyTrusted = trusted + 2*time.Second
)

// target is a file that changes.
type target struct {
	index  int
	folder string
	name   string
	manner manner
	size   int // of its longest version
	varies bool
	every  time.Duration

	mu      sync.RWMutex
	changes []change // by version
}

// change is when a version was written. While it is being written its end is the zero time.
type change struct{ begin, end time.Time }

// begin begins the next version.
func (f *target) begin() (version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, change{begin: time.Now()})
	return uint64(len(f.changes) - 1)
}

func (f *target) end(version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes[version].end = time.Now()
}

// replacedFor is how long at the time now another version had been in the place of this one. It is negative while it was not.
func (f *target) replacedFor(version uint64, now time.Time) time.Duration {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if version+1 >= uint64(len(f.changes)) || f.changes[version+1].end.IsZero() {
		return -1
	}
	return now.Sub(f.changes[version+1].end)
}

// disturbed reports whether the file was being written at some time between the two.
func (f *target) disturbed(begin, end time.Time) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for i := len(f.changes) - 1; i >= 0; i-- {
		c := f.changes[i]
		if !c.end.IsZero() && c.end.Before(begin) {
			return false
		}
		if c.begin.Before(end) {
			return true
		}
	}
	return false
}

// length of a version.
func (f *target) length(version uint64) int {
	if !f.varies {
		return f.size
	}
	return f.size - int(version%(shorter+1))*lineSize
}

// content writes a version into the space of buffer.
func (f *target) content(buffer []byte, version uint64) []byte {
	line := fmt.Appendf(nil, "file %02d version %010d line %07d ", f.index, version, 0)
	at := len(line) - 8
	line = append(line, bytes.Repeat([]byte{'a' + byte(version%26)}, lineSize-1-len(line))...)
	line = append(line, '\n')
	buffer = buffer[:0]
	for n := range f.length(version) / lineSize {
		buffer = append(buffer, line...)
		last := buffer[len(buffer)-lineSize+at:]
		for i := 6; i >= 0; i-- {
			last[i] = byte('0' + n%10)
			n /= 10
		}
	}
	return buffer
}

// version of a content, by the line that it begins with.
func (f *target) version(content []byte) (uint64, error) {
	if len(content) < lineSize {
		return 0, fmt.Errorf("%d bytes tell of no version", len(content))
	}
	var index int
	var version uint64
	if _, err := fmt.Sscanf(string(content[:lineSize]), "file %d version %d line", &index, &version); err != nil || index != f.index {
		return 0, fmt.Errorf("no line of file %d: %q", f.index, content[:lineSize])
	}
	return version, nil
}

// whole is the version that a content, or the part of it that begins at first, is of, from its first byte to its last.
func (f *target) whole(part []byte, first int, total int) (uint64, error) {
	version, err := f.version(part)
	if err != nil {
		return 0, err
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	want := f.content(*scratch, version)
	*scratch = want
	if len(want) != total || first+len(part) > total {
		return version, fmt.Errorf("%d bytes from %d on of %d, and version %d has %d", len(part), first, total, version, len(want))
	}
	want = want[first : first+len(part)]
	if bytes.Equal(part, want) {
		return version, nil
	}
	at := 0
	for part[at] == want[at] {
		at++
	}
	line := at / lineSize * lineSize
	return version, fmt.Errorf("version %d has at byte %d of %d %q", version, first+at, total, part[line:min(line+lineSize, len(part))])
}

// scratches are buffers for contents.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// question is what a client asks.
type question struct {
	of     *target
	road   string
	coding string // Accept-Encoding, "" for none
	about  *form  // what the client has got before, nil: nothing
	ranged bool   // a part, with about only if it is still that; else whether about is still right
	first  int
	last   int
}

func (q question) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s%s HTTP/1.1\r\nHost: storm\r\n", q.road, q.of.name)
	if q.coding != "" {
		fmt.Fprintf(&b, "Accept-Encoding: %s\r\n", q.coding)
	}
	if q.ranged {
		fmt.Fprintf(&b, "Range: bytes=%d-%d\r\n", q.first, q.last)
	}
	switch {
	case q.about != nil && q.ranged:
		fmt.Fprintf(&b, "If-Range: %s\r\n", q.about.tag)
	case q.about != nil:
		fmt.Fprintf(&b, "If-None-Match: %s\r\n", q.about.tag)
	}
	b.WriteString("\r\n")
	return b.String()
}

// reply is a whole answer to it.
type reply struct {
	question
	begin, end time.Time // from the first byte asked to the last one read
	status     int
	tag        string
	packed     string // Content-Encoding
	part       string // Content-Range
	body       []byte
}

// form is a body that a client has got, whole.
type form struct {
	of      *target
	road    string
	asked   string // Accept-Encoding
	tag     string
	packed  string
	body    []byte
	version uint64 // if it is known
	known   bool
}

func (f *form) strong() bool { return strongTag(f.tag) }

func strongTag(tag string) bool { return strings.HasPrefix(tag, `"`) }

// Fault is what must never be.
type Fault string

const (
	FaultMixed   Fault = "bodies that are no version" // of a file that is renamed
	FaultQuiet   Fault = "bodies that are no version, of files that nobody wrote"
	FaultTwice   Fault = "strong tags of two bodies"
	FaultPart    Fault = "parts that are not of what they were asked of"
	FaultStale   Fault = "answers that are too old"
	FaultUnknown Fault = "304 for what nobody has got"
	FaultStatus  Fault = "answers of a wrong status"
	FaultTag     Fault = "answers without an entity tag"
	FaultPacking Fault = "bodies that cannot be unpacked"
	FaultBroken  Fault = "broken connections"
)

var faults = []Fault{FaultMixed, FaultQuiet, FaultTwice, FaultPart, FaultStale, FaultUnknown, FaultStatus, FaultTag, FaultPacking, FaultBroken}

// jury judges the answers of all clients, from all children. What one strong entity tag stands for it knows for ever.
//
// A file that is written in place has mixed contents while it is written, and a server that reads it then sends them: that is no fault, if
// the tag is of just these bytes. What sendfile has given to a socket are pages of the file, and a later write changes them before they
// have left: no server can know that. So a body from an open file is held against its tag only if nobody wrote the file between the first
// byte of the question and the last one of the answer. Then the server could have known.
type jury struct {
	mu      sync.Mutex
	seed    maphash.Seed
	bodies  map[string]imprint // by road and strong tag
	given   map[string]bool    // road and tag of each whole body, strong or weak
	found   map[Fault][]string
	count   map[string]int // what is no fault
	oldest  time.Duration
	answers int
}

// imprint is a body, in short.
type imprint struct {
	sum    uint64
	length int
}

func newJury() *jury {
	return &jury{seed: maphash.MakeSeed(), bodies: make(map[string]imprint), given: make(map[string]bool),
		found: make(map[Fault][]string), count: make(map[string]int)}
}

// Counts that are no faults.
const (
	countWhole     = "whole"
	countPart      = "parts"
	countOther     = "whole, since the part was of an older one"
	countSame      = "not modified"
	countGzip      = "packed with gzip"
	countZstd      = "packed with zstd"
	countStrong    = "with a strong tag"
	countMissing   = "not found while they were made again"
	countCut       = "cut off while the file was written in place"
	countDisturbed = "mixed under a strong tag by a write meanwhile, over 16 KiB"
)

// judge takes an answer. It returns what the client may ask about later, and nil for what is no whole body.
func (j *jury) judge(r *reply) *form {
	kept, fault, err := j.look(r)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.answers++
	if err != nil {
		j.blameLocked(r.question, fault, fmt.Errorf("%d %s: %w", r.status, r.tag, err))
		return nil
	}
	return kept
}

func (j *jury) look(r *reply) (*form, Fault, error) {
	if r.tag == "" && r.status < 400 {
		return nil, FaultTag, errors.New("no ETag")
	}
	switch {
	case r.status == 200:
		return j.wholeBody(r)
	case r.status == 206 && r.ranged:
		return j.partOf(r)
	case r.status == 304 && r.about != nil && !r.ranged:
		return j.notModified(r)
	case r.status == 404 && r.of.manner != renamed:
		j.tally(countMissing)
		return nil, "", nil
	}
	return nil, FaultStatus, fmt.Errorf("to %q", r.text())
}

// disturbed reports whether a content of this length may have changed while it was under way: it may have been sent from the open file, and
// somebody wrote it.
func (r *reply) disturbed(length int) bool {
	return r.of.manner != renamed && length > certainlyKept && r.of.disturbed(r.begin, r.end)
}

func (j *jury) wholeBody(r *reply) (*form, Fault, error) {
	kept := &form{of: r.of, road: r.road, asked: r.coding, tag: r.tag, packed: r.packed}
	disturbed := r.disturbed(len(r.body))
	plain := r.body
	switch r.packed {
	case "":
	case "gzip":
		unpacker, err := gzip.NewReader(bytes.NewReader(r.body))
		if err == nil {
			plain, err = io.ReadAll(unpacker)
		}
		if err != nil {
			return nil, FaultPacking, err
		}
		j.tally(countGzip)
	case "zstd":
		plain = nil // its tag and its parts are held against it all the same
		j.tally(countZstd)
	default:
		return nil, FaultStatus, fmt.Errorf("packed with %q", r.packed)
	}
	if r.packed != "" && r.packed != r.coding {
		return nil, FaultStatus, fmt.Errorf("packed with %q for one who asked for %q", r.packed, r.coding)
	}
	if r.ranged {
		j.tally(countOther)
	}
	j.tally(countWhole)
	if plain != nil {
		version, err := r.of.whole(plain, 0, len(plain))
		switch {
		case err == nil:
			kept.version, kept.known = version, true
			if err := j.fresh(r, version, r.tag); err != nil {
				return nil, FaultStale, err
			}
		case r.of.manner == renamed:
			return nil, FaultMixed, err
		case len(plain) >= certainlySent && strongTag(r.tag) && r.disturbed(len(plain)):
			j.tally(countDisturbed)
			return nil, "", nil
		case len(plain) >= certainlySent && strongTag(r.tag):
			return nil, FaultQuiet, err
		}
	}
	if !strongTag(r.tag) {
		j.mu.Lock()
		j.given[r.road+r.tag] = true
		j.mu.Unlock()
		kept.body = bytes.Clone(r.body)
		return kept, "", nil
	}
	j.tally(countStrong)
	now := imprint{sum: maphash.Bytes(j.seed, r.body), length: len(r.body)}
	j.mu.Lock()
	before, seen := j.bodies[r.road+r.tag]
	switch {
	case disturbed: // it may be another version than its tag's
	case !seen:
		j.bodies[r.road+r.tag] = now
		j.given[r.road+r.tag] = true
	}
	j.mu.Unlock()
	switch {
	case seen && before != now && disturbed:
		j.tally(countDisturbed)
		return nil, "", nil
	case seen && before != now:
		return nil, FaultTwice, fmt.Errorf("%d bytes of version %d now, %d others before", now.length, kept.version, before.length)
	case disturbed && !seen:
		return nil, "", nil
	}
	kept.body = bytes.Clone(r.body)
	return kept, "", nil
}

// partOf judges a 206: of a body that the client has, or of a file that is renamed.
func (j *jury) partOf(r *reply) (*form, Fault, error) {
	j.tally(countPart)
	span, text, _ := strings.Cut(strings.TrimPrefix(r.part, "bytes "), "/")
	total, err := strconv.Atoi(text)
	if err != nil || span != fmt.Sprintf("%d-%d", r.first, min(r.last, total-1)) || len(r.body) != min(r.last, total-1)-r.first+1 {
		return nil, FaultPart, fmt.Errorf("%d bytes as %q, asked for %d to %d", len(r.body), r.part, r.first, r.last)
	}
	if r.about == nil {
		version, err := r.of.whole(r.body, r.first, total)
		if err != nil {
			return nil, FaultMixed, err
		}
		return nil, FaultStale, j.fresh(r, version, r.tag)
	}
	if r.tag != r.about.tag || r.packed != r.about.packed {
		return nil, FaultPart, fmt.Errorf("packed %q, asked for a part of %s, packed %q", r.packed, r.about.tag, r.about.packed)
	}
	if total == len(r.about.body) && bytes.Equal(r.body, r.about.body[r.first:r.first+len(r.body)]) {
		return nil, "", nil
	}
	if r.disturbed(total) {
		j.tally(countDisturbed)
		return nil, "", nil
	}
	return nil, FaultPart, fmt.Errorf("%s is not what the client has (version %d)", r.part, r.about.version)
}

func (j *jury) notModified(r *reply) (*form, Fault, error) {
	j.tally(countSame)
	j.mu.Lock()
	given := j.given[r.road+r.tag]
	j.mu.Unlock()
	if !given || strings.TrimPrefix(r.tag, "W/") != strings.TrimPrefix(r.about.tag, "W/") {
		return nil, FaultUnknown, fmt.Errorf("asked about %s", r.about.tag)
	}
	if r.about.known {
		return nil, FaultStale, j.fresh(r, r.about.version, r.tag)
	}
	return nil, "", nil
}

// fresh reports an answer of a version that had been replaced too long before it was asked for.
func (j *jury) fresh(r *reply, version uint64, tag string) error {
	age := r.of.replacedFor(version, r.begin)
	j.mu.Lock()
	j.oldest = max(j.oldest, age)
	j.mu.Unlock()
	bound := racyTrusted
	if strongTag(tag) {
		bound = trusted
	}
	if age > bound {
		return fmt.Errorf("version %d had been replaced for %d ms, %v at most are right", version, age.Milliseconds(), bound)
	}
	return nil
}

// broken takes a question that got no whole answer. Who writes into a file that is being sent has its clients cut off.
func (j *jury) broken(q question, err error) {
	cut := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	j.mu.Lock()
	defer j.mu.Unlock()
	if q.of.manner != renamed && cut && !errors.Is(err, os.ErrDeadlineExceeded) {
		j.count[countCut]++
		return
	}
	j.blameLocked(q, FaultBroken, err)
}

func (j *jury) blameLocked(q question, fault Fault, err error) {
	j.found[fault] = append(j.found[fault], fmt.Sprintf("%s%s %s: %v", q.road, q.of.name, cmp.Or(q.coding, "plain"), err))
}

func (j *jury) tally(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count[what]++
}

// tell adds what it has found.
func (j *jury) tell(r *report) {
	r.bar("answers", j.answers, "some", j.answers > 0)
	for _, what := range []string{countWhole, countStrong, countGzip, countZstd, countPart, countOther, countSame, countMissing, countCut, countDisturbed} {
		r.note("  "+what, j.count[what])
	}
	r.note("strong tags", len(j.bodies))
	r.note("oldest answer: replaced before it was asked for, ms", max(0, j.oldest).Milliseconds())
	for _, fault := range faults {
		all := j.found[fault]
		r.zero(string(fault), len(all))
		for i, text := range all[:min(detailed, len(all))] {
			r.note(fmt.Sprintf("  number %d of them", i+1), text)
		}
	}
}
