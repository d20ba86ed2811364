package netcore

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pollPoller is poll(2): level-triggered, and a thread is held while it waits. Owner: the loop.
type pollPoller struct {
	wakeup
	fds    []unix.PollFd // fds[0] is the wakeup; a complemented Fd is one that the kernel shall skip
	tokens []uint64      // beside fds
	index  []int32       // by descriptor: its place in fds, 0 when it is not registered
	next   int           // the place where the next scan starts, so that a small events slice starves nobody
}

func newPollPoller() (Poller, error) {
	p := &pollPoller{}
	if err := p.open(); err != nil {
		return nil, err
	}
	p.fds = []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	p.tokens = []uint64{0}
	return p, nil
}

// place is the descriptor's place in fds, or 0.
func (p *pollPoller) place(fd int) int {
	if fd < 0 || fd >= len(p.index) {
		return 0
	}
	return int(p.index[fd])
}

func (p *pollPoller) Add(fd int, interest Readiness, token uint64) error {
	if fd < 0 {
		return fmt.Errorf("poller: poll add fd %d: %w", fd, unix.EBADF)
	}
	if p.place(fd) != 0 {
		return fmt.Errorf("poller: poll add fd %d: %w", fd, unix.EEXIST)
	}
	if fd >= len(p.index) {
		p.index = append(p.index, make([]int32, fd+1-len(p.index))...)
	}
	p.index[fd] = int32(len(p.fds))
	p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: int16(pollFlags(interest))})
	p.tokens = append(p.tokens, token)
	return nil
}

func (p *pollPoller) Modify(fd int, interest Readiness, token uint64) error {
	at := p.place(fd)
	if at == 0 {
		return fmt.Errorf("poller: poll modify fd %d: %w", fd, unix.ENOENT)
	}
	p.fds[at] = unix.PollFd{Fd: int32(fd), Events: int16(pollFlags(interest))}
	p.tokens[at] = token
	return nil
}

func (p *pollPoller) Remove(fd int) error {
	at := p.place(fd)
	if at == 0 {
		return fmt.Errorf("poller: poll remove fd %d: %w", fd, unix.ENOENT)
	}
	last := len(p.fds) - 1
	p.fds[at], p.tokens[at] = p.fds[last], p.tokens[last]
	moved := int(p.fds[at].Fd)
	if moved < 0 {
		moved = ^moved
	}
	p.index[moved] = int32(at)
	p.index[fd] = 0
	p.fds, p.tokens = p.fds[:last], p.tokens[:last]
	return nil
}

func (p *pollPoller) Forget(fd int) {
	if p.place(fd) != 0 {
		_ = p.Remove(fd)
	}
}

func (p *pollPoller) Wait(events []Event, timeout time.Duration) (int, error) {
	if len(events) == 0 {
		return 0, unix.EINVAL
	}
	due := dueAfter(timeout)
	for {
		ready, err := unix.Ppoll(p.fds, timespecUntil(due, &unix.Timespec{}), nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("poller: ppoll: %w", err)
		}
		signalled := p.fds[0].Revents != 0
		p.consume(signalled)
		if signalled {
			ready--
		}
		return p.collect(events, ready), nil
	}
}

// collect turns the kernel's answer into events, from next on round the list.
func (p *pollPoller) collect(events []Event, ready int) int {
	n, others := 0, len(p.fds)-1
	for i := 0; i < others && ready > 0; i++ {
		at := 1 + (p.next+i)%others
		slot := &p.fds[at]
		if slot.Revents == 0 {
			continue
		}
		if n == len(events) {
			p.next = at - 1
			break
		}
		events[n] = Event{Token: p.tokens[at], Ready: pollReadiness(uint32(uint16(slot.Revents)))}
		n++
		ready--
		if slot.Events == 0 {
			slot.Fd = ^slot.Fd // paused and dead: said once, as epoll does, or Wait would never sleep
		}
	}
	return n
}

func (p *pollPoller) Wake() error  { return p.wake() }
func (p *pollPoller) Close() error { return p.close() }

// timespecUntil fills ts with the time left until due; nil is for ever. The caller owns ts, so that it stays on its stack.
func timespecUntil(due int64, ts *unix.Timespec) *unix.Timespec {
	if due == forever {
		return nil
	}
	*ts = unix.NsecToTimespec(max(due-Now(), 0))
	return ts
}
