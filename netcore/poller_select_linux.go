package netcore

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// selectPoller is pselect(2): level-triggered, a thread is held while it waits, and a descriptor must be below 1024.
// select knows neither hang-up nor half-close, so one poll(2) without waiting asks for the details of those that are
// ready. A paused descriptor is in no set: not even Hangup is reported for it. Owner: the loop.
type selectPoller struct {
	wakeup
	registered [unix.FD_SETSIZE]bool
	tokens     [unix.FD_SETSIZE]uint64
	read       unix.FdSet // interest
	write      unix.FdSet // interest
	top        int        // no registered descriptor is above it
	next       int        // the descriptor where the next scan starts, so that a small events slice starves nobody
	asked      []unix.PollFd
}

func newSelectPoller() (Poller, error) {
	p := &selectPoller{}
	if err := p.open(); err != nil {
		return nil, err
	}
	if err := p.fits(p.fd); err != nil {
		_ = p.close()
		return nil, err
	}
	p.read.Set(p.fd)
	p.top = p.fd
	return p, nil
}

// fits refuses what select cannot hold.
func (p *selectPoller) fits(fd int) error {
	if fd < 0 {
		return fmt.Errorf("poller: select fd %d: %w", fd, unix.EBADF)
	}
	if fd >= unix.FD_SETSIZE {
		return fmt.Errorf("poller: select fd %d: select takes descriptors below %d only, use epoll or poll: %w", fd, unix.FD_SETSIZE, unix.EINVAL)
	}
	return nil
}

func (p *selectPoller) known(fd int) bool {
	return fd >= 0 && fd < unix.FD_SETSIZE && p.registered[fd]
}

func (p *selectPoller) set(fd int, interest Readiness, token uint64) {
	p.tokens[fd] = token
	p.read.Clear(fd)
	p.write.Clear(fd)
	if interest&Readable != 0 {
		p.read.Set(fd)
	}
	if interest&Writable != 0 {
		p.write.Set(fd)
	}
}

func (p *selectPoller) Add(fd int, interest Readiness, token uint64) error {
	if err := p.fits(fd); err != nil {
		return err
	}
	if p.registered[fd] {
		return fmt.Errorf("poller: select add fd %d: %w", fd, unix.EEXIST)
	}
	p.registered[fd] = true
	p.top = max(p.top, fd)
	p.set(fd, interest, token)
	return nil
}

func (p *selectPoller) Modify(fd int, interest Readiness, token uint64) error {
	if !p.known(fd) {
		return fmt.Errorf("poller: select modify fd %d: %w", fd, unix.ENOENT)
	}
	p.set(fd, interest, token)
	return nil
}

func (p *selectPoller) Remove(fd int) error {
	if !p.known(fd) {
		return fmt.Errorf("poller: select remove fd %d: %w", fd, unix.ENOENT)
	}
	p.set(fd, 0, 0)
	p.registered[fd] = false
	for p.top > p.fd && !p.registered[p.top] {
		p.top--
	}
	return nil
}

func (p *selectPoller) Forget(fd int) {
	if p.known(fd) {
		_ = p.Remove(fd)
	}
}

func (p *selectPoller) Wait(events []Event, timeout time.Duration) (int, error) {
	if len(events) == 0 {
		return 0, unix.EINVAL
	}
	due := dueAfter(timeout)
	for {
		read, write := p.read, p.write
		ready, err := unix.Pselect(p.top+1, &read, &write, nil, timespecUntil(due, &unix.Timespec{}), nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("poller: pselect: %w", err)
		}
		signalled := ready > 0 && read.IsSet(p.fd)
		woken := signalled || p.pending.Load()
		p.consume(signalled)
		n := 0
		if ready > 0 {
			p.ask(&read, &write, len(events))
			if n, err = p.collect(events); err != nil {
				return 0, err
			}
		}
		// Readiness that has gone between select and poll is no reason to end.
		if n > 0 || woken || ready == 0 || timeout == 0 {
			return n, nil
		}
	}
}

// ask lists at most limit of those that are ready, from next on round all descriptors.
func (p *selectPoller) ask(read, write *unix.FdSet, limit int) {
	p.asked = p.asked[:0]
	all := p.top + 1
	for i := range all {
		fd := (p.next + i) % all
		if fd == p.fd || !read.IsSet(fd) && !write.IsSet(fd) {
			continue
		}
		if len(p.asked) == limit {
			p.next = fd
			return
		}
		var interest Readiness
		if p.read.IsSet(fd) {
			interest |= Readable
		}
		if p.write.IsSet(fd) {
			interest |= Writable
		}
		p.asked = append(p.asked, unix.PollFd{Fd: int32(fd), Events: int16(pollFlags(interest))})
	}
}

// collect asks poll for the details and fills events.
func (p *selectPoller) collect(events []Event) (int, error) {
	if len(p.asked) == 0 {
		return 0, nil
	}
	for {
		_, err := unix.Ppoll(p.asked, &unix.Timespec{}, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return 0, fmt.Errorf("poller: ppoll: %w", err)
		}
	}
	n := 0
	for i := range p.asked {
		slot := &p.asked[i]
		if slot.Revents == 0 {
			continue
		}
		events[n] = Event{Token: p.tokens[slot.Fd], Ready: pollReadiness(uint32(uint16(slot.Revents)))}
		n++
	}
	return n, nil
}

func (p *selectPoller) Wake() error  { return p.wake() }
func (p *selectPoller) Close() error { return p.close() }
