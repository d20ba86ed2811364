package middleware

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
)

const (
	// keepAnswer is the longest content, in bytes, whose coded forms are kept, and keepAnswers how much a route keeps of them all.
	keepAnswer  = 1 << 20
	keepAnswers = 8 << 20
)

// fixedAnswers keeps what was made of the Fixed answers of a route: each is looked at once, and compressed once for each coding. It is
// safe for concurrent use, and nobody holds its lock for longer than a look-up.
type fixedAnswers struct {
	mu     sync.Mutex
	kept   map[*web.Fixed]*fixedAnswer
	length int64 // bytes that kept holds on to, roughly
}

// A fixedAnswer is what is known of one Fixed. It is immutable but for coded, which is under the lock.
type fixedAnswer struct {
	header  web.Header
	depends bool       // on what the client accepts
	varying *web.Fixed // without a coding, with Vary
	coded   [coding.Count]*web.Fixed
	length  int64
}

// finishFixed sends a form of f that was made before, or makes it. false: f has to be taken to pieces.
func (n *negotiation) finishFixed(w *web.Response, f *web.Fixed) bool {
	for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Range", "Cache-Control", "ETag"} {
		if w.Header().Has(name) {
			return false // the answer is not f alone
		}
	}
	if !n.plain || len(f.Body) > keepAnswer {
		return false
	}
	a := n.c.fixed.look(n, f)
	switch {
	case !a.depends:
		return true
	case n.coding == coding.Identity, uncoded(f.Status) && !n.hasTag(n.coding.Tag(a.header.Get("ETag"))):
		w.SendFixed(a.varying)
		return true
	}
	coded := n.c.fixed.coded(a, n.coding)
	if coded == nil && n.onLoop && !uncoded(f.Status) {
		addAll(w.Header(), &a.header)
		coding.Vary(w.Header())
		encodeHeader(w.Header(), n.coding)
		w.SetStatus(f.Status)
		w.SendReader(&lateFixed{c: n.c, f: f, a: a, coding: n.coding}, -1)
		return true
	}
	if coded == nil {
		coded = n.c.code(f, a, n.coding)
	}
	if len(coded.Body) > 0 && len(coded.Body) >= len(f.Body) {
		coded = a.varying
	}
	w.SendFixed(coded)
	return true
}

// look returns what is known of f.
func (k *fixedAnswers) look(n *negotiation, f *web.Fixed) *fixedAnswer {
	k.mu.Lock()
	a := k.kept[f]
	k.mu.Unlock()
	if a != nil {
		return a
	}
	a = &fixedAnswer{header: fixedHeader(f)}
	if a.depends = n.depends(f.Status, &a.header, a.header.Get("Content-Type"), int64(len(f.Body))); a.depends {
		header := a.header.Clone()
		coding.Vary(&header)
		a.varying = web.NewFixed(f.Status, &header, f.Body)
	}
	a.length = 1024 + int64(len(f.Body))
	k.mu.Lock()
	defer k.mu.Unlock()
	if first := k.kept[f]; first != nil {
		return first
	}
	if k.kept == nil {
		k.kept = make(map[*web.Fixed]*fixedAnswer)
	}
	k.makeRoom(a.length, f)
	k.kept[f] = a
	k.length += a.length
	return a
}

// makeRoom forgets answers, whichever come first, until length more bytes fit. keep stays. The caller holds the lock.
func (k *fixedAnswers) makeRoom(length int64, keep *web.Fixed) {
	for f, a := range k.kept {
		if k.length+length <= keepAnswers {
			return
		}
		if f != keep {
			k.length -= a.length
			delete(k.kept, f)
		}
	}
}

// coded returns the form of a in c, nil if it was not made yet.
func (k *fixedAnswers) coded(a *fixedAnswer, c coding.Coding) *web.Fixed {
	k.mu.Lock()
	defer k.mu.Unlock()
	return a.coded[c]
}

// code makes the form of f in one coding, and keeps it.
func (c *compressor) code(f *web.Fixed, a *fixedAnswer, chosen coding.Coding) *web.Fixed {
	header := a.header.Clone()
	coding.Vary(&header)
	var body []byte
	if uncoded(f.Status) {
		chosen.Describe(&header)
	} else {
		encodeHeader(&header, chosen)
		body = slices.Clip(c.encoders.Pack(chosen, f.Body))
	}
	made := web.NewFixed(f.Status, &header, body)
	k := &c.fixed
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.coded[chosen] == nil && k.kept[f] == a {
		k.makeRoom(int64(len(body)), f)
		a.coded[chosen] = made
		a.length += int64(len(body))
		k.length += int64(len(body))
	}
	return made
}

// lateFixed yields the content of a Fixed in a coding that nobody has asked for before. The worker that reads it first compresses it, for
// those that come later too.
type lateFixed struct {
	c      *compressor
	f      *web.Fixed
	a      *fixedAnswer
	coding coding.Coding
	body   io.Reader
}

// Read implements io.Reader.
func (l *lateFixed) Read(p []byte) (int, error) {
	if l.body == nil {
		l.body = bytes.NewReader(l.c.code(l.f, l.a, l.coding).Body)
	}
	return l.body.Read(p)
}

// fixedHeader reads the header of f.
func fixedHeader(f *web.Fixed) web.Header { return fieldsOf(f.Fields) }

// fieldsOf reads field lines that were encoded, but for those that only the server writes.
func fieldsOf(lines []byte) (h web.Header) {
	for line := range strings.SplitSeq(string(lines), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok && !web.ServerField(name) {
			h.Add(name, value)
		}
	}
	return h
}

// unpack turns f into the status, header and bytes that it was made from.
func unpack(w *web.Response, f *web.Fixed) {
	header := fixedHeader(f)
	if header.Has("Content-Type") {
		w.Header().Del("Content-Type") // that of a Fixed wins
	} else if !w.Header().Has("Content-Type") {
		w.Header().Set("Content-Type", "") // none, rather than one that is guessed
	}
	addAll(w.Header(), &header)
	w.SetStatus(f.Status)
	w.SendBytes(f.Body)
}

// addAll appends the fields of other to h.
func addAll(h, other *web.Header) {
	for name, value := range other.All() {
		h.Add(name, value)
	}
}
