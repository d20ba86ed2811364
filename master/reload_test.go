package master

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// propose begins a reload to a configuration that change has made of the present one.
func (f *fleet) proposes(change func(*configs.Config)) *reloading {
	f.t.Helper()
	config := *f.config
	config.Listeners = slices.Clone(config.Listeners)
	config.Digest = fmt.Sprintf("digest of proposal %d", f.lastGeneration+1)
	if change != nil {
		change(&config)
	}
	r := &reloading{outcome: Reload{At: f.now(), By: "test"}}
	f.reloading = r
	f.propose(r, &reading{config: &config, sources: new(configs.Sources), logs: new(logFiles)})
	f.tick()
	return r
}

// serving is a fleet that serves.
func serving3(t *testing.T) *fleet {
	t.Helper()
	f := newFleet(t, 3)
	for _, c := range slices.Clone(f.started) {
		f.brings(c, Proved)
	}
	for _, c := range f.started {
		f.brings(c, Serving)
	}
	if f.phase != serving {
		t.Fatal(f.phase)
	}
	return f
}

// heard is how many messages of a kind a child has been sent.
func heard(c *child, kind control.Kind) (n int) {
	for _, m := range proc(c).sent {
		if m.Kind() == kind {
			n++
		}
	}
	return n
}

func (f *fleet) prepares(c *child) {
	f.t.Helper()
	f.says(c, &control.Prepared{Generation: c.preparing, Digest: c.expected})
}

func (f *fleet) commits(c *child) {
	f.t.Helper()
	f.says(c, &control.Committed{Generation: c.committing})
}

// Nobody commits before all have prepared, and the reload has ended when all have committed.
func TestReloadTwoPhases(t *testing.T) {
	f := serving3(t)
	r := f.proposes(nil)
	for i, c := range f.started {
		if heard(c, control.KindCommit) != 1 || f.generation != 1 {
			t.Fatalf("before vote %d: child %d was told to commit %d times, generation %d", i, c.slot.index, heard(c, control.KindCommit), f.generation)
		}
		f.prepares(c)
	}
	if f.generation != 2 || f.config.Digest != r.read.config.Digest {
		t.Fatalf("generation %d", f.generation)
	}
	for _, c := range f.started {
		if f.lastReload != nil {
			t.Fatal("the reload has ended before all have committed")
		}
		f.commits(c)
	}
	if l := f.lastReload; l == nil || !l.Committed || l.Generation != 2 || l.Reason != "" {
		t.Fatalf("%+v", l)
	}
	for _, c := range f.started {
		if c.generation != 2 || c.state != Serving || heard(c, control.KindCommit) != 2 || heard(c, control.KindAbort) != 0 {
			t.Errorf("child %d: generation %d, %s, %v", c.slot.index, c.generation, c.state, proc(c).sentKinds())
		}
	}
}

// One that fails refuses for all: the others hear abort, and nothing has changed.
func TestReloadRefusedByOne(t *testing.T) {
	f := serving3(t)
	before := f.config
	f.proposes(nil)
	f.prepares(f.started[0])
	f.says(f.started[1], &control.Failed{Generation: 2, Diagnostic: "a.hcl:3:5: no such database"})
	l := f.lastReload
	if l == nil || l.Committed || l.Generation != 1 || !strings.Contains(l.Reason, "child 1") || !strings.Contains(l.Reason, "a.hcl:3:5") {
		t.Fatalf("%+v", l)
	}
	if heard(f.started[0], control.KindAbort) != 1 || heard(f.started[2], control.KindAbort) != 1 || heard(f.started[1], control.KindAbort) != 0 {
		t.Error("abort goes to those that have prepared, or still do")
	}
	// The third one's answer crosses the abort.
	f.says(f.started[2], &control.Prepared{Generation: 2, Digest: "digest of proposal 2"})
	for _, c := range f.started {
		if c.state != Serving || c.generation != 1 || heard(c, control.KindCommit) != 1 {
			t.Errorf("child %d: %s, generation %d", c.slot.index, c.state, c.generation)
		}
	}
	if f.config != before || f.generation != 1 {
		t.Error("the refused configuration is the present one")
	}
	// A number is never given twice: late answers of one reload cannot be taken for those of the next.
	if r := f.proposes(nil); r.number != 3 {
		t.Errorf("the next proposal has number %d", r.number)
	}
}

