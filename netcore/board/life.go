package board

import (
	"os"
	"sync/atomic"
)

// A segment of KindLife, version 1, has one record: what one life of a child has to say of itself. The child's loop writes it, and nobody
// else; the master reads it at any time, also when the child hangs or is dead.
//
//	  word  field
//	     0  heartbeat    turns of the loop
//	     1  generation   that serves; 0: none yet
//	     2  state        bit 0: it accepts, bit 1: it drains
//	     3  pid          0: the child has not joined yet
//	     4  connections  open now, as all up to 12 are of now
//	     5  in flight    exchanges that have begun and are not over
//	     6  workers      of all pools, 7 busy, 8 idle, 9 min, 10 max
//	    11  queued       jobs that wait, before a gate or in a pool
//	    12  retired      generations that do not serve any more and still have exchanges
//	 13-15  zero
//	 16-63  counters, which only grow; their sums over lives are in a segment of KindPast
//	    16  started      exchanges, counted before the first byte of an answer can be written
//	    17  accepted     connections
//	    18  finished     exchanges, counted after the kernel has taken the last byte
//	    19  bytes in, 20 bytes out
//	    21  spawned      workers
//	    22  jobs         that a worker began, 23 rejected, 24 excused
//	    25  log dropped  lines
//	    26  latency sum  in µs, 27 latency max in µs
//	    28  moved in     connections that another child has given
//	    29  server errors  final responses of finished exchanges with a status from 500 on
//	 30-31  zero
//	 32-63  closed       connections by reason, in the order of CloseReasons
//	64-527  latency      exchanges by Bucket of their time in µs
//
// Whoever looks at a life at one moment finds finished <= complete responses at the clients <= started, provided that he reads finished
// before and started after: Sums does. Heartbeat, started, closed and latency are of now, the other counters of the end of the loop's last
// turn, and what is of the pools and of the log is up to a second older.
var lives = Layout{Kind: KindLife, Version: 1, Record: lifeWords * wordSize}

// Word names a word of a life.
type Word int

// Words of a life.
const (
	WordHeartbeat   Word = 0
	WordGeneration  Word = 1
	WordState       Word = 2
	WordPid         Word = 3
	WordConnections Word = 4
	WordInFlight    Word = 5
	WordWorkers     Word = 6
	WordBusy        Word = 7
	WordIdle        Word = 8
	WordMin         Word = 9
	WordMax         Word = 10
	WordQueued      Word = 11
	WordRetired     Word = 12

	WordStarted    Word = 16
	WordAccepted   Word = 17
	WordFinished   Word = 18
	WordBytesIn    Word = 19
	WordBytesOut   Word = 20
	WordSpawned    Word = 21
	WordJobs       Word = 22
	WordRejected   Word = 23
	WordExcused    Word = 24
	WordLogDropped Word = 25

	WordMovedIn      Word = 28
	WordServerErrors Word = 29

	wordLatencySum Word = 26
	wordLatencyMax Word = 27
	wordClosed     Word = 32

	wordCounters = WordStarted
	closedWords  = 32
	wordLatency  = wordClosed + closedWords
	lifeWords    = int(wordLatency) + Buckets
)

// Bits of WordState.
const (
	StateAccepting = 1 << 0
	StateDraining  = 1 << 1
)

var _ [closedWords - len(CloseReasons)]struct{} // every reason has a word

// Life is a life's record. The methods that write are the child's loop's; those that read are any goroutine's, up to Close.
type Life struct {
	words   *[lifeWords]atomic.Int64
	segment *Segment // nil: the memory is the process's own
}

// NewLife makes a life that nobody else sees.
func NewLife() *Life { return &Life{words: new([lifeWords]atomic.Int64)} }

// CreateLife makes the segment of a life: the master's part, before the child is started.
func CreateLife() (*Life, error) {
	s, err := Create(lives, 1)
	if err != nil {
		return nil, err
	}
	return lifeOf(s), nil
}

// OpenLife maps the life in f. The caller keeps f, which is not needed any more after it.
func OpenLife(f *os.File) (*Life, error) {
	s, err := Open(f, lives, 1)
	if err != nil {
		return nil, err
	}
	return lifeOf(s), nil
}

func lifeOf(s *Segment) *Life {
	return &Life{words: (*[lifeWords]atomic.Int64)(s.words(0)), segment: s}
}

// File is what a child gets; nil in a process that has opened it.
func (l *Life) File() *os.File {
	if l.segment == nil {
		return nil
	}
	return l.segment.File()
}

// Close takes the memory out of the process. Nothing may be read or written any more.
func (l *Life) Close() error {
	l.words = nil
	if l.segment == nil {
		return nil
	}
	return l.segment.Unmap()
}

// Set replaces a word.
func (l *Life) Set(w Word, n int64) { l.words[w].Store(n) }

// Closed counts a connection that was closed for a reason, an index of CloseReasons.
func (l *Life) Closed(reason int) { l.words[wordClosed+Word(reason)].Add(1) }

// Took counts an exchange that was over after so many µs.
func (l *Life) Took(micros int64) {
	n := uint64(max(0, micros))
	l.words[int(wordLatency)+Bucket(n)].Add(1)
	l.words[wordLatencySum].Add(int64(n))
	if most := &l.words[wordLatencyMax]; most.Load() < int64(n) {
		most.Store(int64(n))
	}
}

// Take sets all words to those of another life: what was counted there goes on here.
func (l *Life) Take(other *Life) {
	for i := range other.words {
		l.words[i].Store(other.words[i].Load())
	}
}

// Get reads a word. It may have any value: who reads it has to expect that.
func (l *Life) Get(w Word) int64 { return l.words[w].Load() }

// Gauge reads a word that says how many there are, within the bounds of such a number.
func (l *Life) Gauge(w Word) int { return int(min(max(0, l.Get(w)), 1<<31-1)) }

// Sums reads the counters.
func (l *Life) Sums() *Sums {
	s := new(Sums)
	s.load(l.words[wordCounters:])
	return s
}
