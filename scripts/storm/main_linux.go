package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// hold is how long a stopped child stands still, so that its queue fills.
	hold = 20 * time.Millisecond
	// calm is the time between a successor and the next kill.
	calm = 200 * time.Millisecond
	// succession bounds the wait for a successor.
	succession = 20 * time.Second
)

// trial is one run.
type trial struct {
	server   *rig.Server
	children int
	idle     []*client
	storm    storm
	kills    []Kill
	// Idle connections that broke: with their child, and with another's.
	idleHeld, idleOthers int
	succeeded            []time.Duration // how long each successor took to listen
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

func run() error {
	program := flag.String("tined", "bin/tined", "tined's binary")
	children := flag.Int("children", 2, "children, 2 at least")
	kills := flag.Int("kills", 10, "children to kill, one after the other")
	clients := flag.Int("clients", 16, "clients that connect at the same time")
	idle := flag.Int("idle", 200, "idle keep-alive connections")
	deferred := flag.Bool("deferred", false, "TCP_DEFER_ACCEPT on the listener")
	flag.Parse()
	if *children < 2 || *kills < 1 || *clients < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	binary, err := filepath.Abs(*program)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "tined-storm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := rig.TakeOrphans(); err != nil {
		return err
	}
	defer rig.EndOrphans()
	crew := new(rig.Crew)
	defer crew.End()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		crew.End()
	}()

	server, err := rig.Tined(crew, rig.AnyCore, binary, folder, rig.Site{Root: folder, Children: *children, Deferred: *deferred})
	if err != nil {
		return err
	}
	t := &trial{server: server, children: *children}
	if err := t.run(*kills, *clients, *idle); err != nil {
		return fmt.Errorf("%w: %s", err, server.Output())
	}
	return t.report()
}

func (t *trial) run(kills, clients, idle int) error {
	if _, err := t.serving(0); err != nil {
		return err
	}
	if err := t.fill(idle); err != nil {
		return err
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() { t.storm.blow(t.server.Address, stop) })
	}
	var err error
	for range kills {
		time.Sleep(calm)
		if err = t.kill(); err != nil {
			break
		}
		if err = t.checkIdle(); err != nil {
			break
		}
		if err = t.fill(idle); err != nil {
			break
		}
	}
	close(stop)
	all.Wait()
	for _, c := range t.idle {
		c.drop()
	}
	return err
}

// serving waits until all children listen, and returns them. gone is one that has died.
func (t *trial) serving(gone int) ([]int, error) {
	deadline := time.Now().Add(succession)
	for {
		sockets, err := rig.Sockets(t.server.Port())
		if err != nil {
			return nil, err
		}
		listening := make(map[uint64]bool)
		for _, s := range sockets {
			if s.State == rig.Listening {
				listening[s.Inode] = true
			}
		}
		var found []int
		tree := rig.Tree(t.server.Pid)
		parents := make(map[int]bool)
		for _, m := range tree {
			parents[m.Parent] = true
		}
		for _, m := range tree {
			if parents[m.Pid] || m.Pid == gone {
				continue // the master holds every shard, and serves nobody
			}
			inodes, err := rig.SocketInodes(m.Pid)
			if err != nil {
				continue // it has ended
			}
			if slices.ContainsFunc(inodes, func(i uint64) bool { return listening[i] }) {
				found = append(found, m.Pid)
			}
		}
		if len(found) >= t.children {
			return found, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d children listen after %v", len(found), t.children, succession)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// kill stops a child, sees what it holds, and kills it.
func (t *trial) kill() error {
	children, err := t.serving(0)
	if err != nil {
		return err
	}
	victim := children[rand.IntN(len(children))]
	if err := syscall.Kill(victim, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop child %d: %w", victim, err)
	}
	for deadline := time.Now().Add(time.Second); !rig.Stopped(victim); {
		if time.Now().After(deadline) {
			_ = syscall.Kill(victim, syscall.SIGKILL)
			return fmt.Errorf("child %d does not stop", victim)
		}
	}
	time.Sleep(hold)
	inodes, err := rig.SocketInodes(victim)
	if err != nil {
		return err
	}
	sockets, err := rig.Sockets(t.server.Port())
	if err != nil {
		return err
	}
	k := Kill{Held: make(map[uint16]bool)}
	for _, s := range sockets {
		_, held := slices.BinarySearch(inodes, s.Inode)
		switch {
		case s.State == rig.Listening:
		case held && s.Inode != 0:
			k.Held[s.Remote.Port()] = true
		case s.State == rig.Established && s.Inode == 0:
			k.Queued++
		}
	}
	k.At = time.Now()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill child %d: %w", victim, err)
	}
	t.kills = append(t.kills, k)
	if _, err := t.serving(victim); err != nil {
		return err
	}
	t.succeeded = append(t.succeeded, time.Since(k.At))
	return nil
}

// checkIdle asks on every idle connection, and takes those out that have broken.
func (t *trial) checkIdle() error {
	kept := t.idle[:0]
	for _, c := range t.idle {
		failure := c.ask()
		if failure == nil {
			kept = append(kept, c)
			continue
		}
		if classify(*failure, t.kills) == LossHeld {
			t.idleHeld++
		} else {
			t.idleOthers++
			fmt.Printf("storm: an idle connection of another child broke: %v\n", failure.Err)
		}
		c.drop()
	}
	t.idle = kept
	return nil
}

// fill opens idle connections until there are n, each with one request made.
func (t *trial) fill(n int) error {
	for len(t.idle) < n {
		c, failure := dial(t.server.Address)
		if failure == nil {
			failure = c.ask()
		}
		if failure != nil {
			return fmt.Errorf("idle connection: %w", failure.Err)
		}
		t.idle = append(t.idle, c)
	}
	return nil
}

func (t *trial) report() error {
	queued := 0
	for _, k := range t.kills {
		queued += k.Queued
	}
	losses := make(map[Loss]int)
	shown := make(map[Loss]bool)
	for _, f := range t.storm.failures {
		loss := classify(f, t.kills)
		losses[loss]++
		if loss != LossHeld && !shown[loss] {
			shown[loss] = true
			fmt.Printf("storm: first %s: %v\n", loss, f.Err)
		}
	}
	fmt.Printf("storm: %d children killed; %d connections waited in queues at those moments\n", len(t.kills), queued)
	fmt.Printf("storm: %d new connections answered, the slowest after %v\n", t.storm.answered, t.storm.longest.Round(time.Millisecond))
	bad := 0
	for _, loss := range []Loss{LossRefused, LossReset, LossTimeout, LossOther} {
		fmt.Printf("storm: %-20s %d\n", loss, losses[loss])
		bad += losses[loss]
	}
	fmt.Printf("storm: %-20s %d\n", LossHeld, losses[LossHeld])
	fmt.Printf("storm: idle connections broken: %d with their child, %d of other children\n", t.idleHeld, t.idleOthers)
	if len(t.succeeded) > 0 {
		slices.Sort(t.succeeded)
		fmt.Printf("storm: a successor listened after %v (median), %v (longest)\n",
			t.succeeded[len(t.succeeded)/2].Round(time.Millisecond), t.succeeded[len(t.succeeded)-1].Round(time.Millisecond))
	}
	if bad+t.idleOthers > 0 {
		return errors.New("connections were lost that no killed child had accepted")
	}
	return nil
}
