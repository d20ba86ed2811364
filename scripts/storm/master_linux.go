package main

import (
	"fmt"
	"slices"
	"time"
)

// leaderless is how long no master runs.
const leaderless = time.Second

// quiet is how long connections may take to end that nobody uses any more.
const quiet = 500 * time.Millisecond

// master kills the master, starts another, and looks whether that one has everything.
func (t *trial) master() error {
	e, p, err := t.muster((*trial).serveNumbered, 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	p.resume()
	n := uint64(0)
	for round := range max(t.kills, 1) {
		pids, err := t.server.serving(t.children)
		if err != nil {
			return err
		}
		// Connections that come and go are no part of what a child holds.
		if err := p.storm.calm(); err != nil {
			return err
		}
		old, err := settled(quiet, func(weight) bool { return false }, pids...)
		if err != nil {
			return err
		}
		p.resume()
		time.Sleep(time.Second)
		t.phase("without a master, for the time " + fmt.Sprint(round+1))
		if err := t.server.killMaster(); err != nil {
			return err
		}
		time.Sleep(leaderless)
		begin := time.Now()
		err = t.server.start(t.server.binary)
		if err != nil {
			t.say("the next master", err)
			break
		}
		t.note("the next master serves after, ms", time.Since(begin).Milliseconds())
		now, err := t.server.serving(t.children)
		t.say("children serve under it", err)
		if err != nil {
			break
		}
		t.bar("the same children", fmt.Sprintf("%v, %v", pids, now), "same", slices.Equal(pids, now))
		if err := p.storm.calm(); err != nil {
			return err
		}
		streaming := t.sizes.streams // each may have ended its connection, or begun another
		adopted, err := settled(quiet, func(w weight) bool { return w.Descriptors <= old.Descriptors+streaming }, now...)
		if err != nil {
			return err
		}
		p.resume()
		t.bar("descriptors of the children", fmt.Sprintf("%d to %d%s", old.Descriptors, adopted.Descriptors, adopted.more(old)), "no growth",
			adopted.Descriptors <= old.Descriptors+streaming)
		t.phase("reloads")
		t.say("status", t.server.must("status"))
		t.say("status --json", t.server.must("status", "--json"))
		for range 2 { // an even number, so that the configuration is of the same kind as before
			n++
			e.writes(n)
			if err := t.server.write(t.configuration(n)); err != nil {
				return err
			}
			err := t.server.must("reload")
			t.say("reload", err)
			if err == nil {
				e.serves(n)
			}
		}
		t.phase("scale up")
		t.say("scale up", t.server.must("scale", fmt.Sprint(t.children+1)))
		if _, err := t.server.serving(t.children + 1); err != nil {
			t.say("one child more", err)
		}
		t.phase("scale down")
		t.say("scale down", t.server.must("scale", fmt.Sprint(t.children)))
		if _, err := t.server.serving(t.children); err != nil {
			t.say("one child less", err)
		}
		// What the child that leaves has had is closed some time later.
		time.Sleep(t.over)
	}
	return t.close(p, nil, nil)
}
