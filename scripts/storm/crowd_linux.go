package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds a connect and an exchange: who waits longer has lost it.
const patience = 15 * time.Second

// crowd is many clients on one thread. They are strict: nothing is tried a second time. A client of a keeping crowd has one connection
// and makes a request on it at every tick; if the connection breaks, that is counted, and the next one takes its place. A client of the
// other kind makes one request on a connection of its own, and drops it.
type crowd struct {
	name    string
	ground  *ground
	request string
	// keep is the number of connections of a keeping crowd, tick the time between two requests of one; 0: none after the first.
	keep int
	tick time.Duration
	// rate is how many connections are begun a second: those of a keeping crowd once, the others until total, if that is not 0.
	rate  int
	total int
	// judge looks at the body of an answer, on the crowd's thread. nil: every 200 is right.
	judge func(c *member, body []byte) error
	// before is called when a request is made, on the crowd's thread.
	before func(c *member)

	epoll   int
	members []*member // by slot; those of free are not used
	free    []int
	live    int       // connections that are open or on their way
	begun   int       // of total
	credit  float64   // connections that are due
	earned  time.Time // up to when
	serial  uint32
	in      [16 << 10]byte

	paused  atomic.Bool
	polling atomic.Bool // every kept connection is asked once
	quit    chan struct{}
	ended   chan struct{}
	once    sync.Once
	failed  error // of the crowd itself

	mu     sync.Mutex
	counts counts
	lost   []Failure
	closed []Failure // as an answer had announced: no fault of itself
}

// counts are what a crowd has seen so far.
type counts struct {
	Begun     int `json:"begun"`     // connections
	Connected int `json:"connected"` // of them
	Asked     int `json:"asked"`     // requests, the last byte of which was sent
	Answered  int `json:"answered"`  // whole and right answers
	Wrong     int `json:"wrong"`     // whole answers that were not right
	Announced int `json:"announced"` // closes that an answer had announced
	Open      int `json:"open"`
	Waiting   int `json:"waiting"` // for a connection or an answer
	Slowest   time.Duration
	Longest   time.Duration // the longest that the crowd was late itself
}

// member is one connection.
type member struct {
	slot    int
	serial  uint32
	fd      int
	state   memberState
	begin   time.Time // of the connection
	asked   time.Time // of the connect, or of the request under way
	due     time.Time // of the next request
	answers int
	closing bool // an answer has announced the close
	partial []byte
	// For judges: what the last answers said.
	child    string
	slotName string
	value    uint64
	floor    uint64
}

type memberState uint8

const (
	unused memberState = iota
	connecting
	waiting // for an answer
	resting
)

// start lets the crowd loose. The caller calls stop.
func (c *crowd) start() error {
	if c.request == "" {
		c.request = "/plain"
	}
	c.quit, c.ended = make(chan struct{}), make(chan struct{})
	ready := make(chan error)
	go func() {
		defer close(c.ended)
		runtime.LockOSThread()
		if c.ground.link == nil {
			// A thread that ends would take the processes along that it has started. (One with a namespace of its own has to end.)
			defer runtime.UnlockOSThread()
		}
		err := c.ground.joinClient()
		if err == nil {
			c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		}
		ready <- err
		if err != nil {
			return
		}
		c.failed = c.run()
		for _, m := range c.members {
			if m.state != unused {
				c.drop(m)
			}
		}
		_ = unix.Close(c.epoll)
	}()
	return <-ready
}

// stop ends the crowd: connections that are open are dropped and not counted.
func (c *crowd) stop() error {
	c.once.Do(func() { close(c.quit) })
	<-c.ended
	return c.failed
}

// done waits until a crowd with a total has had it, or until the bound.
func (c *crowd) done(bound time.Duration) error {
	deadline := time.Now().Add(bound)
	for {
		n := c.count()
		if n.Begun >= c.total && n.Open == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d of %d connections begun, %d open after %v", c.name, n.Begun, c.total, n.Open, bound)
		}
		if err := c.sleep(20 * time.Millisecond); err != nil {
			return err
		}
	}
}

// assembled waits until every connection of a keeping crowd has had an answer.
func (c *crowd) assembled() error {
	deadline := time.Now().Add(patience)
	for {
		n := c.count()
		if n.Open == c.keep && n.Answered >= c.keep {
			return nil
		}
		if lost := c.failures(); len(lost) > 0 {
			return fmt.Errorf("%s: a connection fails before the trial begins: %w", c.name, lost[0].Err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d of %d connections are there after %v", c.name, n.Open, c.keep, patience)
		}
		if err := c.sleep(5 * time.Millisecond); err != nil {
			return err
		}
	}
}

// calm pauses the crowd and waits until nobody waits for an answer.
func (c *crowd) calm() error {
	c.paused.Store(true)
	deadline := time.Now().Add(2 * patience)
	for {
		n := c.count()
		if n.Waiting == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d wait after %v", c.name, n.Waiting, 2*patience)
		}
		if err := c.sleep(5 * time.Millisecond); err != nil {
			return err
		}
	}
}

