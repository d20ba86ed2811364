package master

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/control"
)

// deferBound is how long the kernel holds a connection of a deferred listener back while no data
// comes.
const deferBound = 10 * time.Second

// listener is an address with its shards. It lives as long as its sockets, through any number of generations and under any name.
type listener struct {
	id     uint32
	name   string // in the generation that serves, or in the last one that had it
	config configs.Listener
	local  netcore.Endpoint // with the real port
	shared bool             // one socket serves all children: it has no siblings
	shards []int            // descriptors, by slot; one when shared
	file   fileID           // of a unix socket

	units int  // so many shards, the first ones, are of socket units: what is closed here goes on to listen there
	kept  bool // the supervisor keeps the shards for the next master: a unix socket's file stays

	adopted bool // of an earlier master, whose children have brought it

	leaving bool // no generation has it any more: it is closed once every child has returned it
	steered int  // the kernel sends new connections to so many shards, the first ones; 0: to all
	refused bool // the kernel could not be told
	unknown bool // the order of the shards in the kernel's group is not that of the slots
}

// shardID names a shard: a listener and a slot.
type shardID struct {
	listener uint32
	index    int
}

// shardSet is all listeners. The master opens every shard and keeps it until the
// end: a socket that a child owned alone would die with it, and its queue with it (FACTS 1).
// Owner: the loop.
type shardSet struct {
	listeners []*listener // in the order of the configuration; those that leave come last
	lastID    uint32
	inherited *inheritedSet // what the supervisor has passed; nil: nothing, or the start is over
}

func endpoint(a configs.Address) netcore.Endpoint { return endpointOn(a, netcore.HasIPv6()) }

// endpointOn is endpoint on a machine that has IPv6, or does not: all addresses are those of IPv4 then.
func endpointOn(a configs.Address, ipv6 bool) netcore.Endpoint {
	e := netcore.Endpoint{Network: a.Network, Addr: a.Addr, DualStack: a.DualStack, Path: a.Path}
	if e.DualStack && !ipv6 {
		e.Addr, e.DualStack = netip.AddrPortFrom(netip.IPv4Unspecified(), e.Addr.Port()), false
	}
	return e
}

// probe says whether the address of a listener is free. It must come before the first shard of
// any: with SO_REUSEPORT the kernel lets a second server of the same user bind the same port
// silently (FACTS 47).
func probe(l configs.Listener) error { return probeKnowing(l, func(string) string { return "" }) }

// probeKnowing is probe for who may know the holder of an address; where that is "" the kernel is asked.
func probeKnowing(l configs.Listener, holderOf func(address string) string) error {
	e := endpoint(l.Address)
	err := netcore.Probe(e)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		holder, ok := holderOf(e.String()), true
		if holder == "" {
			holder, ok = netcore.Holder(e)
		}
		if !ok {
			holder = "another process"
		}
		return fmt.Errorf("listen %q: %s is in use by %s", l.Name, e, holder)
	}
	return fmt.Errorf("listen %q: %w", l.Name, unbindable(e, err))
}

