package child

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// adoptable is a child with a socket of its own, which accepts and has shared state.
type adoptable struct {
	*testChild
	path    string
	own     uint64 // numbers of the files that a later master is to get
	life    uint64
	past    uint64
	sums    uint64
	output  [2]*os.File // what stands in for the standard output and error, its reading end is nobody's
	visits  *board.Counter
	motd    *board.Value
	address string
}

var secret = []byte("what only masters know")

// numberOf tells open files apart.
func numberOf(t testing.TB, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// startAdoptable starts a child whose time without a master is bounded by timeout.
func startAdoptable(t *testing.T, timeout time.Duration, handlers routes) *adoptable {
	t.Helper()
	a := &adoptable{path: filepath.Join(t.TempDir(), "0.sock")}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: a.path})
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.own = numberOf(t, fd)
	door, err := control.NewDoor(os.NewFile(uintptr(fd), "door"))
	if err != nil {
		t.Fatal(err)
	}
	shared := new(board.Shared)
	if a.visits, err = shared.Counter("visits"); err != nil {
		t.Fatal(err)
	}
	if a.motd, err = shared.Value("motd"); err != nil {
		t.Fatal(err)
	}
	outfit = func(ch *child) {
		ch.door, ch.orphanTimeout = door, timeout
		ch.sharing.state = shared
		for i := range ch.output {
			a.output[i], err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			ch.output[i] = int(a.output[i].Fd())
		}
		t.Cleanup(func() { // after the child's own
			close(ch.over)
			for _, f := range a.output {
				f.Close()
			}
		})
	}
	t.Cleanup(func() { door.Close() })
	defer func() { outfit = nil }()
	a.testChild = start(t, "", handlers)
	a.address = a.testChild.address
	go a.answerDoor()

	state := new(board.Shared) // the master's
	if _, err := state.Counter("visits"); err != nil {
		t.Fatal(err)
	}
	sums, err := state.Share()
	if err != nil {
		t.Fatal(err)
	}
	life, err := board.CreateLife()
	if err != nil {
		t.Fatal(err)
	}
	past, err := board.CreatePast()
	if err != nil {
		t.Fatal(err)
	}
	fds := []int{int(life.File().Fd()), int(past.File().Fd()), int(sums.File().Fd())}
	a.life, a.past, a.sums = numberOf(t, fds[0]), numberOf(t, fds[1]), numberOf(t, fds[2])
	b := &control.Board{Secret: secret, Counters: []string{"visits"}, Values: []string{"motd"}}
	if err := a.master.Send(b, fds...); err != nil {
		t.Fatal(err)
	}
	for _, c := range []io.Closer{life, past, sums} {
		c.Close()
	}
	if err := a.master.Send(&control.Accept{}); err != nil {
		t.Fatal(err)
	}
	if err := a.master.Send(&control.Value{Name: "motd", Revision: 7, Text: []byte("\xff hello")}); err != nil {
		t.Fatal(err)
	}
	<-a.answers // accepting and value_seen, in any order
	<-a.answers
	return a
}

// orphan kills the child's master, as far as the child can see.
func (a *adoptable) orphan() {
	a.t.Helper()
	a.master.Close()
	await(a.t, "the child sees that its master is gone", a.link.lost())
}

// heir is a later master.
type heir struct {
	*control.Conn
	t      *testing.T
	prints [2]*bufio.Reader // what the child prints
}

