package netcore

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fullBacklog is the default of ListenOptions.Backlog; the kernel lowers it to net.core.somaxconn.
const fullBacklog = 65535

// maxPath is the number of bytes that sockaddr_un has for a path, less the final zero (unix(7)).
const maxPath = 107

// ListenOptions are the options of Listen. The zero value is a plain listener.
type ListenOptions struct {
	ReusePort   bool          // SO_REUSEPORT: join the group of shards of this address (tcp only)
	Backlog     int           // connections that wait for accept; 0 is 65535; the kernel caps it at net.core.somaxconn
	DeferAccept time.Duration // TCP_DEFER_ACCEPT: accept when data has come, or after this time; whole seconds, rounded up
	Mode        fs.FileMode   // permissions of a unix socket's file; 0 leaves them to the umask
}

// Listen opens a listening socket, non-blocking and close-on-exec: Bind and StartListening in one. TCP sockets have
// SO_REUSEADDR, and TCP_NODELAY, which accepted connections inherit. A unix socket's file that nobody answers on is
// replaced; anything else at that path is an error (EADDRINUSE), and the mode is in force before the first client can
// connect.
//
// With ReusePort a port that another server of the same user holds is no error: call Probe before the first shard.
// Errors name the operation and wrap its errno: "listen 127.0.0.1:80: bind: permission denied".
func Listen(e Endpoint, o ListenOptions) (fd int, err error) {
	if fd, err = Bind(e, o); err != nil {
		return -1, err
	}
	if err := StartListening(fd, o); err != nil {
		_ = Close(fd)
		if e.Network == unixNetwork {
			_ = unix.Unlink(e.Path)
		}
		return -1, err
	}
	return fd, nil
}

// Bind opens a socket at an endpoint that does not listen yet: no client reaches it, and it is in no group of shards. So
// all sockets of a change can be taken, or refused, before the first of them gets a connection that would be lost by
// giving up. Until StartListening a unix socket's file is taken for a dead server's by whoever tries it.
func Bind(e Endpoint, o ListenOptions) (fd int, err error) {
	switch e.Network {
	case tcpNetwork:
		fd, err = bindTCP(e, o)
	case unixNetwork:
		fd, err = bindUnix(e.Path, o)
	default:
		err = fmt.Errorf("network %q: %w", e.Network, unix.EAFNOSUPPORT)
	}
	if err != nil {
		return -1, fmt.Errorf("listen %s: %w", e, err)
	}
	return fd, nil
}

// StartListening lets clients connect to a socket that Bind has made. Of the options only the backlog counts. A TCP
// socket with SO_REUSEPORT joins the group of its address as the last. A socket that listens already gets the backlog
// alone, and loses nothing. After an error the socket is the caller's to close, and a unix socket's file to remove.
func StartListening(fd int, o ListenOptions) error {
	backlog := o.Backlog
	if backlog <= 0 {
		backlog = fullBacklog
	}
	if err := unix.Listen(fd, backlog); err != nil {
		at := fmt.Sprintf("fd %d", fd)
		if local, unknown := Local(fd); unknown == nil {
			at = local.String()
		}
		return fmt.Errorf("listen %s: listen: %w", at, err)
	}
	return nil
}

