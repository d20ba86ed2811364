package static

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// putInDirectory makes a file. Whatever fails, none is left under the key's name that was not there before, and none under another.
func (s *store) putInDirectory(key string, content []byte) (d *descriptor, err error) {
	dir, err := s.openDirectory()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	name, sum := storedName(key)
	size := int64(len(content)) + int64(trailerSize)
	part := fmt.Sprintf("%s.%016x%s", name, rand.Uint64(), partSuffix)
	fd, err := s.create(dir, part, size)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	opened := -1
	if err = s.writeAll(fd, content); err == nil {
		err = s.writeAll(fd, trailer(sum, content))
	}
	if err == nil {
		opened, err = openOurs(dir, part, unix.O_RDONLY)
	}
	if err = s.settle(dir, part, name, space(size), err); err != nil {
		if opened >= 0 {
			unix.Close(opened)
		}
		return nil, fmt.Errorf("directory %s: %w", s.directory, err)
	}
	return newDescriptor(opened), nil
}

// create makes room for a file of size bytes and creates it.
func (s *store) create(dir int, name string, size int64) (fd int, err error) {
	need := space(size)
	if need > s.limit {
		return -1, errStoreFull
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.openLedgerLocked(dir)
	if err != nil {
		return -1, err
	}
	defer l.close()
	sum, known := l.read()
	if age := s.now().Sub(s.counted); !known || age < 0 || age >= recount || sum > s.limit-need {
		if sum, err = s.makeRoom(dir, need); err != nil {
			return -1, err
		}
		s.counted = s.now()
	}
	if sum > s.limit-need {
		return -1, errStoreFull
	}
	if err = l.write(sum + need); err != nil { // first: who dies now has taken too much, not too little
		return -1, fmt.Errorf("%s in the directory %s: %w", ledgerName, s.directory, err)
	}
	fd, err = retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err == nil {
		if err = unix.Ftruncate(fd, size); err == nil { // its full length shows at once, to whoever counts
			return fd, nil
		}
		unix.Close(fd)
		if unlinked := unix.Unlinkat(dir, name, 0); unlinked != nil {
			sum += need
		}
	}
	_ = l.write(sum) // it says too much at worst, until somebody counts
	return -1, fmt.Errorf("directory %s: %w", s.directory, err)
}

// settle gives the file called part, which takes size bytes, its name, or removes it if writing it has failed. Without the ledger it is
// removed too; the ledger then says too much.
func (s *store) settle(dir int, part, name string, size int64, failed error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.openLedgerLocked(dir)
	if err != nil {
		_ = unix.Unlinkat(dir, part, 0) // at worst whoever counts removes it, once it is abandoned
		if failed == nil {
			failed = err
		}
		return failed
	}
	defer l.close()
	gone := int64(0)
	if failed == nil {
		var old unix.Stat_t
		if unix.Fstatat(dir, name, &old, unix.AT_SYMLINK_NOFOLLOW) == nil && own(&old) == nil {
			gone = space(old.Size)
		}
		failed = unix.Renameat(dir, part, dir, name)
	}
	if failed != nil {
		if gone = 0; unix.Unlinkat(dir, part, 0) == nil {
			gone = size
		}
	}
	if sum, known := l.read(); known && gone > 0 && sum >= gone {
		_ = l.write(sum - gone) // as in create
	}
	return failed
}

// A stored is a file of ours in the directory.
type stored struct {
	name string
	size int64 // in the directory, bytes
	used int64 // ns since 1970
}

// makeRoom counts what the directory holds. If there is no room for need more bytes it removes what was used longest ago, and an eighth of
// the limit beyond it, so that the next who come need not count again. It removes what was abandoned, too. It returns what is left, which
// may be too much. The caller holds the ledger.
func (s *store) makeRoom(dir int, need int64) (sum int64, err error) {
	files, sum, err := s.count(dir)
	if err != nil || sum <= s.limit-need {
		return sum, err
	}
	slices.SortFunc(files, func(a, b stored) int {
		if a.used != b.used {
			return int(max(-1, min(1, a.used-b.used)))
		}
		return strings.Compare(a.name, b.name)
	})
	target := max(0, s.limit-need-s.limit/8)
	for _, f := range files {
		if sum <= target {
			break
		}
		if err := unix.Unlinkat(dir, f.name, 0); err == nil || err == unix.ENOENT {
			sum -= f.size
		}
	}
	return sum, nil
}

// count returns the files that can be removed, and the sum of them and of those that are being written.
func (s *store) count(dir int) (files []stored, sum int64, err error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("directory %s: %w", s.directory, err)
	}
	list := os.NewFile(uintptr(fd), s.directory)
	defer list.Close()
	oldest := s.now().Add(-abandoned).UnixNano()
	for {
		names, err := list.Readdirnames(1000)
		for _, name := range names {
			ours, part := isStored(name)
			if !ours {
				continue
			}
			var st unix.Stat_t
			if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || own(&st) != nil {
				continue
			}
			f := stored{name, space(st.Size), st.Mtim.Nano()}
			if part && f.used < oldest && unix.Unlinkat(dir, name, 0) == nil {
				continue
			}
			if sum += f.size; !part {
				files = append(files, f)
			}
		}
		switch {
		case err == io.EOF:
			return files, sum, nil
		case err != nil:
			return nil, 0, fmt.Errorf("directory %s: %w", s.directory, err)
		}
	}
}

// A ledger is the open file that holds the sum, in bytes, of what is in the directory, locked. The sum may be too high, as after
// somebody has died or has removed files by hand: whoever finds no room counts first. It is not too low unless somebody else has written it.
type ledger struct{ fd int }

