package master

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// handoffEnds are the ends of handoff channels that a fake process has got.
type handoffEnds struct {
	gives [][]*os.File // of each give and drain
	takes []*os.File
}

// keep keeps what comes with a message, as a child does.
func (h *handoffEnds) keep(m control.Message, fds []int) {
	var files []*os.File
	switch m.(type) {
	case *control.Give, *control.Drain, *control.Take:
		for _, fd := range fds {
			d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				panic(err)
			}
			files = append(files, os.NewFile(uintptr(d), "handoff"))
		}
	}
	switch m.(type) {
	case *control.Give, *control.Drain:
		h.gives = append(h.gives, files)
	case *control.Take:
		h.takes = append(h.takes, files...)
	}
}

// takersOn says who has the other ends of channels: an index for each, in order; -1: nobody.
func (f *fleet) takersOn(channels []*os.File) (indexes []int) {
	f.t.Helper()
	for _, giver := range channels {
		if _, err := giver.Write([]byte("x")); err != nil {
			f.t.Fatal(err)
		}
		at := -1
		for _, c := range f.started {
			for _, taker := range proc(c).takes {
				buf := make([]byte, 2)
				if n, _ := unix.Read(int(taker.Fd()), buf); n == 1 {
					if at >= 0 {
						f.t.Fatal("a channel has two takers")
					}
					at = slices.Index(f.started, c)
				}
			}
		}
		indexes = append(indexes, at)
	}
	return indexes
}

// sentOf are the messages of one type that a child was sent.
func sentOf[T control.Message](c *child) (all []T) {
	for _, m := range proc(c).sent {
		if t, ok := m.(T); ok {
			all = append(all, t)
		}
	}
	return all
}

// lastDrain is the last order to drain, and who is at the other ends of its channels.
func (f *fleet) lastDrain(c *child) (*control.Drain, []int) {
	f.t.Helper()
	orders := sentOf[*control.Drain](c)
	if len(orders) == 0 {
		f.t.Fatalf("child %d was not told to drain", c.slot.index)
	}
	gives := proc(c).gives
	return orders[len(orders)-1], f.takersOn(gives[len(gives)-1])
}

// restarted replaces a child.
func (f *fleet) restarted(index int) (old, heir *child) {
	f.t.Helper()
	old = f.slots[index].current
	f.restart(index, "test", nil)
	f.tick()
	heir = f.last(index)
	f.brings(heir, Serving)
	return old, heir
}

// A child that is replaced gives its connections to its successor.
func TestRestartHandsConnectionsOver(t *testing.T) {
	f := serving3(t)
	old, _ := f.restarted(1)
	order, takers := f.lastDrain(old)
	if !slices.Equal(takers, []int{3}) || !slices.Equal(order.Listeners, []uint32{f.shards.listeners[0].id}) {
		t.Fatalf("to lives %v, of listeners %v", takers, order.Listeners)
	}
	half := f.config.DrainTimeout / 2
	if order.TimeoutMillis != f.config.DrainTimeout.Milliseconds() || order.IdleMillis != half.Milliseconds() {
		t.Errorf("%+v: what cannot move has no time for one more request", order)
	}
	for _, c := range f.started[:3] {
		if len(proc(c).takes) != 0 {
			t.Errorf("child %d takes too", c.slot.index)
		}
	}
}

// A listener that a reload removes is not in the order: its connections stay, and end with it.
func TestConnectionsOfALeavingListenerStay(t *testing.T) {
	f := serving3(t)
	l := f.shards.listeners[0]
	l.leaving = true
	old, _ := f.restarted(1)
	if order, _ := f.lastDrain(old); len(order.Listeners) != 0 {
		t.Errorf("%v", order.Listeners)
	}
}

// A child of a slot that is given up gives to all that stay, and to none that leaves or has to be replaced.
func TestScaleDownHandsConnectionsOver(t *testing.T) {
	f := servingFleet(t, 5).withRuntime()
	f.started[1].misfit = "as told" // it is about to be replaced itself
	for i, connections := range []int64{30, 5, 10, 1, 1} {
		f.has(f.started[i], connections)
	}
	f.scale(3, "test", nil)
	f.tick()
	for _, keeper := range []*child{f.slots[3].keeper.current, f.slots[4].keeper.current} {
		for len(keeper.lends) > 0 {
			f.says(keeper, &control.Lent{})
		}
	}
	for _, leaving := range f.started[3:5] {
		if _, takers := f.lastDrain(leaving); !slices.Equal(takers, []int{2, 0}) { // the least loaded first
			t.Errorf("child %d gives to lives %v", leaving.slot.index, takers)
		}
	}
}

