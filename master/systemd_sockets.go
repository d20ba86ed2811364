package master

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// Sockets come from the supervisor in two ways, by the same variables (sd_listen_fds(3)):
//
//   - a socket unit's, opened before the service was started: it belongs to the unit, which may hand it to the next process too;
//   - our own shards, which an earlier process of this service has put into the supervisor's store, so that no connect is refused and no
//     queue is lost while there is no master (FACTS 23). Their names say which shard they are.
//
// What a socket really is, only the kernel is asked.

const (
	// firstInherited is the number of the first descriptor that is passed (SD_LISTEN_FDS_START).
	firstInherited = 3
	// maxInherited bounds LISTEN_FDS, which is a number in the environment.
	maxInherited = 1 << 16
	// maxStoreName is how long a descriptor's name may be (sd_notify(3), FDNAME).
	maxStoreName = 255
	// ownName begins the names of our shards in the store.
	ownName = "tined"
)

// inheritance is what a listener got from the supervisor.
type inheritance struct {
	fds   []int // in the order of the shards
	local netcore.Endpoint
	// shared: the socket cannot have siblings, so that all children must accept from this one.
	shared bool
	// units is how many of fds, the first ones, are of socket units. They are not put into the store, must stay in use as long as the unit
	// keeps them, and a unix socket's file is not ours to remove.
	units int
	// unordered: the kernel's order of the group may be another one than that of fds.
	unordered bool
	file      fileID // of a unix socket that is ours
}

// inheritedSet is everything that was passed, by the name of the listener that it is for.
type inheritedSet struct {
	byListener map[string]*inheritance
	unwanted   []string          // names of what was stored and no listener wants
	stored     map[string]uint64 // what is in the supervisor's store, whether a listener wants it or not: names and socket numbers
}

// passedSocket is one descriptor that was passed.
type passedSocket struct {
	fd        int
	name      string // as its FDNAME says; "" and "unknown" say nothing
	local     netcore.Endpoint
	reusePort bool
	own       *shardName // nil: a socket unit's
	taken     bool
}

// inheritSockets takes over what the supervisor has passed and finds the listener for each: a shard of ours by its name and its address, a
// socket unit's by address, and by name where no listener has its address. All of it is close-on-exec from then on. What nobody wants
// is closed, and a warning says why. The set is never nil.
func inheritSockets(env func(string) string, listeners []configs.Listener) (_ *inheritedSet, warnings []string) {
	count, err := passedCount(env)
	if err != nil {
		warnings = append(warnings, err.Error())
	}
	return inheritFrom(firstInherited, count, strings.Split(env("LISTEN_FDNAMES"), ":"), listeners, warnings)
}

// passedCount is how many descriptors were passed to this process.
func passedCount(env func(string) string) (int, error) {
	pid, fds := env("LISTEN_PID"), env("LISTEN_FDS")
	if pid == "" || fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return 0, nil // they are another process's, and its numbers mean other files here
	}
	count, err := strconv.Atoi(fds)
	if err != nil || count < 0 || count > maxInherited {
		return 0, fmt.Errorf("LISTEN_FDS=%q is no number of sockets; none is taken over", fds)
	}
	return count, nil
}

