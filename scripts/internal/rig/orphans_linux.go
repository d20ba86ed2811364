package rig

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// TakeOrphans makes this process the parent of descendants whose parents have died, so
// that [EndOrphans] can find them: a prefork server's children outlive their master.
func TakeOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// EndOrphans kills every descendant of this process. A program calls it last.
func EndOrphans() {
	for range 3 { // one that was just killed may have left children
		family := Tree(os.Getpid())
		if len(family) <= 1 {
			return
		}
		for _, m := range family[1:] {
			_ = syscall.Kill(m.Pid, syscall.SIGKILL)
		}
		for _, m := range family[1:] {
			for {
				_, err := syscall.Wait4(m.Pid, nil, 0, nil)
				if !errors.Is(err, syscall.EINTR) {
					break
				}
			}
		}
	}
}
