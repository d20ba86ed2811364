package master

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
)

// misfitRetry is how long the replacement of a child waits after an attempt that has failed.
const misfitRetry = backOffMost

// legacy is what a life has from an earlier master.
type legacy struct {
	adopted bool
	misfit  string    // why it has to be replaced; "": it is as good as one that this master has started
	retry   time.Time // when it is tried again
}

// findOrphans takes over the children of a dead master, and sees to the secret. The master has the folder's lock, and no slots yet.
func (m *master) findOrphans() (err error) {
	r := m.runtime
	r.secret = r.readSecret()
	m.orphans, m.missed, err = r.callOrphans(r.secret, m.o.Version, adoptBound, m.sink.write)
	if err != nil {
		return err
	}
	if len(m.orphans)+len(m.missed) == 0 || r.secret == nil {
		r.secret, err = r.newSecret()
	}
	return err
}

// adoptShards makes listeners of what the orphans hold, as leaving ones: a change takes those of configured addresses back into service.
// An orphan whose shards do not fit together with those of the others is let go.
func (m *master) adoptShards(listeners []configs.Listener) {
	m.orphans = slices.DeleteFunc(m.orphans, func(o *orphan) bool {
		err := m.shards.adopt(o)
		if err != nil {
			m.missed = append(m.missed, missed{o.index, o.socket, err})
			o.letGo()
		}
		return err != nil
	})
	for _, l := range m.shards.listeners {
		l.dress(listeners)
	}
}

// adopt adds the shards of an orphan, all or none.
func (s *shardSet) adopt(o *orphan) error {
	seen := map[shardID]bool{}
	for _, got := range o.shards {
		l := s.byID(got.id.listener)
		if got.id.listener > maxAdoptedID || seen[got.id] {
			return fmt.Errorf("it holds shard %d of listener %d twice, or no master has ever counted so far", got.id.index, got.id.listener)
		}
		seen[got.id] = true
		for _, other := range s.listeners {
			if other != l && other.local == got.local {
				return fmt.Errorf("its listener %d is listener %d of another child: %q", got.id.listener, other.id, got.local)
			}
		}
		if l == nil {
			continue
		}
		if l.local != got.local {
			return fmt.Errorf("its listener %d is at %q, and that of another child at %q", l.id, got.local, l.local)
		}
		if fd := l.shard(got.id.index); fd >= 0 && socketNumber(fd) != got.number {
			return fmt.Errorf("its shard %d of %q is another socket than the one of another child", got.id.index, l.local)
		}
	}
	// Between its own listeners too: an address has one number.
	for i, a := range o.shards {
		for _, b := range o.shards[:i] {
			if (a.id.listener == b.id.listener) != (a.local == b.local) {
				return fmt.Errorf("its listeners %d and %d are at %q and %q", a.id.listener, b.id.listener, a.local, b.local)
			}
		}
	}
	for _, got := range o.shards {
		l := s.byID(got.id.listener)
		if l == nil {
			l = &listener{
				id: got.id.listener, name: got.name, local: got.local, shared: got.local.Network != "tcp" || got.alone,
				leaving: true, adopted: true,
			}
			s.listeners = append(s.listeners, l)
			s.lastID = max(s.lastID, l.id)
		}
		l.unknown = l.unknown || got.unordered
		for len(l.shards) <= got.id.index {
			l.shards = append(l.shards, -1)
		}
		if l.shards[got.id.index] < 0 {
			fd, err := unix.FcntlInt(uintptr(got.fd), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				return os.NewSyscallError("fcntl", err)
			}
			l.shards[got.id.index] = fd
		}
	}
	return nil
}

// maxAdoptedID leaves room for the numbers of all listeners to come.
const maxAdoptedID = 1 << 31

