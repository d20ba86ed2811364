package static

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// storedPrefix, 64 hex digits and nothing more is the name of a file of ours; with a dot, 16 hex digits and partSuffix behind that it is
	// one that is being written. Nothing else in the directory is ever touched, but for the ledger.
	storedPrefix = "tined-"
	partSuffix   = ".part"
	ledgerName   = "tined-ledger"
	// abandoned is how old a file that is being written must be so that whoever did it has died.
	abandoned = time.Hour
	// touchEvery is how long the time of the last use of a file is exact enough. Who goes on sending one says so as rarely, so a time may be
	// twice as old.
	touchEvery = time.Minute
	// recount is how often a process compares the ledger with the directory.
	recount = 10 * time.Minute
	// ledgerWait is how long put waits for the ledger, and ledgerRest how long nobody in this process tries again after that in vain: who
	// holds it may have been stopped.
	ledgerWait = 100 * time.Millisecond
	ledgerRest = time.Second
	// block is what space is counted in, in bytes.
	block = 4096
	// trailerSize is the length of what stands behind the content in a file, in bytes: SHA-256 of the key, length of the content (little
	// endian), CRC-32C of all that, and storedMagic.
	trailerSize = sha256.Size + 8 + 4 + len(storedMagic)
	storedMagic = "TND1"
)

var (
	errStoreFull = errors.New("the store of coded content is full")
	errStoreBusy = errors.New("the ledger of the store of coded content is held by another process")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type storeOptions struct {
	// limit bounds what is kept, in bytes: in memory that of this store, in a directory that of all who use it.
	limit int64
	// directory is an absolute path. "": content is kept in memory.
	directory string

	now   func() time.Time                          // nil: time.Now
	write func(fd int, p []byte) (n int, err error) // nil: unix.Write
}

// A store keeps content in a coding behind descriptors that sendfile takes: in memory, or in files that other processes find too, and
// those who come later. All methods may be called by any goroutine but the loop: they wait for the file system.
//
// In memory, put is all: the content lasts, and counts, as long as somebody uses its descriptor.
//
// In a directory, put goes this way:
//
//  1. Under the ledger, a locked file with the sum of what the directory holds, room is made by removing what was used longest ago, and a
//     file of the full length is created under a name of its own. So the directory stays below the limit whoever writes to it.
//  2. Content and trailer are written to it.
//  3. Under the ledger again, so that nobody who counts sees it twice or not at all, it is renamed to the name that its key stands for.
//
// Nothing is synced: a sync can hold up a worker for long. What a power failure leaves of a file has no trailer that fits, so get does not
// take it, and the next put replaces it. What is removed while it is being sent lasts until that is done.
type store struct {
	storeOptions
	held atomic.Int64 // in memory, bytes

	mu      sync.Mutex // guards what follows, and is held with the ledger
	counted time.Time  // when this process has last looked at the whole directory
	refused time.Time  // when the ledger could not be had
}

// newStore looks at the directory, but leaves what it holds to the first put.
func newStore(o storeOptions) (*store, error) {
	if o.now == nil {
		o.now = time.Now
	}
	if o.write == nil {
		o.write = unix.Write
	}
	s := &store{storeOptions: o}
	if o.directory == "" {
		return s, nil
	}
	dir, err := s.openDirectory()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	if err := unix.Faccessat(dir, ".", unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return nil, fmt.Errorf("directory %s: the user of the server (%d) cannot read and write it: %w; %s",
			o.directory, os.Geteuid(), err, curePermission(err, o.directory))
	}
	return s, nil
}

// curePermission says what to do about a directory that the server cannot write to.
func curePermission(err error, directory string) string {
	if errors.Is(err, unix.EROFS) {
		return "under the service of the package add ReadWritePaths=" + directory + " (systemctl edit), or choose one below /var/lib/tined"
	}
	return "chown it to that user, or choose another"
}

// put keeps content for key and returns a descriptor of it, of which the caller is the first user. The content is what stands in its file
// from the start; more may stand behind. errStoreFull: there is no room.
func (s *store) put(key string, content []byte) (*descriptor, error) {
	if s.directory == "" {
		return s.putInMemory(content)
	}
	return s.putInDirectory(key, content)
}

// get returns a descriptor of what was put for key, by any process, and the length of the content; nil if there is nothing. In memory that
// is always so.
func (s *store) get(key string) (d *descriptor, size int64) {
	if s.directory == "" {
		return nil, 0
	}
	dir, err := s.openDirectory()
	if err != nil {
		return nil, 0
	}
	defer unix.Close(dir)
	name, sum := storedName(key)
	fd, err := openOurs(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, 0
	}
	d = newDescriptor(fd)
	if size, err = verify(d, sum); err != nil {
		d.releaseNow()
		return nil, 0
	}
	s.touchIn(dir, name)
	return d, size
}

// touch says that what was put for key is in use: what was used longest ago is the first to be removed. It writes at most once in
// touchEvery.
func (s *store) touch(key string) {
	if s.directory == "" {
		return
	}
	if dir, err := s.openDirectory(); err == nil {
		name, _ := storedName(key)
		s.touchIn(dir, name)
		unix.Close(dir)
	}
}

func (s *store) touchIn(dir int, name string) {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return
	}
	now := s.now()
	if age := now.Sub(time.Unix(0, st.Mtim.Nano())); age >= touchEvery || age <= -touchEvery {
		t := unix.NsecToTimespec(now.UnixNano())
		_ = unix.UtimesNanoAt(dir, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW) // at worst the file goes too early
	}
}

// putInMemory makes a file in memory that nobody can change any more.
func (s *store) putInMemory(content []byte) (*descriptor, error) {
	need := space(int64(len(content)))
	if s.held.Add(need) > s.limit {
		s.held.Add(-need)
		return nil, errStoreFull
	}
	fd, err := s.seal(content)
	if err != nil {
		s.held.Add(-need)
		return nil, err
	}
	return newDescriptorFunc(fd, func() { s.held.Add(-need) }), nil
}

func (s *store) seal(content []byte) (int, error) {
	const name = "tined coded content"
	// Some systems refuse what could be executed; kernels before 6.3 do not know how to say that it cannot.
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	err = s.writeAll(fd, content)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("a file in memory: %w", err)
	}
	return fd, nil
}

// writeAll writes p where fd stands.
func (s *store) writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := retry(func() (int, error) { return s.write(fd, p) })
		switch {
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
		p = p[n:]
	}
	return nil
}

// space returns what n bytes of content take.
func space(n int64) int64 { return (n + block - 1) / block * block }