// poll asks once on every kept connection, and waits for the answers. A paused crowd pauses again.
func (c *crowd) poll() error {
	c.polling.Store(true)
	for c.polling.Load() {
		if err := c.sleep(5 * time.Millisecond); err != nil {
			return err
		}
	}
	return c.calm()
}

func (c *crowd) sleep(d time.Duration) error {
	select {
	case <-c.ended:
		return errors.Join(fmt.Errorf("%s has ended", c.name), c.failed)
	case <-time.After(d):
		return nil
	}
}

func (c *crowd) count() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// slowest is the time that the slowest answer has taken since it was asked for the last time.
func (c *crowd) slowest() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	slowest := c.counts.Slowest
	c.counts.Slowest = 0
	return slowest
}

// closes are the connections that the server has closed as it had announced.
func (c *crowd) closes() []Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed[:len(c.closed):len(c.closed)]
}

func (c *crowd) failures() []Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost[:len(c.lost):len(c.lost)]
}

const (
	// crowdTurn is how long the crowd waits for events at most, in ms.
	crowdTurn = 1
	// maxOpen bounds the connections of a crowd that keeps none.
	maxOpen = 20_000
	// sweepEvery is how often those are looked for that wait too long.
	sweepEvery = 100 * time.Millisecond
)

func (c *crowd) run() error {
	var events [512]unix.EpollEvent
	swept := time.Now()
	turned := swept
	for {
		select {
		case <-c.quit:
			return nil
		default:
		}
		now := time.Now()
		c.mu.Lock()
		c.counts.Longest = max(c.counts.Longest, now.Sub(turned))
		if err := c.begin(now); err != nil {
			c.mu.Unlock()
			return err
		}
		if c.keep > 0 {
			c.askDue(now)
		}
		if now.Sub(swept) >= sweepEvery {
			swept = now
			c.sweep(now)
		}
		c.counts.Open = c.live
		c.mu.Unlock()
		turned = time.Now()
		n, err := unix.EpollWait(c.epoll, events[:], crowdTurn)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		now = time.Now()
		c.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			if m := c.members[e.Fd]; m.state != unused && m.serial == uint32(e.Pad) {
				c.event(m, now)
			}
		}
		c.counts.Open = c.live
		c.mu.Unlock()
	}
}

// begin opens the connections that are due.
func (c *crowd) begin(now time.Time) error {
	if !c.earned.IsZero() && !c.paused.Load() {
		c.credit += float64(c.rate) * now.Sub(c.earned).Seconds()
	}
	c.earned = now
	for c.credit >= 1 {
		switch {
		case c.keep > 0 && c.live >= c.keep:
			c.credit = 1 // who replaces another does it at once
			return nil
		case c.keep == 0 && (c.total > 0 && c.begun >= c.total || c.live >= maxOpen):
			return nil
		}
		c.credit--
		c.begun++
		if err := c.connect(now); err != nil {
			return err
		}
	}
	return nil
}

// connect begins a connection. An error is the crowd's own: no descriptors, for example.
func (c *crowd) connect(now time.Time) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if sources := c.ground.sources; len(sources) > 0 {
		// The port is chosen by connect, and so one serves for every source.
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: sources[c.counts.Begun%len(sources)].As4()})
		}
		if err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("bind: %w", err)
		}
	}
	m := c.seat()
	m.fd, m.state, m.begin, m.asked = fd, connecting, now, now
	c.counts.Begun++
	c.counts.Waiting++
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(m.slot), Pad: int32(m.serial)}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	switch err := unix.Connect(fd, c.ground.sockaddr()); err {
	case nil:
		c.connected(m, now)
	case unix.EINPROGRESS:
	case unix.EADDRNOTAVAIL:
		return fmt.Errorf("connect: no port is left: %w", err)
	default:
		c.fail(m, now, err)
	}
	return nil
}

// seat finds a slot.
func (c *crowd) seat() *member {
	c.serial++
	c.live++
	var m *member
	if n := len(c.free); n > 0 {
		m = c.members[c.free[n-1]]
		c.free = c.free[:n-1]
		*m = member{slot: m.slot, partial: m.partial[:0]}
	} else {
		m = &member{slot: len(c.members)}
		c.members = append(c.members, m)
	}
	m.serial = c.serial
	return m
}

func (c *crowd) connected(m *member, now time.Time) {
	c.counts.Connected++
	c.counts.Waiting--
	m.state = resting
	c.ask(m, now)
}