// dress gives an adopted listener the configuration that its sockets would have been opened by: that of the block that means its
// address, and of nobody when there is none. What the sockets have been told is read from the first of them.
func (l *listener) dress(listeners []configs.Listener) {
	first := slices.IndexFunc(l.shards, func(fd int) bool { return fd >= 0 })
	l.config = configs.Listener{
		Name: l.name, Backlog: -1, // not known, so that it is set anew
		Address: configs.Address{Network: l.local.Network, Addr: l.local.Addr, DualStack: l.local.DualStack, Path: l.local.Path},
	}
	if l.local.Network != "tcp" {
		if !l.isBehind(l.local.Path, l.shards[first]) {
			l.config.Address = configs.Address{} // no client finds it any more
			return
		}
		l.file, _ = identify(l.local.Path) // it was there a moment ago
		if info, err := os.Lstat(l.local.Path); err == nil {
			l.config.Mode = info.Mode().Perm()
		}
	} else if seconds, err := unix.GetsockoptInt(l.shards[first], unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); err == nil {
		l.config.Deferred = seconds > 0
	}
	for _, want := range listeners {
		if e := endpoint(want.Address); answersTo(l.local, e) && (!anyPort(e) || want.Name == l.name) {
			l.config.Address = want.Address
			return
		}
	}
}

// isBehind reports whether a listening unix socket is the one that clients of path reach: both name the process that has called listen.
func (l *listener) isBehind(path string, fd int) bool {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && cred.Pid != 0 && int(cred.Pid) == peerPid(path)
}

// complete opens the shards that adopted listeners in service lack, so that each of so many slots has one. They listen at once: the
// address is served already. In the kernel's group they come last: in place of one that was in the middle, this is another order than that
// of the slots. One that is missing at the end changes nothing, whether it was there before or not.
func (s *shardSet) complete(slots int) error {
	for _, l := range s.listeners {
		if !l.adopted || l.leaving {
			continue
		}
		wanted := slots
		if l.shared {
			wanted = 1
		} else if err := netcore.Unsteer(l.shards[slices.IndexFunc(l.shards, func(fd int) bool { return fd >= 0 })]); err != nil {
			return fmt.Errorf("listen %q: %w", l.name, err)
		}
		for i := range max(wanted, len(l.shards)) {
			if l.shard(i) >= 0 {
				continue
			}
			fd, err := netcore.Bind(l.local, l.options())
			if err == nil {
				if err = netcore.StartListening(fd, l.options()); err != nil {
					_ = netcore.Close(fd)
				}
			}
			if err != nil {
				return fmt.Errorf("listen %q: %w", l.name, err)
			}
			if i == len(l.shards) {
				l.shards = append(l.shards, fd)
			} else {
				l.shards[i], l.unknown = fd, true
			}
		}
	}
	return nil
}

// spare keeps what the children of others need: the files of their unix sockets.
func (s *shardSet) spare() {
	for _, l := range s.listeners {
		if l.adopted {
			l.file = fileID{}
		}
	}
}

// generationAfter is the number of this master's first generation: above all that are served.
func (m *master) generationAfter() uint64 {
	highest := uint64(0)
	if s := m.succession; s != nil {
		highest = min(s.bequest.Generation, maxOrphanNumber)
	}
	for _, o := range m.orphans {
		highest = max(highest, o.said.Generation)
	}
	return highest + 1
}

// explain adds to the obstacles of a start what the children that could not be taken over have to do with them.
func (m *master) explain(err error) error {
	for _, l := range m.missed {
		err = errors.Join(err, fmt.Errorf("child %d of an earlier master still runs and cannot be taken over (%s): %w: wait for its orphan_timeout, or end its process",
			l.index, filepath.Join(m.runtime.children, l.socket), l.err))
	}
	return err
}

// slotsFor is how many slots a start needs: the orphans have places beyond the number of children too, until they have left.
func (m *master) slotsFor(children int) int {
	for _, o := range m.orphans {
		if !o.said.Draining {
			children = max(children, o.index+1)
		}
	}
	return children
}

// abandonOrphans gives up all that this start has taken over and not entered yet. They wait for another master.
func (m *master) abandonOrphans() {
	for _, o := range m.orphans {
		o.letGo()
	}
	if len(m.orphans) > 0 {
		m.shards.spare()
	}
	m.orphans = nil
}

// enterOrphans makes lives of the orphans. It is the loop's first act.
func (m *master) enterOrphans() {
	for _, l := range m.missed {
		m.log.Error("a child of an earlier master cannot be taken over: it serves what it served until orphan_timeout has passed; end its process to be rid of it",
			zap.Int("child", l.index), zap.String("socket", l.socket), zap.Error(l.err))
		m.emit(EventUnreachable, nil, fmt.Sprintf("child %d of an earlier master cannot be taken over: %v", l.index, l.err))
	}
	m.missed = nil
	orphans := m.orphans
	m.orphans = nil
	m.adoptValues(orphans)
	for _, o := range orphans {
		m.enterOrphan(o)
	}
	if !m.busy && m.o.Prepare == nil {
		m.alignOrphans()
	}
}

