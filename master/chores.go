package master

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/tined/tined/netcore/control"
)

// schedule knows when which chore is due, and nothing of processes: the time and the ends of runs are told to it. Owner: the loop.
//
// A chore's first run comes after a small part of its interval, each later one an interval after the end of the one before, however that
// ended. What a reload takes away while it runs stays until it ends, so that a later generation's chore of the same name comes after it.
type schedule struct {
	chores []*chore // in the order of the generation
	runs   uint64   // begun so far: the last one's number
}

// chore is one of the present generation, or one that still runs.
type chore struct {
	name           string
	every, timeout time.Duration
	known          time.Time // when it came into the configuration
	gone           bool      // a reload has taken it away

	run   uint64    // the number of the run that goes on; 0: none
	limit time.Time // when that run must have ended; zero: no more is to be done about it
	due   time.Time // of the next run; zero while one goes on

	count, failed  uint64 // runs that have ended
	started, ended time.Time
	took           time.Duration // of the last one that has ended
	fault          string        // how the last one has failed; "": it has not
}

// choreGrace is what a run may take beyond its timeout, which its own process tells it of.
const choreGrace = 2 * time.Second

// spread is the part of its interval after which a chore's first run comes: between 1/16 and 2/16, by its name, so that the chores of a
// server do not begin all at once, and a name has always the same.
func spread(name string, every time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // a hash takes everything
	part := every / 16
	return part + time.Duration(float64(part)*float64(h.Sum32())/(1<<32))
}

// replace makes list the chores from now on.
func (s *schedule) replace(list []control.Chore, now time.Time) {
	before := s.chores
	s.chores = nil
	for _, l := range list {
		c := &chore{name: l.Name, known: now}
		if i := slices.IndexFunc(before, func(c *chore) bool { return c.name == l.Name }); i >= 0 {
			c = before[i]
			before = slices.Delete(before, i, i+1)
		}
		c.gone, c.every, c.timeout = false, millis(l.EveryMillis), millis(l.TimeoutMillis)
		c.plan()
		s.chores = append(s.chores, c)
	}
	for _, c := range before {
		if c.gone = true; c.run != 0 {
			s.chores = append(s.chores, c)
		}
	}
}

// plan sets when the next run is due. A time that has passed means: at once.
func (c *chore) plan() {
	switch {
	case c.run != 0:
		c.due = time.Time{}
	case c.ended.IsZero():
		c.due = c.known.Add(spread(c.name, c.every))
	default:
		c.due = c.ended.Add(c.every)
	}
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// begin counts the runs that are due as begun, and returns them.
func (s *schedule) begin(now time.Time) (due []*chore) {
	for _, c := range s.chores {
		if c.run == 0 && !c.gone && !c.due.After(now) {
			s.runs++
			c.run, c.started, c.limit, c.due = s.runs, now, now.Add(c.timeout+choreGrace), time.Time{}
			due = append(due, c)
		}
	}
	return due
}

// end takes the end of a run: fault is "" when it has succeeded. It returns the chore; nil when there is no such run.
func (s *schedule) end(run uint64, fault string, now time.Time) *chore {
	i := slices.IndexFunc(s.chores, func(c *chore) bool { return c.run == run && run != 0 })
	if i < 0 {
		return nil
	}
	c := s.chores[i]
	c.run, c.limit, c.ended, c.took, c.fault = 0, time.Time{}, now, now.Sub(c.started), fault
	c.count++
	if fault != "" {
		c.failed++
	}
	c.plan()
	if c.gone {
		s.chores = slices.Delete(s.chores, i, i+1)
	}
	return c
}

// running are the chores that run.
func (s *schedule) running() (list []*chore) {
	for _, c := range s.chores {
		if c.run != 0 {
			list = append(list, c)
		}
	}
	return list
}

// late is a chore whose run should have ended; nil: none.
func (s *schedule) late(now time.Time) *chore {
	for _, c := range s.chores {
		if c.run != 0 && !c.limit.IsZero() && !c.limit.After(now) {
			return c
		}
	}
	return nil
}

// next is when something of this is due; zero: nothing is.
func (s *schedule) next(serving bool) (next time.Time) {
	for _, c := range s.chores {
		at := c.limit
		if c.run == 0 && serving {
			at = c.due
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}
