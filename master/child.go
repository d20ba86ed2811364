package master

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/control"
)

// State is where a child is in its life.
//
//	Starting ─hello─▶ Preparing ─prepared─▶ Committing ─committed─▶ Lending ─lent─▶ Proving
//	                                                                                   │ 200
//	        Draining ◀─drain─ Serving ◀─accepting─ Admitting ◀─when the master wills─ Proved
//	            │
//	            └──▶ Ending ─exit and end of the channel─▶ Ended
//
// If another generation was committed meanwhile, Committing leads back to Preparing. From Lending on a life takes new generations without
// leaving its state (reload.go), and shards are lent to it and taken back (lend.go). An adopted life begins as Serving or Draining. Every state but Ended may go to Ending: at the end of the channel, at the exit, at the end of
// the state's bound, or when the child says what does not fit. A child that somebody else told to
// drain goes from Serving or Admitting to Draining unasked.
type State uint8

// States of a child.
const (
	// Starting: the process runs; its hello is awaited.
	Starting State = iota
	// Preparing: it builds the generation from the sources that it was sent.
	Preparing
	// Committing: it makes that generation the one that serves.
	Committing
	// Lending: it was sent its shards; it holds them and accepts nothing.
	Lending
	// Proving: the master's own request is on its way through it.
	Proving
	// Proved: it waits for leave to accept. At the start all children wait for one another.
	Proved
	// Admitting: it was told to accept; it may already serve clients.
	Admitting
	// Serving: it accepts.
	Serving
	// Draining: it accepts no more and finishes what is in flight.
	Draining
	// Ending: the channel has ended, the process is killed or gone; its last words may still come.
	Ending
	// Ended: nothing of it is left but its place in the log.
	Ended
)

var stateNames = [...]string{
	Starting: "starting", Preparing: "preparing", Committing: "committing", Lending: "lending", Proving: "proving",
	Proved: "proved", Admitting: "admitting", Serving: "serving", Draining: "draining", Ending: "ending", Ended: "ended",
}

// String is the state's name in status and log.
func (s State) String() string { return stateNames[s] }

// bounds are how long a child may take; tests shorten them.
type bounds struct {
	answer    time.Duration // to a message that needs no work, and for the proof
	prepare   time.Duration // to build a generation: modules open databases
	lastWords time.Duration // between the end of the channel and the exit, or the reverse
	drained   time.Duration // beyond the drain's own timeout
	exit      time.Duration // from drained to the exit
	fast      time.Duration // for a fast stop
	numbers   time.Duration // to answer a report
	resize    time.Duration // to take new numbers of workers: some may have to be started
	unkilled  time.Duration // for a process that not even SIGKILL ends (it hangs in the kernel)
}

var defaultBounds = bounds{
	answer:    10 * time.Second,
	prepare:   60 * time.Second,
	lastWords: 3 * time.Second, // on a busy machine the news of an exit is late
	drained:   2 * time.Second,
	exit:      control.ExitHooks + time.Second,
	fast:      control.FastStop,
	numbers:   500 * time.Millisecond,
	resize:    5 * time.Second,
	unkilled:  5 * time.Second,
}

// child is one life of a child process. Owner: the loop.
type child struct {
	slot    *slot
	state   State
	since   time.Time // of state
	due     time.Time // when the bound of state ends; zero: never
	born    time.Time
	served  time.Time // when it began to serve; zero: it has not
	proc    process
	version string // as it said in its hello

	generation uint64    // committed; 0: none
	preparing  uint64    // the generation that it was asked to prepare, and has not answered; 0: none
	expected   string    // its digest
	prepared   uint64    // the one that it has prepared, and that is not committed; 0: none
	aborted    uint64    // the last one that it was told to drop; 0: none
	committing uint64    // the one that it was told to commit, and has not answered; 0: none
	owed       time.Time // when the oldest order of a life in service must have been answered; zero: it owes nothing

	pausing bool // it was told to stop accepting, for an upgrade
	paused  bool // it has
	revoked int  // orders to stop accepting that were taken back before it had answered
	resumes int  // orders to accept again that it has not acknowledged

	leases
	lifeBoard
	lifeHealth
	lifeHandoff

	legacy

	socket     childListener // that it inherits; nil once it has
	socketName string        // of its file

	heir bool // it is to take the place of a life that serves

	told   map[string]uint64 // the revision of each shared value that it was sent
	unseen int               // values that it has not acknowledged yet

	unresized int // numbers of workers that it has not acknowledged yet
	unopened  int // new log files that it has not acknowledged yet

	asked    bool // the master told it to drain
	released bool // it has stopped accepting and closed its shards
	drained  bool // nothing is in flight any more: the program's exit hooks run

	fault  string          // why the master ended it; "": it ended of itself
	failed *control.Failed // its diagnostic, when it refused the generation
	silent bool            // the channel has ended
	exited bool
	status syscall.WaitStatus // once exited

	unknown bool // status is not known

	reported time.Time // when it last said that its numbers are of now
}

