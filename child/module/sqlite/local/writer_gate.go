package local

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/lite"
)

// A fairGate is the turnstile with a place before it, for one. flock gives no turns: who has just unlocked can lock again before any of those that
// it has woken runs, and a child under load did, thousands of times in a row. Here it would have to take the place first, which is held by the one
// that waits for the turnstile: of two children each gets every second turn. Who uses the turnstile alone is as good as one more child.
//
// The place is the lock of another kind on the same file (open file description locks, fcntl(2)), which knows nothing of flock.
type fairGate struct {
	turnstile *lite.Turnstile
	place     int // descriptor
}

// openGate opens the gate of the database at path.
func openGate(path string) (gate, error) {
	turnstile, err := lite.OpenTurnstile(path)
	if err != nil {
		return nil, err
	}
	path += "-turnstile"
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		switch {
		case err == nil:
			return &fairGate{turnstile, fd}, nil
		case !errors.Is(err, unix.EINTR):
			return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: err}, turnstile.Close())
		}
	}
}

// Lock takes the place, the turnstile, and gives the place to the next. It blocks its thread.
func (g *fairGate) Lock() error {
	if err := g.take(unix.F_WRLCK); err != nil {
		return fmt.Errorf("take the place before the turnstile: %w", err)
	}
	if err := g.turnstile.Lock(); err != nil {
		return errors.Join(err, g.take(unix.F_UNLCK))
	}
	if err := g.take(unix.F_UNLCK); err != nil {
		return errors.Join(fmt.Errorf("give the place before the turnstile: %w", err), g.turnstile.Unlock())
	}
	return nil
}

func (g *fairGate) Unlock() error { return g.turnstile.Unlock() }

func (g *fairGate) Close() error { return errors.Join(unix.Close(g.place), g.turnstile.Close()) }

func (g *fairGate) take(kind int16) error {
	lock := unix.Flock_t{Type: kind, Len: 1}
	for {
		if err := unix.FcntlFlock(uintptr(g.place), unix.F_OFD_SETLKW, &lock); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