// enterOrphan makes a life of an orphan, which is this function's.
func (m *master) enterOrphan(o *orphan) {
	s := &slot{index: o.index} // of one that drains, and whose place nobody needs
	if o.index < len(m.slots) {
		s = m.slots[o.index]
	}
	c := m.lifeOf(o, s)
	m.enterLife(c, o)
	switch {
	case c.state == Draining:
	case s.current == nil:
		s.current, s.due, s.starts = c, time.Time{}, 1
	default: // the one before was about to leave
		before := s.current
		s.current = c
		m.dismiss(before)
	}
}

// lifeOf makes the books of a life of an orphan, at a place.
func (m *master) lifeOf(o *orphan, s *slot) *child {
	now := m.now()
	c := &child{
		slot: s, state: Serving, since: now, born: now, served: now, version: o.said.Version, generation: o.said.Generation,
		leases: leases{held: map[shardID]lease{}}, told: map[string]uint64{}, legacy: legacy{adopted: true}, socketName: o.socket,
	}
	for _, k := range o.kept {
		c.told[k.Name] = max(c.told[k.Name], k.Revision)
	}
	for _, shard := range o.shards {
		c.held[shard.id] = lent
	}
	if c.misfit = m.misfitOf(o); c.misfit == "" && !o.said.Accepting {
		c.misfit = "it has stopped accepting, by an order of the master before"
	}
	if o.said.Draining {
		c.state, c.asked, c.released = Draining, true, true
		c.due = now.Add(m.config.DrainTimeout + m.bounds.drained)
	}
	return c
}

// enterLife takes the orphan's process, and what it has of the board. It owns the orphan.
func (m *master) enterLife(c *child, o *orphan) {
	p := adoptProcess(o, func(event any) { m.post(c, event) }, m.sink.write, m.printed(c))
	c.proc = p
	m.lives[c] = struct{}{}
	m.openLife(c, o.life)
	o.life = nil
	past := o.past
	o.past = nil
	m.openPast(past)
	o.forget()
	m.log.Info("child of an earlier master is taken over", append(c.fields(), zap.String("version", c.version), zap.Uint64("generation", c.generation),
		zap.Bool("draining", o.said.Draining))...)
	m.emit(EventAdopted, c, fmt.Sprintf("taken over from an earlier master; it serves generation %d", c.generation))
	for _, r := range o.early {
		m.handle(c, r)
	}
	o.early = nil
}

// misfitOf says why an orphan cannot stay, however well it serves; "": it can.
func (m *master) misfitOf(o *orphan) string {
	switch {
	case o.said.Version != m.o.Version:
		return fmt.Sprintf("it is of version %q", o.said.Version)
	case !sameImage(o.pid):
		return "it is of another executable"
	case m.counters != nil && (o.sums == nil || !sameFile(o.sums, m.counters.File())):
		return "it counts shared counters of its own"
	case m.past != nil && m.past.File() != nil && !sameFile(o.past, m.past.File()):
		return "it keeps the sums of another master"
	}
	return ""
}

// sameImage reports whether a process runs the executable that this one does: the same file, and not only one of the same name. What cannot
// be read is believed.
func sameImage(pid int) bool {
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	own, err := os.Stat("/proc/self/exe")
	return err != nil || os.SameFile(theirs, own)
}

func sameFile(a, b *os.File) bool {
	one, err1 := a.Stat()
	other, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}

// adoptCounters takes the segment of the shared counters over, if the orphans' program has registered the same; nil: begin anew.
func (m *master) adoptCounters() {
	for _, o := range m.orphans {
		if o.sums == nil || m.counters != nil {
			continue
		}
		segment, err := m.o.Shared.Resume(o.sums, o.said.Counters)
		if err != nil {
			m.log.Warn("the shared counters of an earlier master cannot be taken over", zap.Int("child", o.index), zap.Error(err))
			continue
		}
		m.counters = segment
	}
}

