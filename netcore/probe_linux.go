package netcore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Probe says whether an endpoint is free; nil means that it is. It is the answer to SO_REUSEPORT, by which a second
// server of the same user joins a port without an error, and traffic splits silently. Call it before the first shard of
// an address is opened, and not while this process holds one.
//
// TCP: a socket without SO_REUSEPORT is bound and closed again. The kernel refuses the bind (EADDRINUSE) while anybody
// listens on this address, on the wildcard over it or on one below it, in IPv4 and, if either is dual-stack, in IPv6.
// SO_REUSEADDR is set, so that connections in TIME_WAIT do not refuse. Port 0 is always free.
//
// Unix: a server that answers connect refuses (EADDRINUSE), as does a file that is not a socket (ENOTSOCK); a dead
// server's file is free. The server that answers sees a connection that is closed at once.
func Probe(e Endpoint) error {
	var err error
	switch e.Network {
	case tcpNetwork:
		err = probeTCP(e)
	case unixNetwork:
		if err = checkPath(e.Path); err == nil {
			err = probeUnix(e.Path)
		}
	default:
		err = fmt.Errorf("network %q: %w", e.Network, unix.EAFNOSUPPORT)
	}
	if err != nil {
		return fmt.Errorf("probe %s: %w", e, err)
	}
	return nil
}

// HasIPv6 says whether the kernel has IPv6: not with ipv6.disable=1 on its command line, nor under a filter that allows no such sockets.
func HasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd) // nothing can be lost
	}
	return err != unix.EAFNOSUPPORT
}

func probeTCP(e Endpoint) error {
	fd, address, err := openTCP(e)
	if err != nil {
		return err
	}
	defer func() { _ = Close(fd) }()
	if err := unix.Bind(fd, address); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func probeUnix(path string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("lstat: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("the path exists and is not a socket: %w", unix.ENOTSOCK)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = Close(fd) }()
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
	case unix.ECONNREFUSED, unix.ENOENT:
		return nil
	case nil, unix.EAGAIN, unix.EPROTOTYPE:
		// EAGAIN: its queue is full. EPROTOTYPE: it is no stream socket, but somebody has it open.
		return fmt.Errorf("connect: a server answers: %w", unix.EADDRINUSE)
	default:
		return fmt.Errorf("connect: %w", err)
	}
}
