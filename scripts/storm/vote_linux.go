package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ballot is a reload that meets something.
type ballot struct {
	name string
	// more are lines of the configuration; text, if not "", is all of it.
	more func(t *trial) string
	text func(t *trial, n uint64) string
	// meanwhile happens while the vote goes on, and returns what it has killed.
	meanwhile func(t *trial) (*Kill, error)
	// refused: it must be, with status 1, and say each of says. Otherwise it must be committed, unless either will do.
	refused, either bool
	says            []string
	// dies says that a child kills itself: the connections that it had are lost.
	dies int
}

const (
	// slow is how long a vote takes in which something happens, and early when it does.
	slow  = "600ms"
	early = 200 * time.Millisecond
)

var ballots = []ballot{
	{name: "a key that does not exist", refused: true, says: []string{"storm.hcl:", "answr"}, dies: -1,
		more: func(*trial) string { return "answr = \"x\"" }},
	{name: "an error of syntax", refused: true, says: []string{"storm.hcl:"}, dies: -1,
		text: func(*trial, uint64) string { return "site \"storm\" {\n" }},
	{name: "the first child refuses", refused: true, says: []string{"refuses, as it was told"}, dies: -1,
		more: func(*trial) string { return "refuse_in = 0" }},
	{name: "the last child refuses, late", refused: true, says: []string{"refuses, as it was told"}, dies: -1,
		more: func(t *trial) string { return fmt.Sprintf("refuse_in = %d\n      wait = %q", t.children-1, slow) }},
	{name: "a good one", dies: -1, more: func(*trial) string { return "" }},
	{name: "a child kills itself in the vote, once", either: true, dies: 1,
		more: func(t *trial) string {
			return fmt.Sprintf("die_in = 1\n      once = %q", filepath.Join(t.folder, "died"))
		}},
	{name: "a child kills itself in every vote", refused: true, dies: 2,
		more: func(*trial) string { return "die_in = 2" }},
	{name: "every child kills itself in the vote", refused: true, dies: everyChild,
		more: func(*trial) string { return `die_in = "all"` }},
	{name: "kill -9 of a child in the vote", either: true, dies: -1, meanwhile: (*trial).killInVote,
		more: func(*trial) string { return fmt.Sprintf("wait = %q", slow) }},
	{name: "two SIGHUPs in the vote", dies: -1, meanwhile: (*trial).signalTwice,
		more: func(*trial) string { return fmt.Sprintf("wait = %q", slow) }},
	{name: "a good one, at the end", dies: -1, more: func(*trial) string { return "" }},
}

// everyChild stands for all indexes.
const everyChild = 1 << 20

