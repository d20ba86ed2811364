package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// sleepsOn is how long a wait that sees nothing goes on before it is called asleep.
const sleepsOn = 150 * time.Millisecond

// Observations that more than one mechanism can make.
const (
	seesNothing = "sleeps on"
	seesStale   = "an event of an old serial: dropped"
)

// A stage is one polled connection, and what a scene adds to it.
type stage struct {
	number int   // the descriptor that is polled
	peer   int   // its other end
	others []int // to be closed at the end
	gone   func()
}

// A scene is something that happens to a polled connection.
type scene struct {
	name  string
	early bool // it happens while the wait sleeps; else before the wait begins
	act   func(*stage) error
}

var scenes = []scene{
	{"closed while the wait sleeps", true, (*stage).close},
	{"closed while the wait sleeps, then the peer sends", true, func(s *stage) error { return errors.Join(s.close(), s.send()) }},
	{"closed before the wait", false, (*stage).close},
	{"closed, but a duplicate lives; the peer sends", false, func(s *stage) error {
		return errors.Join(s.duplicate(), s.close(), s.send())
	}},
	{"closed, and the number is a new connection's, whose peer sends", false, func(s *stage) error {
		peer, err := s.reuse()
		if err != nil {
			return err
		}
		return sendTo(peer, "new")
	}},
	{"the same, but a duplicate of the old lives, and the old peer sends", false, func(s *stage) error {
		if err := s.duplicate(); err != nil {
			return err
		}
		if _, err := s.reuse(); err != nil {
			return err
		}
		return s.send()
	}},
	{"shutdown(2) instead of close, while the wait sleeps", true, func(s *stage) error { return unix.Shutdown(s.number, unix.SHUT_RDWR) }},
}

// A watcher is a mechanism that has the stage's connection in its set.
type watcher interface {
	// wait says in words what it sees, within sleepsOn; for what begins with seesReadable the
	// number is read.
	wait() (string, error)
	end()
}

const seesReadable = "readable"

var observers = []struct {
	name string
	open func(*stage) (watcher, error)
}{
	{"select", func(s *stage) (watcher, error) { return selecting{s.number}, nil }},
	{"poll", func(s *stage) (watcher, error) { return polling{s.number}, nil }},
	{"epoll", openEpolling},
	{"netcore (descriptor, serial)", openTabled},
}

// runClosed plays every scene before every mechanism and writes down what is seen.
func runClosed(*lab) (*Outcome, error) {
	table := Table{Caption: "What the wait reports of the connection, and what a read of its number then gives:", Head: []string{"what happens"}}
	for _, o := range observers {
		table.Head = append(table.Head, o.name)
	}
	for _, s := range scenes {
		row := []string{s.name}
		for _, o := range observers {
			seen, err := play(s, o.open)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", o.name, s.name, err)
			}
			row = append(row, seen)
		}
		table.Rows = append(table.Rows, row)
	}
	return &Outcome{Tables: []Table{table}}, nil
}

func play(sc scene, open func(*stage) (watcher, error)) (string, error) {
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer s.clear()
	w, err := open(s)
	if err != nil {
		return "", err
	}
	defer w.end()
	if !sc.early {
		if err := sc.act(s); err != nil {
			return "", err
		}
	}
	type result struct {
		seen string
		err  error
		late bool // only when the time was over
	}
	var thread atomic.Int64
	seen := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		thread.Store(int64(unix.Gettid()))
		began := time.Now()
		text, err := w.wait()
		// select and poll look once more when their time is over.
		seen <- result{text, err, text != seesNothing && time.Since(began) > sleepsOn*9/10}
	}()
	if sc.early {
		if err := fallsAsleep(&thread); err != nil {
			return "", err
		}
		if err := sc.act(s); err != nil {
			return "", err
		}
	}
	r := <-seen
	if r.err == nil && strings.HasPrefix(r.seen, seesReadable) {
		r.seen += "; a read: " + s.read()
	}
	if r.late {
		r.seen = seesNothing + "; when its time is over: " + r.seen
	}
	return r.seen, r.err
}

// fallsAsleep waits until a thread sleeps, and not just for a moment.
func fallsAsleep(thread *atomic.Int64) error {
	until := deadline()
	for times := 0; times < 3; time.Sleep(time.Millisecond) {
		if id := thread.Load(); id != 0 && asleep([]int{int(id)}) {
			times++
		} else {
			times = 0
		}
		if time.Now().After(until) {
			return errors.New("the wait does not begin")
		}
	}
	return nil
}

func newStage() (*stage, error) {
	p, err := startPair()
	if err != nil {
		return nil, err
	}
	return &stage{number: p.ours, peer: p.theirs, gone: func() {}}, nil
}

// clear closes what is left; the number may be closed already.
func (s *stage) clear() {
	_ = unix.Close(s.number)
	for _, fd := range append(s.others, s.peer) {
		_ = unix.Close(fd)
	}
}

func (s *stage) close() error {
	s.gone()
	return netcore.Close(s.number)
}

func (s *stage) send() error { return sendTo(s.peer, "old") }