// ProbePorts says of every listener of a configuration whose address cannot be had now what a start would say; nil: all can be had. It
// leaves nothing behind. holderOf names who is known to hold an address, "" for nobody: of several processes that have a socket the kernel
// names any, such as systemd, which keeps copies.
func ProbePorts(c *configs.Config, holderOf func(address string) string) error {
	var problems []error
	for _, l := range c.Listeners {
		err := probeKnowing(l, holderOf)
		if e := endpoint(l.Address); err == nil && e.Path != "" {
			if folder := unix.Access(filepath.Dir(e.Path), unix.W_OK|unix.X_OK); folder != nil {
				err = fmt.Errorf("listen %q: %w", l.Name, unbindable(e, folder))
			}
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// unbindable says why an address cannot be bound, with the cure where there is one; nil for nil.
func unbindable(e netcore.Endpoint, err error) error {
	switch {
	case errors.Is(err, unix.EACCES) && e.Path != "":
		return fmt.Errorf("%s: permission denied: the user of the master must be allowed to write to the directory of the socket", e)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: permission denied: a port below 1024 needs root or CAP_NET_BIND_SERVICE", e)
	case errors.Is(err, unix.ENOENT) && e.Path != "":
		return fmt.Errorf("%s: the directory of the socket does not exist; create it", e)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("this machine does not have the address %s; write one that `ip address` shows, or 0.0.0.0 (IPv6: [::]) for all of them", e)
	}
	return err
}

// shardChange is what a new generation means for the listeners. Until it is committed nothing listens that did not before.
type shardChange struct {
	next   []*listener // in the order of the configuration
	opened []*listener // those of next that are new
	config []configs.Listener
}

// change finds or opens a listener for each of the configuration's, with so many shards. An address that is served already keeps its
// sockets, under whatever name. After an error nothing is open; it may hold several lines.
func (s *shardSet) change(listeners []configs.Listener, children int) (_ *shardChange, err error) {
	c := &shardChange{config: listeners}
	defer func() {
		if err != nil {
			c.abandon()
		}
	}()
	var problems []error
	for i := range listeners {
		l := s.serving(&listeners[i], c.next)
		var passed *inheritance
		if l == nil {
			passed = s.inherited.take(listeners[i].Name)
		}
		if l == nil && passed == nil && !s.overlaps(&listeners[i], c.opened) {
			if err := probe(listeners[i]); err != nil {
				problems = append(problems, err)
				continue
			}
		}
		if l == nil {
			s.lastID++
			l = &listener{id: s.lastID, local: endpoint(listeners[i].Address), config: listeners[i], name: listeners[i].Name}
			l.shared = l.local.Network != "tcp"
			c.opened = append(c.opened, l)
			if err := errors.Join(l.inherit(passed), unbindable(l.local, l.bind(children))); err != nil {
				problems = append(problems, fmt.Errorf("listen %q: %w", listeners[i].Name, err))
				continue
			}
		}
		c.next = append(c.next, l)
	}
	return c, errors.Join(problems...)
}

// serving finds the listener whose address is that of want and that none of taken is. A port that the kernel has chosen is kept by the
// block's name.
func (s *shardSet) serving(want *configs.Listener, taken []*listener) *listener {
	for _, l := range s.listeners {
		if l.config.Address != want.Address || slices.Contains(taken, l) {
			continue
		}
		if want.Address.Network == "tcp" && want.Address.Addr.Port() == 0 && l.name != want.Name {
			continue
		}
		return l
	}
	return nil
}

// overlaps reports whether a listener of ours holds the port already, on another address: then the probe would find ourselves.
func (s *shardSet) overlaps(want *configs.Listener, opened []*listener) bool {
	port := want.Address.Addr.Port()
	return want.Address.Network == "tcp" && port != 0 && slices.ContainsFunc(slices.Concat(s.listeners, opened), func(l *listener) bool {
		return l.local.Network == "tcp" && l.local.Addr.Port() == port && (wildcard(l.local.Addr) || wildcard(want.Address.Addr))
	})
}

func wildcard(a netip.AddrPort) bool { return a.Addr().IsUnspecified() }

// inherit makes what the supervisor has passed the first shards of a new listener; nil: it has passed nothing. They listen already.
func (l *listener) inherit(passed *inheritance) error {
	if passed == nil {
		return nil
	}
	l.shards, l.local, l.shared, l.units = passed.fds, passed.local, passed.shared, passed.units
	l.file, l.kept, l.unknown = passed.file, passed.units == 0, passed.unordered
	for _, fd := range l.shards {
		if err := netcore.Adjust(fd, l.options()); err != nil {
			return err
		}
	}
	return nil
}

// mergeInherited ends the taking over of what the supervisor has passed. Listeners that orphans have brought hold most of it already; what
// they lack, since its child could not be reached, fills their gaps.
func (s *shardSet) mergeInherited() error {
	defer func() {
		s.inherited.close()
		s.inherited = nil
	}()
	for _, l := range s.listeners {
		if l.leaving {
			continue
		}
		if passed := s.inherited.take(l.name); passed != nil {
			if err := l.merge(passed); err != nil {
				return fmt.Errorf("listen %q: %w", l.name, err)
			}
		}
	}
	return nil
}

// merge adds to a listener that has shards those that were passed for it and that it lacks. It owns what was passed.
func (l *listener) merge(passed *inheritance) error {
	l.kept = l.kept || passed.units == 0
	for i, fd := range passed.fds {
		number := socketNumber(fd)
		at := slices.IndexFunc(l.shards, func(other int) bool { return other >= 0 && socketNumber(other) == number })
		switch {
		case at >= 0 || l.local != passed.local || l.shared:
			_ = netcore.Close(fd)
		default:
			if at = slices.Index(l.shards, -1); at < 0 {
				at = len(l.shards)
				l.shards = append(l.shards, -1)
			}
			l.shards[at], l.unknown = fd, true
			if err := netcore.Adjust(fd, l.options()); err != nil {
				closeFds(passed.fds[i+1:])
				return err
			}
		}
		if i < passed.units && at >= 0 {
			l.units = max(l.units, at+1)
		}
	}
	return nil
}

// bind makes the shards of a new listener that it lacks, which do not listen yet.
func (l *listener) bind(children int) error {
	if l.shared {
		children = 1
	}
	for len(l.shards) < children {
		if err := l.bindNext(); err != nil {
			return err
		}
	}
	return nil
}

func (l *listener) options() netcore.ListenOptions {
	o := netcore.ListenOptions{ReusePort: !l.shared, Backlog: l.config.Backlog, Mode: l.config.Mode}
	if l.config.Deferred {
		o.DeferAccept = deferBound
	}
	return o
}

// bindNext makes one more shard.
func (l *listener) bindNext() error {
	fd, err := netcore.Bind(l.local, l.options())
	if err != nil {
		return err
	}
	l.shards = append(l.shards, fd)
	if len(l.shards) > 1 {
		return nil
	}
	if l.local.Network != "tcp" {
		l.file, err = identify(l.local.Path)
		return err
	}
	// Of port 0 the first shard gets a port, and the others share it.
	local, err := netcore.Local(fd)
	if err == nil {
		l.local.Addr = local.Addr
	}
	return err
}

// listen lets the shards from number first on listen. The kernel's group is in the order of these calls.
func (l *listener) listen(first int) error {
	for _, fd := range l.shards[first:] {
		if err := netcore.StartListening(fd, l.options()); err != nil {
			return fmt.Errorf("listen %q: %w", l.name, err)
		}
	}
	return nil
}

// abandon closes what was opened for a change that is not committed.
func (c *shardChange) abandon() {
	for _, l := range c.opened {
		l.close()
	}
}

// start lets the new listeners listen: the last step that can fail.
func (c *shardChange) start() error {
	for _, l := range c.opened {
		if err := l.listen(0); err != nil {
			return err
		}
	}
	return nil
}

// commit makes the change the present: listeners that no generation has any more leave. It returns what went wrong with options of living
// sockets, which go on with what they had.
func (s *shardSet) commit(c *shardChange) []error {
	var problems []error
	for i, l := range c.next {
		if !slices.Contains(c.opened, l) {
			if err := l.adjust(c.config[i]); err != nil {
				problems = append(problems, fmt.Errorf("listen %q: %w", c.config[i].Name, err))
			}
		}
	}
	s.install(c)
	return problems
}

// install is commit for the books alone: living sockets keep their options.
func (s *shardSet) install(c *shardChange) {
	for i, l := range c.next {
		l.leaving = false // one that was about to leave is wanted again
		l.config, l.name = c.config[i], c.config[i].Name
	}
	all := slices.Clone(c.next)
	for _, l := range s.listeners {
		if !slices.Contains(c.next, l) {
			l.leaving = true
			all = append(all, l)
		}
	}
	s.listeners = all
}

// bequeathed leaves the files of the unix sockets that another master goes on with to it.
func (s *shardSet) bequeathed(ids []uint32) {
	for _, l := range s.listeners {
		if slices.Contains(ids, l.id) {
			l.file = fileID{}
		}
	}
}

// own makes the files of the unix sockets ours, which were the predecessor's.
func (s *shardSet) own() {
	for _, l := range s.listeners {
		if l.adopted && !l.leaving && l.shared {
			l.file, _ = identify(l.local.Path) // one that is gone is nobody's
		}
	}
}

// count is how many shards there are.
func (s *shardSet) count() (n int) {
	for _, l := range s.listeners {
		n += len(l.shards)
	}
	return n
}

// adjust gives living sockets the options of a new configuration.
func (l *listener) adjust(c configs.Listener) error {
	old := l.config
	if old.Backlog == c.Backlog && old.Deferred == c.Deferred && old.Mode == c.Mode {
		return nil
	}
	l.config = c
	if l.local.Network != "tcp" && old.Mode != c.Mode {
		if err := os.Chmod(l.local.Path, c.Mode); err != nil {
			return err
		}
	}
	for _, fd := range l.shards {
		if l.local.Network == "tcp" && old.Deferred != c.Deferred {
			if err := netcore.SetDeferAccept(fd, l.options().DeferAccept); err != nil {
				return err
			}
		}
		if old.Backlog != c.Backlog {
			if err := netcore.StartListening(fd, l.options()); err != nil { // listen(2) again sets the backlog alone
				return err
			}
		}
	}
	return nil
}

// openShards opens a shard of every listener for each child, and listens. After an error nothing is open.
func openShards(listeners []configs.Listener, children int) (*shardSet, error) {
	s := new(shardSet)
	c, err := s.change(listeners, children)
	if err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		c.abandon()
		return nil, err
	}
	s.commit(c)
	return s, nil
}

// grow opens shards for children slots. After an error every listener has the shards that it had.
func (s *shardSet) grow(children int) (err error) {
	before := map[*listener]int{}
	defer func() {
		if err != nil {
			for l, n := range before {
				l.closeFrom(n)
			}
		}
	}()
	for _, l := range s.listeners {
		if l.shared || l.leaving || len(l.shards) >= children {
			continue
		}
		before[l] = len(l.shards)
		for len(l.shards) < children {
			if err := l.bindNext(); err != nil {
				return fmt.Errorf("listen %q: %w", l.name, err)
			}
		}
	}
	for l, n := range before { // all are bound: hardly anything can refuse now
		if err := l.listen(n); err != nil {
			return err
		}
	}
	return nil
}

// closeFrom closes the shards from number n on, the last one first.
func (l *listener) closeFrom(n int) {
	for len(l.shards) > n {
		last := len(l.shards) - 1
		_ = netcore.Close(l.shards[last])
		l.shards = l.shards[:last]
	}
}

// shrink closes the shards beyond so many slots. What still waits in a queue is reset: they were parked before.
func (s *shardSet) shrink(children int) {
	for _, l := range s.listeners {
		for !l.shared && len(l.shards) > children {
			last := len(l.shards) - 1
			_ = netcore.Close(l.shards[last])
			l.shards = l.shards[:last]
		}
	}
}

// steer lets the kernel send new connections to the first so many shards of every listener. It returns what went wrong: then the hash goes
// on to spread them over all shards, which are all accepted from.
func (s *shardSet) steer(children int) (problems []error) {
	for _, l := range s.listeners {
		// One that leaves too: a reload may want it again.
		if l.shared || l.unknown || l.refused || len(l.shards) == 0 {
			continue
		}
		want := children
		if children >= len(l.shards) {
			want = 0
		}
		if want == l.steered {
			continue
		}
		var err error
		if want == 0 {
			err = netcore.Unsteer(l.shards[0])
		} else {
			err = netcore.Steer(l.shards[0], want)
		}
		if err != nil {
			l.refused = true
			problems = append(problems, fmt.Errorf("listen %q: %w", l.name, err))
			continue
		}
		l.steered = want
	}
	return problems
}

// steeredFrom reports whether no new connection reaches a shard of this number any more.
func (s *shardSet) steeredFrom(index int) bool {
	return !slices.ContainsFunc(s.listeners, func(l *listener) bool {
		return !l.shared && index < len(l.shards) && (l.steered == 0 || l.steered > index)
	})
}

// shard returns the descriptor of a shard; -1: there is none.
func (l *listener) shard(index int) int {
	if index < 0 || index >= len(l.shards) {
		return -1
	}
	return l.shards[index]
}

// ids are the listeners of the present generation by their names, as children get them.
func (c *shardChange) ids() []control.Listener {
	ids := make([]control.Listener, len(c.next))
	for i, l := range c.next {
		ids[i] = control.Listener{Name: c.config[i].Name, ID: l.id}
	}
	return ids
}

// ids are the listeners of the generation that serves.
func (s *shardSet) ids() []control.Listener {
	var ids []control.Listener
	for _, l := range s.listeners {
		if !l.leaving {
			ids = append(ids, control.Listener{Name: l.name, ID: l.id})
		}
	}
	return ids
}

// urls is every listener as an operator opens it, in the order of the configuration.
func (s *shardSet) urls() string { return strings.Join(s.allURLs(), ", ") }

func (s *shardSet) allURLs() []string {
	var all []string
	for _, l := range s.listeners {
		if l.leaving {
			continue
		}
		u := l.local.String()
		if l.local.Network == "tcp" {
			u = "http://" + u
		}
		all = append(all, u)
	}
	return all
}

// most is the greatest number of shards that a listener has.
func (s *shardSet) most() (n int) {
	for _, l := range s.listeners {
		n = max(n, len(l.shards))
	}
	return n
}

// close closes every shard. What still waits in a queue is reset: children must have stopped
// accepting before.
func (s *shardSet) close() {
	for _, l := range s.listeners {
		l.close()
	}
}

func (l *listener) close() {
	if l.file != (fileID{}) && (!l.kept || l.leaving) {
		l.file.remove(l.local.Path)
	}
	for _, fd := range l.shards {
		_ = netcore.Close(fd)
	}
	l.shards, l.file = nil, fileID{}
}