func bindTCP(e Endpoint, o ListenOptions) (_ int, err error) {
	fd, address, err := openTCP(e)
	if err != nil {
		return -1, err
	}
	defer closeOnError(fd, &err)
	if o.ReusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return -1, fmt.Errorf("setsockopt SO_REUSEPORT: %w", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return -1, fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	if o.DeferAccept > 0 {
		if err := SetDeferAccept(fd, o.DeferAccept); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, address); err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

// openTCP makes the socket of an endpoint, with the options that Listen and Probe share, and its address for bind.
func openTCP(e Endpoint) (_ int, _ unix.Sockaddr, err error) {
	family, address, err := socketAddress(e.Addr)
	if err != nil {
		return -1, nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	defer closeOnError(fd, &err)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, nil, fmt.Errorf("setsockopt SO_REUSEADDR: %w", err)
	}
	if family == unix.AF_INET6 {
		// Said in both cases: the default is a sysctl (net.ipv6.bindv6only).
		only := 1
		if e.DualStack {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return -1, nil, fmt.Errorf("setsockopt IPV6_V6ONLY: %w", err)
		}
	}
	return fd, address, nil
}

// socketAddress turns an address into the kernel's form. An IPv4-mapped address is IPv4; a zone is an interface's name
// or its number.
func socketAddress(a netip.AddrPort) (family int, _ unix.Sockaddr, err error) {
	ip := a.Addr().Unmap()
	switch {
	case ip.Is4():
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, nil
	case ip.Is6():
		address := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
		if zone := ip.Zone(); zone != "" {
			if address.ZoneId, err = zoneIndex(zone); err != nil {
				return 0, nil, err
			}
		}
		return unix.AF_INET6, address, nil
	}
	return 0, nil, fmt.Errorf("no address: %w", unix.EADDRNOTAVAIL)
}

func zoneIndex(zone string) (uint32, error) {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("zone %q: no such network interface: %w", zone, unix.ENODEV)
	}
	return uint32(link.Index), nil
}

// bindUnix: what stands at the path is judged, bind makes the file, chmod comes before listen, since until then every
// connect is refused.
func bindUnix(path string, o ListenOptions) (_ int, err error) {
	if err := checkPath(path); err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	defer closeOnError(fd, &err)
	if err := removeStale(path); err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Unlink(path)
		}
	}()
	if o.Mode != 0 {
		if err := unix.Chmod(path, uint32(o.Mode.Perm())); err != nil {
			return -1, fmt.Errorf("chmod: %w", err)
		}
	}
	return fd, nil
}

// checkPath refuses what bind would cut short or take for an abstract name.
func checkPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("empty path: %w", unix.EINVAL)
	case len(path) > maxPath:
		return fmt.Errorf("the path has %d bytes, a unix socket's path has at most %d: %w", len(path), maxPath, unix.ENAMETOOLONG)
	case path[0] == '@' || strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("an abstract name is not supported, give a path: %w", unix.EINVAL)
	}
	return nil
}

// removeStale unlinks the socket file of a dead server and refuses everything else that stands at the path. The inode is
// compared right before the unlink: another server may have replaced the file since the probe.
func removeStale(path string) error {
	var before, now unix.Stat_t
	if err := unix.Lstat(path, &before); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("lstat: %w", err)
	}
	if err := probeUnix(path); err != nil {
		return err
	}
	if err := unix.Lstat(path, &now); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("lstat: %w", err)
	}
	if now.Dev != before.Dev || now.Ino != before.Ino || now.Ctim != before.Ctim {
		return fmt.Errorf("another server has just taken the path: %w", unix.EADDRINUSE)
	}
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return fmt.Errorf("unlink the stale socket: %w", err)
	}
	return nil
}

// Local is the endpoint that a socket is bound to, with the port that the kernel has chosen. DualStack is true for an
// IPv6 socket on the unspecified address that takes IPv4 too. An unbound unix socket has an empty path.
func Local(fd int) (Endpoint, error) {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return Endpoint{}, fmt.Errorf("local address of fd %d: getsockname: %w", fd, err)
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return Endpoint{Network: tcpNetwork, Addr: netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))}, nil
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(a.ZoneId), 10))
		}
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return Endpoint{}, fmt.Errorf("local address of fd %d: getsockopt IPV6_V6ONLY: %w", fd, err)
		}
		return Endpoint{
			Network:   tcpNetwork,
			Addr:      netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)),
			DualStack: ip.IsUnspecified() && only == 0,
		}, nil
	case *unix.SockaddrUnix:
		return Endpoint{Network: unixNetwork, Path: a.Name}, nil
	}
	return Endpoint{}, fmt.Errorf("local address of fd %d: %w", fd, unix.EAFNOSUPPORT)
}

func closeOnError(fd int, err *error) {
	if *err != nil {
		_ = Close(fd)
	}
}

// hostUint16 reads a number that the kernel stores in network order inside a native field.
func hostUint16(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}
