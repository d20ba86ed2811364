package child

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
)

// This file is what a file that is sent has to wait for: its disk. The loop sends by sendfile(2) what is in the page cache. Where a range
// is not, or that cannot be known, a worker reads it, which brings it there, while the loop serves the others:
//
//	flush: netcore.ErrUncached ──▶ fetch ──▶ a worker reads up to fetchMost bytes ──▶ fetched: they are sent, without asking again
//	                                 │
//	                                 └─ closed meanwhile: leaveFetch ──▶ the worker has finished ──▶ endFetch: the file is released
//
// Meanwhile the connection is taken for one whose socket is full, so nothing of it is in the way of the others; its write_timeout stands
// still. It has one fetch under way at most, so all get their turn at the disk, and the connections bound the pool's queue: no fetch is refused.
// A fetch is sent at once as far as the socket has room. What is left of it is asked for again once the client has made room, however
// long that took.

const (
	// fetchMost is how many bytes are fetched at a time: what one connection may send in a turn.
	fetchMost = writeChunk
	// fetchPiece is how many of them a worker reads by one call, into memory that is only there for that.
	fetchPiece = 64 << 10
	// diskWorkers is how many fetches of a child are under way at a time. Disks do several reads better than one; each takes a thread.
	diskWorkers = 16
	// diskQueue is how many fetches wait: more than there are descriptors for connections (fs.nr_open, proc_sys_fs(5)).
	diskQueue = 1 << 30
)

// A disk reads files for the loop, on a pool of its own: handlers that wait for something else do not hold it up. It lives as long as the
// child.
type disk struct {
	pool   *worker.Pool
	read   func(fd int, p []byte, offset int64) (int, error) // pread(2)
	pieces *sync.Pool                                        // of *[fetchPiece]byte
	logged int64                                             // the loop's: when an error was logged last
}

func newDisk() disk {
	return disk{
		pool:   worker.New(worker.Options{Name: "disk", Max: diskWorkers, Queue: diskQueue}),
		read:   unix.Pread,
		pieces: &sync.Pool{New: func() any { return new([fetchPiece]byte) }},
	}
}

// bring reads n bytes of a file from offset on, and forgets them. ahead bytes behind them are asked for, and not waited for: the disk reads
// them while these are sent. The end of the file is no error: who sends it will meet it too.
func (d *disk) bring(fd int, offset, n, ahead int64) error {
	_ = unix.Fadvise(fd, offset, n+ahead, unix.FADV_WILLNEED) // large requests rather than one for each piece; what cannot do that reads on
	piece := d.pieces.Get().(*[fetchPiece]byte)
	defer d.pieces.Put(piece)
	for n > 0 {
		got, err := d.read(fd, piece[:min(n, fetchPiece)], offset)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case got == 0:
			return nil
		}
		offset += int64(got)
		n -= int64(got)
	}
	return nil
}

// A diskFetch is a range of a file that a worker reads for a connection. Everything is written by the loop before the worker has it, but for
// err and what is the loop's alone.
type diskFetch struct {
	job    worker.Job
	loop   *loop
	fd     int32 // of the connection, as is serial
	serial uint32
	file   int // its descriptor, which stays open until the worker has finished
	offset int64
	n      int64
	ahead  int64 // bytes behind them that will be sent too
	err    error

	generation *generation // the loop's: held until the file is not needed any more; nil: none
	orphan     bool        // the loop's: the connection has gone
	released   web.File    // the loop's: the file of an orphan
	left       int64       // the loop's: ns of the period of write_timeout when the fetch began
}

// Run is the worker's part.
func (f *diskFetch) Run() {
	f.err = f.loop.disk.bring(f.file, f.offset, f.n, f.ahead)
	f.loop.post(event{kind: eventFetched, fd: f.fd, serial: f.serial, fetch: f})
}

// fetch has the next part of s read, the first segment of what c has to send.
func (l *loop) fetch(c *conn, s *segment) {
	c.unset(flagWritable)
	f := &diskFetch{loop: l, fd: c.fd, serial: c.serial, file: int(s.file.Fd()), offset: s.off, n: min(s.n, fetchMost)}
	f.ahead = min(s.n-f.n, fetchMost)
	f.job.Task = f
	if ex := c.pipeline.sent(); ex != nil && ex.gen != nil {
		f.generation = ex.gen
		f.generation.hold()
	}
	c.out.fetch, c.out.fetched = f, 0
	l.pauseWriteDeadline(c, f)
	l.handed++
	if !l.disk.pool.Submit(&f.job) { // it is never full
		c.out.fetch = nil
		l.endFetch(f)
		l.close(c, reasonSystem)
	}
}

// fetched goes on with a connection whose file was read; the caller flushes it.
func (l *loop) fetched(c *conn, f *diskFetch) {
	c.out.fetch = nil
	l.endFetch(f)
	if f.err != nil {
		l.unreadable(f.err)
		l.close(c, reasonSystem)
		return
	}
	c.out.fetched = f.offset + f.n
	c.set(flagWritable) // it was, and nothing was sent since
	l.resumeWriteDeadline(c, f)
}

// leaveFetch gives the fetch of an output up. A worker that reads keeps the file until it has finished.
func (l *loop) leaveFetch(o *output) {
	f := o.fetch
	o.fetch = nil
	if l.disk.pool.Remove(&f.job) {
		l.endFetch(f)
		return
	}
	f.orphan = true
	s := &o.segments[o.first]
	f.released, s.file = s.file, nil
}

// endFetch lets go what a fetch has held that no worker has any more.
func (l *loop) endFetch(f *diskFetch) {
	if f.released != nil {
		l.releaseFile(f.released)
		f.released = nil
	}
	if f.generation != nil {
		f.generation.let()
		f.generation = nil
	}
}

// unreadable logs, once a second at most, that a file could not be read.
func (l *loop) unreadable(err error) {
	if l.disk.logged == 0 || l.now-l.disk.logged >= int64(time.Second) {
		l.disk.logged = l.now
		l.host.logLine(levelError, "a file that is being sent cannot be read", "error", err)
	}
}

// pauseWriteDeadline stops the clock of write_timeout: the time of the disk is not the client's.
func (l *loop) pauseWriteDeadline(c *conn, f *diskFetch) {
	if c.phase == phaseWrite {
		f.left = max(0, c.timer.Due()-l.now)
	} else {
		f.left = l.limitsIn(c, phaseWrite).writeTimeout
		c.mark = l.takenBytes(c)
		c.phase = phaseWrite
	}
	l.wheel.Schedule(&c.timer, never)
}

// resumeWriteDeadline lets it go on, unless a deadline of the handler's own has taken its place.
func (l *loop) resumeWriteDeadline(c *conn, f *diskFetch) {
	if c.phase == phaseWrite {
		l.wheel.Schedule(&c.timer, l.now+f.left)
	}
}