// A voter that somebody kills does not refuse: its successor begins with what the others have decided.
func TestReloadVoterKilled(t *testing.T) {
	f := serving3(t)
	f.proposes(nil)
	f.prepares(f.started[0])
	f.handle(f.started[1], exit{syscall.WaitStatus(syscall.SIGKILL)})
	f.handle(f.started[1], silence{})
	f.tick()
	f.prepares(f.started[2])
	successor := f.last(1)
	if successor == f.started[1] || successor.preparing != 0 {
		t.Fatalf("child 1 has no successor: %v", successor.state)
	}
	// It is in its bring-up, and the vote waits for it: it can refuse still.
	if f.generation != 1 {
		t.Fatal("committed without the successor")
	}
	f.brings(successor, Lending)
	f.prepares(successor)
	if f.generation != 2 {
		t.Fatalf("generation %d", f.generation)
	}
	for _, c := range []*child{f.started[0], f.started[2], successor} {
		f.commits(c)
	}
	f.brings(successor, Serving)
	if !f.lastReload.Committed || successor.generation != 2 || successor.state != Serving {
		t.Fatalf("%+v, successor at %d", f.lastReload, successor.generation)
	}
}

// When its successor is killed too, the generation itself may be what kills them.
func TestReloadVoterKilledTwice(t *testing.T) {
	f := serving3(t)
	f.proposes(nil)
	f.prepares(f.started[0])
	f.prepares(f.started[2])
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	successor := f.last(1)
	f.brings(successor, Lending)
	if f.generation != 1 || successor.preparing != 2 {
		t.Fatalf("generation %d, the successor prepares %d", f.generation, successor.preparing)
	}
	f.dies(successor, syscall.WaitStatus(syscall.SIGKILL))
	if l := f.lastReload; l == nil || l.Committed || !strings.Contains(l.Reason, "child 1 was ended by signal 9") {
		t.Fatalf("%+v", l)
	}
}

// One that dies of the new generation refuses it.
func TestReloadVoterCrashes(t *testing.T) {
	f := serving3(t)
	f.proposes(nil)
	f.handle(f.started[1], exit{2 << 8})
	f.handle(f.started[1], silence{})
	f.tick()
	if l := f.lastReload; l == nil || l.Committed || !strings.Contains(l.Reason, "child 1 exited with status 2") {
		t.Fatalf("%+v", l)
	}
	if heard(f.started[0], control.KindAbort) != 1 {
		t.Error("the others are not told")
	}
}

// A commit that comes while a child is brought up makes it prepare again before it serves.
func TestReloadDuringBringUp(t *testing.T) {
	f := serving3(t)
	f.handle(f.started[1], exit{2 << 8}) // its successor has a fault to its name: nobody waits for it
	f.handle(f.started[1], silence{})
	f.after(backOffFirst)
	late := f.last(1)
	f.brings(late, Preparing)
	f.proposes(nil)
	f.prepares(f.started[0])
	f.prepares(f.started[2])
	if f.generation != 2 {
		t.Fatalf("generation %d", f.generation)
	}
	f.brings(late, Committing)
	f.says(late, &control.Committed{Generation: 1})
	if late.state != Preparing || late.preparing != 2 {
		t.Fatalf("%s, preparing %d", late.state, late.preparing)
	}
	f.brings(late, Serving)
	if late.generation != 2 {
		t.Fatalf("it serves generation %d", late.generation)
	}
}

// Who does not answer refuses, too.
func TestReloadVoteTakesTooLong(t *testing.T) {
	f := serving3(t)
	f.proposes(nil)
	f.prepares(f.started[0])
	f.after(f.bounds.prepare)
	if l := f.lastReload; l == nil || l.Committed || !strings.Contains(l.Reason, "child 1 (serving), child 2 (serving)") {
		t.Fatalf("%+v", l)
	}
}

// Reloads that are asked for meanwhile are one, after the present one.
func TestReloadsWaitForOneAnother(t *testing.T) {
	f := serving3(t)
	f.calls = make(chan func())
	f.o.Path, f.o.Schema = "", new(configs.Schema)
	f.proposes(nil)
	answers := 0
	for range 3 {
		f.reload("test", func(*Reload) { answers++ })
	}
	for _, c := range f.started {
		f.prepares(c)
	}
	for _, c := range f.started {
		f.commits(c)
	}
	if f.reloading == nil || len(f.reloading.waiting) != 3 || len(f.reloads) != 0 {
		t.Fatalf("%+v, %d wait", f.reloading, len(f.reloads))
	}
	(<-f.calls)() // it has read: no file and no code is no configuration
	if answers != 3 || f.lastReload.Committed {
		t.Fatalf("%d answers, %+v", answers, f.lastReload)
	}
}