// Events of a child, from its goroutines to the loop.
type (
	received struct {
		message control.Message
		files   []*os.File
	}
	silence    struct{ err error } // the channel has ended; nil or io.EOF is the plain end
	exit       struct{ status syscall.WaitStatus }
	departure  struct{}            // the exit of a process that is another one's child: nobody here learns its status
	proof      struct{ err error } // the own request was answered, nil: with 200
	undelivery struct{ err error } // a message could not be sent
)

// handle lets a child's event take effect.
func (m *master) handle(c *child, event any) {
	defer m.settle()
	if r, ok := event.(received); ok {
		for _, f := range r.files { // no child passes files to the master in this version
			_ = f.Close()
		}
	}
	if c.state == Ended {
		return
	}
	switch e := event.(type) {
	case received:
		m.hear(c, e.message)
	case proof:
		if c.state != Proving {
			return
		}
		if e.err != nil {
			m.kill(c, "the master's own request failed: "+e.err.Error())
			return
		}
		m.enter(c, Proved, 0)
		m.hasProved(c)
		m.admit()
	case undelivery:
		if c.state != Ending {
			m.kill(c, e.err.Error())
		}
	case silence:
		c.silent = true
		m.ending(c)
	case exit:
		c.exited, c.status = true, e.status
		m.ending(c)
	case departure:
		c.exited, c.unknown = true, true
		m.ending(c)
	}
}

// hear takes a message. What does not fit the state is a fault of the child: two versions that
// mean different things by the same messages must not go on.
func (m *master) hear(c *child, message control.Message) {
	if c.housekeeper() {
		m.hearHousekeeper(c, message)
		return
	}
	if c.state == Ending {
		if f, ok := message.(*control.Failed); ok { // last words that came after the exit was seen
			c.failed = f
		}
		return
	}
	b := m.bounds
	switch e := message.(type) {
	case *control.Hello:
		if m.expect(c, message, Starting) {
			if e.Child != c.slot.index || e.Pid != c.proc.Pid() {
				m.kill(c, fmt.Sprintf("it says that it is child %d with pid %d", e.Child, e.Pid))
				return
			}
			c.version = e.Version
			m.sendBoard(c)
			m.sendPrepare(c)
			m.enter(c, Preparing, b.prepare)
		}
	case *control.Prepared:
		m.hasPrepared(c, e)
	case *control.Failed:
		m.hasFailed(c, e)
	case *control.Committed:
		m.hasCommitted(c, e)
	case *control.Lent:
		m.hasLent(c)
	case *control.Returned:
		m.hasReturned(c)
	case *control.Paused:
		m.hasPaused(c)
	case *control.Accepting:
		if c.resumes > 0 {
			c.resumes--
			m.answered(c)
			return
		}
		if c.state == Draining { // it crossed the order to drain, or its own news of it
			c.served = m.now()
			return
		}
		if m.expect(c, message, Admitting) {
			c.served = m.now()
			m.enter(c, Serving, 0)
			m.pauseYielded(c)
			m.answered(c) // what it owes since its bring-up has a bound now
			c.slot.fresh = false
			m.takeOver(c)
			m.emit(EventChildServing, c, "it accepts connections")
			if m.phase != starting {
				m.log.Info("child serves", append(c.fields(), zap.Duration("after", c.served.Sub(c.born).Round(time.Millisecond)))...)
			}
			m.announce()
		}
	case *control.Draining, *control.Drained: // a child without connections may come to the second at once
		c.released = true
		if c.state == Draining {
			m.closeShards()
		} else {
			m.leaving(c)
		}
		if e.Kind() == control.KindDrained && c.state == Draining && !c.drained {
			c.drained = true // once: saying it again gives no more time
			m.handedAll(c)
			if !m.fast {
				c.due = m.now().Add(b.exit) // for the program's exit hooks
			}
		}
	case *control.SetValue:
		m.setValue(c, e)
	case *control.ValueSeen:
		m.seen(c)
	case *control.Resized:
		m.resized(c)
	case *control.Reopened:
		m.reopened(c)
	case *control.Reported:
		c.reported = m.now()
		m.answerInquiries()
	case *control.LogDropped:
		m.lostLines += e.Count
	case *control.Gave:
		m.hasGave(c, e)
	}
	// Everything else needs no act: Pong, and the Unknown of a later version.
}

func (m *master) expect(c *child, message control.Message, want State) bool {
	if c.state != want {
		m.kill(c, fmt.Sprintf("it said %s while %s", message.Kind(), c.state))
	}
	return c.state == want
}

