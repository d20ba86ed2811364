package master

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/control"
)

// A socket unit's TCP socket without SO_REUSEPORT serves all children after a change of the master too, and listeners behind such a one get
// the shards that they lack.
func TestSharedSocketOfOrphans(t *testing.T) {
	lone, err := netcore.Listen(netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}, netcore.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer netcore.Close(lone)
	o := new(orphan)
	defer o.letGo()
	for i, fd := range []int{lone, shardOf(t, "127.0.0.1:0")} {
		duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.takeShard(control.Shard{ID: uint32(i + 1), Listener: "x"}, os.NewFile(uintptr(duplicate), "shard")); err != nil {
			t.Fatal(err)
		}
	}
	s := new(shardSet)
	defer s.close()
	if err := s.adopt(o); err != nil {
		t.Fatal(err)
	}
	var config []configs.Listener
	for _, l := range s.listeners {
		config = append(config, configs.Listener{Name: l.name, Address: configs.Address{Network: "tcp", Addr: l.local.Addr}})
		l.dress(config)
	}
	c, err := s.change(config, 3)
	if err != nil {
		t.Fatal(err)
	}
	s.commit(c)
	if err := s.complete(3); err != nil {
		t.Fatal(err)
	}
	first, second := s.listeners[0], s.listeners[1]
	if !first.shared || len(first.shards) != 1 || first.leaving || len(c.opened) != 0 {
		t.Errorf("the shared one: %+v, %d opened", first, len(c.opened))
	}
	if second.shared || len(second.shards) != 3 {
		t.Errorf("the one behind it: %+v", second)
	}
}