// Listeners come and go: new ones listen only after the vote, removed ones are asked back and then closed.
func TestReloadListeners(t *testing.T) {
	f := serving3(t)
	old := f.shards.listeners[0]
	second := f.config.Listeners[0]
	second.Name = "second"
	r := f.proposes(func(c *configs.Config) { c.Listeners = append(c.Listeners, second) })
	added := r.change.opened[0]
	if len(f.shards.listeners) != 1 || len(added.shards) != 3 {
		t.Fatalf("%d listeners before the vote, the new one with %d shards", len(f.shards.listeners), len(added.shards))
	}
	for _, c := range f.started {
		f.prepares(c)
	}
	for _, c := range f.started {
		f.commits(c)
		if got := proc(c).sent[len(proc(c).sent)-1]; got.Kind() != control.KindCommit && got.Kind() != control.KindLend {
			t.Fatalf("%s", got.Kind())
		}
		f.says(c, &control.Lent{Count: 2})
	}
	for _, c := range f.started {
		if len(c.held) != 2 || c.held[shardID{added.id, c.slot.index}] != lent {
			t.Fatalf("child %d holds %v", c.slot.index, c.held)
		}
	}
	// The old one under another name is the same; without it, it goes.
	f.proposes(func(c *configs.Config) { c.Listeners = c.Listeners[1:] })
	for _, c := range f.started {
		f.prepares(c)
	}
	if !old.leaving || len(old.shards) != 3 {
		t.Fatal("it is closed before it is returned")
	}
	for _, c := range f.started {
		f.commits(c)
		if heard(c, control.KindReturn) != 1 {
			t.Fatalf("child %d was asked back %d times", c.slot.index, heard(c, control.KindReturn))
		}
	}
	for _, c := range f.started {
		if f.shards.byID(old.id) == nil {
			t.Fatal("closed while a child held it")
		}
		f.says(c, &control.Returned{Count: 1})
	}
	if f.shards.byID(old.id) != nil || len(f.shards.listeners) != 1 {
		t.Fatal("it is not closed")
	}
}

// A refused reload leaves no socket behind, and a renamed listener keeps its own.
func TestReloadRefusedListener(t *testing.T) {
	f := serving3(t)
	second := f.config.Listeners[0]
	second.Name = "second"
	r := f.proposes(func(c *configs.Config) { c.Listeners = append(c.Listeners, second) })
	opened := r.change.opened[0]
	f.says(f.started[0], &control.Failed{Generation: r.number, Diagnostic: "no"})
	if len(opened.shards) != 0 || len(f.shards.listeners) != 1 {
		t.Fatal("what was opened for the refused generation is open")
	}
}

// A child that was told to commit and does not is replaced.
func TestReloadCommitIsOwed(t *testing.T) {
	f := serving3(t)
	f.proposes(nil)
	for _, c := range f.started {
		f.prepares(c)
	}
	f.commits(f.started[0])
	f.commits(f.started[2])
	f.after(f.bounds.answer)
	if c := f.started[1]; c.state != Ending || !strings.Contains(c.fault, "did not answer an order") {
		t.Fatalf("%s, %q", c.state, c.fault)
	}
	f.handle(f.started[1], exit{syscall.WaitStatus(syscall.SIGKILL)})
	f.handle(f.started[1], silence{})
	if f.lastReload == nil || !f.lastReload.Committed {
		t.Fatalf("%+v", f.lastReload)
	}
}

// decides brings a proposal through the vote and the commit; children that are told nothing are left alone.
func (f *fleet) decides() {
	f.t.Helper()
	for _, c := range f.started {
		if c.preparing != 0 {
			f.prepares(c)
		}
	}
	for _, c := range f.started {
		if c.committing != 0 {
			f.commits(c)
		}
	}
}

// withOneMore and withoutTheLast change the listeners of a configuration.
func withOneMore(l configs.Listener) func(*configs.Config) {
	return func(c *configs.Config) { c.Listeners = append(c.Listeners, l) }
}

func withoutTheLast(c *configs.Config) { c.Listeners = c.Listeners[:len(c.Listeners)-1] }

