package master

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// watched is a master without processes that a fakeSystemd listens to, at a time that the test sets.
func watched(t *testing.T, env map[string]string) (*master, *fakeSystemd, *time.Time) {
	t.Helper()
	s := newFakeSystemd(t)
	all := map[string]string{"NOTIFY_SOCKET": s.path}
	for name, v := range env {
		all[name] = v
	}
	now := time.Unix(1_000_000, 0)
	m := &master{
		o: Options{supervisor: all}, config: &configs.Config{}, generation: 1, phase: serving, log: zap.NewNop(),
		lives: map[*child]struct{}{}, shards: new(shardSet), now: func() time.Time { return now },
	}
	if warnings := m.meetSupervisor(); warnings != nil || m.supervision == nil {
		t.Fatalf("%q", warnings)
	}
	t.Cleanup(m.supervision.close)
	return m, s, &now
}

func TestWatchdogComesFromTheLoop(t *testing.T) {
	m, s, now := watched(t, map[string]string{"WATCHDOG_USEC": "10000000"})
	m.checkSupervision(*now) // before the service is ready there is nobody to watch
	s.wants("STATUS=serving  with 0 children, generation 1, 0 connections")
	m.tellReady()
	s.wants("MAINPID=")
	if next := m.checkSupervision(*now); !next.Equal(now.Add(time.Second)) { // of the status
		t.Errorf("next turn in %v", next.Sub(*now))
	}
	s.wants("WATCHDOG=1")
	*now = now.Add(2 * time.Second)
	if next := m.checkSupervision(*now); !next.Equal(now.Add(3 * time.Second)) {
		t.Errorf("next turn in %v", next.Sub(*now))
	}
	s.nothing()
	*now = now.Add(3 * time.Second)
	m.checkSupervision(*now)
	s.wants("WATCHDOG=1")
	s.nothing()
	// A full queue is no reason to wait for the whole interval.
	for m.supervision.notifier.watchdog() == nil {
	}
	*now = now.Add(5 * time.Second)
	if next := m.checkSupervision(*now); !next.Equal(now.Add(retryPause)) {
		t.Errorf("next turn in %v", next.Sub(*now))
	}
}

// wants is the next datagram, by its beginning.
func (s *fakeSystemd) wants(text string) {
	s.t.Helper()
	if got := s.next(); !strings.HasPrefix(got.text, text) {
		s.t.Errorf("%q, want %q", got.text, text)
	}
}

// TestStatusIsSaidWhenItChanges: at most once a second, and then what is true by then.
func TestStatusIsSaidWhenItChanges(t *testing.T) {
	m, s, now := watched(t, nil)
	m.tellReady()
	s.wants("MAINPID=")
	m.generation = 2
	if next := m.checkSupervision(*now); !next.Equal(now.Add(statusPause)) {
		t.Errorf("next turn in %v", next.Sub(*now))
	}
	s.nothing()
	*now = now.Add(statusPause)
	m.checkSupervision(*now)
	s.wants("STATUS=serving  with 0 children, generation 2, 0 connections")
	*now = now.Add(statusPause)
	if next := m.checkSupervision(*now); !next.IsZero() {
		t.Errorf("nothing changes, and it wants a turn in %v", next.Sub(*now))
	}
	s.nothing()
	m.lastReload = &Reload{Reason: "no"}
	m.checkSupervision(*now)
	s.wants("STATUS=reload refused: no; still serving  with 0 children, generation 2, 0 connections")

	// What is said between turns counts as said.
	m.reloading = new(reloading)
	m.tellReloading()
	s.wants("MONOTONIC_USEC=")
	m.reloading, m.lastReload = nil, &Reload{Committed: true}
	m.tellReloaded()
	s.wants("STATUS=serving  with 0 children, generation 2, 0 connections\nREADY=1")
	m.phase = stopping
	m.tellStopping()
	s.wants("STATUS=stopping\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=10000000")
	m.tellReloaded()
	s.nothing() // STOPPING=1 was the last word of that kind
	*now = now.Add(statusPause)
	if next := m.checkSupervision(*now); !next.Equal(now.Add(statusPause)) {
		t.Errorf("connections end without an event, and the next turn is in %v", next.Sub(*now))
	}
}

