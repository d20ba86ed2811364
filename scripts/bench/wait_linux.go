package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wait2 is epoll_pwait2(2): a wait in nanoseconds, where epoll_wait counts milliseconds.
func wait2(epoll int, events []unix.EpollEvent, ns int64) (int, error) {
	t := unix.NsecToTimespec(ns)
	n, _, e := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&t)), 0, 0)
	if e == unix.EINTR {
		return 0, nil
	}
	if e != 0 {
		return 0, fmt.Errorf("epoll_pwait2: %w", e)
	}
	return int(n), nil
}
