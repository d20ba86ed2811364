package board

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A segment begins with a line that says what it is, in the byte order of the machine, which it never leaves:
//
//	offset  size  field
//	     0     8  magic     "tinedseg"
//	     8     4  kind
//	    12     4  version   of the kind's layout
//	    16     8  capacity  number of records
//	    24     8  record    size of one in bytes, a multiple of lineSize
//	    32    32  zero
//
// The records follow from offset 64. All of a record is words of 64 bits, and zero at first.
const (
	magic    = "tinedseg"
	lineSize = 64 // of a cache line in bytes: what two processors write at a time lies in two of them
	wordSize = 8
)

// sizeSeals keep the size of a segment's file as it is, for ever: a file that shrinks under a mapping is a SIGBUS for every process
// that reads it. F_SEAL_SEAL lets nobody add a seal against writing.
const sizeSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// maxSegment bounds a segment in bytes.
const maxSegment = 1 << 30

// ErrNotSegment: the file is no segment of the layout and capacity that this process expects.
var ErrNotSegment = errors.New("not the segment that was expected")

// Kind names the meaning of a segment. The numbers are never reused.
type Kind uint32

// Kinds of segments: see Counter, Life, Past.
const (
	KindCounters Kind = 1
	KindLife     Kind = 2
	KindPast     Kind = 3
)

// Layout is how the records of a kind lie. A change of their meaning raises Version.
type Layout struct {
	Kind    Kind
	Version uint32
	Record  int // bytes, a multiple of 64
}

// Segment is a mapped segment. Its words may be used by any goroutine of any process.
type Segment struct {
	layout   Layout
	capacity int // of this process's own knowledge: another process may write over the header
	memory   []byte
	file     *os.File // nil: this process has only the mapping
}

// Create makes a segment with room for capacity records, sealed and mapped. Its file is close-on-exec.
func Create(l Layout, capacity int) (*Segment, error) {
	size, err := l.size(capacity)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("tined board", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a segment: %w", os.NewSyscallError("memfd_create", err))
	}
	f := os.NewFile(uintptr(fd), "board segment")
	memory, err := fill(fd, size, l.header(capacity))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make a segment: %w", err)
	}
	return &Segment{layout: l, capacity: capacity, memory: memory, file: f}, nil
}

// fill gives a fresh memory file its size, seals and header, and maps it.
func fill(fd, size int, header []byte) ([]byte, error) {
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	// Allocated now: a machine without memory refuses here, and not by a SIGBUS at the first write to a page.
	if err := unix.Fallocate(fd, 0, 0, int64(size)); err != nil {
		return nil, os.NewSyscallError("fallocate", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sizeSeals); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	memory, err := mapShared(fd, size)
	if err == nil {
		copy(memory, header)
	}
	return memory, err
}

// Open maps a segment that another process has made. It must have the layout and capacity that this process expects, and the seals.
// The caller keeps f, which is not needed any more after it.
func Open(f *os.File, l Layout, capacity int) (*Segment, error) {
	size, err := l.size(capacity)
	if err != nil {
		return nil, err
	}
	fd := int(f.Fd())
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("open a segment: %w: it is no memory file", ErrNotSegment)
	}
	if seals&sizeSeals != sizeSeals {
		return nil, fmt.Errorf("open a segment: %w: it is not sealed against another size", ErrNotSegment)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("open a segment: %w", os.NewSyscallError("fstat", err))
	}
	if st.Size != int64(size) {
		return nil, fmt.Errorf("open a segment: %w: it has %d bytes, not %d", ErrNotSegment, st.Size, size)
	}
	memory, err := mapShared(fd, size)
	if err != nil {
		return nil, fmt.Errorf("open a segment: %w", err)
	}
	if string(memory[:lineSize]) != string(l.header(capacity)) {
		_ = unix.Munmap(memory)
		return nil, fmt.Errorf("open a segment: %w: its header is that of another kind, version or capacity", ErrNotSegment)
	}
	return &Segment{layout: l, capacity: capacity, memory: memory}, nil
}

func mapShared(fd, size int) ([]byte, error) {
	memory, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return memory, os.NewSyscallError("mmap", err)
}

func (l Layout) size(capacity int) (int, error) {
	if l.Record <= 0 || l.Record%lineSize != 0 || capacity <= 0 || capacity > (maxSegment-lineSize)/l.Record {
		return 0, fmt.Errorf("a segment of %d records of %d bytes: records are whole cache lines, and a segment has at most %d bytes",
			capacity, l.Record, maxSegment)
	}
	return lineSize + capacity*l.Record, nil
}

func (l Layout) header(capacity int) []byte {
	b := make([]byte, 0, lineSize)
	b = append(b, magic...)
	b = binary.NativeEndian.AppendUint32(b, uint32(l.Kind))
	b = binary.NativeEndian.AppendUint32(b, l.Version)
	b = binary.NativeEndian.AppendUint64(b, uint64(capacity))
	b = binary.NativeEndian.AppendUint64(b, uint64(l.Record))
	return b[:lineSize]
}

// Capacity is the number of records.
func (s *Segment) Capacity() int { return s.capacity }

// Word is word number word of record number record, both from 0. It panics out of their range. The pointer is valid as long as the
// process lives, or until Unmap.
func (s *Segment) Word(record, word int) *atomic.Int64 {
	if record < 0 || record >= s.capacity || word < 0 || word >= s.layout.Record/wordSize {
		panic(fmt.Sprintf("board: word %d of record %d of a segment with %d records of %d bytes", word, record, s.capacity, s.layout.Record))
	}
	// A mapping begins at a page, and every offset here is a multiple of eight: the word is aligned as sync/atomic needs it.
	return (*atomic.Int64)(unsafe.Pointer(&s.memory[lineSize+record*s.layout.Record+word*wordSize]))
}

// File is the segment's file, to be passed to a child; nil in a process that has opened it. It stays the segment's.
func (s *Segment) File() *os.File { return s.file }

// words are all words of record number record. They are valid as long as the pointers of Word.
func (s *Segment) words(record int) []atomic.Int64 {
	return unsafe.Slice(s.Word(record, 0), s.layout.Record/wordSize)
}

// Close closes the file. The mapping stays, for its words are held by pointers.
func (s *Segment) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Unmap is Close, and takes the memory out of the process. No pointer that Word has returned may be used any more: it is for who knows
// all that hold one.
func (s *Segment) Unmap() error {
	err := s.Close()
	if s.memory == nil {
		return err
	}
	memory := s.memory
	s.memory = nil
	return errors.Join(err, os.NewSyscallError("munmap", unix.Munmap(memory)))
}
