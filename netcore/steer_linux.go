package netcore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// What the kernel offers a classic program beside the packet (linux/filter.h).
const (
	ancillaryOffset = -0x1000 // SKF_AD_OFF
	ancillaryRandom = 56      // SKF_AD_RANDOM: 32 bits, another number for every packet
)

// noShard is an index that no group reaches: for it the kernel falls back to its hash.
const noShard = 0xffff_ffff

// Steer lets new connections to a group of SO_REUSEPORT sockets reach its first shards only, each as likely as the others. The order in
// the group is the one in which they began to listen; when one is closed, the last takes its place: so steer away from the tail, and
// close it from the end. fd is any listening socket of the group; the program belongs to the group, outlives fd and this process, and
// replaces an earlier one. Connections, and handshakes that have begun, stay where they are: shards that are steered away from may still
// hold a queue, and get connections from handshakes under way.
//
// An index beyond the group makes the kernel use its hash, over all: shards must not be more than the group has.
func Steer(fd, shards int) error {
	if shards < 1 {
		return fmt.Errorf("steer fd %d to %d shards: %w", fd, shards, unix.EINVAL)
	}
	err := attachSteering(fd, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: (ancillaryOffset + ancillaryRandom) & 0xffff_ffff},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(shards)},
		{Code: unix.BPF_RET | unix.BPF_A},
	})
	if err != nil {
		return fmt.Errorf("steer fd %d to %d shards: %w", fd, shards, err)
	}
	return nil
}

// Unsteer gives the choice back to the kernel's hash, over all shards of the group. A group that is not steered stays so, without an
// error. Linux can take a program away from 5.3 on; before, it is replaced by one that leaves every choice to the hash.
func Unsteer(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
	switch err {
	case nil, unix.ENOENT: // ENOENT: there is none
		return nil
	case unix.ENOPROTOOPT:
		err = leaveToHash(fd)
	default:
		err = fmt.Errorf("setsockopt SO_DETACH_REUSEPORT_BPF: %w", err)
	}
	if err != nil {
		return fmt.Errorf("unsteer fd %d: %w", fd, err)
	}
	return nil
}

// leaveToHash is Unsteer for a kernel that cannot detach.
func leaveToHash(fd int) error {
	return attachSteering(fd, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: noShard}})
}

func attachSteering(fd int, program []unix.SockFilter) error {
	// A socket that does not listen yet would get a group of its own, with a program that never does anything, and could not join the
	// others any more.
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case err != nil:
		return fmt.Errorf("getsockopt SO_ACCEPTCONN: %w", err)
	case listening == 0:
		return fmt.Errorf("the socket does not listen: %w", unix.EINVAL)
	}
	attached := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &attached); err != nil {
		return fmt.Errorf("setsockopt SO_ATTACH_REUSEPORT_CBPF: %w", err)
	}
	return nil
}
