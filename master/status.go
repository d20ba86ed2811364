package master

import (
	"cmp"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/tined/tined/netcore/control"
)

// Status is the answer to GET /v1/status. Times are seconds.
type Status struct {
	// Version is the program's version, Pid the master's.
	Version string `json:"version"`
	Pid     int    `json:"pid"`
	// State is starting, serving or stopping.
	State         string  `json:"state"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Configuration is the file's absolute path; empty without one.
	Configuration string `json:"configuration"`
	Generation    uint64 `json:"generation"`
	Digest        string `json:"digest"`
	// Reloading: a reload goes on. LastReload is how the last one ended; nil: there was none.
	Reloading  bool    `json:"reloading"`
	LastReload *Reload `json:"last_reload,omitempty"`
	// Upgrade is under way, LastUpgrade is how the last one ended, Predecessor what is left of the version before; nil: there is none.
	Upgrade     *Upgrade     `json:"upgrade,omitempty"`
	LastUpgrade *Upgrade     `json:"last_upgrade,omitempty"`
	Predecessor *Predecessor `json:"predecessor,omitempty"`
	// Rollback is the version that a rollback would go back to; "": there is none, or its executable is not on disk any more.
	Rollback string `json:"rollback,omitempty"`
	// Overrides are what the operator has set in place of what the configuration says.
	Overrides Overrides `json:"overrides"`
	// Listeners are in the order of the configuration, Children by index. A child that was replaced
	// and still drains follows its successor.
	Listeners []ListenerStatus `json:"listeners"`
	// ChildCount is how many children there should be; others are on their way out.
	ChildCount int           `json:"child_count"`
	Children   []ChildStatus `json:"children"`
	// Housekeeper does the chores of modules; nil: there are none.
	Housekeeper *HousekeeperStatus `json:"housekeeper,omitempty"`
	// Totals are the sums over all children that there are and have been.
	Totals Numbers `json:"totals"`
	// LogDropped counts log lines of the whole tree that nobody took.
	LogDropped uint64 `json:"log_dropped"`
}

// Overrides differ from the configuration; what does not is left out.
type Overrides struct {
	Children int             `json:"children,omitempty"`
	Workers  *WorkersRequest `json:"workers,omitempty"`
	LogLevel string          `json:"log_level,omitempty"`
}

// ListenerStatus is one listener.
type ListenerStatus struct {
	Name string `json:"name"`
	// Address has the real port: "127.0.0.1:8080", "unix:/run/x.sock".
	Address string `json:"address"`
	// Shards is the number of listening sockets; 0 once a stop has closed them.
	Shards int `json:"shards"`
}

// StateParked is a place whose child has gone for good: a sibling takes its last connections. StateWaiting is one between two lives. All
// other states are those of child.go.
const (
	StateParked  = "parked"
	StateWaiting = "waiting"
)

// ChildStatus is one child.
type ChildStatus struct {
	Index int `json:"index"`
	// Pid is 0 while nothing runs.
	Pid           int     `json:"pid"`
	State         string  `json:"state"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Generation is the one that it serves; 0: none yet.
	Generation uint64 `json:"generation"`
	// Restarts counts lives after the first, Faults those in a row that the child ended by its own
	// fault; LastEnd says in words how the last one ended.
	Restarts uint64 `json:"restarts"`
	Faults   int    `json:"faults"`
	LastEnd  string `json:"last_end,omitempty"`
	// CrashLoop: it has failed, and does not serve yet again. WaitingUntil is when it is started next, LentTo the child that accepts in its
	// place meanwhile.
	CrashLoop    bool       `json:"crash_loop,omitempty"`
	WaitingUntil *time.Time `json:"waiting_until,omitempty"`
	LentTo       *int       `json:"lent_to,omitempty"`
	// Successor: it is brought up to take the place of a child that serves. Leaving: there are to be fewer children.
	Successor bool `json:"successor,omitempty"`
	Leaving   bool `json:"leaving,omitempty"`
	// Numbers is nil before the child has its configuration. Those of a child that hangs are of before.
	Numbers *Numbers `json:"numbers,omitempty"`
}

// Children is the answer to GET and PUT /v1/children.
type Children struct {
	// Count is how many there should be, Configured what the configuration says.
	Count      int           `json:"count"`
	Configured int           `json:"configured"`
	Children   []ChildStatus `json:"children"`
}

func (o *operator) status(w http.ResponseWriter, r *http.Request) {
	if s, ok := await(o, w, r, o.m.askNumbers); ok {
		reply(w, http.StatusOK, s)
	}
}

func (o *operator) children(w http.ResponseWriter, r *http.Request) {
	answer, ok := await(o, w, r, func(answer func(*Children)) {
		o.m.askNumbers(func(s *Status) {
			answer(&Children{Count: s.ChildCount, Configured: o.m.configuredChildren(), Children: s.Children})
		})
	})
	if ok {
		reply(w, http.StatusOK, answer)
	}
}

