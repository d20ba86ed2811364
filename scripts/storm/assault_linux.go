package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// victims are the kinds of processes of an upgrade.
var victims = []string{"the old master", "the new master", "an old child", "a new child"}

const (
	// oneVersion bounds the time until one version serves alone after a kill: what the predecessor has left may take its time.
	oneVersion = 30 * time.Second
	// masterless is how long a service manager waits before it starts a server again that has ended.
	masterless = 500 * time.Millisecond
)

// assault kills a process at some moment of each of many upgrades.
func (t *trial) assault() error {
	if t.seed == 0 {
		t.seed = uint64(time.Now().UnixNano())
	}
	t.note("seed", t.seed)
	random := rand.New(rand.NewPCG(t.seed, 0))
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
	// The first one is left alone: it says how long one takes.
	begin := time.Now()
	t.phase("an upgrade that is left alone")
	if err := t.recover(im, e, 1); err != nil {
		return err
	}
	length := time.Since(begin)
	t.note("an upgrade takes, ms", length.Milliseconds())
	image = filepath.Join(t.folder, "good-1")
	before, err := t.server.leavings()
	if err != nil {
		return err
	}
	var kills []Kill
	killed := make(map[string]int)
	stayed, went, adopted := 0, 0, 0
	var longest time.Duration
	slowest := ""
	for i := range t.kills {
		n := uint64(i + 2)
		begin := time.Now()
		blow := blow{victim: victims[random.IntN(len(victims))], after: time.Duration(random.Int64N(int64(length))), pick: random.IntN(1 << 16)}
		t.phase(fmt.Sprintf("upgrade %d, in which %s dies after %d ms", n, blow.victim, blow.after.Milliseconds()))
		next, err := im.link(0, fmt.Sprintf("good-%d", n))
		if err != nil {
			return err
		}
		e.writes(n)
		if err := t.server.write(t.unrulyText(n, t.children, "")); err != nil {
			return err
		}
		ended := make(chan struct{})
		var one upgraded
		var asked error
		go func() {
			defer close(ended)
			one, asked = t.server.upgrade(next)
		}()
		hit, err := t.strike(blow, image, next)
		if hit.kill != nil {
			kills = append(kills, *hit.kill)
		}
		<-ended
		if err = errors.Join(err, asked); err != nil {
			return err
		}
		killed[hit.victim]++
		started, err := t.restore(next)
		if started {
			adopted++
		}
		var serving *status
		if err == nil {
			serving, err = t.united()
		}
		if err != nil {
			t.say(fmt.Sprintf("upgrade %d, %s killed after %d ms", n, hit.victim, blow.after.Milliseconds()), err)
			t.note("  the command", fmt.Sprintf("exit status %d: %s", one.code, strings.TrimSpace(one.output)))
			t.note("  state", t.state())
			t.note("  processes", fmt.Sprintf("%+v", processes()))
			break
		}
		number, err := t.number()
		if err == nil {
			err = t.leftBehind(before)
		}
		if err != nil {
			t.say(fmt.Sprintf("after upgrade %d, %s killed after %d ms", n, hit.victim, blow.after.Milliseconds()), err)
			break
		}
		// Who has had an answer of the other version has one of this now.
		if err := p.calm(); err != nil {
			return err
		}
		for other := e.floor.Load(); other <= n; other++ {
			e.refused[other].Store(other != number)
		}
		e.serves(number)
		p.resume()
		if took := time.Since(begin); took > longest {
			longest = took
			slowest = fmt.Sprintf("%.1f, when %s was killed in upgrade %d after %d ms", took.Seconds(), hit.victim, n, blow.after.Milliseconds())
		}
		if image = imageOf(serving.Pid); image == next {
			went++
		} else {
			stayed++
		}
	}
	for _, victim := range append(victims, nobody) {
		t.note("killed: "+victim, killed[victim])
	}
	t.bar("upgrades that ended with one version", stayed+went, fmt.Sprint(t.kills), stayed+went == t.kills)
	t.note("longest until one version served alone, s", slowest)
	t.note("of them with the old one", stayed)
	t.note("of them with the new one", went)
	t.note("a master had to be started", adopted)
	if err := t.close(p, kills, nil); err != nil {
		return err
	}
	for _, c := range []*crowd{p.keepers, p.sleepers} {
		t.kept(c)
	}
	return nil
}