// ask makes a request. It is so short that a socket without unsent bytes takes it.
func (c *crowd) ask(m *member, now time.Time) {
	if c.before != nil {
		c.before(m)
	}
	m.state, m.asked, m.partial = waiting, now, m.partial[:0]
	c.counts.Waiting++
	text := "GET " + c.request + " HTTP/1.1\r\nHost: storm\r\n\r\n"
	n, err := unix.Write(m.fd, []byte(text))
	switch {
	case err != nil:
		c.fail(m, now, err)
	case n < len(text):
		c.fail(m, now, fmt.Errorf("the socket takes %d of %d bytes", n, len(text)))
	default:
		c.counts.Asked++
	}
}

// askDue makes the requests whose tick has come.
func (c *crowd) askDue(now time.Time) {
	polling := c.polling.Load()
	if c.paused.Load() && !polling || c.tick == 0 && !polling {
		return
	}
	for _, m := range c.members {
		if m.state == resting && (polling || !m.due.After(now)) {
			c.ask(m, now)
		}
	}
	if polling {
		c.polling.Store(false)
	}
}

// sweep ends those that have waited too long.
func (c *crowd) sweep(now time.Time) {
	for _, m := range c.members {
		if (m.state == connecting || m.state == waiting) && now.Sub(m.asked) > patience {
			c.fail(m, now, errTimeout)
		}
	}
}

// event handles what epoll says of a connection.
func (c *crowd) event(m *member, now time.Time) {
	if m.state == connecting {
		code, err := unix.GetsockoptInt(m.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = syscall.Errno(code)
		}
		if err != nil {
			c.fail(m, now, err)
			return
		}
		if _, err := unix.Getpeername(m.fd); err != nil {
			return // not yet
		}
		c.connected(m, now)
	}
	for m.state != unused {
		n, err := unix.Read(m.fd, c.in[:])
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
		case err != nil:
			c.fail(m, now, err)
		case n == 0 && m.closing:
			c.counts.Announced++
			c.closed = append(c.closed, m.failure(now, errAnnounced))
			c.drop(m)
		case n == 0 && m.state == resting:
			c.fail(m, now, errClosedIdle)
		case n == 0:
			c.fail(m, now, errClosed)
		case m.state != waiting:
			c.fail(m, now, fmt.Errorf("an answer to nothing: %q", c.in[:min(n, 80)]))
		default:
			m.partial = append(m.partial, c.in[:n]...)
			c.parse(m, now)
		}
	}
}

// parse looks whether the answer is whole.
func (c *crowd) parse(m *member, now time.Time) {
	body, closing, whole, err := parseAnswer(m.partial)
	if !whole && err == nil {
		return
	}
	m.closing = m.closing || closing
	m.answers++
	c.counts.Slowest = max(c.counts.Slowest, now.Sub(m.asked))
	if err == nil && c.judge != nil {
		err = c.judge(m, body)
	}
	if err != nil {
		c.counts.Wrong++
		c.fail(m, now, err)
		return
	}
	c.counts.Answered++
	c.counts.Waiting--
	m.state = resting
	if c.keep == 0 {
		c.drop(m)
		return
	}
	// Those that came together stay apart: a tick from their own last one.
	m.due = now.Add(c.tick)
}

// fail counts a connection that has not got its answer, or was closed between two.
func (c *crowd) fail(m *member, now time.Time, err error) {
	c.lost = append(c.lost, m.failure(now, err))
	if m.state == connecting || m.state == waiting {
		c.counts.Waiting--
	}
	c.drop(m)
}

// failure is all that is known of a connection that has ended.
func (m *member) failure(now time.Time, err error) Failure {
	f := Failure{Begin: m.begin, End: now, Err: err, Child: m.child, Slot: m.slotName, Answers: m.answers, Value: m.value}
	if name, e := unix.Getsockname(m.fd); e == nil {
		if a, ok := name.(*unix.SockaddrInet4); ok {
			f.From = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
		}
	}
	return f
}

// drop closes with a reset, so that the port is free at once.
func (c *crowd) drop(m *member) {
	_ = unix.SetsockoptLinger(m.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(m.fd)
	m.state = unused
	c.live--
	c.free = append(c.free, m.slot)
}

// parseAnswer cuts an answer with a Content-Length into its parts. Every status but 200 is an error.
func parseAnswer(b []byte) (body []byte, closing, whole bool, err error) {
	head, rest, found := bytes.Cut(b, []byte("\r\n\r\n"))
	if !found {
		return nil, false, false, nil
	}
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	length := -1
	for field := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, false, true, fmt.Errorf("answer: Content-Length %q", value)
			}
		case bytes.EqualFold(name, []byte("Connection")):
			closing = bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case length < 0:
		return nil, closing, true, fmt.Errorf("answer without Content-Length: %q", head)
	case len(rest) < length:
		return nil, closing, false, nil
	case len(rest) > length:
		return nil, closing, true, fmt.Errorf("answer with %d bytes too many", len(rest)-length)
	case !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
		return nil, closing, true, fmt.Errorf("answer: %s %q", line, rest[:min(len(rest), 200)])
	}
	return rest, closing, true, nil
}
