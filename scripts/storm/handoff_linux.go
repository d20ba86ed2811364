package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// moveBound is how long it may take until all idle connections have moved, and answerBound the slowest answer meanwhile.
	moveBound   = time.Second
	answerBound = 250 * time.Millisecond
	// busyTick is the time between two requests of a busy client: none, but for the turn of the crowd.
	busyTick = time.Nanosecond
	// spareDescriptors are for all but the clients' connections.
	spareDescriptors = 500
)

// handoff makes one upgrade with many idle connections, while the cores are busy.
func (t *trial) handoff() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("getrlimit RLIMIT_NOFILE: %w", err)
	}
	if most := int(limit.Max) - t.clients - spareDescriptors; t.idle > most {
		return fmt.Errorf("%d idle connections need more descriptors than the %d that this process may have: raise `ulimit -Hn`, or say -idle %d",
			t.idle, limit.Max, most)
	}
	im, err := t.binaries()
	if err != nil {
		return err
	}
	image, err := im.link(0, "tined")
	if err != nil {
		return err
	}
	busy := t.clients
	t.clients, t.streams, t.uploads = 0, 0, 0
	// The busy ones come last: the others would take long to come beside them.
	e, p, err := t.muster(t.serveImage(image), 0)
	defer p.stop()
	if err != nil {
		return err
	}
	t.server.binary = im.sources[0]
	version, err := t.server.versionOf(im.sources[1])
	if err != nil {
		return err
	}
	keepers := e.watch(&crowd{name: "busy clients", ground: t.ground, keep: busy, tick: busyTick, rate: 2000})
	if err := keepers.start(); err != nil {
		return err
	}
	p.keepers = keepers
	p.crowds = append(p.crowds, keepers)
	if err := keepers.assembled(); err != nil {
		return err
	}
	stop, err := t.keepCoresBusy()
	if err != nil {
		return err
	}
	defer stop()
	p.resume()
	time.Sleep(time.Second)
	keepers.slowest()
	time.Sleep(time.Second)
	t.note("slowest answer in a second before, ms", keepers.slowest().Milliseconds())

	was, err := t.server.status()
	if err != nil {
		return err
	}
	e.writes(1)
	if err := t.server.write(t.plainText(1)); err != nil {
		return err
	}
	next, err := im.link(1, "tined-1")
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	var one upgraded
	var failed error
	go func() {
		defer close(ended)
		one, failed = t.server.upgrade(next)
	}()
	t.phase("the upgrade, before it is confirmed")
	moved, longest, err := t.clock(was, keepers, ended)
	<-ended
	if err = errors.Join(failed, err); err == nil {
		err = one.err()
	}
	t.say("upgrade", err)
	if err == nil {
		e.serves(1)
		t.bar(fmt.Sprintf("%d idle connections moved after, ms", t.idle), moved.Milliseconds(), fmt.Sprintf("under %d", moveBound.Milliseconds()),
			moved < moveBound)
		t.bar("slowest answer meanwhile, ms", longest.Milliseconds(), fmt.Sprintf("under %d", answerBound.Milliseconds()),
			longest < answerBound)
		t.say("after the upgrade", t.succeededBy(next, version, was))
		if st, err := t.server.status(); err == nil && st.LastUpgrade != nil {
			t.note("connections moved in all", st.LastUpgrade.Moved)
		}
	}
	stop()
	if err := t.close(p, nil, nil); err != nil {
		return err
	}
	for _, c := range []*crowd{p.keepers, p.sleepers} {
		t.kept(c)
	}
	return nil
}

// clock says how long after the confirmation of an upgrade the last idle connection has moved, and the slowest answer of that time. The
// moment of the confirmation is that from which the new master answers, or the stage says so.
func (t *trial) clock(was *status, busy *crowd, ended <-chan struct{}) (moved, slowest time.Duration, err error) {
	var begin time.Time
	for {
		st, err := t.server.status()
		now := time.Now()
		if err == nil && begin.IsZero() && (st.Pid != was.Pid || st.Upgrade != nil && st.Upgrade.Stage == "moving") {
			begin = now
			busy.slowest()
			t.phase("moving")
		}
		if err == nil && !begin.IsZero() {
			one := st.Upgrade
			if one == nil {
				one = st.LastUpgrade
			}
			if one != nil && int(one.Moved) >= t.idle || st.Predecessor == nil && st.Upgrade == nil {
				return now.Sub(begin), busy.slowest(), nil
			}
		}
		select {
		case <-ended:
			if begin.IsZero() || time.Since(begin) > leaving {
				return 0, 0, fmt.Errorf("the upgrade has ended, and the move was not seen: %s: %w", st, err)
			}
		default:
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// keepCoresBusy starts a program for every core that computes all the time, as others on the machine may.
func (t *trial) keepCoresBusy() (stop func(), err error) {
	var all []*rig.Process
	stop = func() {
		for _, p := range all {
			p.End()
		}
	}
	for range runtime.NumCPU() {
		p, err := t.server.launch(func() (*rig.Process, error) { return t.crew.Start(rig.AnyCore, nil, "sh", "-c", "while :; do :; done") })
		if err != nil {
			stop()
			return nil, err
		}
		all = append(all, p)
	}
	return stop, nil
}
