package static

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
)

const (
	// smallFile is the largest file that is kept in memory, in bytes: above it sendfile from an open descriptor is cheaper than a
	// copy (between 4 and 16 KiB, measured).
	smallFile = 16 << 10
	// snapshot is the largest file that is sent from memory while its last change is young, in bytes: what is being written again and again
	// is sent as it was at one moment, with a tag of its content. snapshots bounds what a route holds of them, those that clients still get
	// included.
	snapshot  = 4 << 20
	snapshots = 64 << 20
	// settled is how old a change must be so that no other can share its timestamps (ns).
	settled = int64(2 * time.Second)
	// readAhead is how much of a large file is asked for when it is opened, in bytes; the kernel reads ahead by itself after that.
	readAhead = 4 << 20
)

// An entry is what is known of what one key stands for: a file, in its forms.
type entry struct {
	key  string // the name as requested, "" or with a final '/' for a directory; or a page's (page.key)
	name string // the file's: key, an index file in it, or what was tried
	id   fileID
	// racy: the file was changed so shortly before its stat that a further change could leave the same stat behind.
	racy bool
	// sights are what else was looked at to find the file: names that came before it and were not there, and its precompressed siblings.
	sights []sight

	status      int
	fields      []web.Field // of every form: all but those of its content
	contentType string
	plain       form
	// offered are the codings that there are, or that can be made, the favourite first.
	offered []coding.Coding
	coded   [coding.Count]atomic.Pointer[form] // nil: not made yet; &plain: not worth it
	packed  atomic.Int64                       // memory of coded, in bytes

	used      atomic.Bool  // since its last stat
	packAfter atomic.Int64 // until then it is sent as it is, monotonic ns: packing it has failed
	keepAfter atomic.Int64 // until then the store knows that what it has of it is in use, monotonic ns

	// Under cache.mu.
	checked    int64        // when the last stat was begun, monotonic ns
	seen       int64        // when it was found to be in use
	queued     *appointment // in cache.due; nil: not
	next, prev *entry
}

// A sight is what one look has shown under a name: a file with this identity, or why there is none that could be served.
type sight struct {
	name string
	err  error // nil: there is one; of all kinds of absence ENOENT
	id   fileID
}

// see makes a sight of the result of root.stat.
func see(name string, err error, st *unix.Stat_t) sight {
	switch {
	case err == nil:
		return sight{name: name, id: identify(st)}
	case absent(err):
		err = unix.ENOENT
	}
	return sight{name: name, err: err}
}

// A form is one representation of a file: its content as it is, or in a coding. It is immutable.
type form struct {
	coding      coding.Coding
	content     web.Representation
	fields      []web.Field // of a 200, 206
	lines       []byte      // the same, encoded
	full        *web.Fixed  // a response in memory; Body is the content
	file        *descriptor // or the content, in an open file
	notModified *web.Fixed  // the 304
	kept        string      // its key in the store of what was compressed, "": not there
}

// cost is the entry's memory in bytes, roughly.
func (e *entry) cost() int64 { return 1024 + int64(2*len(e.key)) + e.plain.cost() + e.packed.Load() }

func (f *form) cost() int64 {
	if f.full == nil {
		return 512
	}
	return int64(512 + len(f.full.Body) + len(f.full.Fields))
}

// release gives back what acquire of the entry's file has taken.
func (e *entry) release() {
	if e.plain.file != nil {
		e.plain.file.Release()
	}
}

// acquire makes the caller a user of the entry's file; false: it is closed.
func (e *entry) acquire() bool { return e.plain.file == nil || e.plain.file.acquire() }

// close gives back the files of all forms.
func (e *entry) close() {
	e.release()
	for i := range e.coded {
		if f := e.coded[i].Swap(nil); f != nil && f != &e.plain && f.file != nil {
			f.file.Release()
		}
	}
}

// descriptors are those that the entry holds.
func (e *entry) descriptors() (list []*descriptor) {
	for c := range coding.Count {
		if d := e.descriptor(c); d != nil {
			list = append(list, d)
		}
	}
	return list
}

// files is how many descriptors the entry holds. It is asked under the cache's lock, so it makes no list.
func (e *entry) files() (n int) {
	for c := range coding.Count {
		if e.descriptor(c) != nil {
			n++
		}
	}
	return n
}