// A listener that is wanted again while its children return it is not closed under the vote.
func TestReloadTakesBackAListenerThatLeaves(t *testing.T) {
	f := serving3(t)
	second := f.config.Listeners[0]
	second.Name = "second"
	f.proposes(withOneMore(second))
	f.decides()
	for _, c := range f.started {
		f.says(c, &control.Lent{Count: 2})
	}
	l := f.shards.listeners[1]
	f.proposes(withoutTheLast)
	f.decides()
	f.proposes(withOneMore(second))
	for _, c := range f.started { // they obey in order: first the return, then the prepare
		f.says(c, &control.Returned{Count: 1})
	}
	if f.shards.byID(l.id) == nil {
		t.Fatal("it is closed, and the vote may take it back")
	}
	f.decides()
	if f.shards.byID(l.id) != l || l.leaving || len(l.shards) != 3 {
		t.Fatalf("%+v", l)
	}
	for _, c := range f.started {
		if c.held[shardID{l.id, c.slot.index}] != lending {
			t.Errorf("child %d is not lent it again: %v", c.slot.index, c.held)
		}
	}
}

// One that a refused reload wanted goes after all.
func TestRefusedReloadLetsAListenerLeave(t *testing.T) {
	f := serving3(t)
	second := f.config.Listeners[0]
	second.Name = "second"
	f.proposes(withOneMore(second))
	f.decides()
	for _, c := range f.started {
		f.says(c, &control.Lent{Count: 2})
	}
	l := f.shards.listeners[1]
	f.proposes(withoutTheLast)
	f.decides()
	r := f.proposes(withOneMore(second))
	for _, c := range f.started {
		f.says(c, &control.Returned{Count: 1})
	}
	f.says(f.started[0], &control.Failed{Generation: r.number, Diagnostic: "no"})
	if f.shards.byID(l.id) != nil || len(l.shards) != 0 {
		t.Fatal("it stays open, and nobody wants it")
	}
}

// A new listener gets a shard for each child that there is when it is committed, and not when it was proposed.
func TestReloadListenerWhileTheNumberOfChildrenChanges(t *testing.T) {
	for _, children := range []int{2, 5} {
		f := serving3(t).withRuntime()
		second := f.config.Listeners[0]
		second.Name = "second"
		r := f.proposes(withOneMore(second))
		f.scale(children, "test", nil)
		f.tick()
		for range 20 { // those that leave do, those that come are new voters
			for _, c := range f.started {
				switch {
				case c.state < Serving:
					f.brings(c, Serving)
				case len(c.lends) > 0:
					f.says(c, &control.Lent{})
				case len(c.backs) > 0:
					f.says(c, &control.Returned{})
				case c.state == Draining:
					f.says(c, &control.Draining{}, &control.Drained{})
					f.dies(c, 0)
				}
			}
			f.after(time.Second)
		}
		f.decides()
		if f.generation != r.number {
			t.Fatalf("%d children: not committed: %+v", children, f.lastReload)
		}
		for _, l := range f.shards.listeners {
			if len(l.shards) != children {
				t.Errorf("%s has %d shards for %d children", l.name, len(l.shards), children)
			}
		}
	}
}

// Who leaves does not vote any more, neither for nor against, and nobody waits for it.
func TestReloadVoterLeaves(t *testing.T) {
	f := serving3(t)
	r := f.proposes(nil)
	leaver := f.started[1]
	f.prepares(f.started[0])
	f.says(leaver, &control.Draining{}) // TERM
	if heard(leaver, control.KindAbort) != 1 {
		t.Fatal("it is not told to drop what it prepares")
	}
	successor := f.last(1)
	f.brings(successor, Serving)
	f.prepares(successor)
	f.prepares(f.started[2])
	if f.generation != r.number {
		t.Fatalf("the vote of one that leaves is awaited: %v", f.lastReload)
	}
	// Its answer crosses all this, and touches neither the reload nor itself.
	f.says(leaver, &control.Failed{Generation: r.number, Diagnostic: "I am leaving"})
	if f.lastReload != nil || leaver.state != Draining || len(proc(leaver).killed) != 0 {
		t.Fatalf("%+v, it is %s", f.lastReload, leaver.state)
	}
	f.decides()
	if !f.lastReload.Committed || heard(leaver, control.KindCommit) != 1 {
		t.Fatalf("%+v", f.lastReload)
	}
}

// The last vote that was awaited may be that of one that a successor has just replaced.
func TestReloadIsDecidedWhenTheLastVoterLeaves(t *testing.T) {
	f := serving3(t)
	f.restart(1, "test", nil)
	f.tick()
	heir := f.last(1)
	f.brings(heir, Admitting)
	r := f.proposes(nil)
	for _, c := range []*child{f.started[0], f.started[2], heir} {
		f.prepares(c)
	}
	if f.generation == r.number {
		t.Fatal("decided without the one that serves")
	}
	f.says(heir, &control.Accepting{})
	if f.generation != r.number {
		t.Fatal("the vote of the one that was replaced is awaited")
	}
	if heard(f.started[1], control.KindAbort) != 1 {
		t.Error("it is not told to drop what it prepares")
	}
}

