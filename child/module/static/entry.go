package static

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
)

const (
	// smallFile is the largest file that is kept in memory, in bytes: above it sendfile from an open descriptor is cheaper than a
	// copy (between 4 and 16 KiB, measured).
	smallFile = 16 << 10
	// settled is how old a change must be so that no other can share its timestamps (ns).
	settled = int64(2 * time.Second)
	// readAhead is how much of a large file is asked for when it is opened, in bytes; the kernel reads ahead by itself after that.
	readAhead = 4 << 20
)

// An entry is what is known of one file under one name. All but the last block of fields is immutable.
type entry struct {
	key  string // the name as requested, "" or with a final '/' for a directory
	name string // the file's: key, or an index file in it
	id   fileID
	// racy: the file was changed so shortly before its stat that a further change could leave the same stat behind.
	racy bool

	content     web.Representation
	contentType string

	full        *web.Fixed  // a small file's response; Body is the content
	file        *descriptor // a large file
	notModified *web.Fixed  // the 304

	// Under cache.mu.
	checked    int64 // when the last stat was begun, monotonic ns
	renew      int64 // when somebody shall look again
	next, prev *entry
}

// cost is the entry's memory in bytes, roughly.
func (e *entry) cost() int64 {
	n := 1024 + 2*len(e.key)
	if e.full != nil {
		n += len(e.full.Body) + len(e.full.Fields)
	}
	return int64(n)
}

// newEntry reads or keeps the open file fd and describes it; fd is closed or belongs to the entry, whose caller is its first user.
func newEntry(key, name string, fd int, st *unix.Stat_t, wall time.Time, headers []web.Field) (*entry, error) {
	e := &entry{key: key, name: name, id: identify(st), contentType: contentType(name)}
	e.content.Size = st.Size
	var content []byte
	var err error
	if st.Size <= smallFile {
		content, err = readSmall(fd, st.Size)
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	small := content != nil
	switch {
	case small:
		unix.Close(fd)
		e.content.Size = int64(len(content))
	default:
		if st.Size <= smallFile { // it has grown while it was read
			if err := unix.Fstat(fd, st); err != nil {
				unix.Close(fd)
				return nil, err
			}
			e.id, e.content.Size = identify(st), st.Size
		}
		// An error only means that the first bytes come from the disk later.
		_ = unix.Fadvise(fd, 0, min(e.content.Size, readAhead), unix.FADV_WILLNEED)
		e.file = newDescriptor(fd)
	}
	unique := wall.UnixNano()-e.id.mtime >= settled // no other version can have its time
	e.racy = !unique || wall.UnixNano()-e.id.ctime < settled
	e.content.SetModified(time.Unix(0, min(e.id.mtime, wall.UnixNano())), unique) // never in the future (RFC 9110, 8.8.2.1)
	if small {
		e.content.ETag = contentTag(content)
	} else {
		e.content.ETag = statTag(e.id, unique)
	}

	var header web.Header
	for _, f := range headers {
		header.Add(f.Name, f.Value)
	}
	header.Set("ETag", e.content.ETag)
	header.Set("Last-Modified", e.content.LastModified())
	e.notModified = web.NewFixed(304, &header, nil)
	if small {
		header.Set("Content-Type", e.contentType)
		header.Set("Accept-Ranges", "bytes")
		e.full = web.NewFixed(200, &header, content)
	}
	return e, nil
}

// readSmall reads a file of size bytes. It returns nil without an error if there are more than smallFile.
func readSmall(fd int, size int64) ([]byte, error) {
	buf := make([]byte, size+1) // one more, to see the end
	n := 0
	for {
		m, err := retry(func() (int, error) { return unix.Pread(fd, buf[n:], int64(n)) })
		if err != nil {
			return nil, err
		}
		n += m
		switch {
		case n > smallFile:
			return nil, nil
		case m == 0:
			return append(make([]byte, 0, n), buf[:n]...), nil
		case n == len(buf): // it is growing
			buf = append(buf, make([]byte, smallFile+1-n)...)
		}
	}
}

// contentTag makes a strong entity tag of the content itself: equal in every child and on every machine, and never shared by two
// versions, however quickly they follow each other.
func contentTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// statTag makes an entity tag of what changes with a file. It is strong only if the last change has settled; the weak one is another
// tag, so that a client that has got a racy version fetches it again later.
func statTag(id fileID, strong bool) string {
	var b [33]byte
	binary.LittleEndian.PutUint64(b[0:], id.ino)
	binary.LittleEndian.PutUint64(b[8:], uint64(id.size))
	binary.LittleEndian.PutUint64(b[16:], uint64(id.mtime))
	binary.LittleEndian.PutUint64(b[24:], uint64(id.ctime))
	prefix := `"`
	if !strong {
		b[32] = 1
		prefix = `W/"`
	}
	sum := sha256.Sum256(b[:])
	return prefix + hex.EncodeToString(sum[:12]) + `"`
}
