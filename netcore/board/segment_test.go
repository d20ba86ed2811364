package board

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t testing.TB, l Layout, capacity int) *Segment {
	t.Helper()
	s, err := Create(l, capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Invariant 17: nobody can change the size of a segment's file, nor keep others from writing to it.
func TestSegmentIsSealed(t *testing.T) {
	fd := int(create(t, counters, 3).File().Fd())
	for what, err := range map[string]error{
		"shrink": unix.Ftruncate(fd, 64),
		"grow":   unix.Ftruncate(fd, 1<<20),
		"append": write(fd, 64+3*64),
		"seal":   seal(fd, unix.F_SEAL_FUTURE_WRITE),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, want EPERM", what, err)
		}
	}
}

func write(fd int, at int64) error {
	_, err := unix.Pwrite(fd, []byte("x"), at)
	return err
}

func seal(fd, seals int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	return err
}

// Two mappings of a segment are one memory, and records do not overlap.
func TestSegmentIsShared(t *testing.T) {
	l := Layout{Kind: 77, Version: 2, Record: 128}
	made := create(t, l, 5)
	opened, err := Open(made.File(), l, 5)
	if err != nil {
		t.Fatal(err)
	}
	if made.Capacity() != 5 || opened.Capacity() != 5 || opened.File() != nil || opened.Close() != nil {
		t.Errorf("capacities %d and %d", made.Capacity(), opened.Capacity())
	}
	want := int64(0)
	for record := range 5 {
		for word := range 16 {
			if got := made.Word(record, word).Load(); got != 0 {
				t.Errorf("word %d of record %d begins with %d", word, record, got)
			}
			want++
			made.Word(record, word).Store(want)
		}
	}
	want = 0
	for record := range 5 {
		for word := range 16 {
			if want++; opened.Word(record, word).Load() != want {
				t.Errorf("word %d of record %d is %d, want %d", word, record, opened.Word(record, word).Load(), want)
			}
		}
	}
	for _, at := range [][2]int{{-1, 0}, {5, 0}, {0, -1}, {0, 16}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("record %d, word %d: no panic", at[0], at[1])
				}
			}()
			opened.Word(at[0], at[1])
		}()
	}
}

// A process takes only what it expects.
func TestOpenRefuses(t *testing.T) {
	other := func(change func(*Layout)) Layout {
		l := counters
		change(&l)
		return l
	}
	plain, err := os.Create(t.TempDir() + "/plain")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for name, c := range map[string]struct {
		file     *os.File
		capacity int
		want     string
	}{
		"a plain file":     {plain, 3, "no memory file"},
		"not sealed":       {memory(t, counters.header(3), 64+3*64, 0), 3, "not sealed"},
		"half sealed":      {memory(t, counters.header(3), 64+3*64, unix.F_SEAL_GROW|unix.F_SEAL_SEAL), 3, "not sealed"},
		"too short":        {memory(t, counters.header(3), 64+2*64, sizeSeals), 3, "bytes, not 256"},
		"empty":            {memory(t, nil, 0, sizeSeals), 3, "0 bytes"},
		"without a header": {memory(t, nil, 64+3*64, sizeSeals), 3, "header"},
		"another capacity": {create(t, counters, 4).File(), 3, "bytes, not"},
		"another version":  {create(t, other(func(l *Layout) { l.Version++ }), 3).File(), 3, "header"},
		"another kind":     {create(t, other(func(l *Layout) { l.Kind++ }), 3).File(), 3, "header"},
		"other records":    {create(t, other(func(l *Layout) { l.Record = 3 * 64 }), 1).File(), 3, "header"},
	} {
		_, err := Open(c.file, counters, c.capacity)
		if !errors.Is(err, ErrNotSegment) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, c := range []struct{ record, capacity int }{{0, 1}, {-64, 1}, {63, 1}, {72, 1}, {64, 0}, {64, -1}, {64, 1 << 40}, {1 << 40, 1}} {
		if s, err := Create(Layout{Kind: 1, Version: 1, Record: c.record}, c.capacity); err == nil {
			s.Close()
			t.Errorf("%d records of %d bytes were made", c.capacity, c.record)
		}
	}
}

// memory makes a memory file as somebody else might send it.
func memory(t testing.TB, content []byte, size, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content[:min(len(content), size)], 0); err != nil {
		t.Fatal(err)
	}
	if seals != 0 {
		if err := seal(fd, seals); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// Only the one header is taken, whatever bytes come.
func FuzzOpen(f *testing.F) {
	good := append(counters.header(2), make([]byte, 2*64)...)
	f.Add(good)
	f.Add(good[:64])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		s, err := Open(memory(t, content, len(content), sizeSeals), counters, 2)
		fits := len(content) == len(good) && bytes.Equal(content[:lineSize], good[:lineSize])
		if (err == nil) != fits {
			t.Fatalf("taken: %v, should be: %v, %v", err == nil, fits, err)
		}
		if err == nil {
			s.Word(1, 7).Store(1)
			_ = unix.Munmap(s.memory)
		}
	})
}