// What a child was told in its bring-up has a bound, too.
func TestReloadCommitIsOwedSinceBringUp(t *testing.T) {
	f := serving3(t)
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	late := f.last(1)
	f.brings(late, Admitting)
	f.proposes(nil)
	for _, c := range []*child{f.started[0], f.started[2], late} {
		f.prepares(c)
	}
	f.commits(f.started[0])
	f.commits(f.started[2])
	f.says(late, &control.Accepting{})
	f.after(f.bounds.answer)
	if late.state != Ending || !strings.Contains(late.fault, "did not answer an order") {
		t.Fatalf("the reload waits for ever: %s, %q", late.state, late.fault)
	}
	f.ends(late, bySignal(syscall.SIGKILL))
	if f.lastReload == nil || !f.lastReload.Committed {
		t.Fatalf("%+v", f.lastReload)
	}
}

// Log files that are reopened while a reload goes on are opened again when it is committed: it has read the old ones.
func TestReloadWhileLogsAreReopened(t *testing.T) {
	f := serving3(t)
	name := filepath.Join(t.TempDir(), "access.log")
	open := func() *logFiles {
		file, err := openLog(name)
		if err != nil {
			t.Fatal(err)
		}
		return &logFiles{names: []string{name}, files: []*os.File{file}}
	}
	t.Cleanup(func() { f.accessLogs.close() })
	config := *f.config
	config.Digest = "another"
	r := &reloading{outcome: Reload{At: f.now(), By: "test"}}
	f.reloading = r
	f.propose(r, &reading{config: &config, sources: new(configs.Sources), logs: open()})
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	f.onSignal(syscall.SIGUSR1)
	f.decides()
	now, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if has, err := f.accessLogs.files[0].Stat(); err != nil || !os.SameFile(now, has) {
		t.Errorf("the master has the rotated file: %v", err)
	}
	for _, c := range f.started {
		if heard(c, control.KindReopenLogs) != 1 {
			t.Errorf("child %d: %v", c.slot.index, proc(c).sentKinds())
		}
	}
}

// A child that cannot prepare what was decided already is no voter against it.
func TestFailureAfterTheDecision(t *testing.T) {
	f := serving3(t)
	second := f.config.Listeners[0]
	second.Name = "second"
	r := f.proposes(withOneMore(second))
	for _, c := range f.started {
		f.prepares(c)
	}
	f.commits(f.started[0])
	f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
	late := f.last(1)
	f.brings(late, Preparing)
	f.says(late, &control.Failed{Generation: r.number, Diagnostic: "a.hcl:3:5: no"})
	if f.generation != r.number || f.lastReload != nil || len(f.shards.listeners[1].shards) != 3 {
		t.Fatalf("generation %d, %+v, %+v", f.generation, f.lastReload, f.shards.listeners[1])
	}
	f.commits(f.started[2])
	if !f.lastReload.Committed || late.state != Ending {
		t.Fatalf("%+v, it is %s", f.lastReload, late.state)
	}
}

// One that drains is not ended for what it cannot prepare.
func TestFailureOfAChildThatDrains(t *testing.T) {
	f := serving3(t)
	c := f.started[1]
	f.sendPrepare(c) // as to one that has missed a commit
	f.says(c, &control.Draining{}, &control.Failed{Generation: 1, Diagnostic: "a.hcl:3:5: no"})
	if c.state != Draining || len(proc(c).killed) != 0 {
		t.Fatalf("%s, killed %v", c.state, proc(c).killed)
	}
}

// Files that cannot be read do not hold up the reloads after them; what is read too late is not proposed.
func TestReloadThatCannotRead(t *testing.T) {
	f := serving3(t)
	f.calls = make(chan func())
	f.reload("test", nil)
	f.after(f.bounds.prepare)
	if l := f.lastReload; l == nil || l.Committed || !strings.Contains(l.Reason, "could not be read within") || f.reloading != nil {
		t.Fatalf("%+v", l)
	}
	(<-f.calls)() // the reading has come back
	if f.reloading != nil || f.lastGeneration != 1 {
		t.Fatal("it is proposed after all")
	}
}
