package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// busy is how long the loops are made to compute, now and then: a loop that is busy leaves what comes in the queue of its shard.
const busy = 20 * time.Millisecond

// unrulyText is configuration number n for unruly. more are lines of its block.
func (t *trial) unrulyText(n uint64, children int, more string) string {
	return fmt.Sprintf(`children = %d

listen "main" {
  address  = %q
  deferred = %t
}

log {
  file = %q
}

limits {
  idle_timeout = "1h"
}
%s
site "storm" {
  route "GET /hang" {
    function "hang" {}
  }
  route "GET /sick" {
    function "sick" {}
  }
  route "POST /echo" {
    function "echo" {}
  }
  route "/files/" {
    static {
      root = %q
    }
  }
  route "GET /plain" {
    unruly {
      answer = "%d"
      %s
    }
  }
}
`, children, t.ground.address, t.deferred, filepath.Join(t.folder, "storm.log"), t.trialText(), t.folder, n, more)
}

func (t *trial) serveUnruly() error {
	var err error
	t.server, err = newServer(t, t.unruly, t.unrulyText(0, t.children, ""))
	return err
}

// scale lets the number of children fall to a half and rise again, in turns by the command and by the configuration.
func (t *trial) scale() error {
	if err := t.serveUnruly(); err != nil {
		return err
	}
	if _, err := t.server.serving(t.children); err != nil {
		return err
	}
	e := new(epoch)
	e.writes(uint64(2 * t.cycles))
	loops := &crowd{name: "who makes loops busy", ground: t.ground, keep: 2 * t.children, tick: 500 * time.Millisecond, rate: 100,
		request: fmt.Sprintf("/hang?how=spin&ms=%d", busy.Milliseconds())}
	if err := loops.start(); err != nil {
		return err
	}
	defer loops.stop()
	p, err := t.gather(e, 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	begin := time.Now()
	// So that all changes fall into the storm.
	step := time.Duration(t.connects) * time.Second / time.Duration(t.rate) / time.Duration(2*t.cycles+1)
	var longest time.Duration
	for i := range 2 * t.cycles {
		time.Sleep(time.Until(begin.Add(step * time.Duration(i+1))))
		want := t.children
		if i%2 == 0 {
			want = max(t.children/2, 1)
		}
		asked := time.Now()
		t.phase(fmt.Sprintf("to %d children", want))
		if i/2%2 == 0 {
			err = t.server.must("scale", fmt.Sprint(want))
		} else if err = t.server.write(t.unrulyText(uint64(i), want, "")); err == nil {
			err = t.server.must("reload")
		}
		longest = max(longest, time.Since(asked))
		if err != nil {
			t.say(fmt.Sprintf("to %d children", want), err)
			break
		}
		t.say(fmt.Sprintf("to %d children, after %.1f s", want, time.Since(begin).Seconds()), nil)
	}
	if err := p.storm.done(step + 2*patience + time.Duration(t.connects)*time.Second/time.Duration(t.rate)); err != nil {
		return err
	}
	took := time.Since(begin)
	t.note("longest change, ms", longest.Milliseconds())
	t.note("connects a second", int(float64(t.connects)/took.Seconds()))
	if rate := float64(t.connects) / took.Seconds(); rate < 0.8*float64(t.rate) {
		t.doubt("%.0f connects a second, and %d were asked for: this machine is too slow", rate, t.rate)
	}
	if _, err := t.server.serving(t.children); err != nil {
		t.say("all children serve again", err)
	}
	// Keep-alive connections of a child that leaves are closed as it drains: they are counted, and are no part of this bar.
	for _, c := range []*crowd{p.keepers, loops} {
		if err := c.calm(); err != nil {
			return err
		}
		kinds := make(map[Loss]int)
		for _, f := range c.failures() {
			kinds[classify(f, nil)]++
		}
		n := c.count()
		t.note(c.name+": answers", n.Answered)
		t.note(c.name+": closed as announced", n.Announced)
		for _, kind := range losses {
			if kinds[kind] > 0 {
				t.note(c.name+": "+string(kind), kinds[kind])
			}
		}
	}
	if err := p.stop(); err != nil {
		return err
	}
	if err := loops.stop(); err != nil {
		return err
	}
	t.crowd(p.storm, nil, nil)
	return nil
}
