package master

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/board"
)

// What the loop tells the supervisor, and when:
//
//   - READY=1 with our pid as MAINPID when the start line is printed, and a copy of every shard for its store then;
//   - RELOADING=1 when a reload begins, READY=1 when it is over, also when it was refused;
//   - STOPPING=1 when a stop begins, and how long it may take, so that a drain_timeout beyond TimeoutStopSec= of the unit is not cut short;
//     that is said again as long as it goes on;
//   - WATCHDOG=1 from the loop's own turns: a loop that hangs is found;
//   - STATUS when it changes, at most once a second, and for the count of connections alone every ten seconds;
//   - the differences of the store when shards come and go.
//
// Nothing of it may fail or delay the service: a supervisor that does not listen is reported once.

const (
	statusPause      = time.Second      // between two texts
	connectionsPause = 10 * time.Second // between two that differ in the count of connections alone
	retryPause       = 100 * time.Millisecond

	extendPause  = 5 * time.Second  // between two words on how long a stop may take
	extendMargin = 10 * time.Second // granted beyond what is known: for the last answers, and for the next word to come
)

// supervision is what the loop knows of the supervisor. A nil one has none. Owner: the loop.
type supervision struct {
	notifier *notifier
	store    socketStore
	present  []uint64 // what store was last brought to, see shardsNow
	behind   bool     // it has not taken that yet
	every    time.Duration
	aliveDue time.Time // of the next WATCHDOG=1; zero: none

	said        string // the text that stands there, without the count of connections
	connections int64  // the count in it
	saidAt      time.Time
	extendedAt  time.Time // when it was last said how long the stop may take
	broken      bool      // an error was reported
}

// newSupervision is nil when no supervisor has spoken to this process.
func newSupervision(env map[string]string) (*supervision, error) {
	get := func(name string) string { return env[name] }
	n, err := newNotifier(get)
	if n == nil {
		return nil, err
	}
	s := &supervision{notifier: n, every: watchdogInterval(get)}
	s.store.notifier = n
	return s, nil
}

// meetSupervisor takes over what the supervisor has passed, for the listeners to be opened. m.log may not be there yet.
func (m *master) meetSupervisor() (warnings []string) {
	env := m.o.supervisor
	var err error
	if m.supervision, err = newSupervision(env); err != nil {
		warnings = append(warnings, err.Error())
	}
	inherited, more := inheritSockets(func(name string) string { return env[name] }, m.config.Listeners)
	m.shards.inherited = inherited
	if m.supervision != nil {
		m.supervision.store.held = inherited.stored
		if err := m.supervision.giveUp(inherited.unwanted); err != nil {
			warnings = append(warnings, fmt.Sprintf("the supervisor may still hold sockets that no `listen` block wants any more: %v", err))
		}
	}
	return append(warnings, more...)
}

// giveUp makes the supervisor close sockets that it has stored, before their ports are asked for: an address that covers another, such as
// all addresses after one, could not be had beside it. It blocks: only at the start.
func (s *supervision) giveUp(names []string) error {
	for _, name := range names {
		if err := s.notifier.forget(name); err != nil {
			return err
		}
		delete(s.store.held, name)
	}
	if len(names) == 0 {
		return nil
	}
	return s.settled()
}

// settled returns once the supervisor has taken note of all that it was told. It blocks: any goroutine but the loop's.
func (s *supervision) settled() error {
	if s == nil {
		return nil
	}
	return s.notifier.barrier(settleBound)
}

// settleBound is how long a supervisor may take to note that another process is the main one.
const settleBound = 5 * time.Second

func (s *supervision) close() {
	if s != nil {
		s.notifier.close()
	}
}

// tellRefused says why a start was refused, for `systemctl status` of the failed service.
func tellRefused(env map[string]string, message string) {
	if s, err := newSupervision(env); err == nil && s != nil {
		_ = s.notifier.status(refusedStatus(message)) // stderr has it too
		s.close()
	}
}

// tell reports the first error of what was said.
func (m *master) tell(err error) {
	s := m.supervision
	if err == nil || roomAgain(err) || s.broken {
		return
	}
	s.broken = true
	m.log.Warn("the supervisor of this service cannot be told what happens (NOTIFY_SOCKET)", zap.Error(err))
}

// tellReady ends the start.
func (m *master) tellReady() {
	if s := m.supervision; s != nil {
		text, connections := m.statusText()
		m.tell(s.notifier.ready(os.Getpid(), s.keep(text, connections, m.now())))
		if s.every > 0 {
			s.aliveDue = m.now()
		}
	}
}

func (m *master) tellReloading() {
	if s := m.supervision; s != nil {
		m.tell(s.notifier.reloading(monotonicMicros()))
	}
}

func (m *master) tellReloaded() {
	if s := m.supervision; s != nil && m.phase != stopping { // STOPPING=1 was the last word
		text, connections := m.statusText()
		m.tell(s.notifier.reloaded(s.keep(text, connections, m.now())))
	}
}

func (m *master) tellStopping() {
	if s := m.supervision; s != nil {
		text, connections := m.statusText()
		s.extendedAt = m.now()
		m.tell(s.notifier.stopping(s.keep(text, connections, m.now()), m.stopBound(m.now())+extendMargin))
	}
}

// stopBound is how long the stop that goes on may still take: what is left of this process's children, and of the version before; 0: it
// should be over.
func (m *master) stopBound(now time.Time) time.Duration {
	end := now
	later := func(due time.Time) {
		if due.After(end) {
			end = due
		}
	}
	for c := range m.lives {
		later(c.due)
	}
	if c := m.house.slot.current; c != nil {
		later(c.due)
	}
	later(m.busyDue)
	if m.succession != nil && m.preceded() {
		later(m.succession.predecessor.Until.Add(predecessorGrace))
	}
	return end.Sub(now)
}

