package netcore

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Holder names the process that listens on an endpoint, or on one that stands in its way: "nginx (pid 812)". With several
// that share the socket it is the oldest: a master rather than its children, also after the numbers have wrapped around. ok is false when /proc does not show
// it: another user's process, another namespace, or nobody. It reads much of /proc: call it to explain a failed Probe,
// not to make one.
func Holder(e Endpoint) (desc string, ok bool) {
	return proc("/proc").holder(e)
}

// proc is the root of the proc file system (proc(5)); tests have one of their own.
type proc string

func (root proc) holder(e Endpoint) (desc string, ok bool) {
	var inodes []uint64
	switch e.Network {
	case tcpNetwork:
		inodes = root.tcpListeners(e)
	case unixNetwork:
		inodes = root.unixListeners(e.Path)
	}
	for _, inode := range inodes {
		if pid, found := root.owner(inode); found {
			return fmt.Sprintf("%s (pid %d)", root.name(pid), pid), true
		}
	}
	return "", false
}

// tcpListeners are the inodes of the listeners that overlap the endpoint, the closest match first.
func (root proc) tcpListeners(e Endpoint) []uint64 {
	var ranked [4][]uint64
	for _, table := range []string{"/net/tcp", "/net/tcp6"} {
		for line := range root.lines(table) {
			if s, ok := parseTCPLine(line); ok && s.listening {
				if rank := overlap(e, s.local); rank > 0 {
					ranked[4-rank] = append(ranked[4-rank], s.inode)
				}
			}
		}
	}
	return slices.Concat(ranked[:]...)
}

// overlap says whether a listener on the address can refuse the endpoint: 0 no, 4 the same address, 3 a wildcard of the
// same family, 2 the wildcard of the other family, of which /proc does not say whether it is dual-stack, 1 an IPv4
// address under a dual-stack endpoint.
func overlap(e Endpoint, other netip.AddrPort) int {
	ours, theirs := e.Addr.Addr().Unmap().WithZone(""), other.Addr().Unmap()
	switch {
	case e.Addr.Port() != other.Port():
		return 0
	case ours == theirs:
		return 4
	case ours.Is4() == theirs.Is4() && (ours.IsUnspecified() || theirs.IsUnspecified()):
		return 3
	case ours.Is4() && theirs.Is6() && theirs.IsUnspecified():
		return 2
	case ours.Is6() && theirs.Is4() && ours.IsUnspecified() && e.DualStack:
		return 1
	}
	return 0
}

func (root proc) unixListeners(path string) []uint64 {
	var inodes []uint64
	for line := range root.lines("/net/unix") {
		if s, ok := parseUnixLine(line); ok && s.listening && s.path == path {
			inodes = append(inodes, s.inode)
		}
	}
	return inodes
}

// lines are the lines of a file without its heading; none when it cannot be read.
func (root proc) lines(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		content, err := os.ReadFile(string(root) + name)
		if err != nil {
			return
		}
		first := true
		for line := range strings.Lines(string(content)) {
			if first {
				first = false
				continue
			}
			if !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	}
}

type tcpSocket struct {
	local     netip.AddrPort
	listening bool
	inode     uint64
}

// parseTCPLine reads a line of /proc/net/tcp or tcp6 (kernel: Documentation/networking/proc_net_tcp.rst):
//
//	sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode …
//	 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3542 …
func parseTCPLine(line string) (s tcpSocket, ok bool) {
	const local, state, inode = 1, 3, 9
	fields := strings.Fields(line)
	if len(fields) <= inode {
		return tcpSocket{}, false
	}
	if s.local, ok = parseHexAddress(fields[local]); !ok {
		return tcpSocket{}, false
	}
	s.listening = fields[state] == "0A" // TCP_LISTEN
	n, err := strconv.ParseUint(fields[inode], 10, 64)
	if err != nil {
		return tcpSocket{}, false
	}
	s.inode = n
	return s, true
}

// parseHexAddress reads an address of one or four 32-bit words in the machine's byte order, a colon and a port.
func parseHexAddress(text string) (netip.AddrPort, bool) {
	host, service, ok := strings.Cut(text, ":")
	if !ok || len(host) != 8 && len(host) != 32 || len(service) != 4 {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(service, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	var address []byte
	for word := range slices.Chunk([]byte(host), 8) {
		n, err := strconv.ParseUint(string(word), 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		address = binary.NativeEndian.AppendUint32(address, uint32(n))
	}
	ip, ok := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(ip, uint16(port)), ok
}

type unixSocket struct {
	path      string
	listening bool
	inode     uint64
}

// parseUnixLine reads a line of /proc/net/unix (unix(7), proc(5)). A path may hold spaces; an unbound socket has none.
//
//	Num               RefCount Protocol Flags    Type St Inode Path
//	ffff9a0c3d0a4c00: 00000002 00000000 00010000 0001 01 21398 /run/x.sock
func parseUnixLine(line string) (s unixSocket, ok bool) {
	const acceptsConnections = 1 << 16 // __SO_ACCEPTCON
	rest := line
	var fields [7]string
	for i := range fields {
		rest = strings.TrimLeft(rest, " ")
		fields[i], rest, _ = strings.Cut(rest, " ")
		if fields[i] == "" {
			return unixSocket{}, false
		}
	}
	flags, err := strconv.ParseUint(fields[3], 16, 64)
	if err != nil {
		return unixSocket{}, false
	}
	if s.inode, err = strconv.ParseUint(fields[6], 10, 64); err != nil {
		return unixSocket{}, false
	}
	s.listening = flags&acceptsConnections != 0
	s.path = rest
	return s, true
}

// owner is the oldest process that has the socket open.
func (root proc) owner(inode uint64) (pid int, ok bool) {
	entries, err := os.ReadDir(string(root))
	if err != nil {
		return 0, false
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	var oldest uint64
	for _, entry := range entries {
		n, err := strconv.Atoi(entry.Name())
		if err != nil || !root.opens(n, want) {
			continue
		}
		if started := root.started(n); !ok || started < oldest || started == oldest && n < pid {
			pid, oldest, ok = n, started, true
		}
	}
	return pid, ok
}

// started is when a process began, in ticks since the boot (field 22 of /proc/PID/stat, proc(5)); 0 when it cannot be read.
func (root proc) started(pid int) uint64 {
	const behindName = 22 - 3 // the name, field 2, may hold anything; it ends at the last parenthesis
	content, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", string(root), pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(content[strings.LastIndex(string(content), ")")+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) <= behindName {
		return 0
	}
	ticks, err := strconv.ParseUint(fields[behindName], 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

func (root proc) opens(pid int, want string) bool {
	dir := fmt.Sprintf("%s/%d/fd", string(root), pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended, or is another user's
	}
	for _, entry := range entries {
		if target, err := os.Readlink(dir + "/" + entry.Name()); err == nil && target == want {
			return true
		}
	}
	return false
}

// name is the process's name, made safe for a terminal: a process can call itself anything.
func (root proc) name(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("%s/%d/comm", string(root), pid))
	if err != nil {
		return "?"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSuffix(string(content), "\n"))
}
