package master

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// listening is a listening socket on an address, as a supervisor opens one: without close-on-exec, blocking.
func listening(t *testing.T, address string, reusePort bool) int {
	t.Helper()
	return listeningAt(t, netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort(address)}, reusePort)
}

func listeningAt(t *testing.T, e netcore.Endpoint, reusePort bool) int {
	t.Helper()
	fd, err := netcore.Listen(e, netcore.ListenOptions{ReusePort: reusePort, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func localOf(t *testing.T, fd int) netcore.Endpoint {
	t.Helper()
	e, err := netcore.Local(fd)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func block(name string, e netcore.Endpoint) configs.Listener {
	return configs.Listener{Name: name, Address: configs.Address{Network: e.Network, Addr: e.Addr, DualStack: e.DualStack, Path: e.Path}}
}

// passed plays the supervisor: it gives duplicates of the sockets consecutive numbers, and takes them over.
func passed(t *testing.T, sockets []int, names []string, listeners ...configs.Listener) (*inheritedSet, []string) {
	t.Helper()
	first := consecutive(t, len(sockets))
	for i, fd := range sockets {
		if err := unix.Dup3(fd, first+i, 0); err != nil {
			t.Fatal(err)
		}
	}
	s, warnings := inheritFrom(first, len(sockets), names, listeners, nil)
	t.Cleanup(s.close)
	return s, warnings
}

// consecutive finds so many numbers in a row that no descriptor has. Tests of this file do not run in parallel.
func consecutive(t *testing.T, n int) int {
	t.Helper()
	first := 700
	for fd := first; fd < first+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			first = fd + 1
		}
		if first > 5000 {
			t.Fatal("no descriptors are free")
		}
	}
	return first
}

// same compares what a listener got with the sockets that were passed.
func same(t *testing.T, h *inheritance, want ...int) {
	t.Helper()
	if h == nil {
		t.Fatalf("nothing, want %d sockets", len(want))
	}
	t.Cleanup(func() { closeFds(h.fds) })
	var got, numbers []uint64
	for _, fd := range h.fds {
		got = append(got, socketNumber(fd))
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d survives exec: %v", fd, err)
		}
	}
	for _, fd := range want {
		numbers = append(numbers, socketNumber(fd))
	}
	if !slices.Equal(got, numbers) {
		t.Errorf("sockets %v, want %v", got, numbers)
	}
}

func wantWarnings(t *testing.T, warnings []string, want ...string) {
	t.Helper()
	if len(warnings) != len(want) {
		t.Fatalf("warnings %q, want %d", warnings, len(want))
	}
	for i := range want {
		contains(t, warnings[i], want[i])
	}
}

func TestInheritUnitSocketByAddress(t *testing.T) {
	one, two := listening(t, "127.0.0.1:0", false), listening(t, "127.0.0.1:0", true)
	s, warnings := passed(t, []int{one, two}, []string{"tined.socket", "tined.socket"}, block("b", localOf(t, two)), block("a", localOf(t, one)))
	wantWarnings(t, warnings)
	if !s.has("a") || !s.has("b") || s.has("c") {
		t.Error("has is wrong")
	}
	a, b := s.take("a"), s.take("b")
	same(t, a, one)
	same(t, b, two)
	if !a.shared || a.units != 1 || a.local != localOf(t, one) {
		t.Errorf("without SO_REUSEPORT: %+v", a)
	}
	if b.shared || b.units != 1 || b.unordered {
		t.Errorf("with SO_REUSEPORT: %+v", b)
	}
	if s.has("a") || s.take("a") != nil || len(s.stored) != 0 {
		t.Error("it is there twice")
	}
}

// TestInheritUnitSocketByName: names come first where several sockets could be meant, and last where the address decides.
func TestInheritUnitSocketByName(t *testing.T) {
	any := netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}
	one, two, three := listening(t, "127.0.0.1:0", false), listening(t, "127.0.0.1:0", false), listening(t, "127.0.0.1:0", false)
	elsewhere := localOf(t, one)
	elsewhere.Addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), elsewhere.Addr.Port())
	s, warnings := passed(t, []int{one, two, three}, []string{"main", "chosen", "main"},
		block("main", elsewhere), block("chosen", any), block("other", localOf(t, one)))
	wantWarnings(t, warnings, `listen "main": the socket unit listens on `+localOf(t, three).String()+`, the configuration says `+elsewhere.String())
	same(t, s.take("other"), one)
	same(t, s.take("main"), three)
	same(t, s.take("chosen"), two)
}

func TestInheritUnitShards(t *testing.T) {
	one := listening(t, "127.0.0.1:0", true)
	two := listeningAt(t, localOf(t, one), true)
	s, warnings := passed(t, []int{one, two}, nil, block("main", localOf(t, one)))
	wantWarnings(t, warnings)
	h := s.take("main")
	same(t, h, one, two)
	if h.shared || !h.unordered || h.units != 2 {
		t.Errorf("%+v", h)
	}
}