// knocks connects to the child and says m, with pipes beside it.
func (a *adoptable) knocks(m control.Message) *heir {
	t := a.t.(*testing.T)
	t.Helper()
	conn, err := control.Dial(a.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h := &heir{Conn: conn, t: t}
	var ends []int
	for i := range h.prints {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		defer w.Close()
		r.SetDeadline(time.Now().Add(patience))
		h.prints[i] = bufio.NewReader(r)
		ends = append(ends, int(w.Fd()))
	}
	if m != nil {
		if err := conn.Send(m, ends...); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.ReceiveBy(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return h
}

// receives returns the next message but log lines, which go to lines if it is not nil.
func (h *heir) receives(lines *strings.Builder) (control.Message, []*os.File) {
	h.t.Helper()
	for {
		m, files, err := h.Receive()
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { closeFiles(files) })
		if l, ok := m.(*control.Log); ok {
			if lines != nil {
				lines.WriteString(l.Lines)
			}
			continue
		}
		return m, files
	}
}

// hears receives a message of one kind.
func hears[T control.Message](h *heir) (T, []*os.File) {
	h.t.Helper()
	m, files := h.receives(nil)
	want, ok := m.(T)
	if !ok {
		h.t.Fatalf("received %s: %+v", m.Kind(), m)
	}
	return want, files
}

// adopts is knocks with the right words, and the child's whole answer.
func (a *adoptable) adopts() (*heir, []*control.Adopted, []*os.File) {
	a.t.Helper()
	h := a.knocks(&control.Adopt{Secret: secret, Version: "v2"})
	var all []*control.Adopted
	var files []*os.File
	for {
		m, more := hears[*control.Adopted](h)
		all, files = append(all, m), append(files, more...)
		if !m.More {
			break
		}
	}
	for range all[0].Values {
		k, _ := hears[*control.Kept](h)
		if k.Name != "motd" || k.Revision == 0 || string(k.Text) != a.motd.Get() {
			a.t.Errorf("kept %+v", k)
		}
	}
	return h, all, files
}

// A child whose master has died serves on, accepts on, and gives the next one all that it holds; then everything works as before, again
// and again.
func TestAdoption(t *testing.T) {
	a := startAdoptable(t, time.Hour, routes{"GET /x": text("x")})
	kept := a.dial()
	a.visits.Add(3)
	a.orphan()
	for range 3 {
		if err := a.motd.Set("nobody decides"); !errors.Is(err, board.ErrNoMaster) {
			t.Errorf("set without a master: %v", err)
		}
		for _, p := range []*peer{kept, a.dial()} {
			if r := p.get("/x"); string(r.Body) != "x" || r.Close {
				t.Errorf("without a master: %q, close %v", r.Body, r.Close)
			}
		}
		h, all, files := a.adopts()
		m := all[0]
		if len(all) != 1 || m.Pid != os.Getpid() || h.Sender() != os.Getpid() || m.Version != "test" || m.Child != 0 || m.Generation != 1 ||
			m.Digest != "" && m.Digest != a.loop.generation.digest || !m.Accepting || m.Draining || m.Values != 1 {
			t.Errorf("adopted: %+v, from %d", m, h.Sender())
		}
		if len(m.Counters) != 1 || m.Counters[0] != "visits" || len(files) != 5 || len(m.Shards) != 1 || m.Shards[0].ID != 1 || m.Shards[0].Listener != "main" {
			t.Fatalf("%d files, %+v", len(files), m)
		}
		for i, want := range []uint64{a.own, a.life, a.past, a.sums} {
			if got := numberOf(t, int(files[i].Fd())); got != want {
				t.Errorf("file %d is %d, not %d", i, got, want)
			}
		}
		if local, err := netcore.Local(int(files[4].Fd())); err != nil || local.String() != a.address {
			t.Errorf("the shard is at %v, %v", local, err)
		}
		state := new(board.Shared)
		visits, err := state.Counter("visits")
		if err != nil {
			t.Fatal(err)
		}
		if segment, err := state.Resume(files[3], m.Counters); err != nil || visits.Load() != 3 {
			t.Errorf("the counter stands at %d, %v", visits.Load(), err)
		} else {
			segment.Close()
		}

		if err := h.Send(&control.Ping{}); err != nil {
			t.Fatal(err)
		}
		hears[*control.Pong](h)
		done := make(chan error, 1)
		go func() { done <- a.motd.Set("of a child") }()
		set, _ := hears[*control.SetValue](h)
		_, revision := a.motd.Reading()
		if err := h.Send(&control.ValueSet{ID: set.ID, Revision: revision + 1}); err != nil {
			t.Fatal(err)
		}
		if err := await(t, "the value is set", done); err != nil || a.motd.Get() != "of a child" {
			t.Errorf("%v, %q", err, a.motd.Get())
		}
		for i, f := range a.output {
			fmt.Fprintln(f, "printed")
			if line, err := h.prints[i].ReadString('\n'); err != nil || line != "printed\n" {
				t.Errorf("output %d: %q, %v", i, line, err)
			}
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
				t.Errorf("output %d does not block: %#x, %v", i, flags, err)
			}
		}
		h.Close()
		await(t, "the next end", a.link.lost())
	}
	if r := kept.get("/x"); string(r.Body) != "x" {
		t.Errorf("at last: %q", r.Body)
	}
}

// More shards than one message carries come in several.
func TestAdoptionOfManyShards(t *testing.T) {
	a := startAdoptable(t, time.Hour, nil)
	const more = 2*shardsAtOnce + 5
	a.onLoop(func(l *loop) {
		var shards []*shard
		for i := range more {
			fd, err := unix.FcntlInt(uintptr(l.shards[0].fd), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				t.Fatal(err)
			}
			shards = append(shards, &shard{fd: fd, listener: l.shards[0].listener, lent: control.Shard{ID: 1, Index: i + 1, Unordered: true}})
		}
		l.lend(shards)
	})
	a.orphan()
	_, all, files := a.adopts()
	if len(all) != 3 || len(files) != 4+1+more {
		t.Fatalf("%d messages, %d files", len(all), len(files))
	}
	next := 0
	for _, m := range all {
		for _, s := range m.Shards {
			if s.Index != next || s.Unordered != (next > 0) {
				t.Errorf("%+v comes in place of %d", s, next)
			}
			next++
		}
	}
}

// Whoever does not begin as a master does, with the secret and in time, is told so, and the child stays what it was.
func TestDeclines(t *testing.T) {
	a := startAdoptable(t, time.Hour, routes{"GET /x": text("x")})
	adopt := &control.Adopt{Secret: secret}
	declined := func(name, want string, h *heir) {
		t.Helper()
		d, _ := hears[*control.Declined](h)
		if !strings.Contains(d.Reason, want) {
			t.Errorf("%s: %q", name, d.Reason)
		}
		if m, _, err := h.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection stays: %v, %v", name, m, err)
		}
	}
	declined("with a master", "has a master", a.knocks(adopt))
	a.orphan()
	for name, c := range map[string]struct {
		m    control.Message
		want string
	}{
		"no secret":        {&control.Adopt{}, "secret"},
		"another secret":   {&control.Adopt{Secret: bytes.Repeat([]byte("x"), len(secret))}, "secret"},
		"a longer one":     {&control.Adopt{Secret: append(bytes.Clone(secret), 0)}, "secret"},
		"another order":    {&control.Drain{}, "begins with drain"},
		"an unknown order": {&control.Unknown{Number: 999}, "begins with kind 999"},
		"a child's word":   {&control.Hello{}, "begins with hello"},
		"silence":          {nil, "nothing"},
	} {
		declined(name, c.want, a.knocks(c.m))
	}
	h := a.knocks(nil)
	if err := h.Send(adopt); err != nil { // without pipes
		t.Fatal(err)
	}
	declined("no files", "0 files", h)
	a.knocks(adopt).Close() // gone before the answer
	if r := a.dial().get("/x"); string(r.Body) != "x" {
		t.Errorf("afterwards: %q", r.Body)
	}
	// An adoption that has failed does not keep the next one from coming, once the child has seen the end of the one before.
	a.adopts()
}