// sendTo sends; that the other end has gone is not the wait's affair.
func sendTo(fd int, text string) error {
	if _, err := netcore.Send(fd, []byte(text), false); err != nil && err != unix.EPIPE && err != unix.ECONNRESET {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// duplicate does what handing the connection to another process does: somebody else holds it too.
func (s *stage) duplicate() error {
	fd, err := unix.FcntlInt(uintptr(s.number), unix.F_DUPFD_CLOEXEC, s.number+1)
	if err != nil {
		return fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	s.others = append(s.others, fd)
	return nil
}

// reuse closes the connection and gives its number to a new one, in one step, so that no other
// thread can take the number in between. It returns the new one's peer.
func (s *stage) reuse() (peer int, err error) {
	p, err := startPair()
	if err != nil {
		return -1, err
	}
	s.gone()
	s.others = append(s.others, p.theirs)
	if err := unix.Dup3(p.ours, s.number, unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("dup3: %w", err)
	}
	return p.theirs, netcore.Close(p.ours)
}

// read says what a read of the number gives.
func (s *stage) read() string {
	b := make([]byte, 16)
	n, err := netcore.Recv(s.number, b)
	switch {
	case err == unix.EAGAIN:
		return "nothing, the number is another connection's (EAGAIN)"
	case err != nil:
		return unix.ErrnoName(err.(unix.Errno))
	case n == 0:
		return "end of stream"
	}
	return "the " + string(b[:n]) + " connection's bytes"
}

// selecting is select(2), with the number in its set.
type selecting struct{ number int }

func (w selecting) end() {}

func (w selecting) wait() (string, error) {
	due := time.Now().Add(sleepsOn)
	for {
		var set unix.FdSet
		set.Set(w.number)
		left := unix.NsecToTimeval(max(0, int64(time.Until(due))))
		n, err := unix.Select(w.number+1, &set, nil, nil, &left)
		switch {
		case err == unix.EINTR:
		case err == unix.EBADF:
			return "EBADF: the whole call fails", nil
		case err != nil:
			return "", fmt.Errorf("select: %w", err)
		case n == 0:
			return seesNothing, nil
		default:
			return seesReadable, nil
		}
	}
}

// polling is poll(2), with the number in its list.
type polling struct{ number int }

func (w polling) end() {}

func (w polling) wait() (string, error) {
	due := time.Now().Add(sleepsOn)
	for {
		list := []unix.PollFd{{Fd: int32(w.number), Events: unix.POLLIN}}
		n, err := unix.Poll(list, int(max(0, time.Until(due).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", fmt.Errorf("poll: %w", err)
		case n == 0:
			return seesNothing, nil
		case list[0].Revents&unix.POLLNVAL != 0:
			return "POLLNVAL", nil
		default:
			return readiness(uint32(uint16(list[0].Revents))), nil
		}
	}
}

// readiness puts poll's flags into words.
func readiness(flags uint32) string {
	text := seesReadable
	if flags&(unix.POLLHUP|unix.POLLERR) != 0 {
		text += ", hung up"
	}
	return text
}

// epolling is epoll_wait(2), after the connection was added by its number.
type epolling struct {
	*rawEpoll
	stage *stage
}

func openEpolling(s *stage) (watcher, error) {
	e, err := newRawEpoll(0, 8)
	if err != nil {
		return nil, err
	}
	if err := e.Add(s.number); err != nil {
		e.Close()
		return nil, err
	}
	return &epolling{e, s}, nil
}

func (w *epolling) end() { w.Close() }

func (w *epolling) wait() (string, error) {
	events, err := w.sleep(int(sleepsOn.Milliseconds()))
	if err != nil {
		return "", err
	}
	if len(events) == 0 {
		return seesNothing, nil
	}
	text := readiness(events[0].Events)
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, int(events[0].Fd), nil); err != nil {
		text += ", and cannot be removed (" + unix.ErrnoName(err.(unix.Errno)) + ")"
	}
	return text, nil
}

// tabled is netcore's poller beside its table: the token has the slot's serial, and the owner empties
// the slot when it closes.
type tabled struct {
	poller netcore.Poller
	table  netcore.Table[stage]
}

func openTabled(s *stage) (watcher, error) {
	p, err := netcore.NewPoller("epoll")
	if err != nil {
		return nil, err
	}
	w := &tabled{poller: p}
	serial := w.table.Put(s.number, s)
	s.gone = func() {
		w.poller.Forget(s.number)
		w.table.Remove(s.number, serial)
	}
	if err := p.Add(s.number, netcore.Readable, netcore.MakeToken(s.number, serial)); err != nil {
		p.Close()
		return nil, err
	}
	return w, nil
}

func (w *tabled) end() { w.poller.Close() }

func (w *tabled) wait() (string, error) {
	events := make([]netcore.Event, 8)
	n, err := w.poller.Wait(events, sleepsOn)
	switch {
	case err != nil:
		return "", err
	case n == 0:
		return seesNothing, nil
	}
	fd, serial := netcore.SplitToken(events[0].Token)
	if w.table.Get(fd, serial) == nil {
		return seesStale, nil
	}
	if events[0].Ready&netcore.Hangup != 0 {
		return seesReadable + ", hung up", nil
	}
	return seesReadable, nil
}
