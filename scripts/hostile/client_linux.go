package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialPatience bounds a hostile connect.
const dialPatience = 3 * time.Second

// gain is what an attack has done and got so far. All its connections share it.
type gain struct {
	connections, refused   atomic.Int64
	sent, received         atomic.Int64
	closed, reset, cheated atomic.Int64

	mu      sync.Mutex
	answers map[int]int64
}

// A client is one hostile connection. One goroutine runs its attack; hear adds a second one
// that reads.
type client struct {
	conn   *net.TCPConn
	gain   *gain
	number int // of the slot that it fills, 0 … connections-1
	random *rand.Rand
	until  time.Time     // end of the whole attack
	over   chan struct{} // closed when the server has ended the connection, or the attack is over
	once   sync.Once
	tally  tally
	heard  sync.WaitGroup
	status atomic.Int64 // of the last answer, 0 without one
	ended  atomic.Bool  // by the server
}

// connect opens a connection. buffer is the size of its receive buffer, 0: the system's.
func connect(address string, number, buffer int, until time.Time, g *gain) (*client, error) {
	dialer := net.Dialer{
		Timeout: dialPatience,
		// Each slot has an address of its own: one has too few ports for a flood.
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(number>>8), byte(number))},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			if e := raw.Control(func(fd uintptr) {
				// The port is chosen at the connect, when the other end is known.
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
				if err == nil && buffer > 0 {
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
				}
			}); e != nil {
				return e
			}
			return err
		},
	}
	conn, err := dialer.Dial("tcp4", address)
	if err != nil {
		g.refused.Add(1)
		return nil, err
	}
	g.connections.Add(1)
	c := &client{
		conn: conn.(*net.TCPConn), gain: g, number: number, until: until, over: make(chan struct{}),
		random: rand.New(rand.NewPCG(uint64(number), uint64(time.Now().UnixNano()))),
	}
	return c, c.conn.SetDeadline(until)
}

// send writes all of p, and reports whether the connection goes on.
func (c *client) send(p []byte) bool {
	n, err := c.conn.Write(p)
	c.gain.sent.Add(int64(n))
	if err != nil {
		c.end(err)
	}
	return err == nil && c.alive()
}

// flood writes p again and again until the connection is over.
func (c *client) flood(p []byte) {
	for c.send(p) {
	}
}

// drip sends a piece after every pause until the connection is over.
func (c *client) drip(pause time.Duration, piece []byte) {
	for c.wait(pause) && c.send(piece) {
	}
}

// take reads up to n bytes, and reports whether the connection goes on.
func (c *client) take(n int) bool {
	buffer := make([]byte, min(n, 64<<10))
	for n > 0 {
		got, err := c.conn.Read(buffer[:min(n, len(buffer))])
		c.receive(buffer[:got])
		n -= got
		if err != nil {
			c.end(err)
			return false
		}
	}
	return true
}

// takeAll reads to the end.
func (c *client) takeAll() {
	for c.take(64 << 10) {
	}
}

// hear reads everything in a goroutine of its own.
func (c *client) hear() { c.heard.Go(c.takeAll) }

// await returns when the connection is over.
func (c *client) await() { <-c.over }

// wait pauses, and reports whether the connection goes on. Without hear or take nobody
// notices that the server ends it.
func (c *client) wait(d time.Duration) bool {
	timer := time.NewTimer(min(d, time.Until(c.until)))
	defer timer.Stop()
	select {
	case <-c.over:
		return false
	case <-timer.C:
		return time.Now().Before(c.until)
	}
}

func (c *client) alive() bool {
	select {
	case <-c.over:
		return false
	default:
		return true
	}
}

func (c *client) receive(p []byte) {
	c.gain.received.Add(int64(len(p)))
	c.tally.add(p, func(status int) {
		c.status.Store(int64(status))
		c.gain.mu.Lock()
		c.gain.answers[status]++
		c.gain.mu.Unlock()
	})
}

// end notes how the connection ended, the first time that it is called.
func (c *client) end(err error) {
	c.once.Do(func() {
		switch {
		case errors.Is(err, io.EOF):
			c.gain.closed.Add(1)
			c.ended.Store(true)
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			c.gain.reset.Add(1)
			c.ended.Store(true)
		}
		close(c.over)
	})
}

// halfClose ends our side.
func (c *client) halfClose() { _ = c.conn.CloseWrite() }

// leave closes with a reset, or in an orderly way, and waits for the reader.
func (c *client) leave(reset bool) {
	if reset {
		_ = c.conn.SetLinger(0)
	}
	c.end(nil)
	c.conn.Close()
	c.heard.Wait()
}

// tally finds the status lines in what a server sends, however it is cut. What the attacks
// ask for has no "HTTP/1.1 " in its body.
type tally struct {
	matched int // bytes of statusLine, and then digits
	status  int
}

const statusLine = "HTTP/1.1 "

func (t *tally) add(p []byte, found func(status int)) {
	for _, b := range p {
		switch {
		case t.matched < len(statusLine) && b == statusLine[t.matched]:
			t.matched++
		case t.matched >= len(statusLine) && b >= '0' && b <= '9' && t.matched < len(statusLine)+3:
			t.status = 10*t.status + int(b-'0')
			if t.matched++; t.matched == len(statusLine)+3 {
				found(t.status)
				*t = tally{}
			}
		case b == statusLine[0]:
			*t = tally{matched: 1}
		case t.matched > 0:
			*t = tally{}
		}
	}
}