// Bytes that are no message are as good as silence.
func TestNoiseAtTheDoor(t *testing.T) {
	a := startAdoptable(t, time.Hour, nil)
	a.orphan()
	for _, noise := range [][]byte{{0}, bytes.Repeat([]byte{0xff}, 70_000), []byte("GET / HTTP/1.1\r\n\r\n")} {
		c, err := net.Dial("unixpacket", a.path)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(noise); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = c.Read(make([]byte, 1<<16))
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection stays")
		}
		c.Close()
	}
	a.adopts()
}

// Nobody can change any more what an orphan serves: it drains in the end.
func TestOrphanTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Millisecond} {
		a := startAdoptable(t, timeout, routes{"GET /x": text("x")})
		p := a.dial()
		if r := p.get("/x"); string(r.Body) != "x" {
			t.Fatal(r)
		}
		a.orphan()
		p.wantEnd()
		p.Conn.Close()
		await(t, "the end of the child", a.ended)
	}
}

// A child that has never been told to accept is of no use to anybody: it ends with its master, and does not become another one's.
func TestStartingChildEndsWithItsMaster(t *testing.T) {
	a := startAdoptable(t, time.Hour, nil)
	a.admitted.Store(false)
	a.orphan()
	await(t, "the end of the child", a.ended)
}

