package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// epoch is which generations an answer may come from. Configurations are numbered, and each answers with its number.
type epoch struct {
	floor   atomic.Uint64 // the last one that is known to serve: who asks now gets nothing older
	ceiling atomic.Uint64 // the last one that has been written
	refused [1 << 12]atomic.Bool
}

// watch makes a crowd hold its answers against the epoch. The number is the first word of the body; in what unruly answers, the second is
// the child's index, the third its process id.
func (e *epoch) watch(c *crowd) *crowd {
	c.before = func(m *member) { m.floor = max(m.value, e.floor.Load()) }
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

// streamSize is the size of a download, in bytes, and streamTime how long it takes.
const (
	streamSize = 1 << 20
	streamTime = time.Second
)

// configuration is text number n for bin/tined. Odd ones have a listener, a route, limits and a log level that even ones do not have.
func (t *trial) configuration(n uint64) string {
	listen, listens, route, limits, level := "", `["main"]`, "", 128, "info"
	if n%2 == 1 {
		listen = fmt.Sprintf("\nlisten \"extra\" {\n  address = %q\n}\n", t.ground.extra)
		listens, limits, level = `["main", "extra"]`, 100, "warn"
		route = "\n  route \"GET /odd\" {\n    respond {\n      body = \"odd\"\n    }\n  }\n"
	}
	return fmt.Sprintf(`children = %d

listen "main" {
  address  = %q
  deferred = %t
}
%s
log {
  level = %q
  file  = %q
}

limits {
  header_count = %d
  idle_timeout = "1h"
}

site "storm" {
  listen = %s
  route "GET /plain" {
    respond {
      body = "%d"
    }
  }
%s
  route "/files/" {
    static {
      root = %q
    }
  }
}
`, t.children, t.ground.address, t.deferred, listen, level, filepath.Join(t.folder, "storm.log"), limits, listens, n, route, t.folder)
}

// serveNumbered starts bin/tined with configuration 0.
func (t *trial) serveNumbered() error {
	if err := os.WriteFile(filepath.Join(t.folder, served), []byte(streamContent()), 0o644); err != nil {
		return err
	}
	var err error
	t.server, err = newServer(t, t.tined, t.configuration(0))
	return err
}

// pack are the crowds of a trial.
type pack struct {
	keepers, sleepers, storm *crowd
	streams                  *streams
	all                      []*crowd
}

// gather starts keep-alive clients, idle connections, a storm of connects, and downloads, as many as the sizes say.
func (t *trial) gather(e *epoch, tick time.Duration) (*pack, error) {
	p := &pack{
		keepers:  e.watch(&crowd{name: "keep-alive clients", ground: t.ground, keep: t.clients, tick: tick, rate: 2000}),
		sleepers: e.watch(&crowd{name: "idle connections", ground: t.ground, keep: t.idle, rate: 2000}),
		storm:    e.watch(&crowd{name: "connects", ground: t.ground, rate: t.rate, total: t.connects}),
	}
	for _, c := range []*crowd{p.keepers, p.sleepers, p.storm} {
		if c.keep == 0 && c.rate == 0 || c != p.storm && c.keep == 0 {
			continue
		}
		if err := c.start(); err != nil {
			return p, err
		}
		p.all = append(p.all, c)
		if c.keep > 0 {
			if err := c.assembled(); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// calm pauses all crowds, and ends the downloads.
func (p *pack) calm() error {
	if p.streams != nil {
		p.streams.stop()
	}
	for _, c := range p.all {
		if err := c.calm(); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) resume(p *pack) {
	if t.sizes.streams > 0 && p.streams == nil {
		p.streams = startStreams(t.ground, t.sizes.streams)
	}
	for _, c := range p.all {
		c.paused.Store(false)
	}
}

// stop ends all; the error is one of the clients' own.
func (p *pack) stop() error {
	var err error
	for _, c := range p.all {
		if e := c.stop(); err == nil {
			err = e
		}
	}
	if p.streams != nil {
		p.streams.stop()
	}
	return err
}

// close asks once more on every kept connection, stops the crowds and reports them.
func (t *trial) close(p *pack, kills []Kill, excused func(Failure) bool) error {
	for _, c := range p.all {
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
	for _, c := range p.all {
		t.crowd(c, kills, excused)
		if n := c.count(); n.Longest > 2*time.Second {
			t.doubt("%s stood still for %v themselves: this machine is too slow", c.name, n.Longest.Round(time.Millisecond))
		}
	}
	if p.streams != nil {
		t.note("downloads: whole", p.streams.whole)
		t.zero("downloads: failures", len(p.streams.failures))
		for _, err := range p.streams.failures[:min(1, len(p.streams.failures))] {
			t.note("  the first of them", err.Error())
		}
	}
	return nil
}

// reload changes the configuration again and again.
func (t *trial) reload() error {
	if err := t.serveNumbered(); err != nil {
		return err
	}
	e := new(epoch)
	p, err := t.gather(e, 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	pids, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	master := t.server.process.Pid
	t.resume(p)
	for i := range warming {
		time.Sleep(t.over / time.Duration(t.reloads))
		if _, err := t.reloadTo(e, uint64(i+1), false); err != nil {
			return err
		}
	}
	if err := p.calm(); err != nil {
		return err
	}
	p.streams = nil
	before, err := t.weighBoth(pids, master, nil)
	if err != nil {
		return err
	}
	t.resume(p)

	begin := time.Now()
	var took []time.Duration
	late := 0
	for i := range t.reloads {
		due := begin.Add(t.over * time.Duration(i) / time.Duration(t.reloads))
		if time.Now().After(due.Add(t.over / time.Duration(t.reloads))) {
			late++
		}
		time.Sleep(time.Until(due))
		one, err := t.reloadTo(e, uint64(warming+i+1), i%10 == 5)
		if err != nil {
			t.say(fmt.Sprintf("reload %d", i+1), err)
			break
		}
		took = append(took, one)
	}
	all := time.Since(begin)
	if err := p.calm(); err != nil {
		return err
	}
	after, err := t.weighBoth(pids, master, before)
	if err != nil {
		return err
	}
	now, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	if len(took) > 0 {
		slices.Sort(took)
		t.note("reloads", len(took))
		t.note("all of them, s", all.Seconds())
		t.note("one, median, ms", took[len(took)/2].Milliseconds())
		t.note("one, longest, ms", took[len(took)-1].Milliseconds())
		t.note("began late", late)
	}
	if err := t.close(p, nil, nil); err != nil {
		return err
	}
	t.bar("the same processes", fmt.Sprint(slices.Equal(pids, now)), "true", slices.Equal(pids, now))
	for i, of := range []string{"children", "master"} {
		b, a := before[i], after[i]
		growth := 100 * (float64(a.Memory)/float64(b.Memory) - 1)
		text := fmt.Sprintf("%+.1f %% (%d to %d KiB)", growth, b.Memory>>10, a.Memory>>10)
		if of == "children" {
			// A short run ends before the heap has settled.
			most := 5.0
			if t.reloads < 100 {
				most = 100
			}
			t.bar(of+": memory", text, fmt.Sprintf("%+.0f %% at most", most), growth <= most)
		} else {
			t.note(of+": memory", text)
		}
		t.bar(of+": descriptors", fmt.Sprintf("%d to %d%s", b.Descriptors, a.Descriptors, a.more(b)), "no growth", a.Descriptors <= b.Descriptors)
		t.note(of+": threads", fmt.Sprintf("%d to %d", b.Threads, a.Threads))
	}
	return nil
}

// warming is how many reloads come before the first weighing: by then the heaps of the processes have the size that they work with.
const warming = 10

// reloadTo brings the server to configuration n, and returns how long that took.
func (t *trial) reloadTo(e *epoch, n uint64, bySignal bool) (time.Duration, error) {
	e.writes(n)
	if err := t.server.write(t.configuration(n)); err != nil {
		return 0, err
	}
	asked := time.Now()
	var err error
	if bySignal {
		err = t.bySignal()
	} else {
		err = t.server.must("reload")
	}
	if err == nil {
		e.serves(n)
	}
	return time.Since(asked), err
}

// settleTime is how long memory may take to go back to the system.
const settleTime = 20 * time.Second

// weighBoth weighs the children and the master. With a weight from before it waits until they are back to it, for settleTime at most.
func (t *trial) weighBoth(children []int, master int, before []weight) ([]weight, error) {
	var both []weight
	for i, pids := range [][]int{children, {master}} {
		good := func(w weight) bool {
			return w.Memory <= before[i].Memory*105/100 && w.Descriptors <= before[i].Descriptors
		}
		bound := min(settleTime, t.over)
		if before == nil {
			good, bound = func(weight) bool { return false }, quiet
		} else if i > 0 {
			bound = time.Second
		}
		w, err := settled(bound, good, pids...)
		if err != nil {
			return nil, err
		}
		both = append(both, w)
	}
	return both, nil
}

// bySignal reloads by SIGHUP, and waits for the next generation.
func (t *trial) bySignal() error {
	st, err := t.server.status()
	if err != nil {
		return err
	}
	if err := syscall.Kill(st.Pid, syscall.SIGHUP); err != nil {
		return err
	}
	for deadline := time.Now().Add(succession); ; {
		now, err := t.server.status()
		if err != nil {
			return err
		}
		if now.Generation > st.Generation {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no new generation %v after SIGHUP: %s", succession, now)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