// TestStopIsExtended: the supervisor knows how long a stop may take, and is told again as long as that is true.
func TestStopIsExtended(t *testing.T) {
	m, s, now := watched(t, nil)
	m.phase = stopping
	fast, slow := &child{slot: &slot{}, due: now.Add(2 * time.Second)}, &child{slot: &slot{}, due: now.Add(92 * time.Second)}
	m.lives[fast], m.lives[slow] = struct{}{}, struct{}{}
	m.tellStopping()
	s.wants("STATUS=stopping\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=102000000")
	*now = now.Add(extendPause - statusPause)
	if next := m.checkSupervision(*now); !next.Equal(now.Add(statusPause)) {
		t.Errorf("next turn in %v", next.Sub(*now))
	}
	s.nothing()
	*now = now.Add(statusPause)
	m.checkSupervision(*now)
	s.wants("EXTEND_TIMEOUT_USEC=97000000")

	// One for which there is no room comes soon.
	full := 0
	for ; m.supervision.notifier.watchdog() == nil; full++ {
	}
	*now = now.Add(extendPause)
	if next := m.checkSupervision(*now); !next.Equal(now.Add(retryPause)) {
		t.Errorf("next turn in %v", next.Sub(*now))
	}
	for range full {
		s.next()
	}
	*now = now.Add(retryPause)
	m.checkSupervision(*now)
	s.wants("EXTEND_TIMEOUT_USEC=91900000")

	// What is left of the version before counts.
	m.previous.path, m.succession = "/before", &succession{predecessor: Predecessor{Until: now.Add(200 * time.Second)}}
	*now = now.Add(extendPause)
	m.checkSupervision(*now)
	s.wants("EXTEND_TIMEOUT_USEC=225000000")
	m.succession = nil

	// A stop that is late is ended by the supervisor.
	*now = now.Add(100 * time.Second)
	m.checkSupervision(*now)
	s.nothing()
}

// TestStoreFollowsTheShards: no copy keeps a socket open that is about to be closed, and none of a socket unit is made.
func TestStoreFollowsTheShards(t *testing.T) {
	m, s, now := watched(t, nil)
	m.supervision.saidAt = now.Add(time.Hour) // no texts
	a, b := listening(t, "127.0.0.1:0", true), listening(t, "127.0.0.1:0", true)
	own, unit := listening(t, "127.0.0.1:0", true), listening(t, "127.0.0.1:0", true)
	free := netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")} // so that names are in an order
	one := &listener{id: 1, name: "one", local: localOf(t, a), shards: []int{a, b}, config: block("one", free)}
	two := &listener{id: 2, name: "two", local: localOf(t, unit), shards: []int{unit, own, -1}, units: 1, config: block("two", free)}
	m.shards.listeners = []*listener{one, two}
	m.slots = []*slot{{index: 0}, {index: 1}}
	name := func(l *listener, index int) string {
		return shardName{index: index, key: storeKey(l.name, free), unordered: l.unknown}.String()
	}

	m.phase = starting
	m.checkSupervision(*now)
	s.nothing() // they may still be closed again
	m.phase = serving
	m.checkSupervision(*now)
	s.wants("FDNAME=" + name(one, 0) + "\nFDPOLL=0\nFDSTORE=1")
	s.wants("FDNAME=" + name(one, 1) + "\nFDPOLL=0\nFDSTORE=1")
	s.wants("FDNAME=" + name(two, 1) + "\nFDPOLL=0\nFDSTORE=1")
	m.checkSupervision(*now)
	s.nothing()
	if !one.kept || !two.kept {
		t.Error("their files would be removed")
	}

	// A supervisor that is behind holds the closing back, and is asked again.
	full := 0
	for ; m.supervision.notifier.watchdog() == nil; full++ {
	}
	m.slots[1].parked = *now
	if next := m.checkSupervision(*now); !m.supervision.holdsBack() || !next.Equal(now.Add(retryPause)) {
		t.Errorf("holds back: %v, next turn in %v", m.supervision.holdsBack(), next.Sub(*now))
	}
	for range full {
		s.next()
	}
	if next := m.checkSupervision(*now); m.supervision.holdsBack() || !next.Equal(*now) {
		t.Errorf("holds back: %v, next turn in %v", m.supervision.holdsBack(), next.Sub(*now))
	}
	s.wants("FDNAME=" + name(one, 1) + "\nFDSTOREREMOVE=1")
	s.wants("FDNAME=" + name(two, 1) + "\nFDSTOREREMOVE=1")
	if two.kept {
		t.Error("nothing of it is kept")
	}
	m.slots[1].parked = time.Time{} // taken back
	one.leaving, two.unknown = true, true
	m.checkSupervision(*now)
	s.wants("FDNAME=" + name(one, 0) + "\nFDSTOREREMOVE=1")
	s.wants("FDNAME=" + name(two, 1) + "\nFDPOLL=0\nFDSTORE=1")
	s.nothing()
	m.phase = stopping
	one.shards, two.shards = nil, nil
	m.checkSupervision(*now)
	s.nothing() // the next process wants them
	if m.parkFor(m.slots[0]) != forever || m.parkFor(m.slots[1]) != parkTime {
		t.Error("the shard of a socket unit would be closed")
	}
}

