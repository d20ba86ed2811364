package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/link"
)

// guest is the ground of a server that is there already: it listens in the network of this process. On a link it is asked for at the link's
// address, on the same port.
func (t *trial) guest(delay time.Duration) (*ground, error) {
	address, err := netip.ParseAddrPort(t.address)
	if err != nil || !address.Addr().Is4() || address.Port() == 0 {
		return nil, fmt.Errorf("-address is %q: give an IPv4 address and a port, such as 127.0.0.1:80", t.address)
	}
	if delay <= 0 {
		return &ground{address: address}, nil
	}
	l, err := link.StartHere(delay / 2)
	if err != nil {
		return nil, err
	}
	return &ground{link: l, address: netip.AddrPortFrom(link.ServerAddress(), address.Port()), sources: link.ClientAddresses()}, nil
}

// load is clients for a server that is there already, until a signal says that it is enough. Two lines on standard error tell who has
// started it that all clients are there, and after the signal that nobody begins anything new but what ends the trial.
func (t *trial) load() error {
	enough := make(chan os.Signal, 1)
	signal.Notify(enough, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(enough)
	p := new(pack)
	defer p.stop()
	victims := &crowd{name: "who asks for " + t.ask, request: t.ask, ground: t.ground, rate: max(t.rate, 1)}
	if err := t.receive(p); err != nil {
		return err
	}
	if t.ask != "" {
		if err := victims.start(); err != nil {
			return err
		}
		defer victims.stop()
	}
	fmt.Fprintln(os.Stderr, "storm: load: all clients are there")

	var over <-chan time.Time // nil: never
	if t.over > 0 {
		over = time.After(t.over)
	}
	select {
	case <-enough:
	case <-over:
	}
	t.phase("after the signal")
	under := 0
	for _, s := range p.slow {
		under += s.letEnd()
	}
	fmt.Fprintf(os.Stderr, "storm: load: ending, %d transfers are under way\n", under)
	if t.ask != "" {
		if err := t.spoilt(victims); err != nil {
			return err
		}
	}
	if err := t.close(p, nil, nil); err != nil {
		return err
	}
	t.sum(p)
	return nil
}

// receive starts clients as many as the sizes say: keep-alive ones, idle ones, those with a connection for each request, downloads and
// uploads. A size that is not positive is none. It returns when all are there.
func (t *trial) receive(p *pack) error {
	for _, one := range []struct {
		size  int
		crowd *crowd
	}{
		{t.clients, &crowd{name: "keep-alive clients", ground: t.ground, keep: t.clients, tick: 100 * time.Millisecond, rate: 2000}},
		{t.idle, &crowd{name: "idle connections", ground: t.ground, keep: t.idle, rate: 2000}},
		{t.rate, &crowd{name: "connects", ground: t.ground, rate: t.rate}},
	} {
		c := one.crowd
		if one.size <= 0 {
			continue
		}
		if err := c.start(); err != nil {
			return err
		}
		p.crowds = append(p.crowds, c)
		if c.keep > 0 {
			if err := c.assembled(); err != nil {
				return err
			}
		}
	}
	if t.streams > 0 {
		p.slow = append(p.slow, newDownloads(t.ground, t.streams))
	}
	if t.uploads > 0 {
		p.slow = append(p.slow, newUploads(t.ground, t.uploads))
	}
	p.resume()
	return p.answered()
}

// sum adds what all clients together have seen.
func (t *trial) sum(p *pack) {
	answers, failed, closed := 0, 0, 0
	for _, c := range p.crowds {
		answers += c.count().Answered
		failed += len(c.failures())
		if c.keep > 0 {
			t.kept(c)
			closed += len(c.closes()) + c.closedIdle()
		}
	}
	for _, s := range p.slow {
		answers += s.whole
		failed += len(s.failures)
	}
	t.bar("in all: answers", answers, "some", answers > 0)
	t.zero("in all: failed", failed)
	t.zero("in all: connections closed", closed)
}

// answered waits until a crowd that keeps no connection has had an answer: a server that is not there is found now, and not at the end.
func (p *pack) answered() error {
	for _, c := range p.crowds {
		for deadline := time.Now().Add(patience); c.count().Answered == 0; {
			if lost := c.failures(); len(lost) > 0 {
				return fmt.Errorf("%s: a connection fails before the trial begins: %w", c.name, lost[0].Err)
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s: no answer within %v", c.name, patience)
			}
			if err := c.sleep(5 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// letEnd lets the clients begin no other exchange, and says how many have one under way. It does not wait for them.
func (s *streams) letEnd() (under int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quit != nil {
		close(s.quit)
		s.quit = nil
		under = s.clients // each has always one
	}
	return under
}

// spoilt ends a crowd whose answers may be a 500, and counts those. Everything else is a fault, as for the others.
func (t *trial) spoilt(c *crowd) error {
	if err := c.calm(); err != nil {
		return err
	}
	if err := c.stop(); err != nil {
		return err
	}
	var others []Failure
	spoilt := 0
	for _, f := range c.failures() {
		if strings.Contains(f.Err.Error(), "HTTP/1.1 500 ") {
			spoilt++
		} else {
			others = append(others, f)
		}
	}
	t.note(c.name+": answers", c.count().Answered)
	t.note(c.name+": answers of 500", spoilt)
	t.lost(c.name, others, nil, nil)
	return nil
}

// closedIdle is how many connections were closed between two requests, though no answer had announced it. They are among the failures.
func (c *crowd) closedIdle() (n int) {
	for _, f := range c.failures() {
		if errors.Is(f.Err, errClosedIdle) {
			n++
		}
	}
	return n
}
