package static

import (
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/netcore"
)

// A descriptor is an open file with a count of those who need it: the cache, each response that is being sent from it, the worker
// that opened it. It implements web.ChangingFile, io.ReaderAt and io.Closer. All methods may be called by any goroutine.
type descriptor struct {
	fd    int
	users atomic.Int32

	onClose func() // with the last user; nil: nothing

	// Of a file that others may change.
	watched bool
	strict  bool         // any change counts; else only a shorter file does
	id      fileID       // what it was told to be
	proved  atomic.Int64 // when it was last found to be that, monotonic ns
	claims  *module.Claims
}

// provedFor is how long the server's question before it sends a part is answered by the module's own look before the answer, in ns: the
// one mostly follows the other at once.
const provedFor = int64(50 * time.Microsecond)

// newDescriptor owns fd and has one user, the caller.
func newDescriptor(fd int) *descriptor { return newDescriptorFunc(fd, nil) }

// newDescriptorFunc is newDescriptor with something to do when the last user has gone.
func newDescriptorFunc(fd int, onClose func()) *descriptor {
	d := &descriptor{fd: fd, onClose: onClose}
	d.users.Store(1)
	return d
}

// newFileDescriptor is a descriptor of a file of which id was told.
func newFileDescriptor(fd int, id fileID, strict bool, claims *module.Claims) *descriptor {
	d := newDescriptor(fd)
	d.watched, d.strict, d.id, d.claims = true, strict, id, claims
	return d
}

// acquire adds a user; false: the last has gone, and the file is closed.
func (d *descriptor) acquire() bool {
	for {
		n := d.users.Load()
		if n == 0 {
			return false
		}
		if d.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Fd returns the descriptor.
func (d *descriptor) Fd() uintptr { return uintptr(d.fd) }

// Changed reports whether the file is another one than was told, so that a client would get a mixture, or less than it expects. What the
// system knows by itself is looked at; it asks no other machine, so the answer does not wait.
//
// A file that was being written when it was opened has a weak tag, and may go on growing, as a log does.
func (d *descriptor) Changed() bool {
	now := netcore.Now()
	return now-d.proved.Load() >= provedFor && d.changedAt(now)
}

// changedAt is Changed by a look at the file in any case, at the time now, monotonic ns.
func (d *descriptor) changedAt(now int64) bool {
	if !d.watched {
		return false
	}
	var st unix.Statx_t
	if statxNow(d.fd, &st) != nil {
		return false // the send will tell
	}
	changed := int64(st.Size) < d.id.size
	if d.strict {
		changed = int64(st.Size) != d.id.size || st.Mtime.Sec*1e9+int64(st.Mtime.Nsec) != d.id.mtime
	}
	if !changed {
		d.proved.Store(now)
	}
	return changed
}

// Release takes a user away and closes the file behind the last one. It never waits for the file system: closing a large file that
// was unlinked can take long, and the caller may be the loop.
func (d *descriptor) Release() {
	if d.leave() {
		go d.shut()
	}
}

// releaseNow is Release for a worker: the file is closed when it returns, if this was the last user.
func (d *descriptor) releaseNow() {
	if d.leave() {
		d.shut()
	}
}

func (d *descriptor) shut() {
	d.claims.Close(d.fd, d.id.dev, d.id.ino)
	if d.onClose != nil {
		d.onClose()
	}
}

// ReadAt implements io.ReaderAt: what is not sent by sendfile.
func (d *descriptor) ReadAt(p []byte, offset int64) (n int, err error) {
	for n < len(p) {
		m, err := retry(func() (int, error) { return unix.Pread(d.fd, p[n:], offset+int64(n)) })
		switch {
		case err != nil:
			return n, err
		case m == 0:
			return n, io.EOF
		}
		n += m
	}
	if d.changedAt(netcore.Now()) {
		return 0, errChanged
	}
	return n, nil
}

// Close is Release, for a reader's end.
func (d *descriptor) Close() error {
	d.Release()
	return nil
}

// leave takes a user away and reports whether it was the last.
func (d *descriptor) leave() bool {
	n := d.users.Add(-1)
	if n < 0 {
		panic("static: a descriptor was released more often than acquired")
	}
	return n == 0
}
