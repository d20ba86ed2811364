package netcore

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Accept takes one connection from a listening socket, non-blocking and close-on-exec. peer is its address: an
// IPv4-mapped one as IPv4, without an IPv6 zone (it is for logs and limits, not for connecting), and the zero AddrPort
// for a unix socket. The listener must be non-blocking, as Listen makes it: the call is made without telling Go's
// scheduler.
//
// err is a bare unix.Errno: EAGAIN when the queue is empty, ECONNABORTED and the network's errors of accept(2) for a
// connection that died in the queue (try again), EMFILE and ENFILE when descriptors are out (see Reserve).
func Accept(fd int) (conn int, peer netip.AddrPort, err error) {
	for {
		var raw unix.RawSockaddrAny
		size := uint32(unix.SizeofSockaddrAny)
		n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			return int(n), peerAddress(&raw), nil
		case unix.EINTR:
		default:
			return -1, netip.AddrPort{}, errno
		}
	}
}

func peerAddress(raw *unix.RawSockaddrAny) netip.AddrPort {
	switch raw.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), hostUint16(a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), hostUint16(a.Port))
	}
	return netip.AddrPort{}
}
