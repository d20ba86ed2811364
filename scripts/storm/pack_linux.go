package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// epoch is which generations an answer may come from. Configurations are numbered, and each answers with its number.
type epoch struct {
	floor   atomic.Uint64 // the last one that is known to serve: who asks now gets nothing older
	ceiling atomic.Uint64 // the last one that has been written
	refused [1 << 12]atomic.Bool
	// back: a connection may go from a newer configuration back to an older one that serves.
	back bool
}

// watch makes a crowd hold its answers against the epoch. The number is the first word of the body; in what unruly answers, the second is
// the child's index, the third its process id.
func (e *epoch) watch(c *crowd) *crowd {
	c.before = func(m *member) {
		m.floor = e.floor.Load()
		if !e.back {
			m.floor = max(m.floor, m.value)
		}
	}
	c.judge = func(m *member, body []byte) error {
		words := strings.Fields(string(body))
		if len(words) == 0 {
			return fmt.Errorf("an empty answer")
		}
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			return fmt.Errorf("answer %q: %w", body, err)
		}
		if len(words) > 2 {
			m.slotName, m.child = words[1], words[2]
		}
		m.value = n
		switch ceiling := e.ceiling.Load(); {
		case n < m.floor:
			return fmt.Errorf("an answer of configuration %d, when %d served already", n, m.floor)
		case n > ceiling:
			return fmt.Errorf("an answer of configuration %d, and the newest is %d", n, ceiling)
		case e.refused[n].Load():
			return fmt.Errorf("an answer of configuration %d, which was refused", n)
		}
		return nil
	}
	return c
}

// serves says that configuration n serves, and nothing older any more.
func (e *epoch) serves(n uint64) { e.floor.Store(n) }

// writes says that configuration n may serve from now on.
func (e *epoch) writes(n uint64) { e.ceiling.Store(n) }

// pack are the clients of a trial.
type pack struct {
	keepers, sleepers, storm *crowd
	crowds                   []*crowd // those that there are
	slow                     []*streams
}

// muster starts a server and its clients, whose answers are held against the epoch. The caller stops the pack, whatever the error is.
func (t *trial) muster(serve func(*trial) error, tick time.Duration) (*epoch, *pack, error) {
	e := new(epoch)
	if err := serve(t); err != nil {
		return e, new(pack), err
	}
	p, err := t.gather(e, tick)
	return e, p, err
}

// gather starts keep-alive clients, idle connections, and a storm of connects, as many as the sizes say. Downloads and uploads begin with
// resume.
func (t *trial) gather(e *epoch, tick time.Duration) (*pack, error) {
	p := &pack{
		keepers:  e.watch(&crowd{name: "keep-alive clients", ground: t.ground, keep: t.clients, tick: tick, rate: 2000}),
		sleepers: e.watch(&crowd{name: "idle connections", ground: t.ground, keep: t.idle, rate: 2000}),
		storm:    e.watch(&crowd{name: "connects", ground: t.ground, rate: t.rate, total: t.connects}),
	}
	if t.streams > 0 {
		p.slow = append(p.slow, newDownloads(t.ground, t.streams))
	}
	if t.uploads > 0 {
		p.slow = append(p.slow, newUploads(t.ground, t.uploads))
	}
	for _, c := range []*crowd{p.keepers, p.sleepers, p.storm} {
		if c.keep == 0 && c.rate == 0 || c != p.storm && c.keep == 0 {
			continue
		}
		if err := c.start(); err != nil {
			return p, err
		}
		p.crowds = append(p.crowds, c)
		if c.keep > 0 {
			if err := c.assembled(); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// calm pauses all crowds, and lets the downloads and uploads end.
func (p *pack) calm() error {
	for _, s := range p.slow {
		s.stop()
	}
	for _, c := range p.crowds {
		if err := c.calm(); err != nil {
			return err
		}
	}
	return nil
}

// resume lets all go on.
func (p *pack) resume() {
	for _, s := range p.slow {
		s.start()
	}
	for _, c := range p.crowds {
		c.paused.Store(false)
	}
}

// stop ends all; the error is one of the clients' own.
func (p *pack) stop() error {
	var err error
	for _, c := range p.crowds {
		if e := c.stop(); err == nil {
			err = e
		}
	}
	for _, s := range p.slow {
		s.stop()
	}
	return err
}

// close asks once more on every kept connection, stops the clients and reports them.
func (t *trial) close(p *pack, kills []Kill, excused func(Failure) bool) error {
	for _, c := range p.crowds {
		if c.keep > 0 {
			if err := c.poll(); err != nil {
				return err
			}
		} else if err := c.calm(); err != nil {
			return err
		}
	}
	if err := p.stop(); err != nil {
		return err
	}
	for _, c := range p.crowds {
		t.crowd(c, kills, excused)
		if n := c.count(); n.Longest > 2*time.Second {
			t.doubt("%s stood still for %v themselves: this machine is too slow", c.name, n.Longest.Round(time.Millisecond))
		}
	}
	for _, s := range p.slow {
		t.note(s.name+": whole", s.whole)
		t.lost(s.name, s.failures, kills, excused)
	}
	return nil
}