// extendStop says again how long the stop may take. One that is late is not the supervisor's to wait for.
func (m *master) extendStop(now time.Time) (next time.Time) {
	s := m.supervision
	if due := s.extendedAt.Add(extendPause); due.After(now) {
		return due
	}
	if bound := m.stopBound(now); bound > 0 {
		err := s.notifier.extend(bound + extendMargin)
		if roomAgain(err) {
			return now.Add(retryPause)
		}
		m.tell(err)
	}
	s.extendedAt = now
	return now.Add(extendPause)
}

// keep notes the text that is said now, and completes it.
func (s *supervision) keep(text func(int64) string, connections int64, now time.Time) string {
	s.said, s.connections, s.saidAt = text(0), connections, now
	return text(connections)
}

// statusText is the text that fits the present state, given a count of connections, and that count.
func (m *master) statusText() (text func(connections int64) string, connections int64) {
	connections = m.openConnections()
	switch {
	case m.phase == starting:
		return func(int64) string { return startingStatus(m.children()) }, 0
	case m.phase == stopping:
		return stoppingStatus, connections
	case m.reloading != nil:
		return func(int64) string { return reloadingStatus(m.generation) }, 0
	}
	n := 0
	for _, s := range m.slots {
		if !s.retiring && s.current != nil && s.current.state == Serving {
			n++
		}
	}
	refused := ""
	if r := m.lastReload; r != nil && !r.Committed {
		refused = strings.TrimPrefix(r.Reason, mistakes)
	}
	return func(connections int64) string {
		return servingStatus(m.shards.allURLs(), n, m.children(), m.generation, connections, refused)
	}, connections
}

// openConnections is how many connections the children have open, as far as is known.
func (m *master) openConnections() (n int64) {
	for c := range m.lives {
		if c.joined() {
			n += int64(c.life.Gauge(board.WordConnections))
		}
	}
	return n
}

// checkSupervision does what is due for the supervisor, and says when it wants to be called again at the latest; zero: not by itself. It
// is called in every turn of the loop.
func (m *master) checkSupervision(now time.Time) (next time.Time) {
	s := m.supervision
	if s == nil {
		return time.Time{}
	}
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	m.tell(s.notifier.flush())
	if s.notifier.waiting() {
		sooner(now.Add(retryPause))
	}
	if !s.aliveDue.IsZero() {
		if !s.aliveDue.After(now) {
			err := s.notifier.watchdog()
			m.tell(err)
			s.aliveDue = now.Add(s.every)
			if roomAgain(err) {
				s.aliveDue = now.Add(min(s.every, retryPause))
			}
		}
		sooner(s.aliveDue)
	}
	behind := s.behind
	m.storeShards()
	switch {
	case s.behind:
		sooner(now.Add(retryPause))
	case behind:
		sooner(now) // somebody has waited for it
	}
	if m.phase == stopping {
		sooner(m.extendStop(now))
	}
	if due := s.saidAt.Add(statusPause); due.After(now) {
		sooner(due)
		return next
	}
	text, connections := m.statusText()
	differs := text(0) != s.said
	counted := connections != s.connections && (m.phase == stopping || now.Sub(s.saidAt) >= connectionsPause)
	if differs || counted {
		if err := s.notifier.status(text(connections)); roomAgain(err) {
			sooner(now.Add(statusPause))
		} else {
			m.tell(err)
			s.keep(text, connections, now)
			sooner(now.Add(statusPause)) // what changes until then
		}
	}
	if m.phase == stopping {
		sooner(now.Add(statusPause)) // connections end without an event
	}
	return next
}

// storeShards brings the supervisor's store to the present shards. A shard that is parked is not in it any more: when it is closed here, no
// copy may keep it in the kernel's group, where connections would go that nobody accepts.
func (m *master) storeShards() {
	s := m.supervision
	if m.phase != serving {
		return
	}
	if now := m.shardsNow(); s.behind || !slices.Equal(now, s.present) {
		s.present = now
		done, err := s.store.update(m.shardsToStore())
		m.tell(err)
		s.behind = !done && err == nil
	}
}

// shardsNow tells states of the shards apart that the store would be different for.
func (m *master) shardsNow() []uint64 {
	var now []uint64
	for _, l := range m.shards.listeners {
		if l.leaving {
			continue
		}
		now = append(now, uint64(l.id)<<1)
		if l.unknown {
			now[len(now)-1]++
		}
		for i, fd := range l.shards {
			if m.storable(l, i) {
				now = append(now, uint64(i)<<32|uint64(uint32(fd)))
			}
		}
	}
	return now
}

// holdsBack reports whether shards may not be closed yet: the supervisor has not been told to forget them.
func (s *supervision) holdsBack() bool { return s != nil && s.behind }

// storable reports whether a shard is one to keep.
func (m *master) storable(l *listener, index int) bool {
	return index >= l.units && l.shards[index] >= 0 && (l.shared || index >= len(m.slots) || m.slots[index].parked.IsZero())
}

func (m *master) shardsToStore() map[string]int {
	want := map[string]int{}
	for _, l := range m.shards.listeners {
		l.kept = false
		if l.leaving {
			continue
		}
		name := shardName{key: storeKey(l.name, endpoint(l.config.Address)), file: l.file, unordered: l.unknown}
		for i, fd := range l.shards {
			if m.storable(l, i) {
				name.index = i
				want[name.String()] = fd
				l.kept = true
			}
		}
	}
	return want
}
