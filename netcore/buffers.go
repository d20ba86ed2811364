package netcore

// classes are the capacities of pooled buffers, in bytes.
var classes = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10}

// defaultHeld is the default of Buffers.Limit, in bytes.
const defaultHeld = 4 << 20

// Buffers are free lists of byte slices, one per class of capacity: 4, 16, 64 and 256 KiB. An idle connection holds no
// buffer, so few serve many. The zero value is ready. Owner: the loop; a slice from Get may travel, but comes back here.
type Buffers struct {
	Limit int // bytes that the free lists hold together at most; 0 is 4 MiB; negative: none
	held  int
	free  [len(classes)][][]byte
}

// Get returns an empty slice with room for at least n bytes. Its content beyond the length is arbitrary. Above 256 KiB it
// is made to measure and never pooled.
func (b *Buffers) Get(n int) []byte {
	for i, size := range classes {
		if n > size {
			continue
		}
		list := b.free[i]
		if len(list) == 0 {
			return make([]byte, 0, size)
		}
		p := list[len(list)-1]
		list[len(list)-1] = nil
		b.free[i] = list[:len(list)-1]
		b.held -= size
		return p
	}
	return make([]byte, 0, n)
}

// Put gives a slice of Get back. The caller must not use it afterwards. One whose capacity is no class, such as one that
// was cut at its front, and what would pass the limit, is left to the garbage collector.
func (b *Buffers) Put(p []byte) {
	limit := b.Limit
	if limit == 0 {
		limit = defaultHeld
	}
	for i, size := range classes {
		if cap(p) != size {
			continue
		}
		if b.held+size <= limit {
			b.free[i] = append(b.free[i], p[:0])
			b.held += size
		}
		return
	}
}

// Drop empties the free lists.
func (b *Buffers) Drop() {
	b.free = [len(classes)][][]byte{}
	b.held = 0
}

// Held is the number of bytes in the free lists.
func (b *Buffers) Held() int { return b.held }