func inheritFrom(first, count int, names []string, listeners []configs.Listener, warnings []string) (*inheritedSet, []string) {
	s := &inheritedSet{byListener: map[string]*inheritance{}, stored: map[string]uint64{}}
	var all []*passedSocket
	for i := range count {
		p := &passedSocket{fd: first + i}
		if i < len(names) {
			p.name = names[i]
		}
		if err := netcore.CloseOnExec(p.fd); err != nil { // there is no such descriptor: nothing to close either
			warnings = append(warnings, fmt.Sprintf("socket %s from the supervisor: %v", p.title(), err))
			continue
		}
		p.own = parseShardName(p.name)
		if p.own != nil {
			s.stored[p.name] = socketNumber(p.fd)
		}
		var err error
		if p.local, p.reusePort, err = netcore.Listening(p.fd); err != nil {
			warnings = append(warnings, fmt.Sprintf("socket %s from the supervisor is closed: %v (a socket unit needs ListenStream= and Accept=no)", p.title(), err))
			_ = unix.Close(p.fd)
			continue
		}
		all = append(all, p)
	}
	for i := range listeners {
		s.inheritUnit(&listeners[i], all, func(p *passedSocket) bool { return p.local == endpoint(listeners[i].Address) })
	}
	for i := range listeners {
		s.inheritShards(&listeners[i], all)
	}
	for i := range listeners {
		s.inheritUnit(&listeners[i], all, func(p *passedSocket) bool {
			if p.name != listeners[i].Name {
				return false
			}
			if e := endpoint(listeners[i].Address); !anyPort(e) {
				warnings = append(warnings, fmt.Sprintf("listen %q: the socket unit listens on %s, the configuration says %s: the unit's socket is used; make them agree",
					listeners[i].Name, p.local, e))
			}
			return true
		})
	}
	for _, p := range all {
		switch {
		case p.taken:
			continue
		case p.own != nil:
			s.unwanted = append(s.unwanted, p.name)
			warnings = append(warnings, fmt.Sprintf("stored socket %s (%s) is closed: no `listen` block wants it any more, or its file is gone", p.local, p.title()))
		default:
			warnings = append(warnings, fmt.Sprintf("socket %s of unit socket %s is closed here: no `listen` block has this address or name; stop the unit, "+
				"or its clients wait for ever", p.local, p.title()))
		}
		_ = unix.Close(p.fd)
	}
	return s, warnings
}

func (p *passedSocket) title() string { return fmt.Sprintf("%d %q", p.fd, p.name) }

// inheritUnit gives a listener that has nothing yet the sockets of socket units that fit.
func (s *inheritedSet) inheritUnit(l *configs.Listener, all []*passedSocket, fits func(*passedSocket) bool) {
	if s.byListener[l.Name] != nil {
		return
	}
	var h *inheritance
	for _, p := range all {
		if p.own != nil || p.taken || h != nil && (h.shared || p.local != h.local) || !fits(p) {
			continue
		}
		if h == nil {
			h = &inheritance{local: p.local, shared: !p.reusePort || !canJoin(p.local)}
			s.byListener[l.Name] = h
		}
		p.taken = true
		h.fds = append(h.fds, p.fd)
		h.units++
		h.unordered = h.units > 1 // which unit was started first is not known
	}
}

// inheritShards gives a listener the shards of its own that were stored, behind those of a socket unit.
func (s *inheritedSet) inheritShards(l *configs.Listener, all []*passedSocket) {
	e, key := endpoint(l.Address), storeKey(l.Name, endpoint(l.Address))
	h := s.byListener[l.Name]
	var found []*passedSocket
	for _, p := range all {
		if p.own == nil || p.taken || p.own.key != key || !answersTo(p.local, e) {
			continue
		}
		if e.Network == "unix" {
			// Clients find the socket by its file, and only while that is still the one.
			if id, err := identify(e.Path); err != nil || id != p.own.file {
				continue
			}
		}
		if h == nil {
			h = &inheritance{local: p.local, shared: !p.reusePort, file: p.own.file}
			s.byListener[l.Name] = h
		} else if h.shared || !p.reusePort || p.local != h.local {
			continue // sockets that cannot stand side by side, or another port of the kernel's choice
		}
		p.taken = true
		found = append(found, p)
	}
	slices.SortStableFunc(found, func(a, b *passedSocket) int { return cmp.Compare(a.own.index, b.own.index) })
	for _, p := range found {
		h.unordered = h.unordered || p.own.unordered || p.own.index != len(h.fds)
		h.fds = append(h.fds, p.fd)
	}
}

// answersTo reports whether a socket at local is one that the configuration means by e.
func answersTo(local, e netcore.Endpoint) bool {
	if anyPort(e) && local.Network == e.Network {
		return local.Addr.Addr() == e.Addr.Addr() && local.DualStack == e.DualStack
	}
	return local == e
}

func anyPort(e netcore.Endpoint) bool { return e.Network == "tcp" && e.Addr.Port() == 0 }

// canJoin reports whether this process may open siblings: the kernel wants the user who has opened the first, and a socket unit's is root's.
func canJoin(e netcore.Endpoint) bool {
	fd, err := netcore.Bind(e, netcore.ListenOptions{ReusePort: true})
	if err != nil {
		return false
	}
	_ = netcore.Close(fd)
	return true
}

