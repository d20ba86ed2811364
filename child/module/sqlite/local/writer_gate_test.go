package local

import (
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGateGivesTurns: who has just left cannot come in again before the one that waits.
func TestGateGivesTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.db")
	makeFile(t, path, "CREATE TABLE t (id INTEGER)")
	var gates [3]*fairGate
	for i := range gates {
		g, err := openGate(path)
		if err != nil {
			t.Fatal(err)
		}
		gates[i] = g.(*fairGate)
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	first, second, onlooker := gates[0], gates[1], gates[2]
	if err := first.Lock(); err != nil {
		t.Fatal(err)
	}
	var turns atomic.Int64
	for round := range int64(100) {
		var all sync.WaitGroup
		all.Go(func() {
			if err := second.Lock(); err != nil {
				t.Error(err)
			}
			turns.Add(1)
			if err := second.Unlock(); err != nil {
				t.Error(err)
			}
		})
		for !placeTaken(t, onlooker) {
			runtime.Gosched()
		}
		if err := errors.Join(first.Unlock(), first.Lock()); err != nil {
			t.Fatal(err)
		}
		if n := turns.Load(); n != round+1 {
			t.Fatalf("after %d turns of the first the second had %d", round+1, n)
		}
		all.Wait()
	}
	if err := first.Unlock(); err != nil {
		t.Error(err)
	}
}

// placeTaken reports whether another has the place before the turnstile.
func placeTaken(t *testing.T, g *fairGate) bool {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
	if err := unix.FcntlFlock(uintptr(g.place), unix.F_OFD_GETLK, &lock); err != nil {
		t.Fatal(err)
	}
	return lock.Type != unix.F_UNLCK
}
