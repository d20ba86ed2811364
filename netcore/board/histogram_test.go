package board

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Every value has one bucket, buckets are in the order of their values, and the middle of a bucket is as near as promised.
func TestBuckets(t *testing.T) {
	last := -1
	look := func(n uint64) {
		b := Bucket(n)
		if b < last || b > last+1 || b >= Buckets {
			t.Fatalf("%d is in bucket %d, what is before it in %d", n, b, last)
		}
		last = b
		if middle := bucketMiddle(b); math.Abs(float64(middle)-float64(n)) > float64(n)/32 {
			t.Fatalf("%d is taken to be %d", n, middle)
		}
	}
	for n := range uint64(1 << 12) {
		look(n)
	}
	for bits := 12; bits < bucketBits; bits++ {
		for part := range uint64(64) { // four values of each bucket, its first and last ones included
			low := uint64(1)<<bits + part<<(bits-6)
			look(low)
			look(low + 1<<(bits-6) - 1)
		}
	}
	if last != Buckets-1 {
		t.Errorf("bucket %d is the last one that is used", last)
	}
	for _, n := range []uint64{1<<bucketBits - 1, 1 << bucketBits, math.MaxUint64} {
		if Bucket(n) != Buckets-1 {
			t.Errorf("%d is in bucket %d", n, Bucket(n))
		}
	}
}

// Quantiles are those of the values, up to the error of a bucket, also when the values were counted in parts.
func TestQuantilesOfMergedHistograms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var values []uint64
	var whole Histogram
	for part := range 5 {
		l := NewLife()
		for range 1000 {
			n := uint64(math.Exp(random.Float64()*16)) * uint64(part+1)
			values = append(values, n)
			l.Took(int64(n))
		}
		whole.Merge(&l.Sums().Latency)
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := float64(values[max(0, int(math.Ceil(q*float64(len(values))))-1)])
		if got := float64(whole.Quantile(q)); math.Abs(got-want) > want/32 {
			t.Errorf("quantile %v is %v, of the values it is %v", q, got, want)
		}
	}
	if whole.Count() != uint64(len(values)) || whole.Max != values[len(values)-1] || whole.Quantile(1) > whole.Max {
		t.Errorf("%d values up to %d, quantile 1 is %d", whole.Count(), whole.Max, whole.Quantile(1))
	}
	if none := new(Histogram); none.Quantile(0.5) != 0 {
		t.Error("without values there is a median")
	}
}

// What was counted since a reading is what was counted after it: counts, sum and quantiles are those of the later values alone.
func TestHistogramSince(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 50 {
		whole, late := NewLife(), NewLife()
		count := func(into ...*Life) {
			n := int64(math.Exp(random.Float64() * 14))
			for _, l := range into {
				l.Took(n)
			}
		}
		for range random.IntN(500) {
			count(whole)
		}
		earlier := whole.Sums()
		for range random.IntN(500) {
			count(whole, late)
		}
		got, want := &whole.Sums().Since(earlier).Latency, &late.Sums().Latency
		if got.Counts != want.Counts || got.Sum != want.Sum {
			t.Fatalf("round %d: %d values with the sum %d, not %d with %d", round, got.Count(), got.Sum, want.Count(), want.Sum)
		}
		if Bucket(got.Max) != Bucket(want.Max) {
			t.Errorf("round %d: the largest is %d, not %d", round, got.Max, want.Max)
		}
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			if a, b := got.Quantile(q), want.Quantile(q); Bucket(a) != Bucket(b) {
				t.Errorf("round %d: quantile %v is %d, not %d", round, q, a, b)
			}
		}
		if since := earlier.Since(earlier); since.Latency.Count() != 0 || since.Latency.Max != 0 || since.Latency.Sum != 0 {
			t.Errorf("round %d: since the same reading: %+v", round, since.Latency.Max)
		}
	}
}

// The largest value is exact when it came after the reading, and of no bucket but those that grew when it came before.
func TestLargestSince(t *testing.T) {
	l := NewLife()
	l.Took(1_000_003)
	before := l.Sums()
	l.Took(77)
	if got := l.Sums().Since(before).Latency.Max; Bucket(got) != Bucket(77) {
		t.Errorf("the largest since then is %d", got)
	}
	l.Took(2_000_003)
	if got := l.Sums().Since(before).Latency.Max; got != 2_000_003 {
		t.Errorf("the largest since then is %d", got)
	}
}

func TestHistogramAbove(t *testing.T) {
	l := NewLife()
	for _, n := range []int64{0, 5, 5, 31, 1000, 1 << 20, 1 << 40} {
		l.Took(n)
	}
	h := &l.Sums().Latency
	for n, want := range map[uint64]uint64{0: 6, 4: 6, 5: 4, 30: 4, 31: 3, 999: 2, 1000: 2, 1 << 20: 1, 1 << 32: 0, math.MaxUint64: 0} {
		if got := h.Above(n); got != want {
			t.Errorf("%d values are above %d, not %d", got, n, want)
		}
	}
}
