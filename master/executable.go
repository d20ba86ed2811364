package master

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// What speaks against an upgrade before anything is done for it.

// refusesUpgrade says why an upgrade cannot even wait for its turn; "": it can.
func (m *master) refusesUpgrade(u *upgrading) string {
	switch {
	case m.o.Host != nil:
		return "a single process cannot be upgraded: it has no children that could serve meanwhile; stop it and start it again"
	case m.flip == nil:
		return "this process was not started in a way that lets it be upgraded"
	case m.phase != serving:
		return fmt.Sprintf("the server is %s", m.phase)
	case m.upgrading != nil:
		return fmt.Sprintf("an upgrade to %s is under way already, for %v: %s", m.upgrading.outcome.Binary,
			m.now().Sub(m.upgrading.outcome.At).Round(time.Second), m.upgrading.outcome.Stage)
	}
	canary := m.config.Upgrade.Canary
	if u.request.CanaryMillis != nil {
		canary = time.Duration(*u.request.CanaryMillis) * time.Millisecond
	}
	if watched := canary + m.config.Upgrade.Probation; m.upgradeBound(u.request) <= watched {
		return fmt.Sprintf("the timeout is not longer than the canary and upgrade.probation together (%v)", watched)
	}
	return executable(u.outcome.Binary)
}

// ownImage leads to the executable that this process runs, wherever its file is by now (FACTS 16).
const ownImage = "/proc/self/exe"

// keep settles what a rollback goes back to after the upgrade, and says why it cannot be what was asked for; "": it can. The loop reads two
// executables for it, one of which is in memory: a matter of milliseconds, and none of the children waits for the loop.
func (m *master) keep(u *upgrading) string {
	u.kept = previous{m.o.Executable, m.identity, m.o.Version}
	if path := u.request.Previous; path != "" {
		if why := executable(path); why != "" {
			return "a rollback could not go back to the copy of this version: " + why
		}
		id, err := sameContent(path, ownImage)
		switch {
		case err != nil:
			return fmt.Sprintf("the copy of this version, which a rollback goes back to, cannot be compared with it: %v", err)
		case id == "":
			return fmt.Sprintf("%s is no copy of the executable that serves, and a rollback would go to another version: copy /proc/%d/exe there", path, os.Getpid())
		}
		u.kept.path, u.kept.identity = path, id
	}
	return ""
}

// sameContent compares a file with another one, and returns the identity of what it has read; "": they differ.
func sameContent(path, other string) (id string, err error) {
	a, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return "", err
	}
	defer b.Close()
	var ours, theirs unix.Stat_t
	if err := errors.Join(unix.Fstat(int(a.Fd()), &ours), unix.Fstat(int(b.Fd()), &theirs)); err != nil {
		return "", err
	}
	if ours.Size != theirs.Size {
		return "", nil
	}
	one, two := make([]byte, 1<<18), make([]byte, 1<<18)
	for {
		n, err := io.ReadFull(a, one)
		k, otherErr := io.ReadFull(b, two)
		switch {
		case err != nil && !ended(err):
			return "", err
		case otherErr != nil && !ended(otherErr):
			return "", otherErr
		case !bytes.Equal(one[:n], two[:k]):
			return "", nil
		case err != nil:
			return identityOf(&ours), nil
		}
	}
}

// ended tells the end of a file from an error.
func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// executable says why a file cannot be executed; "": nothing speaks against it.
func executable(path string) string {
	if !filepath.IsAbs(path) {
		return fmt.Sprintf("the executable %q must be an absolute path", path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("the executable %s does not exist", path)
	case err != nil:
		return fmt.Sprintf("the executable cannot be looked at: %v", err)
	case info.IsDir():
		return fmt.Sprintf("%s is a directory, and no executable", path)
	case !info.Mode().IsRegular():
		return fmt.Sprintf("%s is no regular file", path)
	case info.Size() == 0:
		return fmt.Sprintf("the file %s is empty", path)
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return fmt.Sprintf("%s is not executable for the user of the master (%v): `chmod +x` it, and look for `noexec` on its file system", path, err)
	}
	return foreign(path)
}

// foreign says for which other machine a file is; "": for this one, or it is no ELF file, which a script may be.
func foreign(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM, "riscv64": elf.EM_RISCV}
	if want, known := machines[runtime.GOARCH]; known && f.Machine != want {
		return fmt.Sprintf("%s is for another kind of machine: %v, and this one runs %v", path, f.Machine, want)
	}
	return ""
}

// identity tells a file from others, and from later ones at its place; "": there is none.
func identity(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	return identityOf(&st)
}

func identityOf(st *unix.Stat_t) string {
	return fmt.Sprintf("%d:%d:%d:%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano())
}
