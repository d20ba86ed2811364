package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// shortTrial is a canary's time, and that of a probation, in a run that has to be short.
	shortTrial = 300 * time.Millisecond
	// upgradeMargin is what an upgrade may take beside canary and probation.
	upgradeMargin = 15 * time.Second
	// leaving bounds how long the predecessor may stay once the upgrade has ended.
	leaving = 20 * time.Second
)

// trialText is the block upgrade of a configuration; nothing where no upgrade is made.
func (t *trial) trialText() string {
	if t.canary == 0 {
		return ""
	}
	return fmt.Sprintf(`
upgrade {
  timeout      = "%dms"
  canary       = "%dms"
  probation    = "%dms"
  min_requests = 20
}
`, (t.canary + t.probation + upgradeMargin).Milliseconds(), t.canary.Milliseconds(), t.probation.Milliseconds())
}

// serveImage starts an image of tined's with configuration 0.
func (t *trial) serveImage(image string) func(*trial) error {
	return func(*trial) error {
		if err := t.writeServed(); err != nil {
			return err
		}
		var err error
		t.server, err = newServer(t, image, t.plainText(0))
		return err
	}
}

// binaries are the images of an upgrade: tined and the next version of it, if there is one.
func (t *trial) binaries() (*images, error) {
	next := t.next
	if _, err := os.Stat(next); errors.Is(err, os.ErrNotExist) {
		t.note("there is no "+filepath.Base(next), "both versions are the same")
		next = t.tined
	}
	return t.newImages(t.tined, next)
}

// versionOf is what an image says of its version.
func (s *server) versionOf(image string) (string, error) {
	out, code, err := s.run(image, "version")
	words := strings.Fields(out)
	if err == nil && (code != 0 || len(words) < 2) {
		err = fmt.Errorf("%s version: exit status %d: %s", image, code, out)
	}
	if err != nil {
		return "", err
	}
	return words[1], nil
}

// upgraded is how one upgrade ended for who has asked for it.
type upgraded struct {
	output string
	code   int
	took   time.Duration
}

// err is nil for an upgrade that was done.
func (u upgraded) err() error {
	if u.code == 0 {
		return nil
	}
	return fmt.Errorf("upgrade: exit status %d: %s", u.code, strings.TrimSpace(u.output))
}

