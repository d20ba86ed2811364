package main

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

// sickness is a new version that is no good.
type sickness struct {
	name, about string
	// image makes its executable and says its path. nil: a good one, or by sick the one of unruly's that is named so.
	image func(t *trial, im *images, path string) error
	sick  string
	// text is its configuration; nil: a good one.
	text func(t *trial, n uint64) string
	// args are for the command; empty, and not nil: those of hanging.
	args []string
	// stage is the one of the upgrade in which meanwhile happens, which returns what it has killed.
	stage     string
	meanwhile func(t *trial, image string) (*Kill, error)
	// early: it is refused before anything has begun, and is no upgrade that the status tells of.
	early bool
	// provoked: clients ask for what the new version does badly, and get it.
	provoked bool
}

// hanging is for versions that do not end: the shortest that may be asked for.
func (t *trial) hanging() []string {
	return []string{"--timeout", (t.canary + t.probation + 5*time.Second).String()}
}

var sicknesses = []sickness{
	{name: "missing", early: true, about: "there is no such file", image: func(*trial, *images, string) error { return nil }},
	{name: "mode", early: true, about: "it is not executable",
		image: func(_ *trial, im *images, path string) error { return copyMode(path, im.sources[0], 0o644) }},
	{name: "directory", early: true, about: "it is a directory",
		image: func(_ *trial, _ *images, path string) error { return os.Mkdir(path, 0o755) }},
	{name: "machine", early: true, about: "it is for another machine",
		image: func(_ *trial, im *images, path string) error { return foreign(path, im.sources[0]) }},
	{name: "garbage", about: "it is no program",
		image: func(_ *trial, _ *images, path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("no program\n", 1000)), 0o755)
		}},
	{name: "exits", about: "it exits at once", sick: "exit"},
	{name: "quits", about: "it exits at once with 0", sick: "quit"},
	{name: "hangs", about: "it hangs before it asks for anything", sick: "hang", args: []string{}},
	{name: "stalls", about: "it hangs when it has taken everything over", sick: "stall", args: []string{}},
	{name: "configuration", about: "it refuses the configuration",
		text: func(t *trial, n uint64) string { return t.unrulyText(n, t.children, "answr = \"x\"") }},
	{name: "refuses", about: "its children refuse the configuration",
		text: func(t *trial, n uint64) string { return t.unrulyText(n, t.children, "refuse_in = 1") }},
	{name: "mute", about: "its children never answer the master's own request", sick: "mute", args: []string{}},
	{name: "dies", about: "a child dies whenever it is started",
		text: func(t *trial, n uint64) string { return t.unrulyText(n, t.children, "die_in = 1") }},
	{name: "errors", about: "the canary answers with 500", sick: "errors", provoked: true},
	{name: "slow", about: "the canary is slow", sick: "slow", args: []string{"--canary", "1500ms"}, provoked: true},
	{name: "crash", about: "the canary dies", stage: "canary", meanwhile: (*trial).killNewChild, args: []string{"--canary", "2s"}},
	{name: "later", about: "a child dies in the probation", stage: "probation", meanwhile: (*trial).killNewChild},
	{name: "beheaded", about: "its master dies in the canary's time", stage: "canary",
		meanwhile: (*trial).killNewMaster, args: []string{"--canary", "2s"}},
	{name: "orphaned", about: "its master dies in the probation", stage: "probation", meanwhile: (*trial).killNewMaster},
}

func caseNames() string {
	names := make([]string, len(sicknesses))
	for i, s := range sicknesses {
		names[i] = s.name
	}
	return strings.Join(names, ",")
}

