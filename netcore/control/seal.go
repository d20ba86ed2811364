package control

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// MaxSealed is the longest content that ReadSealed accepts, in bytes.
const MaxSealed = 64 << 20

// seals make a memory file immutable for everybody, its maker included (memfd_create(2)).
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// ErrNotSealed: the file is not a memory file that nobody can change any more.
var ErrNotSealed = errors.New("memory file is not sealed")

// Seal makes a memory file that holds b and that nobody can change. name is for /proc only.
// It is close-on-exec and the caller's.
func Seal(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, os.NewSyscallError("memfd_create", err))
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal %s: %w", name, os.NewSyscallError("fcntl", err))
	}
	return f, nil
}

// ReadSealed returns the content of a memory file made by Seal, from its beginning, whoever else
// has read it. It checks the seals first: what it returned is what every other reader gets. The
// caller keeps f.
func ReadSealed(f *os.File) ([]byte, error) {
	fd, err := dup(f)
	if err != nil {
		return nil, fmt.Errorf("read sealed file: %w", err)
	}
	defer unix.Close(fd)
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || have&seals != seals {
		return nil, fmt.Errorf("read sealed file: %w", ErrNotSealed)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read sealed file: %w", err)
	}
	if info.Size() > MaxSealed {
		return nil, fmt.Errorf("read sealed file: %d bytes are more than %d", info.Size(), MaxSealed)
	}
	// The file offset is shared by all processes that have the file: read at 0, never from it.
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), b); err != nil {
		return nil, fmt.Errorf("read sealed file: %w", err)
	}
	return b, nil
}