// What a master has only let prepare is dropped with it.
func TestPreparedGenerationIsDropped(t *testing.T) {
	a := startAdoptable(t, time.Hour, routes{"GET /x": text("x")})
	if failed, is := a.prepares("site \"main\" {}\n", 2, nil, nil, nil).(*control.Failed); is {
		t.Fatal(failed.Diagnostic)
	}
	a.orphan()
	h, all, _ := a.adopts()
	if a.takePrepared(2) != nil {
		t.Error("the generation is still there")
	}
	if all[0].Generation != 1 {
		t.Errorf("it serves %d", all[0].Generation)
	}
	if err := h.Send(&control.Commit{Generation: 2}); err != nil {
		t.Fatal(err)
	}
	if err := h.Send(&control.Ping{}); err != nil {
		t.Fatal(err)
	}
	hears[*control.Pong](h) // and no committed before it
}

// Lines wait for the next master, in their order; what finds no room is counted.
func TestLinesWaitForAMaster(t *testing.T) {
	a := startAdoptable(t, time.Hour, nil)
	a.orphan()
	const lines = 1000
	for i := range lines {
		a.logLine(levelInfo, fmt.Sprintf("line %d of an orphan", i))
	}
	long := []byte(strings.Repeat("x", 1<<10-1) + "\n")
	for range 2 * ringMax / len(long) {
		a.sink.put(1, long)
	}
	h, _, _ := a.adopts()
	var log strings.Builder
	m, _ := h.receives(&log)
	dropped, ok := m.(*control.LogDropped)
	if !ok || dropped.Count != uint64(ringMax/len(long)) {
		t.Errorf("%s: %+v", m.Kind(), m)
	}
	got := log.String()
	for i := range lines {
		line := fmt.Sprintf("line %d of an orphan", i)
		at := strings.Index(got, line)
		if at < 0 {
			t.Fatalf("%q is lost, or comes too early", line)
		}
		got = got[at+len(line):]
	}
	if n := strings.Count(log.String(), string(long)); n != ringMax/len(long) {
		t.Errorf("%d lines for the standard output", n)
	}
}

