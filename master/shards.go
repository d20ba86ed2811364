package master

import (
	"errors"
	"fmt"
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

// listener is a configured address with its shards.
type listener struct {
	name   string
	local  netcore.Endpoint // with the real port
	shards []int            // descriptors, one per child; one for all children when local is a unix socket
	file   fileID           // of a unix socket
}

// shardSet is all listeners of a generation. The master opens every shard and keeps it until the
// end: a socket that a child owned alone would die with it, and its queue with it (FACTS 1).
// Owner: the loop.
type shardSet struct {
	listeners []*listener
}

func endpoint(a configs.Address) netcore.Endpoint {
	return netcore.Endpoint{Network: a.Network, Addr: a.Addr, DualStack: a.DualStack, Path: a.Path}
}

// probeListeners says of every address whether it is free. It must come before the first shard of
// any: with SO_REUSEPORT the kernel lets a second server of the same user bind the same port
// silently (FACTS 47).
func probeListeners(listeners []configs.Listener) []error {
	var problems []error
	for _, l := range listeners {
		e := endpoint(l.Address)
		err := netcore.Probe(e)
		switch {
		case err == nil:
		case errors.Is(err, unix.EADDRINUSE):
			holder, ok := netcore.Holder(e)
			if !ok {
				holder = "another process"
			}
			problems = append(problems, fmt.Errorf("listen %q: %s is in use by %s", l.Name, e, holder))
		case errors.Is(err, unix.EACCES):
			problems = append(problems, fmt.Errorf("listen %q: %s: permission denied: a port below 1024 needs root or CAP_NET_BIND_SERVICE", l.Name, e))
		default:
			problems = append(problems, fmt.Errorf("listen %q: %s: %w", l.Name, e, err))
		}
	}
	return problems
}

// openShards opens a shard of every listener for each child. After an error nothing is open.
func openShards(listeners []configs.Listener, children int) (_ *shardSet, err error) {
	s := new(shardSet)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, c := range listeners {
		l := &listener{name: c.Name, local: endpoint(c.Address)}
		s.listeners = append(s.listeners, l)
		if err := l.open(c, children); err != nil {
			return nil, fmt.Errorf("listen %q: %w", c.Name, err)
		}
	}
	return s, nil
}

func (l *listener) open(c configs.Listener, children int) error {
	tcp := l.local.Network == "tcp"
	options := netcore.ListenOptions{ReusePort: tcp, Backlog: c.Backlog, Mode: c.Mode}
	if c.Deferred {
		options.DeferAccept = deferBound
	}
	if !tcp {
		children = 1
	}
	for i := range children {
		fd, err := netcore.Listen(l.local, options)
		if err != nil {
			return err
		}
		l.shards = append(l.shards, fd)
		if i > 0 {
			continue
		}
		if !tcp {
			if l.file, err = identify(l.local.Path); err != nil {
				return err
			}
			continue
		}
		// Of port 0 the first shard gets a port, and the others share it.
		local, err := netcore.Local(fd)
		if err != nil {
			return err
		}
		l.local.Addr = local.Addr
	}
	return nil
}

// lend makes the messages that give a child its shards, each with its files beside it. There is
// at least one message.
func (s *shardSet) lend(child int) (messages []*control.Lend, files [][]int) {
	m, fds := new(control.Lend), []int(nil)
	for _, l := range s.listeners {
		if len(fds) == control.MaxFiles {
			messages, files = append(messages, m), append(files, fds)
			m, fds = new(control.Lend), nil
		}
		index := child
		if l.local.Network != "tcp" {
			index = 0
		}
		m.Shards = append(m.Shards, control.Shard{Listener: l.name, Index: index, Address: l.local.String()})
		fds = append(fds, l.shards[index])
	}
	return append(messages, m), append(files, fds)
}

// urls is every listener as an operator opens it, in the order of the configuration.
func (s *shardSet) urls() string {
	var all []string
	for _, l := range s.listeners {
		u := l.local.String()
		if l.local.Network == "tcp" {
			u = "http://" + u
		}
		all = append(all, u)
	}
	return strings.Join(all, ", ")
}

// close closes every shard. What still waits in a queue is reset: children must have stopped
// accepting before.
func (s *shardSet) close() {
	for _, l := range s.listeners {
		if l.file != (fileID{}) {
			l.file.remove(l.local.Path)
		}
		for _, fd := range l.shards {
			_ = netcore.Close(fd)
		}
		l.shards, l.file = nil, fileID{}
	}
}
