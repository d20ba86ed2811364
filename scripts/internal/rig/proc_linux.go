package rig

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Member is one process of a tree.
type Member struct {
	Pid, Parent int
	State       byte   // as in proc_pid_stat(5): R, S, D, T, Z …
	started     uint64 // tells a process from a later one with the same id
}

// parseStat reads a line of /proc/PID/stat, proc_pid_stat(5). The second field is a name in
// parentheses that may itself hold spaces and parentheses.
func parseStat(line []byte) (Member, error) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || shut < open {
		return Member{}, fmt.Errorf("stat: no name in %q", line)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	if err != nil {
		return Member{}, fmt.Errorf("stat: %w", err)
	}
	fields := strings.Fields(string(line[shut+1:])) // from field 3 on
	if len(fields) < 20 {
		return Member{}, fmt.Errorf("stat: %d fields after the name", len(fields))
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Member{}, fmt.Errorf("stat: parent: %w", err)
	}
	started, err := strconv.ParseUint(fields[19], 10, 64) // field 22
	if err != nil {
		return Member{}, fmt.Errorf("stat: start time: %w", err)
	}
	return Member{Pid: pid, Parent: parent, State: fields[0][0], started: started}, nil
}

// Look reads one process.
func Look(pid int) (Member, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Member{}, err
	}
	return parseStat(line)
}

// alive reports whether this process, and not a later one with its id, is there.
func (m Member) alive() bool {
	now, err := Look(m.Pid)
	return err == nil && now.started == m.started && now.State != 'Z'
}

// Tree is the process and its descendants, parents first. It is empty when there is none.
func Tree(root int) []Member {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := make(map[int][]Member)
	var tree []Member
	for _, name := range stats {
		line, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended since
		}
		m, err := parseStat(line)
		if err != nil || m.State == 'Z' {
			continue
		}
		if m.Pid == root {
			tree = append(tree, m)
		}
		children[m.Parent] = append(children[m.Parent], m)
	}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i].Pid]...)
	}
	return tree
}

// Stopped reports whether every thread of a process has stopped (SIGSTOP).
func Stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/stat", pid))
	for _, name := range threads {
		line, err := os.ReadFile(name)
		if err != nil {
			return false
		}
		if m, err := parseStat(line); err != nil || m.State != 'T' {
			return false
		}
	}
	return len(threads) > 0
}

// CPU is the processor time that a tree has used so far: user and system, threads that
// have ended included, in nanoseconds and not in ticks. It reads each process's CPU clock
// (clock_getcpuclockid(3)), which any process may.
func CPU(tree []Member) (time.Duration, error) {
	var sum time.Duration
	for _, m := range tree {
		var t unix.Timespec
		// The clock of a process, scheduler's count: see CPUCLOCK_SCHED in
		// include/linux/posix-timers.h.
		const cpuClockSched = 2
		if err := unix.ClockGettime(int32(^m.Pid<<3|cpuClockSched), &t); err != nil {
			return 0, fmt.Errorf("CPU clock of process %d: %w", m.Pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// PrivateMemory is the memory, in bytes, that only this tree's processes hold:
// Private_Clean + Private_Dirty (and private huge pages) of /proc/PID/smaps_rollup.
func PrivateMemory(tree []Member) (int64, error) {
	sum, err := sumSmaps(tree)
	return sum.private(), err
}

// OwnMemory is the memory, in bytes, that the tree's processes have written themselves, and
// that nobody gets back unless they free it: the larger of Private_Dirty and Anonymous of
// /proc/PID/smaps_rollup, which overlap. Pages of the program's file are not in it.
func OwnMemory(tree []Member) (int64, error) {
	sum, err := sumSmaps(tree)
	return max(sum["Private_Dirty:"], sum["Anonymous:"]), err
}

// smaps are the fields of /proc/PID/smaps_rollup with their colon, in bytes.
type smaps map[string]int64

func (s smaps) private() int64 {
	return s["Private_Clean:"] + s["Private_Dirty:"] + s["Private_Hugetlb:"]
}

func sumSmaps(tree []Member) (smaps, error) {
	sum := make(smaps)
	for _, m := range tree {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", m.Pid))
		if err != nil {
			return nil, err
		}
		one, err := parseSmaps(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		for name, n := range one {
			sum[name] += n
		}
	}
	return sum, nil
}

func parseSmaps(r io.Reader) (smaps, error) {
	fields := make(smaps)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 3 || words[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return nil, err
		}
		fields[words[0]] += n << 10
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if _, ok := fields["Private_Dirty:"]; !ok {
		return nil, errors.New("no private memory in it")
	}
	return fields, nil
}

// Descriptors counts the open descriptors of a tree.
func Descriptors(tree []Member) (int, error) {
	sum := 0
	for _, m := range tree {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.Pid))
		if err != nil {
			return 0, err
		}
		sum += len(open)
	}
	return sum, nil
}

// Threads counts the threads of a tree.
func Threads(tree []Member) (int, error) {
	sum := 0
	for _, m := range tree {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", m.Pid))
		if err != nil {
			return 0, err
		}
		sum += len(tasks)
	}
	return sum, nil
}

// Socket is a line of /proc/net/tcp.
type Socket struct {
	Local, Remote netip.AddrPort
	State         uint8 // TCP_ESTABLISHED 1, TCP_LISTEN 10 …
	// Inode is 0 for a connection that no process has accepted yet.
	Inode uint64
}

// States of [Socket], include/net/tcp_states.h.
const (
	Established = 1
	Listening   = 10
)

// Sockets reads the IPv4 sockets of the calling thread's network namespace whose local port is port.
func Sockets(port uint16) ([]Socket, error) {
	f, err := os.Open("/proc/thread-self/net/tcp")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := parseTCP(bufio.NewReaderSize(f, 1<<20), port)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return all, nil
}

func parseTCP(r io.Reader, port uint16) ([]Socket, error) {
	var all []Socket
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !strings.HasSuffix(fields[1], suffix) {
			continue
		}
		local, err := parseHexAddress(fields[1])
		if err != nil {
			return nil, err
		}
		remote, err := parseHexAddress(fields[2])
		if err != nil {
			return nil, err
		}
		state, err := strconv.ParseUint(fields[3], 16, 8)
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, Socket{Local: local, Remote: remote, State: uint8(state), Inode: inode})
	}
	return all, lines.Err()
}

// parseHexAddress reads 0100007F:1F90, whose address is in the order of the machine's
// bytes: this reads little-endian machines'.
func parseHexAddress(s string) (netip.AddrPort, error) {
	address, port, ok := strings.Cut(s, ":")
	if !ok || len(address) != 8 {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	a, err := strconv.ParseUint(address, 16, 32)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(a), byte(a >> 8), byte(a >> 16), byte(a >> 24)}), uint16(p)), nil
}

// SocketInodes are the sockets that a process has open.
func SocketInodes(pid int) ([]uint64, error) {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var inodes []uint64
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(folder, e.Name()))
		if err != nil {
			continue
		}
		if number, ok := strings.CutPrefix(target, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
				inodes = append(inodes, inode)
			}
		}
	}
	slices.Sort(inodes)
	return inodes, nil
}
