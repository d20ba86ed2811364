package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// configuration is text number n for bin/tined. Odd ones have a listener, a route, limits and a log level that even ones do not have.
func (t *trial) configuration(n uint64) string {
	if n%2 == 0 {
		return t.plainText(n)
	}
	listen := fmt.Sprintf("\nlisten \"extra\" {\n  address = %q\n}\n", t.ground.extra)
	route := "\n  route \"GET /odd\" {\n    respond {\n      body = \"odd\"\n    }\n  }\n"
	return t.numberedText(n, listen, `["main", "extra"]`, route, 100, "warn")
}

// plainText is configuration number n, which has nothing that another number does not have.
func (t *trial) plainText(n uint64) string { return t.numberedText(n, "", `["main"]`, "", 128, "info") }

func (t *trial) numberedText(n uint64, listen, listens, route string, headers int, level string) string {
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
%s
site "storm" {
  listen = %s
  route "GET /plain" {
    respond {
      body = "%d"
    }
  }
  route "POST /echo" {
    function "echo" {}
  }
%s
  route "/files/" {
    static {
      root = %q
    }
  }
}
`, t.children, t.ground.address, t.deferred, listen, level, filepath.Join(t.folder, "storm.log"), headers, t.trialText(), listens, n, route, t.folder)
}

// serveNumbered starts bin/tined with configuration 0.
func (t *trial) serveNumbered() error {
	if err := t.writeServed(); err != nil {
		return err
	}
	var err error
	t.server, err = newServer(t, t.tined, t.configuration(0))
	return err
}

// writeServed makes the file that clients download.
func (t *trial) writeServed() error {
	return os.WriteFile(filepath.Join(t.folder, served), []byte(streamContent()), 0o644)
}

// reload changes the configuration again and again.
func (t *trial) reload() error {
	e, p, err := t.muster((*trial).serveNumbered, 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	pids, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	master := t.server.process.Pid
	p.resume()
	for i := range warming {
		time.Sleep(t.over / time.Duration(t.reloads))
		if _, err := t.reloadTo(e, uint64(i+1), false); err != nil {
			return err
		}
	}
	if err := p.calm(); err != nil {
		return err
	}
	before, err := t.weighBoth(pids, master, nil)
	if err != nil {
		return err
	}
	p.resume()

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
