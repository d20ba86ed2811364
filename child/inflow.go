package child

import (
	"io"
	"os"
	"sync"
)

// inflowWindow is how many bytes of a streamed request body may wait unread before the loop stops reading from the connection.
const inflowWindow = 64 << 10

// An inflow carries a large request body from the loop to its handler. The loop adds bytes under mu and stops reading from the socket
// when the window is full; the handler's reads make room and tell the loop. It is an io.Reader for the handler.
type inflow struct {
	ex *exchange

	mu      sync.Mutex
	arrived sync.Cond // bytes, the end, or an error
	buf     []byte
	off     int   // of buf, read already
	err     error // io.EOF: the body is whole
	paused  bool  // the loop waits for room
	asked   bool  // the handler has begun to read
	waits   bool  // the handler has nothing to read
	left    bool  // the handler has returned
}

func newInflow(ex *exchange) *inflow {
	f := &inflow{ex: ex}
	f.arrived.L = &f.mu
	return f
}

// Read implements io.Reader for the handler.
func (f *inflow) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.askLocked()
	for f.off == len(f.buf) {
		if f.err != nil {
			f.waits = false
			return 0, f.err
		}
		f.waits = true
		f.arrived.Wait()
	}
	f.waits = false
	n := copy(p, f.buf[f.off:])
	f.off += n
	if f.off == len(f.buf) {
		f.buf, f.off = f.buf[:0], 0
	}
	if f.paused && len(f.buf)-f.off <= inflowWindow/2 {
		f.paused = false
		f.ex.post(eventRoom)
	}
	return n, nil
}

// ask asks for a body that the client holds back.
func (f *inflow) ask() {
	f.mu.Lock()
	f.askLocked()
	f.mu.Unlock()
}

// askLocked is ask; only the first one counts. ex.expected is the loop's once it was asked.
func (f *inflow) askLocked() {
	if f.asked {
		return
	}
	f.asked = true
	if f.ex.expected && f.off == len(f.buf) && f.err == nil {
		f.ex.post(eventContinue) // the body comes only when it was asked for (RFC 9110, 10.1.1)
	}
}

// room returns how many bytes put may add; at 0 the loop stops reading and eventRoom will follow. It is the loop's.
func (f *inflow) room() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left {
		return inflowWindow // nobody reads: dropped, and the receiver bounds how much
	}
	room := inflowWindow - (len(f.buf) - f.off)
	f.paused = room == 0
	return room
}

// put adds bytes, at most as many as room has allowed, and reports whether the handler has waited for them. It is the loop's.
func (f *inflow) put(p []byte) (awaited bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left {
		return false
	}
	if f.off > 0 && len(f.buf)+len(p) > cap(f.buf) {
		f.buf = f.buf[:copy(f.buf, f.buf[f.off:])]
		f.off = 0
	}
	f.buf = append(f.buf, p...)
	f.arrived.Signal()
	return f.waits
}

// full reports whether the loop should not read: the handler must make room first.
func (f *inflow) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused && !f.left
}

// fail ends the body with err, io.EOF when it is whole, and reports whether the handler has waited for that.
func (f *inflow) fail(err error) (awaited bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.arrived.Broadcast()
	return f.waits
}

// miss ends reading because the handler's deadline has passed: what has come and was not read is dropped. A body that is whole stays.
func (f *inflow) miss() {
	f.mu.Lock()
	if f.err == nil {
		f.err = os.ErrDeadlineExceeded
		f.buf, f.off = nil, 0
	}
	f.arrived.Broadcast()
	f.mu.Unlock()
}

// whole ends the body as it should; the result is fail's.
func (f *inflow) whole() (awaited bool) { return f.fail(io.EOF) }

// abandon is called when the handler has returned.
func (f *inflow) abandon() {
	f.mu.Lock()
	f.left = true
	f.buf, f.off = nil, 0
	f.mu.Unlock()
}
