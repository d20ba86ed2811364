package lite

import (
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A breath is a descriptor that a statement waits on for a moment, so that the scheduler asks the network poller. At GOMAXPROCS 1 nothing else
// does while a goroutine computes: runtime.Gosched finds it again at once, and the monitor comes every 10 ms. The wait is over with the same look
// that finds others' sockets. time.Sleep would do too, but takes a millisecond where nobody else has work: the poller counts in these.
type breath struct {
	conn  syscall.RawConn
	file  *os.File // keeps conn open
	asked bool
	wait  func(fd uintptr) bool // b.step, made once
}

// breaths are those that nobody waits on: as many as statements have ever been long at once.
var breaths struct {
	mu   sync.Mutex
	free []*breath
}

// breathe lets all goroutines run that could, those included that wait for the network. If it cannot, for want of descriptors, it does nothing more
// than runtime.Gosched.
func breathe() {
	breaths.mu.Lock()
	var b *breath
	if n := len(breaths.free); n > 0 {
		b = breaths.free[n-1]
		breaths.free = breaths.free[:n-1]
	}
	breaths.mu.Unlock()
	if b == nil {
		b = newBreath()
	}
	if b != nil {
		b.asked = false
		if err := b.conn.Read(b.wait); err == nil {
			breaths.mu.Lock()
			breaths.free = append(breaths.free, b)
			breaths.mu.Unlock()
		}
	}
	runtime.Gosched() // those that were found with it come first
}

// newBreath returns nil if there is no descriptor to be had.
func newBreath() *breath {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	b := &breath{file: os.NewFile(uintptr(fd), "breath")}
	if b.conn, err = b.file.SyscallConn(); err != nil {
		_ = b.file.Close() // nothing was written
		return nil
	}
	b.wait = b.step
	return b
}

// step makes the descriptor ready, which the poller tells once for each write (it is edge-triggered), and is done when it has told. The sum that is
// written is never read: it takes longer than any process lives until it is full (eventfd(2)).
func (b *breath) step(fd uintptr) bool {
	if b.asked {
		return true
	}
	b.asked = true
	one := [8]byte{1}
	_, err := unix.Write(int(fd), one[:])
	return err != nil // who waited would wait for ever
}