// descriptor is that of the form in coding c; nil: there is no such form, or it is in memory.
func (e *entry) descriptor(c coding.Coding) *descriptor {
	if c == coding.Identity {
		return e.plain.file
	}
	if f := e.coded[c].Load(); f != nil && f != &e.plain {
		return f.file
	}
	return nil
}

// A source is an open regular file about to become a form. It owns fd until it is spent.
type source struct {
	fd     int
	st     unix.Stat_t
	wall   int64 // ns since 1970, from before the stat
	claims *module.Claims
	young  *store // takes snapshots
}

// unique reports whether no other version of the file can have its times. One that is said to be of the future tells nothing; but nobody can
// set the time of the last change of whatever kind (ctime).
func (s *source) unique() bool {
	if age := s.wall - s.st.Mtim.Nano(); age >= 0 {
		return age >= settled
	}
	return s.wall-s.st.Ctim.Nano() >= settled
}

// modified is Last-Modified, which is never in the future (RFC 9110, 8.8.2.1).
func (s *source) modified() time.Time {
	if mtime := s.st.Mtim.Nano(); mtime <= s.wall {
		return time.Unix(0, mtime)
	}
	return time.Unix(0, min(s.st.Ctim.Nano(), s.wall))
}

// racy reports whether a further change could leave the same stat behind.
func (s *source) racy() bool { return !s.unique() || s.wall-s.st.Ctim.Nano() < settled }

// close gives up the file.
func (s *source) close() { s.claims.Close(s.fd, s.st.Dev, s.st.Ino) }

// read makes a content of the file: in memory when it is small, or young and not too large; else in its descriptor. It spends the source.
func (s *source) read() (c web.Representation, body []byte, file *descriptor, err error) {
	most := int64(smallFile)
	if s.racy() {
		most = snapshot
	}
	if s.st.Size <= most {
		if body, err = readWhole(s.fd, s.st.Size, most); err == nil && body == nil { // it has grown while it was read
			err = unix.Fstat(s.fd, &s.st)
		}
		if err != nil {
			s.close()
			return c, nil, nil, err
		}
	}
	c.SetModified(s.modified(), s.unique())
	if body != nil {
		if len(body) > smallFile {
			file, err = s.young.put("", body)
		}
		if err == nil {
			s.close()
			c.Size, c.ETag = int64(len(body)), contentTag(body)
			if file != nil {
				body = nil
			}
			return c, body, file, nil
		}
	}
	// An error only means that the first bytes come from the disk later.
	_ = unix.Fadvise(s.fd, 0, min(s.st.Size, readAhead), unix.FADV_WILLNEED)
	id := identify(&s.st)
	c.Size = s.st.Size
	if s.unique() {
		c.ETag = statTag(id)
	} else {
		c.ETag = momentTag()
	}
	return c, nil, newFileDescriptor(s.fd, id, s.unique(), s.claims), nil
}

// readWhole reads a file of about size bytes. It returns nil without an error if there are more than most.
func readWhole(fd int, size, most int64) ([]byte, error) {
	buf := make([]byte, size+1) // one more, to see the end
	n := 0
	for {
		m, err := retry(func() (int, error) { return unix.Pread(fd, buf[n:], int64(n)) })
		if err != nil {
			return nil, err
		}
		n += m
		switch {
		case int64(n) > most:
			return nil, nil
		case m == 0 && n == len(buf)-1:
			return buf[:n:n], nil
		case m == 0:
			return append(make([]byte, 0, n), buf[:n]...), nil
		case n == len(buf): // it is growing
			buf = append(buf, make([]byte, min(most+1-int64(n), int64(n)))...)
		}
	}
}

// newForm describes a content in a coding.
func newForm(status int, c coding.Coding, content web.Representation, body []byte, file *descriptor, contentType string, fields []web.Field) *form {
	f := &form{coding: c, content: content, file: file}
	var header web.Header
	for _, field := range fields {
		header.Set(field.Name, field.Value)
	}
	if status < 300 {
		header.Set("ETag", content.ETag)
		header.Set("Last-Modified", content.LastModified())
		f.notModified = web.NewFixed(304, &header, nil)
		header.Set("Accept-Ranges", "bytes")
	}
	header.Set("Content-Type", contentType)
	if c != coding.Identity {
		header.Set("Content-Encoding", c.String())
	}
	for i := range header.Len() {
		f.fields = append(f.fields, header.At(i))
	}
	f.lines = web.EncodeFields(&header)
	if file == nil {
		f.full = web.NewFixed(status, &header, body)
	}
	return f
}
