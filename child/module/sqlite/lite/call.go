package lite

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"modernc.org/libc"
)

// callbackOf returns what SQLite calls f by. f must be a declared function: the word that a func value points to is the function itself, which
// a closure would add its variables to (the layout is that of the Go 1.1 function call design).
func callbackOf[F any](f F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f}))
}

var (
	authorizeCallback = callbackOf(authorize)
	progressCallback  = callbackOf(progress)
	freeCallback      = callbackOf(libc.Xfree)
)

// connections finds the Conn that a callback is about. SQLite gives back the number, for an address might be another's by then.
var connections struct {
	mu   sync.RWMutex
	last uintptr
	by   map[uintptr]*Conn
}

func register(c *Conn) {
	connections.mu.Lock()
	defer connections.mu.Unlock()
	if connections.by == nil {
		connections.by = map[uintptr]*Conn{}
	}
	connections.last++
	c.number = connections.last
	connections.by[c.number] = c
}

func unregister(c *Conn) {
	connections.mu.Lock()
	defer connections.mu.Unlock()
	delete(connections.by, c.number)
}

func connection(number uintptr) *Conn {
	connections.mu.RLock()
	defer connections.mu.RUnlock()
	return connections.by[number]
}

// emptyText is what a text and a blob without bytes are bound by: no address would be NULL. It is never freed.
var emptyText = func() uintptr {
	p, err := libc.CString("")
	if err != nil {
		panic(err)
	}
	return p
}()

// bytesAt shows n bytes of SQLite's memory. They live as long as SQLite says.
func bytesAt(p uintptr, n int) []byte {
	if p == 0 || n <= 0 {
		return []byte{}
	}
	return libc.GoBytes(p, n)[:n:n]
}

// outPointer and outInt return what a call has written at the i-th of the two places of c.out.
func (c *Conn) outPointer(i uintptr) uintptr {
	if unsafe.Sizeof(uintptr(0)) == 4 {
		return uintptr(binary.NativeEndian.Uint32(libc.GoBytes(c.out+8*i, 4)))
	}
	return uintptr(binary.NativeEndian.Uint64(libc.GoBytes(c.out+8*i, 8)))
}

func (c *Conn) outInt(i uintptr) int {
	return int(int32(binary.NativeEndian.Uint32(libc.GoBytes(c.out+8*i, 4))))
}