// TestInheritUnitSocketWithStoredSiblings: the unit's is the first shard, and ours are its siblings.
func TestInheritUnitSocketWithStoredSiblings(t *testing.T) {
	unit := listening(t, "127.0.0.1:0", true)
	one, two := listeningAt(t, localOf(t, unit), true), listeningAt(t, localOf(t, unit), true)
	name := func(index int) string {
		return shardName{index: index, key: storeKey("main", localOf(t, unit))}.String()
	}
	s, warnings := passed(t, []int{unit, two, one}, []string{"tined.socket", name(2), name(1)}, block("main", localOf(t, unit)))
	wantWarnings(t, warnings)
	h := s.take("main")
	same(t, h, unit, one, two)
	if h.shared || h.unordered || h.units != 1 {
		t.Errorf("%+v", h)
	}
}

func TestInheritUnitSocketOfAPath(t *testing.T) {
	e := netcore.Endpoint{Network: "unix", Path: filepath.Join(t.TempDir(), "s")}
	fd := listeningAt(t, e, false)
	s, warnings := passed(t, []int{fd}, []string{"x"}, block("local", e))
	wantWarnings(t, warnings)
	h := s.take("local")
	same(t, h, fd)
	if !h.shared || h.units != 1 || h.file != (fileID{}) {
		t.Errorf("%+v: the file is the unit's", h)
	}
}

// TestInheritStoredShards: they are found by index, whatever their order, also when the port was the kernel's choice.
func TestInheritStoredShards(t *testing.T) {
	zero := listening(t, "127.0.0.1:0", true)
	one, two := listeningAt(t, localOf(t, zero), true), listeningAt(t, localOf(t, zero), true)
	for _, e := range []netcore.Endpoint{localOf(t, zero), {Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}} {
		name := func(index int) string { return shardName{index: index, key: storeKey("main", e)}.String() }
		s, warnings := passed(t, []int{two, zero, one}, []string{name(2), name(0), name(1)}, block("main", e))
		wantWarnings(t, warnings)
		h := s.take("main")
		same(t, h, zero, one, two)
		if h.shared || h.units != 0 || h.unordered || h.local != localOf(t, zero) {
			t.Errorf("%+v", h)
		}
		if len(s.stored) != 3 || s.stored[name(1)] != socketNumber(one) {
			t.Errorf("stored %v", s.stored)
		}
		// One is missing: the kernel has moved another into its place.
		s, _ = passed(t, []int{two, zero}, []string{name(2), name(0)}, block("main", e))
		if h = s.take("main"); !h.unordered {
			t.Errorf("%+v", h)
		}
		same(t, h, zero, two)
	}
}

// TestInheritStoredSocketOfAPath: only while clients find it by its file.
func TestInheritStoredSocketOfAPath(t *testing.T) {
	e := netcore.Endpoint{Network: "unix", Path: filepath.Join(t.TempDir(), "s,1:2")}
	fd := listeningAt(t, e, false)
	id, err := identify(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	name := shardName{key: storeKey("local", e), file: id}.String()
	s, warnings := passed(t, []int{fd}, []string{name}, block("local", e))
	wantWarnings(t, warnings)
	h := s.take("local")
	same(t, h, fd)
	if !h.shared || h.units != 0 || h.file != id {
		t.Errorf("%+v", h)
	}
	if err := os.Remove(e.Path); err != nil {
		t.Fatal(err)
	}
	s, warnings = passed(t, []int{fd}, []string{name}, block("local", e))
	wantWarnings(t, warnings, "is closed: no `listen` block wants it any more, or its file is gone")
	if s.has("local") || len(s.stored) != 1 {
		t.Error("it is used without its file")
	}
}

// TestInheritedAndUnwanted: each is closed, and the warning says what to do.
func TestInheritedAndUnwanted(t *testing.T) {
	unit, shard := listening(t, "127.0.0.1:0", false), listening(t, "127.0.0.1:0", true)
	bound, err := netcore.Bind(localOf(t, shard), netcore.ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(bound) }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	name := shardName{key: storeKey("main", localOf(t, shard))}.String()
	first := consecutive(t, 4)
	s, warnings := passed(t, []int{unit, shard, bound, int(r.Fd())}, []string{"web.socket", name, "b", "c"})
	wantWarnings(t, warnings, "Accept=no", "Accept=no", "stop the unit", "stored socket "+localOf(t, shard).String())
	if s.take("") != nil || s.stored[name] != socketNumber(shard) {
		t.Errorf("%+v", s)
	}
	for fd := first; fd < first+4; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("%d is open: %v", fd, err)
		}
	}
	// A number that is not open is no reason to stop.
	s, warnings = inheritFrom(4999, 1, nil, nil, nil)
	wantWarnings(t, warnings, "bad file descriptor")
	s.close()
}

