package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

// images are executables for upgrades: each upgrade has a file of its own, so that the processes of one version are told from those of
// another by the file that they run.
type images struct {
	folder  string
	sources []string // copies in the folder: a hard link needs the same file system
}

// newImages copies the binaries. Nobody runs the copies themselves.
func (t *trial) newImages(binaries ...string) (*images, error) {
	im := &images{folder: t.folder}
	for i, binary := range binaries {
		source := filepath.Join(t.folder, fmt.Sprintf("image-%d", i))
		if err := copyFile(source, binary); err != nil {
			return nil, err
		}
		im.sources = append(im.sources, source)
	}
	return im, nil
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// link gives source number i another name, in the place of what has had it.
func (im *images) link(i int, name string) (string, error) {
	path := filepath.Join(im.folder, name)
	next := path + ".next"
	if err := os.Link(im.sources[i], next); err != nil {
		return "", err
	}
	if err := os.Rename(next, path); err != nil {
		return "", err
	}
	// Of two names of one file, rename(2) keeps both.
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return path, nil
}

// process is one of the servers' processes.
type process struct {
	pid   int
	image string // path of the file that it runs
	child string // "child 0"; "" of a master
	state byte   // as in proc_pid_stat(5)
}

// processes are all of the servers' processes that live, those that nobody waits for any more included.
func processes() []process {
	tree := rig.Tree(os.Getpid())
	var all []process
	for _, m := range tree[min(1, len(tree)):] {
		image, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.Pid))
		if err != nil {
			continue // it has ended since
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.Pid))
		if err != nil {
			continue
		}
		if child, ok := roleIn(string(line)); ok {
			all = append(all, process{m.Pid, strings.TrimSuffix(image, " (deleted)"), child, m.State})
		}
	}
	return all
}

// roleIn tells by its command line what a process is: a child, a master (""), or something else, such as a command.
func roleIn(line string) (child string, ok bool) {
	args := strings.Split(strings.TrimSuffix(line, "\x00"), "\x00")
	if _, role, found := strings.Cut(args[0], ": "); found {
		return role, true
	}
	return "", len(args) > 1 && args[1] == "run"
}

// of keeps the processes of an image: its masters, or its children.
func of(all []process, image string, master bool) []process {
	var kept []process
	for _, p := range all {
		if p.image == image && (p.child == "") == master {
			kept = append(kept, p)
		}
	}
	return kept
}

// imageOf is the file that a process runs.
func imageOf(pid int) string {
	image, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(image, " (deleted)")
}

// vanished waits until no process of an image is left.
func vanished(image string, bound time.Duration) error {
	for deadline := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		left := slices.DeleteFunc(processes(), func(p process) bool { return p.image != image })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of %s are left after %v: %+v", len(left), filepath.Base(image), bound, left)
		}
	}
}

// killChild kills a child, and sees before what it holds.
func (s *server) killChild(pid int) (Kill, error) {
	k, err := s.stopHold(pid)
	if err != nil {
		return k, err
	}
	k.At = time.Now()
	return k, syscall.Kill(pid, syscall.SIGKILL)
}

// leavings are the names of the files that running processes have in the runtime directory, and in the temporary one.
func (s *server) leavings() ([]string, error) {
	var names []string
	for _, folder := range []string{filepath.Dir(s.control), s.temp} {
		err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			if err == nil && path != folder {
				name, _ := filepath.Rel(s.folder, path)
				names = append(names, name)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil // it has gone since
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}