// Lines that could not be sent to a master that is dying go to the next one.
func TestLinesComeBackFromADeadMaster(t *testing.T) {
	ours, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	dead, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	ours.Close()
	l := newLink(dead)
	s := newMasterSink(l)
	s.put(0, []byte("one\n"))
	s.put(0, []byte("two\n"))
	ours, theirs, err = control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	next, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	l.lose()
	l.find(next)
	got := ""
	for got != "one\ntwo\n" {
		if err := ours.ReceiveBy(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		m, _, err := ours.Receive()
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got += m.(*control.Log).Lines
	}
	s.close()
	if n := s.dropped.Load(); n != 0 {
		t.Errorf("%d lines are dropped", n)
	}
}

// At its end an orphan waits for nobody to take its lines.
func TestSinkClosesWithoutAMaster(t *testing.T) {
	l := newLink(nil)
	s := newMasterSink(l)
	s.put(0, []byte("one\ntwo\n"))
	s.close()
	if n := s.dropped.Load(); n != 2 {
		t.Errorf("%d lines are counted", n)
	}
}

// An answer to a question of the master before is not the next one's.
func TestAnswersAreForWhoAsked(t *testing.T) {
	a := startAdoptable(t, time.Hour, nil)
	a.onLoop(func(*loop) { // the loop does not get to the question before the master is gone
		if err := a.master.Send(&control.Ping{}); err != nil {
			t.Error(err)
		}
		a.orphan()
	})
	h, _, _ := a.adopts()
	if err := h.Send(&control.Resize{Min: 1, Max: 2}); err != nil {
		t.Fatal(err)
	}
	hears[*control.Resized](h)
}

// A drain that begins before the adoption goes on after it, and the new master hears of its end.
func TestAdoptionOfADrainingChild(t *testing.T) {
	begun, gate := make(chan struct{}), make(chan struct{})
	a := startAdoptable(t, time.Hour, routes{"GET /slow": web.StringFunc(func(*web.Request) string {
		close(begun)
		<-gate
		return "slow"
	})})
	p := a.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the handler", begun)
	a.orphan()
	a.drain(time.Hour, 0)
	h, all, files := a.adopts()
	if m := all[0]; !m.Draining || m.Accepting || len(m.Shards) != 0 || len(files) != 4 {
		t.Errorf("%+v", m)
	}
	close(gate)
	if r := p.answer("GET"); string(r.Body) != "slow" {
		t.Errorf("%q", r.Body)
	}
	p.Conn.Close()
	hears[*control.Drained](h)
}

// What happens on the loop once it has said what it holds reaches the next master, behind that, or nobody.
func TestAnswersWaitForTheNextMaster(t *testing.T) {
	for _, taken := range []bool{true, false} {
		t.Run(fmt.Sprintf("taken %v", taken), func(t *testing.T) {
			a := startAdoptable(t, time.Hour, nil)
			a.orphan()
			ours, conn := channel(t)
			next := &nextMaster{conn: conn, over: make(chan struct{})}
			h, err := a.holdings(next)
			if err != nil {
				t.Fatal(err)
			}
			closeDescriptors(h.fds)
			a.drain(time.Hour, 0)
			await(t, "the end of the loop", a.ended)
			if err := conn.Send(&control.Adopted{}); err != nil {
				t.Fatal(err)
			}
			next.taken = taken
			close(next.over)
			other, last := channel(t)
			a.answerTo(last, &control.Pong{}) // answers leave in order: when it comes, the others have left
			if got := kinds(t, other, 1); !slices.Equal(got, []control.Kind{control.KindPong}) {
				t.Fatal(got)
			}
			want := []control.Kind{control.KindAdopted}
			if taken {
				want = append(want, control.KindDraining, control.KindDrained)
			}
			conn.Close()
			if got := kinds(t, ours, 10); !slices.Equal(got, want) {
				t.Errorf("it was told %v, not %v", got, want)
			}
		})
	}
}

// channel is a control channel; its ends are closed with the test.
func channel(t *testing.T) (ours, theirs *control.Conn) {
	t.Helper()
	ours, file, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	theirs, err = control.New(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// kinds receives up to most messages, or all up to the end.
func kinds(t *testing.T, conn *control.Conn, most int) (kinds []control.Kind) {
	t.Helper()
	if err := conn.ReceiveBy(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for range most {
		m, files, err := conn.Receive()
		closeFiles(files)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, m.Kind())
	}
	return kinds
}
