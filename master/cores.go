package master

import (
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// usableCores is the number of cores that this process may use: those of its affinity mask, less
// what a cgroup's quota leaves of them, rounded up. At least 1. root is the file system's root.
func usableCores(root fs.FS) int {
	cores := runtime.NumCPU()
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err == nil && mask.Count() > 0 {
		cores = mask.Count()
	}
	if quota, ok := cpuQuota(root); ok {
		cores = min(cores, int(quota+0.999))
	}
	return max(cores, 1)
}

// cpuQuota is the smallest quota of this process's cgroup and the groups above it, in cores. A
// container without a cgroup namespace sees its path but not the folders: those are skipped.
func cpuQuota(root fs.FS) (cores float64, ok bool) {
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	found := func(quota float64, limited bool) {
		if limited && (!ok || quota < cores) {
			cores, ok = quota, true
		}
	}
	for line := range strings.Lines(string(membership)) {
		// "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1 (cgroups(7)).
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		if id == "0" && controllers == "" {
			for folder := range upwards("sys/fs/cgroup", group) {
				found(quotaV2(root, folder))
			}
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			if controller == "cpu" {
				for folder := range upwards(path.Join("sys/fs/cgroup", controllers), group) {
					found(quotaV1(root, folder))
				}
				for folder := range upwards("sys/fs/cgroup/cpu", group) {
					found(quotaV1(root, folder))
				}
			}
		}
	}
	return cores, ok
}

// upwards yields the folder of group below mount, then every one above it, mount included.
func upwards(mount, group string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		group = path.Clean("/" + group)
		for {
			if !yield(path.Join(mount, group)) || group == "/" {
				return
			}
			group = path.Dir(group)
		}
	}
}

// quotaV2 reads cpu.max: "max 100000" or "150000 100000", both in microseconds.
func quotaV2(root fs.FS, folder string) (float64, bool) {
	b, err := fs.ReadFile(root, path.Join(folder, "cpu.max"))
	if err != nil {
		return 0, false
	}
	quota, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return divide(quota, period)
}

// quotaV1 reads cpu.cfs_quota_us, -1 for none, and cpu.cfs_period_us.
func quotaV1(root fs.FS, folder string) (float64, bool) {
	quota, err := fs.ReadFile(root, path.Join(folder, "cpu.cfs_quota_us"))
	if err != nil {
		return 0, false
	}
	period, err := fs.ReadFile(root, path.Join(folder, "cpu.cfs_period_us"))
	if err != nil {
		return 0, false
	}
	return divide(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

func divide(quota, period string) (float64, bool) {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0, false
	}
	return q / p, true
}
