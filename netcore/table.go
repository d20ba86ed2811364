package netcore

import (
	"fmt"
	"iter"
)

// MakeToken packs a descriptor and its slot's serial into the token of a Poller. The descriptor has the low 32 bits, the
// serial the high ones.
func MakeToken(fd int, serial uint32) uint64 {
	return uint64(uint32(fd)) | uint64(serial)<<32
}

// SplitToken is the inverse of MakeToken.
func SplitToken(token uint64) (fd int, serial uint32) {
	return int(int32(uint32(token))), uint32(token >> 32)
}

// Table holds a value per descriptor. Everybody but the owner names a value by (fd, serial): the kernel gives the number
// of a closed descriptor to the next one at once, and the serial tells the two apart. The zero value is empty and ready.
// Owner: the loop.
type Table[T any] struct {
	slots []slot[T]
	count int
}

type slot[T any] struct {
	value  *T
	serial uint32 // of the last Put; it survives Remove
}

// Put stores v under fd and returns the slot's new serial, which is never 0. It wraps after 2^32 - 1 uses of one number.
// A slot that is taken is a bug of the caller, and a panic: the descriptor was closed and never removed.
func (t *Table[T]) Put(fd int, v *T) (serial uint32) {
	if v == nil || fd < 0 {
		panic(fmt.Sprintf("netcore: Table.Put(%d, %v)", fd, v))
	}
	if fd >= len(t.slots) {
		t.slots = append(t.slots, make([]slot[T], fd+1-len(t.slots))...)
	}
	s := &t.slots[fd]
	if s.value != nil {
		panic(fmt.Sprintf("netcore: Table.Put: fd %d is taken, serial %d", fd, s.serial))
	}
	s.serial++
	if s.serial == 0 {
		s.serial = 1
	}
	s.value = v
	t.count++
	return s.serial
}

// Get is the value under fd, or nil when the slot is empty or has a newer serial.
func (t *Table[T]) Get(fd int, serial uint32) *T {
	if uint(fd) >= uint(len(t.slots)) {
		return nil
	}
	s := &t.slots[fd]
	if s.serial != serial {
		return nil
	}
	return s.value
}

// Remove empties the slot if the serial is still its own; otherwise it does nothing.
func (t *Table[T]) Remove(fd int, serial uint32) {
	if t.Get(fd, serial) == nil {
		return
	}
	t.slots[fd].value = nil
	t.count--
}

// Len is the number of values.
func (t *Table[T]) Len() int { return t.count }

// All walks the values by rising descriptor. The body may Put and Remove: what it removes is not visited afterwards, what
// it puts above the present descriptor is.
func (t *Table[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for fd := 0; fd < len(t.slots); fd++ {
			if v := t.slots[fd].value; v != nil && !yield(v) {
				return
			}
		}
	}
}
