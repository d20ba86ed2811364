package master

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// actor plays a child of a dead master, in this process.
type actor struct {
	t     *testing.T
	conn  *control.Conn
	adopt *control.Adopt
}

// plays lets script answer whoever connects to a socket of the folder.
func plays(t *testing.T, r *runtimeDir, name string, script func(*actor)) {
	t.Helper()
	f, err := r.socket(name)
	if err != nil {
		t.Fatal(err)
	}
	door, err := control.NewDoor(f)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			m, files, err := conn.Receive()
			closeAll(files)
			if a, ok := m.(*control.Adopt); ok && err == nil {
				script(&actor{t: t, conn: conn, adopt: a})
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { door.Close(); <-done })
}

// memory is a segment's file for an Adopted.
func memory(t *testing.T) int {
	t.Helper()
	life, err := board.CreateLife()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { life.Close() })
	return int(life.File().Fd())
}

// says sends a message; the other side may be gone.
func (a *actor) says(m control.Message, fds ...int) { _ = a.conn.Send(m, fds...) }

// pongs answers the next ping, and stays until the master goes.
func (a *actor) pongs() {
	for {
		m, files, err := a.conn.Receive()
		if err != nil {
			return
		}
		closeAll(files)
		if _, ok := m.(*control.Ping); ok {
			a.says(&control.Pong{})
		}
	}
}

func shardOf(t *testing.T, addr string) int {
	t.Helper()
	fd, err := netcore.Listen(netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort(addr)}, netcore.ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netcore.Close(fd) })
	return fd
}