// openLedgerLocked waits for the ledger, but not for long. The caller holds s.mu.
func (s *store) openLedgerLocked(dir int) (ledger, error) {
	begun := s.now()
	if rest := begun.Sub(s.refused); rest >= 0 && rest < ledgerRest {
		return ledger{}, errStoreBusy
	}
	fd, err := openOurs(dir, ledgerName, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return ledger{}, fmt.Errorf("%s in the directory %s: %w", ledgerName, s.directory, err)
	}
	for tries := 0; ; tries++ {
		switch err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return ledger{fd}, nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			unix.Close(fd)
			return ledger{}, fmt.Errorf("lock %s in the directory %s: %w", ledgerName, s.directory, err)
		case tries >= int(ledgerWait/time.Millisecond):
			unix.Close(fd)
			s.refused = begun
			return ledger{}, errStoreBusy
		}
		time.Sleep(time.Millisecond) // flock(2) cannot wait for a while only
	}
}

// close unlocks the ledger.
func (l ledger) close() { unix.Close(l.fd) }

// read returns the sum. false: nobody has written it yet.
func (l ledger) read() (sum int64, known bool) {
	var b [9]byte
	n, err := retry(func() (int, error) { return unix.Pread(l.fd, b[:], 0) })
	sum = int64(binary.LittleEndian.Uint64(b[:8]))
	return sum, err == nil && n == 8 && sum >= 0
}

func (l ledger) write(sum int64) error {
	n, err := retry(func() (int, error) { return unix.Pwrite(l.fd, binary.LittleEndian.AppendUint64(nil, uint64(sum)), 0) })
	if err == nil && n < 8 {
		err = io.ErrShortWrite
	}
	return err
}

// openDirectory opens the directory as it is now, if nobody but the server's user and root can put something there.
func (s *store) openDirectory() (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(s.directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	user := os.Geteuid()
	switch err {
	case nil:
	case unix.ENOENT:
		return -1, fmt.Errorf("directory %s: %w; create it for the user of the server: install -d -m 700 -o %d %s", s.directory, err, user, s.directory)
	default:
		return -1, fmt.Errorf("directory %s: %w", s.directory, err)
	}
	var st unix.Stat_t
	switch err = unix.Fstat(fd, &st); {
	case err != nil:
		err = fmt.Errorf("directory %s: %w", s.directory, err)
	case int(st.Uid) != user && st.Uid != 0:
		err = fmt.Errorf("directory %s belongs to user %d, and what they put there would be sent; chown it to the user of the server, %d, or to root",
			s.directory, st.Uid, user)
	case st.Mode&0o022 != 0:
		err = fmt.Errorf("directory %s can be written by others than its owner (mode %04o), and what they put there would be sent; chmod go-w %s",
			s.directory, st.Mode&0o7777, s.directory)
	default:
		return fd, nil
	}
	unix.Close(fd)
	return -1, err
}

// openOurs opens a file beneath dir if it can be trusted.
func openOurs(dir int, name string, flags int) (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		err = own(&st)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// own returns what is wrong with a file that should be one that this user has made.
func own(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errSpecial
	case int(st.Uid) != os.Geteuid():
		return errors.New("it belongs to another user; remove it")
	case st.Mode&0o077 != 0:
		return errors.New("others than its owner have rights to it; remove it")
	}
	return nil
}

// storedName returns the name of the file for key, and the hash that both its name and its trailer have.
func storedName(key string) (string, [sha256.Size]byte) {
	sum := sha256.Sum256([]byte(key))
	return storedPrefix + hex.EncodeToString(sum[:]), sum
}

// isStored reports whether a file of that name is one of ours, and whether it is one that is being written.
func isStored(name string) (ours, part bool) {
	rest, ok := strings.CutPrefix(name, storedPrefix)
	if !ok || len(rest) < 2*sha256.Size || !isHex(rest[:2*sha256.Size]) {
		return false, false
	}
	rest = rest[2*sha256.Size:]
	if rest == "" {
		return true, false
	}
	rest, ok = strings.CutSuffix(rest, partSuffix)
	ok = ok && len(rest) == 1+16 && rest[0] == '.' && isHex(rest[1:])
	return ok, ok
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// trailer is what stands behind content.
func trailer(sum [sha256.Size]byte, content []byte) []byte {
	b := binary.LittleEndian.AppendUint64(sum[:], uint64(len(content)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum(content, castagnoli), castagnoli, b))
	return append(b, storedMagic...)
}

var errNotWhole = errors.New("the file is not whole")

var verifyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// verify reads all of a file, and returns the length of its content if the trailer fits it.
func verify(d *descriptor, sum [sha256.Size]byte) (size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return 0, err
	}
	size = st.Size - int64(trailerSize)
	if size < 0 {
		return 0, errNotWhole
	}
	var end [trailerSize]byte
	if _, err := d.ReadAt(end[:], size); err != nil {
		return 0, err
	}
	const check = sha256.Size + 8 // where the CRC stands
	if [sha256.Size]byte(end[:]) != sum || int64(binary.LittleEndian.Uint64(end[sha256.Size:])) != size || string(end[check+4:]) != storedMagic {
		return 0, errNotWhole
	}
	buf := verifyBuffers.Get().(*[64 << 10]byte)
	defer verifyBuffers.Put(buf)
	crc := uint32(0)
	for at := int64(0); at < size; {
		n, err := d.ReadAt(buf[:min(size-at, int64(len(buf)))], at)
		if err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, castagnoli, buf[:n])
		at += int64(n)
	}
	if crc32.Update(crc, castagnoli, end[:check]) != binary.LittleEndian.Uint32(end[check:]) {
		return 0, errNotWhole
	}
	return size, nil
}
