package child

import (
	"testing"
	"unsafe"
)

// An idle connection is little more than its conn: the bar is 512 bytes of private memory, the table, the wheel and the allocator
// included.
func TestIdleConnectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 352 {
		t.Errorf("a conn has %d bytes", size)
	}
}
