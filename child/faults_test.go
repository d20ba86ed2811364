package child

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
)

// What clients do wrong, and what tests ask of the loop about it.

// reset closes the connection with a RST.
func (p *peer) reset() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		p.t.Fatal(err)
	}
	p.Conn.Close()
}

// halfClose ends the client's side and goes on reading.
func (p *peer) halfClose() {
	p.t.Helper()
	if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}

// wantClosed waits until n connections were closed for a reason.
func (tc *testChild) wantClosed(why closeReason, n uint64) {
	tc.t.Helper()
	var closed [reasonCount]uint64
	defer func() {
		tc.t.Helper()
		if tc.t.Failed() {
			for reason, count := range closed {
				if count > 0 {
					tc.t.Logf("closed: %d %v", count, closeReason(reason))
				}
			}
		}
	}()
	tc.until("close for "+why.String(), func(l *loop) bool {
		closed = l.numbers.closed
		all := uint64(0)
		for _, count := range closed {
			all += count
		}
		return all >= n
	})
	for reason, count := range closed {
		if closeReason(reason) == why && count != n || closeReason(reason) != why && count > 0 {
			tc.t.Errorf("closed %d times for %v", count, closeReason(reason))
		}
	}
}

// rests waits until the loop has nothing to do, and checks that it sleeps then: it must not spin, whatever a client leaves undone.
func (tc *testChild) rests(when string) {
	tc.t.Helper()
	// Each call wakes the loop for a turn, or two when its answer is an event. A loop that spins makes hundreds between two calls.
	const calls, most = 20, 6 * 20
	deadline := time.Now().Add(2 * time.Second)
	for {
		tc.onLoop(func(*loop) {})
		from := tc.turns.turns.Load()
		for range calls {
			tc.onLoop(func(*loop) {})
		}
		turns := tc.turns.turns.Load() - from
		if turns <= most {
			return
		}
		if time.Now().After(deadline) {
			tc.t.Fatalf("the loop spins %s: %d turns for %d calls", when, turns, calls)
		}
	}
}

// only returns the child's one connection; it is called on the loop.
func only(l *loop) *conn {
	for c := range l.table.All() {
		return c
	}
	return nil
}

// inState waits until the child's one connection holds an exchange in a state.
func (tc *testChild) inState(s State) {
	tc.t.Helper()
	tc.until(s.String(), func(l *loop) bool {
		c := only(l)
		if c == nil {
			return false
		}
		for _, ex := range []*exchange{c.current, c.pipeline.pending.first, c.pipeline.sending.first} {
			if ex != nil && ex.state == s {
				return true
			}
		}
		return false
	})
}

// smallBuffers lets the connections that are accepted from now on hold little in the kernel, so that a client that does not read is felt
// at once.
func (tc *testChild) smallBuffers() {
	tc.t.Helper()
	tc.onLoop(func(l *loop) {
		for _, s := range l.shards {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10); err != nil {
				tc.t.Error(err)
			}
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10); err != nil {
				tc.t.Error(err)
			}
		}
	})
}

// dialSmall connects with a small receive buffer.
func (tc *testChild) dialSmall() *peer {
	tc.t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10) }); e != nil {
			return e
		}
		return err
	}}
	conn, err := d.Dial("tcp", tc.address)
	if err != nil {
		tc.t.Fatal(err)
	}
	return tc.peerOf(conn)
}

// await receives from a channel or fails.
func await[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
	return v
}

// nowHandler answers on the loop.
type nowHandler func(w *web.Response, r *web.Request)

func (f nowHandler) Serve(w *web.Response, r *web.Request) { f(w, r) }
func (f nowHandler) ServeNow(w *web.Response, r *web.Request) bool {
	f(w, r)
	return true
}
