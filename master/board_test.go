package master

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
)

// What a life has counted is in the totals while it lives and after its end, once.
func TestTotalsOutliveTheirLives(t *testing.T) {
	f := servingFleet(t, 2)
	for round := range uint64(3) {
		c := f.last(0)
		f.brings(c, Serving)
		f.join(c)
		c.life.Set(board.WordStarted, 12)
		c.life.Set(board.WordFinished, 10)
		c.life.Set(board.WordConnections, 4)
		c.life.Set(board.WordBytesOut, 1000)
		c.life.Closed(1)
		for range 10 {
			c.life.Took(2000)
		}
		n := f.totals()
		if n.Exchanges != 12*(round+1) || n.Finished != 10*(round+1) || n.Connections != 4 || n.ClosedByReason["client_done"] != round+1 {
			t.Fatalf("round %d, living: %+v", round, n)
		}
		if own := f.status().Children[0].Numbers; own == nil || own.Exchanges != 12 || own.BytesOut != 1000 || own.Latency.Max != 0.002 {
			t.Fatalf("round %d, its own: %+v", round, own)
		}
		f.ends(c, bySignal(syscall.SIGKILL))
		f.ends(c, bySignal(syscall.SIGKILL)) // a late event counts nothing twice
		if n := f.totals(); n.Exchanges != 12*(round+1) || n.Connections != 0 || n.Latency.P50 < 0.0019 || n.Latency.P50 > 0.0021 {
			t.Fatalf("round %d, dead: %+v", round, n)
		}
		if c.life != nil {
			t.Fatal("its memory is kept")
		}
	}
	if got := f.past.Lives(); got != 3 {
		t.Errorf("%d lives are summed up", got)
	}
	f.broken = os.ErrPermission
	f.ends(f.last(1), bySignal(syscall.SIGKILL))
	if got := f.past.Lives(); got != 4 {
		t.Errorf("%d lives are summed up: one that could not begin is no life", got)
	}
}

// A thousand lives leave no memory and no descriptors behind.
func TestLivesLeaveNoMemory(t *testing.T) {
	f := servingFleet(t, 1)
	open := func() (n int) {
		for _, of := range []string{"/proc/self/fd", "/proc/self/map_files"} {
			entries, err := os.ReadDir(of)
			if err != nil {
				t.Skip(err)
			}
			for _, e := range entries {
				if target, err := os.Readlink(of + "/" + e.Name()); err == nil && strings.Contains(target, "tined board") {
					n++
				}
			}
		}
		return n
	}
	before := open()
	for range 1000 {
		c := f.last(0)
		f.brings(c, Serving)
		f.join(c)
		f.ends(c, bySignal(syscall.SIGKILL))
		f.after(1e9)
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors and mappings have become %d", before, after)
	}
}

// A later master gets the sums back from any child, reads the lives that it knows, and takes nothing for them that is not.
func TestBoardOfAnEarlierMaster(t *testing.T) {
	f := servingFleet(t, 1)
	c := f.last(0)
	f.join(c)
	c.life.Set(board.WordFinished, 5)
	f.ends(c, bySignal(syscall.SIGKILL))
	c = f.last(0)
	f.brings(c, Serving)
	f.join(c)
	c.life.Set(board.WordFinished, 3)

	next := newFleet(t, 1)
	_ = next.past.Close()
	next.past = nil
	again := func(f *os.File) *os.File {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "of a child")
	}
	next.openPast(again(c.life.File())) // a child that lies
	if next.past != nil || !next.logged("they begin anew") {
		t.Error("a life was taken for the past")
	}
	adopted := next.last(0)
	next.openPast(again(f.past.File()))
	next.openPast(again(f.past.File())) // of the next child
	adopted.life = nil
	next.openLife(adopted, again(f.past.File()))
	if adopted.life != nil || adopted.numbers() != nil || !next.logged("cannot be read") {
		t.Error("the past was taken for a life")
	}
	next.openLife(adopted, again(c.life.File()))
	if n := next.totals(); n.Finished != 8 {
		t.Errorf("%d finished, want 8", n.Finished)
	}
	if fds := next.boardFiles(&child{lifeBoard: lifeBoard{life: c.life}}); len(fds) != 2 {
		t.Error("what the next master's children get is not there")
	}
	next.foldBoard(adopted)
	if n := next.totals(); n.Finished != 8 {
		t.Errorf("%d finished after its end, want 8", n.Finished)
	}
}

// Whatever a child writes, the master makes numbers of it that can be told.
func TestHostileNumbers(t *testing.T) {
	f := servingFleet(t, 2)
	c := f.last(0)
	f.join(f.last(1))
	f.last(1).life.Set(board.WordStarted, 7)
	for _, n := range []int64{math.MinInt64, -1, math.MaxInt64} {
		for w := range board.Word(464 + 64) {
			c.life.Set(w, n)
		}
		f.after(1e9)
		s := f.status()
		if _, err := json.Marshal(s); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if s.Totals.Exchanges < 7 || s.Totals.Connections < 0 || s.Totals.Connections > math.MaxInt32 {
			t.Errorf("%d: %+v", n, s.Totals)
		}
	}
	f.ends(c, bySignal(syscall.SIGKILL))
	if n := f.totals(); n.Exchanges < math.MaxInt64-1 {
		t.Errorf("%+v", n)
	}
}

// A process that is killed has counted what it has counted.
func TestNumbersOfAKilledProcess(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Children = 1
	h := serve(t, config, nil)
	for life := 1; life <= 3; life++ {
		if err := syscall.Kill(h.pid(0, life), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.pid(0, life+1)
		s := h.status()
		want := uint64(2 * (life + 1)) // a fake child says two
		if s.Totals.Exchanges != want || s.Totals.Finished != want {
			t.Errorf("life %d: %+v, want %d", life, s.Totals, want)
		}
	}
}