// inheritBoard takes the sums and the shared values of the predecessor over, and its counters if the program has registered the same.
func (m *master) inheritBoard() {
	s := m.succession
	if s == nil {
		return
	}
	if s.past != nil {
		m.openPast(s.past)
	}
	if s.counters != nil {
		segment, err := m.o.Shared.Resume(s.counters, s.bequest.Counters)
		if err != nil {
			m.log.Warn("the shared counters of the version before cannot be taken over; they begin anew", zap.Error(err))
			_ = s.counters.Close()
		}
		m.counters = segment
	}
	for _, k := range s.kept {
		if v := m.o.Shared.Named(k.Name); v != nil && len(k.Text) <= board.MaxValue && k.Revision <= maxOrphanNumber {
			v.Follow(string(k.Text), k.Revision)
		}
	}
	s.past, s.counters, s.kept = nil, nil, nil
}

// adoptValues takes the texts of the shared values over: the highest revision wins, and of two texts with one number that this process
// has, or else the first child's, which then gets the next one, so that all follow it.
func (m *master) adoptValues(orphans []*orphan) {
	for _, v := range m.o.Shared.Values() {
		text, revision := v.Reading()
		torn := false
		for _, o := range orphans {
			for _, k := range o.kept {
				switch {
				case k.Name != v.Name() || k.Revision < revision:
				case k.Revision > revision:
					text, revision, torn = string(k.Text), k.Revision, false
				case string(k.Text) != text:
					torn = true
				}
			}
		}
		v.Follow(text, revision)
		if torn {
			v.Advance(text)
		}
	}
}

// alignOrphans brings the adopted lives to this master's configuration.
func (m *master) alignOrphans() {
	for c := range m.lives {
		if c.adopted && c.state == Serving && c.misfit == "" {
			m.align(c)
			m.alignDue = m.now().Add(m.bounds.prepare)
		}
	}
	m.admit()
	m.announce()
}

// unaligned: it is on its way to this master's first configuration.
func (m *master) unaligned(c *child) bool {
	return c.adopted && c.misfit == "" && c.generation < m.firstGeneration
}

// refuses follows an adopted life that cannot serve the configuration: it goes on with what it has until a successor has taken its place.
func (m *master) refuses(c *child, why string) {
	c.misfit = "it cannot serve the configuration: " + why
	m.log.Warn("an adopted child cannot be brought to the configuration; it gets a successor", append(c.fields(), zap.String("reason", why))...)
	m.announce()
}

// checkAdopted ends the time that adopted lives have for the first configuration, and replaces those that cannot stay. It says when it has
// to be called again.
func (m *master) checkAdopted(now time.Time) (next time.Time) {
	if !m.alignDue.IsZero() && !m.alignDue.After(now) {
		m.alignDue = time.Time{}
		for c := range m.lives {
			if c.state == Serving && m.unaligned(c) {
				m.refuses(c, fmt.Sprintf("no answer within %v", m.bounds.prepare))
			}
		}
	}
	next = m.alignDue
	if m.phase != serving {
		return next
	}
	for c := range m.lives {
		if c.misfit == "" || c.state != Serving || c.slot.current != c || c.slot.heir != nil || c.slot.retiring {
			continue
		}
		if c.retry.After(now) {
			if next.IsZero() || c.retry.Before(next) {
				next = c.retry
			}
			continue
		}
		c.retry = now.Add(misfitRetry)
		m.restart(c.slot.index, "adopted: "+c.misfit, nil)
	}
	return next
}

// letGo gives the adopted lives up, for a start that fails: they wait for another master, with a time of their own.
func (m *master) letGo() {
	m.abandonOrphans()
	for c := range m.lives {
		if !c.adopted || c.state >= Ending {
			continue
		}
		m.shards.spare()
		c.proc.Release()
		m.enter(c, Ending, 0)
		m.enter(c, Ended, 0)
		delete(m.lives, c)
		if c.slot.current == c {
			c.slot.current = nil
		}
	}
}

// makeSocket gives a life that is about to be started the socket by which a later master finds it.
func (m *master) makeSocket(c *child) (err error) {
	if m.runtime == nil || m.o.Host != nil { // a goroutine ends with this process
		return nil
	}
	c.socket, c.socketName, err = m.runtime.childSocket(c.slot.index)
	return err
}

// removeSocket removes it when the life is over.
func (m *master) removeSocket(c *child) {
	if c.socketName != "" {
		m.runtime.removeSocket(c.socketName)
		c.socketName = ""
	}
}