// TestSupervisorIsGone: one warning, and nothing is waited for.
func TestSupervisorIsGone(t *testing.T) {
	m, s, now := watched(t, nil)
	s.conn.Close()
	fd := listening(t, "127.0.0.1:0", true)
	m.shards.listeners = []*listener{{id: 1, name: "one", local: localOf(t, fd), shards: []int{fd}, config: block("one", localOf(t, fd))}}
	m.tellReady()
	if !m.supervision.broken {
		t.Error("it was not reported")
	}
	if m.checkSupervision(*now); m.supervision.holdsBack() {
		t.Error("shards are kept for a supervisor that is gone")
	}
}

func TestInheritAdjusts(t *testing.T) {
	fd := listening(t, "127.0.0.1:0", false)
	l := &listener{config: configs.Listener{Deferred: true}}
	if err := l.inherit(&inheritance{fds: []int{fd}, local: localOf(t, fd), shared: true, units: 1}); err != nil {
		t.Fatal(err)
	}
	if !l.shared || l.units != 1 || l.kept || l.local != localOf(t, fd) || len(l.shards) != 1 {
		t.Errorf("%+v", l)
	}
	if err := l.inherit(nil); err != nil || len(l.shards) != 1 {
		t.Errorf("%v, %+v", err, l)
	}
	if err := l.bind(4); err != nil || len(l.shards) != 1 {
		t.Errorf("%v, %+v: it cannot have siblings", err, l)
	}
	if _, _, err := netcore.Accept(fd); err == nil || !strings.Contains(err.Error(), "temporarily unavailable") {
		t.Errorf("it blocks: %v", err)
	}
	if err := new(listener).inherit(&inheritance{fds: []int{-1}}); err == nil {
		t.Error("a socket that cannot be adjusted is taken")
	}
}

// TestInheritedAndAdopted: of what the supervisor has passed, orphans hold most; the rest takes the places of those that are not reached.
func TestInheritedAndAdopted(t *testing.T) {
	zero := listening(t, "127.0.0.1:0", true)
	at := localOf(t, zero)
	one, two, three := listeningAt(t, at, true), listeningAt(t, at, true), listeningAt(t, at, true)
	name := func(index int) string { return shardName{index: index, key: storeKey("main", at)}.String() }
	set, warnings := passed(t, []int{zero, one, two, three}, []string{"unit", name(1), name(2), name(3)}, block("main", at))
	wantWarnings(t, warnings)
	l := &listener{id: 7, name: "main", local: at, shards: []int{zero, -1, two}, config: block("main", at)}
	copies := slices.Clone(set.byListener["main"].fds)
	s := &shardSet{listeners: []*listener{{id: 6, name: "main", leaving: true}, l}, inherited: set}
	if err := s.mergeInherited(); err != nil {
		t.Fatal(err)
	}
	if s.inherited != nil || len(s.listeners[0].shards) != 0 {
		t.Errorf("%+v", s)
	}
	if len(l.shards) != 4 || l.shards[0] != zero || l.shards[2] != two || l.units != 1 || !l.unknown {
		t.Fatalf("%+v", l)
	}
	if socketNumber(l.shards[1]) != socketNumber(one) || socketNumber(l.shards[3]) != socketNumber(three) {
		t.Error("the gap is not filled by what was passed")
	}
	closeFds([]int{l.shards[1], l.shards[3]})
	for _, fd := range []int{copies[0], copies[2]} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("the copy %d is open: %v", fd, err)
		}
	}
}
