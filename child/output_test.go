package child

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// meter is a transport into memory that takes few bytes at a time.
type meter struct {
	take  func() int // bytes of the next call; 0: EAGAIN, -1: the peer has gone
	files map[int][]byte
	sent  []byte
	most  int  // bytes of one call
	corks bool // the last call said that more follows

	copies bool // there is no sendfile
}

func (m *meter) fill(*conn, []byte) (int, error) { return 0, unix.EAGAIN }
func (m *meter) closeNotify(*conn) error         { return nil }
func (m *meter) movable() bool                   { return false }

func (m *meter) write(p []byte) (int, error) {
	n := m.take()
	switch {
	case n < 0:
		return 0, unix.EPIPE
	case n == 0:
		return 0, unix.EAGAIN
	}
	n = min(n, len(p))
	m.most = max(m.most, n)
	m.sent = append(m.sent, p[:n]...)
	return n, nil
}

func (m *meter) flush(_ *conn, p []byte, more bool) (int, error) {
	m.corks = more
	return m.write(p)
}

func (m *meter) flushAll(_ *conn, pieces [][]byte) (int, error) {
	m.corks = false
	return m.write(bytes.Join(pieces, nil))
}

func (m *meter) sendsFiles() bool { return !m.copies }

func (m *meter) sendfile(_ *conn, file int, offset int64, n int, _ bool) (int, error) {
	content := m.files[file]
	rest := content[min(int(offset), len(content)):]
	if len(rest) == 0 {
		return 0, nil
	}
	n, err := m.write(rest[:min(n, len(rest))])
	if n > 0 {
		m.corks = false
	}
	return n, err
}

// fakeFile counts releases; its descriptor is an index into a meter's files.
type fakeFile struct{ fd, released int }

func (f *fakeFile) Fd() uintptr { return uintptr(f.fd) }
func (f *fakeFile) Release()    { f.released++ }

// bareLoop is a loop without poller and child, and one connection on it.
func bareLoop(tr transport) (*loop, *conn) {
	l := newLoop(nil, nil)
	if m, ok := tr.(*meter); ok {
		l.disk.peek = func(fd int, p []byte, offset int64) (int, error) { return copy(p, m.files[fd][offset:]), nil }
	}
	c := &conn{fd: 3, transport: tr, listener: &listener{}, flags: flagWritable | flagRegistered}
	c.serial = l.table.Put(3, c)
	return l, c
}

// Whatever the socket takes at a time, what arrives is what was queued, and all is given back.
func TestOutputThroughNarrowSockets(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		fake := &meter{files: map[int][]byte{}, copies: round%3 == 0}
		fake.take = func() int { return []int{0, 1, 2, 7, 100, 5000, 1 << 20}[rnd.IntN(7)] }
		l, c := bareLoop(fake)
		var want []byte
		var files []*fakeFile
		fill := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}
		for range rnd.IntN(60) {
			switch b := fill(1 + rnd.IntN(3000)); rnd.IntN(5) {
			case 0:
				l.sendMemoryFor(c, b)
				want = append(want, b...)
			case 1:
				f := &fakeFile{fd: len(files)}
				files = append(files, f)
				fake.files[f.fd] = b
				off := rnd.IntN(len(b))
				l.tail(c)
				l.sendFile(c, f, int64(off), int64(len(b)-off))
				want = append(want, b[off:]...)
			case 2: // longer than what is copied, now and then
				if rnd.IntN(10) == 0 {
					b = fill(copyFile - 10 + rnd.IntN(200_000))
				}
				f := &fakeFile{fd: len(files)}
				files = append(files, f)
				fake.files[f.fd] = b
				l.tail(c)
				l.sendFile(c, f, 0, int64(len(b)))
				want = append(want, b...)
			default:
				l.putTail(c, append(l.tail(c), b...))
				want = append(want, b...)
			}
			if rnd.IntN(3) == 0 {
				l.flush(c)
				c.set(flagWritable)
			}
			if c.out.unsent() < 0 || c.queued < c.sent {
				t.Fatalf("round %d: unsent %d, queued %d, sent %d", round, c.out.unsent(), c.queued, c.sent)
			}
		}
		for turns := 0; c.out != nil; turns++ {
			if turns > 1<<20 {
				t.Fatal("the output never ends")
			}
			l.flush(c)
			c.set(flagWritable)
		}
		if !bytes.Equal(fake.sent, want) {
			t.Fatalf("round %d: %d bytes arrived, %d were queued, or not the same", round, len(fake.sent), len(want))
		}
		if c.sent != c.queued || c.sent != uint64(len(want)) || l.numbers.bytesOut != c.sent {
			t.Fatalf("round %d: sent %d, queued %d, counted %d, want %d", round, c.sent, c.queued, l.numbers.bytesOut, len(want))
		}
		if fake.corks {
			t.Fatalf("round %d: the last bytes are held back for more", round)
		}
		for i, f := range files {
			if f.released != 1 {
				t.Fatalf("round %d: file %d was released %d times", round, i, f.released)
			}
		}
	}
}