// vote makes reloads that meet something: afterwards all children serve one configuration.
func (t *trial) vote() error {
	e, p, err := t.muster((*trial).serveUnruly, 50*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	var kills []Kill
	var deaths []death
	serving := uint64(0)
	n := uint64(0)
	for _, b := range ballots {
		n++
		t.phase(b.name)
		if _, err := t.server.serving(t.children); err != nil {
			t.say("all children serve before: "+b.name, err)
			break
		}
		if b.dies >= 0 {
			deaths = append(deaths, death{slot: b.dies, begin: time.Now()})
			// What a child held that kills itself cannot be looked at: no connect may be on its way.
			if err := p.storm.calm(); err != nil {
				return err
			}
		}
		committed, k, err := t.cast(e, b, n)
		if k != nil {
			kills = append(kills, *k)
		}
		if committed {
			serving = n
			e.serves(n)
		} else {
			e.refused[n].Store(true)
		}
		if err == nil {
			err = t.unanimous(serving)
		}
		if b.dies >= 0 {
			deaths[len(deaths)-1].end = time.Now()
		}
		t.say(b.name, err)
		if err != nil { // the next one begins with all children again
			n++
			e.writes(n)
			if err := t.server.write(t.unrulyText(n, t.children, "")); err != nil {
				return err
			}
			if _, _, err := t.server.command("reload"); err != nil {
				return err
			}
			serving = n
		}
		p.resume()
	}
	excused := func(f Failure) bool {
		return slices.ContainsFunc(deaths, func(d death) bool { return d.explains(f) })
	}
	return t.close(p, kills, excused)
}

// death is a time in which the child with this index, or every one, kills itself, and its successor maybe too.
type death struct {
	slot       int
	begin, end time.Time
}

// explains reports whether a keep-alive connection broke with such a child. Which child had one that has not been answered yet, nobody
// can know.
func (d death) explains(f Failure) bool {
	return !f.End.Before(d.begin) && !f.End.After(d.end) && (d.slot == everyChild || f.Answers == 0 || f.Slot == strconv.Itoa(d.slot))
}

// cast makes one reload.
func (t *trial) cast(e *epoch, b ballot, n uint64) (committed bool, k *Kill, err error) {
	text := ""
	if b.text != nil {
		text = b.text(t, n)
	} else {
		text = t.unrulyText(n, t.children, b.more(t))
	}
	e.writes(n)
	if err := t.server.write(text); err != nil {
		return false, nil, err
	}
	before, err := t.server.status()
	if err != nil {
		return false, nil, err
	}
	var other sync.WaitGroup
	var meanwhile error
	if b.meanwhile != nil {
		other.Go(func() {
			time.Sleep(early)
			k, meanwhile = b.meanwhile(t)
		})
	}
	out, code, err := t.server.command("reload")
	other.Wait()
	if err = errors.Join(err, meanwhile); err != nil {
		return false, k, err
	}
	if _, err := t.server.serving(t.children); err != nil {
		return code == 0, k, fmt.Errorf("not all children serve afterwards: %w", err)
	}
	after, err := t.server.status()
	if err != nil {
		return code == 0, k, err
	}
	committed = code == 0
	switch {
	case code != 0 && code != 1:
		return committed, k, fmt.Errorf("exit status %d: %s", code, out)
	case committed != (after.Generation > before.Generation):
		return committed, k, fmt.Errorf("exit status %d, and the generation was %d and is %d: %s", code, before.Generation, after.Generation, out)
	case b.refused && committed:
		return committed, k, fmt.Errorf("it was not refused: %s", out)
	case !b.refused && !b.either && !committed:
		return committed, k, fmt.Errorf("it was refused: %s", out)
	}
	for _, word := range b.says {
		if !strings.Contains(out, word) {
			return committed, k, fmt.Errorf("the refusal does not say %q: %s", word, out)
		}
	}
	return committed, k, nil
}

// unanimous asks until every child has answered, and all with configuration n.
func (t *trial) unanimous(n uint64) error {
	pids, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	missing := make(map[int]bool)
	for _, pid := range pids {
		missing[pid] = true
	}
	for range 1000 {
		c, err := dial(t.ground)
		if err != nil {
			return err
		}
		body, err := c.get("/plain")
		c.drop()
		if err != nil {
			return err
		}
		var answer uint64
		var index, pid int
		if _, err := fmt.Sscanf(body, "%d %d %d", &answer, &index, &pid); err != nil {
			return fmt.Errorf("answer %q: %w", body, err)
		}
		if answer != n {
			return fmt.Errorf("child %d serves configuration %d, and it must be %d", index, answer, n)
		}
		if delete(missing, pid); len(missing) == 0 {
			return nil
		}
	}
	return fmt.Errorf("no answer from the processes %v in 1,000 connections", missing)
}

// killInVote kills a child, and sees what it holds before.
func (t *trial) killInVote() (*Kill, error) {
	st, err := t.server.status()
	if err != nil {
		return nil, err
	}
	victim := st.Children[len(st.Children)-1].Pid
	k, err := t.server.stopHold(victim)
	if err != nil {
		return nil, err
	}
	k.At = time.Now()
	return &k, syscall.Kill(victim, syscall.SIGKILL)
}

// signalTwice asks for two more reloads while one goes on.
func (t *trial) signalTwice() (*Kill, error) {
	st, err := t.server.status()
	if err != nil {
		return nil, err
	}
	for range 2 {
		if err := syscall.Kill(st.Pid, syscall.SIGHUP); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
