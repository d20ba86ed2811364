package link

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mtu is the longest packet, in bytes: what a TUN device begins with.
	mtu = 1500
	// deviceQueue is how many packets wait in a device until the carrier reads them.
	deviceQueue = 20_000
	// ringBytes bounds what is under way in one direction: 25 ms at 5 Gbit/s.
	ringBytes = 16 << 20
	// ringPackets bounds it too: 25 ms at 2.6 million packets a second.
	ringPackets = 1 << 16
	// turn is how long a carrier with packets under way sleeps at most: it then finds many, and is not woken by each. A packet may be
	// later by as much.
	turn = 500 * time.Microsecond
	// batch bounds what is read before what is due is written, in packets.
	batch = 512
)

// carrier moves packets one way. One thread runs it; it allocates nothing once it runs.
type carrier struct {
	from, to int
	wake     int // eventfd: written to when the carrier is to end
	delay    int64
	ring     ring

	carried, dropped atomic.Uint64
	longest          atomic.Int64 // beyond delay, in ns
}

func newCarrier(from, to int, delay time.Duration) (*carrier, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &carrier{from: from, to: to, wake: wake, delay: int64(delay), ring: newRing(ringBytes, ringPackets)}, nil
}

func (c *carrier) stop() {
	_, _ = unix.Write(c.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd at 0 takes it
}

// run carries until stop.
func (c *carrier) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it a turn is 50 µs longer
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	scratch := make([]byte, mtu)
	files := []unix.PollFd{{Fd: int32(c.wake), Events: unix.POLLIN}, {Fd: int32(c.from), Events: unix.POLLIN}}
	for {
		more := c.take(monotonic(), scratch)
		now := monotonic()
		c.give(now)
		var err error
		switch due, some := c.ring.due(); {
		case more:
			_, err = unix.Poll(files[:1], 0)
		case some:
			wait := unix.NsecToTimespec(min(max(due-now, 0), int64(turn)))
			_, err = unix.Ppoll(files[:1], &wait, nil)
		default:
			_, err = unix.Poll(files, -1)
		}
		if err == nil && files[0].Revents != 0 {
			return
		}
	}
}

// take reads what has come, and reports whether there may be more.
func (c *carrier) take(now int64, scratch []byte) bool {
	for range batch {
		room := c.ring.room()
		full := room == nil
		if full {
			room = scratch
		}
		n, err := unix.Read(c.from, room)
		switch {
		case err == unix.EINTR:
		case err != nil || n <= 0:
			return false
		case full:
			c.dropped.Add(1)
		default:
			c.ring.push(n, now+c.delay)
		}
	}
	return true
}

// give writes what is due.
func (c *carrier) give(now int64) {
	for {
		due, some := c.ring.due()
		if !some || due > now {
			return
		}
		if late := now - due; late > c.longest.Load() {
			c.longest.Store(late)
		}
		_, err := unix.Write(c.to, c.ring.front())
		for err == unix.EINTR {
			_, err = unix.Write(c.to, c.ring.front())
		}
		if err != nil {
			c.dropped.Add(1)
		} else {
			c.carried.Add(1)
		}
		c.ring.pop()
	}
}

// ring is a queue of packets in one piece of memory.
type ring struct {
	data    []byte
	packets []packet
	head    int // the first packet's place in packets
	count   int
	tail    int // where the next packet goes in data
}

type packet struct {
	due        int64 // CLOCK_MONOTONIC, ns
	at, length int
}

func newRing(bytes, packets int) ring {
	return ring{data: make([]byte, bytes), packets: make([]packet, packets)}
}

// room is where the next packet can be written; nil when the ring is full. It stays the same until push.
func (r *ring) room() []byte {
	if r.count == len(r.packets) {
		return nil
	}
	if r.count == 0 {
		r.tail = 0
	}
	start := -1 // of what is in use
	if r.count > 0 {
		start = r.packets[r.head].at
	}
	switch {
	case r.tail > start && len(r.data)-r.tail >= mtu:
		return r.data[r.tail : r.tail+mtu]
	case r.tail > start && start > mtu: // go on at the beginning: a packet lies in one piece
		r.tail = 0
		return r.data[:mtu]
	case r.tail < start && start-r.tail > mtu:
		return r.data[r.tail : r.tail+mtu]
	}
	return nil
}

// push makes a packet of the first n bytes of room.
func (r *ring) push(n int, due int64) {
	r.packets[(r.head+r.count)%len(r.packets)] = packet{due: due, at: r.tail, length: n}
	r.count++
	r.tail += n
}

func (r *ring) due() (int64, bool) {
	if r.count == 0 {
		return 0, false
	}
	return r.packets[r.head].due, true
}

func (r *ring) front() []byte {
	p := r.packets[r.head]
	return r.data[p.at : p.at+p.length]
}

func (r *ring) pop() {
	r.head = (r.head + 1) % len(r.packets)
	r.count--
}

// monotonic is CLOCK_MONOTONIC in ns.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock exists
	return t.Nano()
}