// configuredChildren is the number that the configuration asks for on this machine.
func (m *master) configuredChildren() int {
	switch {
	case m.o.Host != nil:
		return 1
	case m.config.Children == 0:
		return usableCores(os.DirFS("/"))
	}
	return m.config.Children
}

// inquiry waits for what the children answer. Owner: the loop.
type inquiry struct {
	open   func(c *child) bool // c has still to answer
	answer func()              // takes what is there when none has, or at the end of the bound
	due    time.Time
}

// inquire calls answer when no child has to answer any more, or at the end of the bound.
func (m *master) inquire(bound time.Duration, open func(c *child) bool, answer func()) {
	m.inquiries = append(m.inquiries, &inquiry{open: open, answer: answer, due: m.now().Add(bound)})
	m.answerInquiries()
}

// answerInquiries answers those for which everything is there, or that have waited long enough.
func (m *master) answerInquiries() {
	now := m.now()
	m.inquiries = slices.DeleteFunc(m.inquiries, func(i *inquiry) bool {
		if now.Before(i.due) {
			for c := range m.lives {
				if i.open(c) {
					return false
				}
			}
		}
		i.answer()
		return true
	})
}

// askNumbers asks every child that can answer for its numbers, and calls answer when they have, or at the end of the bound.
func (m *master) askNumbers(answer func(*Status)) {
	asked := m.now()
	for c := range m.lives {
		if c.reports() {
			c.proc.Send(&control.Report{})
		}
	}
	m.inquire(m.bounds.numbers,
		func(c *child) bool { return c.reports() && c.reported.Before(asked) },
		func() { answer(m.status()) })
}

func (c *child) reports() bool { return c.state >= Proved && c.state <= Draining }

// status is the present state.
func (m *master) status() *Status {
	now := m.now()
	s := &Status{
		Version: m.o.Version, Pid: os.Getpid(), State: m.phase.String(), UptimeSeconds: now.Sub(m.born).Seconds(),
		Configuration: m.config.Path, Generation: m.generation, Digest: m.config.Digest,
		Reloading: m.reloading != nil, LastReload: m.lastReload, Overrides: m.overrides(), ChildCount: m.children(),
		Totals:     m.totals(),
		LogDropped: m.sink.dropped() + m.lostLines,
	}
	for _, l := range m.shards.listeners {
		s.Listeners = append(s.Listeners, ListenerStatus{Name: l.name, Address: l.local.String(), Shards: len(l.shards)})
	}
	living := map[*slot]bool{}
	for c := range m.lives {
		living[c.slot] = true
		one := c.slot.status(c, now)
		one.Numbers = c.numbers()
		s.Children = append(s.Children, one)
	}
	for _, slot := range m.slots {
		if slot.current == nil && !(slot.retiring && living[slot]) {
			s.Children = append(s.Children, slot.status(nil, now))
		}
	}
	s.Housekeeper = m.houseStatus()
	s.Upgrade, s.LastUpgrade, s.Predecessor = m.upgradeStatus()
	if m.previous.missing() == "" {
		s.Rollback = m.previous.version
	}
	// Of one place: who serves, or will, before who leaves.
	slices.SortFunc(s.Children, func(a, b ChildStatus) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.UptimeSeconds, b.UptimeSeconds))
	})
	return s
}

// status is the slot's with a life of it; nil: with none.
func (s *slot) status(c *child, now time.Time) ChildStatus {
	one := ChildStatus{Index: s.index, State: StateWaiting, Restarts: s.restarts, Faults: s.faults, LastEnd: s.lastEnd, Leaving: s.retiring}
	if c != nil {
		one.Pid, one.State, one.UptimeSeconds = c.proc.Pid(), c.state.String(), now.Sub(c.born).Seconds()
		one.Generation, one.Successor = c.generation, s.heir == c
	} else if s.retiring {
		one.State = StateParked
	}
	if s.current != c {
		return one // what follows is about who has the place
	}
	one.CrashLoop = s.faults > 0 && !s.retiring && (c == nil || c.state < Serving)
	if c == nil && !s.due.IsZero() {
		due := s.due
		one.WaitingUntil = &due
	}
	if s.keeper != nil {
		index := s.keeper.index
		one.LentTo = &index
	}
	return one
}

func (m *master) overrides() (o Overrides) {
	if n := m.children(); n != m.configuredChildren() {
		o.Children = n
	}
	if m.workers != nil {
		o.Workers = &WorkersRequest{Min: m.workers.Min, Max: m.workers.Max}
	}
	if m.level != m.config.Log.Level {
		o.LogLevel = m.level
	}
	return o
}