// blow is when a process is to die, and which.
type blow struct {
	victim string
	after  time.Duration
	pick   int // among several
}

// nobody stands for a kill that came too early or too late for every process of its kind.
const nobody = "nobody"

// hit is what was killed.
type hit struct {
	victim string
	kill   *Kill // of a child
}

// strike kills the victim, or who is there in its place.
func (t *trial) strike(b blow, old, next string) (hit, error) {
	time.Sleep(b.after)
	image, master := old, strings.HasSuffix(b.victim, "master")
	if strings.Contains(b.victim, "new") {
		image = next
	}
	there := of(processes(), image, master)
	if len(there) == 0 {
		return hit{victim: nobody}, nil
	}
	pid := there[b.pick%len(there)].pid
	if master {
		err := syscall.Kill(pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return hit{victim: nobody}, nil
		}
		return hit{victim: b.victim}, err
	}
	k, err := t.server.killChild(pid)
	if err != nil && gone(pid) {
		return hit{victim: nobody}, nil // it has left meanwhile, as it should
	}
	return hit{b.victim, &k}, err
}

// restore starts a master if none is left, as a service manager would.
func (t *trial) restore(image string) (started bool, err error) {
	for deadline := time.Now().Add(oneVersion); ; time.Sleep(10 * time.Millisecond) {
		masters := slices.DeleteFunc(processes(), func(p process) bool { return p.child != "" })
		if len(masters) == 0 {
			time.Sleep(masterless)
			return true, t.server.start(image)
		}
		if st, err := t.server.status(); err == nil && st.State == "serving" {
			return false, nil
		}
		if time.Now().After(deadline) {
			return false, fmt.Errorf("no master answers after %v, though there are %+v", oneVersion, masters)
		}
	}
}

// united waits until one version serves alone: one master, and its children.
func (t *trial) united() (*status, error) {
	for deadline := time.Now().Add(oneVersion); ; time.Sleep(20 * time.Millisecond) {
		st, err := t.server.status()
		if err == nil {
			if err = t.oneVersion(st); err == nil {
				return st, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("after %v: %w", oneVersion, err)
		}
	}
}

func (t *trial) oneVersion(st *status) error {
	all := processes()
	children := slices.DeleteFunc(slices.Clone(all), func(p process) bool { return p.child == "" })
	serving := 0
	for _, c := range st.Children {
		if c.State == "serving" {
			serving++
		}
	}
	switch {
	case st.State != "serving" || st.Upgrade != nil || st.Predecessor != nil:
		return fmt.Errorf("it is not over: %s", st)
	case len(children) != t.children || serving != t.children || len(st.Children) != t.children || len(all) != 1+t.children:
		return fmt.Errorf("there must be one master and %d children: %s: %+v", t.children, st, all)
	}
	for _, c := range children {
		if c.image != children[0].image {
			return fmt.Errorf("the children are of two versions: %+v", all)
		}
		if c.state == 'T' {
			return fmt.Errorf("child %d stands still", c.pid)
		}
	}
	return nil
}

// number asks which configuration serves, until every child has said the same.
func (t *trial) number() (uint64, error) {
	c, err := dial(t.ground)
	if err != nil {
		return 0, err
	}
	defer c.drop()
	body, err := c.get("/plain")
	if err != nil {
		return 0, err
	}
	var n uint64
	if _, err := fmt.Sscan(body, &n); err != nil {
		return 0, fmt.Errorf("answer %q: %w", body, err)
	}
	return n, t.unanimous(n)
}

// leftBehind compares the files of the running processes with those of before. Each child has a socket, whose name may be another.
func (t *trial) leftBehind(before []string) error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		now, err := t.server.leavings()
		if err != nil {
			return err
		}
		if len(now) <= len(before) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("files are left behind: %q, and it were %q", now, before)
		}
	}
}
