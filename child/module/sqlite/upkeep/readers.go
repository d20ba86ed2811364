package upkeep

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Who reads a database is asked of the kernel's list of locks, not by fcntl(2): that would need a descriptor of the -shm file, whose closing
// drops this process's own locks.
//
// The bytes of the -shm file that SQLite locks (https://www.sqlite.org/walformat.html#wal_locks): 120 who writes, 121 who checkpoints, 122
// who recovers, 123 to 127 who reads, each with a mark of its own: the last frame of the WAL that its readers see. What is behind the oldest
// mark is not copied into the database, and the WAL cannot begin anew.
const (
	lockWrite = 120
	lockRead0 = 123
	readMarks = 5
)

// A reader is a process that holds marks of a database.
type reader struct {
	pid  int
	mark uint32 // the oldest; unknown marks are 0
}

// readers returns who reads the database at path, those with the oldest marks first. known: the marks are known, which takes a connection of
// this process that has read.
func readers(path string) (list []reader, known bool, err error) {
	var shm unix.Stat_t
	if err := unix.Stat(path+"-shm", &shm); err != nil {
		return nil, false, fmt.Errorf("stat %s-shm: %w", path, err)
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, false, err
	}
	marks, known := readMarksOf(path, &shm)
	oldest := map[int]uint32{}
	for _, l := range parseLocks(locks) {
		if l.inode != shm.Ino || l.pid <= 0 || l.device != uint64(shm.Dev) && !hasOpen(l.pid, &shm) {
			continue
		}
		for slot := range readMarks {
			if at := int64(lockRead0 + slot); l.start <= at && at <= l.end {
				if mark, seen := oldest[l.pid]; !seen || marks[slot] < mark {
					oldest[l.pid] = marks[slot]
				}
			}
		}
	}
	for pid, mark := range oldest {
		list = append(list, reader{pid, mark})
	}
	slices.SortFunc(list, func(a, b reader) int {
		if a.mark != b.mark {
			return int(int64(a.mark) - int64(b.mark))
		}
		return a.pid - b.pid
	})
	return list, known, nil
}

// A fileLock is a POSIX lock that somebody holds.
type fileLock struct {
	pid        int // as this process sees it; 0 or less: of somebody it cannot see
	device     uint64
	inode      uint64
	start, end int64
}

var lockLine = regexp.MustCompile(`^\d+: POSIX +\S+ +(?:READ|WRITE) +(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (\d+|EOF)$`)

// parseLocks reads /proc/locks (proc_locks(5)). Who waits for a lock ("->"), and locks of other kinds, are left out.
func parseLocks(text []byte) (list []fileLock) {
	for line := range bytes.Lines(text) {
		m := lockLine.FindSubmatch(bytes.TrimSpace(line))
		if m == nil {
			continue
		}
		var l fileLock
		var err [6]error
		var major, minor uint64
		l.pid, err[0] = strconv.Atoi(string(m[1]))
		major, err[1] = strconv.ParseUint(string(m[2]), 16, 32)
		minor, err[2] = strconv.ParseUint(string(m[3]), 16, 32)
		l.inode, err[3] = strconv.ParseUint(string(m[4]), 10, 64)
		l.start, err[4] = strconv.ParseInt(string(m[5]), 10, 64)
		l.end = 1<<63 - 1
		if string(m[6]) != "EOF" {
			l.end, err[5] = strconv.ParseInt(string(m[6]), 10, 64)
		}
		if err != [6]error{} {
			continue
		}
		l.device = unix.Mkdev(uint32(major), uint32(minor))
		list = append(list, l)
	}
	return list
}

// hasOpen reports whether a process has the file open. It asks where a file system's number is another in /proc/locks than in stat(2), as with
// overlayfs and btrfs.
func hasOpen(pid int, file *unix.Stat_t) bool {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // its only error is a bad pattern
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(link, &st) == nil && st.Ino == file.Ino && st.Dev == file.Dev {
			return true
		}
	}
	return false
}

// The index of the WAL (https://www.sqlite.org/walformat.html#walidxfmt): two copies of the header, of 48 bytes each, how much has been copied
// back, and the marks.
const (
	indexMarks = 100
	indexBytes = 120
)

// readMarksOf returns the marks, if a connection of this process has mapped the -shm file: from its own memory, so that nothing is opened.
func readMarksOf(path string, shm *unix.Stat_t) (marks [readMarks]uint32, known bool) {
	address, found := mappedAt(path+"-shm", shm.Ino)
	if !found {
		return marks, false
	}
	memory, err := os.Open("/proc/self/mem") // the connection may be closed meanwhile: a read of what is gone is an error here, and no fault
	if err != nil {
		return marks, false
	}
	defer memory.Close()
	var index [indexBytes]byte
	if _, err := memory.ReadAt(index[:], address); err != nil {
		return marks, false
	}
	for i := range marks {
		marks[i] = binary.NativeEndian.Uint32(index[indexMarks+4*i:])
	}
	marks[0] = 0 // who holds it sees nothing of the WAL
	return marks, true
}

// mappedAt returns where the beginning of a file is mapped in this process.
func mappedAt(path string, inode uint64) (address int64, found bool) {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return 0, false
	}
	defer maps.Close()
	return findMapping(maps, filepath.Base(path), inode)
}

// findMapping reads proc_pid_maps(5): "address perms offset dev inode path".
func findMapping(maps io.Reader, name string, inode uint64) (address int64, found bool) {
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[4] != strconv.FormatUint(inode, 10) || strings.Trim(fields[2], "0") != "" ||
			!strings.HasSuffix(lines.Text(), "/"+name) {
			continue
		}
		from, _, _ := strings.Cut(fields[0], "-")
		if at, err := strconv.ParseUint(from, 16, 63); err == nil {
			return int64(at), true
		}
	}
	return 0, false
}

// childTitle is how a child of the server calls itself: "tined: child 3".
var childTitle = regexp.MustCompile(`^\S+: (child \d+|housekeeper)`)

// processName says who a process is, for people: "child 3 (pid 812)", "sqlite3 (pid 99)".
func processName(pid int) string {
	if pid == os.Getpid() {
		return fmt.Sprintf("this process itself (pid %d)", pid)
	}
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended, or be hidden: the number is left
	if m := childTitle.FindSubmatch(line); m != nil {
		return fmt.Sprintf("%s (pid %d)", m[1], pid)
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if text := strings.TrimSpace(string(name)); text != "" {
		return fmt.Sprintf("the program %s (pid %d)", text, pid)
	}
	return fmt.Sprintf("a process that cannot be seen (pid %d)", pid)
}