// sendMemoryFor is sendMemory for an output that may not exist yet.
func (l *loop) sendMemoryFor(c *conn, b []byte) {
	l.tail(c)
	l.sendMemory(c, b)
}

// A turn sends at most a chunk, so that a client that takes everything does not make the others wait.
func TestFlushKeepsToItsBudget(t *testing.T) {
	for _, kind := range []string{"memory", "many pieces", "tail", "file", "file without sendfile", "small files"} {
		t.Run(kind, func(t *testing.T) {
			fake := &meter{take: func() int { return 1 << 30 }}
			l, c := bareLoop(fake)
			large := make([]byte, 10*writeChunk)
			most := uint64(writeChunk)
			switch kind {
			case "memory":
				l.sendMemoryFor(c, large)
			case "many pieces":
				for i := range 100 {
					l.sendMemoryFor(c, large[i*1000:][:writeChunk/10])
				}
			case "tail":
				l.putTail(c, append(l.tail(c), large...))
			case "file":
				fake.files = map[int][]byte{1: large}
				l.tail(c)
				l.sendFile(c, &fakeFile{fd: 1}, 0, int64(len(large)))
			case "file without sendfile":
				fake.files, fake.copies = map[int][]byte{1: large}, true
				l.tail(c)
				l.sendFile(c, &fakeFile{fd: 1}, 0, int64(len(large)))
			case "small files":
				fake.files = map[int][]byte{1: large}
				for range len(large) / copyFile {
					l.putTail(c, append(l.tail(c), "head"...))
					l.sendFile(c, &fakeFile{fd: 1}, 0, copyFile)
				}
				most += copyFile // they are not parted
			}
			for turn := 1; c.out != nil; turn++ {
				before := c.sent
				l.flush(c)
				if n := c.sent - before; n > most || n == 0 {
					t.Fatalf("turn %d sent %d bytes", turn, n)
				}
			}
			if c.sent != c.queued || c.sent < 9*writeChunk {
				t.Errorf("sent %d", c.sent)
			}
		})
	}
}

// Whatever is queued when a peer goes is given back, at any byte.
func TestOutputOfAGonePeer(t *testing.T) {
	for cut := range 40 {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			calls := 0
			fake := &meter{files: map[int][]byte{0: make([]byte, 100), 1: make([]byte, 100)}}
			fake.take = func() int {
				if calls++; calls > cut {
					return -1
				}
				return 17
			}
			poller, err := netcore.NewPoller("poll")
			if err != nil {
				t.Fatal(err)
			}
			defer poller.Close()
			l, c := bareLoop(fake)
			l.poller = poller
			l.table.Remove(3, c.serial)
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			c.fd = int32(fd)
			c.serial = l.table.Put(fd, c)
			files := []*fakeFile{{fd: 0}, {fd: 1}}
			l.putTail(c, append(l.tail(c), "head one"...))
			l.sendFile(c, files[0], 0, 100)
			l.putTail(c, append(l.tail(c), "head two"...))
			l.sendMemory(c, make([]byte, 100))
			l.putTail(c, append(l.tail(c), "head three"...))
			l.sendFile(c, files[1], 50, 50)
			for c.out != nil {
				l.flush(c)
				c.set(flagWritable)
			}
			for i, f := range files {
				if f.released != 1 {
					t.Errorf("file %d was released %d times", i, f.released)
				}
			}
			if gone := l.numbers.closed[reasonClientGone]; gone > 1 || c.has(flagClosed) != (gone == 1) {
				t.Errorf("closed %d times", gone)
			}
			if !c.has(flagClosed) {
				unix.Close(fd)
			}
		})
	}
}