// chosenCases are those that the sizes name, in the order of sicknesses.
func (t *trial) chosenCases() ([]sickness, error) {
	if t.cases == "all" {
		return sicknesses, nil
	}
	var chosen []sickness
	wanted := strings.Split(t.cases, ",")
	for _, s := range sicknesses {
		if slices.Contains(wanted, s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) != len(wanted) {
		return nil, fmt.Errorf("-cases: some of %q are not there, but all of %s", wanted, caseNames())
	}
	return chosen, nil
}

// copyMode copies a file, and gives the copy a mode.
func copyMode(to, from string, mode os.FileMode) error {
	if err := copyFile(to, from); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}

// foreign makes an executable of one that is for no machine of today.
func foreign(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	const machineAt = 18 // e_machine, elf(5)
	if len(content) < machineAt+2 || string(content[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return fmt.Errorf("%s is no ELF file", from)
	}
	binary.NativeEndian.PutUint16(content[machineAt:], uint16(elf.EM_PDP10))
	return os.WriteFile(to, content, 0o755)
}

// serveUnrulyImage starts an image of unruly's with configuration 0.
func (t *trial) serveUnrulyImage(image string) func(*trial) error {
	return func(*trial) error {
		if err := t.writeServed(); err != nil {
			return err
		}
		var err error
		t.server, err = newServer(t, image, t.unrulyText(0, t.children, ""))
		return err
	}
}

// rollback makes upgrades that have to be taken back, and a good one after each.
func (t *trial) rollback() error {
	cases, err := t.chosenCases()
	if err != nil {
		return err
	}
	im, err := t.newImages(t.unruly)
	if err != nil {
		return err
	}
	image, err := im.link(0, "good-0")
	if err != nil {
		return err
	}
	e, p, err := t.muster(t.serveUnrulyImage(image), 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	e.back = true
	t.server.binary = im.sources[0]
	p.resume()
	var kills []Kill
	n := uint64(0)
	for _, s := range cases {
		n++
		t.phase(s.name)
		k, err := t.sicken(im, s, e, p, n)
		if k != nil {
			kills = append(kills, *k)
		}
		t.say(s.about, err)
		if err != nil {
			t.note("  state", t.state())
		}
		n++
		t.phase("the good one after " + s.name)
		if err := t.recover(im, e, n); err != nil {
			t.say("a good one after: "+s.about, err)
			break
		}
	}
	t.note("upgrades that were taken back, each with a good one after it", len(cases))
	if err := t.close(p, kills, nil); err != nil {
		return err
	}
	for _, c := range []*crowd{p.keepers, p.sleepers} {
		t.kept(c)
	}
	return nil
}

// sicken makes one upgrade that has to be taken back, to configuration n. The crowds are there afterwards, and go on.
func (t *trial) sicken(im *images, s sickness, e *epoch, p *pack, n uint64) (k *Kill, err error) {
	path := filepath.Join(t.folder, "bad-"+s.name)
	switch {
	case s.image != nil:
		err = s.image(t, im, path)
	case s.sick != "":
		path, err = im.link(0, "sick-"+s.sick)
	default:
		path, err = im.link(0, "bad-"+s.name)
	}
	if err != nil {
		return nil, err
	}
	text := t.unrulyText(n, t.children, "")
	if s.text != nil {
		text = s.text(t, n)
	}
	e.writes(n)
	if err := t.server.write(text); err != nil {
		return nil, err
	}
	children, err := t.server.serving(t.children)
	if err != nil {
		return nil, err
	}
	was, err := t.server.status()
	if err != nil {
		return nil, err
	}
	args := s.args
	if args != nil && len(args) == 0 {
		args = t.hanging()
	}
	var others sync.WaitGroup
	ended := make(chan struct{})
	var meanwhile, asked error
	if s.meanwhile != nil {
		others.Go(func() {
			if _, meanwhile = t.server.staged(s.stage, ended); meanwhile == nil {
				k, meanwhile = s.meanwhile(t, path)
			}
		})
	}
	spoilt := 0
	if s.provoked {
		others.Go(func() { spoilt, asked = t.provoke(ended) })
	}
	one, err := t.server.upgrade(path, args...)
	close(ended)
	others.Wait()
	if err = errors.Join(err, meanwhile, asked); err != nil {
		return k, fmt.Errorf("%w: %s", err, one.output)
	}
	t.note(fmt.Sprintf("  said after %.1f s", one.took.Seconds()), one.sentence())
	if s.provoked {
		t.note("  answers that the canary has spoilt", spoilt)
	}
	if err := t.refused(one); err != nil {
		return k, err
	}
	if err := vanished(path, leaving); err != nil {
		return k, err
	}
	now, err := t.server.serving(t.children)
	if err != nil {
		return k, err
	}
	st, err := t.server.status()
	switch {
	case err != nil:
		return k, err
	case st.Pid != was.Pid:
		return k, fmt.Errorf("the master was %d, and is %d", was.Pid, st.Pid)
	case !slices.Equal(children, now):
		return k, fmt.Errorf("the children were %v, and are %v", children, now)
	case st.Upgrade != nil || st.Predecessor != nil:
		return k, fmt.Errorf("the upgrade is not over: %s", st)
	case !s.early && (st.LastUpgrade == nil || st.LastUpgrade.Done || st.LastUpgrade.Reason == ""):
		return k, fmt.Errorf("the status does not say why: %+v", st.LastUpgrade)
	}
	// Who has had an answer of the sick version has one of the old one now.
	if err := p.calm(); err != nil {
		return k, err
	}
	e.refused[n].Store(true)
	p.resume()
	return k, nil
}

// refused holds the end of an upgrade that had to be taken back against what has to be.
func (t *trial) refused(one upgraded) error {
	sentence := one.sentence()
	switch {
	case one.code == 0:
		return fmt.Errorf("it was not taken back: %s", one.output)
	case one.code != 1:
		return fmt.Errorf("exit status %d: %s", one.code, one.output)
	case sentence == "" || len(sentence) > 500:
		return fmt.Errorf("it does not say in one sentence why: %q", one.output)
	case strings.Contains(one.output, "goroutine "):
		return fmt.Errorf("it prints a dump: %s", one.output)
	}
	return nil
}

// recover makes a good upgrade, to configuration n.
func (t *trial) recover(im *images, e *epoch, n uint64) error {
	path, err := im.link(0, fmt.Sprintf("good-%d", n))
	if err != nil {
		return err
	}
	e.writes(n)
	if err := t.server.write(t.unrulyText(n, t.children, "")); err != nil {
		return err
	}
	was, err := t.server.status()
	if err != nil {
		return err
	}
	one, err := t.server.upgrade(path)
	if err == nil {
		err = one.err()
	}
	if err != nil {
		return err
	}
	e.serves(n)
	return t.succeededBy(path, was.Version, was)
}

// provokeEvery is the time between two clients that provoke a sick version.
const provokeEvery = 3 * time.Millisecond

// provoke asks for what a sick version does badly, until the upgrade has ended. Whatever the answer is, there has to be one.
func (t *trial) provoke(ended <-chan struct{}) (spoilt int, err error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for {
		select {
		case <-ended:
			all.Wait()
			return spoilt, err
		case <-time.After(provokeEvery):
		}
		all.Go(func() {
			begin := time.Now()
			bad, e := t.provokeOnce()
			mu.Lock()
			defer mu.Unlock()
			if bad || time.Since(begin) > sickTime {
				spoilt++
			}
			if e != nil && err == nil {
				err = fmt.Errorf("who provokes the canary: %w", e)
			}
		})
	}
}

// sickTime is what tells a slow answer from others.
const sickTime = 150 * time.Millisecond

func (t *trial) provokeOnce() (bad bool, err error) {
	c, err := dial(t.ground)
	if err != nil {
		return false, err
	}
	defer c.drop()
	_, err = c.get("/sick")
	if err != nil && strings.Contains(err.Error(), "500 ") {
		return true, nil
	}
	return false, err
}

// killNewChild kills the first child of an image.
func (t *trial) killNewChild(image string) (*Kill, error) {
	children := of(processes(), image, false)
	if len(children) == 0 {
		return nil, fmt.Errorf("no child runs %s", filepath.Base(image))
	}
	first := slices.MinFunc(children, func(a, b process) int { return strings.Compare(a.child, b.child) })
	k, err := t.server.killChild(first.pid)
	return &k, err
}

// killNewMaster kills the master of an image.
func (t *trial) killNewMaster(image string) (*Kill, error) {
	masters := of(processes(), image, true)
	if len(masters) != 1 {
		return nil, fmt.Errorf("%d masters run %s", len(masters), filepath.Base(image))
	}
	if rig.Stopped(masters[0].pid) {
		return nil, fmt.Errorf("master %d stands still", masters[0].pid)
	}
	return nil, syscall.Kill(masters[0].pid, syscall.SIGKILL)
}
