package lite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of the WAL index (https://www.sqlite.org/walformat.html, 2.2): its header stands there twice, in the machine's byte order.
const (
	headerSize    = 48
	headerVersion = 3007000
)

// ErrIndexReplaced says that the WAL index that was opened is not the one that the connections use: the last user of all processes has removed
// the file in between. Close the connections, then the Index, and begin again.
var ErrIndexReplaced = errors.New("the WAL index has been replaced")

// A Header is the header of a WAL index: another one for each commit.
type Header [headerSize]byte

// Blank reports whether nothing has been written since the log was begun anew from nothing. Such a header is the same for different contents of
// the file, which is only changed by way of the log while a connection is open.
func (h *Header) Blank() bool {
	const maxFrame, salts = 16, 32
	return binary.NativeEndian.Uint32(h[maxFrame:]) == 0 && binary.NativeEndian.Uint64(h[salts:]) == 0
}

// An Index looks at the WAL index of a file, PATH-shm, in memory. Its order is strict: OpenIndex before the first connection of the process to the
// file, Map after that has read, Close after the last connection of the process has been closed. To close its descriptor while one is open would
// drop the locks of SQLite, which are the process's (https://www.sqlite.org/howtocorrupt.html, 2.2).
//
// Header may be called by any goroutine between Map and Close.
type Index struct {
	path   string
	fd     int
	dev    uint64
	inode  uint64
	memory []byte // mapped; nil: not yet
}

// OpenIndex opens the WAL index of the database at path, which must have no symbolic links, and makes an empty one if there is none.
func OpenIndex(path string) (*Index, error) {
	shm := path + "-shm"
	fd, err := openBeside(shm, path)
	if err != nil {
		return nil, ErrorOf(fmt.Errorf("open the WAL index %s: %w", shm, err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd) // the first error is the one to tell
		return nil, ErrorOf(fmt.Errorf("open the WAL index %s: %w", shm, err))
	}
	return &Index{path: shm, fd: fd, dev: uint64(st.Dev), inode: st.Ino}, nil
}

// Map maps the header. A connection of the process must have read the file in WAL mode, and be open: it keeps others from making the file shorter.
func (i *Index) Map() error {
	if ok, err := i.Current(); err != nil || !ok {
		if err == nil {
			err = ErrIndexReplaced
		}
		return ErrorOf(fmt.Errorf("map the WAL index %s: %w", i.path, err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(i.fd, &st); err != nil {
		return ErrorOf(fmt.Errorf("map the WAL index %s: %w", i.path, err))
	}
	if st.Size < 2*headerSize { // a mapping past the end would be a bus error
		return ErrorOf(fmt.Errorf("map the WAL index %s: it has only %d bytes", i.path, st.Size))
	}
	memory, err := unix.Mmap(i.fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return ErrorOf(fmt.Errorf("map the WAL index %s: %w", i.path, err))
	}
	i.memory = memory
	return nil
}

// Current reports whether the file at the path is still the one that is open.
func (i *Index) Current() (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(i.path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		return false, err
	}
	return uint64(st.Dev) == i.dev && st.Ino == i.inode, nil
}

// Identity returns the device and the inode of the file.
func (i *Index) Identity() (dev, ino uint64) { return i.dev, i.inode }

// Header returns the header of the last commit. ok is false while a writer is at it, and before SQLite has made it. It does not block.
func (i *Index) Header() (h Header, ok bool) {
	if i.memory == nil {
		return h, false
	}
	for range 8 {
		// A writer stores the second copy first, and a reader loads the first one first: two that are equal are whole.
		var first, second [headerSize / 8]uint64
		load(&first, i.memory)
		load(&second, i.memory[headerSize:])
		if first != second {
			continue
		}
		for n, word := range first {
			binary.NativeEndian.PutUint64(h[8*n:], word)
		}
		return h, h.valid()
	}
	return h, false
}

func load(words *[headerSize / 8]uint64, memory []byte) {
	for n := range words {
		words[n] = atomic.LoadUint64((*uint64)(unsafe.Pointer(&memory[8*n])))
	}
}

// valid checks the version, that SQLite has made the header, and its sum (walformat, 2.2 and 1.1: Fibonacci-weighted words).
func (h *Header) valid() bool {
	const made, sums = 12, 40
	if binary.NativeEndian.Uint32(h[:]) != headerVersion || h[made] == 0 {
		return false
	}
	var a, b uint32
	for n := 0; n < sums; n += 8 {
		a += binary.NativeEndian.Uint32(h[n:]) + b
		b += binary.NativeEndian.Uint32(h[n+4:]) + a
	}
	return a == binary.NativeEndian.Uint32(h[sums:]) && b == binary.NativeEndian.Uint32(h[sums+4:])
}

// Close ends it. Nobody may be calling Header.
func (i *Index) Close() error {
	if i.fd < 0 {
		return nil
	}
	fd, memory := i.fd, i.memory
	i.fd, i.memory = -1, nil
	var err error
	if memory != nil {
		err = unix.Munmap(memory)
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("close the WAL index %s: %w", i.path, err)
	}
	return nil
}