// sentence is the last line that it said.
func (u upgraded) sentence() string {
	lines := strings.Split(strings.TrimSpace(u.output), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// upgrade asks for an upgrade and waits for its end. binary "": the one that the server was started by.
func (s *server) upgrade(binary string, more ...string) (upgraded, error) {
	args := []string{"upgrade"}
	if binary != "" {
		args = append(args, "--binary", binary)
	}
	begin := time.Now()
	out, code, err := s.command(append(args, more...)...)
	return upgraded{out, code, time.Since(begin)}, err
}

// staged waits until an upgrade has come to a stage, and fails when it ends before.
func (s *server) staged(stage string, ended <-chan struct{}) (*status, error) {
	for {
		st, err := s.status()
		if err == nil && st.Upgrade != nil && st.Upgrade.Stage == stage {
			return st, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("the upgrade has ended and was not seen in stage %s: %w", stage, err)
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// succeededBy waits until an image serves alone, and nothing of the version before is left.
func (t *trial) succeededBy(image, version string, before *status) error {
	for deadline := time.Now().Add(leaving); ; time.Sleep(10 * time.Millisecond) {
		st, err := t.server.status()
		if err == nil {
			if err = t.alone(st, image, version, before); err == nil {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w: %s", leaving, err, st)
		}
	}
}

// alone holds a status against what has to be after an upgrade.
func (t *trial) alone(st *status, image, version string, before *status) error {
	all := processes()
	masters, children := of(all, image, true), of(all, image, false)
	switch {
	case st.Pid == before.Pid:
		return fmt.Errorf("the master is still %d", st.Pid)
	case st.State != "serving":
		return fmt.Errorf("the state is %s", st.State)
	case st.Version != version:
		return fmt.Errorf("the version is %s, and it must be %s", st.Version, version)
	case st.Upgrade != nil || st.LastUpgrade == nil || !st.LastUpgrade.Done:
		return errors.New("the status does not say that the upgrade is done")
	case st.Predecessor != nil:
		return errors.New("the predecessor is still there")
	case imageOf(st.Pid) != image:
		return fmt.Errorf("the master runs %s, and it must be %s", imageOf(st.Pid), image)
	case len(masters) != 1 || len(children) != t.children || len(all) != 1+t.children:
		return fmt.Errorf("there must be one master and %d children, all of %s: %+v", t.children, filepath.Base(image), all)
	}
	return nil
}

// onlooker asks for the status all the time: the control socket has to answer throughout, and never for who has left.
type onlooker struct {
	server *server
	quit   chan struct{}
	all    sync.WaitGroup

	mu      sync.Mutex
	asked   int
	faults  []error
	retired map[int]bool // masters that must not answer any more
}

func (s *server) watch() *onlooker {
	o := &onlooker{server: s, quit: make(chan struct{}), retired: make(map[int]bool)}
	o.all.Go(func() {
		for {
			select {
			case <-o.quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
			o.once()
		}
	})
	return o
}

func (o *onlooker) once() {
	o.mu.Lock()
	retired := make(map[int]bool, len(o.retired))
	for pid := range o.retired {
		retired[pid] = true
	}
	o.mu.Unlock()
	begin := time.Now()
	st, err := o.server.status()
	switch {
	case err == nil && retired[st.Pid]:
		err = fmt.Errorf("master %d answers, which has left: %s", st.Pid, st)
	case err == nil && time.Since(begin) > 2*time.Second:
		err = fmt.Errorf("the answer of master %d took %v", st.Pid, time.Since(begin))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	if err != nil {
		o.faults = append(o.faults, err)
	}
}

// retire says that a master must not answer any more.
func (o *onlooker) retire(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.retired[pid] = true
}

// tell ends it, and reports what it has seen.
func (o *onlooker) tell(t *trial) {
	close(o.quit)
	o.all.Wait()
	t.note("status: answers", o.asked)
	t.zero("status: none, late, or of a master that has left", len(o.faults))
	for _, err := range o.faults[:min(detailed, len(o.faults))] {
		t.note("  one of them", err.Error())
	}
}

// settledTree is how many upgrades come before the first weighing.
const settledTree = 5

// upgrade replaces the program again and again: by a file elsewhere, and by one that has taken the place of that which runs, as a package's.
func (t *trial) upgrade() error {
	im, err := t.binaries()
	if err != nil {
		return err
	}
	image, err := im.link(0, "tined")
	if err != nil {
		return err
	}
	e, p, err := t.muster(t.serveImage(image), 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	t.server.binary = im.sources[0] // for the commands: no process of the servers' runs it
	var versions []string
	for _, source := range im.sources {
		version, err := t.server.versionOf(source)
		if err != nil {
			return err
		}
		versions = append(versions, version)
	}
	if _, err := t.server.serving(t.children); err != nil {
		return err
	}
	p.resume()
	look := t.server.watch()
	var took []time.Duration
	var before, after *load
	moved := uint64(0)
	for i := range t.upgrades {
		n := i + 1
		t.phase(fmt.Sprintf("upgrade %d", n))
		e.writes(uint64(n))
		if err := t.server.write(t.plainText(uint64(n))); err != nil {
			return err
		}
		was, err := t.server.status()
		if err != nil {
			return err
		}
		binary := ""
		if n%3 == 0 {
			_, err = im.link(n%2, filepath.Base(image))
		} else {
			image, err = im.link(n%2, fmt.Sprintf("tined-%d", n))
			binary = image
		}
		if err != nil {
			return err
		}
		one, err := t.server.upgrade(binary)
		if err == nil {
			err = one.err()
		}
		if err != nil {
			t.say(fmt.Sprintf("upgrade %d", n), err)
			break
		}
		look.retire(was.Pid)
		e.serves(uint64(n))
		took = append(took, one.took)
		t.phase(fmt.Sprintf("after upgrade %d", n))
		if err := t.succeededBy(image, versions[n%2], was); err != nil {
			t.say(fmt.Sprintf("after upgrade %d", n), err)
			break
		}
		if st, err := t.server.status(); err == nil && st.LastUpgrade != nil {
			moved += st.LastUpgrade.Moved
		}
		if n == min(settledTree, t.upgrades-1) {
			if before, err = t.weighTree(p, nil); err != nil {
				return err
			}
			p.resume()
		}
	}
	look.tell(t)
	if before != nil && len(took) == t.upgrades {
		if after, err = t.weighTree(p, before); err != nil {
			return err
		}
	}
	t.note("versions", strings.Join(versions, ", "))
	t.bar("upgrades", len(took), fmt.Sprint(t.upgrades), len(took) == t.upgrades)
	if len(took) > 0 {
		slices.Sort(took)
		t.note("one, median, ms", took[len(took)/2].Milliseconds())
		t.note("one, longest, ms", took[len(took)-1].Milliseconds())
	}
	t.note("connections moved", moved)
	if err := t.close(p, nil, nil); err != nil {
		return err
	}
	for _, c := range []*crowd{p.keepers, p.sleepers} {
		t.kept(c)
	}
	if after != nil {
		t.growth(before, after)
	}
	return nil
}

// load is what a whole server uses of the machine.
type load struct {
	master, children weight
	processes        int
	leavings         []string
}

// weighTree calms the clients and weighs the server. With a load from before it waits until it is back to it, for settleTime at most.
func (t *trial) weighTree(p *pack, before *load) (*load, error) {
	if err := p.calm(); err != nil {
		return nil, err
	}
	children, err := t.server.serving(t.children)
	if err != nil {
		return nil, err
	}
	st, err := t.server.status()
	if err != nil {
		return nil, err
	}
	l := new(load)
	for _, w := range []struct {
		pids     []int
		into     *weight
		previous func(*load) weight
	}{
		{children, &l.children, func(l *load) weight { return l.children }},
		{[]int{st.Pid}, &l.master, func(l *load) weight { return l.master }},
	} {
		good, bound := func(weight) bool { return false }, quiet
		if before != nil {
			was := w.previous(before)
			good = func(w weight) bool { return w.Memory <= was.Memory && w.Descriptors <= was.Descriptors }
			bound = 4 * time.Second
		}
		if *w.into, err = settled(bound, good, w.pids...); err != nil {
			return nil, err
		}
	}
	l.processes = len(processes())
	l.leavings, err = t.server.leavings()
	return l, err
}

// growth holds a load against one of before.
func (t *trial) growth(before, after *load) {
	// Each version begins with a heap of its own, and a short run weighs it before it has settled.
	most := 10.0
	if t.upgrades <= settledTree {
		most = 100
	}
	for _, w := range []struct {
		name          string
		before, after weight
	}{{"children", before.children, after.children}, {"master", before.master, after.master}} {
		growth := 100 * (float64(w.after.Memory)/float64(w.before.Memory) - 1)
		t.bar(w.name+": memory", fmt.Sprintf("%+.1f %% (%d to %d KiB)", growth, w.before.Memory>>10, w.after.Memory>>10),
			fmt.Sprintf("%+.0f %% at most", most), growth <= most)
		t.bar(w.name+": descriptors", fmt.Sprintf("%d to %d%s", w.before.Descriptors, w.after.Descriptors, w.after.more(w.before)), "no growth",
			w.after.Descriptors <= w.before.Descriptors)
		t.note(w.name+": threads", fmt.Sprintf("%d to %d", w.before.Threads, w.after.Threads))
	}
	t.bar("processes", fmt.Sprintf("%d to %d", before.processes, after.processes), "no growth", after.processes <= before.processes)
	t.bar("files left in the runtime directory", fmt.Sprintf("%d to %d", len(before.leavings), len(after.leavings)), "no growth",
		len(after.leavings) <= len(before.leavings))
}