func TestInheritNothing(t *testing.T) {
	for _, c := range []struct{ pid, fds, warning string }{
		{"", "", ""},
		{"", "1", ""},
		{"1", "1", ""},
		{strconv.Itoa(os.Getpid()), "0", ""},
		{strconv.Itoa(os.Getpid()), "", ""},
		{strconv.Itoa(os.Getpid()), "-1", `LISTEN_FDS="-1" is no number`},
		{strconv.Itoa(os.Getpid()), "99999999999", `is no number`},
	} {
		env := map[string]string{"LISTEN_PID": c.pid, "LISTEN_FDS": c.fds}
		s, warnings := inheritSockets(func(name string) string { return env[name] }, nil)
		if len(s.byListener) != 0 || len(s.stored) != 0 {
			t.Errorf("%v: %+v", c, s)
		}
		if c.warning == "" {
			wantWarnings(t, warnings)
		} else {
			wantWarnings(t, warnings, c.warning)
		}
	}
	var none *inheritedSet
	if none.has("x") || none.take("x") != nil {
		t.Error("nothing has something")
	}
	none.close()
}

func TestShardNames(t *testing.T) {
	for _, n := range []shardName{
		{index: 0, key: storeKey("a", netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("[::]:80"), DualStack: true})},
		{index: 65535, key: storeKey("ä:,%\n", netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("0.0.0.0:0")}), unordered: true},
		{index: 3, key: storeKey("a", netcore.Endpoint{Network: "unix", Path: "/" + strings.Repeat("ü", 53)}), file: fileID{1<<64 - 1, 1<<64 - 1}, unordered: true},
		{index: 1, key: storeKey(strings.Repeat("x", 4096), netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("0.0.0.0:0")})},
	} {
		name := n.String()
		if len(name) > maxStoreName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			t.Errorf("%d bytes, not valid as FDNAME: %q", len(name), name)
		}
		if got := parseShardName(name); got == nil || *got != n {
			t.Errorf("%q is read as %+v, want %+v", name, got, n)
		}
	}
	for _, name := range []string{"", "unknown", "stored", "tined", "tined,0", "tined,x,y", "tined,-1,y", "tined,1,y,z", "tined,1,y,1-2,3", "web,1,y"} {
		if got := parseShardName(name); got != nil {
			t.Errorf("%q is read as %+v", name, got)
		}
	}
}

// TestSocketStore: the supervisor is told the differences, drops before additions, and again what it had no room for.
func TestSocketStore(t *testing.T) {
	s := newFakeSystemd(t)
	store := &socketStore{notifier: s.notifier()}
	a, b := listening(t, "127.0.0.1:0", true), listening(t, "127.0.0.1:0", true)
	update := func(want map[string]int, datagrams ...string) {
		t.Helper()
		if done, err := store.update(want); !done || err != nil {
			t.Errorf("%v, %v", done, err)
		}
		for _, d := range datagrams {
			kind, name, _ := strings.Cut(d, " ")
			got := s.next()
			if !strings.HasPrefix(got.text, "FDNAME="+name+"\n") || !strings.HasSuffix(got.text, "\n"+kind+"=1") {
				t.Errorf("%q, want %s", got.text, d)
			}
		}
		s.nothing()
	}
	update(map[string]int{"a": a, "b": b}, "FDSTORE a", "FDSTORE b")
	update(map[string]int{"a": a, "b": b})
	update(map[string]int{"a": a, "c": b}, "FDSTOREREMOVE b", "FDSTORE c")
	update(map[string]int{"a": b}, "FDSTOREREMOVE a", "FDSTOREREMOVE c", "FDSTORE a")
	full := 0
	for store.notifier.watchdog() == nil {
		full++
	}
	if done, err := store.update(nil); done || err != nil {
		t.Errorf("without room: %v, %v", done, err)
	}
	for range full {
		s.next()
	}
	update(nil, "FDSTOREREMOVE a")
	_ = s.conn.Close()
	if done, err := store.update(map[string]int{"a": a}); done || err == nil {
		t.Errorf("without a supervisor: %v, %v", done, err)
	}
}

// TestStoredQueueSurvives is FACTS 23 without processes: what queued in a stored shard is there for who inherits it.
func TestStoredQueueSurvives(t *testing.T) {
	s := newFakeSystemd(t)
	fd := listening(t, "127.0.0.1:0", true)
	e := localOf(t, fd)
	name := shardName{key: storeKey("main", e)}.String()
	if err := s.notifier().store(name, fd); err != nil {
		t.Fatal(err)
	}
	kept := s.next().files[0]
	if err := unix.Dup3(int(kept.Fd()), fd, 0); err != nil { // its own is gone
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", e.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	set, warnings := passed(t, []int{int(kept.Fd())}, []string{name}, block("main", e))
	wantWarnings(t, warnings)
	h := set.take("main")
	same(t, h, fd)
	if err := netcore.Adjust(h.fds[0], netcore.ListenOptions{ReusePort: true}); err != nil {
		t.Fatal(err)
	}
	poll := []unix.PollFd{{Fd: int32(h.fds[0]), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	conn, peer, err := netcore.Accept(h.fds[0])
	if err != nil || peer.String() != client.LocalAddr().String() {
		t.Fatalf("%v, %v", peer, err)
	}
	_ = netcore.Close(conn)
}