// To so many that leave, and are left, a child gives at most.
func TestTakersAreBounded(t *testing.T) {
	f := servingFleet(t, 12).withRuntime()
	for i, c := range f.started {
		f.has(c, int64(100-i))
	}
	f.scale(11, "test", nil)
	f.tick()
	f.says(f.slots[11].keeper.current, &control.Lent{})
	if _, takers := f.lastDrain(f.started[11]); !slices.Equal(takers, []int{10, 9, 8, 7, 6, 5, 4, 3}) {
		t.Errorf("it gives to lives %v", takers)
	}
}

// Where nobody takes, a child drains patiently; so does one that others do not succeed.
func TestDrainWithoutTakers(t *testing.T) {
	f := serving3(t)
	for _, c := range []*child{f.started[0], f.started[2]} {
		c.sameBeats = standLooks
	}
	f.dismiss(f.started[1])
	order, takers := f.lastDrain(f.started[1])
	if len(takers) != 0 || order.Listeners != nil || order.IdleMillis == 0 || f.started[1].state != Draining {
		t.Fatalf("%+v to %v, %s", order, takers, f.started[1].state)
	}
	if f.started[1].gives {
		t.Error("it is taken for one that gives")
	}
}

// A stop hands nothing over.
func TestStopHandsNothingOver(t *testing.T) {
	f := serving3(t)
	old, heir := f.restarted(1)
	f.onSignal(syscall.SIGTERM)
	f.tick()
	for _, c := range []*child{old, heir, f.started[0]} {
		if order, takers := f.lastDrain(c); len(takers) != 0 || order.Listeners != nil {
			t.Errorf("child %d: %+v to %v", c.slot.index, order, takers)
		}
	}
	before := len(sentOf[*control.Drain](old))
	f.says(old, &control.Gave{Broken: "the taker drains"})
	f.after(renewMost)
	if len(sentOf[*control.Drain](old)) != before {
		t.Error("it gets new channels, and nobody stays who could take")
	}
}

// When the takers have gone a child that leaves gets others, after a moment, with what is left of its time.
func TestBrokenChannelsAreRenewed(t *testing.T) {
	f := serving3(t)
	old, heir := f.restarted(1)
	f.says(old, &control.Draining{})
	f.clock = f.clock.Add(4 * time.Second)
	f.dies(heir, syscall.WaitStatus(syscall.SIGKILL))
	f.says(old, &control.Gave{Count: 7, Broken: "end of the channel"})
	f.says(old, &control.Gave{Count: 7, Broken: "end of the channel"}) // once more is no more
	if n := len(sentOf[*control.Drain](old)); n != 1 {
		t.Fatalf("told %d times at once", n)
	}
	f.after(renewFirst)
	order, takers := f.lastDrain(old)
	slices.Sort(takers)
	if !slices.Equal(takers, []int{0, 2}) || len(order.Listeners) != 1 { // its successor does not serve yet
		t.Fatalf("to lives %v, of listeners %v", takers, order.Listeners)
	}
	left := f.config.DrainTimeout - 4*time.Second - renewFirst
	if order.TimeoutMillis != left.Milliseconds() || order.IdleMillis != (f.config.DrainTimeout/2).Milliseconds() {
		t.Errorf("%d ms, %d ms of them idle; %v are left", order.TimeoutMillis, order.IdleMillis, left)
	}
	if due := old.due.Sub(f.clock); due != left+f.bounds.drained {
		t.Errorf("its bound is %v", due)
	}
	// And once more, now to its successor, after twice the time.
	f.brings(f.last(1), Serving)
	f.says(old, &control.Gave{Broken: "end of the channel"})
	f.after(2*renewFirst - 1)
	if n := len(sentOf[*control.Drain](old)); n != 2 {
		t.Fatalf("told %d times", n)
	}
	f.after(1)
	if _, takers := f.lastDrain(old); !slices.Equal(takers, []int{4}) {
		t.Errorf("to lives %v", takers)
	}
}