func testRuntime(t *testing.T) *runtimeDir {
	t.Helper()
	config := testConfig(t.TempDir())
	r, err := openRuntime(config.Control, "", accessOf(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	if r.secret, err = r.newSecret(); err != nil {
		t.Fatal(err)
	}
	return r
}

func noLog(*control.Log) {}

func openFiles() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func TestSecret(t *testing.T) {
	r := testRuntime(t)
	path := filepath.Join(r.children, secretName)
	if got := r.readSecret(); len(got) != secretSize || !slices.Equal(got, r.secret) {
		t.Errorf("read %x", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, err := r.newSecret()
	if err != nil || slices.Equal(again, r.secret) || !slices.Equal(again, r.readSecret()) {
		t.Errorf("the secret is not made anew: %v", err)
	}
	for name, spoil := range map[string]func() error{
		"readable by others": func() error { return os.Chmod(path, 0o640) },
		"too short":          func() error { return os.WriteFile(path, []byte("short"), 0o600) },
		"too long":           func() error { return os.WriteFile(path, make([]byte, secretSize+1), 0o600) },
		"a link": func() error {
			return errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path))
		},
		"a folder": func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a pipe":   func() error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"gone":     func() error { return os.Remove(path) },
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if _, err := r.newSecret(); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(name, err)
		}
		if r.readSecret() != nil {
			t.Errorf("a secret that is %s is taken", name)
		}
	}
}

// A child that answers as it should is taken over, with files that are what it has sent, and what it says meanwhile is not lost.
func TestCallOrphan(t *testing.T) {
	r := testRuntime(t)
	fd, life := shardOf(t, "127.0.0.1:0"), memory(t)
	listener, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var seen []byte
	plays(t, r, "3.sock", func(a *actor) {
		seen = a.adopt.Secret
		own := int(listener.Fd())
		a.says(&control.Adopted{Pid: 1, Version: "v1", Child: 3, Generation: 5, Accepting: true, Values: 1, Counters: []string{"c"},
			Shards: []control.Shard{{ID: 2, Index: 3, Listener: "main"}}, More: true}, own, life, life, life, fd)
		a.says(&control.Adopted{Shards: []control.Shard{{ID: 2, Index: 4, Listener: "main"}}}, fd)
		a.says(&control.Kept{Name: "v", Revision: 2, Text: []byte("text")})
		a.says(&control.Log{Lines: "one line\n"})
		a.says(&control.Draining{})
		a.pongs()
	})
	// A socket that nobody has, a file that is none, and what is not a child's.
	gone, err := r.socket("7.sock")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	plays(t, r, "housekeeper.sock", func(*actor) { t.Error("the housekeeper was asked") })
	if err := os.WriteFile(filepath.Join(r.children, "8.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 9)
	found, lost, err := r.callOrphans(r.secret, "v2", patience, func(l *control.Log) { lines <- l.Lines })
	if err != nil || len(lost) != 0 || len(found) != 1 {
		t.Fatalf("%d found, lost %v, %v", len(found), lost, err)
	}
	o := found[0]
	defer o.letGo()
	if !slices.Equal(seen, r.secret) || o.index != 3 || o.pid != os.Getpid() || o.said.Generation != 5 || o.said.Version != "v1" {
		t.Errorf("%+v", o)
	}
	local, _ := netcore.Local(fd)
	if len(o.shards) != 2 || o.shards[1].id != (shardID{2, 4}) || o.shards[0].local != local || o.shards[0].number != socketNumber(fd) {
		t.Errorf("shards %+v", o.shards)
	}
	if o.life == nil || o.past == nil || o.sums == nil || len(o.kept) != 1 || string(o.kept[0].Text) != "text" {
		t.Errorf("%+v", o)
	}
	if got := <-lines; got != "one line\n" || len(o.early) != 1 || o.early[0].message.Kind() != control.KindDraining {
		t.Errorf("%q, %v", got, o.early)
	}
	if _, err := os.Lstat(filepath.Join(r.children, "7.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a socket that nobody has is left")
	}
	if _, err := os.Lstat(filepath.Join(r.children, "3.sock")); err != nil {
		t.Error(err)
	}
}

// Whatever a child answers, the next master gets on, keeps nothing of it, and says why.
func TestHostileOrphans(t *testing.T) {
	r := testRuntime(t)
	life, shard := memory(t), shardOf(t, "127.0.0.1:0")
	lone, err := netcore.Listen(netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}, netcore.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer netcore.Close(lone)
	right := func() *control.Adopted { return &control.Adopted{Child: 0, Generation: 1, Accepting: true} }
	with := func(change func(*control.Adopted), fds ...int) func(*actor) {
		return func(a *actor) {
			m := right()
			change(m)
			a.says(m, fds...)
			a.pongs()
		}
	}
	none := func(*control.Adopted) {}
	shards := func(s ...control.Shard) func(*control.Adopted) { return func(m *control.Adopted) { m.Shards = s } }
	for name, c := range map[string]struct {
		script func(*actor)
		want   string
	}{
		"silence":        {func(a *actor) { a.conn.Receive() }, "in time"},
		"the end":        {func(*actor) {}, "closed the connection"},
		"a refusal":      {func(a *actor) { a.says(&control.Declined{Reason: "no\n\x1b[31m" + strings.Repeat("x", 5000)}) }, `declines: "no\n\x1b`},
		"another answer": {func(a *actor) { a.says(&control.Hello{}, life) }, "says hello"},
		"another child":  {with(func(m *control.Adopted) { m.Child = 1 }, life, life, life), "child 1"},
		"no generation":  {with(func(m *control.Adopted) { m.Generation = 0 }, life, life, life), "generation 0"},
		"the last generation": {
			with(func(m *control.Adopted) { m.Generation = 1<<64 - 1 }, life, life, life), "generation 18446744073709551615",
		},
		"no files":              {with(none), "sends 0 files"},
		"no file of counters":   {with(func(m *control.Adopted) { m.Counters = []string{"c"} }, life, life, life), "sends 3 files"},
		"a file too many":       {with(none, life, life, life, life), "1 files for 0 shards"},
		"a shard too many":      {with(shards(control.Shard{ID: 1}, control.Shard{ID: 1, Index: 1}), life, life, life, shard), "1 files for 2 shards"},
		"a file as a shard":     {with(shards(control.Shard{ID: 1}), life, life, life, life), "no socket that was lent"},
		"a shard alone":         {with(shards(control.Shard{ID: 1, Index: 1}), life, life, life, lone), "SO_REUSEPORT"},
		"no listener":           {with(shards(control.Shard{ID: 0}), life, life, life, shard), "listener 0"},
		"a negative index":      {with(shards(control.Shard{ID: 1, Index: -1}), life, life, life, shard), "shard -1"},
		"a large index":         {with(shards(control.Shard{ID: 1, Index: 1 << 40}), life, life, life, shard), "shard 1099511627776"},
		"too many values":       {with(func(m *control.Adopted) { m.Values = 1 << 30 }, life, life, life), "1073741824 shared values"},
		"values less than none": {with(func(m *control.Adopted) { m.Values = -1 }, life, life, life), "-1 shared values"},
		"more of nothing": {func(a *actor) {
			m := right()
			m.More = true
			a.says(m, life, life, life)
			a.pongs()
		}, "talks too much"},
		"a long value": {func(a *actor) {
			m := right()
			m.Values = 1
			a.says(m, life, life, life)
			a.says(&control.Kept{Name: "v", Revision: 1, Text: make([]byte, board.MaxValue+1)})
		}, "too long"},
		"the last revision": {func(a *actor) {
			m := right()
			m.Values = 1
			a.says(m, life, life, life)
			a.says(&control.Kept{Name: "v", Revision: 1<<64 - 1})
		}, "revision"},
		"chatter": {func(a *actor) {
			a.says(right(), life, life, life)
			for range maxEarly + 2 {
				a.says(&control.Draining{}, life)
			}
			a.pongs()
		}, "talks too much"},
		"no pong": {func(a *actor) {
			a.says(right(), life, life, life)
			for {
				if _, _, err := a.conn.Receive(); err != nil {
					return
				}
			}
		}, "in time"},
	} {
		t.Run(name, func(t *testing.T) {
			before := openFiles()
			plays(t, r, "0.sock", c.script)
			before += 1 // the actor's socket
			bound := patience
			if c.want == "in time" {
				bound = 50 * time.Millisecond
			}
			found, lost, err := r.callOrphans(r.secret, "v2", bound, noLog)
			if err != nil || len(found) != 0 || len(lost) != 1 || lost[0].index != 0 || !strings.Contains(lost[0].err.Error(), c.want) {
				t.Fatalf("%d found, lost %v, %v; want %q", len(found), lost, err, c.want)
			}
			if len(lost[0].err.Error()) > 1000 {
				t.Errorf("a reason of %d bytes", len(lost[0].err.Error()))
			}
			eventually(t, func() bool { return openFiles() <= before }) // the actor has its side to close
		})
	}
}

// Without the secret nobody is asked; the processes are there all the same.
func TestOrphansWithoutASecret(t *testing.T) {
	r := testRuntime(t)
	plays(t, r, "0.sock", func(*actor) { t.Error("it was asked") })
	if found, lost, err := r.callOrphans(nil, "v2", patience, noLog); err != nil || len(found) != 0 || len(lost) != 1 {
		t.Errorf("%v, %v, %v", found, lost, err)
	}
}

func tcp(t *testing.T, addr string, id uint32, index int) orphanShard {
	t.Helper()
	fd := shardOf(t, addr)
	return ofSocket(t, fd, id, index)
}

func ofSocket(t *testing.T, fd int, id uint32, index int) orphanShard {
	t.Helper()
	local, err := netcore.Local(fd)
	if err != nil {
		t.Fatal(err)
	}
	return orphanShard{id: shardID{id, index}, name: fmt.Sprint("l", id), fd: fd, local: local, number: socketNumber(fd)}
}

// Two children's shards make one listener; what contradicts the others is refused as a whole.
func TestShardsOfOrphans(t *testing.T) {
	s := new(shardSet)
	defer s.close()
	first := tcp(t, "127.0.0.1:0", 4, 0)
	addr := first.local.Addr.String()
	second := tcp(t, addr, 4, 2)
	if err := s.adopt(&orphan{shards: []orphanShard{first, second}}); err != nil {
		t.Fatal(err)
	}
	if err := s.adopt(&orphan{shards: []orphanShard{second, tcp(t, "127.0.0.1:0", 9, 0)}}); err != nil {
		t.Fatal("a shard that two hold:", err)
	}
	if len(s.listeners) != 2 || s.lastID != 9 || !s.listeners[0].leaving || len(s.listeners[0].shards) != 3 || s.listeners[0].shard(1) != -1 {
		t.Fatalf("%+v", s.listeners[0])
	}
	stranger := tcp(t, "127.0.0.1:0", 4, 1)
	other := tcp(t, "127.0.0.1:0", 20, 0)
	for name, shards := range map[string][]orphanShard{
		"another address":        {stranger},
		"another number":         {ofSocket(t, first.fd, 5, 0)},
		"another socket":         {tcp(t, addr, 4, 2)},
		"twice":                  {other, other},
		"two numbers":            {other, ofSocket(t, other.fd, 21, 0)},
		"one number for two":     {other, tcp(t, "127.0.0.1:0", 20, 1)},
		"the last number":        {ofSocket(t, other.fd, 1<<32-1, 0)},
		"one good, one not good": {other, stranger},
	} {
		if err := s.adopt(&orphan{shards: shards}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if len(s.listeners) != 2 || s.lastID != 9 {
		t.Errorf("what was refused has left something: %+v", s)
	}

	// The configuration means the first by its port, the second by its name. What is missing is opened.
	s.listeners[1].name = "any"
	config := []configs.Listener{
		{Name: "new", Address: configs.Address{Network: "tcp", Addr: first.local.Addr}},
		{Name: "any", Address: configs.Address{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
	}
	for _, l := range s.listeners {
		l.dress(config)
	}
	c, err := s.change(config, 2)
	if err != nil {
		t.Fatal(err)
	}
	s.commit(c)
	if err := s.complete(3); err != nil {
		t.Fatal(err)
	}
	if len(c.opened) != 0 || len(s.listeners) != 2 {
		t.Fatalf("%d are opened", len(c.opened))
	}
	if !s.listeners[0].unknown || s.listeners[1].unknown {
		t.Error("a gap that was filled changes the order in the kernel's group, and shards behind the last one do not")
	}
	for _, l := range s.listeners {
		if l.leaving || len(l.shards) != 3 || slices.Contains(l.shards, -1) {
			t.Errorf("%+v", l)
		}
		for _, fd := range l.shards {
			if local, _, err := netcore.Listening(fd); err != nil || local != l.local {
				t.Errorf("%v, %v, not at %v", local, err, l.local)
			}
		}
	}
	third := tcp(t, "127.0.0.1:0", 30, 0)
	third.unordered = true
	if err := s.adopt(&orphan{shards: []orphanShard{third}}); err != nil || !s.byID(30).unknown {
		t.Errorf("what the master before knew of the order is forgotten: %v", err)
	}
	// An address that is not configured any more leaves.
	if c, err = s.change(config[:1], 2); err != nil {
		t.Fatal(err)
	}
	s.commit(c)
	if !s.listeners[1].leaving {
		t.Error("it stays")
	}
}

// The highest revision of a shared value wins; of two texts with one number the master's, which all are told then.
func TestValuesOfOrphans(t *testing.T) {
	kept := func(revision uint64, text string) *orphan {
		return &orphan{kept: []*control.Kept{{Name: "v", Revision: revision, Text: []byte(text)}, {Name: "unknown", Revision: 99}}}
	}
	for name, c := range map[string]struct {
		own      int
		orphans  []*orphan
		text     string
		revision uint64
	}{
		"none":             {1, nil, "own 1", 1},
		"the highest":      {0, []*orphan{kept(3, "three"), kept(7, "seven"), kept(5, "five")}, "seven", 7},
		"set before":       {2, []*orphan{kept(7, "seven")}, "seven", 7},
		"the master's":     {4, []*orphan{kept(3, "three")}, "own 4", 4},
		"the same":         {0, []*orphan{kept(3, "x"), kept(3, "x")}, "x", 3},
		"two of a number":  {0, []*orphan{kept(3, "x"), kept(3, "y")}, "x", 4},
		"the master's too": {3, []*orphan{kept(3, "x")}, "own 3", 4},
	} {
		state := new(board.Shared)
		v, err := state.Value("v")
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.own {
			v.Advance(fmt.Sprint("own ", i+1))
		}
		m := &master{o: Options{Shared: state}}
		m.adoptValues(c.orphans)
		if text, revision := v.Reading(); text != c.text || revision != c.revision {
			t.Errorf("%s: %q, %d", name, text, revision)
		}
	}
}

// What a child may answer is any bytes, with any files beside them. Nothing of it may make the master panic, hang, keep a file of what it
// refuses, or lend a socket that is none.
func FuzzOrphan(f *testing.F) {
	frame := func(kind control.Kind, files byte, m any) []byte {
		body, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return append([]byte{byte(kind), files, byte(len(body)), byte(len(body) >> 8)}, body...)
	}
	good := frame(control.KindAdopted, 4, &control.Adopted{Generation: 1, Values: 1, Shards: []control.Shard{{ID: 1}}})
	value := frame(control.KindKept, 0, &control.Kept{Name: "v", Revision: 1})
	pong := frame(control.KindPong, 0, struct{}{})
	f.Add(slices.Concat(good, value, pong))
	f.Add(slices.Concat(frame(control.KindAdopted, 4, &control.Adopted{Generation: 1, More: true, Shards: []control.Shard{{ID: 1}}}),
		frame(control.KindAdopted, 1, &control.Adopted{Shards: []control.Shard{{ID: 1, Index: 1}}}), pong))
	f.Add(frame(control.KindDeclined, 0, &control.Declined{Reason: "no"}))
	f.Add(slices.Concat(good, value, frame(control.KindDraining, 2, struct{}{}), pong))

	shard, err := netcore.Listen(netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}, netcore.ListenOptions{ReusePort: true})
	if err != nil {
		f.Fatal(err)
	}
	life, err := board.CreateLife()
	if err != nil {
		f.Fatal(err)
	}
	segment := int(life.File().Fd())
	passed := []int{segment, segment, segment, shard, shard, segment, shard}

	f.Fuzz(func(t *testing.T, data []byte) {
		before := openFiles()
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			t.Fatal(err)
		}
		conn, err := control.New(os.NewFile(uintptr(pair[0]), "master"))
		if err != nil {
			t.Fatal(err)
		}
		for range 50 { // messages: kind, number of files, length, body
			if len(data) < 4 {
				break
			}
			kind, files, n := uint16(data[0]), int(data[1])%(len(passed)+1), int(binary.LittleEndian.Uint16(data[2:]))
			body := data[4:]
			body = body[:min(n, len(body))]
			data = data[4+len(body):]
			header := binary.LittleEndian.AppendUint16(nil, 0x6974)
			header = binary.LittleEndian.AppendUint16(header, control.Version)
			header = binary.LittleEndian.AppendUint16(header, kind)
			header = binary.LittleEndian.AppendUint16(header, uint16(files))
			header = binary.LittleEndian.AppendUint32(header, 0)
			header = binary.LittleEndian.AppendUint32(header, uint32(len(body)))
			var oob []byte
			if files > 0 {
				oob = unix.UnixRights(passed[:files]...)
			}
			if err := unix.Sendmsg(pair[1], append(header, body...), oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err != nil {
				break
			}
		}
		if err := unix.Shutdown(pair[1], unix.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		o := &orphan{conn: conn}
		s := new(shardSet)
		err = o.takeAll()
		if err == nil {
			err = o.verify(time.Now().Add(time.Second), noLog)
		}
		if err == nil {
			err = s.adopt(o)
		}
		if err == nil {
			if o.pid != os.Getpid() || o.life == nil || o.past == nil || o.said.Generation == 0 {
				t.Errorf("taken: %+v", o)
			}
			for _, l := range s.listeners {
				for i, fd := range l.shards {
					if _, _, err := netcore.Listening(fd); fd >= 0 && err != nil {
						t.Errorf("shard %d of %d: %v", i, l.id, err)
					}
				}
			}
		}
		s.close()
		o.letGo()
		unix.Close(pair[1])
		if after := openFiles(); after > before { // fewer: what an earlier test has left to the garbage collector is closed
			t.Errorf("%d files were open, and %d are", before, after)
		}
	})
}
