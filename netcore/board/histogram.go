package board

import (
	"math"
	"math/bits"
)

// Buckets is how many buckets a histogram has. They are those of HdrHistogram with 16 for each power of two: up to 31 each has one value,
// from there on each is as wide as 1/16 to 1/32 of its values. So a value that is taken to be the middle of its bucket is wrong by 1/32 at
// most, which is 3.2 %. The last bucket holds all values from 2³² on: in µs, more than 71 minutes.
const (
	Buckets = bucketStep * (bucketBits - bucketLinear + 1)

	bucketLinear = 4                 // bits of a value that say its bucket among those of its power of two
	bucketStep   = 1 << bucketLinear // buckets of a power of two
	bucketBits   = 32                // bits of the largest value that has a bucket
)

// Bucket is the bucket of a value, from 0 to Buckets-1.
func Bucket(n uint64) int {
	if n >= 1<<bucketBits {
		return Buckets - 1
	}
	wide := max(0, bits.Len64(n)-1-bucketLinear) // bits that do not say the bucket
	return wide*bucketStep + int(n>>wide)
}

// bucketMiddle is the value that stands for those of a bucket.
func bucketMiddle(bucket int) uint64 {
	wide := max(0, bucket/bucketStep-1)
	low := uint64(bucket-wide*bucketStep) << wide
	return low + 1<<wide/2
}

// Histogram is how many values fell into each bucket.
type Histogram struct {
	Counts [Buckets]uint64
	Sum    uint64 // of the values
	Max    uint64 // the largest value, exactly
}

// Count is the number of values.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n = plus(n, c)
	}
	return n
}

// Merge adds another histogram's values.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.Counts {
		h.Counts[i] = plus(h.Counts[i], n)
	}
	h.Sum = plus(h.Sum, other.Sum)
	h.Max = max(h.Max, other.Max)
}

// Since is the values that were counted since an earlier reading of the same histogram. Max is exact if it has grown since then; else it is
// taken from the highest bucket that has any.
func (h *Histogram) Since(earlier *Histogram) *Histogram {
	part := &Histogram{Sum: minus(h.Sum, earlier.Sum)}
	for i, n := range h.Counts {
		if part.Counts[i] = minus(n, earlier.Counts[i]); part.Counts[i] > 0 {
			part.Max = min(bucketMiddle(i), h.Max)
		}
	}
	if h.Max > earlier.Max {
		part.Max = h.Max
	}
	return part
}

// Above counts the values that are greater than n, up to the error of a bucket: those in n's own do not count.
func (h *Histogram) Above(n uint64) (count uint64) {
	for _, c := range h.Counts[Bucket(n)+1:] {
		count = plus(count, c)
	}
	return count
}

// Quantile is a value that at least the part q of all values, from 0 to 1, is not above: up to the error of a bucket. It is 0 without
// values.
func (h *Histogram) Quantile(q float64) uint64 {
	count := h.Count()
	if count == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(min(max(q, 0), 1)*float64(count))))
	var seen uint64
	for i, n := range h.Counts {
		if seen = plus(seen, n); seen < min(rank, count) {
			continue
		}
		if Bucket(h.Max) == i {
			return min(bucketMiddle(i), h.Max)
		}
		return bucketMiddle(i)
	}
	return h.Max // not reached: the counts sum up to count
}

// minus subtracts, down to 0.
func minus(a, b uint64) uint64 { return a - min(a, b) }

// plus adds, up to the largest number that a word takes.
func plus(a, b uint64) uint64 {
	if sum := a + b; sum >= a && sum <= math.MaxInt64 {
		return sum
	}
	return math.MaxInt64
}