// While there are no takers the master tries again, and not at all any more when the time is over, or nothing is left to give.
func TestRenewalsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*fleet, *child)
	}{
		{"drained", func(f *fleet, old *child) { f.says(old, &control.Drained{}) }},
		{"dead", func(f *fleet, old *child) { f.dies(old, syscall.WaitStatus(syscall.SIGKILL)) }},
		{"out of time", func(f *fleet, old *child) { f.after(f.config.DrainTimeout) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := serving3(t)
			old, heir := f.restarted(1)
			takers := []*child{f.started[0], f.started[2], heir}
			for _, c := range takers {
				c.sameBeats = standLooks
			}
			f.says(old, &control.Gave{Broken: "end of the channel"})
			for range 4 {
				if old.renewAt.IsZero() || old.renewAt.Sub(f.clock) > renewMost {
					t.Fatalf("it is tried again at %v", old.renewAt)
				}
				f.after(old.renewAt.Sub(f.clock))
			}
			if n := len(sentOf[*control.Drain](old)); n != 1 {
				t.Fatalf("told %d times, and there is nobody who takes", n)
			}
			c.end(f, old)
			for _, c := range takers {
				c.sameBeats = 0
			}
			f.after(renewMost)
			if n := len(sentOf[*control.Drain](old)); n != 1 || old.state < Ending && !old.renewAt.IsZero() {
				t.Errorf("told %d times, and again at %v", n, old.renewAt)
			}
		})
	}
}

// A child that an earlier master has told to give gets takers of this one; one that was never told to, or serves, does not.
func TestGaveOfAnEarlierMastersDrain(t *testing.T) {
	f := serving3(t)
	serves, drains := f.started[0], f.started[1]
	f.says(serves, &control.Gave{Broken: "end of the channel"})
	f.says(drains, &control.Draining{}) // unasked
	left := drains.due.Sub(f.clock) - f.bounds.drained
	f.says(drains, &control.Gave{Broken: "end of the channel"})
	f.after(renewFirst)
	if heard(serves, control.KindDrain) != 0 || heard(drains, control.KindDrain) != 1 {
		t.Fatalf("told %d and %d times", heard(serves, control.KindDrain), heard(drains, control.KindDrain))
	}
	if order, takers := f.lastDrain(drains); len(takers) != 2 || order.TimeoutMillis != (left-renewFirst).Milliseconds() {
		t.Errorf("%+v to lives %v", order, takers)
	}
}

// has sets how many connections a life has.
func (f *fleet) has(c *child, connections int64) {
	c.life.Set(board.WordConnections, connections)
	c.life.Set(board.WordPid, int64(c.proc.Pid()))
}

// How many connections a child has handed over is told when it has none any more; those that it had given to siblings before do not count.
func TestMovedIsTold(t *testing.T) {
	if movedReason < 0 {
		t.Fatal("there is no close reason for moved connections")
	}
	f := serving3(t)
	f.has(f.started[1], 0)
	f.started[1].life.Closed(movedReason)
	old, _ := f.restarted(1)
	for range 1118 {
		old.life.Closed(movedReason)
	}
	f.says(old, &control.Draining{})
	if got := f.eventsOf(EventMoved); len(got) != 0 {
		t.Fatalf("told before its end: %q", got)
	}
	f.says(old, &control.Drained{}, &control.Drained{})
	if got := f.eventsOf(EventMoved); len(got) != 1 || got[0] != "it has handed 1,118 connections over" {
		t.Errorf("%q", got)
	}
	idle, _ := f.restarted(2)
	f.says(idle, &control.Draining{}, &control.Drained{})
	if got := f.eventsOf(EventMoved); len(got) != 1 {
		t.Errorf("of a child that had no connection: %q", got)
	}
}

// A master without descriptors lets a child drain as one that nobody takes from.
func TestNoDescriptorForAChannel(t *testing.T) {
	f := serving3(t)
	c := f.started[1]
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	f.slots[1].current.asked = true
	low := limit
	low.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	f.dismiss(c)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if order, takers := f.lastDrain(c); len(takers) != 0 || order.Listeners != nil || !f.logged("cannot be handed over") {
		t.Errorf("%+v to %v", order, takers)
	}
}

func TestHandoffPair(t *testing.T) {
	giver, taker, err := handoffPair()
	if err != nil {
		t.Fatal(err)
	}
	defer closeFds([]int{giver, taker})
	for _, fd := range []int{giver, taker} {
		flags, err1 := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err1 != nil || err2 != nil || flags&unix.FD_CLOEXEC == 0 || kind != unix.SOCK_SEQPACKET {
			t.Error(fmt.Errorf("flags %x, kind %d: %w %w", flags, kind, err1, err2))
		}
	}
}
