package child

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
)

const plainText = "Hello, World!"

// plainRoutes answer the same on the loop and on a worker.
func plainRoutes() routes {
	serve := func(w *web.Response, r *web.Request) { w.SendString(plainText) }
	return routes{"GET /inline": nowHandler(serve), "GET /pooled": web.HandlerFunc(serve)}
}

// round asks once and reads the answer.
func (c *rawClient) round(t testing.TB, request, buffer []byte) {
	if _, err := unix.Write(c.fd, request); err != nil {
		t.Fatal(err)
	}
	if n, err := c.read(buffer); err != nil || n < len(plainText) || string(buffer[n-len(plainText):n]) != plainText {
		t.Fatalf("%q, %v", buffer[:max(n, 0)], err)
	}
}

// A request that is answered on the loop takes no memory of the heap, and one that goes to a worker only the copy of its head, which its
// strings point into.
func TestAllocationsOfARequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	tc := start(t, "", plainRoutes())
	for target, most := range map[string]float64{"/inline": 0, "/pooled": 1} {
		c := tc.dialRaw(t)
		t.Cleanup(c.close)
		request, buffer := []byte("GET "+target+" HTTP/1.1\r\nHost: test\r\nUser-Agent: test\r\n\r\n"), make([]byte, 4096)
		for range 100 { // free lists and buffers have their size
			c.round(t, request, buffer)
		}
		if n := testing.AllocsPerRun(500, func() { c.round(t, request, buffer) }); n > most {
			t.Errorf("%s: %v allocations a request, want at most %v", target, n, most)
		}
	}
}

// BenchmarkRequest is one request after the other on one connection: the hand-over to a worker is not shared with others.
func BenchmarkRequest(b *testing.B) {
	tc := start(b, "", plainRoutes())
	for _, target := range []string{"/inline", "/pooled"} {
		b.Run(target[1:], func(b *testing.B) {
			c := tc.dialRaw(b)
			defer c.close()
			patient := unix.NsecToTimeval(int64(time.Minute))
			if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patient); err != nil {
				b.Fatal(err)
			}
			request, buffer := []byte("GET "+target+" HTTP/1.1\r\nHost: test\r\nUser-Agent: test\r\n\r\n"), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				c.round(b, request, buffer)
			}
		})
	}
}
