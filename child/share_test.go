package child

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1"
)

// One connection waits for the turns of all the others: together they are read a bounded amount, however many they are.
func TestShareOfATurn(t *testing.T) {
	l, _ := bareLoop(nil)
	for crowd, want := range map[int]int{
		0: readChunk, 1: readChunk, turnRead / readChunk: readChunk, 2 * turnRead / readChunk: readChunk / 2, 100_000: readLeast,
	} {
		l.crowd = crowd
		if got := l.share(turnRead, readChunk, readLeast); got != want {
			t.Errorf("%d connections: each is read %d bytes in a turn, want %d", crowd, got, want)
		}
	}
}

// reading is a transport that always has bytes, and remembers how many were asked for.
type reading struct {
	meter
	asked int
}

func (r *reading) fill(_ *conn, p []byte) (int, error) {
	r.asked = len(p)
	return 0, unix.EAGAIN
}

func TestReadKeepsToItsShare(t *testing.T) {
	tr := new(reading)
	tc := start(t, "", routes{})
	tc.onLoop(func(l *loop) {
		c := &conn{transport: tr, listener: &listener{}, flags: flagReadable | flagWritable}
		for _, crowd := range []int{1, 100_000} {
			l.crowd = crowd
			c.set(flagReadable)
			l.read(c)
			if want := l.share(turnRead, readChunk, readLeast); tr.asked != want {
				t.Errorf("%d connections: read %d bytes, want %d", crowd, tr.asked, want)
			}
		}
	})
}

// What is gathered from many chunks is the same as what each of them holds, wherever the input is cut.
func TestUnchunk(t *testing.T) {
	for name, c := range map[string]struct {
		input, content string
		done, fails    bool
		rest           int
	}{
		"one":                  {"5\r\nhello\r\n0\r\n\r\n", "hello", true, false, 0},
		"many":                 {strings.Repeat("1\r\nx\r\n", 1000) + "0\r\nX: y\r\n\r\n", strings.Repeat("x", 1000), true, false, 0},
		"growing":              {"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n4;x=\"y\"\r\nghij\r\n0\r\n\r\n", "abcdefghij", true, false, 0},
		"unfinished":           {"2\r\nab\r\n3\r\nc", "abc", false, false, 0},
		"next request behind":  {"1\r\na\r\n0\r\n\r\nGET /", "a", true, false, len("GET /")},
		"error behind content": {"1\r\na\r\n1\r\nb\r\nx", "ab", false, true, 0},
	} {
		for cut := range len(c.input) {
			var r receiver
			var content []byte
			rest, done := []byte(nil), false
			var err error
			for _, part := range []string{c.input[:cut], c.input[cut:]} {
				rest = append(rest, part...)
				var n int
				var piece []byte
				if done || err != nil {
					break
				}
				n, piece, done, err = r.unchunk(bytes.Clone(rest), &http1.Limits{})
				content = append(content, piece...)
				rest = rest[n:]
			}
			if string(content) != c.content || done != c.done || (err != nil) != c.fails || c.done && cut <= len(c.input)-c.rest && len(rest) != c.rest {
				t.Fatalf("%s, cut at %d: %q, done %v, %d bytes left, %v", name, cut, content, done, len(rest), err)
			}
		}
	}
}

// A pipeline waits with one request where many wait already: what it has sent beyond that is answered later, and not refused, and there
// are places left for others.
func TestPipelineLeavesPlaces(t *testing.T) {
	b := newBlocker()
	tc := start(t, "workers {\n  max = 4\n  queue = 8\n}\n", routes{"/blocked": b, "/free": text("free")})
	greedy := tc.dial()
	greedy.send(strings.Repeat(blocked, 20)) // 3 run, and with 4 of 6 places taken no more are begun
	tc.until("half of the places are taken", func(l *loop) bool { return l.routeOf("/blocked").gate.waiting.length == 4 })
	other := tc.dial()
	other.send(blocked)
	tc.until("the other has a place", func(l *loop) bool { return l.routeOf("/blocked").gate.waiting.length == 5 })
	close(b.gate)
	if r := other.answer("GET"); r.Status != 200 {
		t.Errorf("the other: %d", r.Status)
	}
	for i := range 20 {
		if r := greedy.answer("GET"); r.Status != 200 {
			t.Fatalf("request %d of the pipeline: %d", i, r.Status)
		}
	}
}