// enter is the only function that changes a child's state. bound is how long it may last, 0: for
// ever.
func (m *master) enter(c *child, to State, bound time.Duration) {
	if !allowed(c.state, to) && !(c.housekeeper() && c.state == Committing && to == Serving) {
		panic(fmt.Sprintf("master: child %d from %s to %s", c.slot.index, c.state, to))
	}
	c.state, c.since, c.due = to, m.now(), time.Time{}
	if bound > 0 {
		c.due = c.since.Add(bound)
	}
	m.log.Debug("child is "+to.String(), c.fields()...)
}

func allowed(from, to State) bool {
	switch to {
	case Ended:
		return from == Ending
	case Ending:
		return from != Ended
	case Draining:
		return from == Admitting || from == Serving
	case Preparing:
		return from == Starting || from == Committing
	default:
		return to == from+1 && to <= Serving
	}
}

// kill ends a life that the master does not want to go on.
func (m *master) kill(c *child, why string) {
	if c.state >= Ending {
		return
	}
	c.fault = why
	c.proc.Kill(syscall.SIGKILL)
	m.enter(c, Ending, m.bounds.unkilled)
}

// ending follows the channel's end and the exit, whichever comes first.
func (m *master) ending(c *child) {
	if c.exited && c.silent {
		m.ended(c)
		return
	}
	if c.state != Ending {
		m.enter(c, Ending, m.bounds.lastWords)
	} else if c.exited {
		c.due = m.now().Add(m.bounds.lastWords)
	}
	m.closeShards()
}

// overdue is called when the bound of a child's state has passed.
func (m *master) overdue(c *child) {
	switch {
	case c.state == Ending && c.exited:
		// Somebody else still holds the other end of the channel: no more words are awaited.
		m.ended(c)
	case c.state == Ending && c.fault == "":
		// The channel is closed, the process lives: it can be told nothing any more (FACTS 17).
		c.fault = "it closed its control channel and did not exit"
		c.proc.Kill(syscall.SIGKILL)
		c.due = m.now().Add(m.bounds.unkilled)
	case c.state == Ending:
		m.log.Error("child does not die", c.fields()...)
		c.due = time.Time{}
		if m.phase == stopping {
			m.ended(c)
		} else {
			m.giveUp(c)
		}
	case c.state == Draining:
		m.kill(c, "it did not drain in time")
	default:
		m.kill(c, fmt.Sprintf("it was %s for %v without an answer", c.state, m.now().Sub(c.since).Round(time.Millisecond)))
	}
}

// leaving follows a child that drains though the master did not ask: somebody sent it TERM. Its
// place is filled at once, for its shards' queues wait.
func (m *master) leaving(c *child) {
	if c.state != Admitting && c.state != Serving {
		m.kill(c, "it drained while "+c.state.String())
		return
	}
	m.enter(c, Draining, m.config.DrainTimeout+m.bounds.drained)
	m.excuse(c)
	m.log.Info("child drains though the master did not ask it to; a successor takes its place", c.fields()...)
	switch s := c.slot; c {
	case s.current:
		m.succeed(s, 0)
	case s.heir:
		s.heir, c.heir = nil, false
		m.heirLost(s, "drains, and the master did not ask it to")
	}
}

// sendPrepare sends the generation that serves, with its access log files.
func (m *master) sendPrepare(c *child) {
	m.sendGeneration(c, &control.Prepare{
		Generation: m.generation,
		Digest:     m.config.Digest,
		LogFormat:  m.sink.format,
		Files:      m.accessLogs.names,
		Listeners:  m.shards.ids(),
	}, m.sources, m.accessLogs)
}

func (m *master) sendGeneration(c *child, message *control.Prepare, sources *os.File, logs *logFiles) {
	fds := []int{int(sources.Fd())}
	for _, f := range logs.files {
		fds = append(fds, int(f.Fd()))
	}
	c.preparing, c.prepared, c.expected = message.Generation, 0, message.Digest
	c.proc.Send(message, fds...)
}

// owes notes that c has an order to answer; one that is in its bring-up has the bound of its state instead.
func (m *master) owes(c *child) {
	if c.owed.IsZero() && c.state == Serving {
		c.owed = m.now().Add(m.bounds.answer)
	}
}

// answered notes an answer: what is still owed gets its time anew.
func (m *master) answered(c *child) {
	c.owed = time.Time{}
	if len(c.lends) > 0 || len(c.backs) > 0 || c.committing != 0 || c.pausing || c.resumes > 0 {
		m.owes(c)
	}
}

func (c *child) fields() []zap.Field {
	if c.housekeeper() {
		return []zap.Field{zap.String("process", control.RoleHousekeeper), zap.Int("pid", c.proc.Pid())}
	}
	return []zap.Field{zap.Int("child", c.slot.index), zap.Int("pid", c.proc.Pid())}
}
