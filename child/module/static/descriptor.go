package static

import (
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A descriptor is an open file with a count of those who need it: the cache, each response that is being sent from it, the worker
// that opened it. It implements web.File, io.ReaderAt and io.Closer. All methods may be called by any goroutine.
type descriptor struct {
	fd    int
	users atomic.Int32
}

// newDescriptor owns fd and has one user, the caller.
func newDescriptor(fd int) *descriptor {
	d := &descriptor{fd: fd}
	d.users.Store(1)
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

// Release takes a user away and closes the file behind the last one. It never waits for the file system: closing a large file that
// was unlinked can take long, and the caller may be the loop.
func (d *descriptor) Release() {
	if d.leave() {
		go unix.Close(d.fd)
	}
}

// releaseNow is Release for a worker: the file is closed when it returns, if this was the last user.
func (d *descriptor) releaseNow() {
	if d.leave() {
		unix.Close(d.fd)
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
