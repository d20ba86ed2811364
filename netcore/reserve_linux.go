package netcore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Reserve holds one spare descriptor, so that a process that is out of them (EMFILE, ENFILE) can still accept a
// connection in order to refuse it. Otherwise the connection waits in the queue and the loop spins on it. The order is
// Release, Accept, answer, Close, Refill. The zero value holds nothing; Refill fills it. Owner: the loop.
type Reserve struct {
	spare int
	held  bool
}

// Refill takes the descriptor, on /dev/null, unless it is held already.
func (r *Reserve) Refill() error {
	if r.held {
		return nil
	}
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("reserve a descriptor: open /dev/null: %w", err)
	}
	r.spare, r.held = fd, true
	return nil
}

// Release frees the descriptor, and says whether there was one.
func (r *Reserve) Release() bool {
	if !r.held {
		return false
	}
	_ = Close(r.spare)
	r.held = false
	return true
}

// RaiseFileLimit raises the soft limit of open files to the hard limit, for this process and those that it starts, and
// returns the soft limit that is then in force (RLIMIT_NOFILE, getrlimit(2)).
func RaiseFileLimit() (soft uint64, err error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("file limit: getrlimit: %w", err)
	}
	soft = limit.Cur
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return soft, fmt.Errorf("file limit: setrlimit to %d: %w", limit.Max, err)
	}
	return limit.Cur, nil
}
