package child

import (
	"errors"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
)

// A rawClient is a blocking socket with hardly any memory of Go's.
type rawClient struct{ fd int }

func (tc *testChild) dialRaw(t testing.TB) *rawClient {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &rawClient{fd}
	address := netip.MustParseAddrPort(tc.address)
	patient := unix.NsecToTimeval(int64(patience))
	if err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patient),
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}),
	); err != nil {
		t.Fatal(err)
	}
	return c
}

// read reads what is there. A timeout of the socket makes read(2) return for the runtime's signals too.
func (c *rawClient) read(p []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (c *rawClient) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
	c.fd = -1
}

func (c *rawClient) reset() {
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	c.close()
}

// openStreams opens n streams, and returns them with their clients.
func openStreams(t testing.TB, tc *testChild, streams <-chan *web.PushStream, n int) ([]*web.PushStream, []*rawClient) {
	t.Helper()
	open := make([]*web.PushStream, 0, n)
	clients := make([]*rawClient, 0, n)
	t.Cleanup(func() {
		for _, c := range clients {
			c.close()
		}
	})
	buffer := make([]byte, 4096)
	for range n {
		c := tc.dialRaw(t)
		if _, err := unix.Write(c.fd, []byte(getStream)); err != nil {
			t.Fatal(err)
		}
		open = append(open, await(t, "a stream", streams))
		if _, err := c.read(buffer); err != nil { // the head, in one piece
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	return open, clients
}

// manyStreams is how many streams are to be open at a time in one child: as many as both ends of find descriptors.
func manyStreams(t testing.TB) int {
	want := 10000
	if testing.Short() || raceEnabled {
		want = 1000
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	room := (int(limit.Cur) - 100) / 2 // the clients are in this process too
	if room < 1000 {
		t.Skipf("RLIMIT_NOFILE is %d: too few for both ends of many streams", limit.Cur)
	}
	return min(want, room)
}

// Ten thousand streams on one child: no goroutine each, little memory while idle, every one gets what is broadcast, and those whose
// clients go, however they go, are given back.
func TestManyPushStreams(t *testing.T) {
	n := manyStreams(t)
	streams := make(chan *web.PushStream, 1)
	tc := start(t, "", routes{"GET /s": pushing(streams)})
	_, first := openStreams(t, tc, streams, 10) // pools and buffers have their size
	goroutines, before := runtime.NumGoroutine(), heapInUse()
	open, clients := openStreams(t, tc, streams, n)
	each := float64(int64(heapInUse())-int64(before)) / float64(n)
	t.Logf("%d streams, %.0f bytes of heap each", n, each)
	if more := runtime.NumGoroutine() - goroutines; more > 8 {
		t.Errorf("%d more goroutines", more)
	}
	if each > 1024 {
		t.Errorf("%.0f bytes a stream", each)
	}
	tc.rests("while many streams are idle")

	event := []byte("data: broadcast\n\n")
	for _, s := range open {
		if err := s.Push(event); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, 256)
	for i, c := range clients {
		got, err := c.read(buffer)
		if err != nil || !strings.Contains(string(buffer[:got]), string(event)) {
			t.Fatalf("stream %d: %q, %v", i, buffer[:got], err)
		}
	}
	for i, c := range clients {
		switch i % 3 {
		case 0:
			c.reset()
		case 1:
			c.close()
			open[i].Ping() // answered by a reset
		default:
			open[i].Close()
		}
	}
	for _, s := range open {
		await(t, "the end of a stream", s.Done())
	}
	tc.until("all are given back", func(l *loop) bool {
		streams := 0
		for c := range l.table.All() {
			if c.push != nil {
				streams++
			}
		}
		return streams == len(first)
	})
}

// heapInUse is the memory of objects that are alive, in bytes.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkPush is one event to one client that reads at once.
func BenchmarkPush(b *testing.B) {
	streams := make(chan *web.PushStream, 1)
	tc := start(b, "", routes{"GET /s": pushing(streams)})
	p := tc.dial()
	p.send(getStream)
	p.SetDeadline(time.Time{})
	s := await(b, "the stream", streams)
	go io.Copy(io.Discard, p.Conn)
	event := []byte("data: 0123456789\n\n")
	b.ReportAllocs()
	for b.Loop() {
		for s.Push(event) != nil {
			runtime.Gosched()
		}
	}
	s.Close()
}
