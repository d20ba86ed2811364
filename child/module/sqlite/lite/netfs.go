package lite

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// networkMagic are the types of file systems whose files other machines can change, by statfs(2) and linux/magic.h. The shared memory of a WAL
// reaches no other machine (https://www.sqlite.org/wal.html, "Overview").
var networkMagic = map[uint32]string{
	0x6969:     "NFS",
	0x517B:     "SMB",
	0xFF534D42: "CIFS",
	0xFE534D42: "SMB2",
	0x01021997: "9P",
	0x00C36400: "Ceph",
	0x5346414F: "AFS",
	0x6B414653: "kAFS",
	0x73757245: "Coda",
	0x564C:     "NCP",
	0x01161970: "GFS2",
	0x7461636F: "OCFS2",
	0x0BD00BD0: "Lustre",
	0x47504653: "GPFS",
	0x013111A8: "IBRIX",
	0x19830326: "BeeGFS",
	0xAAD7AAEA: "PanFS",
	0x20030528: "PVFS2",
	0xA501FCF5: "VxFS",
	0x786F4256: "VirtualBox shared folder",
	0xBACBACBC: "VMware shared folder",
	0x65735546: "", // FUSE: see networkFuse
}

// networkFuse are programs behind FUSE that keep the files on another machine, as mountinfo names them behind "fuse.".
var networkFuse = []string{"sshfs", "s3fs", "goofys", "geesefs", "glusterfs", "ceph", "rclone", "juicefs", "curlftpfs", "davfs", "smbnetfs",
	"gcsfuse", "blobfuse", "blobfuse2", "seaweedfs", "weed", "moosefs", "mfs", "lizardfs", "ipfs", "mount-s3", "hdfs", "nfs", "cvmfs2", "afp"}

// NetworkFileSystem reports whether the file at path, or the directory that it will be in, is on a file system that other machines share, and
// what it is called. WAL mode is unsafe there. A file system that cannot be asked counts as local.
func NetworkFileSystem(path string) (name string, is bool) {
	return networkFileSystem(path, unix.Statfs, func() (io.ReadCloser, error) { return os.Open("/proc/self/mountinfo") })
}

func networkFileSystem(path string, statfs func(string, *unix.Statfs_t) error, mounts func() (io.ReadCloser, error)) (string, bool) {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	var fs unix.Statfs_t
	if err := statfs(path, &fs); err != nil {
		path = filepath.Dir(path)
		if err := statfs(path, &fs); err != nil {
			return "", false
		}
	}
	name, is := networkMagic[uint32(fs.Type)]
	if !is || name != "" {
		return name, is
	}
	f, err := mounts()
	if err != nil {
		return "", false
	}
	defer f.Close()
	kind, source := mountOf(path, f)
	program := strings.TrimPrefix(kind, "fuse.")
	for _, network := range networkFuse {
		if program == network {
			return "FUSE (" + program + ")", true
		}
	}
	// sshfs and others mount HOST:PATH also where the program's name is not told.
	if host, _, found := strings.Cut(source, ":"); found && host != "" && !strings.ContainsAny(host, "/ ") {
		return "FUSE (" + source + ")", true
	}
	return "", false
}

// mountOf returns the type and the source of the mount that path is on (proc_pid_mountinfo(5)): the longest mount point that holds it, and of
// those the last.
func mountOf(path string, mounts io.Reader) (kind, source string) {
	best := -1
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(rest) < 2 {
			continue
		}
		point := unescapeMount(fields[4])
		if len(point) >= best && (point == "/" || path == point || strings.HasPrefix(path, point+"/")) {
			best, kind, source = len(point), rest[0], unescapeMount(rest[1])
		}
	}
	return kind, source
}

// unescapeMount undoes the \040 that mountinfo writes for a space, and the like.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
