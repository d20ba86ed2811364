package board

import (
	"os"
	"sync/atomic"
)

// A segment of KindPast, version 1, has one record: the sums of the lives that have ended. The master writes it and reads it; the children
// only hold its file, so that a later master finds it.
//
//	 word  field
//	    0  lives     that are summed up here
//	  1-7  zero
//	8-519  counters  and latency, as from word 16 of a life
var pasts = Layout{Kind: KindPast, Version: 1, Record: pastWords * wordSize}

const (
	pastLives   = 0
	pastSums    = 8
	pastWords   = pastSums + sumWords
	sumWords    = lifeWords - int(wordCounters)
	sumCounters = int(wordLatency - wordCounters)
)

// Past is the sums of the lives that have ended. One goroutine at a time may use it.
type Past struct {
	words   *[pastWords]atomic.Int64
	segment *Segment
}

// CreatePast makes the segment, without any life.
func CreatePast() (*Past, error) {
	s, err := Create(pasts, 1)
	if err != nil {
		return nil, err
	}
	return pastOf(s), nil
}

// OpenPast maps the sums in f, which are those of an earlier master. f is the past's from then on; after an error it is still the
// caller's.
func OpenPast(f *os.File) (*Past, error) {
	s, err := Open(f, pasts, 1)
	if err != nil {
		return nil, err
	}
	s.file = f
	return pastOf(s), nil
}

func pastOf(s *Segment) *Past {
	return &Past{words: (*[pastWords]atomic.Int64)(s.words(0)), segment: s}
}

// File is what every child gets to hold.
func (p *Past) File() *os.File { return p.segment.File() }

// Close takes the memory out of the process. Nothing may be read or written any more.
func (p *Past) Close() error {
	p.words = nil
	return p.segment.Unmap()
}

// Add sums a life up that has ended. It goes in the order of the words, so that a master that dies in the middle of it leaves no finished
// exchange that was not started.
func (p *Past) Add(life *Sums) {
	sum := p.Sums()
	sum.Merge(life)
	p.words[pastLives].Store(int64(plus(p.Lives(), 1)))
	sum.store(p.words[pastSums:])
}

// Lives is how many lives were summed up.
func (p *Past) Lives() uint64 { return read(&p.words[pastLives]) }

// Sums reads the counters.
func (p *Past) Sums() *Sums {
	s := new(Sums)
	s.load(p.words[pastSums:])
	return s
}

// Sums are the counters of a life, or of many.
type Sums struct {
	counters [sumCounters]uint64
	Latency  Histogram
}

// Of is the sum of a counter, which is one of the words from WordStarted to WordServerErrors.
func (s *Sums) Of(w Word) uint64 { return s.counters[w-wordCounters] }

// Closed is how many connections were closed for a reason, an index of CloseReasons.
func (s *Sums) Closed(reason int) uint64 { return s.counters[int(wordClosed-wordCounters)+reason] }

// Merge adds others. Numbers that are too large stay as large as they can be.
func (s *Sums) Merge(other *Sums) {
	for i, n := range other.counters {
		s.counters[i] = plus(s.counters[i], n)
	}
	s.Latency.Merge(&other.Latency)
}

// Since is what was counted since an earlier reading of the same lives. A number that has become smaller, which another process has done,
// counts as 0.
func (s *Sums) Since(earlier *Sums) *Sums {
	part := &Sums{Latency: *s.Latency.Since(&earlier.Latency)}
	for i, n := range s.counters {
		part.counters[i] = minus(n, earlier.counters[i])
	}
	part.counters[wordLatencySum-wordCounters] = part.Latency.Sum
	part.counters[wordLatencyMax-wordCounters] = part.Latency.Max
	return part
}

// load reads the words from wordCounters on, the last first: see the order in life.go.
func (s *Sums) load(words []atomic.Int64) {
	for i := len(words) - 1; i >= sumCounters; i-- {
		s.Latency.Counts[i-sumCounters] = read(&words[i])
	}
	for i := sumCounters - 1; i >= 0; i-- {
		s.counters[i] = read(&words[i])
	}
	s.Latency.Sum = s.Of(wordLatencySum)
	s.Latency.Max = s.Of(wordLatencyMax)
}

func (s *Sums) store(words []atomic.Int64) {
	s.counters[wordLatencySum-wordCounters] = s.Latency.Sum
	s.counters[wordLatencyMax-wordCounters] = s.Latency.Max
	for i, n := range s.counters {
		words[i].Store(int64(n))
	}
	for i, n := range s.Latency.Counts {
		words[sumCounters+i].Store(int64(n))
	}
}

// read reads a word that only grows from 0, whatever another process has made of it.
func read(word *atomic.Int64) uint64 { return uint64(max(0, word.Load())) }