// take is what a listener got, once; nil: nothing. The sockets are the caller's then, and not adjusted yet.
func (s *inheritedSet) take(listener string) *inheritance {
	if s == nil {
		return nil
	}
	h := s.byListener[listener]
	delete(s.byListener, listener)
	return h
}

// has reports whether take would find something.
func (s *inheritedSet) has(listener string) bool { return s != nil && s.byListener[listener] != nil }

// close closes what was not taken.
func (s *inheritedSet) close() {
	if s == nil {
		return
	}
	for _, h := range s.byListener {
		closeFds(h.fds)
	}
	clear(s.byListener)
}

// shardName is what the name of a stored shard says: "tined,INDEX,KEY" or "tined,INDEX,KEY,DEVICE-INODE" for a unix socket, with a ? behind
// the index when the order in the kernel's group is unknown. It is made of the address, which a socket keeps for life, and not of the
// listener's number or name: so a later master finds the same shard under the same name.
type shardName struct {
	index     int
	key       string
	file      fileID
	unordered bool
}

// storeKey is the listener in a shard's name: its address, or its block's name when the kernel chooses the port.
func storeKey(listener string, e netcore.Endpoint) string {
	if anyPort(e) {
		return "name=" + escapeStoreName(listener)
	}
	return escapeStoreName(e.String())
}

func (n shardName) String() string {
	mark, file := "", ""
	if n.unordered {
		mark = "?"
	}
	if n.file != (fileID{}) {
		file = fmt.Sprintf(",%x-%x", n.file.dev, n.file.ino)
	}
	return fmt.Sprintf("%s,%d%s,%s%s", ownName, n.index, mark, n.key, file)
}

// parseShardName is nil for a name that is none of ours.
func parseShardName(name string) *shardName {
	fields := strings.Split(name, ",")
	if len(fields) != 3 && len(fields) != 4 || fields[0] != ownName {
		return nil
	}
	number, unordered := strings.CutSuffix(fields[1], "?")
	index, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil
	}
	n := &shardName{index: int(index), key: fields[2], unordered: unordered}
	if len(fields) == 4 {
		dev, ino, _ := strings.Cut(fields[3], "-")
		var errDev, errIno error
		n.file.dev, errDev = strconv.ParseUint(dev, 16, 64)
		n.file.ino, errIno = strconv.ParseUint(ino, 16, 64)
		if errDev != nil || errIno != nil {
			return nil
		}
	}
	return n
}

// escapeStoreName makes a text fit for a part of a descriptor's name, which is ASCII without colons: other bytes become %XX. What would be too long
// becomes a digest.
func escapeStoreName(text string) string {
	const most = maxStoreName - len(ownName+",65535?,name=,ffffffffffffffff-ffffffffffffffff")
	var b strings.Builder
	for _, c := range []byte(text) {
		if c > ' ' && c < 0x7f && !strings.ContainsRune("%,:", rune(c)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() > most {
		digest := sha256.Sum256([]byte(text))
		return "%digest." + hex.EncodeToString(digest[:])
	}
	return b.String()
}

// socketNumber tells sockets apart as long as somebody has them open; 0: it cannot be read.
func socketNumber(fd int) uint64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

// socketStore keeps the supervisor's store as the master's shards are. Owner: the loop.
type socketStore struct {
	notifier *notifier
	held     map[string]uint64 // what the supervisor has: socket numbers by name
}

// update makes the store hold exactly want, descriptors by name. What another socket has now, or nothing, is dropped first: of two names for
// one socket, or two sockets of one name, the supervisor keeps the older. done is false when the supervisor has no room now: call again.
// After an error it is of no use to.
func (s *socketStore) update(want map[string]int) (done bool, err error) {
	for _, name := range slices.Sorted(maps.Keys(s.held)) {
		if fd, ok := want[name]; ok && socketNumber(fd) == s.held[name] {
			continue
		}
		if done, err := s.told(s.notifier.forget(name)); !done {
			return false, err
		}
		delete(s.held, name)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := s.held[name]; ok {
			continue
		}
		if done, err := s.told(s.notifier.store(name, want[name])); !done {
			return false, err
		}
		if s.held == nil {
			s.held = map[string]uint64{}
		}
		s.held[name] = socketNumber(want[name])
	}
	return true, nil
}

func (s *socketStore) told(err error) (bool, error) {
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	return err == nil, err
}
