package lite

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On one processor, who waits for the network runs while a statement takes breath.
func TestBreathLetsThePollerIn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 50 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var ran atomic.Bool
		waits := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			close(waits)
			var b [1]byte
			_, _ = r.Read(b[:]) // what matters is that it returns
			ran.Store(true)
		}()
		<-waits
		for range 10 {
			runtime.Gosched() // it waits by now
		}
		fd := int(w.Fd())
		if _, err := unix.Write(fd, []byte{1}); err != nil {
			t.Fatal(err)
		}
		for range 20 { // one or two are enough, but for what else the process is about; to be preempted takes longer than all
			breathe()
		}
		if !ran.Load() {
			t.Error("it has not run")
		}
		<-done
		_, _ = r.Close(), w.Close()
	}
	breaths.mu.Lock()
	defer breaths.mu.Unlock()
	if len(breaths.free) == 0 {
		t.Error("there is no descriptor")
	}
}

// A statement takes breath when it has run for its time, and not before.
func TestProgressBreathes(t *testing.T) {
	_, c := newFile(t)
	d := &c.deadline
	d.begin(0, nil)
	if progress(nil, c.number) != 0 || d.breathe == 0 {
		t.Fatal("the first look does not say when")
	}
	first := d.breathe
	d.breathe += time.Hour
	if progress(nil, c.number); d.breathe != first+time.Hour {
		t.Error("a breath was taken too early")
	}
	d.breathe = 1
	if progress(nil, c.number); d.breathe < first {
		t.Error("no breath was taken")
	}
	c.Interrupt()
	if progress(nil, c.number) == 0 {
		t.Error("it goes on")
	}
}
