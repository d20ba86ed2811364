package board

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func createLife(t testing.TB) *Life {
	t.Helper()
	l, err := CreateLife()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func createPast(t testing.TB) *Past {
	t.Helper()
	p, err := CreatePast()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// The child writes, the master reads, and the sums of ended lives grow by each of them, for this master and for the next.
func TestLivesAreSummedUp(t *testing.T) {
	past := createPast(t)
	for life := 1; life <= 3; life++ {
		ofMaster := createLife(t)
		ofChild, err := OpenLife(ofMaster.File())
		if err != nil {
			t.Fatal(err)
		}
		own := NewLife() // what the child has counted before its board came
		own.Set(WordStarted, 7)
		ofChild.Take(own)
		for w := WordStarted; w <= WordLogDropped; w++ {
			ofChild.Set(w, int64(w))
		}
		ofChild.Set(WordWorkers, 5)
		for reason := range CloseReasons {
			ofChild.Closed(reason)
		}
		ofChild.Took(int64(100 * life))
		if ofMaster.Gauge(WordWorkers) != 5 || ofMaster.Get(WordStarted) != int64(WordStarted) {
			t.Errorf("%d workers, %d started", ofMaster.Gauge(WordWorkers), ofMaster.Get(WordStarted))
		}
		past.Add(ofMaster.Sums())
		if err := errors.Join(ofChild.Close(), ofMaster.Close()); err != nil {
			t.Fatal(err)
		}
	}
	again, err := unix.FcntlInt(past.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, err := OpenPast(os.NewFile(uintptr(again), "past"))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for name, p := range map[string]*Past{"this master": past, "the next": next} {
		s := p.Sums()
		for w := WordStarted; w <= WordLogDropped; w++ {
			if s.Of(w) != 3*uint64(w) {
				t.Errorf("%s: word %d is %d", name, w, s.Of(w))
			}
		}
		for reason, text := range CloseReasons {
			if s.Closed(reason) != 3 {
				t.Errorf("%s: %d closed by %s", name, s.Closed(reason), text)
			}
		}
		if s.Latency.Count() != 3 || s.Latency.Sum != 600 || s.Latency.Max != 300 || p.Lives() != 3 {
			t.Errorf("%s: %d values, sum %d, max %d, of %d lives", name, s.Latency.Count(), s.Latency.Sum, s.Latency.Max, p.Lives())
		}
	}
	if next.File() == nil {
		t.Error("the next master has nothing to hand on")
	}
}

// A segment of one kind is not taken for another, nor one of another version.
func TestLifeAndPastRefuse(t *testing.T) {
	life, past := createLife(t), createPast(t)
	newer := lives
	newer.Version++
	for name, err := range map[string]error{
		"a past as a life":     second(OpenLife(past.File())),
		"a life as a past":     second(OpenPast(life.File())),
		"counters as a life":   second(OpenLife(create(t, counters, 3).File())),
		"a life to come":       second(OpenLife(create(t, newer, 1).File())),
		"two lives":            second(OpenLife(create(t, lives, 2).File())),
		"no segment as a past": second(OpenPast(memory(t, nil, 0, 0))),
	} {
		if !errors.Is(err, ErrNotSegment) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A master lives through thousands of lives: what is over is not in its memory any more.
func TestClosedLivesLeaveNothing(t *testing.T) {
	mappings := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range maps {
			if c == '\n' {
				n++
			}
		}
		return n
	}
	before := mappings()
	for range 1000 {
		l, err := CreateLife()
		if err != nil {
			t.Fatal(err)
		}
		l.Set(WordHeartbeat, 1)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := mappings(); after > before+100 {
		t.Errorf("%d mappings have become %d", before, after)
	}
	s := create(t, counters, 1)
	if err := s.Unmap(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a word of memory that is gone was given out")
		}
	}()
	s.Word(0, 0)
}

// Sums that are as large as can be do not wrap around: they stay there.
func TestSumsDoNotWrapAround(t *testing.T) {
	p := createPast(t)
	l := NewLife()
	for i := range l.words {
		l.words[i].Store(math.MaxInt64 - 1)
	}
	for range 3 {
		p.Add(l.Sums())
	}
	if s := p.Sums(); s.Of(WordStarted) != math.MaxInt64 || s.Latency.Count() != math.MaxInt64 || s.Closed(0) != math.MaxInt64 {
		t.Errorf("%d, %d, %d", s.Of(WordStarted), s.Latency.Count(), s.Closed(0))
	}
}

// Whatever a child writes into its life, or into the sums that it only should hold: the master reads numbers.
func FuzzHostileLife(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, ofLife, ofPast []byte) {
		life, err := OpenLife(hostile(t, lives, ofLife))
		if err != nil {
			t.Fatal(err)
		}
		defer life.segment.Unmap()
		past, err := OpenPast(hostile(t, pasts, ofPast))
		if err != nil {
			t.Fatal(err)
		}
		defer past.segment.Unmap()
		for w := WordHeartbeat; w < WordStarted; w++ {
			if n := life.Gauge(w); n < 0 || n > math.MaxInt32 {
				t.Errorf("gauge %d is %d", w, n)
			}
		}
		before, s := past.Sums(), life.Sums()
		past.Add(s)
		after := past.Sums()
		for w := WordStarted; w <= WordLogDropped; w++ {
			if after.Of(w) < before.Of(w) || after.Of(w) < s.Of(w) || after.Of(w) > math.MaxInt64 {
				t.Errorf("word %d: %d and %d make %d", w, before.Of(w), s.Of(w), after.Of(w))
			}
		}
		last := uint64(0)
		for _, q := range []float64{math.Inf(-1), 0, 0.5, 0.9, 0.99, 1, 2, math.NaN()} {
			n := after.Latency.Quantile(q)
			if n < last && !math.IsNaN(q) {
				t.Errorf("quantile %v is %d, below %d", q, n, last)
			}
			last = n
		}
	})
}

// hostile makes a segment whose header is right and whose words are those of content, again and again.
func hostile(t testing.TB, l Layout, content []byte) *os.File {
	size, err := l.size(1)
	if err != nil {
		t.Fatal(err)
	}
	all := l.header(1)
	for len(all) < size {
		if len(content) == 0 {
			content = make([]byte, wordSize)
		}
		all = append(all, content...)
		all = binary.NativeEndian.AppendUint16(all, uint16(len(all))) // so that the words differ
	}
	return memory(t, all, size, sizeSeals)
}

func BenchmarkLife(b *testing.B) {
	l := createLife(b)
	b.Run("set", func(b *testing.B) {
		for i := range b.N {
			l.Set(WordStarted, int64(i))
		}
	})
	b.Run("took", func(b *testing.B) {
		for i := range b.N {
			l.Took(int64(i & 0xfff))
		}
	})
}

// Counters since a reading are those that grew after it; what another process has made smaller is 0, not a number beyond all bounds.
func TestSumsSince(t *testing.T) {
	l := NewLife()
	for w := WordStarted; w <= WordLogDropped; w++ {
		l.Set(w, 100)
	}
	l.Closed(3)
	before := l.Sums()
	for w := WordStarted; w <= WordLogDropped; w++ {
		l.Set(w, 100+int64(w))
	}
	l.Set(WordFinished, 99)
	l.Closed(3)
	l.Closed(4)
	l.Took(250)
	since := l.Sums().Since(before)
	for w := WordStarted; w <= WordLogDropped; w++ {
		if want := uint64(w); since.Of(w) != want && (w != WordFinished || since.Of(w) != 0) {
			t.Errorf("word %d: %d, not %d", w, since.Of(w), want)
		}
	}
	if since.Closed(3) != 1 || since.Closed(4) != 1 || since.Closed(5) != 0 {
		t.Errorf("closed: %d, %d, %d", since.Closed(3), since.Closed(4), since.Closed(5))
	}
	if since.Latency.Count() != 1 || since.Latency.Sum != 250 || since.Of(wordLatencySum) != 250 || since.Of(wordLatencyMax) != 250 {
		t.Errorf("latency: %d values, sum %d, words %d and %d", since.Latency.Count(), since.Latency.Sum, since.Of(wordLatencySum), since.Of(wordLatencyMax))
	}
	if before.Latency.Count() != 0 || before.Of(WordStarted) != 100 {
		t.Error("the earlier reading was changed")
	}
}
