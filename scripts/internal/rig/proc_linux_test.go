package rig

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "812 (a (b) c) S 1 812 812 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711 9 9 9"
	m, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Member{Pid: 812, Parent: 1, State: 'S', started: 4711}); m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
	for _, bad := range []string{"", "812", "x (a) S 1", "812 (a) S 1 2 3", "812 (a"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseSmaps(t *testing.T) {
	text := `55d0-7ffe ---p 00000000 00:00 0    [rollup]
Rss:                3000 kB
Shared_Clean:       1000 kB
Private_Clean:        12 kB
Private_Dirty:       200 kB
Private_Hugetlb:       0 kB
`
	fields, err := parseSmaps(strings.NewReader(text))
	if err != nil || fields.private() != 212<<10 || fields["Private_Dirty:"] != 200<<10 {
		t.Errorf("%v, %v", fields, err)
	}
	if _, err := parseSmaps(strings.NewReader("Rss: 3000 kB\n")); err == nil {
		t.Error("no error without private memory")
	}
}

func TestParseTCP(t *testing.T) {
	text := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:8001 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 0 0 10 -1
   2: 0100007F:8001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 99 1 0 20 0 0 10 -1
`
	all, err := parseTCP(strings.NewReader(text), 8080)
	if err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddrPort("127.0.0.1:8080")
	want := []Socket{
		{Local: local, Remote: netip.MustParseAddrPort("0.0.0.0:0"), State: Listening, Inode: 4711},
		{Local: local, Remote: netip.MustParseAddrPort("127.0.0.1:32769"), State: Established},
	}
	if !slices.Equal(all, want) {
		t.Errorf("%+v, want %+v", all, want)
	}
}

// The kernel's own files have the form that the parsers expect.
func TestOwnProcess(t *testing.T) {
	me, err := Look(os.Getpid())
	if err != nil || me.Parent != os.Getppid() || !me.alive() {
		t.Fatalf("%+v, %v", me, err)
	}
	if tree := Tree(os.Getpid()); len(tree) == 0 || tree[0].Pid != os.Getpid() {
		t.Errorf("tree: %+v", tree)
	}
	tree := []Member{me}
	if n, err := PrivateMemory(tree); err != nil || n <= 0 {
		t.Errorf("private memory %d, %v", n, err)
	}
	if n, err := OwnMemory(tree); err != nil || n <= 0 {
		t.Errorf("own memory %d, %v", n, err)
	}
	if n, err := Descriptors(tree); err != nil || n < 3 {
		t.Errorf("%d descriptors, %v", n, err)
	}
	if n, err := Threads(tree); err != nil || n < 1 {
		t.Errorf("%d threads, %v", n, err)
	}
	before, err := CPU(tree)
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); {
	}
	after, err := CPU(tree)
	if err != nil || after <= before {
		t.Errorf("CPU clock: %v, then %v, %v", before, after, err)
	}
}

// A connection in the accept queue has inode 0; once accepted, its inode is among ours.
func TestAcceptedSockets(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	inode := func() uint64 {
		t.Helper()
		all, err := Sockets(port)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.State == Established && s.Remote.String() == client.LocalAddr().String() {
				return s.Inode
			}
		}
		t.Fatalf("the connection is not among %+v", all)
		return 0
	}
	if n := inode(); n != 0 {
		t.Errorf("in the queue: inode %d", n)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ours, err := SocketInodes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if n := inode(); n == 0 || !slices.Contains(ours, n) {
		t.Errorf("accepted: inode %d, ours are %v", n, ours)
	}
}
