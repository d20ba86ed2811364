package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// stand is how long a stopped child stands still, so that its queue fills.
	stand = 20 * time.Millisecond
	// calmTime is the time between a successor and the next kill, when no time is set for all of them.
	calmTime = 200 * time.Millisecond
	// masterGrowth is what a master may have gained in memory by the end, in bytes.
	masterGrowth = 8 << 20
)

// kill kills children, one after the other.
func (t *trial) kill() error {
	if err := t.serveNumbered(); err != nil {
		return err
	}
	if _, err := t.server.serving(t.children); err != nil {
		return err
	}
	idle := new(epoch).watch(&crowd{name: "idle connections", ground: t.ground, keep: t.idle, rate: 2000})
	if err := idle.start(); err != nil {
		return err
	}
	defer idle.stop()
	if err := idle.assembled(); err != nil {
		return err
	}
	var blown storm
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range t.clients {
		all.Go(func() { blown.blow(t.ground, "0", stop) })
	}
	kills, succeeded, before, err := t.killAll()
	close(stop)
	all.Wait()
	if err != nil {
		return err
	}
	if err := idle.poll(); err != nil {
		return err
	}
	if err := idle.stop(); err != nil {
		return err
	}
	after, err := weigh(t.server.process.Pid)
	if err != nil {
		return err
	}

	queued := 0
	for _, k := range kills {
		queued += k.Queued
	}
	t.note("children killed", len(kills))
	t.note("connections in queues at those moments", queued)
	if len(succeeded) > 0 {
		slices.Sort(succeeded)
		t.note("successor serves after, median, ms", succeeded[len(succeeded)/2].Milliseconds())
		t.note("successor serves after, longest, ms", succeeded[len(succeeded)-1].Milliseconds())
	}
	t.note("connects: answers", blown.answered)
	t.note("connects: slowest answer, ms", blown.longest.Milliseconds())
	kinds := make(map[Loss]int)
	for _, f := range blown.failures {
		kind := classify(f, kills)
		if kinds[kind]++; kinds[kind] == 1 && kind != LossHeld {
			t.note("the first "+string(kind), f.Err.Error())
		}
	}
	t.note("connects: "+string(LossHeld), kinds[LossHeld])
	for _, kind := range losses {
		t.zero("connects: "+string(kind), kinds[kind])
	}
	t.crowd(idle, kills, nil)
	t.bar("master: descriptors", fmt.Sprintf("%d to %d%s", before.Descriptors, after.Descriptors, after.more(before)), "no growth", after.Descriptors <= before.Descriptors)
	t.bar("master: memory", fmt.Sprintf("%d to %d KiB", before.Memory>>10, after.Memory>>10), "+8 MiB at most", after.Memory <= before.Memory+masterGrowth)
	t.note("master: threads", fmt.Sprintf("%d to %d", before.Threads, after.Threads))
	return t.countBoard(blown.answered + idle.count().Answered)
}

// killAll kills as many as the sizes say, in the time that they say. before is the weight of the master after the first of them.
func (t *trial) killAll() (kills []Kill, succeeded []time.Duration, before weight, err error) {
	begin := time.Now()
	for i := range t.kills {
		if t.over > 0 {
			time.Sleep(time.Until(begin.Add(t.over * time.Duration(i) / time.Duration(t.kills))))
		} else {
			time.Sleep(calmTime)
		}
		pids, err := t.server.serving(t.children)
		if err != nil {
			return kills, succeeded, before, err
		}
		if i == min(5, t.kills-1) {
			if before, err = weigh(t.server.process.Pid); err != nil {
				return kills, succeeded, before, err
			}
		}
		victim := pids[rand.IntN(len(pids))]
		k, err := t.server.stopHold(victim)
		if err != nil {
			return kills, succeeded, before, err
		}
		k.At = time.Now()
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			return kills, succeeded, before, fmt.Errorf("kill child %d: %w", victim, err)
		}
		kills = append(kills, k)
		if err := t.succeeded(victim); err != nil {
			return kills, succeeded, before, err
		}
		succeeded = append(succeeded, time.Since(k.At))
	}
	return kills, succeeded, before, nil
}

// succeeded waits until all children serve, and the killed one is not among them.
func (t *trial) succeeded(victim int) error {
	for deadline := time.Now().Add(succession); ; {
		pids, err := t.server.serving(t.children)
		if err != nil {
			return err
		}
		if !slices.Contains(pids, victim) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("a killed child still serves, says the status: " + t.state())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// countBoard holds what the server has counted against the whole answers that clients have seen: what has finished was seen, and what was
// seen had started.
func (t *trial) countBoard(seen int) error {
	st, err := t.server.status()
	if err != nil {
		return err
	}
	// The server's own end of a connection knows of an answer before the client does, and nobody asks any more.
	t.bar("finished, answers seen, started", fmt.Sprintf("%d, %d, %d", st.Totals.Finished, seen, st.Totals.Exchanges), "in this order",
		st.Totals.Finished <= uint64(seen) && uint64(seen) <= st.Totals.Exchanges)
	return nil
}
